"""Links for peers that make none themselves: network namespaces and links by iproute2, as ip(8) reads them.

This is what their users do, by hand or by plugins that call the kernel the same way.
"""

from __future__ import annotations

from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runspec.spec.model_net import Interface, Network


def bridges(networks: Sequence[Network]) -> list[str]:
    """Lines that make bridges."""
    out = []
    for one in networks:
        out += [f"link add {one.name}{f' mtu {one.mtu}' if one.mtu else ''} type bridge",
                *(f"addr add {address} dev {one.name}" for address in one.addresses), f"link set {one.name} up"]
    return out


def end(number: int, index: int) -> str:
    """The name of the host's end of a veth."""
    return f"vb{number}.{index}"


def outside(netns: str, number: int, links: Sequence[Interface]) -> list[str]:
    """Lines for the host: a namespace and the links in it.

    Args:
        netns: the name of the namespace.
        number: of the container, which names of links are made of.

    Raises:
        HostError: a link that iproute2 alone does not make as asked.
    """
    out = [f"netns add {netns}"]
    for index, one in enumerate(links):
        if one.qos or one.host_access or one.pooled or one.sysctl or one.fallback:
            raise HostError(f"bench: {one.name}: only runspec makes a link like this")
        tail = f"name {one.name} netns {netns}" + (f" address {one.mac}" if one.mac else "") + (
            f" mtu {one.mtu}" if one.mtu else "")
        if one.type == "veth":
            name = end(number, index)
            # peer takes its own words, the netns among them, from what follows it.
            out += [f"link add {name}{f' mtu {one.mtu}' if one.mtu else ''} type veth peer {tail}",
                    *([f"link set {name} master {one.network}"] if one.network else []), f"link set {name} up"]
            if one.mode == "routed":
                out += [*(f"addr add {gateway}/32 dev {name}" for gateway in one.gateway),
                        *(f"route add {address.partition('/')[0]} dev {name}" for address in one.addresses)]
        elif one.type == "vlan" and one.vlan is not None:
            out.append(f"link add link {one.parent} {tail} type vlan protocol {one.vlan.protocol} id {one.vlan.id}")
        elif one.type in ("macvlan", "ipvlan"):
            mode = one.mode or ("bridge" if one.type == "macvlan" else "l2")
            out.append(f"link add link {one.parent} {tail} type {one.type} mode {mode}")
        elif one.type == "physical":
            out.append(f"link set {one.parent} {tail}")
        else:
            raise HostError(f"bench: no link of type {one.type} by iproute2")
    return out


def inside(links: Sequence[Interface]) -> list[str]:
    """Lines for a container's namespace."""
    out = []
    for one in links:
        out += [*(f"addr add {address} dev {one.name}{' nodad' if ':' in address else ''}"
                  for address in one.addresses), f"link set {one.name} up"]
        for gateway in one.gateway:
            family = "-6 " if ":" in gateway else ""
            if one.mode == "routed":
                out.append(f"{family}route add {gateway} dev {one.name}")
            out.append(f"{family}route add default via {gateway} dev {one.name}")
        out += [f"route add {route.to}{f' via {route.via}' if route.via else ''} dev {one.name}"
                for route in one.routes]
    return [*out, "link set lo up"]


def home(links: Sequence[Interface], pid: int) -> list[str]:
    """Lines for a container's namespace: NICs that moved there go to that of a process; the kernel would not say where
    else they are."""
    return [f"link set {one.name} netns {pid} name {one.parent}" for one in links if one.type == "physical"]


def gone(netns: str, number: int, links: Sequence[Interface]) -> list[str]:
    """Lines for the host that take all of it away; some may be gone already."""
    return [*(f"link del {end(number, index)}" for index, one in enumerate(links) if one.type == "veth"),
            f"netns del {netns}"]
