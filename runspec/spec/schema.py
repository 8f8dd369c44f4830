"""Trees against the JSON Schemas: every fault at once, in file order, in runspec's own words.

The walk is our own and small. jsonschema costs 70 ms to import, more than validating 300 containers
here; it lets 1.0 pass as an integer and "a\\n" pass ^a$, and names the parent of an unknown key
instead of the key. It judges this module in the tests.
"""

from __future__ import annotations

import os

from runspec.errors import Mark, SpecError
from runspec.spec import jsonlite, units
from runspec.spec.compose import child, kind, quote
from runspec.spec.patterns import matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from runspec.spec.compose import Document

    Schema = dict[str, Any]

KINDS = {"Container": "container", "Network": "network"}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "null": (type(None),), "boolean": (bool,),
    "array": (list,), "object": (dict,)}
_WORDS = {"string": "text", "integer": "an integer", "number": "a number", "null": "null",
          "boolean": "true or false", "array": "a list", "object": "a map"}
# OCI's words that no schema here has yet: an unknown key all the same, but not a slip of the pen.
_OCI = frozenset((
    "scheduler", "ioPriority", "execCPUAffinity", "selinuxLabel",
    "apparmorProfile", "mountLabel", "personality", "memoryPolicy", "ociVersion",
    "username", "commandLine"))
_ANSWERS = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
_MANY = 12      # known words that a message still lists

_loaded: dict[str, Schema] = {}
_lent: set[str] = set()         # those whose parts have their owners' examples, see remedies.lend
_homes_of: dict[str, dict[str, tuple[str, ...]]] = {}     # schema -> key -> where it stands, in words


def folder() -> str:
    """Where the schemas lie: in the package when installed, beside it in a checkout."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inside = os.path.join(here, "schemas")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(here), "schemas")


def schema(name: str) -> Schema:
    """One of our schemas, its references replaced by what they name.

    Args:
        name: "container", "network" or "bundle".
    """
    if name not in _loaded:
        with open(os.path.join(folder(), f"{name}.schema.json"), "rb") as file:
            raw = jsonlite.loads(file.read())
        _loaded[name] = _inline(raw, raw.pop("$defs", {}), set())
    return _loaded[name]


def _inline(node: Schema, defs: Schema, done: set[str]) -> Schema:
    """The node itself with its references replaced, each definition once: whoever refers to it shares it.

    No list holds a reference.
    """
    for key, value in node.items():
        if type(value) is dict:
            node[key] = _inline(value, defs, done)
    if "$ref" in node:
        name = node.pop("$ref").rsplit("/", 1)[1]
        if name not in done:
            done.add(name)
            defs[name] = _inline(defs[name], defs, done)
        return {**defs[name], **node}
    return node


def check(document: Document) -> list[SpecError]:
    """Judges one document against the schema of its kind.

    Args:
        document: as source.load gives it.

    Returns:
        Every fault, in file order; none where the document is good.
    """
    tree = document.tree
    if not isinstance(tree, dict):
        return [SpecError(f"expected a map, found {_found(tree)}", "a document describes a container or a network",
                          "begin it with apiVersion: runspec/v1", document.at(""))]
    word = tree.get("kind", "Container")
    if not isinstance(word, str) or word not in KINDS:
        near = _near(word, list(KINDS)) if isinstance(word, str) else ""
        fix = (f"did you mean {near}?" if near else f"a kept plan is done by `runspec apply {document.file}`"
               if word == "Plan" else "write kind: " + ", or kind: ".join(KINDS))
        bad = [_fault(document, "kind", f"{_found(word)} is no kind of document",
                      "the kinds are " + " and ".join(KINDS), fix)]
        version = tree.get("apiVersion", "runspec/v1")
        if version != "runspec/v1":
            bad.append(_fault(document, "apiVersion", f"expected runspec/v1, found {_found(version)}",
                              "it says which version of this language the file is in",
                              "write apiVersion: runspec/v1"))
        return sorted(bad, key=_place)
    name = KINDS[word]
    return faults(name, document)


def faults(name: str, document: Document) -> list[SpecError]:
    """Judges a document against one schema.

    Args:
        name: "container", "network" or "bundle".
        document: its tree is a map.

    Returns:
        Every fault, in the order of the tree where the document has no places.
    """
    broken = list(_walk(schema(name), document.tree, ""))
    if broken and name not in _lent:
        from runspec.spec import remedies

        remedies.lend(schema(name))
        _lent.add(name)
    return sorted((_told(document, name, one) for one in broken), key=_place)


def name_of(tree: Any) -> str | None:
    """The schema of a document; None where it has no kind that is known."""
    word = tree.get("kind", "Container") if isinstance(tree, dict) else None
    return KINDS.get(word) if isinstance(word, str) else None


def objections(name: str, tree: Any) -> list[str]:
    """Paths of what a schema objects to; of what is missing, what lacks it."""
    return [one.path for one in _walk(schema(name), tree, "")]


def _place(error: SpecError) -> tuple[int, int]:
    return (error.at.line, error.at.column) if error.at else (0, 0)


def _fault(document: Document, path: str, what: str, why: str = "", fix: str = "",
           key: bool = False) -> SpecError:
    at: Mark = document.mark_keys.get(path) or document.at(path) if key else document.at(path)
    return SpecError(f"{path}: {what}" if path else what, why, fix, at)


def _found(value: Any) -> str:
    """A value and its type, for people."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"text {quote(value)}" if value else "empty text"
    if isinstance(value, int | float):
        return f"the {kind(value).split()[-1]} {value}"
    return kind(value) if value or value is None else kind(value).replace("a ", "an empty ")


