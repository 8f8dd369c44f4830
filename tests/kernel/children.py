"""Runs op tables in the tests: a child, its reports, and the sanitized build of the interpreter."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path

from runspec import abi
from runspec.abi import Op
from runspec.kernel import native, table

BUSYBOX = "/bin/busybox"
PRIVATE_MOUNTS = [
    Op(abi.OP_UNSHARE, a=abi.CLONE_NEWNS),
    Op(abi.OP_OPEN, slot=60, s1=b"/", a=abi.O_PATH),
    Op(abi.OP_MOUNT_SETATTR, slot=60, c=abi.MS_PRIVATE, pad=1),
]
IN_ROOT = abi.RESOLVE_IN_ROOT | abi.RESOLVE_NO_MAGICLINKS


def children() -> set[int]:
    """The children of this process, those that ended and were not waited for included."""
    found = set()
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
            found.update(map(int, file.read().split()))
    return found


class Run:
    """A child that runs a table; ends with the `with` block."""

    def __init__(
        self,
        ops: list[Op],
        slots: tuple[int, ...] = (),
        flags: int = 0,
        stdout: int = -1,
        init: int = -1,
        data: bytes | None = None,
    ) -> None:
        fd = table.memfd(table.pack(ops, len(slots)) if data is None else data)
        try:
            self.pid, self.pidfd, self.control = native.spawn(
                fd, slots, flags, stdio=(-1, stdout, -1), init=init
            )
        finally:
            os.close(fd)

    def reports(self) -> Iterator[native.Report]:
        """What it reports; a BARRIER is opened when the next is asked for."""
        while (report := native.receive(self.control, 20_000)) is not None:
            yield report
            if report.kind == abi.REPORT_BARRIER:
                native.go(self.control)

    def end(self) -> int:
        """Hangs up and returns the wait status."""
        os.close(self.control)
        os.close(self.pidfd)
        self.control = -1
        return os.waitpid(self.pid, 0)[1]

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self.control >= 0:
            self.end()


def run(ops: list[Op], slots: tuple[int, ...] = (), flags: int = 0) -> list[native.Report]:
    """All reports of a table that is left to run."""
    with Run(ops, slots, flags) as child:
        return list(child.reports())


def error(ops: list[Op], slots: tuple[int, ...] = (), flags: int = 0) -> tuple[int, int]:
    """(index, errno) of the op that ends the table; the last report must be that error."""
    last = run(ops, slots, flags)[-1]
    assert last.kind == abi.REPORT_ERROR, last
    return last.index, last.error


def output(ops: list[Op], slots: tuple[int, ...] = (), flags: int = 0) -> str:
    """What the program at the end of the table writes; the table must reach it."""
    reader, writer = os.pipe()
    with Run(ops, slots, flags, stdout=writer) as child, open(reader, encoding="utf-8") as file:
        os.close(writer)
        reports = list(child.reports())
        assert not [one for one in reports if one.kind == abi.REPORT_ERROR], reports
        return file.read()


def shell(script: str) -> Op:
    """EXEC of a busybox shell."""
    return Op(abi.OP_EXEC, s1=b"".join(word.encode() + b"\0" for word in (BUSYBOX, "sh", "-c", script)))


def sanitized(folder: Path) -> Path:
    """Builds the interpreter hosted, with ASan and UBSan."""
    source = Path(native.__file__).parent
    build = run_path(str(source / "build.py"))
    out = folder / "init-hosted"
    build["build_init"](str(out), build["HOSTED"])
    return out


def checked(program: Path, files: list[Path]) -> list[int]:
    """The table check's answers to these files by the sanitized build: 0, or -errno."""
    done = subprocess.run([program, *files], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [int(line.split()[0]) for line in done.stdout.splitlines()]
