"""Trees of files -> Specs: shorthands, defaults, double documents, the spelled-out form."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from runspec.errors import SpecError
from runspec.spec import compose, defaults, from_yaml, rules, schema, source, to_yaml
from runspec.spec.model import Network, Overlay, Spec

HEAD = "apiVersion: runspec/v1\nname: a\n"
PLAIN = HEAD + "root: {image: busybox}\nprocess: {args: [sh]}\n"
RICH = HEAD + """\
labels: {tier: web}
project: p
hostname: h
domainname: d.example
root: {image: busybox, overlay: {volatile: false}}
process:
  args: sh -c 'echo "a b"'
  cwd: /tmp
  env: {A: 1, B: true, C: x y}
  user: {uid: 5, gid: 6, umask: 077, additionalGids: [7, 8]}
  capabilities: {bounding: [CAP_KILL, CAP_CHOWN], permitted: [CAP_KILL]}
  rlimits: [{type: RLIMIT_NOFILE, soft: 1k, hard: unlimited}, {type: RLIMIT_CORE, soft: 0, hard: 5}]
  noNewPrivileges: false
  oomScoreAdj: 100
mounts:
- {destination: /data, type: bind, source: /srv, optional: true, options: [ro]}
- {destination: /dev/shm, type: tmpfs, source: shm, options: [size=1M]}
- destination: /mapped
  source: /srv
  options: [rbind, idmap]
  uidMappings: [{containerID: 0, hostID: 1000, size: 1}]
  gidMappings: [{containerID: 0, hostID: 1000, size: 1}]
linux:
  namespaces: [{type: time}, {type: ipc, path: /proc/1/ns/ipc}, {type: user}, {type: cgroup, container: b}]
  uidMappings: [{containerID: 0, hostID: 100000, size: 65536}]
  gidMappings: [{containerID: 0, hostID: 100000, size: 65536}]
  timeOffsets: {monotonic: {secs: 5}, boottime: {secs: -1, nanosecs: 7}}
  devices: [{path: /dev/fuse, type: c, major: 10, minor: 229, fileMode: 0666}]
  cgroupsPath: /other/a
  resources:
    cpu: {weight: 25, quota: 25%, burst: 5ms, cpus: "1,0"}
    memory: {limit: 64Mi, reservation: 32Mi, swap: 128Mi}
    pids: {limit: 64}
    devices: [{allow: true, type: c, major: 10, minor: 229, access: wr}]
    unified: {io.weight: default 5}
  sysctl: {net.ipv4.ip_forward: 1}
  rootfsPropagation: slave
  seccomp: null
  maskedPaths: []
annotations: {k: v}
interfaces:
- {name: eth0, type: veth, network: lan0, mac: "02:00:0A:4D:00:0B", mtu: 1400,
   addresses: [10.77.0.11/24, "FD00::1/64"], gateway: 10.77.0.1,
   routes: [{to: 10.9.0.0/16, via: 10.77.0.2, metric: 5}]}
