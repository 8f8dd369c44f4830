"""Commands of a run: how their end is waited for."""

from __future__ import annotations

import os
import subprocess
from unittest.mock import patch

import pytest

from runspec.bench.scene import Scene, ended
from runspec.errors import HostError


def test_who_takes_too_long_is_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        assert not ended(child.pid, 0.05)
        child.kill()
        assert ended(child.pid, 10)


def test_an_end_is_not_looked_for_at_intervals(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Waiting with subprocess's own limit sleeps up to 50 ms too long, which is more than a container."""
    scene = Scene.__new__(Scene)
    scene.room = str(tmp_path_factory.mktemp("room"))
    with patch("time.sleep", side_effect=AssertionError("it slept")):
        assert scene.run("sh", "-c", "sleep 0.1; echo done", seconds=10) == "done\n"
        with pytest.raises(HostError, match=r"sleep 60: it took longer than 0.1 seconds"):
            scene.run("sleep", "60", seconds=0.1)


def test_nobody_goes_on_after_an_interrupt(tmp_path_factory: pytest.TempPathFactory) -> None:
    scene = Scene.__new__(Scene)
    scene.room = str(tmp_path_factory.mktemp("room"))
    begun = []

    def interrupted(pid: int, seconds: float) -> bool:
        begun.append(pid)
        raise KeyboardInterrupt

    with patch("runspec.bench.scene.ended", interrupted), pytest.raises(KeyboardInterrupt):
        scene.run("sleep", "60")
    with pytest.raises(ProcessLookupError):
        os.kill(begun[0], 0)
