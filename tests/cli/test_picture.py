"""The picture of `tree`, drawn from given processes and texts of /proc."""

from __future__ import annotations

import pytest

from runspec.cli.picture import Node, Proc, draw, forest, links_text, parse_cpus, root_text, share_text


def scene(name: str, init: int, share: str, root: str = "") -> Node:
    processes = [Proc(init, 1, 1, "init"), Proc(init + 5, 6, init, "sh"), Proc(init + 3, 4, init, "syslogd")]
    return Node(f"runspec:{name}", forest(processes, init), [share, *([root] if root else [])])


def test_the_scene_of_two_containers() -> None:
    picture = draw(Node("init(1)", [
        scene("foo1", 2966, "25% of core 0", "root /var/lib/runspec/foo1/rootfs"),
        scene("foo2", 2976, "75% of core 0")]))
    assert picture == """\
init(1)─┬─runspec:foo1───init(2966)(1)─┬─sh(2971)(6)        25% of core 0   root /var/lib/runspec/foo1/rootfs
        │                              └─syslogd(2969)(4)
        └─runspec:foo2───init(2976)(1)─┬─sh(2981)(6)        75% of core 0
                                       └─syslogd(2979)(4)"""


def test_nothing_runs() -> None:
    assert draw(Node("systemd(1)")) == "systemd(1)"


def test_an_exec_stands_beside_init() -> None:
    processes = [Proc(20, 1, 1, "zz"), Proc(30, 9, 4000, "aa"), Proc(31, 10, 30, "bb")]
    assert draw(Node("runspec:x", forest(processes, 20))) == """\
runspec:x─┬─zz(20)(1)
          └─aa(30)(9)───bb(31)(10)"""


def test_a_name_cannot_paint() -> None:
    assert forest([Proc(2, 1, 1, "\x1b[2J")], 2)[0].label == "\\x1b[2J(2)(1)"


@pytest.mark.parametrize(("cpus", "weight", "rivals", "quota", "text"), [
    ("0", 25, [("0", 75)], -1, "25% of core 0"),
    ("0", 250, [("0", 750)], -1, "25% of core 0"),
    ("0", 100, [], -1, "100% of core 0"),
    ("0", 100, [("0", 100), ("0", 100)], -1, "33.3% of core 0"),
    ("0", 100, [("1", 900)], -1, "100% of core 0"),
    ("0-1", 100, [("0-1", 100)], -1, "50% of cores 0-1"),
    ("0", 100, [("0-1", 100)], -1, "weight 100 on core 0"),
    ("0", 102.4, [("0-1", 50.0)], -1, "weight 102.4 on core 0"),
    ("0", 10000.0, [("0-1", 50.0)], -1, "weight 10000 on core 0"),
    ("0", 100, [("0", 100)], 25000, "at most 25% of core 0"),
    ("0-1", 100, [], 150000, "at most 150% of one core, on cores 0-1"),
    ("", 100, [("", 300)], -1, "25% of all cores"),
    ("0", 0, [], -1, "core 0")])
def test_share(cpus: str, weight: float, rivals: list[tuple[str, float]], quota: int, text: str) -> None:
    assert share_text(cpus, weight, rivals, quota, 100000) == text


def test_parse_cpus() -> None:
    assert parse_cpus("0-1,3\n") == {0, 1, 3}
    assert parse_cpus("\n") == frozenset()


@pytest.mark.parametrize(
    ("line", "root"),
    [
        (
            "605 604 0:61 / / rw,relatime - overlay overlay rw,lowerdir=/a,upperdir=/b/upper,workdir=/b/work",
            "/b/upper",
        ),
        ("605 604 254:1 /var/lib/x\\040y / rw,relatime - ext4 /dev/vda1 rw", "/var/lib/x y"),
        ("605 604 0:61 / / rw,relatime - tmpfs busybox rw", "busybox"),
        ("605 604 0:61 / /proc rw,relatime - proc proc rw", ""),
        ("torn", ""),
    ],
)
def test_root(line: str, root: str) -> None:
    assert root_text(line + "\n") == root


def test_links() -> None:
    assert links_text([
        {"name": "eth0", "type": "veth", "mode": "bridge", "network": "lan0"},
        {"name": "eth1", "type": "veth", "mode": "routed"}, {"name": "eth2", "type": "physical", "parent": "mac:02:0a"},
        {"name": "eth3", "type": "macvlan", "mode": "vepa", "parent": "nic0"},
        {"name": "eth4", "type": "vlan", "parent": "nic0", "vlan": {"id": 10, "protocol": "802.1ad"}}]) == (
        "eth0 veth on lan0, eth1 veth routed, eth2 physical on mac:02:0a, eth3 macvlan (vepa) on nic0, "
        "eth4 vlan (802.1ad 10) on nic0")
    assert links_text([]) == ""
    two = [{"name": name, "type": "macvlan", "mode": "vepa", "parent": "nic0"} for name in ("eth0", "eth1")]
    devices = "Inter-|   Receive\n face |bytes    packets\n    lo:       0       0\n  eth0: 1066      13\n"
    assert links_text(two, devices) == "eth0 macvlan (vepa) on nic0, eth1 macvlan (vepa) on nic0 (gone)"
