"""Networks: what their bridges are to containers, and what these take from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rows.base import Live, Row
from rows.network import BRIDGE, addresses, field, host, link, net, routes

NEEDS = ("bridge", "veth", "ip", "nsenter")
AUTO = link(addresses="auto")


def lan(**keys: Any) -> dict[str, Any]:
    return BRIDGE | keys


def row(path: str, before: dict[str, Any], after: dict[str, Any], also: tuple[Any, Any], judge: Callable[[Live], Any],
        expect: tuple[Any, Any], drift: Callable[[Live], None] | str, at: str = "", both: bool = False,
        needs: tuple[str, ...] = NEEDS) -> Row:
    return Row(path, before, after, judge, expect, drift, needs, at or path.replace("[]", "[0]"), also=also, both=both)


def isolated(live: Live) -> bool:
    """What bridge(8) says of the container's port."""
    return bool(json.loads(live.host("bridge", "-j", "-d", "link", "show", "dev", "row.eth0"))[0]["isolated"])


def filtering(live: Live) -> int:
    return int(json.loads(live.host("ip", "-j", "-d", "link", "show", "dev", "row0"))[0]["linkinfo"]["info_data"][
        "vlan_filtering"])


def vlans(live: Live) -> list[tuple[int, bool]]:
    """(number, whether untagged both ways) of each VLAN of the port."""
    [port] = json.loads(live.host("bridge", "-j", "vlan", "show", "dev", "row.eth0"))
    return [(one["vlan"], set(one.get("flags", ())) == {"PVID", "Egress Untagged"}) for one in port["vlans"]]


def outer(live: Live) -> int:
    return int(json.loads(live.host("ip", "-j", "link", "show", "dev", "row.eth0"))[0]["mtu"])


ROWS = (
    row("interfaces[].pooled", link(addresses=["10.77.9.40/24"]), AUTO, (BRIDGE, lan(pool={"range": "10.77.9.8/30"})),
        addresses, (["10.77.9.40/24"], ["10.77.9.8/24"]), net("ip", "addr", "del", "10.77.9.8/24", "dev", "eth0"),
        "interfaces[0].addresses"),
    row("pool.range", AUTO, AUTO, (lan(pool={"range": "10.77.9.16-10.77.9.31"}), lan(pool={"range": "10.77.9.32/28"})),
        addresses, (["10.77.9.16/24"], ["10.77.9.32/24"]), net("ip", "addr", "add", "10.77.9.99/24", "dev", "eth0"),
        "interfaces[0].addresses"),
    row("pool.exclude", AUTO, AUTO, (lan(pool={"exclude": ["10.77.9.2-10.77.9.99"]}),
                                     lan(pool={"exclude": ["10.77.9.0/25"]})),
        addresses, (["10.77.9.100/24"], ["10.77.9.128/24"]),
        net("ip", "addr", "flush", "dev", "eth0", "scope", "global"), "interfaces[0].addresses"),
    # The gateway and the mtu are the network's.
    row("interfaces[].gateway", AUTO, AUTO, (BRIDGE, lan(addresses=["10.77.9.3/24"])), routes,
        ([("default", "10.77.9.1")], [("default", "10.77.9.3")]), net("ip", "route", "del", "default")),
    row("interfaces[].mtu", link(), link(), (lan(mtu=1400), lan(mtu=1300)), field("mtu"), (1400, 1300),
        net("ip", "link", "set", "eth0", "mtu", "1280")),
    row("isolated", link(), link(), (BRIDGE, lan(isolated=True)), isolated, (False, True),
        host("bridge", "link", "set", "dev", "row.eth0", "isolated", "off")),
    row("isolated", link(), link(), (lan(isolated=True), BRIDGE), isolated, (True, False),
        host("bridge", "link", "set", "dev", "row.eth0", "isolated", "on")),
    row("vlanFiltering", link(), link(), (BRIDGE, lan(vlanFiltering=True)), filtering, (0, 1),
        host("ip", "link", "set", "row0", "type", "bridge", "vlan_filtering", "0"), both=True,
        needs=(*NEEDS, "vlan_filtering")),
    row("interfaces[].vlan.id", link(vlan={"id": 10}), link(vlan={"id": 20}),
        (lan(vlanFiltering=True), lan(vlanFiltering=True)), vlans, ([(10, True)], [(20, True)]),
        host("bridge", "vlan", "add", "dev", "row.eth0", "vid", "30"), both=True, needs=(*NEEDS, "vlan_filtering")),
    row("interfaces[].hostEnd", link(mtu=1400), link(mtu=1500), (BRIDGE, BRIDGE), outer, (1400, 1500),
        host("ip", "link", "set", "row.eth0", "mtu", "1300"), "interfaces[0].hostEnd.mtu"),
)
