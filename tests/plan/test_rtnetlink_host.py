"""Neighbours, routes and links of the host: pyroute2 decodes the messages, the kernel's answers are read back."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from conftest import Netns, requires
from pyroute2.netlink.rtnl import marshal

from runspec import abi
from runspec.errors import HostError
from runspec.kernel import netlink_host, traffic
from runspec.plan import bpf, rtnetlink, rtnetlink_host as host, rtnetlink_links, tag_bpf


def decode(message: bytes) -> tuple[Any, dict[str, Any]]:
    """One message as pyroute2 reads it, with all of its bytes accounted for, and its attributes."""
    (one,) = list(marshal.MarshalRtnl().parse(message))
    assert one["header"]["length"] == len(message) and one["header"]["sequence_number"] == 1
    return one, {name: value for name, value, *_ in one["attrs"]}


@pytest.mark.parametrize(("address", "family"), [("10.9.0.5", abi.AF_INET), ("fd09::5", abi.AF_INET6)])
def test_neighbours(address: str, family: int) -> None:
    one, has = decode(host.put_neighbour(7, address, "02:00:00:00:00:05"))
    assert (one["event"], one["family"], one["ifindex"], one["state"]) == ("RTM_NEWNEIGH", family, 7, abi.NUD_PERMANENT)
    assert one["header"]["flags"] == 0x505
    assert (has["NDA_DST"], has["NDA_LLADDR"]) == (address, "02:00:00:00:00:05")
    assert bytes((8 - 3, 0, abi.NDA_PROTOCOL, 0, rtnetlink.OURS)) in host.put_neighbour(7, address, "02:00:00:00:00:05")
    one, has = decode(host.delete_neighbour(7, address))
    assert (one["event"], one["ifindex"], has) == ("RTM_DELNEIGH", 7, {"NDA_DST": address})


def test_what_a_link_hears() -> None:
    for message, event, flags in ((host.hear(7, "02:00:00:00:00:05"), "RTM_NEWNEIGH", 0x605),
                                  (host.hear_no_more(7, "02:00:00:00:00:05"), "RTM_DELNEIGH", 5)):
        one, has = decode(message)
        assert (one["event"], one["header"]["flags"], one["family"], one["ifindex"], one["flags"]) == (
            event, flags, abi.AF_BRIDGE, 7, abi.NTF_SELF)
        assert has == {"NDA_LLADDR": "02:00:00:00:00:05"}
    for all_of_it, bits in ((True, abi.IFF_ALLMULTI), (False, 0)):
        one, has = decode(host.take_multicast(7, all_of_it))
        assert (one["event"], one["index"], one["flags"], one["change"], has) == (
            "RTM_NEWLINK", 7, bits, abi.IFF_ALLMULTI, {})


@pytest.mark.parametrize(("to", "source", "bits"), [("10.9.0.5", "10.9.0.1", 32), ("fd09::5", "fd09::1", 128),
                                                    ("fd09::5", None, 128)])
def test_routes(to: str, source: str | None, bits: int) -> None:
    one, has = decode(host.put_host_route(to, 7, source))
    assert (one["event"], one["dst_len"], one["proto"], one["table"], one["type"]) == (
        "RTM_NEWROUTE", bits, rtnetlink.OURS, 254, 1)
    assert (has["RTA_DST"], has["RTA_OIF"], has.get("RTA_PREFSRC")) == (to, 7, source)
    one, has = decode(host.delete_host_route(to, 7))
    assert (one["event"], one["dst_len"], one["proto"], has["RTA_DST"], has["RTA_OIF"]) == (
        "RTM_DELROUTE", bits, rtnetlink.OURS, to, 7)


def test_silent_link() -> None:
    one, has = decode(host.silent_link("macvlan", 4, "rs0", 99, "02:00:00:00:00:05",
                                       rtnetlink_links.macvlan_info("bridge")))
    assert (one["event"], one["index"]) == ("RTM_NEWLINK", 99)
    assert one["flags"] == one["change"] == abi.IFF_NOARP
    info = has.pop("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "macvlan"
    assert info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_MACVLAN_MODE") == "bridge"
    assert has == {"IFLA_IFNAME": "rs0", "IFLA_ADDRESS": "02:00:00:00:00:05", "IFLA_LINK": 4}
    one, has = decode(host.no_own_address(99))
    assert has["IFLA_AF_SPEC"].get_attr("AF_INET6").get_attr("IFLA_INET6_ADDR_GEN_MODE") == 1


# Everything above put to the kernel and read back, by the parsers of runspec in a namespace of the test's own.
PROGRAM = """
import json
from runspec.kernel import Kernel
from runspec.plan import rtnetlink, rtnetlink_host as host, rtnetlink_links, tag_bpf, tc
kernel = Kernel()
def send(message): kernel.netlink(message, "test")
parent = kernel.link_index("p0")
send(host.silent_link("macvlan", parent, "rs0", 99, "02:00:00:00:00:05", rtnetlink_links.macvlan_info("bridge"))
     + host.no_own_address(99))
send(rtnetlink.set_link(99, up=True))
for to, source, mac in (("10.9.0.5", "10.9.0.1", "02:00:00:00:00:06"), ("fd09::5", "fd09::1", "02:00:00:00:00:06")):
    for _ in range(2):
        send(host.put_host_route(to, 99, source) + host.put_neighbour(99, to, mac))
