"""Limits and marks of interfaces as path -> value: as a file asks for them, and as the kernel shows them."""

from __future__ import annotations

from runspec.plan import bpf, tc
from runspec.plan.steps.host_links import host_name
from runspec.plan.traffic import (
    APART,
    AWAY,
    LAST_PRIO,
    LINE,
    MAJOR,
    MARKS,
    ONLY,
    ROOT,
    TURNED,
    WAYS,
    Place,
    bucket,
    line_link,
    outside,
    program,
    queues,
    shaper,
    way,
)
from runspec.plan.values import ABSENT
from runspec.plan.view_kinds import mtu_of
from runspec.plan.view_links import SHAPERS
from runspec.plan.view_nic import as_lent
from runspec.spec.frozen import Frozen
from runspec.spec.model import Interface, Line, Spec, Traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def mtu_asked(one: Interface, facts: Any) -> int | None:
    """Of a link, as its file asks for it, or as what carries it has it."""
    return as_lent(one, facts).mtu if one.type == "physical" else mtu_of(one, facts)


def expect_traffic(spec: Spec, facts: Any, view: dict[str, Any]) -> None:
    """The limits and marks of a container's interfaces as path -> value."""
    for i, one in enumerate(spec.interfaces):
        for word in WAYS:
            at, traffic = f"interfaces[{i}].qos.{word}", way(one.qos, word)
            if word in one.line.shared:
                view[f"{at}.line"] = one.network
            if traffic is not None:
                view.update(_asked(traffic, mtu_asked(one, facts), at, one.line, word))


