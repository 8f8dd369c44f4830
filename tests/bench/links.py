"""Runs in the private world of a benchmark: NetPIPE and iperf3 over each kind of link, a few messages of each size.

With NICs over those alone, twice; who is to die with them does so as soon as the containers of this contender run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from runspec.bench import suite_network
from runspec.bench.scene import Scene
from runspec.bench.suite import Settings
from runspec.bench.suite_network import CASES, DELEGATED, Network


class Dying(suite_network.Work):
    def wait(self, *_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Series and what is missing, on standard output."""
    asked = json.load(sys.stdin)
    settings = asked["settings"]
    scene = Scene(asked["room"], tuple(asked["program"]), lambda line: None, asked["group"])
    contenders = ("native", "runspec")
    if "dies" in settings:
        contenders, suite_network.Work = (settings["dies"],), Dying     # type: ignore[assignment,misc]
    suite = Network(scene, Settings(suites=("network",), contenders=contenders))
    suite.over(*(((DELEGATED,), 3, 2) if settings.get("nics") else (CASES, 3, 1)))
    json.dump({"series": [[one.case, one.contender, one.figure, one.at, one.median] for one in suite.series()],
               "missing": [f"{one.contender}{one.why}" for one in suite.missing]}, sys.stdout)
    return 0
