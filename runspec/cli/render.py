"""Plan, Change, error, tables -> text or JSON; nothing here decides anything.

JSON is canonical: sorted keys, no spaces, ASCII, one line; the same input gives the same bytes.
"""

from __future__ import annotations

import os
import sys

from runspec.cli.words import nearest, plain
from runspec.errors import RunspecError
from runspec.plan.steps.base import PHASES, Change, Plan, Step
from runspec.plan.values import Sentinel
from runspec.spec.frozen import Frozen, items, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from runspec.errors import Mark

# By Impact: NONE, IN_PLACE, RESTART, RECREATE.
CLASSES = ("no effect", "in place", "restart", "recreate")
JSON_CLASSES = ("none", "inPlace", "restart", "recreate")
UP_TO_DATE = "up to date"
_COLOURS = {"in place": "32", "restart": "33", "recreate": "31", "edited": "36", "drifted": "35", "bold": "1"}


def canonical(value: Any) -> str:
    """A value as canonical JSON, one line without its end."""
    import json

    return json.dumps(jsonable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def jsonable(value: Any) -> Any:
    """A value of the model as plain JSON: bytes in hexadecimal, ABSENT as null, UNKNOWN as a word."""
    if isinstance(value, Frozen):
        return {key(field): jsonable(inner) for field, inner in items(value) if inner is not None}
    if isinstance(value, Sentinel):
        return None if value.word == "absent" else value.word
    if isinstance(value, dict):
        return {str(name): jsonable(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted((jsonable(inner) for inner in value), key=str)
    return value.hex() if isinstance(value, (bytes, bytearray)) else value


def coloured() -> bool:
    """Whether standard output is a terminal whose user wants colour, no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, word: str, colour: bool) -> str:
    """The text in the colour that stands for this word."""
    return f"\x1b[{_COLOURS[word]}m{text}\x1b[0m" if colour and word in _COLOURS else text


def value_text(value: Any) -> str:
    """One value of a spec path, in kernel units, safe on a terminal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return plain(value) if value else '""'
    if isinstance(value, Frozen):
        inner = ", ".join(
            f"{key(field)}: {value_text(one)}" for field, one in items(value) if one is not None
        )
        return "{" + inner + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{plain(str(name))}: {value_text(one)}" for name, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(value_text, value)) + "]"
    if isinstance(value, (set, frozenset)):
        return "[" + ", ".join(sorted(map(value_text, value))) + "]"
    return plain(str(value))


def mark_of(marks: Mapping[str, Mark] | None, path: str) -> Mark | None:
    """Where a path stands in the user's file: its own mark, else the nearest parent's."""
    while marks:
        if path in marks:
            return marks[path]
        if not path:
            break
        cut = max(path.rfind("."), path.rfind("["))
        path = path[:max(cut, 0)]
    return None


DEFAULT = " (default)"


def numbered(path: str) -> bool:
    """Whether a path leads to or below an element of a list that is told by its index."""
    return any(f"[{digit}" in path for digit in "0123456789")



# -- changes ------------------------------------------------------------------------------------------

def file_path(marks: Mapping[str, Mark], path: str) -> str:
    """A path with the list indices of the user's file.

    The Spec's own count the defaults before them, as `runspec config` shows; an element that the file
    does not have is called a default.
    """
    at = path
    while at and at not in marks:
        at = at[:max(at.rfind("."), at.rfind("["), 0)]
    named = getattr(marks.get(at), "path", at)      # from_yaml.Place knows the index in the file
    rest = path[len(at):]
    # What the file names no more is told by its own name, in brackets.
    return f"{named}{rest}" + (DEFAULT if numbered(rest) else "")


def shown_path(one: Change | Step, marks: Mapping[str, Mapping[str, Mark]]) -> str:
    """The path of a Change or Step as the user's file has it, where its positions are given."""
    return file_path(marks[one.target], one.path) if one.target in marks else one.path


def change_line(change: Change, mark: Mark | None = None, colour: bool = False, path: str = "") -> str:
    """`foo1: linux.resources.cpu.weight: 25 -> 30  edited, in place`, after its position where known.

    Args:
        path: the path as the user's file has it, where that differs.
    """
    where = f"{plain(str(mark))}: " if mark else ""
    path = f"{path or change.path}: " if change.path else ""
    cause = paint(change.cause, change.cause, colour)
    word = CLASSES[change.impact]
    # What goes has no class; a bridge of somebody else's does not even go.
    tail = (f"{cause}, {paint(word, word, colour)}" if change.cause != "removed"
            else "let go" if change.after == "unused" else cause)
    return f"{where}{change.target}: {path}{value_text(change.before)} -> {value_text(change.after)}  {tail}"


def change_tree(change: Change, mark: Mark | None = None) -> dict[str, Any]:
    """A Change as plain JSON."""
    tree = {"target": change.target, "path": change.path, "before": jsonable(change.before),
            "after": jsonable(change.after), "cause": change.cause}
    if change.cause != "removed":       # what goes has no class
        tree["class"] = JSON_CLASSES[change.impact]
    if mark:
        tree["at"] = {"file": mark.file, "line": mark.line, "column": mark.column}
    return tree


def diff_text(changes: Iterable[Change], marks: Mapping[str, Mapping[str, Mark]] | None = None,
              colour: bool = False) -> str:
    """All changes, a line each; nothing where nothing differs.

    Args:
        marks: target -> spec path -> Mark.
    """
    places = marks or {}
    return "\n".join(change_line(one, mark_of(places.get(one.target), one.path), colour, shown_path(one, places))
                     for one in changes)


def diff_json(changes: Iterable[Change], marks: Mapping[str, Mapping[str, Mark]] | None = None,
              warnings: Sequence[str] = ()) -> str:
    """`{"changes": [...], "warnings": [...]}`."""
    return canonical({
        "changes": [change_tree(one, mark_of((marks or {}).get(one.target), one.path)) for one in changes],
        "warnings": list(warnings)})


# -- plans --------------------------------------------------------------------------------------------

def plan_text(plan: Plan, colour: bool = False, marks: Mapping[str, Mapping[str, Mark]] | None = None) -> str:
    """Changes first, then numbered steps under their phases, then what needs nothing.

    Args:
        marks: see diff_text.
    """
    places = marks or {}
    lines = [change_line(one, colour=colour, path=shown_path(one, places)) for one in plan.changes]
    if plan.steps:
        if lines:
            lines.append("")
        texts = [plain(str(step)) for step in plan.steps]
        paths = [plain(shown_path(step, places)) for step in plan.steps]
        # A very long line must not push everybody's second column off the screen.
        wide = max(len(text) for text in texts if len(text) <= 64) if min(map(len, texts)) <= 64 else 0
        path_wide = max(map(len, paths))
        digits = len(str(len(plan.steps)))
        phase = -1
        for number, (step, text, path) in enumerate(zip(plan.steps, texts, paths, strict=True), 1):
            if phase != step.phase:
                phase = step.phase
                lines.append(paint(f"{PHASES[phase]}:", "bold", colour))
            lines.append(
                f"  {number:>{digits}}. {text:<{wide}}  {path:<{path_wide}}  {plain(step.reason)}".rstrip()
            )
    lines += [plain(line) for line in plan.quiet]
    return "\n".join(lines) or f"{UP_TO_DATE}: nothing to do"


def step_tree(step: Step) -> dict[str, Any]:
    """A Step as plain JSON: what it is, for whom and why, and all it will need."""
    fields = {key(field): jsonable(value) for field, value in items(step)
              if field not in ("target", "path", "reason", "early") and value is not None}
    return {
        "phase": PHASES[step.phase],
        "kind": type(step).__name__,
        "target": step.target,
        "path": step.path,
        "reason": step.reason,
        "text": str(step),
        "with": fields,
    }


def plan_json(plan: Plan) -> str:
    """`{"steps": [...], "changes": [...], "quiet": [...]}`."""
    return canonical({"steps": [step_tree(one) for one in plan.steps],
                      "changes": [change_tree(one) for one in plan.changes], "quiet": list(plan.quiet)})


# -- what was done ------------------------------------------------------------------------------------

def done_text(done: Mapping[str, str], changes: Iterable[Change] = (), quiet: Iterable[str] = (),
              colour: bool = False, marks: Mapping[str, Mapping[str, Mark]] | None = None) -> str:
    """apply's and destroy's last words.

    Args:
        done: target -> what happened to it: "created", "removed", ...; "" or "up to date" for nothing.
        changes: those that were done, shown under their target.
        marks: see diff_text.
    """
    places = marks or {}
    by_target: dict[str, list[Change]] = {}
    for one in changes:
        if one.path:
            by_target.setdefault(one.target, []).append(one)
    lines = []
    for target, word in done.items():
        lines.append(f"{target}: {word or UP_TO_DATE}")
        lines += [f"  {change_line(one, colour=colour, path=shown_path(one, places)).removeprefix(f'{target}: ')}"
                  for one in by_target.get(target, ())]
    if all(word in ("", UP_TO_DATE) for word in done.values()):
        lines = [f"{UP_TO_DATE}: nothing to do"]
    return "\n".join([*lines, *map(plain, quiet)])


def done_json(done: Mapping[str, str], changes: Iterable[Change] = (), quiet: Iterable[str] = (),
              ended: Mapping[str, tuple[str, int] | None] | None = None) -> str:
    """`{"done": {target: word}, "changes": [...], "quiet": [...]}`.

    Args:
        ended: see end_text; those whose program has ended are told as `"ended": {target: {"exitStatus": 0}}`.
    """
    tree = {"done": {target: word or UP_TO_DATE for target, word in done.items()},
            "changes": [change_tree(one) for one in changes], "quiet": list(quiet)}
    if ended:
        tree["ended"] = {target: {"exitStatus" if end[0] != "signal" else "signal": end[1]} if end is not None else {}
                         for target, end in ended.items()}
    return canonical(tree)


def end_text(end: tuple[str, int] | None) -> str:
    """That a program has ended, with what it left: ("exit status" or "signal", number), None where nobody knows."""
    return "and its program has ended" + (f", {end[0]} {end[1]}" if end is not None else "")


# -- errors -------------------------------------------------------------------------------------------

def error_tree(error: RunspecError) -> list[dict[str, Any]]:
    """An error and those found with it, a flat list in file order."""
    why, fix = error.help()
    tree: dict[str, Any] = {"what": error.what, "why": why, "fix": fix}
    if error.at:
        tree["at"] = {"file": error.at.file, "line": error.at.line, "column": error.at.column}
    return [tree, *(one for also in error.also for one in error_tree(also))]


def error_json(error: RunspecError) -> str:
    """`{"errors": [...]}`."""
    return canonical({"errors": error_tree(error)})


def count_text(number: int, one: str, many: str = "") -> str:
    """`1 step`, `3 steps`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def near(word: str, known: Iterable[str]) -> str:
    """The fix line for a mistyped name; "" where none is near."""
    found = nearest(word, known)
    return f"did you mean `{found}`?" if found else ""
