"""spec/schema.py: each key with each JSON type, jsonschema as the judge, the schemas themselves."""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from runspec.spec import compose, schema, source

Schema = dict[str, Any]
NAMES = ("container", "network")
KIND = {"container": "Container", "network": "Network"}

# One value of each JSON type, none of which is right by accident anywhere but as its type.
VALUES: dict[str, Any] = {"null": None, "boolean": True, "integer": 1, "number": 1.5, "string": "%",
                          "array": [[]], "object": {"%": [[]]}}


def raw(name: str) -> Schema:
    return json.loads((Path(schema.folder()) / f"{name}.schema.json").read_text())


def whole(name: str) -> Schema:
    """A document in which every key of a schema has its first example, but for the file that it would extend."""
    tree = example(schema.schema(name))
    del tree["extends"]
    return tree


def example(node: Schema) -> Any:
    if "properties" in node:
        return {key: example(inner) for key, inner in node["properties"].items()}
    if isinstance(node.get("items"), dict) and "properties" in node["items"]:
        return [example(node["items"])]
    return copy.deepcopy(node["examples"][0])


def keys(node: Schema, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Schema]]:
    """Every place of a schema at which a value may stand, free maps and elements too."""
    for key, inner in node.get("properties", {}).items():
        yield (*path, key), inner
        yield from keys(inner, (*path, key))
    if isinstance(node.get("items"), dict):
        yield (*path, 0), node["items"]
        yield from keys(node["items"], (*path, 0))


def around(name: str, path: tuple[str | int, ...]) -> Schema:
    """The whole document without what is optional far from a path: judged four thousand times, it shall be small."""
    tree = whole(name)
    at, node = tree, schema.schema(name)
    for part in path[:-1]:
        if isinstance(part, int):
            at, node = at[0] if isinstance(at, list) else at, node["items"]
            continue
        for other in set(at) - {part, "kind", *node.get("required", ())}:
            del at[other]
        at, node = at[part], node["properties"][part]
    return tree


