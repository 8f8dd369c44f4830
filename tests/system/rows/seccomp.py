"""The filter of system calls: each part changes what a program inside is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rows.base import Live, Row

KEPT = "the kernel never takes a filter back, and does not show what it says"
RECORD = "it shows only to the agent, and in how the filter was loaded"


def own(**more: Any) -> dict[str, Any]:
    return {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", **more}}}


def mkdir(action: str, **more: Any) -> dict[str, Any]:
    return {"syscalls": [{"names": ["mkdir", "mkdirat"], "action": action, **more}]}


def answers(script: str) -> Callable[[Live], str]:
    """The last words of what a shell inside says to a script."""
    return lambda live: live.inside("sh", "-c", f"rmdir /a 2>/dev/null; {script} 2>&1 && echo fine").strip().rpartition(
        ": ")[2]


def mode(live: Live) -> tuple[str, ...]:
    """Mode and number of init's filters."""
    return tuple(line.split()[1] for line in live.proc("status").splitlines() if line.startswith("Seccomp"))


def listed(number: int) -> dict[str, Any]:
    """An allow list that lacks mkdir: what is not on it gets the number."""
    import json

    from runspec.spec.seccomp import default_text

    names = [name for name in json.loads(default_text())["allow"]["names"] if name not in ("mkdir", "mkdirat")]
    names += ["clone", "clone3", "socket", "personality"]
    return {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": number,
                                  "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]}}}


FINE, MEDIUM = "fine", "No medium found"
ROWS = (
    Row("linux.seccomp", {"linux": {"seccomp": "default"}}, {"linux": {"seccomp": "unconfined"}}, mode,
        (("2", "1"), ("0", "0")), KEPT),
    Row("linux.seccomp.syscalls", own(**mkdir("SCMP_ACT_ERRNO", errnoRet=123)), own(**mkdir("SCMP_ACT_ALLOW")),
        answers("mkdir /a"), (MEDIUM, FINE), KEPT),
    Row("linux.seccomp.defaultErrnoRet", listed(123), listed(25), answers("mkdir /a"),
        (MEDIUM, "Inappropriate ioctl for device"), KEPT),
    Row("linux.seccomp.defaultAction", own(), {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_LOG"}}}, mode,
        (("2", "1"), ("2", "1")), KEPT),
    Row("linux.seccomp.architectures", own(), own(architectures=["SCMP_ARCH_X86"]), mode, (("2", "1"), ("2", "1")),
        KEPT),
    Row("linux.seccomp.flags", own(), own(flags=["SECCOMP_FILTER_FLAG_LOG"]), mode, (("2", "1"), ("2", "1")), RECORD),
)
