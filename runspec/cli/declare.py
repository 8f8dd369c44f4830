"""The declarative verbs: validate, config, plan, diff, apply, destroy."""

from __future__ import annotations

import os
import sys

from runspec.cli import render
from runspec.cli.words import plain
from runspec.errors import RunspecError, SpecError, StateError, SyscallError, UsageError
from runspec.spec.model import Network, Spec

# Keys are sorted, so every plan begins with these bytes and no document of a user's does.
HEAD = b'{"apiVersion":"runspec/v1","bootID":"'

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from runspec.cli.words import Words
    from runspec.errors import Mark
    from runspec.kernel import Kernel
    from runspec.plan.steps.base import Change, Plan
    from runspec.run.apply import Wanted, Work
    from runspec.run.planfile import Saved
    from runspec.run.store import Store
    from runspec.spec.compose import Document
    from runspec.spec.image import Machine


def judge(documents: list[Document], unread: list[SpecError] | None = None, host: bool = True,
          machine: Machine | None = None) -> list[tuple[Spec | Network, Document]]:
    """Documents -> models that the schema and every rule accept.

    Args:
        unread: faults of files that could not be read, reported together with the others.
        host: whether the files that the documents name must be there.
        machine: answers what images and devices are; None leaves them as they are named.

    Raises:
        SpecError: every fault of every document, in file order.
    """
    if not documents and not unread:
        return []           # all were applied before, and judged then
    from runspec.spec import rules, source

    read, faults = rules.judge(documents, unread, host, machine)
    if faults:
        raise source.join(faults)
    return read


def read_specs(paths: tuple[str, ...], host: bool = False,
               machine: Machine | None = None) -> list[tuple[Spec | Network, Document]]:
    """Files -> models, see judge."""
    from runspec.spec import source

    return judge(*source.gather(list(paths), sys.stdin.buffer), host, machine)


def validate(words: Words, kernel: Kernel, store: None) -> int:
    """Every fault of every file; needs no privilege."""
    read = read_specs(words.operands)
    if words.json:
        print(render.canonical({"valid": True, "documents": len(read)}))
    else:
        print(f"{render.count_text(len(read), 'document')}: good")
    return 0


def config(words: Words, kernel: Kernel, store: None) -> int:
    """The normalized form, every default spelled out."""
    from runspec.run.images import Images
    from runspec.spec import source, to_yaml

    documents, unread = source.gather(list(words.operands), sys.stdin.buffer)
    try:
        read = judge(documents, unread, False, Images(kernel))
    except SpecError as error:
        # An image that is not here yet says nothing; the file's own faults are raised again.
        read = judge(documents, unread, False)
        print(f"{error.text()}\n  note: shown without what the machine would add", file=sys.stderr)
    trees = [to_yaml.config_tree(model) for model, _ in read]
    if words.json:
        print(render.canonical(trees))
    else:
        print(to_yaml.dump(trees), end="")
    return 0


def request(words: Words, store: Store, machine: Machine, stdin: BinaryIO | None = None) -> list[Wanted]:
    """What the files of a command line ask; a document unchanged since it was applied is not parsed again.

    Args:
        stdin: what `-` names, where that is standard input no more.
    """
    from runspec.run.request import read_request

    return read_request(words.operands, store, lambda documents, unread: judge(documents, unread, machine=machine),
                        stdin or sys.stdin.buffer, machine)


