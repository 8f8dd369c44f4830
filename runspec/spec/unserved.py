"""What a bundle may ask and runspec does not give yet: refused, never passed over.

The schema of documents knows every key that is served; a key that only the model has is not.
"""

from __future__ import annotations

from runspec.errors import Mark, SpecError
from runspec.spec import schema
from runspec.spec.compose import child
from runspec.spec.from_yaml import fault
from runspec.spec.model import Spec
from runspec.spec.tree import to_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def check(spec: Spec, marks: dict[str, Mark]) -> list[SpecError]:
    """Lists what is asked and not served, each key once."""
    out = [fault(marks, path, "is not served yet", "runspec knows the key and cannot do what it asks",
                 "remove it") for path in _paths(schema.schema("container"), to_tree(spec), "")]
    if not any(one.type == "mount" for one in spec.linux.namespaces):
        out.append(fault(marks, "linux.namespaces", "has no mount namespace",
                         "the root would be the host's own, whose mounts must stay as they are",
                         "add one of type mount"))
    return out


def _paths(here: Any, tree: Any, path: str) -> Iterator[str]:
    if isinstance(tree, dict):
        known, more = here.get("properties", {}), here.get("additionalProperties")
        for key, inner in tree.items():
            at = child(path, key)
            if key in known or isinstance(more, dict):
                yield from _paths(known.get(key) or more, inner, at)
            elif inner not in ([], {}):
                yield at
        if tree and here.get("type") == "null":
            yield path
    elif isinstance(tree, list):
        for index, inner in enumerate(tree):
            yield from _paths(here.get("items", {}), inner, f"{path}[{index}]")
