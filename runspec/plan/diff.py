"""The differences between what should be and what is, each with its cause and its class."""

from __future__ import annotations

from runspec.plan.steps.base import Change
from runspec.plan.values import ABSENT, UNKNOWN
from runspec.spec import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def changes(target: str, expected: dict[str, Any], before: dict[str, Any] | None,
            seen: dict[str, Any]) -> tuple[Change, ...]:
    """Compare by path, in the order of the file.

    Args:
        expected: path -> value the file asks for, in kernel units.
        before: the same for the spec applied last; None where there was none.
        seen: path -> value the kernel shows, ABSENT or UNKNOWN.

    Returns:
        A Change per path that differs. Its cause is `edited` where the file moved away from what was
        applied last, `drifted` where the machine did; a path that did both counts as edited, since
        the file's new word wins either way.
    """
    found = []
    # What was asked once and is no more; elements of lists are told by name instead, their indexes moved.
    ended = [path for path in before or () if path not in expected and path not in seen and "[" not in path]
    for path in (*expected, *(path for path in seen if path not in expected), *ended):
        after, now = expected.get(path, ABSENT), seen.get(path, UNKNOWN)
        if path in ended and before is not None:
            now = before[path]
        if now is UNKNOWN or now == after or (now is None and after is ABSENT):
            continue
        edited = before is not None and before.get(path, ABSENT) != after
        found.append(Change(target=target, path=path, before=now, after=after,
                            impact=fields.row(path).impact, cause="edited" if edited else "drifted"))
    return tuple(found)


def worst(found: tuple[Change, ...]) -> int:
    """The most disruptive impact among changes."""
    return max((one.impact for one in found), default=0)
