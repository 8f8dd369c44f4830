"""Many documents are looked at again by two processes, and what either sees counts."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from runspec.kernel import Kernel
from runspec.run import ends


class Session:
    """Looks at numbers: those of `changed` differ, at `broken` nobody can look."""

    def __init__(self, changed: set[int], broken: int = -1) -> None:
        self.kernel, self.changed, self.broken = Kernel(), changed, broken
        self.asked: list[int] = []

    def look(self, wanted: list[int], gone: list[Any]) -> SimpleNamespace:
        self.asked += wanted
        if self.broken in wanted:
            raise KeyError(self.broken)
        items = tuple(SimpleNamespace(name=one, changes=(one,) * (one in self.changed)) for one in wanted)
        return SimpleNamespace(networks=items[:1], containers=items[1:])


def again(session: Session, count: int) -> list[Any]:
    """The numbers that differ."""
    wanted: Any = list(range(count))
    seen: Any = ends.look_again(session, wanted)
    return [item.name for item in seen if item.changes]


@pytest.fixture(params=[1, 2])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many that we may run on."""
    count: int = request.param
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)))
    return count


@pytest.mark.parametrize("count", [0, 1, ends.MANY - 1, ends.MANY, ends.MANY + 1])
def test_nothing_differs(cores: int, count: int) -> None:
    """Then one process sees no more than half of many."""
    session = Session(set())
    assert again(session, count) == []
    assert len(session.asked) == (count // 2 if cores > 1 and count >= ends.MANY else count)


@pytest.mark.parametrize("changed", [{0}, {ends.MANY - 1}, {3, ends.MANY - 2}])
def test_what_differs_is_told(cores: int, changed: set[int]) -> None:
    """Whoever of both saw it."""
    assert again(Session(changed), ends.MANY) == sorted(changed)


@pytest.mark.parametrize("broken", [0, ends.MANY - 1])
def test_what_fails_fails_here(cores: int, broken: int) -> None:
    """The other process says nothing of its own, and nobody waits for it any more."""
    with pytest.raises(KeyError):
        again(Session(set(), broken), ends.MANY)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
