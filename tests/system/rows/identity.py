"""What a container is called, what is written on it, and what its namespaces hold of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernels import cgroup_mounts

from rows.base import Live, Row
from runspec.spec import fields

NO_TRACE = "it is a word for people and tools; nothing of it reaches the kernel"


def recorded(key: str) -> Callable[[Live], Any]:
    return lambda live: live.record().get(key)


def sysctl(kinds: str, key: str) -> Callable[[Live], str]:
    return lambda live: live.enter(kinds, "sysctl", "-n", key)


def cgroup(live: Live) -> set[str]:
    """The paths of its groups below every hierarchy that runspec uses, from the mount on."""
    mine = [line.split(":", 2)[2] for line in live.proc("cgroup").splitlines()]
    return {f"/runspec/{path.rpartition('/')[2]}" for path in mine if "/runspec" in path and "row" in path}


def move(live: Live) -> None:
    """Out of its groups, into one that a neighbour made."""
    kind, where = next((kind, where) for kind, where, _ in cgroup_mounts() if Path(where, "runspec/row-b").is_dir())
    # On v2 a group whose children have controllers holds no processes itself.
    other = Path(where, "runspec/row-moved" if kind == "cgroup2" else "runspec")
    other.mkdir(exist_ok=True)
    Path(other, "cgroup.procs").write_text(str(live.pid))


def renamed(live: Live) -> None:
    live.enter("u", "hostname", "other")


PROCESS = {"process": {"args": ["/bin/sleep", "100000"]}}
ROWS = (
    Row("labels", {"labels": {"tier": "front"}}, {"labels": {"tier": "back"}}, recorded("labels"),
        ({"tier": "front"}, {"tier": "back"}), NO_TRACE, both=False),
    Row("project", {"project": "shop"}, {"project": "office"}, recorded("project"), ("shop", "office"), NO_TRACE,
        both=False),
    Row("annotations", {"annotations": {"org.example.a": "1"}}, {"annotations": {"org.example.b": "1"}},
        recorded("annotations"), ({"org.example.a": "1"}, {"org.example.b": "1"}), NO_TRACE, both=False),
    Row("hostname", {"hostname": "one"}, {"hostname": "two"}, lambda live: live.enter("u", "hostname"),
        ("one", "two"), renamed),
    Row("domainname", {"domainname": "one.test"}, {"domainname": "two.test"}, sysctl("u", "kernel.domainname"),
        ("one.test", "two.test"), lambda live: sysctl_to(live, "u", "kernel.domainname=other")),
    Row("linux.sysctl", {"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}},
        {"linux": {"sysctl": {"net.ipv4.ip_forward": "0"}}}, sysctl("n", "net.ipv4.ip_forward"), ("1", "0"),
        lambda live: sysctl_to(live, "n", "net.ipv4.ip_forward=1"), at="linux.sysctl.net.ipv4.ip_forward"),
    Row("linux.sysctl", {"linux": {"sysctl": {"kernel.msgmax": "4096"}}}, {"linux": {"sysctl": {}}},
        sysctl("i", "kernel.msgmax"), ("4096", "8192"), "the file asks for nothing any more",
        at="linux.sysctl.kernel.msgmax"),
    Row("linux.cgroupsPath", {}, {"linux": {"cgroupsPath": "/runspec/row-b"}}, cgroup,
        ({"/runspec/row"}, {"/runspec/row-b"}), move),
    Row("linux.namespaces", {"linux": {"namespaces": [{"type": "ipc"}]}},
        {"linux": {"namespaces": [{"type": "ipc", "path": "/proc/self/ns/ipc"}]}},
        lambda live: Path(f"/proc/{live.pid}/ns/ipc").readlink() == Path("/proc/self/ns/ipc").readlink(),
        (False, True), "only a process itself leaves a namespace, setns(2)", at="linux.namespaces[3]",
        impact=fields.RESTART),
    Row("linux.namespaces", {"linux": {"namespaces": [{"type": "time"}]}}, {}, lambda live: Path(
        f"/proc/{live.pid}/ns/time").readlink() == Path("/proc/self/ns/time").readlink(), (False, True),
        "only a process itself leaves a namespace, setns(2)", ("time_namespace",), at="linux.namespaces[time]",
        impact=fields.RESTART),
    Row("linux.namespaces", {"linux": {"namespaces": [{"type": "network"}]}},
        {"linux": {"namespaces": [{"type": "network", "path": "/proc/self/ns/net"}]}},
        lambda live: Path(f"/proc/{live.pid}/ns/net").readlink() == Path(live.host(
            "readlink", "/proc/self/ns/net").strip()), (False, True),
        "only a process itself leaves a namespace, setns(2)", at="linux.namespaces[4]"),
    Row("linux.timeOffsets",
        {"linux": {"namespaces": [{"type": "time"}], "timeOffsets": {"boottime": {"secs": 1000}}}},
        {"linux": {"namespaces": [{"type": "time"}], "timeOffsets": {"boottime": {"secs": 2000}}}},
        lambda live: live.proc("timens_offsets").split()[4], ("1000", "2000"),
        "offsets are fixed with the first process, time_namespaces(7)", ("time_namespace",)),
)


def sysctl_to(live: Live, kinds: str, words: str) -> None:
    live.enter(kinds, "sysctl", "-q", "-w", words)


def mapped(first: int) -> dict[str, Any]:
    one = [{"containerID": 0, "hostID": first, "size": 65536}]
    return {"linux": {"namespaces": [{"type": "user"}], "uidMappings": one, "gidMappings": one}}


FIXED = "a map is written once and never again, user_namespaces(7)"
ROWS += tuple(
    Row(f"linux.{kind}Mappings", mapped(100000), mapped(200000), lambda live, kind=kind: live.proc(  # type: ignore[misc]
        f"{kind}_map").split(), (["0", "100000", "65536"], ["0", "200000", "65536"]), FIXED, ("user_namespace",))
    for kind in ("uid", "gid"))
