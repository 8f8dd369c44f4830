"""File text to plain trees with Marks: a small strict composer over libyaml's events.

Strict means: budgets of size, depth and nodes; no duplicate keys, no tags beyond YAML's own, no merge
keys; scalars as in YAML 1.2's core schema, except that an integer with a leading zero is text.
"""

from __future__ import annotations

import os
import re
import select
import stat

from runspec.errors import Mark, RunspecError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

SIZE = 10 * 1024 * 1024     # bytes of one file
DEPTH = 64                  # collections within collections
NODES = 100_000             # nodes of one document, aliases counted as often as they are used
ALIASED = 100_000           # nodes which aliases add, in all documents of a file together
DOCUMENTS = 10_000          # documents of one file
DIGITS = 40                 # of one number: int() takes quadratic time


class Document:
    """One YAML document.

    Args:
        tree: the document as dicts, lists, str, int, float, bool and None; a dict in all valid ones.
        marks: spec path (`mounts[1].source`) -> where its value begins.
        mark_keys: spec path -> where its key stands; none for elements of lists.
        text: this document's own part of the file, byte for byte.
        file: the path as it was given, `-` for standard input.
    """

    __slots__ = ("file", "mark_keys", "marks", "text", "tree")

    def __init__(self, tree: Any, marks: dict[str, Mark], mark_keys: dict[str, Mark], text: str,
                 file: str) -> None:
        self.tree, self.marks, self.mark_keys, self.text, self.file = tree, marks, mark_keys, text, file

    def at(self, path: str) -> Mark:
        """Where a path stands; where the nearest thing around it stands, if it is not written."""
        while path not in self.marks and path:
            path = path[:max(path.rfind("."), path.rfind("["), 0)]
        return self.marks.get(path) or Mark(self.file, 1, 1)


def child(path: str, key: str | int) -> str:
    """The path of what lies under a key or an index.

    A key that would garble a message (blanks, control characters, nothing) is shown as a JSON string.
    """
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not key.isidentifier() and (not key.isprintable() or not key or " " in key):
        return f"{path}[{quote(key)}]"
    return f"{path}.{key}" if path else key


def quote(text: str, width: int = 60) -> str:
    """Text from a file made safe for a terminal: quoted, escaped, cut."""
    import json

    cut = text if len(text) <= width else text[:width] + "..."
    shown = json.dumps(cut, ensure_ascii=False)
    return shown if shown.isprintable() else json.dumps(cut)


