"""Links that are lent: who is who, and the messages that make one what its portrait shows.

A portrait is what kernel/nics.py gives: what a link was before it went, kept as the kernel's own words.

See: rtnetlink(7), network_namespaces(7); the kernel's net/core/dev.c, __dev_change_net_namespace().
"""

from __future__ import annotations

import struct

from runspec import abi
from runspec.plan.rtnetlink import _head, _message, _name, _parts, _u32, attribute, parse_mac

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Portrait = dict[str, Any]

_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")
_HOP = struct.Struct("=HBBi")
_CACHE = struct.Struct("=IIII")         # ifa_cacheinfo: preferred, valid, created, changed
_SET = abi.NLM_F_REQUEST | abi.NLM_F_ACK
_PUT = _SET | abi.NLM_F_CREATE | abi.NLM_F_REPLACE
_NESTED = 0x8000                        # NLA_F_NESTED
_FOREVER = 0xFFFFFFFF
_RA = 2                                 # IFAPROT_KERNEL_RA
TICKS = 100                             # USER_HZ
# Flags that somebody sets; the others tell what the link does.
FLAGS = (abi.IFF_UP | abi.IFF_NOARP | abi.IFF_PROMISC | abi.IFF_ALLMULTI | abi.IFF_MULTICAST | abi.IFF_DEBUG
         | abi.IFF_DYNAMIC)
# What can be put back as it was read; of others the kernel shows something else than it takes, or they hold
# classes and filters of their own.
QDISCS = frozenset(("bfifo", "codel", "fq", "fq_codel", "fq_pie", "mq", "noqueue", "pfifo", "pfifo_fast", "pie", "sfq",
                    "tbf"))
# These are not at the root, and hold filters only.
HOOKS = ("clsact", "ingress")
# Kinds of links that stand on another one.
STACKED = frozenset(("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"))


def physical(one: Portrait) -> bool:
    """Whether the kernel brings it back from a namespace that ends: hardware, not a link that somebody made."""
    return one["kind"] in ("", "can") and bool(one["device"]) and not one["flags"] & abi.IFF_LOOPBACK


def key(one: Portrait) -> str:
    """What names it for good: its device and permanent address; a virtual link has only its name."""
    if not physical(one):
        return f"link {one['name']}"
    return " ".join(word for word in (one["bus"], one["device"], one["perm"], one["port"]) if word)


