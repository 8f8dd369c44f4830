"""Figures that others published, to stand beside ours and to be told from them at a glance."""

from __future__ import annotations

# How much of its speed an LU solver lost beside each stressor; None where it did not run to its end.
SOURCE = ("M. G. Xavier, M. V. Neves, F. D. Rossi, T. C. Ferreto, T. Lange, C. A. F. De Rose: Performance Evaluation "
          "of Container-based Virtualization for High Performance Computing Environments, PDP 2013: other machines and "
          "kernels, each neighbour with its limits; to be read as an order of magnitude")
SYSTEMS = ("LXC", "OpenVZ", "VServer", "Xen")
ISOLATION: dict[str, tuple[float | None, ...]] = {
    "cpu": (0.0, 0.0, 0.0, 0.0),
    "memory": (88.2, 89.3, 20.6, 0.9),
    "disk": (9.0, 39.0, 48.8, 0.0),
    "fork bomb": (None, 0.0, 0.0, 0.0),
    "receiver": (2.2, 4.5, 13.6, 0.9),
    "sender": (10.3, 35.4, 8.2, 0.3),
}


def isolation(case: str) -> tuple[tuple[str, float | None], ...]:
    """(system, per cent) of the stressor that a case names, as in `network receiver`.

    Empty where none is known, and where the neighbour has no limits: every published one had.
    """
    found = () if "without" in case or "no limit" in case else next(
        (values for name, values in ISOLATION.items() if name in case.lower()), ())
    return tuple(zip(SYSTEMS, found, strict=False))
