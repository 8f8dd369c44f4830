"""What of a link lies on the host, as path -> value: its VLAN by tc-bpf, and the host's way to it."""

from __future__ import annotations

from runspec.plan.facts import Facts
from runspec.plan.host_view import HostView
from runspec.plan.steps import host_access, tagged
from runspec.plan.steps.host_links import host_name
from runspec.spec.model import Interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    View = dict[str, Any]


def expect_host(one: Interface, path: str, view: View) -> None:
    """What a file asks for: the fallback as it is written, and the addresses by which host and container meet."""
    if tagged.emulated(one):
        view[f"{path}.fallback"] = one.fallback
    if one.type in host_access.KINDS:
        view[f"{path}.hostAccess"] = tuple(sorted(map(host_access.plain, one.addresses))) if one.host_access else ()


def see_host(container: str, one: Interface, link: Any, facts: Facts, path: str, view: View) -> None:
    """What the kernel shows of it."""
    former, host = facts.former.get(one.name), facts.beside
    if one.type in host_access.KINDS:
        asked = host is not None and link.kind in host_access.KINDS and any(
            each is not None and host_access.asks(each) for each in (one, former))
        view[f"{path}.hostAccess"] = host_access.seen(one, former, link, host, facts.neighbours) if asked else ()
    if tagged.emulated(one) and link.kind == "veth" and host is not None:
        end = host.named(host_name(container, one.name))
        if end is None:
            return
        view[f"{path}.type"] = one.type
        before = former if former is not None and tagged.emulated(former) else one
        place, lack = whereabouts(f"{container}:{one.name}", before, end, link.mac, host)
        assert before.vlan is not None
        found, vlan = place or (before.parent, before.vlan)
        view[f"{path}.parent"], view[f"{path}.vlan.id"], view[f"{path}.vlan.protocol"] = found, vlan.id, vlan.protocol
        view[f"{path}.fallback"] = f"{one.fallback} without {lack}" if lack else one.fallback


def whereabouts(who: str, one: Interface, end: Any, mac: str, host: HostView) -> tuple[Any, str]:
    """((parent, VLAN) of an interface's filter or None, what else is missing or "").

    Args:
        who: CONTAINER:INTERFACE.
        one: as it was applied last.
        end: the pair's end on the host; mac: of the other one.
    """
    parent, found = host.parent(one.parent), None
    if parent is None:
        return None, f"its parent {one.parent}"
    rows = host.filters.get(parent.index, [])
    found = next((tagged.vlan_at(row.order) for row in rows if tagged.owner(row.name)[0] == who), None)
    lack = [word for word, missing in (
        (f"its filter on {parent.name}", found is None),
        (f"its filter on {end.name}", not any(tagged.owner(row.name)[0] == who and row.order == tagged.TAG_ORDER
                                              for row in host.filters.get(end.index, []))),
        (f"the keeper on {parent.name}", not any(row.name.startswith(tagged.MADE) for row in rows)),
        (f"{end.name} up", not end.up),
        (f"all multicast on {parent.name}", parent.index not in host.multicast),
        (f"{mac} heard on {parent.name}", mac != parent.mac and (parent.index, mac) not in host.heard),
    ) if missing]
    return (one.parent, found) if found is not None else None, ", ".join(lack)

