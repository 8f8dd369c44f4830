"""What a veth's host end is as a port of its network's bridge, as path -> value."""

from __future__ import annotations

from runspec import abi
from runspec.plan.values import ABSENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.plan.facts import Facts
    from runspec.spec.model import Interface

    View = dict[str, Any]

DEFAULT = 1         # the VLAN of a port of which nobody says any, ip-link(8) vlan_default_pvid
_OWN = abi.BRIDGE_VLAN_INFO_PVID | abi.BRIDGE_VLAN_INFO_UNTAGGED


def mtu(one: Interface, facts: Facts) -> int:
    """What the host's end has: its peer's, but on somebody else's bridge what that has, which takes its smallest."""
    network = facts.networks.get(one.network or "")
    own = network.mtu if network is not None and network.external else None
    return own or one.mtu or 1500


def expect(one: Interface, facts: Facts, path: str, view: View) -> None:
    """The mtu of the host's end; and its one VLAN, where the bridge heeds tags."""
    view[f"{path}.hostEnd.mtu"] = mtu(one, facts)
    network = facts.networks.get(one.network or "")
    if network is not None and network.vlan_filtering:
        view[f"{path}.vlan.id"] = one.vlan.id if one.vlan is not None else DEFAULT


def see(one: Interface, end: Any, facts: Facts, path: str, view: View) -> None:
    """The same as the kernel shows it."""
    view[f"{path}.hostEnd.mtu"] = end.mtu
    network = facts.networks.get(one.network or "")
    if network is not None and network.vlan_filtering:
        view[f"{path}.vlan.id"] = vlans(facts.port_vlans.get(end.index, {}))


def vlans(found: dict[int, int]) -> Any:
    """The VLANs of a port: the number of the only one that is its own, else all in words."""
    if len(found) == 1 and _OWN in found.values():
        return next(iter(found))
    return ", ".join(f"{number}{' untagged' * bool(flags & abi.BRIDGE_VLAN_INFO_UNTAGGED)}"
                     f"{' PVID' * bool(flags & abi.BRIDGE_VLAN_INFO_PVID)}"
                     for number, flags in sorted(found.items())) or ABSENT
