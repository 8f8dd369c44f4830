"""A NIC of the host lent to a container: it comes home as it was, whatever ended and however.

On the VM's own NICs: a virtual link dies with its namespace, so it would prove nothing.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli, Netns, assert_nothing_leaked, requires
from iperf import TCP, Server, measured, udp
from kernels import SLOWER
from machine import Picture
from test_qos import MBIT, SEND, WATCH, flooded, near, passing
from verbs import Verbs

pytestmark = requires("nic", "root", "busybox", "ip", "nsenter")
SEED = int(os.environ.get("RUNSPEC_SEED", "20260"))
ADDRESS, MAC, PERM, PCI = "10.96.0.1", "52:54:00:aa:bb:01", "52:54:00:12:34:57", "pci:0000:00:06.0"
WIRE = "52:54:00:12:34:56"
BASE: dict[str, Any] = {"apiVersion": "runspec/v1", "name": "lessee", "root": {"image": "busybox"},
                        "process": {"args": ["/bin/sleep", "100000"]}}
# All that a NIC can have: what was set by hand, what the kernel made, of both families, in several tables.
DRESS = f"""
sysctl -qw net.ipv6.conf.eth1.accept_ra=0 net.ipv4.conf.eth1.rp_filter=2 net.ipv6.conf.eth0.accept_ra=0 \
    net.ipv4.neigh.eth1.base_reachable_time_ms=20000
ip link set eth1 down
ip link set eth1 address {MAC} mtu 1400 txqueuelen 500 group 7 allmulticast on alias "uplink of the lab"
ip link property add dev eth1 altname lab-uplink-with-a-name-longer-than-fifteen-bytes
tc qdisc add dev eth1 root handle 9: tbf rate 20mbit burst 32k latency 50ms
ip link set eth1 up
ip addr add {ADDRESS}/24 brd + dev eth1
ip addr add 10.96.0.2/24 dev eth1 label eth1:two
ip addr add 10.97.0.1/32 dev eth1 noprefixroute
ip addr add fd96::1/64 dev eth1
ip addr add fd97::1/128 dev eth1 nodad
ip addr add 10.98.0.1/24 dev eth1 valid_lft 100000 preferred_lft 50000
ip route add 192.0.2.0/24 via 10.96.0.254 metric 50
ip route add 192.0.2.0/24 via 10.96.0.253 metric 60 src {ADDRESS} mtu 1300
ip route add 198.51.100.0/24 dev eth1 proto 77 table 100
ip route add 203.0.113.0/24 via 10.99.0.1 dev eth1 onlink
ip -6 route add 2001:db8::/32 via fd96::fe src fd97::1 metric 10
ip -6 route add 2001:db8:1::/48 via fe80::1 dev eth1 table 100
ip neigh add 10.96.0.200 lladdr 02:00:00:00:00:99 dev eth1
tc qdisc add dev eth0 root handle 5: fq maxrate 10mbit
ip addr add 10.95.0.1/24 dev eth0
ip link set eth0 up
"""
# For whoever has them next.
UNDRESS = """
for nic in eth0 eth1; do
    ip link set $nic down
    ip addr flush dev $nic
    tc qdisc del dev $nic root
    ip neigh flush dev $nic nud permanent
