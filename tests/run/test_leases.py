"""Lease files: written whole, read with care, void after a reboot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import requires

from runspec.kernel import Kernel
from runspec.run import store as stores
from runspec.run.leases import Leases, parse_lease

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


def broken(**keys: Any) -> bytes:
    return json.dumps({**LEASE, "version": 1, "boot_id": "b", **keys}).encode()


DAMAGE = {
    "empty": b"", "cut": broken()[:-30], "zeros": bytes(200), "no map": b"[]",
    "newer": broken(version=2), "unknown key": broken(more=1), "no link": broken(link=None),
    "a number as text": broken(inside="11"), "a truth as number": broken(inside=True), "unknown in the link": broken(
        link={**LINK, "more": 1}), "short address": broken(link={**LINK, "addresses": ["0218"]}),
    "no hexadecimal": broken(link={**LINK, "routes": ["zz" * 12]}), "a number among names": broken(
        link={**LINK, "altnames": [1]}), "a number as setting": broken(link={**LINK, "settings": {"a": 1}}),
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
