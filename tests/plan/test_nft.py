"""The table's text: what containers and networks are in it, and which transaction leads there."""

from __future__ import annotations

from typing import Any

import pytest

from runspec.plan import nft
from runspec.plan.facts import Facts
from runspec.plan.host import Host
from runspec.plan.parts import remnants
from runspec.plan.planner import Item, make_plan
from runspec.plan.steps.base import Change
from runspec.plan.steps.cgroup import EndInit, KillContainer
from runspec.plan.steps.namespaces import SpawnInit
from runspec.plan.steps.network import RemoveBridge
from runspec.plan.steps.nft import ForgetElements, HoldKnobs, SetElements, plan
from runspec.plan.view_nft import Wall
from runspec.spec import fields
from runspec.spec.model import Interface, Linux, Namespace, Network, Port, Process, Root, Spec
from runspec.spec.read_ports import parse_port

NET = (Namespace(type="network"),)


def box(*ports: str, addresses: tuple[str, ...] = ("10.77.0.11/24", "fd77::11/64"), name: str = "a",
        **link: Any) -> Spec:
    link = {"name": "eth0", "type": "veth", "network": "lan0", **link}
    return Spec(name=name, root=Root(path="/r"), process=Process(args=("x",)), linux=Linux(namespaces=NET),
                interfaces=(Interface(addresses=addresses, **link),), ports=tuple(map(parse_port, ports)))


def lan(**keys: Any) -> Network:
    return Network(name="lan0", addresses=("10.77.0.1/24", "fd77::1/64", "fe80::1/64"), **keys)


def whole(elements: dict[tuple[str, str], tuple[str, str]] | None = None, **more: Any) -> nft.Table:
    """Our table as it should be."""
    values: dict[str, Any] = {
        "sets": frozenset(nft.SETS), "elements": elements or {},
        "chains": {name: None if hook is None else (*hook, "accept") for name, (hook, _) in nft.CHAINS.items()},
        "rules": {name: tuple(nft.comment(word, rule) for word, rule in rules.items())
                  for name, (_, rules) in nft.CHAINS.items()}}
    return nft.Table(**{**values, **more})


@pytest.mark.parametrize(("port", "says"), [
    ("8080:80", [("ports4", "tcp . 127.0.0.1 . 8080", "10.77.0.11 . 80")]),
    ("0.0.0.0:53:53/udp", [("ports4", "udp . 0.0.0.0/0 . 53", "10.77.0.11 . 53")]),
    ("[::]:8080:80", [("ports6", "tcp . ::/0 . 8080", "fd77::11 . 80")]),
    ("[2001:db8::1]:8080:80", [("ports6", "tcp . 2001:db8::1 . 8080", "fd77::11 . 80")]),
    ("8000-8999:8000-8999", [("ranges4", "tcp . 127.0.0.1 . 8000-8999", "10.77.0.11")]),
    ("8000-8001:80-81", [("ports4", "tcp . 127.0.0.1 . 8000", "10.77.0.11 . 80"),
                         ("ports4", "tcp . 127.0.0.1 . 8001", "10.77.0.11 . 81")]),
])
def test_port(port: str, says: list[nft.Element]) -> None:
    """One element for a port, one for a range that stays what it is, one for each port that becomes another."""
    spec = box(port)
    assert list(nft.port_elements(spec, spec.ports[0])) == says
    first, *rest = nft.elements(spec)[len(says):]
    assert nft.elements(spec)[:len(says)] == tuple(says) and first[0].startswith("hairpin")
    # What the host forwards for a port that is not its own alone.
    kind = first[0][-1]
    assert rest == [(f"open{kind}", f"{says[0][2].partition(' ')[0]} . lan0", "")] * ("127.0.0.1" not in says[0][1])


@pytest.mark.parametrize(("spec", "address"), [
    (box("1:1"), "10.77.0.11"),
    (box("1:1", addresses=("fd77::11/64", "10.77.0.12/24", "10.77.0.13/24")), "10.77.0.12"),
    (box("1:1", network=None, mode="routed", addresses=("10.9.0.2/32",)), "10.9.0.2"),
    (box("1:1", network=None, type="macvlan", parent="eth0"), None),
    (box("1:1", addresses=()), None),
])
def test_which_address(spec: Spec, address: str | None) -> None:
    """The first of its family where the host is on the other end."""
    found = nft.port_elements(spec, spec.ports[0])
    assert (found[0][2].partition(" . ")[0] if found else None) == address


def test_hairpin() -> None:
    """Of the whole network towards the one address; a routed end is alone on its link."""
    assert nft.elements(box("1:1"))[-1] == ("hairpin4", "10.77.0.0/24 . 10.77.0.11", "")
    assert nft.elements(box("1:1", network=None, mode="routed", addresses=("10.9.0.2/32",)))[-1] == (
        "hairpin4", "10.9.0.2 . 10.9.0.2", "")


