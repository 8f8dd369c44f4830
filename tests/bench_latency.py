"""The worst wake-up of a real-time container beside a busy one, next to native SCHED_FIFO and to pinning alone.

    .venv/bin/python tests/bench_latency.py [--seconds 10] [-o json]

Needs root, two processors and gcc. A program sleeps until each next millisecond and notes how late it
wakes; figures are microseconds. It runs on processor 1 while four loops of another container keep busy
either processor 0 (as specs/phone-v1.yaml has it) or processor 1 as well, which only a scheduling class
or an isolated core can keep from mattering.

- `fifo`: a container with SCHED_FIFO, on cgroup v1 with a budget of 100 ms in each second.
- `pinned`: the same without SCHED_FIFO.
- `isolated`: the same with SCHED_FIFO on a cpuset partition, where cgroup v2 gives one; nobody can be put beside it.
- `native`: no container at all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from kernels import lacks
from wakeup import build, late

FIFO = {"scheduler": {"policy": "SCHED_FIFO", "priority": 50}}
LOOPS = "for i in 1 2 3 4; do (while :; do :; done) & done; wait"


def runspec(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The installed command."""
    done = subprocess.run([Path(sys.executable).with_name("runspec"), *words], capture_output=True,
                          text=True, check=False)
    if done.returncode:
        raise SystemExit(f"runspec {words}: {done.stderr}")
    return done


@contextmanager
def container(room: Path, name: str, args: list[str], cpu: dict[str, object], more: dict[str, Any]) -> Iterator[None]:
    """One that runs for a while."""
    file = room / f"{name}.yaml"
    file.write_text(yaml.safe_dump({
        "apiVersion": "runspec/v1", "name": name, "root": {"image": "busybox"}, "interfaces": [],
        "process": {"args": args, **more}, "linux": {"resources": {"cpu": cpu, "memory": {"limit": "64Mi"}}}}))
    runspec("apply", file)
    try:
        yield
    finally:
        runspec("destroy", "--yes", file)


def measure(room: Path, seconds: int) -> dict[str, dict[str, float]]:
    """Case -> percentiles."""
    program, out = build(room), {}
    budget = {} if lacks("rt_group") else {"realtimeRuntime": "100ms"}
    kinds: list[tuple[str, dict[str, object], dict[str, Any]]] = [("fifo", {"cpus": "1", **budget}, FIFO),
                                                                  ("pinned", {"cpus": "1"}, {})]
    if not lacks("partition"):
        kinds.append(("isolated", {"cpus": "1", "partition": "isolated"}, FIFO))
    idle = ["/bin/sleep", "100000"]
    for where, core in (("apart", "0"), ("shared", "1")):
        with container(room, "latency-busy", ["/bin/sh", "-c", LOOPS], {"cpus": core, "weight": 100}, {}):
            time.sleep(1)
            for kind, cpu, more in kinds:
                if (kind, where) == ("isolated", "shared"):
                    continue        # runspec refuses it: the neighbour would be left without a core
                with container(room, "latency-rt", idle, cpu, more):
                    out[f"{kind}, core {where}"] = late(program, runspec, "latency-rt", seconds * 1000)
            native = subprocess.run(["taskset", "-c", "1", "chrt", "-f", "50", program, str(seconds * 1000)],
                                    capture_output=True, text=True, check=True)
            out[f"native fifo, core {where}"] = json.loads(native.stdout)
    return out


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="wake-up latency of a real-time container")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("-o", choices=("text", "json"), default="text")
    words = parser.parse_args()
    if os.geteuid():
        parser.error("needs root")
    with tempfile.TemporaryDirectory() as room:
        found = measure(Path(room), words.seconds)
    if words.o == "json":
        print(json.dumps(found))
        return 0
    print(f"{'late by, in microseconds':32} {'p50':>10} {'p99':>10} {'max':>10}")
    for name, one in found.items():
        print(f"{name:32} {one['p50']:10.1f} {one['p99']:10.1f} {one['max']:10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
