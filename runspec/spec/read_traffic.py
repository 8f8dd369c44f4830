"""Limits and marks of links in a file -> Qos."""

from __future__ import annotations

from runspec.spec import units
from runspec.spec.model import Carried, NetworkQos, Qos, Traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.spec.from_yaml import Reader


def qos(reader: Reader, tree: Any, at: str) -> Qos | None:
    """What `qos` says, None where it says nothing."""
    read = {way: _traffic(reader, tree.get(way), f"{at}.{way}") for way in ("egress", "ingress")} if tree else {}
    return Qos(**read) if any(one is not None for one in read.values()) else None


def _traffic(reader: Reader, tree: Any, at: str) -> Traffic | None:
    if not tree:
        return None
    found = Traffic(rate=reader.value(tree, at, "rate", units.parse_rate),
                    ceil=reader.value(tree, at, "ceil", units.parse_rate),
                    burst=reader.value(tree, at, "burst", units.parse_size), priority=tree.get("priority"),
                    dscp=reader.value(tree, at, "dscp", units.parse_dscp))
    return None if found == Traffic() else found


def line(reader: Reader, tree: Any) -> NetworkQos | None:
    """What a network's `qos` says, None where it says nothing."""
    read = {way: Carried(rate=reader.value(one, f"qos.{way}", "rate", units.parse_rate) or 0,
                         burst=reader.value(one, f"qos.{way}", "burst", units.parse_size))
            for way in ("egress", "ingress") if (one := (tree or {}).get(way))}
    return NetworkQos(**read) if read else None
