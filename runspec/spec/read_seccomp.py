"""YAML trees -> the filter of system calls."""

from __future__ import annotations

from runspec.spec.model import Seccomp, SyscallArg, SyscallRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Tree = dict[str, Any]

DEFAULT, NONE = "default", "unconfined"


def seccomp(linux: Tree, bare: bool) -> Seccomp | str | None:
    """seccomp(2); no filter at all takes a word, or a null that is written down.

    Args:
        bare: no default is meant.
    """
    raw = linux.get("seccomp", None if bare else DEFAULT)
    if raw is None or raw == NONE:
        return None
    if isinstance(raw, str):
        return raw
    return Seccomp(
        default_action=raw["defaultAction"], default_errno_ret=raw.get("defaultErrnoRet"),
        architectures=tuple(raw.get("architectures") or ()), flags=tuple(raw.get("flags") or ()),
        listener_path=raw.get("listenerPath"), listener_metadata=raw.get("listenerMetadata"),
        syscalls=tuple(rule(one) for one in raw.get("syscalls") or ()))


def rule(raw: Tree) -> SyscallRule:
    """One rule."""
    return SyscallRule(
        names=tuple(raw["names"]), action=raw["action"], errno_ret=raw.get("errnoRet"),
        args=tuple(SyscallArg(index=one["index"], value=one["value"], value_two=one.get("valueTwo"), op=one["op"])
                   for one in raw.get("args") or ()))
