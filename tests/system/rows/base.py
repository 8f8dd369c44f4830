"""What the walk over all fields needs to know of one field, and of the container it looks at."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple


class Live(NamedTuple):
    """A running container as the host sees it.

    Attributes:
        name: its name; pid: init's, as the host counts.
        groups: controller -> directory of its control group, "" for cgroup v2.
        room: a directory of the test's own, for sources of mounts and the like.
        inside: runs a program inside by `runspec exec`, which is held as init is; returns what it says.
        host: runs a program of the host where runspec runs; returns what it says.
    """

    name: str
    pid: int
    groups: dict[str, str]
    room: Path
    inside: Callable[..., str]
    host: Callable[..., str]

    def enter(self, kinds: str, *words: str) -> str:
        """Run a program of the host, or of the container's root with "m" among the kinds, in namespaces of init."""
        return subprocess.run(["nsenter", "-t", str(self.pid), f"-{kinds}", "--", *words], check=True,
                              capture_output=True, text=True).stdout.strip()

    def record(self) -> dict[str, Any]:
        """What outlives the run: the file of the Record itself."""
        return dict(json.loads(self.host("cat", f"/run/runspec/state/containers/{self.name}/record.json"))["spec"])

    def group(self, controller: str, file: str) -> Path:
        """A file of its control group, whichever version serves the controller."""
        return Path(self.groups.get(controller, self.groups.get("", "")), file)

    def proc(self, file: str) -> str:
        """A file of init's directory in the host's /proc."""
        return Path(f"/proc/{self.pid}/{file}").read_text()


class Row(NamedTuple):
    """One field of the file, walked from one value to another.

    Attributes:
        path: as fields.py has it, `mounts[].options`.
        before, after: fragments of a document, merged deeply into the base one (lists replace, null removes).
        judge: reads the kernel from outside, never runspec's own word; gives `expect[0]` with `before`
            and `expect[1]` with `after`.
        drift: changes the kernel behind runspec's back, after which `diff` names the field; or the
            reason why the kernel cannot tell it.
        needs: words of kernels.py without which the row is skipped.
        at: the concrete path that `diff` names, where it is not `path`.
        impact: the class, where it depends on the value and is not that of the field.
        also: further documents of the file.
        both: runs on both kernels; False for what a second kernel cannot know otherwise.
        around: makes what the fragments name, given the test's own directory (ROOM in a fragment).
        rest: what `judge` gives once neither document asks anything, where that is not left open.
    """

    path: str
    before: dict[str, Any]
    after: dict[str, Any]
    judge: Callable[[Live], Any]
    expect: tuple[Any, Any]
    drift: Callable[[Live], None] | str
    needs: tuple[str, ...] = ()
    at: str = ""
    impact: int | None = None
    also: tuple[dict[str, Any], dict[str, Any]] | None = None
    both: bool = True
    around: Callable[[Path], AbstractContextManager[None]] = lambda room: nullcontext()
    rest: Any = None
