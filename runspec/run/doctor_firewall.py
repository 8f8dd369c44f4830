"""Whether the host's own firewall lets through what documents publish: the doctor's look at tables of others."""

from __future__ import annotations

import json

from runspec.plan import nft
from runspec.plan.nft_judge import Blocked, Packet, Ruleset
from runspec.plan.steps.host_links import host_name
from runspec.spec import rules_ports, units
from runspec.spec.model import Network, Spec
from runspec.spec.read_ports import span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runspec.kernel import Kernel


def judged(kernel: Kernel, model: Spec | Network) -> list[tuple[str, bool | None, str, str]]:
    """(path, whether, why, fix): whether the host's own rules let through what a model publishes or sends out."""
    if not nft.uses(model) or kernel.nft_program() is None:
        return []
    rules = Ruleset(json.loads(kernel.nft_list("ruleset") or b'{"nftables": []}')["nftables"], (nft.FAMILY, nft.NAME))
    hidden = b"".join(kernel.try_read(f"/proc/net/{name}_tables_names") or b"" for name in ("ip", "ip6"))
    out: list[tuple[str, bool | None, str, str]] = []
    for path, hook, packet in packets(model):
        found = rules.blocked(hook, packet)
        if found is not None:
            out.append((path, False if found.certain else None, f"{found}" if found.certain else
                        f"{found}, unless a rule before it lets it through", remedy(found, hook, packet)))
        elif b"filter" in hidden.split():
            out.append((path, None, "iptables-legacy has a table filter, which nftables does not show",
                        "see `iptables-legacy-save`"))
        else:
            out.append((path, True, "", ""))
    worst: dict[str, tuple[str, bool | None, str, str]] = {}
    for row in out:
        if row[0] not in worst or (row[1] is not True and worst[row[0]][1] is not False):
            worst[row[0]] = row
    return list(worst.values())


def packets(model: Spec | Network) -> Iterator[tuple[str, str, Packet]]:
    """(path, hook, packet) of what must pass other tables for a model's ports or nat: one each way."""
    if isinstance(model, Network):
        for family in sorted({units.family(one) for one in model.addresses}) if model.nat else ():
            yield "nat", "forward", Packet(family=family, iif=model.name, led=False)
            yield "nat", "forward", Packet(family=family, oif=model.name, led=False, state="established")
        return
    for index, port in enumerate(model.ports):
        path, family = f"ports[{index}]", rules_ports.family(port)
        inner = rules_ports.way_in(model, family)
        if inner is None:
            continue
        link = inner[0].network or host_name(model.name, inner[0].name)
        to = Packet(family=family, oif=link, protocol=port.protocol, target=inner[1].partition("/")[0],
                    dport=span(port.container)[0])
        back = Packet(family=family, iif=link, protocol=port.protocol, source=to.target, sport=to.dport,
                      state="established")
        if rules_ports.is_local(port):
            yield path, "output", to
            yield path, "input", back
        else:
            yield path, "forward", to
            yield path, "forward", back


def remedy(found: Blocked, hook: str, packet: Packet) -> str:
    """A rule that lets the packet through, in the language of whoever made the chain."""
    way, link = ("oifname", packet.oif) if packet.oif else ("iifname", packet.iif)
    if found.chain.isupper() and found.family != "inet":
        tool = "iptables" if packet.family == 4 else "ip6tables"
        state = ("ESTABLISHED,RELATED" if packet.state == "established" else "DNAT" if packet.led else "NEW")
        return (f"{tool} -I {hook.upper()} {'-o' if packet.oif else '-i'} {link} -m conntrack --ctstate {state} "
                "-j ACCEPT")
    state = "ct state established,related " if packet.state == "established" else "ct status dnat " * packet.led
    return f"nft insert rule {found.family} {found.table} {found.chain} {way} {link} {state}accept"
