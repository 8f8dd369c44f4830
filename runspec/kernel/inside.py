"""What shows of processes and of their roots without entering them."""

from __future__ import annotations

import errno
import os

from runspec import abi
from runspec.errors import SyscallError
from runspec.kernel import native
from runspec.kernel.files import GONE, Files


class Inside(Files):
    """The part of Kernel that reads many files at once, and below the roots of others."""

    _boot = ""

    def read_files(self, paths: list[str]) -> list[bytes | None]:
        """try_read of each, and read_link of each after an "@", all in one go; nothing may have a NUL in its path."""
        out: list[bytes | None] = []
        for path, found in zip(paths, native.read_files(paths), strict=True):
            if isinstance(found, bytes):
                out.append(found)
            elif found in GONE or (found == errno.EINVAL and path.lstrip("@").startswith("/proc/")):
                out.append(None)
            elif found == errno.EFBIG and path[0] != "@":
                out.append(self.try_read(path))
            else:
                raise SyscallError("openat", path, found)
        return out

    def boot_id(self) -> str:
        """The id of this boot, read once; see random(4)."""
        if not self._boot:
            self._boot = self.read_text("/proc/sys/kernel/random/boot_id").strip()
        return self._boot

    def stat_inside(self, pid: int, path: str, follow: bool = False) -> os.stat_result | None:
        """lstat of a path in a process's root, or stat of what it leads to there; None where there is nothing.

        The path is walked with RESOLVE_IN_ROOT: a symlink of the image never leads to the host's
        files, as /proc/PID/root/PATH would.
        """
        root = fd = -1
        try:
            root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            fd = native.openat2(root, path, os.O_PATH | (0 if follow else os.O_NOFOLLOW), 0,
                                abi.RESOLVE_IN_ROOT | abi.RESOLVE_NO_MAGICLINKS)
            return os.fstat(fd)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH, errno.ELOOP):
                return None
            raise SyscallError("openat2", path, error.errno or errno.EIO) from None
        finally:
            for one in (fd, root):
                if one >= 0:
                    os.close(one)

    def node_inside(self, pid: int, path: str) -> list[int | str] | None:
        """[b c p, or "?" for what is no node, major, minor, mode, uid, gid] of a path in a process's root."""
        found = self.stat_inside(pid, path)
        if found is None:
            return None
        kind = {abi.S_IFBLK: "b", abi.S_IFCHR: "c", abi.S_IFIFO: "p"}.get(found.st_mode & 0o170000, "?")
        return [kind, os.major(found.st_rdev), os.minor(found.st_rdev), found.st_mode & 0o7777, found.st_uid,
                found.st_gid]

    def place_inside(self, pid: int, path: str) -> str | None:
        """Where a path of a process's root leads once its links are followed, None where there is nothing.

        That is the path by which mountinfo names a mount at its end.
        """
        return self._resolved(pid, path) or None

    def _resolved(self, pid: int, path: str) -> str | None:
        """The same, "" for the root itself."""
        root = fd = -1
        try:
            root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            fd = native.openat2(root, path, os.O_PATH, 0, abi.RESOLVE_IN_ROOT)
            top, found = (os.readlink(f"/proc/self/fd/{one}").rstrip("/") for one in (root, fd))
            if not os.fstat(fd).st_nlink:
                found = found.removesuffix(" (deleted)")    # a mount of a file that was removed elsewhere
            return found[len(top):] if f"{found}/".startswith(top + "/") else None
        except OSError:
            return None
        finally:
            for one in (fd, root):
                if one >= 0:
                    os.close(one)

    def mounts_at(self, pid: int, path: str) -> list[int]:
        """The ids of the mounts that a process sees at a path, the topmost last.

        See: proc_pid_mountinfo(5).
        """
        from runspec.kernel import procfs
        try:
            with open(f"/proc/{pid}/mountinfo", "rb", buffering=0) as file:
                found = procfs.parse_mountinfo(file.read())
        except OSError as error:
            raise SyscallError("openat", f"/proc/{pid}/mountinfo", error.errno or errno.EIO) from None
        place = self.place_inside(pid, path) or path
        return [one.id for one in found if one.mount_point == place]

    def exact_place(self, pid: int, path: str) -> str:
        """Where a path of a process's root lies once the links before its last name are followed."""
        parent, _, name = path.rpartition("/")
        found = self._resolved(pid, parent) if parent else ""
        return f"{parent if found is None else found}/{name}"

    def mounts_on(self, pid: int, path: str) -> tuple[str, list[int]]:
        """The exact place of a path that a process sees, and the ids of the mounts there, the topmost last."""
        from runspec.kernel import procfs
        place = self.exact_place(pid, path)
        try:
            with open(f"/proc/{pid}/mountinfo", "rb", buffering=0) as file:
                found = procfs.parse_mountinfo(file.read())
        except OSError as error:
            raise SyscallError("openat", f"/proc/{pid}/mountinfo", error.errno or errno.EIO) from None
        return place, [one.id for one in found if one.mount_point == place]
