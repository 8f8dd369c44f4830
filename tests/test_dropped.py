"""The table of tests/duties.py fits the code: each text is there once, each test exists, no hole is left out."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from duties import ROWS, TESTS

import runspec

PACKAGE = Path(runspec.__file__).parent
# Holes of the field: who had them, and the number.
HOLES = [
    "2016-9962", "2016-8649", "2019-5736", "2019-16884", "2019-19921", "2023-27561", "2023-28642", "2019-18837",
    "2015-1335", "2015-1331", "2019-14271", "2020-15257", "2020-5291", "2017-5226", "2016-10124", "2021-30465",
    "2021-43784", "2022-24769", "2025-27612", "2022-0492", "2022-0811", "2018-6556", "2023-25809", "2024-21626",
    "2024-45310", "2025-24965", "2025-31133", "2025-52565", "2025-52881", "2026-30892", "2026-41579", "2014-8989",
    "2020-8558"]


def test_no_hole_is_left_out() -> None:
    names = " ".join(ROWS)
    assert [hole for hole in HOLES if f"CVE-{hole}" not in names] == []


@pytest.mark.parametrize("name", ROWS)
def test_a_duty_can_be_dropped(name: str) -> None:
    """What the edits look for is there exactly once, and the tests that must notice are there, too."""
    edits, tests = ROWS[name]
    for file, old, _ in edits:
        path = Path(sys.executable).with_name("runspec") if file.endswith("/bin/runspec") else PACKAGE / file
        if old and path.exists():
            assert path.read_text().count(old) == 1, (file, old)
    assert edits and tests
    for one in tests:
        file, _, function = one.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        assert not function or function in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)], one
