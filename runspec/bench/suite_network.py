"""How fast containers reach each other: NetPIPE's latency and bandwidth over sizes of messages, and streams of iperf3.

Both ends are on one core, one after another: what is measured is the way of the packets and the calls, not how long
a second core takes to wake up, which on a virtual machine is the most of it and no property of a link.
"""

from __future__ import annotations

import os

from runspec.bench import netpipe, nics
from runspec.bench.contender import ALWAYS
from runspec.bench.contenders_plain import by_hand
from runspec.bench.results import HIGHER, Aim, Missing
from runspec.bench.suite import SPECS, Point, Suite, Turn
from runspec.bench.work import Work, cores, package, pinned, whole
from runspec.errors import HostError
from runspec.spec.model import Namespace, Spec, Vlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runspec.bench.contender import Contender
    from runspec.spec.model import Interface, Network as Bridge

BRIDGE, ROUTED, LOOPBACK = "veth on bridge", "veth routed", "loopback"
MACVLAN, IPVLAN, VLAN, TAGGED = "macvlan", "ipvlan", "vlan", "vlan by tc-bpf"
DELEGATED = "delegated NIC"
CASES = (BRIDGE, LOOPBACK, ROUTED, MACVLAN, IPVLAN, VLAN, TAGGED)
# Who has such links at all.
WHO = {LOOPBACK: ALWAYS, ROUTED: ALWAYS, TAGGED: ("runspec",), DELEGATED: ALWAYS}
# The links of the host that others are made on: the two ends of one wire.
PARENTS = ("benchnic0", "benchnic1")
GATEWAY = "169.254.1.1"         # of routed links
SMALLEST, LARGEST = 1, 1 << 20
SECONDS = 120.0
PROTOCOLS = "/etc/protocols"
RECEIVER = "10.95.0.2"          # as the file has it


class Network(Suite):
    """See the module."""

    name = "network"
    what = "NetPIPE's latency and bandwidth over sizes of messages, streams of iperf3, on each kind of link"
    programs = (("NPtcp", "netpipe-tcp"), ("iperf3", "iperf3"))
    aims = (
        Aim(suite="network", figure="latency", case=BRIDGE, at=SMALLEST, over="lxc", most=1.0),
        Aim(suite="network", figure="bandwidth", case=BRIDGE, at=LARGEST, over="lxc", least=1.0),
        Aim(suite="network", figure="stream", case=BRIDGE, over="lxc", least=1.0),
        Aim(suite="network", figure="latency", case="*", at=SMALLEST, over="native"),
        Aim(suite="network", figure="bandwidth", case="*", at=LARGEST, over="native"),
        Aim(suite="network", figure="stream", case="*", over="native"),
    )

    def lacks(self) -> str:
        why = super().lacks()
        lost = f"no {PROTOCOLS}, which NPtcp reads: apt-get install netbase"
        return why or ("" if os.path.exists(PROTOCOLS) else lost)

    def versions(self) -> dict[str, str]:
        return {"NPtcp": package("netpipe-tcp"), "iperf3": self.scene.run("iperf3", "--version").splitlines()[0]}

    def measure(self) -> None:
        """The race on the bridge, of which most is asked, and then the other kinds of links, each in rounds of its own.

        No round goes by that does not count: NetPIPE takes the best of three trials itself.
        """
        quick = self.settings.pace == "quick"
        self.over((BRIDGE,), 50 if quick else 100, self.settings.pick(1, 6, 6))
        self.over((LOOPBACK,) if quick else CASES[1:], 50 if quick else 100, self.settings.pick(1, 3, 4))
        if self.settings.nics:
            # A wire has the speed that it has: a fast one shows it in fewer messages, a slow one takes long.
            self.over((DELEGATED,), 10 if quick else 25, self.settings.pick(1, 3, 4))

    def over(self, cases: Sequence[str], often: int, count: int) -> None:
        """These kinds of links.

        Args:
            often: how many messages of each size.
            count: rounds.
        """
        models = self.scene.read(f"{SPECS}/network.yaml")
        pair = [pinned(one, cores()[-1]) for one in models if isinstance(one, Spec)]
        bridges = [one for one in models if not isinstance(one, Spec)]
        if not os.path.exists(f"/sys/class/net/{PARENTS[0]}"):
            self.scene.run("ip", "link", "add", PARENTS[0], "type", "veth", "peer", "name", PARENTS[1])
            for name in PARENTS:
                self.scene.run("ip", "link", "set", name, "up")
        self.scene.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")       # of this world, for routed links by hand
        self.rounds([turn for case in cases for turn in self.turns(case, pair, bridges, often)], count, warm=False,
                    guests=self.settings.guests)

    def turns(self, case: str, pair: list[Spec], bridges: list[Bridge], often: int) -> Iterator[Turn]:
        """Everybody who has such links."""
        if why := self.impossible(case):
            # The kernel's matter, and so in no contender's name.
            self.missing.append(Missing(suite=self.name, contender="", why=f"{case}: {why}"))
            return
        for name in whole(self.settings.contenders):
            # Peers race on the bridge, which is what they are used with.
            if name not in WHO.get(case, (name,) if case == BRIDGE or self.settings.pace == "full" else ALWAYS):
                continue
            work = Work(os.path.join(self.scene.room, f"network-{name}-{case.replace(' ', '-')}"))
            specs = [work.seen_by(on(one, case, place, often), name != "native") for place, one in enumerate(pair)]
            networks = bridges if case == BRIDGE else []
            # Without a container that is network namespaces made by hand.
            one = by_hand(self.scene, specs, networks) if name == "native" else self.contender(
                name, specs, networks, case)
            if one is not None:
                yield Turn(contender=name, label=case, take=self.turn(one, work, specs[1].name, case))

    def impossible(self, case: str) -> str:
        """Why this kernel has no such links; "" where it has."""
        if case == TAGGED:
            return "" if self.impossible(VLAN) else "the kernel has a driver for VLANs, which is used"
        kind = {MACVLAN: "macvlan", IPVLAN: "ipvlan", VLAN: "vlan"}.get(case, "")
        more = ("id", "10") if kind == "vlan" else ()
        if not kind:
            return ""
        try:
            self.scene.run("ip", "link", "add", "link", PARENTS[0], "name", "benchtry", "type", kind, *more)
            self.scene.run("ip", "link", "del", "benchtry")
        except HostError as error:
            return f"this kernel has no such links: {' '.join(error.why.split())}"
        return ""

    def turn(self, one: Contender, work: Work, sender: str, case: str) -> Callable[[], Iterator[Point]]:
        """NetPIPE, then iperf3, between two containers."""
        def take() -> Iterator[Point]:
            work.drop("np.out", "stream.json")
            try:
                one.start()
                rate = work.wait("stream.json", netpipe.parse_stream, one, sender, SECONDS)
                curve = netpipe.parse_curve(work.read("np.out"), LARGEST)
            finally:
                one.delete()
            if curve is None:
                raise HostError("bench: NPtcp left no whole curve", work.read("np.out")[-300:])
            command = one.command(sender)
            for size, (speed, latency) in curve.points.items():
                if size & (size - 1) == 0:
                    yield Point(figure="latency", case=case, value=latency, unit="us", at=size, along="bytes",
                                command=command)
                    yield Point(figure="bandwidth", case=case, value=speed, unit="Mbit/s", better=HIGHER, at=size,
                                along="bytes", command=command)
            yield Point(figure="stream", case=case, value=rate, unit="Mbit/s", better=HIGHER, command=command)

        return take


