"""Documents laid over others: what merges, where values stand, which bases are refused (faults/extends.yaml)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import requires

from runspec.spec import extends, rules, source, to_yaml

ENTRIES = yaml.safe_load((Path(__file__).parents[1] / "faults/extends.yaml").read_text())
MAIN = "apiVersion: runspec/v1\nname: a\n"
BASE = "root: {image: busybox}\nprocess: {args: [sh]}\n"


def lay_out(room: Path, files: dict[str, Any]) -> None:
    """Texts are files; `{link, fifo, folder, repeat, bytes, chain}` are what they say."""
    for name, what in files.items():
        path = room / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, str):
            path.write_text(what)
        elif "link" in what:
            path.symlink_to(what["link"])
        elif "fifo" in what:
            os.mkfifo(path)
        elif "folder" in what:
            path.mkdir()
        elif "repeat" in what:
            path.write_text(what.get("prefix", "") + what["repeat"] * what["count"] + what.get("suffix", ""))
        elif "bytes" in what:
            path.write_bytes(bytes.fromhex(what["bytes"]))
        elif "chain" in what:
            for number in range(what["chain"]):
                (room / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
            (room / f"{what['chain']}.yaml").write_text(BASE)


def judge(path: str) -> tuple[list[Any], str]:
    models, faults = rules.judge(*source.gather([path]))
    return [model for model, _ in models], "\n".join(one.text() for one in faults)


@pytest.mark.parametrize("entry", ENTRIES, ids=[one["name"] for one in ENTRIES])
def test_refused(entry: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.chdir(room)
    lay_out(room, entry["files"])
    main = entry.get("main", "t.yaml")
    if main == "t.yaml" and "t.yaml" not in entry["files"]:
        (room / main).write_text(MAIN + f"extends: {entry['extends']}\n")
    began = time.process_time()
    models, text = judge(main)
    assert time.process_time() - began < 1
    assert text == entry["expect"].rstrip("\n") and not models


def test_how_many() -> None:
    assert len(ENTRIES) >= 25 and all(one["class"] == 13 for one in ENTRIES)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(path: str) -> dict[str, Any]:
    models, text = judge(path)
    assert not text
    return to_yaml.config_tree(models[0])


def test_what_merges(room: Path) -> None:
    """Maps merge at any depth, lists and scalars replace, null removes."""
    (room / "base.yaml").write_text("""\
labels: {tier: web, owner: ops, x: y}
hostname: base
root: {image: busybox}
process:
  args: [sleep, "1"]
  env: {A: base, B: base}
linux:
  resources: {memory: {limit: 64Mi}, pids: {limit: 9}}
  sysctl: {net.ipv4.ip_forward: "1", net.ipv4.ip_default_ttl: "9"}
""")
    (room / "t.yaml").write_text(MAIN + """\
extends: base.yaml
labels: {owner: null, tier: db, new: null}
hostname: null
process:
  args: [sh]
  env: {B: own}
linux:
  resources: {memory: null, pids: {limit: 5}}
  sysctl: {net.ipv4.ip_forward: null}
