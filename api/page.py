"""GET /: the page where a person uploads a recording, or speaks, and sees the answer."""

from typing import Any

from flask import Blueprint, Flask, Response, current_app, render_template, request

from api.models import current_models
from api.settings import Settings
from ser_core import __version__
from ser_core.bundle import Bundle

blueprint = Blueprint("page", __name__)

MOST_RECORDED = 60
WAV_HEADER, WAV_BYTES_A_SECOND = 44, 2 * 48_000
"""Of what a browser records, at the usual rate."""

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)


def init_app(app: Flask) -> None:
    """Serve the page, and tell browsers what it may load: its own files, nothing else."""
    app.register_blueprint(blueprint)
    app.after_request(_restrict)


@blueprint.get("/")
def index() -> str:
    """The page; its script does the rest."""
    settings = current_app.config["SETTINGS"]
    return render_template(
        "index.html",
        version=__version__,
        megabytes=settings.max_bytes / 1e6,
        length=_length(settings.max_seconds),
        most_recorded=_most_recorded(settings),
        max_bytes=settings.max_bytes,
        models=[_describe(recognizer.bundle) for recognizer in current_models()],
    )


def _length(seconds: float) -> str:
    minutes = seconds / 60
    if minutes == 1:
        return "1 minute"
    return f"{minutes:g} minutes" if minutes > 1 and seconds % 30 == 0 else f"{seconds:g} seconds"


def _most_recorded(settings: Settings) -> int:
    """Seconds that the page records at most: a minute, or what the service takes of it."""
    by_size = (settings.max_bytes - WAV_HEADER) / WAV_BYTES_A_SECOND
    return max(1, int(min(MOST_RECORDED, settings.max_seconds, by_size)))


def _describe(bundle: Bundle) -> dict[str, Any]:
    """What the page's script needs to know before it asks anything."""
    return {
        "name": bundle.name,
        "version": bundle.version,
        "emotions": list(bundle.emotions),
        "window": bundle.window,
        "profiles": bool(bundle.info.get("profile")),
    }


def _restrict(response: Response) -> Response:
    ancestors = current_app.config["SETTINGS"].frame_ancestors
    policy = POLICY.replace("frame-ancestors 'none'", f"frame-ancestors {ancestors}")
    response.headers["Content-Security-Policy"] = policy
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    if request.endpoint == "page.index":
        response.headers["Cache-Control"] = "no-cache"
    return response
