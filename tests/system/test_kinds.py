"""Links of every type: what is on the wire behind them, and who reaches whom, judged on the peer of their parent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli, Netns, requires
from frames import Frame, arrives, inject, seen, tap
from machine import Picture, assert_nothing_leaked
from verbs import Verbs

pytestmark = requires("root", "busybox", "veth", "bridge", "ip", "nsenter")
MAC = {"one": "02:00:00:00:61:01", "two": "02:00:00:00:61:02"}
USER = {"linux": {"namespaces": [{"type": kind} for kind in ("user", "pid", "mount", "uts", "ipc", "network")],
                  "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
                  "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}]}}
EVERYBODY = "ff:ff:ff:ff:ff:ff"


def box(name: str, *links: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"apiVersion": "runspec/v1", "name": name, "root": {"image": "busybox"},
            "process": {"args": ["/bin/sleep", "100000"]}, "interfaces": list(links), **more}


def on(name: str, kind: str, parent: str, *addresses: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "parent": parent, "addresses": list(addresses), **more}


class Bench:
    """A private host whose links have a peer of their own, p0 and q0 against p1 and q1, and runspec on it."""

    def __init__(self, folder: Path) -> None:
        self.netns = Netns()
        self.cli = Cli(self.netns, Path("/run/runspec/state"))
        self.verbs, self.file = Verbs(self.cli), folder / "kinds.yaml"
        for name in "pqs":
            self.host("ip", "link", "add", f"{name}0", "type", "veth", "peer", "name", f"{name}1")
            for end in "01":
                # Nothing passes but what the test sends.
                self.host("sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{name}{end}/disable_ipv6")
                self.host("ip", "link", "set", f"{name}{end}", "up")

    def host(self, *words: str) -> str:
        done = self.netns.run(*words)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def apply(self, *documents: dict[str, Any]) -> str:
        self.file.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        return self.verbs("apply", "--yes", self.file)

    def pid(self, name: str) -> int:
        return int(json.loads(self.verbs("state", name))["pid"])

    def link(self, name: str, link: str) -> dict[str, Any]:
        """What ip(8) says inside."""
        words = ["nsenter", f"--net=/proc/{self.pid(name)}/ns/net", "ip", "-j", "-d", "link", "show", "dev", link]
        return dict(json.loads(self.host(*words))[0])

    def index(self, link: str) -> int:
        return int(json.loads(self.host("ip", "-j", "link", "show", "dev", link))[0]["ifindex"])

    def reaches(self, sender: str, receiver: str, address: str, patience: float = 1.0) -> bool:
        return arrives(self.pid(sender), self.pid(receiver), address, patience)

    def end(self) -> None:
        self.cli.sweep()
        self.netns.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.end()


def of(frames: list[Frame], source: str) -> list[Frame]:
    return [one for one in frames if one.source == source]


NO, YES = 0.4, 4.0      # how long nothing is waited for, and something


@requires("macvlan")
def test_macvlan(bench: Bench) -> None:
    """On the wire with its own address; siblings see each other in mode bridge, by the switch's grace in mode vepa,
    and never in mode private; in a user namespace as well as without."""
    before = bench.cli.picture()
    modes = ("bridge", "vepa", "private")
    links = {name: [on(mode, "macvlan", "p0", f"10.61.{n}.{host}/24", f"fd61:{n}::{host}/64", mode=mode,
                       **({"mac": MAC[name]} if mode == "vepa" else {})) for n, mode in enumerate(modes)]
             for host, name in enumerate(MAC, 1)}
    documents = box("one", *links["one"]), box("two", *links["two"], **USER)
    bench.apply(*documents)
    assert "up to date" in bench.verbs("plan", bench.file)
    assert [bench.link("one", mode)["ifindex"] for mode in modes] == [11, 12, 13]
    assert bench.link("two", "vepa")["address"] == MAC["two"] and bench.link("one", "vepa")["address"] == MAC["one"]

    wire = tap(bench.netns.pid, "p1")
    assert bench.reaches("one", "two", "10.61.0.2", YES) and bench.reaches("one", "two", "fd61:0::2", YES)
    for n in (1, 2):
        assert not bench.reaches("one", "two", f"10.61.{n}.2", NO)
    found = of(seen(wire, YES), MAC["one"])
    assert found and {(one.to, one.tag, one.kind) for one in found} >= {(EVERYBODY, None, 0x0806)}      # who has it?
    # A switch that sends back where it came from, 802.1Qbg.
    bench.host("ip", "link", "add", "hairpin", "type", "bridge")
    bench.host("ip", "link", "set", "p1", "master", "hairpin")
    bench.host("bridge", "link", "set", "dev", "p1", "hairpin", "on")
    bench.host("ip", "link", "set", "hairpin", "up")
    assert bench.reaches("one", "two", "10.61.1.2", YES)
    assert not bench.reaches("one", "two", "10.61.2.2", NO)
    bench.host("ip", "link", "del", "hairpin")

    # A mode that is changed in place is the mode that holds.
    links["one"][2]["mode"] = links["two"][2]["mode"] = "bridge"
    inits = bench.pid("one"), bench.pid("two")
    bench.apply(*documents)
    assert bench.reaches("one", "two", "10.61.2.2", YES) and (bench.pid("one"), bench.pid("two")) == inits
    bench.verbs("destroy", "--yes", bench.file)
    assert_nothing_leaked(before, bench.cli.picture)


@requires("macvlan")
def test_passthru_is_alone(bench: Bench) -> None:
    """It has its parent's address and all that comes in; a second link there is refused, whoever has the first,
    and nothing is left of it."""
    bench.apply(box("one", on("eth0", "macvlan", "p0", "10.61.0.1/24", mode="passthru")))
    assert bench.link("one", "eth0")["address"] == json.loads(bench.host("ip", "-j", "link", "show", "dev", "p0"))[0][
        "address"]
    ear = tap(bench.pid("one"), "eth0")
    inject(bench.netns.pid, "p1", "02:00:00:00:99:99", b"for somebody else")
    assert [one.data[:17] for one in seen(ear, YES) if one.kind == 0x88B5] == [b"for somebody else"]    # not IPv6's own
    before = bench.link("one", "eth0"), bench.host("ip", "-d", "-o", "link")
    file = bench.file.with_name("second.yaml")
    bench.host("ip", "link", "add", "link", "q0", "name", "other", "type", "macvlan", "mode", "bridge")
    before = before[0], bench.host("ip", "-d", "-o", "link")
    for parent, mode, said in (("p0", "bridge", "one in mode passthru is alone on its parent"),
                               ("q0", "passthru", "q0 carries other links already")):
        file.write_text(yaml.safe_dump(box("two", on("eth0", "macvlan", parent, "10.61.0.2/24", mode=mode))))
        status, text = bench.verbs.run("apply", file)
        assert status == 2 and said in text and "while undoing" not in text, text
    assert (bench.link("one", "eth0"), bench.host("ip", "-d", "-o", "link")) == before
    assert "two" not in bench.verbs("list", "-q")


@requires("macvlan")
def test_parent_and_network_are_changed_alone(bench: Bench) -> None:
    """Another parent takes another link, another network only another place on the host's side; init never notices."""
    nets: list[dict[str, Any]] = [{"apiVersion": "runspec/v1", "kind": "Network", "name": name, "type": "bridge"}
                                  for name in ("lan0", "lan1")]
    eth1 = {"name": "eth1", "type": "veth", "network": "lan0", "addresses": ["10.62.0.2/24"]}
    bench.apply(*nets, box("one", on("eth0", "macvlan", "p0", "10.61.0.1/24", mac=MAC["one"]), eth1))
    init, index = bench.pid("one"), bench.link("one", "eth1")["ifindex"]
    eth1["network"] = "lan1"
    said = bench.apply(*nets, box("one", on("eth0", "macvlan", "q0", "10.61.0.1/24", mac=MAC["one"]), eth1))
    assert "interfaces[0].parent: p0 -> q0  edited, in place" in said
    assert "interfaces[1].network: lan0 -> lan1  edited, in place" in said
    assert bench.link("one", "eth0")["link_index"] == bench.index("q0") and bench.pid("one") == init
    assert json.loads(bench.host("ip", "-j", "link", "show", "dev", "one.eth1"))[0]["master"] == "lan1"
    assert bench.link("one", "eth1")["ifindex"] == index        # the same link as before
    # The switch of the host is where it was left by somebody: told, and put right.
    bench.host("ip", "link", "set", "one.eth1", "nomaster")
    status, text = bench.verbs.run("diff", bench.file)
    assert status == 1 and "interfaces[1].network: absent -> lan1  drifted" in text
    bench.verbs("apply", bench.file)
    assert json.loads(bench.host("ip", "-j", "link", "show", "dev", "one.eth1"))[0]["master"] == "lan1"
    # A restart keeps what is in the network namespace.
    bench.file.write_text(bench.file.read_text().replace("'100000'", "'200000'"))
    bench.verbs("apply", "--yes", bench.file)
    assert bench.link("one", "eth0")["link_index"] == bench.index("q0") and bench.pid("one") != init
    # Destroyed and made anew at once, while the former namespace may not have ended yet.
    bench.verbs("destroy", "--yes", "one")
    bench.verbs("apply", bench.file)
    assert bench.link("one", "eth0")["address"] == MAC["one"]


