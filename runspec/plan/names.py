"""Names: what /etc/hosts and /etc/resolv.conf of each container say, and which file of the host says it.

Members of one set of networks that ask for nothing of their own share one file, so that another member costs one
line in one file. Which file a container has follows from its own document and its networks alone: siblings that
come and go change what is in it, never where it is.
"""

from __future__ import annotations

from runspec.plan.steps import namespaces
from runspec.spec import read_names
from runspec.spec.frozen import Frozen
from runspec.spec.model import Dns, Network, Spec
from runspec.spec.rules_names import HOSTS, RESOLV, covers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = ("127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback")
FILE_NAME_MAX = 255
# What resolv.conf(5) of the C libraries heeds.
SERVERS = 3


class Member(Frozen):
    """What of a container concerns names.

    Args:
        links: (network, addresses without their prefix length), of interfaces that have any.
        shares: the container whose network namespace it joins, "" for none.
        covered: those of the two files that are mounts of its own document, or not ours to mount.
        listed: whether it came from a document: then its siblings know it.
    """

    name: str
    hostname: str = ""
    links: tuple[tuple[str, tuple[str, ...]], ...] = ()
    shares: str = ""
    extra: tuple[tuple[str, str], ...] = ()
    dns: Dns | None = None
    covered: tuple[str, ...] = ()
    listed: bool = True


def member(spec: Spec, bundle: bool) -> Member:
    """What of this container concerns names."""
    covered = tuple(path for path in (HOSTS, RESOLV)
                    if not namespaces.is_new(spec, "mount") or covers(spec, path) is not None)
    shared = namespaces.namespace(spec, "network")
    return Member(
        name=spec.name, hostname=spec.hostname or "", covered=covered, listed=not bundle, extra=spec.extra_hosts,
        dns=spec.dns, shares=(shared.container or "") if shared is not None else "",
        links=tuple((one.network, tuple(address.partition("/")[0] for address in one.addresses))
                    for one in spec.interfaces if one.network and one.addresses))


