"""The verbs that look and signal, on a machine of text; and on real containers where there can be some."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, requires

from runspec import abi
from runspec.cli import enter, people
from runspec.cli.words import Words
from runspec.errors import StateError, UsageError
from runspec.plan.steps.base import Table
from runspec.plan.steps.exec_ import capabilities_of, exec_ops, names_of
from runspec.run.store import Record
from runspec.spec.model import Process, User

V1, CPUSET = "/sys/fs/cgroup/cpu/runspec", "/sys/fs/cgroup/cpuset/runspec"


class FakeKernel:
    """The reading half of Kernel, over a dict of paths."""

    def __init__(self, files: dict[str, str], links: dict[str, str] | None = None) -> None:
        self.files, self.links = files, links or {}

    def try_read(self, path: str) -> bytes | None:
        text = self.files.get(path)
        return None if text is None else text.encode()

    def boot_id(self) -> str:
        return self.files["/proc/sys/kernel/random/boot_id"].strip()

    def exists(self, path: str) -> bool:
        return any(one == path or one.startswith(path + "/") for one in self.files)

    def list_dir(self, path: str) -> list[str]:
        return sorted({one[len(path) + 1:].split("/")[0] for one in self.files if one.startswith(path + "/")})

    def cgroup_dirs(self, path: str) -> list[str]:
        return sorted(
            {one.rsplit("/", 1)[0] for one in self.files if one.startswith(path + "/")}, reverse=True
        )

    def cgroup_procs(self, path: str) -> set[int]:
        return {int(word) for word in self.files.get(f"{path}/cgroup.procs", "").split()}

    def read_link(self, path: str) -> str | None:
        return self.links.get(path)

    def stat(self, path: str) -> os.stat_result | None:
        return None


def record(name: str, pid: int, **more: Any) -> Record:
    values: dict[str, Any] = {"cgroups": (f"{V1}/{name}", f"{CPUSET}/{name}")}
    return Record(**{"kind": people.CONTAINER, "name": name, "pid": pid, "start_time": 1, "boot_id": "b",
                     "spec": {"name": name, "root": {"image": "busybox"},
                              "process": {"args": ["/sbin/init"], "env": ["PATH=/bin", "A=1"]}},
                     **values, **more})


def process(pid: int, inside: int, ppid: int, name: str, cmdline: str = "") -> dict[str, str]:
    return {f"/proc/{pid}/status": f"Name:\t{name}\nPPid:\t{ppid}\nNSpid:\t{pid}\t{inside}\n",
            f"/proc/{pid}/cmdline": cmdline}


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """foo1 and foo2 of the picture, as files."""
    files = {"/proc/1/comm": "init\n", "/proc/sys/kernel/random/boot_id": "b\n"}
    for name, init, shares in (("foo1", 2966, 250), ("foo2", 2976, 750)):
        files |= {
            **process(init, 1, 1, "init", "/sbin/init\0"),
            **process(init + 5, 6, init, "sh", "-sh\0"),
            **process(init + 3, 4, init, "syslogd"),
            f"{V1}/{name}/cgroup.procs": f"{init}\n{init + 3}\n{init + 5}\n",
            f"{V1}/{name}/cpu.shares": f"{shares}\n",
            f"{V1}/{name}/cpu.cfs_quota_us": "-1\n",
            f"{V1}/{name}/cpu.cfs_period_us": "100000\n",
            f"{CPUSET}/{name}/cpuset.cpus": "0\n",
            f"{CPUSET}/{name}/cpuset.effective_cpus": "0\n",
            f"{CPUSET}/{name}/cgroup.procs": f"{init}\n{init + 3}\n{init + 5}\n",
            f"/proc/{init}/mountinfo": f"9 8 0:1 / / rw - overlay o rw,upperdir=/up/{name}\n",
        }
    records = {"foo1": record("foo1", 2966), "foo2": record("foo2", 2976)}

    class FakeStore:
        root = "/run/runspec"

        def names(self, kind: str) -> list[str]:
            return sorted(records) if kind == people.CONTAINER else []

        def load(self, kind: str, name: str) -> Record | None:
            return records.get(name)

        def path(self, kind: str, name: str) -> str:
            return f"/run/runspec/{kind}s/{name}"

    monkeypatch.setattr(people, "status", lambda kernel, one: "running" if one.pid else "stopped")
    return FakeKernel(files), FakeStore()


def words(*argv: str) -> Words:
    found = Words()
    found.parse(argv)
    return found


def test_tree(scene: tuple[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    people.show_tree(words("tree"), *scene)
    assert capsys.readouterr().out == """\
