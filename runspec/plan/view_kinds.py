"""What links of one type alone have, as path -> value: as a file asks for it, and as the kernel shows it."""

from __future__ import annotations

from runspec import abi
from runspec.plan import ports, rtnetlink
from runspec.plan.facts import Facts
from runspec.plan.rtnetlink_links import IPVLAN, MACVLAN, PROTOCOLS
from runspec.plan.steps.host_links import host_name
from runspec.plan.values import ABSENT
from runspec.spec import units
from runspec.spec.model import Interface
from runspec.spec.model_net import MODES, ON_PARENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    View = dict[str, Any]

_MODES = {kind: {number: word for word, number in words.items()}
          for kind, words in (("macvlan", MACVLAN), ("ipvlan", IPVLAN))}
_PROTOCOLS = {number: word for word, number in PROTOCOLS.items()}


def mode_of(one: Interface) -> str | None:
    """A link's mode, where its type has modes."""
    return one.mode or MODES.get(one.type, (None,))[0]


def routed(one: Interface) -> bool:
    """Whether the host's end of this link is a router of its own instead of a bridge's port."""
    return one.type == "veth" and mode_of(one) == "routed"


def whole(address: str) -> str:
    """An address, with or without its prefix, as a network of its own."""
    plain = address.partition("/")[0]
    return f"{plain}/{128 if ':' in plain else 32}"


def own_addresses(one: Interface) -> tuple[str, ...]:
    """What the host's end of a routed link answers to: the gateways."""
    return tuple(map(whole, one.gateway))


def own_routes(one: Interface) -> tuple[str, ...]:
    """Where the host's end of a routed link leads to."""
    return tuple(dict.fromkeys(map(whole, one.addresses)))


def families(one: Interface) -> tuple[bool, bool]:
    """Whether a link has addresses of IPv4 and of IPv6."""
    return any(":" not in address for address in one.addresses), any(":" in address for address in one.addresses)


def far_gateways(one: Interface) -> tuple[str, ...]:
    """Gateways in no network of their link, each as a network of its own: they are on the link all the same."""
    return tuple(whole(gateway) for gateway in one.gateway if not gateway.startswith("fe80:")
                 and not any(units.within(gateway, address) for address in one.addresses))


def parameter_path(one: Interface, key: str) -> str:
    """`net.ipv4.conf.IFNAME.rp_filter` -> `net/ipv4/conf/eth0/rp_filter`: slashes, since names of links have dots."""
    return key.replace(".", "/").replace("IFNAME", one.name, 1)


def default_path(key: str) -> str:
    """Where the namespace says what such a parameter of a new link is."""
    return key.replace(".", "/").replace("IFNAME", "default", 1)


def dropped(one: Interface, former: Interface | None) -> list[str]:
    """Parameters that the file set once and sets no more."""
    asked = dict(one.sysctl)
    return [key for key, _ in former.sysctl if key not in asked] if former is not None else []


def mtu_of(one: Interface, facts: Facts) -> int:
    """In bytes; a link on a parent has the parent's where the file names none."""
    if one.mtu is not None or one.type not in ON_PARENT:
        return one.mtu or 1500
    index = facts.parents.get(one.parent or "", 0)
    return next((int(link.mtu) for link in facts.outside.values() if link.index == index), 1500)


def expect_kind(container: str, one: Interface, facts: Facts, path: str, view: View) -> None:
    """What the type asks for."""
    mode = mode_of(one)
    if mode is not None:
        view[f"{path}.mode"] = mode
    if one.type == "veth":
        view[f"{path}.network"] = one.network or ABSENT
        expect_end(one, f"{path}.hostEnd", view)
        ports.expect(one, facts, path, view)
    if one.type in ON_PARENT:
        view[f"{path}.parent"] = one.parent
    if one.type == "vlan" and one.vlan is not None:
        view[f"{path}.vlan.id"], view[f"{path}.vlan.protocol"] = one.vlan.id, one.vlan.protocol
    for key, value in one.sysctl:
        view[f"{path}.sysctl.{key}"] = " ".join(value.split())
    for key in dropped(one, facts.former.get(one.name)):
        view[f"{path}.sysctl.{key}"] = facts.sysctl.get(default_path(key), "") or ABSENT


