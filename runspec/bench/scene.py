"""The private world of a run: namespaces, a room for files, and the commands that are timed in it."""

from __future__ import annotations

from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Scene:
    """Where everything of a run lives; nothing of it is left when it closes.

    Args:
        room: a directory of its own.
        runspec: the command line of runspec itself, with its own state root.
        say: takes lines of progress.
    """

    def __init__(self, room: str, runspec: tuple[str, ...], say: Callable[[str], object]) -> None:
        self.room, self.runspec, self.say = room, runspec, say

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
