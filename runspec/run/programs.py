"""Whether the program of a new init is there, asked while the former one still runs."""

from __future__ import annotations

import stat

from runspec.plan.steps import hooks
from runspec.spec.defaults import PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel
    from runspec.plan.planner import Item


def unfound(kernel: Kernel, item: Item) -> tuple[str, str, str] | None:
    """(what, why, fix) of a restart that could only end the container; None where nothing speaks against it.

    Its root stays, so what it holds now it will hold then; where other mounts are asked for, or other hooks may
    bring it, nobody can know yet.
    """
    spec, last, pid = item.wanted, item.last, item.facts.pid
    if (spec.mounts, spec.root) != (last.mounts, last.root) or (spec.hooks != last.hooks and hooks.adds(spec)):
        return None
    program = spec.process.args[0]
    if "/" in program:
        places = [program if program[0] == "/" else f"{spec.process.cwd}/{program}"]
    else:
        path = next((one for one in spec.process.env if one.startswith("PATH=")), PATH)
        places = [f"{directory or spec.process.cwd}/{program}" for directory in path[5:].split(":")]
    if any(_executable(kernel, pid, place) for place in places):
        return None
    return (f"there is no program {program} in the container", "its init would end without another, execve(2)",
            "name one that its root holds")


def _executable(kernel: Kernel, pid: int, place: str) -> bool:
    found = kernel.stat_inside(pid, place, follow=True)
    return found is not None and stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o111)
