"""The terminal of a process: a pair in the container's own devpts, whose master goes to whoever holds it.

See: pty(7), devpts.rst, OCI config.md "Process", terminal.
"""

from __future__ import annotations

from errno import ELOOP, ENODEV, ENOENT

from runspec import abi
from runspec.plan.steps.base import LIVE, ChildStep, HostStep, Table
from runspec.spec.model import Size, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PTMX, CONSOLE = "dev/pts/ptmx", "dev/console"
NO_LINKS = abi.RESOLVE_IN_ROOT | abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS
WHY = {ENODEV: "it must be the multiplexer of a devpts: a mount of type devpts at /dev/pts",
       ENOENT: "a terminal is made in the container's own devpts: a mount of type devpts at /dev/pts",
       ELOOP: "a symlink lies on the way, which the image might lead anywhere"}


def pair_ops(table: Table, dir: int, size: Size | None, uid: int) -> None:
    """Make the pair: the master goes to the parent as a REPORT_FD and is kept by nobody inside, slot "slave" stays.

    Args:
        dir: slot of the container's root, or HOST_CWD in it.
        uid: who shall own the slave, as its user namespace counts.
    """
    master = table.slot("master")
    table.add(abi.OP_OPEN, slot=master, dir=dir, s1=PTMX, a=abi.O_RDWR | abi.O_NOCTTY | abi.O_CLOEXEC, b=NO_LINKS)
    table.add(abi.OP_TERMINAL, slot=table.slot("slave"), dir=master, b=uid,
              a=size.height | size.width << 16 if size is not None else 0)
    table.add(abi.OP_SEND_FD, slot=master)
    table.add(abi.OP_CLOSE, slot=master)


def take_ops(table: Table) -> None:
    """The slave becomes the controlling terminal and the three standard streams; the process leads its session."""
    slave = table.slot("slave")
    table.add(abi.OP_CONTROL_TTY, slot=slave)
    for number in (0, 1, 2):
        table.add(abi.OP_DUP, slot=slave, a=number)
    table.add(abi.OP_CLOSE, slot=slave)


class MakeTerminal(ChildStep):
    """The pair, and its slave bound at /dev/console."""

    size: Size | None = None
    uid: int = 0

    def ops(self, table: Table) -> None:
        """Everything by descriptor: what the image put at these names is checked or refused."""
        root, slave, tree, at = (table.slot(name) for name in ("root", "slave", "tree", "at"))
        pair_ops(table, root, self.size, self.uid)
        table.add(abi.OP_MKFILE, slot=at, dir=root, s1=CONSOLE, a=0o600, b=1)
        table.add(abi.OP_OPEN_TREE, slot=tree, dir=slave, a=abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC)
        table.add(abi.OP_MOVE_MOUNT, slot=tree, dir=at)
        table.add(abi.OP_CLOSE, slot=tree)
        table.add(abi.OP_CLOSE, slot=at)

    def why(self, errno: int) -> str:
        """What such a failure says of the image or the mounts."""
        return WHY.get(errno, "")

    def __str__(self) -> str:
        size = f" of {self.size.width}x{self.size.height}" if self.size is not None else ""
        return f"make a terminal{size}, bound at /dev/console"


class SendConsole(HostStep):
    """Hands the terminal's master to the console socket."""

    PHASE = LIVE
    socket: str

    def apply(self, kernel: Any, run: Any) -> Any:
        """One message with one descriptor, unix(7) SCM_RIGHTS; from then on the other side alone holds it."""
        kernel.send_console(self.socket, run.held(self.target, "console"))
        run.drop(self.target, "console")

    def __str__(self) -> str:
        return f"send the terminal of {self.target} to {self.socket}"


def plan(spec: Spec) -> list[ChildStep]:
    """The child's part, before its root is entered."""
    process = spec.process
    return [MakeTerminal(target=spec.name, path="process.terminal", size=process.console_size,
                         uid=process.user.uid)] if process.terminal else []


def send(spec: Spec, socket: str) -> list[HostStep]:
    """The host side's part."""
    return [SendConsole(target=spec.name, path="process.terminal", socket=socket)] if spec.process.terminal else []


