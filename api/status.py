"""What the service says of itself: alive, ready, and with which models."""

from typing import Any

from flask import Blueprint, Response, jsonify

from api.models import current_models
from api.problems import Problem
from ser_core.bundle import Bundle

blueprint = Blueprint("status", __name__)


@blueprint.get("/health")
def health() -> Response:
    """200 as long as the process lives; touches nothing else."""
    return jsonify(status="ok")


@blueprint.get("/ready")
@blueprint.get("/ping", endpoint="ping")  # SageMaker's name
def ready() -> Response:
    """200 once every model has answered its warm-up clip."""
    if not current_models().ready:
        detail = "The model has not answered its warm-up clip yet."
        raise Problem("not-ready", detail, headers={"Retry-After": "1"})
    return jsonify(status="ready")


@blueprint.get("/models")
def models() -> Response:
    """The bundles that are served, the default one first, each with its card."""
    loaded = current_models()
    return jsonify(
        models=[
            {"default": name == loaded.names[0], **_describe(loaded.get(name).bundle)}
            for name in loaded.names
        ]
    )


def _describe(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "version": bundle.version,
        "emotions": list(bundle.emotions),
        "sampling_rate": bundle.sampling_rate,
        "window": bundle.window,
        "hop": bundle.hop,
        "threshold": bundle.threshold,
        "card": bundle.card,
    }
