"""Kernel parameters that are held for several, and the sockets that have a port; through a kernel of files."""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import pytest

from runspec.errors import HostError
from runspec.plan import nft
from runspec.plan.view_nft import Wall
from runspec.run.firewall import Firewall
from runspec.run.listeners import Listeners, listening
from runspec.spec.model import Interface, Linux, Namespace, Network, Process, Root, Spec
from runspec.spec.read_ports import parse_port

FORWARD, FORWARD6 = "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"
RA = "net/ipv6/conf/eth0/accept_ra"
ROUTES = "00000000000000000000000000000000 00 {0} 00 {0} 00000400 00000001 00000000 {1} eth0\n"


class FakeKernel:
    """Files, the order in which they were written, and what the kernel does with the switches among them; a table."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = {"/proc/sys/kernel/random/boot_id": "b1\n"} | files
        self.written: list[tuple[str, str]] = []
        self.elements: dict[tuple[str, str], str] = {}
        self.batches = 0

    def nft_program(self) -> str:
        return "/usr/sbin/nft"

    def nft_list(self, *what: str) -> bytes | None:
        """The table as it should be, with what elements it was given."""
        if not self.elements:
            return None
        rows: list[dict[str, Any]] = [{"set": {"name": name, "elem": [
            {"elem": {"val": {"concat": key.split(" . ")} if " . " in key else key, "comment": said}}
            for (at, key), said in self.elements.items() if at == name]}} for name in nft.SETS]
        for name, (hook, rules) in nft.CHAINS.items():
            rows.append({"chain": {"name": name} | (dict(zip(("type", "hook", "prio"), hook, strict=True))
                                                    | {"policy": "accept"} if hook else {})})
            rows += [{"rule": {"chain": name, "comment": nft.comment(word, rule)}} for word, rule in rules.items()]
        return json.dumps({"nftables": rows}).encode()

    def nft(self, text: str) -> None:
        self.batches += 1
        self.written.append(("nft", ""))
        for line in text.splitlines():
            if line == "delete table inet runspec":
                self.elements.clear()
            found = re.fullmatch(r"(add|delete) element inet runspec (\w+) \{ (.*) \}", line)
            for one in found[3].split(", ") if found else ():
                key, _, said = one.replace('"', "").partition(" comment ")
                assert found is not None
                if found[1] == "add":
                    self.elements[found[2], key] = said
                else:
                    del self.elements[found[2], key]

    def forget_flows(self, which: object) -> None:
        raise AssertionError

    def boot_id(self) -> str:
        return self.files["/proc/sys/kernel/random/boot_id"].strip()

    def try_read(self, path: str) -> bytes | None:
        return self.files[path].encode() if path in self.files else None

    def read_text(self, path: str) -> str:
        return self.files[path]

    def exists(self, path: str) -> bool:
        return path in self.files

    def write(self, path: str, text: str) -> None:
        assert path in self.files
        before = self.files[path].strip()
        self.files[path] = f"{text}\n"
        self.written.append((path.removeprefix("/proc/sys/"), text))
        kind = {f"/proc/sys/{FORWARD}": 4, f"/proc/sys/{FORWARD6}": 6}.get(path)
        if kind is not None and before != text:
            room = f"/proc/sys/net/ipv{kind}/conf/"
            self.files |= {one: f"{text}\n" for one in self.files if one.startswith(room)
                           and one.endswith("/forwarding")}
            if kind == 4:
                self.files["/proc/sys/net/ipv4/conf/all/accept_redirects"] = "10"[text != "0"] + "\n"

    def replace_file(self, path: str, text: str) -> None:
        self.files[path] = text

    def remove_file(self, path: str) -> bool:
        return self.files.pop(path, None) is not None

    def list_dir(self, path: str) -> list[str]:
        return sorted({one.removeprefix(f"{path}/").split("/")[0] for one in self.files if one.startswith(f"{path}/")})

    def remove_dir(self, path: str) -> None:
        assert not self.list_dir(path)

    def lock_dir(self, path: str, create: int) -> int:
        return 7

    def unlock(self, fd: int) -> None:
        assert fd == 7

    def dump(self, request: bytes) -> list[bytes]:
        """RTM_NEWLINK of each link that has parameters: its index and name."""
        names = {path.split("/")[6] for path in self.files if re.match(r"/proc/sys/net/ipv[46]/conf/", path)}
        out = b""
        for index, name in enumerate(sorted(names - {"all", "default"}), 1):
            text = name.encode() + b"\0"
            body = struct.pack("=BxHiII", 0, 1, index, 1, 0) + struct.pack("=HH", 4 + len(text), 3) + text
            body += bytes(-len(body) % 4)
            out += struct.pack("=IHHII", 16 + len(body), 16, 2, 1, 0) + body
        return [out]


class FakeStore:
    root = "/s"

    def prepare(self) -> None:
        pass


def wall(files: dict[str, str] | None = None) -> tuple[Firewall, FakeKernel]:
    kernel = FakeKernel({f"/proc/sys/{FORWARD}": "0\n", f"/proc/sys/{FORWARD6}": "0\n", f"/proc/sys/{RA}": "1\n"}
                        | (files or {}))
    return Firewall(kernel, FakeStore()), kernel      # type: ignore[arg-type]


def value(kernel: FakeKernel, path: str) -> str:
    return kernel.files[f"/proc/sys/{path}"].strip()


def switches(kernel: FakeKernel) -> list[tuple[str, str]]:
    """What was written to the two switches."""
    return [one for one in kernel.written if one[0] in (FORWARD, FORWARD6)]


def link(name: str, value: str, kind: int = 4) -> dict[str, str]:
    return {f"/proc/sys/net/ipv{kind}/conf/{name}/forwarding": f"{value}\n"}


REDIRECTS = "net/ipv4/conf/all/accept_redirects"
CLOSED = ("closed", "ipv4")


def test_the_last_one_gives_back() -> None:
    """Held twice for one is held once; nothing is left of it in the end."""
    one, kernel = wall()
    for _ in range(2):
        one.hold({"a": {FORWARD: "1"}, "b": {FORWARD: "1"}})
    assert one.held_by(["a", "b", "c"]) == {"a": {FORWARD: "1"}, "b": {FORWARD: "1"}, "c": {}}
    one.hold({"a": {}})
    assert value(kernel, FORWARD) == "2" and CLOSED in kernel.elements
    one.hold({"b": {}, "c": {}})
    assert value(kernel, FORWARD) == "0" and switches(kernel) == [(FORWARD, "2"), (FORWARD, "0")]
    assert kernel.list_dir("/s") == [] and kernel.elements == {}


def test_closed_before_it_is_on_and_until_it_is_off() -> None:
    """No packet of others passes in between; each family by itself."""
    one, kernel = wall()
    one.hold({"a": {FORWARD: "1"}})
    assert kernel.written == [("nft", ""), (FORWARD, "2")] and set(kernel.elements) == {CLOSED}
    assert set(kernel.elements.values()) == {nft.HOST}
    one.hold({"b": {FORWARD6: "1"}})
    assert set(kernel.elements) == {CLOSED, ("closed", "ipv6")}
    one.hold({"a": {}})
    assert kernel.written[-2:] == [(FORWARD, "0"), ("nft", "")] and set(kernel.elements) == {("closed", "ipv6")}


def test_what_was_on_stays_on() -> None:
    one, kernel = wall({f"/proc/sys/{FORWARD}": "1\n"})
    one.hold({"a": {FORWARD: "1"}})
    one.hold({"a": {}})
    assert kernel.written == []


def test_what_somebody_set_since_is_his() -> None:
    one, kernel = wall({f"/proc/sys/{FORWARD}": "1\n"})
    one.hold({"a": {FORWARD: "1"}})
    kernel.files[f"/proc/sys/{FORWARD}"] = "0\n"
    one.hold({"a": {}})
    assert value(kernel, FORWARD) == "0"


def test_a_drift_is_repaired() -> None:
    """Also where the host forwarded by itself and does no more: from then on it is ours."""
    for first in ("0", "1"):
        one, kernel = wall({f"/proc/sys/{FORWARD}": f"{first}\n"})
        one.hold({"a": {FORWARD: "1"}})
        kernel.files[f"/proc/sys/{FORWARD}"] = "0\n"
        one.hold({"a": {FORWARD: "1"}})
        assert value(kernel, FORWARD) == "2" and CLOSED in kernel.elements
        one.hold({"a": {}})
        assert value(kernel, FORWARD) == "0" and kernel.elements == {}


@pytest.mark.parametrize("how", ["settle", "hold", "end"])
def test_somebody_else_switches_it_on(how: str) -> None:
    """He writes 1, as everybody does: his packets pass from then on, and it is not ours to give back."""
    one, kernel = wall()
    one.hold({"a": {FORWARD: "1"}, "b": {FORWARD: "1"}})
    kernel.write(f"/proc/sys/{FORWARD}", "1")
    if how == "settle":
        assert one.settle() == ("net.ipv4.ip_forward was switched on by somebody else: from now on the host forwards "
                                "for all",)
        assert one.settle() == ()
    else:
        one.hold({"a": {FORWARD: "1"} if how == "hold" else {}})
    assert kernel.elements == {} and value(kernel, FORWARD) == "1"
    one.hold({"a": {}, "b": {}})
    assert value(kernel, FORWARD) == "1" and kernel.list_dir("/s") == []


def test_what_the_switch_changes_beside_itself() -> None:
    """Links that forward by themselves do so all the time; redirects and links are in the end as they were."""
    before = link("eth0", "0") | link("eth1", "1") | link("default", "0") | {f"/proc/sys/{REDIRECTS}": "0\n"}
    one, kernel = wall(before | link("all", "0"))
    one.hold({"a": {FORWARD: "1"}})
    seen = [value(kernel, f"net/ipv4/conf/{name}/forwarding") for name in ("eth0", "eth1", "default")]
    assert seen == ["2", "1", "2"]
    assert set(kernel.elements) == {CLOSED, ("free", "ipv4 . eth1")}
    one.hold({"a": {}})
    assert {path: kernel.files[path] for path in before} == before


def test_what_somebody_sets_beside_it_is_his() -> None:
    """While it is on: his links and redirects stay as he set them, and links that came are as without us."""
    one, kernel = wall(link("eth0", "0") | link("eth1", "1") | link("all", "0") | {f"/proc/sys/{REDIRECTS}": "0\n"})
    one.hold({"a": {FORWARD: "1"}})
    kernel.files |= link("eth0", "1") | link("eth1", "0") | link("eth2", "2") | {f"/proc/sys/{REDIRECTS}": "1\n"}
    one.hold({}, anew=True)
    assert set(kernel.elements) == {CLOSED, ("free", "ipv4 . eth0")}
    one.hold({"a": {}})
    assert [value(kernel, f"net/ipv4/conf/eth{i}/forwarding") for i in range(3)] == ["1", "0", "0"]
    assert value(kernel, REDIRECTS) == "1"


def test_ipv6_links_that_forward_by_force() -> None:
    """The word that decides where the kernel has it; `forwarding` of a link is put back all the same."""
    before = link("eth0", "1", 6) | link("eth1", "0", 6) | {
        f"/proc/sys/net/ipv6/conf/eth{i}/force_forwarding": f"{i}\n" for i in range(2)}
    one, kernel = wall(before)
    one.hold({"a": {FORWARD6: "1"}})
    assert set(kernel.elements) == {("closed", "ipv6"), ("free", "ipv6 . eth1")}
    one.hold({"a": {}})
    assert {path: kernel.files[path] for path in before} == before


@pytest.mark.parametrize("act", range(1, 13))
def test_a_kill_at_each_act(act: int) -> None:
    """Taking and giving back, killed at each write: who undoes it, or goes on, leaves the host as it was."""
    class Killed(BaseException):
        pass

    before = link("eth0", "0") | link("eth1", "1") | link("default", "0") | {f"/proc/sys/{REDIRECTS}": "0\n"}
    one, kernel = wall(before)
    count = 0

    def counted(act_of: Any) -> Any:
        def one_act(*given: Any) -> Any:
            nonlocal count
            count += 1
            if count == act:
                raise Killed
            return act_of(*given)
        return one_act

    kinds = ("write", "nft", "replace_file", "remove_file")
    whole = {kind: getattr(kernel, kind) for kind in kinds}
    for kind in kinds:
        setattr(kernel, kind, counted(whole[kind]))
    try:
        one.hold({"a": {FORWARD: "1"}})
        one.hold({"a": {}})
    except Killed:
        pass
    for kind in kinds:
        setattr(kernel, kind, whole[kind])
    assert (count == act) == (act < 12)
    assert value(kernel, FORWARD) == "0" or CLOSED in kernel.elements
    Firewall(kernel, FakeStore()).hold({"a": {}})      # type: ignore[arg-type]
    assert {path: kernel.files[path] for path in before} == before and value(kernel, FORWARD) == "0"
    assert kernel.elements == {} and kernel.list_dir("/s") == []


def test_links_that_no_rule_can_name() -> None:
    """A star would be every link."""
    one, kernel = wall(link("eth*", "1") | link('e"', "1"))
    one.hold({"a": {FORWARD: "1"}})
    assert set(kernel.elements) == {CLOSED}


def test_what_is_wrong_with_it_is_told() -> None:
    """What lacks, what is too many, and that it is somebody else's."""
    one, kernel = wall(link("eth1", "1") | link("eth2", "0"))
    network = Network(name="lan0", addresses=("10.7.0.1/24",), nat=True)
    one.hold({nft.owner(network): {FORWARD: "1"}})

    def said() -> tuple[str, ...]:
        found = one.look([network])
        assert isinstance(found, Wall) and found.closed
        return found.lacks(network)

    assert said() == ()
    kernel.files |= link("eth2", "1") | link("eth1", "2")
    del kernel.elements[CLOSED]
    assert said() == ("no element closed ipv4", "no element free ipv4 . eth2", "element free ipv4 . eth1 too many")
    kernel.write(f"/proc/sys/{FORWARD}", "1")
    assert said() == ("net.ipv4.ip_forward was switched on by somebody else, who is not served yet",)


