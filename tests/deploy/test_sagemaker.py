"""The script that makes a SageMaker endpoint, against moto."""

from collections.abc import Iterator
from importlib import util
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError, WaiterError
from moto import mock_aws
from moto.sagemaker.models import sagemaker_backends

from tests.deploy import places

REGION = "eu-central-1"
ACCOUNT = "123456789012"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/ser-service"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/sagemaker"
WAIT = ("deploy", "emotions", "--role", ROLE)
DEPLOY = (*WAIT, "--no-wait")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = places.ROOT / "deploy" / "aws" / "sagemaker_endpoint.py"
    spec = util.spec_from_file_location("sagemaker_endpoint", path)
    assert spec
    assert spec.loader
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        made = boto3.client("sagemaker", REGION)

        def update_endpoint(**names: str) -> None:
            """The one call that moto does not have."""
            made.delete_endpoint(EndpointName=names["EndpointName"])
            made.create_endpoint(**names)

        made.update_endpoint = update_endpoint
        monkeypatch.setattr(boto3, "client", lambda *_, **__: made)
        yield made


def served(client: Any) -> dict[str, Any]:
    """The container of the model that the endpoint serves."""
    config = client.describe_endpoint(EndpointName="emotions")["EndpointConfigName"]
    described = client.describe_endpoint_config(EndpointConfigName=config)
    (variant,) = described["ProductionVariants"]
    model = client.describe_model(ModelName=variant["ModelName"])
    container: dict[str, Any] = model["PrimaryContainer"]
    return container


@pytest.mark.parametrize(
    ("arguments", "region"), [([], "eu-central-1"), (["--region", "us-east-2"], "us-east-2")]
)
def test_the_region_is_the_one_that_the_aws_command_uses(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str], region: str
) -> None:
    asked = []

    def client(name: str, region_name: str | None) -> None:
        asked.append((name, region_name))
        raise NoCredentialsError

    monkeypatch.setattr(boto3, "client", client)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert script.main([*arguments, "rollback", "emotions"]) == 1
    assert asked == [("sagemaker", region)]


