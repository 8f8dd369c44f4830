"""The one nftables table of ours: what it holds for containers and networks, and the text that makes it so.

Its rules are the same for everybody and look up in sets and maps; a container or network is nothing but
elements, each of which bears its owner's name as a comment.

See: nft(8).
"""

from __future__ import annotations

from zlib import crc32

from runspec.plan.steps import host_links
from runspec.spec import read_ports, rules_ports, units
from runspec.spec.frozen import Frozen
from runspec.spec.model import Network, Port, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    # set, key, value ("" in a set): as `nft list` shows them, without quotes.
    Element = tuple[str, str, str]

FAMILY, NAME = "inet", "runspec"
HOST = "the host"               # whose elements are nobody's; no container or network is called so
MARK = "made_by_runspec"        # an empty set: the table's own comment is not in every version's JSON
_FEW = 200                      # elements on one line

_PORT, _ADDRESS = "inet_service", {4: "ipv4_addr", 6: "ipv6_addr"}
# Name -> (types of the key, types of the value; none in a set, whether keys may be ranges).
SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...], bool]] = {
    MARK: (("mark",), (), False),
    "inside": (("ifname", "ifname"), (), False),
    "internal": (("ifname",), (), False),
    "hidden": (("ifname",), (), False),
    "apart": (("ifname",), (), False),
    "closed": (("nf_proto",), (), False),
    "free": (("nf_proto", "ifname"), (), False)}
for _kind, _name in _ADDRESS.items():
    _key = ("inet_proto", _name, _PORT)
    SETS[f"ports{_kind}"] = _key, (_name, _PORT), True
    SETS[f"ranges{_kind}"] = _key, (_name,), True       # the port stays what it is
    SETS[f"hairpin{_kind}"] = (_name, _name), (), True
    SETS[f"nat{_kind}"] = (_name,), (), True
    SETS[f"own{_kind}"] = (_name, "ifname"), (), True
    SETS[f"open{_kind}"] = (_name, "ifname"), (), False

# Chain -> (type, hook, priority), None for one that is jumped to; and its rules, each under a name.
CHAINS: dict[str, tuple[tuple[str, str, int] | None, dict[str, str]]] = {
    "guard": (("filter", "prerouting", -300), {
        # What is published at 127.0.0.1 is for the host alone, and route_localnet lets such packets in;
        # a neighbour may send one to our MAC. (One that claims to come from there is a martian to the kernel.)
        "to-loopback": 'iifname != "lo" ip daddr 127.0.0.0/8 drop'}),
    "forward": (("filter", "forward", 0), {
        "from-internal": "iifname @internal iifname . oifname != @inside drop",
        "to-internal": "oifname @internal iifname . oifname != @inside drop",
        # Who is kept from a sibling by the bridge could send to him by way of its MAC, or to another such network.
        "published-apart": "iifname @apart oifname @apart ct status dnat accept",
        "apart": "iifname @apart oifname @apart drop",
        "inside": "iifname . oifname @inside accept",
        # Behind nat nobody is reached from elsewhere but by what he began or published.
        "answers": "oifname @hidden ct state established,related accept",
        "published": "oifname @hidden ct status dnat accept",
        "unasked": "oifname @hidden drop",
        # Where the host forwards for us alone, it does so for nobody else.
        "open4": "ct status dnat ip daddr . oifname @open4 accept",
        "open6": "ct status dnat ip6 daddr . oifname @open6 accept",
        "answers4": "ct status dnat ct direction reply ip saddr . iifname @open4 accept",
        "answers6": "ct status dnat ct direction reply ip6 saddr . iifname @open6 accept",
        "out4": "ip saddr . iifname @own4 accept",
        "out6": "ip6 saddr . iifname @own6 accept",
        "free": "meta nfproto . iifname @free accept",
        "multicast4": "ip daddr 224.0.0.0/4 accept",      # goes where its router says, whatever the switch does
        "multicast6": "ip6 daddr ff00::/8 accept",
        "closed": "meta nfproto @closed drop"}),
    "lead": (None, {
        f"{word}{kind}": f"meta l4proto {{ tcp, udp }} dnat {ip} to meta l4proto . {ip} daddr . th dport "
                         f"map @{word}{kind}"
        for kind, ip in ((4, "ip"), (6, "ip6")) for word in ("ports", "ranges")}),
    "arriving": (("nat", "prerouting", -100), {"lead": "fib daddr type local jump lead"}),
    "leaving": (("nat", "output", -100), {
        "loopback6": "ip6 daddr ::1 return",        # no packet of its goes out, so it gets a clear refusal
        "lead": "fib daddr type local jump lead"}),
    "disguise": (("nat", "postrouting", 100), {
        "from-loopback": 'ct status dnat ip saddr 127.0.0.0/8 oifname != "lo" masquerade',
        # Who is on the same link would be answered directly, under an address that he did not ask.
        "hairpin4": "ct status dnat ip saddr . ip daddr @hairpin4 masquerade",
        "hairpin6": "ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade",
        "own4": "ip saddr . oifname @own4 return",
        "own6": "ip6 saddr . oifname @own6 return",
        "nat4": "ip saddr @nat4 masquerade",
        "nat6": "ip6 saddr @nat6 masquerade"})}


