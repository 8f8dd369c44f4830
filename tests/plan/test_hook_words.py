"""What hooks are told, and what is told of them."""

from __future__ import annotations

import json
from errno import EACCES, ECHILD, ETIMEDOUT

import pytest

from runspec import abi
from runspec.plan.steps import hooks
from runspec.plan.steps.base import Table
from runspec.spec.model import Hook


def test_state_has_a_place_for_the_pid() -> None:
    pairs = (("a", 'x"y'),)
    before, after = hooks.state("c", "createRuntime", "/b", pairs, 42)
    wanted = {"ociVersion": "1.3.0", "id": "c", "status": "creating", "bundle": "/b", "annotations": {"a": 'x"y'}}
    assert json.loads(before + after) == wanted | {"pid": 42}
    before, after = hooks.state("c", "startContainer", "/b", ())
    assert json.loads(f"{before}7{after}")["pid"] == 7
    assert "pid" not in json.loads("".join(hooks.state("c", "poststop", "/b", (), 0)))


@pytest.mark.parametrize(("errno", "status", "what"), [
    (ECHILD, 3 << 8, "ended with status 3"), (ECHILD, 11, "was killed by signal 11"),
    (ETIMEDOUT, 9, "did not end within 2.5 s and was killed"),
    (EACCES, 127 << 8, "cannot be executed: permission denied")])
def test_failure(errno: int, status: int, what: str) -> None:
    op = abi.Op(abi.OP_HOOK, s1=b"/usr/bin/x\0x\0", a=2500)
    error = hooks.failure(op, errno, status.to_bytes(4, "little") + b"one\ntwo\n")
    assert error.what == f"hook /usr/bin/x {what}"
    assert error.why == "its last words were: one\n    two"
    assert hooks.failure(op, errno, b"").why == "it said nothing"


def test_last_words_are_few_and_tame() -> None:
    said = hooks.last_words(b"\xff" + b"".join(b"line %d \x1b[31m\n" % i for i in range(2000)))
    assert said.count("\n") == hooks.LINES - 1 and said.endswith("line 1999 ?[31m") and "\x1b" not in said
    assert len(hooks.last_words(b"x" * 5000)) < 2 * hooks.CHARACTERS


def test_patience_counts_the_hooks() -> None:
    table = Table()
    assert table.patience(60) == 60
    hooks.hook_op(table, Hook(path="/a", timeout=5))
    assert table.patience(60) == 65
    hooks.hook_op(table, Hook(path="/b"))
    assert table.patience(60) is None
