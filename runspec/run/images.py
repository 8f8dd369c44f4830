"""Images: the read-only directory that `root.image` names, built where it is missing.

`busybox` is built from the host's own static busybox: nothing is fetched, and the directory's name
holds the hash of the binary, so an upgraded package makes a new image and leaves running ones alone.

`oci:`, `docker-archive:` and `tar:` are unpacked once under their digest, whole or not at all, and shared
by all containers as the lowest layer of their roots.
"""

from __future__ import annotations

import errno
import os
import stat

from runspec.errors import HostError, RunspecError, SpecError, SyscallError
from runspec.plan.steps.rootfs import STATE, layer_dir
from runspec.run import accounts, busybox, layout, tools
from runspec.spec import jsonlite
from runspec.spec.from_yaml import find
from runspec.spec.image import Image
from runspec.spec.sha import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel
    from runspec.run.request import Wanted
    from runspec.spec.cdi import Edits
    from runspec.spec.model import Root


class Images:
    """The images of one request, each looked at once.

    Args:
        build: whether what is missing may be built now; a mere look leaves it.
        state: where images are kept, below `images/`.
    """

    def __init__(self, kernel: Kernel, build: bool = False, state: str = STATE) -> None:
        self.kernel, self.build, self.state = kernel, build, state
        self._known: dict[str, Image] = {}
        self._tops: dict[tuple[str, str | None], str | None] = {}       # (image, digest) -> its directory

    def image(self, text: str) -> Image:
        """What `root.image` says stands for now.

        Raises:
            HostError: it is not there, damaged, or a program to read it is missing.
        """
        if text not in self._known:
            self._known[text] = self._look(text)
        return self._known[text]

    def _look(self, text: str) -> Image:
        kind, _, rest = text.partition(":")
        if kind == "oci":
            directory, tag = layout.split(rest)
            found = layout.resolve(self.kernel, directory, tag)
            return layout.parse_config(found.config, found.digest, f"{directory}: config of {found.digest}")
        if kind not in ("tar", "docker-archive"):
            return Image()
        digest = self._file_digest(kind, rest)
        if kind == "tar":
            return Image(digest=digest)
        stored = self.kernel.try_read(f"{os.path.dirname(layer_dir(text, digest, self.state))}/config.json")
        if stored is None:
            fd = self._open(rest)
            try:
                status, stored, complaint = tools.run(
                    self.kernel, "skopeo", ("--insecure-policy", "inspect", "--config", "--raw",
                                            "docker-archive:/proc/self/fd/0"), stdin=fd, most=layout.MOST)
            finally:
                self.kernel.close(fd)
            if status:
                raise _refused(rest, "skopeo", status, complaint)
        return layout.parse_config(stored, digest, f"{rest}: its config")

    def _open(self, path: str) -> int:
        try:
            return self.kernel.open_regular(path)
        except SyscallError as error:
            why = "it is no regular file" if error.errno == errno.EINVAL else os.strerror(error.errno or 0)
            raise HostError(f"root.image: {path} cannot be read", why, "name an archive that is there") from None

    def _file_digest(self, kind: str, path: str) -> str:
        """SHA-256 of an archive; one that was unpacked before is known by its inode, size and times."""
        fd = self._open(path)
        try:
            sign, kernel = _sign(self.kernel.stat_open(fd)), self.kernel
            note = kernel.try_read(_note(f"{self.state}/images", kind, path)) or b""
            known, _, unpacked = note.decode("ascii", "replace").partition(" ")
            if known == sign and kernel.exists(layer_dir(f"{kind}:{path}", unpacked, self.state)):
                return unpacked
            digest = f"sha256:{kernel.hash_file(fd)}"
            if _sign(kernel.stat_open(fd)) != sign:
                raise HostError(f"root.image: {path} changed while it was read", "somebody writes to it",
                                "wait until it is whole")
            return digest
        finally:
            self.kernel.close(fd)

    def cdi(self, name: str) -> tuple[str, Edits, Edits] | None:
        """Devices stay as they are named: see run/cdi.py."""
        return None

    # -- who runs --

    def user(self, text: str) -> tuple[int, int, tuple[int, ...]]:
        """Numbers of the user that an image names.

        Raises:
            HostError: its accounts cannot be read by a mere look.
            SpecError: a name that it does not know.
        """
        image = self.image(text)
        who, _, whose = image.user.partition(":")
        if who.isdigit() and whose.isdigit():
            return accounts.lookup(image.user, b"", b"")
        top = layer_dir(text, image.digest or "", self.state)
        if not self.kernel.exists(top) and text.startswith("oci:"):
            directory, tag = layout.split(text[4:])
            layers = layout.resolve(self.kernel, directory, tag).layers
            return accounts.lookup(image.user, *(self._from_layers(directory, layers, name)
                                                 for name in ("etc/passwd", "etc/group")))
        if not self.kernel.exists(top) and not self.build:
            raise HostError(f"root.image: its user is {image.user}, which is looked up in the image's own files",
                            "a mere look unpacks nothing", "apply unpacks it; or write process.user, in numbers")
        self.ensure(text, image.digest)
        return accounts.lookup(image.user, *(self.kernel.read_below(top, name, accounts.MOST)
                                             for name in ("etc/passwd", "etc/group")))

    def _from_layers(self, directory: str, layers: list[dict[str, object]], name: str) -> bytes:
        """A file as the uppermost layer that has it holds it; empty where none does."""
        for one in reversed(layers):
            fd = self._open(f"{directory}/{layout.blob_path(one, directory)}")
            try:
                _, data, _ = tools.run(self.kernel, "tar", (
                    "--extract", "--to-stdout", "--file=/proc/self/fd/0", name, f"./{name}"), stdin=fd,
                    most=accounts.MOST)
            finally:
                self.kernel.close(fd)
            if data:
                return data
        return b""

    # -- directories --

    def of(self, root: Root, asking: Wanted) -> str | None:
        """The directory of a root's image, asked for once by all that are made from it; None without one."""
        if not root.image:
            return None
        asked = root.image, root.digest
        if asked not in self._tops:
            try:
                self._tops[asked] = self.ensure(*asked)
            except RunspecError as error:
                error.at = error.at or find(asking.marks, "root.image")[1]
                raise
        return self._tops[asked]

    def ensure(self, text: str, digest: str | None = None) -> str | None:
        """The directory that holds an image, built first where it is missing.

        Args:
            text: `root.image`.
            digest: what it was when the request was read; None for kinds without one.
        Returns:
            An absolute path; None for `host`, which is made of mounts. Without `build` nothing need be there.
        Raises:
            HostError: it cannot be built, or is another one by now.
            SpecError: no such kind of image.
        """
        kernel = self.kernel
        if text == "host":
            return None
        kind, _, rest = text.partition(":")
        if kind == "dir" and rest:
            found = kernel.stat(rest)
            if not rest.startswith("/") or found is None or not stat.S_ISDIR(found.st_mode):
                raise HostError(f"root.image: {rest} is not a directory",
                                "`dir:` takes the absolute path of a root file system, unpacked",
                                "create it, or name another image")
            return rest
        if text == "busybox":
            return busybox.ensure(kernel, f"{self.state}/images", self.build)
        if kind not in ("oci", "docker-archive", "tar") or not rest.startswith("/"):
            raise SpecError(f"root.image: {text} is no image", "nothing here makes a root of it",
                            "use busybox, host, dir:/folder, tar:/file, docker-archive:/file or oci:/folder:tag")
        digest = digest or self.image(text).digest or ""
        top = layer_dir(text, digest, self.state)
        if self.build and not kernel.exists(top):
            self._unpack(kind, rest, digest, os.path.dirname(top))
        return top

    def _unpack(self, kind: str, rest: str, digest: str, home: str) -> None:
        """Fill images/KIND-DIGEST, under the lock, in a temporary directory that is renamed."""
        kernel, images = self.kernel, os.path.dirname(home)
        kernel.make_dirs(images)
        # One builder at a time; the next waits as long as one may take.
        lock = kernel.lock_dir(images, wait=tools.SECONDS * 2)
        try:
            if kernel.exists(home):
                return
            # Only the lock's holder builds, so a temporary directory found now is a dead builder's.
            room = f"{images}/.{os.path.basename(home)}.tmp"
            kernel.remove_tree(room)
            # Closed to all but root: set-user-ID programs and device nodes inside are the container's alone.
            kernel.make_dir(room, 0o700)
            try:
                if kind == "oci":
                    self._unpack_oci(*layout.split(rest), digest, room)
                else:
                    self._unpack_file(kind, rest, digest, room)
                kernel.sync()
                kernel.rename(room, home)
            except BaseException:
                kernel.remove_tree(room)
                raise
        finally:
            kernel.unlock(lock)

    def _unpack_oci(self, directory: str, tag: str, digest: str, room: str) -> None:
        kernel = self.kernel
        found = layout.resolve(kernel, directory, tag)
        if found.digest != digest:
            raise HostError(f"root.image: {directory}{f':{tag}' if tag else ''} changed while it was read",
                            f"it was {digest} and is {found.digest}", "try again")
        # A layout of this one manifest, whose blobs are the given one's.
        kernel.make_dir(f"{room}/layout")
        kernel.symlink(os.path.realpath(f"{directory}/blobs"), f"{room}/layout/blobs")
        kernel.create_file(f"{room}/layout/oci-layout", '{"imageLayoutVersion":"1.0.0"}')
        one = {key: found.descriptor[key] for key in ("digest", "size") if key in found.descriptor}
        kernel.create_file(f"{room}/layout/index.json", jsonlite.dumps({"schemaVersion": 2, "manifests": [
            {**one, "mediaType": layout.MANIFEST, "annotations": {layout.REF: "image"}}]}))
        self._umoci(found.config, room, f"{directory}:{tag}" if tag else directory)

    def _umoci(self, config: bytes, room: str, shown: str) -> None:
        """Lay the layers of room/layout over each other in room/rootfs."""
        status, _, complaint = tools.run(self.kernel, "umoci", (
            "--log=error", "raw", "unpack", "--image", f"{room}/layout:image", f"{room}/rootfs"), into=room)
        if status:
            raise _refused(shown, "umoci", status, complaint)
        self.kernel.remove_tree(f"{room}/layout")
        self.kernel.create_file(f"{room}/config.json", config)

    def _unpack_file(self, kind: str, path: str, digest: str, room: str) -> None:
        kernel, fd = self.kernel, self._open(path)
        try:
            before = kernel.stat_open(fd)
            # The file that was opened is the one that is read, whatever its name leads to by now.
            if kind == "tar":
                kernel.make_dir(f"{room}/rootfs")
                status, _, complaint = tools.run(kernel, "tar", (
                    "--extract", "--file=/proc/self/fd/0", f"--directory={room}/rootfs", "--numeric-owner",
                    "--same-owner", "--same-permissions", "--delay-directory-restore", "--xattrs",
                    "--xattrs-include=security.capability", "--warning=no-timestamp"), into=room, stdin=fd)
            else:
                status, _, complaint = tools.run(kernel, "skopeo", (
                    f"--tmpdir={room}", "--insecure-policy", "copy", "--quiet", "docker-archive:/proc/self/fd/0",
                    f"oci:{room}/layout:image"), into=room, stdin=fd)
            if status:
                raise _refused(path, "tar" if kind == "tar" else "skopeo", status, complaint)
            if f"sha256:{kernel.hash_file(fd)}" != digest or _sign(kernel.stat_open(fd)) != _sign(before):
                raise HostError(f"root.image: {path} changed while it was read", "somebody writes to it",
                                "wait until it is whole")
        finally:
            kernel.close(fd)
        if kind != "tar":
            self._umoci(layout.resolve(kernel, f"{room}/layout", "image").config, room, path)
        kernel.replace_file(_note(os.path.dirname(room), kind, path), f"{_sign(before)} {digest}", 0o644)


def _note(images: str, kind: str, path: str) -> str:
    """The file that remembers as what an archive was known."""
    return f"{images}/{kind}-{sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.known"


def _sign(found: os.stat_result) -> str:
    """What changes when a file does; the change time as well, since the other can be set back."""
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def _refused(path: str, program: str, status: int, complaint: str) -> HostError:
    return HostError(f"root.image: {path} cannot be unpacked",
                     f"{program} ended with status {status}: {complaint or 'without a word'}",
                     "make the image again, and see that the disk is not full" if program != "skopeo" else
                     "give it what `docker save` writes, not compressed")
