"""A host that forwards for its containers alone: judged by its neighbours' packets, and by the kernel's files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Netns, requires
from neighbour import HOST, HOST6, LAN, LAN6, SERVER, Asked, World, box, bridge
from test_kill import FULL
from test_networks import ADVERTISE

pytestmark = requires("root", "busybox", "bridge", "veth", "ip", "nft", "nsenter")
FAR, FAR6, NEAR, NEAR6 = "198.51.100.2", "2001:db8:8::2", "198.51.100.1", "2001:db8:8::1"
THROUGH: tuple[Asked, ...] = (("tcp", FAR, 7000), ("udp", FAR, 7000), ("tcp", FAR6, 7000), ("udp", FAR6, 7000))
NOTHING = ["nothing"] * 4
SWITCHES = "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"
# Everything that tells how a link is dealt with; what the links themselves are for a moment is of no interest.
KNOBS = """
import json, os
out = {}
for room in ("ipv4", "ipv6"):
    for link in os.listdir(f"/proc/sys/net/{room}/conf"):
        for name in os.listdir(f"/proc/sys/net/{room}/conf/{link}"):
            if name not in ("stable_secret",):
                out[f"{room}/{link}/{name}"] = open(f"/proc/sys/net/{room}/conf/{link}/{name}").read().strip()
print(json.dumps(out))
"""


class Crossing(World):
    """A host between two neighbours, of which one serves and both know the host as their router."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.far = Netns()
        self.sh(self.far, "for i in all default; do echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad; done")
        self.sh(self.host, f"ip link add eth8 type veth peer name eth0 netns {self.far.pid};"
                           f"ip addr add {NEAR}/24 dev eth8; ip addr add {NEAR6}/64 dev eth8; ip link set eth8 up")
        self.sh(self.far, f"ip addr add {FAR}/24 dev eth0; ip addr add {FAR6}/64 dev eth0; ip link set eth0 up;"
                          f"ip route add default via {NEAR}; ip route add default via {NEAR6}")
        self.sh(self.lan, f"ip route add {FAR}/32 via {HOST}; ip route add {FAR6}/128 via {HOST6}")
        self.server = self.far.popen(sys.executable, "-c", SERVER, "far", "7000")
        assert self.server.stdout is not None and self.server.stdout.readline() == "ready\n"

    def close(self) -> None:
        self.server.kill()
        self.server.communicate()
        self.far.close()
        super().close()

    def through(self, patience: float = 0.5) -> list[str]:
        """What the one neighbour hears of the other: TCP and UDP of IPv4, then of IPv6."""
        with ThreadPoolExecutor(len(THROUGH)) as pool:
            return [said for [said] in pool.map(lambda one: self.ask(self.lan, one, patience=patience), THROUGH)]

    def switches(self) -> list[str]:
        return self.sh(self.host, f"sysctl -n {' '.join(SWITCHES)}").split()

    def forward(self, v4: int, v6: int) -> None:
        """As somebody else would."""
        self.sh(self.host, f"sysctl -w {SWITCHES[0]}={v4} {SWITCHES[1]}={v6}")

    def knobs(self) -> dict[str, str]:
        return dict(json.loads(self.sh(self.host, f"{sys.executable} -c '{KNOBS.replace(chr(39), chr(34))}'")))

    def changes(self, file: Path) -> set[tuple[str, str]]:
        told = json.loads(self.cli("diff", "-o", "json", file, status=1).stdout)["changes"]
        return {(one["target"], one["path"]) for one in told}


ANSWERS = [f"far 7000 {LAN}"] * 2 + [f"far 7000 {LAN6}"] * 2


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    one = Crossing(tmp_path_factory.mktemp("crossing"))
    yield one
    one.close()


@pytest.fixture
def world(place: Crossing) -> Iterator[Crossing]:
    """The host as it was: nothing of ours, no rule, and every parameter of every link."""
    before, rules = place.knobs(), place.ruleset()
    yield place
    place.cli.sweep()
    for name in ("lan0", "lan1", "lan2"):
        place.cli("destroy", "--yes", name, status=None)
    # A test that fails leaves the next one as it found it.
    left = place.ruleset(), place.knobs()
    place.sh(place.host, f"nft flush ruleset; sysctl -w {' '.join(f'{one}=0' for one in SWITCHES)}")
    assert left[0] == rules
    assert {name: value for name, value in left[1].items() if value != before.get(name)} == {}
    assert set(left[1]) == set(before)


