"""Control groups version 1: resources -> file writes, file contents -> resources; cgroup-v1/*.rst."""

from __future__ import annotations

from runspec.plan.cgroup.knob import UNLIMITED, Knob, Write, cpu_list, limit, pages
from runspec.spec.model import DeviceRule, Resources
from runspec.spec.units import SHARES_PER_WEIGHT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.plan.host import Host

SHARES = 1024               # of a new group
PERIOD = 100_000
SWAPPINESS = 60
RT_PERIOD = 1_000_000
BUDGET = ("cpu.rt_runtime_us", "cpu.rt_period_us")
ALL = "a *:* rwm"


def _shares(r: Resources, host: Host) -> int:
    """What cpu.shares holds; the kernel keeps it between 2 and 262144."""
    if r.cpu.weight is not None:
        return r.cpu.weight * SHARES_PER_WEIGHT
    return SHARES if r.cpu.shares is None else min(max(r.cpu.shares, 2), 262144)


def _as_weight(text: str) -> int | str:
    """cpu.shares in the file's unit, where it has a word for it."""
    weight, rest = divmod(int(text), SHARES_PER_WEIGHT)
    return f"{text.strip()} shares" if rest else weight


def _want_weight(r: Resources, host: Host) -> int | str | None:
    # An idle group has shares of the kernel's choice, which refuse to be written.
    if r.cpu.idle or (r.cpu.weight is None and r.cpu.shares is not None):
        return None
    return _as_weight(str(_shares(r, host)))


def _want_shares(r: Resources, host: Host) -> int | None:
    return None if r.cpu.idle or r.cpu.weight is not None or r.cpu.shares is None else _shares(r, host)


def _simple(path: str, controller: str, file: str, want: object, fresh: object = None) -> Knob:
    """A knob whose file holds just its number."""
    return Knob(path, controller, file, want, int,  # type: ignore[arg-type]
                lambda r, h: str(want(r, h)), fresh)  # type: ignore[operator]


def _bytes(path: str, file: str, want: object) -> Knob:
    return Knob(path, "memory", file, want, limit,  # type: ignore[arg-type]
                lambda r, h: str(want(r, h)), UNLIMITED)  # type: ignore[operator]


