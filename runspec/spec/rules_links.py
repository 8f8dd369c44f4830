"""Rules about links and networks that a schema cannot say."""

from __future__ import annotations

from runspec.spec import rules_traffic, units
from runspec.spec.model import Interface, Linux, Spec
from runspec.spec.rules_mounts import IDS, Faults
from runspec.spec.units import shown

_SMALL = "abcdefghijklmnopqrstuvwxyz"
LETTERS = frozenset(_SMALL + _SMALL.upper() + "0123456789")
LATER = LETTERS | frozenset("_.-")
_LINK_WORDS = ("lo", "all", "default")


def is_new(linux: Linux, kind: str) -> bool:
    """Whether the container has a namespace of this kind to itself."""
    return any(one.type == kind and one.path is None and one.container is None for one in linux.namespaces)


def link_fault(name: str) -> tuple[str, str, str] | None:
    """What is wrong with the name of a link, as (what, why, fix)."""
    why = "a link's name is 1 to 15 letters, digits, `_`, `.` or `-`, ip-link(8)"
    if not name:
        return "is empty", why, "write a name such as eth0"
    if name in _LINK_WORDS or name in (".", ".."):
        return f"{shown(name)} is reserved", "the kernel uses it itself", "choose another name"
    if len(name.encode(errors="surrogatepass")) > 15:
        return f"{shown(name)} is longer than 15 bytes", why, "shorten it"
    if name[0] in "-." or not LATER.issuperset(name):
        return f"{shown(name)} is no name of a link", why, "use other characters"
    return None


def check_mtu(faults: Faults, at: str, mtu: int | None, addresses: tuple[str, ...]) -> None:
    """Notes what is wrong with the mtu of a link with these addresses."""
    if mtu is None:
        return
    if not 68 <= mtu <= 65535:
        faults.add(at, f"{mtu} is out of range", "it goes from 68 to 65535 bytes, ip-link(8)", "write 1500")
    elif mtu < 1280 and any(":" in one for one in addresses):
        faults.add(at, f"{mtu} is too small for IPv6", "IPv6 needs 1280 bytes, RFC 8200",
                   "write 1280 or more")


def check_addresses(faults: Faults, at: str, addresses: tuple[str, ...]) -> None:
    """Notes what is wrong with the addresses of one link."""
    seen: set[str] = set()
    for index, one in enumerate(addresses):
        if not one:
            continue                    # could not be read, and was reported
        here, plain = f"{at}[{index}]", one.partition("/")[0]
        first = units.network_of(f"{plain}/{128 if ':' in plain else 32}")[1]
        length = int(one.partition("/")[2])
        multicast = first >> 120 == 0xFF if ":" in plain else first >> 28 == 0xE
        if first == 0 or multicast or (":" not in plain and first >> 28 == 0xF):
            faults.add(here, f"{shown(one)} is no address of one host",
                       "zero, multicast and broadcast addresses belong to nobody", "write another one")
        elif length == 0:
            faults.add(here, f"{shown(one)} claims every address", "a prefix of no bits leaves none for other links",
                       f"write {plain}/{64 if ':' in plain else 24}")
        elif ":" in plain and first >> 32 == 0xFFFF:
            faults.add(here, f"{shown(one)} is an IPv4 address in IPv6 form", "no link answers to it",
                       f"write {plain.rpartition(':')[2]}/{max(length - 96, 0)}")
        elif ":" not in plain and length < 31 and first in (net := units.network_of(one)[1],
                                                            net + (1 << 32 - length) - 1):
            kind = "network" if first == net else "broadcast"
            faults.add(here, f"{shown(one)} is the {kind} address", "it belongs to no host",
                       f"write an address between the first and the last of {units.network_text(one)}")
        elif plain in seen:
            faults.add(here, f"{shown(plain)} is given twice", "an address belongs to one link", "remove one")
        seen.add(plain)


