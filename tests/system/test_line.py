"""A line that the containers of a network share: what each has of it under load and alone, and what becomes of it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import test_kill
import yaml
from conftest import Cli, Netns, assert_nothing_leaked, requires
from iperf import TCP, Server, hold, measured, udp
from kernels import IN_VM

pytestmark = requires("root", "busybox", "bridge", "veth", "ifb", "ip", "tc", "nsenter", "iperf3")
MBIT = 1_000_000
NET, HOST = "share0", "10.93.0.1"
NAMES = ("quarter", "most", "none")
WHOLE = 8 * MBIT
BOTH = {"egress": {"rate": WHOLE}, "ingress": {"rate": WHOLE}}


class Office:
    """Containers on one network, whose line and parts change while they run."""

    def __init__(self, folder: Path) -> None:
        self.netns = Netns()
        self.cli = Cli(self.netns, Path("/run/runspec/state"))
        self.file = folder / "office.yaml"
        self.netns.run("sh", "-c", "for i in all default; do echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad; done")
        self.before = self.cli.picture()

    def documents(self, line: dict[str, Any] | None, **parts: dict[str, Any]) -> list[dict[str, Any]]:
        """A network, and a container for each name."""
        network = {"apiVersion": "runspec/v1", "kind": "Network", "name": NET, "type": "bridge",
                   "addresses": [f"{HOST}/24", "fd93::1/64"], **({"qos": line} if line else {})}
        return [network, *({
            "apiVersion": "runspec/v1", "name": name, "root": {"image": "busybox"},
            "process": {"args": ["/bin/sleep", "100000"]},
            "interfaces": [{"name": "eth0", "type": "veth", "network": NET, "qos": qos, "addresses": [
                f"{address(name)}/24", f"{address(name, 6)}/64"]}]} for name, qos in parts.items())]

    def apply(self, line: dict[str, Any] | None, status: int = 0, **parts: dict[str, Any]) -> str:
        self.file.write_text(yaml.safe_dump_all(self.documents(line, **parts)))
        done = self.cli("apply", "--yes", self.file, status=status)
        if not status:
            assert self.cli("diff", self.file).stdout == ""
        return done.stderr

    def pid(self, name: str) -> int:
        return int(json.loads(self.cli("state", name).stdout)["pid"])

    def inside(self, name: str) -> list[str]:
        return ["nsenter", "-t", str(self.pid(name)), "-n"]

    def rates(self, *names: str, back: bool = False, words: tuple[str, ...] = TCP, version: int = 4,
              enters: list[list[str]] | None = None) -> list[float]:
        """bit/s that reach each of them, or come from each, all at the same time.

        Args:
            enters: what `inside` says of each, where another thread uses the command meanwhile.
        """
        out, within = [0.0] * len(names), enters or [self.inside(name) for name in names]

        def run(at: int) -> None:
            with Server(within[at]):
                gate.wait(60)
                out[at] = measured(self.netns.enter(), address(names[at], version), *words, back=back)

        gate = threading.Barrier(len(names))
        threads = [threading.Thread(target=run, args=(at,), daemon=True) for at in range(len(names))]
        for one in threads:
            one.start()
        for one in threads:
            one.join(100)
        return out

    def holds(self, parts: dict[str, float], back: bool, words: tuple[str, ...] = TCP, version: int = 4) -> None:
        """Fail unless each gets so many bit/s, or sends them, all at the same time."""
        hold(lambda: self.rates(*parts, back=back, words=words, version=version), *parts.values())

    def ifbs(self) -> list[str]:
        return [one["ifname"] for one in json.loads(self.netns.run("ip", "-j", "link", "show", "type", "ifb").stdout
                                                    or "[]")]

    def end_of(self, way: str) -> str:
        """The ifb through which one way of the line goes."""
        return next(one for one in self.ifbs() if f"{NET}:{way}" in self.netns.run("ip", "link", "show", one).stdout)

    def differs(self) -> dict[str, tuple[str, str]]:
        """path -> (container or network, cause) of each difference."""
        text = self.cli("diff", "-o", "json", self.file, status=None).stdout
        return {one["path"]: (one["target"], one["cause"]) for one in json.loads(text)["changes"]}

    def end(self) -> None:
        self.cli("destroy", "--yes", self.file)
        assert_nothing_leaked(self.before, self.cli.picture)
        self.netns.close()


def address(name: str, version: int = 4) -> str:
    return f"{'10.93.0.' if version == 4 else 'fd93::'}{NAMES.index(name) + 11}"


def part(rate: int, **more: Any) -> dict[str, Any]:
    """The same of both ways."""
    return {way: {"rate": rate, "ceil": WHOLE, **more} for way in ("egress", "ingress")}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    one = Office(tmp_path_factory.mktemp("line"))
    yield one
    one.end()


QUARTERS = {"quarter": part(WHOLE // 4), "most": part(3 * WHOLE // 4, dscp="af11")}


@pytest.mark.parametrize(("back", "words", "version"), [
    (False, TCP, 4), pytest.param(True, TCP, 6, marks=pytest.mark.both), (True, udp(WHOLE), 4)])
def test_each_has_its_part_and_all_of_it_alone(office: Office, back: bool, words: tuple[str, ...],
                                               version: int) -> None:
    """A quarter and three quarters of one line, by what is guaranteed; the whole while the other is silent."""
    office.apply(BOTH, **QUARTERS)
    office.holds({"quarter": WHOLE / 4, "most": 3 * WHOLE / 4}, back, words, version)
    for name in ("quarter", "most"):
        office.holds({name: WHOLE}, back, words, version)


def test_who_says_nothing_has_the_rest(office: Office) -> None:
    office.apply(BOTH, quarter=part(WHOLE // 4), most=part(WHOLE // 2), none={})
    office.holds({"quarter": WHOLE / 4, "most": WHOLE / 2, "none": WHOLE / 4}, True)
    office.apply(BOTH, **QUARTERS, none={})
    office.holds({"none": WHOLE}, True)


def test_priority_says_who_borrows_first(office: Office) -> None:
    """Also of what arrives, where others wait for the same line."""
    for back, way in ((False, "ingress"), (True, "egress")):
        low, high = ({way: {"rate": WHOLE // 4, "ceil": WHOLE, "priority": priority}} for priority in (0, 5))
        office.apply(BOTH, quarter=low, most=high)
        office.holds({"quarter": WHOLE / 4, "most": 3 * WHOLE / 4}, back)


def test_a_rate_without_a_ceiling_is_a_limit(office: Office) -> None:
    office.apply(BOTH, quarter={"egress": {"rate": 2 * MBIT}}, most=part(WHOLE // 2))
    office.holds({"quarter": 2 * MBIT}, True)


@requires("machine")
def test_changed_under_load(office: Office) -> None:
    """The line's rate, then the parts: in force within a second, with every connection alive."""
    office.apply(BOTH, **QUARTERS)
    pids = [office.pid(name) for name in QUARTERS]
    line_end = office.end_of("egress")

    def sent() -> tuple[float, int, int]:
        lines = office.netns.run("tc", "-s", "class", "show", "dev", line_end).stdout.splitlines()
        found = {one.split()[2]: int(then.split()[1]) for one, then in pairwise(lines) if one.startswith("class htb")}
        return time.monotonic(), found["7273:1"], found["7273:2"]

    found: list[float] = []
    enters = [office.inside(name) for name in QUARTERS]
    load = threading.Thread(target=lambda: found.extend(office.rates(*QUARTERS, back=True, enters=enters)), daemon=True)
    load.start()
    try:
        time.sleep(1.5)
        for line, parts, rates in (
                (BOTH | {"egress": {"rate": 4 * MBIT}}, QUARTERS | {
                    "quarter": {"egress": {"rate": MBIT, "ceil": 4 * MBIT}},
                    "most": {"egress": {"rate": 3 * MBIT, "ceil": 4 * MBIT}}}, (1, 3)),
                (BOTH | {"egress": {"rate": 4 * MBIT}}, {
                    "quarter": {"egress": {"rate": 3 * MBIT, "ceil": 4 * MBIT}},
                    "most": {"egress": {"rate": MBIT, "ceil": 4 * MBIT}}}, (3, 1))):
            office.file.write_text(yaml.safe_dump_all(office.documents(line, **parts)))
            asked = time.monotonic()
            office.cli("apply", "--yes", office.file)
            time.sleep(max(0.0, asked + 1 - time.monotonic()))
            before = sent()
            time.sleep(0.7)
            after = sent()
            took = after[0] - before[0]
            for at, rate in enumerate(rates, 1):
                got = (after[at] - before[at]) * 8 / took
                assert abs(got - rate * MBIT) <= 0.15 * rate * MBIT, (at, rate, got)
    finally:
        load.join(100)
    assert len(found) == 2 and all(found) and [office.pid(name) for name in QUARTERS] == pids


