"""What limits and marks of links do to real traffic: rates by iperf3(1), marks in captures, changes under a stream.

The rates are the feature's own promise, measured; nothing here is timed for its speed.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli, Netns, assert_nothing_leaked, requires
from iperf import NEAR, TCP, Server, hold, measured, udp

from runspec import abi
from runspec.kernel import Kernel
from runspec.plan import tc, traffic
from runspec.plan.tc_bpf import R1, R2, WORD, Assembler
from runspec.plan.view_links import FIRST_INDEX

pytestmark = requires("root", "busybox", "bridge", "veth", "ifb", "ip", "tc", "nsenter", "iperf3")
HOST, GUEST, HOST6, GUEST6 = "10.92.0.1", "10.92.0.2", "fd92::1", "fd92::2"
NETWORK = {"apiVersion": "runspec/v1", "kind": "Network", "name": "qos0", "type": "bridge",
           "addresses": [f"{HOST}/24", f"{HOST6}/64"]}
MBIT = 1_000_000


class Held:
    """One container on one bridge, whose limits change while it runs."""

    def __init__(self, folder: Path) -> None:
        self.netns = Netns()
        self.cli = Cli(self.netns, Path("/run/runspec/state"))
        self.file = folder / "qos.yaml"
        # Whether an address is still being tried is of no interest.
        self.netns.run("sh", "-c", "for i in all default; do echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad; done")
        self.before = self.cli.picture()
        self.apply({})
        self.pid = int(json.loads(self.cli("state", "held").stdout)["pid"])
        self.server = Server(["nsenter", "-t", str(self.pid), "-n"])
        self.server.__enter__()

    def apply(self, qos: dict[str, Any]) -> None:
        link = {"name": "eth0", "type": "veth", "network": "qos0", "addresses": [f"{GUEST}/24", f"{GUEST6}/64"],
                "qos": qos}
        spec = {"apiVersion": "runspec/v1", "name": "held", "root": {"image": "busybox"},
                "process": {"args": ["/bin/sleep", "100000"]}, "interfaces": [link]}
        self.file.write_text(yaml.safe_dump_all([NETWORK, spec]))
        self.cli("apply", "--yes", self.file)
        assert self.cli("diff", self.file).stdout == ""

    def inside(self, *words: str) -> str:
        return subprocess.run(["nsenter", "-t", str(self.pid), "-n", *words], check=True, capture_output=True,
                              text=True).stdout

    def rate(self, *words: str, back: bool = False, address: str = GUEST) -> float:
        """bit/s that arrive in the container, or on the host."""
        return measured(self.netns.enter(), address, *words, back=back)

    def holds(self, rate: float, *words: str, back: bool = False, address: str = GUEST) -> None:
        """Fail unless that is the rate."""
        hold(lambda: [self.rate(*words, back=back, address=address)], rate)

    def end(self) -> None:
        self.server.__exit__(None, None, None)
        self.cli("destroy", "--yes", self.file)
        assert_nothing_leaked(self.before, self.cli.picture)
        self.netns.close()


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    one = Held(tmp_path_factory.mktemp("qos"))
    yield one
    one.end()


def near(found: float, rate: float) -> bool:
    return abs(found - rate) <= NEAR * rate


@pytest.mark.parametrize("rate", [1, 10, 100])
def test_tcp_is_held_both_ways(held: Held, rate: int) -> None:
    held.apply({"ingress": {"rate": f"{rate}mbit"}, "egress": {"rate": rate * MBIT}})
    for back in (False, True):
        held.holds(rate * MBIT, *TCP, back=back)


def test_udp_is_held_both_ways(held: Held) -> None:
    held.apply({"ingress": {"rate": "5mbit"}, "egress": {"rate": "10mbit"}})
    for back, rate in ((False, 5), (True, 10)):
        held.holds(rate * MBIT, *udp(20 * MBIT), back=back)


def test_ipv6_is_held_both_ways(held: Held) -> None:
    held.apply({"ingress": {"rate": "8mbit"}, "egress": {"rate": "4mbit"}})
    for words in (TCP, udp(20 * MBIT)):
        for back, rate in ((False, 8), (True, 4)):
            held.holds(rate * MBIT, *words, back=back, address=GUEST6)


def test_a_ceiling_is_the_limit(held: Held) -> None:
    held.apply({"ingress": {"rate": "2mbit", "ceil": "8mbit"}})
    held.holds(8 * MBIT, *TCP)


def test_a_running_stream_follows_within_a_second(held: Held) -> None:
    """One connection all the time; from one second after the new rate was asked for it has that."""
    held.apply({"egress": {"rate": "40mbit"}})
    seen: list[tuple[float, int]] = []
    with socket_in(held.pid, "0.0.0.0") as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)      # what waits there arrives later
        door.listen()
        client = held.netns.popen(sys.executable, "-c", "import socket, sys, time\n"
                                  f"s = socket.create_connection(('{GUEST}', {door.getsockname()[1]}))\n"
                                  "print('up', flush=True)\nseen = []\nwhile data := s.recv(1 << 16):\n"
                                  "    seen.append(f'{time.monotonic()} {len(data)}')\nprint(*seen, sep='\\n')")
        stream, _ = door.accept()
        assert client.stdout is not None and client.stdout.readline() == "up\n"
        writer = subprocess.Popen([sys.executable, "-c", "import os\nwhile True: os.write(1, bytes(1 << 16))"],
                                  stdout=stream, stderr=subprocess.DEVNULL)
        time.sleep(0.7)
        first = time.monotonic()
        held.apply({"egress": {"rate": "8mbit"}})
        time.sleep(2)
        writer.kill()
        writer.wait()
        stream.close()
        out, _ = client.communicate(timeout=10)
        for line in out.splitlines():
            at, size = line.split()
            seen.append((float(at), int(size)))
    after = sum(size for at, size in seen if first + 1 <= at < first + 2) * 8
    before = sum(size for at, size in seen if first - 0.5 <= at < first) * 8 * 2
    assert near(before, 40 * MBIT) and near(after, 8 * MBIT), (before, after)


class socket_in:
    """A TCP socket that was opened in the network namespace of a process."""

    def __init__(self, pid: int, address: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        here, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        assert libc.setns(there, abi.CLONE_NEWNET) == 0
        try:
            self.socket = socket.socket()
            self.socket.bind((address, 0))
        finally:
            assert libc.setns(here, abi.CLONE_NEWNET) == 0
            os.close(here)
            os.close(there)

    def __enter__(self) -> socket.socket:
        return self.socket

    def __exit__(self, *_: object) -> None:
        self.socket.close()


# Prints the second byte of IPv4's header, or IPv6's traffic class, of UDP packets to port 9 that pass a link; and
# whether the header's checksum is right.
WATCH = """
import socket, struct, sys
sees = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sees.bind((sys.argv[1], 3))
sees.settimeout(20)
print("ready", flush=True)
left = int(sys.argv[2])
while left:
    data, where = sees.recvfrom(2000)
    packet, kind = data[14:], data[12:14].hex()
    if where[2] == 4 or not (kind == "0800" and packet[9] == 17 or kind == "86dd" and packet[6] == 17):
        continue
    at = 20 if kind == "0800" else 40
    if struct.unpack("!H", packet[at + 2:at + 4])[0] != 9:
        continue
    left -= 1
    total = sum(struct.unpack("!10H", packet[:20]))
    good = kind != "0800" or total % 0xFFFF == 0
    print(packet[1] if kind == "0800" else (packet[0] << 4 | packet[1] >> 4) & 255, good, flush=True)
