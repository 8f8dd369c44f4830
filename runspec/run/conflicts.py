"""Holds the networks and links of a request against links, addresses and routes of the host that are not runspec's."""

from __future__ import annotations

from runspec import abi
from runspec.errors import HostError
from runspec.plan.steps import host_access, host_links
from runspec.spec import from_yaml, networks, units
from runspec.spec.model import Interface, Network, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.errors import SpecError
    from runspec.kernel.netlink import Route
    from runspec.run.observe import Observer
    from runspec.run.request import Wanted

    Span = tuple[int, int, int]


def judge(wanted: list[Wanted], observer: Observer, known: dict[str, Network]) -> tuple[list[SpecError], list[str]]:
    """Faults at documents that are new or edited, and lines of warning.

    Args:
        wanted: these documents alone.
        known: the networks that they name.
    """
    faults: list[SpecError] = []
    warnings: list[str] = []
    ends = {one.model.name: host_links.alias(one.model.name) for one in wanted if isinstance(one.model, Network)
            and not one.model.external}
    for one in wanted:
        if isinstance(one.model, Spec):
            faults += _links(one, one.model, observer, known, ends)
        elif one.model.addresses:
            found, told = _subnets(one, one.model, observer)
            faults += found
            warnings += told
    return faults, warnings


def _links(one: Wanted, spec: Spec, observer: Observer, known: dict[str, Network],
           ends: dict[str, str]) -> list[SpecError]:
    """Ends on the host whose names are taken, routes of others to what is to be reached, asking too much of a bridge.

    Args:
        ends: learns name of a host end -> mark of its interface.
    """
    if not spec.interfaces:
        return []
    out = []
    here = {link.name: link for link in observer.host_links()}
    for index, link in enumerate(spec.interfaces):
        at, name = f"interfaces[{index}]", host_links.host_name(spec.name, link.name)
        mark = host_links.alias(spec.name, link.name)
        taken = ends.setdefault(name, mark) if link.type == "veth" else mark
        if taken == mark and link.type == "veth" and name in here:
            taken = here[name].alias
        if taken != mark:
            whose = f"is there for {taken.removeprefix(host_links.MARK)}" if taken.startswith(host_links.MARK) else (
                "is there already and is not runspec's")
            out.append(from_yaml.fault(
                one.marks, f"{at}.name", f"a link {name} {whose}",
                "it is the name of this interface's end on the host; runspec changes only what carries its mark, "
                "ip-link(8) alias", "name the interface or the container otherwise, or remove that link"))
        for address in host_access.others(observer.host_routes(), link.addresses) if host_access.asks(link) else ():
            out.append(from_yaml.fault(one.marks, f"{at}.addresses[{link.addresses.index(address)}]",
                                       *host_access.taken(address)))
        out += _stations(one, at, link, observer, known)
        network = known.get(link.network or "")
        bridge = here.get(network.name) if network is not None and network.external else None
        if bridge is not None and link.mtu is not None and link.mtu > bridge.mtu:
            out.append(from_yaml.fault(
                one.marks, f"{at}.mtu", f"{link.mtu} is more than the {bridge.mtu} of {bridge.name}",
                "a bridge drops what is larger, and this one is somebody else's", f"remove mtu, or write {bridge.mtu}"))
    return out


def _stations(one: Wanted, at: str, link: Interface, observer: Observer, known: dict[str, Network]) -> list[SpecError]:
    """Addresses that the host itself has on the link that a container's is to be on; our own networks are judged
    elsewhere."""
    network, name = known.get(link.network or ""), ""
    if network is not None and network.external:
        name = network.name
    elif link.type in ("macvlan", "ipvlan") and link.parent is not None:
        try:
            index = host_links.parent_index(observer.kernel, link.parent)
        except HostError:
            return []
        name = next((found.name for found in observer.host_links() if found.index == index), "")
    if not name:
        return []
    here = {networks.number(address) for address in observer.addresses_on(name)}
    return [from_yaml.fault(
        one.marks, f"{at}.addresses[{i}]", f"{address.partition('/')[0]} is the host's own on {name}",
        "of two with one address the others reach either, arp(7)", "choose another address")
        for i, address in enumerate(link.addresses) if networks.number(address) in here]


def _subnets(one: Wanted, network: Network, observer: Observer) -> tuple[list[SpecError], list[str]]:
    """Subnets that the host knows from elsewhere.

    Refused where the host would lose something: the subnet of another link that lies in ours, or the very
    destination of a route. What lies around ours is hidden in part only, and that warns.
    """
    faults: list[SpecError] = []
    warnings: list[str] = []
    names = {link.index: link.name for link in observer.host_links()}
    ours = {link.index for link in observer.host_links()
            if link.alias.startswith(host_links.MARK) or link.name == network.name}
    held = [(names.get(found.index, "?"), found.cidr) for found in observer.host_addresses() if found.index not in ours
            and not found.cidr.startswith(("fe80:", "127.", "::1/"))]
    routes = [(names.get(found.oif, "?"), found.to) for found in observer.host_routes()
              if found.oif not in ours and counts(found)]
    for index, address in enumerate(network.addresses):
        if address.startswith("fe80:"):
            continue
        mine, text, at = units.span(address), units.network_text(address), f"addresses[{index}]"
        for link, cidr in held:
            theirs = units.span(cidr)
            if not overlap(mine, theirs):
                continue
            if within(theirs, mine) or within(units.span(cidr.partition("/")[0]), mine):
                faults.append(from_yaml.fault(
                    one.marks, at, f"{text} overlaps {units.network_text(cidr)} of {link}",
                    f"the host has {cidr} there, and reaches an address by one link only, ip-route(8)",
                    "choose another subnet"))
            else:
                warnings.append(f"warning: {network.name}: {text} hides a part of {units.network_text(cidr)} of {link}")
        for link, to in routes:
            theirs = units.span(to)
            if theirs == mine:
                faults.append(from_yaml.fault(
                    one.marks, at, f"{text} overlaps a route of the host",
                    f"it leads to {to} through {link}, and of two equal ones a packet takes one, ip-route(8)",
                    "choose another subnet, or remove that route"))
            elif overlap(mine, theirs):
                warnings.append(f"warning: {network.name}: " + (
                    f"the host's route to {to} through {link} takes a part of {text}" if within(theirs, mine)
                    else f"{text} hides a part of the host's route to {to} through {link}"))
    return faults, list(dict.fromkeys(warnings))


def counts(route: Route) -> bool:
    """Whether somebody set it: not the default one, nor what follows from an address."""
    return (route.table == abi.RT_TABLE_MAIN and route.type == abi.RTN_UNICAST and route.to != "default"
            and route.protocol != abi.RTPROT_KERNEL and not route.to.startswith(("fe80:", "ff00:")))


def overlap(one: Span, other: Span) -> bool:
    """Whether two spans of addresses have one in common."""
    return one[0] == other[0] and one[1] <= other[2] and other[1] <= one[2]


def within(one: Span, other: Span) -> bool:
    """Whether the first lies in the second."""
    return one[0] == other[0] and other[1] <= one[1] and one[2] <= other[2]
