"""Asks the Kernel what is: fills Host once and Facts for each container."""

from __future__ import annotations

import os

from runspec import abi
from runspec.errors import HostError
from runspec.kernel import cgroupfs, netlink, netlink_bridge, procfs
from runspec.plan import cgroup, rtnetlink, rtnetlink_bridge, rtnetlink_host, traffic, view_kinds
from runspec.plan.facts import Facts
from runspec.plan.host import Host
from runspec.plan.steps import host_access, host_links, intel_rdt, namespaces
from runspec.plan.steps.base import Table
from runspec.plan.steps.cgroup import FREEZERS, groups
from runspec.plan.steps.process import sysctl_path
from runspec.run import observe_host
from runspec.run.look import Look
from runspec.run.observe_traffic import Shaping, held_links
from runspec.run.store import status
from runspec.spec import mount_options
from runspec.spec.alike import kept
from runspec.spec.model import Mount, Network, Spec
from runspec.spec.model_net import ON_PARENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel
    from runspec.plan.view_nft import Wall
    from runspec.run.look import Visit
    from runspec.run.store import Record, Store

# Containers that one looking process visits: bounds the descriptors it is handed.
VISITS = 24


def read_host(kernel: Kernel) -> Host:
    """Facts about the machine that plans depend on.

    See: proc(5) /proc/self/mountinfo, cgroup-v2.rst "cgroup.controllers".
    """
    return Host(**cgroupfs.host_facts(kernel))


