"""Duties of a runtime that a hole of the field taught; each test fails when its duty is dropped (tests/duties.py)."""

from __future__ import annotations

import ast
import ctypes
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, requires

import runspec
from runspec import abi
from runspec.errors import SyscallError
from runspec.kernel import Kernel, native
from runspec.kernel.table import memfd, pack
from runspec.plan.facts import Facts
from runspec.plan.steps import process as process_steps
from runspec.plan.steps.base import ChildStep, Table
from runspec.run.busybox import is_static
from runspec.spec.model import Linux, Process, Rlimit, Root, Spec

pytestmark = requires("root", "busybox", "nsenter")
PACKAGE = Path(runspec.__file__).parent
HEAD = """\
apiVersion: runspec/v1
name: duty
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]%s}
interfaces: []
"""
USERS = """\
linux:
  namespaces: [{type: user}]
  uidMappings: [{containerID: 0, hostID: 100000, size: 65536}]
  gidMappings: [{containerID: 0, hostID: 100000, size: 65536}]
"""
ADMIN = (", capabilities: {bounding: [CAP_SYS_ADMIN, CAP_DAC_OVERRIDE], effective: [CAP_SYS_ADMIN, CAP_DAC_OVERRIDE], "
         "permitted: [CAP_SYS_ADMIN, CAP_DAC_OVERRIDE]}")
Apply = Callable[..., int]


@pytest.fixture
def apply(cli: Cli, tmp_path: Path) -> Apply:
    """Applies a container; returns the pid of its init."""
    def one(process: str = "", more: str = "") -> int:
        file = tmp_path / "duty.yaml"
        file.write_text(HEAD % process + more)
        cli("apply", "--yes", file)
        return int(json.loads(cli("state", "duty").stdout)["pid"])
    return one


def words(pid: int | str, name: str) -> list[str]:
    """A field of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split()[1:]
    raise KeyError(name)


def session(pid: int) -> int:
    """The session of a process, by its number outside."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])


# -- the program that goes inside ---------------------------------------------------------------------

def test_executable_cannot_be_overwritten(cli: Cli) -> None:
    """runc CVE-2019-5736: what /proc/PID/exe leads to refuses every write, before and after its end."""
    kernel = Kernel()
    child = kernel.spawn([abi.Op(abi.OP_BARRIER, a=1)])
    held = -1
    try:
        assert child.receive(30) is not None
        with pytest.raises(OSError, match="Text file busy"):
            os.open(f"/proc/{child.pid}/exe", os.O_RDWR)
        held = os.open(f"/proc/{child.pid}/exe", os.O_RDONLY)
        assert os.readlink(f"/proc/self/fd/{held}").startswith("/memfd:runspec")
    finally:
        child.kill()
    try:
        # Our own descriptor of it is open for writing, and still nobody can.
        again = os.open(f"/proc/self/fd/{held}", os.O_RDWR)
        with pytest.raises(OSError, match="not permitted"):
            os.write(again, b"evil")
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(again, 0)
        os.close(again)
    finally:
        os.close(held)


def test_nothing_is_loaded_inside() -> None:
    """Moby CVE-2019-14271: the program that joins is static, so that no library of an image can be asked for."""
    data = (PACKAGE / "kernel/native/init").read_bytes()
    assert is_static(data)
    for word in (b"libc.so", b"ld-linux", b"libnss", b"getpw", b"dlopen"):
        assert word not in data, word


def test_sealed_table_only() -> None:
    """The table, too, is a memfd that nobody can change once it is checked."""
    fd = memfd(pack([abi.Op(abi.OP_SETSID)]))
    with pytest.raises(OSError, match="not permitted"):
        os.write(fd, b"x")
    os.close(fd)


