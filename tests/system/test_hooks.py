"""Hooks on the real kernel: their order, what they see, and what becomes of a container whose hook fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli, assert_nothing_leaked, requires
from kernels import IN_VM, SLOWER
from machine import Picture, gone

pytestmark = requires("root", "busybox", "nsenter")
HOST_KINDS = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
ORDER = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart")
INSIDE = ("createContainer", "startContainer")
NAP = "86399"       # seconds that no other sleep on the machine takes
FLOOD = (1 << 26) if IN_VM else (3 << 27)
SCRIPT = """\
#!/bin/sh
# Appends what it was told and where it stands to the log beside it.
{ printf '{"kind": "%s", "state": ' "$1"; cat; printf ', "cwd": "%s", "env": "%s", "mnt": "%s", "net": "%s"}\\n' \\
  "$(/bin/pwd)" \\
  "$(/usr/bin/env | /usr/bin/grep -v '^PWD=' | /usr/bin/tr '\\n' ' ')" \\
  "$(/usr/bin/readlink /proc/self/ns/mnt)" "$(/usr/bin/readlink /proc/self/ns/net)"; } >>ROOM/log
"""


class Hooked:
    """One container with hooks; those of the host write a log."""

    def __init__(self, cli: Cli, room: Path) -> None:
        self.cli, self.room, self.file = cli, room, room / "hooked.yaml"
        self.script = room / "hook.sh"
        self.script.write_text(SCRIPT.replace("ROOM", str(room)))
        self.script.chmod(0o755)

    def log(self, kind: str) -> dict[str, Any]:
        """A hook that logs; startContainer's has nothing but the container to write to."""
        if kind == "startContainer":
            return {"path": "/bin/sh", "args": ["sh", "-c", "cat >>/tmp/state; id -u >>/tmp/state; pwd >>/tmp/state"]}
        return {"path": str(self.script), "args": ["hook.sh", kind], "env": [f"KIND={kind}"]}

    def write(self, hooks: dict[str, list[dict[str, Any]]], **more: Any) -> None:
        self.file.write_text(yaml.safe_dump({
            "apiVersion": "runspec/v1", "name": "hooked", "root": {"image": "busybox"}, "interfaces": [],
            "annotations": {"quoted": 'a "b" \\ \n'}, "process": {"args": ["/bin/sleep", "100000"]}, "hooks": hooks,
            **more}))

    def seen(self) -> list[dict[str, Any]]:
        """What was logged since the last time."""
        path = self.room / "log"
        text = path.read_text() if path.exists() else ""
        path.write_text("")
        return [json.loads(line) for line in text.splitlines()]

    def kinds(self) -> list[str]:
        return [one["kind"] for one in self.seen()]


@pytest.fixture
def hooked(cli: Cli, tmp_path: Path) -> Iterator[Hooked]:
    yield Hooked(cli, tmp_path)


