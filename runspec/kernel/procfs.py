"""What proc(5) says of a process and of mounts: parsers from bytes, pure and quick."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Words = tuple[str, ...]
    Tail = tuple[str, str, Words, Words, str, str, Words, str]

INFINITY = 2**64 - 1

# proc(5)'s words for getrlimit(2)'s names.
_LIMITS = {
    b"Max cpu time": "RLIMIT_CPU", b"Max file size": "RLIMIT_FSIZE", b"Max data size": "RLIMIT_DATA",
    b"Max stack size": "RLIMIT_STACK", b"Max core file size": "RLIMIT_CORE",
    b"Max resident set": "RLIMIT_RSS", b"Max processes": "RLIMIT_NPROC",
    b"Max open files": "RLIMIT_NOFILE", b"Max locked memory": "RLIMIT_MEMLOCK",
    b"Max address space": "RLIMIT_AS", b"Max file locks": "RLIMIT_LOCKS",
    b"Max pending signals": "RLIMIT_SIGPENDING", b"Max msgqueue size": "RLIMIT_MSGQUEUE",
    b"Max nice priority": "RLIMIT_NICE", b"Max realtime priority": "RLIMIT_RTPRIO",
    b"Max realtime timeout": "RLIMIT_RTTIME",
}


class Mount:
    """One line of mountinfo.

    Attributes:
        device: "major:minor".
        options, super_options: words of the mount and of its super block.
        propagation: optional fields, "shared:1", "master:2", "unbindable".
        tail: the text of all but its numbers, the same for mounts that are alike.
    """

    __slots__ = ("device", "fstype", "id", "mount_point", "options", "parent", "propagation", "root",
                 "source", "super_options", "tail")

    def __init__(self, id: int, parent: int, device: str, root: str, mount_point: str,
                 options: tuple[str, ...], propagation: tuple[str, ...], fstype: str, source: str,
                 super_options: tuple[str, ...], tail: str = "") -> None:
        self.id, self.parent, self.device, self.root, self.mount_point = id, parent, device, root, mount_point
        self.options, self.propagation, self.fstype, self.source = options, propagation, fstype, source
        self.super_options, self.tail = super_options, tail

    def __repr__(self) -> str:
        return f"Mount({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class Status:
    """What runspec compares of /proc/PID/status; capability sets are bit masks.

    Attributes:
        uid, gid: real, effective, saved, file system.
        nspid: the pid in each nested pid namespace, outermost first.
        umask: None where the process is a zombie.
    """

    __slots__ = ("cap_ambient", "cap_bounding", "cap_effective", "cap_inheritable", "cap_permitted",
                 "gid", "groups", "name", "no_new_privs", "nspid", "pid", "ppid", "seccomp", "seccomp_filters", "state",
                 "threads", "uid", "umask")

    def __init__(self) -> None:
        self.name = self.state = ""
        self.pid = self.ppid = self.seccomp = self.seccomp_filters = self.threads = 0
        self.uid: tuple[int, ...] = ()
        self.gid: tuple[int, ...] = ()
        self.groups: tuple[int, ...] = ()
        self.nspid: tuple[int, ...] = ()
        self.umask: int | None = None
        self.no_new_privs = False
        self.cap_inheritable = self.cap_permitted = self.cap_effective = 0
        self.cap_bounding = self.cap_ambient = 0


_NUMBERS = {b"Uid": "uid", b"Gid": "gid", b"Groups": "groups", b"NSpid": "nspid"}
_NUMBER = {b"Pid": "pid", b"PPid": "ppid", b"Seccomp": "seccomp",
           b"Seccomp_filters": "seccomp_filters", b"Threads": "threads"}
_MASKS = {b"CapInh": "cap_inheritable", b"CapPrm": "cap_permitted", b"CapEff": "cap_effective",
          b"CapBnd": "cap_bounding", b"CapAmb": "cap_ambient"}


def unescape(text: bytes) -> str:
    """A path with proc(5)'s octal escapes taken back: blank, tab, newline, backslash, '#'."""
    if b"\\" not in text:
        return text.decode("utf-8", "surrogateescape")
    first, *rest = text.split(b"\\")
    out = bytearray(first)
    for part in rest:
        code = part[:3]
        if len(code) == 3 and all(48 <= c < 56 for c in code) and code[0] < 52:
            out.append(int(code, 8))
            out += part[3:]
        else:
            out += b"\\" + part
    return out.decode("utf-8", "surrogateescape")


