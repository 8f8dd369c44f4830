"""No container, but the same links: network namespaces and links made by iproute2, as anybody does by hand."""

from __future__ import annotations

import os
import time
from ipaddress import ip_interface

from runspec.bench.contenders_own import Native
from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runspec.spec.model import Interface, Network, Spec

# ip-link(8) of the host's ends; the kernel allows 15 characters.
END = "plain{}"
PATIENCE = 30.0         # seconds until links are gone


class Plain(Native):
    """Processes of the host in network namespaces of their own; with the name of Native, which it is with links."""

    def missing(self, spec: Spec | None = None) -> str:
        return ""

    def prepare(self, specs: Sequence[Spec], networks: Sequence[Network] = ()) -> None:
        super().prepare(specs)
        self.networks = tuple(networks)
        self.made: list[tuple[str, ...]] = []       # what removes what was made, last first

    def namespace(self, spec: Spec) -> str:
        """The name of its network namespace, or of the one that it joins; "" for the host's own."""
        for one in spec.linux.namespaces:
            if one.type == "network" and one.container is not None:
                return one.container
        return spec.name if spec.interfaces or self.joined(spec.name) else ""

    def joined(self, name: str) -> bool:
        """Whether another one is to be in its network namespace."""
        return any(one.container == name for spec in self.specs.values() for one in spec.linux.namespaces)

    def words(self, name: str) -> tuple[str, ...]:
        space = self.namespace(self.specs[name])
        return (*(("ip", "netns", "exec", space) if space else ()), *super().words(name))

    def start(self) -> None:
        for network in self.networks:
            self.do(("ip", "link", "add", network.name, "type", "bridge"), ("ip", "link", "del", network.name))
            for address in network.addresses:
                self.do(("ip", "addr", "add", address, "dev", network.name))
            self.do(("ip", "link", "set", network.name, "up"))
        number = 0
        for spec in self.specs.values():
            space = self.namespace(spec)
            if space == spec.name:
                self.do(("ip", "netns", "add", space), ("ip", "netns", "del", space))
                self.do(("ip", "-n", space, "link", "set", "lo", "up"))
            for link in spec.interfaces:
                number += 1
                for command in commands(link, space, END.format(number)):
                    self.do(command)
        super().start()

    def do(self, command: tuple[str, ...], undo: tuple[str, ...] = ()) -> None:
        self.scene.run(*command)
        if undo:
            self.made.append(undo)

    def delete(self) -> None:
        super().delete()
        while self.made:
            self.scene.run(*self.made.pop())
        # The kernel frees links behind a namespace's end, and the next round wants their names.
        end = time.monotonic() + PATIENCE
        while any(name.startswith(END.format("")) for name in os.listdir("/sys/class/net")):
            if time.monotonic() > end:
                raise HostError(f"bench: links of {self.name} stay")
            time.sleep(0.01)


def commands(link: Interface, space: str, end: str) -> Iterator[tuple[str, ...]]:
    """What makes a link in a network namespace.

    Args:
        end: the name of its end on the host, where it has one.
    """
    inside = ("ip", "-n", space)
    add = ("ip", "link", "add")
    mtu = ("mtu", str(link.mtu)) if link.mtu else ()
    if link.type == "veth":
        yield *add, end, *mtu, "type", "veth", "peer", "name", link.name, *mtu, "netns", space
        if link.network is not None:
            yield "ip", "link", "set", end, "master", link.network
        yield "ip", "link", "set", end, "up"
    else:
        kind: tuple[str, ...] = ("mode", link.mode) if link.mode else ()
        if link.type == "vlan" and link.vlan is not None:
            kind = ("protocol", link.vlan.protocol, "id", str(link.vlan.id))
        yield (*add, "link", str(link.parent), "name", link.name, *mtu, "netns", space, "type", link.type, *kind)
    for address in link.addresses:
        yield (*inside, "addr", "add", address, "dev", link.name)
    yield (*inside, "link", "set", link.name, "up")
    routed = link.type == "veth" and link.network is None
    for gateway in link.gateway:
        if routed:
            yield "ip", "addr", "add", f"{gateway}/32", "dev", end
            yield (*inside, "route", "add", gateway, "dev", link.name)
        yield (*inside, "route", "add", "default", "via", gateway)
    if routed:
        yield "sysctl", "-q", "-w", f"net.ipv4.conf.{end}.forwarding=1"
        for address in link.addresses:
            yield "ip", "route", "add", f"{ip_interface(address).ip}/32", "dev", end
