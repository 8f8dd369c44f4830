"""Ports, nat and internal as path -> value, as asked and as the kernel shows them."""

from __future__ import annotations

from runspec.plan import nft
from runspec.plan.values import ABSENT, WHOLE
from runspec.spec import rules_ports
from runspec.spec.frozen import Frozen
from runspec.spec.model import Network, Port, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Wall(Frozen):
    """What was seen of the firewall, for everybody who uses it.

    Args:
        table: ours, None where there is none.
        knobs: path below /proc/sys -> its value, None where there is no such file.
        held: owner -> kernel parameters that are held for it.
        bridged: whether packets within a bridge are led as well.
        closed: whether the host forwards by our doing, and for nobody else.
        closing: path of a family's forwarding -> what is wrong with that, in words.
    """

    table: nft.Table | None = None
    knobs: dict[str, str | None] = {}                       # noqa: RUF012
    held: dict[str, dict[str, str]] = {}                    # noqa: RUF012
    bridged: bool = False
    closed: bool = False
    closing: dict[str, tuple[str, ...]] = {}                # noqa: RUF012

    def lacks(self, model: Spec | Network, last: Spec | Network | None = None) -> tuple[str, ...]:
        """What is missing or wrong beside a model's own elements, in words.

        Args:
            last: as it was applied last; what only an edit asks for is not missed yet.
        """
        knobs = nft.knobs(model, self.bridged)
        wrong = {knob: [f"{knob.replace('/', '.')} is {self.knobs.get(knob) or 'absent'}"]
                 for knob, value in knobs.items() if not nft.met(knob, self.knobs.get(knob), value)}
        for knob in knobs:
            if self.closing.get(knob):
                wrong.setdefault(knob, []).extend(self.closing[knob])
        known = nft.knobs(last, self.bridged) if wrong and last is not None else knobs
        return (*nft.damage(self.table), *(said for knob, words in wrong.items() if knob in known for said in words))

    def has(self, name: str, key: str, owner: str) -> str | None:
        """The value of an owner's element, None where he has no such one."""
        value, said = self.table.elements.get((name, key), ("", "")) if self.table is not None else ("", "")
        return value if said == owner else None


def expect_ports(spec: Spec, view: dict[str, Any]) -> None:
    """What should be published."""
    for index, one in enumerate(spec.ports):
        view[f"ports[{index}]"] = _shown(one, [value for _, _, value in nft.port_elements(spec, one)])


def gone_ports(spec: Spec, last: Spec) -> dict[str, Any]:
    """What only the spec applied last publishes, by its element's key: it has no index in the file."""
    if not last.ports:
        return {}
    return {_path(key): value.replace(" . ", ":") for name, key, value in nft.elements(last)
            if value and not any(key == mine for at, mine, _ in nft.elements(spec) if at == name)}


def see_ports(spec: Spec, last: Spec | None, wall: Wall, view: dict[str, Any]) -> None:
    """What is published; one whose elements are not all there, or another's, is not."""
    owner = nft.owner(spec)
    known: set[tuple[str, str]] = set()
    for index, one in enumerate(spec.ports):
        found = [wall.has(name, key, owner) for name, key, _ in nft.port_elements(spec, one)]
        view[f"ports[{index}]"] = ABSENT if None in found else _shown(one, [value or "" for value in found])
        known.update((name, key) for name, key, _ in nft.port_elements(spec, one))
    lost = wall.lacks(spec, last) if spec.ports and (last is None or last.ports) else ()
    missing = []
    for name, key, value in nft.elements(spec):
        known.add((name, key))
        if not value and wall.has(name, key, owner) is None and wall.table is not None:
            missing.append((name, key, value))
    if missing and last is not None:
        missing = [one for one in missing if one in nft.elements(last)]
    lost += tuple(f"no element {name} {key}" for name, key, _ in missing)
    view["ports"] = ", ".join(lost) or WHOLE
    for (name, key), (value, said) in (wall.table.elements if wall.table is not None else {}).items():
        if said == owner and value and (name, key) not in known:
            view[_path(key)] = value.replace(" . ", ":")


def _path(key: str) -> str:
    return f"ports[{key.replace(' . ', ' ')}]"


def _shown(port: Port, values: list[str]) -> str:
    """`127.0.0.1:8080/tcp to 10.77.0.11:80`."""
    inner = dict.fromkeys(value.partition(" . ")[0] for value in values)
    numbers = [int(number) for value in values if (number := value.partition(" . ")[2])]
    ports = (port.host if not numbers else str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}")
    return f"{rules_ports.text(port)} to {', '.join(f'[{one}]' if ':' in one else one for one in inner)}:{ports}"


def expect_network(network: Network, view: dict[str, Any]) -> None:
    """What should hold of a network's packets."""
    view["internal"], view["nat"] = network.internal, network.nat


def see_apart(network: Network, wall: Wall | None, view: dict[str, Any]) -> None:
    """Whether the host is no way from one isolated container to another, beside what its ports say."""
    if network.isolated and view.get("isolated") is True and wall is not None:
        mine = [(at, key) for at, key, _ in nft.elements(network, wall.bridged) if at == "apart"]
        lost = [*nft.damage(wall.table), *(f"no element {at} {key}" for at, key in mine
                                           if wall.has(at, key, nft.owner(network)) is None)]
        if lost:
            view["isolated"] = _said(lost)


def see_network(network: Network, last: Network | None, wall: Wall | None, view: dict[str, Any]) -> None:
    """What holds: all of it, or the words that say what is missing of what was asked before, too."""
    view["internal"], view["nat"] = False, False
    if wall is None or wall.table is None:
        return
    owner, name = nft.owner(network), network.name
    lacks, before = wall.lacks(network, last), nft.elements(last or network)
    for word, at in (("internal", "internal"), ("nat", "hidden")):
        if wall.has(at, name, owner) is None:
            continue
        lost = [*lacks, *(f"no element {at} {key}" for at, key, _ in nft.elements(network.replace(
            internal=word == "internal", nat=word == "nat")) if (at, key, "") in before
            and wall.has(at, key, owner) is None)]
        view[word] = _said(lost) if lost else True


def _said(lost: list[str]) -> str:
    """What is missing or wrong, in place of the yes that it is not."""
    missing = [one.removeprefix("no ") for one in lost if one.startswith("no ")]
    return ", ".join([f"without {', '.join(missing)}"] * bool(missing) + [one for one in lost if one[:3] != "no "])
