"""A container with a little of everything that contenders translate, and machines to run it on."""

from __future__ import annotations

from runspec.plan.host import Host
from runspec.spec import rules, source
from runspec.spec.model import Spec

TEXT = """
apiVersion: runspec/v1
name: all
root: {image: busybox, readonly: true}
process: {args: [/bin/sleep, "7"], cwd: /srv, env: {A: "1 2"}}
mounts:
  - {destination: /data, type: bind, source: /usr/share, options: [rbind, ro]}
  - {destination: /scratch, type: tmpfs, source: tmpfs, options: [nosuid, size=1m]}
linux:
  seccomp: unconfined
  resources:
    cpu: {weight: 25, cpus: "0"}
    memory: {limit: 64Mi}
    pids: {limit: 8}
interfaces:
  - {name: eth0, type: veth, network: lan0, addresses: [10.9.0.2/24, "fd09::2/64"], gateway: 10.9.0.1, mtu: 1400}
  - {name: net1, type: macvlan, parent: up0, mode: vepa, mac: "02:00:00:00:00:09"}
  - {name: net2, type: vlan, parent: up0, vlan: {id: 10}}
---
apiVersion: runspec/v1
kind: Network
name: lan0
type: bridge
addresses: [10.9.0.1/24]
"""
V1 = Host(hierarchies=tuple((name, f"/cg/{name}") for name in ("cpu", "cpuset", "devices", "memory", "pids")))
V2 = Host(unified="/cg", controllers2=("cpu", "cpuset", "io", "memory", "pids"))


def spec(**changes: object) -> Spec:
    """The container of TEXT, with some fields changed."""
    read, faults = rules.judge(*source.parse(TEXT, "models"))
    assert not faults, faults
    one = read[0][0]
    assert isinstance(one, Spec)
    return one.replace(**changes)
