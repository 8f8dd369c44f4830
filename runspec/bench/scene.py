"""The private world of a run, from inside: a room for files, and the commands that are timed in it."""

from __future__ import annotations

import os

from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runspec.spec.model import Network, Spec

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Scene:
    """Where everything of a run lives; nothing of it is left when it closes.

    It has a pid, a mount and a network namespace of its own, see world.py: /run and runspec's /var/lib/runspec are
    empty and in memory, no link but lo is there, and all processes end with the run.

    Args:
        room: a directory of its own, on a disk.
        runspec: the command line of runspec itself.
        say: takes lines of progress.
        group: the name of the control group, at the top of every hierarchy, that all others are below.
    """

    def __init__(self, room: str, runspec: tuple[str, ...], say: Callable[[str], object],
                 group: str = "runspec-bench") -> None:
        self.room, self.runspec, self.say, self.group = room, runspec, say, group
        self._root = ""

    def run(self, *command: str, ok: Sequence[int] = (0,), seconds: float = 600) -> str:
        """Run a command and return its standard output.

        Output goes to a file, for a container's init holds open what it inherits.

        Raises:
            HostError: its status is none of `ok`, or it took longer than `seconds`.
        """
        import subprocess
        import tempfile

        with tempfile.TemporaryFile("w+", dir=self.room) as out, tempfile.TemporaryFile("w+", dir=self.room) as wrong:
            try:
                done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=wrong, cwd=self.room,
                                      timeout=seconds, env={"PATH": PATH, "LC_ALL": "C.UTF-8"})
            except (OSError, subprocess.TimeoutExpired) as error:
                raise HostError(f"bench: {command[0]}: {error}") from None
            out.seek(0)
            wrong.seek(0)
            text, trouble = out.read(), wrong.read()
        if done.returncode not in ok:
            raise HostError(f"bench: {' '.join(command)[:200]}: status {done.returncode}", (trouble or text)[-500:])
        return text

    def timed(self, *command: str, ok: Sequence[int] = (0,)) -> float:
        """Seconds that a command takes, its start included."""
        import time

        begun = time.perf_counter()
        self.run(*command, ok=ok)
        return time.perf_counter() - begun

    def read(self, *files: str) -> tuple[Spec | Network, ...]:
        """The models of YAML files.

        Args:
            files: paths; a relative one is below this package.

        Raises:
            SpecError: every fault of them.
        """
        from runspec.spec import rules, source

        here = os.path.dirname(__file__)
        read, faults = rules.judge(*source.gather([os.path.join(here, one) for one in files]))
        if faults:
            raise source.join(faults)
        return tuple(model for model, _ in read)

    def image(self, spec: Spec) -> str:
        """The directory that a container's root is made of: the image that all contenders share, or `root.path`.

        Raises:
            HostError: it cannot be built, or is `host`, which is made of mounts.
        """
        from runspec.kernel import Kernel
        from runspec.run.images import Images

        if spec.root.image is None:
            return spec.root.path or "/"
        found = Images(Kernel(), build=True).ensure(spec.root.image, spec.root.digest)
        if found is None:
            raise HostError(f"bench: root.image {spec.root.image} is no directory")
        return found

    def write(self, name: str, text: str | Iterable[str], mode: int = 0o644) -> str:
        """A file in the room; directories before it are made.

        Returns:
            Its path.
        """
        path = os.path.join(self.room, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.writelines((text,) if isinstance(text, str) else text)
        os.chmod(path, mode)
        return path
