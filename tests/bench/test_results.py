"""Results as JSON and back, damaged files, quantiles and ratios."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from bench_run import run, series
from hypothesis import given, settings, strategies as st

from runspec.bench.comparison import compare
from runspec.bench.results import (
    FORMAT,
    HIGHER,
    LOWER,
    Aim,
    Missing,
    Ratio,
    Results,
    Series,
    from_tree,
    judge,
    point,
    quantile,
    ratio,
    size,
    to_tree,
)
from runspec.errors import UsageError

numbers = st.floats(-1e12, 1e12)
texts = st.text(max_size=12)
maps = st.dictionaries(texts, texts, max_size=3)
all_series = st.builds(
    Series, suite=texts, figure=texts, case=texts, contender=texts, unit=st.sampled_from(["ms", "GB/s", "%", ""]),
    better=st.sampled_from([LOWER, HIGHER]), at=st.none() | numbers, along=texts, command=texts,
    values=st.lists(numbers, min_size=1, max_size=7).map(tuple))
all_ratios = st.builds(
    Ratio, name=texts, value=numbers | st.just(math.inf), low=numbers, high=numbers | st.just(math.inf),
    least=st.none() | numbers, most=st.none() | numbers)
all_results = st.builds(
    Results, machine=maps, versions=maps, settings=maps, series=st.lists(all_series, max_size=4).map(tuple),
    ratios=st.lists(all_ratios, max_size=3).map(tuple),
    missing=st.lists(st.builds(Missing, suite=texts, contender=texts, why=texts), max_size=3).map(tuple))
some_values = st.lists(st.floats(0.5, 2), min_size=1, max_size=9).map(tuple)


# -- JSON ---------------------------------------------------------------------------------------------

@given(all_results)
def test_what_is_written_is_read(results: Results) -> None:
    """Through JSON's own text, which has to be what other readers take as well: no Infinity, no NaN."""
    text = json.dumps(to_tree(results), allow_nan=False)
    assert from_tree(json.loads(text), "run.json") == results


def test_other_readers_get_what_is_computed() -> None:
    tree = to_tree(run(series(1, 2, 4, 8)))
    assert tree["format"] == FORMAT
    assert tree["series"] == [{"suite": "start", "figure": "apply", "contender": "runspec", "unit": "ms",
                               "values": [1, 2, 4, 8], "median": 3, "low": 1.75, "high": 5}]


def test_keys_of_a_later_version_are_passed_over() -> None:
    tree = to_tree(run(series(1)))
    tree["colour"] = tree["series"][0]["colour"] = "red"
    assert from_tree(tree, "x") == run(series(1))


def damaged(**change: Any) -> dict[str, Any]:
    """A good tree with one of its parts replaced, or left out where it is None."""
    tree = to_tree(Results(machine={"kernel": "6"}, versions={}, settings={}, series=(series(1, 2),),
                           ratios=(Ratio(name="a", value=1, low=1, high=1),),
                           missing=(Missing(suite="cpu", contender="lxc", why="no"),)))
    tree.update(change)
    return {key: value for key, value in tree.items() if value is not None}


def row(**change: Any) -> list[dict[str, Any]]:
    """Series of one row with one of its fields replaced, or left out where it is None."""
    found = {"suite": "a", "figure": "b", "contender": "c", "unit": "ms", "values": [1], **change}
    return [{key: value for key, value in found.items() if value is not None}]


@pytest.mark.parametrize(("tree", "why"), [
    (damaged(series=None), "it has no series"),
    (damaged(machine=None), "it has no machine"),
    (damaged(machine=["6"]), "['6'] is no map"),
    (damaged(machine={"cores": 2}), "2 is no text"),
    (damaged(series={"a": 1}), "series is no list"),
    (damaged(series=["a"]), "series[0]: 'a' is no map"),
    (damaged(series=row(unit=None)), "series[0]: Series needs unit"),
    (damaged(series=row(values=None)), "series[0]: Series needs values"),
    (damaged(series=row(values=[])), "series[0]: [] is no list of values"),
    (damaged(series=row(values="12")), "series[0]: '12' is no list of values"),
    (damaged(series=row(values=[1, "2"])), "series[0]: '2' is no number"),
    (damaged(series=row(values=[True])), "series[0]: True is no number"),
    (damaged(series=row(values=[math.nan])), "series[0]: nan is no number"),
    (damaged(series=row(values=[math.inf])), "series[0]: inf is no number"),
    (damaged(series=row(values=[10 ** 400])), "series[0]: int too large to convert to float"),
    (damaged(series=row(at="many")), "series[0]: 'many' is no number"),
    (damaged(series=row(case=7)), "series[0]: 7 is no text"),
    (damaged(series=row(better="more")), "series[0]: better is neither lower nor higher"),
    (damaged(ratios=[{"name": "a", "value": 1, "low": 1}]), "ratios[0]: Ratio needs high"),
    (damaged(missing=[{"suite": "cpu"}]), "missing[0]: Missing needs contender"),
])
def test_a_damaged_file_is_told_where(tree: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_tree(tree, "old.json")
    assert (caught.value.what, caught.value.why) == ("bench: old.json is damaged", why)
    assert caught.value.fix


@pytest.mark.parametrize("tree", [None, [], "text", {}, {"format": "runspec-bench/2"}, {"series": []}])
def test_another_file_is_refused(tree: Any) -> None:
    with pytest.raises(UsageError, match=r"old\.json is no result of `runspec bench -o json`"):
        from_tree(tree, "old.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6)


@settings(max_examples=200)
@given(st.data())
def test_whatever_stands_in_a_file_is_read_or_refused(data: st.DataObject) -> None:
    """Never another exception: one place of a good file, at any depth, becomes something else."""
    tree = damaged()
    here: Any = tree
    while True:
        key = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        if not (isinstance(here[key], (dict, list)) and here[key]) or data.draw(st.booleans()):
            break
        here = here[key]
    here[key] = data.draw(json_values)
    try:
        found = from_tree(tree, "old.json")
    except UsageError:
        return
    compare(found, found)
    assert from_tree(json.loads(json.dumps(to_tree(found))), "x") == found


# -- numbers ------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("values", "part", "found"), [
    ((5,), 0.5, 5), ((3, 1, 2), 0.5, 2), ((1, 2, 3, 4), 0.5, 2.5), ((1, 2, 3, 4, 5), 0.25, 2),
    ((1, 2, 3, 4, 5), 0.75, 4), ((4, 1), 0.25, 1.75), ((7, 9), 1, 9), ((7, 9), 0, 7)])
