"""Verbs that look at containers and signal them: list state ps tree kill stop; exec is in enter.py.

They ask the Kernel and the Store directly: nothing is planned, nothing is journaled.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import os
import sys
import time

from runspec.cli.words import nearest, plain, quoted
from runspec.errors import HostError, StateError, UsageError
from runspec.kernel import Kernel
from runspec.run.store import KINDS, Store, status
from runspec.spec import jsonlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from runspec.cli.words import Words
    from runspec.run.store import Record

OCI_VERSION = "1.3.0"
CONTAINER, NETWORK = KINDS
BUNDLES = "/var/lib/runspec"
STOP_SECONDS = 10.0


def run(words: Words) -> int:
    """Run one of these verbs; returns the exit status."""
    kernel = Kernel(words.fault)
    store = Store(kernel, words.root)
    if words.verb == "list":
        return show_list(words, kernel, store)
    if words.verb == "tree":
        return show_tree(words, kernel, store)
    if words.verb == "stop":
        return stop(words, kernel, store)
    if words.verb == "kill":
        return kill(words, kernel, store)
    record = find(store, words.operands[0])
    return (
        show_state(words, kernel, store, record) if words.verb == "state" else show_ps(words, kernel, record)
    )


def find(store: Store, name: str) -> Record:
    """The Record of a container.

    Raises:
        StateError: there is none; the fix names the nearest that there is.
    """
    record = store.load(CONTAINER, name)
    if record is None:
        near = nearest(name, store.names(CONTAINER))
        raise StateError("container does not exist", why=f"no container is named {quoted(name)}",
                         fix=f"did you mean `{near}`?" if near else "`runspec list` shows the containers")
    return record


# -- list, state --------------------------------------------------------------------------------------

def oci_state(kernel: Kernel, store: Store, record: Record) -> dict[str, Any]:
    """What runtime.md "State" asks for, with runc's further keys."""
    now = status(kernel, record)
    bundle = record.bundle or f"{BUNDLES}/{record.name}"
    found = kernel.stat(store.path(CONTAINER, record.name))
    uid = found.st_uid if found is not None else 0
    tree: dict[str, Any] = {
        "ociVersion": OCI_VERSION, "id": record.name, "pid": record.pid if now != "stopped" else 0,
        "status": now, "bundle": bundle, "rootfs": record.spec["root"].get("path") or f"{bundle}/rootfs",
        "created": record.created, "owner": "root" if uid == 0 else str(uid)}
    if record.spec.get("annotations"):
        tree["annotations"] = record.spec["annotations"]
    return tree


def show_list(words: Words, kernel: Kernel, store: Store) -> int:
    """`list`: all containers, by name."""
    if words.flag("quiet"):
        for name in sorted(store.names(CONTAINER), key=natural):
            print(plain(name))
        return 0
    records, damaged = _records(store)
    states = [oci_state(kernel, store, record) for record in records]
    states += [{"ociVersion": OCI_VERSION, "id": name, "pid": 0, "status": "damaged", "bundle": "", "created": "",
                "owner": ""} for name in damaged]
    if words.json:
        print(jsonlite.dumps(states))
        return words.status if damaged else 0
    rows = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
    rows += [(one["id"], str(one["pid"]), one["status"], one["bundle"], one["created"], one["owner"])
             for one in states]
    print(table([rows[0], *sorted(rows[1:], key=lambda row: natural(row[0]))]))
    networks = networks_text(store.names(NETWORK), records)
    if networks:
        print(f"\n{networks}")
    tell_left(kernel, store)
    if kernel.list_dir(f"{store.root}/leases"):
        from runspec.run.leases import Leases

        for lease in Leases(kernel, store).unsettled():
            sys.stderr.write(f"runspec: a lease of {plain(lease['link']['name'])} is to be settled: "
                             f"{plain(lease['container'])} has ended\n"
                             "  fix: `runspec apply` or `runspec destroy` brings it home\n")
    return words.status if damaged else 0


def natural(name: str) -> list[tuple[bool, int, str]]:
    """A name's place for people: c2 before c10."""
    parts = [""]
    for one in name:
        if parts[-1] and one.isdigit() != parts[-1].isdigit():
            parts.append("")
        parts[-1] += one
    return [(not number, int(part) if number else 0, part)
            for part, number in ((part, part.isascii() and part.isdigit()) for part in parts)]


