"""Step and Table: what a plan is made of, and how a child's steps become one operation table."""

from __future__ import annotations

from runspec import abi
from runspec.errors import HostError
from runspec.spec.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Phases, in the order in which one apply walks through them.
TRY, STOP, PREPARE, SPAWN, ATTACH, CHILD, HOOKS, LIVE, START, FINISH = range(10)
PHASES = ("try", "stop", "prepare", "spawn", "attach", "child", "hooks", "live", "start", "finish")

HOST_CWD = -100     # AT_FDCWD: the child's own root, the host's until it pivots


class Step(Frozen):
    """One effect of a plan.

    Args:
        target: the container or network it serves.
        path: the spec path that asked for it; "" where the whole document did.
        reason: why it is in the plan, for its line.
        early: done in the STOP phase whatever its own: the end of what is made anew.
    """

    PHASE = PREPARE
    target: str
    path: str = ""
    reason: str = ""
    early: bool = False

    @property
    def phase(self) -> int:
        """When it is done."""
        return STOP if self.early else self.PHASE

    def why(self, errno: int) -> str:
        """What an error number means here, where the kernel's word for it misleads."""
        return ""

    def remedy(self, errno: int) -> str:
        """What helps against it."""
        return ""


COMMON = len(Step.FIELDS)       # type: ignore[attr-defined]


