"""A plan as a file: what `plan --out` writes and `apply` does later, on the machine and in the state it was made for.

It holds the documents with their positions, the Steps and Changes, and what was observed when they were
decided. Nothing is decided again: whoever may write the file decides what root does, as with a script.
"""

from __future__ import annotations

import json

from runspec import __version__
from runspec.errors import Mark, SpecError, StateError
from runspec.plan.steps import registry
from runspec.plan.steps.base import Change, Plan, Step
from runspec.plan.values import ABSENT, UNKNOWN, Sentinel
from runspec.run.journal import args_of, plain, restore, restore_step
from runspec.run.request import Wanted
from runspec.run.store import boot_id
from runspec.spec.from_yaml import Place
from runspec.spec.frozen import fields_of
from runspec.spec.model import Network, Spec
from runspec.spec.sha import sha256
from runspec.spec.tree import from_tree, to_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runspec.kernel import Kernel
    from runspec.plan.host import Host
    from runspec.plan.planner import Item
    from runspec.run.apply import Work
    from runspec.run.store import Store

VERSION = 1
KEYS = {"apiVersion": str, "bootID": str, "changes": list, "digest": str, "documents": list, "host": str, "kind": str,
        "observed": dict, "quiet": list, "root": str, "runspec": str, "steps": list, "version": int}
NOTHING = {"$": "absent"}
AGAIN = "make a new one with `runspec plan --out`"


class Saved:
    """A plan read back.

    Attributes:
        wanted: its documents; plan: what it does; observed: target -> key -> what was seen there.
    """

    __slots__ = ("observed", "path", "plan", "wanted")

    def __init__(self, path: str, wanted: list[Wanted], plan: Plan, observed: dict[str, dict[str, Any]]) -> None:
        self.path, self.wanted, self.plan, self.observed = path, wanted, plan, observed

    def check(self, work: Work, host: Host, shown: Callable[[Any], str]) -> None:
        """Refuse it where the machine moved since.

        Args:
            shown: how a value is written for people.
        Raises:
            StateError: names the key.
        """
        found = moved(self.observed, json.loads(canonical(fingerprint(work, host))))
        if found is not None:
            key, before, now = found
            raise StateError(f"{self.path}: the machine moved since this plan was made: {key} was {shown(before)}, "
                             f"is {shown(now)}", "a plan holds for the state it was made from", AGAIN)


def text(kernel: Kernel, store: Store, wanted: list[Wanted], work: Work, host: Host) -> str:
    """The file of a plan: canonical JSON, one line; equal plans give equal bytes."""
    tree = {
        "apiVersion": "runspec/v1", "kind": "Plan", "version": VERSION, "runspec": __version__,
        "bootID": boot_id(kernel), "host": host_name(kernel), "root": store.root,
        "documents": [{"kind": one.kind, "spec": to_tree(one.model), "digest": one.digest,
                       "marks": marks_tree(one.marks)} for one in wanted],
        "observed": fingerprint(work, host),
        "changes": [{field: value_tree(getattr(one, field)) for field in fields_of(Change)}
                    for one in work.plan.changes],
        "steps": [{"step": type(one).__name__, "args": args_of(one)} for one in work.plan.steps],
        "quiet": list(work.plan.quiet)}
    return canonical({**tree, "digest": digest(tree)}) + "\n"


