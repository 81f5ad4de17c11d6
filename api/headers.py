"""Headers that tell browsers what they may do with the answers."""

from flask import Flask, Response, current_app, request

_PERMISSIONS = "microphone=(self), camera=(), geolocation=(), payment=(), usb=()"
_EXPOSED = "X-Request-ID, Retry-After"
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
    if _allowed():
        response.headers.update(_PREFLIGHT)
    return response


def _secure(response: Response) -> Response:
    headers = response.headers
    headers["Permissions-Policy"] = _PERMISSIONS
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if current_app.config["SETTINGS"].frame_ancestors == "'none'":
        headers["X-Frame-Options"] = "DENY"  # for browsers that know no frame-ancestors
    if request.is_secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return response


def _share(response: Response) -> Response:
    if current_app.config["SETTINGS"].cors_origins:
        response.vary.add("Origin")
        if _allowed():
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
    return response


def _allowed() -> bool:
    origins = current_app.config["SETTINGS"].cors_origins
    origin = request.headers.get("Origin")
    return origin is not None and ("*" in origins or origin in origins)
