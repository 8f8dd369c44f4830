"""Runs in the private world of a benchmark: NetPIPE and iperf3 over each kind of link, a few messages of each size."""

from __future__ import annotations

import json
import sys

from runspec.bench.scene import Scene
from runspec.bench.suite import Settings
from runspec.bench.suite_network import CASES, Network


def main() -> int:
    """Series and what is missing, on standard output."""
    asked = json.load(sys.stdin)
    scene = Scene(asked["room"], tuple(asked["program"]), lambda line: None, asked["group"])
    suite = Network(scene, Settings(suites=("network",), contenders=("native", "runspec")))
    suite.over(CASES, 3, 1)
    json.dump({"series": [[one.case, one.contender, one.figure, one.at, one.median] for one in suite.series()],
               "missing": [one.why for one in suite.missing]}, sys.stdout)
    return 0
