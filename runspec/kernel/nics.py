"""Portraits of links: all of what a link is and has that a stay in another network namespace would change."""

from __future__ import annotations

import struct

from runspec import abi
from runspec.kernel.netlink import _ADDR, _LINK, _ROUTE, _broken, _int, _text, attributes, messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

_TC = struct.Struct("=BxxxiIII")        # tcmsg: family, interface index, handle, parent, info
_NEIGH = struct.Struct("=BxxxiHBB")     # ndmsg: family, interface index, state, flags, type
_HOP = struct.Struct("=HBBi")           # rtnexthop: length, flags, hops, interface index


def _bodies(answers: Iterable[bytes], wanted: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    for data in answers:
        for kind, start, end in messages(data):
            if kind != wanted:
                continue
            if end - start < size:
                raise _broken()
            yield data, start, end


def _spans(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type, start, end) of attributes of which several may have one type."""
    while end - at >= 4:
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > end:
            raise _broken()
        yield kind & 0x3FFF, at + 4, at + length
        at += length + 3 & ~3


def portraits(links: Iterable[bytes], addresses: Iterable[bytes] = (), routes: Iterable[bytes] = (),
              qdiscs: Iterable[bytes] = (), neighbours: Iterable[bytes] = (), *,
              foreign: bool = False) -> list[dict[str, Any]]:
    """One portrait for each link, plain JSON, from the datagrams of a dump of each kind.

    Its `addresses`, `routes`, `qdiscs` and `neighbours` are payloads as the kernel gave them, hexadecimal: it takes
    them back in that form. Routes are those that go through the link, or from one of its addresses.

    Args:
        foreign: `lower` is what a link stands on in another namespace, else in this one.
    """
    out: dict[int, dict[str, Any]] = {}
    for data, start, end in _bodies(links, abi.RTM_NEWLINK, 16):
        one = _link(data, start, end, foreign)
        out[one["index"]] = one
    names = {one["index"]: one["name"] for one in out.values()}
    for one in out.values():
        one["master"] = names.get(one["master"], "")
        if not foreign and one["lower"] in out and one["lower"] != one["index"]:
            out[one["lower"]]["upper"].append(one["name"])
    own: dict[bytes, int] = {}
    for data, start, end in _bodies(addresses, abi.RTM_NEWADDR, 8):
        index = _ADDR.unpack_from(data, start)[4]
        if index in out:
            out[index]["addresses"].append(data[start:end].hex())
            has = attributes(data, start + 8, end).get
            span = has(abi.IFA_LOCAL) or has(abi.IFA_ADDRESS)
            if span:
                own[data[span[0]:span[1]]] = index
    for data, start, end in _bodies(routes, abi.RTM_NEWROUTE, 12):
        if _ROUTE.unpack_from(data, start)[8] & abi.RTM_F_CLONED:
            continue
        for index in _ways(data, start, end, own):
            if index in out:
                out[index]["routes"].append(data[start:end].hex())
    for data, start, end in _bodies(qdiscs, abi.RTM_NEWQDISC, 20):
        index = _TC.unpack_from(data, start)[1]
        if index in out:
            out[index]["qdiscs"].append(data[start:end].hex())
    for data, start, end in _bodies(neighbours, abi.RTM_NEWNEIGH, 12):
        _, index, state, flags, _ = _NEIGH.unpack_from(data, start)
        if index in out and (state & abi.NUD_PERMANENT and not flags & abi.NTF_PROXY):
            out[index]["neighbours"].append(data[start:end].hex())
    return list(out.values())


def _link(data: bytes, start: int, end: int, foreign: bool) -> dict[str, Any]:
    _, kind, index, flags, _ = _LINK.unpack_from(data, start)
    has = attributes(data, start + 16, end).get

    def mac(number: int) -> str:
        span = has(number)
        return data[span[0]:span[1]].hex(":") if span else ""

    info, props, spec, mode = (has(number) for number in (abi.IFLA_LINKINFO, abi.IFLA_PROP_LIST, abi.IFLA_AF_SPEC,
                                                          abi.IFLA_LINKMODE))
    six = attributes(data, *spec).get(abi.AF_INET6) if spec else None
    inet6 = attributes(data, *six) if six else {}
    token, generated = inet6.get(abi.IFLA_INET6_TOKEN), inet6.get(abi.IFLA_INET6_ADDR_GEN_MODE)
    return {
        "index": index, "name": _text(data, has(abi.IFLA_IFNAME)), "layer": kind,
        "kind": _text(data, attributes(data, *info).get(abi.IFLA_INFO_KIND)) if info else "",
        "mac": mac(abi.IFLA_ADDRESS), "broadcast": mac(abi.IFLA_BROADCAST), "perm": mac(abi.IFLA_PERM_ADDRESS),
        "bus": _text(data, has(abi.IFLA_PARENT_DEV_BUS_NAME)), "device": _text(data, has(abi.IFLA_PARENT_DEV_NAME)),
        "port": _text(data, has(abi.IFLA_PHYS_PORT_NAME)), "pci": "", "mtu": _int(data, has(abi.IFLA_MTU)),
        "txqlen": _int(data, has(abi.IFLA_TXQLEN)), "group": _int(data, has(abi.IFLA_GROUP)),
        "linkmode": data[mode[0]] if mode else 0, "alias": _text(data, has(abi.IFLA_IFALIAS)),
        "altnames": sorted(_text(data, (at, to)) for number, at, to in _spans(data, *props)
                           if number == abi.IFLA_ALT_IFNAME) if props else [],
        "flags": flags, "master": _int(data, has(abi.IFLA_MASTER)),
        "lower": _int(data, has(abi.IFLA_LINK)) if foreign == (has(abi.IFLA_LINK_NETNSID) is not None) else 0,
        "token": data[token[0]:token[1]].hex() if token else "",
        "generated": data[generated[0]] if generated else -1,
        "upper": [], "addresses": [], "routes": [], "qdiscs": [], "neighbours": [], "settings": {}}


def _ways(data: bytes, start: int, end: int, own: dict[bytes, int]) -> set[int]:
    """The links that a route cannot do without."""
    found = set()
    for kind, at, to in _spans(data, start + 12, end):
        if kind == abi.RTA_OIF:
            found.add(_int(data, (at, to)))
        elif kind == abi.RTA_PREFSRC:
            found.add(own.get(data[at:to], 0))
        elif kind == abi.RTA_MULTIPATH:
            while to - at >= _HOP.size:
                length, _, _, index = _HOP.unpack_from(data, at)
                if length < _HOP.size or at + length > to:
                    raise _broken()
                found.add(index)
                at += length + 3 & ~3
    return found
