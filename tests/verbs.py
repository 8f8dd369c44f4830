"""Runs the command's verbs in forks of one process that has everything loaded: most of a run's time is its start-up.

Each run is a process of its own, in the namespaces, the directory and the environment it is given, with its own
exit status, and nothing but imported modules in common with the others; what start-up itself does is tested elsewhere.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import runspec

_LOOP = """
import ctypes, gc, importlib, json, os, pkgutil, signal, sys, traceback
sys.path.insert(0, sys.argv[1])
import jsonschema, yaml
from runspec import __main__
import runspec
for module in pkgutil.walk_packages(runspec.__path__, "runspec."):
    if module.name not in ("runspec.__main__", "runspec.kernel.native.build"):
        importlib.import_module(module.name)
setns = ctypes.CDLL(None).setns
gc.freeze()

class Late(Exception):
    pass

def late(number, frame):
    raise Late

def run(one):
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for kind in ("net", "mnt"):
        fd = os.open(f"/proc/{one['pid']}/ns/{kind}", os.O_RDONLY)
        if setns(fd, 0):
            raise OSError(f"setns {kind}")
        os.close(fd)
    os.chdir(one["cwd"])
    os.environ.clear()
    os.environ.update(one["env"])
    return __main__.main(one["words"])

for line in sys.stdin:
    one = json.loads(line)
    # A pipe would have no end as long as a container holds it.
    out, err = os.memfd_create("out"), os.memfd_create("err")
    signal.signal(signal.SIGALRM, late)
    pid = os.fork()
    if pid == 0:
        for number, fd in enumerate((os.open("/dev/null", os.O_RDWR), out, err)):
            os.dup2(fd, number)
        os.closerange(3, 64)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        status = 99
        try:
            status = run(one)
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    try:
        signal.setitimer(signal.ITIMER_REAL, one["timeout"])
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Late:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        status = None
    texts = []
    for fd in (out, err):
        os.lseek(fd, 0, os.SEEK_SET)
        with os.fdopen(fd, "rb") as file:
            texts.append(file.read().decode(errors="replace"))
    print(json.dumps([status, *texts]), flush=True)
"""


class Server:
    """The process that forks; it lives as long as pytest and stays in its namespaces."""

    def __init__(self) -> None:
        self.free = threading.Lock()
        where = str(Path(runspec.__file__).parents[1])
        self.process = subprocess.Popen([sys.executable, "-P", "-c", _LOOP, where], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self.process.communicate, "")

    def run(self, pid: int, words: list[str], env: dict[str, str], timeout: float) -> tuple[int, str, str]:
        """One run in the network and mount namespace of a process: its exit status and what it said.

        Raises:
            TimeoutExpired: it took longer than `timeout` seconds, and was killed.
        """
        into, out = self.process.stdin, self.process.stdout
        assert into is not None and out is not None
        into.write(json.dumps({"pid": pid, "words": words, "env": env, "cwd": os.getcwd(), "timeout": timeout}) + "\n")
        into.flush()
        answer = out.readline()
        assert answer, "the process that runs the verbs has ended"
        status, said, complained = json.loads(answer)
        if status is None:
            raise subprocess.TimeoutExpired(words, timeout, said, complained)
        return status, said, complained


@functools.cache
def server() -> Server:
    """The one of this pytest."""
    return Server()


class Verbs:
    """The verbs in the private network of a conftest.Cli, which see; fast enough for sweeps over hundreds of runs."""

    def __init__(self, cli: Any) -> None:
        self.cli = cli

    def run(self, *words: str | os.PathLike[str], fault: str = "") -> tuple[int, str]:
        """One run: its exit status (negative: the signal that ended it) and what it said, errors last."""
        env = {name: value for name, value in os.environ.items() if name != "RUNSPEC_FAULT"}
        status, said, complained = self.cli.warm(words, env | ({"RUNSPEC_FAULT": fault} if fault else {}))
        return status, said + complained

    def __call__(self, *words: str | os.PathLike[str], status: int = 0) -> str:
        """One run that must end with this status; what it said."""
        got, text = self.run(*words)
        assert got == status, f"runspec {' '.join(map(os.fspath, words))}: status {got}, not {status}\n{text}"
        return text
