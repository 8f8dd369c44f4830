"""Steps and the model objects they hold, by name: for a journal that outlived its run, and for a plan in a file."""

from __future__ import annotations

from runspec.plan.steps import (
    attributes,
    cgroup,
    gate,
    hooks,
    intel_rdt,
    limits,
    live,
    mounts,
    namespaces,
    netdevices,
    network,
    network_live,
    process,
    rootfs,
    terminal,
)
from runspec.plan.steps.base import Step
from runspec.spec import model
from runspec.spec.frozen import Frozen

MODULES = (attributes, cgroup, gate, hooks, intel_rdt, limits, live, mounts, namespaces, netdevices, network,
           network_live, process, rootfs, terminal)


def classes() -> dict[str, type]:
    """Class name -> class, of everything that may be named."""
    found: dict[str, type] = {}
    for module, base in ((model, Frozen), *((one, Step) for one in MODULES)):
        found.update((name, one) for name, one in vars(module).items()
                     if isinstance(one, type) and issubclass(one, base))
    return found
