"""YAML trees -> Specs: shorthands, units and defaults; to_yaml.py is the way back.

The schema has judged the trees before: types are right and keys are known here.
"""

from __future__ import annotations

from runspec.errors import Mark, RunspecError, SpecError
from runspec.spec import (
    defaults,
    parents,
    read_devices,
    read_hooks,
    read_names,
    read_networks,
    read_ports,
    read_process,
    read_resources,
    read_root,
    read_seccomp,
    read_traffic,
    units,
)
from runspec.spec.frozen import first_difference
from runspec.spec.image import NO_IMAGE
from runspec.spec.model import (
    Capabilities,
    Hooks,
    IDMapping,
    Interface,
    Linux,
    Mount,
    Namespace,
    Network,
    Process,
    Rlimit,
    Route,
    Spec,
    TimeOffset,
    Vlan,
)
from runspec.spec.model_net import MODES
from runspec.spec.names import CAPABILITY_NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from runspec.spec.compose import Document
    from runspec.spec.image import Machine

    Tree = dict[str, Any]
    T = TypeVar("T")


class Place(Mark):
    """The mark of a list element whose index in the Spec is not the one in the file."""

    __slots__ = ("path",)

    def __init__(self, mark: Mark, path: str) -> None:
        super().__init__(mark.file, mark.line, mark.column)
        self.path: str = mark.path if isinstance(mark, Place) else path


def find(marks: dict[str, Mark], path: str) -> tuple[str, Mark | None]:
    """The path as the file has it, and the nearest mark at it or above it.

    Args:
        marks: spec path -> place.
        path: a spec path, with the Spec's own list indices.
    """
    at = path
    while True:
        mark = marks.get(at)
        if mark is not None:
            return (mark.path + path[len(at):] if isinstance(mark, Place) else path), mark
        if not at:
            return path, None
        at = at[:max(at.rfind("."), at.rfind("["), 0)]


def fault(marks: dict[str, Mark], path: str, what: str, why: str = "", fix: str = "") -> SpecError:
    """A SpecError whose text names the path and whose place is the file's."""
    shown, mark = find(marks, path)
    return SpecError(f"{shown}: {what}", why, fix, at=mark)


def in_file_order(faults: list[SpecError], files: list[str]) -> list[SpecError]:
    """Faults sorted by file as given, then line and column; those without a place last."""
    order = {file: number for number, file in reversed(list(enumerate(files)))}
    last = (len(files), 0, 0)
    return sorted(faults, key=lambda one: (
        (order.get(one.at.file, len(files)), one.at.line, one.at.column) if one.at else last))


def raise_all(faults: list[SpecError]) -> None:
    """Raises the faults as one error, or returns where there is none.

    Raises:
        SpecError: the first, carrying the others in `also`.
    """
    if faults:
        first, *rest = faults
        raise SpecError(first.what, first.why, first.fix, first.at, tuple(rest))




