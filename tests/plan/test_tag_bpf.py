"""The two programs of a VLAN without its driver: the kernel takes them, and runs them on packets of the test's own."""

from __future__ import annotations

import ctypes
import os
import struct

import pytest
from conftest import requires

from runspec import abi
from runspec.kernel import Kernel
from runspec.plan import tag_bpf

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_BPF = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine)
TEST_RUN = 10       # BPF_PROG_TEST_RUN
FRAME = bytes.fromhex("ffffffffffff02000000000108004500002e") + bytes(60)


def run(program: bytes, frame: bytes) -> int:
    """What a program answers to a frame, bpf(2) BPF_PROG_TEST_RUN."""
    kernel = Kernel()
    fd = kernel.load_classifier(program, "test")
    room = ctypes.create_string_buffer(frame, len(frame))
    attr = ctypes.create_string_buffer(struct.pack("=IIIIQQIIIIQQ", fd, 0, len(frame), 0, ctypes.addressof(room), 0,
                                                   1, 0, 0, 0, 0, 0), 80)
    try:
        if LIBC.syscall(SYS_BPF, TEST_RUN, attr, 80) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        kernel.close(fd)
    return struct.unpack_from("=i", attr, 4)[0]


def test_both_say_what_they_are_made_of() -> None:
    """As many instructions as it takes, each eight bytes; other numbers are other programs."""
    programs = {tag_bpf.untag(number, protocol, index) for number in (1, 10, 4094) for protocol in ("802.1Q", "802.1ad")
                for index in (2, 2**31 - 1)}
    assert len(programs) == 12 and {len(one) % 8 for one in programs} == {0}
    assert len({tag_bpf.tag(10, "802.1Q", 2), tag_bpf.tag(10, "802.1ad", 2), tag_bpf.tag(11, "802.1Q", 2)}) == 3


@requires("root")
@pytest.mark.both
@pytest.mark.parametrize("protocol", ["802.1Q", "802.1ad"])
def test_the_kernel_takes_them(protocol: str) -> None:
    """A frame without a tag passes on to the next filter; one to be tagged is sent elsewhere."""
    if SYS_BPF is None:
        pytest.skip("the number of bpf(2) is not known on this machine")
    for number in (1, 4094):
        assert run(tag_bpf.untag(number, protocol, 0x1FFFFFFF), FRAME) == abi.TC_ACT_UNSPEC
        assert run(tag_bpf.tag(number, protocol, 1), FRAME) == abi.TC_ACT_REDIRECT
    assert run(tag_bpf.nothing(), FRAME) == abi.TC_ACT_UNSPEC
