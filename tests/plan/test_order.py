"""Which containers are started together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runspec.plan import order


def item(name: str, *joins: str) -> Any:
    """As much of an Item as is asked for."""
    spaces = tuple(SimpleNamespace(container=one) for one in (None, *joins))
    return SimpleNamespace(name=name, wanted=SimpleNamespace(linux=SimpleNamespace(namespaces=spaces)))


@pytest.mark.parametrize(("count", "sizes"), [
    (0, []), (1, [1]), (100, [100]), (101, [51, 50]), (250, [84, 84, 82]), (500, [100] * 5), (800, [50] * 16),
    (860, [20] * 43), (1000, [16] * 62 + [8]),
])
def test_waves_are_of_one_size(count: int, sizes: list[int]) -> None:
    """None with more descriptors than a process has."""
    items = [item(str(number)) for number in range(count)]
    found = order.waves(items)
    assert [len(one) for one in found] == sizes
    assert [one.name for wave in found for one in wave] == [one.name for one in items]
    assert all(count + 2 * size <= order.DESCRIPTORS for size in sizes if size > 16)


def test_who_joins_comes_later() -> None:
    found = order.waves([item("c", "b"), item("b", "a"), item("a"), item("d", "elsewhere")])
    assert [[one.name for one in wave] for wave in found] == [["a", "d"], ["b"], ["c"]]
