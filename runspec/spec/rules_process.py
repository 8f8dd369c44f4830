"""Rules on how the processes run, see read_process.py."""

from __future__ import annotations

from runspec.spec.model import IntelRdt, Process, Scheduler, Spec
from runspec.spec.rules_mounts import Faults, check_path
from runspec.spec.units import shown

NICE = ("SCHED_OTHER", "SCHED_BATCH")
RANKED = ("SCHED_FIFO", "SCHED_RR")
NO_NODES, SOME_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL"), ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE",
                                                        "MPOL_PREFERRED_MANY")


def check_attributes(faults: Faults, spec: Spec) -> None:
    """All of them."""
    if spec.process.scheduler is not None:
        _scheduler(faults, spec.process.scheduler)
    if spec.process.console_size is not None and not spec.process.terminal:
        faults.add("process.consoleSize", "says nothing without a terminal", "config.md, Process",
                   "remove it, or write terminal: true")
    _priority(faults, spec.process)
    _labels(faults, spec)
    _memory(faults, spec)
    if spec.linux.intel_rdt is not None:
        _class(faults, spec.linux.intel_rdt)
    if spec.linux.personality is not None and spec.linux.personality.flags:
        faults.add("linux.personality.flags", "has no value that OCI knows", "config-linux.md, Personality",
                   "remove it")
    _landlock(faults, spec)


def _scheduler(faults: Faults, one: Scheduler) -> None:
    at, policy = "process.scheduler", one.policy
    if policy == "SCHED_ISO":
        faults.add(f"{at}.policy", "SCHED_ISO is not made by any kernel", "sched(7) reserves the name only",
                   "write SCHED_OTHER with a nice value")
    if one.nice is not None and policy not in NICE:
        faults.add(f"{at}.nice", f"says nothing with {policy}", f"only {' and '.join(NICE)} look at it, sched(7)",
                   "remove it")
    if policy in RANKED and one.priority is None:
        faults.add(at, f"{policy} needs a priority", "it goes from 1 to 99, sched(7)", "write priority: 1")
    elif policy not in RANKED and one.priority:
        faults.add(f"{at}.priority", f"says nothing with {policy}",
                   f"only {' and '.join(RANKED)} look at it, sched(7)", "remove it")
    elif policy in RANKED and one.priority == 0:
        faults.add(f"{at}.priority", "0 is out of range", "it goes from 1 to 99, sched(7)",
                   "write a number in this range")
    times = (("runtime", one.runtime), ("deadline", one.deadline), ("period", one.period))
    if policy != "SCHED_DEADLINE":
        for name, value in times:
            if value is not None:
                faults.add(f"{at}.{name}", f"says nothing with {policy}", "only SCHED_DEADLINE looks at it, sched(7)",
                           "remove it")
    elif not one.runtime or not one.deadline:
        faults.add(at, "SCHED_DEADLINE needs runtime and deadline", "sched(7)",
                   "write runtime: 10ms, deadline: 30ms, period: 30ms")
    elif not one.runtime <= one.deadline <= (one.period or one.deadline):
        faults.add(at, "runtime, deadline and period do not grow in this order",
                   "the kernel demands runtime <= deadline <= period, sched_setattr(2)", "make the later ones longer")
    elif one.runtime < 1024:
        faults.add(f"{at}.runtime", f"{one.runtime} ns is too short", "the kernel takes 1024 ns or more, sched(7)",
                   "write a longer time")


def _priority(faults: Faults, process: Process) -> None:
    one = process.io_priority
    if one is not None and not 0 <= one.priority <= 7:
        faults.add("process.ioPriority.priority", f"{one.priority} is out of range",
                   "it goes from 0, the first, to 7, ioprio_set(2)", "write a number in this range")
    affinity = process.exec_cpu_affinity
    if affinity is not None and affinity.initial is None and affinity.final is None:
        faults.add("process.execCPUAffinity", "names no processors", "initial or final says which",
                   'write it like {initial: "0", final: "1"}')


def _labels(faults: Faults, spec: Spec) -> None:
    for at, label in (("process.apparmorProfile", spec.process.apparmor_profile),
                      ("process.selinuxLabel", spec.process.selinux_label),
                      ("linux.mountLabel", spec.linux.mount_label)):
        if label is not None and any(ord(char) < 32 for char in label):
            faults.add(at, "holds a control character", "a label is one line of text", "remove it")
    if spec.process.apparmor_profile and spec.process.selinux_label:
        faults.add("process.selinuxLabel", "contradicts apparmorProfile", "a kernel enforces one of the two modules",
                   "remove one")


def _memory(faults: Faults, spec: Spec) -> None:
    one, at = spec.linux.memory_policy, "linux.memoryPolicy"
    if one is None:
        return
    if one.mode in SOME_NODES and one.nodes is None:
        faults.add(at, f"{one.mode} needs nodes", "set_mempolicy(2)", 'write nodes: "0"')
    if one.mode in NO_NODES and one.nodes is not None:
        faults.add(f"{at}.nodes", f"says nothing with {one.mode}", "set_mempolicy(2) refuses it", "remove it")
    if {"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"} <= set(one.flags):
        faults.add(f"{at}.flags", "MPOL_F_STATIC_NODES contradicts MPOL_F_RELATIVE_NODES", "set_mempolicy(2)",
                   "remove one")
    if "MPOL_F_NUMA_BALANCING" in one.flags and one.mode not in ("MPOL_BIND", "MPOL_PREFERRED_MANY"):
        faults.add(f"{at}.flags", f"MPOL_F_NUMA_BALANCING says nothing with {one.mode}", "set_mempolicy(2)",
                   "remove it, or write mode: MPOL_BIND")


def _class(faults: Faults, one: IntelRdt) -> None:
    at, name = "linux.intelRdt", one.clos_id
    if name is not None and name != "/":
        bad = next((char for char in name if char in "/\0\n"), "")
        if bad or name in (".", "..", "info", "mon_groups", "mon_data"):
            faults.add(f"{at}.closID", f"{shown(name)} is no class's name",
                       "it is a directory of resctrl, and the kernel has some of its own there, resctrl.rst",
                       "choose another name, or / for the default class")
    for path, line, head in ((f"{at}.l3CacheSchema", one.l3_cache_schema, "L3"),
                             (f"{at}.memBwSchema", one.mem_bw_schema, "MB:"),
                             *((f"{at}.schemata[{i}]", line, "") for i, line in enumerate(one.schemata))):
        if line is None:
            continue
        if "\n" in line or "\0" in line:
            faults.add(path, "is not one line", "a line of the schemata file, resctrl.rst", "write one line")
        elif not line.startswith(head) or ":" not in line or "=" not in line:
            faults.add(path, f"{shown(line)} is no schema", "it names a resource and its domains, resctrl.rst",
                       f"write it like {'MB:0=50' if head == 'MB:' else 'L3:0=ff'}")


def _landlock(faults: Faults, spec: Spec) -> None:
    one = spec.landlock
    if one is None:
        return
    if one.fs is None and one.net is None and not one.scope:
        faults.add("landlock", "restricts nothing", "fs, net and scope say what is restricted",
                   "add one of them, or remove the key")
    for index, rule in enumerate(one.fs or ()):
        check_path(faults, f"landlock.fs[{index}].path", rule.path)
        if not rule.access:
            faults.add(f"landlock.fs[{index}].access", "names no right", "what no entry names is refused anyway",
                       "remove the entry, or write access: [read]")
    if one.net is not None and one.net.bind is None and one.net.connect is None:
        faults.add("landlock.net", "restricts nothing", "bind and connect list the ports that may be used",
                   "write connect: [443], or remove the key")
