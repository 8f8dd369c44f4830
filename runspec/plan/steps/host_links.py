"""Links of the host: their names, their marks, their addresses."""

from __future__ import annotations

from runspec.errors import HostError
from runspec.plan import rtnetlink
from runspec.plan.steps.base import HostStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EEXIST, EBUSY, ENODEV, EADDRNOTAVAIL = 17, 16, 19, 99
NAME_MAX = 15       # IFNAMSIZ - 1
MARK = "runspec:"   # ip-link(8) alias of every link that is ours


def host_name(container: str, interface: str) -> str:
    """The host end's name: readable where it fits into IFNAMSIZ, else a digest of it."""
    name = f"{container}.{interface}"
    if len(name) <= NAME_MAX:
        return name
    return f"rs{digest(name):013x}"


def digest(text: str) -> int:
    """FNV-1a, 52 bits: stable over runs, unlike hash()."""
    value = 0xcbf29ce484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001b3 & 2**64 - 1
    return value >> 12


def station(name: str, first: int = 0x02) -> str:
    """An Ethernet address made from a name.

    Args:
        first: its first byte; 0x02 says that nobody gave it out for the world.
    """
    return (first << 40 | digest(name) & 0xFFFFFFFFFF).to_bytes(6, "big").hex(":")


def alias(owner: str, interface: str = "") -> str:
    """The mark by which a link is known as runspec's."""
    return f"{MARK}{owner}" + (f":{interface}" if interface else "")


class AddHostAddress(HostStep):
    """One address of a link of the host.

    Args:
        kept: it was there, and may have gone with another one.
    """

    address: str
    kept: bool = False

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-address(8)."""
        kernel.netlink(rtnetlink.add_address(index_of(kernel, self.target), self.address),
                       f"address {self.address}", ignore=EEXIST)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Planned where the address was missing, so it goes again."""
        index = kernel.link_index(self.target)
        if index is not None and not self.kept:
            kernel.netlink(rtnetlink.delete_address(index, self.address), f"address {self.address}",
                           ignore=EADDRNOTAVAIL)

    def __str__(self) -> str:
        return f"add address {self.address} to {self.target}"


class RemoveHostAddress(HostStep):
    """Takes an address of a link of the host away."""

    address: str

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-address(8)."""
        kernel.netlink(rtnetlink.delete_address(index_of(kernel, self.target), self.address),
                       f"address {self.address}")

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Puts it back."""
        index = kernel.link_index(self.target)
        if index is not None:
            kernel.netlink(rtnetlink.add_address(index, self.address), f"address {self.address}", ignore=EEXIST)

    def __str__(self) -> str:
        return f"remove address {self.address} from {self.target}"


class SetHostLink(HostStep):
    """Brings a link of the host up and sets its mtu."""

    mtu: int | None = None

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-link(8)."""
        kernel.netlink(rtnetlink.set_link(self.target, up=True, mtu=self.mtu), f"link {self.target}")

    def __str__(self) -> str:
        return f"bring {self.target} up" + (f" with mtu {self.mtu}" if self.mtu else "")


def index_of(kernel: Any, name: str) -> int:
    """The interface index of a host link.

    Raises:
        HostError: there is no such link.
    """
    index = kernel.link_index(name)
    if index is None:
        raise HostError(f"there is no link {name}", "it went away since the plan was made", "apply again")
    return int(index)


def remove_own(kernel: Any, name: str, mark: str) -> None:
    """Delete a link if it is there and carries our mark."""
    found = kernel.link_alias(name)
    if found is not None and found.startswith(mark):
        kernel.netlink(rtnetlink.delete_link(name), f"link {name}", ignore=ENODEV)