class Reader:
    """Reads one document; a value that cannot be read is noted and its default taken."""

    def __init__(self, document: Document, machine: Machine | None = None) -> None:
        self.tree: Tree = document.tree
        self.marks = document.marks
        self.bare = self.tree.get("defaults") == "none"     # what is written is all there is
        self.machine, self.image = machine, NO_IMAGE
        self.faults: list[SpecError] = []
        self.added: dict[str, Mark] = {}                # Spec path that no file spells -> place
        self.moves: dict[str, dict[str, str]] = {}      # list in the file -> file element -> Spec element

    def note(self, path: str, what: str, why: str = "", fix: str = "") -> None:
        self.faults.append(fault(self.marks, path, what, why, fix))

    def place(self, path: str) -> Place:
        """Where a path of the file stands, as the place of what the Spec has elsewhere."""
        return Place(find(self.marks, path)[1] or Mark("", 0, 0), path)

    def call(self, path: str, parse: Callable[[Any], T], raw: Any, default: T) -> T:
        try:
            return parse(raw)
        except SpecError as error:
            self.note(path, error.what, error.why, error.fix)
            return default

    def ask(self, path: str, question: Callable[[], T], default: T) -> T:
        """What the machine says; its refusal is noted at the path that asked."""
        try:
            return question()
        except RunspecError as error:
            self.note(path, error.what.removeprefix(f"{path}: "), error.why, error.fix)
            return default

    def value(self, tree: Tree, path: str, name: str, parse: Callable[[Any], T]) -> T | None:
        raw = tree.get(name)
        return None if raw is None else self.call(f"{path}.{name}", parse, raw, None)

    def texts(self, tree: Tree, name: str) -> tuple[str, ...]:
        return tuple(tree.get(name) or ())

    def pairs(self, tree: Tree, path: str, name: str) -> tuple[tuple[str, str], ...]:
        at = f"{path}.{name}" if path else name
        return tuple(sorted((k, self.call(f"{at}.{k}", units.plain, v, "")) for k,
                            v in (tree.get(name) or {}).items()))

    def moved(self, listed: str, origin: tuple[int, ...]) -> None:
        moves = {f"[{old}]": f"[{new}]" for new, old in enumerate(origin) if old >= 0}
        if any(old != new for old, new in moves.items()):
            self.moves[listed] = moves

    # The parts, in the order of the file.

    def capabilities(self, tree: Tree) -> Capabilities:
        raw = tree.get("capabilities")
        if raw is None:
            return Capabilities() if self.bare else defaults.CAPABILITIES
        number = CAPABILITY_NUMBER

        def named(name: str) -> tuple[str, ...]:
            # An unknown name stays, for the rules to refuse.
            return tuple(sorted(dict.fromkeys(raw.get(name) or ()),
                                key=lambda cap: (number.get(cap, 64), cap)))

        return Capabilities(bounding=named("bounding"), effective=named("effective"),
                            permitted=named("permitted"),
                            inheritable=named("inheritable"), ambient=named("ambient"))

    def rlimits(self, tree: Tree) -> tuple[Rlimit, ...]:
        raw = tree.get("rlimits")
        if not raw:
            return () if self.bare else defaults.RLIMITS
        given = []
        for index, one in enumerate(raw):
            at = f"process.rlimits[{index}]"
            given.append(Rlimit(type=one["type"],
                                soft=self.call(f"{at}.soft", units.parse_count, one["soft"], 0),
                                hard=self.call(f"{at}.hard", units.parse_count, one["hard"], units.INFINITY)))
        out = tuple(sorted(given, key=lambda one: one.type)) if self.bare else defaults.rlimits(tuple(given))
        self.moved("process.rlimits",
                   tuple(next((i for i, g in enumerate(given) if g is one), -1) for one in out))
        return out

    def process(self) -> Process:
        tree: Tree = self.tree.get("process") or {}
        return Process(
            cwd=tree.get("cwd", self.image.cwd), args=read_root.args(self, tree), env=read_root.env(self, tree),
            user=read_root.user(self, tree),
            capabilities=self.capabilities(tree), rlimits=self.rlimits(tree),
            no_new_privileges=tree.get("noNewPrivileges", not self.bare), oom_score_adj=tree.get("oomScoreAdj"),
            **read_process.attributes(self, tree))

    def mappings(self, raw: list[Tree] | None) -> tuple[IDMapping, ...]:
        return tuple([IDMapping(container_id=one["containerID"], host_id=one["hostID"], size=one["size"])
                      for one in raw]) if raw else ()

    def mount(self, one: Tree) -> Mount:
        kind, options = one.get("type"), tuple(one.get("options") or ())
        bound = "bind" in options or "rbind" in options
        if kind in ("bind", "rbind"):
            # OCI lets the type say it too; one form only, so that equal mounts are equal.
            options = options if bound else (kind, *options)
            kind = None
        elif kind == "none" and bound:
            kind = None
        if one.get("optional") and "optional" not in options:
            options = (*options, "optional")
        return Mount(destination=one["destination"], type=kind, source=one.get("source"), options=options,
                     uid_mappings=self.mappings(one.get("uidMappings")),
                     gid_mappings=self.mappings(one.get("gidMappings")))

    def mounts(self) -> tuple[Mount, ...]:
        raw = self.tree.get("mounts")
        if not raw or self.bare:
            return tuple(self.mount(one) for one in raw or ()) if self.bare else defaults.MOUNTS
        out, origin = defaults.mounts(tuple(self.mount(one) for one in raw))
        self.moved("mounts", origin)
        return out

    def namespaces(self, tree: Tree) -> tuple[Namespace, ...]:
        raw = tree.get("namespaces")
        if self.bare:
            return tuple(Namespace(type=one["type"], path=one.get("path"), container=one.get("container"))
                         for one in raw or ())
        if not raw:
            return defaults.NAMESPACES
        out, origin = defaults.namespaces(tuple(
            Namespace(type=one["type"], path=one.get("path"), container=one.get("container")) for one in raw))
        self.moved("linux.namespaces", origin)
        return out

    def time_offsets(self, tree: Tree) -> tuple[TimeOffset, ...]:
        raw: Tree = tree.get("timeOffsets") or {}
        clocks = sorted(clock for clock in raw if not clock.startswith("x-"))
        if clocks:
            self.moves["linux.timeOffsets"] = {f".{clock}": f"[{index}]" for index,
                                               clock in enumerate(clocks)}
        return tuple(TimeOffset(clock=clock, secs=(raw[clock] or {}).get("secs", 0),
                                nanosecs=(raw[clock] or {}).get("nanosecs", 0)) for clock in clocks)

    def linux(self, name: str) -> Linux:
        tree: Tree = self.tree.get("linux") or {}
        masked, readonly = tree.get("maskedPaths"), tree.get("readonlyPaths")
        path, propagation = tree.get("cgroupsPath") or None, tree.get("rootfsPropagation") or None
        if self.bare:
            masked, readonly = masked or (), readonly or ()
        else:
            path, propagation = path or defaults.cgroups_path(name), propagation or defaults.PROPAGATION
        return Linux(
            namespaces=self.namespaces(tree), uid_mappings=self.mappings(tree.get("uidMappings")),
            gid_mappings=self.mappings(tree.get("gidMappings")), time_offsets=self.time_offsets(tree),
            devices=read_devices.devices(self, tree), cdi_devices=read_devices.names(self, tree), cgroups_path=path,
            resources=read_resources.resources(self, tree), sysctl=self.pairs(tree, "linux", "sysctl"),
            rootfs_propagation=propagation, seccomp=read_seccomp.seccomp(tree, self.bare),
            masked_paths=defaults.MASKED_PATHS if masked is None else tuple(masked),
            readonly_paths=defaults.READONLY_PATHS if readonly is None else tuple(readonly),
            **read_process.domain(self, tree))

    def list_of(self, tree: Tree, path: str, name: str, parse: Callable[[Any], str]) -> tuple[str, ...]:
        raw = tree.get(name)
        if raw is None:
            return ()
        at = f"{path}.{name}" if path else name
        if isinstance(raw, str):
            raw = self.call(at, parse, raw, "")
            return (raw,) if raw else ()
        read = [self.call(f"{at}[{index}]", parse, one, "") for index, one in enumerate(raw)]
        # An address that could not be read is noted; the others keep their index for the rules.
        return tuple(read)

    def interface(self, one: Tree, at: str) -> Interface:
        routes = tuple(
            Route(to=self.call(f"{at}.routes[{index}].to", units.parse_destination, route["to"], "default"),
                  via=self.value(route, f"{at}.routes[{index}]", "via", units.parse_address),
                  metric=route.get("metric")) for index, route in enumerate(one.get("routes") or ()))
        kind, vlan = one["type"], one.get("vlan")
        return Interface(
            name=one["name"], type=kind, network=one.get("network"),
            parent=self.value(one, at, "parent", parents.parse_parent),
            mode=one.get("mode") or MODES.get(kind, (None,))[0],
            vlan=Vlan(**{name: vlan[name] for name in ("id", "protocol") if name in vlan}) if vlan else None,
            sysctl=self.pairs(one, at, "sysctl"), fallback=one.get("fallback"),
            host_access=bool(one.get("hostAccess")),
            mac=self.value(one, at, "mac", units.parse_mac), mtu=one.get("mtu"),
            addresses=() if one.get("addresses") == "auto" else self.list_of(one, at, "addresses", units.parse_cidr),
            pooled=one.get("addresses") == "auto",
            gateway=self.list_of(one, at, "gateway", units.parse_address), routes=routes,
            qos=read_traffic.qos(self, one.get("qos"), f"{at}.qos"))

    def spec(self) -> Spec:
        tree = self.tree
        name = tree["name"]
        root = read_root.root(self, name)        # first: what the image says stands for what the file leaves out
        linux = self.linux(name)
        hostname = tree.get("hostname")
        # A shared uts namespace keeps the name it has.
        if hostname is None and not self.bare and any(one.type == "uts" and one.path is None and one.container is None
                                    for one in linux.namespaces):
            hostname = name
        return read_devices.described(self, Spec(
            name=name, labels=self.pairs(tree, "", "labels"), project=tree.get("project"),
            hostname=hostname, domainname=tree.get("domainname"),
            root=root, process=self.process(), mounts=self.mounts(), linux=linux,
            hooks=read_hooks.hooks(self, tree["hooks"]) if tree.get("hooks") else Hooks(),
            landlock=read_process.landlock(tree.get("landlock")),
            annotations=self.pairs(tree, "", "annotations"),
            interfaces=tuple(self.interface(one, f"interfaces[{index}]")
                             for index, one in enumerate(tree.get("interfaces") or ())),
            ports=read_ports.ports(self) if tree.get("ports") else (),
            dns=read_names.dns(self, tree["dns"]) if tree.get("dns") is not None else None,
            extra_hosts=read_names.extra_hosts(self, tree["extraHosts"]) if tree.get("extraHosts") else ()))

    def network(self) -> Network:
        return read_networks.network(self)

    def places(self) -> dict[str, Mark]:
        """The marks under the Spec's own list indices."""
        if not self.moves:
            return {**self.marks, **self.added}
        out = dict(self.added)
        for path, mark in self.marks.items():
            for listed, moves in self.moves.items():
                size = len(listed)
                if path.startswith(listed) and path[size:size + 1] in ("[", "."):
                    rest = path[size:]
                    # A key that holds dots has nothing below it.
                    old = rest if rest in moves else rest[:_end(rest)]
                    if old in moves:
                        out[listed + moves[old] + rest[len(old):]] = Place(mark, path)
                    break
            else:
                out[path] = mark
        return out


