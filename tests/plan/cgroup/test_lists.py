"""Files with a line for each disk, page size, device or interface: what is written, and what their text means."""

from __future__ import annotations

from typing import Any

import pytest

from runspec.plan import cgroup
from runspec.plan.cgroup import lists
from runspec.plan.facts import Facts
from runspec.plan.host import Host
from runspec.plan.values import UNKNOWN
from runspec.spec.model import (
    BlockIO,
    HugepageLimit,
    InterfacePriority,
    NetworkGroup,
    Rdma,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

AT = "linux.resources"
V1 = Host(hierarchies=tuple((name, f"/cg/{name}") for name in ("blkio", "hugetlb", "net_cls", "net_prio", "rdma")))
V2 = Host(unified="/cg", controllers2=("hugetlb", "io", "pids", "rdma"),
          features=("bfq 8:0", "io.bfq.weight", "io.weight"))


def written(resources: Resources, host: Host, now: dict[tuple[str, str], str] | None = None,
            last: Resources | None = None) -> list[tuple[str, str, str | None]]:
    """(file, value, what takes it back) of each write."""
    return [(one.file, one.value, one.before) for one in cgroup.writes(resources, last, host, now or {})]


def seen(resources: Resources, host: Host, last: Resources | None = None, **files: str) -> dict[str, Any]:
    """What such texts mean; underscores stand for dots in the names of files, which are all of v2."""
    facts = Facts("running")
    facts.files = {("", name.replace("_", ".")): text for name, text in files.items()}
    return {path.removeprefix(f"{AT}."): value for path, value in
            cgroup.seen(resources, last, host, facts).items() if value is not UNKNOWN and path != cgroup.DEVICES}


def throttle(minor: int, rate: int) -> ThrottleDevice:
    return ThrottleDevice(major=8, minor=minor, rate=rate)


FOUR = Resources(block_io=BlockIO(read_bps=(throttle(0, 1), throttle(16, 2)), write_bps=(throttle(0, 3),),
                                  read_iops=(throttle(0, 4),), write_iops=(throttle(16, 5),)))


def test_the_four_limits_of_a_disk_are_one_line_on_v2() -> None:
    """And one line of four files on v1."""
    assert written(FOUR, V2) == [
        ("io.max", "8:0 rbps=1 wbps=3 riops=4", "8:0 rbps=max wbps=max riops=max"),
        ("io.max", "8:16 rbps=2 wiops=5", "8:16 rbps=max wiops=max")]
    assert written(FOUR, V1) == [
        ("blkio.throttle.read_bps_device", "8:0 1", "8:0 0"), ("blkio.throttle.read_bps_device", "8:16 2", "8:16 0"),
        ("blkio.throttle.write_bps_device", "8:0 3", "8:0 0"), ("blkio.throttle.read_iops_device", "8:0 4", "8:0 0"),
        ("blkio.throttle.write_iops_device", "8:16 5", "8:16 0")]


def test_drift_is_told_by_key_and_only_what_differs_is_written() -> None:
    """A foreign disk goes, a key that nobody asked for stays."""
    text = "8:0 rbps=1 wbps=30 riops=4 wiops=77\n8:16 rbps=2 wbps=max riops=max wiops=5\n8:32 rbps=9 wbps=max riops=max"
    found = seen(FOUR, V2, io_max=text)
    assert found["blockIO.throttleReadBpsDevice"] == ("8:0 1", "8:16 2", "8:32 9")
    assert found["blockIO.throttleWriteBpsDevice"] == ("8:0 30",)
    assert found["blockIO.throttleReadIOPSDevice"] == ("8:0 4",)
    assert found["blockIO.throttleWriteIOPSDevice"] == ("8:0 77", "8:16 5")
    assert written(FOUR, V2, {("", "io.max"): text}) == [
        ("io.max", "8:32 rbps=max", "8:32 rbps=9"), ("io.max", "8:0 wbps=3 wiops=max", "8:0 wbps=30 wiops=77")]


def test_a_key_that_is_gone_is_reset() -> None:
    less = Resources(block_io=BlockIO(read_bps=(throttle(0, 1),)))
    text = "8:0 rbps=1 wbps=3 riops=4 wiops=max\n8:16 rbps=2 wbps=max riops=max wiops=5"
    assert sorted(written(less, V2, {("", "io.max"): text}, FOUR)) == [
        ("io.max", "8:0 wbps=max riops=max", "8:0 wbps=3 riops=4"),
        ("io.max", "8:16 rbps=max wiops=max", "8:16 rbps=2 wiops=5")]
    assert seen(less, V2, FOUR, io_max=text)["blockIO.throttleWriteBpsDevice"] == ("8:0 3",)


def test_weights_go_to_whoever_serves_the_disk() -> None:
    """BFQ counts as OCI does, the cost model to 10000."""
    block = BlockIO(weight=300, weight_device=(WeightDevice(major=8, minor=0, weight=50),
                                               WeightDevice(major=8, minor=16, weight=1000)))
    assert written(Resources(block_io=block), V2) == [
        ("io.bfq.weight", "default 300", "default 100"), ("io.bfq.weight", "8:0 50", "8:0 default"),
        ("io.weight", "default 2930", "default 100"), ("io.weight", "8:16 10000", "8:16 default")]
    assert written(Resources(block_io=block), V1) == [
        ("blkio.bfq.weight", "300", None), ("blkio.bfq.weight_device", "8:0 50", "8:0 default"),
        ("blkio.bfq.weight_device", "8:16 1000", "8:16 default")]
    found = seen(Resources(block_io=block), V2, io_bfq_weight="default 300\n8:0 50",
                 io_weight="default 2930\n8:16 10000")
    view = cgroup.expected(Resources(block_io=block), V2)
    assert found["blockIO.weight"] == view[f"{AT}.blockIO.weight"] == 300
    assert found["blockIO.weightDevice"] == view[f"{AT}.blockIO.weightDevice"] == ("8:0 50", "8:16 1000")
    assert seen(Resources(block_io=block), V2, io_bfq_weight="default 300", io_weight="default 7")[
        "blockIO.weight"] == (300, "7 of 10000")


def test_cost_and_back() -> None:
    assert [lists.cost(one) for one in (10, 100, 1000)] == [1, 910, 10000]
    assert all(lists.from_cost(str(lists.cost(one))) == one for one in range(10, 1001))
    assert lists.from_cost("2") == "2 of 10000"


@pytest.mark.parametrize(("limit", "word"), [(5 << 20, str(4 << 20)), (-1, "max"), (0, "0"), (2**62, "max")])
def test_huge_pages_in_use_and_reserved(limit: int, word: str) -> None:
    """Whole pages of that size; v1 shows no limit as the largest number of them."""
    asked = Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=limit),))
    view = cgroup.expected(asked, V2)[f"{AT}.hugepageLimits"]
    assert view == f"2MB {word}"
    both = {("", "hugetlb.2MB.max"): word, ("", "hugetlb.2MB.rsvd.max"): "7"}
    facts = Facts("running")
    facts.files = both
    found = cgroup.seen(asked, None, V2, facts)[f"{AT}.hugepageLimits"]
    assert found == ((view, "2MB 0") if word != "0" else view)
    assert written(asked, V2, both) == ([("hugetlb.2MB.rsvd.max", word, None)] if word != "0" else [])
    if word == "max":
        shown = {("hugetlb", f"hugetlb.2MB.{file}"): str(2**63 - (2 << 20))
                 for file in ("limit_in_bytes", "rsvd.limit_in_bytes")}
        assert written(asked, V1, shown) == []
        assert written(Resources(), V1, dict.fromkeys(shown, "0"), asked) == [
            ("hugetlb.2MB.limit_in_bytes", "-1", None), ("hugetlb.2MB.rsvd.limit_in_bytes", "-1", None)]


