"""What rtnetlink(7) answers: parsers from bytes to small tuples, for what runspec compares and no more."""

from __future__ import annotations

import struct
from _operator import itemgetter
from _socket import inet_ntop

from runspec import abi
from runspec.errors import HostError, meaning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_HEAD = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDR = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_U16 = struct.Struct("=H")
_BE16 = struct.Struct("!H")
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")

_TYPE_MASK = 0x3FFF         # the two bits above are NLA_F_NESTED and NLA_F_NET_BYTEORDER


class _Row(tuple):  # type: ignore[type-arg]
    """A tuple with names: collections.namedtuple costs an import and an eval per class."""

    __slots__ = ()
    FIELDS: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        for at, name in enumerate(cls.FIELDS):
            setattr(cls, name, property(itemgetter(at)))

    def __repr__(self) -> str:
        named = ", ".join(f"{name}={value!r}" for name, value in zip(self.FIELDS, self, strict=True))
        return f"{type(self).__name__}({named})"


class Link(_Row):
    """A link, ip-link(8).

    `peer` is the index in IFLA_LINK (a veth's other end, a vlan's parent), 0 for none; `netnsid` names
    the namespace that index lives in, -1 for this one; `master` is 0 for none. `mode` is the number of a macvlan's or
    an ipvlan's, -1 for none; `vlan` is the tag and its EtherType, zeros for none.
    """

    __slots__ = ()
    FIELDS = ("index", "name", "kind", "mac", "mtu", "up", "master", "alias", "netnsid", "peer", "mode", "vlan")
    if TYPE_CHECKING:
        index: int  # type: ignore[assignment]
        name: str
        kind: str
        mac: str
        mtu: int
        up: bool
        master: int
        alias: str
        netnsid: int
        peer: int
        mode: int
        vlan: tuple[int, int]


class Address(_Row):
    """An address of a link, ip-address(8); cidr as the kernel prints it."""

    __slots__ = ()
    FIELDS = ("index", "cidr", "scope", "flags", "broadcast")
    if TYPE_CHECKING:
        index: int  # type: ignore[assignment]
        cidr: str
        scope: int
        flags: int
        broadcast: str


class Route(_Row):
    """A route, ip-route(8); `to` is "default" or CIDR, `via` "" and `oif`, `metric` 0 for none."""

    __slots__ = ()
    FIELDS = ("family", "to", "via", "oif", "metric", "table", "protocol", "scope", "type")
    if TYPE_CHECKING:
        family: int
        to: str
        via: str
        oif: int
        metric: int
        table: int
        protocol: int
        scope: int
        type: int


def _broken() -> HostError:
    return HostError("a netlink answer is cut short", "its lengths do not agree, netlink(7)", "try again")


