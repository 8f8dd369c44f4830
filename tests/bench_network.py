"""The price of links: 200 containers on one bridge with and without, against iproute2, LXC and podman, as ratios.

    .venv/bin/python -P tests/bench_network.py [--count 200] [--few 20] [--rounds 3] [-o json]

All in one run and in namespaces of its own; rounds are interleaved, and a figure is the median of the rounds. Time
decides nothing here: what fails is a link that is not as asked, or something left behind.

- `apply` and `destroy`: what `count` containers with a link each (address, default route, one on the bridge) cost
  above the same without, bridge and all, against iproute2 in network namespaces that are there already: `ip -batch`
  for the host's side and one `ip -n NAME -batch` for each inside; `ip -batch` of `netns del` for their end, timed to
  the command's own end (`ip netns del`) and to when the last link has gone (`ip, gone`).
- `diff` of all `count` against `apply` of the first `few`, both with links.
- `few` containers with a link each: `apply`, then `lxc-start -d` and `podman run -d` on a bridge of theirs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from bench_apply import NET, OUTSIDE, PEERS, PREFIX, Bench, private, report

GATEWAY = f"{NET}.255.254"
LAN = "benchlan"
PODMAN_NET = "10.95"
# The most that a ratio should be.
AIMS = {"apply / ip -batch": 3.0, "destroy / ip netns del": 3.0, "diff / apply of few": 1.0}


def address(n: int, net: str = NET) -> str:
    """Of the container with this number, with its prefix."""
    return f"{net}.{n // 250}.{n % 250 + 2}/16"


class NetBench(Bench):
    """What bench_apply's has, with links.

    Args:
        few: how many containers the engines are given.
    """

    def __init__(self, room: Path, count: int, few: int) -> None:
        self.few = few
        super().__init__(room, count)
        # LXC looks for its bridge in /sys/class/net, which shows the namespace that it was mounted in.
        self.run("sh", "-ec", "mkdir /run/netns/sys; mount -t sysfs sysfs /run/netns/sys;"
                 "mount --rbind /sys/fs/cgroup /run/netns/sys/fs/cgroup; mount --rbind /run/netns/sys /sys")
        self.groups_before = set(groups_of_engines())

    def write_specs(self) -> None:
        """YAML for all without and with links, and for the first few."""
        def container(n: int, net: bool) -> str:
            link = (f"[{{name: eth0, type: veth, network: {LAN}, addresses: [{address(n)}], gateway: {GATEWAY}}}]"
                    if net else "[]")
            return (f"apiVersion: runspec/v1\nname: {self.names[n]}\n"
                    "root: {image: busybox, readonly: true}\nprocess: {args: [/bin/sleep, '3600']}\n"
                    f"interfaces: {link}\n")
        network = (f"---\napiVersion: runspec/v1\nkind: Network\nname: {LAN}\ntype: bridge\n"
                   f"addresses: [{GATEWAY}/16]\n")
        self.spec(False).write_text("---\n".join(container(n, False) for n in range(self.count)))
        self.spec(True).write_text("---\n".join(container(n, True) for n in range(self.count)) + network)
        self.first.write_text("---\n".join(container(n, True) for n in range(self.few)) + network)

    @property
    def first(self) -> Path:
        return self.room / "few.yaml"

    # runspec

    def all(self, net: bool) -> dict[str, float]:
        """`count` containers: applied, compared, destroyed."""
        spec, label = self.spec(net), " with links" if net else ""
        try:
            out = {f"apply{label}": self.timed(*self.runspec, "apply", "--yes", spec)}
            self.check(self.count, net)
            if net:
                out["diff"] = self.timed(*self.runspec, "diff", spec)
        finally:
            gone = self.timed(*self.runspec, "destroy", "--yes", spec)
        if net and self.links_left():
            raise RuntimeError(f"links are left: {self.links_left()}")
        return {**out, f"destroy{label}": gone}

    def some(self) -> dict[str, float]:
        """The first `few` with links."""
        try:
            took = self.timed(*self.runspec, "apply", "--yes", self.first)
            self.check(self.few, True)
        finally:
            self.run(*self.runspec, "destroy", "--yes", self.first)
        return {"apply of few": took}

    def check(self, count: int, net: bool) -> None:
        """They run, and have what was asked."""
        pids = {one["id"]: one["pid"] for one in json.loads(self.run(*self.runspec, "list", "-f", "json"))
                if one["status"] == "running"}
        if len(pids) != count:
            raise RuntimeError(f"{len(pids)} containers of runspec run, not {count}")
        for n in range(count if net else 0):
            self.check_link(pids[self.names[n]], address(n), GATEWAY)

    def check_link(self, pid: int, cidr: str, gateway: str) -> None:
        """A process has an eth0 that is up, with this address and this way out."""
        reached = json.loads(self.run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", "-4", "addr", "show", "eth0"))
        have = [f"{one['local']}/{one['prefixlen']}" for one in reached[0]["addr_info"]]
        routes = json.loads(self.run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", "route", "show", "default"))
        if cidr not in have or "UP" not in reached[0]["flags"] or [one["gateway"] for one in routes] != [gateway]:
            raise RuntimeError(f"process {pid} has {have} and {routes}, not {cidr} by {gateway}")

    def links_left(self) -> list[str]:
        """Veths of the host's side, whoever's."""
        return self.run("ip", "-br", "link", "show", "type", "veth").splitlines()

    # iproute2

    def iproute(self) -> dict[str, float]:
        """The same links made and removed by iproute2; the namespaces are made before and not counted."""
        names = [f"{PREFIX}{n}" for n in range(self.count)]
        self.batch("made", [f"netns add {name}" for name in names])
        host = [f"link add {LAN} type bridge", f"addr add {GATEWAY}/16 dev {LAN}", f"link set {LAN} up"]
        for n, name in enumerate(names):
            host += [f"link add pb{n} master {LAN} up type veth peer name eth0 netns {name}",
                     f"link set pb{n} alias {PREFIX}:{n}"]
        script = [f"ip -batch {self.lines('host', host)}"]
        for n, name in enumerate(names):
            inside = self.lines(f"inside{n}", [f"addr add {address(n)} dev eth0", "link set lo up", "link set eth0 up",
                                               f"route add default via {GATEWAY}"])
            script.append(f"ip -n {name} -batch {inside}")
        took = self.timed("sh", self.lines("script", script))
        with_link = json.loads(self.run("ip", "-n", names[-1], "-j", "route", "show", "default"))
        if len(self.links_left()) != self.count or with_link[0]["gateway"] != GATEWAY:
            raise RuntimeError(f"iproute2 made {len(self.links_left())} links; routes: {with_link}")
        begun = time.perf_counter()
        self.batch("gone", [f"netns del {name}" for name in names])
        removed = time.perf_counter() - begun
        while self.links_left():
            time.sleep(0.002)
        gone = time.perf_counter() - begun
        self.run("ip", "link", "del", LAN)
        return {"ip -batch": took, "ip netns del": removed, "ip, gone": gone}

    def lines(self, name: str, lines: list[str]) -> Path:
        """A file of these."""
        file = self.room / name
        file.write_text("".join(f"{line}\n" for line in lines))
        return file

    def batch(self, name: str, lines: list[str]) -> None:
        self.run("ip", "-batch", self.lines(name, lines))

    # engines

    def tree(self) -> Path:
        """A busybox root of its own."""
        top = self.room / "rootfs"
        if not top.exists():
            for name in ("bin", "dev", "proc", "sys", "etc", "tmp", "run"):
                (top / name).mkdir(parents=True)
            shutil.copy2(shutil.which("busybox") or "/bin/busybox", top / "bin/busybox")
            for name in ("sh", "sleep"):
                (top / "bin" / name).symlink_to("busybox")
        return top

    def lxc(self) -> dict[str, float]:
        """lxc-start -d, `few` times, on the bridge that is there already."""
        room = self.room / "lxc"
        for n in range(self.few):
            where = room / self.names[n]
            where.mkdir(parents=True, exist_ok=True)
            (where / "config").write_text(
                f"lxc.uts.name = {self.names[n]}\nlxc.rootfs.path = dir:{self.tree()}\nlxc.rootfs.options = ro\n"
                "lxc.init.cmd = /bin/sleep 3600\nlxc.apparmor.profile = unconfined\nlxc.autodev = 1\n"
                "lxc.mount.auto = proc:mixed sys:ro\nlxc.net.0.type = veth\nlxc.net.0.link = peers0\n"
                "lxc.net.0.flags = up\nlxc.net.0.name = eth0\n"
                f"lxc.net.0.ipv4.address = {address(n, PEERS)}\nlxc.net.0.ipv4.gateway = {PEERS}.255.1\n")
        try:
            begun = time.perf_counter()
            for name in self.names[:self.few]:
                self.run("lxc-start", "-P", room, "-n", name, "-d")
            took = time.perf_counter() - begun
            for n, name in enumerate(self.names[:self.few]):
                pid = int(self.run("lxc-info", "-P", room, "-n", name, "-p", "-H"))
                self.check_link(pid, address(n, PEERS), f"{PEERS}.255.1")
        finally:
            for name in self.names[:self.few]:
                self.run("lxc-stop", "-P", room, "-n", name, "-k", ok=(0, 1, 2))
            self.await_no_links()
        return {"lxc": took}

    def podman(self) -> dict[str, float]:
        """podman run -d on a network of its bridge driver, `few` times; store and network are there already."""
        room = self.room / "podman"
        words = ["podman", "--storage-driver", "overlay", "--root", f"{room}/root", "--runroot", f"{room}/run",
                 "--tmpdir", f"{room}/tmp", "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime",
                 "runc", "--network-config-dir", f"{room}/net"]
        if not room.exists():
            (room / "net").mkdir(parents=True)
            self.run("mount", "-t", "tmpfs", "store", room)
            (room / "net").mkdir()
            (room / "net/bench.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": "bench", "plugins": [{
                "type": "bridge", "bridge": "podbench0", "isGateway": True, "ipam": {
                    "type": "host-local", "dataDir": f"{room}/ipam", "routes": [{"dst": "0.0.0.0/0"}],
                    "ranges": [[{"subnet": f"{PODMAN_NET}.0.0/16", "gateway": f"{PODMAN_NET}.255.254"}]]}}]}))
            self.run("tar", "-C", self.tree(), "-cf", room / "image.tar", ".")
            self.run(*words, "import", room / "image.tar", "localhost/bench")
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        try:
            begun = time.perf_counter()
            for name in self.names[:self.few]:
                self.run(*words, "run", "-d", "--name", name, "--network", "bench", "--read-only", *limits,
                         "localhost/bench", "/bin/sleep", "3600")
            took = time.perf_counter() - begun
            for name in self.names[:self.few]:
                one = json.loads(self.run(*words, "inspect", name))[0]
                cidr = one["NetworkSettings"]["Networks"]["bench"]["IPAddress"] + "/16"
                self.check_link(one["State"]["Pid"], cidr, f"{PODMAN_NET}.255.254")
        finally:
            self.run(*words, "rm", "--all", "--force", "--time", "0", ok=(0, 1, 2))
            self.run("ip", "link", "del", "podbench0", ok=(0, 1))
            self.await_no_links()
        return {"podman": took}

    def await_no_links(self) -> None:
        """The kernel frees links behind a namespace's end; nobody else shall pay for that."""
        end = time.monotonic() + 30
        while self.links_left() and time.monotonic() < end:
            time.sleep(0.05)

    def close(self) -> None:
        """Nothing of ours, nor of the engines', stays."""
        super().close()
        for top in set(groups_of_engines()) - self.groups_before:
            for path, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
        self.run("umount", self.room / "podman", ok=(0, 1, 32))