"""
SEND = """
import socket, sys
for text in sys.argv[2:]:
    tos = int(text)
    six = ":" in sys.argv[1]
    s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(*((socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if six else (socket.IPPROTO_IP, socket.IP_TOS)), tos)
    s.sendto(b"x", (sys.argv[1], 9))
"""


@requires("fq_codel", "ping")
def test_flows_take_turns(held: Held) -> None:
    """A stream gets half of a limit beside a flood of another flow, and who says little does not wait for either."""
    held.apply({})
    held.file.write_text(held.file.read_text().replace("qos: {}", "qos: {ingress: {rate: 4mbit}}"))
    assert "hold eth0 to ingress 4000000 bit/s, flows in turn, at held.eth0" in held.cli("plan", held.file).stdout
    held.apply({"ingress": {"rate": "4mbit"}})
    with flooded(held.netns.enter(), GUEST):
        found = held.rate(*TCP)
        said = held.netns.run("ping", "-c", "10", "-i", "0.2", "-q", GUEST).stdout
    assert 0.4 * 4 * MBIT < found < 0.6 * 4 * MBIT, found
    assert " 0% packet loss" in said, said
    held.netns.run("tc", "qdisc", "del", "dev", "held.eth0", "parent", "7275:1")
    changes = json.loads(held.cli("diff", "-o", "json", held.file, status=1).stdout)["changes"]
    assert [(one["path"], one["cause"]) for one in changes] == [("interfaces[0].qos.ingress.queue", "drifted")]
    held.apply({"ingress": {"rate": "4mbit"}})
    assert "qdisc fq_codel" in held.netns.run("tc", "qdisc", "show", "dev", "held.eth0").stdout


@pytest.mark.both
def test_packets_are_marked_both_ways(held: Held) -> None:
    """IPv4 and IPv6, whatever the sender wrote there; the two bits of congestion notification stay."""
    held.apply({"egress": {"dscp": "ef"}, "ingress": {"dscp": "af41", "rate": "100mbit"}})
    sent = [0, 1, 2, 3, 0xFF]
    inside = ["nsenter", "-t", str(held.pid), "-n"]
    for watch, send, address, dscp in (
            (held.netns.enter(), inside, HOST, 46), (held.netns.enter(), inside, HOST6, 46),
            (inside, held.netns.enter(), GUEST, 34), (inside, held.netns.enter(), GUEST6, 34)):
        link = "qos0" if dscp == 46 else "eth0"
        sees = subprocess.Popen([*watch, sys.executable, "-c", WATCH, link, str(len(sent))], stdout=subprocess.PIPE,
                                text=True)
        assert sees.stdout is not None and sees.stdout.readline() == "ready\n"
        subprocess.run([*send, sys.executable, "-c", SEND, address, *map(str, sent)], check=True)
        out, _ = sees.communicate(timeout=60)
        assert out.splitlines() == [f"{dscp << 2 | tos & 3} True" for tos in sent], (address, out)


@pytest.mark.both
def test_priority_goes_with_the_packets(held: Held) -> None:
    """The host's bridge sees packets of this priority: a program there lets no others pass."""
    held.apply({"egress": {"priority": 5}})
    out = Assembler()
    out.load(WORD, R2, R1, abi.SKB_PRIORITY)
    out.branch(abi.BPF_JEQ, R2, 5, "pass")
    out.leave(abi.TC_ACT_SHOT)
    out.label("pass")
    out.leave(abi.TC_ACT_OK)
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{held.netns.pid}/ns/net", os.O_RDONLY)
    assert libc.setns(there, abi.CLONE_NEWNET) == 0
    try:
        kernel = Kernel()
        index = kernel.link_index("qos0")
        assert index is not None
        fd = kernel.load_classifier(out.code(), "runspec_test")
        kernel.netlink(tc.put_clsact(index) + tc.put_bpf(index, tc.INGRESS_HOOK, 1, "test", fd), "filter")
        os.close(fd)
        assert kernel._route is not None
        kernel._route.close()
    finally:
        assert libc.setns(here, abi.CLONE_NEWNET) == 0
        os.close(here)
        os.close(there)
    reached = ("ping", "-c", "1", "-W", "5", HOST)
    try:
        assert " 0% packet loss" in held.inside(*reached)
        held.apply({"egress": {"priority": 4}})
        with pytest.raises(subprocess.CalledProcessError):
            held.inside("ping", "-c", "1", "-W", "1", HOST)
        held.apply({"egress": {"priority": 5, "rate": "10mbit"}})     # through the ifb as well
        assert " 0% packet loss" in held.inside(*reached)
    finally:
        held.netns.run("tc", "qdisc", "del", "dev", "qos0", "clsact")


def test_what_the_container_may_do_inside_changes_nothing(held: Held) -> None:
    """A veth is held at its other end: its root may have every right on its own."""
    held.apply({"egress": {"rate": "4mbit"}, "ingress": {"rate": "4mbit"}})
    subprocess.run(["nsenter", "-t", str(held.pid), "-n", "tc", "qdisc", "replace", "dev", "eth0", "root", "pfifo",
                    "limit", "10000"], check=True)
    try:
        held.holds(4 * MBIT, *TCP, back=True)
    finally:
        held.inside("tc", "qdisc", "del", "dev", "eth0", "root")


def test_nothing_is_left_of_one_that_died(held: Held, tmp_path: Path) -> None:
    """The ifb outlives the container's namespace; the next apply, or destroy, finds it."""
    before = held.netns.run("ip", "-br", "link").stdout
    file = tmp_path / "dead.yaml"
    file.write_text(yaml.safe_dump({
        "apiVersion": "runspec/v1", "name": "dead", "root": {"image": "busybox"},
        "process": {"args": ["/bin/sleep", "100000"]},
        "interfaces": [{"name": "eth0", "type": "veth", "network": "qos0", "qos": {"egress": {"rate": "1mbit"}}}]}))
    for _ in range(2):
        held.cli("apply", "--yes", file)
        assert held.cli("diff", file).stdout == ""
        os.kill(int(json.loads(held.cli("state", "dead").stdout)["pid"]), 9)
        end = time.monotonic() + 10
        while "dead.eth0" in held.netns.run("ip", "link").stdout and time.monotonic() < end:
            time.sleep(0.01)
    held.cli("destroy", "--yes", "dead")
    assert held.netns.run("ip", "-br", "link").stdout == before


def test_nothing_is_left_of_a_link_that_is_made_anew(held: Held, tmp_path: Path) -> None:
    """The ifb goes with the limit, also where the same edit or somebody inside ended the link itself; and none but
    ours: a link of its name that bears no mark stays."""
    file, before = tmp_path / "anew.yaml", held.netns.run("ip", "-br", "link").stdout
    bridged = {"network": "qos0"}

    def apply(where: dict[str, Any], qos: dict[str, Any] | None, ifbs: int) -> None:
        link = {"name": "eth0", "type": "veth", "addresses": ["10.92.0.7/32"], **where, **({"qos": qos} if qos else {})}
        file.write_text(yaml.safe_dump({"apiVersion": "runspec/v1", "name": "anew", "root": {"image": "busybox"},
                                        "process": {"args": ["/bin/sleep", "100000"]}, "interfaces": [link]}))
        held.cli("apply", "--yes", file)
        assert held.cli("diff", file).stdout == ""
        assert len(json.loads(held.netns.run("ip", "-j", "link", "show", "type", "ifb").stdout or "[]")) == ifbs + kept

    def lose() -> None:
        pid = json.loads(held.cli("state", "anew").stdout)["pid"]
        subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "link", "del", "eth0"], check=True)

    kept = len(json.loads(held.netns.run("ip", "-j", "link", "show", "type", "ifb").stdout or "[]"))
    limit = {"egress": {"rate": "1mbit"}}
    apply(bridged, limit, 1)
    apply({"mode": "routed"}, None, 0)
    apply(bridged, limit, 1)
    lose()
    apply(bridged, limit, 1)
    lose()
    apply(bridged, None, 0)
    other = traffic.shaper("anew", "eth0")
    apply(bridged, {"egress": {"dscp": "ef"}}, 0)
    held.netns.run("ip", "link", "add", other, "type", "bridge")
    apply(bridged, None, 0)
    assert held.netns.run("ip", "link", "del", other).returncode == 0
    held.cli("destroy", "--yes", "anew")
    assert held.netns.run("ip", "-br", "link").stdout == before


