"""Mounts below the root: new file systems, binds, and the control group tree."""

from __future__ import annotations

from errno import EINVAL, ENODEV, ENOTBLK

from runspec import abi
from runspec.plan.host import Host
from runspec.plan.steps.base import ChildStep, Table
from runspec.plan.steps.cgroup import CONTROLLERS, groups
from runspec.spec.alike import kept
from runspec.spec.model import Mount, Spec
from runspec.spec.mount_options import Options, parse

PROPAGATION = {"private": abi.MS_PRIVATE, "slave": abi.MS_SLAVE, "shared": abi.MS_SHARED,
               "unbindable": abi.MS_UNBINDABLE}
# Targets that must be ordinary directories of the image: a link there would lead masks astray.
STRICT = ("/proc", "/sys", "/dev")
CLONE = abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC


class MakeMount(ChildStep):
    """One entry of `mounts`."""

    ALIKE = True
    mount: Mount
    index: int
    kind: str = "directory"                 # of a bind source: directory, file, missing
    ready: bool = False                     # a bind whose tree was cloned before the namespaces were entered
    hierarchies: tuple[str, ...] = ()       # v1 controllers shown by a mount of type cgroup
    unified: bool = False
    subtrees: tuple[tuple[str, str], ...] = ()      # (v1 controller or "", the container's own group)

    def why(self, errno: int) -> str:
        """What the file system says of its options."""
        return {EINVAL: f"{self.mount.type or 'it'} takes no such option, value or source, mount(8)",
                ENODEV: f"this kernel has no file system {self.mount.type}, filesystems(5)",
                ENOTBLK: f"the source of a {self.mount.type} is a block device, mount(8)"}.get(errno, "")

    def remedy(self, errno: int) -> str:
        """What helps against it."""
        return {EINVAL: "correct or remove the option, or the source; `dmesg` may tell more",
                ENODEV: "/proc/filesystems lists those it has; a module may bring it, modprobe(8)",
                ENOTBLK: "name one, or give another type"}.get(errno, "")

    def ops(self, table: Table) -> None:
        """open_tree(2) for binds, fsopen(2) for the rest; onto a descriptor below the root."""
        options = parse(self.mount.options)
        if self.mount.type == "cgroup":
            self._cgroup(table, options)
        elif options.bind:
            self._bind(table, options)
        else:
            attributes = flags(options.set)
            if "ro" in self.mount.options and self.mount.type == "tmpfs":
                attributes &= ~abi.MOUNT_ATTR_RDONLY    # sealed when everything below it is mounted
            tree = self._new(table, self.mount.type or "none", attributes, options.data)
            self._target(table, "directory")
            table.add(abi.OP_MOVE_MOUNT, slot=tree, dir=table.slot("target"))
            self._after(table, tree, options)

    def _slot(self, table: Table) -> int:
        """A slot of its own only for what others reach too: before, what was made ready, and after, SealMounts."""
        own = self.ready or (self.mount.type == "tmpfs" and "ro" in self.mount.options)
        return table.slot(f"mount:{self.index}" if own else "mount")

    def _new(self, table: Table, kind: str, attributes: int, data: tuple[str, ...]) -> int:
        fs, tree = table.slot("fs"), self._slot(table)
        table.add(abi.OP_FSOPEN, slot=fs, s1=kind)
        table.add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_SET_STRING, s1="source", s2=self.mount.source or kind)
        for option in data:
            key, equals, value = option.partition("=")
            table.add(abi.OP_FSCONFIG, slot=fs, s1=key, s2=value,
                      a=abi.FSCONFIG_SET_STRING if equals else abi.FSCONFIG_SET_FLAG)
        table.add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_CMD_CREATE)
        table.add(abi.OP_FSMOUNT, slot=tree, dir=fs, a=attributes)
        return tree

    def _bind(self, table: Table, options: Options) -> None:
        if self.kind == "missing":
            return      # `optional`: rules refuse a missing source without it
        tree = self._slot(table)
        if not self.ready:
            table.add(abi.OP_OPEN_TREE, slot=tree, s1=self.mount.source or "",
                      a=CLONE | (abi.AT_RECURSIVE if options.recursive else 0))
        self._target(table, self.kind)
        self._before(table, tree, options)
        table.add(abi.OP_MOVE_MOUNT, slot=tree, dir=table.slot("target"))
        self._propagate(table, tree, options)

    def _before(self, table: Table, tree: int, options: Options) -> None:
        add = table.add
        if not any(word.endswith(("slave", "shared")) for word in options.propagation):
            add(abi.OP_MOUNT_SETATTR, slot=tree, pad=1, c=abi.MS_PRIVATE)
        if options.set or options.clear:
            add(abi.OP_MOUNT_SETATTR, slot=tree, a=flags(options.set), b=flags(options.clear))
        if options.rset or options.rclear:
            add(abi.OP_MOUNT_SETATTR, slot=tree, pad=1, a=flags(options.rset), b=flags(options.rclear))

    def _after(self, table: Table, tree: int, options: Options) -> None:
        if options.rset or options.rclear:
            table.add(abi.OP_MOUNT_SETATTR, slot=tree, pad=1, a=flags(options.rset), b=flags(options.rclear))
        self._propagate(table, tree, options)

    def _propagate(self, table: Table, tree: int, options: Options) -> None:
        for word in options.propagation:
            recursive = word[0] == "r" and word[1:] in PROPAGATION
            table.add(abi.OP_MOUNT_SETATTR, slot=tree, pad=1 if recursive else 0,
                      c=PROPAGATION[word[1:] if recursive else word])

    def _target(self, table: Table, kind: str) -> None:
        where = self.mount.destination
        table.add(abi.OP_MKFILE if kind == "file" else abi.OP_MKDIR, slot=table.slot("target"),
                  dir=table.slot("root"), s1=where.lstrip("/"), a=0o644 if kind == "file" else 0o755,
                  b=1 if where in STRICT or where.startswith(("/proc/", "/sys/")) else 0)

    def _cgroup(self, table: Table, options: Options) -> None:
        """v1 shows one directory per controller below a tmpfs; cgroup_namespaces(7) hides what is above."""
        attributes = flags(options.set)
        own = dict(self.subtrees)
        if not self.hierarchies:
            tree = (self._subtree(table, self._slot(table), own[""], attributes) if "" in own
                    else self._new(table, "cgroup2", attributes, ()))
            self._target(table, "directory")
            table.add(abi.OP_MOVE_MOUNT, slot=tree, dir=table.slot("target"))
            return
        writable = attributes & ~abi.MOUNT_ATTR_RDONLY
        tree = self._new(table, "tmpfs", writable & ~abi.MOUNT_ATTR_NOATIME, ("mode=755",))
        self._target(table, "directory")
        table.add(abi.OP_MOVE_MOUNT, slot=tree, dir=table.slot("target"))
        fs, one = table.slot("fs"), table.slot("controller")
        for name in self.hierarchies:
            if name in own:
                self._subtree(table, one, own[name], attributes)
            else:
                table.add(abi.OP_FSOPEN, slot=fs, s1="cgroup")
                table.add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_SET_FLAG, s1=name)
                table.add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_CMD_CREATE)
                table.add(abi.OP_FSMOUNT, slot=one, dir=fs, a=attributes)
            table.add(abi.OP_MKDIR, slot=table.slot("made"), dir=tree, s1=name, a=0o755)
            table.add(abi.OP_MOVE_MOUNT, slot=one, dir=table.slot("made"))
        if attributes & abi.MOUNT_ATTR_RDONLY:
            table.add(abi.OP_MOUNT_SETATTR, slot=tree, a=abi.MOUNT_ATTR_RDONLY)

    def _subtree(self, table: Table, slot: int, group: str, attributes: int) -> int:
        """Without a cgroup namespace a new mount would show every group of the machine, CVE-2022-0492."""
        table.add(abi.OP_OPEN_TREE, slot=slot, s1=group, a=CLONE)
        table.add(abi.OP_MOUNT_SETATTR, slot=slot, a=attributes, c=abi.MS_PRIVATE)
        return slot

    def __str__(self) -> str:
        return f"mount {self.mount.type or self.mount.source} at {self.mount.destination}"


