"""What lasting overlays kept of containers that are destroyed already: `destroy --data` takes it away."""

from __future__ import annotations

from runspec.plan.steps import rootfs
from runspec.plan.steps.base import Change, Plan
from runspec.plan.values import ABSENT
from runspec.run import engine
from runspec.run.blame import Places
from runspec.run.journal import begin
from runspec.spec import defaults, fields
from runspec.spec.model import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runspec.kernel import Kernel
    from runspec.run.store import Store

PATH = "root.overlay.upper"


def lies(kernel: Kernel, upper: str) -> bool:
    """Whether a container's layer is there; the directory beside it tells it from one that runspec never used."""
    return kernel.exists(rootfs.work_dir(upper))


def layer(kernel: Kernel, name: str, spec: Spec | None = None) -> str:
    """The layer that a container which is no more left, "" for none.

    Args:
        spec: of its file; without one it is where it lies by default.
    """
    overlay = spec.root.overlay if spec is not None else None
    upper = (overlay.upper if overlay is not None else None) if spec is not None else defaults.upper(name)
    return upper if upper and lies(kernel, upper) else ""


def plan(kernel: Kernel, store: Store, asked: dict[str, str]) -> tuple[Plan, tuple[str, ...]]:
    """What removes these layers, and notes on those that stay.

    Args:
        asked: name of a container that is no more -> its layer; all of them are locked.
    """
    users = {overlay["upper"]: name for name, overlay in layers(store) if overlay.get("upper")}
    steps: list[rootfs.RemoveDirectory] = []
    changes, notes = [], []
    for name, upper in asked.items():
        user = next((one for other, one in users.items() if f"{other}/".startswith(f"{upper}/")), "")
        if user:
            notes.append(f"{name}: the files in {upper} stay, since {user} uses them")
        elif lies(kernel, upper):
            steps += [rootfs.RemoveDirectory(target=name, path=PATH, directory=directory, data=True)
                      for directory in (upper, rootfs.work_dir(upper))]
            steps.append(rootfs.RemoveDirectory(target=name, path=PATH, directory=rootfs.base_dir(name)))
            changes.append(Change(target=name, path=PATH, before=upper, after=ABSENT, impact=fields.RECREATE,
                                  cause="removed"))
    return Plan(steps=tuple(steps), changes=tuple(changes)), tuple(notes)


def layers(store: Store) -> Iterable[tuple[str, dict[str, str]]]:
    """(name, overlay) of each container that has one."""
    for name in store.names("container"):
        record = store.load("container", name)
        if record is not None and record.spec["root"].get("overlay"):
            yield name, record.spec["root"]["overlay"]


def remove(kernel: Kernel, store: Store, made: Plan) -> None:
    """Do what `plan` says."""
    run = engine.Run(kernel, store, made, {}, {})
    journal = begin(store, [("container", one.target) for one in made.changes])
    engine.perform(run, made, journal, Places([]))
    journal.close()
