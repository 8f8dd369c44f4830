"""Every option of `mounts[].options`: the table, and a list of options sorted by what serves them.

Constants are named, not numbered: `spec/` knows no kernel headers.

See: OCI config.md "Linux mount options", mount(8), mount_setattr(2), fsconfig(2)
"""

from __future__ import annotations

# Attributes of one mount, mount_setattr(2): option -> (names set, names cleared). Every one of
# them has an `r` form, which also reaches the mounts below.
_ATIME = ("MOUNT_ATTR__ATIME",)
ATTRIBUTES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ro": (("MOUNT_ATTR_RDONLY",), ()), "rw": ((), ("MOUNT_ATTR_RDONLY",)),
    "nosuid": (("MOUNT_ATTR_NOSUID",), ()), "suid": ((), ("MOUNT_ATTR_NOSUID",)),
    "nodev": (("MOUNT_ATTR_NODEV",), ()), "dev": ((), ("MOUNT_ATTR_NODEV",)),
    "noexec": (("MOUNT_ATTR_NOEXEC",), ()), "exec": ((), ("MOUNT_ATTR_NOEXEC",)),
    "nodiratime": (("MOUNT_ATTR_NODIRATIME",), ()), "diratime": ((), ("MOUNT_ATTR_NODIRATIME",)),
    "nosymfollow": (("MOUNT_ATTR_NOSYMFOLLOW",), ()), "symfollow": ((), ("MOUNT_ATTR_NOSYMFOLLOW",)),
    # The three ways of access times are one field, which must be cleared before it is set.
    "noatime": (("MOUNT_ATTR_NOATIME",), _ATIME), "strictatime": (("MOUNT_ATTR_STRICTATIME",), _ATIME),
    "relatime": (("MOUNT_ATTR_RELATIME",), _ATIME),
    # What undoes one of them is the kernel's default.
    "atime": (("MOUNT_ATTR_RELATIME",), _ATIME), "norelatime": (("MOUNT_ATTR_STRICTATIME",), _ATIME),
    "nostrictatime": (("MOUNT_ATTR_RELATIME",), _ATIME),
}
RECURSIVE = {"r" + word: word for word in ATTRIBUTES}
PROPAGATION = ("private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave", "runbindable")
BIND = {"bind": False, "rbind": True}
IDMAP = {"idmap": False, "ridmap": True}

# Options of a whole file system, passed to fsconfig(2) as flags.
SUPERBLOCK = ("sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand", "iversion",
              "noiversion")
# Words without an effect on a new mount; `optional` lets a bind's source be missing.
QUIET = ("defaults", "silent", "loud", "optional")
# Words that OCI lists and that say nothing in a description.
REFUSED = {"remount": ("changes a mount that exists; here every mount is made anew",
                       "write the wanted options on the mount"),
           "tmpcopyup": ("copies files of the image into memory before the start, which is not offered",
                         "remove it; an image has a writable layer of its own")}

# What each new file system takes beside these; the options of a type that is not here are its own.
DATA: dict[str, tuple[str, ...]] = {
    "proc": ("hidepid", "gid", "subset"), "sysfs": (), "mqueue": (), "cgroup": (), "cgroup2": ("nsdelegate",),
    "tmpfs": ("size", "nr_blocks", "nr_inodes", "mode", "uid", "gid", "mpol", "huge", "inode32", "inode64",
              "noswap"),
    "devpts": ("newinstance", "gid", "uid", "mode", "ptmxmode", "max"),
}

_ONE_OF = ("ro rw", "suid nosuid", "dev nodev", "exec noexec", "diratime nodiratime", "symfollow nosymfollow",
           "atime noatime relatime strictatime", "relatime norelatime", "strictatime nostrictatime")
