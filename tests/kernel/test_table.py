"""The table: its form, its widths, and what the interpreter's check refuses."""

from __future__ import annotations

import errno
import os
import random
import struct
from pathlib import Path

import children
import pytest

from runspec import abi
from runspec.abi import Op
from runspec.errors import HostError
from runspec.kernel import native, table

GOOD = [
    Op(abi.OP_SETSID),
    Op(abi.OP_OPEN, slot=3, s1=b"/proc/self/status", a=abi.O_RDONLY),
    Op(abi.OP_READ, dir=3, a=100),
    Op(abi.OP_MKNOD, s1=b"null", a=0o020666, b=0x103),
    Op(abi.OP_WRITE, s1=b"/x", s2=b"y\0z"),
    Op(abi.OP_SETGROUPS, s1=struct.pack("3I", 1, 2, 3)),
    Op(abi.OP_EXEC, s1=b"/bin/busybox\0true\0", s2=b"A=b\0"),
]


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return children.sanitized(tmp_path_factory.mktemp("hosted"))


def answers(program: Path, folder: Path, tables: list[bytes]) -> list[int]:
    files = []
    for number, data in enumerate(tables):
        files.append(folder / str(number))
        files[-1].write_bytes(data)
    return children.checked(program, files)


def test_sizes_agree_with_c() -> None:
    assert (table._HEAD.size, table._OP.size) == (abi.HEAD_BYTES, abi.OP_BYTES)
    assert native._HEADER.size == abi.REPORT_BYTES


def test_texts_are_shared_and_aligned() -> None:
    packed = table.pack([Op(abi.OP_OPEN, slot=1, s1=b"/abc"), Op(abi.OP_OPEN, slot=2, s1=b"/abc")])
    assert packed.count(b"/abc") == 1
    assert len(packed) % 4 == 0 and struct.unpack_from("<4I", packed) == (abi.TABLE_MAGIC, 2, len(packed), 0)


def test_equality_and_repr() -> None:
    assert Op(abi.OP_UMASK, a=0o22) == Op(abi.OP_UMASK, a=0o22) != Op(abi.OP_UMASK, a=0o77)
    assert repr(Op(abi.OP_OPEN, slot=1, s1=b"/x", a=16)) == "Op(OPEN, slot=1, s1=b'/x', a=0x10)"
    assert len({Op(1), Op(1), Op(2)}) == 2


@pytest.mark.parametrize(
    "op",
    [
        Op(0),
        Op(47),
        Op(abi.OP_OPEN, slot=64),
        Op(abi.OP_OPEN, slot=-2),
        Op(abi.OP_OPEN, dir=64),
        Op(abi.OP_OPEN, dir=-99),
        Op(abi.OP_UMASK, a=2**64),
        Op(abi.OP_UMASK, b=-1),
        Op(abi.OP_UMASK, c=2**64),
        Op(abi.OP_UMASK, pad=2**32),
    ],
)
def test_a_number_out_of_its_field_is_refused(op: Op) -> None:
    with pytest.raises(ValueError, match=r"no operation|is not in"):
        table.pack([op])


def test_width_limits_are_accepted() -> None:
    table.pack(
        [Op(abi.OP_OPEN, slot=63, dir=63, s1=b"x", a=2**64 - 1, b=2**64 - 1, c=2**64 - 1, pad=2**32 - 1)], 64
    )


@pytest.mark.parametrize("length", [2**16 - 1, 2**16, 2**16 + 1])
def test_text_around_16_bits_arrives_whole(length: int) -> None:
    text = b"A=" + b"x" * (length - 2)
    script = "echo ${#A}"
    got = children.output(
        [Op(abi.OP_EXEC, s1=b"/bin/busybox\0sh\0-c\0" + script.encode() + b"\0", s2=text + b"\0")]
    )
    assert got == f"{length - 2}\n"


def test_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="65 slots"):
        table.pack([], 65)
    with pytest.raises(HostError, match="4097 operations"):
        table.pack([Op(abi.OP_SETSID)] * 4097)
    with pytest.raises(HostError, match="a text of"):
        table.pack([Op(abi.OP_WRITE, s2=bytes(abi.TABLE_MAX_BYTES + 1))])
    with pytest.raises(HostError, match="bytes of operations"):
        table.pack([Op(abi.OP_WRITE, s2=b"a" * 5_000_000), Op(abi.OP_WRITE, s2=b"b" * 5_000_000)])


