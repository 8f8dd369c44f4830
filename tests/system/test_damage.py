"""State files that are damaged or of a newer version: named as such, never taken for missing, nothing touched."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, requires

pytestmark = requires("root", "busybox", "bridge", "nsenter")
SPEC = """\
apiVersion: runspec/v1
kind: Network
name: damage0
type: bridge
---
apiVersion: runspec/v1
name: damaged
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]}
"""


def changed(**more: Any) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), **more}).encode()


def without(key: str) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({name: value for name, value in json.loads(data).items() if name != key}).encode()


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut at 0": (lambda data: b"", "damaged"), "cut at 1": (lambda data: data[:1], "damaged"),
    "cut at half": (lambda data: data[:len(data) // 2], "damaged"), "cut at n-1": (lambda data: data[:-2], "damaged"),
    "zero-filled": (lambda data: bytes(len(data)), "damaged"),
    "zeros at the end": (lambda data: data[:-20] + bytes(20), "damaged"),
    "one byte changed": (lambda data: data.replace(b'"pid":', b'"pid;', 1), "damaged"),
    "no UTF-8": (lambda data: data.replace(b'"kind"', b'"\xff"', 1), "damaged"),
    "twice": (lambda data: data + data, "damaged"), "a list": (lambda data: b"[]", "damaged"),
    "nested deep": (lambda data: b"[" * 100000, "damaged"), "a newer version": (changed(version=2), "is of version 2"),
    "a newer version with other keys": (lambda data: b'{"version": 7, "all": "else"}', "is of version 7"),
    "no version": (without("version"), "damaged"), "version as text": (changed(version="1"), "damaged"),
    "no pid": (without("pid"), "damaged"), "a negative pid": (changed(pid=-1), "damaged"),
    "pid as text": (changed(pid="1"), "damaged"), "no spec": (without("spec"), "damaged"),
    "another's": (changed(name="somebody"), "damaged"), "another kind": (changed(kind="volume"), "damaged"),
    "an unknown key": (changed(more=1), "damaged")}


@pytest.fixture
def applied(cli: Cli, tmp_path: Path) -> Path:
    """The file of a container and a network that are there."""
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC)
    cli("apply", file)
    return file


def room(cli: Cli) -> Path:
    return Path(f"/proc/{cli.netns.pid}/root{cli.root}")


def test_records(cli: Cli, applied: Path) -> None:
    """The container's and the network's: 44 in all; the container runs on, and is whole with its record."""
    pid = json.loads(cli("state", "damaged").stdout)["pid"]
    for kind, name in (("containers", "damaged"), ("networks", "damage0")):
        record = room(cli) / kind / name / "record.json"
        good = record.read_bytes()
        for damage, (spoil, word) in DAMAGES.items():
            record.write_bytes(spoil(good))
            # A command of its own each time: what is loaded already would hide what a fresh one meets.
            verbs = [("diff", applied)] if kind == "networks" else [("state", name), ("diff", applied)]
            for verb in verbs:
                done = cli(*verb, status=1 if verb[0] == "state" else 2)
                assert word in done.stderr, f"{kind} {damage}: {done.stderr}"
                assert "does not exist" not in done.stderr
                assert "internal error" not in done.stderr
        record.write_bytes(good)
    assert json.loads(cli("state", "damaged").stdout)["pid"] == pid
    assert cli("diff", applied).stdout == ""


def test_an_older_record_in_its_place(cli: Cli, applied: Path) -> None:
    """It names a process that is gone, or a stranger: stopped, and nobody is signalled."""
    record = room(cli) / "containers/damaged/record.json"
    older = record.read_bytes()
    applied.write_text(SPEC.replace("100000", "200000"))
    cli("apply", "--yes", applied)
    newer = record.read_bytes()
    pid = json.loads(cli("state", "damaged").stdout)["pid"]
    record.write_bytes(older)
    assert json.loads(cli("state", "damaged").stdout)["status"] == "stopped"
    assert "not running" in cli("kill", "damaged", "KILL", status=1).stderr
    assert Path(f"/proc/{pid}").exists()
    record.write_bytes(newer)
    assert cli("diff", applied).stdout == ""


def test_journals(cli: Cli, applied: Path) -> None:
    """Torn at the end it is undone; damaged elsewhere it stops whoever it names, and `delete --force` still works."""
    cli("destroy", "--yes", applied)
    cli("apply", applied, status=-signal.SIGKILL, env={"RUNSPEC_FAULT": "kill@40"})
    [journal] = (room(cli) / "journals").glob("*.jsonl")
    good = journal.read_bytes()
    spoils: dict[str, Callable[[bytes], bytes]] = {
        "half": lambda data: data[:20] + b"\n" + data[20:], "a list": lambda data: b"[]\n" + data,
        "newer": lambda data: data.replace(b'"version":1', b'"version":2'),
        "zeros": lambda data: bytes(len(data) - 1) + b"\n"}
    for damage, spoil in spoils.items():
        journal.write_bytes(spoil(good))
        # Whom it names is in its head, and in its steps; of what is all zeros nobody can tell, so it stops nobody.
        unknown = damage == "zeros"
        for words in (("apply", applied), ("diff", applied)):
            done = cli(*words, status=None)
            said = done.stdout + done.stderr
            assert done.returncode == (0 if unknown else 2 if words[0] == "apply" else 1)
            assert "damaged" in said or "is of version 2" in said, damage
            assert "internal error" not in said
        if unknown:
            cli("destroy", "--yes", applied)
        cli("delete", "--force", "somebody")
    journal.write_bytes(good[:-1])
    cli("apply", applied)
    assert cli("diff", applied).stdout == ""


def test_force_ends_what_a_damaged_journal_names(cli: Cli, applied: Path) -> None:
    """It stops every other change of that name, and those that look say why; nobody else is stopped."""
    journal = room(cli) / "journals/1-1.jsonl"
    head = {"begin": [["container", "damaged"]], "version": 2, "boot_id": "x", "pid": 1}
    journal.write_text(json.dumps(head) + "\n")
    what = "an interrupted run at container damaged could not be undone"
    for verb in (("apply", applied), ("destroy", "--yes", "damaged")):
        assert what in cli(*verb, status=2).stderr
    said = cli("list").stderr
    assert what in said and "journal 1-1 is of version 2" in said and "use the runspec that wrote it" in said
    assert json.loads(cli("state", "damaged").stdout)["status"] == "running"
    cli("delete", "--force", "damaged")
    assert cli("list", "-q").stdout == ""
    journal.unlink()
    cli("apply", applied)
    assert cli("list").stderr == "" and not list((room(cli) / "journals").iterdir())


def test_others_are_listed_beside_it(cli: Cli, applied: Path, tmp_path: Path) -> None:
    """One damaged record hides no other container."""
    whole = tmp_path / "whole.yaml"
    whole.write_text(SPEC.partition("---\n")[2].replace("damaged", "whole"))
    cli("apply", whole)
    record = room(cli) / "containers/damaged/record.json"
    good = record.read_bytes()
    record.write_bytes(good[:-2])
    listed = cli("list", "-o", "json", status=1)
    assert [(one["id"], one["status"]) for one in json.loads(listed.stdout)] == [
        ("whole", "running"), ("damaged", "damaged")]
    assert "container damaged: its record is damaged" in listed.stderr
    drawn = cli("tree", status=2)
    assert "runspec:whole" in drawn.stdout and "its record is damaged" in drawn.stderr
    record.write_bytes(good)
    assert cli("list", "-q").stdout.split() == ["damaged", "whole"]
