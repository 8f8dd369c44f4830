"""Looking at containers that do not hold still."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from conftest import Cli, requires

import runspec

SPEC = "apiVersion: runspec/v1\nname: {}\nroot: {{image: busybox}}\nprocess: {{args: [/bin/sleep, \"1000\"]}}\n"
# Runs one verb; just before the containers are entered, a process is killed and its end awaited.
DIES = """
import os, select, sys
sys.path += sys.argv[1].split(":")
from runspec.kernel import Kernel
enter = Kernel.begin_table
def after_a_death(self, *args, **more):
    Kernel.begin_table = enter
    dying = os.pidfd_open(int(sys.argv[2]))
    os.kill(int(sys.argv[2]), 9)
    select.select([dying], [], [])
    return enter(self, *args, **more)
Kernel.begin_table = after_a_death
from runspec.__main__ import main
sys.exit(main(sys.argv[3:]))
"""


@requires("root", "busybox", "nsenter")
def test_one_ends_while_all_are_looked_at(cli: Cli, tmp_path: Path) -> None:
    """It counts as stopped; what is said of the others stays whole."""
    file = tmp_path / "three.yaml"
    file.write_text("---\n".join(SPEC.format(name) for name in ("one", "two", "three")))
    cli("apply", file)
    pid = json.loads(cli("state", "two").stdout)["pid"]
    path = ":".join([str(Path(runspec.__file__).parents[1]), *(one for one in sys.path if one)])
    done = cli.netns.run(sys.executable, "-P", "-c", DIES, path, str(pid), *cli.argv[1:], "diff", "-o", "json", file)
    assert done.returncode == 1, done.stderr
    assert [(one["target"], one["before"], one["after"]) for one in json.loads(done.stdout)["changes"]] == [
        ("two", "stopped", "running")]
