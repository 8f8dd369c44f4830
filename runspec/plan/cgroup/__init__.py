"""Resources as control files, whichever version serves each controller on this machine."""

from __future__ import annotations

from runspec.plan.cgroup import lists, v1, v2
from runspec.plan.cgroup.knob import UNLIMITED, Knob, Write
from runspec.plan.facts import Facts
from runspec.plan.values import ABSENT, UNKNOWN
from runspec.spec.alike import kept
from runspec.spec.frozen import items
from runspec.spec.model import DeviceRule, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.plan.host import Host

__all__ = ["Write", "expected", "files", "first_writes", "judges_devices", "refusals", "seen", "too_small", "writes"]

DEVICES = "linux.resources.devices"
UNIFIED = "linux.resources.unified."
WEIGHTS = ("linux.resources.cpu.weight", "linux.resources.cpu.shares", f"{UNIFIED}cpu.weight",
           f"{UNIFIED}cpu.weight.nice")


# What has files of many lines, see lists.py.
_LISTED = "block_io", "hugepage_limits", "network", "rdma"
_NOTHING = Resources()

_CHOSEN: dict[tuple[object, ...], list[Knob]] = {}


@kept
def knobs(resources: Resources, host: Host) -> list[Knob]:
    """What can be set for a container here: each controller's knobs of the version that serves it."""
    here = (host.hierarchies, host.controllers2)
    chosen = _CHOSEN.get(here)
    if chosen is None:
        chosen = _CHOSEN[here] = [
            *(one for one in v1.KNOBS if host.version_of(one.controller) == 1),
            *(one for one in (v2.KNOBS if host.main2 else ()) if host.version_of(one.file.split(".")[0]) == 2)]
    more = lists.knobs(resources, host) if any(
        getattr(resources, field) != getattr(_NOTHING, field) for field in _LISTED) else []
    if host.version_of("cpuset") == 2:
        chosen = [*v2.cpusets(resources, host), *chosen]
    if more:
        chosen = [*chosen, *more]
    if not host.unified or not resources.unified:
        return chosen
    # A file named by its own name is not also set by the key that nobody used.
    named = {file for file, _ in resources.unified}
    if "cpu.weight.nice" in named:
        named.add("cpu.weight")
    return [*(one for one in chosen if one.controller or one.file not in named), *v2.unified(resources, host)]


def judges_devices(host: Host) -> bool:
    """Whether device rules are a program on the cgroup2 directory."""
    return not host.version_of("devices") and host.unified is not None and host.main2


@kept
def files(resources: Resources, host: Host) -> list[tuple[str, str]]:
    """(controller, file) that must be read to compare."""
    out = list(dict.fromkeys((one.controller, one.file) for one in knobs(resources, host)
                             if one.want(resources, host) is not None))
    if resources.memory.check_before_update:
        out.append(in_use(host))
    return [*out, ("devices", "devices.list")] if host.version_of("devices") == 1 else out


@kept
def expected(resources: Resources, host: Host) -> dict[str, Any]:
    """Spec path -> what the files say when they are as asked."""
    view: dict[str, Any] = {}
    for one in knobs(resources, host):
        want = one.want(resources, host)
        if want is not None:
            join(view, one.path, want)
    for path in RECORDED:
        said = recorded(resources, path)
        if said is not None:
            view[path] = said
    if host.version_of("devices") == 1:
        view[DEVICES] = v1.device_lines(resources.devices)
    elif judges_devices(host):
        view[DEVICES] = program_tags(resources)[0]
    return view


_SEEN: dict[tuple[Any, ...], tuple[Any, dict[str, Any]]] = {}


def seen(resources: Resources, last: Resources | None, host: Host, facts: Facts) -> dict[str, Any]:
    """Spec path -> what the files say now; a file this kernel lacks is unknown.

    Where they say of several containers the same it is found once; nobody changes what this answers.
    """
    key = id(resources), id(last), id(host), facts.device_tag, *facts.files.items()
    found = _SEEN.get(key)
    if found is None:
        found = _SEEN[key] = (resources, last, host), _seen(resources, last, host, facts)
    return found[1]


