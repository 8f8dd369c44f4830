"""Runs one command; the only place that turns RunspecError into text and an exit status."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import os
import sys
from errno import ENOENT

from runspec.cli.words import Words, plain
from runspec.errors import RunspecError, UsageError, meaning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PEOPLE = ("list", "state", "ps", "tree", "kill", "stop")
INTERRUPTED = 128       # and the signal, as a shell reports it
BROKEN_PIPE = 141       # 128 + SIGPIPE: what any program ends with whose reader has gone


class Terminated(KeyboardInterrupt):
    """Somebody ends this run by another signal than SIGINT: what takes itself back on Ctrl-C does so as well."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the arguments without the program's name; None: the process's own.

    Returns:
        The exit status: 0 done, 1 `diff` found differences or an OCI verb failed, 2 trouble,
        255 an `exec` that failed before its program ran, else the program's own status.
    """
    _open_standard_descriptors()
    words = Words(os.environ.get("RUNSPEC_FAULT", ""))
    try:
        try:
            words.parse(sys.argv[1:] if argv is None else argv, _version())
            status = _run(words)
        finally:
            sys.stdout.flush()      # here, so that a full disk or a closed pipe is seen
    except BrokenPipeError as error:
        if isinstance(error, RunspecError):
            return _fail(words, error, words.status)
        _drop_output()
        return BROKEN_PIPE
    except KeyboardInterrupt as error:
        ended = INTERRUPTED + (error.number if isinstance(error, Terminated) else _signal.SIGINT)
        if error.args:
            return _fail(words, RunspecError(f"interrupted: {error.args[0]}"), ended)
        return ended
    except RunspecError as error:
        early = words.verb == "exec" and not isinstance(error, UsageError)
        return _fail(words, error, 255 if early else words.status)
    except OSError as error:
        # What has no name is our output; to write there finds everything, but who asks for a lost directory's name.
        unnamed = "standard output" if error.errno != ENOENT else "the working directory"
        what = plain(f"{error.filename or unnamed}: {error.strerror or error}")
        _drop_output()
        return _fail(words, RunspecError(what, *meaning(error.errno or 0)), words.status)
    except Exception as error:
        text = plain(f"internal error: {type(error).__name__}: {error}")
        return _fail(words, RunspecError(text, fix="run it again with --debug before the verb"), words.status)
    return status


def _run(words: Words) -> int:
    """Dispatch; imports only what the verb needs, since start-up is most of a hot verb's time."""
    if words.text is not None:
        print(words.text)
        return 0
    if words.log:
        _try_log(words)
    if words.verb in PEOPLE:
        from runspec.cli import people

        return people.run(words)
    if words.verb == "exec":
        from runspec.cli import enter

        return enter.run(words)
    if words.verb == "bench":
        from runspec.cli import bench

        return bench.run(words)
    heed()
    if words.verb in ("create", "start", "delete"):
        from runspec.cli import oci

        return oci.run(words)
    from runspec.kernel import Kernel

    kernel = Kernel(words.fault)
    if words.verb == "doctor":
        from runspec.cli import doctor

        return doctor.run(words, kernel)
    if words.verb == "convert":
        from runspec.cli import convert

        return convert.run(words, kernel)
    from runspec.cli import declare
    from runspec.run.store import Store

    # Files can be judged by anybody; the state directory is root's, and is not even looked at.
    store = None if words.verb in ("validate", "config") else Store(kernel, words.root)
    return int(getattr(declare, words.verb)(words, kernel, store))


def _try_log(words: Words) -> None:
    """Whoever asks for a log reads it and nothing else, so one that cannot be written is an error, as with runc."""
    try:
        os.close(words.open_log())
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise UsageError(f"--log {plain(words.log)}: {why[0].lower()}{why[1:]}",
                         fix="name a file in a directory that is there") from None


def heed() -> None:
    """End at SIGTERM and SIGHUP as at SIGINT, but at those that our caller ignores."""
    def end(number: int, _frame: object) -> None:
        # Once is enough: timeout(1), for one, sends it twice, and the second would end the undoing.
        for one in heeded:
            _signal.signal(one, lambda _number, _frame: None)
        raise Terminated(number)

    heeded = [one for one in (_signal.SIGTERM, _signal.SIGHUP) if _signal.getsignal(one) == _signal.SIG_DFL]
    for one in heeded:
        _signal.signal(one, end)


def _fail(words: Words, error: RunspecError, status: int) -> int:
    """Report an error on standard error, where that still has a reader."""
    try:
        if words.debug:
            import traceback

            traceback.print_exc()
        sys.stderr.write(("" if error.at else "runspec: ") + error.text() + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass        # nobody reads it; the status still tells
    if words.log:
        from runspec.cli.log import write

        write(words, "error", error.text())
    return status


def _version() -> str:
    from runspec import __version__

    return f"runspec version {__version__}\nspec: 1.3.0"


def _open_standard_descriptors() -> None:
    """Make 0, 1 and 2 valid: else the next open() would become somebody's standard output."""
    closed = False
    while (fd := os.open("/dev/null", os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
        closed = True
    os.close(fd)
    if closed:
        for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Names on this machine need not fit the locale; an error while printing helps nobody.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _drop_output() -> None:
    """Send what is still buffered to /dev/null, or Python's own flush at exit would complain."""
    try:
        fd = os.open("/dev/null", os.O_WRONLY)
        os.dup2(fd, sys.stdout.fileno())
        os.close(fd)
    except (OSError, ValueError):
        pass


if __name__ == "__main__":
    sys.exit(main())
