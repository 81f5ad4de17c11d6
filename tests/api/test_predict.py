from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from api import Settings, create_app
from api.models import Models
from tests.api.fakes import PROBABILITIES, recognizer
from tests.api.live import Server, form
from tests.sounds import encode, silence, voice

WAV = encode(voice(4.0))


def upload(*files: tuple[bytes, str], **fields: str) -> dict[str, Any]:
    content = [(BytesIO(data), filename) for data, filename in files]
    return {"data": {**fields, "file": content}}


def raw(content: bytes = WAV) -> dict[str, Any]:
    return {"data": content, "content_type": "audio/wav"}


def test_one_file_is_answered_with_its_emotion(client: FlaskClient) -> None:
    answer = client.post("/predict", **upload((WAV, "clip.wav")))
    assert answer.status_code == 200
    assert answer.get_json() == {
        "emotion": "happy",
        "confidence": 0.83,
        "uncertain": False,
        "probabilities": PROBABILITIES,
        "duration": 4.0,
        "model": {"name": "default", "version": "1.2.3"},
        "filename": "clip.wav",
    }


def test_emotions_keep_the_order_of_the_bundle(client: FlaskClient) -> None:
    answer = client.post("/predict", **raw())
    assert list(answer.get_json()["probabilities"]) == list(PROBABILITIES)


@pytest.mark.parametrize(
    "content_type",
    [
        *("audio/wav", "audio/mpeg; rate=16000", "video/webm", "video/mp4", "application/ogg"),
        *("application/octet-stream", "binary/octet-stream", None),
    ],
)
def test_the_body_itself_may_be_the_recording(
    client: FlaskClient, content_type: str | None
) -> None:
    answer = client.post("/predict", data=WAV, content_type=content_type)
    assert answer.status_code == 200
    assert answer.get_json()["emotion"] == "happy"
    assert "filename" not in answer.get_json()


def test_invocations_is_another_name_of_predict(client: FlaskClient) -> None:
    assert client.post("/invocations", **raw()).get_json() == (
        client.post("/predict", **raw()).get_json()
    )


def test_the_format_is_told_by_content_not_by_name_or_type(client: FlaskClient) -> None:
    flac = encode(voice(1.0), "flac")
    answer = client.post("/predict", data=flac, content_type="audio/mpeg")
    assert answer.get_json()["duration"] == 1.0
    assert client.post("/predict", **upload((flac, "a.mp3"))).status_code == 200


@pytest.mark.parametrize("name", ["webm", "m4a", "mp4", "amr", "wma"])
def test_what_browsers_and_phones_record_is_answered(client: FlaskClient, name: str) -> None:
    from tests.sounds_av import AV_FORMATS, encode_av

    recorded = encode_av(voice(2.0, sampling_rate=AV_FORMATS[name][2]), name)
    answer = client.post("/predict", data=recorded, content_type="audio/webm;codecs=opus")
    assert answer.status_code == 200
    assert answer.get_json()["duration"] == pytest.approx(2.0, abs=0.2)


def test_the_refusal_of_other_formats_lists_what_is_read(client: FlaskClient) -> None:
    answer = client.post("/predict", **raw(b"%PDF-1.7 " * 1_000))
    assert answer.status_code == 415
    for name in ("WAV", "MP3", "M4A", "WebM", "AMR", "WMA"):
        assert name in answer.get_json()["detail"]


def test_timeline_adds_the_segments(client: FlaskClient) -> None:
    assert "segments" not in client.post("/predict?timeline=false", **raw()).get_json()
    segments = client.post("/predict?timeline=true", **raw()).get_json()["segments"]
    assert [(each["start"], each["end"]) for each in segments] == [(0.0, 3.0), (1.0, 4.0)]
    assert segments[0]["emotion"] == "happy"
    assert segments[0]["probabilities"] == PROBABILITIES


def test_top_keeps_the_most_probable_in_their_order(client: FlaskClient) -> None:
    answer = client.post("/predict?top=2&timeline=true", **raw()).get_json()
    assert list(answer["probabilities"].items()) == [("happy", 0.83), ("neutral", 0.06)]
    assert list(answer["segments"][1]["probabilities"]) == ["happy", "neutral"]
    assert len(client.post("/predict?top=99", **raw()).get_json()["probabilities"]) == 7


def test_windows_without_speech_have_no_emotion(client: FlaskClient) -> None:
    pause = encode(np.concatenate([voice(3.0), silence(6.0), voice(3.0)]))
    answer = client.post("/predict?timeline=true&top=1", **raw(pause)).get_json()
    assert answer["probabilities"] == {"happy": 0.83}
    assert [each["speech"] for each in answer["segments"]] == [True, True] + [False] * 3 + [
        True
    ] * 2
    assert answer["segments"][2] == {
        "start": 3.0,
        "end": 6.0,
        "speech": False,
        "emotion": None,
        "confidence": None,
        "probabilities": None,
    }


