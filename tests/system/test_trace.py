"""What strace(1) sees of a verb: every state-changing call is announced, and no Python goes inside.

Of the host side's calls these count as changing the machine: those of CHANGING, an openat that may make
or empty a file, a write to a path, a message to a child, a netlink message that is no RTM_GET*, a
prlimit64 that sets. Left out by rule: reading and looking; a memfd, which nobody else sees and which ends
with the process, as locks do; standard output; reaping a child; and the file the trace is written to.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli, requires
from kernels import SLOWER

import runspec

SPEC = """\
apiVersion: runspec/v1
kind: Network
name: trace0
type: bridge
addresses: [10.80.0.1/24, "fd80::1/64"]
---
apiVersion: runspec/v1
name: trace-a
hostname: traced
root: {image: busybox, overlay: {volatile: false}}
process:
  args: [/bin/sleep, "100000"]
  oomScoreAdj: 100
  rlimits: [{type: RLIMIT_NOFILE, soft: 512, hard: 1024}]
linux:
  sysctl: {net.ipv4.ip_forward: "1"}
  resources:
    cpu: {weight: 25}
    memory: {limit: 64Mi}
interfaces:
  - {name: eth0, type: veth, network: trace0, addresses: [10.80.0.11/24], gateway: 10.80.0.1}
---
apiVersion: runspec/v1
name: trace-b
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]}
linux:
  namespaces:
    - {type: user}
    - {type: pid}
    - {type: mount}
    - {type: uts}
    - {type: ipc}
    - {type: network}
    - {type: cgroup}
    - {type: time}
  uidMappings: [{containerID: 0, hostID: 100000, size: 65536}]
  gidMappings: [{containerID: 0, hostID: 100000, size: 65536}]
interfaces: []
"""
EDITS = (("weight: 25", "weight: 50"), ("hostname: traced", "hostname: tracked"), ("soft: 512", "soft: 256"),
         ("oomScoreAdj: 100", "oomScoreAdj: 200"), ("10.80.0.11/24", "10.80.0.12/24"))
CHANGING = {
    "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "symlink", "symlinkat",
    "link", "linkat", "mknod", "mknodat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat",
    "truncate", "ftruncate", "fallocate", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "removexattr",
    "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount",
    "fspick", "mount_setattr", "swapon", "setns", "unshare", "clone", "clone3", "fork", "vfork", "kill", "tkill",
    "tgkill", "pidfd_send_signal", "rt_sigqueueinfo", "bpf", "sethostname", "setdomainname", "keyctl", "add_key",
    "pwrite64", "writev", "pwritev", "sendfile", "copy_file_range", "splice", "sendmsg", "sendmmsg", "setpriority",
    "sched_setaffinity", "sched_setscheduler", "ptrace", "init_module", "finit_module", "reboot", "acct", "quotactl"}
# One name for what the C library may reach by several.
PLAIN = {"clone": "clone3", "vfork": "clone3", "renameat2": "rename", "renameat": "rename", "mkdirat": "mkdir",
         "symlinkat": "symlink", "fchmodat": "chmod", "fchmod": "chmod", "unlinkat": "unlink", "mknod": "mknodat"}
LINE = re.compile(r"(\d+) +(\w+)\((.*)")
NEEDED = ("root", "busybox", "bridge", "veth", "overlay", "user_namespace", "time_namespace", "strace", "nsenter")


def traced(cli: Cli, folder: Path, *words: str) -> tuple[list[str], list[tuple[int, str, str]]]:
    """Run a verb under strace: the names it announced, and (pid, call, rest of the line) of all it did.

    strace would stay with the containers: it is told to go once the verb itself has ended.
    """
    log, acts = folder / "strace", folder / "acts"
    for path in (log, acts):
        path.unlink(missing_ok=True)
    run = cli.netns.popen("strace", "-I", "2", "-f", "-y", "-s", "64", "-o", log, *cli.argv, *words,
                          stdout=subprocess.DEVNULL, env={**os.environ, "RUNSPEC_FAULT": f"trace@{acts}",
                                                          "PYTHONDONTWRITEBYTECODE": "1"})
    end = time.monotonic() + 60 * SLOWER
    ended = None
    while ended is None and time.monotonic() < end:
        time.sleep(0.05)
        text = log.read_text() if log.exists() else ""
        first = text.partition(" ")[0]
        ended = re.search(rf"^{first} +\+\+\+ exited with (\d+)", text, re.M) if first else None
    run.terminate()
    _, said = run.communicate()
    assert ended is not None and ended[1] == "0", said
    lines = [found for line in log.read_text().splitlines() if (found := LINE.match(line))]
    return acts.read_text().split(), [(int(one[1]), one[2], one[3]) for one in lines]


def changes(calls: list[tuple[int, str, str]], acts: Path) -> list[str]:
    """The host side's state-changing calls, by the rule at the top."""
    host, found = calls[0][0], []
    for pid, call, rest in calls:
        if pid != host or "/memfd:" in rest or str(acts) in rest:
            continue
        counts = (
            call in CHANGING
            or (call in ("open", "openat", "openat2") and re.search(r"O_CREAT|O_TRUNC|O_TMPFILE", rest))
            or (call == "write" and re.match(r"\d+</", rest) and not re.match(r"[12]<", rest))
            or (call == "sendto" and not re.search(r"nlmsg_type=RTM_GET", rest))
            or (call == "prlimit64" and not re.match(r"\w+, \w+, NULL", rest)))
        if counts:
            found.append(PLAIN.get(call, call))
    return found


