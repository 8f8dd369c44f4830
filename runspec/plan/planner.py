"""From Changes to a Plan: asks the rooms of steps/ for Steps, in phase order, and nothing more."""

from __future__ import annotations

from runspec.plan import cgroup, diff, live, order, view_links
from runspec.plan.steps import (
    attributes,
    cgroup as groups,
    gate,
    hooks,
    host_access,
    intel_rdt,
    lease,
    lease_live,
    limits,
    line,
    links,
    links_live,
    loopback,
    names,
    namespaces,
    network,
    nft,
    process,
    rootfs,
    terminal,
    traffic,
)
from runspec.plan.steps.base import TRY, Change, Plan, Step
from runspec.spec import fields
from runspec.spec.defaults import WEIGHT
from runspec.spec.model import NO_HOOKS, IDMapping, Network, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.plan.facts import Facts
    from runspec.plan.host import Host
    from runspec.plan.steps.seccomp import Filter
    from runspec.plan.view_nft import Wall

# Namespaces that a restart takes over from the former init.
KEPT = ("network", "user")


class Item:
    """One container or network of a request, with all that is known of it.

    Args:
        wanted: what the files ask; None to have it removed.
        last: what was applied last; None where there was nothing.
        facts: what the kernel shows.
        changes: how these differ.
        image: directory of the spec's image, None without one.
        data: whether a lasting overlay goes too.
        seccomp: the compiled filter, None without one.
        bundle: the OCI bundle it is made from, "" for a document: then its init waits at a start gate.
        pid_file: where its pid goes, "" for nowhere.

    Attributes:
        console: socket to which the terminal of its init goes, "" for none.
        seen: spec path -> what the kernel shows, where the container or network is there.
        names: (path inside, file of the host) of its names; shown: path inside -> which of ours is mounted there.
        ports: of a network that is made anew, what puts containers on it that the request does not name; lost: those
            whom that does not bring back.
    """

    __slots__ = ("bundle", "changes", "console", "data", "facts", "groups", "image", "last", "lost", "names",
                 "pid_file", "ports", "seccomp", "seen", "shown", "wanted")

    def __init__(self, wanted: Any, last: Any, facts: Any, changes: tuple[Change, ...] = (),
                 image: str | None = None, groups: tuple[str, ...] = (), data: bool = False, bundle: str = "",
                 pid_file: str = "") -> None:
        self.wanted, self.last, self.facts, self.changes = wanted, last, facts, changes
        self.image, self.groups, self.data = image, groups, data
        self.bundle, self.pid_file = bundle, pid_file
        self.seen: dict[str, Any] = {}
        self.names: tuple[tuple[str, str], ...] = ()
        self.shown: dict[str, str] = {}
        self.ports: tuple[Step, ...] = ()
        self.lost: tuple[str, ...] = ()
        self.console = ""
        self.seccomp: Filter | None = None

    @property
    def name(self) -> str:
        """Of the container or network."""
        return str((self.wanted or self.last).name)


