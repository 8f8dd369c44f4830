"""The suite `start` apart from its containers: which are asked, copies of one, what one of many costs."""

from __future__ import annotations

import pytest
from models import spec

from runspec.bench.results import Series, judge
from runspec.bench.scene import Scene
from runspec.bench.suite import Settings
from runspec.bench.suite_start import Start, copies


def start(**words: object) -> Start:
    """The suite, as some words ask for it."""
    names = ("native", "runspec", "floor", "runc")
    return Start(Scene("/nonexistent", (), lambda line: None), Settings(suites=("start",), contenders=names, **words))


@pytest.mark.parametrize(("words", "rows"), [
    ({"pace": "quick"}, ["1 4", "10 4", "10 4 network"]),
    ({}, ["1 4", "10 4", "10 4 network", "100 4 memory", "100 4 network", "500 2"]),
    ({"pace": "full"}, ["1 4", "10 4", "10 4 network", "100 4 memory", "100 4 network", "500 4", "100 4 filter"]),
    ({"counts": (3, 200)}, ["3 4", "3 4 network", "200 4 memory", "200 4 network"]),
    ({"counts": (200,)}, ["200 4 memory", "200 4 network"]),
])
def test_who_starts_how_many(words: dict[str, object], rows: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    suite = start(**words)

    def starts(names: tuple[str, ...], count: int, case: str, one: object, networks: object,
               memory: bool = False) -> None:
        asked.append(" ".join([str(count), str(len(names)), *([case] if case else []), *(["memory"] * memory)]))

    monkeypatch.setattr(suite, "starts", starts)
    monkeypatch.setattr(suite, "finishes", lambda one: None)
    suite.measure()
    assert asked == rows


def test_copies_have_names_and_addresses_of_their_own() -> None:
    made = copies(spec(), 300)
    assert len({one.name for one in made}) == len({one.interfaces[0].addresses for one in made}) == 300
    assert made[299].name == "all299" and made[299].interfaces[0].addresses == ("10.9.1.45/24", "fd09::12d/64")
    assert {one.linux.resources for one in made} == {spec().linux.resources}


def test_growth_is_the_cost_of_one_of_many_over_that_of_one_of_few() -> None:
    suite = start()
    for at, values in ((10, (50.0, 40.0, 60.0)), (500, (5000.0, 2500.0))):
        suite.add(Series(suite="start", figure="start", contender="runspec", unit="ms", at=at, values=values))
    suite.growth()
    grown, = (one for one in suite.series() if one.figure == "growth")
    assert grown.values == (2.0, 1.0)       # 10 ms and 5 ms each, over 5 ms
    ratio, = (one for one in judge(suite.series(), suite.aims) if "growth" in one.name)
    assert ratio.value == 1.5 and ratio.good is False
