"""Pools give the lowest free address of their ranges; interfaces have the rest from their networks."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from runspec.spec import networks, units
from runspec.spec.model import Interface, Network, Pool, Process, Root, Route, Spec


def lan(*addresses: str, ranges: tuple[str, ...] = (), exclude: tuple[str, ...] = (), **more: object) -> Network:
    return Network(name="lan0", addresses=addresses, pool=Pool(range=ranges, exclude=exclude), **more)


@pytest.mark.parametrize(("network", "kind", "first"), [
    (Network(name="lan0", addresses=("10.0.0.1/24",)), 4, "10.0.0.2/24"),
    (lan("10.0.0.3/29", exclude=("10.0.0.1-10.0.0.2",)), 4, "10.0.0.4/29"),
    # Networks of two or one address have no broadcast.
    (lan("10.0.0.0/31"), 4, "10.0.0.1/31"), (lan("10.0.0.1/32"), 4, None),
    (lan("10.0.0.1/30", exclude=("10.0.0.2",)), 4, None),
    (lan("fd00::1/64"), 6, "fd00::2/64"), (lan("fd00::ffff/64"), 6, "fd00::1/64"),
    (lan("fd00::1/127"), 6, "fd00::/127"), (lan("fe80::1/64"), 6, None),
    # The range's own network tells the prefix length, and the smallest that holds it.
    (lan("10.0.0.1/8", "10.1.0.1/24", ranges=("10.1.0.9-10.1.0.9",)), 4, "10.1.0.9/24"),
    (lan("10.0.0.1/24", ranges=("10.0.0.128/25",)), 4, "10.0.0.128/24"),
    (lan("10.0.0.1/24", ranges=("10.0.0.0/24",)), 4, "10.0.0.2/24"),
    (lan("10.0.0.1/24", ranges=("10.0.0.255-10.0.0.255",)), 4, None),
    (lan(ranges=("10.0.0.0/24",), external=True), 4, "10.0.0.1/24"),
    (lan("10.0.0.1/24", ranges=("10.0.0.20-10.0.0.29", "10.0.0.8-10.0.0.9")), 4, "10.0.0.8/24"),
])
def test_lowest(network: Network, kind: int, first: str | None) -> None:
    assert networks.lowest(network, kind, ()) == first
    assert first is None or networks.gives(network, first)


@given(st.sets(st.integers(2, 30)), st.sets(st.integers(2, 30)), st.integers(1, 30), st.integers(1, 30))
def test_lowest_is_the_first_that_is_free(taken: set[int], out: set[int], one: int, other: int) -> None:
    """Against counting through them all."""
    low, high = sorted((one, other))
    network = lan("10.0.0.1/27", ranges=(f"10.0.0.{low}-10.0.0.{high}",), exclude=tuple(f"10.0.0.{n}" for n in out))
    free = [n for n in range(low, high + 1) if n not in taken | out | {1}]
    found = networks.lowest(network, 4, [networks.number(f"10.0.0.{n}") for n in taken])
    assert found == (f"10.0.0.{free[0]}/27" if free else None)


def test_a_large_pool_is_not_counted_through() -> None:
    """2**64 addresses, of which ten thousand are taken."""
    first = networks.number("fd00::2")[1]
    taken = [(6, first + n) for n in range(10_000)]
    assert networks.lowest(lan("fd00::1/64"), 6, set(taken)) == "fd00::2712/64"


def test_what_is_given_is_free_no_more() -> None:
    """One stream serves all who ask, over gaps and several ranges."""
    taken = {networks.number("10.0.0.9")}
    stream = networks.free(lan("10.0.0.1/24", ranges=("10.0.0.8-10.0.0.12", "10.0.0.20-10.0.0.20"),
                               exclude=("10.0.0.11",)), 4, taken)
    found = []
    for one in stream:
        found.append(one)
        taken.add(networks.number(one))
    assert found == ["10.0.0.8/24", "10.0.0.10/24", "10.0.0.12/24", "10.0.0.20/24"]


def test_gives() -> None:
    network = lan("10.0.0.1/24", exclude=("10.0.0.8/29",))
    assert networks.gives(network, "10.0.0.7/24")
    for bad in ("10.0.0.1/24", "10.0.0.8/24", "10.0.0.15/24", "10.0.0.7/25", "10.0.1.7/24", "10.0.0.0/24",
                "fd00::2/24"):
        assert not networks.gives(network, bad), bad


def spec(*links: Interface) -> Spec:
    return Spec(name="a", root=Root(image="busybox"), process=Process(args=("sh",)), interfaces=links)


def eth(name: str = "eth0", **more: object) -> Interface:
    return Interface(**{"name": name, "type": "veth", "network": "lan0", "pooled": True,
                        "addresses": ("10.0.0.2/24", "fd00::2/64"), **more})


LAN = Network(name="lan0", addresses=("10.0.0.1/24", "fd00::1/64"), mtu=1400)


@pytest.mark.parametrize(("link", "network", "mtu", "gateway"), [
    (eth(), LAN, 1400, ("10.0.0.1", "fd00::1")),
    (eth(mtu=1300, gateway=("10.0.0.9",)), LAN, 1300, ("10.0.0.9", "fd00::1")),
    (eth(routes=(Route(to="default", via="10.0.0.7", metric=5),)), LAN, 1400, ("fd00::1",)),
    (eth(pooled=False), LAN, 1400, ()),
    (eth(), LAN.replace(internal=True), 1400, ()),
    (eth(), LAN.replace(mtu=None, addresses=("10.0.0.1/24",)), None, ("10.0.0.1",)),
    (eth(network="lan1"), LAN, None, ()),
])
def test_what_a_link_has_from_its_network(link: Interface, network: Network, mtu: int | None,
                                          gateway: tuple[str, ...]) -> None:
    [found] = networks.inherit(spec(link), {"lan0": network}).interfaces
    assert (found.mtu, found.gateway) == (mtu, gateway)


def test_one_gateway_for_a_container() -> None:
    """Two default routes of one family would be one too many."""
    first, second = networks.inherit(spec(eth(), eth("eth1", network="lan1", addresses=("10.1.0.2/24",))), {
        "lan0": LAN, "lan1": Network(name="lan1", addresses=("10.1.0.1/24",))}).interfaces
    assert (first.gateway, second.gateway) == (("10.0.0.1", "fd00::1"), ())


def test_nothing_to_have_is_the_same_object() -> None:
    one = spec(eth(pooled=False))
    assert networks.inherit(one, {"lan0": LAN.replace(mtu=None)}) is one
    assert networks.inherit(one, {}) is one


def test_spelling() -> None:
    links = [{"name": "eth0", "addresses": ["10.0.0.2/24"], "pooled": True}, {"name": "eth1", "addresses": []}]
    networks.spell(links)
    assert links == [{"name": "eth0", "addresses": "auto"}, {"name": "eth1", "addresses": []}]
    networks.unspell(links)
    assert links == [{"name": "eth0", "addresses": [], "pooled": True}, {"name": "eth1", "addresses": []}]


@pytest.mark.parametrize(("text", "reads"), [
    ("10.0.0.1-10.0.0.9", (4, 0x0A000001, 0x0A000009)), ("10.0.0.0/30", (4, 0x0A000000, 0x0A000003)),
    ("FD00::1", (6, 0xFD << 120 | 1, 0xFD << 120 | 1)), ("10.0.0.7", (4, 0x0A000007, 0x0A000007))])
def test_ranges_of_text(text: str, reads: tuple[int, int, int]) -> None:
    assert units.span(units.parse_range(text)) == reads
    assert units.address_text(reads[0], reads[1]) == units.parse_range(text).partition("-")[0].partition("/")[0]