class MapMount(ChildStep):
    """Clones a tree and shows its owners as others, while the child still rules the host's mounts.

    Args:
        slot: the name of the tree's slot; ids: that of the user namespace with the maps.
        recursive: the mounts below are cloned; deep: and mapped.
        optional: a file system that cannot be mapped is taken as it is.
    """

    ALIKE = True
    slot: str
    source: str
    ids: str
    recursive: bool = False
    deep: bool = False
    optional: bool = False

    def ops(self, table: Table) -> None:
        """mount_setattr(2), "ID-mapped mounts"; only a mount that nobody sees yet may be mapped."""
        tree = table.slot(self.slot)
        table.add(abi.OP_OPEN_TREE, slot=tree, s1=self.source, a=CLONE | (abi.AT_RECURSIVE if self.recursive else 0))
        if self.optional:
            table.add(abi.OP_IGNORE_NEXT)
        table.add(abi.OP_MOUNT_SETATTR, slot=tree, dir=table.slot(self.ids), pad=1 if self.deep else 0,
                  a=abi.MOUNT_ATTR_IDMAP)

    def __str__(self) -> str:
        return f"map the owners of {self.source}"


class SealMounts(ChildStep):
    """Makes memory file systems read-only once everything below them is in place."""

    ALIKE = True
    indexes: tuple[int, ...]

    def ops(self, table: Table) -> None:
        """mount_setattr(2)."""
        for index in self.indexes:
            table.add(abi.OP_MOUNT_SETATTR, slot=table.slot(f"mount:{index}"), a=abi.MOUNT_ATTR_RDONLY)

    def __str__(self) -> str:
        return "make memory file systems read-only"


