"""Two hundred containers on one bridge, and nothing of them afterwards."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import yaml
from conftest import Cli, assert_nothing_leaked, requires
from machine import Picture

MANY = 200
NETWORK = {"apiVersion": "runspec/v1", "kind": "Network", "name": "many0", "type": "bridge",
           "addresses": ["10.88.0.1/24", "fd88::1/64"], "nat": True, "pool": {"range": "10.88.0.0/24"}}
# One packet to each address, so that the host asks for all of them.
GREET = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for address in sys.argv[1:]:
    s.sendto(b"x", (address, 9))
"""


def container(n: int) -> dict[str, object]:
    """Some hold their traffic, some publish a port."""
    link: dict[str, object] = {"name": "eth0", "type": "veth", "network": "many0", "addresses": "auto",
                               "gateway": "10.88.0.1"}
    if n % 20 == 0:
        link["qos"] = {"egress": {"rate": "10mbit", "dscp": "ef"}}
    return {"apiVersion": "runspec/v1", "name": f"many{n}", "root": {"image": "busybox", "readonly": True},
            "process": {"args": ["/bin/sleep", "100000"]}, "interfaces": [link],
            "ports": [{"host": str(18000 + n), "container": "80"}] if n % 20 == 1 else []}


@requires("machine", "root", "busybox", "bridge", "veth", "ifb", "ip", "nsenter", "nft")
def test_nothing_is_left_of_many(cli: Cli, tmp_path: Path) -> None:
    """Links, addresses, routes, neighbours, nft, namespaces, cgroups, mounts, processes, files."""
    def picture() -> Picture:
        spaces = set()
        for entry in filter(str.isdigit, os.listdir("/proc")):
            if not os.path.exists(f"/proc/{entry}/exe"):
                continue        # a zombie, whose parent is not ours
            for kind in ("net", "mnt", "pid", "uts", "ipc", "cgroup"):
                try:
                    spaces.add(os.readlink(f"/proc/{entry}/ns/{kind}"))
                except OSError:
                    continue
        told = {"neighbours": ("ip", "neigh", "show", "nud", "all"), "forwarding": ("bridge", "fdb", "show"),
                "queues": ("tc", "qdisc", "show")}
        return {**cli.picture(), "namespaces": frozenset(spaces),
                # What the kernel notes of addresses that need no neighbour comes and goes by itself.
                **{part: frozenset(line for line in cli.netns.run(*words).stdout.splitlines() if "NOARP" not in line)
                   for part, words in told.items()}}

    first, file = tmp_path / "first.yaml", tmp_path / "many.yaml"
    first.write_text(yaml.safe_dump(container(0) | {"interfaces": []}))
    cli("apply", "--yes", first)        # the image stays by design
    cli("destroy", "--yes", first)
    before = picture()
    file.write_text(yaml.safe_dump_all([NETWORK, *map(container, range(MANY))]))
    cli("apply", "--yes", file)
    listed = [one for one in json.loads(cli("list", "-f", "json").stdout) if one["status"] == "running"]
    assert len(listed) == MANY
    ports = json.loads(cli.netns.run("ip", "-j", "link", "show", "master", "many0").stdout)
    assert len(ports) == MANY and all("LOWER_UP" in one["flags"] for one in ports)
    addresses = {f"10.88.0.{n}" for n in range(2, 255)}
    cli.netns.run(sys.executable, "-c", GREET, *sorted(addresses), check=True)
    answered = {one["dst"] for one in json.loads(cli.netns.run("ip", "-j", "neigh", "show", "dev", "many0").stdout)
                if "lladdr" in one}
    now = picture()
    assert len(answered & addresses) == MANY
    assert all(now[part] - before[part] for part in ("links", "neighbours", "forwarding", "queues", "nft", "namespaces",
                                                     "cgroups", "processes", "state"))
    cli("destroy", "--yes", file)
    assert_nothing_leaked(before, picture)
