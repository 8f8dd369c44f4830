"""NICs of the host that a run borrows: into its world, and home again as they were, however that ends.

To them the world is a container: a lease in the state directory tells what they were, see run/leases.py, and its lock
that somebody is at work with them. Should this process be killed as well, the next runspec brings them home.
"""

from __future__ import annotations

import contextlib
import os
import signal
from time import sleep

from runspec import abi
from runspec.errors import HostError, UsageError
from runspec.kernel import Kernel
from runspec.plan import nic
from runspec.plan.steps import lease as steps
from runspec.plan.view_links import FIRST_INDEX
from runspec.run.engine import Run
from runspec.run.leases import Leases
from runspec.run.store import Store
from runspec.spec.model import Interface, Process, Root, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# What they are called in the world: the two ends of one wire.
LENT = ("benchwire0", "benchwire1")
OURS = "it is the machine's way to others, who would lose it for as long as the run takes"


@contextlib.contextmanager
def lending(words: Sequence[str], name: str, root: str) -> Iterator[Callable[[int], None]]:
    """For `with`: yields what moves NICs into the network namespace of a process as soon as that has its own.

    Args:
        words: which, as `parent` of an interface names them; none: there is nothing to do.
        name: of the run.
        root: the state directory.

    Raises:
        HostError: one of them cannot go.
        UsageError: they are not two.
    """
    if not words:
        yield lambda pid: None
        return
    if len(words) != len(LENT):
        raise UsageError(f"bench: --nic names {len(words)}", "both ends of one wire are lent, to two containers",
                         "name two NICs that a cable or a switch connects: --nic eth1,eth2")
    kernel = Kernel()
    store = Store(kernel, root)
    leases = Leases(kernel, store)
    tell(leases.settle())       # a run that was killed may have had the same
    world = Spec(name=name, root=Root(), process=Process(args=("sh",)), interfaces=tuple(
        Interface(name=LENT[i], type="physical", parent=word) for i, word in enumerate(words)))
    run = Run(kernel, store, None, {}, {})
    try:
        with store.lock([("container", name)]):
            try:
                refuse(kernel, leases, world)
                known = leases.resolve([world])
                going = [steps.interface_step(world, i, one, FIRST_INDEX + i, known)
                         for i, one in enumerate(world.interfaces)]

                def lend(pid: int) -> None:
                    while (space := kernel.network_of(pid)) == kernel.network_of(os.getpid()):
                        sleep(0.01)
                    run.live[name] = pid, 0
                    for one in going if space else ():      # or it has ended
                        one.apply(kernel, run)

                yield lend
            finally:
                before = [(number, signal.signal(number, signal.SIG_IGN))
                          for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
                steps.fetch(name, leases.asked(name), kernel, run)
                tell(run.notes)
                for number, handler in before:
                    signal.signal(number, handler)
    finally:
        store.tidy()


def refuse(kernel: Kernel, leases: Leases, world: Spec) -> None:
    """Lend nothing that could not come home, and nothing that somebody uses.

    Raises:
        HostError: what stands in the way, of the first.
    """
    if not kernel.exists(steps.INITIAL):
        raise HostError("bench: this is not the initial network namespace", "when a run is killed the kernel gives its "
                        "NICs to that, network_namespaces(7), and nobody here could bring them home",
                        "run it where `ip link` shows the machine's own NICs, or leave out --nic")
    for _, what, why, fix in leases.refusals(world):
        raise HostError(f"bench: {what}", why, fix)
    known = leases.known()
    for one in world.interfaces:
        link, = leases.meant(world.name, one.parent or "", known)
        if nic.bears_default(link):
            raise HostError(f"bench: the default route goes through {link['name']}", OURS, "name another NIC")
        if any(bytes.fromhex(raw)[3] != abi.RT_SCOPE_LINK for raw in link["addresses"]):
            raise HostError(f"bench: {link['name']} has addresses", OURS, "name another NIC, or take them away first: "
                            f"ip addr flush dev {link['name']} scope global")


def tell(lines: Sequence[str]) -> None:
    """Warnings, for whoever runs it."""
    from runspec.bench import measure

    for line in lines:
        measure.tell(line)
