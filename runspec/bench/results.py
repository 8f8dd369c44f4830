"""What a run of the benchmarks found: series, ratios, and the comparison of two runs."""

from __future__ import annotations

from runspec.errors import UsageError
from runspec.spec.frozen import Frozen, fields_of, items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

FORMAT = "runspec-bench/1"
LOWER, HIGHER = "lower", "higher"


class Series(Frozen):
    """One figure of one contender: a value per round.

    Args:
        suite: cpu, memory, network, isolation, start or exec.
        figure: what was measured, as `Linpack` or `latency`.
        case: under what circumstances, as a link's type or a stressor; "" where a suite has but one.
        contender: native, runspec, runc and so on.
        unit: GFLOP/s, GB/s, Mbit/s, us, ms, MiB, %.
        better: lower or higher.
        at: the point of a curve: bytes of a message, number of containers; None where there is no curve.
        along: what `at` counts.
        values: one per round, in the order of the rounds; contenders of one round stand beside each other.
        command: the command line that gave it, as a user could type it.
    """

    suite: str
    figure: str
    case: str = ""
    contender: str
    unit: str
    better: str = LOWER
    at: float | None = None
    along: str = ""
    values: tuple[float, ...]
    command: str = ""

    @property
    def key(self) -> tuple[str, str, str, float]:
        """What contenders are compared at."""
        return self.suite, self.figure, self.case, -1.0 if self.at is None else self.at

    @property
    def median(self) -> float:
        return quantile(self.values, 0.5)

    @property
    def low(self) -> float:
        """The first quartile."""
        return quantile(self.values, 0.25)

    @property
    def high(self) -> float:
        """The third quartile."""
        return quantile(self.values, 0.75)

    @property
    def noise(self) -> float:
        """The interquartile range as a part of the median."""
        return (self.high - self.low) / abs(self.median) if self.median else 0.0


class Aim(Frozen):
    """A ratio that is looked for, and what it should be.

    Args:
        suite, figure, case, at: of the series; case "*": each case.
        over: the contender below the line; "best": the best of the peers, at each case.
        least, most: the bounds; None where there is none.
    """

    suite: str
    figure: str
    case: str = ""
    at: float | None = None
    over: str
    least: float | None = None
    most: float | None = None


class Ratio(Frozen):
    """runspec's figure over another's, round by round.

    Args:
        name: as `apply of 100 / runc`.
        value, low, high: median and quartiles of the rounds' ratios.
        least, most: what it should be; None where nothing is asked.
    """

    name: str
    value: float
    low: float
    high: float
    least: float | None = None
    most: float | None = None

    @property
    def good(self) -> bool | None:
        """Whether it is as it should be; None where nothing is asked."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


class Missing(Frozen):
    """What could not be measured, and why."""

    suite: str
    contender: str
    why: str


class Results(Frozen):
    """A whole run.

    Args:
        machine: name -> text: processor, cores, memory, kernel, cgroups, distribution, load before, when.
        versions: contender or program -> its own words.
        settings: option -> value of this run.
        series, ratios, missing: what was found.
    """

    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str]
    series: tuple[Series, ...]
    ratios: tuple[Ratio, ...] = ()
    missing: tuple[Missing, ...] = ()

    def of(self, suite: str, figure: str = "", case: str | None = None) -> tuple[Series, ...]:
        """The series of a suite, of one figure, of one case."""
        return tuple(one for one in self.series if one.suite == suite and figure in ("", one.figure)
                     and case in (None, one.case))


class Slower(Frozen):
    """A series of two runs that differs by more than their noise.

    Args:
        before, now: medians; change: now / before, turned so that more than 1 is worse; beyond: the noise allowed.
    """

    series: Series
    before: float
    now: float
    change: float
    beyond: float


def quantile(values: tuple[float, ...], part: float) -> float:
    """Of a few values, with linear interpolation between the two nearest."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def ratio(above: Series, below: Series, name: str, least: float | None = None, most: float | None = None) -> Ratio:
    """Round by round, since what disturbs a round disturbs both."""
    each = tuple(a / b for a, b in zip(above.values, below.values, strict=False) if b)
    if not each:
        each = (float("inf"),)
    return Ratio(name=name, value=quantile(each, 0.5), low=quantile(each, 0.25), high=quantile(each, 0.75),
                 least=least, most=most)


def compare(old: Results, new: Results) -> tuple[tuple[Slower, ...], tuple[Slower, ...]]:
    """(worse, better) in the newer run, each beyond the spread that both runs show by themselves.

    A change counts where the medians differ by more than the sum of both interquartile ranges, and by 5 % at least:
    two quiet runs of a machine differ by that much.
    """
    known = {(one.key, one.contender): one for one in old.series}
    worse: list[Slower] = []
    better: list[Slower] = []
    for one in new.series:
        before = known.get((one.key, one.contender))
        if before is None or not before.median or not one.median:
            continue
        change = one.median / before.median if one.better == LOWER else before.median / one.median
        beyond = max(0.05, one.noise + before.noise)
        found = Slower(series=one, before=before.median, now=one.median, change=change, beyond=beyond)
        if change > 1 + beyond:
            worse.append(found)
        elif change < 1 / (1 + beyond):
            better.append(found)
    return tuple(sorted(worse, key=lambda one: -one.change)), tuple(sorted(better, key=lambda one: one.change))


def to_tree(results: Results) -> dict[str, Any]:
    """What `-o json` prints."""
    def plain(rows: Iterable[Frozen]) -> list[dict[str, Any]]:
        return [{key: list(value) if isinstance(value, tuple) else value for key, value in items(row)
                 if value is not None and value != ""} for row in rows]

    series = [{**row, "median": one.median, "low": one.low, "high": one.high}
              for row, one in zip(plain(results.series), results.series, strict=True)]
    return {"format": FORMAT, "machine": results.machine, "versions": results.versions, "settings": results.settings,
            "ratios": plain(results.ratios), "series": series, "missing": plain(results.missing)}


def from_tree(tree: Any, file: str) -> Results:
    """What `-o json` printed.

    Raises:
        UsageError: the file holds something else.
    """
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise UsageError(f"bench: {file} is no result of `runspec bench -o json`", f"its format is not {FORMAT}",
                         "name the JSON file of an older run")
    try:
        series = tuple(read_series(row) for row in tree["series"])
        ratios = tuple(Ratio(**row) for row in tree["ratios"])
        missing = tuple(Missing(**row) for row in tree["missing"])
        return Results(machine=dict(tree["machine"]), versions=dict(tree["versions"]),
                       settings=dict(tree["settings"]), series=series, ratios=ratios, missing=missing)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"bench: {file} is damaged", f"{type(error).__name__}: {error}",
                         "name the JSON file of an older run") from None


def read_series(row: dict[str, Any]) -> Series:
    """One row of what `-o json` printed; what is computed of its values is computed anew."""
    known: dict[str, Any] = {key: value for key, value in row.items() if key in fields_of(Series)}
    known["values"] = tuple(map(float, row["values"]))
    return Series(**known)
