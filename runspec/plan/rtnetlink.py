"""Links, addresses and routes as rtnetlink(7) messages: bytes that an op or a socket sends as they are.

Every message but a dump asks for an acknowledgement and carries sequence number 1.
"""

from __future__ import annotations

import struct

from runspec import abi
from runspec.errors import SpecError

NAME_MAX = 15               # IFNAMSIZ without its NUL
ALIAS_MAX = 255             # IFALIASZ - 1
FIRST_INDEX = 2             # of a container's own links; 1 is lo
OURS = 0x52                 # protocol number of routes that are runspec's own, ip-route(8) "proto"

_HEAD = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDR = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_U32 = struct.Struct("=I")

_NEW = abi.NLM_F_REQUEST | abi.NLM_F_ACK | abi.NLM_F_CREATE | abi.NLM_F_EXCL
_SET = abi.NLM_F_REQUEST | abi.NLM_F_ACK
_DUMP = abi.NLM_F_REQUEST | abi.NLM_F_DUMP


def attribute(kind: int, payload: bytes) -> bytes:
    """One netlink attribute: length, type, payload, padding to 4 bytes.

    Raises:
        SpecError: the payload does not fit the 16-bit length.
    """
    length = len(payload) + 4
    if length > 0xFFFF:
        raise SpecError(f"a netlink attribute of {length} bytes", "its length field has 16 bits, netlink(7)",
                        "use shorter values")
    return _ATTR.pack(length, kind) + payload + bytes(-length % 4)


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEAD.pack(16 + len(body), kind, flags, 1, 0) + body


def _u32(kind: int, value: int, what: str) -> bytes:
    return attribute(kind, _U32.pack(_number(value, what)))


def _number(value: int, what: str, top: int = 0xFFFFFFFF) -> int:
    if not 0 <= value <= top:
        raise SpecError(f"{what} {value} is out of range",
                        f"the kernel's field holds 0 to {top}, rtnetlink(7)")
    return value


def _name(kind: int, name: str) -> bytes:
    raw = name.encode()
    if not 0 < len(raw) <= NAME_MAX or name in (".", "..") or any(
            c in b"/:\0" or bytes((c,)).isspace() for c in raw):
        raise SpecError(f"{name!r} cannot name a link",
                        f"a link's name has 1 to {NAME_MAX} bytes, none of them a blank, '/' or ':'",
                        "choose a shorter or plainer name")
    return attribute(kind, raw + b"\0")


def _alias(alias: str | None) -> bytes:
    if alias is None:
        return b""
    raw = alias.encode()
    if len(raw) > ALIAS_MAX:
        raise SpecError(f"a link's alias of {len(raw)} bytes", f"the kernel keeps at most {ALIAS_MAX}")
    return attribute(abi.IFLA_IFALIAS, raw)


def parse_mac(text: str) -> bytes:
    """The six bytes of `02:00:0a:4d:00:0b`."""
    try:
        raw = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        raw = b""
    if len(raw) != 6 or len(text) != 17:
        raise SpecError(f"{text!r} is no MAC address", "it has six pairs of hexadecimal digits",
                        "write 02:00:00:00:00:01")
    return raw


def parse_address(text: str) -> tuple[int, bytes]:
    """(AF_INET or AF_INET6, 4 or 16 bytes) of an address without prefix."""
    import socket
    family = abi.AF_INET6 if ":" in text else abi.AF_INET
    try:
        return family, socket.inet_pton(family, text)
    except OSError:
        raise SpecError(f"{text!r} is no IP address", "", "write 10.0.0.1 or fd00::1") from None


def parse_cidr(text: str) -> tuple[int, bytes, int]:
    """(family, address, prefix length in bits); without a prefix all bits count."""
    address, slash, bits = text.partition("/")
    family, raw = parse_address(address)
    width = len(raw) * 8
    if not slash:
        return family, raw, width
    if not (bits.isascii() and bits.isdigit()) or int(bits) > width:
        raise SpecError(f"{text!r} is no network", f"the prefix has 0 to {width} bits")
    return family, raw, int(bits)


def _parts(mac: str | None, mtu: int | None, alias: str | None) -> bytes:
    out = attribute(abi.IFLA_ADDRESS, parse_mac(mac)) if mac is not None else b""
    if mtu is not None:
        out += _u32(abi.IFLA_MTU, mtu, "mtu")
    return out + _alias(alias)


def _head(index: int, up: bool | None) -> bytes:
    # Only IFF_UP is in the change mask: other flags stay what they are.
    return _LINK.pack(0, 0, _number(index, "interface index", 0x7FFFFFFF), abi.IFF_UP if up else 0,
                      0 if up is None else abi.IFF_UP)


def link_index(name: str) -> int:
    """A fixed index for a host link of this name, far above those the kernel gives out.

    Two names may share one (1 pair in 2**28); the second creation then fails with EEXIST or EBUSY.
    """
    import binascii
    return 0x10000000 | binascii.crc32(name.encode()) & 0x0FFFFFFF