class _Broken:
    """One keyword of the schema that a value breaks."""

    __slots__ = ("here", "key", "path", "value", "word")

    def __init__(self, word: str, path: str, value: Any, here: Schema, key: str = "") -> None:
        self.word, self.path, self.value, self.here, self.key = word, path, value, here, key


def _walk(here: Schema, value: Any, path: str) -> Iterator[_Broken]:
    """What a value breaks, itself before what lies in it; a wrong type hides all else.

    Args:
        here: the part of the schema that is meant.
        value: the part of the tree.
        path: where it stands.
    """
    types = here.get("type")
    if types is not None and not (type(value) in _TYPES[types] if isinstance(types, str)
                                  else any(type(value) in _TYPES[one] for one in types)):
        yield _Broken("type", path, value, here)
        return
    if "enum" in here and not any(type(word) is type(value) and word == value for word in here["enum"]):
        yield _Broken("enum", path, value, here)
    elif isinstance(value, str):
        if not (here.get("minLength", 0) <= len(value) <= here.get("maxLength", len(value))):
            yield _Broken("size", path, value, here)
        elif "pattern" in here and not matches(here["pattern"], value):
            yield _Broken("pattern", path, value, here)
    elif isinstance(value, dict):
        yield from _walk_map(here, value, path)
    elif isinstance(value, list):
        if not (here.get("minItems", 0) <= len(value) <= here.get("maxItems", len(value))):
            yield _Broken("size", path, value, here)
        if "items" in here:
            for index, inner in enumerate(value):
                yield from _walk(here["items"], inner, f"{path}[{index}]")
    elif type(value) is int or type(value) is float:
        if "minimum" in here and value < here["minimum"]:
            yield _Broken("minimum", path, value, here)
        elif "maximum" in here and value > here["maximum"]:
            yield _Broken("maximum", path, value, here)


