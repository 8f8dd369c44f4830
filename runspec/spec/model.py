"""The one model that YAML and OCI bundles become: frozen trees with OCI's names and units.

`None` always means "not asked for"; a default is a value that a door (from_yaml) wrote in.
Field names are OCI's in snake_case; `key(cls, field)` gives the camelCase spelling of a file.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:
    def dataclass_transform(**_: object) -> Callable[[type], type]:
        """What the type checker reads; nothing at run time."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _Meta(type):
    """Turns annotations into slots and defaults: dataclasses cost 15 ms of start-up, this none."""

    def __new__(mcs, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> _Meta:
        own = list(space.get("__annotations__", ()))
        fields: tuple[str, ...] = tuple(f for b in bases for f in getattr(b, "FIELDS", ())) + tuple(own)
        defaults: dict[str, Any] = {}
        for base in bases:
            defaults.update(getattr(base, "DEFAULTS", {}))
        defaults.update({f: space.pop(f) for f in own if f in space})
        space["__slots__"] = tuple(own)
        cls = super().__new__(mcs, name, bases, space)
        cls.FIELDS, cls.DEFAULTS = fields, defaults  # type: ignore[attr-defined]
        return cls


class Frozen(metaclass=_Meta):
    """Base of every model class: keyword arguments, slots, no change after, equality by field."""

    def __init__(self, **values: Any) -> None:
        cls = type(self)
        put = object.__setattr__
        for field in cls.FIELDS:  # type: ignore[attr-defined]
            if field in values:
                put(self, field, values.pop(field))
            elif field in cls.DEFAULTS:  # type: ignore[attr-defined]
                put(self, field, cls.DEFAULTS[field])  # type: ignore[attr-defined]
            else:
                raise TypeError(f"{cls.__name__} needs {field}")
        if values:
            raise TypeError(f"{cls.__name__} has no {', '.join(values)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and all(
            getattr(self, f) == getattr(other, f) for f in fields_of(type(self))))

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, f) for f in fields_of(type(self)))))

    def __repr__(self) -> str:
        shown = ", ".join(f"{f}={v!r}" for f, v in items(self) if v != type(self).DEFAULTS.get(f))  # type: ignore[attr-defined]
        return f"{type(self).__name__}({shown})"

    def replace(self: T, **values: Any) -> T:
        """A copy with some fields changed."""
        return type(self)(**{**dict(items(self)), **values})


def fields_of(cls: type) -> tuple[str, ...]:
    """The field names of a model class, in file order."""
    return cls.FIELDS  # type: ignore[attr-defined, no-any-return]


def items(value: Any) -> Iterator[tuple[str, Any]]:
    """(field, value) of a model object, in file order."""
    for field in fields_of(type(value)):
        yield field, getattr(value, field)


# camelCase spellings: those the plain rule (snake_case -> camelCase) does not give, then every one asked for.
_SPELLED = {"container_id": "containerID", "host_id": "hostID", "disable_oom_killer": "disableOOMKiller",
            "uid_mappings": "uidMappings", "oom_score_adj": "oomScoreAdj"}


def key(field: str) -> str:
    """The spelling of a field in a file: `masked_paths` -> `maskedPaths`."""
    if field in _SPELLED:
        return _SPELLED[field]
    first, *rest = field.split("_")
    spelled = _SPELLED[field] = first + "".join(word.capitalize() for word in rest)
    return spelled


class Overlay(Frozen):
    """A writable layer above an image: in memory (volatile) or kept in `upper`."""

    volatile: bool = True
    upper: str | None = None            # absolute path; None with volatile


class Root(Frozen):
    """The root file system: exactly one of path, image."""

    path: str | None = None             # absolute
    readonly: bool = False
    image: str | None = None            # "busybox", "host", "dir:/absolute"
    overlay: Overlay | None = None


class User(Frozen):
    """Numeric identity of the process; umask is an octal mode as int."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()


class Rlimit(Frozen):
    """One resource limit, getrlimit(2); -1 (as 2**64-1) is RLIM_INFINITY."""

    type: str                           # "RLIMIT_NOFILE"
    soft: int
    hard: int


class Capabilities(Frozen):
    """Five sets of names ("CAP_KILL"), each sorted by capability number, capabilities(7)."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Process(Frozen):
    """What runs: OCI `process`."""

    cwd: str = "/"
    args: tuple[str, ...]
    env: tuple[str, ...] = ()           # "NAME=value", order kept
    user: User = User()
    capabilities: Capabilities = Capabilities()
    rlimits: tuple[Rlimit, ...] = ()    # sorted by type
    no_new_privileges: bool = False
    oom_score_adj: int | None = None


class IDMapping(Frozen):
    """One line of user_namespaces(7)'s maps."""

    container_id: int
    host_id: int
    size: int


class Mount(Frozen):
    """OCI `mounts[]`; destination absolute and clean."""

    destination: str
    type: str | None = None             # None with bind
    source: str | None = None
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()


class Namespace(Frozen):
    """One kind of namespace: new, by path, or another container's."""

    type: str                           # pid network mount ipc uts user cgroup time
    path: str | None = None
    container: str | None = None


