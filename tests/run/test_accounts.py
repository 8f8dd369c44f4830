"""Users of an image by name and number."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from runspec.errors import SpecError
from runspec.run.accounts import lookup

PASSWD = (b"root:x:0:0:root:/root:/bin/sh\n#note:x:9:9\nbad\n:x:1:1::/:\nfar:x:4294967295:1::/:\nodd:x:+5:1::/:\n"
          b"app:x:1000:1001:\xff\xfe:/srv:/bin/sh\r\nsix:x:6:60::/:\n")
GROUP = b"root:x:0:\napp:x:1001:app\nstaff:x:50:other,app\nwheel:x:10:app,app\nodd:x:0x5:app\nnobody:x:65534\n"


@pytest.mark.parametrize(("user", "found"), [
    ("", (0, 0, ())), ("root", (0, 0, ())), ("0", (0, 0, ())), ("app", (1000, 1001, (50, 10))),
    ("1000", (1000, 1001, (50, 10))), ("six", (6, 60, ())), ("77", (77, 0, ())), ("app:staff", (1000, 50, ())),
    ("app:5", (1000, 5, ())), ("77:88", (77, 88, ())), ("77:staff", (77, 50, ())), ("app:nobody", (1000, 65534, ())),
    ("4294967294", (4294967294, 0, ())),
])
def test_found(user: str, found: tuple[int, int, tuple[int, ...]]) -> None:
    assert lookup(user, PASSWD, GROUP) == found


@pytest.mark.parametrize("user", ["nobody", "far", "odd", "bad", "+5", "-1", "0x5", "4294967295", "1 ", "app:none",
                                  "app:", "app:-1", "#note", "1000:0x5", "007", "\udcff"])
def test_refused(user: str) -> None:
    with pytest.raises(SpecError, match="has no such line"):
        lookup(user, PASSWD, GROUP)


@given(st.binary(max_size=300), st.binary(max_size=300), st.text(max_size=20))
def test_whatever_an_image_holds(passwd: bytes, group: bytes, user: str) -> None:
    try:
        uid, gid, more = lookup(user, passwd, group)
    except SpecError:
        return
    assert all(0 <= one < 2**32 - 1 for one in (uid, gid, *more))
