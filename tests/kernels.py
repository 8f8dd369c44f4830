"""What this machine can do, asked of it, and the pytest plugin that runs each test where it can.

A test says `@requires("root", "cgroup_v2")`. Without `--vm`, a test that lacks a word here is
skipped. With `--vm`, all such tests, and those marked `both`, run in one VM with another kernel
(tests/vm/run-in-vm) after the others, and their results join the same summary: a test that could
run on neither kernel fails. tests/kernels.ini lists the words that each kernel must satisfy.
PYTEST_DONT_REWRITE: conftest.py needs it before pytest can rewrite its (missing) asserts.
"""

from __future__ import annotations

import configparser
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
IN_VM = bool(os.environ.get("RUNSPEC_VM"))
# Emulation makes Python 15 times slower; every timeout of a test is multiplied by this.
SLOWER = 15 if IN_VM else 1
TOOLS = ("NPtcp", "buildah", "busybox", "chromium", "crun", "gcc", "hpcc", "ip", "iperf3", "nft", "nsenter", "ping",
         "podman", "runc", "skopeo", "strace", "stress-ng", "tc", "umoci", "unshare")
LINKS = ("bridge", "dummy", "ifb", "ipvlan", "macvlan", "veth", "vlan")


def cgroup_mounts() -> list[tuple[str, str, str]]:
    """(type, mount point, super options) of every cgroup hierarchy, from /proc/self/mountinfo."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            found.append((kind, left.split()[4], options))
    return found


def _try(*command: str) -> str:
    """Why a command fails, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30 * SLOWER)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if not done.returncode else done.stderr.strip() or f"{command[0]}: status {done.returncode}"


def _link(kind: str) -> str:
    """Whether the kernel makes a link of this kind, in a network namespace of its own."""
    words = {"vlan": "link e0 type vlan id 5", "macvlan": "link e0 type macvlan",
             "ipvlan": "link e0 type ipvlan"}.get(kind, f"type {kind}")
    parent = "" if kind == "veth" else "ip link add e0 type veth peer name e1; "
    return _try("unshare", "-n", "sh", "-ec", f"{parent}ip link add x0 {words}")


@functools.cache
def lacks(word: str) -> str:
    """Why this machine lacks a word, or nothing when it has it.

    Raises:
        KeyError: no such word.
    """
    if word in LINKS:
        return _link(word)
    if word == "vlan_filtering":
        return _try("unshare", "-n", "ip", "link", "add", "b0", "type", "bridge", "vlan_filtering", "1")
    if word == "busybox":
        path = shutil.which("busybox")
        return interpreter(path) if path else "no busybox in PATH"
    if word in TOOLS:
        return "" if shutil.which(word) else f"no {word} in PATH"
    if word == "fq_codel":
        return _try("unshare", "-n", "sh", "-ec", "ip link set lo up; tc qdisc add dev lo root fq_codel")
    if word == "no_vlan":
        return "" if _link("vlan") else "this kernel has the driver of VLANs"
    return {"root": _root, "machine": _machine, "vm": _vm,
            "cgroup_v1": _cgroup_v1, "cgroup_v2": _cgroup_v2,
            "time_namespace": functools.partial(_try, "unshare", "-T", "true"),
            "user_namespace": functools.partial(_try, "unshare", "-U", "-r", "true"),
            "cgroup_io": functools.partial(_controller, "blkio", "io"),
            "hugetlb": functools.partial(_controller, "hugetlb", "hugetlb"),
            "net_cls": functools.partial(_marks, "net_cls"), "net_prio": functools.partial(_marks, "net_prio"),
            "nic": _nic, "rt_group": _rt_group, "partition": _partition, "bfq": _bfq, "rdma": _rdma,
            "two_cores": _two_cores,
            "legacy32": _legacy32, "overlay": _overlay, "installed": _installed}[word]()


def interpreter(path: str) -> str:
    """Why a program needs a loader (PT_INTERP), nothing for a static one or where no readelf tells."""
    if not shutil.which("readelf"):
        return ""
    return _try("sh", "-c", '! readelf -lW "$1" | grep -q INTERP', "sh", path)


def _root() -> str:
    return "" if os.geteuid() == 0 else "not uid 0"


def _machine() -> str:
    return "this is the VM" if IN_VM else ""


def _vm() -> str:
    return "" if IN_VM else "not in tests/vm/run-in-vm"


def _nic() -> str:
    """Hardware to be lent, of the initial network namespace; that of a machine which somebody uses is nobody's."""
    missing = [name for name in ("eth0", "eth1") if not Path(f"/sys/class/net/{name}/device").exists()]
    return _vm() or (f"no {' and '.join(missing)}" if missing else "")


def _cgroup_v1() -> str:
    found = any(kind == "cgroup" and "cpu" in options.split(",") for kind, _, options in cgroup_mounts())
    return "" if found else "no v1 cpu controller is mounted"


