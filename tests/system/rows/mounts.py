"""Mounts of a running container, device nodes, what is hidden, and the root's own flags."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from rows.base import Live, Row

Words = tuple[str, ...]


def mounts(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"mounts": list(entries)}


def bind(where: str, source: str, *options: str, **keys: Any) -> dict[str, Any]:
    return {"destination": where, "source": f"ROOM/{source}", "options": ["bind", *options], **keys}


def tmpfs(where: str, *options: str) -> dict[str, Any]:
    return {"destination": where, "type": "tmpfs", "options": list(options)}


def lines(live: Live, where: str) -> list[list[str]]:
    """mountinfo's lines of a mount point, the topmost last: (root, options, type, options of the file system)."""
    found = [line.split() for line in live.proc("mountinfo").splitlines()]
    return [[words[3], words[5], *words[words.index("-") + 1::2]] for words in found if words[4] == where]


def at(*places: str) -> Callable[[Live], tuple[int, ...]]:
    """How many mounts lie on each path."""
    return lambda live: tuple(len(lines(live, place)) for place in places)


def read(path: str) -> Callable[[Live], str]:
    """A file inside, as a process inside reads it."""
    return lambda live: live.inside("cat", path).strip()


def option(where: str, *names: str) -> Callable[[Live], Words]:
    """Which of these the mount's line has."""
    return lambda live: tuple(name for name in names if name in ",".join(lines(live, where)[-1][1::2]).split(","))


def size(where: str) -> Callable[[Live], str]:
    return lambda live: next(word for word in lines(live, where)[-1][3].split(",") if word.startswith("size="))


def owner(path: str) -> Callable[[Live], tuple[int, int]]:
    """(uid, gid) of a file as it shows inside."""
    def judge(live: Live) -> tuple[int, int]:
        found = os.stat(f"/proc/{live.pid}/root{path}")
        return found.st_uid, found.st_gid
    return judge


def mount(*words: str) -> Callable[[Live], None]:
    """mount(8) as somebody with the right to it does inside."""
    def drift(live: Live) -> None:
        live.enter("m", "/bin/busybox", "mount", *words)
    return drift


def umount(where: str) -> Callable[[Live], None]:
    return lambda live: live.enter("m", "/bin/busybox", "umount", "-l", where) and None


def node(live: Live) -> tuple[int, int, int, int]:
    """(major and minor, mode, uid, gid)."""
    found = os.stat(f"/proc/{live.pid}/root/dev/other")
    return os.minor(found.st_rdev), found.st_mode & 0o7777, found.st_uid, found.st_gid


def device(**keys: Any) -> dict[str, Any]:
    return {"linux": {"devices": [{"path": "/dev/other", "type": "c", "major": 1, "minor": 5, **keys}]}}


def chmod(live: Live) -> None:
    os.chmod(f"/proc/{live.pid}/root/dev/other", 0o644)


def ids(first: int) -> dict[str, Any]:
    one = [{"containerID": 0, "hostID": first, "size": 1000}]
    return {"uidMappings": one, "gidMappings": one}


def shared(live: Live) -> str:
    """The optional field of the root's line."""
    words = next(line.split() for line in live.proc("mountinfo").splitlines() if line.split()[4] == "/")
    return words[6].partition(":")[0]


def writable(path: str) -> Callable[[Live], bool]:
    return lambda live: "no" not in live.inside("sh", "-c", f"touch {path}/x 2>/dev/null || echo no")


