"""The thin Python face of the C layer: starts the interpreter, talks with it, and a few system calls.

Everything here raises SyscallError, which is an OSError too. The extension is loaded at the first call.
"""

from __future__ import annotations

import errno
import os
from struct import Struct

from runspec.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_loaded: tuple[Any, Any] | None = None
_init = -1
_HEADER = Struct("<IIiI")   # struct report
_FILES_ROOM = 1 << 18
_ROOM = 1 << 17             # more than the largest report: a header and 64 KiB


def _load() -> tuple[Any, Any]:
    """(ffi, lib) of the extension."""
    global _loaded
    if _loaded is None:
        from runspec.kernel.native import _native as module  # type: ignore[attr-defined]
        _loaded = (module.ffi, module.lib)
    return _loaded


def _checked(value: int, call: str, path: str = "") -> int:
    if value < 0:
        raise SyscallError(call, path, -value)
    return value


def init_fd() -> int:
    """The sealed memfd that holds the interpreter, made once per process.

    Returns:
        A close-on-exec descriptor that this module keeps; not to be closed.
    See: memfd_create(2), fcntl(2) "File Sealing".
    """
    global _init
    if _init < 0:
        path = os.path.join(os.path.dirname(__file__), "init")
        with open(path, "rb", buffering=0) as file:
            _init = sealed(b"runspec", file.read(), executable=True)
    return _init


def sealed(name: bytes, data: bytes, executable: bool = False) -> int:
    """A memfd holding `data` that can no longer be written, grown or shrunk.

    Returns:
        A close-on-exec descriptor, the caller's to close.
    See: memfd_create(2).
    """
    _, lib = _load()
    return _checked(lib.runspec_sealed(name, data, len(data), executable), "memfd_create", name.decode())


def spawn(table_fd: int, slots: Sequence[int] = (), flags: int = 0, cgroup_fd: int = -1,
          stdio: tuple[int, int, int] = (-1, -1, -1), init: int = -1, wait: bool = True) -> tuple[int, int, int]:
    """Starts the interpreter on a table, in a child that inherits nothing but what is named here.

    Args:
        table_fd: sealed memfd with the packed table.
        slots: descriptors that become slots 0, 1, ...; as many as the table's `given`.
        flags: CLONE_NEW* for the child; CLONE_NEWTIME is not among them, time_namespaces(7).
        cgroup_fd: a cgroup v2 directory to be born in, or -1.
        stdio: descriptors for 0, 1, 2; -1 keeps ours, or /dev/null where ours is closed or close-on-exec.
        init: another interpreter, for tests.
        wait: until the interpreter runs, or could not be executed; without, that is a report about TABLE_NO_OP.

    Returns:
        (pid, pidfd, control socket); the descriptors are close-on-exec and the caller's to close, the
        child the caller's to wait for.
    Raises:
        SyscallError: clone3, a descriptor or execveat failed; no child is left.
    See: clone(2), execveat(2).
    """
    ffi, lib = _load()
    pid, pidfd, control = ffi.new("int *"), ffi.new("int *"), ffi.new("int *")
    given, standard = ffi.new("int[]", list(slots)), ffi.new("int[]", list(stdio))
    error = lib.runspec_spawn(init if init >= 0 else init_fd(), table_fd, given, len(slots), flags, cgroup_fd,
                              standard, wait, pid, pidfd, control)
    _checked(-error, "clone3", "runspec")
    return pid[0], pidfd[0], control[0]


class Report:
    """One packet from the child: kind (REPORT_*), op index, errno, data, and a descriptor or -1."""

    __slots__ = ("data", "error", "fd", "index", "kind")

    def __init__(self, kind: int, index: int, error: int, data: bytes, fd: int) -> None:
        self.kind, self.index, self.error, self.data, self.fd = kind, index, error, data, fd

    def __repr__(self) -> str:
        words = (f"{field}={getattr(self, field)!r}" for field in ("kind", "index", "error", "data", "fd"))
        return f"Report({', '.join(words)})"


def receive(control: int, timeout: int = -1) -> Report | None:
    """Waits for the child's next report.

    Args:
        control: the socket from spawn.
        timeout: milliseconds, -1 without end.

    Returns:
        The report, or None at the end of file: the program was executed, or the child is gone.
    Raises:
        SyscallError: ETIMEDOUT after the timeout; EBADMSG for a packet that is no report.
    """
    ffi, lib = _load()
    room, fd = ffi.new(f"char[{_ROOM}]"), ffi.new("int *")
    while True:
        got = lib.runspec_receive(control, room, _ROOM, fd, timeout)
        if got != -errno.EINTR:
            break
    if _checked(got, "recvmsg", "control socket") == 0:
        return None
    if got < _HEADER.size:
        raise SyscallError("recvmsg", "control socket", errno.EBADMSG)
    packet = ffi.buffer(room, got)[:]
    kind, index, error, length = _HEADER.unpack_from(packet)
    data = packet[_HEADER.size:]
    if len(data) != length:
        raise SyscallError("recvmsg", "control socket", errno.EBADMSG)
    return Report(kind, index, error, data, fd[0])


def go(control: int) -> None:
    """Lets a child that waits at a BARRIER go on.

    Raises:
        SyscallError: EPIPE, the child is gone.
    """
    _, lib = _load()
    _checked(lib.runspec_go(control), "send", "control socket")


