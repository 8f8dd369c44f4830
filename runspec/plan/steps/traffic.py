"""Limits and marks of links: set with a new link, changed in place, taken away."""

from __future__ import annotations

from errno import EBUSY, EEXIST, ENOENT, EOPNOTSUPP

from runspec import abi
from runspec.errors import HostError, SyscallError
from runspec.plan import rtnetlink, tc, traffic
from runspec.plan.facts import Facts
from runspec.plan.steps import links
from runspec.plan.steps.base import ATTACH, LIVE, Change, HostStep, Step, Table
from runspec.plan.steps.host_links import MARK, AddLink, alias, host_name, index_of, remove_own
from runspec.plan.steps.lease import LendLink
from runspec.plan.steps.links import RemoveLink, RemoveLinkLive
from runspec.plan.steps.namespaces import inside, is_new
from runspec.plan.values import ABSENT
from runspec.plan.view_links import FIRST_INDEX, SHAPERS, shapes
from runspec.spec.model import Interface, Qos, Spec, Traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


NEW = (("egress", "new"), ("ingress", "new"))
ANEW = tuple((word, "anew") for word in traffic.WAYS)
WORD = "program"    # under which a run holds the descriptor of a program


class HoldOutside(HostStep):
    """Holds and marks the traffic of an interface at its end on the host.

    Args:
        link: that end's name.
        interface: the container's interface, with what is asked.
        before: what was asked until now, None of a new link.
        parts: (way, what of it), see traffic.acts.
    """

    PHASE = ATTACH
    link: str
    interface: Interface
    before: Interface | None = None
    parts: tuple[tuple[str, str], ...] = NEW

    def look(self, kernel: Any, run: Any) -> Any:
        """Whether the ifb is there: then it is not this run's to remove."""
        return kernel.link_index(traffic.shaper(self.target, self.interface.name)) is not None

    def apply(self, kernel: Any, run: Any) -> Any:
        """tc(8): what leaves the container arrives at this end."""
        self._set(kernel, self.interface, dict(self.parts))

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """As it was; a new link takes its queueing disciplines along, but not the ifb, nor its part of a line."""
        if self.before is not None and kernel.link_index(self.link) is not None:
            self._set(kernel, self.before, again(self.parts))
        elif self.before is None:
            for place in self._places(kernel, self.interface, True).values():
                kernel.netlink(tc.delete_class(place.link, tc.handle(traffic.MAJOR, place.number)),
                               f"traffic of {self.link}", ignore=ENOENT)
        if not memo:
            remove_own(kernel, traffic.shaper(self.target, self.interface.name), MARK)

    def _set(self, kernel: Any, one: Interface, parts: dict[str, str]) -> None:
        index, name = index_of(kernel, self.link), traffic.shaper(self.target, one.name)
        out, back = traffic.way(one.qos, "egress"), traffic.way(one.qos, "ingress")
        held = traffic.bucket(out, one.mtu) is not None and "egress" not in one.line.shared
        number = ifb_of(kernel, name, alias(self.target, one.name)) if held else 0
        ifb = traffic.Shaper(name=name, index=number, alias=alias(self.target, one.name))
        turned = {traffic.TURNED[word]: part for word, part in parts.items()}
        acts = traffic.acts(index, back, out, one.mtu, turned, ifb, one.line, self._places(kernel, one))
        for message, program, lenient in acts:
            fd = -1
            try:
                if program is not None:
                    fd = kernel.load_classifier(program, "runspec_mark")
                    message = tc.with_descriptor(message, fd)
                kernel.netlink(message, f"traffic of {self.link}", ignore=lenient)
            finally:
                if fd >= 0:
                    kernel.close(fd)
        if not held and parts.get("egress") == "anew":
            remove_own(kernel, name, MARK)

    def _places(self, kernel: Any, one: Interface, lenient: bool = False) -> dict[str, traffic.Place]:
        """Where on its network's line what passes this end goes.

        Args:
            lenient: what is not there is left out.
        """
        out: dict[str, traffic.Place] = {}
        number = kernel.port_number(self.link) if one.line.shared else None
        for word in one.line.shared:
            name = traffic.line_link(one.network or "", word)
            if not lenient or (number is not None and kernel.link_index(name) is not None):
                out[traffic.TURNED[word]] = traffic.Place(link=index_of(kernel, name), number=number or 0)
        return out

    def __str__(self) -> str:
        return f"{words(self.interface)}, at {self.link}"


class HoldOutsideLive(HoldOutside):
    """The same of a running container."""

    PHASE = LIVE