def make_plan(networks: list[Item], containers: list[Item], host: Host, wall: Wall | None = None) -> Plan:
    """One plan for everything a request names.

    Networks come before and go after their users; a container whose namespaces another joins comes
    before it. Within these, Steps are ordered by phase and turn, so that children work at once.
    What is published is led anew before anybody is stopped, while it can still be refused. New inits are tried before
    all else, but those that join what this plan may make.
    """
    tries: list[Step] = []
    steps: list[Step] = []
    quiet: list[str] = []
    for item in networks:
        if item.wanted is not None:
            made = network_steps(item)
            steps += made
            if not made:
                quiet.append(f"{item.name}: up to date")
            if item.lost:
                quiet.append(f"warning: {item.name}: {' and '.join(item.lost)} "
                             f"{'is' if len(item.lost) == 1 else 'are'} without it until applied again")
    count = len(steps)
    removals = [item for item in containers if item.wanted is None]
    ends: list[Step] = []
    cleared: list[Step] = []
    for item in removals:
        made = remove_container(item)
        # Where nothing must be fetched out of it first, it ends together with the others.
        if len(removals) > 1 and item.facts.status in ("running", "created") and (
                isinstance(made[0], groups.KillContainer)):
            ends.append(groups.EndInit(target=item.name))
        # Meanwhile the kernel takes the namespaces apart, and the links with them.
        first = (limits.ReturnShares, groups.RemoveCgroup, rootfs.RemoveDirectory)
        cleared += [step for step in made if isinstance(step, first)]
        steps += [step for step in made if not isinstance(step, first)]
    published = nft.plan((*networks, *containers), wall, set())[0] if wall is not None else []
    steps = order.by_phase([*steps[:count], *published, *ends, *cleared, *steps[count:]])
    renewed: dict[str, bool] = {}       # with a new init -> whether all of it is new
    followers: list[Change] = []
    for wave in order.waves([item for item in containers if item.wanted is not None]):
        batch: list[Step] = []
        for item in wave:
            made = container_steps(item, host)
            lost = [(i, one) for i, one in enumerate(item.wanted.linux.namespaces) if one.container in renewed
                    and (renewed[one.container] or one.type not in KEPT)]
            if lost and item.facts.status == "running":
                # What it shares ends with the other's init, so it cannot stay either.
                made = [*remains(item), *create(item, host)]
                known = {one.path for one in item.changes}
                item.changes = tuple(one.replace(impact=fields.RECREATE) if one.path in {
                    f"linux.namespaces[{i}]" for i, _ in lost} else one for one in item.changes)
                followers += [Change(target=item.name, path=path, before=f"{one.type} that ends",
                                     after=f"{one.type} of the new init of {one.container}", impact=fields.RECREATE,
                                     cause="edited") for i, one in lost
                              if (path := f"linux.namespaces[{i}]") not in known]
            if made and made[0].phase == TRY and not any(one.container for one in item.wanted.linux.namespaces):
                tries.append(made.pop(0))
            if any(isinstance(step, namespaces.SpawnInit) for step in made):
                renewed[item.name] = any(isinstance(step, groups.MakeCgroups) for step in made)
            batch += order.by_phase(made)
            if not made:
                quiet.append(f"{item.name}: up to date")
        steps += order.by_turns(batch)
    # Their links are there by now, and those of networks that go still are; who ends can send nothing any more.
    if wall is not None:
        steps += nft.plan((*networks, *containers), wall, {step.target for step in steps})[1]
    leaving = {item.name for item in networks if item.wanted is None}
    sharers = [item for item in containers if any(one.line.shared for spec in (item.wanted, item.last)
                                                  if spec is not None for one in spec.interfaces)]
    if sharers:
        moved = {step.target for step in steps if isinstance(step, line.MOVES)}
        mtus = {name: one.mtu for item in sharers for name, one in item.facts.networks.items()}
        changed = [(item.wanted, item.last) for item in sharers if item.name in moved]
        steps += [step for step in line.share(changed, mtus) if step.target not in leaving]
    for item in networks:
        if item.last is not None and item.last.qos is not None:
            steps += line.remove(item.last, item.wanted, item.facts.fair)
        if item.wanted is None:
            steps += network.remove(item.name, item.facts, item.last.external)
    changes = tuple(change for item in (*networks, *containers) for change in item.changes)
    return Plan(steps=(*tries, *steps), changes=(*changes, *followers),
                quiet=tuple(quiet) + tuple(warnings(containers)))


def network_steps(item: Item) -> list[Step]:
    """Create, change or leave alone one network."""
    wanted: Network = item.wanted
    if item.last is None or item.facts.status == "absent":
        return [*network.create(wanted, item.facts.fair), *item.ports]
    if not item.changes and item.last == wanted:
        return []
    return network.change(wanted, item.last, item.facts, item.changes)


