"""Container Device Interface: descriptions of devices as trees -> edits of a Spec.

See: the Container Device Interface specification, versions 0.3.0 to 1.0.0.
"""

from __future__ import annotations

from runspec.spec.frozen import Frozen
from runspec.spec.model import Device, DeviceRule, Hook, Hooks, IntelRdt, Mount, Spec
from runspec.spec.units import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Tree = dict[str, Any]

VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_ALNUM = _LETTERS | frozenset("0123456789")
_HOOKS = {"prestart": "prestart", "createRuntime": "create_runtime", "createContainer": "create_container",
          "startContainer": "start_container", "poststart": "poststart", "poststop": "poststop"}
# Key -> the type of its value; a list of one type holds only such.
_NODE = {"path": str, "hostPath": str, "type": str, "major": int, "minor": int, "fileMode": int, "permissions": str,
         "uid": int, "gid": int}
_MOUNT = {"hostPath": str, "containerPath": str, "type": str, "options": [str]}
_HOOK = {"hookName": str, "path": str, "args": [str], "env": [str], "timeout": int}
_RDT = {"closID": str, "l3CacheSchema": str, "memBwSchema": str, "enableCMT": bool, "enableMBM": bool}
_EDITS = {"env": [str], "deviceNodes": [dict], "mounts": [dict], "hooks": [dict], "additionalGids": [int],
          "intelRdt": dict}
_DEVICE = {"name": str, "annotations": dict, "containerEdits": dict}
_FILE = {"cdiVersion": str, "kind": str, "annotations": dict, "devices": [dict], "containerEdits": dict}


class Node(Frozen):
    """A device node; what its file leaves out is the host's node's at `host`."""

    device: Device
    host: str
    access: str


class Edits(Frozen):
    """What a device changes of a container."""

    env: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    mounts: tuple[Mount, ...] = ()
    hooks: tuple[tuple[str, Hook], ...] = ()        # (field of Hooks, hook)
    additional_gids: tuple[int, ...] = ()
    intel_rdt: IntelRdt | None = None


class File(Frozen):
    """One description: its kind "vendor/class", the edits of all its devices, and of each."""

    kind: str
    edits: Edits
    devices: tuple[tuple[str, Edits], ...]


def name_fault(name: str) -> tuple[str, str, str] | None:
    """What is wrong with "vendor/class=name", as (what, why, fix); None where nothing is."""
    kind, equals, device = name.partition("=")
    vendor, slash, sort = kind.partition("/")
    if not (equals and slash):
        return (f"{shown(name)} names no device", "the Container Device Interface writes VENDOR/CLASS=NAME",
                "write it like vendor.com/gpu=0")
    for word, text, first, inner in (("vendor", vendor, _LETTERS, "_-."), ("class", sort, _LETTERS, "_-."),
                                     ("name", device, _ALNUM, "_-.:")):
        if not text or text[0] not in first or text[-1] not in _ALNUM or set(text) - _ALNUM - set(inner):
            return (f"{shown(text)} is no {word} of a device",
                    f"it is letters, digits and {' '.join(inner)}, begins with a "
                    f"{'letter' if first is _LETTERS else 'letter or digit'} and ends with a letter or digit",
                    "write it like vendor.com/gpu=0")
    return None


def parse(tree: Any) -> File:
    """A description from its tree.

    Raises:
        ValueError: what is wrong with it, `devices[1].containerEdits.mounts[0]: hostPath is missing`.
    """
    _check(tree, _FILE, "", ("cdiVersion", "kind", "devices"))
    version = tree["cdiVersion"].removeprefix("v")
    if version not in VERSIONS:
        raise ValueError(f"cdiVersion: {version!r} is none of {VERSIONS[0]} to {VERSIONS[-1]}")
    bad = name_fault(f"{tree['kind']}=x")
    if bad:
        raise ValueError(f"kind: {bad[0]}")
    devices: dict[str, Edits] = {}
    for index, one in enumerate(tree["devices"]):
        at = f"devices[{index}]"
        _check(one, _DEVICE, at, ("name", "containerEdits"))
        bad = name_fault(f"{tree['kind']}={one['name']}")
        if bad:
            raise ValueError(f"{at}.name: {bad[0]}")
        if one["name"] in devices:
            raise ValueError(f"{at}.name: {one['name']} is there twice")
        devices[one["name"]] = _edits(one["containerEdits"], f"{at}.containerEdits")
    return File(kind=tree["kind"], edits=_edits(tree.get("containerEdits") or {}, "containerEdits"),
                devices=tuple(devices.items()))


