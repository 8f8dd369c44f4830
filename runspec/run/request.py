"""What the files of one command line ask; a document unchanged since it was applied is known by its text.

Parsing and judging a document costs more than comparing it with the machine. Its Record holds the
digest of the text it was applied from and the Spec that came of it, and equal text means equal Spec.
"""

from __future__ import annotations

from runspec import __version__
from runspec.errors import Mark, RunspecError, SpecError
from runspec.spec import source
from runspec.spec.model import Network, Spec
from runspec.spec.sha import sha256
from runspec.spec.tree import from_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runspec.plan.planner import Item
    from runspec.plan.steps.base import Plan
    from runspec.run.ends import End
    from runspec.run.store import Store
    from runspec.spec.compose import Document
    from runspec.spec.image import Machine

    Judge = Callable[[list[Document], list[SpecError] | None], list[tuple[Spec | Network, Document]]]


class Wanted:
    """One document of a request: the model, where it stands in the user's files, its text's digest.

    Args:
        bundle: the OCI bundle that it comes from, "" for a document: its container is created, not started.
        pid_file: where init's pid is to be written, "" for nowhere.

    Attributes:
        console: socket to which the terminal of its init goes, "" for none.
    """

    __slots__ = ("_marks", "bundle", "console", "digest", "model", "pid_file")

    def __init__(self, model: Spec | Network, digest: str, marks: Callable[[], dict[str, Mark]],
                 bundle: str = "", pid_file: str = "") -> None:
        self.model, self.digest, self._marks = model, digest, marks
        self.bundle, self.pid_file = bundle, pid_file
        self.console = ""

    @property
    def marks(self) -> dict[str, Mark]:
        """Spec path -> place; found only when something is to be said about it."""
        return self._marks()

    @property
    def kind(self) -> str:
        """container or network."""
        return "container" if isinstance(self.model, Spec) else "network"


class Work:
    """A request held against the machine: what differs and what would be done."""

    __slots__ = ("containers", "ended", "followers", "held", "interrupted", "marks", "networks", "notes", "plan",
                 "risks", "stuck", "unsettled")

    def __init__(self, plan: Plan, networks: list[Item], containers: list[Item], notes: tuple[str, ...],
                 interrupted: tuple[int, tuple[str, ...]], risks: tuple[str, ...], unsettled: tuple[str, ...],
                 held: tuple[str, ...], followers: dict[str, tuple[int, int]]) -> None:
        self.plan, self.networks, self.containers = plan, networks, containers
        self.notes, (self.interrupted, self.stuck) = notes, interrupted
        self.risks, self.unsettled = risks, unsettled
        self.held = held        # networks whose members' names it touches
        self.followers = followers      # see Names
        self.ended: dict[str, End] = {}     # see what_ended


class Piece:
    """One document's text and where it begins; its digest counts the files that it extends."""

    __slots__ = ("_parsed", "digest", "file", "line", "text")

    def __init__(self, text: str, file: str, line: int) -> None:
        self.text, self.file, self.line = text, file, line
        self._parsed: tuple[list[Document], list[SpecError]] | None = None
        bases = [base for one in self.parse()[0] for base in one.bases] if "extends" in text else []
        self.digest = digest("\0".join((text, *bases)))

    def parse(self) -> tuple[list[Document], list[SpecError]]:
        """Compose it, once."""
        if self._parsed is None:
            # Nothing between two marks needs no parser.
            self._parsed = (source.parse(self.text, self.file, self.line, True) if self.text.removeprefix("---").strip()
                            else ([], []))
        return self._parsed


