"""Results in the order in which they are read, and the words and numbers that all reports of them share."""

from __future__ import annotations

from runspec.bench.results import HIGHER, PERCENT, point
from runspec.spec.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runspec.bench.results import Missing, Ratio, Results, Series

# What the others are held against, then ours, then the peers as they come.
FIRST = ("native", "other core", "floor", "runspec", "runspec-oci")
# Suite -> its title, and what it measured.
SUITES = {
    "cpu": ("CPU", "How fast a program that only computes is in a container."),
    "memory": ("Memory", "How fast main memory is read and written from a container."),
    "network": ("Network", "What a message of one TCP connection takes, and how much of it arrives in a second, "
                           "by the kind of link between the two ends."),
    "isolation": ("Isolation", "What an LU solver in one container loses while a program in another one takes all "
                               "it can get. The other core: the same program beside it without any container, which "
                               "is what the shared hardware costs anyway."),
    "start": ("Start", "What it takes to start containers, to look at them and to remove them, "
                       "alone and many at the same time."),
    "exec": ("Exec", "What a further program in a running container takes."),
}
TIMES = ("s", "ms", "us")


class Group(Frozen):
    """All series of one figure: what stands in one table and is drawn to one scale.

    Args:
        suite, figure, unit, better, along: as of every Series in it.
        series: in the order of the run.
    """

    suite: str
    figure: str
    unit: str
    better: str
    along: str
    series: tuple[Series, ...]

    @property
    def cases(self) -> tuple[str, ...]:
        """In the order of the run."""
        return tuple(dict.fromkeys(one.case for one in self.series))

    @property
    def contenders(self) -> tuple[str, ...]:
        """In the order in which every report has them."""
        return order(one.contender for one in self.series)

    @property
    def points(self) -> tuple[float, ...]:
        """Where a curve has its points; empty where nothing is one."""
        return tuple(sorted({one.at for one in self.series if one.at is not None}))

    def find(self, case: str, contender: str, at: float | None = None) -> Series | None:
        """The first series at one place."""
        return next((one for one in self.series if (one.case, one.contender, one.at) == (case, contender, at)), None)

    @property
    def places(self) -> tuple[tuple[str, float | None], ...]:
        """All (case, at), in the order in which they are shown."""
        return tuple((case, at) for case in self.cases for at in (self.points or (None,))
                     if any((one.case, one.at) == (case, at) for one in self.series))

    @property
    def title(self) -> str:
        """`apply, ms`, or the figure alone where it has no unit."""
        return f"{self.figure}{f', {unit(self.unit)}' if self.unit else ''}"

    @property
    def wanted(self) -> str:
        """`less is better`."""
        return f"{'more' if self.better == HIGHER else 'less'} is better"

    @property
    def each(self) -> bool:
        """Whether it is the time of many things, so that a curve is one of the time of each."""
        return self.along == "containers" and self.unit in TIMES

    def place(self, case: str, at: float | None) -> str:
        """What a place is called, "" where there is but one without a name."""
        where = "" if at is None else point(at, self.along)
        return ", ".join(word for word in (case, where) if word)


def order(names: Iterable[str]) -> tuple[str, ...]:
    """Contenders without doubles: those of FIRST, then the others as they come."""
    found = dict.fromkeys(names)
    return (*(name for name in FIRST if name in found), *(name for name in found if name not in FIRST))


def suites(results: Results) -> tuple[str, ...]:
    """Those that were run or are missing, in the order of SUITES, then what else there is."""
    found = dict.fromkeys([*(one.suite for one in results.series), *(one.suite for one in results.missing)])
    return (*(name for name in SUITES if name in found), *(name for name in found if name not in SUITES))


def groups(results: Results, suite: str) -> tuple[Group, ...]:
    """A suite's series by figure; curves apart from single values."""
    found: dict[tuple[str, str, str, str, bool], list[Series]] = {}
    for one in results.of(suite):
        found.setdefault((one.figure, one.unit, one.better, one.along, one.at is None), []).append(one)
    return tuple(Group(suite=suite, figure=figure, unit=unit, better=better, along=along, series=tuple(series))
                 for (figure, unit, better, along, _), series in found.items())


def missing(results: Results, suite: str) -> tuple[Missing, ...]:
    """What a suite could not measure."""
    return tuple(one for one in results.missing if one.suite == suite)


