"""Every file of specs/ does what its first line says it is there for: it runs, and leaves nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import CHECKOUT, Cli, Netns, assert_nothing_leaked, command, requires
from kernels import IN_VM
from machine import Picture

FILES = sorted((CHECKOUT / "specs").glob("*.yaml"))
# What a file needs beside the usual.
MORE = {"accounts": ("user_namespace",), "clock": ("time_namespace",), "delegated": ("nic",),
        "legacy32": ("legacy32",), "one-wire": ("macvlan",), "phone": ("partition",), "phone-v1": ("rt_group",)}
# Links of the host that a file builds on.
PARENTS = {"one-wire": ("nic0",)}


@pytest.fixture
def cli(name: str, netns: Netns) -> Iterator[Cli]:
    """The installed runspec in a private network, or in the machine's, where its hardware is."""
    machine = Netns(own=False) if "nic" in MORE.get(name, ()) else None
    one = Cli(machine or netns, Path("/run/runspec/state"))
    yield one
    one.sweep()
    if machine is not None:
        machine.close()


def test_folder() -> None:
    """All files together are good: no two of them call different things by one name."""
    done = subprocess.run([*command(), "validate", CHECKOUT / "specs"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(" documents: good\n") and int(done.stdout.split()[0]) > len(FILES)


@requires("root", "busybox", "bridge", "veth", "ip", "nsenter", "overlay")
@pytest.mark.both
@pytest.mark.parametrize("name", [
    pytest.param(path.stem, marks=requires(*MORE[path.stem]) if path.stem in MORE else ()) for path in FILES])
def test_whole_life(cli: Cli, picture: Callable[[], Picture], name: str) -> None:
    """Valid, planned, applied, no difference, nothing to do, gone without a trace."""
    path = CHECKOUT / f"specs/{name}.yaml"
    for link in PARENTS.get(name, ()):
        cli.netns.run("ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}.peer")
        assert cli.netns.run("ip", "link", "set", link, "up").returncode == 0
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ") and len(first) > 40
    gone = ["destroy", "--yes", *(["--data"] if "volatile: false" in path.read_text() else []), path]
    before = picture()
    cli("validate", path)
    steps = json.loads(cli("plan", "-o", "json", path).stdout)["steps"]
    assert steps
    assert IN_VM or json.loads(cli("plan", "-o", "json", path).stdout)["steps"] == steps
    (cli if IN_VM else cli.cold)("apply", path)
    assert cli("diff", path).stdout == ""
    again = json.loads(cli("plan", "-o", "json", path).stdout)
    assert again["steps"] == [] and again["changes"] == []
    assert "nothing to do" in cli("apply", path).stdout
    for one in json.loads(cli("list", "-f", "json").stdout):
        assert one["status"] == "running"
    cli(*gone)
    assert_nothing_leaked(before, picture)
