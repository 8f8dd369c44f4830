"""The text of a config.json, read strictly: what no two programs would read alike is a fault."""

from __future__ import annotations

from runspec.errors import Mark, SpecError
from runspec.spec import jsonlite, schema
from runspec.spec.compose import Document, child, quote
from runspec.spec.from_yaml import fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Tree = dict[str, Any]

SIZE = 10 * 1024 * 1024         # bytes
DEEP = 64                       # no key of OCI's lies deeper than nine


def parse(data: bytes, file: str) -> Document:
    """The JSON text of a config.json, read strictly.

    Args:
        data: the file's bytes.
        file: its path, for the errors.
    Raises:
        SpecError: it is no JSON document, or holds what no two programs read alike: a key twice, a key
            that differs from OCI's in case alone, a number that no 64 bits hold, half a character.
    """
    at = Mark(file, 0, 0)
    twice: dict[int, str] = {}
    if len(data) > SIZE:
        raise SpecError("is longer than 10 MiB", "no configuration is", "name another", at)
    try:
        tree = strict(data, twice)
    except ValueError as error:
        what = "is no UTF-8" if isinstance(error, UnicodeDecodeError) else f"is no JSON: {error}"
        raise SpecError(what, "a configuration is one JSON document in UTF-8, RFC 8259",
                        "correct it there, or have it written anew", at) from None
    if not isinstance(tree, dict):
        raise SpecError("holds no object", "a configuration is a JSON object, config.md", "begin it with {", at)
    document = Document(tree, {"": at}, {"": at}, "", file)
    faults = list(_strange(document, tree, "", schema.schema("bundle"), twice))
    if faults:
        raise _joined(faults)
    return document


def strict(data: bytes, twice: dict[int, str] | None = None) -> Any:
    """The value of a JSON text.

    Args:
        twice: filled with the identity of each object that has a key more than once, and the first such key.
    Raises:
        ValueError: it is not exactly one JSON text, nests too deep, or holds a number that no 64 bits hold.
    """
    def whole(word: str) -> int:
        if len(word) > 21:
            raise ValueError(f"{word[:21]}... is beyond 64 bits")
        return int(word)

    def broken(word: str) -> float:
        value = float(word)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"{word[:21]} is beyond 64 bits")
        return value

    def constant(word: str) -> object:
        raise ValueError(f"{word} is no JSON value")

    def pairs(given: list[tuple[str, Any]]) -> Tree:
        made = dict(given)
        if len(made) != len(given) and twice is not None:
            names = [key for key, _ in given]
            twice[id(made)] = next(key for index, key in enumerate(names) if key in names[:index])
        return made

    text = data.decode("utf-8")
    if text[:1] == "\ufeff":
        raise ValueError("it begins with a byte order mark")
    try:
        tree = jsonlite.loads(text, object_pairs_hook=pairs, parse_int=whole, parse_float=broken)
    except ValueError:
        _complain(text, object_pairs_hook=dict, parse_int=whole, parse_float=broken, parse_constant=constant)
        raise
    level, depth = [tree], 0
    while level:
        level = [inner for one in level if isinstance(one, (dict, list))
                 for inner in (one.values() if isinstance(one, dict) else one)]
        depth += 1
        if depth > DEEP:
            raise ValueError(f"it nests deeper than {DEEP}")
    return tree


def _complain(text: str, **hooks: Any) -> None:
    """Read it once more with json, which loads in 6 ms and knows where a text is broken.

    Raises:
        ValueError: it is.
    """
    import json

    try:
        json.loads(text, **hooks)
    except json.JSONDecodeError as error:
        said = error.msg.removesuffix(" starting at").removesuffix(" at")
        raise ValueError(f"{said[:1].lower()}{said[1:]} at byte {error.pos}") from None
    except RecursionError:
        raise ValueError(f"it nests deeper than {DEEP}") from None


def _joined(faults: list[SpecError]) -> SpecError:
    first = faults[0]
    return SpecError(first.what, first.why, first.fix, first.at, tuple(faults[1:]))


def _strange(document: Document, tree: Any, path: str, here: Tree | None, twice: dict[int, str]) -> Iterator[SpecError]:
    """Faults that are JSON's rather than OCI's; a null is what is not there, as Go programs mean it."""
    if isinstance(tree, dict):
        if id(tree) in twice:
            yield fault(document.marks, child(path, twice[id(tree)]), "is given twice",
                        "which one counts differs from program to program, RFC 8259", "remove one")
        known = {key.lower(): key for key in (here or {}).get("properties", {})}
        for key in [*tree]:
            at = child(path, key)
            right = known.get(key.lower(), key)
            if right != key:
                yield fault(document.marks, at, f"is {quote(right)} in another case",
                            "some programs would take it and others not", f"write {quote(right)}")
            inner = tree[key]
            if inner is None:
                del tree[key]
                continue
            yield from _text(document, key, at)
            part = (here or {}).get("properties", {}).get(key) or (here or {}).get("additionalProperties")
            yield from _strange(document, inner, at, part if isinstance(part, dict) else None, twice)
    elif isinstance(tree, list):
        part = (here or {}).get("items")
        for index, inner in enumerate(tree):
            yield from _strange(document, inner, f"{path}[{index}]", part, twice)
    elif isinstance(tree, str):
        yield from _text(document, tree, path)


def _text(document: Document, text: str, path: str) -> Iterator[SpecError]:
    if text.isascii() and "\0" not in text:
        return
    if "\0" in text:
        yield fault(document.marks, path, "holds a NUL character", "it would end the text for the kernel", "remove it")
    if any(0xD800 <= ord(char) < 0xE000 for char in text):
        yield fault(document.marks, path, "holds half a character", "a surrogate stands for something only in pairs, "
                    "RFC 8259", "write the character itself")
