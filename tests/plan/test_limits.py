"""Steps of more than one write, on groups that are dictionaries."""

from __future__ import annotations

from errno import EINVAL

import pytest

from runspec.errors import HostError, SyscallError
from runspec.plan.cgroup import Write
from runspec.plan.steps import limits

CPU = "/cg/cpu"


class Groups:
    """Files of a hierarchy; a parent must have what its children have together, as the kernel demands of budgets."""

    def __init__(self, **runtimes: int) -> None:
        self.files: dict[str, str] = {}
        self.written: list[tuple[str, str]] = []
        for name, runtime in {"": 300_000, **runtimes}.items():
            self.make(name.replace("_", "/"), runtime)

    def make(self, name: str, runtime: int = 0, period: int = 1_000_000) -> None:
        where = f"{CPU}/{name}".rstrip("/")
        self.files |= {f"{where}/cpu.rt_runtime_us": str(runtime), f"{where}/cpu.rt_period_us": str(period)}

    def try_read(self, path: str) -> bytes | None:
        return self.files[path].encode() if path in self.files else None

    def read_text(self, path: str) -> str:
        return self.files[path]

    def exists(self, path: str) -> bool:
        return any(one == path or one.startswith(path + "/") for one in self.files)

    def list_dir(self, path: str) -> list[str]:
        return sorted({one[len(path) + 1:].partition("/")[0] for one in self.files if one.startswith(path + "/")})

    def _share(self, where: str) -> float:
        return int(self.files[f"{where}/cpu.rt_runtime_us"]) / int(self.files[f"{where}/cpu.rt_period_us"])

    def write(self, path: str, text: str) -> None:
        before, self.files[path] = self.files[path], text
        for one in list(self.files):
            where, _, file = one.rpartition("/")
            if file == "cpu.rt_runtime_us":
                below = sum(self._share(f"{where}/{name}") for name in self.list_dir(where) if "." not in name)
                if below > self._share(where) + 1e-6 or self._share(where) > 1:
                    self.files[path] = before
                    raise SyscallError("write", path, EINVAL)
        self.written.append((path.removeprefix(f"{CPU}/"), text))

    def runtime(self, name: str) -> int:
        return int(self.files[f"{CPU}/{name}/cpu.rt_runtime_us"])


def budget(name: str, runtime: int, period: int = 1_000_000) -> limits.SetRealtime:
    return limits.SetRealtime(target="a", directory=f"{CPU}/{name}", runtime=runtime, period=period)


def test_own_groups() -> None:
    assert limits.own_parents(f"{CPU}/runspec/a/b") == [f"{CPU}/runspec/a", f"{CPU}/runspec"]
    assert limits.own_parents(f"{CPU}/runspec/a") == [f"{CPU}/runspec"]
    assert limits.own_parents(f"{CPU}/runspecial/a") == limits.own_parents(f"{CPU}/other/a") == []
    assert limits.giver(f"{CPU}/runspec/a/b") == CPU
    assert limits.giver(f"{CPU}/other/deep/a") == f"{CPU}/other/deep"


def test_parents_grow_first_and_shrink_last() -> None:
    kernel = Groups(runspec=0, runspec_a=0)
    step = budget("runspec/a", 20_000, 500_000)
    memo = step.look(kernel, None)
    step.apply(kernel, None)
    assert kernel.written == [("runspec/cpu.rt_runtime_us", "40000"), ("runspec/a/cpu.rt_runtime_us", "20000"),
                              ("runspec/a/cpu.rt_period_us", "500000")] or kernel.runtime("runspec") == 40_000
    kernel.written.clear()
    budget("runspec/a", 10_000, 500_000).apply(kernel, None)
    assert [file for file, _ in kernel.written] == ["runspec/a/cpu.rt_runtime_us", "runspec/cpu.rt_runtime_us"]
    assert kernel.runtime("runspec") == 20_000
    step.undo(kernel, None, memo)
    assert (kernel.runtime("runspec"), kernel.runtime("runspec/a")) == (0, 0)
    step.undo(kernel, None, memo)


def test_siblings_keep_what_they_have() -> None:
    kernel = Groups(runspec=50_000, runspec_a=0, runspec_b=50_000, runspec_deep=0, runspec_deep_c=0)
    budget("runspec/deep/c", 30_000).apply(kernel, None)
    assert (kernel.runtime("runspec"), kernel.runtime("runspec/deep")) == (80_000, 30_000)
    budget("runspec/b", 0).apply(kernel, None)
    assert kernel.runtime("runspec") == 30_000
    limits.ReturnShares(target="c", groups=(f"{CPU}/runspec/deep/c",)).apply(kernel, None)
    assert (kernel.runtime("runspec"), kernel.runtime("runspec/deep")) == (0, 0)


def test_what_the_group_above_cannot_give() -> None:
    """It is not runspec's, so it is named and left alone; what was raised on the way is lowered by the undo."""
    kernel = Groups(runspec=0, runspec_a=0)
    step = budget("runspec/a", 400_000)
    memo = step.look(kernel, None)
    with pytest.raises(HostError) as caught:
        step.apply(kernel, None)
    assert caught.value.what == f"{CPU} cannot give 400000 of 1000000 microseconds for real-time tasks"
    assert caught.value.fix.endswith(f"or raise {CPU}/cpu.rt_runtime_us")
    step.undo(kernel, None, memo)
    assert (kernel.runtime("runspec"), kernel.runtime("runspec/a")) == (0, 0)


def test_the_step_of_a_write() -> None:
    def step(now: str | None, **words: object) -> limits.HostStep:
        return limits.step(Write(controller="", path="p", **words), "/g", now, target="a", path="p")  # type: ignore[arg-type]

    assert isinstance(step("9", file="memory.max", value="8"), limits.ShrinkMemory)
    assert isinstance(step(None, file="memory.max", value="8"), limits.WriteCgroupFile)
    assert isinstance(step("9", file="memory.max", value="max"), limits.WriteCgroupFile)
    assert isinstance(step("9", file="memory.limit_in_bytes", value="8"), limits.WriteMemoryLimit)
    line = step("8:0 1\n8:1 2", file="io.max", value="8:0 rbps=3", before="8:0 rbps=1")
    assert isinstance(line, limits.WriteCgroupFile) and line.before == "8:0 rbps=1"


def test_a_budget_ends_late_and_begins_early() -> None:
    assert budget("a", 0).phase > budget("a", 1).phase
