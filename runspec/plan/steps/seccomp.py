"""Filters of system calls: OCI's words as the kernel's numbers, and the operation that loads a filter."""

from __future__ import annotations

from errno import EPERM

from runspec import abi
from runspec.plan.steps.base import Table
from runspec.spec.frozen import Frozen
from runspec.spec.model import Seccomp, SyscallArg, SyscallRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    # (name of a call, SECCOMP_RET_* with its data, conditions that hold together)
    Rule = tuple[str, int, tuple[tuple[int, str, int, int], ...]]

ACTIONS = {
    "SCMP_ACT_KILL": abi.SECCOMP_RET_KILL_THREAD, "SCMP_ACT_KILL_THREAD": abi.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": abi.SECCOMP_RET_KILL_PROCESS, "SCMP_ACT_TRAP": abi.SECCOMP_RET_TRAP,
    "SCMP_ACT_ERRNO": abi.SECCOMP_RET_ERRNO, "SCMP_ACT_TRACE": abi.SECCOMP_RET_TRACE,
    "SCMP_ACT_ALLOW": abi.SECCOMP_RET_ALLOW, "SCMP_ACT_LOG": abi.SECCOMP_RET_LOG,
    "SCMP_ACT_NOTIFY": abi.SECCOMP_RET_USER_NOTIF,
}
NUMBERED = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
NOTIFY = "SCMP_ACT_NOTIFY"
MASKED = "SCMP_CMP_MASKED_EQ"
_SIGNS = {"SCMP_CMP_NE": "!=", "SCMP_CMP_LT": "<", "SCMP_CMP_LE": "<=", "SCMP_CMP_EQ": "==", "SCMP_CMP_GE": ">=",
          "SCMP_CMP_GT": ">"}


class Filter(Frozen):
    """A compiled filter.

    Args:
        key: its name in the cache.
        program: struct sock_filter after struct sock_filter; flags: of seccomp(2).
    """

    key: str
    program: bytes
    flags: int = 0


def number(action: str, errno_ret: int | None) -> int:
    """SECCOMP_RET_* with its data; without a word of the user's, calls are refused with EPERM."""
    return ACTIONS[action] | ((EPERM if errno_ret is None else errno_ret) & 0xFFFF if action in NUMBERED else 0)


def rules(one: Seccomp) -> Iterator[Rule]:
    """Every rule for every name, once.

    The kernel's library takes one condition on each argument, all of which must hold. Several on one
    argument are alternatives, as every OCI runtime has them: each becomes a rule of its own.
    """
    told: set[Rule] = set()
    for rule in one.syscalls:
        action = number(rule.action, rule.errno_ret)
        for conditions in alternatives(rule.args):
            for name in rule.names:
                row = (name, action, conditions)
                if row not in told:
                    told.add(row)
                    yield row


def alternatives(args: tuple[SyscallArg, ...]) -> list[tuple[tuple[int, str, int, int], ...]]:
    """The conditions of a rule as sets of which one must hold whole."""
    rows = tuple((one.index, one.op, one.value, one.value_two or 0 if one.op == MASKED else 0) for one in args)
    if len({row[0] for row in rows}) < len(rows):
        return [(row,) for row in rows]
    return [tuple(sorted(rows))]


def notifies(one: Seccomp) -> bool:
    """Whether an agent is asked about some calls."""
    return any(rule.action == NOTIFY for rule in one.syscalls)


def flags(one: Seccomp) -> int:
    """SECCOMP_FILTER_FLAG_* for seccomp(2)."""
    bits = 0
    for word in one.flags:
        bits |= getattr(abi, word)
    if notifies(one):
        bits |= abi.SECCOMP_FILTER_FLAG_NEW_LISTENER
        if bits & abi.SECCOMP_FILTER_FLAG_TSYNC:
            # Both answer with a number: only with this do they mean different ones.
            bits |= abi.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
    return bits


def filter_ops(table: Table, one: Filter | None, at_once: bool) -> None:
    """Load a filter: right before the exec, or at once while the right to do so is still there."""
    if one is not None:
        table.add(abi.OP_SECCOMP, s1=one.program, a=one.flags, b=int(at_once))


def shown(rule: SyscallRule) -> str:
    """A rule on one line, for people."""
    errno = "" if rule.errno_ret is None else f"({rule.errno_ret})"
    conditions = " and ".join(
        f"arg{one.index} & {one.value:#x} == {one.value_two or 0:#x}" if one.op == MASKED
        else f"arg{one.index} {_SIGNS[one.op]} {one.value}" for one in rule.args)
    return f"{rule.action}{errno} {', '.join(rule.names)}{' if ' + conditions if conditions else ''}"
