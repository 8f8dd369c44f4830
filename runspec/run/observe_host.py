"""Reads of the host's network what only some links ask for."""

from __future__ import annotations

from runspec import abi
from runspec.errors import HostError
from runspec.plan import rtnetlink, rtnetlink_host, tc
from runspec.plan.host_view import HostView
from runspec.plan.steps import host_access, host_links, tagged as tagging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runspec.kernel import Kernel
    from runspec.spec.model import Spec


def look(kernel: Kernel, specs: Iterable[Spec]) -> HostView | None:
    """What these specs ask of the host, None where they ask nothing."""
    asked = [(spec.name, one) for spec in specs for one in spec.interfaces
             if tagging.emulated(one) or host_access.asks(one)]
    if not asked:
        return None
    out = HostView()
    out.links = kernel.rows("links", rtnetlink.dump_links())
    for _, one in asked:
        if one.parent not in out.parents:
            try:
                out.parents[one.parent or ""] = host_links.parent_index(kernel, one.parent or "")
            except HostError:
                out.parents[one.parent or ""] = 0
    if any(host_access.asks(one) for _, one in asked):
        out.addresses = kernel.rows("addresses", rtnetlink.dump_addresses())
        out.ways = [row for row in kernel.rows("ways", rtnetlink.dump_routes()) if row.protocol == rtnetlink.OURS]
        out.neighbours = kernel.rows("neighbours", rtnetlink_host.dump_neighbours())
    tagged = [(name, one) for name, one in asked if tagging.emulated(one)]
    if tagged:
        out.heard = {(row.index, row.mac) for row in kernel.rows("neighbours", rtnetlink_host.dump_heard())}
        out.multicast = {index for index, flags in kernel.rows("flags", rtnetlink.dump_links())
                         if flags & abi.IFF_ALLMULTI}
    for name, one in tagged:
        for link in (out.parent(one.parent), out.named(host_links.host_name(name, one.name))):
            if link is not None and link.index not in out.filters:
                out.filters[link.index] = kernel.rows("filters", tc.dump_filters(link.index, tc.INGRESS_HOOK))
    return out
