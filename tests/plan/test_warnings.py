"""Warnings of a plan: what was chosen and does not come to what it looks like."""

from __future__ import annotations

from runspec.plan import planner
from runspec.plan.planner import Item
from runspec.spec.defaults import WEIGHT
from runspec.spec.model import Cpu, Interface, Linux, Process, Resources, Root, Route, Spec


def said(*specs: Spec) -> list[str]:
    return planner.warnings([Item(one, None, None) for one in specs])


def box(name: str, cpu: Cpu | None = None, path: str | None = None, *links: Interface) -> Spec:
    return Spec(name=name, root=Root(image="busybox"), process=Process(args=("sh",)), interfaces=links,
                linux=Linux(cgroups_path=path, resources=Resources(cpu=cpu or Cpu(weight=WEIGHT))))


def test_weights() -> None:
    """Nobody is told of weights that he did not choose."""
    assert said(box("w1", Cpu(weight=WEIGHT, cpus="0")), box("w2", Cpu(weight=WEIGHT, cpus="1"))) == []
    assert said(box("w1", Cpu(weight=25, cpus="0")), box("w2", Cpu(weight=WEIGHT, cpus="1"))) == []
    assert said(box("w1", Cpu(weight=25, cpus="0")), box("w2", Cpu(weight=75, cpus="0"))) == []
    three = box("w1", Cpu(weight=25, cpus="0")), box("w2", Cpu(weight=75, cpus="1")), box("w3")
    assert said(*three) == ["warning: the weights of w1, w2 do not compare: their cores differ"]
    assert said(box("w1", Cpu(weight=25), "/a/w1"), box("w2", Cpu(weight=75), "/b/w2")) == [
        "warning: the weights of w1, w2 do not compare: their parent groups differ"]


def test_a_routed_veth_without_a_way() -> None:
    bare = Interface(name="eth0", type="veth", mode="routed", addresses=("10.9.0.2/32",))
    assert said(box("a", None, None, bare)) == [
        "warning: a: eth0 is routed and has neither gateway nor routes: nothing leads out by it"]
    assert said(box("a", None, None, bare.replace(gateway=("169.254.1.1",)))) == []
    assert said(box("a", None, None, bare.replace(routes=(Route(to="10.0.0.0/8", via="169.254.1.1"),)))) == []
    assert said(box("a", None, None, bare.replace(mode="bridge", network="lan0"))) == []
