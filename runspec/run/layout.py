"""OCI image layouts: from a directory and a tag to the one manifest that is meant, and what its config says.

Every blob is checked against its digest and its size before a byte of it counts.

See: image-spec, image-layout.md, image-index.md, manifest.md, config.md.
"""

from __future__ import annotations

import errno
import os

from runspec.errors import HostError, SyscallError
from runspec.spec import jsonlite
from runspec.spec.image import Image
from runspec.spec.sha import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.kernel import Kernel

MOST = 4 << 20              # bytes of an index, manifest or config, as registries bound them
DEPTH = 4                   # indexes within indexes
REF = "org.opencontainers.image.ref.name"
_OCI = "application/vnd.oci.image."
INDEXES = (f"{_OCI}index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFEST = f"{_OCI}manifest.v1+json"
# The kernel's word for a processor -> Go's, which images use.
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "riscv64": "riscv64",
            "ppc64le": "ppc64le", "s390x": "s390x", "loongarch64": "loong64"}


class Manifest:
    """One image of a layout: its descriptor and manifest as trees, its config as bytes."""

    __slots__ = ("config", "descriptor", "digest", "layers")

    def __init__(self, descriptor: dict[str, Any], layers: list[dict[str, Any]], config: bytes) -> None:
        self.descriptor, self.layers, self.config = descriptor, layers, config
        self.digest: str = descriptor["digest"]


def damaged(what: str, why: str = "") -> HostError:
    """The layout or archive is no image."""
    return HostError(f"root.image: {what}", why or "an image is an OCI layout, image-layout.md",
                     "make it again: skopeo copy SOURCE oci:DIR:TAG")


def split(rest: str) -> tuple[str, str]:
    """DIR[:TAG] -> (directory, tag or "")."""
    directory, _, tag = rest.partition(":")
    return directory, tag


def read(kernel: Kernel, path: str, most: int = MOST) -> bytes:
    """A file of a layout, whoever made it.

    Raises:
        HostError: it is missing, too long, or no regular file.
    """
    try:
        return kernel.read_regular(path, most)
    except SyscallError as error:
        why = {errno.EFBIG: f"it is longer than {most} bytes", errno.EINVAL: "it is no regular file"}.get(
            error.errno or 0, os.strerror(error.errno or 0))
        raise damaged(f"{path} cannot be read", why) from None


def _tree(data: bytes, path: str) -> dict[str, Any]:
    try:
        tree = jsonlite.loads(data)
    except ValueError as error:
        raise damaged(f"{path} is no JSON", str(error)) from None
    if not isinstance(tree, dict):
        raise damaged(f"{path} is no map")
    return tree


def blob_path(descriptor: Any, where: str) -> str:
    """Where a descriptor's blob lies below the layout.

    Raises:
        HostError: its digest is none; it becomes part of a path.
    """
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    name, _, text = digest.partition(":") if isinstance(digest, str) else ("", "", "")
    if name != "sha256" or len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise damaged(f"{where}: {digest!r} is no sha256 digest")
    return f"blobs/sha256/{text}"


def blob(kernel: Kernel, directory: str, descriptor: Any, where: str) -> bytes:
    """A small blob, checked.

    Raises:
        HostError: it is missing or not what its digest says.
    """
    path = f"{directory}/{blob_path(descriptor, where)}"
    data = read(kernel, path)
    if f"sha256:{sha256(data).hexdigest()}" != descriptor["digest"]:
        raise damaged(f"{path} is damaged", "its bytes do not have the digest that names it")
    return data


