"""How the processes run: scheduling, priorities, memory policy, personality, labels."""

from __future__ import annotations

from errno import EPERM
from struct import Struct

from runspec import abi
from runspec.plan.steps.base import LIVE, ChildStep, HostStep, Table, container_pids, own_procfs
from runspec.spec import units
from runspec.spec.model import IOPriority, MemoryPolicy, Scheduler, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# size, policy, flags, nice, priority, runtime, deadline, period, sched_setattr(2).
SCHED_ATTR = Struct("<IIQiIQQQ")
POLICIES = {"SCHED_OTHER": abi.SCHED_NORMAL, "SCHED_FIFO": abi.SCHED_FIFO, "SCHED_RR": abi.SCHED_RR,
            "SCHED_BATCH": abi.SCHED_BATCH, "SCHED_IDLE": abi.SCHED_IDLE, "SCHED_DEADLINE": abi.SCHED_DEADLINE}
DEFAULT_POLICY = Scheduler(policy="SCHED_OTHER")
# What the kernel itself takes where nothing was set: a class of none follows the nice value, ioprio_get(2).
DEFAULT_IO = 0
PERSONALITIES = {"LINUX": abi.PER_LINUX, "LINUX32": abi.PER_LINUX32}
# Mode -> numa_maps' word for it, numa(7).
MODES = {"MPOL_DEFAULT": "default", "MPOL_PREFERRED": "prefer", "MPOL_BIND": "bind", "MPOL_INTERLEAVE": "interleave",
         "MPOL_LOCAL": "local", "MPOL_PREFERRED_MANY": "prefer (many)",
         "MPOL_WEIGHTED_INTERLEAVE": "weighted interleave"}


def sched_attr(one: Scheduler) -> bytes:
    """A Scheduler as the kernel takes it."""
    flags = 0
    for word in one.flags:
        flags |= getattr(abi, word)
    return SCHED_ATTR.pack(SCHED_ATTR.size, POLICIES[one.policy], flags, one.nice or 0, one.priority or 0,
                           one.runtime or 0, one.deadline or 0, one.period or 0)


def sched_shown(attr: bytes) -> tuple[Any, ...]:
    """What counts of a struct sched_attr: policy, flags, and what its policy looks at.

    The kernel shows a deadline as the period where that was left out, and keeps the nice value of a
    real-time task for later.
    """
    _, policy, flags, nice, priority, runtime, deadline, period = SCHED_ATTR.unpack_from(attr)
    word = next((name for name, number in POLICIES.items() if number == policy), str(policy))
    flags &= ~(abi.SCHED_FLAG_UTIL_CLAMP | abi.SCHED_FLAG_KEEP_ALL)
    if policy == abi.SCHED_DEADLINE:
        return word, flags, runtime, deadline, period or deadline
    return word, flags, priority if policy in (abi.SCHED_FIFO, abi.SCHED_RR) else nice


def io_value(one: IOPriority) -> int:
    """Class and priority as ioprio_set(2) packs them; the idle class has one priority."""
    number: int = getattr(abi, one.class_)
    return number << abi.IOPRIO_CLASS_SHIFT | (0 if number == abi.IOPRIO_CLASS_IDLE else one.priority)


def io_shown(value: int) -> str:
    """`IOPRIO_CLASS_BE 4` for people."""
    number = value >> abi.IOPRIO_CLASS_SHIFT
    word = {abi.IOPRIO_CLASS_RT: "IOPRIO_CLASS_RT", abi.IOPRIO_CLASS_BE: "IOPRIO_CLASS_BE",
            abi.IOPRIO_CLASS_IDLE: "IOPRIO_CLASS_IDLE"}.get(number, "IOPRIO_CLASS_NONE")
    return f"{word} {value & (1 << abi.IOPRIO_CLASS_SHIFT) - 1}"


def bits(numbers: str) -> bytes:
    """A list such as "0-1,3" as a mask of whole machine words."""
    mask = 0
    for number in units.numbers(numbers):
        mask |= 1 << number
    return mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")


def policy_shown(one: MemoryPolicy) -> str:
    """A policy as numa_maps shows it, numa(7)."""
    word = MODES[one.mode]
    for flag, added in (("MPOL_F_STATIC_NODES", "=static"), ("MPOL_F_RELATIVE_NODES", "=relative")):
        if flag in one.flags:
            word += added
    return f"{word}:{one.nodes}" if one.nodes else word


class SetScheduling(ChildStep):
    """Scheduler, priority of input and output, memory policy and execution domain of init."""

    ALIKE = True
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    memory_policy: MemoryPolicy | None = None
    personality: str | None = None

    def ops(self, table: Table) -> None:
        """sched_setattr(2), ioprio_set(2), set_mempolicy(2), personality(2): execve(2) keeps all four."""
        if self.scheduler is not None:
            table.add(abi.OP_SCHEDULER, s1=sched_attr(self.scheduler))
        if self.io_priority is not None:
            table.add(abi.OP_IO_PRIORITY, a=io_value(self.io_priority))
        if self.memory_policy is not None:
            one = self.memory_policy
            mode = getattr(abi, one.mode)
            for flag in one.flags:
                mode |= getattr(abi, flag)
            table.add(abi.OP_MEMORY_POLICY, a=mode, s1=bits(one.nodes) if one.nodes else b"")
        if self.personality is not None:
            table.add(abi.OP_PERSONALITY, a=PERSONALITIES[self.personality])

    def why(self, errno: int) -> str:
        """EPERM comes from the group as well as from missing rights."""
        if self.scheduler is not None and errno == EPERM:
            return ("a group of cgroup v1 has no real-time budget until linux.resources.cpu.realtimeRuntime gives it "
                    "one, and SCHED_DEADLINE wants all processors of its group, sched(7)")
        return ""

    def __str__(self) -> str:
        words = [self.scheduler.policy] if self.scheduler is not None else []
        words += [io_shown(io_value(self.io_priority))] if self.io_priority is not None else []
        words += [policy_shown(self.memory_policy)] if self.memory_policy is not None else []
        words += [f"personality {self.personality}"] if self.personality is not None else []
        return "set " + ", ".join(words)


