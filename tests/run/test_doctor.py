"""What the doctor says of machines that this one is not: the kernel is asked through a fake."""

from __future__ import annotations

from typing import Any

import pytest

from runspec.errors import SyscallError
from runspec.plan.host import Host
from runspec.run import abilities
from runspec.run.apply import Wanted
from runspec.run.doctor import _row, rows_of
from runspec.run.probes import Probes
from runspec.spec.model import (
    Cpu,
    DeviceRule,
    Linux,
    Memory,
    Mount,
    Namespace,
    Pids,
    Process,
    Resources,
    Rlimit,
    Root,
    Scheduler,
    Seccomp,
    Spec,
    SyscallRule,
)

V1 = Host(last_cap=40,
          hierarchies=tuple((name, f"/cg/{name}") for name in ("cpu", "cpuset", "devices", "memory", "pids")))
V2 = Host(cpus="0-1", unified="/cg", controllers2=("cpu", "cpuset", "memory", "pids"), last_cap=40)
NONE = Host(last_cap=40)


class FakeKernel:
    """Files and nothing else; every table fails with ENODEV."""

    def __init__(self, files: dict[str, str] | None = None, hard: int = 1024, caps: int = 0x1FFFFFFFFFF) -> None:
        self.files = {"/proc/self/status": f"CapEff:\t{caps:x}\nCapBnd:\t{caps:x}\n",
                      "/proc/filesystems": "nodev overlay\nnodev tmpfs\n", **(files or {})}
        self.hard = hard

    def exists(self, path: str) -> bool:
        return path in self.files

    def try_read(self, path: str) -> bytes | None:
        return self.files[path].encode() if path in self.files else None

    def read_text(self, path: str) -> str:
        return self.files[path]

    def list_dir(self, path: str) -> list[str]:
        below = (name.removeprefix(f"{path}/") for name in self.files if name.startswith(f"{path}/"))
        return sorted({name.split("/")[0] for name in below})

    def stat(self, path: str, follow: bool = True) -> None:
        return None

    def has_userfaultfd(self) -> bool:
        return True

    def get_rlimit(self, pid: int, limit: int) -> tuple[int, int]:
        return self.hard, self.hard

    def landlock_version(self) -> int:
        return 0

    def run_table(self, *words: Any, **options: Any) -> list[Any]:
        raise SyscallError("fsopen", "it", 19)


def spec(**more: Any) -> Spec:
    return Spec(**{"name": "a", "root": Root(path="/"), "process": Process(args=("sh",)), **more})


def resources(**more: Any) -> Spec:
    return spec(linux=Linux(resources=Resources(**more)))


def limited(hard: int) -> Spec:
    return spec(process=Process(args=("sh",), rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=1, hard=hard),)))


def fails(kernel: FakeKernel, host: Host, model: Spec) -> dict[str, str]:
    """Path -> why, of rows that fail."""
    probes = Probes(kernel, host)       # type: ignore[arg-type]
    rows = rows_of(probes, kernel, Wanted(model, "", dict))     # type: ignore[arg-type]
    return {row.path: row.answer.why for row in rows if row.answer.ok is False}


@pytest.mark.parametrize(("host", "model", "says"), [
    (V1, resources(cpu=Cpu(cpus="0", partition="isolated")),
     {"linux.resources.cpu.partition": "cgroup v1 serves cpuset here and has no such key"}),
    (V2, resources(cpu=Cpu(cpus="0", partition="isolated")),
     {"linux.resources.cpu.partition": "it has no cpuset.cpus.exclusive, which came with Linux 6.7, cgroup-v2.rst"}),
    (V1, resources(memory=Memory(min=5)),
     {"linux.resources.memory.min": "cgroup v1 serves memory here and has no such key"}),
    (V2, resources(memory=Memory(min=5)), {}),
    (V2, resources(memory=Memory(swappiness=5)),
     {"linux.resources.memory.swappiness": "cgroup v2 serves memory here and has no such key"}),
    (V1, resources(unified=(("cpu.weight", "5"),)),
     {"linux.resources.unified": "cgroup v1 serves cpu here and has no such key",
      "linux.resources.unified.cpu.weight": "`unified` names files of cgroup v2, cgroups(7)"}),
    (NONE, resources(pids=Pids(limit=5)),
     {"linux.resources.pids.limit": "neither cgroup version serves it, /proc/cgroups does not have it",
      "linux.resources.pids": "cgroups(7)"}),
    (NONE, resources(devices=(DeviceRule(allow=False),)),
     {"linux.resources.devices": "there is neither the devices controller nor cgroup v2, cgroups(7)"}),
    (V1, spec(linux=Linux(namespaces=(Namespace(type="time"),))),
     {"linux.namespaces[0]": "there is no /proc/self/ns/time, namespaces(7)"}),
    (V1, spec(mounts=(Mount(destination="/x", type="ext4", source="/dev/x"),)),
     {"mounts[0]": "fsopen(ext4): No such device, filesystems(5)"}),
    (V1, limited(1025), {}),
    (V1, spec(process=Process(args=("sh",), scheduler=Scheduler(policy="SCHED_RR", priority=1))), {}),
    (V1, spec(linux=Linux(seccomp=Seccomp(default_action="SCMP_ACT_ALLOW"))),
     {"linux.seccomp": "there is no /proc/sys/kernel/seccomp/actions_avail, seccomp(2)"}),
], ids=str)
def test_verdicts(host: Host, model: Spec, says: dict[str, str]) -> None:
    assert fails(FakeKernel(), host, model) == says


