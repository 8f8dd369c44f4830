"""Bubblewrap, systemd-nspawn and the floor: one process stays in front of each container, under groups that we make."""

from __future__ import annotations

import contextlib
import os
import signal

from runspec import abi
from runspec.bench import limits
from runspec.bench.peer import Peer, alive, quote
from runspec.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runspec.spec.model import Mount, Spec

PATIENCE = 120.0        # seconds until all programs run, or have ended
UNSHARE = {"user": "--unshare-user", "ipc": "--unshare-ipc", "pid": "--unshare-pid", "network": "--unshare-net",
           "uts": "--unshare-uts", "cgroup": "--unshare-cgroup"}


class Front(Peer):
    """A program that stays in front of its container, and leaves control groups to others, or makes no limits.

    The shell makes the groups, sets the limits, enters and becomes the program.
    """

    def groups(self, spec: Spec) -> limits.Groups:
        return limits.groups(spec, self.host, self.group(spec.name))

    def begin(self) -> list[str]:
        """Groups of all, then links."""
        made = [self.groups(one) for one in self.specs.values()]
        given = limits.delegated(made[0], self.host)
        folders = [folder for one in made for folder in one.folders]
        lines = [f"mkdir -p {quote(*chunk)}" for chunk in chunks([os.path.dirname(one) for one in made[0].folders])]
        lines += [f"echo {quote(value)} >{quote(file)}" for file, value in given]
        lines += [f"mkdir -p {quote(*chunk)}" for chunk in chunks(folders)]
        lines += [f"echo {quote(value)} >{quote(file)}"
                  for file, value in (*self.cpusets(), *(line for one in made for line in one.lines))]
        return [*lines, *super().begin()]

    def cpusets(self) -> list[tuple[str, str]]:
        """(file, value) for the groups above: a cpuset of version 1 begins empty, and takes nobody like that."""
        top = dict(self.host.hierarchies).get("cpuset")
        return [(f"{top}/{self.scene.group}{below}/cpuset.{file}", value) for below in ("", f"/{self.name}")
                for file, value in (("cpus", self.host.cpus), ("mems", self.host.mems))] if top else []

    def launch(self, spec: Spec) -> str:
        """`echo 0` moves whoever writes it: the subshell, which becomes the program."""
        return f"( {self.entered(spec)} ) </dev/null >/dev/null 2>{self.errors(spec)} &"

    def entered(self, spec: Spec) -> str:
        enter = "; ".join(f"echo 0 >{quote(file)}" for file in self.groups(spec).doors)
        return f"{enter}; exec {quote(*self.foreground(spec))}"

    def run(self, name: str) -> str:
        try:
            return self.scene.run("sh", "-ec", "\n".join([*self.begin(), self.entered(self.specs[name])]))
        finally:
            self.delete()

    def errors(self, spec: Spec) -> str:
        return quote(f"{self.folder(spec.name)}/errors")

    def start(self) -> None:
        """Returns when each program runs, which nobody tells but its group."""
        import time

        super().start()
        end = time.monotonic() + PATIENCE
        waiting = set(self.specs)
        while waiting:
            waiting = {name for name in waiting if not self.first(name)}
            if waiting and time.monotonic() > end:
                name = min(waiting)
                with open(f"{self.folder(name)}/errors", encoding="utf-8", errors="replace") as file:
                    raise HostError(f"bench: {name} does not run", file.read()[:300])
            time.sleep(0.0005)

    def first(self, name: str) -> int:
        """The container's first process, once it is the program; 0 before."""
        program = os.path.basename(self.specs[name].process.args[0])[:15]
        own = os.readlink("/proc/self/ns/pid")
        for pid in self.inside(name):
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    if file.read().rstrip("\n") == program and alive(pid) and os.readlink(f"/proc/{pid}/ns/pid") != own:
                        return pid
            except OSError:
                continue
        return 0

    def inside(self, name: str) -> list[int]:
        """All processes of its group and of those below it."""
        spec, found = self.specs[name], []
        for place, _, _ in os.walk(self.groups(spec).folders[0]):
            try:
                with open(f"{place}/cgroup.procs", encoding="ascii") as file:
                    found += [int(line) for line in file]
            except OSError:
                continue
        return sorted(found)

    def pids(self) -> dict[str, int]:
        return {name: pid for name in self.specs if (pid := self.first(name))}

    def delete(self) -> None:
        self.kill()
        super().delete()

    def kill(self) -> None:
        """End all processes of its groups, and remove them."""
        import time

        end = time.monotonic() + PATIENCE
        left = tuple(self.specs)
        while left := tuple(name for name in left if self.killed(name)):
            if time.monotonic() > end:
                raise HostError(f"bench: {left[0]} does not end")
            time.sleep(0.0005)
        for spec in self.specs.values():
            for folder in self.groups(spec).folders:
                for place, _, _ in os.walk(folder, topdown=False):
                    remove_group(place, end)

    def killed(self, name: str) -> bool:
        """Kill what is in a container's groups; whether there was anybody."""
        found = self.inside(name)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def remove(self, spec: Spec) -> str:
        return ":"

    def exec(self, name: str, args: Sequence[str]) -> str:
        raise HostError(f"bench: {self.program} starts no further program in a container")


