"""What the service refuses because of its own state, not because of what was sent.

The worker (`api.worker`) decides before a request reaches the app, and the app answers: so such
answers look, and are logged and counted, like all others.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar

from flask import Flask

from api.problems import Problem

REFUSAL: ContextVar[str | None] = ContextVar("refusal", default=None)
"""Why the request at hand is refused: a kind of problem; None: it is served."""

WAITED: ContextVar[float | None] = ContextVar("waited", default=None)
"""Seconds that the request at hand waited for a thread."""

DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)
"""When, on the monotonic clock, the request at hand has taken too long."""

on_in_flight: Callable[[int], None] = lambda count: None  # noqa: E731
"""Told how many requests the worker has taken and not yet answered."""

on_bare_refusal: Callable[[str, int], None] = lambda name, status: None  # noqa: E731
"""Told of each refusal that the app does not see: the kind of problem, and its status."""

BUSY_SECONDS = 1.0
"""Of waiting for a thread, from which on a request that was late may be in time another day."""

_RETRY_AFTER = {"Retry-After": "1"}
_DETAILS = {
    "overloaded": "The service has as many requests as it can take; try again in a moment.",
    "body-timeout": "The request did not come in as a whole in the time that there is for it.",
    "deadline": "The recording was not judged in the time that a request may take.",
}


def init_app(app: Flask) -> None:
    """Answer refused requests before anything looks at them."""
    app.before_request(_refuse)


def _refuse() -> None:
    name = REFUSAL.get()
    if name is not None:
        raise refusal(name)


def refusal(name: str) -> Problem:
    """The answer to a request that is refused for that reason."""
    detail = _DETAILS[name]
    if name == "deadline" and (WAITED.get() or 0.0) < BUSY_SECONDS:
        return Problem(name, f"{detail} It did not wait for others: send less at a time.")
    return Problem(name, detail, headers={} if name == "body-timeout" else _RETRY_AFTER)


def check_deadline() -> None:
    """Raises `Problem` once the request at hand has taken too long."""
    deadline = DEADLINE.get()
    if deadline is not None and time.monotonic() > deadline:
        raise refusal("deadline")
