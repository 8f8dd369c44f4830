"""The verbs that look at, signal and end real containers."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, assert_nothing_leaked, requires
from kernels import SLOWER
from machine import Picture

SPEC = """\
apiVersion: runspec/v1
name: {name}
root: {{image: busybox}}
process: {{args: {args}}}
interfaces: []
"""
# A shell that ends by itself on SIGTERM, with a child of its own session that does not.
POLITE = ('[/bin/sh, -c, "trap \'exit 7\' TERM; trap \'echo 1 > /tmp/usr1\' USR1;'
          ' setsid sh -c \\"trap : TERM; echo > /tmp/ready; while :; do sleep 1000; done\\" &'
          ' while :; do sleep 1000 & wait $!; done"]')
STUBBORN = '[/bin/sh, -c, "trap : TERM; while :; do sleep 1000 & wait; done"]'
needs = requires("root", "busybox", "nsenter")


@pytest.fixture
def start(cli: Cli, tmp_path: Path) -> Callable[..., Path]:
    """Writes a spec, applies it, and names the file."""
    def one(name: str = "c1", args: str = POLITE) -> Path:
        file = tmp_path / f"{name}.yaml"
        file.write_text(SPEC.format(name=name, args=args))
        cli("apply", file)
        return file
    return one


def ready(pid: int) -> None:
    """Wait until the traps of POLITE are set."""
    deadline = time.monotonic() + 10 * SLOWER
    while not Path(f"/proc/{pid}/root/tmp/ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def state(cli: Cli, name: str = "c1") -> tuple[str, int]:
    told = json.loads(cli("state", name).stdout)
    return told["status"], told["pid"]


@needs
@pytest.mark.both
def test_a_program_may_end_by_itself(cli: Cli, start: Callable[..., Path], tmp_path: Path) -> None:
    """At any moment of the apply that starts it, which is no failure; its sibling is left alone."""
    file = start("c2", STUBBORN)
    sibling = state(cli, "c2")
    ends, words = 0, "created"
    for turn in range(6 if SLOWER > 1 else 24):
        loops = turn % 6 * 150
        one = tmp_path / "c1.yaml"
        one.write_text(SPEC.format(name="c1", args=(
            f'[/bin/sh, -c, "i=0; while [ $i -lt {loops} ]; do i=$((i+1)); done; exit 3"]')))
        told = cli("apply", "--yes", one, file).stdout
        alive = told.replace(", and its program has ended, exit status 3", "")
        lines = [line for line in alive.splitlines() if not line.startswith("  process.args: ")]
        assert lines == [f"c1: {words}", "c2: up to date"], told
        ends, words = ends + (alive != told), "started"
        deadline = time.monotonic() + 10 * SLOWER
        while state(cli)[0] != "stopped":
            assert time.monotonic() < deadline
    assert ends and state(cli, "c2") == sibling
    assert "c1: stopped -> absent  removed\n" in cli("destroy", "c1", status=2).stderr
    # To fail at the start is something else.
    one.write_text(SPEC.format(name="c1", args="[/bin/nothing]"))
    assert "exec(/bin/nothing): No such file" in cli("apply", "--yes", one, status=2).stderr


@needs
@pytest.mark.both
def test_stop_and_start_again(cli: Cli, start: Callable[..., Path], picture: Callable[[], Picture]) -> None:
    """SIGTERM ends a polite init at once, all its children go with it, and apply starts it anew."""
    file = start()
    status, pid = state(cli)
    assert status == "running"
    ready(pid)
    began = time.monotonic()
    assert cli("stop", "c1").stdout == "c1: stopped\n"
    assert time.monotonic() - began < 2 * SLOWER
    assert state(cli) == ("stopped", 0)
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
    assert cli("stop", "c1").stdout == "c1: already stopped\n"
    assert cli("diff", file, status=1).stdout
    cli("exec", "c1", "/bin/true", status=255)
    assert "started" in cli("apply", file).stdout
    assert state(cli)[0] == "running" and state(cli)[1] != pid
    assert cli("diff", file).stdout == ""
    cli("destroy", "--yes", file)
    before = picture()
    start()
    cli("stop", "c1")
    cli("destroy", "--yes", "c1")
    assert_nothing_leaked(before, picture)


@needs
@pytest.mark.both
def test_stop_has_a_last_word(cli: Cli, start: Callable[..., Path]) -> None:
    """What ignores SIGTERM is killed after --time."""
    start(args=STUBBORN)
    began = time.monotonic()
    cli("stop", "--time", "1", "c1")
    assert 0.9 < time.monotonic() - began < 3 * SLOWER
    assert state(cli) == ("stopped", 0)


@needs
@pytest.mark.both
def test_stop_ends_busybox_init(cli: Cli, start: Callable[..., Path]) -> None:
    """busybox init takes two seconds to end its children and then itself."""
    start(args="[/sbin/init]")
    began = time.monotonic()
    cli("stop", "c1")
    assert time.monotonic() - began < 4 * SLOWER
    assert state(cli) == ("stopped", 0)


@needs
@pytest.mark.both
def test_killed_from_outside(cli: Cli, start: Callable[..., Path]) -> None:
    """The death of init is seen within a second; apply starts the container anew."""
    file = start()
    _, pid = state(cli)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 1 * SLOWER
    while state(cli)[0] != "stopped":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    cli("apply", file)
    assert state(cli)[0] == "running"


@needs
@pytest.mark.both
def test_kill(cli: Cli, start: Callable[..., Path]) -> None:
    """A signal by name or number goes to init alone; to a stopped container it is an error."""
    start()
    _, pid = state(cli)
    ready(pid)
    cli("kill", "c1", "USR1")
    deadline = time.monotonic() + 5 * SLOWER
    while cli("exec", "c1", "/bin/cat", "/tmp/usr1", status=None).stdout != "1\n":
        assert time.monotonic() < deadline
    assert state(cli) == ("running", pid)
    cli("kill", "c1", "9")
    while state(cli)[0] != "stopped":
        assert time.monotonic() < deadline
    assert "not running" in cli("kill", "c1", "KILL", status=1).stderr


@needs
@pytest.mark.both
def test_list_and_ps(cli: Cli, start: Callable[..., Path]) -> None:
    """What is there, from the kernel."""
    start("c1")
    start("c2", "[/bin/sleep, '100000']")
    cli("kill", "c1", "KILL")
    deadline = time.monotonic() + 5 * SLOWER
    while state(cli)[0] != "stopped":
        assert time.monotonic() < deadline
    told = {one["id"]: one for one in json.loads(cli("list", "-f", "json").stdout)}
    assert {name: one["status"] for name, one in told.items()} == {"c1": "stopped", "c2": "running"}
    assert cli("list", "-q").stdout == "c1\nc2\n"
    _, pid = state(cli, "c2")
    assert json.loads(cli("ps", "-f", "json", "c2").stdout) == [pid]
    loops = [cli.popen("exec", "c2", "/bin/sleep", "20") for _ in range(2)]
    deadline = time.monotonic() + 5 * SLOWER
    while len(json.loads(cli("ps", "-f", "json", "c2").stdout)) != 3:
        assert time.monotonic() < deadline
    cli("kill", "c2", "KILL")
    for loop in loops:
        assert loop.wait(10 * SLOWER) == 137
        loop.communicate()


@needs
@pytest.mark.both
def test_created_is_when_it_was_made(cli: Cli, start: Callable[..., Path]) -> None:
    """Not when it was last changed, restarted or started: only what is made anew is created again."""
    file, long_ago = start(args='[/bin/sleep, "100000"]'), "2024-05-01T12:00:00Z"
    record = Path(f"/proc/{cli.netns.pid}/root{cli.root}/containers/c1/record.json")
    record.write_text(record.read_text().replace(created(cli), long_ago))
    for words in ("image: busybox}\nannotations: {a: b}", "image: busybox, readonly: true}"):
        file.write_text(file.read_text().replace("image: busybox}", words))
        assert "changed in place" in cli("apply", file).stdout and created(cli) == long_ago
    file.write_text(file.read_text().replace("process: {", "process: {env: [A=1], "))
    assert "restarted" in cli("apply", "--yes", file).stdout and created(cli) == long_ago
    cli("stop", "-t", "0", "c1")
    assert "started" in cli("apply", "--yes", file).stdout and created(cli) == long_ago
    file.write_text(file.read_text().replace("readonly: true", "overlay: {volatile: false}"))
    assert "recreated" in cli("apply", "--yes", file).stdout and created(cli) > long_ago
    cli("destroy", "--yes", "--data", "c1")


def created(cli: Cli) -> str:
    return str(json.loads(cli("state", "c1").stdout)["created"])
