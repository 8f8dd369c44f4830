"""The facade on the real kernel: files, locks, faults, children, cgroups, netlink."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import children
from conftest import requires
from kernels import cgroup_mounts

from runspec import abi
from runspec.abi import Op
from runspec.errors import SyscallError, UsageError
from runspec.kernel import Kernel, process
from runspec.kernel.process import parse_start_time, parse_state
from runspec.kernel.sockets import parse_messages

ENV = {"PYTHONPATH": ":".join(p for p in sys.path if p)}


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def fails(number: int) -> pytest.RaisesExc[SyscallError]:
    return pytest.raises(SyscallError, check=lambda error: error.errno == number)


# files

def test_read(kernel: Kernel, tmp_path: Path) -> None:
    big = os.urandom(200_001)
    (tmp_path / "big").write_bytes(big)
    assert kernel.read(f"{tmp_path}/big") == big
    assert kernel.try_read(f"{tmp_path}/none") is None and kernel.try_read("/proc/self/stat/none") is None
    assert kernel.read_text("/proc/self/comm").strip()
    assert kernel.list_dir(f"{tmp_path}") == ["big"] and kernel.list_dir(f"{tmp_path}/none") == []
    assert kernel.read_link("/proc/self/ns/net") and kernel.read_link(f"{tmp_path}/big") is None
    with fails(errno.ENOENT) as caught:
        kernel.read(f"{tmp_path}/none")
    assert caught.value.call == "openat" and caught.value.path == f"{tmp_path}/none"
    with fails(errno.EISDIR):
        kernel.read(f"{tmp_path}")
    assert kernel.acts == 0


def test_directories(kernel: Kernel, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        made = kernel.make_dirs(f"{tmp_path}/a/b/c", 0o755)
    finally:
        os.umask(old)
    assert made == [f"{tmp_path}/a", f"{tmp_path}/a/b", f"{tmp_path}/a/b/c"]
    assert os.stat(made[0]).st_mode & 0o777 == 0o755
    assert kernel.make_dirs(f"{tmp_path}/a/b/c") == [] and kernel.make_dir(made[0]) is False
    (tmp_path / "file").write_text("")
    with fails(errno.EEXIST):
        kernel.make_dir(f"{tmp_path}/file")
    with fails(errno.ENOTEMPTY):
        kernel.remove_dir(made[0])
    assert [kernel.remove_dir(one) for one in reversed(made)] == [True] * 3
    assert kernel.remove_dir(made[0]) is False
    assert kernel.remove_file(f"{tmp_path}/file") and not kernel.remove_file(f"{tmp_path}/file")


def test_files(kernel: Kernel, tmp_path: Path) -> None:
    path = f"{tmp_path}/f"
    kernel.create_file(path, "one", exclusive=True)
    with fails(errno.EEXIST):
        kernel.create_file(path, "two", exclusive=True)
    kernel.write(path, "two")
    assert kernel.read(path) == b"two" and os.stat(path).st_mode & 0o777 == 0o600
    with fails(errno.ENOENT):
        kernel.write(f"{tmp_path}/none", "x")
    kernel.truncate(path, 1)
    before, kernel.acts = os.stat(path).st_ino, 0
    kernel.replace_file(path, "three")
    assert kernel.acts == 3 and kernel.read(path) == b"three" and os.stat(path).st_ino != before
    assert os.listdir(tmp_path) == ["f"]
    (tmp_path / "link").symlink_to("f")
    with fails(errno.ELOOP):
        kernel.create_file(f"{tmp_path}/link", "x")
    (tmp_path / ".f.tmp").symlink_to("/etc/passwd")
    with fails(errno.ELOOP):
        kernel.replace_file(path, "x")


def test_append(kernel: Kernel, tmp_path: Path) -> None:
    fd = kernel.open_new(f"{tmp_path}/log", flags=os.O_EXCL | os.O_APPEND)
    kernel.append(fd, b"one\n")
    kernel.append(fd, b"two\n")
    kernel.close(fd)
    assert kernel.read(f"{tmp_path}/log") == b"one\ntwo\n"


def test_remove_tree(kernel: Kernel, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    top = tmp_path / "top"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / ".removed.1").write_text("in the way")
    (top / ".removed.2" / "x").mkdir(parents=True)
    for place in (top, top / "a", top / "a" / "b"):
        (place / "link").symlink_to(outside)
        (place / "up").symlink_to("..")
        os.mkfifo(place / "fifo")
    at = os.open(top, os.O_DIRECTORY)
    for _ in range(3000):           # deeper than PATH_MAX, the recursion limit and RLIMIT_NOFILE allow
        os.mkdir("deep", dir_fd=at)
        new = os.open("deep", os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = new
    os.close(at)
    assert kernel.remove_tree(str(top)) is True and not top.exists()
    assert kernel.remove_tree(str(top)) is False
    assert os.listdir(outside) == ["kept"]
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(SyscallError):
        kernel.remove_tree(f"{tmp_path}/link")
    assert os.listdir(outside) == ["kept"]


def test_lock_of_a_removed_directory(kernel: Kernel, tmp_path: Path) -> None:
    path = f"{tmp_path}/d"
    with fails(errno.ENOENT):
        kernel.lock_dir(path)
    fd = kernel.lock_dir(path, create=0o700)
    with fails(errno.EAGAIN):
        kernel.lock_dir(path, wait=0.05)
    code = ("import os, sys; from runspec.kernel import Kernel; k = Kernel();"
            "fd = k.lock_dir(sys.argv[1], create=0o700);"
            "print(os.fstat(fd).st_ino == os.stat(sys.argv[1]).st_ino)")
    waiter = subprocess.Popen([sys.executable, "-P", "-c", code, path], env=ENV, stdout=subprocess.PIPE)
    time.sleep(0.2)
    kernel.remove_dir(path)
    kernel.unlock(fd)
    assert waiter.communicate(timeout=10)[0] == b"True\n"


# faults

ACTS = """
import sys
from runspec.kernel import Kernel
k = Kernel(sys.argv[2])
k.make_dir(sys.argv[1] + "/d")
k.replace_file(sys.argv[1] + "/d/f", "text")
k.write(sys.argv[1] + "/d/f", "more")
k.remove_file(sys.argv[1] + "/d/f")
k.remove_dir(sys.argv[1] + "/d")
print(k.acts)
"""


def test_faults(tmp_path: Path) -> None:
    def run(fault: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([sys.executable, "-P", "-c", ACTS, str(tmp_path), fault], env=ENV,
                              stdout=subprocess.PIPE)

    assert run("count").stdout == b"7\n"
    assert run(f"trace@{tmp_path}/trace").returncode == 0
    names = (tmp_path / "trace").read_text().split()
    (tmp_path / "trace").unlink()
    assert names == ["mkdir", "openat", "write", "rename", "write", "unlink", "rmdir"]
    left = [[], ["d"], ["d", ".f.tmp"], ["d", ".f.tmp"], ["d", "f"], ["d", "f"], ["d"]]
    for n, expected in enumerate(left, 1):
        assert run(f"kill@{n}").returncode == -signal.SIGKILL
        found = [path.name for path in sorted(tmp_path.rglob("*"))]
        assert found == expected, n
        for path in sorted(tmp_path.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert run("kill@8").stdout == b"7\n"


@pytest.mark.parametrize("text", ["kill", "kill@", "kill@0", "kill@-1", "kill@x", "kill@²", "other",
                                  "trace@"])
def test_wrong_fault(text: str) -> None:
    with pytest.raises(UsageError):
        Kernel(text)


# processes

def test_stat_of_a_hostile_name() -> None:
    fields = b" ".join(b"%d" % n for n in range(4, 30))
    text = b"7 (a) Z 1 (b) S) R " + fields
    assert parse_start_time(text) == 22 and parse_state(text) == "R"


def test_process(kernel: Kernel) -> None:
    child = subprocess.Popen(["sleep", "60"])
    start = kernel.start_time(child.pid)
    assert start is not None
    assert kernel.open_process(child.pid, start + 1) is None
    fd = kernel.open_process(child.pid, start)
    assert fd is not None and kernel.pid_of(fd) == child.pid
    kernel.set_rlimit(child.pid, abi.RLIMITS["RLIMIT_NOFILE"], 50, 60)
    kernel.set_rlimit(child.pid, abi.RLIMITS["RLIMIT_CORE"], 0, -1)
    assert kernel.get_rlimit(child.pid, abi.RLIMITS["RLIMIT_NOFILE"]) == (50, 60)
    assert kernel.get_rlimit(child.pid, abi.RLIMITS["RLIMIT_CORE"]) == (0, -1)
    assert not kernel.ends(child.pid, start) and kernel.ends(child.pid, start + 1)
    assert kernel.signal(fd, signal.SIGTERM) is True
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert kernel.process_state(child.pid, start) == "Z" and kernel.ends(child.pid, start)
    assert kernel.end_of(child.pid, start) == ("signal", signal.SIGTERM) and kernel.command(child.pid) == b"sleep"
    assert child.wait() == -signal.SIGTERM
    assert kernel.process_state(child.pid, start) is None and kernel.open_process(child.pid, start) is None
    assert kernel.ends(child.pid, start) and kernel.end_of(child.pid, start) is None and not kernel.command(child.pid)
    assert kernel.signal(fd, signal.SIGTERM) is False
    kernel.close(fd)


def test_who_is_about_to_end_ends(kernel: Kernel) -> None:
    """Its groups and namespaces are gone while it is not a zombie yet: a moment that only the flag shows."""
    child = subprocess.Popen(["sleep", "60"])
    start = kernel.start_time(child.pid) or 0
    text = Path(f"/proc/{child.pid}/stat").read_bytes()
    head, _, rest = text.rpartition(b")")
    words = rest.split()
    words[6] = b"%d" % (int(words[6]) | 4)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(process, "_stat", lambda pid: head + b") " + b" ".join(words))
        assert kernel.process_state(child.pid, start) in ("S", "R", "D") and kernel.ends(child.pid, start)
    assert not kernel.ends(child.pid, start)
    child.kill()
    assert child.wait() == -signal.SIGKILL


def test_end_process(kernel: Kernel) -> None:
    child = subprocess.Popen(["sleep", "60"])
    assert kernel.end_process(os.pidfd_open(child.pid)) is True
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)
    child.returncode = 0


def exec_op(*words: str) -> Op:
    return Op(abi.OP_EXEC, s1=b"".join(os.fsencode(w) + b"\0" for w in words), s2=b"PATH=/bin:/usr/bin\0")


def test_child(kernel: Kernel) -> None:
    ops = [Op(abi.OP_UNAME), Op(abi.OP_BARRIER, a=1), exec_op("sh", "-c", "exit 7")]
    before = set(os.listdir("/proc/self/fd"))
    child = kernel.spawn(ops)
    assert child.start_time == kernel.start_time(child.pid)
    report = child.receive(10)
    assert report is not None and (report.kind, report.index) == (abi.REPORT_DATA, 0)
    assert report.data.split(b"\0")[0] == os.uname().nodename.encode()
    report = child.receive(10)
    assert report is not None and (report.kind, report.index) == (abi.REPORT_BARRIER, 1)
    with fails(errno.ETIMEDOUT):
        child.receive(0.01)
    child.go()
    assert child.receive(10) is None and child.wait() == 7 and child.wait() == 7
    child.close()
    assert kernel.acts == 2
    after = set(os.listdir("/proc/self/fd"))
    assert len(after) - len(before) <= 1     # the interpreter's memfd is kept


def test_child_kill_and_parent_death(kernel: Kernel) -> None:
    child = kernel.spawn([Op(abi.OP_BARRIER, a=1)])
    pid, start = child.pid, child.start_time
    child.kill()
    child.kill()
    assert kernel.process_state(pid, start) is None
    child = kernel.spawn([exec_op("sleep", "60")])
    assert child.receive(10) is None
    child.close()
    child.kill()
    assert kernel.process_state(child.pid, child.start_time) is None
    child = kernel.spawn([Op(abi.OP_BARRIER, a=1)])
    pidfd, control = child.detach()
    os.close(control)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)     # it does not outlive its parent's end of the socket
    os.close(pidfd)


@requires("root")
def test_fork(kernel: Kernel) -> None:
    inside = os.open("/proc/self/ns/pid", os.O_RDONLY)
    ops = [Op(abi.OP_SETNS, slot=0, a=abi.CLONE_NEWPID), Op(abi.OP_FORK), Op(abi.OP_BARRIER, a=1),
           exec_op("true")]
    child = kernel.spawn(ops, (inside,))
    os.close(inside)
    first = child.pid
    report = child.receive(10)
    assert report is not None and report.kind == abi.REPORT_FORK
    assert child.pid not in (first, -1) and child.start_time == kernel.start_time(child.pid)
    with pytest.raises(ChildProcessError):
        os.waitpid(first, os.WNOHANG)
    report = child.receive(10)
    assert report is not None and report.kind == abi.REPORT_BARRIER
    child.go()
    assert child.receive(10) is None and child.wait() == 0
    child.close()


def test_run_table(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("text")
    ops = [Op(abi.OP_READ, s1=f"{tmp_path}/f".encode(), a=100), Op(abi.OP_READ, s1=b"/none", a=100)]
    first, second = kernel.run_table(ops)
    assert (first.index, first.error, first.data) == (0, 0, b"text")
    assert (second.index, second.error, second.data) == (1, errno.ENOENT, b"")
    assert kernel.acts == 1
    before, family = set(os.listdir("/proc/self/fd")), children()
    with fails(errno.ENOENT) as caught:
        kernel.run_table([Op(abi.OP_OPEN, slot=0, s1=b"/none/at/all")])
    assert (caught.value.call, caught.value.path) == ("open", "/none/at/all")
    with fails(errno.EPROTO):
        kernel.run_table([Op(abi.OP_BARRIER)])
    with fails(errno.ETIMEDOUT):
        fifo = f"{tmp_path}/fifo"
        os.mkfifo(fifo)
        kernel.run_table([Op(abi.OP_OPEN, slot=0, s1=fifo.encode())], timeout=0.1)
    assert set(os.listdir("/proc/self/fd")) == before and kernel.acts == 7
    assert not children() - family


def test_stat_inside(kernel: Kernel) -> None:
    found = kernel.stat_inside(os.getpid(), "/dev/null")
    assert found is not None and found.st_rdev == os.makedev(1, 3)
    assert kernel.stat_inside(os.getpid(), "/none") is None


# cgroups

@pytest.fixture(params=["v1", "v2"])
def groups(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Fresh cgroups: freezer and pids on v1, or one on v2."""
    tops = [place for kind, place, options in cgroup_mounts()
            if (kind == "cgroup2" if request.param == "v2"
                else kind == "cgroup" and {"freezer", "pids"} & set(options.split(",")))]
    if not tops:
        pytest.skip(f"no cgroup {request.param} here")
    paths = [f"{top}/runspec-test-{os.getpid()}" for top in tops]
    for path in paths:
        os.makedirs(f"{path}/inner")
    yield paths
    for path in paths:
        for one in (f"{path}/inner", path):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(one)