@pytest.mark.both
def test_no_way_between_neighbours(world: Crossing) -> None:
    """While it is runspec that switched forwarding on; containers reach both, and are reached where they publish."""
    assert world.through() == NOTHING
    file = world.apply(bridge(nat=True), box("one", 11, ["0.0.0.0:8080:80", "[::]:8080:80"]))
    assert world.switches() == ["2", "2"] and world.through() == NOTHING
    assert world.ask(world.pid("one"), *THROUGH) == [f"far 7000 {NEAR}"] * 2 + [f"far 7000 {NEAR6}"] * 2
    asked: tuple[Asked, ...] = (("tcp", HOST, 8080), ("tcp", HOST6, 8080))
    assert world.ask(world.lan, *asked) == [f"one 80 {LAN}", f"one 80 {LAN6}"]
    # Whatever flushes the rules opens it, which is named and repaired with the rest.
    world.sh(world.host, "nft flush ruleset")
    assert world.through() == ANSWERS
    assert {("lan0", "nat"), ("one", "ports")} <= world.changes(file)
    world.cli("apply", file)
    assert world.through() == NOTHING and world.ask(world.lan, *asked) == [f"one 80 {LAN}", f"one 80 {LAN6}"]
    # So does whoever takes away that one rule's word.
    world.sh(world.host, "nft delete element inet runspec closed '{ ipv4 }'")
    assert world.through() == ANSWERS[:2] + NOTHING[2:]
    assert world.changes(file) == {("lan0", "nat"), ("one", "ports")}
    world.cli("apply", file)
    assert world.through() == NOTHING and world.cli("diff", file).stdout == ""
    world.cli("destroy", "--yes", "one", "lan0")
    assert world.through() == NOTHING and world.switches() == ["0", "0"]


def test_a_port_alone(world: Crossing) -> None:
    """A plain network is nobody's way out because of one port; answers and errors of that port pass."""
    world.apply(bridge(), box("one", 11, ["0.0.0.0:8080:80", "0.0.0.0:8081:99/udp"]))
    assert world.switches() == ["2", "0"] and world.through() == NOTHING
    assert world.ask(world.lan, ("tcp", HOST, 8080), ("udp", HOST, 8081)) == [f"one 80 {LAN}", "refused"]
    assert world.ask(world.pid("one"), *THROUGH, patience=0.5) == NOTHING
    # Not by the container's own address, and not to what it does not publish.
    assert world.ask(world.lan, ("tcp", "10.77.0.11", 80), patience=0.5) == ["nothing"]


def test_each_family_by_itself(world: Crossing) -> None:
    """Networks come and go: what the last one of a family held is given back, and the other stays as it is."""
    def net(number: int, family: int) -> dict[str, Any]:
        one = bridge(number, nat=True)
        return one | {"addresses": [one["addresses"][family]]}

    world.cli("apply", world.write(net(77, 0)))
    assert world.switches() == ["2", "0"] and world.through() == NOTHING
    world.cli("apply", world.write(net(78, 1)))
    assert world.switches() == ["2", "2"] and world.through() == NOTHING
    world.cli("apply", world.write(net(79, 1)))
    world.cli("destroy", "--yes", "lan0")
    assert world.switches() == ["0", "2"] and world.through() == NOTHING
    world.cli("destroy", "--yes", "lan1")
    assert world.switches() == ["0", "2"] and world.through() == NOTHING
    # A family that somebody else forwards is his, and the other one stays ours.
    world.sh(world.host, f"sysctl -w {SWITCHES[0]}=1")
    assert world.through() == ANSWERS[:2] + NOTHING[2:]
    world.cli("apply", world.write(net(77, 0)))
    assert world.through() == ANSWERS[:2] + NOTHING[2:]
    world.cli("destroy", "--yes", "lan0", "lan2")
    assert world.switches() == ["1", "0"]
    world.forward(0, 0)


def test_a_host_that_forwarded_before(world: Crossing) -> None:
    """Nothing of others is dropped, and nothing is given back."""
    world.forward(1, 1)
    world.apply(bridge(nat=True), box("one", 11, ["0.0.0.0:8080:80"]))
    assert world.through() == ANSWERS
    world.cli("destroy", "--yes", "one", "lan0")
    assert world.through() == ANSWERS and world.switches() == ["1", "1"]
    world.forward(0, 0)


