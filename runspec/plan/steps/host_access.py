"""The host's way to macvlan and ipvlan links of containers, and theirs to it.

The kernel keeps what such a link sends from the link that carries it, and the other way round. So the host gets one
more link of the kind on the same parent, shared by all containers that ask for it, and a route through it to each of
their addresses. It takes no address from anybody: it has none and asks for none. A macvlan answers nobody either; an
ipvlan, from which the kernel takes that flag as it comes up, has the parent's MAC anyway. Who has which address is
written down on both sides as neighbours that stay, so nobody on the wire learns that the host has another MAC than the
parent's.

See: ip-link(8) "MACVLAN and MACVTAP Type Support", "IPVLAN and IPVTAP Type Support"; ip-neighbour(8).
"""

from __future__ import annotations

from errno import ENODEV, ENOENT, ESRCH

from runspec import abi
from runspec.errors import HostError
from runspec.plan import rtnetlink, rtnetlink_host, rtnetlink_links
from runspec.plan.host_view import HostView
from runspec.plan.steps.base import FINISH, LIVE, HostStep, Step, Table
from runspec.plan.steps.host_links import MARK, deafen, digest, parent_index, parent_of, station
from runspec.plan.steps.namespaces import inside
from runspec.plan.view_kinds import whole
from runspec.spec.model import Interface, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KINDS = ("macvlan", "ipvlan")
INFO = {"macvlan": rtnetlink_links.macvlan_info("bridge"), "ipvlan": rtnetlink_links.ipvlan_info("l2")}


def asks(one: Interface) -> bool:
    """Whether the host is to reach this link past its parent."""
    return one.host_access and one.type in KINDS


def link_name(parent: str, kind: str) -> str:
    """The name of the host's own link: one for each parent and kind."""
    return f"rs{digest(f'{parent}>{kind}'):013x}"


def mark(parent: str, kind: str) -> str:
    """Its alias: no container's name is empty."""
    return f"{MARK}:{kind} on {parent}"


def new_mac(parent: Any, kind: str) -> str | None:
    """The MAC that it is given, the same each time; None where it has the parent's."""
    if kind == "ipvlan":
        return None
    return station(f"{parent.name}>{kind}>mac")


def plain(address: str) -> str:
    """Without its prefix."""
    return address.partition("/")[0]


def of_host(rows: list[Any], parent: Any, family: bool) -> list[str]:
    """The parent's addresses that the world may know it by, of IPv6 or not, with their prefixes."""
    # Of IPv4 the flag of a temporary address means a second one of its network.
    passing = abi.IFA_F_DEPRECATED | (abi.IFA_F_TEMPORARY if family else 0)
    return [one.cidr for one in rows if one.index == parent.index and (":" in one.cidr) == family
            and one.scope == abi.RT_SCOPE_UNIVERSE and not one.flags & passing]


def others(routes: list[Any], addresses: tuple[str, ...]) -> list[str]:
    """Those of some addresses, in CIDR form, to which a route leads that is not runspec's."""
    there = {one.to for one in routes if one.table == abi.RT_TABLE_MAIN and one.protocol != rtnetlink.OURS}
    return [one for one in addresses if whole(one) in there]


def taken(address: str) -> tuple[str, str, str]:
    """What such a route means."""
    return (f"a route to {plain(address)} is there already and is not runspec's",
            "hostAccess leads the host to a container by a route of its own to each address, and changes only those of "
            f"protocol {rtnetlink.OURS}, ip-route(8)", f"remove it: ip route del {whole(address)}, or use another "
            "address")


def source(address: str, own: list[str]) -> str | None:
    """The host's address that packets to a container's come from: one in its network, else the first."""
    from runspec.spec import units
    near = [one for one in own if units.within(plain(address), one)]
    return plain((near or own)[0]) if own else None


