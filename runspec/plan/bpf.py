"""Instructions of BPF programs as bytes, struct bpf_insn after struct bpf_insn."""

from __future__ import annotations

import struct

from runspec import abi

MAX_INSTRUCTIONS = 4096     # what every kernel takes

_INSN = struct.Struct("=BBhi")


def insn(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One instruction.

    Args:
        to, source: registers.
        value: its immediate number, signed or unsigned 32 bit.
    """
    signed = value - 2**32 if value >= 2**31 else value
    return _INSN.pack(code, to | source << 4, offset, signed)


def jump(condition: int, register: int, value: int, offset: int) -> bytes:
    """Go on `offset` instructions further where a register's lower half and a number meet a condition."""
    # 32-bit comparisons: the 64-bit ones would extend a number's sign.
    return insn(abi.BPF_JMP32 | condition | abi.BPF_K, register, 0, offset, value)


def leave(answer: int) -> bytes:
    """The program's end, with its answer."""
    return (insn(abi.BPF_ALU64 | abi.BPF_MOV | abi.BPF_K, abi.BPF_REG_0, value=answer)
            + insn(abi.BPF_JMP | abi.BPF_EXIT))


def tags(code: bytes) -> tuple[str, str]:
    """The tags that kernels give a program, 16 hexadecimal digits: by SHA-1, and as newer ones by SHA-256."""
    from runspec.spec.sha import sha1, sha256

    return (sha1(code, usedforsecurity=False).hexdigest()[:16], sha256(code).hexdigest()[:16])