@pytest.mark.both
def test_routed(bench: Bench) -> None:
    """No bridge: the host is the next hop, one address serves all; containers reach the host and each other."""
    before = bench.cli.picture()
    hosts = {"one": 1, "two": 2}
    bench.apply(*(box(name, {"name": "eth0", "type": "veth", "mode": "routed", "gateway": ["169.254.1.1", "fd62::ff"],
                             "addresses": [f"10.62.0.{n}/32", f"fd62::{n}/128"]}) for name, n in hosts.items()))
    assert "up to date" in bench.verbs("plan", bench.file)
    for address in ("10.62.0.1", "fd62::1"):
        assert arrives(bench.netns.pid, bench.pid("one"), address, YES)
        # The host's own side answers to the gateway's address.
    assert arrives(bench.pid("one"), bench.netns.pid, "169.254.1.1", YES)
    assert arrives(bench.pid("one"), bench.netns.pid, "fd62::ff", YES)
    assert bench.host("cat", "/proc/sys/net/ipv4/ip_forward") == "0\n"       # the host's own word is not touched
    assert bench.reaches("one", "two", "10.62.0.2", YES) and bench.reaches("two", "one", "10.62.0.1", YES)
    if bench.netns.run("test", "-e", "/proc/sys/net/ipv6/conf/all/force_forwarding").returncode == 0:
        assert bench.reaches("one", "two", "fd62::2", YES)
    bench.verbs("destroy", "--yes", bench.file)
    assert_nothing_leaked(before, bench.cli.picture)


