"""The measuring process: settings in, results out; it runs inside the private world that world.py makes."""

from __future__ import annotations

import sys
from time import monotonic

from runspec.bench import machine, suite
from runspec.bench.contender import CONTENDERS, load
from runspec.bench.results import Missing, Ratio, Results, Series, judge, to_tree
from runspec.bench.scene import Scene
from runspec.bench.suite import Settings, suite_class
from runspec.errors import RunspecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def take(scene: Scene, settings: Settings) -> Results:
    """Run the suites, one after another; who fails is noted, and the others go on."""
    facts = machine.facts()
    versions: dict[str, str] = {}
    missing: list[Missing] = []
    for name in settings.contenders:
        one = load(name, scene)
        why = one.missing()
        if why:
            missing += [Missing(suite=each, contender=name, why=why) for each in settings.suites]
        else:
            versions[name] = one.version()
    present = settings.replace(contenders=tuple(name for name in settings.contenders if name in versions))
    series: list[Series] = []
    ratios: list[Ratio] = []
    for name in settings.suites:
        one_suite = suite_class(name)(scene, present)
        if why := one_suite.lacks():
            missing += [Missing(suite=name, contender=each, why=why) for each in present.contenders]
            continue
        one_suite.measure()
        series += one_suite.series()
        versions.update(one_suite.versions())
        ratios += judge(one_suite.series(), one_suite.aims)
        missing += one_suite.missing
    facts["load after"] = machine.load()
    words = {"suites": " ".join(settings.suites), "contenders": " ".join(settings.contenders), "pace": settings.pace,
             "rounds": str(settings.rounds or "by suite"),
             "counts": " ".join(map(str, settings.counts)) or "by suite"}
    return Results(machine=facts, versions=versions, settings=words, series=tuple(series), ratios=tuple(ratios),
                   missing=tuple(missing))


BEGUN = monotonic()


def say(line: str) -> None:
    """Progress with minutes and seconds since the start: lines, or on a terminal one line that changes."""
    seconds = int(monotonic() - BEGUN)
    line = f"{seconds // 60:2}:{seconds % 60:02} {line}"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line[:100]}")
    else:
        sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


def main() -> int:
    """Read what is asked on standard input, measure, write what was found on standard output; both are JSON."""
    import json
    import traceback

    asked = json.load(sys.stdin)
    scene = Scene(asked["room"], tuple(asked["program"]), say, asked["group"])
    answer: dict[str, Any]
    try:
        answer = to_tree(take(scene, settings_of(asked["settings"])))
    except RunspecError as error:
        answer = {"error": [error.what, error.why, error.fix]}
    except Exception as error:
        if asked["settings"].get("debug"):
            traceback.print_exc()
        answer = {"error": [f"bench: internal error: {type(error).__name__}: {error}", "",
                            "run it again with --debug before the verb"]}
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    json.dump(answer, sys.stdout)
    return 0


def settings_of(tree: dict[str, Any]) -> Settings:
    """Settings that came as JSON."""
    return Settings(suites=tuple(tree["suites"]), contenders=tuple(tree["contenders"]), pace=tree["pace"],
                    rounds=tree["rounds"], counts=tuple(tree["counts"]))


def listing() -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """What `--list` shows: (suite, what it measures, what it lacks), (contender, its version or why it is missing)."""
    import tempfile

    # Where those write who are asked for their version.
    with tempfile.TemporaryDirectory(prefix="runspec-bench-") as room:
        scene = Scene(room, (), say)
        suites = []
        for name in suite.SUITES:
            one = suite_class(name)(scene, Settings(suites=(), contenders=()))
            suites.append((name, one.what, one.lacks()))
        contenders = []
        for name in CONTENDERS:
            made = load(name, scene)
            why = made.missing()
            contenders.append((name, f"missing: {why}" if why else made.version()))
    return suites, contenders
