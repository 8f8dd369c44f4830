"""What is wrong with a document beside the faults of its schema: all is told in one go, and nothing that follows."""

from __future__ import annotations

from runspec.errors import Mark, SpecError
from runspec.spec import from_yaml, rules, rules_host, schema
from runspec.spec.compose import child, parent
from runspec.spec.model import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.spec.compose import Document


def rest(document: Document, found: list[SpecError], host: bool) -> list[SpecError]:
    """The faults that units, rules and the machine's files find in what the schema did not object to.

    The values that it objected to are left out, and so are faults that may come from that.
    """
    kept = _kept(document)
    if kept is None:
        return []
    [(model, placed)], faults = from_yaml.gather([kept])
    faults = faults + rules.check(model, placed.marks, rules.bare(document))
    if host and isinstance(model, Spec):
        faults = faults + rules_host.check_host(model, placed.marks)
    follows = _Follows([one.what.partition(": ")[0] for one in found])
    return [one for one in faults if not follows(one.what.partition(": ")[0])]


# What rules elsewhere look at, and where those are told.
_LEANED = ("linux.namespaces", "linux.uidMappings", "linux.gidMappings", "interfaces", "root", "addresses")
_LEANING = ("process.", "ports", "extraHosts", "pool.")


class _Follows:
    """Whether a fault may come from a value that was left out: in the same map, around it, or leant on by others.

    Args:
        bad: paths of all those values; there may be thousands, and as many faults.
    """

    __slots__ = ("around", "leaned", "maps", "whole")

    def __init__(self, bad: list[str]) -> None:
        self.maps = {path.rpartition(".")[0] for path in bad}
        self.whole = {_whole(path) for path in bad} - {""}
        self.leaned = any(path.startswith(_LEANED) for path in bad)
        self.around: set[str] = set()
        for path in bad:
            while path and path not in self.around:
                self.around.add(path)
                path = parent(path)

    def __call__(self, path: str) -> bool:
        above = parent(path)
        return (path in self.around or above in self.maps or _whole(path) in self.whole
                or (self.leaned and (path.startswith(_LEANING) or above in ("", "linux"))))


def _whole(path: str) -> str:
    """What a path lies in that is one thing to its rules: a mount, a link, the filter of system calls."""
    if path.startswith(("mounts[", "interfaces[")):
        return path.partition("]")[0]
    return "linux.seccomp" if path.startswith("linux.seccomp.") else ""


def _kept(document: Document) -> Document | None:
    """A document without what the schema objects to, and without what lacks something then; None where nothing stays.

    What must stand at the top has a stand-in. Marks lead to the places in the file.
    """
    name = schema.name_of(document.tree)
    if name is None:
        return None
    top = schema.schema(name)
    needed = {key: top["properties"][key]["examples"][0] for key in top["required"]}
    bad: set[str] = set()
    kept, before = document, -1
    while len(bad) > before:
        wrong = schema.objections(name, kept.tree)
        if not wrong:
            return kept
        before = len(bad)
        bad.update(from_yaml.find(kept.marks, path)[0] for path in wrong)
        marks: dict[str, Mark] = {}
        tree = _without(document, document.tree, bad, "", "", marks)
        kept = type(document)({**needed, **tree}, marks, document.mark_keys, document.text, document.file)
    return None


def _without(document: Document, value: Any, bad: set[str], path: str, new: str, marks: dict[str, Mark]) -> Any:
    """A copy of a value without what stands at some paths.

    Args:
        path, new: where it stands in the file and in the copy, whose places go into `marks`.
    """
    if path in document.marks:
        marks[new] = document.marks[path] if new == path else from_yaml.Place(document.marks[path], path)
    if isinstance(value, dict):
        return {key: _without(document, inner, bad, at, child(new, key), marks) for key, inner in value.items()
                if (at := child(path, key)) not in bad}
    if isinstance(value, list):
        out: list[Any] = []
        for index, inner in enumerate(value):
            if (at := f"{path}[{index}]") not in bad:
                out.append(_without(document, inner, bad, at, f"{new}[{len(out)}]", marks))
        return out
    return value
