"""What a new init keeps and does, consent, and the second apply; rows/ walks the fields."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Netns, requires

SPEC = """\
apiVersion: runspec/v1
name: drift
hostname: drift
domainname: example
root: {image: busybox}
process:
  args: [/bin/sleep, "100000"]
  oomScoreAdj: 100
  rlimits:
    - {type: RLIMIT_NOFILE, soft: 512, hard: 1024}
mounts:
  - {destination: /data, source: DATA, options: [bind, rw, nosuid]}
  - {destination: /scratch, type: tmpfs, source: scratch, options: [nosuid, nodev, size=1m, mode=0700]}
linux:
  sysctl: {net.ipv4.ip_forward: "1", kernel.msgmax: "4096"}
  devices:
    - {path: /dev/other, type: c, major: 1, minor: 5, fileMode: 0600, uid: 5, gid: 6}
  resources:
    cpu: {cpus: "0", mems: "0", weight: 25, quota: 25%}
    memory: {limit: 64Mi, reservation: 32Mi}
    pids: {limit: 64}
    devices:
      - {allow: true, type: c, major: 10, minor: 200, access: rw}
interfaces:
  - name: eth0
    type: veth
    network: drift0
    mac: 02:00:00:00:00:11
    mtu: 1400
    addresses: [10.78.0.11/24, "fd78::11/64"]
    gateway: [10.78.0.1, "fd78::1"]
    routes: [{to: 192.0.2.0/24, via: 10.78.0.2, metric: 50}]
---
apiVersion: runspec/v1
kind: Network
name: drift0
type: bridge
mtu: 1400
addresses: [10.78.0.1/24, "fd78::1/64"]
"""

needs = requires("root", "busybox", "bridge", "veth", "ip", "nsenter")


class Live:
    """A running container and the ways to reach it from outside."""

    def __init__(self, cli: Cli, file: Path) -> None:
        self.cli, self.file = cli, file
        self.pid = json.loads(cli("state", "drift").stdout)["pid"]
        self.start = self.start_time()

    def start_time(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[19]

    def inside(self, kinds: str, *words: str) -> None:
        subprocess.run(["nsenter", "-t", str(self.pid), f"-{kinds}", *words], check=True, capture_output=True)

    def lasting(self) -> list[str]:
        """What a restart keeps: groups, network namespace, its links and addresses."""
        links = subprocess.run(["nsenter", "-t", str(self.pid), "-n", "ip", "-j", "addr"], check=True,
                               capture_output=True, text=True).stdout
        return [Path(f"/proc/{self.pid}/cgroup").read_text(), os.readlink(f"/proc/{self.pid}/ns/net"),
                *(f"{one['ifname']} {one['address']} {address['local']}"
                  for one in json.loads(links) for address in one["addr_info"])]

    def change(self) -> list[dict[str, str]]:
        done = self.cli("diff", "-o", "json", self.file, status=None)
        assert done.returncode in (0, 1), done.stderr
        return list(json.loads(done.stdout)["changes"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """One container for all tests that leave it as it was: making one takes most of a test's time in the VM."""
    netns = Netns()
    cli = Cli(netns, Path("/run/runspec/state"))
    yield cli
    cli.sweep()
    cli("destroy", "--yes", "drift0", status=None)
    netns.close()


@pytest.fixture
def live(home: Cli, tmp_path_factory: pytest.TempPathFactory) -> Live:
    folder = tmp_path_factory.getbasetemp() / "drift"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    file = folder / "drift.yaml"
    file.write_text(SPEC.replace("DATA", str(folder / "data")))
    home("apply", "--yes", file)
    return Live(home, file)


