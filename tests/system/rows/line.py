"""The line of a network that containers share, judged by tc(8) at the link through which all of them go."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rows.base import Live, Row
from rows.network import BRIDGE, link
from rows.traffic import END

NEEDS = ("bridge", "veth", "ifb", "tc")
WHOLE, REST = "7273:ffff", "7273:fffe"


def ifb(live: Live, way: str) -> str:
    """The link through which one way of the network goes."""
    found = [one["ifname"] for one in json.loads(live.host("ip", "-j", "link", "show", "type", "ifb"))
             if one.get("ifalias") == f"runspec:row0:{way}"]
    return found[0] if found else ""


def classes(live: Live, way: str) -> dict[str, dict[str, str]]:
    """What tc(8) says of each class, by its number."""
    said = [one.split() for one in live.host("tc", "class", "show", "dev", ifb(live, way)).splitlines()]
    return {one[2]: {word: one[one.index(word) + 1] for word in ("rate", "ceil", "burst", "cburst", "prio")
                     if word in one} for one in said if one[1] == "htb"}


def whole(way: str, word: str) -> Callable[[Live], str]:
    return lambda live: classes(live, way)[WHOLE][word]


def part(way: str, word: str) -> Callable[[Live], str]:
    """Of the container's own class."""
    return lambda live: classes(live, way).get(mine(live, way), {}).get(word, "")


def mine(live: Live, way: str) -> str:
    """The number of the class of the only port there is, "" where it has none."""
    return next((number for number in classes(live, way) if number not in (WHOLE, REST)), "")


def rest(live: Live) -> str:
    return classes(live, "egress")[REST]["rate"]


def change(way: str, number: str, *words: str) -> Callable[[Live], None]:
    """Args: number: of the class, "" for the port's own."""
    parent = "7273:" if number == WHOLE else WHOLE
    return lambda live: live.host("tc", "class", "change", "dev", ifb(live, way), "parent", parent, "classid",
                                  number or mine(live, way), "htb", *words) and None


def lost(way: str) -> Callable[[Live], None]:
    return lambda live: live.host("tc", "class", "del", "dev", ifb(live, way), "classid", mine(live, way)) and None


def uprooted(live: Live) -> None:
    live.host("tc", "qdisc", "del", "dev", ifb(live, "ingress"), "root")


def led(way: str) -> Callable[[Live], bool]:
    """Whether what passes the container's port goes through the network's line."""
    hook = "ingress" if way == "egress" else "egress"

    def judge(live: Live) -> bool:
        name = ifb(live, way)
        return bool(name) and f"Redirect to device {name})" in live.host("tc", "filter", "show", "dev", END, hook)
    return judge


def astray(live: Live) -> None:
    live.host("tc", "filter", "del", "dev", END, "ingress", "pref", "2")


def lan(**qos: Any) -> dict[str, Any]:
    return BRIDGE | ({"qos": qos} if qos else {})


BOTH = lan(egress={"rate": "20mbit"}, ingress={"rate": "40mbit"})


def row(path: str, before: dict[str, Any], after: dict[str, Any], judge: Callable[[Live], Any],
        expect: tuple[Any, Any], drift: Callable[[Live], None] | str, also: tuple[Any, Any] = (BOTH, BOTH),
        both: bool = False, at: str = "") -> Row:
    return Row(path, before, after, judge, expect, drift, NEEDS, at or path.replace("[]", "[0]"), also=also, both=both)


def held(way: str, **keys: Any) -> dict[str, Any]:
    return link(qos={way: keys})


ROWS = (
    row("qos.egress.rate", link(), link(), whole("egress", "rate"), ("20Mbit", "30Mbit"),
        change("egress", WHOLE, "rate", "5mbit", "burst", "9000", "cburst", "9000"),
        (BOTH, lan(egress={"rate": "30mbit"}, ingress={"rate": "40mbit"}))),
    row("qos.ingress.rate", link(), link(), whole("ingress", "rate"), ("40Mbit", "50Mbit"),
        uprooted,
        (BOTH, lan(egress={"rate": "20mbit"}, ingress={"rate": "50mbit"})), both=True),
    *(row(f"qos.{way}.burst", link(), link(), whole(way, "cburst"), ("9000b", "32Kb"),
          change(way, WHOLE, "rate", "20mbit", "burst", "25000", "cburst", "25000"),
          (lan(**{way: {"rate": "20mbit", "burst": 9000}}), lan(**{way: {"rate": "20mbit", "burst": "32Ki"}})))
      for way in ("egress", "ingress")),
    row("qos.egress.rate", held("egress", rate="5mbit"), held("egress", rate="5mbit"), rest, ("15Mbit", "15Mbit"),
        change("egress", REST, "rate", "1mbit", "ceil", "20mbit"), at="qos.egress.rest"),
    *(one for way in ("egress", "ingress") for one in (
        row(f"interfaces[].qos.{way}.rate", held(way, rate="5mbit"), held(way, rate="8mbit"), part(way, "rate"),
            ("5Mbit", "8Mbit"), change(way, "", "rate", "1mbit", "ceil", "8mbit"), both=way == "egress"),
        row(f"interfaces[].qos.{way}.rate", held(way, dscp=3), held(way, dscp=3, rate="8mbit"), part(way, "rate"),
            ("", "8Mbit"), lost(way)),
        row(f"interfaces[].qos.{way}.ceil", held(way, rate="5mbit"), held(way, rate="5mbit", ceil="15mbit"),
            part(way, "ceil"), ("5Mbit", "15Mbit"), change(way, "", "rate", "5mbit", "ceil", "6mbit")),
        row(f"interfaces[].qos.{way}.priority", held(way, rate="5mbit", ceil="9mbit"),
            held(way, rate="5mbit", ceil="9mbit", priority=5), part(way, "prio"), ("7", "2"),
            "its class shows in tc(8), its drift as a turn: tests/system/test_line.py"),
    )),
    row("interfaces[].qos.egress.line", link(), link(), led("egress"), (False, True), astray, (BRIDGE, BOTH)),
    row("interfaces[].qos.ingress.line", held("ingress", rate="5mbit"), held("ingress", rate="5mbit"), led("ingress"),
        (True, False), "the network has none any more", (BOTH, BRIDGE)),
)
