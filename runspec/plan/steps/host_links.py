"""Links of the host: their names, their marks, their addresses."""

from __future__ import annotations

from errno import EADDRNOTAVAIL, EEXIST, ENODEV, ESRCH

from runspec.errors import HostError
from runspec.plan import rtnetlink
from runspec.plan.rtnetlink_bridge import add_vlan, delete_vlan, own_vlan, set_port
from runspec.plan.steps.base import ATTACH, LIVE, HostStep
from runspec.spec.frozen import Frozen
from runspec.spec.model import Interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME_MAX = 15       # IFNAMSIZ - 1
HIGH = "feff"       # of a port on a bridge that is not ours: it takes its smallest port's address for its own
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


def station(name: str, prefix: str = "02") -> str:
    """An Ethernet address made from a name.

    Args:
        prefix: its first bytes in hexadecimal; 02 says that nobody gave it out for the world.
    """
    return bytes.fromhex(prefix + f"{digest(name):013x}"[len(prefix) - 12:]).hex(":")


def alias(owner: str, interface: str = "") -> str:
    """The mark by which a link is known as runspec's."""
    return f"{MARK}{owner}" + (f":{interface}" if interface else "")


class Member(Frozen):
    """What a host end is as a port of its network's bridge.

    Args:
        isolated: from the others.
        foreign: the bridge is somebody else's; mtu: then what it has, and keeps with ports that have the same.
        vlan: the only one that it carries, untagged; None for the bridge's own.
    """

    isolated: bool = False
    foreign: bool = False
    mtu: int | None = None
    vlan: int | None = None


class AddLink(HostStep):
    """A new link of a container.

    Args:
        interface: as the file asks for it.
        index: that it is to have inside.
        link: name of its end on the host, "" where its type has none.
        member: what that end is on its network.
    """

    PHASE = ATTACH
    interface: Interface
    index: int
    link: str = ""
    member: Member = Member()


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


class JoinBridge(HostStep):
    """Makes a link of the host a port of a bridge.

    Args:
        link: its name.
        bridge: the bridge's.
        isolated: from the bridge's other ports.
        mac, mtu: that it is to have, None for what it has.
        vlan: the only one that it is to carry, None for the bridge's own.
        was: name of the bridge that it is a port of, "" for none.
        was_isolated: from the other ports of that; was_mtu, was_vlan: what it had there.
    """

    PHASE = LIVE
    link: str
    bridge: str
    isolated: bool = False
    mac: str | None = None
    mtu: int | None = None
    vlan: int | None = None
    was: str = ""
    was_isolated: bool = False
    was_mtu: int | None = None
    was_vlan: int | None = None

    def apply(self, kernel: Any, run: Any) -> Any:
        """ip-link(8), master; one that is to be isolated is so before it is up again."""
        self._join(kernel, index_of(kernel, self.link), index_of(kernel, self.bridge), self.isolated, self.mac,
                   self.mtu, self.vlan)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """A port of the former one, where both are still there."""
        index, master = kernel.link_index(self.link), kernel.link_index(self.was) if self.was else 0
        if index is not None and master is not None:
            # Who is no port has nothing that ports have.
            self._join(kernel, index, master, bool(master) and self.was_isolated, None, self.was_mtu,
                       self.was_vlan if master else None)

    def _join(self, kernel: Any, index: int, master: int, isolated: bool, mac: str | None, mtu: int | None,
              vlan: int | None) -> None:
        down = rtnetlink.set_link(index, up=False) if isolated or mac or vlan else b""
        # The mtu first, or the bridge would take it for a moment.
        kernel.netlink(down + (rtnetlink.set_link(index, mtu=mtu) if mtu else b"")
                       + rtnetlink.set_link(index, master=master, mac=mac)
                       + (set_port(index, True) if isolated else b"") + (own_vlan(index, vlan) if vlan else b"")
                       + rtnetlink.set_link(index, up=True), f"link {self.link}")

    def __str__(self) -> str:
        return f"join {self.link} to {self.bridge}"


