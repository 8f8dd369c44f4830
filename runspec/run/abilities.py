"""What this kernel cannot give a spec, asked of it before any step."""

from __future__ import annotations

from runspec import abi
from runspec.errors import HostError
from runspec.kernel import netlink
from runspec.plan import cgroup, needs, rtnetlink, view_kinds
from runspec.plan.steps import host_links, intel_rdt, landlock, seccomp, tagged
from runspec.run import abilities_resources
from runspec.run.probes import APPARMOR, AS_ROOT, SELINUX
from runspec.spec import units
from runspec.spec.model import Network, Spec
from runspec.spec.model_net import ON_PARENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel
    from runspec.plan.host import Host
    from runspec.run.probes import Probes
    from runspec.run.request import Wanted

    # path, what, why, fix
    Refusal = tuple[str, str, str, str]


def refusals(kernel: Kernel, spec: Spec) -> list[Refusal]:
    """(path, what, why, fix) for each key that this kernel has nothing for."""
    return [*_labels(kernel, spec), *_memory(kernel, spec), *_landlock(kernel, spec), *_resctrl(kernel, spec),
            *_seccomp(kernel, spec)]


def every(kernel: Kernel, host: Host, spec: Spec) -> list[Refusal]:
    """All that those who know a key better than the table of needs refuse of it; what `apply` and `doctor` go by."""
    return [*cgroup.refusals(spec.linux.resources, host), *refusals(kernel, spec),
            *abilities_resources.refusals(kernel, host, spec)]


def lacking(probes: Probes, model: Spec | Network) -> list[Refusal]:
    """The same for what the table of needs alone knows: (path, what, why, fix) of each need that fails here.

    Raises:
        HostError: whoever asks can make no container, whatever a document says.
    """
    out: list[Refusal] = []
    for path, words in needs.needs(model):
        for word in words:
            if needs.KINDS[word.partition(":")[0]][2] and (found := probes.ask(word)).ok is False:
                if found.fix == AS_ROOT:
                    raise HostError("containers are made by root", found.why, found.fix)
                out.append((path, f"needs {needs.called(word)}, which is not to be had here", found.why, found.fix))
    return out


def unheld(spec: Spec, wanted: Wanted) -> list[Refusal]:
    """A terminal whose master nobody would hold: its program would get SIGHUP at once."""
    if not spec.process.terminal or wanted.console:
        return []
    if wanted.bundle:
        return [("process.terminal", "nobody would hold the other end of this terminal",
                 "`create` ends when the container waits, and a terminal hangs up with its last holder, pty(7)",
                 "name the socket of who shall hold it with --console-socket SOCKET, or write false")]
    return [("process.terminal", "nobody would hold the other end of this terminal",
             "apply ends when the container runs, and a terminal hangs up with its last holder, pty(7)",
             f"remove it, and use `runspec exec -t {spec.name} CMD` for a terminal inside")]


def parents(kernel: Kernel, spec: Spec, made: frozenset[str] = frozenset()) -> list[Refusal]:
    """Links of the host that are to carry others, and cannot; and parameters that no link of this kernel has.

    Args:
        made: networks of the same request, whose bridges may not be there yet.
    """
    out: list[Refusal] = []
    links: list[netlink.Link] = []
    for i, one in enumerate(spec.interfaces):
        at = f"interfaces[{i}]"
        out += [(f"{at}.sysctl.{key}", "this kernel has no such parameter",
                 f"there is no /proc/sys/{view_kinds.default_path(key)}, ip-sysctl.rst", "remove it, or correct it")
                for key, _ in one.sysctl if not kernel.exists(f"/proc/sys/{view_kinds.default_path(key)}")]
        if one.parent is None or one.parent in made or one.type not in ON_PARENT:
            continue
        links = links or [link for data in kernel.dump(rtnetlink.dump_links()) for link in netlink.parse_links(data)]
        try:
            index = host_links.parent_index(kernel, one.parent)
        except HostError:
            out.append((f"{at}.parent", f"there is no link {one.parent} on this host",
                        f"a {one.type} is made on one, ip-link(8)", "`ip link` lists those that are there"))
            continue
        link = next((link for link in links if link.index == index), None)
        if link is None:
            continue
        if not link.up:
            # It is the host's, and whether it may send is not for a container's file to say.
            out.append((f"{at}.parent", f"the link {link.name} is down", f"nothing would pass through a {one.type} "
                        "on it, and it is the host's: runspec leaves it as it is", f"ip link set {link.name} up"))
        elif link.name == "lo":
            out.append((f"{at}.parent", "lo carries no other links", "it is no Ethernet link, ip-link(8)",
                        "name an Ethernet link"))
        elif one.mtu is not None and one.mtu > link.mtu:
            out.append((f"{at}.mtu", f"{one.mtu} is more than the {link.mtu} of {link.name}",
                        "a link sends through its parent, ip-link(8)", f"write {link.mtu} or less"))
        elif tagged.emulated(one) and kernel.drops_tags(link.name) and not dict(
                kernel.rows("flags", rtnetlink.dump_links()))[link.index] & abi.IFF_PROMISC:
            out.append((f"{at}.fallback", f"{link.name} drops frames of VLANs that no driver asks it for",
                        "its feature rx-vlan-filter is on, ethtool(8)",
                        f"ethtool -K {link.name} rx-vlan-filter off, or ip link set {link.name} promisc on"))
    return out