def resolve(kernel: Kernel, directory: str, tag: str) -> Manifest:
    """The manifest that a tag means on this machine.

    Args:
        directory: the layout.
        tag: its name there; "" where the layout holds one image only.
    Raises:
        HostError: no layout, no such tag, several without one, damaged, or for other processors only.
    """
    marker = f"{directory}/oci-layout"
    if _tree(read(kernel, marker), marker).get("imageLayoutVersion") != "1.0.0":
        raise damaged(f"{marker} names no version that runspec knows")
    index = f"{directory}/index.json"
    entries = _entries(_tree(read(kernel, index), index), index)
    known = ", ".join(sorted({_ref(one) for one in entries} - {""}))
    if tag:
        entries = [one for one in entries if _ref(one) == tag]
        if not entries:
            raise HostError(f"root.image: {directory} has no image {tag}",
                            f"it has {known}" if known else "it has none with a tag",
                            "name one of them: oci:DIR:TAG")
    if len(entries) != 1:
        raise HostError(f"root.image: {directory} holds {len(entries)} images{f' named {tag}' if tag else ''}",
                        f"their tags are {known}" if known else "none has a tag of its own",
                        "name one of them: oci:DIR:TAG")
    return _manifest(kernel, directory, entries[0], index, DEPTH)


def _entries(tree: dict[str, Any], where: str) -> list[dict[str, Any]]:
    entries = tree.get("manifests")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise damaged(f"{where} lists no manifests")
    return entries


def _ref(descriptor: dict[str, Any]) -> str:
    notes = descriptor.get("annotations")
    name = notes.get(REF) if isinstance(notes, dict) else None
    return name if isinstance(name, str) else ""


def _manifest(kernel: Kernel, directory: str, descriptor: dict[str, Any], where: str, depth: int) -> Manifest:
    tree = _tree(blob(kernel, directory, descriptor, where), f"{directory}/{blob_path(descriptor, where)}")
    kind = descriptor.get("mediaType") or tree.get("mediaType")
    if kind in INDEXES or (kind is None and "manifests" in tree):
        if not depth:
            raise damaged(f"{where}: indexes within indexes without an end")
        inner = f"{directory}/{blob_path(descriptor, where)}"
        return _manifest(kernel, directory, _for_us(_entries(tree, inner), inner), inner, depth - 1)
    if kind != MANIFEST:
        raise damaged(f"{where}: {kind!r} is no manifest of OCI's", "umoci unpacks OCI's alone")
    layers = tree.get("layers")
    if not isinstance(layers, list) or not all(isinstance(one, dict) for one in layers):
        raise damaged(f"{descriptor['digest']} lists no layers")
    for one in layers:
        blob_path(one, descriptor["digest"])
    return Manifest(descriptor, layers, blob(kernel, directory, tree.get("config"), descriptor["digest"]))


def _for_us(entries: list[dict[str, Any]], where: str) -> dict[str, Any]:
    """The entry for this machine's processor; a lone one is what is meant."""
    ours = MACHINES.get(os.uname().machine, os.uname().machine)
    found = []
    for one in entries:
        platform = one.get("platform")
        words = platform if isinstance(platform, dict) else {}
        if words.get("os") == "linux" and words.get("architecture") == ours:
            found.append(one)
    if not found and len(entries) == 1:
        found = entries
    if not found:
        raise damaged(f"{where} has no image for linux on {ours}", "an index lists one for each kind of processor")
    return found[0]


def parse_config(data: bytes, digest: str, where: str) -> Image:
    """What an image's config says of running it, config.md "Properties".

    Raises:
        HostError: a value of the wrong type.
    """
    config = _tree(data, where).get("config") or {}
    if not isinstance(config, dict):
        raise damaged(f"{where}: config is no map")

    def texts(name: str) -> tuple[str, ...]:
        value = config.get(name) or []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise damaged(f"{where}: config.{name} is no list of texts")
        return tuple(value)

    def text(name: str) -> str:
        value = config.get(name) or ""
        if not isinstance(value, str):
            raise damaged(f"{where}: config.{name} is no text")
        return value

    cwd = os.path.normpath(text("WorkingDir") or "/")
    return Image(digest=digest, args=texts("Entrypoint") + texts("Cmd"), env=texts("Env"),
                 cwd=cwd if not cwd.startswith("//") else cwd[1:], user=text("User"))