@requires("macvlan")
def test_what_no_file_asks_for_is_made_anew(bench: Bench) -> None:
    """A pair whose end on the host has another name, or that is the container's own; a mode that takes a list along."""
    lan = {"apiVersion": "runspec/v1", "kind": "Network", "name": "lan0", "type": "bridge"}
    bench.apply(lan, box("one", {"name": "eth0", "type": "veth", "network": "lan0", "addresses": ["10.62.0.2/24"]},
                         {"name": "eth1", "type": "veth", "mode": "routed", "addresses": ["10.62.1.2/32"]},
                         on("m0", "macvlan", "p0", "10.61.0.1/24", mode="bridge")))
    init, inside = bench.pid("one"), ("nsenter", f"--net=/proc/{bench.pid('one')}/ns/net", "ip", "link")

    def mended(*paths: str) -> None:
        status, text = bench.verbs.run("diff", bench.file)
        assert status == 1 and [line.split(": ")[2] for line in text.splitlines() if "drifted" in line] == [
            *paths], text
        bench.verbs("apply", "--yes", bench.file)
        assert bench.verbs("diff", bench.file) == "" and bench.pid("one") == init
        ends = {one["ifname"]: one["ifindex"] for one in json.loads(bench.host("ip", "-j", "link"))}
        assert not {"other0", "other1"} & set(ends)
        for n in (0, 1):
            assert bench.link("one", f"eth{n}")["link_index"] == ends[f"one.eth{n}"]

    for n in (0, 1):
        bench.host("ip", "link", "set", f"one.eth{n}", "down")
        bench.host("ip", "link", "set", f"one.eth{n}", "name", f"other{n}")
        bench.host("ip", "link", "set", f"other{n}", "up")
    mended("interfaces[0].type", "interfaces[1].type")
    for n in (0, 1):
        bench.host(*inside, "del", f"eth{n}")
        bench.host(*inside, "add", f"eth{n}", "type", "veth", "peer", "name", f"own{n}")
        bench.host(*inside, "set", f"eth{n}", "up")
    status, text = bench.verbs.run("diff", bench.file)
    assert status == 1 and "interfaces[0].type: veth without one.eth0 -> veth  drifted" in text
    assert "interfaces[1].type: veth without one.eth1 -> veth  drifted" in text
    bench.verbs("apply", "--yes", bench.file)
    assert bench.verbs("diff", bench.file) == "" and bench.reaches("one", "one", "10.62.1.2", YES)
    assert "own" not in bench.host(*inside, "show")
    bench.host(*inside, "set", "m0", "type", "macvlan", "mode", "source")
    mended("interfaces[2].mode")
    assert bench.link("one", "m0")["linkinfo"]["info_data"]["mode"] == "bridge"


