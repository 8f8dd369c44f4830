"""Programs of the host that unpack what others packed: tar, umoci, skopeo, each held to one directory.

They see the host's files read-only, except for that directory, and of its devices and its services' sockets nothing;
they have no terminal, no network and only the rights that unpacking takes. Whatever an archive makes them do, the
kernel keeps it inside.
"""

from __future__ import annotations

import os
from _signal import SIGKILL  # type: ignore[import-not-found]

from runspec import abi
from runspec.errors import HostError, SyscallError
from runspec.plan.needs import TOOLS
from runspec.plan.steps.base import Table, words
from runspec.plan.steps.process import credential_ops
from runspec.spec.model import Capabilities, Process, User

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runspec.kernel import Kernel

# Fixed directories: the caller's PATH, which may be empty, must not decide what runs as root.
PLACES = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin")
SECONDS = 600.0         # of one program: gigabytes on a slow disk take minutes, a hang takes for ever
# Owners, modes, nodes and file capabilities of what is unpacked; nothing that reaches beyond files.
_RIGHTS = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD", "CAP_SETFCAP")
HIDDEN = ("/run",)      # sockets of those who would do more for root
_LINES = 3              # the first of what a program complains; what follows comes of them


def find(kernel: Kernel, name: str) -> str:
    """The absolute path of a program.

    Raises:
        HostError: it is not installed; names the package.
    """
    for place in PLACES:
        if kernel.exists(f"{place}/{name}"):
            return f"{place}/{name}"
    raise HostError(f"root.image: this kind of image needs {name}", f"it is in none of {', '.join(PLACES)}",
                    f"apt-get install {TOOLS.get(name, name)}")


def run(kernel: Kernel, name: str, args: Sequence[str], *, into: str = "", stdin: int = -1, seconds: float = SECONDS,
        most: int = 1 << 20) -> tuple[int, bytes, str]:
    """Run a program to its end.

    Args:
        name: of the program, `tar`.
        args: its words.
        into: the one directory it may write below; "" for none.
        stdin: a descriptor for its standard input.
        seconds: until it is killed.
        most: bytes kept of its standard output.
    Returns:
        Exit status, standard output, and what it complained, one line.
    Raises:
        HostError: it is not installed, or did not end in time.
    """
    program = find(kernel, name)
    table = Table()
    add, root = table.add, os.geteuid() == 0
    add(abi.OP_PRCTL, a=abi.PR_SET_PDEATHSIG, b=SIGKILL)     # a killed runspec leaves nobody at work
    add(abi.OP_SETSID)
    if root:
        add(abi.OP_UNSHARE, a=abi.CLONE_NEWNS | abi.CLONE_NEWNET | abi.CLONE_NEWIPC)
        host, tree, at = table.slot("host"), table.slot("tree"), table.slot("at")
        add(abi.OP_OPEN, slot=host, s1="/", a=abi.O_PATH | abi.O_CLOEXEC)
        add(abi.OP_MOUNT_SETATTR, slot=host, pad=1, c=abi.MS_PRIVATE)
        null = table.slot("null")
        add(abi.OP_OPEN, slot=null, s1="/dev/null", a=abi.O_RDWR | abi.O_CLOEXEC)
        if into:
            # Cloned before the others become read-only.
            add(abi.OP_OPEN_TREE, slot=tree, s1=into, a=abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC)
            add(abi.OP_OPEN, slot=at, s1=into, a=abi.O_PATH | abi.O_DIRECTORY | abi.O_CLOEXEC)
        add(abi.OP_MOUNT_SETATTR, slot=host, pad=1, a=abi.MOUNT_ATTR_RDONLY | abi.MOUNT_ATTR_NODEV)
        for place in HIDDEN:
            # Who keeps images there has them read.
            if not any(f"{place}/" in f"{word}/" for word in (into, *args)):
                add(abi.OP_MASK, dir=host, s1=place.lstrip("/"), slot=null)
        if into:
            add(abi.OP_MOVE_MOUNT, slot=tree, dir=at)
        credential_ops(table, Process(args=(), user=User(umask=0o022), no_new_privileges=True),
                       Capabilities(bounding=_RIGHTS, effective=_RIGHTS, permitted=_RIGHTS))
    # What decompresses for tar is looked up in its PATH.
    env = (f"PATH={':'.join(PLACES)}", "LC_ALL=C", f"TMPDIR={into or '/nonexistent'}", "HOME=/nonexistent")
    add(abi.OP_EXEC, s1=words((program, *args)), s2=words(env))
    try:
        status, out, complaint = kernel.program(table.ops, (), abi.CLONE_NEWPID if root else 0, stdin, seconds, most)
    except SyscallError as error:
        if error.call == "execve":
            raise HostError(f"root.image: {name} did not end within {seconds:g} s", "it was killed",
                            "see whether the disk or the file system under it hangs") from None
        raise
    lines = [line for line in complaint.decode("utf-8", "replace").splitlines() if line.strip()]
    return status, out, "; ".join(lines[:_LINES])[:600]
