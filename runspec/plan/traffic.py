"""Limits and marks of a link: which queueing disciplines and filters they are, and what is seen of them.

A limit on what leaves a link is a tree of token buckets at its root, with one class: HTB, since that lets a packet of
many segments pass on credit, however small its bucket has become while it waited. What arrives passes a filter that
sends it through a link of type ifb with such a tree, which gives it back behind the filter. Marks are a program asked
before. Where a network has one line for all, its ports send what they hold through the ifbs of that, see line.py. A
veth is held at its host's end, out of the container's reach, where all is the other way round: what leaves
the container arrives there. Every other kind has but its end inside.
"""

from __future__ import annotations

from errno import EEXIST, ENODEV, ENOENT

from runspec.plan import rtnetlink, tc, tc_bpf
from runspec.plan.steps import host_links
from runspec.spec import rules_traffic
from runspec.spec.frozen import Frozen
from runspec.spec.model import Interface, Line, Qos, Traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

WAYS = ("egress", "ingress")
ALONE = Line()
# What leaves the container leaves its own end of a link, and arrives at the other.
STRAIGHT = {"egress": "leaves", "ingress": "arrives"}
TURNED = {"egress": "arrives", "ingress": "leaves"}
LEAVES = ("rate", "ceil", "burst", "queue", "priority", "dscp")
MAJOR = 0x7273                  # of our trees, told by it from what the kernel gives links by itself
ROOT, ONLY = tc.handle(MAJOR), tc.handle(MAJOR, 1)
LINE, REST = tc.handle(MAJOR, 0xFFFF), tc.handle(MAJOR, 0xFFFE)     # of a network's tree, see line.py
# Of what waits: packets as they are, taken apart, and flow by flow.
QUEUE, PARTS, FLOWS = (tc.handle(MAJOR + number) for number in (1, 2, 3))
MARKS, REDIRECT = 1, 2          # the order of our filters at a hook
# What leaves has a further one: of one discipline the kernel tells all of an order as if they were at either hook.
AWAY = {tc.INGRESS_HOOK: REDIRECT, tc.EGRESS_HOOK: REDIRECT + 1}

# What a class may send in its turn, in bytes: without others to take turns with, any number that is no cause to warn;
# with others so many milliseconds of what is guaranteed to it, a whole packet at least.
QUANTUM, QUANTUM_MS, QUANTUM_MAX, SEGMENTS = 1514, 5, 200_000, 65_550
LAST_PRIO = 7       # of a class, where 0 is served first and a packet's 7 is the highest
# Below this many bytes/s packets of many segments are taken apart: by a bucket of one packet that is always full.
APART, ENDLESS = 500_000_000 // 8, 125_000_000_000
# How long a full bucket and a full queue take, in milliseconds; and the fewest packets they hold.
BUCKET_MS, BUCKET_PACKETS = 10, 2
QUEUE_MS, QUEUE_PACKETS = 50, 10


