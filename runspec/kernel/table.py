"""Packs operations into the table that the interpreter reads; its form is in native/ops.h."""

from __future__ import annotations

import struct

from runspec import abi
from runspec.errors import HostError
from runspec.kernel import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD = struct.Struct("<4I")
_OP = struct.Struct("<IiiIIIQQQ")
_LENGTH = struct.Struct("<I")
# Texts of operations that several tables have, in the same place in each of these: offset 0 means none.
_POOL_BYTES = 1 << 17
_pool = bytearray(4)
_places = {b"": 0}


def pack(ops: Sequence[abi.Op], given: int = 0) -> bytes:
    """Lays out a table, each number checked against the width of its field.

    Args:
        ops: the operations in order.
        given: how many slots are handed over at spawn.

    Returns:
        The bytes of the table.
    Raises:
        HostError: too many operations, or their texts are too long together.
        ValueError: a number that does not fit its field, or names no operation or slot.
    """
    if not 0 <= given <= abi.TABLE_SLOTS:
        raise ValueError(f"{given} slots given, at most {abi.TABLE_SLOTS}")
    if len(ops) > abi.TABLE_MAX_OPS:
        raise HostError(f"{len(ops)} operations for one process, at most {abi.TABLE_MAX_OPS}",
                        fix="fewer mounts, devices or network settings in one container")
    rows: list[bytes] = []
    late: list[tuple[int, abi.Op]] = []
    for op in ops:
        if op.shared and not op.row and len(_pool) + len(op.s1) + len(op.s2) < _POOL_BYTES:
            op.row = _row(op, _pool, _places, _places)
        if not op.row:
            late.append((len(rows), op))
        rows.append(op.row)
    # Rows of shared operations count on the pool, which then is the beginning of the texts.
    alone = len(late) == len(rows)
    texts, offsets = bytearray(4) if alone else bytearray(_pool), {b"": 0}
    known = offsets if alone else _places
    for index, op in late:
        rows[index] = _row(op, texts, offsets, known)
    size = _HEAD.size + len(rows) * _OP.size + len(texts)
    if size > abi.TABLE_MAX_BYTES:
        raise HostError(f"{size} bytes of operations for one process, at most {abi.TABLE_MAX_BYTES}",
                        fix="shorter arguments, environment or mount options")
    return b"".join([_HEAD.pack(abi.TABLE_MAGIC, len(rows), size, given), *rows, texts])


def _row(op: abi.Op, texts: bytearray, offsets: dict[bytes, int], known: dict[bytes, int]) -> bytes:
    """One row; texts that are neither among those known nor those of before are added to them."""
    places = []
    for text in (op.s1, op.s2):
        at = known.get(text)
        if at is None:
            at = offsets.get(text)
        if at is None:
            at = offsets[text] = len(texts)
            texts += _LENGTH.pack(_within(op, "text length", len(text), 0, abi.TABLE_MAX_BYTES))
            texts += text
            texts += bytes(4 - len(text) % 4)   # at least the NUL
        places.append(at)
    own, slots = abi.HOST_CWD, abi.TABLE_SLOTS
    if op.number not in abi.OP_NAMES or not -1 <= op.slot < slots or not (-1 <= op.dir < slots or op.dir == own):
        _refuse(op)
    try:        # struct itself holds each number against its field's width
        return _OP.pack(op.number, op.slot, op.dir, *places, op.pad, op.a, op.b, op.c)
    except struct.error:
        return _refuse(op)


def memfd(data: bytes) -> int:
    """A sealed memfd with a packed table, the caller's to close; see memfd_create(2)."""
    return native.sealed(b"runspec-table", data)


def _refuse(op: abi.Op) -> bytes:
    """Say which number of an operation does not fit."""
    if op.number not in abi.OP_NAMES:
        raise ValueError(f"no operation {op.number}")
    _within(op, "slot", op.slot, -1, abi.TABLE_SLOTS - 1)
    if op.dir != abi.HOST_CWD:
        _within(op, "dir", op.dir, -1, abi.TABLE_SLOTS - 1)
    _within(op, "pad", op.pad, 0, 2**32 - 1)
    for name in "abc":
        _within(op, name, getattr(op, name), 0, 2**64 - 1)
    raise AssertionError(op)


def _within(op: abi.Op, field: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        if field == "text length":
            raise HostError(f"{abi.OP_NAMES.get(op.number)}: a text of {value} bytes, at most {high}",
                            "the child keeps it in memory of this size", "write less there")
        raise ValueError(f"{op!r}: {field} {value} is not in {low}..{high}")
    return value
