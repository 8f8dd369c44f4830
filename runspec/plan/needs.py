"""What each key of a file needs of the machine: one table, from which `doctor` tells and `apply` refuses."""

from __future__ import annotations

from runspec.plan import traffic
from runspec.plan.steps import landlock
from runspec.spec.alike import kept
from runspec.spec.frozen import Frozen, items, key
from runspec.spec.model import IDMapping, Linux, Network, NetworkQos, Qos, Spec
from runspec.spec.model_net import ON_PARENT
from runspec.spec.mount_options import parse
from runspec.spec.tree import PAIRS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # What a row needs: words, or what finds them from the key's value and all of the document.
    Words = tuple[str, ...] | Callable[[Any, Any], tuple[str, ...]]

# A need is a word `KIND:OBJECT`. Kind -> (what it is called, what of the kernel's configuration gives it,
# whether apply refuses what lacks it; else a Step's own error says it, or it only helps).
KINDS: dict[str, tuple[str, str, bool]] = {
    "namespace": ("{} namespaces", "", True),
    "filesystem": ("file system {}", "", True),
    "controller": ("cgroup controller {}", "", False),
    "v1": ("cgroup v1 controller {}", "", False),
    "v2": ("cgroup v2 controller {}", "", False),
    "knob": ("control file of {}", "", False),
    "devices": ("control of devices", "CONFIG_CGROUP_DEVICE or CONFIG_CGROUP_BPF", False),
    "capability": ("{}", "", True),
    "raise": ("CAP_SYS_RESOURCE, to raise {}", "", True),
    "lower": ("CAP_SYS_RESOURCE, to go below its own OOM score", "", True),
    "idmap": ("mapped owners on the file system of {}", "", True),
    "map": ("an id map that one write takes", "CONFIG_USER_NS", True),
    "link": ("links of type {}", "", False),
    "filtering": ("bridges that heed VLAN tags", "CONFIG_BRIDGE_VLAN_FILTERING", True),
    "driver": ("links of type {}", "", True),
    "classifier": ("programs on links", "CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS", True),
    "interface": ("the host's interface {}", "", False),
    "traffic": ("traffic control by {}", "", True),
    "landlock": ("Landlock version {}", "CONFIG_SECURITY_LANDLOCK", False),
    "lsm": ("{}", "", False),
    "seccomp": ("seccomp with {}", "CONFIG_SECCOMP_FILTER", True),
    "numa": ("memory nodes {}", "CONFIG_NUMA", False),
    "resctrl": ("resource control of caches", "CONFIG_X86_CPU_RESCTRL", False),
    "sysctl": ("kernel parameter {}", "", True),
    "ia32": ("32-bit programs", "CONFIG_IA32_EMULATION", False),
    "tool": ("the program {}", "", False),
    "nft": ("nftables with NAT", "CONFIG_NFT_NAT", True),
    "program": ("the host's program {}", "", False),
    "cdi": ("a description of CDI devices", "", False),
}
# What of the kernel's configuration gives an object; the rest of its kind has a rule of its own below.
OPTIONS = {
    "namespace:pid": "CONFIG_PID_NS", "namespace:network": "CONFIG_NET_NS", "namespace:uts": "CONFIG_UTS_NS",
    "namespace:ipc": "CONFIG_IPC_NS", "namespace:user": "CONFIG_USER_NS", "namespace:cgroup": "CONFIG_CGROUPS",
    "namespace:time": "CONFIG_TIME_NS", "namespace:mount": "CONFIG_NAMESPACES",
    "filesystem:overlay": "CONFIG_OVERLAY_FS", "filesystem:tmpfs": "CONFIG_TMPFS",
    "filesystem:proc": "CONFIG_PROC_FS", "filesystem:sysfs": "CONFIG_SYSFS", "filesystem:cgroup": "CONFIG_CGROUPS",
    "filesystem:devpts": "CONFIG_UNIX98_PTYS", "filesystem:mqueue": "CONFIG_POSIX_MQUEUE",
    "filesystem:hugetlbfs": "CONFIG_HUGETLBFS", "filesystem:bpf": "CONFIG_BPF_SYSCALL",
    "controller:cpu": "CONFIG_CGROUP_SCHED", "controller:cpuset": "CONFIG_CPUSETS",
    "controller:memory": "CONFIG_MEMCG", "controller:pids": "CONFIG_CGROUP_PIDS",
    "controller:blkio": "CONFIG_BLK_CGROUP", "controller:hugetlb": "CONFIG_CGROUP_HUGETLB",
    "controller:rdma": "CONFIG_CGROUP_RDMA", "controller:net_cls": "CONFIG_CGROUP_NET_CLASSID",
    "controller:net_prio": "CONFIG_CGROUP_NET_PRIO", "v1:net_cls": "CONFIG_CGROUP_NET_CLASSID",
    "v1:net_prio": "CONFIG_CGROUP_NET_PRIO", "v1:cpu": "CONFIG_RT_GROUP_SCHED", "v1:memory": "CONFIG_MEMCG_V1",
    "v2:cpuset": "CONFIG_CPUSETS", "v2:memory": "CONFIG_MEMCG",
    "knob:cpu.quota": "CONFIG_CFS_BANDWIDTH", "knob:cpu.burst": "CONFIG_CFS_BANDWIDTH",
    "knob:cpu.idle": "CONFIG_FAIR_GROUP_SCHED", "knob:cpu.realtime": "CONFIG_RT_GROUP_SCHED",
    "knob:memory.swap": "CONFIG_SWAP", "knob:blockIO.weight": "CONFIG_IOSCHED_BFQ",
    "knob:blockIO.throttle": "CONFIG_BLK_DEV_THROTTLING",
    "link:bridge": "CONFIG_BRIDGE", "link:veth": "CONFIG_VETH", "driver:vlan": "CONFIG_VLAN_8021Q",
    "driver:macvlan": "CONFIG_MACVLAN", "driver:ipvlan": "CONFIG_IPVLAN",
    "traffic:htb": "CONFIG_NET_SCH_HTB", "traffic:tbf": "CONFIG_NET_SCH_TBF",
    "traffic:fq_codel": "CONFIG_NET_SCH_FQ_CODEL",
    "traffic:clsact": "CONFIG_NET_SCH_INGRESS", "traffic:ifb": "CONFIG_IFB",
    "traffic:redirect": "CONFIG_NET_CLS_U32 and CONFIG_NET_ACT_MIRRED", "traffic:bpf": "CONFIG_NET_CLS_BPF",
    "lsm:AppArmor": "CONFIG_SECURITY_APPARMOR", "lsm:SELinux": "CONFIG_SECURITY_SELINUX",
}
# Control files that are there only where the kernel was built or booted so: (v1 controller, file, v2 file).
KNOBS = {
    "cpu.quota": ("cpu", "cpu.cfs_quota_us", "cpu.max"),
    "cpu.burst": ("cpu", "cpu.cfs_burst_us", "cpu.max.burst"),
    "cpu.idle": ("cpu", "cpu.idle", "cpu.idle"),
    "cpu.realtime": ("cpu", "cpu.rt_runtime_us", ""),
    "memory.swap": ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    "blockIO.weight": ("blkio", "blkio.bfq.weight", "io.bfq.weight"),
    "blockIO.throttle": ("blkio", "blkio.throttle.read_bps_device", "io.max"),
}
TOOLS = {"busybox": "busybox-static", "skopeo": "skopeo", "umoci": "umoci", "nft": "nftables"}


