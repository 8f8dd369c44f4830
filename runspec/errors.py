"""The exception tree: every trouble runspec reports, as what, why, fix and where."""

from __future__ import annotations

import os


class Mark:
    """A place in a file the user wrote: 1-based line and column."""

    __slots__ = ("column", "file", "line")

    def __init__(self, file: str, line: int, column: int) -> None:
        self.file, self.line, self.column = file, line, column

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mark) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class RunspecError(Exception):
    """Any trouble that runspec names.

    Args:
        what: one line, what is wrong; begins with the spec path where there is one.
        why: the reason in the field's terms, with the man page it rests on.
        fix: what the user can do.
        at: where in the user's files.
        also: further errors found together with this one, in file order.
    """

    def __init__(self, what: str, why: str = "", fix: str = "", at: Mark | None = None,
                 also: tuple[RunspecError, ...] = ()) -> None:
        super().__init__(what)
        self.what, self.why, self.fix, self.at, self.also = what, why, fix, at, also

    def text(self) -> str:
        """`file:line:column: what`, then the why and fix lines, then the errors found with it."""
        lines = [f"{self.at}: {self.what}" if self.at else self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join([*lines, *(error.text() for error in self.also)])

    def __str__(self) -> str:
        return self.text()


class SpecError(RunspecError):
    """The user's file is wrong."""


class UsageError(RunspecError):
    """The command line is wrong."""


class HostError(RunspecError):
    """This kernel, or our privileges on it, cannot give what is asked."""


class StateError(RunspecError):
    """A container's id or status does not allow what is asked, or its state is damaged."""


class SyscallError(RunspecError, OSError):
    """A system call failed.

    Args:
        call: the call's name as in section 2 of the manual.
        path: the object it was given, empty where there is none.
        errno: the error number, errno(3).
    """

    def __init__(self, call: str, path: str, errno: int) -> None:
        RunspecError.__init__(self, f"{call}({path}): {os.strerror(errno)}")
        self.call, self.path, self.errno = call, path, errno


class StepError(RunspecError):
    """A Step of a plan failed; carries the Step, its cause, and what failed while undoing."""

    path: str | None = None     # the spec path that the Step serves
