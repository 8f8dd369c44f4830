"""Rules about networks and their pools that a schema cannot say."""

from __future__ import annotations

from runspec.spec import networks, units
from runspec.spec.model import Network, Pool
from runspec.spec.rules_links import check_addresses, check_mtu, link_fault
from runspec.spec.rules_mounts import Faults
from runspec.spec.rules_traffic import WAYS, check_line
from runspec.spec.units import shown

_WORDS = {4: "IPv4", 6: "IPv6"}


def check_network(faults: Faults, network: Network) -> None:
    """Notes faults of a Network."""
    if bad := link_fault(network.name):
        faults.add("name", *bad)
    check_mtu(faults, "mtu", network.mtu, network.addresses)
    check_addresses(faults, "addresses", network.addresses)
    _alone(faults, network.addresses)
    if network.external:
        _external(faults, network)
    elif network.nat and not network.addresses:
        faults.add("nat", "needs an address of the host's on this network",
                   "its containers reach the host by it, and others through the host",
                   "add addresses: [10.77.0.1/24]")
    if network.nat and network.internal:
        faults.add("nat", "nothing leaves an internal network", "internal forbids what nat serves, nft(8)",
                   "remove one")
    for word in WAYS:
        check_line(faults, f"qos.{word}", getattr(network.qos, word, None), network.mtu)
    if network.pool is not None and all((*network.addresses, *network.pool.range, *network.pool.exclude)):
        _pool(faults, network, network.pool)


def _alone(faults: Faults, addresses: tuple[str, ...]) -> None:
    """The host's own addresses on one bridge lie in networks apart, and none is the loopback's."""
    good = [(index, one) for index, one in enumerate(addresses) if one]
    for index, one in good:
        kind, first, last = units.span(one)
        if (kind == 4 and first >> 24 == 127) or (kind == 6 and units.span(one.partition("/")[0])[1] == 1):
            faults.add(f"addresses[{index}]", f"{shown(one)} is the loopback's", "it leads nowhere but to its own host",
                       "write an address such as 10.77.0.1/24")
            continue
        for before, other in good:
            if before >= index or other.partition("/")[0] == one.partition("/")[0]:
                continue            # given twice, which was said
            there = units.span(other)
            if there[0] == kind and there[1] <= last and first <= there[2] and there[1:] != (first, last):
                faults.add(f"addresses[{index}]", f"{units.network_text(one)} overlaps {units.network_text(other)}",
                           f"addresses[{before}] has it on this network already", "give both one prefix length")
                break


def _external(faults: Faults, network: Network) -> None:
    """Keys that would change somebody else's bridge."""
    for key, said in (("addresses", network.addresses), ("mtu", network.mtu is not None), ("nat", network.nat),
                      ("internal", network.internal), ("vlanFiltering", network.vlan_filtering), ("qos", network.qos)):
        if said:
            faults.add(key, "would change a bridge that is somebody else's",
                       "external: true uses the bridge as it is", f"remove {key}, or remove external")


def _pool(faults: Faults, network: Network, pool: Pool) -> None:
    before = len(faults.found)
    if not pool.range and not network.addresses:
        faults.add("pool", "has no network to give addresses of",
                   "an external bridge's addresses are not in this file" if network.external else
                   "without addresses or a range nobody knows which", "add pool.range: 10.77.0.0/24"
                   if network.external else "add addresses: [10.77.0.1/24]")
    for index, one in enumerate(pool.range):
        _range(faults, network, pool, index, one)
    if len(faults.found) > before:
        return
    given = networks.ranges(network)
    for index, one in enumerate(pool.exclude):
        kind, first, last = units.span(one)
        at = f"pool.exclude[{index}]"
        if "/" in one and units.network_text(one) != one:
            faults.add(at, f"{shown(one)} has bits beyond its prefix", "a network's first address stands for it",
                       f"write {units.network_text(one)}")
        elif not any(family == kind and low <= last and first <= high for family, low, high, _ in given):
            faults.add(at, f"{shown(one)} is in no range of this pool", "it would not be given anyway",
                       "remove it, or correct it")
    if len(faults.found) == before and not any(networks.lowest(network, kind, ())
                                               for kind in networks.families(network)):
        faults.add("pool", "has no address left to give", "all of it is excluded or the network's own",
                   "widen pool.range, or shorten pool.exclude")


def _range(faults: Faults, network: Network, pool: Pool, index: int, one: str) -> None:
    kind, first, last = units.span(one)
    at = f"pool.range[{index}]"
    if "/" in one and units.network_text(one) != one:
        faults.add(at, f"{shown(one)} has bits beyond its prefix", "a network's first address stands for it",
                   f"write {units.network_text(one)}")
        return
    if network.external:
        if "/" not in one:
            faults.add(at, f"{shown(one)} does not tell the network's prefix length",
                       "an external bridge's addresses are not in this file", "write a network in CIDR form, and "
                       "pool.exclude for what is not to be given")
    else:
        homes = [home for home in network.addresses if units.family(home) == kind]
        if not any(low <= first and last <= high for _, low, high in map(units.span, homes)):
            where = " or ".join(map(units.network_text, homes))
            faults.add(at, f"{shown(one)} is not within a network of this bridge",
                       f"its addresses are in {where}" if homes else f"it has no {_WORDS[kind]} address",
                       f"write a range within {where}" if homes else f"add an {_WORDS[kind]} address to addresses")
            return
    for before in range(index):
        there = units.span(pool.range[before])
        if there[0] == kind and there[1] <= last and first <= there[2]:
            faults.add(at, f"{shown(one)} overlaps {shown(pool.range[before])}",
                       f"pool.range[{before}] gives these addresses already", "keep them apart")
            return
