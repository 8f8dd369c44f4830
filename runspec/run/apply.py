"""The way of one request: lock, recover, observe, diff, plan, perform, look again."""

from __future__ import annotations

from time import monotonic, sleep

from runspec.errors import RunspecError, SpecError, StateError
from runspec.plan import cgroup, diff, live, parts, view
from runspec.plan.facts import Facts
from runspec.plan.host import Host
from runspec.plan.planner import Item, make_plan
from runspec.plan.steps.base import Change, Plan
from runspec.plan.steps.cgroup import groups
from runspec.plan.values import ABSENT
from runspec.run import (
    abilities,
    abilities_resources,
    admission,
    bridges,
    claims,
    conflicts,
    engine,
    filters,
    firewall,
    leases,
    listeners,
    pool,
)
from runspec.run.blame import Places
from runspec.run.ends import ready, what_ended
from runspec.run.images import Images
from runspec.run.journal import Journal, begin, pending
from runspec.run.names import Names, around
from runspec.run.observe import Observer, read_host
from runspec.run.probes import Probes
from runspec.run.recover import note, recover_all, unfinished
from runspec.run.request import Wanted as Wanted, Work as Work
from runspec.run.store import HELD, LENT, Locks, Record, Store, now, status
from runspec.spec import alike, fields, from_yaml, networks, rules_host, source
from runspec.spec.model import Network, Spec
from runspec.spec.tree import from_tree, shared_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel
    from runspec.plan.steps.lease import Lease
    from runspec.run.engine import Run
    from runspec.run.filters import Filters
    from runspec.run.listeners import Listeners
    from runspec.run.recover import Stuck

PATIENCE = 10.0         # seconds


