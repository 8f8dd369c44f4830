"""A plan kept in a file: applied as it stands, and only in the state and by the version it was made for."""

from __future__ import annotations

import json
import os
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, assert_nothing_leaked, requires

SPEC = """\
apiVersion: runspec/v1
kind: Network
name: plan0
type: bridge
addresses: [10.83.0.1/24]
---
apiVersion: runspec/v1
name: planned
hostname: one
root: {image: busybox}
process:
  args: [/bin/sleep, "100000"]
mounts:
  - {destination: /data, source: ROOM/data, options: [bind, ro]}
linux:
  resources:
    cpu: {weight: 25}
    pids: {limit: 64}
interfaces:
  - {name: eth0, type: veth, network: plan0, addresses: [10.83.0.11/24]}
"""
needs = requires("root", "busybox", "bridge", "veth", "ip", "nsenter")


class Planned:
    """A file of specs and the plan made of it."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli, self.file, self.plan = cli, folder / "spec.yaml", folder / "plan.json"
        (folder / "data").mkdir()
        self.text = SPEC.replace("ROOM", str(folder))
        self.file.write_text(self.text)

    def edit(self, *edits: tuple[str, str]) -> None:
        text = self.text
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        self.file.write_text(text)

    def make(self) -> str:
        return self.cli("plan", "--out", self.plan, self.file).stdout

    def apply(self, status: int = 0, *words: str) -> subprocess.CompletedProcess[str]:
        return self.cli("apply", *words, self.plan, status=status)

    def pid(self) -> int:
        return int(json.loads(self.cli("state", "planned").stdout)["pid"])

    def close(self) -> None:
        self.cli.sweep()
        self.cli("destroy", "--yes", "plan0", status=None)


@pytest.fixture
def planned(cli: Cli, tmp_path: Path) -> Any:
    one = Planned(cli, tmp_path)
    yield one
    one.close()


@needs
@pytest.mark.both
def test_applied_as_it_stands(planned: Planned) -> None:
    """From nothing, then in place, then with a restart; the file of specs may be gone by then."""
    shown = planned.make()
    assert "spawn init of planned" in shown and planned.cli("list", "-q").stdout == ""
    assert planned.plan.stat().st_mode & 0o777 == 0o600
    data = planned.plan.read_bytes()
    assert json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")) + "\n" == data.decode()
    planned.file.unlink()
    assert planned.apply().stdout == "plan0: created\nplanned: created\n"
    pid = planned.pid()
    # The machine is as its documents say: there is nothing left to do.
    assert planned.apply().stdout == "up to date: nothing to do\n"

    planned.edit(("weight: 25", "weight: 50"), ("hostname: one", "hostname: two"))
    planned.make()
    assert "changed in place" in planned.apply().stdout and planned.pid() == pid
    assert planned.cli("diff", planned.file).stdout == ""

    planned.edit(("100000", "99999"))
    planned.make()
    asked = planned.apply(2)
    assert "add --yes" in asked.stderr and planned.pid() == pid
    assert "restarted" in planned.apply(0, "--yes").stdout and planned.pid() != pid
    # It was done once; the state it was made for is no more.
    planned.edit(("weight: 25", "weight: 75"), ("100000", "99999"))
    planned.cli("apply", planned.file)
    again = planned.apply(2, "--yes")
    assert "the machine moved since this plan was made: planned: " in again.stderr


@needs
@pytest.mark.parametrize(("key", "move"), [
    ("hostname was one, is moved", lambda p: subprocess.run(
        ["nsenter", "-t", str(p.pid()), "-u", "hostname", "moved"], check=True)),
    ("mounts[7] was /data, is absent", lambda p: subprocess.run(
        ["nsenter", "-t", str(p.pid()), "-m", "/bin/busybox", "umount", "/data"], check=True)),
    ("status was running, is stopped", lambda p: p.cli("stop", "-t", "0", "planned")),
    ("plan0: addresses was [10.83.0.1/24], is [10.83.0.1/24, 10.83.0.9/24]",
     lambda p: p.cli.netns.run("ip", "addr", "add", "10.83.0.9/24", "dev", "plan0")),
])
def test_refused_when_the_machine_moved(planned: Planned, key: str, move: Any) -> None:
    """The moved key is named, and nothing is done."""
    planned.cli("apply", planned.file)
    planned.edit(("weight: 25", "weight: 50"))
    planned.make()
    move(planned)
    before = planned.cli("diff", planned.file, status=1).stdout
    said = planned.apply(2, "--yes").stderr
    assert said.startswith(f"runspec: {planned.plan}: the machine moved since this plan was made: "), said
    assert key in said and "make a new one with `runspec plan --out`" in said
    assert planned.cli("diff", planned.file, status=1).stdout == before


@needs
def test_refused_when_a_file_was_applied_since(planned: Planned) -> None:
    """Two people plan, one applies: the other's plan is void."""
    planned.cli("apply", planned.file)
    planned.edit(("limit: 64", "limit: 65"))
    planned.make()
    planned.edit(("hostname: one", "hostname: other"))
    planned.cli("apply", planned.file)
    said = planned.apply(2).stderr
    assert "planned: hostname was one, is other" in said