def openat2(dirfd: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Opens path below dirfd, close-on-exec.

    Args:
        resolve: RESOLVE_*.

    Returns:
        A descriptor.
    See: openat2(2).
    """
    _, lib = _load()
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise SyscallError("openat2", repr(path), errno.EINVAL)
    return _checked(lib.runspec_openat2(dirfd, raw, flags, mode, resolve), "openat2", os.fsdecode(path))


_room: Any = None


def read_files(paths: Sequence[str]) -> list[bytes | int]:
    """What each file holds, or where the link leads whose path begins with "@"; an errno where it cannot be read.

    EFBIG: of one that has no room beside the others.
    """
    global _room
    ffi, lib = _load()
    if _room is None:
        _room = ffi.new("char[]", _FILES_ROOM)
    lengths = ffi.new("int32_t[]", len(paths))
    text = "\0".join(paths).encode("utf-8", "surrogateescape")
    used = lib.runspec_read_files(text, len(paths), _room, _FILES_ROOM, lengths)
    data, at = ffi.buffer(_room, used)[:], 0
    out: list[bytes | int] = []
    for length in lengths:
        if length < 0:
            out.append(-length)
            continue
        out.append(data[at:at + length])
        at += length
    return out


def bpf_load(instructions: bytes, name: bytes, kind: int) -> int:
    """Loads a BPF program.

    Args:
        instructions: struct bpf_insn, 8 bytes each.
        name: at most 15 bytes of letters, digits, '_' and '.'.
        kind: BPF_PROG_TYPE_*.

    Returns:
        The program's descriptor.
    See: bpf(2), cgroup-v2.rst "Device controller".
    """
    _, lib = _load()
    return _checked(lib.runspec_bpf_load(instructions, len(instructions) // 8, name, kind), "bpf", "BPF_PROG_LOAD")


def bpf_attach(cgroup_fd: int, program: int, flags: int = 0, replaced: int = -1) -> None:
    """Attaches a device program to a cgroup; with BPF_F_REPLACE in flags, in the place of `replaced`."""
    _, lib = _load()
    _checked(lib.runspec_bpf_attach(cgroup_fd, program, flags, replaced), "bpf", "BPF_PROG_ATTACH")


def bpf_detach(cgroup_fd: int, program: int) -> None:
    """Takes a device program off a cgroup."""
    _, lib = _load()
    _checked(lib.runspec_bpf_detach(cgroup_fd, program), "bpf", "BPF_PROG_DETACH")


def bpf_query(cgroup_fd: int) -> list[int]:
    """Ids of the device programs attached to this very cgroup, in their order."""
    ffi, lib = _load()
    ids = ffi.new("uint32_t[64]")   # BPF_CGROUP_MAX_PROGS
    count = _checked(lib.runspec_bpf_query(cgroup_fd, ids, 64), "bpf", "BPF_PROG_QUERY")
    return list(ids[0:count])


def bpf_open(number: int) -> int:
    """A descriptor of the program with this id."""
    _, lib = _load()
    return _checked(lib.runspec_bpf_open(number), "bpf", f"program {number}")


def bpf_info(program: int) -> tuple[int, bytes, bytes]:
    """(id, tag, name) of a program; equal tags mean equal instructions on one kernel."""
    ffi, lib = _load()
    tag, name = ffi.new("char[8]"), ffi.new("char[16]")
    number = _checked(lib.runspec_bpf_info(program, tag, name), "bpf", "BPF_OBJ_GET_INFO_BY_FD")
    return number, ffi.buffer(tag)[:], ffi.string(name)


def sched_set(task: int, attr: bytes) -> None:
    """Sets how a task is scheduled, sched_setattr(2); ESRCH, it has ended, is no error."""
    _, lib = _load()
    got = lib.runspec_sched_set(task, attr)
    if got != -errno.ESRCH:
        _checked(got, "sched_setattr", str(task))


def sched_get(task: int, size: int) -> bytes | None:
    """struct sched_attr of a task, None where it has ended."""
    ffi, lib = _load()
    room = ffi.new(f"char[{size}]")
    got = lib.runspec_sched_get(task, room, size)
    if got == -errno.ESRCH:
        return None
    _checked(got, "sched_getattr", str(task))
    return bytes(ffi.buffer(room, size))


def ioprio_set(task: int, value: int) -> None:
    """Sets a task's input and output priority, ioprio_set(2); ESRCH is no error."""
    _, lib = _load()
    got = lib.runspec_ioprio_set(task, value)
    if got != -errno.ESRCH:
        _checked(got, "ioprio_set", str(task))


def ioprio_get(task: int) -> int | None:
    """A task's input and output priority, None where it has ended."""
    _, lib = _load()
    got: int = lib.runspec_ioprio_get(task)
    return None if got == -errno.ESRCH else _checked(got, "ioprio_get", str(task))


def landlock_version() -> int:
    """Landlock's interface version, 0 where the kernel has none or has it switched off."""
    _, lib = _load()
    version: int = lib.runspec_landlock_abi()
    return max(0, version)


def seccomp_knows(flags: int) -> bool:
    """Whether this kernel knows SECCOMP_FILTER_FLAG_*, seccomp(2)."""
    _, lib = _load()
    return bool(lib.runspec_seccomp_knows(flags) == 0)


def has_userfaultfd() -> bool:
    """Whether a process may wait in a page fault, userfaultfd(2)."""
    _, lib = _load()
    fd: int = lib.runspec_userfaultfd()
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def answer_fault(fault: int, address: int) -> None:
    """Wakes the process that waits at an address until its listener was handed on, see SECCOMP in ops.h."""
    _, lib = _load()
    _checked(lib.runspec_answer_fault(fault, address), "ioctl", "UFFDIO_COPY")


def pidfd_getfd(process: int, number: int) -> int:
    """A copy of a descriptor of another process, close-on-exec, pidfd_getfd(2)."""
    _, lib = _load()
    return _checked(lib.runspec_pidfd_getfd(process, number), "pidfd_getfd", str(number))
