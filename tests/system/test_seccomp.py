"""Filters of containers: the default one from inside, an agent that answers, the cache, exec as strict as init."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli, assert_nothing_leaked, requires
from machine import Picture

pytestmark = requires("root", "busybox")
CACHE = "/var/lib/runspec/cache/seccomp"
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101     # linux/seccomp.h, ioctls of the listener


def write(path: Path, name: str = "sc", seccomp: Any = "default", **more: Any) -> Path:
    tree: dict[str, Any] = {"apiVersion": "runspec/v1", "name": name, "root": {"image": "busybox"},
                            "process": {"args": ["/bin/sleep", "1000"]}, "interfaces": [],
                            "linux": {"seccomp": seccomp, **more.pop("linux", {})}}
    tree["process"] |= more.pop("process", {})
    path.write_text(yaml.safe_dump(tree | more, sort_keys=False))
    return path


def says(cli: Cli, script: str, name: str = "sc") -> str:
    done = cli("exec", name, "sh", "-c", f"{script}; true")
    return (done.stdout + done.stderr).strip()


def filters(cli: Cli, name: str = "sc") -> tuple[str, str]:
    """Mode and count of init's filters, beside ours."""
    pid = json.loads(cli("state", name).stdout)["pid"]
    words = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "Sec" in line)
    return words["Seccomp"], words["Seccomp_filters"]


@pytest.mark.both
def test_the_default_from_inside(cli: Cli, tmp_path: Path) -> None:
    file = write(tmp_path / "sc.yaml", process={"args": ["/sbin/init"]})
    cli("apply", file)
    assert filters(cli) == ("2", "1")
    assert not cli("diff", file).stdout
    assert says(cli, "ps | grep -c syslogd") != "0"       # the image's own init works as ever
    for script in ("mkdir /a && mknod /a/n p && chown 1:1 /a && rm -r /a", "chroot / true", "su nobody -s /bin/true",
                   "nc -l -p 1 & sleep 0.1; kill $!", "echo x | tee /tmp/x | md5sum", "linux32 true",
                   "renice -n 1 -p $$", "setsid true", "ls -l /proc/1/exe", "date"):
        assert says(cli, f"({script}) >/dev/null && echo fine").endswith("fine"), script
    for script in ("mount -t tmpfs x /mnt", "umount /proc", "unshare -U true", "unshare -m true",
                   "nsenter -t 1 -m true", "swapon /etc/passwd", "hostname other", "reboot -f", "date -s 10:00",
                   "pivot_root / /mnt", "dmesg", "unshare -i true"):
        assert "not permitted" in says(cli, script) or "denied" in says(cli, script), script


@pytest.mark.both
def test_exec_is_as_strict_and_needs_no_library(cli: Cli, tmp_path: Path) -> None:
    cli("apply", write(tmp_path / "sc.yaml"))
    assert says(cli, "grep Seccomp /proc/self/status").split() == ["Seccomp:", "2", "Seccomp_filters:", "1"]
    trace = tmp_path / "trace"
    cli.netns.run("strace", "-f", "-e", "trace=openat", "-o", trace, *cli.argv, "exec", "sc", "true")
    text = trace.read_text()
    assert CACHE in text
    assert "libseccomp" not in text
    # A cache that is gone costs a compilation, no more.
    cli.netns.run("rm", "-r", CACHE)
    assert "not permitted" in says(cli, "unshare -U true")


def test_equal_filters_are_compiled_once(cli: Cli, tmp_path: Path) -> None:
    own = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
    files = [write(tmp_path / f"{n}.yaml", f"sc{n}", seccomp) for n, seccomp in
             enumerate(("default", "default", own, {**own, "flags": ["SECCOMP_FILTER_FLAG_LOG"]}, "unconfined"))]
    cli("apply", *files)
    kept = cli.netns.run("ls", CACHE).stdout.split()
    assert len(kept) == 2
    assert filters(cli, "sc3") == ("2", "1")
    assert filters(cli, "sc4") == ("0", "0")
    listing = cli.netns.run("stat", "-c", "%a %u %F", "/var/lib/runspec/cache", CACHE, f"{CACHE}/{kept[0]}").stdout
    assert listing.splitlines() == ["700 0 directory", "700 0 directory", "600 0 regular file"]


