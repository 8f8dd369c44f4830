"""User namespaces: maps as large as the kernel takes them, and who owns what on either side."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CHECKOUT, Cli, requires

pytestmark = [requires("root", "busybox", "nsenter", "user_namespace"), pytest.mark.both]
HEAD = """\
apiVersion: runspec/v1
name: users
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]}
interfaces: []
"""
Apply = Callable[[str], int]


@pytest.fixture
def apply(cli: Cli, tmp_path: Path) -> Apply:
    """Applies a container; returns the pid of its init."""
    def one(more: str) -> int:
        file = tmp_path / "users.yaml"
        file.write_text(HEAD + more)
        cli("apply", file)
        assert cli("diff", file).stdout == ""
        return int(json.loads(cli("state", "users").stdout)["pid"])
    return one


def maps(lines: list[tuple[int, int, int]]) -> str:
    """A container with a user namespace of these maps."""
    text = ", ".join(f"{{containerID: {inside}, hostID: {host}, size: {size}}}" for inside, host, size in lines)
    groups = text if len(lines) < 1000 else "{containerID: 0, hostID: 1, size: 1}"      # 50,000 nodes are the most
    return f"linux: {{namespaces: [{{type: user}}], uidMappings: [{text}], gidMappings: [{groups}]}}\n"


def test_as_many_entries_as_the_kernel_takes(apply: Apply) -> None:
    """340 lines, in one write that is just short of a page."""
    lines = [(i, 1000 + 2 * i, 1) for i in range(340)]
    assert 3600 < sum(len(f"{a} {b} {c}\n") for a, b, c in lines) < os.sysconf("SC_PAGESIZE")
    pid = apply(maps(lines))
    for name in ("uid_map", "gid_map"):
        shown = Path(f"/proc/{pid}/{name}").read_text().splitlines()
        assert [tuple(map(int, line.split())) for line in shown] == lines


@pytest.mark.parametrize(("count", "first", "says"), [
    (340, 100000, "needs an id map that one write takes, which is not to be had here"),
    (6000, 100000, "has 6000 entries")])
def test_more_is_refused_before_any_step(cli: Cli, tmp_path: Path, count: int, first: int, says: str) -> None:
    file = tmp_path / "users.yaml"
    file.write_text(HEAD + maps([(i, first + 2 * i, 1) for i in range(count)]))
    told = cli("apply", file, status=2).stderr
    assert f"linux.uidMappings: {says}" in told and "user_namespaces(7)" in told and "fix: join neighbouring" in told
    assert cli("list", "-q").stdout == ""


def test_owners_on_either_side(cli: Cli, apply: Apply) -> None:
    """A mapped bind below a user namespace: root's files are root's on both sides, and so is what is written there.

    On the same directory without a map they are nobody's inside, and nothing can be written.
    """
    # Not every file system takes id maps: /var/tmp is ext4 on both kernels.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as source:
        os.chmod(source, 0o755)
        for name, owner in (("roots", 0), ("users", 1000)):
            Path(source, name).mkdir()
            os.chown(Path(source, name), owner, owner + 1)
        ids = "[{containerID: 0, hostID: 100000, size: 65536}]"
        apply(maps([(0, 100000, 65536)]) + f"""\
mounts:
  - {{destination: /mapped, source: {source}, options: [bind, idmap], uidMappings: {ids}, gidMappings: {ids}}}
  - {{destination: /plain, source: {source}, options: [bind]}}
""")
        told = cli("exec", "users", "/bin/stat", "-c", "%u %g", "/mapped/roots", "/mapped/users", "/plain/roots").stdout
        assert told.splitlines() == ["0 1", "1000 1001", "65534 65534"]
        cli("exec", "users", "/bin/sh", "-c", "touch /mapped/roots/x && touch /mapped/y && chown 5:6 /mapped/y")
        cli("exec", "users", "/bin/touch", "/plain/roots/x2", status=1)
        found = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in Path(source).rglob("*")}
        assert found == {"roots": (0, 1), "users": (1000, 1001), "x": (0, 0), "y": (5, 6)}
        cli("destroy", "--yes", "users")


def test_separate_accounts(cli: Cli) -> None:
    """specs/accounts.yaml: who is root inside is nobody outside, with few capabilities and a filter of calls."""
    cli("apply", CHECKOUT / "specs/accounts.yaml")
    pid = json.loads(cli("state", "accounts").stdout)["pid"]
    told = {line.partition(":")[0]: line.partition(":")[2].split()
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()}
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    assert told["Uid"] == told["Gid"] == ["100000"] * 4
    assert {name: int(told[name][0], 16) for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")} == {
        **dict.fromkeys(("CapBnd", "CapPrm", "CapEff"), 1 << 0 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7),
        "CapInh": 0, "CapAmb": 0}
    assert told["NoNewPrivs"] == ["1"] and told["Seccomp"] == ["2"]
    # Rights of the set that was dropped, and of the host, are missing inside.
    for words in (("mknod", "/tmp/n", "c", "1", "3"), ("ping", "-c", "1", "127.0.0.1"), ("chroot", "/", "/bin/true")):
        cli("exec", "accounts", *words, status=1)
    cli("exec", "accounts", "/bin/sh", "-c", "touch /tmp/x && chown 7:8 /tmp/x")
    mine = os.stat(f"/proc/{pid}/root/tmp/x")
    assert (mine.st_uid, mine.st_gid) == (100007, 100008)
