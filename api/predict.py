"""POST /predict: audio in, emotion out."""

from typing import Any

from flask import Blueprint, Response, jsonify

from api.metrics import judged
from api.options import Options, read_options
from api.problems import Problem, of_audio
from api.upload import Upload, uploads
from ser_core.audio import AudioError
from ser_core.recognizer import Prediction

blueprint = Blueprint("predict", __name__)


@blueprint.post("/predict")
@blueprint.post("/invocations", endpoint="invocations")  # SageMaker's name
def predict() -> Response:
    """Judge the recordings of a request; a bad one among several does not fail the others."""
    recordings = uploads()
    options = read_options()
    if len(recordings) == 1:
        return jsonify(_judge(recordings[0], options))
    if options.segments is not None:
        detail = "segments are of one recording: send one file."
        raise Problem("bad-parameter", detail, {"parameter": "segments"})
    return jsonify(predictions=_judge_each(recordings, options))


def _judge(recording: Upload, options: Options) -> dict[str, Any]:
    answer = _split(recording, options) if options.split else _whole(recording, options)
    if recording.filename is not None:
        answer["filename"] = recording.filename
    return answer


def _whole(recording: Upload, options: Options) -> dict[str, Any]:
    prediction = options.recognizer.predict(
        recording.file,
        limits=options.limits,
        profile=options.profile,
        spans=options.segments,
        explained=options.explain,
        adapt=options.adapt,
    )
    judged(prediction)
    answer = _answer(prediction, options)
    if options.wants_profile:
        answer["profile"] = _token(prediction, options)
    return answer


def _split(recording: Upload, options: Options) -> dict[str, Any]:
    """Each channel's answer, or why it has none; what all share stands beside them."""
    predictions = options.recognizer.predict_channels(
        recording.file, limits=options.limits, adapt=options.adapt
    )
    channels = []
    for number, prediction in enumerate(predictions):
        if isinstance(prediction, AudioError):
            channels.append({"channel": number, "error": of_audio(prediction).to_dict()})
            continue
        judged(prediction)
        channels.append({"channel": number, **_answer(prediction, options)})
    return {"channels": channels}


def _judge_each(recordings: list[Upload], options: Options) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    for recording in recordings:
        try:
            answers.append(_judge(recording, options))
        except AudioError as e:
            answers.append(_failed(recording, of_audio(e)))
        except Problem as e:
            # What has been judged in time is not thrown away with what has not.
            if e.name != "deadline" or all("error" in each for each in answers):
                raise
            answers.append(_failed(recording, e))
    return answers


def _failed(recording: Upload, problem: Problem) -> dict[str, Any]:
    return {"error": problem.to_dict(), "filename": recording.filename}


def _answer(prediction: Prediction, options: Options) -> dict[str, Any]:
    answer = prediction.to_dict(timeline=options.timeline or options.segments is not None)
    if options.top is not None:
        speakers = answer.get("speakers", {}).values()
        for part in (answer, *answer.get("segments", ()), *speakers):
            # Where nobody speaks there are none.
            if part["probabilities"] is not None:
                part["probabilities"] = _most_probable(part["probabilities"], options.top)
    return answer


def _token(prediction: Prediction, options: Options) -> str:
    """The profile that the request gave, with what this recording adds."""
    heard, given = prediction.profile, options.profile
    if heard is None:
        raise AssertionError("a bundle that knows profiles describes every recording")
    updated = heard if given is None else given.update(heard)
    return updated.to_token(options.recognizer.check_profiles())


def _most_probable(probabilities: dict[str, float], top: int) -> dict[str, float]:
    ranked = sorted(probabilities.items(), key=lambda item: item[1], reverse=True)
    return dict(ranked[:top])
