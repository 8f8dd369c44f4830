"""Volumes of running containers: with mapped owners, below a read-only root, while in use, past hostile links."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli, requires

MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
USER = {"namespaces": [{"type": "user"}], "uidMappings": MAP, "gidMappings": MAP}
pytestmark = requires("root", "busybox")


class Volumes:
    """A container whose file is written anew for each step."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli, self.file, self.room = cli, folder / "v.yaml", folder
        for name in ("one", "two"):
            (folder / name / "sub").mkdir(parents=True)
            (folder / name / "which").write_text(name)

    def apply(self, status: int = 0, **keys: Any) -> subprocess.CompletedProcess[str]:
        tree = {"apiVersion": "runspec/v1", "name": "volumes", "root": {"image": "busybox"}, "interfaces": [],
                "process": {"args": ["/bin/sleep", "100000"]}, **keys}
        self.file.write_text(yaml.safe_dump(json.loads(json.dumps(tree).replace("ROOM", str(self.room)))))
        return self.cli("apply", self.file, status=status)

    def init(self) -> tuple[int, str]:
        """(pid, start time)."""
        pid = json.loads(self.cli("state", "volumes").stdout)["pid"]
        return pid, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]

    def sh(self, script: str, status: int = 0) -> str:
        return self.cli("exec", "volumes", "sh", "-c", script, status=status).stdout.strip()

    def points(self) -> list[str]:
        return [line.split()[4] for line in Path(f"/proc/{self.init()[0]}/mountinfo").read_text().splitlines()]


@pytest.fixture
def volumes(cli: Cli, tmp_path: Path) -> Volumes:
    return Volumes(cli, tmp_path)


def bind(where: str, source: str, *options: str, **keys: Any) -> dict[str, Any]:
    return {"destination": where, "source": f"ROOM/{source}", "options": ["bind", *options], **keys}


@requires("user_namespace")
@pytest.mark.both
def test_in_a_user_namespace(volumes: Volumes) -> None:
    """What is new belongs to the container's root, what is the host's to whom the file says; nobody is restarted."""
    volumes.apply(linux=USER)
    init, before = volumes.init(), volumes.points()
    tmpfs = {"destination": "/data/sub", "type": "tmpfs", "options": ["size=1m"]}
    few = [{**MAP[0], "size": 1000}]
    mapped = bind("/mapped", "two", "idmap", uidMappings=few, gidMappings=few)
    device = {"path": "/dev/other", "type": "c", "major": 1, "minor": 5}
    Path("/dev/other").exists() or os.mknod("/dev/other", 0o20666, os.makedev(1, 5))
    try:
        volumes.apply(mounts=[bind("/data", "one"), tmpfs, mapped], linux={
            **USER, "devices": [device], "maskedPaths": ["/etc/passwd", "/var/log"], "readonlyPaths": ["/etc"]})
        assert volumes.init() == init
        assert volumes.sh("stat -c %u /data/which /data/sub /mapped/which") == "65534\n0\n0"
        volumes.sh("touch /data/sub/x && dd if=/dev/other count=1 2>/dev/null | wc -c")
        assert volumes.sh("cat /etc/passwd; ls /var/log; touch /etc/x 2>/dev/null || echo no") == "no"
        volumes.apply(mounts=[bind("/data", "two"), tmpfs], linux=USER)
        assert volumes.sh("cat /data/which; ls /data/sub") == "twox" and volumes.init() == init
        volumes.apply(linux=USER)
        assert sorted(volumes.points()) == sorted(before) and volumes.init() == init
        assert volumes.sh("ls /dev/other 2>/dev/null || echo gone") == "gone"
    finally:
        os.unlink("/dev/other")


@pytest.mark.both
def test_below_a_read_only_root(volumes: Volumes) -> None:
    """The mount point is made in what lies below, and the root stays read-only all the while."""
    volumes.apply(root={"image": "busybox", "readonly": True})
    init = volumes.init()
    volumes.apply(root={"image": "busybox", "readonly": True}, mounts=[bind("/new/deep", "one", "ro")])
    assert volumes.sh("cat /new/deep/which; touch /x /new/x /new/deep/x 2>/dev/null || echo no") == "oneno"
    assert volumes.init() == init