class HoldInside(HostStep):
    """Holds and marks the traffic of an interface inside, by an interpreter that joins the container.

    Args:
        index: the link's.
        interface, before, parts: as of HoldOutside.
        had_mtu: of the link, until now.
    """

    PHASE = LIVE
    index: int
    interface: Interface
    before: Interface | None = None
    parts: tuple[tuple[str, str], ...] = NEW
    had_mtu: int | None = None

    def apply(self, kernel: Any, run: Any) -> Any:
        """tc(8); where the file names no mtu the link has its parent's, or what it has at home."""
        found = run.link_inside(self, self.index) if self.interface.mtu is None else None
        self._set(kernel, run, self.interface, found["mtu"] if found else self.interface.mtu, dict(self.parts), False)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """As it was, where the container still runs; a new link ends with it."""
        if self.before is not None and run.pid(self.target):
            self._set(kernel, run, self.before, self.before.mtu or self.had_mtu, again(self.parts), True)

    def _set(self, kernel: Any, run: Any, one: Interface, mtu: int | None, parts: dict[str, str],
             lenient: bool) -> None:
        ifb = traffic.Shaper(name=f"ifb{self.index}", index=SHAPERS + self.index, alias=alias(self.target, one.name))
        acts = traffic.acts(self.index, traffic.way(one.qos, "egress"), traffic.way(one.qos, "ingress"), mtu,
                            {traffic.STRAIGHT[word]: part for word, part in parts.items()}, ifb, one.line)
        out = traffic.way(one.qos, "egress")
        if one.type == "vlan" and out is not None and out.priority is not None \
                and parts.get("egress", "rate") != "rate":
            # A VLAN without the driver is no such link.
            acts.append((tc.map_priority(self.index, out.priority), None, EOPNOTSUPP))
        programs = list(dict.fromkeys(program for _, program, _ in acts if program is not None))
        held = tuple(f"{WORD}:{i}" for i in range(len(programs)))
        table = Table(("init", *held))
        inside(table, ("network",))
        for message, program, ignored in acts:
            if lenient:
                table.add(abi.OP_IGNORE_NEXT)
            if program is None:
                table.add(abi.OP_NETLINK, s1=message, c=ignored)
            else:
                table.add(abi.OP_NETLINK, s1=message, c=ignored, slot=table.slot(held[programs.index(program)]),
                          a=tc.FD_OFFSET)
        try:
            for word, program in zip(held, programs, strict=True):
                run.hold(self.target, word, kernel.load_classifier(program, "runspec_mark"))
            run.inside(self, table, held)
        finally:
            for word in held:
                if run.holds(self.target, word):
                    run.drop(self.target, word)

    def __str__(self) -> str:
        return f"{words(self.interface)}, in {self.target}"


def ifb_of(kernel: Any, name: str, mark: str) -> int:
    """The index of a link of type ifb of ours, made where it is missing.

    Args:
        mark: the alias by which it is known as runspec's.
    Raises:
        HostError: a link of this name is somebody else's.
    """
    for attempt in range(8):
        found = kernel.link_alias(name)
        if found is not None:
            if found and not found.startswith(MARK):
                raise HostError(f"{name}: a link of this name is there already and is not runspec's",
                                "runspec changes only links that carry its mark, ip-link(8) alias", "remove it")
            return index_of(kernel, name)
        number = rtnetlink.link_index(name + "+" * attempt)
        try:
            kernel.netlink(tc.create_ifb(name, number) + rtnetlink.set_link(number, alias=mark), f"ifb {name}")
        except SyscallError as error:
            if error.errno not in (EEXIST, EBUSY) or attempt == 7:
                raise
    return index_of(kernel, name)