""")
    tree = config("t.yaml")
    assert tree["labels"] == {"tier": "db", "x": "y"} and tree["hostname"] == "a"
    assert tree["process"]["args"] == ["sh"]
    assert tree["process"]["env"][1:] == ["A=base", "B=own"]
    assert "limit" not in tree["linux"]["resources"]["memory"] and tree["linux"]["resources"]["pids"] == {"limit": 5}
    assert tree["linux"]["sysctl"] == {"net.ipv4.ip_default_ttl": "9"}


def test_bases_of_bases_and_folders(room: Path) -> None:
    """Each path is relative to the file that has it; a link that stays inside is followed."""
    lay_out(room, {"bases/common.yaml": BASE + "hostname: common\n", "web.yaml": {"link": "bases/web.yaml"},
                   "bases/web.yaml": "extends: ./common.yaml\nlabels: {tier: web}\n",
                   "t.yaml": MAIN + "extends: bases/web.yaml\n", "u.yaml": MAIN + "extends: web.yaml\n"})
    assert config("t.yaml")["hostname"] == "common" and config("t.yaml")["labels"] == {"tier": "web"}
    _, text = judge("u.yaml")
    assert text == ("web.yaml:1:10: extends: common.yaml does not exist\n"
                    "  why: a base lies in the directory of the file that extends it, or below\n"
                    "  fix: create it, or correct the name")


def test_faults_stand_where_the_value_is(room: Path) -> None:
    lay_out(room, {"bases/b.yaml": "root: {image: busybox}\nprocess:\n  args: [sh]\n  oomScoreAdj: 5000\n"
                                   "linux:\n  sysctl: {vm.swappiness: 1}\nhostnam: x\n",
                   "t.yaml": MAIN + "extends: bases/b.yaml\nlinux: {resources: {pids: {limit: -5}}}\n"})
    _, text = judge("t.yaml")
    heads = [line.partition(": ")[::2] for line in text.splitlines() if not line.startswith("  ")]
    assert ("t.yaml:4:35", "linux.resources.pids.limit: -5 is less than -1") in heads
    assert ("bases/b.yaml:4:16", "process.oomScoreAdj: 5000 is more than 1000") in heads
    assert ("bases/b.yaml:7:1", "hostnam: unknown key") in heads
    assert [at for at, _ in heads] == ["t.yaml:4:35", "bases/b.yaml:4:16", *[at for at, _ in heads[2:]]]


def test_a_list_has_no_mark_of_the_base(room: Path) -> None:
    lay_out(room, {"b.yaml": BASE + "mounts:\n  - {destination: /a, type: tmpfs}\n  - {destination: /b, type: tmpfs}\n",
                   "t.yaml": MAIN + "extends: b.yaml\nmounts: [{destination: /c, type: tmpfs}]\n"})
    (document,) = source.load(["t.yaml"])
    assert "mounts[1]" not in document.marks and document.marks["mounts[0].destination"].file == "t.yaml"
    assert document.marks["root.image"].file == "b.yaml"


@pytest.mark.parametrize("later", [b"more: 1\n", b""])
def test_changed_while_it_is_read(room: Path, monkeypatch: pytest.MonkeyPatch, later: bytes) -> None:
    lay_out(room, {"b.yaml": BASE, "t.yaml": MAIN + "extends: b.yaml\n"})
    read = os.read

    def meddle(fd: int, size: int) -> bytes:
        data = read(fd, size)
        if data == BASE.encode():
            (room / "b.yaml").write_bytes(data + later if later else data[:-1])
        return data

    monkeypatch.setattr(extends.os, "read", meddle)
    _, text = judge("t.yaml")
    assert text == ("t.yaml:3:10: extends: b.yaml changed while it was read\n  why: somebody writes to it\n"
                    "  fix: try again when it is whole")


@requires("root")
def test_unreadable(room: Path) -> None:
    lay_out(room, {"b.yaml": BASE, "t.yaml": MAIN + "extends: b.yaml\n"})
    (room / "b.yaml").chmod(0)
    room.chmod(0o755)
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        for place in room.parents:
            if place.stat().st_uid == 0 and str(place).startswith("/tmp/"):
                place.chmod(0o755)
        os.setgid(65534)
        os.setuid(65534)
        os.write(theirs, judge("t.yaml")[1].encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(ours, 999) .startswith(
        b"t.yaml:3:10: extends: b.yaml cannot be read: Permission denied\n  why: ")
    os.close(ours)
    os.close(theirs)


def test_it_is_part_of_the_digest(room: Path) -> None:
    """A document whose base changed is another document."""
    from runspec.run.request import Piece

    lay_out(room, {"b.yaml": BASE, "t.yaml": MAIN + "extends: b.yaml\n"})
    text = (room / "t.yaml").read_text()
    one, same = Piece(text, "t.yaml", 0).digest, Piece(text, "t.yaml", 0).digest
    (room / "b.yaml").write_text(BASE + "hostname: b\n")
    assert one == same != Piece(text, "t.yaml", 0).digest


def test_eight_bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as README says; one more is refused, see extends.yaml."""
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path, {"t.yaml": "apiVersion: runspec/v1\nname: top\nextends: 0.yaml\n", "many": {"chain": 7}})
    models, faults = judge("t.yaml")
    assert faults == "" and [one.name for one in models] == ["top"]
