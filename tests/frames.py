"""Sockets in other network namespaces: what passes on a link, and whether a datagram arrives.

A socket belongs to the namespace it was opened in, whoever uses it: so no program has to be started there.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from kernels import SLOWER

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_SOL_PACKET, _AUXDATA, _ETH_P_ALL = 263, 8, 3
_VLAN_VALID, _TPID_VALID = 0x10, 0x40


class Frame(NamedTuple):
    """A frame as it was on the wire; tag is (TPID, VLAN id) of its outermost tag, None without."""

    to: str
    source: str
    tag: tuple[int, int] | None
    kind: int
    data: bytes


@contextmanager
def network(pid: int) -> Iterator[None]:
    """The calling thread is in the network namespace of a process."""
    back, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        assert _LIBC.setns(there, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        assert _LIBC.setns(back, _CLONE_NEWNET) == 0
        os.close(back)
        os.close(there)


def tap(pid: int, link: str) -> socket.socket:
    """All that passes on a link, packet(7)."""
    with network(pid):
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        one.setsockopt(_SOL_PACKET, _AUXDATA, 1)
        one.bind((link, 0))
    return one


def seen(one: socket.socket, patience: float = 0.0) -> list[Frame]:
    """What has passed since the last look, waiting for a first frame at most this long (in seconds)."""
    out: list[Frame] = []
    while select.select([one], [], [], 0 if out else patience * SLOWER)[0]:
        data, more, _, _ = one.recvmsg(65536, 256)
        tag = None
        for level, kind, value in more:
            if (level, kind) == (_SOL_PACKET, _AUXDATA):
                status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", value[:20])
                if status & _VLAN_VALID:
                    tag = (tpid if status & _TPID_VALID else 0x8100, tci & 0xFFF)
        kind, rest = int.from_bytes(data[12:14], "big"), data[14:]
        if tag is None and kind in (0x8100, 0x88A8):
            tag = kind, int.from_bytes(rest[:2], "big") & 0xFFF
            kind, rest = int.from_bytes(rest[2:4], "big"), rest[4:]
        out.append(Frame(data[:6].hex(":"), data[6:12].hex(":"), tag, kind, rest))
    return out


def inject(pid: int, link: str, to: str, text: bytes, tag: tuple[int, int] | None = None) -> None:
    """Send one frame of an EtherType that nobody serves."""
    head = bytes.fromhex(to.replace(":", "")) + bytes.fromhex("02fffffffff0")
    with network(pid), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        one.bind((link, 0))
        one.send(head + (struct.pack("!HH", *tag) if tag else b"") + b"\x88\xb5" + text.ljust(50, b"\0"))


def arrives(sender: int, receiver: int, address: str, patience: float = 1.0) -> bool:
    """Whether a datagram from one namespace to an address in another one arrives, within some seconds."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with network(receiver):
        door = socket.socket(family, socket.SOCK_DGRAM)
    with network(sender):
        mouth = socket.socket(family, socket.SOCK_DGRAM)
    with door, mouth:
        door.bind((address, 0))
        door.settimeout(0.05)
        end = time.monotonic() + patience * SLOWER
        while time.monotonic() < end:
            try:
                mouth.sendto(b"are you there", door.getsockname()[:2])
                return door.recv(64) == b"are you there"
            except OSError:         # no answer yet, or nobody answers for the address
                continue
    return False