def parse_mountinfo(data: bytes) -> list[Mount]:
    """The lines of /proc/PID/mountinfo, in order; broken lines are left out.

    See: proc_pid_mountinfo(5).
    """
    out = []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        try:
            number, parent, device, tail = line.split(" ", 3)
            out.append(Mount(int(number), int(parent), device, *(_TAILS.get(tail) or _tail(tail))))
        except ValueError:
            continue
    return out


_TAILS: dict[str, Tail] = {}


def _tail(text: str) -> Tail:
    """What a line says from its root on, remembered."""
    words = text.split(" ")
    # The separator comes after any number of optional fields; a path cannot be it, blanks are escaped.
    end = words.index("-", 3)
    fstype, source, options = words[end + 1:end + 4]
    root, point, own, more, last = words[0], words[1], words[2].split(","), words[3:end], options.split(",")
    if "\\" in text:
        root, point, source, *rest = (unescape(one.encode("utf-8", "surrogateescape"))
                                      for one in (root, point, source, *own, *last))
        own, last = rest[:len(own)], rest[len(own):]
    found = _TAILS[text] = (root, point, tuple(filter(None, own)), tuple(filter(None, more)), fstype, source,
                            tuple(filter(None, last)), text)
    return found


def parse_status(data: bytes) -> Status:
    """The fields of /proc/PID/status that runspec knows; missing ones keep their zero.

    See: proc_pid_status(5).
    """
    out = Status()
    for line in data.split(b"\n"):
        name, _, text = line.partition(b":")
        if name in _NUMBERS:
            setattr(out, _NUMBERS[name], tuple(map(int, text.split())))
        elif name in _MASKS:
            setattr(out, _MASKS[name], int(text, 16))
        elif name in _NUMBER:
            setattr(out, _NUMBER[name], int(text))
        elif name == b"NoNewPrivs":
            out.no_new_privs = text.strip() == b"1"
        elif name == b"Umask":
            out.umask = int(text, 8)
        elif name == b"State":
            out.state = text.split()[0].decode()
        elif name == b"Name":
            out.name = text.strip(b"\t").decode("utf-8", "replace")
    return out


def parse_rights(data: bytes) -> Status:
    """What parse_status says of capabilities, no_new_privs and filters, and nothing else; only to be read."""
    text = data[max(0, data.find(b"\nCapInh:")):data.find(b"\nCpus_allowed:")]
    if text not in _RIGHTS:
        _RIGHTS[text] = parse_status(text)
    return _RIGHTS[text]


_RIGHTS: dict[bytes, Status] = {}


def parse_stat(data: bytes) -> tuple[str, str, int, int]:
    """(comm, state, parent's pid, start time in clock ticks after boot) of /proc/PID/stat.

    Raises:
        ValueError: this is no such line.

    See: proc_pid_stat(5).
    """
    # The command name may hold blanks and parentheses of its own: its end is the last one.
    start, end = data.index(b"("), data.rindex(b")")
    words = data[end + 2:].split()
    if len(words) < 20:
        raise ValueError("a cut line of /proc/PID/stat")
    return data[start + 1:end].decode("utf-8", "replace"), words[0].decode(), int(words[1]), int(words[19])


def parse_start_time(data: bytes) -> int:
    """Field 22 of /proc/PID/stat, clock ticks after boot: with the pid it names a process for ever."""
    return parse_stat(data)[3]


def parse_limits(data: bytes) -> dict[str, tuple[int, int]]:
    """Name -> (soft, hard) of /proc/PID/limits; without limit is 2**64-1.

    See: proc_pid_limits(5).
    """
    if data not in _SAID:
        found = _SAID[data] = {}
        for line in data.split(b"\n"):
            name = _LIMITS.get(line[:26].rstrip())
            if name is not None:
                soft, hard = line[26:].split()[:2]
                found[name] = (_limit(soft), _limit(hard))
    return dict(_SAID[data])


_SAID: dict[bytes, dict[str, tuple[int, int]]] = {}      # most processes have the limits of those before


def _limit(word: bytes) -> int:
    return INFINITY if word == b"unlimited" else int(word)


def parse_id_map(data: bytes) -> tuple[tuple[int, int, int], ...]:
    """(inside, outside, size) lines of uid_map or gid_map, user_namespaces(7)."""
    out = []
    for line in data.split(b"\n"):
        words = line.split()
        if len(words) == 3:
            out.append((int(words[0]), int(words[1]), int(words[2])))
    return tuple(out)
