"""Edits of a file while its container does not run, and what of a diff follows from an edit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, requires

SPEC = """\
apiVersion: runspec/v1
name: c1
hostname: one
root: {image: busybox}
process:
  args: [sleep, "100000"]
  rlimits: [{type: RLIMIT_NOFILE, soft: 512, hard: 1024}]
mounts:
  - {destination: /first, type: tmpfs, source: first, options: [size=1m]}
  - {destination: /scratch, type: tmpfs, source: scratch, options: [size=1m]}
linux: {resources: {pids: {limit: 64}}}
interfaces: []
"""
FIRST = "  - {destination: /first, type: tmpfs, source: first, options: [size=1m]}\n"
STARTS = {"": ("stopped", "running", "drifted", "restart")}
needs = requires("root", "busybox")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes the file, with texts of it replaced by others."""
    file = tmp_path / "c1.yaml"

    def one(*pairs: tuple[str, str]) -> Path:
        text = SPEC
        for before, after in pairs:
            assert before in text
            text = text.replace(before, after)
        file.write_text(text)
        return file
    return one


def differs(cli: Cli, file: Path) -> dict[str, tuple[Any, Any, str, str]]:
    """Path -> (before, after, cause, class)."""
    told = json.loads(cli("diff", "-o", "json", file, status=1).stdout)["changes"]
    return {one["path"]: (one["before"], one["after"], one["cause"], one["class"]) for one in told}


def pid_of(cli: Cli) -> int:
    return int(json.loads(cli("state", "c1").stdout)["pid"])


