"""The floor: the bare system calls of a container, done by a small static program, see floor.c."""

from __future__ import annotations

import os

from runspec import abi
from runspec.bench import limits
from runspec.bench.contenders_small import Front
from runspec.errors import HostError
from runspec.plan.steps.rootfs import LINKS, NODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runspec.plan.host import Host
    from runspec.spec.model import Mount, Spec
    from runspec.spec.model_net import Network

PROGRAM = os.path.join(os.path.dirname(__file__), "floor")
# Those that the child enters once it is in its groups, where a cgroup namespace begins.
NAMESPACES = {"pid": abi.CLONE_NEWPID, "network": abi.CLONE_NEWNET, "mount": abi.CLONE_NEWNS,
              "ipc": abi.CLONE_NEWIPC, "uts": abi.CLONE_NEWUTS}
FLAGS = {"ro": abi.MS_RDONLY, "nosuid": abi.MS_NOSUID, "nodev": abi.MS_NODEV, "noexec": abi.MS_NOEXEC,
         "relatime": abi.MS_RELATIME, "strictatime": abi.MS_STRICTATIME, "bind": abi.MS_BIND,
         "rbind": abi.MS_BIND | abi.MS_REC}
# Words of options that are no data of the file system.
OTHERS = ("optional", "rw", "private", "rprivate")
QUIET = abi.MS_RDONLY | abi.MS_NOSUID | abi.MS_NODEV | abi.MS_NOEXEC

Act = tuple[str, ...]


class Floor(Front):
    """clone3(2), mounts, pivot_root(2), execve(2), with the same groups and limits set: what cannot be saved.

    Links are iproute2's, in network namespaces that the children join.
    """

    name, execs = "floor", "floor exec"

    def missing(self, spec: Spec | None = None) -> str:
        if not os.access(PROGRAM, os.X_OK):
            return "its program was not built"
        if spec is None:
            return ""
        if spec.linux.seccomp is not None:
            return "it loads no filter of system calls"
        words = (*spec.process.args, *spec.process.env, *(one.source or "" for one in spec.mounts))
        return "its words have tabs or line ends" if any("\t" in one or "\n" in one for one in words) else ""

    def version(self) -> str:
        from runspec import __version__

        return f"of runspec {__version__}"

    def prepare(self, specs: Sequence[Spec], networks: Sequence[Network] = ()) -> None:
        self.know(specs, networks)
        tops = dict.fromkeys(os.path.dirname(folder) for one in specs for folder in self.groups(one).folders)
        above = [("d", os.path.dirname(top), "0755") for top in tops] + [("d", top, "0755") for top in tops]
        above += [("w", file, value) for file, value in (
            *limits.delegated(self.groups(specs[0]), self.host), *self.cpusets())]
        acts = [acts_of(one, self.root(one), self.groups(one), self.host,
                        f"/run/netns/{self.netns(one.name)}" if one.interfaces else "") for one in specs]
        self.file = self.scene.write(f"{self.place}/acts", lines([*above, *(one for each in acts for one in each)]))
        self.links, self.unlinked = "\n".join(self.link()), "\n".join(self.finish())

    def words(self, verb: str) -> tuple[str, ...]:
        """The command line, after iproute2's where there are links."""
        words = (PROGRAM, verb, self.file)
        return ("sh", "-ec", f'{self.links}\nexec "$@"', "sh", *words) if self.links else words

    def start(self) -> None:
        self.scene.run(*self.words("start"))

    def run(self, name: str) -> str:
        try:
            return self.scene.run(*self.words("run"))
        finally:
            self.delete()

    def delete(self) -> None:
        self.kill()
        if self.unlinked:
            self.scene.run("sh", "-c", self.unlinked)

    def exec(self, name: str, args: Sequence[str]) -> str:
        pid = self.first(name)
        if not pid:
            raise HostError(f"bench: {name} does not run")
        return self.scene.run(PROGRAM, "exec", self.file, str(pid), *args)

    def command(self, name: str) -> str:
        return f"floor start {os.path.basename(self.file)}"


def lines(acts: Sequence[Act]) -> str:
    """Acts as floor.c reads them."""
    return "".join("\t".join(one) + "\n" for one in acts)


