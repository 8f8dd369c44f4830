"""What a schema cannot say: small checks on a Spec or Network, all faults of it at once.

Nothing here looks at the machine; rules_host does.
"""

from __future__ import annotations

from runspec.errors import Mark, SpecError
from runspec.spec import defaults, rules_hooks, rules_kinds, rules_networks, rules_ports, rules_seccomp, units
from runspec.spec.image import TELLING
from runspec.spec.model import NO_HOOKS, Capabilities, Linux, Network, Process, Seccomp, Spec
from runspec.spec.names import CAPABILITIES, NAMESPACES, PROPAGATIONS, RLIMITS, nearest
from runspec.spec.rules_links import LATER, LETTERS, check_devices, check_interfaces, is_new, link_fault
from runspec.spec.rules_mounts import IDS, Faults, check_mappings, check_mounts, check_path
from runspec.spec.rules_names import check_names
from runspec.spec.rules_process import check_attributes
from runspec.spec.rules_resources import MAJORS, MINORS, check_resources
from runspec.spec.units import shown

__all__ = ["check", "judge", "link_fault", "name_fault"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.spec.compose import Document
    from runspec.spec.image import Machine

# A container's group lies beside control files, so it may not have the name of one.
_GROUP_FILES = ("tasks", "notify_on_release", "release_agent")
_GROUP_PREFIXES = ("cgroup.", "cpu.", "cpuacct.", "cpuset.", "memory.", "pids.", "io.", "blkio.", "devices.",
                   "freezer.", "hugetlb.", "misc.", "rdma.", "net_cls.", "net_prio.", "perf_event.", "irq.")
_TAG = LATER | frozenset(":@/+")
_SYSCTL_IPC = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
               "kernel.shmmax",
               "kernel.shmmni", "kernel.shm_rmid_forced")


def check(model: Spec | Network, marks: dict[str, Mark], oci: bool = False) -> list[SpecError]:
    """Lists every fault that the model alone shows.

    Args:
        model: what a door read.
        marks: spec path -> place, by the Spec's own list indices.
        oci: no default was added; what OCI allows and only people get wrong is let pass.

    Returns:
        Faults in file order, empty where all is well.
    """
    from runspec.spec.from_yaml import in_file_order

    faults = Faults(marks, oci)
    if isinstance(model, Network):
        rules_networks.check_network(faults, model)
        _texts(faults, model)
    else:
        _name(faults, model.name)
        _hostname(faults, model)
        _root(faults, model)
        _program(faults, model)
        _process(faults, model.process)
        check_mounts(faults, model)
        _linux(faults, model)
        if model.hooks != NO_HOOKS:
            rules_hooks.check_hooks(faults, model.hooks)
        check_attributes(faults, model)
        if isinstance(model.linux.seccomp, Seccomp):
            rules_seccomp.check_seccomp(faults, model)
        check_interfaces(faults, model)
        if model.interfaces:
            rules_kinds.check_kinds(faults, model)
        check_devices(faults, model)
        if model.ports:
            rules_ports.check_ports(faults, model)
        check_names(faults, model)
        _texts(faults, model)
    return in_file_order(faults.found, [""]) if faults.found else []


def judge(documents: list[Document], unread: list[SpecError] | None = None, host: bool = False,
          machine: Machine | None = None) -> tuple[list[tuple[Spec | Network, Document]], list[SpecError]]:
    """Everything that can be said about documents before anything is done: schema, units and rules together.

    Args:
        documents: as source.gather gives them.
        unread: faults of files that could not be read as documents, as source.gather gives them.
        host: also look for the files that the documents name.
        machine: answers what images and devices are; None leaves them as they are named.

    Returns:
        The models of documents without a fault of their schema, see from_yaml.gather; and every
        fault, in file order.
    """
    from runspec.spec import from_yaml, rules_host, rules_ports_together, schema

    faults = list(unread or ())
    # What could not even be read as YAML says more than what follows from it at the same place.
    told = {str(one.at) for one in faults if one.at}
    good: list[Document] = []
    for document in documents:
        found = schema.check(document)
        faults += [one for one in found if str(one.at) not in told]
        if not found:
            good.append(document)
        else:
            from runspec.spec.rules_rest import rest

            faults += [one for one in rest(document, found, host) if str(one.at) not in told]
    read, found = from_yaml.gather(good, machine)
    faults += found
    for model, document in read:
        found = check(model, document.marks, bare(document))
        if host and isinstance(model, Spec):
            found = found + rules_host.check_host(model, document.marks)
        faults += [one for one in found if str(one.at) not in told]
    faults += rules_ports_together.judge(read) if any(isinstance(one, Spec) and one.ports for one, _ in read) else []
    if faults:
        files = [one.at.file for one in faults if one.at] if unread else []
        faults = from_yaml.in_file_order(faults, [*(one.file for one in documents), *files])
    return read, faults


