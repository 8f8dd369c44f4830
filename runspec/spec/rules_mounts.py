"""Rules about paths and mounts that a schema cannot say."""

from __future__ import annotations

from runspec.errors import Mark, SpecError
from runspec.spec import mount_options
from runspec.spec.defaults import MOUNTS
from runspec.spec.model import IDMapping, Mount, Spec
from runspec.spec.names import nearest
from runspec.spec.units import shown

PATH_MAX = 4096                 # with the closing zero byte, limits.h(0p)
NAME_MAX = 255
IDS = 2**32


class Faults:
    """Collects what is wrong with one Spec.

    Args:
        marks: spec path -> place in the user's file.
        oci: what OCI allows passes.
    """

    def __init__(self, marks: dict[str, Mark], oci: bool = False) -> None:
        self.marks, self.oci = marks, oci
        self.found: list[SpecError] = []

    def add(self, path: str, what: str, why: str = "", fix: str = "") -> None:
        """Notes one fault at a spec path."""
        from runspec.spec.from_yaml import fault

        self.found.append(fault(self.marks, path, what, why, fix))


def _control(text: str) -> bool:
    return not text.isprintable() and any(ord(char) < 32 or ord(char) == 127 for char in text)


def path_fault(path: str) -> tuple[str, str, str] | None:
    """What is wrong with the text of a path, as (what, why, fix); None where nothing is.

    Args:
        path: an absolute path in its shortest spelling is right.

    See: path_resolution(7)
    """
    # The common case, without taking the path apart.
    if (path[:1] == "/" and path.isascii() and path.isprintable() and len(path) < NAME_MAX
            and (path == "/" or not ("//" in path or "/./" in path or "/../" in path
                                     or path.endswith(("/", "/.", "/.."))))):
        return None
    if not path:
        return "is empty", "a path names a file", "write an absolute path"
    if _control(path):
        return f"{shown(path)} holds a control character", "it would garble what people read", "remove it"
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return f"{shown(path)} is not UTF-8", "a file is text, and so are its paths", "rename it"
    if path[0] != "/":
        return (f"{shown(path)} is not absolute", "nothing is read relative to where runspec happens to run",
                "write the path from / on")
    parts = path.split("/")[1:]
    if ".." in parts:
        return f"{shown(path)} holds `..`", "what it names would depend on links", "write the path without it"
    if path != "/" and ("" in parts or "." in parts):
        clean = shown("/" + "/".join(part for part in parts if part not in ("", ".")))
        return (f"{shown(path)} is not in its shortest form",
                "one place has one spelling, so that two can be compared",
                f"write {clean}" if clean.endswith("`") else "write it without empty parts")
    if size >= PATH_MAX:
        return f"has {size} bytes", f"a path has at most {PATH_MAX - 1}, path_resolution(7)", "shorten it"
    if any(len(part.encode()) > NAME_MAX for part in parts):
        return "has a name of more than 255 bytes", "path_resolution(7)", "shorten it"
    return None


def check_path(faults: Faults, at: str, path: str) -> bool:
    """Notes what is wrong with a path's text; True where nothing is."""
    bad = path_fault(path)
    if bad:
        faults.add(at, *bad)
    return bad is None


def check_mappings(faults: Faults, at: str, mappings: tuple[IDMapping, ...]) -> None:
    """Notes faults of one id map, user_namespaces(7)."""
    if len(mappings) > 340:
        faults.add(at, f"has {len(mappings)} entries",
                   "the kernel takes at most 340 lines, user_namespaces(7)",
                   "join neighbouring ranges")
        return
    for index, one in enumerate(mappings):
        here = f"{at}[{index}]"
        if one.size < 1:
            faults.add(f"{here}.size", f"{one.size} is below 1",
                       "an entry maps at least one id, user_namespaces(7)",
                       "remove the entry, or write how many ids it maps")
            continue
        for word, first in (("containerID", one.container_id), ("hostID", one.host_id)):
            # The last id, 4294967295, means "none" to the kernel.
            if first < 0 or first > IDS - 2:
                faults.add(f"{here}.{word}", f"{first} is no id", f"ids go from 0 to {IDS - 2}",
                           "write an id in this range")
            elif first + one.size > IDS - 1:
                faults.add(f"{here}.size", f"{first} + {one.size} goes beyond the last id",
                           f"ids go from 0 to {IDS - 2}", f"write at most {IDS - 1 - first}")
                break
        for other_index, other in enumerate(mappings[:index]):
            if other.size < 1:
                continue
            for word, a, b in (("containerID", one.container_id, other.container_id),
                               ("hostID", one.host_id, other.host_id)):
                if a < b + other.size and b < a + one.size:
                    faults.add(f"{here}.{word}", f"overlaps entry {other_index}",
                               "an id has one counterpart on either side, user_namespaces(7)",
                               f"begin at {b + other.size}, or shorten entry {other_index}")


