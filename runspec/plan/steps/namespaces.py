"""Namespaces: which a new init gets, joins or shares, and the clone itself."""

from __future__ import annotations

from runspec import abi
from runspec.plan.steps.base import ATTACH, SPAWN, ChildStep, HostStep, Table
from runspec.spec.alike import kept
from runspec.spec.model import IDMapping, Namespace, Spec, TimeOffset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# OCI's word -> (clone flag, name below /proc/PID/ns), namespaces(7).
KINDS: dict[str, tuple[int, str]] = {
    "user": (abi.CLONE_NEWUSER, "user"), "pid": (abi.CLONE_NEWPID, "pid"), "network": (abi.CLONE_NEWNET, "net"),
    "ipc": (abi.CLONE_NEWIPC, "ipc"), "uts": (abi.CLONE_NEWUTS, "uts"), "cgroup": (abi.CLONE_NEWCGROUP, "cgroup"),
    "time": (abi.CLONE_NEWTIME, "time"), "mount": (abi.CLONE_NEWNS, "mnt"),
}
BARRIER_ATTACH, BARRIER_START, BARRIER_HOOKS = 1, 2, 3


def namespace(spec: Spec, kind: str) -> Namespace | None:
    """The namespace of this kind that the spec lists, None where the host's is meant."""
    return _by_kind(spec.linux.namespaces).get(kind)


@kept
def _by_kind(namespaces: tuple[Namespace, ...]) -> dict[str, Namespace]:
    """The first of each kind."""
    return {one.type: one for one in reversed(namespaces)}


def is_new(spec: Spec, kind: str) -> bool:
    """Whether the container gets a namespace of this kind of its own."""
    one = namespace(spec, kind)
    return one is not None and one.path is None and one.container is None


def joined(spec: Spec) -> tuple[Namespace, ...]:
    """Namespaces entered rather than made, in the order in which setns(2) must enter them."""
    listed = {one.type: one for one in spec.linux.namespaces if one.path or one.container}
    return tuple(listed[kind] for kind in KINDS if kind in listed)


