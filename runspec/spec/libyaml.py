"""libyaml's parser as pyyaml binds it, without the rest of pyyaml.

`import yaml` takes 13 ms: a second parser, dates, regular expressions, for things that nobody here asks of it. The
C parser and the classes of its events take one. A pyyaml that is arranged otherwise is imported whole.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

# Modules of which the C parser wants nothing but the class of their errors.
_OTHERS = ("reader", "scanner", "parser", "composer", "constructor", "emitter", "serializer", "representer")


def load() -> tuple[Any, Any, Any]:
    """What makes a parser of a text, the module of its events' classes, what it raises for bad YAML."""
    if "yaml" not in sys.modules and "yaml._yaml" not in sys.modules:
        _bind()
    if "yaml.events" not in sys.modules:
        __import__("yaml")
    binding = sys.modules.get("yaml._yaml")
    return binding.CParser if binding else _pure, sys.modules["yaml.events"], sys.modules["yaml.error"].MarkedYAMLError


def _bind() -> None:
    """Import the C parser under a shell of the package, which goes again: who wants pyyaml gets all of it."""
    found = next(filter(None, (finder.find_spec("yaml", None) for finder in sys.meta_path)), None)
    if found is None or found.submodule_search_locations is None:
        return              # the import says so
    shell: ModuleType = type(sys)("yaml")
    shell.__path__ = found.submodule_search_locations
    sys.modules["yaml"] = shell
    try:
        import yaml.error
        import yaml.events
        import yaml.nodes
        import yaml.tokens

        for name in _OTHERS:
            error = yaml.error.YAMLError if name == "reader" else yaml.error.MarkedYAMLError
            setattr(shell, name, type(name, (), {f"{name.capitalize()}Error": error}))
        __import__("yaml._yaml")
    except (ImportError, AttributeError):
        for name in [one for one in sys.modules if one.startswith("yaml.")]:
            del sys.modules[name]
    finally:
        del sys.modules["yaml"]


def _pure(text: str) -> Any:
    """pyyaml's own parser, eight times slower, where it was built without libyaml."""
    import yaml

    class Pure(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
        def __init__(self, stream: str) -> None:
            yaml.reader.Reader.__init__(self, stream)
            yaml.scanner.Scanner.__init__(self)
            yaml.parser.Parser.__init__(self)

    return Pure(text)