@needs
@pytest.mark.both
def test_new_init_keeps(live: Live) -> None:
    """A new init takes over the root with what was written to it, the groups, and the network; all else is done too."""
    live.inside("m", "/bin/busybox", "touch", "/root/written")
    before = live.lasting()
    text = live.file.read_text()
    live.file.write_text(text.replace("100000", "99998"))
    live.cli("apply", "--yes", live.file)
    after = Live(live.cli, live.file)
    assert after.pid != live.pid
    assert after.lasting() == before
    after.inside("m", "/bin/busybox", "test", "-e", "/root/written")

    for old, new in (("100000", "99997"), ("hostname: drift", "hostname: other"), ("weight: 25", "weight: 50"),
                     ("destination: /data", "destination: /more"), ("minor: 5", "minor: 7"), ("mtu: 1400", "mtu: 1300"),
                     ('net.ipv4.ip_forward: "1", ', ""), ("soft: 512", "soft: 256"), ("domainname: example\n", ""),
                     ("linux:\n", "linux:\n  maskedPaths: [/etc/passwd]\n")):
        assert old in text
        text = text.replace(old, new)
    live.file.write_text(text)
    live.cli("apply", "--yes", live.file)
    last = Live(live.cli, live.file)
    assert last.pid != after.pid and live.change() == []
    last.inside("m", "/bin/busybox", "test", "-e", "/root/written")
    mounts = [line.split()[4] for line in Path(f"/proc/{last.pid}/mountinfo").read_text().splitlines()]
    assert {"/more", "/etc/passwd"} < set(mounts) and not {"/data", "/proc/keys"} & set(mounts)
    said = [subprocess.run(["nsenter", "-t", str(last.pid), *words.split()], check=True, capture_output=True,
                           text=True).stdout.split()
            for words in ("-u hostname", "-n sysctl -n net.ipv4.ip_forward")]
    assert said == [["other"], ["0"]]
    assert os.minor(os.stat(f"/proc/{last.pid}/root/dev/other").st_rdev) == 7


@needs
@pytest.mark.both
def test_edit_asks_for_consent(live: Live) -> None:
    """A restart without --yes and without somebody to ask changes nothing."""
    live.file.write_text(live.file.read_text().replace("100000", "99999"))
    changes = live.change()
    assert [(one["path"], one["cause"], one["class"]) for one in changes] == [("process.args", "edited", "restart")]
    live.cli("apply", live.file, status=2)
    assert live.start_time() == live.start
    live.cli("apply", "--yes", live.file)
    assert Path(f"/proc/{Live(live.cli, live.file).pid}/cmdline").read_bytes().endswith(b"\x0099999\0")


@needs
@pytest.mark.both
def test_second_apply_does_nothing(live: Live) -> None:
    """Not one step, and not one file written."""
    plan = json.loads(live.cli("plan", "-o", "json", live.file).stdout)
    assert plan["steps"] == [] and plan["changes"] == []
    def mine() -> dict[str, Any]:
        return {part: lines for part, lines in live.cli.picture().items() if part in ("mounts inside", "state")}

    before = mine()
    assert live.cli("apply", live.file).stdout == "up to date: nothing to do\n"
    assert mine() == before
    assert live.start_time() == live.start


PLAIN = """\
apiVersion: runspec/v1
name: plain
root: {image: busybox}
process: {args: [/bin/sleep, "1000"]}
"""


@needs
@pytest.mark.parametrize("process", (
    "args: [/bin/sleeep]", "args: [sleeep]", "args: [/etc]", "args: [./sleep], cwd: /tmp", "args: [/root/plain]",
    "args: [sleep, '9'], env: {PATH: /tmp}"))
def test_a_program_that_is_not_there_ends_nothing(process: str, cli: Cli, tmp_path: Path) -> None:
    """What a restart is to keep would be lost with the former init."""
    file = tmp_path / "plain.yaml"
    file.write_text(PLAIN)
    cli("apply", file)
    cli("exec", "plain", "sh", "-c", "echo kept >/root/plain")
    pid = json.loads(cli("state", "plain").stdout)["pid"]
    file.write_text(PLAIN.replace('args: [/bin/sleep, "1000"]', process))
    said = cli("apply", "--yes", file, status=2).stderr
    assert f"{file}:4:" in said and "process.args: there is no program " in said
    assert json.loads(cli("state", "plain").stdout)["pid"] == pid
    assert cli("exec", "plain", "cat", "/root/plain").stdout == "kept\n"