def options(pid: int, place: str) -> list[str]:
    """Options of the file system that is mounted at a place inside; none where nothing is."""
    lines = (line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    return next((words[-1].split(",") for words in lines if words[4] == place), [])


@needs
@pytest.mark.both
def test_edits_of_what_has_ended(cli: Cli, write: Callable[..., Path]) -> None:
    """They are told as of one that runs, and done at the next start; that takes no yes, since it ends nothing."""
    cli("apply", write())
    cli("stop", "-t", "0", "c1")
    assert differs(cli, write()) == STARTS
    file = write(("hostname: one", "hostname: two"), ("100000", "200000"), ("soft: 512", "soft: 600"), (FIRST, ""),
                 ("scratch, options: [size=1m]", "scratch, options: [size=2m]"), ("limit: 64", "limit: 65"))
    found = differs(cli, file)
    size, soft = (next(path for path in found if path.endswith(end)) for end in (".options.size", ".soft"))
    assert found == {
        **STARTS, "hostname": ("one", "two", "edited", "inPlace"),
        size: (1 << 20, 2 << 20, "edited", "inPlace"), soft: (512, 600, "edited", "inPlace"),
        "mounts[/first]": ("/first", None, "edited", "inPlace"),
        "process.args": (["sleep", "100000"], ["sleep", "200000"], "edited", "restart"),
        "linux.resources.pids.limit": (64, 65, "edited", "inPlace")}
    told = json.loads(cli("apply", "-o", "json", file).stdout)
    assert told["done"] == {"c1": "started"} and {one["path"] for one in told["changes"]} == set(found)
    pid = pid_of(cli)
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00200000\x00"
    assert "size=2048k" in options(pid, "/scratch") and not options(pid, "/first")
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")) == "600"
    assert cli("exec", "c1", "hostname").stdout == "two\n"
    assert cli("diff", file).stdout == "" and cli("apply", file).stdout == "up to date: nothing to do\n"
    assert pid_of(cli) == pid


@needs
@pytest.mark.both
def test_what_is_made_anew_asks(cli: Cli, write: Callable[..., Path], tmp_path: Path) -> None:
    """Another root takes a yes, whether the container runs or has ended; also of a plan that was kept."""
    cli("apply", write())
    file = write(("image: busybox", "image: host"), ("hostname: one", "hostname: two"))
    running = differs(cli, file)
    assert {cause for _, _, cause, _ in running.values()} == {"edited"}
    cli("stop", "-t", "0", "c1")
    assert differs(cli, file) == {**STARTS, **running}
    kept = tmp_path / "plan.json"
    cli("plan", "--out", kept, file)
    for one in (file, kept):
        said = cli("apply", one, status=2).stderr
        assert "c1: root.image: busybox -> host  edited, recreate\n" in said and "hostname" not in said
        assert json.loads(cli("state", "c1").stdout)["status"] == "stopped"
    assert differs(cli, file) == {**STARTS, **running}
    assert cli("apply", "--yes", kept).stdout.startswith("c1: recreated\n")
    pid = pid_of(cli)
    assert Path(f"/proc/{pid}/root/usr/lib/os-release").read_bytes() == Path("/usr/lib/os-release").read_bytes()
    assert cli("apply", file).stdout == "up to date: nothing to do\n" and pid_of(cli) == pid
    # What the other root had mounted goes with it, and nobody touched it.
    assert {cause for _, _, cause, _ in differs(cli, write()).values()} == {"edited"}


@needs
@pytest.mark.both
def test_one_spelling(cli: Cli, write: Callable[..., Path], tmp_path: Path) -> None:
    """What asks, what plans and what tells afterwards count the elements of lists as the file does, defaults apart."""
    cli("apply", write())
    again = ("type: tmpfs, source: scratch, options: [size=1m]", f"source: {tmp_path}, options: [bind]")
    file = write(again, ("soft: 512", "soft: 600"), ("limit: 64", "limit: 65"), ("100000", "200000"))
    diff = [line.partition(": c1: ")[2] for line in cli("diff", file, status=1).stdout.splitlines()]
    assert any(line.startswith("mounts[1].source: ") for line in diff)
    assert "process.rlimits[0].soft: 512 -> 600  edited, in place" in diff
    plan = cli("plan", file).stdout
    assert plan.startswith("".join(f"c1: {line}\n" for line in diff))
    assert " mount proc at /proc " in plan and " mounts[0] (default)\n" in plan and " mounts[1]\n" in plan
    asked = cli("apply", file, status=2).stderr
    assert asked.splitlines()[1:-2] == [f"c1: {line}" for line in diff if not line.endswith("in place")]
    assert cli("apply", "--yes", file).stdout == "c1: restarted\n" + "".join(f"  {line}\n" for line in diff)


def documents(*models: dict[str, Any]) -> str:
    return "\n---\n".join(map(json.dumps, models))


def changed(model: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {**model, **keys}


LAN = {"apiVersion": "runspec/v1", "kind": "Network", "name": "lan1", "addresses": ["10.78.0.1/24"]}
LINK = {"name": "eth0", "type": "veth", "network": "lan1", "addresses": ["10.78.0.11/24"]}
BOX = {"apiVersion": "runspec/v1", "name": "c1", "root": {"image": "busybox"}, "interfaces": [LINK],
       "process": {"args": ["sleep", "100000"]}}
PORT = changed(BOX, ports=["8080:80"])
HELD = changed(BOX, interfaces=[changed(LINK, qos={"egress": {"rate": "5mbit"}})])
LINE = changed(LAN, qos={"egress": {"rate": "10mbit"}})


@pytest.mark.parametrize(("before", "after", "drifts"), [
    ([BOX, LAN], [PORT, LAN], "first"),
    ([PORT, LAN], [changed(BOX, ports=["8080:80", "0.0.0.0:8081:81"]), LAN], "another"),
    ([PORT, LAN], [changed(PORT, interfaces=[changed(LINK, addresses=["10.78.0.12/24"])]), LAN], "elsewhere"),
    ([BOX, changed(LAN, nat=True)], [BOX, changed(LAN, nat=True, addresses=["10.78.0.1/24", "fd78::1/64"])], "nat")],
    ids=lambda one: one if isinstance(one, str) else "")
@requires("root", "busybox", "bridge", "veth", "ip", "nft")
@pytest.mark.both
def test_a_firewall_that_an_edit_needs(cli: Cli, tmp_path: Path, before: list[Any], after: list[Any],
                                       drifts: str) -> None:
    """What is not there yet was not taken away by anybody; what was taken away is told beside it."""
    file = tmp_path / "all.yaml"
    file.write_text(documents(*before))
    cli("apply", file)
    file.write_text(documents(*after))
    assert {cause for _, _, cause, _ in differs(cli, file).values()} == {"edited"}
    if drifts != "first":
        cli.netns.run("nft", "delete", "table", "inet", "runspec")
        found = differs(cli, file)
        assert found["nat" if drifts == "nat" else "ports"][2] == "drifted"
    cli("apply", file)
    assert cli("diff", file).stdout == ""


@pytest.mark.parametrize(("before", "after"), [
    ([HELD, LAN], [HELD, LINE]), ([HELD, LINE], [HELD, LAN]),
    ([HELD, LINE], [changed(BOX, interfaces=[changed(LINK, qos={"egress": {"rate": "5mbit", "priority": 2}})]), LINE])],
    ids=["on a line", "alone", "its turn"])
@requires("root", "busybox", "bridge", "veth", "ifb", "ip")
@pytest.mark.both
def test_a_limit_that_follows(cli: Cli, tmp_path: Path, before: list[Any], after: list[Any]) -> None:
    """Where a limit is held, and whose turn it is, changes with the network and with the priority."""
    file = tmp_path / "all.yaml"
    file.write_text(documents(*before))
    cli("apply", file)
    file.write_text(documents(*after))
    assert {cause for _, _, cause, _ in differs(cli, file).values()} == {"edited"}
    cli("apply", file)
    assert cli("diff", file).stdout == ""


@requires("root", "busybox", "nsenter")
@pytest.mark.both
def test_mounts_that_came_along(cli: Cli, write: Callable[..., Path], tmp_path: Path) -> None:
    """What lay below a directory that was taken with all its mounts goes with it; what somebody mounted is drift."""
    where = tmp_path / "tree"
    (where / "sub").mkdir(parents=True)
    cli.netns.run("mount", "-t", "tmpfs", "sub", str(where / "sub"))
    taken = f"  - {{destination: /first, source: {where}, options: [rbind]}}\n"
    cli("apply", write((FIRST, taken)))
    pid = pid_of(cli)
    assert options(pid, "/first/sub")
    assert {path: cause for path, (_, _, cause, _) in differs(cli, write((FIRST, ""))).items()} == {
        "mounts": "edited", "mounts[/first]": "edited"}
    cli.netns.run("nsenter", "-t", str(pid), "-m", "mount", "-t", "tmpfs", "x", "/tmp")
    assert differs(cli, write((FIRST, "")))["mounts"] == (["/first/sub", "/tmp"], [], "drifted", "inPlace")
    cli("apply", write((FIRST, "")))
    assert pid_of(cli) == pid and not any(options(pid, place) for place in ("/first", "/first/sub", "/tmp"))
    cli.netns.run("umount", str(where / "sub"))