KNOBS = (
    Knob("cpu.cpus", "cpuset", "cpuset.cpus", lambda r, h: cpu_list(r.cpu.cpus or h.cpus), cpu_list,
         lambda r, h: r.cpu.cpus or h.cpus),
    Knob("cpu.mems", "cpuset", "cpuset.mems", lambda r, h: cpu_list(r.cpu.mems or h.mems), cpu_list,
         lambda r, h: r.cpu.mems or h.mems),
    # Before the weight, which an idle group refuses.
    _simple("cpu.idle", "cpu", "cpu.idle", lambda r, h: r.cpu.idle or 0, 0),
    Knob("cpu.weight", "cpu", "cpu.shares", _want_weight, _as_weight, lambda r, h: str(_shares(r, h)),
         _as_weight(str(SHARES))),
    Knob("cpu.shares", "cpu", "cpu.shares", _want_shares, int, lambda r, h: str(_shares(r, h)), SHARES),
    _simple("cpu.period", "cpu", "cpu.cfs_period_us", lambda r, h: r.cpu.period or PERIOD, PERIOD),
    _simple("cpu.quota", "cpu", "cpu.cfs_quota_us",
            lambda r, h: UNLIMITED if r.cpu.quota is None or r.cpu.quota <= 0 else r.cpu.quota, UNLIMITED),
    _simple("cpu.burst", "cpu", "cpu.cfs_burst_us", lambda r, h: r.cpu.burst or 0, 0),
    _bytes("memory.limit", "memory.limit_in_bytes", lambda r, h: pages(r.memory.limit)),
    _bytes("memory.swap", "memory.memsw.limit_in_bytes", lambda r, h: pages(r.memory.swap)),
    _bytes("memory.reservation", "memory.soft_limit_in_bytes", lambda r, h: pages(r.memory.reservation)),
    # A new group has its parent's swappiness, so only one that is asked for is compared.
    Knob("memory.swappiness", "memory", "memory.swappiness", lambda r, h: r.memory.swappiness, int,
         lambda r, h: str(r.memory.swappiness), reset=str(SWAPPINESS)),
    Knob("memory.disableOOMKiller", "memory", "memory.oom_control",
         lambda r, h: int(bool(r.memory.disable_oom_killer)),
         lambda text: int(text.split()[1]), lambda r, h: str(int(bool(r.memory.disable_oom_killer))), 0),
    # A kernel without real-time groups has no such files, and no kernel of cgroup v2 has.
    Knob("cpu.realtimeRuntime", "cpu", BUDGET[0], lambda r, h: r.cpu.realtime_runtime, int,
         lambda r, h: str(r.cpu.realtime_runtime), 0, reset="0"),
    Knob("cpu.realtimePeriod", "cpu", BUDGET[1], lambda r, h: r.cpu.realtime_period, int,
         lambda r, h: str(r.cpu.realtime_period), RT_PERIOD, reset=str(RT_PERIOD)),
    Knob("memory.kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes",
         lambda r, h: None if r.memory.kernel_tcp is None else pages(r.memory.kernel_tcp), limit,
         lambda r, h: str(pages(r.memory.kernel_tcp)), UNLIMITED, reset=str(UNLIMITED)),
    Knob("pids.limit", "pids", "pids.max",
         lambda r, h: -1 if not r.pids.limit or r.pids.limit < 0 else r.pids.limit, limit,
         lambda r, h: "max" if not r.pids.limit or r.pids.limit < 0 else str(r.pids.limit), UNLIMITED),
)


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
    period, quota = (next((i for i, one in enumerate(writes) if one.file == f"cpu.cfs_{word}_us"), None)
                     for word in ("period", "quota"))
    if period is not None and quota is not None and files:
        # A child may not have more of a core than its parent, not even between two writes.
        had, length = int(files.get(("cpu", "cpu.cfs_quota_us"), "-1")), int(writes[period].value)
        if had == UNLIMITED or had / length > _ratio(int(writes[quota].value), files):
            writes[period], writes[quota] = writes[quota], writes[period]
    return burst_first(writes, files)


def budgeted(writes: list[Write], resources: Resources) -> list[Write]:
    """Real-time runtime and period as one: they are legal only together, and within those of the groups above."""
    first = next((one for one in writes if one.file in BUDGET), None)
    if first is None:
        return writes
    cpu = resources.cpu
    budget = (cpu.realtime_runtime or 0, cpu.realtime_period or RT_PERIOD)
    return [*(one for one in writes if one.file not in BUDGET),
            Write(controller="cpu", path=first.path, budget=budget)]


def burst_first(writes: list[Write], files: dict[tuple[str, str], str]) -> list[Write]:
    """A burst that shrinks goes before the quota, which may not be less; on both versions."""
    for i, one in enumerate(writes):
        if one.file in ("cpu.cfs_burst_us", "cpu.max.burst") and (
                int(one.value) < int(files.get((one.controller, one.file), "0"))):
            return [one, *writes[:i], *writes[i + 1:]]
    return writes


def _ratio(quota: int, files: dict[tuple[str, str], str]) -> float:
    """Cores that a quota allows with the period of now."""
    period = int(files.get(("cpu", "cpu.cfs_period_us"), str(PERIOD)))
    return float("inf") if quota == UNLIMITED else quota / period


def device_state(rules: tuple[DeviceRule, ...]) -> tuple[bool, dict[str, str], list[int]]:
    """What rules come to where the last one that names a device and a bit counts.

    The kernel knows one default and exceptions from it; it takes an exception back only by its very
    numbers, so a rule that takes back several is spelled out, and one that would cut a piece out of a
    wider exception cannot be had.

    Returns:
        Whether the default is to allow, "c 1:3" -> "rwm" of the exceptions, and the indices of rules
        that cannot be had.

    See: cgroup-v1/devices.rst.
    """
    allow = True
    exceptions: dict[tuple[str, str, str], str] = {}
    lost: list[int] = []
    for index, rule in enumerate(rules):
        major, minor = number(rule.major), number(rule.minor)
        if rule.type == "a" and major == minor == "*" and letters(rule.access) == "rwm":
            # What came before has no say any more.
            allow, exceptions, lost = rule.allow, {}, []
            continue
        for kind in "bc" if rule.type == "a" else rule.type:
            key = (kind, major, minor)
            if rule.allow != allow:
                exceptions[key] = letters(exceptions.get(key, "") + rule.access)
                continue
            for other, access in exceptions.items():
                if covers(key, other):
                    exceptions[other] = "".join(c for c in access if c not in rule.access)
                elif meet(key, other) and set(access) & set(rule.access):
                    lost.append(index)
    # One open for reading and writing is judged by one exception alone.
    for wide in [key for key in exceptions if "*" in key]:
        for key, access in exceptions.items():
            if access and covers(wide, key):
                exceptions[key] = letters(access + exceptions[wide])
    return allow, {f"{kind} {major}:{minor}": access for (kind, major, minor), access in exceptions.items()
                   if access}, sorted(set(lost))


