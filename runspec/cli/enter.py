"""`exec`: a further process in a running container, held as strictly as its init."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import os
from errno import ETIMEDOUT
from time import monotonic

from runspec import abi
from runspec.cli.people import find, open_init, status_fields
from runspec.cli.words import plain, quoted
from runspec.errors import HostError, RunspecError, StateError, SyscallError, UsageError, meaning
from runspec.kernel import Kernel, procfs
from runspec.plan.steps import attributes, intel_rdt
from runspec.plan.steps.base import Table
from runspec.plan.steps.exec_ import capabilities_of, exec_ops
from runspec.plan.steps.namespaces import KINDS
from runspec.run.store import Store, status
from runspec.spec import units
from runspec.spec.model import IntelRdt, Landlock, Process, Size, Spec, User
from runspec.spec.tree import from_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from runspec.cli.words import Words
    from runspec.kernel import Child, Report
    from runspec.plan.steps.seccomp import Filter
    from runspec.run.store import Record

# What a terminal or a supervisor sends us is meant for the program: its session is not ours.
FORWARDED = (
    _signal.SIGINT,
    _signal.SIGTERM,
    _signal.SIGHUP,
    _signal.SIGQUIT,
    _signal.SIGUSR1,
    _signal.SIGUSR2,
)
LARGEST_ID = 2**32 - 2
# Where a started program's clean-up may last long, its set-up may not.
PATIENCE = 60.0
# Who freezes a container for a moment (to save it, say) has thawed it by then.
MOMENT = 1.0


def run(words: Words) -> int:
    """Run the command; returns its status, 128 + N after signal N, or 0 at once where it is detached.

    Raises:
        StateError: the container is stopped, frozen, or ended meanwhile.
        RunspecError: the program could not be started.
    """
    kernel = Kernel(words.fault)
    store = Store(kernel, words.root)
    socket = check_terminal(words)
    user = parse_user(words.value("user")) if words.flag("user") else None
    env = parse_env(words.values("env"))
    record = find(store, words.operands[0])
    if status(kernel, record) == "created":
        # Its rights are not yet those of its program.
        raise StateError("exec failed: cannot exec in a container that was not started",
                         why=f"init of {record.name} waits for its start", fix=f"runspec start {record.name}")
    pidfd = open_init(kernel, record)
    if pidfd is None:
        raise _stopped(record.name)
    group = -1
    try:
        table, unified = prepare(words, kernel, record, user, env)
        if unified:
            group = kernel.open(unified, os.O_RDONLY | os.O_DIRECTORY)
        # With a terminal of its own the program gets that for all three. Nobody waits in the kernel for a child that
        # is born frozen.
        child = kernel.spawn(table.ops, (pidfd,), cgroup_fd=group, stdio=(0, 1, 2), wait=False)
    finally:
        for fd in (pidfd, group):
            if fd >= 0:
                kernel.close(fd)
    pid_file = os.path.abspath(words.value("pid-file")) if words.flag("pid-file") else ""
    return supervise(kernel, child, table, record, words.operands[1], words.flag("detach"), socket, pid_file)


def check_terminal(words: Words) -> str:
    """The console socket, "" for none; refuses words that contradict each other.

    Raises:
        UsageError: nobody would hold the terminal, or there is none to be handed on.
    """
    socket, both = words.value("console-socket"), words.flag("tty") and words.flag("detach")
    if both and not socket:
        raise UsageError("exec: -t and -d need --console-socket", "a terminal hangs up with its last holder, pty(7)",
                         "leave one of them out, or name a socket that somebody listens at")
    if socket and not both:
        raise UsageError("exec: --console-socket needs -t and -d", "it takes the terminal of a detached program",
                         "add them, or leave it out")
    return os.path.abspath(socket) if socket else ""


def _stopped(name: str) -> StateError:
    return StateError("exec failed: cannot exec in a stopped container", why=f"init of {name} has ended",
                      fix="apply its file again to start it")


def prepare(words: Words, kernel: Kernel, record: Record, user: tuple[int, int | None] | None,
            env: tuple[str, ...]) -> tuple[Table, str]:
    """The table for the child, and the cgroup2 directory that it is born in ("" for none).

    Raises:
        StateError: init ended while we looked, or stands still.
    """
    proc = f"/proc/{record.pid}"
    status_text = kernel.try_read(f"{proc}/status")
    limits = kernel.try_read(f"{proc}/limits")
    if not status_text or not limits:
        raise _stopped(record.name)
    status = status_fields(status_text.decode("utf-8", "surrogateescape"))
    kinds = differing(kernel, record.pid)
    spec = record.spec["process"]
    merged = merge_env(tuple(spec.get("env", ())), env)
    process = Process(
        cwd=words.value("cwd", spec.get("cwd", "/")), args=words.operands[1:], env=merged,
        user=identity(kernel, proc, status, "user" in kinds, user), capabilities=capabilities_of(status),
        no_new_privileges=status.get("NoNewPrivs") == "1", terminal=words.flag("tty"),
        console_size=_size(kernel, words, spec))
    tasks, unified = groups(kernel, record)
    refuse_frozen(kernel, tasks, unified)
    table = Table(("init",))
    affinity = spec.get("execCPUAffinity") or {}
    if affinity.get("initial"):
        kernel.set_affinity(units.numbers(affinity["initial"]))
    rules = record.spec.get("landlock")
    exec_ops(table, kinds, tasks, process, procfs.parse_limits(limits),
             (kernel.try_read(f"{proc}/oom_score_adj") or b"").decode("ascii").strip(), affinity.get("final") or "",
             attributes.scheduling_of(from_tree(Spec, record.spec)) if scheduled(record) else None,
             from_tree(Landlock, rules) if rules is not None else None,
             kernel.landlock_version() if rules is not None else 0, filter_of(kernel, record))
    return table, unified


def refuse_frozen(kernel: Kernel, tasks: tuple[str, ...], unified: str) -> None:
    """Where one of a container's groups is frozen, no program in it would ever begin.

    Raises:
        StateError: in runc's words, with the group, which may be one above, and how it is thawed.
    """
    for one in filter(None, (*tasks, unified)):
        frozen = kernel.frozen(one)
        if frozen:
            file, word = kernel.freezing(frozen, False)
            raise StateError("exec failed: cannot exec in a paused container",
                             why=f"its control group is frozen, by {file}" if frozen == one else
                             f"the control group {frozen}, which it is in, is frozen",
                             fix=f"thaw it: echo {word} > {file}")


def scheduled(record: Record) -> bool:
    """Whether init runs otherwise than a program does by itself."""
    process, linux = record.spec["process"], record.spec["linux"]
    return any(word in process for word in ("scheduler", "ioPriority")) or any(
        word in linux for word in ("memoryPolicy", "personality"))


def _size(kernel: Kernel, words: Words, spec: dict[str, Any]) -> Size | None:
    """What a terminal begins with: the size of ours, or where it is handed on the one that was declared."""
    if words.flag("console-socket"):
        size = spec.get("consoleSize")
        return Size(height=size["height"], width=size["width"]) if size else None
    rows, columns = kernel.window_size(0) if words.flag("tty") else (0, 0)
    return Size(height=rows, width=columns) if rows and columns else None


def filter_of(kernel: Kernel, record: Record) -> Filter | None:
    """The filter that judges init's system calls."""
    if not record.seccomp:
        return None
    from runspec.run.filters import Filters

    return Filters(kernel).again(from_tree(Spec, record.spec), record.seccomp)


