"""What changes in a running container without its init noticing: mounts, hidden paths, devices, the root's flags.

The kernel allows nearly all of it. What it does not is told by `weigh`, which makes such a change a harder one.
"""

from __future__ import annotations

from runspec.plan import views_mounts as views
from runspec.plan.host import Host
from runspec.plan.steps import live, mounts
from runspec.plan.steps.base import Change, Step
from runspec.plan.steps.namespaces import is_new
from runspec.plan.values import ABSENT, UNKNOWN
from runspec.spec import fields
from runspec.spec.model import Mount, Spec
from runspec.spec.mount_options import ATTRIBUTES, PROPAGATION, RECURSIVE, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.plan.facts import Facts

# Namespaces that a new init may get while root, groups and network stay as they are.
OF_INIT = ("pid", "ipc", "uts", "cgroup", "time")
# A change of these asks for another mount; all else is set on the one that is there.
ANEW = ("source", "type", "uidMappings", "gidMappings", "options.mode")
# Part of a limit -> the one that it goes with.
LEADS = {"turn": "priority", "rate": "line"}
RESIZED = ("options.size", "options.nr_inodes")


def weigh(spec: Spec, last: Spec | None, facts: Facts, changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Changes with the class that they have in this container, where that is not their field's."""
    if last is not None and any(one.cause == "drifted" for one in changes) and last != spec:
        changes = blame(last, facts, changes)
    return tuple(one if (impact := impact_of(spec, last, facts, one)) is None else one.replace(impact=impact)
                 for one in changes)


def blame(last: Spec, facts: Facts, changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Changes of which those that only follow from an edit are no drift; nor are they told where all is made anew."""
    edited = {one.path for one in changes if one.cause == "edited"}
    out = []
    for one in changes:
        at, _, key = one.path.rpartition(".")
        if one.cause == "drifted" and one.path == "mounts" and not views.surplus(
                last, facts, {mount.destination for mount in last.mounts}, [last]):
            # Nothing but what was applied last accounts for them.
            if any(each.impact == fields.RECREATE for each in changes):
                continue
            one = one.replace(cause="edited")
        elif one.cause == "drifted" and f"{at}.{LEADS.get(key)}" in edited:
            one = one.replace(cause="edited")
        out.append(one)
    return tuple(out)


def impact_of(spec: Spec, last: Spec | None, facts: Facts, change: Change) -> int | None:
    """The class of one Change, None for that of its field."""
    path = change.path
    if path.startswith("linux.namespaces["):
        word = path[len("linux.namespaces["):-1]
        kind = spec.linux.namespaces[int(word)].type if word.isdigit() else word
        return fields.RESTART if kind in OF_INIT else None
    if path == "linux.rootfsPropagation" and spec.root.path and spec.linux.rootfs_propagation is not None \
            and spec.linux.rootfs_propagation.endswith(("slave", "shared")):
        # What the host mounts comes only to a root that was taken from a peer of the host's mount.
        return fields.RECREATE
    if path.startswith("process.rlimits[") and not path[len("process.rlimits["):].partition("]")[0].isdigit():
        # What runspec itself runs with; to raise a hard limit from outside takes CAP_SYS_RESOURCE.
        return fields.RESTART
    if path.startswith("mounts["):
        return _mount_impact(spec, last, facts, path)
    return None


def _mount_impact(spec: Spec, last: Spec | None, facts: Facts, path: str) -> int | None:
    """proc shows the pid namespace of who mounts it, and the devices and links in /dev are made in one go."""
    word, _, key = path[len("mounts["):].partition("]")
    former = {one.destination: one for one in last.mounts} if last is not None else {}
    if word.isdigit():
        one = spec.mounts[int(word)]
        if key and not anew(key.lstrip("."), one, former.get(one.destination)):
            return None
        where, types = one.destination, {one.type}
    else:
        where, types = word, set()
    if where in former:
        types.add(former[where].type)
    return fields.RESTART if "proc" in types or where in ("/proc", "/dev") else None


def anew(key: str, one: Mount, was: Mount | None) -> bool:
    """Whether a change of this part of a mount asks for another mount."""
    if key in ANEW:
        return True
    if key in RESIZED:
        # What is no limit any more has the size of the memory again, which only a new one gets.
        name = key.partition(".")[2]
        return name not in dict(views.data_options(one)) or (
            name == "nr_inodes" and (was is None or name not in dict(views.data_options(was))))
    if key != "options" or was is None:
        return False
    changed = set(views.unseen(one)) ^ set(views.unseen(was))
    return bool(changed - set(PROPAGATION) - set(RECURSIVE)) or parse(one.options).bind != parse(was.options).bind


def steps(name: str, spec: Spec, last: Spec | None, facts: Facts, host: Host,
          changes: tuple[Change, ...]) -> list[Step]:
    """Steps for all of these changes that concern what this module knows."""
    if not is_new(spec, "mount"):
        return []
    reasons = {one.path: f"{one.cause}: {shown(one.before)} -> {shown(one.after)}" for one in changes}
    work = Work(name, spec, last, facts, host, reasons)
    return [*work.hidden_away(), *work.mounts(), *work.devices(), *work.hidden(), *work.root()]


def shown(value: Any) -> str:
    """A value as people read it."""
    if value is ABSENT or value is None:
        return "absent"
    return " ".join(map(shown, value)) if isinstance(value, tuple) else str(value)


def kinds(facts: Facts) -> tuple[str, ...]:
    """Namespaces to be joined by what changes mounts, OCI's words."""
    return tuple(kind for kind in ("user", "mount") if facts.namespaces[kind] != facts.own.get(kind))


class Work:
    """The changes of one running container."""

    def __init__(self, name: str, spec: Spec, last: Spec | None, facts: Facts, host: Host,
                 reasons: dict[str, str]) -> None:
        self.name, self.spec, self.facts, self.host, self.reasons = name, spec, facts, host, reasons
        self.last = last or spec
        self.former = {one.destination: one for one in self.last.mounts}
        apart = {kind for kind in facts.namespaces if facts.namespaces[kind] != facts.own.get(kind)}
        self.kinds = kinds(facts)
        self.all = tuple(kind for kind in ("user", "mount", "ipc", "network", "cgroup") if kind in apart)
        self.top = {one.mount_point: one for one in facts.mounts}
        self.by_id = {one.id: one for one in facts.mounts}
        self.again: list[str] = []      # paths whose masks lie on what is mounted anew

    # -- mounts --

    def stack(self, place: str) -> list[Any]:
        """What is mounted on a path, the topmost last."""
        return [one for one in self.facts.mounts if one.mount_point == place]

    def below(self, found: Any, ids: set[int]) -> bool:
        """Whether a mount hangs on one of these."""
        seen: set[int] = set()
        while found.id not in seen:
            seen.add(found.id)
            if found.parent in ids:
                return True
            found = self.by_id.get(found.parent, found)
        return False

    def add(self, index: int) -> live.AddMount:
        """What mounts this entry of the file."""
        one = self.spec.mounts[index]
        kind = self.facts.sources.get(one.source or "", ("directory",))[0] if parse(one.options).bind else "directory"
        above = any(one.destination.startswith(f"{other.destination}/") for other in self.spec.mounts)
        return live.AddMount(
            target=self.name, path=f"mounts[{index}]", kinds=self.all, readonly=self.spec.root.readonly and not above,
            make=mounts.MakeMount(target=self.name, path=f"mounts[{index}]", mount=one, index=index, kind=kind,
                                  hierarchies=mounts.shown_controllers(self.host)))

    def remove(self, found: Any, one: Mount | None, path: str, returns: bool = False) -> live.RemoveMount:
        """What unmounts this line of mountinfo."""
        kind, again = "directory", None
        if one is not None:
            if parse(one.options).bind:
                kind = self.facts.sources.get(one.source or "", ("directory",))[0]
            again = live.AddMount(target=self.name, path=path, kinds=self.all, make=mounts.MakeMount(
                target=self.name, path=path, mount=one, index=len(self.spec.mounts), kind=kind,
                hierarchies=mounts.shown_controllers(self.host)))
        return live.RemoveMount(target=self.name, path=path, kinds=self.kinds, place=found.mount_point, kind=kind,
                                again=again, returns=returns, reason=self.reasons.get(path, ""))

    def mounts(self) -> list[Step]:
        """Removed, deepest first; then, in the order of the file, added or put back; then what is set."""
        out: dict[int, live.RemoveMount] = {}       # mount id -> what takes it away
        fresh: dict[int, str] = {}                  # index -> reason
        for path in self.reasons:
            if path == "mounts":
                known = {*self.former, *(one.destination for one in self.spec.mounts)}
                wanted = set(views.surplus(self.spec, self.facts, known, [self.spec, self.last]))
                out.update((one.id, self.remove(one, None, path)) for one in self.facts.mounts
                           if one.mount_point in wanted)
            elif path.startswith("mounts[/"):
                one = self.former[path[len("mounts["):-1]]
                found = self.top[views.place(one.destination, self.facts)]
                out[found.id] = self.remove(found, one, path)
        for index, one in enumerate(self.spec.mounts):
            keys = [path.partition("]")[2].lstrip(".") for path in self.reasons if path == f"mounts[{index}]"
                    or path.startswith(f"mounts[{index}].")]
            if "" in keys:
                fresh[index] = self.reasons[f"mounts[{index}]"]
            elif any(anew(key, one, self.former.get(one.destination)) for key in keys):
                above, was = self.too_much(one), self.former.get(one.destination)
                path = next(path for path in self.reasons if path.startswith(f"mounts[{index}]."))
                out.update((found.id, self.remove(found, was if found is above[0] else None, path)) for found in above)
                if above == self.stack(views.place(one.destination, self.facts)):
                    fresh[index] = self.reasons[path]
        back = self.make_room(out, fresh)
        # The deepest first; of several on one path the topmost.
        order = {found.id: place for place, found in enumerate(self.facts.mounts)}
        numbers = sorted(out, key=lambda number: (-out[number].place.count("/"), -order[number]))
        steps: list[Step] = [out[number] for number in numbers]
        for index in range(len(self.spec.mounts)):
            if index in fresh:
                steps.append(self.add(index).replace(reason=fresh[index]))
            elif index in back:
                steps.append(back[index])
        changed = [self.spec.mounts[index].destination for index in fresh]
        self.again = [path for path in (*self.spec.linux.masked_paths, *self.spec.linux.readonly_paths)
                      if any(f"{path}/".startswith(f"{where}/") for where in changed)]
        for index, one in enumerate(self.spec.mounts):
            if index not in fresh:
                steps += self.set_mount(index, one)
        return steps

    def too_much(self, one: Mount) -> list[Any]:
        """What must go from a path: what lies above a mount that is as it should be, or else all."""
        stack = self.stack(views.place(one.destination, self.facts))
        was = self.former.get(one.destination)
        wanted = views.wanted_mount(one, self.facts)
        for depth in range(len(stack) - 1, 0, -1):
            seen = views.seen_mount(one, was, stack[depth - 1])
            if all(seen.get(key) in (value, UNKNOWN) or key == "options" for key, value in wanted.items()):
                return stack[depth:]
        return stack

    def make_room(self, out: dict[int, live.RemoveMount], fresh: dict[int, str]) -> dict[int, live.ReturnMount]:
        """Mounts of the file that stay, but hang on one that goes or would be covered: taken, and put back."""
        back: dict[int, live.ReturnMount] = {}
        going = set(out)
        new = [self.spec.mounts[index].destination for index in fresh]
        kept: set[int] = set()
        for index, one in enumerate(self.spec.mounts):
            found = self.top.get(views.place(one.destination, self.facts))
            if index in fresh or found is None or found.id in out:
                continue
            covered = any(one.destination.startswith(f"{where}/") for where in new)
            if not (covered or self.below(found, going)) or self.below(found, kept):
                continue
            kept.add(found.id)
            out[found.id] = self.remove(found, one, f"mounts[{index}]", returns=True)
            back[index] = live.ReturnMount(target=self.name, path=f"mounts[{index}]", kinds=self.kinds,
                                           place=found.mount_point, kind=out[found.id].kind)
        return back

    def set_mount(self, index: int, one: Mount) -> list[Step]:
        """Attributes, propagation and sizes."""
        place, steps = views.place(one.destination, self.facts), list[Step]()
        found, was = self.top.get(place), self.former.get(one.destination)
        if found is None:
            return []
        path = f"mounts[{index}].options"
        if path in self.reasons:
            wanted, has = set(views.wanted_words(one)), set(views.seen_words(one, was, found.options))
            put, clear = attributes(wanted, has, "strictatime" in one.options)
            words = tuple(word for word in parse(one.options).propagation
                          if was is None or word not in parse(was.options).propagation)
            deep = bool(parse(one.options).rset or parse(one.options).rclear)
            if put or clear or words:
                back = attributes(has, wanted, not {"noatime", "relatime"} & set(found.options))
                steps.append(live.SetMount(
                    target=self.name, path=path, kinds=self.kinds, place=place, set=put, clear=clear, recursive=deep,
                    propagation=words, reason=self.reasons[path],
                    back=live.SetMount(target=self.name, kinds=self.kinds, place=place, set=back[0], clear=back[1],
                                       recursive=deep,
                                       propagation=(views.propagation(found.propagation),) if words else ())))
        sizes = [key for key in RESIZED if f"mounts[{index}].{key}" in self.reasons]
        if sizes:
            names = [key.partition(".")[2] for key in sizes]
            shown = dict(word.partition("=")[::2] for word in found.super_options)
            asked = dict(word.partition("=")[::2] for word in parse(one.options).data)
            steps.append(live.ResizeMount(
                target=self.name, path=f"mounts[{index}].{sizes[0]}", kinds=self.kinds, place=place,
                options=tuple(f"{name}={asked[name]}" for name in names),
                back=tuple(f"{name}={shown.get(name, '50%')}" for name in names),
                reason=self.reasons[f"mounts[{index}].{sizes[0]}"]))
        return steps

    # -- devices --

    def devices(self) -> list[Step]:
        """Nodes of the file, and those that it names no more."""
        bind, steps = is_new(self.spec, "user"), list[Step]()
        for path, why in self.reasons.items():
            if not path.startswith("linux.devices["):
                continue
            word = path[len("linux.devices["):-1]
            node = self.spec.linux.devices[int(word)] if word.isdigit() else None
            steps.append(live.SetNode(target=self.name, path=path, reason=why, node=node, bind=bind, kinds=self.kinds,
                                      at=node.path if node is not None else word))
        return steps

    # -- masks and read-only paths --

    def hidden_away(self) -> list[Step]:
        """Masks and read-only mounts that go: before mounts that may come to lie on the same paths."""
        steps: list[Step] = []
        for path, word, wanted, test in self.sides():
            if path not in self.reasons:
                continue
            former = self.last.linux.masked_paths if word == "mask" else self.last.linux.readonly_paths
            steps += [live.ShowPath(target=self.name, path=path, kinds=self.kinds, place=views.place(one, self.facts),
                                    word=word, reason=self.reasons[path])
                      for one in former if one not in wanted and test(one)]
        return steps

    def hidden(self) -> list[Step]:
        """Those that come."""
        steps: list[Step] = []
        declared = {views.place(one.destination, self.facts) for one in self.spec.mounts}
        # Read-only first, as in a new container: a mask below one would be cloned away.
        for path, word, wanted, test in reversed(list(self.sides())):
            for one in wanted:
                if not (path in self.reasons and one in self.facts.present and not test(one)) and one not in self.again:
                    continue
                place = views.place(one, self.facts)
                why = self.reasons.get(path, "")
                if word == "freeze" and place in self.top and place not in declared and one not in self.again:
                    attribute = ("MOUNT_ATTR_RDONLY",)
                    steps.append(live.SetMount(
                        target=self.name, path=path, kinds=self.kinds, place=place, set=attribute, reason=why,
                        back=live.SetMount(target=self.name, kinds=self.kinds, place=place, clear=attribute)))
                else:
                    steps.append(live.HidePath(target=self.name, path=path, kinds=self.kinds, place=place, word=word,
                                               reason=why))
        return steps

    def sides(self) -> Any:
        """(path, word, wanted, whether one is in force) of masks and of read-only paths."""
        linux = self.spec.linux
        yield ("linux.maskedPaths", "mask", linux.masked_paths, lambda one: views.hidden(one, self.facts, self.top))
        yield ("linux.readonlyPaths", "freeze", linux.readonly_paths,
               lambda one: views.frozen(one, self.spec, self.facts, self.top))

    # -- the root --

    def root(self) -> list[Step]:
        """Whether it may be written, and what its mounts hear of others."""
        steps: list[Step] = []
        if "linux.rootfsPropagation" in self.reasons:
            word = self.spec.linux.rootfs_propagation or "private"
            before = views.propagation(self.top["/"].propagation) if "/" in self.top else "private"
            steps.append(live.SetMount(
                target=self.name, path="linux.rootfsPropagation", kinds=self.kinds, place="/", propagation=(word,),
                reason=self.reasons["linux.rootfsPropagation"],
                back=live.SetMount(target=self.name, kinds=self.kinds, place="/", propagation=(before,))))
        if "root.readonly" in self.reasons:
            attribute = ("MOUNT_ATTR_RDONLY",)
            put, clear = (attribute, ()) if self.spec.root.readonly else ((), attribute)
            steps.append(live.SetMount(
                target=self.name, path="root.readonly", kinds=self.kinds, place="/", set=put, clear=clear,
                reason=self.reasons["root.readonly"],
                back=live.SetMount(target=self.name, kinds=self.kinds, place="/", set=clear, clear=put)))
        return steps


def attributes(wanted: set[str], has: set[str], strict: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """mountinfo's words as MOUNT_ATTR names to be set and cleared.

    The ways of access times are one field, which must be cleared as a whole, mount_setattr(2).

    Args:
        strict: where no way is wanted, every access counts; else the kernel's default.
    """
    ways = {"noatime", "relatime"}
    put = [name for word in sorted(wanted - has - ways) for name in ATTRIBUTES[word][0]]
    clear = [name for word in sorted(has - wanted - ways) for name in ATTRIBUTES[word][0]]
    if wanted & ways != has & ways:
        way = next(iter(wanted & ways), "strictatime" if strict else "relatime")
        put, clear = [*put, *ATTRIBUTES[way][0]], [*clear, *ATTRIBUTES[way][1]]
    return tuple(put), tuple(clear)
