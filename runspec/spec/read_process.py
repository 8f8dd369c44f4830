"""YAML trees -> how the processes run: scheduling, priorities, memory policy, personality, Landlock."""

from __future__ import annotations

from runspec.spec import units
from runspec.spec.model import (
    CPUAffinity,
    IntelRdt,
    IOPriority,
    Landlock,
    LandlockNet,
    LandlockPath,
    MemoryPolicy,
    NetDevice,
    Personality,
    Scheduler,
    Size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.spec.from_yaml import Reader

    Tree = dict[str, Any]


def attributes(reader: Reader, process: Tree) -> dict[str, Any]:
    """The fields of `process` that say how it is scheduled and labelled."""
    size = process.get("consoleSize")
    return {"terminal": bool(process.get("terminal")),
            "console_size": None if size is None else Size(height=size["height"], width=size["width"]),
            "scheduler": scheduler(reader, process.get("scheduler")), "io_priority": io_priority(process),
            "exec_cpu_affinity": affinity(reader, process.get("execCPUAffinity")),
            "apparmor_profile": process.get("apparmorProfile") or None,
            "selinux_label": process.get("selinuxLabel") or None}


def scheduler(reader: Reader, raw: Tree | None) -> Scheduler | None:
    """sched(7); times are nanoseconds."""
    if raw is None:
        return None
    at = "process.scheduler"
    return Scheduler(
        policy=raw["policy"], nice=raw.get("nice"), priority=raw.get("priority"),
        flags=tuple(sorted(set(raw.get("flags") or ()))),
        runtime=reader.value(raw, at, "runtime", units.parse_nanoseconds),
        deadline=reader.value(raw, at, "deadline", units.parse_nanoseconds),
        period=reader.value(raw, at, "period", units.parse_nanoseconds))


def io_priority(process: Tree) -> IOPriority | None:
    """ioprio_set(2)."""
    raw = process.get("ioPriority")
    return None if raw is None else IOPriority(class_=raw["class"], priority=raw.get("priority", 0))


def affinity(reader: Reader, raw: Tree | None) -> CPUAffinity | None:
    """sched_setaffinity(2)."""
    if not raw:
        return None
    at = "process.execCPUAffinity"
    return CPUAffinity(initial=reader.value(raw, at, "initial", units.parse_cpuset),
                       final=reader.value(raw, at, "final", units.parse_cpuset))


def domain(reader: Reader, linux: Tree) -> dict[str, Any]:
    """The fields of `linux` that say in which domain and on which memory it runs."""
    raw, policy = linux.get("personality"), linux.get("memoryPolicy")
    lent = linux.get("netDevices") or {}
    hosts = sorted(host for host in lent if not host.startswith("x-"))
    if hosts:
        reader.moves["linux.netDevices"] = {f".{host}": f"[{index}]" for index, host in enumerate(hosts)}
    rdt = linux.get("intelRdt")
    return {
        "intel_rdt": None if rdt is None else IntelRdt(
            clos_id=rdt.get("closID") or None, schemata=tuple(rdt.get("schemata") or ()),
            l3_cache_schema=rdt.get("l3CacheSchema") or None, mem_bw_schema=rdt.get("memBwSchema") or None,
            enable_monitoring=rdt.get("enableMonitoring")),
        "net_devices": tuple(NetDevice(host=host, name=(lent[host] or {}).get("name")) for host in hosts),
        "mount_label": linux.get("mountLabel") or None,
        "personality": None if raw is None else Personality(domain=raw["domain"],
                                                            flags=tuple(raw.get("flags") or ())),
        "memory_policy": None if policy is None else MemoryPolicy(
            mode=policy["mode"], flags=tuple(sorted(set(policy.get("flags") or ()))),
            nodes=reader.value(policy, "linux.memoryPolicy", "nodes", units.parse_cpuset))}


def landlock(raw: Tree | None) -> Landlock | None:
    """landlock(7)."""
    if raw is None:
        return None
    fs, net = raw.get("fs"), raw.get("net")
    return Landlock(
        fs=None if fs is None else tuple(
            LandlockPath(path=one["path"], access=tuple(dict.fromkeys(one["access"]))) for one in fs),
        net=None if net is None else LandlockNet(
            bind=ports(net.get("bind")), connect=ports(net.get("connect"))),
        scope=tuple(sorted(set(raw.get("scope") or ()))))


def ports(raw: list[int] | None) -> tuple[int, ...] | None:
    """TCP ports, each once, in order."""
    return None if raw is None else tuple(sorted(set(raw)))