@pytest.mark.parametrize("verb", ["apply of another", "apply", "destroy"])
def test_somebody_switches_it_on_later(world: Crossing, verb: str) -> None:
    """He writes 1 where we wrote 2: `diff` names it, and the next change, whatever of, lets his packets pass."""
    file = world.write(bridge(nat=True), bridge(78, nat=True))
    world.cli("apply", file)
    world.forward(1, 0)
    world.sh(world.host, f"sysctl -w {SWITCHES[1]}=1")
    assert world.changes(file) == {("lan0", "nat"), ("lan1", "nat")}
    for words in (("diff", file), ("doctor",)):
        said = world.cli(*words, status=None).stdout
        assert "net.ipv4.ip_forward was switched on by somebody else" in said, said
    if verb == "apply":
        world.cli("apply", file)
        assert world.cli("diff", file).stdout == ""
    elif verb == "destroy":
        world.cli("destroy", "--yes", "lan0")
    else:
        other = box("other", 5, [])
        del other["interfaces"], other["ports"]
        said = world.cli("apply", world.write(other)).stdout
        assert "net.ipv4.ip_forward was switched on by somebody else: from now on the host forwards for all\n" in said
    assert world.through() == ANSWERS
    world.cli.sweep()
    world.cli("destroy", "--yes", "lan1", *["lan0"] * (verb != "destroy"))
    assert world.switches() == ["1", "1"] and world.through() == ANSWERS
    world.forward(0, 0)


def test_whoever_looks_for_a_1_writes_it(world: Crossing) -> None:
    """As other runtimes start: they find forwarding not switched on, do so and guard it with chains of their own."""
    world.cli("apply", world.write(bridge(nat=True)))
    theirs = """
        [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || { echo 1 >/proc/sys/net/ipv4/ip_forward; policy=drop; }
        ip link add br-their type bridge; ip addr add 172.30.0.1/24 dev br-their; ip link set br-their up
        nft add table ip filter; nft add table ip nat
        nft "add chain ip filter FORWARD { type filter hook forward priority 0; policy ${policy:-accept}; }"
        nft 'add rule ip filter FORWARD iifname "br-their" accept'
        nft 'add rule ip filter FORWARD oifname "br-their" ct state established,related accept'
        nft 'add chain ip nat POSTROUTING { type nat hook postrouting priority 100; }'
        nft 'add rule ip nat POSTROUTING ip saddr 172.30.0.0/24 oifname != "br-their" masquerade'"""
    guest = Netns()
    try:
        world.sh(world.host, theirs)
        world.sh(world.host, f"ip link add their0 master br-their type veth peer name eth0 netns {guest.pid};"
                             "ip link set their0 up")
        world.sh(guest, "ip addr add 172.30.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 172.30.0.1")
        world.cli("apply", world.write(bridge(nat=True), bridge(78)))
        assert world.ask(guest, *THROUGH[:2]) == [f"far 7000 {NEAR}"] * 2
        assert world.through()[:2] == NOTHING[:2]           # their policy, which they set because it was not a 1
        world.cli("destroy", "--yes", "lan0", "lan1")
        assert world.ask(guest, *THROUGH[:2]) == [f"far 7000 {NEAR}"] * 2 and world.switches() == ["1", "0"]
    finally:
        world.sh(world.host, "nft delete table ip filter; nft delete table ip nat; ip link del their0;"
                             f"ip link del br-their; sysctl -w {SWITCHES[0]}=0")
        guest.close()


