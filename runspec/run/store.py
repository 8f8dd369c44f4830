"""The state directory: one directory for each container and network, its lock and its Record."""

from __future__ import annotations

import errno
import os
import stat
import time

from runspec.errors import StateError, SyscallError
from runspec.spec import jsonlite
from runspec.spec.frozen import Frozen, fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from runspec.kernel import Kernel

VERSION = 1
KINDS = ("container", "network")
ROOT = "/run/runspec"
ROOMS = (*(f"{kind}s" for kind in KINDS), "journals")
_RECORD = "record.json"
WAITING = "/memfd:runspec"       # what init executes until it is told to start
_AS_ROOT = "run it as root, or name a directory of your own with --root"
_SAFE = 0o022       # write permission of group and others


# Below the root: the kernel parameters that firewall.py holds, what leases.py knows of links that are lent.
HELD, LENT = "firewall/knobs.json", "leases"


class Record(Frozen):
    """What outlives the run that made a container or a network.

    Args:
        version: of this format.
        kind: "container" or "network".
        name: its name, unique within its kind.
        pid, start_time: init, and the clock ticks since boot at which it began; 0 for a network.
        boot_id: the boot both belong to.
        spec: the applied document, as tree.to_tree gives it.
        digest: SHA-256 of the document's text, hexadecimal.
        status: "creating", "created" or "running": how far it was brought; whether it still
            lives is asked of the kernel.
        created: when it was made, RFC 3339, UTC; changes and restarts leave it.
        cgroups: directories made for it.
        links: links of the host made for it.
        seccomp: the key of its compiled filter, "" without one.
        bundle: the OCI bundle that it was made from, "" where a document describes it.
    """

    version: int = VERSION
    kind: str
    name: str
    pid: int = 0
    start_time: int = 0
    boot_id: str
    spec: dict[str, Any]
    digest: str = ""
    status: str = "running"
    created: str = ""
    cgroups: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    seccomp: str = ""
    bundle: str = ""


_TYPES: dict[str, type] = {
    "version": int, "kind": str, "name": str, "pid": int, "start_time": int, "boot_id": str, "spec": dict,
    "digest": str, "status": str, "created": str, "cgroups": list, "links": list, "seccomp": str, "bundle": str}


def parse_record(text: bytes) -> Record:
    """A Record from the text of its file.

    Raises:
        ValueError: it is damaged: no JSON, a key missing, unknown or of the wrong type.
        StateError: a newer runspec wrote it.
    """
    tree = jsonlite.loads(text)
    if not isinstance(tree, dict):
        raise ValueError("it is no map")
    version = tree.get("version")
    if type(version) is int and version > VERSION:
        raise StateError(f"the record is of version {version}, this runspec knows {VERSION}",
                         "a newer one made it, and may mean other things by it", "use that one")
    if version != VERSION:
        raise ValueError(f"version is {version!r}")
    for field, kind in _TYPES.items():
        if type(tree.get(field)) is not kind:
            raise ValueError(f"{field} is missing or wrong")
        if kind is list and not all(isinstance(one, str) for one in tree[field]):
            raise ValueError(f"{field} is wrong")
    if len(tree) != len(_TYPES):
        raise ValueError(f"unknown keys: {', '.join(sorted(set(tree) - set(_TYPES)))}")
    if tree["kind"] not in KINDS or tree["pid"] < 0 or tree["start_time"] < 0:
        raise ValueError("kind, pid or start_time is wrong")
    values: dict[str, Any] = {f: tuple(v) if isinstance(v, list) else v for f, v in tree.items()}
    return Record(**values)


def record_text(record: Record) -> str:
    """The text of a Record's file."""
    return jsonlite.dumps({f: getattr(record, f) for f in fields_of(Record)}) + "\n"