def comment(word: str, rule: str) -> str:
    """What a rule is known by: its name, and a sum of its text."""
    return f"{NAME} {word} {crc32(rule.encode()):08x}"


class Table(Frozen):
    """Our table as the kernel has it.

    Args:
        sets: names.
        chains: name -> (type, hook, priority, policy), None for one without a hook.
        rules: chain -> comments of its rules, "" for one without.
        elements: (set, key) -> (value, comment).
    """

    sets: frozenset[str] = frozenset()
    chains: dict[str, tuple[str, str, int, str] | None] = {}            # noqa: RUF012
    rules: dict[str, tuple[str, ...]] = {}                              # noqa: RUF012
    elements: dict[tuple[str, str], tuple[str, str]] = {}               # noqa: RUF012

    @property
    def ours(self) -> bool:
        """Whether it bears our mark."""
        return MARK in self.sets or any(one.startswith(f"{NAME} ") for rules in self.rules.values() for one in rules)


def damage(table: Table | None) -> tuple[str, ...]:
    """What is wrong with the table's sets, chains and rules, in words; elements are their owners'."""
    if table is None:
        return ("no table inet runspec",)
    out = [f"no set {name}" for name in SETS if name not in table.sets]
    for name, (hook, rules) in CHAINS.items():
        if name not in table.chains:
            out.append(f"no chain {name}")
            continue
        if table.chains[name] != (None if hook is None else (*hook, "accept")):
            out.append(f"another hook of chain {name}")
        have, want = table.rules.get(name, ()), {comment(word, rule): word for word, rule in rules.items()}
        out += [f"no rule {name}/{word}" for said, word in want.items() if said not in have]
        if not set(want) - set(have) and have != tuple(want):
            out.append(f"other rules in chain {name}")
    return tuple(out)


def skeleton() -> str:
    """The table without elements."""
    lines = [f"table {FAMILY} {NAME} {{", f'comment "{NAME}: ports, networks, and no forwarding but for them"']
    for name, (key, value, ranges) in SETS.items():
        types = " . ".join(key) + (f" : {' . '.join(value)}" if value else "")
        lines += [f"{'map' if value else 'set'} {name} {{", f"type {types}", *(["flags interval"] * ranges), "}"]
    for name, (hook, rules) in CHAINS.items():
        lines.append(f"chain {name} {{")
        if hook is not None:
            lines.append(f"type {hook[0]} hook {hook[1]} priority {hook[2]}; policy accept;")
        lines += [f'{rule} comment "{comment(word, rule)}"' for word, rule in rules.items()]
        lines.append("}")
    return "\n".join((*lines, "}", ""))


