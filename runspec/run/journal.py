"""The journal of one run: what it is about to do and what it did, for whoever finds it dead.

One line before each act, by a write(2) that returns first: that survives a kill at any instruction; and
one after, which goes with the next where it holds nothing for an undo. What does nothing when it is undone before it
was done may be announced earlier, in the same write as what is done before it. Its owner holds a lock for life, so
an unlocked journal is that of a dead one.
"""

from __future__ import annotations

import errno
import os
import time
from struct import pack, unpack

from runspec.errors import StateError, SyscallError
from runspec.run.store import KINDS, Store, boot_id
from runspec.spec import jsonlite
from runspec.spec.frozen import Frozen, items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

VERSION = 1
_F_OFD_GETLK, _F_OFD_SETLK = 36, 37
_F_WRLCK, _F_UNLCK = 1, 2
_FLOCK = "hhqqi4x"          # struct flock: type, whence, start, length, pid
_LINES, _WHY = ".jsonl", ".why"
_SIMPLE = (str, int, bool, type(None))


def plain(value: Any) -> Any:
    """A field of a Step as JSON: tuples as lists, model objects and bytes as maps with a "$" key."""
    if type(value) in _SIMPLE:
        return value
    if isinstance(value, Frozen):
        return {"$": type(value).__name__, **{field: plain(inner) for field, inner in items(value)}}
    if isinstance(value, (tuple, list)):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        return {"$": "bytes", "hex": value.hex()}
    if isinstance(value, dict):
        if "$" in value:
            raise ValueError("a key is $")
        return {name: plain(inner) for name, inner in value.items()}
    return value


def args_of(step: Frozen) -> dict[str, Any]:
    """The fields of a Step, as JSON."""
    return {field: inner if type(inner) is str else plain(inner) for field, inner in items(step)}


def restore(value: Any, classes: dict[str, type]) -> Any:
    """The inverse of plain; lists become tuples.

    Args:
        value: what plain gave, read back.
        classes: model classes by name.
    Raises:
        ValueError: it names a class that is not there, or does not fit one.
    """
    if isinstance(value, list):
        return tuple(restore(inner, classes) for inner in value)
    if not isinstance(value, dict):
        return value
    if "$" not in value:
        return {name: restore(inner, classes) for name, inner in value.items()}
    name = value["$"]
    if name == "bytes":
        return bytes.fromhex(value["hex"])
    return restore_step(name, {field: inner for field, inner in value.items() if field != "$"}, classes)


def restore_step(name: str, args: dict[str, Any], classes: dict[str, type]) -> Any:
    """A Step from its class name and args_of.

    Raises:
        ValueError: as restore.
    """
    if name not in classes:
        raise ValueError(f"unknown step {name}")
    try:
        return classes[name](**{field: restore(inner, classes) for field, inner in args.items()})
    except TypeError as error:
        raise ValueError(str(error)) from None


class Entry:
    """One Step that a run began: its class name, its args, whether it came to its end, and its memo."""

    __slots__ = ("args", "done", "index", "memo", "step")

    def __init__(self, index: int, step: str, args: dict[str, Any]) -> None:
        self.index, self.step, self.args = index, step, args
        self.done = False
        self.memo: Any = None

    def __repr__(self) -> str:
        return f"Entry({self.index}, {self.step!r}, {self.args!r}, done={self.done}, memo={self.memo!r})"


def parse_journal(text: bytes) -> tuple[dict[str, Any], list[Entry]]:
    """The head and the Steps of a journal, in the order in which they began.

    A torn last line, which the kill cut off before its act began, counts as not written.

    Returns:
        (head, entries); an empty head where not even that was written: nothing was done.
    Raises:
        ValueError: damage anywhere else.
    """
    head: dict[str, Any] = {}
    entries: dict[int, Entry] = {}
    lines = text.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):       # what follows the last newline is torn
        tree = jsonlite.loads(line)
        if not isinstance(tree, dict):
            raise ValueError(f"line {number} is no map")
        try:
            if number == 1:
                head = {"ids": [(kind, name) for kind, name in tree["begin"]], "version": tree["version"],
                        "boot_id": tree["boot_id"], "pid": tree["pid"]}
            elif "do" in tree:
                entry = entries[tree["do"]] = Entry(tree["do"], tree["step"], tree["args"])
                entry.memo = tree.get("before")
            else:
                entry = entries[tree["done"]]
                entry.done, entry.memo = True, entry.memo if tree["memo"] is None else tree["memo"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"line {number}: {error}") from None
    return head, list(entries.values())


