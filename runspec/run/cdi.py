"""Device descriptions of this machine: which file has a device, and the numbers of its nodes.

See: the Container Device Interface specification, "CDI file locations": a later directory wins.
"""

from __future__ import annotations

import os
import stat

from runspec.errors import HostError, RunspecError, SpecError
from runspec.run.images import Images
from runspec.spec import cdi, jsonlite
from runspec.spec.compose import Composer
from runspec.spec.names import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.spec.cdi import Edits, File, Node
    from runspec.spec.model import Device

PLACES = ("/etc/cdi", "/var/run/cdi")
MOST = 1 << 20          # bytes of one description


class Machine(Images):
    """What the doors ask while they read: images, and devices by name."""

    _found: dict[str, list[tuple[str, File, Edits]]] | None = None

    def cdi(self, name: str) -> tuple[str, Edits, Edits]:
        """(kind's file, edits of the whole file, edits of the device), its nodes complete.

        Raises:
            RunspecError: there is no such device, or two files have it, or a node of it is not there.
        """
        if self._found is None:
            self._found = {}
            self._broken: list[str] = []
            self._read()
        found = self._found.get(name, [])
        if not found:
            near = nearest(name, tuple(self._found))
            known = ", ".join(sorted(self._found)[:12]) or "none is described"
            broken = "".join(f"; {error}" for error in self._broken)
            raise HostError(f"there is no device {name}", f"in {' and '.join(PLACES)}: {known}{broken}",
                            f"did you mean {near}?" if near else "install what describes it")
        if len(found) > 1:
            raise HostError(f"{name} is described twice", f"by {' and by '.join(path for path, _, _ in found)}",
                            "remove one of the two")
        path, file, edits = found[0]
        return path, self._whole(file.edits, path), self._whole(edits, path)

    def _read(self) -> None:
        """Every description; what a later directory has stands for what an earlier one had."""
        assert self._found is not None
        for place in PLACES:
            here: dict[str, list[tuple[str, File, Edits]]] = {}
            for entry in self.kernel.list_dir(place):
                if not entry.endswith((".json", ".yaml")):
                    continue
                path = f"{place}/{entry}"
                try:
                    file = cdi.parse(self._tree(path))
                except (ValueError, RunspecError) as error:
                    self._broken.append(f"{path}: {error.what if isinstance(error, RunspecError) else error}")
                    continue
                for device, edits in file.devices:
                    here.setdefault(f"{file.kind}={device}", []).append((path, file, edits))
            self._found.update(here)

    def _tree(self, path: str) -> Any:
        data = self.kernel.read_regular(path, MOST)
        if path.endswith(".json"):
            return jsonlite.loads(data)
        composer = Composer(path)
        composer.run(data.decode("utf-8"), 0)
        if composer.faults:
            raise composer.faults[0]
        if len(composer.documents) != 1:
            raise ValueError(f"it holds {len(composer.documents)} documents")
        return composer.documents[0].tree

    def _whole(self, edits: Edits, path: str) -> Edits:
        return edits.replace(nodes=tuple(one.replace(device=self._node(one, path)) for one in edits.nodes))

    def _node(self, one: Node, path: str) -> Device:
        """Type and numbers that the description leaves out are those of the host's node."""
        device = one.device
        if device.type == "p" or (device.type and device.major is not None and device.minor is not None):
            return device
        found = self.kernel.stat(one.host)
        kind = {stat.S_IFBLK: "b", stat.S_IFCHR: "c", stat.S_IFIFO: "p"}.get(stat.S_IFMT(found.st_mode) if found else 0)
        if found is None or kind is None:
            raise SpecError(f"{path} names the node {one.host}, which is {'not there' if found is None else 'none'}",
                            "its numbers are those of the host's node, mknod(2)",
                            "load its driver, or correct the description")
        if device.type and (device.type == "b") != (kind == "b"):
            raise SpecError(f"{path} calls {one.host} of type {device.type}, and it is {kind}", "mknod(2)",
                            "correct the description")
        return device.replace(type=device.type or kind, major=os.major(found.st_rdev), minor=os.minor(found.st_rdev))
