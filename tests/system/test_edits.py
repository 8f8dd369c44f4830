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