def _labels(kernel: Kernel, spec: Spec) -> list[Refusal]:
    out = []
    if spec.process.apparmor_profile and (kernel.try_read(APPARMOR) or b"").strip() != b"Y":
        out.append(("process.apparmorProfile", "this kernel does not enforce AppArmor",
                    f"{APPARMOR} does not say Y", "remove it, or boot with AppArmor"))
    for path, label in (("process.selinuxLabel", spec.process.selinux_label),
                        ("linux.mountLabel", spec.linux.mount_label)):
        if label and not kernel.exists(SELINUX):
            out.append((path, "this kernel does not enforce SELinux", f"there is no {SELINUX}",
                        "remove it, or boot with SELinux"))
    return out


def _memory(kernel: Kernel, spec: Spec) -> list[Refusal]:
    one = spec.linux.memory_policy
    if one is None or one.nodes is None:
        return []
    online = (kernel.try_read("/sys/devices/system/node/has_memory") or b"0").decode().strip() or "0"
    missing = sorted(units.numbers(one.nodes) - units.numbers(online))
    return [("linux.memoryPolicy.nodes", f"this machine has no node {', '.join(map(str, missing))} with memory",
             f"those that have some are {online}, numa(7)", f'write nodes: "{online}"')] if missing else []


def _resctrl(kernel: Kernel, spec: Spec) -> list[Refusal]:
    if spec.linux.intel_rdt is None or kernel.exists(f"{intel_rdt.ROOT}/schemata"):
        return []
    known = b"resctrl" in (kernel.try_read("/proc/filesystems") or b"").split()
    why = f"nothing is mounted at {intel_rdt.ROOT}, resctrl.rst" if known else (
        "this processor or kernel has no resource control, resctrl.rst")
    return [("linux.intelRdt", "there are no classes of caches and memory bandwidth here", why,
             f"mount -t resctrl resctrl {intel_rdt.ROOT}" if known else "remove it, or use a processor with RDT")]


def _landlock(kernel: Kernel, spec: Spec) -> list[Refusal]:
    one = spec.landlock
    if one is None:
        return []
    version = kernel.landlock_version()
    if not version:
        return [("landlock", "this kernel has no Landlock", "it was built or booted without it, landlock(7)",
                 "remove it, or boot with lsm=landlock,...")]
    out: list[Refusal] = []
    for index, rule in enumerate(one.fs or ()):
        for word in rule.access:
            if landlock.RIGHTS.get(word, 1) > version:
                out.append((f"landlock.fs[{index}].access", f"this kernel's Landlock does not know {word}",
                            f"it has version {version} and the right came with {landlock.RIGHTS[word]}, landlock(7)",
                            "remove the word"))
    if one.net is not None and version < landlock.NET:
        out.append(("landlock.net", "this kernel's Landlock does not know ports",
                    f"it has version {version} and they came with {landlock.NET}, landlock(7)", "remove it"))
    if one.scope and version < landlock.SCOPED:
        out.append(("landlock.scope", "this kernel's Landlock does not know scopes",
                    f"it has version {version} and they came with {landlock.SCOPED}, landlock(7)", "remove it"))
    return out


def _seccomp(kernel: Kernel, spec: Spec) -> list[Refusal]:
    one, at = spec.linux.seccomp, "linux.seccomp"
    if one is None or isinstance(one, str):
        return []
    out: list[Refusal] = []
    asks = seccomp.notifies(one)
    for word in one.flags:
        bits = getattr(abi, word) | (abi.SECCOMP_FILTER_FLAG_NEW_LISTENER if asks else 0)
        if word != "SECCOMP_FILTER_FLAG_TSYNC" and not kernel.seccomp_knows(bits):
            out.append((f"{at}.flags", f"this kernel does not know {word}", "seccomp(2)", "remove it"))
    if asks and not kernel.has_userfaultfd():
        out.append((at, "this kernel cannot hand on a listener", "userfaultfd(2) is how a container waits for its "
                    "agent when every call may be filtered", "boot a kernel with it, or use another action"))
    return out
