"""Make, change, roll back and delete a SageMaker endpoint that serves this image.

    python deploy/aws/sagemaker_endpoint.py deploy emotions --image URI --role ARN
    python deploy/aws/sagemaker_endpoint.py rollback emotions
    python deploy/aws/sagemaker_endpoint.py delete emotions

It needs boto3, this project installed, and credentials where boto3 looks for them. Each deployment
has a model and a configuration of its own, NAME-<UTC time>; the endpoint goes from one to the next
without an interruption, and stays with the old one where the new one does not get healthy.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from api.settings import SettingError, Settings

PORT = "8080"  # where SageMaker asks
BUNDLE = "/opt/ml/model"  # where it unpacks --bundle
STAMP = "%Y%m%d%H%M%S%f"  # of UTC, 20 digits


class DeployError(RuntimeError):
    """Something that cannot be done, in one line."""


def deploy(client: Any, given: argparse.Namespace) -> str:
    """Make the endpoint, or bring a new version to the one that there is; returns its name."""
    version = f"{given.name}-{datetime.now(UTC).strftime(STAMP)}"
    exists = _current(client, given.name) is not None
    container = {"Image": given.image, "Environment": _environment(given)}
    if given.bundle:
        container["ModelDataUrl"] = given.bundle
    client.create_model(ModelName=version, ExecutionRoleArn=given.role, PrimaryContainer=container)
    try:
        _bring_into_service(client, given, version, exists=exists)
    except ClientError:
        client.delete_model(ModelName=version)
        raise
    if given.wait:
        _wait(client, given.name, version)
    return version


def _bring_into_service(
    client: Any, given: argparse.Namespace, version: str, *, exists: bool
) -> None:
    client.create_endpoint_config(
        EndpointConfigName=version,
        ProductionVariants=[
            {
                "VariantName": "ser",
                "ModelName": version,
                "InstanceType": given.instance_type,
                "InitialInstanceCount": given.instances,
            }
        ],
    )
    try:
        if exists:
            client.update_endpoint(EndpointName=given.name, EndpointConfigName=version)
        else:
            client.create_endpoint(EndpointName=given.name, EndpointConfigName=version)
    except ClientError:
        client.delete_endpoint_config(EndpointConfigName=version)
        raise


def rollback(client: Any, given: argparse.Namespace) -> str:
    """Bring the endpoint back to the version before the one it serves, or to --to."""
    current, versions = _current(client, given.name), _versions(client, given.name)
    if current is None:
        raise DeployError(f"there is no endpoint {given.name}")
    earlier = [version for version in versions if version < current]
    if given.to is not None and given.to not in versions:
        raise DeployError(f"--to {given.to}: there is {', '.join(versions) or 'no version'}")
    if given.to is None and not earlier:
        raise DeployError(f"{given.name} serves {current}, and there is no version before it")
    version: str = given.to or earlier[-1]
    client.update_endpoint(EndpointName=given.name, EndpointConfigName=version)
    if given.wait:
        _wait(client, given.name, version)
    return version


def delete(client: Any, given: argparse.Namespace) -> str:
    """Delete the endpoint and all its versions; what is gone already is no error."""
    versions = _versions(client, given.name)
    exists = _described(client, given.name) is not None
    if not exists and not versions:
        raise DeployError(f"there is no endpoint {given.name}")
    if exists:
        client.delete_endpoint(EndpointName=given.name)
    for version in versions:
        client.delete_endpoint_config(EndpointConfigName=version)
        client.delete_model(ModelName=version)
    return given.name


def _environment(given: argparse.Namespace) -> dict[str, str]:
    """What the container is told; checked here, as a container that refuses it costs minutes."""
    environment = {"PORT": PORT, **dict(given.set)}
    if given.bundle:
        environment.setdefault("SER_MODEL", BUNDLE)
    known = {
        name
        for each in Settings.__dataclass_fields__.values()
        for name in each.metadata["variables"]
    }
    if unknown := sorted(set(environment) - known):
        raise DeployError(f"--set {unknown[0]}: the service has no such setting")
    if environment["PORT"] != PORT:
        raise DeployError(f"--set PORT: SageMaker asks on {PORT} and nowhere else")
    try:
        Settings.from_environment(environment)
    except SettingError as e:
        raise DeployError(f"--set {e}") from e
    return environment


def _versions(client: Any, name: str) -> list[str]:
    """The endpoint's configurations, oldest first."""
    pages = client.get_paginator("list_endpoint_configs").paginate(NameContains=name)
    names = [each["EndpointConfigName"] for page in pages for each in page["EndpointConfigs"]]
    return sorted(each for each in names if re.fullmatch(rf"{re.escape(name)}-\d{{20}}", each))


