"""The default filter of system calls, which `seccomp: default` names, as OCI would write it."""

from __future__ import annotations

import os
from errno import EPERM

from runspec.spec import jsonlite
from runspec.spec.model import Seccomp, Spec, SyscallArg, SyscallRule
from runspec.spec.schema import folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT = "default"
ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


def default_text() -> bytes:
    """The file with the lists, schemas/seccomp.default.json."""
    with open(os.path.join(folder(), "seccomp.default.json"), "rb") as file:
        return file.read()


def rules_of(spec: Spec, machine: str) -> Seccomp | None:
    """What a spec's filter says, the default one spelled out for its capabilities.

    Args:
        machine: as uname(2) names the processor, x86_64 or aarch64; "" for all that the lists know.
    """
    asked = spec.linux.seccomp
    return default_rules(spec.process.capabilities.bounding, machine) if isinstance(asked, str) else asked


def default_rules(capabilities: tuple[str, ...], machine: str) -> Seccomp:
    """The default filter for processes that can never hold more than these capabilities."""
    tree = jsonlite.loads(default_text())
    groups: dict[str, list[str]] = {name: names for name, names in tree["capabilities"].items() if name != "note"}
    granted = {call for name in capabilities for call in groups.get(name, ())}
    denied = {call for calls in groups.values() for call in calls} - granted
    rules = [SyscallRule(names=tuple(sorted({*tree["allow"]["names"], *granted})), action=ALLOW),
             SyscallRule(names=tuple(sorted({*tree["refuse"]["names"], *denied})), action=ERRNO, errno_ret=EPERM)]
    rules += [_rule(one) for one in tree["rules"]
              if one.get("with", "") in ("", *capabilities) and one.get("without", "-") not in capabilities]
    return Seccomp(default_action=ERRNO, default_errno_ret=tree["defaultErrnoRet"], syscalls=tuple(rules),
                   architectures=tuple(
                       name for one, names in tree["architectures"].items() if machine in ("", one) for name in names))


def _rule(tree: dict[str, Any]) -> SyscallRule:
    args = tuple(SyscallArg(index=one["index"], value=int(one["value"], 16), value_two=int(one["valueTwo"], 16),
                            op=one["op"]) for one in tree.get("args", ()))
    return SyscallRule(names=tuple(tree["names"]), action=tree["action"], errno_ret=tree.get("errnoRet"), args=args)
