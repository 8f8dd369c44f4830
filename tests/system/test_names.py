"""Names: siblings in /etc/hosts, dns and extraHosts, as programs inside read them while all around them changes."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli, Netns, assert_nothing_leaked, requires
from kernels import IN_VM
from verbs import Verbs

pytestmark = requires("root", "busybox", "bridge", "veth", "ip", "nsenter")
LOCAL = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
FULL = bool(os.environ.get("RUNSPEC_FULL")) and not IN_VM
SEED = int(os.environ.get("RUNSPEC_SEED", "20260"))


def network(name: str = "lan0", number: int = 0, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "runspec/v1", "kind": "Network", "name": name, "type": "bridge",
            "addresses": [f"10.78.{number}.1/24", f"fd78:{number + 1}::1/64"], **more}


def link(host: int, net: str = "lan0", number: int = 0, name: str = "eth0") -> dict[str, Any]:
    return {"name": name, "type": "veth", "network": net,
            "addresses": [f"10.78.{number}.{host}/24", f"fd78:{number + 1}::{host}/64"]}


def container(name: str, *links: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"apiVersion": "runspec/v1", "name": name, "root": {"image": "busybox"},
            "process": {"args": ["/bin/sleep", "100000"]}, "interfaces": list(links), **more}


class Scene:
    """Containers that come and go, and what is read inside of them."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli, self.verbs, self.folder = cli, Verbs(cli), folder
        self.names = Path(f"/proc/{cli.netns.pid}/root/run/runspec/state/names")

    def file(self, *documents: dict[str, Any], name: str = "t.yaml") -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        return path

    def apply(self, *documents: dict[str, Any]) -> str:
        """Applied, with nothing left to say about it."""
        file = self.file(*documents)
        said = self.verbs("apply", "--yes", file)
        self.verbs("diff", file)
        return said

    def read(self, name: str, path: str = "/etc/hosts") -> list[str]:
        """The lines that count, as a program inside reads them; of hosts those that are not in every such file."""
        text = self.verbs("exec", name, "/bin/cat", path)
        found = [line.strip() for line in text.splitlines() if line.strip() and line[0] not in "#;"]
        if path != "/etc/hosts":
            return found
        assert found[:2] == LOCAL
        return sorted(found[2:])

    def reaches(self, name: str, *others: str) -> None:
        for other in others:
            assert "1 packets received" in self.verbs("exec", name, "/bin/ping", "-c", "1", "-W", "2", other)

    def pid(self, name: str) -> int:
        return int(json.loads(self.verbs("state", name))["pid"])

    def mounted(self, name: str) -> list[str]:
        lines = Path(f"/proc/{self.pid(name)}/mountinfo").read_text().splitlines()
        return [line.split()[4] for line in lines if "/names/" in line.split()[3]]

    def host(self, *words: str) -> None:
        done = self.cli.netns.run(*words)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def scene(cli: Cli, tmp_path: Path) -> Iterator[Scene]:
    one = Scene(cli, tmp_path)
    yield one
    cli.sweep()
    for left in ("lan0", "lan1", "lan2"):
        cli("destroy", "--yes", left, status=None)


def lines(host: int, *names: str, number: int = 0) -> list[str]:
    return [f"10.78.{number}.{host} {' '.join(names)}", f"fd78:{number + 1}::{host} {' '.join(names)}"]


def test_siblings_come_change_and_go(scene: Scene) -> None:
    """Nobody restarts, and who is not named in a command hears of it all the same."""
    scene.apply(container("first"))
    scene.verbs("destroy", "--yes", "first")        # the image is there
    before = scene.cli.picture()
    one = container("one", link(11), hostname="web.example")
    scene.apply(network(), one, container("two", link(12)))
    both = [*lines(11, "web.example", "one"), *lines(12, "two")]
    assert scene.read("one") == scene.read("two") == sorted(both)
    scene.reaches("two", "one", "web.example", "two", "localhost")
    scene.reaches("one", "two", "web.example")
    pids = scene.pid("one"), scene.pid("two")

    scene.apply(container("three", link(13)))
    assert scene.read("one") == scene.read("three") == sorted([*both, *lines(13, "three")])
    scene.reaches("one", "three")
    scene.apply(container("three", link(33), hostname="db"))
    assert scene.read("two") == sorted([*both, *lines(33, "db", "three")])
    scene.reaches("two", "three", "db")
    scene.verbs("destroy", "--yes", "three")
    assert scene.read("one") == scene.read("two") == sorted(both)
    assert scene.verbs.run("exec", "one", "/bin/ping", "-c", "1", "three")[0] != 0
    assert (scene.pid("one"), scene.pid("two")) == pids

    scene.verbs("destroy", "--yes", "one", "two", "lan0")
    assert_nothing_leaked(before, scene.cli.picture)


