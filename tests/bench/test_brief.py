"""A Spec as the short YAML that people write."""

from __future__ import annotations

from pathlib import Path

import pytest

from runspec.bench import brief
from runspec.spec import rules, source

SPECS = Path(__file__).parents[2] / "specs"


@pytest.mark.parametrize("file", sorted((SPECS / "bench").glob("*.yaml")), ids=lambda file: file.name)
def test_reads_back_and_is_short(file: Path) -> None:
    read, faults = rules.judge(*source.gather([str(file)]))
    assert not faults
    models = [model for model, _ in read]
    text = brief.text(models)
    back, faults = rules.judge(*source.parse(text, "brief"))
    assert not faults
    assert [model for model, _ in back] == models
    assert len(text) < 3 * len(file.read_text())        # who has mounts of its own has all of them there