class Session:
    """One verb's dealings with the machine.

    Args:
        held: the locks of a verb that will do what it plans; None for one that only looks.
    """

    def __init__(self, kernel: Kernel, store: Store, held: Locks | None = None) -> None:
        self.kernel, self.store, self.held = kernel, store, held
        self.host: Host = read_host(kernel)
        self.probes = Probes(kernel, self.host)
        self._keys: dict[str, str] = {}         # name -> what the Record says of its filter

    # -- towards a plan --

    def look(self, wanted: list[Wanted], gone: list[tuple[str, str]], data: bool = False,
             images_too: bool = True) -> Work:
        """Observe, compare and plan.

        Args:
            wanted: documents to be made true.
            gone: (kind, name) to be removed.
            data: lasting overlays of removed containers go as well.
            images_too: whether a missing image may be built now; a mere look leaves it.
        """
        alike.share(wanted)
        self._references(wanted)
        self._drivers(wanted)
        specs = [one.model for one in wanted if isinstance(one.model, Spec)]
        records = {spec.name: self.store.load("container", spec.name) for spec in specs}
        self._makers(wanted, records)
        digests = {one.model.name: one for one in wanted if one.digest}
        lasts: dict[str, Spec | None] = {}
        former: dict[str, Network] = {}
        joined: dict[str, Network] = {}
        linked = bool(gone) or any(map(networked, (one.model for one in wanted)))
        if linked:
            former, joined = pool.find(self.store, wanted,
                                       frozenset(name for one in specs for name in networks.named(one)))
            pool.assign(self.store, wanted, gone, joined, Observer(self.kernel, self.store, self.host).addresses_on)
            specs = [one.model for one in wanted if isinstance(one.model, Spec)]
        for spec in specs:
            record, given = records[spec.name], digests.get(spec.name)
            # What the machine adds to a text may be another thing by now.
            same = (record is not None and given is not None and given.digest == record.digest
                    and spec.root.digest is None and not spec.linux.cdi_devices
                    and not any(link.pooled or link.type == "vlan" for link in spec.interfaces))
            lasts[spec.name] = spec if same else spec_of(record) if record is not None else None
        linked = linked or any(one is not None and networked(one) for one in lasts.values())
        self._refusals(wanted, lasts)
        warnings = self._admission(wanted, lasts, gone) + (pool.strays(self.store, wanted) if linked else [])
        names = Names(self.kernel, self.store, wanted, records, lasts, gone)
        names.check()
        warnings += names.warnings()
        self.host = abilities_resources.complete(self.kernel, self.host, [
            one.linux.resources for one in (*specs, *lasts.values()) if one is not None])
        observer = Observer(self.kernel, self.store, self.host, linked and bridges.fair(self.probes, wanted, joined))
        if linked:
            warnings += self._conflicts(wanted, lasts, joined, observer)
            specs, lasts = bridges.inherit(specs, lasts, former, joined, observer)
            observer.wall = firewall.look(self.kernel, self.store, specs, wanted, lasts, gone)
        facts = observer.containers([(spec, lasts[spec.name], records[spec.name]) for spec in specs])
        if linked:
            bridges.tell(facts, {**former, **joined}, observer)
        self._sources(wanted, dict(zip((spec.name for spec in specs), facts, strict=True)))
        for spec, found in zip(specs, facts, strict=True):
            if found.status == "running":
                names.observe(observer, spec.name, found)
        images = Images(self.kernel, images_too)
        asking = [one for one in wanted if isinstance(one.model, Spec)]
        containers = [self._item(spec, lasts[spec.name], records[spec.name], found, images.of(spec.root, one), names)
                      for spec, found, one in zip(specs, facts, asking, strict=True)]
        for item, one in zip(containers, asking, strict=True):
            item.bundle, item.pid_file, item.console = one.bundle, one.pid_file, one.console
        self._filters(wanted, containers, records, images_too)
        nets = bridges.items(self.store, wanted, gone, observer) if linked else []
        notes: list[str] = []
        leaving = {name for kind, name in gone if kind == "container"}
        for kind, name in gone:
            record = names.record(kind, name)
            if record is None:
                continue
            if kind == "container":
                last = bridges.known(self.store, spec_of(record), former)
                facts_left = Facts(status(self.kernel, record))
                facts_left.pid, facts_left.start_time, facts_left.networks = record.pid, record.start_time, former
                containers.append(Item(None, last, facts_left,
                                       (Change(target=name, path="", before=facts_left.status, after=ABSENT,
                                               impact=fields.RECREATE, cause="removed"),),
                                       groups=record.cgroups, data=data, bundle=record.bundle))
                overlay = last.root.overlay
                if overlay is not None and overlay.upper and not data:
                    notes.append(f"{name}: kept its files in {overlay.upper}")
                continue
            users = [user for user in self.store.users(name) if user not in leaving]
            if users:
                notes.append(f"{name}: stays, since {', '.join(users)} use{'s' if len(users) == 1 else ''} it")
            else:
                bridge = network_of(record)
                nets.append(bridges.leaver(bridge, observer.network(bridge)))
        risks: tuple[str, ...] = ()
        unsettled: list[Lease] = []
        if linked or self.kernel.exists(f"{self.store.root}/{LENT}"):
            door = leases.Leases(self.kernel, self.store)
            risks = tuple(line for spec in specs for line in door.risks(spec))
            warnings += [f"warning: {line}" for line in risks]
            warnings += [line for spec in specs for line in door.outside(spec)]
            unsettled = door.unsettled()
        plan = names.complete(make_plan(nets, containers, self.host, observer.wall), containers)
        if gone or any(one.impact >= fields.RESTART for one in plan.changes):
            from runspec.run import sharers
            stay = sharers.warnings(self.store, plan.steps, leaving.union(spec.name for spec in specs))
            notes += stay if gone else ()
            warnings += stay if not gone else ()
        first = [f"{item.name}: {item.wanted.root.image} is not unpacked yet; apply does that first"
                 for item in containers if item.wanted is not None and item.image
                 and not self.kernel.exists(item.image)]
        if warnings or first:
            plan = plan.replace(quiet=(*plan.quiet, *warnings, *first))
        return Work(plan, nets, containers, tuple(notes), unfinished(self.store), risks,
                    tuple(one["link"]["name"] for one in unsettled), names.held, names.followers)

    def _item(self, spec: Spec, last: Spec | None, record: Record | None, facts: Facts,
              image: str | None, names: Names) -> Item:
        path = spec.linux.cgroups_path or f"/runspec/{spec.name}"
        where = record.cgroups if record is not None else tuple(d for _, d in groups(self.host, path))
        if facts.status != "running":
            new = facts.status == "absent"
            item = Item(spec, last, facts, (Change(
                target=spec.name, path="", before=facts.status, after="running", cause="new" if new else "drifted",
                impact=fields.IN_PLACE if new else fields.RESTART),), image, where)
            if last is not None and last != spec:
                from runspec.plan.view_edits import edits
                item.changes += edits(spec, last, self.host, facts, names.views(spec.name)[:2])
            names.equip(item)
            return item
        expected = view.expected(spec, self.host, facts)
        before = expected
        if last is not None and last != spec:
            before = {**view.expected(last, self.host, facts), **view.gone(spec, last)}
        seen = view.seen(spec, last, self.host, facts, before)
        expected, before, seen = ({**one, **more} for one, more in zip((expected, before, seen), names.views(spec.name),
                                                                       strict=True))
        changes = diff.changes(spec.name, expected, before, seen)
        if changes:
            changes = live.weigh(spec, last, facts, changes)
        if changes and record is not None:
            changes = bridges.blame(self.store, spec, record, changes)
        item = Item(spec, last, facts, changes, image, where)
        item.seen = seen
        names.equip(item)
        return item

    def _filters(self, wanted: list[Wanted], items: list[Item], records: dict[str, Record | None],
                 build: bool) -> None:
        """The compiled filters, where any init is to be started."""
        self._keys.update({name: record.seccomp for name, record in records.items() if record is not None})
        if not any(change.impact >= fields.RESTART or not change.path for item in items for change in item.changes):
            return
        if not build:
            filters.announce(items)
            return
        given, faults = {one.model.name: one for one in wanted}, []
        self._keys.update(dict.fromkeys((item.name for item in items), ""))
        asked = [item for item in items if item.wanted.linux.seccomp is not None]
        known: Filters | None = None
        for item in asked:
            known = known or filters.Filters(self.kernel)
            try:
                item.seccomp = known.find(item.wanted)
            except RunspecError as error:
                path, _, what = error.what.partition(": ")
                faults.append(from_yaml.fault(given[item.name].marks, path, what, error.why, error.fix)
                              if what else from_yaml.fault(given[item.name].marks, "linux.seccomp", error.what,
                                                           error.why, error.fix))
                continue
            self._keys[item.name] = item.seccomp.key if item.seccomp is not None else ""
        if faults:
            raise source.join(faults)

    def _references(self, wanted: list[Wanted]) -> None:
        """Names that no given document declares must be applied already."""
        faults: list[SpecError] = []
        networks = {one.model.name for one in wanted if isinstance(one.model, Network)}
        containers = {one.model.name for one in wanted if isinstance(one.model, Spec)}
        for one in wanted:
            if not isinstance(one.model, Spec):
                continue
            named = [("network", "network", f"interfaces[{i}].network", link.network, networks)
                     for i, link in enumerate(one.model.interfaces)]
            named += [("container", "container", f"linux.namespaces[{i}].container", space.container, containers)
                      for i, space in enumerate(one.model.linux.namespaces)]
            for kind, word, path, name, known in named:
                if name and name not in known and self.store.load(kind, name) is None:
                    faults.append(from_yaml.fault(
                        one.marks, path, f"there is no {word} {name}",
                        "no given document declares it and none of that name is applied",
                        "add its document to the command, or apply it first"))
        if faults:
            raise source.join(faults)

    def _drivers(self, wanted: list[Wanted]) -> None:
        """What stands in for a driver is not asked for where the kernel has the driver."""
        for one in wanted:
            if isinstance(one.model, Spec) and any(link.fallback for link in one.model.interfaces) and (
                    self.probes.ask("driver:vlan").ok):
                one.model = one.model.replace(interfaces=tuple(link.replace(fallback=None)
                                                               for link in one.model.interfaces))

    @staticmethod
    def _makers(wanted: list[Wanted], records: dict[str, Record | None]) -> None:
        """Who made a container keeps it: a bundle is created once, and no document changes what came of one.

        Raises:
            StateError: the name is taken.
        """
        for one in wanted:
            record = records.get(one.model.name)
            if record is not None and isinstance(one.model, Spec) and (one.bundle or record.bundle):
                made = f"from the bundle {record.bundle}" if record.bundle else "by apply"
                raise StateError(f"{one.model.name}: container with given ID already exists", f"it was made {made}",
                                 f"`runspec delete {one.model.name}` removes it, or take another name")

    def _refusals(self, wanted: list[Wanted], lasts: dict[str, Spec | None]) -> None:
        """What this machine cannot do, named before any step."""
        faults: list[SpecError] = []
        waiting: Listeners | None = None
        made = frozenset(one.model.name for one in wanted if isinstance(one.model, Network))
        for one in wanted:
            if isinstance(one.model, Network):
                found = abilities.lacking(self.probes, one.model) if one.model != self._applied(one.model) else []
                faults += [from_yaml.fault(one.marks, path, what, why, fix) for path, what, why, fix in found]
                continue
            found = [*abilities.every(self.kernel, self.host, one.model), *abilities.unheld(one.model, one),
                     *abilities.parents(self.kernel, one.model, made)]
            if one.model.interfaces:
                found += leases.Leases(self.kernel, self.store).refusals(one.model)
            if one.model != lasts.get(one.model.name):
                if one.model.ports:
                    waiting = waiting or listeners.Listeners(self.kernel)
                    found += waiting.taken(one.model, lasts.get(one.model.name))
                said = {path for path, _, _, _ in found}
                found += [row for row in abilities.lacking(self.probes, one.model) if row[0] not in said]
            faults += [from_yaml.fault(one.marks, path, what, why, fix) for path, what, why, fix in found]
        if faults:
            raise source.join(faults)

    def _admission(self, wanted: list[Wanted], lasts: dict[str, Spec | None],
                   gone: list[tuple[str, str]]) -> list[str]:
        """What all documents of this machine ask together, held against it; returns warnings.

        What is applied already was admitted then: nothing is summed up where nothing is edited.
        """
        edited = [one.model for one in wanted if one.model != (
            lasts.get(one.model.name) if isinstance(one.model, Spec) else self._applied(one.model))]
        if not edited:
            return []
        asked = [one for one in edited if claims.scarce(one)]
        if not asked or self.held is None:
            return self._admit(wanted, gone)
        with claims.Gate(self.store) as gate:
            gate.sweep()
            warnings = self._admit(wanted, gone)
            self.held.keep(*gate.claim(asked))
        return warnings

    def _admit(self, wanted: list[Wanted], gone: list[tuple[str, str]]) -> list[str]:
        faults, warnings = admission.judge(self.kernel, self.store, self.host, wanted, frozenset(gone))
        if faults:
            raise source.join(faults)
        return warnings

    def _conflicts(self, wanted: list[Wanted], lasts: dict[str, Spec | None], joined: dict[str, Network],
                   observer: Observer) -> list[str]:
        """What is new or edited, held against what the host has of others; returns warnings."""
        edited = [one for one in wanted if one.model != (
            lasts.get(one.model.name) if isinstance(one.model, Spec) else self._applied(one.model))]
        faults, warnings = conflicts.judge(edited, observer, joined)
        if faults:
            raise source.join(from_yaml.in_file_order(faults, list(dict.fromkeys(
                one.at.file for one in faults if one.at))))
        return warnings

    def _applied(self, network: Network) -> Network | None:
        """What was applied under a network's name."""
        record = self.store.load("network", network.name)
        return network_of(record) if record is not None else None

    def _sources(self, wanted: list[Wanted], facts: dict[str, Facts]) -> None:
        """What was there when a document was judged may be gone by now."""
        faults: list[SpecError] = []
        for one in wanted:
            if isinstance(one.model, Spec) and any(
                    kind == "missing" for kind, _, _ in facts[one.model.name].sources.values()):
                faults += rules_host.check_host(one.model, one.marks)
        if faults:
            raise source.join(faults)

    # -- doing it --

    @staticmethod
    def recover(kernel: Kernel, store: Store) -> tuple[str, ...]:
        """Undo what runs that died left, and bring home what dead containers had; returns warnings.

        Must be called without any lock held: it takes those that the dead run had.
        """
        stuck = recover_all(kernel, store)
        return Session._settled(kernel, store, stuck)

    @staticmethod
    def _settled(kernel: Kernel, store: Store, stuck: list[Stuck]) -> tuple[str, ...]:
        lent, held = (kernel.exists(f"{store.root}/{name}") for name in (LENT, HELD))
        return (*(note(one.error) for one in stuck), *(leases.Leases(kernel, store).settle() if lent else ()),
                *(firewall.Firewall(kernel, store).settle() if held else ()))

    @staticmethod
    def lock(kernel: Kernel, store: Store, ids: list[tuple[str, str]], force: bool = False,
             known: tuple[str, ...] | None = None) -> Locks:
        """Lock these for a change, once there is nothing to undo on them.

        Args:
            force: what cannot be undone stops nobody.
            known: what `recover` has just said, which need not be tried twice.
        Raises:
            StateError: one is busy, or an interrupted run at it could not be undone.
        """
        end, notes = monotonic() + PATIENCE, dict.fromkeys(known or ())
        while True:
            stuck, near = recover_all(kernel, store), around(store, ids)
            notes |= dict.fromkeys(Session._settled(kernel, store, stuck) if known is None else ())
            known = None
            locks = store.lock(near)
            locks.notes = tuple(notes)
            # The one we waited for may have died; and somebody who undoes a dead one's run waits for us. It may
            # have put others on the networks, too.
            waiting = set(pending(store, near))
            mine = [one.error for one in stuck if one.id in waiting and not force]
            if waiting <= {one.id for one in stuck} and not mine and set(around(store, ids)) <= set(near):
                return locks
            locks.close()
            if mine:
                raise mine[0]
            if monotonic() > end:
                raise StateError("an interrupted run is being undone", "another runspec has been at it for "
                                 f"{PATIENCE:g} s", "try again when it is done")
            sleep(0.005)

    def refuse(self, work: Work, wanted: list[Wanted]) -> None:
        """What can be seen of the machine alone to be wrong with a plan: limits below what is in use, no program.

        Raises:
            SpecError: with the place of each.
        """
        places, faults = Places(wanted), []
        for item in work.containers:
            if item.wanted is None or item.facts.status != "running":
                continue
            small = cgroup.too_small(item.wanted.linux.resources, self.host, item.facts.files)
            if small is not None and any(one.path == "linux.resources.memory.limit" for one in item.changes):
                faults.append(from_yaml.fault(
                    places(item.name), "linux.resources.memory.limit", f"{small[0]} is less than the {small[1]} in use",
                    "checkBeforeUpdate asks for this to be refused, config-linux.md",
                    "write a larger limit, or end some of what runs in it first"))
            if diff.worst(item.changes) == fields.RESTART:
                from runspec.run import programs
                lost = programs.unfound(self.kernel, item)
                if lost is not None:
                    faults.append(from_yaml.fault(places(item.name), "process.args", *lost))
        if faults:
            raise source.join(faults)

    def start(self, record: Record) -> tuple[str, ...]:
        """Open the start gate of a created container; returns what the user should hear."""
        name = record.name
        plan = parts.start(spec_of(record), record.bundle)
        run = engine.Run(self.kernel, self.store, plan, {("container", name): record.replace(status="running")},
                  {name: (record.pid, record.start_time)})
        journal = begin(self.store, [("container", name)])      # where that fails, it waits on
        try:
            return self._run(run, plan, journal, Places([]))
        except RunspecError:
            # runtime.md "Lifecycle", step 10: a failing poststart hook ends the container.
            self.kernel.kill_cgroup(list(record.cgroups), forever=False)
            raise

    def remove_remnants(self, name: str) -> tuple[str, ...]:
        """End and forget a container whose Record cannot be read, its groups bear its mark; returns warnings."""
        mounts = [mount for _, mount in self.host.hierarchies] + [self.host.unified] * bool(self.host.unified)
        found = self.kernel.marked_groups([one for one in dict.fromkeys(mounts) if one], self.store.mark(name))
        plan = parts.remnants(name, tuple(found), leases.Leases(self.kernel, self.store).asked(name))
        run = engine.Run(self.kernel, self.store, plan, {}, {})
        return self._run(run, plan, begin(self.store, [("container", name)]), Places([]))

    @staticmethod
    def _run(run: Run, plan: Plan, journal: Journal, places: Places) -> tuple[str, ...]:
        engine.perform(run, plan, journal, places)
        journal.close()
        return tuple(run.notes)

    def perform(self, work: Work, wanted: list[Wanted]) -> None:
        """Run the plan of `work`, look again, and leave no open journal."""
        self.refuse(work, wanted)
        places = Places(wanted)
        moment, anew = now(), {one.target for one in work.plan.changes
                               if one.cause == "new" or one.impact == fields.RECREATE}
        records = {(one.kind, one.model.name): self._record(one, moment, one.model.name in anew) for one in wanted}
        running = {item.name: (item.facts.pid, item.facts.start_time) for item in work.containers
                   if item.facts.status in ("running", "created")}
        running |= work.followers
        names = {step.target for step in work.plan.steps}
        ids = [(kind, item.name) for kind, items in (("network", work.networks), ("container", work.containers))
               for item in items if item.name in names]
        ids += [("network", name) for name in work.held] + [("container", name) for name in work.followers]
        run = engine.Run(self.kernel, self.store, work.plan, records, running)
        run.meanwhile = ready
        work.notes += self._run(run, work.plan, begin(self.store, ids), places)
        # A container at its start gate has not become what its bundle describes.
        again = self.look([one for one in wanted if one.model.name in names and not one.bundle], [])
        work.ended = what_ended(self.kernel, run, (*again.networks, *again.containers))

    def _record(self, one: Wanted, moment: str, anew: bool) -> Record:
        model = one.model
        former = None if anew else self.store.load(one.kind, model.name)
        cgroups: tuple[str, ...] = ()
        if isinstance(model, Spec):
            path = model.linux.cgroups_path or f"/runspec/{model.name}"
            cgroups = tuple(directory for _, directory in groups(self.host, path))
        return Record(kind=one.kind, name=model.name, spec=shared_tree(model), digest=one.digest, cgroups=cgroups,
                      boot_id=self.host.boot_id, created=former.created if former is not None else moment,
                      seccomp=self._keys.get(model.name, ""), bundle=one.bundle,
                      status="created" if one.bundle else "running")


def networked(model: Spec | Network) -> bool:
    """Whether a document has to do with networks; where none has, what knows them is not even loaded."""
    return isinstance(model, Network) or bool(model.interfaces or model.ports)


def spec_of(record: Record) -> Spec:
    """The Spec a container's Record holds."""
    return from_tree(Spec, record.spec)


def network_of(record: Record) -> Network:
    """The Network a Record holds."""
    return from_tree(Network, record.spec)
