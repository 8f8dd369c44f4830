"""The words for a link of the host: its name, or what its hardware says of it."""

from __future__ import annotations

from runspec.errors import SpecError
from runspec.spec.units import parse_mac, shown


def parse_parent(value: object) -> str:
    """Turns the words for a link of the host into one form: a name, `mac:` or `pci:` with lower-case digits.

    Raises:
        SpecError: it is none.
    """
    text = str(value)
    kind, colon, rest = text.partition(":")
    if not colon:
        return text
    if kind == "mac":
        return f"mac:{parse_mac(rest)}"
    parts = rest.lower().replace(".", ":").split(":")
    if kind != "pci" or [len(part) for part in parts] != [4, 2, 2, 1] or not set("".join(parts)) <= set(
            "0123456789abcdef") or rest.count(".") != 1 or parts[3] > "7":
        raise SpecError(f"{shown(value)} names no link of the host", "it is a link's name, mac:ADDRESS or pci:ADDRESS",
                        "write eth1, mac:52:54:00:12:34:56 or pci:0000:00:03.0")
    return f"pci:{rest.lower()}"
