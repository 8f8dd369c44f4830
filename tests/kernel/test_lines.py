"""Files of lines: what readers see while they change."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from runspec.errors import HostError
from runspec.kernel import Kernel
from runspec.kernel.lines import active


def old(path: Path) -> None:
    """Let the last change lie long enough for nobody to be in the middle of it."""
    found = path.stat()
    os.utime(path, (found.st_atime, found.st_mtime - 5))


def test_new_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        Kernel().edit_lines(str(tmp_path / "f"), ("10.0.0.1 a", "10.0.0.2 b"))
    finally:
        os.umask(before)
    assert (tmp_path / "f").read_text() == "10.0.0.1 a\n10.0.0.2 b\n"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o644


def test_same_file_and_no_line_moves(tmp_path: Path) -> None:
    file, kernel = tmp_path / "f", Kernel()
    kernel.edit_lines(str(file), ("10.0.0.1 a", "10.0.0.2 b", "10.0.0.3 c"))
    inode = file.stat().st_ino
    kernel.edit_lines(str(file), ("10.0.0.3 c", "10.0.0.4 d", "10.0.0.1 a"))
    assert file.read_text() == "10.0.0.1 a\n#0.0.0.2 b\n10.0.0.3 c\n10.0.0.4 d\n"
    assert file.stat().st_ino == inode
    assert kernel.read_lines(str(file)) == ("10.0.0.1 a", "10.0.0.3 c", "10.0.0.4 d")


def test_room_of_a_line_that_went_is_used_when_it_is_quiet(tmp_path: Path) -> None:
    file, kernel = tmp_path / "f", Kernel()
    kernel.edit_lines(str(file), ("10.0.0.1 a", "10.0.0.200 long.example", "10.0.0.3 c"))
    kernel.edit_lines(str(file), ("10.0.0.1 a", "10.0.0.3 c"))
    kernel.edit_lines(str(file), ("10.0.0.1 a", "10.0.0.3 c", "10.0.0.4 d"))
    assert file.read_text().endswith("c\n10.0.0.4 d\n")         # somebody may still read the line that went
    kernel.edit_lines(str(file), ("10.0.0.1 a", "10.0.0.3 c"))
    old(file)
    size = file.stat().st_size
    kernel.edit_lines(str(file), ("10.0.0.1 a", "10.0.0.3 c", "10.0.0.5 e", "10.0.0.6 longer.example"))
    assert kernel.read_lines(str(file)) == ("10.0.0.1 a", "10.0.0.6 longer.example", "10.0.0.3 c", "10.0.0.5 e")
    assert file.stat().st_size == size


def test_comments_at_the_end_are_cut_off_when_it_is_quiet(tmp_path: Path) -> None:
    file, kernel = tmp_path / "f", Kernel()
    kernel.edit_lines(str(file), ("10.0.0.1 a", "10.0.0.2 b", "10.0.0.3 c"))
    kernel.edit_lines(str(file), ("10.0.0.1 a", "10.0.0.2 b"))
    old(file)
    kernel.edit_lines(str(file), ("10.0.0.1 a",))
    assert file.read_text() == "10.0.0.1 a\n#0.0.0.2 b\n"


def test_order_counts_where_it_is_asked(tmp_path: Path) -> None:
    file, kernel = tmp_path / "f", Kernel()
    kernel.edit_lines(str(file), ("nameserver a", "nameserver b", "search x"), ordered=True)
    kernel.edit_lines(str(file), ("nameserver b", "nameserver a", "search x"), ordered=True)
    assert kernel.read_lines(str(file)) == ("nameserver b", "nameserver a", "search x")
    kernel.edit_lines(str(file), (), ordered=True)
    assert kernel.read_lines(str(file)) == ()


@pytest.mark.parametrize("text", ["10.0.0.1 a", "10.0.0.1 a\n10.0.0", "\n\n#x\n", "#x", "\0\0\n", "a\r\nb\r\n",
                                  "  \n x\n",
                                  "10.0.0.1 a\n10.0.0.1 a\n"])
def test_whatever_somebody_left_there(tmp_path: Path, text: str) -> None:
    file, kernel = tmp_path / "f", Kernel()
    file.write_bytes(text.encode())
    for lines in (("10.0.0.1 a", "10.0.0.2 b"), (), ("10.0.0.3 c",)):
        kernel.edit_lines(str(file), lines)
        assert sorted(kernel.read_lines(str(file)) or ()) == sorted(lines)
        old(file)


def test_any_sequence_of_sets(tmp_path: Path) -> None:
    draw, file, kernel = random.Random(7), tmp_path / "f", Kernel()
    names = [f"10.0.{n}.1 {'x' * draw.randint(1, 40)}{n}" for n in range(40)]
    for _ in range(300):
        lines = tuple(draw.sample(names, draw.randint(0, 40)))
        kernel.edit_lines(str(file), lines)
        assert set(kernel.read_lines(str(file)) or ()) == set(lines)
        if draw.random() < 0.5:
            old(file)
    assert file.stat().st_size < 40_000


def test_readers_see_whole_lines(tmp_path: Path) -> None:
    """In pieces of 64 bytes and at any pace: each line is one that somebody wrote, and what stays is always there."""
    file, kernel, done = tmp_path / "f", Kernel(), threading.Event()
    stay = tuple(f"10.0.0.{n} stays{n}" for n in range(100))
    come = tuple(f"10.0.1.{n} comes{n}.{'y' * n}" for n in range(100))
    kernel.edit_lines(str(file), stay)
    known, seen, bad = {*stay, *come}, 0, []

    def read() -> None:
        nonlocal seen
        while not done.is_set():
            with open(file, "rb", buffering=0) as one:
                data = b""
                while part := one.read(64):
                    data += part
            found = set(active(data.rpartition(b"\n")[0]))
            if found - known or not found.issuperset(stay):
                bad.append(found - known or set(stay) - found)
            seen += 1

    threads = [threading.Thread(target=read) for _ in range(2)]
    for one in threads:
        one.start()
    draw, edits, end = random.Random(3), 0, time.monotonic() + 60
    while edits < 150 or (seen <= 20 and time.monotonic() < end):
        kernel.edit_lines(str(file), (*stay, *draw.sample(come, draw.randint(0, 50))))
        edits += 1
    done.set()
    for one in threads:
        one.join()
    assert seen > 20 and bad == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "f").symlink_to(tmp_path / "other")
    with pytest.raises(OSError):
        Kernel().edit_lines(str(tmp_path / "f"), ("a",))
    assert not (tmp_path / "other").exists()


def test_nothing_there(tmp_path: Path) -> None:
    assert Kernel().read_lines(str(tmp_path / "f")) is None
    assert Kernel().read_lines(str(tmp_path / "f/g")) is None


def test_a_lease_of_its_owner_makes_nobody_wait(tmp_path: Path) -> None:
    """The kernel would let its holder take 45 seconds; one who gives it up in time is waited for."""
    file, kernel = tmp_path / "f", Kernel()
    kernel.edit_lines(str(file), ("10.0.0.1 a",))
    asked = threading.Event()
    before = signal.signal(signal.SIGIO, lambda *_: asked.set())
    try:
        for kind in (fcntl.F_RDLCK, fcntl.F_WRLCK):
            fd = os.open(file, os.O_RDONLY if kind == fcntl.F_RDLCK else os.O_RDWR)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, kind)
            begin = time.monotonic()
            with pytest.raises(HostError, match="cannot be opened") as caught:
                kernel.edit_lines(str(file), ("10.0.0.2 b",))
            assert time.monotonic() - begin < 3 and str(file) in str(caught.value) and asked.is_set()
            if kind == fcntl.F_WRLCK:
                with pytest.raises(HostError, match="cannot be opened"):
                    kernel.read_lines(str(file))
            threading.Timer(0.2, os.close, (fd,)).start()
            kernel.edit_lines(str(file), ("10.0.0.2 b",))
            assert kernel.read_lines(str(file)) == ("10.0.0.2 b",)
    finally:
        signal.signal(signal.SIGIO, before)
