"""What only one may have of a network: subnets, addresses, MACs, VLANs, the parents of links."""

from __future__ import annotations

from runspec.spec import units
from runspec.spec.frozen import Frozen
from runspec.spec.model import Interface, Network, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Where = Callable[["Party"], str]


class Party(Frozen):
    """One document's part in a finding: its kind and name, the path that asks, and how much that is."""

    kind: str
    name: str
    path: str
    asks: str = ""


class Finding(Frozen):
    """Something that documents ask together and the machine cannot give.

    Args:
        parties: in the order of the documents.
        what: beside it stands who asks it.
        refused: False for a warning.
    """

    parties: tuple[Party, ...]
    what: str
    why: str
    fix: str
    refused: bool = True

    def reason(self, where: Where) -> str:
        """Who asks what, and why not."""
        return f"{', '.join(words(one, where) for one in self.parties)}; {self.why}"


def words(party: Party, where: Where) -> str:
    """`foo1 (a.yaml:7:3) 60%`."""
    return f"{party.name} ({where(party)})" + (f" {party.asks}" if party.asks else "")


def conflicts(specs: Sequence[Spec], networks: Sequence[Network]) -> list[Finding]:
    """What two documents claim that one alone may have."""
    return [*_subnets(networks), *_stations(specs, networks), *_parents(specs), *_tags(specs, networks)]


def _subnets(networks: Sequence[Network]) -> list[Finding]:
    """Networks that claim the same addresses: the host would send to one of them only."""
    spans: list[tuple[int, int, int, Network, int]] = []
    for network in networks:
        for index, address in enumerate(network.addresses):
            kind, first, length = units.network_of(address)
            last = first + (1 << (32 if kind == 4 else 128) - length) - 1
            spans.append((kind, first, last, network, index))
    spans.sort(key=lambda one: one[:3])
    out = []
    for number, (kind, _, last, network, index) in enumerate(spans):
        for other_kind, first, _, other, other_index in spans[number + 1:]:
            if other_kind != kind or first > last:
                break
            if other is network:
                continue
            pair = sorted((Party(kind="network", name=one.name, path=f"addresses[{at}]", asks=one.addresses[at])
                           for one, at in ((network, index), (other, other_index))),
                          key=lambda one: [each.name for each in networks].index(one.name))
            out.append(Finding(
                parties=tuple(pair),
                what=f"{' and '.join(units.network_text(one.asks) for one in pair)} overlap",
                why="the host reaches an address by one link only, ip-route(8)", fix="choose another subnet"))
    return out


def segment(link: Interface) -> str:
    """Where a link's frames go, in words: links with one answer hear each other; "" where none is like it."""
    if link.network is not None:
        return f"network {link.network}"
    if link.parent is None or link.type == "physical":
        return ""
    if link.type == "vlan" and link.vlan is not None:
        return f"VLAN {link.vlan.id} of {link.parent}"
    return f"link {link.parent}"


def _stations(specs: Sequence[Spec], networks: Sequence[Network]) -> list[Finding]:
    """An address or a MAC twice on one network or parent."""
    found: dict[tuple[str, str, str], list[Party]] = {}
    bridges = {one.name for one in networks}
    for network in networks:
        for index, address in enumerate(network.addresses):
            found.setdefault((f"network {network.name}", "address", address.partition("/")[0]), []).append(
                Party(kind="network", name=network.name, path=f"addresses[{index}]"))
    for one in specs:
        for number, link in enumerate(one.interfaces):
            # A macvlan on a network's bridge is on the network.
            where = f"network {link.parent}" if link.parent in bridges and link.type != "vlan" else segment(link)
            at = f"interfaces[{number}]"
            for index, address in enumerate(link.addresses):
                plain = address.partition("/")[0]
                if where or link.mode == "routed":
                    # Pooled ones stand in no list of the file.
                    found.setdefault((where, "address", plain), []).append(Party(
                        kind="container", name=one.name, path=f"{at}.addresses" + f"[{index}]" * (not link.pooled)))
            if link.mac and where:
                found.setdefault((where, "MAC", link.mac), []).append(
                    Party(kind="container", name=one.name, path=f"{at}.mac"))
    return [Finding(parties=tuple(those), what=f"{value} is on {where} twice" if where else
                    f"{value} is routed to two containers",
                    why="an address belongs to one link, arp(7)" if word == "address"
                        else "a bridge tells links apart by it, bridge(8)",
                    fix="change one")
            for (where, word, value), those in found.items()
            if len({(one.kind, one.name) for one in those}) > 1]


