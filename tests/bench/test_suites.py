"""Each suite of real programs once, small, by the installed command, with and without a container."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT, Cli, command, requires
from kernels import lacks

from runspec.bench import world
from runspec.bench.results import Results, from_tree
from runspec.bench.suite_network import CASES, TAGGED, WHO

pytestmark = requires("root", "installed", "ip", "unshare")
FILES = sorted((CHECKOUT / "specs/bench").glob("*.yaml"))


def bench(*words: str) -> Results:
    """A run with one round, of native and runspec alone."""
    done = subprocess.run([*command(), "bench", *words, "--quick", "--rounds", "1", "--peers", "none", "-o", "json"],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    tree: Any = json.loads(done.stdout)
    return from_tree(tree, "bench")


def both(results: Results, suite: str, figure: str, case: str = "") -> tuple[float, float]:
    """(native's, runspec's) median."""
    found = {one.contender: one.median for one in results.of(suite, figure, case)}
    return found["native"], found["runspec"]


@requires("machine", "hpcc")
def test_linpack_and_stream() -> None:
    results = bench("cpu", "memory")
    assert all(value > 0.1 for value in both(results, "cpu", "Linpack"))
    for kernel in ("Copy", "Scale", "Add", "Triad"):
        assert all(value > 0.1 for value in both(results, "memory", "STREAM", kernel))
    assert not results.missing
    assert {"hpcc", "BLAS"} <= set(results.versions)


@requires("machine", "NPtcp", "iperf3", "bridge", "veth")
def test_netpipe_and_streams() -> None:
    results = bench("network")
    for case in ("veth on bridge", "loopback"):
        assert all(value > 10 for value in both(results, "network", "stream", case))
        curves = {one.contender: one for one in results.of("network", "latency", case) if one.at == 1}
        assert all(0.1 < one.median < 10_000 for one in curves.values())
        sizes = [one.at for one in results.of("network", "bandwidth", case) if one.contender == "runspec"]
        assert sizes == [2 ** power for power in range(21)]


@requires("NPtcp", "iperf3", "bridge", "veth")
@pytest.mark.both
def test_each_kind_of_link_that_the_kernel_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand and by runspec; what is missing is what the kernel has not."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent)])
    found = world.inside({}, "links")
    lost = [kind for kind in ("macvlan", "ipvlan", "vlan") if lacks(kind)]
    lost += [] if "vlan" in lost else [TAGGED]          # made without the driver only where there is none
    assert sorted(one.partition(":")[0] for one in found["missing"]) == sorted(lost)
    for case in CASES:
        for who in WHO.get(case, ("native", "runspec")):
            mine = [one[-1] for one in found["series"] if one[:2] == [case, who]]
            assert len(mine) == (0 if case in lost else 2 * 21 + 1), f"{case} {who}"
            assert min(mine, default=1) > 0


@requires("machine", "hpcc", "stress-ng", "iperf3", "bridge", "veth", "two_cores")
def test_isolation_and_bombs() -> None:
    """Every line has its figures, and both bombs were held by the limits."""
    results = bench("isolation")
    assert not results.missing
    for kind in ("cpu", "memory", "fork bomb"):
        found = {one.contender: one.median for one in results.of("isolation", "LU, neighbour with limits", kind)}
        assert set(found) == {"other core", "runspec"}
        # What disturbs LU alone lets it gain beside a stressor, and by how much has no bound.
        assert all(value < 100 for value in found.values())
    bombs = {one.name: one for one in results.ratios if "bomb" in one.name and "core" not in one.name}
    assert bombs["isolation: memory bomb"].good and bombs["isolation: fork bomb"].good
    assert bombs["isolation: fork bomb"].value > 1 and bombs["isolation: memory bomb"].value > 32


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_files_are_good_and_can_be_planned(cli: Cli, tmp_path: Path, file: Path) -> None:
    """By hand, with a directory of one's own as /work."""
    text = file.read_text()
    first = text.splitlines()[0]
    assert first.startswith("# ") and len(first) > 40
    mine = tmp_path / file.name
    mine.write_text(re.sub(r"source: /var/tmp/[a-z]+", f"source: {tmp_path}", text))
    cli("validate", mine)
    assert json.loads(cli("plan", "-o", "json", mine).stdout)["steps"]
