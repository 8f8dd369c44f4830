"""Queueing disciplines, classes and filters: pyroute2 decodes the messages, tc(8) shows what became of them."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import requires
from kernels import SLOWER
from pyroute2.netlink.rtnl import marshal

from runspec import abi
from runspec.errors import SyscallError
from runspec.kernel import Kernel
from runspec.kernel.traffic import parse_classes, parse_filters, parse_qdiscs
from runspec.plan import rtnetlink, tc, tc_bpf
from runspec.plan.bpf import tags
from runspec.plan.tc_bpf import BYTE, R0, R1, R6, R7, Assembler

LIBC = ctypes.CDLL(None, use_errno=True)
MBIT = 125_000


def decode(message: bytes) -> tuple[Any, dict[str, Any]]:
    """One message as pyroute2 reads it, and its options."""
    (one,) = list(marshal.MarshalRtnl().parse(message))
    assert one["header"]["length"] == len(message) and one["header"]["sequence_number"] == 1
    options = one.get_attr("TCA_OPTIONS")
    return one, {name: value for name, value, *_ in options["attrs"]} if options is not None else {}


def test_disciplines() -> None:
    one, options = decode(tc.put_htb(7, tc.handle(1), 0xFFFF))
    assert (one["event"], one["index"], one["handle"], one["parent"]) == ("RTM_NEWQDISC", 7, 0x10000, 0xFFFFFFFF)
    assert one["header"]["flags"] == 0x505 and one.get_attr("TCA_KIND") == "htb"
    assert options["TCA_HTB_INIT"]["defcls"] == 0xFFFF and options["TCA_HTB_INIT"]["version"] == 3
    one, options = decode(tc.put_class(7, tc.handle(1, 1), tc.handle(1, 9), MBIT, 4 * MBIT, 1600, 3200, 3))
    assert (one["event"], one["handle"], one["parent"]) == ("RTM_NEWTCLASS", 0x10009, 0x10001)
    parms = options["TCA_HTB_PARMS"]
    assert (parms["rate"], parms["ceil"], parms["prio"], parms["buffer"], parms["cbuffer"]) == (
        MBIT, 4 * MBIT, 3, 200_000, 100_000)
    one, _ = decode(tc.put_clsact(7))
    assert (one["handle"], one["parent"], one.get_attr("TCA_KIND")) == (0xFFFF0000, 0xFFFFFFF1, "clsact")
    for message, event in ((tc.delete_root(7), "RTM_DELQDISC"), (tc.delete_clsact(7), "RTM_DELQDISC"),
                           (tc.delete_class(7, 0x10009), "RTM_DELTCLASS"),
                           (tc.dump_qdiscs(), "RTM_GETQDISC"), (tc.dump_classes(7), "RTM_GETTCLASS"),
                           (tc.dump_filters(7, tc.INGRESS_HOOK), "RTM_GETTFILTER"),
                           (tc.delete_filters(7, tc.INGRESS_HOOK, 1), "RTM_DELTFILTER")):
        assert decode(message)[0]["event"] == event


def test_rate_beyond_32_bits() -> None:
    rate = 50_000_000_000 // 8
    message = tc.put_class(7, tc.handle(1), tc.handle(1, 1), rate, 2 * rate, 1 << 20, 1 << 22)
    _, options = decode(message)
    assert options["TCA_HTB_PARMS"]["rate"] == options["TCA_HTB_PARMS"]["ceil"] == 0xFFFFFFFF
    assert rtnetlink.attribute(abi.TCA_HTB_RATE64, struct.pack("=Q", rate)) in message
    assert rtnetlink.attribute(abi.TCA_HTB_CEIL64, struct.pack("=Q", 2 * rate)) in message


def test_priority_of_a_vlan() -> None:
    (one,) = list(marshal.MarshalRtnl().parse(tc.map_priority(7, 5)))
    info = one.get_attr("IFLA_LINKINFO")
    assert (one["event"], one["index"], info.get_attr("IFLA_INFO_KIND")) == ("RTM_NEWLINK", 7, "vlan")
    pair = info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_VLAN_EGRESS_QOS").get_attr("IFLA_VLAN_QOS_MAPPING")
    assert (pair["from"], pair["to"]) == (5, 5)


def test_filters() -> None:
    message = tc.put_bpf(7, tc.INGRESS_HOOK, 1, "runspec:mark", 42)
    one, options = decode(message)
    assert (one["event"], one["index"], one["parent"], one["info"]) == ("RTM_NEWTFILTER", 7, 0xFFFFFFF2, 0x10300)
    assert (options["TCA_BPF_FD"], options["TCA_BPF_NAME"], options["TCA_BPF_FLAGS"]) == (42, "runspec:mark", 1)
    assert struct.unpack_from("=i", message, tc.FD_OFFSET)[0] == 42
    one, options = decode(tc.put_redirect(7, tc.EGRESS_HOOK, 2, 99))
    assert one.get_attr("TCA_KIND") == "u32" and one["parent"] == 0xFFFFFFF3
    action = options["TCA_U32_ACT"].get_attr("TCA_ACT_PRIO_1")
    assert action.get_attr("TCA_ACT_KIND") == "mirred"
    parms = action.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
    assert (parms["ifindex"], parms["eaction"], parms["action"]) == (99, 1, 4)


# The real kernel


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A kernel whose links are those of a network namespace of its own: a pair, v0 and v1, and i0, all up."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert LIBC.unshare(abi.CLONE_NEWNET) == 0
    one = Kernel()
    subprocess.run("ip link add v0 type veth peer name v1; ip link add i0 type ifb; sysctl -qw net.ipv6.conf.all"
                   ".disable_ipv6=1; for x in v0 v1 i0; do ip link set dev $x up; done;"
                   # What is sent before the kernel has seen the carrier is dropped, and nobody is told.
                   "until ip link show v0 | grep -q 'state UP'; do sleep 0.01; done",
                   shell=True, check=True, timeout=10 * SLOWER)
    yield one
    if one._route is not None:
        one._route.close()
    assert LIBC.setns(back, abi.CLONE_NEWNET) == 0
    os.close(back)


def show(*words: str) -> Any:
    """What tc(8) says."""
    return json.loads(subprocess.run(["tc", "-j", "-d", *words], check=True, capture_output=True).stdout or "[]")


def index(name: str) -> int:
    return socket.if_nametoindex(name)


@requires("root")
def test_kernel_takes_disciplines(kernel: Kernel) -> None:
    a = index("v0")
    kernel.netlink(tc.put_htb(a, tc.handle(1), 9)
                   + tc.put_class(a, tc.handle(1), tc.handle(1, 1), MBIT, MBIT, 3200, 3200)
                   + tc.put_class(a, tc.handle(1, 1), tc.handle(1, 9), MBIT // 4, MBIT, 1600, 3200, 3)
                   + tc.put_queue(a, tc.handle(1, 9), tc.handle(2), "bfifo", 30_000), "htb")
    assert "parent 1:1 leaf 2: prio 3 rate 250Kbit ceil 1Mbit burst 1600b cburst 3200b" in leaf_class()
    kernel.netlink(tc.put_class(a, tc.handle(1, 1), tc.handle(1, 9), MBIT // 2, MBIT, 1600, 3200, 3), "class")
    assert "parent 1:1 leaf 2: prio 3 rate 500Kbit ceil 1Mbit burst 1600b cburst 3200b" in leaf_class()
    (queue,) = (one for one in show("qdisc", "show", "dev", "v0") if one["kind"] == "bfifo")
    assert queue["parent"] == "1:9"
    data = b"".join(kernel.dump(tc.dump_classes(a)))
    ticks = tc.ticks(MBIT, 3200)
    assert {one.handle: tuple(one[2:]) for one in parse_classes(data)} == {
        tc.handle(1, 1): (0xFFFFFFFF, MBIT, MBIT, ticks, ticks, 0),
        tc.handle(1, 9): (tc.handle(1, 1), MBIT // 2, MBIT, tc.ticks(MBIT // 2, 1600), ticks, 3)}
    data = b"".join(kernel.dump(tc.dump_qdiscs()))
    assert [tuple(one[1:]) for one in parse_qdiscs(data) if one.index == a] == [
        (tc.handle(1), 0xFFFFFFFF, "htb", 0), (tc.handle(2), tc.handle(1, 9), "bfifo", 30_000)]
    kernel.netlink(tc.delete_class(a, tc.handle(1, 9)) + tc.delete_root(a), "root")
    assert not parse_classes(b"".join(kernel.dump(tc.dump_classes(a))))


def leaf_class() -> str:
    """Class 1:9 as tc(8) shows it; in JSON it does not show them all whole."""
    lines = subprocess.run(["tc", "class", "show", "dev", "v0"], check=True, capture_output=True, text=True).stdout
    (line,) = (line for line in lines.splitlines() if line.startswith("class htb 1:9 "))
    return line


def frame(protocol: int, packet: bytes) -> bytes:
    return b"\2\0\0\0\0\1" b"\2\0\0\0\0\2" + protocol.to_bytes(2, "big") + packet


def checksum(header: bytes) -> int:
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def v4(tos: int) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, tos, 28, 1, 0, 64, 17, 0, b"\n\0\0\1", b"\n\0\0\2")
    head = head[:10] + (checksum(head) ^ 0xFFFF).to_bytes(2, "big") + head[12:]
    return head + struct.pack("!4H", 1, 2, 8, 0)


def v6(traffic_class: int, flow: int) -> bytes:
    return struct.pack("!IHBB16s16s", 6 << 28 | traffic_class << 20 | flow, 8, 17, 64, b"\xfd" + bytes(14) + b"\1",
                       b"\xfd" + bytes(14) + b"\2") + struct.pack("!4H", 1, 2, 8, 0)


def passed(data: bytes) -> bytes:
    """What comes out at v1 of a frame that leaves through v0."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sees, \
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sends:
        sees.bind(("v1", 3))
        sees.settimeout(2)
        sends.bind(("v0", int.from_bytes(data[12:14], "big")))
        sends.send(data)
        while (got := sees.recvfrom(2000))[1][2] == socket.PACKET_OUTGOING:
            pass
        return got[0]