def _parents(specs: Sequence[Spec]) -> list[Finding]:
    """Links that cannot be on one link of the host; what one file says by one word was judged before."""
    users: dict[str, list[tuple[Spec, int]]] = {}
    for one in specs:
        for index, link in enumerate(one.interfaces):
            if link.parent is not None:
                users.setdefault(link.parent, []).append((one, index))
    out = []
    for one in specs:
        for device in one.linux.net_devices:
            out += [Finding(what=there(device.host) if other is one else
                            f"{device.host} goes into one container and is a parent in another",
                            why="an interface moves into its container, config-linux.md \"Network Devices\"",
                            fix="name another link", parties=(
                                Party(kind="container", name=one.name, path=f"linux.netDevices.{device.host}"),
                                Party(kind="container", name=other.name, path=f"interfaces[{at}].parent")))
                    for other, at in users.get(device.host, ())]
    for parent, those in users.items():
        for number, (one, index) in enumerate(those):
            for other, before in those[:number]:
                bad = clash(parent, other.interfaces[before], one.interfaces[index])
                if bad is None:
                    continue
                key, what, why, fix = bad
                if key == ".parent" and other is one:
                    what = there(parent)
                out.append(Finding(what=what, why=why, fix=fix, parties=tuple(
                    Party(kind="container", name=each.name, path=f"interfaces[{at}]{key}", asks=asks(each, at))
                    for each, at in ((other, before), (one, index)))))
                break       # the next one would say the same of a third
    return out


def there(link: str) -> str:
    """What is wrong with two uses in one file."""
    return f"{link} goes into the container and is another interface's parent"


def asks(spec: Spec, index: int) -> str:
    """An interface in words: `macvlan passthru`."""
    link = spec.interfaces[index]
    return f"{link.type} {link.vlan.id if link.vlan is not None else link.mode or ''}".rstrip()


def clash(parent: str, one: Interface, other: Interface) -> tuple[str, str, str, str] | None:
    """Why two links cannot be on one parent: (key with its dot, what, why, fix)."""
    kinds = {one.type, other.type}
    if "physical" in kinds:
        return (".parent", f"{parent} can be in one container only" if len(kinds) == 1 else
                f"{parent} goes into one container and carries links of another",
                "a physical interface moves into its container, ip-link(8) netns", "name another link")
    if kinds == {"macvlan", "ipvlan"}:
        return (".type", f"{parent} is asked to carry both macvlan and ipvlan links",
                "a link of the host carries one of these types alone, ip-link(8)",
                "give both one type, or another parent")
    if kinds == {"macvlan"} and "passthru" in (one.mode, other.mode):
        return (".mode", f"{parent} is asked to carry a passthru macvlan beside another",
                "one in mode passthru is alone on its parent, ip-link(8)", "use another mode or another parent")
    if kinds == {"ipvlan"} and (one.mode or "l2") != (other.mode or "l2"):
        return (".mode", f"{parent} is asked to carry ipvlan links of two modes",
                "the kernel has one mode for all of a parent's, ipvlan.rst", "give both one mode")
    if kinds == {"vlan"} and one.vlan is not None and one.vlan == other.vlan:
        return (".vlan.id", f"VLAN {one.vlan.id} ({one.vlan.protocol}) of {parent} is asked for twice",
                "a parent has one link for each tag, ip-link(8)", "use another id")
    return None


def _tags(specs: Sequence[Spec], networks: Sequence[Network]) -> list[Finding]:
    """VLANs on bridges that heed none."""
    plain = {one.name: one for one in networks if not one.vlan_filtering}
    return [Finding(what=f"the bridge of {network.name} heeds no VLAN tags", parties=(
                        Party(kind="network", name=network.name, path="vlanFiltering"),
                        Party(kind="container", name=one.name, path=f"interfaces[{index}].vlan",
                              asks=f"VLAN {link.vlan.id}")),
                    why="an external bridge is used as it is" if network.external else
                        "its ports see each other whatever they are tagged, ip-link(8) vlan_filtering",
                    fix="remove vlan" if network.external else f"add vlanFiltering: true to {network.name}, "
                        "or remove vlan")
            for one in specs for index, link in enumerate(one.interfaces)
            if link.type == "veth" and link.vlan is not None
            and (network := plain.get(link.network or "")) is not None]
