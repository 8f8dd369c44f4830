"""The loop of rounds: who goes first, what counts, and what becomes of those who fail."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

import pytest

from runspec.bench.scene import Scene
from runspec.bench.suite import Point, Settings, Suite, Turn
from runspec.errors import HostError


class Small(Suite):
    """A suite that measures nothing by itself."""

    name = "small"


def small(**words: object) -> tuple[Small, list[str]]:
    """A suite, and the lines of progress that it will have said."""
    lines: list[str] = []
    settings = Settings(suites=("small",), contenders=("native", "runspec"), **words)
    return Small(Scene("/nonexistent", (), lines.append), settings), lines


BROKEN = HostError("bench: it broke", "on purpose")


def turn(who: str, asked: list[str], fails: int = -1, error: Exception = BROKEN, label: str = "a thing") -> Turn:
    """A turn that counts its calls, and fails at one of them."""
    mine: list[int] = []

    def take() -> Iterator[Point]:
        mine.append(len(mine))
        asked.append(who)
        yield Point(figure="calls", value=float(len(mine)), unit="")
        if len(mine) - 1 == fails:
            raise error

    return Turn(contender=who, label=label, take=take)


def test_rounds_begin_with_another_turn_each() -> None:
    suite, lines = small()
    asked: list[str] = []
    suite.rounds([turn(who, asked) for who in "abc"], 3)
    assert "".join(asked) == "abc" "bca" "cab" "abc"
    assert lines[0] == "small warm-up: a, a thing"
    assert lines[3] == "small round 1/3: b, a thing"
    # The warm-up was the first call of each and does not count.
    assert {one.contender: one.values for one in suite.series()} == dict.fromkeys("abc", (2.0, 3.0, 4.0))


def test_turns_of_one_label_are_taken_together() -> None:
    """Whatever is first of the labels, and of the contenders at each."""
    suite, lines = small()
    asked: list[str] = []
    suite.rounds([turn(who, asked, label=label) for who in "abc" for label in ("one", "two")], 3, warm=False)
    said = [re.findall(r"(\w), (\w+)", line)[0] for line in lines]
    assert ["".join(who + label[0] for who, label in said[at:at + 6]) for at in (0, 6, 12)] == [
        "btctat" "bocoao", "coaobo" "ctatbt", "atbtct" "aoboco"]


def test_without_a_warm_up() -> None:
    suite, _ = small()
    suite.rounds([turn("a", [])], 2, warm=False)
    assert [one.values for one in suite.series()] == [(1.0, 2.0)]


def test_who_takes_long_is_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in any case; the others are not stopped by it."""
    clock = [0.0]
    monkeypatch.setattr("runspec.bench.suite.monotonic", lambda: clock[0])

    def slow(who: str, seconds: float) -> Turn:
        def take() -> Iterator[Point]:
            clock[0] += seconds
            yield Point(figure="calls", value=seconds, unit="")

        return Turn(contender=who, label="a thing", take=take)

    suite, _ = small()
    suite.rounds([slow("a", 1), slow("b", 25), slow("c", 99)], 5, patience=60)
    assert {one.contender: len(one.values) for one in suite.series()} == {"a": 5, "b": 2, "c": 1}


def test_guests_of_a_full_run_take_part_twice() -> None:
    """Where it takes long; whoever says how many rounds gets them for all."""
    for words, often in (({"pace": "full"}, 2), ({"pace": "full", "rounds": 4}, 4), ({}, 4)):
        suite, _ = small(**words)
        asked: list[str] = []
        suite.rounds([turn(who, asked) for who in ("runspec", "crun", "other core")], 4, warm=False,
                     guests=suite.settings.guests)
        assert [asked.count(who) for who in ("runspec", "crun", "other core")] == [4, often, 4]


@pytest.mark.parametrize("fails", (0, 1, 3))
def test_who_fails_is_left_out_and_told(fails: int) -> None:
    """Whether in the warm-up, in the first round or in the last: no series of fewer rounds is kept."""
    suite, _ = small()
    asked: list[str] = []
    suite.rounds([turn("a", asked), turn("b", asked, fails), turn("c", asked)], 3)
    assert {one.contender: len(one.values) for one in suite.series()} == {"a": 3, "c": 3}
    assert asked.count("b") == fails + 1
    assert [(one.contender, one.why) for one in suite.missing] == [("b", "a thing: it broke: on purpose")]


def test_what_the_kernel_refuses_is_one_turns_failure() -> None:
    """A disk that is full for a while, say: the others' figures stay."""
    suite, _ = small()
    suite.rounds([turn("a", []), turn("b", [], 1, OSError(errno.ENOSPC, "No space left on device", "/room/b"))], 1)
    assert [one.contender for one in suite.series()] == ["a"]
    assert [one.why for one in suite.missing] == ["a thing: [Errno 28] No space left on device: '/room/b'"]


def test_a_failure_of_runspec_is_one() -> None:
    """The others go on, for what they give took its time."""
    suite, _ = small()
    suite.rounds([turn("runspec", [], 0), turn("b", [], 0), turn("c", [])], 1)
    assert [(one.contender, one.failed) for one in suite.missing] == [("runspec", True), ("b", False)]
    assert [one.contender for one in suite.series()] == ["c"]


def test_rounds_by_pace() -> None:
    assert [small(pace=pace)[0].settings.pick(1, 5, 9) for pace in ("quick", "default", "full")] == [1, 5, 9]
    assert small(pace="full", rounds=2)[0].settings.pick(1, 5, 9) == 2