def bare(document: Document) -> bool:
    """Whether a document asks for no defaults."""
    return isinstance(document.tree, dict) and document.tree.get("defaults") == "none"


def name_fault(name: str) -> tuple[str, str, str] | None:
    """What is wrong with a name, as (what, why, fix); None where nothing is."""
    why = "a name is 1 to 64 letters, digits, `_`, `.` or `-`, and begins with a letter or digit"
    if not name:
        return "is empty", why, "write a name such as foo1"
    if len(name) > 64:
        return f"{shown(name)} is longer than 64 characters", why, "shorten it"
    if name[0] not in LETTERS or not LATER.issuperset(name):
        bad = name[0] if name[0] not in LETTERS else next(c for c in name if c not in LATER)
        kind = "begins with" if bad == name[0] and bad in LATER else "holds"
        # A look-alike of another script needs its number to be seen.
        number = "" if bad.isascii() and bad.isprintable() else f" (U+{ord(bad):04X})"
        return f"{shown(name)} {kind} {shown(bad)}{number}", why, "use other characters"
    if name.endswith((".yaml", ".yml", ".json")):
        return (f"{shown(name)} reads like a file", "commands take files and names in one place",
                f"write {name.rpartition('.')[0]}")
    return None


def _name(faults: Faults, name: str) -> None:
    # The id of a bundle's container comes from the command line, which has judged it.
    bad = name_fault(name) if not faults.oci or "name" in faults.marks else None
    if bad is None and (name in _GROUP_FILES or name.startswith(_GROUP_PREFIXES)):
        bad = (f"{shown(name)} is the name of a control file",
               "the container's control group lies beside such files, cgroups(7)", "choose another name")
    if bad is None and name in ("images", "networks"):
        bad = f"{shown(name)} is reserved", "a directory of runspec's own has it", "choose another name"
    if bad:
        faults.add("name", *bad)


def _hostname(faults: Faults, spec: Spec) -> None:
    for at, text in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if text is None:
            continue
        if not text or len(text) > 64 or not LATER.issuperset(text) or text[0] in "-.":
            faults.add(at, f"{shown(text)} is no name of a host",
                       "it is 1 to 64 letters, digits, `-`, `.` or `_`, hostname(7)",
                       "write it like foo1.example")
        elif not is_new(spec.linux, "uts"):
            faults.add(at, "needs a uts namespace of the container's own",
                       "the name would change for everybody who shares it, uts_namespaces(7)",
                       f"remove {at}, or the entry for uts in linux.namespaces")


def _root(faults: Faults, spec: Spec) -> None:
    root = spec.root
    if root.path is not None and check_path(faults, "root.path", root.path) and root.path == "/":
        faults.add("root.path", "is the host's own root", "the container could change the whole host",
                   "write image: host for the host's programs, read-only")
    if root.image is not None:
        kind, colon, rest = root.image.partition(":")
        if kind in ("tar", "docker-archive") and colon:
            check_path(faults, "root.image", rest)
        elif kind == "oci" and colon:
            directory, colon, tag = rest.partition(":")
            if check_path(faults, "root.image", directory) and colon and (
                    not tag or len(tag) > 128 or not _TAG.issuperset(tag)):
                faults.add("root.image", f"{shown(tag)} is no tag",
                           "it is 1 to 128 letters, digits or -._:@/+, image-layout.md", "write it like oci:DIR:1.0")
        elif kind == "dir" and colon:
            if check_path(faults, "root.image", rest) and rest == "/":
                faults.add("root.image", "is the host's own root", "the container could see the whole host",
                           "write image: host for the host's programs, read-only")
        elif root.image not in ("busybox", "host"):
            near = nearest(kind, ("busybox", "host", "dir", "tar", "docker-archive", "oci"))
            faults.add("root.image", f"{shown(root.image)} is no image",
                       "it is busybox, host, dir:/folder, tar:/file, docker-archive:/file or oci:/folder:tag",
                       f"did you mean {near}?" if near else "write image: busybox")
    if root.overlay is not None and root.overlay.upper is not None:
        upper = root.overlay.upper
        lower = root.path or (root.image or "").partition(":")[2]
        if check_path(faults, "root.overlay.upper", upper):
            if upper == "/":
                faults.add("root.overlay.upper", "is the host's own root", "the layer would fill it",
                           "name a directory")
            elif lower and (upper + "/").startswith(lower.rstrip("/") + "/"):
                faults.add("root.overlay.upper", f"{shown(upper)} lies in the root itself",
                           "a layer may not be part of what it covers, overlayfs.rst",
                           "name a directory elsewhere")
            elif lower and (lower + "/").startswith(upper + "/"):
                faults.add("root.overlay.upper", f"{shown(upper)} holds the root itself",
                           "a layer may not be part of what it covers, overlayfs.rst",
                           "name a directory elsewhere")