class SetLabel(ChildStep):
    """The security label that the container's program gets when it is executed."""

    ALIKE = True
    apparmor: str | None = None
    selinux: str | None = None

    def ops(self, table: Table) -> None:
        """Through a procfs of our own: the image's may lead the write elsewhere, CVE-2019-16884, CVE-2025-52881."""
        if self.apparmor is not None:
            table.add(abi.OP_WRITE, dir=own_procfs(table), s1="thread-self/attr/apparmor/exec",
                      s2=f"exec {self.apparmor}")
        if self.selinux is not None:
            table.add(abi.OP_WRITE, dir=own_procfs(table), s1="thread-self/attr/exec", s2=self.selinux)

    def __str__(self) -> str:
        return f"label it {self.apparmor or self.selinux}"


class SetTasks(HostStep):
    """Scheduler or input and output priority of a running container: of init, and of all that still has what init had.

    A program that chose its own keeps it.
    """

    PHASE = LIVE
    groups: tuple[str, ...]
    scheduler: Scheduler | None = None
    io: int | None = None

    def look(self, kernel: Any, run: Any) -> Any:
        """What init has, and the tasks that have the same."""
        pid = run.pid(self.target)
        before = self._get(kernel, pid)
        return {"before": before,
                "tasks": [task for task in self._tasks(kernel, pid) if self._get(kernel, task) == before]}

    def _tasks(self, kernel: Any, init: int) -> list[int]:
        found: list[int] = kernel.tasks_of(container_pids(kernel, init, self.groups))
        return found

    def _get(self, kernel: Any, task: int) -> Any:
        if self.io is not None:
            return kernel.io_priority(task)
        attr = kernel.scheduler(task)
        return attr[:SCHED_ATTR.size].hex() if attr else None

    def _set(self, kernel: Any, tasks: list[int], value: Any) -> None:
        for task in tasks:
            if self.io is not None:
                kernel.set_io_priority(task, value)
            else:
                attr = bytes.fromhex(value)
                kernel.set_scheduler(task, SCHED_ATTR.pack(SCHED_ATTR.size, *SCHED_ATTR.unpack_from(attr)[1:]))

    def apply(self, kernel: Any, run: Any) -> Any:
        """sched_setattr(2), ioprio_set(2)."""
        memo = self.look(kernel, run)
        self._set(kernel, memo["tasks"], self.io if self.io is not None else
                  sched_attr(self.scheduler or DEFAULT_POLICY).hex())
        return memo

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """What they had, those that are still the container's: a number may be a stranger's by now."""
        init = run.pid(self.target)
        if memo and init and memo["before"] is not None:
            now = set(self._tasks(kernel, init))
            self._set(kernel, [task for task in memo["tasks"] if task in now], memo["before"])

    def __str__(self) -> str:
        what = io_shown(self.io) if self.io is not None else (self.scheduler or DEFAULT_POLICY).policy
        return f"set {what} on the processes of {self.target}"


def scheduling_of(spec: Spec) -> SetScheduling:
    """All of it in one, for a further process of the container."""
    domain = spec.linux.personality
    return SetScheduling(target=spec.name, scheduler=spec.process.scheduler, io_priority=spec.process.io_priority,
                         memory_policy=spec.linux.memory_policy, personality=domain.domain if domain else None)


def plan(spec: Spec) -> list[ChildStep]:
    """Before the identity is taken: all of it needs rights of the set-up."""
    process, linux, steps = spec.process, spec.linux, list[ChildStep]()
    for path, one in (("process.scheduler", {"scheduler": process.scheduler}),
                      ("process.ioPriority", {"io_priority": process.io_priority}),
                      ("linux.memoryPolicy", {"memory_policy": linux.memory_policy}),
                      ("linux.personality", {"personality": linux.personality and linux.personality.domain})):
        if any(value is not None for value in one.values()):
            steps.append(SetScheduling(target=spec.name, path=path, **one))
    if process.apparmor_profile or process.selinux_label:
        steps.append(SetLabel(target=spec.name, apparmor=process.apparmor_profile, selinux=process.selinux_label,
                              path="process.apparmorProfile" if process.apparmor_profile else "process.selinuxLabel"))
    return steps


def change(spec: Spec, groups: tuple[str, ...], reasons: dict[str, str]) -> list[HostStep]:
    """What of these can be changed while the container runs.

    Args:
        reasons: path of a Change -> the words that explain it.
    """
    steps: list[HostStep] = []
    if "process.scheduler" in reasons:
        steps.append(SetTasks(target=spec.name, path="process.scheduler", groups=groups,
                              scheduler=spec.process.scheduler or DEFAULT_POLICY, reason=reasons["process.scheduler"]))
    if "process.ioPriority" in reasons:
        one = spec.process.io_priority
        steps.append(SetTasks(target=spec.name, path="process.ioPriority", groups=groups,
                              reason=reasons["process.ioPriority"],
                              io=io_value(one) if one is not None else DEFAULT_IO))
    return steps
