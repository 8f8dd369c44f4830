"""Networks: bridges that are isolated, external, or give out addresses; judged by ip(8), bridge(8) and packets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli, requires
from machine import Picture, assert_nothing_leaked
from test_kill import FULL, Case, Sweep, at_every_act

pytestmark = requires("root", "busybox", "bridge", "veth", "ip", "nsenter")
LAN: dict[str, Any] = {"apiVersion": "runspec/v1", "kind": "Network", "name": "lan0", "type": "bridge",
                       "addresses": ["10.77.0.1/24", "fd77::1/64"]}


def box(called: str, /, **link: Any) -> dict[str, Any]:
    one = {"name": "eth0", "type": "veth", "network": "lan0", "addresses": "auto", **link}
    return {"apiVersion": "runspec/v1", "name": called, "root": {"image": "busybox"},
            "process": {"args": ["/bin/sleep", "100000"]}, "interfaces": [one]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes documents into one file."""
    def one(*documents: dict[str, Any], file: str = "nets.yaml") -> Path:
        path = tmp_path / file
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        return path
    return one


def addresses(cli: Cli, name: str) -> list[str]:
    """The container's addresses of universal scope, as ip(8) tells them inside."""
    pid = json.loads(cli("state", name).stdout)["pid"]
    done = cli.netns.run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", "addr", "show", "dev", "eth0")
    return [f"{one['local']}/{one['prefixlen']}" for one in json.loads(done.stdout)[0]["addr_info"]
            if one["scope"] == "global"]


def reaches(cli: Cli, name: str, address: str) -> bool:
    """Whether one packet out of a container comes back."""
    words = ["ping6" if ":" in address else "ping", "-c", "1", "-W", "2", address]
    return cli("exec", name, *words, status=None).returncode == 0


def host(cli: Cli, *words: str) -> str:
    done = cli.netns.run(*words)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_isolated_ports_reach_the_host_alone(cli: Cli, write: Callable[..., Path],
                                             picture: Callable[[], Picture]) -> None:
    """Siblings see each other until told otherwise; who is declared later is kept apart as well."""
    before = picture()
    cli("apply", write(LAN, box("one"), box("two")))
    assert reaches(cli, "one", "10.77.0.3") and reaches(cli, "two", "fd77::2")
    cli("apply", write(LAN | {"isolated": True}, file="lan.yaml"))
    # A container of its own file learns it of what is applied.
    three = write(box("three"), file="three.yaml")
    cli("apply", three)
    ports = json.loads(host(cli, "bridge", "-j", "-d", "link"))
    assert {one["ifname"]: one["isolated"] for one in ports} == dict.fromkeys(
        ("one.eth0", "two.eth0", "three.eth0"), True)
    for name, other in (("one", "10.77.0.3"), ("two", "10.77.0.4"), ("three", "fd77::2")):
        assert not reaches(cli, name, other)
        assert reaches(cli, name, "10.77.0.1")
    assert reaches(cli, "three", "fd77::1")
    # An interface made anew in place comes back as such a port.
    host(cli, "ip", "link", "del", "three.eth0")
    cli("apply", three)
    assert not reaches(cli, "three", "10.77.0.2") and reaches(cli, "three", "10.77.0.1")
    cli("destroy", "--yes", "one", "two", "three", "lan0")
    assert_nothing_leaked(before, picture)


