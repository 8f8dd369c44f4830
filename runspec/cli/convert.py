"""`convert`: OCI bundles to documents, and documents to bundles, without loss."""

from __future__ import annotations

import os
import sys

from runspec.cli import declare, render
from runspec.cli.oci import judge_bundle
from runspec.cli.words import plain, quoted
from runspec.errors import HostError, SpecError, UsageError
from runspec.spec import rules, source, to_oci, to_yaml
from runspec.spec.from_oci import FILE, PREFIX
from runspec.spec.frozen import first_difference
from runspec.spec.model import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.cli.words import Words
    from runspec.kernel import Kernel


def run(words: Words, kernel: Kernel) -> int:
    """Bundles to standard output, or with --bundle one document to a bundle."""
    if words.flag("bundle"):
        return to_bundle(words, kernel, os.path.abspath(words.value("bundle")))
    if len(words.operands) > 1 and words.flag("name"):
        raise UsageError("convert: one name for several bundles", fix="convert them one by one")
    trees = [document_of(word, words.value("name")) for word in words.operands]
    print(render.canonical(trees) if words.json else to_yaml.dump(trees), end="\n" if words.json else "")
    return 0


def document_of(bundle: str, name: str) -> dict[str, object]:
    """The document that says what a bundle says.

    Args:
        bundle: its directory, or its configuration.
        name: the container's name; "": the one it was exported with, or its directory's.
    Raises:
        SpecError: a fault of it, or something that no document can hold.
    """
    file = bundle if bundle.endswith(".json") else os.path.join(bundle, FILE)
    folder = os.path.dirname(os.path.abspath(file))
    spec, notes = judge_bundle(file, folder, name or os.path.basename(folder), exported=not name)
    for note in notes:
        print(f"warning: {plain(note)}", file=sys.stderr)
    if bad := rules.name_fault(spec.name):
        raise SpecError(f"{plain(file)}: the container's name {bad[0]}", bad[1], "give one with --name")
    tree = to_yaml.config_tree(spec, bare=True)
    read, faults = rules.judge(*source.parse(to_yaml.dump([tree]), f"{plain(file)} as a document"))
    if faults:
        raise source.join(faults)
    if read[0][0] != spec:
        raise SpecError(f"{plain(file)}: no document can hold {first_difference(spec, read[0][0])}",
                        "it would read back as something else", "remove it")
    return tree


def to_bundle(words: Words, kernel: Kernel, folder: str) -> int:
    """Write config.json and, for an image, a root file system of the bundle's own."""
    from runspec.run.cdi import Machine

    # A bundle stands alone: what the image says and what devices consist of is written into it.
    machine = Machine(kernel, build=True)
    models = [model for model, _ in declare.read_specs(words.operands, machine=machine)]
    specs = [one for one in models if isinstance(one, Spec)]
    if len(specs) != 1:
        raise UsageError(f"convert: {render.count_text(len(specs), 'container')} for one bundle",
                         "a bundle describes one container, bundle.md", "name one document at a time")
    spec = specs[0]
    if words.flag("name"):
        raise UsageError("convert: --name is for bundles", "a document says its own name", "leave it out")
    if kernel.list_dir(folder):
        raise UsageError(f"convert: {quoted(folder)} is not empty", "what is there would be mixed with the bundle",
                         "name a directory that is new")
    tree, lost = to_oci.config_of(spec.replace(root=spec.root.replace(digest=None)))
    made = kernel.make_dirs(folder)
    try:
        image = spec.root.image
        if image is not None and image.startswith("dir:"):
            tree["root"]["path"] = image[4:]
        elif image is not None:
            found = machine.ensure(image, spec.root.digest)
            if found is None:
                kernel.make_dir(f"{folder}/rootfs")
            else:
                copy = next((one for one in ("/bin/cp", "/usr/bin/cp") if kernel.exists(one)), "")
                if not copy:
                    raise HostError("convert: there is no cp", "it copies the image into the bundle",
                                    "install coreutils")
                kernel.output((copy, "-a", "--", found, f"{folder}/rootfs"))
        kernel.create_file(f"{folder}/{FILE}", to_oci.text(tree), 0o644)
    except BaseException:
        kernel.remove_tree(f"{folder}/rootfs")
        kernel.remove_file(f"{folder}/{FILE}")
        for one in reversed(made):
            kernel.remove_hollow(one)
        raise
    for path in lost:
        print(f"{spec.name}: {path} is not OCI's: kept as annotation {PREFIX}{path}, which other runtimes ignore",
              file=sys.stderr)
    for model in models:
        if not isinstance(model, Spec):
            print(f"{model.name}: a network is no part of a bundle", file=sys.stderr)
    return 0
