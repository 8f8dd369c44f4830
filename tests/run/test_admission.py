"""Admission over documents, Records and claims: what is one thing by two words is asked for twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runspec.errors import Mark
from runspec.kernel import Kernel
from runspec.plan.host import Host
from runspec.run import admission
from runspec.run.apply import Wanted
from runspec.run.store import Record, Store
from runspec.spec.model import Interface, Network, Pool, Port, Process, Root, Spec
from runspec.spec.tree import to_tree

MAC = "mac:52:54:00:12:34:57"
# As much of a portrait as tells who it is.
LINK = {"name": "eth1", "kind": "", "mac": "52:54:00:12:34:57", "perm": "52:54:00:12:34:57", "bus": "virtio",
        "device": "virtio4", "port": "", "pci": "0000:00:06.0", "altnames": ["up"], "flags": 0}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(Kernel, "portraits", lambda *_: [LINK])
    one = Store(Kernel(), str(tmp_path / "state"))
    one.prepare()
    return one


def box(name: str, *parents: str, kind: str = "physical", **more: Any) -> Spec:
    return Spec(name=name, root=Root(image="busybox"), process=Process(args=("sh",)), interfaces=tuple(
        Interface(name=f"eth{i}", type=kind, parent=parent, **more) for i, parent in enumerate(parents)))


def judged(store: Store, *specs: Spec) -> list[tuple[str, str, str]]:
    wanted = [Wanted(spec, "", lambda name=spec.name: {"interfaces[0].parent": Mark(f"{name}.yaml", 7, 9)})
              for spec in specs]
    faults, _ = admission.judge(store.kernel, store, Host(), wanted)
    return [(str(one.at), one.what, one.why) for one in faults]


def test_two_words_for_one(store: Store) -> None:
    """Each word with its place, in whatever order, whatever the kinds of the links."""
    assert judged(store, box("a", "eth1"), box("b", MAC)) == [(
        "b.yaml:7:9", "interfaces[0].parent: eth1 can be in one container only",
        "a (a.yaml:7:9) physical, b (b.yaml:7:9) physical; a physical interface moves into its container, "
        "ip-link(8) netns")]
    (found,) = judged(store, box("b", "pci:0000:00:06.0", kind="macvlan"), box("a", "up"))
    assert found[1].endswith("eth1 goes into one container and carries links of another")
    (found,) = judged(store, box("a", "eth1", kind="macvlan", mac="02:00:00:00:00:01"),
                      box("b", MAC, kind="macvlan", mac="02:00:00:00:00:01"))
    assert found[1].endswith("02:00:00:00:00:01 is on link eth1 twice")
    assert judged(store, box("a", "eth1"), box("b", "mac:02:00:00:00:00:01")) == []


def test_one_of_them_is_applied(store: Store) -> None:
    with store.lock([("container", "a")]):
        store.save(Record(kind="container", name="a", spec=to_tree(box("a", "eth1")), boot_id="b"))
    ((_, what, why),) = judged(store, box("b", MAC))
    assert what.endswith("eth1 can be in one container only") and why.startswith("a (applied) physical, b (b.yaml:7:9)")


def test_a_port_of_a_family_that_the_networks_pool_lacks(store: Store) -> None:
    """The network is applied, so that no file of the request tells what it gives."""
    with store.lock([("network", "lan0")]):
        store.save(Record(kind="network", name="lan0", boot_id="b", spec=to_tree(
            Network(name="lan0", addresses=("10.5.0.1/24",), pool=Pool()))))
    link = Interface(name="eth0", type="veth", network="lan0", pooled=True)
    one = box("a").replace(interfaces=(link,), ports=(Port(host="8443", container="443", host_ip="::"),))
    wanted = [Wanted(one, "", lambda: {"ports[0]": Mark("a.yaml", 6, 9)})]
    faults, _ = admission.judge(Kernel(), store, Host(), wanted)
    assert [fault.text() for fault in faults] == [
        "a.yaml:6:9: ports[0]: there is no IPv6 address for it to lead to\n"
        "  why: a (a.yaml:6:9) [::]:8443/tcp; `addresses: auto` takes what lan0 can give, which has no IPv6\n"
        "  fix: give lan0 an IPv6 address, or remove the port"]
    wanted[0].model = one.replace(interfaces=(link.replace(addresses=("10.5.0.2/24", "fd05::2/64")),))
    assert admission.judge(Kernel(), store, Host(), wanted) == ([], [])
