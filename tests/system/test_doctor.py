"""`doctor` beside `apply`: what one refuses, the other names under the same key; what it calls good is there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT, Cli, requires
from kernels import lacks

pytestmark = [requires("root", "busybox", "nsenter"), pytest.mark.both]
HEAD = """\
apiVersion: runspec/v1
name: sick
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]%s}
interfaces: []
"""
# What some kernel or other cannot give, and no key of them is wrong in itself.
ASKS = {
    "resources": ("", "linux: {resources: {memory: {limit: 64Mi, swappiness: 5, useHierarchy: false, "
                      "disableOOMKiller: true}, unified: {memory.high: 32M, cpu.weight: '5', io.weight: '5'}}}"),
    "selinux": (", selinuxLabel: 'a:b:c:s0'", "linux: {mountLabel: 'a:b:c:s0'}"),
    "nodes": ("", "linux: {memoryPolicy: {mode: MPOL_BIND, nodes: '0,63'}}"),
    "limits": (", rlimits: [{type: RLIMIT_NOFILE, soft: 4096, hard: 999999999}], oomScoreAdj: -1000", ""),
    "mounts": ("", "mounts: [{destination: /x, type: nosuchfs, source: x}, "
                   "{destination: /y, source: /proc/sys, options: [bind], "
                   "uidMappings: [{containerID: 0, hostID: 5, size: 1}], "
                   "gidMappings: [{containerID: 0, hostID: 5, size: 1}]}]"),
    "sysctl": ("", "linux: {sysctl: {net.ipv4.no_such_key: '1'}}"),
    "landlock": ("", "landlock: {scope: [signal], net: {bind: [5]}}"),
    "map": ("", "linux: {namespaces: [{type: user}, {type: pid}, {type: mount}, {type: network}], uidMappings: ["
            + ", ".join(f"{{containerID: {i}, hostID: {100000 + 2 * i}, size: 1}}" for i in range(340))
            + "], gidMappings: [{containerID: 0, hostID: 1, size: 1}]}"),
}


def look(cli: Cli, *files: Path | str) -> tuple[int, dict[str, Any]]:
    told = cli("doctor", "-o", "json", *files, status=None)
    assert told.returncode in (0, 2), told.stderr
    return told.returncode, json.loads(told.stdout)


def failing(tree: dict[str, Any]) -> set[str]:
    return {row["path"] for one in tree["documents"] for row in one["rows"] if row["status"] == "fails"}


@pytest.mark.parametrize("what", ASKS)
def test_never_another_verdict_than_apply(cli: Cli, tmp_path: Path, what: str) -> None:
    """Each key that apply refuses on this kernel fails here; where nothing fails here, apply does it."""
    process, more = ASKS[what]
    file = tmp_path / "sick.yaml"
    file.write_text(HEAD % process + more + "\n")
    status, tree = look(cli, file)
    applied = cli("apply", file, status=None)
    refused = {line.removeprefix(f"{file}:").split(": ")[1] for line in applied.stderr.splitlines()
               if line.startswith(str(file))}
    assert refused <= failing(tree), applied.stderr
    assert (status, applied.returncode) in ((0, 0), (2, 2)), (tree, applied.stderr)
    assert cli("list", "-q").stdout == ("" if status else "sick\n")
    for one in tree["documents"]:
        for row in one["rows"]:
            assert row["status"] != "fails" or (row["why"] and row["fix"]), row


def test_the_examples_are_good_where_they_run(cli: Cli) -> None:
    """Every file of specs/: what fails is told with its reason, and `plan` gives the same verdict."""
    for file in sorted((CHECKOUT / "specs").glob("*.yaml")):
        status, tree = look(cli, file)
        assert (status == 0) == tree["good"] and all(one["rows"] for one in tree["documents"])
        planned = cli("plan", file, status=None)
        assert status or planned.returncode == 0, (file, planned.stderr)
    told = cli("doctor", CHECKOUT / "specs/foo1.yaml").stdout
    assert "linux.resources.cpu.weight" in told and "CONFIG_CGROUP_SCHED" in told and "why:" not in told


def test_faults_of_the_host(cli: Cli, tmp_path: Path) -> None:
    """A missing source fails with the words of apply; a fault of the file itself ends the look."""
    file = tmp_path / "sick.yaml"
    file.write_text(HEAD % "" + f"mounts: [{{destination: /x, source: {tmp_path}/absent, options: [bind]}}]\n")
    told = cli("doctor", file, status=2).stdout
    assert f"{tmp_path}/absent does not exist" in told and "fix: create it, or set `optional: true`" in told
    file.write_text(HEAD % ", nonsense: 1")
    assert "nonsense: unknown key" in cli("doctor", file, status=2).stderr


def test_admission(cli: Cli, tmp_path: Path) -> None:
    """Sums over all documents are part of the look."""
    files = []
    for name in ("a", "b"):
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text((HEAD % "").replace("sick", name)
                             + 'linux: {resources: {cpu: {cpus: "0", quota: 60%}}}\n')
    status, tree = look(cli, *files)
    assert status == 2 and ["120% of core 0" in one["what"] for one in tree["admission"]] == [True]
    assert "120% of core 0 are asked for" in cli("doctor", *files, status=2).stdout
    assert look(cli, files[0])[0] == 0


def test_the_host_alone(cli: Cli) -> None:
    """What is missing is no failure; each verdict agrees with a tool that tries the same."""
    status, tree = look(cli)
    rows = {row["need"]: row["status"] for row in tree["host"]}
    assert status == 0 and tree["good"] and not tree["documents"]
    for need, word in (("links of type bridge", "bridge"), ("links of type veth", "veth"),
                       ("file system overlay", "overlay"),
                       ("time namespaces", "time_namespace"), ("user namespaces", "user_namespace"),
                       ("the program busybox", "busybox")):
        assert rows[need] == ("missing" if lacks(word) else "good"), need
    held = int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines()
                    if line.startswith("CapEff")), 16)
    assert rows["CAP_SYS_RESOURCE"] == ("good" if held >> 24 & 1 else "missing")
    version = {name.removeprefix("cgroup "): said for name, said in tree["facts"].items() if name.startswith("cgroup ")}
    assert version["cpu"] == ("v1" if not lacks("cgroup_v1") else "v2")
    assert tree["facts"]["kernel"].startswith(f"Linux {os.uname().release} ")


def test_nobody_may_look(cli: Cli, tmp_path: Path) -> None:
    """An ordinary user gets an answer and no traceback: runspec cannot work so, and that is said."""
    if not Path("/usr/bin/setpriv").exists():
        pytest.skip("no setpriv")
    told = subprocess.run(cli.netns.enter("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *cli.argv,
                                          "doctor"), capture_output=True, text=True)
    assert told.returncode == 2 and "Traceback" not in told.stderr + told.stdout
    assert "Operation not permitted" in told.stdout and "fix: run it as root" in told.stdout, told.stdout + told.stderr
    document = ("---\n{apiVersion: runspec/v1, name: mine, root: {image: busybox}, process: {args: [x]}}\n"
                "---\n{apiVersion: runspec/v1, name: yours, root: {image: busybox}, process: {args: [x]}}\n")
    for verb in ("plan", "diff"):
        told = subprocess.run(
            cli.netns.enter("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *cli.argv[:-1], "/nowhere",
                            verb, "-"), capture_output=True, text=True, input=document)
        assert told.returncode == 2 and "runspec itself lacks CAP_CHOWN" in told.stderr, told.stderr
        assert [line for line in told.stderr.splitlines() if "why: " not in line] == [
            "runspec: containers are made by root", "  fix: run it as root"]
