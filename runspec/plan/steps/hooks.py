"""Hooks: programs of the user's that run at six points of a container's life.

prestart and createRuntime run in our own namespaces and createContainer in the container's, all three once
its mounts are made and before it pivots; startContainer inside it before its program; poststart once that
runs; poststop once the container is gone. A new init is a new life: restart ends the old one's with poststop.

See: runtime.md "Lifecycle", config.md "POSIX-platform Hooks".
"""

from __future__ import annotations

import os
from errno import ECHILD, ETIMEDOUT

from runspec import abi
from runspec.errors import HostError
from runspec.plan.steps.base import FINISH, HOOKS, ChildStep, HostStep, Step, Table, words
from runspec.plan.steps.namespaces import BARRIER_HOOKS, ReleaseInit, WaitForHost
from runspec.spec.model import Hook, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_VERSION = "1.3.0"
# Of a hook's last words, as many as a reader takes in.
LINES, CHARACTERS = 8, 1000
STATUS = 4              # bytes before them: the wait status
# OCI's word -> (field of Hooks, the container's status as its hooks are told).
KINDS = {"prestart": ("prestart", "creating"), "createRuntime": ("create_runtime", "creating"),
         "createContainer": ("create_container", "creating"), "startContainer": ("start_container", "created"),
         "poststart": ("poststart", "running"), "poststop": ("poststop", "stopped")}


def listed(spec: Spec, kind: str) -> tuple[Hook, ...]:
    """The hooks of one kind, OCI's word."""
    found: tuple[Hook, ...] = getattr(spec.hooks, KINDS[kind][0])
    return found


def hook_op(table: Table, hook: Hook, dir: int = abi.HOST_CWD) -> None:
    """One hook as an operation; without arguments its path is the first."""
    table.add(abi.OP_HOOK, dir=dir, s1=words((hook.path, *(hook.args or (hook.path,)))), s2=words(hook.env),
              a=(hook.timeout or 0) * 1000)


def started_by(spec: dict[str, Any], told: bytes) -> str:
    """The path of the startContainer hook that an init at its gate reports by its words.

    Args:
        spec: as a Record has it.
        told: the words, cut where they are very long: then no index is known.
    """
    own: list[dict[str, Any]] = spec.get("hooks", {}).get("startContainer", [])
    for nth, one in enumerate(own):
        if words((one["path"], *(one.get("args") or (one["path"],)))).rstrip(b"\0") == told.rstrip(b"\0"):
            return f"hooks.startContainer[{nth}]"
    return "hooks.startContainer"


def state(name: str, kind: str, bundle: str, annotations: tuple[tuple[str, str], ...], pid: int | None = None,
          ) -> tuple[str, str]:
    """The container's state as its hooks read it, in two parts with the pid between them.

    Args:
        pid: None where the interpreter fills in its own, 0 for none at all.
    See: runtime.md "State".
    """
    import json

    tree = {"ociVersion": OCI_VERSION, "id": name, "status": KINDS[kind][1], "bundle": bundle}
    rest = json.dumps(tree | ({"annotations": dict(annotations)} if annotations else {}))
    if pid == 0:
        return rest, ""
    return '{"pid": ' + (str(pid) if pid else ""), ", " + rest[1:]


def failure(op: abi.Op, errno: int, data: bytes) -> HostError:
    """Why a hook failed, from what the interpreter reported of it.

    Args:
        errno: ECHILD for its own failure, ETIMEDOUT, or why it could not be executed.
        data: its wait status, then its last words.
    """
    path = op.s1.partition(b"\0")[0].decode("utf-8", "replace")
    number = int.from_bytes(data[:STATUS], "little")
    if errno == ETIMEDOUT:
        what = f"did not end within {op.a / 1000:g} s and was killed"
    elif errno != ECHILD:
        reason = os.strerror(errno)
        what = f"cannot be executed: {reason[:1].lower()}{reason[1:]}"
    elif number & 0x7f:
        what = f"was killed by signal {number & 0x7f}"
    else:
        what = f"ended with status {number >> 8}"
    return HostError(f"hook {path} {what}", last_words(data[STATUS:]), "mend it, or remove it from the hooks")


def last_words(said: bytes) -> str:
    """The end of what a hook said, without what a terminal would obey."""
    text = said.decode("utf-8", "replace")[-CHARACTERS:]
    lines = ["".join(char if char.isprintable() else "?" for char in line.expandtabs()) for line in text.splitlines()]
    kept = [line for line in lines if line.strip()][-LINES:]
    return "its last words were: " + "\n    ".join(kept) if kept else "it said nothing"


