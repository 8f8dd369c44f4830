"""NETLINK_ROUTE of the host's network namespace: ready messages out, acks and dumps in."""

from __future__ import annotations

import _socket
import errno
import os
import time
from struct import Struct

from runspec import abi
from runspec.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from typing import Any

_HEADER = Struct("=IHHII")          # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = Struct("=HH")          # nlattr: length, type
_ACK_FLAG, _DUMP_INTR = 0x4, 0x10   # NLM_F_ACK; NLM_F_DUMP_INTR
_ERROR, _DONE = 2, 3                # NLMSG_ERROR, NLMSG_DONE
_ACK_TLVS = 0x200                   # NLM_F_ACK_TLVS
_SOL_NETLINK, _EXT_ACK, _CAP_ACK = 270, 11, 10
_RECEIVE = 1 << 17                  # a link's names alone may be 64 KiB
_DUMP_TRIES = 5


def parse_messages(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, payload) of every netlink message in a datagram.

    Raises:
        ValueError: a length that does not fit.
    """
    out, at = [], 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data):
            raise ValueError(f"netlink message of {length} bytes at {at} of {len(data)}")
        out.append((kind, flags, sequence, data[at + _HEADER.size:at + length]))
        at += (length + 3) & ~3
    return out


def _above(bus: str, device: str) -> str:
    """The address of the PCI device that a virtio device, say, is part of, "" where there is none."""
    try:
        where = os.readlink(f"/sys/bus/{bus}/devices/{device}") if bus and device else ""
    except OSError:
        return ""
    above = os.path.basename(os.path.dirname(where))
    return above if above.count(":") == 2 else ""


def _parse_error(flags: int, payload: bytes) -> tuple[int, str]:
    """(errno, the kernel's explanation) of an NLMSG_ERROR payload; (0, "") is an ack."""
    number = -int.from_bytes(payload[:4], "little", signed=True)
    words, at = "", 20                  # behind errno and the header of our message, NETLINK_CAP_ACK
    while number and flags & _ACK_TLVS and at + 4 <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, at)
        if length < 4:
            break
        if kind == 1:                   # NLMSGERR_ATTR_MSG
            words = payload[at + 4:at + length].rstrip(b"\0").decode("utf-8", "replace")
        at += (length + 3) & ~3
    return number, words