def test_links_that_forward_by_themselves(world: Crossing) -> None:
    """They did without us, and do all the time; so do a routed veth's ends, those that come later, too."""
    def own(value: int) -> None:
        for name in ("eth8", "eth9"):
            world.sh(world.host, f"echo {value} >/proc/sys/net/ipv4/conf/{name}/forwarding")

    def routed(name: str, last: int) -> dict[str, Any]:
        one = box(name, 11, [])
        one["interfaces"] = [{"name": "eth0", "type": "veth", "mode": "routed", "gateway": ["169.254.1.1", "fe80::1"],
                              "addresses": [f"10.99.0.{last}/32", f"fd99::{last}/128"]}]
        return one

    own(1)
    assert world.through() == ANSWERS[:2] + NOTHING[2:]
    world.apply(routed("first", 2))
    world.apply(routed("first", 2), bridge(nat=True), routed("second", 3))
    assert world.switches() == ["2", "2"] and world.through() == ANSWERS[:2] + NOTHING[2:]
    for name, asked in (("first", "10.99.0.3"), ("second", "10.99.0.2"), ("first", "fd99::3")):
        assert world.ask(world.pid(name), ("tcp", asked, 80))[0].split()[0] == {"3": "second", "2": "first"}[asked[-1]]
    assert world.ask(world.pid("first"), ("tcp", FAR, 7000)) == ["far 7000 10.99.0.2"]
    file = world.apply(routed("first", 2), bridge(nat=True))
    # One that is made while the host forwards for nobody else, and one that is made anew.
    world.apply(routed("third", 4))
    assert world.ask(world.pid("third"), ("tcp", FAR, 7000)) == ["far 7000 10.99.0.4"]
    world.sh(world.host, "ip link del third.eth0")
    world.apply(routed("third", 4))
    assert world.ask(world.pid("third"), ("tcp", "fd99::2", 80)) == ["first 80 fd99::4"]
    world.cli("destroy", "--yes", "third")
    assert "third" not in world.ruleset()
    file = world.write(routed("first", 2), bridge(nat=True))
    own(0)
    assert ("lan0", "nat") in world.changes(file)
    world.cli("apply", file)
    assert world.through() == NOTHING
    own(1)
    world.cli("apply", file)
    assert world.through() == ANSWERS[:2] + NOTHING[2:]
    world.cli("destroy", "--yes", "lan0")
    assert world.through() == ANSWERS[:2] + NOTHING[2:]
    assert world.cli("diff", world.write(routed("first", 2))).stdout == ""
    world.cli("destroy", "--yes", "first", "second")
    own(0)


def test_every_parameter_is_as_it_was(world: Crossing) -> None:
    """What the kernel changes along with the switches, of all links that were there, and of those that came."""
    world.sh(world.host, """
        cd /proc/sys/net; echo 0 >ipv4/conf/all/accept_redirects; echo 1 >ipv4/conf/default/forwarding
        echo 1 >ipv4/conf/eth9/forwarding; echo 1 >ipv6/conf/eth9/forwarding; echo 1 >ipv6/conf/default/forwarding
        for i in all eth8 eth9; do echo 0 >ipv6/conf/$i/accept_redirects; done""")
    before = world.knobs()
    assert before["ipv4/all/accept_redirects"] == "0" and before["ipv4/eth9/forwarding"] == "1"
    world.cli("apply", world.write(bridge(nat=True)))
    now = world.knobs()
    assert (now["ipv4/eth8/forwarding"], now["ipv4/eth9/forwarding"]) == ("2", "1")
    world.sh(world.host, "ip link add new0 type veth peer name new1")
    world.cli("destroy", "--yes", "lan0")
    after = world.knobs()
    assert {name: value for name, value in after.items() if "/new" not in name} == before
    assert (after["ipv4/new0/forwarding"], after["ipv6/new0/forwarding"]) == ("1", "1")      # as default was
    world.sh(world.host, """
        ip link del new0; cd /proc/sys/net; echo 1 >ipv4/conf/all/accept_redirects; echo 0 >ipv4/conf/default/forwarding
        echo 0 >ipv4/conf/eth9/forwarding; echo 0 >ipv6/conf/eth9/forwarding; echo 0 >ipv6/conf/default/forwarding
        for i in all eth8 eth9; do echo 1 >ipv6/conf/$i/accept_redirects; done""")


def test_routers_are_heeded_all_the_time(world: Crossing) -> None:
    """A host that gets its own way out from a router's advertisements keeps it, and new ones, while it forwards."""
    mac = json.loads(world.sh(world.lan, "ip -j link show dev eth0"))[0]["address"]

    def advertised() -> bool:
        """Whether it has a way out once the router has spoken again."""
        world.sh(world.host, "ip -6 route flush proto ra; ip -6 route flush proto kernel to 2001:db8:bad::/64 || :")
        world.sh(world.lan, f"{sys.executable} -c '{ADVERTISE}' {mac}; ping -c 1 -W 2 {HOST} >/dev/null")
        return "default via fe80::bad dev eth9" in world.sh(world.host, "ip -6 route")

    assert advertised()
    world.cli("apply", world.write(bridge(nat=True)))
    assert "default via fe80::bad dev eth9" in world.sh(world.host, "ip -6 route")
    assert world.switches() == ["2", "2"] and advertised()
    world.cli("destroy", "--yes", "lan0")
    assert "default via fe80::bad dev eth9" in world.sh(world.host, "ip -6 route")
    assert advertised() and world.knobs()["ipv6/eth9/accept_ra"] == "1"
    world.sh(world.host, "ip -6 route flush proto ra; ip -6 addr flush dev eth9 to 2001:db8:bad::/64")


