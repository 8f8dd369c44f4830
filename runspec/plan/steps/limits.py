"""Limits that take more than one write: memory that must shrink first, real-time budgets, partitions of cores."""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOENT
from math import lcm

from runspec.errors import HostError, SyscallError
from runspec.plan.cgroup.knob import cpu_list, limit
from runspec.plan.steps.base import FINISH, PREPARE, START, HostStep
from runspec.plan.steps.cgroup import OWN, WriteCgroupFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.plan.cgroup import Write

TRIES = 8       # another run may change the parent that we share between our two writes
HIGH = "memory.high"
V1_LIMITS = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")


def own_parents(directory: str) -> list[str]:
    """The groups above that are runspec's own, innermost first: /runspec and what lies below it."""
    head, own, rest = directory.partition(f"{OWN}/")
    if not own:
        return []
    words = rest.split("/")[:-1]
    return ["/".join((head + OWN, *words[:count])) for count in range(len(words), -1, -1)]


def giver(directory: str) -> str:
    """The nearest group above that is not runspec's own: what it has is not ours to change."""
    return (*[directory], *own_parents(directory))[-1].rsplit("/", 1)[0]


class ShrinkMemory(HostStep):
    """A smaller memory limit of a running container: what does not fit is reclaimed first, nobody is killed."""

    PHASE = PREPARE
    directory: str
    value: str
    before: str

    def apply(self, kernel: Any, run: Any) -> Any:
        """cgroup-v2.rst: writing memory.high reclaims, writing memory.max kills what does not fit."""
        high, size = f"{self.directory}/{HIGH}", limit(self.value)
        was = kernel.read_text(high).strip()
        if 0 <= size < self._used(kernel):
            kernel.write(high, self.value)
            try:
                used = self._used(kernel)
                if used > size:
                    raise HostError(f"{used} bytes are in use and cannot be reclaimed, more than {size}",
                                    "with this limit the kernel would kill processes, cgroup-v2.rst memory.max",
                                    "write a larger limit, or end some of what runs in it first")
                kernel.write(f"{self.directory}/memory.max", self.value)
            finally:
                kernel.write(high, was)
        else:
            kernel.write(f"{self.directory}/memory.max", self.value)
        return was

    def look(self, kernel: Any, run: Any) -> Any:
        """What memory.high was."""
        return (kernel.try_read(f"{self.directory}/{HIGH}") or b"max").decode().strip()

    def _used(self, kernel: Any) -> int:
        return int(kernel.read_text(f"{self.directory}/memory.current"))

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """The former limit, and memory.high in case we ended in between."""
        if kernel.exists(f"{self.directory}/memory.max"):
            kernel.write(f"{self.directory}/memory.max", self.before)
            kernel.write(f"{self.directory}/{HIGH}", memo)

    def __str__(self) -> str:
        return f"reclaim, then write {self.value!r} to {self.directory}/memory.max"


class WriteMemoryLimit(HostStep):
    """A limit of memory on v1: the kernel reclaims, and refuses where that is not enough."""

    PHASE = PREPARE
    file: str
    value: str
    before: str | None = None

    def apply(self, kernel: Any, run: Any) -> Any:
        """memory.rst."""
        try:
            kernel.write(self.file, self.value)
        except SyscallError as error:
            if error.errno != EBUSY:
                raise
            used = kernel.read_text(self.file.replace("limit_in_bytes", "usage_in_bytes")).strip()
            raise HostError(f"{used} bytes are in use and cannot be reclaimed, more than {self.value}",
                            "the kernel refuses a limit that does not fit, memory.rst",
                            "write a larger limit, or end some of what runs in it first") from None

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """A live container gets its former value back; a new one goes with its group."""
        if self.before is not None and kernel.exists(self.file):
            kernel.write(self.file, self.before)

    def __str__(self) -> str:
        return f"write {self.value!r} to {self.file}"