@requires("strace")
def test_no_abstract_socket(cli: Cli, apply: Apply, tmp_path: Path) -> None:
    """containerd CVE-2020-15257: nothing of ours listens where a shared network namespace could reach it."""
    (tmp_path / "duty.yaml").write_text(HEAD % "")
    log = tmp_path / "strace"
    done = cli.netns.run("strace", "-f", "-o", log, "-e", "trace=bind,listen,connect", *cli.argv, "validate",
                         tmp_path / "duty.yaml")
    assert done.returncode == 0, done.stderr
    before = Path("/proc/net/unix").read_text().split("@")[1:]
    apply()
    after = Path("/proc/net/unix").read_text().split("@")[1:]
    assert {line.split()[0] for line in after} <= {line.split()[0] for line in before}
    # And in the very process that makes a container, while a child of it waits.
    child = Kernel().spawn([abi.Op(abi.OP_BARRIER, a=1)])
    try:
        assert child._control is not None
        assert child._control.getsockname() in ("", b"") and child._control.getpeername() in ("", b"")
    finally:
        child.kill()


def test_never_setuid() -> None:
    """bubblewrap CVE-2020-5291, LXC's NIC helpers: no file of the installation gives rights to who runs it."""
    files = [Path(sys.executable).with_name("runspec"), *PACKAGE.rglob("*")]
    assert len(files) > 80
    for path in files:
        if path.is_file():
            found = path.stat()
            assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID), path
            assert "security.capability" not in os.listxattr(path), path


# -- what comes along ---------------------------------------------------------------------------------

@pytest.mark.both
def test_sessions_of_their_own(cli: Cli, apply: Apply) -> None:
    """bubblewrap CVE-2017-5226: init and exec share no session, hence no terminal, with who started them."""
    pid = apply()
    assert session(pid) == pid != session(os.getpid())
    hold = cli.popen("exec", "duty", "/bin/sh", "-c", "echo; exec sleep 20")
    assert hold.stdout is not None and hold.stdout.readline() == "\n"
    beside = [int(one) for one in json.loads(cli("ps", "-f", "json", "duty").stdout) if one != pid]
    assert [session(one) for one in beside] == beside
    hold.terminate()
    hold.communicate()


@pytest.mark.both
def test_groups_of_the_caller_stay_outside(cli: Cli, tmp_path: Path) -> None:
    """Supplementary groups: neither init nor exec has the caller's, with and without a user namespace."""
    file = tmp_path / "duty.yaml"
    for more in ("", USERS):
        file.write_text(HEAD % "" + more)
        cli("apply", "--yes", file, extra_groups=[4, 27])
        pid = int(json.loads(cli("state", "duty").stdout)["pid"])
        assert words(pid, "Groups") == []
        told = cli("exec", "duty", "/bin/cat", "/proc/self/status", extra_groups=[4, 27]).stdout
        assert next(line.split()[1:] for line in told.splitlines() if line.startswith("Groups:")) == []


def test_capabilities_of_the_caller_stay_outside(cli: Cli, apply: Apply) -> None:
    """Moby CVE-2022-24769: what the caller may inherit is not handed on; what a spec leaves out is none."""
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv")
    enter = ["setpriv", "--inh-caps=+all", "--ambient-caps=+all"]
    if subprocess.run([*enter, "true"], capture_output=True).returncode:
        enter = ["setpriv", "--inh-caps=+net_raw,+sys_admin", "--ambient-caps=+net_raw,+sys_admin"]
    cli.argv = [*enter, *cli.argv]
    held = cli.netns.run(*enter, "cat", "/proc/self/status").stdout
    assert next(line for line in held.splitlines() if line.startswith("CapInh")).split()[1].strip("0"), held
    pid = apply(", capabilities: {bounding: [CAP_KILL], effective: [CAP_KILL], permitted: [CAP_KILL]}")
    told = cli("exec", "duty", "/bin/cat", "/proc/self/status").stdout.splitlines()
    for name, bits in (("CapInh", 0), ("CapAmb", 0), ("CapBnd", 1 << 5), ("CapPrm", 1 << 5)):
        assert int(words(pid, name)[0], 16) == bits, name
        assert int(next(line for line in told if line.startswith(name)).split()[1], 16) == bits, name


