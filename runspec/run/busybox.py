"""The image `busybox`, built from the host's own static busybox.

Nothing is fetched, and the directory's name holds the hash of the binary, so an upgraded package makes a
new image and leaves running ones alone.
"""

from __future__ import annotations

import os
import stat

from runspec.errors import HostError
from runspec.run import tools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel

# Raised whenever what is built below changes; part of the image's name.
LAYOUT = 1

_DIRS = ("bin", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "run", "sbin", "srv", "sys",
         "usr", "usr/bin", "usr/lib", "usr/sbin", "usr/share", "var", "var/lib", "var/log", "var/spool")
_PT_INTERP = 3

_FILES = {
    "etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost\n",
    # One shell that lives without a terminal: its input is a pipe that it holds open for writing
    # itself, so it waits forever and init has nothing to start again.
    "etc/inittab": "::respawn:/sbin/syslogd -n\n::respawn:/bin/sh <>/etc/console\n::restart:/bin/true\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
                  "nobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/profile": "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
    "etc/resolv.conf": "",
    "etc/shells": "/bin/sh\n",
}


def ensure(kernel: Kernel, images: str, build: bool) -> str:
    """The directory of the busybox image; a second look costs two stats and one small read.

    Args:
        images: where images are kept.
        build: False for a mere look: the name is told, nothing is made.
    Raises:
        HostError: the host has no static busybox.
    """
    binary, found = _find(kernel)
    sign = f"{LAYOUT} {binary} {found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
    text = kernel.try_read(f"{images}/busybox.known") or b""
    known = text.decode("ascii", "replace").rsplit(" ", 1)
    if len(known) == 2 and known[0] == sign and kernel.exists(f"{images}/{known[1]}"):
        return f"{images}/{known[1]}"
    import hashlib
    data = kernel.read(binary)
    _refuse_dynamic(binary, data)
    name = f"busybox-{hashlib.sha256(b'%d:' % LAYOUT + data).hexdigest()[:12]}"
    if not build:
        return f"{images}/{name}"
    kernel.make_dirs(images)
    lock = kernel.lock_dir(images)
    try:
        if not kernel.exists(f"{images}/{name}"):
            # Only the lock's holder builds, so a temporary directory found now is a dead builder's.
            temporary = f"{images}/.{name}.tmp"
            kernel.remove_tree(temporary)
            _build(kernel, binary, data, temporary)
            kernel.rename(temporary, f"{images}/{name}")
        kernel.replace_file(f"{images}/busybox.known", f"{sign} {name}", 0o644)
    finally:
        kernel.unlock(lock)
    return f"{images}/{name}"


def _find(kernel: Kernel) -> tuple[str, os.stat_result]:
    """The host's busybox and its stat."""
    for place in tools.PLACES:
        found = kernel.stat(f"{place}/busybox")
        if found is not None and stat.S_ISREG(found.st_mode):
            return f"{place}/busybox", found
    raise HostError("root.image: busybox needs a static busybox on the host", f"none in {', '.join(tools.PLACES)}",
                    "apt-get install busybox-static")


def static_busybox(kernel: Kernel) -> str:
    """The path of the host's static busybox.

    Raises:
        HostError: there is none.
    """
    binary, _ = _find(kernel)
    _refuse_dynamic(binary, kernel.read(binary))
    return binary


def _refuse_dynamic(binary: str, data: bytes) -> None:
    if not is_static(data):
        raise HostError(f"root.image: {binary} is no static 64-bit program",
                        "alone in a root it would find no loader and no libraries, ld.so(8)",
                        "apt-get install busybox-static")


def is_static(data: bytes) -> bool:
    """Whether these bytes are a 64-bit little-endian ELF program that needs no interpreter, elf(5)."""
    if data[:6] != b"\x7fELF\x02\x01":
        return False
    start, size, count = (_number(data, at, width) for at, width in ((32, 8), (54, 2), (56, 2)))
    kinds = [_number(data, at, 4) for at in range(start, start + size * count, size or 1)]
    return bool(kinds) and _PT_INTERP not in kinds


def _number(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at:at + width], "little")


def parse_applets(text: str) -> list[str]:
    """The paths of `busybox --list-full`, clean and inside the root; anything else is left out."""
    return [line for line in text.splitlines()
            if line.startswith(("bin/", "sbin/", "usr/bin/", "usr/sbin/")) and "/.." not in line
            and line != "bin/busybox"]


def _build(kernel: Kernel, binary: str, data: bytes, top: str) -> None:
    """Fill a new directory with the image."""
    kernel.make_dir(top)
    for name in _DIRS:
        kernel.make_dir(f"{top}/{name}")
    kernel.make_dir(f"{top}/root", 0o700)
    for name in ("tmp", "var/tmp"):
        kernel.make_dir(f"{top}/{name}")
        kernel.set_mode(f"{top}/{name}", 0o1777)
    kernel.symlink("../run", f"{top}/var/run")
    for name, text in _FILES.items():
        kernel.create_file(f"{top}/{name}", text, 0o644)
        kernel.set_mode(f"{top}/{name}", 0o644)
    # Only root writes into it: what is written there, root's shell runs.
    kernel.make_fifo(f"{top}/etc/console", 0o600)
    kernel.create_file(f"{top}/bin/busybox", data, 0o755)
    kernel.set_mode(f"{top}/bin/busybox", 0o755)
    for applet in parse_applets(kernel.output([binary, "--list-full"]).decode("ascii", "replace")):
        up = "busybox" if applet.startswith("bin/") else "../" * applet.count("/") + "bin/busybox"
        kernel.symlink(up, f"{top}/{applet}")
