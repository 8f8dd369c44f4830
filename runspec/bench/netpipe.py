"""What NPtcp(1) and iperf3(1) leave behind."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Curve:
    """What NetPIPE found at each size of a message.

    Args:
        points: bytes -> (Mbit/s, microseconds one way).
    """

    __slots__ = ("points",)

    def __init__(self, points: dict[int, tuple[float, float]]) -> None:
        self.points = points


def parse_curve(text: str, largest: int) -> Curve | None:
    """What NPtcp's output file holds; None while the largest size is not there.

    Args:
        largest: bytes of a message.
    """
    points = {}
    for line in text.splitlines(keepends=True):
        words = line.split()
        if len(words) == 3 and line.endswith("\n"):
            points[int(words[0])] = (float(words[1]), float(words[2]) * 1e6)
    return Curve(points) if largest in points else None


def parse_stream(text: str) -> float | None:
    """Mbit/s that the receiver of iperf3 -J saw; None while the file is not whole, or tells of an error."""
    try:
        tree: Any = json.loads(text)
        return float(tree["end"]["sum_received"]["bits_per_second"]) / 1e6
    except (KeyError, TypeError, ValueError):
        return None
