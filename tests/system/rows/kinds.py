"""Interfaces of each type: what they are made on, their modes and tags, and the host's end of a routed one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rows.base import Live, Row
from rows.network import BRIDGE, NEEDS, host, link, net, shown

# A bridge is an Ethernet link like any other, so it carries what the file asks for.
PLAIN = {**BRIDGE, "addresses": []}
ROUTED = {"name": "eth0", "type": "veth", "mode": "routed", "addresses": ["10.78.9.11/32", "fd78:9::11/128"],
          "gateway": ["169.254.9.1", "fd78:9::1"]}


def on(kind: str, **keys: Any) -> dict[str, Any]:
    return {"interfaces": [{"name": "eth0", "type": kind, "parent": "row0", "addresses": ["10.78.9.11/24"], **keys}]}


def about(live: Live) -> dict[str, Any]:
    """What ip(8) tells of the kind: {"info_kind": ..., "info_data": {...}}."""
    return dict(shown(live, "-d", "link", "show", "dev", "eth0")[0]["linkinfo"])


def data(name: str) -> Callable[[Live], Any]:
    return lambda live: about(live)["info_data"][name]


def kind(live: Live) -> str:
    return str(about(live)["info_kind"])


def again(*words: str) -> Callable[[Live], None]:
    """Somebody puts another link in its place, on the same parent."""
    def drift(live: Live) -> None:
        live.enter("n", "ip", "link", "del", "eth0")
        live.host("ip", "link", "add", "link", "row0", "name", "eth0", "netns", str(live.pid), *words)
    return drift


def outside(live: Live) -> dict[str, Any]:
    """The host's end: its addresses, the routes of our protocol through it, what it forwards."""
    name = "row.eth0"
    found = json.loads(live.host("ip", "-j", "addr", "show", "dev", name))[0]
    ways = [one for family in ("-4", "-6")
            for one in json.loads(live.host("ip", family, "-j", "route", "show", "dev", name, "proto", "82"))]
    return {"up": "UP" in found["flags"], "master": found.get("master"),
            "addresses": {one["local"] for one in found["addr_info"] if one["scope"] == "global"},
            "routes": {one["dst"] for one in ways},
            "forwards": [live.host("cat", f"/proc/sys/net/{v}/conf/{name}/forwarding").strip()
                         for v in ("ipv4", "ipv6")]}


def routed(*addresses: str) -> dict[str, Any]:
    return {"interfaces": [{**ROUTED, **({"addresses": list(addresses)} if addresses else {})}]}


def router(*routes: str) -> dict[str, Any]:
    return {"up": True, "master": None, "addresses": {"169.254.9.1", "fd78:9::1"}, "routes": set(routes),
            "forwards": ["1", "1"]}


def parameter(live: Live) -> str:
    return live.enter("n", "cat", "/proc/sys/net/ipv4/conf/eth0/arp_notify")


def sysctl(value: str) -> dict[str, Any]:
    return link(sysctl={"net.ipv4.conf.IFNAME.arp_notify": value})


def row(path: str, before: dict[str, Any], after: dict[str, Any], judge: Callable[[Live], Any], expect: tuple[Any, Any],
        drift: Callable[[Live], None] | str, needs: tuple[str, ...] = (), at: str = "", both: bool = False) -> Row:
    return Row(path, before, after, judge, expect, drift, NEEDS + needs, at or path.replace("[]", "[0]"),
               also=(PLAIN, PLAIN), both=both)


NOTIFY = "interfaces[0].sysctl.net.ipv4.conf.IFNAME.arp_notify"
FIRST, SECOND, SIXTH = "10.78.9.11", "10.78.9.12", "fd78:9::11"
END = "interfaces[].hostEnd"

ROWS = (
    row("interfaces[].type", link(), on("macvlan"), kind, ("veth", "macvlan"),
        net("sh", "-c", "ip link del eth0; ip link add eth0 type bridge"), ("macvlan",)),
    row("interfaces[].mode", on("macvlan"), on("macvlan", mode="private"), data("mode"), ("bridge", "private"),
        net("ip", "link", "set", "eth0", "type", "macvlan", "mode", "vepa"), ("macvlan",)),
    row("interfaces[].mode", on("ipvlan"), on("ipvlan", mode="l3"), data("mode"), ("l2", "l3"),
        again("type", "ipvlan", "mode", "l3s"), ("ipvlan",)),
    row("interfaces[].mode", link(), routed(), lambda live: outside(live)["master"], ("row0", None),
        host("ip", "link", "set", "row.eth0", "master", "row0")),
    row("interfaces[].vlan.id", on("vlan", vlan={"id": 10}), on("vlan", vlan={"id": 4094}), data("id"), (10, 4094),
        again("type", "vlan", "id", "30"), ("vlan",)),
    row("interfaces[].vlan.protocol", on("vlan", vlan={"id": 10}), on("vlan", vlan={"id": 10, "protocol": "802.1ad"}),
        data("protocol"), ("802.1Q", "802.1ad"), again("type", "vlan", "id", "10"), ("vlan",)),
    row(END, routed(), routed(f"{SECOND}/32", f"{SIXTH}/128"), outside, (router(FIRST, SIXTH), router(SECOND, SIXTH)),
        host("ip", "route", "del", SECOND, "dev", "row.eth0"), at="interfaces[0].hostEnd.routes"),
    row(END, routed(), routed(), outside, (router(FIRST, SIXTH),) * 2,
        host("ip", "-6", "route", "del", SIXTH, "dev", "row.eth0"), at="interfaces[0].hostEnd.routes"),
    row(END, routed(), routed(), outside, (router(FIRST, SIXTH),) * 2,
        host("ip", "addr", "add", "10.78.9.99/32", "dev", "row.eth0"), at="interfaces[0].hostEnd.addresses"),
    row(END, routed(), routed(), outside, (router(FIRST, SIXTH),) * 2,
        host("sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/row.eth0/forwarding"), at="interfaces[0].hostEnd.forwarding"),
    row(END, routed(), routed(), outside, (router(FIRST, SIXTH),) * 2,
        host("ip", "link", "set", "row.eth0", "down"), at="interfaces[0].hostEnd.up"),
    row("interfaces[].sysctl", sysctl("1"), sysctl("0"), parameter, ("1", "0"),
        net("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_notify"), at=NOTIFY),
    row("interfaces[].sysctl", sysctl("1"), link(), parameter, ("1", "0"),
        "the file asks for nothing any more", at=NOTIFY),
)
