"""The line that the containers of a network share: made, changed, shared out anew, taken away."""

from __future__ import annotations

from errno import ENOENT

from runspec.plan import line, rtnetlink, tc, traffic
from runspec.plan.steps.base import FINISH, PREPARE, HostStep, Step
from runspec.plan.steps.cgroup import KillContainer
from runspec.plan.steps.host_links import MARK, AddLink, JoinBridge, alias, host_name, remove_own
from runspec.plan.steps.links import RemoveInterface, RemoveLink
from runspec.plan.steps.traffic import HoldOutside, ifb_of
from runspec.spec import networks
from runspec.spec.model import Carried, Network, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


# After which the parts of a line are to be shared out anew.
MOVES = (AddLink, HoldOutside, JoinBridge, KillContainer, RemoveInterface, RemoveLink)


class SetLine(HostStep):
    """Holds one way of a network to what its line carries.

    Args:
        word: "egress" or "ingress", as containers see it.
        asked: rate and burst; had: what was asked until now, None where nothing was.
        mtu: of the network.
        fair: whether flows take turns.
    """

    PHASE = PREPARE
    word: str
    asked: Carried
    had: Carried | None = None
    mtu: int | None = None
    fair: bool = False

    def look(self, kernel: Any, run: Any) -> Any:
        """Whether the ifb is there: then it is not this run's to remove."""
        return kernel.link_index(traffic.line_link(self.target, self.word)) is not None

    def apply(self, kernel: Any, run: Any) -> Any:
        """tc-htb(8); what is in it already stays, where it is a tree of this kind."""
        with run.alone():
            self.put(kernel, self.asked)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """As it was."""
        with run.alone():
            if self.had is not None:
                self.put(kernel, self.had)
            elif not memo:
                remove_own(kernel, traffic.line_link(self.target, self.word), MARK)

    def put(self, kernel: Any, asked: Carried) -> None:
        """All of it but what ports have in it."""
        index = ifb_of(kernel, traffic.line_link(self.target, self.word), alias(self.target, self.word))
        held = line.whole(asked, self.mtu)
        root = next((one for one in kernel.rows("qdiscs", tc.dump_qdiscs())
                     if one.index == index and one.parent == tc.ROOT), None)
        anew = root is None or (root.kind, root.handle) != ("htb", traffic.ROOT)
        what = f"the line of {self.target}"
        if anew:
            kernel.netlink(tc.delete_root(index), what, ignore=ENOENT)
        for message, program in line.tree(index, held, anew):
            fd = kernel.load_classifier(program, "runspec_place") if program is not None else -1
            try:
                kernel.netlink(tc.with_descriptor(message, fd) if fd >= 0 else message, what)
            finally:
                if fd >= 0:
                    kernel.close(fd)
        share_out(kernel, self.target, index, held, self.fair)
        kernel.netlink(rtnetlink.set_link(index, up=True), what)

    def __str__(self) -> str:
        return (f"hold {self.word} of {self.target} to {self.asked.rate} bit/s for all"
                + ", flows in turn" * self.fair)


def share_out(kernel: Any, network: str, index: int, held: traffic.Bucket, fair: bool | None = None) -> None:
    """Give what is guaranteed to nobody to the class of those that have none.

    Args:
        fair: whether flows take turns there, None where its queue stays as it is.
    """
    least = line.left(held.rate, kernel.rows("classes", tc.dump_classes(index)))
    for message in line.rest(index, held, least, bool(fair))[:1 if fair is None else None]:
        kernel.netlink(message, f"the line of {network}")


