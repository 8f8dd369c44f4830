"""Leases: a file for each link of the host that is with a container, from before it goes until it is home again.

It says what the link was. Who finds it while its container does not live any more brings the link home.
"""

from __future__ import annotations

import os
import struct
from time import monotonic, sleep

from runspec import abi
from runspec.errors import HostError, RunspecError, StateError, SyscallError
from runspec.plan import nic, rtnetlink, rtnetlink_host
from runspec.plan.steps import lease as steps
from runspec.run.store import LENT, boot_id, status
from runspec.spec import jsonlite, networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runspec.kernel import Kernel
    from runspec.plan.nic import Portrait
    from runspec.plan.steps.lease import Lease
    from runspec.run.abilities import Refusal
    from runspec.run.store import Store
    from runspec.spec.model import Spec

VERSION = 1
_TYPES: dict[str, type] = {"version": int, "boot_id": str, "container": str, "asked": str, "key": str, "inside": int,
                           "space": int, "home": int, "uptime": int, "link": dict}
_LINK: dict[str, type] = {
    **dict.fromkeys(("name", "kind", "mac", "broadcast", "perm", "bus", "device", "port", "pci", "alias", "master",
                     "token"), str),
    **dict.fromkeys(("index", "layer", "mtu", "txqlen", "group", "linkmode", "flags", "lower", "generated"), int),
    **dict.fromkeys(("altnames", "upper", "addresses", "routes", "qdiscs", "neighbours"), list), "settings": dict}


def parse_lease(text: bytes) -> Lease:
    """A lease from the text of its file.

    Raises:
        ValueError: it is damaged, or of another version.
    """
    tree = jsonlite.loads(text)
    if not isinstance(tree, dict):
        raise ValueError("it is no map")
    if tree.get("version") != VERSION:
        raise ValueError(f"version is {tree.get('version')!r}, this runspec knows {VERSION}")
    link = tree.get("link")
    if not isinstance(link, dict):
        raise ValueError("link is missing or wrong")
    for names, where in ((_TYPES, tree), (_LINK, link)):
        for field, kind in names.items():
            if type(where.get(field)) is not kind:
                raise ValueError(f"{field} is missing or wrong")
        if more := set(where) - set(names):
            raise ValueError(f"unknown keys: {', '.join(sorted(more))}")
    if not all(isinstance(one, str) for field in ("altnames", "upper") for one in link[field]) or not all(
            isinstance(one, str) for pair in link["settings"].items() for one in pair):
        raise ValueError("altnames, upper or settings are wrong")
    for field, least in (("addresses", 8), ("routes", 12), ("qdiscs", 20), ("neighbours", 12)):
        for one in link[field]:
            if not isinstance(one, str) or len(bytes.fromhex(one)) < least:
                raise ValueError(f"{field} are wrong")
    try:
        nic.rehearse(link)
    except (ValueError, IndexError, RunspecError, struct.error) as error:
        raise ValueError(f"link cannot be made from it: {error}") from None
    return tree


def _device(link: Portrait) -> str:
    return f"/sys/bus/{link['bus']}/devices/{link['device']}"


