"""What rtnetlink(7) tells of bridges and their ports: parsers from bytes to small values."""

from __future__ import annotations

from struct import Struct

from runspec import abi
from runspec.kernel.netlink import attributes, messages

_LINK = Struct("=BxHiII")
_ATTR = Struct("=HH")
_VLAN = Struct("=HH")
_NUMBER = Struct("=H")


def parse_ports(data: bytes, word: int = abi.IFLA_BRPORT_ISOLATED) -> dict[int, bool]:
    """Index -> whether it is isolated, of every port of a bridge in an RTM_GETLINK answer.

    Args:
        word: another of its flags, IFLA_BRPORT_MODE: hairpin.
    """
    out = {}
    for index, info in _infos(data):
        kind, port = info.get(abi.IFLA_INFO_SLAVE_KIND), info.get(abi.IFLA_INFO_SLAVE_DATA)
        if kind is None or port is None or data[kind[0]:kind[1]].rstrip(b"\0") != b"bridge":
            continue
        flag = attributes(data, *port).get(word)
        out[index] = bool(flag and any(data[flag[0]:flag[1]]))
    return out


def parse_numbers(data: bytes) -> dict[int, int]:
    """Index -> number of every port of a bridge in an RTM_GETLINK answer: no two ports of one bridge have the same."""
    found = ((index, _number(data, info)) for index, info in _infos(data))
    return {index: number for index, number in found if number is not None}


def parse_number(data: bytes, start: int) -> int | None:
    """The same of one link, whose attributes begin at `start`; None where it is no port."""
    info = attributes(data, start, len(data)).get(abi.IFLA_LINKINFO)
    return _number(data, attributes(data, *info)) if info is not None else None


def _number(data: bytes, info: dict[int, tuple[int, int]]) -> int | None:
    kind, port = info.get(abi.IFLA_INFO_SLAVE_KIND), info.get(abi.IFLA_INFO_SLAVE_DATA)
    if kind is None or port is None or data[kind[0]:kind[1]].rstrip(b"\0") != b"bridge":
        return None
    at, end = attributes(data, *port).get(abi.IFLA_BRPORT_NO, (0, 0))
    return int(_NUMBER.unpack_from(data, at)[0]) if end - at == _NUMBER.size else None


def parse_filtering(data: bytes) -> set[int]:
    """The indexes of bridges that heed VLAN tags, in an RTM_GETLINK answer."""
    out = set()
    for index, info in _infos(data):
        kind, bridge = info.get(abi.IFLA_INFO_KIND), info.get(abi.IFLA_INFO_DATA)
        if kind is None or bridge is None or data[kind[0]:kind[1]].rstrip(b"\0") != b"bridge":
            continue
        flag = attributes(data, *bridge).get(abi.IFLA_BR_VLAN_FILTERING)
        if flag and any(data[flag[0]:flag[1]]):
            out.add(index)
    return out


def _infos(data: bytes) -> list[tuple[int, dict[int, tuple[int, int]]]]:
    """(index, attributes of its IFLA_LINKINFO) of each link that has one."""
    out = []
    for kind, start, end in messages(data):
        if kind != abi.RTM_NEWLINK or end - start < 16:
            continue
        info = attributes(data, start + 16, end).get(abi.IFLA_LINKINFO)
        if info is not None:
            out.append((_LINK.unpack_from(data, start)[2], attributes(data, *info)))
    return out


def parse_vlans(data: bytes) -> dict[int, dict[int, int]]:
    """Index -> VLAN id -> its BRIDGE_VLAN_INFO flags, of every port in an AF_BRIDGE RTM_GETLINK answer."""
    out: dict[int, dict[int, int]] = {}
    for kind, start, end in messages(data):
        if kind != abi.RTM_NEWLINK or end - start < 16:
            continue
        family, _, index, _, _ = _LINK.unpack_from(data, start)
        spec = attributes(data, start + 16, end).get(abi.IFLA_AF_SPEC)
        if family != abi.AF_BRIDGE or spec is None:
            continue
        found = out.setdefault(index, {})
        at, stop = spec
        # The same attribute once for each VLAN: no map holds them.
        while stop - at >= 4:
            length, word = _ATTR.unpack_from(data, at)
            if length < 4:
                break
            if word & 0x3FFF == abi.IFLA_BRIDGE_VLAN_INFO and length >= 8:
                flags, vlan = _VLAN.unpack_from(data, at + 4)
                found[vlan] = flags
            at += length + 3 & ~3
    return out
