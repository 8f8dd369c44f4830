"""What files below /proc say, as values: pure functions on bytes, proc(5)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

INFINITY = -1


class Mount:
    """One line of mountinfo, proc_pid_mountinfo(5).

    Attributes:
        id, device: of the mount, "major:minor" of its super block.
        root, mount_point: paths in its file system and in its namespace, unescaped.
        options, propagation: of the mount; super_options: of its super block.
        fstype, source: as mounted.
    """

    __slots__ = ("device", "fstype", "id", "mount_point", "options", "propagation", "root", "source",
                 "super_options")

    def __init__(self, words: list[str], dash: int) -> None:
        self.id, self.device = int(words[0]), words[2]
        self.root, self.mount_point = unescape(words[3]), unescape(words[4])
        self.options, self.propagation = tuple(words[5].split(",")), tuple(words[6:dash])
        self.fstype = words[dash + 1]
        self.source = unescape(words[dash + 2])
        self.super_options = tuple(unescape(words[dash + 3]).split(",")) if len(words) > dash + 3 else ()


def unescape(text: str) -> str:
    """`\\040` and its like, by which the kernel writes blanks, tabs, newlines and backslashes."""
    if "\\" not in text:
        return text
    head, *rest = text.split("\\")
    return head + "".join(chr(int(one[:3], 8)) + one[3:] if one[:3].isdigit() else "\\" + one for one in rest)


def parse_mountinfo(data: bytes) -> list[Mount]:
    """The mounts of a namespace, in the order in which they were made."""
    out = []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        words = line.split(" ")
        if len(words) > 8 and "-" in words[6:]:
            out.append(Mount(words, words.index("-", 6)))
    return out


class Status:
    """The fields of /proc/PID/status that runspec compares, proc_pid_status(5); capability sets are bit masks."""

    __slots__ = ("cap_ambient", "cap_bounding", "cap_effective", "cap_inheritable", "cap_permitted", "gid", "groups",
                 "no_new_privs", "ns_pid", "parent", "state", "uid", "umask")

    def __init__(self) -> None:
        self.cap_ambient = self.cap_bounding = self.cap_effective = self.cap_inheritable = self.cap_permitted = 0
        self.uid = self.gid = self.umask = self.parent = self.ns_pid = 0
        self.groups: tuple[int, ...] = ()
        self.no_new_privs = False
        self.state = ""


_CAPS = {"CapInh": "cap_inheritable", "CapPrm": "cap_permitted", "CapEff": "cap_effective",
         "CapBnd": "cap_bounding", "CapAmb": "cap_ambient"}


def parse_status(data: bytes) -> Status:
    """Read it; what a dead process's file lacks stays zero."""
    out = Status()
    for line in data.decode("utf-8", "replace").split("\n"):
        name, _, value = line.partition(":\t")
        if name in _CAPS:
            setattr(out, _CAPS[name], int(value, 16))
        elif name == "Uid":
            out.uid = int(value.split()[1])
        elif name == "Gid":
            out.gid = int(value.split()[1])
        elif name == "Groups":
            out.groups = tuple(map(int, value.split()))
        elif name == "Umask":
            out.umask = int(value, 8)
        elif name == "NoNewPrivs":
            out.no_new_privs = value.strip() == "1"
        elif name == "NSpid":
            out.ns_pid = int(value.split()[-1])
        elif name == "PPid":
            out.parent = int(value)
        elif name == "State":
            out.state = value[:1]
    return out


_LIMITS = {
    "Max cpu time": "CPU", "Max file size": "FSIZE", "Max data size": "DATA", "Max stack size": "STACK",
    "Max core file size": "CORE", "Max resident set": "RSS", "Max processes": "NPROC", "Max open files": "NOFILE",
    "Max locked memory": "MEMLOCK", "Max address space": "AS", "Max file locks": "LOCKS",
    "Max pending signals": "SIGPENDING", "Max msgqueue size": "MSGQUEUE", "Max nice priority": "NICE",
    "Max realtime priority": "RTPRIO", "Max realtime timeout": "RTTIME"}


def parse_limits(data: bytes) -> dict[str, tuple[int, int]]:
    """RLIMIT_* -> (soft, hard), -1 for unlimited, proc_pid_limits(5)."""
    out = {}
    for line in data.decode("ascii", "replace").split("\n"):
        name = _LIMITS.get(line[:26].rstrip())
        words = line[26:].split()
        if name and len(words) >= 2:
            out["RLIMIT_" + name] = (_limit(words[0]), _limit(words[1]))
    return out


def _limit(word: str) -> int:
    return INFINITY if word == "unlimited" else int(word)


def parse_id_map(data: bytes) -> tuple[tuple[int, int, int], ...]:
    """Lines of uid_map or gid_map as (inside, outside, size), user_namespaces(7)."""
    rows = (line.split() for line in data.decode("ascii", "replace").splitlines())
    return tuple((int(a), int(b), int(c)) for a, b, c in rows)


def parse_cgroup(data: bytes) -> Iterator[tuple[tuple[str, ...], str]]:
    """(controllers, path) of each line of /proc/PID/cgroup; no controllers: the unified one, cgroups(7)."""
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        _, names, path = line.split(":", 2)
        yield tuple(names.split(",")) if names else (), path
