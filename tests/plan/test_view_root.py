"""The root as mountinfo shows it against the image and the directory that were asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runspec.plan.facts import Facts
from runspec.plan.steps.rootfs import layer_dir
from runspec.plan.view import expect_root, see_root
from runspec.spec.model import Overlay, Process, Root, Spec

IMAGE, ONE, TWO = "oci:/srv/app:1", f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


def spec(**root: Any) -> Spec:
    return Spec(name="a", root=Root(**root), process=Process(args=("sh",)))


def facts(lower: str = "", device: str = "8:1", root: str = "/", sources: dict[str, Any] | None = None) -> Facts:
    found = Facts("running")
    words = (f"lowerdir={lower}", "upperdir=/u") if lower else ()
    found.mounts = [SimpleNamespace(mount_point="/", options=("rw",), super_options=words, device=device, root=root)]
    found.sources = sources or {}
    return found


def views(wanted: Spec, last: Spec, found: Facts) -> tuple[Any, Any, Any]:
    """What is expected, what was before, what is seen, of where the root comes from."""
    path = "root.image" if wanted.root.image else "root.path"
    expected: dict[str, Any] = {}
    before: dict[str, Any] = {}
    seen: dict[str, Any] = {}
    expect_root(wanted, expected)
    expect_root(last, before)
    see_root(wanted, last, found, seen, before)
    return expected[path], before.get(path), seen[path]


@pytest.mark.parametrize("lower", [layer_dir(IMAGE, ONE), "/var/lib/runspec/a/image"])
def test_a_tag_that_moved(lower: str) -> None:
    """The same text, another digest; a layer with mapped owners has no name of its own."""
    wanted, last = (spec(image=IMAGE, digest=digest, overlay=Overlay()) for digest in (TWO, ONE))
    assert views(wanted, last, facts(lower)) == (f"{IMAGE}@{TWO}", f"{IMAGE}@{ONE}", f"{IMAGE}@{ONE}")
    assert views(last, last, facts(lower))[2] == f"{IMAGE}@{ONE}"


def test_another_layer_than_the_record_says() -> None:
    one = spec(image=IMAGE, digest=ONE, overlay=Overlay())
    assert views(one, one, facts("/elsewhere"))[2] == "/elsewhere"


def test_a_directory() -> None:
    """Another one that has its name by now is told apart; above an overlay the Record answers."""
    one, two = spec(path="/one"), spec(path="/two")
    sources = {"/one": ("directory", "8:1", "/one"), "/two": ("directory", "8:1", "/two")}
    assert views(one, one, facts(root="/one", sources=sources)) == ("/one", "/one", "/one")
    assert views(one, one, facts(root="/moved", sources=sources))[2] == "/moved of 8:1"
    assert views(two, one, facts(root="/one", sources=sources)) == ("/two", "/one", "/one")
    over = spec(path="/one", overlay=Overlay())
    assert views(over, over, facts("/one", sources=sources))[2] == "/one"
