"""YAML to plain trees: a small strict composer over libyaml's events.

Strict means: budgets of depth and nodes; no duplicate keys, no tags beyond YAML's own, no merge keys;
scalars as in YAML 1.2's core schema, except that an integer with a leading zero is text.
"""

from __future__ import annotations

from runspec.errors import Mark, RunspecError, SpecError
from runspec.spec import libyaml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEPTH = 64                  # collections within collections
NODES = 50_000              # nodes of one document, aliases counted as often as they are used
ALIASED = 100_000           # nodes which aliases add, in all documents of a file together
DOCUMENTS = 10_000          # documents of one file
KEY = 1024                  # characters of one key, YAML's own bound where no `?` stands before it
LISTS = ("cpus", "mems")     # keys of texts that people write as numbers with commas
NAMING = "sysctl"           # a map whose keys are what can be wrong: their places are those of its entries
DIGITS = 40                 # of one number: int() takes quadratic time


class Document:
    """One YAML document.

    Args:
        tree: the document as dicts, lists, str, int, float, bool and None; a dict in all valid ones.
        marks: spec path (`mounts[1].source`) -> where its value begins.
        mark_keys: spec path -> where its key stands; none for elements of lists.
        text: this document's own part of the file, byte for byte.
        file: the path as it was given, `-` for standard input.

    Attributes:
        bases: texts of the files that it extends, the nearest first.
    """

    __slots__ = ("bases", "file", "mark_keys", "marks", "text", "tree")

    def __init__(self, tree: Any, marks: dict[str, Mark], mark_keys: dict[str, Mark], text: str,
                 file: str) -> None:
        self.tree, self.marks, self.mark_keys, self.text, self.file = tree, marks, mark_keys, text, file
        self.bases: tuple[str, ...] = ()

    def at(self, path: str) -> Mark:
        """Where a path stands; where the nearest thing around it stands, if it is not written."""
        while path not in self.marks and path:
            path = parent(path)
        return self.marks.get(path) or Mark(self.file, 1, 1)


def parent(path: str) -> str:
    """The path of what a value lies in; "" for the document."""
    return path[:max(path.rfind("."), path.rfind("["), 0)]


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


class _Stop(Exception):
    """The rest of this document cannot be judged."""

    def __init__(self, fault: SpecError) -> None:
        super().__init__(fault.what)
        self.fault = fault


# Part of libyaml's complaint or its context -> what helps.
_SYNTAX = {
    "quoted scalar": "close the quotes, and write a backslash in them twice", "flow sequence": "part the values of a "
    "list in brackets by commas, and close it with ]", "flow mapping": "part the pairs of a map in braces by commas, "
    "and close it with }", "block mapping": "indent the keys of one map alike", "block collection": "begin the "
    "elements of one list alike, with `- `", "start any token": "put the text in quotes", "incompatible": "remove the "
    "line that begins with %", "": "correct it, or put the text in quotes"}
_DEEP = "no document needs so many, and what reads it must not run out of stack", "write it flatter"
_CORE = "tag:yaml.org,2002:"
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NO_NUMBERS = {"inf": "inf", "Inf": "inf", "INF": "inf", "nan": "nan", "NaN": "nan", "NAN": "nan"}
_FIRST = frozenset("~nNtTfF0123456789+-.")      # no plain scalar that begins otherwise is anything but text
_LAST = frozenset("0123456789.abcdefABCDEFnN")  # nor one that ends otherwise a number


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
    if value[-1] not in _LAST or not value.isascii():
        return value
    if len(value) > DIGITS:
        return _long(value)
    try:
        return _number(value)
    except ValueError:
        return value


def _number(text: str) -> int | float:
    """What an ASCII text of few characters says as a number; without regular expressions, whose import costs 4 ms.

    Raises:
        ValueError: it is none; also where YAML has it for text and Python does not (`1_000`, `007`).
    """
    bare = text[1:] if text[0] in "+-" else text
    if bare[:1] == "." and bare[1:] in _NO_NUMBERS and (bare is text or bare[1] in "iI"):
        return float(text[:-4] + _NO_NUMBERS[bare[1:]])
    if text[:2] in ("0o", "0x") and text[2:].isalnum():
        return int(text, 0)
    if text.strip("0123456789.eE+-"):
        raise ValueError
    if not bare.isdigit():
        return float(text)
    if bare[0] == "0" and bare != "0":
        raise ValueError
    return int(text)


