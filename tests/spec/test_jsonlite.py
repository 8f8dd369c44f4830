"""jsonlite gives what the json module gives, and ValueError for everything damaged."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from runspec.spec import jsonlite


def make(rng: random.Random, depth: int = 0) -> object:
    kind = rng.randrange(9 if depth < 4 else 7)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return rng.choice([0, -1, 2**63, -2**63 - 1, rng.randrange(10**30)])
    if kind == 3:
        return rng.choice([0.0, -0.5, 1e300, rng.random()])
    if kind < 7:
        return "".join(rng.choice('ab"\\\n\0\x7f/é€\U0001f600\udc80') for _ in range(rng.randrange(12)))
    if kind == 7:
        return [make(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {f"{rng.randrange(100)}é": make(rng, depth + 1) for _ in range(rng.randrange(5))}


@pytest.mark.parametrize("accelerated", [True, False])
def test_same_as_json(monkeypatch: pytest.MonkeyPatch, accelerated: bool) -> None:
    if not accelerated:
        monkeypatch.setattr(jsonlite, "make_encoder", None)
        monkeypatch.setattr(jsonlite, "_scan", None)
    rng = random.Random(1)
    for _ in range(500):
        value = make(rng)
        for sort in (False, True):
            text = jsonlite.dumps(value, sort)
            assert text == json.dumps(value, separators=(",", ":"), sort_keys=sort)
            assert jsonlite.loads(text) == value
        assert jsonlite.loads(json.dumps(value, indent=2).encode() + b"\n") == value


@pytest.mark.parametrize("text", [
    b"", b" ", b"\0\0\0\0", b"{", b'{"a"', b'{"a":1', b'{"a":1}x', b"{} {}", b"[1,]", b'"a', b"nul", b"\xff",
    b"-", b"NaN", b"Infinity", b"-Infinity", b'{"a":1}\0', b"\xef\xbb\xbf{}", b"[" * 100000,
    b'{"a":' * 100000, b"'a'", b'"\n"', b"01"])
@pytest.mark.parametrize("accelerated", [True, False])
def test_damage(monkeypatch: pytest.MonkeyPatch, text: bytes, accelerated: bool) -> None:
    if not accelerated:
        monkeypatch.setattr(jsonlite, "_scan", None)
    with pytest.raises(ValueError):
        jsonlite.loads(text)


def test_every_cut_of_a_map() -> None:
    text = jsonlite.dumps({"a": [1, "é", {"b": None}], "c": True})
    for end in range(len(text)):
        with pytest.raises(ValueError):
            jsonlite.loads(text[:end])


def test_no_value() -> None:
    with pytest.raises(TypeError):
        jsonlite.dumps(b"bytes")
    with pytest.raises(ValueError):
        jsonlite.dumps(float("nan"))
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ValueError):
        jsonlite.dumps(loop)


def test_loads_without_re() -> None:
    code = ("import sys; from runspec.spec import jsonlite; jsonlite.loads(jsonlite.dumps({'a': 1}));"
            "assert not {'re', 'json', 'typing'} & set(sys.modules)")
    subprocess.run([sys.executable, "-P", "-S", "-c", code], check=True, cwd=sys.path[0] or ".",
                   env={"PYTHONPATH": ":".join(p for p in sys.path if p)})