class Leases:
    """The leases of one state directory."""

    def __init__(self, kernel: Kernel, store: Store) -> None:
        self.kernel, self.store = kernel, store
        self.room = f"{store.root}/{LENT}"

    def path(self, key: str) -> str:
        """The file of the lease of a link, see nic.key."""
        return f"{self.room}/{key.replace('/', '_').replace(' ', '_')}.json"

    def all(self) -> list[Lease]:
        """Those that can be read, of this boot."""
        return [one for one, _ in self._every() if one is not None]

    def damaged(self) -> list[str]:
        """What is wrong with the others."""
        return [words for one, words in self._every() if one is None]

    def _every(self) -> list[tuple[Lease | None, str]]:
        out: list[tuple[Lease | None, str]] = []
        for file in self.kernel.list_dir(self.room):
            path = f"{self.room}/{file}"
            text = self.kernel.try_read(path) if file.endswith(".json") and file[0] != "." else None
            if text is None:
                continue
            try:
                one = parse_lease(text)
            except ValueError as error:
                out.append((None, f"{path} is damaged: {error}; put its link right by hand, then remove the file"))
                continue
            if one["boot_id"] == boot_id(self.kernel):
                out.append((one, path))
        return out

    def find(self, key: str) -> Lease | None:
        """The lease of a link."""
        return next((one for one in self.all() if one["key"] == key), None)

    def of(self, container: str, asked: str) -> Lease | None:
        """The lease of what a container's file calls so."""
        return next((one for one in self.all() if (one["container"], one["asked"]) == (container, asked)), None)

    def asked(self, container: str) -> tuple[str, ...]:
        """What a container's file calls all that it has."""
        return tuple(one["asked"] for one in self.all() if one["container"] == container)

    def save(self, lease: Lease) -> None:
        """Write a lease, to the disk: whatever ends after this, the link finds home.

        It takes the place of one for hardware of which something else has the name by now.
        """
        for one in self.all():
            if (one["container"], one["asked"]) == (lease["container"], lease["asked"]) and one["key"] != lease["key"]:
                self.drop(one["key"])
        if not self.kernel.exists(self.room):
            self.store.prepare()
            self.kernel.make_dir(self.room, 0o700)
        text = jsonlite.dumps({**lease, "version": VERSION, "boot_id": boot_id(self.kernel)})
        self.kernel.replace_file(self.path(lease["key"]), text + "\n", sync=True)

    def drop(self, key: str) -> None:
        """The link is home."""
        path = self.path(key)
        self.kernel.remove_file(f"{self.room}/.{os.path.basename(path)}.tmp")
        self.kernel.remove_file(path)

    def try_end(self, lease: Lease, space: int | None, warn: Callable[[str], None]) -> None:
        """The same for those who must go on whatever comes of it: the lease stays, and why is told."""
        try:
            self.end(lease, space, warn)
        except (RunspecError, ValueError) as error:
            words = ": ".join(filter(None, (error.what, error.why))) if isinstance(error, RunspecError) else str(error)
            warn(f"{lease['link']['name']} did not come home: {words}; its lease is {self.path(lease['key'])}")

    def end(self, lease: Lease, space: int | None, warn: Callable[[str], None], patient: bool = True) -> bool:
        """Bring the link of a lease home and forget the lease; its container's lock is held.

        Args:
            space: a descriptor of the namespace that it went to, None where nobody holds that.
            warn: hears what is not as it was.
            patient: its processes are dead: what they kept comes home soon.

        Returns:
            Whether the lease is over.
        Raises:
            HostError: it resists, or its home is not here.
        """
        name = lease["link"]["name"]
        if lease["home"] != self.kernel.network_of(self.kernel.own_pid()):
            raise HostError(f"a lease of {name} is another network namespace's", "there it has to come home to",
                            "run runspec there")
        wrong = self._bring(lease, space, patient)
        if wrong is None and self._plugged(lease["link"]):
            # The lease stays, for the next run to try again.
            if patient:
                warn(f"{name} did not come home: no network namespace in reach has it, and its device is there"
                     + ("" if self.kernel.exists(steps.INITIAL) else "; what nobody keeps the kernel gives to the "
                        "initial one, which this is not"))
            return False
        if wrong is None and nic.physical(lease["link"]):
            warn(f"{name} is not there any more")
        for words in wrong or ():
            warn(f"{name} is home, but {words} are not as they were")
        self.drop(lease["key"])
        return True

    def recall(self, lease: Lease) -> bool:
        """Bring a link home that somebody took elsewhere; its lease stays. Returns whether it is there."""
        return self._bring(lease, None, True) is not None

    def _home(self, lease: Lease, space: int | None) -> list[str] | None:
        """See steps.bring_home. The kernel throws a link back under the name that it had inside, which may be one that
        this link has at home: what is another lease's goes aside, and gets its own name when its turn comes."""
        names = (lease["link"]["name"], *lease["link"]["altnames"])
        for one in self.kernel.portraits(rtnetlink.dump_links()) if nic.physical(lease["link"]) else ():
            if one["name"] in names and any(nic.physical(other["link"]) and steps.belongs(one, other)
                                            and one["name"] != other["link"]["name"] for other in self.all()
                                            if other["key"] != lease["key"]):
                self.kernel.netlink(nic.flags(one["index"], 0, abi.IFF_UP)
                                    + nic.rename(one["index"], f"dev{one['index']}"), f"link {one['name']}")
        return steps.bring_home(self.kernel, lease, space)

    def _bring(self, lease: Lease, space: int | None, patient: bool) -> list[str] | None:
        wrong, link = self._home(lease, space), lease["link"]
        # Others than its container may keep its namespace, somebody in there may have taken it to one of their own,
        # or the kernel has not cleared that away yet.
        end, pause = monotonic() + steps.PATIENCE * patient, 0.02
        while wrong is None:
            failed = None
            for path in self._spaces(lease):
                try:
                    if (wrong := self._fetch(lease, path)) is not None:
                        return wrong
                except SyscallError as error:
                    failed = error      # it may still be in another one
            if monotonic() > end or not self._plugged(link):
                if failed is not None:
                    raise failed
                break
            sleep(pause)
            pause = min(2 * pause, 0.5)
            wrong = self._home(lease, None)
        return wrong

    def _fetch(self, lease: Lease, path: str) -> list[str] | None:
        try:
            space = self.kernel.open(path)
        except SyscallError:
            return None         # it has ended
        try:
            return self._home(lease, space)
        finally:
            self.kernel.close(space)

    def _spaces(self, lease: Lease) -> list[str]:
        """Files of the network namespaces that it may be in, that which it went to first; others for hardware only."""
        found: dict[int, str] = {}
        pids = [word for word in self.kernel.list_dir("/proc") if word.isdecimal()]
        for pid in pids:
            found.setdefault(self.kernel.network_of(int(pid)), f"/proc/{pid}/ns/net")
        for pid in pids:
            try:
                files = [f"/proc/{pid}/fd/{word}" for word in self.kernel.list_dir(f"/proc/{pid}/fd")]
                held = [(file, self.kernel.read_link(file) or "") for file in files]
            except SyscallError:
                continue        # it has ended
            for file, text in held:
                if text.startswith("net:["):
                    found.setdefault(int(text[5:-1]), file)
        for line in (self.kernel.try_read("/proc/self/mountinfo") or b"").decode("utf-8", "replace").splitlines():
            if (words := line.split())[3].startswith("net:["):
                found.setdefault(int(words[3][5:-1]), words[4])
        first = [path for space, path in found.items() if space == lease["space"]]
        others = [path for space, path in found.items() if space not in (0, lease["space"], lease["home"])]
        return first + others * nic.physical(lease["link"])

    def _plugged(self, link: Portrait) -> bool:
        """Whether its hardware is there."""
        return nic.physical(link) and self.kernel.exists(_device(link))

    def _is(self, link: Portrait) -> bool:
        """Whether there is such a link, as far as can be told of one that is away."""
        return self._plugged(link) or not nic.physical(link)

    # -- what the dead left --

    def unsettled(self) -> list[Lease]:
        """Those whose container does not live."""
        return [one for one in self.all() if not self._lives(one["container"])]

    def _lives(self, container: str) -> bool:
        try:
            record = self.store.load("container", container)
        except StateError:
            return True         # nobody knows: whoever removes it finds the lease
        return record is not None and status(self.kernel, record) != "stopped"

    def settle(self) -> list[str]:
        """Bring home what dead containers left, and forget leases of another boot; returns warnings.

        Must be called without any lock held: it takes those of the containers, and leaves alone who is at work.
        """
        if not self.kernel.list_dir(self.room):
            return []
        warnings = [f"lease {words}" for words in self.damaged()]
        for one in self.unsettled():
            if one["home"] != self.kernel.network_of(self.kernel.own_pid()):
                warnings.append(f"a lease of {one['link']['name']} is another network namespace's")
                continue
            try:
                locks = self.store.lock([("container", one["container"])], timeout=0.0)
            except StateError:
                continue
            with locks:
                if self.find(one["key"]) == one and not self._lives(one["container"]):
                    self.try_end(one, None, lambda words: warnings.append(f"warning: {words}"))
        self._void()
        return warnings

    def _void(self) -> None:
        for file in self.kernel.list_dir(self.room):
            try:
                one = parse_lease(self.kernel.try_read(f"{self.room}/{file}") or b"")
            except ValueError:
                continue
            if one["boot_id"] != boot_id(self.kernel):
                self.kernel.remove_file(f"{self.room}/{file}")

    # -- for those who plan --

    def known(self) -> list[Portrait]:
        """The links of the host as they are, and those that are lent as they were."""
        lent = {one["key"]: one["link"] for one in self.all() if self._is(one["link"])}
        found = {nic.key(one): one for one in self.kernel.portraits(*steps.requests())}
        return [*found.values(), *(one for word, one in lent.items() if word not in found)]

    def wireless(self, one: Portrait) -> bool:
        """Whether it belongs to a phy, which its device shows, or the link where that is on no bus."""
        return bool(one["device"]) and (self.kernel.exists(f"{_device(one)}/ieee80211")
                                        or self.kernel.exists(f"/sys/class/net/{one['name']}/phy80211"))

    def meant(self, container: str, word: str, known: list[Portrait]) -> list[Portrait]:
        """The links that a `parent` may mean: first of all what the container has under that word."""
        own = self.of(container, word)
        if own is not None and self._is(own["link"]):
            return [one for one in known if nic.key(one) == own["key"]]
        found = nic.find(word, known)
        return found if len(found) < 2 else [one for one in found if self.find(nic.key(one)) is None] or found

    def resolve(self, specs: list[Spec]) -> dict[str, tuple[str, str, str, int]]:
        """The words of `parent` -> (name, key, mac, mtu) at home of the link that each means, where it means one."""
        words = {one.parent for spec in specs for _, one in networks.physical(spec) if one.parent}
        known = self.known() if words else []
        out = {}
        for word in words:
            found = self.meant(specs[0].name, word, known)
            if len(found) == 1:
                link = found[0]
                out[word] = link["name"], nic.key(link), link["mac"], link["mtu"]
        return out

    def names(self, words: Iterable[str]) -> dict[str, str]:
        """The words of `parent` -> name at home of the link that each means, where it means one."""
        known, out = self.known(), {}
        for word in words:
            found = nic.find(word, known) or [one for one in known if word in one["altnames"]]
            if len(found) == 1:
                out[word] = found[0]["name"]
        return out

    def _rows(self, what: str, request: bytes) -> list[int]:
        try:
            return list(self.kernel.rows(what, request))
        except SyscallError:
            return []           # the kernel has none of these

    def refusals(self, spec: Spec) -> list[Refusal]:
        """(path, what, why, fix) for each physical interface that cannot be had."""
        asked = networks.physical(spec)
        if not asked:
            return []
        known, out, seen = self.known(), [], set()
        hops = self._rows("nexthops", rtnetlink_host.dump_nexthops())
        for i, one in asked:
            at, found = f"interfaces[{i}].parent", self.meant(spec.name, one.parent or "", known)
            here = sorted(nic.called(each) for each in known if nic.physical(each))
            own = self.of(spec.name, one.parent or "")
            if not found and own is not None:
                out.append((at, f"{own['link']['name']} is not there any more", f"its hardware, {own['link']['bus']} "
                            f"device {own['link']['device']}, was unplugged while it was lent", "plug it in again, or "
                            "take the interface out of the file"))
                continue
            if not found:
                out.append((at, f"there is no physical interface {one.parent}", "a network interface of the host's is "
                            "lent to the container", f"those here are {', '.join(here)}" if here else
                            "there is none here; use another type"))
                continue
            if len(found) > 1:
                out.append((at, f"{one.parent} are {' and '.join(each['name'] for each in found)}",
                            "one interface is lent", "name it otherwise"))
                continue
            link = found[0]
            lease = self.find(nic.key(link))
            if nic.key(link) in seen:
                out.append((at, f"{link['name']} is lent twice", "it can be in one place only", "remove one"))
            seen.add(nic.key(link))
            if lease is not None and lease["container"] == spec.name:
                continue
            if lease is not None and self._lives(lease["container"]):
                out.append((at, f"{link['name']} is lent to {lease['container']}", "it can be in one container only",
                            "lend another one, or take it from there first"))
            elif lease is None and (bad := nic.fault(link, self.wireless(link), link["index"] in hops)):
                out.append((at, *bad))
        return out

    def risks(self, spec: Spec) -> list[str]:
        """What a person should know before a physical interface goes."""
        out, asked = [], networks.physical(spec)
        known = self.known() if asked else []
        for _, one in asked:
            for link in self.meant(spec.name, one.parent or "", known):
                if self.find(nic.key(link)) is None and nic.bears_default(link):
                    out.append(f"{spec.name}: the host's default route goes through {link['name']}, which is lent")
        return out

    def outside(self, spec: Spec) -> list[str]:
        """A warning where the kernel would not bring a link home to us."""
        if not networks.physical(spec) or self.kernel.exists(steps.INITIAL):
            return []
        return [f"warning: {spec.name}: should all its processes be killed, the kernel gives its physical interfaces "
                "to the initial network namespace, which this is not, network_namespaces(7)"]