def _cgroup_v2() -> str:
    for kind, where, _ in cgroup_mounts():
        if kind == "cgroup2" and "cpu" in Path(where, "cgroup.controllers").read_text().split():
            return ""
    return "no unified hierarchy with the cpu controller"


def _where(v1: str, v2: str) -> tuple[str, str]:
    """(cgroup or cgroup2, mount point) of what serves a controller; empty texts where nothing does."""
    for kind, where, options in cgroup_mounts():
        if (v1 in options.split(",") if kind == "cgroup" else
                v2 in Path(where, "cgroup.controllers").read_text().split()):
            return kind, where
    return "", ""


def _controller(v1: str, v2: str) -> str:
    kind, where = _where(v1, v2)
    if kind == "cgroup2" and "pids" not in Path(where, "cgroup.controllers").read_text().split():
        return f"v2's {v2} controller is there, but containers have groups of v1"
    return "" if kind else f"neither v1's {v1} nor v2's {v2} controller is there"


def _marks(word: str) -> str:
    """Controllers that mark packets are mounted, or may be in the VM, where that is nobody else's affair."""
    if _where(word, "")[0]:
        return ""
    known = any(line.split()[0] == word for line in Path("/proc/cgroups").read_text().splitlines())
    return "" if known and IN_VM else f"{word} is not mounted"


def _rt_group() -> str:
    kind, where = _where("cpu", "")
    file = Path(where, "cpu.rt_runtime_us")
    if not kind or not file.exists():
        return "no cpu.rt_runtime_us on v1"
    return "" if int(file.read_text()) >= 100_000 else f"{file} gives less than 100 ms"


def _partition() -> str:
    kind, where = _where("cpuset", "cpuset")
    if kind != "cgroup2":
        return "cpuset is not on v2"
    return _two_cores() or ("" if Path(where, "cpuset.cpus.isolated").exists() else "no cpuset.cpus.isolated")


def _two_cores() -> str:
    return "" if len(os.sched_getaffinity(0)) > 1 else "one processor"


def _bfq() -> str:
    if any("bfq" in one.read_text() for one in Path("/sys/block").glob("*/queue/scheduler")):
        return ""
    return _try("modprobe", "-n", "bfq")


def _rdma() -> str:
    return _controller("rdma", "rdma") or _try("modprobe", "-n", "rdma_rxe") or _try("rdma", "dev")


def _overlay() -> str:
    return _try("unshare", "-m", "sh", "-ec",
                "mount -t tmpfs t /mnt; mkdir /mnt/l /mnt/u /mnt/w /mnt/m; mount -t overlay o "
                "-o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w /mnt/m")


def _legacy32() -> str:
    """Whether the kernel runs the program of specs/legacy32.yaml's archive, which tests/all makes."""
    archive = Path("/var/cache/runspec/legacy32.tar")
    if not archive.exists():
        return f"no {archive}"
    with tempfile.TemporaryDirectory() as room:
        return _try("sh", "-ec", 'tar -xf "$1" -C "$2" ./bin/busybox; "$2/bin/busybox" true', "sh", str(archive), room)


def _installed() -> str:
    return "" if Path(sys.executable).with_name("runspec").exists() else "no runspec beside the interpreter"


def kernel() -> str:
    """Which section of kernels.ini describes this machine."""
    return "vm" if IN_VM else "machine-v2" if lacks("cgroup_v1") else "machine-v1"


def listed(what: str) -> list[str]:
    """One list of this kernel's section of kernels.ini."""
    parser = configparser.ConfigParser()
    parser.read(HERE / "kernels.ini")
    return parser[kernel()].get(what, "").split()


def missing(item: pytest.Item) -> list[tuple[str, str]]:
    """(word, why) for each word a test requires and this machine lacks."""
    words = [word for mark in item.iter_markers("requires") for word in mark.args]
    try:
        return [(word, why) for word in words if (why := lacks(word))]
    except KeyError as error:
        raise pytest.UsageError(f"{item.nodeid} requires an unknown word: {error}") from None


# ------------------------------------------------------------------- the plugin

def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kernels")
    group.addoption("--vm", action="store_true", help="run what this kernel cannot in tests/vm/run-in-vm")
    group.addoption("--must", action="store_true", help="fail where a word of kernels.ini does not hold")
    group.addoption("--chosen", metavar="FILE", help="run the tests named in FILE only")
    group.addoption("--results", metavar="FILE", help="write each report to FILE as a line of JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requires(*words): what the machine must be able to do")
    config.addinivalue_line("markers", "both: runs on the machine and in the VM")


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("--must"):
        unmet = [f"{word}: {why}" for word in listed("must") if (why := lacks(word))]
        if unmet:
            raise pytest.UsageError(f"kernel {kernel()} must satisfy " + "; ".join(unmet))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = config.getoption("--chosen")
    if chosen:
        names = set(Path(chosen).read_text().splitlines())
        items[:] = [item for item in items if item.nodeid in names]
    vm = config.stash.setdefault(VM_ITEMS, [])
    for item in list(items):
        lacking = missing(item)
        if config.getoption("--vm") and not {"machine", *listed("without")} & _words(item):
            if lacking:
                items.remove(item)
                vm.append(item)
                continue
            if item.get_closest_marker("both"):
                vm.append(item)
        if lacking:
            reason = "; ".join(f"needs {word}: {why}" for word, why in lacking)
            item.add_marker(pytest.mark.skip(reason=reason))


