"""Names: what /etc/hosts and /etc/resolv.conf say inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rows.base import Live, Row
from rows.network import BRIDGE, NEEDS, link

LOCAL = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]


def lines(live: Live, path: str) -> list[str]:
    """A file of the container's root, as whoever reads it takes it: without comments."""
    text = Path(f"/proc/{live.pid}/root{path}").read_text()
    return [one.strip() for one in text.splitlines() if one.strip() and one[0] not in "#;"]


def hosts(live: Live) -> list[str]:
    """All but what is in every such file."""
    found = lines(live, "/etc/hosts")
    assert found[:2] == LOCAL
    return sorted(found[2:])


def resolver(live: Live) -> list[str]:
    return lines(live, "/etc/resolv.conf")


def mounted(live: Live) -> list[str]:
    points = [line.split()[4] for line in live.proc("mountinfo").splitlines()]
    return [one for one in points if one.startswith("/etc/")]


def unmount(path: str) -> Any:
    return lambda live: live.enter("m", "/bin/umount", path) and None


def edit(file: str, command: str) -> Any:
    return lambda live: live.host("sh", "-ec", f"cd /run/runspec/state/names; {command} {file}") and None


def dns(**keys: list[str]) -> dict[str, Any]:
    return {"dns": {"nameservers": ["192.0.2.53"], **keys}}


FILE = "container.row.resolv.conf"
ROWS = (
    Row("hosts", {}, link(), mounted, ([], ["/etc/hosts"]), unmount("/etc/hosts"), NEEDS,
        also=(BRIDGE, BRIDGE), rest=[]),
    Row("hosts", link(), link(), hosts, (["10.77.9.11 row"], ["10.77.9.11 row"]),
        edit("networks.row0.hosts", "echo 192.0.2.66 row >>"), NEEDS, also=(BRIDGE, BRIDGE), both=False),
    Row("extraHosts", {"extraHosts": {"db": "192.0.2.7"}}, {"extraHosts": ["db=2001:db8::7", "x.example:192.0.2.8"]},
        hosts, (["127.0.1.1 row", "192.0.2.7 db"], ["127.0.1.1 row", "192.0.2.8 x.example", "2001:db8::7 db"]),
        edit("container.row.hosts", "sed -i s/2001:db8::7/2001:db8::8/"), at="extraHosts.db", both=False),
    Row("extraHosts", link() | {"extraHosts": {"gate": "host-gateway"}}, link() | {"extraHosts": {"row": "192.0.2.9"}},
        hosts, (["10.77.9.1 gate", "10.77.9.11 row"], ["192.0.2.9 row"]),
        edit("container.row.hosts", "rm"), NEEDS, at="extraHosts.row", also=(BRIDGE, BRIDGE), both=False),
    Row("dns", {}, dns(), mounted, ([], ["/etc/resolv.conf"]), unmount("/etc/resolv.conf"), rest=[]),
    Row("dns.nameservers", dns(), dns(nameservers=["fe80::1%eth0", "192.0.2.54"]), resolver,
        (["nameserver 192.0.2.53"], ["nameserver fe80::1%eth0", "nameserver 192.0.2.54"]),
        edit(FILE, "echo nameserver 192.0.2.66 >>"), both=False),
    Row("dns.search", dns(search=["a.example"]), dns(search=["b.example", "c.example"]), resolver,
        (["nameserver 192.0.2.53", "search a.example"], ["nameserver 192.0.2.53", "search b.example c.example"]),
        edit(FILE, "sed -i /search/d"), both=False),
    Row("dns.options", dns(options=["ndots:2"]), dns(options=["ndots:2", "rotate"]), resolver,
        (["nameserver 192.0.2.53", "options ndots:2"], ["nameserver 192.0.2.53", "options ndots:2 rotate"]),
        edit(FILE, ": >"), both=False),
)
