"""Ports of bridges and their VLANs as rtnetlink(7) messages; rtnetlink.py has the links themselves."""

from __future__ import annotations

from struct import Struct

from runspec import abi
from runspec.plan.rtnetlink import attribute

_HEAD = Struct("=IHHII")
_LINK = Struct("=BxHiII")
_VLAN = Struct("=HH")
_SET = abi.NLM_F_REQUEST | abi.NLM_F_ACK
VLAN_MAX = 4094


def _message(kind: int, flags: int, index: int, body: bytes, family: int = 0) -> bytes:
    return _HEAD.pack(32 + len(body), kind, flags, 1, 0) + _LINK.pack(family, 0, index, 0, 0) + body


def _which(link: int | str) -> tuple[int, bytes]:
    return (0, attribute(abi.IFLA_IFNAME, link.encode() + b"\0")) if isinstance(link, str) else (link, b"")


def set_port(link: int | str, isolated: bool) -> bytes:
    """Whether a port of a bridge is kept from seeing other such ports.

    See: bridge(8), "isolated".
    """
    return _port(link, abi.IFLA_BRPORT_ISOLATED, isolated)


def set_hairpin(link: int | str, hairpin: bool) -> bytes:
    """Whether a port of a bridge sends back what came in by it.

    See: bridge(8), "hairpin".
    """
    return _port(link, abi.IFLA_BRPORT_MODE, hairpin)


def _port(link: int | str, word: int, value: bool) -> bytes:
    index, name = _which(link)
    info = attribute(abi.IFLA_INFO_SLAVE_KIND, b"bridge\0") + attribute(
        abi.IFLA_INFO_SLAVE_DATA, attribute(word, bytes((value,))))
    return _message(abi.RTM_NEWLINK, _SET, index, name + attribute(abi.IFLA_LINKINFO, info))


def set_filtering(bridge: str, filtering: bool) -> bytes:
    """Whether a bridge heeds VLAN tags.

    See: ip-link(8), "vlan_filtering".
    """
    _, name = _which(bridge)
    info = attribute(abi.IFLA_INFO_KIND, b"bridge\0") + attribute(
        abi.IFLA_INFO_DATA, attribute(abi.IFLA_BR_VLAN_FILTERING, bytes((filtering,))))
    return _message(abi.RTM_NEWLINK, _SET, 0, name + attribute(abi.IFLA_LINKINFO, info))


def _vlan(kind: int, index: int, vlan: int, flags: int) -> bytes:
    inner = attribute(abi.IFLA_BRIDGE_VLAN_INFO, _VLAN.pack(flags, vlan))
    return _message(kind, _SET, index, attribute(abi.IFLA_AF_SPEC, inner), abi.AF_BRIDGE)


def add_vlan(index: int, vlan: int, flags: int = abi.BRIDGE_VLAN_INFO_PVID | abi.BRIDGE_VLAN_INFO_UNTAGGED) -> bytes:
    """A port carries this VLAN: what comes in untagged belongs to it, and it leaves untagged.

    Args:
        flags: BRIDGE_VLAN_INFO_PVID for the one, BRIDGE_VLAN_INFO_UNTAGGED for the other.

    See: bridge(8), "bridge vlan", pvid and untagged.
    """
    return _vlan(abi.RTM_SETLINK, index, vlan, flags)


def delete_vlan(index: int, vlan: int) -> bytes:
    """A port carries this VLAN no more."""
    return _vlan(abi.RTM_DELLINK, index, vlan, 0)


def own_vlan(index: int, vlan: int, others: tuple[int, ...] = (1,)) -> bytes:
    """A port carries this VLAN alone: messages for one send.

    Args:
        others: those that it carries; a new port the bridge's first one.
    """
    return add_vlan(index, vlan) + b"".join(delete_vlan(index, other) for other in others if other != vlan)


def dump_vlans() -> bytes:
    """Ask for all ports of bridges with their VLANs."""
    mask = attribute(abi.IFLA_EXT_MASK, abi.RTEXT_FILTER_BRVLAN.to_bytes(4, "little"))
    return _message(abi.RTM_GETLINK, abi.NLM_F_REQUEST | abi.NLM_F_DUMP, 0, mask, abi.AF_BRIDGE)
