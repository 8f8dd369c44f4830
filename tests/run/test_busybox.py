"""The busybox image: built once, whole or not at all, and a real init in it."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import requires
from kernels import SLOWER

from runspec.kernel import Kernel
from runspec.run import busybox
from runspec.run.images import Images

SCENE = """
mount -t tmpfs t $1
mkdir $1/u $1/w $1/r
mount -t overlay o -o lowerdir=$2,upperdir=$1/u,workdir=$1/w $1/r
mount -t proc p $1/r/proc
mount -t tmpfs d $1/r/dev
mknod $1/r/dev/null c 1 3
exec chroot $1/r /sbin/init
"""


@requires("root", "busybox")
def test_built_once_and_cheap_after(tmp_path: Path) -> None:
    state = str(tmp_path)
    first = Kernel()
    path = Images(first, True, state).ensure("busybox")
    assert path is not None and first.acts > 0
    top = Path(path)
    assert os.readlink(top / "bin/sh") == "busybox" and (top / "sbin/init").resolve() == top / "bin/busybox"
    assert stat.S_IMODE((top / "tmp").stat().st_mode) == 0o1777
    assert stat.S_ISFIFO((top / "etc/console").stat().st_mode)
    again = Kernel()
    assert Images(again, True, state).ensure("busybox") == path and again.acts == 0


@requires("root", "busybox")
def test_a_look_makes_nothing(tmp_path: Path) -> None:
    told = Images(Kernel(), False, str(tmp_path / "state")).ensure("busybox")
    assert not (tmp_path / "state").exists()
    assert Images(Kernel(), True, str(tmp_path / "state")).ensure("busybox") == told


@requires("root", "busybox")
def test_a_killed_builder_leaves_nothing_that_matters(tmp_path: Path) -> None:
    reference = Kernel()
    want = Images(reference, True, str(tmp_path / "whole")).ensure("busybox")
    assert want is not None
    names = sorted(str(path.relative_to(want)) for path in Path(want).rglob("*"))
    for at in (1, 2, 3, 5, 40, reference.acts // 2, reference.acts - 1, reference.acts):
        state = str(tmp_path / f"killed{at}")
        child = os.fork()
        if not child:
            Images(Kernel(f"kill@{at}"), True, state).ensure("busybox")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
        path = Images(Kernel(), True, state).ensure("busybox")
        assert path is not None
        assert sorted(str(one.relative_to(path)) for one in Path(path).rglob("*")) == names
        assert set(os.listdir(f"{state}/images")) == {"busybox.known", os.path.basename(path)}


@requires("root", "busybox")
def test_builders_at_once(tmp_path: Path) -> None:
    got: list[str | None] = []
    threads = [threading.Thread(target=lambda: got.append(Images(Kernel(), True, str(tmp_path)).ensure("busybox")))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4 and len(set(got)) == 1 and None not in got


@requires("root", "busybox", "unshare", "overlay")
@pytest.mark.both
def test_init_has_a_shell_and_a_syslogd(tmp_path: Path) -> None:
    path = Images(Kernel(), True, str(tmp_path / "state")).ensure("busybox")
    room = tmp_path / "room"
    room.mkdir()
    scene = subprocess.Popen(
        ["unshare", "-m", "-n", "-p", "-f", "sh", "-ec", SCENE, "sh", str(room), str(path)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        seen = {}
        end = time.monotonic() + 10 * SLOWER
        while time.monotonic() < end and sorted(seen.values()) != ["sh", "syslogd"]:
            seen = _children(_init(scene.pid))
            time.sleep(0.1)
        time.sleep(1.5)
        # The same processes, so init had nothing to start again.
        assert seen == _children(_init(scene.pid)) and sorted(seen.values()) == ["sh", "syslogd"]
    finally:
        for pid in [_init(scene.pid), *_children(_init(scene.pid))]:
            if pid:
                with contextlib.suppress(ProcessLookupError):       # init takes its children along
                    os.kill(pid, 9)
        scene.wait()


def _init(parent: int) -> int:
    return next(iter(_children(parent)), 0)


def _children(pid: int) -> dict[int, str]:
    """Pid -> comm of a process' children."""
    try:
        return {int(child): Path(f"/proc/{child}/comm").read_text().strip()
                for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return {}


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(60), b"#!/bin/sh\n",
                                  b"\x7fELF\x02\x01" + bytes(58)])
def test_what_is_no_static_program(data: bytes) -> None:
    assert not busybox.is_static(data)


def test_static_is_read_from_the_header() -> None:
    assert not busybox.is_static(Path("/bin/sh").resolve().read_bytes())


def test_applets_stay_inside() -> None:
    assert busybox.parse_applets("bin/sh\nusr/bin/[\n../etc/passwd\nbin/../../x\n/bin/x\nlinuxrc\n\n") == [
        "bin/sh", "usr/bin/["]
