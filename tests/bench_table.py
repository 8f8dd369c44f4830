"""The README's table of benchmarks: `bench_table.py RUN.json [MORE.json...]` writes what a run found into it, and what
only later runs of the same machine have; without a file what is looked for.

    runspec bench --out run.json && runspec bench start --count 1,100 --peers crun --out crun.json
    .venv/bin/python -P tests/bench_table.py run.json crun.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from runspec.bench import groups
from runspec.bench.results import Aim, Ratio, Results, from_tree, point
from runspec.bench.suite import SUITES, suite_class

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- bench: made by tests/bench_table.py -->", "<!-- end of bench -->"
# What is told of the machine, and how.
MACHINE = {"processor": "{}", "cores": "{} cores", "memory": "{}", "kernel": "{}", "distribution": "{}", "when": "{}",
           "load before": "load before {}"}
HEAD = ("| runspec over | should be | median | quartiles | |", "|---|---|---|---|---|")


def table(results: Results | None) -> str:
    """One line for each ratio of which something is asked, then where and with what it was measured."""
    if results is None:
        return "\n".join([*HEAD, *(wanted(one) for one in aims())])
    lines = [*HEAD, *(found(one) for one in results.ratios if one.good is not None)]
    machine = [form.format(results.machine[word]) for word, form in MACHINE.items() if results.machine.get(word)]
    # Some begin with their name; native's is the kernel's, which the machine has.
    versions = [text if text.startswith(name) else f"{name} {text}" for name, text in results.versions.items()
                if name != "native"]
    return "\n".join([*lines, "", f"Measured on: {escaped(', '.join(machine))}. With: {escaped('; '.join(versions))}."])


def aims() -> list[Aim]:
    """All that ask for something, of all suites."""
    return [aim for name in SUITES for aim in suite_class(name).aims if aim.least is not None or aim.most is not None]


def wanted(aim: Aim) -> str:
    """A line that waits for its figures; its name is as results.judge makes it."""
    case = {"": "", "*": ", each"}.get(aim.case, f", {aim.case}")
    at = "" if aim.at is None else f" of {point(aim.at, 'bytes' if aim.suite == 'network' else '')}"
    over = f" / {aim.over}" if aim.over else ""
    bounds = Ratio(name="", value=1, low=1, high=1, least=aim.least, most=aim.most)
    return row(f"{aim.suite}: {aim.figure}{case}{at}{over}", groups.aim(bounds), "", "", "")


def found(one: Ratio) -> str:
    """A line with its figures."""
    open_ = " (within the spread)" if groups.narrow(one) else ""
    return row(one.name, groups.aim(one), groups.amount(one), groups.quartiles(one, one.unit),
               f"{groups.verdict(one)}{open_}")


def row(*cells: str) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def escaped(text: str) -> str:
    """Text that stays in its cell."""
    return groups.plain(text).replace("|", "\\|").replace("<", "&lt;")


def merged(results: Results, *others: Results) -> Results:
    """A run, and the ratios that only others have, with when those were measured."""
    for other in others:
        known = {one.name for one in results.ratios}
        added = tuple(one for one in other.ratios if one.name not in known)
        whose = ", ".join(dict.fromkeys(one.name.partition(":")[0] for one in added if one.good is not None))
        when = f"{results.machine.get('when', '')}; in another run, {other.machine.get('when', '')}: {whose}"
        results = results.replace(ratios=(*results.ratios, *added), versions={**other.versions, **results.versions},
                                  machine={**results.machine, "when": when} if whose else results.machine)
    return results


def replaced(text: str, results: Results | None) -> str:
    """The README with the table of a run."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table(results)}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    runs = [from_tree(json.loads(Path(name).read_text()), name) for name in sys.argv[1:]]
    run = merged(*runs) if runs else None
    README.write_text(replaced(README.read_text(), run))
