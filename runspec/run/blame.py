"""What a failed Step is called, and where in the user's file it is put down to."""

from __future__ import annotations

import os
from errno import ENOENT

from runspec import abi
from runspec.errors import RunspecError, StepError, SyscallError
from runspec.plan.steps import hooks
from runspec.plan.steps.base import ChildStep
from runspec.plan.steps.cgroup import KillContainer
from runspec.plan.steps.process import unexecuted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runspec.errors import Mark
    from runspec.kernel import Kernel
    from runspec.plan.steps.base import HostStep, Step, Table
    from runspec.run.request import Wanted
    from runspec.run.store import Record

# Operations whose text is no text.
BINARY = (abi.OP_NETLINK, abi.OP_SCHEDULER, abi.OP_AFFINITY, abi.OP_MEMORY_POLICY, abi.OP_SETGROUPS, abi.OP_SECCOMP)


# Why a process outlives SIGKILL, and what helps.
STUCK = ("it hangs in the kernel, mostly on a disk or a network mount that does not answer, or is traced",
         "see /proc/PID/stack for where, end that, then run it again")


def refused(op: abi.Op, errno: int) -> RunspecError:
    """What init's refusal to execute its program means, in runc's words, from which engines make their exit status."""
    reason = os.strerror(errno)
    reason = reason[:1].lower() + reason[1:]
    if op.number not in (abi.OP_FIND_PROGRAM, abi.OP_EXEC):
        return SyscallError(abi.OP_NAMES.get(op.number, "start").lower(), "", errno)
    program = op.s1.split(b"\0")[0].decode("utf-8", "replace")
    if errno == ENOENT:
        reason = f"stat {program}: {reason}" if "/" in program else "executable file not found in $PATH"
    return RunspecError(f'exec: "{program}": {reason}', *unexecuted(program, errno))


def answer(table: Table, index: int, errno: int, said: bytes) -> StepError:
    """What a child's answer means: the Step that its operation serves, and why that failed.

    Args:
        said: what it reported before.
    """
    op, step = table.ops[index], table.owners[index]
    if op.number == abi.OP_HOOK and step is not None:
        nth = sum(table.owners[at] is step and table.ops[at].number == abi.OP_HOOK for at in range(index))
        return step_error(step.replace(path=f"{step.path}[{nth}]"), hooks.failure(op, errno, said))
    call = abi.OP_NAMES[op.number].lower()
    detail = "" if op.number in BINARY else op.s1.split(b"\0")[0].decode("utf-8", "replace")
    cause: RunspecError = SyscallError(call, detail, errno)
    if op.number == abi.OP_FIND_PROGRAM:
        cause = refused(op, errno)
    if isinstance(step, ChildStep) and op.number == abi.OP_CHDIR:
        step = step.replace(path="process.cwd")
    return step_error(step, cause)


def step_error(step: Step | None, cause: RunspecError) -> StepError:
    """Name the Step and its spec path around a cause."""
    if isinstance(cause, SyscallError) and step is not None:
        number = cause.errno or 0
        cause.why, cause.fix = step.why(number) or cause.why, step.remedy(number) or cause.fix
    why, fix = cause.help()
    if step is None:
        return StepError(cause.what, why, fix, cause.at)
    where = f"{step.target}: {step.path}: " if step.path else f"{step.target}: "
    if not cause.why:
        why = f"while trying to: {step}" + (f"; {why}" if why else "")
    error = StepError(f"{where}{cause.what}", why, fix, cause.at)
    error.__cause__ = cause
    error.path = step.path
    return error


def ended(done: list[tuple[HostStep, Any]]) -> str:
    """What no undo brings back of Steps that were done; "" where nothing had ended."""
    names = dict.fromkeys(step.target for step, _ in done if isinstance(step, KillContainer))
    return f"what ran in {' and '.join(names)} had ended before, and stays ended" if names else ""


def placed(error: RunspecError, step: Step | None, failed: list[str], gone: str,
           places: Callable[[str], dict[str, Mark]]) -> StepError:
    """The error of a run, with the place of its Step in the user's file.

    Args:
        step: at which it was.
        failed: what went wrong while undoing.
        gone: what was not brought back, see ended.
    """
    if not isinstance(error, StepError):
        error = step_error(step, error)
    if error.at is None and step is not None:
        from runspec.spec.from_yaml import find

        # A child's answer names the Step that its operation serves, not the one we were at.
        path = step.path if error.path is None else error.path
        shown, error.at = find(places(step.target), path)
        error.what = error.what.replace(f"{step.target}: {path}: ", f"{step.target}: {shown}: ", 1)
    if failed:
        error.why += "\n  and while undoing: " + "; ".join(failed)
    if gone:
        error.why += f"\n  {gone}"
    return error


def killed(kernel: Kernel, name: str, when: str, record: Record | None) -> StepError:
    """Init of a container was killed before its program began.

    Args:
        when: what it had not come to.
        record: what was to be written of it: its groups tell whether its own memory limit is the cause.
    """
    path, why = "process.args", "it was killed from outside, or by the memory limit of a group above its own"
    fix = "apply it again; `dmesg` tells what the kernel killed"
    limit = ((record.spec.get("linux") or {}).get("resources") or {}).get("memory", {}).get("limit") if record else None
    if record is not None and limit is not None and any(_oom_kills(kernel, group) for group in record.cgroups):
        path, why = "linux.resources.memory.limit", (
            f"{limit} bytes are too few for it: the kernel killed it for want of memory")
        fix = "write a larger limit, such as 64Mi"
    error = StepError(f"{name}: {path}: init ended {when}", why, fix)
    error.path = path
    return error


def _oom_kills(kernel: Kernel, group: str) -> int:
    """How many processes the limit of a group has ended.

    See: cgroup-v2.rst "memory.events", cgroup-v1/memory.rst "memory.oom_control".
    """
    for file in ("memory.events", "memory.oom_control"):
        for line in (kernel.try_read(f"{group}/{file}") or b"").decode().splitlines():
            word, _, number = line.partition(" ")
            if word == "oom_kill":
                return int(number)
    return 0


class Places:
    """target -> marks, asked only when an error is to be placed."""

    def __init__(self, wanted: list[Wanted]) -> None:
        self._wanted = {one.model.name: one for one in wanted}

    def __call__(self, name: str) -> dict[str, Mark]:
        """The marks of one target, empty where no document declares it."""
        one = self._wanted.get(name)
        return one.marks if one is not None else {}
