"""Two hosts on one cable, each a network of its own with runspec in it; what passes on their links is heard."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CHECKOUT, Cli, Netns
from kernels import SLOWER

WIRE = str(CHECKOUT / "tests/wire.py")


def container(name: str, *interfaces: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "runspec/v1", "name": name, "root": {"image": "busybox"},
            "process": {"args": ["/bin/sleep", "100000"]}, "interfaces": list(interfaces)}


class Host:
    """A network with one end of a cable, and runspec in it."""

    def __init__(self, folder: Path) -> None:
        self.netns, self.folder = Netns(), folder
        self.cli = Cli(self.netns, Path("/run/runspec/state"))

    def ip(self, *words: str) -> str:
        return self.run("ip", *words)

    def run(self, *words: str) -> str:
        done = self.netns.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def file(self, *documents: dict[str, Any]) -> Path:
        path = self.folder / "file.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return path

    def apply(self, *documents: dict[str, Any]) -> str:
        path = self.file(*documents)
        done = self.cli("apply", "--yes", path)
        assert self.cli("diff", path).stdout == ""
        return done.stdout

    def inside(self, name: str, *words: str, **options: Any) -> subprocess.Popen[str]:
        """A program of the host in a container's network."""
        pid = json.loads(self.cli("state", name).stdout)["pid"]
        return subprocess.Popen(["nsenter", f"--net=/proc/{pid}/ns/net", "--", *words], text=True,
                                **{"stdout": subprocess.PIPE, "stdin": subprocess.PIPE, **options})

    def pings(self, name: str, address: str) -> bool:
        return self.inside(name, "ping", "-c", "1", "-W", "1", address).wait() == 0

    def picture(self) -> tuple[str, ...]:
        """All that could stay behind on the host."""
        return tuple(self.run(*words) for words in (
            ("tc", "qdisc"), ("tc", "filter", "show", "dev", "nic0", "ingress"), ("ip", "-o", "link"),
            ("bridge", "fdb", "show", "dev", "nic0"), ("ip", "route"), ("ip", "-6", "route")))

    def assert_as(self, before: tuple[str, ...], why: str = "") -> None:
        """The host looks as it did, now or soon: the kernel frees a container's links behind its last process."""
        end = time.monotonic() + 5 * SLOWER
        while (now := self.picture()) != before and time.monotonic() < end:
            time.sleep(0.05)
        assert now == before, why


class Ear:
    """What passes on a link while the block runs; `frames` afterwards."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.frames = process, list[list[str]]()

    def __enter__(self) -> Ear:
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *error: object) -> None:
        said, _ = self.process.communicate("")
        self.frames = [line.split() for line in said.splitlines()]

    def tags(self, source: str) -> set[str]:
        return {tag for way, sender, _, tag, _, _ in self.frames if sender == source and way == "in"}


def mac(host: Host, name: str) -> str:
    said, _ = host.inside(name, "ip", "-j", "link", "show", "eth0").communicate()
    return str(json.loads(said)[0]["address"])


def hear(host: Host, *where: str) -> Ear:
    """On a link of the host, or with a container's name of that."""
    words = (sys.executable, WIRE, "hear", where[-1])
    return Ear(host.inside(where[0], *words) if len(where) > 1 else host.netns.popen(*words, stdin=subprocess.PIPE))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    """Two hosts on one cable, nic0 on either side."""
    one, other = Host(tmp_path_factory.mktemp("one")), Host(tmp_path_factory.mktemp("other"))
    one.ip("link", "add", "nic0", "type", "veth", "peer", "name", "nic0", "netns", str(other.netns.pid))
    for host, number in ((one, "1"), (other, "2")):
        # Whether an address is still being tried is of no interest, and takes seconds.
        host.run("sh", "-c", "for i in all default; do echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad; done")
        host.ip("link", "set", "nic0", "up")
        host.ip("addr", "add", f"10.90.0.{number}/24", "dev", "nic0")
    for host in (one, other):           # the kernel looks at a carrier when it has the time
        host.run("sh", "-c", "until ip link show nic0 | grep -q 'state UP'; do sleep 0.01; done")
    yield one, other
    for host in (one, other):
        host.cli.sweep()
        host.netns.close()


@pytest.fixture
def host(hosts: tuple[Host, Host]) -> Iterator[Host]:
    """The first one, which is as before when a test ends."""
    before = hosts[0].picture()
    yield hosts[0]
    hosts[0].cli.sweep()
    hosts[0].assert_as(before)


def killed_at(host: Host, one: str, name: str, calls: tuple[str, ...]) -> None:
    """Kill its apply, and its destroy, at each call of these names: what comes after leaves the host as it was.

    Args:
        one: the document; name: the container's.
    """
    trace, before = host.folder / "trace", host.picture()
    host.apply(one)             # unpacks the image, which is no part of what is traced
    host.cli.sweep()
    for verb in (("apply", "--yes", host.file(one)), ("destroy", "--yes", name)):
        if verb[0] == "destroy":
            host.apply(one)
        trace.unlink(missing_ok=True)
        host.cli(*verb, env={"RUNSPEC_FAULT": f"trace@{trace}"})
        acts = [at for at, call in enumerate(trace.read_text().splitlines(), 1) if call in calls]
        host.cli.sweep()
        assert len(acts) > 3
        for at in acts:
            if verb[0] == "destroy":
                host.apply(one)
            host.cli(*verb, env={"RUNSPEC_FAULT": f"kill@{at}"}, status=-9)
            host.cli("destroy", "--yes", name, status=None)
            host.assert_as(before, f"{verb[0]} killed at {at}")
