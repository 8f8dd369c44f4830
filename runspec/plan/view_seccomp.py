"""The filter of system calls as path -> value: as asked, and as far as the kernel tells."""

from __future__ import annotations

from runspec.plan.facts import Facts
from runspec.plan.steps import seccomp
from runspec.plan.values import ABSENT
from runspec.spec.model import Seccomp, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AT = "linux.seccomp"


def expect_seccomp(spec: Spec, view: dict[str, Any]) -> None:
    """What the filter says, part by part."""
    one = spec.linux.seccomp
    if one is None:
        return
    view[AT] = one if isinstance(one, str) else "rules of its own"
    if not isinstance(one, Seccomp):
        return
    rows = (("defaultAction", one.default_action), ("defaultErrnoRet", one.default_errno_ret),
            ("architectures", one.architectures), ("flags", one.flags), ("listenerPath", one.listener_path),
            ("listenerMetadata", one.listener_metadata), ("syscalls", tuple(map(seccomp.shown, one.syscalls))))
    view.update((f"{AT}.{name}", value) for name, value in rows if value not in (None, ()))


def see_seccomp(spec: Spec, facts: Facts, view: dict[str, Any], before: dict[str, Any]) -> None:
    """The kernel counts filters and never takes one back; what they say is what the Record says was loaded."""
    if spec.linux.seccomp is None and AT not in before:
        return
    wanted: dict[str, Any] = {}
    expect_seccomp(spec, wanted)
    for path in {*wanted, *(path for path in before if path == AT or path.startswith(AT + "."))}:
        view[path] = before.get(path, ABSENT) if facts.filters else ABSENT
