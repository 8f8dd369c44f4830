"""Makes archives and OCI layouts for tests: what is in them is written out, harm included."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

OCI = "application/vnd.oci.image."
Entry = tuple[str, str, Any]        # name, kind, content or target


def tar(*entries: Entry) -> bytes:
    """An archive of ("name", "file"|"dir"|"link"|"hard"|"setuid"|"char"|"block"|"fifo", content), as it is told."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind, more in entries:
            one = tarfile.TarInfo(name)
            one.mode = 0o755
            data = b""
            if kind in ("file", "setuid"):
                data = more if isinstance(more, bytes) else str(more).encode()
                one.size, one.mode = len(data), 0o4755 if kind == "setuid" else 0o755
            elif kind == "dir":
                one.type = tarfile.DIRTYPE
            elif kind in ("link", "hard"):
                one.type, one.linkname = tarfile.SYMTYPE if kind == "link" else tarfile.LNKTYPE, more
            elif kind in ("char", "block"):
                one.type = tarfile.CHRTYPE if kind == "char" else tarfile.BLKTYPE
                one.devmajor, one.devminor = more
            elif kind == "fifo":
                one.type = tarfile.FIFOTYPE
            archive.addfile(one, io.BytesIO(data))
    return out.getvalue()


def userland(*more: Entry) -> tuple[Entry, ...]:
    """A root of the host's static busybox."""
    busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    links = tuple((f"bin/{name}", "link", "busybox") for name in ("sh", "sleep", "id", "cat", "env", "pwd", "uname"))
    return (("bin", "dir", ""), ("bin/busybox", "file", busybox), *links, ("etc", "dir", ""), *more)


def blob(top: Path, data: bytes) -> tuple[str, int]:
    """Store a blob; (digest, size)."""
    name = sha256(data).hexdigest()
    (top / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (top / "blobs/sha256" / name).write_bytes(data)
    return f"sha256:{name}", len(data)


def descriptor(top: Path, kind: str, data: bytes, **more: Any) -> dict[str, Any]:
    digest, size = blob(top, data)
    return {"mediaType": kind, "digest": digest, "size": size, **more}


def manifest(top: Path, layers: list[bytes], config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Store an image of these uncompressed layers; its descriptor."""
    told = {"architecture": "amd64", "os": "linux", "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(one).hexdigest()}" for one in layers]}}
    tree = {"schemaVersion": 2, "mediaType": f"{OCI}manifest.v1+json",
            "config": descriptor(top, f"{OCI}config.v1+json", json.dumps(told).encode()),
            "layers": [descriptor(top, f"{OCI}layer.v1.tar+gzip", gzip.compress(one, mtime=0)) for one in layers]}
    return descriptor(top, f"{OCI}manifest.v1+json", json.dumps(tree).encode())


def index(top: Path, **tags: dict[str, Any]) -> Path:
    """Write the layout's own files: tag -> descriptor."""
    top.mkdir(exist_ok=True)
    (top / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    entries = [{**one, "annotations": {"org.opencontainers.image.ref.name": tag}} for tag, one in tags.items()]
    (top / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return top


def layout(top: Path, config: dict[str, Any] | None = None, *more: Entry) -> Path:
    """A layout with one image, `app`, of a busybox userland."""
    return index(top, app=manifest(top, [tar(*userland(*more))], config))


def docker_archive(path: Path, config: dict[str, Any], *more: Entry) -> Path:
    """What `docker save` writes."""
    layer = tar(*userland(*more))
    told = json.dumps({"architecture": "amd64", "os": "linux", "config": config,
                       "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]}}).encode()
    name = f"{sha256(told).hexdigest()}.json"
    listing = json.dumps([{"Config": name, "RepoTags": ["app:latest"], "Layers": ["one/layer.tar"]}])
    path.write_bytes(tar((name, "file", told), ("one", "dir", ""), ("one/layer.tar", "file", layer),
                         ("manifest.json", "file", listing)))
    return path