class Bubblewrap(Front):
    """bwrap(1): namespaces and mounts; no links but lo, no limits of its own."""

    name, program, package = "bubblewrap", "bwrap", "bubblewrap"

    def lacks(self, spec: Spec) -> str:
        if spec.interfaces:
            return "it makes no link but lo"
        if spec.linux.seccomp is not None:
            return "it takes a compiled filter of system calls alone"
        return ""

    def foreground(self, spec: Spec) -> tuple[str, ...]:
        process, linux = spec.process, spec.linux
        words = ["bwrap", *(UNSHARE[one.type] for one in linux.namespaces if one.type in UNSHARE), "--as-pid-1",
                 "--hostname", spec.hostname or spec.name, "--clearenv",
                 *(word for one in process.env for word in ("--setenv", *one.split("=", 1))),
                 "--ro-bind" if spec.root.readonly else "--bind", self.root(spec), "/"]
        for one in spec.mounts:
            words += bound(one)
        for path in linux.readonly_paths:
            words += ["--ro-bind-try", path, path]
        for path in linux.masked_paths:
            if os.path.isdir(path):
                words += ["--tmpfs", path]
            elif os.path.exists(path):
                words += ["--ro-bind", "/dev/null", path]
        words += ["--cap-drop", "ALL", *(word for one in process.capabilities.bounding for word in ("--cap-add", one))]
        return (*words, "--chdir", process.cwd, "--", *process.args)

    def command(self, name: str) -> str:
        return "bwrap --unshare-all ... " + quote(*self.specs[name].process.args)


class Nspawn(Front):
    """systemd-nspawn(1) without a service manager: `--register=no --keep-unit`."""

    name, program, package = "systemd-nspawn", "systemd-nspawn", "systemd-container"
    own_links = True

    def lacks(self, spec: Spec) -> str:
        if spec.linux.seccomp not in (None, "default"):
            return "it has a filter of system calls of its own alone"
        if spec.interfaces:
            return "it makes links, but gives them no addresses"
        return ""

    def groups(self, spec: Spec) -> limits.Groups:
        """It makes further groups below its own in the hierarchies without controllers as well."""
        groups = super().groups(spec)
        return groups.replace(tops=tuple(dict.fromkeys((*groups.tops, *named()))))

    def foreground(self, spec: Spec) -> tuple[str, ...]:
        process, kept = spec.process, spec.process.capabilities.bounding
        words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--settings=no", "--timezone=off",
                 "--resolv-conf=off", "--link-journal=no", "--console=pipe", f"--directory={self.root(spec)}",
                 f"--machine={spec.name}", f"--hostname={spec.hostname or spec.name}", "--private-network",
                 f"--chdir={process.cwd}", *(["--read-only"] if spec.root.readonly else []),
                 *(f"--setenv={one}" for one in process.env),
                 *(["--no-new-privileges=yes"] if process.no_new_privileges else []),
                 f"--drop-capability={','.join(one for one in abi.CAPS if one not in kept)}",
                 f"--capability={','.join(kept)}"]
        for one in spec.mounts:
            if one.type is None:
                words.append(f"--bind{'-ro' if 'ro' in one.options else ''}={one.source}:{one.destination}")
            elif one.type == "tmpfs" and not one.destination.startswith("/dev"):
                words.append(f"--tmpfs={one.destination}")
        return (*words, "--", *process.args)

    def command(self, name: str) -> str:
        return "systemd-nspawn --register=no --keep-unit ... " + quote(*self.specs[name].process.args)


def bound(mount: Mount) -> list[str]:
    """A mount in bwrap's words; it has none for control groups and mounts no sysfs, so the host's is bound."""
    options = set(mount.options)
    if mount.type == "proc":
        return ["--proc", mount.destination]
    if mount.type == "mqueue":
        return ["--mqueue", mount.destination]
    if mount.type == "sysfs":
        return ["--ro-bind", "/sys", mount.destination]
    if mount.type == "cgroup" or mount.destination in ("/dev/pts", "/dev/shm"):
        return []           # in sysfs already, or a part of --dev
    if mount.destination == "/dev":
        return ["--dev", mount.destination]
    if mount.type == "tmpfs":
        return ["--tmpfs", mount.destination]
    return ["--ro-bind" if "ro" in options else "--bind", mount.source or "", mount.destination]


def named() -> list[str]:
    """Where cgroup2 and the hierarchies of version 1 with nothing but a name are mounted."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        rows = [line.split() for line in mounts]
    return [where for _, where, kind, options, *_ in rows
            if kind == "cgroup2" or (kind == "cgroup" and ",name=" in f",{options}")]


def remove_group(folder: str, end: float) -> None:
    """Remove one directory of a hierarchy, as soon as what was killed in it has left.

    Args:
        end: until when to try, time.monotonic().
    """
    import errno
    import time

    while True:
        try:
            os.rmdir(folder)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise HostError(f"bench: {folder}: {error.strerror}") from None
        time.sleep(0.0005)


def chunks(words: Sequence[str], size: int = 500) -> list[Sequence[str]]:
    """Words in pieces that a command line can hold."""
    return [words[at:at + size] for at in range(0, len(words), size)]
