"""YAML trees -> Ports, in the short form of Compose and as maps."""

from __future__ import annotations

from runspec.errors import SpecError
from runspec.spec import units
from runspec.spec.model import Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.spec.from_yaml import Reader

LOCAL = "127.0.0.1"
PROTOCOLS = ("tcp", "udp")


def ports(reader: Reader) -> tuple[Port, ...]:
    """The ports of a document."""
    return tuple(port for index, one in enumerate(reader.tree.get("ports") or ())
                 if (port := _port(reader, one, f"ports[{index}]")) is not None)


def _port(reader: Reader, one: Any, at: str) -> Port | None:
    if isinstance(one, str):
        return reader.call(at, parse_port, one, None)
    return Port(host=_plain(str(one["host"])), container=_plain(str(one["container"])),
                host_ip=reader.value(one, at, "hostIP", units.parse_address) or LOCAL,
                protocol=one.get("protocol") or "tcp")


def parse_port(text: str) -> Port:
    """`[ADDRESS:]HOST:CONTAINER[/PROTOCOL]`, the ports single or ranges; an IPv6 address in brackets.

    Raises:
        SpecError: the address is none.
    """
    rest, _, protocol = text.partition("/")
    rest, _, container = rest.rpartition(":")
    address, _, host = rest.rpartition(":")
    return Port(host=_plain(host), container=_plain(container), protocol=protocol or "tcp",
                host_ip=units.parse_address(address.strip("[]")) if address else LOCAL)


def _plain(text: str) -> str:
    """Without zeros in front, and one port as one."""
    first, dash, last = (str(int(part)) if part.isdigit() else part for part in text.partition("-"))
    return first if not dash or first == last else f"{first}-{last}"


def span(text: str) -> tuple[int, int]:
    """First and last of the ports that a text names.

    Raises:
        SpecError: it is none of ours.
    """
    first, dash, last = text.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise SpecError(f"{units.shown(text)} is no port", "a port is a number, or FIRST-LAST",
                        "write it like 8080 or 8000-8009")
    return int(first), int(last or first)