def check_interfaces(faults: Faults, spec: Spec) -> None:
    """Notes faults of `interfaces`."""
    if not spec.interfaces:
        return
    if not is_new(spec.linux, "network"):
        faults.add("interfaces", "need a network namespace of the container's own",
                   "the links would be those of everybody who shares it",
                   "remove interfaces, or the entry for network in linux.namespaces")
    names: set[str] = set()
    macs: set[str] = set()
    addresses: set[str] = set()
    for index, one in enumerate(spec.interfaces):
        at = f"interfaces[{index}]"
        if bad := link_fault(one.name):
            faults.add(f"{at}.name", *bad)
        elif one.name in names:
            faults.add(f"{at}.name", f"{shown(one.name)} is given twice", "a link's name is its own",
                       "choose another name")
        names.add(one.name)
        if one.network is not None and (bad := link_fault(one.network)):
            faults.add(f"{at}.network", *bad)
        if one.mac is not None:
            if int(one.mac[:2], 16) & 1 or one.mac == "00:00:00:00:00:00":
                faults.add(f"{at}.mac", f"{one.mac} is no address of one station",
                           "an odd first byte means a group, ip-link(8)", f"write 02{one.mac[2:]}")
            elif one.mac in macs:
                faults.add(f"{at}.mac", f"{one.mac} is given twice", "a bridge tells links apart by it",
                           "change one")
            macs.add(one.mac)
        _interface(faults, at, one)
        rules_traffic.check_traffic(faults, at, one)
        for number, address in enumerate(one.addresses):
            plain = address.partition("/")[0]
            if plain and plain in addresses and one.addresses.index(address) == number:
                faults.add(f"{at}.addresses[{number}]",
                           f"{shown(plain)} is on another link of this container",
                           "an address belongs to one link", "remove one")
        addresses.update(address.partition("/")[0] for address in one.addresses)


def check_devices(faults: Faults, spec: Spec) -> None:
    """Notes faults of `linux.netDevices`."""
    if not spec.linux.net_devices:
        return
    if not any(one.type == "network" for one in spec.linux.namespaces):
        faults.add("linux.netDevices", "needs a network namespace", "a link moves from the host's into another one",
                   "add {type: network} to linux.namespaces")
    names = {one.name for one in spec.interfaces}
    for index, one in enumerate(spec.linux.net_devices):
        at = f"linux.netDevices[{index}]"
        if bad := link_fault(one.host):
            faults.add(at, *bad)
            continue
        inside = one.name if one.name is not None else one.host
        # The kernel knows one template, and writes a number for it.
        if bad := link_fault(inside.replace("%d", "0", 1)):
            faults.add(f"{at}.name", *(shown(inside).join(word.split(shown(inside.replace("%d", "0", 1))))
                                       for word in bad))
        elif "%d" not in inside and inside in names:
            faults.add(f"{at}.name", f"{shown(inside)} is given twice", "a link's name is its own",
                       "choose another name")
        names.add(inside)


def _interface(faults: Faults, at: str, one: Interface) -> None:
    # Of a veth on a bridge it is said that the network is missing.
    if one.pooled and one.network is None and (one.type, one.mode) != ("veth", "bridge"):
        faults.add(f"{at}.addresses", "auto takes an address out of a network's pool, and there is no network",
                   "a Network document has the pool", "add network: lan0, or write the addresses")
    check_mtu(faults, f"{at}.mtu", one.mtu, one.addresses)
    check_addresses(faults, f"{at}.addresses", one.addresses)
    good = [address for address in one.addresses if address]
    families: set[int] = set()
    for index, gateway in enumerate(one.gateway):
        here = f"{at}.gateway[{index}]"
        if not gateway:
            continue
        if units.family(gateway) in families:
            faults.add(here, "is a second gateway of one family", "a link has one default route of each",
                       "remove one")
        families.add(units.family(gateway))
        # A router's link-local address is on every link.
        if not (one.mode == "routed" or gateway.startswith("fe80:") or one.pooled) and not any(
                units.within(gateway, address) for address in good):
            faults.add(here, f"{gateway} is in no network of this link",
                       "it could not be reached, ip-route(8)",
                       "write a gateway within one of the addresses' networks")
        elif any(address.partition("/")[0] == gateway for address in good):
            faults.add(here, f"{gateway} is this link's own address", "packets would be sent to itself",
                       "name the router")
    seen: set[tuple[str, int | None]] = set()
    for index, route in enumerate(one.routes):
        here = f"{at}.routes[{index}]"
        if route.to != "default":
            if units.network_text(route.to) != route.to:
                faults.add(f"{here}.to", f"{shown(route.to)} has bits beyond its prefix",
                           "a route leads to a network, ip-route(8)",
                           f"write {units.network_text(route.to)}")
            if route.via is not None and units.family(route.via) != units.family(route.to):
                faults.add(f"{here}.via", f"{route.via} is of another family than {route.to}", "ip-route(8)",
                           "write a router of the same family")
        elif route.via is not None and units.family(route.via) in families and not route.metric:
            faults.add(f"{here}.to", "default is what gateway says", "one thing is said in one place",
                       "remove one")
        if (route.to, route.metric) in seen and route.to != "default":
            faults.add(f"{here}.to", f"{route.to} is given twice", "routes differ in destination or metric",
                       "remove one")
        seen.add((route.to, route.metric))
        if route.metric is not None and not 0 <= route.metric < IDS:
            faults.add(f"{here}.metric", f"{route.metric} is out of range", f"it goes from 0 to {IDS - 1}",
                       "write 100")

