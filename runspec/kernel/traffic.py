"""Queueing disciplines, classes and filters in rtnetlink(7)'s answers: parsers, for what is compared."""

from __future__ import annotations

from struct import Struct

from runspec import abi
from runspec.kernel.netlink import _broken, _Row, _text, attributes, messages

TYPE_CHECKING = False

_TC = Struct("=BxxxiIII")       # tcmsg: family, index, handle, parent, info
_U32 = Struct("=I")
_U64 = Struct("=Q")
_CLASS = Struct("=8xI8xIII8xI")  # tc_htb_opt: rate and ceil (each 8 bytes into its struct), buffer, cbuffer, prio
_LIMIT_AT = 24                  # of the limit in struct tc_tbf_qopt
_MIRRED_LINK = 24               # of the link in struct tc_mirred


class Qdisc(_Row):
    """A queueing discipline, tc(8); limit: of a queue in bytes, of pfifo and fq_codel in packets."""

    __slots__ = ()
    FIELDS = ("index", "handle", "parent", "kind", "limit")
    if TYPE_CHECKING:
        index: int  # type: ignore[assignment]
        handle: int
        parent: int
        kind: str
        limit: int


class Class(_Row):
    """A class of an HTB tree, tc-htb(8): rate and ceil in bytes/s, their buckets' depths in ticks of 64 ns."""

    __slots__ = ()
    FIELDS = ("index", "handle", "parent", "rate", "ceil", "buffer", "cbuffer", "prio")
    if TYPE_CHECKING:
        index: int  # type: ignore[assignment]
        handle: int
        parent: int
        rate: int
        ceil: int
        buffer: int
        cbuffer: int
        prio: int


class Filter(_Row):
    """A filter, tc(8): its place in the order ("pref"); a program's name and tag, or the link that packets are sent
    through (0: none)."""

    __slots__ = ()
    FIELDS = ("index", "parent", "order", "kind", "name", "tag", "to")
    if TYPE_CHECKING:
        index: int  # type: ignore[assignment]
        parent: int
        order: int
        kind: str
        name: str
        tag: str
        to: int


def parse_qdiscs(data: bytes) -> list[Qdisc]:
    """The queueing disciplines of an RTM_GETQDISC answer."""
    out = []
    for kind, start, end in messages(data):
        if kind != abi.RTM_NEWQDISC:
            continue
        index, handle, parent, _ = _head(data, start, end)
        has = attributes(data, start + _TC.size, end)
        word, (at, to) = _text(data, has.get(abi.TCA_KIND)), has.get(abi.TCA_OPTIONS, (0, 0))
        limit = _number(data, _U32, at, to) if word in ("bfifo", "pfifo") and to else 0
        if word == "tbf" and to:
            at, to = attributes(data, at, to).get(abi.TCA_TBF_PARMS, (0, 0))
            limit = _number(data, _U32, at + _LIMIT_AT, to)
        elif word == "fq_codel" and to:
            limit = _number(data, _U32, *attributes(data, at, to).get(abi.TCA_FQ_CODEL_LIMIT, (0, 0)))
        out.append(Qdisc((index, handle, parent, word, limit)))
    return out


def parse_classes(data: bytes) -> list[Class]:
    """The HTB classes of an RTM_GETTCLASS answer."""
    out = []
    for kind, start, end in messages(data):
        if kind != abi.RTM_NEWTCLASS:
            continue
        index, handle, parent, _ = _head(data, start, end)
        has = attributes(data, start + _TC.size, end)
        if _text(data, has.get(abi.TCA_KIND)) != "htb" or abi.TCA_OPTIONS not in has:
            continue
        parts = attributes(data, *has[abi.TCA_OPTIONS])
        at, to = parts.get(abi.TCA_HTB_PARMS, (0, 0))
        if to - at < _CLASS.size:
            raise _broken()
        rate, ceil, buffer, cbuffer, prio = _CLASS.unpack_from(data, at)
        rate, ceil = (_number(data, _U64, *parts[word]) if word in parts else value
                      for word, value in ((abi.TCA_HTB_RATE64, rate), (abi.TCA_HTB_CEIL64, ceil)))
        out.append(Class((index, handle, parent, rate, ceil, buffer, cbuffer, prio)))
    return out


def parse_filters(data: bytes) -> list[Filter]:
    """The filters of an RTM_GETTFILTER answer; of each order the kernel tells the order itself as well."""
    out = []
    for kind, start, end in messages(data):
        if kind != abi.RTM_NEWTFILTER:
            continue
        index, handle, parent, info = _head(data, start, end)
        if not handle:
            continue
        has = attributes(data, start + _TC.size, end)
        word, options = _text(data, has.get(abi.TCA_KIND)), has.get(abi.TCA_OPTIONS)
        parts = attributes(data, *options) if options and word in ("bpf", "u32") else {}
        name, tag, to = "", "", 0
        if word == "bpf":
            name = _text(data, parts.get(abi.TCA_BPF_NAME))
            tag = data[slice(*parts.get(abi.TCA_BPF_TAG, (0, 0)))].hex()
        elif abi.TCA_U32_ACT in parts:
            to = _redirected(data, *parts[abi.TCA_U32_ACT])
        out.append(Filter((index, parent, info >> 16, word, name, tag, to)))
    return out


def _head(data: bytes, start: int, end: int) -> tuple[int, int, int, int]:
    """(index, handle, parent, info) of a message.

    Raises:
        HostError: it is cut short.
    """
    if end - start < _TC.size:
        raise _broken()
    _, index, handle, parent, info = _TC.unpack_from(data, start)
    return index, handle, parent, info


def _number(data: bytes, form: Struct, at: int, to: int) -> int:
    """The number at a place that must hold it."""
    if to - at < form.size:
        raise _broken()
    value: int = form.unpack_from(data, at)[0]
    return value


def _redirected(data: bytes, start: int, end: int) -> int:
    """The link that the first action sends packets through, 0 where it does another thing."""
    first = attributes(data, start, end).get(1)
    action = attributes(data, *first) if first else {}
    if _text(data, action.get(abi.TCA_ACT_KIND)) != "mirred" or abi.TCA_ACT_OPTIONS not in action:
        return 0
    at, to = attributes(data, *action[abi.TCA_ACT_OPTIONS]).get(abi.TCA_MIRRED_PARMS, (0, 0))
    way, link = (_number(data, _U32, at + place, to) for place in (_MIRRED_LINK - _U32.size, _MIRRED_LINK))
    return link if way == abi.TCA_EGRESS_REDIR else 0
