"""Landlock: what processes are kept to beside every other right, landlock(7)."""

from __future__ import annotations

from runspec import abi
from runspec.plan.steps.base import Table
from runspec.spec.model import Landlock

# Landlock's rights on files, each with the version that brought it, landlock(7).
RIGHTS = {
    "execute": 1, "write_file": 1, "read_file": 1, "read_dir": 1, "remove_dir": 1, "remove_file": 1, "make_char": 1,
    "make_dir": 1, "make_reg": 1, "make_sock": 1, "make_fifo": 1, "make_block": 1, "make_sym": 1, "refer": 2,
    "truncate": 3, "ioctl_dev": 5,
}
GROUPS = {"read": ("read_file", "read_dir"),
          "write": tuple(word for word in RIGHTS if word not in ("execute", "read_file", "read_dir"))}
ON_FILES = ("execute", "write_file", "read_file", "truncate", "ioctl_dev")
NET, SCOPED = 4, 6      # versions that brought ports and scopes


def rights(words: tuple[str, ...]) -> int:
    """Landlock's bits of access words."""
    found = 0
    for word in words:
        for one in GROUPS.get(word, (word,)):
            found |= getattr(abi, f"LANDLOCK_ACCESS_FS_{one.upper()}")
    return found


def known_rights(version: int) -> int:
    """All rights on files that this version of Landlock can withhold."""
    return rights(tuple(word for word, since in RIGHTS.items() if since <= version))


def rule_ops(table: Table, one: Landlock, version: int) -> None:
    """Make the rule set in slot "landlock"; paths are opened from where the child's root is by now.

    Args:
        version: the kernel's; rights it does not know cannot be withheld.
    """
    fs = known_rights(version) if one.fs is not None else 0
    net = 0
    if one.net is not None:
        net |= abi.LANDLOCK_ACCESS_NET_BIND_TCP if one.net.bind is not None else 0
        net |= abi.LANDLOCK_ACCESS_NET_CONNECT_TCP if one.net.connect is not None else 0
    scope = 0
    for word in one.scope:
        scope |= getattr(abi, f"LANDLOCK_SCOPE_{word.upper()}")
    slot = table.slot("landlock")
    table.add(abi.OP_LANDLOCK, slot=slot, a=fs, b=net, c=scope)
    for rule in one.fs or ():
        table.add(abi.OP_LANDLOCK_PATH, slot=slot, s1=rule.path, a=rights(rule.access) & fs, b=rights(ON_FILES))
    if one.net is not None:
        for ports, bit in ((one.net.bind, abi.LANDLOCK_ACCESS_NET_BIND_TCP),
                           (one.net.connect, abi.LANDLOCK_ACCESS_NET_CONNECT_TCP)):
            for port in ports or ():
                table.add(abi.OP_LANDLOCK_PORT, slot=slot, a=port, b=bit)


def shown(one: Landlock) -> tuple[str, ...]:
    """A Landlock section as people read it."""
    words = [f"{rule.path} {','.join(rule.access)}" for rule in one.fs or ()] if one.fs != () else ["no file"]
    if one.net is not None:
        words += [f"{name} {','.join(map(str, ports)) or 'no port'}" for name, ports in
                  (("bind", one.net.bind), ("connect", one.net.connect)) if ports is not None]
    return (*words, *one.scope)
