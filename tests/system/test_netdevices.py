"""Links of the host lent to containers: moved, renamed, with their addresses, and back home from wherever."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli, Netns, assert_nothing_leaked, requires
from kernels import SLOWER
from machine import Picture

pytestmark = requires("root", "busybox", "veth", "ip", "nsenter")
ADDRESSES = {("10.91.0.1", 24), ("fd91::1", 64)}
BASE: dict[str, Any] = {"apiVersion": "runspec/v1", "name": "lent", "root": {"image": "busybox"},
                        "process": {"args": ["/bin/sleep", "100000"]}}


def ip(netns: Netns, *words: str) -> None:
    done = netns.run("ip", *words)
    assert done.returncode == 0, done.stderr


def links(pid: int) -> dict[str, dict[str, Any]]:
    """Name -> link with addresses, in the network namespace of a process, as ip(8) tells it."""
    done = subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", "addr"], capture_output=True, text=True,
                          check=True)
    return {one["ifname"]: one for one in json.loads(done.stdout)}


def addresses(link: dict[str, Any]) -> set[tuple[str, int]]:
    return {(one["local"], one["prefixlen"]) for one in link["addr_info"] if one["scope"] == "global"}


@pytest.fixture
def wire(cli: Cli) -> Iterator[Cli]:
    """A veth pair on the private host: one end, which is up and has addresses, is there to be lent."""
    # Whether an address is still being tried is of no interest, and would differ.
    cli.netns.run("sh", "-c", "for i in all default; do echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad; done")
    ip(cli.netns, "link", "add", "nic0", "type", "veth", "peer", "name", "wire0")
    ip(cli.netns, "addr", "add", "10.91.0.1/24", "brd", "+", "dev", "nic0")
    ip(cli.netns, "addr", "add", "fd91::1/64", "dev", "nic0", "nodad")
    ip(cli.netns, "link", "set", "nic0", "up", "mtu", "1420")
    ip(cli.netns, "link", "set", "wire0", "up")
    until(lambda: not any(one["operstate"] != "UP" or len(one["addr_info"]) < least for one, least in zip(
        (links(cli.netns.pid)[name] for name in ("nic0", "wire0")), (3, 1), strict=True)))
    yield cli


def until(true: Callable[[], bool]) -> None:
    """The kernel tells that a link has a carrier, and gives it its own address, some time after."""
    end = time.monotonic() + 5 * SLOWER
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def write(folder: Path, devices: dict[str, Any], name: str = "lent", **more: Any) -> Path:
    file = folder / f"{name}.yaml"
    linux = {"netDevices": devices} | more.pop("linux", {})
    file.write_text(yaml.safe_dump({**BASE, "name": name, "linux": linux, **more}))
    return file


def init_of(cli: Cli, name: str = "lent") -> int:
    return int(json.loads(cli("state", name).stdout)["pid"])


@pytest.mark.both
@pytest.mark.parametrize(("name", "inside"), [(None, "nic0"), ("lan0", "lan0"), ("lan%d", "lan0")])
def test_there_and_back(name: str | None, inside: str, wire: Cli, tmp_path: Path,
                        picture: Callable[[], Picture]) -> None:
    """It is inside under its name, up, with its addresses and mtu; afterwards the host is as before."""
    before, home = picture(), links(wire.netns.pid)["nic0"]
    file = write(tmp_path, {"nic0": {"name": name} if name else {}})
    wire("apply", file)
    assert wire("diff", file).stdout == "" and "up to date" in wire("plan", file).stdout
    link = links(init_of(wire))[inside]
    assert addresses(link) == ADDRESSES and "UP" in link["flags"] and link["mtu"] == 1420
    assert link["address"] == home["address"]
    assert "nic0" not in links(wire.netns.pid)
    wire("destroy", "--yes", "lent")
    again = links(wire.netns.pid)["nic0"]
    assert addresses(again) == ADDRESSES and "UP" in again["flags"] and again["mtu"] == 1420
    assert_nothing_leaked(before, picture)


def test_restart_and_edit(wire: Cli, tmp_path: Path) -> None:
    """A new init has it too; another name is a restart; what is asked no more goes home."""
    wire("apply", write(tmp_path, {"nic0": {}}))
    file = write(tmp_path, {"nic0": {}}, process={"args": ["/bin/sleep", "100001"]})
    assert "restart" in wire("diff", file, status=1).stdout
    wire("apply", "--yes", file)
    assert addresses(links(init_of(wire))["nic0"]) == ADDRESSES
    file = write(tmp_path, {"nic0": {"name": "other"}})
    wire("apply", "--yes", file)
    assert addresses(links(init_of(wire))["other"]) == ADDRESSES
    file = write(tmp_path, {})
    diff = wire("diff", file, status=1).stdout
    assert "linux.netDevices" in diff and "restart" in diff
    wire("apply", "--yes", file)
    assert set(links(init_of(wire))) & {"other", "nic0"} == set()
    assert addresses(links(wire.netns.pid)["nic0"]) == ADDRESSES


@pytest.mark.parametrize("drift", ["renamed", "gone"])
def test_drift(drift: str, wire: Cli, tmp_path: Path) -> None:
    """What somebody did to it is told and put right."""
    file = write(tmp_path, {"nic0": {"name": "lan0"}})
    wire("apply", file)
    enter = ["nsenter", f"--net=/proc/{init_of(wire)}/ns/net", "ip", "link", "set", "lan0"]
    if drift == "renamed":
        subprocess.run([*enter, "down"], check=True)
        subprocess.run([*enter, "name", "mine"], check=True)
    else:
        subprocess.run([*enter, "netns", str(wire.netns.pid)], check=True)
        ip(wire.netns, "link", "set", "lan0", "name", "nic0")
    diff = wire("diff", file, status=1).stdout
    assert "linux.netDevices" in diff and "drifted" in diff
    wire("apply", "--yes", file)
    assert "lan0" in links(init_of(wire))


def test_other_links_inside_are_told_from_it(wire: Cli, tmp_path: Path) -> None:
    """A change of interfaces leaves it alone."""
    text = yaml.safe_dump({"apiVersion": "runspec/v1", "kind": "Network", "name": "lent0", "type": "bridge"})
    file = tmp_path / "both.yaml"
    both = {**BASE, "linux": {"netDevices": {"nic0": {}}},
            "interfaces": [{"name": "eth0", "type": "veth", "network": "lent0", "addresses": ["10.92.0.2/24"]}]}
    file.write_text(f"{text}---\n{yaml.safe_dump(both)}")
    wire("apply", file)
    init = init_of(wire)
    both["interfaces"] = []
    file.write_text(f"{text}---\n{yaml.safe_dump(both)}")
    wire("apply", file)
    assert init_of(wire) == init and set(links(init)) - {"lo", "tunl0", "sit0", "ip6tnl0"} == {"nic0"}
    wire("destroy", "--yes", file)


@pytest.mark.parametrize("fault", ["program", "hook"])
def test_a_failed_creation_brings_it_back(fault: str, wire: Cli, tmp_path: Path,
                                          picture: Callable[[], Picture]) -> None:
    """With addresses, state and the bridge that it was on."""
    ip(wire.netns, "link", "add", "br9", "type", "bridge")
    ip(wire.netns, "link", "set", "nic0", "master", "br9")
    more: dict[str, Any] = {"process": {"args": ["/no/such"]}} if fault == "program" else {
        "hooks": {"createRuntime": [{"path": "/bin/false"}]}}
    before = picture()
    done = wire("apply", write(tmp_path, {"nic0": {"name": "lan0"}}, **more), status=2)
    assert "while undoing" not in done.stderr, done.stderr
    assert_nothing_leaked(before, picture)
    assert links(wire.netns.pid)["nic0"]["master"] == "br9"


def test_what_cannot_be_lent(wire: Cli, tmp_path: Path) -> None:
    """Missing, runspec's own, bound to its namespace, or of a name that is taken inside: refused, nothing touched."""
    network = tmp_path / "net.yaml"
    network.write_text("{apiVersion: runspec/v1, kind: Network, name: lent1, type: bridge}\n")
    wire("apply", network)
    ip(wire.netns, "link", "add", "br8", "type", "bridge")
    ip(wire.netns, "link", "add", "nic1", "type", "veth", "peer", "name", "lan0")
    wire("apply", write(tmp_path, {"nic0": {"name": "lan0"}}))
    before = links(wire.netns.pid)
    shared = {"namespaces": [{"type": "network", "container": "lent"}]}
    for devices, more, said in (
            ({"none7": {}}, {}, "there is no link none7"), ({"lent1": {}}, {}, "the link lent1 is runspec's own"),
            ({"br8": {}}, {}, "the link br8 cannot leave its network namespace"),
            ({"nic1": {"name": "lan0"}}, {"linux": shared}, "a link lan0 is there inside already")):
        done = wire("apply", write(tmp_path, devices, name="second", **more), status=2)
        assert said in done.stderr and "linux.netDevices" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and "while undoing" not in done.stderr, done.stderr
        now = links(wire.netns.pid)
        assert {one: addresses(now[one]) for one in now} == {one: addresses(before[one]) for one in before}
    assert "lan0" in links(init_of(wire))
    wire("destroy", "--yes", "lent", "lent1")


