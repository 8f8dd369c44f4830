"""Links on a parent: pyroute2 decodes the messages that make and change them."""

from __future__ import annotations

from typing import Any

import pytest
from pyroute2.netlink.rtnl import marshal

from runspec.errors import SpecError
from runspec.plan import rtnetlink as rt, rtnetlink_links as kinds


def decode(message: bytes) -> Any:
    """One message as pyroute2 reads it, with all of its bytes accounted for."""
    (one,) = list(marshal.MarshalRtnl().parse(message))
    assert one["header"]["length"] == len(message)
    return one


def values(message: Any) -> dict[str, Any]:
    return {name: value for name, value, *_ in message["attrs"]}


@pytest.mark.parametrize(("kind", "info", "told"), [
    ("vlan", kinds.vlan_info(10, "802.1Q"), {"IFLA_VLAN_ID": 10, "IFLA_VLAN_PROTOCOL": 0x8100}),
    ("vlan", kinds.vlan_info(4094, "802.1ad"), {"IFLA_VLAN_ID": 4094, "IFLA_VLAN_PROTOCOL": 0x88A8}),
    *(("macvlan", kinds.macvlan_info(mode), {"IFLA_MACVLAN_MODE": mode})
      for mode in ("private", "vepa", "bridge", "passthru")),
    *(("ipvlan", kinds.ipvlan_info(mode), {"IFLA_IPVLAN_MODE": number})
      for mode, number in (("l2", 0), ("l3", 1), ("l3s", 2)))])
def test_made_and_changed(kind: str, info: bytes, told: dict[str, int | str]) -> None:
    one = decode(kinds.create_on(kind, 7, "eth0", info, pid=4711, index=11, mac="02:00:00:00:00:02", mtu=1400))
    assert (one["event"], one["index"], one["flags"], one["header"]["flags"]) == ("RTM_NEWLINK", 11, 0, 0x605)
    has = values(one)
    about = values(has.pop("IFLA_LINKINFO"))
    assert has == {"IFLA_IFNAME": "eth0", "IFLA_LINK": 7, "IFLA_NET_NS_PID": 4711, "IFLA_MTU": 1400,
                   "IFLA_ADDRESS": "02:00:00:00:00:02"}
    assert about["IFLA_INFO_KIND"] == kind and values(about["IFLA_INFO_DATA"]) == told

    again = decode(kinds.change_kind(11, kind, info))
    assert (again["index"], again["header"]["flags"]) == (11, 5) and set(values(again)) == {"IFLA_LINKINFO"}
    assert values(values(again)["IFLA_LINKINFO"])["IFLA_INFO_DATA"] == about["IFLA_INFO_DATA"]


def test_what_is_left_out() -> None:
    plain = decode(kinds.create_on("macvlan", 7, "eth0", kinds.macvlan_info("bridge")))
    assert plain["index"] == 0 and set(values(plain)) == {"IFLA_IFNAME", "IFLA_LINK", "IFLA_LINKINFO"}
    up = decode(kinds.create_on("macvlan", 7, "eth0", kinds.macvlan_info("bridge"), up=True))
    assert up["flags"] == up["change"] == 1
    with pytest.raises(SpecError, match="cannot name a link"):
        kinds.create_on("macvlan", 7, "a b", b"")


@pytest.mark.parametrize("to", ["10.77.0.11/32", "fd77::11/128"])
def test_routes_of_ours_are_known(to: str) -> None:
    one = decode(rt.add_route(to, oif=9, protocol=rt.OURS))
    assert one["proto"] == 0x52 and values(one)["RTA_OIF"] == 9
    assert decode(rt.add_route(to, oif=9))["proto"] == 4
