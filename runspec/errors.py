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
        lines += [f"  {word}: {told}" for word, told in zip(("why", "fix"), self.help(), strict=True) if told]
        return "\n".join([*lines, *(error.text() for error in self.also)])

    def help(self) -> tuple[str, str]:
        """Why it is so and what the user can do, as they are told."""
        return self.why, self.fix

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

    def help(self) -> tuple[str, str]:
        """What the error number alone says of it, where nobody knew more."""
        why, fix = meaning(self.errno or 0)
        return self.why or why, self.fix or fix

    def __str__(self) -> str:
        """One line, for whoever tells of it within another message."""
        return f"{self.what}: {self.why}" if self.why else self.what


def meaning(errno: int) -> tuple[str, str]:
    """Why a call fails with this number and what helps, for whoever knows nothing of the call."""
    import errno as numbers  # like the table, only when something failed

    return {
        numbers.EPERM: ("it is never allowed there, or needs a privilege that this process lacks",
                        "correct it, or run it with all capabilities; `runspec doctor FILE` tells of each key"),
        numbers.EACCES: ("its permissions, a mount's flags or a security module forbid it",
                         "allow it there, or run it as root"),
        numbers.ENOENT: ("it, or a directory above it, is not there", "make it, or correct its name"),
        numbers.EEXIST: ("something of this name is there already, made by somebody else",
                         "remove that, or use another name"),
        numbers.ENOTDIR: ("what should be a directory on the way is none", "correct the path"),
        numbers.EISDIR: ("it is a directory", "name a file"),
        numbers.ELOOP: ("symlinks lead in a circle, or lie where none may", "correct the path"),
        numbers.ENAMETOOLONG: ("the name is longer than the kernel takes", "use a shorter one"),
        numbers.EROFS: ("its file system is mounted read-only", "mount it writable, or use another place"),
        numbers.ENOSPC: ("its file system is full, or the kernel's bound on such things is reached",
                         "make room there (df tells how much there is), then run it again"),
        numbers.EDQUOT: ("the quota there is used up", "make room there, then run it again"),
        numbers.ENOMEM: ("the kernel has no memory left for it", "free some, then run it again"),
        numbers.EMFILE: ("this process holds as many files as it may", "raise its limit, ulimit -n"),
        numbers.ENFILE: ("the machine holds as many files as it may", "raise fs.file-max"),
        numbers.EBUSY: ("somebody uses it", "find and end who does, then run it again"),
        numbers.ETXTBSY: ("somebody executes it or writes to it", "end who does, then run it again"),
        numbers.EINVAL: ("the kernel takes no such value here", "correct the value; `dmesg` may tell more"),
        numbers.ENODEV: ("this kernel has nothing of this kind", "`runspec doctor FILE` tells what it lacks"),
        numbers.ENXIO: ("nothing is there that answers", "name another, or start what should answer there"),
        numbers.ENOSYS: ("this kernel has no such call", "`runspec doctor FILE` tells what it lacks"),
        numbers.EOPNOTSUPP: ("this kernel, or the file system, cannot do it",
                             "`runspec doctor FILE` tells what is lacking"),
        numbers.ESRCH: ("the process has ended", "see `runspec list`, then run it again"),
        numbers.ETIMEDOUT: ("nothing answered in time", "find out what hangs, then run it again"),
        numbers.EIO: ("the device, or the kernel, failed at it", "`dmesg` tells more"),
    }.get(errno, ("the kernel refused it", "`dmesg` may tell more; `runspec doctor` tells what this machine lacks"))


class StepError(RunspecError):
    """A Step of a plan failed; carries the Step, its cause, and what failed while undoing."""

    path: str | None = None     # the spec path that the Step serves