def called(word: str) -> str:
    """A need for people."""
    kind, _, name = word.partition(":")
    many = name.count(",") + 1 if kind == "capability" else 1
    return f"{many} capabilities" if many > 1 else KINDS[kind][0].format(name)


def option(word: str) -> str:
    """What of the kernel's configuration gives it, "" where nothing of it does."""
    return OPTIONS.get(word) or KINDS[word.partition(":")[0]][1]


def _image(value: str, spec: Spec) -> tuple[str, ...]:
    kind = value.partition(":")[0]
    more = {"busybox": ("tool:busybox",), "oci": ("tool:umoci",), "tar": ("tool:tar",),
            "docker-archive": ("tool:skopeo", "tool:umoci")}
    return ("filesystem:overlay", *more.get(kind, ()))


def _limit(one: Any, spec: Spec) -> tuple[str, ...]:
    return (f"raise:{one.type} to {'infinity' if one.hard == -1 else one.hard}",)


def _scheduler(one: Any, spec: Spec) -> tuple[str, ...]:
    if one.policy not in ("SCHED_FIFO", "SCHED_RR", "SCHED_DEADLINE"):
        return ("capability:CAP_SYS_NICE",) if one.nice is not None and one.nice < 0 else ()
    return ("capability:CAP_SYS_NICE",)


