"""A container as path -> value in kernel units, twice: as its spec asks, and as the kernel shows it.

Each aspect has its two halves side by side, `expect_` and `see_`, which must speak alike: what runspec
would write is compared with what it reads, so that no rounding becomes a phantom change.
A path that only `expect_` names cannot be told by the kernel; there the Record's word stands in.
"""

from __future__ import annotations

from runspec.plan import cgroup, view_nft, view_traffic
from runspec.plan.facts import Facts
from runspec.plan.host import Host
from runspec.plan.steps import hooks, intel_rdt
from runspec.plan.steps.namespaces import is_new
from runspec.plan.steps.process import mask
from runspec.plan.steps.rootfs import base_dir, layer_dir
from runspec.plan.values import ABSENT, UNKNOWN, WHOLE
from runspec.plan.view_attributes import RECORDED as ATTRIBUTES, expect_attributes, see_attributes
from runspec.plan.view_links import interface_view, links_seen, see_devices
from runspec.plan.view_seccomp import expect_seccomp, see_seccomp
from runspec.plan.views_mounts import expect_mounts, gone_mounts, see_mounts
from runspec.spec import units
from runspec.spec.alike import kept
from runspec.spec.frozen import fields_of, items, key as spelled
from runspec.spec.model import NO_HOOKS, Device, Hooks, Overlay, Process, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    View = dict[str, Any]

SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def expected(spec: Spec, host: Host, facts: Facts) -> View:
    """What the kernel shows when the machine matches the spec.

    Args:
        facts: supplies what only the machine can say about the wish itself: where bind sources lie,
            which masked paths exist.
    """
    view: View = {}
    expect_identity(spec, view)
    expect_namespaces(spec, facts, view)
    expect_root(spec, view)
    expect_mounts(spec, facts, view)
    expect_process(spec, view)
    expect_attributes(spec, view)
    if spec.linux.intel_rdt is not None:
        intel_rdt.expect_class(spec, view)
    expect_seccomp(spec, view)
    view.update(cgroup.expected(spec.linux.resources, host))
    interface_view(spec, facts, view)
    view["ports"] = WHOLE
    if spec.ports:
        view_nft.expect_ports(spec, view)
    if limited(spec):
        view_traffic.expect_traffic(spec, facts, view)
    if facts.frozen:
        view["state"] = "running"
    return view


def seen(spec: Spec, last: Spec | None, host: Host, facts: Facts, before: View) -> View:
    """What the kernel shows now, for the paths that `spec` and `last` name.

    Args:
        before: what was expected of `last`; it stands in for what the kernel cannot tell.
    """
    told: View = {path: before.get(path, ABSENT) for path in RECORDED}
    told["linux.cgroupsPath"] = place(where(last or spec), facts)
    if facts.frozen:
        told["state"] = "frozen"
    see_names(spec, last, facts, told)
    see_namespaces(spec, last, facts, told)
    see_root(spec, last, facts, told, before)
    see_mounts(spec, last, facts, told)
    see_process(spec, last, facts, told)
    see_attributes(spec, last, facts, told)
    if spec.linux.intel_rdt is not None:
        intel_rdt.see_class(spec, facts, told)
    see_seccomp(spec, facts, told, before)
    told.update(cgroup.seen(spec.linux.resources, last.linux.resources if last else None, host, facts))
    links_seen(spec, last, facts, told)
    if limited(spec) or (last is not None and limited(last)):
        view_traffic.see_traffic(spec, last, facts, told)
    see_devices(spec, last, facts, told)
    if facts.wall is not None:
        view_nft.see_ports(spec, last, facts.wall, told)
    if spec.hooks != NO_HOOKS and hooks.adds(spec):
        for path in ("mounts", "interfaces"):
            if told.get(path):
                told[path] = ()
    return told


def limited(spec: Spec) -> bool:
    """Whether the traffic of any interface is held or marked."""
    return any(one.qos is not None or one.line.shared for one in spec.interfaces)


def gone(spec: Spec, last: Spec) -> View:
    """Elements of lists that only the spec applied last has, by name: they have no index in the file."""
    view = gone_mounts(spec, last) if is_new(spec, "mount") else {}
    paths = {one.path for one in spec.linux.devices}
    view.update((f"linux.devices[{one.path}]", device_view(spec, one)) for one in last.linux.devices
                if one.path not in paths)
    limits = {one.type for one in spec.process.rlimits}
    view.update((f"process.rlimits[{one.type}]", (one.soft, one.hard)) for one in last.process.rlimits
                if one.type not in limits)
    links = {one.name for one in spec.interfaces}
    view.update((f"interfaces[{one.name}]", one.name) for one in last.interfaces if one.name not in links)
    kinds = {one.type for one in spec.linux.namespaces}
    if last.ports:
        view.update(view_nft.gone_ports(spec, last))
    view.update((f"linux.namespaces[{one.type}]", one.type) for one in last.linux.namespaces if one.type not in kinds)
    return view


