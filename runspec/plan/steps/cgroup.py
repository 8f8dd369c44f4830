"""Control groups: the directories of a container, what is written into them, and their end."""

from __future__ import annotations

from errno import EBUSY, ENOENT

from runspec.errors import HostError, SyscallError
from runspec.plan.host import Host
from runspec.plan.steps.base import FINISH, PREPARE, START, STOP, HostStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OWN = "/runspec"        # the parent of every default cgroupsPath; removed when its last child is gone

# Controllers a container is accounted by even where it sets no limit in them.
CONTROLLERS = ("cpuset", "cpu", "cpuacct", "memory", "devices", "freezer", "blkio", "pids", "io", "hugetlb", "rdma",
               "misc", "net_cls", "net_prio")

# (controller, file) that tells whether a group stands still, by itself or by one above -> what it says where not.
FREEZERS = {("freezer", "freezer.state"): "THAWED", ("", "cgroup.events"): "frozen 0"}


def groups(host: Host, path: str) -> tuple[tuple[str, str], ...]:
    """(controller, directory) of a container's groups; the unified one is named "".

    Args:
        path: the spec's cgroupsPath, absolute below the cgroup root.
    """
    found = tuple((name, f"{mount}{path}") for name, mount in host.hierarchies if name in CONTROLLERS)
    # Beside v1, a cgroup2 with some minor controller is whoever's it is: groups there would keep it from v1.
    if host.unified and host.main2:
        found += (("", f"{host.unified}{path}"),)
    return found


def tasks(host: Host, path: str) -> tuple[str, ...]:
    """The v1 groups that a child enters by itself."""
    return tuple(directory for name, directory in groups(host, path) if name)


def unified(host: Host, path: str) -> str:
    """The cgroup2 directory that a child is born in, "" where no controller is there."""
    return next((directory for name, directory in groups(host, path) if not name), "")


def parents(mounts: tuple[str, ...], directory: str) -> list[str]:
    """Directories between a hierarchy's mount and this group, outermost first; to be read only."""
    at = mounts, directory[:directory.rindex("/")]
    found = _PARENTS.get(at)
    if found is None:
        root = max((one for one in mounts if directory.startswith(one + "/")), key=len)
        words = directory[len(root) + 1:].split("/")
        found = _PARENTS[at] = [root + "/" + "/".join(words[:i]) for i in range(1, len(words))]
    return found


_PARENTS: dict[tuple[tuple[str, ...], str], list[str]] = {}     # those of siblings are the same


