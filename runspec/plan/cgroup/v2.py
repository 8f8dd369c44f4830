"""Control groups version 2: resources -> file writes, file contents -> resources; cgroup-v2.rst."""

from __future__ import annotations

from runspec.plan.cgroup.knob import UNLIMITED, Edit, Knob, Write, cpu_list, limit, pages
from runspec.plan.cgroup.lists import page_bytes
from runspec.spec.model import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.plan.host import Host

WEIGHT, PERIOD = 100, 100_000       # of a new group
PARTITION = "cpuset.cpus.partition"


def _weight(r: Resources, host: Host) -> int:
    if r.cpu.weight is not None:
        return r.cpu.weight
    if r.cpu.shares is None:
        return WEIGHT
    # OCI's conversion of v1's 2..262144 to 1..10000, runtime-spec config-linux.md.
    return 1 + (min(max(r.cpu.shares, 2), 262144) - 2) * 9999 // 262142


def _want_weight(r: Resources, host: Host) -> int | None:
    # cpu.weight of an idle group shows 0 and refuses to be written.
    if r.cpu.idle or (r.cpu.weight is None and r.cpu.shares is not None):
        return None
    return _weight(r, host)


def _want_shares(r: Resources, host: Host) -> int | None:
    return None if r.cpu.idle or r.cpu.weight is not None or r.cpu.shares is None else _weight(r, host)


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
    return Knob(path, "", file, want, limit,  # type: ignore[arg-type]
                lambda r, h: word(want(r, h)), fresh)  # type: ignore[operator]


def _low(r: Resources, host: Host) -> int | None:
    if r.memory.low is not None:
        return None
    return 0 if r.memory.reservation is None else pages(r.memory.reservation)


def _asked(path: str, file: str, reset: str) -> Knob:
    """A limit that is compared only where it is asked for."""
    def want(r: Resources, h: Host) -> int | None:
        value = getattr(r.memory, path)
        return None if value is None else pages(value)

    return Knob(f"memory.{path}", "", file, want, limit, lambda r, h: word(want(r, h) or 0), limit(reset), reset=reset)


KNOBS = (
    Knob("cpu.idle", "", "cpu.idle", lambda r, h: r.cpu.idle or 0, int, lambda r, h: str(r.cpu.idle or 0), 0),
    Knob("cpu.weight", "", "cpu.weight", _want_weight, int, lambda r, h: str(_weight(r, h)), WEIGHT),
    Knob("cpu.shares", "", "cpu.weight", _want_shares, int, lambda r, h: str(_weight(r, h)), WEIGHT),
    Knob("cpu.quota", "", "cpu.max", lambda r, h: _quota(r), lambda text: limit(text.split()[0]), _max,
         UNLIMITED),
    Knob("cpu.period", "", "cpu.max", lambda r, h: r.cpu.period or PERIOD, lambda text: int(text.split()[1]),
         _max, PERIOD),
    Knob("cpu.burst", "", "cpu.max.burst", lambda r, h: r.cpu.burst or 0, int,
         lambda r, h: str(r.cpu.burst or 0), 0),
    _limit("memory.limit", "memory.max", lambda r, h: pages(r.memory.limit)),
    _limit("memory.swap", "memory.swap.max", _swap),
    _limit("memory.reservation", "memory.low", _low, 0),
    _asked("high", "memory.high", "max"),
    _asked("low", "memory.low", "0"),
    _asked("min", "memory.min", "0"),
    Knob("memory.oomGroup", "", "memory.oom.group",
         lambda r, h: None if r.memory.oom_group is None else int(r.memory.oom_group), int,
         lambda r, h: str(int(bool(r.memory.oom_group))), 0, reset="0"),
    # What the kernel says behind an "invalid" is its reason.
    Knob("cpu.partition", "", PARTITION, lambda r, h: r.cpu.partition, str.strip, lambda r, h: str(r.cpu.partition),
         "member", reset="member"),
    _limit("pids.limit", "pids.max",
           lambda r, h: -1 if not r.pids.limit or r.pids.limit < 0 else r.pids.limit),
)

def partitioned(writes: list[Write], resources: Resources, host: Host) -> list[Write]:
    """A partition and its cores as one: neither can be changed under the other."""
    kind = resources.cpu.partition or "member"
    first = next((one for one in writes if one.file == PARTITION), None)
    if first is None and kind != "member":
        first = next((one for one in writes if one.file == "cpuset.cpus"), None)
    if first is None:
        return writes
    cpus = resources.cpu.cpus or host.cpus
    return [Write(controller="", file=PARTITION, path=first.path, value=kind, cpus=cpus),
            *(one for one in writes if one.file not in (PARTITION, "cpuset.cpus"))]