@pytest.mark.parametrize("harm", [
    "truncate -s 40 $f", "truncate -s 0 $f", "head -c 4096 /dev/zero >$f", "chmod 666 $f", "chown 1 $f",
    "mv $f /var/lib/runspec/x; ln -s /var/lib/runspec/x $f", "chmod 777 $d", "chown 1 $d", "rm $f; mkfifo $f",
    "mv $d /var/lib/runspec/d; ln -s /var/lib/runspec/d $d"])
def test_a_cache_that_cannot_be_trusted_is_not(cli: Cli, tmp_path: Path, harm: str) -> None:
    """What stands in the cache is loaded as a filter: others' files are not, and neither is a torn one."""
    cli("apply", write(tmp_path / "sc.yaml"))
    cli.netns.run("sh", "-ec", f"d={CACHE}; f=$(ls -d $d/*); {harm}")
    assert "not permitted" in says(cli, "unshare -U true")
    cli("destroy", "--yes", "sc")
    cli("apply", tmp_path / "sc.yaml")
    assert "not permitted" in says(cli, "unshare -U true")
    assert filters(cli) == ("2", "1")


def test_a_cache_that_cannot_be_written_costs_nothing_else(cli: Cli, tmp_path: Path) -> None:
    cli("apply", write(tmp_path / "first.yaml", "first", "unconfined"))        # the image is there
    cli.netns.run("mount", "-o", "remount,ro", "/var/lib/runspec")
    try:
        room = tmp_path / "root"
        room.mkdir()
        shutil.copy("/bin/busybox", room / "busybox")
        file = write(tmp_path / "sc.yaml", root={"path": str(room)}, process={"args": ["/busybox", "sleep", "1000"]})
        cli("apply", file)
        assert filters(cli) == ("2", "1")
        assert "not permitted" in cli("exec", "sc", "/busybox", "unshare", "-U", "true", status=1).stderr
    finally:
        cli.netns.run("mount", "-o", "remount,rw", "/var/lib/runspec")


@pytest.mark.both
def test_without_no_new_privileges(cli: Cli, tmp_path: Path) -> None:
    """The filter is in place before rights are dropped; init and exec get through it all the same."""
    file = write(tmp_path / "sc.yaml", process={"noNewPrivileges": False}, landlock={"scope": ["signal"]})
    cli("apply", file)
    words = says(cli, "grep -e NoNewPrivs -e Seccomp: /proc/self/status").split()
    assert words == ["NoNewPrivs:", "0", "Seccomp:", "2"]
    assert "not permitted" in says(cli, "unshare -U true")
    assert not cli("diff", file).stdout


def test_what_starting_takes_must_be_allowed(cli: Cli, tmp_path: Path) -> None:
    none = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}
    done = cli("apply", write(tmp_path / "sc.yaml", seccomp=none), status=2)
    assert "linux.seccomp: execve must be allowed" in done.stderr


def test_what_the_library_refuses_names_the_place(cli: Cli, tmp_path: Path) -> None:
    asked = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PPC64"]}
    file = write(tmp_path / "sc.yaml", seccomp=asked)
    done = cli("apply", file, status=2)
    assert f"{file}:" in done.stderr
    assert "linux.seccomp.architectures: SCMP_ARCH_PPC64 has another byte order than this machine" in done.stderr
    assert not cli("list", "-q").stdout


def test_a_loaded_filter_is_changed_by_a_restart(cli: Cli, tmp_path: Path) -> None:
    file = write(tmp_path / "sc.yaml")
    cli("apply", file)
    write(file, seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOMEDIUM}]})
    told = json.loads(cli("diff", "-o", "json", file, status=1).stdout)["changes"]
    assert {(one["path"], one["class"], one["cause"]) for one in told} == {
        ("linux.seccomp", "restart", "edited"), ("linux.seccomp.defaultAction", "restart", "edited"),
        ("linux.seccomp.syscalls", "restart", "edited")}
    cli("apply", "--yes", file)
    assert "No medium found" in says(cli, "mkdir /a")
    assert not cli("diff", file).stdout


