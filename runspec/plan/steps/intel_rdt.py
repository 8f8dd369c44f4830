"""Classes of service of caches and memory bandwidth: a directory of resctrl that init's tasks are in.

See: resctrl.rst, config-linux.md "IntelRdt".
"""

from __future__ import annotations

from runspec.errors import HostError, SyscallError
from runspec.plan.facts import Facts
from runspec.plan.steps.base import ATTACH, FINISH, HostStep, Step
from runspec.plan.values import ABSENT
from runspec.spec.model import IntelRdt, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOT = "/sys/fs/resctrl"


def directory(name: str, one: IntelRdt) -> str:
    """The class's directory: the container's own without a closID; "/" is the default class."""
    return ROOT if one.clos_id == "/" else f"{ROOT}/{one.clos_id or name}"


def monitor(name: str, one: IntelRdt) -> str:
    """The directory of the container's monitoring group, "" without one."""
    return f"{directory(name, one)}/mon_groups/{name}" if one.enable_monitoring else ""


def lines(one: IntelRdt) -> tuple[str, ...]:
    """Lines of the schemata file, in the order in which they are written."""
    first = tuple(line for line in (one.l3_cache_schema, one.mem_bw_schema) if line)
    return first + one.schemata


def parse_schemata(text: str) -> dict[str, dict[str, str]]:
    """resource -> domain -> value, without leading zeros: `L3:0=0ff;1=1f` as the kernel shows it or a file asks."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        resource, colon, rest = line.strip().partition(":")
        for part in rest.split(";") if colon else ():
            domain, equals, value = part.strip().partition("=")
            if equals:
                number = value.strip().lower().lstrip("0") or "0"
                found.setdefault(resource, {})[domain.strip().lstrip("0") or "0"] = number
    return found


def shown(wanted: tuple[str, ...], text: str) -> tuple[str, ...]:
    """What a schemata file says of the resources and domains that some lines name."""
    has, out = parse_schemata(text), []
    for resource, domains in sorted(parse_schemata("\n".join(wanted)).items()):
        values = ";".join(f"{domain}={has.get(resource, {}).get(domain, '')}" for domain in sorted(domains))
        out.append(f"{resource}:{values}")
    return tuple(out)


class JoinClass(HostStep):
    """Makes or checks the class and puts init into it; what init starts is born there.

    Args:
        directory: of the class; monitor: of the monitoring group in it, "" for none.
        own: the class is the container's own and goes with it.
        lines: of its schemata file.
    """

    PHASE = ATTACH
    directory: str
    own: bool = False
    lines: tuple[str, ...] = ()
    monitor: str = ""

    def look(self, kernel: Any, run: Any) -> Any:
        """The directories that are missing.

        Raises:
            HostError: a class that must be there is not, or one that is there says something else.
        """
        there = kernel.exists(self.directory)
        name = self.directory.removeprefix(ROOT + "/")
        if self.own and there:
            raise HostError(f"the class {name} is there already and is not this container's",
                            "without closID the class has the container's name, config-linux.md, IntelRdt",
                            f"remove {self.directory}, or name it as closID")
        if not there and not self.own and not self.lines:
            raise HostError(f"there is no class {name}", "a closID without a schema names one that is there, "
                            "config-linux.md, IntelRdt", f"make {self.directory}, or add schemata")
        if there and self.lines:
            has, wanted = shown(self.lines, kernel.read_text(f"{self.directory}/schemata")), shown(
                self.lines, "\n".join(self.lines))
            if has != wanted:
                raise HostError(f"the class {name} is there already and is {' '.join(has)}, not {' '.join(wanted)}",
                                "others may be in it, config-linux.md, IntelRdt",
                                "write its own schema, or another closID")
        return [one for one in (self.directory, self.monitor) if one and not kernel.exists(one)]

    def apply(self, kernel: Any, run: Any) -> Any:
        """Its schema before any task is in it."""
        missing = self.look(kernel, run)
        if self.directory in missing:
            kernel.make_dir(self.directory)
            for line in self.lines:
                try:
                    kernel.write(f"{self.directory}/schemata", line + "\n")
                except SyscallError as error:
                    # resctrl.rst: this file says what was wrong with the last write.
                    said = (kernel.try_read(f"{ROOT}/info/last_cmd_status") or b"").decode("utf-8", "replace").strip()
                    raise HostError(f"the kernel refuses {line}", said or str(error),
                                    f"see {ROOT}/info for what this processor has") from None
        if self.monitor in missing:
            kernel.make_dir(self.monitor)
        for one in (self.directory, self.monitor):
            if one:
                kernel.write(f"{one}/tasks", str(run.pid(self.target)))
        return missing

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Removes what was made; the kernel puts tasks back into the class above."""
        for one in reversed(memo or ()):
            kernel.remove_dir(one)

    def __str__(self) -> str:
        more = " and watch it" if self.monitor else ""
        return f"put init of {self.target} into class {self.directory.removeprefix(ROOT + '/')}{more}"


class LeaveClass(HostStep):
    """Removes the monitoring group, and a class that was the container's own."""

    PHASE = FINISH
    directory: str
    own: bool = False
    monitor: str = ""

    def apply(self, kernel: Any, run: Any) -> Any:
        """rmdir(2); gone already is as good."""
        for one in (self.monitor, self.directory if self.own else ""):
            if one:
                kernel.remove_dir(one)

    def __str__(self) -> str:
        return f"remove what {self.target} has in resctrl"


def join(spec: Spec) -> list[Step]:
    """For a new init."""
    one, name = spec.linux.intel_rdt, spec.name
    return [] if one is None else [JoinClass(
        target=name, path="linux.intelRdt", directory=directory(name, one), own=one.clos_id is None,
        lines=lines(one), monitor=monitor(name, one))]


def leave(spec: Spec) -> list[Step]:
    """After the end of an init."""
    one, name = spec.linux.intel_rdt, spec.name
    return [] if one is None else [LeaveClass(
        target=name, path="linux.intelRdt", directory=directory(name, one), own=one.clos_id is None,
        monitor=monitor(name, one))]


def expect_class(spec: Spec, view: dict[str, Any]) -> None:
    """The class, what it says, whether it is watched."""
    one = spec.linux.intel_rdt
    if one is not None:
        view["linux.intelRdt"] = (directory(spec.name, one), *shown(lines(one), "\n".join(lines(one))),
                                  monitor(spec.name, one))


def see_class(spec: Spec, facts: Facts, view: dict[str, Any]) -> None:
    """The same as the kernel shows it, ABSENT where init is elsewhere; facts.resctrl is (tasks, schemata, watched)."""
    one = spec.linux.intel_rdt
    if one is None:
        return
    tasks, schemata, watched = facts.resctrl
    view["linux.intelRdt"] = ABSENT if str(facts.pid) not in tasks.split() else (
        directory(spec.name, one), *shown(lines(one), schemata),
        monitor(spec.name, one) if str(facts.pid) in watched.split() else "")
