"""The verbs of the OCI life cycle on bundles: create start delete."""

from __future__ import annotations

import os
import sys

from runspec.cli import log, people
from runspec.cli.words import plain
from runspec.errors import HostError, Mark, SpecError, StateError, UsageError
from runspec.kernel import Kernel
from runspec.run.apply import Session, Wanted
from runspec.run.store import Store, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.cli.words import Words
    from runspec.spec.compose import Document
    from runspec.spec.model import Spec


def run(words: Words) -> int:
    """Run one of these verbs; returns the exit status."""
    kernel = Kernel(words.fault)
    store = Store(kernel, words.root)
    name = words.operands[0]
    if words.verb == "create":
        return create(words, kernel, store, name)
    return start(words, kernel, store, name) if words.verb == "start" else delete(words, kernel, store, name)


def read_bundle(bundle: str, name: str, file: str = "") -> tuple[Spec, Document, list[str]]:
    """The Spec of a bundle, judged on this machine, and notes on what no kernel could grant.

    Args:
        bundle: its directory.
        name: the container's id.
        file: another configuration than the bundle's config.json.
    Raises:
        SpecError: every fault of it.
    """
    from runspec.spec import from_oci, json_text, rules, rules_host, source, unserved

    path = file or os.path.join(bundle, from_oci.FILE)
    fix = "name the configuration's file with --config FILE" if file else "name the bundle with --bundle DIR"
    document = json_text.parse(read_file(path, fix), plain(path))
    spec, faults, notes = from_oci.read(document, name, os.path.abspath(bundle))
    if spec is not None:
        faults += rules.check(spec, document.marks, oci=True)
        faults += unserved.check(spec, document.marks)
        faults += rules_host.check_host(spec, document.marks)
    if spec is None or faults:
        raise source.join(faults)
    return spec, document, notes


def judge_bundle(file: str, bundle: str, name: str, exported: bool) -> tuple[Spec, list[str]]:
    """The Spec of a configuration, judged without regard to this machine, and the notes.

    Args:
        bundle: the directory that its relative paths begin at, absolute.
        name: the container's name.
        exported: the name that the bundle itself remembers goes before.
    Raises:
        SpecError: every fault of it.
    """
    from runspec.spec import from_oci, json_text, rules, source, to_oci

    document = json_text.parse(read_file(file, "name a bundle's directory, or its configuration"), plain(file))
    name = (exported and to_oci.given_name(document.tree)) or name
    spec, faults, notes = from_oci.read(document, name, bundle)
    if spec is not None:
        faults += rules.check(spec, document.marks, oci=True)
    if spec is None or faults:
        raise source.join(faults)
    return spec, notes


def read_file(path: str, fix: str) -> bytes:
    """The bytes of a regular file of at most 10 MiB, and one more of a longer one.

    Args:
        fix: how the user names another.
    Raises:
        SpecError: it is none, or cannot be read.
    """
    import stat

    from runspec.spec.json_text import SIZE

    at = Mark(plain(path), 0, 0)
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes must not hang.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise SpecError("is no regular file", "a bundle's configuration is one, bundle.md", fix, at)
            data = b""
            while len(data) <= SIZE and (part := os.read(fd, 1 << 20)):
                data += part
            return data
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        reason = (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "is no file name")
        raise SpecError(reason[:1].lower() + reason[1:], "a bundle is a directory that holds config.json, bundle.md",
                        fix, at) from None


def create(words: Words, kernel: Kernel, store: Store, name: str) -> int:
    """Everything but the user's program is ready when this returns; what fails leaves nothing."""
    if words.systemd:
        raise HostError("--systemd-cgroup: systemd makes no groups here", "runspec makes control groups itself",
                        "leave it out, and give cgroupsPath as an absolute path")
    bundle = os.path.abspath(words.value("bundle", "."))
    spec, document, notes = read_bundle(bundle, name, words.value("config"))
    tell(words, tuple(f"warning: {note}" for note in notes))
    pid_file = os.path.abspath(words.value("pid-file")) if words.flag("pid-file") else ""
    wanted = Wanted(spec, "", lambda: document.marks, bundle=bundle, pid_file=pid_file)
    if words.flag("console-socket"):
        if not spec.process.terminal:
            raise UsageError("create: --console-socket without a terminal", "process.terminal is not true",
                             "leave it out")
        wanted.console = os.path.abspath(words.value("console-socket"))
    ids = [("container", name), *(("network", one.network) for one in spec.interfaces if one.network),
           *(("container", one.container) for one in spec.linux.namespaces if one.container)]
    try:
        with Session.lock(kernel, store, ids) as locks:
            session = Session(kernel, store, locks)
            work = session.look([wanted], [])
            session.perform(work, [wanted])
            tell(words, (*work.notes, *locks.notes))
    except BaseException:
        store.tidy()
        raise
    return 0


def tell(words: Words, notes: tuple[str, ...]) -> None:
    """Warnings, for people and for the log; other notes are for people alone."""
    for note in notes:
        if note.startswith("warning: "):
            log.write(words, "warning", note.removeprefix("warning: "))
        print(plain(note), file=sys.stderr)


def start(words: Words, kernel: Kernel, store: Store, name: str) -> int:
    """Let the created container's program run; returns when it does."""
    ids = [("container", name)]
    people.find(store, name)       # before a lock makes anything
    with Session.lock(kernel, store, ids):
        record = people.find(store, name)
        now = status(kernel, record)
        if now != "created":
            what = ("cannot start an already running container" if now == "running"
                    else "cannot start a container that has stopped")
            raise StateError(what, f"{name} is {now}", f"`runspec state {name}` shows it")
        if not record.spec["process"]["args"]:
            raise StateError("cannot start a container without a process", f"the bundle of {name} describes none",
                             "write `process` into its config.json and create it anew")
        tell(words, Session(kernel, store).start(record))
    return 0


def delete(words: Words, kernel: Kernel, store: Store, name: str) -> int:
    """Remove a container and all that was made for it."""
    force, whole, known = words.flag("force"), True, None
    try:
        known = Session.recover(kernel, store)
    except StateError:
        if not force:
            raise
        whole = False       # somebody's journal is damaged: that must not keep this one alive
    ids = [("container", name)]
    if name not in store.names("container"):
        store.tidy()
        if force:
            return 0
        people.find(store, name)
    with Session.lock(kernel, store, ids, force, known) if whole else store.lock(ids):
        session = Session(kernel, store)
        try:
            record = store.load("container", name)
        except StateError:
            if not force:
                raise
            tell(words, session.remove_remnants(name))
        else:
            now = status(kernel, record) if record is not None else "stopped"
            if now == "running" and not force:
                raise StateError(f"cannot delete container {name} that is not stopped: {now}",
                                 "its processes would be killed", "kill it first, or give --force")
            work = session.look([], ids)
            session.perform(work, [])
            tell(words, work.notes)
    store.tidy()
    return 0
