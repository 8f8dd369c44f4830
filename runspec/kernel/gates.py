"""Start gates: a created container's init waits at a socket that is a file, until somebody comes to start it."""

from __future__ import annotations

import _socket
import errno
import os

from runspec.errors import SyscallError
from runspec.kernel.process import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Gates:
    """The part of Kernel that makes and opens start gates."""

    def _act(self, name: str) -> None:
        raise AssertionError(name)

    def listen(self, path: str) -> int:
        """A listening socket at this path, mode 0600, in the place of a former one.

        Never an abstract one: a container in our network namespace could reach that, CVE-2020-15257.

        Returns:
            A close-on-exec descriptor, the caller's to close.
        Raises:
            SyscallError: call "bind".
        """
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            for short in _short(path):
                self._act("bind")
                made.bind(short)
            made.listen(8)
            return made.detach()
        except OSError as error:
            raise SyscallError("bind", path, error.errno or errno.EIO) from None
        finally:
            os.umask(before)
            made.close()

    def knock(self, path: str, pid: int, start_time: int) -> Child:
        """The process that waits at a gate, as if it were our child: it can be told to go, and asked.

        Args:
            path: as listen had it.
            pid, start_time: who waits there.
        Raises:
            SyscallError: call "connect"; ENOENT or ECONNREFUSED where nobody waits.
        """
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            pidfd = os.pidfd_open(pid)
            try:
                for short in _short(path):
                    made.connect(short)
            except OSError:
                os.close(pidfd)
                raise
            child = Child(pid, pidfd, made.detach(), self._act)
        except OSError as error:
            raise SyscallError("connect", path, error.errno or errno.EIO) from None
        finally:
            made.close()
        if child.start_time != start_time:
            child.close()
            raise SyscallError("connect", path, errno.ESRCH)
        return child


def _short(path: str) -> Iterator[str]:
    """A path that leads to the same place and fits the 108 bytes of an address, unix(7)."""
    directory, _, name = path.rpartition("/")
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
