"""Containers from images with a digest: who runs and how, what is shared, what a changed image means."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT, Cli, requires
from layouts import docker_archive, index, layout, manifest, tar, userland

pytestmark = requires("root", "overlay", "nsenter", "busybox")
CONFIG: dict[str, Any] = {"Entrypoint": ["/bin/sleep"], "Cmd": ["100000"], "Env": ["GREETING=hello", "NAME=image"],
                          "WorkingDir": "/srv/app", "User": "app"}
ACCOUNTS = (("etc/passwd", "file", "root:x:0:0::/:/bin/sh\napp:x:1234:1235::/:/bin/sh\n"),
            ("etc/group", "file", "app:x:1235:\nstaff:x:50:app\n"))


def document(folder: Path, image: str, more: str = "", name: str = "one") -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(f"apiVersion: runspec/v1\nname: {name}\nroot: {{image: '{image}'}}\ninterfaces: []\n{more}")
    return file


def init(cli: Cli, name: str = "one") -> int:
    return int(json.loads(cli("state", name).stdout)["pid"])


def status_of(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


@requires("umoci", "skopeo")
@pytest.mark.both
@pytest.mark.parametrize("kind", ["oci", "docker-archive"])
def test_an_image_says_how_it_is_run(cli: Cli, tmp_path: Path, kind: str) -> None:
    """Nothing in the file but the image; judged from outside."""
    if kind == "oci":
        image = f"oci:{layout(tmp_path / 'oci', CONFIG, *ACCOUNTS)}:app"
    else:
        image = f"docker-archive:{docker_archive(tmp_path / 'a.tar', CONFIG, *ACCOUNTS)}"
    file = document(tmp_path, image)
    cli("validate", file)
    if kind == "oci":
        assert f"one: {image} is not unpacked yet; apply does that first" in cli("plan", file).stdout
        assert "is not unpacked yet" in cli("plan", file).stdout
    cli("apply", file)
    pid = init(cli)
    proc = Path(f"/proc/{pid}")
    assert (proc / "cmdline").read_bytes() == b"/bin/sleep\x00100000\x00"
    assert {b"GREETING=hello", b"NAME=image"} < set((proc / "environ").read_bytes().split(b"\0"))
    assert os.readlink(proc / "cwd") == "/srv/app"
    told = status_of(pid)
    assert (told["Uid"].split()[0], told["Gid"].split()[0], told["Groups"].split()) == ("1234", "1235", ["50"])
    assert cli("exec", "one", "/bin/id", "-un").stdout == "app\n"
    cli("diff", file)
    assert "nothing to do" in cli("apply", file).stdout


@requires("umoci")
def test_the_file_wins(cli: Cli, tmp_path: Path) -> None:
    """args replace entrypoint and command, env is merged by name, a user of the file's is the file's whole."""
    image = f"oci:{layout(tmp_path / 'oci', CONFIG, *ACCOUNTS)}:app"
    file = document(tmp_path, image, "process:\n  args: [/bin/sleep, '99']\n  env: {NAME: file}\n  cwd: /\n"
                                     "  user: {uid: 5}\n")
    cli("apply", file)
    pid = init(cli)
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"/bin/sleep\x0099\x00"
    env = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"NAME=file" in env and b"NAME=image" not in env and b"GREETING=hello" in env
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    told = status_of(pid)
    assert (told["Uid"].split()[0], told["Gid"].split()[0], told["Groups"].split()) == ("5", "0", [])


@requires("umoci")
@pytest.mark.both
def test_the_same_tag_another_image(cli: Cli, tmp_path: Path) -> None:
    """The text is the same, the image is not: edited, recreate; and back again without unpacking."""
    top = tmp_path / "oci"
    one, two = (manifest(top, [tar(*userland(("version", "file", word)))], CONFIG | {"User": ""})
                for word in ("one", "two"))
    index(top, app=one)
    file = document(tmp_path, f"oci:{top}:app")
    cli("apply", file)
    before = init(cli)
    index(top, app=two)
    found = json.loads(cli("diff", "-o", "json", file, status=1).stdout)["changes"]
    assert [(one["path"], one["cause"], one["class"]) for one in found] == [("root.image", "edited", "recreate")]
    assert found[0]["before"].endswith(f"@{one['digest']}") and found[0]["after"].endswith(f"@{two['digest']}")
    cli("apply", "--yes", file)
    assert init(cli) != before and cli("exec", "one", "/bin/cat", "/version").stdout == "two"
    index(top, app=one)
    cli("apply", "--yes", file)
    assert cli("exec", "one", "/bin/cat", "/version").stdout == "one"
    images = Path(f"/proc/{cli.netns.pid}/root/var/lib/runspec/images")
    assert len([path for path in images.iterdir() if path.is_dir()]) == 2


@requires("umoci")
def test_one_layer_for_all(cli: Cli, tmp_path: Path) -> None:
    """Two containers share the unpacked image, and neither sees what the other writes."""
    image = f"oci:{layout(tmp_path / 'oci', CONFIG | {'User': ''})}:app"
    files = [document(tmp_path, image, name=name) for name in ("one", "two")]
    cli("apply", *files)
    lower = [next(word for line in Path(f"/proc/{init(cli, name)}/mountinfo").read_text().splitlines()
                  if line.split()[4] == "/" for word in line.split(" - ")[1].split()[2].split(",")
                  if word.startswith("lowerdir=")) for name in ("one", "two")]
    assert lower[0] == lower[1]
    cli("exec", "one", "/bin/sh", "-c", "echo mine >/etc/mine")
    assert cli("exec", "two", "/bin/cat", "/etc/mine", status=1).stdout == ""
    where = Path(f"/proc/{cli.netns.pid}/root{lower[0].partition('=')[2]}")
    assert not (where / "etc/mine").exists() and not (where / "proc").exists()


@requires("umoci")
def test_a_kept_layer_above_an_image(cli: Cli, tmp_path: Path) -> None:
    """What was written outlives a recreation with another image, and destroy unless --data."""
    top = tmp_path / "oci"
    one, two = (manifest(top, [tar(*userland(("version", "file", word)))], CONFIG | {"User": ""})
                for word in ("one", "two"))
    index(top, app=one)
    file = tmp_path / "one.yaml"
    file.write_text("apiVersion: runspec/v1\nname: one\ninterfaces: []\n"
                    f"root: {{image: 'oci:{top}:app', overlay: {{volatile: false}}}}\n")
    cli("apply", file)
    cli("exec", "one", "/bin/sh", "-c", "echo kept >/etc/mine")
    index(top, app=two)
    cli("apply", "--yes", file)
    assert cli("exec", "one", "/bin/cat", "/etc/mine", "/version").stdout == "kept\ntwo"
    upper = Path(f"/proc/{cli.netns.pid}/root/var/lib/runspec/one/rootfs")
    assert "kept its files in /var/lib/runspec/one/rootfs" in cli("destroy", "--yes", file).stdout
    assert (upper / "etc/mine").read_text() == "kept\n"
    cli("apply", file)
    assert cli("exec", "one", "/bin/cat", "/etc/mine").stdout == "kept\n"
    cli("destroy", "--yes", "--data", file)
    assert not upper.exists()


@requires("umoci")
def test_a_bundle_of_an_image(cli: Cli, tmp_path: Path) -> None:
    """convert writes into the bundle what the image says, and the document that comes back is the same container."""
    file = document(tmp_path, f"oci:{layout(tmp_path / 'oci', CONFIG, *ACCOUNTS)}:app")
    cli("convert", "-b", tmp_path / "bundle", file)
    tree = json.loads((tmp_path / "bundle/config.json").read_text())
    assert tree["process"]["args"] == ["/bin/sleep", "100000"] and tree["process"]["user"]["uid"] == 1234
    assert (tmp_path / "bundle/rootfs/bin/sh").is_symlink()
    (tmp_path / "back.yaml").write_text(cli("convert", tmp_path / "bundle").stdout)
    cli("apply", tmp_path / "back.yaml")
    assert status_of(init(cli))["Uid"].split()[0] == "1234"


def test_a_program_nobody_names(cli: Cli, tmp_path: Path) -> None:
    file = document(tmp_path, f"oci:{layout(tmp_path / 'oci', {})}:app")
    cli("validate", file)
    told = cli("apply", file, status=2).stderr
    assert told == (f"{file}:1:1: process.args: missing\n  why: the image names no program either\n"
                    '  fix: add process: {"args": ["/sbin/init"]}\n')
    (tmp_path / "a.tar").write_bytes(tar(*userland()))
    assert "process: missing" in cli("validate", document(tmp_path, f"tar:{tmp_path}/a.tar"), status=2).stderr


def test_an_archive_that_is_none_is_refused_where_it_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("no archive\n")
    file = document(tmp_path, f"tar:{tmp_path}/a.tar", "process: {args: [/bin/sh]}\n")
    assert cli("apply", file, status=2).stderr.startswith(
        f"{file}:3:15: root.image: {tmp_path}/a.tar cannot be unpacked\n")


def test_config_tells_what_an_image_adds(cli: Cli, tmp_path: Path) -> None:
    file = document(tmp_path, f"oci:{tmp_path}/oci:app")
    told = cli("config", file)
    assert "args: []" in told.stdout and "oci-layout cannot be read" in told.stderr
    layout(tmp_path / "oci", CONFIG, *ACCOUNTS)
    told = cli("config", file)
    assert "- /bin/sleep" in told.stdout and "uid: 1234" in told.stdout and not told.stderr
    assert "sha256" not in told.stdout


@requires("umoci", "user_namespace")
@pytest.mark.both
def test_a_user_namespace_owns_its_image(cli: Cli, tmp_path: Path) -> None:
    """The unpacked image stays the host root's on disk and is the container root's inside."""
    image = f"oci:{layout(tmp_path / 'oci', CONFIG, *ACCOUNTS)}:app"
    maps = "[{containerID: 0, hostID: 100000, size: 65536}]"
    file = document(tmp_path, image, "linux:\n  namespaces: [{type: user}]\n"
                                     f"  uidMappings: {maps}\n  gidMappings: {maps}\n")
    cli("apply", file)
    assert cli("exec", "one", "/bin/sh", "-c", "/bin/busybox stat -c %u /bin/busybox; id -u").stdout == "0\n1234\n"
    assert status_of(init(cli))["Uid"].split()[0] == "101234"
    cli("diff", file)


@requires("legacy32")
@pytest.mark.both
def test_a_32_bit_userland(cli: Cli) -> None:
    """A program of 32 bits runs and is told that the machine is one of 32."""
    cli("apply", CHECKOUT / "specs/legacy32.yaml")
    assert cli("exec", "legacy32", "/bin/busybox", "uname", "-m").stdout == "i686\n"
    pid = init(cli, "legacy32")
    assert Path(f"/proc/{pid}/exe").read_bytes()[:5] == b"\x7fELF\x01"
    assert Path(f"/proc/{pid}/personality").read_text() == "00000008\n"
    assert max(int(line.split("-")[0], 16) for line in Path(f"/proc/{pid}/maps").read_text().splitlines()) < 2**32


@requires("buildah", "umoci")
def test_made_by_buildah(cli: Cli, tmp_path: Path) -> None:
    """A layout that buildah commits, as podman's users make them, runs as it is."""
    script = """
buildah() { command buildah --root "$1/store" --runroot "$1/run" --storage-driver vfs "${@:2}"; }
one=$(buildah "$PWD" from scratch)
where=$(buildah "$PWD" mount $one)
mkdir -p $where/bin $where/etc
cp "$(command -v busybox)" $where/bin/busybox
for name in sh sleep id cat; do ln -s busybox $where/bin/$name; done
echo app:x:1234:1235::/:/bin/sh >$where/etc/passwd
buildah "$PWD" umount $one
buildah "$PWD" config --entrypoint '["/bin/sleep"]' --cmd 100000 --env GREETING=hello --workingdir /srv --user app $one
buildah "$PWD" commit --quiet --format oci $one oci:$PWD/layout:app
"""
    subprocess.run(["unshare", "-m", "bash", "-ec", script], cwd=tmp_path, check=True, capture_output=True,
                   env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    file = document(tmp_path, f"oci:{tmp_path}/layout:app")
    cli("apply", file)
    pid = init(cli)
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"/bin/sleep\x00100000\x00"
    assert status_of(pid)["Uid"].split()[0] == "1234" and os.readlink(f"/proc/{pid}/cwd") == "/srv"
    cli("diff", file)
