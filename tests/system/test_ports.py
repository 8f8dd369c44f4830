"""Published ports, nat and internal networks, judged by packets: from the host, from a neighbour, from siblings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Cli, Netns, assert_nothing_leaked, requires
from machine import Picture
from neighbour import HOST, HOST6, LAN, LAN6, SERVER, Asked, World, box, bridge
from test_kill import FULL

pytestmark = requires("root", "busybox", "bridge", "veth", "ip", "nft", "nsenter")

@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    one = World(tmp_path_factory.mktemp("ports"))
    yield one
    one.close()


# -- nat and internal ---------------------------------------------------------------------------------------------

def test_nat(world: World) -> None:
    """What leaves bears the host's address; from elsewhere comes what answers or is published, and nothing else."""
    server = world.lan.popen(sys.executable, "-c", SERVER, "lan", "7000")
    try:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        inner = box("inner", 21, ["0.0.0.0:8085:80"], net=78)
        file = world.apply(bridge(78, nat=True), inner)
        pid = world.pid("inner")
        out: tuple[Asked, ...] = (("tcp", LAN, 7000), ("udp", LAN, 7000), ("tcp", LAN6, 7000))
        into: tuple[Asked, ...] = (("tcp", "10.78.0.21", 80), ("udp", "10.78.0.21", 80), ("tcp", "fd78::21", 80))
        assert world.ask(pid, *out) == [f"lan 7000 {HOST}", f"lan 7000 {HOST}", f"lan 7000 {HOST6}"]
        assert world.ask(world.lan, *into, patience=0.5) == ["nothing"] * 3
        assert world.ask(world.lan, ("tcp", HOST, 8085)) == [f"inner 80 {LAN}"]
        assert world.ask(world.host, *into) == ["inner 80 10.78.0.1", "inner 80 10.78.0.1", "inner 80 fd78::1"]

        world.sh(world.host, "nft flush ruleset; sysctl -w net.ipv4.ip_forward=0")
        told = json.loads(world.cli("diff", "-o", "json", file, status=1).stdout)["changes"]
        assert {(one["target"], one["path"], one["class"]) for one in told} == {
            ("lan1", "nat", "inPlace"), ("inner", "ports", "inPlace"), ("inner", "ports[0]", "inPlace")}
        world.apply(bridge(78, nat=True), inner)
        assert world.pid("inner") == pid
        assert world.ask(pid, *out) == [f"lan 7000 {HOST}", f"lan 7000 {HOST}", f"lan 7000 {HOST6}"]

        world.apply(bridge(78), inner)
        assert world.pid("inner") == pid
        # The port takes the host's forwarding as well, and that is for nothing else.
        assert world.ask(pid, *out[:2], patience=0.5) == ["nothing"] * 2
        assert world.ask(world.lan, *into[:2], patience=0.5) == ["nothing"] * 2
        assert world.ask(world.lan, ("tcp", HOST, 8085)) == [f"inner 80 {LAN}"]
    finally:
        server.kill()
        server.communicate()
    world.cli("destroy", "--yes", "inner", "lan1")


