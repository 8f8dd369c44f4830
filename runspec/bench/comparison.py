"""Two runs side by side: what the machine and its programs became, what got slower, what got faster."""

from __future__ import annotations

from runspec.bench.results import LOWER, QUIET, Series, quantile
from runspec.spec.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from runspec.bench.results import Results

# What says nothing about the machine itself.
PASSING = ("when", "load before", "load after")
HERO = "runspec"


class Other(Frozen):
    """Something of the machine, of a program or of the words of a run that is not as it was; "" where it was not."""

    name: str
    before: str
    now: str


class Difference(Frozen):
    """A series of two runs that differs by more than their noise.

    Args:
        before, now: medians; change: now / before, turned so that more than 1 is worse; beyond: the noise allowed.
        others: the same change of the other contenders there, their median: what the machine itself became; None
            where there are none.
    """

    series: Series
    before: float
    now: float
    change: float
    beyond: float
    others: float | None = None

    @property
    def amounts(self) -> tuple[str, str]:
        """now / before in words, and the others'; of what should be high the lower is the worse. "" for no others."""
        found = [one if self.series.better == LOWER else 1 / one for one in (self.change, self.others or 1.0)]
        return amount(found[0]), "" if self.others is None else amount(found[1])

    @property
    def alone(self) -> bool:
        """Whether the change stays one of its kind beyond the noise when the others' is taken out of it."""
        own = self.change / (self.others or 1.0)
        return (own if self.change > 1 else 1 / own) > 1 + self.beyond


class Comparison(Frozen):
    """What differs between an older run and a newer one.

    Args:
        file: of the older one; when: it was.
        others: what else differs than the figures, and may be the reason.
        worse, better: beyond the noise, runspec's own first, the largest change first.
        compared: how many figures are in both; gone, added: how many in one alone.
    """

    file: str
    when: str
    others: tuple[Other, ...]
    worse: tuple[Difference, ...]
    better: tuple[Difference, ...]
    compared: int
    gone: int
    added: int

    @property
    def counts(self) -> str:
        """One sentence about how many figures there are."""
        rest = self.compared - len(self.worse) - len(self.better)
        more = " more" if rest < self.compared else ""
        return (f"{rest}{more} {'figure is' if rest == 1 else 'figures are'} within the noise; {self.gone} are only in "
                f"the older run, {self.added} only in this.")

    @property
    def verdict(self) -> str:
        """One sentence about runspec's own figures."""
        if not self.compared:
            return "The two runs have no figure in common."
        worse, better = (sum(one.series.contender == HERO and one.alone for one in found)
                         for found in (self.worse, self.better))
        if not worse and not better:
            return "No figure of runspec differs beyond the noise and what the machine became."
        return f"{counted(worse)} of runspec got worse, {better or 'none'} got better."


def counted(number: int) -> str:
    """`No figure`, `1 figure`, `3 figures`."""
    return f"{number or 'No'} figure{'' if number < 2 else 's'}"


def comparison(old: Results, new: Results, file: str) -> Comparison:
    """Compare two runs.

    Args:
        file: the older one's, as the user named it.
    """
    before, now = ({(one.key, one.contender) for one in run.series} for run in (old, new))
    worse, better = (tuple(sorted(found, key=lambda one: one.series.contender != HERO))
                     for found in compare(old, new))
    others = [*_differ(old.machine, new.machine), *_differ(old.versions, new.versions),
              *_differ(old.settings, new.settings)]
    return Comparison(file=file, when=old.machine.get("when", ""), others=tuple(others), worse=worse, better=better,
                      compared=len(before & now), gone=len(before - now), added=len(now - before))


def compare(old: Results, new: Results) -> tuple[tuple[Difference, ...], tuple[Difference, ...]]:
    """(worse, better) in the newer run, each beyond the spread that both runs show by themselves.

    A change counts where the medians differ by more than the sum of both interquartile ranges, and by 5 % at least:
    two quiet runs of a machine differ by that much.
    """
    known = {(one.key, one.contender): one for one in old.series}
    pairs = [(known[one.key, one.contender], one) for one in new.series if (one.key, one.contender) in known]
    pairs = [(before, now) for before, now in pairs
             if (before.unit, before.better) == (now.unit, now.better) and before.level > 0 and now.level > 0]
    changes: dict[tuple[str, str, str, float], dict[str, float]] = {}
    for before, now in pairs:
        change = now.level / before.level
        changes.setdefault(now.key, {})[now.contender] = change if now.better == LOWER else 1 / change
    worse: list[Difference] = []
    better: list[Difference] = []
    for before, now in pairs:
        change = changes[now.key][now.contender]
        others = tuple(value for name, value in changes[now.key].items() if name != now.contender)
        found = Difference(series=now, before=before.median, now=now.median, change=change,
                       beyond=max(QUIET, now.noise + before.noise), others=quantile(others, 0.5) if others else None)
        # Not by the change, which rounds otherwise than its inverse: two runs are the same two in either order.
        if max(before.level, now.level) / min(before.level, now.level) > 1 + found.beyond:
            (worse if change > 1 else better).append(found)
    return tuple(sorted(worse, key=lambda one: -one.change)), tuple(sorted(better, key=lambda one: one.change))


def _differ(before: dict[str, str], now: dict[str, str]) -> list[Other]:
    return [Other(name=name, before=before.get(name, ""), now=now.get(name, ""))
            for name in dict.fromkeys((*before, *now))
            if name not in PASSING and before.get(name, "") != now.get(name, "")]


def amount(change: float) -> str:
    """A factor as the part that it adds: 1.24 is `+24 %`, 0.5 is `-50 %`."""
    part = (change - 1) * 100
    return f"{part:+.0f} %" if abs(part) >= 9.5 else f"{part:+.1f} %"


def to_tree(found: Comparison) -> dict[str, Any]:
    """What `-o json` prints of it."""
    def rows(slower: Iterable[Difference]) -> list[dict[str, Any]]:
        return [{"suite": one.series.suite, "figure": one.series.figure, "case": one.series.case,
                 "at": one.series.at, "contender": one.series.contender, "unit": one.series.unit,
                 "before": one.before, "now": one.now, "change": one.change, "noise": one.beyond,
                 "others": one.others, "alone": one.alone} for one in slower]

    return {"file": found.file, "when": found.when, "compared": found.compared, "gone": found.gone,
            "added": found.added, "worse": rows(found.worse), "better": rows(found.better),
            "others": [{"name": one.name, "before": one.before, "now": one.now} for one in found.others]}
