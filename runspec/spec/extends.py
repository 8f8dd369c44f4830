"""`extends`: a document laid over the one document of another file.

Maps merge, a null removes what the base has, lists and scalars replace. A base lies in the directory of
the file that extends it, or below: what a directory means does not depend on where it is.
"""

from __future__ import annotations

import errno
import os
import stat

from runspec.errors import SpecError, meaning
from runspec.spec.compose import Composer, Document, parent, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.errors import Mark

    Tree = dict[str, Any]

SIZE = 1024 * 1024          # bytes of one base
DEPTH = 8                   # bases of bases
_WHY = "a base lies in the directory of the file that extends it, or below"


class _Refused(Exception):
    """Why a base cannot be taken."""

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.fix = what, why, fix


def resolve(document: Document, above: tuple[str, ...] = ()) -> tuple[Document | None, list[SpecError]]:
    """A document together with what it extends.

    Args:
        document: a map with a text at `extends`.
        above: real paths of the files that led here.

    Returns:
        The merged document, whose marks point into the file where each value stands and whose `bases`
        are the texts of the other files; None where a base cannot be taken. And the faults.
    """
    name, at = document.tree["extends"], document.at("extends")
    try:
        shown, real, text = _read(document.file, name)
        if real in above:
            raise _Refused(f"{quote(name)} leads back to where it came from",
                           "each would be laid over the other without an end", "end the chain of bases")
        if len(above) > DEPTH:      # the document itself is the first of them
            raise _Refused(f"{quote(name)} is base number {len(above)}", f"at most {DEPTH} are read",
                           "join some of them")
    except _Refused as error:
        return None, [SpecError(f"extends: {error.what}", error.why, error.fix, at)]
    except SpecError as error:
        return None, [error]
    base, faults = _compose(text, shown, at)
    if base is not None and isinstance(base.tree.get("extends"), str):
        base, more = resolve(base, (*(above or (os.path.realpath(document.file),)), real))
        faults += more
    if base is None or faults:
        return None, faults
    return _merged(base, document, text), []


def _compose(text: str, shown: str, at: Mark) -> tuple[Document | None, list[SpecError]]:
    """The one document of a base."""
    composer = Composer(shown)
    composer.run(text, 0)
    if composer.faults:
        return None, composer.faults
    found = composer.documents
    if len(found) != 1 or not isinstance(found[0].tree, dict):
        what = "one that is no map" if len(found) == 1 else f"{len(found)} documents" if found else "none"
        return None, [SpecError(f"extends: {shown} must hold one document, and holds {what}",
                                "a document is laid over one other", "keep each base in a file of its own", at)]
    return found[0], []


def _read(file: str, name: str) -> tuple[str, str, str]:
    """(path as people know it, real path, text) of a base."""
    from runspec.spec.source import decode

    if file == "-":
        raise _Refused("standard input lies in no directory", _WHY, "name the file instead of `-`")
    if not name:
        raise _Refused("is empty", "it names the file to be laid below this one", "write it like base.yaml")
    if not name.isprintable():
        raise _Refused(f"{quote(name)} holds a control character", "it would garble what people read", "rename it")
    if name[0] == "/":
        raise _Refused(f"{quote(name)} is absolute", _WHY, "put it there, and name it from there")
    if ".." in name.split("/"):
        raise _Refused(f"{quote(name)} leads out of the directory, by `..`", _WHY,
                       "put it there, and name it from there")
    shown = os.path.normpath(os.path.join(os.path.dirname(file), name))
    top = os.path.realpath(os.path.dirname(file) or ".")
    real = os.path.realpath(os.path.join(top, name))
    if real == top:
        raise _Refused(f"{quote(name)} is the directory itself", "a base is a YAML file", "name a file")
    if not real.startswith(top.rstrip("/") + "/"):
        raise _Refused(f"{quote(name)} leads out of the directory, by a link", _WHY, "put a copy there")
    try:
        data = _bytes(top, real)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise _Refused(f"{shown} does not exist", _WHY, "create it, or correct the name") from None
        brief = shown if len(shown) < 100 else quote(shown)
        raise _Refused(f"{brief} cannot be read: {error.strerror}", *meaning(error.errno or 0)) from None
    except _Refused as error:
        raise _Refused(f"{shown} {error.what}", error.why, error.fix) from None
    return shown, real, decode(data, shown)


def _bytes(top: str, real: str) -> bytes:
    """The content of a file below a directory, none of whose links is followed: they were followed before."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        parts = real[len(top.rstrip("/")) + 1:].split("/")
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            inner = os.open(part, flags | (0 if last else os.O_DIRECTORY), dir_fd=fd)
            os.close(fd)
            fd = inner
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            from runspec.spec.source import kind_of

            raise _Refused(f"is {kind_of(before.st_mode)}, not a regular file", "a base is a YAML file",
                           "name a file")
        data = b""
        while len(data) <= SIZE and (more := os.read(fd, SIZE + 1 - len(data))):
            data += more
        after = os.fstat(fd)
    finally:
        os.close(fd)
    if len(data) > SIZE:
        raise _Refused("is larger than 1 MiB", "a base is read with each file that extends it", "shorten it")
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
        raise _Refused("changed while it was read", "somebody writes to it", "try again when it is whole")
    return data


def _merged(base: Document, over: Document, text: str) -> Document:
    kept: set[str] = set()
    tree = _merge(base.tree, {key: value for key, value in over.tree.items() if key != "extends"}, "", kept)

    def from_base(path: str) -> bool:
        while path and path not in kept:
            path = parent(path)
        return path in kept

    marks = {**{path: mark for path, mark in base.marks.items() if from_base(path)}, **over.marks}
    keys = {**{path: mark for path, mark in base.mark_keys.items() if from_base(path)}, **over.mark_keys}
    out = Document(tree, marks, keys, over.text, over.file)
    out.bases = (text, *base.bases)
    return out


def _merge(base: Tree, over: Tree, path: str, kept: set[str]) -> Tree:
    """One map over another; the paths whose values are the base's go into `kept`."""
    from runspec.spec.compose import child

    out: Tree = {}
    for key, value in base.items():
        at = child(path, key)
        if key not in over:
            out[key] = value
            kept.add(at)
        elif isinstance(value, dict) and isinstance(over[key], dict):
            out[key] = _merge(value, over[key], at, kept)
        elif over[key] is not None:
            out[key] = _without_nulls(over[key])
    out.update((key, _without_nulls(value)) for key, value in over.items() if key not in base and value is not None)
    return out


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
