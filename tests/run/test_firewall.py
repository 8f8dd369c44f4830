"""Kernel parameters that are held for several, and the sockets that have a port; through a kernel of files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runspec.errors import HostError
from runspec.run.firewall import Firewall
from runspec.run.listeners import Listeners, listening
from runspec.spec.model import Interface, Linux, Namespace, Process, Root, Spec
from runspec.spec.read_ports import parse_port

FORWARD, FORWARD6 = "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"
RA = "net/ipv6/conf/eth0/accept_ra"
ROUTES = "00000000000000000000000000000000 00 {0} 00 {0} 00000400 00000001 00000000 {1} eth0\n"


class FakeKernel:
    """Files, and the order in which they were written."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = {"/proc/sys/kernel/random/boot_id": "b1\n"} | files
        self.written: list[tuple[str, str]] = []

    def try_read(self, path: str) -> bytes | None:
        return self.files[path].encode() if path in self.files else None

    def read_text(self, path: str) -> str:
        return self.files[path]

    def exists(self, path: str) -> bool:
        return path in self.files

    def write(self, path: str, text: str) -> None:
        assert path in self.files
        self.files[path] = f"{text}\n"
        self.written.append((path.removeprefix("/proc/sys/"), text))

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
        return []


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


def test_the_last_one_gives_back() -> None:
    """Held twice for one is held once; nothing is left of it in the end."""
    one, kernel = wall()
    for _ in range(2):
        one.hold({"a": {FORWARD: "1"}, "b": {FORWARD: "1"}})
    assert one.held_by(["a", "b", "c"]) == {"a": {FORWARD: "1"}, "b": {FORWARD: "1"}, "c": {}}
    one.hold({"a": {}})
    assert value(kernel, FORWARD) == "1"
    one.hold({"b": {}, "c": {}})
    assert value(kernel, FORWARD) == "0" and kernel.written == [(FORWARD, "1"), (FORWARD, "0")]
    assert kernel.list_dir("/s") == []


def test_what_was_on_stays_on() -> None:
    one, kernel = wall({f"/proc/sys/{FORWARD}": "1\n"})
    one.hold({"a": {FORWARD: "1"}})
    one.hold({"a": {}})
    assert kernel.written == []


def test_what_somebody_set_since_is_his() -> None:
    one, kernel = wall({f"/proc/sys/{FORWARD}": "2\n"})
    one.hold({"a": {FORWARD: "1"}})
    kernel.files[f"/proc/sys/{FORWARD}"] = "0\n"
    one.hold({"a": {}})
    assert value(kernel, FORWARD) == "0"


def test_a_drift_is_repaired_and_the_first_value_remembered() -> None:
    one, kernel = wall()
    one.hold({"a": {FORWARD: "1"}})
    kernel.files[f"/proc/sys/{FORWARD}"] = "0\n"
    one.hold({"a": {FORWARD: "1"}})
    assert value(kernel, FORWARD) == "1"
    one.hold({"a": {}})
    assert value(kernel, FORWARD) == "0"


@pytest.mark.parametrize(("flags", "keeps"), [("00450003", True), ("00000003", False), ("00040003", False)])
def test_a_router_still_advertises(flags: str, keeps: bool) -> None:
    """A host that forwards heeds no advertisement unless told to: before it forwards, and as before in the end."""
    one, kernel = wall({"/proc/net/ipv6_route": ROUTES.format("0" * 32, flags)})
    one.hold({"a": {FORWARD6: "1"}})
    assert kernel.written == [(RA, "2")] * keeps + [(FORWARD6, "1")]
    one.hold({"a": {}})
    assert kernel.written[-1 - keeps:] == [(FORWARD6, "0")] + [(RA, "1")] * keeps


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
    assert one.held_by(["a"]) == {"a": {FORWARD: "1"}} and kernel.written == [(FORWARD, "1")]


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