done
ip link property del dev eth1 altname lab-uplink-with-a-name-longer-than-fifteen-bytes
ip link set eth1 mtu 1500 txqueuelen 1000 group default allmulticast off alias "" address 52:54:00:12:34:57
"""


def tell(*words: str) -> Any:
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout or "[]")


# What tells of a NIC, without what counts or runs.
TOLD = {
    "link": ("ip", "-d", "-j", "link"), "addr": ("ip", "-j", "addr"), "qdisc": ("tc", "-j", "qdisc"),
    "route": ("ip", "-j", "-d", "route", "show", "table", "all"),
    "route6": ("ip", "-j", "-d", "-6", "route", "show", "table", "all"),
    "neigh": ("ip", "-j", "neigh", "show", "nud", "permanent"),
    "settings": ("grep", "-r", "--exclude=stable_secret", "", *(
        f"/proc/sys/net/{family}/{kind}/{name}" for family in ("ipv4", "ipv6") for kind in ("conf", "neigh")
        for name in ("eth0", "eth1")))}


def host(*parts: str) -> dict[str, list[Any]]:
    """The host's NICs with all that they have, or these parts of it: each as lines."""
    asked = {part: subprocess.Popen(TOLD[part], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
             for part in parts or TOLD}
    said = {part: one.communicate()[0] for part, one in asked.items()}
    found = {part: text.splitlines() if part == "settings" else json.loads(text or "[]") for part, text in said.items()}
    # The order of routes to one network, as fe80::/64 of each link, is that of their making.
    for part in found.keys() & {"route", "route6", "settings"}:
        found[part].sort(key=str)
    for link in found.get("addr", ()):
        for one in link["addr_info"]:
            if "dynamic" in one:
                assert 0 < one.pop("valid_life_time") <= 100000 and 0 < one.pop("preferred_life_time") <= 50000
    return found


def home(before: dict[str, list[Any]]) -> None:
    """Fail unless all is as it was; what the kernel does behind our backs may take a moment."""
    end, now = time.monotonic() + 2 * SLOWER, host()
    while wrong := [part for part in before if now[part] != before[part]]:
        if time.monotonic() > end:
            raise AssertionError("it is not as before:\n" + "\n".join(
                f"{part}: {sign} {line}" for part in wrong for sign, lines, others in (
                    ("+", now[part], before[part]), ("-", before[part], now[part]))
                for line in lines if line not in others))
        time.sleep(0.1)
        now |= host(*wrong)


class Host:
    """runspec in the initial network namespace, whose NICs are dressed up; what all tests leave there."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli, self.folder, self.verbs = cli, folder, Verbs(cli)
        self.write()
        self.verbs("apply", self.file())    # the image stays by design
        self.verbs("destroy", "--yes", "lessee")
        self.links, self.before = host(), self.picture()

    def file(self, name: str = "lessee") -> Path:
        return self.folder / f"{name}.yaml"

    def write(self, *interfaces: dict[str, Any], name: str = "lessee", **more: Any) -> Path:
        self.file(name).write_text(yaml.safe_dump({**BASE, "name": name, "interfaces": list(interfaces), **more}))
        return self.file(name)

    def state(self, name: str = "lessee") -> dict[str, Any]:
        return dict(json.loads(self.verbs("state", name)))

    def enter(self, *words: str) -> str:
        """A program of the host in the container's network."""
        return subprocess.run(["nsenter", f"--net=/proc/{self.state()['pid']}/ns/net", *words], check=True,
                              capture_output=True, text=True).stdout

    def inside(self, name: str = "lan0") -> dict[str, Any]:
        """A link inside, with its addresses and gateways."""
        (one,) = json.loads(self.enter("ip", "-j", "addr", "show", "dev", name))
        one["own"] = sorted(f"{each['local']}/{each['prefixlen']}" for each in one["addr_info"]
                            if each["scope"] == "global")
        one["via"] = [each["gateway"] for each in json.loads(self.enter("ip", "-j", "route", "show", "default"))]
        return dict(one)

    def home(self, gone: bool = True) -> None:
        """Fail unless the NICs are as they were, and, with no container left, all else as well."""
        home(self.links)
        if gone:
            assert_nothing_leaked(self.before, self.picture)

    def picture(self) -> Picture:
        """All but the links, which `host` tells more of: lifetimes run on."""
        return self.cli.picture("links")


@pytest.fixture(scope="module")
def module() -> Iterator[Host]:
    subprocess.run(["sh", "-ec", DRESS], check=True)
    # Until duplicate address detection is over.
    end = time.monotonic() + 10 * SLOWER
    while any("tentative" in one for link in tell("ip", "-j", "addr") for one in link["addr_info"]):
        assert time.monotonic() < end
        time.sleep(0.2)
    holder = Netns(own=False)
    with tempfile.TemporaryDirectory() as folder:
        one = Host(Cli(holder, Path("/run/runspec/state")), Path(folder))
        yield one
        one.cli.sweep()
    holder.close()
    subprocess.run(["sh", "-c", UNDRESS], check=True)


@pytest.fixture
def lab(module: Host) -> Iterator[Host]:
    """The same, swept after each test, so that one that fails costs no other."""
    yield module
    module.cli.sweep()


def nic(**keys: Any) -> dict[str, Any]:
    one = {"name": "lan0", "type": "physical", "parent": "eth1", "addresses": ["10.95.0.2/24", "fd95::2/64"],
           "gateway": "10.95.0.1", **keys}
    return {key: value for key, value in one.items() if value is not None}


def test_there_and_back(lab: Host) -> None:
    """It is inside under its name at its place, works, and comes home as it was."""
    file = lab.write(nic(mac="52:54:00:cc:dd:01", mtu=1450))
    assert "move link eth1" in lab.verbs("plan", file)
    lab.verbs("apply", file)
    assert lab.verbs("diff", file) == "" and "up to date" in lab.verbs("plan", file)
    one = lab.inside()
    assert one["ifindex"] == 11 and one["mtu"] == 1450 and one["address"] == "52:54:00:cc:dd:01"
    assert one["own"] == ["10.95.0.2/24", "fd95::2/64"] and one["via"] == ["10.95.0.1"] and "UP" in one["flags"]
    assert "eth1" not in {link["ifname"] for link in tell("ip", "-j", "link")}
    lab.verbs("exec", "lessee", "/bin/ping", "-c", "1", "-w", str(5 * SLOWER), "10.95.0.1")
    # Another word for it: it goes home and comes again.
    init = lab.state()["pid"]
    lab.verbs("apply", lab.write(nic(parent=f"mac:{PERM}")))
    assert lab.state()["pid"] == init and lab.inside()["address"] == MAC and lab.verbs("diff", lab.file()) == ""
    lab.verbs("destroy", "--yes", "lessee")
    lab.home()


def test_in_place(lab: Host) -> None:
    """All of it is edited while the container runs; what is asked no more goes home."""
    lab.verbs("apply", lab.write(nic()))
    one, init = lab.inside(), lab.state()["pid"]
    assert one["address"] == MAC and one["mtu"] == 1400
    edited = nic(name="net0", mac="52:54:00:cc:dd:02", mtu=1450, addresses=["10.95.0.3/24"])
    diff = lab.verbs.run("diff", lab.write(edited))[1]
    assert "in place" in diff and "restart" not in diff, diff
    lab.verbs("apply", lab.file())
    one = lab.inside("net0")
    assert (one["address"], one["mtu"], one["own"]) == ("52:54:00:cc:dd:02", 1450, ["10.95.0.3/24"])
    assert one["via"] == ["10.95.0.1"]
    lab.verbs("apply", lab.write(nic(name="net0")))
    one = lab.inside("net0")
    assert (one["address"], one["mtu"]) == (MAC, 1400)
    # Its other form names the same NIC, which is lent again; and a link that stands on it does not stay.
    lab.enter("ip", "link", "add", "spy", "link", "net0", "type", "macvlan")
    lab.verbs("apply", lab.write())
    lab.home(gone=False)
    assert "spy" not in lab.enter("ip", "link")
    assert lab.state()["pid"] == init
    lab.verbs("apply", lab.write(nic()))
    assert lab.state()["pid"] == init and lab.inside()["own"] == ["10.95.0.2/24", "fd95::2/64"]
    lab.verbs("destroy", "--yes", "lessee")
    lab.home()


def test_restart_and_recreate(lab: Host) -> None:
    """A new init has it still, a new container again; an init that fails leaves it at home."""
    lan = nic(parent=PCI)
    lab.verbs("apply", lab.write(lan))
    init, namespace = lab.state()["pid"], os.readlink(f"/proc/{lab.state()['pid']}/ns/net")
    file = lab.write(lan, process={"args": ["/bin/sleep", "100001"]})
    assert "move link" not in lab.verbs("plan", file)
    lab.verbs("apply", "--yes", file)
    assert lab.state()["pid"] != init and os.readlink(f"/proc/{lab.state()['pid']}/ns/net") == namespace
    assert lab.inside()["own"] == ["10.95.0.2/24", "fd95::2/64"]
    lab.verbs("apply", "--yes", lab.write(lan, linux={
        "namespaces": [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "network", "cgroup", "user")],
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}]}))
    assert os.readlink(f"/proc/{lab.state()['pid']}/ns/net") != namespace
    assert lab.inside()["own"] == ["10.95.0.2/24", "fd95::2/64"] and lab.inside()["via"] == ["10.95.0.1"]
    lab.verbs("exec", "lessee", "/bin/true")
    status, said = lab.verbs.run("apply", "--yes", lab.write(lan, process={"args": ["/no/such"]}))
    assert status == 2 and "while undoing" not in said, said
    lab.home(gone=False)
    lab.verbs("destroy", "--yes", "lessee")
    lab.home()
    status, said = lab.verbs.run("apply", lab.write(nic(mtu=1450), process={"args": ["/no/such"]}))
    assert status == 2 and "while undoing" not in said, said
    lab.home()