def test_internal(world: World) -> None:
    """Whoever forwards, nothing goes in or out but what is the host's own; siblings see each other."""
    before = world.ruleset()
    world.sh(world.host, "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    server = world.lan.popen(sys.executable, "-c", SERVER, "lan", "7000")
    try:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        boxes = box("inner", 21, ["8085:80"], net=78), box("other", 22, [], net=78)
        file = world.apply(bridge(78), *boxes)
        pid = world.pid("inner")
        into: tuple[Asked, ...] = (("tcp", "10.78.0.21", 80), ("tcp", "fd78::21", 80))
        out: tuple[Asked, ...] = (("tcp", LAN, 7000), ("udp", LAN, 7000), ("tcp", LAN6, 7000))
        assert world.ask(world.lan, *into) == [f"inner 80 {LAN}", f"inner 80 {LAN6}"]
        assert world.ask(pid, *out) == ["lan 7000 10.78.0.21"] * 2 + ["lan 7000 fd78::21"]
        for lose in (False, True):
            if lose:
                world.sh(world.host, "nft flush ruleset")
                told = json.loads(world.cli("diff", "-o", "json", file, status=1).stdout)["changes"]
                assert ("lan1", "internal", "inPlace") in {(one["target"], one["path"], one["class"]) for one in told}
            world.apply(bridge(78, internal=True), *boxes)
            assert world.pid("inner") == pid
            assert world.ask(world.lan, *into, patience=0.5) == ["nothing"] * 2
            assert world.ask(pid, *out, patience=0.5) == ["nothing"] * 3
            assert world.ask(pid, ("tcp", "10.78.0.22", 80), ("tcp", "fd78::22", 80)) == [
                "other 80 10.78.0.21", "other 80 fd78::21"]
            assert world.ask(world.host, *into, ("tcp", "127.0.0.1", 8085)) == [
                "inner 80 10.78.0.1", "inner 80 fd78::1", "inner 80 10.78.0.1"]
        said = world.cli("apply", world.write(bridge(78, internal=True), box("inner", 21, ["0.0.0.0:8085:80"], net=78)),
                         status=2).stderr
        assert "ports[0]: 0.0.0.0:8085/tcp would not be reached: network lan1 is internal\n" in said
    finally:
        server.kill()
        server.communicate()
        world.sh(world.host, "sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
    world.cli("destroy", "--yes", "inner", "other", "lan1")
    assert world.ruleset() == before


# -- ports --------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def pair(world: World) -> Iterator[World]:
    """Two containers with ports of every form on one bridge, and afterwards nothing of them."""
    before = world.cli.picture()
    world.apply(bridge(), box("left", 11, [
        "8080:80", "0.0.0.0:8081:80", "[::]:8081:80", "8000-8003:8000-8003/udp", f"{HOST}:9000-9001:80-81",
        {"host": 5353, "container": 80, "protocol": "udp", "hostIP": "0.0.0.0"}, f"[{HOST6}]:8090:81"],
        (80, 81, *range(8000, 8004))), box("right", 12, ["0.0.0.0:8082:80"]))
    yield world
    world.cli("destroy", "--yes", "left", "right", "lan0")
    assert_nothing_leaked(before, world.cli.picture)
    assert world.sh(world.host, "sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding") == "0\n0\n"


@pytest.mark.both
def test_from_the_host(pair: World) -> None:
    """By every address that is published, and by no other; what comes from 127.0.0.1 arrives from the bridge."""
    asked: dict[Asked, str] = {
        ("tcp", "127.0.0.1", 8080): "left 80 10.77.0.1", ("tcp", "127.0.0.1", 8081): "left 80 10.77.0.1",
        ("udp", "127.0.0.1", 5353): "left 80 10.77.0.1", ("udp", "127.0.0.1", 8000): "left 8000 10.77.0.1",
        ("udp", "127.0.0.1", 8003): "left 8003 10.77.0.1", ("tcp", HOST, 8081): f"left 80 {HOST}",
        ("tcp", HOST, 9000): f"left 80 {HOST}", ("tcp", HOST, 9001): f"left 81 {HOST}",
        ("tcp", HOST6, 8081): f"left 80 {HOST6}", ("tcp", HOST6, 8090): f"left 81 {HOST6}",
        ("tcp", "10.77.0.1", 8082): "right 80 10.77.0.1", ("tcp", HOST, 8080): "refused",
        ("tcp", "127.0.0.1", 9000): "refused", ("tcp", "::1", 8081): "refused", ("udp", "127.0.0.1", 8004): "refused"}
    assert dict(zip(asked, pair.ask(pair.host, *asked), strict=True)) == asked


def test_from_a_neighbour(pair: World) -> None:
    """What is published for all, with the neighbour's own address; nothing of what is the host's alone."""
    asked: dict[Asked, str] = {
        ("tcp", HOST, 8081): f"left 80 {LAN}", ("tcp", HOST6, 8081): f"left 80 {LAN6}",
        ("udp", HOST, 5353): f"left 80 {LAN}", ("tcp", HOST, 9001): f"left 81 {LAN}",
        ("tcp", HOST, 8082): f"right 80 {LAN}",
        ("tcp", HOST, 8080): "refused", ("udp", HOST, 8000): "refused", ("tcp", HOST6, 8082): "refused"}
    assert dict(zip(asked, pair.ask(pair.lan, *asked), strict=True)) == asked


def test_loopback_of_the_host_is_nobody_elses(pair: World) -> None:
    """Kubernetes CVE-2020-8558: a neighbour sends to 127.0.0.1 by way of the host's MAC; so does a container."""
    lan = Netns()
    try:
        pair.sh(pair.host, f"ip link add eth8 type veth peer name eth0 netns {lan.pid};"
                           "ip addr add 198.51.100.1/24 dev eth8; ip link set eth8 up")
        pair.sh(lan, "ip addr add 198.51.100.2/24 dev eth0; ip link set eth0 up; ip addr del 127.0.0.1/8 dev lo;"
                    "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; ip route add 127.0.0.0/8 via 198.51.100.1")
        assert pair.ask(lan, ("tcp", "198.51.100.1", 8081)) == ["left 80 198.51.100.2"]
        assert pair.ask(lan, ("tcp", "127.0.0.1", 8080), ("udp", "127.0.0.1", 8000), patience=0.5) == ["nothing"] * 2
    finally:
        pair.sh(pair.host, "ip link del eth8")
        lan.close()
    # And the link that does take such packets, for what it answers, is no way to the host's own services.
    pid = pair.pid("right")
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "sh", "-ec",
         "ip addr del 127.0.0.1/8 dev lo; echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet;"
         "ip route add 127.0.0.0/8 via 10.77.0.1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    secret = pair.host.popen(sys.executable, "-c", SERVER, "secret", "7777")
    try:
        assert secret.stdout is not None and secret.stdout.readline() == "ready\n"
        assert pair.ask(pid, ("tcp", "127.0.0.1", 7777), patience=0.5) == ["nothing"]
        assert pair.ask(pair.host, ("tcp", "127.0.0.1", 7777)) == ["secret 7777 127.0.0.1"]
    finally:
        secret.kill()
        secret.communicate()
        subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "sh", "-ec",
                        "ip route del 127.0.0.0/8; ip addr add 127.0.0.1/8 dev lo"], check=True)


