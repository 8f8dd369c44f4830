"""Undoes what a run that died left behind: its journal says what it began."""

from __future__ import annotations

from runspec.errors import StateError
from runspec.plan.steps import registry
from runspec.plan.steps.process import SaveRecord
from runspec.plan.steps.rootfs import MakeDirectory
from runspec.run.engine import Run, undo
from runspec.run.journal import restore_step
from runspec.run.store import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel
    from runspec.run.journal import Journal
    from runspec.run.store import Store

# Steps whose effect outlives a reboot: files.
LASTING = (SaveRecord, MakeDirectory)


def recover(kernel: Kernel, store: Store, journal: Journal) -> list[str]:
    """Undo what a dead run journaled, whose locks are held; returns what could not be."""
    known = registry.classes()
    live: dict[str, tuple[int, int]] = {}
    for kind, name in journal.ids:
        try:
            record = store.load(kind, name) if kind == "container" else None
        except StateError:
            record = None       # damaged: the Steps know what they did
        if record is not None and status(kernel, record) == "running":
            live[name] = record.pid, record.start_time
    try:
        done = [(restore_step(one.step, one.args, known), one.memo) for one in journal.read()]
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"journal {journal.id} names steps that this runspec does not know",
                         why=f"{journal.path}: {error}", fix="use the runspec that wrote it, or destroy what it names "
                         "with --force, then remove the file") from None
    if journal.stale():
        # Links, groups and processes ended with that boot; who has their names and numbers now is a stranger.
        done = [one for one in done if isinstance(one[0], LASTING)]
    return undo(Run(kernel, store, None, {}, live), done)
