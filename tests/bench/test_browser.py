"""The page in a real browser: nothing runs, nothing is asked for, nothing is hidden, cut or too faint to be read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import browser
import pytest
from bench_run import evil, faster, sample
from browser import Frame
from conftest import requires

from runspec.bench import page, style
from runspec.bench.comparison import comparison

pytestmark = requires("machine", "chromium")
WIDTHS = (360, 390, 1280)
# Each of its faults is one that the measures must find.
BROKEN = """<!DOCTYPE html><title>broken</title><body style="margin:0;background:#fff;font-size:16px">
<p style="width:2000px">wide</p><p style="font-size:9px">small</p><p style="color:#ccc">faint</p>
<svg class="plot" width="200" height="40" viewBox="0 0 400 80"><text x="0" y="20">one</text>
<text x="5" y="20">over</text><text x="380" y="20">outside</text><path class="curve" d="M0,0H9" stroke="#eee"/></svg>
<script>console.error("written")</script><img src="nowhere.png" onerror="0">
<style>p{background:url(nothing.png)}</style>"""


Found = tuple[dict[str, Any], list[str]]
NAMES = [f"{scheme} {width}" for scheme in ("light", "dark") for width in WIDTHS]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What was measured in each page, and the console."""
    results = sample()
    old = faster(results.replace(machine={**results.machine, "kernel": "Linux 6.1"}), 0.7, suite="start")
    # What is folded is measured as well.
    whole = page.page(results, comparison(old, results, "old.json")).replace("<details>", "<details open>")
    frames = {name: Frame(whole, int(name.split()[1]), name.split()[0]) for name in NAMES}
    frames |= {"evil": Frame(page.page(evil()), 390), "broken": Frame(BROKEN, 390)}
    return browser.measure(tmp_path_factory.mktemp("browser"), frames)


@pytest.mark.parametrize("name", [*NAMES, "evil"])
def test_the_page(found: Found, name: str) -> None:
    measured, console = found
    one = measured[name]
    assert one["dark"] is name.startswith("dark") and one["width"] == (390 if name == "evil" else int(name.split()[1]))
    assert one["scroll"] <= one["width"], one["wide"]
    assert one["texts"] > (20 if name == "evil" else 400) and one["marks"] > (5 if name == "evil" else 400)
    for fault in ("wide", "outside", "overlaps", "small", "faint", "dull", "nameless", "requests"):
        assert one[fault] == [], fault
    assert one["scripts"] == 0
    assert [line for line in console if not any(word in line for word in ("written", "nowhere", "nothing"))] == []


def test_the_measures_find_what_is_wrong(found: Found) -> None:
    """Each of them, in a page that has all the faults."""
    measured, console = found
    one = measured["broken"]
    assert one["scroll"] == 2000 and any("wide" in text for text in one["wide"])
    assert any("small" in text for text in one["small"]) and any("one" in text for text in one["small"])
    assert any("faint" in text for text in one["faint"])
    assert one["overlaps"] == ["text: over / text: one"] and one["outside"] == ["text: outside"]
    assert len(one["nameless"]) == 1 and len(one["dull"]) == 1
    assert one["scripts"] == 2 and any("written" in line for line in console)
    assert any("nowhere" in text for text in one["requests"]) and any("nothing" in text for text in one["requests"])


def test_both_schemes_are_painted(tmp_path: Path) -> None:
    """The ground and the accent of runspec are where they should be, as pixels; the other scheme's are nowhere."""
    whole = page.page(sample().replace(ratios=()))
    rows = browser.screenshot(tmp_path, {name: Frame(whole, 390, name) for name in ("light", "dark")}, 480)
    assert (len(rows), len(rows[0])) == (480, 780)
    for index in (0, 1):
        half = [row[390 * index:390 * (index + 1)] for row in rows]
        every = Counter(pixel for row in half for pixel in row)
        ground, accent = ([tuple(bytes.fromhex(one[1:])) for one in pair]
                          for pair in (style.COLOURS["bg"], style.CONTENDERS["runspec"]))
        assert {row[0] for row in half} == {row[-1] for row in half} == {ground[index]}
        assert every[ground[index]] > 390 * 480 / 2 and every[ground[1 - index]] < 1000
        assert every[accent[index]] > 500 and every[accent[1 - index]] == 0
