"""config.json of an OCI bundle -> Spec: the standard door, where what is written is all there is; to_oci.py is the
way back.

No default is added. Unknown keys are ignored, as OCI demands; what the file asks and the model cannot
hold is a fault. What the model holds and OCI has no key for travels in annotations, see PREFIX.
"""

from __future__ import annotations

from posixpath import normpath

from runspec.errors import SpecError
from runspec.spec import defaults, networks, schema
from runspec.spec.compose import Document, quote
from runspec.spec.from_yaml import fault
from runspec.spec.json_text import strict
from runspec.spec.model import Seccomp, Spec
from runspec.spec.names import CAPABILITY_NUMBER
from runspec.spec.seccomp import DEFAULT, default_rules
from runspec.spec.tree import from_tree, to_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Tree = dict[str, Any]

VERSION = "1.3.0"
FILE = "config.json"
# An annotation of this prefix and a spec path holds, as JSON, the value of a key that OCI lacks.
PREFIX = "io.runspec."
EXACT = PREFIX + "exactDevices"        # true: the device rules are all there are, see _devices
DEFAULT_FILTER = PREFIX + "defaultFilter"      # true: the filter was runspec's default one, see _beyond
KEPT = PREFIX + "annotations"          # annotations that begin with the prefix themselves

UNLIMITED = 2**64 - 1           # of what OCI has as a number without a sign
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
# Texts that say nothing while they are empty, and numbers that mean "not asked for" at zero: what Go
# programs write for a field they left alone.
_EMPTY = {"": ("hostname", "domainname"), "process": ("apparmorProfile", "selinuxLabel"),
          "linux": ("cgroupsPath", "rootfsPropagation", "mountLabel"),
          "linux.resources.cpu": ("cpus", "mems"), "linux.memoryPolicy": ("nodes",),
          "linux.seccomp": ("listenerPath", "listenerMetadata"), "process.execCPUAffinity": ("initial", "final"),
          "linux.intelRdt": ("closID", "l3CacheSchema", "memBwSchema")}
_ZERO = {"linux.resources.cpu": ("shares", "quota", "period", "realtimeRuntime", "realtimePeriod"),
         "linux.resources.memory": ("limit", "reservation", "swap", "kernel", "kernelTCP", "disableOOMKiller"),
         "linux.resources.blockIO": ("weight", "leafWeight"), "linux.resources.network": ("classID",)}
_SORTED = {"process.rlimits": ("type",), "linux.resources.hugepageLimits": ("pageSize",),
           "linux.resources.network.priorities": ("name",),
           **{f"linux.resources.blockIO.{name}": ("major", "minor") for name in (
               "weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice",
               "throttleWriteIOPSDevice")}}
_WORDS = ("process.scheduler.flags", "linux.memoryPolicy.flags")       # sets
_OTHERS = ("windows", "solaris", "vm", "zos", "freebsd")


def read(document: Document, name: str, bundle: str) -> tuple[Spec | None, list[SpecError], list[str]]:
    """A configuration as the model has it.

    Args:
        document: as json_text.parse gives it.
        name: the container's id.
        bundle: the bundle's directory, absolute: what relative paths begin at.

    Returns:
        The Spec, None where the schema finds fault; every fault; and notes on what is left out because
        no kernel could grant it.
    """
    tree: Tree = document.tree
    faults = schema.faults("bundle", document)
    version = tree.get("ociVersion")
    if isinstance(version, str) and (bad := version_fault(version)):
        faults.insert(0, fault(document.marks, "ociVersion", *bad))
    if faults:
        return None, faults, []
    reader = _Reader(document, name, bundle)
    made = reader.spec()
    return made, reader.faults, reader.notes