@needs
def test_an_error_has_the_place_of_the_document(planned: Planned) -> None:
    """Line and column are those of the file at the time of the plan."""
    planned.cli("apply", planned.file)
    planned.edit(("destination: /data, ", "destination: /data/../more, "))
    assert planned.cli("plan", "--out", planned.plan, planned.file, status=2).stderr.startswith(f"{planned.file}:14:")
    assert not planned.plan.exists()
    planned.edit(("/bin/sleep", "/bin/nothing"))
    planned.cli("exec", "planned", "sh", "-c", "echo nothing >/bin/nothing; chmod +x /bin/nothing")
    planned.make()
    planned.file.unlink()
    said = planned.apply(2, "--yes").stderr
    assert said.startswith(f"{planned.file}:12:9: planned: process.args: exec(/bin/nothing): Exec format error"), said


def resealed(tree: dict[str, Any]) -> bytes:
    """As somebody who knows the format would write it."""
    tree.pop("digest", None)
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return json.dumps({**tree, "digest": sha256(text.encode()).hexdigest()}, sort_keys=True,
                      separators=(",", ":")).encode()


def other(tree: dict[str, Any], **keys: Any) -> bytes:
    return resealed({**tree, **keys})


@needs
def test_files_that_are_refused(planned: Planned) -> None:
    """Cut, changed, another's, another boot's: a clear error each, exit 2, and nothing is done."""
    planned.make()
    good = planned.plan.read_bytes()
    tree = json.loads(good)
    before = planned.cli.picture()
    cases: list[tuple[bytes, str]] = [(good[:cut], "this plan is damaged")
                                      for cut in (60, 200, len(good) // 2, len(good) - 2)]
    cases += [
        (good.replace(b'"weight":25', b'"weight":26'), "its digest does not fit what it holds"),
        (good + b"x", "this plan is damaged"),
        (other(tree, bootID="0"), "in another boot"),
        (other(tree, runspec="99.0"), "this plan was made by runspec 99.0, this is "),
        (other(tree, version=2), "this plan was made by runspec"),
        (other(tree, root="/run/other"), "this plan is for the state directory /run/other"),
        (other(tree, steps=[{"step": "os.system", "args": {}}]), "unknown step os.system"),
        (other(tree, steps=[{"step": "SaveRecord", "args": {"nonsense": 1}}]), "this plan is damaged"),
        (other(tree, documents=[{"kind": "container"}]), "this plan is damaged"),
        (other(tree, documents=[3]), "this plan is damaged"),
        (other(tree, extra=1), "keys are missing or wrong"),
        (other(tree, observed={}), "the machine moved since this plan was made"),
        (b'{"apiVersion":"runspec/v1","bootID":"' + b"[" * 100000, "this plan is damaged"),
    ]
    for data, words in cases:
        planned.plan.write_bytes(data)
        done = planned.apply(2, "--yes")
        assert words in done.stderr and "Traceback" not in done.stderr, (words, done.stderr)
        assert_nothing_leaked(before, planned.cli.picture)
    planned.plan.write_bytes(good)
    said = planned.cli("apply", planned.plan, planned.file, status=2).stderr
    assert "a plan is applied alone" in said


@needs
def test_where_it_is_written(planned: Planned, tmp_path: Path) -> None:
    """A relative name, an older plan's place, never a device or a directory."""
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        planned.cli("plan", "--out", "plan.json", planned.file)
        first = planned.plan.read_bytes()
        planned.cli("plan", "--out", "plan.json", planned.file)
    finally:
        os.chdir(here)
    assert planned.plan.read_bytes() == first
    for place, named in (("/dev/null", "/dev/null"), (str(tmp_path), str(tmp_path)),
                         ("/nowhere/plan.json", "/nowhere/")):
        done = planned.cli("plan", "--out", place, planned.file, status=2)
        assert named in done.stderr and "Traceback" not in done.stderr
    assert Path("/dev/null").is_char_device() and [one.name for one in tmp_path.glob(".*")] == []


@needs
def test_shown_alike(planned: Planned) -> None:
    """What is kept is what `plan` shows, word for word, the filter of system calls too."""
    planned.make()      # the image is there from now on
    shown = planned.make()
    assert planned.cli("plan", planned.file).stdout == shown and ", its system calls filtered" in shown
