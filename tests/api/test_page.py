import json
import re
from html import unescape
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api import Settings, create_app
from api.models import Models
from api.page import POLICY
from tests.api.fakes import recognizer

STATIC = Path(__file__).parents[2] / "api" / "static"
MOST_BYTES = 150_000
"""Of the page as a whole."""


def scripts() -> list[str]:
    """The modules that the page's script leads to, itself included."""
    found = ["page.js"]
    for name in found:
        text = (STATIC / name).read_text("utf-8")
        named = re.findall(r'from "\./([\w-]+\.js)"|new URL\("([\w-]+\.js)"', text)
        found += sorted({a or b for a, b in named} - set(found))
    return found


FILES = ("page.css", "answer.css", "icon.svg", *scripts())


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
    assert re.search(r"up to 1\.5 minutes and 1\.5&nbsp;MB", text)
    assert 'data-max-bytes="1500000"' in text
    assert 'data-most-seconds="15"' in text  # of 48 kHz, 16 bits
    assert "Up to 15 seconds." in text


@pytest.mark.parametrize(
    ("most", "length", "recorded"),
    [(20.0, "20 seconds", 20), (60.0, "1 minute", 60), (100.0, "100 seconds", 60)],
)
def test_the_page_records_no_longer_than_the_service_listens(
    most: float, length: str, recorded: int
) -> None:
    settings = Settings(max_seconds=most)
    text = create_app(settings, Models([recognizer()])).test_client().get("/").text
    assert f"up to {length} and 25&nbsp;MB" in text
    assert f'data-most-seconds="{recorded}"' in text


def test_the_page_offers_the_models_that_there_are(client: FlaskClient) -> None:
    text = client.get("/").text
    assert re.findall(r'<option value="(\w+)">', text) == ["default", "second"]
    given = re.search(r'data-models="([^"]*)"', text)
    assert given is not None
    models = json.loads(unescape(given[1]))
    assert [model["name"] for model in models] == ["default", "second"]
    assert models[0]["emotions"][0] == "angry"
    assert models[0]["window"] == 3.0


def test_a_models_name_cannot_become_markup() -> None:
    models = Models([recognizer("\"'><img src=x>")])
    text = create_app(Settings(), models).test_client().get("/").text
    assert "<img src=x" not in text
    assert text.count("<img") == 1


def test_the_policy_allows_the_pages_own_files_and_nothing_inline(client: FlaskClient) -> None:
    assert client.get("/").headers["Content-Security-Policy"] == POLICY
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY
    assert "*" not in POLICY


def test_the_page_has_nothing_that_its_policy_forbids(client: FlaskClient) -> None:
    text = client.get("/").text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) == [""]


@pytest.mark.parametrize("name", scripts())
def test_no_script_makes_markup_of_text(name: str) -> None:
    script = (STATIC / name).read_text("utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|DOMParser|srcdoc"
        r"|createContextualFragment|setHTML",
        script,
    )


def test_the_page_asks_no_other_server(client: FlaskClient) -> None:
    for text in (client.get("/").text, *(static(client, name).decode() for name in FILES)):
        elsewhere = re.findall(r"""["'(](?:https?:)?//[\w.-]+[^\s"'<]*""", text)
        assert [url for url in elsewhere if "//www.w3.org/" not in url] == []


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_the_page_is_served(client: FlaskClient, name: str) -> None:
    assert static(client, name) == (STATIC / name).read_bytes()


def test_the_whole_page_is_small(client: FlaskClient) -> None:
    total = len(client.get("/").data) + sum(len(static(client, name)) for name in FILES)
    assert len(FILES) > 10
    assert total <= MOST_BYTES


def test_every_answer_tells_browsers_not_to_guess(client: FlaskClient) -> None:
    for path in ("/", "/health", "/nowhere", "/static/page.js"):
        with client.get(path) as answer:
            headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == POLICY