BOMB = "import os, time\nfor _ in range(5): os.fork()\nwhile True: time.sleep(1)"


@requires("root")
@pytest.mark.parametrize("frozen", [False, True])
def test_kill_cgroup(kernel: Kernel, groups: list[str], frozen: bool) -> None:
    child = subprocess.Popen([sys.executable, "-P", "-c", BOMB], stdin=subprocess.PIPE, start_new_session=True,
                             preexec_fn=lambda: [Path(f"{one}/inner/cgroup.procs").write_text("0")
                                                 for one in groups])
    end = time.monotonic() + 20
    while len(kernel.cgroup_procs(f"{groups[0]}/inner")) < 32 and time.monotonic() < end:
        time.sleep(0.02)
    pids = kernel.cgroup_procs(f"{groups[0]}/inner")
    assert child.pid in pids and len(pids) == 32
    if frozen:
        for path in groups:
            for name, word in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
                if os.path.exists(f"{path}/inner/{name}"):
                    Path(f"{path}/{name}").write_text(word)
    assert kernel.kill_cgroup([*groups, f"{groups[0]}/none"]) == set()
    assert child.wait(5) == -signal.SIGKILL
    for path in groups:
        assert kernel.remove_dir(path, wait=True) is True and not os.path.exists(path)
        assert kernel.remove_dir(path, wait=True) is False


