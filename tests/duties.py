#!/usr/bin/env python3
"""duties.py [WORD...]: drop each duty of the runtime in the installed package, and see its test fail.

Every row is one duty that a hole of the field taught: the change that drops it, and the tests that must
then fail. Each row is done by itself, on the package that this interpreter imports, which is put back
after it whatever happens; C is compiled anew. With words, only rows whose name holds one of them.
Exit status: 0 when every dropped duty was noticed.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent
NATIVE = "kernel/native/"
DUTIES, TREES, HOSTILE = "system/test_duties.py::", "system/test_hostile_trees.py::", "system/test_hostile.py::"
Edit = tuple[str, str, str]        # file, what stands there, what stands there without the duty

# Name -> (edits, tests of which at least one must fail).
ROWS: dict[str, tuple[list[Edit], list[str]]] = {
    "runc CVE-2016-9962: nobody inside may look into who joins": (
        [("plan/steps/exec_.py", "    add(abi.OP_PRCTL, a=abi.PR_SET_DUMPABLE, b=0)\n    add(abi.OP_KEYRING)\n",
          "    add(abi.OP_KEYRING)\n"),
         ("plan/steps/process.py", "    add(abi.OP_PRCTL, a=abi.PR_SET_DUMPABLE, b=0)\n", "")],
        [HOSTILE + "test_who_joins_is_as_strict_as_init"]),
    "LXC CVE-2016-8649: no descriptor of the host in who joins": (
        [("plan/steps/exec_.py", '    add(abi.OP_CLOSE, slot=table.slot("init"))\n', "")],
        [HOSTILE + "test_who_joins_is_as_strict_as_init"]),
    "runc CVE-2019-5736: the executable is sealed": (
        [(NATIVE + "calls.c", "F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE", "F_SEAL_SEAL")],
        [DUTIES + "test_executable_cannot_be_overwritten"]),
    "runc CVE-2019-5736: the executable is a memfd": (
        [(NATIVE + "__init__.py", "            _init = sealed(b\"runspec\", file.read(), executable=True)",
          "            _init = os.open(path, os.O_RDONLY | os.O_CLOEXEC)")],
        [DUTIES + "test_executable_cannot_be_overwritten"]),
    "runc CVE-2019-16884: no mount over /proc by a link": (
        [(NATIVE + "ops_path.c", "status.f_type == PROC_SUPER_MAGIC", "status.f_type == 1")],
        [HOSTILE + "test_mount_led_over_proc"]),
    "runc CVE-2019-16884: no mount over /proc by its name": (
        [("spec/rules_mounts.py", 'elif (where == "/proc" and mount.type != "proc") or where.startswith("/proc/"):',
          "elif False:")],
        ["test_faults.py"]),
    "runc CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc and /sys are directories of the image": (
        [("plan/steps/mounts.py", 'STRICT = ("/proc", "/sys", "/dev")', 'STRICT = ("/dev",)')],
        [TREES + "test_tree"]),
    "runc CVE-2026-41579: /dev is a directory of the image": (
        [("plan/steps/mounts.py", '"/sys", "/dev")', '"/sys")'),
         ("plan/steps/rootfs.py", 's1="dev", a=0o755, b=1)', 's1="dev", a=0o755)'),
         ("plan/steps/process.py", "abi.RESOLVE_NO_SYMLINKS)\n            table.add(abi.OP_CHECK_NULL",
          "0)\n            table.add(abi.OP_CHECK_NULL")],
        [TREES + "test_tree"]),
    "crun CVE-2019-18837, LXC CVE-2015-1335: links end inside the root": (
        [(NATIVE + "init.h", "#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)", "#define IN_ROOT 0")],
        [TREES + "test_tree"]),
    "runc CVE-2021-30465: a target that moves": (
        [(NATIVE + "init.h", "#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)", "#define IN_ROOT 0")],
        [DUTIES + "test_targets_swapped_during_set_up"]),
    "runc CVE-2024-45310: directories are made step by step": (
        [(NATIVE + "ops_path.c",
          "open_below((int)dir, name, O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);",
          "open_below((int)dir, name, O_PATH | O_DIRECTORY, 0, 0);")],
        [HOSTILE + "test_links_at_mount_targets", DUTIES + "test_targets_swapped_during_set_up"]),
    "LXC CVE-2015-1331: the state directory is the owner's": (
        [("run/store.py", "if found.st_uid != os.geteuid()", "if False")], ["run/test_store.py::test_other_owner"]),
    "LXC CVE-2015-1331: the state directory is open to nobody else": (
        [("run/store.py", "_SAFE = 0o022", "_SAFE = 0")], ["run/test_store.py::test_refused_roots"]),
    "Docker CVE-2019-14271: nothing is loaded inside": (
        [(NATIVE + "build.py", "STATIC if flags is None else flags",
          '["-O1", "-DRUNSPEC_HOSTED"] if flags is None else flags')], [DUTIES + "test_nothing_is_loaded_inside"]),
    "containerd CVE-2020-15257: no abstract socket": (
        [("kernel/process.py", "            _socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=control)\n",
          "            _socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=control)\n"
          "        self._control.bind(f\"\\0runspec-{pid}\")\n")],
        [DUTIES + "test_no_abstract_socket"]),
    "Kubernetes CVE-2020-8558: nobody else sends to the host's loopback": (
        [("plan/nft.py", "ip daddr 127.0.0.0/8 drop", "ip daddr 127.0.0.0/8 accept")],
        ["system/test_ports.py::test_loopback_of_the_host_is_nobody_elses"]),
    "Docker CVE-2020-13401: no container is the host's router": (
        [("plan/steps/host_links.py", '            kernel.write(file, "0")\n', "            pass\n")],
        ["system/test_networks.py::test_no_container_is_the_hosts_router"]),
    "moby issue 14041: a host that forwards for containers is no router of its neighbours": (
        [("plan/nft.py", '"meta nfproto @closed drop"', '"meta nfproto @closed accept"')],
        ["system/test_forwarding.py::test_no_way_between_neighbours"]),
    "who is isolated is so for the host, too": (
        [("plan/nft.py", '"apart": "iifname @apart oifname @apart drop"',
          '"apart": "iifname @apart oifname @apart accept"')],
        ["system/test_forwarding.py::test_isolated_siblings"]),
    "an external bridge is somebody else's": (
        [("plan/steps/network.py", 'paths &= {"isolated"}', "pass")],
        ["system/test_networks.py::test_a_bridge_that_became_somebody_elses_is_left_as_it_is"]),
    "protection lasts longer than those it is for": (
        [("plan/steps/nft.py", "begins = {owner: those for owner, those in moved.items() if those}", "begins = moved"),
         ("plan/steps/nft.py", "    if ends:", "    if not ends:")],
        ["plan/test_nft.py::test_protection_ends_after_those_it_is_for"]),
    "behind nat, what is not published is not reached from elsewhere": (
        [("plan/nft.py", '"unasked": "oifname @hidden drop"', '"unasked": "oifname @hidden accept"')],
        ["system/test_ports.py::test_nat"]),
    "bubblewrap CVE-2017-5226: exec has a session of its own": (
        [("plan/steps/exec_.py", "    add(abi.OP_SETSID)\n", "")], [DUTIES + "test_sessions_of_their_own"]),
    "LXC CVE-2016-10124: init has a session of its own": (
        [("plan/steps/namespaces.py", "        add(abi.OP_SETSID)\n", "")], [DUTIES + "test_sessions_of_their_own"]),
    "runc CVE-2021-43784: lengths fit their fields": (
        [("plan/rtnetlink.py", "    if length > 0xFFFF:", "    if length > 0xFFFF0000:")],
        ["plan/test_rtnetlink.py"]),
    "Moby CVE-2022-24769: nothing to inherit": (
        [("plan/steps/process.py", "c=mask(capabilities.inheritable))", "c=mask(capabilities.permitted))")],
        ["system/test_inside.py::test_safe_defaults"]),
    "youki CVE-2025-27612: the bounding set is dropped": (
        [("plan/steps/process.py", "    add(abi.OP_BOUNDING, a=mask(capabilities.bounding))\n", "")],
        ["system/test_inside.py::test_safe_defaults"]),
    "Linux CVE-2022-0492, runc CVE-2023-25809: control groups are for reading": (
        [("spec/defaults.py", 'options=("nosuid", "noexec", "nodev", "relatime", "ro")',
          'options=("nosuid", "noexec", "nodev", "relatime")')],
        [DUTIES + "test_control_groups_are_for_reading"]),
    "Linux CVE-2022-0492: a control group namespace": (
        [("plan/steps/namespaces.py", '    new = [kind for kind in KINDS if is_new(spec, kind) and kind not in listed]',
          '    new = [kind for kind in KINDS if is_new(spec, kind) and kind not in listed and kind != "cgroup"]')],
        [DUTIES + "test_control_groups_are_for_reading"]),
    "CRI-O CVE-2022-0811: keys of sysctl": (
        [("spec/rules.py", 'if not LATER.issuperset(name) or ".." in name', 'if ".." in name')],
        ["spec/test_rules.py"]),
    "CRI-O CVE-2022-0811: values of sysctl are one line": (
        [("spec/rules.py", 'if "\\n" in value or "\\0" in value or not value:', "if not value:")],
        ["spec/test_rules.py"]),
    "LXC CVE-2018-6556: a namespace is of its kind": (
        [("plan/steps/namespaces.py",
          'add(abi.OP_SETNS, slot=table.slot("ns:" + one.type), a=KINDS[one.type][0])',
          'add(abi.OP_SETNS, slot=table.slot("ns:" + one.type), a=0)')],
        [DUTIES + "test_namespace_of_another_kind"]),
    "runc CVE-2024-21626: the working directory is inside": (
        [(NATIVE + "ops_path.c", "return buffer[0] == '/' ? 0 : -ENOENT;", "return 0;")],
        [DUTIES + "test_working_directory_is_inside"]),
    "runc CVE-2024-21626: no descriptor is handed on": (
        [(NATIVE + "spawn.c", "    error = SYS(close_range, low, ~0u, 0);", "    error = 0;"),
         (NATIVE + "ops_process.c", "error = SYS(close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);", "error = 0;")],
        [DUTIES + "test_no_descriptor_of_the_caller"]),
    "crun CVE-2025-24965: no link is written through": (
        [(NATIVE + "ops_path.c", "O_WRONLY | O_NOFOLLOW | op->a", "O_WRONLY | op->a")],
        [DUTIES + "test_links_below_it_are_not_followed"]),
    "runc CVE-2025-31133: the null device is one": (
        [(NATIVE + "ops_path.c", "status.stx_rdev_major == 1 && status.stx_rdev_minor == 3\n         ? 0 : -ENODEV",
          "status.stx_rdev_major == 1 && status.stx_rdev_minor == 3\n         ? 0 : 0")],
        [TREES + "test_tree"]),
    "runc CVE-2025-31133: masks guard the host's node": (
        [(NATIVE + "ops_mount.c", ".attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC};",
          ".attr_set = MOUNT_ATTR_NOSUID};")],
        [HOSTILE + "test_masks_guard_the_hosts_null"]),
    "runc CVE-2025-52565: ptmx is the container's": (
        [("plan/steps/rootfs.py", '("ptmx", "pts/ptmx")', '("ptmx", "/dev/null")')], [TREES + "test_tree"]),
    "runc CVE-2025-52881: settings go through a procfs of our own": (
        [("plan/steps/process.py",
          "            table.add(abi.OP_WRITE, dir=procfs, s1=sysctl_path(key), s2=value, b=abi.RESOLVE_NO_SYMLINKS)",
          '            table.add(abi.OP_WRITE, s1="/proc/" + sysctl_path(key), s2=value)')],
        [DUTIES + "test_settings_go_through_a_procfs_of_our_own"]),
    "crun CVE-2026-30892: ids are decimal": (
        [("cli/enter.py", "word.isascii() and word.isdigit() and len(word) <= 10 and int(word) <= LARGEST_ID",
          "word.strip().lstrip('+').isdigit()")], ["cli/test_people.py"]),
    "Linux CVE-2014-8989: the caller's groups stay outside": (
        [("plan/steps/process.py",
          '    add(abi.OP_SETGROUPS, s1=b"".join(gid.to_bytes(4, "little") for gid in user.additional_gids))\n', "")],
        [DUTIES + "test_groups_of_the_caller_stay_outside"]),
    "YAML: aliases have a budget": (
        [("spec/compose.py", "NODES = 50_000 ", "NODES = 500_000 "),
         ("spec/compose.py", "ALIASED = 100_000 ", "ALIASED = 1_000_000 ")], ["test_faults.py"]),
    "YAML: no tags": (
        [("spec/compose.py", "is refused", "is taken")], ["test_faults.py"]),
    "keys of the caller stay outside": (
        [("plan/steps/namespaces.py", "        add(abi.OP_KEYRING)\n", ""),
         ("plan/steps/exec_.py", "    add(abi.OP_KEYRING)\n", "")], [HOSTILE + "test_host_keys_stay_outside"]),
    "lasting files are root's alone": (
        [("plan/planner.py", "mode=0o711 if mapped else 0o700", "mode=0o755")],
        [HOSTILE + "test_lasting_changes_are_roots_alone"]),
    "bubblewrap CVE-2020-5291: nothing is setuid": ([(NATIVE + "init", "", "")], [DUTIES + "test_never_setuid"]),
    "Python: the environment selects no code": (
        [("../../../../bin/runspec", '-I -S "$self"', '-S "$self"')],
        [DUTIES + "test_nobody_else_chooses_the_code"]),
    "Python: it never forks": (
        [("spec/jsonlite.py", "from __future__ import annotations\n",
          "from __future__ import annotations\n\nimport os\n\n\ndef twice() -> int:\n    return os.fork()\n")],
        [DUTIES + "test_python_never_forks_nor_joins"]),
    "Python: descriptors are inherited from one place": (
        [("spec/jsonlite.py", "from __future__ import annotations\n",
          "from __future__ import annotations\n\nimport os\n\n\ndef hand(fd: int) -> None:\n"
          "    os.set_inheritable(fd, True)\n")],
        [DUTIES + "test_descriptors_are_inherited_from_one_place"]),
}


def package() -> Path:
    """The installed package; never a checkout's own files."""
    import runspec

    found = Path(runspec.__file__).parent
    if (found.parent / "setup.cfg").exists():
        sys.exit("duties.py: only for an installed package, which it changes")
    return found


