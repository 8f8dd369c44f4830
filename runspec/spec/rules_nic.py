"""Rules about interfaces that are the host's hardware."""

from __future__ import annotations

from runspec.spec.model import Spec
from runspec.spec.model_net import ON_PARENT
from runspec.spec.rules_links import link_fault
from runspec.spec.rules_mounts import Faults
from runspec.spec.units import shown


def check_nics(faults: Faults, spec: Spec) -> None:
    """Notes faults of interfaces of type physical."""
    seen: dict[str, int] = {}
    for index, one in enumerate(spec.interfaces):
        at, word = f"interfaces[{index}]", one.parent
        if one.type != "physical":
            continue
        if one.network is not None:
            faults.add(f"{at}.network", "a physical interface joins no network", "it is on the wire, ip-link(8)",
                       "remove it, or write type: veth")
        if word is None:
            faults.add(f"{at}.parent", "missing", "a physical interface is one of the host's, which moves into the "
                       "container, network_namespaces(7)", "add parent: eth1, or mac:ADDRESS, or pci:ADDRESS")
        elif ":" not in word and (bad := link_fault(word)):
            faults.add(f"{at}.parent", *bad)
        elif word in seen:
            faults.add(f"{at}.parent", f"{shown(word)} is given twice", "it can be in one place only", "remove one")
        elif found := next((link for link in spec.interfaces if link.type in ON_PARENT and link.parent == word), None):
            faults.add(f"{at}.parent", f"{shown(word)} is the parent of {found.name} as well",
                       "it moves into the container, and what it carries would stay behind, ip-link(8)",
                       "name another link")
        elif any(device.host == word for device in spec.linux.net_devices):
            faults.add(f"{at}.parent", f"{shown(word)} is in linux.netDevices as well", "it can be in one place only",
                       "remove one")
        if word is not None:
            seen[word] = index
