"""Limits and marks of a link: which queueing disciplines and filters they are, and what is seen of them.

A limit on what leaves a link is a tree of token buckets at its root, with one class: HTB, since that lets a packet of
many segments pass on credit, however small its bucket has become while it waited. What arrives passes a filter that
sends it through a link of type ifb with such a tree, which gives it back behind the filter. Marks are a program asked
before. A veth is held at its host's end, out of the container's reach, where all is the other way round: what leaves
the container arrives there. Every other kind has but its end inside.
"""

from __future__ import annotations

from errno import EEXIST, ENODEV, ENOENT

from runspec.plan import bpf, rtnetlink, tc, tc_bpf
from runspec.plan.steps.host_links import digest, host_name
from runspec.plan.values import ABSENT
from runspec.plan.view_kinds import mtu_of
from runspec.plan.view_links import SHAPERS
from runspec.plan.view_nic import as_lent
from runspec.spec.frozen import Frozen
from runspec.spec.model import Interface, Qos, Spec, Traffic
from runspec.spec.rules_traffic import HEADER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WAYS = ("egress", "ingress")
LEAVES = ("rate", "ceil", "burst", "queue", "priority", "dscp")
MAJOR = 0x7273                  # of our trees, told by it from what the kernel gives links by itself
ROOT, ONLY = tc.handle(MAJOR), tc.handle(MAJOR, 1)
QUEUE, PARTS = tc.handle(MAJOR + 1), tc.handle(MAJOR + 2)     # of what waits: packets as they are, or taken apart
MARKS, REDIRECT = 1, 2          # the order of our filters at a hook

# What a class may send in its turn, in bytes: without others to take turns with, any number that is no cause to warn.
QUANTUM = 1514
# Below this many bytes/s packets of many segments are taken apart: by a bucket of one packet that is always full.
APART, ENDLESS = 500_000_000 // 8, 125_000_000_000
# How long a full bucket and a full queue take, in milliseconds; and the fewest packets they hold.
BUCKET_MS, BUCKET_PACKETS = 10, 2
QUEUE_MS, QUEUE_PACKETS = 50, 10


class Bucket(Frozen):
    """What holds a direction: bytes/s, bytes of its bucket, that may wait, and of the largest packet."""

    rate: int
    burst: int
    limit: int
    frame: int

    @property
    def apart(self) -> bool:
        """Whether packets of many segments are taken apart before they wait: at this rate one would hold up others."""
        return self.rate < APART


