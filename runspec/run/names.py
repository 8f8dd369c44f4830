"""Which names a request gives to which container, held against what its files say and where they are mounted."""

from __future__ import annotations

from runspec.errors import SpecError, StateError
from runspec.kernel import procfs
from runspec.plan.names import FILE_NAME_MAX, SERVERS, Member, World, member, parse_resolver
from runspec.plan.steps import host_links, names as name_steps, namespaces
from runspec.plan.steps.base import Change, Plan, Step
from runspec.plan.steps.process import RemoveRecord, SaveRecord
from runspec.plan.values import ABSENT
from runspec.run.store import status
from runspec.spec import fields, from_yaml, jsonlite, read_names, source
from runspec.spec.model import Dns, Network, Spec
from runspec.spec.rules_names import HOSTS, RESOLV
from runspec.spec.tree import from_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.kernel import Kernel
    from runspec.plan.facts import Facts
    from runspec.plan.planner import Item
    from runspec.run.observe import Observer
    from runspec.run.request import Wanted
    from runspec.run.store import Record, Store

    View = dict[str, Any]

ROOM = "names"
_KEYS = ("nameservers", "search", "options")


def around(store: Store, ids: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """These (kind, name), and the networks whose names a change of them touches: theirs, and all of their siblings.

    Two runs that may write one file have a network in common, which they lock.
    """
    names = {name for kind, name in ids if kind == "container"}
    networks = {name for kind, name in ids if kind == "network"}
    on = {name: links(store, name) for name in names}
    near = networks.union(*on.values())
    if not near:
        return ids
    rest = (links(store, name) for name in store.names("container") if name not in on)
    found = near.union(*(one for one in rest if one & near))
    return [*ids, *(("network", name) for name in sorted(found - networks))]


def links(store: Store, name: str) -> set[str]:
    """The networks that a container's Record names, or that of the container whose network it shares.

    Found without reading all of it.
    """
    found: set[str] = set()
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        text = store.text("container", name) or b""
        found.update(one["network"] for one in listed(text, b"interfaces")
                     if plain(one.get("network"), host_links.NAME_MAX))
        name = next((one["container"] for one in listed(text, b"namespaces") if one.get("type") == "network"
                     and plain(one.get("container"), FILE_NAME_MAX)), name)
    return found


def listed(text: bytes, key: bytes) -> list[dict[str, Any]]:
    """What a list of a Record holds; what people write there are words alone, so no other key begins a list."""
    at = text.find(b'"%s":[{' % key)
    try:
        found = jsonlite.value_at(text[at + len(key) + 3:].decode("utf-8", "replace"), 0)[0] if at >= 0 else []
    except ValueError:
        return []       # a damaged one
    return [one for one in found if isinstance(one, dict)]


def plain(name: Any, size: int) -> bool:
    """Whether this may be a name; a damaged Record may lie."""
    return isinstance(name, str) and 0 < len(name.encode()) <= size and bool(name.strip(".")) and not {"/", "\0"} & set(
        name)


def member_of(tree: dict[str, Any], bundle: bool) -> Member:
    """What of a Record concerns names: `plan.names.member` of the Spec that it holds."""
    spaces = {one["type"]: one for one in tree["linux"]["namespaces"]}
    own = "mount" in spaces and not {"path", "container"} & set(spaces["mount"])
    points = [one["destination"].rstrip("/") + "/" for one in tree["mounts"] if one["destination"] != "/"]
    dns = tree.get("dns")
    return Member(
        name=tree["name"], hostname=tree.get("hostname") or "", listed=not bundle,
        covered=tuple(path for path in (HOSTS, RESOLV) if not own or any(f"{path}/".startswith(p) for p in points)),
        extra=tuple(sorted(tree.get("extraHosts", {}).items())), dns=from_tree(Dns, dns) if dns is not None else None,
        shares=spaces.get("network", {}).get("container") or "",
        links=tuple((one["network"], tuple(address.partition("/")[0] for address in one["addresses"]))
                    for one in tree["interfaces"] if one.get("network") and one["addresses"]))


def glance(text: str) -> Member | None:
    """`member_of` of a Record's text, of which it reads only what it needs; None where that takes a full reading.

    Records are written with their keys in the order of the Spec. What is a key here is one in the text: within JSON
    text a quote has a backslash before it.
    """
    at = text.find('"spec":{') + len('"spec":{')
    tree: dict[str, Any] = {"mounts": []}
    if not text.endswith('"bundle":""}\n') or '"destination":"/etc' in text or at < len('"spec":{'):
        return None
    try:
        for key in ("name", "labels", "project", "hostname"):
            if text.startswith(f'"{key}":', at):
                tree[key], end = jsonlite.value_at(text, at + len(key) + 3)
                at = end + 1
        end, spaces = at, text.index('"linux":{"namespaces":', at) + len('"linux":{"namespaces":')
        listed, end = jsonlite.value_at(text, spaces)
        end = text.index('"annotations":', end) + len('"annotations":')
        _, end = jsonlite.value_at(text, end)
        for key in ("interfaces", "ports", "dns", "extraHosts"):
            if text.startswith(f',"{key}":', end):
                tree[key], end = jsonlite.value_at(text, end + len(key) + 4)
        if text[end] != "}" or "interfaces" not in tree:
            return None
        return member_of({**tree, "linux": {"namespaces": listed}}, False)
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def recorded(store: Store, name: str) -> Member | None:
    """What of a container that is applied concerns names; None where there is none of that name, or a damaged one."""
    text = store.text("container", name)
    found = glance(text.decode("utf-8", "replace")) if text is not None else None
    if found is not None or text is None:
        return found
    try:
        record = store.load("container", name)
    except StateError:
        return None     # what is damaged is somebody's, but nobody's sibling
    return member_of(record.spec, bool(record.bundle)) if record is not None else None


def network_of(store: Store, name: str) -> Network | None:
    """A network that is applied."""
    try:
        record = store.load("network", name)
    except StateError:
        return None
    return from_tree(Network, record.spec) if record is not None else None


def settle(kernel: Kernel, store: Store, files: tuple[str, ...]) -> None:
    """Make files say what Records do, after a run was taken back; one of nobody's goes.

    The locks of all whose names are in them are held.
    """
    members = {name: one for name in store.names("container") if (one := recorded(store, name)) is not None}
    networks = {name: net for name in store.names("network") if (net := network_of(store, name)) is not None}
    texts = World(f"{store.root}/{ROOM}", members, networks).texts(tuple(members))
    for file in files:
        if file in texts:
            name_steps.write(kernel, file, texts[file][0])
        else:
            kernel.remove_file(file)


def told(one: Member) -> bool:
    """Whether a container has names or gives any."""
    return bool(one.links or one.extra or one.shares or one.dns is not None)


class Names:
    """The names of one request, before and after it.

    Args:
        gone: (kind, name) to be removed.

    Attributes:
        held: networks whose members' names are touched.
        followers: running containers that the request does not name, and whose file becomes another one with an edit
            of their network -> init's pid and start time.
    """

    def __init__(self, kernel: Kernel, store: Store, wanted: list[Wanted], records: dict[str, Record | None],
                 lasts: dict[str, Spec | None], gone: list[tuple[str, str]]) -> None:
        self.kernel, self.store, self.wanted = kernel, store, wanted
        self._loaded: dict[tuple[str, str], Record | None] = {
            ("container", name): record for name, record in records.items()}
        self._content: dict[str, tuple[str, ...] | None] = {}
        self._sources: dict[str, tuple[str, str, str]] = {}
        self._shown: dict[str, dict[str, Any]] = {}     # container -> path inside -> file, or what else lies there
        self._gone = gone
        self.held: tuple[str, ...] = ()
        self.followers: dict[str, tuple[int, int]] = {}
        leaving = {name for kind, name in gone if kind == "container"}
        old: dict[str, Member] = {}
        new: dict[str, Member] = {}
        for one in wanted:
            if isinstance(one.model, Spec):
                new[one.model.name] = member(one.model, bool(one.bundle))
                last, record = lasts[one.model.name], records[one.model.name]
                if last is not None and record is not None:
                    old[one.model.name] = member(last, bool(record.bundle))
        for name in leaving:
            record = self.record("container", name)
            if record is not None:
                old[name] = member_of(record.spec, bool(record.bundle))
        self._named = tuple(dict.fromkeys((*new, *old)))
        networks = [one.model for one in wanted if isinstance(one.model, Network)]
        if not networks and not any(map(told, (*old.values(), *new.values()))):
            self.old = self.new = World(self.room, {}, {})
            self._touched: tuple[str, ...] = ()
            return
        for name in store.names("container"):
            if name not in self._named:
                found = recorded(store, name)
                if found is not None:
                    old[name] = new[name] = found
        before = {name: network for name in store.names("network") if (network := network_of(store, name)) is not None}
        used = {network for one in new.values() for network, _ in one.links}
        after = {**{name: one for name, one in before.items() if ("network", name) not in gone or name in used},
                 **{one.name: one for one in networks}}
        self.old, self.new = World(self.room, old, before), World(self.room, new, after)
        self._touched = self._reach()

    @property
    def room(self) -> str:
        """The directory of the files."""
        return f"{self.store.root}/{ROOM}"

    def record(self, kind: str, name: str) -> Record | None:
        """A Record, read once."""
        if (kind, name) not in self._loaded:
            self._loaded[kind, name] = self.store.load(kind, name)
        return self._loaded[kind, name]

    def _reach(self) -> tuple[str, ...]:
        """The containers whose files may change: those of the request, and their siblings before and after it."""
        near: set[str] = set()
        for world in (self.old, self.new):
            near.update(network for name in self._named if name in world.members
                        for network, _ in world.links(world.members[name]))
        for name in {*self.old.networks, *self.new.networks}:
            one, other = self.old.networks.get(name), self.new.networks.get(name)
            if one is None or other is None or (one.addresses, one.isolated) != (other.addresses, other.isolated):
                near.add(name)
        self.held = tuple(sorted(near))
        found = dict.fromkeys(self._named)
        for world in (self.old, self.new):
            found.update(dict.fromkeys(name for name, one in world.members.items()
                                       if any(network in near for network, _ in world.links(one))))
        return tuple(sorted(found))     # a plan is the same whatever the order of the documents

    # -- what is wrong --

    def check(self) -> None:
        """Names that lead nowhere.

        Raises:
            SpecError: with the place of each.
        """
        faults: list[SpecError] = []
        for one in self.wanted:
            for name, address in one.model.extra_hosts if isinstance(one.model, Spec) else ():
                mine = self.new.members[one.model.name]
                if address != read_names.GATEWAY or self.new.gateways(mine):
                    continue
                network = next((network for network, _ in self.new.links(mine)), "")
                faults.append(from_yaml.fault(
                    one.marks, f"extraHosts.{name}", f"{read_names.GATEWAY} is no address here",
                    f"the host has none on {network}" if network else "the container is on no network",
                    f"give {network} an address" if network else "write the address itself"))
        if faults:
            raise source.join(faults)

    def warnings(self) -> list[str]:
        """What the C library makes of it all the same."""
        out = []
        for one in self.wanted:
            dns = one.model.dns if isinstance(one.model, Spec) else None
            if dns is not None and len(dns.nameservers) > SERVERS:
                out.append(f"warning: {one.model.name}: dns.nameservers: the C library asks the first {SERVERS} "
                           f"of {len(dns.nameservers)}, resolv.conf(5)")
        if out or any(name in self.new.members for name in self._named):
            out += [f"warning: {' and '.join(names)} call themselves {host} on {network}: siblings reach the first"
                    for network, host, names in self.new.doubles(self.held) if set(names) & set(self._named)]
        return out

    # -- what is there --

    def observe(self, observer: Observer, name: str, facts: Facts) -> None:
        """Look for the files of one running container where it should see them."""
        shown: dict[str, Any] = {}
        points = set()
        for place, files in self._files(name).items():
            top = self._top(facts, place)
            if top is None:
                shown[place] = ABSENT
                continue
            points.add(top.mount_point)
            shown[place] = next((file for file in files if self._source(observer, file) == (top.device, top.root)),
                                f"{top.root} of {top.device}")
        self._shown[name] = shown
        facts.named = frozenset(points)

    def _files(self, name: str) -> dict[str, list[str]]:
        """Path inside -> the files that it has, or had."""
        out: dict[str, list[str]] = {}
        for world in (self.new, self.old):
            if name in world.members:
                for place, file in world.files(world.members[name]):
                    out.setdefault(place, []).append(file)
        return out

    def _top(self, facts: Facts, place: str) -> procfs.Mount | None:
        found = [one for one in facts.mounts if one.mount_point == place]
        if not found:
            # A link of the image may lead /etc elsewhere.
            real = self.kernel.exact_place(facts.pid, place)
            found = [one for one in facts.mounts if one.mount_point == real]
        return found[-1] if found else None

    def _source(self, observer: Observer, file: str) -> tuple[str, str]:
        if file not in self._sources:
            self._sources[file] = observer.source(file)
        return self._sources[file][1:]

    def content(self, file: str) -> tuple[str, ...] | None:
        """The lines of a file, read once; None where it is not there."""
        if file not in self._content:
            self._content[file] = self.kernel.read_lines(file)
        return self._content[file]

    # -- path -> value --

    def views(self, name: str) -> tuple[View, View, View]:
        """As the file asks, as the one applied last did, as it is."""
        expected, before = (self._wish(world, name) for world in (self.new, self.old))
        seen: View = {name_steps.path_of(place): value for place, value in self._shown.get(name, {}).items()}
        if any(path.startswith("dns.") for path in (*expected, *before)):
            lines = self.content(f"{self.room}/container.{name}.resolv.conf")
            found = parse_resolver(lines or ())
            seen.update((f"dns.{key}", getattr(found, key) or ABSENT) for key in _KEYS)
        for world in (self.new, self.old):
            one = world.members.get(name)
            if one is None or not world.file(one):
                continue
            for pair in one.extra:
                there, lines = self.content(world.file(one)) or (), world.extra(one, pair)
                if lines and all(line in there for line in lines):
                    seen[f"extraHosts.{pair[0]}"] = pair[1]
                else:
                    seen.setdefault(f"extraHosts.{pair[0]}", ABSENT)
        return expected, before, seen

    def _wish(self, world: World, name: str) -> View:
        view: View = {}
        one = world.members.get(name)
        if one is None:
            return view
        for place, file in world.files(one):
            view[name_steps.path_of(place)] = file
            if place == HOSTS:
                view.update((f"extraHosts.{host}", address) for host, address in one.extra)
            elif place == RESOLV and one.dns is not None:
                view.update((f"dns.{key}", value) for key in _KEYS if (value := getattr(one.dns, key)))
        return view

    def equip(self, item: Item) -> None:
        """Tell an Item which files it has, and which of them it sees."""
        item.names = self.new.files(self.new.members[item.name]) if item.name in self.new.members else ()
        mine = self._files(item.name)
        item.shown = {place: value if value in mine[place] else ""
                      for place, value in self._shown.get(item.name, {}).items()}

    # -- the plan --

    def _follow(self) -> list[Step]:
        """What shows followers their other file."""
        steps = list[Step]()
        switched = any(self.old.alone(name) != self.new.alone(name) for name in self.new.networks)
        for name in self._touched if switched else ():
            old, new = (world.members.get(name) for world in (self.old, self.new))
            if name in self._named or old is None or new is None:
                continue
            former, file = self.old.file(old), self.new.file(new)
            record = self.record("container", name) if former != file else None
            if record is None or status(self.kernel, record) != "running":
                continue
            self.followers[name] = pid, _ = record.pid, record.start_time
            kinds = tuple(kind for kind in ("user", "mount") if self._space(pid, kind) != self._space(0, kind))
            steps.append(name_steps.ShowNames(
                target=name, path="hosts", kinds=kinds, file=file, place=HOSTS, former=former, bystander=True,
                readonly=from_tree(Spec, record.spec).root.readonly))
        return steps

    def _space(self, pid: int, kind: str) -> str | None:
        """Identity of a namespace of a process, of ours for 0."""
        return self.kernel.read_link(f"/proc/{pid or 'self'}/ns/{namespaces.KINDS[kind][1]}")

    def complete(self, plan: Plan, items: list[Item]) -> Plan:
        """A plan with the Steps that write files, before all others, and remove those of nobody."""
        given = {item.name: item for item in items if item.wanted is not None}
        first, shown, steps = list[Step](), self._follow(), list(plan.steps)
        drifted = list[Change]()
        new, old = (world.texts(self._touched) for world in (self.new, self.old))
        target = min((*self._named, *(one.model.name for one in self.wanted)), default="")
        for file, (lines, users) in new.items():
            has = self.content(file)
            ordered = file.endswith(".resolv.conf")
            if has is not None and (has == lines if ordered else len(has) == len(lines) and set(has) == set(lines)):
                continue
            user = next((one for one in users if one in given), target)
            mine, path = given.get(user), "dns" if ordered else "hosts"
            missing = tuple(one for one in lines if one not in (has or ())) or ABSENT
            surplus = tuple(one for one in has or () if one not in lines) or ABSENT
            first.append(name_steps.WriteNames(target=user, path=path, file=file, lines=lines, words=words(file)))
            if mine is not None and mine.facts.status == "running" and old.get(file, ((), ()))[0] == lines and not any(
                    one.path.startswith(("dns" if ordered else "hosts", "extraHosts")) for one in mine.changes):
                drifted.append(Change(target=user, path=path, before=surplus, after=missing, impact=fields.IN_PLACE,
                                      cause="drifted"))
        for file, (_, users) in old.items():
            if file not in new and self.content(file) is not None:
                user = next((one for one in users if one in self._named), target)
                # While a Record still tells whose it is: a run that dies in between is taken back by those.
                at = next((i for i, step in enumerate(steps) if isinstance(step, (SaveRecord, RemoveRecord))
                           and step.kind == "container" and step.target in users), len(steps))
                path = "dns" if file.endswith(".resolv.conf") else "hosts"
                steps.insert(at, name_steps.RemoveNames(target=user, path=path, file=file, words=words(file)))
        for name, item in given.items():
            if name in self.new.members and item.names:
                item.seen["names"] = tuple(new[file][0] for _, file in item.names)
        if not first and not shown and len(steps) == len(plan.steps):
            return plan
        quiet = tuple(line for line in plan.quiet if line not in {f"{one.target}: up to date" for one in drifted})
        return plan.replace(steps=(*first, *shown, *steps), changes=(*plan.changes, *drifted), quiet=quiet)


def words(file: str) -> str:
    """A file of names as a plan tells it."""
    kind, _, rest = file.rpartition("/")[2].partition(".")
    what = "resolv.conf" if rest.endswith(".resolv.conf") else "hosts"
    name = rest.removesuffix(f".{what}")
    return f"the names on {name.replace('+', ' and ')}" if kind == "networks" else f"/etc/{what} of {name}"
