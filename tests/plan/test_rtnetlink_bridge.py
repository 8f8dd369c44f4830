"""Messages about ports of bridges, decoded by pyroute2; and parsers held against what they read."""

from __future__ import annotations

from typing import Any

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from runspec import abi
from runspec.kernel import netlink_bridge
from runspec.plan import rtnetlink, rtnetlink_bridge as bridge


def decoded(message: bytes) -> Any:
    found = ifinfmsg(message)
    found.decode()
    return found


def test_set_port() -> None:
    for link, index in ((7, 7), ("a.eth0", 0)):
        for flag in (False, True):
            found = decoded(bridge.set_port(link, flag))
            info = found.get_attr("IFLA_LINKINFO")
            assert (found["header"]["type"], found["index"]) == (abi.RTM_NEWLINK, index)
            assert found["header"]["flags"] == abi.NLM_F_REQUEST | abi.NLM_F_ACK and not found["change"]
            assert found.get_attr("IFLA_IFNAME") == (None if index else "a.eth0")
            assert info.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge"
            assert info.get_attr("IFLA_INFO_SLAVE_DATA").get_attr("IFLA_BRPORT_ISOLATED") == int(flag)


def test_set_filtering() -> None:
    info = decoded(bridge.set_filtering("lan0", True)).get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "bridge"
    assert info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_BR_VLAN_FILTERING") == 1


def test_vlans() -> None:
    found = decoded(bridge.add_vlan(9, 20))
    assert (found["header"]["type"], found["family"], found["index"]) == (abi.RTM_SETLINK, abi.AF_BRIDGE, 9)
    [(_, value)] = found.get_attr("IFLA_AF_SPEC")["attrs"]
    assert (value["vid"], value["flags"]) == (20, abi.BRIDGE_VLAN_INFO_PVID | abi.BRIDGE_VLAN_INFO_UNTAGGED)
    assert decoded(bridge.delete_vlan(9, 1))["header"]["type"] == abi.RTM_DELLINK
    # What is asked for one port reads as what is told of it.
    assert netlink_bridge.parse_vlans(as_told(bridge.add_vlan(9, 20))) == {9: {20: 6}}


def as_told(message: bytes) -> bytes:
    """The message as the kernel would answer it."""
    return message[:4] + abi.RTM_NEWLINK.to_bytes(2, "little") + message[6:]


def test_ports_and_filtering_read_back() -> None:
    data = bridge.set_port(7, True) + bridge.set_port(8, False) + bridge.set_filtering("lan0", True)
    assert netlink_bridge.parse_ports(data) == {7: True, 8: False}
    assert netlink_bridge.parse_filtering(data) == {0}
    assert netlink_bridge.parse_ports(rtnetlink.create_bridge("lan0")) == {}
