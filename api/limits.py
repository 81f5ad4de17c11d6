"""How often a client may ask: `SER_RATE_LIMIT`, counted in Redis if there is one."""

import math
import time

from flask import Flask, Response, current_app, request
from flask.logging import default_handler
from flask_limiter import Limiter, RateLimitExceeded

from api.keys import client
from api.problems import Problem, answer_problem

COUNTED = {"predict.predict", "predict.invocations"}
_STORAGE_SECONDS = 0.25


def init_app(app: Flask, limit: str | None, redis_url: str | None) -> None:
    """Count requests by key or address; without Redis each worker counts those that it gets.

    While Redis is away each worker counts for itself, and the service goes on.
    """
    if limit is None:
        return
    options: dict[str, str | int] = {}
    if redis_url:
        # Whole numbers by its signature, but redis-py takes any.
        options = {
            "socket_connect_timeout": _STORAGE_SECONDS,  # type: ignore[dict-item]
            "socket_timeout": _STORAGE_SECONDS,  # type: ignore[dict-item]
        }
    limiter = Limiter(
        client,
        app=app,
        application_limits=[limit],
        application_limits_exempt_when=_is_free,
        storage_uri=redis_url or "memory://",
        storage_options=options,
        in_memory_fallback_enabled=bool(redis_url),
        swallow_errors=True,
        key_prefix="ser",
    )
    # That Redis is away, or back, is said nowhere by itself.
    limiter.logger.addHandler(default_handler)
    app.extensions["ser-limiter"] = limiter
    app.register_error_handler(RateLimitExceeded, _exceeded)


def _is_free() -> bool:
    """Nothing is judged for it: only what could be a recording counts."""
    return request.endpoint not in COUNTED or request.method != "POST"


def _exceeded(error: RateLimitExceeded) -> Response:
    broken = current_app.extensions["ser-limiter"].current_limit
    wait = max(1, math.ceil(broken.window.reset_time - time.time())) if broken else 1
    return answer_problem(
        Problem(
            "rate-limited",
            f"This client may send {error.description}; {wait} s remain.",
            headers={"Retry-After": str(wait)},
        )
    )
