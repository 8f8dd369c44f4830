"""What a further program in a running container takes, from its command to its end."""

from __future__ import annotations

from runspec.bench.results import Aim
from runspec.bench.suite import Point, Suite, Turn, refusal
from runspec.bench.suite_start import copies, timed
from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runspec.bench.contender import Contender

PROGRAM = ("/bin/true",)


class Exec(Suite):
    """See the module."""

    name = "exec"
    what = "time of a program that ends at once, in a container that runs already"
    aims = tuple(Aim(suite="exec", figure="exec", over=name) for name in ("floor", "crun", "runc", "lxc"))

    def measure(self) -> None:
        """One container for each contender; all of them run while each is asked in turn."""
        spec, networks = self.read("start.yaml")
        specs = copies(spec, 1)
        running: list[Contender] = []
        try:
            for name in self.settings.contenders:
                one = self.contender(name, specs, networks)
                if one is not None and self.starts(one):
                    running.append(one)
            self.rounds([Turn(contender=one.name, label=PROGRAM[0], take=self.turn(one, specs[0].name))
                         for one in running], self.settings.pick(5, 15, 30))
        finally:
            for one in running:
                one.delete()

    def starts(self, one: Contender) -> bool:
        """Start a container that others are to be started beside; whether that could be done."""
        if one.execs is None:
            self.miss(one.name, "it starts no further program in a container")
            return False
        try:
            one.start()
            return True
        except HostError as error:
            one.delete()
            self.miss(one.name, refusal(error))
            return False

    def turn(self, one: Contender, name: str) -> Callable[[], Iterator[Point]]:
        """One program."""
        def take() -> Iterator[Point]:
            yield Point(figure="exec", value=timed(lambda: one.exec(name, PROGRAM)) * 1000, unit="ms",
                        command=f"{one.execs} {name} {PROGRAM[0]}" if one.execs else PROGRAM[0])

        return take
