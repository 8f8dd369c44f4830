"""Control groups version 2: resources -> file writes, file contents -> resources; cgroup-v2.rst."""

from __future__ import annotations

from runspec.plan.cgroup.knob import UNLIMITED, Knob, cpu_list, limit, pages
from runspec.spec.model import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.plan.host import Host

WEIGHT, PERIOD = 100, 100_000       # of a new group


def _weight(r: Resources, host: Host) -> int:
    if r.cpu.idle:
        return 0            # what cpu.weight shows of an idle group
    if r.cpu.weight is not None:
        return r.cpu.weight
    if r.cpu.shares is None:
        return WEIGHT
    # OCI's conversion of v1's 2..262144 to 1..10000, runtime-spec config-linux.md.
    return 1 + (min(max(r.cpu.shares, 2), 262144) - 2) * 9999 // 262142


def _quota(r: Resources) -> int:
    return UNLIMITED if r.cpu.quota is None or r.cpu.quota <= 0 else r.cpu.quota


def _max(r: Resources, host: Host) -> str:
    return f"{word(_quota(r))} {r.cpu.period or PERIOD}"


def _swap(r: Resources, host: Host) -> int:
    """Swap alone: OCI counts memory + swap."""
    if r.memory.swap is None or r.memory.swap < 0:
        return UNLIMITED
    return pages(max(0, r.memory.swap - max(r.memory.limit or 0, 0)))


def word(value: int) -> str:
    """A limit as cgroup2 writes it."""
    return "max" if value < 0 else str(value)


def _limit(path: str, file: str, want: object, fresh: int = UNLIMITED) -> Knob:
    return Knob(path, "", file, want, limit, lambda r, h: word(want(r, h)), fresh)  # type: ignore[arg-type, operator]


def _low(r: Resources, host: Host) -> int:
    return 0 if r.memory.reservation is None else pages(r.memory.reservation)


KNOBS = (
    Knob("cpu.cpus", "", "cpuset.cpus", lambda r, h: cpu_list(r.cpu.cpus or ""), cpu_list,
         lambda r, h: r.cpu.cpus or "\n", ""),
    Knob("cpu.mems", "", "cpuset.mems", lambda r, h: cpu_list(r.cpu.mems or ""), cpu_list,
         lambda r, h: r.cpu.mems or "\n", ""),
    Knob("cpu.idle", "", "cpu.idle", lambda r, h: r.cpu.idle or 0, int, lambda r, h: str(r.cpu.idle or 0), 0),
    Knob("cpu.weight", "", "cpu.weight", _weight, int, lambda r, h: str(_weight(r, h)), WEIGHT),
    Knob("cpu.quota", "", "cpu.max", lambda r, h: _quota(r), lambda text: limit(text.split()[0]), _max, UNLIMITED),
    Knob("cpu.period", "", "cpu.max", lambda r, h: r.cpu.period or PERIOD, lambda text: int(text.split()[1]), _max,
         PERIOD),
    Knob("cpu.burst", "", "cpu.max.burst", lambda r, h: r.cpu.burst or 0, int, lambda r, h: str(r.cpu.burst or 0), 0),
    _limit("memory.limit", "memory.max", lambda r, h: pages(r.memory.limit)),
    _limit("memory.swap", "memory.swap.max", _swap),
    _limit("memory.reservation", "memory.low", _low, 0),
    _limit("pids.limit", "pids.max", lambda r, h: -1 if not r.pids.limit or r.pids.limit < 0 else r.pids.limit),
)
OPTIONAL = ("memory.swap.max", "cpu.idle", "cpu.max.burst")
NOT_HERE = {
    "memory.swappiness": "cgroup v2 has no swappiness per group",
    "memory.disableOOMKiller": "cgroup v2 cannot disable the OOM killer of a group",
}


def unified(resources: Resources) -> tuple[Knob, ...]:
    """Files that `unified` names, taken as they are."""
    return tuple(
        Knob(f"unified.{file}", "", file, lambda r, h, v=value: squeeze(v), squeeze, lambda r, h, v=value: v)
        for file, value in resources.unified)


def squeeze(text: str) -> str:
    """A control file's text with single blanks."""
    return " ".join(text.split())
