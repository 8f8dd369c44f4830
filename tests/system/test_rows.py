"""Every field walked: set, judged from outside, changed with the promised class, drifted, repaired."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import rows
import yaml
from conftest import Cli, Netns, requires
from kernels import IN_VM, cgroup_mounts, lacks
from machine import assert_nothing_leaked
from rows.base import Live, Row
from verbs import Verbs

from runspec.spec import fields

NAME = "row"
BASE: dict[str, Any] = {"apiVersion": "runspec/v1", "name": NAME, "root": {"image": "busybox"},
                        "process": {"args": ["/bin/sleep", "100000"]}, "interfaces": []}
ROWS: list[Row] = [row for module in pkgutil.iter_modules(rows.__path__) if module.name != "base"
                   for row in importlib.import_module(f"rows.{module.name}").ROWS]
pytestmark = requires("root", "busybox")


def merge(base: Any, more: Any) -> Any:
    """Maps merge, all else replaces; null removes what the base has. No list and no text is shared."""
    if isinstance(base, dict) and isinstance(more, dict):
        return {key: merge(base.get(key), more.get(key, base.get(key))) for key in {**base, **more}
                if more.get(key, key) is not None or base.get(key) is None}
    return more


class Walk:
    """One container that changes from row to row, which is what makes the walk short."""

    def __init__(self, folder: Path) -> None:
        self.netns = Netns()
        self.cli = Cli(self.netns, Path("/run/runspec/state"))
        self.verbs = Verbs(self.cli)
        self.file, self.room = folder / "row.yaml", folder

    def write(self, fragment: dict[str, Any], also: dict[str, Any] | None = None) -> None:
        documents = [merge(BASE, fragment)] + ([also] if also else [])
        text = json.dumps(documents).replace("ROOM", str(self.room))
        self.file.write_text(yaml.safe_dump_all(json.loads(text), sort_keys=False))

    def live(self) -> Live:
        pid = json.loads(self.verbs("state", NAME))["pid"]
        groups = {controller: f"{where}/runspec/{NAME}" for kind, where, options in cgroup_mounts()
                  for controller in (options.split(",") if kind == "cgroup" else [""])
                  if Path(where, "runspec", NAME).exists()}
        return Live(NAME, pid, groups, self.room, self.inside, self.host)

    def inside(self, *words: str) -> str:
        return self.verbs.run("exec", NAME, *words)[1]

    def host(self, *words: str) -> str:
        done = self.netns.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def differs(self) -> dict[str, dict[str, Any]]:
        status, text = self.verbs.run("diff", "-o", "json", self.file)
        assert status in (0, 1), text
        return {one["path"]: one for one in json.loads(text)["changes"]}

    def apply(self) -> None:
        self.verbs("apply", "--yes", self.file)
        assert IN_VM or not self.differs()      # apply has looked itself; there, where looking is slow, once is enough

    def destroy(self) -> None:
        for kind, where, _ in cgroup_mounts():
            if kind == "cgroup2" and Path(where, "runspec/row-moved").exists():
                Path(where, "runspec/row-moved").rmdir()
        self.cli.sweep()
        self.cli("destroy", "--yes", "row0", status=None)

    def end(self) -> None:
        self.netns.close()


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    with more_hierarchies(tmp_path_factory.mktemp("groups")):
        one = Walk(tmp_path_factory.mktemp("rows"))
        for name in ("one", "two"):
            (one.room / name).mkdir()
            (one.room / name / "which").write_text(f"{name}\n")
        before = one.cli.picture()
        yield one
        one.destroy()
        assert_nothing_leaked(before, one.cli.picture)
        one.end()


@contextmanager
def more_hierarchies(folder: Path) -> Iterator[None]:
    """Controllers that only cgroup v1 has, mounted for a while where the machine is the tests' own."""
    made = []
    for word in ("net_cls", "net_prio"):
        if IN_VM and not lacks(word) and not any(word in options for _, _, options in cgroup_mounts()):
            where = folder / word
            where.mkdir()
            subprocess.run(["mount", "-t", "cgroup", "-o", word, "cgroup", where], check=True)
            made.append(where)
    yield
    for where in made:
        subprocess.run(["umount", where], check=True)


def identity(live: Live) -> tuple[int, str]:
    """(pid, start time) of init."""
    return live.pid, live.proc("stat").rpartition(")")[2].split()[19]


