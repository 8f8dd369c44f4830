"""Files that others made, and programs of the host that are run to their end."""

from __future__ import annotations

import errno
import os
import stat
import time

from runspec import abi
from runspec.errors import SyscallError
from runspec.kernel import native
from runspec.kernel.files import Files
from runspec.kernel.process import Processes, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK = 1 << 17


class Foreign(Files, Processes):
    """The part of Kernel that handles what it need not trust."""

    def open_regular(self, path: str) -> int:
        """A descriptor of a regular file for reading; the path may lead to anything, but nothing else is opened.

        Raises:
            SyscallError: call "openat"; EINVAL where it is no regular file.
        """
        fd = self.open(path, os.O_NONBLOCK | os.O_NOCTTY)       # a FIFO must not hang
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise SyscallError("openat", path, errno.EINVAL)
        return fd

    def read_regular(self, path: str, most: int) -> bytes:
        """The whole content of a regular file that somebody else made.

        Args:
            most: bytes it may have.
        Raises:
            SyscallError: EINVAL where it is no regular file, EFBIG where it is longer.
        """
        fd = self.open_regular(path)
        try:
            parts, size = [], 0
            while size <= most and (data := os.read(fd, _CHUNK)):
                parts.append(data)
                size += len(data)
        except OSError as error:
            raise SyscallError("read", path, error.errno or errno.EIO) from None
        finally:
            os.close(fd)
        if size > most:
            raise SyscallError("read", path, errno.EFBIG)
        return b"".join(parts)

    def hash_file(self, fd: int) -> str:
        """SHA-256 of a whole open file, hexadecimal; it is left at its beginning."""
        from hashlib import sha256
        found = sha256()
        try:
            os.lseek(fd, 0, os.SEEK_SET)
            while data := os.read(fd, 1 << 20):
                found.update(data)
            os.lseek(fd, 0, os.SEEK_SET)
        except OSError as error:
            raise SyscallError("read", "", error.errno or errno.EIO) from None
        return found.hexdigest()

    def stat_open(self, fd: int) -> os.stat_result:
        """fstat(2)."""
        return os.fstat(fd)

    def sync(self) -> None:
        """Wait until all that was written is on the disk, sync(2)."""
        self._act("sync")
        os.sync()

    def read_below(self, top: str, path: str, most: int) -> bytes:
        """A regular file below a directory that others filled, RESOLVE_IN_ROOT; empty where there is none.

        Args:
            path: relative to `top`.
            most: bytes read of it.
        """
        root = fd = -1
        try:
            root = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            fd = native.openat2(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, 0, abi.RESOLVE_IN_ROOT)
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return b""
            data = b""
            while len(data) < most and (more := os.read(fd, most - len(data))):
                data += more
            return data
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
                return b""
            raise SyscallError("openat2", path, error.errno or errno.EIO) from None
        finally:
            for one in (fd, root):
                if one >= 0:
                    os.close(one)

    def output(self, argv: Sequence[str]) -> bytes:
        """What a trusted program of the host writes to its standard output; it gets no input and no environment.

        Raises:
            SyscallError: call "execve"; ECHILD where it did not end with status 0.
        """
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self._act("clone")
            pid = os.posix_spawn(argv[0], list(argv), {}, file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, theirs, 1)])
        except OSError as error:
            os.close(ours)
            raise SyscallError("execve", argv[0], error.errno or errno.EIO) from None
        finally:
            os.close(theirs)
        with os.fdopen(ours, "rb") as file:
            data = file.read()
        if os.waitpid(pid, 0)[1]:
            raise SyscallError("execve", argv[0], errno.ECHILD)
        return data

    def program(self, ops: Sequence[abi.Op], slots: Sequence[int] = (), flags: int = 0, stdin: int = -1,
                seconds: float = 60.0, most: int = 1 << 20) -> tuple[int, bytes, bytes]:
        """Run a table that ends in EXEC, and the program to its end.

        Args:
            ops: the table, without BARRIER.
            slots: descriptors to hand over.
            flags: CLONE_NEW* for clone3(2); with NEWPID all that the program starts ends with it.
            stdin: the program's standard input, -1 for none.
            seconds: until it is killed, by the monotonic clock.
            most: bytes kept of each stream; what is more is read and dropped.
        Returns:
            Its exit status (128 + N after signal N), standard output, standard error.
        Raises:
            SyscallError: the op that failed; ETIMEDOUT.
        """
        import select
        pipes = [os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)]
        try:
            child = self.spawn(ops, slots, flags, -1, (stdin, pipes[0][1], pipes[1][1]))
        except BaseException:
            os.close(pipes[0][0])
            os.close(pipes[1][0])
            raise
        finally:
            for _, theirs in pipes:
                os.close(theirs)
        kept: dict[int, bytearray] = {ours: bytearray() for ours, _ in pipes}
        try:
            report = child.receive(seconds)
            if report is not None:
                op = ops[report.index] if report.index < len(ops) else None
                raise SyscallError(abi.OP_NAMES[op.number].lower() if op is not None else "table",
                                   shown(op.s1.partition(b"\0")[0]) if op is not None else "",
                                   report.error or errno.EPROTO)
            end, poll = time.monotonic() + seconds, select.poll()
            for fd in kept:
                poll.register(fd, select.POLLIN)
            waiting = len(kept)
            while waiting:
                ready = poll.poll(max(0, int((end - time.monotonic()) * 1000)))
                if not ready:
                    raise SyscallError("execve", shown(ops[-1].s1.partition(b"\0")[0]), errno.ETIMEDOUT)
                for fd, _ in ready:
                    data = os.read(fd, _CHUNK)
                    kept[fd] += data[:max(0, most - len(kept[fd]))]
                    if not data:
                        poll.unregister(fd)
                        waiting -= 1
            status = child.wait()
            child.close()
        except BaseException:
            child.kill()
            raise
        finally:
            for fd in kept:
                os.close(fd)
        out, complaint = map(bytes, kept.values())
        return status, out, complaint