def _mount(one: Any, spec: Spec) -> tuple[str, ...]:
    if one.type in (None, "none", "bind") or parse(one.options).bind:
        return ("namespace:user", f"idmap:{one.source}") if one.uid_mappings and one.source else ()
    return (f"filesystem:{one.type}",)


def map_bytes(maps: tuple[IDMapping, ...]) -> int:
    """How long a map is as the kernel reads it: one write, shorter than a page, user_namespaces(7)."""
    return sum(len(f"{one.container_id} {one.host_id} {one.size}\n") for one in maps)


def _maps(value: tuple[IDMapping, ...], spec: Any) -> tuple[str, ...]:
    return (f"map:{map_bytes(value)}",)


def _sysctl(value: tuple[tuple[str, str], ...], spec: Spec) -> tuple[str, ...]:
    return tuple(f"sysctl:{name}" for name, _ in value)


def _unified(value: tuple[tuple[str, str], ...], spec: Spec) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"v2:{file.partition('.')[0]}" for file, _ in value
                               if not file.startswith("cgroup.")))


def _seccomp(one: Any, spec: Spec) -> tuple[str, ...]:
    actions = ({"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"} if isinstance(one, str)
               else {one.default_action, *(rule.action for rule in one.syscalls)})
    return tuple(f"seccomp:{word}" for word in sorted(actions))


def _qos(value: Qos, spec: Spec) -> tuple[str, ...]:
    one = next(one for one in spec.interfaces if one.qos is value)
    words: list[str] = []
    for way in traffic.WAYS:
        asked = traffic.way(value, way)
        bucket = traffic.bucket(asked, one.mtu)
        if bucket is not None:
            words += ["traffic:htb", *["traffic:tbf"] * bucket.apart]
            if (way == "egress") == traffic.outside(one):
                words += ["traffic:clsact", "traffic:ifb", "traffic:redirect"]
        if traffic.program(asked) is not None:
            words += ["traffic:clsact", "traffic:bpf"]
    return tuple(dict.fromkeys(words))


def _line(value: NetworkQos, network: Network) -> tuple[str, ...]:
    return tuple(f"traffic:{word}" for word in ("htb", "tbf", "clsact", "ifb", "redirect", "bpf"))


def _landlock(one: Any, spec: Spec) -> tuple[str, ...]:
    versions = [landlock.RIGHTS.get(word, 1) for rule in one.fs or () for word in rule.access]
    versions += [1, landlock.NET if one.net is not None else 1, landlock.SCOPED if one.scope else 1]
    return (f"landlock:{max(versions)}",)


def _hooks(value: Any, spec: Spec) -> tuple[str, ...]:
    return tuple(f"program:{one.path}" for one in value)


