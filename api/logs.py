"""One line of JSON on standard output for each request: no audio, no file names, no addresses."""

import json
import sys
import time
from datetime import UTC, datetime

from flask import Flask, Response, g, request

from api.problems import request_id


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
    # In one write, so that the lines of two threads never mix.
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