def differing(kernel: Kernel, pid: int) -> tuple[str, ...]:
    """The kinds of namespace in which a process is and we are not."""
    return tuple(kind for kind, (_, name) in KINDS.items()
                 if (theirs := kernel.read_link(f"/proc/{pid}/ns/{name}")) is not None
                 and theirs != kernel.read_link(f"/proc/self/ns/{name}"))


def identity(kernel: Kernel, proc: str, status: dict[str, str], mapped: bool,
             user: tuple[int, int | None] | None) -> User:
    """Init's ids as seen inside; or the ones asked for, then without init's groups."""
    def inside(kind: str, ids: Iterable[str]) -> list[int]:
        numbers = [int(word) for word in ids]
        if not mapped:
            return numbers
        ranges = procfs.parse_id_map(kernel.try_read(f"{proc}/{kind}_map") or b"")
        found = [one - outside + first for one in numbers for first, outside, size in ranges
                 if outside <= one < outside + size]
        return found

    umask = int(status["Umask"], 8) if "Umask" in status else None
    uids, gids = (
        inside("uid", status.get("Uid", "0 0").split()[1:2]),
        inside("gid", status.get("Gid", "0 0").split()[1:2]),
    )
    if user is not None:
        uid, gid = user
        return User(uid=uid, gid=gid if gid is not None else (gids or [0])[0], umask=umask)
    return User(uid=(uids or [0])[0], gid=(gids or [0])[0], umask=umask,
                additional_gids=tuple(inside("gid", status.get("Groups", "").split())))


