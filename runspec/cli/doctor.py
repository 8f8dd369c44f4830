"""`doctor`: what each key of the files needs, what this machine has of it, and the remedy where it lacks."""

from __future__ import annotations

import sys

from runspec.cli import render
from runspec.cli.people import table
from runspec.cli.words import plain
from runspec.errors import RunspecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.cli.words import Words
    from runspec.kernel import Kernel
    from runspec.run.doctor import Checkup, Row
    from runspec.run.request import Wanted
    from runspec.run.store import Store


def run(words: Words, kernel: Kernel) -> int:
    """Returns 0 where nothing that is asked fails, else 2, as for a file that cannot be applied."""
    from runspec.run.doctor import examine
    from runspec.run.store import Store

    store: Store | RunspecError
    try:
        store = Store(kernel, words.root)
    except RunspecError as error:
        store = error
    found = examine(kernel, store, read(words.operands, store) if words.operands else [])
    print(as_json(found) if words.json else as_text(found, render.coloured()))
    return 0 if found.good else 2


def read(paths: tuple[str, ...], store: Store | RunspecError) -> list[Wanted]:
    """The documents; their own faults end the look, what the machine lacks is its subject."""
    from runspec.cli import declare
    from runspec.run.request import Wanted, placed_at, read_request

    if isinstance(store, RunspecError):
        return [Wanted(model, "", placed_at(placed)) for model, placed in declare.read_specs(paths)]
    return read_request(paths, store, lambda documents, unread: declare.judge(documents, unread, host=False),
                        sys.stdin.buffer)


def as_text(found: Checkup, colour: bool = False) -> str:
    """Facts, then a table for each document, the reasons below their rows."""
    lines = [f"{found.facts['kernel']}, cores {found.facts['cores']}, {int(found.facts['memory']) >> 20} MiB"]
    by_version: dict[str, list[str]] = {}
    for name, version in found.facts.items():
        if name.startswith("cgroup "):
            by_version.setdefault(version, []).append(name.removeprefix("cgroup "))
    lines.append("cgroups: " + "; ".join(f"{version} {' '.join(names)}" for version, names in sorted(
        by_version.items())) if by_version else "cgroups: none")
    if not found.good or not found.documents:
        rows = [row for row in found.base if not found.documents or row.answer.ok is False]
        lines += ["", *rows_text([("", row) for row in (*rows, *found.host)], colour)] if rows or found.host else []
    for one, rows in found.documents:
        lines += ["", f"{one.model.name}:"]
        lines += rows_text([(render.file_path(one.marks, row.path), row) for row in rows], colour)
        if not rows:
            lines.append("  needs nothing that a kernel could lack")
    if found.refused or found.warnings:
        lines.append("")
    lines += [plain(line) if not line.startswith(" ") else line for error in found.refused
              for line in error.text().splitlines()]
    lines += map(plain, found.warnings)
    return "\n".join(lines)


def rows_text(rows: list[tuple[str, Row]], colour: bool) -> list[str]:
    """Aligned rows; why and fix stand below the one they belong to. Equal rows of one list are told once."""
    told: set[tuple[str, ...]] = set()
    cells: list[tuple[str, ...]] = []
    rest: list[list[str]] = []
    for path, row in rows:
        once = (path.partition("[")[0], row.need, row.answer.why)
        if once in told:
            continue
        told.add(once)
        cells.append((*([path] if path else []), row.need, row.option, word(row),
                      f"({row.answer.note})" if row.answer.note else ""))
        rest.append([f"    {name}: {plain(text)}" for name, text in (
            ("why", row.answer.why), ("fix", row.answer.fix)) if text])
    if not cells:
        return []
    lines = []
    for line, below, cell in zip(table(cells).split("\n"), rest, cells, strict=True):
        bad = cell[-2] in ("fails", "missing")
        lines.append("  " + (render.paint(line, "drifted", colour) if bad else line))
        lines += below
    return lines


def word(row: Row) -> str:
    """What is found of a need; what no file asks for fails nobody."""
    return "missing" if row.answer.ok is False and not row.path else row.answer.word


def as_json(found: Checkup) -> str:
    """`{"good": ..., "facts": {...}, "host": [...], "documents": [...], "admission": [...], "warnings": [...]}`."""
    return render.canonical({
        "good": found.good, "facts": found.facts,
        "host": [row_tree(row) for row in (*found.base, *found.host)],
        "documents": [{"kind": one.kind, "name": one.model.name,
                       "rows": [row_tree(row, one) for row in rows]} for one, rows in found.documents],
        "admission": [tree for error in found.refused for tree in render.error_tree(error)],
        "warnings": found.warnings})


def row_tree(row: Row, one: Wanted | None = None) -> dict[str, Any]:
    """A Row as plain JSON, its path as the file counts."""
    tree: dict[str, Any] = {"need": row.need, "option": row.option, "status": word(row), "note": row.answer.note,
                            "why": row.answer.why, "fix": row.answer.fix}
    if one is not None:
        path = render.file_path(one.marks, row.path)
        tree["path"], tree["default"] = path.removesuffix(render.DEFAULT), path.endswith(render.DEFAULT)
        mark = render.mark_of(one.marks, row.path)
        if mark is not None:
            tree["at"] = {"file": mark.file, "line": mark.line, "column": mark.column}
    return tree
