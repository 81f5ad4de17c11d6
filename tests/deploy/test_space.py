"""What is pushed to Hugging Face Spaces."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy import places

SCRIPT = places.SPACE / "make-space"
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def committed(path: str) -> str:
    shown = subprocess.run(
        ["git", "show", f"HEAD:{path}"], cwd=places.ROOT, capture_output=True, text=True, check=True
    )
    return shown.stdout


def make(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([SCRIPT, folder], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inside = subprocess.run(
        ["git", "rev-parse", "--is-inside-work-tree"],
        cwd=places.ROOT,
        capture_output=True,
        check=False,
    )
    if inside.returncode != 0:
        pytest.skip("no git repository to make the Space from")
    folder = tmp_path_factory.mktemp("hub") / "space"
    done = make(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_readme_begins_with_what_makes_it_a_docker_space(space: Path) -> None:
    readme = (space / "README.md").read_text("utf-8")
    _, front, rest = readme.split("---\n", 2)
    said = yaml.safe_load(front)
    assert said["sdk"] == "docker"
    exposed = re.findall(r"^EXPOSE (\d+)$", (space / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert [str(said["app_port"])] == exposed
    assert {said["colorFrom"], said["colorTo"]} <= COLOURS
    assert len(said["short_description"]) <= 60
    assert rest == committed("README.md")


def test_the_space_holds_all_that_its_image_is_built_of(space: Path) -> None:
    dockerfile = (space / "Dockerfile").read_text("utf-8")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    for source in {source for each in copied for source in each.split()}:
        assert (space / source).exists(), source
    assert (space / ".dockerignore").exists()
    assert (space / "docs" / "page.png").exists()


def test_its_dockerfile_is_ours_with_the_spaces_settings(space: Path) -> None:
    dockerfile = (space / "Dockerfile").read_text("utf-8")
    settings = (places.SPACE / "space.env").read_text("utf-8")
    assert dockerfile == f"{committed('Dockerfile')}\n{settings}"
    assert places.space_settings()["SER_FRAME_ANCESTORS"] == "https://huggingface.co"


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    done = make(tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path} is there already" in done.stderr
    assert list(tmp_path.iterdir()) == []
