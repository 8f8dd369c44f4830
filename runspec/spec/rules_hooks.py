"""Rules on hooks."""

from __future__ import annotations

from runspec.spec.frozen import items, key
from runspec.spec.model import Hook, Hooks
from runspec.spec.rules_mounts import Faults, check_path
from runspec.spec.units import shown

LONGEST = 10**6     # seconds; its milliseconds fit every field of the kernel's


def check_hooks(faults: Faults, hooks: Hooks) -> None:
    """All of them."""
    for field, listed in items(hooks):
        for index, one in enumerate(listed):
            _hook(faults, f"hooks.{key(field)}[{index}]", one)


def runtime_hooks(hooks: Hooks) -> list[tuple[str, tuple[Hook, ...]]]:
    """(OCI's word, hooks) of those whose program is the host's."""
    return [(key(field), listed) for field, listed in items(hooks) if field != "start_container"]


def _hook(faults: Faults, at: str, one: Hook) -> None:
    check_path(faults, f"{at}.path", one.path)
    for index, word in enumerate(one.args):
        if "\0" in word:
            faults.add(f"{at}.args[{index}]", "holds a NUL character", "it would end the word, execve(2)", "remove it")
    for index, word in enumerate(one.env):
        name, equals, _ = word.partition("=")
        if not name or not equals:
            faults.add(f"{at}.env[{index}]", f"{shown(word)} is no NAME=value", "environ(7)",
                       "write it like LANG=C")
        elif "\0" in word:
            faults.add(f"{at}.env[{index}]", "holds a NUL character", "it would end the value, environ(7)",
                       "remove it")
    if one.timeout is not None and not 0 < one.timeout <= LONGEST:
        faults.add(f"{at}.timeout", f"{one.timeout} is out of range",
                   f"it goes from 1 to {LONGEST} seconds, config.md, POSIX-platform Hooks",
                   "remove it, or write a number in this range")
