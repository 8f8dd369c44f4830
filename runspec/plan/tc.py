"""Queueing disciplines, classes and filters of a link as rtnetlink(7) messages, tc(8).

Handles are 32 bit: a discipline's number in the upper half, a class's in the lower.
"""

from __future__ import annotations

import struct

from runspec import abi
from runspec.plan.rtnetlink import attribute

_HEAD = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")                # ifinfomsg: family, type, index, flags, change
_TC = struct.Struct("=BxxxiIII")                # tcmsg: family, index, handle, parent, info
_RATE = struct.Struct("=BBHhHI")                # tc_ratespec: cell log, link layer, overhead, cell align, mpu, rate
_TBF = struct.Struct("=III")                    # behind two rates: limit, buffer, mtu
_HTB_GLOBAL = struct.Struct("=IIIII")           # version, rate2quantum, default class, debug, direct packets
_HTB_CLASS = struct.Struct("=IIIII")            # behind two rates: buffer, cbuffer, quantum, level, prio
_SELECTOR = struct.Struct("=BBBxHHHhI")         # tc_u32_sel: flags, shift, keys, off (4), hmask
_MIRRED = struct.Struct("=IIiiiiI")             # tc_mirred: tc_gen (5), direction, link
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")

_SET = abi.NLM_F_REQUEST | abi.NLM_F_ACK
_PUT = _SET | abi.NLM_F_CREATE | abi.NLM_F_REPLACE
_NEW = _SET | abi.NLM_F_CREATE | abi.NLM_F_EXCL
_DUMP = abi.NLM_F_REQUEST | abi.NLM_F_DUMP

ROOT = abi.TC_H_ROOT
INGRESS_HOOK = abi.TC_H_CLSACT & 0xFFFF0000 | abi.TC_H_MIN_INGRESS      # parent of filters on what arrives
EGRESS_HOOK = abi.TC_H_CLSACT & 0xFFFF0000 | abi.TC_H_MIN_EGRESS        # and on what leaves, at a clsact discipline
CLSACT_HANDLE = abi.TC_H_CLSACT & 0xFFFF0000

TICK = 64                   # nanoseconds, the unit of a token bucket's depth, sch_api.c PSCHED_SHIFT
RATE_MAX_32 = 0xFFFFFFFF    # bytes/s; beyond it an attribute of its own holds the rate


def handle(major: int, minor: int = 0) -> int:
    """The handle MAJOR:MINOR."""
    return major << 16 | minor


def _tc(kind: int, flags: int, index: int, number: int, parent: int, info: int, body: bytes) -> bytes:
    body = _TC.pack(0, index, number, parent, info) + body
    return _HEAD.pack(_HEAD.size + len(body), kind, flags, 1, 0) + body


def _kind(word: str) -> bytes:
    return attribute(abi.TCA_KIND, word.encode() + b"\0")


def _rate(rate: int) -> bytes:
    """A rate in bytes/s, its packets counted as Ethernet's are, without a table of the kernel's old days."""
    return _RATE.pack(0, abi.TC_LINKLAYER_ETHERNET, 0, 0, 0, min(rate, RATE_MAX_32))


def _wide(kind: int, rate: int) -> bytes:
    return attribute(kind, _U64.pack(rate)) if rate >= RATE_MAX_32 else b""


