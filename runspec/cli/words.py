"""The command line: one table of verbs, and a small parser of it.

Not argparse: engines call the hot verbs several times a container, and argparse with its `re`
costs more than the work itself.
"""

from __future__ import annotations

from runspec.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEFAULT_ROOT = "/run/runspec"
MANY = 1 << 30


class Option:
    """One option of a verb.

    Args:
        name: the long spelling without dashes.
        short: one letter, or "".
        value: what its value is called in the help; "" for a flag.
        help: its line of help.
        choices: the values allowed; empty for any.
        many: may be given several times, all count.
    """

    __slots__ = ("choices", "help", "many", "name", "short", "value")

    def __init__(self, name: str, short: str, value: str, help: str, choices: tuple[str, ...] = (),
                 many: bool = False) -> None:
        self.name, self.short, self.value, self.help = name, short, value, help
        self.choices, self.many = choices, many


class Operand:
    """One positional argument: its name in the help, how many of it, whether it names a container."""

    __slots__ = ("least", "most", "name", "what")

    def __init__(self, name: str, what: str, least: int = 1, most: int = 1) -> None:
        self.name, self.what, self.least, self.most = name, what, least, most

    def shown(self) -> str:
        text = self.name + ("..." if self.most > 1 else "")
        return text if self.least else f"[{text}]"


class Verb:
    """One verb: its line of help, operands in order, options.

    Args:
        oci: an engine's verb: errors exit 1, and of a repeated option the last one counts, as runc does.
        rest: everything after the first operand belongs to the last one, dashes too, but for one `--` ahead of it.
    """

    __slots__ = ("help", "name", "oci", "operands", "options", "rest")

    def __init__(self, name: str, help: str, operands: tuple[Operand, ...] = (),
                 options: tuple[Option, ...] = (), oci: bool = False, rest: bool = False) -> None:
        self.name, self.help, self.operands, self.options = name, help, operands, options
        self.oci, self.rest = oci, rest

    def usage(self) -> str:
        words = [self.name, *(["[OPTION...]"] if self.options else []), *(o.shown() for o in self.operands)]
        return " ".join(["runspec", *words])


_OUTPUT = Option("output", "o", "FORMAT", "text or json", ("text", "json"))
_OUTPUT_YAML = Option("output", "o", "FORMAT", "yaml or json", ("yaml", "json"))
_FORMAT = Option("format", "f", "FORMAT", "table or json, as engines ask", ("table", "json"))
_YES = Option("yes", "y", "", "do not ask before a restart, a recreation or a removal")
_HELP = Option("help", "h", "", "show this text")
_FILES = (Operand("FILE", "file", 1, MANY),)
_ID = Operand("ID", "container id")

GLOBAL = (
    Option("root", "", "DIR", f"state directory, {DEFAULT_ROOT} by default"),
    Option("log", "", "FILE", "append errors and warnings to this file as well"),
    Option("log-format", "", "FORMAT", "of that file, text or json", ("text", "json")),
    Option("systemd-cgroup", "", "", "refused as yet: cgroupsPath of a bundle as slice:prefix:name"),
    Option("debug", "", "", "show a traceback with an error"),
    Option("version", "v", "", "show the version"),
    _HELP,
)