def container_steps(item: Item, host: Host) -> list[Step]:
    """Create, change, restart, recreate or leave alone one container."""
    if item.facts.status == "absent":
        return create(item, host)
    if item.facts.status == "stopped":
        return [*remains(item), *create(item, host)]
    if not item.changes:
        # The file says the same in other words, or something that needs nothing: it is what counts from now on.
        return [process.SaveRecord(target=item.name)] if item.last != item.wanted else []
    impact = diff.worst(item.changes)
    if impact == fields.RECREATE:
        return [*remains(item), *create(item, host)]
    return restart(item, host) if impact == fields.RESTART else change_live(item, host)


def remains(item: Item) -> list[Step]:
    """What must go before a container is made anew: its processes, its links, its groups."""
    name, spec = item.name, item.last
    steps = ended(item)
    steps += [*returned(item), groups.RemoveCgroup(target=name, groups=item.groups), *intel_rdt.leave(spec),
              *hooks.stopped(spec, bundle(item))]
    # All before anything new is prepared under the same names.
    return [step.replace(early=True) for step in steps]


def ended(item: Item) -> list[Step]:
    """Its processes end; its links go, and those that are lent go home."""
    spec = item.last
    if not has_links(spec):
        return [groups.KillContainer(target=item.name, groups=item.groups)]
    return [*lease.back(spec), *links.take(spec),
            groups.KillContainer(target=item.name, groups=item.groups, lent=lease.lent(spec)),
            *links.remove(spec), *traffic.remove(spec)]


def has_links(spec: Spec) -> bool:
    """Whether it has links beside lo: for one without, the modules that know them are not even loaded."""
    return bool(spec.interfaces or spec.linux.net_devices)


def returned(item: Item) -> list[Step]:
    """What the groups above a container had for its sake alone."""
    cpu = item.last.linux.resources.cpu
    if cpu.realtime_runtime is None and cpu.partition in (None, "member"):
        return []
    return [limits.ReturnShares(target=item.name, groups=item.groups)]


def remove_container(item: Item) -> list[Step]:
    """Plans towards nothing."""
    spec = item.last
    steps = ended(item)
    steps += [*returned(item), groups.RemoveCgroup(target=item.name, groups=item.groups)]
    overlay = spec.root.overlay
    if overlay is not None and overlay.upper and item.data:
        steps += [rootfs.RemoveDirectory(target=item.name, directory=directory, data=True)
                  for directory in (overlay.upper, rootfs.work_dir(overlay.upper))]
    if spec.root.image:
        steps.append(rootfs.RemoveDirectory(target=item.name, directory=rootfs.base_dir(item.name)))
    steps += [*intel_rdt.leave(spec), *hooks.stopped(spec, bundle(item))]
    steps.append(process.RemoveRecord(target=item.name))
    return steps


def bundle(item: Item) -> str:
    """The directory of a container, which its hooks are told."""
    return item.bundle or rootfs.base_dir(item.name)


def create(item: Item, host: Host) -> list[Step]:
    """Every Step from nothing to a running container."""
    spec: Spec = item.wanted
    name, path = spec.name, spec.linux.cgroups_path or f"/runspec/{spec.name}"
    steps: list[Step] = list(directories(spec))
    steps.append(groups.make_step(name, host, path))
    steps += group_writes(item, host, {}, fresh=True)
    awaited = [*links.create_links(spec, item.facts.networks), *traffic.create_outside(spec),
               *lease.lend(spec, item.facts.nics)] if has_links(spec) else []
    if spec.linux.intel_rdt is not None:
        awaited += intel_rdt.join(spec)
    if item.bundle:
        steps.append(gate.MakeGate(target=name))
    steps += id_maps(spec)
    kept = ("user",) * namespaces.is_new(spec, "user")
    spawn, children = namespaces.plan(spec, groups.unified(host, path), groups.tasks(host, path), bool(awaited), kept)
    steps.append(spawn)
    if awaited:
        steps += [*awaited, namespaces.ReleaseInit(target=name)]
    steps += rootfs.ready(spec, item.image)
    if item.names:
        steps += names.ready(name, item.names)
    steps += children
    steps += loopback.up(spec)
    if has_links(spec):
        steps += links.configure(spec)
        steps += host_access.create(spec, view_links.FIRST_INDEX)
    steps += rootfs.plan(spec, host, item.image, kinds(item.facts), bundle(item), item.names)
    steps += process.plan(spec, item.facts, bundle(item), item.seccomp, bool(item.bundle))
    if spec.hooks != NO_HOOKS:
        steps += hooks.create(spec, bundle(item))
    if spec.process.terminal:
        steps += terminal.send(spec, item.console)
    if has_links(spec):
        steps += traffic.create_inside(spec)
    if item.bundle:
        steps.append(gate.HoldInit(target=name))
        if item.pid_file:
            steps.append(gate.WritePidFile(target=name, file=item.pid_file))
        return [*steps, process.SaveRecord(target=name)]
    steps += [process.StartInit(target=name, path="process.args"), process.SaveRecord(target=name)]
    return steps + hooks.started(spec, bundle(item)) if spec.hooks != NO_HOOKS else steps