def test_a_minor_controller_on_v2_beside_v1_is_no_place_for_limits() -> None:
    host = Host(hierarchies=(("memory", "/cg/memory"),), unified="/cg/unified", controllers2=("hugetlb",))
    asked = Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=0),))
    assert written(asked, host) == []
    (found,) = cgroup.refusals(asked, host)
    assert found[:2] == (f"{AT}.hugepageLimits", "hugetlb is on a cgroup v2 in which containers have no group here")


def test_rdma_devices_one_by_one() -> None:
    asked = Resources(rdma=(Rdma(device="a", hca_handles=2), Rdma(device="b", hca_objects=3)))
    text = "a hca_handle=2 hca_object=max\nb hca_handle=max hca_object=max"
    assert seen(asked, V2, rdma_max=text) == {"rdma.a": "hca_handle=2 hca_object=max",
                                              "rdma.b": "hca_handle=max hca_object=max"}
    assert written(asked, V2, {("", "rdma.max"): text}) == [
        ("rdma.max", "b hca_handle=max hca_object=3", "b hca_handle=max hca_object=max")]
    assert written(Resources(), V2, {("", "rdma.max"): text}, asked)[0] == (
        "rdma.max", "a hca_handle=max hca_object=max", "a hca_handle=2 hca_object=max")


def test_marks_of_packets_are_of_v1_alone() -> None:
    asked = Resources(network=NetworkGroup(class_id=7, priorities=(InterfacePriority(name="eth0", priority=3),)))
    now = {("net_cls", "net_cls.classid"): "0", ("net_prio", "net_prio.ifpriomap"): "eth0 0\nlo 5"}
    assert written(asked, V1, now) == [("net_cls.classid", "7", None), ("net_prio.ifpriomap", "eth0 3", "eth0 0"),
                                       ("net_prio.ifpriomap", "lo 0", "lo 5")]
    assert [one[0] for one in cgroup.refusals(asked, V2)] == [f"{AT}.network.classID", f"{AT}.network.priorities"]
