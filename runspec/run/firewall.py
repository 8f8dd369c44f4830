"""The firewall as this run changes it: our nftables table and the kernel parameters that it takes.

Everybody's elements are in one table and a parameter serves several, so each change is made under one
lock, for its owners alone: what others did meanwhile stays, also when a dead run is undone.
"""

from __future__ import annotations

import os
from errno import ENODEV, ENOENT

from runspec import abi
from runspec.errors import HostError, SyscallError
from runspec.kernel.conntrack import UDP
from runspec.kernel.netlink import parse_links
from runspec.kernel.netlink_bridge import parse_ports
from runspec.kernel.nft import parse_table
from runspec.plan import nft, rtnetlink
from runspec.plan.rtnetlink_bridge import set_hairpin
from runspec.plan.steps.host_links import MARK, forwarding_files
from runspec.plan.view_nft import Wall
from runspec.run.store import boot_id
from runspec.spec import jsonlite
from runspec.spec.model import Network, Spec
from runspec.spec.tree import from_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from runspec.kernel import Kernel
    from runspec.plan.nft import Element
    from runspec.run.apply import Wanted
    from runspec.run.store import Store

    # Path -> what it was, what it is held at, by whom; and what else had to change with it, as it was.
    Knobs = dict[str, dict[str, Any]]

_V6 = nft.FORWARD[6]
_DEFAULT_BY_RA = 0x00050000      # RTF_ADDRCONF | RTF_DEFAULT, linux/ipv6_route.h


