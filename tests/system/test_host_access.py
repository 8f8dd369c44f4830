"""The host and its macvlans and ipvlans: reached both ways, past the parent, with nobody else the wiser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cable import Host, container, hear, host, hosts, killed_at, mac
from conftest import requires

from runspec.plan.steps import host_access

pytestmark = requires("root", "busybox", "veth", "ip", "ping", "nsenter")
KINDS = [pytest.param(kind, marks=requires(kind)) for kind in ("macvlan", "ipvlan")]
__all__ = ["host", "hosts"]


def on(kind: str, *addresses: str, **keys: Any) -> dict[str, Any]:
    return {"name": "eth0", "type": kind, "parent": "nic0", "addresses": list(addresses), "hostAccess": True, **keys}


def ours(host: Host) -> list[dict[str, Any]]:
    """The host's own links on the parent."""
    return [one for one in json.loads(host.ip("-j", "addr")) if one["ifname"].startswith("rs")]


@pytest.fixture(scope="module", autouse=True)
def sixes(hosts: tuple[Host, Host]) -> None:
    for each, number in zip(hosts, "12", strict=True):
        each.ip("addr", "add", f"fd90::{number}/64", "dev", "nic0", "nodad")


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways(kind: str, host: Host, hosts: tuple[Host, Host]) -> None:
    """v4 and v6, by one link for all; siblings and the world as ever, which hear of no MAC but the known ones."""
    far, own = hosts[1], json.loads(host.ip("-j", "link", "show", "nic0"))[0]["address"]
    one, two = container("one", on(kind, "10.90.0.11/24", "fd90::11/64")), container("two", on(kind, "10.90.0.12/24"))
    plan = host.cli("plan", host.file(one)).stdout
    assert f"let the host reach 10.90.0.11, fd90::11 by a {kind} of its own on nic0" in plan
    with hear(far, "nic0") as ear:
        host.apply(one, two)
        for address in ("10.90.0.11", "fd90::11", "10.90.0.12"):
            assert host.run("ping", "-c", "1", "-w", "3", address)
        assert all(host.pings("one", address) for address in ("10.90.0.1", "fd90::1", "10.90.0.12", "10.90.0.2"))
        assert host.pings("two", "10.90.0.1") and host.run("ping", "-c", "1", "-w", "3", "10.90.0.2")
        assert far.run("ping", "-c", "1", "-w", "3", "10.90.0.11")
    known = {own, mac(host, "one"), mac(host, "two"), json.loads(far.ip("-j", "link", "show", "nic0"))[0]["address"]}
    assert {source for _, source, *_ in ear.frames} <= known
    (link,) = ours(host)
    assert link["addr_info"] == [] and ("NOARP" in link["flags"] or link["address"] == own)
    host.cli("destroy", "--yes", "one")
    assert ours(host) and host.run("ping", "-c", "1", "-w", "3", "10.90.0.12")
    host.cli("destroy", "--yes", "two")
    assert not ours(host)


DRIFTS = {"route": "ip route del 10.90.0.11", "link": "ip link del LINK", "down": "ip link set LINK down",
          "neighbour": "ip neigh del 10.90.0.11 dev LINK", "source": "ip addr add 10.90.0.3/24 dev nic0",
          "address": "ip addr del 10.90.0.3/24 dev nic0"}


@requires("macvlan")
def test_drift(host: Host) -> None:
    """What went on either side is named and mended in place; addresses of the parent count as well."""
    one = container("one", on("macvlan", "10.90.0.11/24"))
    host.apply(one)
    before = json.loads(host.cli("state", "one").stdout)["pid"]
    for what, words in DRIFTS.items():
        host.run(*words.replace("LINK", ours(host)[0]["ifname"]).split())
        status, said = (done := host.cli("diff", host.file(one), status=None)).returncode, done.stdout
        # An address that went leaves the others right.
        assert (status, said == "") == (0, True) if what == "address" else "interfaces[0].hostAccess" in said, what
        host.apply(one)
        assert host.run("ping", "-c", "1", "-w", "3", "10.90.0.11") and host.pings("one", "10.90.0.1"), what
    assert host.inside("one", "ip", "neigh", "flush", "dev", "eth0", "nud", "permanent").wait() == 0
    assert "interfaces[0].hostAccess" in host.cli("diff", host.file(one), status=1).stdout
    host.apply(one)
    assert host.pings("one", "10.90.0.1") and json.loads(host.cli("state", "one").stdout)["pid"] == before


