"""The deployments' files, read."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "deploy" / "kubernetes" / "base"
TEMPLATE = ROOT / "deploy" / "aws" / "fargate.yaml"
SPACE = ROOT / "deploy" / "huggingface"


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def compose() -> dict[str, Any]:
    services: dict[str, Any] = read_yaml(ROOT / "docker-compose.yml")["services"]
    return services


def app_json() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((ROOT / "app.json").read_text("utf-8"))
    return read


def heroku_yml() -> dict[str, Any]:
    read: dict[str, Any] = read_yaml(ROOT / "heroku.yml")
    return read


class _Template(yaml.SafeLoader):
    """CloudFormation's short forms (`!Ref X`) in their long ones (`{"Ref": "X"}`)."""


def _long_form(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {"Ref" if name == "Ref" else f"Fn::{name}": value}


_Template.add_multi_constructor("!", _long_form)


def template() -> dict[str, Any]:
    read: dict[str, Any] = yaml.load(TEMPLATE.read_text("utf-8"), _Template)
    return read


def resource(name: str) -> dict[str, Any]:
    properties: dict[str, Any] = template()["Resources"][name].get("Properties", {})
    return properties


def manifests() -> dict[str, dict[str, Any]]:
    """Kubernetes' objects of the base by their kind."""
    names = read_yaml(BASE / "kustomization.yaml")["resources"]
    read = [read_yaml(BASE / name) for name in names]
    return {each["kind"]: each for each in read}


def space_settings() -> dict[str, str]:
    """What the Space's Dockerfile sets beside ours."""
    text = (SPACE / "space.env").read_text("utf-8").replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if line.startswith("ENV "))
    pairs = re.findall(r'(\w+)=("[^"]*"|\S+)', line)
    return {name: value.strip('"') for name, value in pairs}
