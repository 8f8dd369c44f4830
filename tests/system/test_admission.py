"""Documents that together ask more than the machine has: refused before any step, both named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, requires

pytestmark = [requires("root", "busybox", "nsenter"), pytest.mark.both]
BOX = """\
apiVersion: runspec/v1
name: {name}
root: {{image: busybox}}
process: {{args: [/bin/sleep, "100000"]}}
linux: {{resources: {{cpu: {{cpus: "0", quota: {quota}}}, memory: {{limit: {limit}}}}}}}
interfaces: []
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a container's file."""
    def one(name: str, quota: str = "60%", limit: str = "64Mi") -> Path:
        file = tmp_path / f"{name}.yaml"
        file.write_text(BOX.format(name=name, quota=quota, limit=limit))
        return file
    return one


def test_more_than_a_core(cli: Cli, write: Write) -> None:
    """With one applied and one asked, then with both asked; an edit of the one that is there counts anew."""
    a, b = write("one"), write("two")
    both = cli("apply", a, b, status=2).stderr
    assert both == (f"{b}:5:45: linux.resources.cpu.quota: 120% of core 0 are asked for\n"
                    f"  why: one ({a}:5:45) 60%, two ({b}:5:45) 60%; it has 100%, so that not all can have it\n"
                    "  fix: lower a quota, or give one of them other cpus\n")
    assert cli("list", "-q").stdout == ""
    cli("apply", a)
    for verb in ("plan", "apply"):
        assert f"why: one (applied) 60%, two ({b}:5:45) 60%" in cli(verb, b, status=2).stderr
    assert cli("list", "-q").stdout == "one\n"
    cli("apply", write("one", "40%"), b)
    assert "101%" in cli("apply", write("two", "61%"), status=2).stderr
    # What goes away asks for nothing any more.
    cli("destroy", "--yes", "one")
    cli("apply", write("two", "100%"))


def test_limits_beyond_ram_warn(cli: Cli, write: Write) -> None:
    """A limit is no promise."""
    told = cli("apply", write("one", limit="900Gi"), write("two", "40%", "100Gi")).stdout
    assert "warning: one, two: memory.limit comes to 1000Gi, this machine has " in told
    assert "warning" not in cli("apply", write("one", limit="900Gi")).stdout
