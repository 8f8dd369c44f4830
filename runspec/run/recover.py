"""Undoes what a run that died left behind: its journal says what it began."""

from __future__ import annotations

from runspec.errors import RunspecError, StateError
from runspec.plan.steps import registry
from runspec.plan.steps.process import SaveRecord
from runspec.plan.steps.rootfs import MakeDirectory
from runspec.run import engine
from runspec.run.journal import open_journals, restore_step, words
from runspec.run.store import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel
    from runspec.run.journal import Journal
    from runspec.run.store import Store

# Steps whose effect outlives a reboot: files.
LASTING = (SaveRecord, MakeDirectory)
REMEDY = ("remove what is in its way: each verb tries again; or end its containers with `runspec delete --force`, then "
          "remove {}")


class Stuck:
    """A journal that could not be undone.

    Attributes:
        id: of the journal; error: says why, and the remedy.
    """

    __slots__ = ("error", "id")

    def __init__(self, name: str, error: StateError) -> None:
        self.id, self.error = name, error


def note(error: StateError) -> str:
    """What those hear of a run that cannot be undone whom that does not stop."""
    return f"warning: {error.what}: {error.why}; {error.fix}"


def unfinished(store: Store) -> tuple[int, tuple[str, ...]]:
    """How many steps of dead runs are to be undone, and a line on each run that cannot be."""
    count, stuck = 0, []
    for one in open_journals(store, take=False):
        if one.blocked is not None:
            stuck.append(note(one.blocked))
        else:
            count += one.steps
        one.release()
    return count, tuple(stuck)


def recover_all(kernel: Kernel, store: Store) -> list[Stuck]:
    """Undo what runs that died left; one that cannot be undone stops nobody but who shares a name with it.

    Must be called without any lock held: it takes those that the dead run had.
    """
    out = []
    for left in open_journals(store):
        ids = left.ids
        try:
            with store.lock(ids):
                failed = recover(kernel, store, left)
                if not failed:
                    # Still locked: whoever gets the locks next must not find it.
                    left.close()
                    continue
                why, fix = "; ".join(failed), ""
        except RunspecError as error:
            why = "; ".join(one for one in (error.what, error.why) if one)
            fix = error.fix
        found = StateError(f"an interrupted run{words(ids)} could not be undone", why, fix or REMEDY.format(left.path))
        left.block(found)
        out.append(Stuck(left.id, found))
    return out


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
    return engine.undo(engine.Run(kernel, store, None, {}, live), done)
