"""Links as iproute2 reads them."""

from __future__ import annotations

import pytest
from models import spec

from runspec.bench import wires
from runspec.errors import HostError
from runspec.spec.model_net import Interface, Network, Qos, Route, Traffic


def test_links_of_every_kind() -> None:
    assert wires.outside("ns", 3, spec().interfaces) == [
        "netns add ns",
        "link add vb3.0 mtu 1400 type veth peer name eth0 netns ns mtu 1400",
        "link set vb3.0 master lan0",
        "link set vb3.0 up",
        "link add link up0 name net1 netns ns address 02:00:00:00:00:09 type macvlan mode vepa",
        "link add link up0 name net2 netns ns type vlan protocol 802.1Q id 10",
    ]
    assert wires.inside(spec().interfaces) == [
        "addr add 10.9.0.2/24 dev eth0", "addr add fd09::2/64 dev eth0 nodad", "link set eth0 up",
        "route add default via 10.9.0.1 dev eth0", "link set net1 up", "link set net2 up", "link set lo up"]
    assert wires.gone("ns", 3, spec().interfaces) == ["link del vb3.0", "netns del ns"]


def test_a_routed_veth() -> None:
    link = Interface(name="eth0", type="veth", mode="routed", addresses=("10.9.0.2/32",), gateway=("169.254.1.1",),
                     routes=(Route(to="10.8.0.0/16", via="169.254.1.1"),))
    assert wires.outside("ns", 0, [link])[2:] == [
        "link set vb0.0 up", "addr add 169.254.1.1/32 dev vb0.0", "route add 10.9.0.2 dev vb0.0"]
    assert wires.inside([link])[2:] == [
        "route add 169.254.1.1 dev eth0", "route add default via 169.254.1.1 dev eth0",
        "route add 10.8.0.0/16 via 169.254.1.1 dev eth0", "link set lo up"]


def test_ipvlan_and_a_nic_that_moves() -> None:
    assert wires.outside("ns", 0, [Interface(name="a", type="ipvlan", parent="up0"),
                                   Interface(name="b", type="physical", parent="nic0")])[1:] == [
        "link add link up0 name a netns ns type ipvlan mode l2", "link set nic0 name b netns ns"]


def test_bridges() -> None:
    assert wires.bridges([Network(name="lan0", addresses=("10.9.0.1/24",), mtu=1400)]) == [
        "link add lan0 mtu 1400 type bridge", "addr add 10.9.0.1/24 dev lan0", "link set lan0 up"]


@pytest.mark.parametrize("what", [
    {"qos": Qos(egress=Traffic(rate=1))}, {"host_access": True}, {"pooled": True}, {"sysctl": (("a", "b"),)},
    {"fallback": "tc-bpf"}])
def test_what_only_runspec_makes_is_refused(what: dict[str, object]) -> None:
    with pytest.raises(HostError, match="eth0: only runspec"):
        wires.outside("ns", 0, [Interface(name="eth0", type="veth").replace(**what)])
