"""The start gate: `create` leaves an init that waits for `start`, with nobody of ours beside it."""

from __future__ import annotations

from runspec import abi
from runspec.plan.steps import namespaces
from runspec.plan.steps.base import FINISH, START, ChildStep, HostStep, Table, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class MakeGate(HostStep):
    """The socket at which init will wait: a file in the container's state directory."""

    def apply(self, kernel: Any, run: Any) -> Any:
        """bind(2), listen(2); the descriptor goes to init alone."""
        run.make_gate(self)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Without the file nobody can connect any more."""
        kernel.remove_file(run.store.gate(self.target))

    def __str__(self) -> str:
        return f"make the start gate of {self.target}"


class FindProgram(ChildStep):
    """Fails now where the start would: engines expect `create` to name a missing program.

    Args:
        cwd: the program's own directory, "" where the process is there already.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"

    def ops(self, table: Table) -> None:
        """faccessat2(2), along PATH as execvp(3) does, from the program's own directory."""
        if self.cwd:
            table.add(abi.OP_CHDIR, s1=self.cwd, a=1)
        table.add(abi.OP_FIND_PROGRAM, s1=words(self.args), s2=words(self.env))

    def __str__(self) -> str:
        return f"find {self.args[0]}"


class WaitAtGate(ChildStep):
    """Init waits, perhaps for days, until `start` connects; the end of its maker is nothing to it.

    Args:
        terminal: the slave of a pair is still to become the program's.
    """

    terminal: bool = False

    def ops(self, table: Table) -> None:
        """See ops.h, GATE."""
        table.add(abi.OP_GATE, slot=table.slot("gate"), a=namespaces.BARRIER_START,
                  b=table.named["slave"] + 1 if self.terminal and "slave" in table.named else 0)

    def __str__(self) -> str:
        return "wait at the start gate"


class HoldInit(HostStep):
    """Sees init to its start gate and leaves it there."""

    PHASE = START

    def apply(self, kernel: Any, run: Any) -> Any:
        """Everything but the program is ready when `create` returns."""
        run.park(self)

    def __str__(self) -> str:
        return f"leave init of {self.target} at its start gate"


class OpenGate(HostStep):
    """Tells the waiting init to go on; there is no way back.

    Args:
        hooks: programs run before the container's own, which take their time.
    """

    PHASE = START
    hooks: bool = False

    def apply(self, kernel: Any, run: Any) -> Any:
        """Returns when the program runs, or fails with what init answered."""
        run.open_gate(self)

    def __str__(self) -> str:
        return f"open the start gate of {self.target}"


class WritePidFile(HostStep):
    """Init's pid for the engine, whole or not at all."""

    PHASE = FINISH
    file: str

    def apply(self, kernel: Any, run: Any) -> Any:
        """Written beside, then renamed."""
        kernel.replace_file(self.file, str(run.pid(self.target)), 0o644)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """A pid that no container has is worse than none."""
        directory, _, name = self.file.rpartition("/")
        kernel.remove_file(f"{directory}/.{name}.tmp")
        kernel.remove_file(self.file)

    def __str__(self) -> str:
        return f"write the pid of {self.target} to {self.file}"
