"""How often a client may ask; with a real Redis, where there is one."""

import hashlib
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api import Settings, create_app
from api.models import Models
from tests.api.fakes import recognizer
from tests.api.live import Server, serve
from tests.redis_server import redis_server
from tests.sounds import encode, voice

WAV = encode(voice(0.5))
LIMIT = "3/hour"


def client_of(**environment: str) -> FlaskClient:
    settings = Settings.from_environment({"SER_RATE_LIMIT": LIMIT, **environment})
    return create_app(settings, Models([recognizer()])).test_client()


def post(client: FlaskClient, **headers: str) -> int:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/predict", data=WAV, content_type="audio/wav", headers=given).status_code


def test_beyond_the_limit_the_answer_is_429_and_says_when_to_go_on() -> None:
    client = client_of()
    assert [post(client) for _ in range(4)] == [200, 200, 200, 429]
    answer = client.post("/invocations", data=WAV, content_type="audio/wav")
    assert answer.status_code == 429
    assert answer.get_json()["type"] == "/problems/rate-limited"
    assert 0 < int(answer.headers["Retry-After"]) <= 3600


def test_only_predictions_are_counted() -> None:
    client = client_of()
    assert {client.get("/health").status_code for _ in range(10)} == {200}
    assert post(client) == 200


def test_what_can_be_no_recording_is_not_counted() -> None:
    client = client_of()
    assert {client.options("/predict").status_code for _ in range(5)} == {200}
    assert [post(client) for _ in range(4)] == [200, 200, 200, 429]


def test_who_waits_as_long_as_told_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = time.time()
    monkeypatch.setattr("time.time", lambda: clock)
    client = client_of(SER_RATE_LIMIT="2/3second")
    for _ in range(8):
        assert post(client) == 200
        clock += 0.37  # at any part of a second
        assert post(client) == 200
        clock += 0.37
        answer = client.post("/predict", data=WAV, content_type="audio/wav")
        assert answer.status_code == 429
        clock += int(answer.headers["Retry-After"])


def test_each_key_has_a_count_of_its_own() -> None:
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in ("one", "two")]
    client = client_of(SER_API_KEYS=",".join(hashes))
    assert [post(client, X_API_Key="one") for _ in range(4)][-1] == 429
    assert post(client, X_API_Key="two") == 200


def test_addresses_are_counted_as_trusted_proxies_tell_them() -> None:
    client = client_of(SER_TRUSTED_PROXIES="1")
    assert [post(client, X_Forwarded_For="10.0.0.1") for _ in range(4)][-1] == 429
    assert post(client, X_Forwarded_For="10.0.0.2") == 200


def test_what_a_client_says_of_its_address_is_not_believed() -> None:
    client = client_of()
    sent = [post(client, X_Forwarded_For=f"10.0.0.{number}") for number in range(4)]
    assert sent[-1] == 429


def statuses(server: Server, count: int) -> list[int]:
    return [server.post("/predict", WAV, "audio/wav").status for _ in range(count)]


def test_with_redis_the_limit_holds_across_workers_and_its_loss_stops_nobody(
    tmp_path: Path,
) -> None:
    with (
        redis_server(tmp_path) as (port, process),
        serve(
            tmp_path,
            SER_WORKERS="2",
            SER_RATE_LIMIT="10/hour",
            SER_REDIS_URL=f"redis://127.0.0.1:{port}/0",
        ) as server,
    ):
        assert sorted(statuses(server, 16)) == [200] * 10 + [429] * 6
        process.kill()
        process.wait()
        started = time.monotonic()
        assert statuses(server, 3) == [200] * 3
        assert time.monotonic() - started < 10.0


def test_a_redis_that_is_away_does_not_stop_the_start_and_is_told_of_once(tmp_path: Path) -> None:
    away = {"SER_REDIS_URL": "redis://127.0.0.1:1/0", "SER_RATE_LIMIT": "4/hour"}
    with serve(tmp_path, SER_WORKERS="1", **away) as server:
        assert statuses(server, 6) == [200] * 4 + [429] * 2
        assert server.log.read_text().count("falling back to in-memory storage") == 1
