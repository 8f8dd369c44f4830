"""Containers of one request are mostly alike: their equal parts become one object, and what only depends on such a
part is found once."""

from __future__ import annotations

from runspec.spec.model import Linux, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

PARTS: dict[type, tuple[str, ...]] = {
    Spec: ("root", "process", "mounts", "hooks", "linux", "landlock", "annotations", "labels", "dns"),
    Linux: ("resources", "namespaces", "devices", "seccomp", "masked_paths", "readonly_paths", "sysctl"),
}
MOST = 8        # unlike parts of one kind that a next one is held against


class Sharer:
    """Finds the parts that are there already."""

    def __init__(self) -> None:
        self._seen: dict[tuple[type, str], list[Any]] = {}

    def share(self, model: Any) -> Any:
        """An equal model, of parts that were seen before where they are equal to those."""
        kind, changed = type(model), {}
        for field in PARTS[kind]:
            value = getattr(model, field)
            if value is None or value == ():
                continue
            seen = self._seen.setdefault((kind, field), [])
            same = next((one for one in seen if one is value or one == value), None)
            if same is None:
                same = self.share(value) if type(value) in PARTS else value
                if len(seen) < MOST:
                    seen.append(same)
            if same is not value:
                changed[field] = same
        return model.replace(**changed) if changed else model


def share(holders: list[Any]) -> None:
    """Do so with the `model` of each of these that is a container's."""
    sharer = Sharer()
    for one in holders if len(holders) > 1 else ():
        if isinstance(one.model, Spec):
            one.model = sharer.share(one.model)


def kept(function: F) -> F:
    """A pure function of models that is asked about each object once; nobody changes what it answers.

    The objects are held, so that no other gets the identity by which the answer is found.
    """
    answers: dict[tuple[int, ...], tuple[tuple[Any, ...], Any]] = {}

    def ask(*args: Any) -> Any:
        key = tuple(map(id, args))
        found = answers.get(key)
        if found is None:
            found = answers[key] = args, function(*args)
        return found[1]

    ask.__name__, ask.__doc__ = function.__name__, function.__doc__
    return ask      # type: ignore[return-value]