def _asked(one: Traffic, mtu: int | None, at: str, line: Line, word: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    held, shared = bucket(one, mtu, line, word), word in line.shared
    if held is not None:
        # The kernel counts bytes; what is guaranteed shows nowhere beside what is allowed, where nobody shares.
        out[f"{at}.rate"] = one.rate if one.ceil is not None and not shared else held.rate * 8
        if one.ceil is not None or shared:
            out[f"{at}.ceil"] = held.ceil * 8
        out[f"{at}.burst"], out[f"{at}.queue"] = held.ceil_burst, held.queue
    if one.priority is not None:
        out[f"{at}.priority"] = one.priority
    if one.dscp is not None:
        out[f"{at}.dscp"] = one.dscp
    return out


class Held(Frozen):
    """A class as the kernel shows it, with what limits its queue: bytes/s, ticks, its turn, 0 for no such queue."""

    rate: int
    ceil: int
    buffer: int
    cbuffer: int
    prio: int
    limit: int


class Sight:
    """What the kernel shows of one link's traffic.

    Args:
        index: the link's.
        number: the ifb's, 0 where there is none.
        rows: queueing disciplines, classes and filters, of other links as well.
        ready: whether that ifb is up.
        fair: whether flows are to take turns.
        places: way that is shared -> where it goes, and whether that ifb is up.
    """

    __slots__ = ("fair", "index", "number", "places", "ready", "rows")

    def __init__(self, index: int, number: int, rows: list[Any], ready: bool, fair: bool = False,
                 places: dict[str, tuple[Place, bool]] | None = None) -> None:
        self.index, self.number, self.rows, self.ready = index, number, rows, ready
        self.fair, self.places = fair, places or {}

    def leads(self, hook: int, to: int) -> bool:
        """Whether what passes a hook goes through this link."""
        return [one.to for one in self.rows if one.index == self.index and type(one).__name__ == "Filter" and one.to
                and one.parent == hook and one.order == AWAY[hook]] == [to]

    def bucket(self, leaves: bool) -> Held | None:
        """What holds a direction by itself, None where nothing does."""
        if not leaves and not (self.ready and self.leads(tc.INGRESS_HOOK, self.number)):
            return None
        index = self.index if leaves else self.number
        root = next((one for one in self.rows if one.index == index and type(one).__name__ == "Qdisc"
                     and one.handle == ROOT), None)
        return self._class(index, ROOT, ONLY) if root is not None and root.kind == "htb" and root.parent == tc.ROOT \
            else None

    def part(self, word: str) -> Held | None:
        """A port's part of its network's line, None where it has none."""
        place, _ = self.places[word]
        return self._class(place.link, LINE, tc.handle(MAJOR, place.number))

    def joined(self, word: str) -> bool:
        """Whether a way that is shared goes where it should; of which class it is there, the program says."""
        place, up = self.places[word]
        return up and self.leads(HOOKS[TURNED[word]], place.link)

    def _class(self, index: int, parent: int, number: int) -> Held | None:
        mine = {(type(one).__name__, one.handle): one for one in self.rows if one.index == index
                and type(one).__name__ in ("Qdisc", "Class")}
        found = mine.get(("Class", number))
        if found is None or (parent != ROOT and found.parent != parent):
            return None
        queue, parts, flows = queues(number)
        chain = [("tbf", parts)] if found.rate < APART else []
        chain += [("fq_codel", flows)] if self.fair else [("bfifo", queue)] * (not chain)
        limit, above = None, number
        for kind, handle in chain:
            one = mine.get(("Qdisc", handle))
            if one is None or one.kind != kind or one.parent != above:
                limit = 0
                break
            limit, above = limit if limit is not None else one.limit, handle | 1
        return Held(rate=found.rate, ceil=found.ceil, buffer=found.buffer, cbuffer=found.cbuffer, prio=found.prio,
                    limit=limit or 0)

    def tag(self, leaves: bool) -> str:
        """The tag of the program that marks a direction, "" where there is none."""
        hook = tc.EGRESS_HOOK if leaves else tc.INGRESS_HOOK
        found = [one.tag for one in self.rows if one.index == self.index and type(one).__name__ == "Filter"
                 and one.parent == hook and one.order == MARKS and one.tag]
        return found[0] if len(found) == 1 else ""


HOOKS = {"leaves": tc.EGRESS_HOOK, "arrives": tc.INGRESS_HOOK}


def _seen(sight: Sight, leaves: bool, asked: list[tuple[Traffic, Line]], mtu: int | None, at: str,
          word: str) -> dict[str, Any]:
    """As _asked, of the kernel.

    Args:
        asked: what the file wants and what was applied last, where they say something.
    """
    out: dict[str, Any] = {}
    wanted = [(one, line) for one, line in asked if one.rate is not None]
    if wanted:
        shared = word in wanted[0][1].shared
        out.update(_held(wanted, sight.part(word) if shared else sight.bucket(leaves), mtu, at, word))
    marks = [(one, line) for one, line in asked if program(one) is not None]
    if marks:
        tag = sight.tag(leaves)
        match = next((one for one, line in marks if tag and tag in bpf.tags(
            program(one, number(sight, one, line, word)) or b"")), None)
        for leaf in ("priority", "dscp"):
            if any(getattr(one, leaf) is not None for one, _ in marks):
                found = getattr(match, leaf) if match is not None else None
                out[f"{at}.{leaf}"] = ABSENT if found is None else found
    return out


def number(sight: Sight, one: Traffic | None, line: Line, word: str) -> int | None:
    """What the program of a way writes into packets, None where it is not shared."""
    if word not in line.shared or word not in sight.places:
        return None
    return sight.places[word][0].number * (one is not None and one.rate is not None)


def _held(wanted: list[tuple[Traffic, Line]], found: Held | None, mtu: int | None, at: str,
          word: str) -> dict[str, Any]:
    """As _asked of a bucket, of the one that is there."""
    first, line = wanted[0]
    shared = word in line.shared
    top = f"{at}.ceil" if shared or any(one.ceil is not None for one, _ in wanted) else f"{at}.rate"
    if found is None:
        return {f"{at}.rate": ABSENT, top: ABSENT,
                **{f"{at}.burst": ABSENT for one, _ in wanted if one.burst is not None}}
    burst, asked = round(found.cbuffer * tc.TICK * found.ceil / 1_000_000_000), bucket(first, mtu, line, word)
    assert asked is not None
    limit = found.limit
    for one, _ in wanted:
        # What would be there at these rates. A tick is many bytes where the line is fast.
        kept = bucket(one.replace(rate=(found.rate if shared else found.ceil) * 8,
                                  ceil=found.ceil * 8 if shared else None), mtu, line, word)
        if kept is not None and abs(tc.ticks(found.ceil, kept.ceil_burst) - found.cbuffer) <= 1 and (
                abs(tc.ticks(found.rate, kept.burst) - found.buffer) <= 1):
            # What follows from the rate is no difference of its own.
            burst = asked.ceil_burst if one.burst is None and first.burst is None else kept.ceil_burst
            if limit == kept.queue:
                limit = asked.queue
            break
    out: dict[str, Any] = {top: found.ceil * 8, f"{at}.burst": burst, f"{at}.queue": limit or ABSENT}
    if shared:
        out[f"{at}.rate"] = found.rate * 8
        if found.prio != asked.prio:
            out[f"{at}.turn"] = f"priority {LAST_PRIO - found.prio}"
    return out


def see_traffic(spec: Spec, last: Spec | None, facts: Any, view: dict[str, Any]) -> None:
    """The same as path -> value, as the kernel shows it."""
    former = {one.name: one for one in last.interfaces} if last is not None else {}
    here = {link.name: link for link in facts.links}
    for i, one in enumerate(spec.interfaces):
        was, link = former.get(one.name), here.get(one.name)
        both = [each for each in (one, was) if each is not None]
        if link is None or not any(each.qos is not None or each.line.shared for each in both):
            continue
        sight = look(spec.name, both, link.index, facts)
        if sight is None:
            continue
        for word in WAYS:
            at, leaves = f"interfaces[{i}].qos.{word}", (word == "egress") != outside(one)
            asked = [(traffic, each.line) for each in both if (traffic := way(each.qos, word)) is not None]
            if asked:
                view.update(_seen(sight, leaves, asked, mtu_asked(one, facts), at, word))
            if word in one.line.shared:
                view[f"{at}.line"] = one.network if _joined(sight, both, word, leaves) else ABSENT
            elif was is not None and word in was.line.shared:
                view[f"{at}.line"] = was.network


def _joined(sight: Sight, both: list[Interface], word: str, leaves: bool) -> bool:
    """Whether a port's packets go through its network's line, and are told there from others."""
    codes = [code for one in both if (code := program(way(one.qos, word), number(
        sight, way(one.qos, word), one.line, word))) is not None]
    return sight.joined(word) and any(sight.tag(leaves) in bpf.tags(code) for code in codes)


def look(owner: str, both: list[Interface], index: int, facts: Any) -> Sight | None:
    """What was read about the end at which an interface is held, None where it is not there.

    Args:
        both: as it is asked for, and as it was applied last.
    """
    one = both[0]
    if outside(one):
        end, ifb = facts.outside.get(host_name(owner, one.name)), facts.outside.get(shaper(owner, one.name))
        if end is None:
            return None
        places: dict[str, tuple[Place, bool]] = {}
        for word, network in ((word, each.network or "") for each in reversed(both) for word in each.line.shared):
            found = facts.outside.get(line_link(network, word))
            places[word] = (Place(link=found.index if found is not None else 0, number=facts.numbers.get(end.index, 0)),
                            found is not None and found.up)
        return Sight(end.index, ifb.index if ifb is not None else 0, facts.host_traffic,
                     ifb is not None and ifb.up and ifb.kind == "ifb", one.line.fair, places)
    number = SHAPERS + index
    return Sight(index, number, facts.traffic, any(link.index == number and link.up for link in facts.links),
                 one.line.fair)
