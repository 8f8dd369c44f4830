"""The process itself: its names, limits, identity and capabilities, and the exec that starts it."""

from __future__ import annotations

from errno import EACCES, ENOENT, ENOEXEC, EPERM

from runspec import abi
from runspec.plan.steps import attributes, namespaces
from runspec.plan.steps.base import (
    FINISH,
    LIVE,
    START,
    STOP,
    ChildStep,
    HostStep,
    Table,
    container_pids,
    own_procfs,
    words,
)
from runspec.spec.model import NO_HOOKS, Capabilities, Landlock, Process, Rlimit, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.plan.facts import Facts
    from runspec.plan.steps.seccomp import Filter

INFINITY = 2**64 - 1


def mask(names: tuple[str, ...]) -> int:
    """A capability set as the kernel's bit mask, capabilities(7)."""
    bits = 0
    for name in names:
        bits |= 1 << abi.CAPS[name]
    return bits


class SetNames(ChildStep):
    """Host name and NIS domain name of the new uts namespace."""

    hostname: str | None = None
    domainname: str | None = None

    def ops(self, table: Table) -> None:
        """sethostname(2), setdomainname(2)."""
        if self.hostname is not None:
            table.add(abi.OP_SETHOSTNAME, s1=self.hostname)
        if self.domainname is not None:
            table.add(abi.OP_SETDOMAINNAME, s1=self.domainname)

    def __str__(self) -> str:
        return f"set hostname {self.hostname}"


class SetSysctls(ChildStep):
    """Kernel parameters of the container's namespaces, through a procfs of our own."""

    ALIKE = True
    values: tuple[tuple[str, str], ...]

    def ops(self, table: Table) -> None:
        """proc(5), /proc/sys; the keys were checked against their namespaces."""
        procfs = own_procfs(table)
        for key, value in self.values:
            table.add(abi.OP_WRITE, dir=procfs, s1=sysctl_path(key), s2=value, b=abi.RESOLVE_NO_SYMLINKS)

    def __str__(self) -> str:
        return "set sysctl " + ", ".join(f"{key}={value}" for key, value in self.values)


def sysctl_path(key: str) -> str:
    """`net.ipv4.ip_forward` -> `sys/net/ipv4/ip_forward`, below a procfs; names in a key with slashes may have dots."""
    return "sys/" + (key if "/" in key else key.replace(".", "/"))


class SetLimits(ChildStep):
    """Resource limits and the OOM score of the process."""

    ALIKE = True
    rlimits: tuple[Rlimit, ...] = ()
    oom_score_adj: int | None = None

    def ops(self, table: Table) -> None:
        """setrlimit(2), proc(5) oom_score_adj."""
        if self.oom_score_adj is not None:
            table.add(abi.OP_WRITE, dir=own_procfs(table), s1="self/oom_score_adj", s2=str(self.oom_score_adj))
        for limit in self.rlimits:
            table.add(abi.OP_RLIMIT, a=abi.RLIMITS[limit.type], b=limit.soft & INFINITY, c=limit.hard & INFINITY)

    def __str__(self) -> str:
        words = [f"{one.type}={one.soft}:{one.hard}" for one in self.rlimits]
        if self.oom_score_adj is not None:
            words.append(f"oom_score_adj={self.oom_score_adj}")
        return "set " + ", ".join(words)


def credential_ops(table: Table, process: Process, capabilities: Capabilities, landlock: Landlock | None = None,
                   version: int = 0, seccomp: Filter | None = None) -> None:
    """Everything between root of the set-up and the declared user: what exec needs as well as init.

    The bounding set goes first, since dropping from it needs CAP_SETPCAP; ids before the sets,
    since changing them may clear those; no_new_privs last. Landlock asks for no_new_privs, or else
    for a right that the set-up still has. So does the filter of system calls, which comes after Landlock
    since it may refuse Landlock's calls: with no_new_privs it waits for the exec, without it judges
    the rest of the set-up.

    Args:
        version: of the kernel's Landlock.

    See: capabilities(7), setresuid(2), PR_SET_NO_NEW_PRIVS, landlock_restrict_self(2), seccomp(2).
    """
    add, user = table.add, process.user
    if landlock is not None:
        from runspec.plan.steps.landlock import rule_ops

        rule_ops(table, landlock, version)
        if not process.no_new_privileges:
            add(abi.OP_LANDLOCK_RESTRICT, slot=table.slot("landlock"))
    if seccomp is not None:
        from runspec.plan.steps.seccomp import filter_ops

        filter_ops(table, seccomp, at_once=not process.no_new_privileges)
    add(abi.OP_BOUNDING, a=mask(capabilities.bounding))
    add(abi.OP_PRCTL, a=abi.PR_SET_KEEPCAPS, b=1)
    add(abi.OP_SETGROUPS, s1=b"".join(gid.to_bytes(4, "little") for gid in user.additional_gids))
    add(abi.OP_SETGID, a=user.gid)
    add(abi.OP_SETUID, a=user.uid)
    add(abi.OP_CAPSET, a=mask(capabilities.effective), b=mask(capabilities.permitted),
        c=mask(capabilities.inheritable))
    add(abi.OP_AMBIENT, a=mask(capabilities.ambient))
    # A change of ids resets it to fs.suid_dumpable, proc(5).
    add(abi.OP_PRCTL, a=abi.PR_SET_DUMPABLE, b=0)
    if user.umask is not None:
        add(abi.OP_UMASK, a=user.umask)
    if process.no_new_privileges:
        add(abi.OP_PRCTL, a=abi.PR_SET_NO_NEW_PRIVS, b=1)
        if landlock is not None:
            add(abi.OP_LANDLOCK_RESTRICT, slot=table.slot("landlock"))


