"""The root file system: its layers, mounts, device nodes, masks and the pivot into it."""

from __future__ import annotations

from os import makedev

from runspec import abi
from runspec.plan.host import Host
from runspec.plan.steps import mounts
from runspec.plan.steps.base import ChildStep, HostStep, Table
from runspec.plan.steps.namespaces import is_new
from runspec.spec.alike import kept
from runspec.spec.model import NO_HOOKS, Device, Mount, Overlay, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATE = "/var/lib/runspec"
PROPAGATION = {"private": abi.MS_PRIVATE, "slave": abi.MS_SLAVE, "shared": abi.MS_SHARED,
               "unbindable": abi.MS_UNBINDABLE}
# The devices OCI's runtime must supply, config-linux.md "Default Devices".
NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
         ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"))
NODE_KINDS = {"b": abi.S_IFBLK, "c": abi.S_IFCHR, "u": abi.S_IFCHR, "p": abi.S_IFIFO}
# What a program from the host's /usr wants to find outside it.
HOST_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
HOST_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf",
              "/etc/localtime")


def base_dir(name: str) -> str:
    """The container's directory below /var/lib/runspec, where its root is attached."""
    return f"{STATE}/{name}"


def layer_dir(image: str, digest: str, state: str = STATE) -> str:
    """Where an image with a digest is unpacked: the lowest layer of every root made from it."""
    return f"{state}/images/{image.partition(':')[0]}-{digest.partition(':')[2]}/rootfs"


def work_dir(upper: str) -> str:
    """The overlay's workdir: beside the upper directory, since both must be on one file system."""
    return upper.rstrip("/") + ".work"


class MakeDirectory(HostStep):
    """A directory of the host that the container needs; removed with it."""

    directory: str
    keep: bool = False      # a lasting overlay survives its container
    mode: int = 0o755       # of the directory itself, not of its parents

    def look(self, kernel: Any, run: Any) -> Any:
        """The directories that are missing, outermost first."""
        return kernel.missing_dirs(self.directory)

    def apply(self, kernel: Any, run: Any) -> Any:
        """mkdir(2), parents too."""
        kernel.make_dirs(self.directory.rsplit("/", 1)[0])
        kernel.make_dir(self.directory, self.mode)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Only what is empty goes, mount points that were made below too: data that somebody put there stays."""
        for made in reversed(memo):
            if not kernel.remove_hollow(made):
                return

    def __str__(self) -> str:
        return f"make directory {self.directory}"


class RemoveDirectory(HostStep):
    """Takes the container's directory away; a lasting overlay only where `data` asks."""

    directory: str
    data: bool = False

    def apply(self, kernel: Any, run: Any) -> Any:
        """Leaves alone what holds anything, unless its data is to go too."""
        if self.data:
            kernel.remove_tree(self.directory)
            return
        try:
            kernel.remove_dir(self.directory)
        except OSError:
            return

    def __str__(self) -> str:
        return f"remove directory {self.directory}"


