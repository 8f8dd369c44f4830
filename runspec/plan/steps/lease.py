"""Links of the host that a container takes over, and their way back.

The kernel destroys a virtual link together with its namespace, and throws a physical one back into the initial
network namespace: down, bare, under any name. Here whoever lent a link gets back what it was, from wherever it is,
whatever ended: before it goes, a file says what it is and has.

See: config-linux.md "Network Devices", network_namespaces(7), ip-link(8).
"""

from __future__ import annotations

from errno import EBUSY, EEXIST, EINVAL, ENODEV, ENOENT
from time import monotonic, sleep

from runspec import abi
from runspec.errors import HostError, RunspecError, SyscallError
from runspec.plan import nic, rtnetlink, rtnetlink_host, tc, view_links
from runspec.plan.steps import host_links, links
from runspec.plan.steps.base import ATTACH, LIVE, STOP, HostStep, Step, Table
from runspec.spec.model import Interface, NetDevice, Spec
from runspec.spec.networks import physical

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runspec.plan.nic import Portrait

    # What a lease file holds, see run/leases.py.
    Lease = dict[str, Any]

HELD = "lent"           # the word under which a run holds the network namespace that links were moved to
PATIENCE = 5.0          # seconds in which the kernel clears a namespace away that nobody has any more
INITIAL = "/proc/sys/net/core/netdev_budget"       # only the initial network namespace shows it
# Made by the link's own messages, or a secret that cannot be read.
_NO_SETTING = ("addr_gen_mode", "stable_secret")
AT_ONCE = 64            # messages
_MEANWHILE = 0x0FFFFFFF     # an index that nobody has


