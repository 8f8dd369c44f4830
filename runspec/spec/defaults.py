"""What a YAML file means by leaving a key out: safe, and the same on every machine.

An OCI bundle gets none of these.
"""

from __future__ import annotations

from runspec.spec.model import Capabilities, DeviceRule, Mount, Namespace, Overlay, Rlimit
from runspec.spec.names import NAMESPACES as KINDS

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UMASK = 0o022
PIDS = 4096
WEIGHT = 100                            # written out: v1's own default would be 102.4 in these units
PROPAGATION = "private"

# Docker's fourteen: enough for an ordinary image's start-up, none reaches beyond the container.
CAPABILITY_NAMES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
)
CAPABILITIES = Capabilities(bounding=CAPABILITY_NAMES, effective=CAPABILITY_NAMES, permitted=CAPABILITY_NAMES)

# A core file is written by the host's kernel and may reach the host's core_pattern program.
RLIMITS = (Rlimit(type="RLIMIT_CORE", soft=0, hard=0),)

MOUNTS = (
    Mount(destination="/proc", type="proc", source="proc", options=("nosuid", "noexec", "nodev")),
    Mount(destination="/dev", type="tmpfs", source="tmpfs",
          options=("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount(destination="/dev/pts", type="devpts", source="devpts",
          options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    Mount(destination="/dev/shm", type="tmpfs", source="shm",
          options=("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=("nosuid", "noexec", "nodev")),
    Mount(destination="/sys", type="sysfs", source="sysfs", options=("nosuid", "noexec", "nodev", "ro")),
    Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup",
          options=("nosuid", "noexec", "nodev", "relatime", "ro")),
)

MASKED_PATHS = ("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap")
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

NAMESPACES = tuple(Namespace(type=kind) for kind in ("pid", "mount", "uts", "ipc", "network", "cgroup"))


def _allow(kind: str, major: int | None, minor: int | None, access: str = "rwm") -> DeviceRule:
    return DeviceRule(allow=True, type=kind, major=major, minor=minor, access=access)


# Any node may be made (a node without the right to open it is harmless), these may be opened:
# null zero full random urandom tty console ptmx, and the pseudo terminals.
DEVICE_RULES = (
    DeviceRule(allow=False),
    _allow("c", None, None, "m"), _allow("b", None, None, "m"),
    _allow("c", 1, 3), _allow("c", 1, 5), _allow("c", 1, 7), _allow("c", 1, 8), _allow("c", 1, 9),
    _allow("c", 5, 0), _allow("c", 5, 1), _allow("c", 5, 2), _allow("c", 136, None),
)


def cgroups_path(name: str) -> str:
    """Where a container's group lies below each hierarchy's mount."""
    return f"/runspec/{name}"


def upper(name: str) -> str:
    """Where a container's lasting layer lies on the host."""
    return f"/var/lib/runspec/{name}/rootfs"


def overlay(name: str, path: str | None, readonly: bool,
            asked: tuple[str | None, bool | None] | None) -> Overlay | None:
    """The writable layer above a root.

    Args:
        name: the container's name.
        path: `root.path`, None with an image; a directory is used as it is unless asked otherwise.
        readonly: `root.readonly`.
        asked: (upper, volatile) as the file has them, None where it has no `overlay`.

    Returns:
        None where the root is used as it is.
    """
    if asked is None:
        return None if path is not None or readonly else Overlay(volatile=True)
    where, volatile = asked
    if volatile is None:
        volatile = where is None
    if volatile:
        return Overlay(volatile=True)
    return Overlay(volatile=False, upper=where if where is not None else upper(name))


def mounts(asked: tuple[Mount, ...]) -> tuple[tuple[Mount, ...], tuple[int, ...]]:
    """The standard mounts with the user's: one with the same destination takes its place, others follow.

    Returns:
        The mounts, and for each the index it has in `asked`, -1 for a standard one.
    """
    places = {mount.destination: index for index, mount in enumerate(MOUNTS)}
    out, origin = list(MOUNTS), [-1] * len(MOUNTS)
    for index, mount in enumerate(asked):
        place = places.pop(mount.destination, -1)
        if place >= 0:
            out[place], origin[place] = mount, index
        else:
            out.append(mount)
            origin.append(index)
    return tuple(out), tuple(origin)


def namespaces(asked: tuple[Namespace, ...]) -> tuple[tuple[Namespace, ...], tuple[int, ...]]:
    """The private namespaces with the user's: an entry replaces its kind's, a further kind is added.

    The host's own namespace is asked for by its path, `{type: network, path: /proc/1/ns/net}`.

    Returns:
        The namespaces in the order of names.NAMESPACES, and for each its index in `asked`, -1 for a
        standard one. A kind that is asked for twice appears twice, for the rules to refuse.
    """
    given = {one.type for one in asked}
    rows = [(one, -1) for one in NAMESPACES if one.type not in given]
    rows += [(one, index) for index, one in enumerate(asked)]
    rows.sort(key=lambda row: KINDS.index(row[0].type) if row[0].type in KINDS else 99)
    return tuple(one for one, _ in rows), tuple(index for _, index in rows)


def device_rules(asked: tuple[DeviceRule, ...]) -> tuple[tuple[DeviceRule, ...], int]:
    """The standard device rules followed by the user's.

    A list that begins with a rule on all devices (`{allow: false}`) says everything itself and
    stands alone, so that a spelled-out file means the same.

    Returns:
        The rules, and how many of them stand before the user's first.
    """
    if asked and asked[0].type == "a":
        return asked, 0
    return DEVICE_RULES + asked, len(DEVICE_RULES)


def env(asked: tuple[str, ...]) -> tuple[str, ...]:
    """The environment with a PATH."""
    return asked if any(one.startswith("PATH=") for one in asked) else (PATH, *asked)


def rlimits(asked: tuple[Rlimit, ...]) -> tuple[Rlimit, ...]:
    """The standard limits with the user's, one with the same type replacing it, sorted by type."""
    given = {one.type for one in asked}
    return tuple(sorted((*asked, *(one for one in RLIMITS if one.type not in given)),
                        key=lambda one: one.type))
