"""A VLAN on a kernel without its driver, by two programs: judged by the frames on the wire and by both ends."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from cable import WIRE, Host, container, hear, host, hosts, killed_at, mac
from conftest import requires
from wire import frame

__all__ = ["host", "hosts"]

pytestmark = requires("root", "busybox", "veth", "no_vlan", "ip", "ping", "nsenter")
Q, AD = 0x8100, 0x88A8
EVERYBODY, NOBODY = "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:99"


def vlan(number: int, *addresses: str, **keys: Any) -> dict[str, Any]:
    return {"name": "eth0", "type": "vlan", "parent": "nic0", "vlan": {"id": number, **keys.pop("tag", {})},
            "fallback": "tc-bpf", "addresses": list(addresses), **keys}


FIRST = container("first", vlan(10, "10.91.0.1/24", "fd91::1/64"))
SECOND = container("second", vlan(20, "10.91.0.2/24", "fd91::2/64"))
SERVICE = container("service", vlan(10, "10.92.0.1/24", tag={"protocol": "802.1ad"}))


@pytest.fixture(scope="module")
def far(hosts: tuple[Host, Host]) -> Host:
    """The second one, with a container on VLAN 10 as well."""
    hosts[1].apply(container("far", vlan(10, "10.91.0.9/24", "fd91::9/64")))
    return hosts[1]


def test_both_ways_with_the_declared_tag(host: Host, far: Host) -> None:
    """v4 and v6, both ways; on the wire each frame of theirs bears the id and the protocol that was asked for."""
    plan = host.cli("plan", host.file(FIRST)).stdout
    assert "since this kernel has no VLAN driver, by tc-bpf: frames of 802.1Q 10 on nic0" in plan
    host.apply(FIRST, SERVICE)
    assert mac(host, "first") == mac(host, "service") == json.loads(host.ip("-j", "link", "show", "nic0"))[0]["address"]
    with hear(far, "nic0") as ear:
        assert all(host.pings("first", address) for address in ("10.91.0.9", "fd91::9"))
        assert all(far.pings("far", address) for address in ("10.91.0.1", "fd91::1"))
        assert not host.pings("service", "10.92.0.9")
        assert host.run("ping", "-c", "1", "-W", "1", "10.90.0.2")
    named = {"802.1Q:10": {"0800", "0806", "86dd"}, "802.1ad:10": {"0806"}, "-": {"0800"}}
    found: dict[str, set[str]] = {}
    for way, _, _, tag, kind, _ in ear.frames:
        if way == "in":
            found.setdefault(tag, set()).add(kind)
    assert set(found) == set(named) and all(named[tag] <= found[tag] for tag in named)


def test_nothing_else_arrives(host: Host, far: Host) -> None:
    """Not without a tag, not of another VLAN or protocol; what is its own, without the tag."""
    host.apply(FIRST)
    own, sent = mac(host, "first"), mac(far, "far")
    with hear(host, "first", "eth0") as ear:
        frames = [frame(target, sent, text.encode(), tag) for text, target, tag in (
            ("plain", EVERYBODY, None), ("other id", EVERYBODY, (Q, 11)), ("other protocol", EVERYBODY, (AD, 10)),
            ("priority", EVERYBODY, (Q, 0)), ("own plain", own, None), ("own id 20", own, (Q, 20)),
            ("all", EVERYBODY, (Q, 10)), ("own", own, (Q, 0xE000 | 10)))]
        far.run(sys.executable, WIRE, "send", "nic0", *frames)
        assert host.pings("first", "10.91.0.9")     # behind all of them
    got = {bytes.fromhex(data).rstrip(b"\0").decode(): tag for _, _, _, tag, kind, data in ear.frames if kind == "88b5"}
    assert got == {"all": "-", "own": "-"}


def test_two_vlans_of_one_parent_do_not_meet(host: Host, far: Host) -> None:
    """Though their addresses are of one network; and neither meets the host."""
    host.apply(FIRST, SECOND)
    assert host.pings("first", "10.91.0.9")
    tries = [host.inside(name, "ping", "-c", "2", "-i", "0.2", "-W", "1", address) for name, address in (
        ("first", "10.91.0.2"), ("second", "10.91.0.1"), ("second", "fd91::9"), ("first", "10.90.0.1"))]
    assert all(one.wait() for one in tries)


# Sends 32 MiB and takes what comes; says what both are.
EXCHANGE = """
import hashlib, os, socket, sys, threading
if len(sys.argv) > 1:
    one = socket.create_connection((sys.argv[1], 5000))
