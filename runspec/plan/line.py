"""The line of a network, which its containers share: which trees of token buckets it is, and what is seen of them.

Of each way there is a link of type ifb, through which goes what every port of the bridge sends or gets. At its root is
a tree of HTB: one class holds all of it to what the line carries, below it each port has a class of its own, with what
is guaranteed to it and how far it may go while others leave room, and what is left is a class for all ports that say
nothing. A port's class has the number that its bridge gave the port. A program at the port writes the number into
each packet, since the same packet may have passed another port before, and one at the root of the tree reads it.
"""

from __future__ import annotations

from runspec.plan import tc, tc_bpf, traffic
from runspec.plan.traffic import LINE, MAJOR, REST, ROOT, WAYS, Bucket
from runspec.plan.values import ABSENT
from runspec.spec.model import Carried, Network, Traffic
from runspec.spec.rules_traffic import SLOWEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.plan.facts import Facts

LAST = 0x3FF        # the highest number of a bridge's port, so that more are no port's
PLACES = tc_bpf.place(MAJOR)
LEFT = "what is left"


def carried(network: Network, word: str) -> Carried | None:
    """What one way of a network's line carries, None where it has none."""
    return getattr(network.qos, word, None)


def whole(one: Carried, mtu: int | None) -> Bucket:
    """The bucket that holds all of a line."""
    held = traffic.bucket(Traffic(rate=one.rate, burst=one.burst), mtu)
    assert held is not None
    return held


def left(capacity: int, classes: list[Any]) -> int:
    """bytes/s that are guaranteed to nobody: a class has to have some."""
    return max(capacity - sum(int(one.rate) for one in classes if 0 < one.handle & 0xFFFF <= LAST), SLOWEST // 8)


def rest(index: int, held: Bucket, least: int, fair: bool) -> list[bytes]:
    """Messages for the class of all that is guaranteed nothing.

    Args:
        held: the line's own bucket.
        least: bytes/s.
    """
    burst = traffic.depth(least, held.frame)
    mine = held.replace(rate=least, burst=burst, prio=traffic.LAST_PRIO, fair=fair, whole=held.rate)
    return traffic.put(index, LINE, REST, mine)


def tree(index: int, held: Bucket, anew: bool) -> list[tuple[bytes, bytes | None]]:
    """(message, program whose descriptor it takes) of all of a line but what is in it.

    Args:
        anew: what is at the ifb's root is no such tree.
    """
    out: list[tuple[bytes, bytes | None]] = []
    if anew:
        out.append((tc.put_htb(index, ROOT, REST & 0xFFFF), None))
    out.append((tc.put_class(index, ROOT, LINE, held.rate, held.rate, held.burst, held.burst,
                             quantum=traffic.QUANTUM), None))
    return [*out, (tc.put_bpf(index, ROOT, 1, "runspec:place", direct=False), PLACES)]


# What is seen.

class Sight:
    """What the kernel shows of one way of a network's line.

    Args:
        ready: whether its ifb is there and up.
        rows: queueing disciplines, classes and filters of that.
    """

    __slots__ = ("ready", "rows")

    def __init__(self, ready: bool, rows: list[Any]) -> None:
        self.ready, self.rows = ready, rows

    def of(self, kind: str) -> list[Any]:
        """The rows of one kind: Qdisc, Class or Filter."""
        return [one for one in self.rows if type(one).__name__ == kind]

    @property
    def whole(self) -> Any:
        """The class that holds all of it, None where anything is missing that leads there."""
        from runspec.plan import bpf

        sound = self.ready and any(one.handle == ROOT and one.kind == "htb" and one.parent == tc.ROOT
                                   for one in self.of("Qdisc")) and any(
            one.parent == ROOT and one.order == 1 and one.tag in bpf.tags(PLACES) for one in self.of("Filter"))
        return next((one for one in self.of("Class") if sound and one.handle == LINE), None)


def expect_line(network: Network, view: dict[str, Any]) -> None:
    """A network's line as path -> value, as asked."""
    for word in WAYS:
        one = carried(network, word)
        if one is None:
            continue
        held = whole(one, network.mtu)
        view[f"qos.{word}.rate"], view[f"qos.{word}.burst"] = held.rate * 8, held.burst
        view[f"qos.{word}.rest"] = LEFT


def see_line(network: Network, last: Network | None, facts: Facts, view: dict[str, Any]) -> None:
    """The same as the kernel shows it."""
    for word in WAYS:
        asked = [one for each in (network, last) if each is not None
                 and (one := carried(each, word)) is not None]
        if not asked:
            continue
        sight, at = facts.lines.get((network.name, word)), f"qos.{word}"
        found = sight.whole if sight is not None else None
        if sight is None or found is None:
            view.update({f"{at}.rate": ABSENT, f"{at}.burst": ABSENT, f"{at}.rest": ABSENT})
            continue
        burst = round(found.cbuffer * tc.TICK * found.ceil / 1_000_000_000)
        for one in asked:
            kept = whole(one.replace(rate=found.ceil * 8), network.mtu)
            if found.rate == found.ceil and abs(tc.ticks(found.ceil, kept.burst) - found.cbuffer) <= 1:
                # What follows from the rate is no difference of its own.
                follows = one.burst is None and asked[0].burst is None
                burst = whole(asked[0], network.mtu).burst if follows else kept.burst
                break
        least = next((one for one in sight.of("Class") if one.handle == REST and one.parent == LINE), None)
        due = left(found.ceil, sight.of("Class"))
        view.update({f"{at}.rate": found.ceil * 8, f"{at}.burst": burst, f"{at}.rest": LEFT if least is not None and (
            least.rate, least.ceil) == (due, found.ceil) else ABSENT if least is None else f"{least.rate * 8} bit/s"})
