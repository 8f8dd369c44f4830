"""SIGKILL at every state-changing system call, and at random instants: the next run puts all right."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, assert_nothing_leaked, requires
from kernels import IN_VM
from verbs import Verbs

# Every kind of step: a bridge and a veth with both families, a lasting overlay, mounts, devices, sysctls,
# limits, every namespace; the second container has a user and a time namespace and joins the first one's net.
SPEC = """\
apiVersion: runspec/v1
kind: Network
name: sweep0
type: bridge
mtu: 1400
addresses: [10.79.0.1/24, "fd79::1/64"]
---
apiVersion: runspec/v1
name: sweep-a
hostname: sweep
domainname: example
hooks:
  createRuntime: [{path: /bin/true}]
  startContainer: [{path: /bin/true}]
  poststart: [{path: /bin/true}]
  poststop: [{path: /bin/true}]
root: {image: busybox, overlay: {volatile: false}}
process:
  args: [/bin/sleep, "100000"]
  oomScoreAdj: 100
  rlimits:
    - {type: RLIMIT_NOFILE, soft: 512, hard: 1024}
mounts:
  - {destination: /data, source: /usr/share, options: [bind, ro, nosuid]}
  - {destination: /scratch, type: tmpfs, source: scratch, options: [nosuid, nodev, size=1m]}
linux:
  sysctl: {net.ipv4.ip_forward: "1", kernel.msgmax: "4096"}
  devices:
    - {path: /dev/other, type: c, major: 1, minor: 5, fileMode: 0600, uid: 5, gid: 6}
  resources:
    cpu: {cpus: "0", weight: 25, quota: 25%}
    memory: {limit: 64Mi}
    pids: {limit: 64}
    devices:
      - {allow: true, type: c, major: 10, minor: 200, access: rw}
interfaces:
  - name: eth0
    type: veth
    network: sweep0
    mtu: 1400
    addresses: [10.79.0.11/24, "fd79::11/64"]
    gateway: [10.79.0.1, "fd79::1"]
    routes: [{to: 192.0.2.0/24, via: 10.79.0.2, metric: 50}]
---
apiVersion: runspec/v1
name: sweep-b
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]}
mounts:                             # a sysfs of its own takes root over the network namespace
  - {destination: /sys, source: /sys, options: [rbind, rro, nosuid, nodev, noexec]}
linux:
  namespaces:
    - {type: user}
    - {type: pid}
    - {type: mount}
    - {type: uts}
    - {type: ipc}
    - {type: network, container: sweep-a}
    - {type: cgroup}
    - {type: time}
  uidMappings: [{containerID: 0, hostID: 100000, size: 65536}]
  gidMappings: [{containerID: 0, hostID: 100000, size: 65536}]
  timeOffsets: {boottime: {secs: 1000}}
  resources:
    cpu: {cpus: "0", weight: 75}
    memory: {limit: 32Mi}
