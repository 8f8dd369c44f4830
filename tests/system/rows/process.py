"""What runs: its program, its identity, its rights and limits."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rows.base import Live, Row

MAY = "the program itself may change it at any time, and that is no drift"
OWN = "a process changes it for itself alone, capabilities(7)"
LEFT = ["CAP_CHOWN", "CAP_KILL"]
FULL = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]
CHOWN, KILL, NET_RAW = 1 << 0, 1 << 5, 1 << 13


def process(**keys: Any) -> dict[str, Any]:
    return {"process": {"args": ["/bin/sleep", "100000"], **keys}}


def words(file: str) -> Callable[[Live], list[str]]:
    return lambda live: live.proc(file).split("\0")[:-1]


def status(field: str) -> Callable[[Live], list[str]]:
    """A line of /proc/PID/status."""
    return lambda live: next(line.split()[1:] for line in live.proc("status").splitlines()
                             if line.startswith(f"{field}:"))


def mask(field: str) -> Callable[[Live], int]:
    return lambda live: int(status(field)(live)[0], 16)


def user(path: str, before: dict[str, Any], after: dict[str, Any], field: str,
         expect: tuple[list[str], list[str]]) -> Row:
    return Row(f"process.user.{path}", process(user=before), process(user=after), status(field), expect, MAY,
               both=False)


def capability(name: str, field: str, before: dict[str, list[str]], after: dict[str, list[str]],
               expect: tuple[int, int]) -> Row:
    return Row(f"process.capabilities.{name}", process(capabilities=before), process(capabilities=after), mask(field),
               expect, OWN, both=name in ("bounding", "ambient"))


def sets(**keys: list[str]) -> dict[str, list[str]]:
    return {"bounding": FULL, "effective": FULL, "permitted": FULL, "inheritable": [], "ambient": [], **keys}


def nofile(soft: int, hard: int) -> dict[str, Any]:
    return process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}])


def limit(live: Live) -> tuple[int, int]:
    out = subprocess.run(["prlimit", "-p", str(live.pid), "--nofile", "--raw", "--noheadings", "-o", "SOFT,HARD"],
                         check=True, capture_output=True, text=True).stdout.split()
    return int(out[0]), int(out[1])


def lower(live: Live) -> None:
    subprocess.run(["prlimit", "-p", str(live.pid), "--nofile=100:"], check=True)


def score(live: Live) -> None:
    Path(f"/proc/{live.pid}/oom_score_adj").write_text("300")


ROWS = (
    Row("process.args", process(), process(args=["/bin/sleep", "99999"]), words("cmdline"),
        (["/bin/sleep", "100000"], ["/bin/sleep", "99999"]), MAY),
    Row("process.env", process(env={"A": "1"}), process(env={"A": "2"}), lambda live: words("environ")(live)[-1],
        ("A=1", "A=2"), MAY, both=False),
    Row("process.cwd", process(cwd="/tmp"), process(cwd="/var"),
        lambda live: str(Path(f"/proc/{live.pid}/cwd").readlink()), ("/tmp", "/var"), MAY, both=False),
    user("uid", {"uid": 1}, {"uid": 2}, "Uid", (["1"] * 4, ["2"] * 4)),
    user("gid", {"gid": 3}, {"gid": 4}, "Gid", (["3"] * 4, ["4"] * 4)),
    user("umask", {"umask": "0022"}, {"umask": "0077"}, "Umask", (["0022"], ["0077"])),
    user("additionalGids", {"additionalGids": [5]}, {"additionalGids": [5, 6]}, "Groups", (["5"], ["5", "6"])),
    capability("bounding", "CapBnd", sets(), sets(bounding=[*FULL, "CAP_SETGID"]),
               (CHOWN | KILL | NET_RAW, CHOWN | KILL | NET_RAW | 1 << 6)),
    capability("permitted", "CapPrm", sets(effective=LEFT), sets(effective=LEFT, permitted=LEFT, bounding=LEFT),
               (CHOWN | KILL | NET_RAW, CHOWN | KILL)),
    capability("inheritable", "CapInh", sets(), sets(inheritable=LEFT), (0, CHOWN | KILL)),
    capability("ambient", "CapAmb", sets(inheritable=LEFT), sets(inheritable=LEFT, ambient=LEFT), (0, CHOWN | KILL)),
    Row("process.rlimits", nofile(512, 1024), nofile(256, 1024), limit, ((512, 1024), (256, 1024)), lower,
        at="process.rlimits[1].soft"),
    Row("process.rlimits", nofile(512, 1024), nofile(512, 600), limit, ((512, 1024), (512, 600)),
        "to raise a hard limit again takes CAP_SYS_RESOURCE", at="process.rlimits[1].hard"),
    Row("process.noNewPrivileges", process(noNewPrivileges=False), process(noNewPrivileges=True),
        status("NoNewPrivs"), (["0"], ["1"]), "once set it holds for ever, PR_SET_NO_NEW_PRIVS(2const)"),
    Row("process.oomScoreAdj", process(oomScoreAdj=100), process(oomScoreAdj=200),
        lambda live: live.proc("oom_score_adj").strip(), ("100", "200"), score),
)