def test_quantile(values: tuple[float, ...], part: float, found: float) -> None:
    assert quantile(values, part) == found


@given(some_values)
def test_quartiles_hold_the_median(values: tuple[float, ...]) -> None:
    one = series(*values)
    assert min(values) <= one.low <= one.median <= one.high <= max(values)


def test_noise_is_a_part_of_the_median() -> None:
    one = series(8, 9, 10, 11, 12)
    assert one.noise == pytest.approx(0.2) and one.noisy
    assert series(5).noise == 0 and not series(5).noisy and series(0, 0).noise == 0


def test_noise_of_a_percentage_is_a_part_of_the_whole() -> None:
    """A degradation of 0.1 % that was once 0.3 % is not one of 200 %."""
    one = series(0.0, 0.1, 0.1, 0.3, 0.4, unit="%")
    assert one.noise == pytest.approx(0.2 / 100.1) and not one.noisy


def test_a_ratio_is_made_round_by_round() -> None:
    """A slow third round hits both; the quotient of the medians is another one."""
    found = ratio(series(1, 2, 30), series(2, 4, 20), "apply / runc", most=0.5)
    assert (found.value, found.low, found.high, found.good) == (0.5, 0.5, 1.0, True)


def test_a_ratio_leaves_out_rounds_without_a_divisor() -> None:
    assert ratio(series(4, 9), series(0, 3), "x").value == 3
    assert ratio(series(4), series(0), "x").value == math.inf


@pytest.mark.parametrize(("least", "most", "good"), [
    (None, None, None), (0.99, None, True), (1.01, None, False), (None, 1, True), (None, 0.9, False),
    (0.5, 2, True), (0.5, 0.9, False)])
def test_the_verdict_takes_the_bounds_for_good(least: float | None, most: float | None, good: bool | None) -> None:
    assert Ratio(name="x", value=1, low=1, high=1, least=least, most=most).good is good


def test_of_chooses() -> None:
    a, b, c = series(1, figure="apply"), series(1, figure="delete", case="veth"), series(1, suite="cpu")
    found = run(a, b, c)
    assert found.of("start") == (a, b) and found.of("start", "delete") == (b,)
    assert found.of("start", case="") == (a,) and found.of("disk") == ()


@pytest.mark.parametrize(("value", "text"), [
    (1, "1 B"), (48, "48 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (8 << 20, "8 MiB"), (3 << 40, "3 TiB"),
    (float(1 << 60), "1.049e+06 TiB")])
def test_size(value: float, text: str) -> None:
    assert size(value) == text


def test_a_point_is_bytes_or_a_number() -> None:
    assert point(4096, "bytes") == "4 KiB"
    assert point(500, "containers") == "500"


def test_what_is_asked_is_named_and_judged() -> None:
    """At each case and point that an aim is for; nothing where the other one is missing."""
    ours = series(2, case="veth", at=1048576.0, along="bytes")
    every = (ours, ours.replace(contender="lxc", values=(4.0,)), ours.replace(contender="runc", values=(1.0,)),
             ours.replace(contender="native", values=(0.5,)), series(8, at=100.0, along="containers"))

    def one(over: str, **other: Any) -> list[tuple[str, float]]:
        aim = Aim(**{"suite": "start", "figure": "apply", "case": "veth", "over": over, "most": 1.0, **other})
        return [(found.name, found.value) for found in judge(every, (aim,))]

    assert one("lxc") == [("start: apply, veth of 1 MiB / lxc", 0.5)]
    assert one("best") == [("start: apply, veth of 1 MiB / runc", 2)]
    assert one("crun") == [] and one("lxc", case="macvlan") == [] and one("lxc", at=1.0) == []
    assert one("", case="*") == [("start: apply, veth of 1 MiB", 2), ("start: apply of 100", 8)]
    assert one("", case="") == [("start: apply of 100", 8)]
