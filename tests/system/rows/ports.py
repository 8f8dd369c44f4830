"""Published ports, nat and internal networks, as nftables of the host has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rows.base import Live, Row
from rows.network import BRIDGE, NEEDS, link

Port = dict[str, Any]


def published(*ports: Port | str) -> dict[str, Any]:
    return link() | {"ports": list(ports)}


def text(part: Any) -> str:
    """A part of an element's key or value."""
    if not isinstance(part, dict):
        return str(part)
    return "-".join(map(str, part["range"])) if "range" in part else "{addr}/{len}".format(**part["prefix"])


def leads(live: Live) -> list[str]:
    """What each of our maps says, read by nft(8): `tcp 127.0.0.1 8080 to 10.77.9.11 80`."""
    out = []
    for row in json.loads(live.host("nft", "-j", "list", "ruleset"))["nftables"]:
        for key, value in row.get("map", {}).get("elem", ()):
            words = [" ".join(map(text, one["concat"])) if isinstance(one, dict) else one
                     for one in (key["elem"]["val"], value)]
            out.append(" to ".join(words))
    return sorted(out)


def member(name: str) -> Callable[[Live], list[str]]:
    """The elements of one of our sets."""
    return lambda live: [text(element["elem"]["val"]) for row in json.loads(
        live.host("nft", "-j", "list", "ruleset"))["nftables"] if row.get("set", {}).get("name") == name
        for element in row["set"].get("elem", ())]


def host(*words: str) -> Callable[[Live], None]:
    return lambda live: live.host(*words) and None


FLUSH = host("nft", "flush", "ruleset")


def row(path: str, before: dict[str, Any], after: dict[str, Any], expect: tuple[list[str], list[str]],
        drift: Callable[[Live], None] = FLUSH, at: str = "ports[0]", rest: Any = None, both: bool = False) -> Row:
    return Row(path, before, after, leads, expect, drift, (*NEEDS, "nft"), at, also=(BRIDGE, BRIDGE), rest=rest,
               both=both)


TO = "10.77.9.11"
ROWS = (
    row("ports", link(), published("8080:80"), ([], [f"tcp 127.0.0.1 8080 to {TO} 80"]), rest=[],
        both=True),
    row("ports", published("8080:80", "8000-8009:8000-8009/udp"), published("8080:80"),
        ([f"tcp 127.0.0.1 8080 to {TO} 80", f"udp 127.0.0.1 8000-8009 to {TO}"], [f"tcp 127.0.0.1 8080 to {TO} 80"]),
        host("nft", "flush", "chain", "inet", "runspec", "lead"), at="ports[udp 127.0.0.1 8000-8009]")._replace(
            drift="the row above has it"),
    row("ports", published("8080:80"), published("8080:80"), ([f"tcp 127.0.0.1 8080 to {TO} 80"],) * 2,
        host("nft", "flush", "chain", "inet", "runspec", "lead"), at="ports"),
    row("ports[].host", published({"host": 8080, "container": 80}),
        published({"host": "8080-8081", "container": "80-81"}),
        ([f"tcp 127.0.0.1 8080 to {TO} 80"], [f"tcp 127.0.0.1 8080 to {TO} 80", f"tcp 127.0.0.1 8081 to {TO} 81"]),
        host("nft", "delete", "element", "inet", "runspec", "ports4", "{ tcp . 127.0.0.1 . 8081 }")),
    row("ports[].container", published("8080:80"), published("8080:81"),
        ([f"tcp 127.0.0.1 8080 to {TO} 80"], [f"tcp 127.0.0.1 8080 to {TO} 81"]),
        host("nft", "flush", "map", "inet", "runspec", "ports4")),
    row("ports[].hostIP", published("8080:80"), published("0.0.0.0:8080:80"),
        ([f"tcp 127.0.0.1 8080 to {TO} 80"], [f"tcp 0.0.0.0/0 8080 to {TO} 80"]),
        host("nft", "delete", "table", "inet", "runspec")),
    row("ports[].protocol", published("8080:80"), published("8080:80/udp"),
        ([f"tcp 127.0.0.1 8080 to {TO} 80"], [f"udp 127.0.0.1 8080 to {TO} 80"])),
    Row("ports", published("0.0.0.0:8080:80"), published("0.0.0.0:8080:80"),
        lambda live: live.host("cat", "/proc/sys/net/ipv4/ip_forward").strip(), ("2", "2"),
        host("sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"), (*NEEDS, "nft"), "ports", also=(BRIDGE, BRIDGE),
        both=False, rest="0"),
    Row("ports", published("8080:80"), published("8080:80"),
        lambda live: live.host("cat", "/proc/sys/net/ipv4/conf/row0/route_localnet").strip(), ("1", "1"),
        host("sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/row0/route_localnet"), (*NEEDS, "nft"), "ports",
        also=(BRIDGE, BRIDGE), both=False),
    Row("nat", {}, {}, member("nat4"), ([], ["10.77.9.0/24"]), FLUSH, (*NEEDS, "nft"), "nat",
        also=(BRIDGE, BRIDGE | {"nat": True})),
    Row("nat", {}, {}, member("nat4"), (["10.77.9.0/24"], []), "the row above has it", (*NEEDS, "nft"), "nat",
        also=(BRIDGE | {"nat": True}, BRIDGE), both=False),
    Row("internal", {}, {}, member("internal"), ([], ["row0"]),
        host("nft", "delete", "element", "inet", "runspec", "internal", "{ row0 }"), (*NEEDS, "nft"), "internal",
        also=(BRIDGE, BRIDGE | {"internal": True})),
    Row("internal", {}, {}, member("internal"), (["row0"], ["row0"]),
        host("nft", "flush", "chain", "inet", "runspec", "forward"), (*NEEDS, "nft"), "internal",
        also=(BRIDGE | {"internal": True},) * 2, both=False),
)
