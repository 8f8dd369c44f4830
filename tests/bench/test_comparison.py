"""What is told of two runs: changes beyond the noise, and what else differs."""

from __future__ import annotations

import json

import pytest
from bench_run import faster, sample

from runspec.bench.comparison import Other, amount, comparison, to_tree

NEW = sample()


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


@pytest.mark.parametrize(("change", "text"), [
    (1, "+0.0 %"), (1.24, "+24 %"), (0.5, "-50 %"), (1.031, "+3.1 %"), (0.9451, "-5.5 %")])
def test_amount(change: float, text: str) -> None:
    assert amount(change) == text


def test_tree_is_plain_json() -> None:
    found = to_tree(comparison(faster(NEW, 2, suite="exec", contender="runspec"), NEW, "old.json"))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    row, = found["better"]
    assert (row["suite"], row["contender"], row["alone"]) == ("exec", "runspec", True)
    assert row["now"] / row["before"] == pytest.approx(row["change"]) == pytest.approx(0.5)