VERBS = (
    Verb("validate", "check files and report every fault", _FILES, (_OUTPUT,)),
    Verb("config", "show files with every default spelled out", _FILES, (_OUTPUT,)),
    Verb("plan", "show the ordered steps that apply would do", _FILES,
         (_OUTPUT, Option("out", "", "FILE", "keep the plan in FILE, for `runspec apply FILE`; - is standard output"))),
    Verb("diff", "compare files with the live kernel", _FILES, (_OUTPUT,)),
    Verb("apply", "make the machine as the files say", _FILES, (_OUTPUT, _YES)),
    Verb(
        "destroy",
        "remove containers and networks; a bare word is a name, ./WORD a file",
        (Operand("FILE|NAME", "file or name", 1, MANY),),
        (_OUTPUT, _YES, Option("data", "", "", "remove lasting overlays too")),
    ),
    Verb("doctor", "tell what files need of this machine, and what it lacks",
         (Operand("FILE", "file", 0, MANY),), (_OUTPUT,)),
    Verb(
        "bench",
        "measure what a container costs and how well it isolates, beside other runtimes",
        (Operand("SUITE", "suite", 0, MANY),),
        (
            Option("output", "o", "FORMAT", "text, json or html", ("text", "json", "html")),
            Option("out", "", "FILE", "write the results there as well; .txt, .json or .html says how", many=True),
            Option("list", "l", "", "show suites and contenders, and what is missing for them"),
            Option("quick", "", "", "fewer rounds, in two minutes"),
            Option("full", "", "", "every peer that is installed, in about an hour"),
            Option("peers", "", "NAMES", "these, with commas between; all, none"),
            Option("rounds", "", "NUMBER", "how often each figure is taken"),
            Option("count", "", "NUMBERS", "how many containers at once, with commas between"),
            Option("nic", "", "NAMES", "lend these two, wired to each other, to `network`, with a comma between"),
            Option("compare", "", "FILE", "tell what differs from an older run's JSON by more than noise"),
            Option("show", "", "FILE", "measure nothing: show an older run's JSON"),
        ),
    ),
    Verb(
        "convert",
        "print a bundle as a document, or write a document as a bundle",
        (Operand("BUNDLE|FILE", "bundle or file", 1, MANY),),
        (
            _OUTPUT_YAML,
            Option("bundle", "b", "DIR", "write the document there, as a bundle"),
            Option("name", "", "NAME", "of the bundle's container, its directory's by default"),
        ),
    ),
    Verb(
        "create",
        "make a container from an OCI bundle; start starts it",
        (_ID,),
        (
            Option("bundle", "b", "DIR", "the bundle, the working directory by default"),
            Option("config", "", "FILE", "its configuration, config.json in the bundle by default"),
            Option("console-socket", "", "SOCKET", "send the terminal there"),
            Option("pid-file", "", "FILE", "write the first process's pid there"),
        ),
        oci=True,
    ),
    Verb("start", "start a created container", (_ID,), oci=True),
    Verb(
        "delete",
        "remove a container that has stopped, or was not started",
        (_ID,),
        (Option("force", "f", "", "kill it first; one that is not there is no error"),),
        oci=True,
    ),
    Verb("list", "list containers", (), (_OUTPUT, _FORMAT, Option("quiet", "q", "", "ids only")), oci=True),
    Verb("state", "show a container's OCI state", (_ID,), (_OUTPUT,), oci=True),
    Verb("ps", "list a container's processes", (_ID,), (_OUTPUT, _FORMAT), oci=True),
    Verb("tree", "draw all containers with their processes", (), (_OUTPUT,)),
    Verb(
        "exec",
        "run a program in a container",
        (_ID, Operand("CMD", "program", 1, MANY)),
        (
            Option("env", "e", "NAME=VALUE", "set a variable", many=True),
            Option("user", "u", "UID[:GID]", "run as this numeric user"),
            Option("cwd", "", "DIR", "working directory inside"),
            Option("interactive", "i", "", "changes nothing: it always has this standard input"),
            Option("tty", "t", "", "give it a terminal of its own"),
            Option("detach", "d", "", "do not wait for its end"),
            Option("console-socket", "", "PATH", "with -t and -d: hand its terminal to who listens there"),
            Option("pid-file", "", "FILE", "write its pid there"),
        ),
        oci=True,
        rest=True,
    ),
    Verb(
        "kill",
        "send a signal to a container's first process",
        (_ID, Operand("SIG", "signal", 0)),
        (Option("all", "a", "", "to all its processes"),),
        oci=True,
    ),
    Verb(
        "stop",
        "stop containers; the next apply starts them anew",
        (Operand("ID", "container id", 1, MANY),),
        (Option("time", "t", "SECONDS", "how long to wait before SIGKILL, 10 by default"), _YES),
    ),
)
_BY_NAME = {verb.name: verb for verb in VERBS}


