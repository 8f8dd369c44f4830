"""config.json <-> Spec: what each property becomes, what is refused, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runspec.spec import from_oci, json_text, rules, source, to_oci, to_yaml
from runspec.spec.frozen import items
from runspec.spec.model import Device, DeviceRule, Mount, Process, Spec

BUNDLES = Path(__file__).parent / "bundles"
SMALL: dict[str, Any] = {"ociVersion": "1.3.0", "root": {"path": "rootfs"},
                         "process": {"cwd": "/", "args": ["sh"]}}


def merged(base: Any, more: Any) -> Any:
    if isinstance(base, dict) and isinstance(more, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in more.items()}}
    return more


def judged(tree: Any) -> tuple[Spec | None, list[str], list[str]]:
    document = json_text.parse(json.dumps(tree).encode(), "config.json")
    spec, faults, notes = from_oci.read(document, "c1", "/b")
    if spec is not None:
        faults += rules.check(spec, document.marks, oci=True)
    return spec, [one.text() for one in faults], notes


def read(more: Any) -> Spec:
    spec, faults, _ = judged(merged(SMALL, more))
    assert not faults
    assert spec is not None
    return spec


def test_nothing_is_added() -> None:
    spec = read({})
    assert spec.root.path == "/b/rootfs"
    assert spec == Spec(name="c1", root=spec.root, process=Process(args=("sh",)))


def test_without_a_process() -> None:
    spec, faults, _ = judged({"ociVersion": "1.0.0", "root": {"path": "/r"}})
    assert spec is not None
    assert not faults
    assert spec.process == Process(args=())
    assert "process" not in to_oci.config_of(spec)[0]


@pytest.mark.parametrize(("more", "path", "value"), [
    ({"root": {"path": "/r/../s/"}}, "root.path", "/s"),
    ({"linux": {"cgroupsPath": ""}}, "linux.cgroups_path", None),
    ({"linux": {"cgroupsPath": "a/b"}}, "linux.cgroups_path", "/runspec/a/b"),
    ({"linux": {"cgroupsPath": "/a/b"}}, "linux.cgroups_path", "/a/b"),
    ({"linux": {"cgroupsPath": "//a//b/"}}, "linux.cgroups_path", "/a/b"),
    ({"linux": {"cgroupsPath": "a//b/"}}, "linux.cgroups_path", "/runspec/a/b"),
    ({"linux": {"rootfsPropagation": "rslave"}}, "linux.rootfs_propagation", "rslave"),
    ({"linux": {"devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 8630}]}},
     "linux.devices", (Device(path="/dev/fuse", type="c", major=10, minor=229, file_mode=0o666),)),
    ({"linux": {"resources": {"blockIO": {"weight": 0, "leafWeight": 0}}}}, "linux.resources.block_io.weight", None),
    ({"linux": {"resources": {"memory": {"disableOOMKiller": False}}}},
     "linux.resources.memory.disable_oom_killer", None),
    ({"linux": {"resources": {"memory": {"swap": -1}}}}, "linux.resources.memory.swap", -1),
    ({"linux": {"resources": {"cpu": {"quota": -5, "shares": 0}}}}, "linux.resources.cpu.quota", -1),
    ({"linux": {"resources": {"pids": {"limit": -7}}}}, "linux.resources.pids.limit", -1),
    ({"linux": {"resources": {"devices": [{"allow": True, "access": "wr", "major": -1}]}}},
     "linux.resources.devices", (DeviceRule(allow=True, type="a", access="rw"),)),
    ({"process": {"user": {"umask": 18, "additionalGids": [5, 3]}}}, "process.user.umask", 0o022),
    ({"process": {"user": {"additionalGids": [5, 3]}}}, "process.user.additional_gids", (5, 3)),
    ({"process": {"terminal": False, "consoleSize": {"height": 1, "width": 2}}}, "process.console_size", None),
    ({"process": {"apparmorProfile": ""}}, "process.apparmor_profile", None),
    ({"hostname": None}, "hostname", None),
    ({"windows": {"layerFolders": []}, "vm": {}, "x": {"y": [1]}}, "hostname", None),
    ({"mounts": [{"destination": "data/", "type": "bind", "source": "d"}]}, "mounts",
     (Mount(destination="/data", source="/b/d", options=("bind",)),)),
    ({"mounts": [{"destination": "/d", "type": "none", "source": "/s", "options": ["rbind", "ro", "rw"]}]}, "mounts",
     (Mount(destination="/d", source="/s", options=("rbind", "ro", "rw")),)),
    ({"annotations": {"a.b": "1"}}, "annotations", (("a.b", "1"),)),
    ({"linux": {"namespaces": [{"type": "network"}], "netDevices": {"eth1": {"name": "n"}, "eth0": {}}}},
     "linux.net_devices[0].host", "eth0"),
    ({"linux": {"intelRdt": {"closID": "", "enableMonitoring": True}}}, "linux.intel_rdt.clos_id", None),
    ({"hooks": {"poststop": [{"path": "/bin/true", "timeout": 3}]}}, "hooks.poststop[0].timeout", 3),
    ({"process": {"noNewPrivileges": True}, "linux": {"seccomp": {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]}}},
     "linux.seccomp.default_errno_ret", 38),
])
def test_properties(more: Any, path: str, value: object) -> None:
    found: Any = read(more)
    for word in path.split("."):
        name, _, index = word.partition("[")
        found = getattr(found, name)
        found = found[int(index[:-1])] if index else found
    assert found == value


def test_a_denial_of_everything_leaves_the_standard_devices() -> None:
    deny = {"allow": False, "access": "rwm"}
    later = {"allow": False, "type": "c", "major": 1, "minor": 3, "access": "w"}
    found = read({"linux": {"resources": {"devices": [deny, later]}}}).linux.resources.devices
    assert found[0] == DeviceRule(allow=False)
    assert DeviceRule(allow=True, type="c", major=1, minor=3) in found
    assert found[-1] == DeviceRule(allow=False, type="c", major=1, minor=3, access="w")


def test_capabilities_that_cannot_be_granted_are_told_and_left_out() -> None:
    spec, faults, notes = judged(merged(SMALL, {"process": {"capabilities": {
        "bounding": ["CAP_KILL", "CAP_NOPE"], "permitted": ["CAP_KILL", "CAP_CHOWN"], "ambient": ["CAP_KILL"]}}}))
    assert spec is not None
    assert not faults
    caps = spec.process.capabilities
    assert (caps.bounding, caps.permitted, caps.effective, caps.ambient) == (("CAP_KILL",), ("CAP_KILL",), (), ())
    assert len(notes) == 3
    assert '"CAP_NOPE" is no capability' in notes[0]


def test_all_faults_at_once_with_their_paths() -> None:
    _, faults, _ = judged({"ociVersion": "2.0.0", "process": {"cwd": "tmp", "args": "sh"}, "root": {},
                           "linux": {"namespaces": [{"type": "net"}], "resources": {"memory": {"limit": 1.5}}}})
    assert [one.splitlines()[0] for one in faults] == [
        "config.json: ociVersion: 2.0.0 is not read here",
        'config.json: process.cwd: expected an absolute path, found text "tmp"',
        'config.json: process.args: expected a list, found text "sh"',
        "config.json: root.path: missing",
        'config.json: linux.namespaces[0].type: expected one of pid, network, mount, ipc, uts, user, cgroup, time, '
        'found text "net"',
        "config.json: linux.resources.memory.limit: expected an integer, found the number 1.5"]


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0-rc.1", "1.2.1", "1.3.0+meta"])
def test_versions_that_are_read(version: str) -> None:
    assert from_oci.version_fault(version) is None


@pytest.mark.parametrize("version", ["", "1", "1.4.0", "0.9.0", "2.0.0", "1.0", "1.x.0", "v1.0.0", "1.0.0.0"])
def test_versions_that_are_not(version: str) -> None:
    assert from_oci.version_fault(version) is not None


@pytest.mark.parametrize("path", ["/../x", "/a/../b", "/a/..", "/..", "/./x", "/a/.", "/", "//", "..", "../x",
                                  "a/../b", "a/..", ".", "./x", "a/./b", "../../x"])
def test_group_that_leads_elsewhere(path: str) -> None:
    """As in a document, no component is left to be read one way here and another way elsewhere."""
    _, faults, _ = judged(merged(SMALL, {"linux": {"cgroupsPath": path}}))
    assert len(faults) == 1 and faults[0].startswith("config.json: linux.cgroupsPath: ")


def test_systemds_form_of_a_group() -> None:
    _, faults, _ = judged(merged(SMALL, {"linux": {"cgroupsPath": "machine.slice:libpod:abc"}}))
    assert "is systemd's form" in faults[0]


@pytest.mark.parametrize("file", sorted(BUNDLES.glob("*.json")), ids=lambda path: path.stem)
def test_recorded_bundles_there_and_back(file: Path) -> None:
    document = json_text.parse(file.read_bytes(), str(file))
    spec, faults, _ = from_oci.read(document, "c1", "/b")
    assert not faults
    assert spec is not None
    tree, lost = to_oci.config_of(spec)
    assert not lost
    again, faults, _ = from_oci.read(json_text.parse(json.dumps(tree).encode(), "t"), "c1", "/elsewhere")
    assert not faults
    assert again == spec


YAML = """\
apiVersion: runspec/v1
name: both
labels: {tier: web}
project: shop
root: {image: busybox}
process: {args: [sh]}
annotations: {io.runspec.mine: kept, a: b}
landlock: {fs: [{path: /, access: [read]}], net: {bind: [80]}}
mounts: [{destination: /data, source: /srv, options: [bind], optional: true}]
linux:
  namespaces: [{type: network, container: other}]
  resources:
    cpu: {weight: 25}
    devices: [{allow: false}, {allow: true, type: c, major: 1, minor: 3}]
