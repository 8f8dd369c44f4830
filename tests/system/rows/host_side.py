"""What of a link lies on the host: a VLAN's two programs, the host's way past a parent."""

from __future__ import annotations

import json
from typing import Any

from rows.base import Live, Row
from rows.network import BRIDGE, NEEDS, host

PARENT = {**BRIDGE, "addresses": ["10.78.9.1/24", "fd78:9::1/64"]}
BOTH = ["10.78.9.11/24", "fd78:9::11/64"]


def on(kind: str, *addresses: str, **keys: Any) -> dict[str, Any]:
    return {"interfaces": [{"name": "eth0", "type": kind, "parent": "row0", "addresses": list(addresses), **keys}]}


def filters(live: Live) -> list[str]:
    """Whose filters take frames on the parent and on the pair's end."""
    said = [live.host("tc", "filter", "show", "dev", link, "ingress") for link in ("row0", "row.eth0")]
    return [word for text in said for word in text.split() if word.startswith("runspec:")]


def reached(live: Live) -> list[tuple[str, bool, bool]]:
    """Routes of our protocol to the container, each with whether host and container answer each other by it."""
    ways = [one["dst"] for family in ("-4", "-6")
            for one in json.loads(live.host("ip", family, "-j", "route", "show", "table", "main", "proto", "82"))]
    if not ways:
        return []
    # A bridge without a port has no carrier, and what stands on it sends nothing.
    live.host("sh", "-ec", "ip link add port0 type veth peer name port1; ip link set port1 up;"
                           "ip link set port0 master row0 up")
    try:
        # With a deadline, ping goes on until it has as many answers as it is told to send.
        ping = ("ping", "-c", "1", "-w", "5", "-i", "0.2")
        return [(to, "1 received" in live.host(*ping, to),
                 "1 received" in live.enter("n", *ping, "fd78:9::1" if ":" in to else "10.78.9.1"))
                for to in sorted(ways)]
    finally:
        live.host("ip", "link", "del", "port0")


def access(kind: str) -> Row:
    return Row("interfaces[].hostAccess", on(kind, *BOTH), on(kind, *BOTH, hostAccess=True), reached,
               ([], [("10.78.9.11", True, True), ("fd78:9::11", True, True)]),
               host("ip", "-6", "route", "del", "fd78:9::11"), (*NEEDS, kind, "ping"), "interfaces[0].hostAccess",
               also=(PARENT, PARENT), both=False, rest=[])


ROWS = (
    Row("interfaces[].fallback", on("vlan", *BOTH, vlan={"id": 10}, fallback="tc-bpf"),
        on("vlan", *BOTH, vlan={"id": 10}, fallback="tc-bpf"), filters, (["runspec:row:eth0"] * 2,) * 2,
        host("tc", "qdisc", "del", "dev", "row0", "clsact"), (*NEEDS, "no_vlan"), "interfaces[0].fallback",
        also=(PARENT, PARENT), both=False),
    access("macvlan"), access("ipvlan"),
)
