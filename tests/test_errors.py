"""Every error says why it is so and what helps, whoever raises it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from conftest import Cli, requires

from runspec.errors import StepError, SyscallError, meaning
from runspec.kernel import Kernel
from runspec.plan.steps.base import HostStep
from runspec.plan.steps.process import SetRlimitLive, unexecuted
from runspec.run import blame
from runspec.spec.model import Rlimit


@pytest.mark.parametrize("number", [0, *sorted(errno.errorcode)])
def test_every_errno_has_a_reason_and_a_remedy(number: int) -> None:
    why, fix = meaning(number)
    assert why and fix
    assert SyscallError("openat", "/x", number).text() == (
        f"openat(/x): {os.strerror(number)}\n  why: {why}\n  fix: {fix}")
    assert str(SyscallError("openat", "/x", number)) == f"openat(/x): {os.strerror(number)}", "within other messages"
    assert all(unexecuted("x", number))


def test_a_step_adds_what_it_was_at() -> None:
    class Make(HostStep):
        def __str__(self) -> str:
            return "make it"

    error = blame.step_error(Make(target="a", path="type"), SyscallError("netlink", "bridge lan0", errno.EEXIST))
    assert error.text() == (
        "a: type: netlink(bridge lan0): File exists\n"
        "  why: while trying to: make it; something of this name is there already, made by somebody else\n"
        "  fix: remove that, or use another name")


def test_a_step_knows_better() -> None:
    step = SetRlimitLive(target="a", path="process.rlimits[0]", limit=Rlimit(type="RLIMIT_NOFILE", soft=1, hard=2))
    told: StepError = blame.step_error(step, SyscallError("prlimit", "7 limit 7", errno.EPERM))
    assert "CAP_SYS_RESOURCE" in told.why and "capability" in told.fix


def test_a_file_is_replaced_under_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(SyscallError) as caught:
        Kernel().replace_file(f"{tmp_path}/none/p", b"")
    assert caught.value.what == f"openat({tmp_path}/none/p): No such file or directory"


@pytest.mark.parametrize(("words", "what"), [
    (("validate", "none.yaml"), "none.yaml: cannot be read: No such file or directory"),
    (("plan", "--out", "/none/p", "a.yaml"), "runspec: --out: /none/p cannot be written: No such file or directory"),
    (("bench", "--show", "none.json"), "runspec: bench: none.json: No such file or directory"),
    (("bench", "--out", "/none/a.json", "cpu"), "runspec: bench: --out /none/a.json: No such file or directory"),
    (("bench", "--rounds", "x", "cpu"), 'runspec: bench: --rounds: "x" is no number from 1 to 1000'),
    (("create", "--config", "/none", "c"), "/none: no such file or directory"),
    (("convert", "none"), "none/config.json: no such file or directory"),
    (("create", "../x"), 'runspec: create: invalid container ID format: "../x"'),
    (("--root", "/proc/none", "apply", "a.yaml"), "runspec: mkdir(/proc/none): No such file or directory"),
])
@requires("root")
def test_the_command_line_tells_all(cli: Cli, tmp_path: Path, words: tuple[str, ...], what: str) -> None:
    """What, why, fix; and the fix is about this verb."""
    (tmp_path / "a.yaml").write_text("apiVersion: runspec/v1\nname: told\nroot: {image: busybox}\n"
                                     "process: {args: [/bin/true]}\ninterfaces: []\n")
    argv = cli.argv[:-2] if words[0] == "--root" else cli.argv
    done = cli.netns.run(*argv, *(tmp_path / one if one == "a.yaml" else one for one in words))
    first, why, fix = done.stderr.splitlines()
    assert (done.returncode > 0, first, why[:7], fix[:7]) == (True, what, "  why: ", "  fix: ")
    assert "--config" in fix if "--config" in words else "--bundle" not in fix
    assert words[0] != "create" or "runspec list" not in fix


@requires("root")
def test_a_working_directory_that_is_gone(cli: Cli, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    done = cli.netns.run("sh", "-c", script, "sh", gone, *cli.argv, "create", "c")
    assert "runspec: the working directory: No such file or directory\n  why: " in done.stderr
