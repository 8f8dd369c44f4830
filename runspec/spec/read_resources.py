"""YAML's `linux.resources` -> Resources: what each controller may give."""

from __future__ import annotations

from runspec.errors import SpecError
from runspec.spec import defaults, units
from runspec.spec.model import (
    BlockIO,
    Cpu,
    DeviceRule,
    HugepageLimit,
    InterfacePriority,
    Memory,
    NetworkGroup,
    Pids,
    Rdma,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from runspec.spec.from_yaml import Reader

    Tree = dict[str, Any]
    T = TypeVar("T")

AT = "linux.resources"
_NO_MEMORY, _NO_BLOCK, _NO_NETWORK = Memory(), BlockIO(), NetworkGroup()


def resources(reader: Reader, linux: Tree) -> Resources:
    """All of it."""
    raw: Tree = linux.get("resources") or {}
    limit = (raw.get("pids") or {}).get("limit")
    if isinstance(limit, str):
        limit = reader.call(f"{AT}.pids.limit", units.parse_size, limit, None)
    if limit is None and not reader.bare:
        limit = defaults.PIDS
    return Resources(
        cpu=cpu(reader, raw), memory=memory(reader, raw), pids=Pids(limit=limit),
        block_io=block_io(reader, raw.get("blockIO")), hugepage_limits=hugepages(reader, raw.get("hugepageLimits")),
        network=network(reader, raw.get("network")), rdma=rdma(raw.get("rdma")), devices=device_rules(reader, raw),
        unified=reader.pairs(raw, AT, "unified"))


def cpu(reader: Reader, tree: Tree) -> Cpu:
    """Times are microseconds."""
    raw: Tree = tree.get("cpu") or {}
    at = f"{AT}.cpu"
    quota = raw.get("quota")
    period = reader.value(raw, at, "period", units.parse_duration)
    if quota is not None:
        quota = reader.call(f"{at}.quota", lambda v: units.parse_quota(v, period or units.PERIOD), quota, None)
        if quota is not None and quota >= 0 and period is None and not reader.bare:
            period = units.PERIOD
    weight, shares, idle = raw.get("weight"), raw.get("shares"), raw.get("idle")
    if weight is None and shares is None and not idle and not reader.bare:
        weight = defaults.WEIGHT
    return Cpu(shares=shares, weight=weight, quota=quota, period=period, idle=idle,
               burst=reader.value(raw, at, "burst", units.parse_duration),
               cpus=reader.value(raw, at, "cpus", units.parse_cpuset),
               mems=reader.value(raw, at, "mems", units.parse_cpuset),
               realtime_runtime=reader.value(raw, at, "realtimeRuntime", units.parse_duration),
               realtime_period=reader.value(raw, at, "realtimePeriod", units.parse_duration),
               partition=raw.get("partition"))


def memory(reader: Reader, tree: Tree) -> Memory:
    """Sizes are bytes."""
    raw = tree.get("memory")
    if not raw:
        return _NO_MEMORY

    def size(name: str) -> int | None:
        return reader.value(raw, f"{AT}.memory", name, units.parse_size)

    return Memory(
        limit=size("limit"), reservation=size("reservation"), swap=size("swap"), swappiness=raw.get("swappiness"),
        disable_oom_killer=raw.get("disableOOMKiller"), use_hierarchy=raw.get("useHierarchy"),
        check_before_update=raw.get("checkBeforeUpdate"), kernel=size("kernel"), kernel_tcp=size("kernelTCP"),
        high=size("high"), low=size("low"), min=size("min"), oom_group=raw.get("oomGroup"))


def listed(reader: Reader, path: str, raw: list[Tree] | None, make: Callable[[Tree, str], T],
           by: Callable[[T], Any]) -> tuple[T, ...]:
    """A list whose order says nothing, sorted; positions in the file are kept."""
    if not raw:
        return ()
    made = [make(one, f"{path}[{index}]") for index, one in enumerate(raw)]
    order = sorted(range(len(made)), key=lambda index: by(made[index]))
    reader.moved(path, tuple(order))
    return tuple(made[index] for index in order)


def block_io(reader: Reader, raw: Tree | None) -> BlockIO:
    """Rates are bytes or operations per second."""
    if not raw:
        return _NO_BLOCK
    at = f"{AT}.blockIO"

    def throttles(name: str) -> tuple[ThrottleDevice, ...]:
        return listed(reader, f"{at}.{name}", raw.get(name), lambda one, path: ThrottleDevice(
            major=one["major"], minor=one["minor"], rate=reader.call(f"{path}.rate", units.parse_size, one["rate"], 1)),
            lambda one: (one.major, one.minor))

    return BlockIO(
        weight=raw.get("weight"), leaf_weight=raw.get("leafWeight"),
        weight_device=listed(reader, f"{at}.weightDevice", raw.get("weightDevice"), lambda one, path: WeightDevice(
            major=one["major"], minor=one["minor"], weight=one.get("weight"), leaf_weight=one.get("leafWeight")),
            lambda one: (one.major, one.minor)),
        read_bps=throttles("throttleReadBpsDevice"), write_bps=throttles("throttleWriteBpsDevice"),
        read_iops=throttles("throttleReadIOPSDevice"), write_iops=throttles("throttleWriteIOPSDevice"))


def hugepages(reader: Reader, raw: list[Tree] | None) -> tuple[HugepageLimit, ...]:
    """Bytes of each size."""
    return listed(reader, f"{AT}.hugepageLimits", raw, lambda one, path: HugepageLimit(
        page_size=one["pageSize"], limit=reader.call(f"{path}.limit", units.parse_size, one["limit"], -1)),
        lambda one: one.page_size)


def network(reader: Reader, raw: Tree | None) -> NetworkGroup:
    """Marks of packets."""
    if not raw:
        return _NO_NETWORK
    return NetworkGroup(class_id=raw.get("classID"), priorities=listed(
        reader, f"{AT}.network.priorities", raw.get("priorities"),
        lambda one, path: InterfacePriority(name=one["name"], priority=one["priority"]), lambda one: one.name))


def rdma(raw: Tree | None) -> tuple[Rdma, ...]:
    """Objects of each device, which -1 leaves without a limit."""
    def count(one: Tree, name: str) -> int | None:
        value = one.get(name)
        return None if value == -1 else value

    return tuple(Rdma(device=name, hca_handles=count(one, "hcaHandles"), hca_objects=count(one, "hcaObjects"))
                 for name, one in sorted((raw or {}).items()))


def device_rules(reader: Reader, tree: Tree) -> tuple[DeviceRule, ...]:
    """Behind the standard ones."""
    raw = tree.get("devices")
    if not raw:
        return () if reader.bare else defaults.DEVICE_RULES
    given = []
    for index, one in enumerate(raw):
        major, minor = one.get("major"), one.get("minor")
        given.append(DeviceRule(
            allow=one["allow"], type=one.get("type") or "a", major=None if major == -1 else major,
            minor=None if minor == -1 else minor,
            access="rwm" if one.get("access") is None else
            reader.call(f"{AT}.devices[{index}].access", _access, one["access"], "rwm")))
    if reader.bare:
        return tuple(given)
    out, before = defaults.device_rules(tuple(given))
    reader.moved(f"{AT}.devices", (-1,) * before + tuple(range(len(given))))
    return out


def _access(value: object) -> str:
    text = str(value)
    if not text or set(text) - set("rwm"):
        raise SpecError(f"{units.shown(text)} is no access", "it is made of r (read), w (write), m (mknod)",
                        "write it like rwm")
    return "".join(char for char in "rwm" if char in text)