def test_one_more_sibling_is_one_more_line(scene: Scene) -> None:
    """All members read one file, which keeps its inode; its former lines stay where they are."""
    many = [container(f"c{n}", link(20 + n)) for n in range(4)]
    scene.apply(network(), *many)
    [file] = scene.names.iterdir()
    inode, text = file.stat().st_ino, file.read_text()
    scene.apply(container("more", link(50)))
    assert [one.name for one in scene.names.iterdir()] == [file.name] == ["networks.lan0.hosts"]
    assert file.stat().st_ino == inode
    assert file.read_text() == text + "".join(f"{line}\n" for line in lines(50, "more"))
    plan = scene.verbs("plan", scene.file(container("last", link(60))))
    assert plan.count("write the names on lan0") == 1


def test_inside_it_is_read_only_and_nobody_s_program(scene: Scene) -> None:
    scene.apply(network(), container("one", link(11), dns={"nameservers": ["192.0.2.53"]}))
    assert scene.mounted("one") == ["/etc/hosts", "/etc/resolv.conf"]
    for path in ("/etc/hosts", "/etc/resolv.conf"):
        status, text = scene.verbs.run("exec", "one", "/bin/sh", "-c", f"echo 192.0.2.66 evil >>{path}")
        assert status != 0 and "Read-only file system" in text
        assert scene.verbs.run("exec", "one", "/bin/rm", path)[0] != 0
    assert (scene.names.stat().st_mode & 0o777, scene.names.parent.stat().st_mode & 0o777) == (0o700, 0o700)


@requires("user_namespace")
@pytest.mark.parametrize("user", [0, 1000])
def test_mapped_ids_read_them(scene: Scene, user: int) -> None:
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spaces = [{"type": kind} for kind in ("user", "pid", "mount", "uts", "ipc", "network", "cgroup")]
    document = container("one", link(11), extraHosts={"db": "192.0.2.7"}, dns={"search": ["example"]},
                         linux={"namespaces": spaces, "uidMappings": maps, "gidMappings": maps},
                         process={"args": ["/bin/sleep", "100000"], "user": {"uid": user, "gid": user}})
    scene.apply(network(), document)
    assert scene.read("one") == sorted(["192.0.2.7 db", *lines(11, "one")])
    assert scene.read("one", "/etc/resolv.conf") == ["search example"]
    # What comes while it runs is mounted by an interpreter that is root of that namespace.
    scene.apply({key: value for key, value in document.items() if key not in ("dns", "extraHosts")})
    assert scene.mounted("one") == ["/etc/hosts"]
    scene.apply(document)
    assert scene.read("one", "/etc/resolv.conf") == ["search example"]
    assert scene.read("one") == sorted(["192.0.2.7 db", *lines(11, "one")])


def test_networks_have_their_own_siblings(scene: Scene) -> None:
    """A member of two networks knows and is known on both, each by its addresses there."""
    scene.apply(network(), network("lan1", 1), container("a", link(11)), container("b", link(12, "lan1", 1)),
                container("both", link(13), link(13, "lan1", 1, "eth1")))
    assert scene.read("a") == sorted([*lines(11, "a"), *lines(13, "both")])
    assert scene.read("b") == sorted([*lines(12, "b", number=1), *lines(13, "both", number=1)])
    assert scene.read("both") == sorted([*lines(11, "a"), *lines(13, "both"), *lines(12, "b", number=1),
                                         *lines(13, "both", number=1)])
    scene.verbs("destroy", "--yes", "a")
    assert scene.read("both") == sorted([*lines(13, "both"), *lines(12, "b", number=1),
                                         *lines(13, "both", number=1)])
    scene.apply(container("both", link(14, "lan1", 1, "eth1")))
    assert scene.read("b") == scene.read("both") == sorted([*lines(12, "b", number=1), *lines(14, "both", number=1)])


