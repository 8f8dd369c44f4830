"""Kernel: the only door to the machine; everything runspec reads or changes passes here.

Every system call that changes the machine is announced to `_act` just before it is made, which
counts them and lets a test end the process at any of them: RUNSPEC_FAULT=kill@N kills it before
the Nth, count only counts, trace@PATH appends each call's name to PATH.
"""

from __future__ import annotations

import os

from runspec import abi
from runspec.errors import UsageError
from runspec.kernel.groups import Groups
from runspec.kernel.inside import Inside
from runspec.kernel.process import Child, Processes, Report
from runspec.kernel.sockets import Sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel.rare import Rare
else:
    class Rare:
        """The parts that few verbs use; loaded when something of them is first asked for."""

        def __getattr__(self, name):
            from runspec.kernel import rare

            return getattr(rare.Rare, name).__get__(self)

__all__ = ["Child", "Kernel", "Report"]

_SIGKILL = 9


class Kernel(Groups, Inside, Sockets, Rare, Processes):
    """The facade that Steps, store and journal receive.

    Args:
        fault: the text of RUNSPEC_FAULT, None where it is not set.
    """

    def __init__(self, fault: str | None = None) -> None:
        self.acts = 0
        self._kill_at = 0
        self._trace = -1
        self._route = None
        if fault:
            word, _, rest = fault.partition("@")
            if word == "kill" and rest.isascii() and rest.isdigit() and int(rest):
                self._kill_at = int(rest)
            elif word == "trace" and rest:
                self._trace = os.open(rest, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            elif fault != "count":
                raise UsageError(f"RUNSPEC_FAULT={fault}", fix="use kill@N, trace@PATH or count")

    def _act(self, name: str) -> None:
        """Count one state-changing system call, made by the caller right after."""
        self.acts += 1
        if self.acts == self._kill_at:
            os.kill(os.getpid(), _SIGKILL)
        if self._trace >= 0:
            os.write(self._trace, f"{name}\n".encode())

    def user_namespace(self, uids: str, gids: str) -> int:
        """A descriptor of a new user namespace with these maps, whose one process has ended.

        Args:
            uids, gids: the maps, lines of container id, host id and size, user_namespaces(7).
        """
        child = self.spawn((abi.Op(abi.OP_BARRIER, a=1),), (), flags=abi.CLONE_NEWUSER)
        try:
            for name, lines in (("uid_map", uids), ("gid_map", gids)):
                self.write(f"/proc/{child.pid}/{name}", lines)
            return self.open(f"/proc/{child.pid}/ns/user")
        finally:
            child.kill()
