"""What documents ask together: exact feasibility of quotas, sums, and what only one can have."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from runspec.spec import rules_admission
from runspec.spec.model import (
    Cpu,
    Interface,
    Linux,
    Memory,
    NetDevice,
    Network,
    Overlay,
    Process,
    Resources,
    Root,
    Spec,
    Vlan,
)
from runspec.spec.rules_admission import Capacity, check, overfull

HOST = Capacity(cores=(0, 1), memory=1 << 30, realtime=(950_000, 1_000_000))


def box(name: str, cpu: Cpu | None = None, memory: Memory | None = None, **more: Any) -> Spec:
    linux = {key: more.pop(key) for key in ("cgroups_path", "net_devices") if key in more}
    resources = Resources(cpu=cpu or Cpu(), memory=memory or Memory())
    return Spec(**{"name": name, "root": Root(image="busybox"), "process": Process(args=("sh",)),
                   "linux": Linux(resources=resources, **linux), **more})


def quota(name: str, percent: int, cpus: str | None = None, period: int | None = None) -> Spec:
    return box(name, Cpu(quota=(period or 100_000) * percent // 100, period=period, cpus=cpus))


def link(name: str, network: str, *addresses: str, mac: str | None = None) -> Spec:
    return box(name, interfaces=(Interface(name="eth0", type="veth", network=network, addresses=addresses, mac=mac),))


def told(*models: Spec | Network, host: Capacity = HOST) -> list[str]:
    """`names: what` of each finding, warnings marked."""
    return [("" if one.refused else "warning ") + " ".join(party.name for party in one.parties) + ": " + one.what
            for one in check(models, host)]


@pytest.mark.parametrize(("models", "says"), [
    ([quota("a", 60, "0"), quota("b", 40, "0")], []),
    ([quota("a", 60, "0"), quota("b", 41, "0")], ["a b: 101% of core 0 are asked for"]),
    ([quota("a", 60, "0"), quota("b", 60, "1")], []),
    ([quota("a", 60, "0", 50_000), quota("b", 60, "0", 7_000)], ["a b: 120% of core 0 are asked for"]),
    # One that may go elsewhere does, until that is full too.
    ([quota("a", 100, "0"), quota("b", 100, "0-1")], []),
    ([quota("a", 100, "0"), quota("b", 100, "0-1"), quota("c", 1, "1")],
     ["a b c: 201% of cores 0-1 are asked for"]),
    ([quota("a", 100, "0"), quota("b", 50, "0"), quota("c", 100, "1")], ["a b: 150% of core 0 are asked for"]),
    ([quota("a", 250, "0-1")], ["a: 250% of cores 0-1 are asked for"]),
    # Who is pinned nowhere only takes part in the whole, and that is a warning.
    ([quota("a", 100, "0"), quota("b", 100), quota("c", 50)], ["warning a b c: the quotas come to 250%"]),
    ([quota("a", 100, "0"), box("b", Cpu(cpus="0"))], []),
    ([box("a", memory=Memory(min=1 << 29)), box("b", memory=Memory(min=1 << 29))], []),
    ([box("a", memory=Memory(min=1 << 29)), box("b", memory=Memory(min=(1 << 29) + 1))],
     ["a b: memory.min comes to 1Gi"]),
    ([box("a", memory=Memory(limit=1 << 30)), box("b", memory=Memory(limit=1 << 29))],
     ["warning a b: memory.limit comes to 1.5Gi"]),
    ([box("a", memory=Memory(limit=-1)), box("b", memory=Memory(limit=1 << 30))], []),
    ([box("a", Cpu(cpus="0", partition="isolated")), box("b", Cpu(cpus="0-1"))], ["a b: core 0 is a's alone"]),
    ([box("a", Cpu(cpus="0", partition="isolated")), box("b", Cpu(cpus="1")), box("c")], []),
    ([box("a", Cpu(cpus="0", partition="member")), box("b", Cpu(cpus="0"))], []),
    ([box("a", Cpu(cpus="0", partition="root")), box("b", Cpu(cpus="0", partition="isolated"))],
     ["a b: core 0 is a's alone"]),
    ([box("a", Cpu(cpus="0-1", partition="root"))], ["a: no core is left for the rest of the machine"]),
    ([box("a", Cpu(realtime_runtime=500_000)), box("b", Cpu(realtime_runtime=45_000, realtime_period=100_000))], []),
    ([box("a", Cpu(realtime_runtime=500_000)), box("b", Cpu(realtime_runtime=46_000, realtime_period=100_000))],
     ["a b: 96% of real-time are asked for"]),
    ([box("a", net_devices=(NetDevice(host="eth1"),)), box("b", net_devices=(NetDevice(host="eth1"),))],
     ["a b: eth1 can be in one container only"]),
    ([box("a", root=Root(image="busybox", overlay=Overlay(volatile=False, upper="/u"))),
      box("b", root=Root(image="busybox", overlay=Overlay(volatile=False, upper="/u")))],
     ["a b: /u can be one container's writable layer only"]),
    ([box("a"), box("b", cgroups_path="/runspec/a")], ["a b: both use the group /runspec/a"]),
    ([box("a"), box("b", cgroups_path="/runspec/a/deeper"), box("a-b")],
     ["a b: the group /runspec/a/deeper lies in /runspec/a"]),
    ([box("a"), box("b", cgroups_path="/runspec"), box("c", cgroups_path="/other")],
     ["a b: the group /runspec/a lies in /runspec"]),
    ([Network(name="n", addresses=("10.0.0.1/24",)), Network(name="m", addresses=("10.0.1.1/24", "fd00::1/64"))], []),
    ([Network(name="n", addresses=("10.0.0.1/16",)), Network(name="m", addresses=("10.0.1.1/24",))],
     ["n m: 10.0.0.0/16 and 10.0.1.0/24 overlap"]),
    ([Network(name="n", addresses=("fd00::1/64",)), Network(name="m", addresses=("fd00::2/80",)),
      Network(name="o", addresses=("0.0.0.1/1",))], ["n m: fd00::/64 and fd00::/80 overlap"]),
    ([link("a", "n", "10.0.0.2/24"), link("b", "n", "10.0.0.2/16")], ["a b: 10.0.0.2 is on network n twice"]),
    ([link("a", "n", "10.0.0.2/24"), link("b", "m", "10.0.0.2/24")], []),
    ([Network(name="n", addresses=("10.0.0.1/24",)), link("a", "n", "10.0.0.1/24")],
     ["n a: 10.0.0.1 is on network n twice"]),
    ([link("a", "n", mac="02:00:00:00:00:01"), link("b", "n", mac="02:00:00:00:00:01")],
     ["a b: 02:00:00:00:00:01 is on network n twice"]),
], ids=str)
def test_admission(models: list[Spec | Network], says: list[str]) -> None:
    assert told(*models) == says


def test_who_asks_what() -> None:
    """Both documents stand in the reason."""
    found = check([quota("a", 60, "0"), quota("b", 60, "0")], HOST)[0]
    assert found.reason(lambda party: f"{party.name}.yaml:1:1") == (
        "a (a.yaml:1:1) 60%, b (b.yaml:1:1) 60%; it has 100%, so that not all can have it")


def test_no_budget_for_realtime() -> None:
    """Where groups have none, another rule refuses the key."""
    assert not told(box("a", Cpu(realtime_runtime=990_000)), host=HOST.replace(realtime=None))
    assert not told(box("a", Cpu(realtime_runtime=990_000)), host=HOST.replace(realtime=(-1, 1_000_000)))


CORES = st.frozensets(st.integers(0, 4), min_size=1)
WHOLE = 12
SHARES = st.integers(1, 3 * WHOLE)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(CORES, SHARES, max_size=8))
def test_exactly_when_some_cores_do_not_suffice(demands: dict[frozenset[int], int]) -> None:
    """Hall's condition, tried on every set of cores: the same verdict, and every set told is one that fails it."""
    def asked(cores: frozenset[int]) -> int:
        return sum(demand for mine, demand in demands.items() if mine <= cores)

    every = [frozenset(some) for size in range(1, 6) for some in itertools.combinations(range(5), size)]
    bad = overfull(dict(demands), WHOLE)
    assert bool(bad) == any(asked(cores) > len(cores) * WHOLE for cores in every)
    assert all(asked(cores) > len(cores) * WHOLE for cores in bad)
    assert all(not one & other for one, other in itertools.combinations(bad, 2))