def test_isolated_members_know_themselves_alone(scene: Scene) -> None:
    scene.apply(network(isolated=True), container("a", link(11)), container("b", link(12)))
    assert (scene.read("a"), scene.read("b")) == (lines(11, "a"), lines(12, "b"))
    scene.apply(network(), container("a", link(11)), container("b", link(12)))
    assert scene.read("a") == scene.read("b") == sorted([*lines(11, "a"), *lines(12, "b")])


@pytest.mark.parametrize("named", [(), ("a",), ("a", "ids")])
def test_isolating_a_network_reaches_who_is_not_named(scene: Scene, named: tuple[str, ...]) -> None:
    """Its containers see their other file by the run that edits it, and hear of siblings when it is taken back."""
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spaces = [{"type": kind} for kind in ("user", "pid", "mount", "uts", "ipc", "network", "cgroup")]
    every = {"a": container("a", link(11), extraHosts={"db": "192.0.2.7"}),
             "bare": container("bare", link(12), root={"image": "busybox", "readonly": True}),
             "ids": container("ids", link(13), linux={
                 "namespaces": spaces, "uidMappings": maps, "gidMappings": maps})}
    ended = container("ended", link(14))
    both = network("lan1", 1), container("both", link(15), link(15, "lan1", 1, "eth1"))
    all_ = sorted(line for host, name in ((11, "a"), (12, "bare"), (13, "ids"), (14, "ended"), (15, "both"))
                  for line in lines(host, name))
    scene.apply(network(), *every.values(), ended, *both)
    scene.verbs("stop", "--time", "0", "ended")
    pids, mounts = [*map(scene.pid, every)], [*map(scene.mounted, every)]

    def others() -> None:
        scene.verbs("diff", scene.file(*every.values(), *both))
        assert ([*map(scene.pid, every)], [*map(scene.mounted, every)]) == (pids, mounts)

    for _ in range(2):
        scene.apply(network(isolated=True), *(every[name] for name in named))
        assert scene.read("a") == sorted(["192.0.2.7 db", *lines(11, "a")])
        assert (scene.read("bare"), scene.read("ids")) == (lines(12, "bare"), lines(13, "ids"))
        assert scene.read("both") == sorted([*lines(15, "both"), *lines(15, "both", number=1)])
        others()
        scene.apply(network(), *(every[name] for name in named))
        assert scene.read("bare") == scene.read("ids") == all_
        others()
    scene.apply(container("late", link(16)))
    assert scene.read("bare") == scene.read("ids") == sorted([*all_, *lines(16, "late")])
    scene.reaches("bare", "late")
    # Undone with the run that did it.
    bad = container("bad", link(17), process={"args": ["/bin/nothing"]})
    scene.verbs("apply", "--yes", scene.file(network(isolated=True), *(every[name] for name in named), bad), status=2)
    assert scene.read("bare") == scene.read("ids") == sorted([*all_, *lines(16, "late")])
    scene.reaches("ids", "late")
    others()


def test_addresses_from_a_pool(scene: Scene) -> None:
    auto = {"name": "eth0", "type": "veth", "network": "lan0", "addresses": "auto"}
    scene.apply(network(), container("a", auto), container("b", auto))
    found = scene.read("a")
    assert found == scene.read("b") and [line.split()[1] for line in found] == ["a", "b", "a", "b"]
    scene.reaches("a", "b")


def test_who_joins_a_network_is_found_at_its_addresses(scene: Scene) -> None:
    pod = container("pod", linux={"namespaces": [{"type": "network", "container": "a"}]}, extraHosts={"x": "192.0.2.7"})
    scene.apply(network(), container("a", link(11)), pod, container("b", link(12)))
    known = [*lines(11, "a"), *lines(11, "pod"), *lines(12, "b")]
    assert scene.read("b") == scene.read("a") == sorted(known)
    assert scene.read("pod") == sorted([*known, "192.0.2.7 x"])
    scene.reaches("b", "pod")
    scene.apply(container("a", link(21)))
    assert scene.read("pod") == sorted([*lines(21, "a"), *lines(21, "pod"), *lines(12, "b"), "192.0.2.7 x"])


