"""What belongs to a stressor, what is allowed, and what it comes to; the pair of specs/bench."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kernels import SLOWER

from runspec.bench import hpcc, suite_isolation as isolation
from runspec.bench.contenders_own import Native
from runspec.bench.results import Series, judge
from runspec.bench.scene import Scene
from runspec.bench.suite import Settings
from runspec.bench.work import Work
from runspec.errors import HostError
from runspec.spec import rules, source
from runspec.spec.model import Spec

FILE = Path(__file__).parents[2] / "specs/bench/isolation.yaml"


def pair() -> dict[str, Spec]:
    read, faults = rules.judge(*source.gather([str(FILE)]))
    assert not faults
    return {model.name: model for model, _ in read if isinstance(model, Spec)}


def test_stat_of_a_process_with_a_hostile_name() -> None:
    text = "42 (a) R 1 (b) S 7 42 42 0 -1 4194560 95 100 0 0 3 5 11 13 20 0 1 0 100 1000 10 18446744073709551615"
    found = isolation.parse_stat(text)
    assert (found.parent, found.ticks, found.resident) == (7, 3 + 5 + 11 + 13, 10 * os.sysconf("SC_PAGE_SIZE"))


def test_time_of_children_counts_also_when_they_are_gone() -> None:
    """A shell whose child has worked for half a second and ended, beside another that works elsewhere."""
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    shell = subprocess.Popen(["sh", "-c", f"{sys.executable} -I -S -c '{busy}'; echo; sleep 60"],
                             stdout=subprocess.PIPE, start_new_session=True)
    other = subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"])
    try:
        assert shell.stdout is not None
        shell.stdout.readline()
        assert 0.4 < isolation.cpu_seconds(shell.pid) < 0.5 + SLOWER
        assert isolation.cpu_seconds(0) == 0
    finally:
        other.kill()
        other.wait()
        isolation.end(shell)
    time.sleep(0.05)
    assert isolation.cpu_seconds(shell.pid) == 0


def test_what_is_beside_ends_whole() -> None:
    """All that it started is ended with it."""
    one = isolation.beside(("sh", "-c", "sleep 300 & sleep 300"), min(os.sched_getaffinity(0)))
    end = time.monotonic() + 5 * SLOWER
    while len(members(one.pid)) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    mine = members(one.pid)
    assert len(mine) >= 3
    isolation.end(one)
    end = time.monotonic() + 5 * SLOWER         # who reaps the orphans takes its time
    while members(one.pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not members(one.pid)


def members(session: int) -> list[int]:
    """Processes of a session that run."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(name))
    return found


@pytest.mark.parametrize("kind", isolation.STRESSORS)
def test_every_stressor_is_bounded(kind: str) -> None:
    """In seconds always; in bytes and processes where it takes any."""
    words = isolation.stressor(kind)
    text = " ".join(words)
    assert re.search(rf"(--timeout|timeout|-t) {isolation.BOUND}\b", text)
    for option, bound in (("--vm", "--vm-bytes"), ("--hdd", "--hdd-bytes"), ("--fork", "--fork-max")):
        assert option not in words or bound in words
    if "--fork" in words:
        assert int(words[words.index("--fork") + 1]) * int(words[words.index("--fork-max") + 1]) < 2000


def test_the_neighbour_with_and_without_limits() -> None:
    neighbour = pair()["neighbour"]
    assert neighbour.linux.resources.pids.limit == isolation.MOST_PROCESSES - 2
    assert neighbour.linux.resources.memory.limit == (isolation.MOST_TAKEN - 64) << 20
    assert neighbour.linux.resources.memory.swap == neighbour.linux.resources.memory.limit
    free = isolation.unlimited(neighbour).linux.resources
    assert (free.cpu.cpus, free.memory.limit, free.pids.limit) == (None, None, None)
    # A stressor that a limit ends would be no stressor.
    for kind, unit in (("memory", "m"),):
        words = isolation.stressor(kind)
        assert int(words[words.index("--vm-bytes") + 1].removesuffix(unit)) < 256


class Growing(Work):
    """A directory where each look finds one solution more, at the rate that is true then."""

    def __init__(self, path: Path, rate: float) -> None:
        super().__init__(str(path))
        self.rate, self.text, self.left = rate, "", 1000

    def drop(self, *names: str) -> None:
        self.text = "Begin of HPL section.\n"

    def read(self, name: str) -> str:
        if self.left:
            self.left -= 1
            self.text += f"WR11C2R4 900 128 1 1 0.2 {self.rate}\n||Ax-b||_oo/(eps)= 0.008 ...... PASSED\n"
        return self.text + ("" if self.left else f"{hpcc.SOLVED}\n")


class Told(Native):
    """Nothing at all, which tells when it is started."""

    def __init__(self, scene: Scene, told: Callable[[], object] = lambda: None) -> None:
        super().__init__(scene)
        self.told, self.log = told, list[str]()

    def start(self) -> None:
        self.log.append("start")
        self.told()

    def delete(self) -> None:
        self.log.append("delete")

    def pids(self) -> dict[str, int]:
        return {"lu": 1, "neighbour": os.getpid()}      # which has used some CPU


