"""Asks the Kernel about limits and marks of links: only where somebody asks for them."""

from __future__ import annotations

from runspec import abi
from runspec.kernel import netlink_bridge, traffic as tc_rows
from runspec.plan import line, tc, traffic, view_links
from runspec.plan.facts import Facts
from runspec.plan.steps import host_links
from runspec.plan.steps.namespaces import inside
from runspec.spec.model import Interface, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel, netlink
    from runspec.kernel.traffic import Class, Qdisc
    from runspec.plan.steps.base import Table


class Shaping:
    """Part of the Observer.

    Attributes:
        fair: whether flows that wait for a limit can take turns here.
    """

    if TYPE_CHECKING:
        kernel: Kernel
        _link_data: list[bytes]

        def host_links(self) -> list[netlink.Link]:
            """Links of the host's network namespace, read once."""

    def __init__(self, fair: bool) -> None:
        self._qdiscs: dict[int, list[Qdisc]] | None = None
        self._classes: dict[int, list[Class]] = {}      # of the ifbs that many share
        self._numbers: dict[int, int] | None = None
        self.fair = fair

    def _traffic(self, facts: Facts, specs: list[Spec]) -> None:
        """Those held at their ends on the host."""
        for one in {one.name: one for spec in reversed(specs) for one in held_links(spec, True)}.values():
            name = one.name
            end = facts.outside.get(host_links.host_name(specs[0].name, name))
            if end is not None:
                if one.line.shared:
                    self._part(facts, one, end)
                ifb = facts.outside.get(traffic.shaper(specs[0].name, name))
                facts.host_traffic += [row for hook in (tc.INGRESS_HOOK, tc.EGRESS_HOOK)
                                       for data in self.kernel.dump(tc.dump_filters(end.index, hook))
                                       for row in tc_rows.parse_filters(data)]
                for index in [end.index] + ([ifb.index] if ifb is not None else []):
                    facts.host_traffic += self._host_qdiscs(index)
                    facts.host_traffic += [row for data in self.kernel.dump(tc.dump_classes(index))
                                           for row in tc_rows.parse_classes(data)]

    def _line(self, network: str, word: str) -> line.Sight:
        """One way of a network's line, whole."""
        name = traffic.line_link(network, word)
        ifb = next((one for one in self.host_links() if one.name == name), None)
        if ifb is None:
            return line.Sight(False, [])
        filters = [row for data in self.kernel.dump(tc.dump_filters(ifb.index, traffic.ROOT))
                   for row in tc_rows.parse_filters(data)]
        return line.Sight(ifb.up and ifb.kind == "ifb",
                          [*self._host_qdiscs(ifb.index), *self._line_classes(ifb.index), *filters])

    def _line_classes(self, index: int) -> list[Class]:
        """Of an ifb, read once."""
        if index not in self._classes:
            self._classes[index] = [row for data in self.kernel.dump(tc.dump_classes(index))
                                    for row in tc_rows.parse_classes(data)]
        return self._classes[index]

    def _part(self, facts: Facts, one: Interface, end: netlink.Link) -> None:
        """What an interface has in its network's line."""
        if self._numbers is None:
            self.host_links()
            self._numbers = {index: number for data in self._link_data
                             for index, number in netlink_bridge.parse_numbers(data).items()}
        facts.numbers = self._numbers
        minor = self._numbers.get(end.index, 0)
        mine = {tc.handle(traffic.MAJOR, minor), *traffic.queues(tc.handle(traffic.MAJOR, minor))}
        for word in one.line.shared:
            ifb = facts.outside.get(traffic.line_link(one.network or "", word))
            if ifb is not None:
                facts.host_traffic += [row for row in self._line_classes(ifb.index) if row.handle in mine]
                facts.host_traffic += [row for row in self._host_qdiscs(ifb.index) if row.handle in mine]

    def _host_qdiscs(self, index: int) -> list[Qdisc]:
        """Of one link; those of all are read once."""
        if self._qdiscs is None:
            self._qdiscs = {}
            for data in self.kernel.dump(tc.dump_qdiscs()):
                for one in tc_rows.parse_qdiscs(data):
                    self._qdiscs.setdefault(one.index, []).append(one)
        return self._qdiscs.get(index, [])

    def _visit_traffic(self, table: Table, i: int, facts: Facts, specs: list[Spec],
                       takers: dict[int, tuple[Facts, str]]) -> None:
        """Those held inside, whose indexes are known by now."""
        if facts.namespaces["network"] == facts.own["network"]:
            return
        table.named["init"] = table.named[f"init{i}"]
        inside(table, ("network",))
        table.add(abi.OP_RESET_SOCKET)
        takers[len(table.ops)] = (facts, "@qdiscs")
        table.add(abi.OP_DUMP, s1=tc.dump_qdiscs())
        names = {one.name for spec in specs for one in held_links(spec, False)}
        for link in facts.links:
            if link.name in names or view_links.shapes(link):
                takers[len(table.ops)] = (facts, "@classes")
                table.add(abi.OP_DUMP, s1=tc.dump_classes(link.index))
            for hook in (tc.INGRESS_HOOK, tc.EGRESS_HOOK) if link.name in names else ():
                takers[len(table.ops)] = (facts, "@filters")
                table.add(abi.OP_DUMP, s1=tc.dump_filters(link.index, hook))


def held_links(spec: Spec, outside: bool) -> list[Interface]:
    """The interfaces whose traffic is held, at their ends on the host or inside."""
    return [one for one in spec.interfaces if (one.qos is not None or one.line.shared)
            and traffic.outside(one) == outside]
