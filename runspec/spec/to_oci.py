"""Spec -> config.json of an OCI bundle, without loss: what OCI has no key for becomes annotations."""

from __future__ import annotations

from runspec.spec import networks, schema
from runspec.spec.from_oci import DEFAULT_FILTER, EXACT, KEPT, PREFIX, UNLIMITED, VERSION, devices
from runspec.spec.json_text import strict
from runspec.spec.model import Process, Spec
from runspec.spec.seccomp import default_rules
from runspec.spec.tree import to_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Tree = dict[str, Any]


def config_of(spec: Spec) -> tuple[Tree, list[str]]:
    """The config.json of a Spec, and the spec paths that OCI has no key for.

    Those are written as annotations of the prefix `io.runspec.`, from which read takes them again; other
    runtimes ignore them. `root.path` of a Spec with an image is left to the caller.
    """
    tree: Tree = to_tree(spec)
    networks.spell(tree["interfaces"])
    name, annotations = tree.pop("name"), tree.pop("annotations", {})
    process = tree["process"]
    if spec.process == Process(args=()):
        del tree["process"]
    elif not process["args"]:
        del process["args"]
    notes: dict[str, str] = {PREFIX + "name": _compact(name)}
    lost: list[str] = []
    tree["root"].setdefault("path", "rootfs")
    for one in tree["linux"]["resources"].get("hugepageLimits", ()):
        if one["limit"] == -1:
            one["limit"] = UNLIMITED
    if spec.root.image is None and spec.root.overlay is None:
        tree["root"] = {"path": spec.root.path, "readonly": spec.root.readonly}
    if isinstance(spec.linux.seccomp, str):
        tree["linux"]["seccomp"] = to_tree(default_rules(spec.process.capabilities.bounding, ""))
        notes[DEFAULT_FILTER] = "true"
    _split(schema.schema("bundle"), tree, "", notes, lost)
    mine = {key: value for key, value in annotations.items() if key.startswith(PREFIX)}
    if mine:
        notes[KEPT] = _compact(mine)
    rules = tree["linux"]["resources"].get("devices") or []
    if devices(rules, False) != devices(rules, True):
        notes[EXACT] = "true"
    if not rules:
        tree["linux"]["resources"].pop("devices", None)
    others = {key: value for key, value in annotations.items() if not key.startswith(PREFIX)}
    tree = _without_empty(tree)
    tree["annotations"] = dict(sorted({**others, **notes}.items()))
    return {"ociVersion": VERSION, **tree}, lost


def _split(here: Any, tree: Any, path: str, notes: dict[str, str], lost: list[str]) -> None:
    """Move keys that the schema does not know into annotations."""
    if isinstance(tree, dict):
        known, more = here.get("properties", {}), here.get("additionalProperties")
        for key in [*tree]:
            at = f"{path}.{key}" if path else key
            if key in known or isinstance(more, dict):
                _split(known.get(key) or more, tree[key], at, notes, lost)
            else:
                value = tree.pop(key)
                if value not in ([], {}):
                    notes[PREFIX + at] = _compact(value)
                    lost.append(at)
    elif isinstance(tree, list):
        for index, inner in enumerate(tree):
            _split(here["items"], inner, f"{path}[{index}]", notes, lost)


def _without_empty(tree: Tree) -> Tree:
    """Maps and lists that say nothing are not written; an element of a list always is."""
    out: Tree = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            value = _without_empty(value)
        elif isinstance(value, list):
            value = [_without_empty(one) if isinstance(one, dict) else one for one in value]
        if value not in ([], {}) or key in ("root", "process", "linux"):
            out[key] = value
    return out


def given_name(tree: Tree) -> str:
    """The name that an exported bundle remembers, "" where it has none."""
    text = tree.get("annotations", {}).get(PREFIX + "name", "") if isinstance(tree.get("annotations"), dict) else ""
    try:
        value = strict(text.encode()) if isinstance(text, str) and text else ""
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""


def _compact(value: Any) -> str:
    import json

    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def text(tree: Tree) -> str:
    """A config.json as people read it."""
    import json

    return json.dumps(tree, indent=4, ensure_ascii=False) + "\n"
