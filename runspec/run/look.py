"""A process that looks into containers: it visits several, one after the other, while others go on with their work."""

from __future__ import annotations

import os
from errno import ESRCH

from runspec import abi
from runspec.errors import SyscallError
from runspec.kernel import netlink, netlink_host, traffic
from runspec.plan.facts import Facts
from runspec.plan.steps.base import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runspec.kernel import Kernel
    from runspec.spec.model import Spec

    Visit = Callable[[Table, int, Facts, list[Spec], dict[int, tuple[Facts, str]]], None]


class Look:
    """A looking process that visits containers; begun at once.

    Args:
        visit: adds what is to be asked of one container to the table, and who takes the answers.
    """

    def __init__(self, kernel: Kernel, visits: list[tuple[Facts, list[Spec]]], visit: Visit) -> None:
        self.kernel, self.visits, self.visit = kernel, visits, visit
        table = Table(tuple(f"init{i}" for i in range(len(visits))))
        table.add(abi.OP_TOGETHER)
        self._takers: dict[int, tuple[Facts, str]] = {}
        slots: list[int] = []
        try:
            for i, (facts, specs) in enumerate(visits):
                pidfd = kernel.open_process(facts.pid, facts.start_time)
                if pidfd is None:
                    facts.status = "stopped"
                    pidfd = os.pidfd_open(os.getpid())
                slots.append(pidfd)
                if facts.status == "running":
                    visit(table, i, facts, specs, self._takers)
            self._running = kernel.begin_table(table.ops, tuple(slots))
        finally:
            for fd in slots:
                kernel.close(fd)

    def drop(self) -> None:
        """End it, whatever it is at."""
        self.kernel.drop_table(self._running)

    def end(self) -> None:
        """Take its answers."""
        try:
            for report in self.kernel.end_table(self._running):
                facts, what = self._takers[report.index]
                take(facts, what, report.data, report.error)
        except SyscallError as error:
            if error.call != "setns" or error.errno != ESRCH:
                raise
            # One has ended since; a process that leaves has no namespaces before it has ended.
            if len(self.visits) == 1:
                self.visits[0][0].status = "stopped"
            for one in self.visits if len(self.visits) > 1 else ():
                Look(self.kernel, [one], self.visit).end()


def take(facts: Facts, what: str, data: bytes, error: int) -> None:
    """Put one answer of the looking process where it belongs."""
    if what == "names":
        facts.hostname, facts.domainname = (word.decode("utf-8", "replace") for word in data.split(b"\0")[:2])
    elif what == "@links":
        facts.links += netlink.parse_links(data)
    elif what == "@addresses":
        facts.addresses += netlink.parse_addresses(data)
    elif what == "@neighbours":
        facts.neighbours += netlink_host.parse_neighbours(data)
    elif what == "@routes":
        facts.routes += netlink.parse_routes(data, ordinary=True)
    elif what == "@qdiscs":
        facts.traffic += traffic.parse_qdiscs(data)
    elif what == "@classes":
        facts.traffic += traffic.parse_classes(data)
    elif what == "@filters":
        facts.traffic += traffic.parse_filters(data)
    elif not error:
        facts.sysctl[what] = data.decode("utf-8", "replace").strip()