def test_addresses_stay(cli: Cli, write: Callable[..., Path]) -> None:
    """The lowest free ones, whatever the order of the documents; kept over edits, restarts and leaving siblings."""
    lan = LAN | {"pool": {"range": ["10.77.0.16-10.77.0.19", "fd77::100/120"], "exclude": ["10.77.0.17"]}}
    cli("apply", write(box("two"), lan, box("one"), box("own", addresses=["10.77.0.18/24"])))
    assert addresses(cli, "one") == ["10.77.0.16/24", "fd77::100/64"]
    assert addresses(cli, "two") == ["10.77.0.19/24", "fd77::101/64"]
    told = cli("apply", write(box("more"), file="more.yaml"), status=2).stderr
    assert told.splitlines()[0].endswith(":13:14: interfaces[0].addresses: the pool of lan0 has no IPv4 address left")
    assert "10.77.0.16-10.77.0.19, which one, own, two have" in told
    cli("destroy", "--yes", "one")
    two = write(box("two") | {"labels": {"edited": "yes"}}, file="two.yaml")
    assert "interfaces" not in cli("diff", two, status=1).stdout
    cli("apply", two)
    cli("stop", "two")
    cli("apply", "--yes", two)
    assert addresses(cli, "two") == ["10.77.0.19/24", "fd77::101/64"]
    assert "up to date" in cli("plan", two).stdout and cli("diff", two).stdout == ""
    assert "addresses: auto" in cli("config", two).stdout
    cli("apply", write(box("more"), file="more.yaml"))
    assert addresses(cli, "more") == ["10.77.0.16/24", "fd77::100/64"]
    # A pool that gives an address no more says whose it was.
    narrow = lan | {"pool": {"range": "10.77.0.32/30"}}
    assert "two: keeps 10.77.0.19/24 until it is applied" in cli("plan", write(narrow, file="lan.yaml")).stdout
    both = write(narrow, box("two"), file="both.yaml")
    assert "interfaces[0].addresses: [10.77.0.19/24, fd77::101/64] -> [10.77.0.32/24]  edited, in place" in (
        cli("diff", both, status=1).stdout)
    cli("apply", both)
    assert addresses(cli, "two") == ["10.77.0.32/24"]


def test_a_plan_in_a_file_holds_its_addresses(cli: Cli, write: Callable[..., Path], tmp_path: Path) -> None:
    """It is refused where somebody else took one meanwhile."""
    cli("apply", write(LAN, file="lan.yaml"))
    plan, one = tmp_path / "plan.json", write(box("one"))
    cli("plan", "--out", plan, one)
    cli("apply", write(box("two"), file="two.yaml"))
    told = cli("apply", plan, status=2).stderr
    assert "one: addresses of eth0 was [10.77.0.2/24, fd77::2/64], is [10.77.0.3/24, fd77::3/64]" in told
    cli("plan", "--out", plan, one)
    cli("apply", plan)
    assert addresses(cli, "one") == ["10.77.0.3/24", "fd77::3/64"]


def test_runs_at_once_give_out_each_address_once(cli: Cli, write: Callable[..., Path]) -> None:
    """Applies of other containers on one network take turns."""
    cli("apply", write(LAN, box("first")))
    files = [write(box(f"c{i}"), file=f"c{i}.yaml") for i in range(6)]
    running = [cli.popen("apply", file) for file in files]
    said = [one.communicate() for one in running]
    assert [one.returncode for one in running] == [0] * 6, said
    given = [address for i in range(6) for address in addresses(cli, f"c{i}") if ":" not in address]
    assert sorted(given) == [f"10.77.0.{n}/24" for n in range(3, 9)]


def settled(link: dict[str, Any], key: str) -> Any:
    """What ip(8) says of a link, without clocks that run and counts of its ports."""
    value = link.get(key)
    if key != "linkinfo":
        return value
    return {name: one for name, one in value["info_data"].items() if "timer" not in name and name[:3] != "fdb"}