def _end(path: str) -> int:
    """Where the first part of a path that begins with one ends."""
    return min(at if at > 0 else len(path) for at in (path.find(".", 1), path.find("[", 1)))


def gather(documents: list[Document], machine: Machine | None = None,
           ) -> tuple[list[tuple[Spec | Network, Document]], list[SpecError]]:
    """Reads every document that it can, and lists what is wrong with the others.

    Args:
        documents: as source.load gives them, after schema.check found no fault in them.
        machine: answers what images and devices are; None leaves them as they are named.

    Returns:
        The Specs and Networks in order, equal ones once, each with its document; and the faults. In
        the documents returned, `marks` goes by the Spec's own list indices: a standard mount
        before the user's first one shifts it. Such a mark is a Place, whose path is the file's.
    """
    out: list[tuple[Spec | Network, Document]] = []
    faults: list[SpecError] = []
    seen: dict[tuple[str, str], tuple[Spec | Network, Document]] = {}
    for document in documents:
        reader = Reader(document, machine)
        kind = reader.tree.get("kind") or "Container"
        model: Spec | Network = reader.network() if kind == "Network" else reader.spec()
        faults += reader.faults
        before = seen.get((kind, model.name))
        if before is None:
            placed = document if not (reader.moves or reader.added) else type(document)(
                document.tree, reader.places(), document.mark_keys, document.text, document.file)
            seen[kind, model.name] = model, placed
            out.append((model, placed))
        elif before[0] != model:
            at, first = first_difference(before[0], model), before[1].marks
            there = find(first, "name")[1]
            faults.append(fault(
                document.marks, "name", f"{kind} {units.shown(model.name)} is declared twice, differently",
                f"the other is at {there}; they differ first at {at}",
                                "make them equal, or give one another name"))
    return out, faults


def read(documents: list[Document]) -> list[tuple[Spec | Network, Document]]:
    """Reads documents into Specs and Networks, see gather.

    Raises:
        SpecError: the first fault in file order, the others in `also`.
    """
    out, faults = gather(documents)
    raise_all(in_file_order(faults, [document.file for document in documents]))
    return out