"""


def test_what_oci_lacks_travels_in_annotations() -> None:
    [(spec, _)], faults = rules.judge(*source.parse(YAML, "t.yaml"))
    assert not faults
    assert isinstance(spec, Spec)
    tree, lost = to_oci.config_of(spec)
    assert lost == ["labels", "project", "root.image", "root.overlay", "linux.namespaces[4].container",
                    "linux.resources.cpu.weight", "landlock"]
    assert tree["annotations"]["io.runspec.linux.resources.cpu.weight"] == "25"
    document = json_text.parse(json.dumps(tree).encode(), "config.json")
    assert to_oci.given_name(document.tree) == "both"
    again, faults, notes = from_oci.read(document, "both", "/b")
    assert not faults
    assert not notes
    assert again == spec


@pytest.mark.parametrize(("key", "value"), [
    ("root.image", "[]"), ("process.args", '["evil"]'), ("linux.resources.cpu.weight", '"x"'), ("labels", "{"),
    ("interfaces", '[{"name": 5}]'), ("linux.namespaces[9].container", '"a"'), ("linux.namespaces[x].container", '"a"'),
    ("annotations", "[1]"), ("landlock", "NaN"), ("root.image.deeper", "1"), ("", "1"),
    ("linux.seccomp.x", "5"), ("process.scheduler.x", "1"), ("linux.memoryPolicy.x", "1")])
def test_an_annotation_of_ours_that_was_written_by_hand(key: str, value: str) -> None:
    spec, faults, _ = judged(merged(SMALL, {"annotations": {"io.runspec." + key: value}}))
    assert faults or spec == read({})
    if key != "":
        assert "annotations.io.runspec." in faults[0]


def bare(spec: Spec) -> Spec:
    """Through a YAML document that has no defaults."""
    [(again, _)], faults = rules.judge(*source.parse(to_yaml.dump([to_yaml.config_tree(spec, bare=True)]), "t.yaml"))
    assert not faults
    assert isinstance(again, Spec)
    return again


def test_yaml_without_defaults_is_as_bare_as_a_bundle() -> None:
    text = "apiVersion: runspec/v1\nname: c1\ndefaults: none\nroot: {path: /b/rootfs}\nprocess: {args: [sh]}\n"
    [(spec, _)], faults = rules.judge(*source.parse(text, "t.yaml"))
    assert not faults
    assert spec == read({})
    assert bare(read({})) == read({})
    assert dict(items(spec))["mounts"] == ()
