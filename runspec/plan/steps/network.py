"""Networks: bridges of the host that interfaces of containers join."""

from __future__ import annotations

from runspec.plan import rtnetlink
from runspec.plan.facts import Facts
from runspec.plan.steps.base import FINISH, PREPARE, Change, HostStep, Step
from runspec.plan.steps.host_links import (
    ENODEV,
    AddHostAddress,
    RemoveHostAddress,
    SetHostLink,
    alias,
    remove_own,
)
from runspec.plan.steps.process import RemoveRecord, SaveRecord
from runspec.plan.view_links import addresses_of
from runspec.spec.model import Network

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


class RemoveBridge(HostStep):
    """Removes a network's bridge."""

    PHASE = FINISH

    def apply(self, kernel: Any, run: Any) -> Any:
        """Only one that carries our mark."""
        remove_own(kernel, self.target, alias(self.target))

    def __str__(self) -> str:
        return f"remove bridge {self.target}"


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
