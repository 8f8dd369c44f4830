"""VLANs on a kernel without the driver: a veth pair whose end on the host two programs join to the parent.

The container's end looks like the driver's link from inside, but for its type. On the parent a filter takes frames
of the VLAN, takes off their tag and hands them to the pair; on the pair's other end a filter puts the tag on and sends
through the parent. What the driver does on the parent beside that is done here too: a MAC of the container's own is
heard, and all multicast, since nobody tells the parent which groups the container joins.

A parent's filters bear names by which they are ours. One more, the keeper, tells by its name what else was done to the
parent for the first of them, and is to be undone with the last.

See: tc-bpf(8), bpf-helpers(7), tc(8) "clsact".
"""

from __future__ import annotations

from errno import EEXIST, EINVAL, ENOENT

from runspec import abi
from runspec.errors import HostError
from runspec.plan import rtnetlink, rtnetlink_host, tag_bpf, tc
from runspec.plan.steps.base import FINISH, LIVE, HostStep
from runspec.plan.steps.host_links import MARK, AddLink, alias, index_of, parent_of, remove_own
from runspec.spec.model import Interface, Vlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Where our filters stand among a link's: a VLAN has one place, so that it cannot be taken twice.
ORDERS = {"802.1Q": 0x5000, "802.1ad": 0x6000}
KEEPER = ORDERS["802.1Q"]           # there is no VLAN 0
TAG_ORDER = 0x7000                  # on the pair's own end, behind whatever marks packets
MADE = f"{MARK.rstrip(':')} made:"  # how the keeper's name begins; then come words
CLSACT, MULTICAST = "clsact", "allmulticast"
HOOKS = ("clsact", "ingress")
TAGGED = "vlan by tc-bpf"


def emulated(one: Interface) -> bool:
    """Whether programs stand in for the driver: a request drops `fallback` where the kernel has the driver."""
    return one.type == "vlan" and one.fallback is not None


def sort(one: Interface) -> str:
    """An interface's type, or TAGGED where programs stand in for its driver."""
    return TAGGED if emulated(one) else one.type


def shown_kind(one: Interface) -> str:
    """The kind of link that the kernel shows for it."""
    return "veth" if emulated(one) else one.type


def order(vlan: Vlan) -> int:
    """The place of a VLAN's filter on the parent."""
    return ORDERS[vlan.protocol] | vlan.id


def vlan_at(place: int) -> Vlan | None:
    """The inverse."""
    for protocol, first in ORDERS.items():
        if first < place <= first + tag_bpf.TAG_MASK:
            return Vlan(id=place - first, protocol=protocol)
    return None


def name_of(container: str, interface: str, heard: str = "", made: tuple[str, ...] = ()) -> str:
    """The name of an interface's filter.

    Args:
        heard: the MAC that the parent hears for its sake.
        made: a copy of the keeper's words, on the pair's end, should the parent lose its filters.
    """
    mine = alias(container, interface)
    return " ".join((mine.replace(":", f"+{heard.replace(':', '')}:", 1) if heard else mine, *made))


def owner(name: str) -> tuple[str, str]:
    """(`CONTAINER:INTERFACE`, MAC that the parent hears for it or "") of a filter's name; ("", "") of others'."""
    head, colon, rest = name.partition(" ")[0].partition(":")
    word, _, raw = head.partition("+")
    if not colon or f"{word}:" != MARK:
        return "", ""
    return rest, ":".join(raw[i:i + 2] for i in range(0, len(raw), 2))


class AddTagged(AddLink):
    """The pair and its two filters."""

    def look(self, kernel: Any, run: Any) -> Any:
        """Whether the link is there, and whether the parent has hooks without us."""
        return {"link": kernel.link_index(self.link) is not None,
                CLSACT: _hooked(kernel, parent_of(kernel, self.interface.parent or "").index)}

    def apply(self, kernel: Any, run: Any) -> Any:
        """The host's end comes up last: nothing of the container ever reaches the host's own stack by it."""
        one, parent = self.interface, parent_of(kernel, self.interface.parent or "")
        if one.mtu is not None and one.mtu > parent.mtu:
            raise HostError(f"{one.parent} carries {parent.mtu} bytes, not {one.mtu}",
                            "a VLAN's frames leave by its parent, ip-link(8)", f"write mtu: {parent.mtu} or less")
        mac = one.mac or parent.mac
        end = rtnetlink.link_index(self.link)
        kernel.netlink(rtnetlink.create_veth(
            self.link, None, one.name, peer_pid=run.pid(self.target), mac=mac, mtu=one.mtu or parent.mtu, up=False,
            index=end, peer_index=self.index)
            + rtnetlink.set_link(end, alias=alias(self.target, one.name)) + rtnetlink_host.no_own_address(end),
            f"veth {self.link}")
        join(kernel, run, self.target, one, self.link, mac)
        kernel.netlink(rtnetlink.set_link(end, up=True), f"link {self.link}")

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """The filters go with the link that they lead to."""
        if memo is not None and not memo["link"]:
            part(kernel, run, self.target, self.interface, memo[CLSACT])
            remove_own(kernel, self.link, MARK)

    def __str__(self) -> str:
        one = self.interface
        return (f"create veth {self.link}, its peer {one.name} inside, and since this kernel has no VLAN driver, "
                f"by tc-bpf: {in_words(one, self.link)}")


