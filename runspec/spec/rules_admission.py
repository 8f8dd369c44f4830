"""Admission: what all containers and networks of a machine ask together, held against what it has."""

from __future__ import annotations

from itertools import pairwise
from math import lcm

from runspec.spec import rules_lines, rules_ports_together, units
from runspec.spec.frozen import Frozen
from runspec.spec.model import Network, Spec
from runspec.spec.rules_conflicts import Finding, Party, conflicts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Model = Spec | Network


class Capacity(Frozen):
    """What the machine has to give.

    Args:
        cores: numbers of the cores that containers may have.
        memory: bytes of RAM; 0 where nobody knows.
        realtime: share of a core's time for real-time tasks in control groups, (µs, per µs); None where
            groups have no such budget.
    """

    cores: tuple[int, ...] = (0,)
    memory: int = 0
    realtime: tuple[int, int] | None = None


def check(models: Sequence[Model], capacity: Capacity) -> list[Finding]:
    """Holds the sums of all these documents against the machine; each alone was judged before.

    CPU: containers with a quota and `cpus` of their own must all be able to use up their quotas at once.
    That is more than a sum for each core: what is exactly checked is whether time can be dealt out, by the
    largest flow from containers to their cores. Memory: `min` is a promise, so the sum is refused beyond
    RAM; `limit` is none, so that only warns.
    """
    specs = [one for one in models if isinstance(one, Spec)]
    networks = [one for one in models if isinstance(one, Network)]
    return [*quotas(specs, capacity), *_memory(specs, capacity), *_partitions(specs, capacity),
            *_realtime(specs, capacity), *_single(specs), *_groups(specs), *conflicts(specs, networks),
            *(rules_ports_together.together(specs, networks) if any(one.ports for one in specs) else ()),
            *(rules_lines.lines(specs, networks) if networks else ())]


# -- CPU ------------------------------------------------------------------------------------------------

def quotas(specs: Sequence[Spec], capacity: Capacity) -> list[Finding]:
    """Quotas that cannot all be used up."""
    asked, core = shares([(one, cpu.quota, cpu.period or units.PERIOD) for one in specs
                          if (cpu := one.linux.resources.cpu).quota is not None and cpu.quota > 0])
    pinned: dict[frozenset[int], int] = {}
    for one, demand in asked:
        if one.linux.resources.cpu.cpus:
            mine = cores_of(one, capacity)
            pinned[mine] = pinned.get(mine, 0) + demand
    out = []
    for cores in overfull(pinned, core):
        those = [(one, d) for one, d in asked if one.linux.resources.cpu.cpus and cores_of(one, capacity) <= cores]
        out.append(Finding(
            parties=tuple(_cpu_party(one, percent(d, core)) for one, d in those),
            what=f"{percent(sum(d for _, d in those), core)} of {named(cores)} are asked for",
            why=f"{'it has' if len(cores) == 1 else 'they have'} {100 * len(cores)}%, so that not all can have it",
            fix="lower a quota, or give one of them other cpus"))
    total = sum(d for _, d in asked)
    if not out and total > len(capacity.cores) * core:
        out.append(Finding(
            parties=tuple(_cpu_party(one, percent(d, core)) for one, d in asked), refused=False,
            what=f"the quotas come to {percent(total, core)}", fix="lower some, if all are to be had at once",
            why=f"this machine has {100 * len(capacity.cores)}%"))
    return out


def _cpu_party(spec: Spec, asks: str) -> Party:
    return Party(kind="container", name=spec.name, path="linux.resources.cpu.quota", asks=asks)


