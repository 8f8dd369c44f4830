"""The shape that v1.py and v2.py share: one Knob per value of a control file."""

from __future__ import annotations

from runspec.spec import units
from runspec.spec.frozen import Frozen
from runspec.spec.model import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runspec.plan.host import Host

PAGE = 4096
UNLIMITED = -1


class Write(Frozen):
    """One write into a container's group.

    Args:
        controller: whose group; "" is the cgroup2 one.
        path: the spec path it serves.
        program: a device program in hexadecimal, instead of file and value.
        deny, allow: v1 device rules, instead of file and value.
        before: what takes it back, where that is not all the file says now.
        budget: (runtime, period) of real-time tasks in µs, instead of file and value.
        cpus: of a partition, whose kind is the value.
    """

    controller: str
    file: str = ""
    value: str = ""
    path: str
    program: str = ""
    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    before: str | None = None
    budget: tuple[int, int] | None = None
    cpus: str = ""


# A line of a file that has one for each of its keys: the key, what is written behind it, what takes that back.
Edit = tuple[str, str, str]


class Knob:
    """One value that a spec path sets in one file.

    Args:
        want: what the file should say, canonical; None where nothing is asked and nothing compared.
        parse: the file's text -> the same canonical form.
        fresh: what a new group says: then no write is needed. None: always written.
        text: all of what is written into the file; knobs of one file give the same text.
        reset: what is written when a spec no longer asks for it and `want` is None; None: nothing.
        edits: for a file of many lines, instead of `text`: (what is wanted or None, the file's text) -> lines.
    """

    __slots__ = ("controller", "edits", "file", "fresh", "parse", "path", "reset", "text", "want")

    def __init__(self, path: str, controller: str, file: str, want: Callable[[Resources, Host], Any],
                 parse: Callable[[str], Any], text: Callable[[Resources, Host], str], fresh: Any = None,
                 reset: str | None = None, edits: Callable[[Any, str], list[Edit]] | None = None) -> None:
        self.path, self.controller, self.file = f"linux.resources.{path}", controller, file
        self.want, self.parse, self.text, self.fresh, self.reset = want, parse, text, fresh, reset
        self.edits = edits


def limit(text: str) -> int:
    """A limit of either version as a number, -1 for none."""
    if text == "max":
        return UNLIMITED
    number = int(text)
    # PAGE_COUNTER_MAX in bytes, as a 64-bit kernel prints it on v1.
    return UNLIMITED if number >= 2**63 - PAGE or number < 0 else number


def pages(value: int | None) -> int:
    """Bytes as the kernel keeps them: whole pages, rounded down; -1 for none, as its largest number."""
    return UNLIMITED if value is None or not 0 <= value < 2**63 - PAGE else value // PAGE * PAGE


def cpu_list(text: str) -> str:
    """A list such as "0,1-3" in the kernel's own form "0-3", cpuset(7)."""
    return units.ranges(units.numbers(text))
