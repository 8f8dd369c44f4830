"""The page as a document: all figures are in it, as text, and nothing else than text of what a run was told."""

from __future__ import annotations

from collections import Counter

import pytest
from bench_run import EVIL, evil, faster, sample
from markup import Node, parse

from runspec.bench import groups, literature, page
from runspec.bench.comparison import comparison
from runspec.bench.groups import number
from runspec.bench.results import Ratio, Results, Series

RESULTS = sample()
TREE = parse(page.page(RESULTS))


def section(tree: Node, title: str) -> Node:
    return next(one for one in tree.all("section") if one.all("h2")[0].text == title)


def test_nothing_is_asked_for_and_nothing_runs() -> None:
    assert TREE.all("script") == [] and TREE.all("link") == [] and TREE.all("img") == []
    assert next(one for one in TREE.all("meta") if one.attributes.get("http-equiv")).attributes["content"] == (
        "default-src 'none'; style-src 'unsafe-inline'")
    for node in TREE:
        for name, value in node.attributes.items():
            assert not name.startswith("on") and name != "src"
            assert name != "href" or value.startswith("#")
    assert "@import" not in TREE.all("style")[0].own and "url(" not in TREE.all("style")[0].own


def test_the_outline() -> None:
    assert [one.text for one in TREE.all("h1")] == ["runspec bench"]
    assert [one.text for one in TREE.all("h2")] == [
        "Ratios", "CPU", "Memory", "Network", "Isolation", "Start", "Exec", "Where and how"]
    ids = [one.attributes["id"] for one in TREE if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    assert {one.attributes["href"][1:] for one in TREE.all("nav")[0].all("a")} <= set(ids)
    assert TREE.all("html")[0].attributes["lang"] == "en" and TREE.all("title")[0].own.startswith("runspec bench · ")


@pytest.mark.parametrize("suite", groups.suites(RESULTS))
def test_every_median_stands_in_a_table(suite: str) -> None:
    cells = Counter(cell.own.strip() for cell in section(TREE, groups.title(suite)).all("td"))
    for one in RESULTS.of(suite):
        assert cells[number(one.median, one.unit)] > 0, one
        cells[number(one.median, one.unit)] -= 1


@pytest.mark.parametrize("suite", groups.suites(RESULTS))
def test_every_series_is_drawn(suite: str) -> None:
    """A bar of its own, or a curve for all that differ in `at` alone."""
    found = section(TREE, groups.title(suite))
    drawn = Counter(bar.attributes["class"] for bar in found.all("g") if bar.all("rect"))
    curves = Counter(one.attributes["data-curve"] for one in found.all("g") if "data-curve" in one.attributes)
    styles = page.Page(RESULTS).styles
    wanted = Counter(f"c-{styles[one.contender]}" for one in RESULTS.of(suite) if one.at is None)
    assert {name: drawn[name] for name in wanted} == wanted
    lines = Counter(name for name, *_ in {(one.contender, one.figure, one.case) for one in RESULTS.of(suite)
                                          if one.at is not None})
    assert curves == lines


def test_all_plots_of_a_figure_have_one_scale() -> None:
    memory = section(TREE, "Memory")
    ticks = [[one.own for one in plot.all("text", "tick")] for plot in memory.all("svg", "plot")]
    assert len(ticks) == 4 and all(one == ticks[0] for one in ticks) and ticks[0][0] == "0"


def test_the_ratios() -> None:
    found = section(TREE, "Ratios")
    rows = found.all("tr")[1:]
    assert [row.all("th")[0].text for row in rows] == [one.name for one in RESULTS.ratios]
    for row, one in zip(rows, RESULTS.ratios, strict=True):
        cells = row.all("td")
        assert cells[0].text == f"{number(one.value, one.unit)} {one.unit}".rstrip()
        assert cells[1].text == (f"{number(one.low, one.unit)} to {number(one.high, one.unit)}" if one.low < one.high
                                 else "")
        assert bool(row.all("svg", "forest")) == (one.unit == "")
        assert cells[3].text == groups.aim(one) and groups.verdict(one) in cells[4].text
        assert len(row.all("span", "good")) == (one.good is True) and len(row.all("span", "bad")) == (one.good is False)
        assert bool(row.all("abbr")) == groups.narrow(one)
    assert "25 of 28 figures are reached." in TREE.all("header")[0].text


def test_the_literature_stands_beside_isolation_alone() -> None:
    for one in TREE.all("section"):
        rows = one.all("g", "c-literature")
        assert len(rows) == (24 if one is section(TREE, "Isolation") else 0)
        assert ("Xavier" in one.text) == bool(rows)
    texts = [one.text for one in section(TREE, "Isolation").all("g", "c-literature")]
    assert texts[16:20] == ["LXC2.2 %", "OpenVZ4.5 %", "VServer13.6 %", "Xen0.9 %"]
    assert "LXCdid not run" in texts


@pytest.mark.parametrize(("case", "first"), [
    ("cpu", ("LXC", 0.0)), ("memory, with limits", ("LXC", 88.2)), ("fork bomb", ("LXC", None)),
    ("Network Sender", ("LXC", 10.3)), ("memory, without limits", None), ("disk, no limits", None), ("gpu", None)])
def test_literature_by_case(case: str, first: tuple[str, float | None] | None) -> None:
    found = literature.isolation(case)
    assert (found[0] if found else None) == first and len(found) in (0, 4)


def test_what_is_missing_stands_in_its_suite() -> None:
    for one in RESULTS.missing:
        assert one.why in section(TREE, groups.title(one.suite)).all("ul", "absent")[0].text
    assert section(TREE, "CPU").all("ul", "absent") == []


def test_machine_versions_settings_and_command_lines_are_there() -> None:
    text = section(TREE, "Where and how").text
    for name, value in (*RESULTS.machine.items(), *RESULTS.versions.items(), *RESULTS.settings.items()):
        assert name in text and value in text
    codes = [one.own for one in TREE.all("code")]
    assert set(codes) == {one.command for one in RESULTS.series if one.command}


def test_a_table_stands_open_beside_one_plot_alone() -> None:
    one, two = page.beside(["<figure/>"], "<tr>" * 5, "all"), page.beside(["<figure/>"] * 2, "<tr>" * 5, "all")
    assert "beside" in one and "details" not in one and "details" in page.beside(["<figure/>"], "<tr>" * 17, "all")
    assert two.endswith("<details><summary>all</summary><tr><tr><tr><tr><tr></details>")


def test_a_busy_machine_is_told() -> None:
    busy = RESULTS.replace(machine={**RESULTS.machine, "load before": "1.5 1 1"})
    assert "its load was 1.5 before the run, on 2 cores" in parse(page.page(busy)).all("header")[0].text
    assert "not idle" not in TREE.all("header")[0].text


def test_each_contender_has_one_look_throughout() -> None:
    looks = {}
    for curve in (one for one in TREE.all("g") if "data-curve" in one.attributes):
        marker = curve.all("path", "marker")[0].attributes["d"]
        dash = curve.all("path", "curve")[0].attributes.get("stroke-dasharray", "")
        looks.setdefault(curve.attributes["data-curve"], set()).add((curve.attributes["class"], marker, dash))
    assert len(looks) == 6 and all(len(one) == 1 for one in looks.values())
    assert len({next(iter(one))[1:] for one in looks.values()}) == 6, "told by more than their colour"


def test_contenders_that_nobody_knows_get_looks_that_are_free() -> None:
    base = RESULTS.series[0]
    many = RESULTS.replace(series=(*RESULTS.series, *(base.replace(contender=f"new{n}") for n in range(3))))
    styles = page.Page(many).styles
    assert styles.pop("other core") == "native", "no container either"
    assert len(set(styles.values())) == len(styles) and "literature" not in styles.values()
    more = RESULTS.replace(series=tuple(base.replace(contender=f"new{n}") for n in range(40)))
    parse(page.page(more))


def test_no_text_of_a_run_is_more_than_text() -> None:
    results = evil()
    text = page.page(results, comparison(results, faster(results, 2), EVIL))
    tree = parse(text)
    assert tree.all("script") == [] and "\x1b" not in text and "\u202e" not in text and "alert" in tree.text
    shown = groups.plain(EVIL)
    assert tree.all("h2")[2].text == shown[:1].upper() + shown[1:] and "<script" not in text
    for node in tree:
        assert set(node.attributes) <= {
            "class", "id", "href", "lang", "charset", "http-equiv", "content", "name", "aria-labelledby", "aria-label",
            "aria-hidden", "role", "tabindex", "scope", "colspan", "title", "style", "width", "height", "viewbox", "d",
            "x", "y", "x1", "x2", "y1", "y2", "fill", "stroke", "text-anchor", "transform", "stroke-dasharray",
            "data-curve", "patternunits", "patterntransform"}, node.attributes


def test_a_comparison() -> None:
    old = faster(RESULTS.replace(machine={**RESULTS.machine, "kernel": "Linux 6.1"}), 0.75, figure="apply",
                 contender="runspec")
    tree = parse(page.page(RESULTS, comparison(old, RESULTS, "old.json")))
    found = section(tree, "Compared")
    assert tree.all("section").index(found) == 1
    assert "4 figures of runspec got worse, none got better." in found.text
    assert "Linux 6.1 → Linux 6.18.0" in found.text
    row = next(one for one in found.all("tr") if "apply, 100" in one.text)
    assert [one.text for one in row.all("td")] == ["runspec", "2.232 ms", "2.976 ms", "+33 %", "5%", "+0.0 %", ""]
    assert len(row.all("td", "bad")) == 1


def series(*values: float, **other: object) -> Series:
    return Series(**{"suite": "start", "figure": "apply", "contender": "runspec", "unit": "ms",     # type: ignore[arg-type]
                     "values": values, **other})


@pytest.mark.parametrize("found", [
    (), (series(0),), (series(-3, 4, unit="%"),), (series(1e-9, at=1.0),), (series(0, at=1.0), series(0, at=0.0)),
    (series(5, at=1.0), series(5, at=2.0)), (series(1e12), series(1, contender="runc")), (series(1), series(2, at=4.0)),
    (series(3, at=0.0), series(4, at=1e15)), (series(5, at=8.0, along="bytes"),),
    (series(1, case="a" * 200, contender="b" * 99),)])
def test_strange_runs_make_pages_as_well(found: tuple[Series, ...]) -> None:
    infinite = Ratio(name="x", value=float("inf"), low=0, high=float("inf"), most=0)
    results = Results(machine={}, versions={}, settings={}, series=found, ratios=(infinite,))
    tree = parse(page.page(results))
    cells = [one.own.strip() for one in tree.all("td")]
    assert all(number(one.median, one.unit) in cells for one in found)
    for node in tree:
        assert not any(word in value for value in node.attributes.values() for word in ("nan", "inf"))