def _check(value: Any, keys: dict[str, Any], at: str, needed: tuple[str, ...] = ()) -> None:
    """Types and keys of one map."""
    where = f"{at}: " if at else ""
    if not isinstance(value, dict):
        raise ValueError(f"{where}is no map")
    for key, inner in value.items():
        path = f"{at}.{key}" if at else key
        if key not in keys:
            raise ValueError(f"{path}: unknown key")
        kind = keys[key]
        if inner is None:
            continue
        if isinstance(kind, list):
            if not isinstance(inner, list) or not all(type(one) is kind[0] for one in inner):
                raise ValueError(f"{path}: is no list of {_WORDS[kind[0]]}")
        elif type(inner) is not kind:
            raise ValueError(f"{path}: is no {_WORDS[kind].removesuffix('s')}")
        if kind is int and inner < 0:
            raise ValueError(f"{path}: {inner} is below 0")
    for key in needed:
        if value.get(key) in (None, ""):
            raise ValueError(f"{where}{key} is missing")


_WORDS = {str: "texts", int: "numbers", dict: "maps", bool: "booleans"}


def _edits(tree: Any, at: str) -> Edits:
    _check(tree, _EDITS, at)
    nodes, mounts, hooks = [], [], []
    for index, one in enumerate(tree.get("deviceNodes") or ()):
        _check(one, _NODE, f"{at}.deviceNodes[{index}]", ("path",))
        kind = one.get("type") or ""
        access = one.get("permissions") or "rwm"
        if kind not in ("", "b", "c", "u", "p"):
            raise ValueError(f"{at}.deviceNodes[{index}].type: {kind!r} is none of b, c, u, p")
        if set(access) - set("rwm"):
            raise ValueError(f"{at}.deviceNodes[{index}].permissions: {access!r} holds more than r, w, m")
        nodes.append(Node(
            host=one.get("hostPath") or one["path"], access="".join(word for word in "rwm" if word in access),
            device=Device(path=one["path"], type=kind, major=one.get("major"), minor=one.get("minor"),
                          file_mode=one.get("fileMode"), uid=one.get("uid"), gid=one.get("gid"))))
    for index, one in enumerate(tree.get("mounts") or ()):
        _check(one, _MOUNT, f"{at}.mounts[{index}]", ("hostPath", "containerPath"))
        mounts.append(_mount(one))
    for index, one in enumerate(tree.get("hooks") or ()):
        _check(one, _HOOK, f"{at}.hooks[{index}]", ("hookName", "path"))
        if one["hookName"] not in _HOOKS:
            raise ValueError(f"{at}.hooks[{index}].hookName: {one['hookName']!r} is none of {', '.join(_HOOKS)}")
        hooks.append((_HOOKS[one["hookName"]], Hook(path=one["path"], args=tuple(one.get("args") or ()),
                                                    env=tuple(one.get("env") or ()), timeout=one.get("timeout"))))
    rdt = tree.get("intelRdt")
    if rdt is not None:
        _check(rdt, _RDT, f"{at}.intelRdt")
    return Edits(
        env=tuple(tree.get("env") or ()), nodes=tuple(nodes), mounts=tuple(mounts), hooks=tuple(hooks),
        additional_gids=tuple(tree.get("additionalGids") or ()),
        intel_rdt=None if rdt is None else IntelRdt(
            clos_id=rdt.get("closID"), l3_cache_schema=rdt.get("l3CacheSchema"), mem_bw_schema=rdt.get("memBwSchema"),
            enable_monitoring=True if rdt.get("enableCMT") or rdt.get("enableMBM") else None))


