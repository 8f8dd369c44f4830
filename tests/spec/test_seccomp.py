"""The default filter: its lists are whole, and the compiled program says what they say, call by call."""

from __future__ import annotations

import errno
import json
import os
import re
import struct
import subprocess
import time
from pathlib import Path

import pytest

from runspec.kernel.native import seccomp as compiler
from runspec.plan.steps import seccomp as words
from runspec.spec import rules, seccomp, source
from runspec.spec.defaults import CAPABILITY_NAMES
from runspec.spec.model import Seccomp, SyscallArg
from runspec.spec.names import CAPABILITY_NUMBER

TREE = json.loads(seccomp.default_text())
X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
MACHINE = os.uname().machine
# The newest call that the lists know; a kernel's later ones answer ENOSYS until somebody looked at them.
NEWEST = 469
ADMIN = (*CAPABILITY_NAMES, "CAP_SYS_ADMIN")


def numbers(macro: str) -> dict[str, int]:
    """Calls by name, of the kernel's headers for one architecture."""
    text = subprocess.run(["cc", "-E", "-dM", "-x", "c", "-"], input=f"#include <{macro}>\n", capture_output=True,
                          text=True, check=True).stdout
    return {name: int(value) for name, value in re.findall(r"#define __NR_(\w+) (\d+)", text)}


NATIVE = numbers("asm/unistd.h")
CALLS = [(X86_64 if MACHINE == "x86_64" else AARCH64, NATIVE)]
if MACHINE == "x86_64":
    CALLS.append((I386, numbers("asm/unistd_32.h")))