def test_the_file_goes_before_a_sibling(scene: Scene) -> None:
    scene.apply(network(), container("a", link(11), extraHosts={"b": "192.0.2.7", "gate": "host-gateway"}),
                container("b", link(12)))
    assert scene.read("a") == sorted([*lines(11, "a"), "192.0.2.7 b", "10.78.0.1 gate", "fd78:1::1 gate"])
    assert scene.read("b") == sorted([*lines(11, "a"), *lines(12, "b")])
    scene.reaches("a", "gate")
    # The network alone is named, and moves.
    scene.apply({**network(), "addresses": ["10.78.0.2/24"]})
    assert scene.read("a") == sorted([*lines(11, "a"), "192.0.2.7 b", "10.78.0.2 gate"])


def test_host_gateway_without_an_address(scene: Scene) -> None:
    bare = {key: value for key, value in network().items() if key != "addresses"}
    file = scene.file(bare, container("a", link(11), extraHosts={"gate": "host-gateway"}))
    status, text = scene.verbs.run("apply", file)
    assert (status, text) == (2, f"""\
{file}:22:9: extraHosts.gate: host-gateway is no address here
  why: the host has none on lan0
  fix: give lan0 an address
""")


def test_nothing_where_nothing_is_asked(scene: Scene) -> None:
    """No mount without a network, none beside a mount of one's own, none in another's mount namespace."""
    own = scene.folder / "own"
    own.write_text("192.0.2.1 mine\n")
    bind = {"destination": "/etc/hosts", "source": str(own), "options": ["bind"]}
    scene.apply(network(), container("plain"),
                container("unnamed", {"name": "eth0", "type": "veth", "network": "lan0"}),
                container("own", link(11), mounts=[bind]),
                container("etc", link(12), mounts=[{"destination": "/etc", "type": "tmpfs"}]),
                container("a", link(13)))
    for name in ("plain", "unnamed", "own", "etc"):
        assert scene.mounted(name) == []
    assert scene.verbs("exec", "own", "/bin/cat", "/etc/hosts") == "192.0.2.1 mine\n"
    assert scene.read("a") == sorted([*lines(11, "own"), *lines(12, "etc"), *lines(13, "a")])
    # A mount that comes to lie there takes the place of ours, and gives it back.
    scene.apply(container("a", link(13), mounts=[bind]))
    assert scene.mounted("a") == [] and scene.verbs("exec", "a", "/bin/cat", "/etc/hosts") == "192.0.2.1 mine\n"
    scene.apply(container("a", link(13)))
    assert scene.read("a") == sorted([*lines(11, "own"), *lines(12, "etc"), *lines(13, "a")])
    assert "/etc/hosts" not in scene.verbs("config", scene.file(container("a", link(13))))


def test_a_root_of_the_host_s_programs(scene: Scene) -> None:
    scene.apply(network(), container("a", link(11), root={"image": "host"}, dns={"nameservers": ["192.0.2.53"]},
                                     process={"args": ["/bin/sleep", "100000"]}), container("b", link(12)))
    assert scene.read("a") == sorted([*lines(11, "a"), *lines(12, "b")])
    assert scene.read("a", "/etc/resolv.conf") == ["nameserver 192.0.2.53"]


@pytest.mark.parametrize("words", [(), ("stop",), ("restart",), ("recreate",)])
def test_a_new_init_finds_them(scene: Scene, words: tuple[str, ...]) -> None:
    one = container("one", link(11), dns={"nameservers": ["192.0.2.53"]})
    scene.apply(network(), one, container("two", link(12)))
    if words == ("stop",):
        scene.verbs("stop", "--time", "0", "one")
    elif words == ("restart",):
        one["process"] = {"args": ["/bin/sleep", "200000"]}
    elif words == ("recreate",):
        one["root"] = {"image": "busybox", "overlay": {"volatile": False}}
    scene.apply(one)
    assert scene.read("one") == sorted([*lines(11, "one"), *lines(12, "two")])
    assert scene.read("one", "/etc/resolv.conf") == ["nameserver 192.0.2.53"]
    assert scene.mounted("one") == ["/etc/hosts", "/etc/resolv.conf"]


