"""Rules about what links of each type have and lack."""

from __future__ import annotations

from runspec.spec import units
from runspec.spec.model import Interface, Spec
from runspec.spec.model_net import MODES, ON_PARENT
from runspec.spec.rules_host_side import check_host_side
from runspec.spec.rules_mounts import Faults
from runspec.spec.rules_nic import check_nics
from runspec.spec.units import shown

# Where a link's own parameters are, ip-sysctl.rst; IFNAME stands for its name.
PARAMETERS = ("net.ipv4.conf.IFNAME.", "net.ipv6.conf.IFNAME.", "net.ipv4.neigh.IFNAME.", "net.ipv6.neigh.IFNAME.")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


def parameter_fault(key: str) -> tuple[str, str, str] | None:
    """What is wrong with the name of a link's parameter, as (what, why, fix)."""
    for head in PARAMETERS:
        if key.startswith(head) and key != head and _LETTERS.issuperset(key[len(head):]):
            return None
    return (f"{shown(key)} is no parameter of a link",
            "IFNAME stands for the link's name, and only conf and neigh have links, ip-sysctl.rst",
            "write it like net.ipv4.conf.IFNAME.rp_filter; what has no link goes to linux.sysctl")


def check_kinds(faults: Faults, spec: Spec) -> None:
    """Notes faults of each interface's own keys, and of several on one parent."""
    check_host_side(faults, spec)
    check_nics(faults, spec)
    ways: set[int] = set()
    for index, one in enumerate(spec.interfaces):
        at = f"interfaces[{index}]"
        _keys(faults, at, one)
        for number, gateway in enumerate(one.gateway):
            if gateway and units.family(gateway) in ways:
                faults.add(f"{at}.gateway[{number}]", "another link of this container has a gateway of its family",
                           "there is one default route of each, ip-route(8)",
                           f"write it with a metric: routes: [{{to: default, via: {gateway!r}, metric: 200}}]")
        ways.update(units.family(gateway) for gateway in one.gateway if gateway)
        for key, value in one.sysctl:
            here = f"{at}.sysctl.{key}"
            if bad := parameter_fault(key):
                faults.add(here, *bad)
            elif "\n" in value or "\0" in value or not value:
                faults.add(here, "has no value of one line", "a sysctl takes one line", "write the line")
        for other in spec.interfaces[:index]:
            if one.parent is not None and one.parent == other.parent and (bad_pair := clash(one, other)):
                faults.add(f"{at}.{bad_pair[0]}", *bad_pair[1:])


def clash(one: Interface, other: Interface) -> tuple[str, str, str, str] | None:
    """Why two links cannot be on one parent, as (key, what, why, fix)."""
    kinds = {one.type, other.type}
    if kinds == {"macvlan", "ipvlan"}:
        return ("type", f"{one.parent} carries {other.type} links already", "a parent has links of one of these types "
                "alone, ip-link(8)", f"write type: {other.type}, or another parent")
    if kinds == {"macvlan"} and "passthru" in (one.mode, other.mode):
        return ("mode", f"{one.parent} carries another macvlan", "one in mode passthru is alone on its parent, "
                "ip-link(8)", "use another mode or another parent")
    mode = other.mode or MODES["ipvlan"][0]
    if kinds == {"ipvlan"} and (one.mode or MODES["ipvlan"][0]) != mode:
        return ("mode", f"{one.parent} carries links of mode {mode}", "the kernel has one mode for all ipvlan "
                "links of a parent, ipvlan.rst", f"write mode: {mode}, or another parent")
    if kinds == {"vlan"} and one.vlan is not None and one.vlan == other.vlan:
        return ("vlan.id", f"VLAN {one.vlan.id} of {one.parent} is given twice", "a parent has one link for each tag, "
                "ip-link(8)", "use another id")
    return None


def _keys(faults: Faults, at: str, one: Interface) -> None:
    modes = MODES.get(one.type, ())
    if one.mode is not None and one.mode not in modes:
        faults.add(f"{at}.mode", f"{shown(one.mode)} is no mode of a {one.type}",
                   f"its modes are {', '.join(modes)}, ip-link(8)" if modes else "it has none, ip-link(8)",
                   f"write {modes[0]}" if modes else "remove it")
    if one.type in ON_PARENT:
        if one.parent is None:
            faults.add(f"{at}.parent", "missing", f"a {one.type} is made on a link of the host, ip-link(8)",
                       "add parent: eth0")
        if one.network is not None:
            faults.add(f"{at}.network", f"a {one.type} joins no network", "it is made on its parent, ip-link(8)",
                       "remove it, or write type: veth")
    elif one.type == "veth":
        if one.parent is not None:
            faults.add(f"{at}.parent", "a veth has no parent", "it is a pair, veth(4)",
                       "remove it, or write type: macvlan")
        if one.mode == "bridge" and one.network is None:
            faults.add(f"{at}.network", "missing", "the host's end of a veth joins a bridge",
                       "name a Network document, or write mode: routed")
        if one.mode == "routed" and one.network is not None:
            faults.add(f"{at}.network", "a routed veth joins no network",
                       "the host's end is a router of its own", "remove it, or write mode: bridge")
    if one.type == "vlan" and one.vlan is None:
        faults.add(f"{at}.vlan", "missing", "a vlan's frames bear a tag, ip-link(8)", "add vlan: {id: 10}")
    if one.vlan is not None:
        if one.type == "veth" and one.mode == "bridge":
            if one.vlan.protocol != "802.1Q":
                faults.add(f"{at}.vlan.protocol", f"a bridge of runspec's heeds no tags of {one.vlan.protocol}",
                           "its VLANs are those of 802.1Q, ip-link(8) vlan_protocol", "remove it")
        elif one.type != "vlan":
            faults.add(f"{at}.vlan", f"a {one.type} bears no tag",
                       "links of type vlan do, and a veth's port of a bridge may have a VLAN, ip-link(8)",
                       "remove it, or write type: vlan")
        elif not 1 <= one.vlan.id <= 4094:
            faults.add(f"{at}.vlan.id", f"{one.vlan.id} is out of range", "it goes from 1 to 4094, IEEE 802.1Q",
                       "write another one")
    if one.mac is not None and (one.type == "ipvlan" or one.mode == "passthru"):
        faults.add(f"{at}.mac", f"this link has the address of {one.parent}",
                   f"{'an ipvlan' if one.type == 'ipvlan' else 'mode passthru'} shares it with the parent, ip-link(8)",
                   "remove it")
