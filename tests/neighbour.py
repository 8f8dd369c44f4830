"""A private host with a neighbour on a wire, containers that answer at ports, and who asks them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import yaml
from conftest import Cli, Netns

# Answers at each port, TCP and UDP of both families, with its name, the port and who asks.
SERVER = """
import selectors, socket, sys
name, watch = sys.argv[1], selectors.DefaultSelector()
for port in map(int, sys.argv[2:]):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        one = socket.socket(socket.AF_INET6, kind)
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
        one.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            one.listen(64)
        watch.register(one, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in watch.select():
        one = key.fileobj
        if one.type == socket.SOCK_STREAM:
            peer, at = one.accept()
            word = peer.sendall
        else:
            _, at = one.recvfrom(64)
            word = lambda data, one=one, at=at: one.sendto(data, at)
        word(f"{name} {one.getsockname()[1]} {at[0].removeprefix('::ffff:')}".encode())
        if one.type == socket.SOCK_STREAM:
            peer.close()
"""
# Asks each (protocol, address, port); an answer, or the word for none.
CLIENT = """
import json, socket, sys
out = []
for protocol, address, port in json.loads(sys.argv[1]):
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                        socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    one.settimeout(float(sys.argv[2]))
    try:
        one.connect((address, port))
        if protocol == "udp":
            one.send(b"?")
        out.append(one.recv(64).decode())
    except ConnectionRefusedError:
        out.append("refused")
    except OSError as error:
        out.append("nothing")
print(json.dumps(out))
"""
HOST, LAN, HOST6, LAN6 = "192.0.2.1", "192.0.2.2", "2001:db8:9::1", "2001:db8:9::2"
Asked = tuple[str, str, int]


def box(name: str, last: int, ports: list[Any], serves: tuple[int, ...] = (80,), net: int = 77,
        **more: Any) -> dict[str, Any]:
    """A container at 10.NET.0.LAST that answers at these ports."""
    link = {"name": "eth0", "type": "veth", "network": f"lan{net - 77}",
            "addresses": [f"10.{net}.0.{last}/24", f"fd{net}::{last}/64"],
            "gateway": [f"10.{net}.0.1", f"fd{net}::1"]}
    return {"apiVersion": "runspec/v1", "name": name, "root": {"image": "host"}, "interfaces": [link],
            "process": {"args": ["/usr/bin/python3", "-c", SERVER, name, *map(str, serves)]}, "ports": ports, **more}


def bridge(net: int = 77, **keys: Any) -> dict[str, Any]:
    """The network of such containers: lan0, lan1 and so on."""
    return {"apiVersion": "runspec/v1", "kind": "Network", "name": f"lan{net - 77}", "type": "bridge",
            "addresses": [f"10.{net}.0.1/24", f"fd{net}::1/64"], **keys}


class World:
    """A host with a neighbour: two namespaces and the wire between them."""

    def __init__(self, folder: Path) -> None:
        self.host, self.lan, self.folder = Netns(), Netns(), folder
        self.cli = Cli(self.host, Path("/run/runspec/state"))
        for where in (self.host, self.lan):
            self.sh(where, "for i in all default; do echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad; done")
        self.sh(self.host, f"ip link add eth9 type veth peer name eth0 netns {self.lan.pid};"
                           f"ip addr add {HOST}/24 dev eth9; ip addr add {HOST6}/64 dev eth9; ip link set eth9 up")
        self.sh(self.lan, f"ip addr add {LAN}/24 dev eth0; ip addr add {LAN6}/64 dev eth0; ip link set eth0 up;"
                          f"ip route add 10.0.0.0/8 via {HOST}; ip route add fd00::/8 via {HOST6}")

    def sh(self, where: Netns, text: str) -> str:
        done = where.run("sh", "-ec", text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, *documents: dict[str, Any]) -> Path:
        file = self.folder / "ports.yaml"
        file.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        return file

    def apply(self, *documents: dict[str, Any]) -> Path:
        file = self.write(*documents)
        self.cli("apply", "--yes", file)
        assert self.cli("diff", file).stdout == ""
        for one in documents:
            if one.get("kind") != "Network":
                self.ready(one)
        return file

    def ready(self, one: dict[str, Any]) -> None:
        """Its server waits at its last port."""
        port, pid = f"{int(one['process']['args'][-1]):04X}", self.pid(one["name"])
        for _ in range(600):
            if f":{port} " in Path(f"/proc/{pid}/net/udp6").read_text():
                return
            threading.Event().wait(0.05)
        raise AssertionError(f"{one['name']} serves nothing")

    def pid(self, name: str) -> int:
        return int(json.loads(self.cli("state", name).stdout)["pid"])

    def ask(self, where: Netns | int, *asked: Asked, patience: float = 3.0) -> list[str]:
        """What each answers, asked from a namespace of ours or a container's init."""
        words = [sys.executable, "-c", CLIENT, json.dumps(asked), str(patience)]
        if isinstance(where, int):
            done = subprocess.run(["nsenter", f"--net=/proc/{where}/ns/net", *words], capture_output=True, text=True,
                                  check=False)
        else:
            done = where.run(*words)
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    def ruleset(self) -> str:
        return self.sh(self.host, "nft list ruleset")

    def close(self) -> None:
        self.cli.sweep()
        for name in ("lan0", "lan1"):
            self.cli("destroy", "--yes", name, status=None)
        self.host.close()
        self.lan.close()
