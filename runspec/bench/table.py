"""Results as text: the ratios first, then each suite's medians, then what is missing and where it was measured."""

from __future__ import annotations

from runspec.bench import groups
from runspec.bench.groups import number, plain
from runspec.bench.results import PERCENT, point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runspec.bench.comparison import Comparison, Difference
    from runspec.bench.groups import Group
    from runspec.bench.results import Results, Series

POINTS = 4          # of a long curve; the page has all
GAP = "   "
LEAST = 24          # columns that a name has at least, where another column can be done without
_COLOURS = {"bold": "1", "reached": "32", "missed": "31", "worse": "31", "better": "32", "noisy": "33"}
NOISY = "~"


def text(results: Results, width: int = 80, colour: bool = False) -> str:
    """A whole run, for people.

    Args:
        width: of the terminal, in columns.
        colour: whether the terminal shows it.
    """
    parts = [ratios(results, width, colour)] if results.ratios else []
    parts += ["\n".join(wrapped(note, width)) for note in groups.notes(results)]
    parts += [suite(results, name, width, colour) for name in groups.suites(results)]
    parts.append(place(results, width, colour))
    return "\n\n".join(parts)


def ratios(results: Results, width: int, colour: bool) -> str:
    """The ratios, each with what it should be and whether it is."""
    rows = [[one.name, groups.amount(one), spread(one.value, one.low, one.high, one.unit), groups.aim(one),
             f"{groups.verdict(one)}{f' {NOISY}' if groups.narrow(one) else ''}"]
            for one in results.ratios]
    rows.insert(0, ["ratio, median of the rounds", "value", "spread", "should be", ""])
    summary = groups.summary(results.ratios)
    return "\n".join([heading("Ratios", colour), columns(rows, width, colour, (2, 3)),
                      *([f"{summary}."] if summary else [])])


def suite(results: Results, name: str, width: int, colour: bool) -> str:
    """One suite: a table for each figure, and what it could not measure."""
    parts = [heading(groups.title(name), colour)]
    for group in groups.groups(results, name):
        parts += [group_text(group, width, colour), ""]
    for one in groups.missing(results, name):
        parts += wrapped(f"not measured: {f'{one.contender}: ' if one.contender else ''}{one.why}", width)
    return "\n".join(parts).rstrip()


def group_text(group: Group, width: int, colour: bool) -> str:
    """One figure: contenders below each other, or beside each other where there are several cases."""
    title = plain(f"{group.title}: {group.wanted}")
    places = [(case, at) for case, at in group.places if at is None or at in chosen(group.points)]
    if len(places) == 1:
        return f"{title}\n{contenders(group, *places[0], width, colour)}"
    left = [group.place(case, at) for case, at in places]
    cells = {name: [name, *padded([cell(group.find(case, name, at)) for case, at in places])]
             for name in group.contenders}
    wide = {name: max(map(len, one)) for name, one in cells.items()}
    lines, rest = [title], list(cells)
    while rest:
        # As many contenders beside each other as fit; at least one.
        room, taken = width - max(map(len, [groups.counted(group.along), *left])), rest[:1]
        while taken != rest and room >= sum(len(GAP) + wide[name] for name in rest[:len(taken) + 1]):
            taken = rest[:len(taken) + 1]
        rest = rest[len(taken):]
        rows = [row for row in zip([groups.counted(group.along), *left], *(cells[name] for name in taken), strict=True)
                if any(one.strip() != "-" for one in row[1:])]
        lines.append(columns(rows, width, colour))
    return "\n".join(lines)


def contenders(group: Group, case: str, at: float | None, width: int, colour: bool) -> str:
    """One place of a figure, a line for each contender."""
    found = [one for name in group.contenders if (one := group.find(case, name, at)) is not None]
    first = found[0]
    where = ", ".join(word for word in (case, "" if at is None else f"{point(at, group.along)} {group.along}")
                      if word)
    rows = [[where, "median", "quartiles", f"of {first.contender}'s", ""]]
    rows += [[one.contender, number(one.median, one.unit), groups.quartiles(one, one.unit), groups.part(one, first),
              noise(one)]
             for one in found]
    return columns(rows, width, colour)


def chosen(points: Sequence[float]) -> tuple[float, ...]:
    """All of a few points of a curve; of many both ends and, evenly, some between."""
    if len(points) <= POINTS + 2:
        return tuple(points)
    return tuple(points[round(index * (len(points) - 1) / (POINTS - 1))] for index in range(POINTS))


def cell(one: Series | None) -> str:
    """`38.41 ±0.4% ~`: the median, half of the interquartile range, and whether that is much."""
    if one is None:
        return "-"
    around = spread(one.median, one.low, one.high, one.unit)
    return " ".join(word for word in (number(one.median, one.unit), around, noise(one)) if word)


def padded(cells: Sequence[str]) -> list[str]:
    """The same, so long that numbers stand below each other where some cells end in a sign of noise."""
    room = " " * (len(NOISY) + 1) if any(one.endswith(NOISY) for one in cells) else ""
    return [one if one.endswith(NOISY) else f"{one}{room}" for one in cells]


