"""What a container's own programs find around them, and what `exec` finds beside them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, assert_nothing_leaked, requires
from machine import Picture

KINDS = ("pid", "mnt", "uts", "ipc", "net", "cgroup")
HEAD = """\
apiVersion: runspec/v1
name: in
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]}
interfaces: []
"""
DOCKER_CAPS = 0xA80425FB
needs = requires("root", "busybox", "nsenter")
pytestmark = [needs, pytest.mark.both]


class Inside:
    """One container, its init as the host sees it, and words run in it."""

    def __init__(self, cli: Cli, file: Path, name: str = "in") -> None:
        self.cli, self.file, self.name = cli, file, name
        self.pid = int(json.loads(cli("state", name).stdout)["pid"])

    def __call__(self, *words: str, status: int | None = 0, options: tuple[str, ...] = ()) -> str:
        done = self.cli("exec", *options, self.name, *words, status=status)
        return done.stdout

    def status(self, pid: int | None = None) -> dict[str, str]:
        lines = Path(f"/proc/{pid or self.pid}/status").read_text().splitlines()
        return {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines}

    def own_status(self) -> dict[str, str]:
        """The status of a program run by exec, told by itself."""
        return {line.partition(":")[0]: line.partition(":")[2].strip()
                for line in self("/bin/cat", "/proc/self/status").splitlines()}

    def mounts(self) -> dict[str, list[str]]:
        """Mount point -> the words of its last line in mountinfo."""
        lines = Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
        return {line.split()[4]: line.split() for line in lines}


@pytest.fixture
def run(cli: Cli, tmp_path: Path) -> Callable[[str], Inside]:
    """Applies a spec and hands its container over; every one must be as declared at once."""
    def one(text: str, name: str = "in") -> Inside:
        file = tmp_path / "in.yaml"
        file.write_text(text)
        cli("apply", file)
        assert cli("diff", file).stdout == ""
        return Inside(cli, file, name)
    return one


Run = Callable[..., Inside]


def test_namespaces(run: Run) -> None:
    """PID 1 is init, and every namespace is another than the host's; exec joins all of them."""
    one = run(HEAD)
    for kind in KINDS:
        mine, host = os.readlink(f"/proc/{one.pid}/ns/{kind}"), os.readlink(f"/proc/self/ns/{kind}")
        assert mine != host and mine != os.readlink(f"/proc/{one.cli.netns.pid}/ns/{kind}"), kind
        assert one("/bin/readlink", f"/proc/self/ns/{kind}") == mine + "\n"
    assert one("/bin/cat", "/proc/1/comm") == "sleep\n"
    assert one.status()["NSpid"].split()[-1] == "1"
    assert set(one("/bin/ls", "/proc").split()) & {str(os.getpid()), str(one.pid)} - {"1"} == set()
    assert one("/bin/hostname").strip() != os.uname().nodename
    # Where the bonding driver is loaded, each namespace has its file there.
    assert set(one("/bin/ls", "/sys/class/net").split()) - {"bonding_masters"} == {"lo"}


def test_nothing_of_the_host(run: Run) -> None:
    """No host path is reachable, no descriptor inherited, and the standard streams are its own null device."""
    one = run(HEAD)
    assert one("/bin/ls", "/").split() == sorted(os.listdir(next(Path("/proc", str(one.cli.netns.pid), "root").glob(
        "var/lib/runspec/images/busybox-*"))))
    assert one("/bin/ls", "/proc/1/root/../..").split() == one("/bin/ls", "/").split()
    for line in one.mounts().values():
        assert line[3] in ("/", "/null") or line[3].startswith("/runspec") or line[4].startswith(
            ("/proc/", "/sys/fs/cgroup")), line
    fds = f"/proc/{one.pid}/fd"
    assert sorted(os.listdir(fds)) == ["0", "1", "2"]
    null = os.stat(f"/proc/{one.pid}/root/dev/null")
    assert stat.S_ISCHR(null.st_mode) and null.st_rdev == os.makedev(1, 3)
    for number in "012":
        same = os.stat(f"{fds}/{number}")
        assert (same.st_dev, same.st_ino) == (null.st_dev, null.st_ino) != (
            os.stat("/dev/null").st_dev, os.stat("/dev/null").st_ino)
    # ls itself holds the directory that it reads.
    assert one("/bin/sh", "-c", "ls /proc/self/fd").split() == ["0", "1", "2", "3"]
    assert os.readlink(f"/proc/{one.pid}/cwd") == "/"


