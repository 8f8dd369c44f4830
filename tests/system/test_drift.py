"""Every key the kernel can tell: changed behind runspec's back, named by `diff`, repaired by `apply`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Cli, requires
from kernels import cgroup_mounts

SPEC = """\
apiVersion: runspec/v1
name: drift
hostname: drift
domainname: example
root: {image: busybox}
process:
  args: [/bin/sleep, "100000"]
  oomScoreAdj: 100
  rlimits:
    - {type: RLIMIT_NOFILE, soft: 512, hard: 1024}
mounts:
  - {destination: /data, source: DATA, options: [bind, rw, nosuid]}
  - {destination: /scratch, type: tmpfs, source: scratch, options: [nosuid, nodev, size=1m, mode=0700]}
linux:
  sysctl: {net.ipv4.ip_forward: "1", kernel.msgmax: "4096"}
  devices:
    - {path: /dev/other, type: c, major: 1, minor: 5, fileMode: 0600, uid: 5, gid: 6}
  resources:
    cpu: {cpus: "0", mems: "0", weight: 25, quota: 25%}
    memory: {limit: 64Mi, reservation: 32Mi}
    pids: {limit: 64}
    devices:
      - {allow: true, type: c, major: 10, minor: 200, access: rw}
interfaces:
  - name: eth0
    type: veth
    network: drift0
    mac: 02:00:00:00:00:11
    mtu: 1400
    addresses: [10.78.0.11/24, "fd78::11/64"]
    gateway: [10.78.0.1, "fd78::1"]
    routes: [{to: 192.0.2.0/24, via: 10.78.0.2, metric: 50}]
