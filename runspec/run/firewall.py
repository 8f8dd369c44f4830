"""The firewall as this run changes it: our nftables table and the kernel parameters that it takes.

Everybody's elements are in one table and a parameter serves several, so each change is made under one
lock, for its owners alone: what others did meanwhile stays, also when a dead run is undone.
"""

from __future__ import annotations

import os
from errno import ENODEV, ENOENT

from runspec import abi
from runspec.errors import HostError, SyscallError
from runspec.kernel import conntrack, netlink, netlink_bridge
from runspec.kernel.nft import parse_table
from runspec.plan import nft, rtnetlink, rtnetlink_bridge, view_nft
from runspec.run import forwarding
from runspec.run.store import HELD, boot_id
from runspec.spec import jsonlite
from runspec.spec.model import Network, Spec
from runspec.spec.tree import from_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from runspec.kernel import Kernel
    from runspec.plan.nft import Element
    from runspec.plan.view_nft import Wall
    from runspec.run.request import Wanted
    from runspec.run.store import Store

    # Path -> what it was, what it is held at, by whom; what else had to change with it, as it was; of forwarding, what
    # the kernel changes beside it, as it will be set again, and whether giving back has begun.
    Knobs = dict[str, dict[str, Any]]

_V6 = nft.FORWARD[6]
# RTF_ADDRCONF with RTF_DEFAULT, or with RTF_PREFIX_RT, linux/ipv6_route.h
_BY_RA = 0x00050000, 0x000C0000


