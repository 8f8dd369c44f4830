"""What nft(8) lists, read."""

from __future__ import annotations

import json
import subprocess

import pytest
from conftest import Netns, requires

from runspec.errors import HostError
from runspec.kernel.nft import parse_table
from runspec.plan import nft


def element(key: object, value: object = None) -> object:
    one = {"elem": {"val": key, "comment": "a"}}
    return one if value is None else [one, value]


@pytest.mark.parametrize(("kind", "elem", "says"), [
    ("map", element({"concat": ["tcp", "127.0.0.1", 8080]}, {"concat": ["10.0.0.1", 80]}),
     ("tcp . 127.0.0.1 . 8080", "10.0.0.1 . 80")),
    ("map", element({"concat": [17, {"prefix": {"addr": "::", "len": 0}}, {"range": [1, 9]}]}, "fd00::1"),
     ("udp . ::/0 . 1-9", "fd00::1")),
    ("set", element({"concat": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "10.0.0.1"]}),
     ("10.0.0.0/8 . 10.0.0.1", "")),
    ("set", element("lan0"), ("lan0", "")),
])
def test_elements(kind: str, elem: object, says: tuple[str, str]) -> None:
    text = json.dumps({"nftables": [{kind: {"name": "s", "elem": [elem]}}]}).encode()
    assert parse_table(text)["elements"] == {("s", says[0]): (says[1], "a")}


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"nftables": [{"set": {}}]}', b'{"nftables": [7]}',
                                  b'{"nftables": [{"map": {"name": "s", "elem": [7]}}]}',
                                  b'{"nftables": [{"set": {"name": "s", "elem": [{"x": 1}]}}]}', b"\xff"])
def test_what_cannot_be_read(text: bytes) -> None:
    with pytest.raises(HostError, match="cannot be read"):
        parse_table(text)


@requires("root", "nft", "nsenter")
@pytest.mark.both
def test_the_kernel_gives_back_what_was_written(netns: Netns) -> None:
    """Every set and map, with ranges that end at powers of two, and every rule: read as they were written."""
    wanted = {"a": (("ports4", "tcp . 127.0.0.1 . 8080", "10.77.0.11 . 80"),
                    ("ports4", "udp . 0.0.0.0/0 . 53", "10.0.0.1 . 53"),
                    ("ranges4", "tcp . 10.0.0.1 . 8192-16383", "10.77.0.11"),
                    ("ranges4", "udp . 0.0.0.0/0 . 1-65535", "10.0.0.1"),
                    ("ports6", "tcp . ::/0 . 8080", "fd77::11 . 80"), ("ranges6", "tcp . fd00::1 . 1-2", "fd77::11"),
                    ("hairpin4", "10.77.0.0/24 . 10.77.0.11", ""), ("hairpin6", "fd77::/64 . fd77::11", "")),
              "network n": (("inside", "lan0 . lan0", ""), ("internal", "lan0", ""), ("hidden", "lan-1.x", ""),
                            ("nat4", "10.77.0.0/24", ""), ("nat6", "fd77::/64", ""),
                            ("own4", "10.77.0.0/24 . lan0", ""), ("own6", "fd77::/64 . lan0", ""))}

    def bring(table: nft.Table | None, those: dict[str, tuple[nft.Element, ...]]) -> nft.Table | None:
        done = netns.run("nft", "-f", "-", input=nft.batch(table, those))
        assert done.returncode == 0, done.stderr
        done = netns.run("nft", "-j", "list", "table", "inet", "runspec")
        return nft.Table(**parse_table(done.stdout.encode())) if not done.returncode else None

    table = bring(None, wanted)
    assert table is not None and table.ours and not nft.damage(table)
    assert table.elements == {(name, key): (value, owner) for owner, those in wanted.items()
                              for name, key, value in those}
    assert not nft.batch(table, wanted)
    # The same keys for others, all at once, and one that overlaps what goes.
    moved = {"a": (("ports4", "tcp . 0.0.0.0/0 . 8080", "10.77.0.12 . 80"),), "b": wanted["a"][1:]}
    table = bring(table, moved)
    assert table is not None and not nft.batch(table, moved)
    subprocess.run(netns.enter("nft", "flush", "table", "inet", "runspec"), check=True)
    done = netns.run("nft", "-j", "list", "table", "inet", "runspec")
    torn = nft.Table(**parse_table(done.stdout.encode()))
    assert torn.ours and nft.damage(torn)
    again = bring(torn, {"network n": ()})
    assert again is not None and not nft.damage(again) and {owner for _, owner in again.elements.values()} == {"a", "b"}
    assert bring(again, {"a": (), "b": ()}) is None
