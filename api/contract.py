"""The contract of the service: GET /openapi.json for programs, GET /docs for people."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, jsonify

from api.models import current_models
from api.problems import KINDS
from ser_core import __version__

blueprint = Blueprint("contract", __name__)

SOURCE = Path(__file__).with_name("openapi.yaml")


@blueprint.get("/openapi.json", endpoint="contract")
def openapi() -> Response:
    """The contract, with what this service has filled in."""
    return jsonify(contract())


def contract() -> dict[str, Any]:
    """OpenAPI 3.1: `openapi.yaml`, filled in with what the app at hand knows better; read only."""
    made = current_app.extensions
    if "ser-contract" not in made:
        made["ser-contract"] = _fill()
    filled: dict[str, Any] = made["ser-contract"]
    return filled


def _fill() -> dict[str, Any]:
    filled = copy.deepcopy(_source())
    filled["info"]["version"] = __version__
    schemas = filled["components"]["schemas"]
    schemas["ModelName"]["enum"] = current_models().names
    schemas["ProblemName"]["enum"] = list(KINDS)
    if not current_app.config["SETTINGS"].api_keys:
        for item in filled["paths"].values():
            for operation in item.values():
                operation.pop("security", None)
    form = filled["paths"]["/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]
    form["schema"]["properties"]["file"]["maxItems"] = current_app.config["SETTINGS"].max_files
    return filled


@cache
def _source() -> dict[str, Any]:
    import yaml  # noqa: PLC0415 (most services are never asked, and it takes its time)

    # The parser in C is ten times as fast, and requests wait meanwhile.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    source: dict[str, Any] = yaml.load(SOURCE.read_bytes(), Loader=loader)  # noqa: S506  # nosec B506
    return source