class Observer(Shaping):
    """One look at the machine: what several containers share is read once."""

    def __init__(self, kernel: Kernel, store: Store, host: Host, fair: bool = False) -> None:
        self.kernel, self.store, self.host = kernel, store, host
        self.wall: Wall | None = None
        self._own: dict[str, str] | None = None
        self._host_mounts: list[procfs.Mount] | None = None
        self._host_links: list[netlink.Link] | None = None
        self._host_addresses: list[netlink.Address] | None = None
        self._link_data: list[bytes] = []
        self._ports: dict[int, bool] | None = None
        self._filtering: set[int] = set()
        self._exists: dict[tuple[str, ...], frozenset[str]] = {}
        self._filters: int | None = None
        super().__init__(fair)

    def containers(self, wanted: list[tuple[Spec, Spec | None, Record | None]]) -> list[Facts]:
        """Facts about each (spec, spec applied last, Record), in order."""
        found: list[Facts] = []
        running: list[tuple[Facts, list[Spec]]] = []
        edited: list[tuple[Facts, Spec, Spec]] = []
        for spec, last, record in wanted:
            alive = "absent" if record is None else status(self.kernel, record)
            facts = Facts(alive)
            facts.wall = self.wall
            specs = [spec] if last is None or last == spec else [spec, last]
            for one in specs:
                self._wishes(one, facts)
            if record is not None and alive == "running":
                facts.pid, facts.start_time = record.pid, record.start_time
                facts.former = {one.name: one for one in last.interfaces} if last is not None else {}
                if last is not None and last is not spec:
                    edited.append((facts, spec, last))
                running.append((facts, specs))
            if any(one.type == "physical" for each in specs for one in each.interfaces):
                self._leases(facts, specs)
            found.append(facts)
        for i in range(0, len(running), VISITS):
            self._from_both_sides(running[i:i + VISITS])
        for facts, spec, last in edited:
            self._fresh(facts, spec, last)
        if running:
            by_index = {link.index: link for link in self.host_links()}
            names = {link.name: by_index[link.master].name if link.master in by_index else ""
                     for link in by_index.values()}
            for facts, _ in running:
                facts.host_links = names
            self._host_ends(running, by_index)
            beside = observe_host.look(self.kernel, [spec for _, specs in running for spec in specs])
            for facts, _ in running:
                facts.beside = beside
            for facts, specs in running:
                self._traffic(facts, specs)
            held = [one for one in running if one[0].status == "running"
                    and any(held_links(spec, False) for spec in one[1])]
            for i in range(0, len(held), VISITS):
                self._inside(held[i:i + VISITS], self._visit_traffic)
        return found

    def _leases(self, facts: Facts, specs: list[Spec]) -> None:
        from runspec.run.leases import Leases

        leases = Leases(self.kernel, self.store)
        facts.nics = leases.resolve(specs)
        facts.leases = {one["asked"]: one["inside"] for one in leases.all() if one["container"] == specs[0].name}

    def _host_ends(self, running: list[tuple[Facts, list[Spec]]], by_index: dict[int, netlink.Link]) -> None:
        """The host's side of links: what all may ask, and what only some kinds do."""
        outside = {link.name: link for link in by_index.values()}
        addresses: list[netlink.Address] | None = None
        routes: list[netlink.Route] = []
        for facts, specs in running:
            facts.outside = outside
            for one in (one for spec in specs for one in spec.interfaces):
                if one.parent is not None and one.type in ON_PARENT and one.parent not in facts.parents:
                    try:
                        facts.parents[one.parent] = host_links.parent_index(self.kernel, one.parent)
                    except HostError:
                        facts.parents[one.parent] = 0
                if not view_kinds.routed(one):
                    continue
                if addresses is None:
                    addresses = [row for data in self.kernel.dump(rtnetlink.dump_addresses())
                                 for row in netlink.parse_addresses(data)]
                    routes = [row for data in self.kernel.dump(rtnetlink.dump_routes())
                              for row in netlink.parse_routes(data)]
                facts.host_addresses, facts.host_routes = addresses, routes
                end = host_links.host_name(specs[0].name, one.name)
                v4, v6 = (all(text in (None, b"1\n") for text in map(self.kernel.try_read, paths))
                          for paths in host_links.forwarding_files(end))
                facts.forwarding[end] = v4, v6, not self._hears(end)

    def network(self, network: Network) -> Facts:
        """Facts about one bridge: its link is the only one in `links`."""
        link = next((one for one in self.host_links() if one.name == network.name), None)
        facts = Facts("running" if link is not None else "absent")
        facts.fair = self.fair
        if link is None:
            return facts
        for word in traffic.WAYS if network.qos is not None else ():
            facts.lines[network.name, word] = self._line(network.name, word)
        facts.links, facts.wall = [link], self.wall
        facts.addresses = [one for one in self.host_addresses() if one.index == link.index]
        ports, filtering = self._bridges(link.index)
        facts.ports = [(one.name, one.alias, ports[one.index]) for one in self.host_links()
                       if one.master == link.index and one.index in ports]
        facts.filtering, facts.hears = filtering, not network.external and self._hears(network.name)
        return facts

    def _hears(self, link: str) -> bool:
        """Whether the host takes routes or addresses from what comes in by a link."""
        return any(self.kernel.try_read(file) not in (None, b"0\n") for file in host_links.deaf_files(link))

    def host_links(self) -> list[netlink.Link]:
        """Links of the host's network namespace, read once."""
        if self._host_links is None:
            self._link_data = self.kernel.dump(rtnetlink.dump_links())
            self._host_links = [one for data in self._link_data for one in netlink.parse_links(data)]
        return self._host_links

    def _bridges(self, index: int) -> tuple[dict[int, bool], bool]:
        """Index of each port of any bridge -> whether it is isolated; and whether this bridge heeds VLAN tags."""
        if self._ports is None:
            self._ports, self._filtering = {}, set()
            for data in self._link_data:
                self._ports.update(netlink_bridge.parse_ports(data))
                self._filtering |= netlink_bridge.parse_filtering(data)
        return self._ports, index in self._filtering

    def host_addresses(self) -> list[netlink.Address]:
        """Addresses of the host's network namespace, read once."""
        if self._host_addresses is None:
            self._host_addresses = [one for data in self.kernel.dump(rtnetlink.dump_addresses())
                                    for one in netlink.parse_addresses(data)]
        return self._host_addresses

    def addresses_on(self, name: str) -> list[str]:
        """The host's addresses on one of its links, in CIDR form."""
        here = {link.index for link in self.host_links() if link.name == name}
        return [one.cidr for one in self.host_addresses() if one.index in here]

    def host_routes(self) -> list[netlink.Route]:
        """Routes of the host's network namespace."""
        return [one for data in self.kernel.dump(rtnetlink.dump_routes()) for one in netlink.parse_routes(data)]

    def port_vlans(self) -> dict[int, dict[int, int]]:
        """Index -> VLAN -> flags of every port of a bridge."""
        return {index: found for data in self.kernel.dump(rtnetlink_bridge.dump_vlans())
                for index, found in netlink_bridge.parse_vlans(data).items()}

    def own_namespaces(self) -> dict[str, str]:
        """OCI kind -> identity of our own namespaces."""
        if self._own is None:
            self._own, = self._namespaces(os.getpid())
        return self._own

    def _namespaces(self, *pids: int) -> list[dict[str, str]]:
        """OCI kind -> identity of the namespaces of each of these processes."""
        found = iter(self.kernel.read_files([f"@/proc/{pid}/ns/{name}" for pid in pids
                                             for _, name in namespaces.KINDS.values()]))
        return [{kind: (next(found) or b"").decode() for kind in namespaces.KINDS} for _ in pids]

    # -- what only the machine can say about a wish --

    def _wishes(self, spec: Spec, facts: Facts) -> None:
        if spec.landlock is not None:
            facts.landlock = self.kernel.landlock_version()
        for mount in spec.mounts:
            if mount.source and mount_options.parse(mount.options).bind and mount.source not in facts.sources:
                facts.sources[mount.source] = self.source(mount.source)
        if spec.root.path:
            facts.sources.setdefault(spec.root.path, self.source(spec.root.path))
        for one in spec.linux.namespaces:
            if one.path:
                facts.elsewhere[one.type, one.path] = self._identity(one.path, one.type)
            elif one.container:
                record = self.store.load("container", one.container)
                if record is not None and status(self.kernel, record) == "running":
                    path = f"/proc/{record.pid}/ns/{namespaces.KINDS[one.type][1]}"
                    facts.elsewhere[one.type, f"container:{one.container}"] = self._identity(path, one.type)

    def _identity(self, path: str, kind: str) -> str:
        found = self.kernel.stat(path)
        return f"{namespaces.KINDS[kind][1]}:[{found.st_ino}]" if found is not None else path

    def source(self, source: str) -> tuple[str, str, str]:
        """(kind, device, path on that file system) of a bind's source, as mountinfo will name it."""
        found = self.kernel.stat(source)
        if found is None:
            return "missing", "", ""
        kind = "directory" if found.st_mode & 0o170000 == abi.S_IFDIR else "file"
        real = os.path.realpath(source)
        best = None
        for mount in self._mounts_of_host():
            point = mount.mount_point
            if (real == point or real.startswith(point.rstrip("/") + "/")) and \
                    (best is None or len(point) >= len(best.mount_point)):
                best = mount
        if best is None:
            return kind, "", ""
        rest = real[len(best.mount_point.rstrip("/")):]
        return kind, best.device, (best.root.rstrip("/") + rest) or "/"

    def _mounts_of_host(self) -> list[procfs.Mount]:
        if self._host_mounts is None:
            self._host_mounts = procfs.parse_mountinfo(self.kernel.read("/proc/self/mountinfo"))
        return self._host_mounts

    # -- a running container, seen from the host --

    def _outside(self, facts: Facts, specs: list[Spec]) -> None:
        kernel, proc = self.kernel, f"/proc/{facts.pid}"
        files = self._group_files(facts, specs)
        state, limits, mounts, membership, *texts = kernel.read_files([
            f"{proc}/status", f"{proc}/limits", f"{proc}/mountinfo", f"{proc}/cgroup", *files.values()])
        facts.id_status = procfs.parse_rights(state or b"")
        facts.limits = procfs.parse_limits(limits or b"")
        facts.mounts = procfs.parse_mountinfo(mounts or b"")
        facts.membership = cgroupfs.parse_membership(membership or b"")
        facts.files = {at: text.decode().strip() for at, text in zip(files, texts, strict=True) if text is not None}
        facts.frozen = any(at in facts.files and runs not in facts.files[at] for at, runs in FREEZERS.items())
        if "" in facts.groups and cgroup.judges_devices(self.host):
            facts.device_tag = " ".join(kernel.device_program_tags(facts.groups[""]))
        if any(spec.process.oom_score_adj is not None for spec in specs):
            facts.oom_score_adj = int(kernel.try_read(f"{proc}/oom_score_adj") or b"0")
        if any(spec.linux.uid_mappings for spec in specs):
            facts.uid_map = procfs.parse_id_map(kernel.try_read(f"{proc}/uid_map") or b"")
            facts.gid_map = procfs.parse_id_map(kernel.try_read(f"{proc}/gid_map") or b"")
        if any(spec.linux.time_offsets for spec in specs):
            text = (kernel.try_read(f"{proc}/timens_offsets") or b"").decode()
            facts.timens_offsets = {words[0]: (int(words[1]), int(words[2]))
                                    for words in map(str.split, text.splitlines()) if len(words) == 3}
        self._attributes(facts, specs)
        self._places(facts, specs)
        if any(spec.linux.seccomp is not None for spec in specs):
            if self._filters is None:
                self._filters = procfs.parse_status(kernel.read("/proc/self/status")).seccomp_filters
            facts.filters = max(0, facts.id_status.seccomp_filters - self._filters)
        facts.present = frozenset().union(*(self._present(facts.pid, paths) for spec in specs for paths in (
            spec.linux.masked_paths, spec.linux.readonly_paths)))
        for spec in specs:
            for device in spec.linux.devices:
                node = self.kernel.node_inside(facts.pid, device.path)
                if node is not None:
                    facts.nodes[device.path] = tuple(node)

    def _places(self, facts: Facts, specs: list[Spec]) -> None:
        """Links of the image may lead a destination elsewhere; mountinfo names where it lies.

        One that leads into /proc, or to where something else is declared, is not that: it may not be taken for it.
        """
        points = {one.mount_point for one in facts.mounts}
        asked: dict[str, None] = {}
        for spec in specs:
            for paths in (destinations(spec.mounts), spec.linux.masked_paths, spec.linux.readonly_paths):
                asked.update(dict.fromkeys(rest(paths)))
        for path in asked:
            if path in points:
                continue
            place = self.kernel.place_inside(facts.pid, path)
            if place is not None and place not in asked and not f"{place}/".startswith("/proc/"):
                facts.places[path] = place

    def _attributes(self, facts: Facts, specs: list[Spec]) -> None:
        kernel, proc = self.kernel, f"/proc/{facts.pid}"
        one = specs[0].linux.intel_rdt
        if one is not None:
            where, watched = intel_rdt.directory(specs[0].name, one), intel_rdt.monitor(specs[0].name, one)
            tasks, schemata, more = ((kernel.try_read(path) or b"").decode("ascii", "replace") for path in (
                f"{where}/tasks", f"{where}/schemata", f"{watched}/tasks"))
            facts.resctrl = tasks, schemata, more if watched else ""
        if any(spec.process.scheduler is not None for spec in specs):
            facts.scheduler = kernel.scheduler(facts.pid) or b""
        if any(spec.process.io_priority is not None for spec in specs):
            facts.io_priority = kernel.io_priority(facts.pid)
        if any(spec.linux.personality is not None for spec in specs):
            facts.personality = int(kernel.try_read(f"{proc}/personality") or b"0", 16)
        if any(spec.linux.memory_policy is not None for spec in specs):
            line = (kernel.try_read(f"{proc}/numa_maps") or b"").partition(b"\n")[0]
            facts.memory_policy = line.partition(b" ")[2].decode("ascii", "replace")
        if any(spec.process.apparmor_profile or spec.process.selinux_label for spec in specs):
            facts.label = (kernel.try_read(f"{proc}/attr/current") or b"").rstrip(b"\0\n").decode("utf-8", "replace")

    def _present(self, pid: int, paths: tuple[str, ...]) -> frozenset[str]:
        """Those of these paths that exist inside; /proc and /sys hold the same names everywhere."""
        found = self._exists.get(paths)
        if found is None:
            found = self._exists[paths] = frozenset(
                path for path in paths if path.startswith(("/proc/", "/sys/")) and self.kernel.exists(path))
        return found.union(path for path in rest(paths) if self.kernel.stat_inside(pid, path, follow=True) is not None)

    def _group_files(self, facts: Facts, specs: list[Spec]) -> dict[tuple[str, str], str]:
        """(controller, file) -> path of what the container's groups say of what is asked."""
        path = specs[-1].linux.cgroups_path or f"/runspec/{specs[-1].name}"
        facts.groups = where = dict(groups(self.host, path))
        files = {(controller, name): f"{where.get(controller, where.get('', ''))}/{name}"
                 for spec in specs for controller, name in cgroup.files(spec.linux.resources, self.host)}
        files.update((at, f"{where[at[0]]}/{at[1]}") for at in FREEZERS if at[0] in where)
        return files

    def _fresh(self, facts: Facts, spec: Spec, last: Spec) -> None:
        """What a new container would begin with, where the file asks for something no more."""
        for field in ("hostname", "domainname"):
            if getattr(spec, field) is None and getattr(last, field) is not None:
                facts.fresh[field] = self.kernel.read_text(f"/proc/sys/kernel/{field}").strip()
        if spec.process.oom_score_adj is None and last.process.oom_score_adj is not None:
            facts.fresh["process.oomScoreAdj"] = int(self.kernel.read_text("/proc/self/oom_score_adj"))
        keys = [key for key, _ in last.linux.sysctl if key not in dict(spec.linux.sysctl)]
        if not keys:
            return
        table = Table()
        for key in keys:
            table.add(abi.OP_READ, s1="/proc/" + sysctl_path(key), a=4096)
        fresh = abi.CLONE_NEWNET | abi.CLONE_NEWIPC | abi.CLONE_NEWUTS
        for report in self.kernel.run_table(table.ops, (), flags=fresh):
            if not report.error:
                facts.fresh[f"linux.sysctl.{keys[report.index]}"] = report.data.decode("utf-8", "replace").strip()

    # -- a running container, seen from inside --

    def _from_both_sides(self, visits: list[tuple[Facts, list[Spec]]]) -> None:
        """What only shows inside is asked for by a process of its own, while what shows outside is read here."""
        own, spaces = self.own_namespaces(), self._namespaces(*(facts.pid for facts, _ in visits))
        for (facts, _), its in zip(visits, spaces, strict=True):
            facts.own, facts.namespaces = own, its
        look = Look(self.kernel, visits, self._visit)
        try:
            for facts, specs in visits:
                self._outside(facts, specs)
        except BaseException:
            look.drop()
            raise
        look.end()

    def _inside(self, visits: list[tuple[Facts, list[Spec]]], visit: Visit) -> None:
        Look(self.kernel, visits, visit).end()

    def _visit(self, table: Table, i: int, facts: Facts, specs: list[Spec],
               takers: dict[int, tuple[Facts, str]]) -> None:
        apart = {kind for kind in ("uts", "ipc", "network") if facts.namespaces[kind] != facts.own[kind]}
        if not apart:
            return
        table.named["init"] = table.named[f"init{i}"]
        namespaces.inside(table, tuple(sorted(apart)))
        if "uts" in apart:
            takers[len(table.ops)] = (facts, "names")
            table.add(abi.OP_UNAME)
        keys = {key for spec in specs for key, _ in spec.linux.sysctl}
        keys.update(view_kinds.parameter_path(one, key)
                    for spec in specs for one in spec.interfaces for key, _ in one.sysctl)
        keys.update(view_kinds.default_path(key) for one in specs[0].interfaces
                    for key in view_kinds.dropped(one, facts.former.get(one.name)))
        for key in sorted(keys):
            takers[len(table.ops)] = (facts, key)
            table.add(abi.OP_READ, s1="/proc/" + sysctl_path(key), a=4096)
        if "network" in apart and any(namespaces.is_new(spec, "network") for spec in specs):
            table.add(abi.OP_RESET_SOCKET)
            for what, request in (("links", rtnetlink.dump_links()), ("addresses", rtnetlink.dump_addresses()),
                                  ("routes", rtnetlink.dump_routes())):
                takers[len(table.ops)] = (facts, "@" + what)
                table.add(abi.OP_DUMP, s1=request)
            if any(host_access.asks(one) for spec in specs for one in spec.interfaces):
                takers[len(table.ops)] = (facts, "@neighbours")
                table.add(abi.OP_DUMP, s1=rtnetlink_host.dump_neighbours())


@kept
def destinations(mounts: tuple[Mount, ...]) -> tuple[str, ...]:
    """Where these lie."""
    return tuple(one.destination for one in mounts)


@kept
def rest(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are not below /proc and /sys."""
    return tuple(path for path in paths if not path.startswith(("/proc/", "/sys/")))
