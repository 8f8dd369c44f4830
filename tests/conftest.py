"""What the tests share: `requires`, a private network to run the installed command in, and the leak check."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kernels import SLOWER
from machine import Picture, assert_nothing_leaked, photograph
from verbs import server

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

    Args:
        own: whether the network is; else it is the machine's, for what only that has.
    """

    def __init__(self, own: bool = True) -> None:
        # The holder ends with our end of its pipe, even when pytest is killed.
        self.holder = subprocess.Popen(
            ["unshare", *["-n"] * own, "-m", "sh", "-ec",
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
        self._usual = list(self.argv)

    def __call__(self, *words: str | os.PathLike[str], status: int | None = 0,
                 env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run runspec and check its exit status (None: any).

        In a fork of what is loaded already, see verbs.py; where a test has more to say about the process, in one
        of its own, as `cold` always does.
        """
        if options or self.argv != self._usual:
            return self.cold(*words, status=status, env=env, **options)
        got, out, err = self.warm(words, {**os.environ, **(env or {})})
        return self._checked(subprocess.CompletedProcess([*self.argv, *words], got, out, err), status)

    def cold(self, *words: str | os.PathLike[str], status: int | None = 0,
             env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """The same with the start-up that users have; options as of subprocess.run."""
        done = self.netns.run(*self.argv, *words, env={**os.environ, **(env or {})}, **options)
        return self._checked(done, status)

    @staticmethod
    def _checked(done: subprocess.CompletedProcess[str], status: int | None) -> subprocess.CompletedProcess[str]:
        assert status is None or done.returncode == status, (
            f"{' '.join(map(str, done.args))}: status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
        return done

    def warm(self, words: Sequence[str | os.PathLike[str]], env: dict[str, str]) -> tuple[int, str, str]:
        """(exit status, output, errors) of one run in a fork."""
        return server().run(self.netns.pid, ["--root", str(self.root), *map(os.fspath, words)], env, 60 * SLOWER)

    def popen(self, *words: str | os.PathLike[str], env: dict[str, str] | None = None,
              **options: Any) -> subprocess.Popen[str]:
        """Start runspec."""
        return self.netns.popen(*self.argv, *words, env={**os.environ, **(env or {})}, **options)

    def picture(self, but: str = "") -> Picture:
        """The machine as it is now, see machine.py."""
        return photograph(self.netns.pid, self.root, but)

    def sweep(self) -> None:
        """After a test, whatever its end: destroy what its state directory still names."""
        # The holder's memory keeps the state; a crash in the middle is undone by destroy itself.
        listed = self("list", "-q", status=None)
        names = listed.stdout.split()
        if listed.returncode == 0 and names:
            self("destroy", "--yes", *names, status=None)


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
