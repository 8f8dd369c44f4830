"""Mounts, masks and read-only paths as path -> value: as asked, and as mountinfo shows them."""

from __future__ import annotations

from runspec.plan.facts import Facts
from runspec.plan.steps.namespaces import is_new
from runspec.plan.values import ABSENT, UNKNOWN
from runspec.spec.alike import kept
from runspec.spec.model import Mount, Spec
from runspec.spec.mount_options import ATTRIBUTES, BIND, QUIET, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Words of mountinfo's per-mount options that a file may ask for; "rw" is the absence of "ro".
WORDS = ("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "nosymfollow")
OPPOSITE = {"ro": "rw", "nosuid": "suid", "nodev": "dev", "noexec": "exec", "nodiratime": "diratime",
            "nosymfollow": "symfollow"}
# Options of a file system that its super block shows again.
SHOWN = ("size", "mode", "nr_inodes")


# What containers show that are alike is found once: what was asked and seen -> (the Specs, for their parts' identities
# are in the key, and the view).
_VIEWS: dict[tuple[Any, ...], tuple[Any, dict[str, Any]]] = {}


def once(find: Callable[..., None], specs: tuple[Spec | None, ...], seen: tuple[Any, ...],
         *args: Any) -> dict[str, Any]:
    """What find(*args, view) puts into a view, which nobody changes.

    Args:
        specs: whose parts it depends on; seen: all else that it does.
    """
    key = (find, *(part for one in specs if one is not None for part in (
        id(one.mounts), id(one.process), id(one.root), id(one.linux.namespaces), id(one.linux.masked_paths),
        id(one.linux.readonly_paths), id(one.linux.devices), one.linux.rootfs_propagation)), *seen)
    found = _VIEWS.get(key)
    if found is None:
        found = _VIEWS[key] = specs, {}
        find(*args, found[1])
    return found[1]


def expect_mounts(spec: Spec, facts: Facts, view: dict[str, Any]) -> None:
    """What mountinfo shows when every mount is as declared."""
    if is_new(spec, "mount"):
        view.update(once(_expect, (spec,), (facts.present, *facts.sources.items()), spec, facts))


def _expect(spec: Spec, facts: Facts, view: dict[str, Any]) -> None:
    view["mounts"] = ()
    for i, one in enumerate(spec.mounts):
        if facts.sources.get(one.source or "", ("",))[0] == "missing":
            continue
        view[f"mounts[{i}]"] = one.destination
        view.update((f"mounts[{i}].{key}", value) for key, value in wanted_mount(one, facts).items())
    view["linux.rootfsPropagation"] = (spec.linux.rootfs_propagation or "private").lstrip("r")
    view["linux.maskedPaths"] = tuple(p for p in spec.linux.masked_paths if p in facts.present)
    view["linux.readonlyPaths"] = tuple(p for p in spec.linux.readonly_paths if p in facts.present)


def wanted_mount(one: Mount, facts: Facts) -> dict[str, Any]:
    """One mount as it should show."""
    out: dict[str, Any] = {}
    if parse(one.options).bind:
        where = facts.sources.get(one.source or "")
        out["source"] = where[1:] if where else UNKNOWN
    else:
        out["type"] = one.type
        out.update((f"options.{key}", value) for key, value in data_options(one))
    out["options"] = wanted_words(one) + unseen(one)
    for key, maps in (("uidMappings", one.uid_mappings), ("gidMappings", one.gid_mappings)):
        if maps:
            out[key] = tuple((m.container_id, m.host_id, m.size) for m in maps)
    return out


def seen_mount(one: Mount, was: Mount | None, found: Any) -> dict[str, Any]:
    """One mount as mountinfo shows it.

    Args:
        one: as the file has it.
        was: as it was applied last, which answers for what mountinfo does not tell.
        found: its line.
    """
    out: dict[str, Any] = {}
    if parse(one.options).bind:
        out["source"] = (found.device, found.root)
    else:
        out["type"] = "cgroup" if one.type == "cgroup" and found.fstype in ("tmpfs", "cgroup2") else found.fstype
        shown = dict(word.partition("=")[::2] for word in found.super_options)
        former = dict(data_options(was)) if was is not None else {}
        for key in sorted({*dict(data_options(one)), *former}):
            # What is as by default is not shown: tmpfs(5) for the mode, the size of the memory for the others.
            hidden: Any = 0o1777 if key == "mode" else UNKNOWN if key in former else ABSENT
            out[f"options.{key}"] = number(key, shown[key]) if key in shown else hidden
    out["options"] = seen_words(one, was, found.options) + unseen(was or one)
    for key in ("uidMappings", "gidMappings"):
        maps = [one.uid_mappings, was.uid_mappings if was else ()] if key == "uidMappings" else [
            one.gid_mappings, was.gid_mappings if was else ()]
        if any(maps):
            held = maps[1] if "idmapped" in found.options else ()
            out[key] = tuple((m.container_id, m.host_id, m.size) for m in held) or ABSENT
    return out


def see_mounts(spec: Spec, last: Spec | None, facts: Facts, view: dict[str, Any]) -> None:
    """What mountinfo shows now."""
    if not is_new(spec, "mount"):
        return
    specs = (spec,) if last is None or last is spec else (spec, last)
    plain = not any(numbered(one.mounts) for one in specs)
    view.update(once(_see, (spec, last), (
        plain or tuple(one.device for one in facts.mounts), facts.named, *facts.places.items(), *facts.sources.items(),
        "", *((one.mount_point, one.options, one.propagation, one.fstype, masks(one)) if plain and named(one)
              else one.tail for one in facts.mounts)), spec, last, facts))


def named(one: Any) -> bool:
    """Whether a line has the container's name where nobody looks: the layers of its root, the root of its groups."""
    return one.mount_point == "/" or one.fstype in ("cgroup", "cgroup2")


@kept
def numbered(mounts: tuple[Mount, ...]) -> bool:
    """Whether it counts what device is mounted, or what the root is."""
    return any(one.destination == "/" or parse(one.options).bind for one in mounts)


def _see(spec: Spec, last: Spec | None, facts: Facts, view: dict[str, Any]) -> None:
    top = {one.mount_point: one for one in facts.mounts}     # the last one at a place hides the others
    former = {one.destination: one for one in last.mounts} if last is not None else {}
    declared = {one.destination for one in spec.mounts}
    for i, one in enumerate(spec.mounts):
        if facts.sources.get(one.source or "", ("",))[0] == "missing":
            continue        # optional: what was mounted while it was there may stay
        found = top.get(place(one.destination, facts))
        view[f"mounts[{i}]"] = one.destination if found is not None else ABSENT
        if found is not None:
            seen = seen_mount(one, former.get(one.destination), found)
            view.update((f"mounts[{i}].{key}", value) for key, value in seen.items())
    gone = [where for where in former if where not in declared and place(where, facts) in top]
    view.update((f"mounts[{where}]", where) for where in gone)
    word = propagation(top["/"].propagation) if "/" in top else UNKNOWN
    if word == "private" and (spec.linux.rootfs_propagation or "").endswith("slave"):
        word = "slave"      # a mount that has no master shows as private
    view["linux.rootfsPropagation"] = word
    asked = [spec] if last is None else [spec, last]
    # What was asked and is no more shows as long as it is there.
    masked = dict.fromkeys(path for one in asked for path in one.linux.masked_paths)
    view["linux.maskedPaths"] = tuple(p for p in masked if hidden(p, facts, top))
    readonly = dict.fromkeys(path for one in asked for path in one.linux.readonly_paths)
    view["linux.readonlyPaths"] = tuple(p for p in readonly if frozen(p, spec, facts, top))
    view["mounts"] = surplus(spec, facts, declared | set(gone), asked)


def place(path: str, facts: Facts) -> str:
    """Where a destination lies inside: links of the image may lead to it."""
    return facts.places.get(path, path)


def hidden(path: str, facts: Facts, top: dict[str, Any]) -> bool:
    """Whether a mask lies on a path."""
    found = top.get(place(path, facts))
    return found is not None and masks(found)


def frozen(path: str, spec: Spec, facts: Facts, top: dict[str, Any]) -> bool:
    """Whether a path is a read-only mount of itself, or a declared mount that is read-only on another account."""
    found = top.get(place(path, facts))
    if found is None or "ro" not in found.options:
        return False
    if path in spec.linux.readonly_paths:
        return True
    return not any(place(one.destination, facts) == found.mount_point for one in spec.mounts)


def gone_mounts(spec: Spec, last: Spec) -> dict[str, Any]:
    """Mounts that only the spec applied last has, by their destination: they have no index in the file."""
    declared = {one.destination for one in spec.mounts}
    return {f"mounts[{one.destination}]": one.destination for one in last.mounts if one.destination not in declared}


def surplus(spec: Spec, facts: Facts, declared: set[str], asked: list[Spec]) -> tuple[str, ...]:
    """Mount points that nothing in the file accounts for.

    A container that may mount by itself (CAP_SYS_ADMIN) may do so: then none are reported.
    """
    if "CAP_SYS_ADMIN" in spec.process.capabilities.bounding:
        return ()
    known = declared | {"/"} | facts.named
    for one in asked:
        known |= {*one.linux.masked_paths, *one.linux.readonly_paths, *(device.path for device in one.linux.devices)}
    known |= {"/dev/console"} if spec.process.terminal else set()
    known |= {place(path, facts) for path in known}
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


def seen_words(one: Mount, was: Mount | None, shown: tuple[str, ...]) -> tuple[str, ...]:
    """The flags that hold; for a bind only those that the file has a word on, or had."""
    has = tuple(word for word in WORDS if word in shown)
    if not parse(one.options).bind:
        return has
    named = set(wanted_words(one)) | set(wanted_words(was) if was is not None else ())
    return tuple(word for word in has if word in named
                 or any(f"{r}{OPPOSITE.get(word)}" in one.options for r in ("", "r")))


def unseen(one: Mount) -> tuple[str, ...]:
    """Options that mountinfo does not show, or not as they were asked for: the Record answers for them."""
    quiet = (*QUIET, *BIND, *ATTRIBUTES)
    return tuple(sorted(word for word in one.options if word not in quiet and word.partition("=")[0] not in SHOWN))


def data_options(one: Mount) -> list[tuple[str, Any]]:
    """The file system's own options that its super block shows again."""
    pairs = (word.partition("=")[::2] for word in parse(one.options).data)
    return [(key, number(key, value)) for key, value in pairs if key in SHOWN]


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