def ticks(rate: int, size: int) -> int:
    """How long `size` bytes take at `rate` bytes/s, in the kernel's ticks."""
    return min(size * 1_000_000_000 // rate // TICK, 0xFFFFFFFF)


# Links


def create_ifb(name: str, index: int) -> bytes:
    """A link that gives back what is sent into it, when its own queueing discipline lets it go.

    See: ip-link(8), "ifb".
    """
    head = _LINK.pack(0, 0, index, 0, 0)
    body = attribute(abi.IFLA_IFNAME, name.encode() + b"\0") + attribute(
        abi.IFLA_LINKINFO, attribute(abi.IFLA_INFO_KIND, b"ifb"))
    return _HEAD.pack(_HEAD.size + len(head) + len(body), abi.RTM_NEWLINK, _NEW, 1, 0) + head + body


def map_priority(index: int, priority: int) -> bytes:
    """Packets of this priority leave a VLAN link with as high a one in their tag.

    See: ip-link(8), "egress-qos-map".
    """
    head = _LINK.pack(0, 0, index, 0, 0)
    pair = attribute(abi.IFLA_VLAN_QOS_MAPPING, struct.pack("=II", priority, priority))
    body = attribute(abi.IFLA_LINKINFO, attribute(abi.IFLA_INFO_KIND, b"vlan") + attribute(
        abi.IFLA_INFO_DATA, attribute(abi.IFLA_VLAN_EGRESS_QOS, pair)))
    return _HEAD.pack(_HEAD.size + len(head) + len(body), abi.RTM_NEWLINK, _SET, 1, 0) + head + body


# Queueing disciplines


def put_clsact(index: int) -> bytes:
    """Hooks for filters on a link's both directions; one that is there stays, with its filters."""
    return _tc(abi.RTM_NEWQDISC, _PUT & ~abi.NLM_F_REPLACE, index, CLSACT_HANDLE, abi.TC_H_CLSACT, 0, _kind("clsact"))


def delete_clsact(index: int) -> bytes:
    """Takes the hooks away, with every filter on them."""
    return _tc(abi.RTM_DELQDISC, _SET, index, CLSACT_HANDLE, abi.TC_H_CLSACT, 0, _kind("clsact"))


def put_tbf(index: int, parent: int, number: int, rate: int, burst: int, limit: int) -> bytes:
    """A token bucket filter; it takes packets of many segments apart that are longer than its bucket.

    Args:
        rate: bytes/s.
        burst, limit: bytes of its bucket, and those that may wait.

    See: tc-tbf(8).
    """
    body = _rate(rate) + _rate(0) + _TBF.pack(limit, ticks(rate, burst), 0)
    options = (attribute(abi.TCA_TBF_PARMS, body) + attribute(abi.TCA_TBF_BURST, _U32.pack(burst))
               + _wide(abi.TCA_TBF_RATE64, rate))
    return _tc(abi.RTM_NEWQDISC, _PUT, index, number, parent, 0, _kind("tbf") + attribute(abi.TCA_OPTIONS, options))


def put_htb(index: int, number: int, default: int) -> bytes:
    """The root of a tree of token buckets, new or in the place of a discipline with another handle.

    Args:
        default: minor number of the class for what no filter names.

    See: tc-htb(8).
    """
    options = attribute(abi.TCA_HTB_INIT, _HTB_GLOBAL.pack(3, 10, default, 0, 0))
    return _tc(abi.RTM_NEWQDISC, _PUT, index, number, ROOT, 0, _kind("htb") + attribute(abi.TCA_OPTIONS, options))


def put_class(index: int, parent: int, number: int, rate: int, ceil: int, burst: int, ceil_burst: int,
              prio: int = 0, quantum: int = 0) -> bytes:
    """A class of an HTB tree, new or changed in place.

    Args:
        parent: the handle of the discipline or of the class above.
        rate, ceil: bytes/s, guaranteed and at most.
        burst, ceil_burst: bytes.
        prio: 0 is served first.
        quantum: bytes that it may send in its turn; 0: by its rate.
    """
    body = _rate(rate) + _rate(ceil) + _HTB_CLASS.pack(ticks(rate, burst), ticks(ceil, ceil_burst), quantum, 0, prio)
    options = (attribute(abi.TCA_HTB_PARMS, body) + _wide(abi.TCA_HTB_RATE64, rate)
               + _wide(abi.TCA_HTB_CEIL64, ceil))
    return _tc(abi.RTM_NEWTCLASS, _SET | abi.NLM_F_CREATE, index, number, parent, 0,
               _kind("htb") + attribute(abi.TCA_OPTIONS, options))


def delete_class(index: int, number: int) -> bytes:
    """Removes a class."""
    return _tc(abi.RTM_DELTCLASS, _SET, index, number, 0, 0, b"")


def put_queue(index: int, parent: int, number: int, kind: str, limit: int | None = None) -> bytes:
    """A simple queue: pfifo, bfifo.

    Args:
        limit: of pfifo in packets, of bfifo in bytes.
    """
    options = b"" if limit is None else attribute(abi.TCA_OPTIONS, _U32.pack(limit))
    return _tc(abi.RTM_NEWQDISC, _PUT, index, number, parent, 0, _kind(kind) + options)


def put_flows(index: int, parent: int, number: int, limit: int, target: int) -> bytes:
    """A queue in which flows take turns, and those that let packets wait too long lose some.

    Args:
        limit: packets.
        target: microseconds that packets may wait; over so long as tc-fq_codel(8) proposes, and that longer.
    """
    values = ((abi.TCA_FQ_CODEL_TARGET, target), (abi.TCA_FQ_CODEL_LIMIT, limit),
              (abi.TCA_FQ_CODEL_INTERVAL, 95_000 + target))
    options = b"".join(attribute(word, _U32.pack(value)) for word, value in values)
    return _tc(abi.RTM_NEWQDISC, _PUT, index, number, parent, 0,
               _kind("fq_codel") + attribute(abi.TCA_OPTIONS, options))


def delete_root(index: int) -> bytes:
    """Puts a link's own queueing discipline back to what the kernel gives it."""
    return _tc(abi.RTM_DELQDISC, _SET, index, 0, ROOT, 0, b"")


# Filters

FD_OFFSET = _HEAD.size + _TC.size + len(_kind("bpf")) + 4 + 4      # of TCA_BPF_FD's number in a message of put_bpf


def _filter(flags: int, kind: int, index: int, parent: int, order: int, number: int, body: bytes) -> bytes:
    # "info" holds the order in which filters are asked, and the packets' protocol in the network's order of bytes.
    protocol = int.from_bytes(abi.ETH_P_ALL.to_bytes(2, "big"), "little")
    return _tc(kind, flags, index, number, parent, order << 16 | protocol, body)


def put_bpf(index: int, parent: int, order: int, name: str, fd: int = -1, direct: bool = True,
            number: int = 1) -> bytes:
    """A filter that runs a program, new or in the place of the one of this order.

    Args:
        parent: INGRESS_HOOK, EGRESS_HOOK or a classful discipline's handle.
        order: 1.. : the lower is asked first.
        name: what tc(8) shows of it.
        fd: the program's descriptor in the process that sends the message: where another one sends it, its number is
            put in at FD_OFFSET, see NETLINK in ops.h.
        direct: the program's answer is an action, not a class.

    See: tc-bpf(8).
    """
    options = (attribute(abi.TCA_BPF_FD, struct.pack("=i", fd)) + attribute(abi.TCA_BPF_NAME, name.encode() + b"\0")
               + attribute(abi.TCA_BPF_FLAGS, _U32.pack(abi.TCA_BPF_FLAG_ACT_DIRECT if direct else 0)))
    return _filter(_PUT, abi.RTM_NEWTFILTER, index, parent, order, number,
                   _kind("bpf") + attribute(abi.TCA_OPTIONS, options))


def with_descriptor(message: bytes, fd: int) -> bytes:
    """A message of put_bpf with the program's descriptor in the process that sends it."""
    return message[:FD_OFFSET] + struct.pack("=i", fd) + message[FD_OFFSET + 4:]


def put_redirect(index: int, parent: int, order: int, to: int) -> bytes:
    """A filter that sends every packet out through another link; one more where there is one already.

    Args:
        to: the other link's index.

    See: tc-u32(8), tc-mirred(8).
    """
    redirect = _MIRRED.pack(0, 0, abi.TC_ACT_STOLEN, 0, 0, abi.TCA_EGRESS_REDIR, to)
    action = attribute(1, attribute(abi.TCA_ACT_KIND, b"mirred\0") + attribute(
        abi.TCA_ACT_OPTIONS, attribute(abi.TCA_MIRRED_PARMS, redirect)))
    options = (attribute(abi.TCA_U32_SEL, _SELECTOR.pack(abi.TC_U32_TERMINAL, 0, 0, 0, 0, 0, 0, 0))
               + attribute(abi.TCA_U32_ACT, action))
    return _filter(_SET | abi.NLM_F_CREATE, abi.RTM_NEWTFILTER, index, parent, order, 0,
                   _kind("u32") + attribute(abi.TCA_OPTIONS, options))


def delete_filters(index: int, parent: int, order: int) -> bytes:
    """Removes all filters of one order."""
    return _filter(_SET, abi.RTM_DELTFILTER, index, parent, order, 0, b"")


# Questions


def dump_qdiscs() -> bytes:
    """Ask for the queueing disciplines of all links."""
    return _tc(abi.RTM_GETQDISC, _DUMP, 0, 0, 0, 0, b"")


def dump_classes(index: int) -> bytes:
    """Ask for the classes of one link."""
    return _tc(abi.RTM_GETTCLASS, _DUMP, index, 0, 0, 0, b"")


def dump_filters(index: int, parent: int) -> bytes:
    """Ask for the filters of one hook or discipline of a link."""
    return _tc(abi.RTM_GETTFILTER, _DUMP, index, 0, parent, 0, b"")
