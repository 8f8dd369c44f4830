"""Frames on a link as they are on the wire: what passes is told, what is given is sent.

    wire.py hear LINK           `ready`, then a line for each frame until the input ends: its way (in, out), source,
                                target, tag (`802.1Q:10`, `-` for none), EtherType and payload in hexadecimal
    wire.py send LINK FRAME...  each frame in hexadecimal, its tag within
"""

from __future__ import annotations

import select
import socket
import struct
import sys

SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 263, 8, 4
VLAN_VALID, TPID_VALID = 0x10, 0x40     # TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID
PROTOCOLS = {0x8100: "802.1Q", 0x88A8: "802.1ad"}


def frame(target: str, source: str, payload: bytes, tag: tuple[int, int] | None = None, kind: int = 0x88B5) -> str:
    """A frame in hexadecimal.

    Args:
        tag: (EtherType of the tag, VLAN id); kind: what it holds, an experiment's by default.
    """
    head = bytes.fromhex(target.replace(":", "") + source.replace(":", ""))
    return (head + (struct.pack("!HH", *tag) if tag else b"") + struct.pack("!H", kind)
            + payload.ljust(46, b"\0")).hex()


def told(data: bytes, notes: list[tuple[int, int, bytes]], way: int) -> str:
    """One frame as `hear` tells it; a tag may lie in it, or beside it as the kernel keeps it."""
    tags = []
    for level, kind, note in notes:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, number, protocol = struct.unpack("=IIIHHHH", note[:20])
            if status & VLAN_VALID:
                tags.append((protocol if status & TPID_VALID else 0x8100, number & 0xFFF))
    at = 12
    while (ether := struct.unpack_from("!H", data, at)[0]) in PROTOCOLS:
        tags.append((ether, struct.unpack_from("!H", data, at + 2)[0] & 0xFFF))
        at += 4
    words = ",".join(f"{PROTOCOLS[protocol]}:{number}" for protocol, number in tags) or "-"
    return " ".join(("out" if way == PACKET_OUTGOING else "in", data[6:12].hex(":"), data[:6].hex(":"), words,
                     f"{ether:04x}", data[at + 2:].hex()))


def main(verb: str, link: str, *frames: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as door:
        door.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        door.bind((link, 3))
        if verb == "send":
            for one in frames:
                door.send(bytes.fromhex(one))
            return
        print("ready", flush=True)
        while door in (found := select.select([door, sys.stdin], [], [])[0]) or sys.stdin not in found:
            data, notes, _, address = door.recvmsg(1 << 17, 256)
            print(told(data, notes, address[2]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
