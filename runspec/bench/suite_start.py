"""What it takes to start containers, to look at them again, and to remove them: one, and many at once."""

from __future__ import annotations

import os
import signal
import time

from runspec.bench.results import Aim, Series
from runspec.bench.suite import Point, Suite, Turn
from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runspec.bench.contender import Contender
    from runspec.spec.model import Network, Spec

ALONG = "containers"
NETWORK = "network"
FILTER = "filter"       # the default filter of system calls, where a contender takes one
MANY = 100              # from here on nobody is warmed up again
# Up to so many containers: rounds of a quick, a default and a full run.
ROUNDS = ((1, (2, 9, 15)), (MANY - 1, (2, 5, 9)), (MANY, (1, 3, 5)), (1 << 30, (1, 3, 2)))
PATIENCE = 45.0         # seconds for one contender's turns of one kind: some take minutes for a hundred
OWN = ("native", "runspec", "floor")
FEW, LOTS = 10, 500     # between these the cost of one container should hardly grow
# Of /proc/meminfo, what namespaces, control groups, mounts and tasks are kept in.
KERNEL = ("Slab:", "KernelStack:", "PageTables:", "Percpu:")


class Start(Suite):
    """See the module."""

    name = "start"
    what = "time to a running and to a finished container, many at once, with a link; delete; memory beside each"
    aims = (
        Aim(suite="start", figure="start", at=MANY, over="floor", most=2.5),
        Aim(suite="start", figure="start", at=MANY, over="crun", most=0.3),
        Aim(suite="start", figure="start", at=MANY, over="runc", most=0.15),
        Aim(suite="start", figure="start", at=MANY, over="lxc", most=0.4),
        Aim(suite="start", figure="start", at=1, over="runc", most=2.0),
        Aim(suite="start", figure="start", case=NETWORK, at=MANY, over="runc"),
        Aim(suite="start", figure="start", case=NETWORK, at=MANY, over="lxc"),
        Aim(suite="start", figure="memory beside a container", over="lxc", most=0.5),
        Aim(suite="start", figure="growth", over="", most=1.3),
    )

    def measure(self) -> None:
        """All counts, some of them with a link as well; then one to its end."""
        plain = self.read("start.yaml")
        linked = self.read("start-network.yaml")
        asked, pace = self.settings.counts, self.settings.pace
        counts = asked or ((1, FEW) if pace == "quick" else (1, FEW, MANY, LOTS))
        # What few hold is lost in what the kernel does for others meanwhile.
        many = min((count for count in counts if count >= MANY), default=0)
        for count in counts:
            # Who takes minutes for so many is asked by `--count`.
            names = [name for name in self.settings.contenders
                     if count <= MANY or asked or name in OWN[1:] or (pace == "full" and self.able(name, count))]
            self.starts(names, count, "", *plain, memory=count == many)
            if count in (FEW, MANY) or asked:
                self.starts(names, count, NETWORK, *linked)
        if pace == "full":
            spec, networks = plain
            self.starts(self.settings.contenders, many or max(counts), FILTER, spec.replace(
                linux=spec.linux.replace(seccomp="default")), networks)
        self.finishes(plain[0])
        self.growth()

    def able(self, name: str, count: int) -> bool:
        """Whether one can start so many in less than minutes, by what it took for MANY; noted where it cannot."""
        known = self.started().get((name, MANY))
        seconds = known.median / 1000 * count / MANY if known is not None else 0.0
        if seconds > PATIENCE:
            self.miss(name, f"{count} at once would take {seconds:.0f} s: --count {count} asks for it")
        return seconds <= PATIENCE

    def finishes(self, spec: Spec) -> None:
        """One container from its command to the end of a program that ends at once."""
        spec = spec.replace(process=spec.process.replace(args=("/bin/true",)))
        made = [one for name in self.settings.contenders if (one := self.contender(name, [spec])) is not None]

        def life(one: Contender) -> Callable[[], Iterator[Point]]:
            def take() -> Iterator[Point]:
                seconds = timed(lambda: one.run(spec.name))
                yield Point(figure="finish", value=seconds * 1000, unit="ms", command=one.command(spec.name))

            return take

        self.rounds([Turn(contender=one.name, label="to its end", take=life(one)) for one in made],
                    self.settings.pick(3, 9, 15))

    def starts(self, names: Sequence[str], count: int, case: str, spec: Spec, networks: Sequence[Network],
               memory: bool = False) -> None:
        """Start so many of a container, look again where that is a verb, and remove them.

        Args:
            memory: whether what is held beside them is measured as well.
        """
        specs = copies(spec, count)
        made = [one for name in names if (one := self.contender(name, specs, networks, case)) is not None]
        turns = [Turn(contender=one.name, label=f"{count} at once{f', {case}' if case else ''}",
                      take=self.life(one, specs[0].name, count, case, memory)) for one in made]
        often = self.settings.pick(*next(rounds for most, rounds in ROUNDS if count <= most))
        self.rounds(turns, often, warm=count < MANY, patience=PATIENCE)

    def life(self, one: Contender, first: str, count: int, case: str, memory: bool) -> Callable[[], Iterator[Point]]:
        """One round of one contender."""
        def take() -> Iterator[Point]:
            def point(figure: str, seconds: float, command: str = "") -> Point:
                return Point(figure=figure, case=case, value=seconds * 1000, unit="ms", at=count, along=ALONG,
                             command=command)

            kernel, others = kernel_memory(), processes()
            try:
                yield point("start", timed(one.start), one.command(first))
                pids = one.pids()
                if len(pids) != count:
                    raise HostError(f"bench: {len(pids)} of {count} containers run")
                if memory:
                    beside = sum(pss(pid) for pid in processes() - others - set(pids.values()) if same_pids(pid))
                    yield Point(figure="memory of its monitor", value=beside / count / 1024, unit="KiB")
                    yield Point(figure="memory beside a container",
                                value=(kernel_memory() - kernel + beside) / count / 1024, unit="KiB")
                for figure, verb in one.again().items():
                    yield point(figure, timed(verb))
            finally:
                told = count < MANY or one.name in OWN
                if not told:        # some peers take a tenth of a second for each process that still lives
                    for pid in one.pids().values():
                        os.kill(pid, signal.SIGKILL)
                seconds = timed(one.delete)
            if told:
                yield point("delete", seconds)

        return take

    def started(self) -> dict[tuple[str, float | None], Series]:
        """(contender, how many at once) -> the time that took, of those without a link and a filter."""
        return {(one.contender, one.at): one for one in self.series() if one.figure == "start" and not one.case}

    def growth(self) -> None:
        """What one of many costs over what one of few costs, from the figures taken."""
        starts = self.started()
        for (name, at), many in starts.items():
            few = starts.get((name, FEW))
            if at == LOTS and few is not None:
                self.add(Series(suite=self.name, figure="growth", contender=name, unit="",
                                values=tuple((value / LOTS) / (few.median / FEW) for value in many.values)))