def test_external(cli: Cli, write: Callable[..., Path]) -> None:
    """Somebody else's bridge is used, and left as it was."""
    lan = {key: value for key, value in LAN.items() if key != "addresses"} | {
        "external": True, "pool": {"range": "10.77.0.0/24"}}
    file = write(lan, box("one"))
    told = cli("apply", file, status=2).stderr
    assert told == (f"{file}:5:11: external: there is no bridge lan0\n"
                    "  why: external: true uses a bridge that is there\n  fix: make it first, or remove external\n")
    host(cli, "ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    assert f"{file}:5:11: external: the link lan0 is no bridge but veth" in cli("apply", file, status=2).stderr
    host(cli, "ip", "link", "del", "lan0")
    host(cli, "ip", "link", "add", "lan0", "mtu", "1400", "type", "bridge")
    host(cli, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    # A bridge has the smallest address of its ports: this one is as large as such a port's may well be.
    host(cli, "ip", "link", "set", "up0", "address", "fe:fe:ff:ff:ff:ff")
    host(cli, "ip", "link", "set", "up0", "master", "lan0", "mtu", "1400", "up")
    host(cli, "ip", "addr", "add", "10.77.0.1/24", "dev", "lan0")
    host(cli, "ip", "link", "set", "lan0", "up")
    before = json.loads(host(cli, "ip", "-j", "-d", "addr", "show", "dev", "lan0"))
    assert "lan0: unused -> used  new, in place\n" in cli("plan", file).stdout
    assert cli("apply", file).stdout == "lan0: used\none: created\n"
    assert cli("diff", file).stdout == "" and addresses(cli, "one") == ["10.77.0.2/24"]
    assert reaches(cli, "one", "10.77.0.1")
    now = json.loads(host(cli, "ip", "-j", "-d", "addr", "show", "dev", "lan0"))
    for key in ("address", "mtu", "ifalias", "promiscuity", "linkinfo"):
        assert settled(now[0], key) == settled(before[0], key), key
    two = write(box("two", addresses=["10.77.0.1/24"]), file="two.yaml")
    assert "interfaces[0].addresses[0]: 10.77.0.1 is the host's own on lan0\n" in cli("apply", two, status=2).stderr
    # Ours must not become theirs, and what is theirs is never taken for ours.
    own = write(LAN, file="own.yaml")
    assert f"{own}:3:7: name: a link lan0 is there already and is not runspec's" in cli("apply", own, status=2).stderr
    host(cli, "ip", "addr", "add", "10.77.5.1/24", "dev", "lan0")
    assert cli("diff", file).stdout == ""
    asked = cli("destroy", "one", "lan0", status=2).stderr
    assert "lan0: used -> unused  let go\none: running -> absent  removed\n" in asked, asked
    assert cli("destroy", "--yes", "one", "lan0").stdout == "one: removed\nlan0: let go\n"
    left = json.loads(host(cli, "ip", "-j", "-d", "addr", "show", "dev", "lan0"))
    assert left[0]["address"] == before[0]["address"] and left[0]["mtu"] == 1400
    assert {one["ifname"] for one in json.loads(host(cli, "ip", "-j", "link"))} == {"lo", "lan0", "up0", "up1"}


def test_what_a_network_gave_is_edited_with_it(cli: Cli, write: Callable[..., Path]) -> None:
    """The container's gateway is the network's word, also where that was applied without the container."""
    lan1 = LAN | {"name": "lan1", "addresses": ["10.78.0.1/24"], "internal": True}
    one = write(box("one"), file="one.yaml")
    cli("apply", write(LAN, lan1), one)
    both = write(LAN, lan1, box("one", network="lan1"), file="moved.yaml")
    told = cli("diff", both, status=1).stdout
    assert "interfaces[0].gateway: [10.77.0.1, fd77::1] -> []  edited, in place\n" in told and "drifted" not in told
    cli("apply", write(LAN | {"internal": True}))
    told = cli("diff", one, status=1).stdout
    assert told.endswith("one: interfaces[0].gateway: [10.77.0.1, fd77::1] -> []  edited, in place\n"), told
    cli("apply", one)
    pid = json.loads(cli("state", "one").stdout)["pid"]
    host(cli, "nsenter", f"--net=/proc/{pid}/ns/net", "ip", "route", "add", "default", "via", "10.77.0.1")
    assert "gateway: [10.77.0.1] -> []  drifted, in place\n" in cli("diff", one, status=1).stdout
    cli("apply", one)
    cli("apply", write(LAN | {"internal": True, "mtu": 1400}))
    told = cli("diff", one, status=1).stdout
    assert "one: interfaces[0].mtu: 1500 -> 1400  edited, in place\n" in told and "drifted" not in told, told


def test_a_lost_bridge_is_made_anew(cli: Cli, write: Callable[..., Path]) -> None:
    file = write(LAN)
    assert cli("apply", file).stdout == "lan0: created\n"
    host(cli, "ip", "link", "del", "lan0")
    assert cli("apply", file).stdout == "lan0: made anew\n"


@pytest.mark.parametrize("isolated", [False, True])
def test_who_is_not_named_comes_back_to_a_lost_bridge(cli: Cli, write: Callable[..., Path], isolated: bool) -> None:
    """With one container of many at hand: the others are ports as they were, and what died is told."""
    lan = LAN | {"isolated": isolated}
    file = write(lan, box("one"), box("two"), box("three"))
    cli("apply", file)
    cli("stop", "-t", "0", "three")
    for given in ([lan, box("one")], [lan]):
        host(cli, "ip", "link", "del", "lan0")
        some = write(*given, file="some.yaml")
        assert "join two.eth0 to lan0" in cli("plan", some).stdout
        assert "warning" not in cli("apply", some).stdout
        assert cli("diff", write(lan, box("one"), box("two"), file="all.yaml")).stdout == ""
        assert reaches(cli, "two", "10.77.0.2") is not isolated and reaches(cli, "two", "10.77.0.1")
    # A run that fails takes it back with the bridge.
    host(cli, "ip", "link", "del", "lan0")
    bad = write(lan, box("one"), box("bad") | {"process": {"args": ["/bin/nothing"]}}, file="bad.yaml")
    told = cli("apply", bad, status=2).stderr
    assert "/bin/nothing" in told and "undoing" not in told
    assert json.loads(host(cli, "ip", "-j", "link", "show", "two.eth0"))[0].get("master") is None
    cli("apply", file)
    assert cli("diff", file).stdout == ""


@requires("ifb")
def test_who_shares_a_line_is_told_of_a_lost_bridge(cli: Cli, write: Callable[..., Path]) -> None:
    lan = LAN | {"qos": {"egress": {"rate": "10mbit"}}}
    cli("apply", write(lan, box("one"), box("two"), box("three")))
    host(cli, "ip", "link", "del", "lan0")
    said = cli("apply", write(lan, box("one"), file="some.yaml")).stdout
    assert said.endswith("warning: lan0: three and two are without it until applied again\n"), said
    file = write(lan, box("one"), box("two"), box("three"))
    cli("apply", file)
    assert cli("diff", file).stdout == ""


def test_own_bridge_is_not_declared_external(cli: Cli, write: Callable[..., Path]) -> None:
    """Nobody would ever remove it."""
    cli("apply", write(LAN))
    lan = {key: value for key, value in LAN.items() if key != "addresses"} | {"external": True}
    assert "external: the bridge lan0 is runspec's own" in cli("apply", write(lan), status=2).stderr


def test_a_bridge_that_became_somebody_elses_is_left_as_it_is(cli: Cli, write: Callable[..., Path]) -> None:
    """Ours went, he made his own of that name, and the file says so now: nothing of his is changed."""
    lan = {key: value for key, value in LAN.items() if key != "addresses"}
    cli("apply", write(LAN | {"mtu": 1400, "isolated": True}))
    host(cli, "ip", "link", "del", "lan0")
    host(cli, "ip", "link", "add", "lan0", "type", "bridge")
    host(cli, "ip", "addr", "add", "10.99.0.1/24", "dev", "lan0")
    before = json.loads(host(cli, "ip", "-j", "-d", "addr", "show", "dev", "lan0"))[0]
    file = write(lan | {"external": True})
    assert "remove address" not in cli("plan", file).stdout
    cli("apply", "--yes", file)
    now = json.loads(host(cli, "ip", "-j", "-d", "addr", "show", "dev", "lan0"))[0]
    assert {key: settled(one, key) for one in [now] for key in now} == {key: settled(before, key) for key in before}
    assert cli("diff", file).stdout == ""


def test_the_bridge_keeps_its_address(cli: Cli, write: Callable[..., Path]) -> None:
    """Containers know their gateway by it, so it may not be that of the lowest port."""
    cli("apply", write(LAN))
    before = json.loads(host(cli, "ip", "-j", "link", "show", "dev", "lan0"))[0]["address"]
    for name in ("one", "two"):
        cli("apply", write(box(name), file=f"{name}.yaml"))
        host(cli, "ip", "link", "set", f"{name}.eth0", "address", "02:00:00:00:00:01" if name == "one"
             else "02:00:00:00:00:00")
        assert json.loads(host(cli, "ip", "-j", "link", "show", "dev", "lan0"))[0]["address"] == before


def test_what_the_host_has_is_not_overlapped(cli: Cli, write: Callable[..., Path],
                                             picture: Callable[[], Picture]) -> None:
    """Subnets of its links and its routes: refused where it would lose something, a warning where a part is hidden."""
    host(cli, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    # Whether an address is still being tried is of no interest, and would differ.
    for name in ("up0", "up1"):
        host(cli, "ip", "link", "set", name, "addrgenmode", "none", "up")
    host(cli, "ip", "addr", "add", "10.70.9.4/16", "dev", "up0")
    host(cli, "ip", "route", "add", "10.80.0.0/16", "via", "10.70.0.9")
    before = picture()
    for subnet, said in (
            ("10.70.9.1/24", "6:3: addresses[0]: 10.70.9.0/24 overlaps 10.70.0.0/16 of up0\n"
                             "  why: the host has 10.70.9.4/16 there, and reaches an address by one link only"),
            ("10.64.0.1/10", "6:3: addresses[0]: 10.64.0.0/10 overlaps 10.70.0.0/16 of up0"),
            ("10.80.7.1/16", "6:3: addresses[0]: 10.80.0.0/16 overlaps a route of the host\n"
                             "  why: it leads to 10.80.0.0/16 through up0")):
        file = write(LAN | {"addresses": [subnet]})
        for verb in ("plan", "diff", "apply"):
            assert f"{file}:{said}" in cli(verb, file, status=2).stderr
    assert_nothing_leaked(before, picture)
    for subnet, said in (("10.70.8.1/24", "10.70.8.0/24 hides a part of 10.70.0.0/16 of up0"),
                         ("10.80.7.1/24", "10.80.7.0/24 hides a part of the host's route to 10.80.0.0/16 through up0"),
                         ("10.80.0.1/12", "the host's route to 10.80.0.0/16 through up0 takes a part of 10.80.0.0/12")):
        file = write(LAN | {"addresses": [subnet]})
        assert f"warning: lan0: {said}\n" in cli("plan", file).stdout
    cli("apply", write(LAN))
    # What is applied was admitted then: routes that come later are the host's affair.
    host(cli, "ip", "route", "add", "10.77.0.0/24", "via", "10.70.0.9", "metric", "50")
    assert cli("diff", write(LAN)).stdout == ""


def test_links_of_others_are_left_alone(cli: Cli, write: Callable[..., Path]) -> None:
    """A host end whose name is taken, by the host or by another container, is refused before any step."""
    host(cli, "ip", "link", "add", "one.eth0", "type", "veth", "peer", "name", "x0")
    file = write(LAN, box("one"))
    told = cli("apply", file, status=2).stderr
    assert told.startswith(f"{file}:18:9: interfaces[0].name: a link one.eth0 is there already and is not runspec's\n")
    assert cli("list", "-q").stdout == ""
    assert {one["ifname"] for one in json.loads(host(cli, "ip", "-j", "link"))} == {"lo", "one.eth0", "x0"}
    told = cli("apply", write(LAN | {"name": "a.eth0"}, box("a", network="a.eth0")), status=2).stderr
    assert "interfaces[0].name: a link a.eth0 is there for a.eth0\n" in told
    assert cli("list", "-q").stdout == ""
    cli("apply", write(LAN, box("a", name="b.c")))
    again = write(box("a.b", name="c"), file="again.yaml")
    assert "interfaces[0].name: a link a.b.c is there for a:b.c\n" in cli("apply", again, status=2).stderr


@pytest.mark.parametrize("ports", [0, 1])
def test_an_external_bridge_keeps_its_mtu(ports: int, cli: Cli, write: Callable[..., Path]) -> None:
    """A bridge takes the mtu of its smallest port: ours are as large as it is, whatever is asked inside."""
    host(cli, "ip", "link", "add", "lan0", "type", "bridge")
    for i in range(ports):
        host(cli, "ip", "link", "add", f"up{i}", "type", "veth", "peer", "name", f"down{i}")
        host(cli, "ip", "link", "set", f"up{i}", "master", "lan0")
    lan = {key: value for key, value in LAN.items() if key != "addresses"} | {"external": True}
    file = write(lan, box("one", addresses=["10.77.0.5/24"], mtu=9000))
    told = cli("apply", file, status=2).stderr
    assert told.startswith(f"{file}:21:8: interfaces[0].mtu: 9000 is more than the 1500 of lan0\n")
    file = write(lan, box("one", addresses=["10.77.0.5/24"], mtu=1400))
    cli("apply", file)
    assert cli("diff", file).stdout == ""
    sizes = {one["ifname"]: one["mtu"] for one in json.loads(host(cli, "ip", "-j", "link"))}
    assert sizes["lan0"] == sizes["one.eth0"] == 1500


@pytest.mark.parametrize(("one", "two", "said"), [
    ({"addresses": ["10.77.0.5/24"]}, {"addresses": ["10.77.0.5/24"]},
     "addresses[0]: 10.77.0.5 is on network lan0 twice"),
    ({"mac": "02:00:00:00:00:01"}, {"mac": "02:00:00:00:00:01"}, "mac: 02:00:00:00:00:01 is on network lan0 twice"),
    ({"addresses": ["10.77.0.1/24"]}, {}, "addresses[0]: 10.77.0.1 is on network lan0 twice"),
])
def test_stations(one: dict[str, Any], two: dict[str, Any], said: str, cli: Cli, write: Callable[..., Path]) -> None:
    """An address or MAC of one network has one owner, whether given together or applied before."""
    file = write(LAN, box("one", **one), box("two", **two))
    assert f"interfaces[0].{said}" in cli("apply", file, status=2).stderr
    assert cli("list", "-q").stdout == ""
    if two:
        cli("apply", write(LAN, box("one", **one), file="one.yaml"))
        assert "one (applied)" in cli("apply", write(box("two", **two), file="two.yaml"), status=2).stderr


@requires("vlan_filtering")
def test_vlans_of_ports(cli: Cli, write: Callable[..., Path], picture: Callable[[], Picture]) -> None:
    """Two in one VLAN see each other, and neither sees a third in another; changed while they run."""
    before = picture()
    lan = LAN | {"vlanFiltering": True}
    file = write(lan, box("one", vlan={"id": 10}), box("two", vlan={"id": 10}), box("three", vlan={"id": 20}),
                 box("four"))
    cli("apply", file)
    assert cli("diff", file).stdout == ""
    # In the order of their names: four .2, one .3, three .4, two .5.
    assert reaches(cli, "one", "10.77.0.5") and not reaches(cli, "one", "10.77.0.4")
    assert reaches(cli, "four", "10.77.0.1") and not reaches(cli, "four", "10.77.0.5")
    told = json.loads(host(cli, "bridge", "-j", "vlan"))
    ports = {one["ifname"]: [vlan["vlan"] for vlan in one["vlans"]] for one in told}
    assert ports == {"lan0": [1], "one.eth0": [10], "two.eth0": [10], "three.eth0": [20], "four.eth0": [1]}
    moved = write(lan, box("one", vlan={"id": 20}), box("two"))
    assert "interfaces[0].vlan.id: 10 -> 20  edited, in place" in cli("diff", moved, status=1).stdout
    cli("apply", moved)
    assert cli("diff", moved).stdout == ""
    assert reaches(cli, "one", "10.77.0.4") and not reaches(cli, "one", "10.77.0.5")
    assert reaches(cli, "two", "10.77.0.1")
    # A bridge that is made anew has its ports in their VLANs again, with no container at hand.
    told = host(cli, "bridge", "-j", "vlan")
    host(cli, "ip", "link", "del", "lan0")
    cli("apply", write(lan, file="lan.yaml"))
    assert cli("diff", moved).stdout == ""
    assert sorted(json.loads(host(cli, "bridge", "-j", "vlan")), key=str) == sorted(json.loads(told), key=str)
    # Without the bridge's help a tag would be no border.
    told = cli("apply", write(LAN), status=2).stderr
    assert "the bridge of lan0 heeds no VLAN tags" in told and "one (applied) VLAN 20" in told
    cli("destroy", "--yes", "one", "two", "three", "four", "lan0")
    assert_nothing_leaked(before, picture)


def test_vlans_need_a_bridge_that_heeds_them(cli: Cli, write: Callable[..., Path]) -> None:
    """Told at the interface, before anything is made."""
    file = write(LAN, box("one", vlan={"id": 10}))
    told = cli("apply", file, status=2).stderr
    assert told == (f"{file}:23:5: interfaces[0].vlan: the bridge of lan0 heeds no VLAN tags\n"
                    f"  why: lan0 ({file}:1:1), one ({file}:23:5) VLAN 10; its ports see each other whatever they are "
                    "tagged, ip-link(8) vlan_filtering\n  fix: add vlanFiltering: true to lan0, or remove vlan\n")


def test_large_packets_follow_the_mtu(cli: Cli, write: Callable[..., Path]) -> None:
    """Both ends of a link have it, and the bridge: a packet that fills it comes back, before and after a change."""
    cli("apply", write(LAN | {"mtu": 1300}, box("one"), box("two")))
    for size in (1300, 1500, 1400):
        file = write(LAN | {"mtu": size}, box("one"), box("two"))
        cli("apply", file)
        assert cli("diff", file).stdout == ""
        for address in ("10.77.0.1", "10.77.0.3"):
            done = cli("exec", "one", "ping", "-c", "1", "-W", "2", "-s", str(size - 28), address, status=None)
            assert done.returncode == 0, (size, address, done.stdout)
        assert json.loads(host(cli, "ip", "-j", "link", "show", "dev", "one.eth0"))[0]["mtu"] == size


def test_of_two_runs_at_once_one_gets_it(cli: Cli, write: Callable[..., Path]) -> None:
    """Networks of other names with one subnet share no lock but that of admission."""
    files = [write(LAN | {"name": f"lan{i}", "addresses": ["10.77.0.1/24"]}, file=f"lan{i}.yaml") for i in range(6)]
    for _ in range(3):
        running = [cli.popen("apply", file) for file in files]
        said = [one.communicate()[1] for one in running]
        assert sorted(one.returncode for one in running) == [0] + [2] * 5, said
        assert all("10.77.0.0/24 and 10.77.0.0/24 overlap" in one for one in said if one)
        [name] = [one["ifname"] for one in json.loads(host(cli, "ip", "-j", "link")) if one["ifname"] != "lo"]
        cli("destroy", "--yes", name)


def test_what_fails_later_leaves_the_network_as_it_was(cli: Cli, write: Callable[..., Path]) -> None:
    """A network is changed before its users are made; where one of these cannot be, all of it is taken back."""
    lan = LAN | {"pool": {"range": "10.77.0.16/28"}}
    cli("apply", write(lan, box("one")))

    def shown() -> Any:
        told = json.loads(host(cli, "ip", "-j", "addr"))
        links = {one["ifname"]: (one["mtu"], one["address"], sorted((a["local"], a["prefixlen"])
                                                                     for a in one["addr_info"])) for one in told}
        ports = {one["ifname"]: one["isolated"] for one in json.loads(host(cli, "bridge", "-j", "-d", "link"))}
        return links, ports, host(cli, "cat", "/run/runspec/state/networks/lan0/record.json"), addresses(cli, "one")

    before = shown()
    edited = LAN | {"addresses": ["10.77.0.2/24", "fd77::1/64"], "mtu": 1400, "isolated": True,
                    "pool": {"range": "10.77.0.32/28"}}
    bad = box("two") | {"process": {"args": ["/bin/nothing"]}}
    file = write(edited, LAN | {"name": "lan1", "addresses": ["10.78.0.1/24"]}, box("one"), bad)
    assert "/bin/nothing" in cli("apply", file, status=2).stderr
    assert shown() == before
    cli("apply", write(edited, box("one")))
    assert addresses(cli, "one") == ["10.77.0.32/24"] and shown()[1] == {"one.eth0": True}


def test_a_network_goes_after_its_users(cli: Cli, write: Callable[..., Path], tmp_path: Path) -> None:
    """It stays for as long as a container has a link on it: by its name or alone it is refused, and for whose sake is
    said; with a container of its file it stays, in a word."""
    file = write(LAN, file="lan.yaml")
    cli("apply", file, write(box("one"), file="one.yaml"), write(box("two"), file="two.yaml"))
    for words, users in (((file,), "one, two use"), (("lan0",), "one, two use"), (("one", "lan0"), "two uses")):
        refused = cli("destroy", "--yes", *words, status=2)
        assert refused.stderr == (f"runspec: lan0: stays, since {users} it\n  why: nothing was removed\n"
                                  "  fix: name these containers as well, or destroy them first\n")
        assert refused.stdout == "" and cli("list", "-q").stdout == "one\ntwo\n"
    assert cli("list").stdout.endswith("\n\nNETWORK   USED BY\nlan0      one, two\n")
    mixed = cli("destroy", "--yes", file, tmp_path / "one.yaml").stdout
    assert mixed == "one: removed\nlan0: stays, since two uses it\n"
    assert cli("list").stdout.endswith("\n\nNETWORK   USED BY\nlan0      two\n")
    unknown = cli("destroy", "--yes", "lan0", "two", "nosuch", status=2).stderr
    assert "nosuch: no container or network has this name\n  why: nothing was removed" in unknown
    assert cli("list", "-q").stdout == "two\n"
    cli("destroy", "--yes", "lan0", "two")
    assert "NETWORK" not in cli("list").stdout
    assert {one["ifname"] for one in json.loads(host(cli, "ip", "-j", "link"))} == {"lo"}


KILLED: list[dict[str, Any]] = [
    LAN | {"mtu": 1400, "pool": {"range": "10.77.0.16/28"}},
    box("sweep-a") | {"linux": {"resources": {"cpu": {"cpus": "0"}}}}, box("sweep-b")]
EDITS = (("mtu: 1400", "mtu: 1300\nisolated: true"), ("10.77.0.16/28", "10.77.0.32/28"),
         ("- 10.77.0.1/24", "- 10.77.0.3/24"))
CASES: dict[str, Case] = {"apply": ((), False, ("apply", "--yes")), "in-place": (EDITS, True, ("apply", "--yes")),
                          "destroy": ((), True, ("destroy", "--yes"))}


@pytest.mark.parametrize("case", CASES)
def test_killed_at_every_act(case: str, cli: Cli, tmp_path: Path) -> None:
    """The next apply converges and destroy leaves nothing: no port, no claim, no address twice."""
    sweep = Sweep(cli, tmp_path, yaml.safe_dump_all(KILLED, sort_keys=False), ("sweep-a", "sweep-b"), CASES)
    assert at_every_act(sweep, case, sweep.end, 1 if FULL else 30) > 3


# A Router Advertisement as a container's root may send it: argument 1 is the Ethernet address it comes from.
ADVERTISE = """
import socket, struct, sys
mac = bytes.fromhex(sys.argv[1].replace(":", ""))
source, target = socket.inet_pton(socket.AF_INET6, "fe80::bad"), socket.inet_pton(socket.AF_INET6, "ff02::1")
prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix + struct.pack("!BB", 1, 1) + mac
whole = source + target + struct.pack("!II", len(body), 58) + body
total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
total = (total & 0xFFFF) + (total >> 16)
body = body[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + body[4:]
one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
one.bind(("eth0", 0))
one.send(bytes.fromhex("333300000001") + mac + b"\\x86\\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
         + source + target + body)
"""


@pytest.mark.parametrize("where", ["bridge", "routed"])
def test_no_container_is_the_hosts_router(where: str, cli: Cli, write: Callable[..., Path]) -> None:
    """One Router Advertisement gives the host no route and no address; told otherwise behind its back is drift."""
    if where == "bridge":
        file, end, drift = write(LAN, box("one")), "lan0", ("lan0", "up", "hearing routers")
    else:
        link = {"name": "eth0", "type": "veth", "mode": "routed", "addresses": ["10.77.0.5/32"],
                "gateway": ["10.77.0.1"]}
        file, end = write(box("one") | {"interfaces": [link]}), "one.eth0"
        drift = ("one", "interfaces[0].hostEnd.forwarding", ["IPv4"])
    cli("apply", file)

    def advertised() -> list[str]:
        pid = json.loads(cli("state", "one").stdout)["pid"]
        inside = ["nsenter", f"--net=/proc/{pid}/ns/net"]
        mac = json.loads(host(cli, *inside, "ip", "-j", "link", "show", "dev", "eth0"))[0]["address"]
        host(cli, *inside, sys.executable, "-c", ADVERTISE, mac)
        # What was sent before this has been heard.
        gateway = json.loads(host(cli, "ip", "-j", "-4", "addr", "show", "dev", end))[0]["addr_info"][0]["local"]
        host(cli, *inside, "ping", "-c", "1", "-W", "2", "-I", "eth0", gateway)
        told = host(cli, "ip", "-6", "route").splitlines() + host(cli, "ip", "-o", "-6", "addr").splitlines()
        return [line for line in told if "bad" in line]

    assert advertised() == []
    names = ("accept_ra", "autoconf", "accept_redirects")
    files = [f"/proc/sys/net/ipv6/conf/{end}/{name}" for name in names]
    assert host(cli, "cat", *files) == "0\n0\n0\n"
    host(cli, "sh", "-c", f"for i in {' '.join(files)}; do echo 1 >$i; done")
    assert len(advertised()) >= 2       # this is what it would be
    told = json.loads(cli("diff", "-o", "json", file, status=1).stdout)["changes"]
    assert [(one["target"], one["path"], one["before"]) for one in told
            if "addresses" not in one["path"] and "routes" not in one["path"]] == [drift]
    cli("apply", file)
    assert host(cli, "cat", *files) == "0\n0\n0\n" and cli("diff", file).stdout == ""


@requires("macvlan")
def test_a_link_has_not_its_parents_address(cli: Cli, write: Callable[..., Path]) -> None:
    """The others on that wire would reach either."""
    host(cli, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    host(cli, "ip", "addr", "add", "10.70.9.4/16", "dev", "up0")
    for name in ("up0", "up1"):
        host(cli, "ip", "link", "set", name, "up")
    link = {"name": "eth0", "type": "macvlan", "parent": "up0", "addresses": ["10.70.9.5/16", "10.70.9.4/24"]}
    told = cli("apply", write(box("one") | {"interfaces": [link]}), status=2).stderr
    assert "interfaces[0].addresses[1]: 10.70.9.4 is the host's own on up0\n" in told
    assert "interfaces[0].addresses[0]" not in told
