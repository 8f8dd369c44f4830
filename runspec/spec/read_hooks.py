"""YAML trees -> hooks."""

from __future__ import annotations

from runspec.errors import SpecError
from runspec.spec import units
from runspec.spec.frozen import fields_of, key
from runspec.spec.model import Hook, Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.spec.from_yaml import Reader

    Tree = dict[str, Any]


def hooks(reader: Reader, raw: Tree | None) -> Hooks:
    """All six kinds."""
    if not raw:
        return Hooks()
    return Hooks(**{field: tuple(_hook(reader, one, f"hooks.{key(field)}[{index}]")
                                 for index, one in enumerate(raw.get(key(field)) or ()))
                    for field in fields_of(Hooks)})


def _hook(reader: Reader, raw: Tree, at: str) -> Hook:
    args, env = raw.get("args"), raw.get("env")
    if isinstance(args, str):
        args = list(reader.call(f"{at}.args", units.parse_words, args, tuple[str, ...]()))
    if isinstance(env, dict):
        env = [f"{name}={value}" for name, value in reader.pairs(raw, at, "env")]
    return Hook(path=raw["path"], args=tuple(args or ()), env=tuple(env or ()),
                timeout=reader.value(raw, at, "timeout", parse_seconds))


def parse_seconds(value: object) -> int:
    """Turns `10s` or a number of seconds into seconds, which OCI knows whole ones of.

    Raises:
        SpecError: the text is no such time.
    """
    if isinstance(value, int):
        return value
    time, rest = divmod(units.parse_duration(value), 10**6)
    if rest or str(value).isdigit():
        raise SpecError(f"{units.shown(value)} is no whole number of seconds", "config.md, POSIX-platform Hooks",
                        "write it like 10s")
    return time
