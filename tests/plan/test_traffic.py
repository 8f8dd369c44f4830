"""Limits and marks: what they come to in the kernel's units, and what is said of what the kernel shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyroute2.netlink.rtnl import marshal

from runspec.kernel.netlink import Link
from runspec.kernel.traffic import Class, Filter, Qdisc
from runspec.plan import bpf, tc, traffic, view_traffic
from runspec.plan.values import ABSENT
from runspec.spec.model import Interface, Linux, Namespace, Process, Qos, Root, Spec, Traffic

END, IFB, PORT = 500, 600, 3
AT = "interfaces[0].qos."


def spec(kind: str = "veth", **ways: Traffic) -> Spec:
    return Spec(name="a", root=Root(image="busybox"), process=Process(args=("sh",)),
                linux=Linux(namespaces=(Namespace(type="network"),)),
                interfaces=(Interface(name="eth0", type=kind, qos=Qos(**ways) if ways else None),))


def link(index: int, name: str, kind: str, up: bool = True) -> Link:
    return Link((index, name, kind, "", 1500, up, 0, "", -1, 0, *[None] * (len(Link.FIELDS) - 10)))


def tree(index: int, one: Traffic, **wrong: Any) -> list[Any]:
    """What the kernel shows of a bucket."""
    held = traffic.bucket(one, None)
    assert held is not None
    rate, burst, limit = (wrong.get(name, getattr(held, name)) for name in ("rate", "burst", "limit"))
    ticks = tc.ticks(rate, burst)
    queue = (traffic.PARTS, "tbf") if rate < traffic.APART else (traffic.QUEUE, "bfifo")
    return [Qdisc((index, traffic.ROOT, tc.ROOT, "htb", 0)), Qdisc((index, queue[0], traffic.ONLY, queue[1], limit)),
            Class((index, traffic.ONLY, tc.ROOT, rate, rate, ticks, ticks, 0))]


def facts(rows: list[Any], ifb: bool = True) -> Any:
    outside = {"a.eth0": link(END, "a.eth0", "veth")}
    if ifb:
        outside[traffic.shaper("a", "eth0")] = link(IFB, traffic.shaper("a", "eth0"), "ifb")
    return SimpleNamespace(links=[link(11, "eth0", "veth")], outside=outside, host_traffic=rows, traffic=[],
                           numbers={END: PORT})


def redirect(to: int = IFB) -> Filter:
    return Filter((END, tc.INGRESS_HOOK, traffic.REDIRECT, "u32", "", "", to))


def marked(one: Traffic, hook: int) -> Filter:
    code = traffic.program(one)
    assert code is not None
    return Filter((END, hook, traffic.MARKS, "bpf", "runspec:mark", bpf.tags(code)[0], 0))


def differences(wanted: Spec, last: Spec | None, found: Any) -> dict[str, tuple[Any, Any]]:
    expected: dict[str, Any] = {}
    seen: dict[str, Any] = {}
    view_traffic.expect_traffic(wanted, found, expected)
    view_traffic.see_traffic(wanted, last, found, seen)
    return {path.removeprefix(AT): (seen[path], expected.get(path, ABSENT)) for path in seen
            if seen[path] != expected.get(path, ABSENT)}


@pytest.mark.parametrize(("one", "mtu", "bucket"), [
    (Traffic(rate=1_000_000), None, (125_000, 3028, 3028 + 15140, 1514)),
    (Traffic(rate=10_000_000), None, (1_250_000, 12_500, 12_500 + 62_500, 1514)),
    (Traffic(rate=10_000_001), None, (1_250_000, 12_500, 12_500 + 62_500, 1514)),
    (Traffic(rate=1_000_000), 9000, (125_000, 18_028, 18_028 + 90_140, 9014)),
    (Traffic(rate=1_000_000, ceil=8_000_000, burst=5000), None, (1_000_000, 5000, 55_000, 1514)),
])
def test_bucket(one: Traffic, mtu: int | None, bucket: tuple[int, ...]) -> None:
    held = traffic.bucket(one, mtu)
    assert held is not None and (held.rate, held.burst, held.limit, held.frame) == bucket
    assert traffic.bucket(Traffic(dscp=1), None) is None and traffic.bucket(None, None) is None


@pytest.mark.parametrize("rate", [8_000, 1_000_000, 33_333_333, 10_000_000_000, 1_000_000_000_000])
def test_what_the_kernel_rounds_is_no_difference(rate: int) -> None:
    out, back = Traffic(rate=rate), Traffic(rate=rate)
    rows = [*tree(IFB, out), *tree(END, back), redirect()]
    assert differences(spec(egress=out, ingress=back), None, facts(rows)) == {}


def test_each_drift_is_told_by_its_field() -> None:
    out, back = Traffic(rate=8_000_000, dscp=46), Traffic(rate=16_000_000)
    wanted = spec(egress=out, ingress=back)
    good = [*tree(IFB, out), redirect(), marked(out, tc.INGRESS_HOOK), *tree(END, back)]
    assert differences(wanted, None, facts(good)) == {}
    gone = {"egress.rate": (ABSENT, 8_000_000)}
    assert differences(wanted, None, facts(good[3:])) == gone               # no bucket
    assert differences(wanted, None, facts([*good[:3], *good[4:]])) == gone     # nothing leads to it
    assert differences(wanted, None, facts([redirect(IFB + 1), *good[:3], *good[4:]])) == gone
    assert differences(wanted, None, facts(good, ifb=False)) == gone
    assert differences(wanted, None, facts([*tree(IFB, out, rate=500_000, burst=10_000), *good[3:]])) == {
        "egress.rate": (4_000_000, 8_000_000)}
    changed = differences(wanted, None, facts([*tree(IFB, out, burst=9999), *good[3:]]))
    assert changed == {"egress.burst": (9999, 10_000)}
    assert differences(wanted, None, facts([*tree(IFB, out, limit=1), *good[3:]])) == {"egress.queue": (1, 60_000)}
    assert differences(wanted, None, facts([*good[:4], *good[5:]])) == {"egress.dscp": (ABSENT, 46)}
    other = marked(Traffic(dscp=47), tc.INGRESS_HOOK)
    assert differences(wanted, None, facts([*good[:4], other, *good[5:]])) == {"egress.dscp": (ABSENT, 46)}


def test_an_edited_rate_takes_along_what_follows_from_it() -> None:
    was, now = Traffic(rate=8_000_000, dscp=10), Traffic(rate=80_000_000, dscp=12)
    rows = [*tree(IFB, was), redirect(), marked(was, tc.INGRESS_HOOK)]
    assert differences(spec(egress=now), spec(egress=was), facts(rows)) == {
        "egress.rate": (8_000_000, 80_000_000), "egress.dscp": (10, 12)}
    ended = differences(spec(), spec(egress=was), facts(rows))
    assert ended["egress.rate"] == (8_000_000, ABSENT) and ended["egress.dscp"] == (10, ABSENT)


def test_nothing_asked_nothing_told() -> None:
    assert differences(spec(), spec(), facts([])) == {}
    gone = facts([])
    gone.outside = {}
    assert differences(spec(egress=Traffic(rate=8000)), None, gone) == {}   # the link itself is what is missing


@pytest.mark.parametrize(("part", "kinds"), [
    ("new", ["RTM_NEWQDISC", "RTM_NEWLINK", "RTM_NEWQDISC", "RTM_NEWTCLASS", "RTM_NEWQDISC", "RTM_NEWLINK",
             "RTM_NEWTFILTER"]),
    ("rate", ["RTM_NEWTCLASS", "RTM_NEWQDISC"]),
    ("mark", []),
])
def test_a_changed_rate_leaves_all_else_alone(part: str, kinds: list[str]) -> None:
    """No redirection and no queue goes for it, so that nothing is lost."""
    ifb = traffic.Shaper(name="ri0", index=IFB, alias="runspec:a:eth0")
    acts = traffic.acts(END, None, Traffic(rate=8_000_000), None, {"arrives": part}, ifb)
    sent = [message["event"] for data, _, _ in acts for message in marshal.MarshalRtnl().parse(data)]
    assert sent == kinds


def test_the_last_limit_takes_the_hooks_along() -> None:
    ifb = traffic.Shaper(name="ri0", index=IFB, alias="runspec:a:eth0")
    acts = traffic.acts(END, None, None, None, {"leaves": "anew", "arrives": "anew"}, ifb)
    assert acts[-1][0] == tc.delete_clsact(END) and acts[0][0] == tc.put_clsact(END)
    kept = traffic.acts(END, Traffic(dscp=1), None, None, {"arrives": "anew"}, ifb)
    assert tc.delete_clsact(END) not in [message for message, _, _ in kept]
