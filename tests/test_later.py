"""runspec/later.py: a module is loaded when something in it is used, and is then as good as any other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import runspec


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the same name, with the module itself and three others."""
    top = tmp_path / "runspec"
    (top / "plan").mkdir(parents=True)
    shutil.copy(Path(runspec.__file__).parent / "later.py", top / "later.py")
    for name in ("__init__", "plan/__init__"):
        (top / f"{name}.py").write_text("")
    (top / "plan" / "one.py").write_text("print('one loaded')\nVALUE = 1\n")
    (top / "plan" / "two.py").write_text("from runspec.plan import one\nprint('two loaded')\nNAMES = ('a', 'b')\n\n\n"
                                         "def value() -> int:\n    return one.VALUE\n")
    (top / "kind").mkdir()
    (top / "kind" / "__init__.py").write_text("from runspec.kind import wood\nprint('kind loaded')\nNAME = 'kind'\n")
    (top / "kind" / "wood.py").write_text("print('wood loaded')\nfrom runspec.kind import NAME\nSOFT = NAME + ' x'\n")
    (top / "plan" / "bad.py").write_text("print('bad loaded')\nraise RuntimeError('bad')\n")
    return top


def run(package: Path, code: str) -> list[str]:
    """What a fresh interpreter says to this, beside the name of an error that ends it."""
    begin = f"import sys; sys.path.insert(0, {str(package.parent)!r})\nfrom runspec import later; later.install()\n"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", begin + code], capture_output=True, text=True, check=False)
    return [*done.stdout.splitlines(), *(line.split(":")[0] for line in done.stderr.splitlines()[-1:])]


@pytest.mark.parametrize(("code", "said"), [
    ("from runspec.plan import one, two", []),
    ("import runspec.plan.one", []),
    ("from runspec.plan import two\nprint(two.NAMES)", ["two loaded", "('a', 'b')"]),
    ("from runspec.plan import two\nprint(two.value(), two.value())", ["two loaded", "one loaded", "1 1"]),
    ("from runspec.plan.two import NAMES\nprint(NAMES)", ["two loaded", "('a', 'b')"]),
    ("from runspec.plan import two\nprint(sorted(n for n in vars(two) if n[0] != '_'))",
     ["two loaded", "['NAMES', 'one', 'value']"]),
    ("from runspec.plan import one\nprint(type(one).__name__, one.VALUE, type(one).__name__)",
     ["one loaded", "Later 1 module"]),
    ("from runspec.plan import one\nprint(one.__name__, one.__package__, one.__file__.endswith('/plan/one.py'))",
     ["runspec.plan.one runspec.plan True"]),
    ("from runspec.plan import one\none.VALUE\nimport runspec.plan.one as again\nprint(again is one)",
     ["one loaded", "True"]),
    ("from runspec.plan import one\nprint(one.missing)", ["one loaded", "AttributeError"]),
    ("from runspec.plan import none", ["ImportError"]),
    ("import runspec.plan.none", ["ModuleNotFoundError"]),
    ("from runspec.plan.one import missing", ["one loaded", "ImportError"]),
    ("from runspec import kind\nprint(kind.NAME, kind.__file__.endswith('/kind/__init__.py'), len(kind.__path__))",
     ["kind loaded", "kind True 1"]),
    ("from runspec.kind import wood\nprint('begun')\nprint(wood.SOFT)",
     ["kind loaded", "begun", "wood loaded", "kind x"]),
    ("from runspec.kind.wood import SOFT\nprint(SOFT)", ["kind loaded", "wood loaded", "kind x"]),
    ("import runspec.kind.wood\nprint(runspec.kind.wood.SOFT)", ["kind loaded", "wood loaded", "kind x"]),
    ("from runspec.kind import none", ["kind loaded", "ImportError"]),
    ("import runspec.kind.none", ["kind loaded", "ModuleNotFoundError"]),
    ("from runspec.plan import bad\nprint('begun')\nbad.x", ["begun", "bad loaded", "RuntimeError"]),
])
def test_when_a_module_is_loaded(package: Path, code: str, said: list[str]) -> None:
    assert run(package, code) == said


def test_the_code_is_that_of_the_source(package: Path) -> None:
    """Compiled code is kept, and is not believed when the source is another: by its size, its time, its magic."""
    file = package / "plan" / "one.py"
    code = "from runspec.plan import one\nprint(one.VALUE)"
    assert run(package, code) == ["one loaded", "1"]
    kept = next((package / "plan" / "__pycache__").glob("one.*.pyc"))
    before = kept.read_bytes()
    kept.write_bytes(before.replace(b"one loaded", b"one cached"))
    assert run(package, code) == ["one cached", "1"]
    file.write_text("print('one loaded')\nVALUE = 22\n")
    assert run(package, code) == ["one loaded", "22"]
    file.write_text("print('one loaded')\nVALUE = 33\n")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    assert run(package, code) == ["one loaded", "33"]
    kept.write_bytes(b"\0\0\0\0" + kept.read_bytes()[4:])
    assert run(package, code) == ["one loaded", "33"]
    for torn in (b"", before[:10]):
        kept.write_bytes(torn)
        assert run(package, code) == ["one loaded", "33"]


def test_the_command_uses_it() -> None:
    launcher = Path(runspec.__file__).parent / "cli" / "runspec"
    text = launcher.read_text() if launcher.exists() else (Path(sys.executable).parent / "runspec").read_text()
    assert "later.install()" in text.split("from runspec.__main__ import main")[0]