def restart(item: Item, host: Host) -> list[Step]:
    """A new init in the same groups, on the same root, with the same network namespace."""
    spec: Spec = item.wanted
    name, path = spec.name, spec.linux.cgroups_path or f"/runspec/{spec.name}"
    # The network belongs to the user namespace it was made in: both go on, or the new init ruled neither.
    kept = (*("user",) * namespaces.is_new(spec, "user"), *("net",) * namespaces.is_new(spec, "network"),
            *("root",) * rootfs.keeps(spec))
    # OCI's links go home and come again, so that none is lost should the new init fail; interfaces stay inside.
    moved = [*lease.lend(spec, {}, devices_only=True), *intel_rdt.join(spec)]
    spawn, children = namespaces.plan(spec, groups.unified(host, path), groups.tasks(host, path), bool(moved), kept)
    from runspec.plan.steps import rehearsal

    maps = id_maps(spec, fresh=False)
    steps: list[Step] = [rehearsal.TryInit(target=name, path="process", flags=spawn.flags, joins=spawn.joins, kept=kept,
                                           maps=tuple(maps)),
                         *lease.back(item.last, devices_only=True),
                         *[process.KeepNamespaces(target=name, kept=kept)] * bool(kept),
                         groups.KillContainer(target=name, groups=item.groups, forever=False,
                                              lent=lease.lent(item.last, devices_only=True))]
    # A new init is a new life, with all of its hooks.
    steps += [step.replace(early=True) for step in (*intel_rdt.leave(item.last),
                                                    *hooks.stopped(item.last, bundle(item)))]
    steps += group_writes(item, host, item.facts.files)
    steps += [*maps, spawn, *rootfs.ready(spec, None),
              *names.ready(name, item.names)]
    if moved:
        steps += [*moved, namespaces.ReleaseInit(target=name)]
    steps += children
    steps += rootfs.plan(spec, host, item.image, kinds(item.facts), bundle(item), item.names, kept=True)
    steps += process.plan(spec, item.facts, bundle(item), item.seccomp)
    steps += hooks.create(spec, bundle(item))
    steps += [process.StartInit(target=name, path="process.args"), process.SaveRecord(target=name),
              *hooks.started(spec, bundle(item))]
    # Links live in the kept namespace: what differs there is changed in place, once the new init is up.
    late = change_links(item)
    return [*steps, *late, *traffic.change(spec, item.last, item.facts, item.changes, late)]