@requires("macvlan")
def test_edits(host: Host) -> None:
    """Other addresses, another MAC, a new init, no access any more: routes and neighbours follow."""
    def reached(*addresses: str, process: str = "100000", **keys: Any) -> None:
        one = container("one", on("macvlan", *(f"{address}/24" for address in addresses), **keys))
        one["process"]["args"][1] = process
        host.apply(one)
        ways = {way["dst"] for way in json.loads(host.ip("-j", "route", "show", "proto", "82"))}
        wanted = set(addresses) if keys.get("hostAccess", True) else set()
        assert ways == wanted and bool(ours(host)) == bool(wanted)
        for address in wanted:
            assert host.run("ping", "-c", "1", "-w", "3", address) and host.pings("one", "10.90.0.1")

    reached("10.90.0.11")
    reached("10.90.0.12", "10.90.0.13")
    reached("10.90.0.12", mac="02:00:00:00:00:0c")
    reached("10.90.0.12", mac="02:00:00:00:00:0d", process="100001")
    reached("10.90.0.12", hostAccess=False)
    said, _ = host.inside("one", "ip", "neigh", "show", "nud", "permanent").communicate()
    assert "10.90.0.1 " not in said
    reached("10.90.0.12")
    reached("10.90.0.12", type="macvlan", name="eth1")


@requires("macvlan")
def test_another_name_of_the_parent(host: Host) -> None:
    """The host's own link is known by what carries it: there is one, before and after, and none in the end."""
    host.ip("link", "add", "nic7", "type", "veth", "peer", "name", "nic8")
    host.ip("link", "set", "nic8", "up")
    host.ip("link", "set", "nic7", "up")
    host.ip("addr", "add", "10.94.0.1/24", "dev", "nic7")
    host.apply(container("one", on("macvlan", "10.94.0.11/24", parent="nic7")))
    host.ip("link", "set", "nic7", "down")
    host.ip("link", "set", "nic7", "name", "nic9")
    host.ip("link", "set", "nic9", "up")
    host.apply(container("one", on("macvlan", "10.94.0.11/24", parent="nic9")))
    assert len(ours(host)) == 1 and host.run("ping", "-c", "1", "-w", "3", "10.94.0.11")
    host.cli("destroy", "--yes", "one")
    assert not ours(host)
    host.ip("link", "del", "nic9")


@requires("macvlan")
def test_somebody_elses_link(host: Host) -> None:
    """One of the name that ours would have is refused untouched."""
    name = host_access.link_name("nic0", "macvlan")
    host.ip("link", "add", name, "type", "bridge")
    try:
        before = host.picture()
        done = host.cli("apply", host.file(container("one", on("macvlan", "10.90.0.11/24"))), status=2)
        assert f"a link {name} is there already and is not runspec's" in done.stderr
        assert "while undoing" not in done.stderr
        host.assert_as(before)
    finally:
        host.ip("link", "del", name)


@requires("macvlan")
def test_somebody_elses_route(host: Host) -> None:
    """Refused untouched: before any step where the document is new, and by the step where the route came later."""
    one = container("one", on("macvlan", "10.90.0.11/24", "fd90::11/64"))
    for to in ("10.90.0.11", "fd90::11"):
        host.ip("route", "add", to, "dev", "lo")
        before = host.picture()
        done = host.cli("apply", "--yes", host.file(one), status=2)
        assert f": a route to {to} is there already and is not runspec's" in done.stderr, done.stderr
        assert "interfaces[0].addresses[" in done.stderr and "create" not in done.stdout
        assert host.picture() == before
        host.ip("route", "del", to)
    host.apply(one)
    link = ours(host)[0]["ifname"]
    host.ip("route", "del", "10.90.0.11", "dev", link)
    host.ip("route", "add", "10.90.0.11", "dev", "lo")
    before = host.picture()
    done = host.cli("apply", "--yes", host.file(one), status=2)
    assert "a route to 10.90.0.11 is there already" in done.stderr and "while undoing" not in done.stderr
    assert host.picture() == before
    host.cli("destroy", "--yes", "one")
    assert "10.90.0.11 dev lo" in host.ip("route")
    host.ip("route", "del", "10.90.0.11")


@requires("macvlan")
def test_killed(host: Host) -> None:
    """At each message to the kernel of links: nothing stays that the next run does not take away."""
    killed_at(host, container("one", on("macvlan", "10.90.0.11/24", "fd90::11/64")), "one", ("sendto",))
