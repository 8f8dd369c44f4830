"""Gives interfaces with `addresses: auto` their addresses: the ones they had, else the lowest that are free.

The locks of a request's networks are held, so that no two runs give out one network's addresses at once.
"""

from __future__ import annotations

from runspec.spec import from_yaml, networks, source, units
from runspec.spec.model import Interface, Network, Spec
from runspec.spec.tree import from_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runspec.errors import SpecError
    from runspec.run.request import Wanted
    from runspec.run.store import Record, Store
    from runspec.spec.networks import Number


class Asker:
    """One interface that asks for addresses.

    Attributes:
        former: what it had when it was applied last, None where it was not.
    """

    __slots__ = ("former", "given", "index", "link", "one")

    def __init__(self, one: Wanted, index: int, link: Interface) -> None:
        self.one, self.index, self.link = one, index, link
        self.former: tuple[str, ...] = ()
        self.given: dict[int, str] = {}         # family -> address

    @property
    def order(self) -> tuple[str, int]:
        """By which the new ones take turns, whatever the order of the documents."""
        return self.one.model.name, self.index


def find(store: Store, wanted: list[Wanted], names: frozenset[str]) -> tuple[dict[str, Network], dict[str, Network]]:
    """Networks of these names as they were applied, and as they will be.

    Args:
        names: of networks; what neither a document nor a Record has is left out.
    """
    before: dict[str, Network] = {}
    for name in sorted(names):
        record = store.load("network", name)
        if record is not None:
            before[name] = from_tree(Network, record.spec)
    given = {one.model.name: one.model for one in wanted if isinstance(one.model, Network) and one.model.name in names}
    return before, {**before, **given}


def assign(store: Store, wanted: list[Wanted], gone: list[tuple[str, str]], known: dict[str, Network],
           outside: Callable[[str], list[str]]) -> None:
    """Puts addresses into the models of a request that ask for some.

    Args:
        gone: (kind, name) that go away, whose addresses are free.
        known: the networks that they name.
        outside: name of a bridge -> addresses that the host has there.

    Raises:
        SpecError: for each interface whose pool has none left, with its place.
    """
    askers = [Asker(one, index, link) for one in wanted if isinstance(one.model, Spec)
              for index, link in enumerate(one.model.interfaces) if link.pooled and link.network in known]
    if not askers:
        return
    by_name: dict[str, list[Asker]] = {}
    for asker in askers:
        by_name.setdefault(asker.one.model.name, []).append(asker)
    given = {one.model.name for one in wanted if isinstance(one.model, Spec)}
    leaving = {name for kind, name in gone if kind == "container"}
    taken: dict[str, dict[Number, str]] = {name: {} for name in known}      # network -> address -> who has it
    for name in {asker.link.network or "" for asker in askers if known[asker.link.network or ""].external}:
        taken[name].update((networks.number(address), "the host") for address in outside(name))
    for one in wanted:
        for link in one.model.interfaces if isinstance(one.model, Spec) else ():
            hold(taken, one.model.name, link, () if link.pooled else link.addresses)
    for name in store.names("container"):
        record = store.load("container", name) if name not in leaving else None
        for link in links_of(record) if record is not None else ():
            if name not in given:
                hold(taken, name, link, link.addresses)
            for asker in by_name.get(name, ()):
                if (link.name, link.network) == (asker.link.name, asker.link.network):
                    asker.former = link.addresses
    askers.sort(key=lambda one: one.order)
    for asker in askers:
        keep(asker, known[asker.link.network or ""], taken)
    streams: dict[tuple[str, int], Iterator[str]] = {}
    faults = [fault for asker in askers for fault in take(asker, known[asker.link.network or ""], taken, streams)]
    if faults:
        raise source.join(faults)
    for mine in by_name.values():
        one, spec = mine[0].one, mine[0].one.model
        assert isinstance(spec, Spec)
        found = {asker.index: tuple(asker.given[kind] for kind in sorted(asker.given)) for asker in mine}
        one.model = spec.replace(interfaces=tuple(link.replace(addresses=found.get(index, link.addresses))
                                                  for index, link in enumerate(spec.interfaces)))