class TimeOffset(Frozen):
    """time_namespaces(7): one clock's offset."""

    clock: str                          # "monotonic", "boottime"
    secs: int = 0
    nanosecs: int = 0


class Cpu(Frozen):
    """CPU limits; weight is cgroup v2's 1..10000, quota and period are microseconds."""

    shares: int | None = None           # v1 units, 2..262144; only from OCI words
    weight: int | None = None
    quota: int | None = None            # µs per period; -1 none
    burst: int | None = None
    period: int | None = None
    cpus: str | None = None             # "0-1,3"
    mems: str | None = None
    idle: int | None = None             # 0, 1


class Memory(Frozen):
    """Memory limits in bytes, -1 for none; swap is memory + swap as in OCI."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None       # 0..100, v1 only
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Pids(Frozen):
    """Number of tasks; -1 for none."""

    limit: int | None = None


class DeviceRule(Frozen):
    """One rule of the device cgroup; type a (all), b, c; None is a wildcard number."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


class Resources(Frozen):
    """OCI `linux.resources`; unified is cgroup v2 file -> value, sorted."""

    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    pids: Pids = Pids()
    devices: tuple[DeviceRule, ...] = ()
    unified: tuple[tuple[str, str], ...] = ()


class Device(Frozen):
    """A node made in the container's /dev, mknod(2)."""

    path: str
    type: str                           # b c u p
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class Linux(Frozen):
    """OCI `linux`."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    time_offsets: tuple[TimeOffset, ...] = ()       # sorted by clock
    devices: tuple[Device, ...] = ()
    cgroups_path: str | None = None
    resources: Resources = Resources()
    sysctl: tuple[tuple[str, str], ...] = ()        # sorted
    rootfs_propagation: str | None = None
    seccomp: None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()


class Route(Frozen):
    """One route inside the container; to is a network in CIDR form or "default"."""

    to: str
    via: str | None = None
    metric: int | None = None


class Interface(Frozen):
    """A link of the container, ip-link(8); addresses in CIDR form, v4 and v6, as the kernel prints them."""

    name: str
    type: str                           # veth
    network: str | None = None
    mac: str | None = None              # lower case
    mtu: int | None = None
    addresses: tuple[str, ...] = ()
    gateway: tuple[str, ...] = ()       # at most one of each family
    routes: tuple[Route, ...] = ()


class Spec(Frozen):
    """A container as it should be."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    project: str | None = None
    hostname: str | None = None
    domainname: str | None = None
    root: Root
    process: Process
    mounts: tuple[Mount, ...] = ()
    linux: Linux = Linux()
    annotations: tuple[tuple[str, str], ...] = ()
    interfaces: tuple[Interface, ...] = ()


class Network(Frozen):
    """A link of the host that containers' interfaces join: a bridge."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    project: str | None = None
    type: str = "bridge"
    addresses: tuple[str, ...] = ()
    mtu: int | None = None


def to_tree(value: Any) -> Any:
    """A model object as plain dicts and lists with the file's spelling; None fields left out.

    Pairs (annotations, sysctl, labels, unified) become maps. This is the shape of `config`,
    of Records and of OCI's config.json.
    """
    if isinstance(value, Frozen):
        out = {}
        for field, inner in items(value):
            if inner is None:
                continue
            out[key(field)] = dict(inner) if field in PAIRS else to_tree(inner)
        return out
    if isinstance(value, tuple):
        return [to_tree(inner) for inner in value]
    return value


PAIRS = ("labels", "annotations", "sysctl", "unified")

# Which class a field holds, for reading a tree back.
_HOLDS: dict[tuple[type, str], type] = {
    (Spec, "root"): Root, (Root, "overlay"): Overlay, (Spec, "process"): Process, (Process, "user"): User,
    (Process, "capabilities"): Capabilities, (Process, "rlimits"): Rlimit, (Spec, "mounts"): Mount,
    (Mount, "uid_mappings"): IDMapping, (Mount, "gid_mappings"): IDMapping, (Spec, "linux"): Linux,
    (Linux, "namespaces"): Namespace, (Linux, "uid_mappings"): IDMapping, (Linux, "gid_mappings"): IDMapping,
    (Linux, "time_offsets"): TimeOffset, (Linux, "devices"): Device, (Linux, "resources"): Resources,
    (Resources, "cpu"): Cpu, (Resources, "memory"): Memory, (Resources, "pids"): Pids,
    (Resources, "devices"): DeviceRule, (Spec, "interfaces"): Interface, (Interface, "routes"): Route,
}


def from_tree(cls: type[T], tree: dict[str, Any]) -> T:
    """The inverse of to_tree, for trees that to_tree wrote."""
    values: dict[str, Any] = {}
    for field in fields_of(cls):
        name = key(field)
        if name not in tree:
            continue
        inner, holds = tree[name], _HOLDS.get((cls, field))
        if field in PAIRS:
            values[field] = tuple(sorted(inner.items()))
        elif holds is not None:
            values[field] = (tuple(from_tree(holds, one) for one in inner) if isinstance(inner, list)
                             else from_tree(holds, inner))
        else:
            values[field] = tuple(inner) if isinstance(inner, list) else inner
    return cls(**values)
