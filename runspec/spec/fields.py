"""One row per field of a Spec or Network: what a change of it costs, and how it is observed."""

from __future__ import annotations

# The classes of a change, each more disruptive than the one before.
NONE, IN_PLACE, RESTART, RECREATE = range(4)
WORDS = ("no effect", "in place", "restart", "recreate")
JSON_WORDS = ("none", "inPlace", "restart", "recreate")


class Field:
    """One field of the file.

    Attributes:
        path: its spec path, `[]` for any index; it also stands for what lies below it.
        impact: NONE, IN_PLACE, RESTART or RECREATE.
        observed: where the kernel tells it, or that only the Record does, and why.
        man: page or kernel document that describes it.
        note: values of another class, or why there are none.
    """

    __slots__ = ("impact", "man", "note", "observed", "path")

    def __init__(self, path: str, impact: int, observed: str, man: str, note: str = "") -> None:
        self.path, self.impact, self.observed, self.man, self.note = path, impact, observed, man, note


_RECORD = "the Record of what was applied"
_WORD = "the Record: nothing of it reaches the kernel"
_OWN = "the Record: a program may change it by itself"
_LATER = "the Record: it shows in what `exec` starts"
_RULES = "the Record: the kernel does not tell the rules"
ROWS = (
    Field("name", RECREATE, _WORD, "runtime.md, State"),
    Field("labels", IN_PLACE, _WORD, "config.md, Annotations"),
    Field("project", IN_PLACE, _WORD, "config.md, Annotations"),
    Field("annotations", IN_PLACE, _WORD, "config.md, Annotations"),
    Field("state", IN_PLACE, "freezer.state or cgroup.events", "cgroup-v2.rst, cgroup.freeze",
          "no key: whether it runs, or somebody froze it"),
    Field("hostname", IN_PLACE, "uname(2) inside", "uts_namespaces(7)"),
    Field("domainname", IN_PLACE, "uname(2) inside", "uts_namespaces(7)"),
    Field("root", RECREATE, "/proc/PID/mountinfo", "mount_namespaces(7)"),
    Field("root.path", RECREATE, "/proc/PID/mountinfo", "mount_namespaces(7)"),
    Field("root.image", RECREATE, "/proc/PID/mountinfo lowerdir", "overlayfs.rst"),
    Field("root.digest", RECREATE, "/proc/PID/mountinfo lowerdir", "image-spec, descriptor.md"),
    Field("root.readonly", IN_PLACE, "/proc/PID/mountinfo", "mount_setattr(2)"),
    Field("root.overlay", RECREATE, "/proc/PID/mountinfo", "overlayfs.rst"),
    Field("root.overlay.volatile", RECREATE, "/proc/PID/mountinfo", "overlayfs.rst"),
    Field("root.overlay.upper", RECREATE, "/proc/PID/mountinfo", "overlayfs.rst"),
    Field("process", RESTART, "/proc/PID", "proc(5)"),
    Field("process.terminal", RESTART, _RECORD, "pty(7)"),
    # Whoever holds the terminal gives it the size of a window of his; this is only what it begins with.
    Field("process.consoleSize", RESTART, _RECORD, "tty_ioctl(4), TIOCSWINSZ"),
    Field("process.cwd", RESTART, _OWN, "chdir(2)"),
    Field("process.args", RESTART, _OWN, "execve(2)"),
    Field("process.env", RESTART, _OWN, "environ(7)"),
    Field("process.user.uid", RESTART, _OWN, "credentials(7)"),
    Field("process.user.gid", RESTART, _OWN, "credentials(7)"),
    Field("process.user.umask", RESTART, _OWN, "umask(2)"),
    Field("process.user.additionalGids", RESTART, _OWN, "setgroups(2)"),
    Field("process.capabilities.bounding", RESTART, "/proc/PID/status CapBnd", "capabilities(7)"),
    Field("process.capabilities.effective", RESTART, "/proc/PID/status CapEff", "capabilities(7)"),
    Field("process.capabilities.permitted", RESTART, "/proc/PID/status CapPrm", "capabilities(7)"),
    Field("process.capabilities.inheritable", RESTART, "/proc/PID/status CapInh", "capabilities(7)"),
    Field("process.capabilities.ambient", RESTART, "/proc/PID/status CapAmb", "capabilities(7)"),
    Field("process.rlimits", IN_PLACE, "/proc/PID/limits", "getrlimit(2)",
          "restart where one is dropped"),
    Field("process.noNewPrivileges", RESTART, "/proc/PID/status NoNewPrivs", "prctl(2)"),
    Field("process.oomScoreAdj", IN_PLACE, "/proc/PID/oom_score_adj", "proc(5)"),
    Field("process.scheduler", IN_PLACE, "sched_getattr(2) of init", "sched(7)"),
    *(Field(f"process.scheduler.{name}", IN_PLACE, "sched_getattr(2) of init", "sched(7)")
      for name in ("policy", "nice", "priority", "flags", "runtime", "deadline", "period")),
    Field("process.ioPriority", IN_PLACE, "ioprio_get(2) of init", "ioprio_set(2)"),
    Field("process.ioPriority.class", IN_PLACE, "ioprio_get(2) of init", "ioprio_set(2)"),
    Field("process.ioPriority.priority", IN_PLACE, "ioprio_get(2) of init", "ioprio_set(2)"),
    Field("process.execCPUAffinity.initial", IN_PLACE, _LATER, "sched_setaffinity(2)"),
    Field("process.execCPUAffinity.final", IN_PLACE, _LATER, "sched_setaffinity(2)"),
    Field("process.apparmorProfile", RESTART, "/proc/PID/attr/current", "apparmor(7)"),
    Field("process.selinuxLabel", RESTART, "/proc/PID/attr/current", "selinux(8)"),
    Field("mounts", IN_PLACE, "/proc/PID/mountinfo", "mount_namespaces(7)",
          "restart for proc, and to make /dev anew"),
    Field("mounts[].destination", IN_PLACE, "/proc/PID/mountinfo", "mount_namespaces(7)"),
    Field("mounts[].type", IN_PLACE, "/proc/PID/mountinfo", "filesystems(5)"),
    Field("mounts[].source", IN_PLACE, "/proc/PID/mountinfo", "mount(2)"),
    Field("mounts[].options", IN_PLACE, "/proc/PID/mountinfo", "mount(8)"),
    Field("mounts[].uidMappings", IN_PLACE, "/proc/PID/mountinfo", "mount_setattr(2)"),
    Field("mounts[].gidMappings", IN_PLACE, "/proc/PID/mountinfo", "mount_setattr(2)"),
    *(Field(f"hooks.{name}", IN_PLACE, _RECORD, "config.md, POSIX-platform Hooks")
      for name in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")),
    Field("linux.namespaces", RECREATE, "/proc/PID/ns", "namespaces(7)",
          "restart for pid, ipc, uts, cgroup, time"),
    Field("linux.uidMappings", RECREATE, "/proc/PID/uid_map", "user_namespaces(7)"),
    Field("linux.gidMappings", RECREATE, "/proc/PID/gid_map", "user_namespaces(7)"),
    Field("linux.timeOffsets", RESTART, "/proc/PID/timens_offsets", "time_namespaces(7)"),
    Field("linux.devices", IN_PLACE, "/proc/PID/root/dev", "mknod(2)"),
    # The names alone: what a device consists of is told by the fields that it adds to.
    Field("linux.cdiDevices", IN_PLACE, _RECORD, "Container Device Interface"),
    Field("linux.netDevices", RESTART, "rtnetlink(7) inside", "config-linux.md, Network Devices"),
    Field("linux.intelRdt", RESTART, "the class's tasks and schemata", "resctrl.rst"),
    Field("linux.cgroupsPath", RECREATE, "/proc/PID/cgroup", "cgroups(7)"),
    Field("linux.resources", IN_PLACE, "the container's control group", "cgroup-v2.rst"),
    Field("linux.resources.cpu.shares", IN_PLACE, "cpu.shares or cpu.weight", "cgroup-v2.rst, cpu.weight"),
    Field("linux.resources.cpu.weight", IN_PLACE, "cpu.shares or cpu.weight", "cgroup-v2.rst, cpu.weight"),
    Field("linux.resources.cpu.quota", IN_PLACE, "cpu.cfs_quota_us or cpu.max", "cgroup-v2.rst, cpu.max"),
    Field("linux.resources.cpu.period", IN_PLACE, "cpu.cfs_period_us or cpu.max", "cgroup-v2.rst, cpu.max"),
    Field("linux.resources.cpu.burst", IN_PLACE, "cpu.cfs_burst_us or cpu.max.burst",
          "cgroup-v2.rst, cpu.max.burst"),
    Field("linux.resources.cpu.cpus", IN_PLACE, "cpuset.cpus", "cpuset(7)"),
    Field("linux.resources.cpu.mems", IN_PLACE, "cpuset.mems", "cpuset(7)"),
    Field("linux.resources.cpu.idle", IN_PLACE, "cpu.idle", "cgroup-v2.rst, cpu.idle"),
    Field("linux.resources.memory.limit", IN_PLACE, "memory.limit_in_bytes or memory.max",
          "cgroup-v2.rst, memory.max"),
    Field("linux.resources.memory.reservation", IN_PLACE, "memory.soft_limit_in_bytes or memory.low",
          "cgroup-v2.rst, memory.low"),
    Field("linux.resources.memory.swap", IN_PLACE, "memory.memsw.limit_in_bytes or memory.swap.max",
          "cgroup-v2.rst, memory.swap.max"),
    Field("linux.resources.memory.swappiness", IN_PLACE, "memory.swappiness", "memory.rst, swappiness"),
    Field("linux.resources.memory.disableOOMKiller", IN_PLACE, "memory.oom_control",
          "memory.rst, OOM control"),
    Field("linux.resources.memory.useHierarchy", IN_PLACE, "memory.use_hierarchy",
          "memory.rst, hierarchy support"),
    Field("linux.resources.memory.checkBeforeUpdate", NONE, _RECORD, "config-linux.md, Memory"),
    *(Field(f"linux.resources.cpu.{name}", IN_PLACE, f"cpu.rt_{file}_us", "sched-rt-group.rst")
      for name, file in (("realtimeRuntime", "runtime"), ("realtimePeriod", "period"))),
    Field("linux.resources.cpu.partition", IN_PLACE, "cpuset.cpus.partition", "cgroup-v2.rst, cpuset.cpus.partition"),
    *(Field(f"linux.resources.memory.{name}", IN_PLACE, f"memory.{file}", f"cgroup-v2.rst, memory.{file}")
      for name, file in (("high", "high"), ("low", "low"), ("min", "min"), ("oomGroup", "oom.group"))),
    Field("linux.resources.memory.kernel", IN_PLACE, "memory.kmem.limit_in_bytes", "memory.rst, kernel memory"),
    Field("linux.resources.memory.kernelTCP", IN_PLACE, "memory.kmem.tcp.limit_in_bytes", "memory.rst, kernel memory"),
    Field("linux.resources.blockIO", IN_PLACE, "blkio.* or io.*", "blkio-controller.rst; cgroup-v2.rst, io"),
    Field("linux.resources.blockIO.weight", IN_PLACE, "blkio.bfq.weight or io.weight", "cgroup-v2.rst, io.weight"),
    Field("linux.resources.blockIO.leafWeight", IN_PLACE, "blkio.leaf_weight", "blkio-controller.rst"),
    Field("linux.resources.blockIO.weightDevice", IN_PLACE, "blkio.bfq.weight_device or io.bfq.weight",
          "cgroup-v2.rst, io.weight"),
    *(Field(f"linux.resources.blockIO.throttle{name}Device", IN_PLACE, f"blkio.throttle.{file}_device or io.max",
            "cgroup-v2.rst, io.max")
      for name, file in (("ReadBps", "read_bps"), ("WriteBps", "write_bps"), ("ReadIOPS", "read_iops"),
                         ("WriteIOPS", "write_iops"))),
    Field("linux.resources.hugepageLimits", IN_PLACE, "hugetlb.SIZE.limit_in_bytes or hugetlb.SIZE.max",
          "cgroup-v2.rst, hugetlb.<hugepagesize>.max"),
    Field("linux.resources.rdma", IN_PLACE, "rdma.max", "cgroup-v2.rst, rdma.max"),
    Field("linux.resources.network.classID", IN_PLACE, "net_cls.classid", "net_cls.rst"),
    Field("linux.resources.network.priorities", IN_PLACE, "net_prio.ifpriomap", "net_prio.rst"),
    Field("linux.resources.pids.limit", IN_PLACE, "pids.max", "cgroup-v2.rst, pids.max"),
    Field("linux.resources.devices", IN_PLACE, "devices.list or the attached program", "bpf(2)"),
    Field("linux.resources.unified", IN_PLACE, "the named control file", "cgroup-v2.rst"),
    Field("linux.sysctl", IN_PLACE, "/proc/sys inside", "sysctl(8)"),
    Field("linux.rootfsPropagation", IN_PLACE, "/proc/PID/mountinfo", "mount_namespaces(7)",
          "recreate for a root.path that is to receive"),
    Field("linux.seccomp", RESTART, "/proc/PID/status Seccomp_filters", "seccomp(2)"),
    *(Field(f"linux.seccomp.{name}", RESTART, _RECORD, man)
      for name, man in (("defaultAction", "seccomp(2)"), ("defaultErrnoRet", "seccomp(2)"),
                        ("architectures", "seccomp_arch_add(3)"), ("flags", "seccomp(2)"),
                        ("listenerPath", "seccomp_unotify(2)"), ("listenerMetadata", "seccomp_unotify(2)"),
                        ("syscalls", "seccomp_rule_add(3)"))),
    Field("linux.mountLabel", RESTART, _RECORD, "mount(8), context="),
    Field("linux.personality.domain", RESTART, "/proc/PID/personality", "personality(2)"),
    Field("linux.personality.flags", RESTART, "/proc/PID/personality", "personality(2)"),
    Field("linux.memoryPolicy.mode", RESTART, "/proc/PID/numa_maps", "set_mempolicy(2)"),
    Field("linux.memoryPolicy.nodes", RESTART, "/proc/PID/numa_maps", "set_mempolicy(2)"),
    Field("linux.memoryPolicy.flags", RESTART, "/proc/PID/numa_maps", "set_mempolicy(2)"),
    Field("linux.memoryPolicy", RESTART, "/proc/PID/numa_maps", "set_mempolicy(2)"),
    Field("linux.personality", RESTART, "/proc/PID/personality", "personality(2)"),
    Field("landlock", RESTART, _RULES, "landlock(7)"),
    Field("landlock.fs[].path", RESTART, _RULES, "landlock(7)"),
    Field("landlock.fs[].access", RESTART, _RULES, "landlock(7)"),
    Field("landlock.net.bind", RESTART, _RULES, "landlock(7)"),
    Field("landlock.net.connect", RESTART, _RULES, "landlock(7)"),
    Field("landlock.scope", RESTART, _RULES, "landlock(7)"),
    Field("linux.maskedPaths", IN_PLACE, "/proc/PID/mountinfo", "mount(2)"),
    Field("linux.readonlyPaths", IN_PLACE, "/proc/PID/mountinfo", "mount_setattr(2)"),
    Field("interfaces", IN_PLACE, "rtnetlink(7) inside", "ip-link(8)"),
    Field("interfaces[].name", IN_PLACE, "rtnetlink(7) inside", "ip-link(8)"),
    Field("interfaces[].type", IN_PLACE, "rtnetlink(7) inside", "ip-link(8)"),
    *(Field(f"interfaces[].{name}", IN_PLACE, "rtnetlink(7) inside", "ip-link(8)")
      for name in ("parent", "mode", "vlan", "vlan.id", "vlan.protocol")),
    Field("interfaces[].hostEnd", IN_PLACE, "rtnetlink(7) on the host", "veth(4)"),
    Field("interfaces[].network", IN_PLACE, "rtnetlink(7) on the host", "bridge(8)"),
    Field("interfaces[].mac", IN_PLACE, "rtnetlink(7) inside", "ip-link(8)"),
    Field("interfaces[].mtu", IN_PLACE, "rtnetlink(7) inside", "ip-link(8)"),
    Field("interfaces[].addresses", IN_PLACE, "rtnetlink(7) inside", "ip-address(8)"),
    Field("interfaces[].pooled", IN_PLACE, _RECORD, "ip-address(8)"),
    Field("interfaces[].gateway", IN_PLACE, "rtnetlink(7) inside", "ip-route(8)"),
    Field("interfaces[].routes", IN_PLACE, "rtnetlink(7) inside", "ip-route(8)"),
    Field("interfaces[].fallback", IN_PLACE, "filters of the parent, rtnetlink(7)", "tc-bpf(8)"),
    Field("interfaces[].hostAccess", IN_PLACE, "routes and neighbours, rtnetlink(7) on both sides", "ip-neighbour(8)"),
    Field("interfaces[].sysctl", IN_PLACE, "/proc/sys inside", "ip-sysctl.rst"),
    Field("interfaces[].qos", IN_PLACE, "rtnetlink(7)", "tc(8)"),
    *(Field(f"interfaces[].qos.{way}.{name}", IN_PLACE, "rtnetlink(7)", man,
            "only where a network has one line" if (way, name) == ("ingress", "priority") else "")
      for way in ("egress", "ingress")
      for name, man in (("rate", "tc-htb(8)"), ("ceil", "tc-htb(8)"), ("burst", "tc-htb(8)"),
                        ("priority", "socket(7), SO_PRIORITY"), ("dscp", "RFC 2474"))),
    *(Field(f"interfaces[].qos.{way}.line", IN_PLACE, "rtnetlink(7) on the host", "tc-mirred(8)",
            "no key: whether it goes through its network's line") for way in ("egress", "ingress")),
    Field("ports", IN_PLACE, "nftables of the host", "nft(8)"),
    *(Field(f"ports[].{name}", IN_PLACE, "nftables of the host", "nft(8)")
      for name in ("host", "container", "hostIP", "protocol")),
    Field("hosts", IN_PLACE, "the file that is mounted at /etc/hosts inside", "hosts(5)"),
    Field("dns", IN_PLACE, "the file that is mounted at /etc/resolv.conf inside", "resolv.conf(5)"),
    *(Field(f"dns.{name}", IN_PLACE, "/etc/resolv.conf inside", "resolv.conf(5)")
      for name in ("nameservers", "search", "options")),
    Field("extraHosts", IN_PLACE, "/etc/hosts inside", "hosts(5)"),
    # A Network's own.
    Field("type", RECREATE, "rtnetlink(7) on the host", "ip-link(8)"),
    Field("up", IN_PLACE, "rtnetlink(7) on the host", "ip-link(8)"),
    Field("addresses", IN_PLACE, "rtnetlink(7) on the host", "ip-address(8)"),
    Field("mtu", IN_PLACE, "rtnetlink(7) on the host", "ip-link(8)"),
    Field("pool.range", IN_PLACE, _RECORD, "ip-address(8)"),
    Field("pool.exclude", IN_PLACE, _RECORD, "ip-address(8)"),
    Field("internal", IN_PLACE, "nftables of the host", "nft(8)"),
    Field("nat", IN_PLACE, "nftables of the host", "nft(8)"),
    Field("isolated", IN_PLACE, "rtnetlink(7) on the host", "bridge(8)"),
    Field("vlanFiltering", IN_PLACE, "rtnetlink(7) on the host", "bridge(8)"),
    Field("qos", IN_PLACE, "rtnetlink(7) on the host", "tc-htb(8)"),
    *(Field(f"qos.{way}.{name}", IN_PLACE, "rtnetlink(7) on the host", "tc-htb(8)")
      for way in ("egress", "ingress") for name in ("rate", "burst")),
    Field("external", RECREATE, "rtnetlink(7) on the host", "bridge(8)"),
)
_UNLISTED = Field("", RECREATE, "nowhere", "")
_BY_PATH = {row.path: row for row in ROWS}
_PATTERNS: dict[str, str] = {}      # containers have many paths, and mostly the same ones


def pattern(path: str) -> str:
    """`mounts[3].source` -> `mounts[].source`."""
    if "[" not in path:
        return path
    found = _PATTERNS.get(path)
    if found is None:
        found = _PATTERNS[path] = _pattern(path)
    return found


def _pattern(path: str) -> str:
    return "]".join(part if "[" not in part else part[:part.index("[") + 1] for part in path.split("]"))


def row(path: str) -> Field:
    """The row of a concrete path, or of the nearest path above it that has one.

    Args:
        path: a spec path, `interfaces[0].addresses[1]`.

    Returns:
        A row; of class RECREATE where there is none, since nobody knows what a change would take.
    """
    at = pattern(path)
    while at:
        found = _BY_PATH.get(at)
        if found is not None:
            return found
        at = at[:max(at.rfind("."), at.rfind("["), 0)]
    return _UNLISTED
