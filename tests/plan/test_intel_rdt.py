"""Classes of resctrl, on a kernel that only pretends to have them."""

from __future__ import annotations

from typing import Any

import pytest

from runspec.errors import HostError, SyscallError
from runspec.plan.facts import Facts
from runspec.plan.steps import intel_rdt
from runspec.plan.steps.intel_rdt import ROOT, JoinClass, LeaveClass, parse_schemata, shown
from runspec.plan.values import ABSENT
from runspec.spec.model import IntelRdt, Linux, Process, Root, Spec

DEFAULT = "    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n"


class Resctrl:
    """Directories with tasks and schemata; a schema with the word `bad` is refused."""

    def __init__(self, **classes: str) -> None:
        self.dirs = {ROOT} | {f"{ROOT}/{name}" for name in classes}
        self.files = {f"{ROOT}/schemata": DEFAULT, f"{ROOT}/info/last_cmd_status": "mask is empty\n"}
        self.files |= {f"{ROOT}/{name}/schemata": text for name, text in classes.items()}
        self.wrote: list[tuple[str, str]] = []

    def exists(self, path: str) -> bool:
        return path in self.dirs or path in self.files

    def make_dir(self, path: str) -> bool:
        assert path.rpartition("/")[0].removesuffix("/mon_groups") in self.dirs and path not in self.dirs
        self.dirs.add(path)
        self.files[f"{path}/schemata"] = DEFAULT
        return True

    def remove_dir(self, path: str) -> bool:
        found = path in self.dirs
        self.dirs = {one for one in self.dirs if one != path and not one.startswith(path + "/")}
        return found

    def read_text(self, path: str) -> str:
        return self.files[path]

    def try_read(self, path: str) -> bytes | None:
        return self.files[path].encode() if path in self.files else None

    def write(self, path: str, text: str) -> None:
        assert path.rpartition("/")[0] in self.dirs
        if "bad" in text:
            raise SyscallError("write", path, 22)
        self.wrote.append((path.removeprefix(ROOT), text))


class Running:
    def pid(self, name: str) -> int:
        return 42


def spec(**words: Any) -> Spec:
    return Spec(name="c", root=Root(image="busybox"), process=Process(args=("x",)),
                linux=Linux(intel_rdt=IntelRdt(**words)))


def joined(kernel: Resctrl, one: Spec) -> tuple[JoinClass, Any]:
    [step] = intel_rdt.join(one)
    assert isinstance(step, JoinClass)
    return step, step.apply(kernel, Running())


def test_own_class_comes_and_goes() -> None:
    """Made with its schema, the cache first, then init; gone with the container."""
    kernel = Resctrl()
    one = spec(mem_bw_schema="MB:0=20", l3_cache_schema="L3:0=f", schemata=("L2:0=1",), enable_monitoring=True)
    step, memo = joined(kernel, one)
    assert kernel.wrote == [("/c/schemata", "L3:0=f\n"), ("/c/schemata", "MB:0=20\n"), ("/c/schemata", "L2:0=1\n"),
                            ("/c/tasks", "42"), ("/c/mon_groups/c/tasks", "42")]
    before = set(kernel.dirs)
    step.undo(kernel, Running(), memo)
    assert kernel.dirs == {ROOT}
    kernel.dirs = before
    [leave] = intel_rdt.leave(one)
    assert isinstance(leave, LeaveClass)
    leave.apply(kernel, Running())
    leave.apply(kernel, Running())
    assert kernel.dirs == {ROOT}


def test_a_named_class_stays() -> None:
    kernel = Resctrl()
    one = spec(clos_id="shared", schemata=("L3:0=f",))
    joined(kernel, one)
    [leave] = intel_rdt.leave(one)
    leave.apply(kernel, Running())          # type: ignore[attr-defined]
    assert f"{ROOT}/shared" in kernel.dirs
    kernel = Resctrl(shared=DEFAULT)
    step, memo = joined(kernel, spec(clos_id="shared"))
    assert kernel.wrote == [("/shared/tasks", "42")] and memo == []
    step.undo(kernel, Running(), memo)
    assert f"{ROOT}/shared" in kernel.dirs


def test_the_default_class() -> None:
    kernel = Resctrl()
    joined(kernel, spec(clos_id="/", enable_monitoring=True))
    assert kernel.wrote == [("/tasks", "42"), ("/mon_groups/c/tasks", "42")]


@pytest.mark.parametrize(("classes", "words", "said"), [
    ({"c": DEFAULT}, {}, "the class c is there already and is not this container's"),
    ({}, {"clos_id": "gone"}, "there is no class gone"),
    ({"k": DEFAULT}, {"clos_id": "k", "schemata": ("L3:0=f",)},
     "the class k is there already and is L3:0=7ff, not L3:0=f"),
    ({}, {"schemata": ("L3:0=bad",)}, "the kernel refuses L3:0=bad")])
def test_refusals(classes: dict[str, str], words: dict[str, Any], said: str) -> None:
    kernel = Resctrl(**classes)
    before = set(kernel.dirs)
    [step] = intel_rdt.join(spec(**words))
    with pytest.raises(HostError, match=said.replace("(", r"\(")) as caught:
        step.apply(kernel, Running())       # type: ignore[attr-defined]
    if "refuses" in said:
        assert caught.value.why == "mask is empty"
        step.undo(kernel, Running(), [f"{ROOT}/c"])     # type: ignore[attr-defined]
    assert kernel.dirs == before


def test_equal_schemata_of_other_spelling() -> None:
    kernel = Resctrl(k="L3:0=0ff;1=7ff\nMB:0=50\n")
    joined(kernel, spec(clos_id="k", l3_cache_schema="L3:0=FF", mem_bw_schema="MB:0= 50"))
    assert parse_schemata("L3:00=0F;1=0\n\nnothing\n") == {"L3": {"0": "f", "1": "0"}}
    assert shown(("MB:1=5", "L3:0=1"), DEFAULT) == ("L3:0=7ff", "MB:1=100")


def test_view() -> None:
    """Drift of the schema, of the group, and of init itself."""
    one = spec(schemata=("L3:0=f",), enable_monitoring=True)
    wanted: dict[str, Any] = {}
    intel_rdt.expect_class(one, wanted)
    facts = Facts("running")
    facts.pid = 42
    for resctrl, equal in ((("41\n42\n", "L3:0=00f;1=7ff\n", "42\n"), True), (("42\n", "L3:0=1f\n", "42\n"), False),
                           (("42\n", "L3:0=f\n", ""), False)):
        facts.resctrl = resctrl
        seen: dict[str, Any] = {}
        intel_rdt.see_class(one, facts, seen)
        assert (seen == wanted) == equal
    facts.resctrl = ("4\n", "L3:0=f\n", "")
    intel_rdt.see_class(one, facts, seen)
    assert seen["linux.intelRdt"] is ABSENT
