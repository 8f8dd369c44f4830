"""What containers ask of a network's line together: sums, ceilings, turns."""

from __future__ import annotations

import pytest

from runspec.spec import networks
from runspec.spec.model import Carried, Interface, Line, Network, NetworkQos, Process, Qos, Root, Spec, Traffic
from runspec.spec.rules_lines import lines, rate

MBIT = 1_000_000
LINE = NetworkQos(egress=Carried(rate=10 * MBIT))


def box(name: str, *interfaces: Interface) -> Spec:
    return Spec(name=name, root=Root(image="busybox"), process=Process(args=("sh",)), interfaces=interfaces)


def port(name: str, network: str = "lan0", kind: str = "veth", mode: str | None = None, **ways: Traffic) -> Spec:
    return box(name, Interface(name="eth0", type=kind, network=network, mode=mode, qos=Qos(**ways)))


def guaranteed(name: str, mbit: float, **more: int) -> Spec:
    return port(name, egress=Traffic(rate=int(mbit * MBIT), **more))


def lan(qos: NetworkQos | None = LINE, name: str = "lan0") -> Network:
    return Network(name=name, qos=qos)


@pytest.mark.parametrize(("specs", "says"), [
    ([guaranteed("a", 4), guaranteed("b", 6)], []),
    ([guaranteed("a", 4), guaranteed("b", 6.001)],
     ["10.001mbit of egress are guaranteed on lan0: lan0 10mbit, a 4mbit, b 6.001mbit"]),
    # Who is guaranteed nothing takes nothing away, and what is allowed is no sum.
    ([guaranteed("a", 10), port("b", egress=Traffic(dscp=46)), port("c")], []),
    ([guaranteed("a", 1, ceil=10 * MBIT), guaranteed("b", 1, ceil=10 * MBIT)], []),
    ([guaranteed("a", 1, ceil=11 * MBIT)], ["11mbit are more than lan0 carries: lan0 10mbit, a 11mbit"]),
    # On other networks, and on links that are no port of a bridge, it is nobody's business.
    ([guaranteed("a", 10), port("b", "lan1", egress=Traffic(rate=MBIT)),
      port("c", kind="macvlan", egress=Traffic(rate=MBIT)), port("d", mode="routed", egress=Traffic(rate=MBIT))], []),
    # The other way has no line here, so that nobody waits there for another.
    ([port("a", ingress=Traffic(rate=20 * MBIT))], []),
    ([port("a", ingress=Traffic(rate=MBIT, priority=5))], ["orders nothing: a"]),
])
def test_line(specs: list[Spec], says: list[str]) -> None:
    found = lines(specs, [lan(), lan(None, "lan2")])
    assert [f"{one.what}: " + ", ".join(f"{party.name} {party.asks}".strip() for party in one.parties)
            for one in found] == says and all(one.refused for one in found)


def test_turns_where_many_wait() -> None:
    both = NetworkQos(egress=Carried(rate=MBIT), ingress=Carried(rate=MBIT))
    assert not lines([port("a", ingress=Traffic(rate=MBIT, priority=5))], [lan(both)])


@pytest.mark.parametrize(("value", "text"), [
    (10 * MBIT, "10mbit"), (10_512_000, "10.512mbit"), (2_500_000_000, "2.5gbit"), (8_001, "8.001kbit"),
    (1_000_001, "1000.001kbit"), (999, "999bit")])
def test_rate(value: int, text: str) -> None:
    assert rate(value) == text


def test_what_a_link_has_from_its_network() -> None:
    one = guaranteed("a", 1)
    assert networks.lined(one, {"lan0": lan()}, False).interfaces[0].line == Line(shared=("egress",))
    assert networks.lined(one, {"lan0": lan(None)}, True).interfaces[0].line == Line(fair=True)
    assert networks.lined(port("a"), {"lan0": lan()}, True).interfaces[0].line == Line(shared=("egress",),
                                                                                                 fair=True)
    assert networks.lined(port("a", mode="routed"), {"lan0": lan()}, False).interfaces[0].line == Line()
    plain = box("a")
    assert networks.lined(plain, {"lan0": lan()}, True) is plain
