"""Rules on the filter of system calls."""

from __future__ import annotations

from runspec.spec.model import Seccomp, Spec, SyscallArg, SyscallRule
from runspec.spec.rules_mounts import Faults, path_fault
from runspec.spec.units import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    # A set of conditions, and where the rule that has them stands.
    Told = dict[str, dict[tuple[tuple[int, str, int, int | None], ...], tuple[str, int | None, str]]]

NUMBERED = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
NOTIFY, MASKED = "SCMP_ACT_NOTIFY", "SCMP_CMP_MASKED_EQ"
PASSING = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", NOTIFY)
# errno(3): what a call answers; ptrace(2): the sixteen bits that a tracer is told.
LARGEST = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 65535}
INSTRUCTIONS = 4096             # BPF_MAXINSNS
SOCKET_PATH = 107               # bytes, unix(7)
# What is still to be done once a filter is in place, in the order in which it is done.
LAST = ("execve",)
EARLY = ("prctl", "setgroups", "setresgid", "setresuid", "capset", "sendmsg", "read", "mmap", "close_range",
         "rt_sigaction", "rt_sigprocmask", "umask", "execve")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


def check_seccomp(faults: Faults, spec: Spec) -> None:
    """All of them."""
    one, at = spec.linux.seccomp, "linux.seccomp"
    if not isinstance(one, Seccomp):
        return
    if one.default_action == NOTIFY:
        faults.add(f"{at}.defaultAction", f"{NOTIFY} cannot be the default",
                   "execve and every other call would wait for the agent, seccomp_unotify(2)",
                   "name the calls in a rule with this action")
    _number(faults, f"{at}.defaultErrnoRet", one.default_action, one.default_errno_ret)
    _listener(faults, one)
    told: Told = {}
    for index, rule in enumerate(one.syscalls):
        _rule(faults, f"{at}.syscalls[{index}]", rule)
        _compare(faults, f"{at}.syscalls[{index}]", rule, one, told)
    # A condition takes one instruction at the least.
    if sum(map(len, told.values())) - len(told) > INSTRUCTIONS:
        faults.add(f"{at}.syscalls", "has more conditions than a filter can hold",
                   f"the kernel takes {INSTRUCTIONS} instructions, seccomp(2)", "say it with fewer rules")
    _needed(faults, spec, one, told)


def _number(faults: Faults, at: str, action: str, number: int | None) -> None:
    if number is None:
        return
    if action not in NUMBERED:
        faults.add(at, f"says nothing with {action}",
                   f"only {' and '.join(NUMBERED)} carry a number, config-linux.md, Seccomp", "remove it")
    elif number > LARGEST[action]:
        faults.add(at, f"{number} is out of range", f"with {action} it goes from 0 to {LARGEST[action]}, seccomp(2)",
                   "write a number in this range")


def _listener(faults: Faults, one: Seccomp) -> None:
    at, asks = "linux.seccomp", any(rule.action == NOTIFY for rule in one.syscalls)
    asks = asks or one.default_action == NOTIFY
    path = one.listener_path
    if asks and path is None:
        faults.add(at, f"{NOTIFY} needs listenerPath", "without an agent such a call would wait for ever",
                   "write listenerPath: /run/agent.sock")
    if path is not None and not asks and not faults.oci:
        faults.add(f"{at}.listenerPath", "nobody is asked", f"no rule says {NOTIFY}", "remove it")
    if path is not None:
        bad = path_fault(path)
        if bad is None and len(path.encode()) > SOCKET_PATH:
            bad = (f"has {len(path.encode())} bytes", f"the path of a socket has at most {SOCKET_PATH}, unix(7)",
                   "shorten it")
        if bad is not None:
            faults.add(f"{at}.listenerPath", *bad)
    if one.listener_metadata is not None and path is None:
        faults.add(f"{at}.listenerMetadata", "needs listenerPath", "config-linux.md, Seccomp", "remove it")
    if "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" in one.flags and not asks:
        faults.add(f"{at}.flags", f"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV says nothing without {NOTIFY}",
                   "seccomp(2) refuses it", "remove it")