def test_killed_anywhere(world: Crossing) -> None:
    """At each act of taking and giving back: nothing passes in between, and all is as it was once it is put right."""
    world.sh(world.host, "cd /proc/sys/net/ipv4/conf; echo 0 >all/accept_redirects; echo 1 >eth9/forwarding")
    before, rules, file, trace = world.knobs(), world.ruleset(), world.write(bridge(nat=True)), world.folder / "trace"
    for words in (("apply", file), ("destroy", "--yes", "lan0")):
        if words[0] == "destroy":
            world.cli("apply", file)
        world.cli(*words, env={"RUNSPEC_FAULT": f"trace@{trace}"})
        calls = trace.read_text().split()
        trace.unlink()
        if words[0] == "apply":
            world.cli("destroy", "--yes", "lan0")
        first = calls.index("nft") - 1
        for number in range(first if FULL else first + 3, len(calls) + 1, 1 if FULL else 5):
            if words[0] == "destroy":
                world.cli("apply", file)
            done = world.cli(*words, env={"RUNSPEC_FAULT": f"kill@{number}"}, status=None)
            # Directories that a killed run left are not made again.
            least = len(calls) - 1 - calls.count("mkdir")
            assert done.returncode == -9 or (done.returncode == 0 and number > least), done.stderr
            if done.returncode == 0:
                world.cli("destroy", "--yes", "lan0", status=None)
                continue
            assert world.ask(world.lan, THROUGH[0], THROUGH[2], patience=0.2) == NOTHING[:2], f"{words[0]} {number}"
            if number % 2:
                world.cli("apply", file)
                assert world.cli("diff", file).stdout == ""
            world.cli("destroy", "--yes", "lan0", status=None)
            assert (world.knobs(), world.ruleset()) == (before, rules), f"{words[0]} killed at {number}"
    world.sh(world.host, "cd /proc/sys/net/ipv4/conf; echo 1 >all/accept_redirects; echo 0 >eth9/forwarding")


def test_bridges_of_others(world: Crossing) -> None:
    """Where packets within a bridge pass the rules as well, they are no forwarding: anybody's, and our plain ones."""
    if world.host.run("cat", "/proc/sys/net/bridge/bridge-nf-call-iptables").stdout != "1\n":
        pytest.skip("packets within a bridge pass no rules here")
    ends = Netns(), Netns()
    try:
        world.sh(world.host, "ip link add br-their type bridge; ip link set br-their up")
        for at, one in enumerate(ends):
            world.sh(world.host, f"ip link add their{at} master br-their type veth peer name eth0 netns {one.pid};"
                                 f"ip link set their{at} up")
            world.sh(one, f"ip addr add 172.30.0.{at + 1}/24 dev eth0; ip link set eth0 up")
        server = ends[1].popen(sys.executable, "-c", SERVER, "their", "7000")
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        try:
            world.cli("apply", world.write(bridge(nat=True)))
            assert world.ask(ends[0], ("tcp", "172.30.0.2", 7000)) == ["their 7000 172.30.0.1"]
            world.apply(bridge(78), box("one", 11, [], net=78), box("two", 12, [], net=78))
            assert world.ask(world.pid("one"), ("tcp", "10.78.0.12", 80)) == ["two 80 10.78.0.11"]
            assert world.through() == NOTHING
        finally:
            server.kill()
            server.communicate()
        world.cli.sweep()
        world.cli("destroy", "--yes", "lan0", "lan1")
    finally:
        world.sh(world.host, "ip link del their0; ip link del their1; ip link del br-their")
        for one in ends:
            one.close()


