"""The user that an image names, found in the image's own passwd and group files.

Both are read as bytes and split at colons: no library that looks up accounts ever sees what an image holds,
CVE-2019-14271.
"""

from __future__ import annotations

from runspec.errors import SpecError
from runspec.spec.units import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 1 << 20          # bytes of a passwd or group file
_LAST = 2**32 - 2       # the highest id, credentials(7)


def _number(word: bytes) -> int | None:
    """A plain decimal id; anything else is a name, or nothing, CVE-2026-30892."""
    if not word or len(word) > 10 or not word.isdigit() or (word[:1] == b"0" and word != b"0"):
        return None
    return int(word) if int(word) <= _LAST else None


def _lines(data: bytes, fields: int) -> Iterator[list[bytes]]:
    for line in data.split(b"\n"):
        parts = line.rstrip(b"\r").split(b":")
        if len(parts) >= fields and parts[0] and parts[0][:1] not in (b"#", b"+", b"-"):
            yield parts


def lookup(user: str, passwd: bytes, group: bytes) -> tuple[int, int, tuple[int, ...]]:
    """Numbers of an image's user, as Docker finds them.

    Args:
        user: "USER", "USER:GROUP", each a name or a number.
        passwd, group: the image's files, passwd(5), group(5); empty where it has none.

    Returns:
        (uid, gid, additional gids). A number needs no line in passwd; where it has one, or for a name, the
        gid is that line's and the additional ones are those of groups that list the user. A group that is
        named stands alone.

    Raises:
        SpecError: a name without a line.
    """
    who, colon, whose = user.partition(":")
    name, uid, gid = who.encode("utf-8", "surrogateescape"), 0, 0
    member = b""
    number = _number(name)
    if name:
        for one in _lines(passwd, 4):
            found, primary = _number(one[2]), _number(one[3])
            if found is None or primary is None:
                continue
            if one[0] == name or (number is not None and found == number):
                uid, gid, member = found, primary, one[0]
                break
        else:
            if number is None:
                raise SpecError(f"the image's user is {shown(who)}, and its /etc/passwd has no such line",
                                "who runs would be chance", "write process.user, in numbers")
            uid = number
    if not colon:
        gids = []
        for one in _lines(group, 4):
            found = _number(one[2])
            if found is not None and member and member in one[3].split(b",") and found != gid:
                gids.append(found)
        return uid, gid, tuple(dict.fromkeys(gids))
    word = whose.encode("utf-8", "surrogateescape")
    number = _number(word)
    if number is not None:
        return uid, number, ()
    for one in _lines(group, 3):
        found = _number(one[2])
        if one[0] == word and found is not None:
            return uid, found, ()
    raise SpecError(f"the image's group is {shown(whose)}, and its /etc/group has no such line",
                    "who runs would be chance", "write process.user, in numbers")
