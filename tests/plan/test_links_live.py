"""Interfaces changed in place: which are made anew instead, and by which index."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from runspec.errors import HostError
from runspec.plan.rtnetlink_links import IPVLAN, MACVLAN
from runspec.plan.steps.links_live import free_index, is_anew
from runspec.plan.view_links import FIRST_INDEX, SHAPERS
from runspec.spec.model import Interface


@pytest.mark.parametrize(("kind", "mode", "now", "anew"), [
    ("macvlan", "bridge", MACVLAN["private"], False),
    ("macvlan", "bridge", MACVLAN["passthru"], True),
    ("macvlan", "passthru", MACVLAN["bridge"], True),
    ("macvlan", "bridge", 16, True),            # source
    ("ipvlan", "l2", IPVLAN["l3s"], False),
    ("ipvlan", "l2", 7, True),
])
def test_a_mode_that_no_file_asks_for(kind: str, mode: str, now: int, anew: bool) -> None:
    one = Interface(name="m0", type=kind, parent="p0", mode=mode)
    assert is_anew(one, SimpleNamespace(kind=kind, mode=now), {"mode"}) is anew
    assert not is_anew(one, SimpleNamespace(kind=kind, mode=now), {"mtu"})


def test_the_lowest_free_index() -> None:
    """However many links somebody made inside; an ifb's index leaves no room beyond."""
    taken = set(range(FIRST_INDEX, FIRST_INDEX + 10_000))
    assert free_index(taken - {FIRST_INDEX + 3}, FIRST_INDEX) == FIRST_INDEX + 3
    assert free_index(taken, FIRST_INDEX) == FIRST_INDEX + 10_000
    with pytest.raises(HostError, match="no index is free"):
        free_index(set(range(SHAPERS - 5, SHAPERS)), SHAPERS - 5)
