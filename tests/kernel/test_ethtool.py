"""Features of links: what the kernel tells of them, and what is refused for their sake."""

from __future__ import annotations

import json
import sys

import pytest
from conftest import Netns, requires

from runspec.kernel import ethtool


@pytest.mark.parametrize(("link", "feature", "active"), [
    ("lo", "tx-checksum-ip-generic", True), ("lo", "loopback", True), ("lo", "rx-vlan-filter", False),
    ("lo", "rx-all", False), ("lo", "no-such-feature", False), ("none9", "loopback", False)])
def test_active(link: str, feature: str, active: bool) -> None:
    assert ethtool.active(link, feature) is active


# A parent that is a card, as far as it says.
PROGRAM = """
import json
from runspec.kernel import Kernel
from runspec.plan import rtnetlink
from runspec.run import abilities
from runspec.spec.model import Interface, Linux, Process, Root, Spec, Vlan
class Card(Kernel):
    def drops_tags(self, name):
        return name == "p0"
link = Interface(name="eth0", type="vlan", parent="p0", vlan=Vlan(id=10), fallback="tc-bpf")
spec = Spec(name="a", root=Root(path="/"), process=Process(args=("sh",)), linux=Linux(), interfaces=(link,))
print(json.dumps([abilities.parents(kernel, spec) for kernel in (Kernel(), Card())]))
"""


@requires("root", "veth", "ip")
def test_a_card_that_filters_vlans_is_refused(netns: Netns) -> None:
    """Unless it takes all frames."""
    for words in ("link add p0 type veth peer name p1", "link set p0 up"):
        assert netns.run("ip", *words.split()).returncode == 0
    done = netns.run(sys.executable, "-P", "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], [[
        "interfaces[0].fallback", "p0 drops frames of VLANs that no driver asks it for",
        "its feature rx-vlan-filter is on, ethtool(8)",
        "ethtool -K p0 rx-vlan-filter off, or ip link set p0 promisc on"]]]
    assert netns.run("ip", "link", "set", "p0", "promisc", "on").returncode == 0
    assert json.loads(netns.run(sys.executable, "-P", "-c", PROGRAM).stdout) == [[], []]
