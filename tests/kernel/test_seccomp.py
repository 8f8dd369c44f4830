"""Filters on the real kernel: every action, every comparison, flags, and the moment at which they are loaded."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys

import pytest
from children import Run, error, output, shell

from runspec import abi
from runspec.abi import Op
from runspec.errors import SyscallError
from runspec.kernel import native
from runspec.kernel.native import seccomp as compiler
from runspec.plan.steps import seccomp
from runspec.spec.model import Seccomp, SyscallArg, SyscallRule

pytestmark = pytest.mark.requires("root", "busybox")
ALLOW = "SCMP_ACT_ALLOW"
NO_NEW_PRIVS = Op(abi.OP_PRCTL, a=abi.PR_SET_NO_NEW_PRIVS, b=1)
SIGSYS = 128 + signal.SIGSYS


def program(one: Seccomp) -> bytes:
    return compiler.compile_filter(seccomp.number(one.default_action, one.default_errno_ret), one.architectures,
                                   seccomp.rules(one))


def filtered(one: Seccomp, **fields: int) -> Op:
    return Op(abi.OP_SECCOMP, s1=program(one), a=seccomp.flags(one), **fields)


def rule(name: str, action: str, number: int | None = None, args: tuple[SyscallArg, ...] = ()) -> Seccomp:
    """All is allowed but one thing."""
    return Seccomp(default_action=ALLOW, syscalls=(
        SyscallRule(names=(name,), action=action, errno_ret=number, args=args),))


def said(one: Seccomp, script: str) -> str:
    return output([NO_NEW_PRIVS, filtered(one), shell(script)])


@pytest.mark.parametrize(("action", "number", "expected"), [
    ("SCMP_ACT_ALLOW", None, 0), ("SCMP_ACT_LOG", None, 0), ("SCMP_ACT_KILL", None, SIGSYS),
    ("SCMP_ACT_KILL_THREAD", None, SIGSYS), ("SCMP_ACT_KILL_PROCESS", None, SIGSYS),
    ("SCMP_ACT_TRAP", None, SIGSYS), ("SCMP_ACT_ERRNO", None, errno.EPERM),
    ("SCMP_ACT_ERRNO", errno.ENOMEDIUM, errno.ENOMEDIUM),
    ("SCMP_ACT_TRACE", 7, errno.ENOSYS),      # seccomp(2): nobody traces
])
def test_actions(action: str, number: int | None, expected: int) -> None:
    answer = asked(rule("getpriority", action, number), 0)
    assert answer == expected


def asked(one: Seccomp, who: int) -> int:
    """What getpriority(PRIO_PROCESS, who) answers: an errno, or how the program that asks ended."""
    code = f"import os\ntry: os.getpriority(0, {who}); print(0)\nexcept OSError as e: print(e.errno)"
    words = (sys.executable, "-I", "-S", "-c", code)
    reader, writer = os.pipe()
    ops = [NO_NEW_PRIVS, filtered(one), Op(abi.OP_EXEC, s1=b"".join(word.encode() + b"\0" for word in words))]
    with Run(ops, stdout=writer) as child, open(reader, encoding="ascii") as file:
        os.close(writer)
        assert not list(child.reports())
        text = file.read()
        end = child.end()
    return int(text) if text else 128 + os.WTERMSIG(end)


@pytest.mark.parametrize(("op", "value", "two", "hits"), [
    ("SCMP_CMP_NE", 1000, None, {255, 999, 1001}), ("SCMP_CMP_LT", 1000, None, {255, 999}),
    ("SCMP_CMP_LE", 1000, None, {255, 999, 1000}), ("SCMP_CMP_EQ", 1000, None, {1000}),
    ("SCMP_CMP_GE", 1000, None, {1000, 1001}), ("SCMP_CMP_GT", 1000, None, {1001}),
    ("SCMP_CMP_MASKED_EQ", 0xFF, 0xE8, {1000}),
])
def test_comparisons(op: str, value: int, two: int | None, hits: set[int]) -> None:
    arg = SyscallArg(index=1, value=value, value_two=two, op=op)
    one = rule("getpriority", "SCMP_ACT_ERRNO", errno.EXDEV, (arg,))
    assert {who for who in (255, 999, 1000, 1001) if asked(one, who) == errno.EXDEV} == hits


def test_conditions_of_a_rule_hold_together_and_those_on_one_argument_each_alone() -> None:
    both = (SyscallArg(index=0, value=0, op="SCMP_CMP_EQ"), SyscallArg(index=1, value=1000, op="SCMP_CMP_EQ"))
    never = (SyscallArg(index=0, value=1, op="SCMP_CMP_EQ"), SyscallArg(index=1, value=1000, op="SCMP_CMP_EQ"))
    either = (SyscallArg(index=1, value=1000, op="SCMP_CMP_EQ"), SyscallArg(index=1, value=1001, op="SCMP_CMP_EQ"))
    for args, hits in ((both, {1000}), (never, set()), (either, {1000, 1001})):
        one = rule("getpriority", "SCMP_ACT_ERRNO", errno.EXDEV, args)
        assert {who for who in (999, 1000, 1001) if asked(one, who) == errno.EXDEV} == hits


def test_what_the_library_does_not_know_is_left_out() -> None:
    one = Seccomp(default_action=ALLOW, syscalls=(
        SyscallRule(names=("frobnicate", "mkdir"), action="SCMP_ACT_ERRNO", errno_ret=errno.EXDEV),))
    assert "cross-device" in said(one, "busybox mkdir /tmp/x 2>&1")
    assert program(one) == program(one.replace(syscalls=(one.syscalls[0].replace(names=("mkdir",)),)))


@pytest.mark.parametrize("name", ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
                                  "SECCOMP_FILTER_FLAG_SPEC_ALLOW"])
def test_flags(name: str) -> None:
    one = rule("mkdir", "SCMP_ACT_ERRNO", errno.EXDEV).replace(flags=(name,))
    assert seccomp.flags(one) == getattr(abi, name)
    assert native.seccomp_knows(seccomp.flags(one))
    assert said(one, "grep Seccomp /proc/self/status").split() == ["Seccomp:", "2", "Seccomp_filters:", "1"]


def test_a_kernel_says_which_flags_it_does_not_know() -> None:
    assert not native.seccomp_knows(1 << 30)


def test_the_filter_comes_last() -> None:
    """Nothing between the operation and the exec is judged by it: here not one call would pass."""
    one = Seccomp(default_action="SCMP_ACT_ERRNO", default_errno_ret=errno.EXDEV,
                  syscalls=(SyscallRule(names=("execve", "sendmsg", "exit_group"), action=ALLOW),))
    later = [Op(abi.OP_UMASK, a=0o77), Op(abi.OP_SETSID), Op(abi.OP_BARRIER)]
    with Run([NO_NEW_PRIVS, filtered(one), *later, shell("true")]) as child:
        assert [report.kind for report in child.reports()] == [abi.REPORT_BARRIER]


def test_at_once_it_judges_what_follows() -> None:
    one = rule("setsid", "SCMP_ACT_ERRNO", errno.EXDEV)
    assert error([filtered(one, b=1), Op(abi.OP_SETSID)]) == (1, errno.EXDEV)


def test_without_no_new_privs_the_right_is_needed() -> None:
    one = rule("mkdir", "SCMP_ACT_ERRNO")
    drop = Op(abi.OP_CAPSET, a=0, b=0, c=0)
    assert error([drop, filtered(one, b=1)]) == (1, errno.EACCES)
    assert error([drop, filtered(one), shell("true")]) == (2, errno.EACCES)


def test_a_program_that_is_none() -> None:
    for text in (b"\0" * 8, b"\0" * 7, b"\0" * 8 * 4097):
        assert error([NO_NEW_PRIVS, Op(abi.OP_SECCOMP, s1=text, b=1)]) == (1, errno.EINVAL)


def test_a_listener_whose_parent_is_gone_ends_the_process() -> None:
    """It must not go on as if an agent were there."""
    one = rule("mkdir", "SCMP_ACT_NOTIFY")
    with Run([NO_NEW_PRIVS, filtered(one), shell("echo on")]) as child:
        report = native.receive(child.control, 20_000)
        assert report is not None
        assert report.kind == abi.REPORT_LISTENER
        os.close(report.fd)
        assert os.WTERMSIG(child.end()) == signal.SIGILL


def test_a_filter_that_notifies_of_everything_still_gets_its_listener_out() -> None:
    """Not one call is free after it, so the process must be asleep without one."""
    calls = ("sendmsg", "read", "write", "close", "futex", "nanosleep", "exit_group", "ppoll")
    one = Seccomp(default_action=ALLOW, syscalls=(SyscallRule(names=calls, action="SCMP_ACT_NOTIFY"),))
    with Run([NO_NEW_PRIVS, filtered(one), shell("exec sleep 0")]) as child:
        report = native.receive(child.control, 20_000)
        assert report is not None
        address, number = (int.from_bytes(report.data[at:at + 8], "little") for at in (0, 8))
        asleep = select.poll()
        asleep.register(report.fd, select.POLLIN)
        assert asleep.poll(20_000)
        listener = native.pidfd_getfd(child.pidfd, number)
        assert os.readlink(f"/proc/self/fd/{listener}") == "anon_inode:seccomp notify"
        native.answer_fault(report.fd, address)
        for fd in (report.fd, listener):        # with its last listener gone, calls answer ENOSYS
            os.close(fd)
        assert native.receive(child.control, 20_000) is None


def test_contradictions_are_the_librarys_to_find() -> None:
    arg = ((0, "SCMP_CMP_EQ", 1, 0),)
    with pytest.raises(SyscallError) as caught:
        compiler.compile_filter(abi.SECCOMP_RET_ALLOW, (), [("read", abi.SECCOMP_RET_ERRNO | 1, arg),
                                                            ("read", abi.SECCOMP_RET_TRAP, arg)])
    assert (caught.value.call, caught.value.path, caught.value.errno) == ("seccomp_rule_add", "read", errno.EEXIST)


def test_what_the_kernel_would_not_take_is_not_handed_out() -> None:
    rows = [("read", abi.SECCOMP_RET_ERRNO | 1, ((0, "SCMP_CMP_EQ", number, 0),)) for number in range(4200)]
    with pytest.raises(SyscallError) as caught:
        compiler.compile_filter(abi.SECCOMP_RET_ALLOW, (), rows)
    assert caught.value.errno == errno.E2BIG


@pytest.mark.parametrize(("name", "number"), [("SCMP_ARCH_PPC64", errno.EDOM), ("SCMP_ARCH_NOPE", errno.EINVAL)])
def test_architectures_that_cannot_be_had(name: str, number: int) -> None:
    with pytest.raises(SyscallError) as caught:
        compiler.compile_filter(abi.SECCOMP_RET_ALLOW, (name,), [])
    assert (caught.value.call, caught.value.errno) == ("seccomp_arch_add", number)


def test_another_architecture_is_let_in_by_name_only() -> None:
    """Its calls have numbers of their own, which are then judged as well."""
    with_x86 = program(rule("mkdir", "SCMP_ACT_ERRNO").replace(architectures=("SCMP_ARCH_X86",)))
    assert len(with_x86) > len(program(rule("mkdir", "SCMP_ACT_ERRNO")))
