"""Networks: bridges of the host that interfaces of containers join."""

from __future__ import annotations

from errno import ENODEV

from runspec.plan import line as lines, rtnetlink
from runspec.plan.facts import Facts
from runspec.plan.rtnetlink_bridge import set_filtering, set_port
from runspec.plan.steps import line
from runspec.plan.steps.base import FINISH, PREPARE, Change, HostStep, Step
from runspec.plan.steps.host_links import (
    MARK,
    AddHostAddress,
    RemoveHostAddress,
    SetHostLink,
    alias,
    deafen,
    remove_own,
    station,
)
from runspec.plan.steps.process import RemoveRecord, SaveRecord
from runspec.plan.view_links import addresses_of
from runspec.plan.view_nft import expect_network, see_apart, see_network
from runspec.spec.model import Network, Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CreateBridge(HostStep):
    """Makes a bridge with its mark; a link of that name that is not ours is refused untouched."""

    PHASE = PREPARE
    mtu: int | None = None

    def look(self, kernel: Any, run: Any) -> Any:
        """Whether a link of that name is there: then it is not this run's to remove."""
        return kernel.link_index(self.target) is not None

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-link(8) type bridge."""
        # The kernel heeds an alias only on a link that exists: both messages go in one call.
        first = None if self.mtu is None else beside(self.mtu)
        # Without an Ethernet address of its own it takes the lowest of its ports, another as these come and go,
        # and containers would go on sending to the former one, arp(7).
        kernel.netlink(rtnetlink.create_bridge(self.target, first, mac=station(self.target), up=False)
                       + rtnetlink.set_link(self.target, alias=alias(self.target), mtu=self.mtu),
                       f"bridge {self.target}")
        deafen(kernel, self.target)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Removes the link where none was there before, even one that did not get its mark yet."""
        if not memo:
            kernel.netlink(rtnetlink.delete_link(self.target), f"link {self.target}", ignore=ENODEV)

    def __str__(self) -> str:
        return f"create bridge {self.target}"


def beside(mtu: int) -> int:
    """Another mtu: a bridge takes that of its smallest port until somebody gives it one that it does not have."""
    return mtu + (1 if mtu < 1500 else -1)


class SetBridge(HostStep):
    """Brings a bridge up and gives it its mtu, which it keeps whatever its ports have.

    Args:
        mtu: in bytes, None for the one it has; was: that, and was_up: whether it was up.
    """

    PHASE = PREPARE
    mtu: int | None = None
    was: int
    was_up: bool

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-link(8)."""
        if self.mtu is not None:
            kernel.netlink(rtnetlink.set_link(self.target, mtu=beside(self.mtu))
                           + rtnetlink.set_link(self.target, mtu=self.mtu), f"bridge {self.target}")
        # Below 1280 a link has no IPv6, and forgets what was told of it.
        deafen(kernel, self.target)
        kernel.netlink(rtnetlink.set_link(self.target, up=True), f"bridge {self.target}")

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """As it was, where it is still there."""
        kernel.netlink(rtnetlink.set_link(self.target, up=self.was_up, mtu=self.was if self.mtu is not None else None),
                       f"bridge {self.target}", ignore=ENODEV)

    def __str__(self) -> str:
        return f"bring {self.target} up" + (f" with mtu {self.mtu}" if self.mtu else "")


class SetPort(HostStep):
    """Keeps one port of a bridge from seeing the others, or lets it.

    Args:
        link: the port; before: how it is.
    """

    PHASE = PREPARE
    link: str
    isolated: bool
    before: bool

    def apply(self, kernel: Any, run: Any) -> Any:
        """bridge(8); one that left meanwhile needs nothing."""
        kernel.netlink(set_port(self.link, self.isolated), f"port {self.link}", ignore=ENODEV)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """As it was."""
        kernel.netlink(set_port(self.link, self.before), f"port {self.link}", ignore=ENODEV)

    def __str__(self) -> str:
        return f"{'isolate' if self.isolated else 'join'} port {self.link} of {self.target}"


class SetFiltering(HostStep):
    """Makes a bridge heed VLAN tags, or not.

    Args:
        was: whether it does.
    """

    PHASE = PREPARE
    filtering: bool
    was: bool

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-link(8) vlan_filtering."""
        kernel.netlink(set_filtering(self.target, self.filtering), f"bridge {self.target}")

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """As it was."""
        kernel.netlink(set_filtering(self.target, self.was), f"bridge {self.target}", ignore=ENODEV)

    def __str__(self) -> str:
        return f"make {self.target} heed {'VLAN tags' if self.filtering else 'no VLAN tags'}"


class RemoveBridge(HostStep):
    """Removes a network's bridge."""

    PHASE = FINISH

    def apply(self, kernel: Any, run: Any) -> Any:
        """Only one that carries our mark."""
        remove_own(kernel, self.target, alias(self.target))

    def __str__(self) -> str:
        return f"remove bridge {self.target}"


