"""Root file systems that mean harm, each with what becomes of it: refused with this error, or run as if it were not so.

A tree is a list of (path, what): "-> TARGET" a symlink, "file", "fifo", "socket", "null" (a device 1:3), "zero"
(1:5), "directory". Outside stands for a directory of the host beside the root, which must stay empty.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
from pathlib import Path

import pytest
from conftest import Cli, requires

pytestmark = requires("root", "busybox", "nsenter")

LOOP, NODIR, PERM = "Too many levels of symbolic links", "Not a directory", "Operation not permitted"
WORKS = ""
Tree = list[tuple[str, str]]
Case = tuple[Tree, str, str]       # tree, further lines of the spec, outcome
SYSTEM: list[Case] = [
    ([(name, what)], "", outcome)
    for name in ("proc", "sys", "dev")
    for what, outcome in (
        ("-> OUTSIDE", LOOP), ("-> ../../OUTSIDE", LOOP), ("-> /tmp", LOOP), ("-> nowhere", LOOP),
        (f"-> {name}", LOOP), ("-> /proc/self/root", LOOP), ("-> .", LOOP), ("file", NODIR), ("fifo", NODIR),
        ("socket", NODIR), ("null", NODIR))]
BIND = "mounts: [{destination: %s, source: VOLUME, options: [bind]}]"
FILE = "mounts: [{destination: %s, source: VOLUME/seen, options: [bind]}]"
CASES: list[Case] = [
    *SYSTEM,
    # What is below /dev comes from us, whatever the image has there.
    ([("dev/null", "-> /proc/sys/kernel/core_pattern")], "", WORKS),
    ([("dev/null", "file")], "", WORKS),
    ([("dev/null", "zero")], "", WORKS),
    ([("dev/null", "directory")], "", WORKS),
    ([("dev/console", "-> OUTSIDE/console")], "", WORKS),
    ([("dev/console", "-> /proc/self/mem")], "", WORKS),
    ([("dev/ptmx", "-> OUTSIDE/ptmx")], "", WORKS),
    ([("dev/ptmx", "null")], "", WORKS),
    ([("dev/pts", "-> OUTSIDE")], "", WORKS),
    ([("dev/shm", "-> OUTSIDE")], "", WORKS),
    ([("dev/mqueue", "-> /sys")], "", WORKS),
    ([("dev/tty", "fifo"), ("dev/fd", "file"), ("dev/stdin", "-> OUTSIDE")], "", WORKS),
    # A /dev of the image itself: its null device is looked at before anything goes through it.
    ([("mydev/null", "file")], "mounts: [{destination: /dev, source: ROOT/mydev, options: [bind]}]", "No such device"),
    ([("mydev/null", "zero")], "mounts: [{destination: /dev, source: ROOT/mydev, options: [bind]}]", "No such device"),
    ([("mydev/null", "-> zero"), ("mydev/zero", "zero")],
     "mounts: [{destination: /dev, source: ROOT/mydev, options: [bind]}]", LOOP),
    # What lies below /proc and /sys of the image is never seen.
    ([("proc/sys", "-> OUTSIDE"), ("proc/kcore", "-> OUTSIDE/kcore")], "", WORKS),
    ([("proc/self", "-> OUTSIDE"), ("proc/version", "file")], "", WORKS),
    ([("sys/fs", "-> OUTSIDE"), ("sys/firmware", "-> OUTSIDE")], "", WORKS),
    # Targets and what leads to them.
    ([("data", "-> OUTSIDE")], BIND % "/data", LOOP),
    ([("data", "-> ../../../../OUTSIDE")], BIND % "/data/deep", LOOP),
    ([("data", "-> /etc"), ("etc", "directory")], BIND % "/data/x", WORKS),
    ([("data", "-> /proc")], BIND % "/data", PERM),
    ([("data", "-> /proc/self/root")], BIND % "/data", LOOP),
    ([("data", "-> /proc/1/cwd")], BIND % "/data/x", LOOP),
    ([("data", "-> /dev/shm/out"), ("x", "file")], BIND % "/data", LOOP),
    ([("data", "file")], BIND % "/data", NODIR),
    ([("data", "fifo")], BIND % "/data/x", NODIR),
    ([("data", "directory")], FILE % "/data", "Is a directory"),
    ([("data", "-> OUTSIDE/file")], FILE % "/data", LOOP),
    ([("data", "-> /proc/sys/kernel/hostname")], FILE % "/data", PERM),
    ([("data", "fifo")], FILE % "/data", WORKS),
    ([("a", "-> b"), ("b", "-> c"), ("c", "-> a")], BIND % "/a", LOOP),
    # Masks and read-only paths.
    ([("etc", "-> OUTSIDE")], "linux: {maskedPaths: [/etc/x], readonlyPaths: [/etc/y]}", WORKS),
    ([("secret", "-> /proc/self/root/tmp")], "linux: {maskedPaths: [/secret]}", LOOP),
    ([("secret", "-> OUTSIDE")], "linux: {readonlyPaths: [/secret]}", WORKS),
    ([("secret", "-> /tmp")], "linux: {maskedPaths: [/secret]}", WORKS),
    ([("secret", "-> ../../tmp")], "linux: {readonlyPaths: [/secret]}", WORKS),
    ([("secret", "fifo")], "linux: {maskedPaths: [/secret]}", WORKS),
]


def grow(root: Path, outside: Path, tree: Tree) -> None:
    """Make the tree; what stands where it wants to be goes first."""
    for name, what in tree:
        path = root / name
        path.parent.mkdir(exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        if what.startswith("-> "):
            path.symlink_to(what[3:].replace("/OUTSIDE", str(outside)).replace("OUTSIDE", str(outside)))
        elif what == "directory":
            path.mkdir()
        elif what == "file":
            path.write_text("from the image\n")
        elif what == "fifo":
            os.mkfifo(path)
        elif what == "socket":
            with socket.socket(socket.AF_UNIX) as one:
                here = os.getcwd()
                os.chdir(path.parent)       # a socket's address is short
                one.bind(path.name)
                os.chdir(here)
        else:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, {"null": 3, "zero": 5}[what]))


def test_the_corpus_is_whole() -> None:
    assert len(CASES) >= 40 and len({str(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[
    f"{i}: {' '.join(map(' '.join, tree))}"[:60].replace("/", "|") for i, (tree, _, _) in enumerate(CASES)])
def test_tree(cli: Cli, tmp_path: Path, number: int) -> None:
    """Refused with this word, nothing half-made; or the container finds /dev, /proc and /sys as they must be."""
    tree, more, outcome = CASES[number]
    root, outside, volume = tmp_path / "root", tmp_path / "outside", tmp_path / "volume"
    for name in ("bin", "proc", "dev", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    outside.mkdir()
    volume.mkdir()
    (volume / "seen").write_text("volume\n")
    busybox = shutil.which("busybox")
    assert busybox
    for name in ("sh", "sleep", "stat", "cat", "readlink", "echo"):
        shutil.copy(busybox, root / "bin" / name)
    grow(root, outside, tree)
    file = tmp_path / "bad.yaml"
    file.write_text(f"""\