class LendLink(HostStep):
    """Moves a link of the host into the container's network namespace.

    Args:
        asked: the word of the spec that names it: what linux.netDevices or `parent` says.
        host: its name at home; key: what it is for good, see nic.key, "" where only the name counts.
        name, index: inside.
        mac, mtu: to be had inside; None: as at home.
        carry: its addresses go along, and it comes up, as OCI has it.
    """

    PHASE = ATTACH
    asked: str
    host: str
    key: str = ""
    name: str
    index: int
    mac: str | None = None
    mtu: int | None = None
    carry: bool = False

    def look(self, kernel: Any, run: Any) -> Any:
        """The lease that there will be: what the link is and has, unless an older lease of ours knows.

        Raises:
            HostError: there is no such link, or it is one of runspec's own.
        """
        found = [one for one in kernel.portraits(*requests())
                 if (nic.key(one) == self.key if self.key else one["name"] == self.host)]
        before = run.leases.find(nic.key(found[0])) if found else run.leases.of(self.target, self.asked)
        if len(found) < 2 and before is not None and before["container"] == self.target:
            # It went home, or elsewhere, past us: what it is now was not asked by anybody.
            return {**before, "asked": self.asked, "inside": self.index}
        if len(found) != 1:
            raise HostError(f"there is no link {self.host}" if not found else f"two links are {self.key}",
                            "it is the host's and moves into the container, config-linux.md, Network Devices",
                            "`ip link` lists those that are there")
        one = found[0]
        if one["alias"].startswith(host_links.MARK):
            raise HostError(f"the link {one['name']} is runspec's own", f"its alias is {one['alias']}",
                            "list it in `interfaces`, or lend another one")
        if before is not None:
            raise HostError(f"the link {one['name']} is lent to {before['container']}",
                            "it can be in one container only", "lend another one")
        one["settings"] = settings(kernel, one["name"])
        return {"container": self.target, "asked": self.asked, "key": nic.key(one), "inside": self.index, "space": 0,
                "home": kernel.network_of(kernel.own_pid()), "uptime": kernel.uptime(), "link": one}

    def apply(self, kernel: Any, run: Any) -> Any:
        """One message moves and renames; what the kernel drops on the way is set again inside."""
        memo = self.look(kernel, run)
        # Should init end before all is done, its namespace and with it a virtual link would end as well.
        if not hold(self.target, kernel, run):
            raise HostError(f"init of {self.target} has ended", "its namespaces ended with it", "apply it again")
        memo["space"] = kernel.network_of(run.pid(self.target))
        if run.leases.find(memo["key"]) is not None:
            run.leases.recall(memo)     # it may be anywhere, and bare
        run.leases.save(memo)
        one = at_home(kernel, memo)
        if one is None:
            raise out_of_reach(self.host)
        try:
            kernel.netlink(nic.move(one["index"], run.pid(self.target), self.name, self.index, self.mac, self.mtu),
                           f"link {one['name']}")
        except SyscallError as error:
            raise self._refused(error, one["name"]) from None
        if self.carry:
            # A template became a number.
            table = entered()
            for message in (*nic.global_addresses(memo["link"], self.index), rtnetlink.set_link(self.index, up=True)):
                table.add(abi.OP_NETLINK, s1=message, c=EEXIST)
            run.within(self.target, HELD, table)
        return memo

    def _refused(self, error: SyscallError, name: str) -> Exception:
        if error.errno == EEXIST:
            return HostError(f"a link {self.name} is there inside already", "two links of one namespace have two names",
                             "give another `name`" + ", or a template such as eth%d" * self.carry)
        if error.errno == EINVAL:
            return HostError(f"the link {name} cannot leave its network namespace",
                             error.why or "the kernel keeps such links where they are, ip-link(8)", "lend another one")
        return error

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Everything as it was, from wherever the move was interrupted; one that never began has no lease."""
        if memo and run.leases.find(memo["key"]) is None:
            run.leases.drop(memo["key"])        # what was written of one
        elif memo:
            run.leases.try_end(memo, run.held(self.target, HELD) if hold(self.target, kernel, run) else None, run.warn)

    def __str__(self) -> str:
        word = f" ({self.asked})" if self.asked != self.host else ""
        return f"move link {self.host}{word} inside" + (f" as {self.name}" if self.name != self.host else "")


class LendLinkLive(LendLink):
    """The same for a container that runs."""

    PHASE = LIVE


class ReturnLink(HostStep):
    """Moves such a link back before its namespace ends, and makes it what it was.

    Args:
        asked: as LendLink has it.
        device, interface: what of the spec it is, for the way back.
    """

    PHASE = STOP
    asked: str
    device: NetDevice | None = None
    interface: Interface | None = None

    def look(self, kernel: Any, run: Any) -> Any:
        """Its lease, None where there is none."""
        return run.leases.of(self.target, self.asked)

    def apply(self, kernel: Any, run: Any) -> Any:
        """A virtual link that went with its namespace needs nothing."""
        memo = self.look(kernel, run)
        if memo is None:
            return None
        try:
            space = run.held(self.target, HELD) if hold(self.target, kernel, run) else None
            home = run.leases.end(memo, space, run.warn, patient=False)
        except RunspecError:
            if self.phase == LIVE:
                raise
            return memo     # whoever resists in there ends now, and KillContainer fetches it
        if self.phase == LIVE:
            if run.holds(self.target, HELD):
                run.drop(self.target, HELD)     # or a follower would be handed it
            if not home:
                raise out_of_reach(memo["link"]["name"])
        return memo

    def undo(self, kernel: Any, run: Any, memo: Any) -> None:
        """Inside again, where the container still runs and it had come home."""
        if not memo or not run.pid(self.target) or at_home(kernel, memo) is None:
            return
        if self.device is not None:
            device_step(self.target, self.path, self.device).apply(kernel, run)
        elif self.interface is not None:
            one, index = self.interface, memo["inside"]
            LendLinkLive(target=self.target, asked=self.asked, host=memo["link"]["name"], key=memo["key"],
                         name=one.name, index=index, mac=one.mac, mtu=one.mtu).apply(kernel, run)
            links.configured(self.target, self.path, one, index, "").apply(kernel, run)

    def __str__(self) -> str:
        return f"move link {self.asked} back"


class ReturnLinkLive(ReturnLink):
    """The same for a container that goes on."""

    PHASE = LIVE


# -- home -------------------------------------------------------------------------------------------------

def out_of_reach(name: str) -> HostError:
    """What to say of a link that is nowhere."""
    return HostError(f"the link {name} is in no network namespace in reach", "it was unplugged just now, or something "
                     "inside took it to a namespace of its own, which no process is in, network_namespaces(7)",
                     "end that, or destroy the container: then it comes home")


def requests() -> tuple[bytes, ...]:
    """What kernel.portraits asks for a whole portrait."""
    return (rtnetlink.dump_links(), rtnetlink.dump_addresses(), rtnetlink.dump_routes(), tc.dump_qdiscs(),
            rtnetlink_host.dump_neighbours())


def settings(kernel: Any, name: str) -> dict[str, str]:
    """The kernel parameters of one link: path below /proc/sys/net, with its name left out -> value."""
    out = {}
    for kind in ("ipv4/conf", "ipv6/conf", "ipv4/neigh", "ipv6/neigh"):
        for word in kernel.list_dir(f"/proc/sys/net/{kind}/{name}"):
            if word not in _NO_SETTING:
                try:
                    out[f"{kind}/{word}"] = kernel.read_text(f"/proc/sys/net/{kind}/{name}/{word}").strip()
                except SyscallError:
                    continue        # one that is there for writing
    return out


def belongs(one: Portrait, lease: Lease) -> bool:
    """Whether this is the link of a lease: hardware by what it is, a virtual one by the index that it got inside."""
    if nic.physical(lease["link"]):
        return bool(nic.key(one) == lease["key"])
    home = lease["link"]
    return bool(one["kind"] == home["kind"] and (one["index"] == lease["inside"] or (
        one["name"] == home["name"] and one["mac"] == home["mac"])))


def at_home(kernel: Any, lease: Lease) -> Portrait | None:
    """The link of a lease as it is on the host, None where it is not there."""
    return next((one for one in kernel.portraits(*requests()) if belongs(one, lease)), None)


def bring_home(kernel: Any, lease: Lease, space: int | None) -> list[str] | None:
    """Find the link of a lease, bring it home, and make it what it was; may be repeated.

    Args:
        space: a descriptor of the network namespace that it went to, None where that is gone.

    Returns:
        What of it is not as it was; None where there is no such link here.
    """
    one = at_home(kernel, lease)
    if one is None and space is not None and _fetch(kernel, lease, space):
        one = at_home(kernel, lease)
    if one is None:
        return None
    if one["index"] != lease["link"]["index"] and nic.physical(one) and kernel.exists(INITIAL):
        _reindex(kernel, one, lease["link"]["index"])
        one = at_home(kernel, lease)
        if one is None:
            return None
    return dress(kernel, lease, one)


def _fetch(kernel: Any, lease: Lease, space: int) -> bool:
    """Move a link home out of a namespace that is held, whatever is done with it there; False: it is not in that.

    Raises:
        HostError: the host's namespace takes it under no name.
    """
    home = lease["link"]
    spare, failed = f"dev{home['index']}", None
    for name, index in ((home["name"], home["index"]), (home["name"], 0), (spare, home["index"]), (spare, 0)):
        one = next((one for one in _inside(kernel, space) if belongs(one, lease)), None)
        if one is None:
            return False
        try:
            # Other names that it got inside may be a link's on the host.
            _send(kernel, space, nic.drop_altnames(one), ENOENT)
            _send(kernel, space, [nic.move(one["index"], kernel.own_pid(), name, index)])
            break
        except SyscallError as error:
            if error.errno == ENODEV:
                return False    # it went elsewhere meanwhile
            if error.errno not in (EEXIST, EBUSY):
                raise
            failed = error
    else:
        assert failed is not None
        raise HostError(f"{home['name']} cannot be moved home: {failed.why or failed.what}", "the host's network "
                        f"namespace takes it neither under its name nor as {spare}, ip-link(8)",
                        "end what keeps giving it other names inside")
    # Whoever made a link on it inside could use it from there ever after.
    found = at_home(kernel, lease)
    stacked = [each["index"] for each in _inside(kernel, space, stacked=True)
               if found is not None and each["lower"] == found["index"] and each["kind"] in nic.STACKED]
    if stacked:
        _send(kernel, space, [rtnetlink.delete_link(index) for index in stacked], ENODEV)
    return True


def _inside(kernel: Any, space: int, stacked: bool = False) -> list[Portrait]:
    table = entered()
    table.add(abi.OP_DUMP, s1=rtnetlink.dump_links())
    reports = kernel.run_table(table.ops, (space,))
    return list(kernel.read_portraits([one.data for one in reports if one.data], stacked))


def _send(kernel: Any, space: int, messages: list[bytes], ignore: int = 0) -> None:
    table = entered()
    for message in messages:
        table.add(abi.OP_NETLINK, s1=message, c=ignore)
    if messages:
        kernel.run_table(table.ops, (space,))


def _reindex(kernel: Any, one: Portrait, index: int) -> None:
    """Give a link of the host another index, which only a way through another namespace does.

    That namespace has one process, which waits until the link is there and sends it back: should we die, so does
    it, and the kernel brings the link back as it did before.
    """
    if any(each["index"] == index for each in kernel.portraits(rtnetlink.dump_links())):
        return
    table = Table()
    table.add(abi.OP_BARRIER, a=1)
    table.add(abi.OP_NETLINK, s1=nic.move(_MEANWHILE, kernel.own_pid(), one["name"], index))
    kernel.netlink(nic.flags(one["index"], 0, abi.IFF_UP), f"link {one['name']}")
    child = kernel.spawn(table.ops, flags=abi.CLONE_NEWNET)
    try:
        report = child.receive(PATIENCE)
        if report is None or report.kind != abi.REPORT_BARRIER:
            return
        kernel.netlink(nic.move(one["index"], child.pid, one["name"], _MEANWHILE), f"link {one['name']}")
        child.go()
        while (report := child.receive(PATIENCE)) is not None and report.kind != abi.REPORT_DONE:
            if report.kind == abi.REPORT_ERROR:
                break
    except SyscallError:
        pass        # it has another index then, which `dress` tells
    finally:
        child.kill()
    end = monotonic() + PATIENCE
    while monotonic() < end and not any(nic.key(each) == nic.key(one)
                                        for each in kernel.portraits(rtnetlink.dump_links())):
        sleep(0.005)


def dress(kernel: Any, lease: Lease, now: Portrait) -> list[str]:
    """Make a link of the host what its portrait shows; returns what it could not."""
    home, index, wrong = lease["link"], now["index"], []
    what, elapsed = f"link {home['name']}", max(0, kernel.uptime() - lease["uptime"])

    def send(*messages: bytes) -> None:
        # All answers to one call wait in the socket, which holds some hundreds.
        for at in range(0, len(messages), AT_ONCE):
            try:
                kernel.netlink(b"".join(messages[at:at + AT_ONCE]), what)
            except SyscallError as error:
                wrong.append(error.why or error.what)

    inet6 = home["generated"] >= 0
    # First of all it may neither speak nor be spoken to.
    send(nic.flags(index, 0, abi.IFF_UP), *[nic.rename(index, home["name"])] * (now["name"] != home["name"]),
         *(message for _, message in nic.properties(home, now, index)),
         *[nic.generate(index, abi.IN6_ADDR_GEN_MODE_NONE)] * inet6)
    now = at_home(kernel, lease) or now
    for word, value in settings(kernel, now["name"]).items():
        if home["settings"].get(word, value) != value:
            kind, _, leaf = word.rpartition("/")
            try:
                kernel.write(f"/proc/sys/net/{kind}/{now['name']}/{leaf}", home["settings"][word])
            except SyscallError as error:
                wrong.append(error.what)
    master = kernel.link_index(home["master"]) if home["master"] else 0
    send(nic.flags(index, home["flags"], nic.FLAGS & ~abi.IFF_UP), *nic.put_qdiscs(home, now, index),
         *nic.drop_addresses(now), *[rtnetlink.set_link(index, master=master)] * (now["master"] != home["master"]
                                                                                 and master is not None))
    up = bool(home["flags"] & abi.IFF_UP)
    send(*[nic.flags(index, abi.IFF_UP, abi.IFF_UP)] * up, *nic.put_addresses(home, index, elapsed),
         *nic.put_neighbours(home, index))
    for _ in range(3):      # a route may need another one first
        now = at_home(kernel, lease) or now
        asked, have = nic.routes(home, index), nic.routes(now, index)
        drop = [nic.drop_route(raw) for body, raw in have.items()
                if body not in asked and not (nic.by_kernel(body) and body[4] == abi.RT_TABLE_LOCAL)]
        put = [nic.put_route(raw, home["index"], index, elapsed) for body, raw in asked.items()
               if body not in have and not nic.by_kernel(body)]
        if not drop + put:
            break
        known = len(wrong)
        send(*drop, *put)
        del wrong[known:]       # what is missing in the end is told
    send(*nic.settle_addresses(home, index, elapsed), *[nic.put_token(index, home["token"])] * bool(
        home["token"].strip("0")), *[nic.generate(index, home["generated"])] * inet6)
    left = nic.differences(home, at_home(kernel, lease) or now)
    return [f"its {', '.join(left)}" + (f" ({'; '.join(dict.fromkeys(wrong))})" if wrong else "")] if left else []


# -- for those who plan ------------------------------------------------------------------------------------

def hold(target: str, kernel: Any, run: Any) -> bool:
    """Hold the network namespace of an init; False where that has ended and none is held."""
    if run.holds(target, HELD):
        return True
    pid = run.pid(target)
    try:
        if pid:
            run.hold(target, HELD, kernel.open(f"/proc/{pid}/ns/net"))
    except SyscallError:
        return False
    return bool(pid)


def entered() -> Table:
    """The beginning of a table that works in the namespace that is held."""
    table = Table((HELD,))
    table.add(abi.OP_PRCTL, a=abi.PR_SET_DUMPABLE, b=0)
    table.add(abi.OP_SETNS, slot=table.slot(HELD), a=abi.CLONE_NEWNET)
    return table


def fetch(target: str, asked: tuple[str, ...], kernel: Any, run: Any) -> None:
    """Bring home what hid from its way back, now that all of the container's processes are dead."""
    for word in asked:
        lease = run.leases.of(target, word)
        if lease is not None:
            run.leases.try_end(lease, run.held(target, HELD) if run.holds(target, HELD) else None, run.warn)
    if run.holds(target, HELD):
        run.drop(target, HELD)      # or a follower would be handed it


