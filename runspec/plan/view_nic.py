"""Physical interfaces as path -> value: as a file asks for them, and as the kernel shows them inside."""

from __future__ import annotations

from runspec.plan import view_kinds
from runspec.plan.facts import Facts
from runspec.plan.values import ABSENT
from runspec.spec.model import Interface, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def as_lent(one: Interface, facts: Facts) -> Interface:
    """The interface with the address and the mtu of its link at home where the file names none."""
    _, _, mac, mtu = facts.nics.get(one.parent or "", ("", "", "", 0))
    return one.replace(mac=one.mac or mac or None, mtu=one.mtu or mtu or None)


def nic_inside(one: Interface, facts: Facts) -> Any:
    """The link that is lent under this interface's word, None where it is not inside."""
    index = facts.leases.get(one.parent or "")
    return next((link for link in facts.links if link.index == index), None)


def nics_inside(spec: Spec, facts: Facts) -> set[int]:
    """The indexes of all that the file asks for: they are known by these, whatever their names."""
    return {facts.leases[one.parent] for one in spec.interfaces
            if one.type == "physical" and one.parent in facts.leases}


def expect_nic(one: Interface, facts: Facts, path: str, view: dict[str, Any]) -> None:
    """What only a physical interface asks for."""
    whole = as_lent(one, facts)
    view[f"{path}.parent"] = one.parent
    view[f"{path}.mac"], view[f"{path}.mtu"] = whole.mac, whole.mtu


def see_nic(one: Interface, link: Any, facts: Facts, path: str, view: dict[str, Any]) -> None:
    """What the kernel shows of it."""
    view[f"{path}.type"], view[f"{path}.parent"], view[f"{path}.mac"] = one.type, one.parent, link.mac
    for key in (*dict(one.sysctl), *view_kinds.dropped(one, facts.former.get(one.name))):
        value = facts.sysctl.get(view_kinds.parameter_path(one, key), "")
        view[f"{path}.sysctl.{key}"] = " ".join(value.split()) or ABSENT
