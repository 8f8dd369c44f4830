"""All faults of a document in one go, in order of place, and none that only follows from another."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runspec.errors import SpecError
from runspec.spec import rules, source

HEAD = "apiVersion: runspec/v1\nname: a\nroot: {image: busybox}\n"
# Of everything something, each leaning on others: maps on namespaces, ports on addresses, a pool on its network.
RICH = """apiVersion: runspec/v1
kind: Network
name: lan0
addresses: [10.77.0.1/24, "fd77::1/64"]
nat: true
pool: {range: [10.77.0.16-10.77.0.99], exclude: [10.77.0.20]}
---
apiVersion: runspec/v1
name: rich
hostname: rich
root: {image: "oci:/srv/img:1", overlay: {upper: /srv/up}}
process:
  terminal: true
  consoleSize: {height: 24, width: 80}
  env: [A=1, B=2]
  user: {uid: 5, gid: 6, additionalGids: [7, 8]}
  rlimits: [{type: RLIMIT_NOFILE, soft: 10, hard: 20}, {type: RLIMIT_CORE, soft: 0, hard: 0}]
  capabilities: {bounding: [CAP_KILL, CAP_CHOWN], effective: [CAP_KILL], permitted: [CAP_KILL],
                 inheritable: [CAP_KILL], ambient: [CAP_KILL]}
  scheduler: {policy: SCHED_FIFO, priority: 5}
mounts:
  - {destination: /a, source: /srv, options: [rbind, ro]}
  - {destination: /b, type: tmpfs, source: tmpfs, options: [size=1M, nosuid]}
  - {destination: /c, source: /srv, options: [bind, idmap], uidMappings: [{containerID: 0, hostID: 1000, size: 1}],
     gidMappings: [{containerID: 0, hostID: 1000, size: 1}]}
linux:
  namespaces: [{type: pid}, {type: mount}, {type: uts}, {type: ipc}, {type: network}, {type: user}, {type: time}]
  uidMappings: [{containerID: 0, hostID: 100000, size: 4}, {containerID: 4, hostID: 200000, size: 1000}]
  gidMappings: [{containerID: 0, hostID: 100000, size: 4}, {containerID: 4, hostID: 200000, size: 1000}]
  timeOffsets: {monotonic: {secs: 5}}
  sysctl: {net.ipv4.ip_forward: "1", kernel.msgmax: "4096"}
  devices: [{path: /dev/fuse, type: c, major: 10, minor: 229}]
  resources:
    cpu: {weight: 50, quota: 50%, burst: 10ms, period: 100ms, cpus: "0", partition: isolated}
    memory: {limit: 64Mi, swap: 128Mi, reservation: 32Mi}
    blockIO: {throttleReadBpsDevice: [{major: 8, minor: 0, rate: 10Mi}]}
    devices: [{allow: true, type: c, major: 10, minor: 229, access: rwm}]
  seccomp:
    defaultAction: SCMP_ACT_ERRNO
    listenerPath: /run/agent.sock
    syscalls:
      - {names: [execve, exit_group, read, write, close], action: SCMP_ACT_ALLOW}
      - {names: [mkdir], action: SCMP_ACT_NOTIFY}
hooks: {poststart: [{path: /bin/true, args: [a, b], env: [A=1], timeout: 5}]}
interfaces:
  - {name: eth0, type: veth, network: lan0, addresses: [10.77.0.5/24, "fd77::5/64"], gateway: [10.77.0.1, "fd77::1"],
     qos: {egress: {rate: 10mbit, ceil: 20mbit, burst: 32Ki}}}
  - {name: eth1, type: vlan, parent: nic0, vlan: {id: 10}, addresses: [10.80.0.5/24],
     routes: [{to: 10.90.0.0/16, via: 10.80.0.1, metric: 5}]}
