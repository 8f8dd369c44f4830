"""Where control groups are, and the small formats of their files."""

from __future__ import annotations

from runspec.kernel.procfs import Mount, parse_mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Words of a v1 mount's super options that name controllers; others ("rw", "xattr") are flags.
CONTROLLERS = frozenset(("cpuset", "cpu", "cpuacct", "blkio", "memory", "devices", "freezer", "net_cls",
                         "perf_event", "net_prio", "hugetlb", "pids", "rdma", "misc"))


def parse_list(text: str) -> tuple[int, ...]:
    """The numbers of a cpuset list, sorted: "0-1,3" -> (0, 1, 3).

    Raises:
        ValueError: it is none, or names numbers past 2**16 - 1.

    See: cpuset(7), "List format".
    """
    found: set[int] = set()
    for part in text.strip().split(","):
        if not part.strip():
            continue
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise ValueError(f"{part!r} is no range of numbers")
        low = int(first)
        high = int(last) if dash else low
        if high < low or high > 0xFFFF:
            raise ValueError(f"{part!r} is no range of numbers")
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def format_list(numbers: Iterable[int]) -> str:
    """Numbers as the kernel prints them in a cpuset list: (0, 1, 3) -> "0-1,3"."""
    out: list[str] = []
    start = last = -2
    for one in [*sorted(set(numbers)), -2]:
        if one == last + 1 and last >= 0:
            last = one
            continue
        if last >= 0:
            out.append(str(start) if start == last else f"{start}-{last}")
        start = last = one
    return ",".join(out)


def parse_membership(data: bytes) -> dict[str, str]:
    """Controller -> path below its hierarchy's root, of /proc/PID/cgroup; "" is cgroup2.

    Named hierarchies keep their word ("name=systemd"). See: cgroups(7).
    """
    out = {}
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        _, _, rest = line.partition(":")
        names, colon, path = rest.partition(":")
        if colon:
            for name in names.split(","):
                out[name] = path
    return out


def parse_hierarchies(mounts: Iterable[Mount]) -> tuple[tuple[tuple[str, str], ...], str | None]:
    """((v1 controller, mount directory) sorted, mount directory of cgroup2 or None).

    A hierarchy mounted in several places is taken where all of it shows, and there the first.
    """
    found: dict[str, Mount] = {}
    for mount in mounts:
        if mount.fstype == "cgroup2":
            names: Iterable[str] = ("",)
        elif mount.fstype == "cgroup":
            names = [word for word in mount.super_options if word in CONTROLLERS]
        else:
            continue
        for name in names:
            if name not in found or found[name].root != "/" == mount.root:
                found[name] = mount
    unified = found.pop("", None)
    return (tuple(sorted((name, mount.mount_point) for name, mount in found.items())),
            unified.mount_point if unified else None)


def host_facts(kernel: Any) -> dict[str, Any]:
    """The fields of Host, as keyword arguments.

    See: cgroup-v1/cpusets.rst, cgroup-v2.rst "cgroup.controllers", proc(5).
    """
    hierarchies, unified = parse_hierarchies(parse_mountinfo(kernel.read("/proc/self/mountinfo")))
    controllers2: tuple[str, ...] = ()
    if unified is not None:
        controllers2 = tuple(sorted(_text(kernel, f"{unified}/cgroup.controllers").split()))
    v1 = dict(hierarchies).get("cpuset")
    cpus = mems = ""
    if v1 is not None:
        cpus, mems = _text(kernel, f"{v1}/cpuset.cpus"), _text(kernel, f"{v1}/cpuset.mems")
    elif unified is not None:
        if kernel.exists(f"{unified}/cpuset.cpus"):
            # Not the root group. What partitions below took away is among its exclusive cores.
            cpus = format_list(parse_list(",".join(_text(kernel, f"{unified}/cpuset.cpus{word}.effective")
                                                   for word in ("", ".exclusive"))))
        mems = _text(kernel, f"{unified}/cpuset.mems.effective")
    return {
        "hierarchies": hierarchies, "unified": unified, "controllers2": controllers2,
        # The root group has all that run, though partitions take theirs from what it shows.
        "cpus": cpus or _text(kernel, "/sys/devices/system/cpu/online") or "0",
        "mems": mems or _text(kernel, "/sys/devices/system/node/online") or "0",
        "last_cap": int(_text(kernel, "/proc/sys/kernel/cap_last_cap") or "40"),
        "features": tuple(name for name, path in (("timens", "time"), ("userns", "user"))
                          if kernel.exists(f"/proc/self/ns/{path}")),
        "boot_id": _text(kernel, "/proc/sys/kernel/random/boot_id"),
    }


def _text(kernel: Any, path: str) -> str:
    data: bytes | None = kernel.try_read(path)
    return (data or b"").decode("utf-8", "replace").strip()