VM_ITEMS: pytest.StashKey[list[pytest.Item]] = pytest.StashKey()


def _words(item: pytest.Item) -> set[str]:
    return {word for mark in item.iter_markers("requires") for word in mark.args}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    path = _results[0]
    if path:
        line = {"nodeid": report.nodeid, "when": report.when, "outcome": report.outcome,
                "duration": report.duration, "text": report.longreprtext}
        if isinstance(report.longrepr, tuple):
            line["text"] = str(report.longrepr[2])
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")


_results: list[str | None] = [None]


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Any:
    _results[0] = session.config.getoption("--results")
    result = yield
    items = session.config.stash.get(VM_ITEMS, [])
    if items and not session.config.getoption("--collect-only"):
        _run_in_vm(session, items)
    return result


def _run_in_vm(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Run tests in VMs with another kernel and report their results in this session, as `NODEID [vm]`.

    A VM keeps one processor busy, so two run where there are two, each with whole test files.
    """
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    shares: list[list[pytest.Item]] = [[] for _ in range(min(os.cpu_count() or 1, 2, len(files)))]
    for some in sorted(files.values(), key=_seconds, reverse=True):
        min(shares, key=_seconds).extend(some)
    reports: dict[str, list[dict[str, Any]]] = {}
    with ThreadPoolExecutor(len(shares)) as pool:
        said = list(pool.map(lambda share: _one_vm(session.config.rootpath, share, reports), shares))
    for item in items:
        nodeid = f"{item.nodeid} [vm]"
        session.testscollected += 1
        silence = "the VM gave no result:\n" + "\n".join(said)
        phases = reports.get(item.nodeid) or [_failed("setup", silence)]
        ran = any(one["when"] == "call" or one["outcome"] == "failed" for one in phases)
        if not ran and item not in session.items:
            phases = [_failed("setup", f"ran on neither kernel: {phases[0]['text']}")]
        item.ihook.pytest_runtest_logstart(nodeid=nodeid, location=item.location)
        for one in phases:
            longrepr: Any = one["text"] or None
            if one["outcome"] == "skipped":
                longrepr = (str(item.path), 0, one["text"])
            report = pytest.TestReport(nodeid, item.location, {}, one["outcome"], longrepr, one["when"],
                                       duration=one["duration"])
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=nodeid, location=item.location)


def _seconds(items: list[pytest.Item]) -> int:
    """About how long tests take in the VM, by their files, for sharing them out."""
    slow = {"test_lease.py": 9, "test_line.py": 8, "test_kill.py": 7, "test_kill_links.py": 7, "test_two.py": 7,
            "test_specs.py": 6, "test_qos.py": 6, "test_forwarding.py": 5, "test_bundles.py": 3, "test_inside.py": 3,
            "test_rows.py": 2}
    return sum(slow.get(item.path.name, 1) for item in items)


def _one_vm(root: Path, items: list[pytest.Item], reports: dict[str, list[dict[str, Any]]]) -> str:
    """Run tests in one VM, add their reports by node id, and return the end of what it printed.

    The guest's pytest gets --must: a guest that lost a driver is an error and no list of skips.
    A VM that itself fails (status 125) is booted again, twice, for the tests that gave no result.
    """
    said = ""
    for _ in range(3):
        with tempfile.TemporaryDirectory(prefix=".vm-", dir=root) as room:
            chosen, results = Path(room, "chosen"), Path(room, "results")
            chosen.write_text("".join(item.nodeid + "\n" for item in items))
            results.touch()
            done = subprocess.run(
                [str(HERE / "vm" / "run-in-vm"), "--mem", "3G",
                 "--timeout", os.environ.get("RUNSPEC_VM_TIMEOUT", "1800"), "--",
                 # -P: the checkout's own runspec/ must not come before the installed one.
                 sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--must",
                 f"--chosen={chosen}", f"--results={results}",
                 *dict.fromkeys(item.nodeid.partition("::")[0] for item in items)],
                cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            ended: dict[str, list[dict[str, Any]]] = {}
            for line in results.read_text().splitlines():
                one = json.loads(line)
                ended.setdefault(one["nodeid"], []).append(one)
        said += done.stdout[-4000:]
        # A test is over with its teardown; what a dying VM left of one is run again.
        reports.update((name, phases) for name, phases in ended.items() if phases[-1]["when"] == "teardown")
        items = [item for item in items if item.nodeid not in reports]
        if done.returncode != 125 or not items:
            break
        print(f"\nthe VM failed with {len(items)} tests to go: {done.stdout[-400:]}", flush=True)
    return said


def _failed(when: str, text: str) -> dict[str, Any]:
    return {"when": when, "outcome": "failed", "duration": 0.0, "text": text}
