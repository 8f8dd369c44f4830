"""Rules about limits and marks of links that a schema cannot say."""

from __future__ import annotations

from runspec.spec.model import Carried, Interface, Traffic
from runspec.spec.rules_mounts import Faults

SLOWEST, FASTEST = 8_000, 1_000_000_000_000     # bit/s
HEADER = 14                                     # bytes of Ethernet's header, which a packet's length counts
BURST_MAX = 1 << 31
WAYS = ("egress", "ingress")
# What is wrong with a priority of what arrives, why, and what helps.
IDLE = ("orders nothing", "what arrives at a container waits for nobody else's packets, and the priority of a packet, "
        "socket(7), ends as it crosses a veth", "remove it; egress.priority orders what leaves")


def check_traffic(faults: Faults, at: str, one: Interface) -> None:
    """Notes faults of an interface's `qos`."""
    if one.qos is None:
        return
    for way, traffic in (("egress", one.qos.egress), ("ingress", one.qos.ingress)):
        if traffic is not None:
            _traffic(faults, f"{at}.qos.{way}", traffic, (one.mtu or 1500) + HEADER)
    if one.qos.ingress is not None and one.mode == "l3s" and one.type == "ipvlan":
        faults.add(f"{at}.qos.ingress", "cannot be held or marked in mode l3s",
                   "what arrives passes no hook of the link in this mode, ip-link(8)", "use mode l2 or l3")
    shared = one.type == "veth" and one.network is not None     # perhaps: what its network says is told elsewhere
    if one.qos.ingress is not None and one.qos.ingress.priority is not None and not shared:
        faults.add(f"{at}.qos.ingress.priority", *IDLE)


def check_line(faults: Faults, at: str, one: Carried | None, mtu: int | None) -> None:
    """Notes faults of one way of a network's line."""
    if one is not None:
        _traffic(faults, at, Traffic(rate=one.rate, burst=one.burst), (mtu or 1500) + HEADER)


def _traffic(faults: Faults, at: str, one: Traffic, frame: int) -> None:
    for word, rate in (("rate", one.rate), ("ceil", one.ceil)):
        if rate is not None and not SLOWEST <= rate <= FASTEST:
            faults.add(f"{at}.{word}", f"{rate} bit/s is out of range",
                       "it goes from 8kbit, at which a packet of 1500 bytes takes 1.5 s, to 1tbit, tc(8)",
                       "write it like 10mbit")
    if one.ceil is not None and one.rate is None:
        faults.add(f"{at}.ceil", "has no rate below it", "ceil is how far a link may go beyond what rate guarantees, "
                   "tc-htb(8)", f"write rate: {one.ceil} for a plain limit")
    elif one.ceil is not None and one.rate is not None and one.ceil < one.rate:
        faults.add(f"{at}.ceil", f"{one.ceil} bit/s is less than rate", "what is guaranteed must be allowed, tc-htb(8)",
                   f"write {one.rate} or more")
    if one.burst is None:
        return
    if one.rate is None:
        faults.add(f"{at}.burst", "has no rate that it could exceed", "it is how much of a limit may pass at once, "
                   "tc-htb(8)", "add rate, or remove it")
    elif one.burst < frame:
        faults.add(f"{at}.burst", f"{one.burst} bytes are less than a packet",
                   f"the largest of this link has {frame} bytes with its header and passes at once, tc-htb(8)",
                   f"write {2 * frame} or more")
    elif one.burst > BURST_MAX:
        faults.add(f"{at}.burst", f"{one.burst} bytes are out of range", f"the kernel counts up to {BURST_MAX}",
                   "write it like 32Ki")
