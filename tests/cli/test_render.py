"""Plan, Change and error as text and as canonical JSON."""

from __future__ import annotations

import json

import pytest

from runspec.cli import render
from runspec.errors import Mark, SpecError
from runspec.plan.steps.base import CHILD, FINISH, PREPARE, Change, HostStep, Plan
from runspec.plan.values import ABSENT, UNKNOWN

WEIGHT = Change(
    target="foo1", path="linux.resources.cpu.weight", before=25, after=30, impact=1, cause="edited"
)
ADDRESS = Change(
    target="foo1",
    path="interfaces[0].addresses",
    before=("10.0.0.1/24",),
    after=ABSENT,
    impact=1,
    cause="drifted",
)


class Make(HostStep):
    what: str
    data: bytes = b""

    def __str__(self) -> str:
        return f"make {self.what}"


class Inner(Make):
    PHASE = CHILD


class Save(Make):
    PHASE = FINISH


PLAN = Plan(steps=(
    Make(target="foo1", path="linux.cgroupsPath", reason="new", what="cgroup /runspec/foo1"),
    Make(target="foo1", reason="new", what="link", data=b"\x01\xff"),
    Inner(target="foo1", path="hostname", reason="new", what="name"),
    Save(target="foo1", what="record")), quiet=("lan0: up to date",))


def test_change_line() -> None:
    assert render.file_path({"mounts": Mark("a.yaml", 5, 1)}, "mounts[6].type") == "mounts[6].type (default)"
    assert render.change_line(WEIGHT) == "foo1: linux.resources.cpu.weight: 25 -> 30  edited, in place"
    assert (render.change_line(ADDRESS, Mark("a.yaml", 3, 7))
            == "a.yaml:3:7: foo1: interfaces[0].addresses: [10.0.0.1/24] -> absent  drifted, in place")


def test_what_goes_has_no_class() -> None:
    gone = Change(target="foo1", path="", before="running", after=ABSENT, impact=3, cause="removed")
    assert render.change_line(gone) == "foo1: running -> absent  removed"
    assert "class" not in render.change_tree(gone)
    assert render.change_line(gone.replace(before="used", after="unused")) == "foo1: used -> unused  let go"


def test_diff_text_takes_the_nearest_mark() -> None:
    marks = {"foo1": {"interfaces[0]": Mark("a.yaml", 9, 5), "": Mark("a.yaml", 1, 1)}}
    assert render.diff_text((WEIGHT, ADDRESS), marks) == (
        "a.yaml:1:1: foo1: linux.resources.cpu.weight: 25 -> 30  edited, in place\n"
        "a.yaml:9:5: foo1: interfaces[0].addresses: [10.0.0.1/24] -> absent  drifted, in place")
    assert render.diff_text(()) == ""


def test_diff_json_is_canonical() -> None:
    text = render.diff_json((ADDRESS,), {"foo1": {"": Mark("a.yaml", 1, 1)}})
    assert text == (
        '{"changes":[{"after":null,"at":{"column":1,"file":"a.yaml","line":1},"before":["10.0.0.1/24"],'
        '"cause":"drifted","class":"inPlace","path":"interfaces[0].addresses","target":"foo1"}],'
        '"warnings":[]}'
    )


def test_plan_text() -> None:
    assert render.plan_text(PLAN) == """\
prepare:
  1. make cgroup /runspec/foo1  linux.cgroupsPath  new
  2. make link                                     new
child:
  3. make name                  hostname           new
finish:
  4. make record
lan0: up to date"""
    assert render.plan_text(Plan()) == "up to date: nothing to do"


def test_plan_text_of_a_single_very_long_step() -> None:
    text = render.plan_text(Plan(steps=(Make(target="a", path="p", reason="r", what="x" * 100),)))
    assert text == f"prepare:\n  1. make {'x' * 100}  p  r"


def test_plan_json() -> None:
    text = render.plan_json(PLAN)
    assert text == render.plan_json(PLAN)
    tree = json.loads(text)
    assert [one["phase"] for one in tree["steps"]] == ["prepare", "prepare", "child", "finish"]
    assert tree["steps"][1]["with"] == {"what": "link", "data": "01ff"}
    assert tree["steps"][0]["kind"] == "Make" and PLAN.steps[0].PHASE == PREPARE
    assert text == json.dumps(tree, sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        ("", '""'),
        (True, "true"),
        (ABSENT, "absent"),
        (UNKNOWN, "unknown"),
        ((1, 2), "[1, 2]"),
        ({"a": ("b",)}, "{a: [b]}"),
        (frozenset("ba"), "[a, b]"),
        ("\x1b[31m", "\\x1b[31m"),
        (67108864, "67108864"),
    ],
)
def test_value_text(value: object, text: str) -> None:
    assert render.value_text(value) == text


def test_done() -> None:
    assert render.done_text({"foo1": "changed", "foo2": ""}, (WEIGHT,)) == (
        "foo1: changed\n  linux.resources.cpu.weight: 25 -> 30  edited, in place\nfoo2: up to date")
    assert render.done_text({"foo2": ""}) == "up to date: nothing to do"
    assert render.done_json({"a": "created", "b": "started", "c": "started"}, ended={
        "a": ("exit status", 3), "b": ("signal", 9), "c": None}) == (
            '{"changes":[],"done":{"a":"created","b":"started","c":"started"},'
            '"ended":{"a":{"exitStatus":3},"b":{"signal":9},"c":{}},"quiet":[]}')
    assert render.end_text(("signal", 9)) == "and its program has ended, signal 9"
    assert render.end_text(None) == "and its program has ended"
    assert render.done_json({"foo2": ""}) == '{"changes":[],"done":{"foo2":"up to date"},"quiet":[]}'


def test_errors() -> None:
    error = SpecError("a: bad", "because", at=Mark("f", 1, 2), also=(SpecError("b: bad"),))
    assert render.error_json(error) == (
        '{"errors":[{"at":{"column":2,"file":"f","line":1},"fix":"","what":"a: bad","why":"because"},'
        '{"fix":"","what":"b: bad","why":""}]}')


def test_colour_only_where_wanted() -> None:
    assert "\x1b[32min place\x1b[0m" in render.change_line(WEIGHT, colour=True)
    assert not render.coloured()