class Firewall:
    """The door to it.

    Args:
        store: remembers in its directory what parameters were.
    """

    def __init__(self, kernel: Kernel, store: Store) -> None:
        self.kernel, self.store = kernel, store
        self._room = f"{store.root}/firewall"
        self._file = f"{store.root}/{HELD}"
        self._ports: dict[str, str] | None = None       # hairpin of each port of a bridge

    # -- looking --

    def table(self) -> nft.Table | None:
        """Our table, None where there is none.

        Raises:
            HostError: it is there and somebody else's.
        """
        data = self.kernel.nft_list("table", nft.FAMILY, nft.NAME)
        table = nft.Table(**parse_table(data)) if data is not None else None
        if table is not None and not table.ours:
            raise HostError(f"there is an nftables table {nft.FAMILY} {nft.NAME} already and it is not runspec's",
                            f"runspec changes only what bears its mark, and its set {nft.MARK} is not there",
                            f"rename it, or `nft delete table {nft.FAMILY} {nft.NAME}`")
        return table

    def look(self, models: Iterable[Spec | Network | None]) -> Wall | None:
        """What is there, where one of these has to do with it."""
        given = [one for one in models if one is not None]
        those = [one for one in given if nft.uses(one)]
        try:
            knobs = self._read()
        except HostError:
            if those:
                raise
            return None         # damaged, which is nothing to who uses none of it
        closed = self._closed(knobs)
        if not those and not (closed and any(isinstance(one, Network) or nft.routed(one) for one in given)):
            return None
        bridged = any(self._value(f"net/bridge/bridge-nf-call-{word}") == "1" for word in ("iptables", "ip6tables"))
        names = dict.fromkeys(knob for one in those for knob in nft.knobs(one, bridged))
        table = self.table()
        return view_nft.Wall(table=table, held=self._holders(knobs), bridged=bridged, closed=bool(closed),
                    knobs={name: self._value(name) for name in names}, closing=self._closing(knobs, table))

    def _closing(self, knobs: Knobs, table: nft.Table | None) -> dict[str, tuple[str, ...]]:
        """What is wrong with forwarding for nobody else, for each family's switch."""
        closed, out = self._closed(knobs), {}
        have = {at for at, (_, said) in table.elements.items() if said == nft.HOST} if table is not None else set()
        for kind in closed if table is not None else ():
            knob = nft.FORWARD[kind]
            want = {(name, key) for name, key, _ in self._host([kind], table, {})}
            found = [f"no element {name} {key}" for name, key in sorted(want - have)]
            found += [f"element {name} {key} too many" for name, key in sorted(have - want)
                      if name in ("closed", "free") and key.startswith(f"ipv{kind}")]
            if self._taken_over(knob, knobs[knob]):
                found = [f"{knob.replace('/', '.')} was switched on by somebody else, who is not served yet"]
            out[knob] = tuple(found)
        return out

    def _value(self, knob: str) -> str | None:
        if knob.startswith(nft.PORT):
            if self._ports is None:
                flags: dict[int, bool] = {}
                names: dict[int, str] = {}
                for data in self.kernel.dump(rtnetlink.dump_links()):
                    flags.update(netlink_bridge.parse_ports(data, abi.IFLA_BRPORT_MODE))
                    names.update((one.index, one.name) for one in netlink.parse_links(data))
                self._ports = {names[index]: str(int(flag)) for index, flag in flags.items() if index in names}
            return self._ports.get(knob.removeprefix(nft.PORT))
        text = self.kernel.try_read(f"/proc/sys/{knob}")
        return text.decode("ascii", "replace").strip() if text is not None else None

    def _set(self, knob: str, value: str) -> None:
        if knob.startswith(nft.PORT):
            link = knob.removeprefix(nft.PORT)
            # A veth goes some time after its namespace: what is no more needs nothing.
            self.kernel.netlink(rtnetlink_bridge.set_hairpin(link, value == "1"), knob, ignore=ENODEV)
            if self._ports is not None:
                self._ports[link] = value
            return
        try:
            self.kernel.write(f"/proc/sys/{knob}", value)
        except SyscallError as error:
            if error.errno not in (ENOENT, ENODEV):
                raise

    # -- elements --

    def elements_of(self, owners: Iterable[str]) -> dict[str, list[Element]]:
        """What each of these owners has now."""
        table = self.table()
        have = table.elements if table is not None else {}
        return {owner: [(name, key, value) for (name, key), (value, said) in have.items() if said == owner]
                for owner in owners}

    def bring(self, wanted: Mapping[str, Iterable[Element]]) -> None:
        """Give these owners these elements and no others, in one transaction."""
        lock = self._lock()
        try:
            self._bring(wanted, self._closed(self._read()))
        finally:
            self._unlock(lock)

    def _bring(self, wanted: Mapping[str, Iterable[Element]], closed: list[int], opened: bool = False) -> None:
        """As bring, under the lock; what keeps the host from forwarding for others comes or stays along.

        Args:
            closed: families that we alone forward; opened: there may have been more.
        """
        table = self.table()
        if closed or opened:
            wanted = {owner: tuple(those) for owner, those in wanted.items()}
            wanted[nft.HOST] = self._host(closed, table, wanted)
        text = nft.batch(table, wanted)
        if not text:
            return
        self.kernel.nft(text)
        lost, led = nft.led_anew(table, wanted)
        if lost or led:
            # Who sends without a pause would be led as before for ever.
            self.kernel.forget_flows(lambda flow: flow.protocol == conntrack.UDP and (flow.answers in lost or any(
                nft.takes(one, flow.target, flow.port) and flow.answers != one[2].partition(" . ")[0]
                for one in led)))

    def _host(self, closed: list[int], table: nft.Table | None,
              wanted: Mapping[str, Iterable[Element]]) -> tuple[Element, ...]:
        """The host's own elements, without what is an owner's already."""
        have = table.elements if table is not None else {}
        taken = {at for at, (_, said) in have.items() if said != nft.HOST and said not in wanted}
        taken.update((name, key) for those in wanted.values() for name, key, _ in those)
        return tuple(one for one in forwarding.elements(self.kernel, closed) if one[:2] not in taken)

    def forget(self, owner: str) -> None:
        """Whatever an owner of this name has goes: nobody knows what that was."""
        self.hold({owner: {}})
        if self.kernel.nft_program() is not None and self.kernel.nft_list("table", nft.FAMILY, nft.NAME) is not None:
            self.bring({owner: ()})

    # -- kernel parameters --

    def held_by(self, owners: Iterable[str]) -> dict[str, dict[str, str]]:
        """What is held for each of these owners."""
        found = self._holders(self._read())
        return {owner: found.get(owner, {}) for owner in owners}

    def hold(self, wanted: Mapping[str, Mapping[str, str]], lenient: bool = False, anew: bool = False) -> None:
        """Hold these parameters for these owners and nothing else; what nobody holds is given back.

        Args:
            lenient: those of links that are not there are left out.
            anew: what keeps the host from forwarding for others is looked over.
        """
        lock = self._lock()
        try:
            knobs, self._ports = self._read(), None
            # Where a dead one was at giving back, that comes first: what it had read is read no more.
            self._end(knobs)
            self._adopt(knobs)
            before, closed = jsonlite.dumps(knobs), self._closed(knobs)
            if lenient:
                wanted = {owner: {path: value for path, value in asked.items() if self._value(path) is not None}
                          for owner, asked in wanted.items()}
            if not knobs and not any(wanted.values()):
                return
            for owner, asked in wanted.items():
                for path, one in knobs.items():
                    if owner in one["users"] and path not in asked:
                        one["users"].remove(owner)
                for path, value in asked.items():
                    self._take(knobs, path, value, owner)
            # Written down before it is done: a kill in between loses nothing, and what has no user is given back.
            if before != jsonlite.dumps(knobs):
                self._write(knobs)
            # Closed before it is switched on, and opened after it is off again.
            shut = self._closed(knobs, ending=True)
            if shut != closed or anew:
                self._bring({}, shut, opened=True)
            for path in dict.fromkeys(path for asked in wanted.values() for path in asked):
                if path in knobs:
                    self._do(path, knobs[path])
            self._end(knobs)
        finally:
            self._unlock(lock)

    def told(self) -> tuple[str, ...]:
        """For who only looks: what `settle` would do."""
        return tuple(f"warning: {knob.replace('/', '.')} was switched on by somebody else, and what runspec's networks "
                     "did not ask for is still dropped; `runspec apply`, of anything, ends that"
                     for knob, one in self._read().items() if self._taken_over(knob, one))

    def settle(self) -> tuple[str, ...]:
        """Where somebody else switched forwarding on since, his packets are dropped no more; returns what to tell."""
        try:
            if not any(self._taken_over(knob, one) for knob, one in self._read().items()):
                return ()
            lock = self._lock()
            try:
                found = self._adopt(self._read())
            finally:
                self._unlock(lock)
        except HostError as error:
            return (f"warning: {error.what}: {error.why}",)
        return tuple(f"{knob.replace('/', '.')} was switched on by somebody else: from now on the host forwards for all"
                     for knob in found)

    @staticmethod
    def _closed(knobs: Knobs, ending: bool = False) -> list[int]:
        """The families that are forwarded by our doing alone.

        Args:
            ending: with those that nobody holds any more and that are not given back yet.
        """
        return [kind for kind, knob in nft.FORWARD.items() if knob in knobs and knobs[knob]["was"] == forwarding.OFF
                and (ending or knobs[knob]["users"])]

    def _taken_over(self, knob: str, one: dict[str, Any]) -> bool:
        """Whether forwarding that was ours is somebody else's by now."""
        return (knob in nft.FORWARD.values() and one["was"] == forwarding.OFF
                and self._value(knob) not in (None, forwarding.OFF, one["is"]))

    def _adopt(self, knobs: Knobs) -> list[str]:
        """Let go of forwarding that is somebody else's by now; returns which."""
        found = [knob for knob, one in knobs.items() if self._taken_over(knob, one)]
        for knob in found:
            now = self._value(knob)
            knobs[knob].update({"was": now, "is": now, "beside": {}, "giving": False})
        if found:
            # Opened before it is forgotten that it was closed.
            self._bring({}, self._closed(knobs), opened=True)
            self._write(knobs)
        return found

    def _end(self, knobs: Knobs) -> None:
        """Give back what nobody holds."""
        ended = [path for path, one in knobs.items() if not one["users"]]
        for path in ended:
            self._give_back(path, knobs)
        if any(path in nft.FORWARD.values() and knobs[path]["was"] == forwarding.OFF for path in ended):
            self._bring({}, self._closed(knobs), opened=True)
        for path in ended:
            del knobs[path]
        if ended:
            self._write(knobs)

    def _take(self, knobs: Knobs, path: str, value: str, owner: str) -> None:
        now = self._value(path)
        if now is None:
            raise HostError(f"there is no {path.replace('/', '.')}", "its link went away, or the kernel lacks it",
                            "apply again, or use a kernel with IPv6" if "ipv6" in path else "apply again")
        forward = path in nft.FORWARD.values()
        one = knobs.setdefault(path, {"was": now, "is": now if forward else value, "users": [], "also": {},
                                      "beside": {}, "giving": False})
        if forward and now == forwarding.OFF:
            one.update({"was": now, "is": forwarding.OURS, "beside": forwarding.beside(self.kernel, path),
                        "giving": False})
        if owner not in one["users"]:
            one["users"].append(owner)
        if path == _V6 and now == forwarding.OFF:
            one["also"] = {**dict.fromkeys(self._advertised(), "1"), **one["also"]}

    def _do(self, path: str, one: dict[str, Any]) -> None:
        for link in one["also"]:
            if self._value(link) == "1":
                self._set(link, "2")
        now = self._value(path)
        if now != one["is"] and (now == forwarding.OFF or path not in nft.FORWARD.values()):
            self._set(path, one["is"])
            for link, value in forwarding.kept(one["beside"]).items():
                self._set(link, value)

    def _give_back(self, knob: str, knobs: Knobs) -> None:
        one = knobs[knob]
        now = self._value(knob)
        # What somebody else has set since is his.
        if one["is"] != one["was"] and now == one["is"]:
            if knob in nft.FORWARD.values():
                # Written down before it is done: the switch takes it from every link.
                one.update({"beside": forwarding.left(self.kernel, knob, one["beside"]), "giving": True})
                self._write(knobs)
            self._set(knob, one["was"])
            now = one["was"]
        if one["giving"] and now == one["was"]:
            for path, value in one["beside"].items():
                if self._value(path) != value:
                    self._set(path, value)
        for path, was in one["also"].items():
            # A host that forwards for somebody else hears no router at 1.
            if self._value(path) == "2" and now in (None, forwarding.OFF):
                self._set(path, was)

    def _advertised(self) -> Iterator[str]:
        """Links that have routes which a router advertises: a host that forwards takes none, unless it is told to.

        See: ip-sysctl.rst, accept_ra.
        """
        for line in (self.kernel.try_read("/proc/net/ipv6_route") or b"").decode("ascii", "replace").splitlines():
            words = line.split()
            if len(words) == 10 and any(int(words[8], 16) & flags == flags for flags in _BY_RA):
                path = f"net/ipv6/conf/{words[9]}/accept_ra"
                if self._value(path) == "1":
                    yield path

    @staticmethod
    def _holders(knobs: Knobs) -> dict[str, dict[str, str]]:
        out: dict[str, dict[str, str]] = {}
        for path, one in knobs.items():
            for owner in one["users"]:
                # Whoever switched it on and with what: asked was that it is on.
                out.setdefault(owner, {})[path] = "1" if path in nft.FORWARD.values() else one["is"]
        return out

    def _read(self) -> Knobs:
        text = self.kernel.try_read(self._file)
        try:
            if text is None:
                return {}
            tree = jsonlite.loads(text)
            knobs: Knobs = dict(tree["knobs"])
            if any(set(one) != {"was", "is", "users", "also", "beside", "giving"} for one in knobs.values()):
                raise ValueError("keys")
            # After a reboot the kernel has its own values again.
            return knobs if tree["boot"] == boot_id(self.kernel) else {}
        except (ValueError, KeyError, TypeError):
            raise HostError(f"{self._file} is damaged", "it says what kernel parameters were before runspec set them",
                            "remove it; `sysctl net.ipv4.ip_forward` and the like stay as they are") from None

    def _write(self, knobs: Knobs) -> None:
        if knobs:
            self.kernel.replace_file(self._file, jsonlite.dumps({"boot": boot_id(self.kernel), "knobs": knobs}) + "\n")
        elif self.kernel.exists(self._file):
            self.kernel.remove_file(self._file)

    # -- one at a time --

    def _lock(self) -> int:
        self.store.prepare()
        return self.kernel.lock_dir(self._room, create=0o700)

    def _unlock(self, fd: int) -> None:
        try:
            if not self.kernel.list_dir(self._room):
                self.kernel.remove_dir(self._room)
        finally:
            self.kernel.unlock(fd)