@pytest.mark.parametrize(("flags", "keeps"), [
    ("00450003", True), ("004c0001", True), ("00000003", False), ("00040003", False)])
def test_a_router_still_advertises(flags: str, keeps: bool) -> None:
    """A host that forwards heeds no advertisement unless told to: before it forwards, and as before in the end."""
    one, kernel = wall({"/proc/net/ipv6_route": ROUTES.format("0" * 32, flags)})
    one.hold({"a": {FORWARD6: "1"}})
    assert kernel.written == [("nft", "")] + [(RA, "2")] * keeps + [(FORWARD6, "2")]
    one.hold({"a": {}})
    assert kernel.written[-2 - keeps:] == [(FORWARD6, "0")] + [(RA, "1")] * keeps + [("nft", "")]


def test_a_router_is_heeded_by_a_host_that_forwards_for_others() -> None:
    """Who took forwarding over while we held it would lose his default route."""
    one, kernel = wall({"/proc/net/ipv6_route": ROUTES.format("0" * 32, "00450003")})
    one.hold({"a": {FORWARD6: "1"}})
    kernel.write(f"/proc/sys/{FORWARD6}", "1")
    one.hold({"a": {}})
    assert value(kernel, RA) == "2" and value(kernel, FORWARD6) == "1"


def test_a_kill_before_the_write() -> None:
    """The file is there before the parameter is set: whoever undoes it knows what it was."""
    one, kernel = wall()
    kernel.write = None         # type: ignore[method-assign, assignment]
    with pytest.raises(TypeError):
        one.hold({"a": {FORWARD: "1"}})
    assert json.loads(kernel.files["/s/firewall/knobs.json"])["knobs"][FORWARD]["was"] == "0"
    again, other = wall(kernel.files)
    again.hold({"a": {}})
    assert other.list_dir("/s") == [] and other.written == []


