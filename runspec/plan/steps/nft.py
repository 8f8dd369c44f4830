"""The firewall's Steps: one transaction for all that a request publishes, and the kernel parameters it takes."""

from __future__ import annotations

from runspec.plan import nft
from runspec.plan.steps.base import FINISH, PREPARE, HostStep, Step
from runspec.spec.model import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from runspec.plan.nft import Element
    from runspec.plan.planner import Item
    from runspec.plan.view_nft import Wall

_SHOWN = 6          # elements named in the line of a plan


class SetElements(HostStep):
    """Gives owners their elements of our table, all in one transaction; what they had beside these goes.

    Args:
        owners: (owner, its elements).
    """

    PHASE = PREPARE
    owners: tuple[tuple[str, tuple[Element, ...]], ...]

    def look(self, kernel: Any, run: Any) -> Any:
        """Their elements before."""
        return run.firewall.elements_of([owner for owner, _ in self.owners])

    def apply(self, kernel: Any, run: Any) -> Any:
        """nft(8)."""
        run.firewall.bring(dict(self.owners))

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """As it was, for these; others may have theirs by now."""
        run.firewall.bring({owner: tuple(map(tuple, those)) for owner, those in memo.items()})

    def __str__(self) -> str:
        found = [f"{key.replace(' . ', ' ')} to {value.replace(' . ', ':')}" if value else f"{name} {key}"
                 for _, those in self.owners for name, key, value in those]
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        ended = [owner for owner, those in self.owners if not those]
        words = [f"set {', '.join(found[:_SHOWN])}{more}"] * bool(found)
        words += [f"remove all of {', '.join(ended[:_SHOWN])}"] * bool(ended)
        return f"nftables inet runspec: {'; '.join(words)}"


class ForgetElements(HostStep):
    """Takes away whatever is published for a container of which nothing else is known."""

    def apply(self, kernel: Any, run: Any) -> Any:
        """sysctl(8), nft(8)."""
        run.firewall.forget(nft.named("container", self.target))

    def __str__(self) -> str:
        return f"nftables inet runspec: remove all of {self.target}"


class HoldKnobs(HostStep):
    """Sets kernel parameters of the host's network for owners; the last one's end gives back what was before.

    Args:
        owners: (owner, (path below /proc/sys, value)...).
        anew: what keeps the host from forwarding for others is looked over as well: it lacks something, or links
            came or went that forward by themselves.
    """

    PHASE = FINISH
    owners: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    anew: bool = False

    def look(self, kernel: Any, run: Any) -> Any:
        """What was held for them before."""
        return run.firewall.held_by([owner for owner, _ in self.owners])

    def apply(self, kernel: Any, run: Any) -> Any:
        """sysctl(8)."""
        run.firewall.hold({owner: dict(those) for owner, those in self.owners}, anew=self.anew)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Held as before; a link that is made anew comes back after this, if at all."""
        run.firewall.hold(memo, lenient=True)

    def __str__(self) -> str:
        found = dict.fromkeys(f"{path.replace('/', '.')}={value}" for _, those in self.owners for path, value in those)
        ended = [owner for owner, those in self.owners if not those]
        words = [f"hold {', '.join(found)}"] * bool(found)
        words += [f"give back what {', '.join(ended[:_SHOWN])} held"] * bool(ended)
        words += ["nftables inet runspec: forward for nobody else"] * self.anew
        return "; ".join(words)


def plan(items: Iterable[Item], wall: Wall, busy: set[str]) -> tuple[list[Step], list[Step]]:
    """What comes before anybody is stopped or made, and what comes once all links are there and who ends has ended.

    What ends was a protection as well: it lasts longer than those it kept apart, and than the kernel parameters
    that made it necessary.

    Args:
        wall: what is seen of the firewall.
        busy: names of targets that have Steps: their links may be made anew, with parameters of their own.
    """
    models = [(item.wanted if item.wanted is not None else item.last, item.wanted is not None) for item in items]
    wanted = {nft.owner(model): nft.elements(model, wall.bridged) if stays else () for model, stays in models}
    first: list[Step] = []
    names = {nft.owner(model): model.name for model, _ in models}
    path = {nft.owner(model): "ports" if hasattr(model, "ports") else next(
        (word for word in ("nat", "internal") if getattr(model, word)), "isolated") for model, _ in models}
    have: dict[str, dict[tuple[str, str], str]] = {}
    for (name, key), (value, said) in (wall.table.elements if wall.table is not None else {}).items():
        have.setdefault(said, {})[name, key] = value
    whole = not nft.damage(wall.table)
    moved = {owner: those for owner, those in wanted.items()
             if have.get(owner, {}) != {(name, key): value for name, key, value in those} or (those and not whole)}
    last: list[Step] = []
    ends = {owner: those for owner, those in moved.items() if not those}
    begins = {owner: those for owner, those in moved.items() if those}
    if begins:
        at, taken = next(iter(begins)), {(name, key) for those in begins.values() for name, key, _ in those}
        # Who ends gives what another takes over in the same moment, and has it again if that is undone.
        for owner in ends:
            stay = tuple((*one, value) for one, value in have[owner].items() if one not in taken)
            if len(stay) < len(have[owner]):
                begins[owner] = stay
        first.append(SetElements(target=names[at], path=path[at], early=True, owners=tuple(begins.items())))
    if ends:
        at = next(iter(ends))
        last.append(SetElements(target=names[at], path=path[at], owners=tuple(ends.items())))
    held = {nft.owner(model): nft.knobs(model, wall.bridged) if stays else {} for model, stays in models}
    late = {owner: tuple(those.items()) for owner, those in held.items()
            if wall.held.get(owner, {}) != those or any(
                not nft.met(knob, wall.knobs.get(knob), value) or names[owner] in busy or wall.closing.get(knob)
                for knob, value in those.items())}
    anew = any(wall.closing.get(knob) for those in held.values() for knob in those)
    for item in items if wall.closed else ():
        mine = [one for one in (item.wanted, item.last) if one is not None]
        if item.name in busy and any(nft.routed(one) or (wall.bridged and isinstance(one, Network)) for one in mine):
            anew, late = True, late or {nft.owner(mine[0]): ()}
    if late:
        at = next(iter(late))
        owners = tuple((owner, those) for owner, those in late.items() if those or wall.held.get(owner))
        return first, [HoldKnobs(target=names[at], path=path[at], owners=owners, anew=anew), *last]
    return first, last