# Path of a spec, `[]` for any index -> what it needs. A key that is not here needs nothing of the kernel that
# not every kernel runspec runs on has.
ROWS: dict[str, Words] = {
    "hostname": ("namespace:uts",),
    "domainname": ("namespace:uts",),
    "root.image": _image,
    "root.overlay": ("filesystem:overlay",),
    "process.terminal": ("filesystem:devpts",),
    # The other four sets lie within it.
    "process.capabilities.bounding": lambda value, spec: (f"capability:{','.join(value)}",),
    "process.rlimits[]": _limit,
    "process.oomScoreAdj": lambda value, spec: (f"lower:{value}",),
    "process.scheduler": _scheduler,
    "process.ioPriority": lambda one, spec: (("capability:CAP_SYS_ADMIN",) if one.class_ == "IOPRIO_CLASS_RT" else ()),
    "process.apparmorProfile": ("lsm:AppArmor",),
    "process.selinuxLabel": ("lsm:SELinux",),
    "mounts[]": _mount,
    **dict.fromkeys((f"hooks.{word}" for word in ("prestart", "createRuntime", "createContainer", "startContainer",
                                                  "poststart", "poststop")), _hooks),
    "linux.namespaces[]": lambda one, spec: (f"namespace:{one.type}",),
    "linux.uidMappings": _maps,
    "linux.gidMappings": _maps,
    "mounts[].uidMappings": _maps,
    "mounts[].gidMappings": _maps,
    "linux.timeOffsets": ("namespace:time",),
    "linux.devices[]": lambda one, spec: (("capability:CAP_MKNOD",) if one.type in "bcu" else ()),
    "linux.cdiDevices": ("cdi:",),
    "linux.netDevices": lambda value, spec: tuple(f"interface:{one.host}" for one in value),
    "linux.intelRdt": ("resctrl:",),
    "linux.resources.cpu.shares": ("controller:cpu",),
    "linux.resources.cpu.weight": ("controller:cpu",),
    "linux.resources.cpu.quota": ("controller:cpu", "knob:cpu.quota"),
    "linux.resources.cpu.period": ("controller:cpu", "knob:cpu.quota"),
    "linux.resources.cpu.burst": ("controller:cpu", "knob:cpu.burst"),
    "linux.resources.cpu.idle": ("controller:cpu", "knob:cpu.idle"),
    "linux.resources.cpu.cpus": ("controller:cpuset",),
    "linux.resources.cpu.mems": ("controller:cpuset",),
    "linux.resources.cpu.realtimeRuntime": ("v1:cpu", "knob:cpu.realtime"),
    "linux.resources.cpu.realtimePeriod": ("v1:cpu", "knob:cpu.realtime"),
    "linux.resources.cpu.partition": lambda value, spec: ("v2:cpuset",) if value != "member" else (),
    **dict.fromkeys((f"linux.resources.memory.{word}" for word in ("limit", "reservation")), ("controller:memory",)),
    "linux.resources.memory.swap": ("controller:memory", "knob:memory.swap"),
    **dict.fromkeys((f"linux.resources.memory.{word}" for word in
                     ("swappiness", "disableOOMKiller", "useHierarchy", "kernel", "kernelTCP")), ("v1:memory",)),
    **dict.fromkeys((f"linux.resources.memory.{word}" for word in ("high", "low", "min", "oomGroup")), ("v2:memory",)),
    "linux.resources.pids.limit": ("controller:pids",),
    "linux.resources.devices": ("devices:",),
    "linux.resources.blockIO.weight": ("controller:blkio", "knob:blockIO.weight"),
    "linux.resources.blockIO.leafWeight": ("controller:blkio",),
    "linux.resources.blockIO.weightDevice": ("controller:blkio", "knob:blockIO.weight"),
    **dict.fromkeys((f"linux.resources.blockIO.throttle{word}Device" for word in
                     ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")), ("controller:blkio", "knob:blockIO.throttle")),
    "linux.resources.hugepageLimits": ("controller:hugetlb",),
    "linux.resources.rdma": ("controller:rdma",),
    "linux.resources.network.classID": ("v1:net_cls",),
    "linux.resources.network.priorities": ("v1:net_prio",),
    "linux.resources.unified": _unified,
    "linux.sysctl": _sysctl,
    "linux.seccomp": _seccomp,
    "linux.mountLabel": ("lsm:SELinux",),
    "linux.personality.domain": lambda value, spec: ("ia32:",) if value == "LINUX32" else (),
    "linux.memoryPolicy": lambda one, spec: (f"numa:{one.nodes or ''}",),
    "landlock": _landlock,
    "interfaces[].type": lambda value, spec: ("capability:CAP_NET_ADMIN", *(
        (f"link:{value}",) if value not in ("physical", *ON_PARENT) else ())),
    # What stands in for a driver is for doctor to tell; where the driver is there, nothing does.
    "interfaces[]": lambda one, spec: (
        (f"driver:{one.type}",) if one.type in ON_PARENT and one.fallback is None else ()),
    "interfaces[].fallback": ("classifier:",),
    "interfaces[].network": ("link:bridge",),
    "ports": ("nft:",),
    "interfaces[].qos": _qos,
    # A Network's own.
    "type": lambda value, network: ("capability:CAP_NET_ADMIN", f"link:{value}"),
    "internal": ("nft:",),
    "qos": _line,
    "nat": ("nft:",),
    "isolated": ("nft:",),
    "vlanFiltering": ("filtering:",),
}
# Keys that any kernel serves which runs runspec at all.
NOTHING = frozenset((
    "name", "state", "labels", "project", "annotations", "root", "root.digest", "root.path", "root.readonly", "process",
    "process.consoleSize", "process.cwd", "process.args", "process.env", "process.user.uid", "process.user.gid",
    "process.user.umask", "process.user.additionalGids", "process.noNewPrivileges",
    "process.capabilities.effective", "process.capabilities.permitted", "process.capabilities.inheritable",
    "process.capabilities.ambient", "process.execCPUAffinity.initial", "process.execCPUAffinity.final",
    "linux.cgroupsPath", "linux.resources", "linux.rootfsPropagation", "linux.personality",
    "linux.personality.flags", "linux.maskedPaths", "linux.readonlyPaths",
    "linux.resources.memory.checkBeforeUpdate", "interfaces[].name", "interfaces[].mac", "interfaces[].mtu",
    "interfaces[].addresses", "interfaces[].pooled", "interfaces[].gateway", "interfaces[].routes",
    "interfaces[].parent", "interfaces[].mode", "interfaces[].vlan", "interfaces[].vlan.id",
    "interfaces[].vlan.protocol", "interfaces[].sysctl", "interfaces[].hostAccess", "interfaces[].hostEnd", "hosts",
    *(f"interfaces[].qos.{way}.{name}" for way in ("egress", "ingress")
      for name in ("rate", "ceil", "burst", "priority", "dscp")),
    "dns", "dns.nameservers", "dns.search", "dns.options", "extraHosts", "up", "addresses", "mtu",
    "pool.range", "pool.exclude", "external",
    *(f"qos.{way}{name}" for way in ("egress", "ingress") for name in ("", ".rate", ".burst"))))


def used(value: Any) -> list[tuple[str, Any]]:
    """(spec path, value) of every key that a document uses, parents first."""
    out: list[tuple[str, str, Any]] = []
    _within(value, "", "", out)
    return [(path, inner) for path, _, inner in out]


def _within(value: Any, path: str, shape: str, out: list[tuple[str, str, Any]]) -> None:
    """Notes (spec path, its pattern, value) of what is used in a value."""
    for field, inner in items(value):
        _use(type(value), field, inner, f"{path}{key(field)}", f"{shape}{key(field)}", out)


def _use(kind: Any, field: str, value: Any, path: str, shape: str, out: list[tuple[str, str, Any]]) -> None:
    if value is None or value == () or value is False or (
            isinstance(value, Frozen) and value == kind.DEFAULTS.get(field)):
        return
    out.append((path, shape, value))
    if isinstance(value, Frozen):
        _within(value, f"{path}.", f"{shape}.", out)
    elif isinstance(value, tuple) and field not in PAIRS and isinstance(value[0], Frozen):
        for index, one in enumerate(value):
            out.append((f"{path}[{index}]", f"{shape}[]", one))
            _within(one, f"{path}[{index}].", f"{shape}[].", out)


def needs(model: Spec | Network) -> list[tuple[str, tuple[str, ...]]]:
    """(spec path, words of what it needs) for every key that needs something."""
    out: list[tuple[str, tuple[str, ...]]] = []
    for field, value in items(model):
        if field == "interfaces":       # only their rows look at more of the document than their key
            out += _needs(type(model), field, value, field, model)
        elif isinstance(value, Linux):
            for inner, one in items(value):
                out += _apart(Linux, inner, one, "linux.")
        else:
            out += _apart(type(model), field, value, "")
    return out


@kept
def _apart(kind: Any, field: str, value: Any, above: str) -> list[tuple[str, tuple[str, ...]]]:
    return _needs(kind, field, value, above + key(field), None)


def _needs(kind: Any, field: str, value: Any, at: str, model: Any) -> list[tuple[str, tuple[str, ...]]]:
    out: list[tuple[str, tuple[str, ...]]] = []
    found: list[tuple[str, str, Any]] = []
    _use(kind, field, value, at, at, found)
    for path, shape, inner in found:
        row = ROWS.get(shape)
        words = row(inner, model) if callable(row) else row
        if words and shape == "linux.sysctl":
            out += [(f"{path}.{name}", (word,)) for (name, _), word in zip(inner, words, strict=True)]
        elif words:
            out.append((f"{path}.type" if shape == "interfaces[]" else path, words))
    return out