else:
    door = socket.create_server(("", 5000))
    print("ready", flush=True)
    one, _ = door.accept()
data, got = os.urandom(1 << 20) * 32, hashlib.sha256()
go = threading.Thread(target=lambda: (one.sendall(data), one.shutdown(socket.SHUT_WR)))
go.start()
while part := one.recv(1 << 20):
    got.update(part)
go.join()
print(hashlib.sha256(data).hexdigest(), got.hexdigest())
"""


def test_much_data(host: Host, far: Host) -> None:
    """TCP with segments and checksums that cards would make: whole, both ways, and in packets of full size."""
    host.apply(FIRST)
    with far.inside("far", sys.executable, "-c", EXCHANGE) as server:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        mine = host.inside("first", sys.executable, "-c", EXCHANGE, "10.91.0.9").communicate()[0].split()
        theirs = server.communicate()[0].split()
    assert mine == theirs[::-1] and len(set(mine)) == 2


def test_a_mac_of_its_own(host: Host, far: Host) -> None:
    """The parent is told to hear it, and all multicast, which a card would drop; an edit takes the other one."""
    one = container("first", vlan(10, "10.91.0.1/24", mac="02:00:00:00:00:0a"))
    heard = "02:00:00:00:00:0a self permanent"
    host.apply(one)
    assert heard in host.run("bridge", "fdb", "show", "dev", "nic0") and "ALLMULTI" in host.ip("link", "show", "nic0")
    with hear(far, "nic0") as ear:
        assert host.pings("first", "10.91.0.9")
    assert ear.tags("02:00:00:00:00:0a") == {"802.1Q:10"}
    one["interfaces"][0]["mac"] = "02:00:00:00:00:0b"
    host.apply(one)
    assert heard not in host.run("bridge", "fdb", "show", "dev", "nic0") and host.pings("first", "10.91.0.9")


DRIFTS = {"filter": "tc filter del dev nic0 ingress pref 20490", "hooks": "tc qdisc del dev nic0 clsact",
          "pair": "tc qdisc del dev first.eth0 clsact", "down": "ip link set first.eth0 down",
          "multicast": "ip link set nic0 allmulticast off",
          "address": "bridge fdb del 02:00:00:00:00:0a dev nic0 self"}


def test_drift(host: Host, far: Host) -> None:
    """What somebody took away is named and put back in place, and what is ours of it still known as ours."""
    one = container("first", vlan(10, "10.91.0.1/24", mac="02:00:00:00:00:0a"))
    host.apply(one)
    before = json.loads(host.cli("state", "first").stdout)["pid"]
    for what, words in DRIFTS.items():
        host.run(*words.split())
        said = host.cli("diff", host.file(one), status=1).stdout
        assert "interfaces[0].fallback: tc-bpf without" in said and "drifted, in place" in said, what
        host.apply(one)
        assert host.pings("first", "10.91.0.9"), what
    assert json.loads(host.cli("state", "first").stdout)["pid"] == before


def test_changed_in_place(host: Host, far: Host) -> None:
    """Another id is another VLAN for the same processes; one more link joins them, and goes."""
    host.apply(FIRST)
    before = json.loads(host.cli("state", "first").stdout)["pid"]
    host.apply(container("first", vlan(11, "10.91.0.1/24")))
    assert not host.pings("first", "10.91.0.9")
    host.apply(container("first", vlan(11, "10.91.0.1/24"), {**vlan(10, "10.91.0.3/24"), "name": "eth1"}))
    assert host.inside("first", "ping", "-c", "1", "-W", "1", "-I", "eth1", "10.91.0.9").wait() == 0
    host.apply(container("first", vlan(10, "10.91.0.1/24")))
    assert host.pings("first", "10.91.0.9") and json.loads(host.cli("state", "first").stdout)["pid"] == before
    assert "first:eth1" not in host.run("tc", "filter", "show", "dev", "nic0", "ingress")


def test_what_was_there_stays(host: Host) -> None:
    """Hooks, filters, multicast and addresses of somebody else's."""
    host.run("tc", "qdisc", "add", "dev", "nic0", "clsact")
    host.run("tc", "filter", "add", "dev", "nic0", "ingress", "pref", "7", "u32", "match", "u32", "0", "0")
    host.ip("link", "set", "nic0", "allmulticast", "on")
    host.run("bridge", "fdb", "add", "02:00:00:00:00:0a", "dev", "nic0", "self")
    before = host.picture()
    host.apply(container("first", vlan(10, "10.91.0.1/24", mac="02:00:00:00:00:0a")), SECOND)
    assert host.picture() != before
    host.cli("destroy", "--yes", "first", "second")
    host.assert_as(before)
    host.run("bridge", "fdb", "del", "02:00:00:00:00:0a", "dev", "nic0", "self")
    host.ip("link", "set", "nic0", "allmulticast", "off")
    host.run("tc", "qdisc", "del", "dev", "nic0", "clsact")


