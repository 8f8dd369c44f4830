"""`bench` without measuring: what is refused, what exists is listed, and an older run is shown, written, compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_run import RUN, faster, sample

from runspec.bench.contender import CONTENDERS
from runspec.bench.results import from_tree, to_tree
from runspec.bench.suite import SUITES
from runspec.cli import bench
from runspec.cli.words import Words
from runspec.errors import UsageError


@pytest.fixture(autouse=True)
def never_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of an hour would show that something is wrong with a test; this does so at once."""
    def inside(*_: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(bench.world, "inside", inside)


def run(*words: str) -> int:
    found = Words()
    found.parse(["bench", *words])
    return bench.run(found)


def out(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(*words) == 0
    return capsys.readouterr().out


@pytest.fixture
def old(tmp_path: Path) -> str:
    """The file of an older run, in which exec took longer."""
    file = tmp_path / "old.json"
    file.write_text(json.dumps(to_tree(faster(sample(), 1.5, suite="exec", contender="runspec"))))
    return str(file)


def test_list_tells_all_suites_and_contenders(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, "--list")
    names = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    assert names == [*SUITES, *CONTENDERS]
    assert len({line.index(line.split(maxsplit=1)[1]) for line in text.splitlines() if line.startswith("  ")}) == 1


def test_nics_are_lent_to_those_who_measure_them() -> None:
    for given in ((), ("network",), ("cpu", "network")):
        found = Words()
        found.parse(["--root", "/run/x", "bench", *given, "--nic", "eth7,eth8"])
        settings = bench.asked(found)
        assert (settings["nics"], settings["root"]) == (["eth7", "eth8"], "/run/x") and "network" in settings["suites"]


def test_show_gives_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert out(capsys, "--show", str(RUN)).startswith("Ratios\n")
    assert from_tree(json.loads(out(capsys, "--show", str(RUN), "-o", "json")), "x") == sample()
    assert out(capsys, "--show", str(RUN), "-o", "html").startswith("<!DOCTYPE html>")


def test_a_file_gets_the_form_that_its_name_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(tmp_path / f"run{ending}") for ending in (".txt", ".json", ".html")]
    text = out(capsys, "--show", str(RUN), *(word for name in names for word in ("--out", name)))
    written = [Path(name).read_text() for name in names]
    assert written[0] == text and json.loads(written[1])["format"] and "</html>" in written[2]


def test_a_file_that_cannot_be_written_takes_nothing_from_the_others(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A quarter of an hour is not lost to a full disk."""
    full, good = str(tmp_path / "full.json"), str(tmp_path / "good.json")
    Path(full).symlink_to("/dev/full")
    assert run("--show", str(RUN), "--out", full, "--out", good) == 2
    text, told = capsys.readouterr()
    assert told.startswith(f"runspec: bench: --out {full}: No space left on device\n  why: ")
    assert text.startswith("Ratios\n") and from_tree(json.loads(Path(good).read_text()), good) == sample()


def test_compare_in_every_form(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, "--show", str(RUN), "--compare", old)
    assert f"Compared with {old} of 2026-11-26 01:00 UTC\n" in text
    assert "No figure of runspec got worse, 1 got better." in text
    tree = json.loads(out(capsys, "--show", str(RUN), "--compare", old, "-o", "json"))["compared"]
    assert [(one["suite"], one["contender"]) for one in tree["better"]] == [("exec", "runspec")] and tree["file"] == old
    assert "<h2 id=\"compared-h\">Compared</h2>" in out(capsys, "--show", str(RUN), "--compare", old, "-o", "html")


def test_the_width_is_the_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a terminal alone: what goes elsewhere is the same everywhere."""
    monkeypatch.setenv("COLUMNS", "200")
    assert bench.columns() == 200
    assert max(map(len, out(capsys, "--show", str(RUN)).splitlines())) <= bench.WIDTH


@pytest.mark.parametrize(("words", "what"), [
    (("--out", "{}/run.pdf"), 'bench: --out "{}/run.pdf": what shall be in it?'),
    (("--out", "{}/none/run.html"), "bench: --out {}/none/run.html: No such file or directory"),
    (("--out", "{}/folder.json"), "bench: --out {}/folder.json: Is a directory"),
    (("--show", "{}/none.json"), "bench: {}/none.json: No such file or directory"),
    (("--show", "{}/text.json"), "bench: {}/text.json is no result of `runspec bench -o json`"),
    (("--compare", "{}/list.json", "--show", "{}/list.json"),
     "bench: {}/list.json is no result of `runspec bench -o json`"),
    (("--quick", "--full"), "bench: --quick and --full exclude each other"),
    (("--show", "{}/text.json", "--rounds", "3"), "bench: --show and --rounds exclude each other"),
    (("--show", "{}/text.json", "cpu"), "bench: --show and a SUITE exclude each other"),
    (("--list", "--out", "{}/run.json"), "bench: --list and --out exclude each other"),
    (("disk",), 'bench: no suite "disk"'),
    (("--nic", "eth7,eth8", "--show", "{}/run.json"), "bench: --show and --nic exclude each other"),
    (("--nic", "eth7,eth8", "cpu"), "bench: --nic without network"),
    (("--peers", "rkt"), 'bench: no contender "rkt"'),
    (("--rounds", "0"), 'bench: --rounds: "0" is no number from 1 to 1000'),
    (("--count", "1,x"), 'bench: --count: "x" is no number from 1 to 1000'),
])
def test_wrong_words_are_refused_before_anything_is_measured(words: tuple[str, ...], what: str, tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UsageError) as caught:
        run(*(word.format(tmp_path) for word in words))
    assert caught.value.what == what.format(tmp_path)
