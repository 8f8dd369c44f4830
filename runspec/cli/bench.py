"""`bench`: measure this machine's containers, or show and compare what was measured."""

from __future__ import annotations

import errno
import json
import os
import sys

from runspec.bench import comparison, measure, table, world
from runspec.bench.contender import ALWAYS, CONTENDERS, USUAL
from runspec.bench.results import Results, from_tree, to_tree
from runspec.bench.suite import SUITES
from runspec.cli import render
from runspec.cli.words import nearest, plain, quoted
from runspec.errors import RunspecError, UsageError, meaning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from runspec.cli.words import Words

# What `--out` writes, by the ending of the name.
ENDINGS = {".json": "json", ".txt": "text", ".html": "html"}
WIDTH = 80          # of lines in a file
# What measures nothing, and what goes without the other.
UNMEASURED = ("show", "list")
EXCLUDE = (("quick", "full"), UNMEASURED, ("list", "out"), ("list", "compare"),
           *((one, other) for one in UNMEASURED for other in ("quick", "full", "peers", "rounds", "count", "nic")))
MOST_COUNT = 1000
MOST_ROUNDS = 1000


def run(words: Words) -> int:
    """Measure, or read an older run; then print, write and compare."""
    settings = asked(words)
    outs = [(name, form_of(name)) for name in words.values("out")]
    for name, _ in outs:
        writable(name)
    before = (words.value("compare"), read(words.value("compare"))) if words.flag("compare") else None
    if words.flag("list"):
        print(listing())
        return 0
    if words.flag("show"):
        results = read(words.value("show"))
    else:
        results = from_tree(world.inside({**settings, "debug": words.debug}), "the measuring process")
    # Before the rest, which who reads it may break off; a full disk takes no figure from the screen.
    wrong = [why for name, form in outs if (why := write(name, shown(results, before, form, WIDTH, False)))]
    colour = render.coloured()
    print(shown(results, before, words.value("output", "text"), columns() if sys.stdout.isatty() else WIDTH, colour))
    if not words.flag("show"):
        wrong += [f"{one.suite}: runspec failed\n  why: {plain(one.why)}" for one in results.missing if one.failed]
    for why in wrong:
        print(f"runspec: bench: {why}", file=sys.stderr)
    return 2 if wrong else 0


def asked(words: Words) -> dict[str, Any]:
    """The settings that the words stand for.

    Raises:
        UsageError: two of them exclude each other, or one is no name of a suite or contender, or no number.
    """
    for one, other in EXCLUDE:
        if words.flag(one) and words.flag(other):
            raise UsageError(f"bench: --{one} and --{other} exclude each other", fix="give one of them")
        if words.flag(one) and words.operands and one in UNMEASURED:
            raise UsageError(f"bench: --{one} and a SUITE exclude each other", fix="give one of them")
    suites = chosen(words.operands, SUITES, "suite")
    if words.flag("nic") and suites and "network" not in suites:
        raise UsageError("bench: --nic without network", "that suite measures them", "leave one of them out, or add it")
    if words.flag("peers"):
        given = words.value("peers").split(",")
        peers: Iterable[str] = () if given == ["none"] else CONTENDERS if given == ["all"] else chosen(
            given, CONTENDERS, "contender", ("all", "none"))
    else:
        peers = CONTENDERS if words.flag("full") else USUAL
    contenders = [name for name in CONTENDERS if name in peers or name in ALWAYS]
    counts = [number(one, "--count", MOST_COUNT) for one in words.value("count").split(",")] if words.flag(
        "count") else []
    return {"suites": [name for name in SUITES if name in suites] or list(SUITES), "contenders": contenders,
            "pace": "quick" if words.flag("quick") else "full" if words.flag("full") else "default",
            "rounds": number(words.value("rounds"), "--rounds", MOST_ROUNDS) if words.flag("rounds") else 0,
            "counts": sorted(set(counts)), "nics": words.value("nic").split(",") if words.flag("nic") else [],
            "root": words.root}


