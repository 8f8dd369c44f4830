"""Plots as SVG: text is at 1:1 and 12 px high, so they are drawn as wide as a telephone and never scaled.

Colours are the page's: an element of class `c-NAME` has its contender's as `currentColor`. What a colour tells is told
by a marker and a kind of line as well.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, floor, log10

from runspec.bench.groups import counted, number, plain
from runspec.bench.results import point
from runspec.spec.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 340
CHARACTER = 7.4         # the mean width at 12 px of a wide font (DejaVu Sans): narrower ones leave more room
BOLD = 8.4
ROW = 24
TINY = 1e-300           # less is nothing: below it powers of ten lose their digits, until they are 0
LONGEST = 18            # of a name, in characters; the whole is in the table
# By place in the page's list of contenders. A path around 0, 0; a dash array.
MARKERS = ("M-3.5,0a3.5,3.5 0 1,0 7,0a3.5,3.5 0 1,0 -7,0z", "M-3.2,-3.2h6.4v6.4h-6.4z",
           "M0,-4.6l4.6,4.6l-4.6,4.6l-4.6,-4.6z", "M0,-4.2l4.4,7.4h-8.8z", "M0,4.2l4.4,-7.4h-8.8z")
DASHES = ("7 3", "2 3", "", "9 3 2 3")


class Bar(Frozen):
    """One line of a bar plot.

    Args:
        name: what stands left of it.
        style: its class; `literature` is hatched.
        value, low, high: median and quartiles; None where there is none.
        text: what stands right of it.
    """

    name: str
    style: str
    value: float | None
    low: float | None = None
    high: float | None = None
    text: str


class Curve(Frozen):
    """One line of a line plot.

    Args:
        style: its class; place: which marker and dash it has.
        points: (x, low, median, high), from left to right.
    """

    name: str
    style: str
    place: int
    points: tuple[tuple[float, float, float, float], ...]


class Scale(Frozen):
    """Values to places along one axis.

    Args:
        low, high: the values at its ends; start, end: the places, in px.
        log: whether equal factors are equal ways.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value; what lies beyond an end is at it."""
        value = min(max(value, self.low), self.high)
        part = ((log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low)) if self.log
                else (value - self.low) / (self.high - self.low))
        return self.start + (self.end - self.start) * part


def esc(text: str) -> str:
    """Text between tags or in an attribute."""
    import html

    return html.escape(plain(text))


def attribute(name: str, value: str) -> str:
    """` name="value"`, "" where there is none."""
    return f' {name}="{value}"' if value else ""


def nice(value: float) -> float:
    """The next round number from here: 1, 2, 2.5, 5 times a power of 10."""
    if value < TINY:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return power * next(step for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 20) if step * power >= value * 0.999999)


def steps(low: float, high: float, most: int) -> tuple[float, ...]:
    """Round values from low to high, at most as many."""
    width = (high - low) / max(most, 1)
    power = 10.0 ** floor(log10(width))
    step = power * next(step for step in (1, 2, 2.5, 5, 10, 20) if step * power >= width * 0.999999)
    return tuple(float(f"{index * step:.12g}")
                 for index in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1))


def log_steps(low: float, high: float, most: int) -> tuple[float, ...]:
    """Powers of 10 within the ends, with 2 and 5 times them where there is room, and fewer where there is none."""
    decades = range(floor(log10(low)) - 1, ceil(log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0 ** power for power in decades for factor in factors
                 if low * 0.999999 <= factor * 10.0 ** power <= high * 1.000001]
        if len(found) <= most:
            break
    return tuple(found[::ceil(len(found) / max(most, 1))])


def byte_steps(low: float, high: float, most: int) -> tuple[float, ...]:
    """Powers of 2 within the ends, evenly."""
    powers = [2.0 ** power for power in range(41) if low <= 2.0 ** power <= high]
    for stride in (1, 2, 5, 10, 20, 40):
        found = [value for index, value in enumerate(powers) if index % stride == 0]
        if len(found) <= most:
            break
    return tuple(found)


def span(values: Sequence[float]) -> tuple[float, float]:
    """Ends for a logarithmic axis that holds these: 1, 2 or 5 times a power of 10, a factor of 2 apart at least."""
    low, high = min(values), max(values)
    power = 10.0 ** floor(log10(low))
    bottom = max(step * power for step in (0.5, 1, 2, 5) if step * power <= low * 1.000001)
    high = max(high, bottom * 1.5)
    power = 10.0 ** floor(log10(high))
    return bottom, min(step * power for step in (1, 2, 5, 10) if step * power >= high * 0.999999)


def svg(height: float, title: str, description: str, body: Sequence[str], width: int = WIDTH, style: str = "") -> str:
    """One picture with its name and its description for who does not see it."""
    head = f'<title>{esc(title)}</title>' + (f"<desc>{esc(description)}</desc>" if description else "")
    return (f'<svg class="plot {style}" role="img" width="{width}" height="{height:g}" '
            f'viewBox="0 0 {width} {height:g}">{head}{"".join(body)}</svg>')


def words(x: float, y: float, text: str, anchor: str = "start", style: str = "") -> str:
    """A text; y is its middle."""
    return f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}"{attribute("class", style)}>{esc(text)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def cut(name: str, most: int = LONGEST) -> str:
    """A name that fits."""
    return name if len(name) <= most else f"{name[:most - 1]}…"


# -- bars ---------------------------------------------------------------------------------------------

def bars(title: str, description: str, rows: Sequence[Bar], low: float, high: float, names: int = 0,
         values: int = 0) -> str:
    """Horizontal bars with whiskers, from 0.

    Args:
        low, high: the ends of the axis, 0 among them.
        names, values: the longest text left and right, in characters, where several plots are to be alike.
    """
    left = BOLD * min(max(names, *(len(row.name) for row in rows)), LONGEST) + 8
    right = WIDTH - BOLD * max(values, *(len(row.text) for row in rows)) - 8
    scale = Scale(low=low, high=high, start=left, end=right)
    bottom = ROW * len(rows) + 4
    body = []
    for tick in fitting(scale):
        body.append(line(scale.at(tick), 0, scale.at(tick), bottom, "axis" if tick == 0 else "grid"))
        place = min(scale.at(tick), WIDTH - number_width(tick) / 2)
        body.append(words(place, bottom + 10, short(tick), "middle", "tick"))
    for index, row in enumerate(rows):
        y = ROW * index + ROW / 2 + 2
        shown = [words(left - 8, y, cut(row.name), "end"), words(WIDTH, y, row.text, "end", "value")]
        if row.value is not None:
            zero, end = scale.at(0), scale.at(row.value)
            fill = ' fill="url(#hatch)" stroke="currentColor"' if row.style == "literature" else ' fill="currentColor"'
            shown.append(f'<rect x="{min(zero, end):.1f}" y="{y - 6:.1f}" width="{max(abs(end - zero), 0.5):.1f}" '
                         f'height="12"{fill}/>')
            if row.low is not None and row.high is not None and row.low < row.high:
                shown.append(whisker(scale.at(row.low), scale.at(row.high), y))
        body.append(f'<g class="c-{row.style}"><title>{esc(f"{row.name}: {row.text}")}</title>{"".join(shown)}</g>')
    return svg(bottom + 20, title, description, body)


def fitting(scale: Scale) -> tuple[float, ...]:
    """As many round values as have room for their numbers beside each other."""
    for most in range(8, 0, -1):
        found = steps(scale.low, scale.high, most)
        if all(scale.at(b) - scale.at(a) > (number_width(a) + number_width(b)) / 2 + 8 for a, b in pairwise(found)):
            return found
    return found[:1]


def whisker(low: float, high: float, y: float) -> str:
    """From the first to the third quartile, legible upon a bar and beside it."""
    path = f"M{low:.1f},{y:.1f}H{high:.1f}M{low:.1f},{y - 4:.1f}v8M{high:.1f},{y - 4:.1f}v8"
    return f'<path d="{path}" class="halo"/><path d="{path}" class="whisker"/>'


def short(value: float) -> str:
    """A tick's number."""
    if abs(value) >= 10000:
        return next(f"{value / size:.4g}{unit}" for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k"))
                    if abs(value) >= size)
    return f"{value:.4g}" if 0 < abs(value) < 1e-3 else f"{value:.6f}".rstrip("0").rstrip(".") if value else "0"


