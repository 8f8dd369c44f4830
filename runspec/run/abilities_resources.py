"""What this machine's disks, page sizes, devices and groups cannot give of limits, asked of it before any step."""

from __future__ import annotations

from runspec.plan.cgroup import knob
from runspec.plan.steps import limits
from runspec.spec import units
from runspec.spec.frozen import key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runspec.kernel import Kernel
    from runspec.plan.host import Host
    from runspec.run.abilities import Refusal
    from runspec.spec.model import BlockIO, Cpu, Resources, Spec

BLOCK, CPU = "linux.resources.blockIO", "linux.resources.cpu"
HUGE = "/sys/kernel/mm/hugepages"
RDMA = "/sys/class/infiniband"
RT_PERIOD = 1_000_000


def complete(kernel: Kernel, host: Host, asked: Iterable[Resources]) -> Host:
    """The host with what only weights of disks need to know: who serves them, of which disks."""
    blocks = [one.block_io for one in asked]
    if not any(one.weight is not None or one.weight_device for one in blocks):
        return host
    known = _services(kernel, host)
    for block in blocks:
        for one in block.weight_device:
            disk = f"{one.major}:{one.minor}"
            if scheduler(kernel, disk) == "bfq":
                known.add(f"bfq {disk}")
    return host.replace(features=tuple(sorted({*host.features, *known})))


def _services(kernel: Kernel, host: Host) -> set[str]:
    """The files of cgroup2 that say weights of disks; none of them is in the root group.

    The cost model has files of its own there, and BFQ is a word among the schedulers of a disk.
    """
    known = set()
    if host.version_of("io") == 2:
        if any(kernel.exists(f"{host.unified}/{file}") for file in ("io.cost.qos", "io.weight")):
            known.add("io.weight")
        if any(b"bfq" in (kernel.try_read(f"/sys/block/{disk}/queue/scheduler") or b"")
               for disk in kernel.list_dir("/sys/block")):
            known.add("io.bfq.weight")
    return known


def scheduler(kernel: Kernel, disk: str) -> str:
    """The scheduler in force of a disk "MAJOR:MINOR", "" where it has none or is no whole disk."""
    text = (kernel.try_read(f"/sys/dev/block/{disk}/queue/scheduler") or b"").decode()
    return text.partition("[")[2].partition("]")[0]


def refusals(kernel: Kernel, host: Host, spec: Spec) -> list[Refusal]:
    """(path, what, why, fix) for each limit that this machine has nothing for."""
    resources = spec.linux.resources
    out: list[Refusal] = []
    if resources.block_io != type(resources.block_io)():
        out += _block(kernel, host, resources.block_io)
    if resources.hugepage_limits and host.version_of("hugetlb"):
        out += _huge(kernel, resources)
    if resources.rdma and host.version_of("rdma"):
        out += _rdma(kernel, resources)
    where = spec.linux.cgroups_path or f"/runspec/{spec.name}"
    out += _realtime(kernel, host, spec, where)
    lacking = _sets(host, resources.cpu)
    out += lacking
    if not lacking and resources.cpu.partition in ("root", "isolated") and host.version_of("cpuset") == 2:
        out += _partition(kernel, host, resources, where)
    return out


def _sets(host: Host, cpu: Cpu) -> list[Refusal]:
    """Cores and memory nodes that are not there, which the kernel refuses without a word for it."""
    if not host.version_of("cpuset"):
        return []
    return [(f"{CPU}.{word}", f"this machine does not have all of the {called} {asked}",
             f"it has {called} {has}, cpuset(7)", f'write {word}: "{has}", or some of them')
            for word, asked, has, called in (("cpus", cpu.cpus, host.cpus, "cores"),
                                             ("mems", cpu.mems, host.mems, "memory nodes"))
            if asked and units.numbers(asked) - units.numbers(has)]