def test_drift_of_a_file_that_somebody_replaced(scene: Scene) -> None:
    """Each container that saw the former one is told at its own apply."""
    one, two = container("one", link(11)), container("two", link(12))
    scene.apply(network(), one, two)
    file = next(scene.names.iterdir())
    scene.host("sh", "-ec", f"cd /run/runspec/state/names; cp {file.name} x; echo 192.0.2.66 two >>x; mv x {file.name}")
    found = json.loads(scene.verbs("diff", "-o", "json", scene.file(one), status=1))["changes"]
    assert [(change["path"], change["cause"]) for change in found] == [("hosts", "drifted")]
    scene.apply(one)
    assert scene.read("one") == sorted([*lines(11, "one"), *lines(12, "two")])
    scene.verbs("diff", scene.file(two), status=1)
    scene.apply(two)
    assert scene.read("two") == scene.read("one")


def test_a_failing_apply_gives_the_names_back(scene: Scene) -> None:
    scene.apply(network(), container("one", link(11)))
    bad = container("bad", link(12), process={"args": ["/bin/nothing"]}, dns={"nameservers": ["192.0.2.53"]})
    scene.verbs("apply", scene.file(bad, container("one", link(11), extraHosts={"x": "192.0.2.7"})), status=2)
    assert scene.read("one") == lines(11, "one")
    assert [one.name for one in scene.names.iterdir()] == ["networks.lan0.hosts"]
    scene.verbs("diff", scene.file(container("one", link(11))))


def test_a_kept_plan_is_refused_when_siblings_came(scene: Scene) -> None:
    """Or the names that it holds would take theirs away."""
    scene.apply(network(), container("one", link(11)))
    file, kept = scene.file(container("two", link(12)), name="two.yaml"), scene.folder / "plan.json"
    scene.verbs("plan", "--out", kept, file)
    scene.apply(container("three", link(13)))
    status, text = scene.verbs.run("apply", kept)
    assert status == 2 and "two: names" in text
    scene.verbs("plan", "--out", kept, file)
    scene.verbs("apply", kept)
    assert scene.read("three") == sorted([*lines(11, "one"), *lines(12, "two"), *lines(13, "three")])


def test_warnings(scene: Scene) -> None:
    four = container("a", link(11), hostname="web", dns={"nameservers": [f"192.0.2.{n}" for n in range(1, 5)]})
    said = scene.verbs("plan", scene.file(network(), four, container("b", link(12), hostname="web")))
    assert "warning: a: dns.nameservers: the C library asks the first 3 of 4, resolv.conf(5)\n" in said
    assert "warning: a and b call themselves web on lan0: siblings reach the first\n" in said


def test_many_at_once(scene: Scene) -> None:
    """Runs on one network, and on two that have a member in common, wait for each other: no name is lost."""
    scene.apply(network(), network("lan1", 1), container("both", link(5), link(5, "lan1", 1, "eth1")))
    made = {f"c{n}": link(20 + n, f"lan{n % 2}", n % 2) for n in range(6)}
    files = [scene.file(container(name, one), name=f"{name}.yaml") for name, one in made.items()]
    runs = [scene.cli.popen("apply", "--yes", file) for file in files]
    for run in runs:
        said = run.communicate()
        assert run.returncode == 0, said
    known = [line for n, name in enumerate(made) for line in lines(20 + n, name, number=n % 2)]
    assert scene.read("both") == sorted([*known, *lines(5, "both"), *lines(5, "both", number=1)])
    runs = [scene.cli.popen("destroy", "--yes", name) for name in made]
    for run in runs:
        said = run.communicate()
        assert run.returncode == 0, said
    assert scene.read("both") == sorted([*lines(5, "both"), *lines(5, "both", number=1)])


