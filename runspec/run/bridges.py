"""The networks of a request, held against the bridges of the host; and what containers have from them."""

from __future__ import annotations

from runspec.plan import diff
from runspec.plan.planner import Item
from runspec.plan.steps import host_links, network as steps
from runspec.plan.steps.base import Change, Step
from runspec.plan.steps.links import member
from runspec.plan.values import ABSENT
from runspec.run.store import status
from runspec.spec import fields, from_yaml, networks, source
from runspec.spec.model import Network, NetworkQos, Qos, Spec
from runspec.spec.tree import from_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.errors import SpecError
    from runspec.plan.facts import Facts
    from runspec.run.observe import Observer
    from runspec.run.probes import Probes
    from runspec.run.request import Wanted
    from runspec.run.store import Record, Store


def inherit(specs: list[Spec], lasts: dict[str, Spec | None], former: dict[str, Network], joined: dict[str, Network],
            observer: Observer) -> tuple[list[Spec], dict[str, Spec | None]]:
    """Specs with what they leave to their networks, as these are and as they were when applied last.

    Args:
        former, joined: the networks as they were, and as they will be; the first learns those that are left.
    """
    for spec in specs:
        last = lasts[spec.name]
        if last is not None and last is not spec:
            _learn(observer.store, last, former)
    now = {name: measured(one, observer) for name, one in joined.items()}
    was = {name: measured(one, observer) for name, one in former.items()}
    out: list[Spec] = []
    before: dict[str, Spec | None] = {}
    for spec in specs:
        last, given = lasts[spec.name], _met(spec, now, observer)
        out.append(given)
        before[spec.name] = given if last is spec and now == was else (
            _met(last, was, observer) if last is not None else None)
    return out, before


def _met(spec: Spec, known: dict[str, Network], observer: Observer) -> Spec:
    return networks.lined(networks.inherit(spec, known), known, observer.fair)


def tell(facts: list[Facts], known: dict[str, Network], observer: Observer) -> None:
    """Lets what was observed of containers hold their networks as well."""
    if not known:
        return
    now = {name: measured(one, observer) for name, one in known.items()}
    vlans = observer.port_vlans() if any(one.vlan_filtering for one in now.values()) else {}
    for one in facts:
        one.networks, one.port_vlans = now, vlans


def measured(network: Network, observer: Observer) -> Network:
    """An external network with the mtu that its bridge has: no document says it."""
    if not network.external:
        return network
    link = next((one for one in observer.host_links() if one.name == network.name), None)
    return network.replace(mtu=link.mtu) if link is not None else network


def items(store: Store, wanted: list[Wanted], gone: list[tuple[str, str]], observer: Observer) -> list[Item]:
    """Each network of a request held against its bridge.

    Raises:
        SpecError: for each bridge that is missing, no bridge, or another's than the document says; and where not all
            are given who share a line that comes or goes.
    """
    out: list[Item] = []
    faults = together(store, wanted, gone)
    named = {one.model.name for one in wanted if isinstance(one.model, Spec)} | {
        name for kind, name in gone if kind == "container"}
    for one in wanted:
        if isinstance(one.model, Network):
            facts = observer.network(one.model)
            bad = foreign(one.model, facts)
            if bad is not None:
                faults.append(from_yaml.fault(one.marks, *bad))
            else:
                out.append(_item(store, one.model, facts))
                if facts.status == "absent" and out[-1].last is not None:
                    out[-1].ports, out[-1].lost = _again(store, one.model, named, observer)
    if faults:
        raise source.join(faults)
    return out


def _item(store: Store, wanted: Network, facts: Facts) -> Item:
    record = store.load("network", wanted.name)
    last = from_tree(Network, record.spec) if record is not None else None
    if facts.status == "absent" or last is None:
        before, after = ("unused", "used") if wanted.external else (ABSENT, "present")
        change = Change(target=wanted.name, path="", before=before, after=after, impact=fields.IN_PLACE,
                        cause="new" if record is None else "drifted")
        return Item(wanted, last, facts, (change,))
    seen = steps.network_seen(wanted, last, facts)
    item = Item(wanted, last, facts, diff.changes(wanted.name, steps.network_expected(wanted),
                                                  steps.network_expected(last), seen))
    item.seen = seen
    return item


def _again(store: Store, network: Network, named: set[str],
           observer: Observer) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """What joins running containers that nobody named to a bridge that is made anew; and whom that does not help."""
    joined, lost = list[Step](), dict[str, None]()
    here = {one.name: one for one in observer.host_links()}
    for name in store.users(network.name):
        record = store.load("container", name)
        if name in named or record is None or status(store.kernel, record) != "running":
            continue
        for one in from_tree(Spec, record.spec).interfaces:
            link = host_links.host_name(name, one.name)
            end = here.get(link) if one.network == network.name else None
            if end is not None and not end.master and end.alias.startswith(host_links.MARK) and network.qos is None:
                port = member(one, {network.name: network})
                joined.append(host_links.JoinBridge(target=network.name, link=link, bridge=network.name,
                                                    isolated=port.isolated, vlan=port.vlan))
            elif network.name in (one.network, one.parent):
                lost[name] = None
    return tuple(joined), tuple(lost)


