"""Containers that somebody froze: by hand, by the files of their groups, their own or one above."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli, assert_nothing_leaked, requires
from kernels import SLOWER, cgroup_mounts

pytestmark = [requires("root", "busybox", "nsenter"), pytest.mark.both]
SPEC = """\
apiVersion: runspec/v1
name: ice
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]}
interfaces: []
linux: {cgroupsPath: /runspec/cold/ice, resources: {memory: {limit: 64Mi}}}
"""
# Runs the command given, and writes a word to a file once it has looked and before its child begins.
LATE = """\
import sys
from pathlib import Path
from runspec.__main__ import main
from runspec.cli import enter
before = enter.exec_ops
def late(*given):
    Path(sys.argv[1]).write_text(sys.argv[2])
    before(*given)
enter.exec_ops = late
sys.exit(main(sys.argv[3:]))
"""


class Ice:
    """The freezer of a control group."""

    def __init__(self, group: str) -> None:
        where, self.v1 = next(((where, True) for kind, where, options in cgroup_mounts()
                               if kind == "cgroup" and "freezer" in options.split(",")),
                              (next((where for kind, where, _ in cgroup_mounts() if kind == "cgroup2"), ""), False))
        self.file = Path(where + group, "freezer.state" if self.v1 else "cgroup.freeze")
        self.words = ("THAWED", "FROZEN") if self.v1 else ("0", "1")

    def set(self, frozen: bool) -> None:
        """Freeze or thaw it, and wait until it is so."""
        self.file.write_text(self.words[frozen])
        end = time.monotonic() + 10 * SLOWER
        while self.frozen() != frozen:
            assert time.monotonic() < end
            time.sleep(0.01)

    def frozen(self) -> bool:
        if self.v1:
            return self.file.read_text().strip() == "FROZEN"
        return "frozen 1" in self.file.with_name("cgroup.events").read_text()


@pytest.fixture
def file(cli: Cli, tmp_path: Path) -> Iterator[Path]:
    """A container that runs; its group, and one above it, are thawed in the end."""
    path = tmp_path / "ice.yaml"
    path.write_text(SPEC)
    cli("apply", path)
    yield path
    for group in ("/runspec/cold", "/runspec/cold/ice"):
        if Ice(group).file.exists():
            Ice(group).set(False)


@pytest.mark.parametrize("group", ["/runspec/cold/ice", "/runspec/cold"])
def test_exec_is_refused(cli: Cli, file: Path, group: str) -> None:
    """At once, with what froze it and how that ends; and it works again afterwards."""
    ice = Ice(group)
    ice.set(True)
    before, begun = cli.picture(), time.monotonic()
    said = cli("exec", "ice", "true", status=255).stderr
    assert time.monotonic() - begun < 10 * SLOWER
    assert said.startswith("runspec: exec failed: cannot exec in a paused container\n  why: ")
    assert said.endswith(f"  fix: thaw it: echo {ice.words[False]} > {ice.file}\n")
    assert_nothing_leaked(before, cli.picture)
    ice.set(False)
    assert cli("exec", "ice", "echo", "in").stdout == "in\n"


def test_exec_that_is_overtaken(cli: Cli, file: Path, tmp_path: Path) -> None:
    """Frozen after it looked: it does not wait for ever, and its child does not stay in the ice."""
    ice, script = Ice("/runspec/cold/ice"), tmp_path / "late.py"
    script.write_text(LATE)
    before = cli.picture()
    done = cli.netns.run(sys.executable, "-P", script, ice.file, ice.words[True], "--root", str(cli.root),
                         "exec", "ice", "true")
    assert done.returncode == 255
    assert done.stderr.startswith("runspec: exec failed: cannot exec in a paused container\n")
    assert_nothing_leaked(before, cli.picture)


def state(cli: Cli) -> int:
    """Pid of the container, which runs."""
    told = json.loads(cli("state", "ice").stdout)
    assert told["status"] == "running"
    return int(told["pid"])


def test_diff_names_it_and_apply_thaws(cli: Cli, file: Path) -> None:
    """In place, together with whatever else differs."""
    ice, pid = Ice("/runspec/cold/ice"), state(cli)
    ice.set(True)
    assert "ice: state: frozen -> running  drifted, in place\n" in cli("diff", file, status=1).stdout
    file.write_text(file.read_text().replace("64Mi", "96Mi"))
    assert "thaw ice" in cli("plan", file).stdout
    done = cli("apply", file).stdout
    assert done.startswith("ice: changed in place\n") and "  state: frozen -> running  drifted, in place\n" in done
    assert not ice.frozen() and state(cli) == pid
    assert cli("diff", file).stdout == ""


def test_a_restart_of_it(cli: Cli, file: Path) -> None:
    """Its new init runs."""
    ice, pid = Ice("/runspec/cold/ice"), state(cli)
    ice.set(True)
    file.write_text(file.read_text().replace("process: {", "process: {env: [A=1], "))
    assert cli("apply", "--yes", file).stdout.startswith("ice: restarted\n")
    assert not ice.frozen() and state(cli) != pid
    assert cli("diff", file).stdout == ""


def test_a_group_above_it(cli: Cli, file: Path) -> None:
    """Is others' as well: apply says which it is and how it is thawed, and takes back what it did."""
    above, ice = Ice("/runspec/cold"), Ice("/runspec/cold/ice")
    above.set(True)
    assert "ice: state: frozen -> running  drifted, in place\n" in cli("diff", file, status=1).stdout
    ice.file.write_text(ice.words[True])
    said = cli("apply", file, status=2).stderr
    assert f"ice: state: the control group {above.file.parent} is frozen\n" in said
    assert f"  fix: thaw it: echo {above.words[False]} > {above.file}\n" in said
    above.set(False)
    assert ice.frozen()
    cli("apply", file)
    assert not ice.frozen() and cli("diff", file).stdout == ""


def test_it_is_destroyed(cli: Cli, file: Path) -> None:
    ice = Ice("/runspec/cold/ice")
    ice.set(True)
    assert cli("destroy", "--yes", "ice").stdout == "ice: removed\n"
    assert not ice.file.exists()
