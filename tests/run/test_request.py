"""What the files of a command line ask: their documents, however they are cut."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from runspec.cli.declare import judge, read_specs
from runspec.errors import SpecError
from runspec.kernel import Kernel
from runspec.run.request import read_request
from runspec.run.store import Store

NET = "apiVersion: runspec/v1\nkind: Network\ntype: bridge\nname: "


def asked(where: Path, *texts: str) -> list[str]:
    """Names as plan, diff and apply read them; validate and config must read, or refuse, the same."""
    files = []
    for number, text in enumerate(texts):
        files.append(str(where / f"{number}.yaml"))
        Path(files[-1]).write_text(text)
    store = Store(Kernel(), str(where / "root"))
    try:
        whole = [model.name for model, _ in read_specs(tuple(files))]
    except SpecError as error:
        with pytest.raises(SpecError) as caught:
            read_request(tuple(files), store, judge, io.BytesIO())
        assert caught.value.text() == error.text()
        raise
    pieces = [one.model.name for one in read_request(tuple(files), store, judge, io.BytesIO())]
    assert pieces == whole
    return pieces


@pytest.mark.parametrize("text", [
    f"{NET}a\n---\n{NET}b\n---\n", f"---\n---\n{NET}a\n---\n{NET}b\n", f"{NET}a\n---\n---\n---\n{NET}b\n",
    f"# one\n---\n# two\n---\n{NET}a\n---\n# three\n---  \n{NET}b\n--- # four\n", f"{NET}a\r\n---\r\n---\n{NET}b\n---",
])
def test_empty_documents_are_passed_over(text: str, tmp_path: Path) -> None:
    assert asked(tmp_path, text) == ["a", "b"]


@pytest.mark.parametrize("text", ["", "---", "---\n---\n", "# a\n", "---\n# a\n--- # b\n\n"])
def test_a_file_of_nothing(text: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        asked(tmp_path, f"{NET}a\n", text, f"{NET}b\n---\n")
    assert caught.value.text() == (f"{tmp_path}/1.yaml:1:1: holds no document\n"
                                   "  why: a spec file declares a container or a network\n"
                                   "  fix: begin one with apiVersion: runspec/v1, or leave the file out")


@pytest.mark.parametrize(("text", "told"), [
    ("---\n---\nnull\n", ":3:1: expected a map, found null"), ("---\n---\n{}\n", ":3:1: apiVersion: missing"),
])
def test_what_is_not_empty_is_judged(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        asked(tmp_path, text)
    assert f"{tmp_path}/0.yaml{told}" in caught.value.text()
    assert "holds no document" not in caught.value.text()
