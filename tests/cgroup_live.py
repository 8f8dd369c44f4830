"""Applies resources to groups of this kernel and compares what its files say with what was expected."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from runspec.kernel import cgroupfs
from runspec.plan import cgroup
from runspec.plan.facts import Facts
from runspec.plan.host import Host
from runspec.spec.model import Resources


class Files:
    """The reading part of the Kernel."""

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def try_read(self, path: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return Path(path).read_bytes()
        return None

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)


class Group:
    """A group of our own in each hierarchy; each step goes from the last resources to the next."""

    def __init__(self) -> None:
        self.host = Host(**cgroupfs.host_facts(Files()))
        name = f"runspec-test-{os.getpid()}"
        self.where = {one: f"{mount}/{name}" for one, mount in self.host.hierarchies}
        if self.host.unified and self.host.controllers2:
            self.where[""] = f"{self.host.unified}/{name}"
        for directory in self.where.values():
            os.mkdir(directory)
        if "cpuset" in self.where:
            for file, value in (("cpus", self.host.cpus), ("mems", self.host.mems)):
                Path(self.where["cpuset"], f"cpuset.{file}").write_text(value)
        self.last: Resources | None = None

    def close(self) -> None:
        for directory in self.where.values():
            os.rmdir(directory)

    def read(self, *resources: Resources | None) -> dict[tuple[str, str], str]:
        """The files that these resources need to be judged."""
        out = {}
        for one in resources:
            for controller, file in cgroup.files(one, self.host) if one else ():
                data = Files().try_read(f"{self.where[controller]}/{file}")
                if data is not None:
                    out[controller, file] = data.decode().strip()
        return out

    def write(self, one: cgroup.Write) -> None:
        """One Write; device programs are not tried here."""
        for file, lines in (("devices.deny", one.deny), ("devices.allow", one.allow),
                            (one.file, (one.value,) if one.file else ())):
            for line in lines:
                try:
                    Path(self.where[one.controller], file).write_text(line)
                except OSError as error:
                    raise AssertionError(f"{file} <- {line!r}: {error}") from error

    def drift(self, resources: Resources) -> dict[str, tuple[object, object]]:
        """Path -> (expected, seen) where they differ, as diff.py would find."""
        facts = Facts("running")
        facts.files = self.read(resources, self.last)
        wanted = cgroup.expected(resources, self.host)
        seen = cgroup.seen(resources, self.last, self.host, facts)
        assert set(wanted) <= set(seen)
        return {path: (wanted.get(path, cgroup.ABSENT), seen[path]) for path in seen
                if (seen[path] is not cgroup.UNKNOWN and seen[path] != wanted.get(path, cgroup.ABSENT)
                and path != cgroup.DEVICES) or (path == cgroup.DEVICES and "devices" in self.where
                and seen[path] != wanted[path])}

    def become(self, resources: Resources, paths: set[str] | None = None) -> list[cgroup.Write]:
        """Write the difference; afterwards there is none, and a second time writes nothing."""
        now = {} if self.last is None else self.read(resources, self.last)
        if self.last is not None and paths is not None:
            assert set(self.drift(resources)) == paths
        done = cgroup.writes(resources, self.last, self.host, now)
        for one in done:
            self.write(one) if not one.program else None
        assert self.last is None or {one.path for one in done if not one.program} == set() or done
        self.last = resources
        assert self.drift(resources) == {}
        again = cgroup.writes(resources, resources, self.host, self.read(resources))
        assert [one for one in again if not one.program] == []
        return done
