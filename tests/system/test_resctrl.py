"""Classes of caches where the kernel has none: refused before any step, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Cli, requires

pytestmark = [requires("root", "busybox"), pytest.mark.both]


@pytest.mark.skipif(Path("/sys/fs/resctrl/schemata").exists(), reason="resctrl is mounted")
def test_refused_without_resctrl(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "rdt.yaml"
    file.write_text("apiVersion: runspec/v1\nname: rdt\nroot: {image: busybox}\nprocess: {args: [sh]}\n"
                    "linux: {intelRdt: {schemata: ['L3:0=f']}}\n")
    cli("validate", file)
    done = cli("apply", file, status=2)
    assert "linux.intelRdt: there are no classes of caches and memory bandwidth here" in done.stderr
    assert "resctrl.rst" in done.stderr and done.stderr.startswith(f"{file}:5:") and cli("list", "-q").stdout == ""
