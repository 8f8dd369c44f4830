"""One container in the words of each peer: a bundle, a configuration, options, acts of the floor."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from models import V1, V2, spec

from runspec import abi
from runspec.bench import contenders_floor, contenders_lxc, contenders_oci, contenders_podman, contenders_small, limits
from runspec.bench.peer import Peer
from runspec.bench.scene import Scene
from runspec.spec.model import Mount, Seccomp

KEPT = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
        "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_AUDIT_WRITE",
        "CAP_SETFCAP")


def test_a_bundle() -> None:
    tree = contenders_oci.config(spec(), "/images/one", "/top/runc/all", "/run/netns/x")
    assert tree["root"] == {"path": "/images/one", "readonly": True}
    assert tree["linux"]["cgroupsPath"] == "/top/runc/all"
    assert tree["linux"]["resources"]["cpu"] == {"shares": 250, "cpus": "0"}
    assert tree["linux"]["resources"]["memory"] == {"limit": 64 << 20}
    assert {"type": "network", "path": "/run/netns/x"} in tree["linux"]["namespaces"]
    assert {"type": "pid"} in tree["linux"]["namespaces"]
    assert tree["process"]["args"] == ["/bin/sleep", "7"] and "A=1 2" in tree["process"]["env"]
    # Nothing that only runspec would read: annotations are not counted against it either.
    assert "annotations" not in tree and "interfaces" not in tree and "seccomp" not in tree["linux"]


def test_an_lxc_configuration() -> None:
    one = spec()
    lines = contenders_lxc.config(one, "/images/one", "/top/lxc/all", contenders_lxc.limit_lines(one, V1))
    assert "lxc.rootfs.path = dir:/images/one" in lines and "lxc.rootfs.options = ro" in lines
    assert "lxc.environment = A=1 2" in lines and "lxc.init.cwd = /srv" in lines
    assert "lxc.cgroup.cpu.shares = 250" in lines and "lxc.cgroup.pids.max = 8" in lines
    assert lines.index("lxc.cgroup.devices.deny = a") < lines.index("lxc.cgroup.devices.allow = c 1:3 rwm")
    assert "lxc.mount.entry = /usr/share data none rbind,ro,create=dir 0 0" in lines
    assert "lxc.mount.entry = tmpfs scratch tmpfs nosuid,size=1m,create=dir 0 0" in lines
    assert "lxc.cap.keep = " + " ".join(name[4:].lower() for name in KEPT) in lines
    assert [line for line in lines if line.startswith("lxc.net.0.")] == [
        "lxc.net.0.type = veth", "lxc.net.0.link = lan0", "lxc.net.0.flags = up", "lxc.net.0.name = eth0",
        "lxc.net.0.mtu = 1400", "lxc.net.0.ipv4.address = 10.9.0.2/24", "lxc.net.0.ipv4.gateway = 10.9.0.1",
        "lxc.net.0.ipv6.address = fd09::2/64"]
    assert "lxc.net.1.macvlan.mode = vepa" in lines and "lxc.net.2.vlan.id = 10" in lines
    assert "lxc.cgroup2.memory.max = 67108864" in contenders_lxc.limit_lines(one, V2)
    alone = contenders_lxc.config(spec(interfaces=()), "/images/one", "/top/lxc/all", ())
    assert alone[-2:] == ["lxc.net.0.type = empty", "lxc.net.0.flags = up"]


@pytest.mark.parametrize("cls", [contenders_lxc.Lxc, contenders_podman.Podman, contenders_small.Nspawn])
def test_who_has_a_filter_of_its_own_takes_part_where_ours_is_asked_for(
        cls: type[Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders_lxc, "FILTER", "/dev/null")
    one = cls(Scene("/room", (), print))
    alone = spec(interfaces=())
    for seccomp, asked in (("default", ""), (Seccomp(default_action="SCMP_ACT_ALLOW"), "filter of system calls")):
        why = one.lacks(alone.replace(linux=alone.linux.replace(seccomp=seccomp)))
        assert bool(why) == bool(asked) and asked in why


@pytest.mark.parametrize(("seccomp", "option"), [(None, True), ("default", False)])
def test_podman_has_a_filter_unless_none_is_asked_for(
        seccomp: str | None, option: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders_podman.Podman, "root", lambda *_: "/images/one")
    one = spec(interfaces=())
    words = contenders_podman.Podman(Scene("/room", (), print)).options(
        one.replace(linux=one.linux.replace(seccomp=seccomp)))
    assert ("seccomp=unconfined" in words) is option and words[-2:] == ("/bin/sleep", "7")


def test_podman_gives_back_names_that_its_store_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this run's containers alone, and without a command where there are none."""
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(contenders_podman, "HOME", str(tmp_path))
    monkeypatch.setattr(contenders_podman.Podman, "root", lambda *_: "/images/one")
    monkeypatch.setattr(Scene, "run", lambda _, *words, **__: ran.append(words) or "")
    one = contenders_podman.Podman(Scene(str(tmp_path), (), print))
    one.prepare([spec(interfaces=())])
    for text in (None, "[]", json.dumps([{"names": ["all"]}, {"names": ["other"]}, {"id": "1"}])):
        if text is not None:
            (tmp_path / "root/overlay-containers").mkdir(parents=True, exist_ok=True)
            (tmp_path / "root/overlay-containers/containers.json").write_text(text)
        one.delete()
    assert [words[0] for words in ran] == ["sh", "sh", "sh", "podman"]
    assert ran[-1][-6:] == ("rm", "--force", "--ignore", "--time", "0", "all")


