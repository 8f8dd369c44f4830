"""An interrupted run that cannot be undone keeps its own names, and nobody else's; it is told, and tried again."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, assert_nothing_leaked, requires
from machine import Picture

pytestmark = requires("root", "busybox", "bridge", "veth")
LAN = """\
apiVersion: runspec/v1
kind: Network
name: {0}
type: bridge
addresses: [{1}/24]
---
"""
BOX = """\
apiVersion: runspec/v1
name: {0}
root: {{image: busybox}}
process: {{args: [/bin/sleep, "100000"]}}
"""
ON = "interfaces: [{{name: eth0, type: veth, network: {0}, addresses: [{1}/24]}}]\n"


def room(cli: Cli) -> Path:
    return Path(f"/proc/{cli.netns.pid}/root{cli.root}")


def interrupt(cli: Cli, trace: Path, file: Path, name: str) -> None:
    """Kill the apply of a file where its last Record is written, and put something in the way of taking that back."""
    killed_at_rename(cli, trace, file, -1, 1)
    (room(cli) / "containers" / name / "kept").mkdir()


def killed_at_rename(cli: Cli, trace: Path, file: Path, which: int, after: int) -> None:
    """Kill the apply of a file so many acts after one of those by which it puts a file of its state into its place."""
    cli("apply", file)          # unpacks the image, once
    cli("destroy", "--yes", file)
    cli("apply", file, env={"RUNSPEC_FAULT": f"trace@{trace}"})
    cli("destroy", "--yes", file)
    saved = [at for at, act in enumerate(trace.read_text().splitlines(), 1) if act == "rename"]
    cli("apply", file, env={"RUNSPEC_FAULT": f"kill@{saved[which] + after}"}, status=-signal.SIGKILL)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def one(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name
    return one


def test_a_stuck_run_keeps_its_own_names(cli: Cli, tmp_path: Path, write: Callable[[str, str], Path],
                                         picture: Callable[[], Picture]) -> None:
    """Others go on, and are told; who shares its network waits; once the way is free, the next verb undoes it."""
    before = picture()
    lan0, one = LAN.format("lan0", "10.77.0.1"), BOX.format("one") + ON.format("lan0", "10.77.0.11")
    stuck, alone = write("stuck.yaml", lan0 + one), write("alone.yaml", BOX.format("alone"))
    interrupt(cli, tmp_path / "trace", stuck, "one")
    told = cli("list").stderr
    assert told.startswith("runspec: a run was interrupted at container one and network lan0\n")
    assert "fix: `runspec apply` or `runspec destroy`, of anything, takes that back first" in told

    other = write("other.yaml", LAN.format("lan1", "10.78.0.1") + BOX.format("two") + ON.format("lan1", "10.78.0.11"))
    said = cli("apply", other).stdout
    what = "an interrupted run at container one and network lan0 could not be undone"
    assert f"warning: {what}: " in said and "each verb tries again" in said
    assert json.loads(cli("apply", "-o", "json", alone).stdout)["quiet"][-1].startswith(f"warning: {what}")
    assert cli("diff", other).stdout == ""
    # Whoever looks is told the same; nobody is told it twice.
    [why] = [line for line in cli("list").stderr.splitlines() if "why:" in line]
    assert "kept" in why
    for verb in (("diff", other), ("plan", other), ("list",)):
        assert cli(*verb).stderr.count(what) == 1
    assert f"warning: {what}" in cli("doctor", status=None).stdout
    assert f"warning: {what}" in cli("doctor", other, status=None).stdout
    assert json.loads(cli("doctor", "-o", "json", status=None).stdout)["warnings"] != []
    cli("plan", "--out", tmp_path / "plan", other)

    sibling = write("sibling.yaml", BOX.format("three") + ON.format("lan0", "10.77.0.12"))
    for words in (("apply", stuck), ("apply", "--yes", sibling), ("destroy", "--yes", "one")):
        said = cli(*words, status=2).stderr
        assert what in said and "fix: remove what is in its way" in said, said
    for words in (("stop", "two"), ("apply", "--yes", other), ("destroy", "--yes", "two", "lan1"),
                  ("delete", "-f", "no")):
        cli(*words)
    cli("apply", other)
    cli("create", "x", status=1)

    (room(cli) / "containers/one/kept").rmdir()
    assert what not in cli("apply", alone).stdout
    assert cli("list").stderr == "" and not list((room(cli) / "journals").iterdir())
    cli("apply", stuck)
    assert cli("diff", stuck).stdout == ""
    cli("destroy", "--yes", "one", "two", "alone", "lan0", "lan1")
    assert_nothing_leaked(before, picture)


def test_the_journal_taken_away_by_hand(cli: Cli, tmp_path: Path, write: Callable[[str, str], Path],
                                        picture: Callable[[], Picture]) -> None:
    """The remedy that the note gives: end it with force, then remove the file; nothing stays of either."""
    before = picture()
    stuck, alone = write("stuck.yaml", BOX.format("one")), write("alone.yaml", BOX.format("alone"))
    interrupt(cli, tmp_path / "trace", stuck, "one")
    cli("apply", alone)
    assert "could not be undone" in cli("delete", "one", status=1).stderr
    (room(cli) / "containers/one/kept").rmdir()
    (room(cli) / "containers/one/kept").touch()
    [journal] = (room(cli) / "journals").glob("*.jsonl")
    journal.unlink()
    cli("delete", "--force", "one")
    assert "could not be undone" not in cli("apply", alone).stdout
    cli("destroy", "--yes", "alone")
    assert_nothing_leaked(before, picture)


def test_what_is_scarce_stays_claimed(cli: Cli, tmp_path: Path, write: Callable[[str, str], Path]) -> None:
    """The port that a stuck run was to publish is nobody else's until it is undone, where no Record tells of it."""
    ports = 'ports: ["8080:80"]\n'
    stuck = write("stuck.yaml", LAN.format("lan0", "10.77.0.1") + BOX.format("one") + ON.format("lan0", "10.77.0.11")
                  + ports)
    group = "/sys/fs/cgroup/pids/runspec/one" if Path("/sys/fs/cgroup/pids").exists() else "/sys/fs/cgroup/runspec/one"
    killed_at_rename(cli, tmp_path / "trace", stuck, -2, 0)         # that of its Record: the last one is the firewall's
    assert not (room(cli) / "containers/one/record.json").exists()
    cli.netns.run("mount", "--bind", group, group)
    two = write("two.yaml", LAN.format("lan1", "10.78.0.1") + BOX.format("two") + ON.format("lan1", "10.78.0.11")
                + ports)
    try:
        assert "ports[0]: 127.0.0.1:8080/tcp" in cli("apply", two, status=2).stderr
    finally:
        cli.netns.run("umount", group)
    cli("apply", two)
    assert cli("diff", two).stdout == ""