@pytest.mark.both
def test_what_is_no_physical_interface(wire: Cli, tmp_path: Path) -> None:
    """A virtual link would end with the namespace: refused with its place, before any step, nothing touched."""
    ip(wire.netns, "link", "add", "br7", "type", "bridge")
    before = links(wire.netns.pid)
    for parent, said in (("nic0", "nic0 is no physical interface but veth"),
                         ("eth77", "there is no physical interface eth77"),
                         ("br7", "br7 is no physical interface but bridge"),
                         ("mac:02:00:00:00:00:01", "there is no physical interface mac:02:00:00:00:00:01")):
        file = write(tmp_path, {}, interfaces=[{"name": "eth0", "type": "physical", "parent": parent}])
        for verb in ("plan", "apply"):
            done = wire(verb, file, status=2)
            assert "lent.yaml:" in done.stderr and f"interfaces[0].parent: {said}" in done.stderr, done.stderr
    assert links(wire.netns.pid) == before and wire("list", "-q").stdout == ""


def test_it_may_have_died_with_its_container(wire: Cli, tmp_path: Path) -> None:
    """A virtual link ends with its namespace: what is left can be destroyed, and made again with another one."""
    file = write(tmp_path, {"nic0": {}})
    wire("apply", file)
    wire("kill", "lent", "KILL")
    wire("destroy", "--yes", "lent")
    done = wire("apply", file, status=2)
    assert "there is no link nic0" in done.stderr and wire("list", "-q").stdout == ""
