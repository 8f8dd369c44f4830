"""The picture that `tree` draws: pure text from what the kernel was seen to show."""

from __future__ import annotations

from runspec.cli.words import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

GAP = "   "


class Node:
    """A box of the picture: its label, the boxes right of it, and the columns beside its first line."""

    __slots__ = ("beside", "children", "label")

    def __init__(self, label: str, children: Sequence[Node] = (), beside: Sequence[str] = ()) -> None:
        self.label, self.children, self.beside = label, children, beside


class Proc:
    """A process: pids on the host and inside, the host's pid of its parent, its name."""

    __slots__ = ("comm", "inside", "pid", "ppid")

    def __init__(self, pid: int, inside: int, ppid: int, comm: str) -> None:
        self.pid, self.inside, self.ppid, self.comm = pid, inside, ppid, comm


def draw(root: Node) -> str:
    """The tree as pstree(1) draws it, with aligned columns beside it."""
    lines = _lines(root)
    width = max(len(text) for text, _ in lines)
    columns = max((len(beside) for _, beside in lines), default=0)
    widths = [max(len(beside[i]) for _, beside in lines if len(beside) > i) for i in range(columns)]
    out = []
    for text, beside in lines:
        row = [text.ljust(width), *(cell.ljust(wide) for cell, wide in zip(beside, widths, strict=False))]
        out.append(GAP.join(row).rstrip())
    return "\n".join(out)


def _lines(node: Node) -> list[tuple[str, Sequence[str]]]:
    """The block of a node: (text, columns beside it) a line."""
    if not node.children:
        return [(node.label, node.beside)]
    out: list[tuple[str, Sequence[str]]] = []
    pad, last = " " * len(node.label), len(node.children) - 1
    for number, child in enumerate(node.children):
        for row, (text, beside) in enumerate(_lines(child)):
            if number == row == 0:
                out.append((node.label + ("─┬─" if last else "───") + text, node.beside or beside))
            else:
                edge = ("└─" if number == last else "├─") if row == 0 else ("  " if number == last else "│ ")
                out.append((f"{pad} {edge}{text}", beside))
    return out


def forest(processes: Iterable[Proc], init: int) -> list[Node]:
    """Processes of one container as nodes: below their parents where those are in it too.

    Siblings are in the order of their names, then pids; init comes first of the roots. A process that
    `exec` brought in has its parent outside, so it is a root beside init.
    """
    by_pid = {one.pid: one for one in processes}
    below: dict[int, list[Proc]] = {}
    for one in by_pid.values():
        # A parent of its own (a torn reading) would never be reached from any root.
        below.setdefault(one.ppid if one.ppid in by_pid and one.ppid != one.pid else 0, []).append(one)

    def node(one: Proc) -> Node:
        return Node(f"{plain(one.comm)}({one.pid})({one.inside})",
                    [node(child) for child in _ordered(below.get(one.pid, []), init)])

    return [node(one) for one in _ordered(below.get(0, []), init)]


def _ordered(processes: list[Proc], init: int) -> list[Proc]:
    return sorted(processes, key=lambda one: (one.pid != init, one.comm, one.pid))


def parse_cpus(text: str) -> frozenset[int]:
    """A list of cores, cpuset(7) "List format": `0-1,3` -> {0, 1, 3}."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            found.update(range(int(first), int(last if last.isdigit() else first) + 1))
    return frozenset(found)


def share_text(cpus: str, weight: float, rivals: Iterable[tuple[str, float]], quota: int, period: int) -> str:
    """What a group of processes gets of its cores: `25% of core 0`.

    Args:
        cpus: the cores it may use, as a cpuset list.
        weight: as the file says it; 0 where the kernel tells none.
        rivals: (cores, weight) of the other groups below the same parent that hold processes.
        quota, period: microseconds; quota <= 0 for none.

    Returns:
        The part it gets while all of them want the cores. Where others use only some of these
        cores there is no single such number: then the weight itself.
    """
    mine = parse_cpus(cpus)
    where = f"core {cpus}" if len(mine) == 1 else f"cores {cpus}" if mine else "all cores"
    if quota > 0 and period > 0:
        percent = _percent(100 * quota / period)
        return (
            f"at most {percent} of {where}"
            if len(mine) == 1
            else f"at most {percent} of one core, on {where}"
        )
    if weight <= 0:
        return where
    total = weight
    for cores, other in rivals:
        theirs = parse_cpus(cores)
        if theirs == mine:
            total += other
        elif theirs & mine:
            return f"weight {weight:g} on {where}"
    return f"{_percent(100 * weight / total)} of {where}"


def _percent(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") + "%"


def root_text(mountinfo: str) -> str:
    """Where a process's root comes from, of its /proc/PID/mountinfo: the overlay's upper directory, else
    the directory on its file system, proc_pid_mountinfo(5)."""
    found = ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ", 2)
        if len(fields) < 6 or len(tail) < 3 or fields[4] != "/":
            continue
        upper = next((word[9:] for word in tail[2].split(",") if word.startswith("upperdir=")), "")
        # A directory bound as root shows as itself; a whole file system shows as its source.
        bound = fields[3] if fields[3] != "/" else tail[1]
        found = (upper or "overlay") if tail[0] == "overlay" else bound
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        found = found.replace(code, char)
    return plain(found)


def links_text(interfaces: Sequence[dict[str, Any]], devices: str | None = None) -> str:
    """The interfaces of a Record, each with its type and what it is on: `eth0 macvlan (vepa) on eth1`.

    Args:
        devices: /proc/PID/net/dev, None where it is not known: who is not in it is gone.
    """
    words, here = [], {line.partition(":")[0].strip() for line in (devices or "").splitlines()}
    for one in interfaces:
        mode, vlan = one.get("mode"), one.get("vlan")
        more = f" ({vlan['protocol']} {vlan['id']})" if vlan else f" ({mode})" if mode and one["type"] != "veth" else ""
        where = one.get("parent") or one.get("network")
        words.append(f"{one['name']} {one['type']}{more} " + (f"on {where}" if where else "routed")
                     + (" (gone)" if devices is not None and one["name"] not in here else ""))
    return plain(", ".join(words))


def proc_tree(processes: Iterable[Proc], init: int) -> list[dict[str, Any]]:
    """The same processes as plain data for JSON, in the order of the picture's rows."""
    return [{"pid": one.pid, "pidInside": one.inside, "ppid": one.ppid, "comm": one.comm}
            for one in _ordered(list(processes), init)]
