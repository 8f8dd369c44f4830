"""A container's interfaces: made, named, given their addresses and routes."""

from __future__ import annotations

from runspec import abi
from runspec.errors import SyscallError
from runspec.plan import rtnetlink
from runspec.plan.rtnetlink_bridge import set_port
from runspec.plan.steps.base import ATTACH, FINISH, LIVE, ChildStep, HostStep, Step, Table
from runspec.plan.steps.host_links import (
    EBUSY,
    EEXIST,
    ENODEV,
    MARK,
    alias,
    host_name,
    index_of,
    remove_own,
    station,
)
from runspec.plan.steps.namespaces import is_new
from runspec.plan.steps.process import ChangeInside
from runspec.plan.view_links import FIRST_INDEX, LOOPBACK
from runspec.spec.frozen import Frozen
from runspec.spec.model import Interface, Network, Route, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Member(Frozen):
    """What a host end is as a port of its network's bridge.

    Args:
        isolated: from the others; foreign: the bridge is somebody else's.
    """

    isolated: bool = False
    foreign: bool = False


class AddVeth(HostStep):
    """One message makes both ends: the host's on its bridge, the container's born inside."""

    PHASE = ATTACH
    link: str                       # name of the host's end
    interface: Interface
    index: int
    member: Member = Member()

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
                    host_mac=station(self.link, 0xFE) if self.member.foreign else None)
                    + rtnetlink.set_link(index, alias=alias(self.target, one.name))
                    # The peer is still down: nothing passes before this.
                    + (set_port(index, True) if self.member.isolated else b""), f"veth {self.link}")
                return
            except SyscallError as error:
                if error.errno not in (EEXIST, EBUSY) or kernel.link_index(self.link) is not None or attempt == 7:
                    raise

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Its peer goes with it."""
        if not memo:
            kernel.netlink(rtnetlink.delete_link(self.link), f"link {self.link}", ignore=ENODEV)

    def __str__(self) -> str:
        return f"create veth {self.link} on {self.interface.network}, its peer {self.interface.name} inside"


class AddVethLive(AddVeth):
    """A new interface for a running container."""

    PHASE = LIVE


class RemoveLink(HostStep):
    """Removes the host's end of a container's interface; its peer goes with it."""

    PHASE = FINISH
    link: str

    def apply(self, kernel: Any, run: Any) -> Any:
        """Gone already is as good: a veth dies with its namespace."""
        remove_own(kernel, self.link, MARK)

    def __str__(self) -> str:
        return f"remove link {self.link}"


class RemoveLinkLive(RemoveLink):
    """Removes an interface of a running container."""

    PHASE = LIVE


class ConfigureLinks(ChildStep):
    """Loopback, addresses and routes of a new network namespace."""

    messages: tuple[str, ...]       # hexadecimal
    words: str

    def ops(self, table: Table) -> None:
        """rtnetlink(7)."""
        for message in self.messages:
            table.add(abi.OP_NETLINK, s1=bytes.fromhex(message), c=EEXIST)

    def __str__(self) -> str:
        return self.words


def create_links(spec: Spec, networks: dict[str, Network]) -> list[Step]:
    """The host side's part of a container's interfaces.

    Args:
        networks: those that they join, by name.
    """
    return [AddVeth(target=spec.name, path=f"interfaces[{i}]", link=host_name(spec.name, one.name),
                    interface=one, index=FIRST_INDEX + i, member=member(one, networks))
            for i, one in enumerate(spec.interfaces) if one.type != "physical"]


def member(one: Interface, networks: dict[str, Network]) -> Member:
    """What an interface's host end is on its network."""
    network = networks.get(one.network or "")
    return Member(isolated=network.isolated, foreign=network.external) if network is not None else Member()


def configure(spec: Spec) -> list[ChildStep]:
    """The child's part: loopback up, addresses, then routes, since a gateway must be reachable first."""
    if not is_new(spec, "network"):
        return []
    steps: list[ChildStep] = [ConfigureLinks(target=spec.name, path="interfaces", words="bring lo up",
                                             messages=(rtnetlink.set_link(LOOPBACK, up=True).hex(),))]
    for i, one in enumerate(spec.interfaces):
        steps.append(ConfigureLinks(target=spec.name, path=f"interfaces[{i}].addresses",
                                    messages=tuple(m.hex() for m in link_messages(one, FIRST_INDEX + i)),
                                    words=f"configure {one.name}: {' '.join(one.addresses) or 'no address'}"))
    return steps


def link_messages(one: Interface, index: int) -> list[bytes]:
    """Addresses and routes of one interface."""
    return [*(rtnetlink.add_address(index, address) for address in one.addresses),
            rtnetlink.set_link(index, up=True),
            *(route_message(rtnetlink.add_route, route, index) for route in wanted_routes(one))]


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
