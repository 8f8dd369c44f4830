"""LXC: each container a configuration made from its Spec, lxc.container.conf(5)."""

from __future__ import annotations

import os

from runspec.bench import limits
from runspec.bench.peer import Peer, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runspec.plan.host import Host
    from runspec.spec.model import Mount, Spec
    from runspec.spec.model_net import Interface

# Namespace types as LXC names them.
NAMESPACES = {"pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup",
              "user": "user", "time": "time"}
# The filter of system calls that its own configurations of containers include: where ours is asked for, it has this.
FILTER = "/usr/share/lxc/config/common.seccomp"
# What it makes by itself, by lxc.autodev and lxc.pty.max.
OWN_MOUNTS = ("/dev", "/dev/pts")


class Lxc(Peer):
    """lxc-start and its monitor, a process beside each container. `run` has no status: lxc-start ends with 0."""

    name, program, package = "lxc", "lxc-start", "lxc"
    own_links, execs = True, "lxc-attach -n"

    def lacks(self, spec: Spec) -> str:
        if spec.linux.seccomp not in (None, "default"):
            return "its filter of system calls is a file of its own kind"
        if spec.linux.seccomp is not None and not os.path.exists(FILTER):
            return f"its own filter of system calls is not there: {FILTER}"
        if spec.landlock is not None:
            return "it has no word for landlock"
        return next((f"{one.name}: it has no such link" for one in spec.interfaces if one.type not in LINKS), "")

    def version(self) -> str:
        return f"lxc {super().version()}"

    def home(self) -> str:
        """What -P takes."""
        return f"{self.scene.room}/{self.place}"

    def write(self, spec: Spec) -> None:
        self.folder(spec.name)
        lines = config(spec, self.root(spec), self.group(spec.name), limit_lines(spec, self.host))
        self.scene.write(f"{self.place}/{spec.name}/config", [f"{line}\n" for line in lines])

    def launch(self, spec: Spec) -> str:
        return quote("lxc-start", "-P", self.home(), "-n", spec.name, "-d", "--", *spec.process.args)

    def foreground(self, spec: Spec) -> tuple[str, ...]:
        return ("lxc-start", "-P", self.home(), "-n", spec.name, "-F", "--", *spec.process.args)

    def remove(self, spec: Spec) -> str:
        return f"{quote('lxc-stop', '-P', self.home(), '-n', spec.name, '-k')} >/dev/null 2>&1 || true"

    def exec(self, name: str, args: Sequence[str]) -> str:
        return self.scene.run("lxc-attach", "-P", self.home(), "-n", name, "--clear-env", "--", *args)

    def pids(self) -> dict[str, int]:
        found = {name: self.scene.run("lxc-info", "-P", self.home(), "-n", name, "-p", "-H", ok=(0, 1)).strip()
                 for name in self.specs}
        return {name: int(pid) for name, pid in found.items() if pid.isdigit() and int(pid) > 0}

    def command(self, name: str) -> str:
        return f"lxc-start -n {name} -d"


def config(spec: Spec, root: str, group: str, limit: Sequence[str]) -> list[str]:
    """The configuration of a Spec.

    Args:
        root: the directory of its root.
        group: its control group, with a leading slash.
        limit: the lines of its limits.
    """
    process, linux = spec.process, spec.linux
    lines = [f"lxc.uts.name = {spec.hostname or spec.name}", f"lxc.rootfs.path = dir:{root}",
             *(["lxc.rootfs.options = ro"] if spec.root.readonly else []),
             "lxc.apparmor.profile = unconfined", "lxc.autodev = 1", "lxc.pty.max = 1024", "lxc.tty.max = 0",
             "lxc.console.path = none", f"lxc.init.cwd = {process.cwd}",
             f"lxc.init.uid = {process.user.uid}", f"lxc.init.gid = {process.user.gid}",
             f"lxc.namespace.clone = {' '.join(NAMESPACES[one.type] for one in linux.namespaces)}",
             f"lxc.cgroup.dir.container = {group[1:]}", f"lxc.cgroup.dir.monitor = {group[1:]}.monitor",
             f"lxc.cgroup.dir.monitor.pivot = {os.path.dirname(group)[1:]}/pivot"]
    if process.no_new_privileges:
        lines.append("lxc.no_new_privs = 1")
    if linux.seccomp is not None:
        lines.append(f"lxc.seccomp.profile = {FILTER}")
    kept = " ".join(one.removeprefix("CAP_").lower() for one in process.capabilities.bounding)
    lines.append(f"lxc.cap.keep = {kept or 'none'}")
    lines += [f"lxc.environment = {one}" for one in process.env]
    lines += [f"lxc.prlimit.{one.type.removeprefix('RLIMIT_').lower()} = {one.soft}:{one.hard}"
              for one in process.rlimits]
    lines += [f"lxc.sysctl.{name} = {value}" for name, value in linux.sysctl]
    for one in spec.mounts:
        if one.type == "cgroup":
            lines.append("lxc.mount.auto = cgroup:ro:force")
        elif one.destination not in OWN_MOUNTS:
            lines.append(f"lxc.mount.entry = {entry(one)}")
    lines += [f"lxc.mount.entry = {line}" for path in linux.masked_paths for line in masked(path)]
    lines += [f"lxc.mount.entry = {line}" for path in linux.readonly_paths for line in readonly(path)]
    lines += limit
    if not spec.interfaces:
        lines += ["lxc.net.0.type = empty", "lxc.net.0.flags = up"]
    for number, link in enumerate(spec.interfaces):
        lines += [f"lxc.net.{number}.{key} = {value}" for key, value in LINKS[link.type](link) + common(link)]
    return lines


