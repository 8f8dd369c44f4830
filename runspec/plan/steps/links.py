"""A container's interfaces: made, named, given their addresses and routes."""

from __future__ import annotations

from errno import EADDRINUSE, EBUSY, EEXIST, EINVAL, EOPNOTSUPP
from time import sleep

from runspec.errors import HostError, RunspecError, SyscallError
from runspec.plan import rtnetlink, rtnetlink_links
from runspec.plan.rtnetlink_bridge import own_vlan, set_port
from runspec.plan.steps import host_access
from runspec.plan.steps.base import FINISH, LIVE, STOP, ChildStep, HostStep, Step
from runspec.plan.steps.host_links import (
    HIGH,
    MARK,
    AddLink,
    Member,
    alias,
    deafen,
    end_messages,
    forward,
    host_name,
    index_of,
    parent_index,
    remove_own,
    station,
)
from runspec.plan.steps.loopback import ConfigureLinks
from runspec.plan.steps.namespaces import is_new
from runspec.plan.steps.process import ChangeInside
from runspec.plan.steps.tagged import TAGGED, AddTagged, AddTaggedLive, RemoveTagged, emulated, part, sort
from runspec.plan.view_kinds import (
    families,
    far_gateways,
    mode_of,
    own_addresses,
    own_routes,
    parameter_path,
    routed,
)
from runspec.plan.view_links import FIRST_INDEX
from runspec.spec.model import Interface, Network, Route, Spec
from runspec.spec.model_net import ON_PARENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# How long a link waits for one that holds its place and may be ending with its namespace.
TRIES, PAUSE = 50, 0.02         # seconds


class AddVeth(AddLink):
    """One message makes both ends: the host's on its bridge or on its own, the container's born inside."""

    def look(self, kernel: Any, run: Any) -> Any:
        """Whether a link of the host end's name is there: then it is not this run's to remove."""
        return kernel.link_index(self.link) is not None

    def apply(self, kernel: Any, run: Any) -> Any:
        """veth(4); a link moved between namespaces would cost ten times more."""
        one = self.interface
        bridge = index_of(kernel, one.network) if one.network else None
        for attempt in range(8):
            # The kernel heeds the peer's index only when the host's end has a chosen one as well;
            # two names may meet in one number, then the next is tried.
            index = rtnetlink.link_index(self.link + "+" * attempt)
            try:
                kernel.netlink(rtnetlink.create_veth(
                    self.link, bridge, one.name, peer_pid=run.pid(self.target), mac=one.mac, mtu=one.mtu,
                    index=index, peer_index=self.index,
                    # A bridge may take the lowest Ethernet address of its ports: somebody else's keeps its own.
                    host_mac=station(self.link, HIGH) if self.member.foreign else None, host_mtu=self.member.mtu)
                    + rtnetlink.set_link(index, alias=alias(self.target, one.name))
                    # The peer is still down: nothing passes before this.
                    + (set_port(index, True) if self.member.isolated else b"")
                    + (own_vlan(index, self.member.vlan) if self.member.vlan else b""), f"veth {self.link}")
                break
            except SyscallError as error:
                if error.errno not in (EEXIST, EBUSY) or kernel.link_index(self.link) is not None or attempt == 7:
                    raise
        if routed(one):
            deafen(kernel, self.link)
            for message, what in end_messages(index, own_addresses(one), own_routes(one)):
                kernel.netlink(message, what)
            forward(kernel, self.link, *families(one))

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Its peer goes with it, and all that was given to it; one send makes and marks it, so ours has its mark."""
        if not memo:
            remove_own(kernel, self.link, MARK)

    def __str__(self) -> str:
        where = f"on {self.interface.network}" if self.interface.network else "with routes to it"
        return f"create veth {self.link} {where}, its peer {self.interface.name} inside"


class AddVethLive(AddVeth):
    """A new veth for a running container."""

    PHASE = LIVE


class AddOnParent(AddLink):
    """A vlan, macvlan or ipvlan on a link of the host, born inside: nothing of it is ever seen outside."""

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-link(8); a former link that ends with its namespace may still hold the place for a moment."""
        one = self.interface
        assert one.parent is not None
        parent = parent_index(kernel, one.parent)
        message = rtnetlink_links.create_on(one.type, parent, one.name, info(one), pid=run.pid(self.target),
                                            index=self.index, mac=one.mac, mtu=one.mtu, up=_tried(one))
        for attempt in range(TRIES):
            try:
                kernel.netlink(message, f"{one.type} {one.name} on {one.parent}")
                return
            except SyscallError as error:
                busy = (EEXIST, EBUSY, EADDRINUSE, *[EINVAL] * (one.mode == "passthru"))
                if error.errno not in busy or attempt == TRIES - 1:
                    raise _told(one, error) from error
            sleep(PAUSE)

    def __str__(self) -> str:
        return f"create {called(self.interface)}, {self.interface.name} inside"