@needs
@pytest.mark.parametrize("process", (
    "args: [sleep, '99']", "args: [./sleep, '9'], cwd: /bin", "args: [sh, -c, sleep 9]"))
def test_a_program_that_is_there_is_found(process: str, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "plain.yaml"
    file.write_text(PLAIN)
    cli("apply", file)
    file.write_text(PLAIN.replace('args: [/bin/sleep, "1000"]', process))
    assert cli("apply", "--yes", file).stdout.startswith("plain: restarted\n")


USERS = ("linux: {namespaces: [{type: user}], uidMappings: [{containerID: 0, hostID: 100000, size: 65536}], "
         "gidMappings: [{containerID: 0, hostID: 100000, size: 65536}]}\n")
TRIED = {
    "cwd": ("process: {args: [sleep, '9'], cwd: /etc/passwd}", " plain: process.cwd: chdir(/etc/passwd): "),
    "target": ("mounts: [{destination: /root/plain, source: FOLDER, options: [bind]}]", "mkdir(root/plain): "),
    "below": ("mounts: [{destination: /root/plain/x, type: tmpfs, source: t}]", "mkdir(root/plain/x): "),
    "option": ("mounts: [{destination: /x, type: tmpfs, source: t, options: [size=many]}]", "fsconfig(size): "),
    "program": ("process: {args: [/x/sh]}\nmounts: [{destination: /x, type: tmpfs, source: t}]", "stat /x/sh: "),
    "sysctl": ("linux: {sysctl: {kernel.msgmax: many}}", "linux.sysctl: write(sys/kernel/msgmax): "),
    "hook": ("hooks: {startContainer: [{path: /bin/nothing}]}", "hooks.startContainer[0]: exec: "),
    "mapped": ("process: {args: [sleep, '9'], cwd: /x/made/plain}\nmounts:\n  - destination: /x\n    source: FOLDER\n"
               "    options: [bind, idmap]\n    uidMappings: [{containerID: 0, hostID: 100, size: 9}]\n"
               "    gidMappings: [{containerID: 0, hostID: 100, size: 9}]", "process.cwd: chdir(/x/made/plain): "),
}


@needs
@pytest.mark.both
@pytest.mark.parametrize("edit, users", [*((edit, False) for edit in TRIED), *(
    (edit, True) for edit in ("cwd", "below", "mapped"))])
def test_what_stops_a_new_init_ends_nothing(edit: str, users: bool, cli: Cli, tmp_path: Path) -> None:
    """It is tried first: the former one lives on, with its files, and takes the mended document."""
    text, said = TRIED[edit]
    (tmp_path / "made").write_text("")
    file, alive = tmp_path / "plain.yaml", 'process: {args: [/bin/sleep, "1000"]}\n'
    base = PLAIN.replace(alive, "") + (USERS if users else "")
    file.write_text(base + alive)
    cli("apply", file)
    cli("exec", "plain", "sh", "-c", "echo kept >/root/plain")
    before = json.loads(cli("state", "plain").stdout)["pid"]
    text = text.replace("FOLDER", str(tmp_path))
    file.write_text(base + ("" if text.startswith("process") else alive.replace("1000", "999")) + text + "\n")
    told = cli("apply", "--yes", file, status=2).stderr
    assert said in told and told.startswith(f"{file}:") and "ended" not in told
    assert json.loads(cli("state", "plain").stdout)["pid"] == before
    file.write_text(base + alive.replace("1000", "999"))
    assert cli("apply", "--yes", file).stdout.startswith("plain: restarted\n")
    assert cli("exec", "plain", "cat", "/root/plain").stdout == "kept\n"


@needs
@pytest.mark.parametrize("users", ("", USERS))
def test_a_new_init_has_the_host_s_programs(users: str, cli: Cli, tmp_path: Path) -> None:
    """They are mounts below its root, which is handed over alone."""
    file = tmp_path / "plain.yaml"
    text = PLAIN.replace("busybox", "host").replace("/bin/sleep", "/usr/bin/sleep") + users
    file.write_text(text)
    cli("apply", file)
    cli("exec", "plain", "sh", "-c", "echo kept >/root/plain")
    for seconds in ("999", "998"):
        file.write_text(text.replace('"1000"', f'"{seconds}"'))
        assert cli("apply", "--yes", file).stdout.startswith("plain: restarted\n")
        assert cli("exec", "plain", "cat", "/root/plain").stdout == "kept\n"
        assert cli("exec", "plain", "head", "-c", "4", "/etc/passwd").stdout == "root"
        assert cli("exec", "plain", "touch", "/usr/plain", status=None).returncode


@needs
@pytest.mark.parametrize("more", ("", "linux: {namespaces: [{type: mount}, {type: pid}]}\n", USERS))
def test_a_new_init_has_what_is_mounted_below_a_directory(more: str, cli: Cli, tmp_path: Path) -> None:
    """As the former one had it; in a user namespace a root cannot be told from what is mounted below it."""
    file = tmp_path / "plain.yaml"
    busybox = shutil.which("busybox")
    cli.netns.run("sh", "-ec", "mount -t tmpfs -o size=8m,mode=0755 root /mnt; cd /mnt; mkdir bin proc sys dev sub;"
                  f"cp {busybox} bin/sleep; mount -t tmpfs -o size=4k below sub", check=True)
    text = PLAIN.replace("image: busybox", "path: /mnt") + more
    file.write_text(text)
    cli("apply", file)
    file.write_text(text.replace('"1000"', '"999"'))
    assert cli("apply", "--yes", file).stdout.startswith("plain: restarted\n")
    pid = json.loads(cli("state", "plain").stdout)["pid"]
    assert " /sub " in Path(f"/proc/{pid}/mountinfo").read_text()


@needs
def test_all_new_inits_are_tried_before_any_former_one_ends(cli: Cli, tmp_path: Path) -> None:
    """Whatever the order of the documents."""
    file, text = tmp_path / "two.yaml", "---\n".join(PLAIN.replace("plain", name) for name in ("one", "two"))
    file.write_text(text)
    cli("apply", file)
    before = [json.loads(cli("state", name).stdout)["pid"] for name in ("one", "two")]
    file.write_text(text.replace("1000", "999").replace('"999"]}\n', '"999"], cwd: /etc/passwd}\n')
                    .replace(", cwd: /etc/passwd", "", 1))
    assert "two: process.cwd: " in cli("apply", "--yes", file, status=2).stderr
    assert [json.loads(cli("state", name).stdout)["pid"] for name in ("one", "two")] == before
    shown = cli("plan", file).stdout
    assert shown.index("try the new init of two") < shown.index("kill all processes of one")


@needs
def test_a_hook_may_bring_what_a_new_init_needs(cli: Cli, tmp_path: Path) -> None:
    """What is tried ends where hooks begin."""
    file, hook = tmp_path / "plain.yaml", tmp_path / "hook"
    file.write_text(PLAIN)
    cli("apply", file)
    hook.write_text("#!/bin/sh\ncp bin/busybox root/sleep\n")
    hook.chmod(0o755)
    file.write_text(PLAIN.replace("/bin/sleep", "/root/sleep") + f"hooks: {{createContainer: [{{path: {hook}}}]}}\n")
    assert cli("apply", "--yes", file).stdout.startswith("plain: restarted\n")


@needs
def test_a_restart_that_fails_says_what_ended(cli: Cli, tmp_path: Path) -> None:
    """Here by a hook, of which nobody can know before."""
    file = tmp_path / "plain.yaml"
    file.write_text(PLAIN)
    cli("apply", file)
    file.write_text(PLAIN.replace("1000", "999") + "hooks: {createRuntime: [{path: /bin/false}]}\n")
    said = cli("apply", "--yes", file, status=2).stderr
    assert "\n  what ran in plain had ended before, and stays ended\n" in said
    assert json.loads(cli("state", "plain").stdout)["status"] == "stopped"