class World:
    """All containers and networks at one time: what their files say.

    Args:
        root: the directory of the files.
        members: by name.
        networks: by name.
    """

    def __init__(self, root: str, members: dict[str, Member], networks: dict[str, Network]) -> None:
        self.root, self.members, self.networks = root, members, networks
        self._on: dict[str, list[tuple[Member, tuple[str, ...]]]] | None = None
        self._called: set[str] = set()      # resolvers tell no capitals, hosts(5)
        self._shared: dict[str, tuple[str, ...]] = {}

    def links(self, one: Member) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Its interfaces on networks, or those of the container whose network it shares."""
        seen = {one.name}
        while one.shares and one.shares not in seen:
            seen.add(one.shares)
            found = self.members.get(one.shares)
            if found is None:
                return ()
            one = found
        return one.links

    def alone(self, network: str) -> bool:
        """Whether the members of a network do not see each other."""
        found = self.networks.get(network)
        return found is not None and found.isolated

    def file(self, one: Member) -> str:
        """The file of the host that is its /etc/hosts, "" for none."""
        if HOSTS in one.covered or not (one.extra or (one.listed and (one.links or one.shares))):
            return ""
        networks = sorted({network for network, _ in one.links})
        if one.extra or one.shares or not one.listed or any(map(self.alone, networks)):
            return f"{self.root}/container.{one.name}.hosts"
        shared = f"networks.{'+'.join(networks)}.hosts"
        if len(shared) > FILE_NAME_MAX:
            from runspec.spec.sha import sha256
            shared = f"networks.{sha256(shared.encode()).hexdigest()}.hosts"
        return f"{self.root}/{shared}"

    def resolver(self, one: Member) -> str:
        """The file of the host that is its /etc/resolv.conf, "" for none."""
        return "" if one.dns is None or RESOLV in one.covered else f"{self.root}/container.{one.name}.resolv.conf"

    def files(self, one: Member) -> tuple[tuple[str, str], ...]:
        """(path inside, file of the host) of those that it has."""
        return tuple(pair for pair in ((HOSTS, self.file(one)), (RESOLV, self.resolver(one))) if pair[1])

    def gateways(self, one: Member) -> tuple[str, ...]:
        """The host's address on its first network, one of each family."""
        found = self.networks.get(next((network for network, _ in self.links(one)), ""))
        addresses = [address.partition("/")[0] for address in (found.addresses if found is not None else ())]
        first = {(":" in address): address for address in reversed(addresses)}
        return tuple(address for address in addresses if address in first.values())

    def extra(self, one: Member, pair: tuple[str, str]) -> tuple[str, ...]:
        """The lines of one of its extraHosts."""
        name, address = pair
        found = self.gateways(one) if address == read_names.GATEWAY else (address,)
        return tuple(f"{each} {name}" for each in found)

    def hosts(self, one: Member) -> tuple[str, ...]:
        """The lines of its /etc/hosts."""
        path = self.file(one)
        if "/networks." in path:
            if path not in self._shared:
                self._shared[path] = tuple(dict.fromkeys(filter(None, (*LOCAL, *self._siblings(one)))))
            return self._shared[path]
        own = () if self.links(one) and one.listed else (line("127.0.1.1", (one.hostname, one.name), set()),)
        extra = (found for pair in one.extra for found in self.extra(one, pair))
        return tuple(dict.fromkeys(filter(None, (*LOCAL, *own, *extra, *self._siblings(one)))))

    def texts(self, names: tuple[str, ...]) -> dict[str, tuple[tuple[str, ...], list[str]]]:
        """Each file of these containers -> its lines, and those of them that have it."""
        out: dict[str, tuple[tuple[str, ...], list[str]]] = {}
        for one in filter(None, map(self.members.get, names)):
            for place, file in self.files(one):
                if file not in out:
                    out[file] = resolver(one.dns) if place == RESOLV and one.dns is not None else self.hosts(one), []
                out[file][1].append(one.name)
        return out

    def doubles(self, networks: tuple[str, ...]) -> list[tuple[str, str, tuple[str, ...]]]:
        """(network, host name, containers) where several call themselves the same."""
        found: dict[tuple[str, str], list[str]] = {}
        for one in self.members.values():
            for network in {network for network, _ in self.links(one)} if one.hostname and one.listed else ():
                if network in networks and not one.shares and not self.alone(network):
                    found.setdefault((network, one.hostname.lower()), []).append(one.name)
        return sorted((network, host, tuple(sorted(names))) for (network, host), names in found.items()
                      if len(names) > 1)

    def _siblings(self, one: Member) -> Iterator[str]:
        """A line for each address of each member of its networks, itself among them; what the file says goes before."""
        if self._on is None:
            self._on = {}
            self._called = {found.name.lower() for found in self.members.values() if found.listed}
            for found in sorted(self.members.values(), key=lambda found: found.name):
                for network, addresses in self.links(found) if found.listed else ():
                    self._on.setdefault(network, []).append((found, addresses))
        if not one.listed:
            return
        taken = {name.lower() for name, _ in one.extra} | {"localhost"}
        networks = dict.fromkeys(network for network, _ in self.links(one))
        for network in networks:
            alone = self.alone(network)
            for found, addresses in self._on.get(network, ()):
                if alone and found.name != one.name:
                    continue
                host = found.hostname
                # A container's name is its own, whatever another calls itself.
                if host.lower() != found.name.lower() and host.lower() in self._called:
                    host = ""
                for address in addresses:
                    yield line(address, (host, found.name), taken)


def line(address: str, names: tuple[str, ...], taken: set[str]) -> str:
    """One line of hosts(5), "" where no name is left."""
    left = [name for name in dict.fromkeys(names) if name and name.lower() not in taken]
    return f"{address} {' '.join(left)}" if left else ""


def resolver(dns: Dns) -> tuple[str, ...]:
    """The lines of resolv.conf(5)."""
    lines = [f"nameserver {one}" for one in dns.nameservers]
    lines += [f"{word} {' '.join(values)}" for word, values in (("search", dns.search), ("options", dns.options))
              if values]
    return tuple(lines)


def parse_resolver(lines: tuple[str, ...]) -> Dns:
    """The inverse, of whatever a file has become; the last list of domains counts, resolv.conf(5)."""
    words = [one.split() for one in lines]
    return Dns(nameservers=tuple(value for word, *values in words if word == "nameserver" for value in values[:1]),
               search=next((tuple(values) for word, *values in reversed(words) if word == "search"), ()),
               options=tuple(value for word, *values in words if word == "options" for value in values))
