"""Model objects <-> plain trees with the file's spelling: the shape of `config`, of Records and of config.json."""

from __future__ import annotations

from marshal import dumps

from runspec.spec.alike import PARTS, kept
from runspec.spec.frozen import Frozen, fields_of, items, key
from runspec.spec.model import (
    BlockIO,
    Capabilities,
    Carried,
    Cpu,
    CPUAffinity,
    Device,
    DeviceRule,
    Dns,
    Hook,
    Hooks,
    HugepageLimit,
    IDMapping,
    IntelRdt,
    Interface,
    InterfacePriority,
    IOPriority,
    Landlock,
    LandlockNet,
    LandlockPath,
    Linux,
    Memory,
    MemoryPolicy,
    Mount,
    Namespace,
    NetDevice,
    Network,
    NetworkGroup,
    NetworkQos,
    Overlay,
    Personality,
    Pids,
    Pool,
    Port,
    Process,
    Qos,
    Rdma,
    Resources,
    Rlimit,
    Root,
    Route,
    Scheduler,
    Seccomp,
    Size,
    Spec,
    SyscallArg,
    SyscallRule,
    ThrottleDevice,
    TimeOffset,
    Traffic,
    User,
    Vlan,
    WeightDevice,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")


def to_tree(value: Any) -> Any:
    """A model object as plain dicts and lists with the file's spelling; None fields left out.

    Pairs (annotations, sysctl, labels, unified) and lists that a file has as a map (MAPS) become maps.
    This is the shape of `config`, of Records and of OCI's config.json.
    """
    if isinstance(value, Frozen):
        out = {}
        for field, inner in items(value):
            if inner is None or (field in SPARSE and inner == type(value).DEFAULTS.get(field)):  # type: ignore[attr-defined]
                continue
            out[key(field)] = _field(field, inner)
        return out
    if isinstance(value, tuple):
        return [to_tree(inner) for inner in value]
    return value


def _field(field: str, value: Any) -> Any:
    if field in PAIRS:
        return dict(value)
    if field in MAPS:
        return {one.pop(MAPS[field]): one for one in map(to_tree, value)}
    return to_tree(value)


def shared_tree(value: Any) -> Any:
    """The same of a container, only to be read: parts that are one object are one tree."""
    parts, out = PARTS.get(type(value), ()), {}
    for field, inner in items(value):
        if inner is None or (field in SPARSE and inner == type(value).DEFAULTS.get(field)):
            continue
        if type(inner) in PARTS:
            out[key(field)] = shared_tree(inner)
        elif field in parts and field not in PAIRS:
            out[key(field)] = _part(inner)
        else:
            out[key(field)] = _field(field, inner)
    return out


@kept
def _part(value: Any) -> Any:
    return to_tree(value)


PAIRS = ("labels", "annotations", "sysctl", "unified", "extra_hosts")
# Lists that are maps in a file: field -> the spelling of what their elements are found by.
MAPS = {"time_offsets": "clock", "net_devices": "host", "rdma": "device"}

# Fields that say nothing while they are empty.
SPARSE = frozenset((
    "hooks", "prestart", "create_runtime", "create_container", "start_container", "poststart", "poststop", "block_io",
    "weight_device", "read_bps", "write_bps", "read_iops", "write_iops", "hugepage_limits", "network", "priorities",
    "rdma", "net_devices", "cdi_devices", "flags", "architectures", "syscalls", "schemata", "scope", "terminal",
    "pooled", "host_access", "line", "ports", "extra_hosts", "internal", "nat", "isolated", "vlan_filtering",
    "external"))

# Which class a field holds, for reading a tree back.
_HOLDS: dict[tuple[type, str], type] = {
    (Spec, "root"): Root, (Root, "overlay"): Overlay, (Spec, "process"): Process, (Process, "user"): User,
    (Process, "capabilities"): Capabilities, (Process, "rlimits"): Rlimit, (Spec, "mounts"): Mount,
    (Mount, "uid_mappings"): IDMapping, (Mount, "gid_mappings"): IDMapping, (Spec, "linux"): Linux,
    (Linux, "namespaces"): Namespace, (Linux, "uid_mappings"): IDMapping, (Linux, "gid_mappings"): IDMapping,
    (Linux, "time_offsets"): TimeOffset, (Linux, "devices"): Device, (Linux, "resources"): Resources,
    (Resources, "cpu"): Cpu, (Resources, "memory"): Memory, (Resources, "pids"): Pids,
    (Process, "console_size"): Size, (Process, "scheduler"): Scheduler, (Process, "io_priority"): IOPriority,
    (Process, "exec_cpu_affinity"): CPUAffinity, (Resources, "block_io"): BlockIO,
    (BlockIO, "weight_device"): WeightDevice, (BlockIO, "read_bps"): ThrottleDevice,
    (BlockIO, "write_bps"): ThrottleDevice, (BlockIO, "read_iops"): ThrottleDevice,
    (BlockIO, "write_iops"): ThrottleDevice, (Resources, "hugepage_limits"): HugepageLimit,
    (Resources, "network"): NetworkGroup, (NetworkGroup, "priorities"): InterfacePriority,
    (Resources, "rdma"): Rdma, (Linux, "seccomp"): Seccomp, (Seccomp, "syscalls"): SyscallRule,
    (SyscallRule, "args"): SyscallArg, (Linux, "intel_rdt"): IntelRdt, (Linux, "memory_policy"): MemoryPolicy,
    (Linux, "personality"): Personality, (Linux, "net_devices"): NetDevice, (Spec, "hooks"): Hooks,
    (Hooks, "prestart"): Hook, (Hooks, "create_runtime"): Hook, (Hooks, "create_container"): Hook,
    (Hooks, "start_container"): Hook, (Hooks, "poststart"): Hook, (Hooks, "poststop"): Hook,
    (Spec, "landlock"): Landlock, (Landlock, "fs"): LandlockPath, (Landlock, "net"): LandlockNet,
    (Resources, "devices"): DeviceRule, (Spec, "interfaces"): Interface, (Interface, "routes"): Route,
    (Interface, "vlan"): Vlan, (Interface, "qos"): Qos, (Qos, "egress"): Traffic, (Qos, "ingress"): Traffic,
    (Network, "qos"): NetworkQos, (NetworkQos, "egress"): Carried, (NetworkQos, "ingress"): Carried,
    (Spec, "ports"): Port, (Spec, "dns"): Dns, (Network, "pool"): Pool,
}


# Parts that containers often have alike, made once for all that do: their trees, packed -> the model object.
_ALIKE: tuple[tuple[type, str], ...] = (
    (Spec, "process"), (Spec, "mounts"), (Spec, "linux"), (Linux, "resources"))
_MADE: dict[tuple[str, bytes], Any] = {}


def from_tree(cls: type[T], tree: dict[str, Any]) -> T:
    """The inverse of to_tree, for trees that to_tree wrote."""
    values: dict[str, Any] = {}
    for field in fields_of(cls):
        name = key(field)
        if name not in tree:
            continue
        inner, holds = tree[name], _HOLDS.get((cls, field))
        if field in MAPS:
            inner = [{MAPS[field]: found, **one} for found, one in sorted(inner.items())]
        if field in PAIRS:
            values[field] = tuple(sorted(inner.items()))
        elif holds is not None and not isinstance(inner, str):
            packed = field, dumps(inner, 2) if (cls, field) in _ALIKE else b""      # 2: without references
            values[field] = _MADE.get(packed) or (
                tuple(from_tree(holds, one) for one in inner) if isinstance(inner, list) else from_tree(holds, inner))
            if packed[1]:
                _MADE[packed] = values[field]
        else:
            values[field] = tuple(inner) if isinstance(inner, list) else inner
    return cls(**values)