def test_model_chooses_among_those_served(client: FlaskClient) -> None:
    answer = client.post("/predict?model=second", **raw()).get_json()
    assert answer["model"] == {"name": "second", "version": "1.2.3"}


def test_parameters_may_come_as_fields_of_the_form(client: FlaskClient) -> None:
    answer = client.post("/predict", **upload((WAV, "a.wav"), model="second", top="1")).get_json()
    assert answer["model"]["name"] == "second"
    assert answer["probabilities"] == {"happy": 0.83}


def test_the_query_wins_over_the_form_but_both_must_be_valid(client: FlaskClient) -> None:
    answer = client.post("/predict?top=1", **upload((WAV, "a.wav"), top="2")).get_json()
    assert answer["probabilities"] == {"happy": 0.83}
    refused = client.post("/predict?top=1", **upload((WAV, "a.wav"), top="none"))
    assert (refused.status_code, refused.get_json()["parameter"]) == (400, "top")


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("timeline=yes", "timeline"),
        ("timeline=", "timeline"),
        ("top=0", "top"),
        ("top=-1", "top"),
        ("top=1.5", "top"),
        ("top=%D9%A3", "top"),  # an Arabic digit
        ("top=99999999999999999999", "top"),
        ("top=1&top=0", "top"),
        ("model=third", "model"),
        ("model=", "model"),
        ("model=../../etc", "model"),
        ("timelin=true", "timelin"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(
    client: FlaskClient, query: str, parameter: str
) -> None:
    answer = client.post(f"/predict?{query}", **raw())
    assert answer.status_code == 400
    problem = answer.get_json()
    assert problem["type"] == "/problems/bad-parameter"
    assert problem["parameter"] == parameter
    assert parameter in problem["detail"]


def test_several_files_are_answered_in_their_order_and_fail_alone(client: FlaskClient) -> None:
    files = [(WAV, "a.wav"), (b"no sound", "b.wav"), (encode(silence()), "c.wav"), (WAV, "d.wav")]
    answer = client.post("/predict", **upload(*files))
    assert answer.status_code == 200
    first, second, third, fourth = answer.get_json()["predictions"]
    assert (first["emotion"], first["filename"]) == ("happy", "a.wav")
    assert (fourth["emotion"], fourth["filename"]) == ("happy", "d.wav")
    assert set(second) == {"error", "filename"}
    assert (second["error"]["type"], second["error"]["status"]) == ("/problems/not-audio", 415)
    assert second["filename"] == "b.wav"
    assert (third["error"]["type"], third["error"]["status"]) == ("/problems/silent", 422)


def test_file_names_come_back_as_they_were(client: FlaskClient) -> None:
    name = "Grüße <b> 声.wav"
    answer = client.post("/predict", **upload((WAV, name)))
    assert answer.get_json()["filename"] == name


def test_limits_are_those_of_the_settings() -> None:
    settings = Settings(max_seconds=2.0, max_channels=1, max_sampling_rate=16_000)
    client = create_app(settings, Models([recognizer()])).test_client()

    def problem(content: bytes) -> str:
        kind: str = client.post("/predict", **raw(content)).get_json()["type"]
        return kind

    assert problem(WAV) == "/problems/too-long"
    stereo = encode(voice(1.0)[:, None].repeat(2, axis=1))
    assert problem(stereo) == "/problems/too-many-channels"
    fast = encode(voice(1.0, sampling_rate=44_100), sampling_rate=44_100)
    assert problem(fast) == "/problems/sampling-rate"


def test_the_live_service_judges_what_is_sent(live: Server) -> None:
    answer = live.post("/predict?timeline=true", *form(("file", "clip.wav", WAV)))
    assert answer.status == 200
    heard = answer.json
    emotions = live.get("/models").json["models"][0]["emotions"]
    assert list(heard["probabilities"]) == emotions
    assert sum(heard["probabilities"].values()) == pytest.approx(1.0, abs=0.001)
    assert heard["probabilities"][heard["emotion"]] == max(heard["probabilities"].values())
    assert heard["confidence"] == heard["probabilities"][heard["emotion"]]
    assert heard["segments"][-1]["end"] <= 4.0


def test_the_same_recording_sent_in_any_way_is_heard_the_same(live: Server) -> None:
    as_form = live.post("/predict", *form(("file", "clip.wav", WAV))).json
    as_body = live.post("/predict", WAV, "audio/wav").json
    in_chunks = live.post("/predict", iter([WAV[:10_000], WAV[10_000:]]), "audio/wav").json
    assert as_form.pop("filename") == "clip.wav"
    assert as_form == as_body == in_chunks


def test_a_real_recording_is_heard_over_http_as_in_python(live: Server, ser_data: Path) -> None:
    from ser_core.recognizer import Recognizer

    recording = next(path for path in sorted(ser_data.rglob("*.*")) if _is_audio(path))
    answer = live.post("/predict", recording.read_bytes(), "application/octet-stream")
    assert answer.json == Recognizer.load().predict(recording).to_dict()


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in {".wav", ".flac", ".ogg", ".opus", ".mp3"}