class Sockets:
    """The part of Kernel that talks netlink; one socket, opened at first use."""

    _route: Socket | None
    _sequence = 0

    def _act(self, name: str) -> None:
        raise AssertionError(name)

    def _socket(self) -> Socket:
        if self._route is None:
            try:
                route = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)
                route.bind((0, 0))
            except OSError as error:
                raise SyscallError("socket", "NETLINK_ROUTE", error.errno or errno.EIO) from None
            for option in (_EXT_ACK, _CAP_ACK):
                route.setsockopt(_SOL_NETLINK, option, 1)
            self._route = route
        return self._route

    def _send(self, message: bytes, what: str) -> tuple[Socket, dict[int, int]]:
        """Send with fresh sequence numbers; returns them, with each message's flags."""
        data, at, sent = bytearray(message), 0, {}
        while at + _HEADER.size <= len(data):
            length, kind, flags, _sequence, _port = _HEADER.unpack_from(data, at)
            if length < _HEADER.size:
                raise ValueError(f"netlink message of {length} bytes")
            self._sequence = (self._sequence + 1) & 0x7FFFFFFF
            _HEADER.pack_into(data, at, length, kind, flags, self._sequence, 0)
            sent[self._sequence] = flags
            at += (length + 3) & ~3
        route = self._socket()
        try:
            route.sendto(data, (0, 0))
        except OSError as error:
            raise SyscallError("sendto", what, error.errno or errno.EIO) from None
        return route, sent

    def _receive(self, route: Socket, what: str) -> bytes:
        try:
            data, _, flags, _ = route.recvmsg(_RECEIVE)
        except OSError as error:
            raise SyscallError("recvmsg", what, error.errno or errno.EIO) from None
        if flags & _socket.MSG_TRUNC:
            raise SyscallError("recvmsg", what, errno.EMSGSIZE)
        return data

    def netlink(self, message: bytes, what: str, ignore: int = 0) -> None:
        """Send one or more ready messages that change links, addresses or routes; wait for each ack.

        Args:
            message: nlmsghdr and payload, more of them behind, each padded to four bytes.
            what: the object, for the error: "bridge lan0".
            ignore: an errno that is as good as success: EEXIST, ENODEV.
        Raises:
            SyscallError: call "netlink"; `why` holds the kernel's own words where it gave some.
        """
        self._act("sendto")
        route, sent = self._send(message, what)
        waiting = {sequence for sequence, flags in sent.items() if flags & _ACK_FLAG}
        failed: SyscallError | None = None
        while waiting:
            for kind, flags, sequence, payload in parse_messages(self._receive(route, what)):
                if kind != _ERROR or sequence not in waiting:
                    continue
                waiting.discard(sequence)
                number, words = _parse_error(flags, payload)
                if number and number != ignore and failed is None:
                    failed = SyscallError("netlink", what, number)
                    failed.why = words
        if failed is not None:
            raise failed

    def load_classifier(self, program: bytes, name: str) -> int:
        """A descriptor of a new program that a filter on links may run, the caller's to close.

        Args:
            program: struct bpf_insn, 8 bytes each, of type BPF_PROG_TYPE_SCHED_CLS.
            name: at most 15 bytes of letters, digits, '_' and '.'.
        Raises:
            SyscallError: call "bpf"; EACCES or EINVAL: the kernel's judge of programs refuses it.
        See: bpf(2), tc-bpf(8).
        """
        from runspec.kernel import native
        return native.bpf_load(program, name.encode(), abi.BPF_PROG_TYPE_SCHED_CLS)

    def dump(self, request: bytes) -> list[bytes]:
        """The datagrams that answer a dump request, NLMSG_DONE taken off its end.

        A dump that the kernel marks as interrupted (a link came or went meanwhile) is repeated.
        """
        for _ in range(_DUMP_TRIES):
            route, sent = self._send(request, "dump")
            out, done, torn = [], False, False
            while not done:
                data = self._receive(route, "dump")
                found = [m for m in parse_messages(data) if m[2] in sent]
                for kind, flags, _sequence, payload in found:
                    torn = torn or bool(flags & _DUMP_INTR)
                    number = _parse_error(flags, payload)[0] if kind in (_ERROR, _DONE) else 0
                    if number:
                        raise SyscallError("netlink", "dump", number)
                    done = done or kind in (_DONE, _ERROR)
                if any(kind not in (_DONE, _ERROR) for kind, _, _, _ in found):
                    out.append(data)
            if not torn:
                break
        return out

    def link_facts(self, link: int | str, links: bytes, addresses: bytes) -> dict[str, Any] | None:
        """What a link of the host, by name or index, is and has, see netlink.link_facts; None where there is none.

        Args:
            links, addresses: dump requests.
        """
        from runspec.kernel import netlink

        found = [one for data in self.dump(links) for one in netlink.parse_links(data)]
        held = [one for data in self.dump(addresses) for one in netlink.parse_addresses(data)]
        return netlink.link_facts(found, held, link)

    def portraits(self, *requests: bytes) -> list[dict[str, Any]]:
        """What the links of the host are and have, see nics.portraits.

        Args:
            requests: dump requests of links, addresses, routes, qdiscs and neighbours, or the first few of these.
        """
        from runspec.kernel import nics

        out = nics.portraits(*map(self.dump, requests))
        for one in out:
            one["pci"] = one["device"] if one["bus"] == "pci" else _above(one["bus"], one["device"])
        return out

    def read_portraits(self, answers: list[bytes], foreign: bool = False) -> list[dict[str, Any]]:
        """The same of what a dump of links brought from elsewhere.

        Args:
            foreign: `lower` of each is the index of what it stands on in another namespace, 0 for none.
        """
        from runspec.kernel import nics

        return nics.portraits(answers, foreign=foreign)

    def rows(self, what: str, request: bytes) -> list[Any]:
        """The rows of a dump of the host's: links, addresses, routes, neighbours, ways, flags, qdiscs or filters."""
        from runspec.kernel import netlink, netlink_host, traffic

        parse = next(found for room in (netlink, netlink_host, traffic)
                     if (found := getattr(room, f"parse_{what}", None)) is not None)
        return [row for data in self.dump(request) for row in parse(data)]

    def drops_tags(self, name: str) -> bool:
        """Whether a link drops frames of VLANs that no driver asked it for, as a card may.

        See: ethtool(8), rx-vlan-filter; the kernel's include/uapi/linux/ethtool.h.
        """
        from runspec.kernel import ethtool
        return ethtool.active(name, "rx-vlan-filter")

    def own_pid(self) -> int:
        """Ours, in whose network namespace the host's links are."""
        return os.getpid()

    def network_of(self, pid: int) -> int:
        """The inode of the network namespace of a process, 0 where there is none."""
        try:
            return os.stat(f"/proc/{pid}/ns/net").st_ino
        except OSError:
            return 0

    def uptime(self) -> int:
        """Seconds since boot, those asleep as well, clock_gettime(2)."""
        return int(time.clock_gettime(time.CLOCK_BOOTTIME))

    def link_index(self, name: str) -> int | None:
        """The index of a link of the host, None where there is none of that name."""
        try:
            return _socket.if_nametoindex(name)
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENXIO) or error.errno is None:
                return None
            raise SyscallError("ioctl", name, error.errno) from None

    def await_link_end(self, name: str, end: float) -> bool:
        """Wait until no link of the host has this name; False where one still has.

        The kernel takes a namespace apart behind the end of its last process, many at once, and their veths with them;
        twenty times cheaper than to delete each.

        Args:
            end: when to stop waiting, by the monotonic clock, seconds.
        """
        while self.link_index(name) is not None:
            if time.monotonic() >= end:
                return False
            time.sleep(0.002)
        return True

    def link_alias(self, name: str) -> str | None:
        """The alias (ip-link(8)) of a link of the host, "" without one; None where there is no link.

        Asked by netlink: /sys/class/net shows the namespace it was mounted in, which may not be ours.
        """
        payload = self._ask_link(name)
        if payload is None:
            return None
        at = 16
        while at + 4 <= len(payload):
            length, attribute_kind = _ATTRIBUTE.unpack_from(payload, at)
            if length < 4:
                break
            if attribute_kind == abi.IFLA_IFALIAS:
                return payload[at + 4:at + length].rstrip(b"\0").decode("utf-8", "replace")
            at += (length + 3) & ~3
        return ""

    def port_number(self, name: str) -> int | None:
        """The number that a link's bridge gave it as a port, None where it is no port or there is no link."""
        from runspec.kernel import netlink_bridge

        payload = self._ask_link(name)
        return netlink_bridge.parse_number(payload, 16) if payload is not None else None

    def port_numbers(self, links: bytes, bridge: int) -> dict[int, int]:
        """Index -> such a number of every port of one bridge.

        Args:
            links: a dump request.
            bridge: its index.
        """
        from runspec.kernel import netlink, netlink_bridge

        out: dict[int, int] = {}
        for data in self.dump(links):
            mine = {one.index for one in netlink.parse_links(data) if one.master == bridge}
            out |= {index: number for index, number in netlink_bridge.parse_numbers(data).items() if index in mine}
        return out

    def _ask_link(self, name: str) -> bytes | None:
        """What an RTM_GETLINK by name is answered with: ifinfomsg and attributes; None where there is no link."""
        text = name.encode() + b"\0"
        attribute = _ATTRIBUTE.pack(4 + len(text), abi.IFLA_IFNAME) + text + bytes(-len(text) % 4)
        size = _HEADER.size + 16 + len(attribute)
        route, sent = self._send(
            _HEADER.pack(size, abi.RTM_GETLINK, abi.NLM_F_REQUEST, 0, 0) + bytes(16) + attribute,
            f"link {name}")
        while True:
            for kind, flags, sequence, payload in parse_messages(self._receive(route, f"link {name}")):
                if sequence not in sent:
                    continue
                if kind == _ERROR:
                    number, _ = _parse_error(flags, payload)
                    if number in (errno.ENODEV, errno.ERANGE):      # a name too long for any link
                        return None
                    raise SyscallError("netlink", f"link {name}", number or errno.EPROTO)
                return payload
