"""Every example in the contract is what the service answers: each `x-curl` is sent to it."""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import yaml
from jsonschema_rs import Draft202012Validator

from api import Settings, create_app
from api.models import Models
from tests.api.fakes import recognizer
from tests.api.live import Answer, Server, form
from tests.sounds import encode, silence, voice

CONTRACT = yaml.safe_load((Path(__file__).parents[2] / "api/openapi.yaml").read_bytes())

FILES: dict[str, Callable[[], bytes]] = {
    "clip.wav": lambda: encode(voice(3.0)),
    "clip.flac": lambda: encode(voice(3.0), "flac"),
    "call.wav": lambda: encode(voice(6.0)),
    "before.wav": lambda: encode(voice(3.0, pitch=160, seed=1)),
    "stereo.wav": lambda: encode(np.stack([voice(3.0), silence(3.0)], axis=1)),
    "hour.flac": lambda: encode(np.zeros(3600 * 8_000, np.float32), "flac", 8_000),
    "notes.txt": lambda: b"No sound at all, but a text about one.",
    "silence.wav": lambda: encode(silence(2.0)),
}
"""What the examples send."""

HEARD = {"emotion", "confidence", "uncertain", "threshold", "card"}
"""Members that depend on the model: an example shows their kind, not their value."""
MADE_UP = {"request_id", "version", "profile", "log_mel", "decibels", "edges"}


def examples() -> list[Any]:
    found = []
    for path, item in CONTRACT["paths"].items():
        for method, operation in item.items():
            if "x-same-as" in operation:
                continue
            for status, response in operation["responses"].items():
                for media_type, content in response.get("content", {}).items():
                    for name, example in content.get("examples", {}).items():
                        case = (int(status), media_type, content["schema"], example)
                        found.append(pytest.param(*case, id=f"{method} {path} {status} {name}"))
    assert len(found) >= 12
    return found


class Restricted:
    """A service in this process that knows one key, or lets everybody ask once a minute."""

    def __init__(self, **settings: Any) -> None:
        app = create_app(Settings(**settings), Models([recognizer()]))
        self.client = app.test_client()

    def request(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        answer = self.client.open(path, method=method, data=body, headers=dict(headers))
        return Answer(answer.status_code, answer.headers, answer.data)


def send(server: Server | Restricted, curl: str) -> Answer:
    """What curl would send, of as much of curl as the examples use."""
    program, *words = shlex.split(curl)
    assert program == "curl"
    headers: dict[str, str] = {}
    files: list[tuple[str, str, bytes]] = []
    fields: dict[str, str] = {}
    body, url = None, None
    while words:
        word = words.pop(0)
        if word == "-H":
            name, value = words.pop(0).split(": ")
            headers[name] = value
        elif word == "-F":
            name, value = words.pop(0).split("=", 1)
            if value.startswith("@"):
                files.append((name, value[1:], FILES[value[1:]]()))
            else:
                fields[name] = value
        elif word == "--data-binary":
            value = words.pop(0)
            body = FILES[value[1:]]() if value.startswith("@") else value.encode()
        else:
            assert word.startswith("http://localhost:8000/"), word
            url = urlsplit(word)
    assert url is not None
    if files or fields:
        body, headers["Content-Type"] = form(*files, **fields)
    path = f"{url.path}?{url.query}" if url.query else url.path
    return server.request("GET" if body is None else "POST", path, body, headers)


def comparable(value: Any) -> Any:
    """A JSON value with what depends on the model, or is made up, replaced by its type."""
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if not isinstance(value, dict):
        return value
    result = {}
    for name, member in value.items():
        if name == "probabilities":
            result[name] = len(member)
        elif name in HEARD | MADE_UP:
            result[name] = type(member).__name__
        elif name == "detail":
            result[name] = re.sub(r"\d+ s remain", "some s remain", member)
        else:
            result[name] = comparable(member)
    return result


def strict(schema: Any) -> Any:
    """The same schema, but with no member that it does not name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        result.setdefault("additionalProperties", False)
    return result


def errors(schema: dict[str, Any], value: Any) -> list[str]:
    schemas = strict(deepcopy(CONTRACT["components"]["schemas"]))
    validator = Draft202012Validator({**strict(schema), "components": {"schemas": schemas}})
    return [str(error) for error in validator.iter_errors(value)]


@pytest.mark.parametrize(("status", "media_type", "schema", "example"), examples())
def test_example_is_what_the_service_answers(
    live: Server, status: int, media_type: str, schema: dict[str, Any], example: dict[str, Any]
) -> None:
    assert errors(schema, example["value"]) == []
    server: Server | Restricted = live
    if status == 401:
        server = Restricted(api_keys=("0" * 64,))
    elif status == 429:
        server = Restricted(rate_limit="1/minute")
        assert send(server, example["x-curl"]).status == 200
    answer = send(server, example["x-curl"])
    assert (answer.status, answer.headers["Content-Type"]) == (status, media_type)
    assert errors(schema, answer.json) == []
    assert comparable(answer.json) == comparable(example["value"])


def test_a_member_that_the_contract_does_not_name_is_noticed() -> None:
    schema = {"$ref": "#/components/schemas/Status"}
    assert errors(schema, {"status": "ok"}) == []
    assert errors(schema, {"status": "ok", "mood": "good"}) != []


def test_examples_of_probabilities_are_probabilities() -> None:
    text = json.dumps(CONTRACT["paths"]["/predict"]["post"]["responses"]["200"])

    def check(value: dict[str, Any]) -> dict[str, Any]:
        if "emotion" in value:
            heard = value["probabilities"]
            assert value["emotion"] == max(heard, key=heard.__getitem__)
            assert value["confidence"] == heard[value["emotion"]]
            assert sum(heard.values()) <= 1 + 1e-9
        return value

    json.loads(text, object_hook=check)
