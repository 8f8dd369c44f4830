"""What is told of two runs: changes beyond the noise, and what else differs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bench_run import faster, run, sample, series
from hypothesis import example, given, strategies as st

from runspec.bench.comparison import Difference, Other, amount, compare, comparison, to_tree
from runspec.bench.results import HIGHER, LOWER, QUIET, Series

NEW = sample()
some_values = st.lists(st.floats(0.5, 2), min_size=1, max_size=9).map(tuple)


def test_a_run_does_not_differ_from_itself() -> None:
    found = comparison(NEW, NEW, "old.json")
    assert (found.worse, found.better, found.others, found.gone, found.added) == ((), (), (), 0, 0)
    assert found.compared == len(NEW.series)
    assert found.verdict == "No figure of runspec differs beyond the noise and what the machine became."


def test_what_is_our_own_comes_first() -> None:
    """Exec became 30 % faster everywhere, the machine did that; apply slower by a third, that is ours."""
    old = faster(faster(NEW, 1.3, suite="exec"), 0.75, figure="apply", contender="runspec")
    old = old.replace(machine={**NEW.machine, "kernel": "Linux 6.1", "load before": "9"},
                      versions={**NEW.versions, "runspec": "0.0.9", "rkt": "1"})
    found = comparison(old, NEW, "old.json")
    assert [(one.series.figure, one.series.contender) for one in found.worse] == [("apply", "runspec")] * 4
    assert found.better[0].series.contender == "runspec"
    assert {one.series.contender for one in found.better} == {"runspec", "runc", "crun", "lxc"}
    assert all(one.alone for one in found.worse) and not any(one.alone for one in found.better)
    assert found.verdict == "4 figures of runspec got worse, none got better."
    assert found.others == (Other(name="kernel", before="Linux 6.1", now="Linux 6.18.0"),
                            Other(name="runspec", before="0.0.9", now="0.1.0"),
                            Other(name="rkt", before="1", now=""))


def test_what_is_in_one_run_alone_is_counted() -> None:
    fewer = NEW.replace(series=NEW.series[3:])
    assert (comparison(NEW, fewer, "x").gone, comparison(NEW, fewer, "x").added) == (3, 0)
    assert comparison(fewer, NEW, "x").added == 3
    other = comparison(NEW.replace(series=NEW.series[:3]), fewer, "x")
    assert other.verdict == "The two runs have no figure in common."
    assert other.counts.startswith("0 figures are within the noise; 3 are only in the older run, ")
    one = NEW.replace(series=NEW.series[:1])
    assert comparison(one, one, "x").counts.startswith("1 figure is within the noise; ")


@pytest.mark.parametrize(("change", "text"), [
    (1, "+0.0 %"), (1.24, "+24 %"), (0.5, "-50 %"), (1.031, "+3.1 %"), (0.9451, "-5.5 %")])
def test_amount(change: float, text: str) -> None:
    assert amount(change) == text


@pytest.mark.parametrize(("better", "amounts"), [(LOWER, ("+25 %", "+60 %")), (HIGHER, ("-20 %", "-38 %"))])
def test_what_others_became_is_told_the_same_way_round(better: str, amounts: tuple[str, str]) -> None:
    """1.25 is a quarter worse: more of a time, less of a rate."""
    one = series(1, better=better)
    assert Difference(series=one, before=1, now=1, change=1.25, beyond=0.05, others=1.6).amounts == amounts
    assert Difference(series=one, before=1, now=1, change=1.25, beyond=0.05).amounts == (amounts[0], "")


@pytest.mark.parametrize(("change", "others", "alone"), [
    (1.3, 1.0, True), (1.3, 1.28, False), (1.3, 1.9, False), (0.5, 1.0, True), (0.5, 0.51, False), (0.5, 0.3, False),
    (0.5, 1.9, True), (1.3, None, True)])
def test_who_gained_less_than_the_others_did_not_get_better(change: float, others: float | None, alone: bool) -> None:
    assert Difference(series=series(1), before=1, now=1, change=change, beyond=0.05, others=others).alone is alone


def test_tree_is_plain_json() -> None:
    found = to_tree(comparison(faster(NEW, 2, suite="exec", contender="runspec"), NEW, "old.json"))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    row, = found["better"]
    assert (row["suite"], row["contender"], row["alone"]) == ("exec", "runspec", True)
    assert row["now"] / row["before"] == pytest.approx(row["change"]) == pytest.approx(0.5)


def changes(before: Series, now: Series) -> tuple[int, int]:
    worse, better = compare(run(before), run(now))
    return len(worse), len(better)


@pytest.mark.parametrize(("before", "now", "found"), [
    ((100,), (104,), (0, 0)),
    ((100,), (106,), (1, 0)),
    ((100,), (94,), (0, 1)),
    ((95, 100, 105), (100, 107, 112), (0, 0)),          # 5 % here and 5.6 % there: 7 % may be noise
    ((99, 100, 101), (109, 110, 111), (1, 0)),
    ((100, 100, 900), (104, 104, 1000), (0, 0)),
])
def test_beyond_the_noise_of_both(before: tuple[float, ...], now: tuple[float, ...], found: tuple[int, int]) -> None:
    assert changes(series(*before), series(*now)) == found


def test_more_may_be_better() -> None:
    def speed(value: float) -> Series:
        return series(value, unit="GB/s", better=HIGHER)

    assert changes(speed(10), speed(9)) == (1, 0) and changes(speed(9), speed(10)) == (0, 1)


@pytest.mark.parametrize(("before", "now", "found"), [
    (0, 0.5, (0, 0)), (0, 8, (1, 0)), (8, -0.2, (0, 1)), (-0.3, 0.3, (0, 0))])
def test_a_percentage_of_nothing_is_compared(before: float, now: float, found: tuple[int, int]) -> None:
    """A degradation that was 0 and is 8 % is one; one that turned its sign in the noise is none."""
    assert changes(series(before, unit="%"), series(now, unit="%")) == found


@pytest.mark.parametrize("other", [
    {"contender": "runc"}, {"case": "veth"}, {"at": 100.0}, {"suite": "exec"}, {"figure": "delete"}, {"unit": "s"},
    {"better": HIGHER}])
def test_only_the_same_thing_is_compared(other: dict[str, Any]) -> None:
    assert changes(series(1), series(9, **other)) == (0, 0)


def test_what_a_machine_became_is_told_from_what_runspec_became() -> None:
    old = run(series(10), series(20, contender="runc"), series(30, contender="lxc"), series(5, figure="delete"))
    new = run(series(13), series(26, contender="runc"), series(39, contender="lxc"), series(9, figure="delete"))
    worse, better = compare(old, new)
    assert not better and [(one.series.figure, one.series.contender) for one in worse] == [
        ("delete", "runspec"), ("apply", "runspec"), ("apply", "runc"), ("apply", "lxc")]
    delete, apply = worse[0], worse[1]
    assert apply.others == pytest.approx(1.3) and not apply.alone
    assert delete.others is None and delete.alone and delete.change == pytest.approx(1.8)


@example((1.6875,), (1.375, 1.6875), "ms", LOWER)           # just at the border
@given(some_values, some_values, st.sampled_from(["ms", "%"]), st.sampled_from([LOWER, HIGHER]))
def test_the_other_way_round_worse_is_better(a: tuple[float, ...], b: tuple[float, ...], unit: str,
                                             better: str) -> None:
    one, other = run(series(*a, unit=unit, better=better)), run(series(*b, unit=unit, better=better))
    assert compare(one, one) == ((), ())
    (worse, good), (worse_back, good_back) = compare(one, other), compare(other, one)
    assert (len(worse), len(good)) == (len(good_back), len(worse_back))
    for found, back in [*zip(worse, good_back, strict=True), *zip(good, worse_back, strict=True)]:
        assert found.change * back.change == pytest.approx(1) and found.beyond == pytest.approx(back.beyond)
        assert found.beyond >= QUIET


@given(some_values, st.floats(0.97, 1.03))
def test_what_differs_by_less_than_quiet_runs_do_is_nothing(values: tuple[float, ...], change: float) -> None:
    assert compare(run(series(*values)), run(series(*(change * one for one in values)))) == ((), ())
