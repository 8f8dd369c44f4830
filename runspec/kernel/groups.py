"""Control groups as a whole: emptying them, removing them, their device programs."""

from __future__ import annotations

import errno
import os
import time
from _signal import SIGKILL, pidfd_send_signal  # type: ignore[import-not-found]

from runspec import abi
from runspec.errors import SyscallError
from runspec.kernel import native
from runspec.kernel.files import Files

_KILL_SECONDS = 10.0
MARK = "trusted.runspec"


class Groups(Files):
    """The part of Kernel that handles cgroup directories, v1 and v2; see cgroups(7)."""

    def cgroup_dirs(self, path: str) -> list[str]:
        """A cgroup directory and all below it, innermost first; none where it is gone."""
        found, at = [path], 0
        if self.stat(path, follow=False) is None:
            return []
        while at < len(found):
            try:
                # It holds dozens of files; how many directories, its links tell.
                if os.lstat(found[at]).st_nlink != 2:
                    with os.scandir(found[at]) as entries:
                        found += sorted(e.path for e in entries if e.is_dir(follow_symlinks=False))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise SyscallError("getdents64", found[at], error.errno or errno.EIO) from None
            at += 1
        return found[::-1]

    def cgroup_procs(self, path: str) -> set[int]:
        """The pids in a cgroup itself; none where it is gone.

        A pid of 0, a process of an outer pid namespace, is left out: it cannot be reached.
        """
        try:
            text = self.try_read(f"{path}/cgroup.procs")
        except SyscallError as error:
            if error.errno != errno.EOPNOTSUPP:     # a threaded v2 cgroup; its root lists the process
                raise
            text = None
        return {int(word) for word in (text or b"").split()} - {0}

    def make_group(self, path: str, owner: str) -> None:
        """Make a cgroup directory, which may be there, and write on it whose it is, where the kernel keeps such words.

        See: xattr(7), "Trusted extended attributes".
        """
        mask = os.umask(0o022)      # a caller's may be any, and others are to see the group
        try:
            self._act("mkdir")
            os.mkdir(path, 0o755)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise SyscallError("mkdir", path, error.errno or errno.EIO) from None
        finally:
            os.umask(mask)
        self._act("setxattr")
        try:
            os.setxattr(path, MARK, owner.encode("utf-8", "surrogateescape"))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                raise SyscallError("setxattr", path, error.errno or errno.EIO) from None

    def marked_groups(self, mounts: list[str], owner: str) -> list[str]:
        """The cgroup directories that bear this mark, innermost first."""
        found = []
        for path in (one for mount in mounts for one in self.cgroup_dirs(mount)):
            try:
                if os.getxattr(path, MARK) == owner.encode("utf-8", "surrogateescape"):
                    found.append(path)
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOENT, errno.ENODEV):
                    raise SyscallError("getxattr", path, error.errno or errno.EIO) from None
        return found

    def kill_cgroup(self, paths: list[str], seconds: float = _KILL_SECONDS, forever: bool = True) -> set[int]:
        """Kill every process in these cgroups and below, thaw what is frozen, wait until they are empty.

        A pid is signalled through a pidfd opened before it was seen in the cgroup a second time,
        so one that was given away meanwhile is never hit.

        Args:
            paths: cgroup directories of one container, v1 and v2 mixed; missing ones are empty.
            seconds: how long to try, by the monotonic clock.
            forever: nothing is to be born in them again. Linux 6.12 and its like kill a child cloned into
                a group whose cgroup.kill was ever written, so that file is for groups that go.
        Returns:
            The pids still there at the end: unkillable ones.
        """
        end = time.monotonic() + seconds
        pause, rounds = 0.0005, 0
        while True:
            dirs = [one for path in paths for one in self.cgroup_dirs(path)]
            left = self._procs(dirs)
            if not left or time.monotonic() >= end:
                return left
            # Against a fork bomb faster than us: from the third round on, hold still while we kill.
            if rounds > 2:
                self._set_frozen(dirs, True)
            self._kill_all(paths if forever else [], dirs, left)
            self._set_frozen(dirs, False)
            rounds += 1
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def _procs(self, dirs: list[str]) -> set[int]:
        return {pid for one in dirs for pid in self.cgroup_procs(one)}

    def _kill_all(self, paths: list[str], dirs: list[str], pids: set[int]) -> None:
        for path in paths:
            if self.exists(f"{path}/cgroup.kill"):      # v2 since Linux 5.14: the whole subtree, forks too
                self._try_write(f"{path}/cgroup.kill", "1")
                pids = self._procs([one for one in dirs if not self.exists(f"{one}/cgroup.kill")])
        opened: dict[int, int] = {}
        try:
            for pid in sorted(pids)[:256]:              # our own descriptor limit may be small
                try:
                    opened[pid] = os.pidfd_open(pid)
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE) and opened:
                        break
                    if error.errno not in (errno.ESRCH, errno.EINVAL):
                        raise SyscallError("pidfd_open", str(pid), error.errno or errno.EIO) from None
            for pid in self._procs(dirs) & set(opened) - {os.getpid()}:
                self._act("pidfd_send_signal")
                try:
                    pidfd_send_signal(opened[pid], SIGKILL)
                except OSError as error:
                    if error.errno != errno.ESRCH:
                        raise SyscallError("pidfd_send_signal", str(pid), error.errno or errno.EIO) from None
        finally:
            for fd in opened.values():
                os.close(fd)

    def _set_frozen(self, dirs: list[str], frozen: bool) -> None:
        """Freeze or thaw these cgroups, where they can be; only a real change is written."""
        for one in dirs if frozen else reversed(dirs):
            file, word = self.freezing(one, frozen)
            state = self.try_read(file)
            if state is not None and (state.strip() in (b"THAWED", b"0")) == frozen:
                self._try_write(file, word)

    def frozen(self, path: str) -> str:
        """The cgroup that holds this one frozen, itself or one above it; "" where it runs, or is gone.

        See: freezer-subsystem.rst, cgroup-v2.rst "cgroup.freeze".
        """
        state = self.try_read(f"{path}/freezer.state")
        if state is None:
            file = "cgroup.freeze"
            if (self.try_read(f"{path}/{file}") in (None, b"0\n")
                    and b"frozen 1" not in (self.try_read(f"{path}/cgroup.events") or b"")):
                return ""
        elif state == b"THAWED\n":
            return ""
        else:
            file = "freezer.self_freezing"
        at = path
        while (wish := self.try_read(f"{at}/{file}")) is not None:
            if wish == b"1\n":
                return at
            at = at[:at.rindex("/")]
        return path         # what is above is not shown to us

    def freezing(self, path: str, frozen: bool) -> tuple[str, str]:
        """(file, word) by which a cgroup is frozen itself, or thawed."""
        file = f"{path}/freezer.state"
        if self.exists(file):
            return file, "FROZEN" if frozen else "THAWED"
        return f"{path}/cgroup.freeze", str(int(frozen))

    def thaw(self, path: str, seconds: float = _KILL_SECONDS) -> str:
        """Thaw a cgroup and wait until its processes go on; returns what still holds it, itself or one above, or ""."""
        if self.frozen(path) == path:
            self._try_write(*self.freezing(path, False))
        end = time.monotonic() + seconds
        while (held := self.frozen(path)) == path and time.monotonic() < end:
            time.sleep(0.001)
        return held

    def lead_out(self, pid: int, paths: tuple[str, ...]) -> None:
        """Take a process out of those of these cgroups that are frozen by v1, where even the killed stand still."""
        for path in paths:
            at = path
            while (self.try_read(f"{at}/freezer.state") or b"THAWED\n") != b"THAWED\n":
                at = at[:at.rindex("/")]
            if at != path:
                try:
                    self._try_write(f"{at}/tasks", str(pid))
                except SyscallError as error:
                    if error.errno != errno.ESRCH:
                        raise

    def _try_write(self, path: str, text: str) -> None:
        """Write to a file of a cgroup that may be gone by now."""
        try:
            self.write(path, text)
        except SyscallError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    # device programs, cgroup v2

    def attach_device_program(self, path: str, program: bytes) -> None:
        """Put a device program on a cgroup in place of those it has, without a moment between.

        Args:
            path: a cgroup v2 directory.
            program: struct bpf_insn, 8 bytes each.
        Raises:
            SyscallError: call "bpf".
        See: bpf(2), cgroup-v2.rst "Device controller".
        """
        group, fds = self.open(path, os.O_DIRECTORY), []
        try:
            for number in native.bpf_query(group):
                fds.append(native.bpf_open(number))
            new = native.bpf_load(program, b"runspec_device", abi.BPF_PROG_TYPE_CGROUP_DEVICE)
            fds.append(new)
            flags = abi.BPF_F_ALLOW_MULTI | (abi.BPF_F_REPLACE if len(fds) > 1 else 0)
            self._act("bpf")
            native.bpf_attach(group, new, flags, fds[0] if len(fds) > 1 else -1)
            for old in fds[1:-1]:       # programs are and-ed, so the new one already holds
                self._act("bpf")
                native.bpf_detach(group, old)
        finally:
            for fd in (*fds, group):
                os.close(fd)

    def detach_device_programs(self, path: str) -> None:
        """Take every device program off a cgroup: all that its ancestors allow is allowed."""
        group = self.open(path, os.O_DIRECTORY)
        try:
            for number in native.bpf_query(group):
                fd = native.bpf_open(number)
                try:
                    self._act("bpf")
                    native.bpf_detach(group, fd)
                finally:
                    os.close(fd)
        finally:
            os.close(group)

    def device_program_tags(self, path: str) -> list[str]:
        """The tags, hexadecimal, of the device programs on a cgroup itself; equal tags: equal programs."""
        group = self.open(path, os.O_DIRECTORY)
        out = []
        try:
            for number in native.bpf_query(group):
                fd = native.bpf_open(number)
                try:
                    out.append(native.bpf_info(fd)[1].hex())
                finally:
                    os.close(fd)
        finally:
            os.close(group)
        return out