def load(paths: list[str], stdin: Any = None) -> list[Document]:
    """Reads files, folders (every *.yaml in them, by name) and `-`.

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
    """One error that carries all of them, in their order."""
    first = faults[0]
    return SpecError(first.what, first.why, first.fix, first.at, (*first.also, *faults[1:]))


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
                names = sorted(name for name in os.listdir(path) if name.endswith(".yaml"))
            except OSError as error:
                yield path, _unreadable(path, error)
                continue
            if not names:
                yield path, SpecError("no *.yaml file in this folder", at=Mark(path, 0, 0),
                                      fix="name the files, or put the documents into *.yaml files")
            for name in names:
                inner = os.path.join(path, name)
                yield inner, _read(inner)
        else:
            yield path, _read(path)


def _read(path: str) -> bytes | SpecError:
    """The bytes of one file; only regular files, and pipes that are already open (/dev/fd/N)."""
    if not path or "\0" in path:
        return SpecError(f"{quote(path)} is no file name", at=Mark(quote(path), 0, 0))
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes must not hang
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        return _unreadable(path, error)
    try:
        mode = os.fstat(fd).st_mode
        handed = stat.S_ISFIFO(mode) and path.startswith(("/dev/fd/", "/proc/self/fd/"))
        if not (stat.S_ISREG(mode) or handed):
            return SpecError(f"is {_kind(mode)}, not a regular file", at=Mark(path, 0, 0),
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


def _kind(mode: int) -> str:
    """What a file is, for people."""
    for test, word in ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"),
                       (stat.S_ISCHR, "a character device"), (stat.S_ISBLK, "a block device")):
        if test(mode):
            return word
    return "something else"


def _unreadable(path: str, error: OSError) -> SpecError:
    return SpecError(f"cannot be read: {error.strerror}", at=Mark(path, 0, 0))


def _bounded(data: bytes, path: str) -> bytes | SpecError:
    if len(data) > SIZE:
        return SpecError("larger than 10 MiB", "a spec file is read into memory as a whole",
                         "split it into several files", Mark(path, 0, 0))
    return data


# The longer mark first: UTF-32's little-endian one begins with UTF-16's.
_BOMS = ((b"\xff\xfe\x00\x00", "utf-32-le"), (b"\x00\x00\xfe\xff", "utf-32-be"), (b"\xef\xbb\xbf", "utf-8"),
         (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
# What YAML calls printable (1.2, production 1); all else must be written as an escape.
_BAD = re.compile("[^\\t\\n\\r\\x20-\\x7e\\x85\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


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
                        at=_mark(before, len(before), file)) from None
    bad = _BAD.search(text)
    if bad:
        shown = f"U+{ord(bad.group()):04X}"
        raise SpecError(f"character {shown} is not allowed in YAML", "YAML 1.2 allows printable characters only",
                        f'write "\\u{ord(bad.group()):04x}" in double quotes, if it is meant',
                        _mark(text, bad.start(), file))
    return text


def _mark(text: str, index: int, file: str) -> Mark:
    """The place of a character, counted as libyaml counts."""
    line, start = 1, 0
    for found in _BREAK.finditer(text, 0, index):
        line, start = line + 1, found.end()
    return Mark(file, line, index - start + 1)


_GIVE_UP = re.compile("^(?:\\.\\.\\.|%)|\r(?!\n)|[\x85\u2028\u2029]", re.M)
_START = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.M)
_IDLE = re.compile(r"(?:[ \t]*(?:#.*)?(?:\n|\r\n|\Z))*\Z")


def split(text: str) -> list[str] | None:
    """Cuts a text at its `---` lines, so that a document is known again by its text, unparsed.

    A line beginning with `---` ends a document in every context of YAML, quoted and block scalars
    too (1.2, section 9.1.2), so the cut needs no parsing. Comments above the first `---` belong to
    the first document.

    Returns:
        Pieces that joined give the text, each one document or nothing at all; None where only a
        parser can tell (directives, `...`, line breaks other than LF and CR LF).
    """
    if _GIVE_UP.search(text):
        return None
    cuts = [found.start() for found in _START.finditer(text)]
    if cuts and (cuts[0] == 0 or _IDLE.match(text[:cuts[0]])):
        cuts = cuts[1:]
    edges = [0, *cuts, len(text)]
    return [text[a:b] for a, b in zip(edges, edges[1:])]


def parse(text: str, file: str, line: int = 0) -> tuple[list[Document], list[SpecError]]:
    """Composes the documents of a text.

    Args:
        text: decoded text of a file, or one piece of split.
        file: its name in messages.
        line: number of lines of the file above the text.

    Returns:
        The documents and the faults; a document with faults is among them when it is whole.
    """
    pieces = split(text)
    if pieces is not None and len(pieces) > DOCUMENTS:
        return [], [SpecError(f"more than {DOCUMENTS} documents in one file", fix="split it into several files",
                              at=Mark(file, 0, 0))]
    composer = _Composer(file)
    for piece in [text] if pieces is None else pieces:
        composer.run(piece, line)
        line += piece.count("\n")
    documents, faults = composer.documents, composer.faults
    if not documents and not faults:
        faults.append(SpecError("holds no document", "a spec file declares a container or a network",
                                at=Mark(file, 0, 0)))
    return documents, faults


class _Stop(Exception):
    """The rest of this document cannot be judged."""

    def __init__(self, fault: SpecError) -> None:
        super().__init__(fault.what)
        self.fault = fault


_CORE = "tag:yaml.org,2002:"
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"
                    r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_ZERO_LED = re.compile(r"[-+]?0[0-9]+\Z")
_FIRST = frozenset("~nNtTfF0123456789+-.")      # no plain scalar that begins otherwise is anything but text


def scalar(value: str) -> object:
    """The value of a plain scalar by YAML 1.2's core schema; `0755` is text.

    Raises:
        ValueError: a number of more than 40 digits.
    """
    if value in _NULLS:
        return None
    if value[0] not in _FIRST:
        return value
    if value in _BOOLS:
        return _BOOLS[value]
    if _INT.match(value):
        if len(value) > DIGITS:
            raise ValueError
        return int(value, 0) if value[:2] in ("0x", "0o") else int(value)
    if _FLOAT.match(value) and not _ZERO_LED.match(value):
        if len(value) > DIGITS:
            raise ValueError
        low = value.lower()
        return float(low.replace(".inf", "inf").replace(".nan", "nan"))
    return value


class _Composer:
    """Turns the events of one file into documents, collecting faults."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.documents: list[Document] = []
        self.faults: list[SpecError] = []
        self.aliased = 0

    def run(self, text: str, line: int) -> None:
        """Composes all documents of a text; a syntax error ends it."""
        import yaml

        new: Callable[[str], Any] = getattr(yaml, "CParser", None) or _pure
        self.line = line
        parser = new(text)
        count = 0
        try:
            parser.get_event()                              # the stream's start
            while True:
                start = parser.get_event()
                if not isinstance(start, yaml.DocumentStartEvent):
                    return
                count += 1
                if count > DOCUMENTS:
                    raise _Stop(self.fault(start, f"more than {DOCUMENTS} documents in one file",
                                           fix="split it into several files"))
                events, ends, targets = self.collect(parser)
                self.document(text, events, ends, targets)
        except yaml.MarkedYAMLError as error:
            self.faults.append(self.syntax(error))
        except _Stop as stop:
            self.faults.append(stop.fault)
        finally:
            if hasattr(parser, "dispose"):
                parser.dispose()

    def fault(self, event: Any, what: str, why: str = "", fix: str = "") -> SpecError:
        return SpecError(what, why, fix, self.mark(event.start_mark))

    def mark(self, mark: Any) -> Mark:
        return Mark(self.file, mark.line + 1 + self.line, mark.column + 1)

    def syntax(self, error: Any) -> SpecError:
        """A scanner's or parser's complaint in our shape."""
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "cannot be parsed"
        if "'\\t'" in problem or "\\t" in repr(problem):
            what, fix = "not YAML: a tab where only spaces may stand", "indent with spaces"
        elif "nknown anchor" in problem or "ndefined alias" in problem:
            what, fix = f"not YAML: {problem}", ""
        elif "mapping values are not allowed" in problem:
            what, fix = f"not YAML: {problem}", "put text that holds `: ` in quotes, or check the indentation"
        else:
            what, fix = f"not YAML: {problem}", ""
        return SpecError(what, error.context or "", fix, self.mark(mark) if mark else Mark(self.file, 0, 0))

    def collect(self, parser: Any) -> tuple[list[Any], dict[int, int], dict[int, int]]:
        """Reads one document's events within the budgets.

        Returns:
            The events; index of each collection's start -> index of its end; index of each alias -> index
            of the node it stands for.
        """
        import yaml

        starts = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
        closes = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        events: list[Any] = []
        ends: dict[int, int] = {}
        targets: dict[int, int] = {}
        anchors: dict[str, int] = {}
        open_: list[int] = []
        while True:
            event = parser.get_event()
            if isinstance(event, yaml.DocumentEndEvent):
                return events, ends, targets
            index = len(events)
            events.append(event)
            if index > 2 * NODES:
                raise _Stop(self.fault(event, f"more than {NODES} nodes in one document",
                                       fix="split it into several documents"))
            if isinstance(event, closes):
                ends[open_.pop()] = index
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in anchors:
                    raise _Stop(self.fault(event, f"alias *{event.anchor} has no anchor above it"))
                if anchors[event.anchor] in open_:
                    raise _Stop(self.fault(event, f"alias *{event.anchor} stands inside its own anchor",
                                           "the document would never end"))
                targets[index] = anchors[event.anchor]
            else:
                if event.anchor:
                    anchors[event.anchor] = index
                if isinstance(event, starts):
                    open_.append(index)
                    if len(open_) > DEPTH:
                        raise _Stop(self.fault(event, f"nested deeper than {DEPTH} levels"))

    def document(self, text: str, events: list[Any], ends: dict[int, int], targets: dict[int, int]) -> None:
        """Composes one document and keeps it, unless it is empty."""
        first = events[0]
        if getattr(first, "value", None) == "" and first.start_mark.index == first.end_mark.index:
            return
        self.events, self.ends, self.targets = events, ends, targets
        self.marks: dict[str, Mark] = {}
        self.keys: dict[str, Mark] = {}
        self.nodes = 0
        faults = len(self.faults)
        try:
            tree = self.node(0, "", 0, False)
        except _Stop as stop:
            # A fault that ends the composing makes those before it in the same document no less true.
            self.faults.append(stop.fault)
            return
        self.faults[faults:] = sorted(self.faults[faults:], key=_place)
        self.documents.append(Document(tree, self.marks, self.keys, text, self.file))

    def count(self, event: Any, replay: bool) -> None:
        self.nodes += 1
        self.aliased += replay
        if self.nodes > NODES:
            raise _Stop(self.fault(event, f"more than {NODES} nodes in one document",
                                   "aliases count as often as they are used", "write less by alias"))
        if self.aliased > ALIASED:
            raise _Stop(self.fault(event, f"aliases add more than {ALIASED} nodes to this file",
                                   fix="write less by alias"))

    def node(self, index: int, path: str, depth: int, replay: bool) -> Any:
        """The value of the node at an index; an alias is composed anew from its anchor's events."""
        event = self.events[index]
        target = self.targets.get(index)
        if target is not None:
            value = self.node(target, path, depth, True)
            self.marks[path] = self.mark(event.start_mark)
            return value
        self.count(event, replay)
        self.marks[path] = self.mark(event.start_mark)
        end = self.ends.get(index)
        if end is None:
            return self.scalar(event, path)
        depth += 1
        if depth > DEPTH:
            raise _Stop(self.fault(event, f"nested deeper than {DEPTH} levels"))
        mapping = hasattr(self.events[end], "start_mark") and type(event).__name__.startswith("Mapping")
        self.tag(event, "map" if mapping else "seq", path)
        if mapping:
            return self.mapping(index + 1, end, path, depth, replay)
        out: list[Any] = []
        at = index + 1
        while at < end:
            out.append(self.node(at, f"{path}[{len(out)}]", depth, replay))
            at = self.ends.get(at, at) + 1
        return out

    def mapping(self, at: int, end: int, path: str, depth: int, replay: bool) -> dict[str, Any]:
        """The pairs of a map, each key plain text and there once."""
        out: dict[str, Any] = {}
        while at < end:
            event = self.events[at]
            target = self.targets.get(at)
            key = self.key(self.events[at if target is None else target], event, path)
            at = self.ends.get(at, at) + 1
            if key is None:
                at = self.ends.get(at, at) + 1
                continue
            inner = child(path, key)
            if key in out:
                self.faults.append(self.fault(event, f"{inner}: written twice",
                                              f"it stands first at {self.keys[inner]}", "remove one of the two"))
                at = self.ends.get(at, at) + 1
                continue
            self.keys[inner] = self.mark(event.start_mark)
            out[key] = self.node(at, inner, depth, replay)
            at = self.ends.get(at, at) + 1
        return out

    def key(self, event: Any, at: Any, path: str) -> str | None:
        """A key's text; None with a fault noted where it is none."""
        self.count(at, False)
        where = f"{path}: " if path else ""
        value = getattr(event, "value", None)
        if value is None:
            self.faults.append(self.fault(at, f"{where}a key is text, never a list or a map"))
            return None
        if event.implicit[0] and event.style in (None, ""):
            if value == "<<":
                self.faults.append(self.fault(
                    at, f"{child(path, '<<')}: unknown key", "YAML 1.2 has no merge keys",
                    "write the keys out, or use an alias for a whole value"))
                return None
            found = self.plain(event, path)
            if not isinstance(found, str):
                self.faults.append(self.fault(at, f"{where}key {value or 'null'} is {kind(found)}, expected text",
                                              fix=f'write it in quotes: "{value}"'))
                return None
        elif not event.implicit[1] and event.tag not in (None, "!", _CORE + "str"):
            self.faults.append(self.refused(at, event.tag, child(path, value)))
            return None
        return self.clean(event, at, value, path)

    def scalar(self, event: Any, path: str) -> Any:
        """The value of a scalar event by its tag or its look."""
        where = f"{path}: " if path else ""
        tag = event.tag
        if tag in (None, "!"):
            if event.implicit[0] and tag is None:
                return self.plain(event, path)
            return self.clean(event, event, event.value, path)
        name = tag[len(_CORE):] if tag.startswith(_CORE) else ""
        if name == "str":
            return self.clean(event, event, event.value, path)
        if name not in ("int", "float", "bool", "null"):
            self.faults.append(self.refused(event, tag, path))
            return None
        value = self.plain(event, path)
        if name == "float" and type(value) is int:
            value = float(value)
        if kind(value) != {"int": "an integer", "float": "a number", "bool": "a boolean", "null": "null"}[name]:
            self.faults.append(self.fault(event, f"{where}{quote(event.value)} is not a !!{name}"))
            return None
        return value

    def plain(self, event: Any, path: str) -> Any:
        try:
            return scalar(event.value)
        except ValueError:
            where = f"{path}: " if path else ""
            self.faults.append(self.fault(event, f"{where}a number of more than {DIGITS} digits"))
            return None

    def clean(self, event: Any, at: Any, value: str, path: str) -> str:
        """Text as it is; a NUL in it is a fault: every system call ends its strings there."""
        if "\0" in value or not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            where = f"{path}: " if path else ""
            what = "a NUL byte" if "\0" in value else "half of a surrogate pair"
            self.faults.append(self.fault(at, f"{where}text with {what}"))
        return value

    def tag(self, event: Any, name: str, path: str) -> None:
        if event.tag not in (None, "!", _CORE + name):
            self.faults.append(self.refused(event, event.tag, path))

    def refused(self, event: Any, tag: str, path: str) -> SpecError:
        shown = "!!" + tag[len(_CORE):] if tag.startswith(_CORE) else tag
        where = f"{path}: " if path else ""
        return self.fault(event, f"{where}tag {quote(shown)[1:-1]} is refused",
                          "a spec holds maps, lists, text, integers, numbers, booleans and null",
                          "remove the tag")


def kind(value: object) -> str:
    """What a value is, in the words of messages."""
    if value is None:
        return "null"
    return {bool: "a boolean", int: "an integer", float: "a number", str: "text", list: "a list",
            dict: "a map"}[type(value)]


def _place(error: RunspecError) -> tuple[int, int]:
    return (error.at.line, error.at.column) if error.at else (0, 0)


def _pure(text: str) -> Any:
    """The parser for a pyyaml built without libyaml."""
    import yaml

    class Pure(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):  # type: ignore[misc]
        def __init__(self, stream: str) -> None:
            yaml.reader.Reader.__init__(self, stream)
            yaml.scanner.Scanner.__init__(self)
            yaml.parser.Parser.__init__(self)

    return Pure(text)