class SpawnInit(HostStep):
    """Clones the process that becomes the container's init and hands it its table of operations.

    Args:
        flags: CLONE_NEW* asked of clone3(2) itself; other namespaces are unshared by the child,
            in parallel with the host side.
        joins: (kind, container name) whose descriptor the host side opens, since only it knows the pid.
        unified: the cgroup2 directory to be born in (CLONE_INTO_CGROUP), "" for none.
        kept: names of descriptors carried over from the init that this one follows ("user", "net", "root").
    """

    PHASE = SPAWN
    flags: int = 0
    joins: tuple[tuple[str, str], ...] = ()
    unified: str = ""
    kept: tuple[str, ...] = ()

    @property
    def ahead(self) -> bool:
        """Without a memo nobody was born."""
        return True

    def apply(self, kernel: Any, run: Any) -> Any:
        """See kernel.spawn; the child then runs its table until it waits at a barrier."""
        return run.spawn(self)

    def inside(self, steps: list[ChildStep]) -> list[ChildStep]:
        """What the child does of its container's steps: all."""
        return steps

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Closing the control socket ends a child that waits; one that runs is found by its cgroup."""
        run.end_child(self.target, memo)

    def __str__(self) -> str:
        return f"spawn init of {self.target}"


class EnterNamespaces(ChildStep):
    """First operations of a child: be unreadable, join, unshare, step over into a new pid namespace."""

    joins: tuple[Namespace, ...] = ()
    unshare: int = 0
    fork: bool = False
    offsets: tuple[TimeOffset, ...] = ()
    new_time: bool = False
    tasks: tuple[str, ...] = ()     # v1 groups the child enters by itself

    def ops(self, table: Table) -> None:
        """namespaces(7), time_namespaces(7), ptrace(2) on dumpable."""
        add = table.add
        # What holds unless the file says else, whatever our caller's is: engines run with none at all.
        add(abi.OP_UMASK, a=0o022)
        # A task that moves itself through `tasks` needs no lock over all threads of the machine,
        # which a write of its pid to cgroup.procs by somebody else would take.
        for group in self.tasks:
            add(abi.OP_WRITE, s1=f"{group}/tasks", s2="0")
        # The caller's keys stay outside; made before any user namespace, where the quota is the host root's.
        add(abi.OP_KEYRING)
        if not self.new_time:
            add(abi.OP_PRCTL, a=abi.PR_SET_DUMPABLE, b=0)
        for one in self.joins:
            if one.path:
                add(abi.OP_OPEN, slot=table.slot("ns:" + one.type), s1=one.path, a=abi.O_RDONLY | abi.O_CLOEXEC)
        # The user namespace last: what belongs to the host or to another container can be entered no more from it.
        for one in sorted(self.joins, key=lambda one: one.type == "user"):
            if one.type != "mount":
                add(abi.OP_SETNS, slot=table.slot("ns:" + one.type), a=KINDS[one.type][0])
        if self.new_time:
            # Entered by setns after its offsets are written: offsets freeze with the first process inside,
            # and the files below /proc/self belong to us only while we are dumpable.
            add(abi.OP_UNSHARE, a=abi.CLONE_NEWTIME)
            if self.offsets:
                lines = "".join(f"{o.clock} {o.secs} {o.nanosecs}\n" for o in self.offsets)
                add(abi.OP_WRITE, s1="/proc/self/timens_offsets", s2=lines)
            add(abi.OP_OPEN, slot=table.slot("time"), s1="/proc/self/ns/time_for_children",
                a=abi.O_RDONLY | abi.O_CLOEXEC)
            add(abi.OP_SETNS, slot=table.slot("time"), a=abi.CLONE_NEWTIME)
            add(abi.OP_PRCTL, a=abi.PR_SET_DUMPABLE, b=0)
        if self.unshare:
            add(abi.OP_UNSHARE, a=self.unshare)
        for one in self.joins:
            if one.type == "mount":
                add(abi.OP_SETNS, slot=table.slot("ns:mount"), a=abi.CLONE_NEWNS)
        # Nothing of the host's may be held where others in a shared pid namespace can see us.
        for one in self.joins:
            add(abi.OP_CLOSE, slot=table.slot("ns:" + one.type))
        if self.fork:
            add(abi.OP_FORK)
        add(abi.OP_SETSID)

    def __str__(self) -> str:
        words = [f"join {one.type} {'of ' + one.container if one.container else one.path}" for one in self.joins]
        made = [kind for kind, (flag, _) in KINDS.items() if self.unshare & flag]
        made += ["time"] if self.new_time else []
        if made:
            words.append("unshare " + " ".join(made))
        return "; ".join(words) or "keep the host's namespaces"


class WaitForHost(ChildStep):
    """The child waits here until the host side has done its ATTACH steps."""

    ALIKE = True
    number: int = BARRIER_ATTACH

    def ops(self, table: Table) -> None:
        """See ops.h, BARRIER."""
        table.add(abi.OP_BARRIER, a=self.number)

    def __str__(self) -> str:
        return {BARRIER_START: "wait for the start", BARRIER_HOOKS: "wait for the host's hooks"}.get(
            self.number, "wait for id maps and links")


class MakeUserNamespace(HostStep):
    """A user namespace with its id maps, held by nothing but a descriptor of this run.

    Args:
        word: the name under which the child's table finds it: "user", the container's own, or that of a mount.
    """

    word: str
    uids: tuple[IDMapping, ...] = ()
    gids: tuple[IDMapping, ...] = ()

    def apply(self, kernel: Any, run: Any) -> Any:
        """user_namespaces(7); one write for each map, as the kernel demands."""
        run.make_user_namespace(self)

    def __str__(self) -> str:
        what = "user namespace" if self.word == "user" else "id maps of a mount"
        return f"make the {what} of {self.target}"


class ReleaseInit(HostStep):
    """Lets a child go on that waited for the host side."""

    PHASE = ATTACH

    def apply(self, kernel: Any, run: Any) -> Any:
        """One byte on its control socket."""
        run.release(self.target)

    def __str__(self) -> str:
        return f"let init of {self.target} go on"


class BecomeRoot(ChildStep):
    """Takes id 0 of the new user namespace, so that files made during set-up have an owner inside."""

    ALIKE = True

    def ops(self, table: Table) -> None:
        """setresuid(2), setresgid(2)."""
        table.add(abi.OP_SETGROUPS)
        table.add(abi.OP_SETGID, a=0)
        table.add(abi.OP_SETUID, a=0)

    def __str__(self) -> str:
        return "become root of the user namespace"


def inside(table: Table, kinds: tuple[str, ...]) -> None:
    """Begin a table that works inside a running container: its pidfd is slot "init"."""
    flags = 0
    for kind in kinds:
        flags |= KINDS[kind][0]
    table.add(abi.OP_PRCTL, a=abi.PR_SET_DUMPABLE, b=0)
    table.add(abi.OP_SETNS, slot=table.slot("init"), a=flags)


def plan(spec: Spec, unified: str, tasks: tuple[str, ...], attach: bool,
         kept: tuple[str, ...] = ()) -> tuple[SpawnInit, list[ChildStep]]:
    """The clone and the child's first steps.

    Args:
        unified: cgroup2 directory to be born in, or "".
        tasks: cgroup v1 directories the child enters.
        attach: whether the host side has work to do on the child before it goes on.
        kept: what a follower takes over from the former init.
    """
    listed = {one.type: one for one in joined(spec)}
    listed.update({kind: Namespace(type=kind, container=spec.name)
                   for kind, word in (("user", "user"), ("network", "net")) if word in kept})
    joins = tuple(listed[kind] for kind in KINDS if kind in listed)
    new = [kind for kind in KINDS if is_new(spec, kind) and kind not in listed]
    # What a container with a user namespace owns is made after that is entered.
    own_user = "user" in listed
    early = abi.CLONE_NEWPID if "pid" in new and not own_user else 0
    flags = sum(KINDS[kind][0] for kind in new if kind not in ("user", "time") and not early & KINDS[kind][0])
    enter = EnterNamespaces(
        target=spec.name, path="linux.namespaces", unshare=flags, joins=joins,
        fork="pid" in listed or (own_user and "pid" in new),
        new_time="time" in new, offsets=spec.linux.time_offsets, tasks=tasks)
    spawn = SpawnInit(target=spec.name, path="linux.namespaces", flags=early, unified=unified, kept=kept,
                      joins=tuple((one.type, one.container) for one in joined(spec) if one.container))
    steps: list[ChildStep] = [enter]
    if attach:
        steps.append(WaitForHost(target=spec.name))
    if own_user:
        steps.append(BecomeRoot(target=spec.name, path="linux.uidMappings"))
    return spawn, steps