def test_another_name_of_the_parent(host: Host) -> None:
    """What was done to it is undone, whatever it is called by then."""
    host.ip("link", "add", "nic7", "type", "veth", "peer", "name", "nic8")
    for link in ("nic7", "nic8"):
        host.ip("link", "set", link, "up")
    host.apply(container("first", vlan(10, "10.91.0.1/24", parent="nic7", mac="02:00:00:00:00:0a")))
    host.ip("link", "set", "nic7", "down")
    host.ip("link", "set", "nic7", "name", "nic9")
    assert "ALLMULTI" in host.ip("link", "show", "nic9")
    host.cli("destroy", "--yes", "first")
    assert "ALLMULTI" not in host.ip("link", "show", "nic9") and "clsact" not in host.run("tc", "qdisc")
    assert "02:00:00:00:00:0a" not in host.run("bridge", "fdb", "show", "dev", "nic9")
    host.ip("link", "del", "nic9")


def test_refused(host: Host) -> None:
    """Without the word, with more bytes than the parent carries, on a VLAN that has somebody's filter."""
    without = {key: value for key, value in vlan(10).items() if key != "fallback"}
    done = host.cli("apply", host.file(container("first", without)), status=2)
    assert "needs links of type vlan, which is not to be had here" in done.stderr
    assert "write `fallback: tc-bpf`" in done.stderr
    done = host.cli("apply", host.file(container("first", vlan(10, mtu=1501))), status=2)
    assert "1501 is more than the 1500 of nic0" in done.stderr
    host.run("tc", "qdisc", "add", "dev", "nic0", "clsact")
    host.run("tc", "filter", "add", "dev", "nic0", "ingress", "pref", "20490", "u32", "match", "u32", "0", "0")
    before = host.picture()
    done = host.cli("apply", host.file(FIRST), status=2)
    assert "VLAN 10 of nic0 has a filter already" in done.stderr and "while undoing" not in done.stderr
    host.assert_as(before)
    host.run("tc", "qdisc", "del", "dev", "nic0", "clsact")


def test_killed(host: Host) -> None:
    """At each call that loads a program or talks to the kernel of links: all is taken back, or done."""
    killed_at(host, container("first", vlan(10, "10.91.0.1/24", mac="02:00:00:00:00:0a")), "first", ("sendto", "bpf"))

