"""What a file asks otherwise than what was applied last, where nothing runs that could be looked at."""

from __future__ import annotations

from runspec.plan import diff, live, traffic, view
from runspec.plan.facts import Facts
from runspec.plan.host import Host
from runspec.plan.steps.base import Change
from runspec.plan.values import ABSENT
from runspec.spec.model import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Lists of a Spec, and by what each of their elements is known.
LISTS: tuple[tuple[str, Callable[[Spec], tuple[Any, ...]], Callable[[Any], Any]], ...] = (
    ("mounts", lambda spec: spec.mounts, lambda one: one.destination),
    ("process.rlimits", lambda spec: spec.process.rlimits, lambda one: one.type),
    ("linux.namespaces", lambda spec: spec.linux.namespaces, lambda one: one.type),
    ("linux.devices", lambda spec: spec.linux.devices, lambda one: one.path),
    ("interfaces", lambda spec: spec.interfaces, lambda one: one.name),
    ("ports", lambda spec: spec.ports, lambda one: (one.host_ip, one.host, one.protocol)),
)


def edits(spec: Spec, last: Spec, host: Host, facts: Facts, names: tuple[view.View, view.View]) -> tuple[Change, ...]:
    """The edits of a container that has ended, under the paths that they have while it runs.

    Args:
        last: what was applied last.
        facts: what the machine says about the wish itself; that paths to be hidden are there is taken for granted.
        names: what the file asks of its names, and what the one applied last did.
    """
    facts.present = frozenset().union(*(paths for one in (spec, last) for paths in (
        one.linux.masked_paths, one.linux.readonly_paths)))
    expected = {**asked(spec, host, facts), **names[0]}
    before = {**renumbered(spec, last, asked(last, host, facts)), **view.gone(spec, last), **names[1]}
    found = diff.changes(spec.name, expected, before, {**dict.fromkeys(expected, ABSENT), **before})
    fresh = {one.path for one in found if one.before is ABSENT}
    # Of an element that is new its name says it all.
    found = tuple(one for one in found if head(one.path) == one.path or head(one.path) not in fresh)
    return live.weigh(spec, last, facts, found)


def asked(spec: Spec, host: Host, facts: Facts) -> view.View:
    """What is expected of a Spec, without what only follows from its rates."""
    out = view.expected(spec, host, facts)
    for i, one in enumerate(spec.interfaces):
        for word in traffic.WAYS if one.qos is not None else ():
            said = traffic.way(one.qos, word)
            out.pop(f"interfaces[{i}].qos.{word}.queue", None)
            if said is None or said.burst is None:
                out.pop(f"interfaces[{i}].qos.{word}.burst", None)
    return out


def head(path: str) -> str:
    """`mounts[3].options` -> `mounts[3]`; all of a path that leads to no element of a list."""
    name, bracket, _ = path.partition("]")
    return name + bracket


def renumbered(spec: Spec, last: Spec, said: view.View) -> view.View:
    """What was expected of `last`, with the indexes that the elements of its lists have in `spec`; without those that
    have none there."""
    places: dict[str, str] = {}
    for path, those, name in LISTS:
        index = {name(one): f"{path}[{i}]" for i, one in enumerate(those(spec))}
        places.update((f"{path}[{i}]", index.get(name(one), "")) for i, one in enumerate(those(last)))
    out: view.View = {}
    for path, value in said.items():
        at = head(path)
        place = places.get(at, at)
        if place:
            out[place + path[len(at):]] = value
    return out
