"""Tables of containers that are alike share their operations, and are as if each had been made alone."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from runspec import abi
from runspec.cli.declare import read_specs
from runspec.kernel import table as packing
from runspec.plan import planner
from runspec.plan.facts import Facts
from runspec.plan.host import Host
from runspec.plan.steps import base
from runspec.plan.steps.base import ChildStep, Table
from runspec.plan.steps.namespaces import SpawnInit
from runspec.spec.model import Resources, Spec

HOST = Host(hierarchies=tuple((name, f"/sys/fs/cgroup/{name}") for name in ("cpu", "cpuset", "devices", "memory")),
            unified=None, controllers2=(), cpus="0-1", mems="0", last_cap=40, features=(), boot_id="b")
SPECS = sorted((Path(__file__).parents[2] / "specs").glob("*.yaml"))


def tables(spec: Spec, names: tuple[str, ...]) -> list[tuple[Table, int]]:
    """The table of a new container under each of these names, and how many slots it is given."""
    out = []
    for name in names:
        one = spec.replace(name=name, hostname=name, linux=spec.linux.replace(
            cgroups_path=f"/runspec/{name}", resources=Resources()))      # they are no part of the table
        facts = Facts("absent")
        facts.sources = {mount.source: ("directory", "", "") for mount in one.mounts if mount.source}
        facts.nics = {link.parent: (link.parent, "k", "02:00:00:00:00:01", 1500)
                      for link in one.interfaces if link.parent}
        steps = planner.create(planner.Item(one, None, facts, image="/images/x"), HOST)
        spawn = next(step for step in steps if isinstance(step, SpawnInit))
        given = tuple(spawn.kept) + tuple(f"map:{i}" for i, mount in enumerate(one.mounts) if mount.uid_mappings)
        given = tuple("ns:user" if word == "user" else word for word in given)
        given += tuple(f"ns:{kind}" for kind, _ in spawn.joins)
        table = Table(given)
        table.fill([step for step in steps if isinstance(step, ChildStep)])
        out.append((table, len(given)))
    return out


def texts(packed: bytes) -> list[tuple[object, ...]]:
    """Each row of a packed table with its texts in place of their offsets."""
    _, count, size, _ = struct.unpack_from("<4I", packed)
    assert size == len(packed)
    text = 16 + count * abi.OP_BYTES

    def at(offset: int) -> bytes:
        if not offset:
            return b""
        assert offset % 4 == 0
        length, = struct.unpack_from("<I", packed, text + offset)
        end = text + offset + 4 + length
        assert packed[end] == 0
        return packed[text + offset + 4:end]

    out = []
    for index in range(count):
        number, slot, dir_, s1, s2, pad, a, b, c = struct.unpack_from("<IiiIIIQQQ", packed, 16 + index * abi.OP_BYTES)
        out.append((number, slot, dir_, at(s1), at(s2), a, b, c, pad))
    return out


def containers() -> list[Spec]:
    return [model for path in SPECS for model, _ in read_specs((str(path),), host=False) if isinstance(model, Spec)]


@pytest.mark.parametrize("spec", containers(), ids=lambda one: one.name)
def test_shared_as_alone(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("first", "second", "third", "fourth")
    monkeypatch.setattr(base, "_CHUNKS", {})
    monkeypatch.setattr(base, "_OPS", {})
    shared = tables(spec, names)
    for word in ("_pool", "_places"):
        monkeypatch.setattr(packing, word, type(getattr(packing, word))(getattr(packing, word)))
    packed = [texts(packing.pack(table.ops, given)) for table, given in shared]
    alone = []
    for name in names:
        base._CHUNKS.clear()
        base._OPS.clear()
        alone += tables(spec, (name,))
    for (one, given), (other, _), rows in zip(shared, alone, packed, strict=True):
        assert one.ops == other.ops and one.named == other.named
        assert [step and (type(step), step.target) for step in one.owners] == [
            step and (type(step), step.target) for step in other.owners]
        assert rows == [op._key() for op in one.ops]
        assert rows == texts(packing.pack([abi.Op(*op._key()[:5], *op._key()[5:]) for op in one.ops], given))
    assert sum(op.shared for op in shared[1][0].ops) > 0.5 * len(shared[1][0].ops)
    assert all(op.row for op in shared[1][0].ops if op.shared)


def test_the_pool_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that no longer fit are each table's own."""
    monkeypatch.setattr(packing, "_pool", bytearray(4))
    monkeypatch.setattr(packing, "_places", {b"": 0})
    ops = [abi.Op(abi.OP_CHDIR, s1=b"/" + bytes([65 + n]) * 40_000) for n in range(8)]
    for op in ops:
        op.shared = True
    for _ in range(2):
        assert [row[3] for row in texts(packing.pack(ops))] == [op.s1 for op in ops]
    assert len(packing._pool) < packing._POOL_BYTES and not all(op.row for op in ops)
