"""What deployments set is what the service knows."""

from collections.abc import Callable

import pytest

from api.settings import Settings
from tests.deploy import places

KNOWN = {
    name for each in Settings.__dataclass_fields__.values() for name in each.metadata["variables"]
}


def of_heroku() -> dict[str, str]:
    return {name: said.get("value", "") for name, said in places.app_json()["env"].items()}


def of_compose() -> dict[str, str]:
    return dict.fromkeys(places.compose()["ser"]["environment"], "")


def of_fargate() -> dict[str, str]:
    (container,) = places.resource("TaskDefinition")["ContainerDefinitions"]
    listed = [each["Fn::If"][1] if "Fn::If" in each else each for each in container["Environment"]]
    listed += [each["Fn::If"][1] for each in container["Secrets"]]
    plain = {each["Name"]: each.get("Value", "") for each in listed}
    return {name: value if isinstance(value, str) else "" for name, value in plain.items()}


def of_kubernetes() -> dict[str, str]:
    (container,) = places.manifests()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


@pytest.mark.parametrize(
    "settings", [of_heroku, of_compose, of_fargate, of_kubernetes, places.space_settings]
)
def test_every_setting_is_known_and_its_value_can_be_used(
    settings: Callable[[], dict[str, str]],
) -> None:
    given = settings()
    assert given
    assert given.keys() - KNOWN == set()
    Settings.from_environment(given)


def test_fargate_takes_the_keys_from_a_secret_and_never_as_a_plain_value() -> None:
    (container,) = places.resource("TaskDefinition")["ContainerDefinitions"]
    plain = str(container["Environment"])
    assert "SER_API_KEYS" not in plain
    assert "SER_API_KEYS" in str(container["Secrets"])
    assert "ApiKeysSecretArn" in str(container["Secrets"])