@pytest.mark.parametrize("row", [pytest.param(row, marks=[requires(*row.needs)] * bool(row.needs)
                                              + [pytest.mark.both] * row.both) for row in ROWS],
                         ids=[row.path for row in ROWS])
def test_row(row: Row, walk: Walk) -> None:
    """Accepted, done, read back, changed at the promised price, told apart when it drifts, and repaired."""
    with row.around(walk.room):
        walk_row(row, walk)


def walk_row(row: Row, walk: Walk) -> None:
    at, impact = row.at or row.path, fields.row(row.path).impact if row.impact is None else row.impact
    also = row.also or ({}, {})
    walk.write(row.before, also[0])
    walk.apply()
    live = walk.live()
    assert row.judge(live) == row.expect[0]

    if (row.before, also[0]) != (row.after, also[1]):
        walk.write(row.after, also[1])
        found = walk.differs()
        assert at in found, f"diff names {sorted(found)}"
        assert (found[at]["cause"], found[at]["class"]) == ("edited", fields.JSON_WORDS[impact])
        assert {one["cause"] for one in found.values()} == {"edited"}
        before, net = identity(live), os.readlink(f"/proc/{live.pid}/ns/net")
        walk.apply()
        live = walk.live()
        assert row.judge(live) == row.expect[1]
        assert (identity(live) == before) == (impact in (fields.NONE, fields.IN_PLACE))
        if impact == fields.RESTART:
            assert os.readlink(f"/proc/{live.pid}/ns/net") == net

    if isinstance(row.drift, str):
        assert len(row.drift) > 10
    else:
        row.drift(live)
        found = walk.differs()
        assert at in found, f"diff names {sorted(found)}"
        assert found[at]["cause"] == "drifted"
        walk.apply()
        assert row.judge(walk.live()) == row.expect[1]
    if row.rest is not None:
        walk.write({})
        walk.apply()
        assert row.judge(walk.live()) == row.rest


# Fields without a row of their own, and why; a name that ends with a dot stands for all below it.
REASONS = {
    "state": "no key of the file; tests/system/test_frozen.py",
    "name": "another name is another container",
    "type": "a bridge is the only type there is",
    "external": "a bridge is made here or elsewhere: the change is refused, tests/system/test_networks.py",
    "interfaces[].network": "tests/system/test_kinds.py, with two networks",
    "interfaces[].parent": "tests/system/test_kinds.py with two parents, tests/system/test_lease.py with NICs",
    "root.digest": "it follows from root.image: tests/system/test_images.py",
    "process.terminal": "tests/system/test_terminal.py", "process.consoleSize": "tests/system/test_terminal.py",
    "process.execCPUAffinity.initial": "exec has left it before anybody can look",
    "process.capabilities.effective": "execve(2) makes it from the others, capabilities(7)",
    "process.apparmorProfile": "neither kernel has AppArmor: refused",
    "process.selinuxLabel": "neither kernel has SELinux: refused",
    "linux.mountLabel": "neither kernel has SELinux: refused",
    "linux.memoryPolicy.nodes": "both kernels have one node of memory",
    "linux.memoryPolicy.flags": "with one node they change nothing that shows",
    "linux.personality.flags": "OCI 1.3 defines none",
    "linux.intelRdt": "neither kernel has resctrl: refused",
    "linux.netDevices": "tests/system/test_netdevices.py",
    "hooks.": "tests/system/test_hooks.py runs all six kinds",
    "linux.seccomp": "not walked yet", "linux.seccomp.": "not walked yet",
    "linux.resources.blockIO.leafWeight": "the CFQ scheduler has it, gone since Linux 5.0",
}


def test_every_field_has_a_row_or_a_reason() -> None:
    """What the table in the README promises is walked here, under the field's name."""
    walked = {row.path for row in ROWS}
    missing = [field.path for field in fields.ROWS if field.path not in walked and field.path not in REASONS
               and not any(path.startswith(f"{field.path}.") for path in walked)
               and not any(field.path.startswith(one) for one in REASONS if one.endswith("."))]
    assert not missing
    assert walked <= {field.path for field in fields.ROWS}
    top = Path(__file__).parent.parent.parent
    named = [word.strip(",:") for reason in REASONS.values() for word in reason.split() if word.startswith("tests/")]
    assert not [word for word in named if not (top / word).exists()]
