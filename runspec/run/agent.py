"""The agent of SCMP_ACT_NOTIFY: who answers calls in the container's place gets the filter's listener."""

from __future__ import annotations

import errno
import os

from runspec.errors import HostError, SyscallError
from runspec.plan.steps.rootfs import STATE
from runspec.spec import jsonlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.kernel import Child, Kernel, Report
    from runspec.run.store import Record

OCI_VERSION = "1.3.0"


def introduce(kernel: Kernel, child: Child, report: Report, record: Record, status: str) -> None:
    """Send a child's listener to the socket at listenerPath, then let the child go on.

    Args:
        report: the child's REPORT_LISTENER, whose descriptor is closed here.
        record: of the container; status: the container's, as its state says it.

    Raises:
        HostError: nobody takes it.
    See: runtime.md "The Container Process State", seccomp_unotify(2).
    """
    listener = -1
    try:
        try:
            listener, address = kernel.take_listener(child, report)
        except SyscallError as error:
            if error.errno == errno.EPROTO:
                return      # the filter was refused: the child's next report says so
            raise
        asked = record.spec["linux"]["seccomp"]
        path = asked["listenerPath"]
        try:
            kernel.send_descriptor(path, message(child.pid, record, status, asked.get("listenerMetadata")), listener)
        except SyscallError as error:
            raise HostError(f"linux.seccomp.listenerPath: nobody takes the listener at {path}: "
                            f"{os.strerror(error.errno or 0)}",
                            "the agent listens there on a stream socket before a container starts, unix(7)",
                            "start the agent first") from None
        kernel.wake(report, address)
    finally:
        for fd in (listener, report.fd):
            if fd >= 0:
                kernel.close(fd)


def message(pid: int, record: Record, status: str, metadata: str | None) -> bytes:
    """The container process state that goes with the descriptor."""
    state = {"ociVersion": OCI_VERSION, "id": record.name, "status": status, "pid": pid,
             "bundle": record.bundle or f"{STATE}/{record.name}", "annotations": record.spec.get("annotations") or {}}
    tree: dict[str, Any] = {"ociVersion": OCI_VERSION, "fds": ["seccompFd"], "pid": pid}
    if metadata is not None:
        tree["metadata"] = metadata
    return jsonlite.dumps({**tree, "state": state}).encode()