class Ways:
    """What a container's interface needs so that host and container reach each other, on both sides.

    Attributes:
        routes: (address of the container, source of the host's packets or None).
        neighbours: (address of the container, its MAC), for the host.
        inside: (address of the host, its link's MAC), for the container.
    """

    __slots__ = ("inside", "neighbours", "routes")

    def __init__(self, parent: Any, addresses: tuple[str, ...], mac: str, rows: list[Any],
                 own_mac: str) -> None:
        own = {family: of_host(rows, parent, family) for family in (False, True)}
        self.routes = [(plain(one), source(one, own[":" in one])) for one in addresses]
        self.neighbours = [(plain(one), mac) for one in addresses]
        self.inside = [(plain(one), own_mac) for family in {":" in one for one in addresses}
                       for one in own[family]]


class LetHostIn(HostStep):
    """Routes and neighbours between the host and a container's addresses; the host's link where it is missing.

    Args:
        interface: its name inside.
        kind, parent: as the file asks for them.
        addresses: in CIDR form, to be reached; none ends it all.
        former: those that were reached before.
        index: of the interface inside.
    """

    PHASE = LIVE
    interface: str
    kind: str
    parent: str
    addresses: tuple[str, ...]
    former: tuple[str, ...] = ()
    index: int

    def apply(self, kernel: Any, run: Any) -> Any:
        """Everything anew: what is right stays as it is."""
        found = others(kernel.rows("routes", rtnetlink.dump_routes()), self.addresses)
        if found:
            raise HostError(*taken(found[0]))
        self.turn(kernel, run, self.addresses, self.former)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """The former ones, where the parent is still there."""
        if present(kernel, self.parent):
            found = others(kernel.rows("routes", rtnetlink.dump_routes()), self.former)
            self.turn(kernel, run, tuple(one for one in self.former if one not in found), self.addresses)

    def turn(self, kernel: Any, run: Any, wanted: tuple[str, ...], ended: tuple[str, ...]) -> None:
        """From some addresses to others.

        Raises:
            HostError: the parent is gone, or a link of that name is not ours.
        """
        if not wanted and not present(kernel, self.parent):
            return          # and all that stood on it
        parent, rows = parent_of(kernel, self.parent), kernel.rows("addresses", rtnetlink.dump_addresses())
        mac = self.mac(kernel, run, parent) if wanted else ""
        gone = [plain(one) for one in ended if plain(one) not in map(plain, wanted)]
        with run.alone():
            index, own_mac = (make if wanted else found)(kernel, parent, self.kind)
            ways = Ways(parent, wanted, mac, rows, own_mac)
            if index:
                drop(kernel, index, gone)
                for address, own in ways.routes:
                    kernel.netlink(rtnetlink_host.put_host_route(address, index, own), f"route to {address}")
                for address, mac in ways.neighbours:
                    kernel.netlink(rtnetlink_host.put_neighbour(index, address, mac), f"neighbour {address}")
                if not wanted:
                    tidy(kernel, index)
        self.tell(kernel, run, ways, parent, rows)

    def mac(self, kernel: Any, run: Any, parent: Any) -> str:
        """The MAC that the interface has inside."""
        if self.kind == "ipvlan":
            return str(parent.mac)
        facts = run.link_inside(self, self.index)
        if facts is None:
            raise HostError(f"{self.interface} of {self.target} is not there", "its MAC is to be written down")
        return str(facts["mac"])

    def tell(self, kernel: Any, run: Any, ways: Ways, parent: Any, rows: list[Any]) -> None:
        """Inside: who has the host's addresses; where nobody is to reach it any more, nobody."""
        if not run.pid(self.target):
            return
        table, known = Table(("init",)), {address for address, _ in ways.inside}
        inside(table, ("network",))
        for address in (plain(one) for family in (False, True) for one in of_host(rows, parent, family)):
            if address not in known:
                table.add(abi.OP_IGNORE_NEXT)
                table.add(abi.OP_NETLINK, s1=rtnetlink_host.delete_neighbour(self.index, address), c=ENOENT)
        for address, mac in ways.inside:
            if not self.addresses:
                table.add(abi.OP_IGNORE_NEXT)       # on the way back its link may be gone
            table.add(abi.OP_NETLINK, s1=rtnetlink_host.put_neighbour(self.index, address, mac))
        run.inside(self, table)

    def __str__(self) -> str:
        if not self.addresses:
            return f"let the host reach {self.interface} of {self.target} on {self.parent} no more"
        return (f"let the host reach {', '.join(map(plain, self.addresses))} by a {self.kind} of its own on "
                f"{self.parent}")


