"""Neighbours, routes and links of the host that serve links of containers, as rtnetlink(7) messages.

See: ip-neighbour(8), ip-route(8), bridge(8) "fdb".
"""

from __future__ import annotations

import struct

from runspec import abi
from runspec.plan.rtnetlink import (
    _DUMP,
    _NEW,
    _SET,
    OURS,
    _head,
    _message,
    _name,
    _parts,
    _u32,
    attribute,
    parse_address,
    parse_mac,
)

_NEIGHBOUR = struct.Struct("=BxHiHBB")      # ndmsg: family, padding, index, state, flags, type
_ROUTE = struct.Struct("=BBBBBBBBI")
_LINK = struct.Struct("=BxHiII")
_PUT = _SET | abi.NLM_F_CREATE | abi.NLM_F_REPLACE


# Neighbours: who has an address is written down, so that nobody needs to ask

def put_neighbour(index: int, address: str, mac: str) -> bytes:
    """A neighbour that stays, new or in the place of what is known; it bears our protocol number."""
    family, raw = parse_address(address)
    body = _NEIGHBOUR.pack(family, 0, index, abi.NUD_PERMANENT, 0, 0)
    return _message(abi.RTM_NEWNEIGH, _PUT, body + attribute(abi.NDA_DST, raw) + attribute(
        abi.NDA_LLADDR, parse_mac(mac)) + attribute(abi.NDA_PROTOCOL, bytes((OURS,))))


def delete_neighbour(index: int, address: str) -> bytes:
    """Forget a neighbour."""
    family, raw = parse_address(address)
    return _message(abi.RTM_DELNEIGH, _SET, _NEIGHBOUR.pack(family, 0, index, 0, 0, 0) + attribute(abi.NDA_DST, raw))


def dump_neighbours() -> bytes:
    """Ask for all neighbours, of IPv4 and of IPv6."""
    return _message(abi.RTM_GETNEIGH, _DUMP, _NEIGHBOUR.pack(0, 0, 0, 0, 0, 0))


def dump_nexthops() -> bytes:
    """Ask for all nexthop objects, ip-nexthop(8)."""
    return _message(abi.RTM_GETNEXTHOP, _DUMP, bytes(8))


def hear(index: int, mac: str) -> bytes:
    """A link takes frames for this address too, beside its own; EEXIST where it does already."""
    return _message(abi.RTM_NEWNEIGH, _NEW, _heard(index, mac))


def hear_no_more(index: int, mac: str) -> bytes:
    """It does not any more."""
    return _message(abi.RTM_DELNEIGH, _SET, _heard(index, mac))


def _heard(index: int, mac: str) -> bytes:
    return _NEIGHBOUR.pack(abi.AF_BRIDGE, 0, index, abi.NUD_PERMANENT, abi.NTF_SELF, 0) + attribute(
        abi.NDA_LLADDR, parse_mac(mac))


def dump_heard() -> bytes:
    """Ask for what every link takes beside its own address."""
    return _message(abi.RTM_GETNEIGH, _DUMP, _LINK.pack(abi.AF_BRIDGE, 0, 0, 0, 0))


# Routes

def put_host_route(to: str, index: int, source: str | None) -> bytes:
    """A route of ours to one address through a link, new or in the place of another to the same.

    Args:
        source: of the host's packets that go there and have none yet; None: as the kernel finds one.
    """
    family, raw = parse_address(to)
    body = attribute(abi.RTA_DST, raw) + _u32(abi.RTA_OIF, index, "interface index")
    if source is not None:
        body += attribute(abi.RTA_PREFSRC, parse_address(source)[1])
    scope = abi.RT_SCOPE_LINK if family == abi.AF_INET else abi.RT_SCOPE_UNIVERSE
    head = _ROUTE.pack(family, len(raw) * 8, 0, 0, abi.RT_TABLE_MAIN, OURS, scope, abi.RTN_UNICAST, 0)
    return _message(abi.RTM_NEWROUTE, _PUT, head + body)


def delete_host_route(to: str, index: int) -> bytes:
    """Remove it."""
    family, raw = parse_address(to)
    head = _ROUTE.pack(family, len(raw) * 8, 0, 0, abi.RT_TABLE_MAIN, OURS, abi.RT_SCOPE_NOWHERE, 0, 0)
    return _message(abi.RTM_DELROUTE, _SET, head + attribute(abi.RTA_DST, raw)
                    + _u32(abi.RTA_OIF, index, "interface index"))


# Links

def silent_link(kind: str, parent: int, name: str, index: int, mac: str | None, info: bytes) -> bytes:
    """A macvlan or ipvlan of the host that neither asks nor answers who has an address, and makes none for itself.

    Args:
        parent: the index of the link that carries it.
        info: its IFLA_INFO_DATA.
    """
    body = _LINK.pack(0, 0, index, abi.IFF_NOARP, abi.IFF_NOARP) + _name(abi.IFLA_IFNAME, name)
    body += _parts(mac, None, None) + _u32(abi.IFLA_LINK, parent, "parent index")
    body += attribute(abi.IFLA_LINKINFO, attribute(abi.IFLA_INFO_KIND, kind.encode() + b"\0")
                      + attribute(abi.IFLA_INFO_DATA, info))
    return _message(abi.RTM_NEWLINK, _NEW, body)


def no_own_address(index: int) -> bytes:
    """A link gets no link-local address of IPv6 by itself; while it is down."""
    mode = attribute(abi.IFLA_INET6_ADDR_GEN_MODE, bytes((abi.IN6_ADDR_GEN_MODE_NONE,)))
    return _message(abi.RTM_NEWLINK, _SET, _head(index, None) + attribute(
        abi.IFLA_AF_SPEC, attribute(abi.AF_INET6, mode)))


def take_multicast(index: int, all_of_it: bool) -> bytes:
    """A link takes the frames of all groups, or only of those that the host joined."""
    flags = abi.IFF_ALLMULTI if all_of_it else 0
    return _message(abi.RTM_NEWLINK, _SET, _LINK.pack(0, 0, index, flags, abi.IFF_ALLMULTI))
