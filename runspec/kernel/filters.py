"""Filters of system calls: compiling them, asking what the kernel takes, and handing on their listeners."""

from __future__ import annotations

import _socket
import errno
import os
import stat
from struct import Struct

from runspec.errors import SyscallError
from runspec.kernel import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runspec.kernel.process import Child, Report

_WORDS = Struct("=QQ")      # SECCOMP in ops.h: address, number
_SECONDS = 10.0


class Filters:
    """Part of the Kernel facade."""

    if TYPE_CHECKING:
        _act: Callable[[str], None]

    def filter_compiler(self) -> str:
        """Version of libseccomp and the machine's own architecture: what a compiled filter depends on."""
        from runspec.kernel.native import seccomp
        return seccomp.version()

    def compile_filter(self, default: int, architectures: Sequence[str],
                       rules: Iterable[tuple[str, int, tuple[tuple[int, str, int, int], ...]]]) -> bytes:
        """The program of a filter, see native.seccomp.compile_filter."""
        from runspec.kernel.native import seccomp
        return seccomp.compile_filter(default, architectures, rules)

    def seccomp_knows(self, flags: int) -> bool:
        """Whether this kernel knows SECCOMP_FILTER_FLAG_*, seccomp(2)."""
        return native.seccomp_knows(flags)

    def has_userfaultfd(self) -> bool:
        """Whether a process may wait in a page fault, userfaultfd(2)."""
        return native.has_userfaultfd()

    def read_own(self, path: str) -> bytes | None:
        """The content of a regular file that nobody but us may write, None where there is none such."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise SyscallError("openat", path, error.errno or errno.EIO) from None
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                return None
            return os.read(fd, found.st_size)
        finally:
            os.close(fd)

    def take_listener(self, child: Child, report: Report) -> tuple[int, int]:
        """The listener of a child that has just loaded its filter and now sleeps, see SECCOMP in ops.h.

        Args:
            report: the REPORT_LISTENER that announced it.

        Returns:
            (a descriptor of the listener, the address at which the child sleeps); the caller closes it.
        Raises:
            SyscallError: EPROTO where the child answered otherwise; what it says is its next report.
        See: seccomp_unotify(2), userfaultfd(2), pidfd_getfd(2).
        """
        import select

        address, number = _WORDS.unpack(report.data)
        poll = select.poll()
        for fd in (report.fd, child.control_fd):
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(_SECONDS * 1000)]
        if report.fd not in ready:
            raise SyscallError("seccomp", "the listener", errno.EPROTO if ready else errno.ETIMEDOUT)
        return native.pidfd_getfd(child.pidfd, number), address

    def wake(self, report: Report, address: int) -> None:
        """Let a child go on that sleeps until its listener was handed on."""
        self._act("ioctl")
        native.answer_fault(report.fd, address)

    def send_descriptor(self, path: str, data: bytes, fd: int) -> None:
        """One message with a descriptor to whoever listens on a socket of the file system, on a connection of its own.

        See: unix(7), SCM_RIGHTS.
        """
        one = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
        try:
            one.settimeout(_SECONDS)
            one.connect(path)
            self._act("sendmsg")
            sent = one.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little"))],
                               _socket.MSG_NOSIGNAL)
            if sent < len(data):
                one.sendall(data[sent:])
        except OSError as error:
            raise SyscallError("connect", path, error.errno or errno.ETIMEDOUT) from None
        finally:
            one.close()
