"""The control groups that peers without any are put into, on both versions."""

from __future__ import annotations

from models import V1, V2, spec

from runspec.bench import limits


def test_version_1_is_one_directory_a_controller() -> None:
    groups = limits.groups(spec(), V1, "/top/peer/all")
    assert groups.folders == tuple(f"{top}/top/peer/all" for _, top in V1.hierarchies)
    lines = dict(groups.lines)
    assert lines["/cg/cpu/top/peer/all/cpu.shares"] == "250"
    assert lines["/cg/cpuset/top/peer/all/cpuset.cpus"] == "0"
    assert lines["/cg/memory/top/peer/all/memory.limit_in_bytes"] == str(64 << 20)
    assert lines["/cg/pids/top/peer/all/pids.max"] == "8"
    devices = [line for line in groups.lines if "/devices/" in line[0]]
    assert devices[0] == ("/cg/devices/top/peer/all/devices.deny", "a")
    assert ("/cg/devices/top/peer/all/devices.allow", "c 1:3 rwm") in devices
    assert limits.delegated(groups, V1) == []


def test_controllers_that_share_a_directory_are_one() -> None:
    host = V1.replace(hierarchies=(("cpu", "/cg/both"), ("cpuacct", "/cg/both"), ("memory", "/cg/memory")))
    assert limits.groups(spec(), host, "/x").folders == ("/cg/both/x", "/cg/memory/x")


def test_version_2_is_one_directory_whose_parents_hand_controllers_down() -> None:
    groups = limits.groups(spec(), V2, "/top/peer/all")
    assert groups.folders == ("/cg/top/peer/all",)
    lines = dict(groups.lines)
    assert lines["/cg/top/peer/all/cpu.weight"] == "25"
    assert lines["/cg/top/peer/all/memory.max"] == str(64 << 20)
    # Device rules are a program there, which a shell cannot load.
    assert not any("devices" in file for file in lines)
    words = "+cpuset +cpu +io +memory +pids"
    assert limits.delegated(groups, V2) == [(f"/cg{below}/cgroup.subtree_control", words)
                                            for below in ("", "/top", "/top/peer")]
