"""Measures what passes between two network namespaces by iperf3(1), as its receiver counts it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from types import TracebackType

# The first seconds are not counted: in them a bucket that was full empties, queues fill, TCP finds its pace.
OMIT, COUNTED = 2, 3
# Small pieces, since a piece counts when it is whole: one of iperf3's usual ones is a second long at 1 mbit.
TCP = ("-l", "4K")
PORT = "5201"
NEAR = 0.1          # of a rate, how far a measurement may be off


class Server:
    """iperf3 -s, entered by a command such as nsenter(1) with its words; use it with `with`."""

    def __init__(self, enter: list[str]) -> None:
        self.enter = enter

    def __enter__(self) -> Server:
        self.process = subprocess.Popen([*self.enter, "iperf3", "-s", "-p", PORT], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not subprocess.run([*self.enter, "ss", "-Hltn", "sport", "=", f":{PORT}"], capture_output=True,
                                 check=True).stdout:
            assert time.monotonic() < end, "iperf3 does not listen"
            time.sleep(0.02)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()


def udp(rate: int) -> tuple[str, ...]:
    """Words for datagrams, so many bit/s of them; short enough for any mtu here to pass whole."""
    return ("-u", "-b", str(rate), "-l", "1200")


def measured(enter: list[str], address: str, *words: str, back: bool = False) -> float:
    """bit/s of payload at the receiver.

    Args:
        enter: the command by which the client is entered.
        words: TCP, or of udp().
        back: the server sends.
    """
    told = {}
    for _ in range(6):
        run = subprocess.run([*enter, "iperf3", "-J", "-c", address, "-p", PORT, "-t", str(COUNTED), "-O", str(OMIT),
                              *words, *["-R"] * back], capture_output=True, text=True, timeout=60)
        told, _ = json.JSONDecoder().raw_decode(run.stdout)     # it may tell an error behind all else
        sums = told.get("end", {}).get("sum_received") or told.get("end", {}).get("sum")
        if "error" not in told and sums:
            return float(sums["bits_per_second"])
        # Its own talk is held as well: the server may still be ending the run before.
        time.sleep(1)
    raise AssertionError(told.get("error", "iperf3 came to no end"))


def hold(measure: Callable[[], Sequence[float]], *rates: float) -> None:
    """Fail unless what is measured is within a tenth of these rates, within three tries.

    On a busy machine a sender is late, one lost packet keeps all behind it back for a part of the few seconds that are
    counted, and who began later has it all in the end. But nothing makes a limit let more pass, so that one alone is
    never beyond it.
    """
    seen = []
    for _ in range(3):
        found = list(measure())
        seen.append(found)
        assert len(found) == len(rates) > 1 or found[0] <= (1 + NEAR) * rates[0], (seen, rates)
        if all(abs(one - rate) <= NEAR * rate for one, rate in zip(found, rates, strict=True)):
            return
    raise AssertionError((seen, rates))
