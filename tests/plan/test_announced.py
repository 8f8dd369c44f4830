"""Which Steps are announced in one write: those after the first with nothing to look at, and nothing to undo yet."""

from __future__ import annotations

from runspec.plan.steps.base import HostStep, announced_with
from runspec.plan.steps.cgroup import KillContainer, MakeCgroups, SetDeviceRules, WriteCgroupFile
from runspec.plan.steps.namespaces import SpawnInit
from runspec.plan.steps.process import SaveRecord, StartInit

GROUPS = MakeCgroups(target="a", groups=())
NEW = WriteCgroupFile(target="a", file="/f", value="1")
LIVE = WriteCgroupFile(target="a", file="/f", value="1", before="0")
SPAWN = SpawnInit(target="a")


def ends(*steps: HostStep) -> list[int]:
    """How many go together, from the first on."""
    out, at = [], 0
    while at < len(steps):
        end = announced_with(list(steps), at)
        out.append(end - at)
        at = end
    return out


def test_a_new_group_goes_with_all_that_is_written_to_it() -> None:
    rules = SetDeviceRules(target="a", directory="/d", deny=("a",), fresh=True)
    assert ends(GROUPS, NEW, NEW, rules, SPAWN, GROUPS, NEW, SPAWN) == [5, 3]


def test_starts_go_together() -> None:
    saves = (SaveRecord(target="a"), SaveRecord(target="b"))
    assert ends(*(StartInit(target=name) for name in "abc"), *saves) == [3, 1, 1]


def test_what_has_something_to_undo_is_announced_by_itself() -> None:
    rules = SetDeviceRules(target="a", directory="/d", deny=("a",))
    assert ends(LIVE, LIVE, rules, NEW) == [1, 1, 2]


def test_an_end_goes_alone() -> None:
    """Undone, the spawn of a follower would take the one who still lives for gone."""
    kill = KillContainer(target="a", groups=())
    assert ends(kill, SPAWN, StartInit(target="a")) == [1, 2]
    assert ends(GROUPS.replace(early=True), NEW) == [1, 1]