def _seen(resources: Resources, last: Resources | None, host: Host, facts: Facts) -> dict[str, Any]:
    view: dict[str, Any] = {}
    both = [resources] if last is None or last == resources else [last, resources]
    chosen = {(one.path, one.file): one for each in both for one in knobs(each, host)}
    for one in chosen.values():
        text = facts.files.get((one.controller, one.file))
        # What was asked and is no more shows what it left; what never was is nobody's business. But one
        # file may have two words: what the other word now asks for is not also a remainder of this one.
        asked = wanted(one, resources, host) is not None or (
            one.reset is not None and last is not None and wanted(one, last, host) is not None)
        if text is None or not asked:
            view.setdefault(one.path, UNKNOWN)
        else:
            join(view, one.path, shows(one, text, facts.files))
    for path in RECORDED:
        said = recorded(last or resources, path)
        if said is not None or recorded(resources, path) is not None:
            view[path] = ABSENT if said is None else said
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
    out: dict[tuple[str, str, str], Write] = {}
    for one in knobs(resources, host):
        want, text = one.want(resources, host), now.get((one.controller, one.file))
        has = one.fresh if not now else UNKNOWN if text is None else shows(one, text, now)
        if want is None or has is UNKNOWN or want == has:
            continue
        put(out, one, one.text(resources, host), want, text)
    if last is not None:
        # A file that a named key sets again needs no reset; cpu.weight would even be refused beside idle.
        kept = {each.file for each in knobs(resources, host) if not each.reset}
        for one in knobs(last, host):
            gone = one.reset is not None and one.file not in kept and wanted(one, last, host) is not None
            text = now.get((one.controller, one.file))
            if gone and wanted(one, resources, host) is None and text is not None:
                put(out, one, one.reset or "", None, text)
    found = v1.ordered(list(out.values()), now)
    if host.main2:
        found = v2.partitioned(found, resources, host)
    found = v1.budgeted(found, resources)
    if host.version_of("devices") == 1:
        found += v1.device_writes(resources.devices, last.devices if last else None,
                                  now.get(("devices", "devices.list")))
    elif judges_devices(host) and (resources.devices or (last is not None and last.devices)):
        found.append(Write(controller="", path=DEVICES, program=program(resources).hex()))
    return found


@kept
def first_writes(resources: Resources, host: Host) -> list[Write]:
    """Those of new groups."""
    return writes(resources, None, host, {})


def put(out: dict[tuple[str, str, str], Write], one: Knob, value: str, want: Any, text: str | None) -> None:
    """Note what a knob writes: its value, or those lines that differ; what goes into one line is one write."""
    if one.edits is None:
        out.setdefault((one.controller, one.file, ""), Write(
            controller=one.controller, file=one.file, value=value, path=one.path))
        return
    for name, words, back in one.edits(want, text or ""):
        had = out.get((one.controller, one.file, name))
        if had is not None:
            out[one.controller, one.file, name] = had.replace(value=f"{had.value} {words}",
                                                              before=f"{had.before} {back}")
        else:
            out[one.controller, one.file, name] = Write(
                controller=one.controller, file=one.file, value=f"{name} {words}", before=f"{name} {back}",
                path=one.path)


