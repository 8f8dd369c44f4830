"""What an editor says of specs/: the schema that each file names serves every document in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import CHECKOUT
from referencing import Registry, Resource

from runspec.spec import source

FILES = sorted((CHECKOUT / "specs").rglob("*.yaml"))


def judge(file: Path) -> jsonschema.Draft202012Validator:
    """The schema of a path, and those beside it that it refers to."""
    beside = {one.name: Resource.from_contents(json.loads(one.read_text()))
              for one in file.parent.glob("*.schema.json")}
    return jsonschema.Draft202012Validator(json.loads(file.read_text()),
                                           registry=Registry().with_resources(beside.items()))


@pytest.mark.parametrize("file", FILES, ids=[str(one.relative_to(CHECKOUT)) for one in FILES])
def test_specs(file: Path) -> None:
    named = re.search(r"(?m)^# yaml-language-server: \$schema=(.*)$", file.read_text())
    assert named is not None
    schema = judge((file.parent / named[1]).resolve())
    for document in source.load([str(file)]):
        schema.validate(document.tree)


@pytest.mark.parametrize(("tree", "good"), [
    ({"kind": "Network", "type": "bridge"}, True), ({"kind": "Network", "root": {"image": "busybox"}}, False),
    ({"root": {"image": "busybox"}, "process": {"args": ["x"]}}, True), ({"type": "bridge"}, False),
    ({"kind": "Container", "root": {"image": "busybox"}}, True), ({"kind": "Net"}, False)])
def test_by_kind(tree: dict[str, Any], good: bool) -> None:
    """No document is judged as one of the other kind."""
    schema = judge(CHECKOUT / "schemas" / "document.schema.json")
    jsonschema.Draft202012Validator.check_schema(schema.schema)
    assert schema.is_valid({"apiVersion": "runspec/v1", "name": "a", **tree}) == good