def plan(words: Words, kernel: Kernel, store: Store) -> int:
    """The ordered steps, each with its reason; nothing is done.

    With --out they are kept in a file, whole: then images are unpacked already, whose names the steps hold.
    `-` is standard output, which then holds nothing else.
    """
    from runspec.run.apply import Session
    from runspec.run.cdi import Machine

    piped = words.value("out") == "-"
    out = os.path.abspath(words.value("out")) if words.flag("out") else ""
    if out and not piped and ((os.path.lexists(out) and not os.path.isfile(out)) or os.path.islink(out)):
        raise UsageError(f"--out: {words.value('out')} is no regular file", "it would be replaced by one",
                         "name another file")
    wanted = request(words, store, Machine(kernel, build=bool(out)))
    with store.lock(ids_of(wanted), shared=True):
        session = Session(kernel, store)
        work = session.look(wanted, [], images_too=bool(out))
        session.refuse(work, wanted)
    interrupted(work)
    if out:
        from runspec.run import planfile

        if work.interrupted:
            raise UsageError("--out: an interrupted run is to be undone first", "it changes what the plan is made from",
                             "run `runspec apply` or `runspec destroy`, then plan again")
        text = planfile.text(kernel, store, wanted, work, session.host)
        if piped:
            print(text, end="")
            return 0
        try:
            kernel.replace_file(out, text)
        except SyscallError as error:
            raise UsageError(f"--out: {plain(out)} cannot be written: {os.strerror(error.errno or 0)}",
                             *error.help()) from None
    print(render.plan_json(work.plan) if words.json
          else render.plan_text(work.plan, render.coloured(), marks_of(wanted, work.plan.changes)))
    return 0


def diff(words: Words, kernel: Kernel, store: Store) -> int:
    """File against live kernel."""
    from runspec.run.apply import Session
    from runspec.run.cdi import Machine

    wanted = request(words, store, Machine(kernel))
    with store.lock(ids_of(wanted), shared=True):
        work = Session(kernel, store).look(wanted, [], images_too=False)
    interrupted(work)
    changes = work.plan.changes
    marks = marks_of(wanted, changes)
    if words.json:
        print(render.diff_json(changes, marks))
    elif changes:
        print(render.diff_text(changes, marks, render.coloured()))
    return 1 if changes else 0


def apply(words: Words, kernel: Kernel, store: Store) -> int:
    """Make the machine match the files."""
    from runspec.run.apply import Session
    from runspec.run.cdi import Machine

    stdin = standard_input() if "-" in words.operands else None
    saved = kept_plan(words, kernel, store, stdin)
    wanted = saved.wanted if saved is not None else request(words, store, Machine(kernel, build=True), stdin)
    try:
        with Session.lock(kernel, store, ids_of(wanted)) as locks:
            session = Session(kernel, store, locks)
            work = session.look(wanted, [])
            work.notes += locks.notes
            if work.plan.steps and saved is not None:
                saved.check(work, session.host, render.value_text)
                work.plan = saved.plan
            marks = marks_of(wanted, numbered(work.plan.changes))
            if work.plan.steps:
                confirm(words, hard(work.plan.changes), "restart or recreate", marks)
                consent(words, work.risks)
                session.perform(work, wanted)
    except (RunspecError, KeyboardInterrupt):
        store.tidy()        # a refused first apply leaves no empty directories
        raise
    done = {one.model.name: outcome(one.model, work) for one in wanted}
    if words.json:
        print(render.done_json(done, work.plan.changes, (*work.plan.quiet, *work.notes), work.ended))
    else:
        done |= {name: f"{done[name]}, {render.end_text(end)}" for name, end in work.ended.items()}
        print(render.done_text(done, work.plan.changes, warnings(work), render.coloured(), marks))
    return 0


def standard_input() -> BinaryIO:
    """Standard input, read: whole where it is a plan, else no more than documents may be."""
    from io import BytesIO

    from runspec.spec.source import SIZE

    head = sys.stdin.buffer.read(len(HEAD))
    return BytesIO(head + (sys.stdin.buffer.read() if head == HEAD else sys.stdin.buffer.read(SIZE + 1)))


def kept_plan(words: Words, kernel: Kernel, store: Store, stdin: BinaryIO | None) -> Saved | None:
    """The plan that a file of the command line holds, or standard input; None where they hold documents."""
    for word in words.operands:
        if word == "-" and stdin is not None:
            head = stdin.read(len(HEAD))
            stdin.seek(0)
        elif os.path.isfile(word):
            with open(word, "rb") as file:
                head = file.read(len(HEAD))
        else:
            continue        # documents come from anywhere
        if head == HEAD:
            if len(words.operands) > 1:
                raise UsageError(f"{word}: a plan is applied alone", "it was made from all its documents together",
                                 "give it no other file")
            from runspec.run import planfile

            data = stdin.read() if word == "-" and stdin is not None else kernel.read(word)
            return planfile.load(data, word, kernel, store)
    return None


