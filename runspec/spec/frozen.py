"""Frozen: the base of every model class, and the spelling of its fields in a file."""

from __future__ import annotations

from _operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:
    def dataclass_transform(**_: object) -> Callable[[type], type]:
        """What the type checker reads; nothing at run time."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _Meta(type):
    """Turns annotations into slots and defaults: dataclasses cost 15 ms of start-up, this none."""

    def __new__(mcs, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> _Meta:
        own = list(space.get("__annotations__", ()))
        fields: tuple[str, ...] = tuple(f for b in bases for f in getattr(b, "FIELDS", ())) + tuple(own)
        defaults: dict[str, Any] = {}
        for base in bases:
            defaults.update(getattr(base, "DEFAULTS", {}))
        defaults.update({f: space.pop(f) for f in own if f in space})
        space["__slots__"] = (*own, *(() if bases else ("_hash",)))
        cls = super().__new__(mcs, name, bases, space)
        cls.FIELDS, cls.DEFAULTS, cls.PUTS = fields, defaults, None  # type: ignore[attr-defined]
        # All fields at once, in C: two hundred containers are compared with two hundred.
        cls.VALUES = staticmethod(attrgetter(*fields) if fields else type)  # type: ignore[attr-defined]
        return cls


def _puts(cls: Any) -> tuple[tuple[Callable[[Any, Any], None], str], ...]:
    """What fills each slot of a class, and its field."""
    cls.PUTS = tuple((getattr(cls, field).__set__, field) for field in cls.FIELDS)
    return cls.PUTS     # type: ignore[no-any-return]


class Frozen(metaclass=_Meta):
    """Base of every model class: keyword arguments, slots, no change after, equality by field."""

    def __init__(self, **values: Any) -> None:
        cls: Any = type(self)
        puts, whole = cls.PUTS or _puts(cls), {**cls.DEFAULTS, **values}
        try:
            for put, field in puts:
                put(self, whole[field])
        except KeyError as error:
            raise TypeError(f"{cls.__name__} needs {error.args[0]}") from None
        if len(whole) != len(puts):
            raise TypeError(f"{cls.__name__} has no {', '.join(one for one in whole if one not in cls.FIELDS)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other)
                                 and bool(self.VALUES(self) == self.VALUES(other)))  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        try:
            return self._hash       # type: ignore[attr-defined, no-any-return]
        except AttributeError:
            found = hash((type(self), self.VALUES(self)))  # type: ignore[attr-defined]
            object.__setattr__(self, "_hash", found)
            return found

    def __repr__(self) -> str:
        shown = ", ".join(f"{f}={v!r}" for f, v in items(self) if v != type(self).DEFAULTS.get(f))  # type: ignore[attr-defined]
        return f"{type(self).__name__}({shown})"

    def replace(self: T, **values: Any) -> T:
        """A copy with some fields changed."""
        return type(self)(**{**dict(items(self)), **values})


def fields_of(cls: type) -> tuple[str, ...]:
    """The field names of a model class, in file order."""
    return cls.FIELDS  # type: ignore[attr-defined, no-any-return]


def items(value: Any) -> Iterator[tuple[str, Any]]:
    """(field, value) of a model object, in file order."""
    for field in fields_of(type(value)):
        yield field, getattr(value, field)


# camelCase spellings: those the plain rule (snake_case -> camelCase) does not give, then every one asked for.
_SPELLED = {"container_id": "containerID", "host_id": "hostID", "disable_oom_killer": "disableOOMKiller",
            "clos_id": "closID", "class_id": "classID", "exec_cpu_affinity": "execCPUAffinity",
            "l3_cache_schema": "l3CacheSchema", "io_priority": "ioPriority", "block_io": "blockIO",
            "read_iops": "throttleReadIOPSDevice", "write_iops": "throttleWriteIOPSDevice",
            "read_bps": "throttleReadBpsDevice", "write_bps": "throttleWriteBpsDevice",
            "kernel_tcp": "kernelTCP", "host_ip": "hostIP"}


def key(field: str) -> str:
    """The spelling of a field in a file: `masked_paths` -> `maskedPaths`."""
    if field in _SPELLED:
        return _SPELLED[field]
    first, *rest = field.split("_")
    spelled = _SPELLED[field] = first + "".join(word.capitalize() for word in rest)
    return spelled


def first_difference(one: Any, other: Any, path: str = "") -> str:
    """The path of the first leaf in which two models differ."""
    if type(one) is type(other) and isinstance(one, tuple) and len(one) == len(other):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            if a != b:
                return first_difference(a, b, f"{path}[{index}]")
    if type(one) is type(other) and isinstance(one, Frozen):
        for (field, a), (_, b) in zip(items(one), items(other), strict=True):
            if a != b:
                at = f"{path}.{key(field)}" if path else key(field)
                return at if isinstance(a, tuple) and a and isinstance(a[0], tuple) else first_difference(a, b, at)
    return path