def spread(value: float, low: float, high: float, unit: str) -> str:
    """Half of the interquartile range, as a part of the median; of what may be 0 in its own unit.

    "" where all rounds were the same, or there was but one.
    """
    half = (high - low) / 2
    if not 0 < half < float("inf") or not (value or unit in PERCENT):
        return ""
    if unit in PERCENT:
        return f"±{number(half, unit)}"
    part = half / abs(value) * 100
    return f"±{part:.{1 if part < 9.95 else 0}f}%"


def noise(one: Series) -> str:
    """A sign where rounds differ by much."""
    return NOISY if one.noisy else ""


def place(results: Results, width: int, colour: bool) -> str:
    """The machine, the versions, the words of the run, and how to read the tables."""
    lines = [heading("Where and how", colour)]
    for found in (results.machine, results.versions, results.settings):
        lines += [line for name, value in found.items() for line in wrapped(f"{name}: {value}", width)]
    lines += wrapped(f"± is half of the interquartile range of the rounds; {NOISY} marks rounds that differ by more "
                     "than 5 %, as quiet ones do not, and verdicts that the spread leaves open.", width)
    return "\n".join(lines)


def compared(found: Comparison, width: int = 80, colour: bool = False) -> str:
    """What got slower and what got faster since an older run."""
    lines = [heading(f"Compared with {found.file}{f' of {found.when}' if found.when else ''}", colour),
             *wrapped(found.verdict, width)]
    lines += [line for one in found.others
              for line in wrapped(f"{one.name}: {one.before or 'none'} -> {one.now or 'none'}", width)]
    for word, some in (("worse", found.worse), ("better", found.better)):
        if some:
            rows = [[word, "", "before", "now", "change", "noise", "others", ""]]
            rows += [changed(one) for one in some]
            lines += ["", columns(rows, width, colour, (7, 5, 6, 2), word)]
    lines += ["", *wrapped(found.counts, width)]
    return "\n".join(lines)


def changed(one: Difference) -> list[str]:
    """A row of a comparison."""
    series = one.series
    at = "" if series.at is None else point(series.at, series.along)
    where = ", ".join(word for word in (f"{series.suite}: {series.figure}", series.case, at) if word)
    change, others = one.amounts
    return [where, series.contender, f"{number(one.before, series.unit)} {groups.unit(series.unit)}",
            f"{number(one.now, series.unit)} {groups.unit(series.unit)}", change, f"{one.beyond:.0%}", others,
            "" if one.alone else "as the others"]


# -- text ---------------------------------------------------------------------------------------------

def heading(words: str, colour: bool) -> str:
    return paint(plain(words), "bold", colour)


def paint(words: str, word: str, colour: bool) -> str:
    """The words in the colour that stands for this word."""
    return f"\x1b[{_COLOURS[word]}m{words}\x1b[0m" if colour and word in _COLOURS else words


def wrapped(line: str, width: int) -> list[str]:
    """A line of prose as lines that fit, what is continued set in."""
    import textwrap

    return textwrap.wrap(plain(line), max(width, 20), subsequent_indent="  ", break_on_hyphens=False)


def columns(rows: Sequence[Sequence[str]], width: int, colour: bool, drop: Sequence[int] = (),
            word: str = "") -> str:
    """Rows as aligned columns, numbers to the right; the first row is the heading.

    Where they do not fit, the first column takes several lines, and then others go.

    Args:
        drop: the columns that can be done without, in the order in which they go.
        word: whose colour the heading has.
    """
    import textwrap

    shown = [[plain(one) for one in row] for row in rows]
    used = [index for index in range(len(shown[0])) if any(row[index] for row in shown)]
    wide = [max(len(row[index]) for row in shown) for index in range(len(shown[0]))]
    least = min(wide[0], LEAST)
    for index in drop:
        if least + sum(len(GAP) + wide[one] for one in used[1:]) > width and index in used:
            used.remove(index)
    wide[0] = min(wide[0], max(width - sum(len(GAP) + wide[one] for one in used[1:]), 12))
    numeric = [all(row[index][:1] in "0123456789+-±." for row in shown[1:] if row[index]) for index in range(len(wide))]
    lines = []
    for place, row in enumerate(shown):
        name, *more = textwrap.wrap(row[0], wide[0], subsequent_indent="  ") or [""]
        row = [name, *row[1:]]
        cells = [(one.rjust if index and numeric[index] else one.ljust)(wide[index]) for index, one in enumerate(row)]
        # A word that has a colour has it wherever it stands; what is empty has none.
        tints = [row[index].removesuffix(f" {NOISY}") if place else row[index] and (word or "bold") for index in used]
        last = max((index for index in used if row[index]), default=0)
        lines.append(GAP.join(paint(cells[index].rstrip() if index == last else cells[index], tint, colour)
                              for index, tint in zip(used, tints, strict=True) if index <= last))
        lines += more
    return "\n".join(lines)