def again(parts: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """All of the ways that these parts belong to, whatever is there."""
    return {way: "anew" for way, _ in parts}


def words(one: Interface) -> str:
    """What an interface is held to, for people."""
    ways = [f"{way} {_told(traffic.way(one.qos, way), one if way in one.line.shared else None)}"
            for way in traffic.WAYS if traffic.way(one.qos, way) is not None or way in one.line.shared]
    fair = ", flows in turn" * (one.line.fair and any(
        traffic.bucket(traffic.way(one.qos, way), one.mtu) is not None for way in traffic.WAYS))
    return f"hold {one.name} to {', '.join(ways)}{fair}" if ways else f"let {one.name} have all it can"


def _told(one: Traffic | None, of: Interface | None) -> str:
    """Args: of: the interface, where it shares its network's line."""
    if one is None:
        one = Traffic()
    out = [f"{one.rate} bit/s"] if one.rate is not None else []
    if of is not None:
        out = [f"{one.rate} bit/s of the line of {of.network}" if out else f"the rest of the line of {of.network}"]
    out += [f"at most {one.ceil}"] if one.ceil is not None else []
    out += [f"{word} {value}" for word, value in (("priority", one.priority), ("dscp", one.dscp)) if value is not None]
    return " ".join(out) or "nothing"


def create_outside(spec: Spec) -> list[Step]:
    """What holds new links at their ends on the host."""
    return [HoldOutside(target=spec.name, path=f"interfaces[{i}].qos", link=host_name(spec.name, one.name),
                        interface=one)
            for i, one in enumerate(spec.interfaces) if traffic.outside(one) and (
                one.qos is not None or one.line.shared)]


def create_inside(spec: Spec) -> list[Step]:
    """What holds new links inside."""
    return [HoldInside(target=spec.name, path=f"interfaces[{i}].qos", index=FIRST_INDEX + i, interface=one)
            for i, one in enumerate(spec.interfaces) if one.qos is not None and not traffic.outside(one)]


def remove(spec: Spec) -> list[RemoveLink]:
    """The ifbs of a container on the host."""
    return [RemoveLink(target=spec.name, path=f"interfaces[{i}].qos", link=traffic.shaper(spec.name, one.name))
            for i, one in enumerate(spec.interfaces) if traffic.outside(one) and one.qos is not None]


def change(spec: Spec, last: Spec | None, facts: Facts, changes: tuple[Change, ...], made: list[Step]) -> list[Step]:
    """Limits and marks of a running container, in place.

    Args:
        made: the Steps that change its links: what they make anew is held anew.
    """
    if not is_new(spec, "network"):
        return []
    steps: list[Step] = []
    former = {one.name: one for one in last.interfaces} if last is not None else {}
    declared = {one.name for one in spec.interfaces}
    steps += [RemoveLinkLive(target=spec.name, path=f"interfaces[{name}]", link=traffic.shaper(spec.name, name))
              for name, one in former.items()
              if one.qos is not None and traffic.outside(one) and name not in declared]
    fresh = {(step.interface.name if isinstance(step, AddLink) else step.name): step.index
             for step in made if isinstance(step, (AddLink, LendLink))}
    here, mtus = {link.name: link.index for link in facts.links}, {link.index: link.mtu for link in facts.links}
    kept: set[int] = set()
    for i, one in enumerate(spec.interfaces):
        was = former.get(one.name)
        index = fresh.get(one.name, here.get(one.name))
        path = f"interfaces[{i}].qos"
        mine = [each for each in changes if each.path.startswith(f"{path}.")]
        if one.name in fresh:
            # An ifb may be left of a former link, with its tree.
            parts: tuple[tuple[str, str], ...] = ANEW if one.qos is not None or one.line.shared else ()
            if was is not None and was.qos is not None and traffic.outside(was) and (
                    one.qos is None or not traffic.outside(one)):
                steps.append(RemoveLinkLive(target=spec.name, path=path, link=traffic.shaper(spec.name, one.name)))
        else:
            parts = _parts(mine)
            if one.qos is not None and any(each.path == f"interfaces[{i}].mtu" for each in changes):
                # What waits may be longer than what holds it from now on.
                parts = ANEW
        if index is not None and one.qos is not None and not traffic.outside(one):
            kept.add(SHAPERS + index)
        if not parts or index is None:
            continue
        before = was if was is not None and one.name not in fresh else None
        if before is not None and before.qos is None:
            before = before.replace(qos=Qos())
        if traffic.outside(one):
            steps.append(HoldOutsideLive(target=spec.name, path=mine[0].path if mine else path, interface=one,
                                         link=host_name(spec.name, one.name), before=before, parts=parts))
        else:
            steps.append(HoldInside(target=spec.name, path=mine[0].path if mine else path, interface=one, index=index,
                                    before=before, parts=parts, had_mtu=mtus.get(index)))
    # Inside an ifb outlives the link whose traffic went through it.
    steps += [links.inside(spec.name, "interfaces", [rtnetlink.delete_link(link.index)], f"remove {link.name}").replace(
        lenient=True) for link in facts.links
        if shapes(link) and link.alias.startswith(MARK) and link.index not in kept]
    return steps


def _parts(changes: list[Change]) -> tuple[tuple[str, str], ...]:
    """Which part of which way these Changes ask to be set."""
    out: dict[str, str] = {}
    for change in changes:
        way, _, leaf = change.path.rpartition(".qos.")[2].partition(".")
        part = "mark" if leaf in ("dscp", "priority") else "rate"
        if change.before is ABSENT or change.after is ABSENT or leaf == "line":
            part = "anew"
        before = out.setdefault(way, part)
        if part != before:
            out[way] = "anew" if "anew" in (part, before) else "both"
    return tuple(sorted(out.items()))