send(host.hear(parent, "02:00:00:00:00:07") + host.take_multicast(parent, True) + tc.put_clsact(parent))
fd = kernel.load_classifier(tag_bpf.untag(10, "802.1Q", 99), "test")
send(tc.put_bpf(parent, tc.INGRESS_HOOK, 20490, "runspec:a:b", fd))
print(json.dumps({
    "ways": [list(one) for one in kernel.rows("ways", rtnetlink.dump_routes()) if one.oif == 99],
    "neighbours": [list(one) for one in kernel.rows("neighbours", host.dump_neighbours()) if one.index == 99],
    "heard": [one.mac for one in kernel.rows("neighbours", host.dump_heard()) if one.index == parent],
    "flags": dict(kernel.rows("flags", rtnetlink.dump_links()))[parent], "parent": parent,
    "hooked": [one.kind for one in kernel.rows("qdiscs", tc.dump_qdiscs()) if one.index == parent],
    "filters": [list(one) for one in kernel.rows("filters", tc.dump_filters(parent, tc.INGRESS_HOOK))],
    "none": kernel.rows("filters", tc.dump_filters(99, tc.INGRESS_HOOK))}))
for to in ("10.9.0.5", "fd09::5"):
    send(host.delete_host_route(to, 99) + host.delete_neighbour(99, to))
send(host.hear_no_more(parent, "02:00:00:00:00:07") + host.take_multicast(parent, False))
"""


@requires("root", "macvlan", "veth", "ip")
def test_the_kernel_obeys(netns: Netns) -> None:
    for words in ("link add p0 type veth peer name p1", "addr add 10.9.0.1/24 dev p0", "link set p0 up",
                  "addr add fd09::1/64 dev p0 nodad"):
        assert netns.run("ip", *words.split()).returncode == 0
    done = netns.run(sys.executable, "-P", "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert sorted(one[:1] + one[3:] for one in told["ways"] if one[2] == rtnetlink.OURS) == [
        ["10.9.0.5/32", "10.9.0.1"], ["fd09::5/128", "fd09::1"]]
    assert sorted(one[1:] for one in told["neighbours"] if one[4]) == [
        [to, "02:00:00:00:00:06", abi.NUD_PERMANENT, rtnetlink.OURS] for to in ("10.9.0.5", "fd09::5")]
    assert "02:00:00:00:00:07" in told["heard"] and told["flags"] & abi.IFF_ALLMULTI
    assert "clsact" in told["hooked"] and told["none"] == []
    assert [[*one[:5], *one[6:]] for one in told["filters"]] == [
        [told["parent"], 0xFFFFFFF2, 20490, "bpf", "runspec:a:b", 0]]
    assert told["filters"][0][5] in bpf.tags(tag_bpf.untag(10, "802.1Q", 99))
    link = json.loads(netns.run("ip", "-j", "addr", "show", "rs0").stdout)[0]
    assert "NOARP" in link["flags"] and link["addr_info"] == [] and link["address"] == "02:00:00:00:00:05"
    assert netns.run("ip", "neigh", "show", "dev", "rs0", "nud", "permanent").stdout == ""
    assert netns.run("ip", "route", "show", "dev", "rs0").stdout == ""
    assert "02:00:00:00:00:07" not in netns.run("bridge", "fdb", "show", "dev", "p0").stdout


@requires("root", "veth", "ip")
def test_nexthops(netns: Netns) -> None:
    """Those that lead through a link, by its index; blackholes and groups lead through none."""
    for words in ("link add p0 index 77 type veth peer name p1", "addr add 10.9.0.1/24 dev p0", "link set p0 up",
                  "link set p1 up", "nexthop add id 1 via 10.9.0.2 dev p0", "nexthop add id 2 dev p0",
                  "nexthop add id 3 blackhole", "nexthop add id 4 group 1"):
        assert netns.run("ip", *words.split()).returncode == 0, words
    program = """
from runspec.kernel import Kernel
from runspec.plan import rtnetlink_host
print(Kernel().rows("nexthops", rtnetlink_host.dump_nexthops()))
"""
    assert netns.run(sys.executable, "-P", "-c", program).stdout == "[77, 77]\n"


# What reads an answer -> the message that it is made of.
READERS: dict[Any, int] = {
    netlink_host.parse_neighbours: abi.RTM_NEWNEIGH, netlink_host.parse_flags: abi.RTM_NEWLINK,
    netlink_host.parse_ways: abi.RTM_NEWROUTE, netlink_host.parse_nexthops: abi.RTM_NEWNEXTHOP,
    traffic.parse_filters: abi.RTM_NEWTFILTER,
    traffic.parse_qdiscs: abi.RTM_NEWQDISC, traffic.parse_classes: abi.RTM_NEWTCLASS}


@pytest.mark.parametrize("parse", READERS)
def test_cut_short(parse: Any) -> None:
    """An answer whose lengths lead outside is an error of its own."""
    head = READERS[parse].to_bytes(2, "little") + bytes(10)
    assert parse((20).to_bytes(4, "little") + bytes((0xEE, 0xEE)) + bytes(14)) == []
    for size, data in ((20, bytes(4)), (60, bytes(4))):
        with pytest.raises(HostError, match="cut short"):
            parse(size.to_bytes(4, "little") + head + data)