def test_safe_defaults(run: Run) -> None:
    """Docker's capabilities, none to inherit, no new privileges, masks and read-only paths; exec has no more."""
    one = run(HEAD)
    for told in (one.status(), one.own_status()):
        assert [int(told[name], 16) for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")] == [
            DOCKER_CAPS, DOCKER_CAPS, DOCKER_CAPS, 0, 0]
        assert told["NoNewPrivs"] == "1"
        assert told["Uid"].split() == ["0"] * 4 and told["Groups"] == "" and told["Umask"] == "0022"
    for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list"):
        if Path(path).exists():
            assert one("/bin/cat", path) == ""
    for path in ("/proc/acpi", "/sys/firmware"):
        if Path(path).is_dir():
            assert one("/bin/ls", path) == ""
    for path in ("/proc/sys/kernel/msgmax", "/proc/sysrq-trigger", "/sys/fs/cgroup/x"):
        one("/bin/sh", "-c", f"echo 1 > {path}", status=1)
    for words in (("mount", "-t", "tmpfs", "x", "/mnt"), ("hostname", "x")):
        one(*words, status=1)
    one("/bin/sh", "-c", "mknod /dev/mem c 1 1 && cat /dev/mem", status=1)
    one("/bin/sh", "-c", "mknod /tmp/sda b 8 0 && cat /tmp/sda", status=1)


def test_process(run: Run) -> None:
    """User, groups, umask, directory, environment, limits, OOM score: of init and of exec alike."""
    one = run(HEAD.replace("process: {", """process:
  {cwd: /var/tmp, env: {A: "1", B: "x=y"}, oomScoreAdj: 321, noNewPrivileges: false,
  user: {uid: 1000, gid: 1001, additionalGids: [7, 8], umask: "0027"},
  rlimits: [{type: RLIMIT_NOFILE, soft: 100, hard: 200}, {type: RLIMIT_STACK, soft: 1Mi, hard: 2Mi}],
  capabilities: {bounding: [CAP_KILL, CAP_CHOWN], effective: [CAP_KILL], permitted: [CAP_KILL],
                 inheritable: [CAP_KILL], ambient: [CAP_KILL]}, """))
    kill, chown = 1 << 5, 1 << 0
    for told in (one.status(), one.own_status()):
        assert told["Uid"].split() == ["1000"] * 4 and told["Gid"].split() == ["1001"] * 4
        assert told["Groups"].split() == ["7", "8"] and told["Umask"] == "0027"
        assert [int(told[name], 16) for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")] == [
            kill | chown, kill, kill, kill, kill]
        assert told["NoNewPrivs"] == "0"
    for text in (Path(f"/proc/{one.pid}/limits").read_text(), one("/bin/cat", "/proc/self/limits")):
        lines = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines()}
        assert lines["Max open files"] == ["100", "200"] and lines["Max stack size"] == ["1048576", "2097152"]
    assert one("/bin/cat", "/proc/self/oom_score_adj") == Path(f"/proc/{one.pid}/oom_score_adj").read_text() == "321\n"
    assert os.readlink(f"/proc/{one.pid}/cwd") == "/var/tmp" and one("/bin/pwd") == "/var/tmp\n"
    env = Path(f"/proc/{one.pid}/environ").read_bytes().split(b"\0")
    assert {b"A=1", b"B=x=y"} < set(env)
    told = one("/usr/bin/env", options=("-e", "A=2")).split()
    assert "A=2" in told and "B=x=y" in told and "A=1" not in told
    assert one("/usr/bin/id", "-u", options=("-u", "5:6")) == "5\n"


