"""SHA digests of what is small, without hashlib: that loads OpenSSL, 2.5 ms of a command that takes 50."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha1, sha256
else:
    try:
        from _sha1 import sha1

        try:
            from _sha256 import sha256
        except ImportError:
            from _sha2 import sha256  # since Python 3.12
    except ImportError:                     # an interpreter without its own
        from hashlib import sha1, sha256

__all__ = ["sha1", "sha256"]
