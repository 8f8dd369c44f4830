"""JSON for our own files, through the C accelerator alone.

`import json` compiles regular expressions (7 ms), more than a hot verb may cost; the C scanner
and encoder it stands on load in 0.3 ms and write the same text.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

make_scanner: Any
make_encoder: Any
encode_basestring_ascii: Any
try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner
except ImportError:     # an interpreter without the accelerator: the module is slower, and right
    make_scanner = make_encoder = encode_basestring_ascii = None

_SPACE = " \t\r\n"


def _constant(word: str) -> object:
    raise ValueError(f"{word} is no JSON value")


class _Context:
    """What make_scanner reads its settings from."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_constant)

    def __init__(self, hooks: dict[str, Any]) -> None:
        vars(self).update(hooks)


def _unknown(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is no JSON value")


_scan = make_scanner(_Context({})) if make_scanner else None


def loads(text: str | bytes, **hooks: Any) -> Any:
    """The value of one JSON document.

    Args:
        text: the document, UTF-8 where it is bytes; white space around it is allowed.
        hooks: object_pairs_hook, parse_int and parse_float, as json.loads takes them.
    Raises:
        ValueError: it is not exactly one JSON document (torn, zero-filled, trailing text, too deep).
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")     # UnicodeDecodeError is a ValueError
    text = text.strip(_SPACE)
    try:
        if _scan is None:
            import json
            return json.loads(text, parse_constant=_constant, **hooks)
        value, end = (make_scanner(_Context(hooks)) if hooks else _scan)(text, 0)
    except StopIteration:
        raise ValueError("no JSON value") from None
    except SystemError:
        # The scanner takes its error from json.decoder, which nobody has loaded.
        raise ValueError("torn, or no JSON") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    if end != len(text):
        raise ValueError(f"text after the JSON value at {end}")
    return value


def value_at(text: str, index: int) -> tuple[Any, int]:
    """The JSON value that begins at an index, and where it ends; what is around it is not judged.

    Raises:
        ValueError: there is none.
    """
    try:
        if _scan is None:
            import json
            return json.JSONDecoder().raw_decode(text, index)
        value, end = _scan(text, index)
        return value, int(end)
    except (StopIteration, SystemError, RecursionError):
        raise ValueError("no JSON value") from None


def dumps(value: Any, sort: bool = False) -> str:
    """The compact JSON text of a value: no spaces, ASCII only.

    Args:
        value: dicts with str keys, lists, tuples, str, int, float, bool, None.
        sort: write the keys of every dict in order.
    Raises:
        TypeError: a value that JSON does not have; ValueError: a number it does not have, or a loop.
    """
    try:
        if make_encoder is None:
            import json
            return json.dumps(value, separators=(",", ":"), sort_keys=sort, allow_nan=False)
        encode = make_encoder({}, _unknown, encode_basestring_ascii, None, ":", ",", sort, False, False)
        return "".join(encode(value, 0))
    except RecursionError:
        raise ValueError("nested too deep") from None