class AddOnParentLive(AddOnParent):
    """A new link on one of the host's for a running container."""

    PHASE = LIVE

    def look(self, kernel: Any, run: Any) -> Any:
        """Whether a link has this index already: then it is not this run's to remove."""
        return run.link_inside(self, self.index) is not None

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Where the container still runs."""
        if not memo and run.pid(self.target):
            inside(self.target, self.path, [rtnetlink.delete_link(self.index)], "").replace(lenient=True).apply(
                kernel, run)


def _told(one: Interface, error: SyscallError) -> HostError:
    """What a refusal of the kernel means for a link on a parent."""
    what = f"{called(one)} cannot be made"
    if error.errno == EEXIST and one.vlan is not None:
        return HostError(what, f"another link has VLAN {one.vlan.id} of {one.parent} already", "use another id")
    if error.errno == EADDRINUSE:
        return HostError(what, f"another link on {one.parent} has the address {one.mac}", "use another mac")
    if error.errno == EBUSY:
        return HostError(what, f"{one.parent} is a port of a bridge or carries links of another type",
                         "put it on the bridge instead, or use another parent")
    if error.errno == EINVAL and one.type == "macvlan":
        taken = (f"{one.parent} carries other links already, and one in mode passthru is alone on its parent"
                 if one.mode == "passthru" else
                 f"{one.parent} carries a passthru link, which is alone on its parent, or is no Ethernet link")
        return HostError(what, error.why or taken, "use another parent, or another mode")
    if error.errno == EOPNOTSUPP:
        return HostError(what, error.why or f"{one.parent} takes no such links, or the kernel has none",
                         "use another parent")
    return HostError(f"{what}: {error.what}", error.why)


def _tried(one: Interface) -> bool:
    """Whether a link comes up once before it is configured: only then a macvlan tells that its address is taken."""
    return one.type == "macvlan" and one.mac is not None


def info(one: Interface) -> bytes:
    """IFLA_INFO_DATA of a link on a parent."""
    return INFO[one.type](one)


def _vlan(one: Interface) -> bytes:
    assert one.vlan is not None
    return rtnetlink_links.vlan_info(one.vlan.id, one.vlan.protocol)


INFO: dict[str, Callable[[Interface], bytes]] = {
    "vlan": _vlan, "macvlan": lambda one: rtnetlink_links.macvlan_info(str(mode_of(one))),
    "ipvlan": lambda one: rtnetlink_links.ipvlan_info(str(mode_of(one)))}


def called(one: Interface) -> str:
    """A link on a parent for people: `macvlan (bridge) on eth1`."""
    more = f"{one.vlan.protocol} {one.vlan.id}" if one.vlan is not None else mode_of(one)
    return f"{one.type} ({more}) on {one.parent}"


class RemoveLink(HostStep):
    """Removes the host's end of a container's interface; its peer goes with it."""

    PHASE = FINISH
    link: str

    def apply(self, kernel: Any, run: Any) -> Any:
        """Gone already is as good: a veth dies with its namespace."""
        if not run.let_die(self.link):
            remove_own(kernel, self.link, MARK)

    def __str__(self) -> str:
        return f"remove link {self.link}"


class RemoveLinkLive(RemoveLink):
    """Removes an interface of a running container."""

    PHASE = LIVE

    def apply(self, kernel: Any, run: Any) -> Any:
        """Its namespace lives on."""
        remove_own(kernel, self.link, MARK)


class RemoveInterface(HostStep):
    """Removes an interface from inside a running container.

    Args:
        interface: as it was applied, for the way back.
        index: that it has inside.
        link: the host end's name, "" where its type has none.
        member: what that end is on its network.
    """

    PHASE = LIVE
    interface: Interface
    index: int
    link: str = ""
    member: Member = Member()

    def apply(self, kernel: Any, run: Any) -> Any:
        """From inside, where it is whatever became of its host end."""
        inside(self.target, self.path, [rtnetlink.delete_link(self.index)], "").replace(lenient=True).apply(kernel, run)
        if emulated(self.interface):
            part(kernel, run, self.target, self.interface)
        if self.link:
            remove_own(kernel, self.link, MARK)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Made anew, with all that it had."""
        if not run.pid(self.target):
            return
        one = add_live(self.target, self.interface, self.index, self.member)
        if not (kernel.link_index(self.link) if self.link else one.look(kernel, run)):
            one.apply(kernel, run)
            configured(self.target, self.path, self.interface, self.index, "").apply(kernel, run)

    def __str__(self) -> str:
        return f"remove {self.interface.name} in {self.target}" + (f", and its other end {self.link}" if self.link
                                                                    else "")


