"""Interfaces of a container, and the bridge they are on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rows.base import Live, Row

BRIDGE: dict[str, Any] = {"apiVersion": "runspec/v1", "kind": "Network", "name": "row0", "type": "bridge",
                          "addresses": ["10.77.9.1/24"]}
NEEDS = ("bridge", "veth", "ip", "nsenter")


def link(**keys: Any) -> dict[str, Any]:
    one = {"name": "eth0", "type": "veth", "network": "row0", "addresses": ["10.77.9.11/24"], **keys}
    return {"interfaces": [one]}


def shown(live: Live, *words: str) -> list[dict[str, Any]]:
    """What ip(8) says inside."""
    return list(json.loads(live.enter("n", "ip", "-j", *words)))


def field(name: str, which: str = "eth0") -> Callable[[Live], Any]:
    return lambda live: next(one[name] for one in shown(live, "link", "show", "dev", which))


def names(live: Live) -> list[str]:
    return [one["ifname"] for one in shown(live, "link") if one["ifname"] != "lo"]


def addresses(live: Live) -> list[str]:
    return [f"{one['local']}/{one['prefixlen']}" for one in shown(live, "addr", "show", "dev", "eth0")[0]["addr_info"]
            if one["family"] == "inet"]


def routes(live: Live) -> list[tuple[str, str]]:
    return [(one["dst"], one["gateway"]) for one in shown(live, "route") if "gateway" in one]


def net(*words: str) -> Callable[[Live], None]:
    return lambda live: live.enter("n", *words) and None


def bridge(live: Live) -> dict[str, Any]:
    return dict(json.loads(live.host("ip", "-j", "addr", "show", "dev", "row0"))[0])


def host(*words: str) -> Callable[[Live], None]:
    return lambda live: live.host(*words) and None


def row(path: str, before: dict[str, Any], after: dict[str, Any], judge: Callable[[Live], Any], expect: tuple[Any, Any],
        drift: Callable[[Live], None] | str, at: str = "", also: tuple[Any, Any] = (BRIDGE, BRIDGE)) -> Row:
    return Row(path, before, after, judge, expect, drift, NEEDS, at or path.replace("[]", "[0]"), also=also,
               both=path in ("interfaces", "interfaces[].addresses", "interfaces[].gateway", "addresses"))


ROWS = (
    row("interfaces", {}, link(), names, ([], ["eth0"]), net("ip", "link", "del", "eth0"), "interfaces[0]"),
    row("interfaces", link(), {}, names, (["eth0"], []), "the file asks for nothing any more", "interfaces[eth0]"),
    row("interfaces", {}, {}, names, ([], []), net("ip", "link", "add", "br9", "type", "bridge")),
    row("interfaces[].name", link(), link(name="net0"), names, (["eth0"], ["net0"]),
        net("ip", "link", "del", "net0"), "interfaces[0]"),
    row("interfaces[].mac", link(mac="02:00:00:00:00:11"), link(mac="02:00:00:00:00:12"), field("address"),
        ("02:00:00:00:00:11", "02:00:00:00:00:12"), net("ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")),
    row("interfaces[].mtu", link(), link(mtu=1400), field("mtu"), (1500, 1400),
        net("ip", "link", "set", "eth0", "mtu", "1300")),
    row("interfaces[].addresses", link(), link(addresses=["10.77.9.12/24"]), addresses,
        (["10.77.9.11/24"], ["10.77.9.12/24"]), net("ip", "addr", "add", "10.77.9.99/24", "dev", "eth0")),
    row("interfaces[].gateway", link(gateway="10.77.9.1"), link(gateway="10.77.9.2"), routes,
        ([("default", "10.77.9.1")], [("default", "10.77.9.2")]), net("ip", "route", "del", "default")),
    row("interfaces[].routes", link(routes=[{"to": "192.0.2.0/24", "via": "10.77.9.2"}]),
        link(routes=[{"to": "198.51.100.0/24", "via": "10.77.9.2"}]), routes,
        ([("192.0.2.0/24", "10.77.9.2")], [("198.51.100.0/24", "10.77.9.2")]),
        net("ip", "route", "add", "203.0.113.0/24", "via", "10.77.9.3")),
    row("addresses", link(), link(), lambda live: [one["local"] for one in bridge(live)["addr_info"]
                                                   if one["family"] == "inet"], (["10.77.9.1"], ["10.77.9.2"]),
        host("ip", "addr", "add", "10.77.9.9/24", "dev", "row0"),
        also=(BRIDGE, BRIDGE | {"addresses": ["10.77.9.2/24"]})),
    row("mtu", {}, {}, lambda live: bridge(live)["mtu"], (1400, 1300), host("ip", "link", "set", "row0", "mtu", "1200"),
        also=(BRIDGE | {"mtu": 1400}, BRIDGE | {"mtu": 1300})),
    row("up", {}, {}, lambda live: "UP" in bridge(live)["flags"], (True, True),
        host("ip", "link", "set", "row0", "down")),
)
