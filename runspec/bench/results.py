"""What a run of the benchmarks found: series and ratios, and how they are written and read."""

from __future__ import annotations

from runspec.errors import UsageError
from runspec.spec.frozen import Frozen, fields_of, items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    Row = TypeVar("Row", bound=Frozen)

FORMAT = "runspec-bench/1"
LOWER, HIGHER = "lower", "higher"
PERCENT = ("%", "points")       # parts of a whole, which may be 0
BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
QUIET = 0.05        # two quiet runs of a machine differ by that part


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
    def level(self) -> float:
        """The median, of a percentage as a part more than the whole: 0 % and 5 % more are 100 and 105."""
        return self.median + 100 if self.unit in PERCENT else self.median

    @property
    def noise(self) -> float:
        """The interquartile range as a part of the level."""
        return (self.high - self.low) / abs(self.level) if self.level else 0.0

    @property
    def noisy(self) -> bool:
        """Whether the rounds differ more than quiet ones do."""
        return self.noise > QUIET


class Aim(Frozen):
    """A ratio that is looked for, and what it should be.

    Args:
        suite, figure, case, at: of the series; case "*": each case.
        over: the contender below the line; "best": the best of the peers, at each case; "": nobody, the figure is
            a ratio itself.
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
        unit: of a figure that is asked for as it is, over nobody's; "" of a ratio.
    """

    name: str
    value: float
    low: float
    high: float
    least: float | None = None
    most: float | None = None
    unit: str = ""

    @property
    def good(self) -> bool | None:
        """Whether it is as it should be; None where nothing is asked."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


class Missing(Frozen):
    """What could not be measured, and why.

    Args:
        failed: whether it is runspec that failed at what it should do.
    """

    suite: str
    contender: str
    why: str
    failed: bool = False


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


def quantile(values: tuple[float, ...], part: float) -> float:
    """Of a few values, with linear interpolation between the two nearest."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def size(value: float) -> str:
    """Bytes for people: `48 B`, `1.5 KiB`, `8 MiB`."""
    for unit in BINARY[:-1]:
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} {BINARY[-1]}"


def point(at: float, along: str) -> str:
    """A place on a curve: bytes as bytes, all else as a number."""
    return size(at) if along.startswith("byte") else f"{at:.12g}"


def ratio(above: Series, below: Series, name: str, least: float | None = None, most: float | None = None) -> Ratio:
    """Round by round, since what disturbs a round disturbs both; infinite where there is nothing to divide by."""
    each = tuple(a / b for a, b in zip(above.values, below.values, strict=False) if b)
    value, low, high = (quantile(each, part) if each else float("inf") for part in (0.5, 0.25, 0.75))
    return Ratio(name=name, value=value, low=low, high=high, least=least, most=most)


def judge(series: tuple[Series, ...], aims: tuple[Aim, ...]) -> tuple[Ratio, ...]:
    """What runspec came to, at each case and point that an aim is for; nothing where the other one is missing."""
    out = []
    for aim in aims:
        for ours in series:
            if ours.contender != "runspec" or (ours.suite, ours.figure) != (aim.suite, aim.figure):
                continue
            if aim.case not in ("*", ours.case) or (aim.at is not None and aim.at != ours.at):
                continue
            name = f"{ours.suite}: {ours.figure}{f', {ours.case}' if ours.case else ''}"
            name += "" if ours.at is None else f" of {point(ours.at, ours.along)}"
            if not aim.over:
                one = ours.replace(unit="", values=(1.0,) * len(ours.values))
                out.append(ratio(ours, one, name, aim.least, aim.most).replace(unit=ours.unit))
                continue
            there = {one.contender: one for one in series if one.key == ours.key and one.contender != "runspec"}
            below = best(there.values()) if aim.over == "best" else there.get(aim.over)
            if below is not None:
                out.append(ratio(ours, below, f"{name} / {below.contender}", aim.least, aim.most))
    return tuple(out)


def best(series: Iterable[Series]) -> Series | None:
    """The best of the peers: of those that run containers too, and are not the floor below all of them."""
    peers = [one for one in series if one.contender not in ("native", "floor", "runspec")]
    if not peers:
        return None
    return (min if peers[0].better == LOWER else max)(peers, key=lambda one: one.median)


def to_tree(results: Results) -> dict[str, Any]:
    """What `-o json` prints; what a row leaves out is as by default. JSON has no infinity: it is the word `inf`."""
    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(one) for one in value]
        return str(value) if isinstance(value, float) and value - value != 0 else value

    def rows(found: Iterable[Frozen]) -> list[dict[str, Any]]:
        return [{key: plain(value) for key, value in items(row)
                 if value != type(row).DEFAULTS.get(key, ...)}  # type: ignore[attr-defined]
                for row in found]

    series = [{**row, "median": one.median, "low": one.low, "high": one.high}
              for row, one in zip(rows(results.series), results.series, strict=True)]
    return {"format": FORMAT, "machine": results.machine, "versions": results.versions, "settings": results.settings,
            "ratios": rows(results.ratios), "series": series, "missing": rows(results.missing)}


def from_tree(tree: Any, file: str) -> Results:
    """What `-o json` printed; what is computed of a row's values is computed anew.

    Raises:
        UsageError: the file holds something else.
    """
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise UsageError(f"bench: {file} is no result of `runspec bench -o json`", f"its format is not {FORMAT}",
                         "name the JSON file of an older run")
    try:
        return Results(**{word: _words(_take(tree, word)) for word in ("machine", "versions", "settings")},
                       series=_rows(Series, tree, "series"), ratios=_rows(Ratio, tree, "ratios"),
                       missing=_rows(Missing, tree, "missing"))
    except ValueError as error:
        raise UsageError(f"bench: {file} is damaged", str(error), "name the JSON file of an older run") from None


def _take(tree: dict[str, Any], word: str) -> Any:
    if word not in tree:
        raise ValueError(f"it has no {word}")
    return tree[word]


def _words(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.40} is no map")
    return {_text(key): _text(word) for key, word in value.items()}


def _rows(cls: type[Row], tree: dict[str, Any], word: str) -> tuple[Row, ...]:
    """The rows of one list; keys that nobody reads are passed over."""
    rows = _take(tree, word)
    if not isinstance(rows, list):
        raise ValueError(f"{word} is no list")
    found = []
    for index, row in enumerate(rows):
        try:
            if not isinstance(row, dict):
                raise ValueError(f"{row!r:.40} is no map")
            found.append(cls(**{key: _READ[cls.__annotations__[key]](row[key])
                                for key in fields_of(cls) if key in row}))
        except (TypeError, ValueError, OverflowError) as error:     # TypeError: Frozen misses a field
            raise ValueError(f"{word}[{index}]: {error}") from None
        if isinstance(found[-1], Series) and found[-1].better not in (LOWER, HIGHER):
            raise ValueError(f"{word}[{index}]: better is neither {LOWER} nor {HIGHER}")
    return tuple(found)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no text")
    return value


def _number(value: Any) -> float:
    if value == "inf":
        return float("inf")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or float(value) - float(value) != 0:
        raise ValueError(f"{value!r:.40} is no number")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r:.40} is neither true nor false")
    return value


def _values(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{value!r:.40} is no list of values")
    return tuple(map(_number, value))


_READ: dict[str, Callable[[Any], Any]] = {
    "str": _text, "bool": _flag, "float": _number,
    "float | None": lambda value: None if value is None else _number(value),
    "tuple[float, ...]": _values}
