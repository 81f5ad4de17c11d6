import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api import Settings, create_app
from api.models import Models
from api.page import POLICY
from tests.api.fakes import recognizer

API = Path(__file__).parents[2] / "api"
FILES = ("page.css", "page.js", "icon.svg")


def static(client: FlaskClient, name: str) -> bytes:
    with client.get(f"/static/{name}") as answer:  # closes the file
        assert answer.status_code == 200
        return answer.data


def test_the_page_posts_recordings_to_predict(client: FlaskClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    form = re.search(r"<form[^>]*>", answer.text)
    assert form is not None
    assert 'action="/predict"' in form[0]
    assert 'enctype="multipart/form-data"' in form[0]
    assert re.search(r'<input[^>]*name="file"[^>]*type="file"', answer.text)


def test_the_page_names_the_limits_of_the_service() -> None:
    settings = Settings(max_bytes=1_500_000, max_seconds=90.0)
    text = create_app(settings, Models([recognizer()])).test_client().get("/").text
    assert re.search(r"up to 1\.5 minutes\s+and 1\.5 MB", text)
    assert 'data-max-bytes="1500000"' in text


def test_the_policy_allows_the_pages_own_files_and_nothing_inline(client: FlaskClient) -> None:
    assert client.get("/").headers["Content-Security-Policy"] == POLICY
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY
    assert "*" not in POLICY


def test_the_page_has_nothing_that_its_policy_forbids(client: FlaskClient) -> None:
    text = client.get("/").text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) == [""]
    script = (API / "static" / "page.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_the_page_asks_no_other_server(client: FlaskClient) -> None:
    for text in (client.get("/").text, *(static(client, name).decode() for name in FILES)):
        elsewhere = re.findall(r"""(?:https?:)?//[\w.-]+[^\s"'<]*""", text)
        assert [
            url
            for url in elsewhere
            if not url.startswith(("http://www.w3.org/", "http://localhost/predict"))
        ] == []


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_the_page_is_served(client: FlaskClient, name: str) -> None:
    assert f"/static/{name}" in client.get("/").text
    assert static(client, name) == (API / "static" / name).read_bytes()


def test_every_answer_tells_browsers_not_to_guess(client: FlaskClient) -> None:
    for path in ("/", "/health", "/nowhere", "/static/page.js"):
        with client.get(path) as answer:
            headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == POLICY
