"""Device programs: run by a small interpreter here and, where there is cgroup v2, judged by the kernel."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import subprocess
import sys

import pytest
from conftest import requires
from hypothesis import given, strategies as st

from runspec.errors import SpecError
from runspec.plan import bpf, device_bpf
from runspec.spec.model import DeviceRule

READ, WRITE, MKNOD = 2, 4, 1
BITS = {"r": READ, "w": WRITE, "m": MKNOD}


def run(code: bytes, kind: str, major: int, minor: int, access: int) -> int:
    """The program's answer; every instruction that it may hold, and no other."""
    context = struct.pack("=III", access << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers = [0xDEAD] * 11
    at = steps = 0
    while True:
        steps += 1
        assert steps < 10000 and 0 <= at < len(code) // 8
        opcode, pair, offset, value = struct.unpack_from("=BBhi", code, at * 8)
        to, source, word = pair & 15, pair >> 4, value & 0xFFFFFFFF
        at += 1
        if opcode == 0x61:
            assert source == 1
            registers[to] = struct.unpack_from("=I", context, offset)[0]
        elif opcode == 0xBC:
            registers[to] = registers[source] & 0xFFFFFFFF
        elif opcode == 0x54:
            registers[to] &= word
        elif opcode == 0x74:
            registers[to] = (registers[to] & 0xFFFFFFFF) >> word
        elif opcode == 0xB7:
            registers[to] = value
        elif opcode == 0x56:
            at += offset if registers[to] & 0xFFFFFFFF != word else 0
        elif opcode == 0x46:
            at += offset if registers[to] & word else 0
        elif opcode == 0x05:
            at += offset
        elif opcode == 0x95:
            return registers[0]
        else:
            raise AssertionError(hex(opcode))


def naive(rules: tuple[DeviceRule, ...], kind: str, major: int, minor: int, access: int) -> int:
    """Each bit by the last rule that names it and the device."""
    for bit in (b for b in BITS.values() if b & access):
        allowed = False
        for rule in rules:
            if (rule.type in ("a", kind) and rule.major in (None, -1, major) and rule.minor in (None, -1, minor)
                    and any(BITS[letter] == bit for letter in rule.access)):
                allowed = rule.allow
        if not allowed:
            return 0
    return 1


NUMBERS = st.sampled_from([None, -1, 0, 1, 3, 2**31, 2**32 - 1])
RULES = st.lists(st.builds(
    DeviceRule, allow=st.booleans(), type=st.sampled_from("abc"), major=NUMBERS, minor=NUMBERS,
    access=st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm", ""])), max_size=8).map(tuple)


@given(RULES)
def test_like_the_naive_evaluation(rules: tuple[DeviceRule, ...]) -> None:
    code = device_bpf.program(rules)
    for kind, major, minor, access in itertools.product(
            "bc", (0, 1, 3, 2**31, 2**32 - 1), (0, 3, 2**31), range(1, 8)):
        assert run(code, kind, major, minor, access) == naive(rules, kind, major, minor, access)


def test_no_rule_denies() -> None:
    assert run(device_bpf.program(()), "c", 1, 3, READ) == 0


def test_writing_taken_away_is_not_regained_by_asking_for_more() -> None:
    code = device_bpf.program((DeviceRule(allow=True),
                               DeviceRule(allow=False, type="c", major=1, minor=3, access="w")))
    assert run(code, "c", 1, 3, READ) == 1
    assert run(code, "c", 1, 3, WRITE) == run(code, "c", 1, 3, READ | WRITE) == 0
    assert run(code, "c", 1, 5, READ | WRITE) == 1


@pytest.mark.parametrize("rule", [
    DeviceRule(allow=True, type="u"), DeviceRule(allow=True, type="c", access="x"),
    DeviceRule(allow=True, type="c", major=2**32), DeviceRule(allow=True, type="c", minor=-2)])
def test_wrong_rules(rule: DeviceRule) -> None:
    with pytest.raises(SpecError, match=r"linux\.resources\.devices"):
        device_bpf.program((rule,))


def test_too_many_rules() -> None:
    def rules(count: int) -> tuple[DeviceRule, ...]:
        return tuple(DeviceRule(allow=True, type="c", major=n, minor=0) for n in range(count))
    limit = (device_bpf.MAX_INSTRUCTIONS - 8) // 7
    assert len(device_bpf.program(rules(limit))) // 8 <= device_bpf.MAX_INSTRUCTIONS
    with pytest.raises(SpecError, match="instructions"):
        device_bpf.program(rules(limit + 1))


def test_what_comes_before_a_rule_for_all_has_no_code() -> None:
    last = (DeviceRule(allow=False), DeviceRule(allow=True, type="c", major=1))
    assert device_bpf.program((DeviceRule(allow=True, type="b"), *last)) == device_bpf.program(last)


@requires("root", "cgroup_v2")
def test_the_kernel_judges_alike() -> None:
    """Programs are accepted, known by one of the two tags, and decide what may be opened."""
    from runspec.kernel import Kernel

    kernel = Kernel()
    directory = f"/sys/fs/cgroup/runspec-test-{os.getpid()}"
    os.mkdir(directory)
    probe = ("import os\n"
             "for path in ('/dev/null', '/dev/zero', '/dev/full'):\n"
             "    for flags in (0, 1, 2):\n"
             "        try: os.close(os.open(path, flags)); print(1, end='')\n"
             "        except PermissionError: print(0, end='')\n")
    rule = DeviceRule
    everything = rule(allow=True)
    examples = [
        (), (everything,), (rule(allow=False), rule(allow=True, type="c", major=1, minor=3)),
        (everything, rule(allow=False, type="c", major=1, minor=5, access="w")),
        (everything, rule(allow=False, type="c", access="w"), rule(allow=True, type="c", minor=7)),
        (everything, rule(allow=False, type="b"), rule(allow=False, type="a", major=1, access="r")),
        tuple(DeviceRule(allow=True, type="c", major=n, minor=0) for n in range(500))]
    try:
        for rules in examples:
            code = device_bpf.program(rules)
            kernel.attach_device_program(directory, code)
            (tag,) = kernel.device_program_tags(directory)
            assert tag in bpf.tags(code)
            shown = subprocess.run(
                ["sh", "-c", 'exec 3</dev/null; echo $$ >"$2"; exec "$0" -c "$1" <&3',
                 sys.executable, probe, f"{directory}/cgroup.procs"], capture_output=True, text=True, check=True).stdout
            assert shown == "".join(str(naive(rules, "c", 1, minor, access)) for minor in (3, 5, 7)
                                    for access in (READ, WRITE, READ | WRITE)), rules
        kernel.detach_device_programs(directory)
        assert kernel.device_program_tags(directory) == []
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(directory)
