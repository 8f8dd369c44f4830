"""How the processes run: scheduling, priorities, memory policy, personality, Landlock."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from rows.base import Live, Row

BATCH, OTHER = {"policy": "SCHED_BATCH", "nice": 7}, {"policy": "SCHED_OTHER", "nice": 3}


def policy(live: Live) -> tuple[int, int]:
    """(policy, nice) as sched_getscheduler(2) and getpriority(2) tell them."""
    return os.sched_getscheduler(live.pid), os.getpriority(os.PRIO_PROCESS, live.pid)


def ionice(live: Live) -> str:
    """ionice(1)'s words."""
    return subprocess.run(["ionice", "-p", str(live.pid)], capture_output=True, text=True, check=True).stdout.strip()


def renice(live: Live) -> None:
    """setpriority(2) from outside."""
    os.setpriority(os.PRIO_PROCESS, live.pid, 11)


def to_idle(live: Live) -> None:
    """ioprio_set(2) from outside."""
    subprocess.run(["ionice", "-c", "3", "-p", str(live.pid)], check=True)


def scheduler(path: str, before: dict[str, object], after: dict[str, object], expect: tuple[object, object]) -> Row:
    return Row(path, {"process": {"scheduler": before}}, {"process": {"scheduler": after}}, policy, expect, renice,
               at="process.scheduler")


def io(path: str, before: dict[str, object], after: dict[str, object], expect: tuple[str, str]) -> Row:
    return Row(path, {"process": {"ioPriority": before}}, {"process": {"ioPriority": after}}, ionice, expect, to_idle,
               at="process.ioPriority")


def personality(live: Live) -> str:
    return live.proc("personality").strip()


def numa(live: Live) -> str:
    """The policy of the first mapping."""
    return live.proc("numa_maps").split()[1]


def may(*scripts: str) -> Callable[[Live], tuple[bool, ...]]:
    """Which of these scripts a shell inside can do."""
    return lambda live: tuple(live.inside("sh", "-c", f"({one}) 2>/dev/null && echo yes || echo no").strip() == "yes"
                              for one in scripts)


def allow(path: str) -> dict[str, object]:
    """Reading and running everywhere, writing below one directory."""
    return {"landlock": {"fs": [{"path": "/", "access": ["read", "execute"]},
                                {"path": path, "access": ["read", "write"]},
                                {"path": "/dev", "access": ["read", "write"]}]}}


def listen(port: int) -> str:
    """Listens for a moment: timeout(1) ends what could bind, with status 143."""
    return f"timeout 1 nc -l -p {port}; test $? = 143"


def reach(port: int) -> str:
    """Nobody listens: refused by the other side means allowed by Landlock."""
    return f"nc 127.0.0.1 {port} </dev/null 2>&1 | grep -q refused"


def realtime(priority: int) -> dict[str, object]:
    """With the budget that a group of cgroup v1 needs for it."""
    return {"process": {"scheduler": {"policy": "SCHED_RR", "priority": priority}},
            "linux": {"resources": {"cpu": {"realtimeRuntime": 10000, "realtimePeriod": 1000000}}}}


GIVEN = {"runtime": 1_000_000, "deadline": 10_000_000, "period": 20_000_000}


def deadline(**keys: int) -> dict[str, object]:
    return {"process": {"scheduler": {"policy": "SCHED_DEADLINE", **GIVEN, **keys}}}


def reservation(live: Live) -> dict[str, int]:
    """chrt(1)'s words, nanoseconds."""
    said = subprocess.run(["chrt", "-p", str(live.pid)], capture_output=True, text=True, check=True).stdout
    values = next(line.rpartition(" ")[2].split("/") for line in said.splitlines() if "runtime/deadline/period" in line)
    return dict(zip(GIVEN, map(int, values), strict=True))


def to_other(live: Live) -> None:
    os.sched_setscheduler(live.pid, os.SCHED_OTHER, os.sched_param(0))


