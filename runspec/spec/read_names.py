"""YAML trees -> dns and extraHosts."""

from __future__ import annotations

from runspec.errors import SpecError
from runspec.spec import units
from runspec.spec.model import Dns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.spec.from_yaml import Reader

    Tree = dict[str, Any]

GATEWAY = "host-gateway"


def dns(reader: Reader, raw: Tree | None) -> Dns | None:
    """What resolv.conf is to say; null is left out."""
    if raw is None:
        return None
    return Dns(nameservers=reader.list_of(raw, "dns", "nameservers", parse_server),
               search=reader.texts(raw, "search"), options=reader.texts(raw, "options"))


def parse_server(value: object) -> str:
    """An address, with the link it is on where that must be told: `fe80::1%eth0`.

    Raises:
        SpecError: it is none.
    """
    text, percent, zone = str(value).partition("%")
    address = units.parse_address(text)
    if percent and not address.startswith("fe80:"):
        raise SpecError(f"{units.shown(value)} has a zone", "only a link-local address needs to say its link, RFC 4007",
                        f"write {address}")
    return f"{address}{percent}{zone}"


def extra_hosts(reader: Reader, raw: Any) -> tuple[tuple[str, str], ...]:
    """A map, or Compose's list of `name:address` and `name=address`."""
    if isinstance(raw, dict):
        return tuple(sorted((name, reader.call(f"extraHosts.{name}", parse_host, address, ""))
                            for name, address in raw.items()))
    found: dict[str, str] = {}
    moves: dict[str, str] = {}
    for index, one in enumerate(raw or ()):
        at = f"extraHosts[{index}]"
        # The first of the two, since an address may hold colons.
        end = min(place for place in (one.find(":"), one.find("=")) if place >= 0)
        name, address = one[:end], one[end + 1:]
        if name.lower() in map(str.lower, found):
            reader.note(at, f"{units.shown(name)} is given twice", "a name leads to one address", "remove one")
            continue
        if address.startswith("[") and address.endswith("]"):
            address = address[1:-1]
        found[name] = reader.call(at, parse_host, address, "")
        moves[f"[{index}]"] = f".{name}"
    if moves:
        reader.moves["extraHosts"] = moves
    return tuple(sorted(found.items()))


def parse_host(value: object) -> str:
    """An address, or the word for the host's.

    Raises:
        SpecError: it is neither.
    """
    return GATEWAY if value == GATEWAY else units.parse_address(value)
