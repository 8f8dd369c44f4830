"""Rules about limits that a schema cannot say."""

from __future__ import annotations

from runspec.spec.defaults import DEVICE_RULES
from runspec.spec.frozen import key as spelled
from runspec.spec.model import BlockIO, DeviceRule, Resources, ThrottleDevice, WeightDevice
from runspec.spec.names import nearest
from runspec.spec.rules_mounts import Faults
from runspec.spec.units import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PAGE = 4096
RT_PERIOD = 1_000_000                   # µs, of a new group
LARGEST = 2**63 - 1
PIDS_MAX = 4_194_304                    # PID_MAX_LIMIT, proc(5)
MAJORS, MINORS = 1 << 12, 1 << 20       # makedev(3)
THROTTLES = ("read_bps", "write_bps", "read_iops", "write_iops")
CONTROLLERS = ("cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma")
# Files of a group that are no limits: writing them moves processes or stops them.
ACTING = ("cgroup.procs", "cgroup.threads", "cgroup.type", "cgroup.subtree_control", "cgroup.freeze",
          "cgroup.kill")
# cgroup v2 file -> the keys of this file that write it.
WRITTEN = {"cpu.weight": ("weight", "shares"), "cpu.weight.nice": ("weight", "shares"), "cpu.max": ("quota", "period"),
           "cpu.max.burst": ("burst",), "cpu.idle": ("idle",), "cpuset.cpus": ("cpus",), "cpuset.mems": ("mems",),
           "cpuset.cpus.partition": ("partition",), "cpuset.cpus.exclusive": ("partition",)}
WRITTEN_MEMORY = {"memory.max": ("limit",), "memory.low": ("reservation", "low"), "memory.swap.max": ("swap",),
                  "memory.high": ("high",), "memory.min": ("min",), "memory.oom.group": ("oom_group",)}


def _range(faults: Faults, at: str, value: int | None, low: int, high: int, what: str, see: str) -> bool:
    if value is None or low <= value <= high:
        return True
    faults.add(at, f"{value} is out of range", f"{what} goes from {low} to {high}, {see}",
               f"write {low if value < low else high}" + (" or more" if value < low else " or less"))
    return False


def _cpu(faults: Faults, resources: Resources) -> None:
    cpu, at, see = resources.cpu, "linux.resources.cpu", 'cgroup-v2.rst "cpu"'
    _range(faults, f"{at}.weight", cpu.weight, 1, 10_000, "a weight", see)
    _range(faults, f"{at}.shares", cpu.shares, 2, 262_144, "shares", "sched-design-CFS.rst")
    if cpu.weight is not None and cpu.shares is not None:
        faults.add(f"{at}.shares", "contradicts weight",
                   "both say how the CPU is shared out, in different units",
                   "keep weight")
    if cpu.idle is not None and cpu.idle not in (0, 1):
        faults.add(f"{at}.idle", f"{cpu.idle} is neither 0 nor 1", see, "write 1 for idle scheduling")
    elif cpu.idle and (cpu.weight is not None or cpu.shares is not None):
        faults.add(f"{at}.idle", "contradicts weight", "an idle group has the least weight of all",
                   "remove one of them")
    period_ok = _range(faults, f"{at}.period", cpu.period, 1000, 1_000_000, "a period in microseconds", see)
    quota = cpu.quota
    if quota is not None and quota != -1 and quota < 1000:
        faults.add(f"{at}.quota", f"{quota} is too small",
                   f"the kernel takes 1000 microseconds or more per period, {see}",
                   "write a larger share such as 25%, or -1 for no limit")
    elif quota is not None and period_ok and quota > (cpu.period or 100_000) * 8192:
        faults.add(f"{at}.quota", f"{quota} is more than 8192 cores have",
                   "a quota is CPU time per period, 100% is one core",
                   "write -1 for no limit")
    if cpu.burst is not None:
        if cpu.burst < 0:
            faults.add(f"{at}.burst", f"{cpu.burst} is negative", see, "write 0 or more")
        elif quota is None or quota == -1:
            faults.add(f"{at}.burst", "needs a quota", f"a burst saves up unused quota, {see}",
                       "write quota too")
        elif cpu.burst > quota >= 1000:
            faults.add(f"{at}.burst", f"{cpu.burst} is more than the quota {quota}", see,
                       f"write {quota} or less")


def _realtime(faults: Faults, resources: Resources) -> None:
    cpu, at = resources.cpu, "linux.resources.cpu"
    runtime, period = cpu.realtime_runtime, cpu.realtime_period
    if runtime is not None and runtime > (period or RT_PERIOD):
        faults.add(f"{at}.realtimeRuntime", f"{runtime} is more than the period {period or RT_PERIOD}",
                   "it is CPU time of one core in each period, sched-rt-group.rst",
                   "write a shorter time, or a longer realtimePeriod")
    if period is not None and runtime is None:
        faults.add(f"{at}.realtimePeriod", "needs realtimeRuntime", "alone it gives no time, sched-rt-group.rst",
                   "write realtimeRuntime too")
    elif period == 0:
        faults.add(f"{at}.realtimePeriod", "0 is no period", "sched-rt-group.rst", "write it like 1s")
    if cpu.partition in ("root", "isolated") and not cpu.cpus:
        faults.add(f"{at}.partition", f"{cpu.partition} needs cores",
                   "a partition takes its cores from all others, cgroup-v2.rst", "write cpus too")