class SetIdentity(ChildStep):
    """Working directory, user, groups, capabilities, no_new_privs, Landlock, the filter of system calls."""

    ALIKE = True
    process: Process
    detach: bool = True         # standard streams from the container's own /dev/null
    terminal: bool = False      # standard streams from the terminal in slot "slave"
    landlock: Landlock | None = None
    version: int = 0            # of the kernel's Landlock
    seccomp: Filter | None = None

    def ops(self, table: Table) -> None:
        """The working directory is checked to be inside after the change, CVE-2024-21626."""
        if self.terminal:
            from runspec.plan.steps.terminal import take_ops

            take_ops(table)
        elif self.detach:
            table.add(abi.OP_OPEN, slot=table.slot("stdio"), s1="/dev/null", a=abi.O_RDWR | abi.O_CLOEXEC,
                      b=abi.RESOLVE_NO_SYMLINKS)
            table.add(abi.OP_CHECK_NULL, slot=table.slot("stdio"))
            for number in (0, 1, 2):
                table.add(abi.OP_DUP, slot=table.slot("stdio"), a=number)
        table.add(abi.OP_CHDIR, s1=self.process.cwd, a=1)
        credential_ops(table, self.process, self.process.capabilities, self.landlock, self.version, self.seccomp)

    def __str__(self) -> str:
        user, caps = self.process.user, len(self.process.capabilities.bounding)
        more = ", kept to its Landlock rules" if self.landlock is not None else ""
        more += ", its system calls filtered" if self.seccomp is not None else ""
        return f"become uid {user.uid} gid {user.gid} with {caps} capabilities{more}"


def unexecuted(program: str, errno: int) -> tuple[str, str]:
    """Why a program could not be executed inside, and what helps.

    See: execve(2), execvp(3).
    """
    why = {ENOENT: "it is looked for in the container's root, and it or the interpreter that it names is not there"
           if "/" in program else "none of the directories of the container's PATH, in its root, has it",
           EACCES: "it is no file that this user may execute, or lies on a mount with noexec",
           ENOEXEC: "it is neither a program for this processor nor a script that begins with #!"}.get(errno, "")
    return f"{why or 'the kernel does not execute it'}, execve(2)", "correct the name, or put the program into the root"


class Exec(ChildStep):
    """The container's own program replaces the interpreter."""

    ALIKE = True
    args: tuple[str, ...]
    env: tuple[str, ...] = ()

    def why(self, errno: int) -> str:
        """What it says of the root."""
        return unexecuted(self.args[0], errno)[0]

    def remedy(self, errno: int) -> str:
        """What helps."""
        return unexecuted(self.args[0], errno)[1]

    def ops(self, table: Table) -> None:
        """execve(2), looked up as execvp(3) does in the container's PATH."""
        table.add(abi.OP_EXEC, s1=words(self.args), s2=words(self.env))

    def __str__(self) -> str:
        return f"execute {' '.join(self.args)}"


class StartInit(HostStep):
    """Opens the start gate: the child executes the container's program."""

    PHASE = START

    @property
    def ahead(self) -> bool:
        """What it starts ends with the child."""
        return True

    def apply(self, kernel: Any, run: Any) -> Any:
        """Returns when the exec has succeeded, or fails with what it answered."""
        run.start(self)

    def __str__(self) -> str:
        return f"start {self.target}"


