"""Several runspec at once on the same things: one after the other, one container each, nothing left."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import Cli, assert_nothing_leaked, requires
from kernels import IN_VM, SLOWER

NETWORK = """\
---
apiVersion: runspec/v1
kind: Network
name: both0
type: bridge
addresses: [10.81.0.1/24]
"""
ROUNDS = 1 if IN_VM else 50 if os.environ.get("RUNSPEC_FULL") else 5
NEEDED = ("root", "busybox", "bridge", "veth", "ip", "nsenter")


def write(folder: Path, name: str, number: int, network: str = NETWORK) -> str:
    """A container on the network; the file's name."""
    file = folder / f"{name}.yaml"
    file.write_text(f"""\
apiVersion: runspec/v1
name: {name}
root: {{image: busybox}}
process: {{args: [/bin/sleep, "100000"]}}
linux:
  resources: {{pids: {{limit: 16}}}}
interfaces:
  - {{name: eth0, type: veth, network: both0, addresses: [10.81.0.{number}/24]}}
{network}""")
    return str(file)


def together(cli: Cli, *runs: list[str]) -> list[tuple[int, str]]:
    """Start all at once; (status, what it said) of each."""
    started = [cli.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for words in runs]
    done = [one.communicate(timeout=60 * SLOWER)[0] for one in started]
    return [(one.returncode, text) for one, text in zip(started, done, strict=True)]


def one_each(cli: Cli, *names: str) -> None:
    """Exactly one process, init, in each."""
    for name in names:
        state = json.loads(cli("state", name).stdout)
        assert state["status"] == "running" and json.loads(cli("ps", "-o", "json", name).stdout) == [state["pid"]]


@pytest.fixture
def files(cli: Cli, tmp_path: Path) -> list[str]:
    """Two containers on one network; the image is there already."""
    made = [write(tmp_path, "both-1", 11), write(tmp_path, "both-2", 12)]
    cli("apply", *made)
    cli("destroy", "--yes", *made)
    return made


@requires(*NEEDED)
@pytest.mark.both
def test_two_applies_of_one_file(cli: Cli, files: list[str]) -> None:
    """One waits, and then has nothing to do."""
    before = cli.picture()
    for _ in range(ROUNDS):
        done = together(cli, *[["apply", *files]] * 2)
        assert [status for status, _ in done] == [0, 0], done
        assert sorted("nothing to do" in text for _, text in done) == [False, True], done
        one_each(cli, "both-1", "both-2")
        cli("destroy", "--yes", *files)
        assert_nothing_leaked(before, cli.picture)


@requires(*NEEDED)
def test_eight_at_once(cli: Cli, files: list[str]) -> None:
    """Eight applies of two files that share a network; a loser may only say that it is busy."""
    before = cli.picture()
    for _ in range(ROUNDS):
        done = together(cli, *[["apply", files[i % 2]] for i in range(8)])
        assert all(status == 0 or (status == 2 and "busy" in text) for status, text in done), done
        one_each(cli, "both-1", "both-2")
        cli("diff", *files)
        cli("destroy", "--yes", *files)
        assert_nothing_leaked(before, cli.picture)


@requires(*NEEDED)
def test_apply_against_destroy(cli: Cli, files: list[str]) -> None:
    """Whichever comes last wins, whole."""
    before = cli.picture()
    for number in range(ROUNDS * 2):
        if number % 2:
            cli("apply", *files)
        done = together(cli, ["apply", *files], ["destroy", "--yes", *files], ["apply", *files])
        assert all(status == 0 for status, _ in done), done
        cli("apply", *files)
        one_each(cli, "both-1", "both-2")
        cli("diff", *files)
        cli("destroy", "--yes", *files)
        assert_nothing_leaked(before, cli.picture)


@requires(*NEEDED)
def test_network_destroyed_under_a_newcomer(cli: Cli, files: list[str], tmp_path: Path) -> None:
    """A file that only names the network: it is either there for the newcomer, or the newcomer is refused."""
    before = cli.picture()
    newcomer = write(tmp_path, "both-3", 13, "")
    for _ in range(ROUNDS * 2):
        cli("apply", files[0])
        (came, said), (gone, _) = together(cli, ["apply", newcomer], ["destroy", "--yes", files[0]])
        assert gone == 0
        if came == 0:
            one_each(cli, "both-3")
            cli("diff", newcomer)
            cli("destroy", "--yes", "both-3", "both0")
        else:
            assert "there is no network both0" in said, said
        assert_nothing_leaked(before, cli.picture)


@requires(*NEEDED)
def test_strangers_share_only_the_parent_group(cli: Cli, tmp_path: Path) -> None:
    """Nothing in common but /runspec in the control groups, which each end may take away."""
    names = [f"both-{i}" for i in range(4)]
    for name in names:
        (tmp_path / f"{name}.yaml").write_text(
            f"apiVersion: runspec/v1\nname: {name}\nroot: {{image: busybox}}\n"
            "process: {args: [/bin/sleep, '100000']}\ninterfaces: []\n")
    for name in names[:2]:
        cli("apply", tmp_path / f"{name}.yaml")
    for number in range(ROUNDS * 2):
        old, new = (names[:2], names[2:])[::1 if number % 2 == 0 else -1]
        done = together(cli, *[["apply", str(tmp_path / f"{name}.yaml")] for name in new],
                        *[["destroy", "--yes", name] for name in old])
        assert all(status == 0 for status, _ in done), done
        one_each(cli, *new)
