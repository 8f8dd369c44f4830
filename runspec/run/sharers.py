"""Containers that have namespaces of another one, which ends while nobody names them."""

from __future__ import annotations

from runspec.plan.planner import KEPT
from runspec.plan.steps.cgroup import KillContainer, MakeCgroups
from runspec.plan.steps.process import RemoveRecord
from runspec.run.names import listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from runspec.plan.steps.base import Step
    from runspec.run.store import Store


def warnings(store: Store, steps: tuple[Step, ...], named: Container[str]) -> list[str]:
    """A line on each container that ends by these Steps while others stay in its namespaces.

    Args:
        named: containers of the request: these follow by themselves, or go.
    """
    ended = dict.fromkeys(step.target for step in steps if isinstance(step, KillContainer))
    whole = {step.target for step in steps if isinstance(step, (MakeCgroups, RemoveRecord))}
    users: dict[str, dict[str, None]] = {}
    for name in store.names("container"):
        for one in listed(store.text("container", name) or b"", b"namespaces") if name not in named else ():
            owner = one.get("container")
            if owner in ended and (owner in whole or one.get("type") not in KEPT):
                users.setdefault(owner, {})[name] = None
    return [f"warning: {owner}: {' and '.join(found)} share{'s' if len(found) == 1 else ''} its namespaces, and "
            f"join{'s' if len(found) == 1 else ''} those of a new {owner} only when applied again"
            for owner in ended if (found := users.get(owner))]
