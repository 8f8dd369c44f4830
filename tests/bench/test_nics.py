"""NICs of the host that a run borrows: they are measured, and come home as they were, however the run ends.

On the VM's own NICs, the two ends of one wire: a virtual link dies with its namespace, so it would prove nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import command, requires
from kernels import SLOWER
from test_world import begun, groups

from runspec.bench import nics, wires, world
from runspec.errors import HostError, UsageError
from runspec.spec.model import Interface

NICS = ("eth0", "eth1")
WORDS = ("bench", "network", "--quick", "--peers", "none", "--nic", "eth0,eth1")
DRESS = """
ip link set eth0 address 52:54:00:aa:bb:01 mtu 1400 txqueuelen 500 alias "one end"
ip link property add dev eth0 altname the-one-end
ip link set eth1 up
"""
UNDRESS = """
ip link set eth1 down
ip link property del dev eth0 altname the-one-end
ip link set eth0 address 52:54:00:12:34:56 mtu 1500 txqueuelen 1000 alias ""
"""
lent = requires("nic", "root", "installed", "ip", "unshare")


def told(*words: str) -> Any:
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def picture() -> list[Any]:
    """The machine's NICs with their addresses, once those that are up have a carrier, and an address of the link."""
    end = time.monotonic() + 10 * SLOWER
    while True:
        found = [link for link in told("ip", "-d", "-j", "addr") if "parentdev" in link]
        up = [link for link in found if "UP" in link["flags"]]
        if all(link["operstate"] == "UP" and link["addr_info"] for link in up) and not any(
                "tentative" in one for link in up for one in link["addr_info"]):
            return found
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A state directory; afterwards it is gone, the NICs are as they were, and nothing is left of any run."""
    (tmp_path / "rooms").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "rooms"))
    subprocess.run(["sh", "-ec", DRESS], check=True)
    try:
        before = picture()
        assert [one["ifname"] for one in before] == list(NICS) and "UP" in before[1]["flags"]
        yield str(tmp_path / "state")
        assert picture() == before
        assert not (tmp_path / "state").exists() and not list((tmp_path / "rooms").iterdir()) and not groups()
    finally:
        subprocess.run(["sh", "-c", UNDRESS], check=True)


@lent
@requires("NPtcp", "iperf3")
def test_both_are_measured(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand and by runspec, round after round."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent)])
    found = world.inside({"nics": NICS, "root": home}, "links")
    assert not found["missing"]
    for who in ("native", "runspec"):
        mine = [one[-1] for one in found["series"] if one[:2] == ["delegated NIC", who]]
        assert len(mine) == 2 * 21 + 1 and min(mine) > 0


@lent
@requires("NPtcp", "iperf3")
@pytest.mark.parametrize("who", ["native", "runspec"])
def test_a_run_dies_while_containers_have_them(who: str, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent)])
    with pytest.raises(HostError, match="the measuring process ended with status 137"):
        world.inside({"nics": NICS, "root": home, "dies": who}, "links")


@lent
@requires("NPtcp", "iperf3", "bridge", "veth")
def test_a_run_is_interrupted(home: str) -> None:
    run = begun("--root", home, *WORDS)
    assert not picture()
    run.send_signal(signal.SIGINT)
    _, wrong = run.communicate(timeout=20 * SLOWER)
    assert run.returncode == 130 and "did not come home" not in wrong, wrong


@lent
@requires("NPtcp", "iperf3", "bridge", "veth")
def test_the_next_run_brings_home_what_a_killed_one_had(home: str) -> None:
    """Its world ends with it, and the kernel throws them back, bare and under other names."""
    run = begun("--root", home, *WORDS)
    assert not picture()
    run.kill()
    run.wait()
    assert "lo is no physical interface" in refused(home, "eth0,lo")
    end = time.monotonic() + 10 * SLOWER
    while (left := os.listdir(world.rooms())) and time.monotonic() < end:
        world.remove(os.path.join(world.rooms(), left[0]))      # who was killed may write until the kernel has ended it


def refused(root: str, names: str) -> str:
    done = subprocess.run([*command(), "--root", root, "bench", "network", "--nic", names], capture_output=True,
                          text=True, timeout=60 * SLOWER)
    assert done.returncode == 2 and "round" not in done.stderr
    return done.stderr


@lent
@requires("NPtcp", "iperf3")
def test_what_is_not_lent(home: str) -> None:
    """What is none, what somebody uses, and what could not come home."""
    assert "there is no physical interface eth7" in refused(home, "eth0,eth7")
    assert "lo is no physical interface but loopback" in refused(home, "lo,eth1")
    assert "eth0 is lent twice" in refused(home, "eth0,eth0")
    for line, what in (("ip addr add 10.96.0.1/24 dev eth1", "bench: eth1 has addresses"),
                       ("ip route add default dev eth1", "bench: the default route goes through eth1")):
        subprocess.run(line.split(), check=True)
        try:
            text = refused(home, "eth0,eth1")
        finally:
            subprocess.run(line.replace(" add ", " del ").split(), check=True)
        assert what in text and "  why: it is the machine's way to others" in text and "  fix: name another NIC" in text
    done = subprocess.run(["unshare", "--net", *command(), "--root", home, *WORDS], capture_output=True, text=True)
    assert done.returncode == 2 and "bench: this is not the initial network namespace" in done.stderr


def test_two_are_asked_for() -> None:
    for words in (("eth7",), ("eth7", "eth8", "eth9")):
        with pytest.raises(UsageError, match=f"--nic names {len(words)}"), nics.lending(words, "x", "/nonexistent"):
            raise AssertionError("lent")


def test_none_is_asked_for() -> None:
    with nics.lending((), "x", "/nonexistent") as lend:
        lend(0)


def test_the_way_home_by_hand() -> None:
    assert wires.home([Interface(name="eth0", type="physical", parent="nic0"), Interface(name="eth1", type="veth")],
                      7) == ["link set eth0 netns 7 name nic0"]
