"""Resources as control files, whichever version serves each controller on this machine."""

from __future__ import annotations

from runspec.plan.cgroup import v1, v2
from runspec.plan.cgroup.knob import Knob, Write
from runspec.plan.facts import Facts
from runspec.plan.values import ABSENT, UNKNOWN
from runspec.spec.model import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.plan.host import Host

__all__ = ["Write", "expected", "files", "judges_devices", "refusals", "seen", "writes"]

DEVICES = "linux.resources.devices"


_CHOSEN: dict[tuple[object, ...], list[Knob]] = {}


def knobs(resources: Resources, host: Host) -> list[Knob]:
    """What can be set for a container here: each controller's knobs of the version that serves it."""
    here = (host.hierarchies, host.controllers2)
    chosen = _CHOSEN.get(here)
    if chosen is None:
        chosen = _CHOSEN[here] = [
            *(one for one in v1.KNOBS if host.version_of(one.controller) == 1),
            *(one for one in v2.KNOBS if host.version_of(one.file.split(".")[0]) == 2)]
    return [*chosen, *v2.unified(resources)] if host.unified and resources.unified else chosen


def judges_devices(host: Host) -> bool:
    """Whether device rules are a program on the cgroup2 directory."""
    return not host.version_of("devices") and host.unified is not None


def files(resources: Resources, host: Host) -> list[tuple[str, str]]:
    """(controller, file) that must be read to compare."""
    out = list(dict.fromkeys((one.controller, one.file) for one in knobs(resources, host)))
    return [*out, ("devices", "devices.list")] if host.version_of("devices") == 1 else out


def expected(resources: Resources, host: Host) -> dict[str, Any]:
    """Spec path -> what the files say when they are as asked."""
    view = {one.path: one.want(resources, host) for one in knobs(resources, host)}
    view = {path: value for path, value in view.items() if value is not None}
    if host.version_of("devices") == 1:
        view[DEVICES] = v1.device_lines(resources.devices)
    elif judges_devices(host):
        view[DEVICES] = program_tags(resources)[0]
    return view


def seen(resources: Resources, last: Resources | None, host: Host, facts: Facts) -> dict[str, Any]:
    """Spec path -> what the files say now; a file this kernel lacks is unknown."""
    view: dict[str, Any] = {}
    both = [resources] if last is None or last == resources else [last, resources]
    for one in {one.path: one for each in both for one in knobs(each, host)}.values():
        text = facts.files.get((one.controller, one.file))
        view[one.path] = UNKNOWN if text is None or one.want(resources, host) is None else one.parse(text)
    if host.version_of("devices") == 1:
        text = facts.files.get(("devices", "devices.list"))
        view[DEVICES] = UNKNOWN if text is None else v1.seen_devices(text)
    elif judges_devices(host):
        tags = program_tags(resources)
        view[DEVICES] = tags[0] if facts.device_tag in tags else facts.device_tag or ABSENT
    return view


def writes(resources: Resources, last: Resources | None, host: Host,
           now: dict[tuple[str, str], str]) -> list[Write]:
    """The writes that make the groups as asked, in an order in which each is legal.

    Args:
        now: what the files say; empty for a new group.
    """
    out: dict[tuple[str, str], Write] = {}
    for one in knobs(resources, host):
        want, text = one.want(resources, host), now.get((one.controller, one.file))
        has = one.fresh if not now else UNKNOWN if text is None else one.parse(text)
        if want is None or has is UNKNOWN or want == has:
            continue
        out.setdefault((one.controller, one.file), Write(
            controller=one.controller, file=one.file, value=one.text(resources, host), path=one.path))
    found = v1.ordered(list(out.values()), now)
    if host.version_of("devices") == 1:
        found += v1.device_writes(resources.devices, now.get(("devices", "devices.list")))
    elif judges_devices(host):
        found.append(Write(controller="", path=DEVICES, program=program(resources).hex()))
    return found


def program(resources: Resources) -> bytes:
    """The device program of cgroup2."""
    from runspec.plan import device_bpf

    return device_bpf.program(resources.devices)


def program_tags(resources: Resources) -> tuple[str, str]:
    """The tags by which kernels may know that program."""
    from runspec.plan import device_bpf

    return device_bpf.tags(program(resources))


def refusals(resources: Resources, host: Host) -> list[tuple[str, str, str, str]]:
    """(path, what, why, fix) for what is asked and cannot be had on this machine."""
    out = []
    if resources.unified and not any(host.version_of(file.split(".")[0]) == 2 for file, _ in resources.unified):
        out.append(("linux.resources.unified", "this machine's controllers are not on cgroup v2",
                    "`unified` names files of cgroup v2, cgroups(7)", "use the named limits, which work on both"))
    chosen = {one.path for one in knobs(resources, host)}
    for name, why in v2.NOT_HERE.items():
        field = {"memory.swappiness": resources.memory.swappiness,
                 "memory.disableOOMKiller": resources.memory.disable_oom_killer}[name]
        path = f"linux.resources.{name}"
        if field and path not in chosen:
            out.append((path, "not available here", why, "remove it"))
    for controller, words in (("cpu", resources.cpu), ("memory", resources.memory), ("pids", resources.pids)):
        asked = any(getattr(words, field) is not None for field in type(words).FIELDS)   # type: ignore[attr-defined]
        if asked and not host.version_of(controller):
            out.append((f"linux.resources.{controller}", f"this machine has no {controller} controller",
                        "cgroups(7)", "mount it, or enable it in the kernel"))
    return out