class PrepareRoot(ChildStep):
    """Builds the root as one mount in the child's own mount namespace: slot "root"."""

    source: str | None = None           # a directory to be the root or the lowest layer
    overlay: Overlay | None = None
    host: bool = False                  # the host's /usr in an empty memory file system
    kept: bool = False                  # the former init's root, handed over
    lower: bool = False                 # the image is ready in slot "lower", its owners mapped
    receive: bool = False               # what the host mounts later may appear

    def ops(self, table: Table) -> None:
        """fsopen(2), open_tree(2), move_mount(2); nothing is looked up twice."""
        add, root, base = table.add, table.slot("root"), base_dir(self.target)
        # Opened here, in the new mount namespace: only mounts of one's own can be cloned.
        add(abi.OP_OPEN, slot=table.slot("null"), s1="/dev/null", a=abi.O_RDWR | abi.O_CLOEXEC)
        add(abi.OP_CHECK_NULL, slot=table.slot("null"))
        # Nothing that follows may travel back to the host's mounts.
        add(abi.OP_OPEN, slot=table.slot("host"), s1="/", a=abi.O_PATH | abi.O_CLOEXEC)
        apart = abi.MS_SLAVE if self.receive else abi.MS_PRIVATE
        add(abi.OP_MOUNT_SETATTR, slot=table.slot("host"), pad=1, c=apart)
        add(abi.OP_CLOSE, slot=table.slot("host"))      # or init would hold the way out while it waits
        if self.kept:
            # Somebody inside may have made it shared, which pivot_root(2) refuses.
            add(abi.OP_MOUNT_SETATTR, slot=root, c=abi.MS_PRIVATE)
            self._attach(table, root, base)
            if self.host:
                self._bind_host(table, root)    # it was handed over without the mounts below it
        elif self.host:
            self._memory(table, root, "mode=0755")
            self._attach(table, root, base)
            self._fill_from_host(table, root)
        elif self.overlay is None:
            add(abi.OP_OPEN_TREE, slot=root, s1=self.source or "",
                a=abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC | abi.AT_RECURSIVE)
            add(abi.OP_MOUNT_SETATTR, slot=root, pad=1, c=apart)
            self._attach(table, root, self.source or "/")
        else:
            self._overlay(table, root, base, self.overlay)

    def _overlay(self, table: Table, root: int, base: str, overlay: Overlay) -> None:
        upper = overlay.upper or f"{base}/rootfs"
        work = work_dir(upper)
        add = table.add
        if overlay.volatile:
            layer = table.slot("layer")
            self._memory(table, layer, "mode=0755")
            self._attach(table, layer, base)
            for name in ("rootfs", "rootfs.work"):
                add(abi.OP_MKDIR, slot=table.slot("made"), dir=layer, s1=name, a=0o755)
        source = self.source or ""
        if self.lower:
            # An overlay takes its layers by path, so the mapped one needs a place of its own.
            source = f"{base}/image"
            add(abi.OP_MKDIR, slot=table.slot("made"), dir=table.slot("layer"), s1="image", a=0o755)
            add(abi.OP_MOVE_MOUNT, slot=table.slot("lower"), dir=table.slot("made"))
        fs = table.slot("fs")
        add(abi.OP_FSOPEN, slot=fs, s1="overlay")
        # Image paths never hold ':' or ',' unescaped: the overlay's own option syntax.
        for key, value in (("source", "overlay"), ("lowerdir", escape(source)),
                           ("upperdir", upper), ("workdir", work)):
            add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_SET_STRING, s1=key, s2=value)
        add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_CMD_CREATE)
        add(abi.OP_FSMOUNT, slot=root, dir=fs)
        self._attach(table, root, upper)

    def _memory(self, table: Table, slot: int, *options: str) -> None:
        fs = table.slot("fs")
        table.add(abi.OP_FSOPEN, slot=fs, s1="tmpfs")
        for option in ("source=runspec", *options):
            key, _, value = option.partition("=")
            table.add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_SET_STRING, s1=key, s2=value)
        table.add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_CMD_CREATE)
        table.add(abi.OP_FSMOUNT, slot=slot, dir=fs)

    def _attach(self, table: Table, slot: int, where: str) -> None:
        at = table.slot("at")
        table.add(abi.OP_OPEN, slot=at, s1=where, a=abi.O_PATH | abi.O_DIRECTORY | abi.O_CLOEXEC)
        table.add(abi.OP_MOVE_MOUNT, slot=slot, dir=at)
        table.add(abi.OP_CLOSE, slot=at)

    def _fill_from_host(self, table: Table, root: int) -> None:
        add, made = table.add, table.slot("made")
        for name in ("usr", "etc", "proc", "sys", "dev", "run", "root", "var", "home", "mnt"):
            add(abi.OP_MKDIR, slot=made, dir=root, s1=name, a=0o755)
        add(abi.OP_MKDIR, slot=made, dir=root, s1="tmp", a=0o1777)
        self._bind_host(table, root)
        for name in HOST_LINKS:
            add(abi.OP_SYMLINK, dir=root, s1=name, s2=f"usr/{name}")

    def _bind_host(self, table: Table, root: int) -> None:
        add, made, tree = table.add, table.slot("made"), table.slot("tree")
        clone = abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC
        for source in ("/usr", *HOST_FILES):
            add(abi.OP_IGNORE_NEXT, a=4)
            add(abi.OP_OPEN_TREE, slot=tree, s1=source, a=clone)
            add(abi.OP_MOUNT_SETATTR, slot=tree, c=abi.MS_PRIVATE,
                a=abi.MOUNT_ATTR_RDONLY | abi.MOUNT_ATTR_NOSUID | abi.MOUNT_ATTR_NODEV)
            kind = abi.OP_MKDIR if source in ("/usr", "/etc/alternatives") else abi.OP_MKFILE
            add(kind, slot=made, dir=root, s1=source.lstrip("/"), a=0o755 if kind == abi.OP_MKDIR else 0o644)
            add(abi.OP_MOVE_MOUNT, slot=tree, dir=made)
            add(abi.OP_IGNORE_NEXT, a=0)
            add(abi.OP_CLOSE, slot=tree)

    def __str__(self) -> str:
        if self.kept:
            return "keep the root of the former init"
        if self.host:
            return "make a root from the host's /usr, read-only"
        if self.overlay is None:
            return f"take {self.source} as root"
        kind = "in memory" if self.overlay.volatile else f"kept in {self.overlay.upper}"
        return f"mount overlay above {self.source}, changes {kind}"