def test_a_thousand_containers_are_quick() -> None:
    """The check is no reason to wait: 1,000 containers on 64 cores."""
    import time

    specs = [quota(f"c{i}", 6, f"{i % 60}-{i % 60 + 3}") for i in range(1000)]
    begin = time.perf_counter()
    assert not rules_admission.quotas(specs, HOST.replace(cores=tuple(range(64))))
    assert time.perf_counter() - begin < 2


def on(name: str, parent: str, type: str = "macvlan", **more: Any) -> Spec:
    """A container with one link on a link of the host."""
    return box(name, interfaces=(Interface(name="eth0", type=type, parent=parent, **more),))


def tag(name: str, parent: str, number: int, protocol: str = "802.1Q", **more: Any) -> Spec:
    return on(name, parent, "vlan", vlan=Vlan(id=number, protocol=protocol), **more)


@pytest.mark.parametrize(("models", "says"), [
    ([on("a", "eth1"), on("b", "eth1")], []),
    ([on("a", "eth1"), on("b", "eth1", "ipvlan")], ["a b: eth1 is asked to carry both macvlan and ipvlan links"]),
    ([on("a", "eth1"), on("b", "eth2", "ipvlan")], []),
    ([on("a", "eth1", mode="passthru"), on("b", "eth1", mode="bridge")],
     ["a b: eth1 is asked to carry a passthru macvlan beside another"]),
    ([on("a", "eth1", "ipvlan", mode="l2"), on("b", "eth1", "ipvlan", mode="l3")],
     ["a b: eth1 is asked to carry ipvlan links of two modes"]),
    ([on("a", "eth1", "ipvlan", mode="l3"), on("b", "eth1", "ipvlan", mode="l3")], []),
    ([tag("a", "eth1", 5), tag("b", "eth1", 5)], ["a b: VLAN 5 (802.1Q) of eth1 is asked for twice"]),
    ([tag("a", "eth1", 5), tag("b", "eth1", 5, "802.1ad"), tag("c", "eth1", 6), tag("d", "eth2", 5)], []),
    ([tag("a", "eth1", 5), tag("b", "eth1", 6), tag("c", "eth1", 5)],
     ["a c: VLAN 5 (802.1Q) of eth1 is asked for twice"]),
    ([tag("a", "eth1", 5), on("b", "eth1")], []),
    ([on("a", "eth1", "physical"), on("b", "eth1", "physical")], ["a b: eth1 can be in one container only"]),
    ([on("a", "eth1", "physical"), on("b", "eth1")],
     ["a b: eth1 goes into one container and carries links of another"]),
    ([box("a", net_devices=(NetDevice(host="eth1"),)), on("b", "eth1")],
     ["a b: eth1 goes into one container and is a parent in another"]),
    ([box("a", interfaces=(Interface(name="eth0", type="physical", parent="eth1"),
                           Interface(name="eth5", type="macvlan", parent="eth1")))],
     ["a a: eth1 goes into the container and is another interface's parent"]),
    ([box("a", net_devices=(NetDevice(host="eth1"),),
          interfaces=(Interface(name="eth5", type="macvlan", parent="eth1"),))],
     ["a a: eth1 goes into the container and is another interface's parent"]),
    ([on("a", "eth1", mac="02:00:00:00:00:01"), on("b", "eth1", mac="02:00:00:00:00:01")],
     ["a b: 02:00:00:00:00:01 is on link eth1 twice"]),
    ([on("a", "eth1", mac="02:00:00:00:00:01"), on("b", "eth2", mac="02:00:00:00:00:01")], []),
    ([on("a", "eth1", addresses=("10.0.0.5/24",)), on("b", "eth1", addresses=("10.0.0.5/16",))],
     ["a b: 10.0.0.5 is on link eth1 twice"]),
    ([tag("a", "eth1", 5, addresses=("10.0.0.5/24",)), tag("b", "eth1", 6, addresses=("10.0.0.5/24",))], []),
    # A macvlan on a network's bridge is on that network.
    ([Network(name="lan0", addresses=("10.0.0.1/24",)), on("a", "lan0", addresses=("10.0.0.5/24",)),
      link("b", "lan0", "10.0.0.5/24")], ["a b: 10.0.0.5 is on network lan0 twice"]),
    ([Network(name="lan0"), on("a", "", "veth", network="lan0", vlan=Vlan(id=5))],
     ["lan0 a: the bridge of lan0 heeds no VLAN tags"]),
    ([Network(name="lan0", vlan_filtering=True), on("a", "", "veth", network="lan0", vlan=Vlan(id=5))], []),
    ([on("a", "", "veth", mode="routed", addresses=("10.0.0.5/32",)),
      on("b", "", "veth", mode="routed", addresses=("10.0.0.5/32",))], ["a b: 10.0.0.5 is routed to two containers"]),
])
def test_parents(models: list[Spec | Network], says: list[str]) -> None:
    """What one link of the host cannot carry for two, in any order."""
    models = [one.replace(interfaces=tuple(each.replace(parent=each.parent or None) for each in one.interfaces))
              if isinstance(one, Spec) else one for one in models]
    assert told(*models) == says
    assert len(told(*reversed(models))) == len(says)