def named(text: bytes) -> list[tuple[str, str]]:
    """The (kind, name) pairs that a journal's run had locked; of a damaged one, what its Steps still tell of them."""
    lines = text.split(b"\n")[:-1]
    try:
        found = [(kind, name) for kind, name in jsonlite.loads(lines[0])["begin"]]
        if all(kind in KINDS and _plain(name) for kind, name in found):
            return found
    except (IndexError, ValueError, KeyError, TypeError):
        pass
    targets: dict[str, None] = {}
    for line in lines:
        try:
            target = jsonlite.loads(line)["args"]["target"]
        except (ValueError, KeyError, TypeError):
            continue
        if _plain(target):
            targets[target] = None
    return [(kind, name) for name in targets for kind in KINDS]


def _plain(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name


class Journal:
    """One journal file, locked and open.

    Attributes:
        id: its file name without .jsonl.
        path: the file.
    """

    def __init__(self, store: Store, name: str, fd: int) -> None:
        self.id, self.path, self._store, self._fd = name, f"{store.root}/journals/{name}{_LINES}", store, fd
        self._later = b""       # what waits for the next write

    @property
    def ids(self) -> list[tuple[str, str]]:
        """The (kind, name) pairs its run had locked."""
        return named(self._store.kernel.try_read(self.path) or b"")

    @property
    def blocked(self) -> StateError | None:
        """Why it could not be undone when that was tried last, None where nobody has failed at it."""
        text = self._store.kernel.try_read(self._why)
        try:
            return StateError(**jsonlite.loads(text)) if text is not None else None
        except (ValueError, TypeError):
            return StateError(f"journal {self.id} could not be undone", self.path, "see `runspec apply`")

    def block(self, error: StateError) -> None:
        """Keep why it could not be undone, for who only looks; give up its lock."""
        text = jsonlite.dumps({"what": error.what, "why": error.why, "fix": error.fix}) + "\n"
        try:
            if self._store.kernel.try_read(self._why) != text.encode():
                self._store.kernel.replace_file(self._why, text)
        except SyscallError as full:
            if full.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
        self.release()

    @property
    def _why(self) -> str:
        return f"{self._store.root}/journals/{self.id}{_WHY}"

    def intent(self, index: int, steps: Sequence[Frozen], before: Any = None) -> None:
        """Say that these Steps, the first of which has this index, are about to be done; must return before their acts.

        Args:
            before: the memo of the first, should nobody see the end of its act.
        """
        lines: list[dict[str, Any]] = [{"do": at, "step": type(step).__name__, "args": args_of(step)}
                                       for at, step in enumerate(steps, index)]
        if before is not None:
            lines[0]["before"] = before
        self._append(*lines)

    def done(self, index: int, memo: Any = None) -> None:
        """Say that the act is over, with what its undo needs; None leaves what its intent said.

        That a Step is over changes nothing about its undo: without a memo the line goes with the next one.
        """
        if memo is None:
            self._later += b'{"done":%d,"memo":null}\n' % index
        else:
            self._append({"done": index, "memo": memo})

    def read(self) -> list[Entry]:
        """The Steps begun, in order.

        Raises:
            StateError: damaged, or of a newer version.
        """
        return self._parsed()[1]

    @property
    def steps(self) -> int:
        """How many Steps it can be seen to have begun."""
        return (self._store.kernel.try_read(self.path) or b"").count(b'{"do":')

    def stale(self) -> bool:
        """Whether it is of an earlier boot: processes, links, cgroups and mounts are gone without us."""
        head, _ = self._parsed()
        return bool(head) and head["boot_id"] != boot_id(self._store.kernel)

    def close(self) -> None:
        """The run is over, or undone: remove the file, then give up its lock."""
        if self._store.kernel.exists(self._why):
            self._store.kernel.remove_file(self._why)
        self._store.kernel.remove_file(self.path)
        self.release()

    def release(self) -> None:
        """Give up the lock but keep the file: what is left stays to be undone."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, *trees: dict[str, Any]) -> None:
        text = "".join([jsonlite.dumps(tree) + "\n" for tree in trees])
        self._store.kernel.append(self._fd, self._later + text.encode(), self.path)
        self._later = b""

    def _parsed(self) -> tuple[dict[str, Any], list[Entry]]:
        text = self._store.kernel.try_read(self.path) or b""
        try:
            head, entries = parse_journal(text)
        except ValueError as error:
            raise StateError(f"journal {self.id} is damaged", why=f"{self.path}: {error}",
                             fix="remove what it was about with `runspec delete --force`, then the file") from None
        if head and head["version"] != VERSION:
            raise StateError(f"journal {self.id} is of version {head['version']}",
                             why=f"{self.path}: this runspec knows version {VERSION}",
                             fix="use the runspec that wrote it")
        return head, entries


def begin(store: Store, ids: list[tuple[str, str]]) -> Journal:
    """Start a journal for a run on these (kind, name) pairs, whose locks are held.

    Raises:
        SyscallError: no room for it, for one; then nothing was begun.
    """
    store.prepare()
    kernel = store.kernel
    boot = boot_id(kernel)
    while True:
        name = f"{time.monotonic_ns()}-{os.getpid()}"
        path = f"{store.root}/journals/{name}.jsonl"
        try:
            fd = kernel.open_new(path, 0o600, os.O_EXCL | os.O_APPEND)
        except SyscallError as error:
            if error.errno == errno.ENOENT:
                store.again()
            elif error.errno != errno.EEXIST:
                raise
            continue
        journal = Journal(store, name, fd)
        try:
            # Between making and locking it, another run may have taken it for a dead one's.
            if not hold(fd) or not _same(store, fd, path):
                os.close(fd)
                continue
            head = {"begin": sorted(set(ids)), "version": VERSION, "boot_id": boot, "pid": os.getpid()}
            journal._append(head)
        except BaseException:
            journal.close()
            raise
        return journal


def open_journals(store: Store, take: bool = True) -> list[Journal]:
    """The journals of runs that died, oldest first.

    Args:
        store: the state directory.
        take: lock each, to undo it: close() or release() follows. Else only for reading, without
            being in anybody's way.
    """
    out = []
    files = store.kernel.list_dir(f"{store.root}/journals")
    for file in sorted(files, key=_age):
        if not file.endswith(_LINES):
            if take and file.endswith(_WHY) and file[:-len(_WHY)] + _LINES not in files:
                store.kernel.remove_file(f"{store.root}/journals/{file}")       # somebody removed the journal by hand
            continue
        path = f"{store.root}/journals/{file}"
        try:
            fd = store.kernel.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW if take else os.O_NOFOLLOW)
        except SyscallError as error:
            if error.errno == errno.ENOENT:
                continue
            raise
        if (hold(fd) if take else unheld(fd)) and _same(store, fd, path):
            out.append(Journal(store, file[:-len(_LINES)], fd))
        else:
            os.close(fd)
    return out


def pending(store: Store, ids: list[tuple[str, str]]) -> list[str]:
    """The ids of journals that name one of these, whose locks are held: their runs are dead, and not yet undone."""
    names = [file[:-len(_LINES)] for file in store.kernel.list_dir(f"{store.root}/journals") if file.endswith(_LINES)]
    return [name for name in names if not set(ids).isdisjoint(Journal(store, name, -1).ids)]


def left(store: Store) -> list[StateError]:
    """What there is to tell of runs that died: why they could not be undone, or that nobody has tried it."""
    out = []
    for one in open_journals(store, take=False):
        out.append(one.blocked or StateError(
            f"a run was interrupted{words(one.ids)}", f"{one.path} says what it began",
            "`runspec apply` or `runspec destroy`, of anything, takes that back first"))
        one.release()
    return out


def words(ids: list[tuple[str, str]]) -> str:
    """` at container foo1 and network lan0`; nothing where nobody knows."""
    found = [f"{kind} {name}" for kind, name in sorted(set(ids))]
    return f" at {', '.join(found[:-1])}{' and ' if found[1:] else ''}{found[-1]}" if found else ""


def _age(file: str) -> tuple[int, str]:
    stamp = file.partition("-")[0]
    return (int(stamp) if stamp.isdecimal() else 0, file)


def _same(store: Store, fd: int, path: str) -> bool:
    mine, found = os.fstat(fd), store.kernel.stat(path, follow=False)
    return found is not None and (mine.st_dev, mine.st_ino) == (found.st_dev, found.st_ino)


# Open file description locks, fcntl(2): held by the descriptor as flock's are, but they can also
# be asked about without being taken, so that `diff` never makes a dead journal look alive.

def hold(fd: int) -> bool:
    import fcntl
    try:
        fcntl.fcntl(fd, _F_OFD_SETLK, pack(_FLOCK, _F_WRLCK, 0, 0, 0, 0))
        return True
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise SyscallError("fcntl", "journal", error.errno or errno.EIO) from None


def unheld(fd: int) -> bool:
    import fcntl
    answer = fcntl.fcntl(fd, _F_OFD_GETLK, pack(_FLOCK, _F_WRLCK, 0, 0, 0, 0))
    return bool(unpack(_FLOCK, answer)[0] == _F_UNLCK)
