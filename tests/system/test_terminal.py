"""Terminals: of init and of `exec -t`, judged from inside and at the other end; what a hostile image makes of them."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli, assert_nothing_leaked, requires
from kernels import SLOWER
from machine import Picture

import runspec

pytestmark = requires("root", "busybox", "nsenter")
BASE: dict[str, Any] = {"apiVersion": "runspec/v1", "name": "term", "root": {"image": "busybox"}, "interfaces": [],
                        "process": {"args": ["/bin/sleep", "100000"]}}
# Runs `apply` as `create` runs it for an engine: the terminal of init goes to a socket.
HANDED = """
import sys
sys.path += sys.argv[1].split(":")
from runspec.run import apply
class Wanted(apply.Wanted):
    def __init__(self, *words, **more):
        super().__init__(*words, **more)
        self.console = sys.argv[2]
for module in ("runspec.run.request", "runspec.run.apply"):
    __import__(module)
    vars(sys.modules[module])["Wanted"] = Wanted
from runspec.__main__ import main
sys.exit(main(sys.argv[3:]))
"""


class Listener:
    """A console socket, as an engine has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen()
        self.socket.settimeout(20 * SLOWER)

    def take(self) -> int:
        """The one descriptor of the one message."""
        peer, _ = self.socket.accept()
        peer.settimeout(20 * SLOWER)
        data, ancillary, _, _ = peer.recvmsg(256, socket.CMSG_SPACE(16))
        [(level, kind, rights)] = ancillary
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS) and data
        [fd] = array.array("i", rights)
        assert peer.recv(1) == b"", "nothing follows"
        peer.close()
        return int(fd)

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    one = Listener(tmp_path / "console.sock")
    yield one
    one.close()


class Screen:
    """The holder's end of a terminal."""

    def __init__(self, master: int) -> None:
        self.master, self.text = master, ""

    def until(self, what: str, seconds: float = 20.0) -> str:
        """Read until this was shown; returns all that came before and with it."""
        end = time.monotonic() + seconds * SLOWER
        while what not in self.text:
            assert time.monotonic() < end, f"{what!r} is not in {self.text!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 4096).decode(errors="replace")
                except OSError:
                    assert what in self.text, f"it hung up: {self.text!r}"
        seen, _, self.text = self.text.partition(what)
        return seen + what

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())


def set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def write(folder: Path, **more: Any) -> Path:
    file = folder / "term.yaml"
    file.write_text(yaml.safe_dump({**BASE, **more}))
    return file


class Seat:
    """A person's terminal with a command running at it."""

    def __init__(self, cli: Cli, *words: str) -> None:
        self.master, self.slave = pty.openpty()
        set_size(self.master, 31, 97)
        self.before = termios.tcgetattr(self.slave)
        self.screen = Screen(self.master)
        self.process = cli.popen(*words, stdin=self.slave, stdout=self.slave, stderr=subprocess.PIPE)

    def raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def end(self) -> int:
        """Its status; the terminal is as it was."""
        status = self.process.wait(30 * SLOWER)
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return status


@pytest.fixture
def running(cli: Cli, tmp_path: Path) -> Cli:
    cli("apply", write(tmp_path))
    return cli


@pytest.mark.both
def test_exec_at_a_terminal(running: Cli) -> None:
    """Its own terminal, of our size, which follows ours; what is typed arrives as it is; the status comes back."""
    seat = Seat(running, "exec", "-t", "term", "sh", "-c",
                "tty; stty size; trap 'echo int; exit 5' INT; trap 'stty size; echo moved' WINCH; echo ready;"
                "while :; do sleep 0.1; done")
    shown = seat.screen.until("ready\r\n")
    assert shown.split() == ["/dev/pts/0", "31", "97", "ready"]
    assert seat.raw()
    set_size(seat.master, 40, 120)
    seat.process.send_signal(signal.SIGWINCH)
    assert seat.screen.until("moved").split()[-3:] == ["40", "120", "moved"]
    seat.screen.type("\x03")
    seat.screen.until("int")
    assert seat.end() == 5