def destroy(words: Words, kernel: Kernel, store: Store) -> int:
    """Plan towards nothing."""
    from runspec.run.apply import Session

    notes = Session.recover(kernel, store)
    gone, unknown, left = targets(words, store)
    with Session.lock(kernel, store, [*gone, *(("container", name) for name in left)], known=notes) as locks:
        session = Session(kernel, store)
        work = session.look([], gone, data=words.flag("data"))
        work.notes += locks.notes
        kept(words, gone, work)
        data = leavings_of(left, work, store) if left else None
        changes = (*work.plan.changes, *(data.changes if data else ()))
        if work.plan.steps or data:
            confirm(words, list(changes), "remove")
        if work.plan.steps:
            session.perform(work, [])
        if data:
            from runspec.run import leavings

            leavings.remove(kernel, store, data)
        unmade = {one.name for one in work.networks if one.last is not None and one.last.external}
        done = {name: "let go" if kind == "network" and name in unmade else "removed" for kind, name in gone
                if any(one.name == name for one in (*work.networks, *work.containers))}
        done.update(dict.fromkeys((*unknown, *left), "was not there"))
        done.update((one.target, "its files are removed") for one in (data.changes if data else ()))
    store.tidy()
    if words.json:
        print(render.done_json(done, changes, work.notes))
    else:
        print(render.done_text(done, (), work.notes, render.coloured()))
    return 0


def leavings_of(left: dict[str, str], work: Work, store: Store) -> Plan | None:
    """What removes the layers of containers that are no more; those that stay are noted."""
    from runspec.run import leavings

    plan, notes = leavings.plan(store.kernel, store, left)
    work.notes += notes
    return plan if plan.steps else None


def targets(words: Words, store: Store) -> tuple[list[tuple[str, str]], list[str], dict[str, str]]:
    """What a destroy names by file or by name.

    Returns:
        (kind, name) of what is there, names that are not, and with --data the layers that containers left which are
        not there any more.
    """
    from runspec.spec import source

    gone: list[tuple[str, str]] = []
    unknown: list[str] = []
    left: dict[str, str] = {}
    faults: list[SpecError] = []
    known = {kind: set(store.names(kind)) for kind in ("container", "network")}

    def leaves(name: str, spec: Spec | None = None) -> bool:
        """Whether a container that is not there left files, which are to go."""
        if words.flag("data"):
            from runspec.run import leavings

            upper = leavings.layer(store.kernel, name, spec)
            left.update({name: upper} if upper else {})
        return name in left

    def is_file(word: str) -> bool:
        """Whether a word is spelled as a file: what merely lies here under a container's name is not meant."""
        if word in ("-", ".", "..") or "/" in word:
            return True
        return word.endswith((".yaml", ".yml", ".json")) and (
            os.path.exists(word) or not any(word in names for names in known.values()))

    files = tuple(word for word in words.operands if is_file(word))
    if files:
        for model, _ in read_specs(files):
            kind = "container" if isinstance(model, Spec) else "network"
            if model.name in known[kind]:
                gone.append((kind, model.name))
            elif not isinstance(model, Spec) or not leaves(model.name, model):
                unknown.append(model.name)
    for word in words.operands:
        if word in files:
            continue
        kinds = [kind for kind, names in known.items() if word in names]
        gone += [(kind, word) for kind in kinds]
        if not kinds and not leaves(word):
            by_file = "; files that a container left elsewhere than below /var/lib/runspec are found by its file"
            faults.append(SpecError(f"{word}: no container or network has this name",
                                    "nothing was removed" + by_file * words.flag("data"),
                                    fix=f"the file or folder is ./{word}" if os.path.exists(word) else
                                    render.near(word, sorted(set().union(*known.values())))
                                    or "`runspec list` shows them"))
    if faults:
        raise source.join(faults)
    return list(dict.fromkeys(gone)), unknown, left


