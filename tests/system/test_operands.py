"""What the words of a command line mean: names before files, `-`, folders."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import Cli, requires

needs = requires("root", "busybox", "nsenter")


def spec(name: str) -> str:
    """A small container."""
    return (f"apiVersion: runspec/v1\nname: {name}\nroot: {{image: busybox}}\n"
            'process: {args: [/bin/sleep, "100000"]}\n')


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def running(cli: Cli) -> list[str]:
    """The containers that are there."""
    return cli("list", "-q").stdout.split()


@needs
def test_a_name_goes_before_a_folder(cli: Cli, here: Path) -> None:
    """`destroy web` removes web, whatever lies in the working directory as `web`."""
    (here / "web").mkdir()
    (here / "web/db.yaml").write_text(spec("db"))
    (here / "web.yaml").write_text(spec("web"))
    (here / "plain").write_text(spec("db"))
    both = ("web.yaml", "web/db.yaml")
    cli.cold("apply", *both)
    assert cli.cold("destroy", "--yes", "web").stdout == "web: removed\n" and running(cli) == ["db"]
    cli.cold("apply", *both)
    assert cli.cold("destroy", "--yes", "./web").stdout == "db: removed\n" and running(cli) == ["web"]
    # Nor when it is gone: a script that destroys twice takes nothing else.
    cli.cold("destroy", "--yes", "web")
    cli.cold("apply", "web/db.yaml")
    for word in ("web", "plain"):
        assert f"fix: the file or folder is ./{word}" in cli.cold("destroy", "--yes", word, status=2).stderr
    assert running(cli) == ["db"]
    assert cli.cold("destroy", "--yes", "./plain").stdout == "db: removed\n" and running(cli) == []
    cli.cold("apply", *both)
    cli.cold("destroy", "--yes", "./web")
    assert cli.cold("destroy", "--yes", "web.yaml").stdout == "web: removed\n" and running(cli) == []


@needs
def test_a_name_goes_before_a_folder_for_what_it_left(cli: Cli, here: Path) -> None:
    """With --data the name of a container that left files is that, too, once it is destroyed."""
    lasting = spec("web").replace("busybox}", "busybox, overlay: {volatile: false}}")
    (here / "web").mkdir()
    (here / "web/db.yaml").write_text(spec("db"))
    (here / "web.yaml").write_text(lasting)
    cli.cold("apply", "web.yaml", "web/db.yaml")
    cli.cold("destroy", "--yes", "web")
    cli.cold("destroy", "--yes", "--data", "web")
    assert running(cli) == ["db"]


@needs
def test_dash_is_standard_input(cli: Cli, here: Path) -> None:
    """Whatever lies here by that name; and a plan comes from there as well as documents do."""
    (here / "one.yaml").write_text(spec("one"))
    plan = cli.cold("plan", "--out", "-", "one.yaml").stdout
    assert json.loads(plan)["kind"] == "Plan" and not (here / "-").exists()
    cli.cold("plan", "--out", "./-", "one.yaml")
    assert (here / "-").read_text() == plan
    assert cli.cold("apply", "-", input=spec("two")).stdout == "two: created\n" and running(cli) == ["two"]
    assert cli.cold("apply", "-", input=plan).stdout == "one: created\n"
    alone = cli.cold("apply", "-", "one.yaml", input=plan, status=2)
    assert "-: a plan is applied alone" in alone.stderr
    # Whole, in whatever parts a pipe hands it over.
    feed = subprocess.Popen(["sh", "-c", "head -c 20 ./-; sleep 0.3; tail -c +21 ./-"], stdout=subprocess.PIPE,
                            cwd=here)
    done = cli.cold("apply", "-", stdin=feed.stdout)
    assert feed.wait() == 0 and done.stdout == "up to date: nothing to do\n"


@needs
def test_a_file_given_twice(cli: Cli, here: Path) -> None:
    """Its faults are told once, its container is made once."""
    (here / "bad.yaml").write_text(spec("bad") + "bogus: 1\nother: 2\n")
    said = cli.cold("validate", "bad.yaml", "./bad.yaml", "bad.yaml", status=2).stderr
    assert said.count("bad.yaml:5:1: bogus") == 2 and said.count("./bad.yaml:6:1: other") == 1
    assert cli.cold("validate", "bad.yaml", "bad.yaml", status=2).stderr.count(": unknown key") == 2
    (here / "one.yaml").write_text(spec("one"))
    assert cli.cold("apply", "one.yaml", "one.yaml").stdout == "one: created\n"