def test_network() -> None:
    """Subnets, not the link-local one; nothing where nothing is asked."""
    assert nft.elements(lan()) == ()
    assert nft.elements(lan(isolated=True)) == (("apart", "lan0", ""),)
    assert nft.elements(lan(isolated=True, external=True), False) == (("apart", "lan0", ""),)
    assert nft.elements(lan(isolated=True, external=True), True) == ()
    assert nft.elements(lan(internal=True)) == (("inside", "lan0 . lan0", ""), ("internal", "lan0", ""))
    assert nft.elements(lan(nat=True)) == (
        ("inside", "lan0 . lan0", ""), ("hidden", "lan0", ""), ("nat4", "10.77.0.0/24", ""),
        ("own4", "10.77.0.0/24 . lan0", ""), ("nat6", "fd77::/64", ""), ("own6", "fd77::/64 . lan0", ""))


@pytest.mark.parametrize(("model", "bridged", "says"), [
    (box(), True, []), (lan(internal=True), True, []),
    (box("1:1"), False, ["net/ipv4/conf/lan0/route_localnet"]),
    (box("1:1"), True, ["net/ipv4/conf/lan0/route_localnet", "hairpin of a.eth0"]),
    (box("192.0.2.1:1:1"), False, ["net/ipv4/ip_forward"]),
    (box("0.0.0.0:1:1"), False, ["net/ipv4/ip_forward", "net/ipv4/conf/lan0/route_localnet"]),
    (box("[::]:1:1"), False, ["net/ipv6/conf/all/forwarding"]),
    (box("1:1", network=None, mode="routed"), True, ["net/ipv4/conf/a.eth0/route_localnet"]),
    (lan(nat=True), False, ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"]),
])
def test_knobs(model: Spec | Network, bridged: bool, says: list[str]) -> None:
    assert nft.knobs(model, bridged) == dict.fromkeys(says, "1")


# -- transactions -------------------------------------------------------------------------------------------------

MINE = nft.elements(box("8080:80"))
HAVE = {(name, key): (value, "a") for name, key, value in MINE}


def test_nothing_to_do() -> None:
    assert nft.batch(None, {"a": ()}) == ""
    assert nft.batch(whole(HAVE), {"a": MINE}) == ""
    assert nft.batch(whole(HAVE), {"b": ()}) == ""


def test_from_nothing() -> None:
    """The table and the elements in one text."""
    text = nft.batch(None, {"a": MINE})
    assert text.startswith("table inet runspec {\n") and "delete" not in text
    assert text.endswith('add element inet runspec ports4 { tcp . 127.0.0.1 . 8080 comment "a" : 10.77.0.11 . 80 }\n'
                         'add element inet runspec hairpin4 { 10.77.0.0/24 . 10.77.0.11 comment "a" }\n')


def test_only_what_differs() -> None:
    """What goes before what comes, of these owners alone."""
    text = nft.batch(whole({**HAVE, ("ports4", "tcp . 127.0.0.1 . 1"): ("10.77.0.12 . 1", "b")}),
                     {"a": nft.elements(box("8080:81"))})
    assert text == ("delete element inet runspec ports4 { tcp . 127.0.0.1 . 8080 }\n"
                    'add element inet runspec ports4 { tcp . 127.0.0.1 . 8080 comment "a" : 10.77.0.11 . 81 }\n')


def test_the_last_takes_the_table_along() -> None:
    assert nft.batch(whole(HAVE), {"a": ()}) == "delete table inet runspec\n"
    others = {**HAVE, ("nat4", "10.9.0.0/24"): ("", "network n")}
    assert "delete table" not in nft.batch(whole(others), {"a": ()})


@pytest.mark.parametrize("table", [
    whole(HAVE, rules={}), whole(HAVE, sets=frozenset(nft.SETS) - {"own6"}), whole(HAVE, chains={}),
    whole(HAVE, rules={**whole().rules, "guard": ()}),
    whole(HAVE, rules={**whole().rules, "guard": (*whole().rules["guard"], "")}),
    whole(HAVE, rules={**whole().rules, "leaving": whole().rules["leaving"][::-1]}),
    whole(HAVE, chains={**whole().chains, "guard": ("filter", "prerouting", 0, "accept")}),
])
def test_a_damaged_table_is_made_anew(table: nft.Table) -> None:
    """With everybody's elements."""
    assert nft.damage(table)
    text = nft.batch(table, {"network lan0": nft.elements(lan(internal=True))})
    assert text.startswith("delete table inet runspec\ntable inet runspec {\n")
    assert 'ports4 { tcp . 127.0.0.1 . 8080 comment "a" :' in text
    assert 'add element inet runspec inside { "lan0" . "lan0" comment "network lan0" }\n' in text


def test_an_owner_of_many_letters() -> None:
    """A comment has at most 128 bytes, and two owners never the same."""
    long = [nft.owner(box(name=f"{'x' * 1000}{i}")) for i in range(2)]
    assert long[0] != long[1] and max(map(len, long)) <= 128


def test_port_model() -> None:
    assert parse_port("8080:80") == Port(host="8080", container="80", host_ip="127.0.0.1", protocol="tcp")


# -- in what order protection and those it is for come and go --

def gone(model: Spec | Network) -> Item:
    facts = Facts("running")
    return Item(None, model, facts, (Change(target=model.name, path="", before="present", after="absent",
                                            impact=fields.RECREATE, cause="removed"),), groups=("/g",))


def new(model: Spec) -> Item:
    return Item(model, None, Facts("absent"), (Change(target=model.name, path="", before="absent", after="running",
                                                      impact=fields.IN_PLACE, cause="new"),))


def wall(*models: Spec | Network) -> Wall:
    """All of it as these have it."""
    held = {nft.owner(one): nft.knobs(one, False) for one in models}
    return Wall(table=whole({(name, key): (value, nft.owner(one)) for one in models
                             for name, key, value in nft.elements(one)}), held=held,
                knobs={knob: value for those in held.values() for knob, value in those.items()})


@pytest.mark.parametrize("count", [1, 2])
def test_protection_ends_after_those_it_is_for(count: int) -> None:
    """Nobody runs without the rules that he was started under, nor is a parameter taken without its guard."""
    network, boxes = lan(internal=True, nat=True), [box("8080:80", name="a"), box("8081:80", name="b")][:count]
    steps = make_plan([gone(network)], [gone(one) for one in boxes], Host(), wall(network, *boxes)).steps
    kinds = [type(step) for step in steps]
    last = max(i for i, kind in enumerate(kinds) if kind in (KillContainer, EndInit))
    assert last < kinds.index(HoldKnobs) < kinds.index(SetElements) < kinds.index(RemoveBridge)
    assert kinds.count(SetElements) == 1


def test_remnants_end_before_their_protection() -> None:
    kinds = [type(step) for step in remnants("a", ("/g",)).steps]
    assert kinds.index(KillContainer) < kinds.index(ForgetElements)


def test_what_is_new_is_led_before_anybody_ends() -> None:
    """While it can still be refused; a port that changes hands is nobody's for no moment, and goes back if undone."""
    old, other = box("8080:80", "8081:80", name="a"), box("8080:80", name="b")
    third = box("9:9", addresses=("10.77.0.13/24",), name="c")
    steps = make_plan([], [gone(old), gone(third), new(other)], Host(), wall(old, third)).steps
    kinds = [type(step) for step in steps]
    first = kinds.index(SetElements)
    assert first < min(kinds.index(KillContainer), kinds.index(EndInit), kinds.index(SpawnInit))
    step = steps[first]
    assert isinstance(step, SetElements)
    brought = dict(step.owners)
    assert set(brought) == {"a", "b"} and brought["b"] == nft.elements(other)
    assert {key for _, key, value in brought["a"] if value} == {"tcp . 127.0.0.1 . 8081"}
    ended = [step for step in steps[first + 1:] if isinstance(step, SetElements)]
    assert [dict(step.owners) for step in ended] == [{"a": (), "c": ()}]


def test_who_stays_loses_his_last_port_after_its_parameter() -> None:
    last = box("8080:80")
    item = Item(last.replace(ports=()), last, Facts("running"))
    first, late = plan([item], wall(last), set())
    assert first == [] and [type(step) for step in late] == [HoldKnobs, SetElements]


def test_what_forwards_by_itself_is_let_through_when_it_comes_and_goes() -> None:
    """Where the host forwards for us alone; elsewhere a routed link is no affair of the firewall's."""
    one = box(network=None, mode="routed", addresses=("10.9.0.2/32",))
    other = wall(lan(nat=True))
    for seen, count in ((other, 0), (other.replace(closed=True), 1)):
        for item in (new(one), gone(one)):
            late = plan([item], seen, {"a"})[1]
            assert [(step.anew, step.owners) for step in late if isinstance(step, HoldKnobs)] == [(True, ())] * count
        assert plan([Item(one, one, Facts("running"))], seen, set()) == ([], [])
    # So is a bridge, where packets within one pass the same rules.
    for bridged in (False, True):
        seen = other.replace(closed=True, bridged=bridged)
        late = plan([new(lan().replace(name="lan1"))], seen, {"lan1"})[1]      # type: ignore[arg-type]
        assert [step.anew for step in late if isinstance(step, HoldKnobs)] == [True] * bridged


def test_what_keeps_others_out_is_repaired() -> None:
    """By whoever holds forwarding, and said in the words of what is wrong."""
    network = lan(nat=True)
    seen = wall(network).replace(closed=True, closing={nft.FORWARD[4]: ("no element closed ipv4",)})
    assert seen.lacks(network) == ("no element closed ipv4",) and seen.lacks(lan(isolated=True)) == ()
    [step] = plan([Item(network, network, Facts("running"))], seen, set())[1]
    assert isinstance(step, HoldKnobs) and step.anew and dict(step.owners)["network lan0"] == (
        ("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1"))
    assert str(step).endswith("; nftables inet runspec: forward for nobody else")
