"""The texts of /etc/hosts and /etc/resolv.conf, and which containers share a file."""

from __future__ import annotations

from typing import Any

import pytest

from runspec.plan.names import LOCAL, Member, World, member, parse_resolver, resolver
from runspec.run.names import around, glance, links, member_of
from runspec.run.store import Record, record_text
from runspec.spec import from_yaml, source
from runspec.spec.model import Dns, Network, Spec
from runspec.spec.tree import to_tree

ROOT = "/r/names"


def one(name: str, *addresses: str, **more: Any) -> Member:
    links = (("lan0", addresses),) if addresses else ()
    return Member(**{"name": name, "hostname": name, "links": links, **more})


def world(*members: Member, **networks: Network) -> World:
    return World(ROOT, {member.name: member for member in members},
                 {"lan0": Network(name="lan0", addresses=("10.7.0.1/24", "10.7.0.2/24", "fd00::1/64")), **networks})


def spec(text: str) -> Spec:
    documents, faults = source.parse("apiVersion: runspec/v1\nname: a\nroot: {image: busybox}\nprocess: {args: [a]}\n"
                                     + text, "t.yaml")
    assert not faults
    [(model, _)] = from_yaml.read(documents)
    assert isinstance(model, Spec)
    return model


def test_members_of_one_network_share_a_file() -> None:
    a, b = one("a", "10.7.0.11", "fd00::11"), one("b", "10.7.0.12", hostname="web.example")
    both = world(a, b)
    assert both.file(a) == both.file(b) == f"{ROOT}/networks.lan0.hosts"
    assert both.hosts(a) == both.hosts(b) == (*LOCAL, "10.7.0.11 a", "fd00::11 a", "10.7.0.12 web.example b")


def test_which_file_follows_from_the_document_alone() -> None:
    """Siblings that come and go change no file's name."""
    a = one("a", "10.7.0.11")
    for others in ((), (one("b", "10.7.0.12", hostname="a"),), (one("c", "10.7.0.13", shares="a"),)):
        assert world(a, *others).file(a) == f"{ROOT}/networks.lan0.hosts"


@pytest.mark.parametrize(("found", "file"), [
    (Member(name="a", hostname="a"), ""),
    (Member(name="a", dns=Dns(nameservers=("192.0.2.1",))), ""),
    (Member(name="a", extra=(("db", "192.0.2.7"),)), "container.a.hosts"),
    (one("a", "10.7.0.11", extra=(("db", "192.0.2.7"),)), "container.a.hosts"),
    (one("a", "10.7.0.11", covered=("/etc/hosts",)), ""),
    (one("a", "10.7.0.11", listed=False), ""),
    (Member(name="a", shares="b"), "container.a.hosts"),
    (one("a", links=(("lan0", ("10.7.0.11",)), ("b0", ("10.8.0.11",)))), "networks.b0+lan0.hosts"),
    (one("a", links=(("alone0", ("10.7.0.11",)),)), "container.a.hosts"),
])
def test_file(found: Member, file: str) -> None:
    name = world(found, alone0=Network(name="alone0", isolated=True)).file(found)
    assert name == (f"{ROOT}/{file}" if file else "")


def test_many_networks_have_a_name_that_a_file_can_have() -> None:
    many = one("a", links=tuple((f"network{n:08}", ("10.7.0.11",)) for n in range(40)))
    name = world(many).file(many).rpartition("/")[2]
    assert name.startswith("networks.") and name.endswith(".hosts") and len(name) < 100


def test_the_file_goes_before_siblings() -> None:
    a = one("a", "10.7.0.11", extra=(("B", "192.0.2.7"), ("a", "192.0.2.8"), ("gate", "host-gateway")))
    b = one("b", "10.7.0.12", hostname="web")
    assert world(a, b).hosts(a) == (*LOCAL, "192.0.2.7 B", "192.0.2.8 a", "10.7.0.1 gate", "fd00::1 gate",
                                    "10.7.0.12 web")


def test_own_name_without_an_address() -> None:
    a = one("a", hostname="web.example", extra=(("db", "192.0.2.7"),))
    assert world(a).hosts(a) == (*LOCAL, "127.0.1.1 web.example a", "192.0.2.7 db")


