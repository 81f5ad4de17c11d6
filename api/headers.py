"""Headers that tell browsers what they may do with the answers."""

import re
from collections.abc import Collection

from flask import Flask, Response, current_app, request

_PERMISSIONS = "microphone=(self), camera=(), geolocation=(), payment=(), usb=()"
_EXPOSED = "X-Request-ID, Retry-After"
_LOCAL = re.compile(r"(localhost|[\w.-]+\.localhost|127(\.\d+){3}|\[::1\])(:\d+)?", re.IGNORECASE)
"""Hosts that browsers trust without TLS (W3C Secure Contexts, 3.1)."""
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-API-Key, X-Request-ID",
    "Access-Control-Max-Age": "600",
}


def init_app(app: Flask) -> None:
    """Let pages of the origins in `SER_CORS_ORIGINS` ask, and nobody misuse the answers."""
    app.before_request(_preflight)
    app.after_request(_secure)
    app.after_request(_share)


def _preflight() -> Response | None:
    """A browser asks before it sends another site's request; it has no key for that yet."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    response = Response(status=204)
    origins = current_app.config["SETTINGS"].cors_origins
    if sharing(request.headers.get("Origin", ""), origins):
        response.headers.update(_PREFLIGHT)
    return response


def _secure(response: Response) -> Response:
    headers = response.headers
    headers["Permissions-Policy"] = _PERMISSIONS
    if request.is_secure or _LOCAL.fullmatch(request.host):
        # Elsewhere browsers ignore it, and write so into their console.
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if current_app.config["SETTINGS"].frame_ancestors == "'none'":
        headers["X-Frame-Options"] = "DENY"  # for browsers that know no frame-ancestors
    if request.is_secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return response


def _share(response: Response) -> Response:
    if origins := current_app.config["SETTINGS"].cors_origins:
        response.vary.add("Origin")
        response.headers.update(sharing(request.headers.get("Origin", ""), origins))
    return response


def sharing(origin: str, origins: Collection[str]) -> dict[str, str]:
    """What lets a page of that origin read an answer, if it is one of those that may."""
    if not origin or ("*" not in origins and origin not in origins):
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}
