"""Rules about files and directories that a Spec names and this machine must have."""

from __future__ import annotations

import os
import stat

from runspec.errors import Mark, SpecError
from runspec.spec import mount_options, rules_hooks
from runspec.spec.model import NO_HOOKS, Spec
from runspec.spec.rules_mounts import Faults, path_fault

_KINDS = {stat.S_IFREG: "a file", stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO",
          stat.S_IFSOCK: "a socket",
          stat.S_IFCHR: "a character device", stat.S_IFBLK: "a block device"}


def _stat(faults: Faults, at: str, path: str, why: str, fix: str) -> int:
    """The mode of what a path leads to, 0 where that was a fault and is noted."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        what = "leads nowhere, it is a dangling link" if os.path.islink(path) else "does not exist"
        faults.add(at, f"{path} {what}", why, fix)
    except NotADirectoryError:
        faults.add(at, f"{path} does not exist: a part of it is no directory", why, fix)
    except PermissionError:
        faults.add(at, f"{path} may not be reached",
                   "a directory on the way is closed to this user, path_resolution(7)",
                   "run runspec as root, or open the way")
    except OSError as error:
        import errno

        what = "is a loop of links" if error.errno == errno.ELOOP else (error.strerror or "cannot be read")
        faults.add(at, f"{path} {what}", why, fix)
    return 0


def _directory(faults: Faults, at: str, path: str, why: str, fix: str) -> None:
    mode = _stat(faults, at, path, why, fix)
    if mode and not stat.S_ISDIR(mode):
        faults.add(at, f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'no directory')}", why, fix)


def _program(faults: Faults, at: str, path: str) -> None:
    why, fix = "a hook is a program of the host, config.md, POSIX-platform Hooks", "name an executable file"
    mode = _stat(faults, at, path, why, fix)
    if mode and not stat.S_ISREG(mode):
        faults.add(at, f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'no file')}", why, fix)
    elif mode and not mode & 0o111:
        faults.add(at, f"{path} may not be executed by anybody", why, f"chmod +x {path}")


def check_host(spec: Spec, marks: dict[str, Mark]) -> list[SpecError]:
    """Lists the files that a Spec needs and that are missing or of the wrong kind.

    Args:
        spec: judged by rules.check before; a path that is wrong as text is skipped.
        marks: spec path -> place, by the Spec's own list indices.

    Returns:
        Faults in file order.
    """
    from runspec.spec.from_yaml import in_file_order

    faults = Faults(marks)
    root = spec.root
    if root.path is not None and path_fault(root.path) is None:
        _directory(faults, "root.path", root.path, "the root file system is a directory of the host",
                   "create it, or write image: busybox")
    elif root.image is not None and root.image.startswith("dir:") and path_fault(root.image[4:]) is None:
        _directory(faults, "root.image", root.image[4:], "an image of kind dir is a directory of the host",
                   "create it, or write image: busybox")
    upper = root.overlay.upper if root.overlay is not None else None
    # A missing one is made.
    if upper is not None and path_fault(upper) is None and os.path.lexists(upper):
        _directory(faults, "root.overlay.upper", upper, "the writable layer is a directory of the host",
                   "name a directory, or a path where none is yet")
    for index, mount in enumerate(spec.mounts):
        if mount.source is None or mount.type is not None or path_fault(mount.source) is not None:
            continue
        options = mount_options.parse(mount.options)
        if options.bind and not (options.optional and not os.path.lexists(mount.source)):
            _stat(faults, f"mounts[{index}].source", mount.source,
                  "a bind mount needs an existing source, mount(2)",
                  "create it, or set `optional: true` on this mount")
    for kind, one in rules_hooks.runtime_hooks(spec.hooks) if spec.hooks != NO_HOOKS else ():
        for index, hook in enumerate(one):
            if path_fault(hook.path) is None:
                _program(faults, f"hooks.{kind}[{index}].path", hook.path)
    for index, namespace in enumerate(spec.linux.namespaces):
        if namespace.path is not None and path_fault(namespace.path) is None:
            at = f"linux.namespaces[{index}].path"
            mode = _stat(faults, at, namespace.path, "a namespace is joined by its file, namespaces(7)",
                         "name a file such as /run/netns/NAME or /proc/1/ns/net")
            if mode and not stat.S_ISREG(mode):
                faults.add(at, f"{namespace.path} is {_KINDS.get(stat.S_IFMT(mode), 'no file')}",
                           "a namespace is joined by its file, namespaces(7)",
                           "name a file such as /proc/1/ns/net")
    return in_file_order(faults.found, [""]) if faults.found else []
