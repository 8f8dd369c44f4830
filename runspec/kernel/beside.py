"""A copy of this process that reads what we need not read ourselves."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable


class Beside:
    """Part of the Kernel facade."""

    _route: Socket | None

    def beside(self, look: Callable[[], bool]) -> int:
        """Let a copy of this process look at something and change nothing, while we go on.

        Args:
            look: whether all is as it should be; what it raises means that it is not.
        Returns:
            Its pid, for `agrees`.
        """
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            self._route = None      # an answer is for who has asked, and that socket is ours
            status = int(not look())
        finally:
            os._exit(status)        # what we hold stays ours: nothing is closed, removed or written

    def agrees(self, pid: int) -> bool:
        """Wait for such a copy; whether it said that all is as it should be."""
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