def number_width(value: float) -> float:
    return CHARACTER * len(short(value))


# -- lines --------------------------------------------------------------------------------------------

def lines(title: str, description: str, curves: Sequence[Curve], along: str, unit: str,
          across: tuple[float, float], up: tuple[float, float], height: int = 236) -> str:
    """Curves on logarithmic axes, each with a band from the first to the third quartile.

    Args:
        along: what is counted to the right; unit: what is counted upwards.
        across, up: the ends of the axes, above 0.
    """
    ticks_up = log_steps(*up, 7)
    left = max(number_width(tick) for tick in ticks_up) + 10
    top, bottom, right = 26, height - 40, WIDTH - 12
    x = Scale(low=across[0], high=across[1], start=left + 4, end=right, log=True)
    y = Scale(low=up[0], high=up[1], start=bottom, end=top, log=True)
    body = [words(0, 9, unit, style="tick")]
    for tick in ticks_up:
        body.append(line(left, y.at(tick), right, y.at(tick), "grid"))
        body.append(words(left - 6, y.at(tick), short(tick), "end", "tick"))
    taken = -1e9
    ticks = byte_steps(*across, 6) if along.startswith("byte") else counts(curves, across)
    for tick in ticks:
        name = point(tick, along)
        half = CHARACTER * len(name) / 2
        # None may leave the picture, or touch the one before.
        place = max(min(x.at(tick), WIDTH - half), half)
        if place - half > taken + 6:
            body.append(line(x.at(tick), bottom, x.at(tick), bottom + 4, "axis"))
            body.append(words(place, bottom + 14, name, "middle", "tick"))
            taken = place + half
    body += [line(left, bottom, right, bottom, "axis"),
             words((left + right) / 2, height - 7, cut(counted(along), 38), "middle", "tick")]
    # Ours is broad and full and lies below the others, so that all are seen where they are one.
    for curve in sorted(curves, key=lambda one: one.style != "runspec"):
        body.append(curve_body(curve, x, y, unit, along))
    return svg(height, title, description, body)