# Of each group at most one word holds.
GROUPS = (*(tuple(prefix + word for word in group.split()) for prefix in ("", "r") for group in _ONE_OF),
          PROPAGATION, ("bind", "rbind"), ("idmap", "ridmap"), ("sync", "async"), ("lazytime", "nolazytime"),
          ("mand", "nomand"), ("iversion", "noiversion"), ("silent", "loud"))
_GROUPS_OF: dict[str, list[tuple[str, ...]]] = {}
for _group in GROUPS:
    for _word in _group:
        _GROUPS_OF.setdefault(_word, []).append(_group)
KNOWN = (*ATTRIBUTES, *RECURSIVE, *PROPAGATION, *BIND, *IDMAP, *SUPERBLOCK, *QUIET)


class Options:
    """A mount's options, sorted by what serves them.

    Attributes:
        bind, recursive: a bind, and whether it takes the mounts below its source.
        set, clear: MOUNT_ATTR names for this mount; rset, rclear: for those below it too.
        propagation: words such as `rslave`.
        idmap, ridmap: an idmapped mount is asked for, and for those below too.
        optional: a missing source means no mount.
        data: what goes to fsconfig(2), `size=1M` or a bare flag.
    """

    __slots__ = ("bind", "clear", "data", "idmap", "optional", "propagation", "rclear", "recursive", "ridmap",
                 "rset",
                 "set")

    def __init__(self) -> None:
        self.bind = self.recursive = self.idmap = self.ridmap = self.optional = False
        self.set: tuple[str, ...] = ()
        self.clear: tuple[str, ...] = ()
        self.rset: tuple[str, ...] = ()
        self.rclear: tuple[str, ...] = ()
        self.propagation: tuple[str, ...] = ()
        self.data: tuple[str, ...] = ()


_PARSED: dict[tuple[str, ...], Options] = {}     # most containers have the same few


def parse(options: tuple[str, ...]) -> Options:
    """Sorts options by what serves them; what is in no table is the file system's own.

    Args:
        options: as in OCI's `mounts[].options`.

    See: mount_setattr(2)
    """
    known = _PARSED.get(options)
    if known is not None:
        return known
    out = _PARSED[options] = Options()
    for word in options:
        if word in ATTRIBUTES:
            names, cleared = ATTRIBUTES[word]
            # A later word wins over an earlier one, as in mount(8).
            out.set = tuple(n for n in out.set if n not in cleared and not _overridden(n, cleared)) + names
            out.clear = tuple(n for n in out.clear if n not in names) + cleared
        elif word in RECURSIVE:
            names, cleared = ATTRIBUTES[RECURSIVE[word]]
            out.rset = tuple(n for n in out.rset if n not in cleared and not _overridden(n, cleared)) + names
            out.rclear = tuple(n for n in out.rclear if n not in names) + cleared
        elif word in BIND:
            out.bind, out.recursive = True, BIND[word]
        elif word in PROPAGATION:
            out.propagation = (*out.propagation, word)
        elif word in IDMAP:
            out.idmap, out.ridmap = True, IDMAP[word]
        elif word == "optional":
            out.optional = True
        elif word not in QUIET:
            out.data = (*out.data, word)
    out.set, out.clear = tuple(dict.fromkeys(out.set)), tuple(dict.fromkeys(out.clear))
    out.rset, out.rclear = tuple(dict.fromkeys(out.rset)), tuple(dict.fromkeys(out.rclear))
    return out


def _overridden(name: str, cleared: tuple[str, ...]) -> bool:
    # Clearing the field of access times clears whichever value it had.
    return cleared == _ATIME and name in ("MOUNT_ATTR_NOATIME", "MOUNT_ATTR_STRICTATIME",
                                          "MOUNT_ATTR_RELATIME")


def contradiction(options: tuple[str, ...]) -> tuple[str, str] | None:
    """The first two options that cannot both hold."""
    seen: dict[tuple[str, ...], str] = {}
    for word in options:
        for group in _GROUPS_OF.get(word, ()):
            before = seen.setdefault(group, word)
            if before != word:
                return before, word
    return None
