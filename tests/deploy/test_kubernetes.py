"""The kustomize base, against the API's own schemas and the image."""

import json
import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from api import gunicorn_config
from benchmarks.scaling import MEASURED
from tests.deploy import places

VERSIONS = ("1.30", "1.37")
"""The oldest and the newest Kubernetes that the base is held against."""


def container() -> dict[str, Any]:
    (only,) = places.manifests()["Deployment"]["spec"]["template"]["spec"]["containers"]
    described: dict[str, Any] = only
    return described


def pod() -> dict[str, Any]:
    described: dict[str, Any] = places.manifests()["Deployment"]["spec"]["template"]["spec"]
    return described


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "kind",
    [
        *("Deployment", "Service", "HorizontalPodAutoscaler"),
        *("PodDisruptionBudget", "NetworkPolicy"),
    ],
)
def test_each_object_is_one_of_the_api(kind: str, version: str) -> None:
    kubernetes_validate.validate(places.manifests()[kind], version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    wrong = places.manifests()["Deployment"]
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_what_kustomize_makes_of_it_is_valid_and_belongs_together() -> None:
    kubectl, kustomize = shutil.which("kubectl"), shutil.which("kustomize")
    if not (kubectl or kustomize):
        pytest.skip("NO kustomize: the base is not built with it (neither kubectl nor kustomize)")
    command = [kustomize, "build"] if kustomize else [str(kubectl), "kustomize"]
    done = subprocess.run([*command, str(places.BASE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    assert made.keys() == places.manifests().keys()
    for each in made.values():
        kubernetes_validate.validate(each, VERSIONS[-1], strict=True)
    labels = {"app.kubernetes.io/name": "ser-service"}
    deployment = made["Deployment"]["spec"]
    assert deployment["template"]["metadata"]["labels"] == labels
    assert deployment["selector"]["matchLabels"] == labels
    assert made["Service"]["spec"]["selector"] == labels
    assert made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert made["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_pods_run_as_the_images_user_and_write_nothing() -> None:
    context = pod()["securityContext"]
    user = (context["runAsUser"], context["runAsGroup"])
    assert f"USER {user[0]}:{user[1]}\n" in (places.ROOT / "Dockerfile").read_text("utf-8")
    assert context["runAsNonRoot"] is True
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_probes_ask_what_the_service_answers_on_its_own_port() -> None:
    paths = {
        name: container()[f"{name}Probe"]["httpGet"]
        for name in ("startup", "readiness", "liveness")
    }
    assert {name: probe["path"] for name, probe in paths.items()} == {
        "startup": "/ready",
        "readiness": "/ready",
        "liveness": "/health",
    }
    assert {probe["port"] for probe in paths.values()} == {"http"}
    assert container()["ports"] == [{"name": "http", "containerPort": 8000}]


def test_a_pod_may_finish_its_answers_before_it_is_killed() -> None:
    (_, pause) = container()["lifecycle"]["preStop"]["exec"]["command"]
    needed = int(pause) + gunicorn_config.graceful_timeout
    assert pod()["terminationGracePeriodSeconds"] > needed


def test_a_pod_is_what_was_measured_and_asks_for_what_that_held() -> None:
    measured = json.loads(MEASURED.read_text("utf-8"))["memory"]
    resources = container()["resources"]
    megabytes = {
        name: int(each["memory"].removesuffix("Mi")) * 2**20 / 1e6
        for name, each in resources.items()
    }
    assert megabytes["limits"] == pytest.approx(measured["limit_mb"], rel=1e-3)
    assert measured["processes_mb"] < megabytes["requests"] < 1.25 * measured["processes_mb"]
    assert resources["limits"]["cpu"] == "1"
    told = {each["name"]: each.get("value") for each in container()["env"]}
    for name in ("SER_WORKERS", "SER_MAX_BUFFERED_BYTES"):
        assert told[name] == places.app_json()["env"][name]["value"]


def test_the_autoscaler_scales_the_deployment_and_alone_says_how_many() -> None:
    deployment, autoscaler = (
        places.manifests()[kind] for kind in ("Deployment", "HorizontalPodAutoscaler")
    )
    target = autoscaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]
    assert json.dumps(autoscaler["spec"]["metrics"]).count("averageUtilization") == 1
    # Pods that one node takes along must not be all of them.
    assert autoscaler["spec"]["minReplicas"] >= 2
    assert places.manifests()["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
