"""One line of JSON on standard output for each request: no audio, no file names, no addresses.

An answer matters more than its line: none waits long for who reads the log, or fails with it.
"""

import json
import os
import select
import time
from collections.abc import Callable
from datetime import UTC, datetime

from flask import Flask, Response, g, request

from api.problems import request_id

STDOUT = 1
PATIENCE = 0.1
"""Seconds that a line waits for room; none do while the one before had none."""

on_lost: Callable[[], None] = lambda: None  # noqa: E731
"""Told of each line that could not be written."""

_has_room = True
_cut = False
"""Whether the line before was written in part, as on a disk that fills up."""


def init_app(app: Flask) -> None:
    """Log every request of the app once it is answered."""
    app.before_request(_start)
    app.after_request(_log)


def _start() -> None:
    g.started = time.perf_counter()


def _log(response: Response) -> Response:
    write(
        method=request.method,
        # The route, not the path: a client can write what it likes into a path.
        route=request.url_rule.rule if request.url_rule else None,
        status=response.status_code,
        seconds=round(time.perf_counter() - g.started, 4),
        request_id=request_id(),
    )
    return response


def write(**members: str | float | None) -> None:
    """One line about one request."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **members}
    if not _put(json.dumps(line).encode() + b"\n"):
        on_lost()


def _put(line: bytes) -> bool:
    """Whether it was taken: not by a full disk, a closed pipe, or one that nobody empties."""
    global _has_room, _cut  # noqa: PLW0603 (one standard output, one state of it)
    output = select.poll()
    output.register(STDOUT, select.POLLOUT)
    _has_room = bool(output.poll(1000 * PATIENCE if _has_room else 0))
    if not _has_room:
        return False
    if _cut:
        line = b"\n" + line
    try:
        # In one write, so that the lines of two threads never mix.
        written = os.write(STDOUT, line)
    except OSError:
        return False
    _cut = written < len(line)
    return not _cut