def _marked(body: bytes, index: int, alias: str | None) -> bytes:
    """A creation, and behind it in the same send the alias, which creations ignore.

    The alias goes by index: by name it would mark a foreign link when the creation fails because that
    name is taken, since the kernel goes on with the next message after a failed one.
    """
    message = _message(abi.RTM_NEWLINK, _NEW, body)
    return message if alias is None else message + set_link(index, alias=alias)


def create_bridge(name: str, mtu: int | None = None, mac: str | None = None, alias: str | None = None,
                  up: bool = True, index: int = 0) -> bytes:
    """A new bridge; two messages for one send where it gets an alias.

    Args:
        index: 0 lets the kernel choose, or means link_index(name) where there is an alias.

    See: ip-link(8), "bridge".
    """
    if alias is not None and not index:
        index = link_index(name)
    info = attribute(abi.IFLA_LINKINFO, attribute(abi.IFLA_INFO_KIND, b"bridge\0"))
    body = _head(index, up or None) + _name(abi.IFLA_IFNAME, name) + _parts(mac, mtu, None) + info
    return _marked(body, index, alias)


def create_veth(name: str, bridge: int | None, peer_name: str, *, peer_pid: int | None = None,
                peer_fd: int | None = None, mac: str | None = None, mtu: int | None = None, up: bool = True,
                alias: str | None = None, host_mac: str | None = None, host_mtu: int | None = None, index: int = 0,
                peer_index: int = 0) -> bytes:
    """A veth pair in one message: the host's end joins a bridge, its peer is born in the container.

    A second message for the same send follows where it gets an alias.

    Args:
        name, host_mac, host_mtu, alias, up: of the host's end.
        bridge: index of its master, None for none.
        peer_name, mac: of the container's end. The peer comes down into the world: raising
            it here fails with ENOTCONN, since the two are not joined yet; set_link inside does it.
        peer_pid, peer_fd: its network namespace; at most one of them. None: the sender's.
        mtu: of both ends, bytes, where host_mtu says nothing else.
        index, peer_index: 0 lets the kernel choose; with an alias, index 0 means link_index(name).

    Raises:
        SpecError: a value does not fit, or `peer_index` comes without `index`, where the kernel would not
            heed it.

    See: veth(4), the kernel's drivers/net/veth.c, veth_newlink().
    """
    if peer_index and not index:
        raise SpecError(f"{peer_name} cannot have a chosen index",
                        f"the kernel heeds it only when {name} has one too")
    if alias is not None and not index:
        index = link_index(name)
    peer = _head(peer_index, None) + _name(abi.IFLA_IFNAME, peer_name) + _parts(mac, mtu, None)
    if peer_pid is not None:
        peer += _u32(abi.IFLA_NET_NS_PID, peer_pid, "process id")
    elif peer_fd is not None:
        peer += _u32(abi.IFLA_NET_NS_FD, peer_fd, "descriptor")
    info = attribute(abi.IFLA_INFO_KIND, b"veth\0") + attribute(
        abi.IFLA_INFO_DATA, attribute(abi.VETH_INFO_PEER, peer))
    body = _head(index, up or None) + _name(abi.IFLA_IFNAME, name) + _parts(host_mac, host_mtu or mtu, None)
    if bridge is not None:
        body += _u32(abi.IFLA_MASTER, bridge, "master index")
    return _marked(body + attribute(abi.IFLA_LINKINFO, info), index, alias)


def _which(link: int | str) -> tuple[int, bytes]:
    return (0, _name(abi.IFLA_IFNAME, link)) if isinstance(link, str) else (link, b"")


def set_link(link: int | str, *, up: bool | None = None, mtu: int | None = None, mac: str | None = None,
             name: str | None = None, master: int | None = None, alias: str | None = None) -> bytes:
    """Change a link named by index or name; None leaves a property alone.

    Args:
        master: index of the new master, 0 for none.
        name: the new name; needs the link by index, and the link down.
        alias: "" removes it.
    """
    index, body = _which(link)
    if name is not None:
        if isinstance(link, str):
            raise SpecError(f"{link} cannot be renamed by name",
                            "a message has room for one name, rtnetlink(7)", "name it by index")
        body = _name(abi.IFLA_IFNAME, name)
    body += _parts(mac, mtu, alias)
    if master is not None:
        body += _u32(abi.IFLA_MASTER, master, "master index")
    # RTM_NEWLINK without NLM_F_CREATE changes like RTM_SETLINK, and is the message that ip(8) sends.
    return _message(abi.RTM_NEWLINK, _SET, _head(index, up) + body)


def delete_link(link: int | str) -> bytes:
    """Remove a link named by index or name; of a veth pair both ends go."""
    index, body = _which(link)
    return _message(abi.RTM_DELLINK, _SET, _head(index, None) + body)