def leaver(network: Network, facts: Facts) -> Item:
    """A network that goes; a bridge of somebody else's is used no more, and stays."""
    before, after = ("used", "unused") if network.external else ("present", ABSENT)
    return Item(None, network, facts, (Change(target=network.name, path="", before=before, after=after,
                                              impact=fields.RECREATE, cause="removed"),))


def blame(store: Store, spec: Spec, record: Record, changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Changes of what a container has from its network, which was edited after the container was applied: not drifted.

    Args:
        spec: with what it has from its networks.
        record: of the container.
    """
    if all(one.cause != "drifted" or not one.path.startswith("interfaces[") for one in changes):
        return changes
    own = from_tree(Spec, record.spec)
    given = {f"interfaces[{i}].{key}": link.network for i, link in enumerate(spec.interfaces) for last in own.interfaces
             if (last.name, last.network) == (link.name, link.network)
             for keys, derived in ((("gateway",), last.pooled), (("mtu", "hostEnd.mtu"), last.mtu is None))
             if derived and link.network for key in keys}
    later = {name for name in set(given.values()) if store.saved("network", name) > store.saved("container", spec.name)}
    return tuple(one.replace(cause="edited") if one.cause == "drifted" and given.get(one.path) in later else one
                 for one in changes)


def foreign(wanted: Network, facts: Facts) -> tuple[str, str, str, str] | None:
    """What is wrong with a network's link being there, or not: (path, what, why, fix)."""
    link = facts.links[0] if facts.links else None
    mine = link is not None and link.alias == host_links.alias(wanted.name)
    if not wanted.external:
        return None if link is None or mine else (
            "name", f"a link {wanted.name} is there already and is not runspec's",
            "runspec changes only links that carry its mark, ip-link(8) alias",
            "name the network otherwise, remove that link, or write external: true to use it as it is")
    if link is None:
        return ("external", f"there is no bridge {wanted.name}", "external: true uses a bridge that is there",
                "make it first, or remove external")
    if link.kind != "bridge":
        return ("external", f"the link {wanted.name} is no bridge but {link.kind or 'a plain device'}",
                "interfaces of containers join a bridge, ip-link(8)", "name another one")
    if mine:
        return ("external", f"the bridge {wanted.name} is runspec's own", "nobody else would ever remove it",
                "remove external, or destroy the network first and make the bridge otherwise")
    return None


def holds(qos: Qos | NetworkQos | None) -> bool:
    """Whether anything is held to a rate."""
    return qos is not None and any(one is not None and one.rate is not None for one in (qos.egress, qos.ingress))


def fair(probes: Probes, wanted: list[Wanted], joined: dict[str, Network]) -> bool:
    """Whether flows that wait for a limit take turns, as the kernel says; asked where there is any.

    Args:
        joined: the networks of those that are wanted.
    """
    models = [*(one.model for one in wanted), *joined.values()]
    asked = [one.qos for model in models for one in (model.interfaces if isinstance(model, Spec) else (model,))]
    return any(map(holds, asked)) and bool(probes.ask("traffic:fq_codel").ok)


def known(store: Store, spec: Spec, found: dict[str, Network]) -> Spec:
    """A container that goes, with what its networks say of its limits.

    Args:
        found: networks as they were applied; learns those that are missing.
    """
    _learn(store, spec, found)
    return networks.lined(spec, found, False)


def _learn(store: Store, spec: Spec, found: dict[str, Network]) -> None:
    for name in networks.named(spec):
        record = store.load("network", name) if name not in found else None
        if record is not None:
            found[name] = from_tree(Network, record.spec)


def together(store: Store, wanted: list[Wanted], gone: list[tuple[str, str]]) -> list[SpecError]:
    """A network gets a line, or loses it, with all of its containers: a fault for each where not all are given."""
    faults: list[SpecError] = []
    given = {one.model.name for one in wanted if isinstance(one.model, Spec)} | {
        name for kind, name in gone if kind == "container"}
    for one in wanted:
        record = store.load("network", one.model.name) if isinstance(one.model, Network) else None
        if record is None or not isinstance(one.model, Network):
            continue
        now, was = networks.ways(one.model.qos), networks.ways(from_tree(Network, record.spec).qos)
        users = sorted(name for name in store.users(one.model.name) if name not in given) if now != was else []
        if users:
            word = next(word for word in ("egress", "ingress") if (word in now) != (word in was))
            what = f"{', '.join(users)} would not {'come to' if word in now else 'leave'} this line"
            faults.append(from_yaml.fault(
                one.marks, f"qos.{word}", what, "who shares it goes through it, and is not given here",
                "give all containers of the network at once"))
    return faults