def _mount(one: Tree) -> Mount:
    """A mount; without a type it is a bind, as it is with every runtime that was asked."""
    kind, options = one.get("type"), tuple(one.get("options") or ())
    bound = "bind" in options or "rbind" in options
    if kind in (None, "", "bind", "rbind", "none"):
        return Mount(destination=one["containerPath"], source=one["hostPath"],
                     options=options if bound else ("rbind" if kind == "rbind" else "bind", *options))
    return Mount(destination=one["containerPath"], type=None if bound else kind, source=one["hostPath"],
                 options=options)


def applied(spec: Spec, found: list[tuple[int, str, Edits]]) -> tuple[Spec, list[tuple[int, str, str, str]]]:
    """A Spec with the edits of its devices, in their order, and where they contradict it or each other.

    Args:
        found: (index among the CDI devices, name, edits); nodes are whole.

    Returns:
        The Spec, and (index, what, why, fix) of each fault.
    """
    faults: list[tuple[int, str, str, str]] = []
    process, linux = spec.process, spec.linux
    env: dict[str, tuple[str, str]] = {one.partition("=")[0]: (one, "") for one in process.env}
    nodes: dict[str, tuple[Device, str]] = {one.path: (one, "") for one in linux.devices}
    mounts: dict[str, tuple[Mount, str]] = {one.destination: (one, "") for one in spec.mounts}
    rules: list[DeviceRule] = []
    gids = list(process.user.additional_gids)
    hooks: dict[str, list[Hook]] = {field: list(getattr(spec.hooks, field)) for field in _HOOKS.values()}
    rdt, rdt_of = linux.intel_rdt, ""

    def put(into: dict[str, tuple[Any, str]], key: str, value: Any, index: int, name: str, what: str) -> None:
        before = into.get(key)
        if before is not None and before[0] != value:
            faults.append((index, f"{name} brings {what} {shown(key)}, and so does {before[1] or 'this file'}",
                           "they differ, and only one can be there", "remove one of the two"))
        else:
            into[key] = before or (value, name)

    for index, name, edits in found:
        for word in edits.env:
            put(env, word.partition("=")[0], word, index, name, "the variable")
        for node in edits.nodes:
            device = node.device
            if device.uid is None and process.user.uid:
                # As with other runtimes: the program that asks for a device shall be able to open it.
                device = device.replace(uid=process.user.uid)
            if device.gid is None and process.user.gid:
                device = device.replace(gid=process.user.gid)
            put(nodes, device.path, device, index, name, "the node")
            if device.type in ("b", "c", "u"):
                rules.append(DeviceRule(allow=True, type="b" if device.type == "b" else "c", major=device.major,
                                        minor=device.minor, access=node.access))
        for mount in edits.mounts:
            put(mounts, mount.destination, mount, index, name, "the mount on")
        for field, hook in edits.hooks:
            if hook not in hooks[field]:        # a Spec that has the edits already stays as it is
                hooks[field].append(hook)
        gids += [gid for gid in edits.additional_gids if gid and gid not in gids]
        if edits.intel_rdt is not None:
            if rdt is not None and rdt != edits.intel_rdt:
                faults.append((index, f"{name} brings intelRdt, and so does {rdt_of or 'this file'}",
                               "a process is in one class of service", "remove one of the two"))
            else:
                rdt, rdt_of = edits.intel_rdt, name
    resources, last = linux.resources, tuple(dict.fromkeys(rules))
    if last and resources.devices[-len(last):] != last:
        resources = resources.replace(devices=resources.devices + last)     # last, since a later rule wins
    return spec.replace(
        process=process.replace(env=tuple(one for one, _ in env.values()) if any(e.env for _, _, e in found)
                                else process.env,
                                user=process.user.replace(additional_gids=tuple(gids))),
        mounts=tuple(one for one, _ in mounts.values()) if len(mounts) >= len(spec.mounts) else spec.mounts,
        hooks=Hooks(**{field: tuple(some) for field, some in hooks.items()}),
        linux=linux.replace(devices=tuple(one for one, _ in nodes.values()), intel_rdt=rdt,
                            resources=resources)), faults