LEGACY = """
static int call(int number, int a, int b, int c)
{
  int result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
  return result;
}
static void say(int number)
{
  char text[12], *at = text + 12;
  *--at = 10;
  for (number = -number; number; number /= 10)
    *--at = (char)('0' + number % 10);
  call(4, 1, (int)at, text + 12 - at);
}
void _start(void)
{
  call(4, 1, (int)"i386\\n", 5);
  say(call(310, 0x10000000, 0, 0));             /* unshare */
  say(call(21, 0, 0, 0));                       /* mount */
  say(call(359, 40, 1, 0));                     /* socket */
  say(call(9999, 0, 0, 0));
  int vector[3] = {1, 1, 0};
  say(call(102, 1, (int)vector, 0) > 0 ? -1 : -2);      /* socketcall(SYS_SOCKET, {AF_UNIX, SOCK_STREAM}) */
  call(1, 0, 0, 0);
}
"""


@requires("gcc")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="i386 programs run on x86_64 only")
def test_a_32_bit_program_runs_and_is_judged(cli: Cli, tmp_path: Path) -> None:
    source, program = tmp_path / "legacy.c", tmp_path / "legacy"
    source.write_text(LEGACY)
    subprocess.run(["cc", "-m32", "-O1", "-ffreestanding", "-fno-pic", "-no-pie", "-fno-stack-protector", "-nostdlib",
                    "-static", source, "-o", program], check=True)
    if subprocess.run([program], stdout=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("this kernel runs no 32-bit programs: no CONFIG_IA32_EMULATION")
    cli("apply", write(tmp_path / "sc.yaml", mounts=[
        {"destination": "/legacy", "source": str(program), "options": ["bind", "ro"]}]))
    numbers = [errno.EPERM, errno.EPERM, errno.EAFNOSUPPORT, errno.ENOSYS, 1]
    assert says(cli, "/legacy").split() == ["i386", *map(str, numbers)]


class Agent:
    """Answers mkdir with ENOMEDIUM, and remembers what it was told with each listener."""

    def __init__(self) -> None:
        self.room = tempfile.mkdtemp(prefix="rs-agent-")
        self.path = f"{self.room}/s"
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(self.path)
        self.server.listen(8)
        self.told: list[dict[str, Any]] = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                one, _ = self.server.accept()
            except OSError:
                return
            data, ancillary, _, _ = one.recvmsg(65536, socket.CMSG_SPACE(4))
            fds = array.array("i", ancillary[0][2])
            while more := one.recv(65536):
                data += more
            self.told.append(json.loads(data))
            threading.Thread(target=self.answer, args=(fds[0],), daemon=True).start()

    def answer(self, listener: int) -> None:
        while True:
            room = bytearray(80)
            try:
                fcntl.ioctl(listener, NOTIF_RECV, room)
                number = struct.unpack_from("<Q", room)[0]
                fcntl.ioctl(listener, NOTIF_SEND, struct.pack("<QqiI", number, 0, -errno.ENOMEDIUM, 0))
            except OSError:
                os.close(listener)
                return

    def leave(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


@pytest.fixture
def agent() -> Iterator[Agent]:
    one = Agent()
    yield one
    one.leave()
    shutil.rmtree(one.room)


def asking(agent: Agent, *more: str) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent.path, "listenerMetadata": "tenant 7",
            "syscalls": [{"names": ["mkdir", "mkdirat", *more], "action": "SCMP_ACT_NOTIFY"}]}


@pytest.mark.both
@pytest.mark.parametrize("strict", [True, False], ids=["no new privileges", "privileges"])
def test_an_agent_answers(cli: Cli, tmp_path: Path, agent: Agent, strict: bool) -> None:
    file = write(tmp_path / "sc.yaml", seccomp=asking(agent), annotations={"who": "me"},
                 process={"noNewPrivileges": strict, "args": ["sh", "-c", "mkdir /a 2>/said; exec sleep 1000"]})
    cli("apply", file)
    pid = json.loads(cli("state", "sc").stdout)["pid"]
    [told] = agent.told
    assert told["fds"] == ["seccompFd"]
    assert (told["pid"], told["metadata"]) == (pid, "tenant 7")
    state = told["state"]
    assert (state["id"], state["status"], state["pid"], state["annotations"]) == ("sc", "creating", pid, {"who": "me"})
    assert state["ociVersion"] == told["ociVersion"]
    assert state["bundle"].startswith("/")
    assert "No medium found" in says(cli, "cat /said")
    assert "No medium found" in says(cli, "mkdir /b")
    assert agent.told[1]["state"]["status"] == "running"
    assert agent.told[1]["pid"] != pid
    assert not cli("diff", file).stdout
    fds = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not [one for one in fds if "seccomp" in one or "userfaultfd" in one]


@pytest.mark.parametrize("strict", [True, False], ids=["no new privileges", "privileges"])
def test_a_bundle_with_an_agent(cli: Cli, tmp_path: Path, agent: Agent, strict: bool) -> None:
    """`create` leaves an init that `start` sets going: who asks the agent is whoever loads the filter."""
    (tmp_path / "b" / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", tmp_path / "b" / "rootfs" / "bin" / "busybox")
    (tmp_path / "b" / "config.json").write_text(json.dumps({
        "ociVersion": "1.3.0", "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["/bin/busybox", "sleep", "1000"], "noNewPrivileges": strict,
                    "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"seccomp": asking(agent),
                  "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]}}))
    # Its init keeps our standard output, so that must be no pipe that somebody reads to its end.
    cli("create", "-b", tmp_path / "b", "oci", capture_output=False, stdout=subprocess.DEVNULL)
    assert not agent.told
    cli("start", "oci")
    [told] = agent.told
    assert told["state"]["bundle"] == str(tmp_path / "b")
    assert told["state"]["status"] == "created"
    assert filters(cli, "oci") == ("2", "1")
    done = cli("exec", "oci", "/bin/busybox", "mkdir", "/b", status=None)
    assert "No medium found" in done.stderr
    cli("delete", "--force", "oci")


def test_an_agent_of_the_calls_by_which_it_is_told(cli: Cli, tmp_path: Path, agent: Agent) -> None:
    cli("apply", write(tmp_path / "sc.yaml", seccomp=asking(agent, "sendmsg", "connect", "futex", "ppoll")))
    assert len(agent.told) == 1
    assert "No medium found" in says(cli, "mkdir /b")


def test_nobody_listens(cli: Cli, tmp_path: Path, agent: Agent, picture: Callable[[], Picture]) -> None:
    """The program never ran, and nothing stays."""
    marks = tmp_path / "marks"
    marks.mkdir()
    file = write(tmp_path / "sc.yaml", seccomp=asking(agent), process={"args": ["touch", "/marks/ran"]},
                 mounts=[{"destination": "/marks", "source": str(marks), "options": ["bind"]}])
    before = picture()
    agent.leave()
    done = cli("apply", file, status=2)
    assert done.stderr.startswith(f"{file}:13:19: sc: linux.seccomp.listenerPath: nobody takes the listener at "
                                  f"{agent.path}: Connection refused\n")
    assert "fix: start the agent first" in done.stderr
    assert not list(marks.iterdir())
    assert_nothing_leaked(before, picture)


def test_what_the_agent_is_told_changes_with_a_restart(cli: Cli, tmp_path: Path, agent: Agent) -> None:
    file = write(tmp_path / "sc.yaml", seccomp=asking(agent))
    cli("apply", file)
    write(file, seccomp=asking(agent) | {"listenerMetadata": "tenant 8"})
    told = json.loads(cli("diff", "-o", "json", file, status=1).stdout)["changes"]
    assert [(one["path"], one["class"]) for one in told] == [("linux.seccomp.listenerMetadata", "restart")]
    cli("apply", "--yes", file)
    assert [one["metadata"] for one in agent.told] == ["tenant 7", "tenant 8"]


def test_nobody_listens_any_more(cli: Cli, tmp_path: Path, agent: Agent) -> None:
    cli("apply", write(tmp_path / "sc.yaml", seccomp=asking(agent)))
    agent.leave()
    done = cli("exec", "sc", "true", status=None)
    assert done.returncode not in (0, 2)
    assert f"nobody takes the listener at {agent.path}: Connection refused" in done.stderr
    pid = json.loads(cli("state", "sc").stdout)["pid"]
    assert processes(pid) == 1


def processes(pid: int) -> int:
    """How many processes share init's pid namespace."""
    mine = os.readlink(f"/proc/{pid}/ns/pid")
    count = 0
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            count += entry.isdigit() and os.readlink(f"/proc/{entry}/ns/pid") == mine
    return count


def test_the_file_of_lists_is_not_writable_for_others() -> None:
    from runspec.spec.seccomp import folder

    assert not os.stat(f"{folder()}/seccomp.default.json").st_mode & (stat.S_IWGRP | stat.S_IWOTH)