def entered_sealed(calls: list[tuple[int, str, str]]) -> int:
    """Check that every child became the sealed memfd before all else; returns how many did."""
    host, image = calls[0][0], {}
    cloned = by_children = 0        # clones whose child has not shown up yet
    for pid, call, rest in calls:
        if pid == host:
            # An id map is written from outside, to a child that is the interpreter already.
            map_of = re.match(r"\d+</proc/(\d+)/[ug]id_map", rest) if call == "write" else None
            assert map_of is None or image.get(int(map_of[1]), "inherited") != "python", rest
            cloned += call == "clone3"
            continue
        if pid not in image:
            # What the interpreter makes (a new pid namespace's first process) is the interpreter.
            inherited = by_children and (not cloned or call != "fcntl")
            image[pid] = "inherited" if inherited else "python"
            cloned, by_children = cloned - (not inherited), by_children - bool(inherited)
            assert cloned >= 0
        by_children += call in ("clone", "clone3")
        if call in ("execve", "execveat"):
            if image[pid] == "python":
                assert call == "execveat" and "/memfd:runspec" in rest and "AT_EMPTY_PATH" in rest, rest
                image[pid] = "interpreter"
            else:
                assert "python" not in rest and not rest.startswith("/proc/self/exe"), rest
                image[pid] = "program"
        elif image[pid] == "python":
            assert call in ("fcntl", "dup3", "close_range", "rt_sigprocmask", "openat"), (call, rest)
            assert call != "openat" or '"/dev/null"' in rest, rest
    assert "python" not in image.values()
    return len(image)


