"""The host's forwarding: what the kernel changes along with that switch, and whose it is.

The kernel takes any number but 0 for yes, and everybody writes 1. Ours is 2, so its own files tell whether somebody
else has switched forwarding on since, for the whole host or for one link; who looks for a 1 finds none, and writes it.

See: ip-sysctl.rst, ip_forward and conf/all/forwarding.
"""

from __future__ import annotations

from runspec.kernel.netlink import parse_links
from runspec.plan import nft, rtnetlink
from runspec.plan.steps.host_links import MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runspec.kernel import Kernel
    from runspec.kernel.netlink import Link

OURS = "2"
OFF = "0"
REDIRECTS = "net/ipv4/conf/all/accept_redirects"
_FORCE = "net/ipv6/conf/{}/force_forwarding"
_BRIDGED = {4: "net/bridge/bridge-nf-call-iptables", 6: "net/bridge/bridge-nf-call-ip6tables"}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:@-")


def read(kernel: Kernel, path: str) -> str | None:
    """A parameter's value, None where there is none."""
    text = kernel.try_read(f"/proc/sys/{path}")
    return text.decode("ascii", "replace").strip() if text is not None else None


def beside(kernel: Kernel, knob: str) -> dict[str, str]:
    """What the switch changes beside itself and giving it back does not restore: path -> value, before it is thrown."""
    out = {path: "1" for path, value in _switches(kernel, knob) if value not in (None, OFF)}
    if knob == nft.FORWARD[4] and read(kernel, REDIRECTS) == OFF:
        out[REDIRECTS] = OFF
    return out


def left(kernel: Kernel, knob: str, before: dict[str, str]) -> dict[str, str]:
    """The same once it is thrown: what somebody set meanwhile is his, links that came along are as without the switch.

    Args:
        before: what `beside` told, of which a kill may have kept some from being set again.
    """
    out = {path: "1" for path, value in _switches(kernel, knob)
           if value not in (None, OFF, OURS) or (value == OURS and path in before)}
    if REDIRECTS in before and read(kernel, REDIRECTS) == OFF:
        out[REDIRECTS] = OFF
    return out


def kept(before: dict[str, str]) -> dict[str, str]:
    """Of these what holds while it is on, too: who forwards by himself goes on doing so."""
    return {path: value for path, value in before.items() if path != REDIRECTS}


def elements(kernel: Kernel, kinds: Iterable[int]) -> list[nft.Element]:
    """What keeps the rest of the host as it was while these families are forwarded by our doing.

    Links that forward by themselves go on, and bridges of whoever it may be where packets within one are led, too.
    """
    kinds = tuple(kinds)
    if not kinds:
        return []
    links = [one for data in kernel.dump(rtnetlink.dump_links()) for one in parse_links(data)]
    bridges = {one.index: one.name for one in links if one.kind == "bridge" and _PLAIN.issuperset(one.name)}
    out: list[nft.Element] = []
    for kind in kinds:
        # What comes in by a port comes in by its bridge.
        free = [one.name for one in links if one.master not in bridges and _forwards(kernel, kind, one)]
        out += [("closed", f"ipv{kind}", ""), *(("free", f"ipv{kind} . {name}", "") for name in free)]
    if any(read(kernel, _BRIDGED[kind]) == "1" for kind in kinds):
        out += [("inside", f"{name} . {name}", "") for name in bridges.values()]
    return out


def _forwards(kernel: Kernel, kind: int, link: Link) -> bool:
    """Whether packets that come in by a link are forwarded whatever the host's switch says."""
    if not _PLAIN.issuperset(link.name):
        return False        # no rule can name it: a star would be every link
    if kind == 6:
        # Its `forwarding` leaves the decision with the host, unless the kernel has the other word.
        force = read(kernel, _FORCE.format(link.name))
        if force is not None or link.kind != "veth" or link.master or not link.alias.startswith(MARK):
            return force == "1"
    return read(kernel, f"net/ipv{kind}/conf/{link.name}/forwarding") not in (None, OFF, OURS)


def _switches(kernel: Kernel, knob: str) -> Iterator[tuple[str, str | None]]:
    """(path, value) of all of a link that goes off with the host's switch, and of `default`, for links to come."""
    kind = 6 if knob == nft.FORWARD[6] else 4
    room = f"net/ipv{kind}/conf"
    for name in kernel.list_dir(f"/proc/sys/{room}"):
        if name != "all":
            for path in (f"{room}/{name}/forwarding", *([_FORCE.format(name)] if kind == 6 else ())):
                yield path, read(kernel, path)
