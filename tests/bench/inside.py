"""Runs in the private world of a benchmark: what one contender makes of two containers, looked at in the kernel."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from runspec.bench.contender import Contender, load
from runspec.bench.scene import Scene
from runspec.bench.suite_start import copies
from runspec.errors import HostError
from runspec.spec.model import Network, Spec


def main() -> int:
    """A report on standard output."""
    asked = json.load(sys.stdin)
    scene = Scene(asked["room"], tuple(asked["program"]), lambda line: None, asked["group"])
    words = asked["settings"]
    models = scene.read(words["file"])
    spec, = (one for one in models if isinstance(one, Spec))
    networks = [one for one in models if isinstance(one, Network)]
    contender = load(words["contender"], scene)
    report: dict[str, Any] = {"missing": contender.missing(spec)}
    if not report["missing"]:
        try:
            report |= live(scene, contender, spec, networks)
        except Exception as error:
            report["trouble"] = f"{type(error).__name__}: {error}"
    json.dump(report, sys.stdout)
    return 0


def live(scene: Scene, contender: Contender, spec: Spec, networks: list[Network]) -> dict[str, Any]:
    """Start two, look, run a program, remove; then one to its end; then one that fails."""
    report: dict[str, Any] = {"version": contender.version()}
    contender.prepare(copies(spec, 2), networks)
    before = left(scene)
    contender.start()
    pids = contender.pids()
    report["running"] = [look(pid) for _, pid in sorted(pids.items())]
    report["names"] = sorted(pids)
    with contextlib.suppress(HostError):
        report["exec"] = contender.exec("start1", ["/bin/sh", "-c", "echo $((6 * 7))"])
    report["command"] = contender.command("start0")
    contender.delete()
    report["after"] = difference(scene, before)
    contender.delete()      # of nothing is no error
    for name, script in (("run", "echo $((6 * 7))"), ("failed", "echo $((6 * 7)); exit 3")):
        args = ("/bin/sh", "-c", script)
        one = load(contender.name, scene)
        one.prepare([spec.replace(name=name, process=spec.process.replace(args=args))], networks)
        before = left(scene)
        try:
            report[name] = one.run(name)
        except HostError as error:
            report[name] = f"refused: {error.what}"
        one.delete()
        report[f"after {name}"] = difference(scene, before)
    return report


def look(pid: int) -> dict[str, Any]:
    """What the kernel says of a process."""
    out: dict[str, Any] = {"private": sorted(
        kind for kind in ("pid", "mnt", "net", "ipc", "uts", "cgroup")
        if os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"))}
    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
        out["comm"] = file.read().strip()
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file.read().splitlines())
    out["caps"], out["pid inside"] = int(fields["CapEff"], 16), int(fields["NSpid"].split()[-1])
    out |= {"memory": limit(pid, "memory", ("memory.limit_in_bytes", "memory.max")),
            "pids": limit(pid, "pids", ("pids.max",)), "shares": limit(pid, "cpu", ("cpu.shares", "cpu.weight"))}
    shown = subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", "-4", "addr"], check=True,
                           capture_output=True, text=True).stdout
    out["links"] = {one["ifname"]: [f"{a['local']}/{a['prefixlen']}" for a in one["addr_info"]]
                    for one in json.loads(shown or "[]") if "UP" in one["flags"]}
    shown = subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", "route", "show", "default"],
                           check=True, capture_output=True, text=True).stdout
    out["gateway"] = [one["gateway"] for one in json.loads(shown or "[]")]
    return out


def limit(pid: int, controller: str, files: tuple[str, ...]) -> str:
    """What a process's group says, or the one above where it says nothing, whichever version has it."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    for _, names, path in lines:
        for top in ([f"/sys/fs/cgroup/{controller}"] if controller in names.split(",") else
                    ["/sys/fs/cgroup"] if not names else []):
            for place in (path, os.path.dirname(path)):
                for name in files:
                    with contextlib.suppress(OSError), open(f"{top}{place}/{name}", encoding="ascii") as found:
                        text = found.read().strip()
                        if text != "max":
                            return text
    return "none"


def left(scene: Scene) -> dict[str, list[str]]:
    """What is there: processes, links, mounts, named namespaces, groups of containers."""
    processes = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and int(name) not in (1, os.getpid()):
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    head, _, tail = file.read().rpartition(")")
                if tail.split()[0] != "Z":
                    processes.append(head)
    groups = [place for top, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(top) == scene.group
              for place, _, _ in os.walk(top)]
    # What peers are known to make at the top, or where they are themselves.
    groups += [str(one) for pattern in ("payload*", "supervisor*", "lxc*", "libpod*", "machine*", "conmon*")
               for depth in ("", "*/") for one in Path("/sys/fs/cgroup").glob(f"{depth}{pattern}")]
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mounts = sorted(line.split()[1] for line in file)
    return {"processes": sorted(processes), "links": sorted(os.listdir("/sys/class/net")), "mounts": mounts,
            "namespaces": sorted(os.listdir("/run/netns")), "groups": sorted(groups)}


def difference(scene: Scene, before: dict[str, list[str]]) -> dict[str, list[str]]:
    """What is there that was not; what a kill leaves behind for a moment is waited for."""
    end = time.monotonic() + 10
    while True:
        now = left(scene)
        found = {key: [one for one in now[key] if one not in before[key] and not parent(one, key)] for key in now}
        found = {key: rows for key, rows in found.items() if rows}
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.02)


def parent(one: str, key: str) -> bool:
    """What containers of one contender share stays until the run ends: the group above theirs, monitors, a store."""
    if key == "mounts":
        return one.startswith("/run/podman/root/")
    below = one.split("/runspec-bench-", 1)[-1].split("/")[2:]
    return key == "groups" and (not below or below[0] in ("pivot", "conmon"))
