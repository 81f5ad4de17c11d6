import pytest
from flask.testing import FlaskClient

from api import SettingError, Settings, create_app
from api.models import Models
from tests.api.fakes import recognizer

ORIGIN = "https://example.org"


def client_of(**environment: str) -> FlaskClient:
    settings = Settings.from_environment(environment)
    return create_app(settings, Models([recognizer()])).test_client()


def test_pages_of_other_origins_may_not_ask_by_default(client: FlaskClient) -> None:
    answer = client.get("/health", headers={"Origin": ORIGIN})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("allowed", "origin", "shared"),
    [
        (ORIGIN, ORIGIN, True),
        (f"http://localhost:3000, {ORIGIN}", ORIGIN, True),
        (ORIGIN, "https://example.org.evil.example", False),
        (ORIGIN, "http://example.org", False),
        ("*", "https://anyone.example", True),
    ],
)
def test_only_pages_of_listed_origins_may_read_answers(
    allowed: str, origin: str, shared: bool
) -> None:
    client = client_of(SER_CORS_ORIGINS=allowed)
    for answer in (
        client.get("/health", headers={"Origin": origin}),
        client.post("/predict", headers={"Origin": origin}),
    ):
        got = answer.headers.get("Access-Control-Allow-Origin")
        assert got == (origin if shared else None)
        assert "Origin" in answer.headers["Vary"]


def test_a_browser_that_asks_first_needs_no_key() -> None:
    client = client_of(SER_CORS_ORIGINS=ORIGIN, SER_API_KEYS="0" * 64)
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    answer = client.options("/predict", headers=asks)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    strange = client.options("/predict", headers={**asks, "Origin": "https://evil.example"})
    assert "Access-Control-Allow-Methods" not in strange.headers


def test_every_answer_tells_browsers_to_be_careful(client: FlaskClient) -> None:
    for path in ("/", "/health", "/nowhere"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "microphone=(self)" in headers["Permissions-Policy"]
        assert "camera=()" in headers["Permissions-Policy"]
        assert "Strict-Transport-Security" not in headers


def test_the_page_may_be_framed_where_a_setting_says_so() -> None:
    client = client_of(SER_FRAME_ANCESTORS="'self' https://*.example.org")
    headers = client.get("/").headers
    assert headers["Content-Security-Policy"].endswith(
        "frame-ancestors 'self' https://*.example.org"
    )
    assert "X-Frame-Options" not in headers


@pytest.mark.parametrize(
    ("url", "isolated"),
    [
        ("http://localhost:8000", True),
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://app.localhost", True),
        ("https://ser.example", True),
        ("http://ser.example", False),
        ("http://192.168.1.7:8000", False),
        ("http://localhost.example", False),
    ],
)
def test_pages_are_isolated_only_where_browsers_trust_the_origin(url: str, isolated: bool) -> None:
    # Elsewhere browsers ignore the header, and log that as an error.
    headers = client_of().get("/", base_url=url).headers
    assert headers.get("Cross-Origin-Opener-Policy") == ("same-origin" if isolated else None)


def test_behind_a_proxy_with_tls_browsers_are_told_to_stay_there() -> None:
    said = {"X-Forwarded-Proto": "https"}
    assert "Strict-Transport-Security" not in client_of().get("/", headers=said).headers
    behind = client_of(SER_TRUSTED_PROXIES="1").get("/", headers=said)
    assert "max-age=" in behind.headers["Strict-Transport-Security"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SER_CORS_ORIGINS", "example.org"),
        ("SER_CORS_ORIGINS", "https://example.org/path"),
        ("SER_FRAME_ANCESTORS", "https://a.example; script-src *"),
        ("SER_RATE_LIMIT", "often"),
        ("SER_REDIS_URL", "http://host"),
    ],
)
def test_nonsense_stops_the_start(variable: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"^{variable}="):
        Settings.from_environment({variable: value})