class HostStep(Step):
    """A Step done by the host side, journaled before and after.

    `apply` may be repeated; `undo` accepts "already gone". The memo is what undo needs to know
    beyond the Step itself, and must be plain JSON.

    UNDO_LAST: taken back when all other Steps are, whenever it was done.
    """

    UNDO_LAST = False

    @property
    def ahead(self) -> bool:
        """Whether it may be announced before the Steps ahead of it are done: it has nothing to look at, and to undo
        it where it was not even begun does nothing."""
        return False

    def look(self, kernel: Any, run: Any) -> Any:
        """What undo must know even of an act whose end nobody saw: journaled with the intent.

        It is the memo until `apply` returns one.
        """

    def apply(self, kernel: Any, run: Any) -> Any:
        """Do it; returns the memo."""
        raise AssertionError(type(self).__name__)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Take it back; memo is what `apply` returned, or else what `look` did."""


def announced_with(steps: list[HostStep], index: int) -> int:
    """The end of the Steps that are announced at once, the first of which has this index.

    An end goes alone: what is undone asks who still lives.
    """
    end = index + 1
    while steps[index].phase != STOP and end < len(steps) and steps[end].ahead:
        end += 1
    return end


class ChildStep(Step):
    """A Step done by the interpreter inside: it has no undo, since killing the child drops it.

    ALIKE: its operations are the same for every target, and depend on nothing but its other fields and on the
    slots that are named by then.
    """

    PHASE = CHILD
    ALIKE = False

    def ops(self, table: Table) -> None:
        """Add this Step's operations to the child's table."""
        raise AssertionError(type(self).__name__)


class Chunk:
    """The operations that a Step added, and the slots that were named afterwards."""

    __slots__ = ("named", "next", "ops", "shared")

    def __init__(self, ops: tuple[abi.Op, ...], named: dict[str, int], next_: int) -> None:
        self.ops, self.named, self.next, self.shared = ops, named, next_, False


# Tables of containers that are alike are mostly the same: (named slots, class and fields of a Step) -> its Chunk.
_CHUNKS: dict[tuple[Any, ...], Chunk] = {}
_OPS: dict[tuple[Any, ...], abi.Op] = {}        # nobody changes one


class Table:
    """An operation table in the making: hands out slots, remembers which Step each op serves."""

    __slots__ = ("_next", "named", "ops", "owners", "step")

    def __init__(self, given: tuple[str, ...] = ()) -> None:
        self.ops: list[abi.Op] = []
        self.owners: list[Step | None] = []
        self.named: dict[str, int] = {name: i for i, name in enumerate(given)}
        self._next = len(given)
        self.step: Step | None = None

    def slot(self, name: str) -> int:
        """The slot of this name, a new one at first use."""
        found = self.named.get(name)
        if found is None:
            if self._next >= abi.TABLE_SLOTS:
                raise HostError(f"more than {abi.TABLE_SLOTS} things to be held by one process",
                                "each mount with id maps, or read-only in memory, is one", "write fewer of these")
            found = self._next
            self.named = {**self.named, name: found}    # a Chunk may hold the one before
            self._next += 1
        return found

    def add(self, number: int, *, slot: int = -1, dir: int = HOST_CWD, s1: bytes | str = b"",
            s2: bytes | str = b"", a: int = 0, b: int = 0, c: int = 0, pad: int = 0) -> None:
        """Append one operation; see ops.h for what the arguments mean."""
        key = (number, slot, dir, s1 if isinstance(s1, bytes) else s1.encode("utf-8", "surrogateescape"),
               s2 if isinstance(s2, bytes) else s2.encode("utf-8", "surrogateescape"), a, b, c, pad)
        op = _OPS.get(key)
        if op is None:
            op = _OPS[key] = abi.Op(*key)
        else:
            op.shared = True
        self.ops.append(op)
        self.owners.append(self.step)

    def fill(self, steps: list[ChildStep]) -> None:
        """Append the operations of these Steps, in order."""
        for step in steps:
            self.step = step
            if not step.ALIKE:
                step.ops(self)
                continue
            key = self._next, *self.named, type(step), *step.VALUES(step)[COMMON:]     # type: ignore[attr-defined]
            found, begin = _CHUNKS.get(key), len(self.ops)
            if found is None:
                step.ops(self)
                _CHUNKS[key] = Chunk(tuple(self.ops[begin:]), self.named, self._next)
                continue
            if not found.shared:
                found.shared = True
                for op in found.ops:
                    op.shared = True
            self.ops += found.ops
            self.owners += [step] * len(found.ops)
            self.named, self._next = found.named, found.next
        self.step = None

    def patience(self, seconds: float) -> float | None:
        """How long a child with this table may be silent: its hooks take their time, which the interpreter measures."""
        hooks = [op.a for op in self.ops if op.number == abi.OP_HOOK]
        return seconds + sum(hooks) / 1000 if all(hooks) else None


def own_procfs(table: Table) -> int:
    """The slot of a detached procfs of our own: writes to it cannot be led astray by any image."""
    if "procfs" not in table.named:
        fs, slot = table.slot("fs"), table.slot("procfs")
        table.add(abi.OP_FSOPEN, slot=fs, s1="proc")
        table.add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_CMD_CREATE)
        table.add(abi.OP_FSMOUNT, slot=slot, dir=fs)
    return table.slot("procfs")


def container_pids(kernel: Any, init: int, groups: tuple[str, ...]) -> set[int]:
    """The processes of a container: its init, and all of these groups."""
    return {init}.union(*(kernel.cgroup_procs(group) for group in groups))


def words(values: tuple[str, ...]) -> bytes:
    """Argument or environment words as EXEC reads them: each ended by a NUL."""
    return b"".join(value.encode("utf-8", "surrogateescape") + b"\0" for value in values)


class Change(Frozen):
    """One difference between file and machine.

    Args:
        target: container or network.
        path: spec path.
        before: what the machine has; after: what the file asks; ABSENT where there is none.
        impact: fields.IN_PLACE, RESTART or RECREATE.
        cause: "edited" (the file moved since the last apply), "drifted" (the machine did), "new", "removed".
    """

    target: str
    path: str
    before: Any
    after: Any
    impact: int
    cause: str


class Plan(Frozen):
    """Ordered Steps, the Changes that led to them, and quiet lines: what needs nothing, and warnings."""

    steps: tuple[Step, ...] = ()
    changes: tuple[Change, ...] = ()
    quiet: tuple[str, ...] = ()