---
apiVersion: runspec/v1
kind: Network
name: drift0
type: bridge
mtu: 1400
addresses: [10.78.0.1/24, "fd78::1/64"]
"""


class Live:
    """A running container and the ways to reach it from outside."""

    def __init__(self, cli: Cli, file: Path) -> None:
        self.cli, self.file = cli, file
        self.pid = json.loads(cli("state", "drift").stdout)["pid"]
        self.start = self.start_time()

    def start_time(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[19]

    def net(self, *words: str) -> None:
        subprocess.run(["nsenter", "-t", str(self.pid), "-n", *words], check=True, capture_output=True)

    def inside(self, kinds: str, *words: str) -> None:
        subprocess.run(["nsenter", "-t", str(self.pid), f"-{kinds}", *words], check=True, capture_output=True)

    def host(self, *words: str) -> None:
        assert self.cli.netns.run(*words).returncode == 0

    def group(self, v1: str, v2: str, value: tuple[str, str]) -> None:
        """Write a file of its cgroup; names and values for either version."""
        controller = v1.split(".")[0]
        for version, where, names in cgroup_mounts():
            if version == 1 and controller in names:
                Path(where, "runspec/drift", v1).write_text(value[0])
                return
        for version, where, _ in cgroup_mounts():
            if version == 2:
                Path(where, "runspec/drift", v2).write_text(value[1])

    def change(self) -> list[dict[str, str]]:
        done = self.cli("diff", "-o", "json", self.file, status=None)
        assert done.returncode in (0, 1), done.stderr
        return list(json.loads(done.stdout)["changes"])


@pytest.fixture
def live(cli: Cli, tmp_path: Path) -> Iterator[Live]:
    (tmp_path / "data").mkdir()
    file = tmp_path / "drift.yaml"
    file.write_text(SPEC.replace("DATA", str(tmp_path / "data")))
    cli("apply", file)
    yield Live(cli, file)
    cli("destroy", "--yes", file)


def _mount(one: Live, *words: str) -> None:
    subprocess.run(["nsenter", "-t", str(one.pid), "-m", "--", "/bin/busybox", "mount", *words], check=True,
                   capture_output=True)


# path that diff must name -> (how to disturb it, whether init keeps running through the repair)
DISTURB: dict[str, tuple[Callable[[Live], object], bool]] = {
    "hostname": (lambda o: o.inside("u", "hostname", "other"), True),
    "domainname": (lambda o: o.inside("u", "sysctl", "-q", "-w", "kernel.domainname=other"), True),
    "linux.sysctl.net.ipv4.ip_forward": (lambda o: o.net("sysctl", "-q", "-w", "net.ipv4.ip_forward=0"), True),
    "linux.sysctl.kernel.msgmax": (lambda o: o.inside("i", "sysctl", "-q", "-w", "kernel.msgmax=8192"), True),
    "process.oomScoreAdj": (lambda o: Path(f"/proc/{o.pid}/oom_score_adj").write_text("200"), True),
    "process.rlimits[0].soft": (
        lambda o: subprocess.run(["prlimit", "-p", str(o.pid), "--nofile=100:1024"], check=True), True),
    "linux.resources.cpu.weight": (lambda o: o.group("cpu.shares", "cpu.weight", ("500", "50")), True),
    "linux.resources.cpu.quota": (lambda o: o.group("cpu.cfs_quota_us", "cpu.max", ("50000", "50000 100000")), True),
    "linux.resources.cpu.cpus": (lambda o: o.group("cpuset.cpus", "cpuset.cpus", ("1", "1")), True),
    "linux.resources.memory.limit": (
        lambda o: o.group("memory.limit_in_bytes", "memory.max", ("128M", "128M")), True),
    "linux.resources.memory.reservation": (
        lambda o: o.group("memory.soft_limit_in_bytes", "memory.low", ("16M", "16M")), True),
    "linux.resources.pids.limit": (lambda o: o.group("pids.max", "pids.max", ("32", "32")), True),
    "linux.devices[0]": (lambda o: os.chmod(f"/proc/{o.pid}/root/dev/other", 0o666), False),
    "mounts": (lambda o: _mount(o, "-t", "tmpfs", "extra", "/mnt"), False),
    "mounts[0]": (lambda o: o.inside("m", "/bin/busybox", "umount", "/data"), False),
    "mounts[0].options": (lambda o: _mount(o, "-o", "remount,bind,ro", "/data"), False),
    "mounts[1].options": (lambda o: _mount(o, "-o", "remount,bind,ro,nosuid,nodev", "/scratch"), False),
    "mounts[1].options.size": (lambda o: _mount(o, "-o", "remount,size=2m", "/scratch"), False),
    "root.readonly": (lambda o: _mount(o, "-o", "remount,bind,ro", "/"), False),
    "linux.maskedPaths": (lambda o: o.inside("m", "/bin/busybox", "umount", "/proc/keys"), False),
    "linux.readonlyPaths": (lambda o: _mount(o, "-o", "remount,bind,rw", "/proc/sys"), False),
    "linux.rootfsPropagation": (lambda o: _mount(o, "--make-shared", "/"), False),
    "interfaces": (lambda o: o.net("ip", "link", "add", "br9", "type", "bridge"), True),
    "interfaces[0]": (lambda o: o.net("ip", "link", "del", "eth0"), True),
    "interfaces[0].mtu": (lambda o: o.net("ip", "link", "set", "eth0", "mtu", "1300"), True),
    "interfaces[0].mac": (lambda o: o.net("ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"), True),
    "interfaces[0].up": (lambda o: o.net("ip", "link", "set", "eth0", "down"), True),
    "interfaces[0].addresses": (lambda o: o.net("ip", "addr", "add", "10.78.0.99/24", "dev", "eth0"), True),
    "interfaces[0].gateway": (lambda o: o.net("ip", "route", "del", "default"), True),
    "interfaces[0].routes": (lambda o: o.net("ip", "route", "add", "198.51.100.0/24", "via", "10.78.0.3"), True),
    "interfaces[0].network": (lambda o: o.host("ip", "link", "set", "drift.eth0", "nomaster"), True),
}
NETWORK: dict[str, Callable[[Live], object]] = {
    "addresses": lambda o: o.host("ip", "addr", "del", "10.78.0.1/24", "dev", "drift0"),
    "mtu": lambda o: o.host("ip", "link", "set", "drift0", "mtu", "1300"),
    "up": lambda o: o.host("ip", "link", "set", "drift0", "down"),
}


@requires("root", "busybox", "bridge", "veth", "ip", "nsenter")
@pytest.mark.both
@pytest.mark.parametrize("path", DISTURB)
def test_drift_is_named_and_repaired(live: Live, path: str) -> None:
    """`diff` names the path as drifted; `apply` repairs it, in place where the class says so."""
    assert live.change() == []
    disturb, in_place = DISTURB[path]
    disturb(live)
    changes = live.change()
    assert path in [one["path"] for one in changes], changes
    assert {one["cause"] for one in changes} == {"drifted"}
    assert {one["class"] for one in changes} == {"inPlace" if in_place else "restart"}
    live.cli("apply", "--yes", live.file)
    assert live.change() == []
    if in_place:
        assert live.start_time() == live.start


@requires("root", "busybox", "bridge", "veth", "ip", "nsenter")
@pytest.mark.both
@pytest.mark.parametrize("path", NETWORK)
def test_drift_of_a_network(live: Live, path: str) -> None:
    """The bridge is part of the file as well."""
    NETWORK[path](live)
    changes = live.change()
    assert ("drift0", path, "drifted", "inPlace") in [
        (one["target"], one["path"], one["cause"], one["class"]) for one in changes], changes
    live.cli("apply", "--yes", live.file)
    assert live.change() == []
    assert live.start_time() == live.start


@requires("root", "busybox", "bridge", "veth")
@pytest.mark.both
def test_second_apply_does_nothing(live: Live) -> None:
    """Not one step, and not one file written."""
    plan = json.loads(live.cli("plan", "-o", "json", live.file).stdout)
    assert plan["steps"] == [] and plan["changes"] == []
    before = live.cli.picture()
    assert live.cli("apply", live.file).stdout == "up to date: nothing to do\n"
    assert live.cli.picture() == before