def version_fault(version: str) -> tuple[str, str, str] | None:
    """What is wrong with an ociVersion, as (what, why, fix): 1.0.x to 1.3.x are read, `-dev` and `-rc.1` too."""
    core, _, _ = version.partition("+")[0].partition("-")
    words = core.split(".")
    if len(words) != 3 or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        return f"{quote(version)} is no version", "it is written as SemVer does, config.md", f'write "{VERSION}"'
    major, minor = int(words[0]), int(words[1])
    if major != 1 or minor > 3:
        return (f"{version} is not read here", "runspec reads 1.0 to 1.3 of the runtime-spec",
                "make the bundle with a tool of these versions" if major < 1 else "use a newer runspec")
    return None


class _Reader:
    """One configuration on its way into the model."""

    def __init__(self, document: Document, name: str, bundle: str) -> None:
        self.marks, self.tree = document.marks, document.tree
        self.name, self.bundle = name, bundle
        self.faults: list[SpecError] = []
        self.notes: list[str] = []

    def note(self, path: str, what: str, why: str = "", fix: str = "") -> None:
        self.faults.append(fault(self.marks, path, what, why, fix))

    def spec(self) -> Spec | None:
        tree = {key: value for key, value in _known(schema.schema("bundle"), self.tree).items()
                if key not in ("ociVersion", *_OTHERS)}
        self._plain(tree)
        tree["name"] = self.name
        process = tree.setdefault("process", {"args": []})
        process.setdefault("args", [])
        process.get("user", {}).pop("username", None)
        process.pop("commandLine", None)
        if not process.get("terminal"):
            process.pop("consoleSize", None)        # config.md: ignored without a terminal
        if "capabilities" in process:
            process["capabilities"] = self._capabilities(process["capabilities"])
        linux = tree.setdefault("linux", {})
        self._root(tree["root"])
        tree["mounts"] = [self._mount(one) for one in tree.get("mounts", ())]
        for one in linux.get("namespaces", ()):
            if not one.get("path"):
                one.pop("path", None)
        for index, one in enumerate(linux.get("devices", ())):
            self._device(one, f"linux.devices[{index}]")
        self._cgroup(linux)
        exact = self._beyond(tree)
        resources = linux.get("resources", {})
        if "devices" in resources:
            resources["devices"] = devices(resources["devices"], exact)
        return None if self.faults else from_tree(Spec, tree)

    def _plain(self, tree: Tree) -> None:
        """One form for what can be said in several."""
        for path, names in (*_EMPTY.items(), *_ZERO.items()):
            part = _at(tree, path)
            for name in names if isinstance(part, dict) else ():
                if name in part and not part[name]:
                    del part[name]
        for path, by in _SORTED.items():
            above, _, name = path.rpartition(".")
            part = _at(tree, above)
            if isinstance(part, dict) and name in part:
                part[name].sort(key=lambda one: tuple(one[key] for key in by))
        for path in _WORDS:
            above, _, name = path.rpartition(".")
            part = _at(tree, above)
            if isinstance(part, dict) and name in part:
                part[name] = sorted(set(part[name]))
        cpu, memory = _at(tree, "linux.resources.cpu"), _at(tree, "linux.resources.memory")
        if isinstance(cpu, dict) and cpu.get("quota", 0) < 0:
            cpu["quota"] = -1
        for name in memory if isinstance(memory, dict) else ():
            if type(memory[name]) is int and memory[name] < 0:
                memory[name] = -1
        pids = _at(tree, "linux.resources.pids")
        if isinstance(pids, dict) and pids.get("limit", 0) < 0:
            pids["limit"] = -1
        for one in (_at(tree, "linux.resources") or {}).get("hugepageLimits", ()):
            if one["limit"] == UNLIMITED:
                one["limit"] = -1
        for one in (_at(tree, "linux.resources.blockIO") or {}).get("weightDevice", ()):
            for name in ("weight", "leafWeight"):
                if not one.get(name):
                    one.pop(name, None)
        for kind in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS"):
            for one in (_at(tree, "linux.resources.blockIO") or {}).get(f"throttle{kind}Device", ()):
                one.setdefault("rate", 0)

    def _capabilities(self, given: Tree) -> Tree:
        """config.md: what cannot be granted is told and left out."""
        sets: dict[str, tuple[str, ...]] = {}
        for name in SETS:
            words = dict.fromkeys(given.get(name, ()))
            unknown = [word for word in words if word not in CAPABILITY_NUMBER]
            sets[name] = tuple(sorted((word for word in words if word in CAPABILITY_NUMBER),
                                      key=CAPABILITY_NUMBER.__getitem__))
            if unknown:
                self.notes.append(f"process.capabilities.{name}: {', '.join(map(quote, unknown))} is no capability "
                                  "and cannot be granted")
        for name, within in (("permitted", "bounding"), ("effective", "permitted"), ("inheritable", "bounding"),
                             ("ambient", "permitted"), ("ambient", "inheritable")):
            lacking = [word for word in sets[name] if word not in sets[within]]
            if lacking:
                self.notes.append(f"process.capabilities.{name}: {', '.join(lacking)} cannot be granted, since "
                                  f"{within} lacks it")
                sets[name] = tuple(word for word in sets[name] if word in sets[within])
        return {name: list(words) for name, words in sets.items()}

    def _root(self, root: Tree) -> None:
        if not root["path"]:
            self.note("root.path", "is empty", "the root file system is a directory, config.md", 'write "rootfs"')
        else:
            root["path"] = normpath(f"{self.bundle}/{root['path']}" if root["path"][0] != "/" else root["path"])

    def _mount(self, one: Tree) -> Tree:
        options, kind = list(one.get("options", ())), one.get("type", "")
        where = one["destination"]
        # config.md: a relative one, of old, begins at the container's root.
        one["destination"] = normpath("/" + where).replace("//", "/", 1) if where else where
        if "bind" in options or "rbind" in options:
            kind = ""
        elif kind in ("bind", "rbind"):
            options, kind = [kind, *options], ""
        bound = "bind" in options or "rbind" in options
        source = one.get("source", "")
        if bound and source and source[0] != "/":
            source = f"{self.bundle}/{source}"
        one["type"], one["source"] = kind or None, (normpath(source) if bound and source else source) or None
        one["options"] = options
        return {key: value for key, value in one.items() if value is not None}

    def _device(self, one: Tree, at: str) -> None:
        if "fileMode" in one:
            one["fileMode"] &= 0o7777       # some write the type's bits too
        if one["type"] == "p":
            for name in ("major", "minor"):
                if not one.get(name):
                    one.pop(name, None)

    def _cgroup(self, linux: Tree) -> None:
        path = linux.get("cgroupsPath")
        if path is None:
            return
        if path[0] != "/" and path.count(":") == 2:
            self.note("linux.cgroupsPath", f"{quote(path)} is systemd's form",
                      "slice:prefix:name means something only where systemd makes the groups, `--systemd-cgroup`",
                      "write an absolute path")
        else:
            # config-linux.md: where a relative one begins is the choice of a runtime; rules.py refuses what leads
            # elsewhere. Slashes too many mean nothing.
            parts = [one for one in path.split("/") if one]
            linux["cgroupsPath"] = "/" + "/".join(parts if path[0] == "/" else ["runspec", *parts])

    def _beyond(self, tree: Tree) -> bool:
        """Put what annotations carry for runspec at its place; returns whether the device rules stand alone."""
        annotations = tree.get("annotations", {})
        exact = False
        kept: Tree = {}
        found = sorted(key for key in annotations if key.startswith(PREFIX))
        for key in found:
            text, path = annotations.pop(key), key.removeprefix(PREFIX)
            at = f"annotations.{key}"
            try:
                value = strict(text.encode())
                if key == EXACT:
                    exact = value is True
                elif key == DEFAULT_FILTER:
                    self._default_filter(tree, value is True)
                elif key == KEPT:
                    kept = dict(value)
                elif path != "name":
                    _put(tree, path, value)
            except (ValueError, KeyError, IndexError, TypeError):
                self.note(at, "is not what runspec writes", "annotations of this prefix hold as JSON what OCI "
                          "has no key for", "remove it")
        annotations.update(kept)
        if isinstance(tree["root"].get("image"), str):
            tree["root"].pop("path", None)
        if found and not self.faults:
            self.faults += self._judged(tree)
            networks.unspell(tree.get("interfaces", ()) if not self.faults else ())
        return exact

    def _default_filter(self, tree: Tree, said: bool) -> None:
        """The default filter is one word again, unless somebody changed what was written out for others."""
        written = tree["linux"].get("seccomp")
        bounding = tuple(tree["process"].get("capabilities", {}).get("bounding", ()))
        if said and written and from_tree(Seccomp, written) == default_rules(bounding, ""):
            tree["linux"]["seccomp"] = DEFAULT

    def _judged(self, tree: Tree) -> list[SpecError]:
        """Written by hand, an annotation may hold anything."""
        resources = _at(tree, "linux.resources")
        probe = {"apiVersion": "runspec/v1", "name": "a", "process": {"args": ["a"]},
                 **_some(tree, "labels", "project", "landlock", "interfaces", "ports"),
                 "root": {key: value for key, value in tree["root"].items() if key not in ("path", "readonly")},
                 "linux": {"namespaces": tree.get("linux", {}).get("namespaces", []), "resources": {
                     "cpu": _some(_at(resources, "cpu"), "weight", "partition"),
                     "memory": _some(_at(resources, "memory"), "high", "low", "min", "oomGroup")}}}
        found = schema.faults("container", Document(probe, self.marks, {}, "", ""))
        return [SpecError(f"annotations.{PREFIX}{one.what}", one.why, one.fix, self.marks[""]) for one in found]


