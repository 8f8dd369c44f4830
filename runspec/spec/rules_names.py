"""Rules about dns and extraHosts that a schema cannot say."""

from __future__ import annotations

from runspec.spec import read_names, rules_links
from runspec.spec.model import Spec
from runspec.spec.units import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.spec.rules_mounts import Faults

HOSTS, RESOLV = "/etc/hosts", "/etc/resolv.conf"
_WHY = "a host name is labels of 1 to 63 letters, digits, `_` or `-`, joined by dots, hostname(7)"


def covers(spec: Spec, path: str) -> int | None:
    """The index of a mount of the document that supplies this file, None where there is none."""
    return next((i for i, one in enumerate(spec.mounts)
                 if one.destination != "/" and f"{path}/".startswith(one.destination.rstrip("/") + "/")), None)


def check_names(faults: Faults, spec: Spec) -> None:
    """Notes faults of `dns` and `extraHosts`."""
    for path, file, asked in (("dns", RESOLV, spec.dns is not None), ("extraHosts", HOSTS, bool(spec.extra_hosts))):
        if not asked:
            continue
        if not rules_links.is_new(spec.linux, "mount"):
            faults.add(path, "needs a mount namespace of the container's own",
                       f"{file} would be that of everybody who shares it",
                       f"remove {path}, or the entry for mount in linux.namespaces")
        elif (index := covers(spec, file)) is not None:
            faults.add(path, f"{file} comes from the mount at {spec.mounts[index].destination}",
                       "one thing is said in one place", "remove one")
    _dns(faults, spec)
    _hosts(faults, spec)


def _dns(faults: Faults, spec: Spec) -> None:
    dns = spec.dns
    if dns is None:
        return
    for path, values in (("nameservers", dns.nameservers), ("search", dns.search), ("options", dns.options)):
        for index, one in enumerate(values):
            at = f"dns.{path}[{index}]"
            if path == "search" and one != "." and not is_host(one.removesuffix(".")):
                faults.add(at, f"{shown(one)} is no domain", _WHY, "write it like example.com")
            elif one and one in values[:index]:
                faults.add(at, f"{shown(one)} is given twice", "once says it, resolv.conf(5)", "remove one")


def _hosts(faults: Faults, spec: Spec) -> None:
    seen: set[str] = set()
    for name, address in spec.extra_hosts:
        at = f"extraHosts.{name}"
        if not is_host(name):
            faults.add(at, f"{shown(name)} is no host name", _WHY, "use other characters")
        elif name.lower() == "localhost":
            faults.add(at, "localhost is reserved", "it is the container itself", "choose another name")
        elif name.lower() in seen:
            faults.add(at, f"{shown(name)} is given twice", "names differ in more than capitals, RFC 4343",
                       "remove one")
        seen.add(name.lower())
        on = any(one.network for one in spec.interfaces) or any(
            one.type == "network" and one.container for one in spec.linux.namespaces)
        if address == read_names.GATEWAY and not on:
            faults.add(at, f"{read_names.GATEWAY} is the host's address on the container's first network",
                       "the container is on none", "write the address itself")


def is_host(name: str) -> bool:
    """Whether a name is one of a host: its characters the schema has judged."""
    return len(name) <= 253 and all(0 < len(label) <= 63 and label[0] != "-" for label in name.split("."))
