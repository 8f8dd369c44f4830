"""What of the host's network only some links ask for: read once for all containers of a request."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class HostView:
    """Rows of rtnetlink(7), as kernel/netlink.py and netlink_host.py give them.

    Attributes:
        parents: how a file names a link -> its index, 0 where there is none.
        links, addresses: all of them.
        ways: routes that are runspec's own, each with the source that it prefers.
        neighbours: those of all links.
        filters: index of a link -> filters on what arrives by it.
        heard: (index of a link, MAC that it hears beside its own).
        multicast: indexes of links that take all multicast.
    """

    __slots__ = ("addresses", "filters", "heard", "links", "multicast", "neighbours", "parents", "ways")

    def __init__(self) -> None:
        self.parents: dict[str, int] = {}
        self.links: list[Any] = []
        self.addresses: list[Any] = []
        self.ways: list[Any] = []
        self.neighbours: list[Any] = []
        self.filters: dict[int, list[Any]] = {}
        self.heard: set[tuple[int, str]] = set()
        self.multicast: set[int] = set()

    def parent(self, text: str | None) -> Any:
        """The link that a file names so, None where there is none."""
        index = self.parents.get(text or "", 0)
        return next((one for one in self.links if one.index == index), None)

    def named(self, name: str) -> Any:
        """The link of this name, None where there is none."""
        return next((one for one in self.links if one.name == name), None)