def test_only_common_networks() -> None:
    a = one("a", links=(("lan0", ("10.7.0.11",)), ("x0", ("10.8.0.11",))))
    b = one("b", links=(("x0", ("10.8.0.12",)), ("y0", ("10.9.0.12",))))
    c = one("c", links=(("y0", ("10.9.0.13",)),))
    three = world(a, b, c)
    assert three.hosts(a)[2:] == ("10.7.0.11 a", "10.8.0.11 a", "10.8.0.12 b")
    assert three.hosts(b)[2:] == ("10.8.0.11 a", "10.8.0.12 b", "10.9.0.12 b", "10.9.0.13 c")
    assert three.hosts(c)[2:] == ("10.9.0.12 b", "10.9.0.13 c")


def test_isolated_members_know_themselves() -> None:
    a, b = one("a", "10.7.0.11"), one("b", "10.7.0.12")
    both = World(ROOT, {"a": a, "b": b}, {"lan0": Network(name="lan0", isolated=True)})
    assert both.hosts(a)[2:] == ("10.7.0.11 a",)
    assert both.hosts(b)[2:] == ("10.7.0.12 b",)


def test_who_shares_a_network_namespace_is_at_its_addresses() -> None:
    a, b, c = one("a", "10.7.0.11"), one("b", shares="a"), one("c", "10.7.0.13")
    three = world(a, b, c)
    assert three.hosts(b)[2:] == three.hosts(c)[2:] == ("10.7.0.11 a", "10.7.0.11 b", "10.7.0.13 c")
    alone = one("b", shares="b")
    assert world(alone).hosts(alone)[2:] == ("127.0.1.1 b",)        # whatever a damaged record says


@pytest.mark.parametrize("host", ["a", "A"])
def test_a_name_is_its_container_s_whatever_another_calls_itself(host: str) -> None:
    a, b = one("a", "10.7.0.11"), one("b", "10.7.0.12", hostname=host)
    assert world(a, b).hosts(b)[2:] == ("10.7.0.11 a", "10.7.0.12 b")


def test_doubles() -> None:
    a, b = one("a", "10.7.0.11", hostname="web"), one("b", "10.7.0.12", hostname="Web")
    assert world(a, b).doubles(("lan0",)) == [("lan0", "web", ("a", "b"))]
    assert world(a, b).doubles(()) == world(a, one("c", "10.7.0.13")).doubles(("lan0",)) == []


def test_bundles_are_nobody_s_siblings() -> None:
    a, b = one("a", "10.7.0.11"), one("b", "10.7.0.12", listed=False, extra=(("db", "192.0.2.7"),))
    assert world(a, b).hosts(a)[2:] == ("10.7.0.11 a",)
    assert world(a, b).hosts(b)[2:] == ("127.0.1.1 b", "192.0.2.7 db")


@pytest.mark.parametrize("dns", [
    Dns(), Dns(nameservers=("192.0.2.1", "fe80::1%eth0")), Dns(search=("a.example", "b.example")),
    Dns(nameservers=("192.0.2.1",), search=("a.example",), options=("ndots:2", "rotate")),
])
def test_resolver_and_back(dns: Dns) -> None:
    assert parse_resolver(resolver(dns)) == dns


def test_resolver() -> None:
    assert resolver(Dns(nameservers=("192.0.2.1", "::1"), search=("a", "b"), options=("rotate",))) == (
        "nameserver 192.0.2.1", "nameserver ::1", "search a b", "options rotate")
    # Whatever somebody wrote there by hand.
    assert parse_resolver(("search a", "nameserver", "search b c", "nameserver 192.0.2.1 2")) == Dns(
        nameservers=("192.0.2.1",), search=("b", "c"))


