"""In which order containers are made, and their Steps done."""

from __future__ import annotations

from runspec.plan.steps.base import PREPARE, SPAWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.plan.planner import Item
    from runspec.plan.steps.base import Step

# Children that wait at once, which bounds the processes of one apply; and its descriptors, of which a process mostly
# may have 1024: one for each container's lock, two for each child.
WAVE, DESCRIPTORS = 100, 900


def by_phase(steps: list[Step]) -> list[Step]:
    """Stable order by phase."""
    return sorted(steps, key=lambda step: step.phase)


def by_turns(steps: list[Step]) -> list[Step]:
    """By phase, but what comes up to the clone one container after the other: each child sets itself up while the
    host side makes the next one's groups."""
    return sorted(steps, key=lambda step: PREPARE if step.phase == SPAWN else step.phase)


def waves(items: list[Item]) -> list[list[Item]]:
    """Containers in groups that may start together: after those whose namespaces they join."""
    known = {item.name: item for item in items}
    level: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in level:
            level[name] = 0
            joins = [one.container for one in known[name].wanted.linux.namespaces
                     if one.container in known]
            level[name] = 1 + max((depth(one) for one in joins if one), default=-1)
        return level[name]

    out: list[list[Item]] = []
    most = max(16, min(WAVE, (DESCRIPTORS - len(items)) // 2))
    for stage in sorted({depth(item.name) for item in items}):
        members = [item for item in items if level[item.name] == stage]
        # Of one size, since each wave ends with a wait for its last child.
        size = -(-len(members) // -(-len(members) // most))
        out += [members[i:i + size] for i in range(0, len(members), size)]
    return out
