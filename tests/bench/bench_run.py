"""A whole run, small: every suite, missing things, noise, and names that want to be more than text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runspec.bench.results import Missing, Results, Series, from_tree

RUN = Path(__file__).with_name("run.json")
EVIL = '<script>alert(1)</script>"\'&\x1b[31m\u202e'


def sample() -> Results:
    """The run of run.json."""
    return from_tree(json.loads(RUN.read_text()), RUN.name)


def faster(results: Results, factor: float, **which: str) -> Results:
    """The same run with some series multiplied."""
    def one(series: Series) -> Series:
        if any(getattr(series, key) != value for key, value in which.items()):
            return series
        return series.replace(values=tuple(value * factor for value in series.values))

    return results.replace(series=tuple(map(one, results.series)))


def evil() -> Results:
    """Every text of the run is one that a page or a terminal must not take at its word."""
    series = Series(suite=EVIL, figure=EVIL, case=EVIL, contender=EVIL, unit=EVIL, at=None, along=EVIL,
                    values=(1.0, 2.0), command=EVIL)
    results = sample()
    return results.replace(
        machine={EVIL: EVIL, "processor": EVIL}, versions={EVIL: EVIL}, settings={EVIL: EVIL},
        series=(series, series.replace(at=1.0, contender="runspec"), series.replace(at=8.0)),
        ratios=(results.ratios[0].replace(name=EVIL),),
        missing=(Missing(suite=EVIL, contender=EVIL, why=f"{EVIL} {'-' * 400}"),))


def series(*values: float, **other: Any) -> Series:
    """Times of runspec, unless other words say else."""
    return Series(**{"suite": "start", "figure": "apply", "contender": "runspec", "unit": "ms", "values": values,
                     **other})


def run(*found: Series) -> Results:
    """A run of some series and nothing else."""
    return Results(machine={}, versions={}, settings={}, series=found)
