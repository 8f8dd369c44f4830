"""Mounts, masks and device nodes of a running container: changed by an interpreter that joins its namespaces.

What comes from the host is cloned before the child joins, and travels into the container by descriptor;
what is new is made after it, so that it belongs to the container. Targets are reached from the container's
root by openat2(2). The child is no member of the container's pid namespace: nobody inside sees it.
"""

from __future__ import annotations

from errno import EBUSY
from os import makedev

from runspec import abi
from runspec.errors import SyscallError
from runspec.plan.steps.base import LIVE, HostStep, Table
from runspec.plan.steps.mounts import CLONE, PROPAGATION, MakeMount, flags, mapped
from runspec.plan.steps.namespaces import MakeUserNamespace, inside
from runspec.plan.steps.rootfs import NODE_KINDS
from runspec.spec.model import Device
from runspec.spec.mount_options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IN_ROOT = abi.RESOLVE_IN_ROOT | abi.RESOLVE_NO_MAGICLINKS
EXACTLY = IN_ROOT | abi.RESOLVE_NO_SYMLINKS


class LiveStep(HostStep):
    """A Step whose child joins namespaces of the container.

    Args:
        kinds: those that differ from ours, OCI's words; with "user" the child becomes root of that one.
    """

    PHASE = LIVE
    kinds: tuple[str, ...] = ("mount",)

    def enter(self, table: Table) -> int:
        """Join; returns the slot of the container's root."""
        inside(table, self.kinds)
        table.add(abi.OP_CLOSE, slot=table.slot("init"))
        if "user" in self.kinds:
            # What is made from here on has an owner inside.
            table.add(abi.OP_SETGROUPS)
            table.add(abi.OP_SETGID, a=0)
            table.add(abi.OP_SETUID, a=0)
        root = table.slot("root")
        table.add(abi.OP_OPEN, slot=root, s1="/", a=abi.O_PATH | abi.O_DIRECTORY | abi.O_CLOEXEC)
        return root

    def run(self, run: Any, table: Table, held: tuple[str, ...] = ()) -> list[Any]:
        """Run a table that begins with the slots "init" and then those of what is held."""
        found: list[Any] = run.inside(self, table, held)
        return found

    def unmount(self, kernel: Any, run: Any, path: str, before: list[int]) -> None:
        """Take away what lies on a path and did not before."""
        for _ in set(kernel.mounts_at(run.pid(self.target), path)) - set(before):
            table = Table(("init",))
            self.enter(table)
            place = kernel.place_inside(run.pid(self.target), path) or path
            table.add(abi.OP_UMOUNT, dir=table.slot("root"), s1=place, a=abi.MNT_DETACH)
            self.run(run, table)


class AddMount(LiveStep):
    """One entry of `mounts`, mounted into a running container.

    Args:
        make: what mounts it in a new container as well.
        readonly: the root is read-only, and the mount point may have to be made in it.
    """

    make: MakeMount
    readonly: bool = False

    def look(self, kernel: Any, run: Any) -> Any:
        """What lies there already."""
        return kernel.mounts_at(run.pid(self.target), self.make.mount.destination)

    def apply(self, kernel: Any, run: Any) -> Any:
        """open_tree(2) out here, fsopen(2) in there, move_mount(2)."""
        make, held = self.make, tuple[str, ...]()
        options = parse(make.mount.options)
        if make.kind == "missing":
            return None
        if make.mount.uid_mappings and options.bind:
            word = f"map:{make.index}"
            held = (word,)
            if not run.holds(self.target, word):
                run.make_user_namespace(MakeUserNamespace(target=self.target, word=word, uids=make.mount.uid_mappings,
                                                          gids=make.mount.gid_mappings))
        table = Table(("init", *held))
        if held:
            mapped(self.target, make.index, make.mount).ops(table)
            table.add(abi.OP_CLOSE, slot=table.slot(held[0]))
        elif options.bind:
            table.add(abi.OP_OPEN_TREE, slot=table.slot(f"mount:{make.index}"), s1=make.mount.source or "",
                      a=CLONE | (abi.AT_RECURSIVE if options.recursive else 0))
        root = self.enter(table)
        if self.readonly:
            point_below_readonly(table, make.mount.destination, make.kind)
        make.replace(ready=options.bind).ops(table)
        if make.mount.type == "tmpfs" and "ro" in make.mount.options:
            table.add(abi.OP_MOUNT_SETATTR, slot=table.slot(f"mount:{make.index}"), a=abi.MOUNT_ATTR_RDONLY)
        assert root >= 0
        self.run(run, table, held)
        return None

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """The mount goes; its mount point may stay."""
        if run.pid(self.target):
            self.unmount(kernel, run, self.make.mount.destination, memo)

    def __str__(self) -> str:
        return f"{self.make} in {self.target}"


