"""Imports point one way, and no module grows past what can be read in one go."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Room -> rooms it may import from.
ARROWS = {
    "cli": {"cli", "bench", "run", "plan", "spec", "kernel", "abi", "errors"},
    "bench": {"bench", "run", "plan", "spec", "kernel", "abi", "errors"},
    "run": {"run", "plan", "spec", "kernel", "abi", "errors"},
    "plan": {"plan", "spec", "abi", "errors"},
    "spec": {"spec", "errors"},
    "kernel": {"kernel", "abi", "errors"},
    "abi": set(),
    "errors": set(),
}
# Never on a path that has no YAML to judge: see the test of sys.modules for the hot verbs themselves.
LAZY = {"yaml", "jsonschema", "pyroute2", "typing", "dataclasses", "subprocess", "argparse"}
# Nor these 2 to 4 ms each, but in the bench, which is itself none of the verbs that it times.
SLOW = {"re", "socket", "hashlib", "contextlib", "functools", "collections", "enum", "fractions", "decimal", "signal",
        "pathlib"}


def imports(file: Path, top: bool = False) -> set[str]:
    """Modules that a file imports at run time, what only the type checker reads left out."""
    tree = ast.parse(file.read_text())
    skipped = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.If)
               and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" for inner in ast.walk(node)}
    if top:
        skipped |= {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
                    for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


FILES = sorted(path for path in (ROOT / "runspec").rglob("*.py")
               if path.name not in ("abi.py", "build.py", "__main__.py") and path.parent != ROOT / "runspec")


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(file: Path) -> None:
    """Each room imports only from the rooms below it."""
    room = file.relative_to(ROOT / "runspec").parts[0]
    for name in imports(file):
        if name.startswith("runspec.") and name.split(".")[1] != "__version__":
            assert name.split(".")[1] in ARROWS[room], f"{room} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_costly_imports_wait_for_their_use(file: Path) -> None:
    """No module imports what is slow to import while it is itself imported."""
    banned = LAZY if "bench" in file.parts else LAZY | SLOW
    assert not {name.split(".")[0] for name in imports(file, top=True)} & banned


def test_long_modules_are_split() -> None:
    """Past about 500 lines a module asks to be split."""
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines())
            for kind in ("*.py", "*.c", "*.h") for path in (ROOT / "runspec").rglob(kind)
            if path.name not in ("abi.py", "_native.c")}
    assert not {name: lines for name, lines in long.items() if lines > 500}