def join(view: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at a path; what several files say of one path is listed, equal words once."""
    had = view.get(path, UNKNOWN)
    if had is UNKNOWN:
        view[path] = value
    elif had != value:
        many = [one if isinstance(one, tuple) else (one,) for one in (had, value)]
        view[path] = tuple(dict.fromkeys((*many[0], *many[1])))


# What no file holds: the Record's word stands.
RECORDED = ("linux.resources.memory.checkBeforeUpdate", "linux.resources.memory.useHierarchy",
            "linux.resources.memory.kernel")


def recorded(resources: Resources, path: str) -> Any:
    """What these resources say at one of those paths."""
    memory = resources.memory
    return {"checkBeforeUpdate": memory.check_before_update, "useHierarchy": memory.use_hierarchy,
            "kernel": memory.kernel}[path.rpartition(".")[2]]


def in_use(host: Host) -> tuple[str, str]:
    """(controller, file) that tells how much memory a group has now."""
    return ("memory", "memory.usage_in_bytes") if host.version_of("memory") == 1 else ("", "memory.current")


def too_small(resources: Resources, host: Host, now: dict[tuple[str, str], str]) -> tuple[int, int] | None:
    """(limit, use) where a new limit of memory is below what is in use and the file wants that checked."""
    memory, used = resources.memory, int(now.get(in_use(host), "0"))
    if not memory.check_before_update or memory.limit is None or not 0 <= memory.limit < used:
        return None
    return memory.limit, used


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
    from runspec.plan import bpf

    return bpf.tags(program(resources))


def other_version(resources: Resources, host: Host) -> list[tuple[str, str, str, str]]:
    """What only the version of cgroups has that does not serve the controller here."""
    cpu, memory, network = resources.cpu, resources.memory, resources.network
    asked = {
        1: (("memory", "memory.high", memory.high is not None), ("memory", "memory.low", memory.low is not None),
            ("memory", "memory.min", memory.min is not None), ("memory", "memory.oomGroup", bool(memory.oom_group)),
            ("cpuset", "cpu.partition", cpu.partition not in (None, "member"))),
        2: (("memory", "memory.swappiness", memory.swappiness is not None),
            ("memory", "memory.disableOOMKiller", bool(memory.disable_oom_killer)),
            ("memory", "memory.kernelTCP", memory.kernel_tcp not in (None, UNLIMITED)),
            ("cpu", "cpu.realtimeRuntime", cpu.realtime_runtime is not None))}
    out = [(f"linux.resources.{path}", "not available here", NOT_HERE[path], "remove it")
           for version, rows in asked.items() for controller, path, wish in rows
           if wish and host.version_of(controller) == version]
    if memory.kernel not in (None, UNLIMITED):
        out.append(("linux.resources.memory.kernel", "not available here", NOT_HERE["memory.kernel"],
                    "remove it, or write -1"))
    for controller, path, wish in (("net_cls", "network.classID", network.class_id is not None),
                                   ("net_prio", "network.priorities", bool(network.priorities))):
        if wish and host.version_of(controller) != 1:
            out.append((f"linux.resources.{path}", f"this machine has no {controller} controller", NOT_HERE["network"],
                        f"remove it, or mount -t cgroup -o {controller} if the kernel has it"))
    return out


NOT_HERE = {
    "memory.swappiness": "cgroup v2 has no swappiness per group",
    "memory.disableOOMKiller": "cgroup v2 cannot disable the OOM killer of a group",
    "memory.kernelTCP": "on cgroup v2 buffers of sockets are part of `limit`, cgroup-v2.rst",
    "memory.kernel": "no kernel since 5.16 keeps it: kernel memory is part of `limit`, memory.rst",
    "memory.high": "cgroup v1 has no high mark: it can only stop at `limit`",
    "memory.low": "cgroup v1 protects no memory; `reservation` is what it has",
    "memory.min": "cgroup v1 protects no memory; `reservation` is what it has",
    "memory.oomGroup": "on cgroup v1 the OOM killer always picks one process",
    "cpu.partition": "cgroup v1 cannot take cores from other groups; `cpus` keeps the container to its own",
    "cpu.realtimeRuntime": "cgroup v2 has no real-time budgets: on its kernels SCHED_FIFO needs none",
    "network": "it marks packets by groups of cgroup v1 alone; cgroup v2 leaves that to nft(8), socket cgroupv2",
}


@kept
def refusals(resources: Resources, host: Host) -> list[tuple[str, str, str, str]]:
    """(path, what, why, fix) for what is asked and cannot be had on this machine."""
    out = []
    for file, _ in resources.unified:
        controller = file.split(".")[0]
        if host.version_of(controller) != 2 and not (controller == "cgroup" and judges_devices(host)):
            out.append((f"{UNIFIED}{file}", f"{controller} is not on cgroup v2 here",
                        "`unified` names files of cgroup v2, cgroups(7)",
                        "use the named limits, which work on both"))
    memory = resources.memory
    out += other_version(resources, host)
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
    for controller, path, asked in (
            ("cpu", "cpu", any(value is not None for name, value in items(resources.cpu)
                               if name not in ("cpus", "mems", "partition"))),
            ("memory", "memory", any(value is not None for _, value in items(memory))),
            ("pids", "pids", resources.pids.limit is not None),
            ("hugetlb", "hugepageLimits", bool(resources.hugepage_limits)), ("rdma", "rdma", bool(resources.rdma))):
        if asked and not host.version_of(controller):
            beside = controller in host.controllers2
            out.append((f"linux.resources.{path}", f"this machine has no {controller} controller" if not beside
                        else f"{controller} is on a cgroup v2 in which containers have no group here",
                        "cgroups(7)" if not beside else "the main controllers are on v1, cgroups(7)",
                        "mount it, or enable it in the kernel" if not beside
                        else f"mount -t cgroup -o {controller} while nobody uses it on v2, or remove the key"))
    return out