def groups_of_engines() -> list[Path]:
    """Control groups that LXC and podman make and leave."""
    return [path for name in ("lxc.*", "libpod*") for top in ("", "*/") for path in
            Path("/sys/fs/cgroup").glob(f"{top}{name}") if path.is_dir()]


@contextlib.contextmanager
def bench(count: int, few: int) -> Iterator[NetBench]:
    """A NetBench that cleans up whatever happens."""
    import tempfile

    room = Path(tempfile.mkdtemp(prefix=PREFIX[:4], dir="/tmp"))     # podman takes no long path
    one = NetBench(room, count, few)
    try:
        yield one
    finally:
        one.close()
        shutil.rmtree(room)


def measure(count: int, few: int, rounds: int, peers: tuple[str, ...],
            say: Callable[[str], object] = print) -> dict[str, float]:
    """Medians of every figure in seconds, and the ratios: figure -> seconds, `A / B` -> ratio."""
    series: dict[str, list[float]] = {}
    with bench(count, few) as scene:
        scene.some()                            # builds the image, warms the caches
        contenders: list[Callable[[], dict[str, float]]] = [
            lambda: scene.all(False), lambda: scene.all(True), scene.iproute, scene.some]
        contenders += [getattr(scene, name) for name in peers]
        for number in range(rounds):
            for contender in contenders:
                for figure, took in contender().items():
                    series.setdefault(figure, []).append(took)
                    say(f"round {number + 1}: {figure}: {took * 1000:.1f} ms")
    for verb in ("apply", "destroy"):
        series[f"{verb}, links"] = [more - less for more, less in zip(
            series[f"{verb} with links"], series[verb], strict=True)]
    out = {figure: statistics.median(values) for figure, values in series.items()}
    out["apply / ip -batch"] = out["apply, links"] / out["ip -batch"]
    out["destroy / ip netns del"] = out["destroy, links"] / out["ip netns del"]
    out["destroy / ip, gone"] = out["destroy, links"] / out["ip, gone"]
    out["diff / apply of few"] = out["diff"] / out["apply of few"]
    for name in peers:
        out[f"apply of few / {name}"] = out["apply of few"] / out[name]
    return out


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--few", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="lxc,podman", help="comma separated")
    parser.add_argument("-o", choices=("text", "json"), default="text")
    words = parser.parse_args()
    if not private():
        os.environ[OUTSIDE] = os.readlink("/proc/self/ns/net")
        os.execvp("unshare", ["unshare", "-n", "-m", sys.executable, "-P", __file__, *sys.argv[1:]])
    programs = {"lxc": "lxc-start", "podman": "podman"}
    peers = tuple(name for name in words.peers.split(",") if name and shutil.which(programs[name]))
    say: Callable[[str], Any] = print if words.o == "text" else lambda line: None
    out = measure(words.count, words.few, words.rounds, peers, say)
    report(out, AIMS, f"medians of {words.rounds} rounds, {words.count} containers, few: {words.few}", words.o)
    return 0


if __name__ == "__main__":
    sys.exit(main())