def acts_of(spec: Spec, root: str, groups: limits.Groups, host: Host, netns: str = "") -> list[Act]:
    """Everything that makes one container, in order.

    Args:
        root: the directory of its root.
        netns: the file of a network namespace that is there already; "" for a new one.
    """
    process, linux = spec.process, spec.linux
    kinds = {one.type for one in linux.namespaces}
    acts: list[Act] = [("d", folder, "0755") for folder in groups.folders]
    acts += [("w", file, value) for file, value in groups.lines]
    acts.append(("c", hex(sum(flag for kind, flag in NAMESPACES.items()
                              if kind in kinds and not (netns and kind == "network")))))
    acts += [("w", file, "0") for file in groups.doors]
    if "cgroup" in kinds:
        acts.append(("u", hex(abi.CLONE_NEWCGROUP)))
    acts += [("j", netns) if netns else ("l",), ("h", spec.hostname or spec.name),
             mount("none", "/", "", abi.MS_REC | abi.MS_PRIVATE), mount(root, root, "", abi.MS_BIND | abi.MS_REC)]
    for one in spec.mounts:
        acts += mounted(one, root, host)
    for path in linux.readonly_paths:
        if os.path.exists(path):
            at = root + path
            acts += [mount(at, at, "", abi.MS_BIND | abi.MS_REC),
                     mount("none", at, "", abi.MS_BIND | abi.MS_REMOUNT | QUIET)]
    for path in linux.masked_paths:
        if os.path.isdir(path):
            acts.append(mount("none", root + path, "tmpfs", QUIET))
        elif os.path.exists(path):
            acts.append(mount("/dev/null", root + path, "", abi.MS_BIND))
    acts.append(("p", root, "1" if spec.root.readonly else "0"))
    acts += [("r", str(abi.RLIMITS[one.type]), str(one.soft), str(one.hard)) for one in process.rlimits]
    acts.append(("g", process.cwd, oct(process.user.umask or 0o22)))
    acts.append(("k", hex(sum(1 << abi.CAPS[one] for one in process.capabilities.bounding)),
                 "1" if process.no_new_privileges else "0"))
    acts += [("e", one) for one in process.env]
    return [*acts, ("x", *process.args)]


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> Act:
    return "m", source, target, kind, hex(flags), data


def mounted(one: Mount, root: str, host: Host) -> list[Act]:
    """One mount of a Spec, below the root, with what belongs into it."""
    at = root + one.destination
    flags = sum(FLAGS[word] for word in dict.fromkeys(one.options) if word in FLAGS)
    data = ",".join(word for word in one.options if word not in FLAGS and word not in OTHERS)
    below = [("d", at, "0755")] if one.destination.startswith("/dev/") else []
    if one.type == "cgroup":
        return controllers(at, host, flags)
    if one.type is None:
        acts = [*below, mount(one.source or "", at, "", flags & (abi.MS_BIND | abi.MS_REC) or abi.MS_BIND)]
        rest = flags & ~(abi.MS_BIND | abi.MS_REC)
        return [*acts, mount("none", at, "", abi.MS_BIND | abi.MS_REMOUNT | rest)] if rest else acts
    acts = [*below, mount(one.source or one.type, at, one.type, flags, data)]
    if one.destination == "/dev":
        acts += [("n", f"{at}/{name}", str(major), str(minor)) for name, major, minor in NODES]
        acts += [("s", f"{at}/{name}", target) for name, target in LINKS]
    return acts


def controllers(at: str, host: Host, flags: int) -> list[Act]:
    """Version 1: each hierarchy below a memory disk, read-only at the end; version 2 is one mount."""
    if not host.hierarchies:
        return [mount("cgroup", at, "cgroup2", flags)]
    acts = [mount("cgroup", at, "tmpfs", flags & ~abi.MS_RDONLY, "mode=755")]
    tops: dict[str, list[str]] = {}
    for name, top in host.hierarchies:
        tops.setdefault(top, []).append(name)
    for top, names in tops.items():
        place = f"{at}/{os.path.basename(top)}"
        acts += [("d", place, "0755"), mount("cgroup", place, "cgroup", flags, ",".join(names))]
    return [*acts, mount("none", at, "", abi.MS_REMOUNT | flags, "mode=755")]