apiVersion: runspec/v1
name: bad
root: {{path: {root}}}
process: {{args: [/bin/sleep, "100000"]}}
interfaces: []
{more.replace("VOLUME", str(volume)).replace("ROOT", str(root))}
""")
    told = cli("apply", "--yes", file, status=None)
    assert os.listdir(outside) == [] and os.listdir(volume) == ["seen"]
    assert (volume / "seen").read_text() == "volume\n"
    holder = Path(f"/proc/{cli.netns.pid}/mountinfo").read_text()
    assert str(tmp_path) not in holder
    if outcome:
        assert told.returncode == 2 and outcome in told.stderr and "Traceback" not in told.stderr, told.stderr
        assert cli("list", "-q").stdout == ""
        return
    assert told.returncode == 0, told.stderr
    pid = json.loads(cli("state", "bad").stdout)["pid"]
    null = os.stat(f"/proc/{pid}/fd/0")
    assert stat.S_ISCHR(null.st_mode) and null.st_rdev == os.makedev(1, 3)
    where = {line.split()[4]: line.partition(" - ")[2].split()[0]
             for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}
    for path, kind in (("/proc", "proc"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs"),
                       ("/dev/mqueue", "mqueue"), ("/sys", "sysfs")):
        assert where[path] == kind, path
    said = cli("exec", "bad", "/bin/sh", "-c", "stat -c %t:%T /dev/null /dev/tty; readlink /dev/ptmx; "
               "readlink /dev/fd; cat /proc/self/comm; [ -e /dev/console ] || echo none").stdout.split()
    assert said == ["1:3", "5:0", "pts/ptmx", "/proc/self/fd", "cat", "none"], said