class Words:
    """A parsed command line.

    Args:
        verb: the verb's name; "" while none is known.
        root: the state directory.
        log, log_format: a file that errors and warnings are appended to, "" for none, and how.
        systemd: a bundle's cgroupsPath has systemd's form.
        text: what to print instead of running a verb (help, version); None otherwise.
        operands: the positional arguments, all of them in order.
        options: option name -> value; a flag holds "yes", an option that may repeat a list.
        fault: RUNSPEC_FAULT of the environment, for the Kernel.
    """

    __slots__ = ("_options", "debug", "fault", "log", "log_format", "operands", "root", "systemd", "text", "verb")

    def __init__(self, fault: str = "") -> None:
        self.verb, self.root, self.debug, self.fault = "", DEFAULT_ROOT, False, fault
        self.log, self.log_format, self.systemd = "", "text", False
        self.text: str | None = None
        self.operands: tuple[str, ...] = ()
        self._options: dict[str, list[str]] = {}

    def flag(self, name: str) -> bool:
        """Whether this option was given."""
        return name in self._options

    def value(self, name: str, default: str = "") -> str:
        """The value of this option, the last one where it may repeat."""
        return self._options[name][-1] if name in self._options else default

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of an option that may repeat."""
        return tuple(self._options.get(name, ()))

    def open_log(self) -> int:
        """The file of --log, open to append; whoever reads it is not waited for.

        Raises:
            OSError: it cannot be opened.
        """
        import os

        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK,
                       0o644)

    @property
    def json(self) -> bool:
        """Whether JSON is asked for, by -o or by an engine's -f."""
        return "json" in (self.value("output"), self.value("format"))

    @property
    def status(self) -> int:
        """The exit status of trouble with this verb: 1 for the OCI verbs, 2 for all else."""
        return 1 if self.verb in _BY_NAME and _BY_NAME[self.verb].oci else 2

    def parse(self, argv: Sequence[str], version: str = "") -> None:
        """Read a command line, without the program's name.

        Args:
            argv: the arguments, undecodable bytes as lone surrogates.
            version: what --version prints.

        Raises:
            UsageError: it is wrong; `verb` and `debug` hold what was read so far.
        """
        queue = list(argv)
        given: dict[str, list[str]] = {}
        while queue and queue[0].startswith("-") and queue[0] not in ("-", "--"):
            _option(queue, GLOBAL, given, "", False)
            self.debug = self.debug or "debug" in given
            self.log, self.log_format = given.get("log", [""])[-1], given.get("log-format", ["text"])[-1]
            self.systemd = "systemd-cgroup" in given
        self.root = given.get("root", [DEFAULT_ROOT])[-1]
        if "help" in given:
            self.text = _help()
            return
        if "version" in given:
            self.text = version
            return
        if queue[:1] == ["--"]:
            del queue[0]
        if not queue:
            raise UsageError("no verb given", fix=f"one of: {', '.join(v.name for v in VERBS)}")
        name = queue.pop(0)
        verb = _BY_NAME.get(name)
        if verb is None:
            raise UsageError("an empty verb" if not name else f"unknown verb {quoted(name)}",
                             fix=_did_you_mean(name, _BY_NAME) or "`runspec --help` lists the verbs")
        self.verb = name
        self._tail(verb, queue)

    def _tail(self, verb: Verb, queue: list[str]) -> None:
        """Read what follows the verb."""
        options = (*verb.options, _HELP)
        operands: list[str] = []
        while queue:
            if verb.rest and operands:
                operands += queue[queue[0] == "--":]
                break
            word = queue[0]
            if word == "--":
                operands += queue[1:]
                break
            if word.startswith("-") and word != "-":
                _option(queue, options, self._options, verb.name, verb.oci)
            else:
                operands.append(queue.pop(0))
        if "help" in self._options:
            self.text = _help_of(verb)
            return
        _count(verb, operands)
        self.operands = tuple(operands)


def _option(queue: list[str], options: tuple[Option, ...], given: dict[str, list[str]], verb: str,
            last_counts: bool) -> None:
    """Take one option, and its value, off the front of the queue."""
    word = queue.pop(0)
    prefix = f"{verb}: " if verb else ""
    long = word.startswith("--")
    name, equals, value = (word[2:] if long else word[1:]).partition("=")
    if not long and len(name) > 1:      # -ojson, -qa
        first = next((o for o in options if o.short == name[0]), None)
        if first is not None and first.value:
            name, equals, value = name[0], "=", word[2:].removeprefix("=")
        elif first is not None and not equals:
            queue.insert(0, f"-{name[1:]}")
            name = name[0]
    spelled = f"{'--' if long else '-'}{name}"
    found = next((o for o in options if name and name == (o.name if long else o.short)), None)
    if found is None:
        raise UsageError(f"{prefix}unknown option {plain(spelled)}", fix=_fix_option(verb, options, spelled))
    if not found.value:
        if equals:
            raise UsageError(f"{prefix}{spelled} takes no value", fix=f"write {spelled} alone")
        given[found.name] = ["yes"]
        return
    if not equals:
        if not queue:
            raise UsageError(f"{prefix}{spelled} needs a value",
                             fix=f"write {spelled} {'|'.join(found.choices) or found.value}")
        value = queue.pop(0)
    if not value:
        raise UsageError(f"{prefix}the value of {spelled} is empty",
                         fix=f"write {spelled} {'|'.join(found.choices) or found.value}")
    if found.choices and value not in found.choices:
        raise UsageError(f"{prefix}{spelled} {quoted(value)}: no such value",
                         fix=_did_you_mean(value, found.choices) or f"one of: {', '.join(found.choices)}")
    if found.many:
        given.setdefault(found.name, []).append(value)
        return
    before = given.get(found.name)
    if before and before[0] != value and not last_counts:
        raise UsageError(f"{prefix}{spelled} is given twice, {quoted(before[0])} and {quoted(value)}",
                         fix="give it once")
    given[found.name] = [value]


