"""No container, but the same links: network namespaces and links made by iproute2, as anybody does by hand."""

from __future__ import annotations

import os

from runspec.bench import wires
from runspec.bench.contenders_own import Native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runspec.bench.scene import Scene
    from runspec.spec.model import Network, Spec


class Plain(Native):
    """Processes of the host in network namespaces of their own; with the name of Native, which it is with links."""

    def missing(self, spec: Spec | None = None) -> str:
        return ""

    def prepare(self, specs: Sequence[Spec], networks: Sequence[Network] = ()) -> None:
        super().prepare(specs)
        self.networks = tuple(networks)
        self.gone: list[str] = []           # lines that take away what was made
        self.lent: dict[str, list[str]] = {}        # namespace -> lines in it that bring NICs home before

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
        host = wires.bridges(self.networks)
        inner: dict[str, list[str]] = {}
        self.gone = [f"link del {one.name}" for one in self.networks]
        for number, spec in enumerate(self.specs.values()):
            space = self.namespace(spec)
            if space == spec.name:
                host += wires.outside(space, number, spec.interfaces)
                inner[space] = wires.inside(spec.interfaces)
                self.gone += wires.gone(space, number, spec.interfaces)
        self.batch(host)
        self.lent = {spec.name: wires.home(spec.interfaces, os.getpid()) for spec in self.specs.values()}
        for space, lines in inner.items():
            self.batch(lines, "-n", space)
        super().start()

    def batch(self, lines: Sequence[str], *before: str) -> None:
        """Have ip(8) read lines."""
        if lines:
            file = self.scene.write(f"plain/{next(iter(self.specs))}", "".join(f"{line}\n" for line in lines))
            self.scene.run("ip", *before, "-batch", file)

    def delete(self) -> None:
        super().delete()
        for space, lines in self.lent.items():
            self.batch(lines, "-n", space)
        self.lent = {}
        if self.gone:
            self.batch(self.gone, "-force")
            self.gone = []


def by_hand(scene: Scene, specs: Sequence[Spec], networks: Sequence[Network] = ()) -> Plain:
    """One that is prepared for these."""
    one = Plain(scene)
    one.prepare(specs, networks)
    return one