def test_exec(run: Run) -> None:
    """Exec is in all groups of init and answers with the program's status, 128 + N after signal N."""
    one = run(HEAD)
    groups = Path(f"/proc/{one.pid}/cgroup").read_text()
    hold = one.cli.popen("exec", "in", "/bin/sh", "-c", "echo; exec sleep 20")
    assert hold.stdout is not None and hold.stdout.readline() == "\n"
    beside = [int(pid) for pid in json.loads(one.cli("ps", "-f", "json", "in").stdout) if pid != one.pid]
    assert len(beside) == 1
    assert Path(f"/proc/{beside[0]}/cgroup").read_text() == groups
    hold.terminate()
    assert hold.wait(30) == 143
    hold.communicate()
    one("/bin/sh", "-c", "exit 7", status=7)
    one("/bin/sh", "-c", "kill -9 $$", status=137)
    assert one.cli("exec", "in", "/bin/cat", input="through\n").stdout == "through\n"


@pytest.mark.parametrize("image", ["host", "dir", "path"])
def test_roots(run: Run, tmp_path: Path, image: str) -> None:
    """The host's /usr read-only, a directory as image, and a directory as it is."""
    where = tmp_path / "root"
    for name in ("bin", "proc", "dev", "sys", "tmp"):
        (where / name).mkdir(parents=True)
    busybox = subprocess.run(["which", "busybox"], check=True, capture_output=True, text=True).stdout.strip()
    for name in ("busybox", "sleep", "sh", "cat", "touch", "ls"):
        (where / "bin" / name).write_bytes(Path(busybox).read_bytes())
        (where / "bin" / name).chmod(0o755)
    word = {"host": "image: host", "dir": f"image: 'dir:{where}'", "path": f"path: {where}"}[image]
    one = run(HEAD.replace("image: busybox", word))
    one("/bin/sh", "-c", "touch /tmp/written")
    if image == "host":
        one("/bin/sh", "-c", "touch /usr/x", status=1)
        assert "root" not in one("/bin/ls", "/root")
        assert "shadow" not in one("/bin/ls", "/etc")
    # An image is shared, and never written to; a root that is named is.
    assert (where / "tmp/written").exists() == (image == "path")
    assert sorted(os.listdir(where)) == ["bin", "dev", "proc", "sys", "tmp"]


