"""nftables by the host's nft(8): a whole transaction in, a table as JSON out.

The program is run once for each batch, as the host's other tools are: nothing of it is loaded into this
process, it ends in time or is killed, and it dies with us. (libnftables in this process would spare about
7 ms of each call, and bring four libraries that must not be wrong.)
"""

from __future__ import annotations

import os
from _signal import SIGKILL  # type: ignore[import-not-found]

from runspec import abi
from runspec.errors import HostError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Fixed directories: the caller's PATH must not decide what runs as root.
PLACES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin")
SECONDS = 30.0
_MOST = 1 << 26         # bytes of a listing
_LINES = 3              # the first of what it complains; what follows comes of them
_PROTOCOLS = {6: "tcp", 17: "udp"}


class Nft:
    """The part of Kernel that writes and reads nftables."""

    def _act(self, name: str) -> None:
        raise AssertionError(name)

    def exists(self, path: str) -> bool:
        raise AssertionError(path)

    def program(self, ops: Sequence[abi.Op], slots: Sequence[int] = (), flags: int = 0, stdin: int = -1,
                seconds: float = 60.0, most: int = 1 << 20) -> tuple[int, bytes, bytes]:
        raise AssertionError(ops)

    def nft_program(self) -> str | None:
        """Where nft is, None where it is not installed."""
        return next((f"{place}/nft" for place in PLACES if self.exists(f"{place}/nft")), None)

    def nft(self, text: str, check: bool = False) -> None:
        """Do one transaction, all of it or nothing.

        Args:
            text: nft's own language.
            check: only ask the kernel whether it would.
        Raises:
            HostError: there is no nft, or it or the kernel refuses.
        """
        fd = os.memfd_create("nft", os.MFD_CLOEXEC)
        try:
            data = memoryview(text.encode())
            while data:
                data = data[os.write(fd, data):]
            os.lseek(fd, 0, os.SEEK_SET)
            if not check:
                self._act("nft")
            status, _, complaint = self._nft((*["-c"] * check, "-f", "-"), fd)
        finally:
            os.close(fd)
        if status:
            raise HostError(f"nftables: {_told(complaint)}", f"nft(8) ended with status {status}",
                            "see `nft list ruleset`")

    def nft_list(self, *what: str) -> bytes | None:
        """`nft -j list` of something, None where there is no such thing.

        Raises:
            HostError: there is no nft, or it fails otherwise.
        """
        status, out, complaint = self._nft(("-j", "list", *what))
        if not status:
            return out
        if b"No such file or directory" in complaint:
            return None
        raise HostError(f"nftables: {_told(complaint)}", f"`nft list {' '.join(what)}` ended with status {status}",
                        "run it as root, on a kernel with nftables")

    def _nft(self, args: tuple[str, ...], stdin: int = -1) -> tuple[int, bytes, bytes]:
        program = self.nft_program()
        if program is None:
            raise HostError("there is no nft", f"it is in none of {', '.join(PLACES)}", "apt-get install nftables")
        words = "\0".join((program, *args, "")).encode()
        ops = (abi.Op(abi.OP_PRCTL, a=abi.PR_SET_PDEATHSIG, b=SIGKILL),     # a killed runspec leaves nobody at work
               abi.Op(abi.OP_EXEC, s1=words, s2=b"LC_ALL=C\0"))
        try:
            return self.program(ops, (), 0, stdin, SECONDS, _MOST)
        except SyscallError as error:
            if error.call == "execve":
                raise HostError(f"nft did not end within {SECONDS:g} s", "it was killed",
                                "see what keeps it, such as a large set of others, then run it again") from None
            raise


def _told(complaint: bytes) -> str:
    lines = [line.strip() for line in complaint.decode("utf-8", "replace").splitlines()
             if line.strip() and not line.strip().startswith(("^", "~"))]
    return "; ".join(lines[:_LINES])[:600] or "it refuses"


def parse_table(data: bytes) -> dict[str, Any]:
    """A table out of `nft -j list table`, as the fields of plan.nft.Table.

    Raises:
        HostError: it is not what nft writes.
    """
    import json

    sets: set[str] = set()
    chains: dict[str, tuple[str, str, int, str] | None] = {}
    rules: dict[str, list[str]] = {}
    elements: dict[tuple[str, str], tuple[str, str]] = {}
    try:
        for row in json.loads(data)["nftables"]:
            [(kind, one)] = row.items()
            if kind == "chain":
                chains[one["name"]] = (one["type"], one["hook"], one["prio"], one["policy"]) if "hook" in one else None
            elif kind == "rule":
                rules.setdefault(one["chain"], []).append(one.get("comment", ""))
            elif kind in ("set", "map"):
                sets.add(one["name"])
                for element in one.get("elem", ()):
                    key, value = element if kind == "map" else (element, "")
                    said = ""
                    if isinstance(key, dict) and "elem" in key:
                        key, said = key["elem"]["val"], key["elem"].get("comment", "")
                    elements[one["name"], _words(key)] = _words(value) if value != "" else "", said
    except (AttributeError, ValueError, KeyError, TypeError) as error:
        raise HostError("nft lists what cannot be read", str(error), "see `nft -j list table inet runspec`") from None
    return {"sets": frozenset(sets), "chains": chains, "elements": elements,
            "rules": {chain: tuple(found) for chain, found in rules.items()}}


def _words(value: Any) -> str:
    """A key or value of an element as text: `tcp . 127.0.0.1 . 8080`."""
    if isinstance(value, dict):
        if "concat" in value:
            first, *rest = value["concat"]
            return " . ".join((_PROTOCOLS[first] if first in (6, 17) else _words(first), *map(_words, rest)))
        if "prefix" in value:
            return f"{value['prefix']['addr']}/{value['prefix']['len']}"
        if "range" in value:
            return "-".join(_words(one) for one in value["range"])
        raise ValueError(f"element {value}")
    return str(value)