class MakeCgroups(HostStep):
    """Makes a container's groups and the parents they lack, with what a parent must hold before its child works.

    Args:
        groups: (controller, directory); "" is cgroup2.
        mounts: where the hierarchies begin: no parent is looked for above.
        enable: controllers to hand down in cgroup2.
    """

    PHASE = PREPARE
    groups: tuple[tuple[str, str], ...]
    mounts: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()

    def look(self, kernel: Any, run: Any) -> Any:
        """The directories that are missing.

        Raises:
            HostError: a group of this name is in use by somebody else.
        """
        missing = []
        for _, group in self.groups:
            missing += [one for one in parents(self.mounts, group)
                        if not run.known_group(one) and not kernel.exists(one)]
            if not kernel.exists(group):
                missing.append(group)
            elif kernel.cgroup_procs(group):
                raise HostError(f"the control group {group} holds processes that are not this container's",
                                "limits set on it would hit them, and its end would be theirs",
                                "give another `linux.cgroupsPath`, or end them")
        return missing

    def apply(self, kernel: Any, run: Any) -> Any:
        """mkdir(2).

        See: cgroup-v1/cpusets.rst (cpus and mems start empty), cgroup-v2.rst "Enabling and Disabling".
        """
        for controller, group in self.groups:
            above = parents(self.mounts, group)
            for tries in range(8, -1, -1):
                try:
                    self._make(kernel, run, controller, (*above, group))
                    break
                except OSError as error:
                    # The end of another container takes their common parent along where it was the last in it.
                    if error.errno != ENOENT or not tries:
                        raise
                    run.forget_groups(above)

    def _make(self, kernel: Any, run: Any, controller: str, directories: tuple[str, ...]) -> None:
        for directory in directories:
            if run.known_group(directory):
                continue
            if controller == "":
                self._hand_down(kernel, directory.rsplit("/", 1)[0])
            if directory == directories[-1]:
                kernel.make_group(directory, run.mark(self.target))
                continue
            kernel.make_dir(directory)
            if controller == "cpuset":
                self._inherit(kernel, directory)    # the container's own are written by a Step that follows
            run.note_group(directory)

    def _hand_down(self, kernel: Any, parent: str) -> None:
        have = kernel.read_text(f"{parent}/cgroup.subtree_control").split()
        missing = [name for name in self.enable if name not in have]
        try:
            if missing:
                kernel.write(f"{parent}/cgroup.subtree_control", " ".join("+" + name for name in missing))
        except SyscallError as error:
            # A group that has processes itself hands nothing down, as where runspec runs in a container: then
            # what few ask for is missing to those alone, whose own file says so.
            if error.errno != EBUSY or not set(missing) <= {"hugetlb", "rdma"}:
                raise

    def _inherit(self, kernel: Any, directory: str) -> None:
        """Of a parent that another run has just made, too: it may not have come to this yet."""
        parent = directory.rsplit("/", 1)[0]
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not kernel.read_text(f"{directory}/{name}").strip():
                kernel.write(f"{directory}/{name}", kernel.read_text(f"{parent}/{name}").strip())

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Ends what runs inside what was made, then removes it; parents only when empty."""
        directories = [directory for _, directory in self.groups if directory in memo]
        kernel.kill_cgroup(directories)
        remove_groups(kernel, directories, memo)

    def __str__(self) -> str:
        names = ", ".join(name for name, _ in self.groups if name)
        return f"make cgroups {self.groups[0][1].rsplit('/', 2)[-1]}" + (f" ({names})" if names else "")


class WriteCgroupFile(HostStep):
    """Writes one value into one file of a group."""

    PHASE = PREPARE
    file: str
    value: str
    before: str | None = None

    @property
    def ahead(self) -> bool:
        """In a new group."""
        return self.before is None

    def apply(self, kernel: Any, run: Any) -> Any:
        """cgroup-v1/, cgroup-v2.rst; the file's name tells which paragraph."""
        kernel.write(self.file, self.value)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """A live container gets its former value back; a new one goes with its group."""
        if self.before is not None and kernel.exists(self.file):
            kernel.write(self.file, self.before)

    def __str__(self) -> str:
        return f"write {self.value!r} to {self.file}"


class SetDeviceRules(HostStep):
    """Denies and allows devices to a v1 group, devices.rst."""

    PHASE = PREPARE
    directory: str
    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    fresh: bool = False         # the group is new, and goes with all that it says

    @property
    def ahead(self) -> bool:
        """In a new group."""
        return self.fresh

    def look(self, kernel: Any, run: Any) -> Any:
        """The rules that hold."""
        return None if self.fresh else (kernel.try_read(f"{self.directory}/devices.list") or b"").decode().splitlines()

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """A live container gets its former rules back; a new one goes with its group."""
        if memo and kernel.exists(f"{self.directory}/devices.list"):
            kernel.write(f"{self.directory}/devices.deny", "a")
            for rule in memo:
                kernel.write(f"{self.directory}/devices.allow", rule)

    def apply(self, kernel: Any, run: Any) -> Any:
        """One rule a write; what is denied first cannot take away what is allowed after."""
        for file, rules in (("devices.deny", self.deny), ("devices.allow", self.allow)):
            kernel.write_each(f"{self.directory}/{file}", rules)

    def __str__(self) -> str:
        said = [f"{word} {', '.join(rules)}" for word, rules in (("deny", self.deny), ("allow", self.allow)) if rules]
        return "devices: " + "; ".join(said)


class AttachDeviceProgram(HostStep):
    """Puts the program that judges device access in front of a cgroup2 group, cgroup-v2.rst "Device controller"."""

    PHASE = PREPARE
    directory: str
    program: str                # hexadecimal: a Step's fields are plain JSON
    before: str = ""            # the one that a live container has

    def apply(self, kernel: Any, run: Any) -> Any:
        """bpf(2), BPF_PROG_ATTACH, in place of the one before."""
        kernel.attach_device_program(self.directory, bytes.fromhex(self.program))

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """A live container gets its former rules back; a new one's group goes."""
        if self.before and kernel.exists(self.directory):
            kernel.attach_device_program(self.directory, bytes.fromhex(self.before))

    def __str__(self) -> str:
        return f"attach the device program to {self.directory}"


