"""What a suite is: what it measures and aims at, and the loop of interleaved rounds that all suites share."""

from __future__ import annotations

from time import monotonic

from runspec.bench.contender import CONTENDERS, USUAL, load
from runspec.bench.results import LOWER, Aim, Missing, Series
from runspec.errors import RunspecError
from runspec.spec.frozen import Frozen
from runspec.spec.model import Network, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from runspec.bench.contender import Contender
    from runspec.bench.scene import Scene

    T = TypeVar("T")

# Name -> module and class, in the order in which a run takes them.
SUITES = {
    "cpu": ("suite_cpu", "Cpu"),
    "memory": ("suite_memory", "Memory"),
    "network": ("suite_network", "Network"),
    "isolation": ("suite_isolation", "Isolation"),
    "start": ("suite_start", "Start"),
    "exec": ("suite_exec", "Exec"),
}
GUESTS = set(CONTENDERS) - set(USUAL)
PACES = ("quick", "default", "full")
SPECS = "specs"


class Settings(Frozen):
    """What the words of one run ask.

    Args:
        suites: which, in order.
        contenders: by name, native and runspec first.
        pace: quick, default or full.
        rounds: how often each figure is taken; 0: as the pace has it.
        counts: how many containers at once; empty: as the pace has it.
        nics: what the user calls the two that are lent to the run; empty: none are.
    """

    suites: tuple[str, ...]
    contenders: tuple[str, ...]
    pace: str = "default"
    rounds: int = 0
    counts: tuple[int, ...] = ()
    nics: tuple[str, ...] = ()

    @property
    def at(self) -> int:
        """The place of the pace in PACES."""
        return PACES.index(self.pace)

    @property
    def guests(self) -> int:
        """Rounds of those who take part in a full run only, in the suites that take long; 0: as many as all."""
        return 2 if self.pace == "full" and not self.rounds else 0

    def pick(self, quick: int, default: int, full: int) -> int:
        """Rounds: as the words say, else as the pace has it."""
        return self.rounds or (quick, default, full)[self.at]


class Point(Frozen):
    """One value of one round; the fields are those of Series."""

    figure: str
    value: float
    unit: str
    case: str = ""
    better: str = LOWER
    at: float | None = None
    along: str = ""
    command: str = ""


class Turn(Frozen):
    """What one contender does in each round.

    Args:
        contender: its name.
        label: what it does, for the line of progress.
        take: does it; returns what it measured.
    """

    contender: str
    label: str
    take: Callable[[], Iterable[Point]]