@requires("root")
def test_own_process_is_spared(kernel: Kernel) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    assert kernel.kill_cgroup(["/sys/fs/cgroup/none"]) == set()
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


DENY = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)     # r0 = 0; exit
ALLOW = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)


@requires("root")
def test_device_program(kernel: Kernel) -> None:
    top = next((place for kind, place, _ in cgroup_mounts() if kind == "cgroup2"), "")
    if not top:
        pytest.skip("no cgroup2 here")
    path = f"{top}/runspec-test-{os.getpid()}"
    os.mkdir(path)
    try:
        try:
            assert kernel.device_program_tags(path) == []
        except SyscallError as error:
            pytest.skip(f"no device programs here: {error}")
        kernel.attach_device_program(path, DENY)
        (deny,) = kernel.device_program_tags(path)
        probe = f"echo 0 >{path}/cgroup.procs && head -c1 /dev/zero >/dev/null"
        assert subprocess.run(["sh", "-c", probe], capture_output=True).returncode != 0
        kernel.attach_device_program(path, ALLOW)
        (allow,) = kernel.device_program_tags(path)
        assert allow != deny and kernel.acts == 2
        assert subprocess.run(["sh", "-c", probe], capture_output=True).returncode == 0
        kernel.detach_device_programs(path)
        assert kernel.device_program_tags(path) == []
        with fails(errno.EINVAL):
            kernel.attach_device_program(path, b"\0" * 8)
        assert kernel.device_program_tags(path) == []
    finally:
        kernel.remove_dir(path, wait=True)