class TakeLink(HostStep):
    """Removes a link on a parent from a container that is about to end.

    The kernel would do it with the namespace, but some time after: until then nobody else gets the VLAN, the
    address or the parent.
    """

    PHASE = STOP
    interface: Interface

    def look(self, kernel: Any, run: Any) -> Any:
        """Its index inside, None where it is not there."""
        try:
            facts = run.link_inside(self, self.interface.name) if run.pid(self.target) else None
        except RunspecError:
            return None         # its init ends meanwhile, or has ended
        return facts and facts["at"]

    def apply(self, kernel: Any, run: Any) -> Any:
        """What is gone already needs nothing."""
        index = self.look(kernel, run)
        if index:
            gone = inside(self.target, self.path, [rtnetlink.delete_link(index)], "").replace(lenient=True)
            try:  # noqa: SIM105 (contextlib brings collections and functools)
                gone.apply(kernel, run)
            except RunspecError:
                pass            # as above: then the kernel does it
        return index

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Inside again, where the container still runs."""
        if memo:
            RemoveInterface(target=self.target, path=self.path, interface=self.interface, index=memo).undo(
                kernel, run, None)

    def __str__(self) -> str:
        return f"remove {self.interface.name} in {self.target}"


# Type of a link -> what makes it for a new container, and for a running one.
ADD: dict[str, tuple[type[AddLink], type[AddLink]]] = {
    "veth": (AddVeth, AddVethLive), "vlan": (AddOnParent, AddOnParentLive), "macvlan": (AddOnParent, AddOnParentLive),
    "ipvlan": (AddOnParent, AddOnParentLive), TAGGED: (AddTagged, AddTaggedLive)}
# Types with an end on the host.
PAIRED = ("veth", TAGGED)


def host_end(container: str, one: Interface) -> str:
    """Name of an interface's end on the host, "" where its type has none."""
    return host_name(container, one.name) if sort(one) in PAIRED else ""


def add_live(container: str, one: Interface, index: int, port: Member, path: str = "") -> AddLink:
    """What makes an interface of a running container."""
    return ADD[sort(one)][1](target=container, path=path, interface=one, index=index, link=host_end(container, one),
                             member=port)