def test_exec_leads_a_session_at_its_terminal(running: Cli) -> None:
    """The slave is its controlling terminal and all that it holds; TIOCSTI could reach nothing of ours."""
    seat = Seat(running, "exec", "-t", "-u", "33:44", "term", "sh", "-c",
                "set -- /proc/$$/fd/*; echo fds $*; cut -d' ' -f5-8 /proc/$$/stat; echo pid $$; ls -ln $(tty);"
                "ps -o tty,args; echo over; read x; echo got $x")
    shown = seat.screen.until("over\r\n")
    fds = next(line for line in shown.splitlines() if line.startswith("fds"))
    held = [word.rpartition("/")[2] for word in fds.split()[1:]]
    assert held == ["0", "1", "2", "3"], "3 is the shell's own, of the directory that it reads"
    group, session, device, foreground = shown.splitlines()[1].split()
    pid = shown.splitlines()[2].split()[1]
    assert pid == group == session == foreground and os.major(int(device)) == 136
    assert shown.splitlines()[3].split()[2] == "33", "it belongs to the program's user"
    assert "136,0" in shown
    seat.screen.type("words\r")
    seat.screen.until("got words")
    assert seat.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_our_terminal_is_restored_whatever_happens(number: int, running: Cli) -> None:
    seat = Seat(running, "exec", "-t", "term", "sh", "-c", "echo ready; exec sleep 100")
    seat.screen.until("ready")
    seat.process.send_signal(number)
    assert seat.end() == 128 + number


def test_what_cannot_be_executed_leaves_our_terminal_alone(running: Cli) -> None:
    seat = Seat(running, "exec", "-t", "term", "/no/such")
    assert seat.process.stderr is not None
    text = seat.process.stderr.read()
    assert seat.end() == 255 and 'exec: "/no/such": stat /no/such: no such file or directory' in text


def test_exec_with_a_terminal_where_we_have_none(running: Cli) -> None:
    """Input from a pipe ends with an end of file; much output arrives whole, though the reader is slow."""
    done = running("exec", "-t", "term", "sh", "-c", "cat; tty", input="one\ntwo\n")
    assert done.stdout.split() == ["one", "two", "one", "two", "/dev/pts/0"]
    process = running.popen("exec", "-t", "term", "sh", "-c", "seq 1 60000; exit 4")
    time.sleep(0.5)
    text, _ = process.communicate(timeout=60 * SLOWER)
    assert process.returncode == 4
    assert text.split() == [str(i) for i in range(1, 60001)]


def test_a_program_that_leaves_another_at_its_terminal(running: Cli) -> None:
    """Its own end counts."""
    began = time.monotonic()
    running("exec", "-t", "term", "sh", "-c", "trap '' HUP; sleep 30 & echo said", status=0)
    assert time.monotonic() - began < 20 * SLOWER


def descriptors(pid: int) -> set[str]:
    """What a process has open."""
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    return found


def test_exec_detached_hands_its_terminal_on(running: Cli, listener: Listener, tmp_path: Path) -> None:
    """runspec is gone at once; the socket's owner holds the only master, and the pid file names the program."""
    pid_file = tmp_path / "pid"
    running("exec", "-t", "-d", "--console-socket", str(listener.path), "--pid-file", str(pid_file), "term", "sh")
    screen = Screen(listener.take())
    pid = int(pid_file.read_text())
    screen.type("tty; stty size; echo $((6*7))\r")
    shown = screen.until("\r\n42\r\n")
    assert "/dev/pts/0" in shown
    end = time.monotonic() + 10 * SLOWER
    while not (held := descriptors(pid)) <= {"/dev/pts/0", "/dev/tty"} and time.monotonic() < end:
        time.sleep(0.01)        # the shell reads /etc/passwd for its prompt
    assert held <= {"/dev/pts/0", "/dev/tty"}, held
    set_size(screen.master, 11, 22)
    screen.type("stty size\r")
    assert "11 22" in screen.until("11 22")
    os.close(screen.master)     # hangs up: the shell ends
    end = time.monotonic() + 10 * SLOWER
    while Path(f"/proc/{pid}/root/bin").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}/root/bin").exists()