class AddTaggedLive(AddTagged):
    """The same for a running container."""

    PHASE = LIVE


class TagFrames(HostStep):
    """The filters of a pair that is there: put back, or led anew.

    Args:
        link: name of the host's end.
        interface: as the file asks for it.
        mac: that it has inside.
    """

    PHASE = LIVE
    link: str
    interface: Interface
    mac: str

    def apply(self, kernel: Any, run: Any) -> Any:
        """tc-bpf(8); what drifted stays mended should another step fail."""
        join(kernel, run, self.target, self.interface, self.link, self.mac)
        kernel.netlink(rtnetlink.set_link(self.link, up=True), f"link {self.link}")

    def __str__(self) -> str:
        return f"by tc-bpf: {in_words(self.interface, self.link)}"


class RemoveTagged(HostStep):
    """Removes the filters on the parent, then the pair."""

    PHASE = FINISH
    link: str
    interface: Interface

    def apply(self, kernel: Any, run: Any) -> Any:
        """Gone already is as good: a pair dies with the container's namespace."""
        part(kernel, run, self.target, self.interface)
        remove_own(kernel, self.link, MARK)

    def __str__(self) -> str:
        return f"remove link {self.link} and its filter on {self.interface.parent}"


def in_words(one: Interface, link: str) -> str:
    """What the filters do."""
    assert one.vlan is not None
    what = f"{one.vlan.protocol} {one.vlan.id}"
    return f"frames of {what} on {one.parent} go to {link} without their tag, what comes from there leaves with it"


def _hooked(kernel: Any, index: int) -> bool:
    return any(one.index == index and one.kind in HOOKS for one in kernel.rows("qdiscs", tc.dump_qdiscs()))


def _all_multicast(kernel: Any, index: int) -> bool:
    return any(one == index and flags & abi.IFF_ALLMULTI
               for one, flags in kernel.rows("flags", rtnetlink.dump_links()))


def _heard(kernel: Any, index: int) -> list[str]:
    return [one.mac for one in kernel.rows("neighbours", rtnetlink_host.dump_heard()) if one.index == index]


def _filters(kernel: Any, index: int, hook: int = tc.INGRESS_HOOK) -> list[Any]:
    return list(kernel.rows("filters", tc.dump_filters(index, hook)))


def _put(kernel: Any, index: int, place: int, name: str, program: bytes) -> None:
    fd = kernel.load_classifier(program, "runspec_vlan")
    try:
        kernel.netlink(tc.put_bpf(index, tc.INGRESS_HOOK, place, name, fd), f"filter {place} of link {index}")
    finally:
        kernel.close(fd)


def _drop(kernel: Any, index: int, place: int) -> None:
    kernel.netlink(tc.delete_filters(index, tc.INGRESS_HOOK, place), f"filter {place} of link {index}", ignore=ENOENT)