def _block(kernel: Kernel, host: Host, block: BlockIO) -> list[Refusal]:
    version = 1 if host.version_of("blkio") == 1 else host.version_of("io")
    if not version:
        return [(BLOCK, "this machine has no controller of disks", "cgroups(7), blkio and io",
                 "mount it, or enable it in the kernel")]
    out: list[Refusal] = []
    if block.leaf_weight is not None:
        out.append((f"{BLOCK}.leafWeight", "not available here", "its scheduler, CFQ, is gone since Linux 5.0",
                    "remove it"))
    if version == 1:
        # The root of the hierarchy has BFQ's counts, only the groups below it have weights.
        weighs = kernel.exists(f"{dict(host.hierarchies)['blkio']}/blkio.bfq.io_serviced")
        costs = False
    else:
        weighs, costs = bool(_services(kernel, host)), True
    if block.weight is not None and not weighs:
        out.append((f"{BLOCK}.weight", "no scheduler of disks here knows weights",
                    "BFQ does, and on cgroup v2 the cost model, cgroup-v2.rst io.weight",
                    "modprobe bfq, or remove it"))
    model = (kernel.try_read(f"{host.unified}/io.cost.qos") or b"").decode() if costs else ""
    for index, one in enumerate(block.weight_device):
        at, disk = f"{BLOCK}.weightDevice[{index}]", f"{one.major}:{one.minor}"
        if one.leaf_weight is not None:
            out.append((f"{at}.leafWeight", "not available here", "its scheduler, CFQ, is gone since Linux 5.0",
                        "remove it"))
        missing = _disk(kernel, at, disk)
        if missing is not None:
            out.append(missing)
        elif scheduler(kernel, disk) != "bfq" and f"{disk} enable=1" not in model:
            name = name_of(kernel, disk)
            out.append((at, f"the disk {disk} ({name}) has no scheduler that knows weights",
                        f"it has {scheduler(kernel, disk) or 'none'}, /sys/block/{name}/queue/scheduler",
                        f"echo bfq > /sys/block/{name}/queue/scheduler, or remove the entry"))
    for field in ("read_bps", "write_bps", "read_iops", "write_iops"):
        for index, limit in enumerate(getattr(block, field)):
            missing = _disk(kernel, f"{BLOCK}.{key(field)}[{index}]", f"{limit.major}:{limit.minor}")
            if missing is not None:
                out.append(missing)
    return out


def _disk(kernel: Kernel, at: str, disk: str) -> Refusal | None:
    directory = f"/sys/dev/block/{disk}"
    if not kernel.exists(directory):
        return at, f"this machine has no disk {disk}", "lsblk(8) shows the numbers of those it has", "name one of them"
    if not kernel.exists(f"{directory}/queue"):
        return (at, f"{disk} ({name_of(kernel, disk)}) is no whole disk",
                "limits are kept for whole disks, cgroup-v2.rst io",
                "write the numbers of the disk it is a part of, lsblk(8)")
    return None


def name_of(kernel: Kernel, disk: str) -> str:
    """The kernel's name of a block device "MAJOR:MINOR"."""
    return (kernel.read_link(f"/sys/dev/block/{disk}") or disk).rpartition("/")[2]


def _huge(kernel: Kernel, resources: Resources) -> list[Refusal]:
    sizes = sorted(int(name.removeprefix("hugepages-")[:-2]) for name in kernel.list_dir(HUGE))
    known = [size_name(one) for one in sizes]
    return [(f"linux.resources.hugepageLimits[{index}].pageSize", f"this machine has no huge pages of {one.page_size}",
             f"it has {' and '.join(known) or 'none'}, {HUGE}", f"write {known[0]}" if known else "remove it")
            for index, one in enumerate(resources.hugepage_limits) if one.page_size not in known]


def size_name(kilobytes: int) -> str:
    """2048 -> "2MB", as the files of the hugetlb controller are named."""
    for shift, unit in ((20, "GB"), (10, "MB")):
        if kilobytes >> shift:
            return f"{kilobytes >> shift}{unit}"
    return f"{kilobytes}KB"


