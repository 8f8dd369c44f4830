"""How tasks that run already are scheduled and served: read and set from outside."""

from __future__ import annotations

import errno
import os

from runspec.errors import SyscallError
from runspec.kernel import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# struct sched_attr as Linux 5.3 left it; an older kernel answers with less.
_SCHED_ATTR_BYTES = 56


class Tasks:
    """Part of the Kernel facade."""

    if TYPE_CHECKING:
        _act: Callable[[str], None]

    def tasks_of(self, pids: set[int]) -> list[int]:
        """The threads of these processes, those that ended meanwhile left out."""
        found: list[int] = []
        for pid in sorted(pids):
            try:
                found += sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
            except OSError:
                continue
        return found

    def scheduler(self, task: int) -> bytes | None:
        """struct sched_attr of a task, None where it has ended.

        See: sched_getattr(2).
        """
        return native.sched_get(task, _SCHED_ATTR_BYTES)

    def set_scheduler(self, task: int, attr: bytes) -> None:
        """Set it; a task that has ended needs nothing."""
        self._act("sched_setattr")
        native.sched_set(task, attr)

    def io_priority(self, task: int) -> int | None:
        """Class and priority of a task as ioprio_get(2) packs them, None where it has ended."""
        return native.ioprio_get(task)

    def set_io_priority(self, task: int, value: int) -> None:
        """Set it; a task that has ended needs nothing."""
        self._act("ioprio_set")
        native.ioprio_set(task, value)

    def set_affinity(self, cpus: set[int]) -> None:
        """The processors on which this very process, and the next that it makes, may run.

        Raises:
            SyscallError: none of them is there.
        """
        try:
            os.sched_setaffinity(0, cpus)
        except OSError as error:
            shown = ",".join(map(str, sorted(cpus)))
            raise SyscallError("sched_setaffinity", shown, error.errno or errno.EIO) from None

    def landlock_version(self) -> int:
        """The version of the kernel's Landlock interface, 0 without it; landlock(7)."""
        return native.landlock_version()