class ShutHostOut(HostStep):
    """Removes the host's routes to a container that ends, and its link after the last of them.

    Args:
        kind, parent: as they were applied.
        addresses: those that were reached, in CIDR form.
    """

    PHASE = FINISH
    kind: str
    parent: str
    addresses: tuple[str, ...]

    def apply(self, kernel: Any, run: Any) -> Any:
        """Gone already is as good; with the parent all goes."""
        if not present(kernel, self.parent):
            return
        parent = parent_of(kernel, self.parent)
        with run.alone():
            index, _ = found(kernel, parent, self.kind)
            if index:
                drop(kernel, index, [plain(one) for one in self.addresses])
                tidy(kernel, index)

    def __str__(self) -> str:
        return f"remove the host's routes to {', '.join(map(plain, self.addresses))} on {self.parent}"


class ShutHostOutLive(ShutHostOut):
    """The same for an interface that a running container loses: before another takes its address."""

    PHASE = LIVE


def present(kernel: Any, text: str) -> bool:
    """Whether there is such a link of the host."""
    try:
        parent_index(kernel, text)
    except HostError:
        return False
    return True


def own_link(links: list[Any], parent: Any, kind: str) -> Any:
    """The host's own link of a kind on a parent, whatever both are called by now; None where there is none."""
    return next((one for one in links if one.kind == kind and one.peer == parent.index and one.netnsid < 0
                 and one.alias.startswith(f"{MARK}:")), None)


def found(kernel: Any, parent: Any, kind: str) -> tuple[int, str]:
    """Its index and MAC, 0 and "" where there is none."""
    one = own_link(kernel.rows("links", rtnetlink.dump_links()), parent, kind)
    return (one.index, one.mac) if one is not None else (0, "")


def make(kernel: Any, parent: Any, kind: str) -> tuple[int, str]:
    """The host's own link on a parent, made where it is missing and brought up; returns its index and MAC.

    Raises:
        HostError: a link of the name that it is to have is somebody else's.
    """
    one = own_link(kernel.rows("links", rtnetlink.dump_links()), parent, kind)
    name, index, mac = (one.name, one.index, one.mac) if one is not None else (link_name(parent.name, kind), 0, "")
    if not index:
        if kernel.link_index(name) is not None:
            raise HostError(f"a link {name} is there already and is not runspec's",
                            "runspec changes only links that carry its mark, ip-link(8) alias", "remove it")
        index, mac = rtnetlink.link_index(name), new_mac(parent, kind) or str(parent.mac)
        kernel.netlink(
            rtnetlink_host.silent_link(kind, parent.index, name, index, new_mac(parent, kind), INFO[kind])
            + rtnetlink.set_link(index, alias=mark(parent.name, kind)) + rtnetlink_host.no_own_address(index),
            f"{kind} {name} on {parent.name}")
    # A router's advertisements are the parent's to hear: here they would make addresses and a second default route.
    deafen(kernel, name)
    kernel.netlink(rtnetlink.set_link(index, up=True), f"link {name}")
    return index, mac


def drop(kernel: Any, index: int, addresses: list[str]) -> None:
    """Routes to these and who has them."""
    for address in addresses:
        kernel.netlink(rtnetlink_host.delete_host_route(address, index), f"route to {address}", ignore=ESRCH)
        kernel.netlink(rtnetlink_host.delete_neighbour(index, address), f"neighbour {address}", ignore=ENOENT)


