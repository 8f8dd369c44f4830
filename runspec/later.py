"""Modules of runspec are loaded when something in them is first used, so that a verb pays for its own way alone.

`from runspec.plan import nic` costs nothing until `nic.` something is looked up; `from runspec.plan.nic import free`
loads it at once. This is what Python 3.15 has as `lazy import`, for a whole package and in the command alone: what
imports runspec from elsewhere, as the tests do, gets its modules as usual.

The modules of a package are in sys.modules, empty, as soon as the package is: for Python to find one takes 12 µs, and
a verb has two hundred.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import ModuleSpec  # importlib.machinery takes 1 ms to say the same
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any
else:
    ModuleType = type(sys)


class Later(ModuleType):
    """A module that nobody has used yet."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":      # asked of every module from which something is imported
            raise AttributeError(name)
        return getattr(_loaded(self), name)

    @property
    def __dict__(self) -> dict[str, Any]:    # type: ignore[override]
        return vars(_loaded(self))


def _loaded(module: Later) -> ModuleType:
    """The same module, as good as any other."""
    name, file = module.__name__, str(module.__file__)
    loader = Loader(name, file)
    module.__loader__, module.__spec__ = loader, ModuleSpec(name, loader, origin=file)
    module.__class__ = ModuleType  # type: ignore[assignment]
    loader.exec_module(module)
    return module


class Loader(SourceFileLoader):
    """Makes the modules of a package before its own code runs, which may ask for them."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        if hasattr(module, "__path__"):
            module.__file__ = str(self.path)
            enter(module, self.path.rpartition("/")[0])
        super().exec_module(module)

    def get_code(self, fullname: str) -> CodeType | None:
        """The code that was compiled before, in 4 calls of the system where the base class takes 12."""
        folder, _, name = str(self.path).rpartition("/")
        try:
            fd = os.open(f"{folder}/__pycache__/{name[:-3]}.{sys.implementation.cache_tag}.pyc", os.O_RDONLY)
            try:
                data = os.read(fd, os.fstat(fd).st_size)
            finally:
                os.close(fd)
            source = os.stat(self.path)
        except OSError:
            return super().get_code(fullname)
        stamp = b"".join((value & 0xFFFFFFFF).to_bytes(4, "little")
                         for value in (0, int(source.st_mtime), source.st_size))
        return loads(memoryview(data)[16:]) if data[:16] == MAGIC_NUMBER + stamp else super().get_code(fullname)


class Finder:
    """Finds the packages of runspec, whose modules are then there; not what others have."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """The spec of a package, None for all else."""
        if path is None or not name.startswith("runspec."):
            return None
        folder = f"{path[0]}/{name[name.rindex('.') + 1:]}"
        file = f"{folder}/__init__.py"
        if not os.path.isfile(file):
            return None
        spec = ModuleSpec(name, Loader(name, file), origin=file, is_package=True)
        spec.submodule_search_locations = [folder]
        return spec


def enter(package: ModuleType, folder: str) -> None:
    """Make all modules of a package, each to be loaded later, unless it is there already."""
    above = package.__name__
    for file in os.listdir(folder):
        if not file.endswith(".py") or file == "__init__.py":
            continue
        below = file[:-3]
        name = f"{above}.{below}"
        if name in sys.modules:
            continue
        module = sys.modules[name] = Later(name)
        module.__file__, module.__package__ = f"{folder}/{file}", above
        setattr(package, below, module)


def install() -> None:
    """From now on."""
    sys.meta_path.insert(0, Finder)
    enter(sys.modules["runspec"], os.path.dirname(__file__))
