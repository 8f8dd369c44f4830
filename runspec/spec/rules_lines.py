"""What containers ask of the line that their network shares out, held against what that carries."""

from __future__ import annotations

from runspec.spec.model import Carried, Interface, Network, Spec, Traffic
from runspec.spec.rules_conflicts import Finding, Party
from runspec.spec.rules_traffic import IDLE, WAYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    # Name of a container, index of its interface, what that asks of one way.
    Asker = tuple[str, int, Traffic]


def lines(specs: Sequence[Spec], networks: Sequence[Network]) -> list[Finding]:
    """More guaranteed than there is, more allowed than could ever be had, and turns where nobody waits."""
    out = []
    for network in networks:
        for word in WAYS:
            asked = [(spec.name, index, traffic) for spec in specs for index, one in enumerate(spec.interfaces)
                     if on(one, network) and (traffic := getattr(one.qos, word, None)) is not None]
            line = getattr(network.qos, word, None)
            if line is None:
                out += [Finding(parties=(_party(one, word, "priority"),), what=IDLE[0],
                                why=f"{network.name} has no line of {word} that containers share; {IDLE[1]}",
                                fix=f"remove it, or add qos.{word} to {network.name}")
                        for one in asked if word == "ingress" and one[2].priority is not None]
            else:
                out += _sums(network, word, line, asked)
    return out


def on(one: Interface, network: Network) -> bool:
    """Whether an interface is a port of a network."""
    return one.type == "veth" and one.mode in (None, "bridge") and one.network == network.name


def _sums(network: Network, word: str, line: Carried, asked: list[Asker]) -> list[Finding]:
    capacity = line.rate
    whole = Party(kind="network", name=network.name, path=f"qos.{word}.rate", asks=rate(capacity))
    given = [one for one in asked if one[2].rate is not None]
    total = sum(one[2].rate or 0 for one in given)
    if total > capacity:
        return [Finding(parties=(whole, *(_party(one, word, "rate", one[2].rate) for one in given)),
                        what=f"{rate(total)} of {word} are guaranteed on {network.name}",
                        why=f"its line carries {rate(capacity)}, and what is guaranteed must be there, tc-htb(8)",
                        fix=f"lower a rate, or raise qos.{word}.rate of {network.name}")]
    return [Finding(parties=(whole, _party(one, word, "ceil", one[2].ceil)),
                    what=f"{rate(one[2].ceil or 0)} are more than {network.name} carries",
                    why=f"its line for {word} has {rate(capacity)}, tc-htb(8)", fix=f"write {rate(capacity)} or less")
            for one in given if (one[2].ceil or 0) > capacity]


def _party(one: Asker, word: str, leaf: str, value: int | None = None) -> Party:
    name, index, _ = one
    return Party(kind="container", name=name, path=f"interfaces[{index}].qos.{word}.{leaf}",
                 asks=rate(value) if value is not None else "")


def rate(value: int) -> str:
    """bit/s as people write them."""
    for unit, size in (("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000)):
        if value >= size and value % (size // 1000) == 0:
            return f"{value / size:.3f}".rstrip("0").rstrip(".") + unit
    return f"{value}bit"