def _address(kind: int, flags: int, index: int, cidr: str, nodad: bool, broadcast: bool) -> bytes:
    family, raw, bits = parse_cidr(cidr)
    body = _ADDR.pack(family, bits, 0, abi.RT_SCOPE_HOST if family == abi.AF_INET and raw[0] == 127
                      else abi.RT_SCOPE_UNIVERSE, _number(index, "interface index", 0x7FFFFFFF))
    body += attribute(abi.IFA_LOCAL, raw) + attribute(abi.IFA_ADDRESS, raw)
    if family == abi.AF_INET6:
        if nodad:
            body += attribute(abi.IFA_FLAGS, _U32.pack(abi.IFA_F_NODAD))
    elif broadcast and bits < 31:
        body += attribute(abi.IFA_BROADCAST, _U32.pack(_U32.unpack(raw)[0] | _U32.unpack(
            ((1 << 32 - bits) - 1).to_bytes(4, "big"))[0]))
    return _message(kind, flags, body)


def add_address(index: int, cidr: str, nodad: bool = True, broadcast: bool = True) -> bytes:
    """Add an address to the link with this index.

    Args:
        nodad: no duplicate address detection (v6): usable at once, not after one to two seconds.
        broadcast: set the network's highest address as broadcast (v4).

    See: ip-address(8).
    """
    return _address(abi.RTM_NEWADDR, _NEW, index, cidr, nodad, broadcast)


def delete_address(index: int, cidr: str) -> bytes:
    """Remove an address."""
    return _address(abi.RTM_DELADDR, _SET, index, cidr, False, False)


def _route(kind: int, flags: int, to: str, via: str | None, oif: int | None, metric: int | None,
           family: int | None, protocol: int = abi.RTPROT_STATIC) -> bytes:
    body = b""
    if to == "default":
        bits = 0
    else:
        own, raw, bits = parse_cidr(to)
        if family is not None and family != own:
            raise SpecError(f"{to} is of another address family")
        family = own
        if bits:
            body = attribute(abi.RTA_DST, raw)
    if via is not None:
        own, raw = parse_address(via)
        if family is None:
            family = own
        # A v4 network behind a v6 neighbour has an attribute of its own.
        body += (attribute(abi.RTA_GATEWAY, raw) if own == family
                 else attribute(abi.RTA_VIA, struct.pack("=H", own) + raw))
    if oif is not None:
        body += _u32(abi.RTA_OIF, oif, "interface index")
    if metric is not None:
        body += _u32(abi.RTA_PRIORITY, metric, "metric")
    deleting = kind == abi.RTM_DELROUTE
    scope = abi.RT_SCOPE_UNIVERSE if via is not None or family == abi.AF_INET6 else abi.RT_SCOPE_LINK
    head = _ROUTE.pack(family or abi.AF_INET, bits, 0, 0, abi.RT_TABLE_MAIN,
                       0 if deleting else protocol,
                       abi.RT_SCOPE_NOWHERE if deleting else scope, 0 if deleting else abi.RTN_UNICAST, 0)
    return _message(kind, flags, head + body)


def add_route(to: str, via: str | None = None, oif: int | None = None, metric: int | None = None,
              family: int | None = None, protocol: int = abi.RTPROT_STATIC) -> bytes:
    """Add a unicast route to the main table.

    Args:
        to: a network in CIDR form, host bits zero, or "default".
        via: the gateway; None: the network is on the link.
        oif: index of the link.
        family: needed for "default" without a gateway; v4 is assumed.
        protocol: who set it.

    See: ip-route(8).
    """
    return _route(abi.RTM_NEWROUTE, _NEW, to, via, oif, metric, family, protocol)


def replace_route(to: str, via: str | None = None, oif: int | None = None, metric: int | None = None,
                  family: int | None = None) -> bytes:
    """Add a route like add_route, or put it in the place of the one with the same `to` and metric."""
    return _route(abi.RTM_NEWROUTE, _SET | abi.NLM_F_CREATE | abi.NLM_F_REPLACE, to, via, oif, metric, family)


def delete_route(to: str, via: str | None = None, oif: int | None = None, metric: int | None = None,
                 family: int | None = None) -> bytes:
    """Remove the first route of the main table that has all of what is given."""
    return _route(abi.RTM_DELROUTE, _SET, to, via, oif, metric, family)


def get_link(link: int | str) -> bytes:
    """Ask for one link; the answer is one RTM_NEWLINK message and an acknowledgement."""
    index, body = _which(link)
    return _message(abi.RTM_GETLINK, _SET, _head(index, None) + body)


def dump_links() -> bytes:
    """Ask for all links."""
    return _message(abi.RTM_GETLINK, _DUMP, _head(0, None))


def dump_addresses() -> bytes:
    """Ask for all addresses, v4 and v6."""
    return _message(abi.RTM_GETADDR, _DUMP, _ADDR.pack(0, 0, 0, 0, 0))


def dump_routes() -> bytes:
    """Ask for all routes, v4 and v6."""
    return _message(abi.RTM_GETROUTE, _DUMP, _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0))
