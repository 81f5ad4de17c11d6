import json
import os
from datetime import datetime
from io import BytesIO

import pytest
from flask.testing import FlaskClient

from api import Settings, create_app, logs
from api.models import Models
from tests.api.fakes import recognizer
from tests.sounds import encode, voice


def test_each_request_is_one_line_of_json(
    client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    client.get("/health", headers={"X-Request-ID": "one"})
    client.get("/predict", headers={"X-Request-ID": "two"})
    first, second = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert datetime.fromisoformat(first.pop("time")).tzinfo is not None
    assert 0 <= first.pop("seconds") < 10
    assert first == {"method": "GET", "route": "/health", "status": 200, "request_id": "one"}
    assert (second["status"], second["request_id"]) == (405, "two")


def test_nothing_that_a_client_writes_gets_into_the_log(
    client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    client.get('/a%0a{"status": 200}?secret=1')
    file = (BytesIO(encode(voice(1.0))), "secret.wav")
    assert client.post("/predict?top=1", data={"file": file}).status_code == 200
    lines = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["route"] for line in lines] == [None, "/predict"]
    assert "secret" not in "".join(lines)


def test_the_log_can_be_turned_off(capfd: pytest.CaptureFixture[str]) -> None:
    app = create_app(Settings(access_log=False), Models([recognizer()]))
    assert app.test_client().get("/health").status_code == 200
    assert capfd.readouterr().out == ""


def test_a_line_that_is_cut_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write, room = os.write, [len('{"time"')]
    monkeypatch.setattr(
        os, "write", lambda fd, data: write(fd, data[: room.pop()] if room else data)
    )
    lost: list[bool] = []
    monkeypatch.setattr(logs, "on_lost", lambda: lost.append(True))
    for number in range(3):
        logs.write(number=number)
    cut, *lines = capfd.readouterr().out.splitlines()
    assert cut == '{"time"'
    assert [json.loads(line)["number"] for line in lines] == [1, 2]
    assert lost == [True]