def letters(access: str) -> str:
    """Access in the kernel's order, each letter once."""
    return access if access == "rwm" else "".join(c for c in "rwm" if c in access)


def covers(key: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
    """Whether every device of the second is one of the first."""
    return key[0] == other[0] and key[1] in ("*", other[1]) and key[2] in ("*", other[2])


def meet(key: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
    """Whether some device is of both."""
    return all(a == b or "*" in (a, b) for a, b in zip(key, other, strict=True))


def device_lines(rules: tuple[DeviceRule, ...]) -> tuple[str, ...]:
    """What devices.list says after these rules; as "deny ..." what it hides, exceptions from allowing all."""
    # Most containers have the rules of the one before them.
    if _LAST_LINES and (rules is _LAST_LINES[0][0] or rules == _LAST_LINES[0][0]):
        return _LAST_LINES[0][1]
    allow, exceptions, _ = device_state(rules)
    lines = tuple(sorted(f"{key} {access}" for key, access in exceptions.items()))
    if allow:
        lines = (ALL, *(f"deny {line}" for line in lines))
    _LAST_LINES[:] = [(rules, lines)]
    return lines


_LAST_LINES: list[tuple[tuple[DeviceRule, ...], tuple[str, ...]]] = []


def number(value: int | None) -> str:
    """A device number, "*" for any."""
    return "*" if value is None or value < 0 else str(value)


def seen_devices(text: str, last: tuple[DeviceRule, ...] | None) -> tuple[str, ...]:
    """The lines of devices.list, sorted, with what was denied last where the kernel hides it."""
    shown = tuple(sorted(filter(None, text.split("\n"))))
    before = device_lines(last) if last is not None else ()
    return before if shown == (ALL,) == before[:1] else shown


def device_writes(rules: tuple[DeviceRule, ...], last: tuple[DeviceRule, ...] | None,
                  now: str | None) -> list[Write]:
    """From what devices.list says to what it should; now is None where the group is new and allows all."""
    path, wanted = "linux.resources.devices", device_lines(rules)
    have = (ALL,) if now is None else seen_devices(now, last)
    if wanted == have:
        return []
    if wanted[:1] == (ALL,):
        # Allowing all forgets every exception, so it comes first.
        out = [] if have == (ALL,) and now is None else [Write(controller="devices", path=path, allow=("a",))]
        denied = tuple(line.removeprefix("deny ") for line in wanted[1:])
        return [*out, Write(controller="devices", path=path, deny=denied)] if denied else out
    deny: tuple[str, ...] = ("a",)
    before: dict[str, str] = {}
    if have[:1] != (ALL,):
        before = {key: access for key, _, access in (line.rpartition(" ") for line in have)}
        deny = _surplus(before, wanted)
    want = {key: access for key, _, access in (line.rpartition(" ") for line in wanted)}
    return [Write(controller="devices", path=path, deny=deny,
                  allow=_surplus(want, tuple(f"{key} {access}" for key, access in before.items())))]


def _surplus(have: dict[str, str], lines: tuple[str, ...]) -> tuple[str, ...]:
    """What is in the first and not in the second, bit by bit."""
    other = {key: access for key, _, access in (line.rpartition(" ") for line in lines)}
    rest = {key: "".join(c for c in access if c not in other.get(key, "")) for key, access in have.items()}
    return tuple(f"{key} {access}" for key, access in rest.items() if access)