def counts(curves: Sequence[Curve], across: tuple[float, float]) -> tuple[float, ...]:
    """Where few points are, they are the ticks."""
    found = sorted({one[0] for curve in curves for one in curve.points})
    return tuple(found) if len(found) <= 8 else log_steps(*across, 6)


def curve_body(curve: Curve, x: Scale, y: Scale, unit: str, along: str) -> str:
    """One curve: band, line, markers."""
    places = [(x.at(at), y.at(low), y.at(middle), y.at(high)) for at, low, middle, high in curve.points]
    path = "".join(f"{'L' if index else 'M'}{px:.1f},{middle:.1f}" for index, (px, _, middle, _) in enumerate(places))
    band = "M" + "L".join([f"{px:.1f},{high:.1f}" for px, _, _, high in places]
                          + [f"{px:.1f},{low:.1f}" for px, low, _, _ in reversed(places)]) + "z"
    dash = DASHES[curve.place % len(DASHES)]
    shown = [f'<path d="{band}" class="band"/>',
             f'<path d="{path}" class="curve"{attribute("stroke-dasharray", dash)}/>']
    # Markers stand apart, and each contender's begin at a place of its own: curves often lie upon each other.
    last = -1e9
    every = 22 if len(places) > 12 else 0
    offset = curve.place * 5 % 22 if every else 0
    for (px, _, middle, _), (at, low, value, high) in zip(places, curve.points, strict=True):
        if px < places[0][0] + offset or px < last + every:
            continue
        last = px
        told = f"{curve.name}, {point(at, along)}: {number(value)} {unit} ({number(low)} to {number(high)})"
        shown.append(f'<path d="{MARKERS[curve.place % len(MARKERS)]}" transform="translate({px:.1f},{middle:.1f})" '
                     f'class="marker"><title>{esc(told)}</title></path>')
    return f'<g class="c-{curve.style}" data-curve="{esc(curve.name)}">{"".join(shown)}</g>'


def swatch(style: str, place: int) -> str:
    """A contender's line and marker for a legend."""
    dash = DASHES[place % len(DASHES)]
    return (f'<svg class="swatch c-{style}" width="34" height="14" viewBox="0 0 34 14" aria-hidden="true">'
            f'<path d="M1,7H33" class="curve"{attribute("stroke-dasharray", dash)}/>'
            f'<path d="{MARKERS[place % len(MARKERS)]}" transform="translate(17,7)" class="marker"/></svg>')


# -- ratios -------------------------------------------------------------------------------------------

RATIO = 220             # px


def ratio_scale(ends: tuple[float, float]) -> Scale:
    """The axis that all ratios have in common."""
    return Scale(low=ends[0], high=ends[1], start=16, end=RATIO - 16, log=True)


def ratio_axis(ends: tuple[float, float]) -> str:
    """What stands above the ratios."""
    scale = ratio_scale(ends)
    body = [words(scale.at(tick), 8, short(tick), "middle", "tick") for tick in log_steps(*ends, 5)]
    return svg(16, f"logarithmic, {number(ends[0])} to {number(ends[1])}", "", body, RATIO)


def forest(title: str, value: float, low: float, high: float, least: float | None, most: float | None,
           ends: tuple[float, float]) -> str:
    """One ratio with its spread on a logarithmic axis around 1, what it should be as a shade."""
    scale = ratio_scale(ends)
    begin = scale.at(least) if least is not None and least > 0 else 0
    end = scale.at(most) if most is not None and most > 0 else RATIO
    body = []
    if least is not None or most is not None:
        body.append(f'<rect x="{begin:.1f}" y="3" width="{max(end - begin, 1):.1f}" height="16" class="aim"/>')
        body += [line(scale.at(one), 2, scale.at(one), 20, "bound") for one in (least, most)
                 if one is not None and one > 0]
    body.append(line(scale.at(1), 0, scale.at(1), 22, "axis"))
    if 0 < value < float("inf"):
        low, high = (scale.at(one) if 0 < one < float("inf") else scale.at(value) for one in (low, high))
        body.append(f'<path d="M{low:.1f},11H{high:.1f}" class="whisker"/>'
                    f'<path d="{MARKERS[0]}" transform="translate({scale.at(value):.1f},11)" class="marker"/>')
    return svg(22, title, "", body, RATIO, "c-runspec forest")