@requires("vlan")
@pytest.mark.both
def test_vlan(bench: Bench) -> None:
    """Frames leave with the declared tag and TPID, and nothing of another VLAN, or of none, ever comes in."""
    before = bench.cli.picture()
    bench.apply(box("one", on("eth0", "vlan", "p0", "10.63.0.1/24", vlan={"id": 10}, mac=MAC["one"])),
                box("two", on("eth0", "vlan", "p0", "10.63.0.1/24", vlan={"id": 20, "protocol": "802.1ad"},
                              mac=MAC["two"]), **USER))
    assert "up to date" in bench.verbs("plan", bench.file)
    wire = tap(bench.netns.pid, "p1")
    tags = {"one": (0x8100, 10), "two": (0x88A8, 20)}
    for name in tags:
        inject(bench.pid(name), "eth0", EVERYBODY, b"out")
    found = seen(wire, YES)
    assert {one.tag for one in of(found, "02:ff:ff:ff:ff:f0")} == set(tags.values())
    for name, mac in MAC.items():
        ear = tap(bench.pid(name), "eth0")
        for tag in (None, (0x8100, 11), (0x8100, 20), (0x88A8, 10), (0x88A8, 21), tags[name]):
            inject(bench.netns.pid, "p1", mac, f"in {tag}".encode(), tag)
        assert [one.data.rstrip(b"\0") for one in seen(ear, YES) if one.kind == 0x88B5] == [f"in {tags[name]}".encode()]
        ear.close()
    bench.verbs("destroy", "--yes", bench.file)
    assert_nothing_leaked(before, bench.cli.picture)


@requires("ipvlan")
@pytest.mark.both
def test_ipvlan(bench: Bench) -> None:
    """All have the parent's address; in mode l2 they share a network, in l3 and l3s they are routed, with no
    broadcast at all."""
    before = bench.cli.picture()
    modes = {"l2": "p", "l3": "q", "l3s": "s"}

    def links(n: int) -> list[dict[str, Any]]:
        # In l3 each has a network of its own, and a route to the other's.
        return [on(mode, "ipvlan", f"{parent}0", f"10.64.{k if mode == 'l2' else 10 * k + n}.{n}/24", mode=mode,
                   **({} if mode == "l2" else {"routes": [{"to": f"10.64.{10 * k + 3 - n}.0/24"}]}))
                for k, (mode, parent) in enumerate(modes.items())]

    bench.apply(box("one", *links(1)), box("two", *links(2), **USER))
    assert "up to date" in bench.verbs("plan", bench.file)
    for k, (mode, parent) in enumerate(modes.items()):
        wire = tap(bench.netns.pid, f"{parent}1")
        home = json.loads(bench.host("ip", "-j", "link", "show", "dev", f"{parent}0"))[0]["address"]
        assert bench.link("one", mode)["address"] == home
        assert bench.reaches("one", "two", f"10.64.{0 if mode == 'l2' else 10 * k + 2}.2", YES), mode
        asked = [one for one in seen(wire) if one.kind == 0x0806 and one.to == EVERYBODY]
        assert bool(asked) == (mode == "l2") and all(one.source == home for one in asked)
        wire.close()
    bench.verbs("destroy", "--yes", bench.file)
    assert_nothing_leaked(before, bench.cli.picture)


def test_what_is_refused(bench: Bench, tmp_path: Path) -> None:
    """Before any step, with the place: a parent that is missing, down or no carrier; more than it can send; a
    parameter that no link has; and what the kernel has no driver for."""
    bench.host("ip", "link", "set", "q0", "down")
    picture: Callable[[], Picture] = bench.cli.picture
    before = picture()
    for link, said in (
            (on("eth0", "macvlan", "nope"), "interfaces[0].parent: there is no link nope on this host"),
            (on("eth0", "macvlan", "q0"), "interfaces[0].parent: the link q0 is down"),
            (on("eth0", "macvlan", "lo"), "interfaces[0].parent: lo carries no other links"),
            (on("eth0", "macvlan", "p0", mtu=9000), "interfaces[0].mtu: 9000 is more than the 1500 of p0"),
            ({"name": "eth0", "type": "veth", "mode": "routed", "sysctl": {"net.ipv4.conf.IFNAME.nonsense": "1"}},
             "interfaces[0].sysctl.net.ipv4.conf.IFNAME.nonsense: this kernel has no such parameter")):
        bench.file.write_text(yaml.safe_dump(box("one", link)))
        status, text = bench.verbs.run("apply", bench.file)
        assert status == 2 and said in text and "Traceback" not in text, text
        assert said.partition(": ")[2] in bench.verbs("doctor", bench.file, status=2)
    assert_nothing_leaked(before, picture)


@requires("machine")
@pytest.mark.parametrize("kind", ["vlan", "ipvlan"])
def test_a_driver_that_is_not_there(kind: str, bench: Bench) -> None:
    """The kernel is asked, and the key is named."""
    if bench.netns.run("ip", "link", "add", "link", "p0", "name", "x0", "type", kind,
                       *(["id", "5"] if kind == "vlan" else [])).returncode == 0:
        pytest.skip(f"this kernel has {kind}")
    more = {"vlan": {"id": 5}} if kind == "vlan" else {}
    bench.file.write_text(yaml.safe_dump(box("one", on("eth0", kind, "p0", **more))))
    status, text = bench.verbs.run("apply", bench.file)
    assert status == 2 and f"interfaces[0].type: needs links of type {kind}, which is not to be had here" in text
    assert "CONFIG_" in text
