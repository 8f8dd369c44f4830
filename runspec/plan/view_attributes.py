"""How the processes run as path -> value: as asked, and as the kernel shows it."""

from __future__ import annotations

from runspec.plan.facts import Facts
from runspec.plan.steps import attributes, landlock
from runspec.plan.values import ABSENT, UNKNOWN
from runspec.spec.model import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RECORDED = frozenset((
    "landlock", "process.terminal", "process.consoleSize", "process.execCPUAffinity.initial",
    "process.execCPUAffinity.final", "linux.mountLabel"))


def expect_attributes(spec: Spec, view: dict[str, Any]) -> None:
    """What proc(5), sched_getattr(2) and ioprio_get(2) show of init."""
    process, linux = spec.process, spec.linux
    view["process.terminal"] = process.terminal
    if process.console_size is not None:
        view["process.consoleSize"] = (process.console_size.width, process.console_size.height)
    if process.scheduler is not None:
        view["process.scheduler"] = attributes.sched_shown(attributes.sched_attr(process.scheduler))
    if process.io_priority is not None:
        view["process.ioPriority"] = attributes.io_shown(attributes.io_value(process.io_priority))
    if linux.personality is not None:
        view["linux.personality"] = linux.personality.domain
    if linux.memory_policy is not None:
        view["linux.memoryPolicy"] = attributes.policy_shown(linux.memory_policy)
    for path, label in (("process.apparmorProfile", process.apparmor_profile),
                        ("process.selinuxLabel", process.selinux_label), ("linux.mountLabel", linux.mount_label)):
        if label is not None:
            view[path] = label
    if process.exec_cpu_affinity is not None:
        view["process.execCPUAffinity.initial"] = process.exec_cpu_affinity.initial
        view["process.execCPUAffinity.final"] = process.exec_cpu_affinity.final
    if spec.landlock is not None:
        view["landlock"] = landlock.shown(spec.landlock)


def see_attributes(spec: Spec, last: Spec | None, facts: Facts, view: dict[str, Any]) -> None:
    """What was asked and is no more shows what it left."""
    def asked(read: Any) -> bool:
        return any(one is not None and read(one) is not None for one in (spec, last))

    if asked(lambda one: one.process.scheduler):
        shown = attributes.sched_shown(facts.scheduler) if facts.scheduler else UNKNOWN
        default = attributes.sched_shown(attributes.sched_attr(attributes.DEFAULT_POLICY))
        view["process.scheduler"] = ABSENT if spec.process.scheduler is None and shown == default else shown
    if asked(lambda one: one.process.io_priority):
        value = facts.io_priority
        view["process.ioPriority"] = UNKNOWN if value is None else attributes.io_shown(value)
        if spec.process.io_priority is None and value is not None and not value >> 13:
            view["process.ioPriority"] = ABSENT
    if spec.linux.personality is not None:
        words = {number: word for word, number in attributes.PERSONALITIES.items()}
        view["linux.personality"] = words.get(facts.personality & 0xff, hex(facts.personality))
    if spec.linux.memory_policy is not None:
        view["linux.memoryPolicy"] = facts.memory_policy.partition(" ")[0] or UNKNOWN
    for path, label in (("process.apparmorProfile", spec.process.apparmor_profile),
                        ("process.selinuxLabel", spec.process.selinux_label)):
        if label is not None:
            view[path] = label if facts.label.partition(" (")[0] == label else facts.label or ABSENT