def create_links(spec: Spec, networks: dict[str, Network]) -> list[Step]:
    """The host side's part of a container's interfaces.

    Args:
        networks: those that they join, by name.
    """
    return [ADD[sort(one)][0](target=spec.name, path=f"interfaces[{i}]", interface=one, index=FIRST_INDEX + i,
                              link=host_end(spec.name, one), member=member(one, networks))
            for i, one in enumerate(spec.interfaces) if sort(one) in ADD]


def member(one: Interface, networks: dict[str, Network]) -> Member:
    """What an interface's host end is on its network."""
    network = networks.get(one.network or "")
    if network is None:
        return Member()
    return Member(isolated=network.isolated, foreign=network.external, mtu=network.mtu if network.external else None,
                  vlan=one.vlan.id if one.vlan is not None else None)


def take(spec: Spec) -> list[Step]:
    """Before the end of a container: the links whose place on a parent would stay taken for a while."""
    return [TakeLink(target=spec.name, path=f"interfaces[{i}]", interface=one)
            for i, one in enumerate(spec.interfaces) if sort(one) in ON_PARENT]


def remove(spec: Spec) -> list[Step]:
    """After it: what its interfaces have on the host."""
    return [remove_end(spec.name, f"interfaces[{i}]", one) for i, one in enumerate(spec.interfaces)
            if sort(one) in PAIRED] + host_access.remove(spec)


def remove_end(container: str, path: str, one: Interface) -> Step:
    """What removes an interface's end on the host, with all that leads to it."""
    if emulated(one):
        return RemoveTagged(target=container, path=path, link=host_end(container, one), interface=one)
    return RemoveLink(target=container, path=path, link=host_end(container, one))


def configure(spec: Spec) -> list[ChildStep]:
    """The child's part: addresses, then routes, since a gateway must be reachable first."""
    if not is_new(spec, "network"):
        return []
    steps: list[ChildStep] = []
    for i, one in enumerate(spec.interfaces):
        messages = link_messages(one, FIRST_INDEX + i, mark(spec.name, one))
        steps.append(ConfigureLinks(target=spec.name, path=f"interfaces[{i}].addresses",
                                    messages=tuple(m.hex() for m in messages), sysctls=parameters(one),
                                    words=f"configure {one.name}: {' '.join(one.addresses) or 'no address'}"))
    return steps


def parameters(one: Interface) -> tuple[tuple[str, str], ...]:
    """Kernel parameters of one interface."""
    return tuple((parameter_path(one, key), value) for key, value in one.sysctl)


def mark(container: str, one: Interface) -> str | None:
    """The alias of a link that has no end on the host to bear it."""
    return alias(container, one.name) if sort(one) in ON_PARENT else None


def link_messages(one: Interface, index: int, mark: str | None = None) -> list[bytes]:
    """Addresses and routes of one interface; mark is its alias."""
    return [*[rtnetlink.set_link(index, up=False)] * _tried(one),
            *(rtnetlink.add_address(index, address) for address in one.addresses),
            rtnetlink.set_link(index, up=True, alias=mark),
            *(rtnetlink.add_route(to, oif=index, protocol=rtnetlink.OURS) for to in far_gateways(one)),
            *(route_message(rtnetlink.add_route, route, index) for route in wanted_routes(one))]


def configured(container: str, path: str, one: Interface, index: int, words: str) -> ChangeInside:
    """What gives a new interface of a running container all that it is to have."""
    messages = link_messages(one, index, mark(container, one))
    return inside(container, path, messages, words).replace(sysctls=parameters(one))


def wanted_routes(one: Interface) -> tuple[Route, ...]:
    """The gateways are default routes."""
    return (*(Route(to="default", via=via) for via in one.gateway), *one.routes)


def route_message(make: Any, route: Route, index: int) -> bytes:
    """rtnetlink message for a route through the link with this index."""
    return bytes(make(route.to, via=route.via, oif=index, metric=route.metric))


def inside(name: str, path: str, messages: list[bytes], words: str) -> ChangeInside:
    """Messages sent by an interpreter that joins the container's network namespace."""
    return ChangeInside(target=name, path=path, kinds=("network",), words=words,
                        messages=tuple(message.hex() for message in messages))