def shares(asked: Sequence[tuple[Spec, int, int]]) -> tuple[list[tuple[Spec, int]], int]:
    """What each asks (time, of each period) in parts of a core so small that all are whole, and a core in them."""
    core = lcm(*(period for _, _, period in asked))
    return [(one, time * (core // period)) for one, time, period in asked], core


def cores_of(spec: Spec, capacity: Capacity) -> frozenset[int]:
    """The cores a container may run on."""
    text = spec.linux.resources.cpu.cpus
    return frozenset(units.numbers(text)) if text else frozenset(capacity.cores)


def overfull(demands: dict[frozenset[int], int], whole: int) -> list[frozenset[int]]:
    """Sets of cores of which more is asked than they have, apart from each other and as small as may be.

    By the largest flow from demands to the cores they may use, each core giving all (Hall's condition for
    shares): what the last search still reaches from demands left over are the cores that do not suffice.

    Args:
        demands: set of cores -> how much time on any of them.
        whole: what one core has, in the same parts.
    """
    left = dict(demands)
    room = dict.fromkeys((core for cores in demands for core in cores), whole)
    used: dict[tuple[frozenset[int], int], int] = {}
    bad: list[set[int]] = []
    for start in sorted(demands, key=lambda cores: (len(cores), sorted(cores))):
        while left[start]:
            way = _way(start, room, used)
            if isinstance(way, set):
                # Fully used, and by nobody who could go elsewhere.
                meets = [one for one in bad if one & way]
                bad = [one for one in bad if not one & way] + [way.union(*meets)]
                break
            # (demand, core) pairs: taken by the first, given back by the next, and so on to a core with room.
            amount = min(left[start], room[way[-1][1]],
                         *(used[cores, core] for (_, core), (cores, _) in pairwise(way)))
            for (cores, core), (other, _) in pairwise(way):
                used[cores, core] = used.get((cores, core), 0) + amount
                used[other, core] -= amount
            used[way[-1]] = used.get(way[-1], 0) + amount
            room[way[-1][1]] -= amount
            left[start] -= amount
    return sorted(map(frozenset, bad), key=sorted)


def _way(start: frozenset[int], room: dict[int, int], used: dict[tuple[frozenset[int], int], int],
         ) -> list[tuple[frozenset[int], int]] | set[int]:
    """The shortest way to a core with room, over cores that others would leave; else all cores it reaches."""
    came: dict[frozenset[int], tuple[frozenset[int], int] | None] = {start: None}
    reached: set[int] = set()
    queue = [start]
    for cores in queue:
        for core in sorted(cores - reached):
            reached.add(core)
            if room[core]:
                way = [(cores, core)]
                while (step := came[way[0][0]]) is not None:
                    way.insert(0, step)
                return way
            for (other, where), amount in used.items():
                if where == core and amount and other not in came:
                    came[other] = (cores, core)
                    queue.append(other)
    return reached


def percent(value: int, core: int) -> str:
    """A share of cores as people write it."""
    whole, rest = divmod(value * 100, core)
    return f"{round(value * 100 / core, 2) if rest else whole}%"


def named(cores: Iterable[int]) -> str:
    """`core 0`, `cores 0-1,3`."""
    found = list(cores)
    return f"core{'s' if len(found) > 1 else ''} {units.ranges(found)}"


def _partitions(specs: Sequence[Spec], capacity: Capacity) -> list[Finding]:
    """Cores that one container has to itself, cgroup-v2.rst "cpuset.cpus.partition"."""
    out = []
    taken: set[int] = set()
    apart = [one for one in specs if one.linux.resources.cpu.partition in ("root", "isolated")]
    for one in apart:
        mine = cores_of(one, capacity)
        taken |= mine
        for other in specs:
            cpus = other.linux.resources.cpu.cpus
            # One without `cpus` keeps off by itself; of two partitions the pair is told once.
            if other is one or not cpus or (other in apart and specs.index(other) < specs.index(one)):
                continue
            both = mine & units.numbers(cpus)
            if both:
                out.append(Finding(
                    parties=tuple(Party(kind="container", name=each.name, path="linux.resources.cpu.cpus")
                                  for each in sorted((one, other), key=specs.index)),
                    what=f"{named(both)} {'is' if len(both) == 1 else 'are'} {one.name}'s alone",
                    why=f"its partition is {one.linux.resources.cpu.partition}, which takes its cores from everybody "
                        'else, cgroup-v2.rst "cpuset.cpus.partition"',
                    fix="give the other one other cpus"))
    if apart and taken >= set(capacity.cores):
        out.append(Finding(
            parties=tuple(Party(kind="container", name=one.name, path="linux.resources.cpu.partition")
                          for one in apart),
            what="no core is left for the rest of the machine", fix="leave at least one core out",
            why=f"it has {named(capacity.cores)}, and a partition takes its cores from everybody else"))
    return out


def _realtime(specs: Sequence[Spec], capacity: Capacity) -> list[Finding]:
    if capacity.realtime is None or capacity.realtime[1] <= 0 or capacity.realtime[0] < 0:
        return []
    asked, core = shares([(one, cpu.realtime_runtime, cpu.realtime_period or 1_000_000) for one in specs
                          if (cpu := one.linux.resources.cpu).realtime_runtime])
    total = sum(time for _, time in asked)
    runtime, period = capacity.realtime
    if total * period <= runtime * core:
        return []
    return [Finding(
        parties=tuple(Party(kind="container", name=one.name, path="linux.resources.cpu.realtimeRuntime",
                            asks=percent(time, core)) for one, time in asked),
        what=f"{percent(total, core)} of real-time are asked for", fix="lower a realtimeRuntime",
        why=f"all groups together have {percent(runtime, period)}, /proc/sys/kernel/sched_rt_runtime_us, "
            "sched-rt-group.rst")]


# -- memory ---------------------------------------------------------------------------------------------

def _memory(specs: Sequence[Spec], capacity: Capacity) -> list[Finding]:
    out = []
    for word, refused in (("min", True), ("limit", False)):
        asked = [(one, value) for one in specs if (value := getattr(one.linux.resources.memory, word) or 0) > 0]
        total = sum(value for _, value in asked)
        if not capacity.memory or total <= capacity.memory:
            continue
        out.append(Finding(
            parties=tuple(Party(kind="container", name=one.name, path=f"linux.resources.memory.{word}",
                                asks=size(value)) for one, value in asked),
            what=f"memory.{word} comes to {size(total)}", refused=refused,
            why=f"this machine has {size(capacity.memory)}"
                + (", and what is never reclaimed must be there, cgroup-v2.rst \"memory.min\"" if refused else ""),
            fix="lower one" if refused else "lower some, if all are to be had at once"))
    return out


def size(value: int) -> str:
    """Bytes as people write them, rounded to a tenth."""
    for unit, shift in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if value >= 1 << shift:
            number = round(value / (1 << shift), 1)
            return f"{int(number) if number == int(number) else number}{unit}"
    return str(value)


# -- what only one can have -----------------------------------------------------------------------------

def _single(specs: Sequence[Spec]) -> list[Finding]:
    """A NIC of the host, a lasting writable layer."""
    nics: dict[str, list[Party]] = {}
    layers: dict[str, list[Party]] = {}
    for one in specs:
        for device in one.linux.net_devices:
            nics.setdefault(device.host, []).append(
                Party(kind="container", name=one.name, path=f"linux.netDevices.{device.host}"))
        if one.root.overlay is not None and one.root.overlay.upper:
            layers.setdefault(one.root.overlay.upper, []).append(
                Party(kind="container", name=one.name, path="root.overlay.upper"))
    out = [Finding(parties=tuple(those), what=f"{name} can be in one container only",
                   why="an interface moves into it, config-linux.md \"Network Devices\"",
                   fix="remove it from the other")
           for name, those in nics.items() if len(those) > 1]
    return out + [Finding(parties=tuple(those), what=f"{name} can be one container's writable layer only",
                          why="what two overlays do to one upper directory is undefined, overlayfs.rst",
                          fix="name another directory")
                  for name, those in layers.items() if len(those) > 1]


def _groups(specs: Sequence[Spec]) -> list[Finding]:
    """One container's group in another's: the inner one would die with the outer."""
    paths = sorted(((one.linux.cgroups_path or f"/runspec/{one.name}").strip("/").split("/"), number)
                   for number, one in enumerate(specs))
    out = []
    for index, (parts, number) in enumerate(paths):
        for below, further in paths[index + 1:]:
            if below[:len(parts)] != parts:
                break
            one, other, path, inner = specs[number], specs[further], "/" + "/".join(parts), "/" + "/".join(below)
            out.append(Finding(
                parties=tuple(Party(kind="container", name=each.name, path="linux.cgroupsPath")
                              for each in sorted((one, other), key=specs.index)),
                what=f"both use the group {path}" if inner == path else f"the group {inner} lies in {path}",
                why="a container is stopped and limited by its group and all below it, cgroups(7)",
                fix="name another path"))
    return out
