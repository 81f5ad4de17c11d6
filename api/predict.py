"""POST /predict: audio in, emotion out."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from flask import Blueprint, Response, current_app, jsonify, request

from api.metrics import judged
from api.models import current_models
from api.problems import Problem, of_audio
from api.upload import Upload, uploads
from ser_core.audio import AudioError, Limits
from ser_core.recognizer import Recognizer

blueprint = Blueprint("predict", __name__)

PARAMETERS = ("model", "timeline", "top")

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Options:
    """What a request asks for beside the emotion."""

    recognizer: Recognizer
    timeline: bool
    top: int | None
    limits: Limits


@blueprint.post("/predict")
@blueprint.post("/invocations", endpoint="invocations")  # SageMaker's name
def predict() -> Response:
    """Judge the recordings of a request; a bad one among several does not fail the others."""
    recordings = uploads()
    options = _options()
    if len(recordings) == 1:
        return jsonify(_judge(recordings[0], options))
    return jsonify(predictions=[_judge_or_say_why(each, options) for each in recordings])


def _options() -> Options:
    """From the query, or from a form's fields of the same names."""
    if unknown := sorted(set(request.args) - set(PARAMETERS)):
        detail = f"There is no parameter {unknown[0][:80]!r}, only {', '.join(PARAMETERS)}."
        raise Problem("bad-parameter", detail, {"parameter": unknown[0][:80]})
    settings = current_app.config["SETTINGS"]
    return Options(
        recognizer=_parameter("model", current_models().get) or current_models().get(None),
        timeline=_parameter("timeline", partial(_flag, "timeline")) or False,
        top=_parameter("top", _top),
        limits=Limits(
            max_seconds=settings.max_seconds,
            max_channels=settings.max_channels,
            max_sampling_rate=settings.max_sampling_rate,
        ),
    )


def _parameter(name: str, parse: Callable[[str], Parsed]) -> Parsed | None:
    """The first of a parameter's values; the others must be valid as well, or they are mistakes."""
    return next(iter([parse(value) for value in request.values.getlist(name)]), None)


def _flag(name: str, value: str) -> bool:
    if value not in {"true", "false"}:
        raise _bad(name, value, "true or false")
    return value == "true"


def _top(value: str) -> int:
    # isascii: other scripts' digits are digits to Python as well.
    if not (value.isascii() and value.isdigit() and len(value) < 4 and int(value) > 0):
        raise _bad("top", value, "a whole number from 1 on")
    return int(value)


def _bad(name: str, value: str, wanted: str) -> Problem:
    detail = f"{name}={value[:80]!r}: must be {wanted}."
    return Problem("bad-parameter", detail, {"parameter": name})


def _judge(recording: Upload, options: Options) -> dict[str, Any]:
    started = time.perf_counter()
    prediction = options.recognizer.predict(recording.file, limits=options.limits)
    judged(prediction, time.perf_counter() - started)
    answer = prediction.to_dict(timeline=options.timeline)
    if options.top is not None:
        for part in (answer, *answer.get("segments", ())):
            if part["probabilities"] is None:
                continue  # nobody speaks there
            part["probabilities"] = _most_probable(part["probabilities"], options.top)
    if recording.filename is not None:
        answer["filename"] = recording.filename
    return answer


def _judge_or_say_why(recording: Upload, options: Options) -> dict[str, Any]:
    try:
        return _judge(recording, options)
    except AudioError as e:
        return {"error": of_audio(e).to_dict(), "filename": recording.filename}


def _most_probable(probabilities: dict[str, float], top: int) -> dict[str, float]:
    ranked = sorted(probabilities.items(), key=lambda item: item[1], reverse=True)
    return dict(ranked[:top])
