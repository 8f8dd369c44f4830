"""Every key the kernel can tell: changed behind runspec's back, named by `diff`, repaired by `apply`."""

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

    def net(self, *words: str) -> None:
        subprocess.run(["nsenter", "-t", str(self.pid), "-n", *words], check=True, capture_output=True)

    def inside(self, kinds: str, *words: str) -> None:
        subprocess.run(["nsenter", "-t", str(self.pid), f"-{kinds}", *words], check=True, capture_output=True)

    def host(self, *words: str) -> None:
        assert self.cli.netns.run(*words).returncode == 0

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

    def limit(self, words: str) -> None:
        if subprocess.run(["prlimit", "-p", str(self.pid), words], check=False).returncode:
            pytest.skip("no CAP_SYS_RESOURCE here: a hard limit cannot be raised")

    def path(self, path: str) -> str:
        """`mounts[/data]` with the index that this element has in `runspec config`, defaults included."""
        for name, key in (("mounts", "destination"), ("rlimits", "type"), ("devices", "path")):
            head, found, rest = path.partition(f"{name}[")
            if found and not rest[0].isdigit():
                word, _, tail = rest.partition("]")
                tree = json.loads(self.cli("config", "-o", "json", self.file).stdout)[0]
                for part in (head + name).split("."):
                    tree = tree[part]
                return f"{head}{name}[{[one[key] for one in tree].index(word)}]{tail}"
        return path

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


def rows(table: dict[str, Callable[[Live], object]], also: tuple[str, ...] = ()) -> list[Any]:
    """All rows here; in the VM those about control groups, which differ there, and `also`."""
    return [pytest.param(path, marks=[pytest.mark.both] * (path.startswith("linux.resources") or path in also))
            for path in table]


def _mount(one: Live, *words: str) -> None:
    subprocess.run(["nsenter", "-t", str(one.pid), "-m", "--", "/bin/busybox", "mount", *words], check=True,
                   capture_output=True)


