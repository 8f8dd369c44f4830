"""Lease files: written whole, read with care, void after a reboot."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import requires

from runspec import abi
from runspec.errors import SyscallError
from runspec.kernel import Kernel
from runspec.plan import nic
from runspec.run import store as stores
from runspec.run.leases import Leases, parse_lease
from runspec.spec.model import Interface, Process, Root, Spec

LINK: dict[str, Any] = {
    "index": 3, "name": "eth1", "layer": 1, "kind": "", "mac": "52:54:00:12:34:57", "broadcast": "ff:ff:ff:ff:ff:ff",
    "perm": "52:54:00:12:34:57", "bus": "virtio", "device": "virtio4", "port": "", "pci": "0000:00:06.0", "mtu": 1500,
    "txqlen": 1000, "group": 0, "linkmode": 0, "alias": "", "altnames": ["up"], "flags": 4099, "master": "", "lower": 0,
    "token": "", "generated": 0, "upper": [], "addresses": ["0218800003000000"], "routes": [], "qdiscs": [],
    "neighbours": [], "settings": {"ipv4/conf/rp_filter": "2"}}
LEASE: dict[str, Any] = {
    "container": "lessee", "asked": "eth1", "key": "virtio virtio4 52:54:00:12:34:57", "inside": 11,
    "space": 4026532000, "home": 4026531840, "uptime": 7, "link": LINK}


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    kernel = Kernel()
    return Leases(kernel, stores.Store(kernel, str(tmp_path / "state")))


def file(leases: Leases) -> Path:
    return Path(leases.path(LEASE["key"]))


def test_what_is_saved_is_read(leases: Leases) -> None:
    assert leases.all() == [] and leases.unsettled() == []
    leases.save(LEASE)
    (one,) = leases.all()
    assert {key: one[key] for key in LEASE} == LEASE
    assert leases.find(LEASE["key"]) == one == leases.of("lessee", "eth1")
    assert leases.find("another") is None and leases.of("other", "eth1") is None
    assert leases.unsettled() == [one]          # there is no such container
    assert file(leases).stat().st_mode & 0o777 == 0o600 and file(leases).parent.stat().st_mode & 0o777 == 0o700
    leases.save({**LEASE, "inside": 12})
    assert [each["inside"] for each in leases.all()] == [12]
    leases.drop(LEASE["key"])
    leases.drop(LEASE["key"])
    assert list(file(leases).parent.iterdir()) == []


def test_of_another_boot(leases: Leases) -> None:
    """Its link is what that boot made of it: nothing is brought anywhere, and the file goes."""
    leases.save(LEASE)
    file(leases).write_text(json.dumps({**json.loads(file(leases).read_text()), "boot_id": "another"}))
    assert leases.all() == [] and leases.damaged() == []
    assert leases.settle() == [] and not file(leases).exists()


@requires("root")
def test_of_another_network_namespace(leases: Leases) -> None:
    leases.save(LEASE)
    assert leases.settle() == ["a lease of eth1 is another network namespace's"] and file(leases).exists()
    said: list[str] = []
    leases.try_end(LEASE, None, said.append)
    assert said == ["eth1 did not come home: a lease of eth1 is another network namespace's: there it has to come home "
                    f"to; its lease is {file(leases)}"] and file(leases).exists()


def broken(**keys: Any) -> bytes:
    return json.dumps({**LEASE, "version": 1, "boot_id": "b", **keys}).encode()


DAMAGE = {
    "empty": b"", "cut": broken()[:-30], "zeros": bytes(200), "no map": b"[]",
    "newer": broken(version=2), "unknown key": broken(more=1), "no link": broken(link=None),
    "a number as text": broken(inside="11"), "a truth as number": broken(inside=True), "unknown in the link": broken(
        link={**LINK, "more": 1}), "short address": broken(link={**LINK, "addresses": ["0218"]}),
    "no hexadecimal": broken(link={**LINK, "routes": ["zz" * 12]}), "a number among names": broken(
        link={**LINK, "altnames": [1]}), "no MAC": broken(link={**LINK, "mac": "52:54:zz"}), "cut attribute": broken(
        link={**LINK, "addresses": ["021880000300000008000800"]}), "short lifetime": broken(
        link={**LINK, "addresses": ["02188000030000000800060000000000"]}), "cut next hop": broken(
        link={**LINK, "routes": ["0218000000000001000000000c0009006300000003000000"]}), "short token": broken(
        link={**LINK, "token": "f"}), "a number as setting": broken(link={**LINK, "settings": {"a": 1}}),
    **{f"no {key}": json.dumps({name: value for name, value in {**LEASE, "version": 1, "boot_id": "b"}.items()
                                if name != key}).encode() for key in LEASE}}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged(case: str, leases: Leases) -> None:
    """It is said, and keeps nobody from anything."""
    with pytest.raises(ValueError, match=r"."):
        parse_lease(DAMAGE[case])
    leases.save({**LEASE, "key": "whole"})
    file(leases).write_bytes(DAMAGE[case])
    assert [one["key"] for one in leases.all()] == ["whole"]
    (said,) = leases.damaged()
    assert str(file(leases)) in said and "is damaged: " in said


def test_whole() -> None:
    assert parse_lease(broken())["link"] == LINK


@requires("root")
def test_what_resists_keeps_nobody_from_anything(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    """One link that cannot be brought home is told of, and the next one comes."""
    def bring_home(kernel: Kernel, lease: dict[str, Any], space: int | None) -> list[str]:
        if lease["key"] == "a":
            raise SyscallError("netlink", "link eth1", errno.EPERM)
        if lease["key"] == "b":
            raise ValueError("an attribute is cut short")
        return []

    monkeypatch.setattr("runspec.plan.steps.lease.bring_home", bring_home)
    here = leases.kernel.network_of(leases.kernel.own_pid())
    for key in "abc":
        leases.save({**LEASE, "key": key, "asked": key, "home": here})
    first, second = leases.settle()
    assert "eth1 did not come home" in first and "not permitted; its lease is " in first and leases.path("a") in first
    assert "an attribute is cut short" in second
    assert [one["key"] for one in leases.all()] == ["a", "b"]


@requires("root")
def test_who_keeps_a_namespace(leases: Leases, tmp_path: Path) -> None:
    """A process, or a descriptor or a mount alone; hardware may be in any, a virtual link in its container's only."""
    def spaces(**keys: Any) -> list[str]:
        return leases._spaces({**LEASE, "home": here, **keys})

    here = leases.kernel.network_of(leases.kernel.own_pid())
    with subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 100"], stdout=subprocess.PIPE) as one:
        assert one.stdout is not None and one.stdout.readline()
        path = f"/proc/{one.pid}/ns/net"
        space = os.stat(path).st_ino
        virtual = {"space": space, "link": {**LINK, "kind": "dummy", "bus": "", "device": ""}}
        assert spaces(space=space)[0] == path and path in spaces() and spaces(**virtual) == [path]
        assert not [path for path in spaces() if os.stat(path).st_ino in (0, here)]
        fd = os.open(path, os.O_RDONLY)
        one.kill()
    try:
        assert spaces(**virtual) == [f"/proc/{os.getpid()}/fd/{fd}"] and spaces(**virtual)[0] in spaces()
        file = tmp_path / "space"
        file.touch()
        subprocess.run(["mount", "--bind", f"/proc/{os.getpid()}/fd/{fd}", file], check=True)
    finally:
        os.close(fd)
    assert spaces(**virtual) == [str(file)]
    subprocess.run(["umount", file], check=True)
    assert spaces(**virtual) == []