class Bucket(Frozen):
    """What holds a direction.

    Args:
        rate, burst: bytes/s that are guaranteed, and bytes of their bucket.
        ceil, ceil_burst: the same of what is allowed.
        limit: bytes that may wait; frame: of the largest packet.
        prio: its turn, where others are there.
        fair: whether flows take turns.
        whole: bytes/s of the line that it is a part of by no right of its own.
    """

    rate: int
    burst: int
    limit: int
    frame: int
    ceil: int
    ceil_burst: int
    prio: int = 0
    fair: bool = False
    whole: int = 0

    @property
    def apart(self) -> bool:
        """Whether packets of many segments are taken apart before they wait: at this rate one would hold up others."""
        return (self.whole or self.rate) < APART

    @property
    def packets(self) -> int:
        """How many may wait where flows take turns: most wait less, and who sends too much loses its own."""
        return max(4 * self.limit // self.frame, 64)

    @property
    def patience(self) -> int:
        """Microseconds that a packet may wait there, one and a half of the largest at least."""
        return max(5_000, self.frame * 1_500_000 // (self.whole or self.rate))

    @property
    def queue(self) -> int:
        """What limits the queue below the class, in that one's own unit."""
        return self.packets if self.fair and not self.apart else self.limit

    @property
    def quantum(self) -> int:
        """Bytes that it may send in its turn beside others."""
        return min(max(self.rate * QUANTUM_MS // 1000, self.frame if self.apart else SEGMENTS), QUANTUM_MAX)


def depth(rate: int, frame: int) -> int:
    """Bytes of a bucket of which the file says nothing."""
    return max(rate * BUCKET_MS // 1000, BUCKET_PACKETS * frame)


def bucket(one: Traffic | None, mtu: int | None, line: Line = ALONE, word: str = "") -> Bucket | None:
    """The bucket that holds a direction to its limit, None without one.

    What is guaranteed below `ceil` needs no act where nobody shares the link.

    Args:
        line, word: of the interface, and which way this is.
    """
    if one is None or one.rate is None:
        return None
    most, frame, shared = (one.ceil or one.rate) // 8, (mtu or 1500) + rules_traffic.HEADER, word in line.shared
    rate = one.rate // 8 if shared else most
    burst = one.burst or depth(most, frame)
    return Bucket(rate=rate, burst=one.burst or depth(rate, frame), frame=frame, ceil=most, ceil_burst=burst,
                  limit=burst + max(most * QUEUE_MS // 1000, QUEUE_PACKETS * frame), fair=line.fair,
                  prio=LAST_PRIO - (one.priority or 0) if shared else 0)


def program(one: Traffic | None, number: int | None = None) -> bytes | None:
    """The program that marks a direction's packets, None where nothing is asked.

    Args:
        number: of a port on a shared line, 0 of one that has no place of its own in it.
    """
    dscp, priority = (one.dscp, one.priority) if one is not None else (None, None)
    if dscp is None and priority is None and number is None:
        return None
    return tc_bpf.mark(dscp=dscp, priority=priority, group=number)


def outside(one: Interface) -> bool:
    """Whether an interface is held at an end on the host."""
    return one.type == "veth"


def shaper(owner: str, interface: str) -> str:
    """The name of the ifb on the host through which goes what leaves a container."""
    return f"ri{host_links.digest(f'{owner}.{interface}'):013x}"


def line_link(network: str, word: str) -> str:
    """The name of the ifb through which one way of a network's line goes, see line.py."""
    return f"rl{host_links.digest(f'{network}.{word}'):013x}"


def way(qos: Qos | None, word: str) -> Traffic | None:
    """One direction of a Qos that may not be there."""
    return getattr(qos, word) if qos is not None else None


# What is done: (message, program whose descriptor it takes, errno that is as good as success).

if TYPE_CHECKING:
    Act = tuple[bytes, bytes | None, int]


class Place(Frozen):
    """Where a port's packets go on a shared line: through which ifb, and the port's number."""

    link: int
    number: int


class Shaper(Frozen):
    """The ifb through which goes what arrives at a link."""

    name: str
    index: int
    alias: str


def acts(index: int, leaves: Traffic | None, arrives: Traffic | None, mtu: int | None, parts: dict[str, str],
         ifb: Shaper, line: Line = ALONE, places: dict[str, Place] | None = None) -> list[Act]:
    """What brings a link to its limits and marks.

    Args:
        leaves, arrives: what is asked of either direction of this end.
        parts: "leaves", "arrives" -> what of it: "rate", "mark", "both" as they differ; "new": on a link that has
            nothing yet; "anew": whatever is there.
        line: of the interface.
        places: "leaves", "arrives" -> where a direction goes that shares its network's line.
    """
    out: list[Act] = []
    places = places or {}
    hooks = any(program(one) is not None for one in (leaves, arrives)) or bool(places) or (
        bucket(arrives, mtu) is not None)
    anew = "anew" in parts.values()
    if anew or (hooks and "new" in parts.values()):
        out.append((tc.put_clsact(index), None, 0))
    for end, hook, one in (("leaves", tc.EGRESS_HOOK, leaves), ("arrives", tc.INGRESS_HOOK, arrives)):
        if end not in parts:
            continue
        part, place = parts[end], places.get(end)
        out += _mark(index, hook, one, part, place)
        # Of a way that is shared, it is what the container's own file calls it that counts.
        word = next((word for word in line.shared if TURNED[word] == end), "") if place is not None else ""
        held = bucket(one, mtu, line, word)
        if end == "leaves":
            out += _leaving(index, held if place is None else None, part)
        else:
            out += _arriving(index, held if place is None else None, part, ifb)
        if part == "anew":
            out.append((tc.delete_filters(index, hook, AWAY[hook]), None, ENOENT))
        if place is not None:
            out += _placed(index, hook, held, part, place)
        elif end == "arrives" and held is not None and part in ("new", "anew"):
            out.append((tc.put_redirect(index, hook, AWAY[hook], ifb.index), None, 0))
    if anew and not hooks:
        out.append((tc.delete_clsact(index), None, ENOENT))
    return out


def _mark(index: int, hook: int, one: Traffic | None, part: str, place: Place | None) -> list[Act]:
    code = program(one, None if place is None else place.number * (one is not None and one.rate is not None))
    out: list[Act] = [(tc.delete_filters(index, hook, MARKS), None, ENOENT)] * (part == "anew")
    if code is not None and part != "rate":
        out.append((tc.put_bpf(index, hook, MARKS, "runspec:mark"), code, 0))
    return out


def _placed(index: int, hook: int, held: Bucket | None, part: str, place: Place) -> list[Act]:
    """A port's class in its network's tree, and the way there."""
    out: list[Act] = []
    if held is not None and part != "mark":
        out += [(message, None, 0) for message in put(place.link, LINE, tc.handle(MAJOR, place.number), held)]
    elif part == "anew":
        out.append((tc.delete_class(place.link, tc.handle(MAJOR, place.number)), None, ENOENT))
    if part in ("new", "anew"):
        out.append((tc.put_redirect(index, hook, AWAY[hook], place.link), None, 0))
    return out


def _put(index: int, held: Bucket, part: str) -> list[Act]:
    """The tree: made, or changed with its queue kept."""
    out: list[Act] = []
    if part == "anew":
        out.append((tc.delete_root(index), None, ENOENT))
    if part in ("new", "anew"):
        out.append((tc.put_htb(index, ROOT, 1), None, 0))
    return [*out, *((message, None, 0) for message in put(index, ROOT, ONLY, held))]


def queues(number: int) -> tuple[int, int, int]:
    """The handles of what waits in a class, as QUEUE, PARTS, FLOWS: no two of one link are the same."""
    if number == ONLY:
        return QUEUE, PARTS, FLOWS
    minor = 0 if number == REST else number & 0x3FF
    return tc.handle(0x7400 + minor), tc.handle(0x7800 + minor), tc.handle(0x7C00 + minor)


def put(index: int, parent: int, number: int, held: Bucket) -> list[bytes]:
    """A class, and where its packets wait."""
    queue, parts, flows = queues(number)
    out = [tc.put_class(index, parent, number, held.rate, held.ceil, held.burst, held.ceil_burst, held.prio,
                        QUANTUM if parent == ROOT else held.quantum)]
    if held.apart:
        out.append(tc.put_tbf(index, number, parts, ENDLESS, held.frame, held.limit))
        number = parts | 1
    if held.fair:
        out.append(tc.put_flows(index, number, flows, held.packets, held.patience))
    elif not held.apart:
        out.append(tc.put_queue(index, number, queue, "bfifo", held.limit))
    return out


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
    if held is None and part == "anew" and ifb.index:
        out.append((rtnetlink.delete_link(ifb.index), None, ENODEV))
    return out
