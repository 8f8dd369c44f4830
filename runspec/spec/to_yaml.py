"""Specs -> YAML: a document with every default spelled out, which reads back as an equal Spec."""

from __future__ import annotations

from runspec.spec import networks
from runspec.spec.compose import scalar
from runspec.spec.model import Network, Spec
from runspec.spec.tree import to_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Tree = dict[str, Any]

API_VERSION = "runspec/v1"


def config_tree(model: Spec | Network, bare: bool = False) -> Tree:
    """A document with every default spelled out, which reads back as an equal model.

    Args:
        model: what a document became.
        bare: say that no default is meant, for a model that has none.

    Returns:
        A tree of plain dicts, lists and scalars, in the order in which people write.
    """
    tree: Tree = to_tree(model)
    head: Tree = {"apiVersion": API_VERSION, "kind": type(model).__name__}
    if isinstance(model, Network):
        return {**head, **tree}
    head["kind"] = "Container"
    if bare:
        head |= {"name": tree.pop("name"), "defaults": "none"}
    user = tree["process"]["user"]
    if "umask" in user:
        user["umask"] = f"{user['umask']:04o}"
    tree["root"].pop("digest", None)        # what the image is today is no wish of the file's
    linux = tree["linux"]
    for device in linux["devices"]:
        if "fileMode" in device:
            device["fileMode"] = f"{device['fileMode']:04o}"
    linux["devices"] += [{"cdi": name} for name in linux.pop("cdiDevices", ())]
    for mount in tree["mounts"]:
        if "optional" in mount["options"]:
            mount["options"].remove("optional")
            mount["optional"] = True
    networks.spell(tree["interfaces"])
    # The key keeps OCI's place among its neighbours.
    masked, readonly = linux.pop("maskedPaths"), linux.pop("readonlyPaths")
    seccomp = linux.pop("seccomp", "unconfined")
    tree["linux"] = {**linux, "seccomp": seccomp, "maskedPaths": masked, "readonlyPaths": readonly}
    return {**head, **tree}


def dump(trees: list[Any]) -> str:
    """Documents as text that source.load reads back to equal trees.

    Args:
        trees: maps of plain values, as config_tree gives them.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes every text that would read as something else in YAML 1.2."""

    def text(dumper: yaml.SafeDumper, value: str) -> Any:
        plain = value and scalar(value) == value
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, None if plain else '"')

    Dumper.add_representer(str, text)
    return yaml.dump_all(trees, Dumper=Dumper, sort_keys=False, allow_unicode=True, explicit_start=len(trees) > 1,
                         default_flow_style=False, width=100)
