"""Filters of system calls: rules in, the kernel's program out; all of it is libseccomp's work.

Its extension is apart from the other one: only who compiles a filter loads it, and needs libseccomp.
"""

from __future__ import annotations

import errno
import os

from runspec.errors import HostError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    # (index of an argument, SCMP_CMP_*, value or mask, what is left under the mask)
    Condition = tuple[int, str, int, int]
    # (name of a call, SECCOMP_RET_* with its data, conditions that hold together)
    Rule = tuple[str, int, tuple[Condition, ...]]

MOST = 4096             # instructions, BPF_MAXINSNS of linux/bpf_common.h
_BINARY_TREE = 2        # instead of one comparison for each call, seccomp_attr_set(3)
_loaded: tuple[Any, Any] | None = None


def _load() -> tuple[Any, Any]:
    """(ffi, lib) of the extension.

    Raises:
        HostError: libseccomp is not there.
    """
    global _loaded
    if _loaded is None:
        try:
            from runspec.kernel.native import _seccomp as module  # type: ignore[attr-defined]
        except ImportError as error:
            raise HostError("a seccomp filter needs libseccomp", str(error), "apt-get install libseccomp2") from None
        _loaded = (module.ffi, module.lib)
    return _loaded


def version() -> str:
    """Of the library, with the processor's word for its own calls: what a compiled filter depends on."""
    _, lib = _load()
    one = lib.seccomp_version()
    return f"{one.major}.{one.minor}.{one.micro} {lib.seccomp_arch_native():x}"


def compile_filter(default: int, architectures: Sequence[str], rules: Iterable[Rule]) -> bytes:
    """The program of a filter, struct sock_filter after struct sock_filter.

    Args:
        default: SECCOMP_RET_* for what no rule says, with its data.
        architectures: SCMP_ARCH_*, beside the machine's own; calls of any other kill the thread.
        rules: in any order; a call that the library does not know is left out.

    Raises:
        SyscallError: call "seccomp_rule_add" with the name, where two rules contradict; "seccomp_arch_add"
            with EDOM, where the byte order is another one; E2BIG for more than MOST instructions.
        HostError: libseccomp is not there.
    See: seccomp_init(3), seccomp_rule_add(3), seccomp_export_bpf(3).
    """
    ffi, lib = _load()
    context = lib.seccomp_init(default)
    if context == ffi.NULL:
        raise SyscallError("seccomp_init", f"{default:#x}", errno.EINVAL)
    try:
        _check(lib.seccomp_attr_set(context, lib.SCMP_FLTATR_CTL_OPTIMIZE, _BINARY_TREE), "seccomp_attr_set", "")
        for name in architectures:
            # 0, what an unknown name becomes, would stand for the machine's own.
            number = lib.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            got = lib.seccomp_arch_add(context, number) if number else -errno.EINVAL
            if got != -errno.EEXIST:
                _check(got, "seccomp_arch_add", name)
        for name, action, conditions in rules:
            number = lib.seccomp_syscall_resolve_name(name.encode("utf-8", "replace"))
            if number == lib.__NR_SCMP_ERROR or action == default:
                continue
            args = ffi.new("struct scmp_arg_cmp[]", [
                (index, getattr(lib, op), value, other) for index, op, value, other in conditions])
            _check(lib.seccomp_rule_add_array(context, action, number, len(conditions), args), "seccomp_rule_add",
                   name)
        fd = os.memfd_create("runspec-filter", os.MFD_CLOEXEC)
        try:
            _check(lib.seccomp_export_bpf(context, fd), "seccomp_export_bpf", "")
            program = os.pread(fd, 1 << 24, 0)
        finally:
            os.close(fd)
    finally:
        lib.seccomp_release(context)
    if len(program) > MOST * 8:
        raise SyscallError("seccomp", f"a program of {len(program) // 8} instructions", errno.E2BIG)
    return program


def _check(got: int, call: str, what: str) -> None:
    if got < 0:
        raise SyscallError(call, what, -got)
