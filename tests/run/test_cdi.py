"""Devices that the host describes: names, files, conflicts, and what they add to a Spec."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import requires

from runspec.kernel import Kernel
from runspec.run import cdi as reading
from runspec.run.cdi import Machine
from runspec.spec import cdi, rules, source
from runspec.spec.model import Device, DeviceRule, Hook, Mount, Spec

TEXT = "apiVersion: runspec/v1\nname: a\nroot: {image: busybox}\nprocess: {args: [sh]}\n"
NULL = {"deviceNodes": [{"path": "/dev/extra", "hostPath": "/dev/null"}]}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The two directories of descriptions."""
    one, two = tmp_path / "etc", tmp_path / "run"
    one.mkdir()
    two.mkdir()
    monkeypatch.setattr(reading, "PLACES", (str(one), str(two)))
    monkeypatch.chdir(tmp_path)
    return one, two


def describe(place: Path, devices: dict[str, Any], kind: str = "vendor.com/gpu", name: str = "a.json",
             **more: Any) -> None:
    tree = {"cdiVersion": "0.6.0", "kind": kind, **more,
            "devices": [{"name": key, "containerEdits": edits} for key, edits in devices.items()]}
    text = json.dumps(tree, indent="\t") if name.endswith(".json") else yaml.safe_dump(tree)
    (place / name).write_text(text)


def judge(devices: str, more: str = "") -> tuple[Spec | None, str]:
    Path("t.yaml").write_text(f"{TEXT}{more}linux:\n  devices: {devices}\n")
    read, faults = rules.judge(*source.gather(["t.yaml"]), machine=Machine(Kernel()))
    spec = read[0][0] if read else None
    assert spec is None or isinstance(spec, Spec)
    return spec, "\n".join(one.text() for one in faults)


@pytest.mark.parametrize("name", ["vendor.com/gpu=0", "a/b=c", "nvidia.com/gpu=all", "v-1_x.y/c-d=0:1.a_b"])
def test_good_names(name: str) -> None:
    assert cdi.name_fault(name) is None


@pytest.mark.parametrize("name", ["", "gpu", "vendor.com/gpu", "vendor.com=0", "/gpu=0", "v/=0", "v/g=", "1v/g=0",
                                  "v/1g=0", "v./g=0", "v/g=-0", "v/g=0-", "v/g=a b", "v/g=a/b", "v/g=\n", "v/g=ä",
                                  "../v/g=0", "v/g=..", "V:1/g=0"])
def test_bad_names(name: str) -> None:
    assert cdi.name_fault(name) is not None


@pytest.mark.parametrize("version", cdi.VERSIONS)
def test_every_version(version: str) -> None:
    assert cdi.parse({"cdiVersion": version, "kind": "v/g", "devices": []}).kind == "v/g"


FILE: dict[str, Any] = {"cdiVersion": "0.6.0", "kind": "v/g", "devices": []}
EDIT = {**FILE, "devices": [{"name": "0", "containerEdits": {}}]}


def edited(**edits: Any) -> dict[str, Any]:
    return {**FILE, "devices": [{"name": "0", "containerEdits": edits}]}