def _long(text: str) -> str:
    """A text that is no number, however many digits it has; int() and float() take quadratic time.

    Raises:
        ValueError: it is a number.
    """
    import re

    if re.match(r"([-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+)\Z", text) or (
            re.match(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z", text)
            and not re.match(r"[-+]?0[0-9]+\Z", text)):
        raise ValueError
    return text


class Composer:
    """Turns the events of one file into documents, collecting faults."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.documents: list[Document] = []
        self.faults: list[SpecError] = []
        self.aliased = 0

    def run(self, text: str, line: int) -> None:
        """Composes all documents of a text; a syntax error ends it."""
        make, yaml, wrong = libyaml.load()
        self.line = line
        parser = make(text)
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
                                           "so many are more than anybody means", "split it into several files"))
                events, ends, targets = self.collect(parser, yaml)
                self.document(text, events, ends, targets)
        except wrong as error:
            if error.problem_mark and "nesting depth" in (error.problem or ""):
                # A newer libyaml looks ahead and stops at a depth of its own; ours comes long before it.
                return self.run(text[:error.problem_mark.index - 1], line)
            self.faults.append(self.syntax(error, text))
        except _Stop as stop:
            self.faults.append(stop.fault)
        finally:
            if hasattr(parser, "dispose"):
                parser.dispose()

    def fault(self, event: Any, what: str, why: str = "", fix: str = "") -> SpecError:
        return SpecError(what, why, fix, self.mark(event.start_mark))

    def mark(self, mark: Any) -> Mark:
        return Mark(self.file, mark.line + 1 + self.line, mark.column + 1)

    def syntax(self, error: Any, text: str) -> SpecError:
        """A scanner's or parser's complaint in our shape."""
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "cannot be parsed"
        if mark and "start any token" in problem and text[mark.index:mark.index + 1] == "\t":
            what, fix = "not YAML: a tab where only spaces may stand", "indent with spaces"
        elif "mapping values are not allowed" in problem:
            what, fix = f"not YAML: {problem}", "put text that holds `: ` in quotes, or check the indentation"
        else:
            what = f"not YAML: {problem}"
            fix = next((told for word, told in _SYNTAX.items() if word in f"{problem} {error.context}"), _SYNTAX[""])
        return SpecError(what, error.context or "what stands here has no meaning in YAML 1.2", fix,
                         self.mark(mark) if mark else Mark(self.file, 0, 0))

    def collect(self, parser: Any, yaml: Any) -> tuple[list[Any], dict[int, int], dict[int, int]]:
        """Reads one document's events within the budgets.

        Returns:
            The events; index of each collection's start -> index of its end; index of each alias -> index
            of the node it stands for.
        """
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
                                       "so many are more than anybody means", "split it into several documents"))
            if isinstance(event, closes):
                ends[open_.pop()] = index
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in anchors:
                    raise _Stop(self.fault(event, f"alias *{event.anchor} has no anchor above it",
                                           "an alias repeats the value that an anchor of its name marks, YAML 1.2",
                                           f"mark that value with &{event.anchor}, or put the text in quotes"))
                if anchors[event.anchor] in open_:
                    raise _Stop(self.fault(event, f"alias *{event.anchor} stands inside its own anchor",
                                           "the document would never end", "write the value out"))
                targets[index] = anchors[event.anchor]
            else:
                if event.anchor:
                    anchors[event.anchor] = index
                if isinstance(event, starts):
                    open_.append(index)
                    if len(open_) > DEPTH:
                        raise _Stop(self.fault(event, f"nested deeper than {DEPTH} levels", *_DEEP))

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
                                   "aliases count as often as they are used", "write less by alias"))

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
            raise _Stop(self.fault(event, f"nested deeper than {DEPTH} levels", *_DEEP))
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
        last, after = "", at
        while at < end:
            event = self.events[at]
            target = self.targets.get(at)
            hint = self.split_list(last, out[last], after, end) if last in LISTS else ""
            key = self.key(self.events[at if target is None else target], event, path, hint)
            at = self.ends.get(at, at) + 1
            if key is None:
                at = self.ends.get(at, at) + 1
                continue
            inner = child(path, key)
            if key in out:
                why = f"it stands first at {self.keys[inner]}"
                self.faults.append(self.fault(event, f"{inner}: written twice", why, "remove one of the two"))
                at = self.ends.get(at, at) + 1
                continue
            self.keys[inner] = self.mark(event.start_mark)
            out[key] = self.node(at, inner, depth, replay)
            at = self.ends.get(at, at) + 1
            last, after = key, at
        if path.endswith(NAMING):
            self.marks.update((inner, self.keys[inner]) for inner in (child(path, key) for key in out))
        return out

    def split_list(self, name: str, value: Any, at: int, end: int) -> str:
        """How to write a list of numbers whose commas part the pairs of a map in braces; "" where it is none.

        Args:
            name, value: the pair before; at: index of what follows it.
        """
        words = [str(value)]
        while at + 1 < end and getattr(self.events[at + 1], "value", None) == "" and (
                word := getattr(self.events[at], "value", "")).replace("-", "").isdigit():
            words.append(word)
            at += 2
        return f'write {name}: "{",".join(words)}"' if len(words) > 1 and type(value) in (int, str) else ""

    def key(self, event: Any, at: Any, path: str, hint: str = "") -> str | None:
        """A key's text; None with a fault noted where it is none.

        Args:
            hint: how to write what is no text better than in quotes.
        """
        self.count(at, False)
        where = f"{path}: " if path else ""
        value = getattr(event, "value", None)
        if value is None:
            self.faults.append(self.fault(at, f"{where}a key is text, never a list or a map",
                                          "a map is found by words", "write it like KEY: VALUE"))
            return None
        if len(value) > KEY:
            self.faults.append(self.fault(at, f"{where}a key of more than {KEY} characters",
                                          "no key here is so long", "shorten it"))
            return None
        if event.implicit[0] and event.style in (None, ""):
            if value == "<<":
                self.faults.append(self.fault(
                    at, f"{child(path, '<<')}: unknown key", "YAML 1.2 has no merge keys",
                    "write the keys out, or use an alias for a whole value"))
                return None
            found = self.plain(event, path)
            if not isinstance(found, str):
                what = f"{where}key {value or 'null'} is {kind(found)}, expected text"
                self.faults.append(self.fault(at, what, "without quotes it is no text, YAML 1.2",
                                              hint or f'write it in quotes: "{value}"'))
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
                value = self.plain(event, path)
                # A program's words are text, as they stand: `sleep 010` is not `sleep 8`, nor 1.50 1.5.
                word = (type(value) in (int, float) and path.endswith("]")
                        and path[:path.rfind("[")].rpartition(".")[2] == "args")
                return event.value if word else value
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
        wanted = {"int": "an integer", "float": "a number", "bool": "a boolean", "null": "null"}
        if kind(value) != wanted[name]:
            self.faults.append(self.fault(event, f"{where}{quote(event.value)} is not a !!{name}",
                                          "the tag says what the value must be", "remove the tag"))
            return None
        return value

    def plain(self, event: Any, path: str) -> Any:
        try:
            return scalar(event.value)
        except ValueError:
            where = f"{path}: " if path else ""
            self.faults.append(self.fault(event, f"{where}a number of more than {DIGITS} digits",
                                          "no number here is so large", "shorten it, or put it in quotes as text"))
            return None

    def clean(self, event: Any, at: Any, value: str, path: str) -> str:
        """Text as it is; a NUL in it is a fault: every system call ends its strings there."""
        if "\0" in value or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
            where = f"{path}: " if path else ""
            what = "a NUL byte" if "\0" in value else "half of a surrogate pair"
            why = "the kernel's texts end there" if "\0" in value else "alone it is no character"
            self.faults.append(self.fault(at, f"{where}text with {what}", why, "remove it"))
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
