"""Compiled filters of system calls: kept under what they were made from, so that equal ones are compiled once."""

from __future__ import annotations

import errno
import os
import stat

from runspec.errors import HostError, SpecError, SyscallError
from runspec.plan.steps import seccomp
from runspec.plan.steps.rootfs import STATE
from runspec.spec import jsonlite
from runspec.spec.model import Seccomp, Spec
from runspec.spec.sha import sha256
from runspec.spec.tree import to_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.kernel import Kernel
    from runspec.plan.planner import Item
    from runspec.plan.steps.seccomp import Filter

# Raised whenever equal input gives another program; part of the key.
LAYOUT = 1
ROOM = f"{STATE}/cache/seccomp"
_DIGEST = 32        # bytes of SHA-256, before the program: a file cut short by a power failure is told by it


def announce(items: list[Item]) -> None:
    """A plan that is only looked at says that there are filters, which nobody compiles for it."""
    for item in items:
        item.seccomp = seccomp.Filter(key="", program=b"") if item.wanted.linux.seccomp is not None else None


class Filters:
    """The filters of one run.

    Args:
        room: the directory of compiled ones; nobody but us may write there, or anywhere above.
    """

    def __init__(self, kernel: Kernel, room: str = ROOM) -> None:
        self.kernel, self.room = kernel, room
        self._known: dict[object, Filter] = {}
        self._default = b""

    def find(self, spec: Spec) -> Filter | None:
        """The filter of a spec, compiled where nobody did so before; None where it has none.

        Raises:
            SpecError: the library refuses it.
            HostError: there is no library.
        """
        asked = spec.linux.seccomp
        if asked is None:
            return None
        sign: object = asked if isinstance(asked, Seccomp) else spec.process.capabilities.bounding
        if sign not in self._known:
            self._known[sign] = self._find(spec, asked)
        return self._known[sign]

    def _find(self, spec: Spec, asked: Seccomp | str) -> Filter:
        if isinstance(asked, str):
            from runspec.spec.seccomp import default_text

            self._default = self._default or default_text()
            text, bits = self._default.decode() + " ".join(sorted(spec.process.capabilities.bounding)), 0
        else:
            # What is told to the kernel or the agent beside the program makes no other program.
            bare = asked.replace(flags=(), listener_path=None, listener_metadata=None)
            text, bits = jsonlite.dumps(to_tree(bare)), seccomp.flags(asked)
        key = sha256(f"{LAYOUT} {self.kernel.filter_compiler()} {text}".encode()).hexdigest()
        program = self.load(key)
        if program is None:
            program = self._compile(spec)
            self._keep(key, program)
        return seccomp.Filter(key=key, program=program, flags=bits)

    def again(self, spec: Spec, key: str) -> Filter:
        """The filter that a running container's init was given.

        Args:
            key: what its Record says.
        """
        program = self.load(key)
        asked = spec.linux.seccomp
        bits = seccomp.flags(asked) if isinstance(asked, Seccomp) else 0
        return seccomp.Filter(key=key, program=self._compile(spec) if program is None else program, flags=bits)

    def load(self, key: str) -> bytes | None:
        """A program of the cache, None where there is none that can be trusted."""
        if not self._ours():
            return None
        text = self.kernel.read_own(f"{self.room}/{key}")
        if text is None or len(text) <= _DIGEST or sha256(text[_DIGEST:]).digest() != text[:_DIGEST]:
            return None
        return text[_DIGEST:]

    def _ours(self) -> bool:
        """Whether the room is there; another's, or one in which others may write, is as good as none."""
        path = self.room
        while path.startswith(STATE) or path == self.room:
            found = self.kernel.stat(path, follow=False)
            if (found is None or not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid()
                    or found.st_mode & 0o022):
                return False
            path = os.path.dirname(path)
        return True

    def _keep(self, key: str, program: bytes) -> None:
        """Write it down; a disk that is full or read-only costs the next run a compilation, no more."""
        try:
            above = os.path.dirname(self.room)
            self.kernel.make_dirs(os.path.dirname(above))
            for path in (above, self.room):
                if not self.kernel.exists(path):
                    self.kernel.make_dir(path, 0o700)
            if not self._ours():
                return
            lock = self.kernel.lock_dir(self.room)
            try:
                self.kernel.replace_file(f"{self.room}/{key}", sha256(program).digest() + program)
            finally:
                self.kernel.unlock(lock)
        except SyscallError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EAGAIN):
                raise

    def _compile(self, spec: Spec) -> bytes:
        from runspec.spec.seccomp import rules_of

        one = rules_of(spec, os.uname().machine)
        assert one is not None
        try:
            return self.kernel.compile_filter(seccomp.number(one.default_action, one.default_errno_ret),
                                              one.architectures, seccomp.rules(one))
        except SyscallError as error:
            raise refused(error) from None


def refused(error: SyscallError) -> SpecError | HostError:
    """The library's word in the user's terms."""
    if error.call == "seccomp_arch_add":
        if error.errno == errno.EDOM:
            return SpecError(f"linux.seccomp.architectures: {error.path} has another byte order than this machine",
                             "one filter holds calls of one order, seccomp_arch_add(3)", "remove it")
        return SpecError(f"linux.seccomp.architectures: libseccomp does not know {error.path}",
                         "seccomp_arch_add(3)", "remove it, or install a newer libseccomp")
    if error.errno == errno.E2BIG:
        return SpecError(f"linux.seccomp: compiled it is {error.path}", "the kernel takes 4096 at most, seccomp(2)",
                         "say it with fewer rules")
    word = os.strerror(error.errno or 0)
    if error.call == "seccomp_rule_add":
        return SpecError(f"linux.seccomp.syscalls: libseccomp refuses a rule for {error.path}: {word}",
                         "seccomp_rule_add(3)", "see whether another rule contradicts it")
    return SpecError(f"linux.seccomp: libseccomp refuses it: {word}", error.call,
                     "see whether its rules contradict each other")