def change_live(item: Item, host: Host) -> list[Step]:
    """Only the differences, while its processes keep running."""
    spec, name = item.wanted, item.name
    paths = {change.path for change in item.changes}
    steps: list[Step] = group_writes(item, host, item.facts.files, paths)
    if paths & {"hostname", "domainname"}:
        wanted = {field: getattr(spec, field) if getattr(spec, field) is not None else item.facts.fresh.get(field)
                 for field in ("hostname", "domainname") if field in paths}
        steps.append(process.ChangeInside(
            target=name, path="hostname" if "hostname" in paths else "domainname", kinds=("uts",), words="set names",
            reason=reason(item, "hostname") or reason(item, "domainname"), **wanted,
            back=process.ChangeInside(target=name, kinds=("uts",), hostname=item.facts.hostname,
                                      domainname=item.facts.domainname)))
    sysctls = tuple((key, value) for key, value in spec.linux.sysctl if f"linux.sysctl.{key}" in paths)
    sysctls += process.unasked(item.facts)
    if sysctls:
        kinds_ = tuple(kind for kind in ("uts", "ipc", "network") if namespaces.is_new(spec, kind))
        steps.append(process.ChangeInside(target=name, path="linux.sysctl", kinds=kinds_, sysctls=sysctls,
                                          words="set sysctl " + ", ".join(key for key, _ in sysctls),
                                          back=process.ChangeInside(target=name, kinds=kinds_, sysctls=tuple(
                                              (key, item.facts.sysctl[key]) for key, _ in sysctls
                                              if item.facts.sysctl.get(key))),
                                          reason=reason(item, f"linux.sysctl.{sysctls[0][0]}")))
    group = item.groups[:1]
    for i, limit in enumerate(spec.process.rlimits):
        found = [path for path in (f"process.rlimits[{i}].soft", f"process.rlimits[{i}].hard") if path in paths]
        if found:
            steps.append(process.SetRlimitLive(target=name, path=found[0], limit=limit, reason=reason(item, found[0]),
                                               groups=group))
    if "process.oomScoreAdj" in paths:
        score = spec.process.oom_score_adj
        steps.append(process.SetOomScore(target=name, path="process.oomScoreAdj", groups=group,
                                         reason=reason(item, "process.oomScoreAdj"),
                                         value=score if score is not None else item.facts.fresh["process.oomScoreAdj"]))
    steps += attributes.change(spec, item.groups[:1], {path: reason(item, path) for path in paths})
    hidden, shown = names.change(spec, item.names, item.shown, live.kinds(item.facts),
                                 {path: reason(item, path) for path in ("hosts", "dns") if path in paths})
    steps += [*hidden, *live.steps(name, spec, item.last, item.facts, host, item.changes), *shown]
    if "state" in paths:
        where = item.facts.groups
        steps.append(groups.ThawContainer(target=name, path="state", reason=reason(item, "state"), groups=tuple(
            where[controller] for controller, _ in groups.FREEZERS if controller in where)))
    made = change_links(item)
    steps += [*made, *traffic.change(spec, item.last, item.facts, item.changes, made)]
    steps.append(process.SaveRecord(target=name))
    return steps


def change_links(item: Item) -> list[Step]:
    """Interfaces of a running container, in place."""
    spec, facts = item.wanted, item.facts
    return [*lease_live.go_home(spec, item.last), *links_live.change_links(spec, item.last, facts, item.changes),
            *lease_live.change(spec, item.last, facts, item.changes)]


def reason(item: Item, path: str) -> str:
    """Why a Step is needed: the Change it answers."""
    for change in item.changes:
        if change.path == path:
            return f"{change.cause}: {live.shown(change.before)} -> {live.shown(change.after)}"
    return ""


def directories(spec: Spec) -> list[rootfs.MakeDirectory]:
    """Directories of the host that the root needs."""
    if not namespaces.is_new(spec, "mount"):
        return []
    steps = []
    overlay = spec.root.overlay
    if spec.root.image or overlay is not None:
        # Or a setuid program written inside would be one for every user of the host.
        mapped = any(one.type == "user" for one in spec.linux.namespaces)
        steps.append(rootfs.MakeDirectory(target=spec.name, path="root", directory=rootfs.base_dir(spec.name),
                                          mode=0o711 if mapped else 0o700))
    if overlay is not None and not overlay.volatile and overlay.upper:
        steps += [rootfs.MakeDirectory(target=spec.name, path="root.overlay.upper", directory=directory, keep=True)
                  for directory in (overlay.upper, rootfs.work_dir(overlay.upper))]
    return steps


