"""Rules that only another door can break, and files of the host; the rest is in tests/faults/."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from runspec.errors import Mark
from runspec.spec import from_yaml, mount_options, rules, rules_host, source
from runspec.spec.model import (
    Capabilities,
    Cpu,
    Interface,
    Linux,
    Memory,
    Mount,
    Namespace,
    Process,
    Resources,
    Rlimit,
    Root,
    Spec,
    User,
)
from runspec.spec.rules_kinds import clash

FAULTS = Path(__file__).parent.parent / "faults"
FILES = {"names.yaml": 40, "paths.yaml": 60, "ids.yaml": 40, "resources.yaml": 50, "mounts.yaml": 40}


@pytest.mark.parametrize(("file", "least"), FILES.items())
def test_corpora_are_whole(file: str, least: int) -> None:
    """tests/test_faults.py judges each entry."""
    names = [case["name"] for case in yaml.safe_load((FAULTS / file).read_text())]
    assert len(names) == len(set(names)) >= least


def spec(**more: Any) -> Spec:
    more = {"name": "a", "root": Root(image="busybox"), "process": Process(args=("sh",)), **more}
    return Spec(**more)


@pytest.mark.parametrize(("model", "fault"), [
    (spec(process=Process(args=())), "process.args: names no program"),
    (spec(process=Process(args=("a\0",))), "process.args[0]: holds a NUL character"),
    (spec(process=Process(args=("a",), env=("A",))), "process.env[0]: `A` is no NAME=value"),
    (spec(process=Process(args=("a",), env=("A=1", "A=2"))), "process.env[1]: `A` is set twice"),
    (spec(process=Process(args=("a",), user=User(uid=-1))), "process.user.uid: -1 is no id"),
    (spec(process=Process(args=("a",), oom_score_adj=1001)), "process.oomScoreAdj: 1001 is out of range"),
    (spec(process=Process(args=("a",), rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=-1, hard=1),))),
     "process.rlimits[0].soft: -1 is out of range"),
    (spec(process=Process(args=("a",), capabilities=Capabilities(bounding=("CAP_KIL",)))),
     "process.capabilities.bounding: `CAP_KIL` is no capability"),
    (spec(process=Process(args=("a",), capabilities=Capabilities(permitted=("CAP_KILL",)))),
     "process.capabilities.permitted: CAP_KILL is not in bounding"),
    (spec(process=Process(args=("a",), capabilities=Capabilities(bounding=("CAP_KILL",),
                                                                 effective=("CAP_KILL",)))),
     "process.capabilities.effective: CAP_KILL is not in permitted"),
    (spec(process=Process(args=("a",), capabilities=Capabilities(
        bounding=("CAP_KILL",), permitted=("CAP_KILL",), ambient=("CAP_KILL",)))),
     "process.capabilities.ambient: CAP_KILL is not in inheritable"),
    (spec(hostname="h"), "hostname: needs a uts namespace of the container's own"),
    (spec(linux=Linux(sysctl=(("net.x", "1"),))),
     "linux.sysctl.net.x: needs a network namespace of the container's own"),
    (spec(linux=Linux(sysctl=(("fs.mqueue.msg_max", "1"),))),
     "linux.sysctl.fs.mqueue.msg_max: needs a ipc namespace of the container's own"),
    (spec(linux=Linux(namespaces=(Namespace(type="ipc"), Namespace(type="ipc")))),
     "linux.namespaces[1].type: ipc is given twice"),
    (spec(linux=Linux(namespaces=(Namespace(type="ipc", path="/x", container="b"),))),
     "linux.namespaces[0].container: contradicts path"),
    (spec(linux=Linux(namespaces=(Namespace(type="nett"),))),
     "linux.namespaces[0].type: `nett` is no kind of namespace"),
    (spec(linux=Linux(resources=Resources(memory=Memory(swappiness=101)))),
     "linux.resources.memory.swappiness: 101 is out of range"),
    (spec(linux=Linux(resources=Resources(cpu=Cpu(weight=0)))),
     "linux.resources.cpu.weight: 0 is out of range"),
    (spec(mounts=(Mount(destination="/a/b", type="tmpfs"), Mount(destination="/a", type="tmpfs"))),
     "mounts[1].destination: `/a` would hide `/a/b`"),
])
def test_rules_need_no_marks(model: Spec, fault: str) -> None:
    assert fault in [one.what for one in rules.check(model, {})]


@pytest.mark.parametrize(("key", "what"), [
    ("kernel.core_pattern", "`kernel.core_pattern` holds for the whole host"),
                                           ("kernel.hostname", "is what hostname says"),
    ("net/ipv4/ip_forward", "`net/ipv4/ip_forward` is no sysctl key"),
                                           ("net.ipv4..x", "`net.ipv4..x` is no sysctl key"),
    ("net.a+b", "`net.a+b` is no sysctl key"), ("net.a\nkernel.core_pattern",
                                                r"`net.a\nkernel.core_pattern` is no sysctl key"),
    ("kernel.shmmaxx", "`kernel.shmmaxx` holds for the whole host"),
                                           ("vm.swappiness", "`vm.swappiness` holds for the whole host"),
    ("net", "`net` holds for the whole host"),
])
def test_sysctl_keys_of_the_host_are_refused(key: str, what: str) -> None:
    linux = Linux(namespaces=tuple(Namespace(type=kind) for kind in ("ipc", "network", "uts")),
                  sysctl=((key, "1"),))
    assert [one.what for one in rules.check(spec(linux=linux), {})] == [f"linux.sysctl.{key}: {what}"]


@pytest.mark.parametrize("value", ["", "1\n2", "1\n", "\n", "1\0"])
def test_sysctl_values_are_one_line(value: str) -> None:
    linux = Linux(namespaces=(Namespace(type="ipc"),), sysctl=(("kernel.msgmax", value),))
    assert [one.what for one in rules.check(spec(linux=linux), {})] == [
        "linux.sysctl.kernel.msgmax: has no value of one line"]


LINK: dict[str, Any] = {"name": "eth0", "type": "veth", "network": "lan0",
                        "addresses": ("10.77.0.11/24", "fd00::b/64")}


@pytest.mark.parametrize(("link", "what"), [
    ({"gateway": ("10.78.0.1",)}, "gateway[0]: 10.78.0.1 is in no network of this link"),
    ({"gateway": ("10.77.0.11",)}, "gateway[0]: 10.77.0.11 is this link's own address"),
    ({"gateway": ("10.77.0.1", "10.77.0.2")}, "gateway[1]: is a second gateway of one family"),
    ({"mtu": 67}, "mtu: 67 is out of range"), ({"mtu": 1000}, "mtu: 1000 is too small for IPv6"),
    ({"mac": "01:00:5e:00:00:01"}, "mac: 01:00:5e:00:00:01 is no address of one station"),
    ({"addresses": ("10.77.0.0/24",)}, "addresses[0]: `10.77.0.0/24` is the network address"),
    ({"addresses": ("10.77.0.255/24",)}, "addresses[0]: `10.77.0.255/24` is the broadcast address"),
    ({"addresses": ("0.0.0.0/0",)}, "addresses[0]: `0.0.0.0/0` is no address of one host"),
    ({"addresses": ("224.0.0.1/4",)}, "addresses[0]: `224.0.0.1/4` is no address of one host"),
    ({"addresses": ("::ffff:10.0.0.1/120",)},
     "addresses[0]: `::ffff:10.0.0.1/120` is an IPv4 address in IPv6 form"),
    ({"addresses": ("10.77.0.1/24", "10.77.0.1/16")}, "addresses[1]: `10.77.0.1` is given twice"),
])
def test_links(link: dict[str, Any], what: str) -> None:
    model = spec(linux=Linux(namespaces=(Namespace(type="network"),)),
                 interfaces=(Interface(**{**LINK, **link}),))
    assert [one.what for one in rules.check(model, {})] == [f"interfaces[0].{what}"]


def test_links_need_a_network_namespace_of_their_own() -> None:
    joined = Linux(namespaces=(Namespace(type="network", container="b"),))
    assert "interfaces: need a network namespace of the container's own" in [
        one.what for one in rules.check(spec(linux=joined, interfaces=(Interface(**LINK),)),
                                        {})]


def test_options_are_sorted_by_what_serves_them() -> None:
    found = mount_options.parse(("rbind", "ro", "rnosuid", "noatime", "rslave", "idmap", "optional"))
    assert found.bind and found.recursive and found.idmap and not found.ridmap and found.optional
    assert found.set == ("MOUNT_ATTR_RDONLY", "MOUNT_ATTR_NOATIME") and found.clear == ("MOUNT_ATTR__ATIME",)
    assert found.rset == ("MOUNT_ATTR_NOSUID",) and found.propagation == ("rslave",) and found.data == ()
    assert mount_options.parse(("size=1M", "nosuid", "sync", "silent")).data == ("size=1M", "sync")


# What OCI's table "Linux mount options" lists.
OCI = """
async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime
noexec noiversion
nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime
relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro
rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave
strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap
"""


@pytest.mark.parametrize("word", OCI.split())
def test_every_option_of_oci_is_known(word: str) -> None:
    assert word in mount_options.KNOWN or word in mount_options.REFUSED


def host_faults(text: str) -> list[str]:
    documents, unread = source.parse(text, "t.yaml")
    return [one.text() for one in rules.judge(documents, unread, host=True)[1]]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A directory with one of each kind of file."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "link").symlink_to("dir")
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(tmp_path)      # a socket's path has at most 107 bytes
        one.bind("socket")
        os.chdir(here)
    return tmp_path


ROOT = [("missing", "does not exist"), ("file", "is a file"), ("fifo", "is a FIFO"),
        ("socket", "is a socket"),
        ("loop", "is a loop of links"), ("dangling", "leads nowhere, it is a dangling link"),
        ("loop/x", "is a loop of links"),
        ("file/x", "does not exist: a part of it is no directory"), ("dir", ""), ("link", "")]


@pytest.mark.parametrize(("name", "what"), ROOT)
def test_root_is_a_directory(odd: Path, name: str, what: str) -> None:
    text = f"apiVersion: runspec/v1\nname: a\nroot:\n  path: {odd}/{name}\nprocess: {{args: [sh]}}\n"
    assert host_faults(text) == ([
        f"t.yaml:4:9: root.path: {odd}/{name} {what}\n"
        "  why: the root file system is a directory of the host\n"
        "  fix: create it, or write image: busybox"] if what else [])


@pytest.mark.parametrize(("name", "what"), [
    ("missing", "does not exist"), ("loop", "is a loop of links"),
                                            ("dangling", "leads nowhere, it is a dangling link"),
    ("file", ""), ("dir", ""), ("fifo", ""), ("socket", ""), ("link", "")])
def test_sources_of_binds_exist(odd: Path, name: str, what: str) -> None:
    text = ("apiVersion: runspec/v1\nname: a\nroot: {image: busybox}\nprocess: {args: [sh]}\n"
            f"mounts:\n- destination: /a\n  type: bind\n  source: {odd}/{name}\n")
    assert host_faults(text) == ([
        f"t.yaml:8:11: mounts[0].source: {odd}/{name} {what}\n"
        "  why: a bind mount needs an existing source, mount(2)\n"
        "  fix: create it, or set `optional: true` on this mount"] if what else [])


def test_an_optional_source_may_be_missing(odd: Path) -> None:
    text = ("apiVersion: runspec/v1\nname: a\nroot: {image: busybox}\nprocess: {args: [sh]}\n"
            f"mounts: [{{destination: /a, type: bind, optional: true, source: {odd}/missing}}]\n")
    assert host_faults(text) == []


def test_a_namespace_is_joined_by_its_file(odd: Path) -> None:
    found = rules_host.check_host(spec(linux=Linux(namespaces=(
        Namespace(type="ipc", path=f"{odd}/dir"), Namespace(type="uts", path="/proc/self/ns/uts")))), {})
    assert [one.what for one in found] == [f"linux.namespaces[0].path: {odd}/dir is a directory"]


def test_a_hundred_documents_are_quick() -> None:
    text = "---\n".join(
        f"apiVersion: runspec/v1\nname: c{i}\nroot: {{image: busybox}}\nprocess: {{args: [sh]}}\n"
        "linux: {resources: {cpu: {weight: 25}, memory: {limit: 64Mi}, pids: {limit: 64}}}\n"
                        for i in range(100))
    documents, _ = source.parse(text, "t.yaml")
    begun = time.process_time()
    for model, placed in from_yaml.read(documents):
        assert rules.check(model, placed.marks) == []
    assert time.process_time() - begun < 0.1


def test_judge_keeps_file_order_over_files() -> None:
    one, _ = source.parse("apiVersion: runspec/v1\nname: -a\nroot: {image: busybox}\nprocess: {args: [sh]}\n",
                          "b.yaml")
    two, _ = source.parse("apiVersion: runspec/v1\nname: -a\nroot: {image: x}\nprocess: {args: 5}\n",
                          "a.yaml")
    at = [one.at for one in rules.judge([*one, *two])[1]]
    assert at == [Mark("b.yaml", 2, 7), Mark("a.yaml", 2, 7), Mark("a.yaml", 3, 15), Mark("a.yaml", 4, 17)]


@pytest.mark.parametrize(("first", "second", "told"), [(None, "l2", ""), ("l2", None, ""), (None, "l3", "mode l2")])
def test_a_mode_that_is_not_written_is_the_first(first: str | None, second: str | None, told: str) -> None:
    one, other = (Interface(name=name, type="ipvlan", parent="p0", mode=mode)
                  for name, mode in (("b", second), ("a", first)))
    found = clash(one, other)
    assert told in found[1] if found is not None else not told
