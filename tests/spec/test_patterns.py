"""spec/patterns.py: what is known without regular expressions is what they would say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from runspec.spec import schema
from runspec.spec.patterns import COMMON, matches

ROOT = Path(__file__).parents[2]
ODD = st.text(alphabet=st.sampled_from("0189afFxrwm-_./:=%KMiBus\n \u0663\xe9\x00"), max_size=6)


def patterns(node: Any) -> Iterator[str]:
    """Every pattern of a schema."""
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from patterns(inner)


def test_each_is_a_schemas_own() -> None:
    files = Path(schema.folder()).glob("*.schema.json")
    assert set(COMMON) <= {one for file in files for one in patterns(json.loads(file.read_text()))}


@pytest.mark.parametrize("pattern", COMMON)
def test_they_are_what_the_expression_says(pattern: str) -> None:
    exact = re.compile(pattern.removesuffix("$") + r"\Z" * pattern.endswith("$"))

    @settings(max_examples=60, deadline=None)
    @given(st.one_of(ODD, st.from_regex(exact), st.tuples(st.from_regex(exact), ODD).map("".join)))
    def holds(text: str) -> None:
        assert matches(pattern, text) == bool(exact.search(text))

    holds()


PLAIN = ("foo1", "foo2", "pod", "host-tool", "tuned", "lasting", "data", "legacy32", "two-sides")


@pytest.mark.parametrize("name", PLAIN)
def test_plain_files_need_no_regular_expressions(name: str) -> None:
    code = ("import sys; sys.path += PATHS; from runspec.spec import schema, source; "
            "documents, faults = source.gather([FILE]); "
            "faults += [one for each in documents for one in schema.check(each)]; "
            "sys.exit(str(faults or '') or int('re' in sys.modules))")
    import yaml

    import runspec

    paths = [str(Path(one.__file__).parents[1]) for one in (runspec, yaml)]
    code = code.replace("PATHS", repr(paths)).replace("FILE", repr(str(ROOT / "specs" / f"{name}.yaml")))
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0