def _memory(faults: Faults, resources: Resources) -> None:
    memory, at = resources.memory, "linux.resources.memory"
    good = {}
    for name, value in (("limit", memory.limit), ("reservation", memory.reservation), ("swap", memory.swap),
                        ("kernel", memory.kernel), ("kernelTCP", memory.kernel_tcp), ("high", memory.high),
                        ("low", memory.low), ("min", memory.min)):
        # What is protected may be nothing.
        if value is None or value == -1 or (value == 0 and name in ("low", "min")):
            continue
        if value > LARGEST:
            faults.add(f"{at}.{name}", f"{value} is too large", f"the kernel counts to {LARGEST}",
                       "write -1 for no limit")
        elif value < PAGE:
            what = "negative" if value < 0 else "less than one page"
            faults.add(f"{at}.{name}", f"{value} is {what}", f"memory is given in pages of {PAGE} bytes",
                       "write a size such as 64Mi, or -1 for no limit")
        else:
            good[name] = value
    if "swap" in good and memory.limit is None:
        faults.add(f"{at}.swap", "needs a limit", "in OCI, swap is memory and swap together",
                   "write limit too")
    elif "swap" in good and memory.limit == -1:
        faults.add(f"{at}.swap", "is a limit where limit is none", "in OCI, swap is memory and swap together",
                   "write swap: -1")
    elif "swap" in good and good["swap"] < good.get("limit", 0):
        faults.add(f"{at}.swap", f"{good['swap']} is less than the limit {good['limit']}",
                   "in OCI, swap is memory and swap together",
                   f"write {good['limit']} for no swap at all, or more")
    for name in ("reservation", "low", "min"):
        if name in good and good[name] > good.get("limit", LARGEST):
            faults.add(f"{at}.{name}", f"{good[name]} is more than the limit {good['limit']}",
                       "what is reserved is part of the limit", f"write {good['limit']} or less")
    if memory.low is not None and memory.reservation is not None:
        faults.add(f"{at}.low", "contradicts reservation", "on cgroup v2 both are memory.low", "remove one of them")
    if "min" in good and "low" in good and good["min"] > good["low"]:
        faults.add(f"{at}.low", f"{good['low']} is less than min {good['min']}",
                   "what is never taken is never taken under light pressure either, cgroup-v2.rst",
                   f"write {good['min']} or more, or remove it")
    _range(faults, f"{at}.swappiness", memory.swappiness, 0, 100, "swappiness", "memory.rst")


def _block(faults: Faults, block: BlockIO) -> None:
    at = "linux.resources.blockIO"
    for name, value in (("weight", block.weight), ("leafWeight", block.leaf_weight)):
        _range(faults, f"{at}.{name}", value, 10, 1000, "a weight", "config-linux.md, Block IO")
    lists: list[tuple[str, tuple[Any, ...]]] = [("weightDevice", block.weight_device)]
    lists += [(spelled(word), getattr(block, word)) for word in THROTTLES]
    for name, devices in lists:
        for index, one in enumerate(devices):
            here = f"{at}.{name}[{index}]"
            _range(faults, f"{here}.major", one.major, 0, MAJORS - 1, "a major number", "makedev(3)")
            _range(faults, f"{here}.minor", one.minor, 0, MINORS - 1, "a minor number", "makedev(3)")
            if index and (one.major, one.minor) == (devices[index - 1].major, devices[index - 1].minor):
                faults.add(here, f"{one.major}:{one.minor} is given twice", "one of them would be lost", "remove one")
            if isinstance(one, WeightDevice) and one.weight is None and one.leaf_weight is None:
                faults.add(here, "gives no weight", "it says which share of this disk the container has",
                           "write weight: 100")
            elif isinstance(one, ThrottleDevice) and one.rate < 1:
                faults.add(f"{here}.rate", f"{one.rate} is no rate", "nothing could be read or written at all",
                           "write 1 or more, or remove the entry")


