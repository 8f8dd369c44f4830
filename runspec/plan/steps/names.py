"""Steps for names: the files on the host, and the mounts through which containers see them."""

from __future__ import annotations

from errno import EINVAL, ELOOP, ENOENT, ENOTDIR, EROFS

from runspec import abi
from runspec.errors import RunspecError
from runspec.plan.steps.base import FINISH, ChildStep, HostStep, Step, Table
from runspec.plan.steps.live import IN_ROOT, LiveStep, point_below_readonly
from runspec.plan.steps.mounts import CLONE
from runspec.spec.rules_names import RESOLV

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runspec.spec.model import Spec

    Files = tuple[tuple[str, str], ...]     # (path inside, file of the host)

_ATTRIBUTES = (abi.MOUNT_ATTR_RDONLY | abi.MOUNT_ATTR_NOSUID | abi.MOUNT_ATTR_NODEV | abi.MOUNT_ATTR_NOEXEC)


class WriteNames(HostStep):
    """Makes a file of names say these lines; who reads it meanwhile sees each one whole.

    Args:
        file: on the host, below the state directory.
        lines: all that are in it.
        words: whose it is, for the plan.
    """

    file: str
    lines: tuple[str, ...]
    words: str = ""

    def apply(self, kernel: Any, run: Any) -> Any:
        """hosts(5), resolv.conf(5); see kernel.edit_lines."""
        write(kernel, self.file, self.lines)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """It says what Records do, once all else is taken back: who was removed does not come back by that."""
        run.unsettle(self.file)

    def __str__(self) -> str:
        return f"write {self.words or self.file}"


class RemoveNames(HostStep):
    """Takes away a file of names that nobody uses any more."""

    PHASE = FINISH
    file: str
    words: str = ""

    def look(self, kernel: Any, run: Any) -> Any:
        """Its lines."""
        return kernel.read_lines(self.file)

    def apply(self, kernel: Any, run: Any) -> Any:
        """unlink(2)."""
        kernel.remove_file(self.file)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """There again, for the mounts of it that are put back; then as Records have it."""
        if memo is not None:
            write(kernel, self.file, tuple(memo))
        run.unsettle(self.file)

    def __str__(self) -> str:
        return f"remove {self.words or self.file}"


def write(kernel: Any, file: str, lines: tuple[str, ...]) -> None:
    """Make a file of names, or change it."""
    for attempt in range(8):
        kernel.make_dir(file.rpartition("/")[0], 0o700)
        try:
            kernel.edit_lines(file, lines, ordered=file.endswith(".resolv.conf"))
            return
        except OSError as error:
            # Who removed the last container tidied the room away.
            if error.errno != ENOENT or attempt == 7:
                raise


class OpenNames(ChildStep):
    """Clones the mounts of its files, while the child may still reach them on the host."""

    files: tuple[str, ...]

    def ops(self, table: Table) -> None:
        """open_tree(2), mount_setattr(2)."""
        for index, file in enumerate(self.files):
            clone(table, file, f"names:{index}")

    def __str__(self) -> str:
        return "open the files of names"


class BindNames(ChildStep):
    """Mounts the clones below the root, read-only.

    Args:
        places: paths inside, in the order in which OpenNames opened the files.
    """

    places: tuple[str, ...]

    def why(self, errno: int) -> str:
        """What the root has at that path."""
        missing = "the root has no such file, and it lies where none can be made"
        other = "the root has a directory at this path, or a file where /etc should be"
        return {ENOENT: missing, EROFS: missing, ENOTDIR: other, EINVAL: other,
                ELOOP: "links of the root lead in a circle"}.get(errno, "")

    def remedy(self, errno: int) -> str:
        """What helps against all of these."""
        return "put an empty file there, or give the container a mount of its own at this path"

    def ops(self, table: Table) -> None:
        """move_mount(2)."""
        for index, place in enumerate(self.places):
            attach(table, place, f"names:{index}")

    def __str__(self) -> str:
        return f"mount names at {' and '.join(self.places)}"


def clone(table: Table, file: str, slot: str) -> None:
    """A mount of one file that nobody sees yet, in a slot of this name."""
    tree = table.slot(slot)
    table.add(abi.OP_OPEN_TREE, slot=tree, s1=file, a=CLONE)
    table.add(abi.OP_MOUNT_SETATTR, slot=tree, a=_ATTRIBUTES, c=abi.MS_PRIVATE)