def limit_lines(spec: Spec, host: Host) -> list[str]:
    """Limits by their control files, device rules among them."""
    out = []
    for one in limits.writes(spec, host):
        word = "cgroup" if host.version_of(one.controller or "memory") == 1 else "cgroup2"
        out += [f"lxc.{word}.{file} = {value}" for file, value in limits.written(one)]
    return out


def entry(mount: Mount) -> str:
    """A mount as fstab(5) has it, the target below the root."""
    options = [one for one in mount.options if one != "optional"]
    if mount.type is None and not {"bind", "rbind"} & set(options):
        options.insert(0, "bind")
    kind = "file" if mount.source and mount.type is None and not os.path.isdir(mount.source) else "dir"
    if "optional" in mount.options:
        options.append("optional")
    return (f"{escaped(mount.source or 'none')} {escaped(mount.destination.lstrip('/'))} {mount.type or 'none'} "
            f"{','.join([*options, f'create={kind}'])} 0 0")


def masked(path: str) -> list[str]:
    """What hides a file or a directory, where this kernel has it."""
    if os.path.isdir(path):
        return [f"tmpfs {escaped(path[1:])} tmpfs ro,nosuid,nodev,noexec,size=0,optional 0 0"]
    return [f"/dev/null {escaped(path[1:])} none bind,optional 0 0"] if os.path.exists(path) else []


def readonly(path: str) -> list[str]:
    """A path bound over itself; LXC's sources are the host's, so it is the host's that shows, read-only."""
    return [f"{escaped(path)} {escaped(path[1:])} none rbind,ro,nosuid,nodev,noexec,optional 0 0"] if (
        os.path.exists(path)) else []


def escaped(text: str) -> str:
    """A path as fstab(5) has it."""
    return text.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")


def _veth(link: Interface) -> list[tuple[str, str]]:
    if link.mode == "routed":
        return [("type", "veth"), ("veth.mode", "router")]
    return [("type", "veth"), *([("link", link.network)] if link.network else [])]


def _macvlan(link: Interface) -> list[tuple[str, str]]:
    return [("type", "macvlan"), ("link", link.parent or ""), ("macvlan.mode", link.mode or "bridge")]


def _ipvlan(link: Interface) -> list[tuple[str, str]]:
    return [("type", "ipvlan"), ("link", link.parent or ""), ("ipvlan.mode", link.mode or "l2")]


def _vlan(link: Interface) -> list[tuple[str, str]]:
    return [("type", "vlan"), ("link", link.parent or ""), ("vlan.id", str(link.vlan.id if link.vlan else 0))]


def _physical(link: Interface) -> list[tuple[str, str]]:
    return [("type", "phys"), ("link", link.parent or "")]


LINKS = {"veth": _veth, "macvlan": _macvlan, "ipvlan": _ipvlan, "vlan": _vlan, "physical": _physical}


def common(link: Interface) -> list[tuple[str, str]]:
    """What every link has."""
    out = [("flags", "up"), ("name", link.name)]
    if link.mac:
        out.append(("hwaddr", link.mac))
    if link.mtu:
        out.append(("mtu", str(link.mtu)))
    for family, sign in (("ipv4", "."), ("ipv6", ":")):
        out += [(f"{family}.address", one) for one in link.addresses if sign in one]
        out += [(f"{family}.gateway", one) for one in link.gateway if sign in one]
    return out