class SaveRecord(HostStep):
    """Writes what outlives this run: id, pid and start time, the applied spec."""

    PHASE = FINISH
    kind: str = "container"

    def look(self, kernel: Any, run: Any) -> Any:
        """The text of the record that is there."""
        return run.record_before(self)

    def apply(self, kernel: Any, run: Any) -> Any:
        """Write, then rename."""
        run.save_record(self)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Puts the former record back, or removes the new one."""
        run.restore_record(self, memo)

    def __str__(self) -> str:
        return f"save record of {self.target}"


class RemoveRecord(HostStep):
    """Forgets a container or network; the very last of its steps."""

    PHASE = FINISH
    UNDO_LAST = True
    kind: str = "container"

    def apply(self, kernel: Any, run: Any) -> Any:
        """After this, nothing of it is left."""
        run.remove_record(self)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """What is forgotten stays so: what the firewall has of it, or got back just now, goes with it."""
        run.forget_forgotten(self)

    def __str__(self) -> str:
        return f"remove record of {self.target}"


class KeepNamespaces(HostStep):
    """Holds what a follower takes over from an init that is about to end."""

    PHASE = STOP
    kept: tuple[str, ...]           # "user", "net", "root"

    def apply(self, kernel: Any, run: Any) -> Any:
        """A descriptor keeps a namespace alive; the root comes as a detached clone, open_tree(2)."""
        run.keep(self)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Where no init is left, its namespace ends with the run: what is lent comes home from it before."""
        if not run.pid(self.target) and run.holds(self.target, "net"):
            for one in run.leases.all():
                if one["container"] == self.target:
                    run.leases.try_end(one, run.held(self.target, "net"), run.warn)

    def __str__(self) -> str:
        return f"keep the {' and '.join(self.kept)} of init of {self.target}"


class SetProcesses(HostStep):
    """A value of a running container's processes: of init, and of all that still have what init had.

    A program that chose its own keeps it.

    Args:
        groups: of the container; one of them is enough to find its processes.
    """

    PHASE = LIVE
    groups: tuple[str, ...] = ()

    def look(self, kernel: Any, run: Any) -> Any:
        """What init has, and the processes that have the same."""
        init = run.pid(self.target)
        before = self.read(kernel, init)
        pids = container_pids(kernel, init, self.groups)
        return {"before": before, "pids": [pid for pid in sorted(pids) if self.read(kernel, pid) == before]}

    def apply(self, kernel: Any, run: Any) -> Any:
        """Init first: what it starts from now on inherits it."""
        memo, init = self.look(kernel, run), run.pid(self.target)
        for pid in (init, *(pid for pid in memo["pids"] if pid != init)):
            self.write(kernel, pid, self.wanted(), pid == init)
        return memo

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """What they had, those that are still the container's: a pid may be a stranger's by now."""
        init = run.pid(self.target)
        if init:
            for pid in sorted(container_pids(kernel, init, self.groups) & set(memo["pids"])):
                self.write(kernel, pid, memo["before"], False)

    def wanted(self) -> Any:
        """The value."""
        raise AssertionError(type(self).__name__)

    def read(self, kernel: Any, pid: int) -> Any:
        """A process's value as plain JSON, None where it has ended."""
        raise AssertionError(type(self).__name__)

    def write(self, kernel: Any, pid: int, value: Any, must: bool) -> None:
        """Set it; one that has ended meanwhile needs nothing, unless it `must`."""
        raise AssertionError(type(self).__name__)


class SetRlimitLive(SetProcesses):
    """One resource limit, prlimit(2)."""

    limit: Rlimit

    def why(self, errno: int) -> str:
        """Of a limit above what the processes have."""
        return ("only CAP_SYS_RESOURCE may raise a hard limit above what a process has, prlimit(2)"
                if errno == EPERM else "")

    def remedy(self, errno: int) -> str:
        """What helps against that."""
        return "start runspec with that capability, or leave the hard limit" if errno == EPERM else ""

    def wanted(self) -> Any:
        """[soft, hard]."""
        return [self.limit.soft, self.limit.hard]

    def read(self, kernel: Any, pid: int) -> Any:
        """[soft, hard]."""
        try:
            return list(kernel.get_rlimit(pid, abi.RLIMITS[self.limit.type]))
        except OSError:
            return None

    def write(self, kernel: Any, pid: int, value: Any, must: bool) -> None:
        """A process that ended, or became another user's, keeps what it has."""
        try:
            kernel.set_rlimit(pid, abi.RLIMITS[self.limit.type], *value)
        except OSError:
            if must:
                raise

    def __str__(self) -> str:
        return f"set {self.limit.type} to {self.limit.soft}:{self.limit.hard} on the processes of {self.target}"


