"""Links that are lent: what names them, what they come home as; pyroute2 makes and reads the messages."""

from __future__ import annotations

from typing import Any

from pyroute2.netlink.rtnl import marshal
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from runspec.plan import nic

FOREVER = 0xFFFFFFFF
NIC: dict[str, Any] = {
    "index": 3, "name": "eth1", "layer": 1, "kind": "", "mac": "52:54:00:12:34:57", "broadcast": "ff:ff:ff:ff:ff:ff",
    "perm": "52:54:00:12:34:57", "bus": "virtio", "device": "virtio4", "port": "", "mtu": 1500, "txqlen": 1000,
    "group": 0, "linkmode": 0, "alias": "", "altnames": [], "flags": 0x1003, "master": "", "lower": 0, "token": "",
    "generated": 0, "upper": [], "addresses": [], "routes": [], "qdiscs": [], "neighbours": [], "settings": {}}


def decode(message: bytes) -> Any:
    (one,) = list(marshal.MarshalRtnl().parse(message))
    assert one["header"]["length"] == len(message) and one["header"]["sequence_number"] == 1
    return one


def values(message: Any) -> dict[str, Any]:
    return {name: value for name, value, *_ in message["attrs"]}


def payload(kind: type, **fields: Any) -> str:
    """What the kernel would tell in a dump, hexadecimal."""
    message = kind()
    attributes = fields.pop("attrs")
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes.items())
    message.encode()
    return bytes(message.data)[16:].hex()


def address(local: str, flags: int, valid: int = FOREVER, **more: Any) -> str:
    family = 10 if ":" in local else 2
    return payload(ifaddrmsg, family=family, prefixlen=64 if family == 10 else 24, index=3, scope=0, attrs={
        "IFA_ADDRESS": local, **({} if family == 10 else {"IFA_LOCAL": local}), "IFA_FLAGS": flags,
        "IFA_CACHEINFO": {"ifa_preferred": valid, "ifa_valid": valid, "cstamp": 1, "tstamp": 2}, **more})


def test_move() -> None:
    one = decode(nic.move(5, 4711, "eth%d", 0x10000001))
    assert (one["event"], one["index"]) == ("RTM_NEWLINK", 5)
    assert values(one) == {"IFLA_NET_NS_PID": 4711, "IFLA_IFNAME": "eth%d", "IFLA_NEW_IFINDEX": 0x10000001}
    assert "IFLA_NEW_IFINDEX" not in values(decode(nic.move(5, 4711, "eth0", 0)))
    has = values(decode(nic.move(5, 4711, "eth0", 11, "02:00:00:00:00:01", 1400)))
    assert has["IFLA_ADDRESS"] == "02:00:00:00:00:01" and has["IFLA_MTU"] == 1400
