"""Links that are made on a link of the host and born elsewhere, as rtnetlink(7) messages.

See: ip-link(8), the kernel's include/uapi/linux/if_link.h.
"""

from __future__ import annotations

import struct

from runspec import abi
from runspec.plan.rtnetlink import _NEW, _SET, _head, _message, _name, _parts, _u32, attribute

_U16, _BE16, _U32 = struct.Struct("=H"), struct.Struct("!H"), struct.Struct("=I")

# Words of ip-link(8) -> what the kernel calls them.
PROTOCOLS = {"802.1Q": abi.ETH_P_8021Q, "802.1ad": abi.ETH_P_8021AD}
MACVLAN = {"private": abi.MACVLAN_MODE_PRIVATE, "vepa": abi.MACVLAN_MODE_VEPA, "bridge": abi.MACVLAN_MODE_BRIDGE,
           "passthru": abi.MACVLAN_MODE_PASSTHRU}
IPVLAN = {"l2": abi.IPVLAN_MODE_L2, "l3": abi.IPVLAN_MODE_L3, "l3s": abi.IPVLAN_MODE_L3S}


def vlan_info(number: int, protocol: str) -> bytes:
    """IFLA_INFO_DATA of a vlan: the tag that its frames bear, 1..4094, and the tag's type."""
    return (attribute(abi.IFLA_VLAN_ID, _U16.pack(number))
            + attribute(abi.IFLA_VLAN_PROTOCOL, _BE16.pack(PROTOCOLS[protocol])))


def macvlan_info(mode: str) -> bytes:
    """IFLA_INFO_DATA of a macvlan."""
    return attribute(abi.IFLA_MACVLAN_MODE, _U32.pack(MACVLAN[mode]))


def ipvlan_info(mode: str) -> bytes:
    """IFLA_INFO_DATA of an ipvlan; the kernel has one mode for all of one parent."""
    return attribute(abi.IFLA_IPVLAN_MODE, _U16.pack(IPVLAN[mode]))


def _linkinfo(kind: str, info: bytes) -> bytes:
    return attribute(abi.IFLA_LINKINFO, attribute(abi.IFLA_INFO_KIND, kind.encode() + b"\0")
                     + attribute(abi.IFLA_INFO_DATA, info))


def create_on(kind: str, parent: int, name: str, info: bytes, *, pid: int | None = None, index: int = 0,
              mac: str | None = None, mtu: int | None = None, up: bool = False) -> bytes:
    """A link on a link of the sender's namespace, born in the network namespace of a process.

    Args:
        parent: index of the link that carries it, in the sender's namespace.
        name, index, mac, mtu: as it is to be there; index 0 lets the kernel choose, mac None as well, and with
            mtu None it has the parent's.
        info: as vlan_info, macvlan_info or ipvlan_info give it.
        up: whether it comes up at once.
        pid: None means the sender's own namespace.
    """
    body = _head(index, up or None) + _name(abi.IFLA_IFNAME, name) + _parts(mac, mtu, None)
    body += _u32(abi.IFLA_LINK, parent, "parent index")
    if pid is not None:
        body += _u32(abi.IFLA_NET_NS_PID, pid, "process id")
    return _message(abi.RTM_NEWLINK, _NEW, body + _linkinfo(kind, info))


def change_kind(index: int, kind: str, info: bytes) -> bytes:
    """Change what a link of one kind alone has, such as its mode."""
    return _message(abi.RTM_NEWLINK, _SET, _head(index, None) + _linkinfo(kind, info))
