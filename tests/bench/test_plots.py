"""Plots: scales, ticks, and that no label touches another or leaves its picture, whatever the figures are."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings, strategies as st
from markup import Node, parse

from runspec.bench import plots
from runspec.bench.plots import CHARACTER, WIDTH, Bar, Curve, Scale

positive = st.floats(1e-6, 1e12)
names = st.text("abcdefgWm %-", min_size=1, max_size=30)


def boxes(plot: Node) -> list[tuple[float, float, float, str]]:
    """(left, right, middle, text) of every text, as wide as a wide font has it."""
    found = []
    for one in plot.all("text"):
        wide, x = len(one.own) * CHARACTER, float(one.attributes["x"])
        left = {"start": x, "middle": x - wide / 2, "end": x - wide}[one.attributes["text-anchor"]]
        found.append((left, left + wide, float(one.attributes["y"]), one.own))
    return found


def assert_tidy(plot: Node) -> None:
    """No two texts over each other, none outside."""
    width, height = (float(plot.attributes[name]) for name in ("width", "height"))
    found = boxes(plot)
    for index, (left, right, y, text) in enumerate(found):
        assert left >= -3 and right <= width + 3 and 8 <= y <= height, text
        for other in found[:index]:
            assert abs(other[2] - y) >= 11.9 or left >= other[1] - 1 or right <= other[0] + 1, (text, other)


@given(positive, positive, st.booleans(), st.floats(0, 1))
def test_a_scale_keeps_the_order_and_the_ends(low: float, way: float, log: bool, part: float) -> None:
    scale = Scale(low=low, high=low + way + low * 1e-3, start=10, end=300, log=log)
    value = low + (scale.high - low) * part
    assert scale.at(low) == pytest.approx(10) and scale.at(scale.high) == pytest.approx(300)
    assert 9.999 <= scale.at(value) <= 300.001 and scale.at(value) <= scale.at(value * 1.1) + 1e-6
    assert scale.at(scale.high * 9) == scale.at(scale.high) and scale.at(low / 9) == scale.at(low)


@given(positive)
def test_nice_is_near_and_not_below(value: float) -> None:
    assert value * 0.99999 <= plots.nice(value) <= value * 1.7


@given(st.floats(-1e6, 0), positive, st.integers(1, 12))
def test_steps_are_even_and_within(low: float, high: float, most: int) -> None:
    found = plots.steps(low, high, most)
    assert 0 < len(found) <= most + 1 and 0.0 in found
    assert all(low * 1.001 - 1e-9 <= one <= high * 1.001 for one in found)


@given(st.lists(positive, min_size=1, max_size=9))
def test_a_logarithmic_axis_holds_all_and_has_ticks(values: list[float]) -> None:
    low, high = plots.span(values)
    assert low <= min(values) * 1.001 and high >= max(values) * 0.999 and high >= low * 1.99
    found = plots.log_steps(low, high, 7)
    assert 2 <= len(found) <= 7 and all(low * 0.99 <= one <= high * 1.01 for one in found)
    assert sorted(set(found)) == list(found)


@pytest.mark.parametrize(("low", "high", "found"), [
    (1, 1 << 23, (1, 32, 1024, 32768, 1 << 20)), (1, 16, (1, 2, 4, 8, 16)), (3, 5, (4,)), (5, 7, ())])
def test_bytes_have_powers_of_two(low: float, high: float, found: tuple[float, ...]) -> None:
    assert plots.byte_steps(low, high, 6) == found


@settings(max_examples=50)
@given(st.lists(st.tuples(names, st.floats(-50, 1e9) | st.none(), names), min_size=1, max_size=9))
@example([("a", 5e-324, "")])
def test_bars_are_tidy(rows: list[tuple[str, float | None, str]]) -> None:
    bars = [Bar(name=name, style="runc", value=value, low=value, high=value, text=text[:12])
            for name, value, text in rows]
    values = [value for _, value, _ in rows if value is not None] or [0]
    tree = parse(plots.bars("title", "told", bars, min(*values, 0), plots.nice(max(values))))
    plot, = tree.all("svg")
    assert_tidy(plot)
    assert len(plot.all("rect")) == len([value for _, value, _ in rows if value is not None])
    for rect in plot.all("rect"):
        assert float(rect.attributes["x"]) >= 0 and (
            float(rect.attributes["x"]) + float(rect.attributes["width"]) <= WIDTH + 0.5)


def test_bars_begin_at_zero_and_are_as_long_as_their_values() -> None:
    bars = [Bar(name="a", style="x", value=value, low=value, high=value, text="") for value in (10.0, 5.0, -5.0, 0.0)]
    plot, = parse(plots.bars("t", "", bars, -5, 10)).all("svg")
    rects = [(float(one.attributes["x"]), float(one.attributes["width"])) for one in plot.all("rect")]
    zero = float(plot.all("line", "axis")[0].attributes["x1"])
    assert rects[0][0] == rects[1][0] == zero and rects[2][0] + rects[2][1] == pytest.approx(zero, abs=0.2)
    assert rects[0][1] == pytest.approx(2 * rects[1][1], abs=0.3) and rects[1][1] == pytest.approx(rects[2][1], abs=0.2)
    assert rects[3][1] == 0.5


points = st.lists(st.tuples(st.floats(1, 1e7), positive), min_size=1, max_size=30, unique_by=lambda one: one[0])


@settings(max_examples=50)
@given(st.lists(points, min_size=1, max_size=4), st.sampled_from(["bytes", "containers", ""]))
def test_lines_are_tidy(curves: list[list[tuple[float, float]]], along: str) -> None:
    made = [Curve(name=f"c{index}", style="runc", place=index,
                  points=tuple((x, y * 0.9, y, y * 1.1) for x, y in sorted(one))) for index, one in enumerate(curves)]
    xs = [x for one in made for x, *_ in one.points]
    up = plots.span([y for one in made for _, *ys in one.points for y in ys])
    plot, = parse(plots.lines("t", "", made, along, "ms", (min(xs), max(max(xs), 2 * min(xs))), up)).all("svg")
    assert_tidy(plot)
    for curve in plot.all("path", "curve"):
        for place in curve.attributes["d"][1:].split("L"):
            x, y = map(float, place.split(","))
            assert 0 <= x <= WIDTH and 0 <= y <= float(plot.attributes["height"]) - 39
    assert len(plot.all("path", "curve")) == len(made)


def test_a_long_curve_has_fewer_markers_than_points_and_each_contender_its_own() -> None:
    many = tuple((float(2 ** (n / 4)), 9.0, 10.0, 11.0) for n in range(92))
    curves = [Curve(name=f"c{n}", style="runc", place=n, points=many) for n in range(3)]
    plot, = parse(plots.lines("t", "", curves, "bytes", "us", (1, 1 << 23), (1, 100))).all("svg")
    places = [[one.attributes["transform"].partition(",")[0] for one in group.all("path", "marker")]
              for group in plot.all("g")]
    assert all(8 < len(one) < 16 for one in places)
    assert not set(places[0]) & set(places[1])


def test_what_is_ours_lies_below_the_others() -> None:
    curves = [Curve(name=name, style=name, place=0, points=((1.0, 1.0, 1.0, 1.0), (9.0, 1.0, 1.0, 1.0)))
              for name in ("native", "runspec", "lxc")]
    plot, = parse(plots.lines("t", "", curves, "n", "ms", (1, 9), (1, 10))).all("svg")
    assert [one.attributes["data-curve"] for one in plot.all("g")] == ["runspec", "native", "lxc"]


@pytest.mark.parametrize(("value", "least", "most", "marked", "shaded"), [
    (0.5, None, 2.0, True, True), (0.5, 0.9, None, True, True), (0.5, None, None, True, False),
    (float("inf"), None, 1.0, False, True), (0.0, None, 0.0, False, True)])
def test_a_ratio(value: float, least: float | None, most: float | None, marked: bool, shaded: bool) -> None:
    plot, = parse(plots.forest("t", value, value, value, least, most, (0.1, 10))).all("svg")
    assert bool(plot.all("path", "marker")) == marked and bool(plot.all("rect", "aim")) == shaded


def test_a_name_that_is_too_long_is_cut() -> None:
    assert plots.cut("a" * 18) == "a" * 18 and plots.cut("a" * 19) == "a" * 17 + "…"