def test_exec_detached_without_a_terminal(running: Cli, tmp_path: Path) -> None:
    """It keeps our streams and our place; nothing waits for it."""
    pid_file = tmp_path / "pid"
    process = running.popen("exec", "-d", "--pid-file", str(pid_file), "term", "sh", "-c", "sleep 1; echo late")
    assert process.stdout is not None
    assert process.wait(20 * SLOWER) == 0
    assert int(pid_file.read_text()) > 0
    assert process.stdout.read() == "late\n"


@pytest.mark.parametrize(("words", "said"), [
    (("-t", "-d"), "-t and -d need --console-socket"), (("--console-socket", "s"), "needs -t and -d"),
    (("-t", "--console-socket", "s"), "needs -t and -d"), (("-d", "--console-socket", "s"), "needs -t and -d")])
def test_words_that_contradict_each_other(words: tuple[str, ...], said: str, running: Cli) -> None:
    done = running("exec", *words, "term", "sh", status=1)
    assert said in done.stderr and "fix:" in done.stderr


@pytest.mark.parametrize("kind", ["missing", "deaf", "file"])
def test_nobody_at_the_console_socket(kind: str, running: Cli, tmp_path: Path,
                                      picture: Callable[[], Picture]) -> None:
    """Nothing is started."""
    path = tmp_path / "nobody.sock"
    if kind == "deaf":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    elif kind == "file":
        path.write_text("")
    before = picture()
    done = running("exec", "-t", "-d", "--console-socket", str(path), "term", "sh", status=255)
    reason = "no such file or directory" if kind == "missing" else "connection refused"
    assert f"console socket {path}: {reason}" in done.stderr and "Traceback" not in done.stderr
    assert_nothing_leaked(before, picture)


# Init's terminal


def create(cli: Cli, file: Path, path: Path | str) -> subprocess.CompletedProcess[str]:
    import _cffi_backend

    assert _cffi_backend
    paths = f"{Path(runspec.__file__).parents[1]}:{':'.join(one for one in sys.path if one)}"
    return cli.netns.run(sys.executable, "-P", "-c", HANDED, paths, str(path), "--root", cli.root, "apply", file)


@pytest.mark.both
@pytest.mark.parametrize("mapped", [False, True])
def test_terminal_of_init(mapped: bool, cli: Cli, listener: Listener, tmp_path: Path) -> None:
    """Of its size, its user's, its controlling terminal, and bound at /dev/console; also in a user namespace."""
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    more = {"linux": {"namespaces": [{"type": "user"}], "uidMappings": ids, "gidMappings": ids}} if mapped else {}
    file = write(tmp_path, process={
        "args": ["/bin/sh", "-c", "echo up; while read x; do echo got $x; done"], "terminal": True,
        "user": {"uid": 7, "gid": 8}, "consoleSize": {"height": 30, "width": 100}}, **more)
    done = create(cli, file, listener.path)
    assert done.returncode == 0, done.stderr
    screen = Screen(listener.take())
    screen.until("up\r\n")
    screen.type("hello\r")
    screen.until("got hello")
    init = json.loads(cli("state", "term").stdout)["pid"]
    assert {os.readlink(f"/proc/{init}/fd/{number}") for number in os.listdir(f"/proc/{init}/fd")} <= {
        "/dev/pts/0", "/dev/tty"}
    assert os.major(int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[4])) == 136
    console = os.stat(f"/proc/{init}/root/dev/console")
    assert stat.S_ISCHR(console.st_mode) and (os.major(console.st_rdev), os.minor(console.st_rdev)) == (136, 0)
    assert console.st_uid == (100007 if mapped else 7)
    assert " /dev/console " in Path(f"/proc/{init}/mountinfo").read_text()
    assert struct.unpack("4H", fcntl.ioctl(screen.master, termios.TIOCGWINSZ, bytes(8)))[:2] == (30, 100)
    # Every other program that runs there later gets one beside it.
    assert cli("exec", "-t", "-u", "0", "term", "tty").stdout.strip() == "/dev/pts/1"
    os.close(screen.master)


