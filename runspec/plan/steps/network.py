"""Links: bridges of the host, a container's interfaces, their addresses and routes."""

from __future__ import annotations

from runspec import abi
from runspec.errors import HostError, SyscallError
from runspec.plan import rtnetlink
from runspec.plan.facts import Facts
from runspec.plan.steps.base import ATTACH, FINISH, LIVE, PREPARE, Change, ChildStep, HostStep, Step, Table
from runspec.plan.steps.namespaces import is_new
from runspec.plan.steps.process import ChangeInside, RemoveRecord, SaveRecord
from runspec.plan.values import ABSENT
from runspec.spec.model import Interface, Network, Route, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Interfaces get fixed indexes inside, so that their addresses can be packed before they exist;
# lower ones may be taken by what the kernel puts into every new namespace (lo, tunl0, sit0).
FIRST_INDEX = 11
LOOPBACK = 1
EEXIST, EBUSY, ENODEV, EADDRNOTAVAIL = 17, 16, 19, 99
NAME_MAX = 15       # IFNAMSIZ - 1
MARK = "runspec:"   # ip-link(8) alias of every link that is ours


def host_name(container: str, interface: str) -> str:
    """The host end's name: readable where it fits into IFNAMSIZ, else a digest of it."""
    name = f"{container}.{interface}"
    if len(name) <= NAME_MAX:
        return name
    return f"rs{digest(name):013x}"


def digest(text: str) -> int:
    """FNV-1a, 52 bits: stable over runs, unlike hash()."""
    value = 0xcbf29ce484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001b3 & 2**64 - 1
    return value >> 12


def alias(owner: str, interface: str = "") -> str:
    """The mark by which a link is known as runspec's."""
    return f"{MARK}{owner}" + (f":{interface}" if interface else "")


def device_index(host: str) -> int:
    """The index inside of a link that was the host's: by it alone it is known there, whatever its name."""
    return rtnetlink.link_index(f"{host}>")


def lent(*specs: Spec | None) -> set[int]:
    """The indexes inside of all links that were the host's."""
    return {device_index(one.host) for spec in specs if spec is not None for one in spec.linux.net_devices}


class CreateBridge(HostStep):
    """Makes a bridge with its mark; a link of that name that is not ours is refused untouched."""

    PHASE = PREPARE
    mtu: int | None = None

    def look(self, kernel: Any, run: Any) -> Any:
        """Whether a link of that name is there: then it is not this run's to remove."""
        return kernel.link_index(self.target) is not None

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-link(8) type bridge."""
        # The kernel heeds an alias only on a link that exists: both messages go in one call. And a bridge takes
        # the mtu of its smallest port until somebody gives it another than it has.
        first = None if self.mtu is None else self.mtu + (1 if self.mtu < 1500 else -1)
        kernel.netlink(rtnetlink.create_bridge(self.target, first)
                       + rtnetlink.set_link(self.target, alias=alias(self.target), mtu=self.mtu),
                       f"bridge {self.target}")

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Removes the link where none was there before, even one that did not get its mark yet."""
        if not memo:
            kernel.netlink(rtnetlink.delete_link(self.target), f"link {self.target}", ignore=ENODEV)

    def __str__(self) -> str:
        return f"create bridge {self.target}"


class AddHostAddress(HostStep):
    """One address of a link of the host.

    Args:
        kept: it was there, and may have gone with another one.
    """

    address: str
    kept: bool = False

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-address(8)."""
        kernel.netlink(rtnetlink.add_address(index_of(kernel, self.target), self.address),
                       f"address {self.address}", ignore=EEXIST)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Planned where the address was missing, so it goes again."""
        index = kernel.link_index(self.target)
        if index is not None and not self.kept:
            kernel.netlink(rtnetlink.delete_address(index, self.address), f"address {self.address}",
                           ignore=EADDRNOTAVAIL)

    def __str__(self) -> str:
        return f"add address {self.address} to {self.target}"


class RemoveHostAddress(HostStep):
    """Takes an address of a link of the host away."""

    address: str

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-address(8)."""
        kernel.netlink(rtnetlink.delete_address(index_of(kernel, self.target), self.address),
                       f"address {self.address}")

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Puts it back."""
        index = kernel.link_index(self.target)
        if index is not None:
            kernel.netlink(rtnetlink.add_address(index, self.address), f"address {self.address}", ignore=EEXIST)

    def __str__(self) -> str:
        return f"remove address {self.address} from {self.target}"


