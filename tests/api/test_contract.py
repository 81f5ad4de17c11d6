"""The contract says what the service does, no less and no more."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema_rs import meta

from api import Settings, create_app, problems
from api.keys import OPEN
from api.models import Models
from api.upload import PARAMETERS
from ser_core import __version__
from ser_core.audio import AudioError
from tests.api.fakes import recognizer
from tests.api.live import ROOT, serve

KEY = "a key for the tests"
KEY_HASH = hashlib.sha256(KEY.encode()).hexdigest()


@pytest.fixture
def contract(client: FlaskClient) -> dict[str, Any]:
    source: dict[str, Any] = client.get("/openapi.json").get_json()
    return source


def operations(contract: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in contract["paths"].items()
        for method, operation in item.items()
    }


def test_contract_and_routes_agree_both_ways(app: Flask, contract: dict[str, Any]) -> None:
    routes = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert operations(contract).keys() == routes


def test_every_operation_has_a_name_of_its_own_and_a_known_tag(contract: dict[str, Any]) -> None:
    every = list(operations(contract).values())
    assert len({each["operationId"] for each in every}) == len(every)
    tags = {tag["name"] for tag in contract["tags"]}
    assert all(set(each["tags"]) <= tags for each in every)


def test_every_schema_is_json_schema(contract: dict[str, Any]) -> None:
    for name, schema in contract["components"]["schemas"].items():
        assert meta.is_valid(schema), name


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
def test_every_way_in_which_audio_can_be_bad_has_an_answer(
    contract: dict[str, Any], path: str
) -> None:
    answers = contract["paths"][path]["post"]["responses"]
    for error in AudioError.__subclasses__():
        assert str(problems.KINDS[error.code].status) in answers


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
def test_parameters_and_form_fields_are_those_that_are_read(
    contract: dict[str, Any], path: str
) -> None:
    operation = contract["paths"][path]["post"]
    named = [each.get("$ref", "").rpartition("/")[2] for each in operation["parameters"]]
    inquiry = [
        each["name"]
        for each in map(contract["components"]["parameters"].get, named)
        if each["in"] == "query"
    ]
    assert sorted(inquiry) == sorted(PARAMETERS)
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert form.keys() == {"file", "reference", *PARAMETERS}


def test_contract_is_filled_in_for_the_service_that_serves_it() -> None:
    models = Models([recognizer("first"), recognizer("second")])
    app = create_app(Settings(max_files=3), models)
    contract = app.test_client().get("/openapi.json").get_json()
    assert contract["info"]["version"] == __version__
    assert contract["components"]["schemas"]["ModelName"]["enum"] == ["first", "second"]
    assert contract["components"]["schemas"]["ProblemName"]["enum"] == list(problems.KINDS)
    for path in ("/predict", "/invocations"):
        body = contract["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
        assert body["schema"]["properties"]["file"]["maxItems"] == 3


def test_a_service_with_keys_says_where_one_is_needed(contract: dict[str, Any]) -> None:
    app = create_app(Settings(api_keys=(KEY_HASH,)), Models([recognizer()]))
    locked = app.test_client().get("/openapi.json").get_json()
    endpoints = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    for which, operation in operations(locked).items():
        assert ("security" not in operation) == (endpoints[which] in OPEN), which
    for operation in operations(contract).values():
        assert "security" not in operation


def test_one_app_does_not_fill_in_the_contract_of_another(contract: dict[str, Any]) -> None:
    assert contract["components"]["schemas"]["ModelName"]["enum"] == ["default", "second"]


def test_schemathesis_finds_nothing_that_the_contract_does_not_say(tmp_path: Path) -> None:
    with serve(tmp_path, SER_API_KEYS=KEY_HASH, SER_WORKERS="1") as server:
        # From a file, as it leaves out the address that it reads the contract from. And without the
        # answers' examples, whose values it would send, though a made-up profile is no valid one.
        contract = server.get("/openapi.json").json
        for operation in operations(contract).values():
            for response in operation["responses"].values():
                for content in response.get("content", {}).values():
                    content.pop("examples", None)
        (tmp_path / "openapi.json").write_text(json.dumps(contract))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", ROOT / "tests/api/schemathesis.toml"),
                *("run", "openapi.json", "--url", f"http://127.0.0.1:{server.port}"),
                *("--checks", "all", "--header", f"Authorization: Bearer {KEY}"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "tests.api.audio_for_schemathesis",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    tested = re.search(r"Tested: +(\d+)", done.stdout)
    assert tested is not None
    assert int(tested[1]) == len(operations(contract))
