"""The control groups of one container, for peers that have none or take them line by line: what runspec writes."""

from __future__ import annotations

import os

from runspec.plan import cgroup
from runspec.spec.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.plan.cgroup import Write
    from runspec.plan.host import Host
    from runspec.spec.model import Spec

# Controllers that containers are limited by.
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")


class Groups(Frozen):
    """Where a container's processes belong, and under which limits.

    Args:
        tops: the directory of every hierarchy, without doubles; the first is cgroup2's where that has limits.
        path: of the container's group in each, with a leading slash.
        lines: (file, value), in an order in which each is legal.
    """

    tops: tuple[str, ...]
    path: str
    lines: tuple[tuple[str, str], ...]

    @property
    def folders(self) -> tuple[str, ...]:
        """The container's directory in each hierarchy."""
        return tuple(f"{top}{self.path}" for top in self.tops)

    @property
    def doors(self) -> tuple[str, ...]:
        """The files that a process of one thread writes 0 into, to be in the group.

        On v1 those of single tasks: for whole processes the kernel takes a lock for which the first of them waits ten
        milliseconds.
        """
        return tuple(f"{top}{self.path}/{'tasks' if os.path.exists(f'{top}/tasks') else 'cgroup.procs'}"
                     for top in self.tops)


def read_host() -> Host:
    """What this machine's hierarchies are."""
    from runspec.kernel import Kernel
    from runspec.run import observe

    return observe.read_host(Kernel())


def groups(spec: Spec, host: Host, path: str) -> Groups:
    """The groups of a container.

    Args:
        path: with a leading slash.
    """
    tops = tuple(dict.fromkeys(top for _, top in host.hierarchies))
    unified = host.unified if host.unified and host.version_of("memory") == 2 else None
    lines = []
    for one in writes(spec, host):
        top = dict(host.hierarchies).get(one.controller, unified)
        for file, value in written(one):
            lines.append((f"{top}{path}/{file}", value))
    return Groups(tops=(*((unified,) if unified else ()), *tops), path=path, lines=tuple(lines))


def writes(spec: Spec, host: Host) -> list[Write]:
    """What differs from a new group, without what only a program on cgroup2 can say: its device rules."""
    return [one for one in cgroup.writes(spec.linux.resources, None, host, {}) if not one.program]


def written(one: Write) -> list[tuple[str, str]]:
    """(file, value) of one write."""
    if one.deny or one.allow:
        return [*(("devices.deny", line) for line in one.deny), *(("devices.allow", line) for line in one.allow)]
    return [(one.file, one.value)]


def delegated(groups: Groups, host: Host) -> list[tuple[str, str]]:
    """(file, value) that give cgroup2's controllers to all directories above the container's; nothing on v1."""
    top = groups.tops[0]
    if top != host.unified:
        return []
    words = " ".join(f"+{name}" for name in CONTROLLERS if name in host.controllers2)
    above = groups.path.split("/")[1:-1]
    return [(f"{top}{''.join(f'/{one}' for one in above[:depth])}/cgroup.subtree_control", words)
            for depth in range(len(above) + 1)]
