"""How this machine's control groups are laid out, cgroups(7)."""

from __future__ import annotations

from runspec.kernel.procfs import Mount, parse_mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel


def layout(mounts: list[Mount]) -> tuple[dict[str, str], str | None]:
    """Where the hierarchies are mounted.

    Returns:
        (v1 controller -> mount point, mount point of cgroup2 or None). Named hierarchies without a
        controller are left out; of several mounts the first counts.
    """
    first: dict[str, str] = {}
    unified: str | None = None
    for mount in mounts:
        if mount.fstype == "cgroup2" and unified is None and mount.root == "/":
            unified = mount.mount_point
        elif mount.fstype == "cgroup" and mount.root == "/":
            for word in mount.super_options:
                if word not in _FLAGS and "=" not in word:
                    first.setdefault(word, mount.mount_point)
    return first, unified


_FLAGS = ("rw", "ro", "clone_children", "noprefix", "xattr", "cpuset_v2_mode", "none", "favordynmods", "seclabel")


def read_layout(kernel: Kernel) -> tuple[dict[str, str], str | None]:
    """layout() of our own mount namespace."""
    return layout(parse_mountinfo(kernel.read("/proc/self/mountinfo")))