class SetRealtime(HostStep):
    """Time for real-time tasks, in the group and in those above it that are runspec's own.

    Args:
        runtime, period: µs; a runtime of 0 is no time.
        fresh: the group is new, and goes with all that runs in it.
    """

    directory: str
    runtime: int
    period: int
    fresh: bool = False

    @property
    def phase(self) -> int:
        """A budget ends when nobody needs it any more: after the scheduler of what runs was changed."""
        return super().phase if self.runtime or self.early else START

    PHASE = PREPARE

    def look(self, kernel: Any, run: Any) -> Any:
        """The budget of the group; none of a new one."""
        return budget_of(kernel, self.directory)

    def apply(self, kernel: Any, run: Any) -> Any:
        """sched-rt-group.rst: what children have together, their parent must have."""
        self._set(kernel, self.runtime, self.period)

    def _set(self, kernel: Any, runtime: int, period: int) -> None:
        for tries in range(TRIES, -1, -1):
            for parent in reversed(own_parents(self.directory)):
                give(kernel, parent, (self.directory, runtime, period))
            try:
                write_budget(kernel, self.directory, runtime, period)
                break
            except SyscallError as error:
                if error.errno == EBUSY:
                    raise HostError("real-time tasks run in it", "their budget cannot end before them, sched(7)",
                                    "give them another scheduler, or end them") from None
                if error.errno != EINVAL:
                    raise
                if not tries:
                    above = giver(self.directory)
                    has = budget_of(kernel, above) or [0, 0]
                    raise HostError(f"{above} cannot give {runtime} of {period} microseconds for real-time tasks",
                                    f"it has {has[0]} of {has[1]} for all below it, sched-rt-group.rst",
                                    f"write a shorter realtimeRuntime, or raise {above}/cpu.rt_runtime_us") from None
        take_back(kernel, self.directory)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """What it had; then its parents need less.

        What still ends in a new group is waited for: its real-time tasks would keep the budget, and a group
        removed with one counts for those above.
        """
        if memo and kernel.exists(f"{self.directory}/cpu.rt_runtime_us"):
            if self.fresh:
                kernel.kill_cgroup([self.directory])
            self._set(kernel, *memo)

    def __str__(self) -> str:
        return f"give real-time tasks of {self.directory} {self.runtime} of {self.period} microseconds"


def budget_of(kernel: Any, directory: str) -> list[int] | None:
    """[runtime, period] in µs; None where the group or its files are not there."""
    found = [kernel.try_read(f"{directory}/cpu.rt_{word}_us") for word in ("runtime", "period")]
    return None if None in found else [int(one) for one in found]


def write_budget(kernel: Any, directory: str, runtime: int, period: int) -> None:
    """Both files, in the order in which the share of CPU never exceeds the larger of the two."""
    now = budget_of(kernel, directory)
    files = [(f"{directory}/cpu.rt_{word}_us", value, had) for (word, value), had in
             zip((("runtime", runtime), ("period", period)), now or (-1, -1), strict=True)]
    for file, value, had in files if now and period < now[1] else reversed(files):
        if value != had:
            kernel.write(file, str(value))


def give(kernel: Any, parent: str, asked: tuple[str, int, int]) -> None:
    """Raise a parent's budget to what its children have with this one; never lower it.

    Where the parent's own parent has no more, the kernel refuses this write, or the child's that follows.
    """
    now = budget_of(kernel, parent)
    if now is None:
        return
    need = needed(kernel, parent, now[1], asked)
    if need > now[0]:
        try:
            kernel.write(f"{parent}/cpu.rt_runtime_us", str(need))
        except SyscallError as error:
            if error.errno != EINVAL:
                raise


