"""Connections that the kernel tracks: a flow of UDP goes on as it began, whatever the rules have become.

See: nfnetlink_conntrack.h; conntrack(8).
"""

from __future__ import annotations

import _socket
import errno
from struct import Struct

from runspec import abi
from runspec.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HEAD, _GEN, _ATTRIBUTE = Struct("=IHHII"), Struct("=BBH"), Struct("=HH")
_KIND = abi.NFNL_SUBSYS_CTNETLINK << 8
_RECEIVE = 1 << 16
UDP = 17
# A kernel that tells nobody what it tracks (CONFIG_NF_CT_NETLINK): flows end by themselves.
_NOT_HERE = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)


class Flow:
    """One tracked connection, as it began.

    Attributes:
        protocol: its number; target, port: where it was sent; answers: who answers, behind NAT.
    """

    __slots__ = ("_family", "_tuple", "answers", "port", "protocol", "target")

    def __init__(self, family: int, data: bytes, protocol: int, target: str, port: int, answers: str) -> None:
        self._family, self._tuple = family, data
        self.protocol, self.target, self.port, self.answers = protocol, target, port, answers

    def removal(self) -> bytes:
        """The message that forgets it."""
        body = _GEN.pack(self._family, 0, 0) + _ATTRIBUTE.pack(
            4 + len(self._tuple), abi.CTA_TUPLE_ORIG | abi.NLA_F_NESTED) + self._tuple
        return _HEAD.pack(_HEAD.size + len(body), _KIND | abi.IPCTNL_MSG_CT_DELETE,
                          abi.NLM_F_REQUEST | abi.NLM_F_ACK, 1, 0) + body


class Conntrack:
    """The part of Kernel that knows tracked connections."""

    def _act(self, name: str) -> None:
        raise AssertionError(name)

    def forget_flows(self, judge: Callable[[Flow], bool]) -> int:
        """Forget every tracked connection that `judge` says; its next packet is led anew. Returns how many.

        A kernel that cannot tell them loses none.

        Raises:
            SyscallError: call "netlink".
        """
        sock = None
        try:
            sock = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, abi.NETLINK_NETFILTER)
            sock.sendto(_HEAD.pack(_HEAD.size + _GEN.size, _KIND | abi.IPCTNL_MSG_CT_GET,
                                   abi.NLM_F_REQUEST | abi.NLM_F_DUMP, 1, 0) + _GEN.pack(0, 0, 0), (0, 0))
            found = [flow for data in _answers(sock) for flow in parse_flows(data) if judge(flow)]
            for one in found:
                self._act("sendto")
                sock.sendto(one.removal(), (0, 0))
                for _ in _answers(sock, errno.ENOENT):
                    pass
        except OSError as error:
            if error.errno in _NOT_HERE:
                return 0
            raise SyscallError("netlink", "tracked connections", error.errno or errno.EIO) from None
        finally:
            if sock is not None:
                sock.close()
        return len(found)


def _answers(sock: _socket.socket, ignore: int = 0) -> Iterator[bytes]:
    """The datagrams of one answer, up to its end or ack."""
    while True:
        data = sock.recv(_RECEIVE)
        at = 0
        while at + _HEAD.size <= len(data):
            length, kind, _, _, _ = _HEAD.unpack_from(data, at)
            if kind in (abi.NLMSG_ERROR, abi.NLMSG_DONE):
                number = -int.from_bytes(data[at + 16:at + 20], "little", signed=True)
                if number > 0 and number != ignore:
                    raise OSError(number, "")
                return
            if length < _HEAD.size:
                raise OSError(errno.EPROTO, "")
            at += length + 3 & ~3
        yield data


def parse_flows(data: bytes) -> Iterator[Flow]:
    """The connections in one datagram of a dump."""
    from runspec.kernel.netlink import attributes, messages

    for kind, start, end in messages(data):
        if kind != _KIND | abi.IPCTNL_MSG_CT_NEW or end - start < _GEN.size:
            continue
        family = data[start]
        found = attributes(data, start + _GEN.size, end)
        begun, back = found.get(abi.CTA_TUPLE_ORIG), found.get(abi.CTA_TUPLE_REPLY)
        if begun is None or back is None or family not in (abi.AF_INET, abi.AF_INET6):
            continue
        protocol, _, target, port = _tuple(data, family, begun)
        _, answers, _, _ = _tuple(data, family, back)
        yield Flow(family, data[begun[0]:begun[0] + (begun[1] - begun[0] + 3 & ~3)], protocol, target, port, answers)


def _tuple(data: bytes, family: int, span: tuple[int, int]) -> tuple[int, str, str, int]:
    """(protocol, source, target, target's port) of a tuple; "" and 0 for what it lacks."""
    from runspec.kernel.netlink import attributes

    parts = attributes(data, *span)
    ip, proto = (attributes(data, *parts[word]) if word in parts else {} for word in (abi.CTA_TUPLE_IP,
                                                                                      abi.CTA_TUPLE_PROTO))
    words = ((abi.CTA_IP_V4_SRC, abi.CTA_IP_V4_DST) if family == abi.AF_INET
             else (abi.CTA_IP_V6_SRC, abi.CTA_IP_V6_DST))
    source, target = (_socket.inet_ntop(family, data[ip[word][0]:ip[word][1]]) if word in ip else "" for word in words)
    number, port = (int.from_bytes(data[proto[word][0]:proto[word][1]], "big") if word in proto else 0
                    for word in (abi.CTA_PROTO_NUM, abi.CTA_PROTO_DST_PORT))
    return number, source, target, port
