"""The measuring process, with nothing to measure: who cannot take part, and what becomes of a suite that breaks."""

from __future__ import annotations

import errno

import pytest

from runspec.bench import measure
from runspec.bench.contenders_oci import Runc
from runspec.bench.results import Missing
from runspec.bench.scene import Scene
from runspec.bench.suite import Settings
from runspec.bench.suite_cpu import Cpu
from runspec.bench.suite_exec import Exec
from runspec.errors import HostError

SCENE = Scene("/nonexistent", (), print)


def settings(*suites: str, contenders: tuple[str, ...] = ("native", "runspec")) -> Settings:
    return Settings(suites=suites, contenders=contenders)


def test_a_missing_program_is_told_once_and_at_once(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """For the suite, not for each contender; the peers' absence goes without saying there."""
    monkeypatch.setattr(Cpu, "lacks", lambda _: "no hpcc: apt-get install hpcc")
    monkeypatch.setattr(Runc, "missing", lambda *_: "no runc: apt-get install runc")
    monkeypatch.setattr(Exec, "measure", lambda _: capsys.readouterr().err == told or pytest.fail("not told before"))
    told = ("bench: cpu: not measured: no hpcc: apt-get install hpcc\n"
            "bench: runc: not measured: no runc: apt-get install runc\n")
    found = measure.take(SCENE, settings("cpu", "exec", contenders=("native", "runspec", "runc")))
    assert found.missing == (Missing(suite="cpu", contender="", why="no hpcc: apt-get install hpcc"),
                             Missing(suite="exec", contender="runc", why="no runc: apt-get install runc"))
    assert set(found.versions) == {"native", "runspec"}


@pytest.mark.parametrize("error", [HostError("bench: ip", "it broke"), OSError(errno.ENOSPC, "No space left")])
def test_a_suite_that_breaks_leaves_the_others(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a failure of ours, so that it is told at the end."""
    done = []

    def breaks(_: Cpu) -> None:
        raise error

    monkeypatch.setattr(Cpu, "lacks", lambda _: "")
    monkeypatch.setattr(Cpu, "measure", breaks)
    monkeypatch.setattr(Exec, "measure", lambda _: done.append("exec"))
    found = measure.take(SCENE, settings("cpu", "exec"))
    assert done == ["exec"]
    assert [(one.suite, one.contender, one.failed) for one in found.missing] == [("cpu", "runspec", True)]


def test_a_peer_that_does_not_even_tell_its_version_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: Runc) -> str:
        raise HostError("bench: runc --version: status 127", "no libseccomp.so.2")

    monkeypatch.setattr(Runc, "missing", lambda *_: "")
    monkeypatch.setattr(Runc, "version", breaks)
    assert measure.look("runc", SCENE) == ("", "runc --version: status 127: no libseccomp.so.2")