def _program(faults: Faults, spec: Spec) -> None:
    # A bundle may leave out what runs: then it can be created, and not started.
    if spec.process.args[:1] not in ((), ("",)) or (
            faults.oci and not spec.process.args and "name" not in faults.marks):
        return
    telling = (spec.root.image or "").startswith(TELLING)
    if telling and spec.root.digest is None and not spec.process.args:
        return          # the image may name one, and nobody has looked
    if telling and not spec.process.args and "process.args" not in faults.marks:
        faults.add("process.args", "missing", "the image names no program either",
                   'add process: {"args": ["/sbin/init"]}')
    elif faults.marks and "process" not in faults.marks:
        faults.add("process", "missing", "What runs inside as PID 1.", 'add process: {"args": ["/sbin/init"]}')
    elif faults.marks and "process.args" not in faults.marks:
        faults.add("process.args", "missing",
                   "The program and its words; one text is split like a shell word list, and no shell runs it.",
                   'add args: ["/sbin/init"]')
    else:
        faults.add("process.args", "names no program", "a container runs one, execve(2)",
                   "write it like args: [/sbin/init]")


def _process(faults: Faults, process: Process) -> None:
    for index, word in enumerate(process.args):
        if "\0" in word:
            faults.add(f"process.args[{index}]", "holds a NUL character", "it would end the word, execve(2)",
                       "remove it")
    check_path(faults, "process.cwd", process.cwd)
    seen: dict[str, int] = {}
    for index, one in enumerate(process.env):
        name, equals, _ = one.partition("=")
        at = f"process.env[{index}]"
        if not equals or not name:
            faults.add(at, f"{shown(one)} is no NAME=value", "environ(7)", "write it like HOME=/root")
        elif "\0" in one:
            faults.add(at, "holds a NUL character", "it would end the value, environ(7)", "remove it")
        elif name in seen and not faults.oci:
            faults.add(at, f"{shown(name)} is set twice", "which one a program sees is chance, environ(7)",
                       "remove one")
        seen[name] = index
    user = process.user
    for at, number in (("uid", user.uid), ("gid", user.gid),
                       *((f"additionalGids[{i}]", gid) for i, gid in enumerate(user.additional_gids))):
        if not 0 <= number <= IDS - 2:
            faults.add(f"process.user.{at}", f"{number} is no id",
                       f"ids go from 0 to {IDS - 2}, credentials(7)",
                       "write an id in this range")
    if user.umask is not None and not 0 <= user.umask <= 0o777:
        faults.add("process.user.umask", f"{user.umask:04o} is beyond 0777", "umask(2)",
                   'write it like "0022"')
    if process.capabilities is not defaults.CAPABILITIES:
        _capabilities(faults, process.capabilities)
    types: set[str] = set()
    for index, limit in enumerate(process.rlimits):
        at = f"process.rlimits[{index}]"
        if limit.type not in RLIMITS:
            near = nearest(limit.type, RLIMITS)
            faults.add(f"{at}.type", f"{shown(limit.type)} is no resource", "getrlimit(2) names them",
                       f"did you mean {near}?" if near else "write it like RLIMIT_NOFILE")
        elif limit.type in types:
            faults.add(f"{at}.type", f"{limit.type} is given twice", "a resource has one limit", "remove one")
        types.add(limit.type)
        for word, value in (("soft", limit.soft), ("hard", limit.hard)):
            if not 0 <= value <= units.INFINITY:
                faults.add(f"{at}.{word}", f"{value} is out of range",
                           f"a limit goes from 0 to {units.INFINITY}",
                           "write unlimited for none")
                break
        else:
            if limit.soft > limit.hard:
                faults.add(f"{at}.soft", f"{limit.soft} is more than hard {limit.hard}",
                           "soft is at most hard, getrlimit(2)",
                           f"write {limit.hard} or less")
    adj = process.oom_score_adj
    if adj is not None and not -1000 <= adj <= 1000:
        faults.add("process.oomScoreAdj", f"{adj} is out of range", "it goes from -1000 to 1000, proc(5)",
                   "write a number in this range")


