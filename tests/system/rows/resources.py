"""Limits, judged in the control files of the container's groups, which both versions name differently."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kernels import lacks

from rows.base import Live, Row

MIB = 1 << 20
V1 = not lacks("cgroup_v1")
NONE = -1       # no limit, on both versions
RECORDED = "no file of the kernel holds it"


def pick(v1: Any, v2: Any) -> Any:
    """What holds on the version that this kernel has."""
    return v1 if V1 else v2


class Disk:
    """A whole disk of this machine that nobody uses, if there is one; with a loop device nobody is hit."""

    def __init__(self) -> None:
        names = sorted(one.name for one in Path("/sys/block").iterdir() if Path(one, "queue/scheduler").exists())
        self.name = next((one for one in names if one.startswith("loop")), (names or ["none"])[-1])
        numbers = Path("/sys/block", self.name, "dev")
        self.numbers = numbers.read_text().strip() if numbers.exists() else "0:0"

    def entry(self, **more: object) -> dict[str, object]:
        """Its entry in a list of the file."""
        major, _, minor = self.numbers.partition(":")
        return {"major": int(major), "minor": int(minor), **more}

    @contextmanager
    def bfq(self, room: Path) -> Iterator[None]:
        """BFQ serves it for a while; others who want that wait."""
        file = Path("/sys/block", self.name, "queue/scheduler")
        subprocess.run(["modprobe", "-q", "bfq"], check=False)
        with file.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = file.read_text().partition("[")[2].partition("]")[0]
            file.write_text("bfq")
            try:
                yield
            finally:
                file.write_text(before)


DISK = Disk()


@contextmanager
def soft_rdma(room: Path) -> Iterator[None]:
    """An RDMA device in software."""
    subprocess.run(["modprobe", "rdma_rxe"], check=True)
    subprocess.run(["rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "eth0"
                    if Path("/sys/class/net/eth0").exists() else "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["rdma", "link", "delete", "rxe0"], check=True)


class File:
    """A control file that holds a value, by its names in both versions."""

    def __init__(self, v1: str, v2: str = "", word: str = "") -> None:
        self.name = pick(v1, v2)
        self.word = word        # of a line with several

    def path(self, live: Live) -> Path:
        controller = {"io": "", "blkio": "blkio"}.get(self.name.partition(".")[0], self.name.partition(".")[0])
        return live.group(controller, self.name)

    def write(self, value: object) -> Any:
        return lambda live: self.path(live).write_text(str(value)) and None

    def __call__(self, live: Live) -> int | str:
        """A number where it holds one, -1 for no limit."""
        text = self.path(live).read_text().strip()
        if self.word:
            text = next((part for line in text.splitlines() for part in line.split()
                         if part.startswith(f"{self.word}=")), f"{self.word}=max").partition("=")[2]
        if text == "max":
            return NONE
        if text.lstrip("-").isdigit():
            return NONE if int(text) > 2**62 else int(text)
        return text


def two(name: str, word: str = "") -> File:
    """A file that only v2 has."""
    return File("", name, word)


def nested(path: str, value: object) -> dict[str, Any]:
    """`cpu.weight`, 25 -> {"linux": {"resources": {"cpu": {"weight": 25}}}}."""
    for word in reversed(f"linux.resources.{path}".split(".")):
        value = {word: value}
    assert isinstance(value, dict)
    return value


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            out[key] = merged(out[key], value) if isinstance(out.get(key), dict) else value
    return out


def row(path: str, values: tuple[object, object], file: Any, expect: tuple[Any, Any], drift: Any, rest: Any,
        needs: tuple[str, ...] = (), also: dict[str, Any] | None = None, **more: Any) -> Row:
    """Values of one key; its file's default when the key is gone.

    Args:
        also: what both documents have beside it.
    """
    before, after = (merged(also or {}, {} if one is None else nested(path, one)) for one in values)
    return Row(f"linux.resources.{path}", before, after, file, expect, drift, needs, rest=rest, **more)


SHARES = File("cpu.shares", "cpu.weight")
LIMIT, PIDS = File("memory.limit_in_bytes", "memory.max"), File("pids.max", "pids.max")
RUNTIME, PERIOD = File("cpu.rt_runtime_us"), File("cpu.rt_period_us")


def cores(live: Live) -> tuple[int | str, int | str]:
    """(cpu.max's or cfs' quota, period)."""
    if V1:
        return File("cpu.cfs_quota_us")(live), File("cpu.cfs_period_us")(live)
    quota, period = live.group("cpu", "cpu.max").read_text().split()
    return NONE if quota == "max" else int(quota), int(period)


def quota(value: int) -> Any:
    """Another quota, the period left alone."""
    return File("cpu.cfs_quota_us", "cpu.max").write(value)


def memsw(live: Live) -> int | str:
    """Memory and swap, as OCI counts; v2 counts swap alone."""
    if V1:
        return File("memory.memsw.limit_in_bytes")(live)
    swap = int(two("memory.swap.max")(live))
    return swap if swap < 0 else swap + int(LIMIT(live))


def oom_disabled(live: Live) -> str:
    return live.group("memory", "memory.oom_control").read_text().splitlines()[0]


def budgets(live: Live) -> tuple[int, int, int, int]:
    """(runtime, period) of the container, then of /runspec, which must be able to give that."""
    group = Path(live.groups["cpu"])
    values = [int(Path(where, f"cpu.rt_{word}_us").read_text()) for where in (group, group.parent)
              for word in ("runtime", "period")]
    return values[0], values[1], values[2], values[3]


def partition(live: Live) -> tuple[str, str, str]:
    """(what the container's group is, which cores nobody balances, those that are left to the host)."""
    group = Path(live.groups[""])
    return (Path(group, "cpuset.cpus.partition").read_text().strip(),
            Path("/sys/fs/cgroup/cpuset.cpus.isolated").read_text().strip(),
            Path("/sys/fs/cgroup/run-in-vm/cpuset.cpus.effective").read_text().strip())


def throttle(name: str, v1: str, word: str, values: tuple[object, object], expect: tuple[int, int]) -> Row:
    file = File(f"blkio.throttle.{v1}_device", "io.max", word if not V1 else "")

    def judge(live: Live) -> int | str:
        if not V1:
            return file(live)
        text = file.path(live).read_text().split()
        return NONE if not text else int(text[text.index(DISK.numbers) + 1])

    return row(f"blockIO.{name}", tuple([DISK.entry(rate=one)] for one in values),      # type: ignore[arg-type]
               judge, expect, file.write(f"{DISK.numbers} {word + '=' if not V1 else ''}777"), NONE, ("cgroup_io",))


def weight(live: Live) -> int | str:
    """The group's weight of disks, in OCI's unit on v1, in io.weight's on v2."""
    text = live.group("blkio", pick("blkio.bfq.weight", "io.weight")).read_text()
    return int(text.split()[-1 if V1 else 1])


def disk_weight(live: Live) -> str:
    """BFQ's weight of the disk."""
    text = live.group("blkio", pick("blkio.bfq.weight_device", "io.bfq.weight")).read_text()
    return next((line.split()[1] for line in text.splitlines() if line.startswith(f"{DISK.numbers} ")), "default")


def hugetlb(live: Live) -> tuple[int | str, int | str]:
    """(pages in use, pages reserved) of 2 MiB."""
    return File("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max")(live), File(
        "hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max")(live)


def rxe(live: Live) -> str:
    """rdma.max of the software device."""
    text = live.group("rdma", "rdma.max").read_text()
    return next((line for line in text.splitlines() if line.startswith("rxe0 ")), "").strip()


def priority(live: Live) -> str:
    text = live.group("net_prio", "net_prio.ifpriomap").read_text()
    return next(line for line in text.splitlines() if line.startswith("lo "))


def opens_full(live: Live) -> bool:
    """Whether /dev/full may be opened inside."""
    return live.inside("sh", "-c", "(exec 3< /dev/full) 2> /dev/null && echo yes || echo no").strip() == "yes"


def deny_full(live: Live) -> None:
    """Takes a device away behind runspec's back."""
    live.group("devices", "devices.deny").write_text("c 1:7 rwm")


def of_unified(file: str, values: tuple[str, str], expect: tuple[Any, Any], drift: str, rest: Any, word: str = "",
               needs: tuple[str, ...] = ("cgroup_v2",), **more: Any) -> Row:
    one = two(file, word)
    before, after = ({"linux": {"resources": {"unified": {file: value}}}} for value in values)
    return Row("linux.resources.unified", before, after, one, expect, one.write(drift), needs,
               at=f"linux.resources.unified.{file}", rest=rest, **more)


V1_ONLY, V2_ONLY = ("cgroup_v1",), ("cgroup_v2",)
FIFO = {"process": {"scheduler": {"policy": "SCHED_FIFO", "priority": 1}}}
FEW = [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3}]

