"""Rules about what of a link lies on the host: a VLAN without its driver, and the host's way past a parent."""

from __future__ import annotations

from runspec.spec.model import Interface, Spec
from runspec.spec.rules_mounts import Faults

# Why the host cannot be reached in a mode, and what to do.
MODES = {
    "private": ("in mode private the kernel passes nothing between the links of a parent, the host's own among them",
                "write mode: bridge"),
    "vepa": ("in mode vepa all goes out to a switch, and comes back only from one that reflects it; the host cannot "
             "know that", "write mode: bridge"),
    "passthru": ("a link in mode passthru is alone on its parent, so the host can have none beside it",
                 "write mode: bridge"),
    "l3": ("in mode l3 the host routes for its links without hearing them itself", "write mode: l2"),
    "l3s": ("in mode l3s the host routes for its links without hearing them itself", "write mode: l2"),
}


def check_host_side(faults: Faults, spec: Spec) -> None:
    """Notes faults of `fallback` and `hostAccess`."""
    for index, one in enumerate(spec.interfaces):
        at = f"interfaces[{index}]"
        if one.fallback is not None and one.type != "vlan":
            faults.add(f"{at}.fallback", f"a {one.type} has none",
                       "tc-bpf stands in for the driver of VLANs, tc-bpf(8)", "remove it, or write type: vlan")
        if one.host_access:
            _access(faults, f"{at}.hostAccess", one)


def _access(faults: Faults, at: str, one: Interface) -> None:
    if one.type not in ("macvlan", "ipvlan"):
        faults.add(at, "is for links of type macvlan and ipvlan",
                   "only these the kernel keeps apart from the link of the host that carries them, ip-link(8)",
                   "remove it")
    elif one.mode in MODES:
        why, fix = MODES[one.mode]
        faults.add(at, f"the host cannot reach a {one.type} in mode {one.mode}", why, fix)
    elif not one.addresses:
        faults.add(at, "needs an address", "the host is given a route to each, ip-route(8)", "add addresses")