def point_below_readonly(table: Table, destination: str, kind: str) -> None:
    """Make a missing mount point in a root that is read-only, through a clone of it that is not."""
    clone = table.slot("writable")
    table.add(abi.OP_OPEN_TREE, slot=clone, s1="/", a=CLONE)
    table.add(abi.OP_MOUNT_SETATTR, slot=clone, b=abi.MOUNT_ATTR_RDONLY)
    # What cannot be made is said by the real one.
    table.add(abi.OP_IGNORE_NEXT)
    table.add(abi.OP_MKFILE if kind == "file" else abi.OP_MKDIR, slot=table.slot("made"), dir=clone,
              s1=destination.lstrip("/"), a=0o644 if kind == "file" else 0o755)
    table.add(abi.OP_CLOSE, slot=clone)


class RemoveMount(LiveStep):
    """Unmounts what lies topmost on a path of a running container.

    A clone of it is held until the run is over, so that it can be put back with all that is in it.

    Args:
        place: where it lies, as mountinfo says.
        kind: "directory" or "file".
        again: what makes it anew where the clone ended with a run that died.
        returns: it will be put back in this very run.
    """

    place: str
    kind: str = "directory"
    again: AddMount | None = None
    returns: bool = False

    def look(self, kernel: Any, run: Any) -> Any:
        """What lies there."""
        return kernel.mounts_at(run.pid(self.target), self.place)

    def apply(self, kernel: Any, run: Any) -> Any:
        """umount2(2); where processes use it, it is detached and ends with its last open file."""
        table = Table(("init",))
        root = self.enter(table)
        table.add(abi.OP_OPEN_TREE, slot=table.slot("tree"), dir=root, s1=self.place.lstrip("/"),
                  a=CLONE | abi.AT_RECURSIVE)
        table.add(abi.OP_SEND_FD, slot=table.slot("tree"))
        table.add(abi.OP_CLOSE, slot=table.slot("tree"))
        table.add(abi.OP_UMOUNT, dir=root, s1=self.place, b=1)
        said = self.run(run, table)
        run.hold(self.target, self.place, next(one.fd for one in said if one.fd >= 0))
        if any(one.error == EBUSY for one in said) and not self.returns:
            run.note(f"{self.target}: {self.place} was in use: files that are open there stay so until closed")
        return None

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Put back, or made anew after a crash: what was in a memory file system is lost then."""
        pid = run.pid(self.target)
        if not pid or not set(memo) - set(kernel.mounts_at(pid, self.place)):
            return
        if run.holds(self.target, self.place):
            attach(self, run, self.place, self.kind)
        elif self.again is not None:
            self.again.apply(kernel, run)

    def __str__(self) -> str:
        return f"unmount {self.place} in {self.target}" + (", for the moment" if self.returns else "")


def attach(step: LiveStep, run: Any, place: str, kind: str) -> None:
    """Mount a held tree."""
    table = Table(("init", "held"))
    root = step.enter(table)
    # mountinfo's own word for the place, which holds no links.
    table.add(abi.OP_MKFILE if kind == "file" else abi.OP_MKDIR, slot=table.slot("target"), dir=root,
              s1=place.lstrip("/"), a=0o644 if kind == "file" else 0o755, b=1)
    table.add(abi.OP_MOVE_MOUNT, slot=table.slot("held"), dir=table.slot("target"))
    step.run(run, table, (place,))


class ReturnMount(LiveStep):
    """Puts a mount back that made room for one above or below it."""

    place: str
    kind: str = "directory"

    def look(self, kernel: Any, run: Any) -> Any:
        """What lies there."""
        return kernel.mounts_at(run.pid(self.target), self.place)

    def apply(self, kernel: Any, run: Any) -> Any:
        """move_mount(2)."""
        attach(self, run, self.place, self.kind)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Taken away again, and held as before."""
        if not run.pid(self.target) or not set(kernel.mounts_at(run.pid(self.target), self.place)) - set(memo):
            return
        table = Table(("init",))
        root = self.enter(table)
        table.add(abi.OP_OPEN_TREE, slot=table.slot("tree"), dir=root, s1=self.place.lstrip("/"),
                  a=CLONE | abi.AT_RECURSIVE)
        table.add(abi.OP_SEND_FD, slot=table.slot("tree"))
        table.add(abi.OP_CLOSE, slot=table.slot("tree"))
        table.add(abi.OP_UMOUNT, dir=root, s1=self.place, a=abi.MNT_DETACH)
        run.hold(self.target, self.place, next(one.fd for one in self.run(run, table) if one.fd >= 0))

    def __str__(self) -> str:
        return f"mount {self.place} again in {self.target}"