# Roots that mean harm, or only lack something: what is below them beforehand, as shell words in the root's folder.
ROOTS = {
    "a link out of the root": "mkdir etc; ln -s ../../outside etc/hosts; ln -s /outside etc/resolv.conf",
    "links that lead nowhere": "mkdir etc; ln -s /run/nowhere/hosts etc/hosts; ln -s ../run/stub etc/resolv.conf",
    "links into /proc": "mkdir etc; ln -s /proc/self/environ etc/hosts;"
                        "ln -s /proc/sys/kernel/core_pattern etc/resolv.conf",
    "links to each other": "mkdir etc; ln -s resolv.conf etc/hosts; ln -s hosts etc/resolv.conf",
    "links to itself": "mkdir etc; ln -s hosts etc/hosts; ln -s resolv.conf etc/resolv.conf",
    "/etc leads elsewhere": "mkdir conf; ln -s conf etc; touch conf/hosts",
    "/etc leads out of the root": "ln -s ../../.. etc",
    "nothing there": ":",
    "a device": "mkdir etc; mknod etc/hosts c 1 1; mkfifo etc/resolv.conf",
    "files that none may read": "mkdir etc; echo x >etc/hosts; echo y >etc/resolv.conf; chmod 0 etc/*",
}


@pytest.mark.parametrize("root", ROOTS)
def test_hostile_roots(scene: Scene, root: str) -> None:
    """The mount lies at exactly that path, and nothing outside of the root is touched."""
    top = tree(scene.folder)
    scene.host("sh", "-ec", f"cd {top}; {ROOTS[root]}")
    outside = {path: path.read_text() for path in (scene.folder / "outside", scene.folder.parent / "outside")
               if path.exists()}
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    document = container("a", link(11), root={"path": str(top)}, dns={"nameservers": ["192.0.2.53"]})
    for later in (False, True):
        first = container("a", root={"path": str(top)}) if later else document
        scene.apply(network(), first)
        scene.apply(document)
        assert scene.read("a") == lines(11, "a")
        assert scene.read("a", "/etc/resolv.conf") == ["nameserver 192.0.2.53"]
        scene.apply(container("a", root={"path": str(top)}))
        assert scene.mounted("a") == []
        scene.verbs("destroy", "--yes", "a")
    assert {path: path.read_text() for path in outside} == outside
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern
    assert not (scene.folder / "hosts").exists() and not Path("/hosts").exists()


