"""Interfaces changed in place: which are made anew instead, and by which index."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from runspec.errors import HostError, RunspecError, SyscallError
from runspec.plan.rtnetlink_links import IPVLAN, MACVLAN
from runspec.plan.steps import tagged
from runspec.plan.steps.host_links import alias, parent_of
from runspec.plan.steps.links import AddVeth, TakeLink
from runspec.plan.steps.links_live import free_index, is_anew
from runspec.plan.view_links import FIRST_INDEX, SHAPERS
from runspec.spec.model import Interface, Vlan


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


class Ending:
    """A run whose container's init ends: before it is looked into, or after."""

    def __init__(self, seen: bool, error: RunspecError) -> None:
        self.seen, self.error = seen, error

    def pid(self, name: str) -> int:
        return 7

    def link_inside(self, step: Any, which: Any) -> Any:
        if not self.seen:
            raise self.error
        return {"at": 11}

    def inside(self, step: Any, table: Any) -> Any:
        raise self.error


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("error", [SyscallError("setns", "network", errno.ESRCH), HostError("it has ended")])
def test_an_init_that_ends_takes_its_links_along(seen: bool, error: RunspecError) -> None:
    step = TakeLink(target="a", path="interfaces[0]", interface=Interface(name="m0", type="macvlan", parent="p0"))
    assert step.apply(None, Ending(seen, error)) == (11 if seen else None)


class Host:
    """One link of the host, with an alias."""

    def __init__(self, mark: str | None) -> None:
        self.mark, self.sent = mark, list[str]()

    def link_alias(self, name: str) -> str | None:
        return self.mark

    def netlink(self, message: bytes, what: str, ignore: int = 0) -> None:
        self.sent.append(what)


@pytest.mark.parametrize(("mark", "gone"), [(alias("a", "eth0"), True), ("", False), ("theirs", False), (None, False)])
def test_only_what_bears_our_mark_is_taken_back(mark: str | None, gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may have made a link of that name after this run had looked."""
    monkeypatch.setattr(tagged, "part", lambda *_: None)
    plain = Interface(name="eth0", type="veth", network="n0")
    vlan = Interface(name="eth0", type="vlan", parent="p0", vlan=Vlan(id=7), fallback="tc-bpf")
    for step, memo in ((AddVeth(target="a", path="", interface=plain, index=11, link="a.eth0"), False),
                       (tagged.AddTagged(target="a", path="", interface=vlan, index=11, link="a.eth0"),
                        {"link": False, tagged.CLSACT: True})):
        host = Host(mark)
        step.undo(host, None, memo)
        assert host.sent == ["link a.eth0"] * gone


def test_a_parent_that_goes_away_between_two_looks() -> None:
    kernel = SimpleNamespace(link_index=lambda name: 5, rows=lambda what, message: [])
    with pytest.raises(HostError, match="there is no link p0"):
        parent_of(kernel, "p0")
