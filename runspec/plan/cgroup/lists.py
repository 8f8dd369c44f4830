"""Files with a line for each disk, page size, device or interface: their knobs depend on what is asked."""

from __future__ import annotations

from runspec.plan.cgroup.knob import UNLIMITED, Edit, Knob
from runspec.spec.frozen import key
from runspec.spec.model import HugepageLimit, Rdma, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runspec.plan.host import Host

BFQ = 100               # io.bfq.weight and io.weight of a new group
NO_OBJECTS = "hca_handle=max hca_object=max"
UNITS = {"K": 10, "M": 20, "G": 30}
# Field of BlockIO -> its file of v1, its key in io.max.
THROTTLES = {"read_bps": ("blkio.throttle.read_bps_device", "rbps"),
             "write_bps": ("blkio.throttle.write_bps_device", "wbps"),
             "read_iops": ("blkio.throttle.read_iops_device", "riops"),
             "write_iops": ("blkio.throttle.write_iops_device", "wiops")}


def knobs(r: Resources, host: Host) -> list[Knob]:
    """What these resources ask of such files, of the version that serves each controller here."""
    out: list[Knob] = []
    block = r.block_io
    if block.weight is not None or block.weight_device:
        out += _weights(host)
    for field, (file, word) in THROTTLES.items():
        if getattr(block, field):
            out += _throttle(host, field, file, word)
    for huge in r.hugepage_limits:
        out += _hugetlb(host, huge.page_size)
    version = host.version_of("rdma")
    out += [_rdma("rdma" if version == 1 else "", one.device) for one in r.rdma if version]
    if r.network.class_id is not None and host.version_of("net_cls") == 1:
        out.append(Knob("network.classID", "net_cls", "net_cls.classid", lambda r, h: r.network.class_id, int,
                        lambda r, h: str(r.network.class_id), 0, reset="0"))
    if r.network.priorities and host.version_of("net_prio") == 1:
        out.append(_keyed("network.priorities", "net_prio", "net_prio.ifpriomap", lambda r, h: tuple(
            f"{one.name} {one.priority}" for one in r.network.priorities if one.priority) or None, _nonzero, "0"))
    return out


# -- keyed lines --

def _keyed(path: str, controller: str, file: str, want: Callable[[Resources, Host], Any],
           parse: Callable[[str], tuple[str, ...]], nothing: str, prefix: str = "",
           put: Callable[[str], str] = str) -> Knob:
    """A knob whose value is a tuple of "KEY VALUE".

    Args:
        nothing: what is written behind a key to have no value there.
        prefix: of a value in the file.
        put: a value -> how the file has it.
    """
    def edits(wanted: tuple[str, ...] | None, text: str) -> list[Edit]:
        have, goal = (dict(map(_pair, lines)) for lines in (parse(text), wanted or ()))

        def word(of: dict[str, str], one: str) -> str:
            return prefix + (put(of[one]) if one in of else nothing)

        return [(one, word(goal, one), word(have, one))
                for one in dict.fromkeys((*goal, *have)) if goal.get(one) != have.get(one)]

    return Knob(path, controller, file, want, parse, lambda r, h: "", (), reset=nothing, edits=edits)


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(" ")
    return name, value


def _lines(text: str) -> tuple[str, ...]:
    """"8:0 100" of each disk, in the order of their numbers."""
    return tuple(sorted((" ".join(line.split()) for line in text.splitlines() if line[:1].isdigit()), key=_numbers))


def _numbers(line: str) -> tuple[int, int]:
    major, _, minor = line.partition(" ")[0].partition(":")
    return int(major), int(minor)


def _nonzero(text: str) -> tuple[str, ...]:
    return tuple(sorted(line for line in text.splitlines() if not line.endswith(" 0")))


# -- disks --

def _throttle(host: Host, field: str, file: str, word: str) -> list[Knob]:
    path = f"blockIO.{key(field)}"

    def want(r: Resources, h: Host) -> tuple[str, ...] | None:
        return tuple(f"{one.major}:{one.minor} {one.rate}" for one in getattr(r.block_io, field)) or None

    if host.version_of("blkio") == 1:
        return [_keyed(path, "blkio", file, want, _lines, "0")]
    return [_keyed(path, "", "io.max", want, lambda text: _of_max(text, word), "max", f"{word}=")] * (
        host.version_of("io") == 2)


def _of_max(text: str, word: str) -> tuple[str, ...]:
    """One key of io.max's lines, "8:0 rbps=max wbps=1024 riops=max wiops=max"."""
    out = []
    for line in _lines(text):
        device, *pairs = line.split()
        value = dict(pair.partition("=")[::2] for pair in pairs).get(word, "max")
        if value != "max":
            out.append(f"{device} {value}")
    return tuple(out)