PCP = """
import socket, sys
sees = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sees.bind((sys.argv[1], 3))
sees.setsockopt(263, 8, 1)          # SOL_PACKET, PACKET_AUXDATA: where a tag goes that the kernel takes off
sees.settimeout(20)
print("ready", flush=True)
while True:
    data, rest, _, where = sees.recvmsg(2000, 64)
    if where[2] != 4 and data[12:14] == b"\\x08\\0" and data[23] == 1:
        break
print(data[15] >> 2, int.from_bytes(rest[0][2][16:18], sys.byteorder) >> 13 if rest else 0, flush=True)
"""


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=requires(kind)) for kind in ("macvlan", "vlan", "ipvlan")])
def test_links_with_their_only_end_inside(cli: Cli, tmp_path: Path, kind: str) -> None:
    """Held and marked both ways, changed, lost and repaired; on a VLAN the priority is in the tag."""
    run = cli.netns.run
    run("sh", "-ec", "ip link add p0 type veth peer name p1; ip link set dev p0 up; ip link set dev p1 up")
    wire = "p1.7" if kind == "vlan" else "p1"
    if kind == "vlan":
        assert run("sh", "-ec", "ip link add link p1 name p1.7 type vlan id 7; ip link set p1.7 up").returncode == 0
    run("ip", "addr", "add", f"{HOST}/24", "dev", wire)
    links = cli.netns.run("ip", "-br", "link").stdout
    file = tmp_path / "inner.yaml"

    def apply(rate: int) -> None:
        qos = {"egress": {"rate": rate * MBIT, "dscp": "ef", "priority": 5}, "ingress": {"rate": rate * MBIT}}
        link = {"name": "eth0", "type": kind, "parent": "p0", "addresses": [f"{GUEST}/24"], "qos": qos}
        file.write_text(yaml.safe_dump({
            "apiVersion": "runspec/v1", "name": "inner", "root": {"image": "busybox"},
            "process": {"args": ["/bin/sleep", "100000"]},
            "interfaces": [link | ({"vlan": {"id": 7}} if kind == "vlan" else {})]}))
        cli("apply", "--yes", file)
        assert cli("diff", file).stdout == ""

    apply(1)
    pid = int(json.loads(cli("state", "inner").stdout)["pid"])
    inside = ["nsenter", "-t", str(pid), "-n"]
    sees = cli.netns.popen(sys.executable, "-c", PCP, "p1")
    assert sees.stdout is not None and sees.stdout.readline() == "ready\n"
    subprocess.run([*inside, "ping", "-c", "1", "-W", "10", HOST], check=True, capture_output=True)
    assert sees.communicate(timeout=60)[0] == f"46 {5 if kind == 'vlan' else 0}\n"
    with Server(inside):
        for rate, words in ((2, TCP), (4, udp(8 * MBIT))):
            apply(rate)
            for back in (False, True):
                hold(lambda words=words, back=back: [      # type: ignore[misc]
                    measured(cli.netns.enter(), GUEST, *words, back=back)], rate * MBIT)
    subprocess.run(["sh", "-ec", f"{' '.join(inside)} tc qdisc del dev eth0 root; "
                    f"{' '.join(inside)} tc filter del dev eth0 ingress pref 2"], check=True)
    found = json.loads(cli("diff", "-o", "json", file, status=1).stdout)["changes"]
    told = {one["path"]: one["cause"] for one in found}
    assert told == {f"interfaces[0].qos.{way}.rate": "drifted" for way in ("egress", "ingress")}
    apply(4)
    cli("destroy", "--yes", "inner")
    assert cli.netns.run("ip", "-br", "link").stdout == links


