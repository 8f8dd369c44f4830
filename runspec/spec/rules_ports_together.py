"""Published ports of all containers of a machine together: a part of rules_admission.py."""

from __future__ import annotations

from runspec.spec import networks as pools
from runspec.spec.model import Network, Spec
from runspec.spec.read_ports import span
from runspec.spec.rules_conflicts import Finding, Party
from runspec.spec.rules_ports import clash, family, is_local, text, way_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runspec.errors import SpecError
    from runspec.spec.compose import Document


def together(specs: Sequence[Spec], networks: Sequence[Network]) -> list[Finding]:
    """Ports of two containers that are one, and ports that a network keeps from those they are for."""
    rows = sorted(((one.protocol, *span(one.host), number, index, one) for number, spec in enumerate(specs)
                   for index, one in enumerate(spec.ports)), key=lambda row: row[:5])
    out = []
    for at, (protocol, _, last, number, index, port) in enumerate(rows):
        for kind, first, _, further, other_index, other in rows[at + 1:]:
            if kind != protocol or first > last:
                break
            if further == number or not clash(port, other):
                continue
            pair = sorted(((number, index, port), (further, other_index, other)), key=lambda one: one[:2])
            out.append(Finding(
                parties=tuple(Party(kind="container", name=specs[n].name, path=f"ports[{i}]", asks=text(p))
                              for n, i, p in pair),
                what=" and ".join(text(p) for _, _, p in pair) + " are one port", fix="choose another port",
                why="a port of the host leads to one place"))
    inner = {one.name for one in networks if one.internal}
    for spec in specs:
        for index, port in enumerate(spec.ports):
            found = way_in(spec, family(port))
            if found is not None and found[0].network in inner and not is_local(port):
                out.append(Finding(
                    parties=(Party(kind="container", name=spec.name, path=f"ports[{index}]", asks=text(port)),),
                    what=f"{text(port)} would not be reached: network {found[0].network} is internal",
                    why="nothing is forwarded to it", fix="publish it at 127.0.0.1, or on another network"))
    return out + nowhere(specs, networks)


def nowhere(specs: Sequence[Spec], networks: Sequence[Network]) -> list[Finding]:
    """Ports of a family of which `addresses: auto` will give their container no address.

    What is on a network that is not among these may get one of either family.
    """
    out: list[Finding] = []
    known = {one.name: one for one in networks}
    for spec in specs:
        asked = [one.network or "" for one in spec.interfaces if one.pooled]
        if not spec.ports or not asked or not known.keys() >= set(asked):
            continue
        given = {kind for name in asked for kind in pools.families(known[name])}
        for index, port in enumerate(spec.ports):
            kind = family(port)
            if kind in given or way_in(spec, kind) is not None:
                continue
            ranged = known[asked[0]].pool
            out.append(Finding(
                parties=(Party(kind="container", name=spec.name, path=f"ports[{index}]", asks=text(port)),),
                what=f"there is no IPv{kind} address for it to lead to",
                why=f"`addresses: auto` takes what {' and '.join(dict.fromkeys(asked))} can give, "
                    f"which has no IPv{kind}",
                fix=f"give {asked[0]} an IPv{kind} address"
                    + (f" and its pool an IPv{kind} range" if ranged is not None and ranged.range else "")
                    + ", or remove the port"))
    return out


def judge(read: list[tuple[Spec | Network, Document]]) -> list[SpecError]:
    """The same of documents that are judged together, as faults with their places."""
    from runspec.spec import from_yaml

    specs = [model for model, _ in read if isinstance(model, Spec) and model.ports]
    marks = {model.name: document.marks for model, document in read if isinstance(model, Spec)}
    return [from_yaml.fault(marks[party.name], party.path, one.what, one.why, one.fix)
            for one in nowhere(specs, [model for model, _ in read if isinstance(model, Network)])
            for party in one.parties]
