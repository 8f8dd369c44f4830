"""What all other runtimes have in common: one command a container, run from a shell, as their users do."""

from __future__ import annotations

import os
import shlex

from runspec.bench import limits, wires
from runspec.bench.contender import Contender
from runspec.bench.scene import PATH
from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runspec.spec.model import Spec
    from runspec.spec.model_net import Network

SHELL = "set -e\n"


class Peer(Contender):
    """A runtime that takes one container a command.

    What it starts many of, it starts by one shell script, so that nobody pays for the measuring process; one alone
    is started without.
    """

    program = ""
    package = ""
    own_links = False       # whether it makes the links itself
    alone = True            # whether one container is one command

    def missing(self, spec: Spec | None = None) -> str:
        from shutil import which

        if which(self.program, path=PATH) is None:
            return f"no {self.program}: apt-get install {self.package}"
        return self.lacks(spec) if spec is not None else ""

    def lacks(self, spec: Spec) -> str:
        """Why it cannot run this container; "" where it can."""
        return ""

    def version(self) -> str:
        return self.scene.run(self.program, "--version").partition("\n")[0]

    def know(self, specs: Sequence[Spec], networks: Sequence[Network]) -> None:
        """Keep what is asked."""
        self.host = limits.read_host()
        self.specs = {one.name: one for one in specs}
        self.networks = tuple(networks)
        self.numbers = {name: number for number, name in enumerate(self.specs)}
        self.linked = any(one.interfaces for one in specs)
        self.place = f"{self.name}/{specs[0].name}-{len(specs)}"

    def prepare(self, specs: Sequence[Spec], networks: Sequence[Network] = ()) -> None:
        self.know(specs, networks)
        for one in specs:
            self.write(one)
        begin = self.begin()
        # One alone needs no shell around its command.
        self.single = tuple(shlex.split(self.launch(specs[0]))) if len(specs) == 1 and not begin and (
            self.alone) else ()
        self.script = self.scene.write(f"{self.place}/start.sh", [
            SHELL, *(f"{line}\n" for line in begin), *(f"{self.launch(one)}\n" for one in specs)])
        self.end = self.scene.write(f"{self.place}/delete.sh", [
            *(f"{self.remove(one)}\n" for one in specs), *(f"{line}\n" for line in self.finish())])

    # -- what a runtime says --

    def write(self, spec: Spec) -> None:
        """Its files for one container."""

    def launch(self, spec: Spec) -> str:
        """The shell's line that starts one, detached."""
        raise NotImplementedError

    def foreground(self, spec: Spec) -> tuple[str, ...]:
        """The command that runs one to its end."""
        raise NotImplementedError

    def remove(self, spec: Spec) -> str:
        """The shell's line that ends and removes one."""
        raise NotImplementedError

    # -- links --

    def begin(self) -> list[str]:
        """Lines before the first start."""
        return self.link()

    def link(self) -> list[str]:
        """Lines that make links, where it does not make them itself."""
        if not self.linked:
            return []
        outside = wires.bridges([one for one in self.networks if not one.external])
        lines = []
        for name, spec in self.specs.items() if not self.own_links else ():
            netns = self.netns(name)
            outside += wires.outside(netns, self.numbers[name], spec.interfaces)
            file = self.scene.write(f"{self.place}/{name}.inside", batch(wires.inside(spec.interfaces)))
            lines.append(f"ip -n {netns} -batch {file}")
        file = self.scene.write(f"{self.place}/outside", batch(outside))
        return [f"ip -batch {file}", *lines] if outside else lines

    def finish(self) -> list[str]:
        """Lines after the last removal."""
        if not self.linked:
            return []
        lines = [line for name, spec in self.specs.items() if not self.own_links
                 for line in wires.gone(self.netns(name), self.numbers[name], spec.interfaces)]
        lines += [f"link del {one.name}" for one in self.networks if not one.external]
        file = self.scene.write(f"{self.place}/gone", batch(lines))
        return [f"ip -force -batch {file} 2>/dev/null || true"]

    def netns(self, name: str) -> str:
        return f"{self.name}-{name}"

    # -- what every peer does the same way --

    def start(self) -> None:
        self.scene.run(*(self.single or ("sh", self.script)))

    def run(self, name: str) -> str:
        spec = self.specs[name]
        for line in self.begin() if self.linked else ():
            self.scene.run("sh", "-ec", line)
        try:
            return self.scene.run(*self.foreground(spec))
        finally:
            self.delete()

    def delete(self) -> None:
        self.scene.run("sh", self.end)

    def folder(self, name: str) -> str:
        """The directory of one container's files in the room."""
        path = f"{self.scene.room}/{self.place}/{name}"
        os.makedirs(path, exist_ok=True)
        return path

    def group(self, name: str) -> str:
        """The path of its control group, with a leading slash."""
        return f"/{self.scene.group}/{self.name}/{name}"

    def root(self, spec: Spec) -> str:
        """A directory that may be its root: the shared one, or one with a layer of its own above it."""
        shared = self.scene.image(spec)
        if spec.root.readonly or spec.root.image in (None, "host"):
            return shared
        top = self.folder(spec.name)
        self.scene.run("sh", "-ec", 'mkdir -p "$1/layer" "$1/root"; mount -t tmpfs layer "$1/layer"; '
                       'mkdir "$1/layer/upper" "$1/layer/work"; mount -t overlay -o '
                       '"lowerdir=$2,upperdir=$1/layer/upper,workdir=$1/layer/work" root "$1/root"', "sh", top, shared)
        return f"{top}/root"


def batch(lines: Sequence[str]) -> str:
    """Lines as a file."""
    return "".join(f"{line}\n" for line in lines)


def quote(*words: str) -> str:
    """Words as a shell reads them."""
    return shlex.join(words)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def read_pid(path: str) -> int:
    """A pid file's number; 0 where there is none.

    Raises:
        HostError: it holds something else.
    """
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except FileNotFoundError:
        return 0
    except ValueError:
        raise HostError(f"bench: {path} holds no pid") from None