def test_every_drift_is_named_and_repaired(office: Office) -> None:
    office.apply(BOTH, **QUARTERS)
    pids = [office.pid(name) for name in QUARTERS]
    for script, named in (
            ("tc class change dev {out} parent 7273:ffff classid 7273:1 htb rate 2mbit ceil 8mbit burst 3028 "
             "cburst 10000 prio 3", {"interfaces[0].qos.egress.turn": "quarter"}),
            ("tc class change dev {out} parent 7273: classid 7273:ffff htb rate 9mbit burst 10000 cburst 10000",
             {"qos.egress.rate": NET}),
            ("tc class change dev {out} parent 7273:ffff classid 7273:fffe htb rate 4mbit ceil 8mbit prio 7",
             {"qos.egress.rest": NET}),
            ("tc class del dev {out} classid 7273:2", {"interfaces[0].qos.egress.rate": "most"}),
            ("tc qdisc del dev {out} parent 7273:1", {"interfaces[0].qos.egress.queue": "quarter"}),
            ("tc filter del dev {out} pref 1", {"qos.egress.rate": NET}),
            ("ip link set {out} down", {"qos.egress.rate": NET, "interfaces[0].qos.egress.line": "most"}),
            ("ip link del {out}", {"qos.egress.rate": NET, "interfaces[0].qos.egress.line": "most"}),
            ("tc filter del dev quarter.eth0 ingress pref 1", {"interfaces[0].qos.egress.line": "quarter"}),
            ("tc filter del dev quarter.eth0 ingress pref 2", {"interfaces[0].qos.egress.line": "quarter"}),
            ("tc qdisc del dev quarter.eth0 clsact", {"interfaces[0].qos.egress.line": "quarter",
                                                      "interfaces[0].qos.ingress.line": "quarter"})):
        done = office.netns.run("sh", "-ec", script.format(out=office.end_of("egress")))
        assert done.returncode == 0, (script, done.stderr)
        found = office.differs()
        assert {path: found.get(path) for path in named} == {path: (who, "drifted") for path, who in named.items()}, (
            script, found)
        office.cli("apply", "--yes", office.file)
        assert office.cli("diff", office.file).stdout == "", script
    assert [office.pid(name) for name in QUARTERS] == pids
    office.holds({"quarter": WHOLE / 4, "most": 3 * WHOLE / 4}, True)


