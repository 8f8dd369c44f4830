"""How late a program wakes up: wakeup.c, built once and run inside a container or out of any."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("wakeup.c")


def build(room: Path) -> Path:
    """The static program."""
    program = room / "wakeup"
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", program, SOURCE], check=True)
    return program


def late(program: Path, cli: Any, name: str, count: int) -> dict[str, float]:
    """Percentiles of lateness in microseconds, of a program in a container that is held as its init is."""
    pid = json.loads(cli("state", name).stdout)["pid"]
    shutil.copy(program, f"/proc/{pid}/root/wakeup")
    figures: dict[str, float] = json.loads(cli("exec", name, "/wakeup", str(count)).stdout)
    return figures