def chosen(given: Iterable[str], known: Iterable[str], what: str, words: Iterable[str] = ()) -> tuple[str, ...]:
    """Names that are known.

    Args:
        words: what can be said instead of names.

    Raises:
        UsageError: one is not.
    """
    for name in given:
        if name not in known:
            near = nearest(name, known)
            raise UsageError(f"bench: no {what} {quoted(name)}",
                             fix=f"did you mean {near}?" if near else f"one of: {', '.join((*known, *words))}")
    return tuple(given)


def number(text: str, option: str, most: int) -> int:
    """A whole number from 1 to a bound.

    Raises:
        UsageError: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise UsageError(f"bench: {option}: {quoted(text)} is no number from 1 to {most}",
                         "less measures nothing, and more would take days", "give a whole number in this range")
    return int(text)


def form_of(name: str) -> str:
    """text, json or html, as the ending of a file's name says.

    Raises:
        UsageError: the ending says nothing.
    """
    ending = os.path.splitext(name)[1]
    if ending not in ENDINGS:
        raise UsageError(f"bench: --out {quoted(name)}: what shall be in it?", "the ending of its name says so",
                         f"let it end in {', '.join(ENDINGS)}")
    return ENDINGS[ending]


def writable(name: str) -> None:
    """Refuse what cannot be written, before a quarter of an hour is gone.

    Raises:
        UsageError: it is a directory, or in none that is ours to write in.
    """
    place = name if os.path.exists(name) else os.path.dirname(name) or "."
    why = (errno.EISDIR if os.path.isdir(name) else errno.ENOENT if not os.path.exists(place)
           else 0 if os.access(place, os.W_OK) else errno.EACCES)
    if why:
        raise UsageError(f"bench: --out {plain(name)}: {os.strerror(why)}", *meaning(why))


def write(name: str, text: str) -> str:
    """Write a file; returns why that failed, "" where it did not."""
    try:
        with open(name, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except OSError as error:
        return RunspecError(f"--out {plain(name)}: {os.strerror(error.errno or 0)}", *meaning(error.errno or 0)).text()
    return ""


def read(name: str) -> Results:
    """The results of an older run.

    Raises:
        UsageError: the file is none.
    """
    try:
        with open(name, "rb") as file:
            tree = json.load(file)
    except OSError as error:
        raise UsageError(f"bench: {plain(name)}: {os.strerror(error.errno or 0)}",
                         *meaning(error.errno or 0)) from None
    except (ValueError, RecursionError):
        raise UsageError(f"bench: {plain(name)} is no result of `runspec bench -o json`", "it is no JSON",
                         "name the JSON file of an older run") from None
    return from_tree(tree, plain(name))


def shown(results: Results, before: tuple[str, Results] | None, form: str, width: int, colour: bool) -> str:
    """Results in one form.

    Args:
        before: file and results of the older run that these are compared with.
        width: of lines of text, in columns; colour: whether they have it.
    """
    compared = None if before is None else comparison.comparison(before[1], results, before[0])
    if form == "json":
        tree = to_tree(results)
        if compared is not None:
            tree["compared"] = comparison.to_tree(compared)
        return json.dumps(tree)
    if form == "html":
        from runspec.bench.page import page

        return page(results, compared)
    text = table.text(results, width, colour)
    return text if compared is None else f"{text}\n\n{table.compared(compared, width, colour)}"


def columns() -> int:
    """Of the terminal, COLUMNS where the user says so."""
    from shutil import get_terminal_size

    return get_terminal_size((WIDTH, 24)).columns


def listing() -> str:
    """Suites with what they lack, contenders with their versions."""
    suites, contenders = measure.listing()
    lines = ["suites:"]
    lines += [f"  {name:<15} {what}{f' ({lost})' if lost else ''}" for name, what, lost in suites]
    lines.append("contenders:")
    lines += [f"  {name:<15} {text}" for name, text in contenders]
    return "\n".join(map(plain, lines))
