"""cgroup v1: what is written and what is read back agree, on a real kernel where there is one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from cgroup_live import Group
from conftest import requires

from runspec.plan import cgroup
from runspec.plan.cgroup import v1
from runspec.plan.host import Host
from runspec.spec.defaults import DEVICE_RULES
from runspec.spec.model import Cpu, DeviceRule, Memory, Pids, Resources

MIB = 1 << 20
HOST = Host(hierarchies=tuple((name, f"/cg/{name}") for name in ("cpu", "cpuset", "devices", "memory", "pids")))
deny_all, everything = DeviceRule(allow=False), DeviceRule(allow=True)


def rule(words: str) -> DeviceRule:
    """`+c 1:3 rw` allows, `-` denies."""
    kind, numbers, access = words[1:].split()
    major, minor = (None if n == "*" else int(n) for n in numbers.split(":"))
    return DeviceRule(allow=words[0] == "+", type=kind, major=major, minor=minor, access=access)


@pytest.fixture
def group() -> Iterator[Group]:
    one = Group()
    yield one
    one.close()


@requires("root", "cgroup_v1")
def test_a_new_group_without_wishes_shows_no_drift(group: Group) -> None:
    group.become(Resources())
    assert all(one.controller == "cpuset" for one in cgroup.writes(Resources(), None, group.host, {}))


@requires("root", "cgroup_v1")
def test_every_kind_of_limit_and_back(group: Group) -> None:
    group.become(Resources(
        cpu=Cpu(weight=25, quota=25000, period=50000, burst=10000, cpus="0"), pids=Pids(limit=64),
        memory=Memory(limit=64 * MIB + 1, swap=128 * MIB, reservation=32 * MIB, swappiness=10,
                      disable_oom_killer=True), devices=DEVICE_RULES))
    assert Path(group.where["cpu"], "cpu.shares").read_text() == "250\n"
    group.become(Resources(cpu=Cpu(shares=1), memory=Memory(limit=-1), pids=Pids(limit=-1)),
                 {f"linux.resources.{path}" for path in (
                     "cpu.weight", "cpu.shares", "cpu.quota", "cpu.period", "cpu.burst", "cpu.cpus", "memory.limit",
                     "memory.swap", "memory.reservation", "memory.swappiness", "memory.disableOOMKiller",
                     "pids.limit", "devices")} - {"linux.resources.cpu.weight"}
                 - ({"linux.resources.cpu.cpus"} if group.host.cpus == "0" else set()))
    assert Path(group.where["memory"], "memory.swappiness").read_text() == "60\n"
    assert Path(group.where["cpu"], "cpu.shares").read_text() == "2\n"
    group.become(Resources())
    assert Path(group.where["cpu"], "cpu.shares").read_text() == "1024\n"


@requires("root", "cgroup_v1")
def test_memory_and_swap_in_every_order(group: Group) -> None:
    sizes = [Memory(), Memory(limit=64 * MIB), Memory(limit=-1, swap=-1), Memory(limit=16 * MIB, swap=16 * MIB),
             Memory(limit=64 * MIB, swap=96 * MIB), Memory(limit=16 * MIB, swap=96 * MIB),
             Memory(limit=96 * MIB, swap=256 * MIB), Memory(limit=4097, swap=2**63 - 1)]
    for a, b in itertools.permutations(sizes, 2):
        group.become(Resources(memory=a))
        group.become(Resources(memory=b))


@requires("root", "cgroup_v1")
def test_cpu_in_every_order(group: Group) -> None:
    cpus = [Cpu(), Cpu(quota=50000), Cpu(quota=1000, period=1000), Cpu(quota=-1, period=20000),
            Cpu(quota=150000, period=100000, burst=150000), Cpu(quota=50000, burst=1000), Cpu(idle=1), Cpu(weight=1),
            Cpu(weight=10000), Cpu(shares=262144), Cpu(shares=3)]
    for a, b in itertools.permutations(cpus, 2):
        group.become(Resources(cpu=a))
        group.become(Resources(cpu=b))


@requires("root", "cgroup_v1")
def test_quota_below_a_parent_that_has_one(group: Group) -> None:
    parent = Path(group.where["cpu"])
    (parent / "cpu.cfs_quota_us").write_text("60000")
    child = group.where["cpu"] = f"{parent}/child"
    Path(child).mkdir()
    try:
        shapes = [(60000, 100000), (6000, 10000), (30000, 50000), (600000, 1000000), (1000, 100000)]
        group.become(Resources(cpu=Cpu(quota=1000)))
        for (q, p), (r, s) in itertools.permutations(shapes, 2):
            group.become(Resources(cpu=Cpu(quota=q, period=p)))
            group.become(Resources(cpu=Cpu(quota=r, period=s)))
    finally:
        Path(child).rmdir()
        group.where["cpu"] = str(parent)


@requires("root", "cgroup_v1")
@pytest.mark.parametrize(("file", "value", "path"), [
    ("cpu/cpu.shares", "777", "cpu.weight"), ("cpu/cpu.cfs_quota_us", "30000", "cpu.quota"),
    ("cpu/cpu.cfs_period_us", "30000", "cpu.period"), ("memory/memory.limit_in_bytes", "8M", "memory.limit"),
    ("memory/memory.soft_limit_in_bytes", "8M", "memory.reservation"), ("pids/pids.max", "3", "pids.limit"),
    ("memory/memory.oom_control", "1", "memory.disableOOMKiller"), ("devices/devices.deny", "c 1:3 w", "devices"),
    ("devices/devices.allow", "c 9:9 w", "devices"), ("devices/devices.allow", "a", "devices")])
def test_a_foreign_change_is_seen_and_taken_back(group: Group, file: str, value: str, path: str) -> None:
    resources = Resources(devices=DEVICE_RULES)
    group.become(resources)
    controller, name = file.split("/")
    Path(group.where[controller], name).write_text(value)
    done = group.become(resources, {f"linux.resources.{path}"})
    assert {one.path for one in done} == {f"linux.resources.{path}"}


@requires("root", "cgroup_v1")
def test_a_group_made_idle_gets_its_weight_again(group: Group) -> None:
    group.become(Resources(cpu=Cpu(shares=3)))
    Path(group.where["cpu"], "cpu.idle").write_text("1")
    group.become(Resources(cpu=Cpu(shares=3)), {"linux.resources.cpu.idle", "linux.resources.cpu.shares"})


RULES = [(), DEVICE_RULES, (deny_all,), (everything,),
         (deny_all, rule("+c 1:3 rw"), rule("+c 1:3 m"), rule("-c 1:3 w")),
         (deny_all, rule("+c 1:3 rwm"), rule("+c 1:5 r"), rule("-c 1:* r")), (rule("-c 1:5 rwm"),),
         (everything, rule("-c 1:5 rwm"), rule("-c 1:7 w"), rule("+c 1:7 w")), (deny_all, rule("+a *:* r")),
         (deny_all, rule("+c *:* r"), rule("+c 1:3 w")), (rule("-c 1:5 rwm"), deny_all, rule("+b 7:* rw"))]


@requires("root", "cgroup_v1")
def test_device_rules_in_every_order(group: Group) -> None:
    group.become(Resources())
    for a, b in itertools.permutations(RULES, 2):
        group.become(Resources(devices=a))
        group.become(Resources(devices=b))


@pytest.mark.parametrize(("rules", "lines"), [
    ((), ("a *:* rwm",)), ((deny_all,), ()),
    ((deny_all, rule("+c 1:3 mr"), rule("+c 1:3 w")), ("c 1:3 rwm",)),
    ((deny_all, rule("+c 1:3 rw"), rule("+c 1:5 r"), rule("-c 1:* r")), ("c 1:3 w",)),
    ((deny_all, rule("+c *:* r"), rule("+c 1:3 w")), ("c *:* r", "c 1:3 rw")),
    ((deny_all, rule("+a *:* r")), ("b *:* r", "c *:* r")),
    ((rule("-c 1:5 w"), rule("-c 1:5 r"), rule("+c 1:* r")), ("a *:* rwm", "deny c 1:5 w")),
])
def test_device_lines(rules: tuple[DeviceRule, ...], lines: tuple[str, ...]) -> None:
    assert v1.device_lines(rules) == lines


def test_rules_that_v1_cannot_have_are_refused() -> None:
    for rules, index in (((deny_all, rule("+c *:* rwm"), rule("-c 1:5 w")), 2),
                         ((rule("-c 1:* r"), rule("+c 1:5 r")), 1),
                         ((deny_all, rule("+c 1:* r"), rule("-c *:3 r")), 2)):
        (found,) = cgroup.refusals(Resources(devices=rules), HOST)
        assert found[0] == f"linux.resources.devices[{index}]"
    # What a rule for all forgets is no trouble; nor is taking back what the wider rule does not give.
    assert not cgroup.refusals(Resources(devices=(
        deny_all, rule("+c *:* rwm"), rule("-c 1:5 w"), deny_all, rule("+c *:* m"), rule("-c 1:5 rw"))), HOST)


def test_other_refusals() -> None:
    assert [one[0] for one in cgroup.refusals(Resources(
        unified=(("memory.high", "1M"),), memory=Memory(use_hierarchy=False, swappiness=0)), HOST)] == [
        "linux.resources.unified.memory.high", "linux.resources.memory.useHierarchy"]
    assert [one[0] for one in cgroup.refusals(Resources(
        cpu=Cpu(cpus="0", shares=2), pids=Pids(limit=1), devices=(deny_all,)), Host())] == [
        "linux.resources.cpu.cpus", "linux.resources.devices", "linux.resources.cpu", "linux.resources.pids"]


def test_weights_are_shown_as_weights() -> None:
    path = "linux.resources.cpu.weight"
    assert cgroup.expected(Resources(cpu=Cpu(weight=25)), HOST)[path] == 25
    assert cgroup.expected(Resources(), HOST)[path] == "1024 shares"
    shares = cgroup.expected(Resources(cpu=Cpu(shares=512)), HOST)
    assert path not in shares and shares["linux.resources.cpu.shares"] == 512
