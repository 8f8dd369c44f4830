"""Making groups where the group above has processes of its own, as inside another container."""

from __future__ import annotations

import errno

import pytest

from runspec.errors import SyscallError
from runspec.plan.steps.cgroup import MakeCgroups


class Busy:
    """A kernel whose cgroup2 hands nothing down."""

    def read_text(self, path: str) -> str:
        return "\n"

    def write(self, path: str, text: str) -> None:
        raise SyscallError("write", path, errno.EBUSY)


@pytest.mark.parametrize(("enable", "works"), [
    ((), True), (("hugetlb",), True), (("hugetlb", "rdma"), True), (("memory",), False), (("cpu", "hugetlb"), False)])
def test_what_few_ask_for_may_be_missing(enable: tuple[str, ...], works: bool) -> None:
    step = MakeCgroups(target="a", groups=(("", "/up/a"),), enable=enable)
    if works:
        step._hand_down(Busy(), "/up")
        return
    with pytest.raises(SyscallError, match="busy"):
        step._hand_down(Busy(), "/up")
