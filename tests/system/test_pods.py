"""Containers that depend on another, on the host's files and on many mounts: what a second look must not miss."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli, requires

pytestmark = requires("root", "busybox", "bridge", "veth", "ip", "nsenter")
NETWORK = {"apiVersion": "runspec/v1", "kind": "Network", "name": "pods0", "type": "bridge"}


def container(name: str, *joins: str, **more: Any) -> dict[str, Any]:
    spaces = [{"type": kind, "container": "web"} for kind in joins]
    return {"apiVersion": "runspec/v1", "name": name, "root": {"image": "busybox"},
            "process": {"args": ["/bin/sleep", "100000"]}, "linux": {"namespaces": spaces},
            "interfaces": [] if "network" in joins else [{"name": "eth0", "type": "veth", "network": "pods0"}], **more}


def write(file: Path, *documents: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump_all(documents))
    return file


def pid(cli: Cli, name: str) -> int:
    return int(json.loads(cli("state", name).stdout)["pid"])


def test_a_namespace_that_is_left(cli: Cli, tmp_path: Path) -> None:
    """Own instead of shared is a change, and the other one keeps its link."""
    file = write(tmp_path / "pod.yaml", NETWORK, container("web"), container("b", "network"))
    cli("apply", file)
    web = pid(cli, "web")
    write(file, NETWORK, container("web"), container("b", interfaces=[]))
    assert "linux.namespaces" in cli("diff", file, status=1).stdout
    cli("apply", "--yes", file)
    assert Path(f"/proc/{web}/ns/net").readlink() != Path(f"/proc/{pid(cli, 'b')}/ns/net").readlink()
    assert pid(cli, "web") == web and "eth0" in cli("exec", "web", "ip", "link").stdout
    assert cli("diff", file).stdout == ""


def test_followers_of_a_new_init(cli: Cli, tmp_path: Path) -> None:
    """Who shares what ends is named before it is made anew; who shares what is kept stays."""
    file = write(tmp_path / "pod.yaml", NETWORK, container("web"), container("b", "ipc"), container("c", "network"))
    cli("apply", file)
    before = {name: pid(cli, name) for name in ("web", "b", "c")}
    edited = container("web", process={"args": ["/bin/sleep", "99999"]})
    write(file, NETWORK, edited, container("b", "ipc"), container("c", "network"))
    said = cli("apply", file, status=2).stderr
    assert "b: linux.namespaces" in said and "recreate" in said and "\nc: " not in said
    cli("apply", "--yes", file)
    after = {name: pid(cli, name) for name in before}
    assert after["web"] != before["web"] and after["b"] != before["b"] and after["c"] == before["c"]
    assert Path(f"/proc/{after['c']}/ns/net").readlink() == Path(f"/proc/{after['web']}/ns/net").readlink()
    assert cli("diff", file).stdout == ""


@pytest.mark.parametrize("end", ["destroy", "stop"])
def test_an_owner_that_ends(cli: Cli, tmp_path: Path, end: str) -> None:
    """Whose namespaces went is told once, as what it is; and who is left in them when nobody names him."""
    web = write(tmp_path / "web.yaml", NETWORK, container("web"))
    pod = tmp_path / "pod.yaml"
    cli("apply", write(pod, NETWORK, container("web"), container("b", "ipc", "network"), container("c", "uts")))
    warning = "warning: web: b and c share its namespaces, and join those of a new web only when applied again\n"
    if end == "destroy":
        assert cli("destroy", "--yes", "web").stdout == f"web: removed\n{warning}"
    else:
        cli("stop", "--time", "0", "web")
    found = json.loads(cli("diff", "-o", "json", pod, status=1).stdout)["changes"]
    told = [(one["target"], one["path"], one["cause"], one["class"]) for one in found if one["path"]]
    assert [(target, *rest) for target, _, *rest in told] == [(name, "drifted", "recreate") for name in "bbc"], told
    assert len(set(told)) == len(told)
    if end == "stop":
        assert warning in cli("plan", web).stdout
        assert cli("apply", "--yes", web).stdout.endswith(warning)
    assert "warning" not in cli("apply", "--yes", pod).stdout
    assert cli("diff", pod).stdout == ""
    # Its network goes on with a new init, all else does not.
    write(pod, NETWORK, container("web", process={"args": ["/bin/sleep", "99999"]}))
    assert cli("apply", "--yes", pod).stdout.endswith(warning)
    assert "warning" not in cli("destroy", "--yes", "web", "b", "c").stdout


def test_a_source_that_went(cli: Cli, tmp_path: Path) -> None:
    """A container is never started without a mount that it needs, however well its file is known."""
    source = tmp_path / "data"
    source.mkdir()
    mount = {"destination": "/data", "source": str(source), "options": ["bind"]}
    file = write(tmp_path / "one.yaml", container("one", interfaces=[], mounts=[mount]))
    cli("apply", file)
    cli("stop", "-t", "0", "one")
    shutil.rmtree(source)
    said = cli("apply", file, status=2).stderr
    assert f"mounts[0].source: {source} does not exist" in said and said.startswith(str(file))
    assert json.loads(cli("state", "one").stdout)["status"] == "stopped"
    # What may be missing may also go while it runs.
    mount["optional"] = True  # type: ignore[assignment]
    source.mkdir()
    write(file, container("one", interfaces=[], mounts=[mount]))
    cli("apply", "--yes", file)
    shutil.rmtree(source)
    assert cli("diff", file).stdout == ""


def test_many_mounts(cli: Cli, tmp_path: Path) -> None:
    """More than a process has slots for."""
    mounts = [{"destination": f"/many/{i}", "type": "tmpfs", "source": "t", "options": ["size=64k"]} for i in range(80)]
    file = write(tmp_path / "many.yaml", container("many", interfaces=[], mounts=mounts))
    cli("apply", file)
    assert Path(f"/proc/{pid(cli, 'many')}/mountinfo").read_text().count(" /many/") == 80
    assert cli("diff", file).stdout == ""