def test_an_endpoint_is_made_that_listens_where_sagemaker_asks(
    script: ModuleType, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([*DEPLOY, "--image", f"{IMAGE}:1", "--instances", "2"]) == 0
    version = capsys.readouterr().out.strip()
    endpoint = client.describe_endpoint(EndpointName="emotions")
    assert endpoint["EndpointConfigName"] == version
    (variant,) = client.describe_endpoint_config(EndpointConfigName=version)["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c5.large", 2)
    assert client.describe_model(ModelName=version)["ExecutionRoleArn"] == ROLE
    assert served(client)["Image"] == f"{IMAGE}:1"
    assert served(client)["Environment"] == {"PORT": "8080"}


def test_a_bundle_of_ones_own_is_what_is_served(script: ModuleType, client: Any) -> None:
    bundle = "s3://mine/bundle.tar.gz"
    given = ("--bundle", bundle, "--set", "SER_WORKERS=2")
    assert script.main([*DEPLOY, "--image", f"{IMAGE}:1", *given]) == 0
    assert served(client)["ModelDataUrl"] == bundle
    told = {"PORT": "8080", "SER_MODEL": "/opt/ml/model", "SER_WORKERS": "2"}
    assert served(client)["Environment"] == told


def test_a_new_version_can_be_rolled_back(script: ModuleType, client: Any) -> None:
    for tag in ("1", "2", "3"):
        assert script.main([*DEPLOY, "--image", f"{IMAGE}:{tag}"]) == 0
    assert served(client)["Image"] == f"{IMAGE}:3"
    assert script.main(["rollback", "emotions", "--no-wait"]) == 0
    assert served(client)["Image"] == f"{IMAGE}:2"
    assert script.main(["rollback", "emotions", "--no-wait"]) == 0
    assert served(client)["Image"] == f"{IMAGE}:1"


def test_a_version_can_be_named_and_must_be_there(
    script: ModuleType, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for tag in ("1", "2", "3"):
        assert script.main([*DEPLOY, "--image", f"{IMAGE}:{tag}"]) == 0
    first = capsys.readouterr().out.split()[0]
    assert script.main(["rollback", "emotions", "--to", first, "--no-wait"]) == 0
    assert served(client)["Image"] == f"{IMAGE}:1"
    assert script.main(["rollback", "emotions", "--to", "emotions-1", "--no-wait"]) == 1
    assert "--to emotions-1" in capsys.readouterr().err
    assert served(client)["Image"] == f"{IMAGE}:1"


def test_what_aws_refuses_leaves_nothing_behind(
    script: ModuleType, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = (*DEPLOY, "--image", f"{IMAGE}:1", "--instance-type", "ml.nothing.large")
    assert script.main(refused) == 1
    assert "ml.nothing.large" in capsys.readouterr().err
    assert client.list_models()["Models"] == []
    assert client.list_endpoint_configs()["EndpointConfigs"] == []


def fails() -> None:
    """The endpoint's container never answered `/ping`."""
    endpoint = sagemaker_backends[ACCOUNT][REGION].endpoints["emotions"]
    endpoint.endpoint_status, endpoint.failure_reason = "Failed", "The container did not pass"


def test_a_deployment_waits_until_it_is_served(
    script: ModuleType, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([*WAIT, "--image", f"{IMAGE}:1"]) == 0
    told = capsys.readouterr()
    assert f"waiting for {told.out.strip()}; this takes minutes" in told.err


def test_a_version_that_does_not_get_healthy_leaves_the_one_before_and_says_so(
    script: ModuleType, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([*DEPLOY, "--image", f"{IMAGE}:1"]) == 0
    before = capsys.readouterr().out.strip()
    client.update_endpoint = lambda **_: None  # AWS tries it, and goes back by itself
    assert script.main([*WAIT, "--image", f"{IMAGE}:2"]) == 1
    assert f"did not get healthy; emotions still serves {before}" in capsys.readouterr().err
    assert served(client)["Image"] == f"{IMAGE}:1"


def test_a_first_version_that_does_not_get_healthy_says_why_and_what_to_do(
    script: ModuleType, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    create = client.create_endpoint
    client.create_endpoint = lambda **names: (create(**names), fails())
    assert script.main([*WAIT, "--image", f"{IMAGE}:1"]) == 1
    told = capsys.readouterr().err
    assert "delete emotions" in told
    assert "The container did not pass" in told


def test_waiting_ends_at_last(
    script: ModuleType, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Waiter:
        def wait(self, **_: str) -> None:
            raise WaiterError("EndpointInService", "Max attempts exceeded", {})

    client.get_waiter = lambda _: Waiter()
    assert script.main([*WAIT, "--image", f"{IMAGE}:1"]) == 1
    assert "not in service yet: Waiter EndpointInService failed" in capsys.readouterr().err


@pytest.mark.parametrize("command", [(*DEPLOY, "--image", f"{IMAGE}:2"), ("rollback", "emotions")])
def test_an_endpoint_that_failed_can_only_be_deleted(
    script: ModuleType,
    client: Any,
    command: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert script.main([*DEPLOY, "--image", f"{IMAGE}:1"]) == 0
    fails()
    assert script.main(command) == 1
    assert "emotions has failed and can only be deleted: delete emotions" in capsys.readouterr().err
    assert len(client.list_models()["Models"]) == 1
    assert script.main(["delete", "emotions"]) == 0
    assert script.main([*DEPLOY, "--image", f"{IMAGE}:2"]) == 0
    assert served(client)["Image"] == f"{IMAGE}:2"


def test_deleting_leaves_nothing_and_touches_no_other_endpoint(
    script: ModuleType, client: Any
) -> None:
    other = ("deploy", "emotions-eu", "--role", ROLE, "--no-wait", "--image", f"{IMAGE}:1")
    assert script.main([*DEPLOY, "--image", f"{IMAGE}:1"]) == 0
    assert script.main(other) == 0
    assert script.main(["delete", "emotions"]) == 0
    endpoints = client.list_endpoints()["Endpoints"]
    assert [each["EndpointName"] for each in endpoints] == ["emotions-eu"]
    assert len(client.list_endpoint_configs()["EndpointConfigs"]) == 1
    assert len(client.list_models()["Models"]) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("rollback", "emotions"), "there is no endpoint emotions"),
        (("delete", "emotions"), "there is no endpoint emotions"),
        ((*DEPLOY, "--image", f"{IMAGE}:1", "--set", "SER_WORKRES=2"), "SER_WORKRES"),
        ((*DEPLOY, "--image", f"{IMAGE}:1", "--set", "SER_WORKERS=two"), "SER_WORKERS='two'"),
        ((*DEPLOY, "--image", f"{IMAGE}:1", "--set", "PORT=8000"), "8080"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_made(
    script: ModuleType,
    client: Any,
    arguments: tuple[str, ...],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert script.main(arguments) == 1
    assert named in capsys.readouterr().err
    assert client.list_models()["Models"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--image", "ser-service:1"),
        ("--image", f"{IMAGE}:1", "--role", "sagemaker"),
        ("--image", f"{IMAGE}:1", "--instances", "0"),
        ("--image", f"{IMAGE}:1", "--instance-type", "t3.small"),
        ("--image", f"{IMAGE}:1", "--bundle", "models/mine"),
        ("--image", f"{IMAGE}:1", "--set", "SER_WORKERS"),
    ],
)
def test_a_wrong_argument_is_named(
    script: ModuleType, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        script.main([*DEPLOY, *arguments])
    assert stopped.value.code == 2
    assert f"argument {arguments[-2]}: {arguments[-1]!r} is not" in capsys.readouterr().err
