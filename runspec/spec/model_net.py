"""What should be of links and networks: a part of model.py, which names all of it."""

from __future__ import annotations

from runspec.spec.frozen import Frozen


class Route(Frozen):
    """One route inside the container; to is a network in CIDR form or "default"."""

    to: str
    via: str | None = None
    metric: int | None = None


class Vlan(Frozen):
    """The tag that a link's frames bear, ip-link(8) "VLAN Type Support"."""

    id: int                             # 1..4094
    protocol: str = "802.1Q"            # or "802.1ad"


class Traffic(Frozen):
    """What one direction of a link is held to, and how its packets are marked, tc(8)."""

    rate: int | None = None             # bit/s
    ceil: int | None = None             # bit/s
    burst: int | None = None            # bytes
    priority: int | None = None         # 0..7, the packets' SO_PRIORITY, socket(7)
    dscp: int | None = None             # 0..63, RFC 2474


class Qos(Frozen):
    """A link's traffic: what leaves the container, and what arrives at it."""

    egress: Traffic | None = None
    ingress: Traffic | None = None


class Line(Frozen):
    """What an interface's limits are made of that its file does not say.

    Args:
        shared: the ways, "egress" and "ingress", of which its network has one line for all.
        fair: whether this kernel lets flows that wait take turns.
    """

    shared: tuple[str, ...] = ()
    fair: bool = False


class Interface(Frozen):
    """A link of the container, ip-link(8); addresses in CIDR form, v4 and v6, as the kernel prints them."""

    name: str
    type: str                           # physical, veth, vlan, macvlan, ipvlan
    network: str | None = None
    parent: str | None = None           # a link of the host: its name, "mac:ADDRESS" or "pci:ADDRESS"
    mode: str | None = None             # one of MODES
    vlan: Vlan | None = None
    fallback: str | None = None         # "tc-bpf": where the kernel has no such links
    mac: str | None = None              # lower case
    mtu: int | None = None
    addresses: tuple[str, ...] = ()
    gateway: tuple[str, ...] = ()       # at most one of each family
    routes: tuple[Route, ...] = ()
    sysctl: tuple[tuple[str, str], ...] = ()    # sorted; IFNAME stands for the link's name
    pooled: bool = False                # `addresses: auto`: those above were taken from the network's pool
    host_access: bool = False
    qos: Qos | None = None
    line: Line = Line()                 # of no file: found where the file meets its network and the kernel


# Type of a link -> its modes, the first of them where the file names none.
MODES = {"veth": ("bridge", "routed"), "macvlan": ("bridge", "private", "vepa", "passthru"),
         "ipvlan": ("l2", "l3", "l3s")}
# Types of links that are made on a link of the host.
ON_PARENT = ("vlan", "macvlan", "ipvlan")


class Port(Frozen):
    """Ports of the host that lead to as many of the container's: "8080", or "8000-8009"."""

    host: str
    container: str
    host_ip: str = "127.0.0.1"          # "0.0.0.0" and "::": every address of the host
    protocol: str = "tcp"               # or "udp"


class Dns(Frozen):
    """What resolv.conf(5) of the container says."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Pool(Frozen):
    """Addresses that a network gives to interfaces that say `auto`."""

    range: tuple[str, ...] = ()         # "10.77.0.16-10.77.0.99", or a network in CIDR form
    exclude: tuple[str, ...] = ()


class Carried(Frozen):
    """What one way of a network's line carries for all that share it."""

    rate: int                           # bit/s
    burst: int | None = None            # bytes


class NetworkQos(Frozen):
    """A network's line: what leaves its containers, and what arrives at them."""

    egress: Carried | None = None
    ingress: Carried | None = None


class Network(Frozen):
    """A link of the host that containers' interfaces join: a bridge."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    project: str | None = None
    type: str = "bridge"
    addresses: tuple[str, ...] = ()
    mtu: int | None = None
    pool: Pool | None = None
    internal: bool = False              # nothing is forwarded to or from it
    nat: bool = False                   # what leaves it bears the host's address
    isolated: bool = False              # its ports do not see each other
    vlan_filtering: bool = False
    external: bool = False              # somebody else's bridge: only used
    qos: NetworkQos | None = None       # the one line that its containers share