class SetPortVlan(HostStep):
    """Gives a port of a bridge one VLAN of its own, and no other.

    Args:
        link: the port; vlan: the number.
        had: the VLANs that it carries, as (number, flags).
    """

    PHASE = LIVE
    link: str
    vlan: int
    had: tuple[tuple[int, int], ...] = ()

    def apply(self, kernel: Any, run: Any) -> Any:
        """bridge(8), vlan."""
        kernel.netlink(own_vlan(index_of(kernel, self.link), self.vlan, tuple(one for one, _ in self.had)),
                       f"VLAN {self.vlan} of {self.link}")

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Those that it had, where it is still there."""
        index = kernel.link_index(self.link)
        if index is None:
            return
        back = b"".join(add_vlan(index, one, flags) for one, flags in self.had)
        if self.vlan not in dict(self.had):
            back += delete_vlan(index, self.vlan)
        kernel.netlink(back, f"VLANs of {self.link}")

    def __str__(self) -> str:
        return f"put {self.link} into VLAN {self.vlan}"


class SetHostEnd(HostStep):
    """The host's end of a veth: up, and where it is a router, with its addresses, routes and forwarding.

    Args:
        link: its name.
        addresses, routes: what it is to have, in CIDR form.
        had_addresses, had_routes: what it has.
        mtu, had_mtu: None where it is as it should be.
        v4, v6: whether it is to forward what comes in.
    """

    PHASE = LIVE
    link: str
    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    had_addresses: tuple[str, ...] = ()
    had_routes: tuple[str, ...] = ()
    mtu: int | None = None
    had_mtu: int | None = None
    v4: bool = False
    v6: bool = False

    def apply(self, kernel: Any, run: Any) -> Any:
        """All of what is wanted: an end that was down has lost it."""
        index = index_of(kernel, self.link)
        if self.mtu is not None:
            kernel.netlink(rtnetlink.set_link(index, mtu=self.mtu), f"link {self.link}")
        if self.v4 or self.v6:
            deafen(kernel, self.link)
        _turn(kernel, index, self.link, self.had_addresses, self.had_routes, self.addresses, self.routes)
        forward(kernel, self.link, self.v4, self.v6)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """What it had, where it is still there."""
        index = kernel.link_index(self.link)
        if index is not None:
            if self.had_mtu is not None:
                kernel.netlink(rtnetlink.set_link(index, mtu=self.had_mtu), f"link {self.link}")
            _turn(kernel, index, self.link, self.addresses, self.routes, self.had_addresses, self.had_routes)

    def __str__(self) -> str:
        more = [f"mtu {self.mtu}"] * (self.mtu is not None)
        more += [f"address {one}" for one in self.addresses] + [f"route {one}" for one in self.routes]
        return f"set {self.link} up" + (f" with {', '.join(more)}" if more else "")


def _turn(kernel: Any, index: int, name: str, addresses: tuple[str, ...], routes: tuple[str, ...],
          wanted_addresses: tuple[str, ...], wanted_routes: tuple[str, ...]) -> None:
    """From some addresses and routes of a link to others."""
    kernel.netlink(rtnetlink.set_link(index, up=True), f"link {name}")
    for to in routes:
        if to not in wanted_routes:
            kernel.netlink(rtnetlink.delete_route(to, oif=index), f"route {to}", ignore=ESRCH)
    for address in addresses:
        if address not in wanted_addresses:
            kernel.netlink(rtnetlink.delete_address(index, address), f"address {address}", ignore=EADDRNOTAVAIL)
    for message, what in end_messages(index, wanted_addresses, wanted_routes):
        kernel.netlink(message, what, ignore=EEXIST)


def end_messages(index: int, addresses: tuple[str, ...], routes: tuple[str, ...]) -> list[tuple[bytes, str]]:
    """Messages, each with its object, that give a link of the host addresses and routes of ours."""
    return [*((rtnetlink.add_address(index, address), f"address {address}") for address in addresses),
            *((rtnetlink.add_route(to, oif=index, protocol=rtnetlink.OURS), f"route {to}") for to in routes)]


def forwarding_files(link: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where a link's forwarding of IPv4 and of IPv6 is told and set.

    `forwarding` of IPv6 makes a router of a link but leaves the decision with the whole host;
    `force_forwarding`, which not every kernel has, does not.

    See: ip-sysctl.rst.
    """
    return (f"/proc/sys/net/ipv4/conf/{link}/forwarding",), (
        f"/proc/sys/net/ipv6/conf/{link}/forwarding", f"/proc/sys/net/ipv6/conf/{link}/force_forwarding")


def forward(kernel: Any, link: str, v4: bool, v6: bool) -> None:
    """Let a link of the host forward what comes in."""
    for wanted, files in zip((v4, v6), forwarding_files(link), strict=True):
        for file in files:
            if wanted and kernel.exists(file):
                kernel.write(file, "1")


def deaf_files(link: str) -> tuple[str, ...]:
    """Where it is told whether a link of the host takes routes and addresses from what others send there, by IPv6.

    See: ip-sysctl.rst.
    """
    return tuple(f"/proc/sys/net/ipv6/conf/{link}/{one}" for one in ("accept_ra", "autoconf", "accept_redirects"))


def deafen(kernel: Any, link: str) -> None:
    """Let no container be the host's router: one Router Advertisement would do."""
    for file in deaf_files(link):
        if kernel.exists(file):
            kernel.write(file, "0")


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
        raise HostError(f"there is no link {name}", "it went away", "apply again; where it is a network, with its file")
    return int(index)


def parent_index(kernel: Any, text: str) -> int:
    """The index of the host's link that a file names as `parent`.

    Raises:
        HostError: there is none.
    """
    if not text.startswith(("mac:", "pci:")):
        return index_of(kernel, text)
    from runspec.plan import nic
    from runspec.plan.steps.lease import requests

    found = nic.find(text, kernel.portraits(*requests()))
    if len(found) != 1:
        raise HostError(f"there is no link {text}" if not found else f"{text} names several links", "ip-link(8)",
                        "`ip -d link` shows each with its address and parentdev")
    return int(found[0]["index"])


def parent_of(kernel: Any, text: str) -> Any:
    """That link, with all that rtnetlink(7) tells of it.

    Raises:
        HostError: there is none, or it went away just now.
    """
    index = parent_index(kernel, text)
    found = next((link for link in kernel.rows("links", rtnetlink.dump_links()) if link.index == index), None)
    if found is None:
        raise HostError(f"there is no link {text}", "it went away meanwhile", "apply again")
    return found


def remove_own(kernel: Any, name: str, mark: str) -> None:
    """Delete a link if it is there and carries our mark."""
    found = kernel.link_alias(name)
    if found is not None and found.startswith(mark):
        kernel.netlink(rtnetlink.delete_link(name), f"link {name}", ignore=ENODEV)
