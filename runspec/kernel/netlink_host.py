"""What rtnetlink(7) answers about neighbours, sources of routes and flags of links, for those who ask for them."""

from __future__ import annotations

import struct

from runspec import abi
from runspec.kernel.netlink import _broken, _int, _ip, _Row, attributes, messages

TYPE_CHECKING = False

_NEIGHBOUR = struct.Struct("=BxHiHBB")
_LINK = struct.Struct("=BxHiII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEXTHOP = 8                            # bytes of a nhmsg


class Neighbour(_Row):
    """Who has an address, ip-neighbour(8); with address "", one that a link hears beside its own, bridge(8)."""

    __slots__ = ()
    FIELDS = ("index", "address", "mac", "state", "protocol")
    if TYPE_CHECKING:
        index: int  # type: ignore[assignment]
        address: str
        mac: str
        state: int
        protocol: int


def parse_neighbours(data: bytes) -> list[Neighbour]:
    """The neighbours of an RTM_GETNEIGH answer."""
    out = []
    for kind, start, end in messages(data):
        if kind != abi.RTM_NEWNEIGH:
            continue
        if end - start < _NEIGHBOUR.size:
            raise _broken()
        family, _, index, state, _, _ = _NEIGHBOUR.unpack_from(data, start)
        has = attributes(data, start + _NEIGHBOUR.size, end).get
        to, mac, protocol = has(abi.NDA_DST), has(abi.NDA_LLADDR), has(abi.NDA_PROTOCOL)
        address = _ip(family, data[to[0]:to[1]]) if to and family in (abi.AF_INET, abi.AF_INET6) else ""
        out.append(Neighbour((index, address, data[mac[0]:mac[1]].hex(":") if mac else "", state,
                              data[protocol[0]] if protocol else 0)))
    return out


def parse_nexthops(data: bytes) -> list[int]:
    """The links, by index, of an RTM_GETNEXTHOP answer's objects that lead through one."""
    out = []
    for kind, start, end in messages(data):
        if kind != abi.RTM_NEWNEXTHOP:
            continue
        if end - start < _NEXTHOP:
            raise _broken()
        if index := _int(data, attributes(data, start + _NEXTHOP, end).get(abi.NHA_OIF)):
            out.append(index)
    return out


class Way(_Row):
    """A route and the source that the host's own packets take it with, "" for none of its own."""

    __slots__ = ()
    FIELDS = ("to", "oif", "protocol", "source")
    if TYPE_CHECKING:
        to: str
        oif: int
        protocol: int
        source: str


def parse_ways(data: bytes) -> list[Way]:
    """The routes of an RTM_GETROUTE answer that lead through one link."""
    out = []
    for kind, start, end in messages(data):
        if kind != abi.RTM_NEWROUTE:
            continue
        if end - start < _ROUTE.size:
            raise _broken()
        family, bits, _, _, _, protocol, _, _, _ = _ROUTE.unpack_from(data, start)
        if family not in (abi.AF_INET, abi.AF_INET6):
            continue
        has = attributes(data, start + _ROUTE.size, end).get
        to, source, oif = has(abi.RTA_DST), has(abi.RTA_PREFSRC), _int(data, has(abi.RTA_OIF))
        if oif:
            out.append(Way((f"{_ip(family, data[to[0]:to[1]])}/{bits}" if to else "default", oif, protocol,
                            _ip(family, data[source[0]:source[1]]) if source else "")))
    return out


def parse_flags(data: bytes) -> list[tuple[int, int]]:
    """(index, IFF_*) of each link of an RTM_GETLINK answer."""
    out = []
    for kind, start, end in messages(data):
        if kind == abi.RTM_NEWLINK:
            if end - start < _LINK.size:
                raise _broken()
            _, _, index, flags, _ = _LINK.unpack_from(data, start)
            out.append((index, flags))
    return out