def ready_mounts(spec: Spec) -> list[ChildStep]:
    """Binds whose owners are mapped."""
    return [mapped(spec.name, i, one) for i, one in enumerate(spec.mounts)
            if one.uid_mappings and parse(one.options).bind]


def mapped(target: str, index: int, one: Mount) -> MapMount:
    """The bind at this place of the list, its owners mapped."""
    options = parse(one.options)
    return MapMount(target=target, path=f"mounts[{index}].uidMappings", slot=f"mount:{index}",
                    source=one.source or "", ids=f"map:{index}", recursive=options.recursive, deep=options.ridmap)


def flags(names: tuple[str, ...]) -> int:
    """MOUNT_ATTR_* names as bits."""
    bits = 0
    for name in names:
        bits |= getattr(abi, name)
    return bits


@kept
def shown_controllers(host: Host) -> tuple[str, ...]:
    """v1 hierarchies that a container is in and may see; those that only mark packets say nothing inside."""
    return tuple(name for name, _ in host.hierarchies if name in CONTROLLERS and not name.startswith("net_"))


def plan_mounts(spec: Spec, host: Host, sources: dict[str, str]) -> list[ChildStep]:
    """One Step per mount, in the order of the list, as OCI demands."""
    shared = not any(one.type == "cgroup" for one in spec.linux.namespaces)
    own = groups(host, spec.linux.cgroups_path or f"/runspec/{spec.name}") if shared else ()
    return [MakeMount(target=spec.name, path=f"mounts[{i}]", mount=one, index=i,
                      kind=sources.get(one.source or "", "directory"), hierarchies=shown_controllers(host),
                      ready=bool(one.uid_mappings), subtrees=own if one.type == "cgroup" else ())
            for i, one in enumerate(spec.mounts)]
