"""A run from outside: what it prints, and that nothing of it is left, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import command, requires

from runspec.bench import world
from runspec.bench.results import from_tree
from runspec.errors import HostError

pytestmark = requires("root", "busybox", "bridge", "veth", "installed")
WORDS = ("bench", "start", "exec", "--quick", "--count", "1,3", "--rounds", "1", "--peers", "none")


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of rooms, ours alone; afterwards nothing may be in it, nor a group, a process, a mount of a run."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    mounts, links = Path("/proc/self/mounts").read_text(), set(os.listdir("/sys/class/net"))
    yield tmp_path
    assert not list(tmp_path.iterdir())
    assert not groups()
    assert Path("/proc/self/mounts").read_text() == mounts
    assert set(os.listdir("/sys/class/net")) == links


def groups() -> list[str]:
    """Control groups of runs in any hierarchy."""
    return [str(found) for top in ("", "*/") for found in Path("/sys/fs/cgroup").glob(f"{top}{world.PREFIX}*")]


def processes(rooms: Path) -> list[str]:
    """Command lines of what runs in one of our rooms."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = one.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(rooms) in text and "pytest" not in text:
            found.append(text)
    return found


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody asks about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def begun(*words: str) -> subprocess.Popen[str]:
    """A run that has come to its first round that counts. It heeds SIGINT also where we, in the background, do not."""
    run = subprocess.Popen(["env", "--default-signal=INT", *command(), *words], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None
    for line in run.stderr:
        if "round 1/" in line:
            return run
    raise AssertionError(f"it ended: {run.wait()}")


def test_a_small_run(rooms: Path) -> None:
    """Its figures are those of both contenders at each count, and none is impossible."""
    out = rooms.parent / "run.json"
    done = subprocess.run([*command(), *WORDS, "--out", str(out)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "start, ms: less is better" in done.stdout and "Exec" in done.stdout
    assert re.search(r"^bench:  \d:\d\d start round 1/1: runspec, 3 at once, network$", done.stderr, re.MULTILINE)
    tree: Any = json.loads(out.read_text())
    results = from_tree(tree, out.name)
    for figure, cases in (("start", ("", "network")), ("delete", ("", "network")), ("second apply", ("",)),
                          ("diff", ("",)), ("finish", ("",))):
        for case in cases:
            found = {(one.contender, one.at): one for one in results.of("start", figure, case)}
            for count in (None,) if figure == "finish" else (1.0, 3.0):
                one = found["runspec", count]
                assert len(one.values) == 1 and 1 < one.median < 60_000 and one.unit == "ms", one
    native, ours = ({one.contender: one.median for one in results.of("exec")}[name] for name in ("native", "runspec"))
    assert 0 < native < ours
    assert results.machine["kernel"].split()[1] == os.uname().release
    assert set(results.versions) == {"native", "runspec"}
    again = subprocess.run([*command(), "bench", "--show", str(out), "--compare", str(out)], capture_output=True,
                           text=True, timeout=60)
    assert again.returncode == 0 and "No figure of runspec differs" in again.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_of_a_run_that_is_stopped(number: signal.Signals, rooms: Path) -> None:
    run = begun(*WORDS)
    assert groups() and list(rooms.iterdir())
    run.send_signal(number)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130 and "Traceback" not in errors
    assert not processes(rooms)


def test_a_killed_run_ends_whole_and_the_next_one_removes_what_it_left(rooms: Path) -> None:
    # Of more rounds than that takes, and into a file: a closed pipe would end it as well.
    out = rooms.parent / f"{rooms.name}.out"
    with out.open("w") as file, subprocess.Popen([*command(), *WORDS[:-3], "1000", *WORDS[-2:]], stdout=file,
                                                 stderr=file) as run:
        while "round 1/" not in out.read_text():
            assert run.poll() is None
            time.sleep(0.05)
        outer, = children(run.pid)
        first, = children(outer)
        run.kill()
    # The first process of a pid namespace is there until all others in it are gone.
    end = time.monotonic() + 20
    while alive(first) and time.monotonic() < end:
        time.sleep(0.05)
    if alive(first):
        os.kill(first, signal.SIGKILL)
        raise AssertionError("it goes on")
    assert not processes(rooms)
    assert list(rooms.iterdir())
    with world.room() as (path, _):
        assert [str(one) for one in rooms.iterdir()] == [path]


def test_a_room_in_use_is_left_alone(rooms: Path) -> None:
    with world.room() as (first, _), world.room() as (second, _):
        assert sorted(map(str, rooms.iterdir())) == sorted((first, second))
        (rooms / f"{world.PREFIX}strange").symlink_to("/etc")
        world.sweep()
        assert Path(first).is_dir() and Path("/etc/passwd").exists()
        (rooms / f"{world.PREFIX}strange").unlink()


def test_a_measuring_process_that_breaks_is_an_error_and_leaves_nothing(
        rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent)])
    with pytest.raises(HostError, match="ended with status 1"):
        world.inside({}, "inside")


def test_who_is_not_root_is_told(monkeypatch: pytest.MonkeyPatch, rooms: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError, match="you are not root"):
        world.inside({})