def judge(program: bytes, arch: int, number: int, args: tuple[int, ...] = (0,) * 6) -> int:
    """What a classic BPF program answers for one call, as the kernel would run it, seccomp(2)."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *args)
    code = list(struct.iter_unpack("<HBBI", program))
    at = accumulator = 0
    while True:
        what, yes, no, k = code[at]
        at += 1
        if what == 0x20:                        # LD W ABS
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif what == 0x54:                      # AND K
            accumulator &= k
        elif what == 0x05:                      # JA
            at += k
        elif what & 0x07 == 0x05:
            held = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k,
                    0x45: bool(accumulator & k)}[what]
            at += yes if held else no
        elif what == 0x06:                      # RET K
            return k
        else:
            raise AssertionError(f"instruction {what:#x}")


def meant(one: Seccomp, name: str, args: tuple[int, ...] = (0,) * 6) -> int:
    """The same from the rules as they are written."""
    def holds(arg: SyscallArg) -> bool:
        assert arg.op == "SCMP_CMP_MASKED_EQ"
        return args[arg.index] & arg.value == (arg.value_two or 0)

    for rule in one.syscalls:
        if name in rule.names and (not rule.args or any(map(holds, rule.args))):
            return words.number(rule.action, rule.errno_ret)
    return words.number(one.default_action, one.default_errno_ret)


def compiled(one: Seccomp) -> bytes:
    return compiler.compile_filter(words.number(one.default_action, one.default_errno_ret), one.architectures,
                                   words.rules(one))


def test_every_call_was_thought_of_once() -> None:
    lists = [TREE["allow"]["names"], TREE["refuse"]["names"], TREE["absent"]["names"],
             sorted({name for group, names in TREE["capabilities"].items() if group != "note" for name in names}),
             sorted({name for rule in TREE["rules"] for name in rule["names"]})]
    listed = [name for names in lists for name in names]
    assert sorted(listed) == sorted(set(listed))
    known = {name for _, calls in CALLS for name, number in calls.items() if number <= NEWEST}
    assert known - set(listed) == set()


def test_capabilities_exist() -> None:
    assert set(TREE["capabilities"]) - {"note"} <= set(CAPABILITY_NUMBER)


@pytest.mark.parametrize("capabilities", [(), CAPABILITY_NAMES, ADMIN, tuple(CAPABILITY_NUMBER)], ids=len)
def test_the_program_says_what_the_lists_say(capabilities: tuple[str, ...]) -> None:
    one = seccomp.default_rules(capabilities, MACHINE)
    program = compiled(one)
    for arch, calls in CALLS:
        for name, number in calls.items():
            assert judge(program, arch, number) == meant(one, name), (name, hex(arch))


CLONE_FLAGS = (0, 0x11, 0x3D0F00, 0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000011, 0x20000000, 0x40000000,
               0x7E020000, 0xFFFFFFFF00000000 | 0x10000000, 0xFFFFFFFF00000011)
PERSONAS = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 0x40000, 0x400000, 0x4, 0x6, 0x100000, 0x0200000, 0x8000000, 0x40008)
FAMILIES = (*range(64), 40 | 1 << 32, 40 | 64, (1 << 64) - 1, 1 << 31)


@pytest.mark.parametrize("arch", [arch for arch, _ in CALLS], ids=hex)
def test_the_program_looks_at_arguments_as_the_rules_do(arch: int) -> None:
    calls = dict(CALLS)[arch]
    for capabilities in (CAPABILITY_NAMES, ADMIN):
        one = seccomp.default_rules(capabilities, MACHINE)
        program = compiled(one)
        for name, values in (("clone", CLONE_FLAGS), ("personality", PERSONAS), ("socket", FAMILIES)):
            for value in values:
                if arch == I386 and value >> 32:
                    continue
                args = (value, 0, 0, 0, 0, 0)
                assert judge(program, arch, calls[name], args) == meant(one, name, args), (name, hex(value))


def test_what_matters_most() -> None:
    """Said once more without the lists, for ordinary capabilities."""
    program, (arch, calls) = compiled(seccomp.default_rules(CAPABILITY_NAMES, MACHINE)), CALLS[0]

    def answer(name: str, *args: int) -> int:
        got = judge(program, arch, calls[name], (*args, *(0,) * (6 - len(args))))
        return got & 0xFFFF if got >> 16 == 5 else -1 if got == 0x7FFF0000 else got

    allowed = -1
    for name in ("read", "execve", "openat", "mmap", "futex", "wait4", "chroot", "mknodat", "setresuid", "ptrace"):
        assert answer(name) == allowed, name
    for name in ("mount", "umount2", "unshare", "setns", "bpf", "keyctl", "perf_event_open", "init_module", "reboot",
                 "kexec_load", "swapon", "pivot_root", "open_by_handle_at", "settimeofday", "syslog", "acct",
                 "userfaultfd", "move_mount", "fsopen", "quotactl", "sethostname"):
        assert answer(name) == errno.EPERM, name
    for name in ("clone3", "io_uring_setup"):
        assert answer(name) == errno.ENOSYS, name
    assert answer("clone", 0x10000011) == errno.EPERM
    assert answer("clone", 0x11) == allowed
    assert answer("socket", 40) == answer("socket", 40 | 1 << 32) == errno.EAFNOSUPPORT
    assert answer("socket", 2) == answer("socket", 38) == allowed
    assert answer("personality", 8) == answer("personality", 0xFFFFFFFF) == allowed
    assert answer("personality", 0x40000) == errno.EPERM
    assert judge(program, arch, 9999) == 0x50000 | errno.ENOSYS
    with_admin = compiled(seccomp.default_rules(ADMIN, MACHINE))
    assert all(judge(with_admin, arch, calls[name]) == 0x7FFF0000 for name in ("mount", "unshare", "clone3", "setns"))


def test_another_architectures_calls_end_the_thread() -> None:
    assert judge(compiled(seccomp.default_rules(CAPABILITY_NAMES, MACHINE)), 0x15, 1) == 0


def test_a_bundle_holds_the_rules_for_every_machine() -> None:
    one = seccomp.default_rules(CAPABILITY_NAMES, "")
    assert {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"} <= set(one.architectures)
    assert {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"} == set(seccomp.default_rules((), "aarch64").architectures)


def test_the_lists_are_read_from_the_package() -> None:
    assert Path(seccomp.folder(), "seccomp.default.json").read_bytes() == seccomp.default_text()


def test_more_conditions_than_a_filter_holds_are_refused_at_once() -> None:
    args = ", ".join(f"{{index: 0, value: {number}, op: SCMP_CMP_EQ}}" for number in range(5000))
    text = ("apiVersion: runspec/v1\nname: a\nroot: {image: busybox}\nprocess: {args: [sh]}\nlinux:\n  seccomp:\n"
            "    defaultAction: SCMP_ACT_ALLOW\n    syscalls:\n"
            f"    - {{names: [read], action: SCMP_ACT_ERRNO, args: [{args}]}}\n")
    start = time.process_time()
    _, faults = rules.judge(*source.parse(text, "t.yaml"))
    assert time.process_time() - start < 1
    assert [one.text() for one in faults] == [
        "t.yaml:9:5: linux.seccomp.syscalls: has more conditions than a filter can hold\n"
        "  why: the kernel takes 4096 instructions, seccomp(2)\n  fix: say it with fewer rules"]