class KillContainer(HostStep):
    """Ends every process of the container's groups; there is no way back, so it comes late.

    Args:
        lent: links of the host's that a process may have kept from their way back, see ReturnLink.
    """

    PHASE = STOP
    groups: tuple[str, ...]
    forever: bool = True        # the groups go as well
    lent: tuple[str, ...] = ()

    def apply(self, kernel: Any, run: Any) -> Any:
        """cgroup.kill where the kernel has it, else SIGKILL by pidfd until the group is empty.

        Init is ended by its own name as well: somebody may have moved it out of its groups.
        """
        left = kernel.kill_cgroup(list(self.groups), forever=self.forever)
        if left:
            run.trouble(self, f"processes {', '.join(map(str, left))} do not end")
        run.end_init(self.target)
        if self.lent:
            from runspec.plan.steps import lease  # it builds on this module
            lease.fetch(self.target, self.lent, kernel, run)

    def __str__(self) -> str:
        return f"kill all processes of {self.target}"


class ThawContainer(HostStep):
    """Lets the processes of a frozen container go on, when all else is as it should be.

    Args:
        groups: those that can be frozen.
    """

    PHASE = START
    groups: tuple[str, ...]

    def look(self, kernel: Any, run: Any) -> Any:
        """The groups that are frozen themselves."""
        return [group for group in self.groups if kernel.frozen(group) == group]

    def apply(self, kernel: Any, run: Any) -> Any:
        """freezer-subsystem.rst, cgroup-v2.rst "cgroup.freeze".

        Raises:
            HostError: a group above is frozen.
        """
        for group in self.groups:
            held = kernel.thaw(group)
            if held:
                file, word = kernel.freezing(held, False)
                raise HostError(f"the control group {held} is frozen", "it is not this container's alone"
                                if held != group else "its processes do not go on", f"thaw it: echo {word} > {file}")

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Frozen as before."""
        for group in memo or ():
            if kernel.exists(group):
                kernel.write(*kernel.freezing(group, True))

    def __str__(self) -> str:
        return f"thaw {self.target}"


class EndInit(HostStep):
    """Kills the init of one container of many that go, and its pid namespace with it, without waiting for its end.

    So all of them end, and the kernel takes their namespaces and links apart, at the same time; KillContainer
    then waits for each.
    """

    PHASE = STOP

    def apply(self, kernel: Any, run: Any) -> Any:
        """pid_namespaces(7): nobody in it outlives its init."""
        run.signal_init(self.target)

    def __str__(self) -> str:
        return f"kill init of {self.target}"


class RemoveCgroup(HostStep):
    """Removes a container's groups and the parents that are runspec's own and empty."""

    PHASE = FINISH
    groups: tuple[str, ...]

    def apply(self, kernel: Any, run: Any) -> Any:
        """rmdir(2); a parent that others still use stays."""
        remove_groups(kernel, list(self.groups), [])

    def __str__(self) -> str:
        return f"remove cgroups of {self.target}"


def remove_groups(kernel: Any, directories: list[str], made: list[str]) -> None:
    """Remove groups, then their now empty parents: those in `made`, `/runspec` itself and what lies below it."""
    for directory in directories:
        kernel.remove_dir(directory, wait=True)
        parent = directory.rsplit("/", 1)[0]
        while parent in made or f"{OWN}/" in f"{parent}/":
            found = kernel.stat(parent)
            if found is not None and found.st_nlink > 2:
                break       # others are in it
            try:
                kernel.remove_dir(parent)
            except OSError:
                break
            parent = parent.rsplit("/", 1)[0]


def make_step(name: str, host: Host, path: str) -> MakeCgroups:
    """The groups of a new container."""
    return MakeCgroups(
        target=name, path="linux.cgroupsPath", groups=groups(host, path),
        mounts=tuple(mount for _, mount in host.hierarchies) + ((host.unified,) if host.unified else ()),
        enable=tuple(one for one in host.controllers2 if one in CONTROLLERS))