def by_the_host(world: Crossing, name: str, to: str, family: int) -> str:
    """What one container hears of another where both take their gateway for the way, whatever the link says."""
    at = {"one": ("10.{}.0.11", "fd{}::11"), "two": ("10.{}.0.12", "fd{}::12")}
    nets = {other: int(world.cli("exec", other, "ip", "-o", "-4", "addr", "show", "dev", "eth0").stdout.partition(
        " 10.")[2].partition(".")[0]) for other in (name, to)}
    ends = {other: (world.pid(other), at[other][family == 6].format(nets[other])) for other in (name, to)}
    length = 128 if family == 6 else 32
    for mine, other in ((name, to), (to, name)):
        gateway = ("fd{}::1" if family == 6 else "10.{}.0.1").format(nets[mine])
        done = world.host.run("nsenter", f"--net=/proc/{ends[mine][0]}/ns/net", "ip", "route", "replace",
                              f"{ends[other][1]}/{length}", "via", gateway)
        assert done.returncode == 0, done.stderr
    [said] = world.ask(ends[name][0], ("tcp", ends[to][1], 80), patience=0.5)
    for mine, other in ((name, to), (to, name)):
        world.host.run("nsenter", f"--net=/proc/{ends[mine][0]}/ns/net", "ip", "route", "del",
                       f"{ends[other][1]}/{length}")
    return said


@pytest.mark.both
@pytest.mark.parametrize("forwards", ["for runspec", "for itself"])
def test_isolated_siblings(world: Crossing, forwards: str) -> None:
    """Not by way of the bridge's MAC either; by what they publish, yes, and the world as before."""
    nat = forwards == "for runspec"
    if not nat:
        world.forward(1, 1)
    # Where packets within a bridge are led, one to a sibling's port never leaves it, so its ports are apart there, too.
    led = world.host.run("cat", "/proc/sys/net/bridge/bridge-nf-call-iptables").stdout == "1\n"
    if led and not nat:
        world.sh(world.host, "echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables")
    boxes = box("one", 11, []), box("two", 12, ["0.0.0.0:8080:80"])
    world.apply(bridge(nat=nat), *boxes)
    # Without the word the host's MAC is a way like any other.
    assert by_the_host(world, "one", "two", 4) == "two 80 10.77.0.11"
    assert by_the_host(world, "one", "two", 6) == "two 80 fd77::11"
    file = world.apply(bridge(nat=nat, isolated=True), *boxes)
    for _ in range(2):
        assert [by_the_host(world, "one", "two", family) for family in (4, 6)] == NOTHING[:2]
        assert by_the_host(world, "two", "one", 4) == "nothing"
        [said] = world.ask(world.pid("one"), ("tcp", HOST, 8080), patience=0.5)
        assert said == ("nothing" if led and nat else "two 80 10.77.0.1")
        assert world.ask(world.pid("one"), THROUGH[0])[0].startswith("far 7000 ")
        world.sh(world.host, "nft flush ruleset")
        if not nat:
            assert by_the_host(world, "one", "two", 4) == "two 80 10.77.0.11"
        assert ("lan0", "isolated") in world.changes(file)
        world.cli("apply", file)
        assert world.cli("diff", file).stdout == ""
    world.cli("destroy", "--yes", "one", "two", "lan0")
    world.forward(0, 0)
    if led:
        world.sh(world.host, "echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables")


PAIRS = [("internal", "internal"), ("isolated", "isolated"), ("internal", "isolated")]


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("forwards", ["for runspec", "for itself"])
def test_no_way_from_one_network_to_another(world: Crossing, first: str, second: str, forwards: str) -> None:
    """By IPv4 and IPv6, in both directions, through the host that has an address on each."""
    if forwards == "for itself":
        world.forward(1, 1)
    boxes = box("one", 11, []), box("two", 12, [], net=78)
    # Somebody else's network makes the host forward at all.
    more = [bridge(79, nat=True)] * (forwards == "for runspec")
    if not more:
        world.apply(bridge(), bridge(78), *boxes)
        assert by_the_host(world, "one", "two", 4) == "two 80 10.77.0.11"
        assert by_the_host(world, "two", "one", 6) == "one 80 fd78::12"
    world.apply(bridge(**{first: True}), bridge(78, **{second: True}), *boxes, *more)
    assert [by_the_host(world, "one", "two", family) for family in (4, 6)] == NOTHING[:2]
    assert [by_the_host(world, "two", "one", family) for family in (4, 6)] == NOTHING[:2]
    world.cli("destroy", "--yes", "one", "two", "lan0", "lan1", *["lan2"] * len(more))
    world.forward(0, 0)