def digest(text: str) -> str:
    """The digest by which a Record knows its document; another runspec may read it otherwise."""
    return sha256(f"{__version__}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()


def read_request(paths: tuple[str, ...], store: Store, judge: Judge, stdin: Any,
                 machine: Machine | None = None) -> list[Wanted]:
    """Every document of these files, as models with their positions.

    Args:
        judge: documents and faults found before -> models, raising every fault together.
        stdin: a binary stream for `-`.
        machine: answers what images and devices are now; None trusts the Records.

    Raises:
        SpecError: every fault of every file, in file order.
    """
    faults: list[SpecError] = []
    pieces: list[Piece] = []
    for file, data in source.files(list(paths), stdin):
        if isinstance(data, SpecError):
            faults.append(data)
            continue
        try:
            text = source.decode(data, file)
        except SpecError as error:
            faults.append(error)
            continue
        line = 0
        for one in source.split(text) or [text]:
            pieces.append(Piece(one, file, line))
            line += one.count("\n")
    known = {} if faults else digests(store)
    if machine is not None:
        known = {digest: model for digest, model in known.items() if current(model, machine)}
    wanted = compose(pieces, known, judge, faults)
    return wanted if wanted is not None else compose(pieces, {}, judge, []) or []


def digests(store: Store) -> dict[str, Spec | Network]:
    """Digest -> model of everything applied."""
    out: dict[str, Spec | Network] = {}
    for kind in ("network", "container"):
        for name in store.names(kind):
            record = store.load(kind, name)
            if record is not None and record.digest:
                out[record.digest] = (from_tree(Spec, record.spec) if kind == "container"
                                      else from_tree(Network, record.spec))
    return out


def current(model: Spec | Network, machine: Machine) -> bool:
    """Whether what was read of the machine when this was applied still holds."""
    if not isinstance(model, Spec):
        return True
    if model.linux.cdi_devices:
        return False        # reading the descriptions is most of the work
    if model.root.digest is None:
        return True
    try:
        return machine.image(model.root.image or "").digest == model.root.digest
    except RunspecError:
        return False        # the full reading says what is wrong, and where


def compose(pieces: list[Piece], known: dict[str, Spec | Network], judge: Judge,
            faults: list[SpecError]) -> list[Wanted] | None:
    """Models of the pieces; None where two of one name differ and only a full reading can say where."""
    fresh: list[Document] = []
    order: list[tuple[Piece, Spec | Network | None, int]] = []
    empty = dict.fromkeys((piece.file for piece in pieces), True)
    for piece in pieces:
        model = known.get(piece.digest)
        found: list[Document] = []
        bad: list[SpecError] = []
        if model is None:
            found, bad = piece.parse()
            faults += bad
            fresh += found
        empty[piece.file] &= model is None and not found and not bad
        order.append((piece, model, len(found)))
    faults += [source.nothing(file) for file, none in empty.items() if none]
    # By the tree: a document whose positions shifted comes back as another one around the same tree.
    judged = {id(document.tree): (model, document) for model, document in judge(fresh, faults)}
    out: dict[tuple[str, str], Wanted] = {}
    rest = iter(fresh)
    for piece, model, count in order:
        if model is not None:
            one = Wanted(model, piece.digest, later(piece))
            before = out.setdefault((one.kind, model.name), one)
            if before.model != model:
                return None
        for _ in range(count):
            document = next(rest)
            if id(document.tree) not in judged:
                continue        # equal to one before it
            model, placed = judged[id(document.tree)]
            one = Wanted(model, piece.digest if count == 1 else "", placed_at(placed))
            before = out.setdefault((one.kind, one.model.name), one)
            if before.model != one.model:
                return None
    return list(out.values())


def placed_at(document: Document) -> Callable[[], dict[str, Mark]]:
    """Positions of a document that was parsed."""
    return lambda: document.marks


def later(piece: Piece) -> Callable[[], dict[str, Mark]]:
    """Positions of a document that was not parsed: it is, when somebody asks; the machine is not asked again."""
    def marks() -> dict[str, Mark]:
        from runspec.spec import rules

        judged, _ = rules.judge(piece.parse()[0])
        return judged[0][1].marks if judged else {}
    return marks
