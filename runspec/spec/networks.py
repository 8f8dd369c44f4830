"""What interfaces take from their networks: an address out of the pool, the mtu, the gateway."""

from __future__ import annotations

from runspec.spec import units
from runspec.spec.model import Interface, Line, Network, NetworkQos, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    # Family 4 or 6, first and last address as numbers, prefix length of the addresses given.
    Range = tuple[int, int, int, int]
    # Family and address as a number.
    Number = tuple[int, int]

_BITS = {4: 32, 6: 128}


def spell(links: Iterable[dict[str, Any]]) -> None:
    """Trees of interfaces as a file has them: what was taken from a pool is no wish of the file's."""
    for one in links:
        if one.pop("pooled", False):
            one["addresses"] = "auto"


def unspell(links: Iterable[dict[str, Any]]) -> None:
    """The inverse of spell."""
    for one in links:
        if one.get("addresses") == "auto":
            one["addresses"], one["pooled"] = [], True


# -- pools ------------------------------------------------------------------------------------------------

def number(address: str) -> Number:
    """An address, with or without a prefix length, as (family, number)."""
    return units.span(address.partition("/")[0])[:2]


def ranges(network: Network) -> list[Range]:
    """What a network's pool gives, without the network's first and broadcast address; lowest first in each family.

    Without ranges of its own it is all of the networks that its addresses are in.
    """
    homes = [units.network_of(one) for one in network.addresses]
    out: set[Range] = set()
    for text in (network.pool.range if network.pool is not None else ()) or tuple(
            units.network_text(one) for one in network.addresses if not one.startswith("fe80:")):
        kind, first, last = units.span(text)
        # An external bridge's addresses are in no file: there the range itself tells the network.
        found = [home for home in homes if home[0] == kind and home[1] <= first
                 and last < home[1] + (1 << _BITS[kind] - home[2])]
        kind, base, length = max(found, key=lambda one: one[2]) if found else units.network_of(text.partition("-")[0])
        size = 1 << _BITS[kind] - length
        if size > 2:
            # IPv6 knows no broadcast, but its first address is every router's, RFC 4291 2.6.1.
            first, last = max(first, base + 1), min(last, base + size - (2 if kind == 4 else 1))
        if first <= last:
            out.add((kind, first, last, length))
    return sorted(out)


def kept_back(network: Network) -> list[tuple[int, int, int]]:
    """What the pool excludes, and the network's own addresses, as (family, first, last)."""
    out = [units.span(one) for one in (network.pool.exclude if network.pool is not None else ())]
    return sorted(out + [units.span(one.partition("/")[0]) for one in network.addresses])


def gives(network: Network, address: str) -> bool:
    """Whether the pool may give this address."""
    kind, value = number(address)
    return any(one[0] == kind and one[1] <= value <= one[2] and address.endswith(f"/{one[3]}")
               for one in ranges(network)) and not any(
        one[0] == kind and one[1] <= value <= one[2] for one in kept_back(network))


def free(network: Network, kind: int, taken: Container[Number]) -> Iterator[str]:
    """The addresses of a family that nobody has, the lowest first, in CIDR form.

    Args:
        taken: looked at anew for each; what is given goes into it.
    """
    closed = [(first, last) for family, first, last in kept_back(network) if family == kind]
    for family, first, last, length in ranges(network):
        if family != kind:
            continue
        at = first
        for low, high in [*closed, (last + 1, last + 1)]:
            while at < min(low, last + 1):
                if (kind, at) not in taken:
                    yield f"{units.address_text(kind, at)}/{length}"
                at += 1
            at = max(at, high + 1)


def lowest(network: Network, kind: int, taken: Container[Number]) -> str | None:
    """The lowest address of a family that is free, in CIDR form; None where none is."""
    return next(free(network, kind, taken), None)


def families(network: Network) -> list[int]:
    """The families of addresses that the pool gives, 4 before 6."""
    return sorted({one[0] for one in ranges(network)})


# -- what a link has from its network ---------------------------------------------------------------------

def inherit(spec: Spec, networks: Mapping[str, Network]) -> Spec:
    """A spec whose interfaces have what they leave to their networks: the mtu, and with `auto` the gateway.

    The gateway is the network's own address, unless the network is internal, or the container has
    a default route of that family already.
    """
    if not any(one.network in networks for one in spec.interfaces):
        return spec
    routed = {units.family(via) for one in spec.interfaces for via in (
        *one.gateway, *(route.via for route in one.routes if route.to == "default" and route.via))}
    links = tuple(_inherited(one, networks.get(one.network or ""), routed) for one in spec.interfaces)
    return spec if links == spec.interfaces else spec.replace(interfaces=links)


def _inherited(link: Interface, network: Network | None, routed: set[int]) -> Interface:
    """One interface; `routed` learns the families that get a gateway here."""
    if network is None:
        return link
    if link.mtu is None and network.mtu is not None:
        link = link.replace(mtu=network.mtu)
    # The host itself is in the bridge's first VLAN alone.
    if not link.pooled or network.internal or link.vlan is not None:
        return link
    hops = [hop for address in link.addresses if units.family(address) not in routed
            and (hop := own_address(network, address)) is not None]
    routed.update(map(units.family, hops))
    return link.replace(gateway=(*link.gateway, *hops)) if hops else link


def lined(spec: Spec, networks: Mapping[str, Network], fair: bool) -> Spec:
    """A spec whose interfaces know what of their limits their networks say, and the kernel.

    Args:
        fair: whether this kernel lets flows that wait take turns.
    """
    if not any(one.qos is not None or one.network in networks for one in spec.interfaces):
        return spec
    links = tuple(one.replace(line=line) if (line := _line(one, networks.get(one.network or ""), fair)) != one.line
                  else one for one in spec.interfaces)
    return spec if links == spec.interfaces else spec.replace(interfaces=links)


def _line(one: Interface, network: Network | None, fair: bool) -> Line:
    shares = one.type == "veth" and one.mode in (None, "bridge") and network is not None
    shared = ways(network.qos) if shares and network is not None else ()
    held = one.qos is not None and any(each is not None and each.rate is not None
                                       for each in (one.qos.egress, one.qos.ingress))
    return Line(shared=shared, fair=fair and (held or bool(shared)))


def ways(qos: NetworkQos | None) -> tuple[str, ...]:
    """The ways, as containers see them, of which a network has one line for all."""
    return tuple(word for word in ("egress", "ingress") if qos is not None and getattr(qos, word) is not None)


def own_address(network: Network, address: str) -> str | None:
    """The network's own address that a container with this address reaches directly, without prefix length."""
    plain = address.partition("/")[0]
    return next((own.partition("/")[0] for own in network.addresses if units.within(plain, own)), None)


def physical(spec: Spec) -> list[tuple[int, Interface]]:
    """Its interfaces that are the host's hardware, by their place in the file."""
    return [(i, one) for i, one in enumerate(spec.interfaces) if one.type == "physical"]


def named(spec: Spec) -> Sequence[str]:
    """The networks of a container, each once."""
    return tuple(dict.fromkeys(one.network for one in spec.interfaces if one.network))
