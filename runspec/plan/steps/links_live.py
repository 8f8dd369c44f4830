"""Interfaces of a running container, changed in place."""

from __future__ import annotations

from runspec.errors import HostError
from runspec.plan import ports, rtnetlink, rtnetlink_links
from runspec.plan.facts import Facts
from runspec.plan.steps import hooks, host_access
from runspec.plan.steps.base import Change, Step
from runspec.plan.steps.host_links import HIGH, JoinBridge, SetHostEnd, SetPortVlan, host_name, station
from runspec.plan.steps.links import (
    PAIRED,
    RemoveInterface,
    RemoveLinkLive,
    add_live,
    configured,
    host_end,
    info,
    inside,
    member,
    route_message,
    wanted_routes,
)
from runspec.plan.steps.namespaces import is_new
from runspec.plan.steps.process import ChangeInside
from runspec.plan.steps.tagged import TagFrames, emulated, shown_kind
from runspec.plan.view_kinds import (
    default_path,
    dropped,
    end_addresses,
    end_routes,
    families,
    far_gateways,
    mode_of,
    mtu_of,
    own_addresses,
    own_routes,
    parameter_path,
    routed,
)
from runspec.plan.view_links import (
    FIRST_INDEX,
    LOOPBACK,
    MADE,
    SHAPERS,
    addresses_of,
    lent,
    onlink_of,
    plain,
    routes_of,
    shapes,
)
from runspec.spec.model import Interface, Route, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Type of a link -> keys of the file whose change takes another link.
ANEW = {"veth": ("mode",), "vlan": ("parent", "vlan.id", "vlan.protocol"), "macvlan": ("parent",),
        "ipvlan": ("parent",)}
MODES_OF = {"macvlan": rtnetlink_links.MACVLAN, "ipvlan": rtnetlink_links.IPVLAN}


def is_anew(one: Interface, link: Any, leaves: set[str]) -> bool:
    """Whether what differs takes another link: then it alone is made anew.

    Args:
        link: what bears the name inside, None where nothing does.
        leaves: the interface's keys that differ, "" for itself.
    """
    if link is None or link.kind != shown_kind(one) or leaves & {"", "type", *ANEW[one.type]}:
        return True
    if "mode" not in leaves:
        return False
    # The kernel changes all modes of a macvlan but the one that takes the parent for itself; and what it has now may be
    # one that no file asks for, with more to it than a way back knows.
    passthru = rtnetlink_links.MACVLAN["passthru"]
    return link.mode not in MODES_OF[one.type].values() or (
        one.type == "macvlan" and (mode_of(one) == "passthru") != (link.mode == passthru))


def free_index(taken: set[int], first: int) -> int:
    """The lowest index from `first` on that no link inside has.

    Raises:
        HostError: all below those of ifbs are taken.
    """
    index = next((number for number in range(first, SHAPERS) if number not in taken), None)
    if index is None:
        raise HostError("no index is free for another interface", f"the container has all from {first} to {SHAPERS}",
                        "remove links inside")
    return index


