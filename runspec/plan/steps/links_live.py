"""Interfaces of a running container, changed in place."""

from __future__ import annotations

from runspec.plan import rtnetlink
from runspec.plan.facts import Facts
from runspec.plan.steps import hooks
from runspec.plan.steps.base import LIVE, Change, HostStep, Step
from runspec.plan.steps.host_links import MARK, host_name, remove_own
from runspec.plan.steps.links import (
    AddVethLive,
    Member,
    RemoveLinkLive,
    inside,
    link_messages,
    member,
    route_message,
    wanted_routes,
)
from runspec.plan.steps.namespaces import is_new
from runspec.plan.view_links import FIRST_INDEX, LOOPBACK, MADE, addresses_of, lent, plain, routes_of
from runspec.spec.model import Interface, Route, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RemoveVethLive(HostStep):
    """Removes an interface that the file names no more from a running container.

    Args:
        link: the host end's name.
        interface, index: as it is, for the way back.
    """

    PHASE = LIVE
    link: str
    interface: Interface
    index: int
    member: Member = Member()

    def apply(self, kernel: Any, run: Any) -> Any:
        """From inside, where it is whatever became of its host end."""
        inside(self.target, self.path, [rtnetlink.delete_link(self.index)], "").replace(lenient=True).apply(kernel, run)
        remove_own(kernel, self.link, MARK)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Made anew, with its addresses and routes."""
        if run.pid(self.target) and kernel.link_index(self.link) is None:
            one = AddVethLive(target=self.target, link=self.link, interface=self.interface, index=self.index,
                              member=self.member)
            one.apply(kernel, run)
            inside(self.target, self.path, link_messages(self.interface, self.index), "").apply(kernel, run)

    def __str__(self) -> str:
        return f"remove {self.interface.name} in {self.target}, and its other end {self.link}"


def change_links(spec: Spec, last: Spec | None, facts: Facts, changes: tuple[Change, ...]) -> list[Step]:
    """Interfaces of a running container, in place."""
    name = spec.name
    paths = [one.path for one in changes if one.path.startswith("interfaces")]
    if not paths or not is_new(spec, "network"):
        return []
    steps: list[Step] = []
    here = {link.name: link for link in facts.links}
    declared = {one.name for one in spec.interfaces}
    former = {one.name: one for one in last.interfaces} if last is not None else {}
    for link in facts.links:
        if link.index == LOOPBACK or link.name in declared or link.index in lent(spec, last):
            continue
        if link.name in former:
            steps.append(RemoveVethLive(target=name, path=f"interfaces[{link.name}]", index=link.index,
                                        link=host_name(name, link.name), interface=former[link.name],
                                        member=member(former[link.name], facts.networks)))
        elif link.kind in MADE and not hooks.adds(spec):
            steps.append(inside(name, "interfaces", [rtnetlink.delete_link(link.index)], f"remove {link.name}"))
    taken = {link.index for link in facts.links}
    for i, one in enumerate(spec.interfaces):
        mine = [path for path in paths if path == f"interfaces[{i}]" or path.startswith(f"interfaces[{i}].")]
        if not mine:
            continue
        link = here.get(one.name)
        anew = link is None or any(path.endswith((f"[{i}]", ".type", ".network")) for path in mine)
        if anew:
            index = next(n for n in range(FIRST_INDEX, FIRST_INDEX + 4096) if n not in taken)
            taken.add(index)
            host = host_name(name, one.name)
            if link is not None:
                # Whatever bears the name inside, of any kind, makes room; a veth takes its host end along.
                if one.name in former and link.kind == "veth":
                    steps.append(RemoveVethLive(target=name, path=mine[0], index=link.index, link=host,
                                                interface=former[one.name],
                                                member=member(former[one.name], facts.networks)))
                else:
                    steps.append(inside(name, mine[0], [rtnetlink.delete_link(link.index)], f"remove {one.name}"))
            if link is not None or host in facts.host_links:
                steps.append(RemoveLinkLive(target=name, path=mine[0], link=host))
            steps.append(AddVethLive(target=name, path=mine[0], link=host, interface=one, index=index,
                                     member=member(one, facts.networks)))
            steps.append(inside(name, mine[0], link_messages(one, index), f"configure {one.name}"))
            continue
        assert link is not None
        leaves = {path.rsplit(".", 1)[1] for path in mine}
        messages = _differences(one, link, facts, leaves)
        back = inside(name, mine[0], _back(one, link, facts, leaves), "").replace(lenient=True)
        steps.append(inside(name, mine[0], messages, f"set {', '.join(sorted(leaves))} of {one.name}")
                     .replace(back=back))
    return steps


def _differences(one: Interface, link: Any, facts: Facts, leaves: set[str]) -> list[bytes]:
    """Messages that bring one present link to what is declared."""
    out: list[bytes] = []
    if leaves & {"mac", "mtu", "up"}:
        if "mac" in leaves:
            out.append(rtnetlink.set_link(link.index, mac=one.mac))
        out.append(rtnetlink.set_link(link.index, up=True, mtu=(one.mtu or 1500) if "mtu" in leaves else None))
    wanted = wanted_routes(one)
    shown = routes_of(facts, link.index)
    asked = [plain(route) for route in wanted]
    # Before the addresses, which take the routes through them along.
    for route in shown:
        if route not in asked:
            out.append(route_message(rtnetlink.delete_route, _route(route), link.index))
    have = addresses_of(facts, link.index, one.addresses)
    if "addresses" in leaves:
        out += [rtnetlink.delete_address(link.index, address) for address in have if address not in one.addresses]
        # All of them: the end of a subnet's first address takes the others along.
        out += [rtnetlink.add_address(link.index, address) for address in one.addresses]
    # A link that went down, or lost an address, lost the routes through it as well.
    lost = leaves & {"addresses", "up"}
    out += [route_message(rtnetlink.add_route, route, link.index) for route in wanted
            if lost or plain(route) not in shown]
    return out


def _route(words: tuple[str, str, int]) -> Route:
    """The inverse of plain."""
    return Route(to=words[0], via=words[1] or None, metric=words[2] or None)


def _back(one: Interface, link: Any, facts: Facts, leaves: set[str]) -> list[bytes]:
    """Messages that bring one link back to what it is now, from wherever _differences was interrupted."""
    have, shown = addresses_of(facts, link.index, one.addresses), routes_of(facts, link.index)
    out = [route_message(rtnetlink.delete_route, route, link.index) for route in wanted_routes(one)
           if plain(route) not in shown]
    if "addresses" in leaves:
        out += [rtnetlink.delete_address(link.index, address) for address in one.addresses if address not in have]
        out += [rtnetlink.add_address(link.index, address) for address in have]
    if leaves & {"mac", "mtu", "up"}:
        out.append(rtnetlink.set_link(link.index, mac=link.mac))
        out.append(rtnetlink.set_link(link.index, up=link.up, mtu=link.mtu))
    return out + [route_message(rtnetlink.add_route, _route(route), link.index) for route in shown]