def transmitted(link: str) -> int:
    """Packets that left through a link."""
    done = subprocess.run(["ip", "-j", "-s", "link", "show", link], capture_output=True, check=True)
    return int(json.loads(done.stdout)[0]["stats64"]["tx"]["packets"])


def attach(kernel: Kernel, program: bytes, link: str = "v0", parent: int = tc.EGRESS_HOOK) -> None:
    fd = kernel.load_classifier(program, "runspec_test")
    try:
        kernel.netlink(tc.put_clsact(index(link)) + tc.put_bpf(index(link), parent, 1, "runspec:test", fd), "filter")
    finally:
        os.close(fd)


@requires("root")
@pytest.mark.parametrize("dscp", [0, 46, 63])
def test_dscp(kernel: Kernel, dscp: int) -> None:
    attach(kernel, tc_bpf.mark(dscp=dscp))
    for ecn in range(4):
        got = passed(frame(abi.ETH_P_IP, v4(0x28 | ecn)))
        assert got[14:] == v4(dscp << 2 | ecn) and checksum(got[14:34]) == 0xFFFF
        assert passed(frame(abi.ETH_P_IPV6, v6(0x28 | ecn, 0xABCDE)))[14:] == v6(dscp << 2 | ecn, 0xABCDE)
    for other in (frame(abi.ETH_P_ARP, v4(0)), frame(abi.ETH_P_IP, b"E")):
        assert passed(other) == other


