"""Closed lists of words that files use, in the kernel's order."""

from __future__ import annotations

_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE"
    " NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT"
    " SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE"
    " AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
    " PERFMON BPF CHECKPOINT_RESTORE")
_RLIMITS = ("CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO"
            " RTTIME")

# By number, capabilities(7) and getrlimit(2).
CAPABILITIES = tuple("CAP_" + word for word in _CAPABILITIES.split())
RLIMITS = tuple("RLIMIT_" + word for word in _RLIMITS.split())
CAPABILITY_NUMBER = {name: number for number, name in enumerate(CAPABILITIES)}

NAMESPACES = ("user", "pid", "mount", "uts", "ipc", "network", "cgroup", "time")
PROPAGATIONS = ("private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave", "runbindable")
CLOCKS = ("boottime", "monotonic")


def nearest(word: str, known: tuple[str, ...]) -> str:
    """The known word most like a misspelt one, or empty where none is near.

    Args:
        word: what the file has.
        known: the words that would be right.
    """
    import difflib

    found = difflib.get_close_matches(word, known, 1, 0.7) or difflib.get_close_matches(
        word.upper().removeprefix("CAP_").removeprefix("RLIMIT_"),
        [one.removeprefix("CAP_").removeprefix("RLIMIT_") for one in known], 1, 0.7)
    if not found:
        return ""
    return next((one for one in known if one == found[0] or one.endswith("_" + found[0])), found[0])