def _fix_option(verb: str, options: tuple[Option, ...], spelled: str) -> str:
    """What to do about an unknown option."""
    name = spelled.lstrip("-")
    if verb == "kill" and (name.isdigit() or name.upper() == name) and name:
        return f"the signal comes last and without a dash: runspec kill ID {plain(name)}"
    if verb and any(o.name == name for o in GLOBAL):
        return f"it comes before the verb: runspec {spelled} ... {verb}"
    near = nearest(name, [o.name for o in options])
    if near:
        return f"did you mean --{near}?"
    return f"`runspec {verb} --help` lists the options" if verb else "`runspec --help` lists the options"


def _count(verb: Verb, operands: list[str]) -> None:
    """Check the number and form of the operands.

    Raises:
        UsageError: one is missing, too many, empty, or no possible container id.
    """
    usage = verb.usage()
    wanted = verb.operands
    least = 0
    for operand in wanted:
        least += operand.least
        if len(operands) < least:
            raise UsageError(f"{verb.name}: no {operand.what} given", fix=usage)
    most = sum(o.most for o in wanted)
    if len(operands) > most:
        extra = " ".join(quoted(word) for word in operands[most:])
        raise UsageError(f"{verb.name}: too many arguments: {extra}", fix=usage)
    for index, word in enumerate(operands):
        operand = wanted[min(index, len(wanted) - 1)]
        if not word and (not verb.rest or index < 2):
            raise UsageError(f"{verb.name}: an empty word in place of a {operand.what}", fix=usage)
        if operand.name == "ID":
            check_id(word, verb.name)


def check_id(word: str, verb: str) -> None:
    """Refuse what can be no container's id, before it becomes part of a path.

    Raises:
        UsageError: it holds other characters than ids may, or is too long.
    """
    if (
        word.strip(".")
        and len(word) <= 255
        and word.isascii()
        and all(c.isalnum() or c in "_+-." for c in word)
    ):
        return
    raise UsageError(f"{verb}: invalid container ID format: {quoted(word)}",
                     why="an id is at most 255 letters, digits and `_ + - .`, and not dots alone",
                     fix="use these alone" if verb == "create" else "`runspec list` shows the containers")


def plain(text: str) -> str:
    """Text that is safe on a terminal: control characters and undecodable bytes as \\xNN."""
    return "".join(
        c if c.isprintable() else f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF
        else f"\\x{ord(c):02x}" if ord(c) < 0x100 else f"\\u{ord(c):04x}" for c in text)


def quoted(text: str) -> str:
    """The same within quotes, cut where it is very long."""
    return f'"{plain(text if len(text) <= 80 else text[:77] + "...")}"'


def nearest(word: str, known: Iterable[str]) -> str:
    """The known name that a mistyped word most likely means; "" where none is near.

    A third of the letters may differ, and not all; two neighbours exchanged count once. (difflib
    would bring in `re`.)
    """
    best, limit = "", (max(1, len(word) // 3) + 1, False)
    for name in sorted(known) if 0 < len(word) <= 64 else ():
        # Of two that are as near, the one of the same letters.
        distance = _distance(word.lower(), name.lower()), sorted(word.lower()) != sorted(name.lower())
        if distance < limit and distance[0] < len(word):
            best, limit = name, distance
    return best


def _distance(a: str, b: str) -> int:
    """Edits between two words: insert, delete, change, exchange neighbours."""
    older: list[int] = []
    old = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(old[j] + 1, row[j - 1] + 1, old[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        older, old = old, row
    return old[-1]


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = nearest(word, known)
    return f"did you mean `{near}`?" if near else ""


def _rows(rows: list[tuple[str, str]]) -> str:
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)


def _option_rows(options: Iterable[Option]) -> list[tuple[str, str]]:
    return [(f"{f'-{o.short}, ' if o.short else '    '}--{o.name}{f' {o.value}' if o.value else ''}",
             o.help + (", may be repeated" if o.many else "")) for o in options]


def _help() -> str:
    """What `runspec --help` prints."""
    verbs = _rows([(v.name, v.help) for v in VERBS])
    return (f"usage: runspec [OPTION...] VERB ...\n\nVerbs:\n{verbs}\n\n"
            f"Options before the verb:\n{_rows(_option_rows(GLOBAL))}\n\n"
            "`runspec VERB --help` tells more. FILE may be a folder, or - for standard input.")


def _help_of(verb: Verb) -> str:
    """What `runspec VERB --help` prints."""
    text = f"usage: {verb.usage()}\n\n{verb.help[0].upper()}{verb.help[1:]}."
    return f"{text}\n\nOptions:\n{_rows(_option_rows((*verb.options, _HELP)))}"
