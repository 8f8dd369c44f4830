"""Control groups version 1: resources -> file writes, file contents -> resources; cgroup-v1/*.rst."""

from __future__ import annotations

from runspec.plan.cgroup.knob import UNLIMITED, Knob, Write, cpu_list, limit, pages
from runspec.spec.model import DeviceRule, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.plan.host import Host

SHARES_PER_WEIGHT = 10      # exact, unlike OCI's conversion: weight 25 against 75 is 250 against 750
SHARES = 1024               # of a new group
PERIOD = 100_000
ALL = "a *:* rwm"


def _shares(r: Resources, host: Host) -> int:
    if r.cpu.weight is not None:
        return max(2, r.cpu.weight * SHARES_PER_WEIGHT)
    return SHARES if r.cpu.shares is None else min(max(r.cpu.shares, 2), 262144)


def _number(value: int) -> str:
    return str(value)


def _simple(path: str, controller: str, file: str, want: object, fresh: object = None) -> Knob:
    """A knob whose file holds just its number."""
    return Knob(path, controller, file, want, int, lambda r, h: str(want(r, h)), fresh)  # type: ignore[arg-type, operator]


def _bytes(path: str, file: str, want: object) -> Knob:
    return Knob(path, "memory", file, want, limit, lambda r, h: str(want(r, h)), UNLIMITED)  # type: ignore[arg-type, operator]


KNOBS = (
    Knob("cpu.cpus", "cpuset", "cpuset.cpus", lambda r, h: cpu_list(r.cpu.cpus or h.cpus), cpu_list,
         lambda r, h: r.cpu.cpus or h.cpus),
    Knob("cpu.mems", "cpuset", "cpuset.mems", lambda r, h: cpu_list(r.cpu.mems or h.mems), cpu_list,
         lambda r, h: r.cpu.mems or h.mems),
    _simple("cpu.weight", "cpu", "cpu.shares", _shares, SHARES),
    _simple("cpu.period", "cpu", "cpu.cfs_period_us", lambda r, h: r.cpu.period or PERIOD, PERIOD),
    _simple("cpu.quota", "cpu", "cpu.cfs_quota_us",
            lambda r, h: UNLIMITED if r.cpu.quota is None or r.cpu.quota <= 0 else r.cpu.quota, UNLIMITED),
    _simple("cpu.burst", "cpu", "cpu.cfs_burst_us", lambda r, h: r.cpu.burst or 0, 0),
    _simple("cpu.idle", "cpu", "cpu.idle", lambda r, h: r.cpu.idle or 0, 0),
    _bytes("memory.limit", "memory.limit_in_bytes", lambda r, h: pages(r.memory.limit)),
    _bytes("memory.swap", "memory.memsw.limit_in_bytes", lambda r, h: pages(r.memory.swap)),
    _bytes("memory.reservation", "memory.soft_limit_in_bytes", lambda r, h: pages(r.memory.reservation)),
    _simple("memory.swappiness", "memory", "memory.swappiness", lambda r, h: r.memory.swappiness),
    Knob("memory.disableOOMKiller", "memory", "memory.oom_control",
         lambda r, h: None if r.memory.disable_oom_killer is None else int(r.memory.disable_oom_killer),
         lambda text: int(text.split()[1]), lambda r, h: str(int(bool(r.memory.disable_oom_killer)))),
    Knob("pids.limit", "pids", "pids.max", lambda r, h: -1 if not r.pids.limit or r.pids.limit < 0 else r.pids.limit,
         limit, lambda r, h: "max" if not r.pids.limit or r.pids.limit < 0 else str(r.pids.limit), UNLIMITED),
)
# Files that are there only where the kernel was built or booted so.
OPTIONAL = ("memory.memsw.limit_in_bytes", "cpu.idle", "cpu.cfs_burst_us")


def ordered(writes: list[Write], files: dict[tuple[str, str], str]) -> list[Write]:
    """Writes in an order in which each one is legal: swap bounds memory, quota bounds burst.

    Args:
        files: what they say now; empty for a new group.
    """
    swap = next((one for one in writes if one.file == "memory.memsw.limit_in_bytes"), None)
    if swap is not None and files:
        now = limit(files.get(("memory", swap.file), "-1"))
        grows = now != UNLIMITED and (int(swap.value) == UNLIMITED or int(swap.value) > now)
        if grows:       # the wider bound first
            writes = [swap, *(one for one in writes if one is not swap)]
    burst = next((one for one in writes if one.file == "cpu.cfs_burst_us"), None)
    if burst is not None and int(burst.value) < int(files.get(("cpu", burst.file), "0")):
        writes = [burst, *(one for one in writes if one is not burst)]
    return writes


def device_lines(rules: tuple[DeviceRule, ...]) -> tuple[str, ...]:
    """What devices.list says after these rules, devices.rst: exceptions to a default of allow or deny."""
    allow, listed = True, {}
    for rule in rules:
        if rule.type == "a":
            allow, listed = rule.allow, {}
            continue
        key = f"{rule.type} {number(rule.major)}:{number(rule.minor)}"
        if allow:
            continue        # exceptions to "allow" are not shown
        has = listed.get(key, "")
        listed[key] = "".join(c for c in "rwm" if (c in has or c in rule.access if rule.allow
                                                   else c in has and c not in rule.access))
    if allow:
        return (ALL,)
    return tuple(sorted(f"{key} {access}" for key, access in listed.items() if access))


def number(value: int | None) -> str:
    """A device number, "*" for any."""
    return "*" if value is None or value < 0 else str(value)


def seen_devices(text: str) -> tuple[str, ...]:
    """The lines of devices.list, sorted."""
    return tuple(sorted(text.split("\n"))) if text else ()


def device_writes(rules: tuple[DeviceRule, ...], now: str | None) -> list[Write]:
    """From what devices.list says to what it should; None where the group is new and allows all."""
    wanted, have = device_lines(rules), (ALL,) if now is None else seen_devices(now)
    if wanted == have:
        return []
    deny: tuple[str, ...] = ("a",) if have == (ALL,) else tuple(one for one in have if one not in wanted)
    allow = ("a",) if wanted == (ALL,) else tuple(one for one in wanted if one not in have)
    return [Write(controller="devices", path="linux.resources.devices", deny=deny, allow=allow)]