@requires("root")
def test_kernel_takes_filters(kernel: Kernel) -> None:
    """A program's answer leads on to the redirection behind it; a second one takes the place of the first."""
    b, i = index("v1"), index("i0")
    attach(kernel, tc_bpf.mark(priority=5, group=9, dscp=46), "v1", tc.INGRESS_HOOK)
    kernel.netlink(tc.put_redirect(b, tc.INGRESS_HOOK, 2, i), "redirect")
    attach(kernel, tc_bpf.mark(priority=6, group=9, dscp=46), "v1", tc.INGRESS_HOOK)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sends:
        sends.bind(("v0", abi.ETH_P_IP))
        for _ in range(3):
            sends.send(frame(abi.ETH_P_IP, v4(0)))
    end = time.monotonic() + 5
    while (went := transmitted("i0")) < 3 and time.monotonic() < end:        # a softirq may still have them
        time.sleep(0.01)
    assert went == 3
    shown = [one for one in show("filter", "show", "dev", "v1", "ingress") if "options" in one]
    (bpf,) = (one for one in shown if one["kind"] == "bpf")
    assert bpf["options"]["bpf_name"] == "runspec:test" and bpf["options"]["direct-action"] is True
    first, second = (one for one in parse_filters(b"".join(kernel.dump(tc.dump_filters(b, tc.INGRESS_HOOK))))
                     if one.tag or one.to)      # of u32 the kernel tells an empty table as well
    assert (first.order, first.kind, first.name) == (1, "bpf", "runspec:test")
    assert first.tag in tags(tc_bpf.mark(priority=6, group=9, dscp=46))
    assert (second.order, second.kind, second.to) == (2, "u32", i)
    kernel.netlink(tc.delete_filters(b, tc.INGRESS_HOOK, 1), "filter")
    assert "bpf" not in {one["kind"] for one in show("filter", "show", "dev", "v1", "ingress")}
    kernel.netlink(tc.delete_clsact(b), "clsact")
    assert not show("filter", "show", "dev", "v1", "ingress")


