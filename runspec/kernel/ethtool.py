"""Features of links of the host, ethtool(8): asked by ioctl, which every kernel answers."""

from __future__ import annotations

import _socket
import fcntl
from array import array
from struct import Struct, pack, unpack_from

_SIOCETHTOOL = 0x8946
_SET_INFO, _STRINGS, _FEATURES = 0x37, 0x1B, 0x3A       # ETHTOOL_GSSET_INFO, ETHTOOL_GSTRINGS, ETHTOOL_GFEATURES
_NAMES = 4                                              # ETH_SS_FEATURES
_NAME = 32                                              # ETH_GSTRING_LEN
_BLOCK = Struct("=IIII")                                # available, requested, active, never changed


def active(link: str, feature: str) -> bool:
    """Whether a feature of a link is switched on; one that the link or the kernel does not know is not.

    Args:
        link: its name; feature: as `ethtool -k` prints it.
    """
    door = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)

    def ask(head: bytes, room: int) -> bytes:
        data = array("B", head + bytes(room))
        fcntl.ioctl(door.fileno(), _SIOCETHTOOL, pack("=16sQ16x", link.encode(), data.buffer_info()[0]))
        return data.tobytes()

    try:
        count, = unpack_from("=I", ask(pack("=IIQ", _SET_INFO, 0, 1 << _NAMES), 4), 16)
        names = ask(pack("=III", _STRINGS, _NAMES, count), count * _NAME)[12:]
        wanted = feature.encode().ljust(_NAME, b"\0")
        at = next((at for at in range(count) if names[at * _NAME:(at + 1) * _NAME] == wanted), None)
        if at is None:
            return False
        blocks = (count + 31) // 32
        told = ask(pack("=II", _FEATURES, blocks), blocks * _BLOCK.size)
    except OSError:
        return False
    finally:
        door.close()
    return bool(_BLOCK.unpack_from(told, 8 + at // 32 * _BLOCK.size)[2] & 1 << at % 32)