@pytest.mark.both
def test_no_descriptor_of_the_caller(cli: Cli, apply: Apply, tmp_path: Path) -> None:
    """runc CVE-2024-21626: a directory that the caller left open for whoever comes is nobody's inside."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    many = [os.dup(fd) for _ in range(20)]
    try:
        file = tmp_path / "duty.yaml"
        file.write_text(HEAD % "")
        cli("apply", file, pass_fds=(fd, *many))
        pid = int(json.loads(cli("state", "duty").stdout)["pid"])
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
        # ls itself holds the directory that it reads.
        assert cli("exec", "duty", "/bin/ls", "/proc/self/fd", pass_fds=(fd, *many)).stdout.split() == [
            "0", "1", "2", "3"]
    finally:
        for one in (fd, *many):
            os.close(one)


def test_working_directory_is_inside(cli: Cli, tmp_path: Path) -> None:
    """runc CVE-2024-21626: where /proc shows descriptors of the caller, too, none of them is a working directory."""
    file = tmp_path / "duty.yaml"
    file.write_text(HEAD % "" + f"linux: {{namespaces: [{{type: pid, path: /proc/{os.getpid()}/ns/pid}}]}}\n")
    (tmp_path / "secret").write_text("")
    cli("apply", file)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for cwd in (f"/proc/self/fd/{fd}", f"/proc/{os.getpid()}/cwd", f"/proc/{os.getpid()}/fd/{fd}"):
            told = cli("exec", "--cwd", cwd, "duty", "/bin/ls", status=255, pass_fds=(fd,))
            assert told.stdout == "" and f'chdir to cwd "{cwd}": ' in told.stderr, told
    finally:
        os.close(fd)


# -- targets that move --------------------------------------------------------------------------------

RENAME_EXCHANGE = 2


def test_targets_swapped_during_set_up(cli: Cli, tmp_path: Path) -> None:
    """runc CVE-2021-30465, CVE-2024-45310: a directory and a link change places all the time while mounts are made.

    Whatever an apply makes of it, it makes nothing outside the root, and says no more than an error.
    """
    root, outside, volume = tmp_path / "root", tmp_path / "outside", tmp_path / "volume"
    for name in ("bin", "proc", "dev", "sys", "tmp", "data"):
        (root / name).mkdir(parents=True)
    outside.mkdir()
    volume.mkdir()
    busybox = shutil.which("busybox")
    assert busybox
    shutil.copy(busybox, root / "bin/sleep")
    (root / "other").symlink_to(outside)
    file = tmp_path / "duty.yaml"
    binds = ", ".join(f"{{destination: /data/{name}, source: {volume}, options: [bind]}}"
                      for name in ("in", "a/b", "c"))
    file.write_text((HEAD % "").replace("{image: busybox}", f"{{path: {root}}}") + f"mounts: [{binds}]\n")
    libc, done = ctypes.CDLL(None, use_errno=True), threading.Event()
    one, other = os.fsencode(root / "data"), os.fsencode(root / "other")
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not done.is_set():
            assert libc.renameat2(-100, one, -100, other, RENAME_EXCHANGE) == 0
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    ends = set()
    try:
        for _ in range(12):
            told = cli("apply", "--yes", file, status=None)
            ends.add(told.returncode)
            assert told.returncode in (0, 2) and "Traceback" not in told.stderr, told.stderr
            assert os.listdir(outside) == [] and os.listdir(volume) == []
            assert str(tmp_path) not in Path(f"/proc/{cli.netns.pid}/mountinfo").read_text()
            if told.returncode == 0 or "does not show" in told.stderr:
                cli("destroy", "--yes", "duty")
    finally:
        done.set()
        thread.join()
    assert swaps > 1000
    print(swaps, ends)


def test_namespace_of_another_kind(cli: Cli, tmp_path: Path) -> None:
    """LXC CVE-2018-6556: a path that is no namespace of the kind that is asked for is not joined."""
    file = tmp_path / "duty.yaml"
    (tmp_path / "plain").write_text("secret")
    for path in (f"/proc/{os.getpid()}/ns/uts", str(tmp_path / "plain")):
        file.write_text((HEAD % "").replace("interfaces: []\n", "") + (
            f"linux: {{namespaces: [{{type: network, path: {path}}}]}}\n"))
        told = cli("apply", file, status=2)
        assert "setns" in told.stderr and "Invalid argument" in told.stderr, told.stderr
        assert "secret" not in told.stderr


# -- control groups -----------------------------------------------------------------------------------

@pytest.mark.both
@pytest.mark.parametrize("more", [
    "", pytest.param(USERS, marks=requires("user_namespace"))], ids=["plain", "users"])
def test_control_groups_are_for_reading(cli: Cli, apply: Apply, more: str) -> None:
    """Linux CVE-2022-0492, runc CVE-2023-25809: /sys/fs/cgroup cannot be written to, and only our own group shows."""
    pid = apply("", more)
    told = cli("exec", "duty", "/bin/sh", "-c",
               "for f in $(find /sys/fs/cgroup -type f -name 'cgroup.procs' -o -name 'release_agent' -o -name "
               "notify_on_release); do echo 0 2>/dev/null >$f && echo wrote $f; done; "
               "mkdir /sys/fs/cgroup/x /sys/fs/cgroup/cpu/x 2>/dev/null && echo made; cat /proc/self/cgroup").stdout
    assert "wrote" not in told and "made" not in told, told
    mine = [line.rpartition(":")[2] for line in told.splitlines() if ":" in line]
    ours = {line.split(":")[1] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if "/duty" in line}
    assert ours and all(line.endswith(":/") for line in told.splitlines() if line.split(":")[1] in ours), told
    assert mine
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        if line.partition(" - ")[2].split()[0] in ("cgroup", "cgroup2"):
            assert "ro" in line.split()[5].split(","), line


def test_no_release_agent_even_for_an_administrator(cli: Cli, apply: Apply) -> None:
    """Linux CVE-2022-0492: with CAP_SYS_ADMIN one may mount the tree anew, and finds in it one's own group alone."""
    apply(ADMIN)
    told = cli("exec", "duty", "/bin/sh", "-c",
               "mkdir /tmp/c; mount -t cgroup -o memory c /tmp/c || mount -t cgroup2 c /tmp/c; ls /tmp/c; "
               "echo /tmp/evil > /tmp/c/release_agent; echo status $?", status=None)
    assert "release_agent" not in told.stdout.split() and "status 0" not in told.stdout, told.stdout
    assert "runspec" not in told.stdout


