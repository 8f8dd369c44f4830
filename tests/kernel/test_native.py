"""The interpreter on the real kernel: its start, the dialogue, and every op that a hostile image tries."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import BUSYBOX, IN_ROOT, PRIVATE_MOUNTS, Run, children, error, output, run, shell

from runspec import abi
from runspec.abi import Op
from runspec.errors import SyscallError
from runspec.kernel import native, table

pytestmark = pytest.mark.requires("root", "busybox")
BARRIER, UNAME = Op(abi.OP_BARRIER), Op(abi.OP_UNAME)


def wait_for(path: str, text: str) -> None:
    end = time.monotonic() + 5
    while text not in Path(path).read_text() and time.monotonic() < end:
        time.sleep(0.005)
    assert text in Path(path).read_text()


def slot_of(path: Path) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory that plays the image, beside one that plays the host."""
    (tmp_path / "root").mkdir()
    (tmp_path / "host").mkdir()
    return tmp_path / "root"


# Start


def test_dialogue() -> None:
    with Run([BARRIER, UNAME, BARRIER]) as child:
        kinds = [(report.kind, report.index) for report in child.reports()]
        assert kinds == [
            (abi.REPORT_BARRIER, 0),
            (abi.REPORT_DATA, 1),
            (abi.REPORT_BARRIER, 2),
            (abi.REPORT_DONE, 3),
        ]
        assert child.end() == 0


def test_exe_is_the_memfd_and_memory_is_its_own() -> None:
    with Run([BARRIER]) as child:
        assert next(child.reports()).kind == abi.REPORT_BARRIER
        assert os.readlink(f"/proc/{child.pid}/exe").startswith("/memfd:runspec")
        assert "python" not in Path(f"/proc/{child.pid}/maps").read_text()
        assert Path(f"/proc/{child.pid}/environ").read_bytes() == b""
        fds = sorted(map(int, os.listdir(f"/proc/{child.pid}/fd")))
        assert fds == [0, 1, 2, 3]
        with pytest.raises(OSError, match=r"Text file busy|Operation not permitted|Permission denied"):
            os.close(os.open(f"/proc/{child.pid}/exe", os.O_WRONLY))


def test_child_ends_when_the_parent_hangs_up() -> None:
    child = Run([BARRIER, shell("true")])
    assert next(child.reports()).kind == abi.REPORT_BARRIER
    assert os.WEXITSTATUS(child.end()) == 1


