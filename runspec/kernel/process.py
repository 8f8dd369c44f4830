"""Processes: the child that runs an operation table, and others' by pidfd and start time."""

from __future__ import annotations

import _socket
import errno
import os
import time
from _signal import SIGKILL, pidfd_send_signal  # type: ignore[import-not-found]
from struct import Struct

from runspec import abi
from runspec.errors import SyscallError
from runspec.kernel import native, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HEADER = Struct("=IIiI")           # struct report: kind, index, error, length
_PACKET = (1 << 17) + 4096          # more than any report: a header and 128 KiB; one buffer for all
_TABLE_SECONDS = 10.0
_EXITING = 0x4         # PF_EXITING, linux/sched.h
_buffer = bytearray()


def parse_start_time(text: bytes) -> int:
    """Field 22 of /proc/PID/stat, clock ticks since boot; the name before it may hold anything."""
    return int(text[text.rindex(b")") + 2:].split(b" ", 20)[19])


def parse_state(text: bytes) -> str:
    """Field 3 of /proc/PID/stat: R S D T t Z X I."""
    return chr(text[text.rindex(b")") + 2])


class Report:
    """One message of a child: kind is abi.REPORT_*, index the op's place in the table."""

    __slots__ = ("data", "error", "fd", "index", "kind")

    def __init__(self, kind: int, index: int, error: int, data: bytes, fd: int) -> None:
        self.kind, self.index, self.error, self.data, self.fd = kind, index, error, data, fd

    def __repr__(self) -> str:
        return f"Report({self.kind}, {self.index}, error={self.error}, data={self.data!r}, fd={self.fd})"