def networks_text(names: Iterable[str], records: Iterable[Record]) -> str:
    """The networks as a table, with who is on each; "" without any."""
    users: dict[str, list[str]] = {name: [] for name in sorted(names, key=natural)}
    for record in sorted(records, key=lambda one: natural(one.name)):
        links = record.spec.get("interfaces", ())
        for name in dict.fromkeys(one.get(key) for one in links for key in ("network", "parent")):
            if name in users:
                users[name].append(record.name)
    return table([("NETWORK", "USED BY"), *((name, ", ".join(some)) for name, some in users.items())]) if users else ""


def tell_left(kernel: Kernel, store: Store) -> None:
    """Say on standard error what runs that died left to be undone, and what is in the way of that."""
    if not kernel.list_dir(f"{store.root}/journals"):
        return
    from runspec.run.journal import left

    for error in left(store):
        sys.stderr.write(f"runspec: {plain(error.what)}\n  why: {plain(error.why)}\n  fix: {plain(error.fix)}\n")


def _records(store: Store) -> tuple[list[Record], list[str]]:
    """Every Record that there is, and the names of damaged ones, which are told on standard error."""
    found, damaged = [], []
    for name in store.names(CONTAINER):
        try:
            record = store.load(CONTAINER, name)
        except StateError as error:
            damaged.append(name)
            sys.stderr.write(f"runspec: {plain(error.what)}\n  why: {plain(error.why)}\n  fix: {plain(error.fix)}\n")
            continue
        if record is not None:
            found.append(record)
    return found, damaged


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns, three spaces between; the last column is as long as it is."""
    shown = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    return "\n".join("   ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip()
                     for row in shown)


def show_state(words: Words, kernel: Kernel, store: Store, record: Record) -> int:
    """`state ID`: JSON unless text is asked for, since engines ask without an option."""
    tree = oci_state(kernel, store, record)
    if words.value("output") == "text":
        print(
            "\n".join(f"{name}: {plain(str(value))}" for name, value in tree.items() if name != "annotations")
        )
    else:
        print(jsonlite.dumps(tree))
    return 0


# -- ps -----------------------------------------------------------------------------------------------

def pids_of(kernel: Kernel, record: Record) -> list[int]:
    """The pids in a container's cgroups and below, in order."""
    found: set[int] = set()
    for path in record.cgroups:
        for one in kernel.cgroup_dirs(path):
            found |= kernel.cgroup_procs(one)
    return sorted(found)


def status_fields(text: str) -> dict[str, str]:
    """/proc/PID/status as field -> value, proc_pid_status(5)."""
    return {name: value.strip() for name, colon, value in
            (line.partition(":") for line in text.splitlines()) if colon}


class Task:
    """What ps and tree show of a process."""

    __slots__ = ("comm", "command", "inside", "pid", "ppid")

    def __init__(self, pid: int, status: str, cmdline: bytes) -> None:
        fields = status_fields(status)
        self.pid = pid
        self.ppid = int(fields.get("PPid") or 0)
        self.inside = int((fields.get("NSpid") or str(pid)).split()[-1])
        self.comm = fields.get("Name", "")
        words = cmdline.rstrip(b"\0").decode("utf-8", "surrogateescape").split("\0")
        self.command = " ".join(words) if words != [""] else f"[{self.comm}]"


def tasks_of(kernel: Kernel, pids: Iterable[int]) -> list[Task]:
    """Those of these processes that still live."""
    found = []
    for pid in pids:
        status = kernel.try_read(f"/proc/{pid}/status")
        if status:
            cmdline = kernel.try_read(f"/proc/{pid}/cmdline") or b""
            found.append(Task(pid, status.decode("utf-8", "surrogateescape"), cmdline))
    return found


def show_ps(words: Words, kernel: Kernel, record: Record) -> int:
    """`ps ID`: the host's pids as JSON, or a table; empty once the container has stopped."""
    pids = pids_of(kernel, record)
    if words.json:
        print(jsonlite.dumps(pids))
        return 0
    rows = [("PID", "INSIDE", "PPID", "COMMAND")]
    rows += [(str(one.pid), str(one.inside), str(one.ppid), one.command) for one in tasks_of(kernel, pids)]
    print(table(rows))
    return 0


# -- kill, stop ---------------------------------------------------------------------------------------

