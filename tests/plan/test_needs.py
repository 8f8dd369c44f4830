"""Every key of the file says what it needs of the machine, or that it needs nothing."""

from __future__ import annotations

import pytest

from runspec.plan import needs
from runspec.spec import fields
from runspec.spec.fields import pattern
from runspec.spec.model import (
    Cpu,
    IDMapping,
    Interface,
    Landlock,
    LandlockNet,
    LandlockPath,
    Linux,
    Memory,
    Mount,
    Namespace,
    Network,
    Process,
    Qos,
    Resources,
    Rlimit,
    Root,
    Scheduler,
    Spec,
    Traffic,
)


def stands_for(path: str, other: str) -> bool:
    """Whether one is the other, or above or below it."""
    return path == other or any(low.startswith((f"{high}.", f"{high}[]")) for low, high in (
        (path, other), (other, path)))


@pytest.mark.parametrize("path", [row.path for row in fields.ROWS])
def test_every_field_is_accounted_for(path: str) -> None:
    assert path in needs.NOTHING or any(stands_for(path, row) for row in needs.ROWS), path


@pytest.mark.parametrize("path", sorted({*needs.ROWS, *needs.NOTHING}))
def test_no_row_for_a_field_that_is_none(path: str) -> None:
    assert fields.row(path).path, path
    assert not (path in needs.ROWS and path in needs.NOTHING)


def test_words_are_known() -> None:
    """Each has a kind, and what names an option is asked by some row."""
    for row in needs.ROWS.values():
        for word in row if isinstance(row, tuple) else ():
            assert word.partition(":")[0] in needs.KINDS and needs.called(word)
    for word in needs.OPTIONS:
        assert word.partition(":")[0] in needs.KINDS


SPEC = Spec(
    name="a", root=Root(image="oci:/images/x"),
    process=Process(args=("sh",), scheduler=Scheduler(policy="SCHED_FIFO", priority=5),
                    rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=1, hard=-1),)),
    mounts=(Mount(destination="/m", type="ext4", source="/dev/x"),
            Mount(destination="/n", source="/srv", options=("bind",),
                  uid_mappings=(IDMapping(container_id=0, host_id=5, size=1),))),
    linux=Linux(namespaces=(Namespace(type="pid"), Namespace(type="time")), sysctl=(("kernel.msgmax", "1"),),
                uid_mappings=(IDMapping(container_id=0, host_id=100000, size=65536),),
                resources=Resources(cpu=Cpu(weight=5, partition="isolated"), memory=Memory(min=5),
                                    unified=(("io.weight", "5"), ("cgroup.max.depth", "1")))),
    landlock=Landlock(fs=(LandlockPath(path="/", access=("read", "truncate")),), net=LandlockNet(bind=(1,))))


def test_a_document() -> None:
    assert dict(needs.needs(SPEC)) == {
        "root.image": ("filesystem:overlay", "tool:umoci"),
        "process.scheduler": ("capability:CAP_SYS_NICE",),
        "process.rlimits[0]": ("raise:RLIMIT_NOFILE to infinity",),
        "mounts[0]": ("filesystem:ext4",),
        "mounts[1]": ("namespace:user", "idmap:/srv"),
        "mounts[1].uidMappings": ("map:6",),
        "linux.namespaces[0]": ("namespace:pid",), "linux.namespaces[1]": ("namespace:time",),
        "linux.uidMappings": ("map:15",),
        "linux.resources.cpu.weight": ("controller:cpu",), "linux.resources.cpu.partition": ("v2:cpuset",),
        "linux.resources.memory.min": ("v2:memory",), "linux.resources.unified": ("v2:io",),
        "linux.sysctl.kernel.msgmax": ("sysctl:kernel.msgmax",), "landlock": ("landlock:4",)}
    assert needs.needs(Network(name="n")) == [("type", ("capability:CAP_NET_ADMIN", "link:bridge"))]


def test_paths_lead_back_to_rows() -> None:
    """What is used is found with its index, and by its pattern."""
    used = {path for path, _ in needs.used(SPEC)}
    assert {"mounts[1].uidMappings[0].size", "landlock.fs[0].access", "linux.resources.unified"} <= used
    assert {path for path in used if not fields.row(path).path} == {"linux"}
    assert pattern("mounts[1].uidMappings") in needs.ROWS


def test_what_holds_traffic_depends_on_the_end_and_the_rate() -> None:
    """A veth is held at its other end, where what leaves the container arrives; a fast line takes nothing apart."""
    def words(kind: str, **ways: Traffic) -> set[str]:
        spec = SPEC.replace(interfaces=(Interface(name="e0", type=kind, qos=Qos(**ways)),))
        return {word for path, found in needs.needs(spec) if path == "interfaces[0].qos" for word in found}

    slow, fast, marked = Traffic(rate=10**6), Traffic(rate=10**10), Traffic(dscp=46)
    through = {"traffic:htb", "traffic:tbf", "traffic:clsact", "traffic:ifb", "traffic:redirect"}
    assert words("veth", egress=slow) == words("macvlan", ingress=slow) == through
    assert words("veth", ingress=slow) == words("macvlan", egress=slow) == {"traffic:htb", "traffic:tbf"}
    assert words("veth", ingress=fast) == {"traffic:htb"}
    assert words("veth", egress=marked) == words("vlan", ingress=marked) == {"traffic:clsact", "traffic:bpf"}
