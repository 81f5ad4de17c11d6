"""What a request may ask for beside the emotion: profiles, channels, segments, an explanation."""

import base64
import json
import re
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from api import Settings, create_app
from api.models import Models
from tests.api.fakes import NORM, listener, recognizer
from tests.api.live import form
from tests.sounds import encode, silence, voice

LOUD, QUIET = encode(voice(2.0, level=0.8)), encode(voice(2.0, level=0.2))


@pytest.fixture
def client() -> FlaskClient:
    """The app with a model that knows profiles, and `default`, which does not."""
    return create_app(Settings(), Models([listener(), recognizer()])).test_client()


def post(client: FlaskClient, *files: bytes, references: Any = (), **fields: Any) -> Any:
    recordings = [("file", f"{i}.wav", data) for i, data in enumerate(files)]
    recordings += [("reference", "reference.wav", data) for data in references]
    values = {name: str(value) for name, value in fields.items()}
    body, content_type = form(*recordings, **values)
    return client.post("/predict", data=body, content_type=content_type)


def problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["type"].removeprefix("/problems/")


def test_references_say_what_is_normal_for_the_speaker(client: FlaskClient) -> None:
    assert post(client, LOUD, references=[LOUD]).get_json()["emotion"] == "happy"
    assert post(client, LOUD, references=[QUIET, QUIET]).get_json()["emotion"] == "angry"


def test_a_token_stands_for_the_recordings_before(client: FlaskClient) -> None:
    first = post(client, QUIET, profile="true").get_json()
    assert re.fullmatch(r"[A-Za-z0-9_-]{10,600}", first["profile"])
    with_token = post(client, LOUD, profile=first["profile"]).get_json()
    with_reference = post(client, LOUD, references=[QUIET], profile="true").get_json()
    assert with_token["emotion"] == with_reference["emotion"] == "angry"
    assert with_token["profile"] == with_reference["profile"] != first["profile"]


def test_an_utterance_updates_the_profile_after_it_is_judged(client: FlaskClient) -> None:
    token = post(client, QUIET, profile="true").get_json()["profile"]
    emotions = []
    for _ in range(6):
        answer = post(client, LOUD, profile=token).get_json()
        emotions.append(answer["emotion"])
        token = answer["profile"]
    # Who always speaks loudly is not angry.
    assert emotions[0] == "angry"
    assert emotions[-1] == "happy"


def test_a_token_may_come_in_the_query_of_a_raw_body(client: FlaskClient) -> None:
    token = post(client, QUIET, profile="true").get_json()["profile"]
    answer = client.post(f"/predict?profile={token}", data=LOUD, content_type="audio/wav")
    assert answer.get_json()["emotion"] == "angry"
    assert answer.get_json()["profile"]


def test_of_two_tokens_the_query_s_is_taken(client: FlaskClient) -> None:
    loud, quiet = (
        post(client, sound, profile="true").get_json()["profile"] for sound in (LOUD, QUIET)
    )

    def emotion(in_query: str, in_form: str) -> str:
        body, content_type = form(("file", "a.wav", LOUD), profile=in_form)
        answer = client.post(f"/predict?profile={in_query}", data=body, content_type=content_type)
        return str(answer.get_json().get("emotion", answer.status_code))

    assert (emotion(quiet, loud), emotion(loud, quiet)) == ("angry", "happy")
    assert emotion("false", quiet) == "happy"
    assert emotion(quiet, "damaged") == "422"


@pytest.mark.parametrize("value", ["0", "1000", "1.5", "-1", "٣", "many", ""])
def test_top_is_a_number_within_its_bounds(client: FlaskClient, value: str) -> None:
    answer = post(client, LOUD, top=value)
    assert problem(answer) == (400, "bad-parameter")
    assert answer.get_json()["detail"] == f"top={value!r}: must be a whole number from 1 to 999."
    assert post(client, LOUD, top="999").status_code == 200


def test_no_profile_is_given_back_unasked(client: FlaskClient) -> None:
    for fields in ({}, {"profile": "false"}, {"references": [QUIET]}):
        assert "profile" not in post(client, LOUD, **fields).get_json()


@pytest.mark.parametrize("value", ["", "0", "1", "True", "yes", "true ", "%%%", "ä"])
def test_what_is_no_profile_at_all_is_not_called_a_damaged_one(
    client: FlaskClient, value: str
) -> None:
    answer = post(client, LOUD, profile=value)
    assert problem(answer) == (422, "profile")
    assert "neither true nor false nor a token" in answer.get_json()["detail"]


@pytest.mark.parametrize("damage", ["A" * 10, "%%%%%%%%%%", "ääääääää", "A" * 400])
def test_a_damaged_token_is_refused_and_not_repeated(client: FlaskClient, damage: str) -> None:
    answer = post(client, LOUD, profile=damage)
    assert problem(answer) == (422, "profile")
    assert "token is" in answer.get_json()["detail"]
    assert damage not in answer.get_data(as_text=True)


