import logging
import re
from http import HTTPStatus
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray

from api import Settings, create_app, problems
from api.models import Models
from ser_core.audio import AudioError
from tests.api.fakes import Network, recognizer
from tests.sounds import encode, voice

RAW: dict[str, Any] = {"data": encode(voice(1.0)), "content_type": "audio/wav"}


@pytest.mark.parametrize("error", AudioError.__subclasses__(), ids=lambda error: error.__name__)
def test_every_audio_error_has_its_problem(error: type[AudioError]) -> None:
    assert 400 <= problems.KINDS[error.code].status < 500


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("not-audio", 415),
        ("empty", 422),
        ("too-short", 422),
        ("too-long", 413),
        ("too-many-channels", 422),
        ("sampling-rate", 422),
        ("not-finite", 422),
        ("silent", 422),
    ],
)
def test_audio_errors_have_the_statuses_of_the_contract(code: str, status: int) -> None:
    assert problems.KINDS[code].status == status


def test_an_unknown_path_is_a_problem(client: FlaskClient) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
    problem = answer.get_json()
    assert problem.pop("request_id") == answer.headers["X-Request-ID"]
    assert problem == {
        "type": "/problems/not-found",
        "title": "Not found",
        "status": 404,
        "detail": "Nothing is at /nowhere.",
    }


def test_a_wrong_method_is_a_problem_that_lists_the_right_ones(client: FlaskClient) -> None:
    answer = client.get("/predict")
    assert answer.status_code == 405
    assert answer.get_json()["type"] == "/problems/method-not-allowed"
    assert answer.headers["Allow"] == "OPTIONS, POST"


def test_an_error_of_the_framework_without_a_kind_is_about_blank(client: FlaskClient) -> None:
    answer = client.get("/static/page.css", headers={"Range": "bytes=99999999-"})
    assert answer.status_code == 416
    problem = answer.get_json()
    assert (problem["type"], problem["status"]) == ("about:blank", 416)
    assert problem["title"] == HTTPStatus(416).phrase  # Python 3.13 worded it anew


def test_every_type_leads_to_its_description(client: FlaskClient) -> None:
    for name, kind in problems.KINDS.items():
        assert client.get(f"/problems/{name}").get_json() == {
            "type": f"/problems/{name}",
            "title": kind.title,
            "status": kind.status,
            "meaning": kind.meaning,
        }
    assert client.get("/problems/nonsense").status_code == 404


class Broken(Network):
    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        raise RuntimeError("the secret inside")


def test_a_failure_of_the_service_is_logged_and_not_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = create_app(Settings(), Models([recognizer(network=Broken())]))
    with caplog.at_level(logging.ERROR, "api.problems"):
        answer = app.test_client().post("/predict", **RAW, headers={"X-Request-ID": "abc-1"})
    assert answer.status_code == 500
    assert answer.get_json()["type"] == "/problems/internal"
    assert answer.get_json()["request_id"] == "abc-1"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    (record,) = [each for each in caplog.records if each.name == "api.problems"]
    assert record.getMessage() == "request abc-1 failed"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "the secret inside"


class NotANumber(Network):
    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        return super().logits(windows, lengths) * np.float32(np.nan)


def test_a_model_that_answers_nan_is_at_fault_and_not_quoted() -> None:
    app = create_app(Settings(), Models([recognizer(network=NotANumber())]))
    answer = app.test_client().post("/predict", **RAW)
    assert answer.status_code == 500
    assert answer.get_json()["type"] == "/problems/internal"


def test_the_request_id_of_the_client_comes_back(client: FlaskClient) -> None:
    answer = client.get("/health", headers={"X-Request-ID": "trace/7f:3._-"})
    assert answer.headers["X-Request-ID"] == "trace/7f:3._-"


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, 'a"b', "é", "<script>"])
def test_a_request_id_that_is_not_sane_is_replaced(client: FlaskClient, sent: str) -> None:
    answer = client.get("/health", headers={"X-Request-ID": sent})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_a_failing_file_among_several_carries_the_request_id(client: FlaskClient) -> None:
    files = [(BytesIO(b"text"), "a.wav"), (BytesIO(b"text"), "b.wav")]
    answer = client.post("/predict", data={"file": files}, headers={"X-Request-ID": "abc"})
    assert [each["error"]["request_id"] for each in answer.get_json()["predictions"]] == [
        "abc",
        "abc",
    ]