@requires("macvlan")
def test_packets_as_large_as_the_parent_takes(cli: Cli, tmp_path: Path) -> None:
    """A link whose file names no mtu has its parent's, and its limit lets packets of that pass."""
    assert cli.netns.run("sh", "-ec", "ip link add p0 mtu 9000 type veth peer name p1 mtu 9000; "
                         f"ip link set p0 up; ip link set p1 up; ip addr add {HOST}/24 dev p1").returncode == 0
    file = tmp_path / "large.yaml"
    file.write_text(yaml.safe_dump({
        "apiVersion": "runspec/v1", "name": "large", "root": {"image": "busybox"},
        "process": {"args": ["/bin/sleep", "100000"]},
        "interfaces": [{"name": "eth0", "type": "macvlan", "parent": "p0", "addresses": [f"{GUEST}/24"],
                        "qos": {"egress": {"rate": "20mbit"}, "ingress": {"rate": "10mbit"}}}]}))

    def streams(**rates: int) -> None:
        for way, rate in rates.items():
            hold(lambda back=way == "egress": [         # type: ignore[misc]
                measured(cli.netns.enter(), GUEST, *TCP, back=back)], rate * MBIT)

    cli("apply", "--yes", file)
    assert cli("diff", file).stdout == ""
    inside = ["nsenter", "-t", str(json.loads(cli("state", "large").stdout)["pid"]), "-n"]
    with Server(inside):
        streams(egress=20, ingress=10)
        # The parent takes less, and its children with it; then more again.
        for mtu in ("3000", "9000"):
            cli.netns.run("ip", "link", "set", "p0", "mtu", mtu)
            cli("apply", "--yes", file)
            assert cli("diff", file).stdout == ""
        streams(egress=20)
        text = file.read_text()
        # Made anew, and once more, by an index that one before it had.
        for mode in ("passthru", "bridge"):
            file.write_text(text.replace("parent: p0", f"parent: p0\n  mode: {mode}"))
            cli("apply", "--yes", file)
            assert cli("diff", file).stdout == ""
    cli("destroy", "--yes", "large")