"""
NAMES = ("sweep-a", "sweep-b")
IN_PLACE = (("weight: 25", "weight: 50"), ("10.79.0.11/24", "10.79.0.12/24"), ("hostname: sweep", "hostname: swept"),
            ("soft: 512", "soft: 256"), ("oomScoreAdj: 100", "oomScoreAdj: 200"),
            ("msgmax: \"4096\"", "msgmax: \"8192\""),
            ("addresses: [10.79.0.1/24", "addresses: [10.79.0.2/24, 10.79.0.1/24"), ("metric: 50", "metric: 60"),
            ("source: /usr/share", "source: /usr/lib"), ("size=1m", "size=2m"),
            ("minor: 5, fileMode", "minor: 7, fileMode"),
            ("linux:\n  sysctl", "linux:\n  maskedPaths: [/etc/passwd]\n  readonlyPaths: [/etc]\n  sysctl"),
            ("destination: /sys, source: /sys", "destination: /more, source: /usr, options: [bind]}\n"
             "  - {destination: /sys, source: /sys"))
RESTART = (("/bin/sleep, \"100000\"", "/bin/sleep, \"200000\""), ("size=1m", "size=2m"), *IN_PLACE[:3])
RECREATE = (("boottime: {secs: 1000}", "boottime: {secs: 2000}"),
            ("hostID: 100000", "hostID: 200000"))

# Edits of the file, whether all runs already, words before the file or names.
Case = tuple[tuple[tuple[str, str], ...], bool, tuple[str, ...]]
CASES: dict[str, Case] = {
    "apply": ((), False, ("apply", "--yes")),
    "in-place": (IN_PLACE, True, ("apply", "--yes")),
    "restart": (RESTART, True, ("apply", "--yes")),
    "recreate": (RECREATE, True, ("apply", "--yes")),
    "stop": ((), True, ("stop", "--time", "0")),
    "destroy": ((), True, ("destroy", "--yes", "--data")),
}
FULL = bool(os.environ.get("RUNSPEC_FULL")) and not IN_VM
# Out of this many acts one is tried, where not all are; which ones is drawn from the seed.
STRIDE = 1 if FULL else 80 if IN_VM else 10
KILLS = 200 if FULL else 4 if IN_VM else 20
SEED = int(os.environ.get("RUNSPEC_SEED", "20260"))


class Sweep:
    """A machine that is brought to a case's beginning, hit, and looked at, again and again."""

    def __init__(self, cli: Cli, folder: Path, spec: str = SPEC, names: tuple[str, ...] = NAMES,
                 cases: dict[str, Case] = CASES) -> None:
        self.cli, self.verbs = cli, Verbs(cli)
        self.spec, self.names, self.cases = spec, names, cases
        self.base, self.edited = folder / "base.yaml", folder / "edited.yaml"
        self.base.write_text(spec)
        # The image, the state directory's rooms and the lasting overlay's parent stay by design.
        self.verbs("apply", self.base)
        self.verbs("destroy", "--yes", "--data", self.base)
        self.before = self.picture()

    def picture(self) -> dict[str, frozenset[str]]:
        top = Path(f"/proc/{self.cli.netns.pid}/root/var/lib/runspec")
        data = frozenset(str(one) for one in (*top.glob("*"), *top.glob("*/*")) if one.parent.name != "images")
        return {**self.cli.picture(), "data": data}

    def begin(self, case: str) -> list[str]:
        """Bring the machine there; returns the words of the verb to be hit."""
        edits, running, words = self.cases[case]
        text = self.spec
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        self.edited.write_text(text)
        if running:
            self.verbs("apply", self.base)
        return [*words, *(self.names if words[0] == "stop" else [str(self.edited)])]

    def end(self, apply_first: bool = True) -> None:
        """After the hit: the next apply converges, and destroy leaves nothing."""
        if apply_first:
            self.verbs("apply", "--yes", self.edited)
            self.verbs("diff", self.edited)
            for name in self.names:
                state = json.loads(self.verbs("state", name))
                assert state["status"] == "running"
                assert json.loads(self.verbs("ps", "-o", "json", name)) == [state["pid"]]
            assert "nothing to do" in self.verbs("apply", self.edited)
        self.verbs("destroy", "--yes", "--data", self.edited)
        assert_nothing_leaked(self.before, self.picture)


@pytest.fixture
def sweep(cli: Cli, tmp_path: Path) -> Sweep:
    return Sweep(cli, tmp_path)


def at_every_act(sweep: Sweep, case: str, then: Callable[[], None], stride: int = STRIDE) -> int:
    """Kill the case's verb before each act in turn, until it ends by itself; returns the number of acts."""
    draw = random.Random(f"{SEED} {case}")
    n = tried = 0
    while True:
        n += draw.randint(1, 2 * stride - 1 if tried else min(stride, 4)) if stride > 1 else 1
        words = sweep.begin(case)
        status, text = sweep.verbs.run(*words, fault=f"kill@{n}")
        assert status in (0, -signal.SIGKILL), f"{case} kill@{n}: status {status}\n{text}"
        try:
            then()
        except AssertionError as error:
            raise AssertionError(f"{case} after kill@{n} (seed {SEED}): {error}") from error
        if status == 0:
            print(f"{case}: killed at {tried} of about {n - 1} acts, seed {SEED}")
            assert tried, f"{case} ended before act {n}: nothing was killed"
            return n - 1
        tried += 1


