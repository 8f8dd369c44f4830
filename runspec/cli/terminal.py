"""`exec -t` at a terminal: its bytes go to the program's terminal and back, its size as well."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import errno
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Child, Kernel

END_OF_FILE = b"\x04"       # VEOF: what a terminal's reader takes for the end, termios(3)
CHUNK = 65536
INPUT, OUTPUT = 0, 1


def interact(kernel: Kernel, child: Child, master: int) -> int:
    """Copy until the program has ended, with our terminal in raw mode; returns its exit status.

    Args:
        master: of the program's terminal.
    """
    before = None

    def resize(*_: object) -> None:
        rows, columns = kernel.window_size(INPUT)
        if rows and columns:
            kernel.set_window_size(master, rows, columns)

    try:
        os.set_blocking(master, False)
        resize()
        _signal.signal(_signal.SIGWINCH, resize)
        if kernel.is_terminal(INPUT):
            before = kernel.make_raw(INPUT)
        copy(child, master)
        return child.wait()
    finally:
        _signal.signal(_signal.SIGWINCH, _signal.SIG_DFL)
        if before is not None:
            kernel.restore_terminal(INPUT, before)


def copy(child: Child, master: int) -> None:
    """Both directions, until the program has ended and nothing more comes from its terminal."""
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    pending, reading, ended = b"", True, False
    while True:
        poll.register(master, select.POLLIN | (select.POLLOUT if pending else 0))
        # A program that reads slowly, or not at all, makes its writer wait.
        poll.register(INPUT, select.POLLIN if reading and len(pending) < CHUNK else 0)
        ready = dict(poll.poll(0 if ended else None))
        if master in ready and ready[master] & (select.POLLIN | select.POLLHUP) and not _show(master):
            return
        if ended and not ready.get(master, 0) & select.POLLIN:
            return
        if child.pidfd in ready:
            ended = True
            poll.unregister(child.pidfd)
        if master in ready and ready[master] & select.POLLOUT:
            pending = pending[_give(master, pending):]
        if reading and INPUT in ready:
            data = _take()
            pending += data or END_OF_FILE
            reading = bool(data)


def _take() -> bytes:
    """What is typed; nothing at its end, and where our own terminal has hung up."""
    try:
        return os.read(INPUT, CHUNK)
    except OSError as error:
        if error.errno == errno.EIO:
            return b""
        raise


def _show(master: int) -> bool:
    """Print what came; False once every program has closed the terminal."""
    try:
        data = os.read(master, CHUNK)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno == errno.EIO:
            return False
        raise
    while data:
        data = data[os.write(OUTPUT, data):]
    return True


def _give(master: int, data: bytes) -> int:
    try:
        return os.write(master, data)
    except BlockingIOError:
        return 0
    except OSError as error:
        if error.errno == errno.EIO:
            return len(data)        # nobody reads it any more
        raise
