"""The patterns of the schemas; what plain files hold is known without regular expressions, which take 6 ms to load."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_compiled: dict[str, Callable[[str], Any]] = {}


def matches(pattern: str, value: str) -> bool:
    """Whether a text matches a pattern as ECMA means it: Python's `$` also matches before a last newline."""
    common = COMMON.get(pattern)
    if common is not None and common(value):
        return True
    found = _compiled.get(pattern)
    if found is None:
        import re

        python = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
        found = _compiled[pattern] = re.compile(python).search
    return found(value) is not None


def _digits(value: str) -> bool:
    return value.isascii() and value.isdigit()


def _word(value: str) -> bool:
    return value[:1].isalnum() and value.isascii() and value.replace("-", "0").replace("_", "0").isalnum()


def _name(value: str) -> bool:
    return len(value) <= 15 and _word(value)


def _amount(value: str) -> bool:
    return _digits(value) or (_digits(value[:-2]) and value[-2:] in ("Ki", "Mi", "Gi"))


def _address(value: str) -> bool:
    return bool(value) and not value.strip("0123456789abcdefABCDEF:.")


def _prefix(value: str) -> bool:
    address, _, bits = value.partition("/")
    return _address(address) and _digits(bits) and len(bits) <= 3


# Pattern -> a test that what most people write passes. Whatever passes matches the pattern too; for the rest the
# pattern itself is asked.
COMMON: dict[str, Callable[[str], bool]] = {
    "^/": lambda value: value.startswith("/"),
    "^[^=]+=": lambda value: value.find("=") > 0,
    "^[^=]+$": lambda value: bool(value) and "=" not in value,
    "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": _name,
    "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$": _name,
    "^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$": _name,
    "^([A-Za-z0-9][A-Za-z0-9_.-]{0,14}|mac:[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}"
    "|pci:[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\\.[0-7])$": _name,
    "^(busybox|host|(dir|tar|docker-archive|oci):/.*)$": lambda value: value in ("busybox", "host") or (
        value.startswith(("dir:/", "tar:/", "oci:/")) and value.isprintable()),
    "^(-1|max|[0-9]+(\\.[0-9]+)?([kKMGTPE]|[KMGTPE]i)?B?)$": _amount,
    "^[0-9]+(\\.[0-9]+)?([kKMGTPE]|[KMGTPE]i)?B?$": _amount,
    "^(-1|max|[0-9]+(\\.[0-9]+)?(%|m|us|ms|s)?)$": lambda value: _digits(value[:-1]) and value[-1] in "%m",
    "^[0-9]+(\\.[0-9]+)?(us|ms|s)?$": lambda value: _digits(value[:-2]) and value[-2:] in ("us", "ms"),
    "^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$": lambda value: all(map(_digits, value.split("-", 1))),
    "^[0-9]+(\\.[0-9]+)?([kmgtKMGT]?i?([bB][iI][tT]|[bB][pP][sS]))?$": lambda value: (
        _digits(value[:-4]) and value[-4:] in ("kbit", "mbit", "gbit")),
    "^[0-7]{1,5}$": lambda value: 0 < len(value) <= 5 and not value.strip("01234567"),
    "^[0-9A-Fa-f:.]+$": _address,
    "^[0-9A-Fa-f:.]+/[0-9]{1,3}$": _prefix,
    "^(default|[0-9A-Fa-f:.]+(/[0-9]{1,3})?)$": lambda value: value == "default" or _prefix(value),
    "^[A-Za-z0-9_-]+([./][A-Za-z0-9_:-]+)+$": lambda value: "." in value and all(map(_word, value.split("."))),
    "^RLIMIT_[A-Z]+$": lambda value: (
        value.startswith("RLIMIT_") and value.isascii() and value[7:].isalpha() and value.isupper()),
    "^[rwm]{1,3}$": lambda value: 0 < len(value) <= 3 and not value.strip("rwm"),
    "^(default|unconfined)$": lambda value: value in ("default", "unconfined"),
    "^auto$": lambda value: value == "auto",
    "^(-1|max)$": lambda value: value in ("-1", "max"),
}
