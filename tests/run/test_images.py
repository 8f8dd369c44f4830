"""Images with a digest: unpacked once and whole, whatever the archive tries, and told apart when they change."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import stat
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import requires
from kernels import SLOWER
from layouts import descriptor, docker_archive, index, layout, manifest, tar, userland

from runspec.errors import HostError, SpecError
from runspec.kernel import Kernel
from runspec.run import tools
from runspec.run.images import Images

pytestmark = requires("root")
CONFIG = {"Entrypoint": ["/bin/sh"], "Cmd": ["-c", "id"], "Env": ["A=1", "A=2"], "WorkingDir": "/srv/", "User": "app"}
PASSWD = (("etc/passwd", "file", "root:x:0:0::/:/bin/sh\napp:x:7:8::/:/bin/sh\n"),
          ("etc/group", "file", "app:x:8:\nstaff:x:50:app\n"))


class Counting(Kernel):
    """Counts the files that are read to their end for their digest."""

    hashed = 0

    def hash_file(self, fd: int) -> str:
        self.hashed += 1
        return Kernel().hash_file(fd)


def door(room: Path, build: bool = True) -> Images:
    return Images(Kernel(), build, str(room / "state"))


def unpack(room: Path, text: str) -> Path:
    found = door(room).ensure(text)
    assert found is not None
    return Path(found)


def everything(top: Path) -> list[str]:
    return sorted(str(one.relative_to(top)) for one in top.rglob("*"))


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    """A directory beside the images; what a hostile archive aims at."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("mine")
    (tmp_path / "outside/file").chmod(0o600)
    return tmp_path


def untouched(room: Path) -> None:
    outside = room / "outside"
    assert os.listdir(outside) == ["file"] and (outside / "file").read_text() == "mine"
    found = (outside / "file").stat()
    assert stat.S_IMODE(found.st_mode) == 0o600 and found.st_nlink == 1
    assert not any(Path("/", name).exists() for name in ("runspec-evil", "tmp/runspec-evil", "etc/runspec-evil"))


def test_tar_once(tmp_path: Path) -> None:
    """The second look hashes nothing, the second container unpacks nothing; a touched file is hashed, not unpacked."""
    file = tmp_path / "a.tar"
    file.write_bytes(tar(("etc", "dir", ""), ("etc/os", "file", "one"), ("bin/su", "setuid", "x")))
    top = unpack(tmp_path, f"tar:{file}")
    assert (top / "etc/os").read_text() == "one"
    # A set-user-ID program keeps its bit, and nobody but root gets to it.
    assert stat.S_IMODE((top / "bin/su").stat().st_mode) == 0o4755
    assert stat.S_IMODE(top.parent.stat().st_mode) == 0o700 and top.parent.stat().st_uid == 0
    for touch in (False, True):
        if touch:
            os.utime(file)
        kernel = Counting()
        assert Images(kernel, True, str(tmp_path / "state")).ensure(f"tar:{file}") == str(top)
        assert (kernel.hashed, kernel.acts) == (int(touch), 0)
    file.write_bytes(tar(("etc/os", "file", "two")))
    again = unpack(tmp_path, f"tar:{file}")
    assert again != top and (again / "etc/os").read_text() == "two"


@pytest.mark.parametrize("how", ["gz", "xz", "bz2"])
def test_tar_compressed(tmp_path: Path, how: str) -> None:
    with tarfile.open(tmp_path / "a.tar", f"w:{how}") as archive:
        archive.addfile(tarfile.TarInfo("empty"), io.BytesIO())
    assert everything(unpack(tmp_path, f"tar:{tmp_path}/a.tar")) == ["empty"]


def test_a_look_makes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    file.write_bytes(tar(("a", "file", "")))
    told = door(tmp_path, build=False).ensure(f"tar:{file}")
    assert not (tmp_path / "state").exists()
    assert str(unpack(tmp_path, f"tar:{file}")) == told


