"""Device rules as a BPF program of type BPF_PROG_TYPE_CGROUP_DEVICE, cgroup-v2.rst "Device controller".

Each of the bits asked for (read, write, mknod) is judged by the last rule that names the device and that
bit; what no rule allows is denied. So a file cannot be opened for reading and writing after a later rule
took writing away.
"""

from __future__ import annotations

from runspec import abi
from runspec.errors import SpecError
from runspec.plan.bpf import MAX_INSTRUCTIONS, insn, jump, leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.spec.model import DeviceRule

NUMBER_MAX = 2**32 - 1

_TYPES = {"b": abi.BPF_DEVCG_DEV_BLOCK, "c": abi.BPF_DEVCG_DEV_CHAR}
_BITS = {"r": abi.BPF_DEVCG_ACC_READ, "w": abi.BPF_DEVCG_ACC_WRITE, "m": abi.BPF_DEVCG_ACC_MKNOD}
_ALL = sum(_BITS.values())

# What the program keeps in registers: the device's type, the bits not yet allowed, its two numbers.
_TYPE, _LEFT, _MAJOR, _MINOR = abi.BPF_REG_2, abi.BPF_REG_3, abi.BPF_REG_4, abi.BPF_REG_5
_CONTEXT = abi.BPF_REG_1

_LOAD = abi.BPF_LDX | abi.BPF_MEM | abi.BPF_W
_START = (insn(_LOAD, _TYPE, _CONTEXT, 0)              # struct bpf_cgroup_dev_ctx: access << 16 | type,
          + insn(abi.BPF_ALU | abi.BPF_MOV | abi.BPF_X, _LEFT, _TYPE)
          + insn(abi.BPF_ALU | abi.BPF_AND | abi.BPF_K, _TYPE, value=0xFFFF)
          + insn(abi.BPF_ALU | abi.BPF_RSH | abi.BPF_K, _LEFT, value=16)
          + insn(_LOAD, _MAJOR, _CONTEXT, 4)           # then major
          + insn(_LOAD, _MINOR, _CONTEXT, 8))          # and minor


def _verdict(allow: bool, bits: int) -> bytes:
    """What a rule does to a device that it names."""
    if not allow:
        return jump(abi.BPF_JSET, _LEFT, bits, 1) + insn(abi.BPF_JMP | abi.BPF_JA, offset=2) + leave(0)
    return (insn(abi.BPF_ALU | abi.BPF_AND | abi.BPF_K, _LEFT, value=_ALL & ~bits)
            + jump(abi.BPF_JNE, _LEFT, 0, 2) + leave(1))


def _rule(rule: DeviceRule) -> bytes:
    if rule.type not in ("a", *_TYPES):
        raise SpecError(f"linux.resources.devices: type {rule.type!r} is none of a, b, c")
    bits = 0
    for letter in rule.access:
        if letter not in _BITS:
            raise SpecError(f"linux.resources.devices: access {rule.access!r} has letters beside r, w, m")
        bits |= _BITS[letter]
    body = _verdict(rule.allow, bits)
    for register, number in ((_MINOR, rule.minor), (_MAJOR, rule.major),
                             (_TYPE, _TYPES.get(rule.type))):
        if number is not None and number != -1:
            if not 0 <= number <= NUMBER_MAX:
                raise SpecError(f"linux.resources.devices: device number {number} is out of range",
                                f"it goes from 0 to {NUMBER_MAX}; -1 means any")
            # Another device: over the rest of this rule.
            body = jump(abi.BPF_JNE, register, number, len(body) // 8) + body
    return body


def program(rules: tuple[DeviceRule, ...]) -> bytes:
    """The program for these rules, struct bpf_insn after struct bpf_insn.

    Raises:
        SpecError: a rule cannot be expressed, or there are more than a program may hold.

    See: bpf(2).
    """
    parts = [_START]
    # The last word counts, so the last rule is asked first.
    for rule in reversed(rules):
        if (rule.type == "a" and rule.major in (None, -1) and rule.minor in (None, -1)
                and set(_BITS) <= set(rule.access)):
            # It decides everything left; code behind it would be refused as out of reach.
            parts.append(leave(int(rule.allow)))
            break
        parts.append(_rule(rule))
    else:
        parts.append(leave(0))
    code = b"".join(parts)
    if len(code) // 8 > MAX_INSTRUCTIONS:
        raise SpecError(f"linux.resources.devices: {len(rules)} rules make {len(code) // 8} instructions",
                        f"a device program holds at most {MAX_INSTRUCTIONS}, bpf(2)", "put rules together")
    return code

