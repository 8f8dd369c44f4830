"""How fast a container computes: Linpack, by hpcc(1), on one core."""

from __future__ import annotations

import os

from runspec.bench import hpcc
from runspec.bench.contender import ALWAYS
from runspec.bench.results import HIGHER, Aim
from runspec.bench.suite import Point, Suite, Turn
from runspec.bench.work import Work, cores, package, pinned, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runspec.bench.contender import Contender

SECONDS = 300.0


class Hpcc(Suite):
    """A container of hpcc(1) for each contender, on the same core one after another."""

    programs = (("hpcc", "hpcc"),)
    file = ""
    mark = ""                   # what its results hold, once what is looked for is there
    often = 1, 4, 4             # rounds, by pace

    def points(self, text: str) -> Iterator[Point]:
        """What is in the results."""
        raise NotImplementedError

    def told(self) -> str:
        """The text of hpccinf.txt."""
        raise NotImplementedError

    def versions(self) -> dict[str, str]:
        return {"hpcc": package("hpcc"), "BLAS": hpcc.blas()}

    def measure(self) -> None:
        """The same input for all."""
        spec, _ = self.read(self.file)
        spec = pinned(spec, cores()[-1])
        turns = []
        for name in self.names():
            work = Work(os.path.join(self.scene.room, f"{self.name}-{name}"))
            work.put("hpccinf.txt", self.told())
            one = self.contender(name, [work.seen_by(spec, name != "native")])
            if one is not None:
                turns.append(Turn(contender=name, label=self.file.removesuffix(".yaml"),
                                  take=self.turn(one, work, spec.name)))
        self.rounds(turns, self.settings.pick(*self.often), warm=False, guests=self.settings.guests)

    def names(self) -> tuple[str, ...]:
        """Who takes part; in a quick run none of the peers, for each takes seconds and nothing is asked against it."""
        names = whole(self.settings.contenders)
        if self.settings.pace != "quick":
            return names
        if left := [name for name in names if name not in ALWAYS]:
            self.miss(", ".join(left), "left out of a quick run")
        return tuple(name for name in names if name in ALWAYS)

    def turn(self, one: Contender, work: Work, name: str) -> Callable[[], Iterator[Point]]:
        """One run of the program; it ends with its container as soon as what is looked for is there."""
        def take() -> Iterator[Point]:
            work.drop("hpccoutf.txt")
            try:
                one.start()
                text = work.wait("hpccoutf.txt", lambda text: text if self.mark in text else None, one, name, SECONDS)
            finally:
                one.delete()
            for point in self.points(text):
                yield point.replace(command=one.command(name))

        return take


class Cpu(Hpcc):
    """See the module."""

    name = "cpu"
    what = "Linpack (HPL of hpcc) on one core"
    file, mark = "cpu.yaml", hpcc.SOLVED
    aims = (Aim(suite="cpu", figure="Linpack", over="native", least=0.99),)

    def told(self) -> str:
        order, solves = ((1000, 5), (1500, 5), (2000, 8))[self.settings.at]
        return hpcc.told(hpcc.template(), order, solves)

    def points(self, text: str) -> Iterator[Point]:
        # The best of a run, as hpcc sums up: what disturbs one solution is no property of the container.
        yield Point(figure="Linpack", value=max(hpcc.parse_linpack(text)), unit="GFLOP/s", better=HIGHER)