def plain(text: str) -> str:
    """Text of a file or of another program that is safe on a terminal and in a page: a line without controls."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def title(suite: str) -> str:
    """What a suite is called in a heading."""
    return SUITES[suite][0] if suite in SUITES else suite[:1].upper() + suite[1:]


def number(value: float, unit: str = "") -> str:
    """Four digits that count, three below 1, of a percentage one behind the point; no exponent to take apart."""
    size = abs(value)
    if size != size or size == float("inf"):
        return "infinite" if value > 0 else "none"
    if unit in PERCENT:
        text = f"{value:.{1 if unit == '%' else 2}f}"
        return text.removeprefix("-") if float(text) == 0 else text
    if size >= 1000 or value == 0 or (unit == "processes" and value == int(value)):
        return f"{value:.0f}"
    places = next((places for least, places in ((100, 1), (10, 2), (0.1, 3), (0.01, 4)) if size >= least), 5)
    return f"{value:.{places}f}"


def unit(word: str) -> str:
    """As people write it: `us` is µs."""
    return {"us": "µs"}.get(word, word)


def quartiles(one: Series | Ratio, unit: str) -> str:
    """`0.98 to 1.02`; "" where all rounds were the same, or there was but one."""
    return f"{number(one.low, unit)} to {number(one.high, unit)}" if one.low < one.high else ""


def part(one: Series, whole: Series) -> str:
    """One median as a part of another, `99.8%` or `7.5 times`; "" where that says nothing."""
    if one.unit in PERCENT or not whole.median:
        return ""
    share = one.median / whole.median
    return f"{share:.1%}" if abs(share) < 2 else f"{number(share)} times"


def counted(along: str) -> str:
    """What an axis counts, in words."""
    return "size of a message" if along == "bytes" else along


def aim(ratio: Ratio) -> str:
    """`at least 0.99`, `0.5 to 2`, "" where nothing is asked."""
    unit_ = f" {unit(ratio.unit)}" if ratio.unit else ""
    if ratio.least is not None and ratio.most is not None:
        return f"{ratio.least:.4g} to {ratio.most:.4g}{unit_}"
    if ratio.least is not None:
        return f"at least {ratio.least:.4g}{unit_}"
    return f"at most {ratio.most:.4g}{unit_}" if ratio.most is not None else ""


def amount(ratio: Ratio) -> str:
    """The value, with its unit where it has one."""
    return f"{number(ratio.value, ratio.unit)}{f' {unit(ratio.unit)}' if ratio.unit else ''}"


def verdict(ratio: Ratio) -> str:
    """`reached`, `missed`, "" where nothing is asked."""
    return {True: "reached", False: "missed", None: ""}[ratio.good]


def narrow(ratio: Ratio) -> bool:
    """Whether what is asked lies between the quartiles: another run may well find otherwise."""
    return any(one is not None and ratio.low <= one <= ratio.high for one in (ratio.least, ratio.most))


def summary(ratios: Iterable[Ratio]) -> str:
    """`17 of 19 figures are reached`; "" where none is asked for."""
    asked = [one.good for one in ratios if one.good is not None]
    return f"{sum(asked)} of {len(asked)} figures are reached" if asked else ""


def notes(results: Results) -> tuple[str, ...]:
    """What is to be known of a run before its figures are believed."""
    return tuple(note for note in (busy(results), once(results)) if note)


def once(results: Results) -> str:
    """A warning where a suite had but one round; "" where none had."""
    single = [title(name) for name in suites(results)
              if (found := results.of(name)) and all(len(one.values) == 1 for one in found)]
    return f"Measured once, so that nobody knows by how much the figures vary: {', '.join(single)}." if single else ""


def busy(results: Results) -> str:
    """A warning where the machine had something else to do before the run; "" where it had not, or nobody knows."""
    try:
        load, cores = float(results.machine["load before"].split()[0]), int(results.machine["cores"])
    except (KeyError, IndexError, ValueError):
        return ""
    if load < cores / 4:
        return ""
    return (f"The machine was not idle: its load was {load:g} before the run, on {cores} "
            f"core{'' if cores == 1 else 's'}. What differs little may differ by that.")


def commands(results: Results, suite: str) -> tuple[tuple[str, str], ...]:
    """(contender, command line) of a suite, each command line once."""
    return tuple(dict.fromkeys((one.contender, one.command) for one in results.of(suite) if one.command))
