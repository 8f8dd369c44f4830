"""Plans for one part of a container's life: from its start gate on, or what is left of it."""

from __future__ import annotations

from runspec.plan.steps import cgroup as groups, gate, hooks, nft, process, rootfs
from runspec.plan.steps.base import Plan
from runspec.spec.model import Spec


def start(spec: Spec, where: str) -> Plan:
    """From a container at its start gate to a running one.

    Args:
        where: its bundle.
    """
    return Plan(steps=(gate.OpenGate(target=spec.name, path="process.args",
                                     hooks=bool(spec.hooks.start_container)), process.SaveRecord(target=spec.name),
                       *hooks.started(spec, where)))


def remnants(name: str, directories: tuple[str, ...], lent: tuple[str, ...] = ()) -> Plan:
    """Ends what is left of a container whose Record cannot be read.

    Args:
        lent: the words by which it asked for links of the host.
    """
    return Plan(steps=(groups.KillContainer(target=name, groups=directories, lent=lent),
                       nft.ForgetElements(target=name),
                       groups.RemoveCgroup(target=name, groups=directories),
                       rootfs.RemoveDirectory(target=name, directory=rootfs.base_dir(name)),
                       process.RemoveRecord(target=name)))