@requires("root", "busybox", "bridge", "veth", "overlay", "user_namespace", "time_namespace", "ip", "nsenter")
@pytest.mark.both
@pytest.mark.parametrize("case", CASES)
def test_kill_at_every_act(sweep: Sweep, case: str) -> None:
    """All of them with RUNSPEC_FULL=1, else a sample drawn from RUNSPEC_SEED."""
    assert at_every_act(sweep, case, sweep.end) > 3


@requires("root", "busybox", "bridge", "veth", "overlay", "user_namespace", "time_namespace", "ip", "nsenter")
@pytest.mark.parametrize("case", ["apply", "restart", "destroy"])
def test_destroy_after_a_kill(sweep: Sweep, case: str) -> None:
    """No apply in between: destroy itself undoes what the dead run left."""
    assert at_every_act(sweep, case, lambda: sweep.end(apply_first=False), STRIDE * 2 - 1) > 10


@requires("root", "busybox", "bridge", "veth", "overlay", "user_namespace", "time_namespace", "ip", "nsenter")
def test_recovery_is_killed_too(sweep: Sweep) -> None:
    """Killed in apply, then killed again while undoing that."""
    draw = random.Random(SEED)
    for _ in range(60 if FULL else 6):
        first, second = draw.randint(60, 150), draw.randint(1, 60)
        words = sweep.begin("apply")
        assert sweep.verbs.run(*words, fault=f"kill@{first}")[0] == -signal.SIGKILL
        assert sweep.verbs.run(*words, fault=f"kill@{second}")[0] == -signal.SIGKILL
        sweep.end()


@requires("root", "busybox", "bridge", "veth", "overlay", "user_namespace", "time_namespace", "ip", "nsenter")
@pytest.mark.both
def test_random_kills(sweep: Sweep) -> None:
    """SIGKILL from outside, at instants uniform over each verb's duration."""
    draw = random.Random(SEED)
    print(f"seed {SEED}")
    lasts: dict[str, float] = {}
    hit = 0
    for i in range(KILLS):
        case = list(CASES)[i % len(CASES)]
        words = sweep.begin(case)
        if case not in lasts:
            begun = time.monotonic()
            sweep.cli.cold(*words)
            lasts[case] = time.monotonic() - begun
            sweep.end()
            words = sweep.begin(case)
        instant = draw.uniform(0, lasts[case])
        run = sweep.cli.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(instant)
        run.kill()
        hit += run.wait() == -signal.SIGKILL
        try:
            sweep.end()
        except AssertionError as error:
            raise AssertionError(f"{case} killed after {instant:.4f} s, kill {i} of seed {SEED}: {error}") from error
    print(f"{hit} of {KILLS} were still running when hit")
    assert hit > KILLS // 2


@requires("root", "busybox")
def test_image_building_is_killed(cli: Cli, tmp_path: Path) -> None:
    """The first apply of a machine builds the image: half an image is never taken for one."""
    verbs = Verbs(cli)
    file = tmp_path / "one.yaml"
    file.write_text("apiVersion: runspec/v1\nname: sweep-a\nroot: {image: busybox}\n"
                    "process: {args: [/bin/sleep, '9']}\n")
    draw = random.Random(SEED)
    images = Path(f"/proc/{cli.netns.pid}/root/var/lib/runspec/images")
    n = 0
    while True:
        n += draw.randint(1, 3 if FULL else 60)
        status, _ = verbs.run("apply", file, fault=f"kill@{n}")
        verbs("apply", file)
        verbs("exec", "sweep-a", "/bin/ls", "/bin/sh", "/etc/passwd", "/usr/bin/env")
        assert [one.name for one in images.iterdir() if one.name.startswith(".")] == []
        verbs("destroy", "--yes", file)
        assert cli.netns.run("rm", "-rf", "/var/lib/runspec/images").returncode == 0
        if status == 0:
            break
