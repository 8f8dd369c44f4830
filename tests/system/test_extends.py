"""A base file in the life of a container: its text counts, wherever a document is known again."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import Cli, requires

pytestmark = requires("root", "busybox", "overlay", "nsenter")


def test_a_changed_base_is_a_changed_document(cli: Cli, tmp_path: Path) -> None:
    """Only the base changes: diff places the change there, apply does it, and then nothing is left to do."""
    base, file = tmp_path / "bases/common.yaml", tmp_path / "one.yaml"
    base.parent.mkdir()
    base.write_text("root: {image: busybox}\nprocess: {args: [/bin/sleep, '100000']}\n"
                    "linux:\n  resources: {pids: {limit: 64}}\ninterfaces: []\n")
    file.write_text("apiVersion: runspec/v1\nname: one\nextends: bases/common.yaml\nhostname: own\n")
    cli("apply", file)
    assert "nothing to do" in cli("apply", file).stdout
    base.write_text(base.read_text().replace("64", "65"))
    assert cli("diff", file, status=1).stdout == (
        f"{base}:4:29: one: linux.resources.pids.limit: 64 -> 65  edited, in place\n")
    cli("apply", file)
    cli("diff", file)
    base.unlink()
    assert "extends: " in cli("diff", file, status=2).stderr
    assert json.loads(cli("state", "one").stdout)["status"] == "running"