def _capabilities(faults: Faults, caps: Capabilities) -> None:
    known = frozenset(CAPABILITIES)
    sets = {name: getattr(caps, name) for name in ("bounding", "effective", "permitted", "inheritable",
                                                   "ambient")}
    for name, words in sets.items():
        at = f"process.capabilities.{name}"
        for word in words:
            if word not in known:
                near = nearest(word, CAPABILITIES)
                faults.add(at, f"{shown(word)} is no capability", "capabilities(7) names them",
                           f"did you mean {near}?" if near else "remove it")
    for name, larger, why in (
            ("effective", "permitted", "only what is permitted can be in effect"),
            ("permitted", "bounding", "execve(2) drops what the bounding set lacks"),
            ("inheritable", "bounding", "capset(2) refuses what the bounding set lacks"),
            ("ambient", "permitted", "an ambient capability must be permitted and inheritable"),
            ("ambient", "inheritable", "an ambient capability must be permitted and inheritable")):
        lacking = [word for word in sets[name] if word in known and word not in sets[larger]]
        if lacking:
            faults.add(f"process.capabilities.{name}", f"{', '.join(lacking)} is not in {larger}",
                       f"{why}, capabilities(7)", f"add it to {larger}, or remove it here")


def _linux(faults: Faults, spec: Spec) -> None:
    linux = spec.linux
    if linux.namespaces is not defaults.NAMESPACES:
        _namespaces(faults, spec)
    user = is_new(linux, "user")
    for at, maps in (("linux.uidMappings", linux.uid_mappings), ("linux.gidMappings", linux.gid_mappings)):
        if maps and not user:
            faults.add(at, "needs a user namespace of the container's own",
                       "ids are mapped there, user_namespaces(7)",
                       "add {type: user} to linux.namespaces")
        elif user and not maps:
            faults.add("linux.namespaces", f"a user namespace needs {at}",
                       "without it every id in the container is nobody's, user_namespaces(7)",
                       f"write {at.partition('.')[2]}: [{{containerID: 0, hostID: 100000, size: 65536}}]")
        check_mappings(faults, at, maps)
    if user and linux.uid_mappings and linux.gid_mappings:
        for at, number, maps in (("uid", spec.process.user.uid, linux.uid_mappings),
                                 ("gid", spec.process.user.gid, linux.gid_mappings)):
            if not any(one.container_id <= number < one.container_id + one.size for one in maps):
                faults.add(f"process.user.{at}", f"{number} is in no mapping",
                           "a process needs an id in its namespace",
                           f"map it in linux.{at}Mappings")
    if linux.time_offsets and not is_new(linux, "time"):
        faults.add("linux.timeOffsets", "needs a time namespace of the container's own", "time_namespaces(7)",
                   "add {type: time} to linux.namespaces")
    for index, one in enumerate(linux.time_offsets):
        at = f"linux.timeOffsets[{index}]"
        if not 0 <= one.nanosecs < 10**9:
            faults.add(f"{at}.nanosecs", f"{one.nanosecs} is out of range", "it goes from 0 to 999999999",
                       "use secs too")
        if abs(one.secs) > 2**63 // 10**9 // 2:
            faults.add(f"{at}.secs", f"{one.secs} is out of range",
                       "the clock would overflow, time_namespaces(7)",
                       "write a smaller number")
    if linux.cgroups_path is not None:
        at, path = "linux.cgroupsPath", linux.cgroups_path
        if check_path(faults, at, path) and path == "/":
            faults.add(at, "is the root group", "limits there would hold for the whole host, cgroups(7)",
                       f"write {defaults.cgroups_path(spec.name)}")
    if linux.rootfs_propagation not in (None, *PROPAGATIONS):
        faults.add("linux.rootfsPropagation", f"{shown(linux.rootfs_propagation)} is no propagation",
                   "mount_namespaces(7)", "write private")
    if linux.masked_paths is not defaults.MASKED_PATHS:
        for index, path in enumerate(linux.masked_paths):
            check_path(faults, f"linux.maskedPaths[{index}]", path)
    if linux.readonly_paths is not defaults.READONLY_PATHS:
        for index, path in enumerate(linux.readonly_paths):
            check_path(faults, f"linux.readonlyPaths[{index}]", path)
    _devices(faults, linux)
    _sysctl(faults, linux)
    check_resources(faults, linux.resources)


