"""Programs of type BPF_PROG_TYPE_SCHED_CLS: what a filter on a link does to packets, tc-bpf(8).

They begin with the packet's description (struct __sk_buff) in R1; their offsets into the packet count from
its link-layer header, wherever they are attached. None of their helpers asks for a licence of the kernel's.
"""

from __future__ import annotations

from runspec import abi
from runspec.errors import SpecError
from runspec.plan.bpf import MAX_INSTRUCTIONS, insn

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, STACK = range(11)

ETHERNET = 14               # bytes of the header before IPv4's or IPv6's
BYTE, HALF, WORD = abi.BPF_B, abi.BPF_H, abi.BPF_W
_SIZES = {BYTE: 1, HALF: 2, WORD: 4}


class Assembler:
    """A program in the making: instructions, and labels to jump to, forwards only.

    R6 to R9 outlive calls of helpers, R1 to R5 do not; `read` and `put` need the description in R6.
    """

    __slots__ = ("_code", "_jumps", "_labels")

    def __init__(self) -> None:
        self._code: list[bytes] = []
        self._jumps: list[tuple[int, str]] = []
        self._labels: dict[str, int] = {}

    def add(self, code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> None:
        """Any one instruction, see bpf.insn."""
        self._code.append(insn(code, to, source, offset, value))

    def label(self, name: str) -> None:
        """What follows is reached by jumps to this name."""
        self._labels[name] = len(self._code)

    def move(self, to: int, source: int) -> None:
        """All 64 bits of a register."""
        self.add(abi.BPF_ALU64 | abi.BPF_MOV | abi.BPF_X, to, source)

    def set(self, to: int, value: int) -> None:
        """A number, its sign extended."""
        self.add(abi.BPF_ALU64 | abi.BPF_MOV | abi.BPF_K, to, value=value)

    def load(self, size: int, to: int, base: int, offset: int) -> None:
        """From memory: a field of the description (WORD, SKB_*), or of the stack."""
        self.add(abi.BPF_LDX | abi.BPF_MEM | size, to, base, offset)

    def store(self, size: int, base: int, offset: int, source: int) -> None:
        """To memory: the stack, or a field of the description that may be written."""
        self.add(abi.BPF_STX | abi.BPF_MEM | size, base, source, offset)

    def alu(self, operation: int, to: int, value: int) -> None:
        """BPF_AND, BPF_OR, BPF_ADD, BPF_LSH, BPF_RSH ... of a register's lower half and a number."""
        self.add(abi.BPF_ALU | operation | abi.BPF_K, to, value=value)

    def alu_register(self, operation: int, to: int, source: int) -> None:
        """The same of two registers."""
        self.add(abi.BPF_ALU | operation | abi.BPF_X, to, source)

    def network_order(self, register: int, bits: int) -> None:
        """From the machine's order of bytes to the network's, or back; 16 or 32 bits, the rest zero."""
        self.add(abi.BPF_ALU | abi.BPF_END | abi.BPF_TO_BE, register, value=bits)

    def branch(self, condition: int, register: int, value: int, label: str) -> None:
        """Jump where a register's lower half and a number meet BPF_JEQ, BPF_JNE, BPF_JSET ..."""
        self._jumps.append((len(self._code), label))
        self.add(abi.BPF_JMP32 | condition | abi.BPF_K, register, value=value)

    def branch_register(self, condition: int, register: int, other: int, label: str) -> None:
        """The same of two registers."""
        self._jumps.append((len(self._code), label))
        self.add(abi.BPF_JMP32 | condition | abi.BPF_X, register, other)

    def go(self, label: str) -> None:
        """Jump always."""
        self._jumps.append((len(self._code), label))
        self.add(abi.BPF_JMP | abi.BPF_JA)

    def call(self, helper: int) -> None:
        """R0 = BPF_FUNC_* of R1 to R5, which are lost."""
        self.add(abi.BPF_JMP | abi.BPF_CALL, value=helper)

    def _room(self, register: int) -> None:
        """A register leads to the eight bytes of the stack that `read` and `put` use."""
        self.move(register, STACK)
        self.add(abi.BPF_ALU64 | abi.BPF_ADD | abi.BPF_K, register, value=-8)

    def read(self, size: int, to: int, offset: int, missing: str) -> None:
        """From the packet into a register, in the machine's order of bytes; R0 to R5 are lost.

        Args:
            missing: the label where it goes on if the packet is too short.
        """
        self.move(R1, R6)
        self.set(R2, offset)
        self._room(R3)
        self.set(R4, _SIZES[size])
        self.call(abi.BPF_FUNC_skb_load_bytes)
        self.branch(abi.BPF_JNE, R0, 0, missing)
        self.load(size, to, STACK, -8)
        if size != BYTE:
            self.network_order(to, _SIZES[size] * 8)

    def put(self, size: int, offset: int, source: int, flags: int = 0) -> None:
        """Into the packet, from a register in the network's order of bytes; R0 to R5 are lost.

        Args:
            flags: BPF_F_RECOMPUTE_CSUM where no other checksum of the packet balances the change.
        """
        self.store(size, STACK, -8, source)
        self.move(R1, R6)
        self.set(R2, offset)
        self._room(R3)
        self.set(R4, _SIZES[size])
        self.set(R5, flags)
        self.call(abi.BPF_FUNC_skb_store_bytes)

    def leave(self, answer: int) -> None:
        """The end, with TC_ACT_* where the filter acts directly: TC_ACT_UNSPEC asks the next filter."""
        self.set(R0, answer)
        self.add(abi.BPF_JMP | abi.BPF_EXIT)

    def code(self) -> bytes:
        """The program.

        Raises:
            SpecError: there are more instructions than a program may hold.
        """
        if len(self._code) > MAX_INSTRUCTIONS:
            raise SpecError(f"a program of {len(self._code)} instructions",
                            f"it holds at most {MAX_INSTRUCTIONS}, bpf(2)")
        for at, label in self._jumps:
            offset = self._labels[label] - at - 1
            one = self._code[at]
            self._code[at] = one[:2] + offset.to_bytes(2, "little", signed=True) + one[4:]
        self._jumps = []
        return b"".join(self._code)


def mark(dscp: int | None = None, priority: int | None = None, group: int | None = None,
         answer: int = abi.TC_ACT_UNSPEC) -> bytes:
    """A program that marks every packet.

    Args:
        dscp: the six upper bits of IPv4's "type of service" and IPv6's "traffic class"; the two of congestion
            notification stay. RFC 2474, RFC 3168.
        priority: the packet's priority, as SO_PRIORITY sets it, socket(7).
        group: the packet's tc_index, 16 bits: a number for the next queueing discipline to read.
        answer: what the filter says in the end.
    """
    out = Assembler()
    out.move(R6, R1)
    for value, field in ((priority, abi.SKB_PRIORITY), (group, abi.SKB_TC_INDEX)):
        if value is not None:
            out.set(R2, value)
            out.store(WORD, R6, field, R2)
    if dscp is not None:
        out.load(WORD, R7, R6, abi.SKB_PROTOCOL)
        out.network_order(R7, 16)
        out.branch(abi.BPF_JEQ, R7, abi.ETH_P_IPV6, "v6")
        out.branch(abi.BPF_JNE, R7, abi.ETH_P_IP, "end")
        _rewrite(out, ~0xFC & 0xFFFF, dscp << 2)
        # The header's own checksum, ten bytes into it, is mended by the difference of the two words.
        out.move(R1, R6)
        out.set(R2, ETHERNET + 10)
        out.move(R3, R8)
        out.move(R4, R9)
        out.set(R5, 2)
        out.call(abi.BPF_FUNC_l3_csum_replace)
        out.put(HALF, ETHERNET, R9)
        out.go("end")
        out.label("v6")
        _rewrite(out, ~0xFC0 & 0xFFFF, dscp << 6)
        out.put(HALF, ETHERNET, R9, abi.BPF_F_RECOMPUTE_CSUM)
        out.label("end")
    out.leave(answer)
    return out.code()


def place(major: int) -> bytes:
    """A program that tells a packet's class by its tc_index, 0 of one without: a filter's that does not act directly.

    Args:
        major: of the classes' handles.
    """
    out = Assembler()
    out.load(WORD, R0, R1, abi.SKB_TC_INDEX)
    out.branch(abi.BPF_JEQ, R0, 0, "end")
    out.alu(abi.BPF_OR, R0, major << 16)
    out.label("end")
    out.add(abi.BPF_JMP | abi.BPF_EXIT)
    return out.code()


def _rewrite(out: Assembler, keep: int, bits: int) -> None:
    """R8 = the first word of the IP header, R9 = what it becomes, in the network's order; at the end if equal."""
    out.read(HALF, R8, ETHERNET, "end")
    out.move(R9, R8)
    out.alu(abi.BPF_AND, R9, keep)
    out.alu(abi.BPF_OR, R9, bits)
    out.branch_register(abi.BPF_JEQ, R8, R9, "end")
    out.network_order(R8, 16)
    out.network_order(R9, 16)