def solving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float = 4.0) -> tuple[
        isolation.Isolation, isolation.Pair, Growing]:
    """A pair of which LU solves at 2 once its neighbour works, 1 while that starts, 4 while it is stopped."""
    monkeypatch.setattr("runspec.bench.work.PAUSE", 0)

    @contextlib.contextmanager
    def stopped(pids: set[int]) -> Iterator[None]:
        assert os.getpid() in pids
        work.rate = 4.0
        yield
        work.rate = 2.0

    monkeypatch.setattr(isolation, "stopped", stopped)
    scene = Scene(str(tmp_path), (), print)
    suite = isolation.Isolation(scene, Settings(suites=("isolation",), contenders=()))
    work = Growing(tmp_path / "lu", rate)

    def starting() -> None:
        work.rate = 1.0
        for _ in range(3):
            work.read("")
        work.rate = 2.0

    room = Work(str(tmp_path / "neighbour"))
    room.put("large", "dirty pages")
    pair = isolation.Pair(isolation.Half(Told(scene), "lu", work),
                          isolation.Half(Told(scene, starting), "neighbour", room), "cpu")
    return suite, pair, work


def test_alone_is_while_the_neighbour_is_stopped_and_beside_is_once_it_works(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, pair, _ = solving(tmp_path, monkeypatch)
    assert suite.solve(pair) == (4.0, 2.0)
    assert not (tmp_path / "neighbour/large").exists()      # nothing is left to be written during the next turn
    for half in (pair.lu, pair.neighbour):
        assert isinstance(half.one, Told) and half.one.log == ["start", "delete"]


@pytest.mark.parametrize("left", (isolation.FIRST + isolation.COUNTED + 3 + isolation.SETTLING, 50))
def test_lu_that_ends_before_all_is_seen_is_no_figure(left: int, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """The containers are gone nevertheless."""
    suite, pair, work = solving(tmp_path, monkeypatch)
    work.left = left
    with pytest.raises(HostError, match=r"LU ended after \d+ solutions, when its neighbour had just been started"):
        suite.solve(pair)
    for half in (pair.lu, pair.neighbour):
        assert isinstance(half.one, Told) and half.one.log == ["start", "delete"]


def test_stopped_and_going_on() -> None:
    """Who stays, judged by the kernel's word; also where something fails meanwhile."""
    top = subprocess.Popen(["sh", "-c", "sleep 60 & while :; do sleep 0.001; done"], start_new_session=True)
    try:
        while len(found := isolation.lasting(top.pid)) < 2:
            pass

        def states() -> set[str]:
            return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in (top.pid, min(
                found - {top.pid}))}

        with pytest.raises(HostError), isolation.stopped(found):
            while states() != {"T"}:
                pass
            raise HostError("bench: it failed meanwhile")
        while "T" in states():
            pass
    finally:
        isolation.end(top)
    assert isolation.lasting(0) == set()


def test_one_disturbed_solution_of_four_is_left_out_and_two_are_not() -> None:
    assert isolation.steady((4.0, 4.0, 1.0, 4.0)) == 4.0
    assert isolation.steady((4.0, 1.0, 1.0, 4.0)) == 2.0
    assert isolation.steady((4.0, 4.0, 4.0, 3.0, 4.0, 4.0, 2.0, 4.0)) == 4.0


def lost(contender: str, *values: float, case: str = "memory") -> Series:
    return Series(suite="isolation", figure=isolation.LIMITED, case=case, contender=contender, unit="%", values=values)


def compared(*series: Series) -> tuple[isolation.Isolation, dict[tuple[str, str], Series]]:
    suite = isolation.Isolation(Scene("/nonexistent", (), print), Settings(suites=("isolation",), contenders=()))
    for one in series:
        suite.add(one)
    suite.compare(["memory"])
    return suite, {(one.figure, one.contender): one for one in suite.series()}


def test_beyond_the_hardware_and_the_peers_round_by_round() -> None:
    suite, found = compared(lost("other core", 10, 12, 11), lost("runspec", 10.5, 12, 12), lost("lxc", 10, 13, 13),
                            lost("runc", 20, 20, 20))
    assert found[isolation.BEYOND, "runspec"].values == (0.5, 0, 1)
    assert found[isolation.WORSE, "runspec"].values == (0.5, -1, -1)
    assert found[isolation.SPREAD, "other core"].values == (1.0,)
    bounds = {one.figure: one.most for one in suite.aims}
    assert bounds[isolation.BEYOND] == 1.0 and bounds[isolation.WORSE] == 1.0       # the spread, being larger than 0.9
    verdicts = {one.name: one.good for one in judge(suite.series(), suite.aims)}
    assert verdicts == {"isolation: beyond the other core, memory": True,
                        "isolation: beyond the best peer, memory": True}


def test_to_win_by_a_neighbour_is_noise() -> None:
    _, found = compared(lost("other core", -3, 0, 1), lost("runspec", 0.5, -2, 1), lost("lxc", -9, -9, -9))
    assert found[isolation.BEYOND, "runspec"].values == (0.5, 0, 0)
    assert found[isolation.WORSE, "runspec"].values == (0.5, 0, 1)


def test_a_quiet_machine_allows_no_more_than_the_published() -> None:
    suite, _ = compared(lost("other core", 10, 10, 10), lost("runspec", 11, 11, 11), lost("lxc", 10, 10, 10))
    assert [one.good for one in judge(suite.series(), suite.aims)] == [False, False]
    suite, _ = compared(lost("other core", 10, 10, 10), lost("runspec", 10.8, 10.8, 10.8), lost("lxc", 11, 11, 11))
    assert [one.good for one in judge(suite.series(), suite.aims)] == [True, True]


def test_what_the_kernel_tells_of_this_process() -> None:
    assert isolation.oom_kills() >= 0
    mine = isolation.below(os.getpid())
    assert os.getpid() in mine and os.getppid() not in mine
    assert mine[os.getpid()].resident > 1 << 20
