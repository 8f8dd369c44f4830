"""Interfaces as path -> value: as a file asks for them, and as the kernel shows them."""

from __future__ import annotations

from runspec import abi
from runspec.plan import rtnetlink, view_host, view_kinds
from runspec.plan.facts import Facts
from runspec.plan.steps.namespaces import is_new
from runspec.plan.values import ABSENT
from runspec.plan.view_nic import expect_nic, nic_inside, nics_inside, see_nic
from runspec.spec.model import Route, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Interfaces get fixed indexes inside, so that their addresses can be packed before they exist;
# lower ones may be taken by what the kernel puts into every new namespace (lo, tunl0, sit0).
FIRST_INDEX = 11
# Inside, an ifb's index is so far above that of the link whose traffic goes through it.
SHAPERS = 1 << 20
LOOPBACK = 1


def device_index(host: str) -> int:
    """The index inside of a link that was the host's: by it alone it is known there, whatever its name."""
    return rtnetlink.link_index(f"{host}>")


def lent(*specs: Spec | None) -> set[int]:
    """The indexes inside of all links that were the host's."""
    return {device_index(one.host) for spec in specs if spec is not None for one in spec.linux.net_devices}


def interface_view(spec: Spec, facts: Facts, view: dict[str, Any]) -> None:
    """Interfaces as path -> value, as asked."""
    if spec.linux.net_devices:
        view["linux.netDevices"] = tuple((one.host, one.name or one.host) for one in spec.linux.net_devices)
    if not is_new(spec, "network"):
        return
    view["interfaces"] = ()
    for i, one in enumerate(spec.interfaces):
        path = f"interfaces[{i}]"
        view[path], view[f"{path}.type"] = one.name, one.type
        view_kinds.expect_kind(spec.name, one, facts, path, view)
        view_host.expect_host(one, path, view)
        if one.mac is not None:
            view[f"{path}.mac"] = one.mac
        view[f"{path}.mtu"], view[f"{path}.up"] = view_kinds.mtu_of(one, facts), True
        if one.type == "physical":
            expect_nic(one, facts, path, view)
        view[f"{path}.addresses"] = tuple(sorted(one.addresses))
        view[f"{path}.gateway"] = tuple(sorted(one.gateway))
        view[f"{path}.routes"] = tuple(sorted(plain(route) for route in one.routes))


def shapes(link: Any) -> bool:
    """Whether a link inside is one through which runspec holds the traffic of another, see plan/traffic.py."""
    return bool(link.kind == "ifb" and link.index > SHAPERS)


def plain(route: Route) -> tuple[str, str, int]:
    """A route as it compares."""
    return route.to, route.via or "", route.metric or 0


def see_devices(spec: Spec, last: Spec | None, facts: Facts, view: dict[str, Any]) -> None:
    """The host's links that are inside, each by its index; what is not asked any more as well."""
    if not is_new(spec, "network"):
        return
    here = {link.index: link.name for link in facts.links}
    shown, asked = [], {one.host: one for one in (last or spec).linux.net_devices}
    for one in (asked | {one.host: one for one in spec.linux.net_devices}).values():
        name, wanted = here.get(device_index(one.host), ""), one.name or one.host
        head, template, tail = wanted.partition("%d")
        number = name[len(head):len(name) - len(tail)]
        shown.append((one.host, wanted if template and name == head + number + tail and number.isdigit() else name))
    view["linux.netDevices"] = tuple(sorted(one for one in shown if one[1])) or ABSENT


def links_seen(spec: Spec, last: Spec | None, facts: Facts, view: dict[str, Any]) -> None:
    """Interfaces as path -> value, as the kernel shows them."""
    if not is_new(spec, "network"):
        return
    nics = nics_inside(spec, facts)
    here = {link.name: link for link in facts.links if link.index not in nics}
    declared = {one.name for one in spec.interfaces}
    # Every namespace may be born with fallback tunnels; only what somebody made counts.
    gone = {one.name for one in last.interfaces if one.name in here} - declared if last is not None else set()
    view.update((f"interfaces[{name}]", name) for name in sorted(gone))
    view["interfaces"] = tuple(sorted(link.name for link in facts.links if link.index != LOOPBACK
                                      and link.name not in declared | gone and link.kind in MADE
                                      and link.index not in lent(spec, last) and not shapes(link)))
    for i, one in enumerate(spec.interfaces):
        path = f"interfaces[{i}]"
        link = nic_inside(one, facts) if one.type == "physical" else here.get(one.name)
        view[path] = link.name if link is not None else ABSENT
        if link is None:
            continue
        if one.type == "physical":
            see_nic(one, link, facts, path, view)
        else:
            view[f"{path}.type"] = link.kind
            view_kinds.see_kind(spec.name, one, link, facts, path, view)
            view_host.see_host(spec.name, one, link, facts, path, view)
            if one.mac is not None:
                view[f"{path}.mac"] = link.mac
        view[f"{path}.mtu"], view[f"{path}.up"] = link.mtu, link.up
        view[f"{path}.addresses"] = tuple(sorted(addresses_of(facts, link.index, one.addresses)))
        shown = routes_of(facts, link.index)
        asked = [plain(route) for route in one.routes]
        gateways = [r for r in shown if r[0] == "default" and r[1] and not r[2] and r not in asked]
        far, near = view_kinds.far_gateways(one), onlink_of(facts, link.index)
        view[f"{path}.gateway"] = tuple(sorted(r[1] for r in gateways if view_kinds.whole(r[1]) not in far
                                               or view_kinds.whole(r[1]) in near))
        view[f"{path}.routes"] = tuple(sorted(r for r in shown if r not in gateways))


MADE = ("veth", "bridge", "vlan", "macvlan", "ipvlan", "dummy", "tun", "vxlan", "ifb")


def addresses_of(facts: Facts, index: int, declared: tuple[str, ...] = ()) -> list[str]:
    """Addresses in CIDR form, without the link-local one that the kernel makes by itself.

    Args:
        declared: those that count whatever they are.
    """
    return [one.cidr for one in facts.addresses if one.index == index and (one.cidr in declared or not (
        one.cidr.startswith("fe80:") and one.scope == abi.RT_SCOPE_LINK))]


def onlink_of(facts: Facts, index: int) -> list[str]:
    """Routes of runspec's own through a link inside: those that bring a gateway into reach."""
    return [one.to for one in facts.routes if one.oif == index and one.table == abi.RT_TABLE_MAIN
            and one.protocol == rtnetlink.OURS]


def routes_of(facts: Facts, index: int) -> list[tuple[str, str, int]]:
    """Routes somebody set; those the kernel derives from addresses do not count."""
    out = []
    for one in facts.routes:
        if one.oif != index or one.table != abi.RT_TABLE_MAIN or one.type != abi.RTN_UNICAST \
                or one.protocol in (abi.RTPROT_KERNEL, abi.RTPROT_RA, rtnetlink.OURS):
            continue
        # What IPv6 calls metric 1024 is what no metric means there.
        v6 = one.family == abi.AF_INET6
        out.append((one.to, one.via, 0 if v6 and one.metric == 1024 else one.metric))
    return out
