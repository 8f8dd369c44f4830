"""spec/source.py and compose.py: which files are read, where cut, what scalars become, where things stand."""

from __future__ import annotations

import io
import os
import re
import socket
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings, strategies as st
from yaml import CBaseLoader as Loader, YAMLError, load_all

from runspec.errors import SpecError
from runspec.spec import source
from runspec.spec.compose import scalar

ONE = "apiVersion: runspec/v1\nname: a\n"


def told(paths: list[str], stdin: bytes = b"") -> str:
    with pytest.raises(SpecError) as caught:
        source.load(paths, io.BytesIO(stdin))
    return caught.value.text()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("text", "value"), [
    ("0", 0), ("-0", 0), ("+7", 7), ("0o17", 15), ("0x1F", 31),
    ("9223372036854775808", 2**63),
    ("0755", "0755"), ("-0755", "-0755"), ("00", "00"), ("08", "08"), ("0b1", "0b1"), ("1_000", "1_000"),
    ("22:22", "22:22"), ("on", "on"), ("No", "No"), ("y", "y"), ("2001-01-01", "2001-01-01"), ("+", "+"),
    ("-", "-"), (".", "."), ("=", "="), ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0),
    (".inf", float("inf")), ("-.INF", float("-inf")), ("1e400", float("inf")), ("", None), ("~", None),
    ("Null", None), ("nULL", "nULL"), ("true", True), ("FALSE", False), ("tRUE", "tRUE"), ("0o8", "0o8"),
    ("0xg", "0xg"), ("-0x1f", "-0x1f"),
])
def test_core_schema(text: str, value: object) -> None:
    found = scalar(text)
    assert (type(found), found) == (type(value), value)


# YAML 1.2's core schema as regular expressions (section 10.3.2), which the module does without.
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"
                   r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
PARTS = st.sampled_from([*"0123456789+-.eExXoOabfFnN_i", ".inf", ".nan", "0x", "0o", "\u0663", "1" * 20, "1" * 40])


@settings(max_examples=2000, deadline=None)
@example([".inf"]).via("plain")
@example(["-", ".nan"]).via("the sign that it may not have")
@example(["0x", "\u0663"]).via("a digit of another script")
@example(["1" * 40, "1"]).via("too long")
@example(["0", "1" * 40]).via("too long, and text")
@given(st.lists(PARTS, min_size=1, max_size=6))
def test_numbers_are_those_of_the_core_schema(parts: list[str]) -> None:
    text = "".join(parts)
    wanted: object = text
    if INTEGER.match(text):
        wanted = int(text, 0) if text[1:2] in ("x", "o") else int(text)
    elif FLOAT.match(text) and not re.match(r"[-+]?0[0-9]+\Z", text):
        wanted = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    try:
        found = scalar(text)
    except ValueError:
        assert wanted is not text and len(text) > 40
        return
    assert wanted is text or len(text) <= 40
    assert (type(found), str(found)) == (type(wanted), str(wanted))


def test_marks_of_keys_and_values(here: Path) -> None:
    (here / "t.yaml").write_text("a: 1\nb:\n  - x\n  - {c.d: 2, e: {}}\n---\n'f': |\n  text\n")
    first, second = source.load(["t.yaml"])
    assert {path: str(mark) for path, mark in first.marks.items()} == {
        "": "t.yaml:1:1", "a": "t.yaml:1:4", "b": "t.yaml:3:3", "b[0]": "t.yaml:3:5", "b[1]": "t.yaml:4:5",
        "b[1].c.d": "t.yaml:4:11", "b[1].e": "t.yaml:4:17"}
    assert str(first.mark_keys["b[1].e"]) == "t.yaml:4:14"
    assert "b[1]" not in first.mark_keys
    assert str(second.marks["f"]) == "t.yaml:6:6"
    assert str(first.at("b[1].e.none")) == "t.yaml:4:17"
    assert first.text + second.text == (here / "t.yaml").read_text()


@pytest.mark.parametrize("text", [
    "a: 1\n", "a: 1\n---\nb: 2\n", "---\na: 1\n---\nb: 2\n", "# c\n\n---\na: 1\n",
    "--- {a: 1}\n--- {b: 2}\n",
    "a: |\n  x\n  ---\n---\nb: 2\n", "a: 1\n----\n", "a: '---'\n", "a: 1\r\n---\r\nb: 2\r\n", "---\n---\n",
    "", "---",
    "a: 1\n---\tb\n", "a: 1\n ---\n", "a: >\n  x\n\n--- |\n  y\n---\n# end\n",
])
def test_split_is_exact(text: str) -> None:
    pieces = source.split(text)
    assert pieces is not None
    assert "".join(pieces) == text

    def documents(one: str) -> list[object]:
        try:
            return [value for value in load_all(one, Loader) if value not in (None, "")]
        except YAMLError:
            return ["broken"]

    assert [value for piece in pieces for value in documents(piece)] == documents(text)
    assert all(len(documents(piece)) <= 1 for piece in pieces)


@pytest.mark.parametrize("text", [
    "%YAML 1.2\n---\na: 1\n", "a: 1\n...\nb: 1\n", "a: 1\rb: 2\r", "a: x\u2028--- b\n"])