HOSTILE: dict[str, tuple[Any, ...]] = {
    "two dots": (("../../../../outside/evil", "file", "x"),),
    "dots within": (("a/../../../../outside/evil", "file", "x"),),
    "absolute": (("ROOM/outside/evil", "file", "x"), ("ROOM/outside/file", "file", "theirs")),
    "through a link": (("way", "link", "ROOM/outside"), ("way/evil", "file", "x"), ("way/file", "file", "theirs")),
    "through a relative link": (("way", "link", "../../../../outside"), ("way/file", "file", "theirs")),
    "through two links": (("a", "link", "."), ("a/b", "link", "../../../../outside"), ("b/file", "file", "theirs")),
    "a link replaced by a directory": (("way", "link", "ROOM/outside"), ("way", "dir", ""), ("way/evil", "file", "x")),
    "hard link": (("take", "hard", "ROOM/outside/file"),),
    "hard link up": (("take", "hard", "../../../../outside/file"),),
    "hard link through a link": (("way", "link", "ROOM/outside"), ("take", "hard", "way/file")),
    "write through a hard link": (("take", "hard", "ROOM/outside/file"), ("take", "file", "theirs")),
    "mode of what a link leads to": (("way", "link", "ROOM/outside/file"), ("way", "setuid", "x")),
    "the root itself a link": ((".", "link", "ROOM/outside"), ("./evil", "file", "x")),
    "to the host": (("/runspec-evil", "file", "x"), ("x", "link", "/tmp"), ("x/runspec-evil", "file", "x")),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["tar", pytest.param("oci", marks=requires("umoci"))])
def test_nothing_outside_is_touched(guarded: Path, name: str, kind: str) -> None:
    """It is refused, or it ends up inside; and where it is refused nothing is left of it."""
    data = tar(*((one[0].replace("ROOM", str(guarded)), one[1], str(one[2]).replace("ROOM", str(guarded)))
                 for one in HOSTILE[name]))
    (guarded / "a.tar").write_bytes(data)
    text = f"tar:{guarded}/a.tar"
    if kind == "oci":
        text = f"oci:{index(guarded / 'oci', app=manifest(guarded / 'oci', [data]))}:app"
    try:
        unpack(guarded, text)
    except HostError as error:
        assert "cannot be unpacked" in error.what
        assert os.listdir(guarded / "state/images") == []
    untouched(guarded)


def test_the_kernel_holds_the_programs(guarded: Path) -> None:
    """What tar itself would be talked into, the kernel refuses: only one directory can be written."""
    kernel, inside = Kernel(), guarded / "inside"
    inside.mkdir()
    (guarded / "a.tar").write_bytes(tar(("runspec-evil", "file", "theirs")))
    fd = os.open(guarded / "a.tar", os.O_RDONLY)
    words = ("--extract", "--file=/proc/self/fd/0")
    for where, status in ((guarded / "outside", 2), (inside, 0), (Path("/"), 2)):
        os.lseek(fd, 0, os.SEEK_SET)
        got, _, complaint = tools.run(kernel, "tar", (*words, f"--directory={where}"), into=str(inside), stdin=fd)
        assert got == status and bool(status) == ("Read-only file system" in complaint), complaint
    os.close(fd)
    assert os.listdir(inside) == ["runspec-evil"]
    untouched(guarded)