def parse_signal(word: str) -> int:
    """`TERM`, `SIGTERM`, `15`, `RTMIN+3` -> the number, signal(7).

    Raises:
        UsageError: there is no such signal.
    """
    names = {name[3:]: int(value) for name, value in vars(_signal).items()
             if name.startswith("SIG") and not name.startswith("SIG_") and isinstance(value, int)}
    if word.isascii() and word.isdigit() and len(word) <= 2 and int(word) <= names["RTMAX"]:
        return int(word)
    name = word.upper().removeprefix("SIG")
    base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
    if name in names:
        return names[name]
    if base in ("RTMIN", "RTMAX") and offset.isascii() and offset.isdigit():
        number = names[base] + int(offset) * (1 if sign == "+" else -1)
        if names["RTMIN"] <= number <= names["RTMAX"]:
            return number
    near = nearest(name, names)
    raise UsageError(
        f"kill: unknown signal {quoted(word)}",
        fix=f"did you mean `{near}`?" if near else "give a name as `kill -l` lists it, or a number",
    )


def kill(words: Words, kernel: Kernel, store: Store) -> int:
    """`kill [-a] ID [SIG]`."""
    number = parse_signal(words.operands[1] if len(words.operands) > 1 else "TERM")
    record = find(store, words.operands[0])
    if words.flag("all"):
        # Without complaint where nothing is left: engines clean up so.
        if number == _signal.SIGKILL:
            left = kernel.kill_cgroup(list(record.cgroups))
            if left:
                raise _unkillable(record.name, left)
        else:
            signal_all(kernel, record, number)
        return 0
    pidfd = open_init(kernel, record)
    if pidfd is None:
        raise _not_running(record.name)
    try:
        if not kernel.signal(pidfd, number):
            raise _not_running(record.name)
    finally:
        kernel.close(pidfd)
    return 0


def open_init(kernel: Kernel, record: Record) -> int | None:
    """A pidfd of the container's init, None where it is stopped; a stranger with its pid is never opened."""
    return None if status(kernel, record) == "stopped" else kernel.open_process(record.pid, record.start_time)


def _not_running(name: str) -> StateError:
    return StateError(
        "container not running", why=f"init of {name} has ended", fix=f"`runspec state {name}` shows it"
    )


def _unkillable(name: str, left: Iterable[int]) -> HostError:
    return HostError(f"{name}: processes {', '.join(map(str, sorted(left)))} do not end",
                     why="a process in an uninterruptible wait ends only when that wait does",
                     fix="see what they wait for: /proc/PID/stack")


def signal_all(kernel: Kernel, record: Record, number: int) -> None:
    """Send a signal to every process of the container."""
    for pid in pids_of(kernel, record):
        start = kernel.start_time(pid)
        pidfd = kernel.open_process(pid, start) if start is not None else None
        if pidfd is None:
            continue
        try:
            # Seen in the group again after the pidfd was opened: it is still the one we mean.
            if pid in pids_of(kernel, record):
                kernel.signal(pidfd, number)
        finally:
            kernel.close(pidfd)


def parse_seconds(word: str) -> float:
    """`10`, `0.5`, `10s` -> seconds.

    Raises:
        UsageError: it is no duration.
    """
    text = word.removesuffix("s")
    if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < 10:
        return float(text)
    raise UsageError(
        f"stop: --time {quoted(word)} is no number of seconds", fix="write for example --time 10"
    )


def stop(words: Words, kernel: Kernel, store: Store) -> int:
    """`stop ID...`: SIGTERM to each init, then SIGKILL to what is left after the time.

    The Record stays: the container is stopped, and the next apply starts it anew.
    """
    seconds = parse_seconds(words.value("time", str(int(STOP_SECONDS))))
    names = list(dict.fromkeys(words.operands))
    records = {name: find(store, name) for name in names}      # all of them before any is touched
    pidfds: dict[str, int] = {}
    left: dict[str, set[int]] = {}
    try:
        for name, record in records.items():
            pidfd = open_init(kernel, record)
            if pidfd is not None:
                pidfds[name] = pidfd
                kernel.signal(pidfd, _signal.SIGTERM)
        # Without the lock, so that nobody else times out on it while an init takes its time.
        wait_for_end(list(pidfds.values()), seconds)
    finally:
        for fd in pidfds.values():
            kernel.close(fd)
    with store.lock([(CONTAINER, name) for name in names]):
        for name, record in records.items():
            now = store.load(CONTAINER, name)
            # An apply that came in between has started it anew: that one is not ours to end.
            if now is not None and (now.pid, now.start_time) == (record.pid, record.start_time):
                rest = kernel.kill_cgroup(list(record.cgroups))
                if rest:
                    left[name] = rest
    for name in names:
        if name not in left:
            print(f"{name}: {'stopped' if name in pidfds else 'already stopped'}")
    if left:
        errors = [_unkillable(name, pids) for name, pids in left.items()]
        errors[0].also = tuple(errors[1:])
        raise errors[0]
    return 0


