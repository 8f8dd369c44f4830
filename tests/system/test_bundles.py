"""Bundles: created, started, deleted as engines do, killed at every act; converted there and back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, assert_nothing_leaked, requires
from kernels import IN_VM, SLOWER
from machine import Picture, gone
from verbs import Verbs

NEEDED = requires("root", "busybox", "nsenter")
FULL = bool(os.environ.get("RUNSPEC_FULL")) and not IN_VM
CAPS = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/bin/sleep", "100000"],
                "env": ["PATH=/bin", "TERM=xterm"],
                "capabilities": {"bounding": CAPS, "effective": CAPS, "permitted": CAPS}},
    "root": {"path": "rootfs"}, "hostname": "bundled", "annotations": {"org.example.key": "value"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
         "options": ["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"]}],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
              "resources": {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 64},
                            "memory": {"disableOOMKiller": False}, "blockIO": {"weight": 0}},
              "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]}}

Podman = Callable[..., subprocess.CompletedProcess[str]]


def change(tree: Any, more: Any) -> Any:
    if isinstance(tree, dict) and isinstance(more, dict):
        return {**tree, **{key: change(tree.get(key), value) for key, value in more.items()}}
    return more


class Bundle:
    """A bundle with a busybox in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        binary = path / "rootfs/bin"
        for name in ("bin", "proc", "dev", "sys", "tmp", "etc"):
            (path / "rootfs" / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or "", binary / "busybox")
        for name in ("sh", "sleep", "cat", "ls", "echo", "id", "true"):
            (binary / name).symlink_to("busybox")
        self.write({})

    def write(self, more: Any) -> None:
        (self.path / "config.json").write_text(json.dumps(change(CONFIG, more)))

    def runs(self, *args: str, **more: Any) -> None:
        self.write(change({"process": {"args": list(args)}}, more))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A new one."""
    return Bundle(tmp_path / "bundle")


def state(cli: Cli, name: str = "c1") -> Any:
    return json.loads(cli("state", name).stdout)


def create(cli: Cli, bundle: Path, *words: str | os.PathLike[str], name: str = "c1", status: int = 0) -> str:
    """Create a container whose output is a file: a pipe would stay open as long as it lives."""
    with (bundle / "output").open("w+") as file:
        cli("create", "--bundle", bundle, *words, name, status=None, capture_output=False, stdout=file, stderr=file)
        file.seek(0)
        said = file.read()
    known = cli("state", name, status=None).returncode
    assert (known == 0) == (status == 0), said
    return said


def wait_for(what: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds * SLOWER
    while not what():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.02)


def fields(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@NEEDED
@pytest.mark.both
def test_life(cli: Cli, picture: Callable[[], Picture], bundle: Bundle, tmp_path: Path) -> None:
    """Created, started, stopped, deleted; then the machine is as before."""
    before = picture()
    pid_file = tmp_path / "pid"
    create(cli, bundle.path, "--pid-file", pid_file)
    found = state(cli)
    pid = int(pid_file.read_text())
    assert (found["status"], found["pid"], found["bundle"]) == ("created", pid, str(bundle.path))
    assert found["annotations"] == {"org.example.key": "value"}
    assert found["rootfs"] == str(bundle.path / "rootfs")
    # Nobody of ours stays, and init is an orphan; what it holds is its streams, the gate and a dead end.
    assert len(picture()["processes"] - before["processes"]) == 1
    assert Path(f"/proc/{pid}/exe").readlink().name.startswith("memfd:runspec")
    assert len(os.listdir(f"/proc/{pid}/fd")) == 5
    gate = Path(f"/proc/{cli.netns.pid}/root{cli.root}/containers/c1/start")
    assert stat.S_ISSOCK(gate.stat().st_mode)
    assert stat.S_IMODE(gate.stat().st_mode) & 0o077 == 0
    assert "@" not in Path(f"/proc/{pid}/net/unix").read_text()
    assert "c1" in cli("list").stdout
    assert json.loads(cli("ps", "-f", "json", "c1").stdout) == [pid]
    assert "was not started" in cli("exec", "c1", "/bin/true", status=255).stderr
    cli("start", "c1")
    assert state(cli)["status"] == "running"
    assert not gate.exists()
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"/bin/sleep\x00100000\x00"
    assert fields(pid)["CapBnd"] == fields(pid)["CapEff"] == f"{1 << 0 | 1 << 5 | 1 << 10:016x}"
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    assert "cannot start an already running container" in cli("start", "c1", status=1).stderr
    script = "echo good >/dev/null && cat /proc/sys/kernel/hostname"
    assert cli("exec", "c1", "/bin/sh", "-c", script).stdout == "bundled\n"
    said = cli("delete", "c1", status=1).stderr
    assert "cannot delete container c1 that is not stopped: running" in said
    cli("kill", "c1", "KILL")
    wait_for(lambda: bool(state(cli)["status"] == "stopped"))
    assert "cannot start a container that has stopped" in cli("start", "c1", status=1).stderr
    cli("delete", "c1")
    assert "container does not exist" in cli("state", "c1", status=1).stderr
    assert "container does not exist" in cli("delete", "c1", status=1).stderr
    cli("delete", "--force", "c1")
    assert_nothing_leaked(before, picture)


@NEEDED
def test_the_streams_are_the_caller_s(cli: Cli, bundle: Bundle) -> None:
    """A reader of its output sees the end when the container ends: nobody else holds it."""
    bundle.runs("/bin/sh", "-c", "cat; echo said >&2; exit 3")
    ours, theirs = os.pipe()
    errors, into = os.pipe()
    give, take = os.pipe()
    cli("create", "-b", bundle.path, "c1", stdin=give, stdout=theirs, stderr=into, capture_output=False)
    for fd in (give, theirs, into):
        os.close(fd)
    cli("start", "c1")
    os.write(take, b"through")
    os.close(take)
    with os.fdopen(ours, "rb") as out, os.fdopen(errors, "rb") as err:
        assert (out.read(), err.read()) == (b"through", b"said\n")
    cli("delete", "--force", "c1")


@NEEDED
@pytest.mark.parametrize(("args", "said"), [
    (["/no/such"], 'exec: "/no/such": stat /no/such: no such file or directory'),
    (["nosuch"], 'exec: "nosuch": executable file not found in $PATH'),
    (["/etc"], 'exec: "/etc": permission denied'), (["/bin/notes"], 'exec: "/bin/notes": permission denied')])
def test_a_program_that_cannot_be_executed(cli: Cli, picture: Callable[[], Picture], bundle: Bundle, tmp_path: Path,
                                           args: list[str], said: str) -> None:
    """`create` says so in the words that engines look for, also in the log, and leaves nothing."""
    (bundle.path / "rootfs/bin/notes").write_text("no program")
    bundle.runs(*args)
    before = picture()
    log, pid_file = tmp_path / "log", tmp_path / "pid"
    done = cli("--log", log, "--log-format", "json", "create", "-b", bundle.path, "--pid-file", pid_file, "c1",
               status=1)
    assert said in done.stderr
    line = json.loads(log.read_text().splitlines()[-1])
    assert line["level"] == "error"
    assert said in line["msg"]
    assert set(line) == {"level", "msg", "time"}
    assert not pid_file.exists()
    assert_nothing_leaked(before, picture)


@NEEDED
def test_a_program_that_goes_before_the_start(cli: Cli, picture: Callable[[], Picture], bundle: Bundle) -> None:
    """`start` says what init answered; the container is stopped then."""
    before = picture()
    shutil.copy(bundle.path / "rootfs/bin/busybox", bundle.path / "rootfs/bin/gone")
    bundle.runs("/bin/gone")
    create(cli, bundle.path)
    (bundle.path / "rootfs/bin/gone").unlink()
    assert 'exec: "/bin/gone": stat /bin/gone: no such file or directory' in cli("start", "c1", status=1).stderr
    assert state(cli)["status"] == "stopped"
    cli("delete", "c1")
    assert_nothing_leaked(before, picture)


@NEEDED
@pytest.mark.parametrize(("more", "said"), [
    ({"linux": {"namespaces": [{"type": "pid"}]}, "hostname": None}, "linux.namespaces: has no mount namespace"),
    ({"linux": {"cgroupsPath": "machine.slice:libpod:x"}}, "linux.cgroupsPath: "),
    ({"linux": {"cgroupsPath": "/../x"}}, "linux.cgroupsPath: `/../x` holds `..`"),
    ({"root": {"path": "nowhere"}}, "root.path: "), ({"ociVersion": "9.0.0"}, "ociVersion: 9.0.0 is not read here"),
    ({"linux": {"intelRdt": {"closID": "a"}}}, "linux.intelRdt"),
    ({"linux": {"sysctl": {"kernel.panic": "1"}}}, "linux.sysctl.kernel.panic: ")])
def test_what_cannot_be_given_is_refused(cli: Cli, picture: Callable[[], Picture], bundle: Bundle, more: Any,
                                         said: str) -> None:
    """Loudly, with the key's path, exit 1, and nothing left."""
    bundle.write(more)
    before = picture()
    done = cli("create", "-b", bundle.path, "c1", status=1)
    assert f"config.json: {said}" in done.stderr
    assert_nothing_leaked(before, picture)


