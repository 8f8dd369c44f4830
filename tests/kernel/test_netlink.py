"""Parsers of netlink answers, judged by pyroute2 on the same kernel, and on damaged bytes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import requires
from hypothesis import given, strategies as st
from kernels import SLOWER
from pyroute2 import IPRoute

from runspec.errors import HostError
from runspec.kernel import netlink
from runspec.plan import rtnetlink as rt, rtnetlink_links as kinds

CLONE_NEWNET = 0x40000000


@pytest.fixture
def dumps() -> Iterator[tuple[IPRoute, list[bytes]]]:
    """A private namespace with some of everything: pyroute2's view of it, and the raw answers."""
    libc = ctypes.CDLL(None, use_errno=True)
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    assert libc.unshare(CLONE_NEWNET) == 0
    try:
        with IPRoute() as ip:
            ip.link("add", ifname="br0", kind="bridge", address="02:00:00:00:00:01", mtu=1400)
            ip.link("add", ifname="va", kind="veth", peer={"ifname": "vb"})
            names = {link.get("ifname"): link["index"] for link in ip.get_links()}
            ip.link("set", index=names["va"], master=names["br0"], ifalias="runspec:x")
            for name in names:
                ip.link("set", index=names[name], state="up")
            ip.addr("add", index=names["vb"], address="10.1.0.2", prefixlen=24, broadcast="10.1.0.255")
            ip.addr("add", index=names["vb"], address="10.1.0.3", prefixlen=32)
            ip.addr("add", index=names["vb"], address="fd00::2", prefixlen=64, flags=2)
            ip.route("add", dst="default", gateway="10.1.0.1", priority=5)
            ip.route("add", dst="10.9.0.0/16", oif=names["vb"], table=1000)
            ip.route("add", dst="fd01::/48", gateway="fd00::1")
            ip.route("add", dst="fd02::/48", oif=names["vb"], priority=3)
            # The kernel adds what follows from an IPv6 address by itself, a moment later.
            end = time.monotonic() + 5 * SLOWER
            while time.monotonic() < end and not {"fd00::2", "ff00::"} <= {one.get("dst") for one in ip.get_routes()}:
                time.sleep(0.01)
            time.sleep(0.05)
            raw = []
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as door:
                for request in (rt.dump_links(), rt.dump_addresses(), rt.dump_routes()):
                    door.send(request)
                    data = b""
                    while not data or not ends(data):
                        data += door.recv(1 << 18)
                    raw.append(data)
            yield ip, raw
    finally:
        assert libc.setns(back, CLONE_NEWNET) == 0
        os.close(back)


def ends(data: bytes) -> bool:
    """Whether the last message is NLMSG_DONE."""
    at = kind = 0
    while at < len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        at += length + 3 & ~3
    return kind == 3


@pytest.mark.parametrize(("kind", "info", "mode", "vlan"), [
    ("vlan", kinds.vlan_info(10, "802.1ad"), -1, (10, 0x88A8)), ("macvlan", kinds.macvlan_info("vepa"), 2, (0, 0)),
    ("ipvlan", kinds.ipvlan_info("l3s"), 2, (0, 0))])
def test_what_one_kind_has(kind: str, info: bytes, mode: int, vlan: tuple[int, int]) -> None:
    """The message that makes a link is of the form in which the kernel tells of it."""
    (one,) = netlink.parse_links(kinds.create_on(kind, 7, "eth0", info, index=11))
    assert (one.index, one.name, one.kind, one.peer, one.netnsid, one.mode, one.vlan) == (
        11, "eth0", kind, 7, -1, mode, vlan)


@requires("root", "bridge", "veth")
def test_the_same_as_pyroute2(dumps: tuple[IPRoute, list[bytes]]) -> None:
    ip, (links, addresses, routes) = dumps

    def link(one: Any) -> tuple[Any, ...]:
        info = one.get("linkinfo")
        return (one["index"], one.get("ifname"), info.get("kind") if info else "", one.get("address"),
                one.get("mtu"), bool(one["flags"] & 1), one.get("master") or 0, one.get("ifalias") or "",
                -1 if one.get("link_netnsid") is None else one.get("link_netnsid"), one.get("link") or 0)

    mine = netlink.parse_links(links)
    assert [one[:10] for one in mine] == [link(one) for one in ip.get_links()] and len(mine) >= 4
    by_name = {one.name: one for one in mine}
    assert by_name["va"].peer == by_name["vb"].index and by_name["va"].master == by_name["br0"].index
    assert by_name["va"].alias == "runspec:x" and by_name["br0"].kind == "bridge" and by_name["lo"].up
    assert repr(by_name["br0"]).startswith("Link(index=")

    assert {(one.mode, one.vlan) for one in mine} == {(-1, (0, 0))}

    def address(one: Any) -> tuple[Any, ...]:
        return (one["index"], f"{one.get('local') or one.get('address')}/{one['prefixlen']}", one["scope"],
                one.get("broadcast") or "")

    shown = netlink.parse_addresses(addresses)
    assert [(a.index, a.cidr, a.scope, a.broadcast) for a in shown] == [address(one) for one in ip.get_addr()]
    # Whether an address is still tentative may change between the two looks.
    assert {"10.1.0.2/24", "10.1.0.3/32", "fd00::2/64", "127.0.0.1/8", "::1/128"} <= {a.cidr for a in shown}

    def route(one: Any) -> tuple[Any, ...]:
        to = f"{one.get('dst')}/{one['dst_len']}" if one.get("dst") else "default"
        return (one["family"], to, one.get("gateway") or "", one.get("oif") or 0, one.get("priority") or 0,
                one.get("table"), one["proto"], one["scope"], one["type"])

    found = netlink.parse_routes(routes)
    assert set(found) == {route(one) for one in ip.get_routes() if not one["flags"] & 0x200}
    assert {("default", "10.1.0.1"), ("10.9.0.0/16", ""), ("fd01::/48", "fd00::1")} <= {r[1:3] for r in found}


@requires("root", "bridge", "veth")
def test_damaged_answers_are_refused(dumps: tuple[IPRoute, list[bytes]]) -> None:
    for data, parse in zip(dumps[1], (netlink.parse_links, netlink.parse_addresses, netlink.parse_routes),
                           strict=True):
        for size in range(0, len(data), 7):
            with contextlib.suppress(HostError):
                parse(data[:size])
        for at in range(0, min(len(data), 1500), 3):
            with contextlib.suppress(HostError):
                parse(data[:at] + b"\xff" + data[at + 1:])


@given(st.binary(max_size=200), st.sampled_from([2, 16, 20, 24]))
def test_no_bytes_break_a_parser(body: bytes, kind: int) -> None:
    data = struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body
    for parse in (netlink.parse_links, netlink.parse_addresses, netlink.parse_routes, netlink.parse_ack):
        for one in (data, body):
            with contextlib.suppress(HostError):
                parse(one)


def test_ack() -> None:
    def message(error: int) -> bytes:
        return struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -error) + bytes(16)
    assert netlink.parse_ack(message(0)) == 0 and netlink.parse_ack(message(17)) == 17
    with pytest.raises(HostError, match="cut short"):
        netlink.parse_ack(b"")
    with pytest.raises(HostError, match="Operation not permitted"):
        netlink.parse_links(message(1))