# Path that diff must name, an element of a list by what it is -> how to disturb it; IN_PLACE: init lives on.
IN_PLACE: dict[str, Callable[[Live], object]] = {
    "hostname": lambda o: o.inside("u", "hostname", "other"),
    "domainname": lambda o: o.inside("u", "sysctl", "-q", "-w", "kernel.domainname=other"),
    "linux.sysctl.net.ipv4.ip_forward": lambda o: o.net("sysctl", "-q", "-w", "net.ipv4.ip_forward=0"),
    "linux.sysctl.kernel.msgmax": lambda o: o.inside("i", "sysctl", "-q", "-w", "kernel.msgmax=8192"),
    "process.oomScoreAdj": lambda o: Path(f"/proc/{o.pid}/oom_score_adj").write_text("200"),
    "process.rlimits[RLIMIT_NOFILE].soft": lambda o: o.limit("--nofile=100:1024"),
    "process.rlimits[RLIMIT_NOFILE].hard": lambda o: o.limit("--nofile=512:2048"),
    "linux.resources.cpu.weight": lambda o: o.group("cpu.shares", "cpu.weight", ("500", "50")),
    "linux.resources.cpu.quota": lambda o: o.group("cpu.cfs_quota_us", "cpu.max", ("50000", "50000 100000")),
    "linux.resources.cpu.period": lambda o: o.group("cpu.cfs_period_us", "cpu.max", ("50000", "25000 50000")),
    "linux.resources.cpu.cpus": lambda o: o.group("cpuset.cpus", "cpuset.cpus", ("1", "1")),
    "linux.resources.memory.limit": lambda o: o.group("memory.limit_in_bytes", "memory.max", ("128M", "128M")),
    "linux.resources.memory.reservation": lambda o: o.group(
        "memory.soft_limit_in_bytes", "memory.low", ("16M", "16M")),
    "linux.resources.pids.limit": lambda o: o.group("pids.max", "pids.max", ("32", "32")),
    "interfaces": lambda o: o.net("ip", "link", "add", "br9", "type", "bridge"),
    "interfaces[0]": lambda o: o.net("ip", "link", "del", "eth0"),
    "interfaces[0].type": lambda o: (o.net("ip", "link", "del", "eth0"),
                                     o.net("ip", "link", "add", "eth0", "type", "bridge")),
    "interfaces[0].mtu": lambda o: o.net("ip", "link", "set", "eth0", "mtu", "1300"),
    "interfaces[0].mac": lambda o: o.net("ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"),
    "interfaces[0].up": lambda o: o.net("ip", "link", "set", "eth0", "down"),
    "interfaces[0].addresses": lambda o: o.net("ip", "addr", "add", "10.78.0.99/24", "dev", "eth0"),
    "interfaces[0].gateway": lambda o: o.net("ip", "route", "del", "default"),
    "interfaces[0].routes": lambda o: o.net("ip", "route", "add", "198.51.100.0/24", "via", "10.78.0.3"),
    "interfaces[0].network": lambda o: o.host("ip", "link", "set", "drift.eth0", "nomaster"),
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
MOUNTED: dict[str, Callable[[Live], object]] = {
    "linux.devices[/dev/other]": lambda o: os.chmod(f"/proc/{o.pid}/root/dev/other", 0o666),
    "mounts": lambda o: _mount(o, "-t", "tmpfs", "extra", "/mnt"),
    "mounts[/data]": lambda o: o.inside("m", "/bin/busybox", "umount", "/data"),
    "mounts[/data].source": lambda o: _mount(o, "-o", "bind", "/mnt", "/data"),
    "mounts[/data].options": lambda o: _mount(o, "-o", "remount,bind,ro", "x", "/data"),
    "mounts[/scratch].type": lambda o: _mount(o, "-t", "ramfs", "x", "/scratch"),
    "mounts[/scratch].options": lambda o: _mount(o, "-o", "remount,bind,ro,nosuid,nodev", "x", "/scratch"),
    "mounts[/scratch].options.size": lambda o: _mount(o, "-o", "remount,size=2m", "x", "/scratch"),
    "mounts[/dev/mqueue]": lambda o: o.inside("m", "/bin/busybox", "umount", "-l", "/dev/mqueue"),
    "root.readonly": lambda o: _mount(o, "-o", "remount,bind,ro", "x", "/"),
    "linux.maskedPaths": lambda o: o.inside("m", "/bin/busybox", "umount", "/proc/keys"),
    "linux.readonlyPaths": lambda o: _mount(o, "-o", "remount,bind,rw", "x", "/proc/sys"),
    "linux.rootfsPropagation": lambda o: _mount(o, "--make-shared", "/"),
}
NETWORK: dict[str, Callable[[Live], object]] = {
    "addresses": lambda o: o.host("ip", "addr", "del", "10.78.0.1/24", "dev", "drift0"),
    "mtu": lambda o: o.host("ip", "link", "set", "drift0", "mtu", "1300"),
    "up": lambda o: o.host("ip", "link", "set", "drift0", "down"),
}


def check(live: Live, path: str, disturb: Callable[[Live], object], kind: str) -> None:
    """Disturb one thing: diff names its path with its class, apply repairs it, and then all is as before."""
    disturb(live)
    changes = live.change()
    assert live.path(path) in [one["path"] for one in changes], changes
    assert {one["cause"] for one in changes} == {"drifted"}
    assert {one["class"] for one in changes} == {kind}
    live.cli("apply", "--yes", live.file)
    assert live.change() == []


@needs
@pytest.mark.parametrize("path", rows(IN_PLACE, (
    "hostname", "linux.sysctl.net.ipv4.ip_forward", "process.rlimits[RLIMIT_NOFILE].soft", "interfaces[0]",
    "interfaces[0].addresses", "interfaces[0].gateway")))
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
@pytest.mark.parametrize("path", rows(MOUNTED, ("mounts[/data]", "mounts[/scratch].options", "root.readonly")))
def test_repaired_in_its_mounts(live: Live, path: str) -> None:
    """Mounts, nodes and what is hidden are set again below a running init."""
    check(live, path, MOUNTED[path], "inPlace")
    assert live.start_time() == live.start


@needs
@pytest.mark.both
def test_new_init_keeps(live: Live) -> None:
    """A new init takes over the root with what was written to it, the groups, and the network."""
    live.inside("m", "/bin/busybox", "touch", "/root/written")
    before = live.lasting()
    live.file.write_text(live.file.read_text().replace("100000", "99998"))
    live.cli("apply", "--yes", live.file)
    after = Live(live.cli, live.file)
    assert after.pid != live.pid
    assert after.lasting() == before
    after.inside("m", "/bin/busybox", "test", "-e", "/root/written")


@needs
@pytest.mark.both
def test_moved_to_another_group(live: Live) -> None:
    """An init outside its control groups is limited by nothing: it is made anew."""
    kind, where = next((kind, where) for kind, where, _ in cgroup_mounts() if Path(where, "runspec/drift").is_dir())
    # On v2 a group whose children have controllers holds no processes itself.
    other = Path(where, "runspec/moved" if kind == "cgroup2" else "runspec")
    other.mkdir(exist_ok=True)
    Path(other, "cgroup.procs").write_text(str(live.pid))
    changes = live.change()
    assert [(one["path"], one["cause"], one["class"]) for one in changes] == [
        ("linux.cgroupsPath", "drifted", "recreate")]
    live.cli("apply", "--yes", live.file)
    assert live.change() == []
    stat = Path(f"/proc/{live.pid}/stat")       # a zombie waits for the host's PID 1 alone
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"
    if kind == "cgroup2":
        other.rmdir()


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
@pytest.mark.parametrize("path", rows(NETWORK, ("addresses",)))
def test_drift_of_a_network(live: Live, path: str) -> None:
    """The bridge is part of the file as well."""
    NETWORK[path](live)
    changes = live.change()
    assert ("drift0", path, "drifted", "inPlace") in [
        (one["target"], one["path"], one["cause"], one["class"]) for one in changes], changes
    live.cli("apply", "--yes", live.file)
    assert live.change() == []
    assert live.start_time() == live.start


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