def test_nodes_are_the_containers_alone(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(("dev", "dir", ""), ("dev/mem", "char", (1, 1)), ("dev/f", "fifo", "")))
    top = unpack(tmp_path, f"tar:{tmp_path}/a.tar")
    assert (top / "dev/mem").stat().st_rdev == os.makedev(1, 1) and stat.S_ISFIFO((top / "dev/f").stat().st_mode)
    assert stat.S_IMODE(top.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(("data", "says"), [
    (b"", "does not look like a tar archive"), (b"no archive at all" * 100, "does not look like a tar archive"),
    (tar(("a", "file", "x" * 5000))[:3000], "Unexpected EOF"), (gzip.compress(b"x" * 9999)[:30], "gzip"),
])
def test_damaged_archives(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(HostError) as error:
        unpack(tmp_path, f"tar:{tmp_path}/a.tar")
    assert says in error.value.text() and os.listdir(tmp_path / "state/images") == []


@pytest.mark.parametrize("kind", ["fifo", "folder", "missing", "device"])
def test_what_is_no_archive(tmp_path: Path, kind: str) -> None:
    path = {"device": Path("/dev/zero")}.get(kind, tmp_path / "a.tar")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(HostError, match="cannot be read"):
        door(tmp_path).image(f"tar:{path}")


def test_a_file_that_changes_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    file.write_bytes(tar(("a", "file", "one")))
    one = door(tmp_path)
    digest = one.image(f"tar:{file}").digest
    file.write_bytes(tar(("a", "file", "two")))
    with pytest.raises(HostError, match="changed while it was read"):
        one.ensure(f"tar:{file}", digest)
    assert os.listdir(tmp_path / "state/images") == []


@requires("skopeo", "umoci")
def test_a_killed_builder_leaves_nothing_that_matters(tmp_path: Path) -> None:
    """Killed before each of its acts, for each kind."""
    file = tmp_path / "a.tar"
    file.write_bytes(tar(("etc/os", "file", "one"), ("way", "link", "etc")))
    where = layout(tmp_path / "oci", CONFIG, *PASSWD)
    archive = docker_archive(tmp_path / "docker.tar", CONFIG, *PASSWD)
    for text in (f"tar:{file}", f"oci:{where}:app", f"docker-archive:{archive}"):
        reference = Kernel()
        want = Images(reference, True, str(tmp_path / text[:3])).ensure(text)
        assert want is not None
        names = everything(Path(want).parent)
        for at in range(1, reference.acts + 1):
            state = str(tmp_path / f"{text[:3]}{at}")
            child = os.fork()
            if not child:
                with contextlib.suppress(BaseException):
                    Images(Kernel(f"kill@{at}"), True, state).ensure(text)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
            path = Images(Kernel(), True, state).ensure(text)
            assert path is not None and everything(Path(path).parent) == names
            assert [one for one in os.listdir(f"{state}/images") if one.startswith(".")] == []
        assert reference.acts > 5


@requires("umoci")
def test_oci(tmp_path: Path) -> None:
    """Layers lie over each other, whiteouts hide, and the config is read."""
    top = tmp_path / "oci"
    below = tar(*userland(*PASSWD), ("gone", "file", "x"), ("kept", "file", "below"))
    above = tar((".wh.gone", "file", ""), ("kept", "file", "above"))
    index(top, app=manifest(top, [below, above], CONFIG), other=manifest(top, [below]))
    one = door(tmp_path)
    found = one.image(f"oci:{top}:app")
    assert (found.args, found.env, found.cwd) == (("/bin/sh", "-c", "id"), ("A=1", "A=2"), "/srv")
    look = door(tmp_path, build=False)
    assert look.user(f"oci:{top}:app") == (7, 8, (50,)) and not (tmp_path / "state").exists()
    where = unpack(tmp_path, f"oci:{top}:app")
    assert not (where / "gone").exists() and (where / "kept").read_text() == "above"
    assert everything(where.parent)[0] == "config.json"
    assert door(tmp_path).user(f"oci:{top}:app") == (7, 8, (50,))
    assert door(tmp_path).image(f"oci:{top}:app").digest != door(tmp_path).image(f"oci:{top}:other").digest
    with pytest.raises(HostError, match="holds 2 images") as error:
        door(tmp_path).image(f"oci:{top}")
    assert error.value.why == "their tags are app, other"
    with pytest.raises(HostError, match="has no image nope") as error:
        door(tmp_path).image(f"oci:{top}:nope")
    assert error.value.why == "it has app, other"


@requires("skopeo", "umoci")
def test_docker_archive(tmp_path: Path) -> None:
    file = docker_archive(tmp_path / "a:b.tar", CONFIG, *PASSWD)
    text = f"docker-archive:{file}"
    assert door(tmp_path, build=False).image(text).args == ("/bin/sh", "-c", "id")
    with pytest.raises(HostError, match="looked up in the image's own files"):
        door(tmp_path, build=False).user(text)
    assert not (tmp_path / "state").exists()
    assert door(tmp_path).user(text) == (7, 8, (50,))
    assert (unpack(tmp_path, text) / "bin/sh").is_symlink()
    kernel = Kernel()
    assert Images(kernel, True, str(tmp_path / "state")).image(text).cwd == "/srv" and kernel.acts == 0
    file.write_bytes(tar(("manifest.json", "file", "[]")))
    with pytest.raises(HostError, match="cannot be unpacked"):
        door(tmp_path).image(text)


def test_an_index_for_several_processors(tmp_path: Path) -> None:
    """The one for this processor counts; a lone one counts anyhow."""
    top, machine = tmp_path / "oci", {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    mine, theirs = (manifest(top, [tar(("a", "file", name))]) for name in ("mine", "theirs"))
    both = {"schemaVersion": 2, "manifests": [{**theirs, "platform": {"os": "linux", "architecture": "s390x"}},
                                              {**mine, "platform": {"os": "linux", "architecture": machine}}]}
    lone = {"schemaVersion": 2, "manifests": both["manifests"][:1]}
    kind = "application/vnd.oci.image.index.v1+json"
    index(top, **{name: descriptor(top, kind, json.dumps(tree).encode())
                  for name, tree in (("both", both), ("lone", lone), ("none", {"manifests": [theirs, theirs]}))})
    assert door(tmp_path).image(f"oci:{top}:both").digest == mine["digest"]
    assert door(tmp_path).image(f"oci:{top}:lone").digest == theirs["digest"]
    with pytest.raises(HostError, match=f"no image for linux on {machine}"):
        door(tmp_path).image(f"oci:{top}:none")


def break_layout(top: Path, how: str) -> None:
    blobs = sorted((top / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    if how == "no marker":
        (top / "oci-layout").unlink()
    elif how == "version":
        (top / "oci-layout").write_text('{"imageLayoutVersion":"9"}')
    elif how == "torn index":
        (top / "index.json").write_text((top / "index.json").read_text()[:40])
    elif how == "deep index":
        (top / "index.json").write_text("[" * 100000)
    elif how == "huge index":
        (top / "index.json").write_bytes(b" " * (5 << 20))
    elif how == "fifo":
        (top / "index.json").unlink()
        os.mkfifo(top / "index.json")
    elif how == "endless":
        (top / "index.json").unlink()
        (top / "index.json").symlink_to("/dev/zero")
    elif how == "digest":
        (top / "index.json").write_text((top / "index.json").read_text().replace("sha256:", "sha256:../../../"))
    elif how == "no list":
        (top / "index.json").write_text('{"manifests": {"a": 1}}')
    elif how == "blob":
        blobs[0].write_bytes(b"{}")
    elif how == "missing blob":
        blobs[0].unlink()


DAMAGED = {"no marker": "oci-layout cannot be read", "version": "names no version", "torn index": "is no JSON",
           "deep index": "is no JSON", "huge index": "longer than 4194304 bytes", "fifo": "is no regular file",
           "endless": "is no regular file", "digest": "is no sha256 digest", "no list": "lists no manifests",
           "blob": "is damaged", "missing blob": "cannot be read"}


@pytest.mark.parametrize("how", DAMAGED)
def test_damaged_layouts(tmp_path: Path, how: str) -> None:
    where = layout(tmp_path / "oci", CONFIG)
    break_layout(where, how)
    with pytest.raises(HostError) as error:
        door(tmp_path).image(f"oci:{where}:app")
    assert DAMAGED[how] in error.value.text() and error.value.what.startswith("root.image: ")


@requires("umoci")
@pytest.mark.parametrize("how", ["layer", "missing", "no archive"])
def test_damaged_layers(tmp_path: Path, how: str) -> None:
    """A layer is checked against its digest while it is unpacked."""
    where = layout(tmp_path / "oci") if how != "no archive" else index(
        tmp_path / "oci", app=manifest(tmp_path / "oci", [b"no archive" * 200]))
    largest = max((where / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    if how == "layer":
        data = bytearray(largest.read_bytes())
        data[len(data) // 2] ^= 1
        largest.write_bytes(bytes(data))
    elif how == "missing":
        largest.unlink()
    with pytest.raises(HostError, match="cannot be unpacked"):
        unpack(tmp_path, f"oci:{where}:app")
    assert os.listdir(tmp_path / "state/images") == []


@pytest.mark.parametrize(("config", "says"), [
    ({"Env": "A=1"}, "config.Env is no list of texts"), ({"Cmd": [1]}, "config.Cmd is no list of texts"),
    ({"User": 5}, "config.User is no text"), ({"WorkingDir": []}, None)])
def test_odd_configs(tmp_path: Path, config: dict[str, Any], says: str | None) -> None:
    where = layout(tmp_path / "oci", config)
    if says is None:
        assert door(tmp_path).image(f"oci:{where}:app").cwd == "/"
        return
    with pytest.raises(HostError, match=says):
        door(tmp_path).image(f"oci:{where}:app")


def test_a_missing_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "PLACES", ("/nowhere",))
    with pytest.raises(HostError) as error:
        tools.run(Kernel(), "umoci", ())
    assert error.value.fix == "apt-get install umoci"


def test_a_program_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tar").symlink_to("/bin/sleep")
    monkeypatch.setattr(tools, "PLACES", (str(tmp_path),))
    with pytest.raises(HostError, match=r"tar did not end within 0\.3 s"):
        tools.run(Kernel(), "tar", ("1000",), seconds=0.3)


def test_a_program_ends_with_runspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL leaves nobody who would go on writing into what the next builder makes."""
    (tmp_path / "tar").symlink_to("/bin/sleep")
    monkeypatch.setattr(tools, "PLACES", (str(tmp_path),))
    child = os.fork()
    if not child:
        tools.run(Kernel(), "tar", ("4321.5",))
        os._exit(0)

    def sleeping() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if b"4321.5" in entry.read_bytes().split(b"\0"):
                    found.append(entry.parent.name)
        return found

    end = time.monotonic() + 5 * SLOWER
    while not sleeping() and time.monotonic() < end:
        time.sleep(0.01)
    assert sleeping()
    os.kill(child, 9)
    os.waitpid(child, 0)
    while sleeping() and time.monotonic() < end:
        time.sleep(0.01)
    assert not sleeping()


def test_builders_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(*userland()))
    got: list[str | None] = []
    threads = [threading.Thread(target=lambda: got.append(door(tmp_path).ensure(f"tar:{tmp_path}/a.tar")))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4 and len(set(got)) == 1 and None not in got


@requires("skopeo", "umoci")
@pytest.mark.parametrize("build", [False, True])
def test_a_compressed_docker_archive(tmp_path: Path, build: bool) -> None:
    """skopeo takes none, and the error says so."""
    file = tmp_path / "a.tar.gz"
    file.write_bytes(gzip.compress(docker_archive(tmp_path / "a.tar", CONFIG).read_bytes()))
    with pytest.raises(HostError, match="cannot be unpacked") as error:
        door(tmp_path, build).image(f"docker-archive:{file}")
    assert error.value.fix == "give it what `docker save` writes, not compressed"


def test_accounts_of_a_hostile_image(tmp_path: Path) -> None:
    """passwd is read below the image's root, whatever it is a link to."""
    (tmp_path / "a.tar").write_bytes(tar(("etc", "dir", ""), ("etc/passwd", "link", "/etc/shadow"),
                                         ("etc/group", "fifo", "")))
    top = unpack(tmp_path, f"tar:{tmp_path}/a.tar")
    for name in ("etc/passwd", "etc/group", "etc", "none"):
        assert Kernel().read_below(str(top), name, 100) == b""


def test_other_images(tmp_path: Path) -> None:
    kernel = Kernel()
    assert Images(kernel).ensure("host") is None
    assert Images(kernel).ensure(f"dir:{tmp_path}") == str(tmp_path)
    with pytest.raises(HostError, match="not a directory"):
        Images(kernel).ensure(f"dir:{tmp_path}/missing")
    with pytest.raises(HostError, match="not a directory"):
        Images(kernel).ensure("dir:relative")
    with pytest.raises(SpecError, match="is no image"):
        Images(kernel).ensure("debian")


@requires("root")
def test_what_unpacks_sees_neither_devices_nor_services() -> None:
    """Nodes are there but cannot be opened, /run is empty, and the session is its own."""
    with tempfile.TemporaryDirectory(prefix="runspec-test-", dir="/run"):
        script = "ls -A /run | wc -l; head -c 1 /dev/zero | wc -c; cut -d' ' -f6 /proc/self/stat"
        status, out, said = tools.run(Kernel(), "sh", ["-c", script])
    there, read, session = map(int, out.split())
    assert (status, there, read) == (0, 0, 0) and "Permission denied" in said
    assert session != os.getsid(0)
