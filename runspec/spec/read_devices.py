"""YAML trees -> device nodes, and the devices that the host describes for containers."""

from __future__ import annotations

from runspec.errors import RunspecError
from runspec.spec import cdi, units
from runspec.spec.model import Device, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.spec.from_yaml import Reader

    Tree = dict[str, Any]


def devices(reader: Reader, tree: Tree) -> tuple[Device, ...]:
    """The nodes that the file itself describes."""
    raw = tree.get("devices") or ()
    plain = [(index, one) for index, one in enumerate(raw) if "cdi" not in one]
    if len(plain) < len(raw):
        reader.moved("linux.devices", tuple(index for index, _ in plain))
    return tuple(Device(
        path=one["path"], type=one["type"], major=one.get("major"), minor=one.get("minor"),
        file_mode=reader.value(one, f"linux.devices[{index}]", "fileMode", units.parse_mode),
        uid=one.get("uid"), gid=one.get("gid")) for index, one in plain)


def _named(reader: Reader) -> list[tuple[str, str]]:
    """(path in the file, name) of each device that the host describes."""
    tree: Tree = reader.tree.get("linux") or {}
    return [(f"linux.devices[{index}]", one["cdi"]) for index, one in enumerate(tree.get("devices") or ())
            if "cdi" in one]


def names(reader: Reader, tree: Tree) -> tuple[str, ...]:
    """Names of devices, each alone in its entry and there once."""
    out: list[str] = []
    for at, name in _named(reader):
        one = tree["devices"][int(at.rpartition("[")[2][:-1])]
        if len([key for key in one if not key.startswith("x-")]) > 1:
            reader.note(at, "says more than cdi", "what the device consists of is what its description says",
                        "keep cdi alone, in an entry of its own")
        bad = cdi.name_fault(name)
        if bad:
            reader.note(f"{at}.cdi", *bad)
        elif name in out:
            reader.note(f"{at}.cdi", f"{units.shown(name)} is there twice", "a device is added once", "remove one")
        else:
            reader.added[f"linux.cdiDevices[{len(out)}]"] = reader.place(f"{at}.cdi")
        out.append(name)
    return tuple(out)


def described(reader: Reader, spec: Spec) -> Spec:
    """The Spec with what its devices consist of, where somebody knows."""
    if reader.machine is None or not spec.linux.cdi_devices:
        return spec
    found: list[tuple[int, str, cdi.Edits]] = []
    files: list[str] = []
    named = _named(reader)
    for index, (at, name) in enumerate(named):
        if cdi.name_fault(name):
            continue
        try:
            answer = reader.machine.cdi(name)
        except RunspecError as error:
            reader.note(f"{at}.cdi", error.what, error.why, error.fix)
            continue
        if answer is None:
            return spec
        file, common, own = answer
        # What all devices of a description need comes once, before the first of them.
        if file not in files:
            files.append(file)
            found.append((index, name, common))
        found.append((index, name, own))
    spec, faults = cdi.applied(spec, found)
    for index, what, why, fix in faults:
        reader.note(f"{named[index][0]}.cdi", what, why, fix)
    return spec