def _walk_map(here: Schema, value: Schema, path: str) -> Iterator[_Broken]:
    known = here.get("properties", {})
    names, more = here.get("propertyNames"), here.get("additionalProperties", True)
    for key, inner in value.items():
        at = child(path, key)
        if key in known:
            yield from _walk(known[key], inner, at)
            continue
        if "patternProperties" in here and key.startswith("x-"):
            continue
        if names is not None and next(_walk(names, key, at), None):
            yield _Broken("name", at, value, here, key)
        elif more is False:
            yield _Broken("unknown", at, value, here, key)
        elif more is not True:
            yield from _walk(more, inner, at)
    needed, choices = here.get("required", ()), here.get("anyOf", ())
    if choices and not any(all(key in value for key in one["required"]) for one in choices):
        needed = (*needed, *choices[-1]["required"])
    for key in needed:
        # What is there by another format's word, or misspelt, is told once, as the unknown key that it is.
        if key not in value and not _otherwise(key, value, known):
            yield _Broken("missing", path, value, here, key)


def _otherwise(key: str, value: Schema, known: Schema) -> bool:
    """Whether a map has a key by the word of another format, or misspelt."""
    from runspec.spec.remedies import OTHERS

    return any(OTHERS.get(other.lower().replace("_", ""), "").rpartition(".")[2] == key
               or (len(other) < 100 and _near(other, [key])) for other in value if other not in known)


# The words.

def _told(document: Document, name: str, broken: _Broken) -> SpecError:
    """What is broken, as a SpecError; where nothing better is known, the schema's example is its fix."""
    from runspec.spec import remedies

    told, here = _worded(document, name, broken), broken.here
    if not told.fix and broken.word != "unknown":
        told.fix = remedies.like(here, broken.path)
    told.why = told.why or ("see config.md" if name == "bundle" else "nothing else has a meaning here")
    return told


def _fits(here: Any, value: Any) -> bool:
    return type(here) is dict and next(_walk(here, value, ""), None) is None


def _worded(document: Document, name: str, broken: _Broken) -> SpecError:
    from runspec.spec import remedies

    here, value, path, key, word = broken.here, broken.value, broken.path, broken.key, broken.word
    why = here.get("description", "")
    if why.startswith("One "):
        why = ""        # an element's description says nothing that its path does not
    if word == "unknown":
        top = path == key and name != "bundle"
        return _fault(document, path, "unknown key", *_unknown(name, key, here, value, top), key=True)
    if word == "missing":
        return _missing(document, path, key, here["properties"][key])
    if word == "name":
        form = here["propertyNames"].get("x-form", "another name")
        pairs = [one for one in here.get("examples", ()) if type(one) is dict]
        fix = f"write it like {remedies.flow(pairs[0])[1:-1]}" if pairs else ""
        return _fault(document, path, f"expected {form}, found {_found(key)}", why, fix, key=True)
    if word == "enum":
        return _fault(document, path, *_of_enum(here["enum"], value, why))
    if word == "type":
        what = f"expected {_expected(here)}, found {_found(value)}"
        return _fault(document, path, what, why, _short(here, value) or _retype(here, value)
                      or remedies.filled(here, path, value, _fits))
    if word in ("pattern", "size") and "x-rule" in here:
        said = _of_rule(here["x-rule"], value)
        if said:
            return _fault(document, path, *said)
    if word in ("pattern", "minimum", "maximum") and "x-unit" in here:
        try:
            getattr(units, "parse_" + here["x-unit"])(value)
        except SpecError as error:
            return _fault(document, path, error.what, error.why, error.fix)
    if word == "minimum":
        return _fault(document, path, f"{value} is less than {here['minimum']}", why, remedies.bounds(here))
    if word == "maximum":
        return _fault(document, path, f"{value} is more than {here['maximum']}", why, remedies.bounds(here))
    several = word == "pattern" and len(_types(here)) > 1
    form = _expected(here) if several else here.get("x-form", "another value")
    alone = several and "items" in here and _fits(here["items"], value)
    near = _near(value, _alternatives(here)) if isinstance(value, str) and len(value) < 100 else ""
    return _fault(document, path, f"expected {form}, found {_found(value)}", why,
                  f"write a list: [{quote(value)}]" if alone else _short(here, value)
                  or (f"did you mean {near}?" if near else ""))


