"""The one model that YAML and OCI bundles become: frozen trees with OCI's names and units.

`None` always means "not asked for"; a default is a value that a door (from_yaml) wrote in.
Field names are OCI's in snake_case; `key(cls, field)` gives the camelCase spelling of a file.
"""

from __future__ import annotations

from runspec.spec.frozen import Frozen
from runspec.spec.model_net import (
    Carried as Carried,
    Dns as Dns,
    Interface as Interface,
    Line as Line,
    Network as Network,
    NetworkQos as NetworkQos,
    Pool as Pool,
    Port as Port,
    Qos as Qos,
    Route as Route,
    Traffic as Traffic,
    Vlan as Vlan,
)


class Overlay(Frozen):
    """A writable layer above an image: in memory (volatile) or kept in `upper`."""

    volatile: bool = True
    upper: str | None = None            # absolute path; None with volatile


class Root(Frozen):
    """The root file system: exactly one of path, image.

    No file has the digest: a door that looks at images fills it in.
    """

    path: str | None = None             # absolute
    readonly: bool = False
    image: str | None = None            # "busybox", "host", "dir:/absolute", "tar:FILE", "oci:DIR[:TAG]", ...
    digest: str | None = None           # "sha256:..." of the image, for kinds that have one
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


class Size(Frozen):
    """A terminal's size in characters, tty_ioctl(4)."""

    height: int
    width: int


class Scheduler(Frozen):
    """How init is scheduled, sched(7); runtime, deadline and period are nanoseconds."""

    policy: str                         # "SCHED_OTHER" FIFO RR BATCH ISO IDLE DEADLINE
    nice: int | None = None             # -20..19
    priority: int | None = None         # 1..99 with FIFO and RR
    flags: tuple[str, ...] = ()         # "SCHED_FLAG_RESET_ON_FORK", ...
    runtime: int | None = None
    deadline: int | None = None
    period: int | None = None


class IOPriority(Frozen):
    """Priority of block input and output, ioprio_set(2)."""

    # `class` in a file.
    class_: str                         # "IOPRIO_CLASS_RT" BE IDLE
    priority: int = 0                   # 0 (first) to 7


class CPUAffinity(Frozen):
    """Where a process made by `exec` runs: CPU lists, before and after it is in the container's groups."""

    initial: str | None = None
    final: str | None = None


class Process(Frozen):
    """What runs: OCI `process`."""

    terminal: bool = False
    console_size: Size | None = None

    cwd: str = "/"
    args: tuple[str, ...]
    env: tuple[str, ...] = ()           # "NAME=value", order kept
    user: User = User()
    capabilities: Capabilities = Capabilities()
    rlimits: tuple[Rlimit, ...] = ()    # sorted by type
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: CPUAffinity | None = None
    apparmor_profile: str | None = None
    selinux_label: str | None = None


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
    realtime_runtime: int | None = None     # µs per realtime period
    realtime_period: int | None = None      # µs
    partition: str | None = None        # "member", "root", "isolated": cgroup v2's cpuset partition


class Memory(Frozen):
    """Memory limits in bytes, -1 for none; swap is memory + swap as in OCI."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None       # 0..100, v1 only
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None
    kernel: int | None = None           # v1's, which no kernel enforces any more
    kernel_tcp: int | None = None       # v1
    high: int | None = None             # v2: above it, reclaim and throttling
    low: int | None = None              # v2: protected as long as others have something to give
    min: int | None = None              # v2: never reclaimed
    oom_group: bool | None = None       # v2: the OOM killer ends all of the container or nothing


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


class WeightDevice(Frozen):
    """The weight of one block device for this group."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(Frozen):
    """A limit of one block device: bytes or operations per second."""

    major: int
    minor: int
    rate: int


class BlockIO(Frozen):
    """Block input and output: weights 10..1000, limits for each device sorted by numbers."""

    weight: int | None = None
    leaf_weight: int | None = None      # v1's CFQ, gone since Linux 5.0
    weight_device: tuple[WeightDevice, ...] = ()
    read_bps: tuple[ThrottleDevice, ...] = ()
    write_bps: tuple[ThrottleDevice, ...] = ()
    read_iops: tuple[ThrottleDevice, ...] = ()
    write_iops: tuple[ThrottleDevice, ...] = ()


class HugepageLimit(Frozen):
    """Bytes of huge pages of one size, -1 for none; page_size as the kernel names it: "2MB"."""

    page_size: str
    limit: int