class Suite:
    """One suite of one run.

    Args:
        scene: the private world.
        settings: what the words ask.
    """

    name = ""
    what = ""                                       # its line in `--list`
    aims: tuple[Aim, ...] = ()
    programs: tuple[tuple[str, str], ...] = ()      # what it runs, and the Debian package of it

    def __init__(self, scene: Scene, settings: Settings) -> None:
        self.scene, self.settings = scene, settings
        self.missing: list[Missing] = []
        self._series: list[Series] = []

    def measure(self) -> None:
        """Take all figures, by `rounds`."""
        raise NotImplementedError

    def lacks(self) -> str:
        """Which programs it needs and this machine has not; "" where it can run."""
        from shutil import which

        from runspec.bench.scene import PATH

        lost = [(program, package) for program, package in self.programs if which(program, path=PATH) is None]
        names = " ".join(dict.fromkeys(package for _, package in lost))
        return f"no {', '.join(program for program, _ in lost)}: apt-get install {names}" if lost else ""

    def versions(self) -> dict[str, str]:
        """Program -> its own words, of what the suite runs inside containers."""
        return {}

    def read(self, file: str) -> tuple[Spec, tuple[Network, ...]]:
        """The container of a file of specs/bench, and its networks."""
        models = self.scene.read(f"{SPECS}/{file}")
        spec, = (one for one in models if isinstance(one, Spec))
        return spec, tuple(one for one in models if isinstance(one, Network))

    def contender(self, name: str, specs: Sequence[Spec], networks: Sequence[Network] = (),
                  case: str = "") -> Contender | None:
        """One that is prepared for these; None where it cannot take part, which is noted."""
        made = load(name, self.scene)
        why = made.missing(specs[0])
        if not why:
            try:
                made.prepare(specs, networks)
                return made
            except (RunspecError, OSError) as error:
                why = refusal(error)
        self.miss(name, f"{case}: {why}" if case else why)
        return None

    def miss(self, contender: str, why: str) -> None:
        """Note who failed at what, once; the others go on."""
        one = Missing(suite=self.name, contender=contender, why=why, failed=contender == "runspec")
        if one not in self.missing:
            self.missing.append(one)

    def rounds(self, turns: Sequence[Turn], count: int, warm: bool = True, guests: int = 0,
               patience: float = float("inf")) -> None:
        """Every turn once a round, first once for nothing; turns of one label are taken together, see `ordered`.

        What disturbs the machine for a while so disturbs all contenders alike, and none always comes first.

        Args:
            count: rounds that count.
            warm: whether the caches are to be filled by a round that does not count.
            guests: how many of them count of those who take part in a full run only; 0: all.
            patience: seconds after which a turn is not begun again; once it counts in any case.
        """
        going = list(turns)
        taken: dict[int, dict[tuple[str, str, float | None], tuple[Point, list[float]]]] = {}
        spent: dict[int, float] = {}
        for number in range(0 if warm else 1, count + 1):
            asked = going if number < 2 else [
                one for one in going if spent[id(one)] < patience
                and not (0 < guests < number and one.contender in GUESTS)]
            for turn in ordered(asked, number):
                self.scene.say(f"{self.name} {f'round {number}/{count}' if number else 'warm-up'}: "
                               f"{turn.contender}, {turn.label}")
                mine, began = taken.setdefault(id(turn), {}), monotonic()
                try:
                    for point in turn.take():
                        if number:
                            mine.setdefault((point.figure, point.case, point.at), (point, []))[1].append(point.value)
                except (RunspecError, OSError) as error:
                    self.miss(turn.contender, f"{turn.label}: {refusal(error)}")
                    going.remove(turn)
                spent[id(turn)] = spent.get(id(turn), 0.0) + monotonic() - began
        self._series += [
            Series(suite=self.name, figure=point.figure, case=point.case, contender=turn.contender, unit=point.unit,
                   better=point.better, at=point.at, along=point.along, values=tuple(values), command=point.command)
            for turn in going for point, values in taken[id(turn)].values()]

    def add(self, series: Series) -> None:
        """Add what was computed of other figures."""
        self._series.append(series)

    def series(self) -> tuple[Series, ...]:
        """All that was measured."""
        return tuple(self._series)


def ordered(turns: Sequence[Turn], number: int) -> list[Turn]:
    """The turns of a round: each begins with another label, and each label with another contender."""
    labels: dict[str, list[Turn]] = {}
    for turn in turns:
        labels.setdefault(turn.label, []).append(turn)
    return [turn for group in rotated(list(labels.values()), number) for turn in rotated(group, number)]


def rotated(rows: list[T], number: int) -> list[T]:
    """A list that begins at another place."""
    place = number % len(rows) if rows else 0
    return rows[place:] + rows[:place]


def refusal(error: Exception) -> str:
    """An error as one line, of the kernel as well: a disk that is full, a limit that is reached."""
    text = f"{error.what}: {error.why}" if isinstance(error, RunspecError) else str(error)
    return " ".join(text.rstrip(": ").removeprefix("bench: ").split())[:400]


def suite_class(name: str) -> type[Suite]:
    """The class of a suite of SUITES."""
    from importlib import import_module

    module, cls = SUITES[name]
    found: type[Suite] = getattr(import_module(f"runspec.bench.{module}"), cls)
    return found
