"""What users install: lock files, a wheel in an empty environment, an editable install."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.api.live import serve
from tests.sounds import encode, voice

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("serve", "train", "batch", "test", "build", "release")
EMOTIONS = {"angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def lock_text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")


def pins(name: str) -> dict[str, set[str]]:
    """Versions that a lock file pins, by package: several where they depend on Python's."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([a-z0-9.-]+)==(\S+)", lock_text(name), re.MULTILINE):
        found.setdefault(package, set()).add(version)
    assert found
    return found


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a command that succeeds, run away from the source tree's imports."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**outside_environment(), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def outside_environment() -> dict[str, str]:
    ours = ("SER_", "PYTHON", "VIRTUAL_ENV", "HOST", "PORT", "WEB_CONCURRENCY")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_hashes(name: str) -> None:
    pinned = re.findall(r"^[a-z0-9.-]+==[^\n]*", lock_text(name), re.MULTILINE)
    hashed = re.findall(
        r"^[a-z0-9.-]+==[^\n]* \\\n    --hash=sha256:[0-9a-f]{64}\b", lock_text(name), re.MULTILINE
    )
    assert len(pinned) == len(hashed) > 0


@pytest.mark.parametrize("name", LOCKS)
def test_locks_name_no_index_and_no_place_of_one_machine(name: str) -> None:
    named = r"://|--(?:extra-)?index|--find-links|\s/\S"
    assert re.findall(named, lock_text(name)) == []


def test_locks_agree_on_every_version() -> None:
    everything = pins("test")
    for name in LOCKS:
        apart = {
            package: versions
            for package, versions in pins(name).items()
            if everything.get(package, versions if name == "release" else None) != versions
        }
        assert apart == {}, name


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("serve", PROJECT["project"]["dependencies"]),
        ("train", PROJECT["project"]["optional-dependencies"]["train"]),
        ("batch", PROJECT["project"]["optional-dependencies"]["batch"]),
        ("test", [each for each in PROJECT["dependency-groups"]["test"] if isinstance(each, str)]),
        ("build", PROJECT["build-system"]["requires"]),
    ],
)
def test_locks_hold_what_the_project_asks_for(name: str, asked: list[str]) -> None:
    locked = pins(name)
    for requirement in map(Requirement, asked):
        versions = locked[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_serving_needs_neither_tensorflow_nor_librosa() -> None:
    heavy = {"tensorflow", "tensorflow-cpu", "keras", "librosa", "scipy", "scikit-learn", "pandas"}
    assert pins("serve").keys() & heavy == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sounds") / "voice.wav"
    path.write_bytes(encode(voice(3.0)))
    return path


def test_wheel_carries_both_packages_the_bundle_and_the_licences(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {
        str(path.relative_to(ROOT))
        for package in ("api", "ser_core")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    bundle = {
        f"ser_core/_bundles/default/{path.name}" for path in (ROOT / "models/default").iterdir()
    }
    assert sources <= names
    assert bundle <= names
    licences = {name.rpartition("/")[2] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}
    assert wheel.stat().st_size < 20e6


def test_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        said = Parser().parsestr(archive.read(metadata).decode())
    assert said["Name"] == "ser-service"
    assert said["License-Expression"] == "Apache-2.0 AND CC-BY-NC-SA-4.0"
    needed = [Requirement(each) for each in said.get_all("Requires-Dist", [])]
    always = {each.name for each in needed if not each.marker or "extra" not in str(each.marker)}
    assert always == {Requirement(each).name for each in PROJECT["project"]["dependencies"]}


def test_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    run("tar", "-xzf", archive, cwd=tmp_path)
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=unpacked)
    with zipfile.ZipFile(tmp_path / wheel.name) as again, zipfile.ZipFile(wheel) as first:
        assert {each.filename: each.CRC for each in again.infolist()} == {
            each.filename: each.CRC for each in first.infolist()
        }


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that `make run` would make."""
    folder = tmp_path_factory.mktemp("editable") / "venv"
    script = ROOT / "scripts" / "make-venv"
    run(script, folder, "requirements/serve.txt", cwd=ROOT, PYTHON=sys.executable)
    return folder / "bin"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel and what serving needs, by plain pip."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip = [folder / "venv/bin/python", "-m", "pip", "install", "--quiet"]
    run(*pip, "--require-hashes", "-r", ROOT / "requirements/serve.txt", cwd=folder)
    run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    return folder / "venv/bin"


@pytest.fixture(params=["editable", "installed"])
def programs(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


def test_making_an_environment_again_changes_nothing(editable: Path) -> None:
    made = (editable / "ser").stat().st_mtime_ns
    script = ROOT / "scripts" / "make-venv"
    run(script, editable.parent, "requirements/serve.txt", cwd=ROOT, PYTHON=sys.executable)
    assert (editable / "ser").stat().st_mtime_ns == made


def test_a_python_too_old_is_named(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        [ROOT / "scripts/make-venv", tmp_path / "venv", "requirements/serve.txt"],
        env={**outside_environment(), "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_installed_command_lists_its_own(programs: Path, tmp_path: Path) -> None:
    told = run(programs / "ser", "--help", cwd=tmp_path)
    for command in ("serve", "predict", "train", "evaluate", "features"):
        assert command in told


def test_installed_command_hears_an_emotion(
    programs: Path, tmp_path: Path, recording: Path
) -> None:
    answer = json.loads(run(programs / "ser", "predict", recording, "--json", cwd=tmp_path))
    assert answer["probabilities"].keys() == EMOTIONS
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=0.01)
    assert answer["confidence"] == max(answer["probabilities"].values())
    assert answer["confidence"] == answer["probabilities"][answer["emotion"]]
    assert answer["model"]["name"] == "default"


def test_wheel_serves_the_bundle_it_carries(installed: Path, tmp_path: Path) -> None:
    code = "from ser_core import Recognizer; print(Recognizer.load().bundle.path)"
    path = Path(run(installed / "python", "-c", code, cwd=tmp_path).strip())
    assert path.parts[-3:] == ("ser_core", "_bundles", "default")
    assert path.is_relative_to(installed.parent)


def test_editable_install_serves_the_bundle_of_the_source_tree(
    editable: Path, tmp_path: Path
) -> None:
    code = "from ser_core import Recognizer; print(Recognizer.load().bundle.path)"
    path = Path(run(editable / "python", "-c", code, cwd=tmp_path).strip())
    assert path == ROOT / "models" / "default"


def test_installed_service_answers_and_stops(
    programs: Path, tmp_path: Path, recording: Path
) -> None:
    command = (programs / "ser", "serve")
    with serve(tmp_path, command, cwd=tmp_path, SER_WORKERS="1") as server:
        answer = server.post("/predict", recording.read_bytes(), "audio/wav")
        assert answer.status == 200
        assert answer.json["probabilities"].keys() == EMOTIONS
        assert server.stop() == 0
