"""The measuring process: settings in, results out; it runs inside the private world that world.py makes."""

from __future__ import annotations

import os
import sys
from time import monotonic

from runspec.bench import machine
from runspec.bench.contender import CONTENDERS, load
from runspec.bench.results import Missing, Ratio, Results, Series, judge, to_tree
from runspec.bench.scene import Scene
from runspec.bench.suite import SUITES, Settings, refusal, suite_class
from runspec.errors import RunspecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def take(scene: Scene, settings: Settings) -> Results:
    """Run the suites, one after another; who fails is noted, and the others go on."""
    facts = machine.facts()
    versions: dict[str, str] = {}
    lost = {name: why for name in settings.suites if (why := suite_class(name)(scene, settings).lacks())}
    missing = [Missing(suite=name, contender="", why=why) for name, why in lost.items()]
    for name in settings.contenders:
        version, why = look(name, scene)
        if why:
            missing += [Missing(suite=each, contender=name, why=why) for each in settings.suites if each not in lost]
        else:
            versions[name] = version
    for line in dict.fromkeys(f"{one.contender or one.suite}: not measured: {one.why}" for one in missing):
        tell(line)      # now, and not after a quarter of an hour
    present = settings.replace(contenders=tuple(versions))
    series: list[Series] = []
    ratios: list[Ratio] = []
    for name in settings.suites:
        if name in lost:
            continue
        suite = suite_class(name)(scene, present)
        try:
            suite.measure()
            versions.update(suite.versions())
        except (RunspecError, OSError) as error:
            suite.miss("runspec", refusal(error))
        series += suite.series()
        ratios += judge(suite.series(), suite.aims)
        missing += suite.missing
    facts["load after"] = machine.load()
    words = {"suites": " ".join(settings.suites), "contenders": " ".join(settings.contenders), "pace": settings.pace,
             "rounds": str(settings.rounds or "by suite"),
             "counts": " ".join(map(str, settings.counts)) or "by suite"}
    if settings.nics:
        words["nics"] = " ".join(settings.nics)
    return Results(machine=facts, versions=versions, settings=words, series=tuple(series), ratios=tuple(ratios),
                   missing=tuple(missing))


def look(name: str, scene: Scene) -> tuple[str, str]:
    """A contender's version, and why it cannot take part; one of them is "". It cannot where its program breaks."""
    one = load(name, scene)
    try:
        why = one.missing()
        return ("", why) if why else (one.version(), "")
    except (RunspecError, OSError) as error:
        return "", refusal(error)


BEGUN = monotonic()
CLEAR = "\r\x1b[K"     # of the line of progress, which changes


def say(line: str) -> None:
    """Progress with minutes and seconds since the start: lines, or on a terminal one line that changes."""
    seconds = int(monotonic() - BEGUN)
    line = f"{seconds // 60:2}:{seconds % 60:02} {line}"
    if sys.stderr.isatty():
        width = os.get_terminal_size(sys.stderr.fileno()).columns or 80     # 0: nobody said
        sys.stderr.write(f"{CLEAR}{line[:width - 1]}")
        sys.stderr.flush()
    else:
        tell(line)


def tell(line: str) -> None:
    """A line that stays."""
    sys.stderr.write(f"{CLEAR if sys.stderr.isatty() else ''}bench: {line}\n")
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
    except OSError as error:
        answer = {"error": [f"bench: {error}", "", ""]}
    except Exception as error:
        if asked["settings"].get("debug"):
            traceback.print_exc()
        answer = {"error": [f"bench: internal error: {type(error).__name__}: {error}", "",
                            "run it again with --debug before the verb"]}
    json.dump(answer, sys.stdout)
    return 0


def settings_of(tree: dict[str, Any]) -> Settings:
    """Settings that came as JSON."""
    return Settings(suites=tuple(tree["suites"]), contenders=tuple(tree["contenders"]), pace=tree["pace"],
                    rounds=tree["rounds"], counts=tuple(tree["counts"]), nics=tuple(tree["nics"]))


def listing() -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """What `--list` shows: (suite, what it measures, what it lacks), (contender, its version or why it is missing)."""
    import tempfile

    # Where those write who are asked for their version.
    with tempfile.TemporaryDirectory(prefix="runspec-bench-") as room:
        scene = Scene(room, (), say)
        suites = []
        for name in SUITES:
            one = suite_class(name)(scene, Settings(suites=(), contenders=()))
            suites.append((name, one.what, one.lacks()))
        contenders = []
        for name in CONTENDERS:
            version, why = look(name, scene)
            contenders.append((name, version if not why else f"missing: {why}"))
    return suites, contenders
