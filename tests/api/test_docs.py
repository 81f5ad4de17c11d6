import re
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient
from markupsafe import Markup

from api import problems
from api.docs import Reader, highlight, layout
from api.page import POLICY


@pytest.fixture
def text(client: FlaskClient) -> str:
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    assert answer.headers["Content-Security-Policy"] == POLICY
    return answer.text


def test_the_page_has_every_path_and_every_example(client: FlaskClient, text: str) -> None:
    contract = client.get("/openapi.json").get_json()
    plain = unescape(re.sub(r"<[^>]+>", "", text))
    for path, item in contract["paths"].items():
        for operation in item.values():
            assert f'<section id="{operation["operationId"]}"' in text
            assert operation["summary"].replace("`", "") in plain
        assert path in plain
    examples = [
        example
        for item in contract["paths"].values()
        for operation in item.values()
        for response in operation["responses"].values()
        for content in response.get("content", {}).values()
        for example in content.get("examples", {}).values()
    ]
    assert len(examples) > 10
    for example in examples:
        assert example["x-curl"].replace("localhost:8000", "localhost") in plain


def test_the_page_is_made_once_whatever_the_address(
    client: FlaskClient, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.docs.Reader", None)
    assert client.get("/docs").text == text
    elsewhere = client.get("/docs", headers={"Host": "ser.example.org"}).text
    assert "http://ser.example.org/predict" in elsewhere
    assert "http://localhost/" in text
    assert "localhost" not in elsewhere


def test_the_page_explains_every_problem(text: str) -> None:
    for name in problems.KINDS:
        assert f"/problems/{name}" in text


def test_the_page_has_nothing_that_the_policy_forbids(text: str) -> None:
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script", text)


def test_the_page_loads_from_this_service_alone(client: FlaskClient, text: str) -> None:
    loaded = re.findall(r'<(?:link|img|script)[^>]*(?:href|src)="([^"]+)"', text)
    assert set(loaded) == {"/static/icon.svg", "/static/docs.css"}
    for path in loaded:
        with client.get(path) as answer:
            assert answer.status_code == 200
            assert b"url(" not in answer.data
            assert b"@import" not in answer.data


def test_every_link_within_the_page_leads_somewhere(text: str) -> None:
    targets = set(re.findall(r'\sid="([^"]+)"', text))
    links = set(re.findall(r'href="#([^"]+)"', text))
    assert len(links) > 10
    assert links <= targets


def test_a_host_name_that_is_markup_stays_text(client: FlaskClient) -> None:
    assert "<script" not in client.get("/docs", headers={"Host": "<script>x</script>"}).text


def test_json_is_broken_only_where_a_line_is_too_long() -> None:
    assert layout({"a": [1, 2], "b": "c"}) == '{"a": [1, 2], "b": "c"}'
    long = "x" * 60
    assert layout({"a": {"b": 1}, "c": long}) == f'{{\n  "a": {{"b": 1}},\n  "c": "{long}"\n}}'


def test_json_is_highlighted_and_escaped() -> None:
    assert highlight('{"a<": ["b: \\"1\\"", 0.5, true]}') == Markup(
        '{<span class="key">&#34;a&lt;&#34;</span>: ['
        '<span class="text">&#34;b: \\&#34;1\\&#34;&#34;</span>, '
        '<span class="number">0.5</span>, <span class="word">true</span>]}'
    )


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, "integer 1 to 9"),
        ({"type": "number", "exclusiveMinimum": 0}, "number over 0"),
        ({"type": "boolean", "default": False}, "boolean (false by default)"),
        ({"type": "string", "enum": ["a", "b"], "default": "a"}, "a or b (a by default)"),
        ({"type": ["string", "null"]}, "string or null"),
        ({"type": "array", "items": {"type": "string", "format": "binary"}}, "files"),
        ({"type": "array", "items": {"type": "number"}}, "list of number"),
        ({"type": "string", "contentMediaType": "application/json"}, "JSON"),
        ({"oneOf": [{"type": "boolean"}, {"$ref": "#/x/A"}]}, 'boolean or <a href="#A">A</a>'),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "object of string"),
    ],
)
def test_types_are_said_in_words(schema: dict[str, Any], words: str) -> None:
    assert Reader({}).kind(schema) == words


def test_prose_escapes_all_but_its_code() -> None:
    assert Reader.prose("a `<b>`\n\n<c>") == "<p>a <code>&lt;b&gt;</code></p><p>&lt;c&gt;</p>"
