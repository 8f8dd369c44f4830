"""What an LU solver in one container loses to a stressed neighbour in another, each with a core of its own.

Two cores of one machine share caches, memory, and on a virtual machine what its host gives them. So the same stressor
runs on the neighbour's core without any container in the same round (`other core`): what LU loses there is the
hardware's, and what it loses beyond is the containers'.

LU solves over and over in one process, a few times beside its neighbour, a few times while that is stopped, and so on.
So both figures are of the same memory and of the same few seconds. On a virtual machine one second differs from the
next by a tenth, and so does a tenth of a second: turns that are short and many even that out, longer ones do not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from runspec.bench import hpcc
from runspec.bench.contenders_plain import by_hand
from runspec.bench.results import HIGHER, Aim, Missing, Series, best
from runspec.bench.suite import SPECS, Point, Suite, Turn
from runspec.bench.work import Work, cores, package, pinned, whole
from runspec.errors import HostError
from runspec.spec.model import Memory, Pids, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from subprocess import Popen

    from runspec.bench.contender import Contender

SHARED = "other core"
HOST, GUEST = "10.96.0.1", "10.96.0.3"      # as the file has them
# At most so long a stressor lives, whatever becomes of this process.
BOUND = "120"
# What the neighbour runs: bounded in processes, bytes and seconds, for where it has no limits.
STRESSORS = {
    "cpu": ("stress-ng", "--cpu", "2"),
    "memory": ("stress-ng", "--vm", "2", "--vm-bytes", "100m", "--vm-keep"),
    "disk": ("stress-ng", "--hdd", "1", "--hdd-bytes", "256m", "--temp-path", "."),
    "fork bomb": ("stress-ng", "--fork", "8", "--fork-max", "64"),
    "network receiver": ("iperf3", "-s"),
    "network sender": ("sh", "-c", f"until iperf3 -c {HOST} -t {BOUND}; do sleep 0.1; done"),
}
# The other end, a process of the host on the neighbour's core.
OPPOSITE = {
    "network receiver": ("sh", "-c", f"until iperf3 -c {GUEST} -t {BOUND}; do sleep 0.1; done"),
    "network sender": ("iperf3", "-s"),
}
# Per cent that a container may cost LU beyond the hardware: the best published cell of each line.
ALLOWED = {"cpu": 0.0, "memory": 0.9, "disk": 0.0, "fork bomb": 0.0, "network receiver": 0.9, "network sender": 0.3}
POINTS = "points"           # per cent of LU alone
BEYOND, WORSE, SPREAD = "beyond the other core", "beyond the best peer", "spread without containers"
LIMITED, FREE = "LU, neighbour with limits", "LU, neighbour without limits"
MEMORY_BOMB = ("stress-ng", "--vm", "2", "--vm-bytes", "1g", "--vm-keep")
FORK_BOMB = ("stress-ng", "--fork", "16", "--fork-max", "64")
TAKEN, PROCESSES = "memory bomb", "fork bomb"
# MiB and processes: the limits of the file. Pages that a program's processes share count for each of them.
MOST_TAKEN, MOST_PROCESSES = 256 + 64, 64 + 2
ORDER = 500         # of LU's matrix, which is more than a core's own cache holds
# How often LU is beside its neighbour and alone again; QUICK is enough at --quick.
TURNS, QUICK = 12, 4
# How many solutions count each time; and how many before them do not: when LU begins, when its neighbour has been
# started (those in progress and those of its first moments), and when that was stopped or goes on.
COUNTED = 2
FIRST, SETTLING, TURNING = 2, 10, 1
# Solutions after which LU ends by itself, should starting its neighbour take so long that it is still alone.
SOLVES = 400
SECONDS = 120.0
# Seconds after which a process is one that stays; those of a fork bomb live a thousandth.
LASTS = 0.05
# Seconds of CPU that a stressor must have used, to be one.
LEAST = 0.05


class Isolation(Suite):
    """See the module."""

    name = "isolation"
    what = "what LU loses to a stressed neighbour: cpu, memory, disk, fork bomb, network; with and without its limits"
    # Where the spread of the runs without containers is larger, that is what is allowed, see compare.
    aims = (*(Aim(suite="isolation", figure=BEYOND, case=kind, over="", most=most) for kind, most in ALLOWED.items()),
            *(Aim(suite="isolation", figure=WORSE, case=kind, over="", most=0.0) for kind in STRESSORS),
            Aim(suite="isolation", figure=TAKEN, over="", most=MOST_TAKEN),
            Aim(suite="isolation", figure=PROCESSES, over="", most=MOST_PROCESSES))
    programs = (("hpcc", "hpcc"), ("stress-ng", "stress-ng"), ("iperf3", "iperf3"))

    def versions(self) -> dict[str, str]:
        return {"hpcc": package("hpcc"), "BLAS": hpcc.blas(), "stress-ng": package("stress-ng")}

    def measure(self) -> None:
        """With limits all in one loop, without in another, and the two bombs."""
        if len(cores()) < 2:
            self.missing.append(Missing(suite=self.name, contender="", why="two containers need two cores"))
            return
        self.models = self.scene.read(f"{SPECS}/isolation.yaml")
        quick = self.settings.pace == "quick"
        kinds = ["cpu", "memory", "fork bomb"] if quick else list(STRESSORS)
        names = [name for name in whole(self.settings.contenders) if name != "native"]
        turns = [turn for kind in kinds for name in (SHARED, *names)
                 if (turn := self.turn(name, kind, limits=True)) is not None]
        self.rounds(turns, self.settings.pick(1, 3, 3), warm=False, guests=self.settings.guests)
        self.compare(kinds)
        if not quick:
            free = [name for name in whole(self.settings.contenders)
                    if name in ("native", "runspec", "lxc") or self.settings.pace == "full"]
            turns = [turn for kind in kinds for name in free
                     if (turn := self.turn(name, kind, limits=False)) is not None]
            self.rounds(turns, 1, warm=False)
        self.rounds([turn for name in (["runspec"] if quick else names) if (turn := self.bombs(name)) is not None],
                    1, warm=False)

    # -- one pair --

    def pair(self, who: str, what: str, command: tuple[str, ...], limits: bool) -> Pair | None:
        """An LU solver and a neighbour that runs a command; None where this contender has no such containers."""
        contained = who not in (SHARED, "native")
        sign = f"{what}{'' if limits else ' free'}".replace(" ", "-")
        bridges = [one for one in self.models if not isinstance(one, Spec)]
        made = {}
        for one in self.models:
            if not isinstance(one, Spec):
                continue
            is_lu = one.name == "lu"
            name = f"{one.name}-{sign}"
            work = Work(f"{self.scene.room}/isolation-{who.replace(' ', '-')}/{name}")
            if is_lu:
                work.put("hpccinf.txt", hpcc.told(hpcc.template(), ORDER, SOLVES))
                one = pinned(one, cores()[0])
            else:
                one = one.replace(process=one.process.replace(args=command))
                one = pinned(one, cores()[-1]) if limits else unlimited(one)
            spec = work.seen_by(one.replace(name=name, hostname=name), contained)
            networks = [] if is_lu else bridges
            contender = self.contender(who, [spec], networks, what) if contained else by_hand(
                self.scene, [spec], networks)
            if contender is None:
                return None
            made[is_lu] = Half(contender, name, work)
        return Pair(made[True], made[False], what)

    # -- turns --

    def turn(self, who: str, kind: str, limits: bool) -> Turn | None:
        """LU alone and beside a stressor."""
        pair = self.pair(who, kind, stressor(kind), limits)
        if pair is None:
            return None
        figure = LIMITED if limits else FREE

        def take() -> Iterator[Point]:
            alone, shared = self.solve(pair)
            if limits and kind == "cpu":        # once is enough
                yield Point(figure="LU alone", value=alone, unit="GFLOP/s", better=HIGHER, command=pair.lu.command)
            yield Point(figure=figure, case=kind, value=100 * (1 - shared / alone), unit="%",
                        command=pair.neighbour.command)

        return Turn(contender=who, label=f"{kind}: {figure}", take=take)

    def solve(self, pair: Pair, meanwhile: Callable[[], object] = lambda: None) -> tuple[float, float]:
        """GFLOP/s of LU alone, and beside its neighbour.

        Args:
            meanwhile: called again and again while the neighbour works.

        Raises:
            HostError: a result is missing or wrong, or the stressor did not do its work.
        """
        pair.lu.work.drop("hpccoutf.txt")
        opposite = None
        try:
            pair.lu.one.start()
            alone = self.more(pair.lu, FIRST)
            begun = time.monotonic()
            pair.neighbour.one.start()
            if pair.what in OPPOSITE:
                opposite = beside(OPPOSITE[pair.what], cores()[-1])
            shared = self.more(pair.lu, SETTLING, meanwhile)
            top = pair.neighbour.one.pids().get(pair.neighbour.name, 0)
            crowd = lasting(top) if pair.what in STRESSORS else set()
            for _ in range(QUICK if self.settings.pace == "quick" else TURNS):
                if crowd:
                    with stopped(crowd):
                        alone += self.more(pair.lu, TURNING)
                shared += self.more(pair.lu, TURNING, meanwhile)
            if pair.what in STRESSORS:
                used = cpu_seconds(top)
                if used < LEAST:
                    raise HostError(f"bench: {pair.what}: the stressor worked {used:.2f} s in "
                                    f"{time.monotonic() - begun:.1f}")
        finally:
            if opposite is not None:
                end(opposite)
            pair.neighbour.one.delete()
            pair.lu.one.delete()
            pair.neighbour.work.clear()
            if pair.what == "disk":
                # What is left of what it wrote is not written during the next one's turn. Nobody else waits for a
                # disk, which the machine's other programs may keep busy for long.
                self.scene.run("sync", "-f", pair.neighbour.work.path)
        return steady(alone), steady(shared)

    def more(self, lu: Half, left: int, meanwhile: Callable[[], object] = lambda: None) -> tuple[float, ...]:
        """COUNTED solutions of LU as soon as they are there.

        Args:
            left: how many are left out first.

        Raises:
            HostError: it ended before.
        """
        begin = len(hpcc.solved(lu.work.read("hpccoutf.txt"))) + left
        end = begin + COUNTED

        def found(text: str) -> tuple[float, ...] | None:
            rates = hpcc.solved(text)
            return rates if len(rates) >= end or hpcc.SOLVED in text else None

        rates = lu.work.wait("hpccoutf.txt", found, lu.one, lu.name, SECONDS, meanwhile)
        if len(rates) < end:
            raise HostError(f"bench: LU ended after {len(rates)} solutions, when its neighbour had just been started")
        return rates[begin:end]

    def bombs(self, who: str) -> Turn | None:
        """What would take all memory, and what would take all processes, is held by the limits; LU goes on."""
        memory = self.pair(who, TAKEN, (*MEMORY_BOMB, "--quiet", "--timeout", BOUND), limits=True)
        forks = self.pair(who, PROCESSES, (*FORK_BOMB, "--quiet", "--timeout", BOUND), limits=True)
        if memory is None or forks is None:
            return None

        def take() -> Iterator[Point]:
            killed, most = oom_kills(), Most(memory)
            self.solve(memory, most.look)
            if oom_kills() == killed:
                raise HostError("bench: memory bomb: nobody was killed for want of memory")
            yield Point(figure=TAKEN, value=most.resident / (1 << 20), unit="MiB",
                        command=memory.neighbour.command)
            most = Most(forks)
            self.solve(forks, most.look)
            yield Point(figure=PROCESSES, value=most.processes, unit="processes",
                        command=forks.neighbour.command)
            stop = time.monotonic() + 10
            while left := below(most.top):
                if time.monotonic() > stop:
                    raise HostError(f"bench: {len(left)} processes are left of the fork bomb")
                time.sleep(0.05)

        return Turn(contender=who, label="memory bomb and fork bomb", take=take)

    # -- what it comes to --

    def compare(self, kinds: list[str]) -> None:
        """What runspec costs beyond the hardware and beyond the best peer, round by round, and what is allowed."""
        aims = []
        for kind in kinds:
            found = {one.contender: one for one in self.series()
                     if (one.figure, one.case) == (LIMITED, kind)}
            ours, shared = found.pop("runspec", None), found.pop(SHARED, None)
            if ours is None or shared is None:
                continue
            spread = shared.high - shared.low
            self.add(shared.replace(figure=SPREAD, unit=POINTS, values=(spread,), command=""))
            self.add(differing(ours, shared, BEYOND))
            aims.append(Aim(suite=self.name, figure=BEYOND, case=kind, over="", most=max(ALLOWED[kind], spread)))
            if peer := best(found.values()):
                self.add(differing(ours, peer, WORSE))
                aims.append(Aim(suite=self.name, figure=WORSE, case=kind, over="", most=spread))
        self.aims = (*aims, *(one for one in type(self).aims if one.figure in (TAKEN, PROCESSES)))


class Half:
    """One prepared container.

    Args:
        one: the contender that has it.
        name: the container's.
        work: its directory.
    """

    __slots__ = ("name", "one", "work")

    def __init__(self, one: Contender, name: str, work: Work) -> None:
        self.one, self.name, self.work = one, name, work

    @property
    def command(self) -> str:
        return self.one.command(self.name)


class Pair:
    """A prepared pair.

    Args:
        what: the stressor's name.
    """

    __slots__ = ("lu", "neighbour", "what")

    def __init__(self, lu: Half, neighbour: Half, what: str) -> None:
        self.lu, self.neighbour, self.what = lu, neighbour, what


def steady(rates: tuple[float, ...]) -> float:
    """The rate of all solutions together but for the slowest quarter: what else runs halves one now and then."""
    return hpcc.overall(tuple(sorted(rates)[len(rates) // 4:]))


def stressor(kind: str) -> tuple[str, ...]:
    """The command line of a stressor, which ends by itself."""
    words = STRESSORS[kind]
    return (*words, "--quiet", "--timeout", BOUND) if words[0] == "stress-ng" else ("timeout", BOUND, *words)


def unlimited(spec: Spec) -> Spec:
    """A container without limits, on all cores."""
    spec = pinned(spec, None)
    resources = spec.linux.resources.replace(memory=Memory(), pids=Pids())
    return spec.replace(linux=spec.linux.replace(resources=resources))


def differing(ours: Series, other: Series, figure: str) -> Series:
    """Per cent points that one lost more, round by round; what disturbs a round disturbs both.

    Nobody wins by a neighbour: less than no loss is noise, and nothing that another one has to reach.
    """
    return ours.replace(figure=figure, unit=POINTS, command="",
                        values=tuple(max(a, 0) - max(b, 0) for a, b in zip(ours.values, other.values, strict=False)))


def beside(command: tuple[str, ...], core: int) -> Popen[bytes]:
    """A process of the host on one core, in a session of its own."""
    import subprocess

    return subprocess.Popen(("taskset", "-c", str(core), "timeout", BOUND, *command), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def end(process: Popen[bytes]) -> None:
    """End it and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Most:
    """The most that a neighbour ever had, seen from outside.

    Args:
        pair: it is looked at once it runs.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.top, self.resident, self.processes = 0, 0, 0

    def look(self) -> None:
        self.top = self.top or self.pair.neighbour.one.pids().get(self.pair.neighbour.name, 0)
        found = below(self.top)
        self.processes = max(self.processes, len(found))
        self.resident = max(self.resident, sum(one.resident for one in found.values()))


class Task:
    """What /proc/PID/stat tells of a process.

    Args:
        parent: its parent.
        ticks: of CPU, with those of its children that were waited for.
        resident: bytes of memory.
    """

    __slots__ = ("parent", "resident", "ticks")

    def __init__(self, parent: int, ticks: int, resident: int) -> None:
        self.parent, self.ticks, self.resident = parent, ticks, resident


def below(top: int) -> dict[int, Task]:
    """A process and all below it; empty where it has ended."""
    tasks: dict[int, Task] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                tasks[int(name)] = parse_stat(file.read())
    found = {top: tasks[top]} if top in tasks else {}
    for pid in tasks:
        way = []
        above = pid
        while above in tasks and above not in found:
            way.append(above)
            above = tasks[above].parent
        if above in found:
            found.update((one, tasks[one]) for one in way)
    return found


def lasting(top: int) -> set[int]:
    """A process and those below it that do not come and go."""
    found = below(top).keys()
    time.sleep(LASTS)
    return found & below(top).keys()


@contextlib.contextmanager
def stopped(pids: Iterable[int]) -> Iterator[None]:
    """These processes do nothing for a while, and who makes others makes none."""
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def cpu_seconds(top: int) -> float:
    """CPU time of a process and all below it, those that have ended too, proc(5); 0 where it has ended."""
    return sum(one.ticks for one in below(top).values()) / os.sysconf("SC_CLK_TCK")


def parse_stat(text: str) -> Task:
    """What /proc/PID/stat says."""
    fields = text.rpartition(")")[2].split()
    return Task(int(fields[1]), sum(map(int, fields[11:15])), int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory, of the machine or of a group."""
    with open("/proc/vmstat", encoding="ascii") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
