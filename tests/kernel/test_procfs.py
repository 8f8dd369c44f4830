"""Parsers of /proc: written examples, this process, and damaged bytes."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from runspec.kernel import procfs

MOUNTINFO = rb"""23 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw,errors=remount-ro
31 23 0:28 /a\040b /mnt/tab\011and\134back\043 ro,nosuid master:2 propagate_from:1 - tmpfs none rw,mode=755
32 31 0:29 / /x rw unbindable - fuse.-\040- so\040urce rw
33 31 0:30 / /y rw - overlay overlay rw,lowerdir=/a\054b:/c,upperdir=/u
broken
34 31 0:31 / /z rw - tmpfs
"""


def test_mountinfo() -> None:
    one, two, three, four = procfs.parse_mountinfo(MOUNTINFO)
    assert (one.id, one.parent, one.device, one.mount_point, one.fstype) == (23, 1, "254:0", "/", "ext4")
    assert one.propagation == ("shared:1",) and one.super_options == ("rw", "errors=remount-ro")
    assert two.root == "/a b" and two.mount_point == "/mnt/tab\tand\\back#"
    assert two.options == ("ro", "nosuid") and two.propagation == ("master:2", "propagate_from:1")
    assert three.source == "so urce" and three.propagation == ("unbindable",)
    assert four.propagation == () and four.super_options[1] == "lowerdir=/a,b:/c"
    assert "mount_point='/y'" in repr(four)


def test_own_mountinfo_has_a_root() -> None:
    mounts = procfs.parse_mountinfo(Path("/proc/self/mountinfo").read_bytes())
    assert len(mounts) == Path("/proc/self/mountinfo").read_bytes().count(b"\n")
    assert any(one.mount_point == "/" for one in mounts)


@pytest.mark.parametrize(("text", "plain"), [
    (b"a", "a"), (rb"\040", " "), (rb"a\\040", "a\\ "), (rb"\9", "\\9"), (rb"\400", "\\400"), (rb"\04", "\\04"),
    (b"\xff", "\udcff"), (rb"\303\244", "ä")])
def test_unescape(text: bytes, plain: str) -> None:
    assert procfs.unescape(text) == plain


def test_status() -> None:
    one = procfs.parse_status(
        b"Name:\ta b\nUmask:\t0022\nState:\tS (sleeping)\nPid:\t7\nPPid:\t1\nUid:\t0\t1\t2\t3\nGid:\t4\t5\t6\t7\n"
        b"Groups:\t8 9 \nNSpid:\t7\t1\nThreads:\t2\nCapInh:\t0000000000000001\nCapPrm:\t0000000000000002\n"
        b"CapEff:\t0000000000000004\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n"
        b"Seccomp:\t2\n")
    assert (one.name, one.umask, one.state, one.pid, one.ppid, one.threads) == ("a b", 0o22, "S", 7, 1, 2)
    assert one.uid == (0, 1, 2, 3) and one.gid == (4, 5, 6, 7) and one.groups == (8, 9) and one.nspid == (7, 1)
    assert (one.cap_inheritable, one.cap_permitted, one.cap_effective, one.cap_ambient) == (1, 2, 4, 0)
    assert one.cap_bounding == 2**41 - 1 and one.no_new_privs is True and one.seccomp == 2


def test_own_status() -> None:
    one = procfs.parse_status(Path("/proc/self/status").read_bytes())
    assert (one.pid, one.ppid, one.uid[1], one.gid[1]) == (os.getpid(), os.getppid(), os.geteuid(), os.getegid())
    assert set(one.groups) == set(os.getgroups()) and one.state in "RS"


@pytest.mark.parametrize("comm", ["init", "a b", ")", ") R 1 (", "(((", ""])
def test_start_time(comm: str) -> None:
    fields = " ".join(["S", "3", *map(str, range(5, 22)), "123456", *map(str, range(23, 53))])
    assert procfs.parse_stat(f"9 ({comm}) {fields}\n".encode()) == (comm, "S", 3, 123456)
    assert procfs.parse_start_time(f"9 ({comm}) {fields}\n".encode()) == 123456


def test_own_stat_and_cut_ones() -> None:
    data = Path("/proc/self/stat").read_bytes()
    assert procfs.parse_stat(data)[2] == os.getppid()
    for size in range(data.rindex(b")") + 10):
        with pytest.raises(ValueError):
            procfs.parse_stat(data[:size])


def test_limits() -> None:
    mine = procfs.parse_limits(Path("/proc/self/limits").read_bytes())
    assert len(mine) == 16
    for name, pair in mine.items():
        if hasattr(resource, name):
            assert pair == tuple(procfs.INFINITY if x == -1 else x for x in resource.getrlimit(getattr(resource, name)))


def test_id_map() -> None:
    assert procfs.parse_id_map(b"         0     100000      65536\n     70000          0          1\n") == (
        (0, 100000, 65536), (70000, 0, 1))
    assert procfs.parse_id_map(b"") == ()


@given(st.binary(max_size=300))
def test_no_bytes_break_a_parser(data: bytes) -> None:
    procfs.unescape(data)
    for parse in (procfs.parse_mountinfo, procfs.parse_limits, procfs.parse_status, procfs.parse_id_map,
                  procfs.parse_stat):
        with contextlib.suppress(ValueError):
            parse(data)