def _namespaces(faults: Faults, spec: Spec) -> None:
    seen: set[str] = set()
    for index, one in enumerate(spec.linux.namespaces):
        at = f"linux.namespaces[{index}]"
        if one.type not in NAMESPACES:
            near = nearest(one.type, NAMESPACES)
            faults.add(f"{at}.type", f"{shown(one.type)} is no kind of namespace", "namespaces(7) names them",
                       f"did you mean {near}?" if near else "remove the entry")
        elif one.type in seen:
            faults.add(f"{at}.type", f"{one.type} is given twice", "a process is in one namespace of a kind",
                       "remove one")
        seen.add(one.type)
        if one.path is not None and one.container is not None:
            faults.add(f"{at}.container", "contradicts path", "either says which namespace is joined",
                       "remove one")
        elif one.container == spec.name:
            faults.add(f"{at}.container", "is this container itself",
                       "a container cannot join before it is there",
                       "remove it, or name another container")
        elif one.container is not None and (bad := name_fault(one.container)):
            faults.add(f"{at}.container", *bad)
        if one.path is not None:
            check_path(faults, f"{at}.path", one.path)


def _devices(faults: Faults, linux: Linux) -> None:
    seen: set[str] = set()
    for index, one in enumerate(linux.devices):
        at = f"linux.devices[{index}]"
        if check_path(faults, f"{at}.path", one.path):
            if not one.path.startswith("/dev/") or one.path.startswith("/dev/pts/"):
                faults.add(f"{at}.path", f"{shown(one.path)} is not below /dev",
                           "nodes are made in the container's /dev",
                           "write a path such as /dev/fuse")
            elif one.path in seen:
                faults.add(f"{at}.path", f"{shown(one.path)} is given twice", "a path is one node",
                           "remove one")
        seen.add(one.path)
        if one.type == "p":
            if one.major is not None or one.minor is not None:
                faults.add(at, "a FIFO has no numbers", "mknod(2)", "remove major and minor")
        elif one.type not in ("b", "c", "u"):
            faults.add(f"{at}.type", f"{shown(one.type)} is no type of node", "it is b, c, u or p, mknod(2)",
                       "write c")
        else:
            for word, number, size in (("major", one.major, MAJORS), ("minor", one.minor, MINORS)):
                if number is None:
                    faults.add(at, f"needs {word}", "a device is known by two numbers, mknod(2)",
                               "ls -l /dev shows both")
                elif not 0 <= number < size:
                    faults.add(f"{at}.{word}", f"{number} is out of range",
                               f"it goes from 0 to {size - 1}, makedev(3)",
                               "write the number that ls -l shows")
        for word, owner in (("uid", one.uid), ("gid", one.gid)):
            if owner is not None and not 0 <= owner <= IDS - 2:
                faults.add(f"{at}.{word}", f"{owner} is no id", f"ids go from 0 to {IDS - 2}, credentials(7)",
                           "write an id in this range")


def _sysctl(faults: Faults, linux: Linux) -> None:
    for name, value in linux.sysctl:
        at = f"linux.sysctl.{name}"
        if not LATER.issuperset(name) or ".." in name or name[:1] == "." or name[-1:] in (".", ""):
            faults.add(at, f"{shown(name)} is no sysctl key", "it is words with dots between them, sysctl(8)",
                       "write it like net.ipv4.ip_forward")
            continue
        if name in ("kernel.hostname", "kernel.domainname"):
            word = name.partition(".")[2]
            faults.add(at, f"is what {word} says", "one thing is said in one place", f"write {word} instead")
        elif name in _SYSCTL_IPC or name.startswith("fs.mqueue."):
            _needs(faults, linux, at, "ipc")
        elif name.startswith("net."):
            _needs(faults, linux, at, "network")
        else:
            faults.add(at, f"{shown(name)} holds for the whole host",
                       "only net.*, fs.mqueue.* and System V IPC's keys belong "
                       "to a namespace, sysctl(2)", "set it on the host")
        if "\n" in value or "\0" in value or not value:
            faults.add(at, "has no value of one line", "a sysctl takes one line", "write the line")


def _needs(faults: Faults, linux: Linux, at: str, kind: str) -> None:
    if not is_new(linux, kind):
        faults.add(at, f"needs a {kind} namespace of the container's own",
                   "the change would reach everybody who shares it",
                   f"remove it, or the entry for {kind} in linux.namespaces")


def _texts(faults: Faults, model: Spec | Network) -> None:
    if model.project is not None and (bad := name_fault(model.project)):
        faults.add("project", *bad)
    maps = (("labels", model.labels), ("annotations", model.annotations if isinstance(model, Spec) else ()))
    for at, pairs in maps:
        for name, _ in pairs:
            if not name:
                faults.add(at, "has an empty key", "OCI config.md, annotations", "give the key a name")
