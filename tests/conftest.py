"""What the tests share: `requires`, a private network to run the installed command in, and the leak check."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import SLOWER
from machine import Picture, assert_nothing_leaked, photograph

import runspec

pytest_plugins = ["kernels"]
__all__ = ["Cli", "Netns", "assert_nothing_leaked", "requires"]

CHECKOUT = Path(__file__).parent.parent

if os.environ.get("RUNSPEC_TEST_INSTALLED") and CHECKOUT in Path(runspec.__file__).parents and (
        ".venv" not in Path(runspec.__file__).parts):
    raise pytest.UsageError(f"the tests would import {runspec.__file__}, not the installed package")


def requires(*words: str) -> pytest.MarkDecorator:
    """Mark a test with what the machine must be able to do; the words are in kernels.py."""
    return pytest.mark.requires(*words)


class Netns:
    """A process that holds a network and a mount namespace; commands run inside by nsenter(1).

    /run/runspec and /var/lib/runspec are memory of its own there, so that a test begins empty and
    nothing of it outlives the holder. Cgroups are the machine's.
    """

    def __init__(self) -> None:
        # The holder ends with our end of its pipe, even when pytest is killed.
        self.holder = subprocess.Popen(
            ["unshare", "-n", "-m", "sh", "-ec",
             "mkdir -p /run/runspec /var/lib/runspec; mount -t tmpfs -o mode=700 state /run/runspec;"
             "mount -t tmpfs -o mode=755 images /var/lib/runspec; ip link set lo up; echo ready; exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout is not None and self.holder.stdout.readline() == "ready\n"
        self.pid = self.holder.pid

    def enter(self, *command: str | os.PathLike[str]) -> list[str]:
        """The argument list that runs a command inside."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt",
                f"--wdns={os.getcwd()}", "--", *map(os.fspath, command)]

    def run(self, *command: str | os.PathLike[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside; text in and out, 60 s (scaled in the VM) unless `timeout` says else."""
        options = {"capture_output": True, "text": True, "timeout": 60 * SLOWER,
                   "stdin": subprocess.DEVNULL} | options
        if "input" in options:
            del options["stdin"]
        return subprocess.run(self.enter(*command), **options)

    def popen(self, *command: str | os.PathLike[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command inside."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        return subprocess.Popen(self.enter(*command), **options)

    def close(self) -> None:
        self.holder.communicate("")


@pytest.fixture
def netns() -> Iterator[Netns]:
    """A private network and mount namespace."""
    one = Netns()
    yield one
    one.close()


def command() -> list[str]:
    """The installed runspec: beside the interpreter, else (in a checkout) as a module."""
    beside = Path(sys.executable).with_name("runspec")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "runspec"]


class Cli:
    """The installed command in a private network; call it with words, read what it did."""

    def __init__(self, netns: Netns, root: Path) -> None:
        self.netns, self.root = netns, root
        self.argv = [*command(), "--root", str(root)]

    def __call__(self, *words: str | os.PathLike[str], status: int | None = 0,
                 env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run runspec and check its exit status (None: any)."""
        done = self.netns.run(*self.argv, *words, env={**os.environ, **(env or {})}, **options)
        assert status is None or done.returncode == status, (
            f"runspec {' '.join(map(os.fspath, words))}: status {done.returncode}, not {status}\n"
            f"{done.stdout}{done.stderr}")
        return done

    def popen(self, *words: str | os.PathLike[str], env: dict[str, str] | None = None,
              **options: Any) -> subprocess.Popen[str]:
        """Start runspec."""
        return self.netns.popen(*self.argv, *words, env={**os.environ, **(env or {})}, **options)

    def picture(self) -> Picture:
        """The machine as it is now, see machine.py."""
        return photograph(self.netns.pid, self.root)

    def sweep(self) -> None:
        """After a test, whatever its end: destroy what its state directory still names."""
        # The holder's memory keeps the state; a crash in the middle is undone by destroy itself.
        listed = self.netns.run(*self.argv, "list", "-q")
        names = listed.stdout.split()
        if listed.returncode == 0 and names:
            self.netns.run(*self.argv, "destroy", "--yes", *names)


@pytest.fixture
def cli(netns: Netns) -> Iterator[Cli]:
    """The installed runspec in a private network, with a state directory of its own."""
    one = Cli(netns, Path("/run/runspec/state"))
    yield one
    one.sweep()


@pytest.fixture
def picture(cli: Cli) -> Callable[[], Picture]:
    """Photographs the machine; compare two with assert_nothing_leaked(before, picture)."""
    return cli.picture