def test_apply_refuses_a_terminal_that_nobody_holds(cli: Cli, tmp_path: Path) -> None:
    """With the reason and what to do; nothing is made."""
    file = write(tmp_path, process={"args": ["/bin/sh"], "terminal": True})
    cli("validate", file)
    done = cli("apply", file, status=2)
    assert "process.terminal: nobody would hold the other end of this terminal" in done.stderr
    assert "why: apply ends when the container runs" in done.stderr and "runspec exec -t term" in done.stderr
    assert done.stderr.startswith(f"{file}:") and cli("list", "-q").stdout == ""


def hostile_dev(folder: Path, case: str) -> list[dict[str, Any]]:
    """Mounts that put a /dev or /dev/pts of the image's making in place."""
    dev = folder / "dev"
    (dev / "pts").mkdir(parents=True)
    for name, minor in (("null", 3), ("zero", 5), ("full", 7)):
        os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    victim = folder / "victim"
    victim.write_text("untouched\n")
    if case == "console is a symlink":
        (dev / "console").symlink_to(victim)
        return [{"destination": "/dev", "type": "bind", "source": str(dev), "options": ["rbind"]}]
    if case == "console is a symlink to nothing":
        (dev / "console").symlink_to(folder / "made")
        return [{"destination": "/dev", "type": "bind", "source": str(dev), "options": ["rbind"]}]
    pts = folder / "pts"
    pts.mkdir()
    if case == "ptmx is a symlink":
        (pts / "ptmx").symlink_to("/dev/ptmx")
    elif case == "ptmx is a file":
        (pts / "ptmx").write_text("")
    elif case == "ptmx is a node":
        os.mknod(pts / "ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    elif case == "ptmx is the null device":
        os.mknod(pts / "ptmx", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    elif case == "pts is a symlink":
        (dev / "pts").rmdir()
        (dev / "pts").symlink_to("/proc/1/root/dev/pts")
        return [{"destination": "/dev", "type": "bind", "source": str(dev), "options": ["rbind"]},
                {"destination": "/dev/pts", "type": "bind", "source": str(pts), "options": ["rbind"]}]
    return [{"destination": "/dev/pts", "type": "bind", "source": str(pts), "options": ["rbind"]}]


HOSTILE = ("ptmx is missing", "ptmx is a symlink", "ptmx is a file", "ptmx is a node", "ptmx is the null device",
           "console is a symlink", "console is a symlink to nothing", "pts is a symlink")


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_dev(case: str, cli: Cli, listener: Listener, tmp_path: Path,
                     picture: Callable[[], Picture]) -> None:
    """CVE-2025-52565: no terminal is made of what is none, nothing of the host is bound or written."""
    mounts = hostile_dev(tmp_path, case)
    before = picture()
    done = create(cli, write(tmp_path, mounts=mounts, process={"args": ["/bin/sh"], "terminal": True}), listener.path)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr and "why:" in done.stderr, done.stderr
    if case.startswith(("ptmx", "console")):
        assert "process.terminal" in done.stderr, done.stderr
    assert_nothing_leaked(before, picture)
    assert (tmp_path / "victim").read_text() == "untouched\n" and not (tmp_path / "made").exists()


@pytest.mark.parametrize("case", [one for one in HOSTILE if one.startswith("ptmx")])
def test_exec_in_a_hostile_dev(case: str, cli: Cli, tmp_path: Path) -> None:
    """exec is as strict as init."""
    cli("apply", write(tmp_path, mounts=hostile_dev(tmp_path, case)))
    done = cli("exec", "-t", "term", "sh", status=255)
    assert "exec failed" in done.stderr and "Traceback" not in done.stderr
    assert cli("exec", "term", "echo", "well").stdout == "well\n"