@pytest.mark.both
def test_from_containers(pair: World) -> None:
    """A sibling's published port and one's own, by any address of the host, though all are on one link."""
    asked: tuple[Asked, ...] = (("tcp", "10.77.0.1", 8081), ("tcp", HOST, 8081), ("udp", HOST, 5353),
                                ("tcp", HOST6, 8081), ("tcp", HOST, 8082), ("tcp", "10.77.0.12", 80))
    assert pair.ask(pair.pid("right"), *asked) == [
        "left 80 10.77.0.1", "left 80 10.77.0.1", "left 80 10.77.0.1", "left 80 fd77::1", "right 80 10.77.0.1",
        "right 80 10.77.0.12"]


@pytest.mark.both
def test_flush_is_drift_and_repaired(pair: World) -> None:
    """All that was lost is named; it works again, and nobody was restarted for it."""
    file, before = pair.folder / "ports.yaml", (pair.pid("left"), pair.pid("right"))
    pair.sh(pair.host, "nft flush ruleset")
    assert pair.ask(pair.host, ("tcp", "127.0.0.1", 8080)) == ["refused"]
    told = json.loads(pair.cli("diff", "-o", "json", file, status=1).stdout)["changes"]
    assert {(one["target"], one["path"]) for one in told} == {
        ("left", "ports"), ("right", "ports"), *(("left", f"ports[{i}]") for i in range(7)), ("right", "ports[0]")}
    assert {(one["cause"], one["class"]) for one in told} == {("drifted", "inPlace")}
    pair.cli("apply", file)
    assert pair.cli("diff", file).stdout == ""
    assert (pair.pid("left"), pair.pid("right")) == before
    assert pair.ask(pair.lan, ("tcp", HOST, 8081), ("tcp", HOST6, 8081)) == [f"left 80 {LAN}", f"left 80 {LAN6}"]
    assert pair.ask(pair.host, ("tcp", "127.0.0.1", 8080)) == ["left 80 10.77.0.1"]


def test_others_tables_and_elements_stay(pair: World) -> None:
    """One of two loses an element: only that is named, and repaired, and tables of others are as they were."""
    file = pair.folder / "ports.yaml"
    pair.sh(pair.host, "nft add table inet mine; nft 'add chain inet mine c { type filter hook input priority 5; }';"
                     "nft delete element inet runspec ports4 '{ tcp . 0.0.0.0/0 . 8082 }'")
    assert pair.cli("diff", file, status=1).stdout.count("\n") == 1
    pair.cli("apply", file)
    assert pair.ask(pair.lan, ("tcp", HOST, 8082), ("tcp", HOST, 8081)) == [f"right 80 {LAN}", f"left 80 {LAN}"]
    assert "table inet mine" in pair.ruleset()
    pair.sh(pair.host, "nft delete table inet mine")