def test_more_than_there_is_is_refused(office: Office) -> None:
    """Before any step, wherever the others stand: in the same file, or applied already."""
    office.apply(BOTH, **QUARTERS)
    office.cli("destroy", "--yes", "none", status=None)
    said = office.apply(BOTH, status=2, **QUARTERS, none={"egress": {"rate": "8kbit"}})
    lines = office.file.read_text().splitlines()
    at = next(f"{number}:{line.index('8kbit') + 1}" for number, line in enumerate(lines, 1) if "8kbit" in line)
    assert said.startswith(f"{office.file}:{at}: interfaces[0].qos.egress.rate: 8.008mbit of egress are guaranteed "
                           f"on {NET}\n  why: {NET} ({office.file}:")
    assert said.endswith(" 8kbit; its line carries 8mbit, and what is guaranteed must be there, tc-htb(8)\n  fix: "
                         f"lower a rate, or raise qos.egress.rate of {NET}\n")
    office.file.write_text(yaml.safe_dump(office.documents(BOTH, none={"egress": {"rate": "8kbit"}})[1]))
    said = office.cli("apply", office.file, status=2).stderr
    assert f"{NET} (applied) 8mbit, most (applied) 6mbit, quarter (applied) 2mbit, none ({office.file}:" in said
    assert office.cli("state", "none", status=None).returncode != 0
    office.apply(BOTH, **QUARTERS)


def test_a_line_comes_and_goes_with_all_who_share_it(office: Office) -> None:
    """From limits of their own to parts of a line, and back; nobody is left beside it."""
    office.apply(None, **QUARTERS, none={})
    pids = {name: office.pid(name) for name in NAMES}
    own = set(office.ifbs())
    assert len(own) == 2
    said = office.apply(BOTH, status=2, quarter=QUARTERS["quarter"])
    assert ("qos.egress: most, none would not come to this line\n  why: who shares it goes through it, and is not "
            "given here\n  fix: give all containers of the network at once\n") in said
    office.apply(BOTH, **QUARTERS, none={})
    assert len(office.ifbs()) == 2 and not own & set(office.ifbs())
    office.apply({"ingress": {"rate": WHOLE}}, **QUARTERS, none={})
    assert len(office.ifbs()) == 3
    office.holds({"quarter": WHOLE}, True)
    office.apply(None, **QUARTERS, none={})
    assert set(office.ifbs()) == own and {name: office.pid(name) for name in NAMES} == pids