def id_maps(spec: Spec, fresh: bool = True) -> list[namespaces.MakeUserNamespace]:
    """The user namespaces a new init needs: its own, unless it takes that over, and one for each mapped mount.

    Without maps, ids inside stand for themselves.
    """
    name, steps = spec.name, []
    if fresh and namespaces.is_new(spec, "user"):
        whole = (IDMapping(container_id=0, host_id=0, size=2**32 - 1),)
        steps.append(namespaces.MakeUserNamespace(
            target=name, path="linux.uidMappings", word="user", uids=spec.linux.uid_mappings or whole,
            gids=spec.linux.gid_mappings or whole))
    steps += [namespaces.MakeUserNamespace(target=name, path=f"mounts[{i}].uidMappings", word=f"map:{i}",
                                           uids=one.uid_mappings, gids=one.gid_mappings)
              for i, one in enumerate(spec.mounts) if one.uid_mappings]
    return steps


def group_writes(item: Item, host: Host, files: dict[tuple[str, str], str], paths: set[str] | None = None,
                 fresh: bool = False) -> list[Step]:
    """Writes into the container's groups: all for a fresh one, else those whose paths differ."""
    spec: Spec = item.wanted
    where = dict(groups.groups(host, spec.linux.cgroups_path or f"/runspec/{spec.name}"))
    steps: list[Step] = []
    last = item.last.linux.resources if item.last is not None and not fresh else None
    for one in (cgroup.first_writes(spec.linux.resources, host) if fresh else
                cgroup.writes(spec.linux.resources, last, host, files)):
        if paths is not None and not any(path == one.path or path.startswith(one.path) for path in paths):
            continue
        why = "" if fresh else reason(item, one.path)
        if one.deny or one.allow:
            steps.append(groups.SetDeviceRules(target=item.name, path=one.path, reason=why,
                                               directory=where[one.controller], deny=one.deny, allow=one.allow,
                                               fresh=fresh))
        elif one.program:
            steps.append(groups.AttachDeviceProgram(target=item.name, path=one.path, reason=why,
                                                    directory=where[one.controller], program=one.program,
                                                    before=cgroup.program(last).hex() if last is not None else ""))
        elif one.budget is not None:
            steps.append(limits.SetRealtime(target=item.name, path=one.path, reason=why,
                                            directory=where[one.controller], runtime=one.budget[0],
                                            period=one.budget[1], fresh=fresh))
        elif fresh and not one.file.endswith(".partition"):
            steps.append(groups.WriteCgroupFile(file=f"{where[one.controller]}/{one.file}", value=one.value,
                                                before=one.before, target=item.name, path=one.path))
        else:
            steps.append(limits.step(one, where[one.controller], files.get((one.controller, one.file)),
                                     target=item.name, path=one.path, reason=why))
    return steps


def kinds(facts: Facts) -> dict[str, str]:
    """Bind source -> "directory", "file" or "missing"."""
    return {source: kind for source, (kind, _, _) in facts.sources.items()}


def warnings(items: list[Item]) -> list[str]:
    """Weights that somebody chose compare only among containers with one parent group on the same cores."""
    weighted = [item.wanted for item in items if item.wanted is not None
                and item.wanted.linux.resources.cpu.weight not in (None, WEIGHT)]
    out = [f"warning: {item.name}: {one.name} is routed and has neither gateway nor routes: nothing leads out by it"
           for item in items if item.wanted is not None for one in item.wanted.interfaces
           if one.mode == "routed" and not one.gateway and not one.routes]
    parents = {(spec.linux.cgroups_path or "").rsplit("/", 1)[0] for spec in weighted}
    cores = {spec.linux.resources.cpu.cpus for spec in weighted}
    for words, values in (("parent groups", parents), ("cores", cores)):
        if len(values) > 1:
            names = ", ".join(spec.name for spec in weighted)
            out.append(f"warning: the weights of {names} do not compare: their {words} differ")
    return out