class SetHostLink(HostStep):
    """Brings a link of the host up and sets its mtu."""

    mtu: int | None = None

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-link(8)."""
        kernel.netlink(rtnetlink.set_link(self.target, up=True, mtu=self.mtu), f"link {self.target}")

    def __str__(self) -> str:
        return f"bring {self.target} up" + (f" with mtu {self.mtu}" if self.mtu else "")


class AddVeth(HostStep):
    """One message makes both ends: the host's on its bridge, the container's born inside."""

    PHASE = ATTACH
    link: str                       # name of the host's end
    interface: Interface
    index: int

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
                    index=index, peer_index=self.index)
                    + rtnetlink.set_link(index, alias=alias(self.target, one.name)), f"veth {self.link}")
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


class RemoveBridge(HostStep):
    """Removes a network's bridge."""

    PHASE = FINISH

    def apply(self, kernel: Any, run: Any) -> Any:
        """Only one that carries our mark."""
        remove_own(kernel, self.target, alias(self.target))

    def __str__(self) -> str:
        return f"remove bridge {self.target}"


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


def index_of(kernel: Any, name: str) -> int:
    """The interface index of a host link.

    Raises:
        HostError: there is no such link.
    """
    index = kernel.link_index(name)
    if index is None:
        raise HostError(f"there is no link {name}", "it went away since the plan was made", "apply again")
    return int(index)


def remove_own(kernel: Any, name: str, mark: str) -> None:
    """Delete a link if it is there and carries our mark."""
    found = kernel.link_alias(name)
    if found is not None and found.startswith(mark):
        kernel.netlink(rtnetlink.delete_link(name), f"link {name}", ignore=ENODEV)


def create(wanted: Network) -> list[Step]:
    """A network from nothing."""
    name = wanted.name
    steps: list[Step] = [CreateBridge(target=name, path="type", mtu=wanted.mtu)]
    steps += [AddHostAddress(target=name, path=f"addresses[{i}]", address=address)
              for i, address in enumerate(wanted.addresses)]
    steps += [SetHostLink(target=name), SaveRecord(target=name, kind="network")]
    # Its users come in the same run and need it whole: all of it is preparation.
    return [step.replace(early=True) for step in steps]


def change(wanted: Network, facts: Facts, changes: tuple[Change, ...]) -> list[Step]:
    """A network changed in place."""
    name, paths = wanted.name, {one.path for one in changes}
    steps: list[Step] = []
    have = addresses_of(facts, facts.links[0].index)
    # First what goes: the end of a subnet's first address takes the others along, ip-sysctl.rst promote_secondaries.
    steps += [RemoveHostAddress(target=name, path="addresses", address=address) for address in have
              if "addresses" in paths and address not in wanted.addresses]
    steps += [AddHostAddress(target=name, path=f"addresses[{i}]", address=address, kept=address in have)
              for i, address in enumerate(wanted.addresses)
              if "addresses" in paths and (steps or address not in have)]
    if paths & {"mtu", "up"}:
        steps.append(SetHostLink(target=name, path="mtu", mtu=wanted.mtu or 1500))
    steps.append(SaveRecord(target=name, kind="network"))
    return [step.replace(early=True) for step in steps]


def remove(name: str, facts: Facts) -> list[Step]:
    """A network towards nothing."""
    return [RemoveBridge(target=name), RemoveRecord(target=name, kind="network")]


def create_links(spec: Spec) -> list[Step]:
    """The host side's part of a container's interfaces."""
    return [AddVeth(target=spec.name, path=f"interfaces[{i}]", link=host_name(spec.name, one.name),
                    interface=one, index=FIRST_INDEX + i) for i, one in enumerate(spec.interfaces)]


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