def groups(kernel: Kernel, record: Record) -> tuple[tuple[str, ...], str]:
    """(v1 directories to enter, the cgroup2 directory to be born in)."""
    tasks, unified = [], ""
    for path in record.cgroups:
        if kernel.exists(f"{path}/cgroup.controllers"):
            unified = beside_init(
                path, (kernel.try_read(f"/proc/{record.pid}/cgroup") or b"").decode("utf-8", "replace")
            )
        elif kernel.exists(f"{path}/tasks"):
            tasks.append(path)
    rdt = record.spec["linux"].get("intelRdt")
    if rdt is not None:
        one = from_tree(IntelRdt, rdt)
        tasks += [path for path in (intel_rdt.directory(record.name, one), intel_rdt.monitor(record.name, one)) if path]
    return tuple(tasks), unified


def beside_init(directory: str, text: str) -> str:
    """The cgroup2 directory in which init is by now, at or below the container's own.

    An init that hands controllers down has left its first group, which then takes no processes.

    Args:
        directory: the container's group, with its mount point.
        text: /proc/PID/cgroup, whose paths begin at our own cgroup namespace's root.
    """
    path = next((line[3:] for line in text.splitlines() if line.startswith("0::/")), "")
    at = 0
    while (at := directory.find("/", at)) >= 0:
        own = directory[at:]
        if path.startswith(own + "/"):
            return directory + path[len(own):]
        at += 1
    return directory


