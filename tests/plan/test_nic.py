"""Links that are lent: what names them, what they come home as; pyroute2 makes and reads the messages."""

from __future__ import annotations

from typing import Any

import pytest
from pyroute2.netlink.rtnl import marshal
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from runspec.plan import nic

FOREVER = 0xFFFFFFFF
NIC: dict[str, Any] = {
    "index": 3, "name": "eth1", "layer": 1, "kind": "", "mac": "52:54:00:12:34:57", "broadcast": "ff:ff:ff:ff:ff:ff",
    "perm": "52:54:00:12:34:57", "bus": "virtio", "device": "virtio4", "port": "", "pci": "0000:00:06.0", "mtu": 1500,
    "txqlen": 1000, "group": 0, "linkmode": 0, "alias": "", "altnames": [], "flags": 0x1003, "master": "", "lower": 0,
    "token": "", "generated": 0, "upper": [], "addresses": [], "routes": [], "qdiscs": [], "neighbours": [],
    "settings": {}}


def decode(message: bytes) -> Any:
    (one,) = list(marshal.MarshalRtnl().parse(message))
    assert one["header"]["length"] == len(message) and one["header"]["sequence_number"] == 1
    return one


def values(message: Any) -> dict[str, Any]:
    return {name: value for name, value, *_ in message["attrs"]}


def payload(kind: type, **fields: Any) -> str:
    """What the kernel would tell in a dump, hexadecimal."""
    message = kind()
    attributes = fields.pop("attrs")
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes.items())
    message.encode()
    return bytes(message.data)[16:].hex()


def address(local: str, flags: int, valid: int = FOREVER, **more: Any) -> str:
    family = 10 if ":" in local else 2
    return payload(ifaddrmsg, family=family, prefixlen=64 if family == 10 else 24, index=3, scope=0, attrs={
        "IFA_ADDRESS": local, **({} if family == 10 else {"IFA_LOCAL": local}), "IFA_FLAGS": flags,
        "IFA_CACHEINFO": {"ifa_preferred": valid, "ifa_valid": valid, "cstamp": 1, "tstamp": 2}, **more})


def test_move() -> None:
    one = decode(nic.move(5, 4711, "eth%d", 0x10000001))
    assert (one["event"], one["index"]) == ("RTM_NEWLINK", 5)
    assert values(one) == {"IFLA_NET_NS_PID": 4711, "IFLA_IFNAME": "eth%d", "IFLA_NEW_IFINDEX": 0x10000001}
    assert "IFLA_NEW_IFINDEX" not in values(decode(nic.move(5, 4711, "eth0", 0)))
    has = values(decode(nic.move(5, 4711, "eth0", 11, "02:00:00:00:00:01", 1400)))
    assert has["IFLA_ADDRESS"] == "02:00:00:00:00:01" and has["IFLA_MTU"] == 1400


def test_all_other_names_go() -> None:
    """As many as a link can have, none of them longer than any; in messages that the kernel takes."""
    names = [f"{number:0127}" for number in range(496)]
    made = [decode(message) for message in nic.drop_altnames({**NIC, "altnames": names})]
    assert {(one["event"], one["index"]) for one in made} == {("RTM_DELLINKPROP", 3)}
    told = [value for one in made for _, value in values(one)["IFLA_PROP_LIST"]["attrs"]]
    assert told == names and nic.drop_altnames(NIC) == []
    assert max(one["header"]["length"] for one in made) < 1 << 14


def test_key() -> None:
    """Hardware is named by what it is; a virtual link has only its name."""
    assert nic.physical(NIC) and nic.key(NIC) == "virtio virtio4 52:54:00:12:34:57"
    assert nic.key({**NIC, "name": "lan0", "index": 11, "mac": "52:54:00:00:00:01"}) == nic.key(NIC)
    veth = {**NIC, "kind": "veth", "bus": "", "device": ""}
    assert not nic.physical(veth) and nic.key(veth) == "link eth1"
    assert not nic.physical({**NIC, "flags": 8, "device": ""})


@pytest.mark.parametrize(("word", "found"), [
    ("eth1", True), ("eth0", False), ("mac:52:54:00:12:34:57", True), ("mac:52:54:00:12:34:58", False),
    ("pci:0000:00:06.0", True), ("pci:0000:00:07.0", False)])
def test_find(word: str, found: bool) -> None:
    assert nic.find(word, [NIC, {**NIC, "name": "wire0", "kind": "macvlan", "mac": NIC["mac"]}]) == [NIC] * found


def test_find_by_an_address_of_its_own() -> None:
    """Whoever changed its address may name it by either."""
    changed = {**NIC, "mac": "52:54:00:aa:bb:01"}
    assert nic.find("mac:52:54:00:aa:bb:01", [changed]) == nic.find(f"mac:{NIC['perm']}", [changed]) == [changed]