def join(kernel: Any, run: Any, container: str, one: Interface, link: str, mac: str) -> None:
    """Make a pair's end on the host and the parent one VLAN's way, in both directions.

    Raises:
        HostError: the VLAN is another's on this parent.
    """
    assert one.vlan is not None
    parent, end, who = parent_of(kernel, one.parent or ""), index_of(kernel, link), f"{container}:{one.name}"
    if not _hooked(kernel, end):
        kernel.netlink(tc.put_clsact(end), f"link {link}")
    before = next((found.name for found in _filters(kernel, end) if found.order == TAG_ORDER), "")
    with run.alone():
        there = _filters(kernel, parent.index)
        place, heard = order(one.vlan), owner(before)[1]
        for found in there:
            other, added = owner(found.name)
            if other == who:
                heard = added
            elif found.order == place:
                raise HostError(f"VLAN {one.vlan.id} of {one.parent} has a filter already",
                                f"it is {other or found.name or 'somebody else'}'s, tc(8) pref {place}",
                                "use another id, or remove it")
        # Names come before what they tell, or nobody would know of it after a kill in between.
        made = _keep(kernel, parent, there, tuple(before.split()[1:]))
        wanted = "" if mac == parent.mac or (mac in _heard(kernel, parent.index) and heard != mac) else mac
        _put(kernel, end, TAG_ORDER, name_of(container, one.name, wanted, made),
             tag_bpf.tag(one.vlan.id, one.vlan.protocol, parent.index))
        if heard not in ("", wanted):
            kernel.netlink(rtnetlink_host.hear_no_more(parent.index, heard), f"address {heard}", ignore=ENOENT)
        for found in there:
            if owner(found.name)[0] == who and found.order != place:
                _drop(kernel, parent.index, found.order)
        _put(kernel, parent.index, place, name_of(container, one.name, wanted),
             tag_bpf.untag(one.vlan.id, one.vlan.protocol, end))
        if wanted:
            kernel.netlink(rtnetlink_host.hear(parent.index, wanted), f"address {wanted}", ignore=EEXIST)


def _bearer(kernel: Any, one: Interface, who: str) -> Any:
    """The parent, or what bears the interface's filter under another name by now; None where nothing does."""
    try:
        return parent_of(kernel, one.parent or "")
    except HostError:
        hooked = {row.index for row in kernel.rows("qdiscs", tc.dump_qdiscs()) if row.kind in HOOKS}
        return next((link for link in kernel.rows("links", rtnetlink.dump_links()) if link.index in hooked and any(
            owner(found.name)[0] == who and found.order != TAG_ORDER for found in _filters(kernel, link.index))), None)


def _keep(kernel: Any, parent: Any, there: list[Any], copy: tuple[str, ...]) -> tuple[str, ...]:
    """Hooks and all multicast on the parent, and the keeper, which tells what of it is our doing: returns its words.

    Args:
        copy: the words as they were once; what of them is true no more is done again.
    """
    keeper = next((one for one in there if one.order == KEEPER), None)
    if keeper is not None and not keeper.name.startswith(MADE):
        raise HostError(f"{parent.name} has a filter of somebody else's in the place of runspec's own",
                        f"tc(8) pref {KEEPER}", "move it to another pref")
    hooked, multicast = _hooked(kernel, parent.index), _all_multicast(kernel, parent.index)
    words = tuple(dict.fromkeys((*(keeper.name[len(MADE):].split() if keeper is not None else copy),
                                 *[CLSACT] * (not hooked), *[MULTICAST] * (not multicast))))
    if not hooked:
        kernel.netlink(tc.put_clsact(parent.index), f"link {parent.name}")
    name = " ".join((MADE, *words))
    if keeper is None or keeper.name != name:
        _put(kernel, parent.index, KEEPER, name, tag_bpf.nothing())
    if not multicast:
        kernel.netlink(rtnetlink_host.take_multicast(parent.index, True), f"link {parent.name}")
    return words


def part(kernel: Any, run: Any, container: str, one: Interface, hooked: bool = True) -> None:
    """Take an interface's filter off the parent, and with the last one what was done for all of them.

    Args:
        hooked: False where the parent is known to have had no hooks before, should the keeper not tell it yet.
    """
    assert one.vlan is not None
    who = f"{container}:{one.name}"
    parent = _bearer(kernel, one, who)
    if parent is None:
        return          # it went away, and all on it
    with run.alone():
        there = _filters(kernel, parent.index)
        for found in there:
            name, heard = owner(found.name)
            if name != who:
                continue
            if heard:
                kernel.netlink(rtnetlink_host.hear_no_more(parent.index, heard), f"address {heard}", ignore=ENOENT)
            _drop(kernel, parent.index, found.order)
        keeper = next((found for found in there if found.name.startswith(MADE)), None)
        if any(found is not keeper and owner(found.name)[0] not in ("", who) for found in there):
            return
        made = keeper.name[len(MADE):].split() if keeper is not None else [CLSACT] * (not hooked)
        # The keeper goes last, or with the hooks: it tells what is to be done.
        if MULTICAST in made:
            kernel.netlink(rtnetlink_host.take_multicast(parent.index, False), f"link {parent.name}")
        left = [found for hook in (tc.INGRESS_HOOK, tc.EGRESS_HOOK) for found in _filters(kernel, parent.index, hook)
                if not found.name.startswith(MADE)]
        if CLSACT in made and not left:
            kernel.netlink(tc.delete_clsact(parent.index), f"link {parent.name}", ignore=EINVAL)
        elif keeper is not None:
            _drop(kernel, parent.index, KEEPER)