class ShareOut(HostStep):
    """Gives the parts of ports that are gone, and what nobody has, to those that say nothing.

    Args:
        ways: those that are shared; mtu: of the network.
        gone: links of the host that are going, should they still be there.
    """

    PHASE = FINISH
    UNDO_LAST = True
    ways: tuple[str, ...]
    mtu: int | None = None
    gone: tuple[str, ...] = ()

    def apply(self, kernel: Any, run: Any) -> Any:
        """tc-htb(8); classes are asked for before ports are, since a port is there before its class."""
        with run.alone():
            for word in self.ways:
                self._share(kernel, word)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """The same of what is there then."""
        self.replace(gone=()).apply(kernel, run)

    def _share(self, kernel: Any, word: str) -> None:
        name = traffic.line_link(self.target, word)
        index, bridge = kernel.link_index(name), kernel.link_index(self.target)
        if index is None or bridge is None:
            return
        classes = kernel.rows("classes", tc.dump_classes(index))
        going = {found for one in self.gone if (found := kernel.link_index(one)) is not None}
        numbers = kernel.port_numbers(rtnetlink.dump_links(), bridge)
        kept = {number for port, number in numbers.items() if port not in going}
        for one in classes:
            if 0 < one.handle & 0xFFFF <= line.LAST and one.handle & 0xFFFF not in kept:
                kernel.netlink(tc.delete_class(index, one.handle), f"the line of {self.target}", ignore=ENOENT)
        whole = next((one for one in classes if one.handle == traffic.LINE), None)
        if whole is not None:
            held = line.whole(Carried(rate=whole.ceil * 8), self.mtu)
            share_out(kernel, self.target, index, held)

    def __str__(self) -> str:
        return f"share out the line of {self.target}"


class RemoveLine(HostStep):
    """Lets one way of a network have all it can.

    Args:
        word, had, mtu, fair: as of SetLine.
    """

    PHASE = FINISH
    word: str
    had: Carried
    mtu: int | None = None
    fair: bool = False

    def apply(self, kernel: Any, run: Any) -> Any:
        """Only a link that carries our mark."""
        remove_own(kernel, traffic.line_link(self.target, self.word), MARK)

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Made anew, where the network is still there; its ports come back to it by themselves."""
        if kernel.link_index(self.target) is not None:
            SetLine(target=self.target, word=self.word, asked=self.had, mtu=self.mtu, fair=self.fair).apply(kernel, run)

    def __str__(self) -> str:
        return f"remove the line for {self.word} of {self.target}"


def create(network: Network, fair: bool) -> list[Step]:
    """The lines of a new network."""
    return [SetLine(target=network.name, path=f"qos.{word}", word=word, asked=one, mtu=network.mtu, fair=fair)
            for word in traffic.WAYS if (one := line.carried(network, word)) is not None]


def change(network: Network, last: Network, paths: set[str], fair: bool) -> list[Step]:
    """Those of one that is there; what goes, goes once its ports have left it, see leave."""
    out: list[Step] = []
    for word in networks.ways(network.qos):
        asked = line.carried(network, word)
        path = next((one for one in sorted(paths) if one.startswith(f"qos.{word}.")), "")
        if asked is not None and (path or "mtu" in paths):
            out.append(SetLine(target=network.name, path=path or "mtu", word=word, asked=asked, mtu=network.mtu,
                               fair=fair, had=line.carried(last, word)))
    return out


def remove(last: Network, wanted: Network | None, fair: bool = False) -> list[Step]:
    """The lines that a network has no more."""
    kept = networks.ways(wanted.qos) if wanted is not None else ()
    return [RemoveLine(target=last.name, path=f"qos.{word}", word=word, had=one, mtu=last.mtu, fair=fair)
            for word in traffic.WAYS if word not in kept and (one := line.carried(last, word)) is not None]


def places(spec: Spec | None) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Link of the host -> (network, ways) of each interface that shares a line."""
    return {host_name(spec.name, one.name): (one.network or "", one.line.shared)
            for one in spec.interfaces if one.line.shared} if spec is not None else {}


def share(changed: Iterable[tuple[Spec | None, Spec | None]], mtus: dict[str, int | None]) -> list[Step]:
    """What containers that change leave to others, or take.

    Args:
        changed: (as it will be, as it was) of each.
        mtus: network -> its own.
    """
    touched: dict[str, tuple[str, ...]] = {}
    gone: dict[str, list[str]] = {}
    for wanted, last in changed:
        now, was = places(wanted), places(last)
        for link, (network, ways) in (*was.items(), *now.items()):
            touched[network] = tuple(dict.fromkeys((*touched.get(network, ()), *ways)))
            if link not in now:
                gone.setdefault(network, []).append(link)
    return [ShareOut(target=network, path="qos", ways=ways, mtu=mtus.get(network), gone=tuple(gone.get(network, ())))
            for network, ways in sorted(touched.items())]
