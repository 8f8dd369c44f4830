"""Comfortable values of the YAML file -> OCI's units: sizes, quotas, modes, words, addresses.

Every function raises SpecError without a place; the caller knows the path and adds it.
"""

from __future__ import annotations

# The C module alone: `socket` around it costs 4 ms, `ipaddress` 6 ms.
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from runspec.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NO_LIMIT = -1
INFINITY = 2**64 - 1                    # RLIM_INFINITY, getrlimit(2)
SHARES_PER_WEIGHT = 10                  # of v1; exact, unlike OCI's conversion: weight 25 against 75 is 250 against 750
PERIOD = 100_000                        # µs, the kernel's own default of cpu.max

_SIZES = {"": 1, "k": 1000, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4, "P": 1000**5, "E": 1000**6,
          "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60}
# tc(8): bits by powers of 1000 or 1024, and where it ends with `bps` bytes.
_RATES = {f"{prefix}{unit}": scale * bits
          for prefix, scale in {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4,
                                "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}.items()
          for unit, bits in (("bit", 1), ("bps", 8))} | {"": 1}
_DSCP = {"be": 0, "ef": 46, "va": 44, "le": 1, **{f"cs{n}": n * 8 for n in range(8)},
         **{f"af{n}{drop}": n * 8 + drop * 2 for n in range(1, 5) for drop in range(1, 4)}}
_TIMES = {"": 1, "us": 1, "ms": 1000, "s": 1_000_000}
_SIZE_WHY = "a size is a number of bytes, with K M G T P E for powers of 1000 or Ki Mi Gi Ti Pi Ei of 1024"


def shown(value: object) -> str:
    """A value as an error message quotes it: on one line, printable, bounded.

    Args:
        value: anything that a file can hold.
    """
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
                   for c in text)
    return f"`{text}`" if len(text) <= 80 else f"`{text[:60]}...` ({len(text)} characters)"


def _digits(text: str) -> bool:
    # str.isdigit also accepts other scripts' digits, which the kernel does not.
    return text.isascii() and text.isdigit()


def _scaled(text: str, scale: int) -> tuple[int, int]:
    """`1.5` and 1000 -> (quotient, remainder) of the exact product; ValueError when not a plain number."""
    whole, dot, part = text.partition(".")
    if not _digits(whole) or (dot and not _digits(part)) or len(text) > 40:
        raise ValueError(text)
    return divmod(int(whole + part) * scale, int("1" + "0" * len(part)))


def _split(text: str) -> tuple[str, str]:
    end = len(text)
    while end and text[end - 1].isalpha():
        end -= 1
    return text[:end], text[end:]


def parse_size(value: object) -> int:
    """Turns `256Mi`, `1.5GiB`, `max` or a number into bytes.

    Args:
        value: text or bytes as int; -1 and `max` mean no limit.

    Returns:
        Bytes, or -1.

    Raises:
        SpecError: the text is no size, or no whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value)
    if text in ("-1", "max"):
        return NO_LIMIT
    if text.startswith("-"):
        raise SpecError(f"{shown(value)} is negative", _SIZE_WHY, "write a size above 0, or -1 for no limit")
    number, unit = _split(text)
    if unit[-1:] == "B":
        unit = unit[:-1]
    if unit not in _SIZES:
        near = unit[:1].upper()
        fix = (f"write {number}{near} (powers of 1000) or {number}{near}i (powers of 1024)"
               if near in "KMGTPE" and near and _is_number(number) else "write it like 64Mi")
        raise SpecError(f"{shown(value)} is no size", _SIZE_WHY, fix)
    try:
        size, rest = _scaled(number, _SIZES[unit])
    except ValueError:
        raise SpecError(f"{shown(value)} is no size", _SIZE_WHY, "write it like 64Mi") from None
    if rest:
        raise SpecError(f"{shown(value)} is no whole number of bytes", _SIZE_WHY, "use a smaller unit")
    return size


def parse_rate(value: object) -> int:
    """Turns `10mbit`, `1.5gbit`, `500kbps` or a number into bit/s.

    Raises:
        SpecError: the text is no rate, or no whole number of bits.

    See: tc(8), "RATES".
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value)
    number, unit = _split(text)
    try:
        rate, rest = _scaled(number, _RATES[unit.lower()])
    except (KeyError, ValueError):
        raise SpecError(f"{shown(value)} is no rate",
                        "a rate is a number of bit/s, with kbit mbit gbit tbit for powers of 1000, kibit ... of 1024, "
                        "or kbps mbps ... for bytes, tc(8)", "write it like 10mbit") from None
    if rest:
        raise SpecError(f"{shown(value)} is no whole number of bits", "a rate is a number of bit/s, tc(8)",
                        "use a smaller unit")
    return rate