def bucket(one: Traffic | None, mtu: int | None) -> Bucket | None:
    """The bucket that holds a direction to its limit, None without one.

    What is guaranteed below `ceil` needs no act where nobody shares the link.
    """
    if one is None or one.rate is None:
        return None
    rate, frame = (one.ceil or one.rate) // 8, (mtu or 1500) + HEADER
    burst = one.burst or max(rate * BUCKET_MS // 1000, BUCKET_PACKETS * frame)
    return Bucket(rate=rate, burst=burst, frame=frame,
                  limit=burst + max(rate * QUEUE_MS // 1000, QUEUE_PACKETS * frame))


def program(one: Traffic | None) -> bytes | None:
    """The program that marks a direction's packets, None where nothing is asked."""
    if one is None or (one.dscp is None and one.priority is None):
        return None
    return tc_bpf.mark(dscp=one.dscp, priority=one.priority)


def outside(one: Interface) -> bool:
    """Whether an interface is held at an end on the host."""
    return one.type == "veth"


def shaper(owner: str, interface: str) -> str:
    """The name of the ifb on the host through which goes what leaves a container."""
    return f"ri{digest(f'{owner}.{interface}'):013x}"


def way(qos: Qos | None, word: str) -> Traffic | None:
    """One direction of a Qos that may not be there."""
    return getattr(qos, word) if qos is not None else None


# What is done: (message, program whose descriptor it takes, errno that is as good as success).

if TYPE_CHECKING:
    Act = tuple[bytes, bytes | None, int]


class Shaper(Frozen):
    """The ifb through which goes what arrives at a link."""

    name: str
    index: int
    alias: str


def acts(index: int, leaves: Traffic | None, arrives: Traffic | None, mtu: int | None, parts: dict[str, str],
         ifb: Shaper) -> list[Act]:
    """What brings a link to its limits and marks.

    Args:
        leaves, arrives: what is asked of either direction of this end.
        parts: "leaves", "arrives" -> what of it: "rate", "mark", "both" as they differ; "new": on a link that has
            nothing yet; "anew": whatever is there.
    """
    out: list[Act] = []
    hooks = any(program(one) is not None for one in (leaves, arrives)) or bucket(arrives, mtu) is not None
    anew = "anew" in parts.values()
    if anew or (hooks and "new" in parts.values()):
        out.append((tc.put_clsact(index), None, 0))
    if "leaves" in parts:
        out += _mark(index, tc.EGRESS_HOOK, leaves, parts["leaves"])
        out += _leaving(index, bucket(leaves, mtu), parts["leaves"])
    if "arrives" in parts:
        out += _mark(index, tc.INGRESS_HOOK, arrives, parts["arrives"])
        out += _arriving(index, bucket(arrives, mtu), parts["arrives"], ifb)
    if anew and not hooks:
        out.append((tc.delete_clsact(index), None, ENOENT))
    return out


def _mark(index: int, hook: int, one: Traffic | None, part: str) -> list[Act]:
    code = program(one)
    out: list[Act] = [(tc.delete_filters(index, hook, MARKS), None, ENOENT)] * (part == "anew")
    if code is not None and part != "rate":
        out.append((tc.put_bpf(index, hook, MARKS, "runspec:mark"), code, 0))
    return out


def _put(index: int, held: Bucket, part: str) -> list[Act]:
    """The tree: made, or changed with its queue kept."""
    out: list[Act] = []
    if part == "anew":
        out.append((tc.delete_root(index), None, ENOENT))
    if part in ("new", "anew"):
        out.append((tc.put_htb(index, ROOT, 1), None, 0))
    return [*out, (tc.put_class(index, ROOT, ONLY, held.rate, held.rate, held.burst, held.burst, quantum=QUANTUM),
                   None, 0), (_queue(index, ONLY, held), None, 0)]


def _queue(index: int, parent: int, held: Bucket) -> bytes:
    """Where packets wait."""
    if held.apart:
        return tc.put_tbf(index, parent, PARTS, ENDLESS, held.frame, held.limit)
    return tc.put_queue(index, parent, QUEUE, "bfifo", held.limit)


def _leaving(index: int, held: Bucket | None, part: str) -> list[Act]:
    if held is not None and part != "mark":
        return _put(index, held, part)
    return [(tc.delete_root(index), None, ENOENT)] * (part == "anew")


def _arriving(index: int, held: Bucket | None, part: str, ifb: Shaper) -> list[Act]:
    if part == "mark":
        return []
    out: list[Act] = []
    if held is not None:
        fresh = part in ("new", "anew")
        out += [(tc.create_ifb(ifb.name, ifb.index), None, EEXIST)] * fresh
        out += _put(ifb.index, held, part)
        out += [(rtnetlink.set_link(ifb.index, up=True, alias=ifb.alias), None, 0)] * fresh
    if part == "anew":
        out.append((tc.delete_filters(index, tc.INGRESS_HOOK, REDIRECT), None, ENOENT))
    if held is not None and part in ("new", "anew"):
        out.append((tc.put_redirect(index, tc.INGRESS_HOOK, REDIRECT, ifb.index), None, 0))
    if held is None and part == "anew" and ifb.index:
        out.append((rtnetlink.delete_link(ifb.index), None, ENODEV))
    return out


# What is seen.

def mtu_asked(one: Interface, facts: Any) -> int | None:
    """Of a link, as its file asks for it, or as what carries it has it."""
    return as_lent(one, facts).mtu if one.type == "physical" else mtu_of(one, facts)


def expect_traffic(spec: Spec, facts: Any, view: dict[str, Any]) -> None:
    """The limits and marks of a container's interfaces as path -> value."""
    for i, one in enumerate(spec.interfaces):
        for word in WAYS:
            traffic = way(one.qos, word)
            if traffic is not None:
                view.update(_asked(traffic, mtu_asked(one, facts), f"interfaces[{i}].qos.{word}"))


def _asked(one: Traffic, mtu: int | None, at: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    held = bucket(one, mtu)
    if held is not None:
        # The kernel counts bytes; what is guaranteed shows nowhere beside what is allowed.
        out[f"{at}.rate"] = one.rate if one.ceil is not None else held.rate * 8
        if one.ceil is not None:
            out[f"{at}.ceil"] = held.rate * 8
        out[f"{at}.burst"], out[f"{at}.queue"] = held.burst, held.limit
    if one.priority is not None:
        out[f"{at}.priority"] = one.priority
    if one.dscp is not None:
        out[f"{at}.dscp"] = one.dscp
    return out


class Sight:
    """What the kernel shows of one link's traffic.

    Args:
        index: the link's.
        number: the ifb's, 0 where there is none.
        rows: queueing disciplines and filters, of other links as well.
        ready: whether that ifb is up.
    """

    __slots__ = ("index", "number", "ready", "rows")

    def __init__(self, index: int, number: int, rows: list[Any], ready: bool) -> None:
        self.index, self.number, self.rows, self.ready = index, number, rows, ready

    def bucket(self, leaves: bool) -> tuple[int, int, int] | None:
        """(bytes/s, ticks, bytes) of the bucket that holds a direction, None where none does."""
        index = self.index
        if not leaves:
            sent = [one.to for one in self.rows if one.index == index and type(one).__name__ == "Filter" and one.to
                    and one.parent == tc.INGRESS_HOOK and one.order == REDIRECT]
            if not self.ready or sent != [self.number]:
                return None
            index = self.number
        mine = {(type(one).__name__, one.handle): one for one in self.rows if one.index == index
                and type(one).__name__ in ("Qdisc", "Class")}
        root, only = mine.get(("Qdisc", ROOT)), mine.get(("Class", ONLY))
        kind, number = ("tbf", PARTS) if only is not None and only.ceil < APART else ("bfifo", QUEUE)
        queue = mine.get(("Qdisc", number))
        if root is None or only is None or root.kind != "htb" or root.parent != tc.ROOT:
            return None
        limit = queue.limit if queue is not None and queue.kind == kind and queue.parent == ONLY else 0
        return only.ceil, only.cbuffer, limit

    def tag(self, leaves: bool) -> str:
        """The tag of the program that marks a direction, "" where there is none."""
        hook = tc.EGRESS_HOOK if leaves else tc.INGRESS_HOOK
        found = [one.tag for one in self.rows if one.index == self.index and type(one).__name__ == "Filter"
                 and one.parent == hook and one.order == MARKS and one.tag]
        return found[0] if len(found) == 1 else ""


def _seen(sight: Sight, leaves: bool, asked: list[Traffic], mtu: int | None, at: str) -> dict[str, Any]:
    """As _asked, of the kernel.

    Args:
        asked: what the file wants and what was applied last, where they say something.
    """
    out: dict[str, Any] = {}
    wanted = [one for one in asked if one.rate is not None]
    if wanted:
        out.update(_held(wanted, sight.bucket(leaves), mtu, at))
    marks = [one for one in asked if program(one) is not None]
    if marks:
        tag = sight.tag(leaves)
        match = next((one for one in marks if tag and tag in bpf.tags(program(one) or b"")), None)
        for word in ("priority", "dscp"):
            if any(getattr(one, word) is not None for one in marks):
                found = getattr(match, word) if match is not None else None
                out[f"{at}.{word}"] = ABSENT if found is None else found
    return out


def _held(wanted: list[Traffic], held: tuple[int, int, int] | None, mtu: int | None, at: str) -> dict[str, Any]:
    """As _asked of a bucket, of the one that is there."""
    top = f"{at}.ceil" if any(one.ceil is not None for one in wanted) else f"{at}.rate"
    if held is None:
        return {f"{at}.rate": ABSENT, top: ABSENT,
                **{f"{at}.burst": ABSENT for one in wanted if one.burst is not None}}
    rate, buffer, limit = held
    burst, asked = round(buffer * tc.TICK * rate / 1_000_000_000), bucket(wanted[0], mtu)
    assert asked is not None
    for one in wanted:
        # What would be there at this rate. A tick is many bytes where the line is fast.
        kept = bucket(one.replace(rate=rate * 8, ceil=None), mtu)
        if kept is not None and abs(tc.ticks(rate, kept.burst) - buffer) <= 1:
            # What follows from the rate is no difference of its own.
            burst = kept.burst if one.burst is not None else asked.burst
            if limit == kept.limit:
                limit = asked.limit
            break
    return {top: rate * 8, f"{at}.burst": burst, f"{at}.queue": limit or ABSENT}


def see_traffic(spec: Spec, last: Spec | None, facts: Any, view: dict[str, Any]) -> None:
    """The same as path -> value, as the kernel shows it."""
    former = {one.name: one for one in last.interfaces} if last is not None else {}
    here = {link.name: link for link in facts.links}
    for i, one in enumerate(spec.interfaces):
        was, link = former.get(one.name), here.get(one.name)
        if link is None or (one.qos is None and (was is None or was.qos is None)):
            continue
        sight = look(spec.name, one, link.index, facts)
        if sight is None:
            continue
        for word in WAYS:
            asked = [traffic for each in (one, was) if each is not None
                     and (traffic := way(each.qos, word)) is not None]
            if asked:
                view.update(_seen(sight, (word == "egress") != outside(one), asked,
                                  mtu_asked(one, facts), f"interfaces[{i}].qos.{word}"))


def look(owner: str, one: Interface, index: int, facts: Any) -> Sight | None:
    """What was read about the end at which an interface is held, None where it is not there."""
    if outside(one):
        end, ifb = facts.outside.get(host_name(owner, one.name)), facts.outside.get(shaper(owner, one.name))
        if end is None:
            return None
        return Sight(end.index, ifb.index if ifb is not None else 0, facts.host_traffic,
                     ifb is not None and ifb.up and ifb.kind == "ifb")
    number = SHAPERS + index
    return Sight(index, number, facts.traffic, any(link.index == number and link.up for link in facts.links))

