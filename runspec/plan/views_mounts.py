"""Mounts, masks and read-only paths as path -> value: as asked, and as mountinfo shows them."""

from __future__ import annotations

from runspec.plan.facts import Facts
from runspec.plan.steps.namespaces import is_new
from runspec.plan.values import ABSENT, UNKNOWN
from runspec.spec.model import Mount, Spec
from runspec.spec.mount_options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Words of mountinfo's per-mount options that a file may ask for; "rw" is the absence of "ro".
WORDS = ("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "nosymfollow")


def expect_mounts(spec: Spec, facts: Facts, view: dict[str, Any]) -> None:
    """What mountinfo shows when every mount is as declared."""
    if not is_new(spec, "mount"):
        return
    view["mounts"] = ()
    for i, one in enumerate(spec.mounts):
        path = f"mounts[{i}]"
        if facts.sources.get(one.source or "", ("",))[0] == "missing":
            continue
        options = parse(one.options)
        view[path] = one.destination
        if options.bind:
            where = facts.sources.get(one.source or "")
            view[f"{path}.source"] = where[1:] if where else UNKNOWN
        else:
            view[f"{path}.type"] = one.type
            for key, value in data_options(one):
                view[f"{path}.options.{key}"] = value
        view[f"{path}.options"] = wanted_words(one)
        for key, maps in (("uidMappings", one.uid_mappings), ("gidMappings", one.gid_mappings)):
            if maps:
                view[f"{path}.{key}"] = tuple((m.container_id, m.host_id, m.size) for m in maps)
    view["linux.rootfsPropagation"] = (spec.linux.rootfs_propagation or "private").lstrip("r")
    view["linux.maskedPaths"] = tuple(p for p in spec.linux.masked_paths if p in facts.present)
    view["linux.readonlyPaths"] = tuple(p for p in spec.linux.readonly_paths if p in facts.present)


def see_mounts(spec: Spec, facts: Facts, view: dict[str, Any], before: dict[str, Any]) -> None:
    """What mountinfo shows now; that a mount is mapped, but not how: there `before` answers."""
    if not is_new(spec, "mount"):
        return
    top = {one.mount_point: one for one in facts.mounts}     # the last one at a place hides the others
    declared = {one.destination for one in spec.mounts}
    for i, one in enumerate(spec.mounts):
        path, found = f"mounts[{i}]", top.get(one.destination)
        view[path] = one.destination if found is not None else ABSENT
        if found is None:
            continue
        options = parse(one.options)
        if options.bind:
            view[f"{path}.source"] = (found.device, found.root)
        else:
            kind = "cgroup" if one.type == "cgroup" and found.fstype in ("tmpfs", "cgroup2") else found.fstype
            view[f"{path}.type"] = kind
            shown = dict(word.partition("=")[::2] for word in found.super_options)
            for key, _ in data_options(one):
                view[f"{path}.options.{key}"] = number(key, shown[key]) if key in shown else UNKNOWN
        view[f"{path}.options"] = seen_words(one, found.options)
        for key in (f"{path}.uidMappings", f"{path}.gidMappings"):
            if one.uid_mappings or key in before:
                view[key] = before.get(key, ABSENT) if "idmapped" in found.options else ABSENT
    word = propagation(top["/"].propagation) if "/" in top else UNKNOWN
    if word == "private" and (spec.linux.rootfs_propagation or "").endswith("slave"):
        word = "slave"      # a mount that has no master shows as private
    view["linux.rootfsPropagation"] = word
    view["linux.maskedPaths"] = tuple(p for p in spec.linux.masked_paths if p in top and masks(top[p]))
    view["linux.readonlyPaths"] = tuple(p for p in spec.linux.readonly_paths
                                        if p in top and "ro" in top[p].options)
    view["mounts"] = surplus(spec, facts, declared)


def surplus(spec: Spec, facts: Facts, declared: set[str]) -> tuple[str, ...]:
    """Mount points that nothing in the file accounts for.

    A container that may mount by itself (CAP_SYS_ADMIN) may do so: then none are reported.
    """
    if "CAP_SYS_ADMIN" in spec.process.capabilities.bounding:
        return ()
    known = declared | {"/"} | set(spec.linux.masked_paths) | set(spec.linux.readonly_paths)
    known |= {device.path for device in spec.linux.devices}
    below = tuple(one.destination.rstrip("/") + "/" for one in spec.mounts
                  if one.type == "cgroup" or parse(one.options).recursive)
    if spec.root.image == "host":
        below += ("/usr/", "/etc/")
        known |= {"/usr"}
    if any(one.type == "user" for one in spec.linux.namespaces):
        below += ("/dev/",)
    if spec.root.path:
        # A plain directory is taken with everything mounted below it.
        return ()
    return tuple(sorted({one.mount_point for one in facts.mounts
                         if one.mount_point not in known and not one.mount_point.startswith(below)}))


def wanted_words(one: Mount) -> tuple[str, ...]:
    """The per-mount flags that must hold; for a bind only those it names, the rest comes from its source."""
    words = set(one.options)
    if parse(one.options).bind:
        return tuple(word for word in WORDS if word in words or "r" + word in words)
    out = [word for word in WORDS if word in words and word != "relatime"]
    if not words & {"noatime", "strictatime"}:
        out.append("relatime")
    return tuple(out)


def seen_words(one: Mount, shown: tuple[str, ...]) -> tuple[str, ...]:
    """The flags that hold; for a bind, `ro` counts too where the file does not ask for it."""
    has = tuple(word for word in WORDS if word in shown)
    if not parse(one.options).bind:
        return has
    named = set(wanted_words(one))
    return tuple(word for word in has if word in named or (word == "ro" and "rw" in one.options))


def data_options(one: Mount) -> list[tuple[str, Any]]:
    """The file system's own options that its super block shows again."""
    pairs = (word.partition("=")[::2] for word in parse(one.options).data)
    return [(key, number(key, value)) for key, value in pairs if key in ("size", "mode", "nr_inodes")]


def number(key: str, value: str) -> int:
    """tmpfs(5): mode is octal, sizes have suffixes and are whole pages."""
    if key == "mode":
        return int(value, 8)
    unit = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}.get(value[-1:].lower())
    return int(value[:-1]) * unit if unit else int(value) if value.isdigit() else -1


def masks(found: Any) -> bool:
    """Whether this mount hides what is below: an empty read-only tmpfs, or the null device."""
    return (found.fstype == "tmpfs" and "ro" in found.options) or found.root == "/null" or found.root.endswith("/null")


def propagation(fields: tuple[str, ...]) -> str:
    """mountinfo's optional fields as a word, mount_namespaces(7)."""
    words = {field.split(":")[0] for field in fields}
    if "shared" in words:
        return "shared"
    return "slave" if "master" in words else "unbindable" if "unbindable" in words else "private"
