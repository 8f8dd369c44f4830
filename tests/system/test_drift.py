"""Drifts of control groups named and repaired, and what a new init keeps; rows/ walks the other fields."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Netns, requires
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

SMALL = """\
apiVersion: runspec/v1
name: drift
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]}
interfaces: []
"""
OF_V1 = """\
linux:
  resources:
    cpu: {shares: 512, quota: 25%, burst: 1000}
    memory: {limit: 64Mi, swap: 64Mi, swappiness: 10, disableOOMKiller: true}
"""
needs = requires("root", "busybox", "bridge", "veth", "ip", "nsenter")


class Live:
    """A running container and the ways to reach it from outside."""

    def __init__(self, cli: Cli, file: Path) -> None:
        self.cli, self.file = cli, file
        self.pid = json.loads(cli("state", "drift").stdout)["pid"]
        self.start = self.start_time()

    def start_time(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[19]

    def inside(self, kinds: str, *words: str) -> None:
        subprocess.run(["nsenter", "-t", str(self.pid), f"-{kinds}", *words], check=True, capture_output=True)

    def group(self, v1: str, v2: str, value: tuple[str, str]) -> None:
        """Write a file of its cgroup; names and values for either version."""
        controller = v1.split(".")[0]
        for kind, where, options in cgroup_mounts():
            if kind == "cgroup" and controller in options.split(","):
                Path(where, "runspec/drift", v1).write_text(value[0])
                return
        for kind, where, _ in cgroup_mounts():
            if kind == "cgroup2":
                Path(where, "runspec/drift", v2).write_text(value[1])

    def lasting(self) -> list[str]:
        """What a restart keeps: groups, network namespace, its links and addresses."""
        links = subprocess.run(["nsenter", "-t", str(self.pid), "-n", "ip", "-j", "addr"], check=True,
                               capture_output=True, text=True).stdout
        return [Path(f"/proc/{self.pid}/cgroup").read_text(), os.readlink(f"/proc/{self.pid}/ns/net"),
                *(f"{one['ifname']} {one['address']} {address['local']}"
                  for one in json.loads(links) for address in one["addr_info"])]

    def change(self) -> list[dict[str, str]]:
        done = self.cli("diff", "-o", "json", self.file, status=None)
        assert done.returncode in (0, 1), done.stderr
        return list(json.loads(done.stdout)["changes"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """One container for all tests that leave it as it was: making one takes most of a test's time in the VM."""
    netns = Netns()
    cli = Cli(netns, Path("/run/runspec/state"))
    yield cli
    cli.sweep()
    cli("destroy", "--yes", "drift0", status=None)
    netns.close()


@pytest.fixture
def live(home: Cli, tmp_path_factory: pytest.TempPathFactory) -> Live:
    folder = tmp_path_factory.getbasetemp() / "drift"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    file = folder / "drift.yaml"
    file.write_text(SPEC.replace("DATA", str(folder / "data")))
    home("apply", "--yes", file)
    return Live(home, file)


def of(home: Cli, folder: Path, text: str) -> Live:
    """The container of this name made anew from another text."""
    file = folder / "drift.yaml"
    file.write_text(text)
    home("apply", "--yes", file)
    return Live(home, file)


# Path that diff must name -> how to disturb it.
IN_PLACE: dict[str, Callable[[Live], object]] = {
    "linux.resources.cpu.weight": lambda o: o.group("cpu.shares", "cpu.weight", ("500", "50")),
    "linux.resources.cpu.quota": lambda o: o.group("cpu.cfs_quota_us", "cpu.max", ("50000", "50000 100000")),
    "linux.resources.cpu.period": lambda o: o.group("cpu.cfs_period_us", "cpu.max", ("50000", "25000 50000")),
    "linux.resources.cpu.cpus": lambda o: o.group("cpuset.cpus", "cpuset.cpus", ("1", "1")),
    "linux.resources.memory.limit": lambda o: o.group("memory.limit_in_bytes", "memory.max", ("128M", "128M")),
    "linux.resources.memory.reservation": lambda o: o.group(
        "memory.soft_limit_in_bytes", "memory.low", ("16M", "16M")),
    "linux.resources.pids.limit": lambda o: o.group("pids.max", "pids.max", ("32", "32")),
}
# The same for what only one version of control groups has.
ONLY_V1: dict[str, Callable[[Live], object]] = {
    "linux.resources.cpu.shares": lambda o: o.group("cpu.shares", "", ("999", "")),
    "linux.resources.cpu.burst": lambda o: o.group("cpu.cfs_burst_us", "", ("2000", "")),
    "linux.resources.memory.swap": lambda o: o.group("memory.memsw.limit_in_bytes", "", ("128M", "")),
    "linux.resources.memory.swappiness": lambda o: o.group("memory.swappiness", "", ("30", "")),
    "linux.resources.memory.disableOOMKiller": lambda o: o.group("memory.oom_control", "", ("0", "")),
    "linux.resources.devices": lambda o: o.group("devices.allow", "", ("b 7:* rwm", "")),
}
def check(live: Live, path: str, disturb: Callable[[Live], object], kind: str) -> None:
    """Disturb one thing: diff names its path with its class, apply repairs it, and then all is as before."""
    disturb(live)
    changes = live.change()
    assert path in [one["path"] for one in changes], changes
    assert {one["cause"] for one in changes} == {"drifted"}
    assert {one["class"] for one in changes} == {kind}
    live.cli("apply", "--yes", live.file)
    assert live.change() == []


