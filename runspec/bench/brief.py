"""Specs as the short YAML that people write: what every document has anyway is left out."""

from __future__ import annotations

from runspec.spec import rules, source, to_yaml
from runspec.spec.model import Network, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Tree = dict[str, Any]


def text(models: Sequence[Spec | Network]) -> str:
    """YAML that reads back as these models.

    Containers of one run are made of one; the first speaks for the form of all.
    """
    trees: list[Tree] = []
    short: bool | None = None
    for model in models:
        tree = to_yaml.config_tree(model)
        if isinstance(model, Spec):
            less = without(tree, defaults(model))
            less = {"apiVersion": tree["apiVersion"], "name": model.name, **less}
            if short is None:
                short = reads_as(less, model)
            tree = less if short else tree
        trees.append(tree)
    return to_yaml.dump(trees)


def defaults(spec: Spec) -> Tree:
    """The tree of a document with nothing but a name, a root and a program."""
    root = {"image": spec.root.image} if spec.root.image is not None else {"path": spec.root.path}
    least = {"apiVersion": to_yaml.API_VERSION, "name": spec.name, "root": root,
             "process": {"args": list(spec.process.args)}}
    read, faults = rules.judge(*source.parse(to_yaml.dump([least]), "bench"))
    if faults:
        raise source.join(faults)
    tree = to_yaml.config_tree(read[0][0])
    for key in ("name", "apiVersion"):
        del tree[key]
    del tree["root"]["image" if "image" in tree["root"] else "path"]
    del tree["process"]["args"]
    return tree


def without(tree: Tree, less: Tree) -> Tree:
    """A tree without the leaves that are the same in another."""
    out: Tree = {}
    for key, value in tree.items():
        other = less.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            inner = without(value, other)
            if inner:
                out[key] = inner
        elif key not in less or value != other:
            out[key] = value
    return out


def reads_as(tree: Tree, spec: Spec) -> bool:
    """Whether a document says what a Spec says."""
    read, faults = rules.judge(*source.parse(to_yaml.dump([tree]), "bench"))
    return not faults and read[0][0] == spec