def parse_dscp(value: object) -> int:
    """Turns `ef`, `af41`, `cs6` or a number into the six bits that mark a packet.

    Raises:
        SpecError: no such name, or out of range.

    See: RFC 2474, RFC 4594.
    """
    why = "a mark is one of be le va ef, af11 to af43, cs0 to cs7, or a number from 0 to 63, RFC 2474"
    text = str(value).lower()
    if not isinstance(value, int) and text in _DSCP:
        return _DSCP[text]
    if isinstance(value, bool) or not (_digits(text) and len(text) < 3 and int(text) < 64):
        raise SpecError(f"{shown(value)} is no mark of packets", why, "write ef, or 46")
    return int(text)


def _is_number(text: str) -> bool:
    try:
        _scaled(text, 1)
    except ValueError:
        return False
    return True


def parse_duration(value: object) -> int:
    """Turns `100ms`, `1s`, `500us` or a number of microseconds into microseconds.

    Raises:
        SpecError: the text is no duration.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number, unit = _split(str(value))
    try:
        time, rest = _scaled(number, _TIMES[unit])
        if rest:
            raise ValueError
    except (KeyError, ValueError):
        raise SpecError(f"{shown(value)} is no duration",
                        "a duration is a whole number of microseconds, or a number with us, ms or s",
                        "write it like 100ms") from None
    return time


def parse_nanoseconds(value: object) -> int:
    """Turns `10ms`, `1s`, `500us` or a number of nanoseconds into nanoseconds.

    Raises:
        SpecError: the text is no duration.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value)
    if text.endswith("ns"):
        return parse_duration(text[:-2] + "us")
    return parse_duration(text) * 1000


def parse_quota(value: object, period: int = PERIOD) -> int:
    """Turns CPU time per period, as `25%` or `250m` of one core, into microseconds.

    Args:
        value: percentage or millicores of one core, µs as int, or -1 or `max` for no limit.
        period: µs.

    Returns:
        µs per period, or -1.

    Raises:
        SpecError: the text is neither.

    See: cgroup-v2.rst, "cpu.max"
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value)
    if text in ("-1", "max"):
        return NO_LIMIT
    scale = {"%": 100, "m": 1000}.get(text[-1:])
    try:
        if scale is None:
            return parse_duration(text)
        whole, rest = _scaled(text[:-1], period)
        return (2 * whole + scale) // (2 * scale) if not rest else round(float(text[:-1]) * period / scale)
    except (ValueError, SpecError):
        raise SpecError(f"{shown(value)} is no share of CPU time",
                        "a quota is a percentage of one core (25%), thousandths (250m) or time per period",
                        "write it like 25%, or -1 for no limit") from None


def parse_mode(value: object) -> int:
    """Turns an octal mode such as `0644` into its number.

    A plain integer above 7 is refused: OCI would read 644 as decimal, people as octal, and the
    two differ in who may write.

    Raises:
        SpecError: no octal text of at most four digits.

    See: chmod(2)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= 7:
            return value
        if value <= 0o7777 and value > 0:
            raise SpecError(f"the number {value} is no mode",
                            "a mode is octal text; a number is decimal in OCI",
                            f'write "{value:04o}" for this number' + (
                                f', or "{value:0>4}"' if set(str(value)) <= set("01234567") else ""))
    text = str(value)
    if text.isascii() and 1 <= len(text) <= 5 and set(text) <= set("01234567") and int(text, 8) <= 0o7777:
        return int(text, 8)
    raise SpecError(f"{shown(value)} is no mode", "a mode is octal text of at most four digits, chmod(2)",
                    'write it like "0644"')