@requires("root")
def test_assembler(kernel: Kernel) -> None:
    """A program with jumps and a read of the packet: what is addressed to group 1 falls."""
    out = Assembler()
    out.move(R6, R1)
    out.read(BYTE, R7, 5, "pass")
    out.branch(abi.BPF_JEQ, R7, 1, "fall")
    out.label("pass")
    out.leave(abi.TC_ACT_OK)
    out.label("fall")
    out.leave(abi.TC_ACT_SHOT)
    attach(kernel, out.code())
    other = frame(abi.ETH_P_IP, v4(0))
    assert passed(other[:5] + b"\2" + other[6:])[5] == 2
    with pytest.raises(OSError, match="No buffer space"):       # what the sender is told of a packet that fell
        passed(other)
    broken = Assembler()
    broken.move(R0, R7)
    broken.leave(0)
    with pytest.raises(SyscallError) as refused:
        kernel.load_classifier(broken.code(), "runspec_test")
    assert refused.value.call == "bpf" and refused.value.errno == 13


@requires("root")
def test_descriptor_put_into_a_message_inside() -> None:
    """The interpreter sends a filter with a program that it was handed: its number there is another than here."""
    from runspec.abi import Op

    kernel = Kernel()
    fd = kernel.load_classifier(tc_bpf.mark(dscp=46), "runspec_test")
    put = Op(abi.OP_NETLINK, slot=0, a=tc.FD_OFFSET, s1=tc.put_clsact(1))
    ops = [Op(abi.OP_UNSHARE, a=abi.CLONE_NEWNET), Op(abi.OP_NETLINK, s1=rtnetlink.set_link(1, up=True)),
           Op(abi.OP_NETLINK, s1=tc.put_clsact(1)),
           Op(abi.OP_NETLINK, slot=0, a=tc.FD_OFFSET, s1=tc.put_bpf(1, tc.EGRESS_HOOK, 1, "runspec:test")),
           Op(abi.OP_DUMP, s1=tc.dump_filters(1, tc.EGRESS_HOOK))]
    try:
        data = b"".join(report.data for report in kernel.run_table(ops, (fd,)))
        assert b"runspec:test\0" in data
        with pytest.raises(SyscallError) as refused:        # without its slot the number is nobody's
            kernel.run_table([*ops[:3], Op(abi.OP_NETLINK, s1=tc.put_bpf(1, tc.EGRESS_HOOK, 1, "runspec:test"))], (fd,))
        assert refused.value.errno == 9
        for bad in (put.a - 60, 0, len(put.s1) - 3, 2**40):
            broken = Op(abi.OP_NETLINK, slot=0, a=bad % 2**64, s1=put.s1)
            with pytest.raises(SyscallError) as refused:
                kernel.run_table([ops[0], broken], (fd,))
            assert refused.value.errno == 74
        with pytest.raises(SyscallError) as refused:
            kernel.run_table([ops[0], Op(abi.OP_NETLINK, slot=5, a=tc.FD_OFFSET, s1=put.s1)], (fd,))
        assert refused.value.errno == 9
    finally:
        os.close(fd)