def test_what_fstab_would_read_otherwise_is_escaped() -> None:
    assert contenders_lxc.escaped("/a b\\c\td") == "/a\\040b\\134c\\011d"


@pytest.mark.parametrize(("mount", "words"), [
    (Mount(destination="/proc", type="proc", source="proc"), ["--proc", "/proc"]),
    (Mount(destination="/dev", type="tmpfs", source="tmpfs"), ["--dev", "/dev"]),
    (Mount(destination="/dev/pts", type="devpts", source="devpts"), []),
    (Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup"), []),
    (Mount(destination="/data", source="/srv", options=("rbind", "ro")), ["--ro-bind", "/srv", "/data"]),
    (Mount(destination="/data", source="/srv", options=("rbind",)), ["--bind", "/srv", "/data"]),
    (Mount(destination="/tmp", type="tmpfs", source="tmpfs"), ["--tmpfs", "/tmp"]),
])
def test_a_mount_in_bubblewraps_words(mount: Mount, words: list[str]) -> None:
    assert contenders_small.bound(mount) == words


def test_a_mount_in_podmans_words() -> None:
    assert contenders_podman.mounted(Mount(destination="/proc", type="proc", source="proc")) == []
    assert contenders_podman.mounted(Mount(destination="/d", source="/s", options=("rbind", "ro", "optional"))) == [
        "--volume", "/s:/d:rbind,ro"]
    assert contenders_podman.mounted(Mount(destination="/t", type="tmpfs", source="tmpfs", options=("size=1m",))) == [
        "--tmpfs", "/t:size=1m"]


def test_acts_of_the_floor() -> None:
    one = spec(interfaces=())
    groups = limits.groups(one, V1, "/top/floor/all")
    acts = contenders_floor.acts_of(one, "/images/one", groups, V1)
    clone = next(act for act in acts if act[0] == "c")
    flags = int(clone[1], 16)
    assert flags == (abi.CLONE_NEWPID | abi.CLONE_NEWNET | abi.CLONE_NEWNS | abi.CLONE_NEWIPC | abi.CLONE_NEWUTS)
    before, after = acts[:acts.index(clone)], acts[acts.index(clone) + 1:]
    assert before == [*(("d", folder, "0755") for folder in groups.folders), *(("w", *line) for line in groups.lines)]
    # Into the groups before the cgroup namespace begins there, and out of the host's root after all mounts.
    kinds = "".join(act[0] for act in after)
    assert kinds.startswith("wwwwwulhm") and kinds.endswith("x")
    assert kinds.rindex("m") < kinds.index("p") < kinds.index("k") < kinds.index("x")
    # Nothing that a runtime has to do is saved: every mount of the Spec is there, below the root.
    targets = [act[2] for act in after if act[0] == "m"]
    assert all(f"/images/one{mount.destination}" in targets for mount in one.mounts)
    assert sum(act[0] == "m" and act[3] == "cgroup" for act in after) == len(V1.hierarchies)
    mask = int(next(act for act in after if act[0] == "k")[1], 16)
    assert mask == sum(1 << abi.CAPS[name] for name in KEPT)
    assert after[-1] == ("x", "/bin/sleep", "7") and ("e", "A=1 2") in after
    joined = contenders_floor.acts_of(one, "/images/one", groups, V1, "/run/netns/x")
    assert ("j", "/run/netns/x") in joined and ("l",) not in joined
    assert not int(next(act for act in joined if act[0] == "c")[1], 16) & abi.CLONE_NEWNET
    assert sum(act[0] == "m" and act[3] == "cgroup2" for act in contenders_floor.acts_of(
        one, "/images/one", limits.groups(one, V2, "/x"), V2)) == 1


def test_the_floor_cannot_say_every_word() -> None:
    class Anywhere:
        """A scene that nothing is asked of."""

    one = contenders_floor.Floor(Anywhere())  # type: ignore[arg-type]
    plain = spec(interfaces=())
    assert one.missing(plain) == ("" if os.access(contenders_floor.PROGRAM, os.X_OK) else "its program was not built")
    broken = plain.replace(process=plain.process.replace(args=("/bin/sh", "-c", "a\nb")))
    assert "line ends" in one.missing(broken) or "not built" in one.missing(broken)