def _rule(faults: Faults, at: str, rule: SyscallRule) -> None:
    for index, name in enumerate(rule.names):
        # OCI has names that nobody knows ignored, and so ones that nobody can know.
        if not name and not faults.oci:
            faults.add(f"{at}.names[{index}]", "is empty", "a system call has a name, syscalls(2)", "remove it")
        elif not _LETTERS.issuperset(name) and not faults.oci:
            faults.add(f"{at}.names[{index}]", f"{shown(name)} is no name of a system call",
                       "it is made of small letters, digits and _, syscalls(2)", "write it like openat2")
    _number(faults, f"{at}.errnoRet", rule.action, rule.errno_ret)
    for index, one in enumerate(rule.args):
        _condition(faults, f"{at}.args[{index}]", one)


def _condition(faults: Faults, at: str, one: SyscallArg) -> None:
    if one.index > 5:
        faults.add(f"{at}.index", f"{one.index} is out of range", "a call has six arguments, 0 to 5, syscall(2)",
                   "write a number in this range")
    if one.op != MASKED:
        if one.value_two and not faults.oci:
            faults.add(f"{at}.valueTwo", f"says nothing with {one.op}", f"only {MASKED} looks at it, "
                       "seccomp_rule_add(3)", "remove it")
    elif (one.value_two or 0) & ~one.value:
        faults.add(at, f"never holds: {one.value_two:#x} has bits that the mask {one.value:#x} lacks",
                   "what is left under the mask is compared, seccomp_rule_add(3)", "value is the mask")
    if not faults.oci and one.op in ("SCMP_CMP_LT", "SCMP_CMP_GE") and one.value == 0:
        word = "never" if one.op == "SCMP_CMP_LT" else "always"
        faults.add(at, f"{word} holds", "no argument is less than 0, seccomp_rule_add(3)", "remove it")


def _compare(faults: Faults, at: str, rule: SyscallRule, one: Seccomp, told: Told) -> None:
    """Two rules for one call under equal conditions must say the same; one without any says it all."""
    rows = tuple(sorted((arg.index, arg.op, arg.value, arg.value_two) for arg in rule.args))
    sets = [rows] if len({row[0] for row in rows}) == len(rows) else [(row,) for row in rows]
    for index, name in enumerate(rule.names):
        before = told.setdefault(name, {})
        for conditions in sets:
            found = before.get(conditions) or before.get(()) or (not conditions and next(iter(before.values()), None))
            if found and found[:2] != (rule.action, rule.errno_ret) and not (
                    faults.oci and (conditions not in before or rule.action == one.default_action)):
                number = "" if found[1] is None else f" with {found[1]}"
                which = "" if conditions in before else ", with conditions that are then not looked at" \
                    if not conditions else " without any condition"
                faults.add(f"{at}.names[{index}]", f"{rule.action} for {name} contradicts {found[2]}",
                           f"that says {found[0]}{number}{which}", "remove one of the two")
                break
            before.setdefault(conditions, (rule.action, rule.errno_ret, at))


def _needed(faults: Faults, spec: Spec, one: Seccomp, told: Told) -> None:
    """A filter that refuses what starting takes would refuse the start."""
    early = not spec.process.no_new_privileges
    missing = [name for name in (EARLY if early else LAST) if one.default_action not in PASSING or name in told]
    missing = [name for name in missing if not any(
        action in PASSING for action, _, _ in told.get(name, {}).values())
        and not (one.default_action in PASSING and () not in told.get(name, {}))]
    if not missing:
        return
    why = ("without noNewPrivileges a filter is loaded while the right to do so is there, before the others are dropped"
           if early else "the container's program is started under the filter")
    faults.add("linux.seccomp", f"{', '.join(missing)} must be allowed", why,
               "allow " + ("them" if len(missing) > 1 else "it")
               + (", or write process: {noNewPrivileges: true}" if early else ""))
