"""The price of 100 containers: one `runspec apply` against 100 x `runc run -d` and `crun run -d`, as ratios.

    .venv/bin/python -P tests/bench_apply.py [--count 100] [--rounds 5] [-o json]

Every contender starts the same busybox tree with the same limits and namespaces and all of its
process start-ups count. Rounds are interleaved, so a slow minute of the machine hits all alike; a
figure is the median of the rounds. Time decides nothing here: what fails is a container that does
not run, or something left behind.

- `apply`: from nothing to `count` running containers, wall time of the whole command.
- `apply, veth`: the same, each with a link on one bridge. For the peers, iproute2 makes a network
  namespace with its link beforehand by one `ip -batch`, which counts too, and the bundle joins it.
- `again`, `diff`: (time for `count` unchanged containers - time for one) / (count - 1), which leaves
  start-up out, against one container's share of `runc run -d`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PREFIX = "runspecbench"
# crun takes hybrid hierarchies for an error.
CRUN = ("unshare", "-m", "sh", "-c", 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"', "sh")
NET, PEERS = "10.94", "10.93"       # runspec's, and of the bridge that the peers join
OUTSIDE = "RUNSPEC_BENCH_OUTSIDE"
LIMITS = {"shares": 1000, "memory": 64 << 20, "pids": 64}
# The most that a ratio should be.
AIMS = {"apply / runc": 0.35, "apply, veth / runc": 0.6, "again / runc": 0.08, "diff / runc": 0.08}


class Bench:
    """All files of a run, and every contender; this process is already in namespaces of its own.

    Args:
        room: a directory of its own.
        count: how many containers.
    """

    def __init__(self, room: Path, count: int) -> None:
        self.room, self.count = room, count
        beside = Path(sys.executable).with_name("runspec")
        self.runspec = [str(beside)] if beside.exists() else [sys.executable, "-m", "runspec"]
        self.runspec += ["--root", "/run/runspec/bench"]
        self.names = [f"{PREFIX}{n}" for n in range(count)]
        if not private():
            raise SystemExit("bench: needs a network and a mount namespace of its own: unshare -n -m")
        self.run("sh", "-ec", "mkdir -p /run/runspec /var/lib/runspec /run/netns;"
                 "mount -t tmpfs -o mode=700 state /run/runspec;"
                 "mount -t tmpfs -o mode=755 images /var/lib/runspec; mount -t tmpfs netns /run/netns;"
                 "ip link set lo up; ip link add peers0 type bridge;"
                 f"ip addr add {PEERS}.255.1/16 dev peers0; ip link set peers0 up")
        self.write_specs()

    def write_specs(self) -> None:
        """YAML for all, for all with links, and for one."""
        def container(n: int, net: bool) -> str:
            link = (f"[{{name: eth0, type: veth, network: {PREFIX}, "
                    f"addresses: [{NET}.{n // 250}.{n % 250 + 2}/16]}}]") if net else "[]"
            return (f"apiVersion: runspec/v1\nname: {self.names[n]}\n"
                    "root: {image: busybox, readonly: true}\nprocess: {args: [/bin/sleep, '3600']}\n"
                    f"linux:\n  resources:\n    cpu: {{weight: {LIMITS['shares'] // 10}}}\n"
                    f"    memory: {{limit: {LIMITS['memory']}}}\n    pids: {{limit: {LIMITS['pids']}}}\n"
                    f"interfaces: {link}\n")
        network = (f"---\napiVersion: runspec/v1\nkind: Network\nname: {PREFIX}\ntype: bridge\n"
                   f"addresses: [{NET}.255.254/16]\n")
        numbers = range(self.count)
        self.spec(False).write_text("---\n".join(container(n, False) for n in numbers))
        self.spec(True).write_text("---\n".join(container(n, True) for n in numbers) + network)
        self.one.write_text(container(0, False))

    def spec(self, net: bool) -> Path:
        return self.room / ("linked.yaml" if net else "plain.yaml")

    @property
    def one(self) -> Path:
        return self.room / "one.yaml"

    def run(self, *command: str | Path, ok: tuple[int, ...] = (0,)) -> str:
        """Run a command; its output goes to a file, for a container's init holds open what it inherits."""
        with tempfile.TemporaryFile("w+", dir=self.room) as out:
            done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                  env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
            out.seek(0)
            text = out.read()
        if done.returncode not in ok:
            raise RuntimeError(f"{' '.join(map(str, command))[:200]}: status {done.returncode}\n{text[-2000:]}")
        return text

    def timed(self, *command: str | Path, ok: tuple[int, ...] = (0,)) -> float:
        start = time.perf_counter()
        self.run(*command, ok=ok)
        return time.perf_counter() - start

    # runspec's half

    def apply(self, net: bool) -> dict[str, float]:
        """From nothing to running, again, diff, and gone."""
        label = "apply, veth" if net else "apply"
        spec = self.spec(net)
        try:
            out = {label: self.timed(*self.runspec, "apply", "--yes", spec)}
            self.check_running(net)
            if not net:
                slope = self.count - 1 or 1
                for name, verb in (("again", ("apply", "--yes")), ("diff", ("diff",))):
                    many = self.timed(*self.runspec, *verb, spec)
                    one = self.timed(*self.runspec, *verb, self.one)
                    out[name] = (many - one) / slope
                    out[f"{name}, one alone"] = one
        finally:
            self.run(*self.runspec, "destroy", "--yes", spec, ok=(0, 1, 2))
        return out

    def check_running(self, net: bool) -> None:
        """Every container runs what it should, under its limits, and no Python stayed."""
        listed = json.loads(self.run(*self.runspec, "list", "-f", "json"))
        pids = {one["id"]: one["pid"] for one in listed if one["status"] == "running"}
        missing = set(self.names) - set(pids)
        if missing:
            raise RuntimeError(f"{len(missing)} containers of runspec do not run")
        self.check_processes([pids[name] for name in self.names], net)
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and self.inside(entry) and "python" in os.readlink(f"/proc/{entry}/exe"):
                    raise RuntimeError(f"a Python process stayed behind: {entry}")

    def inside(self, pid: str) -> bool:
        """Whether a process lives in our private mount namespace, and is not this one."""
        here = os.readlink("/proc/self/ns/mnt")
        return int(pid) != os.getpid() and os.readlink(f"/proc/{pid}/ns/mnt") == here

    def check_processes(self, pids: list[int], net: bool) -> None:
        own = os.readlink("/proc/self/ns/net")
        for pid in pids:
            if Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
                raise RuntimeError(f"process {pid} is {Path(f'/proc/{pid}/comm').read_text()}")
            if os.readlink(f"/proc/{pid}/ns/net") == own:
                raise RuntimeError(f"process {pid} shares our network")
            limit = memory_limit(pid)
            if limit != LIMITS["memory"]:
                raise RuntimeError(f"process {pid} may have {limit} bytes of memory")
            if net and "eth0" not in Path(f"/proc/{pid}/net/dev").read_text():
                raise RuntimeError(f"process {pid} has no eth0")

    # the peers' half

    def rootfs(self) -> str:
        """The tree that runspec's own image is."""
        return str(next(Path("/var/lib/runspec/images").glob("busybox-*")))

    def bundles(self, rootfs: str) -> None:
        """One bundle per container, and one that joins a network namespace."""
        base = json.loads(bundle_text())
        for net in (False, True):
            for n, name in enumerate(self.names):
                tree = json.loads(json.dumps(base))
                tree["root"] = {"path": rootfs, "readonly": True}
                tree["process"].update(terminal=False, args=["/bin/sleep", "3600"])
                tree["linux"]["cgroupsPath"] = f"/{PREFIX}/{name}"
                tree["linux"]["resources"] = {
                    "devices": tree["linux"]["resources"]["devices"], "pids": {"limit": LIMITS["pids"]},
                    "cpu": {"shares": LIMITS["shares"]}, "memory": {"limit": LIMITS["memory"]}}
                if net:
                    for one in tree["linux"]["namespaces"]:
                        if one["type"] == "network":
                            one["path"] = f"/run/netns/{PREFIX}{n}"
                where = self.bundle(n, net)
                where.mkdir(parents=True)
                (where / "config.json").write_text(json.dumps(tree))

    def bundle(self, n: int, net: bool) -> Path:
        return self.room / ("linked" if net else "plain") / str(n)

    def peer(self, name: str, net: bool) -> dict[str, float]:
        """`count` times NAME run -d, with its links where asked."""
        root = self.room / name
        try:
            start = time.perf_counter()
            if net:
                self.links()
            for n, one in enumerate(self.names):
                words = [name, "--root", str(root), "run", "-d", "--bundle", str(self.bundle(n, net)),
                         "--pid-file", str(self.room / f"{one}.pid"), one]
                if name == "crun":
                    words = [*CRUN, *words]
                self.run(*words)
            took = time.perf_counter() - start
            self.check_processes([int((self.room / f"{one}.pid").read_text()) for one in self.names], net)
        finally:
            self.sweep(name)
        return {f"{name}, veth" if net else name: took}

    def links(self) -> None:
        """A network namespace with a link on the bridge for each container."""
        batch = self.room / "batch"
        inner = "".join(f"netns add {PREFIX}{n}\nlink add pb{n} master peers0 type veth peer name eth0 "
                        f"netns {PREFIX}{n}\nlink set pb{n} up\n" for n in range(self.count))
        batch.write_text(inner)
        self.run("ip", "-batch", batch)
        for n in range(self.count):
            one = self.room / "inner"
            one.write_text(f"addr add {PEERS}.{n // 250}.{n % 250 + 2}/16 dev eth0\n"
                           "link set eth0 up\nlink set lo up\n")
            self.run("ip", "-n", f"{PREFIX}{n}", "-batch", one)

    def sweep(self, name: str) -> None:
        """Remove this runtime's containers of ours, whatever state they are in."""
        for one in self.names:
            if not (self.room / name / one).exists():
                continue
            words = [name, "--root", str(self.room / name), "delete", "--force", one]
            if name == "crun":
                words = [*CRUN, *words]
            self.run(*words, ok=(0, 1))
            (self.room / f"{one}.pid").unlink(missing_ok=True)
        names = "".join(f"netns del {PREFIX}{n}\n" for n in range(self.count))
        (self.room / "batch").write_text(names)
        self.run("ip", "-force", "-batch", self.room / "batch", ok=(0, 1, 255))
        # The kernel frees links behind a namespace's end; the next round wants their names.
        end = time.monotonic() + 30
        while "pb" in self.run("ip", "-br", "link", "show", "master", "peers0") and time.monotonic() < end:
            time.sleep(0.05)

    def close(self) -> None:
        """Nothing of ours stays: processes of our cgroups, the cgroups, the namespaces."""
        for top in own_groups():
            for procs in top.rglob("cgroup.procs"):
                for pid in procs.read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
            end = time.monotonic() + 5
            while top.exists() and time.monotonic() < end:
                for path, _, _ in os.walk(top, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(path)
                time.sleep(0.02)


def private() -> bool:
    """Whether main() has put us into namespaces of our own."""
    return os.environ.get(OUTSIDE, "") not in ("", os.readlink("/proc/self/ns/net"))


def own_groups() -> list[Path]:
    """Cgroup directories that carry our prefix."""
    top = Path("/sys/fs/cgroup")
    return [path for path in (*top.glob(f"{PREFIX}*"), *top.glob(f"*/{PREFIX}*")) if path.is_dir()]


def memory_limit(pid: int) -> int:
    """Bytes that the cgroup of a process allows it."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return int(Path(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes").read_text())
        if not controllers and Path(f"/sys/fs/cgroup{path}/memory.max").exists():
            return int(Path(f"/sys/fs/cgroup{path}/memory.max").read_text())
    return -1


def bundle_text() -> str:
    """What `runc spec` writes: all default namespaces, a cgroup namespace added where runc knows v1 only."""
    with tempfile.TemporaryDirectory() as room:
        subprocess.run(["runc", "spec", "-b", room], check=True)
        tree = json.loads(Path(room, "config.json").read_text())
    kinds = [one["type"] for one in tree["linux"]["namespaces"]]
    if "cgroup" not in kinds:
        tree["linux"]["namespaces"].append({"type": "cgroup"})
    return json.dumps(tree)


@contextlib.contextmanager
def bench(count: int) -> Iterator[Bench]:
    """A Bench that cleans up whatever happens."""
    room = Path(tempfile.mkdtemp(prefix=PREFIX))
    one = Bench(room, count)
    try:
        yield one
    finally:
        for name in ("runc", "crun"):
            if (room / name).exists():
                one.sweep(name)
        one.close()
        shutil.rmtree(room)


def measure(count: int, rounds: int, peers: tuple[str, ...], ours: bool = True,
            say: Callable[[str], object] = print) -> dict[str, float]:
    """Medians of every figure in seconds, and the ratios.

    Returns:
        figure -> seconds for all containers (`again`, `diff`: for one), `A / PEER` -> ratio.
    """
    figures: dict[str, list[float]] = {}
    with bench(count) as scene:
        if ours:
            scene.apply(False)                  # builds the image, warms the caches
            rootfs = scene.rootfs()
        else:
            rootfs = host_rootfs(scene)
        scene.bundles(rootfs)
        contenders: list[Callable[[bool], dict[str, float]]] = [scene.apply] if ours else []
        contenders += [lambda net, name=name: scene.peer(name, net) for name in peers]  # type: ignore[misc]
        for number in range(rounds):
            for net in (False, True):
                for contender in contenders:
                    for figure, took in contender(net).items():
                        figures.setdefault(figure, []).append(took)
                        say(f"round {number + 1}: {figure}: {took * 1000:.1f} ms")
    out = {figure: statistics.median(values) for figure, values in figures.items()}
    for peer in peers:
        for figure in ("apply", "apply, veth"):
            theirs = figure.replace("apply", peer)
            if figure in out:
                out[f"{figure} / {peer}"] = out[figure] / out[theirs]
        for figure in ("again", "diff"):
            if figure in out:
                out[f"{figure} / {peer}"] = out[figure] / (out[peer] / count)
    return out


def host_rootfs(scene: Bench) -> str:
    """A busybox tree for the peers alone."""
    top = scene.room / "rootfs"
    for name in ("bin", "dev", "proc", "sys", "etc"):
        (top / name).mkdir(parents=True)
    shutil.copy2(shutil.which("busybox") or "/bin/busybox", top / "bin/busybox")
    (top / "bin/sleep").symlink_to("busybox")
    return str(top)


def report(out: dict[str, float], aims: dict[str, float], title: str, form: str) -> None:
    """Print times, then ratios with what they aim at; or all of it as JSON, where the form says so."""
    if form == "json":
        print(json.dumps(out, indent=2, sort_keys=True))
        return
    print(f"\n{title}")
    for figure, value in out.items():
        if " / " not in figure:
            print(f"{figure:24} {value * 1000:10.2f} ms")
    for figure, value in out.items():
        if " / " in figure:
            aim = f"   aim: at most {aims[figure]}" if figure in aims else ""
            print(f"{figure:24} {value:10.3f}{aim}")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default="runc,crun", help="comma separated")
    parser.add_argument("--peers-only", action="store_true")
    parser.add_argument("-o", choices=("text", "json"), default="text")
    words = parser.parse_args()
    if not private():
        os.environ[OUTSIDE] = os.readlink("/proc/self/ns/net")
        os.execvp("unshare", ["unshare", "-n", "-m", sys.executable, "-P", __file__, *sys.argv[1:]])
    peers = tuple(name for name in words.peers.split(",") if name and shutil.which(name))
    say: Callable[[str], Any] = print if words.o == "text" else lambda line: None
    out = measure(words.count, words.rounds, peers, not words.peers_only, say)
    report(out, AIMS, f"medians of {words.rounds} rounds, {words.count} containers", words.o)
    return 0


if __name__ == "__main__":
    sys.exit(main())