def test_memfd_is_sealed() -> None:
    fd = table.memfd(table.pack(GOOD))
    try:
        for act in (
            lambda: os.write(fd, b"x"),
            lambda: os.ftruncate(fd, 0),
            lambda: os.ftruncate(fd, 1 << 20),
        ):
            with pytest.raises(PermissionError):
                act()
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def broken_tables() -> list[bytes]:
    """Tables broken in one place each: every one must be refused."""
    good = table.pack(GOOD)
    size, ops = len(good), len(GOOD)
    texts = abi.HEAD_BYTES + ops * abi.OP_BYTES
    out = [good[:length] for length in (*range(0, size, 7), size - 1)]
    for field, values in (
        (0, (0, 1)),
        (1, (ops + 100, 4097, 2**32 - 1)),
        (2, (0, size - 1, size + 1, 2**32 - 1)),
        (3, (65, 2**31, 2**32 - 1)),
    ):
        out += [good[: 4 * field] + struct.pack("<I", value) + good[4 * field + 4 :] for value in values]
    for row in range(ops):
        base = abi.HEAD_BYTES + row * abi.OP_BYTES
        for offset, values in (
            (0, (0, 47, 2**32 - 1)),
            (4, (64, 2**31)),
            (8, (64, 2**31, 2**32 - 99)),
            (12, (3, size, size - texts, size - texts - 4, 2**32 - 4)),
            (16, (2, size, size - texts, 2**32 - 1)),
        ):
            out += [
                good[: base + offset] + struct.pack("<I", value) + good[base + offset + 4 :]
                for value in values
            ]
    at = texts + 4  # the first text's length
    out += [good[:at] + struct.pack("<I", value) + good[at + 4 :] for value in (0, 1, 2**31, 2**32 - 1, size)]
    return out


def test_every_broken_table_is_refused(hosted: Path, tmp_path: Path) -> None:
    tables = broken_tables()
    assert answers(hosted, tmp_path, [table.pack(GOOD), table.pack([], 64)]) == [0, 0]
    accepted = [
        number for number, answer in enumerate(answers(hosted, tmp_path, tables)) if answer != -errno.EBADMSG
    ]
    assert accepted == []


def test_a_refused_table_does_nothing(tmp_path: Path) -> None:
    """The check comes before the first op: a good WRITE before a bad op must not happen."""
    ops = [Op(abi.OP_WRITE, s1=bytes(tmp_path / "made"), s2=b"x", a=abi.O_CREAT, c=0o600), Op(abi.OP_SETSID)]
    good = table.pack(ops)
    bad = (
        good[: abi.HEAD_BYTES + abi.OP_BYTES]
        + struct.pack("<I", 99)
        + good[abi.HEAD_BYTES + abi.OP_BYTES + 4 :]
    )
    with children.Run([], data=bad) as child:
        [report] = child.reports()
        assert (report.kind, report.index, report.error) == (abi.REPORT_ERROR, 1, errno.EBADMSG)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "op",
    [
        Op(abi.OP_OPEN, slot=0),
        Op(abi.OP_OPEN, s1=b"/x"),
        Op(abi.OP_OPEN, slot=0, s1=b"a\0b"),
        Op(abi.OP_OPEN, slot=0, s1=b"a" * 4096),
        Op(abi.OP_MKNOD, s1=b"a/b"),
        Op(abi.OP_MKNOD, s1=b".."),
        Op(abi.OP_SYMLINK, s1=b".", s2=b"x"),
        Op(abi.OP_REMOVE, s1=b"/"),
        Op(abi.OP_EXEC),
        Op(abi.OP_EXEC, s1=b"no end"),
        Op(abi.OP_EXEC, s1=b"a\0", s2=b"A=b"),
        Op(abi.OP_MOVE_MOUNT, slot=1),
        Op(abi.OP_FSMOUNT, slot=1),
        Op(abi.OP_NETLINK),
    ],
)
def test_fields_an_op_cannot_do_without(op: Op) -> None:
    assert children.error([Op(abi.OP_SETSID), op]) == (1, errno.EBADMSG)


def mutations(count: int, seed: int) -> list[bytes]:
    dice, good, out = random.Random(seed), table.pack(GOOD), []
    for _ in range(count):
        data = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(data))
            kind = dice.randrange(4)
            if kind == 0:
                data[at] ^= 1 << dice.randrange(8)
            elif kind == 1:
                data[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
            elif kind == 2:
                value = dice.choice((0, 4, len(data), 2**31, 2**32 - 1, dice.getrandbits(32)))
                data[at // 4 * 4 : at // 4 * 4 + 4] = struct.pack("<I", value)
            else:
                del data[at : at + dice.randint(1, 64)]
                data = data or bytearray(b"\0")
        out.append(bytes(data))
    return out


def test_two_thousand_mutations_never_crash_the_check(hosted: Path, tmp_path: Path) -> None:
    found = answers(hosted, tmp_path, mutations(2000, 1))
    assert set(found) <= {0, -errno.EBADMSG} and found.count(-errno.EBADMSG) > 1000


def test_mutations_that_run_never_crash(hosted: Path) -> None:
    """Mutated ops do run, in a user namespace without ids, where nothing of the machine can be changed."""
    fd = native.sealed(b"hosted", hosted.read_bytes(), executable=True)
    walls = (
        abi.CLONE_NEWUSER
        | abi.CLONE_NEWNS
        | abi.CLONE_NEWNET
        | abi.CLONE_NEWIPC
        | abi.CLONE_NEWUTS
        | abi.CLONE_NEWPID
    )
    endings = set()
    for data in mutations(60, 2):
        child = children.Run([], flags=walls, init=fd, data=data)
        kinds = {report.kind for report in child.reports()}
        status = child.end()
        assert os.WIFEXITED(status) and os.WEXITSTATUS(status) != 99, (status, data)
        endings |= kinds
    os.close(fd)
    assert abi.REPORT_ERROR in endings
