"""SIGKILL while links of every type are made, changed and removed: the next run puts all right, on the host too."""

from __future__ import annotations

from pathlib import Path

import pytest
import test_kill
from conftest import Cli, requires
from kernels import IN_VM, lacks

SPEC = """\
apiVersion: runspec/v1
kind: Network
name: knot0
type: bridge
addresses: [10.81.0.1/24]
nat: true
pool: {range: 10.81.0.32/28}
---
apiVersion: runspec/v1
name: knot
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]}
ports: [{host: "18081", container: "80"}]
extraHosts: {db: 192.0.2.7}
interfaces:
  - {name: eth0, type: veth, network: knot0, addresses: auto,
     qos: {egress: {rate: 10mbit, dscp: ef}, ingress: {rate: 20mbit}}}
  - {name: eth1, type: veth, mode: routed, addresses: [10.81.1.1/32, "fd81:1::1/128"]}
  - {name: eth2, type: macvlan, parent: nic0, addresses: [10.81.2.1/24], hostAccess: true,
     qos: {egress: {rate: 5mbit}, ingress: {rate: 6mbit, dscp: af41}}}
  - {name: eth3, type: vlan, parent: nic0, vlan: {id: 10}, fallback: tc-bpf, addresses: [10.81.3.1/24],
     sysctl: {net.ipv4.conf.IFNAME.rp_filter: "1"}}
"""
# Of a VLAN that the kernel has a driver for.
QOS = ', qos: {egress: {rate: 7mbit, priority: 5}}}\n'
IPVLAN = "  - {name: eth4, type: ipvlan, parent: nic1, addresses: [10.81.4.1/24], hostAccess: true}\n"
IN_PLACE = (("addresses: [10.81.2.1/24], hostAccess: true", "mode: private, addresses: [10.81.2.2/24]"),
            ("10.81.1.1/32", "10.81.1.2/32"), ("id: 10", "id: 20"), ("18081", "18082"),
            ('rp_filter: "1"', 'rp_filter: "2"'), ("rate: 20mbit", "rate: 30mbit"), ("rate: 5mbit", "dscp: cs1"))
ANEW = (("type: macvlan, parent: nic0", "type: macvlan, parent: nic2"), ("name: eth0", "name: net0"),
        ("type: veth, mode: routed", "type: veth, network: knot0"))
CASES: dict[str, test_kill.Case] = {
    "apply": ((), False, ("apply", "--yes")), "in-place": (IN_PLACE, True, ("apply", "--yes")),
    "anew": (ANEW, True, ("apply", "--yes")),
    "recreate": ((("extraHosts", "linux: {cgroupsPath: /runspec/knot-b}\nextraHosts"),), True, ("apply", "--yes")),
    "destroy": ((), True, ("destroy", "--yes"))}


class Knot(test_kill.Sweep):
    """The same with links of the host that others are made on, which must be left as they were, filters and all."""

    def picture(self) -> dict[str, frozenset[str]]:
        words = [f"tc -d {kind} show dev nic{n}{way}" for n in range(3) for kind, ways in (
            ("qdisc", ("",)), ("filter", (" ingress", " egress"))) for way in ways]
        words += ["ip neigh show proxy", "sysctl net.ipv4.ip_forward net.ipv4.conf.all.forwarding", "ip rule"]
        done = self.cli.netns.run("sh", "-c", "; ".join(f"{one} 2>/dev/null" for one in words))
        return {**super().picture(), "host's side": frozenset(done.stdout.splitlines())}


@pytest.fixture
def knot(cli: Cli, tmp_path: Path) -> Knot:
    cli.netns.run("sh", "-ec", "for n in 0 1 2; do ip link add nic$n type veth peer name wire$n;"
                  "for l in nic$n wire$n; do echo 1 >/proc/sys/net/ipv6/conf/$l/disable_ipv6; ip link set $l up; done;"
                  "done", check=True)
    spec = SPEC if lacks("vlan") else SPEC.removesuffix("}\n") + QOS
    return Knot(cli, tmp_path, spec + ("" if lacks("ipvlan") else IPVLAN), ("knot",), CASES)


@requires("root", "busybox", "bridge", "veth", "macvlan", "ifb", "ip", "tc", "nsenter", "nft")
@pytest.mark.parametrize("case", [pytest.param(case, marks=[pytest.mark.both] * (case == "anew"))
                                  for case in CASES])
def test_kill_at_every_act(knot: Knot, case: str) -> None:
    """All of them with RUNSPEC_FULL=1, else a sample drawn from RUNSPEC_SEED."""
    stride = 1 if test_kill.FULL else 40 if IN_VM else 24
    assert test_kill.at_every_act(knot, case, knot.end, stride) > 10
