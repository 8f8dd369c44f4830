"""The scene: two containers on one core, 25 to 75, from files to a running picture."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CHECKOUT, Cli, assert_nothing_leaked, requires
from kernels import IN_VM, cgroup_mounts
from machine import Picture

FOO1, FOO2 = CHECKOUT / "specs/foo1.yaml", CHECKOUT / "specs/foo2.yaml"
# Emulated, ten seconds of two busy loops tell no more than four.
SPAN = 4 if IN_VM else 10
needs = requires("root", "busybox", "bridge", "veth", "ip", "nsenter", "ping")


def cpu_time(name: str) -> float:
    """Seconds of CPU that a container's group has used, of cpuacct.usage or cpu.stat."""
    for kind, where, options in cgroup_mounts():
        if kind == "cgroup" and "cpuacct" in options.split(","):
            return int(Path(where, "runspec", name, "cpuacct.usage").read_text()) / 1e9
    for kind, where, _ in cgroup_mounts():
        if kind == "cgroup2":
            words = Path(where, "runspec", name, "cpu.stat").read_text().split()
            return int(words[words.index("usage_usec") + 1]) / 1e6
    raise AssertionError("no control group tells CPU time")


def state(cli: Cli, name: str) -> tuple[int, str]:
    """Pid and start time of init."""
    pid = int(json.loads(cli("state", name).stdout)["pid"])
    return pid, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def burn(cli: Cli, *names: str, span: float = SPAN) -> dict[str, float]:
    """CPU seconds each container gets while all of them spin for `span` seconds."""
    # The loops outlive the measured time, and end by themselves.
    loops = [cli.popen("exec", name, "timeout", "-s", "KILL", str(int(span) + (30 if IN_VM else 3)),
                       "sh", "-c", "while :; do :; done") for name in names]
    time.sleep(10 if IN_VM else 1.5)
    first, began = {name: cpu_time(name) for name in names}, time.monotonic()
    time.sleep(span)
    used = {name: (cpu_time(name) - first[name]) / (time.monotonic() - began) for name in names}
    for loop in loops:
        assert loop.wait() in (137, 143), loop.communicate()
    return used


def ways(folder: Path) -> list[tuple[list[str], dict[str, str]]]:
    """Every way to hand the two files over: words after the verb, and standard input."""
    one, two = FOO1.read_text(), FOO2.read_text()
    (folder / "both").mkdir()
    (folder / "both/foo1.yaml").write_text(one)
    (folder / "both/foo2.yaml").write_text(two)
    (folder / "one.yaml").write_text(f"{two}---\n{one}")
    return [([str(FOO1), str(FOO2)], {}), ([str(FOO2), str(FOO1)], {}), ([str(folder / "both")], {}),
            ([str(folder / "one.yaml")], {}), (["-"], {"input": f"{one}---\n{two}"})]


@needs
@pytest.mark.both
def test_any_order(cli: Cli, tmp_path: Path, picture: Callable[[], Picture]) -> None:
    """Files in any order, a folder, one file, standard input: one graph, the same containers."""
    cli("apply", FOO1)
    cli("destroy", "--yes", FOO1)      # the image stays
    before = picture()
    plans = set()
    for words, options in ways(tmp_path):
        steps = json.loads(cli("plan", "-o", "json", *words, **options).stdout)["steps"]
        plans.add(frozenset(json.dumps(one, sort_keys=True) for one in steps))
        cli("apply", *words, **options)
        assert cli("list", "-q").stdout.split() == ["foo1", "foo2"]
        assert cli("apply", *words, **options).stdout.endswith("nothing to do\n")
        assert cli("diff", *words, **options).stdout == ""
        cli("destroy", "--yes", *words, **options)
        assert_nothing_leaked(before, picture)
    assert len(plans) == 1


@needs
@pytest.mark.both
def test_one_after_the_other(cli: Cli, picture: Callable[[], Picture]) -> None:
    """Each file works alone; the network stays until its last user is gone."""
    cli("apply", FOO2)
    cli("destroy", "--yes", FOO2)
    before = picture()
    cli("apply", FOO1)
    cli("apply", FOO2)
    done = cli("destroy", "--yes", FOO1)
    assert "lan0" in done.stdout, done.stdout
    assert cli.netns.run("ip", "link", "show", "lan0").returncode == 0
    cli("exec", "foo2", "/bin/ping", "-c", "1", "-W", "2", "10.77.0.1")
    cli("destroy", "--yes", "foo2", FOO2)
    assert_nothing_leaked(before, picture)


PICTURE = re.compile(r"""
\A(?P<host>[^\n]+)\(1\)─┬─runspec:foo1───init\((\d+)\)\(1\)─┬─(sh|syslogd)\((\d+)\)\((\d+)\)
\s+25%\ of\ core\ 0\s+root\ (\S+)\s+eth0\ veth\ on\ lan0\n
\s+│\s+└─(sh|syslogd)\((\d+)\)\((\d+)\)\n
\s+└─runspec:foo2───init\((\d+)\)\(1\)─┬─(sh|syslogd)\((\d+)\)\((\d+)\)
\s+75%\ of\ core\ 0\s+root\ (\S+)\s+eth0\ veth\ on\ lan0\n
\s+└─(sh|syslogd)\((\d+)\)\((\d+)\)\n\Z""", re.VERBOSE)


