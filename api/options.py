"""What a request asks for beside the emotion: its query, or a form's fields of the same names."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from flask import current_app, request

from api.models import current_models
from api.overload import check_deadline
from api.problems import Problem, of_audio
from api.upload import PARAMETERS, references
from ser_core.audio import AudioError, Limits
from ser_core.profile import Profile, ProfileError
from ser_core.recognizer import Recognizer, Span

MOST_SEGMENTS = 1_000
_ROUNDING = 1e-6
"""Seconds by which a thousand differences of decimal fractions may be off, with room to spare."""
LONGEST_NAME = 100
"""Characters of a speaker's name."""
_SHORTEST_TOKEN = 8
"""Characters; what is shorter was meant as true or false, or as nothing."""

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Options:
    """What a request asks for beside the emotion."""

    recognizer: Recognizer
    limits: Limits
    timeline: bool
    top: int | None
    split: bool
    """Each channel is judged for itself."""
    segments: list[Span] | None
    profile: Profile | None
    """What is normal for the speaker, by the token and the references of the request."""
    wants_profile: bool
    """The answer is to hold the profile, updated."""
    explain: bool
    adapt: bool
    """Earlier windows of a recording say what is normal for the later ones."""


def read_options() -> Options:
    """The options of the request at hand.

    Raises:
        Problem: a parameter is unknown or cannot be used, or two do not go together.
        ProfileError: a profile cannot be used.
    """
    if unknown := sorted(set(request.args) - set(PARAMETERS)):
        detail = f"There is no parameter {unknown[0][:80]!r}, only {', '.join(PARAMETERS)}."
        raise Problem("bad-parameter", detail, {"parameter": unknown[0][:80]})
    settings = current_app.config["SETTINGS"]
    limits = Limits(
        max_seconds=settings.max_seconds,
        max_channels=settings.max_channels,
        max_sampling_rate=settings.max_sampling_rate,
        check=check_deadline,
    )
    recognizer = _parameter("model", current_models().get) or current_models().get(None)
    timeline = _parameter("timeline", partial(_flag, "timeline")) or False
    top = _parameter("top", _top)
    split = _parameter("channels", _channels) == "split"
    segments = _parameter("segments", partial(_segments, limits.max_seconds))
    explain = _parameter("explain", partial(_flag, "explain")) or False
    adapt = _parameter("adapt", partial(_flag, "adapt")) or False
    given = _parameter("profile", partial(_voice, recognizer))
    about_voice = bool(references() or given)
    if split:
        _refuse_together("channels=split", segments=segments is not None, explain=explain)
        _refuse_together("channels=split", **{"a profile": about_voice})
    if segments is not None:
        _refuse_together("segments", **{"a profile": about_voice}, adapt=adapt, explain=explain)
    if adapt:
        recognizer.check_profiles()
    profile = _profile(recognizer, limits, given if isinstance(given, Profile) else None)
    return Options(
        recognizer, limits, timeline, top, split, segments, profile, bool(given), explain, adapt
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
        raise _bad("top", value, "a whole number from 1 to 999")
    return int(value)


def _channels(value: str) -> str:
    if value not in {"mix", "split"}:
        raise _bad("channels", value, "mix or split")
    return value


def _segments(max_seconds: float, value: str) -> list[Span]:
    """`[{"start": 0.0, "end": 2.5, "speaker": "A"}, ...]`; what else they hold is left alone."""
    try:
        # Editors begin a file with a byte order mark.
        listed = json.loads(value.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        raise _bad("segments", value, "a JSON list") from None
    if not isinstance(listed, list) or not listed:
        raise _bad("segments", value, "a JSON list that is not empty")
    if len(listed) > MOST_SEGMENTS:
        raise _bad_segments(f"there are {len(listed)}, at most {MOST_SEGMENTS} may be")
    spans = [_span(number, each) for number, each in enumerate(listed, 1)]
    seconds = math.fsum(span.end - span.start for span in spans)
    if seconds > max_seconds + _ROUNDING:
        raise _bad_segments(f"they last {seconds:g} s, at most {max_seconds:g} s may be")
    return spans


def _span(number: int, given: Any) -> Span:
    if not isinstance(given, dict):
        raise _bad_segments(f"number {number} must be an object with start and end")
    start, end = (_seconds(given.get(name)) for name in ("start", "end"))
    # As far as answers tell them apart.
    if start is None or end is None or start < 0 or not round(start, 3) < round(end, 3):
        wanted = "have numbers 0 <= start < end, in seconds, 0.001 apart"
        raise _bad_segments(f"number {number} must {wanted}")
    speaker = given.get("speaker")
    if not (speaker is None or (isinstance(speaker, str) and len(speaker) <= LONGEST_NAME)):
        raise _bad_segments(
            f"the speaker of number {number} must be of {LONGEST_NAME} characters at most"
        )
    return Span(start, end, speaker)


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _voice(recognizer: Recognizer, value: str) -> Profile | bool:
    """A token's profile, or whether a first one is asked for."""
    if value == "false":
        return False
    if len(value) < _SHORTEST_TOKEN and value != "true":
        raise ProfileError(
            "The profile is neither true nor false nor a token of an earlier answer."
        )
    norm = recognizer.check_profiles()
    return value == "true" or Profile.from_token(value, norm)


def _profile(recognizer: Recognizer, limits: Limits, profile: Profile | None) -> Profile | None:
    """What is known of the voice, by the token's profile and the references together."""
    for number, reference in enumerate(references(), 1):
        try:
            described = recognizer.profile(reference.file, limits=limits)
        except AudioError as error:
            problem = of_audio(error)
            detail = f"Reference {number}: {problem.detail}"
            raise Problem(problem.name, detail, {"reference": number}) from error
        profile = described if profile is None else profile.update(described)
    return profile


def _refuse_together(name: str, **others: bool) -> None:
    for other, there in others.items():
        if there:
            detail = f"{name} and {other} do not go together."
            raise Problem("bad-parameter", detail, {"parameter": name.split("=", maxsplit=1)[0]})


def _bad_segments(reason: str) -> Problem:
    return Problem("bad-parameter", f"segments: {reason}.", {"parameter": "segments"})


def _bad(name: str, value: str, wanted: str) -> Problem:
    detail = f"{name}={value[:80]!r}: must be {wanted}."
    return Problem("bad-parameter", detail, {"parameter": name})