class RunHook(HostStep):
    """Runs one hook in our own namespaces and waits for it."""

    PHASE = HOOKS
    kind: str
    hook: Hook
    bundle: str
    annotations: tuple[tuple[str, str], ...] = ()

    def apply(self, kernel: Any, run: Any) -> Any:
        """poststop only warns; all else fails the operation."""
        if self.kind == "poststart":
            run.confirm(self.target)
        try:
            self.call(kernel, 0 if self.kind == "poststop" else run.pid(self.target))
        except HostError as error:
            if self.kind != "poststop":
                raise
            run.warn(f"{self.target}: {self.path}: {error.what}; {error.why}")

    def call(self, kernel: Any, pid: int) -> None:
        """Run it.

        Raises:
            HostError: it failed.
        """
        table = Table()
        # The bundle is where hooks are at home; it may be gone by now.
        table.add(abi.OP_IGNORE_NEXT)
        table.add(abi.OP_CHDIR, s1=self.bundle)
        before, after = state(self.target, self.kind, self.bundle, self.annotations, pid)
        table.add(abi.OP_HOOK_STATE, s1=before, s2=after)
        hook_op(table, self.hook)
        errno, data = kernel.run_hook(table.ops, table.patience(GRACE))
        if errno:
            raise failure(table.ops[-1], errno, data)

    def __str__(self) -> str:
        return f"run {self.kind} hook {self.hook.path}"


GRACE = 30.0        # seconds beside a hook's own: to start it, and to see it end


class RunLateHook(RunHook):
    """A hook at the end of a run: poststart, poststop."""

    PHASE = FINISH


class OwePoststop(HostStep):
    """From here on a failure ends the container's life as its end would: with the poststop hooks, after all else."""

    PHASE = HOOKS
    UNDO_LAST = True
    hooks: tuple[RunHook, ...]

    def apply(self, kernel: Any, run: Any) -> Any:
        """Nothing: being in the journal is what counts."""

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """runtime.md "Lifecycle", steps 3 to 9: continue at step 12."""
        for one in self.hooks:
            one.apply(kernel, run)

    def __str__(self) -> str:
        return f"owe the poststop hooks of {self.target}"


class ReleaseHooks(ReleaseInit):
    """Lets a child go on that waited for the hooks of the host side."""

    PHASE = HOOKS


class RunInside(ChildStep):
    """Hooks that run in the container's namespaces: of createContainer with the host's files still at hand."""

    kind: str
    hooks: tuple[Hook, ...]
    bundle: str
    annotations: tuple[tuple[str, str], ...] = ()

    def ops(self, table: Table) -> None:
        """createContainer begins in the container's root, startContainer in the program's working directory."""
        before, after = state(self.target, self.kind, self.bundle, self.annotations)
        table.add(abi.OP_HOOK_STATE, s1=before, s2=after, a=1)
        where = table.named.get("root", abi.HOST_CWD) if self.kind == "createContainer" else abi.HOST_CWD
        for hook in self.hooks:
            hook_op(table, hook, where)

    def __str__(self) -> str:
        return f"run {self.kind} hooks {', '.join(one.path for one in self.hooks)}"


def host_hooks(spec: Spec, kind: str, bundle: str) -> list[RunHook]:
    """The Steps of one kind that runs in our own namespaces."""
    make = RunLateHook if kind in ("poststart", "poststop") else RunHook
    return [make(target=spec.name, path=f"hooks.{kind}[{i}]", kind=kind, hook=one, bundle=bundle,
                 annotations=spec.annotations) for i, one in enumerate(listed(spec, kind))]


def any_of(spec: Spec) -> bool:
    """Whether a child must wait for them: poststop counts, which a failure from then on brings about."""
    return any(listed(spec, kind) for kind in ("prestart", "createRuntime", "createContainer", "poststop"))


def adds(spec: Spec) -> bool:
    """Whether hooks may rightly have added mounts or links that no key declares."""
    return any(listed(spec, kind) for kind in KINDS if kind != "poststop")


def create(spec: Spec, bundle: str) -> list[Step]:
    """The host side's part of the creation, while the child waits before it pivots."""
    if not any_of(spec):
        return []
    steps: list[Step] = []
    owed = host_hooks(spec, "poststop", bundle)
    if owed:
        steps.append(OwePoststop(target=spec.name, path="hooks.poststop", hooks=tuple(owed)))
    steps += host_hooks(spec, "prestart", bundle)
    steps += host_hooks(spec, "createRuntime", bundle)
    steps.append(ReleaseHooks(target=spec.name))
    return steps


def wait(spec: Spec, bundle: str) -> list[ChildStep]:
    """The child's part of the creation."""
    return [WaitForHost(target=spec.name, number=BARRIER_HOOKS), *_inside(spec, "createContainer", bundle)] \
        if any_of(spec) else []


def start(spec: Spec, bundle: str) -> list[ChildStep]:
    """The child's part of the start."""
    return _inside(spec, "startContainer", bundle)


def _inside(spec: Spec, kind: str, bundle: str) -> list[ChildStep]:
    found = listed(spec, kind)
    return [RunInside(target=spec.name, path=f"hooks.{kind}", kind=kind, hooks=found, bundle=bundle,
                      annotations=spec.annotations)] if found else []


def started(spec: Spec, bundle: str) -> list[Step]:
    """What follows a start."""
    return list(host_hooks(spec, "poststart", bundle))


def stopped(spec: Spec, bundle: str) -> list[Step]:
    """What follows a container's end."""
    return list(host_hooks(spec, "poststop", bundle))