class Child:
    """A process that runs an operation table and reports on its control socket.

    Attributes:
        pid, pidfd: the process; after REPORT_FORK the one that goes on.
        start_time: clock ticks since boot, which with the pid names it for good.
    """

    def __init__(self, pid: int, pidfd: int, control: int, act: Callable[[str], None]) -> None:
        self.pid, self.pidfd, self._act = pid, pidfd, act
        self._status: int | None = None
        self._queue: list[Report] = []          # what came in one packet, the last one first
        self._control: _socket.socket | None = _socket.socket(
            _socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=control)
        self.start_time = _start_time(pid) or 0

    @property
    def control_fd(self) -> int:
        """The control socket, for poll(2); -1 where it is closed."""
        return self._control.fileno() if self._control is not None else -1

    def receive(self, timeout: float | None = None) -> Report | None:
        """The next report, None at the end of file: the child has exec'ed or died.

        Args:
            timeout: seconds; None waits for ever.
        Raises:
            SyscallError: ETIMEDOUT; EPROTO where the packet is no report.
        """
        if self._queue:
            return self._queue.pop()
        if self._control is None:
            return None
        if not _buffer:
            _buffer.extend(bytes(_PACKET))
        self._control.settimeout(timeout)
        try:
            size, ancillary, flags, _ = self._control.recvmsg_into(
                [_buffer], _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        except TimeoutError:
            raise SyscallError("recvmsg", f"child {self.pid}", errno.ETIMEDOUT) from None
        except OSError as error:
            if error.errno == errno.ECONNRESET:
                return None
            raise SyscallError("recvmsg", f"child {self.pid}", error.errno or errno.EIO) from None
        fd = -1
        for level, kind, data in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS and len(data) >= 4:
                fd = int.from_bytes(data[:4], "little")
        if not size:
            return None
        if flags & _socket.MSG_TRUNC:
            raise SyscallError("recvmsg", f"child {self.pid}", errno.EPROTO)
        at, reports = 0, []
        while at < size:
            if size - at < _HEADER.size:
                raise SyscallError("recvmsg", f"child {self.pid}", errno.EPROTO)
            what, index, number, length = _HEADER.unpack_from(_buffer, at)
            at += _HEADER.size
            if length > size - at:
                raise SyscallError("recvmsg", f"child {self.pid}", errno.EPROTO)
            if what == abi.REPORT_ERROR and index == abi.TABLE_NO_OP:
                raise SyscallError("execveat", "runspec", number)
            reports.append(Report(what, index, number, bytes(_buffer[at:at + length]), fd))
            at += length
        self._queue = reports[:0:-1]
        report = reports[0]
        if report.kind == abi.REPORT_FORK and fd >= 0:
            self._follow(fd)
        return report

    def _follow(self, pidfd: int) -> None:
        """Go on with the sibling; the process that made it has nothing left but its exit."""
        _reap(self.pidfd)
        os.close(self.pidfd)
        self.pidfd = pidfd
        self.pid = _pid_of(pidfd)
        self.start_time = _start_time(self.pid) or 0

    def go(self) -> None:
        """Let the child pass its barrier."""
        self._act("sendto")
        try:
            if self._control is None:
                raise OSError(errno.EPIPE, "closed")
            self._control.send(b"g", _socket.MSG_NOSIGNAL)
        except OSError as error:
            raise SyscallError("sendto", f"child {self.pid}", error.errno or errno.EIO) from None

    def kill(self) -> None:
        """SIGKILL, wait for its end, close: for a child that failed, or whose making is undone.

        A closed one is found again: until we wait for it, its pid is nobody else's.
        """
        if self._status is None:
            if self.pidfd < 0:
                if _start_time(self.pid) != self.start_time:
                    return
                self.pidfd = os.pidfd_open(self.pid)
            self._act("pidfd_send_signal")
            _kill(self.pidfd)
            self.wait()
        self.close()

    def wait(self) -> int:
        """Wait for its end; the exit status, 128 + N after signal N, as a shell counts."""
        if self._status is None:
            self._status = _reap(self.pidfd)
        return self._status

    def hang_up(self, seconds: float) -> None:
        """Close the control socket and wait at most this long until the child has ended by it."""
        import select
        if self._control is not None:
            self._control.close()
            self._control = None
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.poll(seconds * 1000)

    def detach(self) -> tuple[int, int]:
        """Hand out (pidfd, control descriptor), which the caller closes from now on."""
        control = self._control.detach() if self._control is not None else -1
        self._control, pidfd = None, self.pidfd
        self.pidfd = -1
        return pidfd, control

    def close(self) -> None:
        """Close the control socket and the pidfd; a child at a barrier ends by it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Table:
    """An operation table that a child is at."""

    __slots__ = ("child", "ops")

    def __init__(self, ops: Sequence[abi.Op], child: Child) -> None:
        self.ops, self.child = ops, child


def _kill(pidfd: int) -> None:
    """SIGKILL; a dead process is fine."""
    try:
        pidfd_send_signal(pidfd, SIGKILL)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise SyscallError("pidfd_send_signal", "SIGKILL", error.errno or errno.EIO) from None


def _reap(pidfd: int) -> int:
    try:
        end = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except OSError as error:
        raise SyscallError("waitid", "child", error.errno or errno.EIO) from None
    if end is None:
        raise SyscallError("waitid", "child", errno.ECHILD)
    return end.si_status if end.si_code == os.CLD_EXITED else 128 + end.si_status


def _pid_of(pidfd: int) -> int:
    """The pid behind a pidfd in our pid namespace, -1 where it is dead; see pidfd_open(2)."""
    fd = os.open(f"/proc/self/fdinfo/{pidfd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for line in os.read(fd, 4096).split(b"\n"):
            if line.startswith(b"Pid:"):
                return int(line[4:])
    finally:
        os.close(fd)
    return -1


def _stat(pid: int) -> bytes | None:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, 4096) or None
    except OSError:
        return None
    finally:
        os.close(fd)


def _start_time(pid: int) -> int | None:
    text = _stat(pid)
    return parse_start_time(text) if text else None


class Processes:
    """The part of Kernel that starts, finds and signals processes."""

    def _act(self, name: str) -> None:
        raise AssertionError(name)

    def spawn(self, ops: Sequence[abi.Op], slots: Sequence[int] = (), flags: int = 0, cgroup_fd: int = -1,
              stdio: tuple[int, int, int] = (-1, -1, -1), wait: bool = True) -> Child:
        """Start the static interpreter from its sealed memfd with this table.

        Args:
            ops: the table; its slots 0.. are `slots`.
            slots: descriptors to hand over; they stay open here.
            flags: CLONE_NEW* for clone3(2) itself: NEWUSER, NEWPID.
            cgroup_fd: a cgroup v2 directory to be born in, -1 for ours.
            stdio: descriptors for 0, 1, 2 of the child, -1 for /dev/null.
            wait: until the interpreter runs; without, its first report tells where that failed.
        """
        fd = table.memfd(table.pack(ops, len(slots)))
        try:
            self._act("clone3")
            pid, pidfd, control = native.spawn(fd, tuple(slots), flags, cgroup_fd, stdio, wait=wait)
        finally:
            os.close(fd)
        return Child(pid, pidfd, control, self._act)

    def run_table(self, ops: Sequence[abi.Op], slots: Sequence[int] = (), flags: int = 0,
                  timeout: float = _TABLE_SECONDS) -> list[Report]:
        """Run a table to its end in a child of its own: to look inside, or to change a live container.

        Args:
            ops: the table, without BARRIER and EXEC.
            slots: descriptors to hand over.
            flags: CLONE_NEW* for clone3(2).
            timeout: seconds until the child is killed.
        Returns:
            Every REPORT_DATA and REPORT_FD, in order, with the index of its op and an errno
            (READ of a missing file, IGNORE_NEXT).
        Raises:
            SyscallError: the op that failed, its first text and its errno.
        """
        return self.end_table(self.begin_table(ops, slots, flags), timeout)

    def begin_table(self, ops: Sequence[abi.Op], slots: Sequence[int] = (), flags: int = 0) -> Table:
        """Start what run_table does, for end_table or drop_table to end; the descriptors may be closed at once."""
        fd = table.memfd(table.pack(ops, len(slots)))
        try:
            self._act("clone3")
            pid, pidfd, control = native.spawn(fd, tuple(slots), flags, -1, (-1, -1, -1), wait=False)
        finally:
            os.close(fd)
        return Table(ops, Child(pid, pidfd, control, self._act))

    def end_table(self, running: Table, timeout: float = _TABLE_SECONDS) -> list[Report]:
        """Wait for the end of what begin_table started, see run_table."""
        ops, child = running.ops, running.child
        out: list[Report] = []
        done = False
        try:
            while not done:
                report = child.receive(timeout)
                if report is None:
                    raise SyscallError("table", f"child {child.pid} ended early", errno.ECHILD)
                if report.kind == abi.REPORT_ERROR:
                    op = ops[report.index] if report.index < len(ops) else None
                    raise SyscallError(abi.OP_NAMES[op.number].lower() if op else "table",
                                       shown(op.s1) if op else "", report.error)
                if report.kind == abi.REPORT_BARRIER:
                    raise SyscallError("table", "barrier", errno.EPROTO)
                if report.kind in (abi.REPORT_DATA, abi.REPORT_FD):
                    out.append(report)
                done = report.kind == abi.REPORT_DONE
        except BaseException:
            for report in out:
                if report.fd >= 0:
                    os.close(report.fd)
            self._act("pidfd_send_signal")
            _kill(child.pidfd)
            raise
        finally:
            try:
                child.wait()
            finally:
                child.close()
        return out

    def drop_table(self, running: Table) -> None:
        """End what begin_table started, whatever it is at."""
        running.child.kill()

    def start_time(self, pid: int) -> int | None:
        """Clock ticks since boot at which a process began, None where there is none."""
        return _start_time(pid)

    def process_state(self, pid: int, start_time: int) -> str | None:
        """The state letter of exactly this process (Z: zombie), None where it is gone."""
        text = _stat(pid)
        return parse_state(text) if text and parse_start_time(text) == start_time else None

    def command(self, pid: int) -> bytes:
        """The name of a process, which exec gives it and a zombie keeps; empty where there is none."""
        text = _stat(pid) or b"()"
        return text[text.index(b"(") + 1:text.rindex(b")")]

    def ends(self, pid: int, start_time: int) -> bool:
        """Whether exactly this process has ended, or is about to: its groups and namespaces go before it is a zombie.

        See: proc_pid_stat(5), flags
        """
        text = _stat(pid)
        if not text or parse_start_time(text) != start_time:
            return True
        return parse_state(text) in "ZXx" or bool(int(text[text.rindex(b")") + 2:].split(b" ", 7)[6]) & _EXITING)

    def end_of(self, pid: int, start_time: int) -> tuple[str, int] | None:
        """How exactly this process, which ends, ended: ("exit status", N) or ("signal", N); it stays to be waited for.

        Returns:
            None where that takes a second, or where only its parent knows, who is not us.
        See: waitid(2) WNOWAIT
        """
        import select
        pidfd = self.open_process(pid, start_time)
        if pidfd is None:
            return None
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll(1000)
            end = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except OSError:
            return None
        finally:
            os.close(pidfd)
        return ("exit status" if end.si_code == os.CLD_EXITED else "signal", end.si_status) if end is not None else None

    def open_process(self, pid: int, start_time: int) -> int | None:
        """A pidfd of exactly this process, None where it is gone.

        A later owner of the pid began after our pidfd was opened, hence not at start_time: read
        in this order, the two cannot agree about a stranger.
        """
        try:
            fd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno in (errno.ESRCH, errno.EINVAL):
                return None
            raise SyscallError("pidfd_open", str(pid), error.errno or errno.EIO) from None
        if _start_time(pid) == start_time:
            return fd
        os.close(fd)
        return None

    def pid_of(self, pidfd: int) -> int:
        """The pid behind a pidfd, -1 where the process is dead."""
        return _pid_of(pidfd)

    def kill_process(self, pid: int, start_time: int) -> None:
        """SIGKILL to exactly this process, where it is there, without waiting for its end."""
        pidfd = self.open_process(pid, start_time)
        if pidfd is not None:
            try:
                self.signal(pidfd, SIGKILL)
            finally:
                os.close(pidfd)

    def signal(self, pidfd: int, number: int) -> bool:
        """Send a signal; False where the process is gone."""
        self._act("pidfd_send_signal")
        try:
            pidfd_send_signal(pidfd, number)
            return True
        except OSError as error:
            if error.errno == errno.ESRCH:
                return False
            raise SyscallError("pidfd_send_signal", f"signal {number}", error.errno or errno.EIO) from None

    def end_process(self, pidfd: int, seconds: float = _TABLE_SECONDS) -> bool:
        """SIGKILL a process, wait until it is dead, reap it where it is our child, close the pidfd.

        Args:
            pidfd: taken over.
            seconds: how long to wait, by the monotonic clock.
        Returns:
            False where it is still there: unkillable, or frozen.
        """
        import select
        try:
            self._act("pidfd_send_signal")
            _kill(pidfd)
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            end = time.monotonic() + seconds
            while not poll.poll(max(0, int((end - time.monotonic()) * 1000))):
                if time.monotonic() >= end:
                    return False
            try:
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                return True             # another's child, mostly init's
            return True
        finally:
            os.close(pidfd)

    def set_rlimit(self, pid: int, limit: int, soft: int, hard: int) -> None:
        """Set a limit of a live process, prlimit(2).

        Args:
            pid: the process.
            limit: RLIMIT_* number.
            soft, hard: -1 is RLIM_INFINITY.
        """
        import resource
        self._act("prlimit64")
        try:
            resource.prlimit(pid, limit, (soft, hard))
        except OSError as error:
            raise SyscallError("prlimit", f"{pid} limit {limit}", error.errno or errno.EIO) from None
        except ValueError:              # how Python words EINVAL and EPERM alike
            raise SyscallError("prlimit", f"{pid} limit {limit}", errno.EINVAL) from None

    def get_rlimit(self, pid: int, limit: int) -> tuple[int, int]:
        """(soft, hard) of a live process; -1 is RLIM_INFINITY."""
        import resource
        try:
            return resource.prlimit(pid, limit)
        except OSError as error:
            raise SyscallError("prlimit", f"{pid} limit {limit}", error.errno or errno.EIO) from None


def shown(text: bytes) -> str:
    """An op's text in an error: a path as it is, anything else not at all."""
    word = text.decode("utf-8", "replace")
    return word if word.isprintable() and len(word) < 300 else ""
