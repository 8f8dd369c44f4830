"""Described devices in a running container: everything a description adds, judged from outside."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli, requires
from test_images import init, status_of

pytestmark = [requires("root", "busybox", "overlay", "nsenter"), pytest.mark.both]
PLACE = Path("/var/run/cdi")


@pytest.fixture
def described(tmp_path: Path) -> Iterator[Path]:
    """One device with an edit of each kind."""
    made = not PLACE.exists()
    PLACE.mkdir(parents=True, exist_ok=True)
    file = PLACE / "runspec-test.yaml"
    (tmp_path / "library").write_text("library")
    file.write_text(json.dumps({
        "cdiVersion": "0.7.0", "kind": "runspec.test/dev", "containerEdits": {"env": ["ALL=1"]},
        "devices": [{"name": "one", "containerEdits": {
            "env": ["ONE=1"], "additionalGids": [4321],
            "deviceNodes": [{"path": "/dev/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o660},
                            {"path": "/dev/extra", "hostPath": "/dev/full"}],
            "mounts": [{"hostPath": str(tmp_path / "library"), "containerPath": "/lib/library",
                        "options": ["ro", "nosuid"]}],
            "hooks": [{"hookName": "createRuntime", "path": "/bin/sh",
                       "args": ["sh", "-c", f"cat >{tmp_path}/state"]}]}}]}))
    yield file
    file.unlink()
    if made:
        PLACE.rmdir()


def test_all_that_a_device_brings(cli: Cli, tmp_path: Path, described: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("apiVersion: runspec/v1\nname: one\nroot: {image: busybox}\ninterfaces: []\n"
                    "process: {args: [/bin/sleep, '100000']}\n"
                    "linux: {devices: [{cdi: runspec.test/dev=one}]}\n")
    cli("validate", file)
    cli("apply", file)
    pid = init(cli, "one")
    root, proc = Path(f"/proc/{pid}/root"), Path(f"/proc/{pid}")
    assert {b"ALL=1", b"ONE=1"} < set((proc / "environ").read_bytes().split(b"\0"))
    assert status_of(pid)["Groups"].split() == ["4321"]
    assert (root / "dev/tun").stat().st_rdev == os.makedev(10, 200)
    assert (root / "dev/tun").stat().st_mode & 0o7777 == 0o660
    assert (root / "dev/extra").stat().st_rdev == os.makedev(1, 7)
    assert (root / "lib/library").read_text() == "library"
    assert json.loads((tmp_path / "state").read_text())["id"] == "one"
    # The group's device rules let it be opened: what fails is the driver or the right, never the rule.
    told = cli("exec", "one", "/bin/sh", "-c", "head -c 1 /dev/tun", status=None).stderr
    assert "Operation not permitted" not in told
    cli("diff", file)
    assert "nothing to do" in cli("apply", file).stdout

    (root / "dev/tun").unlink()
    found = json.loads(cli("diff", "-o", "json", file, status=1).stdout)["changes"]
    assert [(one["path"], one["cause"]) for one in found] == [("linux.devices[0]", "drifted")]
    cli("apply", "--yes", file)
    assert (Path(f"/proc/{init(cli, 'one')}/root/dev/tun")).stat().st_rdev == os.makedev(10, 200)

    # The file is the same, what it names is not.
    described.write_text(described.read_text().replace("ONE=1", "ONE=2"))
    found = json.loads(cli("diff", "-o", "json", file, status=1).stdout)["changes"]
    assert [(one["path"], one["cause"], one["class"]) for one in found] == [("process.env", "edited", "restart")]
    cli("apply", "--yes", file)
    assert b"ONE=2" in Path(f"/proc/{init(cli, 'one')}/environ").read_bytes().split(b"\0")


def test_a_device_nobody_describes(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("apiVersion: runspec/v1\nname: one\nroot: {image: busybox}\nprocess: {args: [sh]}\n"
                    "linux: {devices: [{cdi: runspec.test/none=1}]}\n")
    told = cli("apply", file, status=2).stderr
    assert told.startswith(f"{file}:5:25: linux.devices[0].cdi: there is no device runspec.test/none=1\n")
