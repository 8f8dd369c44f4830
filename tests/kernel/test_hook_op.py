"""The HOOK operation, and the kernel's door to it: what a hook gets, how it ends, how runspec's end ends it."""

from __future__ import annotations

import json
import os
import signal
import time
from errno import EACCES, ECHILD, EINVAL, ENOENT, ETIMEDOUT
from pathlib import Path

import pytest
from children import BUSYBOX, Run, run

from runspec import abi
from runspec.abi import Op
from runspec.kernel import Kernel

pytestmark = pytest.mark.requires("root", "busybox")
STATE = Op(abi.OP_HOOK_STATE, s1=b'{"pid": ', s2=b"}", a=1)


def hook(script: str, milliseconds: int = 0, env: bytes = b"") -> Op:
    return Op(abi.OP_HOOK, s1=b"".join(word.encode() + b"\0" for word in (BUSYBOX, "sh", "-c", script)), s2=env,
              a=milliseconds)


def call(*ops: Op, timeout: float | None = 20) -> tuple[int, bytes]:
    return Kernel().run_hook(ops, timeout)


def test_what_a_hook_gets(tmp_path: Path) -> None:
    out = tmp_path / "out"
    env = b"A=b c\0D=\0"
    script = "cat; echo; ls /proc/self/fd | wc -w; echo $$ $(cut -d' ' -f5,6 /proc/$$/stat); env"
    assert call(STATE, hook(f"({script}) >{out} 2>&1", env=env)) == (0, b"")
    state, fds, ids, *env_seen = out.read_text().splitlines()
    assert json.loads(state)["pid"] > 1
    added = ("PWD=", "SHLVL=", "PATH=", "OLDPWD=")      # by the shell itself
    assert sorted(one for one in env_seen if not one.startswith(added)) == ["A=b c", "D="]
    assert int(fds) == 4, "three standard streams and ls's own"
    pid, group, session = ids.split()
    assert pid == group == session


def test_any_length_of_state_and_a_hook_that_does_not_read_it() -> None:
    long = Op(abi.OP_HOOK_STATE, s1=b"x" * (1 << 20))
    assert call(long, hook("true")) == (0, b"")
    assert call(long, hook("test $(cat | wc -c) = 1048576")) == (0, b"")


@pytest.mark.parametrize(("script", "milliseconds", "errno", "status"), [
    ("exit 5", 0, ECHILD, 5 << 8), ("kill -SEGV $$", 0, ECHILD, signal.SIGSEGV), ("sleep 100", 50, ETIMEDOUT, 9)])
def test_how_it_fails(script: str, milliseconds: int, errno: int, status: int) -> None:
    got, said = call(STATE, hook(f"echo one; {script}", milliseconds))
    assert got == errno
    assert int.from_bytes(said[:4], "little") & ~0x80 == status and said[4:] == b"one\n"


@pytest.mark.parametrize(("path", "errno"), [("/no/such", ENOENT), ("/etc/passwd", EACCES), ("/", EACCES)])
def test_what_cannot_be_executed(path: str, errno: int) -> None:
    op = Op(abi.OP_HOOK, s1=f"{path}\0x\0".encode())
    assert call(STATE, op)[0] == errno


def test_a_hook_without_words_is_refused() -> None:
    assert call(STATE, Op(abi.OP_HOOK, s1=b"/bin/true\0"))[0] == EINVAL


@pytest.mark.parametrize("size", [1, 2047, 2048, 2049, 40_000, 3_000_000])
def test_only_the_end_is_kept(size: int) -> None:
    """Of any amount the last 2 KiB, in order."""
    errno, said = call(STATE, hook(f"seq 1 {size} | head -c {size}; printf END; exit 1"))
    whole = b"".join(b"%d\n" % i for i in range(1, min(size, 600_000) + 1))[:size] + b"END"
    assert errno == ECHILD and said[4:] == whole[-2048:]


def test_time_is_measured_from_its_start_and_ends_its_group() -> None:
    began = time.monotonic()
    errno, _ = call(STATE, hook("sleep 86398 & sleep 86398", 200))
    spent = time.monotonic() - began
    assert errno == ETIMEDOUT and 0.2 <= spent < 3
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes()
            stat = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        assert b"86398" not in words or stat == "Z"


def test_its_end_counts_not_that_of_what_it_left() -> None:
    began = time.monotonic()
    assert call(STATE, hook("sleep 2 & exit 0")) == (0, b"")
    assert time.monotonic() - began < 1.5


def test_hanging_up_ends_it(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with Run([STATE, hook(f"echo $$ >{mark}; sleep 86397")]) as child:
        end = time.monotonic() + 5
        while not (mark.exists() and mark.read_text()) and time.monotonic() < end:
            time.sleep(0.01)
        pid = int(mark.read_text())
        os.kill(pid, 0)
        assert os.waitstatus_to_exitcode(child.end()) == 1
        end = time.monotonic() + 5
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.01)
        assert not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()


def test_several_in_one_table_read_the_same_state() -> None:
    check = hook("grep -q '^{\"pid\": [0-9]*}$'")
    assert [one.kind for one in run([STATE, check, check])] == [abi.REPORT_DONE]
