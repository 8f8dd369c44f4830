"""What a run says of its machine, out of the kernel's text; and what it counts of memory."""

from __future__ import annotations

import pytest

from runspec.bench import machine, suite_start


def test_processor_memory_distribution() -> None:
    assert machine.processor("processor\t: 0\nmodel name\t: A  CPU @ 3 GHz\n", "x86_64") == "A CPU @ 3 GHz"
    assert machine.processor("BogoMIPS: 1\n", "aarch64") == "aarch64"
    assert machine.memory("MemFree: 1 kB\nMemTotal:       24659868 kB\n") == "23.5 GiB"
    assert machine.distribution('NAME=x\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n') == (
        "Debian GNU/Linux 12 (bookworm)")
    assert machine.memory("") == machine.distribution("") == "unknown"


@pytest.mark.parametrize(("mounts", "text"), [
    ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "v2"), ("cgroup /c cgroup rw,cpu 0 0\n", "v1"),
    ("a / ext4 rw 0 0\n", "none"), ("a /c cgroup rw 0 0\nb /d cgroup2 rw 0 0\n", "v1 and v2")])
def test_hierarchies(mounts: str, text: str) -> None:
    assert machine.hierarchies(mounts) == text


def test_facts_of_this_machine_are_all_there() -> None:
    facts = machine.facts()
    assert all(facts.values()) and int(facts["cores"]) > 0 and len(facts["load before"].split()) == 3


def test_memory_of_a_process_and_of_the_kernel() -> None:
    assert suite_start.parse_pss("Rss: 9 kB\nPss: 3 kB\nPss_Anon: 2 kB\n") == 3 << 10
    assert suite_start.parse_kernel("MemTotal: 1 kB\nSlab: 5 kB\nKernelStack: 4 kB\nPageTables: 3 kB\nPercpu: 2 kB\n"
                                    "SReclaimable: 9 kB\n") == 14 << 10


def test_addresses_move_on_past_an_octet() -> None:
    assert suite_start.moved("10.94.0.2/16", 0) == "10.94.0.2/16"
    assert suite_start.moved("10.94.0.2/16", 300) == "10.94.1.46/16"
    assert suite_start.moved("fd00::2/64", 1) == "fd00::3/64"
