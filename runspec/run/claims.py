"""What runs that are under way ask for: a Record tells it afterwards, and two may not both get the last of it.

Who passed admission writes a claim, a file that lies locked until its Records are saved. Admission of what is scarce
happens under one lock, which is held for no longer than that: then it sees everybody's Records and claims.
"""

from __future__ import annotations

import errno
import os
import time

from runspec.errors import StateError, SyscallError
from runspec.run import journal
from runspec.spec import jsonlite
from runspec.spec.alike import kept
from runspec.spec.model import Linux, Network, Overlay, Process, Resources, Root, Spec
from runspec.spec.tree import from_tree, shared_tree, to_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runspec.run.store import Store

PATIENCE = 10.0         # seconds
ROOM = "claims"
NOBODY = Process(args=())


def scarce(model: Spec | Network) -> bool:
    """Whether admission may refuse this for what another document asks, and no lock of both keeps them apart."""
    if isinstance(model, Network):
        return bool(model.addresses or model.qos)
    resources, overlay = model.linux.resources, model.root.overlay
    return bool(resources.cpu.cpus or resources.cpu.realtime_runtime or resources.memory.min or model.linux.net_devices
                or (overlay is not None and overlay.upper)
                or model.linux.cgroups_path not in (None, f"/runspec/{model.name}")
                or model.ports or any(one.parent or one.mode == "routed" or (one.qos is not None and one.network)
                                      for one in model.interfaces))


class Gate:
    """The one lock under which what is scarce is given out; use it with `with`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fd = -1

    def __enter__(self) -> Gate:
        end = time.monotonic() + PATIENCE
        while self._fd < 0:
            try:
                self._fd = self._store.kernel.lock_dir(f"{self._store.root}/{ROOM}", False,
                                                       max(0.0, end - time.monotonic()), 0o700)
            except SyscallError as error:
                if error.errno == errno.EAGAIN:
                    raise StateError("admission is busy", f"other runs have been at it for {PATIENCE:g} s",
                                     "try again when they are done") from None
                if error.errno != errno.ENOENT:
                    raise
                self._store.again()
        return self

    def __exit__(self, *_: object) -> None:
        self._store.kernel.unlock(self._fd)

    def claim(self, models: Iterable[Spec | Network]) -> tuple[int, str]:
        """Write a claim: (descriptor that keeps it alive, path); who gives it up removes the file first."""
        store = self._store
        path = f"{store.root}/{ROOM}/{time.monotonic_ns()}-{os.getpid()}.json"
        fd = store.kernel.open_new(path, 0o600, os.O_EXCL | os.O_APPEND)
        try:
            journal.hold(fd)
            trees = [{"kind": "network", "spec": to_tree(one)} if isinstance(one, Network)
                     else {"kind": "container", "spec": shared_tree(part(one))} for one in models]
            store.kernel.append(fd, jsonlite.dumps({"asks": trees}).encode(), path)
        except BaseException:
            store.kernel.remove_file(path)
            store.kernel.close(fd)
            raise
        return fd, path

    def sweep(self) -> None:
        """Remove the claims of runs that died and left nothing to undo."""
        for path, alive in _files(self._store):
            if not alive:
                self._store.kernel.remove_file(path)


def part(model: Spec) -> Spec:
    """As much of a container's document as admission looks at."""
    linux = model.linux
    return Spec(name=model.name, root=_root(model.root.overlay), process=NOBODY, interfaces=model.interfaces,
                ports=model.ports, linux=Linux(cgroups_path=linux.cgroups_path, net_devices=linux.net_devices,
                                               resources=_resources(linux.resources)))


@kept
def _root(overlay: Overlay | None) -> Root:
    return Root(overlay=overlay)


@kept
def _resources(whole: Resources) -> Resources:
    return Resources(cpu=whole.cpu, memory=whole.memory)


def read(store: Store) -> list[Spec | Network]:
    """What the runs under way claim."""
    out: list[Spec | Network] = []
    for path, alive in _files(store):
        text = store.kernel.try_read(path) if alive else None
        try:
            trees = jsonlite.loads(text)["asks"] if text else []
        except (ValueError, KeyError, TypeError):
            continue            # being written, by one who holds the gate
        out += [from_tree(Network, one["spec"]) if one["kind"] == "network" else from_tree(Spec, one["spec"])
                for one in trees]
    return out


def _files(store: Store) -> Iterator[tuple[str, bool]]:
    """(path, whether its run lives, or died and could not be undone) of each claim."""
    left = {one.partition("-")[2].partition(".")[0] for one in store.kernel.list_dir(f"{store.root}/journals")}
    for name in store.kernel.list_dir(f"{store.root}/{ROOM}"):
        path = f"{store.root}/{ROOM}/{name}"
        try:
            fd = store.kernel.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except SyscallError as error:
            if error.errno == errno.ENOENT:
                continue
            raise
        try:
            yield path, not journal.unheld(fd) or name.partition("-")[2].partition(".")[0] in left
        finally:
            store.kernel.close(fd)


def sweep(store: Store) -> None:
    """Remove what dead runs left, where nobody is at admission just now."""
    if not store.kernel.list_dir(f"{store.root}/{ROOM}"):
        return
    with Gate(store) as gate:
        gate.sweep()