@pytest.mark.both
def test_in_use(volumes: Volumes) -> None:
    """A volume that is in use goes from sight, what is open stays open, and the user is told."""
    volumes.apply(mounts=[bind("/data", "one")], process={"args": ["/bin/sleep", "100000"], "cwd": "/data"})
    init = volumes.init()
    done = volumes.apply(process={"args": ["/bin/sleep", "100000"], "cwd": "/data"})
    assert "volumes: /data was in use: files that are open there stay so until closed" in done.stdout
    assert volumes.init() == init and "/data" not in volumes.points()
    assert Path(f"/proc/{init[0]}/cwd/which").read_text() == "one"


@pytest.mark.both
def test_links_of_the_image(volumes: Volumes) -> None:
    """A link may lead within the root, never out of it, and never over /proc."""
    volumes.apply()
    init = volumes.init()
    volumes.sh("mkdir /real; ln -s /real /inside; ln -s ../../../../../../real /up")
    volumes.sh("ln -s /proc /p; ln -s /proc/1/root /r")
    volumes.apply(mounts=[bind("/inside/a", "one"), bind("/up/b", "two")])
    assert volumes.sh("cat /real/a/which /real/b/which") == "onetwo" and not Path("/real").exists()
    for where in ("/p/sys", "/r/a"):
        before = volumes.points()
        said = volumes.apply(2, mounts=[bind("/inside/a", "one"), bind("/up/b", "two"), bind(where, "one")]).stderr
        assert ": mounts[2]: " in said and "Traceback" not in said, said
        assert volumes.points() == before
    volumes.apply()
    assert volumes.init() == init and not [one for one in volumes.points() if one.startswith("/real")]


def test_read_only_while_written(volumes: Volumes) -> None:
    """The kernel refuses while a file is open for writing: said so, and nothing is changed."""
    volumes.apply(mounts=[bind("/data", "one", "rw")])
    init = volumes.init()
    writer = volumes.cli.popen("exec", "volumes", "sh", "-c", "exec 3>/data/open; echo ready; sleep 1000")
    assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    said = volumes.apply(2, mounts=[bind("/data", "one", "ro")]).stderr
    assert "a process has a file open for writing there" in said and "fix: end it" in said
    writer.terminate()
    writer.communicate()
    volumes.cli("exec", "volumes", "sh", "-c", "kill $(pidof sleep | tr ' ' '\n' | grep -v '^1$') 2>/dev/null; true")
    volumes.apply(mounts=[bind("/data", "one", "ro")])
    assert volumes.init() == init


@pytest.mark.both
def test_values_of_all_processes(volumes: Volumes) -> None:
    """Limits and scores change on init and on all that still have what it had; who chose its own keeps it."""
    def asked(soft: int, score: int) -> dict[str, Any]:
        return {"process": {"args": ["/bin/sleep", "100000"], "oomScoreAdj": score,
                            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": 1024}]}}

    volumes.apply(**asked(512, 100))
    init = volumes.init()
    others = [volumes.cli.popen("exec", "volumes", "sh", "-c", script) for script in (
        "echo ready; exec sleep 90001",
        "ulimit -S -n 300; echo 150 > /proc/self/oom_score_adj; echo ready; exec sleep 90002")]
    for one in others:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    volumes.apply(**asked(256, 200))
    seen = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            if words[0] in ("/bin/sleep", "sleep") and len(words) > 1:
                limits = next(line.split()[3] for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
                              if line.startswith("Max open files"))
                seen[words[1]] = (limits, Path(f"/proc/{pid}/oom_score_adj").read_text().strip())
        except OSError:
            continue
    assert volumes.init() == init
    assert (seen["100000"], seen["90001"], seen["90002"]) == (("256", "200"), ("256", "200"), ("300", "150"))
    for one in others:
        one.terminate()
        one.communicate()
