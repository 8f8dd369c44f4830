"""A network's line, and ports' parts of it: what is said of what the kernel shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runspec.kernel.netlink import Link
from runspec.kernel.traffic import Class, Filter, Qdisc
from runspec.plan import bpf, line, tc, traffic, view_traffic
from runspec.plan.values import ABSENT
from runspec.spec.model import (
    Carried,
    Interface,
    Line,
    Linux,
    Namespace,
    Network,
    NetworkQos,
    Process,
    Qos,
    Root,
    Spec,
    Traffic,
)

MBIT, END, OUT, PORT = 1_000_000, 500, 600, 7
AT = "interfaces[0].qos.egress."
LAN = Network(name="lan0", qos=NetworkQos(egress=Carried(rate=8 * MBIT)))


def test_no_two_queues_of_a_tree_have_one_handle() -> None:
    minors = [tc.handle(traffic.MAJOR, number) for number in range(1, line.LAST + 1)]
    handles = [one for number in (*minors, traffic.REST) for one in traffic.queues(number)]
    assert len(set(handles)) == len(handles) and traffic.ROOT not in handles
    assert all(one & 0xFFFF == 0 and one >> 16 < 0x8000 for one in handles)     # above are the kernel's own


def row(number: int, rate: int, ceil: int, parent: int = traffic.LINE, prio: int = 7, burst: int = 0) -> Class:
    return Class((OUT, number, parent, rate, ceil, tc.ticks(rate, burst or traffic.depth(rate, 1514)),
                  tc.ticks(ceil, burst or traffic.depth(ceil, 1514)), prio))


def tree(whole: int = MBIT, rest: int = MBIT) -> list[Any]:
    """What the kernel shows of a line of 8 mbit, in bytes/s."""
    return [Qdisc((OUT, traffic.ROOT, tc.ROOT, "htb", 0)), row(traffic.LINE, whole, whole, 0),
            row(traffic.REST, rest, whole), Filter((OUT, traffic.ROOT, 1, "bpf", "runspec:place",
                                                    bpf.tags(line.PLACES)[0], 0))]


def differences(found: list[Any], wanted: Network = LAN, last: Network | None = None, ready: bool = True) -> Any:
    facts: Any = SimpleNamespace(lines={("lan0", "egress"): line.Sight(ready, found)})
    expected: dict[str, Any] = {}
    seen: dict[str, Any] = {}
    line.expect_line(wanted, expected)
    line.see_line(wanted, last, facts, seen)
    return {path: (seen[path], expected.get(path, ABSENT)) for path in seen if seen[path] != expected.get(path, ABSENT)}


def test_what_is_wrong_with_a_line() -> None:
    port = row(tc.handle(traffic.MAJOR, PORT), MBIT // 4, MBIT)
    assert differences(tree()) == {} == differences([*tree(rest=3 * MBIT // 4), port])
    assert differences([*tree(), port]) == {"qos.egress.rest": ("8000000 bit/s", line.LEFT)}
    gone = {"qos.egress.rate": (ABSENT, 8 * MBIT), "qos.egress.burst": (ABSENT, 10_000),
            "qos.egress.rest": (ABSENT, line.LEFT)}
    for at in (0, 1, 3):
        assert differences(tree()[:at] + tree()[at + 1:]) == gone
    assert differences(tree(), ready=False) == gone
    assert differences(tree()[:2] + tree()[3:]) == {"qos.egress.rest": (ABSENT, line.LEFT)}
    assert differences(tree(2 * MBIT, 2 * MBIT)) == {"qos.egress.rate": (16 * MBIT, 8 * MBIT)}


def test_an_edited_line() -> None:
    more = LAN.replace(qos=NetworkQos(egress=Carried(rate=16 * MBIT)))
    assert differences(tree(), more, LAN) == {"qos.egress.rate": (8 * MBIT, 16 * MBIT)}
    burst = LAN.replace(qos=NetworkQos(egress=Carried(rate=8 * MBIT, burst=9000)))
    assert differences(tree(), burst, LAN) == {"qos.egress.burst": (10_000, 9000)}
    none = LAN.replace(qos=None)
    assert differences(tree(), none, LAN)["qos.egress.rate"] == (8 * MBIT, ABSENT)


@pytest.mark.parametrize(("rates", "left"), [((), 1000), ((400, 500), 100), ((400, 600), 1), ((2000,), 1)])
def test_left(rates: tuple[int, ...], left: int) -> None:
    classes = [row(tc.handle(traffic.MAJOR, number), rate * 1000, MBIT) for number, rate in enumerate(rates, 1)]
    assert line.left(MBIT, [*classes, row(traffic.REST, 5, 5), row(traffic.LINE, 9, 9)]) == left * 1000


def member(one: Traffic | None, shared: tuple[str, ...] = ("egress",), fair: bool = False) -> Spec:
    return Spec(name="a", root=Root(image="busybox"), process=Process(args=("sh",)),
                linux=Linux(namespaces=(Namespace(type="network"),)), interfaces=(Interface(
                    name="eth0", type="veth", network="lan0", qos=Qos(egress=one) if one else None,
                    line=Line(shared=shared, fair=fair)),))


def link(index: int, name: str, kind: str) -> Link:
    return Link((index, name, kind, "", 1500, True, 0, "", -1, 0, *[None] * (len(Link.FIELDS) - 10)))


def port(one: Traffic | None, fair: bool = False) -> list[Any]:
    """What the kernel shows of a port."""
    code = traffic.program(one, PORT if one is not None and one.rate is not None else 0)
    assert code is not None
    out: list[Any] = [Filter((END, tc.INGRESS_HOOK, traffic.MARKS, "bpf", "runspec:mark", bpf.tags(code)[0], 0)),
                      Filter((END, tc.INGRESS_HOOK, traffic.AWAY[tc.INGRESS_HOOK], "u32", "", "", OUT))]
    held = traffic.bucket(one, None, Line(shared=("egress",), fair=fair), "egress")
    if held is not None:
        number = tc.handle(traffic.MAJOR, PORT)
        _, parts, flows = traffic.queues(number)
        out.append(Class((OUT, number, traffic.LINE, held.rate, held.ceil, tc.ticks(held.rate, held.burst),
                          tc.ticks(held.ceil, held.ceil_burst), held.prio)))
        out.append(Qdisc((OUT, parts, number, "tbf", held.limit)))
        out += [Qdisc((OUT, flows, parts | 1, "fq_codel", held.packets))] * fair
    return out


def seen(found: list[Any], wanted: Spec, last: Spec | None = None) -> dict[str, Any]:
    outside = {"a.eth0": link(END, "a.eth0", "veth"), traffic.line_link("lan0", "egress"): link(OUT, "rl0", "ifb")}
    facts: Any = SimpleNamespace(links=[link(11, "eth0", "veth")], outside=outside, host_traffic=found, traffic=[],
                                 numbers={END: PORT})
    expected: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    view_traffic.expect_traffic(wanted, facts, expected)
    view_traffic.see_traffic(wanted, last, facts, shown)
    return {path.removeprefix(AT): (shown[path], expected.get(path, ABSENT)) for path in shown
            if shown[path] != expected.get(path, ABSENT)}


QUARTER = Traffic(rate=2 * MBIT, ceil=8 * MBIT, priority=5, dscp=46)


def test_what_is_wrong_with_a_part() -> None:
    for one in (QUARTER, Traffic(rate=2 * MBIT), Traffic(dscp=46), None):
        assert seen(port(one), member(one)) == {}
    good = port(QUARTER)
    assert seen(good[1:], member(QUARTER)) == {"line": (ABSENT, "lan0"), "priority": (ABSENT, 5), "dscp": (ABSENT, 46)}
    assert seen([good[0], *good[2:]], member(QUARTER)) == {"line": (ABSENT, "lan0")}
    assert set(seen([*good[:2], good[3]], member(QUARTER))) == {"rate", "ceil"}
    assert set(seen(good[:3], member(QUARTER))) == {"queue"}
    others = [*good[:2], *port(QUARTER.replace(rate=MBIT, priority=2))[2:]]
    assert seen(others, member(QUARTER)) == {"rate": (MBIT, 2 * MBIT), "turn": ("priority 2", ABSENT)}


def test_flows_in_turn() -> None:
    assert seen(port(QUARTER, fair=True), member(QUARTER, fair=True)) == {}
    assert set(seen(port(QUARTER), member(QUARTER, fair=True))) == {"queue"}


def test_an_edited_part() -> None:
    assert seen(port(QUARTER), member(QUARTER.replace(rate=4 * MBIT)), member(QUARTER)) == {
        "rate": (2 * MBIT, 4 * MBIT)}
    assert seen(port(QUARTER), member(QUARTER.replace(burst=5000)), member(QUARTER)) == {"burst": (10_000, 5000)}
    # A line that is gone, or was joined by this edit.
    assert seen(port(QUARTER), member(QUARTER, ()), member(QUARTER))["line"] == ("lan0", ABSENT)
    assert seen([], member(QUARTER), member(QUARTER, ()))["line"] == (ABSENT, "lan0")


@pytest.mark.parametrize(("part", "kinds"), [("rate", 2), ("mark", 1), ("both", 3)])
def test_a_changed_part_leaves_the_way_there_alone(part: str, kinds: int) -> None:
    ifb = traffic.Shaper(name="ri0", index=0, alias="runspec:a:eth0")
    acts = traffic.acts(END, None, QUARTER, None, {"arrives": part}, ifb, Line(shared=("egress",)),
                        {"arrives": traffic.Place(link=OUT, number=PORT)})
    assert len(acts) == kinds and not [one for one, _, _ in acts if one == tc.put_clsact(END)]
