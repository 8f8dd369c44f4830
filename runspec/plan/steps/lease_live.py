"""Physical interfaces of a running container, changed in place."""

from __future__ import annotations

from runspec.plan import nic, rtnetlink
from runspec.plan.facts import Facts
from runspec.plan.steps.base import Change, Step
from runspec.plan.steps.lease import ReturnLinkLive, interface_step
from runspec.plan.steps.links import configured, inside
from runspec.plan.steps.links_live import free_index, in_place
from runspec.plan.steps.namespaces import is_new
from runspec.plan.view_links import FIRST_INDEX
from runspec.plan.view_nic import as_lent, nic_inside
from runspec.spec.model import Interface, Spec
from runspec.spec.networks import physical

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def go_home(spec: Spec, last: Spec | None) -> list[Step]:
    """What the file asks for no more, before anything takes its name."""
    asked = {one.parent for _, one in physical(spec)}
    return [ReturnLinkLive(target=spec.name, path=f"interfaces[{one.name}]", asked=one.parent or "", interface=one)
            for _, one in (physical(last) if last is not None else []) if one.parent not in asked]


def change(spec: Spec, last: Spec | None, facts: Facts, changes: tuple[Change, ...]) -> list[Step]:
    """What is asked for and not as asked; it comes after the others, which may have its name."""
    steps: list[Step] = []
    if not is_new(spec, "network"):
        return steps
    former = {one.parent: one for _, one in physical(last)} if last is not None else {}
    taken = {link.index for link in facts.links}
    for i, one in physical(spec):
        at = f"interfaces[{i}]"
        mine = [change.path for change in changes if change.path == at or change.path.startswith(f"{at}.")]
        if not mine:
            continue
        link = nic_inside(one, facts)
        if link is not None:
            leaves = {path[len(at) + 1:] for path in mine}
            steps.append(_put_right(spec.name, mine[0], one, link, facts, leaves, former.get(one.parent)))
            continue
        # Behind all that others take.
        index = free_index(taken, FIRST_INDEX + 4096)
        taken.add(index)
        other = next((each for each in facts.links if each.name == one.name), None)
        if other is not None and other.index not in facts.leases.values():
            # Whatever bears the name inside makes room, and what was lent has gone; a veth takes its host end along.
            steps.append(inside(spec.name, mine[0], [rtnetlink.delete_link(other.index)], f"remove {one.name}"))
        steps += [interface_step(spec, i, one, index, facts.nics, live=True),
                  configured(spec.name, mine[0], one, index, f"configure {one.name}")]
    return steps


def _put_right(name: str, path: str, one: Interface, link: Any, facts: Facts, leaves: set[str],
               former: Interface | None) -> Step:
    """One that is inside."""
    if not leaves & {"", "mac"}:
        return in_place(name, path, as_lent(one, facts), link, facts, leaves, former)
    # Only a link that is down gets another name, and with many drivers another address; it loses what it has.
    first = [rtnetlink.set_link(link.index, up=False), *[nic.rename(link.index, one.name)] * ("" in leaves)]
    step = in_place(name, path, as_lent(one, facts), link, facts, leaves | {"up", "addresses"}, former)
    again = [nic.rename(link.index, link.name)] * ("" in leaves)
    assert step.back is not None
    # What went when it went down cannot be taken away; what stays wrong in the end is seen.
    return step.replace(
        lenient=True, messages=(*(message.hex() for message in first), *step.messages), words=f"set {one.name} right",
        back=step.back.replace(messages=(first[0].hex(), *(message.hex() for message in again), *step.back.messages)))
