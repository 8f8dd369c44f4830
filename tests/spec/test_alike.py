"""Equal parts become one object, and what is asked about one is asked once."""

from __future__ import annotations

from runspec.spec.alike import Sharer, kept
from runspec.spec.model import Linux, Mount, Process, Resources, Root, Spec, User
from runspec.spec.tree import from_tree, shared_tree, to_tree


def spec(name: str, umask: int = 0o22) -> Spec:
    return Spec(name=name, root=Root(image="busybox"), process=Process(args=("a",), user=User(umask=umask)),
                mounts=(Mount(destination="/proc", type="proc"),),
                linux=Linux(cgroups_path=f"/runspec/{name}", resources=Resources(), sysctl=(("a", "b"),)))


def test_equal_parts_are_one_object() -> None:
    sharer = Sharer()
    first, second, third = (sharer.share(one) for one in (spec("a"), spec("b"), spec("c", 0o77)))
    assert (first, second, third) == (spec("a"), spec("b"), spec("c", 0o77))
    assert first.process is second.process is not third.process
    assert first.mounts is second.mounts is third.mounts
    assert first.linux is not second.linux and first.linux.resources is second.linux.resources


def test_trees_of_shared_parts() -> None:
    for one in (spec("a"), spec("b")):
        assert shared_tree(one) == to_tree(one) and from_tree(Spec, shared_tree(one)) == one


def test_asked_once() -> None:
    asked = []

    @kept
    def length(text: tuple[str, ...]) -> int:
        asked.append(text)
        return len(text)

    one, two = tuple("ab"), tuple("cde")
    assert [length(one), length(two), length(one)] == [2, 3, 2] and asked == [one, two]
    for n in range(1000):       # what dies is not taken for what comes to lie in its place
        assert length(tuple("x" * n)) == n
