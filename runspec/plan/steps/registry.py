"""Steps and the model objects they hold, by name: for a journal that outlived its run, and for a plan in a file."""

from __future__ import annotations

from runspec.plan.steps import (
    attributes,
    cgroup,
    gate,
    hooks,
    host_access,
    host_links,
    intel_rdt,
    lease,
    limits,
    line,
    links,
    links_live,
    live,
    loopback,
    mounts,
    names,
    namespaces,
    network,
    nft,
    process,
    rehearsal,
    rootfs,
    seccomp,
    tagged,
    terminal,
    traffic,
)
from runspec.spec import model
from runspec.spec.frozen import Frozen

MODULES = (attributes, cgroup, gate, hooks, host_access, host_links, intel_rdt, lease, limits, line, links, links_live,
           live, loopback, mounts, names, namespaces, network, nft, process, rehearsal, rootfs, seccomp, tagged,
           terminal, traffic)


def classes() -> dict[str, type]:
    """Class name -> class, of everything that may be named."""
    return {name: one for module in (model, *MODULES) for name, one in vars(module).items()
            if isinstance(one, type) and issubclass(one, Frozen)}