def _others(faults: Faults, resources: Resources) -> None:
    sizes: set[str] = set()
    for index, huge in enumerate(resources.hugepage_limits):
        at = f"linux.resources.hugepageLimits[{index}]"
        if huge.page_size in sizes:
            faults.add(at, f"{huge.page_size} is given twice", "a size has one limit", "remove one")
        sizes.add(huge.page_size)
        if huge.limit < -1 or huge.limit > LARGEST:
            faults.add(f"{at}.limit", f"{huge.limit} is out of range", f"the kernel counts to {LARGEST}",
                       "write a size such as 64Mi, or -1 for no limit")
    for one in resources.rdma:
        if one.hca_handles is None and one.hca_objects is None:
            faults.add(f"linux.resources.rdma.{one.device}", "limits nothing",
                       "hcaHandles and hcaObjects are what can be limited, rdma.rst",
                       "write hcaHandles: 2, or remove the device")
        if any(char.isspace() or char == "=" for char in one.device):
            faults.add(f"linux.resources.rdma.{one.device}", f"{shown(one.device)} is no name of a device",
                       "its limits are written in one line behind it, rdma.rst", "`rdma dev` shows the names")
    names: set[str] = set()
    for index, link in enumerate(resources.network.priorities):
        at = f"linux.resources.network.priorities[{index}]"
        if link.name in names:
            faults.add(at, f"{shown(link.name)} is given twice", "an interface has one priority", "remove one")
        names.add(link.name)
        if any(char.isspace() or char == "/" for char in link.name):
            faults.add(f"{at}.name", f"{shown(link.name)} is no link's name", "ip-link(8)", "`ip link` shows the names")


def _rule(faults: Faults, at: str, rule: DeviceRule) -> None:
    _range(faults, f"{at}.major", rule.major, 0, MAJORS - 1, "a major number", "makedev(3)")
    _range(faults, f"{at}.minor", rule.minor, 0, MINORS - 1, "a minor number", "makedev(3)")
    if rule.type == "a" and (rule.major is not None or rule.minor is not None):
        faults.add(at, "has numbers but no type",
                   "type a means all devices, and c 1:3 is another one than b 1:3",
                   "write type: c or type: b")


def _unified(faults: Faults, resources: Resources) -> None:
    at = "linux.resources.unified"
    for name, value in resources.unified:
        here = f"{at}.{name}"
        controller, dot, rest = name.partition(".")
        plain = name.isascii() and all(c.isalnum() or c in "._-" for c in name)
        if not plain or not dot or not rest or ".." in name:
            faults.add(here, f"{shown(name)} is no file of a control group",
                       "it is a controller's name, a dot and a word",
                       "write it like memory.high")
        elif name in ACTING:
            faults.add(here, f"{shown(name)} is no limit",
                       "writing it moves or stops processes, cgroup-v2.rst",
                       "remove it")
        elif controller not in CONTROLLERS and not name.startswith("cgroup.max."):
            near = nearest(controller, CONTROLLERS)
            faults.add(here, f"{shown(controller)} is no controller of cgroup v2", "cgroup-v2.rst names them",
                       f"did you mean {near}.{rest}?" if near
                       else "remove it; unified reaches cgroup v2 alone")
        elif not value or "\n" in value or "\0" in value:
            faults.add(here, "has no value of one line", "a control file takes one line", "write the line")
        else:
            keys = [f"cpu.{key}" for key in WRITTEN.get(name, ()) if getattr(resources.cpu, key) is not None
                    # A weight that nobody asked for is the default, which the file's own words replace.
                    and not (key == "weight" and "linux.resources.cpu.weight" not in faults.marks)]
            keys += [f"memory.{spelled(key)}" for key in WRITTEN_MEMORY.get(name, ())
                     if getattr(resources.memory, key) is not None]
            keys += [key for key, asked in _listed(resources, name) if asked]
            if name == "pids.max" and "linux.resources.pids.limit" in faults.marks:
                keys.append("pids.limit")
            if keys:
                faults.add(here, f"writes what linux.resources.{keys[0]} writes", "one of them would be lost",
                           "remove one")


def _listed(resources: Resources, file: str) -> tuple[tuple[str, bool], ...]:
    """(key, whether it is used) of those lists that write a file of cgroup v2."""
    block = resources.block_io
    if file == "io.max":
        return tuple((f"blockIO.{spelled(word)}", bool(getattr(block, word))) for word in THROTTLES)
    if file in ("io.weight", "io.bfq.weight"):
        return (("blockIO.weight", block.weight is not None), ("blockIO.weightDevice", bool(block.weight_device)))
    if file == "rdma.max":
        return (("rdma", bool(resources.rdma)),)
    return tuple(("hugepageLimits", True) for one in resources.hugepage_limits
                 if file in (f"hugetlb.{one.page_size}.max", f"hugetlb.{one.page_size}.rsvd.max"))


def check_resources(faults: Faults, resources: Resources) -> None:
    """Notes faults of `linux.resources`."""
    _cpu(faults, resources)
    _realtime(faults, resources)
    _memory(faults, resources)
    _block(faults, resources.block_io)
    _others(faults, resources)
    limit = resources.pids.limit
    if limit is not None and limit != -1 and not 1 <= limit <= PIDS_MAX:
        faults.add("linux.resources.pids.limit", f"{limit} is out of range",
                   f"at least init is one task, and the kernel has at most {PIDS_MAX}",
                   "write a number such as 64, or -1 for no limit")
    if resources.devices is not DEVICE_RULES:
        for index, rule in enumerate(resources.devices):
            _rule(faults, f"linux.resources.devices[{index}]", rule)
    if resources.unified:
        _unified(faults, resources)
