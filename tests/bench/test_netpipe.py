"""What NPtcp(1) and iperf3(1) leave behind, by what real runs left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runspec.bench import netpipe
from runspec.bench.suite_network import BRIDGE, CASES, LOOPBACK, MACVLAN, PARENTS, ROUTED, TAGGED, VLAN, changed, on
from runspec.spec import rules, source
from runspec.spec.model import Spec

HERE = Path(__file__).parent
TEXT = (HERE / "np.out").read_text()
# What iperf3 -J says at the end, without the intervals.
STREAM = {"start": {"version": "iperf 3.12"}, "intervals": [], "end": {
    "sum_sent": {"bytes": 1315569664, "bits_per_second": 10524300451.0, "retransmits": 0},
    "sum_received": {"bytes": 1313800192, "bits_per_second": 10430191712.3}}}
REFUSED = {"start": {"connected": []}, "intervals": [], "end": {},
           "error": "unable to connect to server: Connection refused"}


def test_curve() -> None:
    curve = netpipe.parse_curve(TEXT, 1 << 20)
    assert curve is not None
    assert list(curve.points)[:5] == [1, 2, 3, 4, 6]
    assert len(curve.points) == len(TEXT.splitlines())
    speed, latency = curve.points[1 << 20]
    # A message of a MiB one way: the two columns are one figure.
    assert speed == pytest.approx(8 * (1 << 20) / (1 << 20) / (latency / 1e6), rel=0.01)


@pytest.mark.parametrize("text", ["", TEXT[:400], TEXT.rstrip("\n"), "NetPIPE: protocol 'tcp' unknown!\n"])
def test_a_curve_that_is_not_whole_is_none(text: str) -> None:
    assert netpipe.parse_curve(text, 1 << 20) is None


def test_stream() -> None:
    text = json.dumps(STREAM)
    assert netpipe.parse_stream(text) == pytest.approx(10430.19, abs=0.01)
    assert netpipe.parse_stream(text[:-1]) is None
    assert netpipe.parse_stream(json.dumps(REFUSED)) is None
    assert netpipe.parse_stream("") is None


def pair() -> list[Spec]:
    read, faults = rules.judge(*source.gather([str(HERE.parents[1] / "specs/bench/network.yaml")]))
    assert not faults
    return [model for model, _ in read if isinstance(model, Spec)]


@pytest.mark.parametrize("case", CASES)
def test_the_pair_on_each_kind_of_link(case: str) -> None:
    """Names of their own per case, as many messages as asked, and addresses at which they find each other."""
    receiver, sender = (on(one, case, place, 50) for place, one in enumerate(pair()))
    assert receiver.name != sender.name and case.split()[0] in receiver.name
    assert "-n 50" in receiver.process.args[-1] and "-n 200" not in sender.process.args[-1]
    to = "127.0.0.1" if case == LOOPBACK else "10.95.0.2"
    assert f"-h {to} " in sender.process.args[-1] and f"-c {to} " in sender.process.args[-1]
    if case == LOOPBACK:
        assert receiver.interfaces == () == sender.interfaces
        assert [one.container for one in sender.linux.namespaces if one.type == "network"] == [receiver.name]
    else:
        link, = receiver.interfaces
        assert link.type == case.split()[0]
        assert link.addresses[0].split("/")[0] == "10.95.0.2"


def test_links_of_the_kinds() -> None:
    link, = pair()[0].interfaces
    assert changed(link, BRIDGE, 0) == link
    assert (changed(link, VLAN, 0).parent, changed(link, VLAN, 1).parent) == PARENTS
    assert changed(link, VLAN, 0).fallback is None and changed(link, TAGGED, 0).fallback == "tc-bpf"
    assert changed(link, MACVLAN, 0).parent == changed(link, MACVLAN, 1).parent
    assert changed(link, ROUTED, 0).addresses == ("10.95.0.2/32",)
