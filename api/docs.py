"""GET /docs: the contract as a page, made here, so that it needs no script and no other server."""

import json
import re
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, current_app, make_response, render_template, url_for
from markupsafe import Markup, escape

from api.contract import contract
from api.problems import KINDS

blueprint = Blueprint("docs", __name__)

WIDTH = 64
"""Characters of JSON that a line of an example holds, where it can be broken."""

_HOST = "http://localhost:8000/"
_TOKENS = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<text>"(?:[^"\\]|\\.)*")'
    r"|(?P<number>-?\d[\d.e+-]*)|(?P<word>\b(?:true|false|null)\b)"
)


@blueprint.get("/docs", endpoint="docs")
def page() -> Response:
    """The contract to read: every path, parameter, answer and example."""
    # Made once, as it takes 30 ms: apart from the service's address it is always the same.
    made = current_app.extensions
    if "ser-docs" not in made:
        made["ser-docs"] = _render()
    response = make_response(
        made["ser-docs"].replace(_HOST, escape(url_for("page.index", _external=True)))
    )
    response.headers["Cache-Control"] = "no-cache"
    return response


def _render() -> str:
    source = contract()
    reader = Reader(source)
    return render_template(
        "docs.html",
        info=source["info"],
        groups=reader.groups(),
        schemas=source["components"]["schemas"],
        problems=KINDS,
        reader=reader,
    )


class Reader:
    """Reads a contract for the page's template."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self._source = source

    def groups(self) -> list[dict[str, Any]]:
        """The tags in their order, each with its operations."""
        operations = [
            {"method": method, "path": path, **operation}
            for path, item in self._source["paths"].items()
            for method, operation in item.items()
        ]
        return [
            {**tag, "operations": [each for each in operations if tag["name"] in each["tags"]]}
            for tag in self._source["tags"]
        ]

    def resolve(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a `$ref` points to, with what stands beside it; anything else as it is."""
        if "$ref" not in item:
            return item
        found: Mapping[str, Any] = self._source
        for part in item["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        beside = {name: value for name, value in item.items() if name != "$ref"}
        return {**self.resolve(found), **beside}

    def parameters(self, operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """An operation's own parameters, without those that every one has."""
        resolved = (self.resolve(each) for each in operation["parameters"])
        return [each for each in resolved if each["in"] != "header"]

    def kind(self, schema: Mapping[str, Any]) -> Markup:
        """A schema's type in words, with links to the schemas that have a name of their own."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return Markup('<a href="#{0}">{0}</a>').format(name)
        if alternatives := schema.get("oneOf"):
            return Markup(" or ").join(self.kind(each) for each in alternatives)
        if schema.get("type") == "array":
            items = schema["items"]
            of_files = items.get("format") == "binary"
            return Markup("files") if of_files else Markup("list of {}").format(self.kind(items))
        if isinstance(schema.get("additionalProperties"), dict):
            return Markup("object of {}").format(self.kind(schema["additionalProperties"]))
        return escape(_words(schema))

    def examples(self, operation: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every example of an operation's answers: its status, its request and its JSON."""
        found = []
        for status, response in operation["responses"].items():
            for content in self.resolve(response).get("content", {}).values():
                found += [
                    {
                        "status": status,
                        "summary": example.get("summary"),
                        "curl": example["x-curl"],
                        "json": highlight(layout(example["value"])),
                    }
                    for example in content.get("examples", {}).values()
                ]
        return found

    @staticmethod
    def prose(text: str) -> Markup:
        """Paragraphs, with what stands between backticks as code."""
        return Markup("").join(
            Markup("<p>{}</p>").format(Reader.inline(part)) for part in text.strip().split("\n\n")
        )

    @staticmethod
    def inline(text: str) -> Markup:
        """One line, with what stands between backticks as code."""
        parts = text.split("`")
        return Markup("").join(
            Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
            for i, part in enumerate(parts)
        )


def layout(value: Any, indent: int = 0) -> str:
    """JSON in which every object and list that fits on a line has one."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(flat) + indent <= WIDTH:
        return flat
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        lines = [f"{json.dumps(k)}: {layout(v, indent + 2)}" for k, v in value.items()]
        opening, closing = "{", "}"
    else:
        lines = [layout(each, indent + 2) for each in value]
        opening, closing = "[", "]"
    body = f",\n{inner}".join(lines)
    return f"{opening}\n{inner}{body}\n{' ' * indent}{closing}"


def highlight(text: str) -> Markup:
    """JSON with a class on each key, text, number and word."""
    result, end = Markup(""), 0
    for token in _TOKENS.finditer(text):
        result += escape(text[end : token.start()])
        result += Markup('<span class="{}">{}</span>').format(token.lastgroup, token[0])
        end = token.end()
    return result + escape(text[end:])


def _words(schema: Mapping[str, Any]) -> str:
    """What a value may be, where it has no parts."""
    if schema.get("contentMediaType") == "application/json":
        return "JSON"
    if schema.get("format") == "binary":
        return "file"
    kind = schema.get("type", "anything")
    if len(schema.get("enum", ())) in range(2, 5):
        kind = schema["enum"]
    words = [" or ".join(kind) if isinstance(kind, list) else kind]
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum")
    if least is not None and most is not None:
        words.append(f"{least} to {most}")
    elif least is not None:
        words.append(f"from {least}" if "minimum" in schema else f"over {least}")
    if "default" in schema:
        default = schema["default"]
        words.append(f"({default if isinstance(default, str) else json.dumps(default)} by default)")
    return " ".join(words)