init(1)─┬─runspec:foo1───init(2966)(1)─┬─sh(2971)(6)        25% of core 0   root /up/foo1
        │                              └─syslogd(2969)(4)
        └─runspec:foo2───init(2976)(1)─┬─sh(2981)(6)        75% of core 0   root /up/foo2
                                       └─syslogd(2979)(4)
"""
    people.show_tree(words("tree", "-o", "json"), *scene)
    tree = json.loads(capsys.readouterr().out)
    assert [one["cpu"] for one in tree["containers"]] == ["25% of core 0", "75% of core 0"]
    assert tree["containers"][0]["processes"][0] == {"pid": 2966, "pidInside": 1, "ppid": 1, "comm": "init"}


def test_share_with_a_quota_and_on_cgroup2() -> None:
    kernel: Any = FakeKernel(
        {
            "/u/runspec/a/cpu.weight": "25\n",
            "/u/runspec/a/cpu.max": "25000 100000\n",
            "/u/runspec/a/cpuset.cpus": "\n",
            "/u/runspec/a/cpuset.cpus.effective": "0-1\n",
        }
    )
    assert (
        people.share_of(kernel, record("a", 1, cgroups=("/u/runspec/a",)))
        == "at most 25% of one core, on cores 0-1"
    )
    kernel.files |= {"/u/runspec/a/cpu.max": "max 100000\n", "/u/runspec/b/cpu.weight": "75\n",
                     "/u/runspec/b/cpuset.cpus.effective": "0-1\n", "/u/runspec/b/inner/cgroup.procs": "7\n",
                     "/u/runspec/c/cpu.weight": "100\n", "/u/runspec/c/cgroup.procs": ""}
    assert people.share_of(kernel, record("a", 1, cgroups=("/u/runspec/a",))) == "25% of cores 0-1"


def test_share_on_cgroup1_is_in_the_unit_of_the_file() -> None:
    """Whose sibling has other cores."""
    kernel: Any = FakeKernel({f"{V1}/a/cpu.shares": "500\n", f"{CPUSET}/a/cpuset.cpus": "0\n",
                              f"{V1}/b/cpu.shares": "750\n", f"{CPUSET}/b/cpuset.cpus": "0-1\n",
                              f"{V1}/b/cgroup.procs": "7\n"})
    assert people.share_of(kernel, record("a", 1)) == "weight 50 on core 0"
    kernel.files[f"{CPUSET}/b/cpuset.cpus"] = "0\n"
    assert people.share_of(kernel, record("a", 1)) == "40% of core 0"


def test_ps(scene: tuple[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    kernel, store = scene
    people.show_ps(words("ps", "foo1"), kernel, store.load("", "foo1"))
    assert capsys.readouterr().out == """\