@pytest.mark.parametrize("text", [
    "", "hostname: web.example\n", "extraHosts: [db:192.0.2.7, 'x=::1']\n", "dns: {}\n",
    "dns: {nameservers: [192.0.2.1], search: [a.example]}\n",
    "interfaces: [{name: e, type: veth, network: lan0, addresses: [10.7.0.11/24, 'fd00::1/64']}]\n",
    "interfaces: [{name: e, type: veth, network: lan0}]\n",
    "mounts: [{destination: /etc, type: tmpfs}]\n",
    "mounts: [{destination: /etc/hosts, source: /etc/hosts, options: [bind]}]\n",
    "linux: {namespaces: [{type: network, container: b}]}\n",
    "linux: {namespaces: [{type: mount, container: b}]}\n",
    "labels: {hostname: x, interfaces: '\"interfaces\":[]'}\nproject: p\ndomainname: d\nhostname: h\n",
    "annotations: {interfaces: '[]', hostname: '\"annotations\":{'}\nextraHosts: {interfaces: 192.0.2.7}\n",
    "interfaces: [{name: e, type: veth, network: lan0, addresses: [10.7.0.11/24]}]\n"
    "ports: [{host: '80', container: '80'}]\ndns: {}\nextraHosts: {dns: '::1'}\n",
])
def test_a_record_says_what_its_spec_did(text: str) -> None:
    """Reading what concerns names alone, which is quicker, comes to the same."""
    found = spec(text)
    assert member_of(to_tree(found), False) == member(found, False)
    record = Record(kind="container", name="a", boot_id="b", spec=to_tree(found))
    assert glance(record_text(record)) in (member(found, False), None)
    assert (glance(record_text(record)) is None) == ("/etc" in text)


@pytest.mark.parametrize("text", ["", "{}", "x" * 100, '{"spec":{', '{"spec":{"name":"a","bundle":""}\n',
                                  '{"spec":{"name":1,"linux":{"namespaces":[1],"annotations":{},"interfaces":[]},'
                                  '"bundle":""}\n'])
def test_a_glance_at_a_damaged_record_sees_nothing(text: str) -> None:
    assert glance(text) is None


def test_a_glance_at_a_bundle_s_record_sees_nothing() -> None:
    record = Record(kind="container", name="a", boot_id="b", spec=to_tree(spec("")), bundle="/b")
    assert glance(record_text(record)) is None


@pytest.mark.parametrize(("text", "networks"), [
    ("", set()),
    (f"labels: {{network: {'n' * 256}}}\n", set()),
    ("annotations: {interfaces: '\"interfaces\":[{\"network\":\"x\"}]', network: y}\n", set()),
    ("interfaces: [{name: e, type: veth, network: lan1}, {name: f, type: veth, network: lan2}]\n", {"lan1", "lan2"}),
    ("linux: {namespaces: [{type: network, container: b}]}\n", {"lan0"}),
    ("linux: {namespaces: [{type: ipc, container: b}, {type: network}]}\n", set()),
    ("linux: {namespaces: [{type: network, container: nobody}]}\n", set()),
    ("linux: {namespaces: [{type: network, container: a}]}\n", set()),
])
def test_which_networks_a_record_names(text: str, networks: set[str]) -> None:
    """Those of interfaces, its own or of whom it shares them with, whatever else is called so."""
    b = spec("interfaces: [{name: e, type: veth, network: lan0}]\n")
    texts = {name: record_text(Record(kind="container", name=name, boot_id="b", spec=to_tree(one))).encode()
             for name, one in (("a", spec(text)), ("b", b))}

    class Some:
        def text(self, kind: str, name: str) -> bytes | None:
            return texts.get(name)

        def names(self, kind: str) -> list[str]:
            return list(texts)

    assert links(Some(), "a") == networks       # type: ignore[arg-type]
    assert set(around(Some(), [("container", "a")])) == {  # type: ignore[arg-type]
        ("container", "a"), *(("network", name) for name in networks)}


@pytest.mark.parametrize("text", [b"", b"x", b'"interfaces":[{"network":1},{"network":"../x"},{"network":"a\\u0000"}]',
                                  b'"interfaces":[{"network":"lan0"', b'"interfaces":[{"network":"abcdefghijklmnop"}]',
                                  b'"namespaces":[{"type":"network","container":".."}]',
                                  b'"interfaces":[{"network":"\xff"},1]'])
def test_a_damaged_record_names_no_network(text: bytes) -> None:
    class Some:
        def text(self, kind: str, name: str) -> bytes | None:
            return text

    assert links(Some(), "a") <= {"\ufffd"}     # type: ignore[arg-type]