def links_of(record: Record) -> list[Interface]:
    """The interfaces of a container as it was applied."""
    return [from_tree(Interface, one) for one in record.spec.get("interfaces", ())]


def hold(taken: dict[str, dict[Number, str]], name: str, link: Interface, addresses: tuple[str, ...]) -> None:
    """Notes addresses that somebody has on a network; a gateway is somebody's too."""
    if link.network in taken:
        for address in (*addresses, *link.gateway):
            taken[link.network].setdefault(networks.number(address), name)


def keep(asker: Asker, network: Network, taken: dict[str, dict[Number, str]]) -> None:
    """What it had, where the pool still gives that and nobody else took it."""
    here = taken[network.name]
    for address in asker.former:
        number = networks.number(address)
        if number not in here and networks.gives(network, address) and number[0] not in asker.given:
            asker.given[number[0]] = address
            here[number] = asker.one.model.name


def take(asker: Asker, network: Network, taken: dict[str, dict[Number, str]],
         streams: dict[tuple[str, int], Iterator[str]]) -> Iterator[SpecError]:
    """The lowest free one of each family that it has none of; yields a fault where none is left.

    Args:
        streams: (network, family) -> what is free, each found once.
    """
    at, here = f"interfaces[{asker.index}]", taken[network.name]
    kinds = networks.families(network)
    if not kinds:
        yield from_yaml.fault(asker.one.marks, f"{at}.addresses", f"{network.name} has no addresses to give",
                              "a pool is the network's addresses, or its range, and it has neither",
                              f"add addresses or pool.range to {network.name}")
    for kind in kinds:
        if kind in asker.given:
            continue
        stream = streams.setdefault((network.name, kind), networks.free(network, kind, here))
        found = next(stream, None)
        if found is None:
            yield from_yaml.fault(asker.one.marks, f"{at}.addresses",
                                  f"the pool of {network.name} has no IPv{kind} address left",
                                  exhausted(network, kind, here),
                                  f"widen pool.range of {network.name}, or remove one of those")
            continue
        asker.given[kind] = found
        here[networks.number(found)] = asker.one.model.name
    for index, hop in enumerate(asker.link.gateway):
        if not hop.startswith("fe80:") and not any(units.within(hop, one) for one in asker.given.values()):
            given = " and ".join(asker.given.values())
            yield from_yaml.fault(asker.one.marks, f"{at}.gateway[{index}]", f"{hop} is in no network of this link",
                                  f"it could not be reached, ip-route(8); the pool gives {given}",
                                  "remove it: with `addresses: auto` the network is the gateway")


def exhausted(network: Network, kind: int, here: dict[Number, str]) -> str:
    """Who has the addresses of a pool."""
    spans = [(first, last) for family, first, last, _ in networks.ranges(network) if family == kind]
    names = sorted({name for (family, value), name in here.items()
                    if family == kind and any(first <= value <= last for first, last in spans)})
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    texts = [f"{units.address_text(kind, first)}-{units.address_text(kind, last)}" for first, last in spans]
    return f"it gives {', '.join(texts)}, which {listed or 'nobody'} {'have' if len(names) > 1 else 'has'}"


def strays(store: Store, wanted: list[Wanted]) -> list[str]:
    """A line for each container beside the request whose address its network's pool gives no more."""
    changed = {one.model.name: one.model for one in wanted if isinstance(one.model, Network)}
    given = {one.model.name for one in wanted if isinstance(one.model, Spec)}
    if not changed:
        return []
    out = []
    for name in store.names("container"):
        record = store.load("container", name) if name not in given else None
        if record is None:
            continue
        for link in links_of(record):
            network = changed.get(link.network or "")
            if link.pooled and network is not None:
                out += [f"{name}: keeps {address} until it is applied, which the pool of {network.name} gives no more"
                        for address in link.addresses if not networks.gives(network, address)]
    return out
