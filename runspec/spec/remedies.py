"""How what a schema refused is written rightly: the fix of its faults, from the schema's own examples and bounds."""

from __future__ import annotations

from runspec.spec.compose import quote, scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Schema = dict[str, Any]

WIDTH = 200         # of an example that a message still shows
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+%:=@")

# What Compose, docker and others call these keys -> where and how they stand here.
OTHERS = {
    "command": "process.args", "cmd": "process.args", "entrypoint": "process.args", "workdir": "process.cwd",
    "workingdir": "process.cwd", "environment": "process.env", "capadd": "process.capabilities",
    "ulimits": "process.rlimits", "groupadd": "process.user.additionalGids", "tty": "process.terminal",
    "volumes": "mounts", "tmpfs": "mounts", "target": "mounts[].destination", "dst": "mounts[].destination",
    "containername": "name", "readonly": "root.readonly", "memlimit": "linux.resources.memory.limit",
    "memswaplimit": "linux.resources.memory.swap", "memreservation": "linux.resources.memory.reservation",
    "cpushares": "linux.resources.cpu.weight", "cpuquota": "linux.resources.cpu.quota",
    "cpuset": "linux.resources.cpu.cpus", "pidslimit": "linux.resources.pids.limit", "sysctls": "linux.sysctl",
    "macaddress": "interfaces[].mac", "dnssearch": "dns.search", "dnsopt": "dns.options", "networks": "interfaces"}
_HOW = {
    "services": "each container is a document of its own here, with `---` between two of them",
    "restart": "remove it: nothing starts an ended program again but the next `runspec apply`",
    "networkmode": "name what it joins in linux.namespaces, or its links in interfaces",
    "pid": "name what it joins in linux.namespaces", "ipc": "name what it joins in linux.namespaces",
    "privileged": "remove it: give process.capabilities, linux.devices and mounts one by one",
    "dependson": "remove it: all documents of one `runspec apply` are made together",
    "build": "name what another tool built in root.image", "healthcheck": "remove it: nothing here watches programs",
    "envfile": "write the variables in process.env", "securityopt": "see linux.seccomp and process.apparmorProfile",
    "expose": "remove it: what is to be reached from outside stands in ports"}


def elsewhere(key: str, known: list[str], top: bool) -> str:
    """What to do with a key that another format has; "" where none is known to.

    Args:
        known: the keys that may stand here; top: whether this is the top of a document.
    """
    word = key.lower().replace("_", "").replace("-", "")
    path = OTHERS.get(word, "")
    if path:
        return f"did you mean {last}?" if (last := path.rpartition(".")[2]) in known else f"it is {path} here"
    return _HOW.get(word, "") if top else ""


def lend(node: Schema) -> None:
    """Give elements of lists and values of maps, which mostly have neither example nor description, their owner's."""
    for one in node.get("examples", ()):
        inner = node.get("items") if type(one) is list else node.get("additionalProperties")
        parts = one if type(one) is list else list(one.values()) if type(one) is dict else []
        if type(inner) is dict and parts:
            inner.setdefault("examples", parts)
            if inner.get("description", "One ").startswith("One "):
                inner["description"] = node.get("description", "")
    for inner in (*node.get("properties", {}).values(), node.get("items"), node.get("additionalProperties")):
        if type(inner) is dict:
            lend(inner)


def flow(value: Any) -> str:
    """A value as a file may hold it on one line."""
    if type(value) is dict:
        return "{" + ", ".join(f"{flow(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if type(value) is list:
        return "[" + ", ".join(map(flow, value)) + "]"
    if type(value) is str:
        safe = value and _LETTERS.issuperset(value) and value[-1] != ":" and value[0] not in "%@:-=" and not (
            value[0].isdigit() and ":" in value)
        return value if safe and type(scalar(value)) is str and not value.isdigit() else quote(value, WIDTH)
    return str(value).lower() if type(value) is bool else str(value)


def written(path: str, value: str) -> str:
    """The value with its key, where the last part of the path is one."""
    key = path.rpartition(".")[2]
    return value if not key or key.endswith("]") else f"{key}: {value}"


def like(here: Schema, path: str) -> str:
    """The bounds of a number, or an example from the schema; "" where it has none."""
    if "integer" in here.get("type", ()) and "pattern" not in here and ("minimum" in here or "maximum" in here):
        return bounds(here)
    shown = [text for one in here.get("examples", ()) if len(text := flow(one)) <= WIDTH]
    return f"write it like {written(path, shown[0])}" if shown else ""


def bounds(here: Schema) -> str:
    """Which numbers may stand here."""
    least, most = here.get("minimum"), here.get("maximum")
    if least is None or most is None:
        return f"write {least} or more" if most is None else f"write {most} or less"
    return f"write a number from {least} to {most}"


def filled(here: Schema, path: str, value: Any, fits: Any) -> str:
    """The map that a lone value was meant to be: with that value under the first key of the example, where it fits.

    Args:
        fits: (schema, value) -> whether the value may stand there.
    """
    examples = [one for one in here.get("examples", ()) if type(one) is dict and one]
    if "object" not in here.get("type", ()) or not examples or type(value) is dict or value in (None, "", []):
        return ""
    for example in examples:
        key = next(iter(example))
        if len(example) > 1 and type(value) is not str:
            continue
        for meant in (value, [value]):
            if fits(here.get("properties", {}).get(key, False), meant):
                rest = example if "required" in here else {}
                text = flow({**rest, key: meant})
                return f"write {written(path, text)}" if len(text) <= WIDTH else ""
    return ""
