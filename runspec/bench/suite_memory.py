"""How fast a container reaches memory: STREAM, by hpcc(1), on one core, with vectors that no cache holds."""

from __future__ import annotations

from runspec.bench import hpcc
from runspec.bench.results import HIGHER, Aim
from runspec.bench.suite import Point
from runspec.bench.suite_cpu import Hpcc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Bytes, by pace. Of a cache that is larger than half of it the vectors do not take twice as much: that takes minutes.
MOST = (1 << 26, 1 << 28, 1 << 28)


class Memory(Hpcc):
    """See the module."""

    name = "memory"
    what = "STREAM (of hpcc) on one core"
    file, mark = "memory.yaml", hpcc.STREAMED
    often = 1, 5, 5
    aims = (Aim(suite="memory", figure="STREAM", case="*", over="native", least=0.99),)

    def told(self) -> str:
        most = MOST[self.settings.at]
        return hpcc.told(hpcc.template(), hpcc.stream_order(hpcc.cache_bytes() or most, most), 1)

    def points(self, text: str) -> Iterator[Point]:
        for kernel, rate in hpcc.parse_stream(text).items():
            yield Point(figure="STREAM", case=kernel, value=rate, unit="GB/s", better=HIGHER)