def change_links(spec: Spec, last: Spec | None, facts: Facts, changes: tuple[Change, ...]) -> list[Step]:
    """Interfaces of a running container, in place."""
    name = spec.name
    paths = [one.path for one in changes if one.path.startswith("interfaces") and ".qos." not in one.path]
    if not paths or not is_new(spec, "network"):
        return []
    steps: list[Step] = []
    nics = lent(spec, last) | set(facts.leases.values())
    here = {link.name: link for link in facts.links if link.index not in nics}
    declared = {one.name for one in spec.interfaces}
    former = {one.name: one for one in last.interfaces} if last is not None else {}
    for link in facts.links:
        if link.index == LOOPBACK or link.name in declared or link.index in nics or shapes(link):
            continue
        if link.name in former:
            steps += host_access.end(name, f"interfaces[{link.name}]", former[link.name])
            steps.append(_remove(name, f"interfaces[{link.name}]", former[link.name], link.index, facts))
        elif link.kind in MADE and not hooks.adds(spec):
            # It may have gone with a physical interface that went home.
            steps.append(inside(name, "interfaces", [rtnetlink.delete_link(link.index)], f"remove {link.name}").replace(
                lenient=True))
    taken = {link.index for link in facts.links}
    for i, one in enumerate(spec.interfaces):
        mine = [path for path in paths if path == f"interfaces[{i}]" or path.startswith(f"interfaces[{i}].")]
        if not mine or one.type == "physical":
            continue
        link = here.get(one.name)
        leaves = {path[len(f"interfaces[{i}]."):] for path in mine}
        if is_anew(one, link, leaves):
            index = free_index(taken, FIRST_INDEX)
            taken.add(index)
            host = host_name(name, one.name)
            if link is not None:
                # Whatever bears the name inside, of any kind, makes room; a veth takes its host end along.
                had = former.get(one.name)
                if had is not None and link.kind == shown_kind(had):
                    steps.append(_remove(name, mine[0], had, link.index, facts))
                else:
                    steps.append(inside(name, mine[0], [rtnetlink.delete_link(link.index)], f"remove {one.name}"))
            if (link is not None and link.kind in PAIRED) or host in facts.host_links:
                steps.append(RemoveLinkLive(target=name, path=mine[0], link=host))
            steps.append(add_live(name, one, index, member(one, facts.networks), mine[0]))
            steps.append(configured(name, mine[0], one, index, f"configure {one.name}"))
            steps += host_access.change(spec, i, former.get(one.name), index)
            continue
        assert link is not None
        outside = {leaf for leaf in leaves if leaf == "network" or leaf.startswith("hostEnd.")
                   or (one.type == "veth" and leaf == "vlan.id")}
        if outside:
            steps += _host_side(name, mine[0], one, facts, outside, former.get(one.name))
        within = leaves - outside - {"fallback", "hostAccess"}
        if within:
            steps.append(in_place(name, mine[0], one, link, facts, within, former.get(one.name)))
        if emulated(one) and leaves & {"fallback", "mac", "up"}:
            steps.append(TagFrames(target=name, path=mine[0], link=host_name(name, one.name), interface=one,
                                   mac=one.mac or link.mac))
        # Whatever changed, routes and neighbours follow it.
        steps += host_access.change(spec, i, former.get(one.name), link.index)
    return steps


def _remove(name: str, path: str, one: Interface, index: int, facts: Facts) -> RemoveInterface:
    return RemoveInterface(target=name, path=path, index=index, interface=one, link=host_end(name, one),
                           member=member(one, facts.networks))


def _host_side(name: str, path: str, one: Interface, facts: Facts, leaves: set[str],
               former: Interface | None) -> list[Step]:
    """The host's end of a veth, in place."""
    end, steps = host_name(name, one.name), list[Step]()
    if "network" in leaves and one.network is not None:
        port = member(one, facts.networks)
        steps.append(JoinBridge(target=name, path=path, link=end, bridge=one.network, isolated=port.isolated,
                                mac=station(end, HIGH) if port.foreign else None, vlan=port.vlan,
                                mtu=ports.mtu(one, facts) if port.foreign else None,
                                was=facts.host_links.get(end, ""), was_mtu=facts.outside[end].mtu,
                                was_isolated=member(former or one, facts.networks).isolated,
                                was_vlan=member(former or one, facts.networks).vlan))
    elif "vlan.id" in leaves:
        steps.append(SetPortVlan(target=name, path=path, link=end,
                                 vlan=one.vlan.id if one.vlan is not None else ports.DEFAULT,
                                 had=tuple(sorted(facts.port_vlans.get(facts.outside[end].index, {}).items()))))
    if leaves - {"network", "vlan.id"}:
        step, link = SetHostEnd(target=name, path=path, link=end), facts.outside[end]
        if "hostEnd.mtu" in leaves:
            step = step.replace(mtu=ports.mtu(one, facts), had_mtu=link.mtu)
        if routed(one):
            v4, v6 = families(one)
            step = step.replace(addresses=own_addresses(one), routes=own_routes(one), v4=v4, v6=v6,
                                had_addresses=tuple(end_addresses(one, link, facts)),
                                had_routes=tuple(end_routes(link, facts)))
        steps.append(step)
    return steps


