"""A photograph of the machine, taken from outside, and the check that two of them are equal."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from kernels import SLOWER, cgroup_mounts

# Part -> the lines that describe it.
Picture = dict[str, frozenset[str]]


def photograph(pid: int, root: Path, but: str = "") -> Picture:
    """What a leak would show in.

    Args:
        pid: a process in the network and mount namespace to photograph beside the machine's own.
        root: the state directory, as that process sees it.
        but: a part that is left out.
    """
    parts: dict[str, Callable[[], frozenset[str]]] = {
        "mounts": lambda: _mounts("self"), "mounts inside": lambda: _mounts(str(pid)), "cgroups": _cgroups,
        "links": lambda: _links(pid), "named namespaces": lambda: _files(Path("/run/netns")), "processes": _processes,
        "state": lambda: _files(Path(f"/proc/{pid}/root{root}")), "nft": lambda: _nft(pid)}
    return {part: take() for part, take in parts.items() if part != but}


def assert_nothing_leaked(before: Picture, after: Picture | Callable[[], Picture],
                          patience: float = 5.0) -> None:
    """Fail unless the two photographs are equal; `after` as a function is retried for `patience` seconds.

    The kernel frees namespaces, links and cgroups behind the exit of their last process.
    """
    end = time.monotonic() + patience * SLOWER
    while True:
        now = after() if callable(after) else after
        wrong = [f"{part}: {sign} {line}" for part in before for sign, lines in (
            ("+", now[part] - before[part]), ("-", before[part] - now[part])) for line in sorted(lines)]
        if not wrong:
            return
        if not callable(after) or time.monotonic() > end:
            raise AssertionError("the machine is not as before:\n" + "\n".join(wrong))
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Whether a process has ended, though its parent may not have waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _mounts(pid: str) -> frozenset[str]:
    """Mount points with root, type and options; ids differ from mount to mount and say nothing."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return frozenset(" ".join(line.split()[3:]) for line in lines)


def _cgroups() -> frozenset[str]:
    found = set()
    for _, where, _ in cgroup_mounts():
        for top in Path(where).glob("runspec*"):
            found.update(str(path) for path, _, _ in os.walk(top))
    return frozenset(found)


def _links(pid: int) -> frozenset[str]:
    """Links with their addresses, and routes; without what changes by itself."""
    found = set()
    for words in (["-d", "addr"], *([family, "route", "show", "table", "all"] for family in ("-4", "-6"))):
        done = subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", *words],
                              capture_output=True, text=True, check=False)
        for one in json.loads(done.stdout or "[]"):
            for noise in ("ifindex", "operstate", "txqlen", "stats64", "linkinfo"):
                one.pop(noise, None)
            # Said of a link until the kernel has got to looking at its new carrier; LOWER_UP is true at once.
            if "NO-CARRIER" in one.get("flags", ()):
                one["flags"].remove("NO-CARRIER")
            found.add(json.dumps(one, sort_keys=True))
    return frozenset(found)


def _nft(pid: int) -> frozenset[str]:
    try:
        done = subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "nft", "list", "ruleset"],
                              capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return frozenset()
    return frozenset(done.stdout.splitlines())


def _files(top: Path) -> frozenset[str]:
    """Every path below a directory; a lock file stays on purpose."""
    found = set()
    for path, folders, files in os.walk(top):
        found.update(os.path.join(path, name) for name in (*folders, *files) if not name.endswith("lock"))
    return frozenset(found)


def _namespaces(pid: str) -> list[str]:
    return [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("pid", "mnt", "net", "uts", "ipc", "user")]


def _processes() -> frozenset[str]:
    """Processes that runspec could have left: in other namespaces, in its cgroups, or runspec itself.

    Pid and start time name one.
    """
    ours, found = _namespaces("self"), set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace").split("\0")
            stat = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            if stat[0] in "ZX" or int(stat[6]) & 0x00200000:      # dead, or PF_KTHREAD
                continue
            cgroups = Path(f"/proc/{entry}/cgroup").read_text()
            if ("runspec" in map(os.path.basename, words[:4]) or ":/runspec" in cgroups
                    or _namespaces(entry) != ours):
                found.add(f"{entry} started {stat[19]}: {' '.join(words)}")
        except OSError:
            continue
    return frozenset(found)
