"""Colours: text and marks stand out from their ground in both schemes, and contenders from each other to all eyes."""

from __future__ import annotations

import itertools

import pytest

from runspec.bench.plots import DASHES, MARKERS
from runspec.bench.style import COLOURS, CONTENDERS, sheet

Colour = tuple[float, float, float]
# Linear red, green, blue as they look to who lacks one kind of cone: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes,
# "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009, severity 1.
EYES = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colour: str) -> Colour:
    """Red, green, blue as light, IEC 61966-2-1."""
    red, green, blue = (value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4
                        for value in bytes.fromhex(colour[1:]))
    return red, green, blue


def contrast(one: str, other: str) -> float:
    """WCAG 2: 1 to 21."""
    low, high = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (linear(one), linear(other)))
    return (high + 0.05) / (low + 0.05)


def lab(colour: Colour) -> Colour:
    """CIE L*a*b*, D65."""
    r, g, b = (min(max(one, 0), 1) for one in colour)
    x, y, z = (one ** (1 / 3) if one > 0.008856 else 7.787 * one + 16 / 116 for one in (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505, 0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def difference(one: str, other: str, eyes: str) -> float:
    """CIE 1976 colour difference, as it looks to these eyes."""
    first, second = (lab(tuple(sum(a * b for a, b in zip(row, linear(colour), strict=True))     # type: ignore[arg-type]
                               for row in EYES[eyes])) for colour in (one, other))
    return sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) ** 0.5


def test_the_formulas() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert lab(linear("#ff0000")) == pytest.approx((53.2, 80.1, 67.2), abs=0.2)
    assert difference("#ff0000", "#00aa00", "deuteranopia") < difference("#ff0000", "#00aa00", "usual") / 2


@pytest.mark.parametrize("scheme", [0, 1], ids=["day", "night"])
@pytest.mark.parametrize("role", ["ink", "muted", "link", "good", "bad"])
def test_text_stands_out(role: str, scheme: int) -> None:
    for ground in ("bg", "panel"):
        assert contrast(COLOURS[role][scheme], COLOURS[ground][scheme]) >= 4.5


@pytest.mark.parametrize("scheme", [0, 1], ids=["day", "night"])
@pytest.mark.parametrize("name", CONTENDERS)
def test_marks_stand_out(name: str, scheme: int) -> None:
    assert contrast(CONTENDERS[name][scheme], COLOURS["bg"][scheme]) >= 3


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("scheme", [0, 1], ids=["day", "night"])
def test_contenders_differ_to_all_eyes(scheme: int, eyes: str) -> None:
    """By more than twice what can just be told; those of a usual run by more."""
    usual = ("native", "runspec", "runc", "lxc")
    for one, other in itertools.combinations((name for name in CONTENDERS if name != "literature"), 2):
        found = difference(CONTENDERS[one][scheme], CONTENDERS[other][scheme], eyes)
        assert found > (12 if one in usual and other in usual else 8), (one, other)


def test_all_contenders_differ_by_more_than_colour() -> None:
    places = range(len(CONTENDERS) - 1)
    assert len({(MARKERS[one % len(MARKERS)], DASHES[one % len(DASHES)]) for one in places}) == len(places)
    assert DASHES[list(CONTENDERS).index("runspec") % len(DASHES)] == ""


def test_paper_is_white_by_night_too() -> None:
    text = sheet()
    paper = text[text.index("@media print"):]
    assert text.index("prefers-color-scheme:dark") < text.index("@media print")
    assert f"--bg:{COLOURS['bg'][0]}" in paper and COLOURS["bg"][1] not in paper
    assert text.count("{") == text.count("}")
