"""YAML trees -> the root and what an image says of running it, where the file leaves that out."""

from __future__ import annotations

from runspec.spec import defaults, units
from runspec.spec.image import NO_IMAGE, unnamed
from runspec.spec.model import Root, User
from runspec.spec.units import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.spec.from_yaml import Reader

    Tree = dict[str, Any]

_ROOT: tuple[int, int, tuple[int, ...]] = (0, 0, ())


def root(reader: Reader, name: str) -> Root:
    """Exactly one of path and image; the image is looked at here, first of all."""
    tree: Tree = reader.tree.get("root") or {}
    path, image, readonly = tree.get("path"), tree.get("image"), bool(tree.get("readonly", False))
    if (path is None) == (image is None):
        reader.note("root", "needs exactly one of path and image", "a container has one root file system",
                  "write image: busybox, or path: and a directory that holds a root file system")
    asked = tree.get("overlay")
    over = None
    if asked is not None:
        upper, volatile = asked.get("upper"), asked.get("volatile")
        over = (upper, volatile)
        if upper is not None and volatile:
            reader.note("root.overlay.volatile", "true contradicts upper",
                      "a volatile layer is kept in memory and lost at the end", "remove one of the two")
        if readonly:
            reader.note("root.overlay", "contradicts root.readonly",
                      "a read-only root has no use for a writable layer",
                      "remove one of the two")
    machine, digest = reader.machine, None
    if image is not None and machine is not None:
        found = reader.ask("root.image", lambda: machine.image(image), NO_IMAGE)
        digest, reader.image = found.digest, NO_IMAGE if reader.bare else found
    return Root(path=path, readonly=readonly, image=image, digest=digest,
                overlay=None if reader.bare and over is None else defaults.overlay(name, path, readonly, over))


def args(reader: Reader, tree: Tree) -> tuple[str, ...]:
    """The file's program, else the image's."""
    raw = tree.get("args", reader.image.args)
    if isinstance(raw, str):
        return reader.call("process.args", units.parse_words, raw, ())
    return tuple(raw or ())


def env(reader: Reader, tree: Tree) -> tuple[str, ...]:
    """The image's environment, the file's over it, and a PATH."""
    raw = tree.get("env")
    if raw is None:
        return () if reader.bare else defaults.env(unnamed(reader.image.env, ()))
    if isinstance(raw, dict):
        given = tuple(f"{k}={reader.call(f'process.env.{k}', plain, v, '')}" for k, v in raw.items())
        names = [f".{k}" for k in raw]
    else:
        given = tuple(raw)
        names = [f"[{index}]" for index in range(len(given))]
    env = given if reader.bare else defaults.env(unnamed(reader.image.env, given) + given)
    more = len(env) - len(given)
    if more or isinstance(raw, dict):
        reader.moves["process.env"] = {old: f"[{index + more}]" for index, old in enumerate(names)}
    return env


def user(reader: Reader, tree: Tree) -> User:
    """Whom the file names, else whom the image names."""
    raw: Tree = tree.get("user") or {}
    umask = reader.value(raw, "process.user", "umask", units.parse_mode)
    machine, who = reader.machine, _ROOT
    # Whom a file names it names whole: a group of the image's would belong to somebody else.
    if machine is not None and reader.image.user and "uid" not in raw:
        who = reader.ask("root.image", lambda: machine.user(reader.tree["root"]["image"]), who)
    uid, gid, more = who
    return User(uid=raw.get("uid", uid), gid=raw.get("gid", gid),
                umask=defaults.UMASK if umask is None and not reader.bare else umask,
                additional_gids=tuple(raw.get("additionalGids", more) or ()))
