"""Bad input of class 3: each entry of tests/faults/json.yaml gives its exact error or model, within a second.

An entry is `{name, class, json | json_b64 | json_make, expect | model}`: `expect` is the whole error text with the file
called config.json, `model` maps paths of the Spec to values.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from runspec.errors import SpecError
from runspec.spec import from_oci, json_text, rules
from runspec.spec.model import Spec

ENTRIES = yaml.safe_load((Path(__file__).parent.parent / "faults/json.yaml").read_text(encoding="utf-8"))


def content(entry: dict[str, Any]) -> bytes:
    if "json_b64" in entry:
        return base64.b64decode(entry["json_b64"])
    if "json_make" in entry:
        make = entry["json_make"]
        text = make["prefix"] + make["open"] * make["count"] + make["close"] * make["count"] + make["suffix"]
        return str(text).encode()
    return str(entry["json"]).encode()


def judge(data: bytes) -> tuple[Spec | None, list[SpecError]]:
    """What `create` does with a configuration, short of looking at the machine."""
    try:
        document = json_text.parse(data, "config.json")
        spec, faults, _ = from_oci.read(document, "c1", "/b")
    except SpecError as error:
        return None, [error]
    if spec is not None:
        faults += rules.check(spec, document.marks, oci=True)
    return spec, faults


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_entry(entry: dict[str, Any]) -> None:
    judge(b"{}")                        # imports are not what is measured
    data = content(entry)
    start = time.process_time()
    spec, faults = judge(data)
    assert time.process_time() - start < 1
    assert "\n".join(one.text() for one in faults) == entry.get("expect", "").rstrip("\n")
    assert all(one.why and one.fix for fault in faults for one in (fault, *fault.also))
    assert ("expect" in entry) != ("model" in entry)
    for path, value in entry.get("model", {}).items():
        found: Any = spec
        for word in path.split("."):
            found = getattr(found, word)
        assert ([list(one) if isinstance(one, tuple) else one for one in found]
                if isinstance(found, tuple) else found) == value


def test_count() -> None:
    """At least as many as the list of bad input asks."""
    assert len(ENTRIES) >= 80
