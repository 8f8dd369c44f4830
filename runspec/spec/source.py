"""The files a command line names, to text, to single documents, to plain trees with Marks."""

from __future__ import annotations

import os
import select
import stat
from itertools import pairwise

from runspec.errors import Mark, SpecError, meaning
from runspec.spec import compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from runspec.spec.compose import Document

__all__ = ["decode", "files", "gather", "join", "load", "nothing", "parse", "split"]

SIZE = 10 * 1024 * 1024     # bytes of one file


def load(paths: list[str], stdin: Any = None) -> list[Document]:
    """Reads files, folders (every *.yaml and *.yml in them, by name, but hidden ones) and `-`.

    Args:
        paths: what the command line named.
        stdin: a binary stream for `-`.

    Returns:
        The documents, in the order of the paths and of each file; empty ones left out.

    Raises:
        SpecError: with every fault of every file.
    """
    documents, faults = gather(paths, stdin)
    if faults:
        raise join(faults)
    return documents


def gather(paths: list[str], stdin: Any = None) -> tuple[list[Document], list[SpecError]]:
    """As load, but returns the faults beside the documents that could be read in spite of them."""
    documents: list[Document] = []
    faults: list[SpecError] = []
    for file, data in files(paths, stdin):
        try:
            if isinstance(data, SpecError):
                raise data
            found, bad = parse(decode(data, file), file)
        except SpecError as error:
            found, bad = [], [error]
        documents += found
        faults += bad
    return documents, faults


def join(faults: list[SpecError]) -> SpecError:
    """One error that carries all of them, in their order; equal ones, of a file that was named twice, once."""
    first, *rest = {one.text(): one for one in faults}.values()
    return SpecError(first.what, first.why, first.fix, first.at, (*first.also, *rest))


def files(paths: list[str], stdin: Any = None) -> Iterator[tuple[str, bytes | SpecError]]:
    """(file, its bytes or why it cannot be read) of each file that the paths name."""
    piped: bytes | None = None
    for path in paths:
        if path == "-":
            if piped is None:
                piped = stdin.read(SIZE + 1) if stdin is not None else b""
            yield path, _bounded(piped, path)
        elif os.path.isdir(path):
            try:
                names = sorted(name for name in os.listdir(path) if name.endswith((".yaml", ".yml")) and name[0] != ".")
            except OSError as error:
                yield path, _unreadable(path, error)
                continue
            if not names:
                yield path, SpecError("no *.yaml or *.yml file in this folder", "it stands for the documents in it",
                                      "name the files, or put the documents into *.yaml files", Mark(path, 0, 0))
            for name in names:
                inner = os.path.join(path, name)
                yield inner, _read(inner)
        else:
            yield path, _read(path)


def _read(path: str) -> bytes | SpecError:
    """The bytes of one file; only regular files, and pipes that are already open (/dev/fd/N)."""
    if not path or "\0" in path:
        return SpecError(f"{compose.quote(path)} is no file name", "a name is not empty and holds no NUL",
                         "name a file", Mark(compose.quote(path), 0, 0))
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes must not hang
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        return _unreadable(path, error)
    try:
        mode = os.fstat(fd).st_mode
        handed = stat.S_ISFIFO(mode) and path.startswith(("/dev/fd/", "/proc/self/fd/"))
        if not (stat.S_ISREG(mode) or handed):
            return SpecError(f"is {kind_of(mode)}, not a regular file", at=Mark(path, 0, 0),
                             why="a spec file is read as a whole, once",
                             fix="to read from a pipe, name `-` (standard input)")
        parts, size = [], 0
        while size <= SIZE:
            if handed:
                select.select([fd], [], [])
            part = os.read(fd, 1 << 20)
            if not part:
                break
            parts.append(part)
            size += len(part)
    except OSError as error:
        return _unreadable(path, error)
    finally:
        os.close(fd)
    return _bounded(b"".join(parts), path)


def kind_of(mode: int) -> str:
    """What a file is, for people."""
    for test, word in ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"),
                       (stat.S_ISCHR, "a character device"), (stat.S_ISBLK, "a block device")):
        if test(mode):
            return word
    return "something else"


def _unreadable(path: str, error: OSError) -> SpecError:
    return SpecError(f"cannot be read: {error.strerror}", *meaning(error.errno or 0), at=Mark(path, 0, 0))


def _bounded(data: bytes, path: str) -> bytes | SpecError:
    if len(data) > SIZE:
        return SpecError("larger than 10 MiB", "a spec file is read into memory as a whole",
                         "split it into several files", Mark(path, 0, 0))
    return data


