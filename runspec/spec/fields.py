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
        observed: where the kernel tells it, or that only the Record does.
        man: page or kernel document that describes it.
    """

    __slots__ = ("impact", "man", "observed", "path")

    def __init__(self, path: str, impact: int, observed: str, man: str) -> None:
        self.path, self.impact, self.observed, self.man = path, impact, observed, man


_RECORD = "the Record of what was applied"
ROWS = (
    Field("name", RECREATE, _RECORD, "runtime.md, State"),
    Field("labels", IN_PLACE, _RECORD, "config.md, Annotations"),
    Field("project", IN_PLACE, _RECORD, "config.md, Annotations"),
    Field("annotations", IN_PLACE, _RECORD, "config.md, Annotations"),
    Field("hostname", IN_PLACE, "uname(2) inside", "uts_namespaces(7)"),
    Field("domainname", IN_PLACE, "uname(2) inside", "uts_namespaces(7)"),
    Field("root", RECREATE, "/proc/PID/mountinfo", "mount_namespaces(7)"),
    Field("root.path", RECREATE, "/proc/PID/mountinfo", "mount_namespaces(7)"),
    Field("root.image", RECREATE, _RECORD, "overlayfs.rst"),
    Field("root.readonly", RESTART, "/proc/PID/mountinfo", "mount_setattr(2)"),
    Field("root.overlay", RECREATE, "/proc/PID/mountinfo", "overlayfs.rst"),
    Field("root.overlay.volatile", RECREATE, "/proc/PID/mountinfo", "overlayfs.rst"),
    Field("root.overlay.upper", RECREATE, "/proc/PID/mountinfo", "overlayfs.rst"),
    Field("process", RESTART, "/proc/PID", "proc(5)"),
    Field("process.cwd", RESTART, _RECORD, "chdir(2)"),
    Field("process.args", RESTART, _RECORD, "execve(2)"),
    Field("process.env", RESTART, _RECORD, "environ(7)"),
    Field("process.user.uid", RESTART, _RECORD, "credentials(7)"),
    Field("process.user.gid", RESTART, _RECORD, "credentials(7)"),
    Field("process.user.umask", RESTART, _RECORD, "umask(2)"),
    Field("process.user.additionalGids", RESTART, _RECORD, "setgroups(2)"),
    Field("process.capabilities.bounding", RESTART, "/proc/PID/status CapBnd", "capabilities(7)"),
    Field("process.capabilities.effective", RESTART, "/proc/PID/status CapEff", "capabilities(7)"),
    Field("process.capabilities.permitted", RESTART, "/proc/PID/status CapPrm", "capabilities(7)"),
    Field("process.capabilities.inheritable", RESTART, "/proc/PID/status CapInh", "capabilities(7)"),
    Field("process.capabilities.ambient", RESTART, "/proc/PID/status CapAmb", "capabilities(7)"),
    Field("process.rlimits", IN_PLACE, "/proc/PID/limits", "getrlimit(2)"),
    Field("process.noNewPrivileges", RESTART, "/proc/PID/status NoNewPrivs", "prctl(2)"),
    Field("process.oomScoreAdj", IN_PLACE, "/proc/PID/oom_score_adj", "proc(5)"),
    Field("mounts", RESTART, "/proc/PID/mountinfo", "mount_namespaces(7)"),
    Field("mounts[].destination", RESTART, "/proc/PID/mountinfo", "mount_namespaces(7)"),
    Field("mounts[].type", RESTART, "/proc/PID/mountinfo", "filesystems(5)"),
    Field("mounts[].source", RESTART, "/proc/PID/mountinfo", "mount(2)"),
    Field("mounts[].options", RESTART, "/proc/PID/mountinfo", "mount(8)"),
    Field("mounts[].uidMappings", RESTART, "/proc/PID/mountinfo", "mount_setattr(2)"),
    Field("mounts[].gidMappings", RESTART, "/proc/PID/mountinfo", "mount_setattr(2)"),
    Field("linux.namespaces", RECREATE, "/proc/PID/ns", "namespaces(7)"),
    Field("linux.uidMappings", RECREATE, "/proc/PID/uid_map", "user_namespaces(7)"),
    Field("linux.gidMappings", RECREATE, "/proc/PID/gid_map", "user_namespaces(7)"),
    Field("linux.timeOffsets", RESTART, "/proc/PID/timens_offsets", "time_namespaces(7)"),
    Field("linux.devices", RESTART, "/proc/PID/root/dev", "mknod(2)"),
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
    Field("linux.resources.pids.limit", IN_PLACE, "pids.max", "cgroup-v2.rst, pids.max"),
    Field("linux.resources.devices", IN_PLACE, "devices.list or the attached program", "bpf(2)"),
    Field("linux.resources.unified", IN_PLACE, "the named control file", "cgroup-v2.rst"),
    Field("linux.sysctl", IN_PLACE, "/proc/sys inside", "sysctl(8)"),
    Field("linux.rootfsPropagation", RESTART, "/proc/PID/mountinfo", "mount_namespaces(7)"),
    Field("linux.seccomp", RESTART, "/proc/PID/status Seccomp", "seccomp(2)"),
    Field("linux.maskedPaths", RESTART, "/proc/PID/mountinfo", "mount(2)"),
    Field("linux.readonlyPaths", RESTART, "/proc/PID/mountinfo", "mount_setattr(2)"),
    Field("interfaces", IN_PLACE, "rtnetlink(7) inside", "ip-link(8)"),
    Field("interfaces[].name", IN_PLACE, "rtnetlink(7) inside", "ip-link(8)"),
    Field("interfaces[].type", IN_PLACE, "rtnetlink(7) inside", "ip-link(8)"),
    Field("interfaces[].network", IN_PLACE, "rtnetlink(7) on the host", "bridge(8)"),
    Field("interfaces[].mac", IN_PLACE, "rtnetlink(7) inside", "ip-link(8)"),
    Field("interfaces[].mtu", IN_PLACE, "rtnetlink(7) inside", "ip-link(8)"),
    Field("interfaces[].addresses", IN_PLACE, "rtnetlink(7) inside", "ip-address(8)"),
    Field("interfaces[].gateway", IN_PLACE, "rtnetlink(7) inside", "ip-route(8)"),
    Field("interfaces[].routes", IN_PLACE, "rtnetlink(7) inside", "ip-route(8)"),
    # A Network's own.
    Field("type", RECREATE, "rtnetlink(7) on the host", "ip-link(8)"),
    Field("up", IN_PLACE, "rtnetlink(7) on the host", "ip-link(8)"),
    Field("addresses", IN_PLACE, "rtnetlink(7) on the host", "ip-address(8)"),
    Field("mtu", IN_PLACE, "rtnetlink(7) on the host", "ip-link(8)"),
)
_UNLISTED = Field("", RECREATE, "nowhere", "")
_BY_PATH = {row.path: row for row in ROWS}


def pattern(path: str) -> str:
    """`mounts[3].source` -> `mounts[].source`."""
    if "[" not in path:
        return path
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