def merge_env(base: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Variables in order; a later word for a name takes the earlier one's place."""
    found = {word.partition("=")[0]: word for word in (*base, *more)}
    return tuple(found.values())


def parse_env(values: tuple[str, ...]) -> tuple[str, ...]:
    """Check each NAME=VALUE.

    Raises:
        UsageError: one has no name or no `=`.
    """
    for word in values:
        if word.find("=") < 1:
            raise UsageError(
                f"exec: -e {quoted(word)} is no NAME=VALUE", fix="write for example -e TERM=xterm"
            )
    return values


def parse_user(text: str) -> tuple[int, int | None]:
    """`UID[:GID]` in plain decimal; anything else is refused, never guessed at, CVE-2026-30892.

    Raises:
        UsageError: it is no such thing.
    """
    uid, colon, gid = text.partition(":")
    for word in (uid, gid) if colon else (uid,):
        if not (word.isascii() and word.isdigit() and len(word) <= 10 and int(word) <= LARGEST_ID):
            raise UsageError(f"exec: -u {quoted(text)} is no UID[:GID]",
                             why=f"ids are decimal numbers from 0 to {LARGEST_ID}; names are not looked up",
                             fix="write for example -u 1000:1000")
    return int(uid), int(gid) if colon else None


def supervise(kernel: Kernel, child: Child, table: Table, record: Record, program: str, detach: bool = False,
              socket: str = "", pid_file: str = "") -> int:
    """Wait until the child has become the program, then for the program's end.

    Args:
        record: of the container.
        detach: leave it there.
        socket: where its terminal goes, "" for ours.
        pid_file: absolute path of a file for its pid, "" for none.
    """
    master = -1
    try:
        while (report := hear(kernel, child, record)) is not None:
            if report.kind == abi.REPORT_ERROR:
                child.wait()
                raise failure(table, report.index, report.error, program)
            if report.kind == abi.REPORT_FD:
                master = report.fd
                if socket:
                    kernel.send_console(socket, master)
            if report.kind == abi.REPORT_LISTENER:
                from runspec.run.agent import introduce

                introduce(kernel, child, report, record, "running")
        if pid_file:
            kernel.replace_file(pid_file, str(child.pid), 0o644)
        if detach:
            return 0
        for number in FORWARDED:
            # The child's pidfd lives as long as this call, and so does the handler's use of it.
            _signal.signal(number, lambda got, _frame: _forward(kernel, child, got))
        if master < 0:
            return child.wait()
        from runspec.cli.terminal import interact

        return interact(kernel, child, master)
    except BaseException:
        # Whatever went wrong here, no program stays behind that nobody waits for.
        if child.pidfd >= 0:
            kernel.signal(child.pidfd, _signal.SIGKILL)
            kernel.lead_out(child.pid, record.cgroups)
            child.kill()
        raise
    finally:
        for number in FORWARDED:
            _signal.signal(number, _signal.SIG_DFL)
        if master >= 0:
            kernel.close(master)
        child.close()


def hear(kernel: Kernel, child: Child, record: Record) -> Report | None:
    """The next report of a child on its way to the program, None when it is there.

    Raises:
        StateError: the container was frozen meanwhile, and stays so.
        HostError: nothing was heard for long.
    """
    end = monotonic() + PATIENCE
    while True:
        try:
            return child.receive(MOMENT)
        except SyscallError as error:
            if error.errno != ETIMEDOUT:
                raise
        refuse_frozen(kernel, *groups(kernel, record))
        if monotonic() > end:
            raise HostError(f"exec failed: the program has not begun after {PATIENCE:g} s",
                            "its set-up hangs on the machine's side, on a dead network mount, say",
                            "find out what does not answer, then try again")


def _forward(kernel: Kernel, child: Child, number: int) -> None:
    kernel.signal(child.pidfd, number)


def failure(table: Table, index: int, number: int, program: str) -> RunspecError:
    """An operation's error in runc's words, from which engines make their own exit status."""
    op = table.ops[index]
    reason = os.strerror(number)
    # Lower case, as engines look for it.
    reason = reason[:1].lower() + reason[1:]
    if op.number == abi.OP_EXEC:
        from runspec.plan.steps.process import unexecuted

        name, told = plain(program), unexecuted(program, number)
        if "/" not in program and reason == "no such file or directory":
            return RunspecError(f'exec failed: exec: "{name}": executable file not found in $PATH', *told)
        stat = f"stat {name}: " if reason == "no such file or directory" else ""
        return RunspecError(f'exec failed: exec: "{name}": {stat}{reason}', *told)
    if op.number == abi.OP_CHDIR:
        where = plain(op.s1.decode("utf-8", "surrogateescape"))
        return RunspecError(f'exec failed: chdir to cwd "{where}": {reason}', f"{meaning(number)[0]}, in the container",
                            "give another with --cwd")
    name = next((word[3:].lower() for word, value in vars(abi).items()
                 if word.startswith("OP_") and value == op.number), str(op.number))
    why, fix = meaning(number)
    return RunspecError(f"exec failed: {name}: {reason}",
                        f"a step on the way into the container was refused: {why}", fix)