# What a new group's files say, for a key that `unified` no longer has.
RESETS = {
    "cgroup.max.depth": "max", "cgroup.max.descendants": "max", "cpu.idle": "0", "cpu.max": f"max {PERIOD}",
    "cpu.max.burst": "0", "cpu.pressure": "1", "cpu.uclamp.max": "max", "cpu.uclamp.min": "0",
    "cpu.weight": str(WEIGHT), "cpu.weight.nice": "0", "cpuset.cpus.exclusive": "\n",
    "cpuset.cpus.partition": "member", "memory.high": "max",
    "memory.low": "0", "memory.max": "max", "memory.min": "0", "memory.oom.group": "0",
    "memory.swap.high": "max", "memory.swap.max": "max", "memory.zswap.max": "max",
    "memory.zswap.writeback": "1", "pids.max": "max",
}
# Files with a line for each device or resource, and the word for no limit there.
KEYED = {"io.bfq.weight": "default", "io.latency": "0", "io.max": "max", "io.weight": "default", "misc.max": "max",
         "rdma.max": "max"}
_SIZES = ("memory.high", "memory.low", "memory.max", "memory.min", "memory.swap.high", "memory.swap.max",
          "memory.zswap.max")
_UNITS = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}


def cpusets(resources: Resources, host: Host) -> tuple[Knob, ...]:
    """Cores and nodes: a group with processes cannot be without any again, so it gets all instead."""
    def knob(word: str) -> Knob:
        every = cpu_list(getattr(host, word))

        def want(r: Resources, h: Host) -> str:
            return cpu_list(getattr(r.cpu, word) or "")

        def free(text: str) -> str:
            return "" if cpu_list(text) == every else cpu_list(text)

        return Knob(f"cpu.{word}", "", f"cpuset.{word}", want, cpu_list if getattr(resources.cpu, word) else free,
                    lambda r, h: want(r, h) or every, "")

    return knob("cpus"), knob("mems")


def unified(resources: Resources, host: Host) -> tuple[Knob, ...]:
    """Files that `unified` names, written as they are and compared as the kernel shows them."""
    full = {"cpuset.cpus": host.cpus, "cpuset.mems": host.mems}
    return tuple(keyed(file, value) if file in KEYED else plain(file, value, full.get(file) or RESETS.get(file))
                 for file, value in resources.unified)


def plain(file: str, value: str, reset: str | None) -> Knob:
    """A file of one value."""
    # A quota without a period would take the one that is there, whatever that is.
    text = shown(file, value) if file == "cpu.max" else value
    return Knob(f"unified.{file}", "", file, lambda r, h: shown(file, value), lambda now: shown(file, now),
                lambda r, h: text, reset="max" if file.startswith("hugetlb.") else reset)


def keyed(file: str, value: str) -> Knob:
    """A file with a line for each device or resource: what the value names of its line counts."""
    name, *words = value.split() if " " in value.strip() else ["default", value.strip()]
    nothing = "100" if name == "default" else KEYED[file]
    named = [word.partition("=")[0] if "=" in word else "" for word in words]

    def line(has: dict[str, str]) -> str:
        return " ".join([name, *(f"{one}={has.get(one, nothing)}" if one else has.get("", nothing) for one in named)])

    def parse(text: str) -> str:
        found = next((one.split()[1:] for one in text.splitlines() if one.split()[:1] == [name]), [])
        return line({one.partition("=")[0] if "=" in one else "": one.rpartition("=")[2] for one in found})

    wanted = parse(" ".join([name, *words]))

    def edits(asked: str | None, text: str) -> list[Edit]:
        goal, back = (one.partition(" ")[2] for one in (asked or line({}), parse(text)))
        return [(name, goal, back)]

    return Knob(f"unified.{file}", "", file, lambda r, h: wanted, parse, lambda r, h: value, reset=nothing, edits=edits)


def shown(file: str, text: str) -> str:
    """A value in the form in which the kernel shows it: sizes in whole pages, lists sorted, single blanks."""
    words = text.split()
    if file.startswith("hugetlb.") and len(words) == 1:
        size, step = _size(words[0]), page_bytes(file.split(".")[1])
        return str(int(size) // step * step) if size.isdigit() else size
    if file in _SIZES and len(words) == 1:
        return _size(words[0])
    if file in ("cpuset.cpus", "cpuset.mems", "cpuset.cpus.exclusive"):
        try:
            return cpu_list(text)
        except ValueError:
            pass
    if file == "cpu.max" and len(words) == 1:
        words.append(str(PERIOD))
    return " ".join(words)


def _size(text: str) -> str:
    """Bytes with the kernel's suffixes, rounded down to pages."""
    unit = _UNITS.get(text[-1].lower())
    digits = text[:-1] if unit else text
    if not (digits.isascii() and digits.isdigit()):
        return text
    return word(limit(str(pages(int(digits) << (unit or 0)))))
