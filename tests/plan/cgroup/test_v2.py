"""cgroup v2: what is written and what is read back agree, on a real kernel where there is one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from cgroup_live import Group
from conftest import requires

from runspec.plan import bpf, cgroup, device_bpf
from runspec.plan.cgroup import v2
from runspec.plan.facts import Facts
from runspec.plan.host import Host
from runspec.spec.defaults import DEVICE_RULES
from runspec.spec.model import Cpu, DeviceRule, Memory, Pids, Resources

MIB = 1 << 20
HOST = Host(unified="/sys/fs/cgroup", controllers2=("cpu", "cpuset", "memory", "pids"))


@pytest.fixture
def group() -> Iterator[Group]:
    one = Group()
    # The kernel rewrites its own code when the first quota comes and the last goes, which emulated
    # processors now and then do not survive: a neighbour's quota keeps it as it is.
    neighbour = Path(one.where[""] + "-neighbour") if "" in one.where else None
    if neighbour:
        neighbour.mkdir()
        (neighbour / "cpu.max").write_text("50000")
    yield one
    one.close()
    if neighbour:
        neighbour.rmdir()


@requires("root", "cgroup_v2")
def test_a_new_group_without_wishes_shows_no_drift(group: Group) -> None:
    assert group.become(Resources()) == []


@requires("root", "cgroup_v2")
def test_every_kind_of_limit_and_back(group: Group) -> None:
    group.become(Resources(
        cpu=Cpu(weight=25, quota=25000, period=50000, burst=10000, cpus="0", mems="0"), pids=Pids(limit=64),
        memory=Memory(limit=64 * MIB + 1, swap=128 * MIB, reservation=32 * MIB),
        unified=(("memory.high", "48M"), ("memory.oom.group", "1"), ("cgroup.max.depth", "7"))))
    read = {file: Path(group.where[""], file).read_text().strip() for file in (
        "cpu.weight", "cpu.max", "cpu.max.burst", "memory.max", "memory.high", "memory.low", "pids.max")}
    assert read == {"cpu.weight": "25", "cpu.max": "25000 50000", "cpu.max.burst": "10000",
                    "memory.max": str(64 * MIB), "memory.high": str(48 * MIB), "memory.low": str(32 * MIB),
                    "pids.max": "64"}
    swap = {"memory.swap"} if Path(group.where[""], "memory.swap.max").exists() else set()
    group.become(Resources(), {f"linux.resources.{path}" for path in (
        "cpu.weight", "cpu.quota", "cpu.period", "cpu.burst", "cpu.cpus", "cpu.mems", "memory.limit",
        "memory.reservation", "pids.limit", "unified.memory.high", "unified.memory.oom.group",
        "unified.cgroup.max.depth", *swap)} - {f"linux.resources.cpu.{word}" for word in ("cpus", "mems")
                                               if getattr(group.host, word) == "0"})
    assert Path(group.where[""], "memory.high").read_text() == "max\n"


@requires("root", "cgroup_v2")
def test_in_every_order(group: Group) -> None:
    every = [Resources(cpu=one) for one in (
        Cpu(), Cpu(quota=50000), Cpu(quota=1000, period=1000), Cpu(quota=-1, period=20000),
        Cpu(quota=150000, burst=150000), Cpu(quota=50000, burst=1000), Cpu(idle=1), Cpu(weight=1), Cpu(weight=10000),
        Cpu(shares=262144), Cpu(shares=2))]
    every += [Resources(memory=one) for one in (
        Memory(limit=64 * MIB), Memory(limit=16 * MIB, swap=16 * MIB), Memory(limit=4097, swap=2**63 - 1))]
    every += [Resources(unified=one) for one in (
        (("memory.max", "33M"),), (("cpu.max", "40000"),), (("cpu.weight", "77"), ("cpuset.cpus", "0")),
        (("memory.min", "0"), ("memory.swap.max", "0")))]
    for a, b in itertools.permutations(every, 2):
        group.become(a)
        group.become(b)


@requires("root", "cgroup_v2")
@pytest.mark.parametrize(("file", "value", "path"), [
    ("cpu.weight", "77", "cpu.weight"), ("cpu.max", "30000", "cpu.quota"), ("cpu.max", "max 30000", "cpu.period"),
    ("cpu.idle", "1", "cpu.idle"), ("cpuset.cpus", "0", "cpu.cpus"), ("memory.max", "8M", "memory.limit"),
    ("memory.low", "8M", "memory.reservation"), ("pids.max", "3", "pids.limit"),
    ("memory.high", "max", "unified.memory.high")])
def test_a_foreign_change_is_seen_and_taken_back(group: Group, file: str, value: str, path: str) -> None:
    resources = Resources(unified=(("memory.high", "48M"),))
    group.become(resources)
    Path(group.where[""], file).write_text(value)
    more = {"linux.resources.cpu.weight"} if file == "cpu.idle" else set()
    done = group.become(resources, {f"linux.resources.{path}"} | more)
    assert f"linux.resources.{path}" in {one.path for one in done}


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (1, 1), (300000, 10000)])
def test_shares_by_oci_conversion(shares: int, weight: int) -> None:
    view = cgroup.expected(Resources(cpu=Cpu(shares=shares)), HOST)
    assert view["linux.resources.cpu.shares"] == weight and "linux.resources.cpu.weight" not in view


@pytest.mark.parametrize(("file", "text", "shown"), [
    ("memory.high", "64M", str(64 * MIB)), ("memory.high", "4097", "4096"), ("memory.max", "max", "max"),
    ("memory.max", "1e", str(1 << 60)), ("memory.max", "16E", "max"), ("memory.max", "soon", "soon"),
    ("cpu.max", "5000", "5000 100000"), ("cpuset.cpus", "2,0,1", "0-2"), ("cpuset.cpus", "x", "x"),
    ("misc.other", "8:0  rbps=1", "8:0 rbps=1")])
def test_unified_as_the_kernel_shows_it(file: str, text: str, shown: str) -> None:
    assert v2.shown(file, text) == v2.shown(file, shown) == shown


@pytest.mark.parametrize(("file", "value", "text", "seen"), [
    ("io.weight", "50", "default 50\n8:0 70", "default 50"), ("io.weight", "8:0 70", "default 50", "8:0 default"),
    ("io.max", "8:0  rbps=1", "8:0 rbps=1 wbps=7 riops=max wiops=max", "8:0 rbps=1"),
    ("io.max", "8:0 rbps=1", "", "8:0 rbps=max"), ("rdma.max", "a hca_object=3", "a hca_handle=2 hca_object=3",
                                                   "a hca_object=3"), ("misc.max", "sev 3", "sev 4", "sev 4")])
def test_what_unified_names_of_a_line(file: str, value: str, text: str, seen: str) -> None:
    facts, host = Facts("running"), HOST.replace(controllers2=("io", "misc", "pids", "rdma"))
    facts.files = {("", file): text}
    resources, path = Resources(unified=((file, value),)), f"linux.resources.unified.{file}"
    assert cgroup.seen(resources, None, host, facts)[path] == seen
    wanted = " ".join(value.split()) if " " in value else f"default {value}"
    assert cgroup.expected(resources, host)[path] == wanted
    assert [one.value for one in cgroup.writes(resources, None, host, facts.files)] == [wanted] * (seen != wanted)


def test_swap_is_without_memory() -> None:
    def swap(**values: int) -> object:
        return cgroup.expected(Resources(memory=Memory(**values)), HOST)["linux.resources.memory.swap"]
    assert swap(limit=10 * MIB, swap=30 * MIB) == 20 * MIB and swap(limit=10 * MIB, swap=10 * MIB) == 0
    assert swap(limit=10 * MIB) == swap(limit=10 * MIB, swap=-1) == -1


def test_refusals() -> None:
    assert [one[0] for one in cgroup.refusals(Resources(
        memory=Memory(swappiness=0, disable_oom_killer=True), unified=(("io.weight", "1"), ("cpu.weight", "1"))),
        HOST)] == ["linux.resources.unified.io.weight", "linux.resources.memory.swappiness",
                   "linux.resources.memory.disableOOMKiller"]


def test_devices_are_compared_by_the_programs_tag() -> None:
    path = "linux.resources.devices"
    facts = Facts("running")
    ruled, free = Resources(devices=DEVICE_RULES), Resources()
    tags = bpf.tags(device_bpf.program(DEVICE_RULES))
    for tag in tags:
        facts.device_tag = tag
        assert cgroup.seen(ruled, None, HOST, facts)[path] == cgroup.expected(ruled, HOST)[path] == tags[0]
        assert cgroup.seen(free, ruled, HOST, facts)[path] != cgroup.expected(free, HOST)[path]
    facts.device_tag = ""
    assert cgroup.seen(ruled, None, HOST, facts)[path] is cgroup.ABSENT
    assert cgroup.seen(free, None, HOST, facts)[path] == cgroup.expected(free, HOST)[path]
    facts.device_tag = bpf.tags(device_bpf.program((DeviceRule(allow=True),)))[1]
    assert cgroup.seen(free, ruled, HOST, facts)[path] == cgroup.expected(free, HOST)[path]

    assert not cgroup.writes(free, None, HOST, {})
    (one,) = cgroup.writes(ruled, None, HOST, {})
    assert bytes.fromhex(one.program) == device_bpf.program(DEVICE_RULES) and one.path == path
    (one,) = cgroup.writes(free, ruled, HOST, {})
    assert bytes.fromhex(one.program) == device_bpf.program((DeviceRule(allow=True),))