class Rdma(Frozen):
    """Handles and objects of one RDMA device, None for no limit."""

    device: str
    hca_handles: int | None = None
    hca_objects: int | None = None


class InterfacePriority(Frozen):
    """The priority of the group's traffic on one interface, net_prio."""

    name: str
    priority: int


class NetworkGroup(Frozen):
    """OCI `linux.resources.network`: marks for the host's traffic control, cgroup v1 only."""

    class_id: int | None = None
    priorities: tuple[InterfacePriority, ...] = ()      # sorted by name


class Resources(Frozen):
    """OCI `linux.resources`; unified is cgroup v2 file -> value, sorted."""

    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    pids: Pids = Pids()
    block_io: BlockIO = BlockIO()
    hugepage_limits: tuple[HugepageLimit, ...] = ()     # sorted by page size
    network: NetworkGroup = NetworkGroup()
    rdma: tuple[Rdma, ...] = ()                         # sorted by device
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


class SyscallArg(Frozen):
    """A condition on one argument of a system call, seccomp_rule_add(3)."""

    index: int                          # 0..5
    value: int                          # 0..2**64-1
    value_two: int | None = None        # with SCMP_CMP_MASKED_EQ: value is the mask
    op: str                             # "SCMP_CMP_EQ", ...


class SyscallRule(Frozen):
    """What happens on some system calls, where all conditions hold."""

    names: tuple[str, ...]
    action: str                         # "SCMP_ACT_ALLOW", ...
    errno_ret: int | None = None
    args: tuple[SyscallArg, ...] = ()


class Seccomp(Frozen):
    """OCI `linux.seccomp`, seccomp(2)."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str | None = None
    listener_metadata: str | None = None
    syscalls: tuple[SyscallRule, ...] = ()


class IntelRdt(Frozen):
    """OCI `linux.intelRdt`: a class of service of the cache and memory bandwidth, resctrl.rst."""

    clos_id: str | None = None
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str | None = None
    mem_bw_schema: str | None = None
    enable_monitoring: bool | None = None


class MemoryPolicy(Frozen):
    """On which nodes memory is taken, set_mempolicy(2)."""

    mode: str                           # "MPOL_BIND", ...
    nodes: str | None = None            # "0-1"
    flags: tuple[str, ...] = ()


class Personality(Frozen):
    """The execution domain, personality(2)."""

    domain: str                         # "LINUX", "LINUX32"
    flags: tuple[str, ...] = ()


class NetDevice(Frozen):
    """An interface of the host that moves into the container, there perhaps under another name."""

    host: str
    name: str | None = None


class Linux(Frozen):
    """OCI `linux`."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    time_offsets: tuple[TimeOffset, ...] = ()       # sorted by clock
    devices: tuple[Device, ...] = ()
    cdi_devices: tuple[str, ...] = ()               # "vendor/class=name"; in a file {cdi: NAME} among the devices
    cgroups_path: str | None = None
    resources: Resources = Resources()
    sysctl: tuple[tuple[str, str], ...] = ()        # sorted
    rootfs_propagation: str | None = None
    seccomp: Seccomp | str | None = None        # "default": the filter of spec/seccomp.py
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str | None = None
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    personality: Personality | None = None
    net_devices: tuple[NetDevice, ...] = ()         # sorted by host


class LandlockPath(Frozen):
    """What processes may do below a path of the container, landlock(7)."""

    path: str
    access: tuple[str, ...]             # words of landlock(7): "execute", "read_file", ..., "read", "write"


class LandlockNet(Frozen):
    """The TCP ports that processes may use."""

    bind: tuple[int, ...] | None = None
    connect: tuple[int, ...] | None = None


class Landlock(Frozen):
    """What processes are kept to beside every other right; None: not restricted in this regard."""

    fs: tuple[LandlockPath, ...] | None = None
    net: LandlockNet | None = None
    scope: tuple[str, ...] = ()         # "abstract_unix_socket", "signal"


class Hook(Frozen):
    """A program of the user's that runs at one point of the container's life; timeout in seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Hooks(Frozen):
    """OCI `hooks`, each list in its order."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


NO_HOOKS = Hooks()


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
    hooks: Hooks = NO_HOOKS
    linux: Linux = Linux()
    landlock: Landlock | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    interfaces: tuple[Interface, ...] = ()
    ports: tuple[Port, ...] = ()
    dns: Dns | None = None
    extra_hosts: tuple[tuple[str, str], ...] = ()   # (name, address), sorted
