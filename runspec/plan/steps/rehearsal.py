"""The new init of a restart is tried beside the former one: what stops it stops the run while nothing has ended yet."""

from __future__ import annotations

from runspec.plan.steps import attributes, hooks, mounts, names, namespaces, process
from runspec.plan.steps.base import TRY, ChildStep, HostStep
from runspec.plan.steps.gate import FindProgram
from runspec.spec.mount_options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Of these there may be as many as there are children; another file system may be one that is mounted once.
KINDS = ("bind", "cgroup", "devpts", "mqueue", "none", "proc", "sysfs", "tmpfs")
# What waits for somebody, what the former init would feel, and what its groups decide.
LEFT_OUT = (namespaces.WaitForHost, names.OpenNames, names.BindNames, attributes.SetScheduling, attributes.SetLabel)


class TryInit(HostStep):
    """Brings a child as far as the new init comes by itself, outside the container's groups, and ends it there.

    Args:
        flags, joins, kept: as of SpawnInit.
        maps: user namespaces that the child's mounts need.
    """

    PHASE = TRY
    flags: int = 0
    joins: tuple[tuple[str, str], ...] = ()
    kept: tuple[str, ...] = ()
    maps: tuple[namespaces.MakeUserNamespace, ...] = ()
    unified: str = ""

    def apply(self, kernel: Any, run: Any) -> Any:
        """Nothing is left of it but the directories of the root that its mounts and its program need."""
        run.try_init(self)

    def inside(self, steps: list[ChildStep]) -> list[ChildStep]:
        """See tried."""
        return tried(steps)

    def __str__(self) -> str:
        return f"try the new init of {self.target}"


def tried(steps: list[ChildStep]) -> list[ChildStep]:
    """Those of a new init's steps that a child can do while the former init lives, up to where only the true one can
    tell: hooks may bring what the rest needs, and a mount may be one that cannot be there twice."""
    out: list[ChildStep] = []
    for step in steps:
        if isinstance(step, namespaces.WaitForHost) and step.number == namespaces.BARRIER_HOOKS:
            break
        if isinstance(step, mounts.MakeMount) and not repeatable(step):
            break
        if isinstance(step, namespaces.EnterNamespaces):
            out.append(step.replace(tasks=()))
        elif isinstance(step, process.SetSysctls):
            # The network's are in use.
            values = tuple(one for one in step.values if not one[0].startswith("net."))
            out += [step.replace(values=values)] * bool(values)
        elif isinstance(step, process.SetIdentity):
            out.append(step.replace(seccomp=None))      # it may ask an agent, who answers for a true init
        elif isinstance(step, hooks.RunInside):
            out.append(FindProgram(target=step.target, path=f"{step.path}[0]", args=(step.hooks[0].path,), cwd=""))
            break
        elif isinstance(step, process.Exec):
            out.append(FindProgram(target=step.target, path=step.path, args=step.args, env=step.env, cwd=""))
        elif not isinstance(step, LEFT_OUT):
            out.append(step)
    return [*out, namespaces.WaitForHost(target=steps[0].target, number=namespaces.BARRIER_START)]


def repeatable(step: mounts.MakeMount) -> bool:
    """Whether a mount may be made beside the former one of its kind."""
    return parse(step.mount.options).bind or (step.mount.type or "none") in KINDS