def look(kernel: Kernel, store: Store, specs: Iterable[Spec], wanted: Iterable[Wanted],
         lasts: Mapping[str, Spec | None], gone: Iterable[tuple[str, str]]) -> Wall | None:
    """What is seen of the firewall, where anybody of a request has or had to do with it.

    Args:
        specs: its containers, with what they have from their networks.
        lasts: what was applied of them last.
        gone: (kind, name) of what is to be removed.
    """
    models: list[Spec | Network | None] = [*specs, *lasts.values()]
    networks = [one.model for one in wanted if isinstance(one.model, Network)]
    for kind, name in (*(("network", one.name) for one in networks), *gone):
        record = store.load(kind, name)
        if record is not None and (any(record.spec.get(word) for word in ("ports", "nat", "internal", "isolated"))
                                   or any(one.get("mode") == "routed" for one in record.spec.get("interfaces", ()))):
            models.append(from_tree(Network, record.spec) if kind == "network" else from_tree(Spec, record.spec))
    return Firewall(kernel, store).look([*models, *networks])


def usable(kernel: Kernel) -> tuple[str, str] | None:
    """Why ports and nat cannot be had here, as (why, fix); None where they can. The kernel is asked, nothing stays."""
    if kernel.nft_program() is None:
        return "the program nft is not installed", "apt-get install nftables"
    try:
        kernel.nft(nft.skeleton(), check=True)
    except HostError as error:
        return error.what, ("run it as root" if os.geteuid() else "use a kernel with CONFIG_NF_TABLES_INET, "
                            "CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_CT and CONFIG_NFT_FIB_INET")
    return None