ONE, TWO = bind("/data", "one"), bind("/data", "two")
IDMAPPED = "mountinfo tells that a mount is mapped, not how"
ROWS = (
    # A volume added, and removed.
    Row("mounts", {}, mounts(ONE), at("/data"), ((0,), (1,)), umount("/data"), at="mounts[7]"),
    Row("mounts", mounts(ONE), {}, at("/data"), ((1,), (0,)), "the file asks for nothing any more", at="mounts[/data]"),
    Row("mounts", {}, {}, at("/mnt"), ((0,), (0,)), mount("-t", "tmpfs", "extra", "/mnt")),
    # One below another: whichever changes, the other stays, with what is in it.
    Row("mounts", mounts(tmpfs("/srv/sub", "size=64k")),
        mounts(ONE | {"destination": "/srv"}, tmpfs("/srv/sub", "size=64k")), at("/srv", "/srv/sub"),
        ((0, 1), (1, 1)), umount("/srv"), at="mounts[7]"),
    Row("mounts[].source", mounts(ONE, tmpfs("/data/sub", "size=64k")), mounts(TWO, tmpfs("/data/sub", "size=64k")),
        lambda live: (read("/data/which")(live), *at("/data", "/data/sub")(live)), (("one", 1, 1), ("two", 1, 1)),
        mount("-o", "bind", "/mnt", "/data"), at="mounts[7].source"),
    Row("mounts[].destination", mounts(bind("/old", "one")), mounts(bind("/new/deep", "one")), at("/old", "/new/deep"),
        ((1, 0), (0, 1)), umount("/new/deep"), at="mounts[7]"),
    # A link of the image on the way.
    Row("mounts[].destination", {}, mounts(bind("/var/run/data", "one")), at("/run/data"), ((0,), (1,)),
        umount("/run/data"), at="mounts[7]"),
    Row("mounts[].type", mounts(tmpfs("/data", "size=1m")), mounts({"destination": "/data", "type": "ramfs"}),
        lambda live: lines(live, "/data")[-1][2], ("tmpfs", "ramfs"), mount("-t", "tmpfs", "x", "/data"),
        at="mounts[7].type"),
    Row("mounts[].options", mounts(bind("/data", "one", "rw")), mounts(bind("/data", "one", "ro", "noexec")),
        option("/data", "ro", "noexec"), ((), ("ro", "noexec")), mount("-o", "remount,bind,rw,noexec", "x", "/data"),
        at="mounts[7].options"),
    Row("mounts[].options", mounts(bind("/data", "one", "ro", "nodev")), mounts(bind("/data", "one", "nodev")),
        option("/data", "ro", "nodev"), (("ro", "nodev"), ("nodev",)), mount("-o", "remount,bind,rw,dev", "x", "/data"),
        at="mounts[7].options"),
    Row("mounts[].options", mounts(tmpfs("/data", "noatime")), mounts(tmpfs("/data", "strictatime")),
        option("/data", "noatime", "relatime"), (("noatime",), ()), mount("-o", "remount,bind,noatime", "x", "/data"),
        at="mounts[7].options"),
    Row("mounts[].options", mounts(tmpfs("/data", "size=1m")), mounts(tmpfs("/data", "size=2m")), size("/data"),
        ("size=1024k", "size=2048k"), mount("-o", "remount,size=3m", "x", "/data"), at="mounts[7].options.size"),
    Row("mounts[].options", mounts(tmpfs("/data", "mode=0700")), mounts(tmpfs("/data", "mode=0711")),
        option("/data", "mode=700", "mode=711"), (("mode=700",), ("mode=711",)), mount("-t", "tmpfs", "x", "/data"),
        at="mounts[7].options.mode"),
    Row("mounts[].options", mounts(bind("/data", "one", "rprivate")), mounts(bind("/data", "one", "rshared")),
        lambda live: any("shared:" in line for line in live.proc("mountinfo").splitlines() if " /data " in line),
        (False, True), "whether others listen is not asked of a mount", at="mounts[7].options"),
    Row("linux.devices", device(fileMode="0600"), device(fileMode="0640", uid=7, gid=8), node,
        ((5, 0o600, 0, 0), (5, 0o640, 7, 8)), chmod, at="linux.devices[0]"),
    Row("linux.devices", device(fileMode="0600"), device(fileMode="0600", minor=7), node,
        ((5, 0o600, 0, 0), (7, 0o600, 0, 0)), lambda live: os.unlink(f"/proc/{live.pid}/root/dev/other"),
        at="linux.devices[0]"),
    Row("linux.devices", device(), {}, lambda live: os.path.lexists(f"/proc/{live.pid}/root/dev/other"), (True, False),
        "the file asks for nothing any more", at="linux.devices[/dev/other]"),
    Row("linux.maskedPaths", {"linux": {"maskedPaths": ["/etc/passwd"]}}, {"linux": {"maskedPaths": ["/var/log"]}},
        at("/etc/passwd", "/var/log"), ((1, 0), (0, 1)), umount("/var/log")),
    Row("linux.readonlyPaths", {"linux": {"readonlyPaths": ["/etc"]}}, {"linux": {"readonlyPaths": ["/var"]}},
        lambda live: (writable("/etc")(live), writable("/var")(live)), ((False, True), (True, False)),
        mount("-o", "remount,bind,rw", "x", "/var")),
    Row("linux.rootfsPropagation", {}, {"linux": {"rootfsPropagation": "shared"}}, shared, ("-", "shared"),
        mount("--make-private", "/")),
    Row("root.readonly", {"root": {"readonly": False}}, {"root": {"readonly": True}}, writable("/root"), (True, False),
        mount("-o", "remount,bind,rw", "x", "/")),
)


def remapped(kind: str) -> Row:
    return Row(f"mounts[].{kind}Mappings", mounts(bind("/data", "one", "idmap", **ids(100000))),
               mounts(bind("/data", "one", "idmap", **ids(200000))), owner("/data/which"),
               ((100000, 100000), (200000, 200000)), IDMAPPED, ("user_namespace",), at=f"mounts[7].{kind}Mappings")


ROWS += (remapped("uid"), remapped("gid"))