# Paths the kernel cannot tell, or init may rightly change itself: the Record answers for them.
RECORDED = frozenset((
    "linux.cdiDevices",
    "annotations", "labels", "project", "process.args", "process.env", "process.cwd", "process.user.uid",
    "process.user.gid", "process.user.umask", "process.user.additionalGids",
    "root.overlay.volatile", "linux.netDevices", "linux.intelRdt",
    *(f"hooks.{spelled(field)}" for field in fields_of(Hooks)))) | ATTRIBUTES


def expect_identity(spec: Spec, view: View) -> None:
    """Names, and what only the Record remembers."""
    if spec.hostname is not None:
        view["hostname"] = spec.hostname
    if spec.domainname is not None:
        view["domainname"] = spec.domainname
    view["labels"], view["annotations"], view["project"] = spec.labels, spec.annotations, spec.project
    view["linux.cgroupsPath"] = where(spec)
    for field, those in items(spec.hooks):
        view[f"hooks.{spelled(field)}"] = tuple((one.path, one.args, one.env, one.timeout) for one in those)
    process, user = spec.process, spec.process.user
    view["process.args"], view["process.env"], view["process.cwd"] = process.args, process.env, process.cwd
    view["process.user.uid"], view["process.user.gid"] = user.uid, user.gid
    view["process.user.umask"], view["process.user.additionalGids"] = user.umask, user.additional_gids
    view["linux.cdiDevices"] = spec.linux.cdi_devices
    for key, value in spec.linux.sysctl:
        view[f"linux.sysctl.{key}"] = parameter(key, value)


def parameter(key: str, value: str) -> str:
    """A kernel parameter's text as it reads: the kernel separates numbers by tabs, people mostly by blanks."""
    text = " ".join(value.split())
    if key.endswith(".ip_local_reserved_ports"):
        try:
            return units.ranges(units.numbers(text))
        except ValueError:
            return text
    return text


def where(spec: Spec) -> str:
    """The path of the container's groups."""
    return spec.linux.cgroups_path or f"/runspec/{spec.name}"


def place(path: str, facts: Facts) -> str:
    """The path of init's groups; those below it count as well, since an init may divide its own.

    See: cgroups(7), /proc/PID/cgroup, whose paths begin at our cgroup namespace's root.
    """
    for controller in facts.groups:
        here = facts.membership.get(controller)
        if here is not None and f"{path}/" not in f"{here}/":
            return here
    return path


def see_names(spec: Spec, last: Spec | None, facts: Facts, view: View) -> None:
    """uts_namespaces(7), and sysctls as they read inside."""
    asked = [spec] if last is None else [spec, last]
    if any(one.hostname is not None for one in asked):
        view["hostname"] = facts.hostname
    if any(one.domainname is not None for one in asked):
        view["domainname"] = facts.domainname
    for key in dict.fromkeys(key for one in asked for key, _ in one.linux.sysctl):
        view[f"linux.sysctl.{key}"] = parameter(key, facts.sysctl.get(key, "")) or ABSENT


def expect_namespaces(spec: Spec, facts: Facts, view: View) -> None:
    """`new`, or the identity of the one to be joined."""
    for i, one in enumerate(spec.linux.namespaces):
        source = f"container:{one.container}" if one.container else one.path
        path = f"linux.namespaces[{i}]"
        view[path] = f"{one.type} new" if source is None else facts.elsewhere.get((one.type, source), source)
    for name, maps in (("uidMappings", spec.linux.uid_mappings), ("gidMappings", spec.linux.gid_mappings)):
        if maps:
            # Longer maps than five lines the kernel keeps sorted.
            view[f"linux.{name}"] = tuple(sorted((m.container_id, m.host_id, m.size) for m in maps))
    if spec.linux.time_offsets:
        view["linux.timeOffsets"] = tuple((o.clock, o.secs, o.nanosecs) for o in spec.linux.time_offsets)


def see_namespaces(spec: Spec, last: Spec | None, facts: Facts, view: View) -> None:
    """namespaces(7): two processes share one when the inodes of their links are equal."""
    joined = {one.type for one in (last or spec).linux.namespaces if one.path or one.container}
    for i, one in enumerate(spec.linux.namespaces):
        mine, ours = facts.namespaces.get(one.type, ""), facts.own.get(one.type, "")
        # One that was joined is not its own, whatever the file asks by now.
        fresh = one.path is None and one.container is None and one.type not in joined
        view[f"linux.namespaces[{i}]"] = f"{one.type} {'host' if mine == ours else 'new'}" if fresh else mine
    kinds = {one.type for one in spec.linux.namespaces}
    for kind in facts.namespaces:
        if kind not in kinds and facts.namespaces[kind] != facts.own.get(kind, ""):
            view[f"linux.namespaces[{kind}]"] = kind
    if spec.linux.uid_mappings:
        view["linux.uidMappings"] = tuple(sorted(facts.uid_map))
        view["linux.gidMappings"] = tuple(sorted(facts.gid_map))
    if spec.linux.time_offsets:
        view["linux.timeOffsets"] = tuple(
            (o.clock, *facts.timens_offsets.get(o.clock, (0, 0))) for o in spec.linux.time_offsets)


