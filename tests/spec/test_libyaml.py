"""spec/libyaml.py: the C parser alone, as good as with all of pyyaml around it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

import runspec

PATHS = [str(Path(one.__file__).parents[1]) for one in (runspec, yaml)]
TEXTS = ["a: [1, {b: 'x', c: \"\\u00e9\"}]\nd: &x |\n  y\ne: *x\n---\nf: !!str 5\n", "a: [1\n", "a: b: c\n",
         "a: !x 1\n", "a: *b\n", "{", "a: \"\\x\"\n", "- a\n b\n", "\ufeffa: 1\n", "a: \ufeff\n"]
LOOK = """
import sys
sys.path += PATHS
BEFORE
from runspec.spec import source
texts = TEXTS
for text in texts:
    try:
        documents, faults = source.parse(text, "t.yaml")
        print([(one.tree, {path: str(mark) for path, mark in [*one.marks.items(), *one.mark_keys.items()]})
               for one in documents], [one.text() for one in faults])
    except Exception as error:
        print(type(error).__name__)
    if text is texts[0]:
        print(*sorted(name for name in sys.modules if name == "re" or name.startswith("yaml")), file=sys.stderr)
import yaml
tree = {"a": [1, "x", 2.5], "b": None}
for load, dump in ((yaml.CSafeLoader, yaml.CSafeDumper), (yaml.SafeLoader, yaml.SafeDumper)):
    assert yaml.load(yaml.dump(tree, Dumper=dump), load) == tree
"""
NO_C = """
class No:
    def find_spec(name, path=None, target=None):
        if name == "yaml._yaml":
            raise ImportError(name)
sys.meta_path.insert(0, No)
"""


def look(before: str) -> tuple[str, set[str]]:
    """What a fresh interpreter makes of the texts, and what it loaded for it."""
    code = LOOK.replace("PATHS", repr(PATHS)).replace("TEXTS", ascii(TEXTS)).replace("BEFORE", before)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == (1 if before is NO_C else 0), done.stderr
    return done.stdout, set(done.stderr.splitlines()[0].split())


def test_it_is_the_parser_that_pyyaml_has() -> None:
    """The same documents, places and complaints, with a fraction of the modules; and pyyaml is whole afterwards."""
    alone, few = look("")
    whole, many = look("import yaml")
    assert alone == whole
    assert few == {"yaml._yaml", "yaml.error", "yaml.events", "yaml.nodes", "yaml.tokens"}
    assert few < many and "re" in many


def test_without_the_c_parser() -> None:
    """pyyaml's own takes its place, and nothing of the attempt is left."""
    said, loaded = look(NO_C)
    assert said.splitlines()[0] == look("")[0].splitlines()[0]
    assert "yaml" in loaded and "yaml._yaml" not in loaded
