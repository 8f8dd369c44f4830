"""What a new network namespace is given by the child in it: loopback for each, and what links.py asks for."""

from __future__ import annotations

from errno import EADDRINUSE, EEXIST, ENETDOWN

from runspec import abi
from runspec.plan import rtnetlink, view_links
from runspec.plan.steps.base import ChildStep, Table, own_procfs
from runspec.plan.steps.namespaces import is_new
from runspec.plan.steps.process import sysctl_path
from runspec.spec.model import Spec


class ConfigureLinks(ChildStep):
    """Loopback, addresses and routes of a new network namespace."""

    ALIKE = True
    messages: tuple[str, ...]       # hexadecimal
    words: str
    sysctls: tuple[tuple[str, str], ...] = ()

    def ops(self, table: Table) -> None:
        """rtnetlink(7); parameters first, since some hold only for what comes after them."""
        for key, value in self.sysctls:
            table.add(abi.OP_WRITE, dir=own_procfs(table), s1=sysctl_path(key), s2=value, b=abi.RESOLVE_NO_SYMLINKS)
        for message in self.messages:
            table.add(abi.OP_NETLINK, s1=bytes.fromhex(message), c=EEXIST)

    def why(self, errno: int) -> str:
        """Of a link on a parent."""
        return {EADDRINUSE: "another link on its parent has the same MAC address",
                ENETDOWN: "its parent is down"}.get(errno, "")

    def __str__(self) -> str:
        return self.words


def up(spec: Spec) -> list[ChildStep]:
    """Its own loopback: without it not even 127.0.0.1 answers."""
    if not is_new(spec, "network"):
        return []
    return [ConfigureLinks(target=spec.name, path="interfaces", words="bring lo up",
                           messages=(rtnetlink.set_link(view_links.LOOPBACK, up=True).hex(),))]
