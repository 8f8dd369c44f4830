"""The state directory: refusals, damage, locks among real processes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from conftest import requires

from runspec.errors import StateError, SyscallError
from runspec.kernel import Kernel
from runspec.run import store as module
from runspec.run.store import Record, Store, boot_id, record_text, status

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
ENV = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
FOO = ("container", "foo1")


def record(kernel: Kernel, **more: object) -> Record:
    values: dict[str, object] = {
        "kind": "container", "name": "foo1", "pid": os.getpid(), "start_time": kernel.start_time(os.getpid()),
        "boot_id": boot_id(kernel),
        "spec": {"name": "foo1", "interfaces": [{"name": "eth0", "network": "lan0"}]},
        "digest": "0" * 64, "created": module.now(),
        "cgroups": ("/sys/fs/cgroup/runspec/foo1",), "links": ("rs1234",)}
    return Record(**{**values, **more})


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def store(kernel: Kernel, tmp_path: Path) -> Store:
    return Store(kernel, str(tmp_path / "state"))


def test_reading_makes_nothing(store: Store) -> None:
    with store.lock([FOO], shared=True):
        assert store.load(*FOO) is None
    assert store.names("container") == []
    assert not os.path.exists(store.root)
    assert store.kernel.acts == 0


def test_round(store: Store) -> None:
    saved = record(store.kernel)
    with store.lock([FOO, ("network", "foo1")]):
        store.save(saved)
    assert os.stat(store.root).st_mode & 0o7777 == 0o700
    assert store.load(*FOO) == saved
    assert store.names("container") == ["foo1"] and store.names("network") == []
    assert not os.path.exists(store.path("network", "foo1")), "a lock without a record leaves nothing"
    assert store.users("lan0") == ["foo1"] and store.users("lan1") == []
    with store.lock([FOO]):
        assert store.remove(*FOO) and not store.remove(*FOO)
    assert os.listdir(f"{store.root}/containers") == []


def test_schema(store: Store) -> None:
    schema = json.loads((SCHEMAS / "record.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    with store.lock([FOO]):
        store.save(record(store.kernel))
        good = json.loads(Path(store.path(*FOO), "record.json").read_text())
    check.validate(good)
    for key in good:
        assert not check.is_valid({k: v for k, v in good.items() if k != key})
        assert not check.is_valid({**good, key: 1.5})
    assert not check.is_valid({**good, "more": 1})
    assert set(schema["properties"]) == set(module._TYPES)
    for key, value in schema["properties"].items():
        assert value["description"] and jsonschema.validate(value["examples"][0], value) is None, key


def test_umask(kernel: Kernel, tmp_path: Path) -> None:
    for mask in (0, 0o077, 0o777):
        old = os.umask(mask)
        try:
            store = Store(kernel, str(tmp_path / f"state{mask}"))
            store.prepare()
        finally:
            os.umask(old)
        assert os.stat(store.root).st_mode & 0o7777 == 0o700


def test_refused_roots(kernel: Kernel, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for name, why in (("link", "symlink"), ("file", "no directory"), ("open", "mode is 0777")):
        with pytest.raises(StateError, match=why):
            Store(kernel, str(tmp_path / name))
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StateError, match="symlink"):
        Store(kernel, str(tmp_path / "dangling"))


@requires("root")
def test_other_owner(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 1000, 1000)
    with pytest.raises(StateError, match="uid 1000"):
        Store(kernel, str(tmp_path / "theirs"))


@requires("root")
def test_roots_own_is_told_to_others(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else is told to remove what root's containers need, nor left alone with a refused mkdir(2)."""
    (tmp_path / "state").mkdir(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(StateError) as caught:
        Store(kernel, str(tmp_path / "state"))
    assert caught.value.what == f"{tmp_path}/state: this state directory is root's"
    assert caught.value.fix == "run it as root, or name a directory of your own with --root"

    def refuse(path: str, mode: int) -> None:
        raise SyscallError("mkdir", path, errno.EACCES)

    monkeypatch.setattr(kernel, "make_dir", refuse)
    with pytest.raises(StateError) as caught:
        Store(kernel, str(tmp_path / "none")).prepare()
    assert caught.value.text() == (
        f"{tmp_path}/none: the state directory cannot be made: mkdir({tmp_path}/none): Permission denied\n"
        "  why: this is uid 65534; containers are made by root\n"
        "  fix: run it as root, or name a directory of your own with --root")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../etc", "a\0b"])
def test_names_that_are_none(store: Store, name: str) -> None:
    with pytest.raises(StateError, match="no name"):
        store.load("container", name)


def test_damage(store: Store) -> None:
    text = record_text(record(store.kernel)).encode()
    tree = json.loads(text)
    bad = [text[:0], text[:1], text[:len(text) // 2], text[:-2], bytes(len(text)), b"[]", b"null",
           text + text, json.dumps({**tree, "more": 1}).encode(), json.dumps({**tree, "version": 0}).encode(),
           json.dumps({**tree, "version": True}).encode(), json.dumps({**tree, "name": "other"}).encode(),
           json.dumps({**tree, "links": [1]}).encode(), json.dumps({**tree, "pid": -1}).encode()]
    bad += [json.dumps({k: v for k, v in tree.items() if k != key}).encode() for key in tree]
    bad += [json.dumps({**tree, key: 1.5}).encode() for key in tree]
    with store.lock([FOO]):
        store.save(record(store.kernel))
        for data in bad:
            Path(store.path(*FOO), "record.json").write_bytes(data)
            with pytest.raises(StateError, match="container foo1: its record is damaged"):
                store.load(*FOO)
            assert store.names("container") == ["foo1"]
        Path(store.path(*FOO), "record.json").write_bytes(text[:-1])    # only the newline is missing
        assert store.load(*FOO) is not None


def test_newer(store: Store) -> None:
    tree = json.loads(record_text(record(store.kernel)))
    with store.lock([FOO]):
        store.save(record(store.kernel))
        Path(store.path(*FOO), "record.json").write_text(json.dumps({**tree, "version": 7, "novelty": 1}))
        with pytest.raises(StateError, match="container foo1: the record is of version 7"):
            store.load(*FOO)


def test_status(store: Store) -> None:
    kernel = store.kernel
    assert status(kernel, record(kernel)) == "running"
    # Whoever started it died before it could say so: the program it executes tells.
    assert status(kernel, record(kernel, status="created")) == "running"
    assert status(kernel, record(kernel, boot_id="another")) == "stopped"
    assert status(kernel, record(kernel, start_time=1)) == "stopped"
    assert status(kernel, record(kernel, pid=0, start_time=0)) == "stopped"
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    zombie = record(kernel, pid=child.pid, start_time=kernel.start_time(child.pid))
    assert status(kernel, zombie) == "stopped"
    child.wait()
    assert status(kernel, zombie) == "stopped"


HOLD = """
import sys, time
from runspec.kernel import Kernel
from runspec.run.store import Store
with Store(Kernel(), sys.argv[1]).lock([("container", "foo1")]):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_busy_and_wait(store: Store) -> None:
    child = subprocess.Popen([sys.executable, "-P", "-c", HOLD, store.root, "0.6"], stdout=subprocess.PIPE, env=ENV)
    assert child.stdout is not None and child.stdout.readline() == b"held\n"
    with pytest.raises(StateError, match="container foo1 is busy"):
        store.lock([FOO], timeout=0.1)
    with pytest.raises(StateError, match="busy"):
        store.lock([FOO], shared=True, timeout=0)
    with store.lock([FOO], timeout=10):
        assert child.wait(5) == 0
    child.stdout.close()


def test_shared_together(store: Store) -> None:
    with store.lock([FOO]):
        store.save(record(store.kernel))
    with store.lock([FOO], shared=True), store.lock([FOO], shared=True, timeout=0), pytest.raises(StateError):
        store.lock([FOO], timeout=0)


COUNT = """
import sys
from runspec.kernel import Kernel
from runspec.run.store import Record, Store
kernel = Kernel()
store = Store(kernel, sys.argv[1])
for turn in range(40):
    with store.lock([("container", "foo1"), ("network", "lan0")][::1 if turn % 2 else -1], timeout=60):
        found = store.load("container", "foo1")
        n = found.pid if found else 0
        assert not found or found.pid == int(kernel.read(sys.argv[1] + "/count"))
        kernel.replace_file(sys.argv[1] + "/count", str(n + 1))
        if turn % 3 == 2:
            store.remove("container", "foo1")
            total = int(kernel.try_read(sys.argv[1] + "/total") or 0)
            kernel.replace_file(sys.argv[1] + "/total", str(total + n + 1))
        else:
            store.save(Record(kind="container", name="foo1", pid=n + 1, boot_id="", spec={}))
"""


def test_concurrency(store: Store) -> None:
    """Six processes count in a record that is removed and made again: no turn is lost."""
    store.prepare()
    children = [subprocess.Popen([sys.executable, "-P", "-c", COUNT, store.root], env=ENV) for _ in range(6)]
    assert [child.wait(120) for child in children] == [0] * 6
    found = store.load(*FOO)
    total = int(Path(store.root, "total").read_text()) + (found.pid if found else 0)
    assert total == 240


def test_lock_of_killed(store: Store) -> None:
    child = subprocess.Popen([sys.executable, "-P", "-c", HOLD, store.root, "60"], stdout=subprocess.PIPE, env=ENV)
    assert child.stdout is not None and child.stdout.readline() == b"held\n"
    child.kill()
    child.wait()
    child.stdout.close()
    start = time.monotonic()
    store.lock([FOO]).close()
    assert time.monotonic() - start < 1
    assert os.listdir(f"{store.root}/containers") == []


def test_leftover_temporary(store: Store) -> None:
    with store.lock([FOO]):
        Path(store.path(*FOO), ".record.json.tmp").write_text("half")
        assert store.load(*FOO) is None and store.names("container") == []
        store.save(record(store.kernel))
        assert os.listdir(store.path(*FOO)) == ["record.json"]
        Path(store.path(*FOO), ".record.json.tmp").write_text("half")
        store.remove(*FOO)
    assert os.listdir(f"{store.root}/containers") == []