class MakeDevices(ChildStep):
    """Makes the standard nodes and links in the container's own /dev, and the declared ones."""

    ALIKE = True
    devices: tuple[Device, ...] = ()
    standard: bool = True
    bind: bool = False          # in a user namespace mknod(2) is refused: the host's nodes are bound

    def ops(self, table: Table) -> None:
        """mknod(2), null(4), full(4), random(4), tty(4)."""
        add, root, dev, node = table.add, table.slot("root"), table.slot("dev"), table.slot("node")
        add(abi.OP_MKDIR, slot=dev, dir=root, s1="dev", a=0o755, b=1)
        wanted = [Device(path=f"/dev/{name}", type="c", major=major, minor=minor, file_mode=0o666)
                  for name, major, minor in (NODES if self.standard else ())]
        for one in (*wanted, *self.devices):
            parent, name = one.path.rsplit("/", 1)
            where = dev
            if parent != "/dev":
                where = table.slot("devsub")
                add(abi.OP_MKDIR, slot=where, dir=root, s1=parent.lstrip("/"), a=0o755, b=1)
            if self.bind:
                add(abi.OP_OPEN_TREE, slot=table.slot("tree"), s1=one.path,
                    a=abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC)
                add(abi.OP_MKFILE, slot=node, dir=root, s1=one.path.lstrip("/"), a=0o666, b=1)
                add(abi.OP_MOVE_MOUNT, slot=table.slot("tree"), dir=node)
                continue
            add(abi.OP_MKNOD, dir=where, s1=name, a=NODE_KINDS[one.type] | ((one.file_mode or 0o666) & 0o7777),
                b=makedev(one.major or 0, one.minor or 0), c=(one.uid or 0) | (one.gid or 0) << 32)
        if self.standard:
            for name, points_to in LINKS:
                add(abi.OP_SYMLINK, dir=dev, s1=name, s2=points_to)

    def __str__(self) -> str:
        more = f" and {', '.join(one.path for one in self.devices)}" if self.devices else ""
        return f"make the standard devices{more}"


class HidePaths(ChildStep):
    """Masks and read-only remounts below the root."""

    ALIKE = True
    masked: tuple[str, ...] = ()
    readonly: tuple[str, ...] = ()
    freeze: bool = False            # the root itself becomes read-only

    def ops(self, table: Table) -> None:
        """mount_setattr(2); files are masked by our own checked /dev/null, never the image's."""
        root = table.slot("root")
        for path in self.readonly:
            table.add(abi.OP_READONLY, dir=root, s1=path.lstrip("/"))
        for path in self.masked:
            table.add(abi.OP_MASK, dir=root, s1=path.lstrip("/"), slot=table.slot("null"))
        table.add(abi.OP_CLOSE, slot=table.slot("null"))

    def __str__(self) -> str:
        return f"mask {len(self.masked)} paths, make {len(self.readonly)} read-only"


class PivotRoot(ChildStep):
    """The child's root becomes the container's; the host's tree is gone from its namespace."""

    ALIKE = True
    readonly: bool = False
    propagation: str = "private"

    def ops(self, table: Table) -> None:
        """pivot_root(2); the propagation of the new root is set last."""
        root = table.slot("root")
        table.add(abi.OP_MOUNT_SETATTR, slot=root,
                  a=abi.MOUNT_ATTR_RDONLY if self.readonly else 0,
                  b=0 if self.readonly else abi.MOUNT_ATTR_RDONLY)
        table.add(abi.OP_PIVOT, slot=root)
        word = self.propagation
        if word.lstrip("r") != "private":
            recursive = word.startswith("r")
            table.add(abi.OP_MOUNT_SETATTR, slot=root, c=PROPAGATION[word[1:] if recursive else word],
                      pad=1 if recursive else 0)

    def __str__(self) -> str:
        return "pivot into the root" + (", read-only" if self.readonly else "")