def expect_root(spec: Spec, view: View) -> None:
    """The root mount: what it is made from, and whether it may be written."""
    root = spec.root
    view["root.readonly"] = root.readonly
    if root.image:
        # One name for two contents in turn is two images.
        view["root.image"] = f"{root.image}@{root.digest}" if root.digest else root.image
    else:
        view["root.path"] = root.path
    overlay = layer(spec)
    if overlay is not None:
        view["root.overlay.volatile"] = overlay.volatile
        view["root.overlay.upper"] = overlay.upper or f"{base_dir(spec.name)}/rootfs"


def layer(spec: Spec) -> Overlay | None:
    """The layer above the root; an image never goes without, since its mount points are made in it."""
    if spec.root.image == "host":
        return None
    return spec.root.overlay or (Overlay(volatile=True) if spec.root.image else None)


def see_root(spec: Spec, last: Spec | None, facts: Facts, view: View, before: View) -> None:
    """mountinfo's line of "/"; its super block names an overlay's layers, of which a mapped one has no name."""
    top = next((one for one in facts.mounts if one.mount_point == "/"), None)
    if top is None:
        return
    view["root.readonly"] = "ro" in top.options
    options = dict(word.partition("=")[::2] for word in top.super_options)
    for path in ("root.image", "root.path"):
        view[path] = before.get(path, ABSENT)
    applied = (last or spec).root
    lower = options.get("lowerdir", "")
    if applied.image and applied.digest and lower not in (layer_dir(applied.image, applied.digest),
                                                          f"{base_dir(spec.name)}/image"):
        view["root.image"] = lower or ABSENT
    source = facts.sources.get(applied.path or "", ("", "", ""))
    if applied.path and applied.overlay is None and source[1] and (top.device, top.root) != source[1:]:
        view["root.path"] = f"{top.root} of {top.device}"
    if layer(spec) is not None:
        view["root.overlay.upper"] = options.get("upperdir", ABSENT)


def expect_process(spec: Spec, view: View) -> None:
    """What proc(5) shows of init."""
    process = spec.process
    view["process.noNewPrivileges"] = process.no_new_privileges
    view.update((f"process.capabilities.{name}", held) for name, held in capabilities(process).items())
    for i, limit in enumerate(process.rlimits):
        view[f"process.rlimits[{i}].soft"], view[f"process.rlimits[{i}].hard"] = limit.soft, limit.hard
    if process.oom_score_adj is not None:
        view["process.oomScoreAdj"] = process.oom_score_adj
    for i, device in enumerate(spec.linux.devices):
        view[f"linux.devices[{i}]"] = device_view(spec, device)


@kept
def capabilities(process: Process) -> dict[str, int]:
    """The five sets as execve(2) leaves them to a program without rights of its own.

    See: capabilities(7), "Transformation of capabilities during execve()".
    """
    held = {name: mask(getattr(process.capabilities, name)) for name in SETS}
    permitted = 0
    if process.user.uid == 0:
        permitted = held["inheritable"] | held["bounding"]
        if process.no_new_privileges:
            permitted &= held["permitted"]
    held["permitted"] = held["effective"] = permitted | held["ambient"]
    return held


def device_view(spec: Spec, device: Device) -> tuple[Any, ...]:
    """A node as stat(2) shows it; in a user namespace it is the host's, with the mode and owner that has there."""
    node = ("c" if device.type == "u" else device.type, device.major or 0, device.minor or 0)
    if is_new(spec, "user"):
        return node
    return (*node, (device.file_mode or 0o666) & 0o7777, device.uid or 0, device.gid or 0)


def see_process(spec: Spec, last: Spec | None, facts: Facts, view: View) -> None:
    """A process may always give up rights by itself: having fewer than were asked for is no drift."""
    status = facts.id_status
    asked = any(one is not None and one.process.no_new_privileges for one in (spec, last))
    view["process.noNewPrivileges"] = bool(status.no_new_privs) if asked else UNKNOWN
    former = capabilities((last or spec).process)
    for name, wanted in capabilities(spec.process).items():
        has, edited = getattr(status, f"cap_{name}"), former[name] != wanted
        view[f"process.capabilities.{name}"] = wanted if has & ~wanted == 0 and not edited else has
    for i, limit in enumerate(spec.process.rlimits):
        soft, hard = facts.limits.get(limit.type, (0, 0))
        view[f"process.rlimits[{i}].soft"], view[f"process.rlimits[{i}].hard"] = soft, hard
    if any(one is not None and one.process.oom_score_adj is not None for one in (spec, last)):
        view["process.oomScoreAdj"] = facts.oom_score_adj
    size = 3 if is_new(spec, "user") else 6
    for i, device in enumerate(spec.linux.devices):
        found = facts.nodes.get(device.path)
        view[f"linux.devices[{i}]"] = found[:size] if found is not None else ABSENT
    if last is None:
        return
    for path, value in gone(spec, last).items():
        if path.startswith("process.rlimits["):
            view[path] = value
        elif path.startswith("linux.devices[") and path[len("linux.devices["):-1] in facts.nodes:
            view[path] = facts.nodes[path[len("linux.devices["):-1]][:size]
