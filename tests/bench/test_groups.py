"""The order, words and numbers that all reports share."""

from __future__ import annotations

import pytest
from bench_run import sample
from hypothesis import given, strategies as st

from runspec.bench import groups
from runspec.bench.results import Ratio, Results, Series

RESULTS = sample()


@pytest.mark.parametrize(("value", "unit", "text"), [
    (0, "ms", "0"), (12345.6, "ms", "12346"), (1000, "", "1000"), (999.96, "", "1000.0"), (123.45, "", "123.5"),
    (12.345, "", "12.35"), (1.2345, "", "1.234"), (0.98765, "", "0.988"), (0.04034, "", "0.0403"),
    (0.00123, "", "0.00123"), (0.256, "points", "0.26"), (-0.001, "points", "0.00"), (64, "processes", "64"),
    (64.5, "processes", "64.50"), (-3.5, "", "-3.500"), (15.234, "%", "15.2"), (-0.04, "%", "0.0"), (0.25, "%", "0.2"),
    (float("inf"), "", "infinite")])
def test_number(value: float, unit: str, text: str) -> None:
    assert groups.number(value, unit) == text


@given(st.floats(0.001, 1e9))
def test_a_number_is_near_its_text(value: float) -> None:
    text = groups.number(value)
    assert "e" not in text and float(text) == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize(("least", "most", "aim", "verdict", "narrow"), [
    (None, None, "", "", False), (0.99, None, "at least 0.99", "reached", True),
    (None, 0.15, "at most 0.15", "missed", False), (0.5, 2.0, "0.5 to 2", "reached", False),
    (None, 0.95, "at most 0.95", "missed", True)])
def test_a_verdict_says_whether_the_spread_leaves_it_open(least: float | None, most: float | None, aim: str,
                                                          verdict: str, narrow: bool) -> None:
    one = Ratio(name="x", value=1, low=0.9, high=1.1, least=least, most=most)
    assert (groups.aim(one), groups.verdict(one), groups.narrow(one)) == (aim, verdict, narrow)


def test_summary_counts_what_is_asked() -> None:
    assert groups.summary(RESULTS.ratios) == "25 of 28 figures are reached"
    assert groups.summary([Ratio(name="x", value=1, low=1, high=1)]) == ""


def test_every_series_is_in_one_group() -> None:
    found = [one for suite in groups.suites(RESULTS) for group in groups.groups(RESULTS, suite)
             for one in group.series]
    assert sorted(map(repr, found)) == sorted(map(repr, RESULTS.series))
    for suite in groups.suites(RESULTS):
        for group in groups.groups(RESULTS, suite):
            assert {one.unit for one in group.series} == {group.unit}
            assert all(group.find(one.case, one.contender, one.at) == one for one in group.series)


def test_curves_and_single_values_of_one_figure_stand_apart() -> None:
    base = Series(suite="start", figure="apply", contender="runspec", unit="ms", values=(1.0,))
    run = Results(machine={}, versions={}, settings={}, series=(base, base.replace(at=10.0), base.replace(at=1.0)))
    assert [one.points for one in groups.groups(run, "start")] == [(), (1.0, 10.0)]


def test_order() -> None:
    assert groups.order(["runc", "runspec", "lxc", "runc", "native"]) == ("native", "runspec", "runc", "lxc")
    assert groups.suites(RESULTS) == ("cpu", "memory", "network", "isolation", "start", "exec")
    later = RESULTS.replace(series=(RESULTS.series[0].replace(suite="disk"), *RESULTS.series))
    assert groups.suites(later)[-1] == "disk" and groups.title("disk") == "Disk"


def test_part_of_another() -> None:
    one = Series(suite="a", figure="b", contender="c", unit="ms", values=(3.0,))
    assert groups.part(one, one) == "100.0%"
    assert groups.part(one, one.replace(values=(0.4,))) == "7.500 times"
    assert groups.part(one, one.replace(values=(0.0,))) == ""
    assert groups.part(one.replace(unit="%"), one) == ""


@pytest.mark.parametrize(("load", "cores", "told"), [
    ("0.12 0.5 3", "2", False), ("0.5 0 0", "2", True), ("9 9 9", "64", False), ("9", "1", True), ("", "2", False),
    ("much", "2", False), ("1", "some", False)])
def test_a_machine_that_is_busy_is_told(load: str, cores: str, told: bool) -> None:
    run = RESULTS.replace(machine={"load before": load, "cores": cores})
    assert bool(groups.busy(run)) == told and (not told or f"{float(load.split()[0]):g} before" in groups.busy(run))
    assert not groups.busy(RESULTS.replace(machine={}))


def test_commands_are_told_once() -> None:
    found = groups.commands(RESULTS, "memory")
    assert len(found) == len(set(found)) == 4 and found[0] == ("native", "hpcc")


@given(st.text())
def test_plain_text_is_one_printable_line(text: str) -> None:
    assert groups.plain(text).isprintable() and len(groups.plain(text)) == len(text)


def test_what_was_measured_once_is_told() -> None:
    """By suite; a figure that is taken once by its nature, as a bomb, is none of it."""
    assert groups.once(RESULTS) == ""
    single = RESULTS.replace(series=tuple(one.replace(values=one.values[:1]) if one.suite in ("cpu", "exec") else one
                                          for one in RESULTS.series))
    assert groups.once(single).endswith("vary: CPU, Exec.") and groups.once(single) in groups.notes(single)
    bomb = RESULTS.of("exec")[0].replace(figure="bomb", values=(1.0,))
    assert groups.once(RESULTS.replace(series=(*RESULTS.series, bomb))) == ""