# -- each with containers of its own ------------------------------------------------------------------------------

@pytest.fixture
def alone(cli: Cli, tmp_path: Path, picture: Callable[[], Picture]) -> Iterator[World]:
    """A host without a neighbour that is as before in the end."""
    one = World.__new__(World)
    one.host, one.cli, one.folder = cli.netns, cli, tmp_path
    one.sh(one.host, "for i in all default; do echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad; done")
    before = picture()
    yield one
    cli.sweep()
    cli("destroy", "--yes", "lan0", status=None)
    assert_nothing_leaked(before, picture)


def test_another_address(alone: World) -> None:
    """The elements follow the container's address, in place; and the port moves to another container at once."""
    alone.apply(bridge(), box("one", 11, ["8080:80"]))
    pid = alone.pid("one")
    alone.apply(bridge(), box("one", 21, ["8080:80"]))
    assert alone.pid("one") == pid
    assert alone.ask(alone.host, ("tcp", "127.0.0.1", 8080)) == ["one 80 10.77.0.1"]
    assert "10.77.0.21 . 80" in alone.ruleset() and "10.77.0.11" not in alone.ruleset()
    alone.apply(bridge(), box("one", 21, ["8081:80"]), box("two", 12, ["0.0.0.0:8080:80"]))
    assert alone.pid("one") == pid
    assert alone.ask(alone.host, ("tcp", "127.0.0.1", 8080), ("tcp", "127.0.0.1", 8081)) == [
        "two 80 10.77.0.1", "one 80 10.77.0.1"]
    alone.cli("destroy", "--yes", "two")
    assert alone.ask(alone.host, ("tcp", "127.0.0.1", 8080), ("tcp", "127.0.0.1", 8081)) == [
        "refused", "one 80 10.77.0.1"]
    assert alone.sh(alone.host, "sysctl -n net.ipv4.ip_forward").strip() == "0"


