"""What observe brings home from the kernel about one container, raw; the pure rooms judge it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Facts:
    """Raw readings about one container; every field is as the kernel gave it.

    Attributes:
        status: "absent", "stopped" or "running".
        pid, start_time: init's, 0 where there is none; start_time in clock ticks after boot.
        namespaces: OCI kind -> inode identity of init's namespace; own: the same of ours.
        elsewhere: (kind, a path or "container:NAME") -> inode identity of that namespace.
        id_status: parsed /proc/PID/status; limits: name -> (soft, hard).
        uid_map, gid_map: tuples of (inside, outside, size).
        mounts: parsed mountinfo of init.
        sources: bind source -> (kind, "major:minor", path on that file system), as the host sees it.
        membership: controller -> path of init's group, "" for cgroup2.
        files: (controller, file) -> text of the container's groups; frozen: whether one of them stands still.
        hostname, domainname: of its uts namespace.
        sysctl: key -> value as read inside.
        links, addresses, routes: rtnetlink's view inside its network namespace.
        named: mount points inside at which files of names lie.
        places: destination or hidden path -> where it lies inside, once links of the image are followed.
        fresh: spec path -> what a new container would begin with, where the file asks no more.
        nodes: path -> (type, major, minor, mode, uid, gid) below its root.
        present: masked and read-only paths that exist for it.
        device_tag: tag of the attached device program, "" where there is none.
        scheduler: init's struct sched_attr, b"" where nobody asked; io_priority: as ioprio_get(2) packs it.
        personality: of init, personality(2); memory_policy: numa_maps' words for it; label: of its security module.
        filters: of system calls, beside those that we are under ourselves.
        landlock: version of the kernel's interface, 0 without it or where nobody asked.
        resctrl: tasks and schemata of the class that its spec names, and the tasks of its monitoring group.
        host_links: name of a host link -> its master's name or "".
        port_vlans: index of a port on the host -> VLAN -> its flags, where a network of its heeds tags.
        networks: name -> Network of each that its interfaces join, as it will be.
        ports: of a network: (name, alias, whether isolated) of each port of its bridge; filtering: whether it heeds
            VLAN tags;
            hears: whether the host takes routes or addresses from what comes in there.
        nics: a `parent` of a physical interface -> (name, key, mac, mtu) at home of the link that it means.
        leases: the same -> index inside of the link that is lent under that word.
        outside: name of a host link -> what rtnetlink tells of it; host_addresses, host_routes: all that the host has,
            where a link asks for it.
        parents: how a file names a link of the host -> its index, 0 where there is none.
        beside: what of the host only some links ask for, None where none does; neighbours: inside, where one does.
        former: name of an interface -> as it was applied last.
        forwarding: name of a host link -> whether it forwards what comes in, of IPv4 and of IPv6, and whether nobody
            there changes the host's routes.
        wall: what was seen of the firewall, None where nobody asked.
        traffic: queueing disciplines and filters inside, host_traffic: on the host; where limits or marks are asked.
        numbers: index of a port on the host -> its number at its bridge, where a network has one line for all.
        lines: (network, way) -> what was seen of its line; fair: whether flows that wait can take turns.
    """

    __slots__ = (
        "addresses", "beside", "device_tag", "domainname", "elsewhere", "fair", "files", "filtering", "filters",
        "former", "forwarding", "fresh", "frozen", "gid_map", "groups", "hears", "host_addresses", "host_links",
        "host_routes", "host_traffic", "hostname", "id_status", "io_priority", "label", "landlock", "leases",
        "limits", "lines", "links", "membership", "memory_policy", "mounts", "named", "namespaces",
        "neighbours", "networks", "nics", "nodes", "numbers", "oom_score_adj", "outside", "own", "parents",
        "personality", "pid", "places", "port_vlans", "ports", "present", "resctrl", "routes", "scheduler",
        "sources", "start_time", "status", "sysctl", "timens_offsets", "traffic", "uid_map", "wall")

    def __init__(self, status: str) -> None:
        self.status = status
        self.pid = self.start_time = 0
        self.namespaces: dict[str, str] = {}
        self.own: dict[str, str] = {}
        self.elsewhere: dict[tuple[str, str], str] = {}
        self.id_status: Any = None
        self.limits: dict[str, tuple[int, int]] = {}
        self.uid_map: tuple[tuple[int, int, int], ...] = ()
        self.gid_map: tuple[tuple[int, int, int], ...] = ()
        self.mounts: list[Any] = []
        self.resctrl = ("", "", "")
        self.sources: dict[str, tuple[str, str, str]] = {}
        self.membership: dict[str, str] = {}
        self.files: dict[tuple[str, str], str] = {}
        self.groups: dict[str, str] = {}
        self.hostname = self.domainname = ""
        self.sysctl: dict[str, str] = {}
        self.named: frozenset[str] = frozenset()
        self.places: dict[str, str] = {}
        self.fresh: dict[str, Any] = {}
        self.links: list[Any] = []
        self.addresses: list[Any] = []
        self.routes: list[Any] = []
        self.nodes: dict[str, tuple[str | int, ...]] = {}
        self.present: frozenset[str] = frozenset()
        self.oom_score_adj: int | None = None
        self.timens_offsets: dict[str, tuple[int, int]] = {}
        self.device_tag = ""
        self.scheduler = b""
        self.io_priority: int | None = None
        self.filters = self.personality = self.landlock = 0
        self.memory_policy = self.label = ""
        self.host_links: dict[str, str] = {}
        self.networks: dict[str, Any] = {}
        self.ports: list[tuple[str, str, bool]] = []
        self.filtering = self.hears = self.frozen = False
        self.port_vlans: dict[int, dict[int, int]] = {}
        self.nics: dict[str, tuple[str, str, str, int]] = {}
        self.leases: dict[str, int] = {}
        self.beside: Any = None
        self.neighbours: list[Any] = []
        self.outside: dict[str, Any] = {}
        self.host_addresses: list[Any] = []
        self.host_routes: list[Any] = []
        self.parents: dict[str, int] = {}
        self.former: dict[str, Any] = {}
        self.forwarding: dict[str, tuple[bool, bool, bool]] = {}
        self.wall: Any = None
        self.traffic: list[Any] = []
        self.host_traffic: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.lines: dict[tuple[str, str], Any] = {}
        self.fair = False
