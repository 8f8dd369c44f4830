"""Runs the command's verbs in forks of one process that has everything loaded: a sweep over hundreds of runs.

Each run is a process of its own, with its own exit status, and nothing but imported modules in common
with the others; what start-up itself does is tested elsewhere.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import runspec

_LOOP = """
import json, os, sys, traceback
sys.path.insert(0, sys.argv[1])
from runspec import __main__
import runspec.cli.declare, runspec.cli.enter, runspec.run.apply, runspec.run.request, runspec.spec.rules
import runspec.spec.schema, jsonschema, yaml
import runspec.kernel.native._native, runspec.kernel.native._seccomp
for line in sys.stdin:
    words, fault = json.loads(line)
    out = os.memfd_create("out")        # a pipe would have no end as long as a container holds it
    pid = os.fork()
    if pid == 0:
        null = os.open("/dev/null", os.O_RDWR)
        for number, fd in enumerate((null, out, out)):
            os.dup2(fd, number)
        os.closerange(3, 64)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        os.environ.pop("RUNSPEC_FAULT", None)
        if fault:
            os.environ["RUNSPEC_FAULT"] = fault
        status = 99
        try:
            status = __main__.main(words)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.lseek(out, 0, os.SEEK_SET)
    with os.fdopen(out, "rb") as file:
        text = file.read().decode(errors="replace")
    print(json.dumps([status, text]), flush=True)
"""


class Verbs:
    """The process in a private network, see conftest.Cli for what a test sees of it."""

    def __init__(self, cli: Any) -> None:
        self.cli = cli
        where = str(Path(runspec.__file__).parents[1])
        self.process = cli.netns.popen(sys.executable, "-P", "-c", _LOOP, where, stdin=-1, stderr=None)

    def run(self, *words: str | os.PathLike[str], fault: str = "") -> tuple[int, str]:
        """One run: its exit status (negative: the signal that ended it) and what it said."""
        into, out = self.process.stdin, self.process.stdout
        assert into is not None and out is not None
        into.write(json.dumps([["--root", str(self.cli.root), *map(os.fspath, words)], fault]) + "\n")
        into.flush()
        answer = out.readline()
        assert answer, "the process that runs the verbs has ended"
        status, text = json.loads(answer)
        return int(status), str(text)

    def __call__(self, *words: str | os.PathLike[str], status: int = 0) -> str:
        """One run that must end with this status; what it said."""
        got, text = self.run(*words)
        assert got == status, f"runspec {' '.join(map(os.fspath, words))}: status {got}, not {status}\n{text}"
        return text

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