"""


def documents(text: str) -> list[compose.Document]:
    found, faults = source.parse(text, "t.yaml")
    assert not faults
    assert [fault.text() for one in found for fault in schema.check(one)] == []
    return found


def spec(text: str) -> Spec:
    [(model, _)] = from_yaml.read(documents(text))
    assert isinstance(model, Spec)
    return model


def test_the_shortest_file_is_safe() -> None:
    model = spec(PLAIN)
    assert model.hostname == "a"
    assert model.root.overlay == Overlay(volatile=True)
    assert model.process.no_new_privileges
    assert len(model.process.capabilities.bounding) == 14
    assert model.process.capabilities.inheritable == model.process.capabilities.ambient == ()
    assert model.process.user.umask == 0o022
    assert model.process.env == (defaults.PATH,)
    assert [(one.type, one.soft, one.hard) for one in model.process.rlimits] == [("RLIMIT_CORE", 0, 0)]
    assert [one.type for one in model.linux.namespaces] == ["pid", "mount", "uts", "ipc", "network", "cgroup"]
    assert all(one.path is None and one.container is None for one in model.linux.namespaces)
    assert [one.destination for one in model.mounts] == [
        "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]
    assert model.linux.cgroups_path == "/runspec/a"
    assert model.linux.resources.pids.limit == 4096
    assert not model.linux.resources.devices[0].allow
    assert model.linux.rootfs_propagation == "private"
    assert "/proc/kcore" in model.linux.masked_paths
    assert "/proc/sys" in model.linux.readonly_paths
    assert model.linux.sysctl == () and model.linux.devices == () and model.interfaces == ()


def test_shorthands_become_ocis_values() -> None:
    model = spec(RICH)
    assert model.process.args == ("sh", "-c", 'echo "a b"')
    assert model.process.env == (defaults.PATH, "A=1", "B=true", "C=x y")
    assert model.process.user.umask == 0o077
    assert model.process.capabilities.bounding == ("CAP_CHOWN", "CAP_KILL")
    assert [(one.type, one.soft, one.hard) for one in model.process.rlimits] == [
        ("RLIMIT_CORE", 0, 5), ("RLIMIT_NOFILE", 1000, 2**64 - 1)]
    assert model.root.overlay == Overlay(volatile=False, upper="/var/lib/runspec/a/rootfs")
    cpu = model.linux.resources.cpu
    assert (cpu.weight, cpu.quota, cpu.period, cpu.burst, cpu.cpus) == (25, 25_000, 100_000, 5000, "0-1")
    assert model.linux.resources.memory.limit == 64 << 20
    assert model.linux.resources.devices[-1].access == "rw"
    assert model.linux.devices[0].file_mode == 0o666
    assert model.linux.sysctl == (("net.ipv4.ip_forward", "1"),)
    assert [(one.clock, one.secs, one.nanosecs) for one in model.linux.time_offsets] == [
        ("boottime", -1, 7), ("monotonic", 5, 0)]
    link = model.interfaces[0]
    assert (link.mac, link.addresses, link.gateway) == ("02:00:0a:4d:00:0b", ("10.77.0.11/24", "fd00::1/64"),
                                                        ("10.77.0.1",))


def test_lists_that_amend_the_standard_ones() -> None:
    model = spec(RICH)
    assert [one.destination for one in model.mounts] == [
        "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup", "/data", "/mapped"]
    assert model.mounts[3].options == ("size=1M",)
    assert model.mounts[7].type is None and model.mounts[7].options == ("bind", "ro", "optional")
    assert [(one.type, one.path or one.container) for one in model.linux.namespaces] == [
        ("user", None), ("pid", None), ("mount", None), ("uts", None), ("ipc", "/proc/1/ns/ipc"),
                                                                                         ("network", None),
        ("cgroup", "b"), ("time", None)]
    assert model.linux.resources.devices[:-1] == defaults.DEVICE_RULES
    assert model.linux.masked_paths == ()
    assert model.linux.readonly_paths == defaults.READONLY_PATHS


def test_device_rules_that_begin_with_all_stand_alone() -> None:
    model = spec(PLAIN + "linux: {resources: {devices: ["
                 "{allow: false}, {allow: true, type: c, major: 1, minor: -1}]}}\n")
    assert len(model.linux.resources.devices) == 2
    assert model.linux.resources.devices[1].minor is None


@pytest.mark.parametrize(("root", "overlay"), [
    ("{image: busybox}", Overlay(volatile=True)), ("{image: busybox, readonly: true}", None),
    ("{path: /srv/a}", None), ("{path: /srv/a, overlay: {}}", Overlay(volatile=True)),
    ("{image: busybox, overlay: {upper: /up}}", Overlay(volatile=False, upper="/up")),
    ("{image: busybox, overlay: {volatile: false}}",
     Overlay(volatile=False, upper="/var/lib/runspec/a/rootfs")),
    ("{image: busybox, overlay: {volatile: true}}", Overlay(volatile=True)),
])
def test_layers(root: str, overlay: Overlay | None) -> None:
    assert spec(HEAD + f"root: {root}\nprocess: {{args: [sh]}}\n").root.overlay == overlay


def test_a_shared_uts_namespace_keeps_its_name() -> None:
    assert spec(PLAIN + "linux: {namespaces: [{type: uts, path: /proc/1/ns/uts}]}\n").hostname is None


@pytest.mark.parametrize("text", [PLAIN, RICH,
                                  HEAD + "root: {path: /srv/a}\nprocess: {args: [sh], env: [PATH=/x, A=]}\n",
                                  "apiVersion: runspec/v1\nkind: Network\nname: lan0\ntype: bridge\n"
                                  "addresses: [10.77.0.1/24]\nmtu: 1400\n"])
def test_the_spelled_out_form_means_the_same(text: str) -> None:
    [(model, _)] = from_yaml.read(documents(text))
    tree = to_yaml.config_tree(model)
    again = yaml.safe_dump(tree, sort_keys=False)
    [(other, placed)] = from_yaml.read(documents(again))
    assert other == model
    assert to_yaml.config_tree(other) == tree
    assert rules.check(other, placed.marks) == []
    if isinstance(model, Spec):
        assert tree["linux"]["seccomp"] == ("unconfined" if model.linux.seccomp is None else "default")


def test_equal_documents_count_once_and_kinds_have_their_own_names() -> None:
    again = PLAIN.replace("[sh]", "sh")
    text = f"{PLAIN}---\n{again}---\n" + ("apiVersion: runspec/v1\nkind: Network\nname: a\ntype: bridge\n")
    assert [type(model) for model, _ in from_yaml.read(documents(text))] == [Spec, Network]


def test_unequal_documents_name_both_places() -> None:
    with pytest.raises(SpecError) as caught:
        from_yaml.read(documents(PLAIN + "---\n" + PLAIN + "linux: {resources: {cpu: {weight: 5}}}\n"))
    assert caught.value.text() == (
        "t.yaml:7:7: name: Container `a` is declared twice, differently\n"
        "  why: the other is at t.yaml:2:7; they differ first at linux.resources.cpu.weight\n"
        "  fix: make them equal, or give one another name")


def test_marks_go_by_the_specs_own_indices_and_name_the_files() -> None:
    [(_, placed)] = from_yaml.read(documents(RICH))
    path, mark = from_yaml.find(placed.marks, "mounts[7].source")
    assert path == "mounts[0].source" and mark is not None and mark.line == 18
    path, mark = from_yaml.find(placed.marks, "mounts[3].options[0]")
    assert path == "mounts[1].options[0]" and mark is not None and mark.line == 19
    assert from_yaml.find(placed.marks, "linux.namespaces[7].type")[0] == "linux.namespaces[0].type"
    assert from_yaml.find(placed.marks, "process.env[2]")[0] == "process.env.B"
    assert from_yaml.find(placed.marks, "linux.timeOffsets[0].secs")[0] == "linux.timeOffsets.boottime.secs"
    assert from_yaml.find(placed.marks, "process.rlimits[0].hard")[0] == "process.rlimits[1].hard"
    # A standard element stands nowhere in the file: the list around it is named.
    assert from_yaml.find(placed.marks, "mounts[0].type") == ("mounts[0].type", placed.marks["mounts"])


def test_all_faults_in_file_order() -> None:
    text = RICH.replace("limit: 64Mi", "limit: 1.0001Ki").replace("soft: 1k", "soft: 1.0001k")
    found: Any = source.parse(text, "t.yaml")[0]
    _, faults = from_yaml.gather(found)
    with pytest.raises(SpecError) as caught:
        from_yaml.read(found)
    assert len(faults) == 2
    assert [line.partition(": ")[0] for line in caught.value.text().splitlines()
            if not line.startswith(" ")] == [
        "t.yaml:14:41", "t.yaml:34:21"]
