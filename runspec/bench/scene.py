"""The private world of a run, from inside: a room for files, and the commands that are timed in it."""

from __future__ import annotations

import os

from runspec import abi
from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runspec.spec.model import Network, Spec

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Into $1, links named in $2 to its usr, and the other words mounted where they are on the host.
HOST_ROOT = """top=$1 links=$2; shift 2
mkdir "$top"; mount -t tmpfs -o mode=755 root "$top"; cd "$top"
mkdir usr etc proc sys dev run root var home mnt tmp; chmod 1777 tmp
for one in $links; do ln -s "usr/$one" "$one"; done
for one; do
    [ -e "$one" ] || continue
    if [ -d "$one" ]; then mkdir -p ".$one"; else touch ".$one"; fi
    mount --bind "$one" ".$one"
    mount -o remount,bind,ro,nosuid,nodev ".$one"
done
"""


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
        self._images: dict[tuple[str, str], str] = {}
        self._without: dict[str, int] = {}

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
                with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=wrong, cwd=self.room,
                                      env={"PATH": PATH, "LC_ALL": "C.UTF-8"}) as done:
                    late = True
                    try:
                        late = not ended(done.pid, seconds)
                    finally:
                        if late:
                            done.kill()
            except OSError as error:
                raise HostError(f"bench: {command[0]}: {error}") from None
            if late:
                raise HostError(f"bench: {' '.join(command)[:200]}: it took longer than {seconds:g} seconds")
            out.seek(0)
            wrong.seek(0)
            text, trouble = out.read(), wrong.read()
        if done.returncode not in ok:
            raise HostError(f"bench: {' '.join(command)[:200]}: status {done.returncode}", (trouble or text)[-500:])
        return text

    def adopted(self, *command: str) -> str:
        """Run a command that leaves one process behind, wait for that one too, and return what both wrote.

        Raises:
            HostError: the status of either is not 0.
        """
        import ctypes
        import tempfile

        before = children()
        with tempfile.TemporaryFile("w+", dir=self.room) as out:
            ctypes.CDLL(None).prctl(abi.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                self.run("sh", "-ec", f'exec "$@" >/proc/{os.getpid()}/fd/{out.fileno()}', "sh", *command)
            finally:
                ctypes.CDLL(None).prctl(abi.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
                statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children() - before]
            out.seek(0)
            text = out.read()
        if any(statuses):
            raise HostError(f"bench: {' '.join(command)[:200]}: its program ended with {statuses[0]}", text[-500:])
        return text

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
        """The directory that a container's root is made of, which all contenders share.

        For the image `host` it has the host's /usr and a few files mounted in it, read-only, as runspec's own root.

        Raises:
            HostError: it cannot be built.
        """
        from runspec.kernel import Kernel
        from runspec.plan.steps.rootfs import HOST_FILES, HOST_LINKS
        from runspec.run.images import Images

        if spec.root.image is None:
            return spec.root.path or "/"
        if spec.root.image != "host":
            key = spec.root.image, spec.root.digest or ""
            if key not in self._images:
                self._images[key] = Images(Kernel(), build=True).ensure(spec.root.image, spec.root.digest) or "/"
            return self._images[key]
        top = f"{self.room}/host"
        if not os.path.isdir(top):
            self.run("sh", "-ec", HOST_ROOT, "sh", top, " ".join(HOST_LINKS), *("/usr", *HOST_FILES))
        return top

    def without(self, mount: str) -> int:
        """A process in a mount namespace that lacks one mount; it stays until the run ends.

        Raises:
            HostError: the mount cannot be taken away.
        """
        import subprocess

        # What is mounted later, such as network namespaces, appears there as well.
        if mount not in self._without:
            # A file bound to the namespace would serve as well, but some kernels refuse it now and then.
            holder = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "slave", "sh", "-c",
                 'umount "$1" && echo done && exec sleep inf', "sh", mount],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={"PATH": PATH}, cwd="/")
            assert holder.stdout is not None
            if holder.stdout.readline() != b"done\n":
                raise HostError(f"bench: {mount} cannot be unmounted in a namespace of its own")
            self._without[mount] = holder.pid
        return self._without[mount]

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


def ended(pid: int, seconds: float) -> bool:
    """Wait for the end of a child, and say whether it came in time.

    By its descriptor: subprocess's own wait with a limit looks at intervals that double up to 50 ms, which shows in
    every time that is measured.
    """
    import select

    fd = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))
    finally:
        os.close(fd)


def children() -> set[int]:
    """The pids of all children of this process."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return set(map(int, file.read().split()))
