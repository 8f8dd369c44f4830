"""The parser of the command line, without a process around it."""

from __future__ import annotations

import pytest

from runspec.cli.words import VERBS, Words, nearest, plain
from runspec.errors import UsageError


def parse(*words: str) -> Words:
    found = Words()
    found.parse(words, "version 1")
    return found


def test_globals_come_first() -> None:
    words = parse("--root=/x", "--debug", "list", "-q")
    assert (words.root, words.debug, words.verb, words.flag("quiet")) == ("/x", True, "list", True)
    assert parse("--root", "/x", "list").root == "/x"
    assert parse("list").root == "/run/runspec"
    assert parse("--version").text == parse("-v").text == "version 1"


@pytest.mark.parametrize(
    "words",
    [
        ["-o", "json"],
        ["-ojson"],
        ["-o=json"],
        ["--output", "json"],
        ["--output=json"],
        ["-f", "json"],
        ["--format=json"],
        ["-qo", "json"],
    ],
)
def test_spellings_of_an_option(words: list[str]) -> None:
    assert parse("list", *words).json
    assert parse("list", *words, "-o", "json").json


def test_options_may_follow_the_id() -> None:
    assert parse("kill", "x", "9", "-a").operands == ("x", "9")
    assert parse("ps", "x", "-f", "json").json


def test_two_dashes_end_options() -> None:
    assert parse("apply", "--yes", "--", "-odd.yaml", "--", "-").operands == ("-odd.yaml", "--", "-")
    assert parse("validate", "-").operands == ("-",)


def test_everything_behind_the_id_is_the_command() -> None:
    words = parse("exec", "-e", "A=1", "--env=B=2", "-u0", "x", "ls", "-l", "--help", "")
    assert words.operands == ("x", "ls", "-l", "--help", "")
    assert (words.values("env"), words.value("user")) == (("A=1", "B=2"), "0")


def test_dashes_between_id_and_command() -> None:
    """One pair right before the command ends options, as podman and docker users write it; later ones are its own."""
    for words in (("x", "--", "ls", "-l"), ("--", "x", "ls", "-l"), ("x", "ls", "-l")):
        assert parse("exec", *words).operands == ("x", "ls", "-l")
    assert parse("exec", "x", "sh", "--", "-c").operands == ("x", "sh", "--", "-c")
    assert parse("exec", "x", "--", "--", "ls").operands == ("x", "--", "ls")
    with pytest.raises(UsageError, match="exec: no program given"):
        parse("exec", "x", "--")


@pytest.mark.parametrize("word", ["-it", "-ti"])
def test_an_interactive_terminal(word: str) -> None:
    words = parse("exec", word, "x", "sh")
    assert words.flag("tty") and words.flag("interactive") and words.operands == ("x", "sh")
    assert not parse("exec", "-i", "x", "sh").flag("tty")


def test_a_repeated_option() -> None:
    assert parse("apply", "--yes", "--yes", "-o", "json", "-o", "json", "f").json
    with pytest.raises(UsageError, match="given twice"):
        parse("plan", "-o", "json", "-o", "text", "f")
    assert parse("list", "-f", "json", "-f", "table").value("format") == "table"


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS if verb.oci])
def test_oci_verbs_never_exit_2(verb: str) -> None:
    words = Words()
    with pytest.raises(UsageError):
        words.parse([verb, "--frobnicate"])
    assert words.status == 1


@pytest.mark.parametrize("verb", ["validate", "config", "plan", "diff", "apply", "destroy", "tree", "stop"])
def test_all_others_exit_2(verb: str) -> None:
    words = Words()
    with pytest.raises(UsageError):
        words.parse([verb, "--frobnicate"])
    assert words.status == 2


@pytest.mark.parametrize("name", ["x", "a.b", "A_1+z-", "0" * 64, "a" * 255])
def test_possible_ids(name: str) -> None:
    assert parse("state", name).operands == (name,)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a b", "a\n", "\x1b", "ä", "\udcff", "a" * 256])
def test_impossible_ids(name: str) -> None:
    with pytest.raises(UsageError):
        parse("state", name)


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("aplly", "apply"),
        ("dif", "diff"),
        ("LIST", "list"),
        ("staet", "state"),
        ("frobnicate", ""),
        ("*", ""),
        ("", ""),
        ("x" * 100000, ""),
    ],
)
def test_nearest(word: str, near: str) -> None:
    assert nearest(word, ["t", *(verb.name for verb in VERBS)]) == near


def test_plain() -> None:
    assert plain("ä\x1b[1m\n\udcff\u200e") == "ä\\x1b[1m\\x0a\\xff\\u200e"