def in_place(name: str, path: str, one: Interface, link: Any, facts: Facts, leaves: set[str],
            former: Interface | None) -> ChangeInside:
    """The container's end of a link, in place."""
    keys = [leaf[len("sysctl."):] for leaf in sorted(leaves) if leaf.startswith("sysctl.")]
    asked, lost = dict(one.sysctl), dropped(one, former)
    values = [(parameter_path(one, key), asked[key] if key in asked else facts.sysctl.get(default_path(key), ""))
              for key in keys if key in asked or key in lost]
    words = sorted({"sysctl" if leaf.startswith("sysctl.") else leaf for leaf in leaves})
    back = inside(name, path, _back(one, link, facts, leaves), "").replace(lenient=True, sysctls=tuple(
        (key, facts.sysctl[key]) for key, _ in values if facts.sysctl.get(key)))
    return inside(name, path, _differences(one, link, facts, leaves), f"set {', '.join(words)} of {one.name}").replace(
        back=back, sysctls=tuple((key, value) for key, value in values if value))


def _differences(one: Interface, link: Any, facts: Facts, leaves: set[str]) -> list[bytes]:
    """Messages that bring one present link to what is declared."""
    out: list[bytes] = []
    if "mode" in leaves:
        out.append(rtnetlink_links.change_kind(link.index, one.type, info(one)))
    if leaves & {"mac", "mtu", "up"}:
        if "mac" in leaves:
            out.append(rtnetlink.set_link(link.index, mac=one.mac))
        out.append(rtnetlink.set_link(link.index, up=True, mtu=mtu_of(one, facts) if "mtu" in leaves else None))
    wanted = wanted_routes(one)
    shown, near = routes_of(facts, link.index), onlink_of(facts, link.index)
    asked, far = [plain(route) for route in wanted], far_gateways(one)
    # Before the addresses, which take the routes through them along.
    for route in shown:
        if route not in asked:
            out.append(route_message(rtnetlink.delete_route, _route(route), link.index))
    out += [rtnetlink.delete_route(to, oif=link.index) for to in near if to not in far]
    have = addresses_of(facts, link.index, one.addresses)
    if "addresses" in leaves:
        out += [rtnetlink.delete_address(link.index, address) for address in have if address not in one.addresses]
        # All of them: the end of a subnet's first address takes the others along.
        out += [rtnetlink.add_address(link.index, address) for address in one.addresses]
    # A link that went down, or lost an address, lost the routes through it as well.
    lost = leaves & {"addresses", "up"}
    out += [rtnetlink.add_route(to, oif=link.index, protocol=rtnetlink.OURS) for to in far if lost or to not in near]
    out += [route_message(rtnetlink.add_route, route, link.index) for route in wanted
            if lost or plain(route) not in shown]
    return out


def _route(words: tuple[str, str, int]) -> Route:
    """The inverse of plain."""
    return Route(to=words[0], via=words[1] or None, metric=words[2] or None)


def _back(one: Interface, link: Any, facts: Facts, leaves: set[str]) -> list[bytes]:
    """Messages that bring one link back to what it is now, from wherever _differences was interrupted."""
    have, shown = addresses_of(facts, link.index, one.addresses), routes_of(facts, link.index)
    near = onlink_of(facts, link.index)
    out = [route_message(rtnetlink.delete_route, route, link.index) for route in wanted_routes(one)
           if plain(route) not in shown]
    out += [rtnetlink.delete_route(to, oif=link.index) for to in far_gateways(one) if to not in near]
    if "mode" in leaves:
        out.append(rtnetlink_links.change_kind(link.index, one.type, _info(link)))
    if "addresses" in leaves:
        out += [rtnetlink.delete_address(link.index, address) for address in one.addresses if address not in have]
        out += [rtnetlink.add_address(link.index, address) for address in have]
    if leaves & {"mac", "mtu", "up"}:
        out.append(rtnetlink.set_link(link.index, mac=link.mac))
        out.append(rtnetlink.set_link(link.index, up=link.up, mtu=link.mtu))
    out += [rtnetlink.add_route(to, oif=link.index, protocol=rtnetlink.OURS) for to in near]
    return out + [route_message(rtnetlink.add_route, _route(route), link.index) for route in shown]


def _info(link: Any) -> bytes:
    """The mode that a link has now."""
    make, words = ((rtnetlink_links.macvlan_info, rtnetlink_links.MACVLAN) if link.kind == "macvlan"
                   else (rtnetlink_links.ipvlan_info, rtnetlink_links.IPVLAN))
    return make(next(word for word, number in words.items() if number == link.mode))
