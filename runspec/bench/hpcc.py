"""hpcc(1), the HPC Challenge: what it is told, and what it found. Its HPL is Linpack, an LU factorisation."""

from __future__ import annotations

import os
import re

from runspec.errors import HostError

# What stands in the file of results once a part is done.
SOLVED, STREAMED = "End of HPL section.", "End of SingleSTREAM section."
# Places of a line of results: T/V N NB P Q Time Gflops.
FIELDS = 7
KERNELS = ("Copy", "Scale", "Add", "Triad")
# HPL reads at most so many values of a word, and solves all combinations.
MOST_VALUES = 20


def told(template: str, order: int, solves: int) -> str:
    """The text of hpccinf.txt.

    The same depth many times, not the same size: for each size hpcc transposes a matrix before.

    Args:
        template: the one of specs/bench.
        order: of the matrix, N.
        solves: how often it is solved at least; exactly where it is MOST_VALUES at most, or a multiple.
    """
    lines = template.splitlines()
    sizes, depths = -(-solves // MOST_VALUES), min(solves, MOST_VALUES)
    lines[4] = f"{sizes} # of problems sizes (N)"
    lines[5] = f"{' '.join([str(order)] * sizes)} Ns"
    place = next(number for number, line in enumerate(lines) if "# of lookahead depth" in line)
    lines[place] = f"{depths} # of lookahead depth"
    lines[place + 1] = f"{' '.join([lines[place + 1].split()[0]] * depths)} DEPTHs"
    return "\n".join(lines) + "\n"


def template() -> str:
    """The hpccinf.txt of specs/bench, for those who do it by hand."""
    with open(os.path.join(os.path.dirname(__file__), "specs", "hpccinf.txt"), encoding="ascii") as file:
        return file.read()


def _results(text: str) -> tuple[list[float], list[bool]]:
    """Of the part about HPL: GFLOP/s of each solution, and whether the check that follows each was passed."""
    lines = text.partition("Begin of HPL section.")[2].splitlines()
    return ([float(words[-1]) for line in lines if line.startswith("W") and len(words := line.split()) == FIELDS],
            [line.endswith("PASSED") for line in lines if line.startswith("||Ax-b||")])


def solved(text: str) -> tuple[float, ...]:
    """GFLOP/s of each solution so far, of a file that still grows.

    Raises:
        HostError: one failed the check of its residual.
    """
    rates, passed = _results(text[:text.rfind("\n") + 1].partition(SOLVED)[0])
    if not all(passed):
        raise HostError(f"bench: hpcc: solution {passed.index(False) + 1} failed its check", text[-300:])
    return tuple(rates[:len(passed)])


def parse_linpack(text: str) -> tuple[float, ...]:
    """GFLOP/s of each solution.

    Raises:
        HostError: none is there, or one failed the check of its residual.
    """
    rates, passed = _results(text)
    if not rates or sum(passed) != len(rates):
        raise HostError(f"bench: hpcc: {sum(passed)} of {len(rates)} solutions passed their check", text[-300:])
    return tuple(rates)


def overall(rates: tuple[float, ...]) -> float:
    """The rate of all solutions together, which do the same work each."""
    return len(rates) / sum(1 / one for one in rates)


def parse_stream(text: str) -> dict[str, float]:
    """GB/s of each of KERNELS, the best of both times that hpcc measures them: at once in all processes, of which
    there is one here, and in one alone.

    Each takes a tenth of a second, and what the machine does beside in that is no property of a container.

    Raises:
        HostError: one is missing.
    """
    found: dict[str, list[float]] = {}
    for kernel, rate in re.findall(r"^(?:Maximum|Single STREAM) (\w+) GB/s ([\d.]+)$", text, re.MULTILINE):
        found.setdefault(kernel, []).append(float(rate))
    if {kernel: len(rates) for kernel, rates in found.items()} != dict.fromkeys(KERNELS, 2):
        raise HostError("bench: hpcc: STREAM is not whole", text[-300:])
    return {kernel: max(rates) for kernel, rates in found.items()}


def stream_order(cache: int, most: int) -> int:
    """The order of a matrix with which STREAM's three vectors take more than twice the caches.

    hpcc's tables of random access are the largest power of two within half of that memory, so a cache of 2^n bytes
    is exceeded by a little less than 2^(n+1): the next table costs twice the time and measures nothing here.

    Args:
        cache: bytes of the largest.
        most: bytes that all may take.
    """
    return int((min(2 * cache - 1, most) / 8) ** 0.5)


def cache_bytes() -> int:
    """Of the largest cache of the first core, sysfs(5); 0 where the kernel does not say."""
    base, sizes = "/sys/devices/system/cpu/cpu0/cache", [0]
    for name in os.listdir(base) if os.path.isdir(base) else ():
        try:
            with open(f"{base}/{name}/size", encoding="ascii") as file:
                sizes.append(parse_size(file.read()))
        except OSError:
            continue
    return max(sizes)


def parse_size(text: str) -> int:
    """Bytes of `32768K` and the like."""
    text = text.strip()
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1]] if text[-1:] in units else int(text or 0)


def blas() -> str:
    """The library that multiplies matrices, which Linpack measures as much as the processor."""
    from glob import glob

    for path in sorted(glob("/usr/lib/*/libblas.so.3") + glob("/usr/lib/libblas.so.3")):
        return os.path.realpath(path)
    return "unknown"