@needs
@pytest.mark.both
@pytest.mark.parametrize("path", IN_PLACE)
def test_repaired_in_place(live: Live, path: str) -> None:
    """What differs is set again below a running init."""
    check(live, path, IN_PLACE[path], "inPlace")
    assert live.start_time() == live.start


@needs
@requires("cgroup_v1")
@pytest.mark.parametrize("path", ONLY_V1)
def test_repaired_in_place_v1(home: Cli, tmp_path: Path, path: str) -> None:
    """Keys that only cgroup v1 has, or whose files are its own."""
    live = of(home, tmp_path, SMALL + OF_V1)
    check(live, path, ONLY_V1[path], "inPlace")
    assert live.start_time() == live.start


@needs
@requires("cgroup_v2")
def test_unified(home: Cli, tmp_path: Path) -> None:
    """A control file of cgroup v2 named by its own name."""
    live = of(home, tmp_path, SMALL + "linux: {resources: {unified: {memory.high: '33554432', pids.max: '20'}}}\n")
    check(live, "linux.resources.unified.memory.high", lambda o: o.group("?", "memory.high", ("", "1G")), "inPlace")
    check(live, "linux.resources.unified.pids.max", lambda o: o.group("?", "pids.max", ("", "99")), "inPlace")
    assert live.start_time() == live.start


@needs
@pytest.mark.both
def test_new_init_keeps(live: Live) -> None:
    """A new init takes over the root with what was written to it, the groups, and the network; all else is done too."""
    live.inside("m", "/bin/busybox", "touch", "/root/written")
    before = live.lasting()
    text = live.file.read_text()
    live.file.write_text(text.replace("100000", "99998"))
    live.cli("apply", "--yes", live.file)
    after = Live(live.cli, live.file)
    assert after.pid != live.pid
    assert after.lasting() == before
    after.inside("m", "/bin/busybox", "test", "-e", "/root/written")

    for old, new in (("100000", "99997"), ("hostname: drift", "hostname: other"), ("weight: 25", "weight: 50"),
                     ("destination: /data", "destination: /more"), ("minor: 5", "minor: 7"), ("mtu: 1400", "mtu: 1300"),
                     ('net.ipv4.ip_forward: "1", ', ""), ("soft: 512", "soft: 256"), ("domainname: example\n", ""),
                     ("linux:\n", "linux:\n  maskedPaths: [/etc/passwd]\n")):
        assert old in text
        text = text.replace(old, new)
    live.file.write_text(text)
    live.cli("apply", "--yes", live.file)
    last = Live(live.cli, live.file)
    assert last.pid != after.pid and live.change() == []
    last.inside("m", "/bin/busybox", "test", "-e", "/root/written")
    mounts = [line.split()[4] for line in Path(f"/proc/{last.pid}/mountinfo").read_text().splitlines()]
    assert {"/more", "/etc/passwd"} < set(mounts) and not {"/data", "/proc/keys"} & set(mounts)
    said = [subprocess.run(["nsenter", "-t", str(last.pid), *words.split()], check=True, capture_output=True,
                           text=True).stdout.split()
            for words in ("-u hostname", "-n sysctl -n net.ipv4.ip_forward")]
    assert said == [["other"], ["0"]]
    assert os.minor(os.stat(f"/proc/{last.pid}/root/dev/other").st_rdev) == 7


@needs
@pytest.mark.both
def test_edit_asks_for_consent(live: Live) -> None:
    """A restart without --yes and without somebody to ask changes nothing."""
    live.file.write_text(live.file.read_text().replace("100000", "99999"))
    changes = live.change()
    assert [(one["path"], one["cause"], one["class"]) for one in changes] == [("process.args", "edited", "restart")]
    live.cli("apply", live.file, status=2)
    assert live.start_time() == live.start
    live.cli("apply", "--yes", live.file)
    assert Path(f"/proc/{Live(live.cli, live.file).pid}/cmdline").read_bytes().endswith(b"\x0099999\0")


@needs
@pytest.mark.both
def test_second_apply_does_nothing(live: Live) -> None:
    """Not one step, and not one file written."""
    plan = json.loads(live.cli("plan", "-o", "json", live.file).stdout)
    assert plan["steps"] == [] and plan["changes"] == []
    def mine() -> dict[str, Any]:
        return {part: lines for part, lines in live.cli.picture().items() if part in ("mounts inside", "state")}

    before = mine()
    assert live.cli("apply", live.file).stdout == "up to date: nothing to do\n"
    assert mine() == before
    assert live.start_time() == live.start
