"""What somebody else's nftables rules would do to a packet of ours, as far as their text tells.

Rules match what is known of the packet, or what is not: a link that any could be, a set, an extension of
iptables. What hangs on the unknown is never told as certain.
"""

from __future__ import annotations

from runspec.spec import units
from runspec.spec.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Row = dict[str, Any]

# Statements that change nothing of where a packet goes.
_IDLE = frozenset(("counter", "log", "comment", "mangle", "notrack", "quota", "ct helper", "secmark"))
_FINAL = ("accept", "drop", "reject")
DEPTH = 16      # of jumps, as the kernel allows


class Packet(Frozen):
    """A packet on its way through a hook; what is "" may be anything.

    Args:
        family: 4 or 6.
        source, target: addresses.
        state: of its connection, ct state; led: whether its target is a published port's.
    """

    family: int
    iif: str = ""
    oif: str = ""
    protocol: str = ""
    source: str = ""
    target: str = ""
    sport: int = 0
    dport: int = 0
    state: str = "new"
    led: bool = True


class Blocked(Frozen):
    """Who drops it.

    Args:
        handle: of the rule, 0 for the chain's policy.
        certain: no rule before it that might let the packet through.
    """

    family: str
    table: str
    chain: str
    handle: int = 0
    certain: bool = True

    def __str__(self) -> str:
        what = f"rule {self.handle} drops it" if self.handle else "its policy is drop"
        return f"table {self.family} {self.table}, chain {self.chain}: {what}"


class Ruleset:
    """All tables but ours, from `nft -j list ruleset`."""

    def __init__(self, rows: Sequence[Row], ours: tuple[str, str]) -> None:
        self.bases: list[Row] = []
        self.rules: dict[tuple[str, str, str], list[Row]] = {}
        for row in rows:
            for kind, one in row.items():
                if kind not in ("chain", "rule") or (one["family"], one["table"]) == ours:
                    continue
                if kind == "rule":
                    self.rules.setdefault((one["family"], one["table"], one["chain"]), []).append(one)
                elif "hook" in one:
                    self.bases.append(one)

    def blocked(self, hook: str, packet: Packet) -> Blocked | None:
        """The first chain at this hook that drops a packet; every one of them must let it through."""
        families = ("inet", "ip" if packet.family == 4 else "ip6")
        for base in sorted(self.bases, key=lambda one: int(one["prio"])):
            if base["hook"] != hook or base["family"] not in families or base["type"] != "filter":
                continue
            where = base["family"], base["table"], base["name"]
            walk = _Walk(self, packet)
            verdict, rule = walk.chain(where, 0)
            if verdict is None:
                verdict, rule = base.get("policy", "accept"), None
            if verdict != "accept":
                chain = rule["chain"] if rule is not None else where[2]
                return Blocked(family=where[0], table=where[1], chain=chain, certain=not walk.maybe,
                               handle=int(rule["handle"]) if rule is not None else 0)
        return None


class _Walk:
    """One packet through one base chain."""

    def __init__(self, rules: Ruleset, packet: Packet) -> None:
        self.rules, self.packet, self.maybe = rules, packet, False

    def chain(self, where: tuple[str, str, str], depth: int) -> tuple[str | None, Row | None]:
        """(verdict, the rule that gives it), or nothing where the chain comes to its end."""
        for rule in self.rules.rules.get(where, ()) if depth < DEPTH else ():
            said = self._rule(where, rule, depth)
            if said is not None:
                return said
        return None, None

    def _rule(self, where: tuple[str, str, str], rule: Row, depth: int) -> tuple[str | None, Row | None] | None:
        """As chain; None where the walk goes on behind this rule."""
        sure = True
        for one in rule.get("expr", ()):
            word: str
            value: Any
            [(word, value)] = one.items() if isinstance(one, dict) and len(one) == 1 else [("", None)]
            if word == "match":
                found = matches(value, self.packet)
                if found is False:
                    return None
                sure = sure and found is True
            elif word in _FINAL:
                if sure:
                    return word, rule
                self.maybe = self.maybe or word == "accept"
                return None
            elif word in ("jump", "goto"):
                verdict, by = self.chain((where[0], where[1], value["target"]), depth + 1)
                if sure and (verdict is not None or word == "goto"):
                    return verdict, by
                self.maybe = self.maybe or verdict == "accept"
                return None
            elif word == "return":
                return (None, None) if sure else None
            elif word not in _IDLE:
                sure = False        # a limit, a set's verdicts, an extension of iptables
        return None


def matches(match: Mapping[str, Any], packet: Packet) -> bool | None:
    """Whether a packet fits a match; None where that cannot be told."""
    known = _value(match["left"], packet)
    if known is None:
        return None
    found = _among(known, match["right"], str(match.get("op", "==")))
    return found if found is None or match.get("op") != "!=" else not found


def _value(left: Any, packet: Packet) -> Any:
    """What is known of a packet's field."""
    if not isinstance(left, dict) or len(left) != 1:
        return None
    [(kind, at)] = left.items()
    if kind == "meta" and isinstance(at, dict):
        ip = "ip" if packet.family == 4 else "ip6"
        return {"iifname": packet.iif, "oifname": packet.oif, "iif": packet.iif, "oif": packet.oif,
                "l4proto": packet.protocol, "nfproto": f"ipv{packet.family}", "protocol": ip}.get(at["key"]) or None
    if kind == "ct" and isinstance(at, dict):
        return {"state": packet.state, "status": "dnat" if packet.led else None}.get(at["key"])
    if kind == "payload" and isinstance(at, dict) and "field" in at:
        if at["protocol"] in ("ip", "ip6"):
            if (at["protocol"] == "ip") != (packet.family == 4):
                return "another family"
            return {"saddr": packet.source, "daddr": packet.target, "protocol": packet.protocol,
                    "nexthdr": packet.protocol}.get(at["field"]) or None
        if at["protocol"] in ("tcp", "udp", "th"):
            if at["protocol"] != "th" and packet.protocol and at["protocol"] != packet.protocol:
                return "another protocol"
            return {"sport": packet.sport, "dport": packet.dport}.get(at["field"]) or None
    return None


def _among(known: Any, right: Any, op: str) -> bool | None:
    """Whether a value is one of those that a match names."""
    if op not in ("==", "!=", "in"):
        return None
    if isinstance(right, list) or (isinstance(right, dict) and "set" in right):
        found = [_among(known, one, "==") for one in (right if isinstance(right, list) else right["set"])]
        return True if True in found else None if None in found else False
    if isinstance(right, dict):
        if "prefix" in right:
            address = str(right["prefix"]["addr"])
            if not isinstance(known, str) or not ("." in known or ":" in known):
                return False
            return units.within(known, f"{address}/{right['prefix']['len']}")
        if "range" in right:
            first, last = right["range"]
            return first <= known <= last if type(first) is type(known) is int else None
        return None
    if isinstance(right, str):
        if right.startswith("@"):
            return None
        if right.endswith("*"):
            return str(known).startswith(right[:-1])
    return bool(known == right)