def test_a_changed_token_and_one_of_another_model_are_refused(client: FlaskClient) -> None:
    token = post(client, QUIET, profile="true").get_json()["profile"]
    for strange in (
        f"!!{token}",
        f"{token[:8]}\n{token[8:]}",
        f"{token}=",
        f"{token[:8]} {token[8:]}",
    ):
        assert problem(post(client, LOUD, profile=strange)) == (422, "profile")
    changed = token[:12] + ("A" if token[12] != "A" else "B") + token[13:]
    assert problem(post(client, LOUD, profile=changed)) == (422, "profile")
    other = create_app(
        Settings(), Models([listener(norm={**NORM, "spread": [0.3, 0.3]})])
    ).test_client()
    answer = post(other, LOUD, profile=token)
    assert problem(answer) == (422, "profile")
    assert "another model" in answer.get_json()["detail"]


def test_a_model_that_knows_no_profiles_says_so(client: FlaskClient) -> None:
    for fields in ({"profile": "true"}, {"references": [QUIET]}, {"adapt": "true"}):
        answer = post(client, LOUD, model="default", **fields)
        assert problem(answer) == (422, "profile")
        assert "knows no profiles" in answer.get_json()["detail"]
    assert post(client, LOUD, model="default", profile="false").status_code == 200


def test_a_reference_that_cannot_be_read_is_named(client: FlaskClient) -> None:
    answer = post(client, LOUD, references=[QUIET, encode(silence())])
    assert problem(answer) == (422, "silent")
    assert answer.get_json()["detail"].startswith("Reference 2: ")
    assert answer.get_json()["reference"] == 2


def test_tokens_are_in_no_log(client: FlaskClient, capfd: pytest.CaptureFixture[str]) -> None:
    token = post(client, QUIET, profile="true").get_json()["profile"]
    client.post(f"/predict?profile={token}", data=LOUD, content_type="audio/wav")
    client.post(f"/predict?profile={token[:-1]}", data=LOUD, content_type="audio/wav")
    written = "".join(capfd.readouterr())
    assert "/predict" in written
    assert token[:20] not in written


def test_references_count_as_files() -> None:
    app = create_app(Settings(max_files=3), Models([listener()]))
    assert post(app.test_client(), LOUD, references=[QUIET] * 2).status_code == 200
    assert problem(post(app.test_client(), LOUD, references=[QUIET] * 3)) == (413, "too-large")


def test_a_long_recording_may_say_itself_what_is_normal(client: FlaskClient) -> None:
    sound = encode(np.concatenate([voice(6.0, level=0.2), voice(6.0, level=0.8)]))
    emotions = [
        [segment["emotion"] for segment in post(client, sound, **fields).get_json()["segments"]]
        for fields in ({"timeline": "true"}, {"timeline": "true", "adapt": "true"})
    ]
    assert emotions[0] == ["happy"] * 7
    assert emotions[1][:3] == ["happy"] * 3
    assert "angry" in emotions[1][3:]
    assert post(client, sound, adapt="true", channels="split").status_code == 200


def test_channels_are_answered_apart(client: FlaskClient) -> None:
    call = np.stack([voice(3.0), silence(3.0), voice(3.0, 220.0)], axis=1)
    answer = post(client, encode(call), model="default", channels="split", top="1").get_json()
    caller, nobody, agent = answer["channels"]
    assert answer["filename"] == "0.wav"
    assert (caller["channel"], caller["emotion"], caller["duration"]) == (0, "happy", 3.0)
    assert (agent["channel"], agent["probabilities"]) == (2, {"happy": 0.83})
    assert (nobody["channel"], nobody["error"]["type"]) == (1, "/problems/silent")
    mixed = post(client, encode(call), model="default", channels="mix").get_json()
    assert "channels" not in mixed


SEGMENTS = [
    {"start": 0, "end": 1.9, "speaker": "A", "text": "from Whisper"},
    {"start": 2.0, "end": 4.0, "speaker": "B"},
    {"start": 4.1, "end": 5.9, "speaker": None},
]


def test_segments_are_judged_each_and_by_speaker(client: FlaskClient) -> None:
    sound = encode(np.concatenate([voice(4.0), silence(2.0)]))
    answer = post(client, sound, segments=json.dumps(SEGMENTS), model="default", top=2).get_json()
    segments = answer["segments"]
    assert [(s["start"], s["end"], s.get("speaker"), s["emotion"]) for s in segments] == [
        (0.0, 1.9, "A", "happy"),
        (2.0, 4.0, "B", "happy"),
        (4.1, 5.9, None, None),
    ]
    assert answer["speakers"]["A"] == {
        "emotion": "happy",
        "confidence": 0.83,
        "probabilities": {"happy": 0.83, "neutral": 0.06},
        "seconds": 1.9,
        "segments": 1,
    }
    assert list(answer["speakers"]) == ["A", "B"]