def parse_count(value: object) -> int:
    """Turns a number, `unlimited` or -1 into a resource limit's value, getrlimit(2).

    Raises:
        SpecError: the text is no number.
    """
    if value in ("unlimited", "infinity", "-1", -1, "max"):
        return INFINITY
    return parse_size(value)


def parse_words(text: str) -> tuple[str, ...]:
    """Splits text into words as a shell would, and does nothing else a shell does.

    Quotes and backslashes group; `$ ; | & < > *` are ordinary characters, since no shell runs it.

    Raises:
        SpecError: a quote is not closed, or a backslash ends the text.
    """
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    place, end = 0, len(text)
    while place < end:
        char = text[place]
        place += 1
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and place < end and text[place] in '"\\$`\n':
                if text[place] != "\n":
                    word.append(text[place])  # type: ignore[union-attr]
                place += 1
            else:
                word.append(char)  # type: ignore[union-attr]
        elif char in " \t\n":
            if word is not None:
                words.append("".join(word))
                word = None
        else:
            if word is None:
                word = []
            if char in "'\"":
                quote = char
            elif char == "\\":
                if place >= end:
                    raise SpecError("a backslash ends the text", "it must be followed by a character",
                                    "write the words as a list")
                word.append(text[place])
                place += 1
            else:
                word.append(char)
    if quote:
        raise SpecError(f"the quote {quote} is not closed", "text is split into words as a shell does",
                        "close it, or write the words as a list")
    if word is not None:
        words.append("".join(word))
    return tuple(words)


def parse_mac(value: object) -> str:
    """Turns an Ethernet address into six pairs of lower-case hex digits.

    Raises:
        SpecError: it is none.
    """
    text = str(value).lower()
    parts = text.split(":") if ":" in text else text.split("-")
    if len(parts) != 6 or any(len(p) != 2 or not set(p) <= set("0123456789abcdef") for p in parts):
        raise SpecError(f"{shown(value)} is no Ethernet address", "it is six pairs of hex digits, ip-link(8)",
                        "write it like 02:00:0a:4d:00:0b")
    return ":".join(parts)


def parse_cpuset(value: object) -> str:
    """Turns a list of CPUs or memory nodes into the text the kernel prints, `0-1,3`.

    Raises:
        SpecError: it is no list, empty, descending or beyond 8191.

    See: cpuset(7), "List format"
    """
    why = "a list is numbers and ranges from 0 to 8191, such as 0-1,3, cpuset(7)"
    found: set[int] = set()
    for part in str(value).strip().split(","):
        first, dash, last = part.partition("-")
        if not _digits(first) or (dash and not _digits(last)) or len(part) > 20:
            raise SpecError(f"{shown(value)} is no list of numbers", why, "write it like 0-1,3")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise SpecError(f"the range {shown(part)} goes down", why, f"write {high}-{low}")
        if high > 8191:
            raise SpecError(f"{high} is beyond the kernel's largest number", why, "name fewer")
        found.update(range(low, high + 1))
    return ranges(found)


