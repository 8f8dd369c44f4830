"""A directory that a container and the measuring process share, where programs leave what they found."""

from __future__ import annotations

import os
import time

from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from runspec.bench.contender import Contender
    from runspec.spec.model import Spec

    T = TypeVar("T")

INSIDE = "/work"
PAUSE = 0.02            # seconds between two looks
ALIVE = 5.0             # seconds between two looks at whether the program still runs


class Work:
    """The directory of one container of one contender.

    Args:
        path: of the host; made where it is missing.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(path, exist_ok=True)

    def put(self, name: str, text: str) -> None:
        """Write a file for the program."""
        with open(os.path.join(self.path, name), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name: str) -> str:
        """A file's text, "" while it is not there."""
        try:
            with open(os.path.join(self.path, name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def drop(self, *names: str) -> None:
        """Remove what an earlier round left."""
        for name in names:
            try:
                os.unlink(os.path.join(self.path, name))
            except FileNotFoundError:
                continue

    def clear(self) -> None:
        """Remove all that programs left: over the directory of a killed stress-ng the next one of its pid stumbles."""
        import shutil

        shutil.rmtree(self.path)
        os.mkdir(self.path)

    def seen_by(self, spec: Spec, contained: bool) -> Spec:
        """A container that has the directory at /work; a program of its own just begins there.

        Args:
            contained: whether there is a container.
        """
        if contained:
            mounts = tuple(one.replace(source=self.path) if one.destination == INSIDE else one for one in spec.mounts)
            return spec.replace(mounts=mounts)
        # Its words are a shell's at most: what names /work means this directory.
        args = tuple(one.replace(f"{INSIDE}/", f"{self.path}/") for one in spec.process.args)
        return spec.replace(process=spec.process.replace(args=("/usr/bin/env", "-C", self.path, *args)))

    def wait(self, name: str, found: Callable[[str], T | None], one: Contender, who: str, seconds: float,
             meanwhile: Callable[[], object] = lambda: None) -> T:
        """Wait for what a program writes.

        Args:
            found: what is looked for, out of the file's text; None while it is not whole.
            who: the container that writes it.
            meanwhile: called at each look.

        Raises:
            HostError: it took longer, or the program ended without.
        """
        end = time.monotonic() + seconds
        look = time.monotonic() + ALIVE
        while True:
            ended = False
            if time.monotonic() > look:
                look, ended = time.monotonic() + ALIVE, who not in one.pids()
            answer = found(self.read(name))
            if answer is not None:
                return answer
            if ended or time.monotonic() > end:
                raise HostError(f"bench: {one.name}: no result in {name} "
                                f"{'when it had ended' if ended else f'after {seconds:g} s'}", self.read(name)[-300:])
            meanwhile()
            time.sleep(PAUSE)


def cores() -> list[int]:
    """Those that this process may use. What is measured goes to the last: the first has more of the interrupts."""
    return sorted(os.sched_getaffinity(0))


def pinned(spec: Spec, core: int | None) -> Spec:
    """A container on one core, or on all."""
    resources = spec.linux.resources
    cpu = resources.cpu.replace(cpus=None if core is None else str(core))
    return spec.replace(linux=spec.linux.replace(resources=resources.replace(cpu=cpu)))


def whole(names: Sequence[str]) -> tuple[str, ...]:
    """Those that differ once they run: the floor is for starts, and containers are the same by whichever verb."""
    return tuple(name for name in names if name not in ("floor", "runspec-oci"))


def package(name: str) -> str:
    """The version of a Debian package, "" where there is no dpkg."""
    import subprocess

    try:
        return subprocess.run(("dpkg-query", "-W", "-f=${Version}", name), stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False, text=True).stdout
    except OSError:
        return ""
