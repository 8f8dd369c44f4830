"""The report on a terminal."""

from __future__ import annotations

import re

import pytest
from bench_run import evil, faster, sample

from runspec.bench import table
from runspec.bench.comparison import comparison
from runspec.bench.groups import number
from runspec.bench.results import Results, Series

RESULTS = sample()
OLD = faster(faster(RESULTS, 1.3, suite="exec"), 0.75, figure="apply", contender="runspec")


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_lines_fit_the_terminal(width: int) -> None:
    text = table.text(RESULTS, width) + "\n" + table.compared(comparison(OLD, RESULTS, "old.json"), width)
    assert [line for line in text.splitlines() if len(line) > width] == []


def test_a_very_narrow_terminal_gets_all_the_same() -> None:
    assert "25 of 28 figures are reached." in table.text(RESULTS, 10).replace("\n  ", " ")


def test_the_ratios_come_first_with_aim_and_verdict() -> None:
    lines = table.text(RESULTS, 120).splitlines()
    assert lines[0] == "Ratios"
    assert lines[1].split() == ["ratio,", "median", "of", "the", "rounds", "value", "spread", "should", "be"]
    rows = dict(re.split(r"\s{3,}", line, maxsplit=1) for line in lines[2:31])
    assert list(rows) == [one.name for one in RESULTS.ratios]
    assert rows["apply of 100, per container / crun"].split() == ["0.292", "±2.8%", "at", "most", "0.3", "reached", "~"]
    assert re.split(r"\s{3,}", rows["isolation: beyond the other core, memory"]) == [
        "0.48 points", "±0.22", "at most 0.9 points", "reached"]
    assert rows["STREAM Scale / native"].endswith("missed ~")
    assert rows["exec / runc"].split() == ["0.411", "±4.7%"]
    assert lines[31] == "25 of 28 figures are reached."


def test_a_name_that_does_not_fit_is_told_in_lines() -> None:
    lines = table.text(RESULTS, 80).splitlines()
    place = lines.index("  peer, network receiver")
    assert lines[place - 1].startswith("isolation: beyond the best ") and lines[place - 1].endswith(" reached")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_median_that_is_no_inner_point_of_a_curve_is_told(width: int) -> None:
    text = table.text(RESULTS, width)
    told = set(re.findall(r"[-\d.]+", text))
    few = [one for one in RESULTS.series if one.suite != "network"]
    assert [one for one in few if number(one.median, one.unit) not in told] == []
    ends = [one for one in RESULTS.series if one.suite == "network" and one.at in (1, 2 << 20)]
    assert ends and [one for one in ends if number(one.median) not in told] == []


def test_noise_has_a_sign() -> None:
    lines = table.text(RESULTS, 100).splitlines()
    copy = next(line for line in lines if line.startswith("Copy"))
    assert copy.split() == ["Copy", "11.97", "±0.3%", "12.04", "±0.8%", "11.78", "±0.5%", "11.55", "±2.8%", "~"]
    assert sum(line.count("~") for line in lines) == 1 + sum(
        one.noisy for one in RESULTS.series if one.suite != "network" or one.at in (1.0, 64.0, 32768.0, 2097152.0)
    ) + sum(line.endswith("ed ~") for line in lines)


def test_one_round_has_no_spread() -> None:
    once = RESULTS.replace(series=tuple(one.replace(values=one.values[:1]) for one in RESULTS.series), ratios=())
    text = table.text(once, 100).partition("Where and how")[0]
    assert "±" not in text and " to " not in text and "~" not in text
    assert re.search(r"^native +38\.34 +100\.0%$", text, re.MULTILINE)


def test_what_is_missing_is_told_with_its_reason() -> None:
    text = table.text(RESULTS, 100)
    assert "not measured: podman: not installed" in text
    assert "not measured: neighbour without limits, fork bomb: not run, for it takes the machine with it" in text


def test_the_machine_the_versions_and_the_settings_are_told() -> None:
    text = table.text(RESULTS)
    for name, value in (*RESULTS.machine.items(), *RESULTS.versions.items(), *RESULTS.settings.items()):
        assert f"{name}: {value}" in text


def test_colour_only_where_it_is_asked_for() -> None:
    plain, coloured = table.text(RESULTS, 100), table.text(RESULTS, 100, colour=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
    assert "\x1b[31mmissed ~" in coloured and re.search(r"\x1b\[32mreached", coloured)
    assert "\x1b[1mRatios\x1b[0m" in coloured


def test_no_text_of_a_file_reaches_the_terminal_as_more_than_text() -> None:
    results = evil()
    text = table.text(results, 300) + table.compared(comparison(results, results, "\x1b[2J"), 300)
    assert all(char.isprintable() for line in text.split("\n") for char in line)


def test_a_run_of_nothing() -> None:
    nothing = Results(machine={}, versions={}, settings={}, series=())
    assert table.text(nothing).startswith("Where and how\n")
    text = table.compared(comparison(nothing, nothing, "x"), 100)
    assert text.endswith("0 are only in the older run, 0 only in this.")


def test_a_comparison() -> None:
    old = OLD.replace(machine={**RESULTS.machine, "kernel": "Linux 6.1", "when": "yesterday"})
    lines = table.compared(comparison(old, RESULTS, "old.json"), 100).splitlines()
    assert lines[:3] == ["Compared with old.json of yesterday", "4 figures of runspec got worse, none got better.",
                         "kernel: Linux 6.1 -> Linux 6.18.0"]
    row = next(line for line in lines if line.startswith("start: apply, 100"))
    assert re.split(r"\s{3,}", row) == ["start: apply, 100", "runspec", "2.232 ms", "2.976 ms", "+33 %", "5%", "+0.0 %"]
    assert sum(line.endswith("as the others") for line in lines) == 4
    assert lines[-1] == "318 more figures are within the noise; 0 are only in the older run, 0 only in this."


def test_a_percentage_changes_by_what_it_is_of() -> None:
    base = Series(suite="isolation", figure="LU", contender="runspec", unit="%", values=(0.0,))
    old = Results(machine={}, versions={}, settings={}, series=(base,))
    new = old.replace(series=(base.replace(values=(8.0,)),))
    assert re.search(r"isolation: LU +runspec +0\.0 % +8\.0 % +\+8\.0 % +5%",
                     table.compared(comparison(old, new, "x"), 100))
