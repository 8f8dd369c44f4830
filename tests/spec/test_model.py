"""The frozen trees: equality, defaults, and the way to plain trees and back."""

from __future__ import annotations

import pytest

from runspec.spec.frozen import key
from runspec.spec.model import Cpu, Linux, Mount, Namespace, Process, Resources, Root, Spec
from runspec.spec.tree import from_tree, to_tree


def spec(**more: object) -> Spec:
    return Spec(name="a", root=Root(image="busybox"), process=Process(args=("sh",)),
                **more)  # type: ignore[arg-type]


def test_equal_by_field_and_frozen() -> None:
    assert spec() == spec()
    assert hash(spec()) == hash(spec())
    assert spec() != spec(hostname="b")
    with pytest.raises(AttributeError):
        spec().name = "b"  # type: ignore[misc]


def test_a_missing_field_and_an_unknown_one_are_refused() -> None:
    with pytest.raises(TypeError, match="needs"):
        Mount()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no siez"):
        Cpu(siez=1)  # type: ignore[call-arg]


def test_replace_changes_a_copy() -> None:
    one = spec()
    assert one.replace(hostname="b").hostname == "b"
    assert one.hostname is None


@pytest.mark.parametrize(("field", "spelled"), [
    ("masked_paths", "maskedPaths"), ("container_id", "containerID"),
                                                ("disable_oom_killer", "disableOOMKiller"),
    ("name", "name"), ("no_new_privileges", "noNewPrivileges"), ("additional_gids", "additionalGids")])
def test_spelling(field: str, spelled: str) -> None:
    assert key(field) == spelled


def test_tree_and_back() -> None:
    one = spec(labels=(("a", "1"),), mounts=(Mount(destination="/a", type="tmpfs", options=("ro",)),),
               linux=Linux(namespaces=(Namespace(type="pid"),), sysctl=(("net.x", "1"),),
                           resources=Resources(cpu=Cpu(weight=25), unified=(("io.max", "1"),))))
    tree = to_tree(one)
    assert tree["linux"]["sysctl"] == {"net.x": "1"}
    assert from_tree(Spec, tree) == one
