"""What the README says of benchmarks."""

from __future__ import annotations

import re

from bench_run import EVIL, sample
from bench_table import BEGIN, END, HEAD, README, aims, merged, replaced, table

from runspec.bench.contender import USUAL
from runspec.bench.suite import SUITES
from runspec.cli.words import VERBS

TEXT = README.read_text()
SECTION = TEXT[TEXT.index("\n## Benchmarks\n"):TEXT.index(END)]


def test_every_suite_and_every_option_is_told() -> None:
    assert set(SUITES) <= set(re.findall(r"^\| `(\w+)` \|", SECTION, re.MULTILINE))
    verb = next(one for one in VERBS if one.name == "bench")
    assert [one.name for one in verb.options if f"--{one.name}" not in SECTION and one.name != "output"] == []
    assert f"`{' '.join(USUAL)}`" in SECTION


def test_the_table_is_whole() -> None:
    """Each line has its figures, or waits for them."""
    lines = SECTION[SECTION.index(BEGIN):].splitlines()[1:]
    assert lines[:2] == list(HEAD)
    rows = [line for line in lines[2:] if line.startswith("|")]
    assert rows and all(line.count("|") == 6 for line in rows)
    waiting = [line.endswith("|  |  |  |") for line in rows]
    assert all(waiting) or (not any(waiting) and any(line.startswith("Measured on: ") for line in lines))
    assert replaced(TEXT, sample()).startswith(TEXT[:TEXT.index(BEGIN)])


def test_a_table_of_a_run() -> None:
    results = sample()
    lines = table(results).splitlines()
    asked = [one for one in results.ratios if one.good is not None]
    assert len(lines) == len(HEAD) + len(asked) + 2
    assert "| apply of 100, per container / runc | at most 0.15 | 0.118 | 0.112 to 0.119 | reached |" in lines
    assert any(one.startswith("| isolation: beyond the other core, memory | at most 0.9 points | 0.48 points | 0.26")
               for one in lines)
    assert "| STREAM Scale / native | at least 0.99 | 0.986 | 0.984 to 1.029 | missed (within the spread) |" in lines
    assert lines[-1].startswith("Measured on: Example CPU @ 2.50GHz, 2 cores, 7.8 GiB, Linux 6.18.0, Debian GNU/Linux")
    assert "; runc version 1.1.5; crun version 1.8.1" in lines[-1] and "native" not in lines[-1]


def test_a_table_of_two_runs() -> None:
    """What both have is the first one's."""
    first, other = sample(), sample()
    more = other.ratios[0].replace(name="start: start of 100 / crun")
    other = other.replace(ratios=(other.ratios[0].replace(value=9), more), versions={"crun": "2", "lxc": "5"})
    both = merged(first, other)
    assert both.ratios == (*first.ratios, more)
    assert both.versions == {"lxc": "5", **first.versions}
    assert both.machine["when"].endswith(f"; in another run, {other.machine['when']}: start")


def test_a_table_of_none() -> None:
    lines = table(None).splitlines()
    assert len(lines) == len(HEAD) + len(aims()) and "| cpu: Linpack / native | at least 0.99 |  |  |  |" in lines


def test_no_name_breaks_the_table() -> None:
    results = sample()
    text = table(results.replace(ratios=(results.ratios[0].replace(name=f"a|b{EVIL}"),), machine={"processor": "a\nb"}))
    assert text.count("\n") == 4 and "<script" not in text and "a\\|b" in text
