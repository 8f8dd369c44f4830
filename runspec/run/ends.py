"""What is left to be said of a run that came to its end: programs that ended with it, and what did not come true."""

from __future__ import annotations

from runspec.errors import StateError
from runspec.kernel import netlink
from runspec.plan import diff, view
from runspec.run import observe_host
from runspec.spec.model import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from runspec.kernel import Kernel
    from runspec.plan.planner import Item
    from runspec.plan.steps.base import Change
    from runspec.run.engine import Run

    End = tuple[str, int] | None


def ready() -> None:
    """Load what looking again takes: done while children set themselves up, it costs no time."""
    for module in (netlink, observe_host, view, diff):
        vars(module)


def what_ended(kernel: Kernel, run: Run, items: Iterable[Item]) -> dict[str, End]:
    """Containers whose init this run started and which has ended by itself: how, where that is known.

    Args:
        items: everything that the run was about, looked at again. What that look saw of an init that still lives now is
            true; of one that ended meanwhile it need not be.

    Raises:
        StateError: what was done does not show.
    """
    ended = {name: kernel.end_of(*init) for name, init in run.started().items() if kernel.ends(*init)}
    left = [change for item in items for change in item.changes
            if change.target not in ended and not _joined(item, change, ended)]
    if left:
        lines = ", ".join(f"{one.target}: {one.path or 'status'} is {one.before}, not {one.after}" for one in left)
        raise StateError(f"the machine does not show what was done: {lines}",
                         "the kernel or somebody else changed it at once", "see `runspec diff`")
    return ended


def _joined(item: Item, change: Change, ended: Container[str]) -> bool:
    """Whether a Change is about a namespace that is one's whose init has ended."""
    return isinstance(item.wanted, Spec) and any(
        space.container in ended and change.path == f"linux.namespaces[{i}]"
        for i, space in enumerate(item.wanted.linux.namespaces))