# -- procfs -------------------------------------------------------------------------------------------

SETTINGS = Spec(
    name="duty", root=Root(path="/"),
    process=Process(args=("sh",), oom_score_adj=5, rlimits=(Rlimit(type="RLIMIT_CORE", soft=0, hard=0),),
                    apparmor_profile="p", selinux_label="a:b:c:d"),
    linux=Linux(sysctl=(("net.ipv4.ip_forward", "1"),)))


def test_settings_go_through_a_procfs_of_our_own() -> None:
    """runc CVE-2025-52881: sysctl, OOM score and labels are written below a detached procfs, never the image's."""
    table = Table()
    for step in process_steps.plan(SETTINGS, Facts("absent"), ""):
        if isinstance(step, ChildStep):
            step.ops(table)
    writes = [op for op in table.ops if op.number == abi.OP_WRITE]
    assert {op.s1.split(b"/")[0] for op in writes} == {b"sys", b"self", b"thread-self"}
    mounts = [op for op in table.ops if op.number == abi.OP_FSMOUNT]
    assert [op.s1 for op in table.ops if op.number == abi.OP_FSOPEN] == [b"proc"]
    assert all(op.dir == mounts[0].slot for op in writes)
    assert all(op.b & abi.RESOLVE_NO_SYMLINKS for op in writes if op.s1.startswith(b"sys/"))


