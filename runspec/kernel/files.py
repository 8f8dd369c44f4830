"""Files and directories of the host: reading, exact changes, locks held by descriptors."""

from __future__ import annotations

import errno
import os
import stat
import time

from runspec.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# What reading a file of procfs or cgroupfs says when its object is gone.
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESRCH, errno.ENODEV)
_CHUNK = 1 << 16
_BUSY_SECONDS = 1.0         # a cgroup's last process may still be on its way out


def _fail(call: str, path: str, error: OSError) -> SyscallError:
    return SyscallError(call, path, error.errno or errno.EIO)


class Files:
    """The part of Kernel that handles paths; a path is trusted unless its method says otherwise."""

    def _act(self, name: str) -> None:
        raise AssertionError(name)

    # reading

    def read(self, path: str) -> bytes:
        """The whole content of a file.

        Raises:
            SyscallError: call "openat" or "read".
        """
        call, fd = "openat", -1
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            call = "read"
            data = os.read(fd, _CHUNK)
            if not data:
                return data
            parts = [data]
            while data := os.read(fd, _CHUNK):
                parts.append(data)
            return b"".join(parts)
        except OSError as error:
            raise _fail(call, path, error) from None
        finally:
            if fd >= 0:
                os.close(fd)

    def read_text(self, path: str) -> str:
        """The whole content as text; bytes that are not UTF-8 become surrogates."""
        return self.read(path).decode("utf-8", "surrogateescape")

    def try_read(self, path: str) -> bytes | None:
        """The whole content, None where the file or the object behind it is gone."""
        try:
            return self.read(path)
        except SyscallError as error:
            # EINVAL: what a dying process's mountinfo says, which has left its namespaces already.
            if error.errno in GONE or (error.errno == errno.EINVAL and path.startswith("/proc/")):
                return None
            raise

    def list_dir(self, path: str) -> list[str]:
        """The names in a directory, sorted; none where it does not exist."""
        try:
            return sorted(os.listdir(path))
        except OSError as error:
            if error.errno in GONE:
                return []
            raise _fail("getdents64", path, error) from None

    def exists(self, path: str) -> bool:
        """Whether there is something at the path itself, a broken symlink too."""
        return self.stat(path, follow=False) is not None

    def stat(self, path: str, follow: bool = True) -> os.stat_result | None:
        """stat(2), None where there is nothing."""
        try:
            return os.stat(path, follow_symlinks=follow)
        except OSError as error:
            if error.errno in GONE:
                return None
            raise _fail("newfstatat", path, error) from None

    def read_link(self, path: str) -> str | None:
        """Where a symlink (also /proc/PID/ns/*) points, None where it is gone or none."""
        try:
            return os.readlink(path)
        except OSError as error:
            if error.errno in (*GONE, errno.EINVAL):
                return None
            raise _fail("readlink", path, error) from None

    def open(self, path: str, flags: int = 0) -> int:
        """A descriptor for reading (or O_PATH in flags), close-on-exec; never makes a file.

        Returns:
            The descriptor; the caller closes it.
        """
        try:
            return os.open(path, (flags & ~(os.O_CREAT | os.O_TRUNC)) | os.O_CLOEXEC)
        except OSError as error:
            raise _fail("openat", path, error) from None

    def open_dir(self, path: str) -> int:
        """A descriptor of a directory, close-on-exec; the caller closes it."""
        return self.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def close(self, fd: int) -> None:
        """Close a descriptor, which gives up a lock it holds."""
        os.close(fd)

    # changing

    def make_dir(self, path: str, mode: int = 0o755) -> bool:
        """Make one directory with exactly this mode, whatever the umask.

        Returns:
            False where a directory is there already, which is left as it is.
        """
        self._act("mkdir")
        try:
            os.mkdir(path, mode)
        except OSError as error:
            if error.errno == errno.EEXIST:
                found = self.stat(path)
                if found is not None and stat.S_ISDIR(found.st_mode):
                    return False
            raise _fail("mkdir", path, error) from None
        try:
            if os.lstat(path).st_mode & 0o777 != mode & 0o777:
                self._act("chmod")
                os.chmod(path, mode)
        except OSError as error:
            raise _fail("chmod", path, error) from None
        return True

    def missing_dirs(self, path: str) -> list[str]:
        """A directory and its parents, those that do not exist, outermost first."""
        missing = []
        while not self.exists(path):
            missing.append(path)
            path = os.path.dirname(path)
        return missing[::-1]

    def make_dirs(self, path: str, mode: int = 0o755) -> list[str]:
        """Make a directory and its missing parents.

        Returns:
            The ones made, outermost first: what an undo removes in reverse.
        """
        return [one for one in self.missing_dirs(path) if self.make_dir(one, mode)]

    def remove_dir(self, path: str, wait: bool = False) -> bool:
        """Remove an empty directory.

        Args:
            path: the directory.
            wait: it is a cgroup: wait up to a second while it is busy with dying processes, and
                remove the groups that were made below it.
        Returns:
            False where it was gone already.
        """
        end = time.monotonic() + _BUSY_SECONDS if wait else 0.0
        pause = 0.0005
        while True:
            self._act("rmdir")
            try:
                os.rmdir(path)
                return True
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return False
                if error.errno != errno.EBUSY or time.monotonic() >= end:
                    raise _fail("rmdir", path, error) from None
            for below in self.list_dir(path):
                found = self.stat(f"{path}/{below}", follow=False)
                if found is not None and stat.S_ISDIR(found.st_mode):
                    self.remove_dir(f"{path}/{below}", wait)
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def remove_file(self, path: str) -> bool:
        """Remove one name that is no directory; False where it was gone already."""
        self._act("unlink")
        try:
            os.unlink(path)
            return True
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return False
            raise _fail("unlink", path, error) from None

    def remove_tree(self, path: str) -> bool:
        """Remove a directory with all below it, which may be hostile; no symlink is followed.

        Inner directories are first moved up beside the outer ones, so two descriptors and no
        recursion do for any depth.

        Returns:
            False where it was gone already.
        Raises:
            SyscallError: EBUSY or EXDEV where something is mounted below.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            top = os.open(path, flags)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise _fail("openat", path, error) from None
        try:
            device, count, names = os.fstat(top).st_dev, 0, True
            while names:
                names = False
                for name, is_dir in _entries(top):
                    names = True
                    if not is_dir:
                        self._act("unlinkat")
                        os.unlink(name, dir_fd=top)
                        continue
                    inner = os.open(name, flags, dir_fd=top)
                    try:
                        if os.fstat(inner).st_dev != device:
                            raise OSError(errno.EBUSY, name)
                        for below, below_is_dir in _entries(inner):
                            if below_is_dir:
                                count = self._move_up(inner, below, top, count)
                            else:
                                self._act("unlinkat")
                                os.unlink(below, dir_fd=inner)
                    finally:
                        os.close(inner)
                    self._act("unlinkat")
                    os.rmdir(name, dir_fd=top)
        except OSError as error:
            raise _fail("unlinkat", path, error) from None
        finally:
            os.close(top)
        return self.remove_dir(path)

    def remove_hollow(self, path: str) -> bool:
        """Remove a directory that holds nothing but directories; whatever else it holds stays, with its parents.

        Returns:
            Whether nothing is left of it.
        """
        for below in self.list_dir(path):
            found = self.stat(f"{path}/{below}", follow=False)
            if found is not None and stat.S_ISDIR(found.st_mode):
                self.remove_hollow(f"{path}/{below}")
        try:
            self.remove_dir(path)
            return True
        except SyscallError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                return False
            raise

    def _move_up(self, inner: int, name: str, top: int, count: int) -> int:
        """Rename a directory into top under a free name; returns the next number to try."""
        while True:
            count += 1
            self._act("renameat")
            try:
                os.rename(name, f".removed.{count}", src_dir_fd=inner, dst_dir_fd=top)
                return count
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise

    def write(self, path: str, text: str | bytes) -> None:
        """One write(2) to an existing file of procfs, sysfs or cgroupfs.

        Raises:
            SyscallError: call "openat" or "write"; EIO where the kernel took only a part.
        """
        self.write_each(path, (text,))

    def write_each(self, path: str, texts: Iterable[str | bytes]) -> None:
        """Several such writes, one after the other."""
        call, fd = "openat", -1
        try:
            for text in texts:
                data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
                if fd < 0:
                    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                call = "write"
                self._act("write")
                if os.write(fd, data) != len(data):
                    raise OSError(errno.EIO, "short write")
        except OSError as error:
            raise _fail(call, path, error) from None
        finally:
            if fd >= 0:
                os.close(fd)

    def create_file(self, path: str, data: bytes | str = b"", mode: int = 0o600,
                    exclusive: bool = False, sync: bool = False) -> None:
        """Make a file with this content; an older one is emptied first, a symlink refused.

        Args:
            path: the file.
            data: its content.
            mode: its mode where it is new.
            exclusive: fail with EEXIST where there is one already.
            sync: return when it is on the disk.
        """
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        fd = self.open_new(path, mode, os.O_EXCL if exclusive else os.O_TRUNC)
        try:
            while data:
                self._act("write")
                data = data[os.write(fd, data):]
            if sync:
                self._act("fsync")
                os.fsync(fd)
        except OSError as error:
            raise _fail("write", path, error) from None
        finally:
            os.close(fd)

    def open_new(self, path: str, mode: int = 0o600, flags: int = os.O_EXCL) -> int:
        """Make a file and keep it open for reading and writing; flags: O_EXCL, O_TRUNC, O_APPEND."""
        self._act("openat")
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, mode)
        except OSError as error:
            raise _fail("openat", path, error) from None

    def replace_file(self, path: str, data: bytes | str, mode: int = 0o600, sync: bool = False) -> None:
        """Put new content in place of a file at one instant: readers see the old or the new, whole.

        The temporary file is always `.NAME.tmp` beside it, so what a kill leaves is found and
        overwritten by the next one.

        Args:
            sync: return when the file and its name are on the disk.
        """
        temporary = f"{os.path.dirname(path)}/.{os.path.basename(path)}.tmp"
        try:
            self.create_file(temporary, data, mode, sync=sync)
            self._act("rename")
            os.rename(temporary, path)
            if sync:
                above = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(above)
                finally:
                    os.close(above)
        except SyscallError as error:
            self.remove_file(temporary)
            # Of the file that was asked for: the other's name says nothing to anybody.
            named = path if error.path == temporary else error.path
            raise SyscallError(error.call, named, error.errno or errno.EIO) from None
        except OSError as error:
            self.remove_file(temporary)
            raise _fail("rename", path, error) from None

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link at `path` that holds `target`."""
        self._act("symlink")
        try:
            os.symlink(target, path)
        except OSError as error:
            raise _fail("symlink", path, error) from None

    def make_fifo(self, path: str, mode: int = 0o600) -> None:
        """Make a named pipe with no more than this mode, mkfifo(3)."""
        self._act("mknodat")
        try:
            os.mkfifo(path, mode)
        except OSError as error:
            raise _fail("mknodat", path, error) from None

    def set_mode(self, path: str, mode: int) -> None:
        """Give a file exactly this mode, whatever the umask was when it was made."""
        self._act("chmod")
        try:
            os.chmod(path, mode)
        except OSError as error:
            raise _fail("chmod", path, error) from None

    def rename(self, path: str, new: str) -> bool:
        """Rename within one file system, rename(2); False where a directory with content is there already."""
        self._act("rename")
        try:
            os.rename(path, new)
            return True
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                return False
            raise _fail("rename", path, error) from None

    def append(self, fd: int, data: bytes, path: str = "") -> None:
        """One write(2) at the end of a file; what a full disk cut short is taken back.

        Args:
            fd: opened with O_APPEND.
            data: written whole or not at all.
            path: its name, for the error.
        """
        self._act("write")
        try:
            done = os.write(fd, data)
            if done != len(data):
                self._act("ftruncate")
                os.ftruncate(fd, os.fstat(fd).st_size - done)
                raise OSError(errno.ENOSPC, "short write")
        except OSError as error:
            raise _fail("write", path, error) from None

    def truncate(self, path: str, size: int = 0) -> None:
        """Cut an existing file to this many bytes."""
        self._act("truncate")
        try:
            os.truncate(path, size)
        except OSError as error:
            raise _fail("truncate", path, error) from None

    # locks

    def lock_dir(self, path: str, shared: bool = False, wait: float = 10.0, create: int | None = None) -> int:
        """Lock a directory, flock(2), and make sure that it is still the one at the path.

        A former owner may remove the directory while others wait for it, so what is locked is
        compared with what the path names by then.

        Args:
            path: the directory.
            shared: several may hold it so at once.
            wait: seconds to wait for others, by the monotonic clock.
            create: the mode to make it with where it is missing; None: ENOENT.
        Returns:
            The descriptor that holds the lock; closing it, or dying, gives it up.
        Raises:
            SyscallError: call "flock" with EAGAIN where another held it all the time.
        """
        import fcntl
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        end = time.monotonic() + wait
        pause = 0.0005
        while True:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.ENOENT or create is None:
                    raise _fail("openat", path, error) from None
                self.make_dir(path, create)
                continue
            try:
                fcntl.flock(fd, how)
                mine, now = os.fstat(fd), self.stat(path, follow=False)
                if now is not None and (mine.st_dev, mine.st_ino) == (now.st_dev, now.st_ino):
                    return fd
                os.close(fd)
            except OSError as error:
                os.close(fd)
                if error.errno not in (errno.EAGAIN, errno.EINTR) or time.monotonic() >= end:
                    raise _fail("flock", path, error) from None
                time.sleep(pause)
                pause = min(pause * 2, 0.01)

    def unlock(self, fd: int) -> None:
        """Give up a lock that lock_dir gave."""
        os.close(fd)


def _entries(fd: int) -> list[tuple[str, bool]]:
    """(name, is a directory and no symlink) of an open directory."""
    with os.scandir(fd) as found:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