PID    INSIDE   PPID   COMMAND
2966   1        1      /sbin/init
2969   4        2966   [syslogd]
2971   6        2966   -sh
"""
    people.show_ps(words("ps", "-f", "json", "foo1"), kernel, store.load("", "foo1"))
    assert capsys.readouterr().out == "[2966,2969,2971]\n"
    people.show_ps(words("ps", "-o", "json", "foo1"), FakeKernel({}), store.load("", "foo1"))  # type: ignore[arg-type]
    assert capsys.readouterr().out == "[]\n"


def test_state_and_list(scene: tuple[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    kernel, store = scene
    people.show_state(words("state", "foo1"), kernel, store, store.load("", "foo1"))
    assert json.loads(capsys.readouterr().out) == {
        "ociVersion": "1.3.0",
        "id": "foo1",
        "pid": 2966,
        "status": "running",
        "bundle": "/var/lib/runspec/foo1",
        "rootfs": "/var/lib/runspec/foo1/rootfs",
        "created": "",
        "owner": "root",
    }
    people.show_state(words("state", "foo1"), kernel, store, record("foo1", 0))
    state = json.loads(capsys.readouterr().out)
    assert (state["pid"], state["status"]) == (0, "stopped")
    people.show_list(words("list"), kernel, store)
    assert capsys.readouterr().out.splitlines()[:2] == [
        "ID     PID    STATUS    BUNDLE                  CREATED   OWNER",
        "foo1   2966   running   /var/lib/runspec/foo1             root"]
    people.show_list(words("list", "-q"), kernel, store)
    assert capsys.readouterr().out == "foo1\nfoo2\n"


def test_names_are_in_the_order_of_people() -> None:
    names = ["c10", "c2", "c1", "b", "c", "c2-x10", "c2-x9", "2", "10", "c02"]
    assert sorted(names, key=people.natural) == ["2", "10", "b", "c", "c1", "c02", "c2", "c2-x9", "c2-x10", "c10"]


def test_networks_and_who_is_on_them() -> None:
    on = {"spec": {"interfaces": [{"network": "lan10"}, {"parent": "lan9"}, {"network": "lan10"}]}}
    assert people.networks_text(["lan10", "lan8", "lan9"], [record("c10", 1, **on), record("c9", 1, **on)]) == (
        "NETWORK   USED BY\n"
        "lan8\n"
        "lan9      c9, c10\n"
        "lan10     c9, c10")
    assert people.networks_text([], [record("c1", 1, **on)]) == ""


def test_unknown_container_names_the_nearest(scene: tuple[Any, Any]) -> None:
    with pytest.raises(StateError) as caught:
        people.find(scene[1], "fo1")
    assert (caught.value.what, caught.value.fix) == ("container does not exist", "did you mean `foo1`?")


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("TERM", 15),
        ("SIGTERM", 15),
        ("kill", 9),
        ("9", 9),
        ("0", 0),
        ("64", 64),
        ("sigusr1", 10),
        ("RTMIN", 34),
        ("RTMIN+3", 37),
        ("SIGRTMAX-1", 63),
    ],
)
def test_signals(word: str, number: int) -> None:
    assert people.parse_signal(word) == number


@pytest.mark.parametrize(
    "word", ["TREM", "65", "-1", "1.5", "_DFL", "SIG_IGN", "RTMIN+99", "RTMIN+", "²", "SIGSIGTERM"]
)
def test_no_signals(word: str) -> None:
    with pytest.raises(UsageError):
        people.parse_signal(word)


@pytest.mark.parametrize("word", ["", "x", "1.2.3", "-1", "nan", "1e9", "٣"])
def test_no_seconds(word: str) -> None:
    with pytest.raises(UsageError):
        people.parse_seconds(word)


def test_wait_for_end_sleeps_and_wakes() -> None:
    reader, writer = os.pipe()
    begin = time.process_time(), time.monotonic()
    assert not people.wait_for_end([reader], 0.2)
    assert time.monotonic() - begin[1] >= 0.19 and time.process_time() - begin[0] < 0.1
    os.write(writer, b"x")
    assert people.wait_for_end([reader], 5)
    os.close(reader)
    os.close(writer)


# -- exec ---------------------------------------------------------------------------------------------

STATUS = {"CapInh": "0", "CapPrm": "ffffffffffffffff", "CapEff": "20", "CapBnd": "a0", "CapAmb": "0"}


def test_exec_holds_no_more_than_the_bounding_set() -> None:
    caps = capabilities_of(STATUS)
    assert caps.bounding == ("CAP_KILL", "CAP_SETUID")
    assert (caps.permitted, caps.effective, caps.inheritable) == (caps.bounding, ("CAP_KILL",), ())
    assert names_of(1 << 63) == ()


def test_exec_table() -> None:
    table = Table(("init",))
    exec_ops(table, ("user", "pid", "mount"), ("/cg/a",), Process(args=("ls", "-l"), env=("A=1",), cwd="/tmp",
             user=User(uid=5, gid=6), no_new_privileges=True), {"RLIMIT_NOFILE": (64, 2**64 - 1)}, "10")
    numbers = [op.number for op in table.ops]
    order = [
        abi.OP_PRCTL,
        abi.OP_KEYRING,
        abi.OP_WRITE,
        abi.OP_WRITE,
        abi.OP_RLIMIT,
        abi.OP_SETNS,
        abi.OP_CLOSE,
        abi.OP_CHDIR,
        abi.OP_BOUNDING,
    ]
    assert numbers[:len(order)] == order
    assert numbers[-4:] == [abi.OP_FORK, abi.OP_RLIMIT, abi.OP_SETSID, abi.OP_EXEC]
    setns = table.ops[numbers.index(abi.OP_SETNS)]
    assert (setns.slot, setns.a) == (0, abi.CLONE_NEWUSER | abi.CLONE_NEWPID | abi.CLONE_NEWNS)
    assert table.ops[-1].s1 == b"ls\0-l\0" and table.ops[-1].s2 == b"A=1\0"
    plain = Table(("init",))
    exec_ops(plain, (), (), Process(args=("ls",)), {"RLIMIT_NOFILE": (64, 64)})
    assert abi.OP_SETNS not in [op.number for op in plain.ops] and abi.OP_FORK not in [
        op.number for op in plain.ops
    ]


@pytest.mark.parametrize(
    ("text", "user"), [("0", (0, None)), ("1000:50", (1000, 50)), ("4294967294", (4294967294, None))]
)
def test_users(text: str, user: tuple[int, int | None]) -> None:
    assert enter.parse_user(text) == user


@pytest.mark.parametrize(
    "text", ["root", "1:", ":1", "-1", "+1", "1 ", "0x1", "4294967295", "1:2:3", "\u0661", ""]
)
def test_no_users(text: str) -> None:
    with pytest.raises(UsageError):
        enter.parse_user(text)


def test_environment() -> None:
    assert enter.merge_env(("PATH=/bin", "A=1"), ("A=2", "B=")) == ("PATH=/bin", "A=2", "B=")
    for word in ("A", "=x", ""):
        with pytest.raises(UsageError):
            enter.parse_env((word,))


@pytest.mark.parametrize(("directory", "text", "found"), [
    ("/sys/fs/cgroup/runspec/a", "0::/runspec/a\n", "/sys/fs/cgroup/runspec/a"),
    ("/sys/fs/cgroup/runspec/a", "0::/runspec/a/init.scope\n", "/sys/fs/cgroup/runspec/a/init.scope"),
    ("/sys/fs/cgroup/runspec/a", "0::/runspec/ab\n", "/sys/fs/cgroup/runspec/a"),
    ("/sys/fs/cgroup/runspec/a", "0::/\n", "/sys/fs/cgroup/runspec/a")])
def test_group_of_init(directory: str, text: str, found: str) -> None:
    assert enter.beside_init(directory, text) == found


def test_namespaces_that_differ() -> None:
    kernel: Any = FakeKernel({}, {"/proc/9/ns/pid": "pid:[2]", "/proc/self/ns/pid": "pid:[1]",
                                  "/proc/9/ns/net": "net:[1]", "/proc/self/ns/net": "net:[1]"})
    assert enter.differing(kernel, 9) == ("pid",)


def test_exec_failures_speak_as_engines_expect() -> None:
    table = Table()
    table.add(abi.OP_CHDIR, s1="/gone")
    table.add(abi.OP_EXEC)
    table.add(abi.OP_SETNS)
    told = [enter.failure(table, *one) for one in ((1, 2, "/x"), (1, 2, "x"), (1, 13, "/x"), (0, 2, "x"), (2, 1, "x"))]
    assert all(one.why and one.fix for one in told)
    found = [one.what for one in told]
    assert found == ['exec failed: exec: "/x": stat /x: no such file or directory',
                     'exec failed: exec: "x": executable file not found in $PATH',
                     'exec failed: exec: "/x": permission denied',
                     'exec failed: chdir to cwd "/gone": no such file or directory',
                     "exec failed: setns: operation not permitted"]


# -- real containers ----------------------------------------------------------------------------------

SPEC = """\
apiVersion: runspec/v1
name: people1
root: {image: busybox}
process: {args: [/bin/sh, -c, "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]}
interfaces: []
linux: {resources: {memory: {limit: 64Mi}, pids: {limit: 64}}}
"""


@pytest.fixture
def one(cli: Cli, tmp_path: Path) -> Cli:
    """A running container named people1."""
    file = tmp_path / "people1.yaml"
    file.write_text(SPEC)
    cli("apply", file)
    return cli


@requires("root")
def test_a_real_container(one: Cli) -> None:
    state = json.loads(one("state", "people1").stdout)
    assert state["status"] == "running" and state["pid"] > 1
    assert state["pid"] in json.loads(one("ps", "-f", "json", "people1").stdout)
    assert f"runspec:people1───sh({state['pid']})(1)" in one("tree").stdout
    assert one("list", "-q").stdout == "people1\n"
    one("kill", "people1", "0")
    assert one("stop", "people1", "-t", "5").stdout == "people1: stopped\n"
    assert json.loads(one("state", "people1").stdout)["status"] == "stopped"
    assert json.loads(one("ps", "-f", "json", "people1").stdout) == []
    assert one("kill", "people1", status=1).stderr.startswith("runspec: container not running\n")
    assert one("exec", "people1", "true", status=255).stderr.startswith(
        "runspec: exec failed: cannot exec in a stopped container\n")
    assert one("stop", "people1").stdout == "people1: already stopped\n"


@requires("root")
def test_exec_in_a_real_container(one: Cli) -> None:
    assert one("exec", "people1", "sh", "-c", "exit 7", status=7)
    assert one("exec", "people1", "sh", "-c", "kill -9 $$", status=137)
    assert one("exec", "people1", "cat", input="through").stdout == "through"
    assert (
        one("exec", "-e", "B=2", "--cwd", "/tmp", "people1", "sh", "-c", "echo $B $PWD").stdout == "2 /tmp\n"
    )
    assert one("exec", "-u", "5:6", "people1", "id", "-u").stdout == "5\n"
    assert "no such file" in one("exec", "people1", "/gone", status=255).stderr
    fields = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Uid", "Gid", "Groups", "Umask")
    init, mine = (people.status_fields(one("exec", "people1", "cat", f"/proc/{which}/status").stdout)
                  for which in ("1", "self"))
    assert {name: init.get(name) for name in fields} == {name: mine.get(name) for name in fields}
    assert (one("exec", "people1", "cat", "/proc/1/limits").stdout
            == one("exec", "people1", "cat", "/proc/self/limits").stdout)
    kinds = "cgroup ipc mnt net pid uts"
    listing = f"for n in {kinds}; do readlink /proc/$0/ns/$n; done"
    assert (one("exec", "people1", "sh", "-c", listing, "1").stdout
            == one("exec", "people1", "sh", "-c", listing, "self").stdout)
    assert one("exec", "people1", "sh", "-c", "cat /proc/1/cgroup").stdout == one(
        "exec", "people1", "sh", "-c", "cat /proc/self/cgroup").stdout
    assert one("exec", "people1", "sh", "-c", "ls /proc/self/fd").stdout.split()[:3] == ["0", "1", "2"]
