"""Steps and the model objects they hold, by name: for a journal that outlived its run."""

from __future__ import annotations

from runspec.plan.steps import (
    attributes,
    cgroup,
    hooks,
    limits,
    live,
    mounts,
    namespaces,
    network,
    process,
    rootfs,
    terminal,
)
from runspec.plan.steps.base import ChildStep, HostStep
from runspec.spec import model
from runspec.spec.frozen import Frozen


def classes() -> dict[str, type]:
    """Class name -> class, of everything a journal line may name."""
    found: dict[str, type] = {}
    for module, base in ((model, Frozen), (cgroup, HostStep), (namespaces, HostStep), (network, HostStep),
                         (process, HostStep), (attributes, HostStep), (hooks, HostStep), (limits, HostStep),
                         (rootfs, HostStep), (live, HostStep), (mounts, ChildStep), (terminal, HostStep)):
        for name, one in vars(module).items():
            if isinstance(one, type) and issubclass(one, base):
                found[name] = one
    return found