def test_another_network(office: Office) -> None:
    """A port that moves leaves its part behind, and has one, or none, where it comes."""
    office.apply(BOTH, **QUARTERS, none={})
    pid, text = office.pid("most"), office.file.read_text()
    for line in (None, {"egress": {"rate": "30mbit"}}):
        other = {"apiVersion": "runspec/v1", "kind": "Network", "name": "share2", "type": "bridge",
                 **({"qos": line} if line else {})}
        documents = list(yaml.safe_load_all(text))
        documents[2]["interfaces"][0]["network"] = "share2"
        office.file.write_text(yaml.safe_dump_all([other, *documents]))
        office.cli("apply", "--yes", office.file)
        assert office.cli("diff", office.file).stdout == ""
        led = [part for part in office.netns.run("tc", "filter", "show", "dev", "most.eth0", "ingress").stdout.split()
               if part.startswith(("rl", "ri"))]
        assert len(led) == 1 and led[0].rstrip(")").startswith("rl" if line else "ri")
        assert "rate 6Mbit" in office.netns.run("sh", "-c", f"tc class show dev {office.end_of('egress')} | grep fffe"
                                                ).stdout
    office.file.write_text(text)
    office.cli("apply", "--yes", office.file)
    assert office.cli("diff", office.file).stdout == "" and office.pid("most") == pid
    assert "rate 6Mbit" in office.netns.run("tc", "class", "show", "dev", office.end_of("egress")).stdout
    office.cli("destroy", "--yes", "share2")


def test_who_dies_leaves_his_part(office: Office) -> None:
    """To the rest, once somebody looks after the network again; a new init has one of its own."""
    office.apply(BOTH, **QUARTERS, none={})

    def classes() -> set[str]:
        return {line.split()[2] for name in office.ifbs() for line in office.netns.run(
            "tc", "class", "show", "dev", name).stdout.splitlines() if line.startswith("class htb")}

    before = classes()
    os.kill(office.pid("most"), 9)
    end = time.monotonic() + 20
    while "most.eth0" in office.netns.run("ip", "link").stdout and time.monotonic() < end:
        time.sleep(0.02)
    office.apply(BOTH, **QUARTERS, none={})
    assert len(classes()) == len(before)
    office.cli("destroy", "--yes", "most")
    assert len(classes()) == len(before) - 1
    [line] = [line for line in office.netns.run("tc", "class", "show", "dev", office.ifbs()[0]).stdout.splitlines()
              if "7273:fffe" in line]
    assert "rate 6Mbit" in line


SPEC = """\
apiVersion: runspec/v1
kind: Network
name: share1
type: bridge
qos: {egress: {rate: 10mbit}, ingress: {rate: 20mbit}}
---
apiVersion: runspec/v1
name: sharer
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]}
interfaces:
  - {name: eth0, type: veth, network: share1,
     qos: {egress: {rate: 2mbit, dscp: ef}, ingress: {rate: 3mbit, ceil: 9mbit}}}
  - {name: eth1, type: veth, network: share1}
"""
CASES: dict[str, test_kill.Case] = {
    "apply": ((), False, ("apply", "--yes")),
    "in-place": ((("{rate: 10mbit}", "{rate: 12mbit}"), ("rate: 2mbit", "rate: 4mbit"), ("ceil: 9mbit", "priority: 3")),
                 True, ("apply", "--yes")),
    "anew": ((("ingress: {rate: 20mbit}", "ingress: {rate: 30mbit, burst: 32Ki}"), ("name: eth1", "name: net1")), True,
             ("apply", "--yes")),
    "none": ((("qos: {egress: {rate: 10mbit}, ingress: {rate: 20mbit}}", "mtu: 1400"),), True, ("apply", "--yes")),
    "destroy": ((), True, ("destroy", "--yes"))}


@pytest.mark.parametrize("case", CASES)
def test_kill_at_every_act(cli: Cli, tmp_path: Path, case: str) -> None:
    """All of them with RUNSPEC_FULL=1, else a sample drawn from RUNSPEC_SEED."""
    sweep = test_kill.Sweep(cli, tmp_path, SPEC, ("sharer",), CASES)
    assert test_kill.at_every_act(sweep, case, sweep.end, 1 if test_kill.FULL else 40 if IN_VM else 16) > 10