def canonical(tree: Any) -> str:
    """Sorted keys, no spaces, ASCII."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(tree: dict[str, Any]) -> str:
    """Of everything but the digest itself."""
    return sha256(canonical({key: value for key, value in tree.items() if key != "digest"}).encode()).hexdigest()


def host_name(kernel: Kernel) -> str:
    """What people call this machine; its boot id is what counts."""
    return kernel.read_text("/proc/sys/kernel/hostname").strip()


def marks_tree(marks: dict[str, Mark]) -> dict[str, Any]:
    """Positions as plain lists: [file, line, column], and the path in the file where that is another one."""
    return {path: [mark.file, mark.line, mark.column, *([mark.path] if isinstance(mark, Place) else [])]
            for path, mark in marks.items()}


def mark_of(words: list[Any]) -> Mark:
    """The inverse, for one."""
    mark = Mark(words[0], words[1], words[2])
    return Place(mark, words[3]) if len(words) > 3 else mark


def value_tree(value: Any) -> Any:
    """A value of a view as plain JSON."""
    if isinstance(value, Sentinel):
        return {"$": repr(value)}
    if isinstance(value, (tuple, list)):
        return [value_tree(inner) for inner in value]
    if isinstance(value, dict):
        return {str(key): value_tree(inner) for key, inner in value.items()}
    return plain(value)


def value_of(tree: Any) -> Any:
    """The inverse; lists become tuples."""
    if isinstance(tree, list):
        return tuple(map(value_of, tree))
    if isinstance(tree, dict) and set(tree) == {"$"}:
        return {"absent": ABSENT, "unknown": UNKNOWN}[tree["$"]]
    return tree if not isinstance(tree, dict) else restore(tree, registry.classes())


def fingerprint(work: Work, host: Host) -> dict[str, dict[str, Any]]:
    """Target -> key -> what a plan for it depends on: what the kernel shows, and what was applied last."""
    out = {"host": {field: value_tree(getattr(host, field)) for field in fields_of(type(host))}}
    for item in (*work.networks, *work.containers):
        out[item.name] = seen_of(item)
    return out


def seen_of(item: Item) -> dict[str, Any]:
    """One container or network."""
    facts = item.facts
    found: dict[str, Any] = {"status": facts.status, "pid": facts.pid, "startTime": facts.start_time,
                             "image": item.image,
                             "applied": digest(to_tree(item.last)) if item.last is not None else None}
    found.update((f"source {path}", value) for path, value in facts.sources.items())
    found.update((f"{kind} namespace of {where}", identity) for (kind, where), identity in facts.elsewhere.items())
    if isinstance(item.wanted, Spec):
        found.update((f"addresses of {one.name}", one.addresses) for one in item.wanted.interfaces if one.pooled)
    found.update(item.seen)
    return {key: value_tree(value) for key, value in found.items()}


def moved(before: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> tuple[str, Any, Any] | None:
    """The first key whose value is not what it was, as (key with its target, before, now)."""
    for target in (*before, *(one for one in now if one not in before)):
        old, new = before.get(target, {}), now.get(target, {})
        # What names the cause comes before what only follows from it.
        late = ("applied", "pid", "startTime")
        for key in sorted({*old, *new}, key=lambda key: (key != "status", key in late, key)):
            if old.get(key) != new.get(key):
                return f"{target}: {key}", value_of(old.get(key, NOTHING)), value_of(new.get(key, NOTHING))
    return None


def load(data: bytes, path: str, kernel: Kernel, store: Store) -> Saved:
    """A plan from the bytes of its file.

    Raises:
        SpecError: it is damaged, or another runspec's.
        StateError: it is for another machine, boot or state directory.
    """
    try:
        tree = json.loads(data)
        if not isinstance(tree, dict) or set(tree) != set(KEYS) or any(
                type(tree[key]) is not kind for key, kind in KEYS.items()):
            raise ValueError("keys are missing or wrong")
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error) if isinstance(error, ValueError) else "it is nested too deeply") from None
    if (tree["runspec"], tree["version"]) != (__version__, VERSION):
        raise SpecError(f"{path}: this plan was made by runspec {tree['runspec']}, this is {__version__}",
                        "another version may plan and act otherwise", AGAIN)
    if digest(tree) != tree["digest"]:
        raise damaged(path, "its digest does not fit what it holds")
    if tree["bootID"] != boot_id(kernel):
        raise StateError(f"{path}: this plan was made on {tree['host']} in another boot",
                         "processes, control groups and links are others now", AGAIN)
    if tree["root"] != store.root:
        raise StateError(f"{path}: this plan is for the state directory {tree['root']}, this is {store.root}",
                         "what is applied is looked up there", f"add --root {tree['root']}")
    known = registry.classes()
    try:
        wanted = []
        for one in tree["documents"]:
            marks = {where: mark_of(words) for where, words in one["marks"].items()}
            model = (from_tree(Spec, one["spec"]) if one["kind"] == "container"
                     else from_tree(Network, one["spec"]))
            wanted.append(Wanted(model, one["digest"], lambda marks=marks: marks))  # type: ignore[misc]
        changes = tuple(Change(**{field: value_of(value) for field, value in one.items()}) for one in tree["changes"])
        steps = tuple(restore_step(one["step"], one["args"], known) for one in tree["steps"])
        if not all(isinstance(one, Step) for one in steps):
            raise ValueError("one of its steps is none")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise damaged(path, str(error)) from None
    return Saved(path, wanted, Plan(steps=steps, changes=changes, quiet=tuple(tree["quiet"])), tree["observed"])


def damaged(path: str, why: str) -> SpecError:
    """A file that was cut or changed after it was written."""
    return SpecError(f"{path}: this plan is damaged", why, AGAIN)