@pytest.mark.parametrize(("kernel", "model", "says"), [
    (FakeKernel(caps=0), limited(1025),
     {"process.rlimits[0]": "runspec's own hard limit is 1024, which only CAP_SYS_RESOURCE may raise, getrlimit(2)"}),
    (FakeKernel(caps=0), limited(1024), {}),
    (FakeKernel({"/proc/sys/fs/nr_open": "1024"}), limited(1025),
     {"process.rlimits[0]": "/proc/sys/fs/nr_open is 1024, above which nobody gets, getrlimit(2)"}),
    (FakeKernel({"/proc/sys/fs/nr_open": "1024"}), limited(1024), {}),
    (FakeKernel({"/cg/cpu/cpu.rt_runtime_us": "950000"}),
     spec(process=Process(args=("sh",), scheduler=Scheduler(policy="SCHED_FIFO", priority=1))),
     {"process.scheduler.policy": "this kernel gives new groups none, sched-rt-group.rst"}),
    (FakeKernel({"/proc/sys/user/max_time_namespaces": "0", "/proc/self/ns/time": ""}),
     spec(linux=Linux(namespaces=(Namespace(type="time"),))),
     {"linux.namespaces[0]": "/proc/sys/user/max_time_namespaces is 0"}),
    (FakeKernel({"/proc/sys/kernel/seccomp/actions_avail": "kill_process kill_thread errno allow"}),
     spec(linux=Linux(seccomp=Seccomp(default_action="SCMP_ACT_ERRNO", syscalls=(
         SyscallRule(names=("x",), action="SCMP_ACT_NOTIFY"),)))),
     {"linux.seccomp": "user_notif is not among kill_process kill_thread errno allow, seccomp(2)"}),
], ids=str)
def test_other_kernels(kernel: FakeKernel, model: Spec, says: dict[str, str]) -> None:
    assert fails(kernel, V1, model) == says


EVERYTHING = spec(
    process=Process(args=("sh",), apparmor_profile="x", selinux_label="a:b:c:d"),
    linux=Linux(mount_label="a:b:c:d", resources=Resources(
        cpu=Cpu(weight=5, cpus="0", mems="0"), pids=Pids(limit=5), devices=(DeviceRule(allow=True),),
        memory=Memory(limit=5, swappiness=1, disable_oom_killer=True, use_hierarchy=False),
        unified=(("cpu.weight", "5"), ("io.weight", "5")))))


@pytest.mark.parametrize("host", [V1, V2, NONE], ids=["v1", "v2", "none"])
def test_every_refusal_of_apply_fails_here_too(host: Host) -> None:
    """Under the same key, whichever list it comes from."""
    kernel = FakeKernel(caps=0)
    told = fails(kernel, host, EVERYTHING)
    refusals = [*abilities.every(kernel, host, EVERYTHING),     # type: ignore[arg-type]
                *abilities.lacking(Probes(kernel, host), EVERYTHING)]   # type: ignore[arg-type]
    assert len(refusals) > 4
    assert {path for path, _, _, _ in refusals} <= set(told)


def test_configuration_is_a_hint() -> None:
    """Read where the kernel shows it, nothing where it does not."""
    import gzip

    probes = Probes(FakeKernel(), V1)       # type: ignore[arg-type]
    assert probes.configured("CONFIG_USER_NS") == ""
    kernel = FakeKernel()
    text = gzip.compress(b"CONFIG_USER_NS=y\n# CONFIG_X is not set\nCONFIG_VETH=m\n")
    kernel.try_read = lambda path: text if path == "/proc/config.gz" else None     # type: ignore[method-assign]
    probes = Probes(kernel, V1)             # type: ignore[arg-type]
    assert [probes.configured(f"CONFIG_{name}") for name in ("USER_NS", "VETH", "X")] == [
        "CONFIG_USER_NS=y", "CONFIG_VETH=m", "CONFIG_X is not set"]


@pytest.mark.parametrize("host", [V1.replace(cpus="0-1"), V2], ids=["v1", "v2"])
def test_cores_and_nodes_that_are_not_there(host: Host) -> None:
    at = "linux.resources.cpu"

    def refused(**cpu: Any) -> dict[str, tuple[str, str, str]]:
        spec = Spec(name="a", root=Root(image="busybox"), process=Process(args=("sh",)),
                    linux=Linux(resources=Resources(cpu=Cpu(**cpu))))
        kernel: Any = FakeKernel()
        rows = rows_of(Probes(kernel, host), kernel, Wanted(spec, "", dict))
        return {row.path: (row.need, row.answer.why, row.answer.fix) for row in rows
                if row.path.startswith(at) and row.answer.ok is False}

    assert refused(cpus="0-1", mems="0") == refused(cpus="1") == {}
    assert refused(cpus="99") == {f"{at}.cpus": (
        "this machine does not have all of the cores 99", "it has cores 0-1, cpuset(7)",
        'write cpus: "0-1", or some of them')}
    assert refused(cpus="0-3", mems="0,2") == {
        f"{at}.cpus": ("this machine does not have all of the cores 0-3", "it has cores 0-1, cpuset(7)",
                       'write cpus: "0-1", or some of them'),
        f"{at}.mems": ("this machine does not have all of the memory nodes 0,2", "it has memory nodes 0, cpuset(7)",
                       'write mems: "0", or some of them')}


def test_without_a_file_there_is_nothing_to_remove(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is for what a file asks; of the machine alone it is the other half."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    kernel: Any = FakeKernel(caps=0)
    probes = Probes(kernel, NONE)
    for word in ("capability:CAP_SYS_RESOURCE", "resctrl:"):
        asked, bare = _row(probes, "x", word).answer.fix, _row(probes, "", word).answer.fix
        assert asked == f"remove it, or {bare}" and bare
