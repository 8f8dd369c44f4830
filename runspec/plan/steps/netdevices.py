"""Links of the host that a container takes over, and their way back.

OCI's text leaves their end to the kernel, which destroys a virtual link together with its namespace and names
a physical one anew on conflict. Here whoever lent a link gets it back: under its old name, with the
addresses that it has, while the container's namespace is there; and a physical one also after that.

See: config-linux.md "Network Devices", network_namespaces(7).
"""

from __future__ import annotations

from runspec import abi
from runspec.errors import HostError, SyscallError
from runspec.plan import rtnetlink
from runspec.plan.steps.base import ATTACH, STOP, HostStep, Step, Table
from runspec.plan.steps.host_links import EEXIST, ENODEV, MARK
from runspec.plan.view_links import device_index
from runspec.spec.model import NetDevice, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EINVAL = 22
HELD = "lent"       # the word under which a run holds the network namespace that links were moved to


class MoveDevice(HostStep):
    """Moves a link of the host into the container's network namespace, with its addresses, and brings it up."""

    PHASE = ATTACH
    device: NetDevice

    def look(self, kernel: Any, run: Any) -> Any:
        """What the link is and has.

        Raises:
            HostError: there is none of this name, or it is one of runspec's own.
        """
        facts = kernel.link_facts(self.device.host, rtnetlink.dump_links(), rtnetlink.dump_addresses())
        if facts is None:
            raise HostError(f"there is no link {self.device.host}", "it is the host's and moves into the container, "
                            "config-linux.md, Network Devices", "`ip link` lists those that are there")
        if facts["alias"].startswith(MARK):
            raise HostError(f"the link {self.device.host} is runspec's own", f"its alias is {facts['alias']}",
                            "list it in `interfaces`, or lend another one")
        return facts

    def apply(self, kernel: Any, run: Any) -> Any:
        """One message moves and renames; what the kernel drops on the way is set again inside."""
        facts = self.look(kernel, run)
        name = self.device.name or self.device.host
        # Should init end before all is done, its namespace and with it a virtual link would end as well.
        if not _hold(self.target, kernel, run):
            raise HostError(f"init of {self.target} has ended")
        try:
            kernel.netlink(rtnetlink.move_link(facts["index"], run.pid(self.target), name,
                                               device_index(self.device.host)), f"link {self.device.host}")
        except SyscallError as error:
            if error.errno == EEXIST:
                raise HostError(f"a link {name} is there inside already", "two links of one namespace have two names",
                                "give another `name`, or a template such as eth%d") from None
            if error.errno == EINVAL:
                raise HostError(f"the link {self.device.host} cannot leave its network namespace",
                                error.why or "the kernel keeps such links where they are, ip-link(8)",
                                "lend another one") from None
            raise
        run.within(self.target, HELD, configured(device_index(self.device.host), facts))
        return facts

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Everything as it was, from wherever the move was interrupted."""
        if memo:
            give_back(self.target, self.device, kernel, run, memo)

    def __str__(self) -> str:
        name = self.device.name
        return f"move link {self.device.host} inside" + (f" as {name}" if name else "")


class ReturnDevice(HostStep):
    """Moves such a link back before its namespace ends."""

    PHASE = STOP
    device: NetDevice

    def look(self, kernel: Any, run: Any) -> Any:
        """What it has by now, None where it is not inside."""
        return run.link_inside(self, device_index(self.device.host)) if run.pid(self.target) else None

    def apply(self, kernel: Any, run: Any) -> Any:
        """A link that went with its namespace needs nothing."""
        facts = self.look(kernel, run)
        give_back(self.target, self.device, kernel, run, facts or {"index": 0, "addresses": [], "up": True})
        if run.holds(self.target, HELD):
            run.drop(self.target, HELD)     # or a follower would be handed it
        return facts

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Inside again, where the container still runs."""
        if memo and run.pid(self.target):
            MoveDevice(target=self.target, device=self.device).apply(kernel, run)

    def __str__(self) -> str:
        return f"move link {self.device.host} back"


def configured(index: int, facts: Any) -> Table:
    """A table that gives a link inside its addresses and brings it up."""
    table = _entered()
    for cidr, broadcast in facts["addresses"]:
        table.add(abi.OP_NETLINK, s1=rtnetlink.add_address(index, cidr, broadcast=broadcast), c=EEXIST)
    table.add(abi.OP_NETLINK, s1=rtnetlink.set_link(index, up=True))
    return table


def give_back(target: str, device: NetDevice, kernel: Any, run: Any, facts: Any) -> None:
    """Move a link home wherever it is, and make it what `facts` say.

    Args:
        facts: as MoveDevice.look gives them; index 0 where nobody knows the one it had.
    """
    here = device_index(device.host)
    if run.holds(target, HELD) or _hold(target, kernel, run):
        table = _entered()
        # Its old index may be another's by now; what moved with the first message is not found by the second.
        for index in (facts["index"], 0):
            table.add(abi.OP_IGNORE_NEXT)
            table.add(abi.OP_NETLINK, s1=rtnetlink.move_link(here, kernel.own_pid(), device.host, index), c=ENODEV)
        run.within(target, HELD, table)
    dumps = rtnetlink.dump_links(), rtnetlink.dump_addresses()
    found = kernel.link_facts(device.host, *dumps)
    if found is None:
        found = kernel.link_facts(here, *dumps)
        if found is None:
            return
        # The kernel brought it home under the name that it had inside, or under one of its own making.
        kernel.netlink(rtnetlink.set_link(found["index"], up=False), f"link {found['name']}")
        kernel.netlink(rtnetlink.set_link(found["index"], name=device.host), f"link {device.host}")
    for cidr, broadcast in facts["addresses"]:
        kernel.netlink(rtnetlink.add_address(found["index"], cidr, broadcast=broadcast), f"address {cidr}",
                       ignore=EEXIST)
    master = kernel.link_index(facts["master"]) if facts.get("master") else None
    kernel.netlink(rtnetlink.set_link(found["index"], up=bool(facts["up"]), master=master), f"link {device.host}")


def _hold(target: str, kernel: Any, run: Any) -> bool:
    """Hold the namespace of an init; False where that has ended."""
    pid = run.pid(target)
    try:
        if pid:
            run.hold(target, HELD, kernel.open(f"/proc/{pid}/ns/net"))
    except SyscallError:
        return False
    return bool(pid)


def _entered() -> Table:
    """The beginning of a table that works in the namespace that is held."""
    table = Table((HELD,))
    table.add(abi.OP_PRCTL, a=abi.PR_SET_DUMPABLE, b=0)
    table.add(abi.OP_SETNS, slot=table.slot(HELD), a=abi.CLONE_NEWNET)
    return table


def move(spec: Spec) -> list[Step]:
    """The links that a new init takes over."""
    return [MoveDevice(target=spec.name, path=f"linux.netDevices[{i}]", device=one)
            for i, one in enumerate(spec.linux.net_devices)]


def back(spec: Spec) -> list[Step]:
    """Before the end of an init, all of them."""
    return [ReturnDevice(target=spec.name, path=f"linux.netDevices[{i}]", device=one)
            for i, one in enumerate(spec.linux.net_devices)]