def on(spec: Spec, case: str, place: int, often: int) -> Spec:
    """A container of the file on another kind of link.

    Args:
        place: 0 for the receiver, 1 for the sender.
        often: how many messages of each size.
    """
    name = f"{spec.name}-{case.replace(' ', '-')}"
    args = tuple(text.replace("-n 200", f"-n {often}") for text in spec.process.args)
    spec = spec.replace(name=name, hostname=name, process=spec.process.replace(args=args))
    link, = spec.interfaces
    if case == LOOPBACK:
        local = tuple(text.replace(RECEIVER, "127.0.0.1") for text in args)
        spec = spec.replace(interfaces=(), process=spec.process.replace(args=local))
        if place:
            joined = tuple(Namespace(type="network", container=f"receiver-{case}") if one.type == "network" else one
                           for one in spec.linux.namespaces)
            spec = spec.replace(linux=spec.linux.replace(namespaces=joined))
        return spec
    if case == DELEGATED:
        # With the last program its namespace ends, and the kernel gives the NIC to the machine, past this world.
        stays = tuple(text.replace("exec iperf3", "iperf3") + "\nexec sleep inf" for text in args[-1:])
        spec = spec.replace(process=spec.process.replace(args=(*args[:-1], *stays)))
    return spec.replace(interfaces=(changed(link, case, place),))


def changed(link: Interface, case: str, place: int) -> Interface:
    """The link of the file as another kind."""
    if case == BRIDGE:
        return link
    if case == ROUTED:
        return link.replace(network=None, mode="routed", gateway=(GATEWAY,),
                            addresses=tuple(f"{address(link)}/32" for _ in link.addresses))
    bare = link.replace(network=None, gateway=(), parent=PARENTS[0])
    if case == DELEGATED:
        # Whoever is killed, the kernel gives it to the machine under this name: no other one may want that there.
        return bare.replace(name=nics.LENT[place], type="physical", mode=None, parent=nics.LENT[place])
    if case == MACVLAN:
        return bare.replace(type="macvlan", mode="bridge")
    if case == IPVLAN:
        return bare.replace(type="ipvlan", mode="l2")
    # A tag is for the wire: the other end is where it is taken off.
    return bare.replace(type="vlan", mode=None, vlan=Vlan(id=10), parent=PARENTS[place],
                        fallback="tc-bpf" if case == TAGGED else None)


def address(link: Interface) -> str:
    """The first address without its prefix."""
    return link.addresses[0].partition("/")[0]
