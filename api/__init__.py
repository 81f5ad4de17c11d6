"""The HTTP service: `create_app` is what a WSGI server runs."""

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from werkzeug.middleware.proxy_fix import ProxyFix

from api import (
    contract,
    docs,
    headers,
    keys,
    limits,
    logs,
    metrics,
    overload,
    page,
    predict,
    problems,
    status,
    upload,
)
from api.models import Models
from api.settings import SettingError, Settings

__all__ = ["SettingError", "Settings", "create_app"]


class _Json(DefaultJSONProvider):
    """Emotions keep their bundle's order; NaN, which is no JSON, is an error."""

    sort_keys = False

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return super().dumps(obj, allow_nan=False, **kwargs)


class _App(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """As it is: nothing here is async, and Flask would look at every hook of every request."""
        return func


def create_app(settings: Settings | None = None, models: Models | None = None) -> Flask:
    """The service as a WSGI app, its models loaded and warming up.

    Args:
        settings: None reads them from the environment.
        models: None loads those that the settings name.

    Raises:
        SettingError: a variable of the environment cannot be used.
        BundleError: a bundle is missing or damaged.
    """
    settings = settings or Settings.from_environment()
    app = _App(__name__)
    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=settings.trusted_proxies, x_proto=settings.trusted_proxies
        )
    app.config["SETTINGS"] = settings
    app.json = _Json(app)
    if settings.access_log:
        logs.init_app(app)
    metrics.init_app(app)
    problems.init_app(app)
    upload.init_app(app, settings.max_bytes, settings.max_files)
    headers.init_app(app)
    overload.init_app(app)
    keys.init_app(app, settings.api_keys)
    limits.init_app(app, settings.rate_limit, settings.redis_url)
    page.init_app(app)
    app.register_blueprint(predict.blueprint)
    app.register_blueprint(status.blueprint)
    app.register_blueprint(contract.blueprint)
    app.register_blueprint(docs.blueprint)
    models = models or Models.load(settings)
    app.extensions["ser"] = models
    models.warm_up(then=lambda: metrics.ready(app))
    return app