# netlink

NET = """
import struct
from runspec import abi
from runspec.errors import SyscallError
from runspec.kernel import Kernel
from runspec.kernel.sockets import parse_messages
k = Kernel()
def attr(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)
def message(kind, flags, body):
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body
REQ = abi.NLM_F_REQUEST | abi.NLM_F_ACK
def bridge(name):
    return message(abi.RTM_NEWLINK, REQ | abi.NLM_F_CREATE | abi.NLM_F_EXCL, bytes(16)
                   + attr(abi.IFLA_IFNAME, name + b"\\0")
                   + attr(abi.IFLA_LINKINFO, attr(abi.IFLA_INFO_KIND, b"bridge")))
def name_it(name, alias):   # the kernel takes no alias while it makes a link
    return message(abi.RTM_NEWLINK, REQ, bytes(16) + attr(abi.IFLA_IFNAME, name + b"\\0")
                   + attr(abi.IFLA_IFALIAS, alias))
def delete(name):
    return message(abi.RTM_DELLINK, REQ, bytes(16) + attr(abi.IFLA_IFNAME, name + b"\\0"))
def errno(act):
    try:
        act()
    except SyscallError as error:
        return error.errno
    return 0
assert k.link_index("d0") is None and k.link_alias("d0") is None
k.netlink(bridge(b"d0") + bridge(b"d1") + name_it(b"d1", b"ours"), "links")
assert k.acts == 1
assert k.link_index("d0") > 1 and k.link_alias("d1") == "ours" and k.link_alias("lo") == ""
assert k.link_alias("n" * 40) is None
assert errno(lambda: k.netlink(bridge(b"d0"), "d0")) == 17
k.netlink(bridge(b"d0"), "d0", ignore=17)
for i in range(300):
    k.netlink(bridge(b"many%d" % i), "many")
found = [m for data in k.dump(message(abi.RTM_GETLINK, abi.NLM_F_REQUEST | abi.NLM_F_DUMP, bytes(16)))
         for m in parse_messages(data) if m[0] == abi.RTM_NEWLINK]
assert len(found) == 303, len(found)
k.netlink(delete(b"d0"), "d0")
assert errno(lambda: k.netlink(delete(b"d0"), "d0")) == 19
k.netlink(delete(b"d0"), "d0", ignore=19)
bad = message(abi.RTM_NEWLINK, REQ | abi.NLM_F_CREATE,
              bytes(16) + attr(abi.IFLA_LINKINFO, attr(abi.IFLA_INFO_KIND, b"nosuch")))
try:
    k.netlink(bad, "nosuch")
except SyscallError as error:
    assert error.errno == 95 and "Unknown device type" in error.why, (error.errno, error.why)
else:
    raise AssertionError
print("passed")
"""


@requires("root")
def test_netlink() -> None:
    done = subprocess.run(["unshare", "-n", sys.executable, "-P", "-c", NET], env={**os.environ, **ENV},
                          capture_output=True)
    assert done.stdout == b"passed\n", done.stderr.decode()


@pytest.mark.parametrize("length", [0, 15, 17, 2**16, 2**32 - 1])
def test_netlink_lengths(length: int) -> None:
    with pytest.raises(ValueError):
        parse_messages(struct.pack("=IHHII", length, 16, 0, 1, 0))


def test_light() -> None:
    code = ("import sys; from runspec.kernel import Kernel; from runspec.run.store import Store;"
            "from runspec.run import journal; from runspec.spec import jsonlite; Kernel();"
            "print({'re', 'json', 'typing', 'enum', 'pathlib', 'subprocess', 'dataclasses', 'socket',"
            "       'signal', 'hashlib', 'yaml', 'jsonschema', 'pyroute2'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-P", "-S", "-c", code], env=ENV, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
