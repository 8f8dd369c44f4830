"""podman: an engine, with its own store, networks and monitors (conmon), above runc or crun."""

from __future__ import annotations

import os

from runspec.bench.peer import Peer, quote
from runspec.bench.scene import PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runspec.spec.model import Mount, Spec
    from runspec.spec.model_net import Network

HOME = "/run/podman"
OWN_MOUNTS = ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup")


class Podman(Peer):
    """podman(1) with `--rootfs`, so that it has the same root as all others and no image of its own."""

    name, program, package = "podman", "podman", "podman"
    own_links, execs = True, "podman exec"

    def lacks(self, spec: Spec) -> str:
        if spec.landlock is not None:
            return "it has no word for landlock"
        if spec.linux.seccomp not in (None, "default"):
            return "its filter of system calls is a file of its own kind"
        if len(spec.interfaces) > 1 or any(one.type != "veth" or one.mode == "routed" for one in spec.interfaces):
            return "only a veth on a bridge is measured with it"
        return ""

    def words(self, *words: str) -> tuple[str, ...]:
        from shutil import which

        # crun is Debian's default, and takes a machine with both versions of control groups for an error.
        runtime = ("--runtime", "runc") if which("runc", path=PATH) else ()
        return ("podman", *runtime, "--storage-driver", "overlay", "--root", f"{HOME}/root", "--runroot", f"{HOME}/run",
                "--tmpdir", f"{HOME}/tmp", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
                "--network-config-dir", f"{HOME}/net", *words)

    def prepare(self, specs: Sequence[Spec], networks: Sequence[Network] = ()) -> None:
        import json
        from ipaddress import ip_interface

        os.makedirs(f"{HOME}/net", exist_ok=True)
        for one in networks:
            gateway = next((address for address in one.addresses if "." in address), "")
            subnet = str(ip_interface(gateway).network)
            self.scene.write(f"{HOME}/net/{one.name}.conflist", json.dumps({
                "cniVersion": "0.4.0", "name": one.name, "plugins": [{
                    "type": "bridge", "bridge": one.name, "isGateway": True, "ipam": {
                        "type": "host-local", "dataDir": f"{HOME}/ipam", "routes": [{"dst": "0.0.0.0/0"}],
                        "ranges": [[{"subnet": subnet, "gateway": gateway.partition("/")[0]}]]}}]}))
        super().prepare(specs, networks)

    def begin(self) -> list[str]:
        """Its network's bridge it makes itself."""
        return []

    def finish(self) -> list[str]:
        return [f"ip link del {one.name} 2>/dev/null || true" for one in self.networks if not one.external]

    def options(self, spec: Spec) -> tuple[str, ...]:
        """What `podman run` is told of a Spec."""
        from runspec.spec.units import SHARES_PER_WEIGHT

        process, resources = spec.process, spec.linux.resources
        words = ["--name", spec.name, "--hostname", spec.hostname or spec.name, "--workdir", process.cwd,
                 "--cgroup-parent", f"/{self.scene.group}/podman",
                 # Where ours is asked for, it has its own filter, as it does by itself.
                 *(["--security-opt", "seccomp=unconfined"] if spec.linux.seccomp is None else []),
                 "--cgroupns", "private", "--uts", "private",
                 "--cap-drop", "all", *(word for one in process.capabilities.bounding for word in ("--cap-add", one)),
                 *(word for one in process.env for word in ("--env", one)),
                 *(["--security-opt", "no-new-privileges"] if process.no_new_privileges else []),
                 *(["--read-only", "--read-only-tmpfs=false"] if spec.root.readonly else []),
                 # Its own defaults raise limits that not everybody may raise.
                 "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        if resources.cpu.weight is not None:
            words += ["--cpu-shares", str(resources.cpu.weight * SHARES_PER_WEIGHT)]
        for option, value in (("--cpu-quota", resources.cpu.quota), ("--cpu-period", resources.cpu.period),
                              ("--cpuset-cpus", resources.cpu.cpus), ("--memory", resources.memory.limit),
                              ("--pids-limit", resources.pids.limit)):
            if value is not None:
                words += [option, str(value)]
        for one in spec.mounts:
            words += mounted(one)
        link = next(iter(spec.interfaces), None)
        words += ["--network", link.network or "none"] if link else ["--network", "none"]
        if link and link.addresses:
            words += ["--ip", link.addresses[0].partition("/")[0]]
        return (*words, "--rootfs", self.root(spec), *process.args)

    def launch(self, spec: Spec) -> str:
        return quote(*self.words("run", "-d", *self.options(spec)))

    def foreground(self, spec: Spec) -> tuple[str, ...]:
        return self.words("run", "--rm", *self.options(spec))

    def remove(self, spec: Spec) -> str:
        return f"{quote(*self.removal(spec.name))} >/dev/null 2>&1 || true"

    def removal(self, *names: str) -> tuple[str, ...]:
        return self.words("rm", "--force", "--ignore", "--time", "0", *names)

    def delete(self) -> None:
        """Once more for those that `rm` left since their monitors cleaned up meanwhile: their names would be taken."""
        super().delete()
        left = [name for name in stored(f"{HOME}/root/overlay-containers/containers.json") if name in self.specs]
        if left:
            self.scene.run(*self.removal(*left))

    def exec(self, name: str, args: Sequence[str]) -> str:
        return self.scene.run(*self.words("exec", name, *args))

    def pids(self) -> dict[str, int]:
        text = self.scene.run(*self.words("ps", "--format", "{{.Names}} {{.Pid}}"))
        found = dict(line.split() for line in text.splitlines())
        return {name: int(pid) for name, pid in found.items() if name in self.specs and int(pid) > 0}

    def command(self, name: str) -> str:
        return f"podman run -d --name {name} --rootfs ROOT {quote(*self.specs[name].process.args)}"


def stored(file: str) -> list[str]:
    """The names of the containers in a store's file."""
    import json

    try:
        with open(file, encoding="utf-8") as text:
            return [name for one in json.load(text) for name in one.get("names", ())]
    except FileNotFoundError:
        return []


def mounted(mount: Mount) -> list[str]:
    """A mount in podman's words; nothing where it makes the same one itself."""
    if mount.destination in OWN_MOUNTS:
        return []
    options = ",".join(one for one in mount.options if one != "optional")
    if mount.type == "tmpfs":
        return ["--tmpfs", f"{mount.destination}:{options}"]
    return ["--volume", f"{mount.source}:{mount.destination}{f':{options}' if options else ''}"]