def _alternatives(here: Schema) -> list[str]:
    """The words that a pattern consists of, where it is nothing but words."""
    pattern = here.get("pattern", "")
    words: list[str] = pattern[2:-2].split("|") if pattern.startswith("^(") else []
    return words if all(map(str.isalpha, words)) else []


def _short(here: Schema, value: Any) -> str:
    """How what other formats say in one word is written here; "" where it is none of these."""
    form, text = here.get("x-short"), str(value) if type(value) in (int, str) else ""
    if form == "port" and text.isascii() and text.isdigit() and len(text) < 6:
        return f'write "{text}:{text}"'
    if form == "image" and text:
        return _fetch(text)
    source, colon, rest = text.partition(":")
    target, _, options = rest.partition(":")
    if form == "mount" and colon and source.startswith("/") and target.startswith("/") and len(text) < 200:
        words = ", ".join(["rbind", *(["ro"] if "ro" in options.split(",") else [])])
        return f"write {{source: {quote(source)}, destination: {quote(target)}, options: [{words}]}}"
    return ""


def _fetch(image: str) -> str:
    """How to get an image that is named as registries name theirs; "" for what no registry could have."""
    name = image.removeprefix("docker://")
    kind = name.partition(":")[0]
    kinds = ["busybox", "host", "docker-archive", *(["dir", "tar", "oci"] if ":/" in name else [])]
    near = _near(kind, kinds) if name == image else ""
    if near:
        return f"did you mean {near}?"
    if len(name) > 200 or ":/" in name or kind in ("dir", "tar", "oci") or (
            not matches("^[A-Za-z0-9][A-Za-z0-9._/:@-]*$", name)):
        return ""
    return f"skopeo copy docker://{name} oci:/DIR:TAG, and write image: oci:/DIR:TAG"


def _of_rule(rule: str, value: str) -> tuple[str, str, str] | None:
    """What the rules say about a text: their words know which character is wrong."""
    from runspec.spec.rules import link_fault, name_fault
    from runspec.spec.rules_mounts import path_fault

    return {"name": name_fault, "link": link_fault, "path": path_fault}[rule](value)


def _missing(document: Document, path: str, key: str, part: Schema) -> SpecError:
    import json

    why = part.get("description", "")
    fix = f"add {key}" + (f": {json.dumps(part['examples'][0])}" if part.get("examples") else "")
    return SpecError(f"{child(path, key)}: missing", why, fix, document.at(path))


def _types(here: Schema) -> list[str]:
    types = here["type"]
    return [types] if isinstance(types, str) else list(types)


def _expected(here: Schema) -> str:
    """What a key takes, for people."""
    types = _types(here)
    form = here.get("x-form", "text") if "pattern" in here and len(types) > 1 else "text"
    return " or ".join(form if one == "string" else _WORDS[one] for one in types)


def _retype(here: Schema, value: Any) -> str:
    """How to write a value so that it has the type it was meant to have."""
    types = _types(here)
    if "integer" in types and isinstance(value, float) and ("string" not in types or "pattern" in here):
        return "write a whole number"
    if "string" in types and isinstance(value, float):
        return "write it in quotes"
    if "string" in types and isinstance(value, bool | int):
        return f'write it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'
    if "integer" in types and isinstance(value, str) and value.isascii() and value.isdigit() and (
            value == "0" or value[0] != "0"):
        return f"write it without quotes: {value}" if len(value) < 25 else ""
    if "boolean" in types and isinstance(value, str) and value.lower() in _ANSWERS:
        return f"write {_ANSWERS[value.lower()]}"
    if "integer" in types and isinstance(value, str) and len(value) < 25 and value.isascii() and value.isdigit() and (
            value.strip("0")):
        return f"write it without the leading zero: {value.lstrip('0')}"
    if "array" in types and isinstance(value, str) and value and len(value) < 60 and _fits(here.get("items"), value):
        return f"write a list: [{quote(value)}]"
    if value is None:
        return "give it a value, or remove the key"
    return ""


