"""A run from outside: the room, the private namespaces around the measuring process, and their removal.

The measuring process is below the first process of a pid namespace, so that one SIGKILL ends everything that a run
started, whatever state it is in, and the kernel sends one when this process dies; its mounts and links go with its
namespaces. What the kernel does not take with them, control groups and the room, is removed here, after a run and
before the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys

from runspec.bench import nics
from runspec.bench.measure import CLEAR
from runspec.bench.scene import PATH
from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

# Unless TMPDIR says else. Not /tmp, which may be memory: a disk that is measured must be one.
ROOMS = "/var/tmp"
PREFIX = "runspec-bench-"
# Where programs keep what they know beyond a run, at paths that nobody can choose: empty and in memory inside.
HIDDEN = ("/var/lib/runspec", "/var/lib/cni")
LOCK = ".lock"
# It ends with this process, whatever ends that, and all in it with it.
UNSHARE = ("setpriv", "--pdeathsig", "KILL",
           "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
# /run is new and empty, and a link may lead there; sysfs is mounted anew, since /sys/class/net shows the links of the
# namespace that it was mounted in, which is where LXC looks for its bridge. The shell stays to reap what loses its
# parent. On cgroup2 it goes to the top, where processes may be beside groups with limits: peers take the first
# process's group for the top.
INSIDE = """set -e
if [ -e /sys/fs/cgroup/cgroup.procs ]; then echo 0 >/sys/fs/cgroup/cgroup.procs || true; fi
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/runspec /run/netns /run/lock /run/sys
for one in $1; do one=$(readlink -m "$one"); mkdir -p "$one"; mount -t tmpfs -o mode=755 state "$one"; done
mount -t sysfs sysfs /run/sys
mount --rbind /sys/fs/cgroup /run/sys/fs/cgroup
mount --rbind /run/sys /sys
mount --bind /run/netns /run/netns
mount --make-shared /run/netns
ip link set lo up
shift
set +e
"$@"
exit $?
"""


def inside(settings: dict[str, Any], module: str = "runspec.bench.measure") -> dict[str, Any]:
    """Run the `main` of a module inside a new world.

    Args:
        settings: what it reads on its standard input, with the room and the group, as JSON; `nics` are lent to it,
            by leases in the state directory `root`.

    Returns:
        What it wrote on its standard output, as JSON.

    Raises:
        HostError: it failed; nothing of it is left.
    """
    import json
    import subprocess

    require()
    with room() as (path, group), nics.lending(settings.get("nics", ()), group, settings.get("root", "")) as lend:
        # Isolated from the working directory and from site hooks, but with what this process can import.
        command = [*UNSHARE, "/bin/sh", "-c", INSIDE, "sh", " ".join(HIDDEN), sys.executable, "-I", "-S", "-c",
                   "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from importlib import import_module; "
                   "sys.exit(import_module(sys.argv[2]).main())", json.dumps(sys.path), module]
        text = json.dumps({"room": path, "group": group, "program": program(), "settings": settings})
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
                              env={"PATH": PATH, "LC_ALL": "C.UTF-8"}) as inner:
            try:
                lend(inner.pid)
                out, _ = inner.communicate(text.encode())
            finally:
                inner.kill()
                if sys.stderr.isatty():
                    sys.stderr.write(CLEAR)
        try:
            answer: dict[str, Any] = json.loads(out)
        except ValueError:
            raise HostError(f"bench: the measuring process ended with status {inner.returncode}",
                            "its own words are above") from None
    if "error" in answer:
        raise HostError(*answer["error"])
    return answer


def require() -> None:
    """What a private world needs.

    Raises:
        HostError: this process has it not.
    """
    from shutil import which

    if os.geteuid():
        raise HostError("bench: it makes namespaces and control groups", "you are not root", "run it as root")
    for one, package in (("unshare", "util-linux"), ("setpriv", "util-linux"), ("mount", "mount"), ("ip", "iproute2")):
        if which(one, path=PATH) is None:
            raise HostError(f"bench: there is no {one}", "the private world of a run is made with it",
                            f"apt-get install {package}")


def program() -> list[str]:
    """The command line of this very runspec: the script that was called, or the module of this interpreter."""
    script = os.path.realpath(sys.argv[0])
    if os.path.basename(script) == "runspec" and os.access(script, os.X_OK):
        return [script]
    beside = os.path.join(os.path.dirname(sys.executable), "runspec")
    return [beside] if os.access(beside, os.X_OK) else [sys.executable, "-P", "-m", "runspec"]


@contextlib.contextmanager
def room() -> Iterator[tuple[str, str]]:
    """A directory of a run's own, and the name of its control groups; both are gone afterwards.

    Raises:
        KeyboardInterrupt: SIGTERM or SIGHUP as well as SIGINT, so that whoever ends a run finds nothing left.
    """
    import tempfile

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGTERM, signal.SIGHUP)]
    made = [one for one in HIDDEN if not os.path.lexists(one)]
    path = ""
    try:
        sweep()
        for one in made:
            os.makedirs(one, 0o755, exist_ok=True)
        path = tempfile.mkdtemp(prefix=PREFIX, dir=rooms())
        with open(f"{path}/{LOCK}", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path, os.path.basename(path)
    finally:
        for number, _ in before:
            signal.signal(number, signal.SIG_IGN)
        if path:
            remove(path)
        for one in made:
            with contextlib.suppress(OSError):
                os.rmdir(one)
        for number, handler in before:
            signal.signal(number, handler)


def rooms() -> str:
    """The directory that rooms are in."""
    return os.path.realpath(os.environ.get("TMPDIR") or ROOMS)


def sweep() -> None:
    """Remove what runs left that nobody could end well: their rooms are locked no more."""
    for name in os.listdir(rooms()):
        path = os.path.join(rooms(), name)
        if not name.startswith(PREFIX) or os.path.islink(path) or os.lstat(path).st_uid != os.geteuid():
            continue
        try:
            with open(f"{path}/{LOCK}", encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path)
        except BlockingIOError:
            continue        # it is at work
        except FileNotFoundError:
            continue        # it is just being made, or goes


def remove(path: str) -> None:
    """Remove a room and its control groups.

    Raises:
        HostError: a group is still used.
    """
    import shutil
    import time

    end = time.monotonic() + 10
    while left := groups(os.path.basename(path)):
        for top in left:
            for inner, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(inner)
        if time.monotonic() > end:
            raise HostError(f"bench: {left[0]} stays", "something in it does not end", "see its cgroup.procs")
        time.sleep(0.01)        # the kernel ends a pid namespace behind the back of who killed it
    shutil.rmtree(path, ignore_errors=True)


def groups(name: str) -> list[str]:
    """The directories of one name at the top of every cgroup hierarchy, cgroups(7)."""
    found = []
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            _, where, kind, *_ = line.split()
            if kind in ("cgroup", "cgroup2") and os.path.isdir(f"{where}/{name}"):
                found.append(f"{where}/{name}")
    return found
