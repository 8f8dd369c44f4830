"""runc and crun: each container a bundle made from its Spec, the root's directory shared by all."""

from __future__ import annotations

from runspec.bench.peer import Peer, alive, quote, read_pid
from runspec.spec import to_oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from runspec.spec.model import Spec
    from runspec.spec.model_net import Network

# What peers of some years ago take as well; nothing newer is written for them.
VERSION = "1.0.2"


class Oci(Peer):
    """A runtime of the OCI command line."""

    before: tuple[str, ...] = ()        # words around every command

    def lacks(self, spec: Spec) -> str:
        return "" if spec.landlock is None else "OCI has no key for landlock"

    def words(self, *words: str) -> tuple[str, ...]:
        """Its command line, with a state directory of its own."""
        return (*self.before, self.program, "--root", f"/run/{self.name}", *words)

    def write(self, spec: Spec) -> None:
        folder = self.folder(spec.name)
        netns = f"/run/netns/{self.netns(spec.name)}" if spec.interfaces else ""
        tree = config(spec, self.root(spec), self.group(spec.name), netns)
        self.scene.write(f"{folder}/config.json", to_oci.text(tree))

    def launch(self, spec: Spec) -> str:
        folder = self.folder(spec.name)
        return quote(*self.words("run", "-d", "--bundle", folder, "--pid-file", f"{folder}/pid", spec.name))

    def foreground(self, spec: Spec) -> tuple[str, ...]:
        return self.words("run", "--bundle", self.folder(spec.name), spec.name)

    def remove(self, spec: Spec) -> str:
        return (f"{quote(*self.words('delete', '--force', spec.name))} 2>/dev/null || true; "
                f"rm -f {quote(f'{self.folder(spec.name)}/pid')}")

    def exec(self, name: str, args: Sequence[str]) -> str:
        return self.scene.run(*self.words("exec", name, *args))

    def pids(self) -> dict[str, int]:
        found = {name: read_pid(f"{self.folder(name)}/pid") for name in self.specs}
        return {name: pid for name, pid in found.items() if pid and alive(pid)}

    def command(self, name: str) -> str:
        return f"{self.program} run -d --bundle {name} {name}"


class Runc(Oci):
    """The reference runtime, in Go."""

    name = program = package = "runc"
    execs = "runc exec"


class Crun(Oci):
    """The one in C. It takes a machine with both versions of control groups for an error."""

    name = program = package = "crun"
    execs = "crun exec"

    def prepare(self, specs: Sequence[Spec], networks: Sequence[Network] = ()) -> None:
        """Where the machine has both, a mount namespace without cgroup2, entered by nsenter(1) for each command."""
        unified = hybrid()
        if unified:
            self.before = ("nsenter", f"--mount=/proc/{self.scene.without(unified)}/ns/mnt", "--wd=/", "--")
        super().prepare(specs, networks)


def hybrid() -> str:
    """Where cgroup2 is mounted beside version 1; "" where only one of them is."""
    kinds: dict[str, str] = {}
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            _, where, kind, *_ = line.split()
            kinds[kind] = where
    return kinds["cgroup2"] if "cgroup" in kinds and "cgroup2" in kinds else ""


def config(spec: Spec, root: str, group: str, netns: str) -> dict[str, Any]:
    """The config.json of a Spec, with what only a runtime of ours would read left out.

    Args:
        root: the directory of its root.
        group: its control group, with a leading slash.
        netns: a network namespace that is there already; "" for a new one.
    """
    from runspec.spec.units import SHARES_PER_WEIGHT

    cpu = spec.linux.resources.cpu
    if cpu.weight is not None:          # OCI counts in v1's shares
        cpu = cpu.replace(weight=None, shares=cpu.weight * SHARES_PER_WEIGHT)
    namespaces = tuple(one.replace(path=netns) if one.type == "network" and netns else one
                       for one in spec.linux.namespaces)
    linux = spec.linux.replace(cgroups_path=group, namespaces=namespaces,
                               resources=spec.linux.resources.replace(cpu=cpu))
    tree, _ = to_oci.config_of(spec.replace(linux=linux))
    tree["root"] = {"path": root, "readonly": spec.root.readonly}
    del tree["annotations"]
    return {**tree, "ociVersion": VERSION}