def sleepers() -> list[int]:
    """Processes of a hook that should be gone."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if NAP.encode() in Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0"):
                found.append(int(entry))
        except OSError:
            continue
    return found


def wait_until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds * SLOWER
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


@pytest.mark.both
def test_order_state_and_place(hooked: Hooked) -> None:
    """All six kinds, each at its moment, in its namespaces, with the state of that moment and its own environment."""
    hooked.write({kind: [hooked.log(kind)] for kind in (*ORDER, "poststop")}, hostname="inside")
    hooked.cli("apply", hooked.file)
    init = json.loads(hooked.cli("state", "hooked").stdout)["pid"]
    assert hooked.cli("diff", hooked.file).stdout == ""
    told = hooked.seen()
    assert [one["kind"] for one in told] == [kind for kind in ORDER if kind != "startContainer"]
    holder, bundle = hooked.cli.netns.pid, "/var/lib/runspec/hooked"
    places = {word: (os.readlink(f"/proc/{holder}/ns/{word}"), os.readlink(f"/proc/{init}/ns/{word}"))
              for word in ("mnt", "net")}
    for one in told:
        kind, inside = one["kind"], one["kind"] in INSIDE
        assert one["state"] == {
            "ociVersion": "1.3.0", "id": "hooked", "pid": 1 if inside else init, "bundle": bundle,
            "status": "running" if kind == "poststart" else "creating", "annotations": {"quoted": 'a "b" \\ \n'}}
        for word, (ours, theirs) in places.items():
            assert one[word] == (theirs if inside else ours), (kind, word)
        assert one["env"].split() == [f"KIND={kind}"], "nothing but its own variables, and what a shell adds"
        assert one["cwd"] == (f"{bundle}/rootfs" if inside else bundle), kind
    # Inside: as the program's user, in its directory, before it.
    text = hooked.cli("exec", "hooked", "/bin/cat", "/tmp/state").stdout
    state, end = json.JSONDecoder().raw_decode(text)
    assert (state["pid"], state["status"], text[end:].split()) == (1, "created", ["0", "/"])

    hooked.cli("destroy", "--yes", "hooked")
    [last] = hooked.seen()
    assert last["kind"] == "poststop" and last["state"]["status"] == "stopped" and "pid" not in last["state"]
    assert gone(init), "poststop runs once the container is gone"


def test_hooks_hold_no_descriptor_of_ours(hooked: Hooked) -> None:
    """Neither on the host nor inside: three standard streams, and what ls opens."""
    script = "ls -l /proc/self/fd | tail -n +2 | awk '{print $9}' | sort | tr '\\n' ' '"
    list_fds = {"path": "/bin/sh", "args": ["sh", "-c", f"{script} >{hooked.room}/fds"]}
    inner = {"path": "/bin/sh", "args": ["sh", "-c", f"{script} >/tmp/fds"]}
    for kind in (*HOST_KINDS[:-1], "startContainer"):
        hooked.write({kind: [inner if kind == "startContainer" else list_fds]})
        hooked.cli("apply", "--yes", hooked.file)
        text = (hooked.cli("exec", "hooked", "/bin/cat", "/tmp/fds").stdout if kind == "startContainer"
                else (hooked.room / "fds").read_text())
        assert text.split() == ["0", "1", "2", "3"], kind
        hooked.cli("destroy", "--yes", "hooked")


def faulty(kind: str, fault: str, room: Path) -> tuple[list[dict[str, Any]], str]:
    """(hooks of which the last fails, what is said of it)."""
    shell = "/bin/sh"
    def script(text: str, **more: Any) -> list[dict[str, Any]]:
        return [{"path": shell, "args": ["sh", "-c", text], **more}]

    if fault == "exit":
        return script("echo the reason >&2; exit 7"), f"hook {shell} ended with status 7"
    if fault == "hang":
        return script(f"sleep {NAP} & sleep {NAP}", timeout=1), f"hook {shell} did not end within 1 s and was killed"
    if fault == "killed":
        return script("kill -9 $$"), f"hook {shell} was killed by signal 9"
    if fault == "flood":
        return (script(f"head -c {FLOOD} /dev/zero | tr '\\0' x >&2; echo; echo the end; exit 1"),
                f"hook {shell} ended with status 1")
    gone = room / "gone"
    gone.write_text("#!/bin/sh\n")
    gone.chmod(0o755)
    if kind == "startContainer":
        return [{"path": "/no/such/hook"}], "hook /no/such/hook cannot be executed: no such file or directory"
    # There when the file is judged, gone when its turn comes.
    return ([*script(f"rm {gone}"), {"path": str(gone)}],
            f"hook {gone} cannot be executed: no such file or directory")


@pytest.mark.parametrize("fault", ["exit", "hang", "killed", "missing", "flood"])
@pytest.mark.parametrize("kind", [*ORDER, "poststop"])
def test_a_hook_fails(kind: str, fault: str, hooked: Hooked, picture: Callable[[], Picture]) -> None:
    """All of the container goes, the poststop hooks run, and later hooks do not; a poststop hook only warns."""
    broken, words = faulty(kind, fault, hooked.room)
    hooks = {one: [hooked.log(one)] for one in (*ORDER, "poststop")}
    hooks[kind] = [hooked.log(kind), *broken, hooked.log(kind)]
    hooked.write(hooks)
    hooked.cli("config", hooked.file)
    before = picture()
    if kind == "poststop":
        hooked.cli("apply", hooked.file)
        hooked.seen()
        done = hooked.cli("destroy", "--yes", "hooked")
        assert f"warning: hooked: hooks.poststop[{len(broken)}]: {words}" in done.stdout, done.stdout
        assert hooked.kinds() == ["poststop", "poststop"], "the others go on"
    else:
        began = time.monotonic()
        # Address space for a Python and its libraries; whoever keeps what a flood says does not fit.
        done = hooked.cli.netns.run("sh", "-c", 'ulimit -v 300000; exec "$@"', "sh", *hooked.cli.argv, "apply",
                                    hooked.file)
        text = done.stderr
        assert done.returncode == 2, text
        assert f": hooked: hooks.{kind}[{len(broken)}]: {words}" in text and "Traceback" not in text, text
        assert text.startswith(str(hooked.file)), "it has a place in the file"
        assert len(text) < 3000
        if fault == "flood":
            assert "the end" in text
        if fault == "exit":
            assert "its last words were: the reason" in text
        if fault == "hang":
            assert time.monotonic() - began < 10 * SLOWER
        reached = [one for one in ORDER[:ORDER.index(kind) + 1] if one != "startContainer"]
        assert hooked.kinds() == [*reached, "poststop"]
        assert hooked.cli("list", "-q").stdout == ""
    wait_until(lambda: not sleepers())
    assert_nothing_leaked(before, picture)
    # What was in the way is mended: one apply makes it, a second has nothing to do.
    hooked.write({one: [hooked.log(one)] for one in (*ORDER, "poststop")})
    hooked.cli("apply", hooked.file)
    assert "up to date" in hooked.cli("plan", hooked.file).stdout


def test_a_new_init_is_a_new_life(hooked: Hooked) -> None:
    """Restart and recreation end with poststop and begin with prestart; a change of hooks alone runs none."""
    hooks = {one: [hooked.log(one)] for one in (*ORDER, "poststop")}
    hooked.write(hooks)
    hooked.cli("apply", hooked.file)
    life = hooked.kinds()
    old = json.loads(hooked.cli("state", "hooked").stdout)["pid"]
    hooked.write(hooks, process={"args": ["/bin/sleep", "100001"]})
    hooked.cli("apply", "--yes", hooked.file)
    told = hooked.seen()
    assert [one["kind"] for one in told] == ["poststop", *life]
    new = json.loads(hooked.cli("state", "hooked").stdout)["pid"]
    assert old != new == told[-1]["state"]["pid"]

    hooks["poststop"] = [{**hooked.log("poststop"), "args": ["hook.sh", "other"]}]
    hooked.write(hooks, process={"args": ["/bin/sleep", "100001"]})
    diff = hooked.cli("diff", hooked.file, status=1).stdout
    assert "hooks.poststop" in diff and "in place" in diff
    hooked.cli("apply", hooked.file)
    assert hooked.kinds() == [] and json.loads(hooked.cli("state", "hooked").stdout)["pid"] == new
    hooked.cli("kill", "hooked", "KILL")
    wait_until(lambda: json.loads(hooked.cli("state", "hooked").stdout)["status"] == "stopped")
    hooked.cli("apply", "--yes", hooked.file)
    assert hooked.kinds() == ["other", *life]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer", "startContainer", "poststart"])
def test_runspec_ends_while_a_hook_runs(kind: str, number: int, hooked: Hooked,
                                        picture: Callable[[], Picture]) -> None:
    """The hook and what it started end with it, the poststop hooks run, and nothing is left."""
    before = picture()
    hooked.write({kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"sleep {NAP} & sleep {NAP}"]}],
                  "poststop": [hooked.log("poststop")]})
    process = hooked.cli.popen("apply", hooked.file)
    wait_until(lambda: len(sleepers()) == 2)
    process.send_signal(number)
    process.communicate(timeout=30 * SLOWER)
    wait_until(lambda: not sleepers())
    hooked.cli("destroy", "--yes", hooked.file)      # undoes what is left, where that was SIGKILL
    assert hooked.kinds() == ["poststop"]
    assert_nothing_leaked(before, picture)


def test_a_hook_may_take_its_time_and_leave_something_running(hooked: Hooked) -> None:
    """No time-out unless asked for one; its end counts, not that of what it started."""
    left = f"sleep {NAP} >/dev/null 2>&1 & sleep 1.5"
    noisy = f"(while echo x; do :; done) & sleep {NAP} & exit 0"
    hooked.write({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", left]},
                                    {"path": "/bin/sh", "args": ["sh", "-c", noisy]}]})
    hooked.cli("apply", hooked.file)
    alive = sleepers()
    assert len(alive) == 2
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def test_a_mount_made_by_a_hook_is_seen_inside(hooked: Hooked) -> None:
    """createContainer works on the container's mounts, with the host's files still in reach."""
    (hooked.room / "shown").mkdir()
    (hooked.room / "shown" / "word").write_text("from the host\n")
    mount = f"mkdir -p mnt && mount --bind {hooked.room}/shown mnt"
    hooked.write({"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", mount],
                                       "env": {"PATH": os.environ["PATH"]}}]})
    hooked.cli("apply", hooked.file)
    assert hooked.cli("exec", "hooked", "/bin/cat", "/mnt/word").stdout == "from the host\n"
    mounts = subprocess.run(["nsenter", f"--mount=/proc/{hooked.cli.netns.pid}/ns/mnt", "cat", "/proc/self/mountinfo"],
                            capture_output=True, text=True, check=True).stdout
    assert "/mnt " not in mounts, "nothing of it reaches the host"
