"""Claims: what runs under way ask for is seen by others, and dies with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runspec.kernel import Kernel
from runspec.run import claims
from runspec.run.store import Store
from runspec.spec.model import (
    Cpu,
    Interface,
    Linux,
    Memory,
    NetDevice,
    Network,
    Overlay,
    Port,
    Process,
    Resources,
    Root,
    Spec,
)

LAN = Network(name="lan0", addresses=("10.0.0.1/24",))


def box(name: str = "a", **more: object) -> Spec:
    return Spec(**{"name": name, "root": Root(image="busybox"), "process": Process(args=("sh", "-c", "true")), **more})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    one = Store(Kernel(), str(tmp_path / "state"))
    one.prepare()
    return one


@pytest.mark.parametrize(("model", "is_scarce"), [
    (LAN, True), (Network(name="lan0"), False), (box(), False),
    (box(linux=Linux(resources=Resources(memory=Memory(limit=1 << 40)))), False),
    (box(linux=Linux(cgroups_path="/runspec/a")), False), (box(linux=Linux(cgroups_path="/else")), True),
    (box(linux=Linux(resources=Resources(cpu=Cpu(cpus="0")))), True),
    (box(linux=Linux(resources=Resources(memory=Memory(min=1)))), True),
    (box(linux=Linux(net_devices=(NetDevice(host="eth1"),))), True),
    (box(root=Root(image="busybox", overlay=Overlay(upper="/up"))), True),
    (box(interfaces=(Interface(name="eth0", type="macvlan", parent="eth1"),)), True),
    (box(ports=(Port(host="80", container="80"),)), True),
    # The lock of the network keeps these apart.
    (box(interfaces=(Interface(name="eth0", type="veth", network="lan0", addresses=("10.0.0.5/24",)),)), False),
])
def test_scarce(model: Spec | Network, is_scarce: bool) -> None:
    assert claims.scarce(model) is is_scarce


def test_a_claim_is_seen_until_it_is_given_up(store: Store) -> None:
    """By others and by its own process, with as much of it as admission looks at."""
    asks = box(interfaces=(Interface(name="eth0", type="macvlan", parent="eth1", mac="02:00:00:00:00:01"),),
               ports=(Port(host="80", container="80"),),
               linux=Linux(resources=Resources(cpu=Cpu(cpus="0", quota=5, period=10))))
    locks = store.lock([("container", "a")])
    with claims.Gate(store) as gate:
        locks.keep(*gate.claim([asks, LAN]))
    spec, network = claims.read(store)
    assert isinstance(spec, Spec) and network == LAN
    assert (spec.name, spec.interfaces, spec.ports) == ("a", asks.interfaces, asks.ports)
    assert spec.linux.resources.cpu == asks.linux.resources.cpu
    with claims.Gate(store) as gate:
        gate.sweep()
    assert len(claims.read(store)) == 2
    locks.close()
    assert claims.read(store) == [] == os.listdir(f"{store.root}/claims")
    store.tidy()
    assert not os.path.exists(store.root)


def test_nobody_tidies_away_where_one_is_at_admission(store: Store) -> None:
    """Its claim finds its place, and then somebody else's tidying takes that along."""
    with claims.Gate(store) as gate:
        store.tidy()
        fd, path = gate.claim([LAN])
        assert os.path.exists(path)
    os.unlink(path)
    os.close(fd)
    store.tidy()
    assert not os.path.exists(store.root)


def test_a_dead_runs_claim_counts_no_more(store: Store) -> None:
    """Killed between its claim and its Records."""
    program = f"""
import os, signal
from runspec.kernel import Kernel
from runspec.run import claims
from runspec.run.store import Store
from runspec.spec.model import Network
with claims.Gate(Store(Kernel(), {store.root!r})) as gate:
    gate.claim([Network(name="lan0", addresses=("10.0.0.1/24",))])
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-P", "-c", program], check=False)
    assert len(os.listdir(f"{store.root}/claims")) == 1
    assert claims.read(store) == []
    store.tidy()
    assert not os.path.exists(store.root)


def test_what_is_no_claim_is_nobodys(store: Store) -> None:
    """Cut short by a full disk, say, and then held by nobody."""
    with claims.Gate(store):
        Path(f"{store.root}/claims/1-1.json").write_text('{"asks": [')
    assert claims.read(store) == []