@requires("user_namespace")
def test_user_namespace(run: Run) -> None:
    """Root inside is somebody without rights outside; exec too; a network of its own works."""
    kinds = "".join(f"    - {{type: {kind}}}\n" for kind in (
        "user", "pid", "mount", "uts", "ipc", "network", "cgroup"))
    one = run(HEAD + f"hostname: mapped\nlinux:\n  namespaces:\n{kinds}" """\
  uidMappings: [{containerID: 0, hostID: 100000, size: 65536}]
  gidMappings: [{containerID: 0, hostID: 200000, size: 65536}]
""")
    assert one.status()["Uid"].split() == ["100000"] * 4 and one.status()["Gid"].split() == ["200000"] * 4
    assert os.readlink(f"/proc/{one.pid}/ns/user") != os.readlink("/proc/self/ns/user")
    told = one.own_status()
    assert told["Uid"].split() == ["0"] * 4 and told["Gid"].split() == ["0"] * 4
    assert int(told["CapEff"], 16) == DOCKER_CAPS
    assert one("/bin/readlink", "/proc/self/ns/user") == os.readlink(f"/proc/{one.pid}/ns/user") + "\n"
    assert one("/bin/hostname") == "mapped\n"
    assert Path(f"/proc/{one.pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    one("/bin/sh", "-c", "echo 1 > /dev/null; cat /dev/zero | head -c 1 > /dev/shm/y")
    # The image belongs to root inside, where the file system below can be mapped.
    mapped = os.stat(f"/proc/{one.pid}/root/etc").st_uid == 100000
    if mapped:
        one("/bin/touch", "/tmp/x", "/root/x", "/etc/x")
        assert os.stat(f"/proc/{one.pid}/root/root/x").st_uid == 100000
    # A restart keeps both, the user namespace and the network that belongs to it.
    kept = [os.readlink(f"/proc/{one.pid}/ns/{kind}") for kind in ("user", "net")]
    one.file.write_text(one.file.read_text().replace("100000\"", "99999\""))
    one.cli("apply", "--yes", one.file)
    again = Inside(one.cli, one.file)
    assert again.pid != one.pid
    assert [os.readlink(f"/proc/{again.pid}/ns/{kind}") for kind in ("user", "net")] == kept
    if mapped:
        again("/bin/ls", "/tmp/x")


@requires("time_namespace")
def test_time_offsets(run: Run) -> None:
    """A boot in the past, for init and for exec."""
    kinds = "".join(f"    - {{type: {kind}}}\n" for kind in ("pid", "mount", "time"))
    one = run(HEAD.replace("interfaces: []\n", "") + f"linux:\n  namespaces:\n{kinds}" """\
  timeOffsets: {boottime: {secs: 31536000}, monotonic: {secs: 1000}}
""")
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert abs(float(one("/bin/cat", "/proc/uptime").split()[0]) - uptime - 31536000) < 100
    assert one("/bin/readlink", "/proc/self/ns/time") == os.readlink(f"/proc/{one.pid}/ns/time") + "\n"
    assert os.readlink(f"/proc/{one.pid}/ns/time") != os.readlink("/proc/self/ns/time")


def test_shared_namespaces(run: Run, cli: Cli) -> None:
    """A pod: network, ipc and pid of another container; it follows when that one is made anew."""
    kinds = "".join(f"    - {{type: {kind}, container: in}}\n" for kind in ("network", "ipc", "pid"))
    one = run(HEAD + "---\n" + HEAD.replace("name: in", "name: side").replace("interfaces: []\n", "")
              + f"linux:\n  namespaces:\n{kinds}    - {{type: mount}}\n    - {{type: uts}}\n")
    side = Inside(cli, one.file, "side")

    def shared() -> dict[str, bool]:
        return {kind: os.readlink(f"/proc/{one.pid}/ns/{kind}") == os.readlink(f"/proc/{side.pid}/ns/{kind}")
                for kind in ("net", "ipc", "pid", "mnt", "uts")}

    wanted = {"net": True, "ipc": True, "pid": True, "mnt": False, "uts": False}
    assert shared() == wanted
    assert side("/bin/cat", "/proc/1/comm") == "sleep\n" and side.status()["NSpid"].split()[-1] != "1"
    one.file.write_text(one.file.read_text().replace("100000", "99999", 1))
    cli("apply", "--yes", one.file)
    one, side = Inside(cli, one.file), Inside(cli, one.file, "side")
    assert shared() == wanted
    assert cli("diff", one.file).stdout == ""


def test_namespace_by_path(run: Run, cli: Cli) -> None:
    """A network namespace that somebody else made and keeps."""
    path = f"/proc/{cli.netns.pid}/ns/net"
    one = run(HEAD.replace("interfaces: []\n", "") + f"""\
linux:
  namespaces: [{{type: mount}}, {{type: pid}}, {{type: network, path: {path}}}]
""")
    assert os.readlink(f"/proc/{one.pid}/ns/net") == os.readlink(path)


def test_lasting_overlay(run: Run, cli: Cli, picture: Callable[[], Picture]) -> None:
    """What was written is there again after destroy, until --data."""
    text = HEAD.replace("{image: busybox}", "{image: busybox, overlay: {volatile: false}}")
    one = run(HEAD)
    cli("destroy", "--yes", "in")
    before = picture()
    one = run(text)
    one("/bin/sh", "-c", "echo kept > /root/file; rm /etc/shells")
    assert "/var/lib/runspec/in" in cli("destroy", "--yes", "in").stdout
    one = run(text)
    assert one("/bin/cat", "/root/file") == "kept\n"
    one("/bin/ls", "/etc/shells", status=1)
    cli("destroy", "--yes", "--data", one.file)
    assert_nothing_leaked(before, picture)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_lasting_overlay_of_what_is_destroyed(run: Run, cli: Cli, elsewhere: bool) -> None:
    """By its file, or where it lies by default by its name: --data removes it later, too, but nobody else's."""
    upper = "/var/lib/runspec/" + ("elsewhere" if elsewhere else "in/rootfs")
    here = Path(f"/proc/{cli.netns.pid}/root{upper}")
    one = run(HEAD.replace("{image: busybox}", f"{{image: busybox, overlay: {{upper: {upper}}}}}"))
    one("/bin/sh", "-c", "echo kept > /root/file")
    cli("destroy", "--yes", "in")
    assert cli("destroy", "--yes", one.file).stdout == "in: was not there\n" and (here / "root/file").exists()
    asked = cli("destroy", "--data", one.file, status=2).stderr
    assert f"this would remove:\nin: root.overlay.upper: {upper} -> absent  removed\n" in asked
    other = one.file.with_name("other.yaml")
    other.write_text(one.file.read_text().replace("name: in\n", "name: other\n"))
    cli("apply", other)
    assert cli("destroy", "--yes", "--data", one.file).stdout == (
        f"in: was not there\nin: the files in {upper} stay, since other uses them\n")
    cli("destroy", "--yes", "other")
    assert (here / "root/file").exists()
    if elsewhere:
        assert "found by its file" in cli("destroy", "--yes", "--data", "in", status=2).stderr
    done = cli("destroy", "--yes", "--data", one.file if elsewhere else "in")
    assert done.stdout == "in: its files are removed\n"
    assert not here.exists() and not Path(f"{here}.work").exists() and not here.parent.joinpath("in").exists()
    assert cli("destroy", "--yes", "--data", one.file).stdout == "in: was not there\n"


def test_mounts(run: Run, tmp_path: Path) -> None:
    """Options of mount(8), recursive ones too, a single file, a missing source, sizes and modes."""
    (tmp_path / "below").mkdir()
    (tmp_path / "file").write_text("content\n")
    one = run(HEAD + f"""\
mounts:
  - {{destination: /ro, source: {tmp_path}, options: [bind, ro, nosuid, nodev, noexec, noatime, nosymfollow]}}
  - {{destination: /rro, source: /sys, options: [rbind, rro, rnosuid]}}
  - {{destination: /etc/one, source: {tmp_path}/file, options: [bind]}}
  - {{destination: /no, source: {tmp_path}/absent, options: [bind, optional]}}
  - {{destination: /mem, type: tmpfs, source: mem, options: [size=64k, mode=0750, uid=3, nr_inodes=10, noexec]}}
  - {{destination: /slave, source: {tmp_path}, options: [rbind, rslave]}}
  - {{destination: /deep/er/still, type: tmpfs, source: x, options: [ro]}}
""")
    mounts = one.mounts()
    assert set(mounts["/ro"][5].split(",")) >= {"ro", "nosuid", "nodev", "noexec", "noatime", "nosymfollow"}
    below = {point: line[5].split(",") for point, line in mounts.items() if point.startswith("/rro")}
    assert len(below) > 1 and all({"ro", "nosuid"} <= set(words) for words in below.values()), below
    assert one("/bin/cat", "/etc/one") == "content\n" == one("/bin/cat", "/ro/file")
    assert "/no" not in mounts
    told = os.stat(f"/proc/{one.pid}/root/mem")
    assert stat.S_IMODE(told.st_mode) == 0o750 and told.st_uid == 3
    one("/bin/dd", "if=/dev/zero", "of=/mem/x", "bs=1k", "count=100", status=1)
    assert os.stat(f"/proc/{one.pid}/root/mem/x").st_size == 65536
    one("/bin/touch", "/deep/er/still/x", status=1)
    one("/bin/touch", "/ro/x", status=1)


@requires("user_namespace")
def test_mapped_mount(run: Run) -> None:
    """Owners of a bind shown as others; edited maps come with a new mount, in place."""
    # Not every file system takes id maps: /var/tmp is ext4 on both kernels.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as source:
        Path(source, "doc").mkdir()
        _mapped(run, source)


def _mapped(run: Run, source: str) -> None:
    one = run(HEAD + f"""\
mounts:
  - destination: /mapped
    source: {source}
    options: [bind, ro, idmap]
    uidMappings: [{{containerID: 0, hostID: 5000, size: 100}}]
    gidMappings: [{{containerID: 0, hostID: 6000, size: 100}}]
""")
    assert one("/bin/stat", "-c", "%u %g", "/mapped/doc") == "5000 6000\n"
    assert os.stat(f"{source}/doc").st_uid == 0
    one.file.write_text(one.file.read_text().replace("5000", "5001"))
    told = json.loads(one.cli("diff", "-o", "json", one.file, status=1).stdout)["changes"]
    assert [(change["cause"], change["class"]) for change in told] == [("edited", "inPlace")]
    one.cli("apply", one.file)
    assert one("/bin/stat", "-c", "%u %g", "/mapped/doc") == "5001 6000\n"


@pytest.mark.parametrize("word", ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable"])
def test_propagation(run: Run, word: str) -> None:
    """The word shows in mountinfo, and nothing of it on the host's own mounts."""
    host = Path(f"/proc/{os.getpid()}/mountinfo").read_text()
    one = run(HEAD + f"linux: {{rootfsPropagation: {word}}}\n")
    fields = " ".join(one.mounts()["/"][6:8])
    assert ("shared:" in fields) == word.endswith("shared"), fields
    assert ("unbindable" in fields) == (word == "unbindable")
    assert Path(f"/proc/{os.getpid()}/mountinfo").read_text() == host


def test_devices_and_sysctl(run: Run) -> None:
    """Nodes with owner and mode; a rule that lets a device be opened, and the default that does not."""
    one = run(HEAD + """\
linux:
  sysctl: {net.ipv4.ip_forward: "1", kernel.shmmni: "100", net.ipv4.ip_local_port_range: "2000 3000"}
  devices:
    - {path: /dev/again, type: c, major: 1, minor: 5, fileMode: 0640, uid: 3, gid: 4}
    - {path: /dev/msg, type: c, major: 1, minor: 11}
    - {path: /dev/sub/pipe, type: p}
""")
    told = os.stat(f"/proc/{one.pid}/root/dev/again")
    assert (told.st_rdev, stat.S_IMODE(told.st_mode), told.st_uid, told.st_gid) == (os.makedev(1, 5), 0o640, 3, 4)
    assert stat.S_ISFIFO(os.stat(f"/proc/{one.pid}/root/dev/sub/pipe").st_mode)
    assert len(one("/bin/dd", "if=/dev/again", "bs=4", "count=1")) == 4
    one("/bin/dd", "if=/dev/msg", "bs=1", "count=1", status=1)
    assert one("/bin/cat", "/proc/sys/net/ipv4/ip_local_port_range").split() == ["2000", "3000"]
    assert one("/bin/cat", "/proc/sys/kernel/shmmni") == "100\n"
    for name in ("null", "zero", "full", "random", "urandom", "tty", "pts", "ptmx", "shm", "mqueue", "fd", "stdin"):
        assert name in one("/bin/ls", "/dev").split()
    assert Path("/proc/sys/kernel/shmmni").read_text() != "100\n"


def test_readonly_root(run: Run) -> None:
    """The root refuses writes, what is mounted for writing takes them."""
    one = run(HEAD.replace("{image: busybox}", "{image: busybox, readonly: true}"))
    one("/bin/touch", "/x", status=1)
    one("/bin/touch", "/dev/shm/x")
