"""What an image says of itself, as a door reads it for the keys that a file leaves out."""

from __future__ import annotations

from runspec.spec.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from runspec.spec.cdi import Edits

    class Machine(Protocol):
        """What a door asks of the machine while it reads a document."""

        def image(self, text: str) -> Image:
            """What an image is and says."""

        def user(self, text: str) -> tuple[int, int, tuple[int, ...]]:
            """Numbers of the user that an image names."""

        def cdi(self, name: str) -> tuple[str, Edits, Edits] | None:
            """The file that describes a device, the file's edits, the device's; None leaves it as it is named."""

# Kinds that say how they want to be run.
TELLING = ("oci:", "docker-archive:")


class Image(Frozen):
    """An image as it is now.

    Args:
        digest: "sha256:..." of what it consists of; None for kinds that have no digest.
        args: its entrypoint followed by its command.
        env: "NAME=value".
        cwd: its working directory.
        user: "USER[:GROUP]", names or numbers, as it writes it.
    """

    digest: str | None = None
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""


NO_IMAGE = Image()


def unnamed(image: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    """The part of an image's environment that a file does not set itself; of two of one name the later one."""
    out = {one.partition("=")[0]: one for one in image}
    for one in asked:
        out.pop(one.partition("=")[0], None)
    return tuple(out.values())
