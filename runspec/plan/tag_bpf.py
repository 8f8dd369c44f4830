"""The two programs that stand in for a VLAN of the kernel's driver: one takes the tag off, one puts it on.

A frame's outermost tag is never part of its bytes at a link's ingress hook: the kernel, or the card, has put it
beside them by then, and puts it back where a card cannot.
"""

from __future__ import annotations

from runspec import abi
from runspec.plan.rtnetlink_links import PROTOCOLS
from runspec.plan.tc_bpf import R0, R1, R2, R3, R6, WORD, Assembler

TAG_MASK = 0xFFF            # of the tag: the other four bits are priority and drop eligibility


def untag(number: int, protocol: str, to: int) -> bytes:
    """At the parent's ingress: frames of this VLAN lose their tag and leave by another link; others go on.

    Args:
        number: 1..4094, the VLAN's id.
        protocol: 802.1Q or 802.1ad.
        to: index of the host's end of the pair.
    """
    out = Assembler()
    out.move(R6, R1)
    out.load(WORD, R2, R6, abi.SKB_VLAN_PRESENT)
    out.branch(abi.BPF_JEQ, R2, 0, "other")
    out.load(WORD, R2, R6, abi.SKB_VLAN_PROTO)
    out.network_order(R2, 16)
    out.branch(abi.BPF_JNE, R2, PROTOCOLS[protocol], "other")
    out.load(WORD, R2, R6, abi.SKB_VLAN_TCI)
    out.alu(abi.BPF_AND, R2, TAG_MASK)
    out.branch(abi.BPF_JNE, R2, number, "other")
    out.move(R1, R6)
    out.call(abi.BPF_FUNC_skb_vlan_pop)
    _send(out, to)
    out.label("other")
    out.leave(abi.TC_ACT_UNSPEC)
    return out.code()


def tag(number: int, protocol: str, to: int) -> bytes:
    """At the ingress of the pair's end on the host: every frame gets the tag and leaves by the parent.

    Args:
        to: the parent's index.
    """
    out = Assembler()
    out.move(R6, R1)
    out.set(R2, PROTOCOLS[protocol])
    out.network_order(R2, 16)
    out.set(R3, number)
    out.call(abi.BPF_FUNC_skb_vlan_push)
    _send(out, to)
    return out.code()


def _send(out: Assembler, to: int) -> None:
    """The packet in R6 leaves by a link, unless what was to be done before failed: then it is dropped."""
    out.branch(abi.BPF_JNE, R0, 0, "drop")
    out.set(R1, to)
    out.set(R2, 0)
    out.call(abi.BPF_FUNC_redirect)
    out.add(abi.BPF_JMP | abi.BPF_EXIT)
    out.label("drop")
    out.leave(abi.TC_ACT_SHOT)


def nothing() -> bytes:
    """A program that leaves every packet to the next filter."""
    out = Assembler()
    out.leave(abi.TC_ACT_UNSPEC)
    return out.code()
