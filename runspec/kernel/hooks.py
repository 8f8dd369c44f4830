"""Hooks: programs of the user's, run in our own namespaces by an interpreter that ends them when we end."""

from __future__ import annotations

from errno import ECHILD

from runspec import abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runspec.kernel.process import Child

# What an interpreter takes to end a hook's group once we hung up.
_SECONDS = 2.0
_KILLED = b"\x09\0\0\0"        # wait status of SIGKILL


class Hooks:
    """Part of the Kernel facade."""

    if TYPE_CHECKING:
        _act: Callable[[str], None]
        spawn: Callable[..., Child]

    def run_hook(self, ops: Sequence[abi.Op], timeout: float | None) -> tuple[int, bytes]:
        """Run a table whose last operation is a HOOK.

        Args:
            ops: the table, see ops.h.
            timeout: seconds after which the interpreter itself is given up; None waits for ever.

        Returns:
            (0, b"") where the hook succeeded, else (errno, wait status and last words), as HOOK reports them.
        """
        child = self.spawn(ops)
        errno, said, done = 0, b"", False
        try:
            while (report := child.receive(timeout)) is not None:
                if report.kind == abi.REPORT_DATA and report.index == len(ops) - 1:
                    said = report.data
                elif report.kind == abi.REPORT_ERROR:
                    errno, done = report.error, True
                elif report.kind == abi.REPORT_DONE:
                    done = True
            # Without a last report it was killed, and the hook with it.
            return (errno, said) if done else (ECHILD, _KILLED)
        finally:
            # It kills the hook's whole group when we hang up, which a signal to it alone would not.
            child.hang_up(_SECONDS)
            child.kill()
