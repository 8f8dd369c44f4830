"""Rules about the published ports of one document; rules_ports_together.py has those of all."""

from __future__ import annotations

from runspec.spec import units
from runspec.spec.model import Port, Spec
from runspec.spec.read_ports import span
from runspec.spec.rules_links import is_new
from runspec.spec.rules_mounts import Faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.spec.model import Interface

ANY = {4: "0.0.0.0", 6: "::"}
LAST = 65535
SHIFTED = 1000          # ports of one range that are others inside: each is an element of its own


def way_in(spec: Spec, family: int) -> tuple[Interface, str] | None:
    """The interface and the address that published ports lead to: the first of this family that the host reaches.

    Args:
        family: 4 or 6.
    """
    for one in spec.interfaces:
        if one.network is None and (one.type, one.mode) != ("veth", "routed"):
            continue
        for address in one.addresses:
            if address and units.family(address) == family and not address.startswith("fe80:"):
                return one, address
    return None


def family(port: Port) -> int:
    """4 or 6: of the host's address."""
    return units.family(port.host_ip)


def is_local(port: Port) -> bool:
    """Whether only the host itself reaches it."""
    return port.host_ip.startswith("127.")


def check_ports(faults: Faults, spec: Spec) -> None:
    """Notes faults of `ports`."""
    if not spec.ports:
        return
    if not is_new(spec.linux, "network"):
        faults.add("ports", "need a network namespace of the container's own",
                   "they lead to an address of it, and what it shares has its own",
                   "publish them at the container whose network it is")
        return
    good: list[tuple[int, Port]] = []
    for index, one in enumerate(spec.ports):
        if _spans(faults, f"ports[{index}]", one) and _address(faults, f"ports[{index}]", one, spec):
            good.append((index, one))
    for number, (index, one) in enumerate(good):
        for _, other in good[:number]:
            if clash(one, other):
                same = (one.host, one.host_ip) == (other.host, other.host_ip)
                faults.add(f"ports[{index}]", f"{text(one)} {'is given twice' if same else f'overlaps {text(other)}'}",
                           "a port of the host leads to one place", "remove one, or choose another port")
                break


def _spans(faults: Faults, at: str, port: Port) -> bool:
    found: list[tuple[int, int]] = []
    for word in ("host", "container"):
        first, last = span(getattr(port, word))
        bad = next((one for one in (first, last) if not 1 <= one <= LAST), None)
        if bad is not None:
            faults.add(f"{at}.{word}", f"{bad} is out of range", f"ports go from 1 to {LAST}, {port.protocol}(7)",
                       "write 8080")
            return False
        if first > last:
            faults.add(f"{at}.{word}", f"{first}-{last} ends before it begins", "the lower port comes first",
                       f"write {last}-{first}")
            return False
        found.append((first, last))
    (first, last), (inner, end) = found
    if last - first != end - inner:
        faults.add(at, f"{port.host} are {last - first + 1} ports and {port.container} are {end - inner + 1}"
                   if last > first and end > inner else
                   f"{port.host} is {_many(first, last)} and {port.container} is {_many(inner, end)}",
                   "each port of the host leads to one of the container", "make them equally long")
        return False
    if first != inner and last - first >= SHIFTED:
        faults.add(at, f"{last - first + 1} ports become others",
                   f"the kernel keeps each of them by itself, and {SHIFTED} are enough, nft(8)",
                   "write the same range on both sides")
        return False
    return True


def _many(first: int, last: int) -> str:
    return "one port" if first == last else f"{last - first + 1} ports"


def _address(faults: Faults, at: str, port: Port, spec: Spec) -> bool:
    address, kind = port.host_ip, family(port)
    number = units.network_of(address)[1]
    if address == "::1":
        faults.add(f"{at}.hostIP", "::1 cannot be led elsewhere", "the kernel sends nothing from ::1 over another link",
                   "write 127.0.0.1, or another address of the host")
    elif kind == 6 and number >> 32 == 0xFFFF:
        faults.add(f"{at}.hostIP", f"{address} is an IPv4 address in IPv6 form", "packets bear it as IPv4",
                   f"write {address.rpartition(':')[2]}")
    elif (number >> 28 >= 0xE if kind == 4 else number >> 120 == 0xFF) or (kind == 4 and 0 < number < 1 << 24):
        faults.add(f"{at}.hostIP", f"{address} is no address of one host",
                   "zero, multicast and broadcast addresses belong to nobody",
                   f"write {ANY[kind]} for all addresses of the host")
    elif address.startswith("fe80:"):
        faults.add(f"{at}.hostIP", f"{address} is link-local", "it means another host on every link",
                   "write a global address of the host, or ::")
    elif way_in(spec, kind) is None and not any(one.pooled for one in spec.interfaces):
        word = f"IPv{kind}"
        faults.add(at, f"there is no {word} address for it to lead to",
                   f"it leads to the container's first {word} address on a network or a routed veth",
                   f"give an interface with a network an {word} address")
    else:
        return True
    return False


def text(port: Port) -> str:
    """`127.0.0.1:8080/tcp`, as people write it."""
    address = port.host_ip
    return f"{f'[{address}]' if ':' in address else address}:{port.host}/{port.protocol}"


def clash(one: Port, other: Port) -> bool:
    """Whether a packet could belong to both."""
    if one.protocol != other.protocol or family(one) != family(other):
        return False
    if one.host_ip != other.host_ip and ANY[family(one)] not in (one.host_ip, other.host_ip):
        return False
    (first, last), (begin, end) = span(one.host), span(other.host)
    return first <= end and begin <= last