def wait_for_end(pidfds: list[int], seconds: float) -> bool:
    """Sleep until all these processes have ended, or the time is over; says whether they have."""
    import select

    poll = select.poll()
    waiting = set(pidfds)
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    end = time.monotonic() + seconds
    while waiting:
        rest = end - time.monotonic()
        if rest <= 0:
            return False
        for fd, _ in poll.poll(rest * 1000):
            poll.unregister(fd)
            waiting.discard(fd)
    return True


# -- tree ---------------------------------------------------------------------------------------------

def show_tree(words: Words, kernel: Kernel, store: Store) -> int:
    """`tree`: the host's PID 1, the containers that run, their processes, cores, roots and links."""
    from runspec.cli import picture

    host = plain((kernel.try_read("/proc/1/comm") or b"init").decode("utf-8", "surrogateescape").strip())
    nodes, trees = [], []
    records, damaged = _records(store)
    for record in records:
        if status(kernel, record) == "stopped":
            continue
        found = [picture.Proc(one.pid, one.inside, one.ppid, one.comm)
                 for one in tasks_of(kernel, pids_of(kernel, record))]
        mounts = kernel.try_read(f"/proc/{record.pid}/mountinfo") or b""
        root = picture.root_text(mounts.decode("utf-8", "surrogateescape"))
        share, interfaces = share_of(kernel, record), record.spec.get("interfaces", ())
        devices = kernel.try_read(f"/proc/{record.pid}/net/dev") if interfaces else None
        links = picture.links_text(interfaces, devices.decode("utf-8", "surrogateescape") if devices else None)
        nodes.append(picture.Node(f"runspec:{record.name}", picture.forest(found, record.pid),
                                  [share, f"root {root}" if root else "", links]))
        trees.append({"id": record.name, "pid": record.pid, "cpu": share, "root": root, "links": links,
                      "processes": picture.proc_tree(found, record.pid)})
    if words.json:
        print(jsonlite.dumps({"pid": 1, "comm": host, "containers": trees}, sort=True))
    else:
        print(picture.draw(picture.Node(f"{host}(1)", nodes)))
    return words.status if damaged else 0


def share_of(kernel: Kernel, record: Record) -> str:
    """The part of its cores that a container gets, from the cgroup files of itself and its siblings."""
    from runspec.cli import picture

    cpu = next((path for path in record.cgroups
                if kernel.exists(f"{path}/cpu.shares") or kernel.exists(f"{path}/cpu.weight")), "")
    cpuset = next((path for path in record.cgroups if kernel.exists(f"{path}/cpuset.cpus")), "")
    parent, cpuset_parent = os.path.dirname(cpu), os.path.dirname(cpuset)
    quota, period = _quota(kernel, cpu) if cpu else (-1, 0)
    rivals = []
    for name in kernel.list_dir(parent) if cpu else []:
        path = f"{parent}/{name}"
        weight = _weight(kernel, path) if path != cpu else 0
        if weight and any(kernel.cgroup_procs(one) for one in kernel.cgroup_dirs(path)):
            rivals.append((_cpus(kernel, f"{cpuset_parent}/{name}") if cpuset else "", weight))
    return picture.share_text(_cpus(kernel, cpuset) if cpuset else "", _weight(kernel, cpu) if cpu else 0,
                              rivals, quota, period)


def _number(kernel: Kernel, path: str) -> int:
    text = (kernel.try_read(path) or b"").strip()
    return int(text) if text.lstrip(b"-").isdigit() else 0


def _weight(kernel: Kernel, path: str) -> float:
    """cpu.shares or cpu.weight of a group in the file's unit, 0 where it has neither."""
    from runspec.spec.units import SHARES_PER_WEIGHT

    return _number(kernel, f"{path}/cpu.shares") / SHARES_PER_WEIGHT or _number(kernel, f"{path}/cpu.weight")


def _cpus(kernel: Kernel, path: str) -> str:
    """The cores that the group's processes may really use, as a list."""
    for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
        text = kernel.try_read(f"{path}/{name}")
        if text is not None and text.strip():
            return text.strip().decode("ascii", "replace")
    return ""


def _quota(kernel: Kernel, path: str) -> tuple[int, int]:
    """(quota, period) in microseconds, quota -1 for none."""
    text = kernel.try_read(f"{path}/cpu.max")
    if text is None:
        return _number(kernel, f"{path}/cpu.cfs_quota_us") or -1, _number(kernel, f"{path}/cpu.cfs_period_us")
    quota, _, period = text.decode("ascii", "replace").strip().partition(" ")
    return (int(quota) if quota.isdigit() else -1), int(period or 0)