def _attributes(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while len(data) - at >= 4:
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            raise ValueError("an attribute is cut short")
        yield kind, data[at + 4:at + length]
        at += length + 3 & ~3


# -- rows of tables: addresses, routes, qdiscs, neighbours -----------------------------------------------

def address(raw: str, index: int, elapsed: int = 0, *, plain: bool = False) -> bytes | None:
    """An address as the kernel takes it; None for what it makes anew itself or what has run out meanwhile.

    Args:
        raw: its payload in a dump, hexadecimal.
        index: of its link now.
        elapsed: seconds since it was read.
        plain: for comparing: without what runs or is tried.
    """
    data, out, flags, made = bytes.fromhex(raw), b"", 0, 0
    family = data[0]
    for kind, value in _attributes(data, 8):
        if kind == abi.IFA_CACHEINFO:
            preferred, valid = _CACHE.unpack_from(value)[:2]
            left = [one if one == _FOREVER else max(0, one - elapsed) for one in (preferred, valid)]
            if not left[1]:
                return None
            out += b"" if plain or left == [_FOREVER, _FOREVER] else attribute(kind, _CACHE.pack(*left, 0, 0))
        elif kind == abi.IFA_FLAGS:
            flags = _U32.unpack(value)[0]
        else:
            made = value[0] if kind == abi.IFA_PROTO else made
            out += attribute(kind, value)
    if family == abi.AF_INET6 and (flags & abi.IFA_F_TEMPORARY or made == _RA):
        return None
    if plain:
        flags &= ~(abi.IFA_F_TENTATIVE | abi.IFA_F_OPTIMISTIC | abi.IFA_F_DADFAILED | abi.IFA_F_SECONDARY)
    return data[:2] + bytes((flags & 0xFF,)) + data[3:4] + _U32.pack(index) + out + attribute(
        abi.IFA_FLAGS, _U32.pack(flags))


def _in_order(one: Portrait) -> list[str]:
    """Addresses as they came: the kernel tells the newest v6 one first."""
    six = [raw for raw in one["addresses"] if int(raw[:2], 16) == abi.AF_INET6]
    return [raw for raw in one["addresses"] if raw not in six] + six[::-1]


def _with_flags(body: bytes, add: int) -> bytes:
    """The same address, with more flags; they are its last attribute."""
    return body[:-4] + _U32.pack(_U32.unpack(body[-4:])[0] | add)


def put_addresses(one: Portrait, index: int, elapsed: int) -> list[bytes]:
    """Messages that give a link its addresses; v6 ones were found to be nobody else's before it went."""
    out = []
    for raw in _in_order(one):
        body = address(raw, index, elapsed)
        if body is None:
            continue
        tried = not _U32.unpack(body[-4:])[0] & (abi.IFA_F_TENTATIVE | abi.IFA_F_DADFAILED)
        if body[0] == abi.AF_INET6 and tried:
            body = _with_flags(body, abi.IFA_F_NODAD)
        out.append(_message(abi.RTM_NEWADDR, _PUT, body))
    return out


def settle_addresses(one: Portrait, index: int, elapsed: int) -> list[bytes]:
    """What takes the word that spared them that trial from them again, where it was not theirs."""
    out = []
    for raw in one["addresses"]:
        body = address(raw, index, elapsed)
        if body is not None and body[0] == abi.AF_INET6 and not _U32.unpack(body[-4:])[0] & (
                abi.IFA_F_NODAD | abi.IFA_F_TENTATIVE | abi.IFA_F_DADFAILED):
            out.append(_message(abi.RTM_NEWADDR, _PUT, body))
    return out


def drop_addresses(now: Portrait) -> list[bytes]:
    """Messages that take all its addresses."""
    out = []
    for raw in now["addresses"]:
        data = bytes.fromhex(raw)
        own = (attribute(kind, value) for kind, value in _attributes(data, 8)
               if kind in (abi.IFA_LOCAL, abi.IFA_ADDRESS))
        out.append(_message(abi.RTM_DELADDR, _SET, data[:8] + b"".join(own)))
    return out


def global_addresses(one: Portrait, index: int) -> list[bytes]:
    """Those that go along into a container, config-linux.md: permanent and of universal scope."""
    out = []
    for raw in one["addresses"]:
        data, body = bytes.fromhex(raw), address(raw, index)
        if body is not None and data[3] == abi.RT_SCOPE_UNIVERSE and _U32.unpack(body[-4:])[0] & abi.IFA_F_PERMANENT:
            out.append(_message(abi.RTM_NEWADDR, _PUT, _with_flags(body, abi.IFA_F_NODAD * (body[0] == abi.AF_INET6))))
    return out


def route(raw: str, before: int, index: int, elapsed: int = 0) -> bytes | None:
    """A route as the kernel takes it; None for one that a router's advertisement brings again.

    Args:
        before: the index that its link had; index: the one that it has.
    """
    data, out = bytes.fromhex(raw), b""
    if data[5] == abi.RTPROT_RA:
        return None
    for kind, value in _attributes(data, 12):
        if kind == abi.RTA_CACHEINFO:
            left = _I32.unpack_from(value, 8)[0] // TICKS - elapsed
            out += attribute(abi.RTA_EXPIRES, _U32.pack(left)) if left > 0 and data[0] == abi.AF_INET6 else b""
        elif kind == abi.RTA_OIF:
            out += attribute(kind, _U32.pack(index if _U32.unpack(value)[0] == before else _U32.unpack(value)[0]))
        elif kind & 0x3FFF == abi.RTA_MULTIPATH:
            out += attribute(kind, _hops(value, before, index))
        else:
            out += attribute(kind, value)
    flags = _U32.unpack_from(data, 8)[0] & abi.RTNH_F_ONLINK
    return data[:8] + _U32.pack(flags) + out


def _hops(value: bytes, before: int, index: int) -> bytes:
    out, at = b"", 0
    while len(value) - at >= _HOP.size:
        length, flags, weight, oif = _HOP.unpack_from(value, at)
        if length < _HOP.size or at + length > len(value):
            raise ValueError("a next hop is cut short")
        out += _HOP.pack(length, flags & abi.RTNH_F_ONLINK, weight, index if oif == before else oif)
        out += value[at + _HOP.size:at + length] + bytes(-length % 4)
        at += length + 3 & ~3
    return out


def by_kernel(body: bytes) -> bool:
    """Whether the kernel makes this route itself, from an address, when the link has a carrier and it likes to."""
    return body[5] == abi.RTPROT_KERNEL


def routes(one: Portrait, index: int) -> dict[bytes, str]:
    """Its routes as they compare -> as they were read."""
    found: dict[bytes, str] = {}
    for raw in one["routes"]:
        body = route(raw, one["index"], index)
        if body is not None:
            found[b"".join(part for part in (body[:12], *(attribute(kind, value) for kind, value in _attributes(
                body, 12) if kind != abi.RTA_EXPIRES)))] = raw
    return found


def put_route(raw: str, before: int, index: int, elapsed: int) -> bytes:
    """A message that adds a route."""
    body = route(raw, before, index, elapsed)
    assert body is not None
    # Not in the place of another one: v6 would take a further next hop for that.
    return _message(abi.RTM_NEWROUTE, _SET | abi.NLM_F_CREATE | abi.NLM_F_EXCL * (body[0] == abi.AF_INET), body)


def drop_route(raw: str) -> bytes:
    """A message that removes one."""
    data = bytes.fromhex(raw)
    return _message(abi.RTM_DELROUTE, _SET, data[:8] + bytes(4) + b"".join(
        attribute(kind, value) for kind, value in _attributes(data, 12) if kind not in (
            abi.RTA_CACHEINFO, abi.RTA_METRICS, abi.RTA_PREF)))


def qdisc(raw: str, index: int) -> bytes | None:
    """A queueing discipline as the kernel takes it; None for one that comes by itself."""
    data = bytes.fromhex(raw)
    if not _U32.unpack_from(data, 8)[0]:        # its handle
        return None
    return data[:4] + _U32.pack(index) + data[8:16] + bytes(4) + b"".join(
        attribute(kind, value) for kind, value in _attributes(data, 20)
        if kind in (abi.TCA_KIND, abi.TCA_OPTIONS, abi.TCA_STAB))


def qdiscs(one: Portrait, index: int) -> list[bytes]:
    """All that somebody gave it, parents first, as they compare."""
    return [body for raw in one["qdiscs"] if (body := qdisc(raw, index)) is not None]


def qdisc_kind(raw: str) -> str:
    """What it is called, tc(8)."""
    return next((value.rstrip(b"\0").decode() for kind, value in _attributes(bytes.fromhex(raw), 20)
                 if kind == abi.TCA_KIND), "")


def put_qdiscs(one: Portrait, now: Portrait, index: int) -> list[bytes]:
    """Messages that give it these, in the place of those that it has."""
    wanted, have = qdiscs(one, index), qdiscs(now, index)
    if wanted == have:
        return []
    # Those below another one go with it.
    top = [body for body in have if _U32.unpack_from(body, 12)[0] >= 0xFFFFFFF1]
    return [*(_message(abi.RTM_DELQDISC, _SET, body) for body in top),
            *(_message(abi.RTM_NEWQDISC, _SET | abi.NLM_F_CREATE | abi.NLM_F_EXCL, body) for body in wanted)]


def put_neighbours(one: Portrait, index: int) -> list[bytes]:
    """Messages that give it the neighbours that somebody wrote down for good, ip-neighbour(8)."""
    out = []
    for raw in one["neighbours"]:
        data = bytes.fromhex(raw)
        out.append(_message(abi.RTM_NEWNEIGH, _PUT, data[:4] + _U32.pack(index) + data[8:12] + b"".join(
            attribute(kind, value) for kind, value in _attributes(data, 12)
            if kind not in (abi.NDA_CACHEINFO, abi.NDA_PROBES))))
    return out


# -- the link itself ------------------------------------------------------------------------------------

def flags(index: int, value: int, mask: int) -> bytes:
    """A message that sets those of a link's flags that are in the mask."""
    return _message(abi.RTM_NEWLINK, _SET, struct.pack("=BxHiII", 0, 0, index, value & mask, mask))


def _change(index: int, body: bytes) -> bytes:
    return _message(abi.RTM_NEWLINK, _SET, _head(index, None) + body)


def move(index: int, pid: int, name: str, new_index: int, mac: str | None = None, mtu: int | None = None) -> bytes:
    """Move a link into the network namespace of a process; it goes down and loses its addresses and routes.

    Args:
        name, new_index, mac, mtu: there; index 0 for any, None to leave as it is; `%d` in the name becomes a number.
    """
    return _change(index, _u32(abi.IFLA_NET_NS_PID, pid, "pid") + _name(abi.IFLA_IFNAME, name) + (
        _u32(abi.IFLA_NEW_IFINDEX, new_index, "interface index") if new_index else b"") + _parts(mac, mtu, None))


def rename(index: int, name: str) -> bytes:
    """A message that gives a link, which is down, another name."""
    return _change(index, _name(abi.IFLA_IFNAME, name))


def drop_altnames(one: Portrait) -> list[bytes]:
    """Messages that take all its other names, by which a namespace would refuse it."""
    names = [attribute(abi.IFLA_ALT_IFNAME, name.encode() + b"\0") for name in one["altnames"]]
    return [_message(abi.RTM_DELLINKPROP, _SET, _head(one["index"], None) + attribute(
        abi.IFLA_PROP_LIST | _NESTED, b"".join(names[at:at + 64]))) for at in range(0, len(names), 64)]


def generate(index: int, mode: int) -> bytes:
    """A message that says how a link's own v6 addresses are made; none is made at once."""
    return _change(index, attribute(abi.IFLA_AF_SPEC | _NESTED, attribute(abi.AF_INET6 | _NESTED, attribute(
        abi.IFLA_INET6_ADDR_GEN_MODE, bytes((mode,))))))


def put_token(index: int, token: str) -> bytes:
    """A message that gives a link its v6 token, ip-token(8)."""
    return _change(index, attribute(abi.IFLA_AF_SPEC | _NESTED, attribute(abi.AF_INET6 | _NESTED, attribute(
        abi.IFLA_INET6_TOKEN, bytes.fromhex(token)))))


def properties(one: Portrait, now: Portrait, index: int) -> list[tuple[str, bytes]]:
    """(what, message) for each property of a link, which is down, that is not as in its portrait."""
    out: list[tuple[str, bytes]] = []
    for field, number in (("mac", abi.IFLA_ADDRESS), ("broadcast", abi.IFLA_BROADCAST)):
        if one[field] != now[field] and one[field]:
            raw = parse_mac(one[field]) if len(one[field]) == 17 else bytes.fromhex(one[field].replace(":", ""))
            out.append((field, _change(index, attribute(number, raw))))
    for field, number in (("mtu", abi.IFLA_MTU), ("txqlen", abi.IFLA_TXQLEN), ("group", abi.IFLA_GROUP)):
        if one[field] != now[field]:
            out.append((field, _change(index, _u32(number, one[field], field))))
    if one["linkmode"] != now["linkmode"]:
        out.append(("linkmode", _change(index, attribute(abi.IFLA_LINKMODE, bytes((one["linkmode"],))))))
    if one["alias"] != now["alias"]:
        out.append(("alias", _change(index, attribute(abi.IFLA_IFALIAS, one["alias"].encode()))))
    for kind, names in ((abi.RTM_DELLINKPROP, set(now["altnames"]) - set(one["altnames"])),
                        (abi.RTM_NEWLINKPROP, set(one["altnames"]) - set(now["altnames"]))):
        for name in sorted(names):
            again = abi.NLM_F_CREATE | abi.NLM_F_EXCL if kind == abi.RTM_NEWLINKPROP else 0
            out.append((f"altname {name}", _message(kind, _SET | again, _head(index, None) + attribute(
                abi.IFLA_PROP_LIST | _NESTED, attribute(abi.IFLA_ALT_IFNAME, name.encode() + b"\0")))))
    return out


def rehearse(one: Portrait) -> None:
    """Make all messages that a portrait may be asked for.

    Raises:
        ValueError, IndexError, struct.error, RunspecError: it does not hold what it must.
    """
    bare = {**one, **dict.fromkeys(("mac", "broadcast", "alias"), "?"), "altnames": [], "qdiscs": [],
            **dict.fromkeys(("mtu", "txqlen", "group", "linkmode"), -1)}
    index = one["index"]
    properties(one, bare, index)
    drop_altnames(one)
    for make in (put_addresses, settle_addresses):
        make(one, index, 0)
    global_addresses(one, index)
    drop_addresses(one)
    for raw in routes(one, index).values():
        put_route(raw, index, index, 0)
        drop_route(raw)
    put_qdiscs(one, bare, index)
    put_qdiscs(bare, one, index)
    put_neighbours(one, index)
    differences(one, one)
    rename(index, one["name"])
    put_token(index, one["token"])
    flags(index, one["flags"], FLAGS)
    if one["generated"] >= 0:
        generate(index, one["generated"])


def differences(one: Portrait, now: Portrait) -> list[str]:
    """What of a link is not as in its portrait, for a warning: names of what differs."""
    index = now["index"]
    out = [field for field in ("index", "name", "mac", "mtu", "txqlen", "group", "alias", "altnames")
           if one[field] != now[field]]
    if (one["flags"] ^ now["flags"]) & FLAGS:
        out.append("flags")
    for word, mine, its in (
            ("addresses", [address(raw, index, plain=True) for raw in one["addresses"]],
             [address(raw, index, plain=True) for raw in now["addresses"]]),
            ("qdisc", qdiscs(one, index), qdiscs(now, index))):
        if [each for each in mine if each] != [each for each in its if each]:
            out.append(word)
    if [body for body in routes(one, index).keys() - routes(now, index).keys() if not by_kernel(body)]:
        out.append("routes")
    return out


# -- who may go -------------------------------------------------------------------------------------------

def find(word: str, known: list[Portrait]) -> list[Portrait]:
    """Those that a `parent` means: a link's name, `mac:ADDRESS` or `pci:ADDRESS` of a physical one."""
    kind, colon, rest = word.partition(":")
    if colon and kind == "mac":
        return [one for one in known if physical(one) and rest in (one["perm"] or one["mac"], one["mac"])]
    if colon and kind == "pci":
        return [one for one in known if physical(one) and one["pci"] == rest]
    return [one for one in known if word == one["name"]]


def called(one: Portrait) -> str:
    """A NIC with all the words that name it."""
    return f"{one['name']} (mac:{one['perm'] or one['mac']}" + (f", pci:{one['pci']})" if one["pci"] else ")")


def fault(one: Portrait, wireless: bool, hops: bool = False) -> tuple[str, str, str] | None:
    """Why a link of the host cannot be lent for good and come back, as (what, why, fix).

    Args:
        wireless: it belongs to a phy.
        hops: nexthop objects lead through it.
    """
    name = one["name"]
    if one["alias"].startswith("runspec:"):
        return f"the link {name} is runspec's own", f"its alias is {one['alias']}", "name a link of the host's hardware"
    if not physical(one):
        kind = one["kind"] or ("loopback" if one["flags"] & abi.IFF_LOOPBACK else "virtual")
        return (f"{name} is no physical interface but {kind}", "a virtual link ends with the container's network "
                "namespace and would never come back, network_namespaces(7)",
                "use `type: veth` or `type: macvlan`, or name a NIC that `ip -d link` shows with a parentdev")
    if wireless:
        return (f"{name} is a wireless interface", "it moves only with its phy, iw(8), and that brings all of its "
                "interfaces along", "bridge or route its traffic to the container")
    if one["master"]:
        return (f"{name} is a port of {one['master']}", "whoever is on that would lose its way out, bridge(8)",
                f"take it out first: ip link set {name} nomaster")
    if one["upper"]:
        return (f"{', '.join(one['upper'])} stand{'s' * (len(one['upper']) == 1)} on {name}",
                "a link stays behind without what carries it, ip-link(8)",
                f"remove {'it' if len(one['upper']) == 1 else 'them'}, or lend another interface")
    bad = sorted({kind for raw in one["qdiscs"] if qdisc(raw, one["index"]) is not None
                  and (kind := qdisc_kind(raw)) not in QDISCS})
    if bad:
        return (f"{name} has a qdisc {' and '.join(bad)}", "its classes and filters end when the link moves, and "
                "could not be put back as they were", f"remove it first: tc qdisc del dev {name} "
                + (bad[0] if bad[0] in HOOKS else "root"))
    if any(kind == abi.RTA_NH_ID for raw in one["routes"] for kind, _ in _attributes(bytes.fromhex(raw), 12)):
        return (f"routes through {name} use nexthop objects", "these end when the link goes down, ip-nexthop(8)",
                "write the gateways into the routes")
    if hops:
        return (f"nexthop objects lead through {name}", "these end when the link goes down, ip-nexthop(8)",
                f"remove them first: ip nexthop flush dev {name}")
    return None


def bears_default(one: Portrait) -> bool:
    """Whether the host reaches the world through it."""
    for raw in one["routes"]:
        data = bytes.fromhex(raw)
        table = next((_U32.unpack(value)[0] for kind, value in _attributes(data, 12) if kind == abi.RTA_TABLE), data[4])
        if not data[1] and table == abi.RT_TABLE_MAIN and data[7] == abi.RTN_UNICAST:
            return True
    return False
