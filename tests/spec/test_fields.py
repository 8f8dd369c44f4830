"""Every field has a class, and a path finds its row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import runspec.schemas
from field_table import README, replaced

from runspec.spec import fields
from runspec.spec.frozen import fields_of, key
from runspec.spec.model import Network, Spec
from runspec.spec.tree import _HOLDS, PAIRS

# Fields whose row stands for all that is below.
WHOLE = {"root.overlay", "process.rlimits", "process.user", "linux.namespaces", "linux.uidMappings",
         "linux.gidMappings",
         "linux.timeOffsets", "linux.devices", "linux.resources.devices", "mounts[].uidMappings",
         "mounts[].gidMappings",
         "interfaces[].routes", "process.consoleSize", "linux.netDevices", "linux.intelRdt", "linux.seccomp",
         "linux.resources.hugepageLimits", "linux.resources.rdma", "linux.resources.network.priorities",
         "linux.resources.blockIO.weightDevice",
         *(f"linux.resources.blockIO.throttle{word}Device"
           for word in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")),
         *(f"hooks.{word}" for word in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart",
                                        "poststop"))}
LISTS = {"mounts", "interfaces", "landlock.fs", "ports"}


def leaves(cls: type, path: str = "") -> list[str]:
    out = []
    for field in fields_of(cls):
        at = f"{path}.{key(field)}" if path else key(field)
        holds = _HOLDS.get((cls, field))
        if holds is None or at in WHOLE or field in PAIRS:
            out.append(at)
        else:
            out += leaves(holds, f"{at}[]" if at in LISTS else at)
    return out


@pytest.mark.parametrize("path", sorted({*leaves(Spec), *leaves(Network)} - {"process.user", "interfaces[].line"}))
def test_every_field_of_the_model_is_listed(path: str) -> None:
    row = fields.row(path)
    assert row.path == path
    assert row.observed and row.man


@pytest.mark.parametrize(("path", "found", "impact"), [
    ("linux.resources.cpu.weight", "linux.resources.cpu.weight", fields.IN_PLACE),
    ("mounts[12].options[3]", "mounts[].options", fields.IN_PLACE),
    ("mounts[3]", "mounts", fields.IN_PLACE),
    ("interfaces[0].addresses[1]", "interfaces[].addresses", fields.IN_PLACE),
    ("interfaces[0].routes[1].via", "interfaces[].routes", fields.IN_PLACE),
    ("linux.sysctl.net.ipv4.ip_forward", "linux.sysctl", fields.IN_PLACE),
    ("linux.namespaces[4]", "linux.namespaces", fields.RECREATE),
    ("process.rlimits[0].soft", "process.rlimits", fields.IN_PLACE),
    ("process.user.uid", "process.user.uid", fields.RESTART),
    ("root.path", "root.path", fields.RECREATE),
    ("root.readonly", "root.readonly", fields.IN_PLACE),
    ("whatever.else", "", fields.RECREATE),
    ("", "", fields.RECREATE),
])
def test_row(path: str, found: str, impact: int) -> None:
    assert (fields.row(path).path, fields.row(path).impact) == (found, impact)


def test_classes_are_ordered_and_have_words() -> None:
    assert fields.NONE < fields.IN_PLACE < fields.RESTART < fields.RECREATE
    assert fields.WORDS[fields.IN_PLACE] == "in place"
    assert fields.JSON_WORDS[fields.IN_PLACE] == "inPlace"
    assert len({row.path for row in fields.ROWS}) == len(fields.ROWS)


# Properties that are no fields of a container here.
EXEMPT = {"ociVersion": "the version of a bundle's text, checked and written by its reader and writer",
          "process.commandLine": "Windows", "process.user.username": "Windows"}


@pytest.mark.parametrize("path", [line for line in (Path(__file__).parent / "oci-1.3.txt").read_text().splitlines()
                                  if not line.startswith("#")])
def test_every_property_of_oci_is_accounted_for(path: str) -> None:
    """By a row of its own, or by one that stands for it and all its like."""
    found = fields.row(path.replace(".*", "")).path
    above = path.rpartition(".")[0]
    # What only holds others has a row, or all that it holds has.
    holds = any(row.path.startswith(f"{path}.") for row in fields.ROWS)
    assert found or holds or path in EXEMPT
    if found and not holds and path not in EXEMPT:
        assert found.count(".") >= above.count(".") - 2


# What beside OCI's is there, and what comes later: then it moves up, with a row.
OWN = ("name", "labels", "project", "root.image", "root.overlay.upper", "root.overlay.volatile",
       "linux.resources.cpu.weight", "linux.resources.cpu.partition", "linux.resources.memory.high",
       "linux.resources.memory.low", "linux.resources.memory.min", "linux.resources.memory.oomGroup",
       "linux.namespaces", "linux.cdiDevices", "interfaces[].name", "interfaces[].type", "interfaces[].network",
       "interfaces[].parent", "interfaces[].mode", "interfaces[].vlan", "interfaces[].sysctl",
       "interfaces[].mac", "interfaces[].mtu", "interfaces[].addresses", "interfaces[].gateway", "interfaces[].routes",
       "ports[].host", "ports[].container", "ports[].hostIP", "ports[].protocol",
       "landlock.fs[].path", "landlock.fs[].access", "landlock.net.bind", "landlock.net.connect", "landlock.scope",
       "dns.nameservers", "dns.search", "dns.options", "extraHosts")
LATER = ("restart", "healthcheck", "dependsOn", "stopSignal", "stopGracePeriod",
         "autostart", "logging", "secrets", "update", "ignore", "expect")


def test_every_key_of_our_own_is_accounted_for() -> None:
    """Each has a row; those of later are in no schema yet."""
    assert not [path for path in OWN if fields.row(path).path != path]
    tree = json.loads((Path(runspec.schemas.__path__[0]) / "container.schema.json").read_text())
    assert not set(LATER) & set(tree["properties"])


def test_readme_has_the_table() -> None:
    """`python tests/field_table.py` writes it."""
    assert replaced(README.read_text()) == README.read_text()