class Dropped:
    """The package without one duty; what was there comes back at the end."""

    def __init__(self, top: Path, edits: list[Edit]) -> None:
        self.top, self.edits = top, edits
        self.before: dict[Path, tuple[bytes, int]] = {}

    def keep(self, path: Path) -> None:
        """Remember a file, for the end."""
        self.before.setdefault(path, (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)))

    def __enter__(self) -> None:
        try:
            for name, old, new in self.edits:
                self.edit((self.top / name).resolve(), old, new)
            if any(name.startswith(NATIVE) and name.endswith((".c", ".h", "build.py")) for name, _, _ in self.edits):
                self.build()
        except BaseException:
            self.__exit__()
            raise

    def edit(self, path: Path, old: str, new: str) -> None:
        """Put one text in another's place; with neither, the file becomes setuid."""
        self.keep(path)
        if not old:
            path.chmod(0o4755)
            return
        text = path.read_text()
        if text.count(old) != 1:
            raise LookupError(f"{path} holds {text.count(old)} times: {old}")
        path.write_text(text.replace(old, new))
        forget(path)

    def build(self) -> None:
        """Compile what became of the C sources."""
        native = self.top / NATIVE
        built = native / "_native.abi3.so"
        self.keep(native / "init")
        self.keep(built)
        (native / "init").unlink()      # nobody writes into a running program
        script = ("import runpy, sys; one = runpy.run_path(sys.argv[1]); one['build_init'](sys.argv[2]); "
                  "print(one['ffi'].compile(tmpdir=sys.argv[3]))")
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "runspec/kernel/native")
            source.mkdir(parents=True)
            for path in native.glob("*.[ch]"):
                (source / path.name).write_bytes(path.read_bytes())
            done = subprocess.run([sys.executable, "-P", "-W", "ignore", "-c", script, native / "build.py",
                                   native / "init", folder], cwd=folder, check=True, capture_output=True, text=True)
            found = Path(done.stdout.split()[-1]).read_bytes()
        built.unlink()
        built.write_bytes(found)

    def __exit__(self, *_: object) -> None:
        for path, (data, mode) in self.before.items():
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            path.chmod(mode)
            forget(path)


def forget(path: Path) -> None:
    """Bytecode is told by its second and size, which two texts may share."""
    for one in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        one.unlink()


def tried(tests: list[str]) -> int:
    """The status of these tests: 1 where one failed."""
    return subprocess.run([sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
                           *(str(TESTS / one) for one in tests)], cwd=TESTS.parent, capture_output=True,
                          env={**os.environ, "RUNSPEC_TEST_INSTALLED": "1"}).returncode


def main(words: list[str]) -> int:
    top, unnoticed = package(), 0
    for name, (edits, tests) in ROWS.items():
        if words and not any(word in name for word in words):
            continue
        with Dropped(top, edits):
            status = tried(tests)
        good = status == 1
        unnoticed += not good
        print(f"{'noticed' if good else 'NOT NOTICED'}: {name}" + ("" if status in (0, 1) else f" (pytest: {status})"),
              flush=True)
    print(f"{unnoticed} unnoticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