class SetMount(LiveStep):
    """Attributes or propagation of a mount of a running container.

    Args:
        place: where it lies, "/" for the root.
        set, clear: MOUNT_ATTR names; recursive: of those below as well.
        propagation: words such as `rslave`.
        back: another SetMount, which takes this one back.
    """

    place: str
    set: tuple[str, ...] = ()
    clear: tuple[str, ...] = ()
    recursive: bool = False
    propagation: tuple[str, ...] = ()
    back: SetMount | None = None

    def apply(self, kernel: Any, run: Any) -> Any:
        """mount_setattr(2)."""
        table = Table(("init",))
        root, mount = self.enter(table), table.slot("mount")
        table.add(abi.OP_OPEN, slot=mount, dir=root, s1=self.place.lstrip("/") or ".", b=EXACTLY,
                  a=abi.O_PATH | abi.O_CLOEXEC)
        if self.set or self.clear:
            table.add(abi.OP_MOUNT_SETATTR, slot=mount, pad=1 if self.recursive else 0, a=flags(self.set),
                      b=flags(self.clear))
        for word in self.propagation:
            deep = word[0] == "r" and word[1:] in PROPAGATION
            table.add(abi.OP_MOUNT_SETATTR, slot=mount, pad=1 if deep else 0, c=PROPAGATION[word[1:] if deep else word])
        try:
            self.run(run, table)
        except SyscallError as error:
            if error.errno == EBUSY:
                error.why = "a process has a file open for writing there, mount_setattr(2)"
                error.fix = "end it, or start the container anew: `runspec stop`, then `runspec apply`"
            raise

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """What it was."""
        if self.back is not None and run.pid(self.target):
            self.back.apply(kernel, run)

    def __str__(self) -> str:
        words = [*(f"set {word[len('MOUNT_ATTR_'):].lower()}" for word in self.set),
                 *(f"clear {word[len('MOUNT_ATTR_'):].strip('_').lower()}" for word in self.clear),
                 *(f"make {word}" for word in self.propagation)]
        return f"{', '.join(words)} on {self.place} in {self.target}"


class ResizeMount(LiveStep):
    """Options of a memory file system that can change while it is used.

    Args:
        options, back: `size=1m` and the like, as wanted and as they are.
    """

    place: str
    options: tuple[str, ...]
    back: tuple[str, ...] = ()

    def apply(self, kernel: Any, run: Any) -> Any:
        """fspick(2), tmpfs(5); refused where more is in use already."""
        self._set(run, self.options)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """What they were."""
        if run.pid(self.target):
            self._set(run, self.back)

    def _set(self, run: Any, options: tuple[str, ...]) -> None:
        table = Table(("init",))
        root, fs = self.enter(table), table.slot("fs")
        table.add(abi.OP_FSPICK, slot=fs, dir=root, s1=self.place.lstrip("/"))
        for option in options:
            key, _, value = option.partition("=")
            table.add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_SET_STRING, s1=key, s2=value)
        table.add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_CMD_RECONFIGURE)
        self.run(run, table)

    def __str__(self) -> str:
        return f"set {', '.join(self.options)} on {self.place} in {self.target}"


class HidePath(LiveStep):
    """Masks a path of a running container, or makes it read-only.

    Args:
        word: "mask" or "freeze".
    """

    place: str
    word: str = "mask"

    def look(self, kernel: Any, run: Any) -> Any:
        """What lies there."""
        return kernel.mounts_at(run.pid(self.target), self.place)

    def apply(self, kernel: Any, run: Any) -> Any:
        """As in a new container; the null device is the container's own and checked."""
        table = Table(("init",))
        root = self.enter(table)
        if self.word == "mask":
            null = table.slot("null")
            table.add(abi.OP_OPEN, slot=null, dir=root, s1="dev/null", a=abi.O_RDWR | abi.O_CLOEXEC, b=EXACTLY)
            table.add(abi.OP_CHECK_NULL, slot=null)
            table.add(abi.OP_MASK, dir=root, s1=self.place.lstrip("/"), slot=null)
        else:
            table.add(abi.OP_READONLY, dir=root, s1=self.place.lstrip("/"))
        self.run(run, table)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Shown again, writable again."""
        if run.pid(self.target):
            self.unmount(kernel, run, self.place, memo)

    def __str__(self) -> str:
        return f"{self.word} {self.place} in {self.target}"


class ShowPath(LiveStep):
    """Takes away what hides a path of a running container or makes it read-only.

    Args:
        word: "mask" or "freeze": what is taken away, and put back by undo.
    """

    place: str
    word: str = "mask"

    def look(self, kernel: Any, run: Any) -> Any:
        """What lies there."""
        return kernel.mounts_at(run.pid(self.target), self.place)

    def apply(self, kernel: Any, run: Any) -> Any:
        """umount2(2); what has a file open below keeps the view it has."""
        table = Table(("init",))
        root = self.enter(table)
        table.add(abi.OP_UMOUNT, dir=root, s1=self.place, b=1)
        self.run(run, table)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Hidden again."""
        pid = run.pid(self.target)
        if pid and set(memo) - set(kernel.mounts_at(pid, self.place)):
            HidePath(target=self.target, kinds=self.kinds, place=self.place, word=self.word).apply(kernel, run)

    def __str__(self) -> str:
        return f"un{self.word} {self.place} in {self.target}"