def _options(faults: Faults, at: str, mount: Mount, options: mount_options.Options) -> None:
    for index, word in enumerate(mount.options):
        here = f"{at}.options[{index}]"
        if word in mount_options.REFUSED:
            why, fix = mount_options.REFUSED[word]
            faults.add(here, f"{shown(word)} cannot be used", why, fix)
        elif not word or _control(word) or "," in word or not word.isascii():
            faults.add(here, f"{shown(word)} is no option", "each entry is one option",
                       "write one option per entry")
        elif options.bind and word in mount_options.SUPERBLOCK:
            faults.add(here, f"{shown(word)} cannot be used on a bind",
                       "it belongs to the file system behind it, mount(8)", "remove it")
        elif word not in mount_options.KNOWN:
            name = word.partition("=")[0]
            if options.bind:
                known: tuple[str, ...] = mount_options.KNOWN
            elif mount.type in mount_options.DATA:
                data = mount_options.DATA[mount.type]
                if name in data:
                    continue
                known = (*data, *mount_options.KNOWN)
            else:
                continue            # this file system's own, which only it can judge
            if faults.oci and not options.bind:
                continue            # config.md: an option that is not known is the file system's own
            near = nearest(name, known)
            kind = "a bind" if options.bind else str(mount.type)
            faults.add(here, f"{shown(word)} is no option of {kind}", "see mount(8)",
                       f"did you mean {near}?" if near else "remove it")
    pair = mount_options.contradiction(mount.options)
    if pair and not faults.oci:     # there, the later one holds
        place = len(mount.options) - 1 - mount.options[::-1].index(pair[1])
        faults.add(f"{at}.options[{place}]", f"{pair[1]} contradicts {pair[0]}", "only one of them can hold",
                   "remove one")


def _mount(faults: Faults, at: str, mount: Mount) -> None:
    where = mount.destination
    if check_path(faults, f"{at}.destination", where):
        if where == "/":
            faults.add(f"{at}.destination", "is the root itself", "the root file system is chosen by root",
                       "use root")
        elif (where == "/proc" and mount.type != "proc") or where.startswith("/proc/"):
            faults.add(f"{at}.destination", f"{shown(where)} lies in /proc",
                       "what covers /proc could make runspec read or write false process files",
                       "mount it elsewhere; parts of /proc are hidden by linux.maskedPaths")
    options = mount_options.parse(mount.options)
    if options.bind and mount.type is not None:
        faults.add(f"{at}.type", f"{shown(mount.type)} contradicts bind",
                   "a bind shows what exists and makes nothing new",
                   "remove type, or the option bind")
    elif not options.bind and mount.type is None:
        faults.add(at, "needs a type", "a new file system has a type, and only a bind has none",
                   "write type: tmpfs, or type: bind with a source")
    elif mount.type is not None and (mount.type in ("", "none", ".", "..") or not mount.type.isprintable()
                                     or "/" in mount.type):
        faults.add(f"{at}.type", f"{shown(mount.type)} is no file system", "see filesystems(5)",
                   "write type: tmpfs")
    elif not options.bind and options.optional:
        faults.add(f"{at}.options", "optional is for binds",
                   "a new file system has no source that could be missing",
                   "remove optional")
    if options.bind and mount.source is None:
        faults.add(at, "needs a source", "a bind shows a file or directory of the host, mount(2)",
                   "write source: and an absolute path")
    elif options.bind and mount.source is not None:
        check_path(faults, f"{at}.source", mount.source)
    elif mount.source is not None and ("\0" in mount.source or _control(mount.source)):
        faults.add(f"{at}.source", f"{shown(mount.source)} holds a control character", "", "remove it")
    _options(faults, at, mount, options)
    if options.idmap and not (mount.uid_mappings and mount.gid_mappings):
        faults.add(f"{at}.options", "idmap needs uidMappings and gidMappings on the mount",
                   "they say which owner is shown as which, mount_setattr(2)", "write both, or remove idmap")
    elif bool(mount.uid_mappings) != bool(mount.gid_mappings):
        faults.add(at, "needs uidMappings and gidMappings, or neither",
                   "an idmapped mount maps users and groups, mount_setattr(2)", "write the other one too")
    check_mappings(faults, f"{at}.uidMappings", mount.uid_mappings)
    check_mappings(faults, f"{at}.gidMappings", mount.gid_mappings)


def check_mounts(faults: Faults, spec: Spec) -> None:
    """Notes faults of the list of mounts.

    See: OCI config.md "Mounts": they are made in the order of the list.
    """
    if spec.mounts is MOUNTS:
        return
    earlier: dict[str, int] = {}
    for index, mount in enumerate(spec.mounts):
        at = f"mounts[{index}]"
        # Standard ones were judged when they were written.
        if not any(mount is one for one in MOUNTS):
            _mount(faults, at, mount)
        where = mount.destination
        if faults.oci:
            continue        # what hides another is meant so, or harmless
        if where in earlier:
            faults.add(f"{at}.destination", f"{shown(where)} is mounted twice",
                       "the second would hide the first", "remove one")
        else:
            below = where.rstrip("/") + "/"
            hidden = next((one for one in earlier if one.startswith(below)), None)
            if hidden is not None and where != "/":
                faults.add(f"{at}.destination", f"{shown(where)} would hide {shown(hidden)}",
                           "mounts are made in the order of the list",
                           f"move it before the mount of {hidden}")
        earlier.setdefault(where, index)
