"""The table of a process that joins a running container: as narrow as its init, never wider."""

from __future__ import annotations

from runspec import abi
from runspec.plan.steps import attributes, terminal
from runspec.plan.steps.base import Table, words
from runspec.plan.steps.namespaces import KINDS
from runspec.plan.steps.process import INFINITY, credential_ops
from runspec.spec.model import Capabilities, Landlock, Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runspec.plan.steps.attributes import SetScheduling
    from runspec.plan.steps.seccomp import Filter

LATE = ("RLIMIT_NPROC", "RLIMIT_NOFILE")
FEW = 64


def names_of(bits: int) -> tuple[str, ...]:
    """The capability names of a mask of /proc/PID/status; a bit that runspec does not know is dropped."""
    return tuple(
        name for name, number in sorted(abi.CAPS.items(), key=lambda one: one[1]) if bits >> number & 1
    )


def capabilities_of(status: Mapping[str, str]) -> Capabilities:
    """What init holds, of its /proc/PID/status; inheritable and ambient stay empty unless init has them."""
    def held(field: str) -> tuple[str, ...]:
        return names_of(int(status.get(field, "0"), 16) & int(status.get("CapBnd", "0"), 16))

    return Capabilities(bounding=held("CapBnd"), effective=held("CapEff"), permitted=held("CapPrm"),
                        inheritable=held("CapInh"), ambient=held("CapAmb"))


def exec_ops(table: Table, kinds: tuple[str, ...], tasks: tuple[str, ...], process: Process,
             limits: Mapping[str, tuple[int, int]], oom_score_adj: str = "", final: str = "",
             scheduling: SetScheduling | None = None, landlock: Landlock | None = None, version: int = 0,
             seccomp: Filter | None = None) -> None:
    """Fill a table whose slot "init" is the pidfd of the container's init.

    Args:
        kinds: namespaces of init that differ from ours, OCI's words.
        tasks: cgroup v1 directories to enter; a v2 group is entered by the clone.
        process: what runs, with init's credentials.
        limits: name -> (soft, hard), as init has them.
        oom_score_adj: init's, "" to leave ours.
        scheduling: init's scheduler, priorities, memory policy and domain, None to leave ours.
        final: processors to run on once in the groups, "" for all that these allow.
        landlock, version: rules that init is kept to, and the kernel's version of them.
        seccomp: the filter that judges init's system calls.
    """
    add = table.add
    # Unreadable before the first step inside: nobody there may trace us or look into our memory.
    add(abi.OP_PRCTL, a=abi.PR_SET_DUMPABLE, b=0)
    add(abi.OP_KEYRING)
    for directory in tasks:
        add(abi.OP_WRITE, s1=f"{directory}/tasks", s2="0")
    if scheduling is not None:
        scheduling.ops(table)
    if final:
        add(abi.OP_AFFINITY, s1=attributes.bits(final))
    if oom_score_adj:
        add(abi.OP_WRITE, s1="/proc/self/oom_score_adj", s2=oom_score_adj)
    # To raise a hard limit takes CAP_SYS_RESOURCE of the first user namespace, so before leaving it. The soft
    # limits of processes and descriptors, which the clone below could exceed, come after it.
    forks = "pid" in kinds
    _limit(table, limits if not forks else {name: (max(hard, FEW),) * 2 if name in LATE else (soft, hard)
                                           for name, (soft, hard) in limits.items()})
    flags = 0
    for kind in kinds:
        flags |= KINDS[kind][0]
    if flags:
        add(abi.OP_SETNS, slot=table.slot("init"), a=flags)
    add(abi.OP_CLOSE, slot=table.slot("init"))
    if process.terminal:
        if "user" in kinds:
            # Else the slave belonged to an id that this user namespace does not know.
            add(abi.OP_SETGID, a=process.user.gid)
            add(abi.OP_SETUID, a=process.user.uid)
            add(abi.OP_PRCTL, a=abi.PR_SET_DUMPABLE, b=0)
        terminal.pair_ops(table, abi.HOST_CWD, process.console_size, process.user.uid)
    add(abi.OP_CHDIR, s1=process.cwd)
    credential_ops(table, process, process.capabilities, landlock, version, seccomp)
    if forks:
        # From here on visible inside, and by now with no more rights than init: of no use even to a
        # program there that holds CAP_SYS_PTRACE.
        add(abi.OP_FORK)
        _limit(table, {name: pair for name, pair in limits.items() if name in LATE})
    # A session of its own, or it could type into the caller's terminal (TIOCSTI).
    add(abi.OP_SETSID)
    if process.terminal:
        terminal.take_ops(table)
    add(abi.OP_EXEC, s1=words(process.args), s2=words(process.env))


def _limit(table: Table, limits: Mapping[str, tuple[int, int]]) -> None:
    for name, (soft, hard) in limits.items():
        if name in abi.RLIMITS:
            table.add(abi.OP_RLIMIT, a=abi.RLIMITS[name], b=soft & INFINITY, c=hard & INFINITY)