def interface_view(spec: Spec, view: dict[str, Any]) -> None:
    """Interfaces as path -> value, as asked."""
    if spec.linux.net_devices:
        view["linux.netDevices"] = tuple((one.host, one.name or one.host) for one in spec.linux.net_devices)
    if not is_new(spec, "network"):
        return
    view["interfaces"] = ()
    for i, one in enumerate(spec.interfaces):
        path = f"interfaces[{i}]"
        view[path], view[f"{path}.type"], view[f"{path}.network"] = one.name, one.type, one.network
        if one.mac is not None:
            view[f"{path}.mac"] = one.mac
        view[f"{path}.mtu"], view[f"{path}.up"] = one.mtu or 1500, True
        view[f"{path}.addresses"] = tuple(sorted(one.addresses))
        view[f"{path}.gateway"] = tuple(sorted(one.gateway))
        view[f"{path}.routes"] = tuple(sorted(plain(route) for route in one.routes))


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
    here = {link.name: link for link in facts.links}
    declared = {one.name for one in spec.interfaces}
    # Every namespace may be born with fallback tunnels; only what somebody made counts.
    gone = {one.name for one in last.interfaces if one.name in here} - declared if last is not None else set()
    view.update((f"interfaces[{name}]", name) for name in sorted(gone))
    view["interfaces"] = tuple(sorted(link.name for link in facts.links if link.index != LOOPBACK
                                      and link.name not in declared | gone and link.kind in MADE
                                      and link.index not in lent(spec, last)))
    for i, one in enumerate(spec.interfaces):
        path, link = f"interfaces[{i}]", here.get(one.name)
        view[path] = one.name if link is not None else ABSENT
        if link is None:
            continue
        view[f"{path}.type"] = link.kind
        view[f"{path}.network"] = facts.host_links.get(host_name(spec.name, one.name)) or ABSENT
        if one.mac is not None:
            view[f"{path}.mac"] = link.mac
        view[f"{path}.mtu"], view[f"{path}.up"] = link.mtu, link.up
        view[f"{path}.addresses"] = tuple(sorted(addresses_of(facts, link.index, one.addresses)))
        shown = routes_of(facts, link.index)
        asked = [plain(route) for route in one.routes]
        gateways = [r for r in shown if r[0] == "default" and r[1] and not r[2] and r not in asked]
        view[f"{path}.gateway"] = tuple(sorted(r[1] for r in gateways))
        view[f"{path}.routes"] = tuple(sorted(r for r in shown if r not in gateways))


MADE = ("veth", "bridge", "vlan", "macvlan", "ipvlan", "dummy", "tun", "vxlan", "ifb")


def addresses_of(facts: Facts, index: int, declared: tuple[str, ...] = ()) -> list[str]:
    """Addresses in CIDR form, without the link-local one that the kernel makes by itself.

    Args:
        declared: those that count whatever they are.
    """
    return [one.cidr for one in facts.addresses if one.index == index and (one.cidr in declared or not (
        one.cidr.startswith("fe80:") and one.scope == abi.RT_SCOPE_LINK))]


def routes_of(facts: Facts, index: int) -> list[tuple[str, str, int]]:
    """Routes somebody set; those the kernel derives from addresses do not count."""
    out = []
    for one in facts.routes:
        if one.oif != index or one.table != abi.RT_TABLE_MAIN or one.type != abi.RTN_UNICAST \
                or one.protocol in (abi.RTPROT_KERNEL, abi.RTPROT_RA):
            continue
        # What IPv6 calls metric 1024 is what no metric means there.
        v6 = one.family == abi.AF_INET6
        out.append((one.to, one.via, 0 if v6 and one.metric == 1024 else one.metric))
    return out


def network_expected(wanted: Network) -> dict[str, Any]:
    """A network as path -> value, as asked."""
    view: dict[str, Any] = {"type": wanted.type, "up": True, "addresses": tuple(sorted(wanted.addresses)),
                            "labels": wanted.labels, "project": wanted.project}
    if wanted.mtu is not None:
        view["mtu"] = wanted.mtu
    return view


def network_seen(wanted: Network, last: Network | None, facts: Facts) -> dict[str, Any]:
    """A network as path -> value, as the kernel shows it: facts hold its one link."""
    link = facts.links[0]
    view: dict[str, Any] = {"type": link.kind, "up": link.up,
                            "addresses": tuple(sorted(addresses_of(facts, link.index)))}
    if last is not None:
        view["labels"], view["project"] = last.labels, last.project
    if wanted.mtu is not None:
        view["mtu"] = link.mtu
    return view