def _weights(host: Host) -> list[Knob]:
    """Of BFQ where it serves disks, and of the cost model of cgroup2 where the kernel has it."""
    if host.version_of("blkio") == 1:
        return [Knob("blockIO.weight", "blkio", "blkio.bfq.weight", lambda r, h: r.block_io.weight, int,
                     lambda r, h: str(r.block_io.weight), BFQ, reset=str(BFQ)),
                _keyed("blockIO.weightDevice", "blkio", "blkio.bfq.weight_device",
                       lambda r, h: _of_disks(r, h, None) or None, _lines, "default")]
    out: list[Knob] = []
    if "io.bfq.weight" in host.features:
        out += [_default("io.bfq.weight", int, int),
                _keyed("blockIO.weightDevice", "", "io.bfq.weight", lambda r, h: _of_disks(r, h, True), _lines,
                       "default")]
    if "io.weight" in host.features:
        out += [_default("io.weight", cost, from_cost),
                _keyed("blockIO.weightDevice", "", "io.weight", lambda r, h: _of_disks(r, h, False),
                       lambda text: tuple(f"{name} {from_cost(value)}" for name, value in map(_pair, _lines(text))),
                       "default", put=lambda value: str(cost(int(value))) if value.isdigit() else value.split()[0])]
    return out


def _of_disks(r: Resources, host: Host, bfq: bool | None) -> tuple[str, ...] | None:
    """Weights of disks, those that BFQ serves or the others; None where no disk is named at all."""
    if not r.block_io.weight_device:
        return None
    found = ((f"{one.major}:{one.minor}", one.weight) for one in r.block_io.weight_device)
    return tuple(f"{disk} {weight}" for disk, weight in found
                 if weight is not None and bfq in (None, f"bfq {disk}" in host.features))


def _default(file: str, put: Callable[[int], int], take: Callable[[str], int | str]) -> Knob:
    def parse(text: str) -> int | str:
        for line in text.splitlines():
            if line.startswith("default "):
                return take(line.split()[1])
        return take(str(BFQ))

    def edits(wanted: int | None, text: str) -> list[Edit]:
        now = next((line.split()[1] for line in text.splitlines() if line.startswith("default ")), str(BFQ))
        return [("default", str(BFQ if wanted is None else put(wanted)), now)]

    return Knob("blockIO.weight", "", file, lambda r, h: r.block_io.weight, parse, lambda r, h: "", None,
                reset=str(BFQ), edits=edits)


def cost(weight: int) -> int:
    """OCI's 10..1000 as io.weight's 1..10000, as runtimes agreed on it."""
    return 1 + (weight - 10) * 9999 // 990


def from_cost(text: str) -> int | str:
    """io.weight in OCI's unit, where it has a word for it."""
    weight = 10 + -(-(int(text) - 1) * 990 // 9999)
    return weight if cost(weight) == int(text) else f"{text} of 10000"


# -- huge pages and RDMA --

def _hugetlb(host: Host, size: str) -> list[Knob]:
    """Pages in use and pages reserved: a program gets what it reserved when it touches it."""
    version, step = host.version_of("hugetlb"), page_bytes(size)

    def amount(number: int) -> str:
        # Without a limit v1 shows the largest whole number of such pages.
        return "max" if number < 0 or number >= 2**62 else str(number // step * step)

    def asked(r: Resources) -> HugepageLimit | None:
        return next((one for one in r.hugepage_limits if one.page_size == size), None)

    def want(r: Resources, h: Host) -> str | None:
        one = asked(r)
        return None if one is None else f"{size} {amount(one.limit)}"

    def text(r: Resources, h: Host) -> str:
        word = (want(r, h) or "").rpartition(" ")[2]
        return str(UNLIMITED) if word == "max" and version == 1 else word

    files = ("limit_in_bytes", "rsvd.limit_in_bytes") if version == 1 else ("max", "rsvd.max")
    return [Knob("hugepageLimits", "hugetlb" if version == 1 else "", f"hugetlb.{size}.{file}", want,
                 lambda shown: f"{size} {amount(-1 if shown == 'max' else int(shown))}", text, f"{size} max",
                 reset=str(UNLIMITED) if version == 1 else "max") for file in files] * bool(version)


def page_bytes(size: str) -> int:
    """"2MB" -> 2097152; 1 for what is no size."""
    return int(size[:-2]) << UNITS[size[-2]] if size[:-2].isdigit() and size[-2] in UNITS else 1


def _rdma(controller: str, device: str) -> Knob:
    def asked(r: Resources) -> Rdma | None:
        return next((one for one in r.rdma if one.device == device), None)

    def want(r: Resources, h: Host) -> str | None:
        one = asked(r)
        return None if one is None else " ".join(
            f"{name}={'max' if value is None else value}"
            for name, value in (("hca_handle", one.hca_handles), ("hca_object", one.hca_objects)))

    def parse(text: str) -> str:
        for line in text.splitlines():
            name, _, rest = line.partition(" ")
            if name == device:
                return rest.strip()
        return NO_OBJECTS

    return Knob(f"rdma.{device}", controller, "rdma.max", want, parse, lambda r, h: "", NO_OBJECTS, reset=NO_OBJECTS,
                edits=lambda wanted, text: [(device, wanted or NO_OBJECTS, parse(text))])