@requires("macvlan")
def test_what_holds_a_link_goes_with_it(cli: Cli, tmp_path: Path) -> None:
    """The ifb inside of a running container, whatever becomes of the link."""
    for n in range(2):
        cli.netns.run("sh", "-ec", f"ip link add p{n} type veth peer name w{n}; ip link set p{n} up", check=True)
    file = tmp_path / "ends.yaml"

    def apply(*keys: dict[str, Any]) -> list[str]:
        links = [{"type": "macvlan", "qos": {"egress": {"rate": "10mbit"}, "ingress": {"rate": "10mbit"}}, **each}
                 for each in keys]
        file.write_text(yaml.safe_dump({
            "apiVersion": "runspec/v1", "name": "ends", "root": {"image": "busybox"},
            "process": {"args": ["/bin/sleep", "100000"]}, "interfaces": links}))
        cli("apply", "--yes", file)
        assert cli("diff", file).stdout == ""
        return ["nsenter", "-t", str(json.loads(cli("state", "ends").stdout)["pid"]), "-n"]

    def ifbs(inside: list[str]) -> set[str]:
        shown = subprocess.run([*inside, "ip", "-j", "-d", "link", "show", "type", "ifb"], check=True,
                               capture_output=True, text=True).stdout
        return {one["ifname"] for one in json.loads(shown)}

    one = {"name": "eth0", "parent": "p0", "addresses": ["10.90.0.2/24"]}
    two = {"name": "eth1", "parent": "p1", "addresses": ["10.91.0.2/24"]}
    inside = apply(one, two)
    assert ifbs(inside) == {f"ifb{FIRST_INDEX}", f"ifb{FIRST_INDEX + 1}"}
    assert apply(two) == inside and ifbs(inside) == {f"ifb{FIRST_INDEX + 1}"}
    # The other parent takes another link.
    assert apply(two | {"parent": "p0"}) == inside and len(ifbs(inside)) == 1
    assert apply(two | {"qos": {}}) == inside and not ifbs(inside)


FLOOD = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 9))
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    for _ in range(5):              # an emulated machine wakes up late
        try:
            s.send(bytes(1000))
        except OSError:
            pass
    time.sleep(0.002)
"""


@contextmanager
def flooded(sends: list[str], to: str) -> Iterator[None]:
    """More UDP than is let pass."""
    sender = subprocess.Popen([*sends, sys.executable, "-c", FLOOD, to, "60"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        sender.kill()
        sender.wait()


def passing(sees: list[str], link: str, seconds: float = 2.5) -> float:
    """bit/s that come out of a link."""
    def passed() -> int:
        text = subprocess.run([*sees, "ip", "-j", "-s", "link", "show", "dev", link], check=True, capture_output=True,
                              text=True).stdout
        return int(json.loads(text)[0]["stats64"]["rx"]["bytes"])

    before, first = passed(), time.monotonic()
    time.sleep(seconds)
    after, last = passed(), time.monotonic()
    return (after - before) * 8 / (last - first)