@pytest.mark.parametrize(("tree", "says"), [
    ([], "is no map"), ({}, "cdiVersion is missing"), ({**FILE, "cdiVersion": "2.0.0"}, "is none of 0.3.0 to 1.0.0"),
    ({**FILE, "kind": "v"}, "kind: `v=x` names no device"), ({**FILE, "more": 1}, "more: unknown key"),
    ({**FILE, "devices": {}}, "devices: is no list of maps"), ({**FILE, "devices": [1]}, "devices: is no list of maps"),
    ({**FILE, "devices": [{"name": "0"}]}, r"devices\[0\]: containerEdits is missing"),
    ({**FILE, "devices": EDIT["devices"] * 2}, "0 is there twice"), (edited(env="A=1"), "env: is no list of texts"),
    (edited(deviceNodes=[{}]), r"deviceNodes\[0\]: path is missing"),
    (edited(deviceNodes=[{"path": "/dev/a", "type": "z"}]), "'z' is none of b, c, u, p"),
    (edited(deviceNodes=[{"path": "/dev/a", "permissions": "x"}]), "'x' holds more than r, w, m"),
    (edited(deviceNodes=[{"path": "/dev/a", "major": -1}]), "-1 is below 0"),
    (edited(deviceNodes=[{"path": "/dev/a", "major": True}]), "major: is no number"),
    (edited(mounts=[{"hostPath": "/a"}]), "containerPath is missing"),
    (edited(hooks=[{"hookName": "later", "path": "/a"}]), "'later' is none of prestart"),
    (edited(additionalGids=["1"]), "is no list of numbers"), (edited(intelRdt={"x": 1}), "intelRdt.x: unknown key"),
])
def test_damaged_descriptions(tree: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        cdi.parse(tree)


@requires("root")
def test_all_edits(places: tuple[Path, Path]) -> None:
    """What a file has for all its devices comes once, then each device's own; numbers come from the host's node."""
    describe(places[0], {
        "0": {**NULL, "env": ["GPU=0"], "mounts": [{"hostPath": "/usr", "containerPath": "/gpu", "options": ["ro"]}],
              "hooks": [{"hookName": "createContainer", "path": "/bin/true", "args": ["true", "x"], "timeout": 5}],
              "additionalGids": [44, 0], "intelRdt": {"closID": "gpu"}},
        "1": {"deviceNodes": [{"path": "/dev/given", "type": "b", "major": 9, "minor": 8, "fileMode": 0o600,
                               "permissions": "r", "uid": 1}, {"path": "/dev/fifo", "type": "p"}]}},
        containerEdits={"env": ["COMMON=1"]})
    spec, text = judge("[{cdi: vendor.com/gpu=0}, {path: /dev/own, type: c, major: 1, minor: 5}, "
                       "{cdi: vendor.com/gpu=1}]", "hooks: {poststop: [{path: /bin/true}]}\n")
    assert not text and spec is not None
    assert spec.linux.cdi_devices == ("vendor.com/gpu=0", "vendor.com/gpu=1")
    assert spec.process.env[-2:] == ("COMMON=1", "GPU=0")
    assert spec.linux.devices == (
        Device(path="/dev/own", type="c", major=1, minor=5), Device(path="/dev/extra", type="c", major=1, minor=3),
        Device(path="/dev/given", type="b", major=9, minor=8, file_mode=0o600, uid=1),
        Device(path="/dev/fifo", type="p"))
    assert spec.linux.resources.devices[-2:] == (
        DeviceRule(allow=True, type="c", major=1, minor=3),
        DeviceRule(allow=True, type="b", major=9, minor=8, access="r"))
    assert spec.mounts[-1] == Mount(destination="/gpu", source="/usr", options=("bind", "ro"))
    assert spec.hooks.create_container == (Hook(path="/bin/true", args=("true", "x"), timeout=5),)
    assert spec.hooks.poststop == (Hook(path="/bin/true"),)
    assert spec.process.user.additional_gids == (44,)
    assert spec.linux.intel_rdt is not None and spec.linux.intel_rdt.clos_id == "gpu"
    # Once more changes nothing.
    machine = Machine(Kernel())
    found = [(index, name, edits) for index, name in enumerate(spec.linux.cdi_devices)
             for edits in machine.cdi(name)[1:]]
    assert cdi.applied(spec, found) == (spec, [])


def test_whoever_runs_may_open_it(places: tuple[Path, Path]) -> None:
    describe(places[0], {"0": NULL})
    Path("t.yaml").write_text(TEXT.replace("[sh]", "[sh], user: {uid: 5, gid: 6}")
                              + "linux: {devices: [{cdi: vendor.com/gpu=0}]}\n")
    read, _ = rules.judge(*source.gather(["t.yaml"]), machine=Machine(Kernel()))
    spec = read[0][0]
    assert isinstance(spec, Spec) and (spec.linux.devices[0].uid, spec.linux.devices[0].gid) == (5, 6)


def test_a_later_directory_wins(places: tuple[Path, Path]) -> None:
    describe(places[0], {"0": {"env": ["FROM=etc"]}, "1": {"env": ["FROM=etc"]}})
    describe(places[1], {"0": {"env": ["FROM=run"]}}, name="b.yaml")
    for device, place in (("0", "run"), ("1", "etc")):
        spec, text = judge(f"[{{cdi: vendor.com/gpu={device}}}]")
        assert not text and spec is not None and f"FROM={place}" in spec.process.env


def one(text: str) -> str:
    return text.replace("ETC", reading.PLACES[0]).replace("RUN", reading.PLACES[1])


CONFLICTS: dict[str, tuple[str, str, str, str]] = {
    # name: (edits of device 0, edits of device 1, more of the document, message)
    "variable": ('{"env": ["A=1"]}', '{"env": ["A=2"]}', "",
                 "t.yaml:6:33: linux.devices[1].cdi: v/g=1 brings the variable `A`, and so does v/g=0\n"
                 "  why: they differ, and only one can be there\n  fix: remove one of the two"),
    "variable of the file": ('{"env": ["PATH=/x"]}', "{}", "",
                             "t.yaml:6:19: linux.devices[0].cdi: v/g=0 brings the variable `PATH`, and so does this "
                             "file\n"
                             "  why: they differ, and only one can be there\n  fix: remove one of the two"),
    "mount": ('{"mounts": [{"hostPath": "/usr", "containerPath": "/m"}]}',
              '{"mounts": [{"hostPath": "/etc", "containerPath": "/m"}]}', "",
              "t.yaml:6:33: linux.devices[1].cdi: v/g=1 brings the mount on `/m`, and so does v/g=0\n"
              "  why: they differ, and only one can be there\n  fix: remove one of the two"),
    "node": ('{"deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/null"}]}',
             '{"deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/zero"}]}', "",
             "t.yaml:6:33: linux.devices[1].cdi: v/g=1 brings the node `/dev/x`, and so does v/g=0\n"
             "  why: they differ, and only one can be there\n  fix: remove one of the two"),
    "class of service": ('{"intelRdt": {"closID": "a"}}', '{"intelRdt": {"closID": "b"}}', "",
                         "t.yaml:6:33: linux.devices[1].cdi: v/g=1 brings intelRdt, and so does v/g=0\n"
                         "  why: a process is in one class of service\n  fix: remove one of the two"),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_conflicts(places: tuple[Path, Path], name: str) -> None:
    first, second, more, message = CONFLICTS[name]
    describe(places[0], {"0": json.loads(first), "1": json.loads(second)}, kind="v/g")
    _, text = judge("[{cdi: v/g=0}, {cdi: v/g=1}]", more)
    assert text == message


def test_equal_edits_are_no_conflict(places: tuple[Path, Path]) -> None:
    describe(places[0], {"0": {**NULL, "env": ["A=1"]}, "1": {**NULL, "env": ["A=1"]}})
    spec, text = judge("[{cdi: vendor.com/gpu=0}, {cdi: vendor.com/gpu=1}]")
    assert not text and spec is not None and len(spec.linux.devices) == 1


MISSING: dict[str, tuple[str, str]] = {
    "[{cdi: vendor.com/gpu=2}]": ("linux.devices[0].cdi: there is no device vendor.com/gpu=2",
                                  "in ETC and RUN: vendor.com/gpu=0"),
    "[{cdi: other.com/x=1}]": ("linux.devices[0].cdi: there is no device other.com/x=1",
                               "in ETC and RUN: vendor.com/gpu=0"),
    "[{cdi: gpu}]": ("linux.devices[0].cdi: `gpu` names no device",
                     "the Container Device Interface writes VENDOR/CLASS=NAME"),
    "[{cdi: vendor.com/gpu=0, path: /dev/x}]": ("linux.devices[0]: says more than cdi",
                                                "what the device consists of is what its description says"),
    "[{cdi: vendor.com/gpu=0}, {cdi: vendor.com/gpu=0}]": ("linux.devices[1].cdi: `vendor.com/gpu=0` is there twice",
                                                           "a device is added once"),
}


@pytest.mark.parametrize("devices", MISSING)
def test_missing_and_misspelt(places: tuple[Path, Path], devices: str) -> None:
    describe(places[0], {"0": NULL})
    what, why = MISSING[devices]
    _, text = judge(devices)
    assert text.splitlines()[0].endswith(f": {what}") and text.splitlines()[1] == f"  why: {one(why)}", text


def test_described_twice(places: tuple[Path, Path]) -> None:
    describe(places[0], {"0": NULL})
    describe(places[0], {"0": NULL}, name="b.json")
    _, text = judge("[{cdi: vendor.com/gpu=0}]")
    assert "vendor.com/gpu=0 is described twice\n" in text
    assert one("why: by ETC/a.json and by ETC/b.json") in text


def test_a_node_that_is_not_there(places: tuple[Path, Path]) -> None:
    describe(places[0], {"0": {"deviceNodes": [{"path": "/dev/absent"}]}, "1": {"deviceNodes": [
        {"path": "/dev/x", "hostPath": "/etc/hostname"}]}, "2": {"deviceNodes": [
            {"path": "/dev/x", "hostPath": "/dev/null", "type": "b"}]}})
    for number, words in (("0", "names the node /dev/absent, which is not there"),
                          ("1", "names the node /etc/hostname, which is none"),
                          ("2", "calls /dev/null of type b, and it is c")):
        assert words in judge(f"[{{cdi: vendor.com/gpu={number}}}]")[1]


@pytest.mark.parametrize(("name", "content", "says"), [
    ("b.json", b"{", "b.json: "), ("b.yaml", b"a: [", "b.yaml: not YAML"), ("b.json", b"[" * 99999, "nested too deep"),
    ("b.yaml", b"a: 1\na: 2\n", "written twice"), ("b.json", b"\xff", "b.json: "),
    ("b.yaml", b"", "holds 0 documents")])
def test_a_damaged_file_hides_only_itself(places: tuple[Path, Path], name: str, content: bytes, says: str) -> None:
    """Others are served; who asks for what it may have had is told of it."""
    describe(places[0], {"0": NULL})
    (places[0] / name).write_bytes(content)
    assert not judge("[{cdi: vendor.com/gpu=0}]")[1]
    assert says in judge("[{cdi: vendor.com/gpu=9}]")[1]


def test_what_is_no_file(places: tuple[Path, Path]) -> None:
    os.mkfifo(places[0] / "a.json")
    (places[0] / "b.json").symlink_to("/dev/zero")
    (places[0] / "c.txt").write_text("{")
    _, text = judge("[{cdi: v/g=0}]")
    assert "a.json" in text and "b.json" in text and "c.txt" not in text


def test_validate_and_config_leave_names(places: tuple[Path, Path]) -> None:
    from runspec.spec import to_yaml

    Path("t.yaml").write_text(TEXT + "linux: {devices: [{cdi: v/g=0}]}\n")
    read, faults = rules.judge(*source.gather(["t.yaml"]))
    assert not faults and to_yaml.config_tree(read[0][0])["linux"]["devices"] == [{"cdi": "v/g=0"}]
