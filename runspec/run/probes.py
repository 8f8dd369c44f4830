"""Asks this kernel whether it has what a key needs: by trying, or by the files in which it tells."""

from __future__ import annotations

import os
from errno import EOPNOTSUPP

from runspec import abi
from runspec.errors import HostError, RunspecError, SyscallError
from runspec.plan import needs, rtnetlink, rtnetlink_bridge, rtnetlink_links, tag_bpf, tc, tc_bpf
from runspec.plan.steps import namespaces
from runspec.plan.steps.base import Table
from runspec.run import busybox, firewall, tools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runspec.kernel import Kernel
    from runspec.plan.host import Host

APPARMOR = "/sys/module/apparmor/parameters/enabled"
SELINUX = "/sys/fs/selinux/enforce"
AS_ROOT = "run it as root"
# A program of 84 bytes for 32-bit x86: exit(0).
_IA32 = bytes.fromhex(
    "7f454c46010101000000000000000000" "02000300010000005480040834000000" "00000000000000003400200001000000"
    "00000000" "01000000000000000080040800800408" "60000000600000000500000000100000" "31dbb801000000cd80000000")
# What the runtime itself cannot do without, each tried by one small table: (call, Linux version, words).
BASE = ("clone3, memfd, openat2, the mount calls and mount_setattr", "5.12")


class Answer:
    """What a probe found.

    Attributes:
        ok: None where nobody can tell before it is tried.
        note: more about what is there.
        why, fix: about what is not.
    """

    __slots__ = ("fix", "note", "ok", "why")

    def __init__(self, ok: bool | None, note: str = "", why: str = "", fix: str = "") -> None:
        self.ok, self.note, self.why, self.fix = ok, note, why, fix

    @property
    def word(self) -> str:
        """good, fails, or unknown."""
        return "unknown" if self.ok is None else "good" if self.ok else "fails"


def good(note: str = "") -> Answer:
    return Answer(True, note)


def bad(why: str, fix: str) -> Answer:
    return Answer(False, "", why, fix)


