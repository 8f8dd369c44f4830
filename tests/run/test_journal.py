"""The journal: order, torn ends, kills at every act, owners that live or died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from runspec.errors import StateError
from runspec.kernel import Kernel
from runspec.run import journal
from runspec.run.store import Store
from runspec.spec.frozen import Frozen

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
ENV = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
IDS = [("network", "lan0"), ("container", "foo1")]


class Inner(Frozen):
    """A part of a Step."""

    size: int


class MakeThing(Frozen):
    """A Step."""

    target: str
    parts: tuple[Inner, ...] = ()
    data: bytes = b""
    pairs: tuple[tuple[str, str], ...] = ()
    more: object = None


STEP = MakeThing(target="foo1", parts=(Inner(size=3),), data=b"\0\xff", pairs=(("a", "b\udc80"),),
                 more={"k": (1,)})
CLASSES: dict[str, type] = {"Inner": Inner, "MakeThing": MakeThing}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Kernel(), str(tmp_path / "state"))


def files(store: Store) -> list[str]:
    return os.listdir(f"{store.root}/journals")


def test_round(store: Store) -> None:
    mine = journal.begin(store, IDS)
    assert mine.ids == sorted(IDS) and mine.read() == [] and not mine.stale()
    mine.intent(0, [STEP])
    mine.done(0, {"old": "1"})
    mine.intent(1, [MakeThing(target="foo2")])
    first, second = mine.read()
    assert (first.index, first.step, first.done, first.memo) == (0, "MakeThing", True, {"old": "1"})
    assert journal.restore_step(first.step, first.args, CLASSES) == STEP
    assert (second.index, second.done, second.memo) == (1, False, None)
    mine.close()
    assert files(store) == []


def test_restore_refuses() -> None:
    for name, args in (("Unknown", {}), ("Inner", {}), ("Inner", {"size": 1, "more": 2})):
        with pytest.raises(ValueError):
            journal.restore_step(name, args, CLASSES)


def test_schema(store: Store) -> None:
    schema = json.loads((SCHEMAS / "journal.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    mine = journal.begin(store, IDS)
    mine.intent(0, [STEP])
    mine.done(0)
    mine.intent(1, [STEP])
    mine.done(1, {"old": "1"})
    lines = [json.loads(line) for line in Path(mine.path).read_text().splitlines()]
    mine.close()
    assert len(lines) == 5
    for line in lines:
        check.validate(line)
        assert not check.is_valid({**line, "more": 1})
        for key in line:
            assert not check.is_valid({k: v for k, v in line.items() if k != key})


def test_torn_at_every_byte(store: Store) -> None:
    mine = journal.begin(store, IDS)
    ends = [os.stat(mine.path).st_size]
    mine.intent(0, [STEP])
    ends.append(os.stat(mine.path).st_size)
    mine.done(0, 5)
    text = Path(mine.path).read_bytes()
    mine.close()
    for end in range(len(text) + 1):
        head, entries = journal.parse_journal(text[:end])
        assert bool(head) == (end >= ends[0])
        assert len(entries) == (end >= ends[1])
        assert all(entry.done == (end == len(text)) for entry in entries)


def test_several_at_once(store: Store) -> None:
    """One write; whatever of it a kill cut off was not begun, and the memo is the first one's."""
    mine = journal.begin(store, IDS)
    before = store.kernel.acts
    mine.intent(3, [STEP, MakeThing(target="foo2"), STEP], ["x"])
    assert store.kernel.acts == before + 1
    mine.done(3)
    mine.done(4)
    mine.done(5, {"y": 1})
    assert store.kernel.acts == before + 2
    text = Path(mine.path).read_bytes()
    assert [(one.index, one.done, one.memo) for one in mine.read()] == [
        (3, True, ["x"]), (4, True, None), (5, True, {"y": 1})]
    assert mine.steps == 3
    mine.close()
    for end in range(len(text) + 1):
        _, entries = journal.parse_journal(text[:end])
        assert [one.index for one in entries] == [3, 4, 5][:len(entries)]


def test_damage_inside(store: Store) -> None:
    mine = journal.begin(store, IDS)
    mine.intent(0, [STEP])
    text = Path(mine.path).read_bytes()
    for bad in (b"\0" * 20 + b"\n" + text, text.replace(b'"do"', b'"xx"'), b"[]\n",
                text + b'{"done":9,"memo":1}\n'):
        Path(mine.path).write_bytes(bad)
        with pytest.raises(StateError, match="damaged"):
            mine.read()
    Path(mine.path).write_bytes(text.replace(b'"version":1', b'"version":2'))
    with pytest.raises(StateError, match="version 2"):
        mine.read()
    mine.close()


def test_living_owner_is_left_alone(store: Store) -> None:
    mine = journal.begin(store, IDS)
    assert journal.open_journals(store) == [] == journal.open_journals(store, take=False)
    mine.release()
    seen = journal.open_journals(store, take=False)
    assert [one.id for one in seen] == [mine.id]
    taken = journal.open_journals(store)        # being read does not keep it from being taken
    assert [one.id for one in taken] == [mine.id]
    assert journal.open_journals(store) == []
    for one in (*seen, *taken):
        one.close()
    assert files(store) == []


RUN = """
import os, sys
from runspec.kernel import Kernel
from runspec.run import journal
from runspec.run.store import Store
from runspec.spec.frozen import Frozen
class MakeThing(Frozen):
    name: str
kernel = Kernel(sys.argv[2])
store = Store(kernel, sys.argv[1] + "/state")
run = journal.begin(store, [("container", "foo1")])
for i in range(3):
    run.intent(i, [MakeThing(name=str(i))])
    kernel.make_dir(f"{sys.argv[1]}/{i}")
    run.done(i, i)
run.close()
print(kernel.acts)
"""


def test_killed_at_every_act(tmp_path: Path) -> None:
    """Whatever was made is named in the journal that is found; what is done was made."""
    whole = subprocess.run([sys.executable, "-P", "-c", RUN, str(tmp_path), "count"], env=ENV, check=True,
                           capture_output=True)
    acts = int(whole.stdout)
    assert acts == 4 + 2 + 9 + 1        # root and rooms, file and head, three Steps, unlink
    for n in range(1, acts + 1):
        place = tmp_path / f"kill{n}"
        place.mkdir()
        run = subprocess.run([sys.executable, "-P", "-c", RUN, str(place), f"kill@{n}"], env=ENV)
        assert run.returncode == -signal.SIGKILL
        found = journal.open_journals(Store(Kernel(), str(place / "state")))
        made = {name for name in os.listdir(place) if name != "state"}
        entries = [entry for one in found for entry in one.read()]
        assert made <= {entry.args["name"] for entry in entries}
        assert {entry.args["name"] for entry in entries if entry.done} <= made
        assert len(entries) - len(made) in (0, 1)
        for one in found:
            one.close()


def test_full_disk(tmp_path: Path) -> None:
    """A line that does not fit is taken back whole."""
    code = RUN.replace("for i in range(3)", "import resource, signal\n"
                       "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
                       "size = os.stat(run.path).st_size\n"
                       "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, size + 10))\n"
                       "for i in range(3)")
    run = subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path), "count"], env=ENV, capture_output=True)
    assert b"SyscallError: write(" in run.stderr and run.returncode == 1
    (left,) = journal.open_journals(Store(Kernel(), str(tmp_path / "state")))
    assert left.read() == [] and left.ids == [("container", "foo1")]
    assert Path(left.path).read_bytes().endswith(b"}\n")
    left.close()
