"""The loop on the real kernel: a failure at any Step leaves the machine as it was, and says where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Cli, assert_nothing_leaked, requires
from kernels import IN_VM

import runspec
from runspec.errors import Mark, StepError
from runspec.kernel import Kernel
from runspec.plan.steps.base import Table
from runspec.run import blame, engine, journal, recover
from runspec.run.store import Record, Store
from runspec.spec import from_yaml

SPEC = """\
apiVersion: runspec/v1
kind: Network
name: fail0
type: bridge
addresses: [10.82.0.1/24, "fd82::1/64"]
---
apiVersion: runspec/v1
name: fail-a
hostname: first
hooks:
  createRuntime: [{path: /bin/true}]
  createContainer: [{path: /bin/true}]
  poststart: [{path: /bin/true}]
  poststop: [{path: /bin/true}]
root: {image: busybox, overlay: {volatile: false}}
process:
  args: [/bin/sleep, "100000"]
  oomScoreAdj: 100
  rlimits: [{type: RLIMIT_NOFILE, soft: 512, hard: 1024}]
mounts:
  - {destination: /data, source: ROOM/one, options: [bind, ro]}
  - {destination: /data/doc, type: tmpfs, source: doc, options: [size=1m]}
  - {destination: /old, type: tmpfs, source: old, options: [size=64k, nodev]}
linux:
  sysctl: {kernel.msgmax: "4096"}
  devices: [{path: /dev/other, type: c, major: 1, minor: 5, fileMode: 0600}]
  maskedPaths: [/proc/keys, /etc/passwd]
  readonlyPaths: [/proc/sys, /home]
  resources:
    cpu: {weight: 25}
    memory: {limit: 64Mi}
    devices: [{allow: true, type: c, major: 10, minor: 200, access: rw}]
interfaces:
  - name: eth0
    type: veth
    network: fail0
    addresses: [10.82.0.11/24, "fd82::11/64"]
    gateway: 10.82.0.1
    routes: [{to: 192.0.2.0/24, via: 10.82.0.2, metric: 50}]
"""
EDITS = (("weight: 25", "weight: 50"), ("hostname: first", "hostname: second"), ("soft: 512", "soft: 256"),
         ("oomScoreAdj: 100", "oomScoreAdj: 200"), ("10.82.0.11/24", "10.82.0.12/24"), ("metric: 50", "metric: 60"),
         ("msgmax: \"4096\"", "msgmax: \"8192\""), ("10.82.0.1/24,", "10.82.0.3/24,"), ("limit: 64Mi", "limit: 48Mi"),
         ("minor: 200, access: rw", "minor: 200, access: r"), ("gateway: 10.82.0.1", "gateway: 10.82.0.4"),
         ("ROOM/one", "ROOM/two"), ("size=1m", "size=2m"), ("destination: /old", "destination: /new"),
         ("minor: 5, fileMode: 0600", "minor: 7, fileMode: 0640"), ("/etc/passwd", "/etc/group"), ("/home", "/srv"),
         ("linux:", "linux:\n  rootfsPropagation: shared"))
# Runs one verb whose Step number I fails: before its act, or after it, when the act's effect is there.
FAULTY = """
import sys
import time
sys.path += sys.argv[1].split(":")
at, late = int(sys.argv[2]), sys.argv[3] == "after"
from runspec.errors import HostError
from runspec.plan.steps import registry
count = 0
def faulty(apply):
    def instead(self, kernel, run):
        global count
        count += 1
        mine = count
        memo = apply(self, kernel, run) if mine != at or late else None
        if mine == at:
            raise HostError("made to fail")
        return memo
    return instead
for one in set(registry.classes().values()):
    if "apply" in vars(one):
        one.apply = faulty(one.apply)