def test_after_a_reboot_nothing_is_held() -> None:
    one, kernel = wall()
    one.hold({"a": {FORWARD: "1"}})
    kernel.files |= {"/proc/sys/kernel/random/boot_id": "b2\n", f"/proc/sys/{FORWARD}": "0\n"}
    assert one.held_by(["a"]) == {"a": {}}
    one.hold({"b": {FORWARD: "1"}})
    one.hold({"b": {}})
    assert kernel.list_dir("/s") == []


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"boot": "b1"}', '{"boot": "b1", "knobs": 7}',
                                  '{"boot": "b1", "knobs": {"x": {}}}', '{"boot": "b1", "knobs": {"x": 7}}'])
def test_a_damaged_file(text: str) -> None:
    one, kernel = wall({"/s/firewall/knobs.json": text})
    with pytest.raises(HostError, match=r"/s/firewall/knobs\.json is damaged"):
        one.hold({"a": {FORWARD: "1"}})
    assert kernel.written == []


def test_undone_without_its_link() -> None:
    """What was the link's went with it: nothing keeps the rest from being undone."""
    one, kernel = wall()
    one.hold({"a": {"net/ipv4/conf/lan0/route_localnet": "1", FORWARD: "1"}}, lenient=True)
    assert one.held_by(["a"]) == {"a": {FORWARD: "1"}} and switches(kernel) == [(FORWARD, "2")]


