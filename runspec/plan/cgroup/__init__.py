"""Resources as control files, whichever version serves each controller on this machine."""

from __future__ import annotations

from runspec.plan.cgroup import v1, v2
from runspec.plan.cgroup.knob import Knob, Write
from runspec.plan.facts import Facts
from runspec.plan.values import ABSENT, UNKNOWN
from runspec.spec.frozen import items
from runspec.spec.model import DeviceRule, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.plan.host import Host

__all__ = ["Write", "expected", "files", "judges_devices", "refusals", "seen", "writes"]

DEVICES = "linux.resources.devices"
UNIFIED = "linux.resources.unified."
WEIGHTS = ("linux.resources.cpu.weight", "linux.resources.cpu.shares", f"{UNIFIED}cpu.weight",
           f"{UNIFIED}cpu.weight.nice")


_CHOSEN: dict[tuple[object, ...], list[Knob]] = {}


def knobs(resources: Resources, host: Host) -> list[Knob]:
    """What can be set for a container here: each controller's knobs of the version that serves it."""
    here = (host.hierarchies, host.controllers2)
    chosen = _CHOSEN.get(here)
    if chosen is None:
        chosen = _CHOSEN[here] = [
            *(one for one in v1.KNOBS if host.version_of(one.controller) == 1),
            *(one for one in v2.KNOBS if host.version_of(one.file.split(".")[0]) == 2)]
    if not host.unified or not resources.unified:
        return chosen
    # A file named by its own name is not also set by the key that nobody used.
    named = {file for file, _ in resources.unified}
    return [*(one for one in chosen if one.controller or one.file not in named), *v2.unified(resources)]


def judges_devices(host: Host) -> bool:
    """Whether device rules are a program on the cgroup2 directory."""
    return not host.version_of("devices") and host.unified is not None and any(
        name in host.controllers2 for name in ("cpuset", "cpu", "memory", "pids"))


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
        # What was asked and is no more shows what it left; what never was is nobody's business. But one
        # file may have two words: what the other word now asks for is not also a remainder of this one.
        asked = wanted(one, resources, host) is not None or (
            one.reset is not None and last is not None and wanted(one, last, host) is not None)
        view[one.path] = UNKNOWN if text is None or not asked else shows(one, text, facts.files)
    if host.version_of("devices") == 1:
        text = facts.files.get(("devices", "devices.list"))
        view[DEVICES] = UNKNOWN if text is None else v1.seen_devices(text, last.devices if last else None)
    elif judges_devices(host):
        tags = program_tags(resources)
        free = not resources.devices and not facts.device_tag
        view[DEVICES] = tags[0] if free or facts.device_tag in tags else facts.device_tag or ABSENT
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
        has = one.fresh if not now else UNKNOWN if text is None else shows(one, text, now)
        if want is None or has is UNKNOWN or want == has:
            continue
        out.setdefault((one.controller, one.file), Write(
            controller=one.controller, file=one.file, value=one.text(resources, host), path=one.path))
    if last is not None:
        # A file that a named key sets again needs no reset; cpu.weight would even be refused beside idle.
        kept = {each.file for each in knobs(resources, host) if not each.reset}
        for one in knobs(last, host):
            gone = one.reset is not None and one.file not in kept and wanted(one, last, host) is not None
            if gone and wanted(one, resources, host) is None and (one.controller, one.file) in now:
                out.setdefault((one.controller, one.file), Write(
                    controller=one.controller, file=one.file, value=one.reset or "", path=one.path))
    found = v1.ordered(list(out.values()), now)
    if host.version_of("devices") == 1:
        found += v1.device_writes(resources.devices, last.devices if last else None,
                                  now.get(("devices", "devices.list")))
    elif judges_devices(host) and (resources.devices or (last is not None and last.devices)):
        found.append(Write(controller="", path=DEVICES, program=program(resources).hex()))
    return found


def shows(one: Knob, text: str, now: dict[tuple[str, str], str]) -> Any:
    """What a file's text means for a knob.

    An idle group shows some least weight, and has the default again when it ceases to be idle: whatever
    number it shows, it has no weight that could be as asked.
    """
    if one.path in WEIGHTS and now.get((one.controller, "cpu.idle"), "0").strip() == "1":
        return "idle"
    return one.parse(text)


def wanted(one: Knob, resources: Resources, host: Host) -> Any:
    """What these resources want of a knob, which may be one of a former spec; None for nothing."""
    if one.path.startswith(UNIFIED) and one.path.removeprefix(UNIFIED) not in dict(resources.unified):
        return None
    return one.want(resources, host)


def program(resources: Resources) -> bytes:
    """The device program of cgroup2; without any rule, as on v1, every device is allowed."""
    from runspec.plan import device_bpf

    return device_bpf.program(resources.devices or (DeviceRule(allow=True),))


def program_tags(resources: Resources) -> tuple[str, str]:
    """The tags by which kernels may know that program."""
    from runspec.plan import device_bpf

    return device_bpf.tags(program(resources))


def refusals(resources: Resources, host: Host) -> list[tuple[str, str, str, str]]:
    """(path, what, why, fix) for what is asked and cannot be had on this machine."""
    out = []
    for file, _ in resources.unified:
        controller = file.split(".")[0]
        if host.version_of(controller) != 2 and not (controller == "cgroup" and judges_devices(host)):
            out.append((f"{UNIFIED}{file}", f"{controller} is not on cgroup v2 here",
                        "`unified` names files of cgroup v2, cgroups(7)",
                        "use the named limits, which work on both"))
    chosen = {one.path for one in knobs(resources, host)}
    memory = resources.memory
    for name, asked in (("memory.swappiness", memory.swappiness is not None),
                        ("memory.disableOOMKiller", bool(memory.disable_oom_killer))):
        path = f"linux.resources.{name}"
        if asked and path not in chosen and host.version_of("memory"):
            out.append((path, "not available here", v2.NOT_HERE[name], "remove it"))
    if memory.use_hierarchy is False:
        out.append(("linux.resources.memory.useHierarchy", "not available here",
                    "groups count what is below them on every kernel since 5.11, cgroup-v1/memory.rst",
                    "remove it"))
    if (resources.cpu.cpus or resources.cpu.mems) and not host.version_of("cpuset"):
        out.append((f"linux.resources.cpu.{'cpus' if resources.cpu.cpus else 'mems'}",
                    "this machine has no cpuset controller", "cpuset(7)",
                    "mount it, or enable it in the kernel"))
    if host.version_of("devices") == 1:
        for index in v1.device_state(resources.devices)[2]:
            out.append((f"{DEVICES}[{index}]", "cannot take this back from a wider rule before it",
                        "cgroup v1 knows no exceptions from exceptions, devices.rst",
                        "deny only the access that no wider rule allows, or write narrower rules before it"))
    elif resources.devices and not judges_devices(host):
        out.append((DEVICES, "this machine cannot judge devices", "it has neither controller, cgroups(7)",
                    "mount the devices controller, or cgroup2"))
    for controller, words in (("cpu", resources.cpu), ("memory", resources.memory), ("pids", resources.pids)):
        asked = any(value is not None for _, value in items(words))
        if asked and not host.version_of(controller):
            out.append((f"linux.resources.{controller}", f"this machine has no {controller} controller",
                        "cgroups(7)", "mount it, or enable it in the kernel"))
    return out
