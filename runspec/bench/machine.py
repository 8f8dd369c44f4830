"""The machine that a run was taken on, in a few words, and how busy it was."""

from __future__ import annotations

import os


def facts() -> dict[str, str]:
    """Name -> text, in the order in which it is shown."""
    import time

    name = os.uname()
    return {
        "processor": processor(text("/proc/cpuinfo"), name.machine),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": memory(text("/proc/meminfo")),
        "kernel": f"{name.sysname} {name.release} {name.machine}",
        "distribution": distribution(text("/etc/os-release")),
        "cgroups": hierarchies(text("/proc/self/mounts")),
        "load before": load(),
        "when": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def load() -> str:
    """Averages over 1, 5 and 15 minutes, proc(5), /proc/loadavg."""
    return " ".join(text("/proc/loadavg").split()[:3])


def text(path: str) -> str:
    """A file's text, "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def processor(cpuinfo: str, otherwise: str) -> str:
    """The model's name of /proc/cpuinfo, which not every architecture tells."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return " ".join(value.split())
    return otherwise


def memory(meminfo: str) -> str:
    """MemTotal of /proc/meminfo in GiB."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return f"{int(line.split()[1]) / (1 << 20):.1f} GiB"
    return "unknown"


def distribution(release: str) -> str:
    """PRETTY_NAME of os-release(5)."""
    for line in release.splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip("\"'")
    return "unknown"


def hierarchies(mounts: str) -> str:
    """Which versions of control groups are mounted: v1, v2, or both."""
    kinds = {line.split()[2] for line in mounts.splitlines() if len(line.split()) > 2}
    return {(True, False): "v1", (False, True): "v2", (True, True): "v1 and v2", (False, False): "none"}[
        "cgroup" in kinds, "cgroup2" in kinds]