def test_addresses_come_home() -> None:
    """v6 ones without another trial, which is not noted for good; in the order in which they were given."""
    one = {**NIC, "addresses": [address("10.0.0.1", 0x80), address("fd00::2", 0x80), address("fd00::1", 0x82)]}
    first, second, third = map(decode, nic.put_addresses(one, 7, 0))
    assert [values(each)["IFA_ADDRESS"] for each in (first, second, third)] == ["10.0.0.1", "fd00::1", "fd00::2"]
    assert [values(each)["IFA_FLAGS"] for each in (first, second, third)] == [0x80, 0x82, 0x82]
    assert all(each["index"] == 7 and each["header"]["flags"] == 0x505 for each in (first, second, third))
    assert "IFA_CACHEINFO" not in values(first)
    (late,) = map(decode, nic.settle_addresses(one, 7, 0))
    assert values(late)["IFA_ADDRESS"] == "fd00::2" and values(late)["IFA_FLAGS"] == 0x80


def test_lifetimes_ran_on() -> None:
    one = {**NIC, "addresses": [address("10.0.0.1", 0, 100), address("10.0.0.2", 0, 30)]}
    (left,) = map(decode, nic.put_addresses(one, 3, 40))
    assert values(left)["IFA_CACHEINFO"]["ifa_valid"] == 60


def test_what_the_kernel_makes_again_stays_out() -> None:
    """Temporary addresses, and those of a router's advertisement; a v4 secondary has the same bit."""
    one = {**NIC, "addresses": [address("fd00::9", 0x1), address("10.0.0.2", 0x81)]}
    assert [values(decode(each))["IFA_LOCAL"] for each in nic.put_addresses(one, 3, 0)] == ["10.0.0.2"]


def route(protocol: int = 4, **attrs: Any) -> str:
    return payload(rtmsg, family=2, dst_len=24, table=254, proto=protocol, scope=0, type=1, flags=0x10, attrs={
        "RTA_DST": "192.0.2.0", "RTA_OIF": 3, **attrs})


def test_routes_come_home() -> None:
    """Through the index that the link has now; what shows a state is left out."""
    one = {**NIC, "routes": [route(RTA_GATEWAY="10.0.0.254", RTA_PRIORITY=50), route(protocol=9)]}
    (raw,) = nic.routes(one, 7).values()
    message = decode(nic.put_route(raw, 3, 7, 0))
    assert values(message)["RTA_OIF"] == 7 and values(message)["RTA_PRIORITY"] == 50
    assert message["flags"] == 0 and message["proto"] == 4
    assert nic.routes(one, 7).keys() == nic.routes({**one, "index": 7, "routes": [
        route(RTA_GATEWAY="10.0.0.254", RTA_PRIORITY=50, RTA_OIF=7)]}, 7).keys()


def test_only_what_differs_is_set() -> None:
    now = {**NIC, "mac": "52:54:00:aa:bb:01", "mtu": 1400, "alias": "x", "altnames": ["other"]}
    found = dict(nic.properties({**NIC, "altnames": ["up"]}, now, 3))
    assert list(found) == ["mac", "mtu", "alias", "altname other", "altname up"]
    assert values(decode(found["mac"])) == {"IFLA_ADDRESS": NIC["mac"]}
    assert decode(found["altname other"])["event"] == "RTM_DELLINKPROP"
    assert nic.properties(NIC, NIC, 3) == [] and nic.differences(NIC, NIC) == []
    assert nic.differences({**NIC, "flags": 0x1002}, now) == ["mac", "mtu", "alias", "altnames", "flags"]


@pytest.mark.parametrize(("keys", "said"), [
    ({}, ""), ({"kind": "veth"}, "eth1 is no physical interface but veth"),
    ({"device": "", "flags": 8}, "eth1 is no physical interface but loopback"),
    ({"device": ""}, "eth1 is no physical interface but virtual"),
    ({"alias": "runspec:lan0"}, "the link eth1 is runspec's own"), ({"master": "br0"}, "eth1 is a port of br0"),
    ({"upper": ["vlan5"]}, "vlan5 stands on eth1"), ({"upper": ["a", "b"]}, "a, b stand on eth1")])
def test_who_may_go(keys: dict[str, Any], said: str) -> None:
    found = nic.fault({**NIC, **keys}, False)
    assert (found[0] if found else "") == said


def test_wireless_stays() -> None:
    found = nic.fault(NIC, True)
    assert found is not None and found[0] == "eth1 is a wireless interface"


def test_who_carries_nexthop_objects_stays() -> None:
    found = nic.fault(NIC, False, hops=True)
    assert found is not None and found[0] == "nexthop objects lead through eth1"
    assert found[2] == "remove them first: ip nexthop flush dev eth1"