def tree(folder: Path) -> Path:
    """A root with a busybox in it, beside a file that must stay as it is."""
    top = folder / "root"
    for name in ("bin", "dev", "proc", "sys", "run"):
        (top / name).mkdir(parents=True)
    (top / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (top / "bin/busybox").chmod(0o755)
    for name in ("sleep", "cat", "sh"):
        (top / "bin" / name).symlink_to("busybox")
    (folder / "outside").write_text("outside\n")
    return top


@pytest.mark.parametrize(("words", "why"), [
    ("mkdir -p etc/hosts", "the root has a directory at this path, or a file where /etc should be"),
    ("touch etc", "the root has a directory at this path, or a file where /etc should be"),
])
def test_roots_that_cannot_have_them(scene: Scene, words: str, why: str) -> None:
    top = tree(scene.folder)
    scene.host("sh", "-ec", f"cd {top}; {words}")
    before = scene.cli.picture()
    file = scene.file(network(), container("a", link(11), root={"path": str(top)}))
    status, text = scene.verbs.run("apply", file)
    assert status == 2 and f"  why: {why}\n" in text
    assert "  fix: put an empty file there, or give the container a mount of its own at this path\n" in text
    assert_nothing_leaked(before, scene.cli.picture)


def test_a_root_that_cannot_be_written(scene: Scene) -> None:
    """A file that is missing there cannot be made, one that is there will do."""
    top = tree(scene.folder)
    (top / "etc").mkdir()
    scene.host("mount", "--bind", "-o", "ro", str(top), str(top))
    scene.host("mount", "-o", "remount,bind,ro", str(top))
    before = scene.cli.picture()
    file = scene.file(network(), container("a", link(11), root={"path": str(top), "readonly": True}))
    status, text = scene.verbs.run("apply", file)
    assert status == 2 and "  why: the root has no such file, and it lies where none can be made\n" in text
    assert_nothing_leaked(before, scene.cli.picture)
    (top / "etc/hosts").write_text("")
    scene.apply(network(), container("a", link(11), root={"path": str(top), "readonly": True}))
    assert scene.read("a") == lines(11, "a")


class Case:
    """What a verb that is killed begins with, and what must be true once the next one is through."""

    def __init__(self, before: list[dict[str, Any]], after: list[dict[str, Any]], words: tuple[str, ...]) -> None:
        self.before, self.after, self.words = before, after, words


BASE = [network(), container("one", link(11), dns={"nameservers": ["192.0.2.53"]}), container("two", link(12))]
EDITED = [network(), container("one", link(21), extraHosts={"db": "192.0.2.7"}),
          container("two", link(12), hostname="web", dns={"search": ["example"]})]
CASES = {
    "apply": Case([], BASE, ("apply", "--yes")),
    "in place": Case(BASE, EDITED, ("apply", "--yes")),
    "isolate": Case(BASE, [network(isolated=True)], ("apply", "--yes")),
    "one more": Case(BASE, [container("three", link(13))], ("apply", "--yes")),
    "one less": Case(BASE, [], ("destroy", "--yes", "two")),
    "none": Case(BASE, BASE, ("destroy", "--yes")),
}


@pytest.mark.parametrize("case", CASES)
def test_kill_at_every_act(scene: Scene, case: str) -> None:
    """All acts with RUNSPEC_FULL=1, else a sample drawn from RUNSPEC_SEED: the next run puts all names right."""
    one, draw, n = CASES[case], random.Random(f"{SEED} {case}"), 0
    scene.apply(*BASE)
    everyone = ("one", "two", "three", "lan0")
    scene.verbs.run("destroy", "--yes", *everyone[:2], "lan0")
    before = scene.cli.picture()
    while True:
        n += 1 if FULL else draw.randint(1, 29)
        if one.before:
            scene.apply(*one.before)
        file = scene.file(*one.after, name="after.yaml") if one.after else None
        words = [*one.words, *([file] if file else [])]
        status, text = scene.verbs.run(*words, fault=f"kill@{n}")
        assert status in (0, -signal.SIGKILL), f"{case} kill@{n}: {text}"
        if case == "none":
            scene.verbs(*words)
        elif case == "one less":
            scene.verbs.run(*words)
            assert scene.read("one") == lines(11, "one"), f"kill@{n}"
        elif case == "isolate":
            # Whatever the next run is about: the network is as before, or as it should be, and its names with it.
            scene.verbs("apply", "--yes", scene.file(container("three")))
            scene.verbs("diff", scene.file(*BASE[1:]))
            scene.verbs("apply", "--yes", file)
            scene.verbs("diff", scene.file(*one.after, *BASE[1:]))
            assert (scene.read("one"), scene.read("two")) == (lines(11, "one"), lines(12, "two")), f"kill@{n}"
        else:
            scene.verbs("apply", "--yes", file)
            scene.verbs("diff", file)
            known = {"apply": [*lines(11, "one"), *lines(12, "two")],
                     "in place": [*lines(21, "one"), *lines(12, "web", "two")],
                     "one more": [*lines(11, "one"), *lines(12, "two"), *lines(13, "three")]}[case]
            assert scene.read("two") == sorted(known), f"kill@{n}"
            assert scene.read("one") == sorted([*known, *["192.0.2.7 db"] * (case == "in place")]), f"kill@{n}"
        left = [name for name in everyone if (scene.names.parent / "containers" / name).exists()]
        if case != "none":
            scene.verbs("destroy", "--yes", *left, "lan0")
        assert not scene.names.exists()
        assert_nothing_leaked(before, scene.cli.picture)
        if status == 0:
            return


def test_a_machine_without_its_state_directory(netns: Netns) -> None:
    """`diff` and `plan` alone make no room for names."""
    cli = Cli(netns, Path("/run/runspec/none"))
    text = yaml.safe_dump_all([network(), container("a", link(11))])
    cli("diff", "-", status=1, input=text)
    cli("plan", "-", input=text)
    assert netns.run("ls", "/run/runspec/none").returncode != 0