def now() -> str:
    """This moment in the form of Record.created."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def boot_id(kernel: Kernel) -> str:
    """The id of this boot, random(4)."""
    return kernel.boot_id()


def status(kernel: Kernel, record: Record) -> str:
    """How a container is: Record.status ("running", "created", ...) while its init lives, else "stopped".

    A zombie is stopped. A pid alone proves nothing: start time and boot id must agree.
    """
    if not record.pid or record.boot_id != boot_id(kernel):
        return "stopped"
    state = kernel.process_state(record.pid, record.start_time)
    if state in (None, "Z", "X", "x"):
        return "stopped"
    if record.status == "created" and not (kernel.read_link(f"/proc/{record.pid}/exe") or "").startswith(WAITING):
        return "running"        # whoever started it died before it could write so
    return record.status


class Locks:
    """Locks that are held, by descriptors, until close or death; use it with `with`."""

    def __init__(self, kernel: Kernel, shared: bool) -> None:
        self._kernel, self._shared = kernel, shared
        self._held: list[tuple[int, str]] = []
        self._files: list[tuple[int, str]] = []
        self.notes: tuple[str, ...] = ()        # what the user should hear of what was put right before

    def add(self, fd: int, path: str) -> None:
        """Take over one lock on a directory."""
        self._held.append((fd, path))

    def keep(self, fd: int, path: str) -> None:
        """Take over a locked file, which goes with the locks."""
        self._files.append((fd, path))

    def close(self) -> None:
        """Give all up; a directory that got no Record goes with its lock."""
        while self._files:
            fd, path = self._files.pop()
            try:
                self._kernel.remove_file(path)
            finally:
                self._kernel.close(fd)
        while self._held:
            fd, path = self._held.pop()
            try:
                if not self._shared:
                    self._tidy(fd, path)
            finally:
                self._kernel.unlock(fd)

    def _tidy(self, fd: int, path: str) -> None:
        # After remove(), the path may by now be another process's new directory: leave that alone.
        mine, found = os.fstat(fd), self._kernel.stat(path, follow=False)
        if found is None or (mine.st_dev, mine.st_ino) != (found.st_dev, found.st_ino):
            return
        names = self._kernel.list_dir(path)
        if _RECORD in names:
            return
        for name in names:
            self._kernel.remove_file(f"{path}/{name}")
        self._kernel.remove_dir(path)

    def __enter__(self) -> Locks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


class Alone:
    """A lock on a directory while a block runs."""

    def __init__(self, kernel: Kernel, directory: str) -> None:
        self._kernel, self._directory, self._fd = kernel, directory, -1

    def __enter__(self) -> None:
        self._fd = self._kernel.lock_dir(self._directory)

    def __exit__(self, *error: object) -> None:
        self._kernel.unlock(self._fd)


class Store:
    """The state directory.

    Args:
        kernel: the door to the machine.
        root: the directory; made at the first change, never by reading.
    Raises:
        StateError: it is a symlink, no directory, not ours, or others may write to it.
    """

    def __init__(self, kernel: Kernel, root: str = ROOT) -> None:
        self.kernel, self.root = kernel, root
        self._ready = False
        self._read: dict[str, tuple[bytes, Record]] = {}
        self._check()

    def _check(self) -> bool:
        found = self.kernel.stat(self.root, follow=False)
        if found is None:
            return False
        wrong = ("it is a symlink" if stat.S_ISLNK(found.st_mode)
                 else "it is no directory" if not stat.S_ISDIR(found.st_mode)
                 else f"it belongs to uid {found.st_uid}" if found.st_uid != os.geteuid()
                 else f"its mode is {stat.S_IMODE(found.st_mode):04o}" if found.st_mode & _SAFE else "")
        if wrong:
            if found.st_uid == 0 != os.geteuid() and stat.S_ISDIR(found.st_mode):
                raise StateError(f"{self.root}: this state directory is root's", "containers are made and seen by root",
                                 _AS_ROOT)
            raise StateError(f"{self.root}: refused as state directory",
                             why=f"{wrong}; others could plant state in it",
                             fix="remove it, or name another one with --root")
        return True

    def prepare(self) -> None:
        """Make the directory and its rooms, mode 0700, where they are missing."""
        while not self._ready:
            if not self._check():
                try:
                    self.kernel.make_dirs(os.path.dirname(self.root))
                    self.kernel.make_dir(self.root, 0o700)
                except SyscallError as error:
                    if error.errno not in (errno.EACCES, errno.EPERM) or not os.geteuid():
                        raise
                    raise StateError(f"{self.root}: the state directory cannot be made: {error.what}",
                                     f"this is uid {os.geteuid()}; containers are made by root", _AS_ROOT) from error
                self._check()           # another may have been quicker
            try:
                for room in ROOMS:
                    if not self.kernel.exists(f"{self.root}/{room}"):
                        self.kernel.make_dir(f"{self.root}/{room}", 0o700)
                self._ready = True
            except SyscallError as error:
                if error.errno != errno.ENOENT:     # tidied away meanwhile by who removed the last container
                    raise

    def again(self) -> None:
        """A room is gone: make what is missing once more."""
        self._ready = False
        self.prepare()

    def tidy(self) -> None:
        """Remove the rooms and the directory where they are empty: nothing stays behind the last container.

        A run that died while it locked leaves a directory without a Record; that goes as well.
        """
        for kind in KINDS:
            for name in self.kernel.list_dir(f"{self.root}/{kind}s"):
                if not self.kernel.exists(f"{self.root}/{kind}s/{name}/{_RECORD}"):
                    try:
                        self.lock([(kind, name)], timeout=0.0).close()
                    except StateError:
                        continue        # somebody is at work in it
        self._ready = False
        if self.kernel.list_dir(f"{self.root}/claims"):
            from runspec.run import claims
            claims.sweep(self)
        for room in (*ROOMS, LENT, "names"):
            self._remove_empty(f"{self.root}/{room}")
        self._remove_gate()
        self._remove_empty(self.root)

    def _remove_empty(self, path: str) -> None:
        try:
            self.kernel.remove_dir(path)
        except SyscallError as error:
            # EBUSY: somebody's mount point; EROFS: nothing was made there either.
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY, errno.EROFS):
                raise

    def _remove_gate(self) -> None:
        """The room of claims, but not where somebody is at admission, who is about to write into it."""
        path = f"{self.root}/claims"
        try:
            gate = self.kernel.lock_dir(path, wait=0.0)
        except SyscallError as error:
            if error.errno not in (errno.ENOENT, errno.EAGAIN):
                raise
            return
        try:
            self._remove_empty(path)
        finally:
            self.kernel.unlock(gate)

    def path(self, kind: str, name: str) -> str:
        """The directory of one container or network.

        Raises:
            StateError: a name that is no plain file name.
        """
        if kind not in KINDS or name in ("", ".", "..") or "/" in name or "\0" in name:
            raise StateError(f"{name!r}: no name of a {kind}")
        return f"{self.root}/{kind}s/{name}"

    def lock(self, ids: list[tuple[str, str]], shared: bool = False, timeout: float = 10.0) -> Locks:
        """Lock containers and networks, in sorted order so that two runs never wait for each other.

        Args:
            ids: (kind, name) pairs.
            shared: for reading; what does not exist stays unlocked.
            timeout: seconds for all together.
        Raises:
            StateError: one is busy for that long.
        """
        if not shared:
            self.prepare()
        end = time.monotonic() + timeout
        locks = Locks(self.kernel, shared)
        try:
            queue = sorted(set(ids), reverse=True)
            while queue:
                kind, name = queue[-1]
                path = self.path(kind, name)
                try:
                    fd = self.kernel.lock_dir(path, shared, max(0.0, end - time.monotonic()),
                                              None if shared else 0o700)
                except SyscallError as error:
                    if error.errno == errno.EAGAIN:
                        raise StateError(f"{kind} {name} is busy",
                                         why=f"another runspec has worked on it for {timeout:g} s",
                                         fix="try again when it is done") from None
                    if error.errno != errno.ENOENT:
                        raise
                    if shared:
                        queue.pop()
                    else:
                        self.again()
                    continue
                queue.pop()
                locks.add(fd, path)
        except BaseException:
            locks.close()
            raise
        return locks

    def alone(self) -> Alone:
        """For `with`: no other run changes what containers share on the host between a look and a change."""
        return Alone(self.kernel, f"{self.root}/journals")

    def load(self, kind: str, name: str) -> Record | None:
        """The Record, None where there is none.

        Raises:
            StateError: it is damaged, or of a newer version.
        """
        path = f"{self.path(kind, name)}/{_RECORD}"
        text = self.kernel.try_read(path)
        if text is None:
            return None
        # One verb asks for a Record several times, with and without its lock; judging the text again says nothing new.
        before = self._read.get(path)
        if before is not None and before[0] == text:
            return before[1]
        try:
            record = parse_record(text)
            if (record.kind, record.name) != (kind, name):
                raise ValueError(f"it names {record.kind} {record.name}")
        except ValueError as error:
            raise StateError(f"{kind} {name}: its record is damaged", why=f"{path}: {error}",
                             fix=f"`runspec delete --force {name}` removes it, found by its control groups") from None
        except StateError as error:
            raise StateError(f"{kind} {name}: {error.what}", why=path, fix=error.fix) from None
        self._read[path] = text, record
        return record

    def text(self, kind: str, name: str) -> bytes | None:
        """The bytes of a Record's file as they are, None where there is none."""
        return self.kernel.try_read(f"{self.path(kind, name)}/{_RECORD}")

    def saved(self, kind: str, name: str) -> int:
        """When a Record was written last, in nanoseconds, 0 where there is none; `created` tells when it was first."""
        found = self.kernel.stat(f"{self.path(kind, name)}/{_RECORD}")
        return found.st_mtime_ns if found is not None else 0

    def mark(self, name: str) -> str:
        """What the control groups of a container bear; another state directory's containers are others."""
        return f"{self.root}:{name}"

    def gate(self, name: str) -> str:
        """The socket at which a created container waits for its start."""
        return f"{self.path('container', name)}/start"

    def names(self, kind: str) -> list[str]:
        """The names of all that have a Record, damaged ones too, sorted."""
        room = f"{self.root}/{kind}s"
        return [name for name in self.kernel.list_dir(room) if self.kernel.exists(f"{room}/{name}/{_RECORD}")]

    def save(self, record: Record) -> None:
        """Write a Record, whole or not at all; its lock must be held."""
        path, text = f"{self.path(record.kind, record.name)}/{_RECORD}", record_text(record)
        self.kernel.replace_file(path, text)
        self._read[path] = text.encode(), record

    def remove(self, kind: str, name: str) -> bool:
        """Forget a container or network; its lock must be held. False where there was nothing."""
        path = self.path(kind, name)
        names = self.kernel.list_dir(path)
        for one in sorted(names, key=lambda one: one == _RECORD):   # the Record last: it is what others see
            self.kernel.remove_file(f"{path}/{one}")
        self.kernel.remove_dir(path)
        return _RECORD in names

    def users(self, network: str) -> list[str]:
        """The containers whose Record has an interface on this network, or one that it carries.

        Raises:
            StateError: a Record is damaged, so nobody knows.
        """
        out = []
        for name in self.names("container"):
            record = self.load("container", name)
            if record is not None and any(network in (one.get("network"), one.get("parent"))
                                          for one in record.spec.get("interfaces", ())):
                out.append(name)
        return out
