"""rtnetlink messages: pyroute2 decodes them, and a real kernel obeys them."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import requires
from pyroute2.netlink.rtnl import ifaddrmsg, ifinfmsg, marshal, rtmsg

from runspec.errors import SpecError
from runspec.kernel import netlink
from runspec.plan import rtnetlink as rt

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def decode(message: bytes) -> Any:
    """One message as pyroute2 reads it, with all of its bytes accounted for."""
    (one,) = list(marshal.MarshalRtnl().parse(message))
    assert one["header"]["length"] == len(message) and one["header"]["sequence_number"] == 1
    return one


def decode_two(messages: bytes) -> tuple[Any, Any]:
    """The same for two messages of one send."""
    one, two = list(marshal.MarshalRtnl().parse(messages))
    assert one["header"]["length"] + two["header"]["length"] == len(messages)
    return one, two


def values(message: Any) -> dict[str, Any]:
    return {name: value for name, value, *_ in message["attrs"]}


def test_bridge() -> None:
    one, mark = decode_two(rt.create_bridge("lan0", 1400, "02:00:00:00:00:01", "runspec:lan0"))
    assert mark.get("index") == one.get("index") == rt.link_index("lan0") >= 2**28
    assert values(mark) == {"IFLA_IFALIAS": "runspec:lan0"}
    assert isinstance(one, ifinfmsg.ifinfmsg) and one["header"]["flags"] == 0x605
    assert one.get("flags") == one.get("change") == 1
    has = values(one)
    assert has.pop("IFLA_LINKINFO").get_attr("IFLA_INFO_KIND") == "bridge"
    assert has == {"IFLA_IFNAME": "lan0", "IFLA_MTU": 1400, "IFLA_ADDRESS": "02:00:00:00:00:01"}
    assert decode(rt.create_bridge("lan0")).get("index") == 0


@pytest.mark.parametrize(("where", "attr", "value"), [
    ({"peer_pid": 1234}, "IFLA_NET_NS_PID", 1234), ({"peer_fd": 7}, "IFLA_NET_NS_FD", 7), ({}, "", None)])
def test_veth(where: dict[str, int], attr: str, value: int | None) -> None:
    one, mark = decode_two(rt.create_veth("vfoo1", 9, "eth0", mac="02:00:00:00:00:02", index=70000, mtu=1300,
                                          host_mac="02:00:00:00:00:03", alias="a", peer_index=2, **where))
    assert mark.get("index") == 70000 and values(mark) == {"IFLA_IFALIAS": "a"}
    has = values(one)
    info = has.pop("IFLA_LINKINFO")
    assert one.get("index") == 70000 and one.get("flags") == 1 and info.get_attr("IFLA_INFO_KIND") == "veth"
    assert has == {"IFLA_IFNAME": "vfoo1", "IFLA_MTU": 1300, "IFLA_ADDRESS": "02:00:00:00:00:03", "IFLA_MASTER": 9}
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer.get("index") == 2 and peer.get("flags") == 0
    inside = values(peer)
    assert (inside.pop(attr) if attr else None) == value
    assert inside == {"IFLA_IFNAME": "eth0", "IFLA_ADDRESS": "02:00:00:00:00:02", "IFLA_MTU": 1300}


def test_veth_of_the_sender_without_bridge() -> None:
    has = values(decode(rt.create_veth("a", None, "b", up=False)))
    assert set(has) == {"IFLA_IFNAME", "IFLA_LINKINFO"}
    with pytest.raises(SpecError, match="chosen index"):
        rt.create_veth("a", None, "b", peer_index=2)


def test_set_and_delete_link() -> None:
    one = decode(rt.set_link(5, up=False, mtu=9000, mac="02:00:00:00:00:02", name="eth1", master=0, alias=""))
    assert one.get("index") == 5 and one.get("flags") == 0 and one.get("change") == 1
    assert one["header"]["flags"] == 5
    assert {k: v for k, v in values(one).items() if v != ""} == {
        "IFLA_IFNAME": "eth1", "IFLA_MTU": 9000, "IFLA_ADDRESS": "02:00:00:00:00:02", "IFLA_MASTER": 0}
    up = decode(rt.set_link("lan0", up=True))
    assert up.get("index") == 0 and up.get("flags") == 1 and values(up) == {"IFLA_IFNAME": "lan0"}
    assert decode(rt.set_link(3, mtu=1500)).get("change") == 0
    gone = decode(rt.delete_link("lan0"))
    assert gone["event"] == "RTM_DELLINK" and values(gone) == {"IFLA_IFNAME": "lan0"}
    assert decode(rt.delete_link(8)).get("index") == 8
    with pytest.raises(SpecError, match="by name"):
        rt.set_link("lan0", name="lan1")


@pytest.mark.parametrize(("cidr", "expected"), [
    ("10.77.0.11/24", {"IFA_LOCAL": "10.77.0.11", "IFA_ADDRESS": "10.77.0.11", "IFA_BROADCAST": "10.77.0.255"}),
    ("10.77.0.11/31", {"IFA_LOCAL": "10.77.0.11", "IFA_ADDRESS": "10.77.0.11"}),
    ("10.77.0.11", {"IFA_LOCAL": "10.77.0.11", "IFA_ADDRESS": "10.77.0.11"}),
    ("10.1.2.3/0", {"IFA_LOCAL": "10.1.2.3", "IFA_ADDRESS": "10.1.2.3", "IFA_BROADCAST": "255.255.255.255"}),
    ("fd00::1/64", {"IFA_LOCAL": "fd00::1", "IFA_ADDRESS": "fd00::1", "IFA_FLAGS": 2}),
])
def test_address(cidr: str, expected: dict[str, Any]) -> None:
    one = decode(rt.add_address(2, cidr))
    assert isinstance(one, ifaddrmsg.ifaddrmsg) and one.get("index") == 2
    assert one.get("prefixlen") == (int(cidr.split("/")[1]) if "/" in cidr else 32)
    assert values(one) == expected
    gone = decode(rt.delete_address(2, cidr))
    assert gone["event"] == "RTM_DELADDR" and set(values(gone)) == {"IFA_LOCAL", "IFA_ADDRESS"}


@pytest.mark.parametrize(("arguments", "family", "bits", "expected"), [
    (("default", "10.77.0.1", 2), 2, 0, {"RTA_GATEWAY": "10.77.0.1", "RTA_OIF": 2}),
    (("default", "fd00::1", 2, 5), 10, 0, {"RTA_GATEWAY": "fd00::1", "RTA_OIF": 2, "RTA_PRIORITY": 5}),
    (("10.8.0.0/16", None, 3), 2, 16, {"RTA_DST": "10.8.0.0", "RTA_OIF": 3}),
    (("0.0.0.0/0", None, 3), 2, 0, {"RTA_OIF": 3}),
    (("default", None, 3, None, 10), 10, 0, {"RTA_OIF": 3}),
    (("fd01::/48", "fe80::1", 3), 10, 48, {"RTA_DST": "fd01::", "RTA_GATEWAY": "fe80::1", "RTA_OIF": 3}),
])
def test_route(arguments: tuple[Any, ...], family: int, bits: int, expected: dict[str, Any]) -> None:
    one = decode(rt.add_route(*arguments))
    assert isinstance(one, rtmsg.rtmsg)
    assert (one["family"], one["dst_len"], one["table"], one["type"]) == (family, bits, 254, 1)
    assert values(one) == expected
    assert values(decode(rt.delete_route(*arguments))) == expected


def test_v4_network_behind_a_v6_neighbour() -> None:
    via = values(decode(rt.add_route("10.8.0.0/16", "fe80::1", 3)))["RTA_VIA"]
    assert via["family"] == 10 and via["addr"] == "fe80::1"


def test_requests() -> None:
    assert [decode(m)["event"] for m in (rt.dump_links(), rt.dump_addresses(), rt.dump_routes(), rt.get_link("lo"))
            ] == ["RTM_GETLINK", "RTM_GETADDR", "RTM_GETROUTE", "RTM_GETLINK"]
    assert decode(rt.dump_links())["header"]["flags"] == 0x301


@pytest.mark.parametrize(("size", "fits"), [(0, True), (2**16 - 5, True), (2**16 - 4, False), (2**16, False),
                                            (2**16 + 1, False)])
def test_attribute_length(size: int, fits: bool) -> None:
    if fits:
        raw = rt.attribute(1, bytes(size))
        assert len(raw) % 4 == 0 and int.from_bytes(raw[:2], "little") == size + 4
    else:
        with pytest.raises(SpecError, match="netlink attribute"):
            rt.attribute(1, bytes(size))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a:b", "a\0b", "x" * 16, "ü" * 8, "x" * (2**16 + 1)])
def test_names_the_kernel_refuses(name: str) -> None:
    for make in (rt.create_bridge, rt.delete_link, rt.get_link):
        with pytest.raises(SpecError, match="cannot name a link"):
            make(name)
    with pytest.raises(SpecError):
        rt.create_veth("ok", None, name)


def test_numbers_and_addresses_out_of_range() -> None:
    rt.create_bridge("x" * 15, 2**32 - 1, alias="y" * 255)
    for wrong in (lambda: rt.create_bridge("b", 2**32), lambda: rt.create_bridge("b", -1),
                  lambda: rt.create_bridge("b", alias="y" * 256), lambda: rt.create_bridge("b", mac="02:00"),
                  lambda: rt.create_bridge("b", mac="020000000001"), lambda: rt.set_link(2**31),
                  lambda: rt.create_veth("a", 2**32, "b"), lambda: rt.create_veth("a", None, "b", peer_pid=-1),
                  lambda: rt.add_address(2, "10.0.0.1/33"), lambda: rt.add_address(2, "fd00::1/129"),
                  lambda: rt.add_address(2, "10.0.0.1/-1"), lambda: rt.add_address(2, "10.0.0/8"),
                  lambda: rt.add_address(2, "10.0.0.1/٣"), lambda: rt.add_route("default", "nowhere"),
                  lambda: rt.add_route("10.0.0.0/8", metric=2**32), lambda: rt.add_route("10.0.0.0/8", family=10)):
        with pytest.raises(SpecError):
            wrong()


# --- a real kernel

class Private:
    """This thread in a network namespace of its own, and a socket there."""

    def __init__(self) -> None:
        self.back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        assert LIBC.unshare(CLONE_NEWNET) == 0
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self.socket.bind((0, 0))

    def close(self) -> None:
        self.socket.close()
        assert LIBC.setns(self.back, CLONE_NEWNET) == 0
        os.close(self.back)

    def do(self, message: bytes) -> int:
        """Send one message, or two; the errno of the first that fails."""
        self.socket.send(message)
        count = 1 + (int.from_bytes(message[:4], "little") < len(message))
        errors = [netlink.parse_ack(self.socket.recv(1 << 16)) for _ in range(count)]
        return next(filter(None, errors), 0)

    def ask(self, message: bytes) -> bytes:
        """Send a dump request; all datagrams up to NLMSG_DONE, put together."""
        self.socket.send(message)
        data = b""
        while True:
            more = self.socket.recv(1 << 18)
            data += more
            if int.from_bytes(more[4:6], "little") == 3 or more[-20:][4:6] == b"\x03\0":
                return data


@pytest.fixture
def private() -> Iterator[Private]:
    one = Private()
    yield one
    one.close()


@requires("root", "bridge", "veth")
def test_kernel_makes_it_all(private: Private) -> None:
    assert private.do(rt.create_bridge("lan0", 1400, "02:00:00:00:00:01", "runspec:lan0")) == 0
    assert private.do(rt.create_bridge("lan0")) == 17
    assert private.do(rt.create_bridge("foreign", index=77)) == 0
    assert private.do(rt.create_bridge("foreign", alias="runspec:stolen")) == 17
    (foreign,) = (x for x in netlink.parse_links(private.ask(rt.dump_links())) if x.name == "foreign")
    assert foreign.alias == "" and foreign.index == 77
    (lan,) = (x for x in netlink.parse_links(private.ask(rt.dump_links())) if x.name == "lan0")
    assert lan[1:8] == ("lan0", "bridge", "02:00:00:00:00:01", 1400, True, 0, "runspec:lan0")

    inside = os.pipe()
    pid = os.fork()
    if pid == 0:        # the container: its own namespace, until our end of the pipe closes
        os.close(inside[1])
        LIBC.unshare(CLONE_NEWNET)
        os.read(inside[0], 1)
        os._exit(0)
    os.close(inside[0])
    try:
        own = os.stat("/proc/thread-self/ns/net").st_ino
        while os.stat(f"/proc/{pid}/ns/net").st_ino == own:
            pass
        index = rt.link_index("vfoo1")
        assert private.do(rt.create_veth("vfoo1", lan.index, "eth0", peer_pid=pid, mac="02:00:00:00:00:02", mtu=1300,
                                         alias="a", index=index, peer_index=2)) == 0
        host = next(x for x in netlink.parse_links(private.ask(rt.dump_links())) if x.name == "vfoo1")
        assert (host.index, host.kind, host.mtu, host.up, host.master, host.alias, host.peer) == (
            index, "veth", 1300, True, lan.index, "a", 2)
        assert host.netnsid >= 0

        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        assert LIBC.setns(there, CLONE_NEWNET) == 0
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as door:
                outer, private.socket = private.socket, door
                check_container(private)
                private.socket = outer
        finally:
            assert LIBC.setns(here, CLONE_NEWNET) == 0
            os.close(here)
            os.close(there)
        assert private.do(rt.delete_link("vfoo1")) == 0
        assert private.do(rt.delete_link("vfoo1")) == 19
    finally:
        os.close(inside[1])
        os.waitpid(pid, 0)


def check_container(private: Private) -> None:
    """Inside: the peer has the index that was asked for, so addresses need no look-up."""
    (eth0,) = (x for x in netlink.parse_links(private.ask(rt.dump_links())) if x.name == "eth0")
    assert (eth0.index, eth0.mac, eth0.mtu, eth0.up) == (2, "02:00:00:00:00:02", 1300, False)
    for message in (rt.set_link(1, up=True), rt.set_link(2, up=True), rt.add_address(2, "10.77.0.11/24"),
                    rt.add_address(2, "fd00:77::11/64"), rt.add_route("default", "10.77.0.1", 2),
                    rt.add_route("default", "fd00:77::1", 2, 7), rt.add_route("10.9.0.0/16", None, 2),
                    rt.add_route("10.8.0.0/16", "fd00:77::1", 2)):
        assert private.do(message) == 0
    assert [x[1:3] + x[4:] for x in netlink.parse_addresses(private.ask(rt.dump_addresses()))
            if x.index == 2 and x.scope == 0] == [("10.77.0.11/24", 0, "10.77.0.255"), ("fd00:77::11/64", 0, "")]
    assert private.do(rt.replace_route("default", "10.77.0.2", 2)) == 0
    assert private.do(rt.replace_route("default", "10.77.0.1", 2)) == 0
    mine = {r[1:5] for r in netlink.parse_routes(private.ask(rt.dump_routes())) if r.protocol == 4}
    assert mine == {("default", "10.77.0.1", 2, 0), ("default", "fd00:77::1", 2, 7), ("10.9.0.0/16", "", 2, 0),
                    ("10.8.0.0/16", "fd00:77::1", 2, 0)}
    for message in (rt.delete_route("default", "10.77.0.1", 2), rt.delete_route("default", "fd00:77::1", 2, 7),
                    rt.delete_route("10.9.0.0/16", None, 2), rt.delete_route("10.8.0.0/16", "fd00:77::1", 2),
                    rt.delete_address(2, "10.77.0.11/24"), rt.delete_address(2, "fd00:77::11/64")):
        assert private.do(message) == 0
    assert not [r for r in netlink.parse_routes(private.ask(rt.dump_routes())) if r.protocol == 4]
    assert private.do(rt.delete_address(2, "10.77.0.11/24")) == 99