@pytest.mark.parametrize(
    "flags",
    [
        0,
        abi.CLONE_NEWUSER,
        abi.CLONE_NEWPID,
        abi.CLONE_NEWUSER | abi.CLONE_NEWPID,
        abi.CLONE_NEWNS | abi.CLONE_NEWNET | abi.CLONE_NEWUTS | abi.CLONE_NEWIPC | abi.CLONE_NEWCGROUP,
    ],
)
def test_born_in_namespaces(flags: int) -> None:
    with Run([BARRIER], flags=flags) as child:
        assert next(child.reports()).kind == abi.REPORT_BARRIER
        for name, flag in (("user", abi.CLONE_NEWUSER), ("pid", abi.CLONE_NEWPID), ("net", abi.CLONE_NEWNET)):
            differs = os.readlink(f"/proc/{child.pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
            assert differs == bool(flags & flag)


def test_no_descriptor_is_inherited() -> None:
    leak = os.open("/etc", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        got = output([shell("ls /proc/self/fd; readlink /proc/self/fd/*")], slots=(leak, leak))
    finally:
        os.close(leak)
    # 3 is what ls itself opens; the shell's glob is its own.
    assert got.split()[:4] == ["0", "1", "2", "3"] and "/etc" not in got and "socket" not in got


def test_slots_arrive_in_order_however_they_are_numbered() -> None:
    """Descriptors are handed over whose numbers are those that others must move to."""
    script = """
import fcntl, os, sys
from runspec import abi
from runspec.abi import Op
from runspec.kernel import native, table
count = 12
native.init_fd()
made = [os.memfd_create(str(i)) for i in range(count)]
for i, fd in enumerate(made):
    os.write(fd, b"slot %d" % i)
# Reversed over 3.., so that each lies where another one goes.
high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in made]
for fd in made:
    os.close(fd)
fds = [os.dup2(fd, 10 + count - 1 - i, inheritable=False) for i, fd in enumerate(high)]
ops = []
for i in range(count):
    path = b"/proc/self/fd/%d" % (10 + i)
    ops += [Op(abi.OP_OPEN, slot=40, s1=path, a=abi.O_RDONLY), Op(abi.OP_READ, dir=40, a=50)]
data = table.memfd(table.pack(ops, count))
pid, pidfd, control = native.spawn(data, fds)
while (report := native.receive(control)) is not None:
    print(report.data.decode(), report.error)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.splitlines()[:12] == [f"slot {i} 0" for i in range(12)], done.stderr


def test_closed_stdin_becomes_null() -> None:
    script = f"""
import os, sys
os.close(0)
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from children import output, shell
print(output([shell("readlink /proc/self/fd/0")]), end="")
"""
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "/dev/null\n", done.stderr


def test_spawn_errors_come_back_as_errno() -> None:
    fd = table.memfd(table.pack([]))
    try:
        before, family = len(os.listdir("/proc/self/fd")), children()
        for slots, flags, cgroup, init, wanted in (
            ((9999,), 0, -1, -1, errno.EBADF),
            ((), abi.CLONE_NEWTIME, -1, -1, errno.EINVAL),
            ((), 0, 9999, -1, errno.EBADF),
            ((), 0, -1, fd, errno.EACCES),
            ((fd,) * 65, 0, -1, -1, errno.EINVAL),
        ):
            with pytest.raises(SyscallError) as caught:
                native.spawn(fd, slots, flags, cgroup, init=init)
            assert caught.value.errno in (wanted, errno.ENOEXEC)
        assert len(os.listdir("/proc/self/fd")) == before
        assert not children() - family
    finally:
        os.close(fd)


def test_unsealed_table_is_refused() -> None:
    fd = os.memfd_create("open")
    os.write(fd, table.pack([UNAME]))
    pid, pidfd, control = native.spawn(fd)
    report = native.receive(control, 10_000)
    assert report is not None and (report.kind, report.error) in (
        (abi.REPORT_ERROR, errno.EPERM),
        (abi.REPORT_ERROR, errno.EINVAL),
    )
    os.waitpid(pid, 0)
    for one in (fd, pidfd, control):
        os.close(one)


def test_trace_shows_one_execve_of_the_memfd_before_the_program(tmp_path: Path) -> None:
    if not os.path.exists("/usr/bin/strace"):
        pytest.skip("needs strace")
    script = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from children import *
print(output([Op(abi.OP_UNSHARE, a=abi.CLONE_NEWNS | abi.CLONE_NEWNET), Op(abi.OP_SETSID), shell("echo in")]))
"""
    trace = tmp_path / "trace"
    done = subprocess.run(
        ["strace", "-f", "-o", trace, sys.executable, "-P", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "in" in done.stdout, done.stderr
    lines = trace.read_text().splitlines()
    [start] = [n for n, line in enumerate(lines) if "clone3(" in line and "CLONE_VFORK" in line]
    parent = lines[start].split()[0]
    child = next(line.split()[0] for line in lines[start + 1 :] if line.split()[0] != parent)
    calls = [
        line.split(None, 1)[1].split("(")[0] for line in lines if line.startswith(child + " ") and "(" in line
    ]
    assert [call for call in calls if call.startswith("exec")] == ["execveat", "execve"]
    first = calls.index("execveat")
    allowed = {"fcntl", "dup3", "close_range", "openat", "rt_sigprocmask", "execveat", "<... clone3 resumed>"}
    assert set(calls[:first]) <= allowed
    assert calls.index("unshare") > first
    assert not {"fork", "vfork", "clone"} & {line.split(None, 1)[1].split("(")[0] for line in lines[start:]}


def test_signals_are_blocked_for_nobody() -> None:
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    ignored = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        got = output([Op(abi.OP_EXEC, s1=b"/bin/busybox\0grep\0^Sig\0/proc/self/status\0")])
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= {signal.SIGUSR1, signal.SIGTERM}
    finally:
        signal.signal(signal.SIGUSR2, ignored)
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    masks = dict(line.split(":\t") for line in got.splitlines())
    assert int(masks["SigBlk"], 16) == int(masks["SigIgn"], 16) == int(masks["SigCgt"], 16) == 0


# Ops: failures, data, descriptors


def test_a_failing_op_reports_index_and_errno() -> None:
    assert error([UNAME, UNAME, Op(abi.OP_OPEN, slot=0, s1=b"/nowhere", a=abi.O_RDONLY)]) == (2, errno.ENOENT)
    assert error([Op(abi.OP_CLOSE, slot=9)]) == (0, errno.EBADF)
    assert error([Op(abi.OP_SETNS, slot=0, a=abi.CLONE_NEWNET)], slots=(0,))[0] == 0
    assert error([Op(abi.OP_SETHOSTNAME, s1=b"x" * 65)]) == (0, errno.EINVAL)
    assert error([Op(abi.OP_DUP, slot=0, a=7)], slots=(0,)) == (0, errno.EINVAL)


def test_ignore_next_leaps() -> None:
    missing = Op(abi.OP_OPEN, slot=0, s1=b"/nowhere", a=abi.O_RDONLY)
    reports = run(
        [Op(abi.OP_IGNORE_NEXT, a=2), missing, Op(abi.OP_CLOSE, slot=0), Op(abi.OP_CLOSE, slot=0), UNAME]
    )
    assert [(one.kind, one.index, one.error) for one in reports] == [
        (abi.REPORT_DATA, 1, errno.ENOENT),
        (abi.REPORT_DATA, 4, 0),
        (abi.REPORT_DONE, 5, 0),
    ]
    assert run([Op(abi.OP_IGNORE_NEXT, a=2**63), missing, missing])[-1].kind == abi.REPORT_DONE
    assert [one.kind for one in run([Op(abi.OP_IGNORE_NEXT), UNAME])] == [abi.REPORT_DATA, abi.REPORT_DONE]


def test_read_and_write(tmp_path: Path) -> None:
    file = bytes(tmp_path / "file")
    reports = run(
        [
            Op(abi.OP_WRITE, s1=file, s2=b"some\0text", a=abi.O_CREAT | abi.O_EXCL, c=0o640),
            Op(abi.OP_READ, s1=file, a=4),
            Op(abi.OP_READ, s1=b"/nowhere", a=4),
        ]
    )
    assert [(one.data, one.error) for one in reports[:2]] == [(b"some", 0), (b"", errno.ENOENT)]
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o640
    assert Path(os.fsdecode(file)).read_bytes() == b"some\0text"
    os.symlink(file, tmp_path / "link")
    assert error([Op(abi.OP_WRITE, s1=bytes(tmp_path / "link"), s2=b"x")]) == (0, errno.ELOOP)


def test_descriptor_comes_back() -> None:
    report = run(
        [
            Op(abi.OP_UNSHARE, a=abi.CLONE_NEWNET),
            Op(abi.OP_OPEN, slot=1, s1=b"/proc/self/ns/net", a=abi.O_RDONLY),
            Op(abi.OP_SEND_FD, slot=1),
        ]
    )[0]
    assert report.kind == abi.REPORT_FD and report.fd >= 0 and not os.get_inheritable(report.fd)
    assert os.fstat(report.fd).st_ino != os.stat("/proc/self/ns/net").st_ino
    os.close(report.fd)


def test_fork_goes_on_in_a_sibling_inside_the_pid_namespace() -> None:
    with Run(
        [Op(abi.OP_UNSHARE, a=abi.CLONE_NEWPID), Op(abi.OP_FORK), BARRIER, shell("echo $$; exit 7")],
        stdout=-1,
    ) as child:
        stream = child.reports()
        report = next(stream)
        assert report.kind == abi.REPORT_FORK and report.fd >= 0
        pid = int.from_bytes(report.data, sys.byteorder)
        assert next(stream).kind == abi.REPORT_BARRIER
        assert Path(f"/proc/{pid}/status").read_text().split("NSpid:")[1].split()[:2] == [str(pid), "1"]
        assert list(stream) == []
        assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 7
        os.close(report.fd)
        assert child.end() == 0


def test_setns_by_pidfd() -> None:
    with Run(
        [
            Op(abi.OP_UNSHARE, a=abi.CLONE_NEWUTS),
            Op(abi.OP_SETHOSTNAME, s1=b"inner"),
            Op(abi.OP_SETDOMAINNAME, s1=b"dom"),
            BARRIER,
        ]
    ) as child:
        assert next(child.reports()).kind == abi.REPORT_BARRIER
        assert (
            run([Op(abi.OP_SETNS, slot=0, a=abi.CLONE_NEWUTS), UNAME], slots=(child.pidfd,))[0].data
            == b"inner\0dom\0"
        )
    assert socket.gethostname() != "inner"


# Ops: EXEC


def test_exec_failure_is_reported() -> None:
    for words, path, wanted in (
        (b"/nowhere\0", b"", errno.ENOENT),
        (b"nowhere\0", b"PATH=/bin:/usr/bin\0", errno.ENOENT),
        (b"/etc/passwd\0", b"", errno.EACCES),
        (b"passwd\0", b"PATH=/etc:/nowhere\0", errno.EACCES),
        (b"sh\0", b"PATH=/etc/passwd\0", errno.ENOENT),
        (b"\0", b"", errno.ENOENT),
    ):
        assert error([UNAME, Op(abi.OP_EXEC, s1=words, s2=path)]) == (1, wanted), (words, path)


def test_exec_searches_path_of_the_new_environment(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tool").write_text("not executable")
    (tmp_path / "tool").symlink_to(BUSYBOX)
    search = f"PATH=/nowhere:{tmp_path}/a:{tmp_path}".encode()
    for name in ("tool",):
        got = run([Op(abi.OP_EXEC, s1=name.encode() + b"\0", s2=search + b"\0")])
        assert got == []  # found and executed
    assert output([Op(abi.OP_EXEC, s1=b"env\0", s2=b"A=1\0B=\0")]) == "A=1\nB=\n"


def test_umask_is_the_programs_only(root: Path) -> None:
    fd = slot_of(root)
    got = output(
        [Op(abi.OP_UMASK, a=0o077), Op(abi.OP_MKDIR, slot=1, dir=0, s1=b"open", a=0o1777), shell("umask")],
        slots=(fd,),
    )
    os.close(fd)
    assert got == "0077\n" and stat.S_IMODE((root / "open").stat().st_mode) == 0o1777
    old = os.umask(0o027)
    try:
        assert output([shell("umask")]) == "0027\n"
    finally:
        os.umask(old)


def test_ids_limits_and_capabilities() -> None:
    some = 1 << abi.CAPS["CAP_KILL"] | 1 << abi.CAPS["CAP_CHOWN"]
    got = output(
        [
            Op(abi.OP_RLIMIT, a=abi.RLIMIT_NOFILE, b=100, c=200),
            Op(abi.OP_SETGROUPS, s1=struct.pack("3I", 7, 8, 70000)),
            Op(abi.OP_BOUNDING, a=some),
            Op(abi.OP_PRCTL, a=abi.PR_SET_KEEPCAPS, b=1),
            Op(abi.OP_SETGID, a=12),
            Op(abi.OP_SETUID, a=11),
            Op(abi.OP_CAPSET, a=some, b=some, c=some),
            Op(abi.OP_AMBIENT, a=1 << abi.CAPS["CAP_KILL"]),
            Op(abi.OP_PRCTL, a=abi.PR_SET_NO_NEW_PRIVS, b=1),
            Op(abi.OP_CHDIR, s1=b"/"),
            Op(abi.OP_EXEC, s1=b"/bin/busybox\0cat\0/proc/self/status\0/proc/self/limits\0"),
        ]
    )
    rows = dict(line.split(":", 1) for line in got.splitlines() if ":" in line)
    assert (
        rows["Uid"].split() == ["11"] * 4
        and rows["Gid"].split() == ["12"] * 4
        and rows["Groups"].split() == ["7", "8", "70000"]
    )
    assert int(rows["CapBnd"], 16) == int(rows["CapInh"], 16) == some
    assert int(rows["CapAmb"], 16) == int(rows["CapEff"], 16) == 1 << abi.CAPS["CAP_KILL"]
    assert rows["NoNewPrivs"].strip() == "1"
    assert next(line for line in got.splitlines() if line.startswith("Max open files")).split()[3:5] == [
        "100",
        "200",
    ]


# Ops: files below a hostile root


def test_mkdir_makes_each_step_below_the_root(root: Path) -> None:
    fd = slot_of(root)
    (root / "real").mkdir()
    (root / "abs").symlink_to("/real")
    (root / "up").symlink_to("../../../../real")
    ops = [
        Op(abi.OP_MKDIR, slot=n, dir=0, s1=path, a=0o750)
        for n, path in enumerate((b"/a/b/c", b"a//b/./d", b"abs/in1", b"up/in2", b"../../esc", b"/"), 1)
    ]
    assert run(ops, slots=(fd,))[-1].kind == abi.REPORT_DONE
    os.close(fd)
    assert all((root / name).is_dir() for name in ("a/b/c", "a/b/d", "real/in1", "real/in2", "esc"))
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o750
    assert os.listdir(root.parent / "host") == []


def test_hostile_symlinks_never_lead_out(root: Path) -> None:
    fd, host = slot_of(root), root.parent / "host"
    (root / "abs").symlink_to(host)
    (root / "rel").symlink_to("../host")
    (root / "proc").symlink_to("/proc/self/root")
    (root / "file").symlink_to(host / "made")
    (root / "loop").symlink_to("loop")
    (root / "plain").write_text("")
    for make in (abi.OP_MKDIR, abi.OP_MKFILE):
        for path, wanted in (
            (b"abs/x", errno.ELOOP),
            (b"rel/x", errno.ELOOP),
            (b"proc/x", errno.ELOOP),
            (b"loop/x", errno.ELOOP),
            (b"plain/x", errno.ENOTDIR),
            (b"n%d/../x" % make, errno.EINVAL),
        ):
            assert error([Op(make, slot=1, dir=0, s1=path, a=0o644)], slots=(fd,)) == (0, wanted), path
    assert error([Op(abi.OP_MKFILE, slot=1, dir=0, s1=b"file", a=0o644)], slots=(fd,)) == (0, errno.ELOOP)
    assert error([Op(abi.OP_MKDIR, slot=1, dir=0, s1=b"plain", a=0o644)], slots=(fd,)) == (0, errno.ENOTDIR)
    assert error([Op(abi.OP_MKFILE, slot=1, dir=0, s1=b"n16", a=0o644)], slots=(fd,)) == (0, errno.EISDIR)
    os.close(fd)
    assert os.listdir(host) == []


def test_no_symlink_at_all_where_asked(root: Path) -> None:
    fd = slot_of(root)
    (root / "real").mkdir()
    (root / "real" / "file").write_text("")
    (root / "link").symlink_to("real")
    (root / "real" / "flink").symlink_to("file")
    for make, path in (
        (abi.OP_MKDIR, b"link"),
        (abi.OP_MKDIR, b"link/x"),
        (abi.OP_MKFILE, b"link/x"),
        (abi.OP_MKFILE, b"real/flink"),
    ):
        assert error([Op(make, slot=1, dir=0, s1=path, a=0o644, b=1)], slots=(fd,)) == (0, errno.ELOOP), path
    assert (
        run([Op(abi.OP_MKFILE, slot=1, dir=0, s1=b"real/flink", a=0o644)], slots=(fd,))[-1].kind
        == abi.REPORT_DONE
    )
    assert (
        run([Op(abi.OP_MKFILE, slot=1, dir=0, s1=b"x/y/z", a=0o604, b=1)], slots=(fd,))[-1].kind
        == abi.REPORT_DONE
    )
    os.close(fd)
    assert stat.S_IMODE((root / "x/y/z").stat().st_mode) == 0o604


def test_nodes_symlinks_remove_and_null(root: Path) -> None:
    fd = slot_of(root)
    made = [
        Op(abi.OP_MKNOD, dir=0, s1=b"null", a=stat.S_IFCHR | 0o666, b=os.makedev(1, 3), c=5 | 6 << 32),
        Op(abi.OP_SYMLINK, dir=0, s1=b"fd", s2=b"/proc/self/fd"),
        Op(abi.OP_SYMLINK, dir=0, s1=b"fd", s2=b"/other"),
    ]
    assert (
        run(
            made
            + made
            + [Op(abi.OP_OPEN, slot=1, dir=0, s1=b"null", a=abi.O_PATH), Op(abi.OP_CHECK_NULL, slot=1)],
            slots=(fd,),
        )[-1].kind
        == abi.REPORT_DONE
    )
    seen = (root / "null").lstat()
    assert (seen.st_rdev, seen.st_uid, seen.st_gid, stat.S_IMODE(seen.st_mode)) == (
        os.makedev(1, 3),
        5,
        6,
        0o666,
    )
    assert os.readlink(root / "fd") == "/proc/self/fd"
    assert error(
        [Op(abi.OP_MKNOD, dir=0, s1=b"fd", a=stat.S_IFCHR | 0o666, b=os.makedev(1, 3))], slots=(fd,)
    ) == (0, errno.EEXIST)
    assert error([Op(abi.OP_CHECK_NULL, slot=0)], slots=(fd,)) == (0, errno.ENODEV)
    assert run([Op(abi.OP_REMOVE, dir=0, s1=b"fd")], slots=(fd,))[-1].kind == abi.REPORT_DONE
    os.close(fd)
    assert not os.path.lexists(root / "fd")


# Ops: mounts, in the child's own namespace


def mounted(where: str, slot: int) -> list[Op]:
    """A tmpfs by descriptor on the directory in slot 59."""
    return [
        Op(abi.OP_OPEN, slot=59, s1=where.encode(), a=abi.O_PATH),
        Op(abi.OP_FSOPEN, slot=58, s1=b"tmpfs"),
        Op(abi.OP_FSCONFIG, slot=58, a=abi.FSCONFIG_SET_STRING, s1=b"size", s2=b"1m"),
        Op(abi.OP_FSCONFIG, slot=58, a=abi.FSCONFIG_CMD_CREATE),
        Op(abi.OP_FSMOUNT, slot=slot, dir=58, a=abi.MOUNT_ATTR_NOSUID),
        Op(abi.OP_MOVE_MOUNT, slot=slot, dir=59),
    ]


def test_pivot_leaves_nothing_of_the_host(root: Path) -> None:
    ops = [
        *PRIVATE_MOUNTS,
        *mounted(str(root), 1),
        Op(abi.OP_MKDIR, slot=2, dir=1, s1=b"proc", a=0o755, b=1),
        Op(abi.OP_MKFILE, slot=3, dir=1, s1=b"bin/busybox", a=0o755, b=1),
        Op(abi.OP_OPEN_TREE, slot=4, s1=BUSYBOX.encode(), a=abi.OPEN_TREE_CLONE),
        Op(abi.OP_MOVE_MOUNT, slot=4, dir=3),
        Op(abi.OP_FSOPEN, slot=5, s1=b"proc"),
        Op(abi.OP_FSCONFIG, slot=5, a=abi.FSCONFIG_CMD_CREATE),
        Op(abi.OP_FSMOUNT, slot=6, dir=5),
        Op(abi.OP_MOVE_MOUNT, slot=6, dir=2),
        Op(abi.OP_PIVOT, slot=1),
        Op(abi.OP_CHDIR, s1=b"/srv/dir", a=1),
        shell(
            "b() { /bin/busybox \"$@\"; }; b pwd; b ls /; b cut -d' ' -f5 /proc/self/mountinfo"
        ),
    ]
    assert output(ops).split() == ["/srv/dir", "bin", "proc", "srv", "/", "/bin/busybox", "/proc"]


def test_chdir_outside_the_root_is_refused(tmp_path: Path) -> None:
    fd = slot_of(tmp_path)
    ops = [
        *PRIVATE_MOUNTS,
        *mounted(str(tmp_path), 1),
        Op(abi.OP_PIVOT, slot=1),
        Op(abi.OP_CHDIR, s1=b"/proc/self/fd/10"),
    ]
    assert error(ops, slots=(fd,))[1] in (errno.ENOENT, errno.EACCES)
    os.close(fd)


def test_mask_readonly_and_umount(root: Path) -> None:
    for name in ("secret", "secret2", "fixed", "m"):
        (root / name).mkdir()
        (root / name / "file").write_text("x")
    (root / "key").write_text("x")
    (root / "null-link").symlink_to("../host")
    place = str(root)
    ops = [
        *PRIVATE_MOUNTS,
        Op(abi.OP_OPEN, slot=1, s1=b"/dev/null", a=abi.O_PATH),
        Op(abi.OP_CHECK_NULL, slot=1),
        Op(abi.OP_OPEN, slot=2, s1=place.encode(), a=abi.O_PATH),
        *(
            Op(abi.OP_MASK, slot=1, dir=2, s1=path)
            for path in (b"/secret", b"secret2", b"key", b"missing", b"key/below", b"null-link")
        ),
        Op(abi.OP_READONLY, dir=2, s1=b"fixed"),
        Op(abi.OP_READONLY, dir=2, s1=b"missing"),
        *mounted(f"{place}/m", 3),
        Op(abi.OP_CLOSE, slot=3),
        Op(abi.OP_CLOSE, slot=59),
        Op(abi.OP_CLOSE, slot=58),
        Op(abi.OP_UMOUNT, dir=2, s1=b"m"),
        shell(
            f"cd {place}; ls secret secret2 m; wc -c < key;"
            "for i in secret fixed m; do echo $i > $i/x; done; cat m/x"
        ),
    ]
    got = output(ops)
    assert got.split() == ["m:", "file", "secret:", "secret2:", "0", "m"]
    assert not (root / "secret/x").exists() and not (root / "fixed/x").exists()
    assert place not in Path("/proc/self/mountinfo").read_text()


def test_umount_does_not_follow(root: Path) -> None:
    (root / "link").symlink_to("/proc")
    fd = slot_of(root)
    for path in (b"link", b"link/sys", b"../../proc"):
        assert error([*PRIVATE_MOUNTS, Op(abi.OP_UMOUNT, dir=0, s1=path)], slots=(fd,))[1] in (
            errno.EINVAL,
            errno.ELOOP,
            errno.ENOENT,
        )
    os.close(fd)


def test_idmapped_attribute_needs_the_namespace() -> None:
    assert (
        error(
            [
                *PRIVATE_MOUNTS,
                Op(abi.OP_OPEN_TREE, slot=1, s1=b"/tmp", a=abi.OPEN_TREE_CLONE),
                Op(abi.OP_MOUNT_SETATTR, slot=1, dir=9, a=abi.MOUNT_ATTR_IDMAP),
            ]
        )[1]
        == errno.EBADF
    )


# Ops: netlink, in the child's own namespace


def link(kind: int, flags: int, index: int, up: bool = False, sequence: int = 5) -> bytes:
    body = struct.pack("BxHiII", 0, 0, index, int(up), int(up))
    return struct.pack("IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def test_netlink_set_and_dump() -> None:
    request = abi.NLM_F_REQUEST | abi.NLM_F_ACK
    ops = [
        Op(abi.OP_UNSHARE, a=abi.CLONE_NEWNET),
        Op(abi.OP_NETLINK, s1=link(abi.RTM_NEWLINK, request, 1, up=True)),
        Op(abi.OP_DUMP, s1=link(abi.RTM_GETLINK, abi.NLM_F_REQUEST | abi.NLM_F_DUMP, 0)),
        Op(abi.OP_NETLINK, s1=link(abi.RTM_DELLINK, request, 77), c=errno.ENODEV),
        shell("cat /sys/class/net/lo/flags"),
    ]
    reports = run(ops[:-1])
    datagrams = [report.data for report in reports if report.kind == abi.REPORT_DATA]
    assert datagrams[-1] == b"" and b"lo\0" in datagrams[0]
    assert struct.unpack_from("BxHiI", datagrams[0], 16)[3] & abi.IFF_UP
    assert error([*ops[:3], Op(abi.OP_NETLINK, s1=link(abi.RTM_DELLINK, request, 77))]) == (3, errno.ENODEV)


def test_netlink_that_would_wait_for_ever_is_refused() -> None:
    for bad in (
        b"short",
        link(abi.RTM_GETLINK, abi.NLM_F_REQUEST, 1),
        link(abi.RTM_GETLINK, abi.NLM_F_ACK, 1),
        link(abi.RTM_GETLINK, abi.NLM_F_REQUEST | abi.NLM_F_ACK, 1) + b"tail",
    ):
        assert error([Op(abi.OP_NETLINK, s1=bad)], flags=abi.CLONE_NEWNET) == (0, errno.EBADMSG)


def test_socket_follows_the_namespace() -> None:
    """After UNSHARE the next message goes to the new namespace, where lo is the only link."""
    dump = Op(abi.OP_DUMP, s1=link(abi.RTM_GETLINK, abi.NLM_F_REQUEST | abi.NLM_F_DUMP, 0))
    reports = run([dump, Op(abi.OP_UNSHARE, a=abi.CLONE_NEWNET), dump])
    second = b"".join(report.data for report in reports if report.index == 2)
    assert b"lo\0" in second and b"eth0\0" not in second


# Wrappers


def test_openat2_stays_below(root: Path) -> None:
    fd = slot_of(root)
    (root / "out").symlink_to("/etc/passwd")
    with pytest.raises(SyscallError) as caught:
        native.openat2(fd, "out", os.O_RDONLY, resolve=IN_ROOT)
    assert caught.value.errno == errno.ENOENT and isinstance(caught.value, OSError)
    with pytest.raises(SyscallError):
        native.openat2(fd, "nul\0byte", os.O_RDONLY)
    made = native.openat2(fd, "new", os.O_WRONLY | os.O_CREAT, 0o600, abi.RESOLVE_BENEATH)
    assert not os.get_inheritable(made)
    os.close(made)
    os.close(fd)


def test_receive_times_out() -> None:
    with Run([BARRIER, BARRIER]) as child:
        assert next(child.reports()).kind == abi.REPORT_BARRIER
        with pytest.raises(SyscallError) as caught:
            native.receive(child.control, 20)
        assert caught.value.errno == errno.ETIMEDOUT


def test_bpf_device_program_loads_and_is_told_by_its_tag() -> None:
    def program(result: int) -> bytes:
        """return result."""
        return struct.pack("<BBhi", abi.BPF_ALU64 | abi.BPF_MOV | abi.BPF_K, 0, 0, result) + struct.pack(
            "<BBhi", abi.BPF_JMP | abi.BPF_EXIT, 0, 0, 0
        )

    try:
        fds = [native.bpf_load(program(result), b"runspec_device", abi.BPF_PROG_TYPE_CGROUP_DEVICE)
               for result in (1, 1, 0)]
    except SyscallError as error:
        pytest.skip(f"no device programs here: {error}")
    infos = [native.bpf_info(fd) for fd in fds]
    assert infos[0][1] == infos[1][1] != infos[2][1] and infos[0][2] == b"runspec_device"
    again = native.bpf_open(infos[0][0])
    assert native.bpf_info(again)[0] == infos[0][0]
    for fd in (*fds, again):
        os.close(fd)
    with pytest.raises(SyscallError):
        native.bpf_load(b"\xff" * 8, b"runspec_device", abi.BPF_PROG_TYPE_CGROUP_DEVICE)


@pytest.mark.parametrize("name", ["_native", "_seccomp"])
def test_extensions_load_by_plain_pages(name: str) -> None:
    """No segment asks for more than the others, by which all of the extension would be laid out."""
    [path] = Path(native.__file__).parent.glob(f"{name}.*.so")
    data = path.read_bytes()
    start, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    heads = [struct.unpack_from("<IIQQQQQQ", data, start + i * size) for i in range(count)]
    assert len({head[7] for head in heads if head[0] == 1}) == 1


def test_nobody_waits_for_the_interpreter() -> None:
    """More children at once than there is room for, each with its own descriptors, signals and table."""
    made = []
    for number in range(40):
        slot = os.memfd_create(str(number))
        os.write(slot, b"slot %d" % number)
        fd = table.memfd(table.pack([Op(abi.OP_READ, dir=0, a=50), Op(abi.OP_BARRIER, a=1)], 1))
        os.lseek(slot, 0, os.SEEK_SET)
        made.append(native.spawn(fd, (slot,), abi.CLONE_NEWPID, wait=False))
        os.close(fd)
        os.close(slot)
    for number, (pid, pidfd, control) in enumerate(made):
        report = native.receive(control, 5000)
        assert report is not None and (report.kind, report.data) == (abi.REPORT_DATA, b"slot %d" % number)
        report = native.receive(control, 5000)
        assert report is not None and report.kind == abi.REPORT_BARRIER
        assert "SigBlk:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text()
        os.close(control)
        assert os.waitid(os.P_PIDFD, pidfd, os.WEXITED).si_status == 1      # type: ignore[union-attr]
        os.close(pidfd)


def test_what_fails_on_the_way_is_told() -> None:
    """No program, and a descriptor that is none: told once nobody waits, raised where somebody does."""
    fd = table.memfd(table.pack([]))
    text = native.sealed(b"text", b"no program")
    for init, slots, number in ((text, (), errno.ENOEXEC), (-1, (999,), errno.EBADF)):
        given: dict[str, int] = {} if init < 0 else {"init": init}
        for _ in range(20):
            _, pidfd, control = native.spawn(fd, slots, wait=False, **given)
            report = native.receive(control, 5000)
            assert report is not None
            assert (report.kind, report.index, report.error) == (abi.REPORT_ERROR, abi.TABLE_NO_OP, number)
            assert os.waitid(os.P_PIDFD, pidfd, os.WEXITED).si_status == 127    # type: ignore[union-attr]
            os.close(control)
            os.close(pidfd)
        with pytest.raises(SyscallError) as caught:
            native.spawn(fd, slots, **given)
        assert caught.value.errno == number
    for one in (fd, text):
        os.close(one)