def batch(table: Table | None, wanted: Mapping[str, Iterable[Element]]) -> str:
    """One transaction after which these owners have these elements and no others; "" where that is so.

    Everybody else's stay. A table that lacks anything is made anew; the last element takes it along.

    Args:
        table: as it is, None where there is none.
        wanted: owner -> elements.
    """
    have = table.elements if table is not None else {}
    after = {at: said for at, said in have.items() if said[1] not in wanted and at[0] in SETS}
    after.update(((name, key), (value, owner)) for owner, those in wanted.items() for name, key, value in those)
    if not after:
        return f"delete table {FAMILY} {NAME}\n" if table is not None else ""
    if damage(table):
        drop = f"delete table {FAMILY} {NAME}\n" if table is not None else ""
        return drop + skeleton() + _elements("add", after)
    ended = {at: said for at, said in have.items() if after.get(at) != said}
    begun = {at: said for at, said in after.items() if have.get(at) != said}
    return _elements("delete", ended) + _elements("add", begun)


def led_anew(table: Table | None, wanted: Mapping[str, Iterable[Element]]) -> tuple[set[str], list[Element]]:
    """Addresses that lose ports of UDP by `batch`, and elements that get some: flows go on as they began."""
    have = table.elements if table is not None else {}
    new = {(name, key): value for those in wanted.values() for name, key, value in those if key.startswith("udp ")}
    whole = not damage(table)
    lost = {value.partition(" . ")[0] for at, (value, said) in have.items()
            if said in wanted and at[1].startswith("udp ") and new.get(at) != value}
    return lost, [(*at, value) for at, value in new.items() if not whole or have.get(at, ("",))[0] != value]


def takes(element: Element, target: str, port: int) -> bool:
    """Whether what is sent to an address and port is led by an element."""
    _, at, ports = element[1].split(" . ")
    first, last = read_ports.span(ports)
    return first <= port <= last and (at == target or (at.endswith("/0") and (":" in at) == (":" in target)))


def _elements(verb: str, those: Mapping[tuple[str, str], tuple[str, str]]) -> str:
    lines: dict[str, list[str]] = {}
    for (name, key), (value, owner) in those.items():
        one = _quoted(SETS[name][0], key)
        if verb == "add":
            one += f' comment "{owner}"' + (f" : {_quoted(SETS[name][1], value)}" if value else "")
        lines.setdefault(name, []).append(one)
    return "".join(f"{verb} element {FAMILY} {NAME} {name} {{ {', '.join(found[i:i + _FEW])} }}\n"
                   for name, found in lines.items() for i in range(0, len(found), _FEW))


def _quoted(types: tuple[str, ...], text: str) -> str:
    return " . ".join(f'"{part}"' if kind == "ifname" else part
                      for kind, part in zip(types, text.split(" . "), strict=True))


# -- what a container and a network are in it -------------------------------------------------------------

def owner(model: Spec | Network) -> str:
    """By what name elements are known as a model's."""
    return named("network" if isinstance(model, Network) else "container", model.name)


def named(kind: str, name: str) -> str:
    """The same of what is only known by its name; a comment has at most 128 bytes."""
    if kind == "network":
        return f"network {name}"
    return name if len(name) <= 100 else f"{name[:80]}~{crc32(name.encode()):08x}"


def uses(model: Spec | Network | None) -> bool:
    """Whether it has anything to do with the firewall."""
    if isinstance(model, Network):
        return bool(model.internal or model.nat or model.isolated)
    return model is not None and bool(model.ports)


def routed(model: Spec | Network | None) -> bool:
    """Whether it has a link that forwards by itself."""
    return isinstance(model, Spec) and any(one.mode == "routed" for one in model.interfaces)


