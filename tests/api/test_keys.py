import hashlib

import pytest
from flask.testing import FlaskClient

from api import SettingError, Settings, create_app
from api.models import Models
from tests.api.fakes import recognizer
from tests.sounds import encode, voice

KEYS = ("a-key", "another")
HASHES = ",".join(hashlib.sha256(key.encode()).hexdigest() for key in KEYS)
WAV = encode(voice(0.5))


@pytest.fixture
def locked() -> FlaskClient:
    settings = Settings.from_environment({"SER_API_KEYS": HASHES})
    return create_app(settings, Models([recognizer()])).test_client()


def post(client: FlaskClient, **headers: str) -> tuple[int, str | None]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.post("/predict", data=WAV, content_type="audio/wav", headers=given)
    return answer.status_code, answer.get_json().get("type")


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens_in_either_header(locked: FlaskClient, key: str) -> None:
    assert post(locked, Authorization=f"Bearer {key}") == (200, None)
    assert post(locked, authorization=f"bearer  {key}") == (200, None)
    assert post(locked, X_API_Key=key) == (200, None)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_API_Key": ""},
        {"X_API_Key": "a-ke"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic a-key"},
        {"X_API_Key": HASHES.split(",")[0]},
    ],
)
def test_without_a_known_key_the_answer_is_401(
    locked: FlaskClient, headers: dict[str, str]
) -> None:
    assert post(locked, **headers) == (401, "/problems/unauthorized")


def test_the_refusal_says_how_to_send_a_key(locked: FlaskClient) -> None:
    answer = locked.post("/predict", data=WAV, content_type="audio/wav")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer" in answer.get_json()["detail"]


@pytest.mark.parametrize("path", ["/models", "/metrics"])
def test_what_the_service_knows_needs_a_key(locked: FlaskClient, path: str) -> None:
    assert locked.get(path).status_code == 401
    assert locked.get(path, headers={"X-API-Key": "a-key"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/health", "/", "/docs", "/openapi.json", "/problems/silent", "/static/page.css"]
)
def test_health_the_page_and_the_contract_need_none(locked: FlaskClient, path: str) -> None:
    with locked.get(path) as answer:
        assert answer.status_code == 200


def test_what_is_not_there_is_404_without_a_key(locked: FlaskClient) -> None:
    assert locked.get("/nowhere").status_code == 404


def test_without_keys_everyone_may_ask(client: FlaskClient) -> None:
    assert post(client) == (200, None)


def test_a_key_in_place_of_its_hash_stops_the_start_and_is_not_shown() -> None:
    with pytest.raises(SettingError) as error:
        Settings.from_environment({"SER_API_KEYS": "a-key"})
    assert str(error.value).startswith("SER_API_KEYS=...: must be SHA-256 hashes")
    assert error.value.__cause__ is None


def test_settings_do_not_show_what_is_secret() -> None:
    settings = Settings.from_environment(
        {"SER_API_KEYS": HASHES, "SER_REDIS_URL": "redis://:password@host"}
    )
    assert "password" not in repr(settings)
    assert HASHES[:64] not in repr(settings)
