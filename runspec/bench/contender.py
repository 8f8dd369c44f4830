"""What a contender of the benchmarks can do. Every one gets the same Specs, so that all run the same container."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runspec.bench.scene import Scene
    from runspec.spec.model import Spec
    from runspec.spec.model_net import Network


class Contender:
    """A way to run a program in a container, or without one.

    A suite calls `prepare` once (not timed), then any of the others as often as it likes, and `delete` at the end. A
    contender leaves nothing behind after `delete`, also where a call before it failed.

    Args:
        scene: the private world; commands run by its `run`.
    """

    name = ""
    execs: str | None = None        # its command for a further program, the container's name next; None: it has none

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def missing(self, spec: Spec | None = None) -> str:
        """Why it cannot take part (with this container); "" where it can."""
        raise NotImplementedError

    def version(self) -> str:
        """In its own words, one line."""
        raise NotImplementedError

    def prepare(self, specs: Sequence[Spec], networks: Sequence[Network] = ()) -> None:
        """Write what it needs to start these: files, bundles, configurations. Nothing runs yet.

        Args:
            networks: bridges that the containers' links join.
        """
        raise NotImplementedError

    def start(self) -> None:
        """Start all that were prepared, detached; returns when the program of each runs."""
        raise NotImplementedError

    def run(self, name: str) -> str:
        """Run one that was prepared in the foreground, to its end; returns what it wrote on standard output.

        Raises:
            HostError: it could not start, or its status is not 0.
        """
        raise NotImplementedError

    def exec(self, name: str, args: Sequence[str]) -> str:
        """Run a further program in one that runs; returns what it wrote."""
        raise NotImplementedError

    def pids(self) -> dict[str, int]:
        """Name -> first process (as the host counts) of all that run."""
        raise NotImplementedError

    def again(self) -> dict[str, Callable[[], object]]:
        """Figure -> a verb of its own that looks at all that run, as a second `apply`; empty where it has none."""
        return {}

    def delete(self) -> None:
        """End and remove all that were prepared, in whatever state they are."""
        raise NotImplementedError

    def command(self, name: str) -> str:
        """The command line that starts one, as a user would type it."""
        raise NotImplementedError


# Name -> module and class, in the order in which they are shown.
CONTENDERS = {
    "native": ("contenders_own", "Native"),
    "runspec": ("contenders_own", "Runspec"),
    "floor": ("contenders_floor", "Floor"),
    "runspec-oci": ("contenders_own", "RunspecOci"),
    "runc": ("contenders_oci", "Runc"),
    "crun": ("contenders_oci", "Crun"),
    "lxc": ("contenders_lxc", "Lxc"),
    "bubblewrap": ("contenders_small", "Bubblewrap"),
    "systemd-nspawn": ("contenders_small", "Nspawn"),
    "podman": ("contenders_podman", "Podman"),
}
# Those of a run without `--peers`: the race that anybody can repeat in a quarter of an hour.
USUAL = ("native", "runspec", "floor", "runc", "lxc")
ALWAYS = ("native", "runspec")


def load(name: str, scene: Scene) -> Contender:
    """A contender of CONTENDERS, anew."""
    from importlib import import_module

    module, cls = CONTENDERS[name]
    made = getattr(import_module(f"runspec.bench.{module}"), cls)(scene)
    assert isinstance(made, Contender)
    return made