def _some(tree: Any, *names: str) -> Tree:
    return {name: tree[name] for name in names if name in (tree or {})}


def _known(here: Any, tree: Any) -> Any:
    """A copy without the keys that the schema does not know."""
    if isinstance(tree, dict):
        known, more = here.get("properties", {}), here.get("additionalProperties")
        return {key: _known(known.get(key) or more, inner) for key, inner in tree.items()
                if key in known or isinstance(more, dict)}
    if isinstance(tree, list):
        return [_known(here["items"], inner) for inner in tree]
    return tree


def _at(tree: Any, path: str) -> Any:
    found: Any = tree
    for word in path.split(".") if path else ():
        found = found.get(word) if isinstance(found, dict) else None
    return found


def _words(path: str) -> list[str | int]:
    """`linux.namespaces[2].container` -> its keys and indices."""
    out: list[str | int] = []
    for word in path.split("."):
        name, *indices = word.split("[")
        out += [name, *(int(one.removesuffix("]")) for one in indices)]
    return out


def _put(tree: Any, path: str, value: Any) -> None:
    """Set what a path leads to.

    Raises:
        KeyError: OCI has this key itself, or nothing around it is there that could do without others.
    """
    *above, last = _words(path)
    here = schema.schema("bundle")
    for word in above:
        here = here["items"] if isinstance(word, int) else here.get("properties", {}).get(word, {})
        tree = tree.setdefault(word, {}) if isinstance(tree, dict) and "required" not in here else tree[word]
    if last in here.get("properties", {}):
        raise KeyError(path)
    tree[last] = value


def devices(rules: list[Tree], exact: bool) -> list[Tree]:
    """One spelling of the rules, and the standard devices allowed after a first rule that denies everything.

    config-linux.md has the runtime supply these devices; a bundle's rules are made without them in mind,
    and every engine counts on it. Any rule after the first still holds.
    """
    out = []
    for one in rules:
        kind = one.get("type") or "a"
        rule: Tree = {"allow": one["allow"], "type": kind,
                      "access": "".join(c for c in "rwm" if c in (one.get("access") or "rwm")) or "?"}
        for name in ("major", "minor"):
            if one.get(name) is not None and one[name] >= 0:
                rule[name] = one[name]
        out.append(rule)
    standard: list[Tree] = [to_tree(one) for one in defaults.DEVICE_RULES[1:]]
    if exact or not out or out[0]["allow"] or out[0]["type"] != "a" or out[1:1 + len(standard)] == standard:
        return out
    return [out[0], *standard, *out[1:]]
