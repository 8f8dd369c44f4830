"""The command as a process: exact answers to wrong words, closed descriptors, what hot verbs import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import runspec
from runspec.__main__ import main

PACKAGES = Path(runspec.__file__).parent.parent
CASES = yaml.safe_load((Path(__file__).parent.parent / "faults" / "commandline.yaml").read_text())
HEAVY = (
    "yaml",
    "jsonschema",
    "pyroute2",
    "subprocess",
    "pathlib",
    "typing",
    "re",
    "json",
    "argparse",
    "dataclasses",
    "enum",
    "signal",
)


def argv(*words: str | bytes) -> list[str | bytes]:
    """The interpreter as the installed command starts it: isolated, without site hooks."""
    code = (f"import sys; sys.path.insert(0, {str(PACKAGES)!r}); from runspec.__main__ import main; "
            "sys.exit(main())")
    return [sys.executable, "-I", "-S", "-c", code, *words]


def run(case: dict[str, Any], root: str) -> tuple[int, str, str]:
    """Run one case; (status, stdout, stderr)."""
    words = [word.encode("latin-1") for word in case["words"]]
    if words and not case.get("bare") and not words[0].startswith(b"-") and words[0]:
        words = [b"--root", root.encode(), *words]
    options: dict[str, Any] = {}
    out = case.get("out")
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        if out == "closed":
            done = subprocess.run(
                ["/bin/sh", "-c", 'exec "$0" "$@" >&-', *argv(*words)],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=60,
            )
        else:
            options["stdout"] = {"gone": writer, "full": full}.get(str(out), subprocess.PIPE)
            done = subprocess.run(argv(*words), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60,
                                  env={}, **options)
    finally:
        os.close(writer)
        os.close(full)
    return done.returncode, (done.stdout or b"").decode(), done.stderr.decode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_command_line(case: dict[str, Any], tmp_path: Path) -> None:
    status, stdout, stderr = run(case, str(tmp_path / "state"))
    assert (status, stderr) == (case["status"], case["stderr"])
    if "stdout" in case:
        assert stdout == case["stdout"]
    elif status:
        assert stdout == ""
    assert not (tmp_path / "state").exists()        # nothing is made by a command that fails


@pytest.mark.parametrize(("log", "why"), [("nowhere/log", "no such file or directory"), (".", "is a directory")])
def test_a_log_that_cannot_be_opened(log: str, why: str, tmp_path: Path) -> None:
    """Whoever asks for one reads nothing else; an empty one is made even where nothing is to be told."""
    state, log = str(tmp_path / "state"), str(tmp_path / log)
    for verb, status in ((["list"], 1), (["exec", "x", "true"], 1), (["delete", "-f", "x"], 1), (["tree"], 2)):
        done = subprocess.run(argv("--root", state, "--log", log, *verb), capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr.decode().splitlines()) == (
            status, b"", [f"runspec: --log {log}: {why}", "  fix: name a file in a directory that is there"])
    subprocess.run(argv("--root", state, "--log", str(tmp_path / "log"), "list"), check=True, timeout=60)
    assert (tmp_path / "log").read_bytes() == b""


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60
    assert {word for case in CASES for word in case["words"][:1]} >= {
        "validate",
        "config",
        "plan",
        "diff",
        "apply",
        "destroy",
        "list",
        "state",
        "ps",
        "tree",
        "exec",
        "kill",
        "stop",
    }


@pytest.mark.parametrize(
    "words",
    [["list"], ["list", "-o", "json"], ["state", "x"], ["ps", "x"], ["kill", "x"], ["exec", "x", "true"]],
)
def test_hot_verbs_import_little(words: list[str], tmp_path: Path) -> None:
    code = (f"import sys; sys.path.insert(0, {str(PACKAGES)!r}); before = set(sys.modules)\n"
            "from runspec import later; later.install()\n"
            "from runspec.__main__ import main\n"
            f"main({['--root', str(tmp_path / 'state'), *words]!r})\n"
            "print('loaded', *sorted(set(sys.modules) - before))")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60
    )
    loaded = set(done.stdout.splitlines()[-1].split()[1:])
    assert "runspec.cli.people" in loaded, done.stderr
    assert not loaded & set(HEAVY)


def test_all_descriptors_closed(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', *argv("--root", str(tmp_path / "s"), "list")],
        timeout=60,
    )
    assert done.returncode == 0


def test_unexpected_trouble_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from runspec.cli import enter, people

    def fail(_: object) -> int:
        raise ZeroDivisionError("odd\nthing")

    monkeypatch.setattr(people, "run", fail)
    monkeypatch.setattr(enter, "run", fail)
    assert main(["state", "x"]) == 1
    assert capsys.readouterr().err == ("runspec: internal error: ZeroDivisionError: odd\\x0athing\n"
                                       "  fix: run it again with --debug before the verb\n")
    assert main(["tree"]) == 2
    assert main(["exec", "x", "y"]) == 1
    capsys.readouterr()
    assert main(["--debug", "state", "x"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from runspec.cli import people

    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(people, "run", interrupt)
    assert main(["tree"]) == 130
    assert capsys.readouterr().err == ""


def test_bad_fault_word(tmp_path: Path) -> None:
    done = subprocess.run(
        argv("--root", str(tmp_path / "s"), "list"),
        capture_output=True,
        text=True,
        timeout=60,
        env={"RUNSPEC_FAULT": "explode"},
    )
    assert done.returncode == 1 and "RUNSPEC_FAULT=explode" in done.stderr


@pytest.mark.parametrize(
    "verb",
    [
        "validate",
        "config",
        "plan",
        "diff",
        "apply",
        "destroy",
        "list",
        "state",
        "ps",
        "tree",
        "exec",
        "kill",
        "stop",
    ],
)
def test_help_of_each_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: runspec {verb}")
    assert main(["--help"]) == 0
    assert f"\n  {verb} " in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("runspec version ")
