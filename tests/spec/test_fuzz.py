"""Generated documents and bundles, good or a mutation away: no traceback, no hang; good ones go there and back.

The strategies read the schemas, so that a new key is tried from its first day.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from runspec.errors import SpecError
from runspec.spec import from_oci, json_text, rules, schema, source, to_oci, to_yaml
from runspec.spec.frozen import first_difference
from runspec.spec.model import Spec

EXAMPLES = int(os.environ.get("RUNSPEC_EXAMPLES", "250"))       # of each door
FUZZ = settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
                suppress_health_check=list(HealthCheck))
# Keys whose good values no schema tells: paths, names, ids in relation to each other. One in two has a likely value.
LIKELY: dict[str, tuple[Any, ...]] = {
    "name": ("a", "foo-1"), "destination": ("/data", "/tmp/x", "/srv"), "cwd": ("/", "/tmp"),
    "path": ("/srv/x", "/dev/fuse"),
    "source": ("/usr/share", "tmpfs"), "args": (["sh"], ["/bin/sleep", "5"]), "env": (["A=b", "PATH=/bin"], []),
    "options": (["bind"], ["rbind", "ro"], ["nosuid", "nodev"], []),
    "type": ("tmpfs", "c", "RLIMIT_NOFILE", "pid", "mount"),
    "ociVersion": ("1.0.2", "1.3.0"), "soft": (5,), "hard": (9,), "image": ("busybox", "host", "dir:/srv"),
    "sysctl": ({"net.ipv4.ip_forward": "1"},), "unified": ({"memory.high": "5"}, {}), "cpus": ("0", "0-1"),
    "containerID": (0,), "hostID": (100000,), "size": (65536, 1), "uid": (0, 1000), "gid": (0, 5),
    "annotations": ({"a.b": "c"}, {}),
    "hostname": ("h",), "cgroupsPath": ("/a/b", "rel", ""), "bounding": (["CAP_KILL", "CAP_CHOWN"],),
    "limit": (-1, 1 << 26)}
JSON = st.recursive(st.none() | st.booleans() | st.integers(-2**70, 2**70)
                    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6)


def values(here: dict[str, Any], key: str = "") -> st.SearchStrategy[Any]:
    """Values that a part of a schema takes."""
    found = _values(here)
    likely = [value for value in LIKELY.get(key, ()) if not list(schema._walk(here, value, ""))]
    return found if not likely else st.sampled_from(likely) | st.sampled_from(likely) | found


def _values(here: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "enum" in here:
        return st.sampled_from(here["enum"])
    types = here.get("type", "null")
    rows = [_typed(here, one) for one in ([types] if isinstance(types, str) else types)]
    return st.one_of(rows + [st.sampled_from(here["examples"]) for _ in here.get("examples", ())[:1]])


def _typed(here: dict[str, Any], kind: str) -> st.SearchStrategy[Any]:
    if kind in ("integer", "number"):
        low, high = here.get("minimum", -2**40), here.get("maximum", 2**40)
        return st.integers(low, high) | st.sampled_from([low, high]) | st.integers(max(low, 0), min(high, 200))
    if kind == "string":
        if "pattern" in here:
            return st.from_regex(here["pattern"], fullmatch=False).map(lambda text: text.strip("\n")[:40])
        return st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
    if kind == "array":
        return st.lists(st.deferred(lambda: values(here.get("items", {"type": "null"}))),
                        min_size=here.get("minItems", 0), max_size=here.get("minItems", 0) + 2)
    if kind == "object":
        known, needed, more = here.get("properties", {}), here.get("required", ()), here.get("additionalProperties")
        parts = {key: st.deferred(lambda key=key: values(known[key], key)) for key in known}
        fixed = st.fixed_dictionaries({key: parts[key] for key in needed}, optional={
            key: part for key, part in parts.items() if key not in needed})
        # Few optional keys at once: each has its own rules.
        some = st.lists(st.sampled_from(sorted(known) or [""]), max_size=5).flatmap(lambda keys: st.fixed_dictionaries(
            {key: parts[key] for key in dict.fromkeys([*needed, *keys]) if key in parts}))
        free = st.dictionaries(st.sampled_from(["a", "net.core.x", "eth0"]), values(more), max_size=2) \
            if isinstance(more, dict) else some
        return free if not known else some | some | some | fixed
    return st.booleans() if kind == "boolean" else st.none()


@st.composite
def mutated(draw: st.DrawFn, base: st.SearchStrategy[Any]) -> Any:
    """A tree, in one case of three with one thing at a random place replaced, removed or added."""
    tree = json.loads(json.dumps(draw(base)))
    if draw(st.integers(0, 2)):
        return tree
    at = tree
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if isinstance(at[key], dict | list) and at[key] and draw(st.integers(0, 3)):
            at = at[key]
            continue
        if draw(st.integers(0, 3)):
            at[key] = draw(JSON)
        else:
            del at[key]
        return tree
    if isinstance(at, dict):
        at[draw(st.text(max_size=5))] = draw(JSON)
    return tree


def documents() -> st.SearchStrategy[Any]:
    return values(schema.schema("container")).map(lambda tree: whole(tree, {
        "apiVersion": "runspec/v1", "name": "a", "root": {"image": "busybox"}, "process": {"args": ["sh"]}}))


def bundles() -> st.SearchStrategy[Any]:
    spaces = [{"type": kind} for kind in ("mount", "uts", "ipc", "network", "time")]
    return values(schema.schema("bundle")).map(lambda tree: whole({
        **tree, "linux": {**tree.get("linux", {}), "namespaces": spaces}}, {
            "ociVersion": "1.3.0", "root": {"path": "rootfs"}}))


def whole(tree: Any, needed: Any) -> Any:
    """With what must be there, and without what leads to other files."""
    return {**{key: value for key, value in tree.items() if key != "extends"}, **{
        key: {**tree.get(key, {}), **value} if key == "process" else value for key, value in needed.items()}}


def quick(begin: float) -> None:
    assert time.process_time() - begin < 1


def oci(spec: Spec) -> Spec:
    """Through config.json."""
    tree, _ = to_oci.config_of(spec)
    again, faults, notes = from_oci.read(json_text.parse(to_oci.text(tree).encode(), "c"), spec.name, "/b")
    assert not faults, [one.text() for one in faults]
    assert not notes
    assert again is not None
    return again


def yaml(spec: Spec) -> Spec:
    """Through a document without defaults."""
    [(again, _)], faults = rules.judge(*source.parse(to_yaml.dump([to_yaml.config_tree(spec, bare=True)]), "t.yaml"))
    assert not faults, [one.text() for one in faults]
    assert isinstance(again, Spec)
    return again


@FUZZ
@given(mutated(documents()))
def test_documents(tree: Any) -> None:
    begin = time.process_time()
    read, faults = rules.judge(*source.parse(to_yaml.dump([tree]), "t.yaml"))
    quick(begin)
    assert all(isinstance(one, SpecError) and one.text() for one in faults)
    if faults or not read or not isinstance(read[0][0], Spec):
        return
    spec = read[0][0]
    assert oci(spec) == spec, first_difference(oci(spec), spec)
    assert yaml(spec) == spec, first_difference(yaml(spec), spec)


@FUZZ
@given(mutated(bundles()))
def test_bundles(tree: Any) -> None:
    begin = time.process_time()
    text = json.dumps(tree).encode()
    try:
        document = json_text.parse(text, "c")
        spec, faults, _ = from_oci.read(document, "c1", "/b")
    except SpecError as error:
        quick(begin)
        assert error.text()
        return
    if spec is None:
        quick(begin)
        assert faults
        return
    faults += rules.check(spec, document.marks, oci=True)
    quick(begin)
    if faults:
        return
    assert oci(spec) == spec, first_difference(oci(spec), spec)
    if spec.process.args:
        try:
            again = yaml(spec)
        except AssertionError as error:
            pytest.fail(f"no document: {error}")
        assert again == spec, first_difference(again, spec)


@settings(FUZZ, max_examples=min(EXAMPLES, 100))
@given(st.binary(max_size=60) | st.text(st.sampled_from('{}[]:,"0123456789.eE+-truefalsn\\u \n'),
                                        max_size=40).map(str.encode))
def test_any_bytes(data: bytes) -> None:
    begin = time.process_time()
    try:
        json_text.parse(data, "c")
    except SpecError as error:
        assert error.text().startswith("c: ")
    quick(begin)