@pytest.mark.parametrize("last", ["right", "wrong"])
def test_one_space_that_cannot_be_entered(last: str, leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps it from no other one; where it is in none, that is what is told."""
    monkeypatch.setattr(Leases, "_spaces", lambda *_: ["closed", last])
    monkeypatch.setattr(Leases, "_plugged", lambda *_: False)
    monkeypatch.setattr("runspec.plan.steps.lease.bring_home", lambda *_: None)

    def fetch(_: Leases, lease: dict[str, Any], path: str) -> list[str] | None:
        if path == "closed":
            raise SyscallError("setns", "", errno.EPERM)
        return [] if path == "right" else None

    monkeypatch.setattr(Leases, "_fetch", fetch)
    if last == "right":
        assert leases.recall(LEASE)
    else:
        with pytest.raises(SyscallError, match="setns"):
            leases.recall(LEASE)


@pytest.mark.parametrize(("inner", "aside"), [("eth1", True), ("up", True), ("lan0", False), ("eth0", False)])
def test_a_name_is_made_free(inner: str, aside: bool, leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another lease's link, which the kernel threw back under the name that it had inside; of no other link."""
    two = {**LINK, "index": 2, "name": "eth0", "perm": "52:54:00:12:34:56", "device": "virtio3", "altnames": []}
    leases.save(LEASE)
    now = [{**LINK, "index": 11, "name": "rename11"}, {**two, "index": 12, "name": inner}]
    sent: list[bytes] = []
    monkeypatch.setattr(Kernel, "portraits", lambda *_: now)
    monkeypatch.setattr(Kernel, "netlink", lambda _, message, *__: sent.append(message))
    monkeypatch.setattr("runspec.plan.steps.lease.bring_home", lambda *_: [])
    assert leases.recall(LEASE) and sent == []      # nobody's that we know
    leases.save({**LEASE, "asked": "eth0", "key": nic.key(two), "inside": 12, "link": two})
    assert leases.recall(LEASE)
    assert sent == [nic.flags(12, 0, abi.IFF_UP) + nic.rename(12, "dev12")] * aside


def test_one_word_has_one_lease(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hardware that was unplugged left goes when something else under its name is lent."""
    monkeypatch.setattr(Kernel, "portraits", lambda *_: [])
    monkeypatch.setattr(Leases, "_plugged", lambda *_: False)
    leases.save(LEASE)
    assert leases.meant("lessee", "eth1", leases.known()) == []
    monkeypatch.setattr(Leases, "_plugged", lambda *_: True)
    assert leases.meant("lessee", "eth1", leases.known()) == [LINK]
    other = {**LEASE, "key": "virtio virtio9 52:54:00:12:34:57", "asked": "mac:52:54:00:12:34:57"}
    leases.save(other)
    assert len(leases.all()) == 2
    leases.save({**other, "asked": "eth1"})
    assert [one["key"] for one in leases.all()] == [other["key"]]


def test_words_for_one_link(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, its addresses, another name of its; one that is lent is still known by them."""
    two = {**LINK, "index": 2, "name": "eth0", "mac": "52:54:00:12:34:56", "perm": "52:54:00:12:34:56",
           "device": "virtio3", "pci": "0000:00:05.0", "altnames": ["first"]}
    monkeypatch.setattr(Kernel, "portraits", lambda *_: [two])
    monkeypatch.setattr(Leases, "_plugged", lambda *_: True)
    leases.save(LEASE)
    words = {"eth0": "eth0", "mac:52:54:00:12:34:56": "eth0", "pci:0000:00:05.0": "eth0", "first": "eth0",
             "eth1": "eth1", "mac:52:54:00:12:34:57": "eth1", "pci:0000:00:06.0": "eth1", "up": "eth1"}
    assert leases.names([*words, "eth7", "mac:02:00:00:00:00:01"]) == words


@requires("root")
def test_refused_where_it_was_unplugged(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Spec(name="lessee", root=Root(image="busybox"), process=Process(args=("sh",)),
                interfaces=(Interface(name="lan0", type="physical", parent="eth1"),))
    monkeypatch.setattr(Kernel, "portraits", lambda *_: [])
    monkeypatch.setattr(Leases, "_plugged", lambda *_: False)
    leases.save(LEASE)
    assert leases.refusals(spec) == [(
        "interfaces[0].parent", "eth1 is not there any more",
        "its hardware, virtio device virtio4, was unplugged while it was lent",
        "plug it in again, or take the interface out of the file")]
    leases.drop(LEASE["key"])
    assert leases.refusals(spec)[0][1] == "there is no physical interface eth1"
