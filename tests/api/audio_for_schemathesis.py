"""What schemathesis sends where a schema cannot say what is valid: random bytes are no audio."""

import json
from typing import Any

import schemathesis
from hypothesis import strategies
from schemathesis import Case, HookContext
from schemathesis.transport.serialization import Binary

from ser_core.profile import Profile
from ser_core.recognizer import Recognizer
from tests.sounds import encode, voice

RECORDINGS = strategies.sampled_from(
    [encode(voice(0.5, seed=seed), kind) for seed, kind in enumerate(("wav16", "flac", "vorbis"))]
)
PARTS = [
    [{"start": 0, "end": 0.5}],
    [{"start": 0.1, "end": 0.3, "speaker": "A"}, {"start": 0.2, "end": 0.5, "speaker": "B"}],
]
NORM = Recognizer.load().check_profiles()

schemathesis.openapi.format("binary", RECORDINGS.map(Binary))
schemathesis.openapi.format("segments", strategies.sampled_from(PARTS).map(json.dumps))
schemathesis.openapi.format("profile", strategies.just(Profile(NORM.mean, 3.0).to_token(NORM)))
for media_type in ("audio/wav", "video/mp4", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, RECORDINGS)


@schemathesis.hook
def map_case(context: HookContext, case: Case[Any]) -> Case[Any]:
    """Take out of valid requests what does not go together, which OpenAPI has no words for."""
    if case.meta is None or case.meta.generation.mode.is_negative:
        return case
    form = case.body if isinstance(case.body, dict) else {}
    names = {*(case.query or {}), *form}
    of_voice = names & {"reference", "profile"}
    if names & {"segments", "explain"} or of_voice:
        _leave_out(case, form, "channels")
    if of_voice or names & {"adapt", "explain"} or len(form.get("file", ())) > 1:
        _leave_out(case, form, "segments")
    return case


def _leave_out(case: Case[Any], form: dict[str, Any], name: str) -> None:
    form.pop(name, None)
    if case.query:
        case.query.pop(name, None)