def _rdma(kernel: Kernel, resources: Resources) -> list[Refusal]:
    known = kernel.list_dir(RDMA)
    return [(f"linux.resources.rdma.{one.device}", f"this machine has no RDMA device {one.device}",
             f"it has {' and '.join(known) or 'none'}, {RDMA}", "name one of them" if known else "remove it")
            for one in resources.rdma if one.device not in known]


def _realtime(kernel: Kernel, host: Host, spec: Spec, where: str) -> list[Refusal]:
    cpu, scheduler_ = spec.linux.resources.cpu, spec.process.scheduler
    ranked = scheduler_ is not None and scheduler_.policy in ("SCHED_FIFO", "SCHED_RR")
    if (cpu.realtime_runtime is None and not ranked) or host.version_of("cpu") != 1:
        return []
    mount = dict(host.hierarchies)["cpu"]
    if not kernel.exists(f"{mount}/cpu.rt_runtime_us"):
        return [] if cpu.realtime_runtime is None else [
            (f"{CPU}.realtimeRuntime", "this kernel has no real-time budgets",
             "it was built or booted without CONFIG_RT_GROUP_SCHED: SCHED_FIFO needs none here, sched-rt-group.rst",
             "remove it")]
    if ranked and not cpu.realtime_runtime and scheduler_ is not None:
        return [("process.scheduler.policy", f"{scheduler_.policy} needs a real-time budget here",
                 "this kernel gives new groups none, sched-rt-group.rst",
                 "write linux.resources.cpu.realtimeRuntime, 100ms say")]
    above = limits.giver(f"{mount}{where}")
    # A group that is not there yet will have no budget.
    has = limits.budget_of(kernel, above) or [0, RT_PERIOD]
    runtime, period = cpu.realtime_runtime or 0, cpu.realtime_period or RT_PERIOD
    if has[0] < 0 or runtime * has[1] <= has[0] * period:
        return []
    return [(f"{CPU}.realtimeRuntime", f"{runtime} of {period} microseconds is more than the group above has",
             f"{above} has {has[0]} of {has[1]}, and it is not runspec's to change, sched-rt-group.rst",
             f"write less, or raise {above}/cpu.rt_runtime_us")]


def _partition(kernel: Kernel, host: Host, resources: Resources, where: str) -> list[Refusal]:
    at, kind, cpus = f"{CPU}.partition", resources.cpu.partition or "", resources.cpu.cpus or ""
    if knob.cpu_list(cpus) == knob.cpu_list(host.cpus):
        return [(at, f"{kind} would take every core", f"the host must keep one of {host.cpus}, cgroup-v2.rst",
                 "write fewer cpus")]
    directory = f"{host.unified}{where}"
    above = limits.giver(directory)
    if above == host.unified:
        if limits.own_parents(directory) and not _hands_down(kernel, host):
            return [(at, "this kernel takes cores only for groups at the top",
                     "it has no cpuset.cpus.exclusive, which came with Linux 6.7, cgroup-v2.rst",
                     f"write linux.cgroupsPath: /{where.rpartition('/')[2]}")]
        return []
    had = (kernel.try_read(f"{above}/cpuset.cpus.exclusive") or b"").decode().strip()
    if knob.cpu_list(f"{had},{cpus}") == knob.cpu_list(had):
        return []
    return [(at, f"the group above holds no exclusive cores {cpus}",
             f"{above} is not runspec's to change, cgroup-v2.rst cpuset.cpus.exclusive",
             f"write them to {above}/cpuset.cpus.exclusive, or leave linux.cgroupsPath out")]


def _hands_down(kernel: Kernel, host: Host) -> bool:
    """Whether groups can hold exclusive cores for those below; the root group has another file of that time."""
    return any(kernel.exists(f"{host.unified}/cpuset.cpus.{word}") for word in ("isolated", "exclusive"))
