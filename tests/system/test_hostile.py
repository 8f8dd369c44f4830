"""Images and programs that mean harm: links where runspec mounts, false devices, a look at who joins."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, requires

from runspec import abi
from runspec.cli.enter import differing
from runspec.cli.people import status_fields
from runspec.kernel import Kernel
from runspec.plan.steps.base import Table
from runspec.plan.steps.exec_ import capabilities_of, exec_ops
from runspec.spec.model import Process

pytestmark = requires("root", "busybox", "nsenter")
PROGRAMS = ("sh", "sleep", "cat", "ls", "chmod", "chown", "touch", "readlink")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root of little more than busybox."""
    where = tmp_path / "root"
    for name in ("bin", "proc", "dev", "sys", "tmp"):
        (where / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox
    for name in PROGRAMS:
        shutil.copy(busybox, where / "bin" / name)
    return where


@pytest.fixture
def spec(tmp_path: Path, root: Path) -> Callable[[str], Path]:
    """Writes the file of a container on that root."""
    def one(more: str = "") -> Path:
        file = tmp_path / "bad.yaml"
        file.write_text(f"""\
apiVersion: runspec/v1
name: bad
root: {{path: {root}}}
process: {{args: [/bin/sleep, "100000"]}}
interfaces: []
{more}""")
        return file
    return one


Spec = Callable[..., Path]


def init_of(cli: Cli) -> int:
    return int(json.loads(cli("state", "bad").stdout)["pid"])


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("target", ["/outside", "../../outside", "/tmp", "/absent"])
def test_link_for_a_system_directory(cli: Cli, spec: Spec, root: Path, tmp_path: Path, name: str,
                                     target: str) -> None:
    """/proc, /sys and /dev must be directories of the image: else no container, and nothing made anywhere."""
    (tmp_path / "outside").mkdir()
    (root / name).rmdir()
    (root / name).symlink_to(target)
    told = cli("apply", spec(), status=None)
    assert told.returncode and "Too many levels of symbolic links" in told.stderr, told.stderr
    assert os.listdir(tmp_path / "outside") == os.listdir(root / "tmp") == []
    assert cli("list", "-q").stdout == ""


@pytest.mark.parametrize(("link", "to", "destination"), [
    ("data", "/proc", "/data"), ("data", "../../proc", "/data"), ("data", "/proc/sys", "/data"),
    ("etc", "/proc/sys", "/etc/kernel"), ("data", "/proc/sys/kernel/hostname", "/data")])
def test_mount_led_over_proc(cli: Cli, spec: Spec, root: Path, tmp_path: Path, link: str, to: str,
                             destination: str) -> None:
    """A link that leads a volume over /proc would make masks and writes miss."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "file").write_text("x")
    source = tmp_path / ("file" if to.endswith("hostname") else "volume")
    (root / link).symlink_to(to)
    told = cli("apply", spec(f"mounts: [{{destination: {destination}, source: {source}, options: [bind]}}]"),
               status=None)
    assert told.returncode and "Operation not permitted" in told.stderr, told.stderr


@pytest.mark.parametrize(("link", "destination", "works"), [
    ("out", "/out", True), ("out", "/out/deep/er", True), ("out", "/out/file", True), ("gone", "/gone/x", False)])
def test_links_at_mount_targets(cli: Cli, spec: Spec, root: Path, tmp_path: Path, link: str, destination: str,
                                works: bool) -> None:
    """A link at a target or on the way ends inside the root; one to nothing is refused."""
    outside, volume = tmp_path / "outside", tmp_path / "volume"
    outside.mkdir()
    volume.mkdir()
    (volume / "seen").write_text("volume\n")
    (root / str(outside).lstrip("/")).mkdir(parents=True)
    (root / "out").symlink_to(outside)
    (root / "gone").symlink_to(tmp_path / "absent")
    file = destination.endswith("file")
    source = volume / "seen" if file else volume
    told = cli("apply", "--yes", spec(f"mounts: [{{destination: {destination}, source: {source}, options: [bind]}}]"),
               status=None)
    if works:
        # Where the mount lands is not where the file says, which the machine shows.
        points = Path(f"/proc/{init_of(cli)}/mountinfo").read_text() if told.returncode == 0 else ""
        assert not points or f" {outside}" in points
    else:
        assert "Too many levels of symbolic links" in told.stderr
    assert os.listdir(outside) == [] and not (tmp_path / "absent").exists()
    assert os.listdir(volume) == ["seen"]


@pytest.mark.both
def test_false_null_device(cli: Cli, spec: Spec, root: Path, tmp_path: Path) -> None:
    """Masks come from no node of the image, and standard streams neither."""
    (tmp_path / "bait").write_text("bait\n")
    (root / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    cli("apply", spec())
    assert cli("exec", "bad", "/bin/sh", "-c", "cat /proc/timer_list /proc/keys").stdout == ""
    null = os.stat(f"/proc/{init_of(cli)}/fd/0")
    assert stat.S_ISCHR(null.st_mode) and null.st_rdev == os.makedev(1, 3)


@pytest.mark.both
def test_masks_guard_the_hosts_null(cli: Cli, spec: Spec) -> None:
    """Root inside cannot reach mode and owner of the host's device through a mask of it."""
    # A /dev of the test's own, for the day when this fails.
    made = cli.netns.run("sh", "-ec", "mount -t tmpfs own /mnt; mknod -m 666 /mnt/null c 1 3; mount --bind /mnt /dev")
    assert made.returncode == 0, made.stderr
    cli("apply", spec())
    hidden = [line.split()[4] for line in Path(f"/proc/{init_of(cli)}/mountinfo").read_text().splitlines()
              if line.split()[3] == "/null"]
    assert hidden
    for path in hidden:
        for words in (("/bin/chmod", "600"), ("/bin/chown", "1"), ("/bin/touch",)):
            told = cli("exec", "bad", *words, path, status=1)
            assert "Read-only file system" in told.stderr, told.stderr
        cli("exec", "bad", "/bin/sh", "-c", f"echo x > {path}")
    assert cli.netns.run("stat", "-c", "%a %u", "/dev/null").stdout == "666 0\n"


@pytest.mark.parametrize("cwd", ["/proc/self/fd/FD", "/proc/self/fd/10", "/proc/1/fd/3", "/tmp/../proc/self/fd/FD"])
def test_no_way_out_by_cwd(cli: Cli, spec: Spec, tmp_path: Path, cwd: str) -> None:
    """A directory that somebody left open is no working directory, CVE-2024-21626."""
    cli("apply", spec())
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        told = cli("exec", "--cwd", cwd.replace("FD", str(fd)), "bad", "/bin/ls", status=255, pass_fds=(fd,))
    finally:
        os.close(fd)
    assert told.stdout == "" and "chdir to cwd" in told.stderr, told


def test_host_keys_stay_outside(cli: Cli, spec: Spec, root: Path) -> None:
    """What is in the session keyring of the caller is no possession of a program inside."""
    libc = ctypes.CDLL(None)
    add_key, keyctl = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]
    join, set_mode, session, possessor_only = 1, 5, ctypes.c_long(-3), 0x3F000000

    def with_secret() -> None:
        libc.syscall(keyctl, join, None)
        key = libc.syscall(add_key, b"user", b"runspec-secret", b"secret", 6, session)
        libc.syscall(keyctl, set_mode, key, possessor_only)

    if "runspec-secret" not in subprocess.run(["cat", "/proc/keys"], check=False, capture_output=True, text=True,
                                              preexec_fn=with_secret).stdout:
        pytest.skip("a kernel without keys")
    file = spec("linux: {maskedPaths: []}")
    file.write_text(file.read_text().replace('[/bin/sleep, "100000"]',
                                             '[/bin/sh, -c, "cat /proc/keys > /tmp/keys; exec sleep 100000"]'))
    cli("apply", file, preexec_fn=with_secret)
    told = cli("exec", "bad", "/bin/cat", "/proc/keys", preexec_fn=with_secret).stdout
    assert "keyring" in told and "runspec-secret" not in told
    told = (root / "tmp/keys").read_text()
    assert "keyring" in told and "runspec-secret" not in told