def create(wanted: Network, fair: bool = False) -> list[Step]:
    """A network from nothing.

    Args:
        fair: whether this kernel lets flows that wait take turns.
    """
    name = wanted.name
    steps: list[Step] = []
    if not wanted.external:
        steps.append(CreateBridge(target=name, path="type", mtu=wanted.mtu))
        if wanted.vlan_filtering:
            steps.append(SetFiltering(target=name, path="vlanFiltering", filtering=True, was=False))
        steps += [AddHostAddress(target=name, path=f"addresses[{i}]", address=address)
                  for i, address in enumerate(wanted.addresses)]
        steps += line.create(wanted, fair) if wanted.qos is not None else []
        steps.append(SetHostLink(target=name))
    steps.append(SaveRecord(target=name, kind="network"))
    # Its users come in the same run and need it whole: all of it is preparation.
    return [step.replace(early=True) for step in steps]


def change(wanted: Network, last: Network, facts: Facts, changes: tuple[Change, ...]) -> list[Step]:
    """A network changed in place.

    Args:
        last: as it was applied.
    """
    name, paths = wanted.name, {one.path for one in changes}
    if wanted.external:
        # Its bridge is somebody else's, whatever was said of it when it was ours.
        paths &= {"isolated"}
    steps: list[Step] = []
    have = addresses_of(facts, facts.links[0].index)
    # First what goes: the end of a subnet's first address takes the others along, ip-sysctl.rst promote_secondaries.
    steps += [RemoveHostAddress(target=name, path="addresses", address=address) for address in have
              if "addresses" in paths and address not in wanted.addresses]
    steps += [AddHostAddress(target=name, path=f"addresses[{i}]", address=address, kept=address in have)
              for i, address in enumerate(wanted.addresses)
              if "addresses" in paths and (steps or address not in have)]
    # One that it has by chance, from its ports, is not its own yet.
    resize = not wanted.external and ("mtu" in paths or wanted.mtu != last.mtu)
    if resize or "up" in paths:
        steps.append(SetBridge(target=name, path="mtu" if resize else "up", was=facts.links[0].mtu,
                               was_up=facts.links[0].up, mtu=(wanted.mtu or 1500) if resize else None))
    if "vlanFiltering" in paths:
        steps.append(SetFiltering(target=name, path="vlanFiltering", filtering=wanted.vlan_filtering,
                                  was=facts.filtering))
    if "isolated" in paths:
        steps += [SetPort(target=name, path="isolated", link=port, isolated=wanted.isolated, before=before)
                  for port, mark, before in facts.ports if mark.startswith(MARK) and before != wanted.isolated]
    steps += line.change(wanted, last, paths, facts.fair) if wanted.qos is not None else []
    steps.append(SaveRecord(target=name, kind="network"))
    return [step.replace(early=True) for step in steps]


def remove(name: str, facts: Facts, external: bool = False) -> list[Step]:
    """A network towards nothing."""
    bridge: list[Step] = [] if external else [RemoveBridge(target=name)]
    return [*bridge, RemoveRecord(target=name, kind="network")]


def network_expected(wanted: Network) -> dict[str, Any]:
    """A network as path -> value, as asked, in the order of the file."""
    view: dict[str, Any] = {"type": wanted.type, "labels": wanted.labels, "project": wanted.project}
    if not wanted.external:
        view["up"], view["addresses"] = True, tuple(sorted(wanted.addresses))
        if wanted.mtu is not None:
            view["mtu"] = wanted.mtu
    pool = wanted.pool or Pool()
    view["pool.range"], view["pool.exclude"], view["isolated"] = pool.range, pool.exclude, wanted.isolated
    if not wanted.external:
        expect_network(wanted, view)
        view["vlanFiltering"] = wanted.vlan_filtering
        if wanted.qos is not None:
            lines.expect_line(wanted, view)
    view["external"] = wanted.external
    return view


def network_seen(wanted: Network, last: Network | None, facts: Facts) -> dict[str, Any]:
    """A network as path -> value, as the kernel shows it: facts hold its one link."""
    link = facts.links[0]
    view: dict[str, Any] = {"type": link.kind}
    if last is not None:
        told = network_expected(last)
        view.update((path, told[path]) for path in RECORDED if path in told)
    # Ports of others are their affair; without one of ours, what was applied last holds for the next.
    ports = {flag for _, mark, flag in facts.ports if mark.startswith(MARK)}
    if ports:
        view["isolated"] = wanted.isolated if ports == {wanted.isolated} else not wanted.isolated
    see_apart(wanted, facts.wall, view)
    if wanted.external:
        return view
    view.update({"up": HEARS if link.up and facts.hears else link.up,
                 "addresses": tuple(sorted(addresses_of(facts, link.index))), "vlanFiltering": facts.filtering})
    if wanted.mtu is not None:
        view["mtu"] = link.mtu
    see_network(wanted, last, facts.wall, view)
    if wanted.qos is not None or (last is not None and last.qos is not None):
        lines.see_line(wanted, last, facts, view)
    return view


# How a bridge is up from which a container can change the host's routes.
HEARS = "hearing routers"
# What no bridge tells: the Record answers for it.
RECORDED = ("labels", "project", "external", "pool.range", "pool.exclude", "isolated")