def kept(words: Words, gone: list[tuple[str, str]], work: Work) -> None:
    """A network that others use is not removed by its name, nor alone; with the containers of its file it may stay.

    Raises:
        StateError: nothing is to be removed then.
    """
    leaving = {one.name for one in work.networks}
    stay = [name for kind, name in gone if kind == "network" and name not in leaving]
    if any(name in words.operands for name in stay) or (stay and not work.plan.steps):
        raise StateError("\n".join(line for line in work.notes if line.startswith(tuple(f"{one}: " for one in stay))),
                         "nothing was removed", "name these containers as well, or destroy them first")


def hard(changes: tuple[Change, ...]) -> list[Change]:
    """The changes that ask: those that end what runs, and those that make anew what it had."""
    from runspec.spec import fields

    # Of what has ended a new init ends nothing.
    ended = {one.target for one in changes if not one.path}
    return [one for one in changes if one.path
            and one.impact >= (fields.RECREATE if one.target in ended else fields.RESTART)]


def confirm(words: Words, changes: list[Change], what: str, marks: dict[str, dict[str, Mark]] | None = None) -> None:
    """Restart, recreation and removal need a yes at the terminal, or --yes."""
    if not changes or words.flag("yes"):
        return
    lines = "\n".join(render.change_line(one, path=render.shown_path(one, marks or {})) for one in changes)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"this would {what}:\n{lines}", "there is no terminal to ask at", "add --yes")
    print(lines, file=sys.stderr)
    ask(what)


def consent(words: Words, risks: tuple[str, ...]) -> None:
    """What may cut the host off needs a yes as well."""
    if not risks or words.flag("yes"):
        return
    lines = "\n".join(risks)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(lines, "the host may not be reached any more, and there is no terminal to ask at", "add --yes")
    ask(f"{lines}. Go on")


def ask(question: str) -> None:
    """Go on after a yes alone.

    Raises:
        UsageError: the answer is another.
    """
    print(f"{question}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing done", "the answer was not yes", "answer y, or give --yes")


def outcome(model: Spec | Network, work: Work) -> str:
    """A word or two on what became of a target."""
    from runspec.spec import fields

    changes = [one for one in work.plan.changes if one.target == model.name]
    if not changes:
        return ""
    if any(one.cause == "new" for one in changes):
        return "used" if isinstance(model, Network) and model.external else "created"
    worst = max(one.impact for one in changes)
    if any(not one.path for one in changes) and worst < fields.RECREATE:
        return "made anew" if isinstance(model, Network) else "started"
    return {fields.RECREATE: "recreated", fields.RESTART: "restarted"}.get(worst, "changed in place")


def warnings(work: Work) -> tuple[str, ...]:
    """The quiet lines that say more than "up to date"."""
    return (*(line for line in work.plan.quiet if line.startswith("warning")), *work.notes)


def interrupted(work: Work) -> None:
    """Say that a run died; only verbs that may change the machine undo it."""
    if work.interrupted:
        print(f"interrupted, {render.count_text(work.interrupted, 'step')} to undo: `runspec apply` or "
              "`runspec destroy` does it", file=sys.stderr)
    for line in work.stuck:
        print(plain(line), file=sys.stderr)
    for name in work.unsettled:
        print(f"a lease of {name} is to be settled: its container has ended, and `runspec apply` or "
              "`runspec destroy` brings it home", file=sys.stderr)


def ids_of(wanted: list[Wanted]) -> list[tuple[str, str]]:
    """(kind, name) of everything to be locked: what is declared, and what that is attached to."""
    found = [(one.kind, one.model.name) for one in wanted]
    for one in wanted:
        if isinstance(one.model, Spec):
            found += [("network", link.network) for link in one.model.interfaces if link.network]
            found += [("container", space.container) for space in one.model.linux.namespaces if space.container]
    return found


def marks_of(wanted: list[Wanted], changes: Iterable[Change]) -> dict[str, dict[str, Mark]]:
    """Positions, for targets that differ."""
    differing = {one.target for one in changes}
    return {one.model.name: one.marks for one in wanted if one.model.name in differing}


def numbered(changes: Iterable[Change]) -> list[Change]:
    """Those of elements of lists: what index each has in the file is known from its positions, found by parsing it."""
    return [one for one in changes if render.numbered(one.path)]
