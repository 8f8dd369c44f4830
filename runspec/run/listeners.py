"""Sockets of the host that wait where a port is to be published."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop
from sys import byteorder

from runspec.spec import read_ports, rules_ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel
    from runspec.spec.model import Spec


def listening(kernel: Kernel) -> list[tuple[str, str, int, int]]:
    """(protocol, address, port, inode) of every socket of the host that waits for others, proc(5) /proc/net/tcp."""
    out = []
    for protocol, waits in (("tcp", "0A"), ("udp", "07")):
        for more in ("", "6"):
            for line in (kernel.try_read(f"/proc/net/{protocol}{more}") or b"").decode("ascii").splitlines()[1:]:
                words = line.split()
                address, _, port = words[1].partition(":")
                if words[3] == waits:
                    out.append((protocol, _address(address), int(port, 16), int(words[9])))
    return out


def _address(text: str) -> str:
    """The kernel prints an address as words of the machine's own byte order."""
    raw = bytes.fromhex(text)
    if byteorder == "little":
        raw = b"".join(raw[i:i + 4][::-1] for i in range(0, len(raw), 4))
    if raw[:12] == b"\0" * 10 + b"\xff\xff":
        raw = raw[12:]
    return inet_ntop(AF_INET if len(raw) == 4 else AF_INET6, raw)


def holder(kernel: Kernel, inode: int) -> str:
    """`nginx, process 812`: who has a socket open; "" where nobody tells."""
    for pid in kernel.list_dir("/proc"):
        if not pid.isdecimal():
            continue
        try:
            found = any(kernel.read_link(f"/proc/{pid}/fd/{fd}") == f"socket:[{inode}]"
                        for fd in kernel.list_dir(f"/proc/{pid}/fd"))
        except OSError:
            continue            # it ended, or lets nobody look
        if found:
            name = (kernel.try_read(f"/proc/{pid}/comm") or b"").decode("utf-8", "replace").strip()
            return f"{name}, process {pid}"
    return ""


class Listeners:
    """Looks once: the kernel walks all of its tables for it."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._found: list[tuple[str, str, int, int]] | None = None

    def taken(self, spec: Spec, last: Spec | None) -> list[tuple[str, str, str, str]]:
        """(path, what, why, fix) for each port that a socket of the host has, but those that are published already."""
        fresh = [(index, one) for index, one in enumerate(spec.ports) if last is None or one not in last.ports]
        out: list[tuple[str, str, str, str]] = []
        if fresh and self._found is None:
            self._found = listening(self._kernel)
        for index, one in fresh:
            first, end = read_ports.span(one.host)
            kind, wide = rules_ports.family(one), one.host_ip in rules_ports.ANY.values()
            for protocol, address, port, inode in self._found or ():
                # A socket at :: takes IPv4 as well, unless it says otherwise, ipv6(7) IPV6_V6ONLY.
                meets = address in ("::", one.host_ip) or (kind == 4 and address == "0.0.0.0") or (
                    wide and (":" in address) == (kind == 6))
                if protocol == one.protocol and first <= port <= end and meets:
                    who = holder(self._kernel, inode)
                    out.append((f"ports[{index}]", f"{port}/{protocol} is taken on this host",
                                f"a socket waits at {f'[{address}]' if ':' in address else address}:{port}"
                                + (f": {who}" if who else "") + ", and would hear nothing any more",
                                "choose another port, or end that program"))
                    break
        return out