FLOW = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(2)
one.connect((sys.argv[1], int(sys.argv[2])))
for _ in sys.stdin:
    try:
        one.send(b"?")
        print(one.recv(64).decode(), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


def test_a_flow_that_never_pauses(alone: World) -> None:
    """UDP from one socket all the time: it is led by what holds now, not by what held when it began."""
    alone.apply(bridge(), box("one", 11, ["5353:80/udp"]), box("two", 12, []))
    client = alone.host.popen(sys.executable, "-c", FLOW, "127.0.0.1", "5353", stdin=subprocess.PIPE)

    def ask() -> str:
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write("\n")
        client.stdin.flush()
        return client.stdout.readline().strip()

    try:
        assert ask() == "one 80 10.77.0.1"
        alone.apply(bridge(), box("one", 11, []), box("two", 12, ["5353:80/udp"]))
        assert ask() == "two 80 10.77.0.1"
        alone.apply(bridge(), box("one", 11, []), box("two", 22, ["5353:80/udp"]))
        assert ask() == "two 80 10.77.0.1"
        alone.apply(bridge(), box("one", 11, []), box("two", 22, []))
        assert ask() == "ConnectionRefusedError"
        alone.apply(bridge(), box("one", 11, ["5353:80/udp"]), box("two", 22, []))
        assert ask() == "one 80 10.77.0.1"
    finally:
        client.kill()
        client.communicate()


def test_out_of_a_pool(alone: World) -> None:
    """A port leads to the address that the network gave."""
    one = box("one", 11, ["8080:80"])
    one["interfaces"] = [{"name": "eth0", "type": "veth", "network": "lan0", "addresses": "auto"}]
    file = alone.apply(bridge(pool={"range": "10.77.0.50-10.77.0.59"}), one)
    assert alone.ask(alone.host, ("tcp", "127.0.0.1", 8080)) == ["one 80 10.77.0.1"]
    assert ": 10.77.0.50 . 80" in alone.ruleset()
    alone.apply(bridge(pool={"range": "10.77.0.60-10.77.0.69"}), one)
    assert alone.cli("diff", file).stdout == ""
    assert alone.ask(alone.host, ("tcp", "127.0.0.1", 8080)) == ["one 80 10.77.0.1"]
    assert "10.77.0.50" not in alone.ruleset() and ": 10.77.0.60 . 80" in alone.ruleset()


def test_several_at_once(alone: World) -> None:
    """Each run gives its own containers their elements; the last one out takes table and parameters along."""
    files = []
    alone.cli("apply", alone.write(bridge()))
    for number in range(2, 7):
        one = box(f"c{number}", number, [f"0.0.0.0:{8080 + number}:80"])
        one["root"], one["process"] = {"image": "busybox"}, {"args": ["/bin/sleep", "100000"]}
        files.append(alone.write(one).rename(alone.folder / f"{number}.yaml"))
    for words in (("apply",), ("destroy", "--yes")):
        runs = [alone.cli.popen(*words, file) for file in files]
        for run in runs:
            _, said = run.communicate(timeout=60)
            assert run.returncode == 0, said
        assert all((f"10.77.0.{number} . 80" in alone.ruleset()) == (words == ("apply",)) for number in range(2, 7))
        assert alone.sh(alone.host, "sysctl -n net.ipv4.ip_forward").strip() == ("2" if words == ("apply",) else "0")
    assert "runspec" not in alone.ruleset()


def test_stopped_and_applied_again(alone: World) -> None:
    """A container that died leaves its elements to its next life."""
    documents = bridge(), box("one", 11, ["8080:80"])
    file = alone.apply(*documents)
    alone.cli("stop", "-t", "0", "one")
    alone.cli("apply", "--yes", file)
    alone.ready(documents[1])
    assert alone.cli("diff", file).stdout == ""
    assert alone.ask(alone.host, ("tcp", "127.0.0.1", 8080)) == ["one 80 10.77.0.1"]


@pytest.mark.parametrize(("protocol", "address", "port"), [
    ("tcp", "0.0.0.0", "127.0.0.1:8080:80"), ("tcp", "127.0.0.1", "0.0.0.0:8000-8100:8000-8100"),
    ("tcp", "::", "8080:80"), ("udp", "127.0.0.1", "8080:80/udp"), ("tcp", "::1", "[::]:8080:80")])
def test_taken_by_the_host(protocol: str, address: str, port: str, alone: World) -> None:
    """A socket of the host that waits there: refused before anything is made, and who it is."""
    script = ("import socket, sys; s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET,"
              f"socket.SOCK_{'STREAM' if protocol == 'tcp' else 'DGRAM'}); s.bind((sys.argv[1], 8080));"
              f"{'s.listen();' if protocol == 'tcp' else ''} print('ready', flush=True); sys.stdin.read()")
    held = alone.host.popen(sys.executable, "-c", script, address, stdin=subprocess.PIPE)
    try:
        assert held.stdout is not None and held.stdout.readline() == "ready\n"
        file = alone.write(bridge(), box("one", 11, [port]))
        shown = f"[{address}]" if ":" in address else address
        said = alone.cli("apply", file, status=2).stderr
        assert f"ports[0]: 8080/{protocol} is taken on this host\n  why: a socket waits at {shown}:8080: python" in said
        assert f", process {held.pid}, and would hear nothing any more\n" in said
        assert "lan0" not in alone.sh(alone.host, "ip link")
    finally:
        held.communicate("")


def test_taken_by_another_container(alone: World) -> None:
    """Of two documents, and of one that is applied."""
    file = alone.write(bridge(), box("one", 11, ["8080:80"]), box("two", 12, ["0.0.0.0:8000-8080:8000-8080"]))
    said = alone.cli("apply", file, status=2).stderr
    assert "127.0.0.1:8080/tcp and 0.0.0.0:8000-8080/tcp are one port\n" in said
    alone.apply(bridge(), box("one", 11, ["8080:80"]))
    file = alone.write(box("two", 12, ["0.0.0.0:8080:80"]))
    assert "one (applied) 127.0.0.1:8080/tcp" in alone.cli("apply", file, status=2).stderr


def test_somebody_elses_table(alone: World) -> None:
    """A table of our name without our mark is refused, and stays as it is."""
    file = alone.write(bridge(), box("one", 11, ["8080:80"]))
    alone.sh(alone.host, "nft add table inet runspec; nft add chain inet runspec theirs")
    before = alone.ruleset()
    said = alone.cli("apply", file, status=2).stderr
    assert "there is an nftables table inet runspec already and it is not runspec's" in said
    assert alone.ruleset() == before and "lan0" not in alone.sh(alone.host, "ip link")
    alone.sh(alone.host, "nft delete table inet runspec")


def test_no_nft(alone: World) -> None:
    """Refused where a port needs it, before any step; a container without ports does not miss it."""
    alone.sh(alone.host, "mount -t tmpfs none /usr/sbin")
    try:
        said = alone.cli("apply", alone.write(bridge(), box("one", 11, ["8080:80"])), status=2).stderr
        assert ("ports: needs nftables with NAT, which is not to be had here\n"
                "  why: the program nft is not installed\n  fix: apt-get install nftables\n") in said
        alone.cli("apply", alone.write(bridge(), box("one", 11, [])))
        alone.cli("destroy", "--yes", "one", "lan0")
    finally:
        alone.sh(alone.host, "umount /usr/sbin")


def test_forwarding_is_held(alone: World) -> None:
    """The last one that needs it gives it back, and what was on before stays on."""
    def forwarding() -> list[str]:
        return alone.sh(alone.host, "sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding").split()

    alone.apply(bridge(), box("one", 11, ["0.0.0.0:8080:80", "[::]:8080:80"]), box("two", 12, ["0.0.0.0:8081:80"]))
    assert forwarding() == ["2", "2"]
    alone.cli("destroy", "--yes", "one")
    assert forwarding() == ["2", "0"]
    alone.cli("destroy", "--yes", "two")
    assert forwarding() == ["0", "0"]
    alone.sh(alone.host, "sysctl -w net.ipv4.ip_forward=1")
    alone.apply(bridge(), box("one", 11, ["0.0.0.0:8080:80"]))
    alone.cli("destroy", "--yes", "one", "lan0")
    assert forwarding() == ["1", "0"]
    alone.sh(alone.host, "sysctl -w net.ipv4.ip_forward=0")


def test_hundred_at_once(alone: World) -> None:
    """One transaction for all that a request publishes."""
    boxes = [box(f"c{i}", i, [f"{20000 + i}:80"], image="busybox") for i in range(2, 52)]
    for one in boxes:
        one["root"], one["process"] = {"image": "busybox"}, {"args": ["/bin/sleep", "100000"]}
        del one["image"]
    trace = alone.folder / "trace"
    alone.cli("apply", alone.write(bridge(), *boxes), env={"RUNSPEC_FAULT": f"trace@{trace}"})
    assert trace.read_text().split().count("nft") == 1
    assert alone.ruleset().count("10.77.0.51 . 80") == 1
    trace.unlink()
    alone.cli("destroy", "--yes", *(one["name"] for one in boxes), env={"RUNSPEC_FAULT": f"trace@{trace}"})
    assert trace.read_text().split().count("nft") == 1
    assert "runspec" not in alone.ruleset()


def test_killed_anywhere(alone: World) -> None:
    """A change of ports that is killed at each call: the next apply converges, and nothing stays at the end."""
    first = bridge(), box("one", 11, ["8080:80"])
    then = bridge(), box("one", 11, ["0.0.0.0:8081:80", "8080:81/udp"])
    for documents in (*first, *then):
        if "root" in documents:
            documents["root"], documents["process"] = {"image": "busybox"}, {"args": ["/bin/sleep", "100000"]}
    one, two = alone.write(*first).rename(alone.folder / "one.yaml"), alone.write(*then)
    alone.cli("apply", one)
    trace = alone.folder / "trace"
    alone.cli("apply", two, env={"RUNSPEC_FAULT": f"trace@{trace}"})
    calls = trace.read_text().split()
    alone.cli("apply", one)
    for number in range(1, len(calls) + 1):
        alone.cli("apply", two, env={"RUNSPEC_FAULT": f"kill@{number}"}, status=-9)
        alone.cli("apply", one)
        assert alone.cli("diff", one).stdout == "", f"killed before {calls[number - 1]}, the {number}th"
    assert alone.ruleset().count(": 10.77.0.11 . 80") == 1


def test_routed(alone: World) -> None:
    """A port leads through a routed veth, whose host end is in no bridge; what it held ends with it."""
    one = box("one", 11, ["8080:80", "0.0.0.0:8081:80", "[::]:8081:80"])
    one["interfaces"] = [{"name": "eth0", "type": "veth", "mode": "routed", "gateway": ["10.99.0.1", "fd99::1"],
                          "addresses": ["10.99.0.2/32", "fd99::2/128"]}]
    file = alone.apply(one)
    pid = alone.pid("one")
    asked: tuple[Asked, ...] = (("tcp", "127.0.0.1", 8080), ("tcp", "127.0.0.1", 8081))
    answers = alone.ask(alone.host, *asked)
    assert [one.rpartition(" ")[0] for one in answers] == ["one 80", "one 80"]
    assert alone.sh(alone.host, "sysctl -n net/ipv4/conf/one.eth0/route_localnet").strip() == "1"
    # Forwarding goes back to what it was, but for the link that is routed.
    alone.apply(one | {"ports": ["8080:80"]})
    assert alone.pid("one") == pid
    assert alone.sh(alone.host, "sysctl -n net/ipv4/ip_forward net/ipv4/conf/one.eth0/forwarding").split() == ["0", "1"]
    assert alone.cli("diff", alone.write(one | {"ports": ["8080:80"]})).stdout == ""
    alone.sh(alone.host, "ip link del one.eth0")
    alone.apply(one | {"ports": ["8080:80"]})
    assert alone.ask(alone.host, asked[0])[0].startswith("one 80")
    assert file.exists()


def test_killed_while_made_and_removed(alone: World) -> None:
    """A network with nat and a container with ports, killed around what the firewall takes: nothing is left."""
    one = box("one", 11, ["0.0.0.0:8080:80", "8081:80/udp"])
    one["root"], one["process"] = {"image": "busybox"}, {"args": ["/bin/sleep", "100000"]}
    file, trace = alone.write(bridge(nat=True), one), alone.folder / "trace"
    alone.cli("apply", file)
    alone.cli("destroy", "--yes", file)
    before = alone.cli.picture()
    for words in (("apply", file), ("destroy", "--yes", file)):
        if words[0] == "destroy":
            alone.cli("apply", file)
        alone.cli(*words, env={"RUNSPEC_FAULT": f"trace@{trace}"})
        calls = trace.read_text().split()
        trace.unlink()
        at = calls.index("nft") + 1
        numbers = {at - 1, at, at + 1, at + 2, *range(len(calls) - 22, len(calls) + 1, 1 if FULL else 5)}
        if words[0] == "apply":
            alone.cli("destroy", "--yes", file)
        for number in sorted(numbers):
            if words[0] == "destroy":
                alone.cli("apply", file)
            done = alone.cli(*words, env={"RUNSPEC_FAULT": f"kill@{number}"}, status=None)
            # Links and groups go late: a run may need a call or two less than the one that was traced.
            assert done.returncode == -9 or (done.returncode == 0 and number > len(calls) - 4), done.stderr
            if number % 2 or words[0] == "apply":
                alone.cli("apply", file)
                assert alone.cli("diff", file).stdout == "", f"{words[0]} killed at {calls[number - 1]}, the {number}th"
            alone.cli("destroy", "--yes", file)
            assert_nothing_leaked(before, alone.cli.picture)
            assert alone.sh(alone.host, "sysctl -n net.ipv4.ip_forward").strip() == "0"


def test_as_a_bundle_and_back(alone: World) -> None:
    """What OCI has no key for is kept beside it."""
    one = box("one", 11, ["0.0.0.0:8080:80/udp", {"host": 9000, "container": 90}])
    file, room = alone.write(one), alone.folder / "bundle"
    alone.cli("convert", "--bundle", room, file)
    back = alone.folder / "back.yaml"
    back.write_text(alone.cli("convert", room).stdout)
    ports = [json.loads(alone.cli("config", "-o", "json", each).stdout)[0]["ports"] for each in (file, back)]
    assert ports[0] == ports[1] == [
        {"host": "8080", "container": "80", "hostIP": "0.0.0.0", "protocol": "udp"},
        {"host": "9000", "container": "90", "hostIP": "127.0.0.1", "protocol": "tcp"}]


# -- the doctor on the host's own firewall --------------------------------------------------------------------------

LEADS, BACK = "ports[1]", "ports[0]"        # published for all, and for the host alone
LOST = "unless a rule before it lets it through"


def chain(table: str, name: str, hook: str, policy: str, *rules: str) -> str:
    """A base chain as nft's commands; a rule that begins with a chain's name and a colon is in that one."""
    lines = [f"add table {table}",
             f"add chain {table} {name} {{ type filter hook {hook} priority 0; policy {policy}; }}"]
    lines += [f"add chain {table} {one.partition(':')[0]}" for one in rules if one.startswith("deeper:")]
    return "\n".join([*lines, *(f"add rule {table} deeper {one[7:]}" if one.startswith("deeper:")
                                else f"add rule {table} {name} {one}" for one in rules), ""])


@pytest.mark.parametrize(("rules", "says"), [
    ("", {}),
    (chain("ip filter", "FORWARD", "forward", "drop"), {
        LEADS: ("fails", "table ip filter, chain FORWARD: its policy is drop",
                "iptables -I FORWARD -o lan0 -m conntrack --ctstate DNAT -j ACCEPT"),
        "nat": ("fails", "table ip filter, chain FORWARD: its policy is drop",
                "iptables -I FORWARD -i lan0 -m conntrack --ctstate NEW -j ACCEPT")}),
    # What Docker leaves on a host: each kind of packet has its own way through, or none.
    (chain("ip filter", "FORWARD", "forward", "drop", "oifname docker0 accept", "iifname docker0 accept",
           "oifname lan0 ct state new ct status dnat accept"), {
        LEADS: ("unknown", LOST, "-i lan0 "), "nat": ("unknown", LOST, "")}),
    (chain("ip filter", "FORWARD", "forward", "drop", "oifname lan0 ct status dnat accept",
           "ct state established,related accept", "iifname lan0 accept"), {}),
    (chain("ip filter", "FORWARD", "forward", "accept", "ip daddr 10.77.0.0/16 tcp dport 80 reject"), {
        LEADS: ("fails", "table ip filter, chain FORWARD: rule ", "")}),
    (chain("ip filter", "FORWARD", "forward", "accept", "ip daddr 10.99.0.0/16 drop", "tcp dport { 22, 443 } drop",
           'oifname "eth*" ip saddr 10.99.0.0/16 drop', "udp dport 80 drop"), {}),
    (chain("ip filter", "FORWARD", "forward", "accept", "deeper: ct state new counter drop",
           "oifname lan0 tcp dport 1-1024 jump deeper"), {
        LEADS: ("fails", "table ip filter, chain deeper: rule ", "")}),
    (chain("ip filter", "FORWARD", "forward", "drop", "iifname eth9 accept"), {
        LEADS: ("fails", "its policy is drop", "-i lan0 "), "nat": ("fails", "its policy is drop", "")}),
    (chain("inet fw", "in", "input", "drop"), {
        BACK: ("fails", "table inet fw, chain in: its policy is drop",
               "nft insert rule inet fw in iifname lan0 ct state established,related accept")}),
    (chain("inet fw", "in", "input", "drop", "iif lo accept", "deeper: tcp dport 22 accept",
           "ct state vmap { established : accept, related : accept, invalid : drop }", "jump deeper"), {
        BACK: ("unknown", LOST, "")}),
    (chain("inet fw", "in", "input", "drop", "ct state established,related accept", "tcp dport 22 accept"), {}),
    (chain("ip6 filter", "FORWARD", "forward", "drop"), {
        "nat": ("fails", "table ip6 filter, chain FORWARD: its policy is drop", "ip6tables -I FORWARD -i lan0 ")}),
    ("add table ip n\nadd chain ip n c { type nat hook postrouting priority 0; policy drop; }\n", {}),
])
def test_doctor_names_who_drops(rules: str, says: dict[str, tuple[str, str, str]], alone: World) -> None:
    """Table, chain and rule of the host's own firewall, and a rule that helps: of what would not get through."""
    file = alone.write(bridge(nat=True), box("one", 11, ["8080:80", "0.0.0.0:8081:80"]))
    done = alone.host.run("nft", "-f", "-", input=rules)
    assert done.returncode == 0, done.stderr
    done = alone.cli("doctor", "-o", "json", file, status=None)
    rows = {row["path"]: row for document in json.loads(done.stdout)["documents"] for row in document["rows"]
            if row["need"] == "a way through the host's own firewall"}
    assert set(rows) == {LEADS, BACK, "nat"}
    assert {key: row["status"] for key, row in rows.items() if row["status"] != "good"} == {
        key: answer for key, (answer, _, _) in says.items()}
    for key, (_, why, fix) in says.items():
        assert why in rows[key]["why"] and fix in rows[key]["fix"]
    assert done.returncode == (2 if any(answer == "fails" for answer, _, _ in says.values()) else 0)
    alone.sh(alone.host, "nft flush ruleset")
