"""Limits and marks of a container's link, judged by tc(8) and by what a packet looks like at its other end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from rows.base import Live, Row
from rows.network import BRIDGE, link

NEEDS = ("bridge", "veth", "ifb", "tc", "nsenter", "ping")
END = "row.eth0"
# Catches an echo request or reply of the container's and tells the upper six bits of its second byte.
CAPTURE = """
import socket, subprocess, sys
sees = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
sees.bind((sys.argv[1], 0x0800))
sees.settimeout(10)
subprocess.run(sys.argv[3:], check=True, capture_output=True)
while True:
    data, where = sees.recvfrom(2000)
    if where[2] != 4 and data[23] == 1 and data[26:30] == socket.inet_aton(sys.argv[2]):
        break
print(data[15] >> 2)
"""


def ifb(live: Live) -> str:
    """The link through which goes what leaves the container."""
    found = [one["ifname"] for one in json.loads(live.host("ip", "-j", "link", "show", "type", "ifb"))
             if one.get("ifalias") == "runspec:row:eth0"]
    return found[0] if found else ""


def end(live: Live, way: str) -> str:
    return END if way == "ingress" else ifb(live)


def bucket(way: str, word: str) -> Callable[[Live], str]:
    """What tc(8) says of the class that holds a direction, "" where there is none; in JSON it lacks half of it."""
    def judge(live: Live) -> str:
        said = live.host("tc", "class", "show", "dev", end(live, way)).split() if end(live, way) else []
        return said[said.index(word) + 1] if word in said else ""
    return judge


def change(way: str, *words: str) -> Callable[[Live], None]:
    return lambda live: live.host("tc", "class", "change", "dev", end(live, way), "parent", "7273:", "classid",
                                  "7273:1", "htb", *words) and None


def lose(way: str) -> Callable[[Live], None]:
    """The bucket goes: at the link's root, or with all hooks."""
    words = ("qdisc", "del", "dev", END, "root") if way == "ingress" else ("qdisc", "del", "dev", END, "clsact")
    return lambda live: live.host("tc", *words) and None


def marked(way: str) -> Callable[[Live], int]:
    """The mark of an echo request that leaves, or of a reply that arrives."""
    def judge(live: Live) -> int:
        ping = ("ping", "-c", "1", "-W", "2", "10.77.9.1")
        if way == "ingress":
            return int(live.enter("n", sys.executable, "-c", CAPTURE, "eth0", "10.77.9.1", *ping))
        return int(live.host(sys.executable, "-c", CAPTURE, "row0", "10.77.9.11", "nsenter", "-t", str(live.pid), "-n",
                             *ping))
    return judge


def unmark(way: str) -> Callable[[Live], None]:
    return lambda live: live.host("tc", "filter", "del", "dev", END, "egress" if way == "ingress" else "ingress",
                                  "pref", "1") and None


def held(way: str, **keys: Any) -> dict[str, Any]:
    return link(qos={way: keys})


def row(way: str, name: str, before: dict[str, Any], after: dict[str, Any], judge: Callable[[Live], Any],
        expect: tuple[Any, Any], drift: Callable[[Live], None] | str, at: str = "", both: bool = False) -> Row:
    path = f"interfaces[].qos.{way}.{name}"
    return Row(path, held(way, **before), held(way, **after), judge, expect, drift, NEEDS,
               at or path.replace("[]", "[0]"), also=(BRIDGE, BRIDGE), both=both)


ROWS = (
    *(one for way in ("egress", "ingress") for one in (
        row(way, "rate", {"rate": "10mbit"}, {"rate": "20mbit"}, bucket(way, "ceil"), ("10Mbit", "20Mbit"),
            change(way, "rate", "5mbit", "burst", "25000", "cburst", "25000"), both=way == "egress"),
        row(way, "rate", {"rate": "10mbit"}, {"rate": "20mbit"}, bucket(way, "ceil"), ("10Mbit", "20Mbit"), lose(way)),
        row(way, "rate", {"dscp": 3}, {"dscp": 3, "rate": "800kbps"}, bucket(way, "ceil"), ("", "6400Kbit"), lose(way)),
        row(way, "rate", {"dscp": 3, "rate": "10mbit"}, {"dscp": 3}, bucket(way, "ceil"), ("10Mbit", ""),
            "nothing is asked any more"),
        row(way, "ceil", {"rate": "10mbit"}, {"rate": "10mbit", "ceil": "40mbit"}, bucket(way, "ceil"),
            ("10Mbit", "40Mbit"), change(way, "rate", "5mbit", "burst", "50000", "cburst", "50000")),
        row(way, "burst", {"rate": "8mbit", "burst": 20000}, {"rate": "8mbit", "burst": "32Ki"},
            bucket(way, "cburst"), ("20000b", "32Kb"), change(way, "rate", "8mbit", "burst", "9000", "cburst", "9000")),
        row(way, "burst", {"rate": "8mbit"}, {"rate": "8mbit", "burst": "32Ki"}, bucket(way, "cburst"),
            ("10000b", "32Kb"), "the row above has it"),
        row(way, "dscp", {"dscp": "ef"}, {"dscp": "af41"}, marked(way), (46, 34), unmark(way), both=way == "ingress"),
        row(way, "dscp", {}, {"dscp": 10}, marked(way), (0, 10), unmark(way)),
    )),
)
