"""GET /metrics: what Prometheus wants to know, over all workers.

With several workers each counts in files of its own, in a folder that `api.gunicorn_config` makes
and removes; whichever worker is asked adds them up.
"""

import os
import time
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, request

from api import logs, overload
from api.problems import KINDS
from ser_core.recognizer import Prediction

blueprint = Blueprint("metrics", __name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
JUDGING = ("/predict", "/invocations")
"""Routes of which a 500 is to be seen the first time."""
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Metrics:
    """Everything that is counted; made once a process."""

    def __init__(self) -> None:
        # Its first import decides whether it counts in files, which gunicorn's start decides.
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram  # noqa: PLC0415

        self.registry = CollectorRegistry()
        given: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "ser_requests", "Requests answered", ["method", "route", "status"], **given
        )
        self.refusals = Counter("ser_refusals", "Requests refused, by problem", ["reason"], **given)
        self.seconds = Histogram(
            "ser_request_seconds", "Time of an answer", ["route"], buckets=_SECONDS, **given
        )
        self.waiting = Histogram(
            "ser_wait_seconds", "Time until a thread was free", buckets=_SECONDS, **given
        )
        self.parts = Histogram(
            "ser_recording_seconds",
            "Time of a recording's parts: decode, model",
            ["part"],
            buckets=_SECONDS,
            **given,
        )
        self.audio = Counter("ser_audio_seconds", "Seconds of audio judged", **given)
        self.predictions = Counter(
            "ser_predictions", "Recordings judged", ["model", "emotion", "uncertain"], **given
        )
        self.confidence = Histogram(
            "ser_confidence", "Confidence of answers", ["model"], buckets=_TENTHS, **given
        )
        self.in_flight = Gauge(
            "ser_in_flight",
            "POST requests taken and not yet answered",
            multiprocess_mode="livesum",
            **given,
        )
        self.workers = Gauge(
            "ser_workers", "Workers that are ready", multiprocess_mode="livesum", **given
        )
        self.workers.set(0)
        self.lost_lines = Counter(
            "ser_log_lines_lost", "Lines of the log that could not be written", **given
        )
        self.starts = Counter("ser_worker_starts", "Workers started", **given)
        self.starts.inc()
        self._refused: dict[tuple[str, int], Any] = {}
        # From 0 on: of a series that begins with its first failure Prometheus sees no increase.
        for kind in KINDS:
            self.refusals.labels(kind)
        for route in JUDGING:
            self.requests.labels("POST", route, "500")

    def refused(self, name: str, status: int) -> None:
        """Count a refusal that the app did not see."""
        # Looked up once: this is called where time is short.
        if (name, status) not in self._refused:
            request = self.requests.labels("other", "none", str(status))
            self._refused[name, status] = (request, self.refusals.labels(name))
        for counter in self._refused[name, status]:
            counter.inc()

    def text(self) -> bytes:
        """The metrics of all workers in Prometheus's format."""
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

        if not os.environ.get(FOLDER):
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)


def init_app(app: Flask) -> None:
    """Count every request of the app."""
    made = app.extensions["ser-metrics"] = Metrics()
    overload.on_in_flight = made.in_flight.set
    overload.on_bare_refusal = made.refused
    logs.on_lost = made.lost_lines.inc
    app.register_blueprint(blueprint)
    app.before_request(_start)
    app.after_request(_count)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Text for Prometheus."""
    return Response(_metrics().text(), mimetype="text/plain; version=0.0.4")


def ready(app: Flask) -> None:
    """Say that this worker's models have answered their warm-up clip."""
    counted: Metrics = app.extensions["ser-metrics"]
    counted.workers.set(1)


def judged(prediction: Prediction) -> None:
    """Count a recording that was judged."""
    counted = _metrics()
    model = prediction.model
    counted.audio.inc(prediction.duration)
    counted.predictions.labels(model, prediction.emotion, str(prediction.uncertain).lower()).inc()
    counted.confidence.labels(model).observe(prediction.confidence)
    counted.parts.labels("model").observe(prediction.model_seconds)
    counted.parts.labels("decode").observe(prediction.decode_seconds)


def _metrics() -> Metrics:
    made: Metrics = current_app.extensions["ser-metrics"]
    return made


def _start() -> None:
    g.metrics_started = time.perf_counter()


def _count(response: Response) -> Response:
    counted = _metrics()
    # The route, not the path: clients can make up as many paths as they like.
    route = request.url_rule.rule if request.url_rule else "none"
    method = request.method if request.method in _METHODS else "other"
    counted.requests.labels(method, route, str(response.status_code)).inc()
    counted.seconds.labels(route).observe(time.perf_counter() - g.metrics_started)
    # What needs no model has threads of its own, where it hardly waits.
    waited = overload.WAITED.get()
    if waited is not None and request.method == "POST":
        counted.waiting.observe(waited)
    if "problem" in g:
        counted.refusals.labels(g.problem).inc()
    return response
