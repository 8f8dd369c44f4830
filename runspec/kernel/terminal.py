"""Terminals: handing a master on, and the one that runspec itself is used at."""

from __future__ import annotations

import _socket
import errno
import os
from struct import Struct

from runspec.errors import HostError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SIZE = Struct("HHHH")      # struct winsize: rows, columns, two that nobody uses
_SECONDS = 10.0
_LONGEST = 107              # of a socket's path, unix(7)


class Terminals:
    """Part of the Kernel facade."""

    if TYPE_CHECKING:
        _act: Callable[[str], None]

    def send_console(self, path: str, master: int) -> None:
        """Send a terminal's master to a console socket.

        Args:
            path: a unix stream socket that somebody listens at.
            master: stays open here.

        Raises:
            HostError: it is no socket; nobody listens at it.
        """
        fd = -1
        one = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            one.settimeout(_SECONDS)
            where = path
            if len(os.fsencode(path)) > _LONGEST:
                directory, _, name = path.rpartition("/")
                fd = os.open(directory or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                where = f"/proc/self/fd/{fd}/{name}"
            self._act("connect")
            one.connect(where)
            self._act("sendmsg")
            one.sendmsg([b"/dev/ptmx"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master.to_bytes(4, "little"))])
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise HostError(f"console socket {path}: {reason[:1].lower()}{reason[1:]}",
                            "a terminal's master is handed to a unix stream socket that somebody listens at",
                            "start the listener first") from None
        finally:
            one.close()
            if fd >= 0:
                os.close(fd)

    def is_terminal(self, fd: int) -> bool:
        """Whether a descriptor is a terminal."""
        return os.isatty(fd)

    def window_size(self, fd: int) -> tuple[int, int]:
        """(rows, columns) of a terminal, zeros where it is none; tty_ioctl(4), TIOCGWINSZ."""
        import fcntl
        import termios
        try:
            rows, columns, _, _ = _SIZE.unpack(fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_SIZE.size)))
        except OSError:
            return 0, 0
        return rows, columns

    def set_window_size(self, fd: int, rows: int, columns: int) -> None:
        """Set it, which tells the programs at it; tty_ioctl(4), TIOCSWINSZ."""
        import fcntl
        import termios
        try:
            fcntl.ioctl(fd, termios.TIOCSWINSZ, _SIZE.pack(rows, columns, 0, 0))
        except OSError as error:
            if error.errno != errno.EIO:        # hung up
                raise SyscallError("ioctl", "TIOCSWINSZ", error.errno or errno.EIO) from None

    def make_raw(self, fd: int) -> Any:
        """Let every byte pass a terminal as it is, termios(3); returns what restore_terminal takes."""
        import termios
        import tty
        before = termios.tcgetattr(fd)
        tty.setraw(fd, termios.TCSANOW)
        return before

    def restore_terminal(self, fd: int, before: Any) -> None:
        """Undo make_raw; a terminal that has hung up needs nothing."""
        import termios
        try:
            termios.tcsetattr(fd, termios.TCSANOW, before)
        except termios.error:
            return
