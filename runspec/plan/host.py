"""Facts about this machine that a plan may depend on."""

from __future__ import annotations

from runspec.spec.frozen import Frozen


class Host(Frozen):
    """What observe found out about the machine.

    Args:
        hierarchies: cgroup v1 controller -> its mount directory ("memory" -> "/sys/fs/cgroup/memory").
        unified: mount directory of cgroup2, None where there is none.
        controllers2: controllers that cgroup2 offers at its root.
        cpus, mems: the root cpuset's lists, "0-1" and "0".
        last_cap: highest capability number of this kernel.
        features: optional kernel abilities found ("timens", "userns", ...), sorted.
        boot_id: this boot, /proc/sys/kernel/random/boot_id.
    """

    hierarchies: tuple[tuple[str, str], ...] = ()
    unified: str | None = None
    controllers2: tuple[str, ...] = ()
    cpus: str = "0"
    mems: str = "0"
    last_cap: int = 40
    features: tuple[str, ...] = ()
    boot_id: str = ""

    def version_of(self, controller: str) -> int:
        """1 or 2: which cgroup version serves this controller here; 0 where none does."""
        if any(name == controller for name, _ in self.hierarchies):
            return 1
        if controller not in self.controllers2:
            return 0
        return 2 if self.main2 else 0

    @property
    def main2(self) -> bool:
        """Whether cgroup2 has groups of ours: beside v1, one with some minor controller has none."""
        return any(name in self.controllers2 for name in ("cpuset", "cpu", "memory", "pids"))