def lent(spec: Spec, devices_only: bool = False) -> tuple[str, ...]:
    """The words by which a spec asks for links of the host."""
    return (*(one.host for one in spec.linux.net_devices),
            *(one.parent or "" for _, one in physical(spec) if not devices_only))


def device_step(name: str, path: str, one: NetDevice) -> LendLink:
    """The step that lends a container what its linux.netDevices name."""
    return LendLink(target=name, path=path, asked=one.host, host=one.host, name=one.name or one.host,
                    index=view_links.device_index(one.host), carry=True)


def interface_step(spec: Spec, i: int, one: Interface, index: int, known: dict[str, Any],
                   live: bool = False) -> LendLink:
    """The step that lends a container its physical interface.

    Args:
        index: that it gets inside.
        known: the words of `parent` -> (name, key, mac, mtu) of the link that each means.
    """
    assert one.parent is not None
    host, key, _, _ = known[one.parent]
    kind = LendLinkLive if live else LendLink
    return kind(target=spec.name, path=f"interfaces[{i}]", asked=one.parent, host=host, key=key, name=one.name,
                index=index, mac=one.mac, mtu=one.mtu)


def lend(spec: Spec, known: dict[str, Any], devices_only: bool = False) -> list[Step]:
    """The links that a new init takes over; a restart keeps the interfaces that are inside."""
    devices = [device_step(spec.name, f"linux.netDevices[{i}]", one) for i, one in enumerate(spec.linux.net_devices)]
    return [*devices, *([] if devices_only else [interface_step(spec, i, one, view_links.FIRST_INDEX + i, known)
                                                 for i, one in physical(spec)])]


def back(spec: Spec, devices_only: bool = False) -> list[Step]:
    """Before the end of an init, all of them."""
    out: list[Step] = [ReturnLink(target=spec.name, path=f"linux.netDevices[{i}]", asked=one.host,
                                  device=one) for i, one in enumerate(spec.linux.net_devices)]
    return out + ([] if devices_only else [
        ReturnLink(target=spec.name, path=f"interfaces[{i}]", asked=one.parent or "", interface=one)
        for i, one in physical(spec)])