@pytest.fixture
def files(cli: Cli, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The file as it is and edited; the image is there already."""
    base, edited = tmp_path / "base.yaml", tmp_path / "edited.yaml"
    text = SPEC
    base.write_text(text)
    for old, new in EDITS:
        assert old in text
        text = text.replace(old, new)
    edited.write_text(text)
    cli("apply", base)
    cli("destroy", "--yes", "--data", base)
    yield str(base), str(edited)


@requires(*NEEDED)
def test_every_change_is_announced(cli: Cli, files: tuple[str, str], tmp_path: Path) -> None:
    """The trace of acts equals what strace saw, call by call; and no Python goes inside."""
    base, edited = files
    counts = {}
    for words in (["apply", base], ["diff", base], ["apply", "--yes", edited], ["exec", "trace-a", "/bin/true"],
                  ["stop", "--time", "0", "trace-a"], ["apply", edited], ["destroy", "--yes", "--data", edited]):
        acts, calls = traced(cli, tmp_path, *words)
        said = [PLAIN.get(one, one) for one in acts]
        assert said == changes(calls, tmp_path / "acts"), words
        inside = entered_sealed(calls)
        assert inside >= (words[0] in ("apply", "exec")), words
        counts[" ".join(words[:2])] = len(acts)
    print({name.replace(str(tmp_path) + "/", ""): count for name, count in counts.items()})


SAMPLER = r"""
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(void) {
  static char seen[64][256]; int count = 0;
  for (;;)
    for (int pid = 1; pid < 400; pid++) {
      char path[64], exe[256] = "";
      snprintf(path, sizeof path, "/proc/%d/exe", pid);
      ssize_t n = readlink(path, exe, sizeof exe - 1);
      if (n <= 0) continue;
      int known = 0;
      for (int i = 0; i < count; i++) known |= !strcmp(seen[i], exe);
      if (known || count == 64) continue;
      strcpy(seen[count++], exe);
      FILE *out = fopen("/out/seen", "a");
      if (out) { fprintf(out, "%s\n", exe); fclose(out); }
    }
}
"""


@requires(*NEEDED, "gcc")
def test_nothing_inside_ever_sees_python(cli: Cli, tmp_path: Path) -> None:
    """A program with CAP_SYS_PTRACE that looks at /proc/*/exe all the time, while others come in."""
    (tmp_path / "sampler.c").write_text(SAMPLER)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["gcc", "-O2", "-static", "-o", out / "sampler", tmp_path / "sampler.c"], check=True)
    caps = "[CAP_SYS_PTRACE, CAP_DAC_OVERRIDE, CAP_KILL]"
    eye = f"""\
apiVersion: runspec/v1
name: trace-eye
hostname: one
root: {{image: busybox}}
process:
  args: [/out/sampler]
  capabilities: {{bounding: {caps}, effective: {caps}, permitted: {caps}}}
mounts: [{{destination: /out, source: {out}, options: [bind, rw]}}]
linux:
  resources: {{memory: {{limit: 64Mi}}}}
interfaces: []
"""
    guest = """\
apiVersion: runspec/v1
name: trace-guest
root: {image: busybox}
process: {args: [/bin/sleep, "100000"]}
linux:
  namespaces:
    - {type: pid, container: trace-eye}
    - {type: mount}
    - {type: uts}
    - {type: ipc}
    - {type: network}
    - {type: cgroup}
interfaces: []
"""
    for name, text in (("eye", eye), ("guest", guest), ("eye2", eye.replace("hostname: one", "hostname: two"))):
        (tmp_path / f"{name}.yaml").write_text(text)
    cli("apply", tmp_path / "eye.yaml")
    for _ in range(3):
        cli("apply", tmp_path / "guest.yaml")
        for _ in range(10):
            cli("exec", "trace-eye", "/bin/true")
            cli("exec", "trace-guest", "/bin/busybox", "id")
        cli("apply", "--yes", tmp_path / "eye2.yaml")
        cli("apply", "--yes", tmp_path / "eye.yaml")
        cli("destroy", "--yes", "trace-guest")
    seen = set((out / "seen").read_text().splitlines())
    print(sorted(seen))
    assert any("memfd:runspec" in one for one in seen), "the sampler was too slow to see anybody come in"
    assert all(one.startswith(("/memfd:runspec", "/bin/", "/out/sampler", "/usr/bin/busybox")) for one in seen), seen


MODULES = """
import os, sys
sys.path += sys.argv[1].split(":")
out, words = sys.argv[2], sys.argv[3:]
from runspec import later
later.install()
from runspec.__main__ import main
status = main(words)
with open(out, "w") as file:
    print(*(name for name, one in sys.modules.items() if not isinstance(one, later.Later)), file=file)
sys.exit(status)
"""
HEAVY = {"yaml", "jsonschema", "pyroute2", "subprocess", "pathlib", "typing", "re", "json", "dataclasses", "argparse"}


# Each costs more than the rest of a command's start: re and socket 4 ms, hashlib 2.5, contextlib 2.
COSTLY = HEAVY | {"socket", "hashlib", "contextlib", "functools", "collections", "enum", "signal", "decimal"}


def loaded(cli: Cli, folder: Path, *words: str | Path) -> set[str]:
    """The modules that a command has used at its end, in an interpreter that begins as the command's own."""
    import _cffi_backend
    import yaml

    paths = ":".join([*(str(Path(one.__file__).parents[1]) for one in (runspec, yaml)),
                      str(Path(_cffi_backend.__file__).parent)])
    out = folder / "modules"
    with (folder / "said").open("w+") as said:      # no pipe, which the container's init would hold
        done = cli.netns.run(sys.executable, "-I", "-S", "-c", MODULES, paths, out, "--root", str(cli.root), *words,
                             capture_output=False, stdout=said, stderr=said)
        said.seek(0)
        assert done.returncode == 0, (words, said.read())
    return set(out.read_text().split())


def own(modules: set[str]) -> int:
    """How many of them are runspec's, each of which costs a quarter of a millisecond."""
    return sum(name.startswith("runspec") for name in modules)


@requires("root", "busybox", "bridge", "veth", "nsenter")
@pytest.mark.both
def test_hot_verbs_load_little(cli: Cli, tmp_path: Path) -> None:
    """state, kill, ps, list and exec on containers that are there."""
    file = tmp_path / "hot.yaml"
    file.write_text("apiVersion: runspec/v1\nname: trace-hot\nroot: {image: busybox}\n"
                    "process: {args: [/bin/sleep, '100000']}\n")
    cli("apply", file)
    for most, *words in ((35, "state", "trace-hot"), (35, "list"), (35, "list", "-o", "json"), (35, "ps", "trace-hot"),
                         (60, "exec", "trace-hot", "/bin/true"), (35, "kill", "trace-hot", "KILL")):
        found = loaded(cli, tmp_path, *words)
        assert COSTLY & found == set(), words
        assert own(found) <= most, (words, own(found))


@requires("root", "busybox", "bridge", "veth", "nsenter")
def test_a_plain_file_loads_little(cli: Cli, tmp_path: Path) -> None:
    """Whatever is done with the file of a plain container, and with the bundle that it becomes."""
    file, bundle = tmp_path / "cold.yaml", tmp_path / "bundle"
    file.write_text("apiVersion: runspec/v1\nname: trace-cold\nroot: {image: busybox}\n"
                    "process: {args: [/bin/sleep, '100000']}\nlinux: {resources: {cpu: {quota: 25%}}}\n")
    cli("apply", file)          # the image and the filter are made once for all
    cli("destroy", "--yes", "trace-cold")
    cli("convert", "--bundle", bundle, file)
    for most, *words in ((80, "validate", file), (150, "plan", file), (175, "apply", file), (120, "apply", file),
                         (120, "diff", file), (90, "destroy", "--yes", "trace-cold"),
                         (150, "create", "-b", bundle, "trace-oci"), (80, "start", "trace-oci"),
                         (90, "delete", "--force", "trace-oci")):
        found = loaded(cli, tmp_path, *words)
        assert COSTLY & found == set(), words
        assert own(found) <= most, (words, own(found))


@requires("root", "busybox", "bridge", "veth", "nsenter")
def test_no_python_stays_behind(cli: Cli, files: tuple[str, str]) -> None:
    """After apply, only the containers' own programs are in their groups, and nobody of ours in our network."""
    cli("apply", files[0])
    pids = [pid for name in ("trace-a", "trace-b") for pid in json.loads(cli("ps", "-o", "json", name).stdout)]
    assert len(pids) == 2
    ours = os.readlink(f"/proc/{cli.netns.pid}/ns/net")
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(entry) in pids or os.readlink(f"/proc/{entry}/ns/net") == ours:
                found[int(entry)] = os.readlink(f"/proc/{entry}/exe")
        except OSError:
            continue
    assert set(pids) < set(found)
    assert not [exe for exe in found.values() if "python" in exe], found