from runspec.__main__ import main
sys.exit(main(sys.argv[4:]))
"""
NEEDED = ("root", "busybox", "bridge", "veth", "overlay", "ip", "nsenter")


class Faulty:
    """A private machine on which a verb fails where it is told to."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        import _cffi_backend

        self.cli, self.base, self.edited = cli, folder / "base.yaml", folder / "edited.yaml"
        self.paths = f"{Path(runspec.__file__).parents[1]}:{':'.join(path for path in sys.path if path)}"
        assert _cffi_backend
        for name in ("one/doc", "two/doc"):
            (folder / name).mkdir(parents=True)
        text = SPEC.replace("ROOM", str(folder))
        self.base.write_text(text)
        for old, new in EDITS:
            old, new = (words.replace("ROOM", str(folder)) for words in (old, new))
            assert old in text
            text = text.replace(old, new)
        self.edited.write_text(text)

    def __call__(self, at: int, when: str, *words: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
        return self.cli.netns.run(sys.executable, "-P", "-c", FAULTY, self.paths, str(at), when, "--root",
                                  self.cli.root, *words)


@pytest.fixture
def faulty(cli: Cli, tmp_path: Path) -> Iterator[Faulty]:
    one = Faulty(cli, tmp_path)
    cli("apply", one.base)
    cli("destroy", "--yes", "--data", one.base)
    yield one


@requires(*NEEDED)
@pytest.mark.parametrize("when", ["before", "after"])
def test_creation_fails_at_every_step(faulty: Faulty, when: str) -> None:
    """Nothing is left, not even a directory, and the error names a place in the file."""
    before = faulty.cli.picture()
    at = 1
    while (done := faulty(at, when, "apply", faulty.base)).returncode:
        assert done.returncode == 2 and "made to fail" in done.stderr, done.stderr
        assert done.stderr.startswith(f"{faulty.base}:") and "Traceback" not in done.stderr, done.stderr
        assert "while undoing" not in done.stderr, done.stderr
        assert_nothing_leaked(before, faulty.cli.picture)
        at += 5 if IN_VM else 1
    assert at > 10
    faulty.cli("destroy", "--yes", "--data", faulty.base)


@requires(*NEEDED)
@pytest.mark.parametrize("when", ["before", "after"])
def test_change_fails_at_every_step(faulty: Faulty, when: str) -> None:
    """A running container is as before: `diff` against the file it was made from shows nothing."""
    faulty.cli("apply", faulty.base)
    pid = json.loads(faulty.cli("state", "fail-a").stdout)["pid"]
    written = [Path(f"/proc/{pid}/root/{where}/written") for where in ("data/doc", "old")]
    for one in written:
        one.touch()
    at = 1
    while (done := faulty(at, when, "apply", "--yes", faulty.edited)).returncode:
        assert done.returncode == 2 and "made to fail" in done.stderr, done.stderr
        assert "while undoing" not in done.stderr, done.stderr
        assert faulty.cli("diff", faulty.base, status=None).stdout == "", (at, done.stderr)
        assert all(one.exists() for one in written), done.stderr
        at += 1
    assert at > 25 and written[0].exists() and not written[1].exists()
    assert json.loads(faulty.cli("state", "fail-a").stdout)["pid"] == pid
    faulty.cli("destroy", "--yes", "--data", faulty.edited)


BAD = """\
apiVersion: runspec/v1
name: fail-b
root: {image: busybox}
process: {args: [%(program)s]}
mounts:
  - {destination: /one, type: tmpfs, source: tmpfs}
  - {destination: /two, type: tmpfs, source: two, options: [%(option)s]}
linux:
  sysctl:
    kernel.msgmax: "%(msgmax)s"
  devices:
    - {path: /dev/x, type: c, major: 1, minor: 3}
interfaces: []
"""
GOOD = {"program": "/bin/sleep, '1000'", "option": "size=1m", "msgmax": "4096"}


@requires(*NEEDED)
@pytest.mark.both
@pytest.mark.parametrize(("key", "value", "says"), [
    ("option", "huge=words", "7:5: fail-b: mounts[1]: fsconfig(huge): Invalid argument"),
    ("msgmax", "words", "10:5: fail-b: linux.sysctl: write(sys/kernel/msgmax): Invalid argument"),
    ("program", "/bin/nothing", "4:17: fail-b: process.args: exec(/bin/nothing): No such file or directory"),
])
def test_error_names_step_place_and_call(cli: Cli, tmp_path: Path, key: str, value: str, says: str) -> None:
    """File, line and column of the value, the spec path, the system call and its object; then the Step."""
    file = tmp_path / "bad.yaml"
    file.write_text(BAD % GOOD)
    cli("apply", file)
    cli("destroy", "--yes", file)
    before = cli.picture()
    file.write_text(BAD % {**GOOD, key: value})
    done = cli("apply", file, status=2)
    assert done.stderr.startswith(f"{file}:{says}\n  why: "), done.stderr
    assert "\n  fix: " in done.stderr, done.stderr
    assert_nothing_leaked(before, cli.picture)


@requires(*NEEDED)
@pytest.mark.both
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("whom", ["it", "its group"])
def test_interrupted(cli: Cli, tmp_path: Path, whom: str, number: signal.Signals) -> None:
    """What Ctrl-C of a half-done apply took back is said, and true; so with other ends, even when asked for twice."""
    file, begun = tmp_path / "slow.yaml", tmp_path / "begun"
    file.write_text("apiVersion: runspec/v1\nname: slow\nroot: {image: busybox}\n"
                    "process: {args: [/bin/sleep, '1000']}\n"
                    f"hooks: {{createRuntime: [{{path: /bin/sh, args: [sh, -c, '> {begun}; exec sleep 30']}}]}}\n")
    before = cli.picture()
    # A shell that runs us in the background has SIGINT ignored, for all that we start; nohup(1) ignores SIGHUP.
    running = cli.netns.popen("env", "--default-signal=INT,TERM,HUP", *cli.argv, "apply", file, start_new_session=True)
    end = time.monotonic() + 60
    while not begun.exists():
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    for _ in range(1 if number == signal.SIGINT else 2):
        (os.kill if whom == "it" else os.killpg)(running.pid, number)
    said = running.communicate()[1]
    assert (running.returncode, said) == (128 + number, "runspec: interrupted: undone\n")
    assert_nothing_leaked(before, cli.picture)


def test_a_journal_of_another_boot(tmp_path: Path) -> None:
    """Its pids and names are strangers' now: only files are put back."""
    store = Store(Kernel(), str(tmp_path / "state"))
    stranger = subprocess.Popen(["sleep", "60"])
    start = store.kernel.start_time(stranger.pid)
    made = tmp_path / "made"
    made.mkdir()
    with store.lock([("container", "c")]):
        store.save(Record(kind="container", name="c", boot_id="b", spec={"name": "c"}))
        mine = journal.begin(store, [("container", "c")])
        from runspec.plan.steps.namespaces import SpawnInit
        from runspec.plan.steps.process import SaveRecord
        from runspec.plan.steps.rootfs import MakeDirectory
        mine.intent(0, [MakeDirectory(target="c", directory=str(made))], [str(made)])
        mine.intent(1, [SpawnInit(target="c")])
        mine.done(1, {"pid": stranger.pid, "start_time": start})
        mine.intent(2, [SaveRecord(target="c")])
        text = Path(mine.path).read_text()
        Path(mine.path).write_text(text.replace(Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "old"))
        assert recover.recover(store.kernel, store, mine) == []
        assert stranger.poll() is None and not made.exists() and store.names("container") == []
        mine.close()
    stranger.kill()
    stranger.wait()


@pytest.mark.parametrize(("file", "text", "path"), [
    ("memory.events", b"low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n", "linux.resources.memory.limit"),
    ("memory.events", b"low 0\nhigh 0\nmax 9\noom 0\noom_kill 0\n", "process.args"),
    ("memory.oom_control", b"oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "linux.resources.memory.limit"),
    ("memory.oom_control", b"oom_kill_disable 0\nunder_oom 0\n", "process.args"),
    ("cgroup.events", b"oom_kill 1\n", "process.args"),
])
def test_who_was_killed_by_its_own_limit(file: str, text: bytes, path: str) -> None:
    """Its groups tell, in the file of either version."""
    kernel: Any = SimpleNamespace(try_read=lambda name: text if name == f"/g/a/{file}" else None)
    record = Record(kind="container", name="a", boot_id="b", cgroups=("/g/other", "/g/a"),
                    spec={"linux": {"resources": {"memory": {"limit": 4096}}}})
    error = blame.killed(kernel, "a", "during set-up", record)
    assert error.path == path and error.what == f"a: {path}: init ended during set-up"
    assert error.why and error.fix
    record = record.replace(spec={"linux": {}})
    assert blame.killed(kernel, "a", "during set-up", record).path == "process.args", "no limit of its own"


def test_place() -> None:
    """The nearest thing around a path that the file spells out."""
    marks = {"": Mark("f", 1, 1), "mounts": Mark("f", 2, 1), "mounts[1].source": Mark("f", 3, 9)}
    assert from_yaml.find(marks, "mounts[1].source")[1] == marks["mounts[1].source"]
    assert from_yaml.find(marks, "mounts[4].options[2]")[1] == marks["mounts"]
    assert from_yaml.find(marks, "linux.resources")[1] == marks[""]


@pytest.mark.parametrize(("names", "ends", "began"), [
    ((b"init", b"echo"), True, True), ((b"init", b"init"), True, False), ((b"init", b""), True, True),
    ((b"init", b"init"), False, True),
], ids=["a program that ended", "killed before its program", "gone", "a program of that name"])
def test_who_ends_before_its_program_began(names: tuple[bytes, bytes], ends: bool, began: bool, tmp_path: Path) -> None:
    """End of file on the control socket is the exec's success, or the end of an init that never got there."""
    said: list[str] = []
    child: Any = SimpleNamespace(pid=7, start_time=70, go=lambda: said.append("go"), receive=lambda timeout: None,
                                 close=lambda: said.append("close"))
    told = iter(names)
    kernel: Any = SimpleNamespace(ends=lambda pid, start: (pid, start) == (7, 70) and ends,
                                  command=lambda pid: next(told))
    run = engine.Run(kernel, Store(Kernel(), str(tmp_path)), None, {}, {})
    run.children["a"], run.tables["a"] = child, Table(())
    step: Any = SimpleNamespace(target="a")
    run.start(step)
    if began:
        run.confirm("a")
        assert said == ["go", "close"] and run.started() == {"a": (7, 70)}
        return
    with pytest.raises(StepError) as caught:
        run.confirm("a")
    assert caught.value.text() == (
        "a: process.args: init ended before its program began\n"
        "  why: it was killed from outside, or by the memory limit of a group above its own\n"
        "  fix: apply it again; `dmesg` tells what the kernel killed")