def test_links_below_it_are_not_followed(tmp_path: Path) -> None:
    """crun CVE-2025-24965: what is written is never the target of a link."""
    (tmp_path / "victim").write_text("old")
    (tmp_path / "link").symlink_to("victim")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(SyscallError) as caught:
            Kernel().run_table([abi.Op(abi.OP_WRITE, dir=0, s1=b"link", s2=b"new")], (fd,))
        assert caught.value.errno == errno.ELOOP
    finally:
        os.close(fd)
    assert (tmp_path / "victim").read_text() == "old"


# -- what only Python must mind -----------------------------------------------------------------------

@pytest.mark.parametrize("name", ["runspec", "os", "yaml", "json", "sitecustomize", "usercustomize", "_cffi_backend",
                                  "encodings"])
def test_nobody_else_chooses_the_code(cli: Cli, tmp_path: Path, name: str) -> None:
    """The working directory, the environment and the home directory hold modules of these names: none is loaded."""
    said = tmp_path / "loaded"
    evil = f"open({str(said)!r}, 'a').write({name!r})\n"
    places = [tmp_path, tmp_path / "home/.local/lib" / f"python3.{sys.version_info[1]}" / "site-packages"]
    for place in places:
        (place / name).mkdir(parents=True)
        (place / name / "__init__.py").write_text(evil)
    startup = tmp_path / "startup.py"
    startup.write_text(evil)
    (tmp_path / "duty.yaml").write_text(HEAD % "")
    env = {"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(startup), "HOME": str(tmp_path / "home"),
           "PYTHONUSERBASE": str(tmp_path / "home/.local"), "PYTHONINSPECT": "1", "PYTHONHOME": str(tmp_path),
           "PYTHONPLATLIBDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path),
           "LD_LIBRARY_PATH": str(tmp_path)}
    for verb in (("validate", "duty.yaml"), ("list",)):
        done = subprocess.run([*cli.argv, *verb], cwd=tmp_path, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, env={**os.environ, **env})
        assert done.returncode == 0, done.stderr
    assert not said.exists(), said.read_text()


def calls_of(path: Path) -> list[str]:
    """Every name or attribute that is called, and the keyword arguments, in a source file."""
    out = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            out.append(ast.unparse(node.func))
            out += [f"{word.arg}={ast.unparse(word.value)}" for word in node.keywords if word.arg]
    return out


SOURCES = [path for path in PACKAGE.rglob("*.py") if path.name not in ("build.py", "abi.py")]


def test_python_never_forks_nor_joins() -> None:
    """No fork, no Python after one, no setns, unshare or chroot: the static interpreter does all that.

    The benchmarks are a user of runtimes, and start programs as any user does.
    """
    banned = {"os.fork", "os.forkpty", "pty.fork", "os.setns", "os.unshare", "os.chroot", "os.setuid", "os.setgid",
              "os.setgroups", "os.setresuid", "os.system", "os.popen", "subprocess.run", "subprocess.Popen",
              "threading.Thread", "multiprocessing.Process", "os.register_at_fork"}
    user = {"subprocess.run", "subprocess.Popen", "threading.Thread"}
    found = {str(path.relative_to(PACKAGE)): sorted((banned - user if path.parent.name == "bench" else banned)
                                                    & set(calls_of(path))) for path in SOURCES}
    assert not {name: names for name, names in found.items() if names}
    assert not [path for path in SOURCES if any("preexec_fn" in word for word in calls_of(path))]


def test_descriptors_are_inherited_from_one_place() -> None:
    """A descriptor becomes inheritable where closed standard streams are opened, and nowhere else."""
    found = {str(path.relative_to(PACKAGE)) for path in SOURCES
             if any(word.endswith("set_inheritable") or word == "inheritable=True" or word.startswith("pass_fds=")
                    for word in calls_of(path))}
    assert found == {"__main__.py"}


@pytest.mark.parametrize("number", [-2, 2**31, 2**40])
def test_descriptor_numbers_are_checked(number: int) -> None:
    """C is handed no number that is no descriptor."""
    with pytest.raises((SyscallError, OverflowError)):
        native.spawn(memfd(pack([], 1)), (number,))