ROWS = (
    row("cpu.shares", (512, 2048), SHARES, pick((512, 2048), (20, 79)), SHARES.write(300), pick(1000, 100)),
    row("cpu.weight", (25, 75), SHARES, pick((250, 750), (25, 75)), SHARES.write(300), pick(1000, 100)),
    row("cpu.quota", ("25%", "50%"), cores, ((25000, 100000), (50000, 100000)), quota(30000), (NONE, 100000)),
    row("cpu.period", ("50ms", "20ms"), cores, ((10000, 50000), (10000, 20000)),
        File("cpu.cfs_period_us", "cpu.max").write(pick(30000, "10000 30000")), (NONE, 100000),
        also=nested("cpu.quota", "10ms")),
    row("cpu.burst", ("1ms", "2ms"), File("cpu.cfs_burst_us", "cpu.max.burst"), (1000, 2000),
        File("cpu.cfs_burst_us", "cpu.max.burst").write(3000), 0, also=nested("cpu.quota", "25%")),
    row("cpu.cpus", ("0", "1"), File("cpuset.cpus", "cpuset.cpus"), (0, 1),
        File("cpuset.cpus", "cpuset.cpus").write("0-1"), "0-1", ("two_cores",)),
    row("cpu.mems", (None, "0"), two("cpuset.mems"), ("", 0),
        "with one node of memory there is no other value that a group with processes can have", 0, V2_ONLY),
    row("cpu.idle", (0, 1), File("cpu.idle", "cpu.idle"), (0, 1), File("cpu.idle", "cpu.idle").write(0), 0),
    row("cpu.realtimeRuntime", ("10ms", "20ms"), budgets, ((10000, 1000000, 10000, 1000000),
        (20000, 1000000, 20000, 1000000)), RUNTIME.write(5000), (0, 1000000, 0, 1000000), ("rt_group",)),
    row("cpu.realtimePeriod", ("200ms", "100ms"), budgets, ((10000, 200000, 50000, 1000000),
        (10000, 100000, 100000, 1000000)), PERIOD.write(400000), (0, 1000000, 0, 1000000), ("rt_group",),
        also=merged(nested("cpu.realtimeRuntime", "10ms"), FIFO)),
    row("cpu.partition", ("root", "isolated"), partition, (("root", "", "0"), ("isolated", "1", "0")),
        two("cpuset.cpus.partition").write("member"), ("member", "", "0-1"), ("partition",),
        also=nested("cpu.cpus", "1")),
    row("memory.limit", ("64Mi", "48Mi"), LIMIT, (64 * MIB, 48 * MIB), LIMIT.write(80 * MIB), NONE),
    row("memory.reservation", ("32Mi", "24Mi"), File("memory.soft_limit_in_bytes", "memory.low"), (32 * MIB, 24 * MIB),
        File("memory.soft_limit_in_bytes", "memory.low").write(8 * MIB), pick(NONE, 0)),
    row("memory.swap", ("128Mi", "96Mi"), memsw, (128 * MIB, 96 * MIB),
        File("memory.memsw.limit_in_bytes", "memory.swap.max").write(pick(80, 8) * MIB), NONE,
        also=nested("memory.limit", "64Mi")),
    row("memory.swappiness", (10, 20), File("memory.swappiness"), (10, 20), File("memory.swappiness").write(30), 60,
        V1_ONLY),
    row("memory.disableOOMKiller", (False, True), oom_disabled, ("oom_kill_disable 0", "oom_kill_disable 1"),
        File("memory.oom_control").write(0), "oom_kill_disable 0", V1_ONLY),
    row("memory.useHierarchy", (None, True), lambda live: V1 and File("memory.use_hierarchy")(live),
        pick((1, 1), (False, False)), "groups count what is below them on every kernel", pick(1, False)),
    row("memory.checkBeforeUpdate", (False, True), LIMIT, (64 * MIB, 64 * MIB), RECORDED, NONE,
        also=nested("memory.limit", "64Mi")),
    row("memory.kernel", (None, -1), LIMIT, (NONE, NONE), RECORDED, NONE),
    row("memory.kernelTCP", ("8Mi", "4Mi"), File("memory.kmem.tcp.limit_in_bytes"), (8 * MIB, 4 * MIB),
        File("memory.kmem.tcp.limit_in_bytes").write(2 * MIB), NONE, V1_ONLY),
    row("memory.high", ("64Mi", "48Mi"), two("memory.high"), (64 * MIB, 48 * MIB), two("memory.high").write("max"),
        NONE, V2_ONLY),
    row("memory.low", ("64Mi", "48Mi"), two("memory.low"), (64 * MIB, 48 * MIB), two("memory.low").write(0), 0,
        V2_ONLY),
    row("memory.min", ("16Mi", "8Mi"), two("memory.min"), (16 * MIB, 8 * MIB), two("memory.min").write(0), 0,
        V2_ONLY),
    row("memory.oomGroup", (False, True), two("memory.oom.group"), (0, 1), two("memory.oom.group").write(0), 0,
        V2_ONLY),
    row("pids.limit", (64, 128), PIDS, (64, 128), PIDS.write(99), 4096),
    row("blockIO.weight", (300, 500), weight, pick((300, 500), (2930, 4950)),
        File("blkio.bfq.weight", "io.weight").write(pick(200, "default 200")), 100, ("cgroup_io",)),
    row("blockIO.weightDevice", ([DISK.entry(weight=200)], [DISK.entry(weight=400)]), disk_weight, ("200", "400"),
        File("blkio.bfq.weight_device", "io.bfq.weight").write(f"{DISK.numbers} 50"), "default", ("bfq",),
        around=DISK.bfq),
    throttle("throttleReadBpsDevice", "read_bps", "rbps", ("10Mi", "20Mi"), (10 * MIB, 20 * MIB)),
    throttle("throttleWriteBpsDevice", "write_bps", "wbps", ("10Mi", "20Mi"), (10 * MIB, 20 * MIB)),
    throttle("throttleReadIOPSDevice", "read_iops", "riops", (500, 700), (500, 700)),
    throttle("throttleWriteIOPSDevice", "write_iops", "wiops", (500, 700), (500, 700)),
    row("hugepageLimits", ([{"pageSize": "2MB", "limit": "64Mi"}], [{"pageSize": "2MB", "limit": "5Mi"}]), hugetlb,
        ((64 * MIB, 64 * MIB), (4 * MIB, 4 * MIB)), File("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.max").write(
            2 * MIB), (NONE, NONE), ("hugetlb",)),
    row("rdma", ({"rxe0": {"hcaHandles": 2}}, {"rxe0": {"hcaHandles": 3, "hcaObjects": 2000}}), rxe,
        ("rxe0 hca_handle=2 hca_object=max", "rxe0 hca_handle=3 hca_object=2000"),
        File("rdma.max", "rdma.max").write("rxe0 hca_handle=9"), "rxe0 hca_handle=max hca_object=max", ("rdma",),
        at="linux.resources.rdma.rxe0", around=soft_rdma),
    row("network.classID", (1048577, 1048578), File("net_cls.classid", "net_cls.classid"), (1048577, 1048578),
        File("net_cls.classid", "net_cls.classid").write(7), 0, ("net_cls",)),
    row("network.priorities", ([{"name": "lo", "priority": 4}], [{"name": "lo", "priority": 5}]), priority,
        ("lo 4", "lo 5"), File("net_prio.ifpriomap", "net_prio.ifpriomap").write("lo 9"), "lo 0", ("net_prio",)),
    row("devices", (FEW, [*FEW, {"allow": True, "type": "c", "major": 1, "minor": 7}]), opens_full, (False, True),
        deny_full if V1 else "a program that another puts beside it is found by the drift tests of cgroup v2", True),
    of_unified("memory.high", ("64M", "48M"), (64 * MIB, 48 * MIB), "max", NONE),
    of_unified("cpu.weight.nice", ("5", "-5"), (5, -5), "0", 0),
    of_unified("hugetlb.2MB.max", ("64M", "4M"), (64 * MIB, 4 * MIB), "2097152", NONE, needs=("cgroup_v2", "hugetlb")),
    of_unified("io.max", (f"{DISK.numbers} rbps=1048576", f"{DISK.numbers} rbps=2097152"), (MIB, 2 * MIB),
               f"{DISK.numbers} rbps=max", NONE, word="rbps", needs=("cgroup_v2", "cgroup_io")),
    of_unified("rdma.max", ("rxe0 hca_handle=2", "rxe0 hca_handle=3"), (2, 3), "rxe0 hca_handle=max", NONE,
               word="hca_handle", needs=("cgroup_v2", "rdma"), around=soft_rdma),
)