ports: ["8080:80", {host: 53, container: 53, protocol: udp}, "[::]:81:81"]
dns: {nameservers: [10.77.0.1], search: [example]}
extraHosts: {db: 10.1.1.1, gw: host-gateway}
labels: {tier: web}
"""


def judged(text: str, host: bool = False) -> list[SpecError]:
    return rules.judge(*source.parse(text, "t.yaml"), host=host)[1]


def told(text: str, host: bool = False) -> list[str]:
    return [f"{one.at}: {one.what.partition(': ')[0]}" for one in judged(text, host)]


def test_every_layer_in_one_go(tmp_path: Path) -> None:
    """The schema's, the units', the rules' and the machine's, in lists by the file's own indices."""
    text = f"""apiVersion: runspec/v1
name: a
root: {{image: busybox}}
hostnam: x
process:
  arg: [sh]
  env: [A=1, 5, A=2]
  rlimits:
  - {{type: RLIMIT_NOFIL, soft: 1, hard: 2}}
  - {{type: RLIMIT_CORE, soft: 2, hard: 1}}
mounts:
- {{destination: /a, source: {tmp_path}/none, options: [bind]}}
- {{destination: /b, typ: tmpfs}}
- {{destination: /c, source: {tmp_path}, options: [bind, rrx]}}
- {{destination: /c, type: tmpfs}}
linux:
  sysctl:
    "bad key": 1
    kernel.panic: "1"
  resources:
    memory: {{limit: 10Q}}
    cpu: {{burst: 5ms}}
hooks: {{poststart: [{{path: {tmp_path}/hook}}]}}
"""
    assert told(text, host=True) == [
        "t.yaml:4:1: hostnam", "t.yaml:6:3: process.arg", "t.yaml:7:14: process.env[1]",
        "t.yaml:7:17: process.env[2]", "t.yaml:9:12: process.rlimits[0].type",
        "t.yaml:10:31: process.rlimits[1].soft", "t.yaml:12:29: mounts[0].source", "t.yaml:13:21: mounts[1].typ",
        f"t.yaml:14:{47 + len(str(tmp_path))}: mounts[2].options[1]", "t.yaml:15:17: mounts[3].destination",
        't.yaml:18:5: linux.sysctl["bad key"]', "t.yaml:19:5: linux.sysctl.kernel.panic",
        "t.yaml:21:21: linux.resources.memory.limit", "t.yaml:22:18: linux.resources.cpu.burst",
        "t.yaml:23:28: hooks.poststart[0].path"]
    assert [one for one in told(text) if "mounts[0]" in one or "hooks" in one] == []


@pytest.mark.parametrize(("text", "paths"), [
    (HEAD + "process: {args: [sh]}\nports: [5]\n", ["ports[0]"]),
    # What must be there, and is not: the rest is judged all the same.
    ("apiVersion: runspec/v1\nprocess: {args: [sh], cwd: a}\nlinux: {resources: {cpu: {burst: 5ms}}}\n",
     ["name", "root", "process.cwd", "linux.resources.cpu.burst"]),
    (HEAD + "process: {args: [sh]}\nmounts: [{type: tmpfs}, {destination: /a}]\n",
     ["mounts[0].destination", "mounts[1]"]),
    # A misspelt key is not missing as well.
    ("apiVersion: runspec/v1\nnam: a\nroot: {image: busybox}\nprocess: {args: [sh]}\n", ["nam"]),
    (HEAD + "process: {args: [sh]}\nmounts: [{destinaton: /a, type: tmpfs}]\n", ["mounts[0].destinaton"])])
def test_beside_a_fault_of_the_schema(text: str, paths: list[str]) -> None:
    assert sorted(one.rpartition(": ")[2] for one in told(text)) == sorted(paths)


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, inner in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from leaves(inner, (*path, key))


def test_nothing_follows_from_a_value_that_cannot_be_read() -> None:
    """Whatever is of the wrong type is the only thing that is told."""
    assert told(RICH) == []
    documents = json.dumps(list(yaml.safe_load_all(RICH)))
    tried = 0
    for path in leaves(json.loads(documents)):
        if len(path) == 1:
            continue        # a whole document
        tree = json.loads(documents)
        around = tree
        for key in path[:-1]:
            around = around[key]
        around[path[-1]] = "x" if isinstance(around[path[-1]], bool) else True
        found = judged("\n---\n".join(map(json.dumps, tree)))
        assert len(found) == 1, (path, [one.what for one in found])
        tried += 1
    assert tried > 200


def test_thousands_of_both_are_quick() -> None:
    begun = time.process_time()
    found = judged(f"{HEAD}process:\n  args: [sh]\n  env:\n" + "  - A=1\n  - 5\n" * 10_000)
    assert len(found) == 19_999 and time.process_time() - begun < 3      # of CPU; by squares it takes 15 s and more
