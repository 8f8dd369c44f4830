"""The kernel's door to terminals: handing a master on, sizes, raw mode."""

from __future__ import annotations

import array
import os
import pty
import socket
import termios
from pathlib import Path

import pytest

from runspec.errors import HostError
from runspec.kernel import Kernel


@pytest.mark.parametrize("depth", [1, 3])
def test_send_console(depth: int, tmp_path: Path) -> None:
    """One message, one descriptor; a path longer than a socket's address too."""
    folder = tmp_path.joinpath(*(["a" * 60] * depth))
    folder.mkdir(parents=True)
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(folder)
        listening.bind("s")
        os.chdir(here)
        listening.listen()
        master, slave = pty.openpty()
        Kernel().send_console(str(path), master)
        peer, _ = listening.accept()
        with peer:
            data, [(level, kind, rights)], _, _ = peer.recvmsg(64, socket.CMSG_SPACE(4))
            assert (data, level, kind) == (b"/dev/ptmx", socket.SOL_SOCKET, socket.SCM_RIGHTS)
            [got] = array.array("i", rights)
            os.write(slave, b"hello")
            assert os.read(got, 5) == b"hello"
            assert peer.recv(1) == b""
        for fd in (master, slave, got):
            os.close(fd)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no such file or directory"):
        Kernel().send_console(str(tmp_path / "none"), 0)


def test_sizes_and_raw_mode() -> None:
    kernel, (master, slave) = Kernel(), pty.openpty()
    kernel.set_window_size(master, 12, 34)
    assert kernel.window_size(slave) == (12, 34) and kernel.is_terminal(slave)
    before = termios.tcgetattr(slave)
    state = kernel.make_raw(slave)
    assert not termios.tcgetattr(slave)[3] & termios.ICANON
    kernel.restore_terminal(slave, state)
    assert termios.tcgetattr(slave) == before
    reader, writer = os.pipe()
    assert kernel.window_size(reader) == (0, 0) and not kernel.is_terminal(reader)
    for fd in (reader, writer, master, slave):
        os.close(fd)
