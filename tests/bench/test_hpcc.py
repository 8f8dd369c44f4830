"""What hpcc(1) is told and what it says, by the results of a real run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from runspec.bench import hpcc
from runspec.bench.scene import Scene
from runspec.bench.suite import Settings
from runspec.bench.suite_memory import Memory
from runspec.errors import HostError

HERE = Path(__file__).parent
TEXT = (HERE / "hpccoutf.txt").read_text()
TEMPLATE = (HERE.parents[1] / "specs/bench/hpccinf.txt").read_text()


def test_linpack_of_each_solution() -> None:
    assert hpcc.parse_linpack(TEXT) == (5.005, 4.973)


@pytest.mark.parametrize(("old", "new", "said"), [
    ("PASSED", "FAILED", "0 of 2 solutions"),
    ("End of Tests.", "WR11C2R4        1000   128     1     1               0.13              5.005e+00", "2 of 3"),
    ("Begin of HPL section", "", "0 of 0"),
])
def test_a_solution_that_was_not_checked_is_none(old: str, new: str, said: str) -> None:
    with pytest.raises(HostError, match=said):
        hpcc.parse_linpack(TEXT.replace(old, new))


def test_one_wrong_solution_is_enough() -> None:
    with pytest.raises(HostError, match="1 of 2 solutions"):
        hpcc.parse_linpack(TEXT.replace("PASSED", "FAILED", 1))


def test_stream() -> None:
    assert hpcc.parse_stream(TEXT) == {"Copy": 92.039623, "Scale": 58.850516, "Add": 74.977198, "Triad": 70.361147}
    assert hpcc.parse_stream(TEXT.replace("Maximum Copy GB/s 92.0", "Maximum Copy GB/s 93.0"))["Copy"] == 93.039623
    for half in ("Single STREAM Add GB/s 74.977198", "Maximum Triad GB/s 70.175984"):
        with pytest.raises(HostError, match="not whole"):
            hpcc.parse_stream(TEXT.replace(half, ""))


def test_all_solutions_together() -> None:
    """Twice the same work, at 1 and at 3 a second: half of the time is lost to the slow one."""
    assert hpcc.overall((1.0, 3.0)) == 1.5


@given(st.integers(1, 99999), st.integers(1, 3 * hpcc.MOST_VALUES))
def test_input_differs_from_the_file_in_its_solutions(order: int, solves: int) -> None:
    lines, old = hpcc.told(TEMPLATE, order, solves).splitlines(), TEMPLATE.splitlines()
    depth = next(n for n, line in enumerate(old) if "DEPTHs" in line)
    assert [n for n, (a, b) in enumerate(zip(lines, old, strict=True))
            if a != b and n not in (4, 5, depth - 1, depth)] == []
    sizes, depths = lines[5].split()[:-1], lines[depth].split("DEPTHs")[0].split()
    assert [lines[4].split()[0], lines[depth - 1].split()[0]] == [str(len(sizes)), str(len(depths))]
    assert set(sizes) == {str(order)} and set(depths) == {old[depth].split()[0]}
    assert max(len(sizes), len(depths)) <= hpcc.MOST_VALUES
    assert len(sizes) * len(depths) >= solves and (solves > hpcc.MOST_VALUES or len(depths) == solves)


def test_solutions_of_a_file_that_grows() -> None:
    """Each counts from the end of the line that says it is right, whatever follows."""
    ends = [at.end() + 1 for at in re.finditer(r"\|\|Ax-b\|\|.*PASSED", TEXT)]
    assert len(ends) == 2
    for size in range(0, len(TEXT), 7):
        assert hpcc.solved(TEXT[:size]) == (5.005, 4.973)[:sum(size >= one for one in ends)]
    with pytest.raises(HostError, match="solution 2 failed"):
        hpcc.solved("FAILED".join(TEXT.rsplit("PASSED", 1)))


@given(st.integers(1 << 18, 1 << 29))
def test_vectors_exceed_the_caches_and_tables_stay_small(cache: int) -> None:
    size = 8 * hpcc.stream_order(cache, 1 << 40) ** 2
    assert 1.97 * cache < size < 2 * cache
    assert 8 * hpcc.stream_order(cache, 1 << 20) ** 2 <= 1 << 20


@pytest.mark.parametrize(("text", "size"), [("32768K\n", 1 << 25), ("2M", 1 << 21), ("512", 512), ("", 0),
                                            ("1G", 1 << 30)])
def test_sizes_of_caches(text: str, size: int) -> None:
    assert hpcc.parse_size(text) == size


def test_this_machine_has_caches() -> None:
    assert hpcc.cache_bytes() >= 0


@pytest.mark.parametrize(("pace", "names", "order"), [("quick", ("native", "runspec"), 2896),
                                                      ("default", ("native", "runspec", "runc", "lxc"), 5792)])
def test_a_quick_run_is_short_whatever_the_cache(pace: str, names: tuple[str, ...], order: int,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """And tells whom it leaves out."""
    monkeypatch.setattr(hpcc, "cache_bytes", lambda: 1 << 30)
    suite = Memory(Scene("/nonexistent", (), print), Settings(
        suites=("memory",), contenders=("native", "runspec", "floor", "runc", "lxc"), pace=pace))
    assert suite.names() == names
    assert [(one.contender, one.why) for one in suite.missing] == (
        [("runc, lxc", "left out of a quick run")] if pace == "quick" else [])
    assert suite.told().splitlines()[5] == f"{order} Ns"
