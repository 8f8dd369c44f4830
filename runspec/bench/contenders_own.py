"""runspec itself, and no container at all."""

from __future__ import annotations

import contextlib
import os
import signal

from runspec.bench import brief
from runspec.bench.contender import Contender
from runspec.bench.contenders_oci import Oci
from runspec.bench.peer import quote
from runspec.bench.scene import PATH
from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from subprocess import Popen

    from runspec.spec.model import Network, Spec


class Native(Contender):
    """The programs themselves, as children of the measuring process, on the cores that their Specs name."""

    name, execs = "native", ""

    def missing(self, spec: Spec | None = None) -> str:
        """It has no links of its own; apart from that nothing is asked of it."""
        return "without a container there is no link of its own" if spec is not None and spec.interfaces else ""

    def version(self) -> str:
        return os.uname().release

    def prepare(self, specs: Sequence[Spec], networks: Sequence[Network] = ()) -> None:
        self.specs = {one.name: one for one in specs}
        self.running: dict[str, Popen[bytes]] = {}

    def words(self, name: str) -> tuple[str, ...]:
        spec = self.specs[name]
        cpus = spec.linux.resources.cpu.cpus
        return (*(("taskset", "-c", cpus) if cpus else ()), *spec.process.args)

    def start(self) -> None:
        import subprocess

        for name in self.specs:
            try:
                self.running[name] = subprocess.Popen(
                    self.words(name), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    start_new_session=True, cwd=self.scene.room, env=self.environment(name))
            except OSError as error:
                raise HostError(f"bench: {self.words(name)[0]}: {error}") from None

    def environment(self, name: str) -> dict[str, str]:
        return {"PATH": PATH, "LC_ALL": "C.UTF-8",
                **dict(one.partition("=")[::2] for one in self.specs[name].process.env)}

    def run(self, name: str) -> str:
        return self.scene.run("env", *(f"{key}={value}" for key, value in self.environment(name).items()),
                              *self.words(name))

    def exec(self, name: str, args: Sequence[str]) -> str:
        return self.scene.run(*args)

    def pids(self) -> dict[str, int]:
        return {name: one.pid for name, one in self.running.items() if one.poll() is None}

    def delete(self) -> None:
        for one in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
        for one in self.running.values():
            one.wait()
        self.running.clear()

    def command(self, name: str) -> str:
        return " ".join(self.words(name))


class Runspec(Contender):
    """runspec: one file of all containers and their networks, applied and destroyed."""

    name, execs = "runspec", "runspec exec"

    def missing(self, spec: Spec | None = None) -> str:
        return ""

    def version(self) -> str:
        from runspec import __version__

        return __version__

    def prepare(self, specs: Sequence[Spec], networks: Sequence[Network] = ()) -> None:
        mine = [one.replace(linux=one.linux.replace(cgroups_path=f"/{self.scene.group}/runspec/{one.name}"))
                for one in specs]
        self.specs = {one.name: one for one in mine}
        self.networks = tuple(networks)
        self.bundles: dict[str, RunspecOci] = {}
        self.file = self.scene.write(f"runspec/{mine[0].name}-{len(mine)}.yaml", brief.text([*mine, *networks]))
        if mine[0].root.image not in (None, "host"):
            self.scene.image(mine[0])       # unpacked before anything is timed, as pulled images of the others are

    def start(self) -> None:
        self.scene.run(*self.scene.runspec, "apply", "--yes", self.file)

    def run(self, name: str) -> str:
        """By the OCI verbs: what `apply` starts has no output."""
        if name not in self.bundles:
            self.bundles[name] = RunspecOci(self.scene)
            self.bundles[name].prepare([self.specs[name]], self.networks)
        return self.bundles[name].run(name)

    def exec(self, name: str, args: Sequence[str]) -> str:
        return self.scene.run(*self.scene.runspec, "exec", name, *args)

    def again(self) -> dict[str, Callable[[], object]]:
        """`apply` and `diff` of what runs already; diff ends with another status than 0 where something differs."""
        return {"second apply": self.start, "diff": lambda: self.scene.run(*self.scene.runspec, "diff", self.file)}

    def pids(self) -> dict[str, int]:
        import json

        listed = json.loads(self.scene.run(*self.scene.runspec, "list", "-f", "json"))
        return {one["id"]: one["pid"] for one in listed if one["status"] == "running" and one["id"] in self.specs}

    def delete(self) -> None:
        self.scene.run(*self.scene.runspec, "destroy", "--yes", self.file)

    def command(self, name: str) -> str:
        return f"runspec apply {os.path.basename(self.file)}"


class RunspecOci(Oci):
    """runspec as engines call it, with the same bundles as the other runtimes of the OCI command line."""

    name, execs = "runspec-oci", "runspec exec"
    alone = False       # two commands a container

    def missing(self, spec: Spec | None = None) -> str:
        return self.lacks(spec) if spec is not None else ""

    def version(self) -> str:
        from runspec import __version__

        return __version__

    def words(self, *words: str) -> tuple[str, ...]:
        return (*self.scene.runspec, "--root", f"/run/{self.name}", *words)

    def launch(self, spec: Spec) -> str:
        folder = self.folder(spec.name)
        made = self.words("create", "--bundle", folder, "--pid-file", f"{folder}/pid", spec.name)
        return f"{quote(*made)}; {quote(*self.words('start', spec.name))}"

    def run(self, name: str) -> str:
        """`create` and `start`; the program is a child of ours as soon as `create` has ended."""
        for line in self.begin():
            self.scene.run("sh", "-ec", line)
        try:
            return self.scene.adopted("sh", "-ec", self.launch(self.specs[name]))
        finally:
            self.delete()

    def command(self, name: str) -> str:
        return f"runspec create --bundle {name} {name}; runspec start {name}"