def _described(client: Any, name: str) -> dict[str, Any] | None:
    """What AWS says of the endpoint; None where there is no such endpoint."""
    try:
        described: dict[str, Any] = client.describe_endpoint(EndpointName=name)
    except ClientError as e:
        if "could not find" in str(e).lower():
            return None
        raise
    return described


def _current(client: Any, name: str) -> str | None:
    """The configuration that the endpoint serves; None where there is no such endpoint.

    Raises:
        DeployError: it serves none, as it failed, and AWS lets it be deleted and nothing else.
    """
    described = _described(client, name)
    if described is None:
        return None
    if described["EndpointStatus"] == "Failed":
        reason = described.get("FailureReason", "AWS gives no reason")
        raise DeployError(f"{name} has failed and can only be deleted: delete {name}; {reason}")
    config: str = described["EndpointConfigName"]
    return config


def _wait(client: Any, name: str, version: str) -> None:
    print(f"waiting for {version}; this takes minutes", file=sys.stderr)
    try:
        client.get_waiter("endpoint_in_service").wait(EndpointName=name)
    except WaiterError as e:
        _current(client, name)  # tells of a failure as AWS does
        raise DeployError(f"{version} is not in service yet: {e}") from e
    if (serves := _current(client, name)) != version:
        raise DeployError(f"{version} did not get healthy; {name} still serves {serves}")


def _matching(pattern: str, what: str) -> Any:
    def parse(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise argparse.ArgumentTypeError(f"{value!r} is not {what}")
        return value

    return parse


def _instances(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 100):
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 1 to 100")
    return int(value)


def _setting(value: str) -> tuple[str, str]:
    name, equals, text = value.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{value!r} is not NAME=VALUE")
    return name, text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="An endpoint of SageMaker that serves this image.", allow_abbrev=False
    )
    parser.add_argument("--region", help="AWS region (default: AWS_REGION, else where boto3 looks)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    name = _matching(
        "[a-zA-Z0-9](-?[a-zA-Z0-9]){0,39}", "a name of letters, digits and hyphens (40)"
    )
    for run, text in [
        (deploy, "make the endpoint, or bring a new version to it"),
        (rollback, "go back to the version before"),
        (delete, "delete the endpoint and its versions"),
    ]:
        command = commands.add_parser(run.__name__, help=text, description=text)
        command.add_argument("name", type=name, help="of the endpoint")
        command.set_defaults(run=run)
        if run is not delete:
            command.add_argument(
                "--no-wait", dest="wait", action="store_false", help="do not wait until it serves"
            )
        if run is rollback:
            command.add_argument(
                "--to", metavar="VERSION", help="another version than the last one"
            )
        if run is deploy:
            _add_deployment(command)
    return parser


def _add_deployment(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--image",
        required=True,
        type=_matching(
            r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/\S+", "an image in ECR"
        ),
        help="of this account's ECR, with a tag or digest",
    )
    command.add_argument(
        "--role",
        required=True,
        type=_matching(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+", "the ARN of a role"),
        help="ARN of the role that SageMaker takes to pull the image",
    )
    command.add_argument(
        "--instance-type", default="ml.c5.large", type=_matching(r"ml\.\S+", "of ml.*")
    )
    command.add_argument("--instances", default=1, type=_instances, metavar="N")
    command.add_argument(
        "--bundle",
        type=_matching(r"s3://\S+\.tar\.gz", "an s3:// address of a .tar.gz"),
        help="a model of your own: the content of its folder as s3://.../NAME.tar.gz",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="a setting of the service",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        # The aws command knows this variable, boto3 AWS_DEFAULT_REGION alone.
        region = given.region or os.environ.get("AWS_REGION")
        done = given.run(boto3.client("sagemaker", region_name=region), given)
    except (DeployError, BotoCoreError, ClientError) as e:
        print(f"sagemaker_endpoint: {e}", file=sys.stderr)
        return 1
    print(done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