def _of_enum(words: list[Any], value: Any, why: str) -> tuple[str, str, str]:
    """what, why, fix for a value that is not one of a few."""
    shown = ", ".join(str(word) for word in words)
    what = f"expected {'one of ' if len(words) > 1 else ''}{shown}, found {_found(value)}"
    if len(words) > _MANY:
        what = f"{_found(value)} is none of the known names"
    near = _near(value, [str(word) for word in words]) if isinstance(value, str) and len(value) < 100 else ""
    few = f"write {words[0]}" if len(words) == 1 else "write one of these" if len(words) <= _MANY else ""
    return what, why, f"did you mean {near}?" if near else few


def _near(word: str, known: list[str]) -> str:
    """The known word most like this one: alike but for case and dashes, begun by it, or a slip away."""
    import difflib

    plain = word.lower().replace("_", "").replace("-", "")
    for one in known:
        if plain and one.lower().replace("_", "") == plain:
            return one
    found = difflib.get_close_matches(word[:100], known, 1, 0.7)
    if not found and len(plain) > 2:
        found = [one for one in known if one.lower().startswith(plain) or one.lower().endswith("_" + plain)
                 or (len(one) > 2 and plain.startswith(one.lower()))]
    return found[0] if found else ""


def _unknown(name: str, key: str, here: Schema, value: Schema, top: bool) -> tuple[str, str]:
    """why and fix for a key that the schema lacks at this place.

    Args:
        top: whether that is the top of a document.
    """
    from runspec.spec.remedies import elsewhere

    why = "no key is passed over, so that a slip is never a silent default"
    known = list(here.get("properties", {}))
    free = [one for one in known if one not in value]
    alike = (_near(key, free) or _near(key, known)) if len(key) < 100 else ""
    other = elsewhere(key, known, top) if len(key) < 100 else ""
    if other.startswith("did you mean"):
        return why, other
    if alike and alike.lower() == key.lower().replace("_", "").replace("-", ""):
        return why, f"did you mean {alike}?"
    homes = _elsewhere(name).get(key, ())
    if homes and len(homes) <= 3:
        return why, f"{key} belongs {' or '.join(homes)}"
    if other or alike:
        return why, other or f"did you mean {alike}?"
    if homes:
        return why, f"known here: {', '.join(known)}" if len(known) <= _MANY else "remove it"
    if key in _OCI:
        return "OCI has this key, runspec does not take it", "remove it"
    far = _near(key, list(_elsewhere(name))) if len(key) < 100 else ""
    if far and len(_elsewhere(name)[far]) == 1 and abs(len(far) - len(key)) < 3:
        return why, f"did you mean {far}? it belongs {_elsewhere(name)[far][0]}"
    if len(known) > _MANY:
        return why, "a key of your own begins with x-"
    return why, f"known here: {', '.join(known)}"


def _elsewhere(name: str) -> dict[str, tuple[str, ...]]:
    """Each key of a document's kind, and in words where it stands."""
    if name not in _homes_of:
        homes: dict[str, list[str]] = {}

        def walk(node: Any, at: str) -> None:
            for key, inner in node.get("properties", {}).items():
                homes.setdefault(key, []).append(f"in {at}" if at else "at the top of the document")
                if at != "hooks":       # or what every hook has would be missed in six places
                    walk(inner, f"{at}.{key}" if at else key)
            if isinstance(node.get("items"), dict):
                walk(node["items"], at + "[]")

        walk(schema(name), "")
        _homes_of[name] = {key: tuple(dict.fromkeys(places)) for key, places in homes.items()}
    return _homes_of[name]