def test_who_resists(lab: Host) -> None:
    """What root does inside keeps it from nothing: a name of the host's, and as many as fit."""
    names = ["eth0", *(f"{number:0127}" for number in range(495))]
    for killed in (True, False):
        lab.verbs("apply", "--yes", lab.write(nic()))
        for at in range(0, len(names), 99):
            lab.enter("ip", "link", "property", "add", "dev", "lan0", *(
                word for name in names[at:at + 99] for word in ("altname", name)))
        assert lab.verbs("diff", lab.file()) == ""
        if killed:
            os.kill(lab.state()["pid"], signal.SIGKILL)
    lab.verbs("destroy", "--yes", "lessee")
    lab.home()


# Its root makes a network namespace below the container's, which a process keeps, or a mount alone.
BELOW = """touch /tmp/net
unshare -n sh -c 'mount --bind /proc/self/ns/net /tmp/net; touch /tmp/made; exec sleep 100000' &
while [ ! -e /tmp/made ]; do sleep 0.1; done
exec sleep 100000"""
MIGHTY = {"bounding": (mighty := ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_DAC_OVERRIDE"]), "effective": mighty,
          "permitted": mighty}


def test_taken_below(lab: Host) -> None:
    """It is fetched from wherever somebody has it, and else when that ends."""
    def below() -> int:
        init = lab.state()["pid"]
        end = time.monotonic() + 5 * SLOWER
        while True:
            for word in Path(f"/proc/{init}/task/{init}/children").read_text().split():
                if os.readlink(f"/proc/{word}/ns/net") != os.readlink(f"/proc/{init}/ns/net"):
                    return int(word)
            assert time.monotonic() < end
            time.sleep(0.1)

    lab.verbs("apply", lab.write(nic(), mounts=[{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}],
                                 process={"args": ["/bin/sh", "-c", BELOW], "capabilities": MIGHTY}))
    init, child = lab.state()["pid"], below()
    lab.enter("ip", "link", "set", "lan0", "netns", str(child))
    status, said = lab.verbs.run("diff", lab.file())
    assert status == 1 and "interfaces[0]:" in said and "in place" in said, said
    lab.verbs("apply", lab.file())
    assert lab.state()["pid"] == init and lab.inside()["own"] == ["10.95.0.2/24", "fd95::2/64"]
    # Nobody is in there any more, and the mount is the container's.
    lab.enter("ip", "link", "set", "lan0", "netns", str(child))
    os.kill(child, signal.SIGKILL)
    status, said = lab.verbs.run("apply", lab.file())
    assert status == 2 and "the link eth1 is in no network namespace in reach" in said, said
    assert "destroy the container: then it comes home" in said and lab.state()["pid"] == init
    lab.verbs("destroy", "--yes", "lessee")
    lab.home()


@pytest.mark.parametrize("kept", [False, True])
def test_everybody_is_killed(kept: bool, lab: Host) -> None:
    """The kernel throws it back bare, or a stranger has its namespace, or has it in one of his own: the next run
    brings it home."""
    def stranger(*words: str) -> subprocess.Popen[bytes]:
        before = os.readlink(f"/proc/{lab.state()['pid']}/ns/net")
        one = subprocess.Popen(["nsenter", f"--net=/proc/{lab.state()['pid']}/ns/net", *words, "sleep", "1000"])
        while (os.readlink(f"/proc/{one.pid}/ns/net") == before) == bool(words) or Path(
                f"/proc/{one.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.05)
        return one

    lab.verbs("apply", lab.write(nic(mac="52:54:00:cc:dd:01", mtu=1450)))
    strangers = [stranger() for _ in range(kept)]
    os.kill(lab.state()["pid"], signal.SIGKILL)
    status, said = lab.verbs.run("diff", lab.file())
    assert status == 1 and "a lease of eth1 is to be settled" in said, said
    assert "a lease of eth1 is to be settled" in lab.verbs.run("list")[1]
    assert "eth1" not in {one["ifname"] for one in tell("ip", "-j", "link")}    # a look changes nothing
    # Not even a run about another container leaves it there.
    other = lab.write(name="other")
    lab.verbs("apply", other)
    lab.home(gone=False)
    lab.verbs("apply", "--yes", lab.file())
    assert lab.inside()["own"] == ["10.95.0.2/24", "fd95::2/64"]
    if kept:
        strangers.append(stranger("unshare", "-n"))
        lab.enter("ip", "link", "set", "lan0", "netns", str(strangers[1].pid))
    os.kill(lab.state()["pid"], signal.SIGKILL)
    lab.verbs("destroy", "--yes", "lessee", "other")
    for one in strangers:
        one.kill()
        one.wait()
    lab.home()


def test_crossing_names(lab: Host) -> None:
    """The kernel throws each NIC back under the name that it had inside, the other's: each gets its own again."""
    lab.verbs("apply", lab.write(nic(name="eth0", addresses=["10.95.0.2/24"], gateway=None),
                                 {"name": "eth1", "type": "physical", "parent": "eth0"}))
    assert {one["ifname"] for one in tell("ip", "-j", "link")}.isdisjoint({"eth0", "eth1"})
    os.kill(lab.state()["pid"], signal.SIGKILL)
    assert "warning" not in lab.verbs("destroy", "--yes", "lessee")
    lab.home()


DRIFTS = (
    ("ip link set lan0 address 52:54:00:00:00:77 mtu 1300; ip addr del 10.95.0.2/24 dev lan0",
     ("interfaces[0].mac", "interfaces[0].mtu", "interfaces[0].addresses")),
    ("ip link set lan0 down", ("interfaces[0].up",)),
    ("ip link set lan0 down; ip link set lan0 name mine", ("interfaces[0]",)),
    ("ip link set lan0 netns 1", ("interfaces[0]",)))


def test_drift(lab: Host) -> None:
    """What somebody does to it is named, and put right in place."""
    lab.verbs("apply", lab.write(nic()))
    init = lab.state()["pid"]
    for words, paths in DRIFTS:
        lab.enter("sh", "-ec", words)
        status, said = lab.verbs.run("diff", lab.file())
        assert status == 1 and all(f"{path}:" in said for path in paths), (words, said)
        assert "drifted" in said and "in place" in said and "restart" not in said, (words, said)
        lab.verbs("apply", lab.file())
        one = lab.inside()
        assert (one["address"], one["mtu"], one["own"], one["via"]) == (
            MAC, 1400, ["10.95.0.2/24", "fd95::2/64"], ["10.95.0.1"]), words
    assert lab.state()["pid"] == init and lab.verbs("diff", lab.file()) == ""
    lab.verbs("destroy", "--yes", "lessee")
    lab.home()


# What is done to the host before, what is said of eth0 and of eth1, what undoes it.
WRONG = (
    ("ip link add br9 type bridge; ip link set eth0 master br9; tc qdisc add dev eth1 clsact", "eth0 is a port of br9",
     "eth1 has a qdisc clsact", "ip link set eth0 nomaster; ip link del br9; tc qdisc del dev eth1 clsact"),
    ("ip link add mv0 link eth0 type macvlan; ip nexthop add id 5 via 10.96.0.254 dev eth1", "mv0 stands on eth0",
     "nexthop objects lead through eth1", "ip link del mv0; ip nexthop del id 5"),
    ("tc qdisc replace dev eth0 root handle 6: htb; ip nexthop add id 5 dev eth1; ip route add 192.0.3.0/24 nhid 5",
     "eth0 has a qdisc htb", "routes through eth1 use nexthop objects",
     "ip nexthop del id 5; tc qdisc replace dev eth0 root handle 5: fq maxrate 10mbit"),
    ("ip link add bond9 type bond; ip link set eth0 down; ip link set eth0 master bond9; "
     "ip link add mv1 link eth1 type macvlan", "eth0 is a port of bond9", "mv1 stands on eth1",
     "ip link set eth0 nomaster; ip link del bond9; ip link set eth0 up; ip link del mv1"))
# The same of links that there are not, or that are no hardware.
NO_NIC = (("eth7", "there is no physical interface eth7"),
          ("pci:0000:00:1f.7", "there is no physical interface pci:0000:00:1f.7"),
          ("wire0", "wire0 is no physical interface but veth"), ("bond9", "bond9 is no physical interface but bond"),
          ("wlan0", "wlan0 is a wireless interface"))


def test_what_is_refused(lab: Host) -> None:
    """Before any step, with its place; nothing is touched."""
    def refused(*interfaces: dict[str, Any], name: str = "lessee", more: tuple[Path, ...] = ()) -> str:
        status, text = lab.verbs.run("apply", *more, lab.write(*interfaces, name=name))
        assert status == 2 and "Traceback" not in text, text
        return text

    def two(first: str, second: str) -> tuple[dict[str, Any], ...]:
        return nic(parent=first, name="a", addresses=["10.95.0.2/24"]), {
            "name": "b", "type": "physical", "parent": second}

    subprocess.run(["sh", "-ec", "ip link add wire0 type veth peer name wire1; ip link add bond9 type bond; "
                    "modprobe mac80211_hwsim radios=1"], check=True)
    text = refused(*({"name": f"n{i}", "type": "physical", "parent": word} for i, (word, _) in enumerate(NO_NIC)))
    for i, (_, said) in enumerate(NO_NIC):
        assert f"interfaces[{i}].parent: {said}" in text, (said, text)
    subprocess.run(["sh", "-ec", "ip link del wire0; ip link del bond9; modprobe -r mac80211_hwsim"], check=True)
    for before, first, second, after in WRONG:
        subprocess.run(["sh", "-ec", before], check=True)
        text = refused(*two("eth0", "eth1"))
        assert f"interfaces[0].parent: {first}" in text and f"interfaces[1].parent: {second}" in text, text
        subprocess.run(["sh", "-ec", after], check=True)
    lab.home()
    subprocess.run("ip route add default via 10.95.0.9", shell=True, check=True)
    assert "the host's default route goes through eth0" in refused(nic(parent="eth0"))
    subprocess.run("ip route del default", shell=True, check=True)
    # Two words for one, in one file and in two; where it is lent, too.
    assert "interfaces[1].parent: eth1 is lent twice" in refused(*two("eth1", PCI))
    wire = {"name": "eth0", "type": "macvlan", "parent": f"mac:{PERM}"}
    assert "eth1 goes into the container and is another interface's parent" in refused(nic(), wire)
    lessee = lab.write(nic())
    for one, said in ((nic(parent=PCI), "eth1 can be in one container only"),
                      (wire, "eth1 goes into one container and carries links of another")):
        text = refused(one, name="other", more=(lessee,))
        at = f"lessee ({lessee}:{place(lessee)}) physical, other ({lab.file('other')}:{place(lab.file('other'))})"
        assert f"interfaces[0].parent: {said}" in text and at in text, (at, text)
    lab.home()
    lab.verbs("apply", lessee)
    for parent in ("eth1", f"mac:{PERM}"):
        text = refused(nic(parent=parent), name="other")
        assert "other.yaml:" in text and "eth1 is lent to lessee" in text, text
    lab.verbs("destroy", "--yes", "lessee")
    lab.home()


def place(file: Path) -> str:
    """Line and column of what a file has as its first parent."""
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if "parent: " in line:
            return f"{number}:{line.index('parent: ') + 9}"
    raise AssertionError(file)


def test_parents_by_their_hardware(lab: Host) -> None:
    """A macvlan on a NIC that is named by what it is, inside under its own address, heard by the wire."""
    words = {"mv0": f"mac:{WIRE}", "mv1": "pci:0000:00:05.0"}
    lab.verbs("apply", lab.write(*({"name": name, "type": "macvlan", "parent": word, "mac": f"52:54:00:cc:ee:0{i}",
                                    "addresses": [f"10.94.{i}.2/24"]} for i, (name, word) in enumerate(words.items()))))
    (wire,) = tell("ip", "-j", "link", "show", "dev", "eth0")
    for i, name in enumerate(words):
        (one,) = json.loads(lab.enter("ip", "-d", "-j", "link", "show", "dev", name))
        assert one["link_index"] == wire["ifindex"] and one["address"] == f"52:54:00:cc:ee:0{i}"
        assert one["linkinfo"]["info_kind"] == "macvlan" and "UP" in one["flags"]
    assert lab.verbs("diff", lab.file()) == ""
    lab.verbs("destroy", "--yes", "lessee")
    lab.home()


def test_oci(lab: Host) -> None:
    """linux.netDevices: its addresses go along; the same way back."""
    lab.verbs("apply", lab.write(linux={"netDevices": {"eth1": {"name": "lan0"}}}))
    one = lab.inside()
    assert {f"{ADDRESS}/24", "fd96::1/64"} <= set(one["own"]) and one["mtu"] == 1400 and one["address"] == MAC
    os.kill(lab.state()["pid"], signal.SIGKILL)
    lab.verbs("destroy", "--yes", "lessee")
    lab.home()


def most(rate: int, measure: Callable[[], float]) -> None:
    """Fail unless what passes is near a rate, mbit/s, and never more. Who sends may get no turn on an emulated machine,
    and nothing arrives of what was not sent: the most counts."""
    found = 0.0
    for _ in range(6):
        found = max(found, measure())
        if near(found, rate * MBIT):
            return
    raise AssertionError(f"{found} bit/s pass, not {rate} mbit/s")


@requires("tc")
def test_held_and_marked(lab: Host) -> None:
    """Both ways, as the host's other NIC sees it; another rate within a second; nothing of it comes home or stays."""
    def held(rate: int) -> Path:
        return lab.write(nic(qos={"egress": {"rate": rate * MBIT, "dscp": "ef"}, "ingress": {"rate": rate * MBIT}}))

    lab.verbs("apply", held(1))
    init = lab.state()["pid"]
    inside = ["nsenter", f"--net=/proc/{init}/ns/net"]
    (wire,) = tell("ip", "-j", "link", "show", "dev", "eth0")
    lab.enter("ip", "neigh", "add", "fd95::1", "lladdr", wire["address"], "dev", "lan0")
    for address in ("10.95.0.1", "fd95::1"):
        sees = subprocess.Popen([sys.executable, "-c", WATCH, "eth0", "2"], stdout=subprocess.PIPE, text=True)
        assert sees.stdout is not None and sees.stdout.readline() == "ready\n"
        lab.enter(sys.executable, "-c", SEND, address, "0", "3")
        assert sees.communicate(timeout=60)[0].splitlines() == ["184 True", "187 True"]
    with flooded(inside, "10.95.0.1"):
        for rate in (1, 2):
            lab.verbs("apply", held(rate))
            time.sleep(1)
            most(rate, lambda: passing([], "eth0"))
    lab.verbs("apply", held(4))
    with Server(inside):
        for words in (TCP, udp(6 * MBIT)):
            for back in (False, True):
                most(4, lambda words=words, back=back: measured([], "10.95.0.2", *words, back=back))
    assert lab.verbs("diff", lab.file()) == "" and lab.state()["pid"] == init
    lab.verbs("apply", lab.write())
    lab.home(gone=False)
    assert "ifb" not in lab.enter("ip", "link") and lab.state()["pid"] == init
    lab.verbs("apply", held(2))
    assert lab.verbs("diff", lab.file()) == ""
    lab.verbs("destroy", "--yes", "lessee")
    lab.home()


@pytest.mark.parametrize("case", ["apply", "edit", "destroy"])
def test_killed_at_any_act(case: str, lab: Host) -> None:
    """At each act around the move, and at a sample of the others."""
    draw, trace = random.Random(f"{SEED} {case}"), lab.folder / "trace"

    def begin() -> tuple[str | Path, ...]:
        if case == "apply":
            return "apply", lab.write(nic(mtu=1450))
        lab.verbs("apply", lab.write(nic(mtu=1450)))
        return ("apply", lab.write()) if case == "edit" else ("destroy", "--yes", "lessee")

    trace.unlink(missing_ok=True)
    assert lab.verbs.run(*begin(), fault=f"trace@{trace}")[0] == 0
    acts = trace.read_text().split()
    lab.verbs("destroy", "--yes", lab.file())
    lab.home()
    # The lease is written, then it moves.
    near = [acts.index("fsync") + n for n in (0, 1, 2, 3, 5)] if case == "apply" else []
    for n in sorted({*near, *draw.sample(range(1, len(acts)), 2)}):
        status, text = lab.verbs.run(*begin(), fault=f"kill@{n}")
        assert status == -signal.SIGKILL, (n, status, text)
        if n % 2:
            lab.verbs("apply", "--yes", lab.file())
            assert lab.verbs("diff", lab.file()) == ""
        lab.verbs("destroy", "--yes", lab.file())
        try:
            lab.home()
        except AssertionError as error:
            raise AssertionError(f"{case} killed before act {n} of {len(acts)}, {acts[n - 1]}: {error}") from error


def test_unplugged(lab: Host) -> None:
    """Hardware that goes while it is lent is missed in plain words, and comes home when it is back. Where it is gone
    for good nothing of it stays: the last of all, since the next one's hardware is new."""
    def pull() -> None:
        Path("/sys/bus/pci/devices", PCI.removeprefix("pci:"), "remove").write_text("1")

    def plug() -> None:
        Path("/sys/bus/pci/rescan").write_text("1")
        end = time.monotonic() + 5 * SLOWER
        while not any(one.get("address") == PERM for one in tell("ip", "-j", "link")):
            assert time.monotonic() < end
            time.sleep(0.1)

    file = lab.write(nic())
    lab.verbs("apply", file)
    init = lab.state()["pid"]
    pull()
    try:
        for verb in ("diff", "apply"):
            status, said = lab.verbs.run(verb, file)
            assert status == 2 and "lessee.yaml:" in said, said
            assert "interfaces[0].parent: eth1 is not there any more" in said and "was unplugged" in said, said
    finally:
        plug()
    lab.verbs("apply", file)
    one = lab.inside()
    assert lab.state()["pid"] == init and (one["address"], one["mtu"]) == (MAC, 1400)
    lab.verbs("destroy", "--yes", "lessee")
    lab.home()
    lab.verbs("apply", file)
    pull()
    try:
        status, said = lab.verbs.run("destroy", "--yes", "lessee")
        assert status == 0 and "warning: eth1 is not there any more" in said, said
        assert {one["ifname"] for one in tell("ip", "-j", "link")} == {"lo", "eth0"}
        assert_nothing_leaked(lab.before, lab.picture)
    finally:
        plug()
