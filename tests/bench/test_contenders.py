"""Each contender really runs two containers and leaves nothing; what it made is read in the kernel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import requires

from runspec.bench import world
from runspec.bench.contender import CONTENDERS

NAMES = [name for name in CONTENDERS if name != "native"]
WITHOUT_LINKS = ("bubblewrap", "systemd-nspawn")
WITHOUT_EXEC = ("bubblewrap", "systemd-nspawn")
KILL, SYS_ADMIN = 1 << 5, 1 << 21


def report(name: str, file: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `inside.py` saw."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent)])
    found = world.inside({"contender": name, "file": f"specs/{file}"}, "inside")
    if found["missing"].startswith("no "):
        pytest.skip(found["missing"])
    return found


@requires("root", "busybox", "bridge", "veth")
@pytest.mark.parametrize("name", NAMES)
def test_one_life(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = report(name, "start.yaml", monkeypatch)
    assert not found.get("trouble") and not found["missing"]
    assert found["names"] == ["start0", "start1"]
    for one in found["running"]:
        assert one["comm"] == "sleep"
        assert one["private"] == ["cgroup", "ipc", "mnt", "net", "pid", "uts"]
        assert one["pid inside"] == 1
        assert (one["memory"], one["pids"]) == (str(64 << 20), "64")
        assert one["shares"] in ("1000", "100", "39")     # v1; v2 as runspec has it; v2 by OCI's conversion
        assert one["caps"] & KILL and not one["caps"] & SYS_ADMIN
        assert set(one["links"]) <= {"lo"}
    assert (found["version"] and "start" in found["command"]) or "sleep" in found["command"]
    assert found.get("exec") == (None if name in WITHOUT_EXEC else "42\n")
    assert found["run"].strip() == "42"
    # lxc-start in the foreground ends with 0 whatever its program's status is.
    assert found["failed"] == "42\n" if name == "lxc" else found["failed"].startswith("refused: ")
    assert {key: value for key, value in found.items() if key.startswith("after")} == {
        "after": {}, "after run": {}, "after failed": {}}


@requires("root", "busybox", "bridge", "veth")
@pytest.mark.parametrize("name", NAMES)
def test_one_life_with_a_link(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = report(name, "start-network.yaml", monkeypatch)
    if name in WITHOUT_LINKS:
        assert "link" in found["missing"]
        return
    assert not found.get("trouble") and not found["missing"]
    for number, one in enumerate(found["running"]):
        assert one["links"]["eth0"] == [f"10.94.0.{2 + number}/16"]
        assert one["gateway"] == ["10.94.255.254"]
    assert found["after"] == {}