# The longer mark first: UTF-32's little-endian one begins with UTF-16's.
_BOMS = ((b"\xff\xfe\x00\x00", "utf-32-le"), (b"\x00\x00\xfe\xff", "utf-32-be"), (b"\xef\xbb\xbf", "utf-8"),
         (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
# What YAML calls printable (1.2, production 1); all else must be written as an escape.
_BAD = "[^\\t\\n\\r\\x20-\\x7e\\x85\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]"
_PLAIN = bytes((0x9, 0xA, 0xD, *range(0x20, 0x7F)))     # those of ASCII
_BREAK = "\r\n|[\r\n\x85\u2028\u2029]"


def decode(data: bytes, file: str) -> str:
    """The text of a file: UTF-8, or what its byte order mark says; the mark is left out.

    Raises:
        SpecError: at the first byte or character that does not belong there.
    """
    bom, codec = next(((b, c) for b, c in _BOMS if data.startswith(b)), (b"", "utf-8"))
    body = data[len(bom):]
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        before = body[:error.start].decode(codec, "replace")
        raise SpecError(f"not {codec[:6].rstrip('-').upper()}: byte 0x{body[error.start]:02x}",
                        "a spec file is UTF-8, or UTF-16 or UTF-32 with a byte order mark",
                        "save it as UTF-8, say with iconv -f LATIN1 -t UTF-8",
                        _mark(before, len(before), file)) from None
    if codec == "utf-8" and not body.translate(None, _PLAIN):
        return text         # most files need no look by regular expression, whose import costs more than all this
    import re

    bad = re.search(_BAD, text)
    if bad:
        shown = f"U+{ord(bad.group()):04X}"
        at = _mark(text, bad.start(), file)
        raise SpecError(f"character {shown} is not allowed in YAML",
                        "it allows printable characters, tabs and line breaks",
                        f'remove it, or write it in quotes as "\\U{ord(bad.group()):08X}"' if bad.group() != "\0" else
                        "remove it", at)
    return text


def _mark(text: str, index: int, file: str) -> Mark:
    """The place of a character, counted as libyaml counts."""
    import re

    line, start = 1, 0
    for found in re.compile(_BREAK).finditer(text, 0, index):
        line, start = line + 1, found.end()
    return Mark(file, line, index - start + 1)


def split(text: str) -> list[str] | None:
    """Cuts a text at its `---` lines, so that a document is known again by its text, unparsed.

    A line beginning with `---` ends a document in every context of YAML, quoted and block scalars
    too (1.2, section 9.1.2), so the cut needs no parsing. Comments above the first `---` belong to
    the first document.

    Returns:
        Pieces that joined give the text, each one document or nothing at all; None where only a
        parser can tell (directives, `...`, line breaks other than LF and CR LF).
    """
    # Without regular expressions, as in decode: a document that was applied before is known by its text.
    lined = "\n" + text     # a line that begins at n in the text begins after a break at n in this
    if "\n..." in lined or "\n%" in lined or "\r" in text.replace("\r\n", "") or (
            not text.isascii() and any(mark in text for mark in "\x85\u2028\u2029")):
        return None
    cuts, at = [], lined.find("\n---")
    while at >= 0:
        if text[at + 3:at + 4] in ("", " ", "\t", "\r", "\n"):
            cuts.append(at)
        at = lined.find("\n---", at + 1)
    if cuts and all(line.lstrip(" \t")[:1] in ("", "\r", "#") for line in text[:cuts[0]].split("\n")):
        cuts = cuts[1:]
    edges = [0, *cuts, len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def parse(text: str, file: str, line: int = 0, part: bool = False) -> tuple[list[Document], list[SpecError]]:
    """Composes the documents of a text; empty ones are passed over.

    Args:
        text: decoded text of a file, or one piece of split.
        file: its name in messages.
        line: number of lines of the file above the text.
        part: whether it is no whole file, and may hold nothing.

    Returns:
        The documents and the faults; a document with faults is among them when it is whole.
    """
    pieces = split(text)
    if pieces is not None and len(pieces) > compose.DOCUMENTS:
        what = f"more than {compose.DOCUMENTS} documents in one file"
        return [], [SpecError(what, "so many are more than anybody means", "split it into several files",
                              Mark(file, 0, 0))]
    composer = compose.Composer(file)
    for piece in [text] if pieces is None else pieces:
        composer.run(piece, line)
        line += piece.count("\n")
    documents, faults = [], composer.faults
    for one in composer.documents:
        merged: Document | None = one
        if isinstance(one.tree, dict) and isinstance(one.tree.get("extends"), str):
            from runspec.spec.extends import resolve

            merged, bad = resolve(one)
            faults += bad
        if merged is not None:          # without its base nothing more can be said of it
            documents.append(merged)
    if not composer.documents and not faults and not part:
        faults.append(nothing(file))
    return documents, faults


def nothing(file: str) -> SpecError:
    """The fault of a file all of whose documents are empty."""
    return SpecError("holds no document", "a spec file declares a container or a network",
                     "begin one with apiVersion: runspec/v1, or leave the file out", Mark(file, 1, 1))