def elements(model: Spec | Network, bridged: bool = False) -> tuple[Element, ...]:
    """All elements of a container or network.

    Args:
        bridged: packets within a bridge pass the same rules.
    """
    if isinstance(model, Network):
        return _network_elements(model, bridged)
    found: dict[Element, None] = {}
    for one in model.ports:
        found.update(dict.fromkeys(port_elements(model, one)))
    for kind in sorted({rules_ports.family(one) for one in model.ports}):
        inner = rules_ports.way_in(model, kind)
        if inner is None:
            continue
        found[f"hairpin{kind}", f"{_net(inner[1])} . {_plain(inner[1])}", ""] = None
        if any(rules_ports.family(one) == kind and not rules_ports.is_local(one) for one in model.ports):
            link = inner[0].network or host_links.host_name(model.name, inner[0].name)
            found[f"open{kind}", f"{_plain(inner[1])} . {link}", ""] = None
    return tuple(found)


def port_elements(spec: Spec, port: Port) -> tuple[Element, ...]:
    """The map entries of one published port or range: one for all of it where the ports are the same inside."""
    kind = rules_ports.family(port)
    inner = rules_ports.way_in(spec, kind)
    if inner is None:
        return ()
    to, (first, last), (begin, _) = _plain(inner[1]), read_ports.span(port.host), read_ports.span(port.container)
    at = f"{port.host_ip}/0" if port.host_ip == rules_ports.ANY[kind] else port.host_ip
    if first == begin and last > first:
        return ((f"ranges{kind}", f"{port.protocol} . {at} . {first}-{last}", to),)
    return tuple((f"ports{kind}", f"{port.protocol} . {at} . {first + i}", f"{to} . {begin + i}")
                 for i in range(last - first + 1))


def _network_elements(network: Network, bridged: bool) -> tuple[Element, ...]:
    name = network.name
    # On somebody else's bridge there are ports that are not kept apart, and what passes there is no routing.
    out: list[Element] = [("apart", name, "")] * (network.isolated and not (network.external and bridged))
    if network.internal or network.nat:
        out.append(("inside", f"{name} . {name}", ""))
    if network.internal:
        out.append(("internal", name, ""))
    if network.nat:
        out.append(("hidden", name, ""))
        for net in dict.fromkeys(_net(one) for one in network.addresses if not one.startswith("fe80:")):
            kind = units.family(net)
            out += [(f"nat{kind}", net, ""), (f"own{kind}", f"{net} . {name}", "")]
    return tuple(out)


def _plain(cidr: str) -> str:
    return cidr.partition("/")[0]


def _net(cidr: str) -> str:
    """The network of an address, as nft shows it: a whole address bears no length."""
    text = units.network_text(cidr)
    return _plain(text) if text.endswith("/128" if ":" in text else "/32") else text


def knobs(model: Spec | Network, bridged: bool) -> dict[str, str]:
    """Kernel parameters, as paths below /proc/sys, that its ports or nat need, and their values.

    Beside them, under PORT and a link's name, whether that port of a bridge sends back what came in by it.

    Args:
        bridged: packets within a bridge are led as well (bridge-nf-call-iptables), so that one to the
            container's own published port never leaves its bridge.
    """
    out: dict[str, str] = {}
    if isinstance(model, Network):
        for address in model.addresses if model.nat else ():
            out[FORWARD[units.family(address)]] = "1"
        return out
    for port in model.ports:
        kind = rules_ports.family(port)
        inner = rules_ports.way_in(model, kind)
        if inner is None:
            continue
        if not rules_ports.is_local(port):
            out[FORWARD[kind]] = "1"
        if rules_ports.is_local(port) or port.host_ip == rules_ports.ANY[4]:
            # Else the kernel sends nothing from 127.0.0.1 over it, ip-sysctl.rst route_localnet.
            link = inner[0].network or host_links.host_name(model.name, inner[0].name)
            out[f"net/ipv4/conf/{link}/route_localnet"] = "1"
        if bridged and inner[0].network:
            out[PORT + host_links.host_name(model.name, inner[0].name)] = "1"
    return out


def met(knob: str, now: str | None, wanted: str) -> bool:
    """Whether a parameter is as it has to be; whoever switched forwarding on."""
    return now not in (None, "", "0") if knob in FORWARD.values() else now == wanted


PORT = "hairpin of "
FORWARD = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