def expect_end(one: Interface, path: str, view: View) -> None:
    """What the other end of a veth is to be."""
    view[f"{path}.up"] = True
    if routed(one):
        view[f"{path}.addresses"] = tuple(sorted(own_addresses(one)))
        view[f"{path}.routes"] = tuple(sorted(own_routes(one)))
        view[f"{path}.forwarding"] = _forwarding((*families(one), True))


def see_end(one: Interface, link: Any, facts: Facts, path: str, view: View) -> None:
    """What the other end of a veth is."""
    view[f"{path}.up"] = link.up
    if routed(one):
        here, asked = facts.forwarding.get(link.name, (False, False, False)), families(one)
        view[f"{path}.addresses"] = tuple(sorted(end_addresses(one, link, facts)))
        view[f"{path}.routes"] = tuple(sorted(end_routes(link, facts)))
        view[f"{path}.forwarding"] = _forwarding((here[0] and asked[0], here[1] and asked[1], here[2]))


def _forwarding(which: tuple[bool, bool, bool]) -> tuple[str, ...]:
    return tuple(word for word, yes in zip(("IPv4", "IPv6", "own routes"), which, strict=True) if yes)


def end_addresses(one: Interface, link: Any, facts: Facts) -> list[str]:
    """Of a host's end, without the one that the kernel makes by itself."""
    return [address.cidr for address in facts.host_addresses if address.index == link.index and (
        address.cidr in own_addresses(one) or not (address.cidr.startswith("fe80:")
                                                   and address.scope == abi.RT_SCOPE_LINK))]


def end_routes(link: Any, facts: Facts) -> list[str]:
    """Routes of ours through a host's end."""
    return [route.to for route in facts.host_routes if route.oif == link.index and route.protocol == rtnetlink.OURS
            and route.table == abi.RT_TABLE_MAIN]


def see_kind(container: str, one: Interface, link: Any, facts: Facts, path: str, view: View) -> None:
    """What the kernel shows of it, where the link is of that type."""
    if link.kind != one.type:
        return
    if one.type == "veth":
        end = facts.outside.get(host_name(container, one.name))
        if end is None:
            # Somebody else's pair, or the other end has another name by now: only a new link is ours.
            view[f"{path}.type"] = f"veth without {host_name(container, one.name)}"
            return
        master = facts.host_links.get(host_name(container, one.name)) or ABSENT
        view[f"{path}.network"] = master
        view[f"{path}.mode"] = "bridge" if master is not ABSENT or not routed(one) else "routed"
        see_end(one, end, facts, f"{path}.hostEnd", view)
        ports.see(one, end, facts, path, view)
    if one.type in ON_PARENT:
        view[f"{path}.parent"] = parent_seen(one, link, facts)
    if one.type in _MODES:
        view[f"{path}.mode"] = _MODES[one.type].get(link.mode, str(link.mode))
    if one.type == "vlan":
        view[f"{path}.vlan.id"] = link.vlan[0]
        view[f"{path}.vlan.protocol"] = _PROTOCOLS.get(link.vlan[1], f"{link.vlan[1]:#x}")
    for key in (*dict(one.sysctl), *dropped(one, facts.former.get(one.name))):
        view[f"{path}.sysctl.{key}"] = " ".join(facts.sysctl.get(parameter_path(one, key), "").split()) or ABSENT


def parent_seen(one: Interface, link: Any, facts: Facts) -> Any:
    """The host's link that carries this one, as the file would name it."""
    if link.netnsid < 0 or not link.peer:
        return ABSENT       # it is of the container's own namespace
    if facts.parents.get(one.parent or "") == link.peer:
        return one.parent
    return next((name for name, other in facts.outside.items() if other.index == link.peer), ABSENT)
