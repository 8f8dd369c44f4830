"""Where control groups are: written examples of v1, v2 and hybrid hosts, and this one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from runspec.kernel import cgroupfs
from runspec.kernel.procfs import parse_mountinfo
from runspec.plan.host import Host

HYBRID = b"""32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /box /somewhere/else rw - cgroup cgroup rw,memory
36 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,xattr,memory
37 31 0:32 / /late rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_hierarchies() -> None:
    assert cgroupfs.parse_hierarchies(parse_mountinfo(HYBRID)) == (
        (("cpu", "/sys/fs/cgroup/cpu,cpuacct"), ("cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
         ("memory", "/sys/fs/cgroup/memory")), "/sys/fs/cgroup/unified")
    v2 = b"24 23 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
    assert cgroupfs.parse_hierarchies(parse_mountinfo(v2)) == ((), "/sys/fs/cgroup")
    assert cgroupfs.parse_hierarchies([]) == ((), None)


def test_membership() -> None:
    assert cgroupfs.parse_membership(b"9:name=systemd:/\n2:cpu,cpuacct:/a:b\n0::/c\n") == {
        "name=systemd": "/", "cpu": "/a:b", "cpuacct": "/a:b", "": "/c"}
    assert cgroupfs.parse_membership(b"") == {}


@pytest.mark.parametrize(("text", "numbers", "again"), [
    ("0-1,3\n", (0, 1, 3), "0-1,3"), ("", (), ""), ("3,0,1,2", (0, 1, 2, 3), "0-3"), ("5", (5,), "5"),
    ("0,2,4", (0, 2, 4), "0,2,4"), ("1-1", (1,), "1")])
def test_list(text: str, numbers: tuple[int, ...], again: str) -> None:
    assert cgroupfs.parse_list(text) == numbers and cgroupfs.format_list(numbers) == again


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "0-99999999", "1--2", "٣"])
def test_no_list(text: str) -> None:
    with pytest.raises(ValueError):
        cgroupfs.parse_list(text)


@given(st.sets(st.integers(0, 300)))
def test_list_there_and_back(numbers: set[int]) -> None:
    assert cgroupfs.parse_list(cgroupfs.format_list(numbers)) == tuple(sorted(numbers))


class Reader:
    """The reading part of the Kernel."""

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def try_read(self, path: str) -> bytes | None:
        return Path(path).read_bytes() if Path(path).exists() else None

    def exists(self, path: str) -> bool:
        return Path(path).exists()


def test_this_host() -> None:
    host = Host(**cgroupfs.host_facts(Reader()))
    assert host.last_cap >= 40 and len(host.boot_id) == 36
    assert set(os.sched_getaffinity(0)) <= set(cgroupfs.parse_list(host.cpus))
    assert "userns" in host.features
    for name, directory in host.hierarchies:
        assert os.path.isdir(directory) and host.version_of(name) == 1
    whole = bool({"cpu", "memory", "pids"} & set(host.controllers2))
    for name in host.controllers2:
        assert host.version_of(name) == (2 if whole else 0)
