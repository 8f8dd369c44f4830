"""Files of lines that many read while they change: a line appears and disappears whole, and never moves.

A container has such a file bound over one of its own, by its inode: a new file renamed into its place would stay
unseen, and text moved within it would be read half old, half new, since readers take it in pieces. So what is new
is written behind a comment sign, which one byte turns into a line; what is gone becomes a comment the same way.
"""

from __future__ import annotations

import errno
import os

from runspec.errors import HostError, SyscallError

# Whoever began to read before a line became a comment has read on by now.
_QUIET = 1.0        # seconds
_FORM = "utf-8"
# Who owns a file may hold a lease on it, and a container's root owns what is bound there: others would wait for
# /proc/sys/fs/lease-break-time, fcntl(2) F_SETLEASE.
_PATIENCE, _PAUSE = 1.0, 0.02       # seconds


def active(data: bytes) -> tuple[str, ...]:
    """The lines of such a file that are no comments, in order; one that was cut counts as it stands."""
    lines = (line.rstrip(b" ").decode(_FORM, "replace") for line in data.split(b"\n"))
    return tuple(line for line in lines if line and line[0] not in "#;")


class Lines:
    """The part of Kernel that edits files of lines."""

    def _act(self, name: str) -> None:
        raise AssertionError(name)

    def read_lines(self, path: str) -> tuple[str, ...] | None:
        """The lines that are no comments, None where there is no file."""
        try:
            fd = _open(path, os.O_RDONLY)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise SyscallError("openat", path, error.errno or errno.EIO) from None
        try:
            return active(_whole(fd))
        finally:
            os.close(fd)

    def edit_lines(self, path: str, lines: tuple[str, ...], ordered: bool = False, mode: int = 0o644) -> None:
        """Make a file say these lines, and no others.

        Args:
            lines: none empty, none a comment, none twice unless ordered.
            ordered: their order matters; else one that is there stays where it is.
            mode: of the file, whatever the umask.
        """
        try:
            self._act("openat")
            fd = _open(path, os.O_RDWR | os.O_CREAT, mode)
            try:
                self._edit(fd, lines, ordered, mode)
            finally:
                os.close(fd)
        except OSError as error:
            if isinstance(error, SyscallError):
                raise
            raise SyscallError("pwrite64", path, error.errno or errno.EIO) from None

    def _edit(self, fd: int, lines: tuple[str, ...], ordered: bool, mode: int) -> None:
        import time

        found = os.fstat(fd)
        if found.st_mode & 0o7777 != mode:
            self._act("fchmod")
            os.fchmod(fd, mode)
        data = _whole(fd)
        wanted = [line.encode(_FORM) for line in lines]
        gone, free, fresh = _sort(data, wanted, ordered)
        quiet = time.time() - found.st_mtime > _QUIET
        add: list[tuple[int, bytes]] = []
        rest = fresh
        if quiet and not ordered:
            rest, room = [], iter(sorted(free, key=lambda one: one[1]))
            for line in sorted(fresh, key=len):
                place, size = next((one for one in room if one[1] > len(line)), (0, 0))
                if size:
                    add.append((place, line.ljust(size - 1) + b"\n"))
                else:
                    rest.append(line)
            rest.sort(key=wanted.index)
        reused = len(add)
        end, torn = len(data), data[-1:] not in (b"", b"\n")
        tail = b""
        for line in rest:
            add.append((end + torn + len(tail), line + b"\n"))
            tail += b"#" + line[1:] + b"\n"
        # Comments all of it, until their first byte is what it is to be.
        for offset, line in add[:reused]:
            self._write(fd, line[1:], offset + 1)
        if tail:
            self._write(fd, b"\n" * torn + tail, end)
        for offset, line in add:
            self._write(fd, line[:1], offset)
        for offset in gone:
            self._write(fd, b"#", offset)
        if quiet and not add:
            self._cut(fd, data, gone)

    def _cut(self, fd: int, data: bytes, gone: list[int]) -> None:
        """Comments at the end, of which nobody can be in the middle."""
        end = len(data)
        while end:
            begin = data.rfind(b"\n", 0, end - 1) + 1
            if data[begin:begin + 1] != b"#" or begin in gone:
                break
            end = begin
        if end < len(data):
            self._act("ftruncate")
            os.ftruncate(fd, end)

    def _write(self, fd: int, data: bytes, offset: int) -> None:
        while data:
            self._act("pwrite64")
            done = os.pwrite(fd, data, offset)
            data, offset = data[done:], offset + done


def _open(path: str, flags: int, mode: int = 0) -> int:
    """A descriptor, however long somebody inside would have us wait for it."""
    import time

    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)
        except BlockingIOError:
            if time.monotonic() > end:
                raise HostError(f"{path} cannot be opened", "a process that sees it holds a lease on it, fcntl(2) "
                                "F_SETLEASE; lslocks(8) names it", "`runspec kill` its container, then try again"
                                ) from None
        time.sleep(_PAUSE)


def _whole(fd: int) -> bytes:
    """What a file holds."""
    parts, offset = [], 0
    while part := os.pread(fd, 1 << 20, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _sort(data: bytes, wanted: list[bytes], ordered: bool) -> tuple[list[int], list[tuple[int, int]], list[bytes]]:
    """(places of lines to be gone, (place, size) of comments, lines that are missing)."""
    gone: list[int] = []
    free: list[tuple[int, int]] = []
    left, at, offset = dict.fromkeys(wanted), 0, 0
    for raw in data.split(b"\n"):
        line, whole = raw.rstrip(b" "), offset + len(raw) < len(data)
        if raw[:1] in (b"#", b";"):
            free += [(offset, len(raw) + 1)] * whole
        elif ordered and whole and line in wanted[at:at + 1]:
            at += 1
        elif not ordered and whole and line in left:
            del left[line]
        elif line:
            gone.append(offset)
        offset += len(raw) + 1
    return gone, free, wanted[at:] if ordered else list(left)