@pytest.mark.both
def test_who_joins_is_as_strict_as_init(cli: Cli, spec: Spec) -> None:
    """Once visible inside, exec's process has no more than init has, and cannot be looked into."""
    cli("apply", spec())
    pid, kernel = init_of(cli), Kernel()
    text = Path(f"/proc/{pid}/status").read_text()
    table = Table(("init",))
    exec_ops(table, differing(kernel, pid), (), Process(
        args=("/bin/sleep", "1"), cwd="/", capabilities=capabilities_of(status_fields(text)),
        no_new_privileges=True), {"RLIMIT_NOFILE": (4, 5)})
    at = [op.number for op in table.ops].index(abi.OP_FORK)
    table.ops.insert(at + 1, abi.Op(abi.OP_BARRIER, a=1))
    pidfd = os.pidfd_open(pid)
    child = kernel.spawn(table.ops, (pidfd,))
    try:
        os.close(pidfd)
        while (report := child.receive(30)) is not None and report.kind != abi.REPORT_BARRIER:
            assert report.kind == abi.REPORT_FORK, report
        joined = Path(f"/proc/{child.pid}/status").read_text()
        for field in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb", "NoNewPrivs", "Uid", "Groups"):
            assert status_fields(joined).get(field) == status_fields(text).get(field), field
        inside = status_fields(joined)["NSpid"].split()[-1]
        assert "Name:" in cli("exec", "bad", "/bin/cat", f"/proc/{inside}/status").stdout
        for name in ("exe", "fd/0", "fd/3", "cwd", "root"):
            assert cli("exec", "bad", "/bin/readlink", f"/proc/{inside}/{name}", status=1).stdout == "", name
        for name in ("exe", "mem", "environ", "maps", "fd/0"):
            assert cli("exec", "bad", "/bin/cat", f"/proc/{inside}/{name}", status=1).stdout == "", name
        held = {name: os.readlink(f"/proc/{child.pid}/fd/{name}") for name in os.listdir(f"/proc/{child.pid}/fd")}
        assert set(held) - {"0", "1", "2"} == {"3"} and held["3"].startswith("socket:"), held
        assert os.readlink(f"/proc/{child.pid}/exe").startswith("/memfd:runspec")
    finally:
        child.kill()


@pytest.mark.both
def test_lasting_changes_are_roots_alone(cli: Cli, tmp_path: Path) -> None:
    """No user of the host may run what root inside marked setuid."""
    file = tmp_path / "bad.yaml"
    file.write_text("""\
apiVersion: runspec/v1
name: bad
root: {image: busybox, overlay: {volatile: false}}
process: {args: [/bin/sleep, "100000"]}
interfaces: []
""")
    cli("apply", file)
    cli("exec", "bad", "/bin/sh", "-c", "cp /bin/busybox /tmp/su && chmod 4755 /tmp/su")
    base = Path(f"/proc/{cli.netns.pid}/root/var/lib/runspec/bad")
    assert stat.S_IMODE((base / "rootfs/tmp/su").stat().st_mode) == 0o4755
    assert stat.S_IMODE(base.stat().st_mode) == 0o700
    cli("destroy", "--yes", "--data", file)