def numbers(text: str) -> set[int]:
    """The numbers of a list that the kernel or parse_cpuset wrote: `0-1,3` -> {0, 1, 3}; none for an empty one."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    return found


def ranges(found: Iterable[int]) -> str:
    """Numbers as the list that the kernel prints: {0, 1, 3} -> `0-1,3`, cpuset(7)."""
    out: list[str] = []
    run: list[int] = []
    for number in [*sorted(found), -2]:
        if run and number == run[-1] + 1:
            run.append(number)
            continue
        if run:
            out.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
        run = [number]
    return ",".join(out)


_BITS = {AF_INET: 32, AF_INET6: 128}
_ADDRESS_WHY = "an address is IPv4 or IPv6 text, ip-address(8)"


def _packed(text: str) -> tuple[int, bytes]:
    family = AF_INET6 if ":" in text else AF_INET
    try:
        # inet_pton takes text up to the first NUL, and accepts no zone, name or short form.
        if not text.isascii() or "\0" in text:
            raise OSError
        return family, inet_pton(family, text)
    except OSError:
        raise SpecError(f"{shown(text)} is no address", _ADDRESS_WHY, "write it like 10.77.0.11") from None


def parse_address(value: object) -> str:
    """Turns an IPv4 or IPv6 address into the text iproute2 prints.

    Raises:
        SpecError: it is none.
    """
    return inet_ntop(*_packed(str(value)))


def parse_cidr(value: object) -> str:
    """Turns `10.77.0.11/24` or `FD00::1/64` into the text iproute2 prints; the host part is kept.

    Raises:
        SpecError: it is none, or has no prefix length.
    """
    text, slash, length = str(value).partition("/")
    family, packed = _packed(text)
    bits = _BITS[family]
    if not slash:
        raise SpecError(f"{shown(value)} has no prefix length",
                        "it tells which network the address belongs to",
                        f"write {text}/{24 if bits == 32 else 64}, or {text}/{bits} for this address alone")
    if not _digits(length) or len(length) > 3 or int(length) > bits:
        raise SpecError(f"{shown(value)} has no valid prefix length", f"it is a number from 0 to {bits}",
                        f"write it like {text}/{24 if bits == 32 else 64}")
    return f"{inet_ntop(family, packed)}/{int(length)}"


def parse_destination(value: object) -> str:
    """Turns a route's destination into `default` or CIDR text; a bare address is itself alone.

    Raises:
        SpecError: it is none.

    See: ip-route(8)
    """
    text = str(value)
    if text == "default":
        return text
    if "/" not in text:
        family, packed = _packed(text)
        return f"{inet_ntop(family, packed)}/{_BITS[family]}"
    return parse_cidr(text)


def parse_range(value: object) -> str:
    """Turns `10.77.0.16-10.77.0.99`, a network in CIDR form or one address into the text iproute2 would print.

    Raises:
        SpecError: it is none, or ends before it begins.
    """
    text = str(value)
    first, dash, last = text.partition("-")
    if not dash:
        return parse_cidr(text) if "/" in text else parse_address(text)
    one, other = parse_address(first), parse_address(last)
    if family(one) != family(other):
        raise SpecError(f"{shown(text)} begins in one family and ends in the other",
                        "IPv4 and IPv6 addresses are not counted together", "write a range of each")
    if span(one)[1] > span(other)[1]:
        raise SpecError(f"{shown(text)} ends before it begins", "the lower address comes first", f"write {other}-{one}")
    return f"{one}-{other}"


def span(text: str) -> tuple[int, int, int]:
    """A range, network or address as parse_range writes it -> (family 4 or 6, first and last address as numbers)."""
    first, _, last = text.partition("-")
    kind, low, length = network_of(first)
    return kind, low, network_of(last)[1] if last else low + (1 << (32 if kind == 4 else 128) - length) - 1


def address_text(kind: int, number: int) -> str:
    """The inverse of span, for one address."""
    return inet_ntop(*((AF_INET, number.to_bytes(4, "big")) if kind == 4 else (AF_INET6, number.to_bytes(16, "big"))))


def family(text: str) -> int:
    """4 or 6: the family of an address or CIDR text."""
    return 6 if ":" in text else 4


def network_of(cidr: str) -> tuple[int, int, int]:
    """CIDR text -> (family 4 or 6, the network's first address as a number, prefix length)."""
    text, _, length = cidr.partition("/")
    kind, packed = _packed(text)
    shift = _BITS[kind] - int(length or _BITS[kind])
    return family(text), int.from_bytes(packed, "big") >> shift << shift, int(length or _BITS[kind])


def within(address: str, cidr: str) -> bool:
    """Whether an address belongs to the network of a CIDR text."""
    kind, first, length = network_of(cidr)
    return network_of(f"{address}/{length}") == (kind, first, length) if family(address) == kind else False


def network_text(cidr: str) -> str:
    """`10.77.0.11/24` -> `10.77.0.0/24`."""
    kind, first, length = network_of(cidr)
    return f"{address_text(kind, first)}/{length}"


def plain(value: object) -> str:
    """A scalar of a free map as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        raise SpecError(f"{value} is a fraction, whose text is not kept exactly",
                        "1.10 and 1.1 are one number in YAML",
                        "put it in quotes")
    return "" if value is None else str(value)