@pytest.mark.parametrize(
    "segments",
    [
        "",
        "no JSON",
        "{}",
        "[]",
        "[1]",
        "[[0, 1]]",
        '[{"start": 0}]',
        '[{"start": 1, "end": 1}]',
        '[{"start": 0, "end": 0.0001}]',
        '[{"start": -1, "end": 1}]',
        '[{"start": "0", "end": 1}]',
        '[{"start": false, "end": true}]',
        '[{"start": 0, "end": NaN}]',
        '[{"start": 0, "end": Infinity}]',
        '[{"start": 0, "end": 1e999}]',
        '[{"start": 0, "end": 1' + "0" * 400 + "}]",
        '[{"start": 0, "end": 1, "speaker": 7}]',
        json.dumps([{"start": 0, "end": 1, "speaker": "x" * 101}]),
        json.dumps([{"start": 0, "end": 0.5}] * 1_001),
        json.dumps([{"start": 0, "end": 301}] * 2),
        "[" * 100_000,
    ],
)
def test_segments_that_are_none_are_refused(client: FlaskClient, segments: str) -> None:
    answer = post(client, LOUD, segments=segments)
    assert problem(answer) == (400, "bad-parameter")
    assert answer.get_json()["parameter"] == "segments"
    detail = answer.get_json()["detail"]
    assert len(detail) < 250
    assert detail.startswith(("segments: ", f"segments={segments[:80]!r}: "))


def test_segments_may_be_as_many_and_have_names_as_long_as_there_may_be(
    client: FlaskClient,
) -> None:
    # Each character of such a name is twelve in JSON.
    parts = [{"start": 0, "end": 0.5, "speaker": chr(0x1F600 + n % 64) * 100} for n in range(1_000)]
    answer = post(client, LOUD, segments=json.dumps(parts), model="default").get_json()
    assert len(answer["segments"]) == 1_000
    assert len(answer["speakers"]) == 64


def test_a_file_of_segments_may_begin_with_a_byte_order_mark(client: FlaskClient) -> None:
    with_mark = post(client, LOUD, segments="\ufeff" + json.dumps(SEGMENTS), model="default")
    assert with_mark.get_json()["segments"]


@pytest.mark.parametrize(
    "fields",
    [
        {"channels": "split", "segments": json.dumps(SEGMENTS)},
        {"channels": "split", "profile": "true"},
        {"channels": "split", "references": [QUIET]},
        {"channels": "split", "explain": "true"},
        {"segments": json.dumps(SEGMENTS), "profile": "true"},
        {"channels": "left"},
        {"segments": json.dumps(SEGMENTS), "adapt": "true"},
        {"segments": json.dumps(SEGMENTS), "explain": "true"},
        {"explain": "yes"},
        {"adapt": "yes"},
    ],
)
def test_what_does_not_go_together_is_refused(client: FlaskClient, fields: Any) -> None:
    assert problem(post(client, LOUD, **fields)) == (400, "bad-parameter")


def test_segments_may_come_as_a_file(client: FlaskClient) -> None:
    listed = json.dumps(SEGMENTS).encode()
    body, content_type = form(("file", "a.wav", LOUD), ("segments", "parts.json", listed))
    answer = client.post("/predict", data=body, content_type=content_type).get_json()
    assert [segment.get("speaker") for segment in answer["segments"]] == ["A", "B", None]


def test_segments_may_be_together_as_long_as_a_recording(client: FlaskClient) -> None:
    parts = [{"start": 0.3, "end": 0.9}] * 1_000
    assert 0.9 - 0.3 > 0.6
    assert post(client, LOUD, segments=json.dumps(parts)).status_code == 200


def test_segments_that_all_begin_after_the_end_are_refused(client: FlaskClient) -> None:
    late = [{"start": 2, "end": 3}, {"start": 50, "end": 60}]
    answer = post(client, LOUD, segments=json.dumps(late))
    assert problem(answer) == (400, "bad-parameter")
    assert answer.get_json()["parameter"] == "segments"
    assert "ends at 2.000 s" in answer.get_json()["detail"]
    some = post(
        client, LOUD, segments=json.dumps([{"start": 0, "end": 200, "speaker": "A"}, *late])
    )
    assert [segment["speech"] for segment in some.get_json()["segments"]] == [True, False, False]
    assert some.get_json()["speakers"]["A"]["seconds"] == 2.0


def test_segments_are_of_one_file(client: FlaskClient) -> None:
    answer = post(client, LOUD, QUIET, segments=json.dumps(SEGMENTS))
    assert problem(answer) == (400, "bad-parameter")


def test_explain_shows_what_the_model_saw(client: FlaskClient) -> None:
    assert "explanation" not in post(client, LOUD).get_json()
    explanation = post(client, LOUD, explain="true").get_json()["explanation"]
    assert set(explanation) == {"log_mel", "shape", "decibels", "start", "hop", "edges"}
    bands, frames = explanation["shape"]
    assert (bands, frames) == (64, 126)
    assert len(base64.b64decode(explanation["log_mel"])) == bands * frames
    assert len(explanation["edges"]) == bands + 2