def needed(kernel: Any, parent: str, period: int, asked: tuple[str, int, int] | None = None) -> int:
    """The runtime of a parent, in its period, that covers its children's."""
    shares = []
    for name in kernel.list_dir(parent):
        child = f"{parent}/{name}"
        has = budget_of(kernel, child)
        if has is None:
            continue
        if asked is not None and asked[0] == child:
            has = list(asked[1:])
        elif asked is not None and asked[0].startswith(f"{child}/"):
            has[0] = needed(kernel, child, has[1], asked)
        shares.append((max(has[0], 0), has[1]))
    whole = lcm(*(one for _, one in shares))
    return -(-sum(runtime * period * (whole // one) for runtime, one in shares) // whole)


def take_back(kernel: Any, directory: str) -> None:
    """Lower the budgets of runspec's own groups above to what their children have, innermost first."""
    for parent in own_parents(directory):
        try:
            now = budget_of(kernel, parent)
            if now is None:
                continue
            need = needed(kernel, parent, now[1])
            if need < now[0]:
                kernel.write(f"{parent}/cpu.rt_runtime_us", str(need))
        except SyscallError as error:
            # A sibling that begins right now needs it again, or the last one took the group along.
            if error.errno not in (EINVAL, EBUSY, ENOENT):
                raise


class SetPartition(HostStep):
    """Cores of a group and whether they are its alone, handed down through those above that are runspec's own.

    Args:
        kind: member, root or isolated.
        cpus: its cores, "" for its parent's.
    """

    PHASE = PREPARE
    directory: str
    kind: str
    cpus: str

    def look(self, kernel: Any, run: Any) -> Any:
        """[kind, cores, exclusive cores] of the group."""
        found = [kernel.try_read(f"{self.directory}/cpuset.cpus{word}") for word in (".partition", "", ".exclusive")]
        return None if found[0] is None else [(one or b"").decode().strip() for one in found]

    def apply(self, kernel: Any, run: Any) -> Any:
        """cgroup-v2.rst "cpuset.cpus.partition", "cpuset.cpus.exclusive": a remote partition below /runspec."""
        self._set(kernel, self.kind, self.cpus, self.cpus if self.kind != "member" else "")
        said = kernel.read_text(f"{self.directory}/cpuset.cpus.partition").strip()
        if said != self.kind:
            raise HostError(f"the kernel says: {said}", "a partition needs cores that it can have alone, cgroup-v2.rst",
                            "name cores that no other container and no other group of the host is kept to")

    def _set(self, kernel: Any, kind: str, cpus: str, exclusive: str) -> None:
        file = f"{self.directory}/cpuset.cpus"
        if not kernel.read_text(f"{file}.partition").startswith("member"):
            kernel.write(f"{file}.partition", "member")
        hands = kernel.exists(f"{file}.exclusive")
        if hands and kernel.read_text(f"{file}.exclusive").strip():
            kernel.write(f"{file}.exclusive", "\n")
        if cpu_list(kernel.read_text(file).strip()) != cpu_list(cpus):
            # A group with processes cannot be without cores of its own again: it gets all that there are.
            above = self.directory.rsplit("/", 1)[0]
            kernel.write(file, cpus or kernel.read_text(f"{above}/cpuset.cpus.effective").strip())
        if exclusive and hands:
            self._hand_down(kernel, file, exclusive)
        if kind != "member":
            kernel.write(f"{file}.partition", kind.partition(" ")[0])
        release(kernel, self.directory)

    def _hand_down(self, kernel: Any, file: str, exclusive: str) -> None:
        for tries in range(TRIES, -1, -1):
            try:
                for parent in reversed(own_parents(self.directory)):
                    had = kernel.read_text(f"{parent}/cpuset.cpus.exclusive").strip()
                    want = cpu_list(f"{had},{exclusive}")
                    if want != had:
                        kernel.write(f"{parent}/cpuset.cpus.exclusive", want)
                kernel.write(f"{file}.exclusive", exclusive)
                return
            except SyscallError as error:
                if error.errno != EINVAL:
                    raise
                if not tries:
                    raise HostError(f"the cores {exclusive} cannot be its alone",
                                    "another group beside it or beside /runspec has them, cgroup-v2.rst "
                                    "cpuset.cpus.exclusive", "name other cores, or take them from that group") from None

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """What it was."""
        if memo and kernel.exists(f"{self.directory}/cpuset.cpus.partition"):
            self._set(kernel, *memo)

    def __str__(self) -> str:
        cores = f" of cores {self.cpus}" if self.cpus else ""
        return f"make {self.directory} a cpuset partition: {self.kind}{cores}"


def release(kernel: Any, directory: str) -> None:
    """Let runspec's own groups above hold no more exclusive cores than their children, innermost first."""
    for parent in own_parents(directory):
        try:
            text = kernel.try_read(f"{parent}/cpuset.cpus.exclusive")
            if not text or not text.strip():
                continue
            below = [kernel.try_read(f"{parent}/{name}/cpuset.cpus.exclusive") for name in kernel.list_dir(parent)]
            want = cpu_list(",".join(one.decode().strip() for one in below if one))
            if want != text.decode().strip():
                kernel.write(f"{parent}/cpuset.cpus.exclusive", want or "\n")
        except SyscallError as error:
            if error.errno not in (EINVAL, EBUSY, ENOENT):
                raise


def step(one: Write, directory: str, now: str | None, **common: Any) -> HostStep:
    """The Step of one write.

    Args:
        directory: the group.
        now: all that the file says; None in a new group.
        common: target, path and reason.
    """
    if one.file == "cpuset.cpus.partition":
        return SetPartition(directory=directory, kind=one.value, cpus=one.cpus, **common)
    if now is not None and one.file == "memory.max" and one.value != "max":
        return ShrinkMemory(directory=directory, value=one.value, before=now, **common)
    kind = WriteMemoryLimit if now is not None and one.file in V1_LIMITS else WriteCgroupFile
    return kind(file=f"{directory}/{one.file}", value=one.value, before=now if one.before is None else one.before,
                **common)


class ReturnShares(HostStep):
    """What the groups above have only for the sake of a container whose processes are gone."""

    PHASE = FINISH
    groups: tuple[str, ...]

    def apply(self, kernel: Any, run: Any) -> Any:
        """cpu.rt_runtime_us on v1, cpuset.cpus.exclusive on v2.

        Its own first: a removed group still counts for its parent until the kernel has forgotten it.
        """
        for group in self.groups:
            if budget_of(kernel, group) is not None:
                kernel.write(f"{group}/cpu.rt_runtime_us", "0")
                take_back(kernel, group)
            if kernel.exists(f"{group}/cpuset.cpus.partition"):
                kernel.write(f"{group}/cpuset.cpus.partition", "member")
                if kernel.exists(f"{group}/cpuset.cpus.exclusive"):
                    kernel.write(f"{group}/cpuset.cpus.exclusive", "\n")
                release(kernel, group)

    def __str__(self) -> str:
        return f"return what {self.target} had of real-time budgets and exclusive cores"