def attach(table: Table, place: str, slot: str) -> None:
    """Mount a clone at exactly this path below the root.

    A link of the image there is covered itself, wherever it leads: so it decides nothing, and needs not lead
    anywhere. What is missing is made where the root can be written.
    """
    target, path = table.slot("names"), place.lstrip("/")
    table.add(abi.OP_IGNORE_NEXT)
    table.add(abi.OP_MKFILE, slot=target, dir=table.slot("root"), s1=path, a=0o644)
    table.add(abi.OP_OPEN, slot=target, dir=table.slot("root"), s1=path, b=IN_ROOT,
              a=abi.O_PATH | abi.O_NOFOLLOW | abi.O_CLOEXEC)
    table.add(abi.OP_MOVE_MOUNT, slot=table.slot(slot), dir=target)
    table.add(abi.OP_CLOSE, slot=target)


class ShowNames(LiveStep):
    """Mounts a file of names into a running container, in place of what lies there.

    Args:
        file: on the host; "" only takes away what lies there.
        place: path inside.
        former: the file that was mounted there, "" for none.
        readonly: the root is read-only, and the file may have to be made in it.
        bystander: the request does not name it: that it has ended meanwhile is no failure.
    """

    file: str
    place: str
    former: str = ""
    readonly: bool = False
    bystander: bool = False

    def look(self, kernel: Any, run: Any) -> Any:
        """The mounts that lie there."""
        return self._unless_ended(kernel, run, lambda: kernel.mounts_on(run.pid(self.target), self.place)[1])

    def apply(self, kernel: Any, run: Any) -> Any:
        """open_tree(2) out here, umount2(2) and move_mount(2) in there."""
        self._unless_ended(kernel, run, lambda: self._show(kernel, run, self.file))

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """What lay there, where it is not there any more."""
        self._unless_ended(kernel, run, lambda: self._take_back(kernel, run, memo or []))

    def _unless_ended(self, kernel: Any, run: Any, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except RunspecError:
            if not (self.bystander and kernel.ends(*run.live[self.target])):
                raise
            return None

    def _take_back(self, kernel: Any, run: Any, memo: list[int]) -> None:
        pid = run.pid(self.target)
        if pid and kernel.mounts_on(pid, self.place)[1] != list(memo):
            self._show(kernel, run, self.former if memo else "")

    def _show(self, kernel: Any, run: Any, file: str) -> None:
        table = Table(("init",))
        if file:
            clone(table, file, "names:0")
        root = self.enter(table)
        if self.readonly and file:
            point_below_readonly(table, self.place, "file")
        where, there = kernel.mounts_on(run.pid(self.target), self.place)
        for _ in there:
            table.add(abi.OP_UMOUNT, dir=root, s1=where, a=abi.MNT_DETACH)
        if file:
            attach(table, self.place, "names:0")
        self.run(run, table)

    def __str__(self) -> str:
        if not self.file:
            return f"unmount {self.place} in {self.target}"
        return f"mount names at {self.place} in {self.target}"


def ready(name: str, files: Files) -> list[ChildStep]:
    """Before the namespaces are entered."""
    return [OpenNames(target=name, path="hosts", files=tuple(file for _, file in files))] if files else []


def bind(name: str, files: Files) -> list[ChildStep]:
    """Below the new root, when the mounts of the document are in place."""
    return [BindNames(target=name, path=path_of(files[0][0]), places=tuple(place for place, _ in files))
            ] if files else []


def path_of(place: str) -> str:
    """The key that stands for what lies at a path inside."""
    return "dns" if place == RESOLV else "hosts"


def change(spec: Spec, files: Files, seen: dict[str, str], kinds: tuple[str, ...],
           reasons: dict[str, str]) -> tuple[list[Step], list[Step]]:
    """What unmounts and what mounts files of names in a running container: before and after its other mounts.

    Args:
        files: as they should be.
        seen: path inside -> the file of ours that is mounted there, "" for nothing or somebody else's.
        reasons: of the changes, by path.
    """
    wanted, steps = dict(files), (list[Step](), list[Step]())
    points = {one.destination for one in spec.mounts}
    for place in dict.fromkeys((*wanted, *seen)):
        path, file = path_of(place), wanted.get(place, "")
        # A mount of the document at that very path replaces ours by itself.
        if path in reasons and (file or place not in points):
            steps[bool(file)].append(ShowNames(
                target=spec.name, path=path, kinds=kinds, file=file, place=place, former=seen.get(place, ""),
                readonly=spec.root.readonly, reason=reasons[path]))
    return steps