def test_split_gives_up(text: str) -> None:
    assert source.split(text) is None


@settings(max_examples=2000, deadline=None)
@given(st.lists(st.sampled_from(["---", "\n", "\r\n", " ", "\t", "#", "a", "-", "...", "%", "\r", "\x85", "\xa0"]),
                max_size=9).map("".join))
def test_split_is_what_the_expressions_say(text: str) -> None:
    """The rules of split, each as one regular expression."""
    if re.search("^(?:\\.\\.\\.|%)|\r(?!\n)|[\x85\u2028\u2029]", text, re.M):
        assert source.split(text) is None
        return
    cuts = [found.start() for found in re.finditer(r"^---(?=[ \t\r\n]|\Z)", text, re.M)]
    if cuts and re.match(r"(?:[ \t]*(?:#.*)?(?:\n|\r\n|\Z))*\Z", text[:cuts[0]]):
        cuts = cuts[1:]
    assert source.split(text) == [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]


def test_a_piece_is_the_documents_own_text(here: Path) -> None:
    (here / "t.yaml").write_text(f"# about a\n---\n{ONE}---\n{ONE}")
    first, second = source.load(["t.yaml"])
    assert (first.text, second.text) == (f"# about a\n---\n{ONE}", f"---\n{ONE}")


def test_files_folders_and_standard_input(here: Path) -> None:
    (here / "d").mkdir()
    for name in ("b.yaml", "a.yaml", "c.yml", "README", ".hidden.yaml", ".yaml"):
        (here / "d" / name).write_text(ONE)
    (here / "link.yaml").symlink_to("d/a.yaml")
    found = source.load(["link.yaml", "d", "-", "-"], io.BytesIO(ONE.encode()))
    assert [document.file for document in found] == ["link.yaml", "d/a.yaml", "d/b.yaml", "d/c.yml", "-", "-"]
    assert all(document.tree["name"] == "a" for document in found)


def test_a_pipe_that_is_open(here: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, ONE.encode())
    os.close(writing)
    assert source.load([f"/dev/fd/{reading}"])[0].tree["name"] == "a"
    os.close(reading)


def test_what_is_no_file(here: Path) -> None:
    os.mkfifo("fifo")
    Path("loop").symlink_to("loop")
    Path("empty").mkdir()
    Path("odd").mkdir()
    Path("odd/x.yaml").mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")
        text = told(["fifo", "loop", "empty", "odd", "sock", "/dev/zero", "none.yaml", "", "a" * 5000])
    assert text.replace("a" * 5000, "aaa") == """\
fifo: is a FIFO, not a regular file
  why: a spec file is read as a whole, once
  fix: to read from a pipe, name `-` (standard input)
loop: cannot be read: Too many levels of symbolic links
  why: symlinks lead in a circle, or lie where none may
  fix: correct the path
empty: no *.yaml or *.yml file in this folder
  why: it stands for the documents in it
  fix: name the files, or put the documents into *.yaml files
odd/x.yaml: is a folder, not a regular file
  why: a spec file is read as a whole, once
  fix: to read from a pipe, name `-` (standard input)
sock: cannot be read: No such device or address
  why: nothing is there that answers
  fix: name another, or start what should answer there
/dev/zero: is a character device, not a regular file
  why: a spec file is read as a whole, once
  fix: to read from a pipe, name `-` (standard input)
none.yaml: cannot be read: No such file or directory
  why: it, or a directory above it, is not there
  fix: make it, or correct its name
"": "" is no file name
  why: a name is not empty and holds no NUL
  fix: name a file
aaa: cannot be read: File name too long
  why: the name is longer than the kernel takes
  fix: use a shorter one"""


def test_faults_of_all_files_in_their_order(here: Path) -> None:
    Path("b.yaml").write_text("a: 1\na: 2\n---\nb: [\n")
    Path("a.yaml").write_text("x: *y\n")
    text = told(["b.yaml", "a.yaml", "-"], b"\xff")
    assert [line.split(": ")[0] for line in text.splitlines() if not line.startswith(" ")] == [
        "b.yaml:2:1", "b.yaml:5:1", "a.yaml:1:4", "-:1:1"]


def test_documents_beside_faulty_ones_are_still_judged(here: Path) -> None:
    Path("t.yaml").write_text(f'a: "\n---\n{ONE}')
    documents, faults = source.gather(["t.yaml"])
    assert [document.tree["name"] for document in documents] == ["a"]
    assert len(faults) == 1


def test_the_slow_parser_agrees(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runspec.spec import libyaml

    text = "a: [1, {b: 'x', c: \"\\u00e9\"}]\nd: &x |\n  y\ne: *x\n---\nf: !!str 5\n"
    fast = source.parse(text, "t.yaml")[0]
    _, events, wrong = libyaml.load()
    monkeypatch.setattr(libyaml, "load", lambda: (libyaml._pure, events, wrong))
    slow = source.parse(text, "t.yaml")[0]
    assert [(one.tree, one.marks, one.mark_keys) for one in fast] == [
        (one.tree, one.marks, one.mark_keys) for one in slow]