class Firewall:
    """The door to it.

    Args:
        store: remembers in its directory what parameters were.
    """

    def __init__(self, kernel: Kernel, store: Store) -> None:
        self.kernel, self.store = kernel, store
        self._room = f"{store.root}/firewall"
        self._file = f"{self._room}/knobs.json"
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
        those = [one for one in models if one is not None and nft.uses(one)]
        if not those:
            return None
        bridged = any(self._value(f"net/bridge/bridge-nf-call-{word}") == "1" for word in ("iptables", "ip6tables"))
        names = dict.fromkeys(knob for one in those for knob in nft.knobs(one, bridged))
        return Wall(table=self.table(), held=self._holders(self._read()), bridged=bridged,
                    knobs={name: self._value(name) for name in names})

    def _value(self, knob: str) -> str | None:
        if knob.startswith(nft.PORT):
            if self._ports is None:
                flags: dict[int, bool] = {}
                names: dict[int, str] = {}
                for data in self.kernel.dump(rtnetlink.dump_links()):
                    flags.update(parse_ports(data, abi.IFLA_BRPORT_MODE))
                    names.update((one.index, one.name) for one in parse_links(data))
                self._ports = {names[index]: str(int(flag)) for index, flag in flags.items() if index in names}
            return self._ports.get(knob.removeprefix(nft.PORT))
        text = self.kernel.try_read(f"/proc/sys/{knob}")
        return text.decode("ascii", "replace").strip() if text is not None else None

    def _set(self, knob: str, value: str) -> None:
        if knob.startswith(nft.PORT):
            link = knob.removeprefix(nft.PORT)
            # A veth goes some time after its namespace: what is no more needs nothing.
            self.kernel.netlink(set_hairpin(link, value == "1"), knob, ignore=ENODEV)
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
            table = self.table()
            text = nft.batch(table, wanted)
            if not text:
                return
            self.kernel.nft(text)
            lost, led = nft.led_anew(table, wanted)
            if lost or led:
                # Who sends without a pause would be led as before for ever.
                self.kernel.forget_flows(lambda flow: flow.protocol == UDP and (flow.answers in lost or any(
                    nft.takes(one, flow.target, flow.port) and flow.answers != one[2].partition(" . ")[0]
                    for one in led)))
        finally:
            self._unlock(lock)

    def forget(self, name: str) -> None:
        """Whatever a container of this name has goes: nobody knows what that was."""
        self.hold({name: {}})
        if self.kernel.nft_program() is not None and self.kernel.nft_list("table", nft.FAMILY, nft.NAME) is not None:
            self.bring({name: ()})

    # -- kernel parameters --

    def held_by(self, owners: Iterable[str]) -> dict[str, dict[str, str]]:
        """What is held for each of these owners."""
        found = self._holders(self._read())
        return {owner: found.get(owner, {}) for owner in owners}

    def hold(self, wanted: Mapping[str, Mapping[str, str]], lenient: bool = False) -> None:
        """Hold these parameters for these owners and nothing else; what nobody holds is given back.

        Args:
            lenient: those of links that are not there are left out.
        """
        lock = self._lock()
        try:
            knobs, self._ports = self._read(), None
            before = {path: (*one["users"], *one["also"]) for path, one in knobs.items()}
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
            if before != {path: (*one["users"], *one["also"]) for path, one in knobs.items()}:
                self._write(knobs)
            for path in dict.fromkeys(path for asked in wanted.values() for path in asked):
                if path in knobs:
                    self._do(path, knobs[path])
            ended = [path for path, one in knobs.items() if not one["users"]]
            for path in ended:
                self._give_back(path, knobs.pop(path))
            if ended:
                self._write(knobs)
        finally:
            self._unlock(lock)

    def _take(self, knobs: Knobs, path: str, value: str, owner: str) -> None:
        now = self._value(path)
        if now is None:
            raise HostError(f"there is no {path.replace('/', '.')}", "its link went away, or the kernel lacks it",
                            "apply again, or use a kernel with IPv6" if "ipv6" in path else "apply again")
        one = knobs.setdefault(path, {"was": now, "is": value, "users": [], "also": {}})
        if owner not in one["users"]:
            one["users"].append(owner)
        if path == _V6 and now != value:
            one["also"] = {**dict.fromkeys(self._advertised(), "1"), **one["also"]}

    def _do(self, path: str, one: dict[str, Any]) -> None:
        for link in one["also"]:
            if self._value(link) == "1":
                self._set(link, "2")
        if self._value(path) != one["is"]:
            self._set(path, one["is"])

    def _give_back(self, knob: str, one: dict[str, Any]) -> None:
        for at, held, was in ((knob, one["is"], one["was"]), *((link, "2", was) for link, was in one["also"].items())):
            # What somebody else has set since is his.
            if held != was and self._value(at) == held:
                self._set(at, was)
                # The write took it from every link.
                for link in self._routed() if at in nft.FORWARD.values() else ():
                    for path in forwarding_files(link)[at == _V6]:
                        self._set(path.removeprefix("/proc/sys/"), "1")

    def _routed(self) -> list[str]:
        """Ends of containers' links that the host routes for: they forward for themselves."""
        return [one.name for data in self.kernel.dump(rtnetlink.dump_links()) for one in parse_links(data)
                if one.kind == "veth" and not one.master and one.alias.startswith(MARK)]

    def _advertised(self) -> Iterator[str]:
        """Links whose default route a router advertises: a host that forwards takes none, unless it is told to.

        See: ip-sysctl.rst, accept_ra.
        """
        for line in (self.kernel.try_read("/proc/net/ipv6_route") or b"").decode("ascii", "replace").splitlines():
            words = line.split()
            if len(words) == 10 and int(words[8], 16) & _DEFAULT_BY_RA == _DEFAULT_BY_RA:
                path = f"net/ipv6/conf/{words[9]}/accept_ra"
                if self._value(path) == "1":
                    yield path

    @staticmethod
    def _holders(knobs: Knobs) -> dict[str, dict[str, str]]:
        out: dict[str, dict[str, str]] = {}
        for path, one in knobs.items():
            for owner in one["users"]:
                out.setdefault(owner, {})[path] = one["is"]
        return out

    def _read(self) -> Knobs:
        text = self.kernel.try_read(self._file)
        try:
            if text is None:
                return {}
            tree = jsonlite.loads(text)
            knobs: Knobs = dict(tree["knobs"])
            if any(set(one) != {"was", "is", "users", "also"} for one in knobs.values()):
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
        if record is not None and any(record.spec.get(word) for word in ("ports", "nat", "internal")):
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
