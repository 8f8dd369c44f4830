"""What a failed Step is called, and where in the user's file it is put down to."""

from __future__ import annotations

import os
from errno import ENOENT

from runspec import abi
from runspec.errors import RunspecError, StepError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.errors import Mark
    from runspec.plan.steps.base import Step


def refused(op: abi.Op, errno: int) -> RunspecError:
    """What init's refusal to execute its program means, in runc's words, from which engines make their exit status."""
    reason = os.strerror(errno)
    reason = reason[:1].lower() + reason[1:]
    if op.number not in (abi.OP_FIND_PROGRAM, abi.OP_EXEC):
        return SyscallError(abi.OP_NAMES.get(op.number, "start").lower(), "", errno)
    program = op.s1.split(b"\0")[0].decode("utf-8", "replace")
    if errno == ENOENT:
        reason = f"stat {program}: {reason}" if "/" in program else "executable file not found in $PATH"
    return RunspecError(f'exec: "{program}": {reason}', "the program is looked for inside the container, execve(2)")


def step_error(step: Step | None, cause: RunspecError) -> StepError:
    """Name the Step and its spec path around a cause."""
    if step is None:
        return StepError(cause.what, cause.why, cause.fix, cause.at)
    where = f"{step.target}: {step.path}: " if step.path else f"{step.target}: "
    error = StepError(f"{where}{cause.what}", cause.why or f"while trying to: {step}", cause.fix, cause.at)
    error.__cause__ = cause
    error.path = step.path
    return error


def never_began(name: str) -> StepError:
    """Init of a container was killed between its start gate and its program."""
    error = StepError(f"{name}: process.args: init ended before its program began",
                      "it was killed from outside, or by the memory limit of its own group")
    error.path = "process.args"
    return error


def place(marks: dict[str, Mark], path: str) -> Mark | None:
    """The position of a path, or of the nearest thing around it that the file spells out."""
    while path and path not in marks:
        path = path[:max(path.rfind("."), path.rfind("["), 0)]
    return marks.get(path)