class SetNode(LiveStep):
    """Makes, changes or removes one device node of a running container.

    Args:
        node: as it should be, None to remove it.
        at: its path.
        bind: in a user namespace the host's node is bound, since mknod(2) is refused.
    """

    at: str
    node: Device | None = None
    bind: bool = False

    def look(self, kernel: Any, run: Any) -> Any:
        """Kind, numbers, mode and owner of what is there, None for nothing; with a bind, the mounts there."""
        pid = run.pid(self.target)
        if self.bind:
            return kernel.mounts_at(pid, self.at)
        return kernel.node_inside(pid, self.at)

    def apply(self, kernel: Any, run: Any) -> Any:
        """mknod(2), unlink(2), or a bind of the host's node."""
        before = self.look(kernel, run)
        if self.bind:
            self._bind(run, before)
        else:
            self._make(run, before, self.node)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """What was there."""
        pid = run.pid(self.target)
        if not pid:
            return
        if self.bind:
            if set(memo or ()) - set(kernel.mounts_at(pid, self.at)):
                self.replace(node=Device(path=self.at, type="c"))._bind(run, [])
            else:
                self.unmount(kernel, run, self.at, memo or [])
            return
        former = None
        if memo is not None:
            kind, major, minor, mode, uid, gid = memo
            former = Device(path=self.at, type=kind, major=major, minor=minor, file_mode=mode, uid=uid, gid=gid)
        self._make(run, kernel.node_inside(pid, self.at), former)

    def _make(self, run: Any, now: Any, wanted: Device | None) -> None:
        parent, name = self.at.rsplit("/", 1)
        table = Table(("init",))
        root, where = self.enter(table), table.slot("where")
        table.add(abi.OP_MKDIR, slot=where, dir=root, s1=parent.lstrip("/") or ".", a=0o755, b=1)
        numbers = (number(wanted), wanted.major or 0, wanted.minor or 0) if wanted is not None else None
        if now is not None and (numbers is None or (number_of(now[0]), *now[1:3]) != numbers):
            table.add(abi.OP_REMOVE, dir=where, s1=name)
        if wanted is not None:
            table.add(abi.OP_MKNOD, dir=where, s1=name, a=number(wanted) | ((wanted.file_mode or 0o666) & 0o7777),
                      b=makedev(wanted.major or 0, wanted.minor or 0),
                      c=(wanted.uid or 0) | (wanted.gid or 0) << 32)
        self.run(run, table)

    def _bind(self, run: Any, before: list[int]) -> None:
        table = Table(("init",))
        if self.node is not None:
            table.add(abi.OP_OPEN_TREE, slot=table.slot("tree"), s1=self.at, a=CLONE)
        root = self.enter(table)
        for _ in before:
            table.add(abi.OP_UMOUNT, dir=root, s1=self.at, a=abi.MNT_DETACH)
        if self.node is None and self.at.startswith("/dev/"):
            # The empty file that it lay on.
            parent, name = self.at.rsplit("/", 1)
            table.add(abi.OP_OPEN, slot=table.slot("where"), dir=root, s1=parent.lstrip("/"), b=EXACTLY,
                      a=abi.O_PATH | abi.O_DIRECTORY | abi.O_CLOEXEC)
            table.add(abi.OP_IGNORE_NEXT)
            table.add(abi.OP_REMOVE, dir=table.slot("where"), s1=name)
        if self.node is not None:
            table.add(abi.OP_MKFILE, slot=table.slot("target"), dir=root, s1=self.at.lstrip("/"), a=0o666, b=1)
            table.add(abi.OP_MOVE_MOUNT, slot=table.slot("tree"), dir=table.slot("target"))
        self.run(run, table)

    def __str__(self) -> str:
        if self.node is None:
            return f"remove the device {self.at} in {self.target}"
        kind = f"{self.node.type} {self.node.major or 0}:{self.node.minor or 0}"
        return f"{'bind' if self.bind else 'make'} the device {self.at} ({kind}) in {self.target}"


def number(device: Device) -> int:
    """A device's type as mknod(2) takes it."""
    return NODE_KINDS[device.type]


def number_of(kind: str) -> int:
    """The same of what is there, 0 for what is no node."""
    return NODE_KINDS.get(kind, 0)