@needs
@pytest.mark.both
def test_picture(cli: Cli) -> None:
    """`tree` draws both borders with pids outside and inside, shares and roots, all of them the kernel's."""
    cli("apply", FOO1, FOO2)
    deadline = time.monotonic() + 60
    while (found := PICTURE.match(cli("tree").stdout)) is None and time.monotonic() < deadline:
        time.sleep(0.1)     # init has yet to start its two children
    assert found, cli("tree").stdout
    assert found["host"] == Path("/proc/1/comm").read_text().strip()
    pids = [int(found[2]), int(found[4]), int(found[10]), int(found[12])]
    assert [pids[0], pids[2]] == [state(cli, "foo1")[0], state(cli, "foo2")[0]]
    for outside, inside in ((found[2], "1"), (found[4], found[5]), (found[8], found[9]), (found[10], "1"),
                            (found[12], found[13])):
        line = next(one for one in Path(f"/proc/{outside}/status").read_text().splitlines() if "NSpid" in one)
        assert line.split()[1:][-2:] == [outside, inside]
    assert {found[3], found[7]} == {"sh", "syslogd"} == {found[11], found[15]}
    one = json.loads(cli("tree", "-o", "json").stdout)
    assert "foo1" in json.dumps(one) and "foo2" in json.dumps(one)


@needs
@pytest.mark.both
def test_share(cli: Cli, tmp_path: Path) -> None:
    """Busy loops share core 0 as 1 to 3 within 2 points; an edit changes that while they run."""
    cli("apply", FOO1, FOO2)
    pids = [state(cli, name) for name in ("foo1", "foo2")]
    used = burn(cli, "foo1", "foo2")
    assert 100 * used["foo1"] / sum(used.values()) == pytest.approx(25, abs=2), used

    edited = tmp_path / "foo1.yaml"
    edited.write_text(FOO1.read_text().replace("weight: 25", "weight: 75"))
    done = cli("diff", edited, status=1)
    line = next(one for one in done.stdout.splitlines() if "linux.resources.cpu.weight" in one)
    assert re.search(r"\b25\b.*\b75\b", line) and "in place" in line and "edited" in line, done.stdout
    plan = json.loads(cli("plan", "-o", "json", edited).stdout)
    assert len([one for one in plan["steps"] if "cpu" in json.dumps(one)]) == 1, plan
    cli("apply", edited)
    assert [state(cli, name) for name in ("foo1", "foo2")] == pids
    assert "nothing to do" in cli("apply", edited).stdout
    used = burn(cli, "foo1", "foo2", span=SPAN / 2)
    assert 100 * used["foo1"] / sum(used.values()) == pytest.approx(50, abs=3), used
    assert "50% of core 0" in cli("tree").stdout


@needs
@pytest.mark.both
def test_quota(cli: Cli, tmp_path: Path) -> None:
    """A quota holds beside an idle neighbour too."""
    edited = tmp_path / "foo1.yaml"
    edited.write_text(FOO1.read_text().replace("weight: 25}", "weight: 25, quota: 25%}"))
    cli("apply", edited, FOO2)
    used = burn(cli, "foo1", span=SPAN / 2)
    assert 20 < 100 * used["foo1"] < 26, used


@needs
@pytest.mark.both
def test_they_reach_each_other(cli: Cli) -> None:
    """Over IPv4 and IPv6, by the addresses of the files."""
    cli("apply", FOO1, FOO2)
    for name, there in (("foo1", "10.77.0.12"), ("foo2", "10.77.0.11"), ("foo1", "fd77::12"), ("foo2", "fd77::11")):
        # The first packet may meet an address whose uniqueness is still being checked (RFC 4862).
        done = cli("exec", name, "/bin/ping", "-c", "1", "-w", "10", there)
        assert "1 packets received" in done.stdout, done.stdout
    assert subprocess.run(["ip", "link", "show", "lan0"], capture_output=True, check=False).returncode != 0


@needs
@pytest.mark.parametrize(("bridge", "port"), [(1400, 1500), (1500, 1400), (9000, 1500)])
def test_a_bridge_keeps_its_mtu(cli: Cli, tmp_path: Path, bridge: int, port: int) -> None:
    """Whatever its ports have: the kernel would follow the smallest."""
    file = tmp_path / "mtu.yaml"
    file.write_text(f"apiVersion: runspec/v1\nkind: Network\nname: mtu0\ntype: bridge\nmtu: {bridge}\n---\n"
                    "apiVersion: runspec/v1\nname: mtu\nroot: {image: busybox}\nprocess: {args: [/bin/sleep, '1000']}\n"
                    f"interfaces: [{{name: eth0, type: veth, network: mtu0, mtu: {port}}}]\n")
    cli("apply", file)
    [link] = json.loads(cli.netns.run("ip", "-j", "link", "show", "mtu0").stdout)
    assert link["mtu"] == bridge
    assert cli("diff", file).stdout == ""
