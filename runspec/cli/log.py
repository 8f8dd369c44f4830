"""The file of --log: one line for each error and warning, as engines read it."""

from __future__ import annotations

import os
import time

from runspec.spec import jsonlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.cli.words import Words


def write(words: Words, level: str, text: str) -> None:
    """Append one line to the file that the command line names; without one, nothing.

    Args:
        level: "error" or "warning".
        text: of one or more lines, which become one.
    """
    if not words.log:
        return
    said = "; ".join(line.strip() for line in text.splitlines())
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = (jsonlite.dumps({"level": level, "msg": said, "time": stamp}) if words.log_format == "json"
            else f"time={jsonlite.dumps(stamp)} level={level} msg={jsonlite.dumps(said)}")
    try:
        fd = words.open_log()
    except OSError:
        return      # the same text stands on standard error
    try:
        os.write(fd, line.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass
    finally:
        os.close(fd)