def tidy(kernel: Any, index: int) -> None:
    """Remove the host's own link once no route of ours leads through it."""
    if not any(one.oif == index and one.protocol == rtnetlink.OURS
               for one in kernel.rows("routes", rtnetlink.dump_routes())):
        kernel.netlink(rtnetlink.delete_link(index), f"link {index}", ignore=ENODEV)


def create(spec: Spec, first: int) -> list[Step]:
    """For a new container.

    Args:
        first: index inside of its first interface.
    """
    return [_step(spec, i, one, first + i) for i, one in enumerate(spec.interfaces)
            if asks(one) and one.addresses]


def remove(spec: Spec) -> list[Step]:
    """For a container that ends."""
    return [step for i, one in enumerate(spec.interfaces)
            for step in end(spec.name, f"interfaces[{i}].hostAccess", one, ShutHostOut)]


def end(container: str, path: str, one: Interface, make_one: type[ShutHostOut] = ShutHostOutLive) -> list[Step]:
    """For one interface that ends, as it was applied."""
    return [make_one(target=container, path=path, kind=one.type, parent=one.parent or "",
                        addresses=one.addresses)] if asks(one) and one.addresses else []


def _step(spec: Spec, i: int, one: Interface, index: int,
          former: tuple[str, ...] = (), addresses: tuple[str, ...] | None = None) -> LetHostIn:
    return LetHostIn(target=spec.name, path=f"interfaces[{i}].hostAccess", interface=one.name, kind=one.type,
                    parent=one.parent or "", index=index, former=former,
                    addresses=one.addresses if addresses is None else addresses)


def change(spec: Spec, i: int, former: Interface | None, index: int) -> list[Step]:
    """For an interface of a running container, once all else of it is as the file asks.

    Args:
        i: its place in the spec.
        former: as it was applied last, None for a new one.
        index: that it has inside by then.
    """
    one, out = spec.interfaces[i], list[Step]()
    had = former.addresses if former is not None and asks(former) else ()
    moved = former is not None and had and (former.parent, former.type) != (one.parent, one.type)
    if moved or (had and not asks(one)):
        assert former is not None
        out.append(_step(spec, i, former, index, had, ()))
    if asks(one) and one.addresses:
        out.append(_step(spec, i, one, index, () if moved else had))
    return out


# What the kernel shows of it

def seen(one: Interface, former: Interface | None, link: Any, host: HostView, neighbours: list[Any]) -> tuple[str, ...]:
    """The addresses by which host and container reach each other.

    Args:
        one: as the file asks for it; former: as it was applied last.
        link: the interface as it is inside; neighbours: those that are known there.
    """
    asked = former if former is not None and asks(former) else one
    parent = host.parent(asked.parent)
    if parent is None:
        return ()
    own = own_link(host.links, parent, asked.type)
    if own is None or not own.up:
        return ()
    every = dict.fromkeys((*one.addresses, *asked.addresses))
    ways = Ways(parent, tuple(every), link.mac, host.addresses, own.mac)
    routes = {(row.to.partition("/")[0], row.source) for row in host.ways
              if row.oif == own.index and row.protocol == rtnetlink.OURS}
    known = {(row.address, row.mac) for row in host.neighbours
             if row.index == own.index and row.state & abi.NUD_PERMANENT}
    within = {(row.address, row.mac) for row in neighbours if row.index == link.index and row.state & abi.NUD_PERMANENT}
    told = {family: all(pair in within for pair in ways.inside if (":" in pair[0]) == family)
            for family in (False, True)}
    return tuple(sorted(plain(address) for address in every
                        if (plain(address), source_of(ways, address) or "") in routes
                        and (plain(address), link.mac) in known and told[":" in address]))


def source_of(ways: Ways, address: str) -> str | None:
    """The source of the host's packets to an address of the container."""
    return dict(ways.routes)[plain(address)]