def escape(path: str) -> str:
    """A path as a value of overlay's lowerdir, where ':' separates layers."""
    return path.replace("\\", "\\\\").replace(":", "\\:")


def maps_image(spec: Spec, image: str | None) -> bool:
    """Whether the image, which belongs to the host's root, is to belong to the container's."""
    overlay = spec.root.overlay
    return is_new(spec, "user") and is_new(spec, "mount") and image is not None and (
        overlay is None or overlay.volatile)


def keeps(spec: Spec) -> bool:
    """Whether a new init takes over the former one's root: a directory of the host is there without that, with what
    is mounted below it."""
    return is_new(spec, "mount") and (bool(spec.root.image) or spec.root.overlay is not None)


def ready(spec: Spec, image: str | None) -> list[ChildStep]:
    """What the child does before it enters any namespace: trees whose owners are mapped."""
    steps = mounts.ready_mounts(spec)
    if maps_image(spec, image):
        steps.append(mounts.MapMount(target=spec.name, path="root.image", slot="lower", source=image or "",
                              ids="ns:user", optional=True))
    return steps


@kept
def receives(mounts: tuple[Mount, ...]) -> bool:
    """Whether one of these shows what is mounted elsewhere later."""
    return any(word.endswith(("slave", "shared")) for one in mounts for word in one.options)


def plan(spec: Spec, host: Host, image: str | None, sources: dict[str, str],
         bundle: str, files: tuple[tuple[str, str], ...] = (), kept: bool = False) -> list[ChildStep]:
    """The child's steps from an empty mount namespace to the pivoted root.

    Args:
        image: directory that the spec's image became; None for root.path and for `host`.
        sources: bind source -> "directory" or "file", as observed.
        bundle: directory that hooks are told.
        files: (path inside, file of the host) of its names.
        kept: the root is handed over by the former init, where it keeps one.
    """
    from runspec.plan.steps import hooks, names, terminal

    if not is_new(spec, "mount"):
        return hooks.wait(spec, bundle) if spec.hooks != NO_HOOKS else []
    name, root, propagation = spec.name, spec.root, spec.linux.rootfs_propagation or "private"
    overlay = root.overlay
    if root.image and overlay is None:
        # Missing mount points must not be made in an image that others share.
        overlay = Overlay(volatile=True)
    receive = propagation.endswith(("slave", "shared")) or receives(spec.mounts)
    steps: list[ChildStep] = [PrepareRoot(
        target=name, path="root.image" if root.image else "root.path", source=image or root.path,
        overlay=overlay, host=root.image == "host", kept=kept and keeps(spec), receive=receive,
        lower=overlay is not None and maps_image(spec, image) and not kept)]
    steps += mounts.plan_mounts(spec, host, sources)
    if files:
        steps += names.bind(spec.name, files)
    # OCI wants the standard devices in every container; only a /dev of somebody else's is left alone.
    own_dev = not any(m.destination == "/dev" and m.type is None for m in spec.mounts)
    if own_dev or spec.linux.devices:
        steps.append(MakeDevices(target=name, path="linux.devices", devices=spec.linux.devices, standard=own_dev,
                                 bind=any(one.type == "user" for one in spec.linux.namespaces)))
    if spec.process.terminal:
        steps += terminal.plan(spec)
    sealed = tuple(i for i, one in enumerate(spec.mounts) if one.type == "tmpfs" and "ro" in one.options)
    if sealed:
        steps.append(mounts.SealMounts(target=name, path="mounts", indexes=sealed))
    # What hooks mount is there before anything is hidden.
    if spec.hooks != NO_HOOKS:
        steps += hooks.wait(spec, bundle)
    steps.append(HidePaths(target=name, path="linux.maskedPaths", masked=spec.linux.masked_paths,
                           readonly=spec.linux.readonly_paths))
    steps.append(PivotRoot(target=name, path="root.readonly", readonly=root.readonly, propagation=propagation))
    return steps
