"""The doctor's look: what each used key needs, what of it this machine lacks, and why."""

from __future__ import annotations

import os

from runspec.errors import RunspecError
from runspec.plan import needs
from runspec.run import abilities, admission, doctor_firewall, journal, listeners
from runspec.run.firewall import Firewall
from runspec.run.leases import Leases
from runspec.run.observe import read_host
from runspec.run.probes import BASE, Answer, Probes, bad
from runspec.run.recover import note
from runspec.spec import rules_host
from runspec.spec.model import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.errors import SpecError
    from runspec.kernel import Kernel
    from runspec.run.request import Wanted
    from runspec.run.store import Store

# What `doctor` without a file looks at, in this order; controllers come before it.
HOST = (
    *(f"namespace:{kind}" for kind in ("pid", "mount", "network", "ipc", "uts", "cgroup", "user", "time")),
    *(f"filesystem:{name}" for name in ("overlay", "tmpfs", "proc", "sysfs", "devpts", "mqueue")),
    "link:bridge", "link:veth", "driver:vlan", "driver:macvlan", "driver:ipvlan", "devices:",
    "knob:cpu.quota", "knob:cpu.burst", "knob:cpu.idle", "knob:cpu.realtime",
    "knob:memory.swap", "knob:blockIO.throttle", "landlock:1", "seccomp:SCMP_ACT_ERRNO", "seccomp:SCMP_ACT_NOTIFY",
    "lsm:AppArmor", "lsm:SELinux", "resctrl:", "ia32:", "numa:", "idmap:/", "idmap:/var/lib/runspec",
    *(f"capability:{name}" for name in ("CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_MKNOD", "CAP_SYS_NICE",
                                        "CAP_SYS_RESOURCE")),
    "tool:busybox", "tool:skopeo", "tool:umoci", "nft:")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "blkio", "devices", "freezer", "hugetlb", "rdma", "net_cls",
               "net_prio")


class Row:
    """One need of one key, and what was found of it.

    Attributes:
        path: the spec path; "" for the host alone.
        need: what it is called; option: what of the kernel's configuration gives it.
    """

    __slots__ = ("answer", "need", "option", "path")

    def __init__(self, path: str, need: str, option: str, answer: Answer) -> None:
        self.path, self.need, self.option, self.answer = path, need, option, answer


class Checkup:
    """All that was found: rows of the host, rows of each document, what they ask together.

    Attributes:
        base: what nothing works without; host: what there is to know, without a file alone.
    """

    __slots__ = ("base", "documents", "facts", "host", "refused", "warnings")

    def __init__(self, facts: dict[str, str], base: list[Row]) -> None:
        self.facts, self.base = facts, base
        self.host: list[Row] = []
        self.documents: list[tuple[Wanted, list[Row]]] = []
        self.refused: list[SpecError] = []
        self.warnings: list[str] = []

    @property
    def good(self) -> bool:
        """Whether nothing that is asked fails."""
        rows = [*self.base, *(row for _, rows in self.documents for row in rows)]
        return not self.refused and all(row.answer.ok is not False for row in rows)


def examine(kernel: Kernel, store: Store | RunspecError, wanted: list[Wanted]) -> Checkup:
    """Ask the machine for everything that these documents use; without any, for what there is to know.

    Args:
        store: or why it cannot be used.
    """
    host = read_host(kernel)
    probes = Probes(kernel, host)
    facts = {"kernel": f"Linux {os.uname().release} {os.uname().machine}"}
    room = admission.capacity(kernel, host)
    facts["cores"], facts["memory"] = host.cpus, str(room.memory)
    facts |= {f"cgroup {name}": f"v{version}" for name in CONTROLLERS if (version := probes.version(name))}
    found = Checkup(facts, [Row("", BASE[0], "", probes.base())])
    if isinstance(store, RunspecError):
        found.base.append(Row("", "a state directory", "", bad(store.what, store.fix or "run it as root")))
    else:
        found.warnings = [*(note(error) for error in journal.left(store)), *Firewall(kernel, store).told()]
    if not wanted:
        found.host += [_row(probes, "", word) for word in HOST]
        return found
    made = frozenset(one.model.name for one in wanted if not isinstance(one.model, Spec))
    for one in wanted:
        rows = rows_of(probes, kernel, one, made)
        if isinstance(one.model, Spec) and not isinstance(store, RunspecError):
            rows += [Row(path, what, "", Answer(False, "", why, fix)) for path, what, why, fix in Leases(
                kernel, store).refusals(one.model)]
        found.documents.append((one, rows))
    if not isinstance(store, RunspecError):
        found.refused, warnings = admission.judge(kernel, store, host, wanted)
        found.warnings += warnings
    return found


def rows_of(probes: Probes, kernel: Kernel, one: Wanted, made: frozenset[str] = frozenset()) -> list[Row]:
    """The needs of one document; every refusal that `apply` has for it fails here under the same key.

    Args:
        made: the networks of the same request.
    """
    model = one.model
    rows = [_row(probes, path, word) for path, words in needs.needs(model) for word in words]
    rows += [Row(path, "a way through the host's own firewall", "", Answer(ok, "" if ok is False else why, why, fix))
             for path, ok, why, fix in doctor_firewall.judged(kernel, model)]
    if not isinstance(model, Spec):
        return rows
    refusals = abilities.every(kernel, probes.host, model) + abilities.parents(kernel, model, made)
    refusals += listeners.Listeners(kernel).taken(model, None)
    refusals += [(path, what, fault.why, fault.fix) for fault in rules_host.check_host(model, one.marks)
                 for path, _, what in (fault.what.partition(": "),)]
    for path, what, why, fix in refusals:
        if not any(row.path == path and row.answer.ok is False for row in rows):
            rows.append(Row(path, what, "", Answer(False, "", why, fix)))
    return rows


def _row(probes: Probes, path: str, word: str) -> Row:
    answer, option = probes.ask(word), needs.option(word)
    if answer.ok is False and (told := probes.configured(option)):
        answer = Answer(False, told, answer.why, answer.fix)
    if not path:        # nobody wrote what could be removed
        answer = Answer(answer.ok, answer.note, answer.why, answer.fix.removeprefix("remove it, or "))
    return Row(path, needs.called(word), option, answer)