class Probes:
    """One machine's answers, each found once."""

    def __init__(self, kernel: Kernel, host: Host) -> None:
        self.kernel, self.host = kernel, host
        self._known: dict[str, Answer] = {}
        self._status: dict[str, int] | None = None
        self._config: dict[str, str] | None = None
        self._filesystems: list[str] | None = None

    def ask(self, word: str) -> Answer:
        """Whether the machine has what this word of needs.py names."""
        found = self._known.get(word)
        if found is None:
            kind, _, name = word.partition(":")
            probe: Callable[[str], Answer] = getattr(self, f"_{kind}")
            found = self._known[word] = probe(name)
        return found

    def configured(self, option: str) -> str:
        """What the kernel's own configuration says of an option: a mere hint, "" where it tells nothing.

        See: proc(5), /proc/config.gz.
        """
        if self._config is None:
            self._config = {}
            text = b""
            packed = self.kernel.try_read("/proc/config.gz")
            if packed:
                import zlib
                text = zlib.decompress(packed, 31)
            else:
                text = self.kernel.try_read(f"/boot/config-{os.uname().release}") or b""
            for line in text.decode("ascii", "replace").splitlines():
                name, equals, value = line.partition("=")
                if equals:
                    self._config[name] = value
            self._known_config = bool(text)
        if not self._known_config or not option.startswith("CONFIG_") or " " in option:
            return ""
        return f"{option}={self._config[option]}" if option in self._config else f"{option} is not set"

    # -- what the kernel is made of --

    def base(self) -> Answer:
        """Whether runspec can work at all: its interpreter starts, and mounts have attributes."""
        table = Table()
        fs, tree = table.slot("fs"), table.slot("tree")
        table.add(abi.OP_FSOPEN, slot=fs, s1="tmpfs")
        table.add(abi.OP_FSCONFIG, slot=fs, a=abi.FSCONFIG_CMD_CREATE)
        table.add(abi.OP_FSMOUNT, slot=tree, dir=fs)
        table.add(abi.OP_MOUNT_SETATTR, slot=tree, a=abi.MOUNT_ATTR_RDONLY)
        try:
            self.kernel.run_table(table.ops)
        except SyscallError as error:
            fix = AS_ROOT if error.errno == 1 else f"use Linux {BASE[1]} or newer"
            return bad(error.what, fix)
        return good()

    def _namespace(self, kind: str) -> Answer:
        _, name = namespaces.KINDS[kind]
        if not self.kernel.exists(f"/proc/self/ns/{name}"):
            return bad(f"there is no /proc/self/ns/{name}, namespaces(7)",
                       f"use a kernel with {needs.option(f'namespace:{kind}')}")
        file = f"/proc/sys/user/max_{name}_namespaces"
        if (self.kernel.try_read(file) or b"1").strip() == b"0":
            return bad(f"{file} is 0", f"sysctl -w user.max_{name}_namespaces=1000")
        return good()

    def _filesystem(self, name: str) -> Answer:
        if self._filesystems is None:
            self._filesystems = (self.kernel.try_read("/proc/filesystems") or b"").decode("ascii", "replace").split()
        if name in self._filesystems:
            return good()
        # It may be a module that nobody has needed yet: asking for it loads it.
        table = Table()
        table.add(abi.OP_FSOPEN, slot=table.slot("fs"), s1=name)
        try:
            self.kernel.run_table(table.ops)
        except SyscallError as error:
            config = needs.OPTIONS.get(f"filesystem:{name}", "it")
            return bad(f"fsopen({name}): {os.strerror(error.errno or 0)}, filesystems(5)",
                       f"use another type, or a kernel with {config}")
        return good("a module")

    def _link(self, kind: str) -> Answer:
        message = (rtnetlink.create_bridge("probe") if kind == "bridge" else
                   rtnetlink.create_veth("probe", None, "peer") if kind == "veth" else None)
        if message is None:
            return Answer(None, "not tried")
        table = Table()
        table.add(abi.OP_NETLINK, s1=message)
        try:
            self.kernel.run_table(table.ops, flags=abi.CLONE_NEWNET)
        except SyscallError as error:
            return bad(f"a link of this type cannot be made: {os.strerror(error.errno or 0)}, ip-link(8)",
                       f"modprobe {kind}, or use a kernel with {needs.OPTIONS[f'link:{kind}']}")
        return good()

    def _filtering(self, _: str) -> Answer:
        table = Table()
        table.add(abi.OP_NETLINK, s1=rtnetlink.create_bridge("probe"))
        table.add(abi.OP_NETLINK, s1=rtnetlink_bridge.set_filtering("probe", True))
        try:
            self.kernel.run_table(table.ops, flags=abi.CLONE_NEWNET)
        except SyscallError as error:
            return bad(f"a bridge cannot be made to: {os.strerror(error.errno or 0)}, ip-link(8) vlan_filtering",
                       "remove it, or use a kernel with CONFIG_BRIDGE_VLAN_FILTERING")
        return good()

    def _driver(self, kind: str) -> Answer:
        """Asked for one without a parent, the kernel refuses in other words where it has no such links at all."""
        table = Table()
        table.add(abi.OP_NETLINK, s1=rtnetlink_links.create_on(kind, 0x7FFFFFFF, "probe", b""))
        try:
            self.kernel.run_table(table.ops)
        except SyscallError as error:
            if error.errno == EOPNOTSUPP:
                module = "8021q" if kind == "vlan" else kind
                return bad("the kernel knows no links of this type, ip-link(8)",
                           f"modprobe {module}, " + "write `fallback: tc-bpf`, " * (kind == "vlan")
                           + f"or use a kernel with {needs.OPTIONS[f'driver:{kind}']}")
        return good()

    def _classifier(self, _: str) -> Answer:
        """A program on lo of a network namespace made for it."""
        table = Table(("program",))
        table.add(abi.OP_NETLINK, s1=tc.put_clsact(1))
        table.add(abi.OP_NETLINK, slot=table.slot("program"), a=tc.FD_OFFSET, s1=tc.put_bpf(
            1, tc.INGRESS_HOOK, 1, "probe"))
        try:
            program = self.kernel.load_classifier(tag_bpf.untag(1, "802.1Q", 1), "probe")
            try:
                self.kernel.run_table(table.ops, (program,), flags=abi.CLONE_NEWNET)
            finally:
                self.kernel.close(program)
        except SyscallError as error:
            return bad(f"a program on a link's ingress cannot be had: {error.what}, tc-bpf(8)",
                       f"use a kernel with {needs.option('classifier:')}, or one with CONFIG_VLAN_8021Q")
        return good()

    def _traffic(self, word: str) -> Answer:
        link, peer = 11, 12
        acts = {"clsact": [tc.put_clsact(link)], "tbf": [tc.put_tbf(link, tc.ROOT, tc.handle(1), 125_000, 1514, 15140)],
                "htb": [tc.put_htb(link, tc.handle(1), 1)], "ifb": [tc.create_ifb("probe0", peer)],
                "redirect": [tc.put_clsact(link), tc.put_redirect(link, tc.INGRESS_HOOK, 1, link)],
                "fq_codel": [tc.put_flows(link, tc.ROOT, tc.handle(1), 64, 5_000)],
                "bpf": [tc.put_clsact(link)]}[word]
        table = Table(("program",))
        fd = -1
        try:
            fd = self.kernel.load_classifier(tc_bpf.mark(dscp=0, priority=0), "runspec_probe") if word == "bpf" else (
                self.kernel.open("/dev/null"))
            table.add(abi.OP_NETLINK, s1=rtnetlink.create_veth("probe", None, "peer", index=link, peer_index=peer + 1))
            for message in acts:
                table.add(abi.OP_NETLINK, s1=message)
            if word == "bpf":
                table.add(abi.OP_NETLINK, s1=tc.put_bpf(link, tc.INGRESS_HOOK, 1, "probe"), slot=0, a=tc.FD_OFFSET)
            self.kernel.run_table(table.ops, (fd,), flags=abi.CLONE_NEWNET)
        except SyscallError as error:
            return bad(f"it cannot be set on a link: {os.strerror(error.errno or 0)}, tc(8)",
                       f"use a kernel with {needs.OPTIONS[f'traffic:{word}']}")
        finally:
            if fd >= 0:
                self.kernel.close(fd)
        return good()

    def _interface(self, name: str) -> Answer:
        return good() if self.kernel.exists(f"/sys/class/net/{name}") else bad(
            "there is none of this name, `ip link` lists them", "name one that is there")

    def _landlock(self, wanted: str) -> Answer:
        version = self.kernel.landlock_version()
        if version >= int(wanted):
            return good(f"version {version}")
        return bad(f"it has version {version}, landlock(7)" if version else
                   "the kernel was built or booted without it, landlock(7)",
                   "use a newer kernel" if version else "boot with lsm=landlock,...")

    def _lsm(self, name: str) -> Answer:
        active = (self.kernel.try_read(APPARMOR) or b"").strip() == b"Y" if name == "AppArmor" else (
            self.kernel.exists(SELINUX))
        return good() if active else bad(
            f"{APPARMOR} does not say Y" if name == "AppArmor" else f"there is no {SELINUX}", f"boot with {name}")

    def _seccomp(self, action: str) -> Answer:
        text = self.kernel.try_read("/proc/sys/kernel/seccomp/actions_avail")
        if text is None:
            return bad("there is no /proc/sys/kernel/seccomp/actions_avail, seccomp(2)",
                       "use a kernel with CONFIG_SECCOMP_FILTER")
        words = {"SCMP_ACT_KILL": "kill_thread", "SCMP_ACT_NOTIFY": "user_notif"}
        word = words.get(action, action.removeprefix("SCMP_ACT_").lower())
        return good() if word in text.decode().split() else bad(
            f"{word} is not among {text.decode().strip()}, seccomp(2)", "use another action, or a newer kernel")

    def _numa(self, nodes: str) -> Answer:
        online = (self.kernel.try_read("/sys/devices/system/node/has_memory") or b"0").decode().strip() or "0"
        if not self.kernel.exists("/proc/self/numa_maps"):
            return bad("there is no /proc/self/numa_maps, numa(7)", "use a kernel with CONFIG_NUMA")
        return good(f"this machine has {online}")

    def _resctrl(self, _: str) -> Answer:
        found = self._filesystem("resctrl")
        if not found.ok:
            return bad("this processor or kernel has no resctrl, resctrl.rst",
                       "remove it, or use a processor with RDT and a kernel with CONFIG_X86_CPU_RESCTRL")
        return good() if self.kernel.exists("/sys/fs/resctrl/schemata") else bad(
            "it is mounted nowhere, resctrl.rst", "mount -t resctrl resctrl /sys/fs/resctrl")

    def _sysctl(self, key: str) -> Answer:
        path = "/proc/sys/" + key.replace(".", "/")
        if self.kernel.exists(path):
            return good()
        # Those of a network namespace may name links that are made with the container.
        if key.startswith("net.") and key.count(".") > 3:
            return Answer(None, "depends on the container's links")
        return bad(f"there is no {path}, sysctl(8)", "remove it, or load the module that brings it")

    def _ia32(self, _: str) -> Answer:
        if os.uname().machine != "x86_64":
            return Answer(None, "only tried on x86_64")
        from runspec.kernel import native
        fd = native.sealed(b"ia32", _IA32, executable=True)
        try:
            self.kernel.output([f"/proc/self/fd/{fd}"])
        except SyscallError as error:
            return bad(f"a small 32-bit program does not start: {error.what.rpartition(': ')[2]}",
                       "use a kernel with CONFIG_IA32_EMULATION, booted without ia32_emulation=off")
        finally:
            os.close(fd)
        return good()

    # -- control groups --

    def _controller(self, name: str) -> Answer:
        version = self.version(name)
        if version:
            return good(f"v{version}")
        return bad(f"neither cgroup version serves it, {self._disabled(name)}",
                   f"mount it, or use a kernel with {needs.OPTIONS.get(f'controller:{name}', 'it')}")

    def version(self, name: str) -> int:
        """The cgroup version that serves a controller, 0 where none does; v2 calls blkio io."""
        return self.host.version_of(name) or (self.host.version_of("io") if name == "blkio" else 0)

    def _disabled(self, name: str) -> str:
        """What /proc/cgroups says of a controller that is nowhere."""
        for line in (self.kernel.try_read("/proc/cgroups") or b"").decode("ascii", "replace").splitlines():
            words = line.split()
            if words[:1] == [name]:
                return "/proc/cgroups has it, but it is mounted nowhere" if words[3:] == ["1"] else (
                    "it is switched off at boot (cgroup_disable=)")
        return "/proc/cgroups does not have it"

    def _v1(self, name: str) -> Answer:
        version = self.host.version_of(name)
        return good(f"v{version}") if version == 1 else bad(
            f"cgroup v2 serves {name} here and has no such key" if version else f"{self._disabled(name)}, cgroups(7)",
            "remove it" if version else f"mount it, or use a kernel with {needs.option(f'v1:{name}')}")

    def _v2(self, name: str) -> Answer:
        version = self.version(name)
        return good("v2") if version == 2 else bad(
            f"cgroup v1 serves {name} here and has no such key" if version else f"{self._disabled(name)}, cgroups(7)",
            f"remove it, or give {name} to cgroup v2: boot with cgroup_no_v1={name}" if version
            else f"use a kernel with {needs.option(f'v2:{name}')}")

    def _knob(self, name: str) -> Answer:
        controller, one, two = needs.KNOBS[name]
        version = self.version(controller)
        file = (two if version == 2 else one) if version else ""
        if not file:
            return bad(f"there is no {one} on cgroup v{version}" if version else "its controller is not there",
                       "remove it")
        top = self.host.unified if version == 2 else dict(self.host.hierarchies)[controller]
        # Some files are in no root group: then any group below tells.
        seen = [top, *(f"{top}/{name}" for name in self.kernel.list_dir(top or "/"))][:64]
        groups = [one for one in seen if one and self.kernel.exists(f"{one}/cgroup.procs")]
        if any(self.kernel.exists(f"{one}/{file}") for one in groups):
            return good(file)
        if len(groups) < 2:
            return Answer(None, f"no group to look for {file} in")
        return bad(f"no group has {file}", f"use a kernel with {needs.OPTIONS.get(f'knob:{name}', 'it')}")

    def _devices(self, _: str) -> Answer:
        from runspec.plan import cgroup
        if self.host.version_of("devices") == 1:
            return good("v1")
        return good("a program on cgroup v2") if cgroup.judges_devices(self.host) else bad(
            "there is neither the devices controller nor cgroup v2, cgroups(7)", "mount one of them")

    # -- what runspec itself may --

    def _own(self, field: str) -> int:
        """A mask of our own /proc/self/status."""
        if self._status is None:
            self._status = {}
            for line in self.kernel.read_text("/proc/self/status").splitlines():
                if line.startswith("Cap"):
                    self._status[line[:6]] = int(line[7:].strip(), 16)
        return self._status.get(field, 0)

    def has(self, capability: str) -> bool:
        """Whether we may use and pass on a capability."""
        number = abi.CAPS.get(capability)
        return number is not None and bool(self._own("CapEff") & self._own("CapBnd") >> number << number & 1 << number)

    def _capability(self, names: str) -> Answer:
        missing = [name for name in names.split(",") if not self.has(name)]
        if not missing:
            return good()
        unknown = [name for name in missing if abi.CAPS.get(name, 64) > self.host.last_cap]
        if unknown:
            return bad(f"this kernel has no {', '.join(unknown)}, capabilities(7)", "remove it")
        return bad(f"runspec itself lacks {', '.join(missing)}, capabilities(7)",
                   AS_ROOT if os.geteuid() else "remove it, or start runspec with it" if len(missing) == 1
                   else "remove them, or start runspec with them")

    def _raise(self, text: str) -> Answer:
        word, _, value = text.partition(" to ")
        _, hard = self.kernel.get_rlimit(os.getpid(), abi.RLIMITS[word])
        wanted = -1 if value == "infinity" else int(value)
        most = int(self.kernel.try_read("/proc/sys/fs/nr_open") or b"0") if word == "RLIMIT_NOFILE" else 0
        if most and not 0 <= wanted <= most:
            return bad(f"/proc/sys/fs/nr_open is {most}, above which nobody gets, getrlimit(2)",
                       f"write {most} or less, or raise fs.nr_open")
        if hard == -1 or 0 <= wanted <= hard or self.has("CAP_SYS_RESOURCE"):
            return good("runspec's own is no lower" if hard == -1 or 0 <= wanted <= hard else "")
        return bad(f"runspec's own hard limit is {hard}, which only CAP_SYS_RESOURCE may raise, getrlimit(2)",
                   f"write {hard} or less, or start runspec with that capability")

    def _lower(self, value: str) -> Answer:
        own = int(self.kernel.try_read("/proc/self/oom_score_adj") or b"0")
        if int(value) >= own or self.has("CAP_SYS_RESOURCE"):
            return good(f"runspec's own is {own}")
        return bad(f"runspec's own score is {own}, below which only CAP_SYS_RESOURCE leads, proc(5) oom_score_adj",
                   f"write {own} or more, or start runspec with that capability")

    # -- ids --

    def _map(self, size: str) -> Answer:
        page = os.sysconf("SC_PAGESIZE")
        if int(size) < page:
            return good()
        return bad(f"its lines have {size} bytes and one write takes at most {page - 1}, user_namespaces(7)",
                   "join neighbouring ranges")

    def _idmap(self, source: str) -> Answer:
        if self.kernel.stat(source) is None:
            return Answer(None, "its source is not there yet")
        try:
            users = self.kernel.user_namespace("0 0 1\n", "0 0 1\n")
        except SyscallError as error:
            return bad(f"no user namespace can be made for it: {error.what}", "see the need of user namespaces")
        table = Table(("users",))
        table.add(abi.OP_OPEN_TREE, slot=table.slot("tree"), s1=source, a=abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC)
        table.add(abi.OP_MOUNT_SETATTR, slot=table.slot("tree"), dir=table.slot("users"), a=abi.MOUNT_ATTR_IDMAP)
        try:
            self.kernel.run_table(table.ops, (users,))
        except SyscallError as error:
            return bad(f"the kernel cannot map owners there: {os.strerror(error.errno or 0)}, mount_setattr(2)",
                       "put it on ext4, xfs, btrfs or, with Linux 6.3, tmpfs")
        finally:
            os.close(users)
        return good()

    # -- programs and files --

    def _tool(self, name: str) -> Answer:
        if name == "busybox":
            try:
                return good(busybox.static_busybox(self.kernel))
            except HostError as error:
                return bad(error.why, error.fix)
        for place in tools.PLACES:
            if self.kernel.exists(f"{place}/{name}"):
                return good(f"{place}/{name}")
        return bad(f"it is in none of {', '.join(tools.PLACES)}", f"apt-get install {needs.TOOLS.get(name, name)}")

    def _nft(self, _: str) -> Answer:
        found = firewall.usable(self.kernel)
        return good(self.kernel.nft_program() or "") if found is None else bad(*found)

    def _program(self, path: str) -> Answer:
        found = self.kernel.stat(path)
        return good() if found is not None and found.st_mode & 0o111 else bad(
            "it is not there, or is no program", "create it, or make it executable")

    def _cdi(self, _: str) -> Answer:
        for place in ("/etc/cdi", "/var/run/cdi"):
            try:
                if any(name.endswith((".json", ".yaml")) for name in self.kernel.list_dir(place)):
                    return good(place)
            except RunspecError:
                continue
        return bad("neither /etc/cdi nor /var/run/cdi describes a device", "install what describes your devices")