@NEEDED
def test_an_id_is_taken_once(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    """Neither a second create nor an apply touches what came of a bundle."""
    create(cli, bundle.path)
    assert "container with given ID already exists" in cli("create", "-b", bundle.path, "c1", status=1).stderr
    document = tmp_path / "c1.yaml"
    document.write_text("apiVersion: runspec/v1\nname: c1\nroot: {image: busybox}\nprocess: {args: [/bin/sh]}\n")
    assert "container with given ID already exists" in cli("apply", "--yes", document, status=2).stderr
    assert state(cli)["status"] == "created"
    cli("delete", "c1")


@NEEDED
def test_without_a_process(cli: Cli, bundle: Bundle) -> None:
    """It can be created and deleted, not started."""
    bundle.write({"process": None})
    create(cli, bundle.path)
    assert "without a process" in cli("start", "c1", status=1).stderr
    assert state(cli)["status"] == "created"
    cli("delete", "c1")


@NEEDED
def test_its_own_control_groups_are_all_that_it_sees(cli: Cli, bundle: Bundle) -> None:
    """Without a cgroup namespace too: the mount shows its own group, read-only."""
    create(cli, bundle.path)
    cli("start", "c1")
    script = ("for f in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/pids/cgroup.procs; do [ -e $f ] && cat $f; done;"
              "echo 1 >/sys/fs/cgroup/x || echo 1 >/sys/fs/cgroup/pids/cgroup.procs || echo refused")
    said = cli("exec", "c1", "/bin/sh", "-c", script).stdout.split()
    assert said[0] == "1"
    assert said[-1] == "refused"
    cli("delete", "--force", "c1")


@NEEDED
def test_a_start_that_cannot_begin_is_none(cli: Cli, bundle: Bundle) -> None:
    """Without room for its journal nothing is done, and the container waits on; a later start finds it."""
    create(cli, bundle.path)
    pid = state(cli)["pid"]
    done = cli.netns.run("sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *cli.argv, "start", "c1")
    assert done.returncode == 1 and "File too large" in done.stderr
    assert (state(cli)["status"], state(cli)["pid"]) == ("created", pid)
    cli("start", "c1")
    assert (state(cli)["status"], state(cli)["pid"]) == ("running", pid)


@NEEDED
@pytest.mark.both
def test_a_filter_does_not_judge_the_gate(cli: Cli, bundle: Bundle) -> None:
    """Loaded early where no_new_privs is not set, it would have to allow what runspec itself needs to wait."""
    refused = ["accept4", "accept", "dup3", "dup2", "faccessat2", "recvmsg"]
    bundle.write({"process": {"noNewPrivileges": False}, "linux": {"seccomp": {
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": refused, "action": "SCMP_ACT_KILL_PROCESS"}]}}})
    create(cli, bundle.path)
    cli("start", "c1")
    assert state(cli)["status"] == "running"
    assert fields(state(cli)["pid"])["Seccomp"] == "2"
    cli("delete", "--force", "c1")


@NEEDED
@pytest.mark.both
def test_hooks_at_their_moments(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    """Those of the creation before create returns, the others at start and delete; all are told the bundle."""
    log = bundle.path / "rootfs/tmp/log"
    note = tmp_path / "note"
    note.write_text('#!/bin/sh\nread -r line\necho "$1 $line" >>"$2"\n')
    note.chmod(0o755)

    def hook(kind: str, where: str = str(log), program: str = str(note)) -> list[Any]:
        return [{"path": program, "args": ["note", kind, where]}]

    shutil.copy(note, bundle.path / "rootfs/bin/note")
    bundle.write({"hooks": {**{kind: hook(kind) for kind in ("prestart", "createRuntime", "poststart", "poststop")},
                            "startContainer": hook("startContainer", "/tmp/log", "/bin/note")}})

    def seen() -> list[str]:
        return [line.split()[0] for line in log.read_text().splitlines()]

    create(cli, bundle.path)
    assert seen() == ["prestart", "createRuntime"]
    told = json.loads(log.read_text().splitlines()[0].partition(" ")[2])
    assert (told["id"], told["bundle"], told["status"]) == ("c1", str(bundle.path), "creating")
    cli("start", "c1")
    assert seen() == ["prestart", "createRuntime", "startContainer", "poststart"]
    cli("delete", "--force", "c1")
    assert seen()[-1] == "poststop"


@NEEDED
def test_a_hook_that_fails_at_the_start_is_named(cli: Cli, bundle: Bundle) -> None:
    """By its index, though only init knows which one it was at."""
    bundle.write({"hooks": {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", f"exit {status}"]}
                                               for status in (0, 7, 8)]}})
    create(cli, bundle.path)
    said = cli("start", "c1", status=1).stderr
    assert said.startswith("runspec: c1: hooks.startContainer[1]: hook /bin/sh ended with status 7\n"), said
    cli("delete", "--force", "c1")


# -- killed at every act ------------------------------------------------------------------------------

CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "create": ((), ("create",)), "start": (("create",), ("start",)), "delete": (("create",), ("delete",)),
    "delete running": (("create", "start"), ("delete", "--force"))}


@pytest.fixture
def verbs(cli: Cli) -> Verbs:
    """Verbs in forks of one process."""
    return Verbs(cli)


@NEEDED
@pytest.mark.both
@pytest.mark.parametrize("case", CASES)
def test_kill_at_every_act(cli: Cli, picture: Callable[[], Picture], bundle: Bundle, verbs: Verbs, tmp_path: Path,
                           case: str) -> None:
    """After that, `delete --force` leaves nothing."""
    before, (first, words) = picture(), CASES[case]
    pid_file = tmp_path / "pid"
    create = ("--bundle", str(bundle.path), "--pid-file", str(pid_file))
    stride = 1 if FULL else 25 if IN_VM else 7
    n = 1
    while True:
        for verb in first:
            verbs(verb, *(create if verb == "create" else ()), "c1")
        status, text = verbs.run(*words, *(create if words[0] == "create" else ()), "c1", fault=f"kill@{n}")
        assert status in (0, -signal.SIGKILL), f"kill@{n}: {status}\n{text}"
        known, said = verbs.run("state", "c1")
        assert known == 0 or "container does not exist" in said
        if known == 0:
            assert json.loads(said)["status"] in ("created", "running", "stopped")
        verbs("delete", "--force", "c1")
        assert_nothing_leaked(before, picture)
        assert case != "create" or status == 0 or not pid_file.exists(), f"kill@{n} left a pid file"
        pid_file.unlink(missing_ok=True)
        if status == 0:
            break
        n += stride
    assert n > 3


# -- records that are damaged -------------------------------------------------------------------------

@NEEDED
@pytest.mark.both
def test_a_damaged_container_is_found_by_its_groups(cli: Cli, picture: Callable[[], Picture], bundle: Bundle) -> None:
    """Named as damaged, never as gone, and removed with all its processes wherever its groups lie."""
    before = picture()
    bundle.write({"linux": {"cgroupsPath": "/runspec-elsewhere/deep/c1"}})
    record = Path(f"/proc/{cli.netns.pid}/root{cli.root}/containers/c1/record.json")
    for damage in (lambda data: b"", lambda data: data[:1], lambda data: data[:len(data) // 2], lambda data: data[:-2],
                   lambda data: bytes(len(data)), lambda data: data.replace(b'"version":1', b'"version":99')):
        create(cli, bundle.path)
        cli("start", "c1")
        pid = state(cli)["pid"]
        record.write_bytes(damage(record.read_bytes()))
        for verb in ("state", "start", "delete"):
            said = cli(verb, "c1", status=1).stderr
            assert "c1" in said
            assert "does not exist" not in said
        assert Path(f"/proc/{pid}").exists()
        cli("delete", "--force", "c1")
        assert gone(pid)
    for top in Path("/sys/fs/cgroup").glob("**/runspec-elsewhere"):
        for inner in (top / "deep", top):
            inner.rmdir()       # a parent that the bundle named is not runspec's own
    assert_nothing_leaked(before, picture)


# -- convert ------------------------------------------------------------------------------------------

def there_and_back(cli: Cli, bundle: Path, tmp_path: Path, edit: Callable[[str], str] = lambda text: text) -> None:
    """As a document it is applied, does not differ, and comes back as it was."""
    document, again = tmp_path / "document.yaml", tmp_path / "again"
    document.write_text(edit(cli("convert", "--name", "c2", bundle).stdout))
    cli("validate", document)
    cli("apply", document)
    assert cli("diff", document).stdout == ""
    assert "nothing to do" in cli("apply", document).stdout
    cli("convert", "--bundle", again, document)
    assert cli("convert", again).stdout == document.read_text()
    cli("destroy", "--yes", "c2")


@NEEDED
@requires("runc")
@pytest.mark.both
def test_a_bundle_of_runc(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    """What `runc spec` writes, but for the terminal, which apply has nobody to hold."""
    (bundle.path / "config.json").unlink()
    subprocess.run(["runc", "spec", "-b", bundle.path], check=True)
    tree = json.loads((bundle.path / "config.json").read_text())
    tree["process"] |= {"terminal": False, "args": ["sleep", "100000"]}
    (bundle.path / "config.json").write_text(json.dumps(tree))
    there_and_back(cli, bundle.path, tmp_path)


# podman's own are higher than this test's may be, and raising them takes CAP_SYS_RESOURCE.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


@pytest.fixture
def podman(cli: Cli, bundle: Bundle, tmp_path: Path) -> Iterator[Podman]:
    """podman with a store of its own that holds the image localhost/image."""
    room = Path(tempfile.mkdtemp(prefix="rs", dir="/tmp"))      # podman takes no longer path
    words = ["podman", "--storage-driver", "vfs", "--root", f"{room}/root", "--runroot", f"{room}/run", "--tmpdir",
             f"{room}/tmp", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]

    def parents() -> set[Path]:
        return set(Path("/sys/fs/cgroup").glob("*/libpod*"))

    before = parents()

    def call(*more: str) -> subprocess.CompletedProcess[str]:
        return cli.netns.run(*words, *more)

    subprocess.run(["tar", "-C", bundle.path / "rootfs", "-cf", tmp_path / "image.tar", "."], check=True)
    assert call("import", str(tmp_path / "image.tar"), "localhost/image").returncode == 0
    yield call
    call("rm", "--all", "--force", "--time", "0")
    shutil.rmtree(room, ignore_errors=True)
    for top in parents() - before:
        for path, _, _ in os.walk(top, topdown=False):
            os.rmdir(path)


@NEEDED
@requires("podman", "runc", "machine")
def test_a_container_of_podman(cli: Cli, podman: Podman, tmp_path: Path) -> None:
    """The bundle that podman hands its runtime for a container with limits, a volume and its default filter."""
    made = podman("--runtime", "runc", "create", "--name", "p", "--network", "none", "--memory", "64m", "--read-only",
                  "--read-only-tmpfs=false", *LIMITS, "-v", "/usr/share:/data:ro", "localhost/image",
                  "/bin/sleep", "100000")
    assert made.returncode == 0, made.stderr
    assert podman("--runtime", "runc", "init", "p").returncode == 0
    config = podman("inspect", "--format", "{{.OCIConfigPath}}", "p").stdout.strip()
    there_and_back(cli, Path(config).parent, tmp_path, lambda text: text.replace("/libpod_parent/", "/runspec/"))


@NEEDED
def test_a_document_as_a_bundle(cli: Cli, tmp_path: Path) -> None:
    """With a root of its own, fit for another runtime; what OCI lacks is told and comes back."""
    document = tmp_path / "d.yaml"
    document.write_text("""\
apiVersion: runspec/v1
name: c3
labels: {tier: web}
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]}
linux: {resources: {cpu: {weight: 25}, memory: {limit: 64Mi}}}
""")
    done = cli("convert", "--bundle", tmp_path / "out", document)
    assert [line.split()[1] for line in done.stderr.splitlines()] == [
        "labels", "root.image", "root.overlay", "linux.resources.cpu.weight"]
    assert (tmp_path / "out/rootfs/bin/busybox").exists()
    assert cli("convert", tmp_path / "out").stdout.replace("defaults: none\n", "") == cli("config", document).stdout
    assert "is not empty" in cli("convert", "--bundle", tmp_path / "out", document, status=2).stderr
    create(cli, tmp_path / "out", name="c3")
    cli("start", "c3")
    assert state(cli, "c3")["status"] == "running"
    cli("delete", "--force", "c3")


@NEEDED
@requires("podman", "machine")
def test_podman_runs_with_it(cli: Cli, bundle: Bundle, podman: Podman) -> None:
    """As the runtime of an engine: output, status, a container left running, a program that is missing."""
    own = cli.argv[0]
    done = podman("--runtime", own, "run", *LIMITS, "--network", "none", "-v", "/usr/share:/data:ro", "localhost/image",
                  "/bin/sh", "-c", "echo said; ls /data >/dev/null && exit 7")
    assert (done.returncode, done.stdout) == (7, "said\n"), done.stderr
    done = podman("--runtime", own, "run", "-d", *LIMITS, "--network", "none", "--name", "p", "localhost/image",
                  "/bin/sleep", "99")
    assert done.returncode == 0, done.stderr
    assert podman("--runtime", own, "ps", "--format", "{{.Names}}").stdout == "p\n"
    assert podman("--runtime", own, "stop", "--time", "0", "p").returncode == 0
    done = podman("--runtime", own, "run", *LIMITS, "--network", "none", "localhost/image", "/no/such")
    assert done.returncode == 127, done.stderr


@NEEDED
def test_a_program_of_its_own_directory(cli: Cli, bundle: Bundle) -> None:
    """Found from there by `create` as well; files it makes are not everybody's to write, without a word on umask."""
    rules = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    bundle.runs("./sh", "-c", "echo > /tmp/made; exec sleep 100000", process={"cwd": "/bin"}, linux={"seccomp": rules})
    create(cli, bundle.path)
    cli("start", "c1")
    wait_for(lambda: (bundle.path / "rootfs/tmp/made").exists())
    assert stat.S_IMODE((bundle.path / "rootfs/tmp/made").stat().st_mode) == 0o644
    cli("delete", "--force", "c1")