def step(tree: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


CASES = [(name, path, word) for name in NAMES for path, _ in keys(schema.schema(name)) for word in VALUES]


def shown(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def allowed(node: Schema) -> set[str]:
    """The JSON types a key takes, read from the schema: `type`, or the types of `enum`."""
    if "type" in node:
        types = {node["type"]} if isinstance(node["type"], str) else set(node["type"])
        return types | ({"integer"} if "number" in types else set())
    return {"string"} if all(isinstance(word, str) for word in node["enum"]) else {"integer"}


def test_there_are_enough() -> None:
    assert len(CASES) >= 400


@pytest.mark.parametrize("name", NAMES)
def test_wrong_types(name: str) -> None:
    """Class 1: a wrong type is one fault, at the key's path and place; a right one is no fault of type."""
    for _, path, word in (case for case in CASES if case[0] == name):
        if path == ("extends",) and word == "string":
            continue            # names a file
        node = schema.schema(name)
        tree = around(name, path)
        for part in path[:-1]:
            node = node["items"] if isinstance(part, int) else node["properties"][part]
        at = step(tree, path[:-1])
        node = node["items"] if isinstance(path[-1], int) else node["properties"][path[-1]]
        if isinstance(at, str):
            at = step(tree, path[:-2])[path[-2]] = [at]     # its example is one text, not a list of them
        at[path[-1]] = copy.deepcopy(VALUES[word])
        # JSON is YAML, and one line a value makes the place predictable.
        text = json.dumps(tree, indent=1)
        documents, faults = source.parse(text, "t.yaml")
        assert not faults
        found = schema.check(documents[0])
        if word in allowed(node):
            assert not any("expected" in one.what and one.what.startswith(f"{shown(path)}: ")
                           and "found null" in one.what for one in found), (path, word)
            continue
        mark = documents[0].marks[shown(path)]
        line = text.splitlines()[mark.line - 1]
        assert json.dumps(VALUES[word], indent=1).split("\n", 1)[0] in line[mark.column - 1:]
        mine = [one for one in found if str(one.at) == str(mark)]
        assert len(mine) == 1, (path, word, [one.text() for one in found])
        assert mine[0].what.startswith(f"{shown(path)}: "), (path, word)
        assert len(found) == 1 or path == ("kind",), (path, word, [one.text() for one in found])


OTHERS = (-1, 0, 2**64, "", "25%", "64Mi", "10.0.0.1/24", "a", [], {}, ["a"], {"a": "b"})


def strict(name: str) -> Any:
    """jsonschema with YAML's idea of an integer, which 1.0 is not."""
    base = jsonschema.Draft202012Validator
    checker = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return jsonschema.validators.extend(base, type_checker=checker)(raw(name))


@pytest.mark.parametrize("name", NAMES)
def test_jsonschema_agrees(name: str) -> None:
    """The stock library accepts and refuses the same documents."""
    judge = strict(name)
    for path, _ in keys(schema.schema(name)):
        tree = around(name, path)
        at = step(tree, path[:-1])
        if isinstance(at, str):
            at = step(tree, path[:-2])[path[-2]] = [at]
        for value in (*VALUES.values(), *OTHERS):
            at[path[-1]] = copy.deepcopy(value)
            if tree.get("kind") != KIND[name]:
                continue
            marks = {"": source.Mark("t.yaml", 1, 1)}
            mine = not schema.check(compose.Document(tree, marks, {}, "", "t.yaml"))
            assert mine == judge.is_valid(tree), (path, value)


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_described_and_shown(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(raw(name))
    full = schema.schema(name)
    judge = jsonschema.Draft202012Validator
    assert judge(full).is_valid(full["examples"][0])
    for path, node in keys(full):
        assert node.get("description", "").endswith("."), path
        assert node.get("examples"), path
        for one in node["examples"]:
            judge({key: value for key, value in node.items() if key != "$defs"}).validate(one)


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_closed(name: str) -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "properties" in node and node.get("type") == "object":
                assert node["additionalProperties"] is False
                assert set(node["patternProperties"]) == {"^x-"}
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk({key: value for key, value in schema.schema(name).items() if key != "examples"})


def test_whole_documents_are_good() -> None:
    for name in NAMES:
        documents, faults = source.parse(yaml.safe_dump(whole(name), sort_keys=False), "t.yaml")
        assert not faults
        assert not schema.check(documents[0])


def test_x_keys_everywhere_but_in_free_maps() -> None:
    text = """\
apiVersion: runspec/v1
name: a
x-a: [1]
root: {image: busybox, x-a: 1}
process: {args: [a], x-a: 1, env: {x-a: [1]}, user: {x-a: 1}}
labels: {x-a: [1]}
linux: {x-a: 1, resources: {x-a: 1, cpu: {x-a: 1}}}
interfaces: [{name: eth0, type: veth, network: n, x-a: {}}]
"""
    documents, _ = source.parse(text, "t.yaml")
    assert [one.what.split(":")[0] for one in schema.check(documents[0])] == ["process.env.x-a", "labels.x-a"]


def test_names_end_where_they_end() -> None:
    """Python's `$` would let a last newline pass."""
    text = 'apiVersion: runspec/v1\nkind: Network\nname: "a\\n"\ntype: bridge\n'
    documents, _ = source.parse(text, "t.yaml")
    assert [str(one.at) for one in schema.check(documents[0])] == ["t.yaml:3:7"]


def test_it_is_fast() -> None:
    """Far below the 2 ms a document that an apply of a hundred can bear."""
    text = yaml.safe_dump(whole("container"))
    documents, _ = source.parse(text, "t.yaml")
    schema.check(documents[0])
    start = time.process_time()
    for _ in range(20):
        schema.check(documents[0])
    assert (time.process_time() - start) / 20 < 0.002


def test_jsonschema_stays_out() -> None:
    code = ("import sys; from runspec.spec import schema, source; "
            "schema.check(source.parse('name: a', 't.yaml')[0][0]); sys.exit('jsonschema' in sys.modules)")
    import subprocess

    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
