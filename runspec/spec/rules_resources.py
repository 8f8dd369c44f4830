"""Rules about limits that a schema cannot say."""

from __future__ import annotations

from runspec.spec.defaults import DEVICE_RULES
from runspec.spec.model import DeviceRule, Resources
from runspec.spec.names import nearest
from runspec.spec.rules_mounts import Faults
from runspec.spec.units import shown

PAGE = 4096
LARGEST = 2**63 - 1
PIDS_MAX = 4_194_304                    # PID_MAX_LIMIT, proc(5)
MAJORS, MINORS = 1 << 12, 1 << 20       # makedev(3)
CONTROLLERS = ("cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma")
# Files of a group that are no limits: writing them moves processes or stops them.
ACTING = ("cgroup.procs", "cgroup.threads", "cgroup.type", "cgroup.subtree_control", "cgroup.freeze",
          "cgroup.kill")
# cgroup v2 file -> the keys of this file that write it.
WRITTEN = {"cpu.weight": ("weight", "shares"), "cpu.max": ("quota", "period"), "cpu.max.burst": ("burst",),
           "cpu.idle": ("idle",), "cpuset.cpus": ("cpus",), "cpuset.mems": ("mems",)}
WRITTEN_MEMORY = {"memory.max": "limit", "memory.low": "reservation", "memory.swap.max": "swap"}


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


def _memory(faults: Faults, resources: Resources) -> None:
    memory, at = resources.memory, "linux.resources.memory"
    good = {}
    for name, value in (("limit", memory.limit), ("reservation", memory.reservation), ("swap", memory.swap)):
        if value is None or value == -1:
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
    if "reservation" in good and good["reservation"] > good.get("limit", LARGEST):
        faults.add(f"{at}.reservation", f"{good['reservation']} is more than the limit {good['limit']}",
                   "what is reserved is part of the limit", f"write {good['limit']} or less")
    _range(faults, f"{at}.swappiness", memory.swappiness, 0, 100, "swappiness", "memory.rst")


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
            if name in WRITTEN_MEMORY and getattr(resources.memory, WRITTEN_MEMORY[name]) is not None:
                keys.append(f"memory.{WRITTEN_MEMORY[name]}")
            if name == "pids.max" and "linux.resources.pids.limit" in faults.marks:
                keys.append("pids.limit")
            if keys:
                faults.add(here, f"writes what linux.resources.{keys[0]} writes", "one of them would be lost",
                           "remove one")


def check_resources(faults: Faults, resources: Resources) -> None:
    """Notes faults of `linux.resources`."""
    _cpu(faults, resources)
    _memory(faults, resources)
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
