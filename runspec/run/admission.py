"""Holds a request, and everything applied beside it, against what the machine has to give."""

from __future__ import annotations

from runspec.run import claims, leases
from runspec.spec import from_yaml
from runspec.spec.model import Network, Spec
from runspec.spec.rules_admission import Capacity, check
from runspec.spec.rules_conflicts import Finding, Party
from runspec.spec.tree import from_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.errors import SpecError
    from runspec.kernel import Kernel
    from runspec.plan.host import Host
    from runspec.run.request import Wanted
    from runspec.run.store import Store


def capacity(kernel: Kernel, host: Host) -> Capacity:
    """What there is to give, as the kernel tells it."""
    from runspec.kernel.cgroupfs import parse_list

    memory = 0
    for line in (kernel.try_read("/proc/meminfo") or b"").splitlines():
        if line.startswith(b"MemTotal:"):
            memory = int(line.split()[1]) << 10
    budget = [int(kernel.try_read(f"/proc/sys/kernel/sched_rt_{word}_us") or b"-1") for word in ("runtime", "period")]
    cpu = dict(host.hierarchies).get("cpu")
    grouped = cpu is not None and kernel.exists(f"{cpu}/cpu.rt_runtime_us")
    return Capacity(cores=parse_list(host.cpus), memory=memory, realtime=(budget[0], budget[1]) if grouped else None)


def judge(kernel: Kernel, store: Store, host: Host, wanted: list[Wanted],
          leaving: frozenset[tuple[str, str]] = frozenset()) -> tuple[list[SpecError], list[str]]:
    """Faults at the given documents, in their order, and lines of warning.

    Args:
        wanted: given documents; each stands for what is applied under its name.
        leaving: (kind, name) that go away.
    """
    given = {(one.kind, one.model.name): one for one in wanted}
    claimed = {("network" if isinstance(one, Network) else "container", one.name): one for one in claims.read(store)}
    under_way = frozenset(claimed) - frozenset(given)
    models: list[Spec | Network] = [claimed[one] for one in sorted(under_way)]
    for kind in ("network", "container"):
        for name in store.names(kind):
            if (kind, name) not in given and (kind, name) not in leaving and (kind, name) not in claimed:
                record = store.load(kind, name)
                if record is not None:
                    models.append(from_tree(Spec, record.spec) if kind == "container"
                                  else from_tree(Network, record.spec))
    models += [one.model for one in wanted]
    faults: list[SpecError] = []
    warnings: list[str] = []
    for one in check(by_name(kernel, store, models), capacity(kernel, host)):
        ours = [party for party in one.parties if (party.kind, party.name) in given]
        if not ours:
            continue        # it stands as it was before this request
        if one.refused:
            last = ours[-1]
            faults.append(from_yaml.fault(given[last.kind, last.name].marks, last.path, one.what,
                                          one.reason(lambda party: place(given, party, under_way)), one.fix))
        else:
            warnings.append(warning(one))
    return from_yaml.in_file_order(faults, list(dict.fromkeys(one.at.file for one in faults if one.at))), warnings


def by_name(kernel: Kernel, store: Store, models: list[Spec | Network]) -> list[Spec | Network]:
    """The same with each parent by the name of its link: two words for one ask for one thing."""
    words = {link.parent for one in models if isinstance(one, Spec) for link in one.interfaces if link.parent}
    names = leases.Leases(kernel, store).names(words) if words else {}
    if all(word == name for word, name in names.items()):
        return models
    return [one.replace(interfaces=tuple(link.replace(parent=names.get(link.parent or "", link.parent))
                                         for link in one.interfaces)) if isinstance(one, Spec) else one
            for one in models]


def place(given: dict[tuple[str, str], Wanted], party: Party, under_way: frozenset[tuple[str, str]]) -> str:
    """`a.yaml:7:3`, `applied` for what no file of the request holds, `being applied` for what another run does."""
    if (party.kind, party.name) in under_way:
        return "being applied"
    one = given.get((party.kind, party.name))
    mark = from_yaml.find(one.marks, party.path)[1] if one is not None else None
    return str(mark) if mark is not None else "applied"


def warning(one: Finding) -> str:
    """One line for the plan."""
    names = ", ".join(party.name for party in one.parties)
    return f"warning: {names}: {one.what}, {one.why}"