class SetOomScore(SetProcesses):
    """The score that the out-of-memory killer adds, proc(5)."""

    value: int

    def wanted(self) -> Any:
        """-1000 to 1000."""
        return self.value

    def read(self, kernel: Any, pid: int) -> Any:
        """What it is."""
        text = kernel.try_read(f"/proc/{pid}/oom_score_adj")
        return int(text) if text else None

    def write(self, kernel: Any, pid: int, value: Any, must: bool) -> None:
        """One that has ended is left out."""
        try:
            kernel.write(f"/proc/{pid}/oom_score_adj", str(value))
        except OSError:
            if must:
                raise

    def __str__(self) -> str:
        return f"set oom_score_adj to {self.value} on the processes of {self.target}"


class ChangeInside(HostStep):
    """Changes names, sysctls or links of a running container, by an interpreter that joins it."""

    PHASE = LIVE
    kinds: tuple[str, ...]              # namespaces to join
    hostname: str | None = None
    domainname: str | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    messages: tuple[str, ...] = ()      # rtnetlink messages, hexadecimal
    words: str = ""
    back: Any = None                    # another ChangeInside, which takes this one back
    lenient: bool = False               # a message may fail: what it removes may never have been there

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """The former state, where the container still runs."""
        if self.back is not None and run.pid(self.target):
            self.back.apply(kernel, run)

    def apply(self, kernel: Any, run: Any) -> Any:
        """setns(2) by pidfd, then the same operations that made the container."""
        table = Table(("init",))
        namespaces.inside(table, self.kinds)
        if self.hostname is not None:
            table.add(abi.OP_SETHOSTNAME, s1=self.hostname)
        if self.domainname is not None:
            table.add(abi.OP_SETDOMAINNAME, s1=self.domainname)
        for key, value in self.sysctls:
            table.add(abi.OP_WRITE, s1="/proc/" + sysctl_path(key), s2=value)
        for message in self.messages:
            if self.lenient:
                table.add(abi.OP_IGNORE_NEXT)
            table.add(abi.OP_NETLINK, s1=bytes.fromhex(message), c=17)     # EEXIST
        run.inside(self, table)

    def __str__(self) -> str:
        return f"{self.words} in {self.target}"


def unasked(facts: Facts) -> tuple[tuple[str, str], ...]:
    """Kernel parameters that the file sets no more, as a new namespace has them: a restart keeps the network's."""
    head = "linux.sysctl."
    return tuple((path[len(head):], value) for path, value in facts.fresh.items() if path.startswith(head))


def plan(spec: Spec, facts: Facts, bundle: str, seccomp: Filter | None = None, gate: bool = False) -> list[ChildStep]:
    """From the pivoted root to the exec.

    Args:
        bundle: directory that hooks are told.
        seccomp: the compiled filter, None without one.
        gate: init waits at a start gate and keeps the standard streams it was made with.
    """
    from runspec.plan.steps import hooks

    name, process = spec.name, spec.process
    steps: list[ChildStep] = []
    if namespaces.is_new(spec, "uts") and (spec.hostname is not None or spec.domainname is not None):
        steps.append(SetNames(target=name, path="hostname", hostname=spec.hostname, domainname=spec.domainname))
    values = spec.linux.sysctl + unasked(facts)
    if values:
        steps.append(SetSysctls(target=name, path="linux.sysctl", values=values))
    if process.oom_score_adj is not None:
        steps.append(SetLimits(target=name, path="process.oomScoreAdj", oom_score_adj=process.oom_score_adj))
    if process.rlimits:
        steps.append(SetLimits(target=name, path="process.rlimits", rlimits=process.rlimits))
    if any(one is not None for one in (process.scheduler, process.io_priority, process.apparmor_profile,
                                       process.selinux_label, spec.linux.memory_policy, spec.linux.personality)):
        steps += attributes.plan(spec)
    steps.append(SetIdentity(target=name, path="process.user", process=process, landlock=spec.landlock,
                             version=facts.landlock, terminal=process.terminal, seccomp=seccomp, detach=not gate))
    if gate:
        # A filter that is loaded while the right to do so is there would judge the gate too.
        place = len(steps) - (seccomp is not None and not process.no_new_privileges)
        from runspec.plan.steps.gate import FindProgram, WaitAtGate

        find = FindProgram(target=name, path="process.args", args=process.args, env=process.env, cwd=process.cwd)
        steps[place:place] = [*[find] * bool(process.args), WaitAtGate(target=name, terminal=process.terminal)]
    else:
        steps.append(namespaces.WaitForHost(target=name, number=namespaces.BARRIER_START))
    if spec.hooks != NO_HOOKS:
        steps += hooks.start(spec, bundle)
    if process.args:
        steps.append(Exec(target=name, path="process.args", args=process.args, env=process.env))
    return steps