def test_a_link_that_went_away() -> None:
    one, kernel = wall()
    with pytest.raises(HostError, match=r"there is no net\.ipv4\.conf\.lan0\.route_localnet"):
        one.hold({"a": {"net/ipv4/conf/lan0/route_localnet": "1"}})
    assert kernel.written == []


# -- listeners --------------------------------------------------------------------------------------------------------

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LINE = "   0: {0} 00000000:0000 {1} 00000000:00000000 00:00000000 00000000     0        0 {2} 1 0 100 0 0 10 0\n"
V6 = "0000000000000000FFFF00000100007F"
SOCKETS = {
    "/proc/net/tcp": HEAD + LINE.format("0100007F:1F90", "0A", 11) + LINE.format("0100007F:1F91", "01", 12),
    "/proc/net/tcp6": HEAD + LINE.format("0" * 32 + ":1F92", "0A", 13) + LINE.format(f"{V6}:1F93", "0A", 14),
    "/proc/net/udp": HEAD + LINE.format("00000000:0035", "07", 15) + LINE.format("00000000:0036", "01", 16)}


def test_listening() -> None:
    """Not what is connected; IPv4 in IPv6 form is IPv4."""
    assert listening(FakeKernel(SOCKETS)) == [      # type: ignore[arg-type]
        ("tcp", "127.0.0.1", 8080, 11), ("tcp", "::", 8082, 13), ("tcp", "127.0.0.1", 8083, 14),
        ("udp", "0.0.0.0", 53, 15)]


@pytest.mark.parametrize(("port", "says"), [
    ("8080:80", "8080/tcp"), ("0.0.0.0:8080:80", "8080/tcp"), ("192.0.2.1:8080:80", ""), ("8080:80/udp", ""),
    ("8081:80", ""), ("8082:80", "8082/tcp"), ("[::]:8082:80", "8082/tcp"), ("[::]:8080:80", ""),
    ("8000-9000:8000-9000", "8080/tcp"), ("192.0.2.1:53:53/udp", "53/udp"), ("54:54/udp", ""), ("[::]:53:53/udp", ""),
])
def test_taken(port: str, says: str) -> None:
    kernel: Any = FakeKernel(SOCKETS)
    link = Interface(name="eth0", type="veth", network="n", addresses=("10.0.0.2/24", "fd00::2/64"))
    spec = Spec(name="a", root=Root(path="/r"), process=Process(args=("x",)), interfaces=(link,),
                linux=Linux(namespaces=(Namespace(type="network"),)), ports=(parse_port(port),))
    found = [what.partition(" ")[0] for _, what, _, _ in Listeners(kernel).taken(spec, None)]
    assert found == [says] * bool(says)
    assert Listeners(kernel).taken(spec, spec) == []