CANNOT = "the kernel changes it for the calling process only, before execve(2)"
ROWS = (
    scheduler("process.scheduler", BATCH, OTHER, ((3, 7), (0, 3))),
    scheduler("process.scheduler.policy", {"policy": "SCHED_OTHER"}, {"policy": "SCHED_BATCH"}, ((0, 0), (3, 0))),
    scheduler("process.scheduler.nice", BATCH, BATCH | {"nice": 2}, ((3, 7), (3, 2))),
    scheduler("process.scheduler.flags", {"policy": "SCHED_OTHER"},
              {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, ((0, 0), (1 << 30, 0))),
    Row("process.scheduler.priority", realtime(1), realtime(2), lambda live: (
        os.sched_getscheduler(live.pid), os.sched_getparam(live.pid).sched_priority), ((2, 1), (2, 2)), to_other,
        ("cgroup_v1",), at="process.scheduler"),
    *(Row(f"process.scheduler.{name}", deadline(), deadline(**{name: value}), reservation,
          (GIVEN, GIVEN | {name: value}), to_other, ("vm",), at="process.scheduler")
      for name, value in (("runtime", 2_000_000), ("deadline", 9_000_000), ("period", 30_000_000))),
    io("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 6}, {"class": "IOPRIO_CLASS_IDLE"},
       ("best-effort: prio 6", "idle")),
    io("process.ioPriority.class", {"class": "IOPRIO_CLASS_BE", "priority": 2},
       {"class": "IOPRIO_CLASS_RT", "priority": 2}, ("best-effort: prio 2", "realtime: prio 2")),
    io("process.ioPriority.priority", {"class": "IOPRIO_CLASS_BE", "priority": 2},
       {"class": "IOPRIO_CLASS_BE", "priority": 5}, ("best-effort: prio 2", "best-effort: prio 5")),
    Row("linux.personality.domain", {"linux": {"personality": {"domain": "LINUX"}}},
        {"linux": {"personality": {"domain": "LINUX32"}}}, personality, ("00000000", "00000008"), CANNOT,
        at="linux.personality"),
    Row("linux.memoryPolicy.mode", {"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"}}},
        {"linux": {"memoryPolicy": {"mode": "MPOL_PREFERRED", "nodes": "0"}}}, numa, ("bind:0", "prefer:0"), CANNOT,
        at="linux.memoryPolicy"),
    Row("landlock.fs[].path", allow("/tmp"), allow("/run"), may("echo > /tmp/x", "echo > /run/x"),
        ((True, False), (False, True)), CANNOT, at="landlock"),
    Row("landlock.net.bind", {"landlock": {"net": {"bind": [80]}}}, {"landlock": {"net": {"bind": [81]}}},
        may(listen(80), listen(81)), ((True, False), (False, True)), CANNOT, at="landlock"),
    Row("landlock.fs[].access", allow("/tmp"), {"landlock": {"fs": [
        {"path": "/", "access": ["read", "execute"]}, {"path": "/tmp", "access": ["read"]},
        {"path": "/dev", "access": ["read", "write"]}]}}, may("echo > /tmp/x"), ((True,), (False,)), CANNOT,
        at="landlock"),
    Row("landlock.net.connect", {"landlock": {"net": {"connect": [80]}}}, {"landlock": {"net": {"connect": [81]}}},
        may(reach(80), reach(81)), ((True, False), (False, True)), CANNOT, at="landlock"),
    Row("landlock.scope", {"landlock": {"net": {"bind": []}}}, {"landlock": {"net": {"bind": []}, "scope": ["signal"]}},
        may("kill -0 1"), ((True,), (False,)), CANNOT, at="landlock"),
    Row("process.execCPUAffinity.final", {"process": {"execCPUAffinity": {"final": "0"}}},
        {"process": {"execCPUAffinity": {"final": "1"}}},
        lambda live: live.inside("grep", "Cpus_allowed_list", "/proc/self/status").split()[1], ("0", "1"),
        "it shows only in a program that exec starts"),
)