def messages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(type, start, end) of the payload of each message in one or more datagrams put together.

    Raises:
        HostError: a length leads outside; or the kernel's answer is an error (its errno in the text).
    """
    at, end = 0, len(data)
    while at < end:
        if end - at < 16:
            raise _broken()
        length, kind, _, _, _ = _HEAD.unpack_from(data, at)
        if length < 16 or at + length > end:
            raise _broken()
        if kind == abi.NLMSG_ERROR and length >= 20:
            error = -_I32.unpack_from(data, at + 16)[0]
            if error:
                import os
                raise HostError(f"the kernel refuses a netlink request: {os.strerror(error)}", *meaning(error))
        elif kind != abi.NLMSG_DONE:
            yield kind, at + 16, at + length
        at += length + 3 & ~3


def attributes(data: bytes, at: int, end: int) -> dict[int, tuple[int, int]]:
    """Attribute type -> (start, end) of its payload."""
    found = {}
    unpack = _ATTR.unpack_from
    while end - at >= 4:
        length, kind = unpack(data, at)
        if length < 4 or at + length > end:
            raise _broken()
        found[kind & _TYPE_MASK] = at + 4, at + length
        at += length + 3 & ~3
    return found


def _text(data: bytes, span: tuple[int, int] | None) -> str:
    return data[span[0]:span[1]].rstrip(b"\0").decode("utf-8", "replace") if span else ""


def _int(data: bytes, span: tuple[int, int] | None, missing: int = 0) -> int:
    if span is None:
        return missing
    if span[1] - span[0] < 4:
        raise _broken()
    value: int = _I32.unpack_from(data, span[0])[0] if missing < 0 else _U32.unpack_from(data, span[0])[0]
    return value


def _ip(family: int, raw: bytes) -> str:
    if len(raw) != (4 if family == abi.AF_INET else 16):
        raise _broken()
    return inet_ntop(family, raw)


def parse_links(data: bytes) -> list[Link]:
    """The links of an RTM_GETLINK answer, dump or single."""
    out = []
    for kind, start, end in messages(data):
        if kind != abi.RTM_NEWLINK:
            continue
        if end - start < 16:
            raise _broken()
        _, _, index, flags, _ = _LINK.unpack_from(data, start)
        has = attributes(data, start + 16, end).get
        info, mac = has(abi.IFLA_LINKINFO), has(abi.IFLA_ADDRESS)
        about = attributes(data, *info) if info else {}
        name, more, own = _text(data, about.get(abi.IFLA_INFO_KIND)), about.get(abi.IFLA_INFO_DATA), _NOTHING
        if more and name in ("vlan", "macvlan", "ipvlan"):
            own = _own(data, name, attributes(data, *more))
        out.append(Link((
            index, _text(data, has(abi.IFLA_IFNAME)), name,
            data[mac[0]:mac[1]].hex(":") if mac else "", _int(data, has(abi.IFLA_MTU)),
            bool(flags & abi.IFF_UP), _int(data, has(abi.IFLA_MASTER)), _text(data, has(abi.IFLA_IFALIAS)),
            _int(data, has(abi.IFLA_LINK_NETNSID), -1), _int(data, has(abi.IFLA_LINK)), *own)))
    return out


_NOTHING = -1, (0, 0)


def _own(data: bytes, kind: str, about: dict[int, tuple[int, int]]) -> tuple[int, tuple[int, int]]:
    """The mode, and the tag with its EtherType, that IFLA_INFO_DATA of a link on a parent tells."""
    if kind == "vlan":
        return -1, (_short(data, about.get(abi.IFLA_VLAN_ID)), _short(data, about.get(abi.IFLA_VLAN_PROTOCOL), _BE16))
    if kind == "macvlan":
        return _int(data, about.get(abi.IFLA_MACVLAN_MODE)), (0, 0)
    return _short(data, about.get(abi.IFLA_IPVLAN_MODE)), (0, 0)


def _short(data: bytes, span: tuple[int, int] | None, form: struct.Struct = _U16) -> int:
    if span is None:
        return 0
    if span[1] - span[0] < 2:
        raise _broken()
    value: int = form.unpack_from(data, span[0])[0]
    return value


def parse_addresses(data: bytes) -> list[Address]:
    """The addresses of an RTM_GETADDR answer."""
    out = []
    for kind, start, end in messages(data):
        if kind != abi.RTM_NEWADDR:
            continue
        if end - start < 8:
            raise _broken()
        family, bits, flags, scope, index = _ADDR.unpack_from(data, start)
        if family not in (abi.AF_INET, abi.AF_INET6):
            continue
        has = attributes(data, start + 8, end).get
        # On a point-to-point link IFA_ADDRESS is the other side; ours is IFA_LOCAL where there is one.
        own, cast = has(abi.IFA_LOCAL) or has(abi.IFA_ADDRESS), has(abi.IFA_BROADCAST)
        if own is None:
            continue
        out.append(Address((
            index, f"{_ip(family, data[own[0]:own[1]])}/{bits}", scope, _int(data, has(abi.IFA_FLAGS), flags),
            _ip(family, data[cast[0]:cast[1]]) if cast else "")))
    return out


def link_facts(links: list[Link], addresses: list[Address], which: int | str) -> dict[str, Any] | None:
    """Of one link, by name or index, what a move to another namespace must heed, as JSON; None where it is not there.

    Its addresses are those that somebody set for the world: permanent, of universal scope.
    """
    one = next((link for link in links if which in (link.index, link.name)), None)
    if one is None:
        return None
    names = {link.index: link.name for link in links}
    return {"index": one.index, "name": one.name, "up": one.up, "alias": one.alias,
            "mac": one.mac, "mtu": one.mtu, "master": names.get(one.master, ""),
            "addresses": [[a.cidr, bool(a.broadcast)] for a in addresses if a.index == one.index
                          and a.flags & abi.IFA_F_PERMANENT and a.scope == abi.RT_SCOPE_UNIVERSE]}


def parse_routes(data: bytes, ordinary: bool = False) -> list[Route]:
    """The routes of an RTM_GETROUTE answer; those with several next hops show none.

    Args:
        ordinary: unicast ones alone; two thirds of a namespace's are of the kernel's own local table.
    """
    out = []
    for kind, start, end in messages(data):
        if kind != abi.RTM_NEWROUTE:
            continue
        if end - start < 12:
            raise _broken()
        family, bits, _, _, table, protocol, scope, shape, flags = _ROUTE.unpack_from(data, start)
        if family not in (abi.AF_INET, abi.AF_INET6) or flags & abi.RTM_F_CLONED or (
                ordinary and shape != abi.RTN_UNICAST):
            continue
        has = attributes(data, start + 12, end).get
        to, gateway, via = has(abi.RTA_DST), has(abi.RTA_GATEWAY), has(abi.RTA_VIA)
        hop = ""
        if gateway:
            hop = _ip(family, data[gateway[0]:gateway[1]])
        elif via:
            hop = _ip(_U16.unpack_from(data, via[0])[0], data[via[0] + 2:via[1]])
        out.append(Route((
            family, f"{_ip(family, data[to[0]:to[1]])}/{bits}" if to else "default", hop,
            _int(data, has(abi.RTA_OIF)), _int(data, has(abi.RTA_PRIORITY)),
            _int(data, has(abi.RTA_TABLE), table), protocol, scope, shape)))
    return out


def parse_ack(data: bytes) -> int:
    """The errno of an acknowledgement, 0 for success.

    Raises:
        HostError: there is none in these bytes.
    """
    at = 0
    while at + 20 <= len(data):
        length, kind, _, _, _ = _HEAD.unpack_from(data, at)
        if length < 16:
            break
        if kind == abi.NLMSG_ERROR:
            return -int(_I32.unpack_from(data, at + 16)[0])
        at += length + 3 & ~3
    raise _broken()