def copies(spec: Spec, count: int) -> tuple[Spec, ...]:
    """The same container so many times, each with a name and addresses of its own."""
    out = []
    for number in range(count):
        links = tuple(one.replace(addresses=tuple(moved(text, number) for text in one.addresses))
                      for one in spec.interfaces)
        out.append(spec.replace(name=f"{spec.name}{number}", hostname=f"{spec.name}{number}", interfaces=links,
                                linux=spec.linux.replace(cgroups_path=None)))
    return tuple(out)


def moved(address: str, number: int) -> str:
    """An address in CIDR form so many places further."""
    from ipaddress import ip_interface

    one = ip_interface(address)
    return f"{one.ip + number}/{one.network.prefixlen}"


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def processes() -> set[int]:
    """All processes of this pid namespace, which is the run's own."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def same_pids(pid: int) -> bool:
    """Whether a process is in our pid namespace and not in a container's below it."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


def pss(pid: int) -> int:
    """Bytes of memory that are this process's part, proc(5), smaps_rollup; 0 where it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as file:
            return parse_pss(file.read())
    except OSError:
        return 0


def parse_pss(text: str) -> int:
    """Bytes of the line `Pss:`."""
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))


def kernel_memory() -> int:
    """Bytes that the kernel holds for itself, as far as containers make it grow."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return parse_kernel(file.read())


def parse_kernel(text: str) -> int:
    """Bytes of the lines of KERNEL."""
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(KERNEL))
