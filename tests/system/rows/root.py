"""The root: its directory, its image, and where is kept what is written; described devices."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from layouts import tar, userland

from rows.base import Live, Row

CDI = Path("/var/run/cdi/runspec-test.json")
LAYERS = "the layers of a mounted overlay stay as they are; that they are the declared ones is read from mountinfo"


def root_of(live: Live) -> list[str]:
    """The fields of mountinfo's line of "/"."""
    return next(line.split() for line in live.proc("mountinfo").splitlines() if line.split()[4] == "/")


def upper(live: Live) -> str:
    """The name of the directory that takes what is written."""
    options = dict(word.partition("=")[::2] for word in root_of(live)[-1].split(","))
    return Path(options["upperdir"]).name


@contextmanager
def roots(room: Path) -> Iterator[None]:
    """Two roots, as directories and as archives."""
    for name in ("one", "two"):
        (room / f"{name}.tar").write_bytes(tar(*userland(("version", "file", name))))
        (room / name).mkdir(exist_ok=True)
        subprocess.run(["tar", "-xf", room / f"{name}.tar", "-C", room / name], check=True)
    yield


def replace(live: Live) -> None:
    """Another directory is now where the root was."""
    (live.room / "two").rename(live.room / "moved")
    shutil.copytree(live.room / "moved", live.room / "two", symlinks=True)


@contextmanager
def described(room: Path) -> Iterator[None]:
    """Two devices of the host, described for containers."""
    made = not CDI.parent.exists()
    CDI.parent.mkdir(parents=True, exist_ok=True)
    CDI.write_text(json.dumps({"cdiVersion": "0.6.0", "kind": "runspec.test/dev", "devices": [
        {"name": name, "containerEdits": {"deviceNodes": [{"path": f"/dev/{name}", "hostPath": host}]}}
        for name, host in (("one", "/dev/zero"), ("two", "/dev/full"))]}))
    try:
        yield
    finally:
        CDI.unlink()
        if made:
            CDI.parent.rmdir()


def nodes(live: Live) -> list[str]:
    """Which of them are there inside, and can be opened."""
    return [name for name in ("one", "two")
            if live.inside("sh", "-c", f"head -c 1 /dev/{name} >/dev/null && echo yes").strip() == "yes"]


def devices(*names: str) -> dict[str, object]:
    return {"linux": {"devices": [{"cdi": f"runspec.test/dev={name}"} for name in names]}}


ROWS = (
    Row("root.path", {"root": {"image": None, "path": "ROOM/one"}}, {"root": {"image": None, "path": "ROOM/two"}},
        lambda live: Path(root_of(live)[3]).name, ("one", "two"), replace, around=roots),
    Row("root.image", {"root": {"image": "tar:ROOM/one.tar"}}, {"root": {"image": "tar:ROOM/two.tar"}},
        lambda live: Path(f"/proc/{live.pid}/root/version").read_text(), ("one", "two"), LAYERS, around=roots,
        needs=("overlay",)),
    Row("root.overlay.volatile", {"root": {"overlay": {"volatile": True}}},
        {"root": {"overlay": {"upper": "/var/lib/runspec/kept"}}}, upper, ("rootfs", "kept"), LAYERS),
    Row("root.overlay.upper", {"root": {"overlay": {"upper": "/var/lib/runspec/one"}}},
        {"root": {"overlay": {"upper": "/var/lib/runspec/two"}}}, upper, ("one", "two"), LAYERS),
    Row("linux.cdiDevices", devices("one"), devices("one", "two"), nodes, (["one"], ["one", "two"]),
        "what a description adds is told under its own path: linux.devices, mounts", around=described),
)
