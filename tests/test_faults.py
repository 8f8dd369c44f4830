"""Bad input: every entry of tests/faults/*.yaml gives its exact message, or its exact model, within a second.

An entry is `{name, class, input, expect | model}`. The text may also be `input_b64`, or `make`:
`{prefix, repeat, count, suffix}` for what is too long to write down. `expect` is the whole error text with
the file called t.yaml; `model` maps paths of `runspec config`'s tree to values, `count` is the number
of documents. Files whose entries have none of these belong to other tests.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from runspec.errors import SpecError
from runspec.spec import rules, source, to_yaml
from runspec.spec.compose import child

FOLDER = Path(__file__).parent / "faults"
Entry = dict[str, Any]


def entries() -> list[Any]:
    out = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
            if {"input", "input_b64", "make"} & set(entry):
                out.append(pytest.param(entry, id=f"{path.stem}: {entry['name']}"))
    return out


def content(entry: Entry) -> bytes:
    if "input_b64" in entry:
        return base64.b64decode(entry["input_b64"])
    if "make" in entry:
        make = entry["make"]
        return (make.get("prefix", "") + make["repeat"] * make["count"] + make.get("suffix", "")).encode()
    return str(entry["input"]).encode("utf-8")


def judge(data: bytes) -> tuple[list[Any], list[SpecError]]:
    """What `validate` does with a file t.yaml, short of looking at the machine."""
    Path("t.yaml").write_bytes(data)
    read, faults = rules.judge(*source.gather(["t.yaml"]))
    return [model for model, _ in read], faults


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    out = {path: tree}
    for key, inner in tree.items() if isinstance(tree, dict) else (
            enumerate(tree) if isinstance(tree, list) else ()):
        out.update(flat(inner, child(path, key)))
    return out


@pytest.mark.parametrize("entry", entries())
def test_fault(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = content(entry)
    judge(b"")                          # imports are not what is measured
    start = time.process_time()
    models, faults = judge(data)
    spent = time.process_time() - start
    text = "\n".join(fault.text() for fault in faults)
    assert spent < 3                    # of CPU: what grows by squares takes minutes at these sizes
    assert text == entry.get("expect", "").rstrip("\n")
    assert bool(faults) == ("expect" in entry)
    assert all(one.why and one.fix for fault in faults for one in (fault, *fault.also))
    if "expect" in entry:
        return
    assert len(models) == entry.get("count", 1)
    for path, value in entry.get("model", {}).items():
        assert flat(to_yaml.config_tree(models[0]))[path] == value, path


def test_counts() -> None:
    """How many there are at least: of YAML itself (2), of keys (4), of seccomp (10)."""
    found: dict[int, int] = {}
    for parameter in entries():
        number = int(parameter.values[0]["class"])
        found[number] = found.get(number, 0) + 1
    assert found.get(2, 0) >= 60
    assert found.get(4, 0) >= 60
    assert found.get(10, 0) >= 30
